"""Steering: jobs pause and change workers; studies have tags, a queue, trials to learn from; chunks say what they took."""

import json

import sqlalchemy as sa
from alembic import op

from engine import OUTCOMES

revision = "0004"
down_revision = "0003"
NEW = {
    "lab_job": [("pause_requested", sa.Boolean, sa.false()), ("n_workers", sa.Integer, None)],
    "lab_study": [("tags", sa.Text, ""), ("queue", sa.Text, "[]"), ("prior", sa.Text, "[]")],
    "lab_chunk": [("seconds", sa.Float(53), None)],
}

LATER = (
    ("lab_study", "search", ("pruner", "seconds", "warm_start")),
    ("lab_trial", "summary", ("outcome", "state", "rungs")),
)
"""What searches and summaries did not have before."""


def upgrade() -> None:
    """Add six columns, and to each trial's summary its most frequent outcome."""
    for table, columns in NEW.items():
        for name, kind, default in columns:
            op.add_column(table, sa.Column(name, kind, nullable=default is None, server_default=default))
    connection = op.get_bind()
    for study in connection.execute(sa.text("SELECT id, job_id, search FROM lab_study")).all():
        n_seeds = json.loads(study.search)["n_seeds"]
        runs = connection.execute(sa.text("SELECT number, outcome FROM lab_run WHERE job_id = :job"), {"job": study.job_id})
        outcomes: dict[int, list[str]] = {}
        for number, outcome in runs:
            outcomes.setdefault(number // n_seeds, []).append(outcome)
        trials = sa.text("SELECT number, summary FROM lab_trial WHERE study_id = :study AND summary IS NOT NULL")
        for number, summary in connection.execute(trials, {"study": study.id}).all():
            found = outcomes.get(number, [])
            new = json.dumps(json.loads(summary) | {"outcome": max(OUTCOMES, key=found.count) if found else ""})
            change = sa.text("UPDATE lab_trial SET summary = :new WHERE study_id = :study AND number = :number")
            connection.execute(change, {"new": new, "study": study.id, "number": number})


def downgrade() -> None:
    """Take them away again, and what Brink 0.3 does not know: a paused job counts as stopped, imported studies go."""
    op.execute("UPDATE lab_job SET status = 'stopped' WHERE status = 'paused'")
    op.execute("DELETE FROM lab_job WHERE kind = 'import'")
    connection = op.get_bind()
    for table, column, names in LATER:
        for row, text in connection.execute(sa.text(f"SELECT rowid, {column} FROM {table} WHERE {column} IS NOT NULL")).all():
            kept = {name: value for name, value in json.loads(text).items() if name not in names}
            change = sa.text(f"UPDATE {table} SET {column} = :new WHERE rowid = :row")
            connection.execute(change, {"new": json.dumps(kept), "row": row})
    for table, columns in NEW.items():
        for name, _, _ in columns:
            op.drop_column(table, name)
