"""A hundred times kill -9 at random moments: nothing is lost, nothing doubled, and every study comes to the same."""

import contextlib
import dataclasses
import os
import random
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from studies.search import Choices, Range, Search

ROOT = Path(__file__).parents[2]
N_KILLS, N_WITH_WORKERS = 100, 3

HELPER = """if True:
    import os, sys
    import numpy, optuna, optuna.storages, scipy.stats, sqlalchemy.dialects.sqlite
    from studies import driver, open_store, sampling
    from studies.jobs import run_job

    driver.SLICE_SECONDS = 0.05
    for line in sys.stdin:
        url, job_id, n_workers = line.split()
        child = os.fork()
        if not child:
            code = 1
            try:
                driver.WORTH_A_POOL = 0 if int(n_workers) > 1 else driver.WORTH_A_POOL
                run_job(open_store(url), job_id, int(n_workers))
                code = 0
            finally:
                os._exit(code)
        print(child, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)"""
"""Has loaded everything; forks a process for each job that it reads, and prints its number and how it ended."""


@pytest.fixture
def helper():
    """A process that starts drivers in milliseconds."""
    with subprocess.Popen(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", HELPER],
        cwd=ROOT,
        text=True,
        bufsize=1,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},
    ) as process:
        yield process
        process.kill()


def drive(helper, store, job_id, n_workers=1, seconds=None):
    """Let a process train a job and kill it after some seconds; return how it ended and how long it took."""
    helper.stdin.write(f"{store.url} {job_id} {n_workers}\n")
    pid, started = int(helper.stdout.readline()), time.monotonic()
    if not select.select([helper.stdout], [], [], seconds)[0]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return int(helper.stdout.readline()), time.monotonic() - started


def search(name, sampler, pruner, **changes):
    """Return a search of four chunks, each of up to two populations, with two seeds."""
    space = {
        "learning_rate": Range(0.01, 1000, log=True),
        "weight_init_std": Range(0.01, 30, log=True),
        "activation": Choices(["tanh", "softplus"]),
        "hidden_size": Range(2, 3),
    }
    fixed = {"n_iterations": 100, "dtype": "float32"}
    usual = {"fixed": fixed, "n_trials": 14, "batch": 4, "n_seeds": 2, "points": 2, "seed": 5}
    return Search(**{"name": name, "space": space, "sampler": sampler, "pruner": pruner} | usual | changes)


KINDS = [
    ("random", "none"),
    ("tpe", "halving"),
    ("grid", "median"),
    ("tpe", "none"),
    ("qmc", "hyperband"),
    ("random", "median"),
]


def check_consistent(store, study_id, sql, n_done):
    """Look at a store whose driver was just killed; return how many trials are done."""
    study, trials, chunks = store.study(study_id), store.trials(study_id, done=False), store.chunks(study_id)
    assert sql(store, "PRAGMA integrity_check") == [("ok",)]
    states = [chunk.state for chunk in chunks]
    assert set(states[:-1]) <= {"done"}
    assert [chunk.number for chunk in chunks] == list(range(len(chunks)))
    finished = [trial.number for trial in trials if trial.summary]
    assert [trial.number for trial in trials] == list(range(sum(chunk.n_trials for chunk in chunks)))
    assert finished == list(range(sum(chunk.n_trials for chunk in chunks if chunk.state == "done")))
    assert len(finished) == study.n_done >= n_done
    n_seeds = study.search.n_seeds
    runs = sql(store, "SELECT number FROM lab_run WHERE job_id = ? ORDER BY number", study.job.id)
    assert runs == [(number,) for number in range(n_seeds * len(finished))]
    theirs = sql(store, "SELECT number, state FROM trials WHERE study_id = ? ORDER BY number", study.optuna_id)
    names = {"complete": "COMPLETE", "pruned": "PRUNED"}
    assert theirs == [(trial.number, names[trial.summary.state]) for trial in trials if trial.summary]
    loose = "SELECT count(*) FROM {} WHERE {} NOT IN (SELECT {} FROM {})"
    for part, whole in (("trial_params", "trials"), ("trial_values", "trials"), ("trial_intermediate_values", "trials")):
        assert sql(store, loose.format(part, "trial_id", "trial_id", whole)) == [(0,)]
    assert sql(store, loose.format("lab_curve", "run_id", "id", "lab_run")) == [(0,)]
    return len(finished)


def kill_and_resume(helper, store, sql, study_id, n_workers, moments):
    """Train a study to its end, each process killed after the next of some moments; return how many were killed."""
    job_id, n_done, kills = store.study(study_id).job.id, 0, 0
    while store.job(job_id).status != "finished":
        code, _ = drive(helper, store, job_id, n_workers, next(moments, None))
        assert code in (0, -signal.SIGKILL)
        kills += code != 0
        n_done = check_consistent(store, study_id, sql, n_done)
        if store.job(job_id).status != "finished":
            assert code
            sql(store, "UPDATE lab_job SET heartbeat_at = 0 WHERE id = ?", job_id)
            store.wait_again(job_id)
    return kills


pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork to start a hundred processes quickly"),
    pytest.mark.timeout(600),
]


def test_studies_killed_a_hundred_times_at_random_moments_come_to_what_they_come_to_undisturbed(store, sql, facts, helper):
    whole, seconds = {}, {}
    for sampler, pruner in KINDS:
        study_id = store.add_study(search(f"{sampler} {pruner}", sampler, pruner))
        code, seconds[sampler, pruner] = drive(helper, store, store.study(study_id).job.id)
        assert code == 0
        whole[sampler, pruner] = facts(store, study_id)
    rng, kills, studies = random.Random(1), 0, 0
    while kills < N_KILLS:
        kind = KINDS[studies % len(KINDS)]
        study_id = store.add_study(dataclasses.replace(search("x", *kind), name=f"study {studies}"))
        moments = [rng.uniform(0, 0.5 * seconds[kind]) for _ in range(min(9, N_KILLS - kills))]
        kills += kill_and_resume(helper, store, sql, study_id, 1, iter(moments))
        assert facts(store, study_id) == whole[kind]
        studies += 1
        store.delete_study(study_id)
    assert kills == N_KILLS
    assert studies >= N_KILLS / 9


def test_a_study_with_two_workers_killed_at_random_moments_comes_to_the_same(store, sql, facts, helper):
    plain, same, killed = (store.add_study(search(name, "tpe", "halving", n_trials=8)) for name in ("plain", "same", "killed"))
    assert drive(helper, store, store.study(plain).job.id)[0] == 0
    code, seconds = drive(helper, store, store.study(same).job.id, 2)
    assert code == 0
    rng = random.Random(2)
    moments = [rng.uniform(0.1 * seconds, 0.5 * seconds) for _ in range(N_WITH_WORKERS)]
    assert kill_and_resume(helper, store, sql, killed, 2, iter(moments)) > 0
    assert facts(store, killed) == facts(store, same) == facts(store, plain)
