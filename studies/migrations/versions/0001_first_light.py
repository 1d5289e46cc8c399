"""Jobs, runs and their curves."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create the three tables."""
    op.create_table(
        "lab_job",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("plan", sa.Text, nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("stop_requested", sa.Boolean, nullable=False),
        sa.Column("token", sa.String(32)),
        sa.Column("process", sa.Text),
        sa.Column("n_runs", sa.Integer, nullable=False),
        sa.Column("n_iterations", sa.BigInteger, nullable=False),
        sa.Column("iterations_done", sa.BigInteger, nullable=False),
        sa.Column("created_at", sa.Float(53), nullable=False),
        sa.Column("started_at", sa.Float(53)),
        sa.Column("started_with", sa.BigInteger),
        sa.Column("ended_at", sa.Float(53)),
        sa.Column("heartbeat_at", sa.Float(53), nullable=False),
        sa.Column("error", sa.Text),
        sa.Column("live", sa.LargeBinary),
    )
    op.create_table(
        "lab_run",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("job_id", sa.String(32), sa.ForeignKey("lab_job.id", ondelete="CASCADE"), nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("identity", sa.String(32), nullable=False),
        sa.Column("config", sa.Text, nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("iterations", sa.Integer, nullable=False),
        sa.Column("outcome", sa.String(16), nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("evidence", sa.Text, nullable=False),
        sa.Column("final_loss", sa.Float(53), nullable=False),
        sa.Column("best_loss", sa.Float(53), nullable=False),
        sa.Column("accuracy", sa.Float(53), nullable=False),
        sa.Column("overflow_iteration", sa.Integer),
        sa.Column("overflow_phase", sa.String(16)),
        sa.Column("overflow_kind", sa.String(16)),
        sa.Column("overflow_count", sa.Integer),
        sa.Column("seconds", sa.Float(53), nullable=False),
        sa.Column("engine_version", sa.String(16), nullable=False),
        sa.Column("created_at", sa.Float(53), nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("note", sa.Text, nullable=False),
        sa.UniqueConstraint("job_id", "number"),
    )
    op.create_table(
        "lab_curve",
        sa.Column("run_id", sa.String(32), sa.ForeignKey("lab_run.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("curves", sa.LargeBinary, nullable=False),
        sa.Column("examples", sa.Text, nullable=False),
    )


def downgrade() -> None:
    """Drop them, and everything in them."""
    for table in ("lab_curve", "lab_run", "lab_job"):
        op.drop_table(table)
