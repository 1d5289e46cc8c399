"""Maps: planes of runs, whose cells are kept in blocks."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Make the tables of maps and of blocks of their cells."""
    op.create_table(
        "lab_map",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("job_id", sa.String(32), sa.ForeignKey("lab_job.id", ondelete="CASCADE"), nullable=False, unique=True),
        sa.Column("name", sa.Text, nullable=False, unique=True),
        sa.Column("map", sa.Text, nullable=False),
        sa.Column("parent_id", sa.String(32)),
        sa.Column("created_at", sa.Float(53), nullable=False),
    )
    op.create_table(
        "lab_map_block",
        sa.Column("map_id", sa.String(32), sa.ForeignKey("lab_map.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("n_runs", sa.Integer, nullable=False),
        sa.Column("runs", sa.LargeBinary, nullable=False),
        sa.Column("cells", sa.LargeBinary, nullable=False),
    )


def downgrade() -> None:
    """Take maps and their jobs away."""
    op.execute("DELETE FROM lab_job WHERE kind = 'map'")
    op.drop_table("lab_map_block")
    op.drop_table("lab_map")
