import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
AS_SCRIPT, AS_MODULE = ["benchmarks/store.py"], ["-m", "benchmarks.store"]


def output(*arguments):
    return subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("way", [AS_SCRIPT, AS_MODULE], ids=["script", "module"])
def test_the_store_benchmark_runs_and_compares_both_ways_side_by_side(way):
    report = json.loads(output(*way, "--quick", "--json"))
    assert report["runs"] == 300
    assert list(report["measured"]) == ["write, s", "read the table of runs, s", "read 40 curves, s", "file, MB"]
    for row in report["measured"].values():
        assert row["brink"] > 0
        assert row["ratio"] == row["row_per_point"] / row["brink"]
    exports = [f"export all with curves, {kind} in under 3 s" for kind in ("parquet", "csv", "json")]
    assert [bar["bar"] for bar in report["bars"]] == ["write in under 10 s", "read the table of runs in under 0.5 s", *exports]
    assert [bar["measured"] for bar in report["bars"]][:2] == [row["brink"] for row in list(report["measured"].values())[:2]]


def test_the_store_benchmark_s_table_shows_the_same_rows():
    table = output(*AS_SCRIPT, "--quick")
    assert table.startswith("300 runs with 100-point curves, one commit for each 256 runs")
    assert all(name in table for name in ("Brink", "row per point", "write, s", "file, MB", "write in under 10 s"))
