import contextlib
import multiprocessing
import os
import signal
import sqlite3
import statistics
import subprocess
import sys
from pathlib import Path

import optuna
import pytest
import sqlalchemy as sa

from engine import train
from studies import JobError, Plan, StoreError, driver, open_store
from studies.errors import PlanError
from studies.jobs import run_job
from studies.objectives import summarize
from studies.sampling import Mirror, distributions
from studies.search import SAMPLERS as ALL
from studies.search import Choices, Range, Search

SAMPLERS = [sampler for sampler in ALL if sampler != "gp"]
"""The Gaussian process needs seconds for a chunk, and torch; it has a file of its own."""

ROOT = Path(__file__).parents[2]


def search(sampler="tpe", **changes):
    """Return a search of three chunks (4, 4 and 2 trials) with two seeds each; every chunk has some populations."""
    space = {
        "learning_rate": Range(0.01, 100, log=True),
        "hidden_size": Range(2, 4),
        "activation": Choices(["sigmoid", "relu"]),
        "clip_norm": Choices([None, 1.0]),
    }
    usual = {"fixed": {"n_iterations": 30}, "n_trials": 10, "batch": 4, "n_seeds": 2, "points": 2, "seed": 3}
    return Search(**{"name": f"study by {sampler}", "space": space, "sampler": sampler} | usual | changes)


def plain_search(name, **changes):
    """Return a search whose chunks are one population each, trained in slices of 5 and 1 iterations."""
    fixed = {"n_iterations": 6, "hidden_size": 2}
    space = {"learning_rate": Range(0.01, 1, log=True)}
    return Search(**{"name": name, "space": space, "fixed": fixed, "n_trials": 8, "batch": 4} | changes)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, facts, trained):
    """What each sampler's search comes to in one go, by name; nobody changes it."""
    store = open_store(f"sqlite:///{tmp_path_factory.mktemp('undisturbed') / 'brink.db'}")
    return {sampler: facts(store, trained(store, search(sampler))) for sampler in SAMPLERS}


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_study_s_trials_and_runs_are_those_of_sampler_and_engine(sampler, store, trained):
    made = search(sampler)
    study_id = trained(store, made)
    study, trials = store.study(study_id), store.trials(study_id)
    assert (study.search, study.n_done, study.job.status, study.job.progress) == (made, 10, "finished", 1)
    assert [trial.number for trial in trials] == list(range(10))
    mirror, played = Mirror(made, [], {}), []
    for chunk, n in enumerate((4, 4, 2)):
        asked = mirror.ask(chunk, n)
        results = [train([made.config(proposal.values, seed) for seed in (1, 2)]) for proposal in asked]
        summaries = [summarize(pair, ("final_loss",)) for pair in results]
        mirror.tell(asked, [summary.values for summary in summaries])
        played += zip(asked, summaries, results, strict=True)
    assert [(trial.params, trial.summary) for trial in trials] == [(asked.values, summary) for asked, summary, _ in played]
    expected = [result for _, _, results in played for result in results]
    table = store.runs(study.job.id)
    assert list(table["number"]) == list(range(20))
    assert list(table["identity"]) == [result.config.identity for result in expected]
    assert list(table["fingerprint"]) == [result.fingerprint for result in expected]
    assert list(table["seed"]) == [1, 2] * 10
    first = trials[3].summary
    assert first.values == (pytest.approx(statistics.fmean(min(result.final_loss, 10) for result in played[3][2])),)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_optuna_reads_a_study_as_one_of_its_own(sampler, store, trained):
    made = search(sampler)
    study_id = trained(store, made)
    trials, runs = store.trials(study_id), store.runs(store.study(study_id).job.id)["id"]
    theirs = optuna.load_study(study_name=made.name, storage=store.optuna_storage())
    assert [direction.name for direction in theirs.directions] == ["MINIMIZE"]
    found = theirs.get_trials()
    assert [trial.state.name for trial in found] == ["COMPLETE"] * 10
    assert [trial.number for trial in found] == list(range(10))
    assert [trial.params for trial in found] == [trial.params for trial in trials]
    assert [tuple(trial.values) for trial in found] == [trial.summary.values for trial in trials]
    assert [run for trial in found for run in trial.user_attrs["brink:runs"]] == list(runs)
    assert all(trial.user_attrs["brink:summary"]["n"] == 2 for trial in found)
    assert all(trial.distributions == distributions(made) for trial in found)
    assert all(trial.datetime_start <= trial.datetime_complete for trial in found)
    assert theirs.best_trial.number == min(trials, key=lambda trial: trial.summary.values).number
    table = theirs.trials_dataframe()
    assert list(table["params_learning_rate"]) == [trial.params["learning_rate"] for trial in trials]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_optuna_goes_on_with_a_copy_of_a_study(sampler, store, tmp_path, trained, everything):
    made, copy = search(sampler), tmp_path / "copy.db"
    trained(store, made)
    with (
        contextlib.closing(sqlite3.connect(store.engine.url.database)) as source,
        contextlib.closing(sqlite3.connect(copy)) as target,
    ):
        source.backup(target)
    before = everything(store)
    theirs = optuna.load_study(study_name=made.name, storage=f"sqlite:///{copy}")
    trial = theirs.ask(distributions(made))
    theirs.tell(trial, -1.0)
    assert (trial.number, theirs.best_trial.number, len(theirs.trials)) == (10, 10, 11)
    assert everything(store) == before


def test_a_study_with_two_objectives_has_both_in_optuna_s_tables(store, trained):
    study_id = trained(store, search(objectives=("accuracy", "cost"), n_trials=6))
    trials = store.trials(study_id)
    theirs = optuna.load_study(study_name="study by tpe", storage=store.optuna_storage())
    assert [direction.name for direction in theirs.directions] == ["MAXIMIZE", "MINIMIZE"]
    assert [tuple(trial.values) for trial in theirs.trials] == [trial.summary.values for trial in trials]
    values = [(-accuracy, cost) for accuracy, cost in (trial.summary.values for trial in trials)]
    best = [i for i, (a, c) in enumerate(values) if not any(o != (a, c) and o[0] <= a and o[1] <= c for o in values)]
    assert sorted(trial.number for trial in theirs.best_trials) == best


def test_two_workers_make_the_same_study_as_one(store, undisturbed, monkeypatch, facts, trained):
    monkeypatch.setattr(driver, "WORTH_A_POOL", 0)
    pids = set()
    note = lambda share: pids.update(child.pid for child in multiprocessing.active_children())  # noqa: E731
    study_id = trained(store, search(), 2, note)
    assert len(pids) == 2
    assert facts(store, study_id) == undisturbed["tpe"]


def test_a_study_among_numbers_of_iterations_ends_with_all_of_its_progress(store, trained):
    shares, made = [], search(space={"n_iterations": Range(3, 30)}, fixed={"hidden_size": 2})
    study_id = trained(store, made, 1, shares.append)
    assert shares == sorted(shares)
    assert (shares[0], shares[-1], store.study(study_id).job.progress) == (0, 1, 1)
    most = [store.runs().set_index("number")["iterations"][2 * trial.number] for trial in store.trials(study_id)]
    assert most == [trial.params["n_iterations"] for trial in store.trials(study_id)]


def stop_at(store, study_id, share_to_stop):
    job_id = store.study(study_id).job.id
    return lambda share: store.request_stop(job_id) if share >= share_to_stop else None


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_study_stopped_in_mid_chunk_goes_on_as_if_nothing_had_been(sampler, store, undisturbed, small_slices, facts):
    study_id = store.add_study(search(sampler))
    job_id = store.study(study_id).job.id
    for share, n_done in ((0.1, 0), (0.5, 4), (0.9, 8)):
        assert run_job(store, job_id, 1, stop_at(store, study_id, share)) == "stopped"
        study = store.study(study_id)
        assert (study.n_done, study.job.status, study.job.n_saved) == (n_done, "stopped", 2 * n_done)
        assert [chunk.state for chunk in store.chunks(study_id)] == ["done"] * (n_done // 4) + ["open"]
        assert len(facts(store, study_id)["optuna"]) == n_done
        store.wait_again(job_id)
    shares = []
    assert run_job(store, job_id, 1, shares.append) == "finished"
    assert (shares[0], shares[-1]) == (0.8, 1)
    assert facts(store, study_id) == undisturbed[sampler]


def test_a_study_stopped_between_two_chunks_is_stopped_and_goes_on(store, small_slices, facts, trained):
    whole = facts(store, trained(store, plain_search("whole")))
    study_id = store.add_study(plain_search("in parts"))
    job_id = store.study(study_id).job.id
    assert run_job(store, job_id, 1, stop_at(store, study_id, 5 / 12)) == "stopped"
    assert [chunk.state for chunk in store.chunks(study_id)] == ["done"]
    assert (store.study(study_id).n_done, store.job(job_id).status) == (4, "stopped")
    store.wait_again(job_id)
    assert run_job(store, job_id, 1) == "finished"
    assert facts(store, study_id) == whole


def test_a_request_to_stop_that_comes_with_the_last_chunk_leaves_a_finished_study(store, small_slices):
    study_id = store.add_study(plain_search("late"))
    assert run_job(store, store.study(study_id).job.id, 1, stop_at(store, study_id, 11 / 12)) == "finished"
    assert (store.study(study_id).n_done, store.study(study_id).job.status) == (8, "finished")


def test_a_study_stopped_before_it_began_goes_on(store, undisturbed, facts):
    study_id = store.add_study(search())
    job_id = store.study(study_id).job.id
    store.request_stop(job_id)
    assert run_job(store, job_id, 1) == "stopped"
    assert store.chunks(study_id) == []
    store.wait_again(job_id)
    assert run_job(store, job_id, 1) == "finished"
    assert facts(store, study_id) == undisturbed["tpe"]


DIES = """if True:
    import os, signal, sys
    from studies import driver, open_store, store_studies
    from studies.jobs import run_job

    url, job_id, where, times = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
    place = {"_advance": driver, "write_optuna": store_studies}.get(where, store_studies.StudyRecords)
    function, calls = getattr(place, where), []

    def dying(*arguments):
        answer = function(*arguments)
        calls.append(where)
        if len(calls) == times:
            os.kill(os.getpid(), signal.SIGKILL)
        return answer

    setattr(place, where, dying)
    driver.SLICE_SECONDS = 1e-6
    run_job(open_store(url), job_id, 1)"""
"""Trains a job and is killed at the end of the so-many-th call of a function."""


@pytest.mark.parametrize(
    ("where", "times", "n_done", "sampler"),
    [
        ("open_chunk", 1, 0, "cmaes"),  # asked, nothing trained
        ("_advance", 90, 4, "tpe"),  # in the second chunk
        ("write_optuna", 2, 4, "qmc"),  # all is written, but not committed
        ("end_chunk", 1, 4, "cmaes"),  # committed, nothing asked
        ("end_chunk", 3, 10, "random"),  # all is done, but the job does not know
    ],
)
def test_a_killed_study_goes_on_without_losing_or_doubling_anything(
    where, times, n_done, sampler, store, sql, undisturbed, facts
):
    study_id = store.add_study(search(sampler))
    job_id = store.study(study_id).job.id
    process = subprocess.run([sys.executable, "-c", DIES, store.url, job_id, where, str(times)], cwd=ROOT, timeout=60)
    assert process.returncode == -signal.SIGKILL
    study = store.study(study_id)
    assert (study.n_done, study.job.status, study.job.n_saved) == (n_done, "running", 2 * n_done)
    assert sql(store, "SELECT count(*) FROM trials") == [(n_done,)]
    assert sql(store, "PRAGMA integrity_check") == [("ok",)]
    sql(store, "UPDATE lab_job SET heartbeat_at = 0")
    store.wait_again(job_id)
    assert run_job(store, job_id, 1) == "finished"
    assert facts(store, study_id) == undisturbed[sampler]
    assert sql(store, "SELECT state, count(*), count(DISTINCT number) FROM trials GROUP BY state") == [("COMPLETE", 10, 10)]
    assert sql(store, "SELECT status, count(*), count(DISTINCT number) FROM lab_run GROUP BY status") == [("finished", 20, 20)]


def test_names_that_are_taken_are_refused_and_nothing_is_written(store, everything):
    store.add_study(search())
    optuna.create_study(study_name="theirs", storage=store.optuna_storage())
    before = everything(store)
    with pytest.raises(PlanError, match="name: expected a new one, found 'study by tpe', which another study has"):
        store.add_study(search(n_trials=3))
    with pytest.raises(PlanError, match="name: expected a new one, found 'theirs', which a study of Optuna in this store has"):
        store.add_study(search(name="theirs"))
    with pytest.raises(StoreError, match="half of a surrogate pair"):
        store.add_study(search(name="\ud800"))
    assert everything(store) == before


def test_a_study_is_found_by_its_id_its_name_and_its_job(store):
    ids = [store.add_study(search(name=name)) for name in ("first", "second")]
    assert [study.id for study in store.studies()] == ids[::-1]
    for study_id, name in zip(ids, ("first", "second"), strict=True):
        study = store.study(study_id)
        assert study == store.study(name) == store.study_of_job(study.job.id)
        assert (study.n_done, study.job.status, study.job.kind, study.job.n_runs) == (0, "waiting", "search", 20)
    with pytest.raises(JobError, match="expected the id or name of a study, found 'third'"):
        store.study("third")


def test_jobs_lists_no_searches(store):
    plan_job = store.add_job(Plan.of(n_iterations=1))
    study = store.study(store.add_study(search()))
    assert [job.id for job in store.jobs()] == [plan_job]
    assert [job.id for job in store.jobs(kind="search")] == [study.job.id]


def test_deleting_a_study_deletes_exactly_what_belongs_to_it(store, facts, trained, everything):
    theirs = optuna.create_study(study_name="theirs", storage=store.optuna_storage())
    theirs.set_user_attr("a", 1)
    theirs.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=2)
    kept = facts(store, trained(store, search("qmc")))
    run_job(store, store.add_job(Plan.of(n_iterations=2)), 1)
    before = everything(store)
    for name in ("by id", "by name"):
        study_id = trained(store, search("cmaes", name=name))
        assert len(everything(store)["trials"]) == 22
        store.delete_study(study_id if name == "by id" else name)
        assert everything(store) == before
    store.add_study(search("cmaes", name="by name"))
    assert facts(store, store.study("study by qmc").id) == kept


def behind_our_back(store, name, planted=None):
    """Delete a study in Optuna's tables and, perhaps, make another one there, which gets its number."""
    storage = store.optuna_storage()
    with contextlib.suppress(KeyError):
        optuna.delete_study(study_name=name, storage=storage)
        if planted:
            optuna.create_study(study_name=planted, storage=storage)


@pytest.mark.parametrize("planted", [None, "planted"])
def test_a_study_deleted_in_optuna_s_tables_fails_and_leaves_other_studies_alone(planted, store, sql):
    study_id = store.add_study(search())
    study = store.study(study_id)
    with pytest.raises(JobError, match="'study by tpe': expected it in Optuna's tables, found it deleted there"):
        run_job(store, study.job.id, 1, lambda share: behind_our_back(store, study.name, planted))
    assert sql(store, "SELECT study_id FROM studies") == [(study.optuna_id,)] * bool(planted)
    assert (store.job(study.job.id).status, store.study(study_id).n_done, len(store.runs())) == ("failed", 0, 0)
    assert "found it deleted there" in store.job(study.job.id).error
    assert sql(store, "SELECT count(*) FROM trials") == [(0,)]
    store.delete_study(study_id)
    assert sql(store, "SELECT study_name FROM studies") == [("planted",)] * bool(planted)
    assert sql(store, "SELECT count(*) FROM lab_job") == [(0,)]


def test_an_open_chunk_that_the_sampler_does_not_ask_again_is_refused(store, sql, small_slices):
    study_id = store.add_study(search())
    job_id = store.study(study_id).job.id
    assert run_job(store, job_id, 1, stop_at(store, study_id, 0.5)) == "stopped"
    sql(store, """UPDATE lab_trial SET params = '{"hidden_size": 2}' WHERE number = 5""")
    store.wait_again(job_id)
    with pytest.raises(JobError, match=r"expected the trials that were asked before, found others; .* another version"):
        run_job(store, job_id, 1)
    assert store.study(study_id).n_done == 4


def test_a_chunk_ends_once_and_only_by_the_process_that_has_its_job(store, everything):
    made = plain_search("by hand")
    study = store.study(store.add_study(made))
    token, mirror = store.claim(study.job.id), Mirror(made, [], {})
    asked = mirror.ask(0, 4)
    unasked = everything(store)
    with pytest.raises(JobError, match="deleted or taken over by another process"):
        store.open_chunk(study, "foreign", 0, asked, {})
    assert everything(store) == unasked
    store.open_chunk(study, token, 0, asked, {})
    assert [trial.summary for trial in store.trials(study.id, done=False)] == [None] * 4
    assert store.trials(study.id) == []
    results = train([made.config(proposal.values, 1) for proposal in asked])
    summaries = [summarize([result], made.objectives) for result in results]
    told = mirror.tell(asked, [summary.values for summary in summaries])
    rest = (0, told, summaries, list(enumerate(results)), mirror.attributes, mirror.distributions, 2.5)
    before = everything(store)
    with pytest.raises(JobError, match="deleted or taken over by another process"):
        store.end_chunk(study, "foreign", *rest)
    with pytest.raises(JobError, match="chunk 1 of study 'by hand' is not open any more"):
        store.end_chunk(study, token, 1, *rest[1:])
    assert everything(store) == before
    store.end_chunk(study, token, *rest)
    after = everything(store)
    assert [trial.summary for trial in store.trials(study.id)] == summaries
    assert [(chunk.state, chunk.seconds) for chunk in store.chunks(study.id)] == [("done", 2.5)]
    with pytest.raises(JobError, match="chunk 0 of study 'by hand' is not open any more"):
        store.end_chunk(study, token, *rest)
    assert everything(store) == after != before


def test_a_study_whose_worker_is_killed_still_comes_to_the_same(store, undisturbed, monkeypatch, facts, trained):
    monkeypatch.setattr(driver, "WORTH_A_POOL", 0)
    killed = []

    def kill_one(share):
        if share > 0.1 and not killed:
            killed.append(multiprocessing.active_children()[0])
            os.kill(killed[0].pid, signal.SIGKILL)
            killed[0].join()

    study_id = trained(store, search(), 2, kill_one)
    assert [process.exitcode for process in killed] == [-signal.SIGKILL]
    assert facts(store, study_id) == undisturbed["tpe"]


def test_optuna_s_tables_made_by_another_process_at_the_same_moment_are_no_trouble(store, monkeypatch):
    tried, real = [], optuna.storages.RDBStorage.__init__

    def late(self, *arguments, **options):
        tried.append(options)
        if len(tried) == 1:
            raise sa.exc.OperationalError("CREATE TABLE alembic_version", {}, Exception("table alembic_version already exists"))
        real(self, *arguments, **options)

    monkeypatch.setattr(optuna.storages.RDBStorage, "__init__", late)
    study_id = store.add_study(plain_search("first"))
    assert (len(tried), store.study(study_id).name) == (2, "first")


def test_the_tables_of_an_empty_store_have_their_columns(store):
    table = store.studies_table()
    assert len(table) == 0
    assert table["created_at"].dt.tz is not None
    with pytest.raises(JobError, match="expected the id or name of a study, found 'rates'"):
        store.runs(study="rates")
