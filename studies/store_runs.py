"""Runs in a store: written a chunk at a time, read as tables."""

import io
import json
import time
import uuid
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
import sqlalchemy as sa

from engine import CURVES, ENGINE_VERSION, FIELDS, RunResult
from studies.errors import JobError, MissingRunError, StoreError
from studies.schema import CURVES as CURVE_ROWS
from studies.schema import JOBS, RUNS

if TYPE_CHECKING:  # loading pandas takes longer than a short training: functions that make tables import it themselves
    import pandas as pd

RESULTS = {
    "status": "text",
    "iterations": "int",
    "outcome": "text",
    "reason": "text",
    "final_loss": "float",
    "best_loss": "float",
    "accuracy": "float",
    "overflow_iteration": "optional int",
    "overflow_phase": "optional text",
    "overflow_kind": "optional text",
    "overflow_count": "int",
    "n_parameters": "optional int",
    "fingerprint": "optional text",
    "seconds": "float",
}
_SETTINGS = {
    name: ("optional " if field.optional or field.needs else "") + ("text" if field.kind == "choice" else field.kind)
    for name, field in FIELDS.items()
}
COLUMNS = (
    {"id": "text", "name": "text", "note": "text"}
    | _SETTINGS
    | RESULTS
    | {"created_at": "time", "job_id": "text", "number": "int", "identity": "text"}
)
"""Columns of the table of runs, in order, and their kinds: text, int, float, bool, time, with "optional " in front where
"no value" is allowed."""
LONGEST_TEXT = 100_000
SHORTEST_ID = 6
"""Characters by which a run can be named, if no other run's id starts with them."""
_AT_ONCE = 500


def pack_array(array: np.ndarray) -> bytes:
    """Return an array in NumPy's file format."""
    file = io.BytesIO()
    np.save(file, array, allow_pickle=False)
    return file.getvalue()


def unpack_array(packed: bytes) -> np.ndarray:
    """Undo `pack_array`."""
    return np.load(io.BytesIO(packed), allow_pickle=False)


def check_text(what: str, text: str) -> None:
    """Refuse a name or note that cannot be stored."""
    if len(text) > LONGEST_TEXT:
        raise StoreError(f"{what}: expected at most {LONGEST_TEXT:,} characters, found {len(text):,}")
    if not text.isprintable() and any("\ud800" <= character <= "\udfff" for character in text):
        raise StoreError(f"{what}: expected Unicode text, found half of a surrogate pair")


def rows_of(job_id: str, results: Iterable[tuple[int, RunResult]]) -> tuple[list[dict], list[dict]]:
    """Return rows of the two tables for results, each with its number in the job."""
    runs, curves = [], []
    for number, result in results:
        event = result.overflow
        runs.append(
            {
                "id": uuid.uuid4().hex,
                "job_id": job_id,
                "number": number,
                "identity": result.config.identity,
                "config": result.config.canonical_json(),
                "evidence": json.dumps(result.evidence),
                "overflow_iteration": event.iteration if event else None,
                "overflow_phase": event.phase if event else None,
                "overflow_kind": event.kind if event else None,
                "overflow_count": event.count if event else 0,
                "engine_version": ENGINE_VERSION,
                "created_at": time.time(),
                "name": "",
                "note": "",
            }
            | {k: getattr(result, k) for k in RESULTS if not k.startswith("overflow")}
        )
        curves.append({"run_id": runs[-1]["id"], "curves": pack_array(result.curves), "examples": json.dumps(result.examples)})
    return runs, curves


class RunRecords:
    """The part of a `Store` that keeps runs."""

    def save_results(self, job_id: str, token: str, results: Iterable[tuple[int, RunResult]]) -> None:
        """Write a chunk of results in one transaction.

        A run that was stopped before and is now finished keeps its id, name and note.

        Raises
        ------
        JobError
            If another process has taken the job over; then nothing is written.
        """
        rows = rows_of(job_id, results)
        with self.writing() as connection:
            self.check_token(connection, job_id, token)
            self.write_results(connection, job_id, *rows)

    @staticmethod
    def check_token(connection: sa.Connection, job_id: str, token: str) -> None:
        """Raise `JobError` if another process has taken a job over."""
        if connection.scalar(sa.select(JOBS.c.token).where(JOBS.c.id == job_id)) != token:
            raise JobError(f"job {job_id} was deleted or taken over by another process")

    def write_results(self, connection: sa.Connection, job_id: str, runs: list[dict], curves: list[dict]) -> None:
        """Write rows of runs and curves as part of a transaction."""
        numbers, columns = [run["number"] for run in runs], [RUNS.c.number, RUNS.c.id, RUNS.c.name, RUNS.c.note]
        old = self._in_parts(connection, columns, RUNS.c.number, numbers, job_id)
        kept = {row.number: row for row in old}
        for run, curve in zip(runs, curves, strict=True):
            if run["number"] in kept:
                before = kept[run["number"]]
                run |= {"id": before.id, "name": before.name, "note": before.note}
                curve["run_id"] = before.id
        self._delete(connection, [row.id for row in old])
        if runs:
            connection.execute(RUNS.insert(), runs)
            connection.execute(CURVE_ROWS.insert(), curves)

    @staticmethod
    def _in_parts(connection, columns, key, values, job_id=None) -> list[sa.Row]:
        """Select rows whose key is among values, some hundred at a time: databases limit the length of a list."""
        rows = []
        for start in range(0, len(values), _AT_ONCE):
            query = sa.select(*columns).where(key.in_(values[start : start + _AT_ONCE]))
            rows += connection.execute(query if job_id is None else query.where(RUNS.c.job_id == job_id)).all()
        return rows

    @staticmethod
    def _delete(connection, run_ids: list[str]) -> None:
        for start in range(0, len(run_ids), _AT_ONCE):
            connection.execute(RUNS.delete().where(RUNS.c.id.in_(run_ids[start : start + _AT_ONCE])))

    def runs(
        self,
        job_id: str | None = None,
        run_ids: Iterable[str] | None = None,
        without_job: str | None = None,
        most: int | None = None,
        study: str | None = None,
    ) -> "pd.DataFrame":
        """Return saved runs as a table with the columns of `COLUMNS`, newest job first.

        Parameters
        ----------
        job_id : str, optional
            Only the runs of this job, in its order.
        run_ids : iterable of str, optional
            Only these runs, some hundred at most.
        without_job : str, optional
            Not the runs of this job.
        most : int, optional
            Only so many.
        study : str, optional
            Only the runs of the study with this name or id, in the order of its trials.
        """
        import pandas as pd

        job_id = self.study(study).job.id if study else job_id
        own = [name for name in COLUMNS if name not in FIELDS]
        query = sa.select(RUNS.c.config, *(RUNS.c[name] for name in own)).join(JOBS)
        query = query.order_by(JOBS.c.created_at.desc(), RUNS.c.job_id, RUNS.c.number).limit(most)
        query = query.where(RUNS.c.job_id == job_id) if job_id else query
        query = query.where(RUNS.c.job_id != without_job) if without_job else query
        query = query if run_ids is None else query.where(RUNS.c.id.in_(list(run_ids)))
        with self.reading() as connection:
            rows = connection.execute(query).all()
        configs, *values = zip(*rows, strict=True) if rows else [()] * (1 + len(own))
        configs = json.loads("[" + ",".join(configs) + "]")
        columns = dict(zip(own, values, strict=True)) | {name: [c.get(name) for c in configs] for name in FIELDS}
        columns["created_at"] = pd.to_datetime(pd.Series(columns["created_at"], dtype=float), unit="s", utc=True)
        return typed({name: columns[name] for name in COLUMNS})

    def run(self, run_id: str) -> dict:
        """Return one run: its row as a dict, with config, evidence, curves (an array) and examples.

        Raises
        ------
        MissingRunError
            If there is no such run.
        """
        query = sa.select(RUNS, CURVE_ROWS.c.curves, CURVE_ROWS.c.examples).join(CURVE_ROWS).where(RUNS.c.id == run_id)
        with self.reading() as connection:
            row = connection.execute(query).mappings().one_or_none()
        if row is None:
            raise MissingRunError(f"expected the id of a saved run, found {run_id!r}; it may have been deleted")
        unpacked = {name: json.loads(row[name]) for name in ("config", "evidence", "examples")}
        return dict(row) | unpacked | {"curves": unpack_array(row["curves"])}

    def run_ids(self, job_id: str) -> dict[int, str]:
        """Return the ids of a job's saved runs by their number in it."""
        with self.reading() as connection:
            return dict(connection.execute(sa.select(RUNS.c.number, RUNS.c.id).where(RUNS.c.job_id == job_id)).all())

    def find_run(self, start: str) -> str:
        """Return the id of the run whose id starts with these characters.

        Raises
        ------
        StoreError
            If there is none or more than one, or if the characters are too few.
        """
        if len(start) < SHORTEST_ID:
            raise StoreError(f"expected at least the first {SHORTEST_ID} characters of a run's id, found {start!r}")
        query = sa.select(RUNS.c.id).where(RUNS.c.id.startswith(start, autoescape=True)).limit(2)
        with self.reading() as connection:
            found = connection.scalars(query).all()
        if not found:
            raise StoreError(f"expected the id of a saved run, or its start, found {start!r}; it may have been deleted")
        if len(found) > 1:
            raise StoreError(f"expected the start of one run's id, found several runs for {start!r}; give more characters")
        return found[0]

    def results(self, job_id: str) -> list[dict]:
        """Return a job's runs as the command line prints them: config, seed, outcome, evidence, numbers, overflow, seconds."""
        query = sa.select(RUNS).where(RUNS.c.job_id == job_id).order_by(RUNS.c.number)
        with self.reading() as connection:
            rows = connection.execute(query).mappings().all()
        records = []
        for row in rows:
            config = json.loads(row["config"])
            event = {name: row[f"overflow_{name}"] for name in ("iteration", "phase", "kind", "count")}
            records.append(
                {"id": row["id"], "config": config, "seed": config["seed"]}
                | {name: row[name] for name in ("status", "outcome", "reason")}
                | {"evidence": json.loads(row["evidence"])}
                | {name: row[name] for name in ("final_loss", "best_loss", "accuracy")}
                | {"overflow": event if row["overflow_count"] else None}
                | {name: row[name] for name in ("n_parameters", "fingerprint", "seconds")}
            )
        return records

    def curves(self, run_ids: Iterable[str]) -> "pd.DataFrame":
        """Return the curves of runs as one long table: run_id and the columns of `engine.CURVES`."""
        run_ids = list(run_ids)
        with self.reading() as connection:
            rows = self._in_parts(connection, [CURVE_ROWS.c.run_id, CURVE_ROWS.c.curves], CURVE_ROWS.c.run_id, run_ids)
        packed = {row.run_id: row.curves for row in rows}
        return long_curves({run_id: unpack_array(packed[run_id]) for run_id in run_ids if run_id in packed})

    def name_run(self, run_id: str, name: str, note: str) -> None:
        """Give a run a name and a note, stored literally."""
        check_text("name", name)
        check_text("note", note)
        with self.writing() as connection:
            connection.execute(RUNS.update().where(RUNS.c.id == run_id).values(name=name, note=note))

    def delete_runs(self, run_ids: Iterable[str]) -> None:
        """Delete runs and their curves; jobs of plans that are left without any run and have ended go too."""
        run_ids = list(run_ids)
        with self.writing() as connection:
            emptied = {row.job_id for row in self._in_parts(connection, [RUNS.c.job_id], RUNS.c.id, run_ids)}
            self._delete(connection, run_ids)
            has_runs = sa.select(RUNS.c.job_id).where(RUNS.c.job_id == JOBS.c.id).exists()
            ended = JOBS.c.status.in_(("finished", "stopped", "failed"))
            for job_id in emptied:
                connection.execute(JOBS.delete().where(JOBS.c.id == job_id, JOBS.c.kind == "plan", ~has_runs, ended))


def typed(columns: dict) -> "pd.DataFrame":
    """Return columns of the table of runs as a table whose types are those of `COLUMNS`."""
    import pandas as pd

    dtypes = {"int": "int64", "optional int": "Int64", "float": float, "optional float": float, "bool": bool}
    table = {}
    for name, values in columns.items():
        kind = COLUMNS[name]
        if kind == "time":
            times = pd.to_datetime(pd.Series(values), utc=True, format="ISO8601")
            table[name] = times.astype("datetime64[ns, UTC]")  # whatever unit pandas thinks the values need
        elif kind == "optional int":
            table[name] = pd.Series([None if v is None else int(v) for v in values], dtype="Int64")
        else:
            table[name] = pd.Series(values, dtype=object).astype(dtypes.get(kind, object))
    return pd.DataFrame(table)


def long_curves(curves: dict) -> "pd.DataFrame":
    """Return curves by run as one long table with the columns run_id and `engine.CURVES`."""
    import pandas as pd

    names = list(CURVES)
    stacked = np.concatenate([*curves.values()]) if curves else np.empty((0, len(names)))
    table = pd.DataFrame(stacked, columns=names[: stacked.shape[1]])
    table.insert(0, "run_id", np.repeat(np.array(list(curves), object), [len(rows) for rows in curves.values()]))
    return table
