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
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import sqlalchemy as sa

from engine import DEFAULTS, RunResult
from studies.errors import JobError, NameTakenError, PlanError
from studies.imports import SUMMARY, ImportedSearch
from studies.objectives import OBJECTIVES, Summary
from studies.plans import Plan
from studies.schema import CHUNKS, JOBS, STUDIES, TRIALS
from studies.search import Search
from studies.store_jobs import Job
from studies.store_runs import check_text, rows_of

if TYPE_CHECKING:
    import pandas as pd

STUDY_COLUMNS = [
    "name",
    "id",
    "job_id",
    "status",
    "n_trials",
    "n_done",
    "n_seeds",
    "searched",
    "objectives",
    "sampler",
    "pruner",
]
STUDY_COLUMNS += ["created_at", "seconds", "tags", "note"]
"""Of the table of studies."""


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
    queue : list of dict
        Values of trials that people asked for and that are not begun.
    prior : list of (dict, list of float)
        Trials of the study it was warmed up with, that its sampler learned from first.
    seconds : float
        What its finished chunks took, pauses left out.
    """

    id: str
    name: str
    search: Search | ImportedSearch
    job: Job
    n_done: int
    optuna_id: int
    created_at: float
    note: str
    tags: str
    queue: list
    prior: list
    seconds: float

    @property
    def n_trials(self) -> int:
        """Trials that are planned, those that people asked for among them; of a study with a time limit, at most."""
        return self.job.n_runs // self.search.n_seeds


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
                raise NameTakenError(
                    f"name: expected a new one, found {search.name!r}, which another study has; extend that one, or fork it"
                )
        prior = self._prior(search) if search.warm_start else []
        directions = [OBJECTIVES[name].direction for name in search.objectives]
        storage = self.optuna_storage()
        try:
            theirs = optuna.create_study(storage=storage, study_name=search.name, directions=directions)
        except optuna.exceptions.DuplicatedStudyError:
            raise PlanError(
                f"name: expected a new one, found {search.name!r}, which a study of Optuna in this store has; give another"
            ) from None
        finally:
            storage.remove_session()
            storage.engine.dispose()  # or a connection of Optuna's would stay open
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
                    prior=json.dumps(prior),
                )
            )
        return study_id

    def add_imported(self, search: ImportedSearch, trials: list[tuple[dict, Summary]], times: tuple[float, float]) -> str:
        """Write a study that was made elsewhere, whole, and return its id.

        Parameters
        ----------
        trials : list of (dict, Summary)
            Values of the searched settings, and what they came to.
        times : (float, float)
            When its first trial began and its last one ended, in UTC seconds since 1970.

        Raises
        ------
        NameTakenError
            If another study has the name.
        """
        check_text("name", search.name)
        study_id, job_id, now = uuid.uuid4().hex, uuid.uuid4().hex, time.time()
        key = {"study_id": study_id}
        job = {"id": job_id, "kind": "import", "name": search.name, "plan": Plan.of().to_json(), "status": "finished"}
        job |= {"n_runs": len(trials), "n_iterations": len(trials), "iterations_done": len(trials)}
        job |= {"created_at": now, "heartbeat_at": now}
        study = {"id": study_id, "job_id": job_id, "name": search.name, "search": search.to_json(), "optuna_id": 0, "note": ""}
        chunk = key | {"number": 0, "state": "done", "n_trials": len(trials), "attributes": "{}"}
        chunk |= {"asked_at": times[0], "done_at": times[1], "seconds": times[1] - times[0]}
        rows = [
            key
            | {"number": number, "chunk": 0, "params": json.dumps(params), "notes": "{}"}
            | {"summary": json.dumps(dataclasses.asdict(summary))}
            for number, (params, summary) in enumerate(trials)
        ]
        with self.writing() as connection:
            if connection.scalar(sa.select(STUDIES.c.id).where(STUDIES.c.name == search.name)):
                raise NameTakenError(f"name: expected a new one, found {search.name!r}, which another study has; give another")
            connection.execute(JOBS.insert().values(**job))
            connection.execute(STUDIES.insert().values(**study, created_at=now))
            connection.execute(CHUNKS.insert().values(**chunk))
            connection.execute(TRIALS.insert(), rows)
        return study_id

    def _prior(self, search: Search) -> list:
        """Return the trials of the study that a search warms up with, as far as they lie in the search's space."""
        source = self.study(search.warm_start)
        if source.search.objectives != search.objectives:
            raise PlanError(
                f"warm_start: expected a study with the objectives {', '.join(search.objectives)}, found "
                f"{', '.join(source.search.objectives)} in {source.name!r}"
            )
        prior, names = [], set(search.space)
        for trial in self.trials(source.id):
            made_here = not isinstance(source.search, ImportedSearch)
            whole = source.search.config(trial.params, 1).to_dict() if made_here else DEFAULTS  # what a task leaves open is not
            values = {name: value for name, value in (whole | trial.params).items() if name in names}
            if trial.summary.state == "complete" and search.holds(values):
                prior.append(({name: values[name] for name in search.space}, trial.summary.values))
        if not prior:
            raise PlanError(f"warm_start: expected a study with finished trials in this space, found none in {source.name!r}")
        return prior

    def optuna_storage(self):
        """Return this store as Optuna opens it; Optuna makes its tables where there are none."""
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        for attempt in (1, 2):
            try:
                return optuna.storages.RDBStorage(self.url, engine_kwargs={"connect_args": {"timeout": 30}})
            except sa.exc.OperationalError:  # another process made the tables at the same moment
                if attempt == 2:
                    raise

    def study(self, study_id: str) -> Study:
        """Return one study by its id or name, or raise `JobError`."""
        rows = self._studies((STUDIES.c.id == study_id) | (STUDIES.c.name == study_id))
        if not rows:
            raise JobError(f"expected the id or name of a study, found {study_id!r}; it may have been deleted")
        return rows[0]

    def studies(self) -> list[Study]:
        """Return all studies, newest first."""
        return self._studies(sa.true())

    def studies_table(self) -> "pd.DataFrame":
        """Return all studies as a table, newest first.

        Returns
        -------
        DataFrame
            name, id, job_id; status, of the job; n_trials that are planned and n_done, n_seeds; searched, objectives, sampler,
            pruner, in words; created_at (UTC); seconds of training; tags, note.
        """
        import pandas as pd

        rows = [
            {"name": study.name, "id": study.id, "job_id": study.job.id, "status": study.job.status}
            | {"n_trials": study.n_trials, "n_done": study.n_done, "n_seeds": study.search.n_seeds}
            | {"searched": ", ".join(study.search.space), "objectives": ", ".join(study.search.objectives)}
            | {"sampler": study.search.sampler, "pruner": study.search.pruner}
            | {"created_at": study.created_at, "seconds": study.seconds, "tags": study.tags, "note": study.note}
            for study in self.studies()
        ]
        table = pd.DataFrame(rows, columns=STUDY_COLUMNS)
        return table.assign(created_at=pd.to_datetime(table["created_at"].astype(float), unit="s", utc=True))

    def trials_table(self, study: str) -> "pd.DataFrame":
        """Return the finished trials of the study with this name or id, one row each.

        Returns
        -------
        DataFrame
            number; the searched settings under their names; for each objective its mean under its name, and its median and
            spread over the seeds as median_... and spread_...; n seeds, n_lost of them diverged or overflowed, lost_low and
            lost_high (95 %); outcome, the most frequent one (of equal ones the first of `OUTCOMES`); state, complete or
            pruned; chunk; run_id of the first seed's run, None where it was deleted.
        """
        import pandas as pd

        found = self.study(study)
        search, trials = found.search, self.trial_columns(found.id)
        names, summaries = search.objectives, trials["summary"]
        columns = {"number": trials["number"]}
        columns |= {name: [params.get(name) for params in trials["params"]] for name in search.space}
        for i, name in enumerate(names):
            columns |= {name: [s["values"][i] for s in summaries]}
        for i, name in enumerate(names):
            columns |= {f"{part[:-1]}_{name}": [s[part][i] for s in summaries] for part in ("medians", "spreads")}
        for part in ("n", "n_lost", "lost_low", "lost_high"):
            columns[part] = [s[part] for s in summaries]
        for part, usual in (("outcome", ""), ("state", "complete")):
            columns[part] = [s.get(part, usual) for s in summaries]
        ids = self.run_ids(found.job.id)
        columns |= {"chunk": trials["chunk"]}
        columns |= {"run_id": pd.Series([ids.get(number * search.n_seeds) for number in trials["number"]], dtype=object)}
        return pd.DataFrame(columns)

    def study_of_job(self, job_id: str) -> Study:
        """Return the study that a job trains."""
        return self._studies(STUDIES.c.job_id == job_id)[0]

    def _studies(self, condition) -> list[Study]:
        ended = (CHUNKS.c.study_id == STUDIES.c.id) & (CHUNKS.c.state == "done")
        done = sa.select(sa.func.coalesce(sa.func.sum(CHUNKS.c.n_trials), 0)).where(ended)
        took = sa.select(sa.func.coalesce(sa.func.sum(CHUNKS.c.seconds), 0.0)).where(CHUNKS.c.study_id == STUDIES.c.id)
        parts = [done.scalar_subquery().label("n_done"), took.scalar_subquery().label("seconds")]
        query = sa.select(STUDIES, *parts).where(condition)
        with self.reading() as connection:
            rows = connection.execute(query.order_by(STUDIES.c.created_at.desc(), STUDIES.c.id)).all()
        return [
            Study(
                id=row.id,
                name=row.name,
                search=read_search(row.search),
                job=self.job(row.job_id),
                n_done=row.n_done,
                optuna_id=row.optuna_id,
                created_at=row.created_at,
                note=row.note,
                tags=row.tags,
                queue=json.loads(row.queue),
                prior=json.loads(row.prior),
                seconds=row.seconds,
            )
            for row in rows
        ]

    def trials(self, study_id: str, done: bool = True) -> list[Trial]:
        """Return a study's finished trials, or all that were asked, in their order."""
        query = sa.select(TRIALS).where(TRIALS.c.study_id == study_id).order_by(TRIALS.c.number)
        with self.reading() as connection:
            return [_trial(row) for row in connection.execute(query.where(TRIALS.c.summary.is_not(None)) if done else query)]

    def trial_columns(self, study_id: str) -> dict[str, list]:
        """Return a study's finished trials as columns of plain values: number, chunk, params and summary (dicts).

        For tables of many trials: half as long as `trials`, because each column is parsed in one go.
        """
        names = ("number", "chunk", "params", "summary")
        query = sa.select(*(TRIALS.c[name] for name in names)).where(
            TRIALS.c.study_id == study_id, TRIALS.c.summary.is_not(None)
        )
        with self.reading() as connection:
            rows = connection.execute(query.order_by(TRIALS.c.number)).all()
        columns = dict(zip(names, zip(*rows, strict=True), strict=True)) if rows else {name: () for name in names}
        return {n: json.loads(f"[{','.join(c)}]") if n in ("params", "summary") else list(c) for n, c in columns.items()}

    def trial(self, study_id: str, number: int) -> Trial:
        """Return one trial of a study, or raise `JobError`."""
        query = sa.select(TRIALS).where(TRIALS.c.study_id == study_id, TRIALS.c.number == number)
        with self.reading() as connection:
            row = connection.execute(query).one_or_none()
        if row is None:
            raise JobError(f"expected the number of one of the study's trials, found {number}")
        return _trial(row)

    def chunks(self, study_id: str) -> list[sa.Row]:
        """Return a study's chunks in their order: number, state, n_trials, attributes."""
        query = sa.select(CHUNKS).where(CHUNKS.c.study_id == study_id).order_by(CHUNKS.c.number)
        with self.reading() as connection:
            return list(connection.execute(query))

    def open_chunk(self, study: Study, token: str, number: int, proposals: list, attributes: dict, n_queued: int = 0) -> None:
        """Write what was asked, before it is trained; the first trials of the queue are no longer waiting then."""
        with self.writing() as connection:
            self.check_token(connection, study.job.id, token)
            if n_queued:
                mine = STUDIES.c.id == study.id
                queue = json.loads(connection.scalar(sa.select(STUDIES.c.queue).where(mine)))
                connection.execute(STUDIES.update().where(mine).values(queue=json.dumps(queue[n_queued:])))
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
        seconds: float,
    ) -> None:
        """Write what a chunk came to in one transaction: it is done, its trials, their runs and curves, Optuna's rows.

        Raises
        ------
        JobError
            If another process has taken the job over, or the chunk is not open; then nothing is written.
        """
        runs, curves = rows_of(study.job.id, results)
        ids = {run["number"]: run["id"] for run in runs}
        plain_summaries = [dict(vars(summary)) for summary in summaries]
        with self.writing() as connection:
            self.check_token(connection, study.job.id, token)
            mine = (CHUNKS.c.study_id == study.id) & (CHUNKS.c.number == number) & (CHUNKS.c.state == "open")
            changes = {"state": "done", "done_at": time.time(), "seconds": seconds, "attributes": json.dumps(attributes)}
            if connection.execute(CHUNKS.update().where(mine).values(**changes)).rowcount != 1:
                raise JobError(f"chunk {number} of study {study.name!r} is not open any more")
            mine = (TRIALS.c.study_id == study.id) & (TRIALS.c.number == sa.bindparam("its_number"))
            rows = [
                {"its_number": p.number, "notes": json.dumps(p.notes), "summary": json.dumps(plain)}
                for p, plain in zip(proposals, plain_summaries, strict=True)
            ]
            connection.execute(TRIALS.update().where(mine), rows)
            self.write_results(connection, study.job.id, runs, curves)
            n = study.search.n_seeds
            extra = [
                {"brink:runs": [ids[n * p.number + i] for i in range(n)], SUMMARY: s}
                for p, s in zip(proposals, plain_summaries, strict=True)
            ]
            values = [s.pruned_at[-1:] or s.values for s in summaries]  # Optuna gives a pruned trial that of its last rung
            write_optuna(connection, study, proposals, values, extra, distributions)

    def extend_study(self, study_id: str, n_more: int = 0, more_seconds: float = 0) -> str:
        """Give a study more trials, or more time if it has a time limit; return the id of its job.

        A study that is being trained goes on with them by itself; an idle one can be resumed then. Where the last chunk of a
        sampler that learns was not full, the new trials are others than those of a search made so long at once.

        Raises
        ------
        PlanError
            If the space has no so many trials.
        """

        def longer(search: Search) -> Search:
            if more_seconds and not search.seconds:
                raise PlanError(f"seconds: expected a study with a time limit, found {search.name!r}, which has none")
            seconds = search.seconds + more_seconds if search.seconds else None
            longer = dataclasses.replace(search, n_trials=search.n_trials + n_more, seconds=seconds)
            if longer.n_trials != search.n_trials + n_more or n_more < 0 or not (n_more or more_seconds):
                limit = "" if math.isinf(search.size) else f", at most {search.size:,} in all"  # a grid has what it has
                raise PlanError(f"n_trials: expected one or more new trials{limit}, found {n_more:,} more")
            return longer

        return self._lengthen(self._trainable(study_id).id, longer, n_more, [])

    def enqueue(self, study_id: str, trials: list[dict]) -> str:
        """Let a study try some values next, beside those its sampler proposes; return the id of its job, as `extend_study`.

        Raises
        ------
        PlanError
            If there are none, or values are missing or lie outside the space.
        """
        study = self._trainable(study_id)
        search = study.search
        if not trials:
            raise PlanError("expected values of one or more trials, found none")
        for values in trials:
            if not search.holds(values):
                raise PlanError(
                    f"expected values of {', '.join(search.space)} within the study's space, found {json.dumps(values)}; "
                    "fork the study to search elsewhere"
                )
            search.config(values, 1)  # says what does not go together
        return self._lengthen(study.id, lambda search: search, len(trials), trials)

    def _trainable(self, study_id: str) -> Study:
        """Return a study that was made here."""
        study = self.study(study_id)
        if isinstance(study.search, ImportedSearch):
            source = study.search.source
            raise PlanError(f"study {study.name!r}: expected one that was made here, found one imported from {source}")
        return study

    def _lengthen(self, study_id: str, longer: Callable[[Search], Search], n_more: int, queued: list[dict]) -> str:
        """Write that a study has more to do, and that its job may be resumed where nobody works on it."""
        with self.writing() as connection:
            row = connection.execute(sa.select(STUDIES).where(STUDIES.c.id == study_id)).one()
            search = longer(read_search(row.search))
            job = connection.execute(sa.select(JOBS).where(JOBS.c.id == row.job_id)).one()
            n_runs = job.n_runs + n_more * search.n_seeds
            if search.seconds:
                n_runs = max(n_runs, search.n_trials * search.n_seeds)
            each = search.n_iterations // (search.n_trials * search.n_seeds)
            changes = {"n_runs": n_runs, "n_iterations": each * n_runs}
            changes |= {"status": "stopped"} if job.status == "finished" else {}
            connection.execute(JOBS.update().where(JOBS.c.id == job.id).values(**changes))
            queue = json.dumps(json.loads(row.queue) + queued)
            connection.execute(STUDIES.update().where(STUDIES.c.id == row.id).values(search=search.to_json(), queue=queue))
        return job.id

    def settle(self, study: Study, token: str, n_trials: int) -> Job | None:
        """Write how many trials a study came to whose time is over; return its job, or None if it has got more to do."""
        n_runs = n_trials * study.search.n_seeds
        each = study.search.n_iterations // (study.search.n_trials * study.search.n_seeds)
        with self.writing() as connection:
            self.check_token(connection, study.job.id, token)
            row = connection.execute(sa.select(STUDIES.c.search, STUDIES.c.queue).where(STUDIES.c.id == study.id)).one()
            if json.loads(row.queue) or read_search(row.search) != study.search:
                return None
            changes = {"n_runs": n_runs, "n_iterations": max(1, each * n_runs)}
            connection.execute(JOBS.update().where(JOBS.c.id == study.job.id).values(**changes))
        return self.job(study.job.id)

    def describe_study(self, study_id: str, name: str, note: str, tags: str) -> None:
        """Give a study another name, a note, and tags (words with commas), stored literally; Optuna's study is renamed too.

        Raises
        ------
        PlanError
            If another study has the name.
        """
        study = self.study(study_id)
        for what, text in (("name", name), ("note", note), ("tags", tags)):
            check_text(what, text)
        dataclasses.replace(study.search, name=name)  # says what is wrong with a name
        tables, tags = optuna_tables(), ", ".join(dict.fromkeys(filter(None, map(str.strip, tags.split(",")))))
        theirs = tables["studies"]
        with self.writing() as connection:
            taken = sa.select(STUDIES.c.id).where(STUDIES.c.name == name, STUDIES.c.id != study.id)
            taken_there = sa.select(theirs.c.study_id).where(theirs.c.study_name == name, theirs.c.study_id != study.optuna_id)
            if connection.scalar(taken) or (study.optuna_id and connection.scalar(taken_there)):
                raise NameTakenError(f"name: expected a new one, found {name!r}, which another study has")
            now = connection.scalar(sa.select(STUDIES.c.search).where(STUDIES.c.id == study.id))
            search = dataclasses.replace(read_search(now), name=name)
            changes = {"name": name, "note": note, "tags": tags, "search": search.to_json()}
            connection.execute(STUDIES.update().where(STUDIES.c.id == study.id).values(**changes))
            connection.execute(JOBS.update().where(JOBS.c.id == study.job.id).values(name=name))
            if study.optuna_id:  # not of one that was imported
                mine = (theirs.c.study_id == study.optuna_id) & (theirs.c.study_name == study.name)
                connection.execute(theirs.update().where(mine).values(study_name=name))

    def delete_study(self, study_id: str) -> None:
        """Delete a study with its job, trials, runs and curves, and its study in Optuna's tables."""
        study = self.study(study_id)
        tables = optuna_tables()
        with self.writing() as connection:
            connection.execute(JOBS.delete().where(JOBS.c.id == study.job.id))
            name = sa.select(tables["studies"].c.study_name).where(tables["studies"].c.study_id == study.optuna_id)
            if study.optuna_id and connection.scalar(name) == study.name:
                _delete_optuna(connection, study.optuna_id)


def read_search(text: str) -> Search | ImportedSearch:
    """Return the search that a study's row holds as JSON."""
    raw = json.loads(text)
    return ImportedSearch.from_dict(raw) if "directions" in raw else Search.from_json(text)


def _trial(row: sa.Row) -> Trial:
    return Trial(row.number, row.chunk, json.loads(row.params), json.loads(row.notes), read_summary(row.summary))


def read_summary(text: str | None) -> Summary | None:
    """Return the summary that a trial's row holds as JSON; None while it is trained."""
    if text is None:
        return None
    raw = json.loads(text)
    return Summary(**{name: tuple(value) if isinstance(value, list) else value for name, value in raw.items()})


def optuna_tables() -> dict[str, sa.Table]:
    """Return Optuna's own tables by name."""
    from optuna.storages._rdb import models

    return dict(models.BaseModel.metadata.tables)


def write_optuna(connection, study: Study, proposals, values, extra, distributions) -> None:
    """Insert finished trials into Optuna's tables."""
    from optuna.distributions import distribution_to_json

    tables, now = optuna_tables(), datetime.datetime.now(datetime.UTC).replace(tzinfo=None)
    spelled = {name: distribution_to_json(distribution) for name, distribution in distributions.items()}
    theirs = tables["studies"]
    ours = sa.select(STUDIES.c.name).where(STUDIES.c.id == study.id).scalar_subquery()  # it may have another name by now
    there = sa.select(theirs.c.study_id).where(theirs.c.study_id == study.optuna_id, theirs.c.study_name == ours)
    if connection.scalar(there) is None:
        raise JobError(f"study {study.name!r}: expected it in Optuna's tables, found it deleted there")
    trials = [
        {
            "number": p.number,
            "study_id": study.optuna_id,
            "state": "PRUNED" if p.rungs else "COMPLETE",
            "datetime_start": now,
            "datetime_complete": now,
        }
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
        "trial_intermediate_values": [],
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
        rows["trial_intermediate_values"] += [
            {"trial_id": trial_id, "step": i, "intermediate_value": v, "intermediate_value_type": "FINITE"}
            for i, v in enumerate(p.rungs)
        ]
        for table, items in (("trial_user_attributes", notes), ("trial_system_attributes", p.notes)):
            rows[table] += [{"trial_id": trial_id, "key": key, "value_json": json.dumps(v)} for key, v in items.items()]
    for table, entries in rows.items():
        if entries:
            connection.execute(tables[table].insert(), entries)


def _delete_optuna(connection, optuna_id: int) -> None:
    """Delete a study from Optuna's tables, which have no cascades of their own in the database."""
    tables = optuna_tables()
    trials = sa.select(tables["trials"].c.trial_id).where(tables["trials"].c.study_id == optuna_id)
    for name, table in tables.items():
        if name.startswith("trial_"):
            connection.execute(table.delete().where(table.c.trial_id.in_(trials)))
    for name in ("trials", "study_directions", "study_user_attributes", "study_system_attributes", "studies"):
        connection.execute(tables[name].delete().where(tables[name].c.study_id == optuna_id))
