"""Maps in a store: what is asked for, and the cells that are trained, in blocks."""

import contextlib
import json
import time
import uuid
from dataclasses import dataclass

import numpy as np
import sqlalchemy as sa

from studies.errors import JobError, NameTakenError
from studies.maps import CELL, Map, known_from
from studies.plans import Plan
from studies.schema import BLOCKS, JOBS, MAPS
from studies.store_jobs import Job
from studies.store_runs import check_text, pack_array, unpack_array


@dataclass(frozen=True)
class MapRecord:
    """A map and how far it is.

    Attributes
    ----------
    job : Job
        Trains its cells.
    parent_id : str or None
        The map it was zoomed out of, or refined from.
    n_done : int
        Runs that are trained.
    n_blocks : int
        Blocks that they stand in.
    """

    id: str
    name: str
    map: Map
    job: Job
    parent_id: str | None
    created_at: float
    n_done: int
    n_blocks: int


class MapRecords:
    """The part of a `Store` that keeps maps."""

    def add_map(self, made: Map, parent_id: str | None = None) -> str:
        """Write a new map, with a job that waits for a process, and return its id.

        Cells that the parent has too, to the last bit, are taken over.

        Raises
        ------
        NameTakenError
            If another map has the name.
        """
        check_text("name", made.name)
        map_id, job_id, now = uuid.uuid4().hex, uuid.uuid4().hex, time.time()
        known = None
        if parent_id is not None:
            parent = self.map_record(parent_id)
            parent_id, known = parent.id, known_from(parent.map, self.cells(parent.id), made)
        with self.writing() as connection:
            if connection.scalar(sa.select(MAPS.c.id).where(MAPS.c.name == made.name)):
                raise NameTakenError(f"name: expected a new one, found {made.name!r}, which another map has")
            job = {"id": job_id, "kind": "map", "name": made.name, "status": "waiting", "n_runs": made.n_runs}
            job |= {"plan": Plan.of_config(made.config(0)).to_json(), "n_iterations": made.n_iterations}
            connection.execute(JOBS.insert().values(**job, created_at=now, heartbeat_at=now))
            row = {"id": map_id, "job_id": job_id, "name": made.name, "map": made.to_json(), "parent_id": parent_id}
            connection.execute(MAPS.insert().values(**row, created_at=now))
            if known is not None and len(known[0]):
                _write_block(connection, map_id, 0, *known)
        return map_id

    def map_record(self, map_id: str) -> MapRecord:
        """Return one map by its id or name, or raise `JobError`."""
        rows = self._maps((MAPS.c.id == map_id) | (MAPS.c.name == map_id))
        if not rows:
            raise JobError(f"expected the id or name of a map, found {map_id!r}; it may have been deleted")
        return rows[0]

    def maps(self) -> list[MapRecord]:
        """Return all maps, newest first."""
        return self._maps(sa.true())

    def map_of_job(self, job_id: str) -> MapRecord:
        """Return the map that a job trains, or raise `JobError`."""
        rows = self._maps(MAPS.c.job_id == job_id)
        if not rows:
            raise JobError(f"expected the id of a map's job, found {job_id!r}; it may have been deleted")
        return rows[0]

    def _maps(self, condition) -> list[MapRecord]:
        counts = [sa.func.coalesce(sa.func.sum(BLOCKS.c.n_runs), 0), sa.func.count()]
        parts = [sa.select(count).where(BLOCKS.c.map_id == MAPS.c.id).scalar_subquery() for count in counts]
        query = sa.select(MAPS, parts[0].label("n_done"), parts[1].label("n_blocks")).where(condition)
        with self.reading() as connection:
            rows = connection.execute(query.order_by(MAPS.c.created_at.desc(), MAPS.c.id)).all()
        found = []
        for row in rows:
            with contextlib.suppress(JobError):  # deleted in this very moment
                job = self.job(row.job_id)
                kept = {name: getattr(row, name) for name in ("id", "name", "parent_id", "created_at", "n_done", "n_blocks")}
                found.append(MapRecord(**kept, map=Map.from_json(row.map), job=job))
        return found

    def save_cells(self, record: MapRecord, token: str, numbers: np.ndarray, cells: np.ndarray) -> None:
        """Write trained runs of a map, by their numbers, as one block.

        Raises
        ------
        JobError
            If another process has taken the job over; then nothing is written.
        """
        with self.writing() as connection:
            self.check_token(connection, record.job.id, token)
            count = connection.scalar(sa.select(sa.func.count()).where(BLOCKS.c.map_id == record.id))
            _write_block(connection, record.id, count, numbers, cells)

    def cells(self, map_id: str, into: np.ndarray | None = None, first: int = 0) -> np.ndarray:
        """Return the cells of a map: (facets, ny, nx, seeds) of `CELL`; outcome 0 where nothing is trained yet.

        Parameters
        ----------
        into : array, optional
            Cells that were read before; blocks from `first` on are written into it.
        """
        if into is None:
            record = self.map_record(map_id)
            map_id, into = record.id, np.zeros(record.map.shape, CELL)
        query = sa.select(BLOCKS.c.runs, BLOCKS.c.cells).where(BLOCKS.c.map_id == map_id, BLOCKS.c.number >= first)
        flat = into.reshape(-1)
        with self.reading() as connection:
            for row in connection.execute(query.order_by(BLOCKS.c.number)):
                flat[unpack_array(row.runs)] = unpack_array(row.cells)
        return into

    def rename_map(self, map_id: str, name: str) -> None:
        """Give a map another name; raise `NameTakenError` if another one has it."""
        check_text("name", name)
        record = self.map_record(map_id)
        raw = json.dumps(json.loads(record.map.to_json()) | {"name": name})
        Map.from_json(raw)
        with self.writing() as connection:
            if connection.scalar(sa.select(MAPS.c.id).where(MAPS.c.name == name, MAPS.c.id != record.id)):
                raise NameTakenError(f"name: expected a new one, found {name!r}, which another map has")
            connection.execute(MAPS.update().where(MAPS.c.id == record.id).values(name=name, map=raw))
            connection.execute(JOBS.update().where(JOBS.c.id == record.job.id).values(name=name))

    def delete_map(self, map_id: str) -> None:
        """Delete a map with its job and cells; maps that were zoomed out of it stay."""
        record = self.map_record(map_id)
        with self.writing() as connection:
            connection.execute(JOBS.delete().where(JOBS.c.id == record.job.id))


def _write_block(connection: sa.Connection, map_id: str, number: int, numbers: np.ndarray, cells: np.ndarray) -> None:
    row = {"map_id": map_id, "number": number, "n_runs": len(numbers)}
    connection.execute(BLOCKS.insert().values(**row, runs=pack_array(numbers.astype(np.int32)), cells=pack_array(cells)))
