"""What the tests of `studies` share: stores in folders of their own, real results, and waiting without sleeping."""

import contextlib
import dataclasses
import math
import sqlite3
import sys
import threading
import time

import optuna
import pytest

from engine import RunConfig, train
from studies import Plan, driver, open_store
from studies.cli import main
from studies.jobs import run_job


@pytest.fixture(autouse=True)
def _away_from_home(tmp_path, monkeypatch):
    """No test may touch the user's own data and logs."""
    monkeypatch.delenv("BRINK_STORAGE", raising=False)
    for variable in ("HOME", "XDG_DATA_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.setenv(variable, str(tmp_path / "home"))


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path / 'brink.db'}"


@pytest.fixture
def store(url):
    return open_store(url)


@pytest.fixture
def run(capfd):
    """Run a command line in this process; return its exit code, its output and its messages."""

    def call(*arguments):
        try:
            code = main([*arguments])
        except SystemExit as end:  # argparse ends this way
            code = end.code
        sys.stdout.flush()
        return code, *capfd.readouterr()

    return call


@pytest.fixture
def sql():
    """Ask the file itself, past all of our code."""

    def ask(store, text, *values):
        with contextlib.closing(sqlite3.connect(store.engine.url.database, isolation_level=None)) as connection:
            return connection.execute(text, values).fetchall()

    return ask


@pytest.fixture(scope="session")
def results():
    """Four real results: two that are fine, one with an overflow, one with clipped gradients."""
    short = RunConfig(n_iterations=40)
    changes = [{}, {"seed": 2}, {"activation": "relu", "learning_rate": 1.0}, {"clip_norm": 0.5}]
    trained = train([short.replace(**change) for change in changes])
    assert trained[2].overflow is not None
    return trained


@pytest.fixture
def save(store):
    """Write results as a job that is still running; return its id and token."""

    def write(results, name=""):
        results = list(results)
        job_id = store.add_job(Plan.of(seed=range(len(results))), name)
        token = store.claim(job_id)
        store.save_results(job_id, token, enumerate(results))
        return job_id, token

    return write


@pytest.fixture(scope="session")
def facts():
    """Tell all that a search decides: trials with their notes and summaries, runs to the last bit, Optuna's trials."""

    def tell(store, study_id):
        study = store.study(study_id)
        table = store.runs(study.job.id)
        runs = [store.run(run_id) for run_id in table["id"]]
        theirs = optuna.load_study(study_name=study.name, storage=store.optuna_storage()).get_trials()
        ours = store.trials(study.id, done=False)
        return {
            "trials": [dataclasses.replace(trial, notes=_without_memory(trial.notes)) for trial in ours],
            "chunks": [(chunk.number, chunk.state, chunk.n_trials) for chunk in store.chunks(study.id)],
            "runs": [(number, run["identity"], run["fingerprint"]) for number, run in zip(table["number"], runs, strict=True)],
            "ends": [(run["status"], run["iterations"], run["outcome"]) for run in runs],
            "curves": [run["curves"].tobytes() for run in runs],
            "optuna": [
                (t.number, t.state.name, t.params, t.values, t.intermediate_values, _without_memory(t.system_attrs))
                for t in theirs
            ],
            "summaries": [t.user_attrs["brink:summary"] for t in theirs],
        }

    return tell


def _without_memory(notes):
    """Return notes without the bytes of the optimizer of cmaes: places that it has not used hold what was in memory."""
    return {name: None if name.startswith("cma:optimizer") else note for name, note in notes.items()}


@pytest.fixture(scope="session")
def trained():
    """Make and train a study; return its id."""

    def make(store, search, n_workers=1, show=None):
        study_id = store.add_study(search)
        assert run_job(store, store.study(study_id).job.id, n_workers, show) == "finished"
        return study_id

    return make


@pytest.fixture(scope="session")
def go_on():
    """Resume a study that was stopped, lost or extended, to its end."""

    def resume(store, study_id, n_workers=1, show=None):
        job_id = store.study(study_id).job.id
        store.wait_again(job_id)
        assert run_job(store, job_id, n_workers, show) == "finished"

    return resume


@pytest.fixture(scope="session")
def everything():
    """Read all rows of all tables of a store's file."""

    def read(store):
        with contextlib.closing(sqlite3.connect(store.engine.url.database)) as connection:
            names = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
            return {name: sorted(map(repr, connection.execute(f"SELECT * FROM {name}"))) for name in names}

    return read


@pytest.fixture
def small_slices(monkeypatch):
    """Let a driver look at the store after every few iterations."""
    monkeypatch.setattr(driver, "SLICE_SECONDS", 1e-6)


@pytest.fixture(scope="session")
def until():
    """Wait until something is so, for at most some seconds; return what it was."""

    def wait(condition, seconds=60):
        deadline, pause = time.monotonic() + seconds, threading.Event()
        while not (answer := condition()):
            assert time.monotonic() < deadline, f"still not so after {seconds} s"
            pause.wait(0.05)
        return answer

    return wait


@pytest.fixture(scope="session")
def spelled():
    """Spell a table so that equal spelling means equal columns, types, values and kinds of missing values."""

    def spell(table):
        return {
            name: [str(column.dtype), *("nan" if _is_nan(v) else repr(v) for v in column.astype(object))]
            for name, column in table.items()
        }

    return spell


def _is_nan(value):
    return isinstance(value, float) and math.isnan(value)
