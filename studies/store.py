"""Where jobs, runs and curves are kept: one SQLite file by default, through SQLAlchemy.

`open_store` opens (and, where needed, makes or upgrades) a store; a `Store` reads and writes it. Every write is one
transaction. An SQLite file is used with a write-ahead log, full synchronisation and foreign keys.
"""

import contextlib
import os
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import platformdirs
import sqlalchemy as sa

from studies.errors import StoreError
from studies.imports import is_sqlite
from studies.schema import HEAD, VERSION_TABLE
from studies.store_jobs import JobRecords
from studies.store_maps import MapRecords
from studies.store_runs import RunRecords
from studies.store_studies import StudyRecords

STORAGE_VARIABLE = "BRINK_STORAGE"
FILE_ENDINGS = (".db", ".sqlite")
"""By these a plain path is known as one."""
BUSY_SECONDS = 30
"""How long a write waits for another process's write; a chunk of 10,000 runs takes a few seconds."""


def default_url() -> str:
    """Return the store's address: the environment's BRINK_STORAGE, or a file in the user's data folder."""
    return os.environ.get(STORAGE_VARIABLE) or _address(platformdirs.user_data_path("brink") / "brink.db").render_as_string()


def open_store(url: str | None = None) -> "Store":
    """Open a store, making or upgrading its tables where needed.

    Parameters
    ----------
    url : str, optional
        SQLAlchemy's form, such as "sqlite:///my.db", or a file that ends in .db or .sqlite; `default_url()` without one.

    Raises
    ------
    StoreError
        If the address cannot be used: no database, made by a newer version, no permission, disk full. Nothing is changed.
    """
    given = url is not None or bool(os.environ.get(STORAGE_VARIABLE))
    address = _parsed(url or default_url())
    if address.get_backend_name() != "sqlite":
        raise StoreError(f"expected an SQLite address such as sqlite:///my.db, found {address.render_as_string()!r}")
    if not address.database or address.database == ":memory:":
        raise StoreError("expected an SQLite file, found a database in memory, which other processes cannot see")
    if address.query:
        raise StoreError(f"expected an address without options, found ?{'&'.join(address.query)} in {url or default_url()!r}")
    path = Path(address.database).expanduser().absolute()
    _check_file(path, make_folder=not given)
    store = Store(_engine(path), _address(path).render_as_string())
    store.upgrade()
    return store


def _parsed(text: str) -> sa.URL:
    """Return a store's address, or raise what is expected of one."""
    if text.lower().endswith(FILE_ENDINGS) and not re.match(r"[\w+]{2,}:", text):  # one letter is a drive of Windows
        return _address(Path(text))
    try:
        return sa.make_url(text)
    except (sa.exc.ArgumentError, ValueError):  # a port that is no number
        endings = " or ".join(FILE_ENDINGS)
        raise StoreError(
            f"expected an address such as sqlite:///my.db or a file that ends in {endings}, found {text!r}"
        ) from None


def _check_file(path: Path, make_folder: bool) -> None:
    """Refuse, before anything is written, a path that cannot become or is no SQLite database."""
    with _translated(str(path)):
        if make_folder:
            path.parent.mkdir(parents=True, exist_ok=True)
        if not path.parent.is_dir():
            raise StoreError(f"expected a file in an existing folder, found no folder {path.parent}; create it first")
        if path.is_dir():
            raise StoreError(f"expected an SQLite file, found a folder: {path}")
        if not path.exists() or path.stat().st_size == 0:
            return
        if not is_sqlite(path):
            raise StoreError(f"expected an SQLite database, found another kind of file: {path}; it was left as it is")


def _address(path: Path) -> sa.URL:
    return sa.URL.create("sqlite", database=str(path))  # which spells signs such as % and ? so that they are read back


def _engine(path: Path) -> sa.Engine:
    engine = sa.create_engine(_address(path), connect_args={"timeout": BUSY_SECONDS}, poolclass=sa.NullPool)

    @sa.event.listens_for(engine, "connect")
    def _connect(connection, record):
        connection.isolation_level = None  # transactions begin below, in one place
        connection.execute(f"PRAGMA busy_timeout = {BUSY_SECONDS * 1000}")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA synchronous = FULL")

    @sa.event.listens_for(engine, "begin")
    def _begin(connection):
        writes = connection.get_execution_options().get("writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


@contextlib.contextmanager
def _translated(url: str) -> Iterator[None]:
    """Raise what SQLite, SQLAlchemy and the operating system report as a `StoreError` that says what to do."""
    try:
        yield
    except (sa.exc.DBAPIError, sqlite3.Error, OSError) as error:
        text = str(getattr(error, "orig", error))
        for sign, message in _ADVICE.items():
            if sign in text.lower():
                raise StoreError(f"{message} ({url}: {text}). Nothing was changed.") from error
        raise StoreError(f"the store failed ({url}: {text}). Nothing was changed.") from error


_ADVICE = {
    "database or disk is full": "the disk is full; free some space and try again",
    "no space left": "the disk is full; free some space and try again",
    "readonly database": "the store is read-only; give a folder and file you may write to",
    "read-only": "the store is read-only; give a folder and file you may write to",
    "unable to open": "the store cannot be opened; check that its folder exists and may be written to",
    "permission denied": "the store may not be written to; give another folder or change its permissions",
    "not a database": "expected an SQLite database, found another kind of file",
    "malformed": "the database file is damaged; restore a copy",
    "database is locked": f"another process has kept the store busy for {BUSY_SECONDS} s; try again",
}


class Store(JobRecords, RunRecords, StudyRecords, MapRecords):
    """Jobs, runs, curves, studies and maps in one database. Get one from `open_store`."""

    def __init__(self, engine: sa.Engine, url: str):
        self.engine, self.url = engine, url

    def upgrade(self) -> None:
        """Bring the tables to this version's; refuse a store that a newer version made."""
        with self.reading() as connection:
            version = self._version(connection)
        if version == HEAD:
            return
        from alembic import command
        from alembic.config import Config
        from alembic.script import ScriptDirectory

        config = Config()
        config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
        known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
        if version is not None and version not in known:
            raise StoreError(
                f"the store was made by a newer version of Brink: expected its tables' version to be at most {HEAD}, found "
                f"{version} in {self.url}; upgrade Brink or give another file. Nothing was changed."
            )
        with _translated(self.url), contextlib.closing(self.engine.raw_connection()) as raw:
            raw.execute("PRAGMA journal_mode = WAL")
        with self.writing() as connection:
            if self._version(connection) != HEAD:  # another process may have been faster
                config.attributes["connection"] = connection
                command.upgrade(config, HEAD)

    @staticmethod
    def _version(connection: sa.Connection) -> str | None:
        if not sa.inspect(connection).has_table(VERSION_TABLE):
            return None
        return connection.scalar(sa.text(f"SELECT version_num FROM {VERSION_TABLE}"))

    @contextlib.contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """Give a connection that sees one state of the store."""
        with _translated(self.url), self.engine.connect() as connection:
            yield connection

    @contextlib.contextmanager
    def writing(self) -> Iterator[sa.Connection]:
        """Give a connection whose changes are made together or not at all."""
        with (
            _translated(self.url),
            self.engine.connect() as connection,
            connection.execution_options(writes=True).begin(),
        ):
            yield connection
