"""What the presets give over seeds, and which cell can learn which task; the README's tables.

Compares outcomes, not times: share right of 1,000 held-out samples, loss at the end, overflows.

    python benchmarks/presets.py [--only NAME ...] [--seeds N] [--json] [--quick]

NAME is a preset or "cells", the table of cells against tasks.
"""

import argparse
import json
import os
import statistics
import sys
from collections import Counter
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parents[1]))

from engine import CELLS, train
from studies import PRESETS, Plan

TASKS_OF_CELLS = {
    "binary_addition": {"loss": "half_squared_error"},
    "temporal_order": {"length": 50},
    "adding_problem": {"length": 50},
}
"""Asked of every cell under the settings of the preset lstm_history: no memory to speak of, one symbol each, numbers."""


def summary(name: str, results: list) -> dict:
    """Return what came out of runs that differ in their seeds."""
    accuracies = sorted(result.accuracy for result in results)
    events = [result.overflow.iteration for result in results if result.overflow]
    return {
        "preset": name,
        "outcomes": dict(Counter(result.outcome for result in results)),
        "seeds_with_99_percent": sum(accuracy >= 0.99 for accuracy in accuracies),
        "accuracies": [result.accuracy for result in results],
        "lowest_accuracy": accuracies[0],
        "median_accuracy": statistics.median(accuracies),
        "median_final_loss": statistics.median(result.final_loss for result in results),
        "seeds_with_overflow": len(events),
        "median_first_overflow": statistics.median(events) if events else None,
    }


def measure(name: str, n_seeds: int, **settings) -> list[dict]:
    """Train a preset over seeds and return what came out, by cell where it compares cells."""
    results = train(Plan.of(name, seed=range(1, n_seeds + 1), **settings).configs())
    cells = list(dict.fromkeys(result.config.cell for result in results))
    return [
        summary(f"{name}, {cell}" if len(cells) > 1 else name, [result for result in results if result.config.cell == cell])
        for cell in cells
    ]


def cells_by_tasks(n_seeds: int, **settings) -> list[dict]:
    """Return what every cell makes of the tasks."""
    rows = []
    for task, own in TASKS_OF_CELLS.items():
        for row in measure("lstm_history", n_seeds, task=task, cell=list(CELLS), activation="tanh", **own, **settings):
            rows.append(row | {"task": task, "cell": row["preset"].split(", ")[1]})
    return rows


def preset_table(rows: list[dict]) -> str:
    """Return the table of presets in Markdown."""
    lines = ["| preset | outcomes | seeds with >= 99 % | lowest, median accuracy | median loss | overflow |"]
    lines.append("|---|---|---|---|---|---|")
    for row in rows:
        outcomes = ", ".join(f"{count} {name}" for name, count in row["outcomes"].items())
        first = row["median_first_overflow"]
        event = "none" if first is None else f"{row['seeds_with_overflow']} seeds, first at iteration {first:g} (median)"
        name, _, cell = row["preset"].partition(", ")
        lines.append(
            f"| `{name}`{', ' + cell if cell else ''} | {outcomes} | {row['seeds_with_99_percent']} | "
            f"{row['lowest_accuracy']:.1%}, {row['median_accuracy']:.1%} | {row['median_final_loss']:.3g} | {event} |"
        )
    return "\n".join(lines)


def cell_table(rows: list[dict]) -> str:
    """Return the table of cells against tasks in Markdown: seeds that solved it, and the median share right."""
    lines = ["| cell | " + " | ".join(TASKS_OF_CELLS) + " |", "|---" * (1 + len(TASKS_OF_CELLS)) + "|"]
    for cell in CELLS:
        own = {row["task"]: row for row in rows if row["cell"] == cell}
        shown = [
            f"{row['seeds_with_99_percent']} of {sum(row['outcomes'].values())}, {row['median_accuracy']:.1%}"
            for row in own.values()
        ]
        lines.append(f"| `{cell}` | " + " | ".join(shown) + " |")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    """Measure the presets and the cells, and print tables, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=[*PRESETS, "cells"], default=[*PRESETS, "cells"], metavar="NAME")
    parser.add_argument("--seeds", type=int, default=10, help="seeds of each row (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--quick", action="store_true", help="two seeds, few iterations: only to see that it works")
    chosen = parser.parse_args(arguments)
    settings, n_seeds = ({"n_iterations": 20}, 2) if chosen.quick else ({}, chosen.seeds)
    presets = [row for name in chosen.only if name != "cells" for row in measure(name, n_seeds, **settings)]
    cells = cells_by_tasks(n_seeds, **settings) if "cells" in chosen.only else []
    if chosen.json:
        print(json.dumps({"presets": presets, "cells": cells}, indent=1))
        return
    if presets:
        print(preset_table(presets) + "\n")
    if cells:
        print(cell_table(cells))


if __name__ == "__main__":
    main()
