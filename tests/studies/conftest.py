"""What the tests of `studies` share: stores in folders of their own, real results, and waiting without sleeping."""

import contextlib
import math
import sqlite3
import sys
import threading
import time

import pytest

from engine import RunConfig, train
from studies import Plan, open_store
from studies.cli import main


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
