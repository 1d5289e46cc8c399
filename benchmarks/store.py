"""What keeping runs costs, beside the obvious way: one row for each point of a curve, in plain sqlite3.

Both keep the same runs (config, outcome, evidence, numbers, examples, 100-point curves) with the same promises: a write-ahead
log, full synchronisation, one commit for each chunk of 256 runs, written in turn, so that whatever else the machine does meets
both. Times are seconds on the clock, because waiting for the disk counts. They depend on the machine; read the ratios.

    python benchmarks/store.py [--json] [--quick]
"""

import argparse
import contextlib
import json
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from engine import CURVES, RunConfig, RunResult, train
from studies import Plan, Store, open_store
from studies.export import Origin, curves_to_csv, export

CHUNK, SHOWN, REPEATS = 256, 40, 5
"""Runs of one transaction; curves read at once, as many as the dashboard shows; repeats of reading."""
WRITE_SECONDS, READ_SECONDS, EXPORT_SECONDS = 10, 0.5, 3
"""Bars for 10,000 runs."""
ROW_PER_POINT = f"""
    PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
    CREATE TABLE run (number INTEGER PRIMARY KEY, config TEXT, outcome TEXT, reason TEXT, evidence TEXT, final_loss REAL,
        best_loss REAL, accuracy REAL, examples TEXT);
    CREATE TABLE point (run INTEGER, place INTEGER, {", ".join(f"{name} REAL" for name in CURVES)},
        PRIMARY KEY (run, place)) WITHOUT ROWID;"""


def make_results(n_runs: int) -> list[RunResult]:
    """Return results of one trained population again and again, each with a seed of its own."""
    varied = [{"activation": name, "learning_rate": rate} for name in ("sigmoid", "tanh", "relu") for rate in (0.1, 0.5, 1.0)]
    trained = train(RunConfig(n_iterations=100, **settings) for settings in varied)
    pairs = ((trained[number % len(trained)], number) for number in range(n_runs))
    return [replace(result, config=result.config.replace(seed=number)) for result, number in pairs]


def write_rows(connection: sqlite3.Connection, chunk: list[tuple[int, RunResult]]) -> None:
    """Write a chunk as one row for each run and one for each point, in one transaction."""
    runs, points = [], []
    for number, r in chunk:
        texts = r.config.canonical_json(), r.outcome, r.reason, json.dumps(r.evidence)
        runs.append((number, *texts, r.final_loss, r.best_loss, r.accuracy, json.dumps(r.examples)))
        points += [(number, place, *point) for place, point in enumerate(r.curves.tolist())]
    with connection:
        connection.executemany(f"INSERT INTO run VALUES ({', '.join('?' * 9)})", runs)
        connection.executemany(f"INSERT INTO point VALUES ({', '.join('?' * (2 + len(CURVES)))})", points)


def read_rows(path: Path, query: str) -> pd.DataFrame:
    """Return rows as a table, with a column for each setting if there are configs among them."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        table = pd.read_sql_query(query, connection)
    return table.join(pd.json_normalize(table.pop("config").map(json.loads).tolist())) if "config" in table else table


def clock(function: Callable, *arguments, repeats: int = 1) -> float:
    """Return the seconds of the fastest of some calls."""
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        function(*arguments)
        seconds.append(time.perf_counter() - started)
    return min(seconds)


def write_both(store: Store, path: Path, results: list[RunResult]) -> tuple[float, float]:
    """Write everything to both, chunk by chunk in turn; return each one's seconds."""
    job_id = store.add_job(Plan.of(seed=range(len(results))))
    token, numbered, ours, rows = store.claim(job_id), list(enumerate(results)), 0.0, 0.0
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript(ROW_PER_POINT)
        for start in range(0, len(numbered), CHUNK):
            chunk = numbered[start : start + CHUNK]
            ours += clock(store.save_results, job_id, token, chunk)
            rows += clock(write_rows, connection, chunk)
    store.end_job(job_id, token, "finished")
    return ours, rows


def export_all(store: Store, kind: str) -> None:
    """Read all runs with their curves and make files of them; CSV has curves in one of its own."""
    runs = store.runs()
    curves = store.curves(runs["id"])
    export(kind, runs, Origin("runs"), None if kind == "csv" else curves)
    if kind == "csv":
        curves_to_csv(curves, Origin("runs"))


def make_report(n_runs: int) -> dict:
    """Measure everything in a folder that is deleted afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        ours, rows = Path(folder) / "brink.db", Path(folder) / "rows.db"
        store = open_store(f"sqlite:///{ours}")
        measured = {"write, s": write_both(store, rows, make_results(n_runs))}
        table = "SELECT number, config, outcome, reason, final_loss, best_loss, accuracy FROM run"
        read = clock(store.runs, repeats=REPEATS), clock(read_rows, rows, table, repeats=REPEATS)
        shown, points = list(store.runs()["id"][:SHOWN]), f"SELECT * FROM point WHERE run < {SHOWN} ORDER BY run, place"
        curves = clock(store.curves, shown, repeats=REPEATS), clock(read_rows, rows, points, repeats=REPEATS)
        measured |= {"read the table of runs, s": read, f"read {SHOWN} curves, s": curves}
        exports = {kind: clock(export_all, store, kind) for kind in ("parquet", "csv", "json")}
        measured["file, MB"] = ours.stat().st_size / 1e6, rows.stat().st_size / 1e6
    bars = [("write", measured["write, s"][0], WRITE_SECONDS), ("read the table of runs", read[0], READ_SECONDS)]
    bars += [(f"export all with curves, {kind}", seconds, EXPORT_SECONDS) for kind, seconds in exports.items()]
    return {
        "runs": n_runs,
        "measured": {name: {"brink": a, "row_per_point": b, "ratio": b / a} for name, (a, b) in measured.items()},
        "bars": [{"bar": f"{what} in under {bar} s", "measured": s, "met": s < bar} for what, s, bar in bars],
    }


def as_table(report: dict) -> str:
    """Return the report for people."""
    lines = [f"{report['runs']:,} runs with 100-point curves, one commit for each {CHUNK} runs (read the ratios)", ""]
    lines += [f"{'':28}{'Brink':>10}{'row per point':>16}{'ratio':>8}"]
    for name, row in report["measured"].items():
        lines.append(f"{name:28}{row['brink']:10.3f}{row['row_per_point']:16.3f}{row['ratio']:8.1f}")
    lines += ["", *(f"{b['bar']:46}{b['measured']:8.2f}  {'met' if b['met'] else 'NOT MET'}" for b in report["bars"])]
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="What keeping runs costs, beside one row for each point.")
    parser.add_argument("--json", action="store_true", help="print the numbers as JSON instead of a table")
    parser.add_argument("--quick", action="store_true", help="tiny sizes that prove nothing but that it runs")
    options = parser.parse_args(arguments)
    report = make_report(300 if options.quick else 10_000)
    print(json.dumps(report, indent=2) if options.json else as_table(report))


if __name__ == "__main__":
    main()
