"""The benchmark of presets trains every preset and every cell, and its tables say what it measured."""

import json
import subprocess
import sys
from pathlib import Path

from benchmarks.presets import TASKS_OF_CELLS, cell_table, preset_table, summary
from engine import CELLS, RunConfig, train
from studies import PRESETS

ROOT = Path(__file__).resolve().parent.parent


def run(*options):
    command = [sys.executable, "-W", "error", "benchmarks/presets.py", *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_every_preset_and_every_cell_is_trained_over_the_seeds():
    report = json.loads(run("--quick", "--json"))
    assert {row["preset"].split(",")[0] for row in report["presets"]} == set(PRESETS)
    assert [(row["task"], row["cell"]) for row in report["cells"]] == [(t, c) for t in TASKS_OF_CELLS for c in CELLS]
    for row in report["presets"] + report["cells"]:
        assert sum(row["outcomes"].values()) == len(row["accuracies"]) == 2
        assert row["lowest_accuracy"] == min(row["accuracies"]) <= row["median_accuracy"] <= max(row["accuracies"])


def test_only_what_was_asked_for_is_trained():
    report = json.loads(run("--quick", "--json", "--only", "tanh", "--seeds", "9"))
    assert [row["preset"] for row in report["presets"]] == ["tanh"]
    assert report["cells"] == []


def test_tables_hold_the_numbers():
    """Two seeds that cannot learn in five iterations, of which one is relu with weights that overflow at once."""
    results = train(RunConfig(n_iterations=5, activation="relu", weight_init_std=std) for std in (0.01, 1e3))
    row = summary("tried, rnn", results)
    assert row["seeds_with_overflow"] == row["median_first_overflow"] == 1
    assert preset_table([row]).splitlines()[-1].startswith("| `tried`, rnn | 1 stalled, 1 overflow | 0 | ")
    assert preset_table([row]).endswith("| 1 seeds, first at iteration 1 (median) |")
    rows = [row | {"task": task, "cell": cell} for task in TASKS_OF_CELLS for cell in CELLS]
    assert f"| `gru` | 0 of 2, {row['median_accuracy']:.1%} |" in cell_table(rows)
