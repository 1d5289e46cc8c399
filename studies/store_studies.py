"""Studies in a store: searches, their chunks and trials, and the same trials in Optuna's own tables.

Optuna's tables stand in the same file, so that its own functions read a study as any other. Finished trials
are written there in bulk, in the transaction that ends their chunk; running ones never are.
"""

import dataclasses
import datetime
import json
import math
import time
import uuid
from collections.abc import Iterable
from dataclasses import dataclass

import sqlalchemy as sa

from engine import RunResult
from studies.errors import JobError, PlanError
from studies.objectives import OBJECTIVES, Summary
from studies.plans import Plan
from studies.schema import CHUNKS, JOBS, STUDIES, TRIALS
from studies.search import Search
from studies.store_jobs import Job
from studies.store_runs import check_text, rows_of


@dataclass(frozen=True)
class Study:
    """A search and how far it is.

    Attributes
    ----------
    job : Job
        Trains its trials: status, progress, speed.
    n_done : int
        Trials that are done.
    optuna_id : int
        Of the study in Optuna's tables; names there are the same as here.
    """

    id: str
    name: str
    search: Search
    job: Job
    n_done: int
    optuna_id: int
    created_at: float
    note: str


@dataclass(frozen=True)
class Trial:
    """One configuration: searched values, the sampler's notes, and what its seeds came to (None while it is trained)."""

    number: int
    chunk: int
    params: dict
    notes: dict
    summary: Summary | None


class StudyRecords:
    """The part of a `Store` that keeps studies."""

    def add_study(self, search: Search) -> str:
        """Write a new study, with a job that waits for a process, and return its id.

        Raises
        ------
        PlanError
            If the name is taken.
        """
        import optuna

        check_text("name", search.name)
        with self.reading() as connection:
            if connection.scalar(sa.select(STUDIES.c.id).where(STUDIES.c.name == search.name)):
                raise PlanError(f"name: expected a new one, found {search.name!r}, which another study has; extend that one")
        directions = [OBJECTIVES[name].direction for name in search.objectives]
        try:
            theirs = optuna.create_study(storage=self.optuna_storage(), study_name=search.name, directions=directions)
        except optuna.exceptions.DuplicatedStudyError:
            raise PlanError(
                f"name: expected a new one, found {search.name!r}, which a study of Optuna in this store has; give another"
            ) from None
        study_id, job_id, now = uuid.uuid4().hex, uuid.uuid4().hex, time.time()
        with self.writing() as connection:
            connection.execute(
                JOBS.insert().values(
                    id=job_id,
                    kind="search",
                    name=search.name,
                    plan=Plan.of_config(search.config(search.first(), 1)).to_json(),
                    status="waiting",
                    n_runs=search.n_trials * search.n_seeds,
                    n_iterations=search.n_iterations,
                    created_at=now,
                    heartbeat_at=now,
                )
            )
            connection.execute(
                STUDIES.insert().values(
                    id=study_id,
                    job_id=job_id,
                    name=search.name,
                    search=search.to_json(),
                    optuna_id=theirs._study_id,
                    created_at=now,
                    note="",
                )
            )
        return study_id

    def optuna_storage(self):
        """Return this store as Optuna opens it; Optuna makes its tables where there are none."""
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        return optuna.storages.RDBStorage(self.url, engine_kwargs={"connect_args": {"timeout": 30}})

    def study(self, study_id: str) -> Study:
        """Return one study by its id or name, or raise `JobError`."""
        rows = self._studies((STUDIES.c.id == study_id) | (STUDIES.c.name == study_id))
        if not rows:
            raise JobError(f"expected the id or name of a study, found {study_id!r}; it may have been deleted")
        return rows[0]

    def studies(self) -> list[Study]:
        """Return all studies, newest first."""
        return self._studies(sa.true())

    def study_of_job(self, job_id: str) -> Study:
        """Return the study that a job trains."""
        return self._studies(STUDIES.c.job_id == job_id)[0]

    def _studies(self, condition) -> list[Study]:
        done = sa.select(sa.func.count()).where(TRIALS.c.study_id == STUDIES.c.id, TRIALS.c.summary.is_not(None))
        query = sa.select(STUDIES, done.scalar_subquery().label("n_done")).where(condition)
        with self.reading() as connection:
            rows = connection.execute(query.order_by(STUDIES.c.created_at.desc(), STUDIES.c.id)).all()
        return [
            Study(
                id=row.id,
                name=row.name,
                search=Search.from_json(row.search),
                job=self.job(row.job_id),
                n_done=row.n_done,
                optuna_id=row.optuna_id,
                created_at=row.created_at,
                note=row.note,
            )
            for row in rows
        ]

    def trials(self, study_id: str, done: bool = True) -> list[Trial]:
        """Return a study's finished trials, or all that were asked, in their order."""
        query = sa.select(TRIALS).where(TRIALS.c.study_id == study_id).order_by(TRIALS.c.number)
        with self.reading() as connection:
            rows = connection.execute(query.where(TRIALS.c.summary.is_not(None)) if done else query).all()
        return [
            Trial(row.number, row.chunk, json.loads(row.params), json.loads(row.notes), _summary(row.summary)) for row in rows
        ]

    def chunks(self, study_id: str) -> list[sa.Row]:
        """Return a study's chunks in their order: number, state, n_trials, attributes."""
        query = sa.select(CHUNKS).where(CHUNKS.c.study_id == study_id).order_by(CHUNKS.c.number)
        with self.reading() as connection:
            return list(connection.execute(query))

    def open_chunk(self, study: Study, token: str, number: int, proposals: list, attributes: dict) -> None:
        """Write what was asked, before it is trained."""
        with self.writing() as connection:
            self.check_token(connection, study.job.id, token)
            chunk = {"study_id": study.id, "number": number, "state": "open", "n_trials": len(proposals)}
            connection.execute(CHUNKS.insert().values(**chunk, attributes=json.dumps(attributes), asked_at=time.time()))
            rows = [
                {
                    "study_id": study.id,
                    "number": p.number,
                    "chunk": number,
                    "params": json.dumps(p.values),
                    "notes": json.dumps(p.notes),
                }
                for p in proposals
            ]
            connection.execute(TRIALS.insert(), rows)

    def end_chunk(
        self,
        study: Study,
        token: str,
        number: int,
        proposals: list,
        summaries: list[Summary],
        results: Iterable[tuple[int, RunResult]],
        attributes: dict,
        distributions: dict,
    ) -> None:
        """Write what a chunk came to in one transaction: it is done, its trials, their runs and curves, Optuna's rows.

        Raises
        ------
        JobError
            If another process has taken the job over, or the chunk is not open; then nothing is written.
        """
        runs, curves = rows_of(study.job.id, results)
        ids = {run["number"]: run["id"] for run in runs}
        with self.writing() as connection:
            self.check_token(connection, study.job.id, token)
            mine = (CHUNKS.c.study_id == study.id) & (CHUNKS.c.number == number) & (CHUNKS.c.state == "open")
            changed = CHUNKS.update().where(mine).values(state="done", done_at=time.time(), attributes=json.dumps(attributes))
            if connection.execute(changed).rowcount != 1:
                raise JobError(f"chunk {number} of study {study.name!r} is not open any more")
            for proposal, summary in zip(proposals, summaries, strict=True):
                which = (TRIALS.c.study_id == study.id) & (TRIALS.c.number == proposal.number)
                changes = {"notes": json.dumps(proposal.notes), "summary": json.dumps(dataclasses.asdict(summary))}
                connection.execute(TRIALS.update().where(which).values(**changes))
            self.write_results(connection, study.job.id, runs, curves)
            n = study.search.n_seeds
            extra = [
                {"brink:runs": [ids[n * p.number + i] for i in range(n)], "brink:summary": dataclasses.asdict(s)}
                for p, s in zip(proposals, summaries, strict=True)
            ]
            _write_optuna(connection, study, proposals, [s.values for s in summaries], extra, distributions)

    def extend_study(self, study_id: str, n_more: int) -> str:
        """Give a study that nobody works on more trials; return the id of its job, which can be resumed then.

        Where the last chunk was not full, the new trials are others than those of a search made so long at once.

        Raises
        ------
        PlanError
            If the space has no so many trials.
        JobError
            If the study is being trained.
        """
        study = self.study(study_id)
        longer = dataclasses.replace(study.search, n_trials=study.search.n_trials + n_more)
        if n_more < 1 or longer.n_trials != study.search.n_trials + n_more:  # a grid takes what it has
            limit = "" if math.isinf(study.search.size) else f", at most {study.search.size:,} in all"
            raise PlanError(f"n_trials: expected one or more new trials{limit}, found {n_more:,} more")
        changes = {
            "status": "stopped",
            "n_runs": longer.n_trials * longer.n_seeds,
            "n_iterations": longer.n_iterations,
        }
        with self.writing() as connection:
            idle = JOBS.c.status.in_(("finished", "stopped", "failed"))
            updated = connection.execute(JOBS.update().where(JOBS.c.id == study.job.id, idle).values(**changes))
            if updated.rowcount != 1:
                raise JobError(f"study {study.name!r}: expected one that is finished or stopped, found it {study.job.status}")
            connection.execute(STUDIES.update().where(STUDIES.c.id == study.id).values(search=longer.to_json()))
        return study.job.id

    def delete_study(self, study_id: str) -> None:
        """Delete a study with its job, trials, runs and curves, and its study in Optuna's tables."""
        study = self.study(study_id)
        tables = _optuna_tables()
        with self.writing() as connection:
            connection.execute(JOBS.delete().where(JOBS.c.id == study.job.id))
            name = sa.select(tables["studies"].c.study_name).where(tables["studies"].c.study_id == study.optuna_id)
            if connection.scalar(name) == study.name:
                _delete_optuna(connection, study.optuna_id)


def _summary(text: str | None) -> Summary | None:
    if text is None:
        return None
    raw = json.loads(text)
    return Summary(**{name: tuple(value) if isinstance(value, list) else value for name, value in raw.items()})


def _optuna_tables() -> dict[str, sa.Table]:
    from optuna.storages._rdb import models

    return dict(models.BaseModel.metadata.tables)


def _write_optuna(connection, study: Study, proposals, values, extra, distributions) -> None:
    """Insert finished trials into Optuna's tables."""
    from optuna.distributions import distribution_to_json

    tables, now = _optuna_tables(), datetime.datetime.now(datetime.UTC).replace(tzinfo=None)
    spelled = {name: distribution_to_json(distribution) for name, distribution in distributions.items()}
    name = connection.scalar(sa.select(tables["studies"].c.study_name).where(tables["studies"].c.study_id == study.optuna_id))
    if name is None or name != study.name:
        raise JobError(f"study {study.name!r}: expected it in Optuna's tables, found it deleted there")
    trials = [
        {"number": p.number, "study_id": study.optuna_id, "state": "COMPLETE", "datetime_start": now, "datetime_complete": now}
        for p in proposals
    ]
    connection.execute(tables["trials"].insert(), trials)
    numbers = [p.number for p in proposals]
    query = sa.select(tables["trials"].c.number, tables["trials"].c.trial_id).where(
        tables["trials"].c.study_id == study.optuna_id, tables["trials"].c.number.between(min(numbers), max(numbers))
    )
    ids = dict(connection.execute(query).all())
    rows: dict[str, list[dict]] = {
        "trial_params": [],
        "trial_values": [],
        "trial_user_attributes": [],
        "trial_system_attributes": [],
    }
    for p, numbers, notes in zip(proposals, values, extra, strict=True):
        trial_id = ids[p.number]
        for key, value in p.values.items():
            inner = float(distributions[key].to_internal_repr(value))
            rows["trial_params"].append(
                {"trial_id": trial_id, "param_name": key, "param_value": inner, "distribution_json": spelled[key]}
            )
        rows["trial_values"] += [
            {"trial_id": trial_id, "objective": i, "value": v, "value_type": "FINITE"} for i, v in enumerate(numbers)
        ]
        for table, items in (("trial_user_attributes", notes), ("trial_system_attributes", p.notes)):
            rows[table] += [{"trial_id": trial_id, "key": key, "value_json": json.dumps(v)} for key, v in items.items()]
    for table, entries in rows.items():
        if entries:
            connection.execute(tables[table].insert(), entries)


def _delete_optuna(connection, optuna_id: int) -> None:
    """Delete a study from Optuna's tables, which have no cascades of their own in the database."""
    tables = _optuna_tables()
    trials = sa.select(tables["trials"].c.trial_id).where(tables["trials"].c.study_id == optuna_id)
    for name, table in tables.items():
        if name.startswith("trial_"):
            connection.execute(table.delete().where(table.c.trial_id.in_(trials)))
    for name in ("trials", "study_directions", "study_user_attributes", "study_system_attributes", "studies"):
        connection.execute(tables[name].delete().where(tables[name].c.study_id == optuna_id))
