"""Whether the verdicts are right, and whether the advice helps.

**Verdicts.** Random runs of many kinds are labelled from evidence that the engine's verdict does not use, and a table shows
labels against verdicts. The thresholds and the rule of `engine/outcomes.py` are taken as what the words mean; what is tested is
whether the engine's few samples and averages find the truth:

| | the verdict uses | the label uses |
|---|---|---|
| final loss, accuracy | 1,000 held-out samples | every possible sample, each once, or 20,000 fresh ones |
| lowest loss | training loss, averaged over 5 % | weights at 300 points on every sample (or 4,000), averaged likewise |
| start | 250 held-out samples | every possible sample, or 4,000 |
| overflow | the processor's flags | no flags: every exp argument against the number type's limit, and non-finite numbers |
| forward pass | `engine.network` | a plain one of its own, below |

Not independent: training itself, how samples are drawn and encoded, the baselines. The backward pass's overflows are seen as
gradients that are not finite. For the kind "classic" the events come from `plain_loop.train_plainly`, which shares no
arithmetic with the engine, wherever it arrives at the same weights; elsewhere rounding has made another run of it. Two kinds
are known from how they were made: "still" has learning rates that cannot move anything, "raised" has them multiplied by 3 to
300 at 60 % of the run. A pool is a training set of ten samples, used again and again; its labels are about fresh samples, too.

A run is borderline if its label would be another with the accuracy or a loss two standard errors away, those of the verdict's
samples included; such runs have a table of their own.

**Advice.** Up to 60 runs of each verdict (none with a pool, none "raised") are trained again with each piece of their advice,
and, to compare, with nothing but another seed. How they end then is the engine's verdict.

    python benchmarks/outcomes.py [--quick]
"""

import argparse
import itertools
import math
import os
import sys
from collections import Counter
from pathlib import Path
from typing import NamedTuple

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from benchmarks.plain_loop import FUNCTIONS, train_plainly
from engine import OUTCOMES, TASKS, Population, RunConfig, advise, outcomes, train
from engine.layout import unpack
from engine.network import parameter_shapes
from engine.optimizers import Column

TOLERANCES = {"bit_count": 0.05, "adding_problem": 0.08}
POINTS = 300
"""Points of a run at which its weights are examined."""
MOST_POSSIBLE, FRESH, FRESH_ON_THE_WAY = 4096, 20_000, 4_000
"""A task with so few different samples is asked all of them; others so many fresh ones at the end and on the way."""
VERDICT_SAMPLES, VERDICT_START_SAMPLES = 1000, 250
ERRORS = 2
"""Standard errors around a threshold within which a run is borderline."""
BLOCK = 400_000
RAISED_AT = 0.6
MOST_ADVISED = 60
ADDITION = {"bits": 5, "batch_size": 8, "bias": True, "n_iterations": 1500}
ONE_BY_ONE = {"bits": 5, "n_iterations": 1000}
ON_BITS = {"bits": None, "length": 6, "hidden_size": 8, "batch_size": 8, "bias": True, "n_iterations": 1000}
COUNT, PARITY = ON_BITS | {"task": "bit_count", "pool_size": 0}, ON_BITS | {"task": "parity", "length": 5}
XAVIER, ENTROPY, FLOAT32 = {"init_scheme": "xavier_normal"}, {"loss": "cross_entropy"}, {"dtype": "float32"}
ORDER, ADDING = ON_BITS | XAVIER | {"task": "temporal_order", "length": 10}, ON_BITS | {"task": "adding_problem"}
ADAM, MOMENTUM = {"optimizer": "adam"}, {"optimizer": "momentum"}
LSTM, POOL, SHORT = {"cell": "lstm", "hidden_size": 8}, {"pool_size": 10}, {"n_iterations": 50}
ALL, THREE, RELUS = list(FUNCTIONS), ["sigmoid", "tanh", "relu"], ["relu", "leaky_relu"]


def _kind(n_runs: int, shared: dict, **drawn) -> tuple[int, dict, dict]:
    """Return how many runs, what they share, and what is drawn: from a list, or log-evenly between two numbers."""
    return n_runs, shared, drawn


KINDS = {
    "classic": _kind(100, ONE_BY_ONE, activation=ALL, weight_init_std=(0.05, 30.0), learning_rate=(0.01, 300.0)),
    "float32": _kind(50, ADDITION | FLOAT32, activation=THREE, weight_init_std=(0.1, 30.0), learning_rate=(0.1, 100.0)),
    "short": _kind(50, ADDITION | SHORT, activation=THREE, weight_init_std=(0.1, 3.0), learning_rate=(0.1, 30.0)),
    "batches": _kind(60, ADDITION, activation=THREE, weight_init_std=(0.1, 10.0), learning_rate=(0.1, 100.0)),
    "entropy": _kind(60, ADDITION | ENTROPY, activation=THREE, weight_init_std=(0.1, 5.0), learning_rate=(0.1, 30.0)),
    "relu": _kind(60, ADDITION, activation=RELUS, weight_init_std=(0.1, 0.6), learning_rate=(0.5, 5.0)),
    "relu, entropy": _kind(60, ADDITION | ENTROPY, activation=RELUS, weight_init_std=(0.1, 0.6), learning_rate=(0.1, 2.0)),
    "relu, momentum": _kind(60, ADDITION | ENTROPY | XAVIER | MOMENTUM, activation=RELUS, learning_rate=(0.02, 0.2)),
    "adam": _kind(60, ADDITION | XAVIER | ADAM, activation=["tanh", *RELUS], learning_rate=(0.01, 0.6)),
    "count, adam": _kind(80, COUNT | XAVIER | ADAM, activation=["sigmoid", "relu"], learning_rate=(0.1, 1.0)),
    "count, rmsprop": _kind(60, COUNT | XAVIER | {"optimizer": "rmsprop"}, activation=THREE, learning_rate=(0.01, 0.5)),
    "count, gru": _kind(40, COUNT | XAVIER | MOMENTUM | {"cell": "gru"}, learning_rate=(0.01, 1.0)),
    "parity, lstm": _kind(40, PARITY | XAVIER | ADAM | LSTM, learning_rate=(0.003, 2.0), weight_init_std=(0.5, 4.0)),
    "parity, gru": _kind(40, PARITY | XAVIER | ADAM | {"cell": "gru"}, learning_rate=(0.003, 1.0), weight_init_std=(0.5, 4.0)),
    "addition, lstm": _kind(50, ADDITION | XAVIER | ADAM | LSTM, learning_rate=(0.02, 2.0)),
    "temporal order": _kind(40, ORDER, activation=["tanh", "relu"], learning_rate=(0.01, 30.0), weight_init_std=(0.3, 30.0)),
    "adding": _kind(40, ADDING | XAVIER | ADAM, activation=THREE, learning_rate=(0.01, 1.0)),
    "still": _kind(30, PARITY, activation=ALL, learning_rate=(1e-9, 1e-7), weight_init_std=(0.1, 1.0)),
    "raised": _kind(50, ADDITION | XAVIER, activation=THREE, learning_rate=(0.3, 2.0)),
    "count, pool of 10": _kind(40, COUNT | XAVIER | ADAM | POOL, activation=["tanh", "relu"], learning_rate=(0.003, 0.1)),
    "addition, pool of 10": _kind(40, ADDITION | XAVIER | ADAM | POOL, activation=["tanh", "relu"], learning_rate=(0.003, 0.1)),
}
POOLS = tuple(name for name in KINDS if "pool" in name)


def generate(name: str, n_runs: int | None = None, n_iterations: int | None = None) -> list[RunConfig]:
    """Return the runs of a kind, always the same."""
    usual_runs, shared, drawn = KINDS[name]
    rng, configs = np.random.default_rng(list(KINDS).index(name)), []
    shared = shared | ({"n_iterations": n_iterations} if n_iterations else {})
    for seed in range(1, (n_runs or usual_runs) + 1):
        values = {}
        for key, limits in drawn.items():
            even = isinstance(limits, list)
            values[key] = limits[rng.integers(len(limits))] if even else float(f"{np.exp(rng.uniform(*np.log(limits))):.3g}")
        configs.append(RunConfig(**(shared | values), seed=seed))
    return configs


def questions(config: RunConfig, n_fresh: int) -> tuple[np.ndarray, np.ndarray]:
    """Return inputs (T, 1, N, I) and targets (K, 1, N, O): every possible sample once where they are few, or fresh ones."""
    task = TASKS[config.task]
    if config.task == "binary_addition" and 4 ** (config.bits - 1) <= MOST_POSSIBLE:
        a, b = np.divmod(np.arange(4 ** (config.bits - 1), dtype=np.uint64), np.uint64(2 ** (config.bits - 1)))
        samples = a | b << np.uint64(32)
    elif config.task in ("parity", "bit_count") and 2**config.length <= MOST_POSSIBLE:
        samples = np.arange(2**config.length, dtype=np.uint64)
    else:
        samples = task.draw(np.random.default_rng(2**40), n_fresh, config)
    inputs, targets = task.encode(samples.reshape(len(samples), -1), config)
    return inputs[:, None].astype(config.dtype), targets[:, None].astype(config.dtype)


def plain_forward(configs, parameters: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the outputs' inputs a (T, P, N, O) for x (T, P or 1, N, I), and which runs (P,) passed a number type's limit."""
    config, w = configs[0], unpack(parameters, parameter_shapes(configs[0]))
    over, size, limit = np.zeros(len(parameters), bool), config.hidden_size, math.log(np.finfo(parameters.dtype).max)
    b, b_out = ((w[name][:, None] if config.bias else 0) for name in ("b", "b_out"))
    h = np.zeros((len(parameters), x.shape[2], size), parameters.dtype)
    c, outputs = h, []
    rows = {name: [i for i, own in enumerate(configs) if own.activation == name] for name in {c.activation for c in configs}}

    def sigmoid(u, runs=slice(None)):
        over[runs] |= ~(np.isfinite(u) & (-u <= limit)).all(axis=(1, 2))
        return 1 / (1 + np.exp(-u))

    for x_t in x:
        u = x_t @ w["W_in"] + b
        if config.cell == "gru":
            z, r = np.split(sigmoid(u[..., : 2 * size] + h @ w["W_rec"][..., : 2 * size]), 2, axis=2)
            u = u[..., 2 * size :] + (r * h) @ w["W_rec"][..., 2 * size :]
            h = z * h + (1 - z) * np.tanh(u)
        elif config.cell == "lstm":
            u = u + h @ w["W_rec"]
            i, o = sigmoid(u[..., :size]), sigmoid(u[..., 2 * size : 3 * size])
            f = sigmoid(u[..., size : 2 * size] + np.array([own.forget_bias for own in configs], u.dtype)[:, None, None])
            c = f * c + i * np.tanh(u[..., 3 * size :])
            h = o * np.tanh(c)
        else:
            u, h = u + h @ w["W_rec"], np.empty_like(h)
            for name, runs in rows.items():
                h[runs] = sigmoid(u[runs], runs) if name == "sigmoid" else FUNCTIONS[name][0](u[runs])
        over |= ~np.isfinite(u).all(axis=(1, 2)) | ~np.isfinite(h).all(axis=(1, 2))
        outputs.append(h @ w["W_out"] + b_out)
    return np.array(outputs), over


def plain_losses(config, a: np.ndarray, d: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return losses (P, N) and right answers (P, N) of outputs' inputs a (K, P, N, O); and which runs (P,) overflowed."""
    output, limit = TASKS[config.task].output, math.log(np.finfo(a.dtype).max)
    over = ~np.isfinite(a).all(axis=(0, 2, 3))
    if output == "linear":
        losses = np.square(a - d).sum(axis=(0, 3))
        right = (np.abs(a - d) < TOLERANCES[config.task]).all(axis=(0, 3))
    elif output == "softmax":
        over |= (a > limit).any(axis=(0, 2, 3)) | ~np.isin(np.exp(a).sum(axis=3), (0, np.inf), invert=True).all(axis=(0, 2))
        top = a.max(axis=3, keepdims=True)
        losses = (np.log(np.exp(a - top).sum(axis=3)) + top[..., 0] - (a * d).sum(axis=3)).sum(axis=0)
        right = (a.argmax(axis=3) == d.argmax(axis=3)).all(axis=0)
    else:
        over |= (-a > limit).any(axis=(0, 2, 3))
        right = ((a > 0) == (d > 0.5)).all(axis=(0, 3))
        if config.loss == "cross_entropy":
            losses = (np.logaddexp(0, a) - a * d).sum(axis=(0, 3))
        else:
            losses = 0.5 * np.square(1 / (1 + np.exp(-a)) - d).sum(axis=(0, 3))
    return losses, right & np.isfinite(a).all(axis=(0, 3)), over | ~np.isfinite(losses.sum(axis=1))


def ask(configs, parameters: np.ndarray, asked) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return loss, its standard deviation from sample to sample, and accuracy, each (P,)."""
    inputs, targets = asked
    size = max(1, BLOCK // (len(configs) * configs[0].hidden_size))
    parts = []
    for first in range(0, inputs.shape[2], size):
        block = slice(first, first + size)
        a, _ = plain_forward(configs, parameters, inputs[:, :, block])
        parts.append(plain_losses(configs[0], a[-len(targets) :].astype(np.float64), targets[:, :, block])[:2])
    losses, right = (np.concatenate(part, axis=1) for part in zip(*parts, strict=True))
    return losses.mean(axis=1), losses.std(axis=1), right.mean(axis=1)


class Observed(Population):
    """Runs whose weights are examined at many points, and whose numbers are looked at in every iteration.

    `path` and `spread` (P, POINTS) hold the loss and its standard deviation, `seen` (P,) the number of iterations with a number
    beyond the type's limits, `last` (P, n) the weights at the end.
    """

    def __init__(self, configs, raised: bool = False):
        super().__init__(configs)
        n_runs = len(configs)
        self.points = {int(done): i for i, done in enumerate(np.linspace(0, self.n_iterations, POINTS, endpoint=False))}
        self.path, self.spread = np.full((2, n_runs, POINTS), np.nan)
        self.seen, self.last, self.raised = np.zeros(n_runs, int), np.empty_like(self.parameters[[0] * n_runs]), raised
        self.asked = questions(configs[0], FRESH_ON_THE_WAY)

    def _update(self, work, logs):
        runs, configs, x = np.asarray(self.rows), work.configs, work.network.x.transpose(0, 2, 1, 3)
        with np.errstate(all="ignore"):
            if self.iteration in self.points:
                point = self.points[self.iteration]
                self.path[runs, point], self.spread[runs, point], _ = ask(configs, self.parameters, self.asked)
            a, hit = plain_forward(configs, self.parameters, x)
            target = work.network.readout.target.transpose(0, 2, 1, 3)
            hit |= plain_losses(configs[0], a[-len(target) :], target)[2] | ~np.isfinite(work.gradients).all(axis=1)
            lost = self._lost()
        if self.raised and self.iteration == int(RAISED_AT * self.n_iterations):
            for run in self.active:
                factor = 10.0 ** (0.5 + 2 * run / len(self.configs))
                self.configs[run] = self.configs[run].replace(learning_rate=factor * self.configs[run].learning_rate)
            work.constants["learning_rate"] = Column.of([self.configs[run].learning_rate for run in runs], work.dtype)
        measured = super()._update(work, logs)
        hit |= (self._lost() > lost) | ~np.isfinite(self.parameters).all(axis=1)
        self.seen[runs] = self.seen[runs] + hit  # not +=: a run may stand here twice
        return measured

    def _lost(self) -> np.ndarray:
        return sum((~np.isfinite(state)).sum(axis=1) for state in self.states) + np.zeros(len(self.rows), int)

    def _finish(self, rows, status):
        rows = list(rows)
        self.last[[self.rows[row] for row in rows]] = self.parameters[rows]
        super()._finish(rows, status)


class Truth(NamedTuple):
    """What a run really did: losses with their standard errors in the verdict's eyes, and facts."""

    start: tuple[float, float]
    final: tuple[float, float]
    best: tuple[float, float]
    accuracy: tuple[float, float]
    baseline: float
    died: bool
    overflowed: bool

    def label(self, shifts=(0, 0, 0, 0)) -> str:
        """Return the outcome as `engine/outcomes.py` words it, with values shifted by some of their standard errors."""
        moves = (shift * error if math.isfinite(error) else 0.0 for (_, error), shift in zip(self[:4], shifts, strict=True))
        start, final, best, accuracy = (value + move for (value, _), move in zip(self[:4], moves, strict=True))
        gain = self.baseline - best
        lost = gain >= outcomes.UNSTABLE_GAIN * self.baseline and final - best > outcomes.UNSTABLE_LOST * gain
        if self.died or not math.isfinite(final):
            return "overflow"
        if accuracy >= outcomes.SOLVED_ACCURACY:
            return "solved"
        if final < outcomes.LEARNED_SHARE * self.baseline and not lost:
            return "learning"
        if self.overflowed:
            return "overflow"
        if lost:
            return "unstable"
        high = final >= outcomes.DIVERGED_OF_BASELINE * self.baseline and final >= outcomes.DIVERGED_OF_START * start
        return "diverged" if high else "stalled"

    def borderline(self) -> bool:
        """Return whether another label is within a few standard errors."""
        return len({self.label(shifts) for shifts in itertools.product((-ERRORS, 0, ERRORS), repeat=4)}) > 1


def truths(observed: Observed, results, overflowed) -> list[Truth]:
    """Return what the runs of a population that has ended did."""
    configs, first, found = observed.configs, observed.configs[0], []
    window = max(outcomes.SMOOTHING_SAMPLES, round(outcomes.SMOOTHING * first.n_iterations) * first.batch_size)
    baseline = TASKS[first.task].baseline(first)
    with np.errstate(all="ignore"):
        final, spread, accuracy = ask(configs, observed.last, questions(first, FRESH))
        alive = np.isfinite(observed.last).all(axis=1)
        for run in range(len(configs)):
            known = np.isfinite(observed.path[run])
            path, spreads = observed.path[run][known], observed.spread[run][known]
            width = min(len(path), max(1, round(window * len(path) / (results[run].iterations * first.batch_size))))
            stretches = [slice(i, i + width) for i in range(len(path) - width + 1)]
            lowest = min(stretches, key=lambda part: path[part].mean())
            best_error = math.hypot(np.std(path[lowest]) / math.sqrt(width), math.sqrt(np.mean(spreads[lowest] ** 2) / window))
            wrong = accuracy[run] * (1 - accuracy[run])
            found.append(
                Truth(
                    start=(path[0], spreads[0] / math.sqrt(VERDICT_START_SAMPLES)),
                    final=(final[run], spread[run] / math.sqrt(VERDICT_SAMPLES)),
                    best=(path[lowest].mean(), best_error),
                    accuracy=(accuracy[run], math.sqrt(wrong / VERDICT_SAMPLES)),
                    baseline=baseline,
                    died=not alive[run],
                    overflowed=bool(overflowed[run]),
                )
            )
    return found


def events_in_plain_loop(config: RunConfig, n_iterations: int, weights: np.ndarray) -> int | None:
    """Return in how many iterations a plain loop overflows, or None where it ended elsewhere: rounding grows in wild runs."""
    with np.errstate(all="ignore"):
        _, warned, own = train_plainly(config, n_iterations)
    own = np.concatenate([matrix.ravel() for matrix in own])
    if np.isfinite(own).all() != np.isfinite(weights).all():
        return None
    return len(warned) if not np.isfinite(own).all() or np.allclose(own, weights, rtol=1e-3, atol=1e-6) else None


def examine(name: str, configs: list[RunConfig]) -> list[dict]:
    """Train the runs of a kind and return what is known of each."""
    observed, rows = Observed(configs, raised=name == "raised"), []
    observed.advance(observed.n_iterations)
    results, events = observed.results(), {"engine": observed.events["count"], "float pass": observed.seen}
    evidence = events["float pass"].tolist()
    if name == "classic":
        plain = [events_in_plain_loop(c, results[run].iterations, observed.last[run]) for run, c in enumerate(configs)]
        evidence = [own if other is None else other for own, other in zip(evidence, plain, strict=True)]
        events["plain loop"] = plain
    for run, truth in enumerate(truths(observed, results, [n > 0 for n in evidence])):
        row = {"kind": name, "config": configs[run], "result": results[run], "verdict": results[run].outcome}
        row |= {"label": truth.label(), "borderline": truth.borderline(), "truth": truth}
        rows.append(row | {"events": {way: counts[run] for way, counts in events.items()}})
    return rows


def piece(changes: dict) -> str:
    """Return which settings a piece of advice changes, for people."""
    words = [value if isinstance(value, str) else name for name, value in changes.items() if value is not None]
    implied = {"weight_init_std": "init_scheme", "learning_rate": "optimizer"}
    words = [word for word in words if not (word in implied and implied[word] in changes)]
    return ", ".join("init" if word in ("he_normal", "xavier_normal") else word for word in words)


def try_advice(rows: list[dict], most: int) -> list[dict]:
    """Train some runs of every outcome again with every piece of their advice, and with another seed."""
    rng, trials = np.random.default_rng(0), []
    for outcome in OUTCOMES:
        own = [row for row in rows if row["verdict"] == outcome != "solved" and row["kind"] not in (*POOLS, "raised")]
        for i in sorted(rng.permutation(len(own))[:most]):
            config, result = own[i]["config"], own[i]["result"]
            first = result.overflow.iteration if result.overflow else None
            tries = advise(config, outcome, result.evidence, overflow_iteration=first, iterations=result.iterations).tries
            other = {"seed": config.seed + 1_000_000}
            for place, changes in [(0, other), *enumerate(tries, start=1)]:
                name = piece(changes) if place else "only another seed"
                trials.append({"outcome": outcome, "place": place, "piece": name, "config": config.replace(**changes)})
    for trial, result in zip(trials, train([trial["config"] for trial in trials]), strict=True):
        trial["then"] = result.outcome
    return trials


def table(rows: list[dict], by: str = "label") -> list[str]:
    """Return how many runs got which verdict, row by row of their label, with misses and false alarms."""
    lines = [f"{by:22}" + "".join(f"{name:>10}" for name in OUTCOMES) + f"{'runs':>8}{'missed':>8}"]
    alarms = Counter(row["verdict"] for row in rows if row["verdict"] != row["label"])
    for value in OUTCOMES if by == "label" else dict.fromkeys(row[by] for row in rows):
        own = [row for row in rows if row[by] == value]
        counts, missed = Counter(row["verdict"] for row in own), sum(row["verdict"] != row["label"] for row in own)
        lines.append(f"{value:22}" + "".join(f"{counts[name] or '.':>10}" for name in OUTCOMES) + f"{len(own):8}{missed:8}")
    false = "".join(f"{alarms[name] or '.':>10}" for name in OUTCOMES)
    return [*lines, f"{'false alarms':22}{false}{len(rows):8}{alarms.total():8}"]


def wrong_lines(rows: list[dict]) -> list[str]:
    """Return every clear run whose verdict is not its label, with the numbers of both."""
    lines = []
    for row in rows:
        if row["label"] != row["verdict"] and not row["borderline"]:
            truth, seen = row["truth"], row["result"].evidence
            eyes = ", ".join(f"{seen[name]:.3g}" for name in ("start_loss", "best_loss", "held_out_loss"))
            lines.append(
                f"{row['kind']}, seed {row['config'].seed}: {row['label']}, called {row['verdict']}; {truth.start[0]:.3g}, "
                f"{truth.best[0]:.3g}, {truth.final[0]:.3g}; {eyes}; {truth.baseline:.3g}"
            )
    return lines


def event_lines(rows: list[dict]) -> list[str]:
    """Return how the ways of counting overflows agree."""
    plain = [row["events"] for row in rows if "plain loop" in row["events"]]
    same = [events for events in plain if events["plain loop"] is not None]
    alike = sum(len({row["events"][way] for way in ("engine", "float pass")}) == 1 for row in rows)
    alike_plain = sum(len(set(events.values())) == 1 for events in same)
    return [
        f"float pass: the engine's number in {alike} of {len(rows)} runs, of which "
        f"{sum(row['events']['engine'] > 0 for row in rows)} have any",
        f"plain loop: the engine's number in {alike_plain} of {len(same)} runs, of which "
        f"{sum(events['engine'] > 0 for events in same)} have any; {len(plain) - len(same)} others ended with other weights",
    ]


def advice_lines(trials: list[dict], by: str) -> list[str]:
    """Return what became of runs trained again, by the advice's place or by what it changes."""
    lines = [f"{'ended':10}{by:56}{'runs':>6}{'solved':>8}{'learning':>10}{'as before':>11}{'other':>7}"]
    for outcome in OUTCOMES:
        own = [trial for trial in trials if trial["outcome"] == outcome]
        for value in sorted({trial[by] for trial in own}, key=lambda value: (value != "only another seed", value)):
            then = Counter(trial["then"] for trial in own if trial[by] == value)
            n, solved = then.total(), then["solved"]
            learning = "-" if outcome == "learning" else then["learning"]
            rest = n - solved - then[outcome] - (0 if learning == "-" else learning)
            name = value if by == "piece" else ["another seed", "1st", "2nd", "3rd"][value] if value < 4 else f"{value}th"
            lines.append(f"{outcome:10}{name:56}{n:6}{solved:8}{learning:>10}{then[outcome]:11}{rest:7}")
    return lines


def as_table(rows: list[dict], trials: list[dict]) -> str:
    """Return the report for people."""
    fresh = [row for row in rows if row["kind"] not in POOLS]
    clear, close = ([row for row in fresh if row["borderline"] == border] for border in (False, True))
    pooled = [row for row in rows if row["kind"] in POOLS]
    parts = {
        f"{len(fresh)} runs, of which {len(clear)} are clear; rows: what happened, columns: verdict": table(clear),
        f"{len(close)} that are borderline, within {ERRORS} standard errors of another label": table(close),
        f"{len(pooled)} runs with a pool, clear or not": table(pooled),
        "all by kind": table(rows, "kind"),
        "clear, yet another verdict: start, lowest, end; the same in the verdict's eyes; baseline": wrong_lines(rows),
        "iterations with an overflow, counted in other ways": event_lines(rows),
        "trained again, by the place of the advice": advice_lines(trials, "place"),
        "trained again, by what the advice changes": advice_lines(trials, "piece"),
    }
    return "\n\n".join("\n".join([title, "", *(lines or ["none"])]) for title, lines in parts.items())


def main(arguments: list[str] | None = None) -> None:
    """Label, judge, try the advice, and print."""
    parser = argparse.ArgumentParser(description="Are the verdicts right, and does the advice help?")
    parser.add_argument("--quick", action="store_true", help="few and short runs, which prove nothing but that it works")
    options = parser.parse_args(arguments)
    n_runs, n_iterations, most = (2, 20, 2) if options.quick else (None, None, MOST_ADVISED)
    rows = [row for name in KINDS for row in examine(name, generate(name, n_runs, n_iterations))]
    print(as_table(rows, try_advice(rows, most)))


if __name__ == "__main__":
    main()
