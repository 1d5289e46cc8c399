"""The population's benchmark runs, and what it prints adds up."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent


def run(*command):
    """Run the benchmark in a process of its own, because it sets the number of threads before NumPy is loaded."""
    done = subprocess.run([sys.executable, "-W", "error", *command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.mark.parametrize("command", [("benchmarks/population.py",), ("-m", "benchmarks.population")], ids=["script", "module"])
def test_the_benchmark_prints_ratios_that_follow_from_its_times(command):
    report = json.loads(run(*command, "--quick", "--json"))
    times, growing = report["ms_per_run"], report["ms_per_run_by_number"]
    assert list(times)[:3] == ["plain loop", "population, P = 1", "population, P = 4"]
    assert min(times.values()) > 0
    assert report["faster_than_plain"] == {name: times["plain loop"] / t for name, t in times.items()}
    assert list(growing) == ["4", "8"]
    assert report["relative_to_smallest"] == {n: t / growing["4"] for n, t in growing.items()}
    assert set(report["recording_share"]) == {"curves, accuracy, events", "held-out samples"}
    faster, change, memory = report["bars"].values()
    assert faster["measured"] == max(report["faster_than_plain"][f"population, P = {n}"] for n in (1, 4))
    assert faster["met"] == (faster["measured"] >= 90)
    assert change["measured"] == abs(report["relative_to_smallest"]["8"] - 1)
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


@pytest.mark.parametrize("kind", ["UnrecordedPopulation", "UnexaminedPopulation"])
def test_training_without_recording_is_the_same_training(kind, monkeypatch):
    for name in ("OPENBLAS", "MKL", "OMP"):  # set by the import below; restored with everything else after the test
        monkeypatch.setenv(f"{name}_NUM_THREADS", "1")
    monkeypatch.setattr(sys, "path", list(sys.path))
    from benchmarks import population
    from engine import Population

    configs = population.configs(3, 40)
    recorded, unrecorded = Population(configs), getattr(population, kind)(configs)
    assert recorded.advance(39).parameters.tobytes() == unrecorded.advance(39).parameters.tobytes()
    np.testing.assert_array_equal(np.isnan(unrecorded.advance(1).curves), True)
    assert sorted(unrecorded.results()) == [0, 1, 2]
