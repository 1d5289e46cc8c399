"""Jobs in a store: made, claimed by one process, beaten, asked to stop, ended."""

import dataclasses
import io
import os
import socket
import time
import uuid
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import sqlalchemy as sa

from studies.errors import JobError
from studies.plans import Plan
from studies.schema import JOBS, RUNS, STUDIES
from studies.store_runs import check_text

SILENT_SECONDS = 10
"""A running job that has given no sign of life for so long is lost; it beats every second."""
ENDED = ("finished", "stopped", "failed", "lost")
LIVE = ("waiting", "running", "paused")
"""What a job's row says while a process is, or should be, at work on it."""


MOST_WORKERS = 256


class Wishes(NamedTuple):
    """What people ask of a job while it runs."""

    stop: bool
    pause: bool
    n_workers: int | None


@dataclass(frozen=True)
class Job:
    """A plan and how far its training is.

    Attributes
    ----------
    status : str
        waiting, running, pausing, paused, stopping, finished, stopped, failed, or lost (its process is gone).
    kind : str
        "plan"; "search" or "map" where the job trains a study's trials or a map's cells; then the plan is that of an example;
        "import" where a study was made elsewhere and there is nothing to train.
    n_workers : int or None
        Worker processes that somebody asked for.
    process : str or None
        Machine and number of the process that took it last.
    rate : float or None
        Iterations of single runs per second since the job was last started.
    n_saved : int
        Runs whose results are in the store.
    """

    id: str
    kind: str
    name: str
    plan: Plan
    status: str
    n_runs: int
    n_saved: int
    n_iterations: int
    iterations_done: int
    created_at: float
    process: str | None
    n_workers: int | None
    error: str | None
    rate: float | None

    @property
    def is_live(self) -> bool:
        """Whether a process is, or should be, at work on it."""
        return self.status not in ENDED

    @property
    def progress(self) -> float:
        """Share of all iterations that is done."""
        return self.iterations_done / self.n_iterations

    @property
    def runs_per_second(self) -> float | None:
        """Whole runs per second at the present rate."""
        return self.rate * self.n_runs / self.n_iterations if self.rate else None

    @property
    def seconds_left(self) -> float | None:
        """Time left at the present rate."""
        return (self.n_iterations - self.iterations_done) / self.rate if self.rate else None


def _job(row: sa.Row) -> Job:
    now = time.time()
    status = row.status
    if status in LIVE:
        if now - row.heartbeat_at > SILENT_SECONDS:
            status = "lost"
        elif row.stop_requested:
            status = "stopping"
        elif row.pause_requested and status != "paused":
            status = "pausing"
    seconds = (row.ended_at or row.heartbeat_at) - row.started_at if row.started_at else 0
    done = row.iterations_done - (row.started_with or 0)
    fields = {f.name: getattr(row, f.name) for f in dataclasses.fields(Job) if f.name not in ("plan", "status", "rate")}
    return Job(**fields, plan=Plan.from_json(row.plan), status=status, rate=done / seconds if seconds and done else None)


_SAVED = sa.select(sa.func.count()).where(RUNS.c.job_id == JOBS.c.id).scalar_subquery().label("n_saved")
_COLUMNS = [*(column for column in JOBS.columns if column.name != "live"), _SAVED]


class JobRecords:
    """The part of a `Store` that keeps jobs."""

    def add_job(self, plan: Plan, name: str = "") -> str:
        """Write a new job, waiting for a process, and return its id."""
        check_text("name", name)
        job_id, now = uuid.uuid4().hex, time.time()
        with self.writing() as connection:
            connection.execute(
                JOBS.insert().values(
                    id=job_id,
                    name=name,
                    plan=plan.to_json(),
                    status="waiting",
                    n_runs=plan.n_runs,
                    n_iterations=plan.n_iterations,
                    created_at=now,
                    heartbeat_at=now,
                )
            )
        return job_id

    def job(self, job_id: str) -> Job:
        """Return one job, or raise `JobError`."""
        with self.reading() as connection:
            row = connection.execute(sa.select(*_COLUMNS).where(JOBS.c.id == job_id)).one_or_none()
        if row is None:
            raise JobError(f"expected the id of a saved job, found {job_id!r}; it may have been deleted")
        return _job(row)

    def jobs(self, most: int = 100, kind: str = "plan") -> list[Job]:
        """Return the newest jobs of a kind, newest first."""
        query = sa.select(*_COLUMNS).where(JOBS.c.kind == kind).order_by(JOBS.c.created_at.desc(), JOBS.c.id).limit(most)
        with self.reading() as connection:
            return [_job(row) for row in connection.execute(query)]

    def wait_again(self, job_id: str) -> None:
        """Put an unfinished job that nobody works on back in line, or raise `JobError`."""
        now = time.time()
        silent = JOBS.c.status.in_(LIVE) & (JOBS.c.heartbeat_at < now - SILENT_SECONDS)
        idle = silent | JOBS.c.status.in_(("stopped", "failed"))
        changes = {"status": "waiting", "heartbeat_at": now, "token": None, "error": None}
        changes |= {"stop_requested": False, "pause_requested": False}
        if not self._change(JOBS.c.id == job_id, idle, changes):
            raise JobError(f"expected a job that was stopped, failed or lost, found one that is {self.job(job_id).status}")

    def claim(self, job_id: str) -> str:
        """Take a waiting job for this process and return the token that its writes need; raise `JobError` if taken."""
        token, now = uuid.uuid4().hex, time.time()
        changes = {
            "status": "running",
            "token": token,
            "process": f"{socket.gethostname()}:{os.getpid()}",
            "heartbeat_at": now,
            "started_at": now,
            "iterations_done": 0,
            "started_with": 0,
            "ended_at": None,
        }
        if not self._change(JOBS.c.id == job_id, JOBS.c.status == "waiting", changes):
            raise JobError(f"expected a job that is waiting, found one that is {self.job(job_id).status}")
        return token

    def beat(
        self, job_id: str, token: str, iterations_done: int | None = None, live: bytes | None = None, first: bool = False
    ) -> "Wishes":
        """Give a sign of life, with progress if there is some; return what the job is asked to do.

        `first` marks what was done before this process began, which its speed does not count.

        Raises
        ------
        JobError
            If another process has taken the job over, or it was deleted.
        """
        changes = {"heartbeat_at": time.time()}
        if iterations_done is not None:
            changes |= {"iterations_done": iterations_done, "live": live}
            changes |= {"started_with": iterations_done} if first else {}
        mine = (JOBS.c.id == job_id) & (JOBS.c.token == token)
        asked = (JOBS.c.stop_requested, JOBS.c.pause_requested, JOBS.c.n_workers)
        with self.writing() as connection:
            row = connection.execute(JOBS.update().where(mine).values(**changes).returning(*asked)).one_or_none()
        if row is None:
            raise JobError(f"job {job_id} was deleted or taken over by another process")
        return Wishes(*row)

    def request_stop(self, job_id: str) -> None:
        """Ask a job to stop; its process keeps what it has, marked as stopped."""
        self._change(JOBS.c.id == job_id, JOBS.c.status.in_(LIVE), {"stop_requested": True})

    def request_pause(self, job_id: str, pause: bool = True) -> None:
        """Ask a job to hold, with everything in its process's memory, or to go on."""
        self._change(JOBS.c.id == job_id, JOBS.c.status.in_(LIVE), {"pause_requested": pause})

    def mark_paused(self, job_id: str, token: str, paused: bool) -> None:
        """Write whether a job's process holds."""
        mine = (JOBS.c.token == token) & JOBS.c.status.in_(LIVE)
        self._change(JOBS.c.id == job_id, mine, {"status": "paused" if paused else "running"})

    def set_workers(self, job_id: str, n_workers: int) -> None:
        """Ask for so many worker processes, from now on and after a resume; the results do not depend on it.

        Raises
        ------
        JobError
            If the number makes no sense.
        """
        if isinstance(n_workers, bool) or not isinstance(n_workers, int) or not 1 <= n_workers <= MOST_WORKERS:
            raise JobError(f"workers: expected a whole number from 1 to {MOST_WORKERS}, found {n_workers!r}")
        self._change(JOBS.c.id == job_id, sa.true(), {"n_workers": n_workers})

    def end_job(self, job_id: str, token: str, status: str, error: str | None = None, n_runs: int | None = None) -> bool:
        """Write how a job ended: finished, stopped or failed; return whether that is so.

        With `n_runs` only if that is still what the job asks for: somebody may have added trials meanwhile.
        """
        now = time.time()
        changes = {"status": status, "ended_at": now, "heartbeat_at": now, "error": error, "live": None}
        same = sa.true() if n_runs is None else JOBS.c.n_runs == n_runs
        return self._change(JOBS.c.id == job_id, (JOBS.c.token == token) & same, changes)

    def delete_job(self, job_id: str) -> None:
        """Delete a job and all its runs, and its study where it trains one."""
        with self.reading() as connection:
            study_id = connection.scalar(sa.select(STUDIES.c.id).where(STUDIES.c.job_id == job_id))
        if study_id:
            self.delete_study(study_id)
            return
        with self.writing() as connection:
            connection.execute(JOBS.delete().where(JOBS.c.id == job_id))

    def finished_numbers(self, job_id: str) -> set[int]:
        """Return the numbers of a job's runs that need not be trained again."""
        query = sa.select(RUNS.c.number).where(RUNS.c.job_id == job_id, RUNS.c.status == "finished")
        with self.reading() as connection:
            return set(connection.scalars(query))

    def live_curves(self, job_id: str) -> dict[int, np.ndarray]:
        """Return the curves so far of runs that are being trained, by number."""
        with self.reading() as connection:
            packed = connection.scalar(sa.select(JOBS.c.live).where(JOBS.c.id == job_id))
        return unpack_live(packed) if packed else {}

    def _change(self, which, condition, changes: dict) -> bool:
        with self.writing() as connection:
            return connection.execute(JOBS.update().where(which, condition).values(**changes)).rowcount == 1


def pack_live(curves: dict[int, np.ndarray]) -> bytes:
    """Return curves by run number as bytes; all have the same columns."""
    file = io.BytesIO()
    np.save(file, np.array([(number, len(rows)) for number, rows in curves.items()], np.int64).reshape(-1, 2))
    np.save(file, np.concatenate([*curves.values()]) if curves else np.empty((0, 0)))
    return file.getvalue()


def unpack_live(packed: bytes) -> dict[int, np.ndarray]:
    """Undo `pack_live`."""
    file = io.BytesIO(packed)
    sizes, rows = np.load(file), np.load(file)
    parts = np.split(rows, np.cumsum(sizes[:, 1])[:-1]) if len(sizes) else []
    return {int(number): part for (number, _), part in zip(sizes, parts, strict=True)}
