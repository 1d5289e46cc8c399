"""The population's benchmark runs, and what it prints adds up."""

import importlib
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from engine import Population

ROOT = Path(__file__).resolve().parent.parent


def run(*command):
    """Run the benchmark in a process of its own, because it sets the number of threads before NumPy is loaded."""
    done = subprocess.run([sys.executable, "-W", "error", *command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.mark.parametrize("command", [("benchmarks/population.py",), ("-m", "benchmarks.population")], ids=["script", "module"])
def test_the_benchmark_judges_its_bars_by_what_it_measured(command):
    report = json.loads(run(*command, "--quick", "--json"))
    assert list(report["ways"])[:3] == ["plain loop", "population, P = 1", "population, P = 4"]
    assert list(report["linearity"]) == ["4 runs", "8 runs"]
    assert report["ways"]["plain loop"]["ratio"] == report["linearity"]["4 runs"]["ratio"] == 1
    for row in (report["ways"] | report["linearity"]).values():
        assert row["ms"] > 0
        assert row["ratio"] > 0
    assert set(report["recording_share"]) == {"curves, accuracy, events", "held-out samples"}
    faster, change, memory = report["bars"].values()
    assert faster["measured"] == 1 / min(report["ways"][f"population, P = {n}"]["ratio"] for n in (1, 4))
    assert faster["met"] == (faster["measured"] >= 90)
    assert change["measured"] == abs(report["linearity"]["8 runs"]["ratio"] - 1)
    assert change["met"] == (change["measured"] <= 0.15)
    assert 10 < memory["measured"] < 500  # NumPy alone takes more than 10 MB
    assert memory["met"] is True


def test_the_table_names_everything_measured_and_says_what_is_met():
    table = run("benchmarks/population.py", "--quick")
    for row in ("plain loop", "population, P = 1", "population, P = 4", "4 runs", "8 runs", "held-out samples"):
        assert re.search(rf"^{row} +-?\d", table, re.MULTILINE), table
    assert re.search(r"^at least 90 times the plain loop +\d+\.\d\d  (NOT MET|met)$", table, re.MULTILINE)
    assert re.search(r"^peak memory below 500 MB +\d+\.\d\d  met$", table, re.MULTILINE)
    assert "times depend on the machine; read the ratios" in table


def imported(monkeypatch):
    """Return the benchmark as a module; what its import changes is put back after the test."""
    for name in ("OPENBLAS", "MKL", "OMP"):
        monkeypatch.setenv(f"{name}_NUM_THREADS", "1")
    monkeypatch.setattr(sys, "path", list(sys.path))
    return importlib.import_module("benchmarks.population")


def test_ratios_compare_with_the_reference_before_and_after(monkeypatch):
    """By hand: the reference takes 2, then 4, then 4 seconds around candidates of 6 and 8, for 10 runs each."""
    population = imported(monkeypatch)
    clock = iter(np.repeat(np.cumsum([0, 2, 6, 4, 8, 4]), [1, 2, 2, 2, 2, 1]).tolist())
    monkeypatch.setattr(population.time, "process_time", lambda: next(clock))
    measured = population.measure({"reference": (list, 1), "near": (list, 10), "far": (list, 10)}, 1)
    assert measured["reference"] == {"ms": 4000.0, "ratio": 1.0}
    assert measured["near"] == {"ms": 600.0, "ratio": 600 / 3000}
    assert measured["far"] == {"ms": 800.0, "ratio": 800 / 4000}


@pytest.mark.parametrize("kind", ["UnrecordedPopulation", "UnexaminedPopulation"])
def test_training_without_recording_is_the_same_training(kind, monkeypatch):
    population = imported(monkeypatch)
    configs = population.configs(3, 40)
    recorded, unrecorded = Population(configs), getattr(population, kind)(configs)
    assert recorded.advance(39).parameters.tobytes() == unrecorded.advance(39).parameters.tobytes()
    np.testing.assert_array_equal(np.isnan(unrecorded.advance(1).curves), True)
    assert sorted(unrecorded.results()) == [0, 1, 2]
