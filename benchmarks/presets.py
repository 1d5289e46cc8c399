"""What ten seeds give for the classic exercise and for each variant that it tells you to try; the README's table.

Compares outcomes, not times: accuracy on 1,000 held-out additions and the loss at the end, over seeds 1 to 10.
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

from engine import train
from studies import PRESETS, Plan


def measure(name: str, n_seeds: int, **settings) -> dict:
    """Train a preset over seeds and return what came out."""
    results = train(Plan.of(name, seed=range(1, n_seeds + 1), **settings).configs())
    accuracies = sorted(result.accuracy for result in results)
    events = [result.overflow.iteration for result in results if result.overflow]
    return {
        "preset": name,
        "outcomes": dict(Counter(result.outcome for result in results)),
        "seeds_with_99_percent": sum(accuracy >= 0.99 for accuracy in accuracies),
        "lowest_accuracy": accuracies[0],
        "median_accuracy": statistics.median(accuracies),
        "median_final_loss": statistics.median(result.final_loss for result in results),
        "seeds_with_overflow": len(events),
        "median_first_overflow": statistics.median(events) if events else None,
    }


def main(arguments: list[str] | None = None) -> None:
    """Measure every preset and print a table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--quick", action="store_true", help="two seeds, few iterations: only to see that it works")
    chosen = parser.parse_args(arguments)
    settings = {"n_iterations": 50} if chosen.quick else {}
    rows = [measure(name, 2 if chosen.quick else 10, **settings) for name in PRESETS]
    if chosen.json:
        print(json.dumps({"presets": rows}, indent=1))
        return
    print("| preset | outcomes | seeds with >= 99 % | lowest, median accuracy | median loss | overflow |")
    print("|---|---|---|---|---|---|")
    for row in rows:
        outcomes = ", ".join(f"{count} {name}" for name, count in row["outcomes"].items())
        first = row["median_first_overflow"]
        event = "none" if first is None else f"{row['seeds_with_overflow']} seeds, first at iteration {first:g} (median)"
        print(
            f"| {row['preset']} | {outcomes} | {row['seeds_with_99_percent']} | {row['lowest_accuracy']:.1%}, "
            f"{row['median_accuracy']:.1%} | {row['median_final_loss']:.3g} | {event} |"
        )


if __name__ == "__main__":
    main()
