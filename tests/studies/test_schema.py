import contextlib
import math
import sqlite3
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from hypothesis import example, given, settings
from hypothesis import strategies as st

import studies
from studies.schema import HEAD, METADATA, VERSION_TABLE, ExactFloat


@pytest.fixture
def migrations():
    config = Config()
    config.set_main_option("script_location", str(Path(studies.__file__).parent / "migrations"))
    return config


def differs(context, column, declared, found, default, wanted):
    """Know the empty text as a default, which Alembic compares with its quotes; None: let Alembic compare."""
    return False if (found, wanted) == ("('')", "") else None


def differences(store, metadata):
    with store.reading() as connection:
        options = {"compare_type": True, "compare_server_default": differs, "version_table": VERSION_TABLE}
        return compare_metadata(MigrationContext.configure(connection, opts=options), metadata)


def description(path):
    """Return what SQLite itself says about our tables: columns, foreign keys, and what has to be unique."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        ask = lambda pragma, name: connection.execute(f"PRAGMA {pragma}('{name}')").fetchall()  # noqa: E731
        return {
            name: (
                sorted(column[1:] for column in ask("table_info", name)),  # a migration adds columns at the end
                ask("foreign_key_list", name),
                [ask("index_info", index[1]) for index in ask("index_list", name)],
            )
            for name in METADATA.tables
        }


def test_the_migrations_make_exactly_the_tables_of_the_schema(store):
    assert differences(store, METADATA) == []


def test_the_comparison_would_notice_another_column_another_type_and_another_default(store):
    planted = sa.MetaData()
    for table in METADATA.tables.values():
        table.to_metadata(planted)
    planted.tables["lab_job"].append_column(sa.Column("planted", sa.Text))
    planted.tables["lab_run"].c.note.type = sa.Integer()
    planted.tables["lab_study"].c.tags.server_default = sa.DefaultClause("x")
    planted.tables["lab_study"].c.queue.server_default = sa.DefaultClause("")
    assert len(differences(store, planted)) == 4


def test_sqlite_sees_no_difference_between_migrated_and_declared_tables(store, tmp_path):
    declared = tmp_path / "declared.db"
    METADATA.create_all(sa.create_engine(f"sqlite:///{declared}", poolclass=sa.NullPool))
    assert description(store.engine.url.database) == description(declared)


def test_head_is_the_newest_migration(migrations):
    assert ScriptDirectory.from_config(migrations).get_current_head() == HEAD


def test_going_back_removes_our_tables(store, migrations, sql):
    with store.writing() as connection:
        migrations.attributes["connection"] = connection
        command.downgrade(migrations, "base")
    assert sql(store, "SELECT name FROM sqlite_master WHERE type = 'table'") == [(VERSION_TABLE,)]


def test_all_tables_are_named_so_that_they_can_live_beside_others():
    assert all(name.startswith("lab_") for name in [*METADATA.tables, VERSION_TABLE])


@given(st.lists(st.floats().map(lambda value: value + 0) | st.none()))  # SQLite itself has no -0.0
@example([math.nan, math.inf, -math.inf, 1e308, 5e-324, 0.1 + 0.2, None])
@settings(deadline=None, max_examples=50)
def test_every_float_and_none_comes_back_as_itself(values):
    engine = sa.create_engine("sqlite://")
    table = sa.Table("t", sa.MetaData(), sa.Column("id", sa.Integer, primary_key=True), sa.Column("x", ExactFloat))
    with engine.begin() as connection:
        table.create(connection)
        for value in values:
            connection.execute(table.insert().values(x=value))
        stored = connection.scalars(sa.select(table.c.x).order_by(table.c.id)).all()
    engine.dispose()
    assert [exactly(value) for value in stored] == [exactly(value) for value in values]


def exactly(value):
    """Spell a float so that other bits are another spelling and NaN equals NaN."""
    if value is None or math.isnan(value):
        return str(value)
    return value.hex()
