"""Studies: searches, their chunks and trials; a job says whether it trains a plan or a search."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add a column and three tables."""
    op.add_column("lab_job", sa.Column("kind", sa.String(16), nullable=False, server_default="plan"))
    op.create_table(
        "lab_study",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("job_id", sa.String(32), sa.ForeignKey("lab_job.id", ondelete="CASCADE"), nullable=False, unique=True),
        sa.Column("name", sa.Text, nullable=False, unique=True),
        sa.Column("search", sa.Text, nullable=False),
        sa.Column("optuna_id", sa.Integer, nullable=False),
        sa.Column("created_at", sa.Float(53), nullable=False),
        sa.Column("note", sa.Text, nullable=False),
    )
    op.create_table(
        "lab_chunk",
        sa.Column("study_id", sa.String(32), sa.ForeignKey("lab_study.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("state", sa.String(8), nullable=False),
        sa.Column("n_trials", sa.Integer, nullable=False),
        sa.Column("attributes", sa.Text, nullable=False),
        sa.Column("asked_at", sa.Float(53), nullable=False),
        sa.Column("done_at", sa.Float(53)),
    )
    op.create_table(
        "lab_trial",
        sa.Column("study_id", sa.String(32), sa.ForeignKey("lab_study.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("chunk", sa.Integer, nullable=False),
        sa.Column("params", sa.Text, nullable=False),
        sa.Column("notes", sa.Text, nullable=False),
        sa.Column("summary", sa.Text),
    )


def downgrade() -> None:
    """Take them away again, and the jobs of studies with them."""
    for table in ("lab_trial", "lab_chunk", "lab_study"):
        op.drop_table(table)
    op.execute("DELETE FROM lab_job WHERE kind != 'plan'")
    op.drop_column("lab_job", "kind")
