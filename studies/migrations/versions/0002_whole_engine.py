"""Fingerprints and parameter counts; settings that came with the whole engine, spelled out in older runs."""

import json

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

NEW_SETTINGS = {
    "length": None,
    "pool_size": 0,
    "n_layers": 1,
    "forget_bias": None,
    "reset_after": None,
    "projection_size": None,
    "loss": "half_squared_error",
    "rho": None,
    "beta1": None,
    "beta2": None,
    "epsilon": None,
    "schedule": "constant",
    "schedule_every": None,
    "schedule_factor": None,
    "clip_value": None,
}
"""What every run of the first version was trained with."""
RUNS = sa.table("lab_run", sa.column("id"), sa.column("config"))


def _rewrite(change) -> None:
    connection = op.get_bind()
    rows = [{"key": row.id, "text": change(json.loads(row.config))} for row in connection.execute(sa.select(RUNS))]
    if rows:
        connection.execute(RUNS.update().where(RUNS.c.id == sa.bindparam("key")).values(config=sa.bindparam("text")), rows)


def _text(config: dict) -> str:
    return json.dumps(config, sort_keys=True, separators=(",", ":"))


def _complete(config: dict) -> str:
    return _text(NEW_SETTINGS | config | ({"momentum": None} if config["optimizer"] == "sgd" else {}))


def _reduce(config: dict) -> str:
    """Take away what says nothing new; a setting that the first version does not know is left for a later upgrade."""
    kept = {name: value for name, value in config.items() if name not in NEW_SETTINGS or value != NEW_SETTINGS[name]}
    return _text(kept | ({"momentum": 0.9} if config["optimizer"] == "sgd" else {}))


def upgrade() -> None:
    """Add two columns and complete the configs."""
    op.add_column("lab_run", sa.Column("n_parameters", sa.Integer))
    op.add_column("lab_run", sa.Column("fingerprint", sa.String(32)))
    _rewrite(_complete)


def downgrade() -> None:
    """Take them away again."""
    _rewrite(_reduce)
    for name in ("fingerprint", "n_parameters"):
        op.drop_column("lab_run", name)
