"""Brink beside JAX and PyTorch: the same training, side by side in one run.

Three works, each on one core and on all of them:

- addition: the classic exercise, 512 runs of 8-bit addition with 16 sigmoid units, one sample at a time, float64;
- bit_count: a linear projection to 80, an LSTM of 80 units, batches of 100 from a pool of 1,000, float32, 1 run and 8;
- gru: the adding problem over 50 steps, 32 units (reset gate before the product), batches of 32, float32, 64 runs.

Everybody trains on the same samples from the same weights, makes the same number of updates by plain gradient descent,
keeps the mean loss at up to 100 points and asks 1,000 held-out samples at the end: that is timed. Brink's time also holds
drawing and encoding the samples, 250 held-out samples at the start (with a pool, at every point), accuracy, norms, the
overflow watch and, on all cores, sending results between processes. Its peers get encoded samples and compile for free, and
first try several ways on a part of the work, of which the fastest is measured.

JAX "as it comes" has no settings; "spread" has one host device for each core. PyTorch has one thread or all, whichever is
faster. "Stacked by hand" is one network whose products are `torch.bmm`, or sums, over all runs. `nn.RNN` has tanh units, as
it knows no sigmoid: the same sizes, another function. The plain loop (`plain_loop.py`) records and evaluates nothing.

Every competitor but Brink and the plain loop is a process of its own; they take turns, round by round. Times are
microseconds per run and iteration: of the processor on one core, on the wall on all cores. Ratios are between minima.
Before that, in float64 and small, all must come to the same losses.

The physical limit is what the updates' matrix products and transcendental functions alone would take at this machine's peak,
measured with a large product and with arrays in the cache. Operations per weight matrix: 2 x rows x size each for forward,
its gradient and, but for the first layer, its input's gradient (rows: T B; (T - 1) B for the recurrent matrix; the answers
for the readout). A projection costs nothing, since x W_proj W_in is x (W_proj W_in), which Brink alone makes use of. Per unit
and step 1 exp (rnn), 3 exp and 2 tanh (LSTM), 2 exp and 1 tanh (GRU); 1 exp per logistic answer.

    python benchmarks/peers.py [--quick] [--only addition|bit_count|gru]
"""

import argparse
import importlib.util
import os
import platform
import statistics
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import cache, partial
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before NumPy loads its BLAS; Brink's workers inherit it
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from benchmarks.peer_process import CORES, Peer, timed
from benchmarks.plain_loop import draw_pairs, initial_weights, plain_iteration
from engine import CELLS, CURVES, TASKS, Population, RunConfig, stacks, train
from engine.layout import unpack
from engine.network import parameter_shapes

TOLERANCE = 1e-10
"""Largest relative difference between the losses of two competitors in float64."""


class Work(NamedTuple):
    """What everybody has to do: settings, numbers of runs and iterations; and how often."""

    settings: dict
    n_runs: int
    n_iterations: int
    n_rounds: int = 5

    def configs(self) -> list[RunConfig]:
        """Return Brink's configs with seeds 0, 1, 2, ..."""
        return [RunConfig(seed=seed, n_iterations=self.n_iterations, **self.settings) for seed in range(self.n_runs)]


class Entry(NamedTuple):
    """A competitor: name, module and way, the most that Brink may take relative to it, how many of the runs it trains."""

    name: str
    module: str
    way: str = "as it comes"
    bar: float | None = None
    n_runs: int | None = None
    options: tuple[str, ...] = ()


GATED = {"bias": True, "init_scheme": "xavier_uniform", "learning_rate": 0.01, "dtype": "float32"}
LSTM = {"task": "bit_count", "length": 10, "pool_size": 1000, "cell": "lstm", "forget_bias": 0.8} | GATED
LSTM |= {"hidden_size": 80, "projection_size": 80, "batch_size": 100}
GRU = {"task": "adding_problem", "length": 50, "cell": "gru", "hidden_size": 32, "batch_size": 32} | GATED
BRINK = Entry("Brink", "", bar=1.0)
ONE = Entry("JAX", "jax", "one core")
SPREAD = Entry("JAX, one host device per core", "jax", "spread")
STACKED = Entry("PyTorch, stacked by hand", "torch", options=("stacked",))
PLAIN = Entry("plain loop, one run", "", bar=0.01, n_runs=1)
LAYER = Entry("PyTorch nn.RNN (tanh), one run", "torch", "one core", n_runs=1)
WHOLE = Entry("JAX as it comes", "jax", bar=0.6, options=("whole",))
GROUPED = Entry("JAX as it comes, runs in groups allowed", "jax")
TABLES: list[tuple[str, int, Work, list[Entry]]] = [
    ("addition", 1, Work({}, 512, 2000), [ONE._replace(bar=1.25), PLAIN, STACKED._replace(way="one core"), LAYER]),
    ("addition", CORES, Work({}, 512, 2000), [WHOLE, GROUPED, SPREAD._replace(bar=1.15), STACKED]),
    ("bit_count", 1, Work(LSTM, 1, 5000, 3), [Entry("PyTorch nn.LSTM", "torch", "one core", 1.0), ONE]),
    ("bit_count", CORES, Work(LSTM, 8, 2000, 3), [Entry("PyTorch nn.LSTM, run after run", "torch", bar=0.8), SPREAD]),
    ("gru", 1, Work(GRU, 64, 100, 3), [STACKED._replace(way="one core", bar=1.0), ONE]),
    ("gru", CORES, Work(GRU, 64, 100, 3), [STACKED._replace(bar=1.0), SPREAD]),
]
QUICK = {"addition": 20, "bit_count": 10, "gru": 5}
"""Iterations of each work where only equality is looked at."""


def draw(work: Work) -> dict[str, np.ndarray]:
    """Return the weights and samples that Brink uses itself: P runs first, x (P, N, T, B, I), d (P, N, K, B, O).

    Held-out samples are (T, n, I) and (K, n, O); the forget gate's constant is worked into its bias.
    """
    configs, population = work.configs(), Population(work.configs())
    first, task = configs[0], TASKS[configs[0].task]
    shapes = parameter_shapes(first)
    weights = {name.lower(): w.copy() for name, w in unpack(population.parameters[: work.n_runs], shapes).items()}
    if first.forget_bias:
        gates = weights["b"].reshape(work.n_runs, -1, first.hidden_size)
        gates[:, CELLS["lstm"].gates.index("f")] += first.forget_bias
    samples = np.stack([population._draw((config.seed, config.pool_size), work.n_iterations) for config in configs])
    x, d = (np.moveaxis(a, 0, 2) for a in task.encode(samples, first))
    held_x, held_d = task.encode(population.held_out, first)
    return {f"weight {name}": w for name, w in weights.items()} | {"x": x, "d": d, "held_x": held_x, "held_d": held_d}


def train_plainly(work: Work) -> Callable:
    """Return a function that trains the first run as a plain loop and returns its losses, (1, iterations)."""
    config = work.configs()[0]
    pairs = draw_pairs(config, work.n_iterations)

    def run():
        weights = initial_weights(config)
        return np.array([[plain_iteration(config, weights, *pair)[0] for pair in pairs]])

    return run


def brink(work: Work, n_cores: int) -> tuple[Callable, Callable]:
    """Return a function that trains all runs and returns their losses, and one that ends the processes it uses."""
    configs = work.configs()

    def losses(results):
        return np.array([result.curves[:, CURVES.index("loss")] for result in results])

    if n_cores == 1:
        return lambda: losses(train(configs)), lambda: None
    pool = ProcessPoolExecutor(n_cores, mp_context=get_context("spawn"))
    list(pool.map(train, [[config.replace(n_iterations=1) for config in configs[:2]]] * 4 * n_cores))
    groups = [[configs[place] for place in places] for places in stacks(configs, n_cores)]
    return lambda: losses([result for group in pool.map(train, groups) for result in group]), pool.shutdown


class Here:
    """A competitor that is asked like a `Peer` but works in this process."""

    def __init__(self, run: Callable, close: Callable = lambda: None):
        self.run, self.close, self.about = run, close, {"about": f"numpy {np.__version__}", "settings": ""}

    def ask(self) -> tuple[dict[str, float], np.ndarray]:
        """Do the work once; return the seconds and the losses."""
        return timed(self.run)


def competitor(entry: Entry, work: Work, file: str, quick: bool) -> Here | Peer:
    """Return the competitor of an entry."""
    if not entry.module:
        return Here(train_plainly(work))
    first = work.configs()[0]
    task = {"file": file, "way": entry.way, "n_runs": entry.n_runs or work.n_runs, "quick": quick, "cell": first.cell}
    task |= {"learning_rate": first.learning_rate, "stacked": False, "whole": False}
    return Peer(entry.module, task | dict.fromkeys(entry.options, True), wait=not quick)


def measure(work: Work, entries: list[Entry], n_cores: int, quick: bool = False) -> dict[Entry, dict]:
    """Let Brink and the entries take turns; return what they are, their microseconds per run and iteration, their losses.

    Entries without a bar stop after two rounds.
    """
    clock = "processor" if n_cores == 1 else "wall"
    with tempfile.TemporaryDirectory() as folder:
        file = str(Path(folder, "work.npz"))
        np.savez(file, **draw(work))
        asked = {BRINK: Here(*brink(work, n_cores))} | {e: competitor(e, work, file, quick) for e in entries}
        rows = {entry: {"times": [], "losses": None} for entry in asked}
        for turn in range(work.n_rounds):
            for entry, who in asked.items():
                if turn >= 2 and entry.bar is None:
                    continue
                seconds, rows[entry]["losses"] = who.ask()
                n_updates = (entry.n_runs or work.n_runs) * work.n_iterations
                rows[entry]["times"].append(1e6 * seconds[clock] / n_updates)
        for entry, who in asked.items():
            who.close()
            rows[entry] |= who.about
    return rows


def check(name: str, rows: dict[Entry, dict]) -> float:
    """Return how far the losses are apart, relative to Brink's, or end where that is too far."""
    worst, truth = 0.0, rows[BRINK]["losses"]
    for entry, row in rows.items():
        if "tanh" not in entry.name:
            n = min(len(row["losses"]), len(truth))
            apart = float(np.abs(row["losses"][:n] / truth[:n] - 1).max())
            if not apart <= TOLERANCE:
                raise SystemExit(f"{name}, {entry.name}: expected Brink's losses within {TOLERANCE}, found {apart} apart")
            worst = max(worst, apart)
    return worst


@cache
def peaks(dtype: str) -> dict[str, float]:
    """Return the least microseconds of a multiplication and addition in a large product, of an exp and of a tanh."""
    matrix, row = np.ones((1500, 1500), dtype), np.linspace(-1, 1, 4096, dtype=dtype)
    out = np.empty_like(row)

    def repeat(function):
        for _ in range(250):
            function(row, out=out)

    runs = {"product": lambda: matrix @ matrix, "exp": partial(repeat, np.exp), "tanh": partial(repeat, np.tanh)}
    least = {name: min(timed(run)[0]["processor"] for _ in range(9)) for name, run in runs.items()}
    return {name: 1e6 * seconds / (1500**3 if name == "product" else 250 * 4096) for name, seconds in least.items()}


def physical_limit(work: Work) -> float:
    """Return the microseconds that one core needs for the products and functions of one iteration of one run."""
    config, peak = work.configs()[0], peaks(work.configs()[0].dtype)
    task, size, n_gates = TASKS[config.task], config.hidden_size, len(CELLS[config.cell].gates)
    n_steps, n_answers = task.n_steps(config), task.n_answers(config) * task.n_outputs
    products = n_gates * size * (2 * n_steps * (task.n_inputs + config.bias) + 3 * (n_steps - 1) * size) + 3 * n_answers * size
    n_exp, n_tanh = {"rnn": (1, 0), "gru": (2, 1), "lstm": (3, 2)}[config.cell]
    logistic = n_answers if task.output == "logistic" else 0
    functions = (n_steps * size * n_exp + logistic) * peak["exp"] + n_steps * size * n_tanh * peak["tanh"]
    return config.batch_size * (products * peak["product"] + functions)


def as_table(name: str, work: Work, n_cores: int, rows: dict[Entry, dict]) -> list[str]:
    """Return a table for people and who had which settings."""
    runs, cores = (f"{n} {noun}s" if n > 1 else f"one {noun}" for n, noun in ((work.n_runs, "run"), (n_cores, "core")))
    lines = [f"\n{name}: {runs}, {work.n_iterations:,} iterations, {work.configs()[0].dtype}, {cores}\n"]
    lines += ["| who | median | minimum | Brink's time / this | bar |", "|---|---|---|---|---|"]
    least, small = {entry: min(row["times"]) for entry, row in rows.items()}, work.n_iterations == QUICK[name]
    for entry, row in rows.items():
        ratio, bar = least[BRINK] / least[entry], ""
        if entry is not BRINK and entry.bar and not small:
            bar = f"at most {entry.bar:g}: {'met' if ratio <= entry.bar else 'NOT MET'}"
        lines.append(f"| {entry.name} | {statistics.median(row['times']):,.4g} | {least[entry]:,.4g} | {ratio:.3g} | {bar} |")
    limit = physical_limit(work) / n_cores
    lines.append(f"| physical limit | | {limit:,.3g} | {least[BRINK] / limit:.3g} | |")
    return [*lines, "", "; ".join(f"{e.name}: {row['about']} {row['settings']}".strip() for e, row in rows.items())]


def processor() -> str:
    """Return what the machine calls its processor."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.processor())


def main(arguments: list[str] | None = None) -> None:
    """Check, measure and print."""
    parser = argparse.ArgumentParser(description="Brink beside JAX and PyTorch.")
    parser.add_argument("--quick", action="store_true", help="tiny sizes that prove nothing but that all compute the same")
    parser.add_argument("--only", choices=list(QUICK), help="one of the works")
    options = parser.parse_args(arguments)
    missing = [module for module in ("jax", "torch") if not importlib.util.find_spec(module)]
    if missing:
        print(f"Not installed and left out: {', '.join(missing)}. To have them: pip install -r benchmarks/requirements.txt")
    worst, print_now = 0.0, partial(print, flush=True)
    print_now(f"{processor()}, {CORES} cores, Python {platform.python_version()}; microseconds per run and iteration")
    tables = [table for table in TABLES if options.only in (None, table[0])]
    tables = [(*table, [entry for entry in entries if entry.module not in missing]) for *table, entries in tables]
    for name, n_cores, work, entries in tables:
        small = Work(work.settings | {"dtype": "float64"}, min(work.n_runs, 4), QUICK[name], 1)
        rows = measure(small, entries, n_cores, quick=True)
        worst = max(worst, check(name, rows))
        if options.quick:
            print_now(*as_table(name, small, n_cores, rows), sep="\n")
    print_now(f"Losses in float64 are at most {worst:.0e} apart, relative to Brink's.")
    for name, n_cores, work, entries in [] if options.quick else tables:
        print_now(*as_table(name, work, n_cores, measure(work, entries, n_cores)), sep="\n")


if __name__ == "__main__":
    main()
