"""The benchmarks of studies run, and what they print adds up; sizes as small as here prove nothing about speed."""

import importlib.util
import json
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks import studies as benchmark
from engine import Population
from studies import Store
from tests.browser.find import browser_path

ROOT = Path(__file__).resolve().parent.parent


def run(name, *options):
    command = [sys.executable, "-W", "error", f"benchmarks/{name}.py", "--quick", *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_every_second_of_a_study_belongs_to_one_part_and_pruners_train_less():
    report = json.loads(run("studies", "--json"))
    assert list(report) == ["overhead", "learner", "pruning", "usual"]
    for found in (report["overhead"], report["learner"]):
        rows = found["rows"]
        assert list(rows) == ["training alone", "the study", "engine", "sampler", "store", "rest"]
        for clock in ("clock", "processor"):
            parts = [rows[part][clock] for part in ("engine", "sampler", "store", "rest")]
            assert sum(parts) == pytest.approx(rows["the study"][clock])
            assert min(parts[:3]) > 0
        assert found["more"] == pytest.approx(rows["the study"]["processor"] / rows["engine"]["processor"] - 1)
    pruned = report["pruning"]
    assert pruned["none"]["iterations"] == pruned["none, small batch"]["iterations"] == 28 * 60
    assert pruned["none"]["complete"] == 28
    for name in ("halving", "hyperband", "median, small batch"):
        assert pruned[name]["share"]["iterations"] < 1
        assert 0 < pruned[name]["complete"] < 28
    assert list(report["usual"]) == ["usual way, 2 trials", "a study, 2 trials", "a study, 24 trials"]
    usual, *_, ours = report["usual"].values()
    assert ours["ratio"] == pytest.approx(usual["processor"] / ours["processor"])


def test_the_tables_name_what_was_measured_and_sizes_can_be_given():
    table = run("studies", "--only", "overhead", "--trials", "5", "--iterations", "7")
    assert table.startswith("5 random trials of 7 iterations")
    for row in ("training alone", "the study", "  engine", "  sampler", "  store", "  rest"):
        assert re.search(rf"^{row} +\d+\.\d\d +\d+\.\d\d", table, re.MULTILINE), table
    assert re.search(r"^at most 15% of the engine's time beside it +\d+\.\d%  (NOT MET|met)$", table, re.MULTILINE)


def test_seconds_are_counted_once_for_the_outermost_function_and_classes_are_left_as_they_were(monkeypatch):
    """By hand: a store's function of 2 seconds that calls another one of 1."""

    class Outer:
        @property
        def inner(self):
            clock[0] += 1.0

        def whole(self):
            clock[0] += 1.0
            _ = self.inner

    clock, before = [0.0], dict(vars(Outer))
    monkeypatch.setattr(benchmark, "PARTS", {"part": Outer})
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])
    with benchmark.counted() as spent:
        Outer().whole()
        _ = Outer().inner
    assert spent["part"].clock == 3.0
    assert dict(vars(Outer)) == before
    with benchmark.counted():
        assert Store.beat is not Population.advance  # inherited functions are wrapped too
    assert "beat" not in vars(Store)


@pytest.mark.skipif(browser_path() is None, reason="needs a Chromium")
def test_a_large_study_is_opened_in_a_browser_beside_its_peer_and_watched():
    (report,) = json.loads(run("large_study", "--json"))
    assert report["trials"] == 60
    assert report["update"]["updates"] >= 2
    visits = report["visits"]
    ours = ["Brink, first session", "Brink, second session", "Brink, table of trials"]
    peers = ["optuna-dashboard, first session", "optuna-dashboard, second session"]
    assert list(visits) == ours + (peers if importlib.util.find_spec("optuna_dashboard") else [])
    for row in visits.values():
        assert row["seconds"] > 0
        assert row["all"] > row["messages"] >= 0
    assert {bar["met"] for bar in report["bars"] if "websocket" in bar["bar"]} == {True}


@pytest.mark.skipif(browser_path() is None, reason="needs a Chromium")
def test_a_map_is_trained_opened_and_stopped_in_a_browser_beside_a_plain_loop():
    report = json.loads(run("maps", "--json"))
    (row,) = report["maps"]
    assert 0 < row["first"] <= row["whole"]
    assert row["runs_per_second"] * row["whole"] == pytest.approx(16 * 16)
    assert min(row["cell"], report["stop"], report["plain_seconds"]) > 0
    assert [bar["met"] for bar in report["bars"]] == [
        bar["measured"] <= limit for bar, limit in zip(report["bars"], (1.5, 1.5, 1, 1000, 0.5), strict=True)
    ]
