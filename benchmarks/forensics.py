"""What the black box costs: the watch that is always on, and what is found out afterwards by training a run again.

- **Always on**: the engine as it is, against the engine without its watch. The second is made from the engine's own source,
  loaded once more without every line that asks whether something was raised, traces it, or says where the training is, and with
  `np.errstate(all="ignore")`. Both train the same runs to the same bits, a few iterations each in turn; the share of the time
  that the watch takes is from the median ratio of two neighbours. Runs that overflow have no bar: without the watch nobody
  would know of them.
- **Afterwards**: the time for `black_box` by the iteration of the event, beside training that run alone as far as the event;
  and for `diagnose`, beside training that run alone. The runs are found by training random ones; medians of repeats that take
  turns.

Times are the processor seconds of this process, which has one thread. They depend on the machine; read the ratios.

    python benchmarks/forensics.py [--quick]
"""

import argparse
import ast
import importlib
import math
import os
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from importlib.machinery import PathFinder, SourceFileLoader
from pathlib import Path
from typing import NamedTuple

os.environ.update(OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1", OMP_NUM_THREADS="1")  # before NumPy loads its BLAS
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

import engine
from engine import Population, RunConfig, black_box, diagnose, train
from engine.training import population_size

WATCH_SHARE = 0.05
"""Bar: share of the training's time that the watch may take while nothing overflows."""
LONG = 10_000_000
LARGE = RunConfig(cell="lstm", hidden_size=32, bias=True, batch_size=32, optimizer="adam", learning_rate=0.005, dtype="float32")


class Sizes(NamedTuple):
    """How much is measured."""

    n_runs: int = 256
    pairs: int = 7
    rounds: int = 40
    slice_seconds: float = 0.03
    searched: int = 256
    n_iterations: int = 12_000
    lstm_iterations: int = 3_000
    events: tuple[int, ...] = (10, 100, 1_000, 10_000)
    repeats: int = 5


class _Unwatched(ast.NodeTransformer):
    """Takes out of the engine's source whatever watches."""

    def visit_If(self, node):
        """Drop "if watch.raised: ..."."""
        return None if _ends_with(node.test, "raised") else self.generic_visit(node)

    def visit_Assign(self, node):
        """Drop "watch.phase = ..." and "watch.step = ..."."""
        return None if any(_is_place(target) for target in node.targets) else self.generic_visit(node)

    def visit_IfExp(self, node):
        """Let "... if watch.happened else []" be what it is otherwise."""
        return node.orelse if _ends_with(node.test, "happened") else self.generic_visit(node)

    def visit_Call(self, node):
        """Let `watch.on()` watch nothing."""
        nothing = ast.parse('np.errstate(all="ignore")', mode="eval").body
        return ast.copy_location(nothing, node) if _ends_with(node.func, "on") else self.generic_visit(node)


def _ends_with(node: ast.expr, name: str) -> bool:
    return isinstance(node, ast.Attribute) and node.attr == name


def _is_place(node: ast.expr) -> bool:
    return (_ends_with(node, "phase") or _ends_with(node, "step")) and ast.unparse(node).split(".")[-2] == "watch"


class _Loader(SourceFileLoader):
    """Loads the engine's modules without their watch, from the source and into no cache."""

    def get_code(self, fullname):
        path = self.get_filename(fullname)
        tree = ast.fix_missing_locations(_Unwatched().visit(ast.parse(self.get_data(path))))
        return compile(tree, path, "exec")


class _Finder:
    """Finds the engine's modules."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        spec = PathFinder.find_spec(name, path) if name.partition(".")[0] == engine.__name__ else None
        if spec is not None:
            spec.loader = _Loader(spec.name, spec.origin)
        return spec


def unwatched_engine():
    """Return the package `engine` once more, without its watch; the real one stays what it is."""
    own = {name: module for name, module in sys.modules.items() if name.partition(".")[0] == engine.__name__}
    for name in own:
        del sys.modules[name]
    sys.meta_path.insert(0, _Finder)
    try:
        return importlib.import_module(engine.__name__)
    finally:
        sys.meta_path.remove(_Finder)
        for name in [name for name in sys.modules if name.partition(".")[0] == engine.__name__]:
            del sys.modules[name]
        sys.modules.update(own)


def timed(function: Callable) -> float:
    """Return the processor seconds of a call."""
    started = time.process_time()
    function()
    return time.process_time() - started


def watch_share(settings: dict, n_runs: int, sizes: Sizes, other_engine) -> dict:
    """Return which share of the time the watch takes, and in what share of runs and iterations something overflowed.

    Where arrays happen to lie in memory makes one population some percent faster than its twin, so there are several pairs.
    """
    shares, milliseconds = [], []
    for pair in range(sizes.pairs):
        ways = {}
        for package in (engine, other_engine) if pair % 2 else (other_engine, engine):
            configs = [package.RunConfig(**settings, seed=seed, n_iterations=LONG) for seed in range(n_runs)]
            ways[package] = package.Population(configs)
        n = max(1, round(sizes.slice_seconds / max(timed(partial(ways[engine].advance, 10)) / 10, 1e-6)))
        ways[other_engine].advance(10)
        ratios = []
        for i in range(sizes.rounds):
            order = (engine, other_engine) if i % 2 else (other_engine, engine)
            spent = {package: timed(partial(ways[package].advance, n)) for package in order}
            ratios.append(spent[other_engine] / spent[engine])
            milliseconds.append(1e3 * spent[engine] / n)
        shares.append(1 - statistics.median(ratios))
        watched, bare = ways[engine], ways[other_engine]
        if len(watched.active) < n_runs or not np.array_equal(watched.parameters, bare.parameters):
            raise SystemExit("the engine without its watch trains other runs: nothing to compare")
    overflowing = float(watched.events["count"].mean() / watched.iteration)
    return {"ms": statistics.median(milliseconds), "shares": sorted(shares), "overflowing": overflowing}


def find_events(settings: dict, drawn: dict, n_runs: int, wanted: tuple[int, ...]) -> list[tuple[RunConfig, int]]:
    """Train random runs and return those whose first event is nearest to the wanted iterations, with these."""
    rng, configs = np.random.default_rng(1), []
    for seed in range(n_runs):
        values = {name: float(f"{np.exp(rng.uniform(*np.log(limits))):.3g}") for name, limits in drawn.items()}
        configs.append(RunConfig(**settings, **values, seed=seed))
    events = {result.config: result.overflow.iteration for result in train(configs) if result.overflow}
    return [min(events.items(), key=lambda event: abs(math.log(event[1] / near))) for near in wanted] if events else []


def alone(config: RunConfig, n_iterations: int) -> None:
    """Train a run without any company."""
    Population([config]).advance(n_iterations)


def afterwards(configs: list[tuple[RunConfig, int]], sizes: Sizes) -> list[dict]:
    """Time black boxes, and training their runs alone as far as the event, in turns."""
    rows = []
    for config, event in configs:
        boxes, trained = [], []
        for _ in range(sizes.repeats):
            trained.append(timed(partial(alone, config, event)))
            boxes.append(timed(partial(black_box, config, event)))
        ratio = statistics.median(box / run for box, run in zip(boxes, trained, strict=True))
        row = {
            "cell": config.cell,
            "event": event,
            "black box": statistics.median(boxes),
            "to there": statistics.median(trained),
        }
        rows.append(row | {"ratio": ratio, "whole": statistics.median(trained) / event * config.n_iterations})
    return rows


def diagnoses(cases: dict[str, RunConfig], sizes: Sizes) -> list[dict]:
    """Time diagnoses, and training their runs alone, in turns."""
    rows = []
    for name, config in cases.items():
        looks, trained = [], []
        for _ in range(sizes.repeats):
            trained.append(timed(partial(alone, config, config.n_iterations)))
            looks.append(timed(partial(diagnose, config, config.n_iterations)))
        ratio = statistics.median(look / run for look, run in zip(looks, trained, strict=True))
        rows.append({"run": name, "diagnosis": statistics.median(looks), "alone": statistics.median(trained), "ratio": ratio})
    return rows


def watch_table(sizes: Sizes) -> list[str]:
    """Measure the watch and return its table and bar."""
    other_engine = unwatched_engine()
    n_lstm = min(sizes.n_runs, population_size(RunConfig(cell="lstm")))
    n_large = min(sizes.n_runs, population_size(LARGE))
    large = {name: value for name, value in LARGE.to_dict().items() if name not in ("seed", "n_iterations")}
    cases = {
        f"classic, {sizes.n_runs} runs": ({}, sizes.n_runs),
        f"LSTM, {n_lstm} runs": ({"cell": "lstm"}, n_lstm),
        f"LSTM of 32 units, batch 32, {n_large} runs": (large, n_large),
        "classic, 1 run": ({}, 1),
        f"relu, std 1, {sizes.n_runs} runs": ({"activation": "relu"}, sizes.n_runs),
        f"sigmoid, std 1000, {sizes.n_runs} runs": ({"weight_init_std": 1000.0}, sizes.n_runs),
    }
    lines = [f"{'always on':44}{'ms/iteration':>14}{'watch':>9}{'lowest, highest pair':>24}{'overflowing':>13}", ""]
    quiet = []
    for name, (settings, n_runs) in cases.items():
        row = watch_share(settings, n_runs, sizes, other_engine)
        share, (low, *_, high) = statistics.median(row["shares"]), row["shares"]
        lines.append(f"{name:44}{row['ms']:14.3f}{share:9.1%}{f'{low:.1%}, {high:.1%}':>24}{row['overflowing']:13.0%}")
        quiet += [share] if row["overflowing"] == 0 else []
    bar = f"at most {WATCH_SHARE:.0%} of the time where nothing overflows"
    return [*lines, "", f"{bar:58}{max(quiet):9.1%}  {'met' if max(quiet) <= WATCH_SHARE else 'NOT MET'}"]


def replay_tables(sizes: Sizes) -> list[str]:
    """Measure black boxes and diagnoses and return their tables."""
    plain = {"activation": "relu", "n_iterations": sizes.n_iterations}
    gated = {"cell": "lstm", "n_iterations": sizes.lstm_iterations}
    found = find_events(plain, {"weight_init_std": (0.1, 1.0), "learning_rate": (0.05, 2.0)}, sizes.searched, sizes.events)
    drawn = {"weight_init_std": (0.5, 30.0), "learning_rate": (1.0, 10_000.0)}
    found += find_events(gated, drawn, sizes.searched // 2, sizes.events[:3:2])
    lines = [
        f"{'black box of':16}{'event at':>10}{'seconds':>9}{'training alone to there':>25}{'times':>8}{'of the whole run':>18}",
        "",
    ]
    for row in afterwards(found, sizes):
        lines.append(
            f"{row['cell']:16}{row['event']:10}{row['black box']:9.3f}{row['to there']:25.3f}{row['ratio']:8.2f}"
            f"{row['black box'] / row['whole']:18.1%}"
        )
    lines += ["", f"{'diagnosis of':44}{'seconds':>9}{'training alone':>16}{'times':>8}", ""]
    cases = {
        f"classic, {sizes.n_iterations} iterations": RunConfig(n_iterations=sizes.n_iterations),
        f"LSTM, {sizes.lstm_iterations} iterations": RunConfig(cell="lstm", n_iterations=sizes.lstm_iterations),
        f"LSTM of 32 units, batch 32, {sizes.lstm_iterations} iterations": LARGE.replace(n_iterations=sizes.lstm_iterations),
    }
    for row in diagnoses(cases, sizes):
        lines.append(f"{row['run']:44}{row['diagnosis']:9.3f}{row['alone']:16.3f}{row['ratio']:8.2f}")
    return lines


def main(arguments: list[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="What the black box costs.")
    parser.add_argument("--quick", action="store_true", help="tiny sizes that prove nothing but that it works")
    options = parser.parse_args(arguments)
    sizes = Sizes(4, 2, 2, 1e-3, 64, 50, 20, (5, 20, 30), 1) if options.quick else Sizes()
    print("\n".join(watch_table(sizes)), end="\n\n\n")
    print("\n".join(replay_tables(sizes)))


if __name__ == "__main__":
    main()
