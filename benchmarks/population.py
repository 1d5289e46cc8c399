"""What training a population costs, beside the same exercise as a plain loop.

Compared, per run and on one core: the classic exercise (8-bit addition, 16 sigmoid units, one sample at a time, float64)

- as a plain loop of small NumPy calls: `plain_loop.plain_iteration`, which records nothing and watches nothing;
- by `engine.train` for P runs, cut into stacks of the cache's size, with everything recorded: curves, events, accuracy on
  held-out samples before and after;
- in PyTorch, where it is installed: `nn.RNN` (tanh, because it has no sigmoid), a linear readout with a logistic, SGD.

Then: whether the time per run stays the same up to thousands of runs, the memory that takes, and what recording costs.
Times are the processor seconds of this process, which has one thread. On a shared machine they drift, so each ratio is
taken against the reference timed just before and just after, and the median over the repeats is printed. Times depend on
the machine; read the ratios.

    python benchmarks/population.py [--json] [--quick]
"""

import argparse
import importlib.util
import json
import os
import resource
import statistics
import sys
import time
from functools import partial
from pathlib import Path
from typing import NamedTuple

os.environ.update(OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1", OMP_NUM_THREADS="1")  # before NumPy loads its BLAS
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from benchmarks.plain_loop import draw_pairs, initial_weights, plain_iteration
from engine import Population, RunConfig, train
from engine.training import population_size

FASTER, LINEAR, MEGABYTES = 90, 0.15, 500
"""Bars: times faster than the plain loop at the best P; change of the time per run; peak memory."""


class Sizes(NamedTuple):
    """How much is measured; all times are scaled to 10,000 iterations, the length of the exercise."""

    populations: tuple[int, ...] = (1, 64, 256, 1024)
    iterations: int = 10_000
    plain_iterations: int = 3_000
    linear: tuple[int, ...] = (256, 512, 1024, 2048, 4096, 8192)
    linear_iterations: int = 500
    repeats: int = 3


class UnrecordedPopulation(Population):
    """The same updates without curves, window accuracy and events; the flags stay on, they cost nothing until raised."""

    def _step(self, work, logs):
        readout = work.network.readout
        work.network.forward()
        np.subtract(readout.y, readout.target, out=readout.error)
        work.network.backward()
        work.optimizer.step(work.gradients, self.states, work.scratch, work.constants, self.iteration + 1)
        np.subtract(self.parameters, work.gradients, out=self.parameters)

    def _log(self, rows, gradient_norms):
        pass


class UnexaminedPopulation(UnrecordedPopulation):
    """Answers no held-out samples either."""

    def _evaluate(self, rows, n_samples):
        return np.zeros(len(rows)), np.zeros(len(rows)), np.zeros((self.configs[0].bits, 8, len(rows), 1))


def configs(n_runs: int, n_iterations: int) -> list[RunConfig]:
    """Return the classic exercise with seeds 0, 1, 2, ..."""
    return [RunConfig(seed=seed, n_iterations=n_iterations) for seed in range(n_runs)]


def train_plainly(n_iterations: int) -> None:
    """Train one run as a plain loop."""
    (config,) = configs(1, n_iterations)
    weights = initial_weights(config)
    for pair in draw_pairs(config, n_iterations):
        plain_iteration(config, weights, *pair)


def train_in_torch(n_iterations: int) -> None:
    """Train one run in PyTorch."""
    import torch

    torch.set_num_threads(1)
    options = {"bias": False, "dtype": torch.float64}
    layer, readout = torch.nn.RNN(2, 16, nonlinearity="tanh", **options), torch.nn.Linear(16, 1, **options)
    optimizer = torch.optim.SGD([*layer.parameters(), *readout.parameters()], lr=0.1)
    for a, b in draw_pairs(configs(1, n_iterations)[0], n_iterations):
        x = torch.tensor([[a >> t & 1, b >> t & 1] for t in range(8)], dtype=torch.float64)
        target = torch.tensor([[a + b >> t & 1] for t in range(8)], dtype=torch.float64)
        loss = 0.5 * ((torch.sigmoid(readout(layer(x)[0])) - target) ** 2).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def timed(function, divisor: float = 1.0) -> float:
    """Return the processor milliseconds of a call, divided."""
    started = time.process_time()
    function()
    return 1e3 * (time.process_time() - started) / divisor


def measure(candidates: dict, repeats: int) -> dict[str, dict]:
    """Return each candidate's median milliseconds and their ratio to the first, the reference, timed before and after it.

    Candidates are given as name: (function, divisor).
    """
    (reference, again), *others = candidates.items()
    times, ratios = {name: [] for name in candidates}, {name: [] for name in candidates}
    for _ in range(repeats):
        before = timed(*again)
        for name, candidate in others:
            now, after = timed(*candidate), timed(*again)
            times[name].append(now)
            ratios[name].append(now / statistics.mean([before, after]))
            times[reference].append(after)
            before = after
    ratios[reference] = [1.0]
    return {name: {"ms": statistics.median(times[name]), "ratio": statistics.median(ratios[name])} for name in candidates}


def compare(sizes: Sizes) -> dict[str, dict]:
    """Measure one run of every way to train against the plain loop."""
    plain_share, share = sizes.plain_iterations / 10_000, sizes.iterations / 10_000
    candidates = {"plain loop": (partial(train_plainly, sizes.plain_iterations), plain_share)}
    for n in sizes.populations:
        candidates[f"population, P = {n}"] = (partial(train, configs(n, sizes.iterations)), n * share)
    if importlib.util.find_spec("torch"):
        candidates["PyTorch nn.RNN (tanh)"] = (partial(train_in_torch, sizes.plain_iterations), plain_share)
    return measure(candidates, sizes.repeats)


def check_linearity(sizes: Sizes) -> dict[str, dict]:
    """Measure one run of growing numbers of runs against the smallest number."""
    n_iterations = sizes.linear_iterations
    candidates = {f"{n} runs": (partial(train, configs(n, n_iterations)), n * n_iterations / 10_000) for n in sizes.linear}
    return measure(candidates, sizes.repeats)


def cost_of_recording(sizes: Sizes) -> dict[str, float]:
    """Return the shares of one stack's time that recording takes; the kinds take turns every hundredth of the training."""
    runs = configs(min(population_size(RunConfig()), sizes.linear[0]), sizes.iterations)
    populations, spent = [], []
    for kind in (Population, UnrecordedPopulation, UnexaminedPopulation):
        spent.append(timed(lambda kind=kind: populations.append(kind(runs))))
    while populations[0].active:
        for i, population in enumerate(populations):
            spent[i] += timed(partial(population.advance, max(1, sizes.iterations // 100)))
    full, unrecorded, unexamined = spent
    return {"curves, accuracy, events": 1 - unrecorded / full, "held-out samples": (unrecorded - unexamined) / full}


def peak_megabytes() -> float:
    """Return the most memory this program has had, on Linux without what its parent had."""
    status = Path("/proc/self/status")
    if status.exists():
        return int(next(line.split()[1] for line in status.read_text().splitlines() if line.startswith("VmHWM"))) / 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def make_report(sizes: Sizes) -> dict:
    """Measure everything; memory before PyTorch is loaded, which would count too."""
    linear = check_linearity(sizes)
    peak = peak_megabytes()
    shares, ways = cost_of_recording(sizes), compare(sizes)
    best = max(1 / way["ratio"] for name, way in ways.items() if name.startswith("population"))
    change = max(abs(row["ratio"] - 1) for row in linear.values())
    bars = {
        f"at least {FASTER} times the plain loop": (best, best >= FASTER),
        f"time per run within {LINEAR:.0%} up to {sizes.linear[-1]} runs": (change, change <= LINEAR),
        f"peak memory below {MEGABYTES} MB": (peak, peak < MEGABYTES),
    }
    report = {"ways": ways, "linearity": linear, "recording_share": shares}
    return report | {"bars": {bar: {"measured": measured, "met": met} for bar, (measured, met) in bars.items()}}


def as_table(report: dict) -> str:
    """Return the report for people."""
    lines = ["ms for 10,000 iterations of one run, one core (times depend on the machine; read the ratios)", ""]
    lines += [f"{name:26}{way['ms']:9.1f}{1 / way['ratio']:9.1f} x" for name, way in report["ways"].items()]
    lines += ["", "time per run as their number grows, relative to the smallest", ""]
    lines += [f"{name:26}{row['ms']:9.1f}{row['ratio']:9.2f}" for name, row in report["linearity"].items()]
    lines += ["", "share of the time that goes into recording", ""]
    lines += [f"{name:26}{share:9.1%}" for name, share in report["recording_share"].items()]
    bars = report["bars"].items()
    return "\n".join([*lines, "", *(f"{bar:44}{b['measured']:9.2f}  {'met' if b['met'] else 'NOT MET'}" for bar, b in bars)])


def main(arguments: list[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="What training a population costs, beside a plain loop.")
    parser.add_argument("--json", action="store_true", help="print the numbers as JSON instead of a table")
    parser.add_argument("--quick", action="store_true", help="tiny sizes that prove nothing but that it runs")
    options = parser.parse_args(arguments)
    report = make_report(Sizes((1, 4), 20, 10, (4, 8), 10, 2) if options.quick else Sizes())
    print(json.dumps(report, indent=2) if options.json else as_table(report))


if __name__ == "__main__":
    main()
