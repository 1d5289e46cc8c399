"""What a study costs beside the training that it consists of, what pruning saves, and the usual way to search.

- **Overhead**: random trials of the classic exercise (weights' size and learning rate searched), one worker, beside
  the same configs trained by the engine alone, in the same populations, with their held-out samples. Every second of the
  study's driver belongs to the outermost function it was spent in: the engine's, the sampler's (asking, telling, its mirror of
  the study), the store's, or the rest. What is not the engine's is compared with what is, within the quickest study: that is
  steadier than the difference of two trainings. Importing modules and making the file are not measured.
- **A sampler that learns**: the same with TPE. What is neither the engine's nor the sampler's is given for each trial.
- **Pruning**: the same random trials without a pruner and with each one. Which share of the iterations is trained, and which
  share of the time that takes: populations that shrink train less efficiently. A median needs trials that have ended, so it is
  compared at a smaller batch.
- **The usual way**: `optuna.Study.optimize` on an SQLite file, one trial at a time, each trained by a plain loop
  (`plain_loop.py`), beside this project's studies. The usual way keeps parameters and one value for each trial; ours keeps
  curves, verdicts, overflows and held-out answers too.

Whatever is compared takes turns in one process on one core; the least of the repeats is taken. Seconds on the clock hold waits
for the disk, and whatever else the machine does; processor seconds hold neither, so they decide. Both depend on the machine;
read the ratios.

    python benchmarks/studies.py [--json] [--quick] [--only overhead|learner|pruning|usual] [--trials N] [--iterations N]
"""

import argparse
import contextlib
import dataclasses
import functools
import gc
import inspect
import itertools
import json
import os
import sys
import tempfile
import threading
import time
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple
from unittest import mock

os.environ.update(OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1", OMP_NUM_THREADS="1")  # before NumPy loads its BLAS
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import optuna

from benchmarks.plain_loop import train_plainly
from engine import Population, RunConfig, stacks
from studies import Store, open_store
from studies.jobs import run_job
from studies.sampling import Mirror
from studies.search import Range, Search
from studies.store_studies import Trial

OVERHEAD, MILLISECONDS = 0.15, 1.0
"""Bars: what is not the engine's, as a share of the engine's; a trial's time that is neither the engine's nor the sampler's."""
SPACE = {"weight_init_std": Range(0.01, 10, log=True), "learning_rate": Range(0.001, 10, log=True)}
PARTS = {"engine": Population, "sampler": Mirror, "store": Store}
"""Whose functions a study's seconds are counted by; what is left is the driver's."""


class Sizes(NamedTuple):
    """How much is measured."""

    n_trials: int = 1000
    n_iterations: int = 2000
    n_learned: int = 500
    n_pruned: int = 256
    long: int = 10_000
    n_usual: int = 20
    repeats: int = 3


class Spent(NamedTuple):
    """Seconds on the clock and of the processor."""

    clock: float
    processor: float

    def minus(self, other: "Spent") -> "Spent":
        """Return the difference."""
        return Spent(self.clock - other.clock, self.processor - other.processor)


def least(spent: list[Spent]) -> Spent:
    """Return the least on each clock."""
    return Spent(*map(min, zip(*spent, strict=True)))


def timed(function: Callable, *arguments) -> Spent:
    """Return what a call takes."""
    start = Spent(time.perf_counter(), time.process_time())
    function(*arguments)
    return Spent(time.perf_counter(), time.process_time()).minus(start)


@contextlib.contextmanager
def counted() -> Iterator[dict[str, Spent]]:
    """Count, by part, what this thread spends in the functions of `PARTS`: each second once, for the outermost of them."""
    spent, me, inside = dict.fromkeys(PARTS, Spent(0.0, 0.0)), threading.get_ident(), []

    def wrap(part: str, function: Callable) -> Callable:
        @functools.wraps(function)
        def wrapper(*arguments, **options):
            if inside or threading.get_ident() != me:
                return function(*arguments, **options)
            inside.append(part)
            clock, processor = time.perf_counter(), time.thread_time()
            try:
                return function(*arguments, **options)
            finally:
                passed = spent[part].clock + time.perf_counter() - clock, spent[part].processor + time.thread_time() - processor
                spent[part] = Spent(*passed)
                inside.clear()

        return wrapper

    with contextlib.ExitStack() as stack:
        for part, owner in PARTS.items():
            for name in dir(owner):
                known = inspect.getattr_static(owner, name)
                if isinstance(known, property):
                    stack.enter_context(mock.patch.object(owner, name, property(wrap(part, known.fget))))
                elif isinstance(known, types.FunctionType) and (name == "__init__" or not name.startswith("_")):
                    stack.enter_context(mock.patch.object(owner, name, wrap(part, known)))
        yield spent


def run_study(search: Search) -> tuple[Spent, dict[str, Spent], Store, str]:
    """Train a study in a store of its own, which is gone afterwards; return what it took, by part, and what it came to."""
    with tempfile.TemporaryDirectory() as folder:
        store = open_store(str(Path(folder) / "study.db"))
        study = store.study(store.add_study(search))
        gc.collect()
        with counted() as spent:
            whole = timed(run_job, store, study.job.id, 1)
        trials, runs = store.trials(study.id), store.runs(study.job.id)
    spent["rest"] = whole.minus(Spent(*map(sum, zip(*spent.values(), strict=True))))
    return whole, spent, trials, runs


def train_alone(search: Search, trials: list[Trial]) -> Spent:
    """Train the configs of a study's trials in the same populations, and return what that took."""
    groups = []
    for _, chunk in itertools.groupby(trials, lambda trial: trial.chunk):
        configs = [search.config(trial.params, seed) for trial in chunk for seed in search.seeds]
        groups += [[configs[place] for place in places] for places in stacks(configs)]

    def train():
        for configs in groups:
            population = Population(configs)
            population.advance(population.n_iterations)
            population.results()

    gc.collect()
    return timed(train)


def overhead(search: Search, repeats: int) -> dict:
    """Measure a study and its training alone, in turns."""
    alone, studies = [], []
    for _ in range(repeats):
        whole, parts, trials, _ = run_study(search)
        studies.append((whole, parts))
        alone.append(train_alone(search, trials))
    alone, quickest = least(alone), min(studies, key=lambda study: study[0].processor)
    rows = {"training alone": alone, "the study": quickest[0]} | quickest[1]
    return {
        "rows": {name: spent._asdict() | {"share": spent.processor / quickest[0].processor} for name, spent in rows.items()},
        "more": sum(quickest[1][part].processor for part in ("sampler", "store", "rest")) / quickest[1]["engine"].processor,
        "ms_per_trial": 1e3 * (quickest[1]["store"].processor + quickest[1]["rest"].processor) / search.n_trials,
    }


def pruning(search: Search, repeats: int) -> dict:
    """Measure pruners beside training everything to its end, in turns."""
    cases = {"none": {}, "halving": {}, "hyperband": {}, "none, small batch": {}, "median, small batch": {}}
    searches = {
        case: dataclasses.replace(
            search, pruner=case.partition(",")[0], batch=search.n_trials // 8 if case.endswith("small batch") else None
        )
        for case in cases
    }
    spent = {case: [] for case in cases}
    for _ in range(repeats):
        for case, pruned in searches.items():
            whole, _, trials, runs = run_study(pruned)
            spent[case].append(whole)
            cases[case] = {
                "iterations": int(runs["iterations"].sum()),
                "best": min(trial.summary.values[0] for trial in trials),
                "complete": sum(trial.summary.state == "complete" for trial in trials),
            }
    for case, row in cases.items():
        row |= least(spent[case])._asdict()
    for case, row in cases.items():
        full = cases["none, small batch" if case.endswith("small batch") else "none"]
        row["share"] = {name: row[name] / full[name] for name in ("iterations", "clock", "processor")}
    return cases


def search_the_usual_way(n_trials: int, n_iterations: int) -> None:
    """Search with Optuna alone: its own storage, one plain loop after the other."""
    with tempfile.TemporaryDirectory() as folder:
        sampler = optuna.samplers.RandomSampler(seed=1)
        study = optuna.create_study(storage=f"sqlite:///{folder}/usual.db", sampler=sampler)

        def train(trial: optuna.Trial) -> float:
            values = {name: trial.suggest_float(name, part.low, part.high, log=part.log) for name, part in SPACE.items()}
            losses, _, _ = train_plainly(RunConfig(n_iterations=n_iterations, **values), n_iterations)
            return float(np.mean(losses[-max(1, n_iterations // 20) :]))

        study.optimize(train, n_trials=n_trials)


def usual_way(sizes: Sizes) -> dict:
    """Measure the usual way and this project's, in turns; milliseconds for each trial."""
    numbers = {f"usual way, {sizes.n_usual} trials": sizes.n_usual}
    numbers |= {f"a study, {n:,} trials": n for n in (sizes.n_usual, sizes.n_trials)}
    spent = {name: [] for name in numbers}
    for _ in range(sizes.repeats):
        for name, n in numbers.items():
            if name.startswith("usual"):
                spent[name].append(timed(search_the_usual_way, n, sizes.n_iterations))
            else:
                spent[name].append(run_study(exercise(n, sizes.n_iterations))[0])
    each = {name: Spent(*(1e3 * value / numbers[name] for value in least(them))) for name, them in spent.items()}
    first = next(iter(each.values()))
    return {name: each[name]._asdict() | {"ratio": first.processor / each[name].processor} for name in each}


def exercise(n_trials: int, n_iterations: int, sampler: str = "random") -> Search:
    """Return a search of the classic exercise."""
    fixed = {"n_iterations": n_iterations}
    return Search(name="study", space=SPACE, fixed=fixed, sampler=sampler, n_trials=n_trials)


def overhead_table(sizes: Sizes) -> tuple[dict, list[str]]:
    """Measure random trials."""
    found = overhead(exercise(sizes.n_trials, sizes.n_iterations), sizes.repeats)
    title = f"{sizes.n_trials:,} random trials of {sizes.n_iterations:,} iterations"
    return found, [
        *_rows(title, found),
        "",
        _bar(f"at most {OVERHEAD:.0%} of the engine's time beside it", found["more"], OVERHEAD, "%"),
    ]


def learner_table(sizes: Sizes) -> tuple[dict, list[str]]:
    """Measure trials that a sampler proposes which learns."""
    found = overhead(exercise(sizes.n_learned, sizes.n_iterations, "tpe"), sizes.repeats)
    title = f"{sizes.n_learned:,} trials of TPE, {sizes.n_iterations:,} iterations"
    bar = f"at most {MILLISECONDS:g} ms per trial beside engine and sampler"
    return found, [*_rows(title, found), "", _bar(bar, found["ms_per_trial"], MILLISECONDS)]


def _rows(title: str, found: dict) -> list[str]:
    lines = [f"{title:44}{'seconds':>9}{'processor':>11}{'share':>8}", ""]
    for name, row in found["rows"].items():
        shown = f"  {name}" if name in PARTS or name == "rest" else name
        lines.append(f"{shown:44}{row['clock']:9.2f}{row['processor']:11.2f}{row['share']:8.1%}")
    return lines


def _bar(text: str, value: float, bar: float, unit: str = "") -> str:
    return f"{text:53}{value:{'11.1%' if unit else '11.2f'}}  {'met' if value <= bar else 'NOT MET'}"


def pruning_table(sizes: Sizes) -> tuple[dict, list[str]]:
    """Measure pruners."""
    found = pruning(exercise(sizes.n_pruned, sizes.long), sizes.repeats)
    title = f"{sizes.n_pruned:,} random trials of up to {sizes.long:,} iterations"
    lines = [f"{title:50}{'seconds':>9}{'processor':>11}{'share':>8}{'of the iterations':>19}{'best':>9}", ""]
    for name, row in found.items():
        share = row["share"]
        lines.append(
            f"{name:50}{row['clock']:9.2f}{row['processor']:11.2f}{share['processor']:8.1%}{share['iterations']:19.1%}{row['best']:9.4f}"
        )
    return found, lines


def usual_table(sizes: Sizes) -> tuple[dict, list[str]]:
    """Measure the usual way."""
    found = usual_way(sizes)
    lines = [
        f"{f'milliseconds for each trial of {sizes.n_iterations:,} iterations':50}{'clock':>9}{'processor':>11}{'faster':>9}",
        "",
    ]
    lines += [f"{name:50}{row['clock']:9.2f}{row['processor']:11.2f}{row['ratio']:9.1f}" for name, row in found.items()]
    return found, lines


TABLES = {"overhead": overhead_table, "learner": learner_table, "pruning": pruning_table, "usual": usual_table}


def main(arguments: list[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description="What a study costs beside its training, what pruning saves, and the usual way."
    )
    parser.add_argument("--json", action="store_true", help="print the numbers as JSON instead of tables")
    parser.add_argument("--quick", action="store_true", help="tiny sizes that prove nothing but that it runs")
    parser.add_argument("--only", choices=list(TABLES), help="one of the tables")
    parser.add_argument("--trials", type=int, metavar="N", help=f"random trials (default: {Sizes().n_trials:,})")
    parser.add_argument("--iterations", type=int, metavar="N", help=f"of each trial (default: {Sizes().n_iterations:,})")
    options = parser.parse_args(arguments)
    sizes = Sizes(24, 20, 16, 28, 60, 2, 1) if options.quick else Sizes()
    sizes = sizes._replace(n_trials=options.trials or sizes.n_trials, n_iterations=options.iterations or sizes.n_iterations)
    run_study(exercise(8, 10))  # loads what the first study loads
    report = {}
    for name in [options.only] if options.only else TABLES:
        report[name], lines = TABLES[name](sizes)
        if not options.json:
            print("\n".join(lines), end="\n\n\n", flush=True)
    if options.json:
        print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
