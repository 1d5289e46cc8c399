"""The tables of a store. All are named `lab_*`, keyed by UUIDs of our own; times are UTC seconds since 1970.

- `lab_job`: a plan and how far its training is;
- `lab_run`: one row for each trained run, without its curves, so that the table of runs reads quickly;
- `lab_curve`: the run's curves (a NumPy array in NumPy's own file format) and its worked examples;
- `lab_study`: a search, the job that trains it, the number of its study in Optuna's own tables, which stand beside, a queue of
  trials that people asked for, and trials of another study that its sampler learned from;
- `lab_chunk`: trials that were asked together, "open" while they are trained, then "done", and the seconds it took;
- `lab_trial`: one configuration, its searched values, the sampler's notes, and what its seeds came to;
- `lab_map`: a map, the job that trains its cells, and the map it was zoomed out of, which may be gone;
- `lab_map_block`: numbers of runs of a map, and what came of them (NumPy arrays in NumPy's own file format).
"""

import math

import sqlalchemy as sa


class ExactFloat(sa.TypeDecorator):
    """A float that keeps NaN: SQLite would make it NULL, so there it is stored as the text 'NaN'."""

    impl = sa.Float(53)
    cache_ok = True

    def process_bind_param(self, value, dialect):
        """Return what the database stores."""
        if value is None:
            return None
        return "NaN" if dialect.name == "sqlite" and math.isnan(value) else float(value)

    def process_result_value(self, value, dialect):
        """Return the float that was stored."""
        return math.nan if value == "NaN" else value

    def bind_processor(self, dialect):
        """Keep SQLAlchemy's own conversion to float away from the text 'NaN'."""
        return lambda value: self.process_bind_param(value, dialect)


METADATA = sa.MetaData(naming_convention={"ix": "ix_%(table_name)s_%(column_0_N_name)s"})

JOBS = sa.Table(
    "lab_job",
    METADATA,
    sa.Column("id", sa.String(32), primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("plan", sa.Text, nullable=False),
    sa.Column("status", sa.String(16), nullable=False),
    sa.Column("stop_requested", sa.Boolean, nullable=False, default=False),
    sa.Column("token", sa.String(32)),
    sa.Column("process", sa.Text),
    sa.Column("n_runs", sa.Integer, nullable=False),
    sa.Column("n_iterations", sa.BigInteger, nullable=False),
    sa.Column("iterations_done", sa.BigInteger, nullable=False, default=0),
    sa.Column("created_at", sa.Float(53), nullable=False),
    sa.Column("started_at", sa.Float(53)),
    sa.Column("started_with", sa.BigInteger),
    sa.Column("ended_at", sa.Float(53)),
    sa.Column("heartbeat_at", sa.Float(53), nullable=False),
    sa.Column("error", sa.Text),
    sa.Column("live", sa.LargeBinary),
    sa.Column("kind", sa.String(16), nullable=False, server_default="plan"),
    sa.Column("pause_requested", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("n_workers", sa.Integer),
)

RUNS = sa.Table(
    "lab_run",
    METADATA,
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
    sa.Column("final_loss", ExactFloat, nullable=False),
    sa.Column("best_loss", ExactFloat, nullable=False),
    sa.Column("accuracy", ExactFloat, nullable=False),
    sa.Column("overflow_iteration", sa.Integer),
    sa.Column("overflow_phase", sa.String(16)),
    sa.Column("overflow_kind", sa.String(16)),
    sa.Column("overflow_count", sa.Integer),
    sa.Column("n_parameters", sa.Integer),
    sa.Column("fingerprint", sa.String(32)),
    sa.Column("seconds", sa.Float(53), nullable=False),
    sa.Column("engine_version", sa.String(16), nullable=False),
    sa.Column("created_at", sa.Float(53), nullable=False),
    sa.Column("name", sa.Text, nullable=False, default=""),
    sa.Column("note", sa.Text, nullable=False, default=""),
    sa.UniqueConstraint("job_id", "number"),
)

CURVES = sa.Table(
    "lab_curve",
    METADATA,
    sa.Column("run_id", sa.String(32), sa.ForeignKey("lab_run.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("curves", sa.LargeBinary, nullable=False),
    sa.Column("examples", sa.Text, nullable=False),
)

STUDIES = sa.Table(
    "lab_study",
    METADATA,
    sa.Column("id", sa.String(32), primary_key=True),
    sa.Column("job_id", sa.String(32), sa.ForeignKey("lab_job.id", ondelete="CASCADE"), nullable=False, unique=True),
    sa.Column("name", sa.Text, nullable=False, unique=True),
    sa.Column("search", sa.Text, nullable=False),
    sa.Column("optuna_id", sa.Integer, nullable=False),
    sa.Column("created_at", sa.Float(53), nullable=False),
    sa.Column("note", sa.Text, nullable=False, default=""),
    sa.Column("tags", sa.Text, nullable=False, server_default=""),
    sa.Column("queue", sa.Text, nullable=False, server_default="[]"),
    sa.Column("prior", sa.Text, nullable=False, server_default="[]"),
)

CHUNKS = sa.Table(
    "lab_chunk",
    METADATA,
    sa.Column("study_id", sa.String(32), sa.ForeignKey("lab_study.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("state", sa.String(8), nullable=False),
    sa.Column("n_trials", sa.Integer, nullable=False),
    sa.Column("attributes", sa.Text, nullable=False),
    sa.Column("asked_at", sa.Float(53), nullable=False),
    sa.Column("done_at", sa.Float(53)),
    sa.Column("seconds", sa.Float(53)),
)

TRIALS = sa.Table(
    "lab_trial",
    METADATA,
    sa.Column("study_id", sa.String(32), sa.ForeignKey("lab_study.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("chunk", sa.Integer, nullable=False),
    sa.Column("params", sa.Text, nullable=False),
    sa.Column("notes", sa.Text, nullable=False),
    sa.Column("summary", sa.Text),
)

MAPS = sa.Table(
    "lab_map",
    METADATA,
    sa.Column("id", sa.String(32), primary_key=True),
    sa.Column("job_id", sa.String(32), sa.ForeignKey("lab_job.id", ondelete="CASCADE"), nullable=False, unique=True),
    sa.Column("name", sa.Text, nullable=False, unique=True),
    sa.Column("map", sa.Text, nullable=False),
    sa.Column("parent_id", sa.String(32)),
    sa.Column("created_at", sa.Float(53), nullable=False),
)

BLOCKS = sa.Table(
    "lab_map_block",
    METADATA,
    sa.Column("map_id", sa.String(32), sa.ForeignKey("lab_map.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("n_runs", sa.Integer, nullable=False),
    sa.Column("runs", sa.LargeBinary, nullable=False),
    sa.Column("cells", sa.LargeBinary, nullable=False),
)

VERSION_TABLE = "lab_alembic_version"
HEAD = "0005"
"""The newest migration; a store at this version is opened without loading Alembic."""
