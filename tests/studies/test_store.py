import contextlib
import os
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import sqlalchemy as sa

from studies import Plan, StoreError, default_url, open_store

LAB_TABLES = {
    *("lab_job", "lab_run", "lab_curve", "lab_study", "lab_chunk", "lab_trial", "lab_map", "lab_map_block"),
    "lab_alembic_version",
}


@contextlib.contextmanager
def pragma(engine, text):
    """Let every new connection begin with a PRAGMA, which makes SQLite itself report what a full or locked disk would."""

    def connect(connection, record):
        connection.execute(f"PRAGMA {text}")

    sa.event.listen(engine, "connect", connect)
    try:
        yield
    finally:
        sa.event.remove(engine, "connect", connect)


def tables(path):
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}


def python(code, *arguments, **options):
    return subprocess.Popen([sys.executable, "-c", code, *arguments], cwd=Path(__file__).parents[2], text=True, **options)


def test_a_new_file_becomes_a_store(tmp_path):
    store = open_store(f"sqlite:///{tmp_path / 'new.db'}")
    assert tables(tmp_path / "new.db") == LAB_TABLES
    assert store.runs().empty
    assert store.jobs() == []


def test_an_empty_file_becomes_a_store(tmp_path):
    (tmp_path / "empty.db").touch()
    open_store(f"sqlite:///{tmp_path / 'empty.db'}")
    assert tables(tmp_path / "empty.db") == LAB_TABLES


def test_a_store_opened_again_has_what_was_written(store, save, results):
    job_id, _ = save(results, "kept")
    again = open_store(store.url)
    assert again.job(job_id) == store.job(job_id)
    assert again.runs().equals(store.runs())
    assert len(again.runs()) == len(results)


def test_a_store_is_opened_again_without_loading_alembic_or_pandas(store):
    code = (
        "import sys; from studies import open_store; open_store(sys.argv[1]); print({'alembic', 'pandas'} & set(sys.modules))"
    )
    assert python(code, store.url, stdout=subprocess.PIPE).communicate()[0] == "set()\n"


def test_a_relative_address_means_the_present_folder_whatever_comes_later(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store = open_store("sqlite:///here.db")
    monkeypatch.chdir("/")
    store.add_job(Plan({}))
    assert len(open_store(f"sqlite:///{tmp_path / 'here.db'}").jobs()) == 1


def test_without_an_address_the_environment_decides(tmp_path, monkeypatch):
    monkeypatch.setenv("BRINK_STORAGE", f"sqlite:///{tmp_path / 'chosen.db'}")
    assert open_store().url == default_url() == f"sqlite:///{tmp_path / 'chosen.db'}"


@pytest.mark.parametrize("folder", ["home", "50%41?x=1 ü#"])
def test_without_any_address_a_file_in_the_user_s_data_folder_is_made(folder, tmp_path, monkeypatch):
    for variable in ("HOME", "XDG_DATA_HOME", "LOCALAPPDATA"):
        monkeypatch.setenv(variable, str(tmp_path / folder))
    store = open_store()
    (path,) = (tmp_path / folder).rglob("brink.db")
    assert store.engine.url.database == str(path)
    assert store.url == default_url()


@pytest.mark.parametrize("name", ["100%41.db", "what?.db", "a b#ü;'\".db"])
def test_any_file_name_is_found_again_by_the_store_s_own_address(name, tmp_path):
    store = open_store(sa.URL.create("sqlite", database=str(tmp_path / name)).render_as_string())
    job_id = store.add_job(Plan({}))
    assert open_store(store.url).job(job_id)
    assert {path.name.removesuffix("-wal").removesuffix("-shm") for path in tmp_path.iterdir()} == {name}


@pytest.mark.parametrize("content", [b"dear diary\n" * 1000, b"PK\x03\x04", b"SQLite format 3\x00" + b"garbage!" * 1000])
def test_a_file_that_is_no_database_is_refused_and_left_as_it_is(content, tmp_path):
    path = tmp_path / "diary.txt"
    path.write_bytes(content)
    with pytest.raises(StoreError, match="expected an SQLite database, found another kind of file"):
        open_store(f"sqlite:///{path}")
    assert path.read_bytes() == content
    assert os.listdir(tmp_path) == ["diary.txt"]


def test_a_damaged_database_is_refused_and_left_as_it_is(store, save, results):
    save(results)
    path = Path(store.engine.url.database)
    damaged = bytearray(path.read_bytes())
    damaged[100:3000] = b"\xff" * 2900  # the list of tables
    path.write_bytes(damaged)
    with pytest.raises(StoreError, match="the database file is damaged; restore a copy"):
        open_store(store.url)
    assert path.read_bytes() == damaged


def test_a_store_of_a_newer_version_is_refused_and_left_as_it_is(store, sql):
    path = Path(store.engine.url.database)
    sql(store, "UPDATE lab_alembic_version SET version_num = '9999'")
    before = path.read_bytes()
    with pytest.raises(StoreError, match=r"made by a newer version of Brink: expected .* at most 0005, found 9999"):
        open_store(store.url)
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == [path.name]


def test_a_folder_is_refused(tmp_path):
    with pytest.raises(StoreError, match="expected an SQLite file, found a folder"):
        open_store(f"sqlite:///{tmp_path}")


def test_a_missing_folder_is_named_and_not_made(tmp_path):
    with pytest.raises(StoreError, match=r"found no folder .*missing; create it first"):
        open_store(f"sqlite:///{tmp_path / 'missing' / 'brink.db'}")
    assert list(tmp_path.iterdir()) == []


def test_a_file_name_longer_than_the_system_allows_is_refused(tmp_path):
    with pytest.raises(StoreError, match="the store failed"):
        open_store(f"sqlite:///{tmp_path / ('x' * 300)}")


def test_a_folder_without_permission_to_write_is_refused(tmp_path):
    folder = tmp_path
    if os.geteuid() == 0:  # root may write anywhere but here
        folder = Path("/proc")
    else:
        folder.chmod(0o500)
    with pytest.raises(StoreError, match="the store cannot be opened; check that its folder exists and may be written to"):
        open_store(f"sqlite:///{folder / 'brink.db'}")


def test_a_read_only_store_can_be_read_but_not_written(store, save, results):
    save(results)
    with pragma(store.engine, "query_only = ON"):
        assert len(store.runs()) == len(results)
        with pytest.raises(StoreError, match="the store is read-only; give a folder and file you may write to"):
            store.add_job(Plan({}))


def test_options_in_an_address_are_refused_not_ignored(tmp_path):
    with pytest.raises(StoreError, match=r"expected an address without options, found \?mode"):
        open_store(f"sqlite:///{tmp_path / 'a.db'}?mode=ro")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:"])
def test_a_database_in_memory_is_refused(url):
    with pytest.raises(StoreError, match="in memory, which other processes cannot see"):
        open_store(url)


@pytest.mark.parametrize(
    "url", ["nonsense", "   ", "/tmp/brink", "brink.db.bak", "sqlite", "sqlite:my.db", "postgresql://host:port/name"]
)
def test_an_address_that_is_none_is_answered_with_an_example(url, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    message = r"^expected an address such as sqlite:///my\.db or a file that ends in \.db or \.sqlite, found '"
    with pytest.raises(StoreError, match=message):
        open_store(url)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["my.db", "my.sqlite", "MY.DB", "100%41.db", "what?.sqlite", "a b#ü:/.db"])
def test_a_file_with_a_known_ending_is_a_store_s_address(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path(name).parent.mkdir(exist_ok=True)
    store = open_store(name)
    job_id = store.add_job(Plan({}))
    assert (tmp_path / name).is_file()
    assert open_store(str(tmp_path / name)).job(job_id) == open_store(store.url).job(job_id)
    monkeypatch.setenv("BRINK_STORAGE", str(tmp_path / name))
    assert open_store().url == store.url


@pytest.mark.parametrize("scheme", ["postgresql", "mysql+pymysql", "oracle", "http"])
def test_other_databases_are_refused_without_telling_the_password(scheme):
    with pytest.raises(StoreError, match=r"expected an SQLite address such as sqlite:///my\.db, found '") as problem:
        open_store(f"{scheme}://user:secret@host/name")
    assert "secret" not in str(problem.value)


def test_a_full_disk_is_reported_and_leaves_no_half_of_a_chunk(store, save, results, sql):
    job_id, token = save(results)
    before, jobs = store.runs(), store.jobs()
    with pragma(store.engine, "max_page_count = 1"):  # SQLite takes the present size instead
        with pytest.raises(StoreError, match=r"the disk is full; free some space .* Nothing was changed\."):
            store.save_results(job_id, token, ((number, results[0]) for number in range(4, 60)))
        assert store.runs().equals(before)
    assert store.jobs() == jobs
    assert sql(store, "SELECT count(*) FROM lab_curve") == [(len(results),)]
    assert sql(store, "PRAGMA integrity_check") == [("ok",)]
    store.save_results(job_id, token, ((number, results[0]) for number in range(4, 60)))
    assert len(store.runs()) == 60


def test_a_full_disk_while_a_store_is_made_is_reported_and_the_store_can_be_made_later(url):
    with pragma(sa.Engine, "max_page_count = 2"), pytest.raises(StoreError, match="the disk is full"):
        open_store(url)
    assert open_store(url).jobs() == []


def test_a_foreign_database_keeps_its_tables_and_gets_ours(tmp_path):
    path = tmp_path / "optuna.db"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript(
            """CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY);
            INSERT INTO alembic_version VALUES ('v3.2.0.a');
            CREATE TABLE version_info (version_info_id INTEGER PRIMARY KEY, schema_version INTEGER, library_version TEXT);
            INSERT INTO version_info VALUES (1, 12, '4.0.0');
            CREATE TABLE studies (study_id INTEGER PRIMARY KEY, study_name VARCHAR(512) NOT NULL);
            CREATE UNIQUE INDEX ix_studies_study_name ON studies (study_name);
            INSERT INTO studies VALUES (7, 'theirs');"""
        )
        before = list(connection.iterdump())
    store = open_store(f"sqlite:///{path}")
    store.add_job(Plan({}))
    with contextlib.closing(sqlite3.connect(path)) as connection:
        after = list(connection.iterdump())
    assert [line for line in after if "lab_" not in line and line in before] == before
    assert tables(path) == LAB_TABLES | {"alembic_version", "version_info", "studies"}
    assert open_store(store.url).jobs() == store.jobs()


def test_every_connection_is_set_up_to_lose_nothing(store):
    expected = {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 30_000}
    for opened in (store, open_store(store.url)):
        for access in (opened.reading, opened.writing):
            with access() as connection:
                assert {name: connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in expected} == expected


def test_changes_are_made_together_or_not_at_all(store, sql):
    job_id = store.add_job(Plan({}))

    def change():
        with store.writing() as connection:
            connection.execute(sa.text("UPDATE lab_job SET name = 'half'"))
            connection.execute(sa.text("UPDATE lab_job SET no_such_column = 1"))

    with pytest.raises(StoreError, match="no such column"):
        change()
    assert sql(store, "SELECT id, name FROM lab_job") == [(job_id, "")]


def test_a_write_waits_for_another_process_s_write(store):
    with contextlib.closing(sqlite3.connect(store.engine.url.database, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        written = threading.Event()
        thread = threading.Thread(target=lambda: (store.add_job(Plan({})), written.set()))
        thread.start()
        assert not written.wait(0.3)
        assert store.jobs() == []  # reading never waits
        other.execute("COMMIT")
        assert written.wait(20)
        thread.join()
    assert len(store.jobs()) == 1


def test_a_write_that_has_to_wait_too_long_is_reported(store):
    with contextlib.closing(sqlite3.connect(store.engine.url.database, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pragma(store.engine, "busy_timeout = 50"), pytest.raises(StoreError, match="kept the store busy for 30 s"):
            store.add_job(Plan({}))
        other.execute("ROLLBACK")


def test_processes_that_make_one_store_at_the_same_time_all_succeed(url, tmp_path):
    code = """if True:
        import sys, alembic.command
        from studies import Plan, open_store
        print("ready", flush=True)
        sys.stdin.readline()
        open_store(sys.argv[1]).add_job(Plan({}))"""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    processes = [python(code, url, **pipes) for _ in range(3)]
    assert [process.stdout.readline() for process in processes] == ["ready\n"] * 3
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    assert [(process.communicate()[1], process.returncode) for process in processes] == [("", 0)] * 3
    assert len(open_store(url).jobs()) == 3


@pytest.mark.skipif(os.name != "posix", reason="locks of this kind are POSIX's")
def test_opening_a_store_again_leaves_this_process_s_locks_on_it(store, url):
    """SQLite holds bytes 0x40000002 and the 509 after it while a connection uses the file; another process must see that."""
    script = "import fcntl, sys; fcntl.lockf(open(sys.argv[1], 'r+b'), fcntl.LOCK_EX | fcntl.LOCK_NB, 510, 0x40000002)"
    command = [sys.executable, "-c", script, store.engine.url.database]
    with store.engine.connect() as connection:
        connection.exec_driver_sql("SELECT count(*) FROM lab_job").fetchall()
        assert open_store(url).jobs() == []
        assert b"BlockingIOError" in subprocess.run(command, capture_output=True).stderr
    assert subprocess.run(command, capture_output=True).returncode == 0
