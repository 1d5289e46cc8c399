"""Runs Brink's migrations on the connection that `studies.store` hands over; touches `lab_*` tables only."""

from alembic import context

from studies.schema import METADATA, VERSION_TABLE

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    version_table=VERSION_TABLE,
    include_name=lambda name, kind, parents: kind != "table" or str(name).startswith("lab_"),
    transaction_per_migration=False,
)
context.run_migrations()
