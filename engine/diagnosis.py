"""Why a run learned or did not: trains it again, with the same bits, and records what training itself has no time for.

At about 60 of its iterations (`looked_at`), each with the weights that the iteration starts from:

- **gradients through time**: the norm of dL/dh_t over sequences and units, for every layer and time step (Bengio, Simard &
  Frasconi 1994; Pascanu, Mikolov & Bengio 2013), and the factor by which it changes per step back in time;
- **spectrum** of every recurrent matrix, gate by gate: spectral radius, the largest absolute eigenvalue, and largest singular
  value. In a linear network the error grows or shrinks about as the radius per step and at most as the singular value;
- **unit health** on held-out samples (250; of a relu network all 1,000): the share of values in the outer tenth of a function's
  range at either end, where its slope is small (after Karpathy, Johnson & Fei-Fei 2015, who count gates below 0.1 and above
  0.9); relu units that answer 0 to everything; length of the step by length of the weights; how weights, biases and gradients
  are distributed;
- **hidden states** of one worked example, step by step.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from engine.config import RunConfig
from engine.evaluation import START_SAMPLES, samples_at_once
from engine.forensics import GATE_NAMES, HIDDEN
from engine.layout import unpack
from engine.network import Network, parameter_shapes
from engine.population import norms
from engine.replay import Replay
from engine.results import RunResult
from engine.watch import FloatingPointWatch

EVEN, EARLY, BEFORE_EVENT = 40, 25, 20
"""Iterations looked at: spread evenly; at the start, ever farther apart; and before an overflow."""
OUTER = 0.1
"""Share of a bounded function's range, at either end, that counts as saturated: a logistic's slope there is below 0.09, at
most a third of the largest."""
QUANTILES = (0, 0.05, 0.25, 0.5, 0.75, 0.95, 1)
BINS = 40
KINDS = ("weights", "biases", "gradients")
RANGES = {"sigmoid": (0.0, 1.0), "tanh": (-1.0, 1.0), "relu": (0.0, np.inf), "elu": (-1.0, np.inf)}
"""Where activations are flat, at finite ends; relu's lower end is exactly 0."""


@dataclass(frozen=True)
class Diagnosis:
    """What was seen at R iterations of a run: L layers, T time steps, G gates, H units.

    Attributes
    ----------
    config : RunConfig
    result : RunResult
        Of the replay, to be compared with the run's own.
    iterations : array, shape (R,)
    loss : array, shape (R,)
        Of the iteration's own batch.
    error_norms : array, shape (R, L, T)
        Norm of dL/dh_t.
    factors : array, shape (R, L)
        By which that norm changes per step back in time.
    gates : tuple of str
        The blocks of a recurrent matrix, by their names.
    radius, singular : array, shape (R, L, G)
        Spectral radius and largest singular value; NaN for a matrix that is not finite.
    units : tuple of str
        S kinds of values: gates, hidden state, cell state.
    low, high : array, shape (R, L, S)
        Shares of values at the lower and upper end of their range; NaN where there is no end.
    dead : array, shape (R, L)
        Share of relu units that are 0 for all held-out samples at all steps; NaN for other cells.
    parameters : tuple of str
    update_ratio : array, shape (R, len(parameters))
        Length of the step by length of the weights, matrix by matrix.
    quantiles : dict of str to array, shape (R, len(QUANTILES))
        Of `KINDS`; without biases none of theirs.
    histograms : dict of str to (array, array), shapes (R, BINS) and (R, BINS + 1)
        Counts and edges.
    states : array, shape (R, L, T, H)
        Hidden states for the first held-out sample.
    inputs, targets, answers : array, shapes (T, I), (K, O) and (R, K, O)
        Of that sample.
    """

    config: RunConfig
    result: RunResult
    iterations: np.ndarray
    loss: np.ndarray
    error_norms: np.ndarray
    factors: np.ndarray
    gates: tuple[str, ...]
    radius: np.ndarray
    singular: np.ndarray
    units: tuple[str, ...]
    low: np.ndarray
    high: np.ndarray
    dead: np.ndarray
    parameters: tuple[str, ...]
    update_ratio: np.ndarray
    quantiles: dict[str, np.ndarray]
    histograms: dict[str, tuple[np.ndarray, np.ndarray]]
    states: np.ndarray
    inputs: np.ndarray
    targets: np.ndarray
    answers: np.ndarray


def looked_at(n_iterations: int, event: int | None = None) -> list[int]:
    """Return the iterations to look at, counted from 1: evenly spread, denser at the start and before an event."""
    even, early = np.linspace(1, n_iterations, EVEN), np.geomspace(1, n_iterations, EARLY)
    near = range(max(1, event - BEFORE_EVENT), event + 1) if event else ()
    return sorted({*np.rint(even).astype(int).tolist(), *np.rint(early).astype(int).tolist(), *near})


def diagnose(
    config: RunConfig, n_iterations: int, event: int | None = None, show: Callable[[float], None] = lambda share: None
) -> Diagnosis:
    """Train a run again as far as it was trained and return what was seen.

    Parameters
    ----------
    n_iterations : int
        Iterations that the run was trained for, at least 1.
    event : int, optional
        Iteration of its first overflow: the iterations before it are looked at as well.
    show : callable
        Is told the share that is done, from 0 to 1.
    """
    replay, seen = Replay(config), []
    observer = _Observer(replay)
    replay.look(
        looked_at(n_iterations, event), lambda work: seen.append(observer.look(work)), lambda work: observer.after(work, seen)
    )
    replay.advance_to(n_iterations, show)
    columns = {name: np.array([point[name] for point in seen]) for name in seen[0] if name not in KINDS}
    described = {kind: [point[kind] for point in seen] for kind in KINDS if kind in seen[0]}
    show(1.0)
    return Diagnosis(
        config=config,
        result=replay.end(),
        factors=fitted_factor(columns["error_norms"]),
        gates=observer.gates,
        units=observer.units,
        parameters=tuple(parameter_shapes(config)),
        quantiles={kind: np.array([quantiles for quantiles, _, _ in rows]) for kind, rows in described.items()},
        histograms={kind: tuple(np.array([row[i] for row in rows]) for i in (1, 2)) for kind, rows in described.items()},
        inputs=observer.inputs[:, 0],
        targets=observer.targets[:, 0],
        **columns,
    )


def fitted_factor(error_norms: np.ndarray) -> np.ndarray:
    """Return by how much norms change per step back in time: (..., T) -> (...).

    The slope of a straight line through the logarithms, by least squares; norms that are 0 or not finite are left out, and with
    fewer than two steps the factor is NaN.
    """
    error_norms = np.asarray(error_norms, np.float64)
    known = np.isfinite(error_norms) & (error_norms > 0)
    logs = np.log(np.where(known, error_norms, 1.0))
    n, back = known.sum(axis=-1), -np.arange(error_norms.shape[-1])
    with np.errstate(all="ignore"):
        centred = np.where(known, back - (known * back).sum(axis=-1, keepdims=True) / n[..., None], 0.0)
        slope = (centred * logs).sum(axis=-1) / np.square(centred).sum(axis=-1)
        return np.where(n > 1, np.exp(slope), np.nan)


def spectrum(matrices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return spectral radius and largest singular value of matrices (..., H, H), NaN where one is not finite."""
    matrices = np.asarray(matrices, np.float64)
    finite = np.isfinite(matrices).all(axis=(-2, -1))
    safe = np.where(finite[..., None, None], matrices, 0.0)
    # brought to a largest number of 1, so that nothing overflows on the way
    scale = np.maximum(np.abs(safe).max(axis=(-2, -1)), np.finfo(float).tiny)
    scaled = safe / scale[..., None, None]
    with np.errstate(over="ignore"):
        radius = np.abs(np.linalg.eigvals(scaled)).max(axis=-1) * scale
        singular = np.linalg.svd(scaled, compute_uv=False)[..., 0] * scale
    return np.where(finite, radius, np.nan), np.where(finite, singular, np.nan)


def recurrent_blocks(config: RunConfig, parameters: np.ndarray) -> np.ndarray:
    """Return the recurrent matrices of one run's flat parameters (n,), shape (L, G, H, H)."""
    shapes = parameter_shapes(config)
    weights = unpack(parameters[None], shapes)
    wide = [weights[name][0] for name, weight in shapes.items() if weight.kind == "recurrent"]
    return np.array([w.reshape(config.hidden_size, -1, config.hidden_size).transpose(1, 0, 2) for w in wide])


def _described(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return quantiles, counts and edges of the finite ones among some numbers; NaN and 0 if there are none."""
    values = values[np.isfinite(values)].astype(np.float64)
    if not len(values):
        return np.full(len(QUANTILES), np.nan), np.zeros(BINS, int), np.full(BINS + 1, np.nan)
    quantiles = np.quantile(values, QUANTILES, method="closest_observation")
    low, high = quantiles[0], quantiles[-1]
    if low == high:
        room = min(0.5 * max(abs(low), 1.0), np.finfo(float).max - abs(low))
        low, high = low - room, high + room
    half_way = np.linspace(0, 1, BINS + 1) * (high / 2 - low / 2)  # high - low may overflow
    edges = np.minimum(low + half_way + half_way, high)
    edges[-1] = high
    counts = np.bincount(np.clip(np.searchsorted(edges, values, side="right") - 1, 0, BINS - 1), minlength=BINS)
    return quantiles, counts, edges


class _Observer:
    """Looks at one iteration of a replay."""

    def __init__(self, replay: Replay):
        self.replay, self.config = replay, replay.configs[0]
        self.relu, self.size = self.config.activation == "relu", samples_at_once(self.config)
        samples = replay.held_out if self.relu else replay.held_out[:START_SAMPLES]
        self.inputs, self.targets = replay.task.encode(samples, self.config)
        watch = FloatingPointWatch(np.zeros(1, bool))
        self.network = Network([self.config], replay.parameters[:1], None, self.size, watch)  # sees every update
        cell = self.network.cells[0]
        self.gates = tuple(HIDDEN if self.config.cell == "rnn" else GATE_NAMES[gate] for gate in cell.gates)
        self.units = tuple(name for name, _, _ in self._values(cell))

    def look(self, work) -> dict:
        """Describe the weights, their gradients, and what the network does with the held-out samples."""
        replay, network = self.replay, work.network
        with np.errstate(all="ignore"):
            radius, singular = spectrum(recurrent_blocks(self.config, replay.parameters[0]))
            shapes, weights = parameter_shapes(self.config), unpack(replay.parameters[:1], parameter_shapes(self.config))
            biases = [weights[name].ravel() for name, weight in shapes.items() if weight.kind == "bias"]
            others = [weights[name].ravel() for name, weight in shapes.items() if weight.kind != "bias"]
            errors = [norms(cell.dh[:, :, 0].reshape(len(cell.dh), -1)) for cell in network.cells]
            n_samples = self.config.batch_size
            kinds = zip(KINDS, (others, biases, [work.gradients[0]]), strict=True)
            point = {
                "iterations": replay.iteration + 1,
                "loss": network.loss_factor * np.sum(work.loss[0], dtype=np.float64) / n_samples,
                "error_norms": np.array(errors),
                "radius": radius,
                "singular": singular,
            }
            return point | {kind: _described(np.concatenate(parts)) for kind, parts in kinds if parts} | self._health()

    def after(self, work, seen: list[dict]) -> None:
        """Add the steps' lengths by the weights' to what was seen."""
        shapes = parameter_shapes(self.config)
        lengths = [
            {name: norms(array.reshape(1, -1))[0] for name, array in unpack(rows[:1], shapes).items()}
            for rows in (work.gradients, self.replay.parameters)
        ]
        with np.errstate(all="ignore"):
            seen[-1]["update_ratio"] = np.array([lengths[0][name] / lengths[1][name] for name in shapes])

    def _values(self, cell) -> list[tuple[str, np.ndarray, tuple[float, float]]]:
        """Return what a cell has computed: name, values (..., P, H) and the range of its function."""
        if self.config.cell == "rnn":
            return [(HIDDEN, cell.h[1:], RANGES.get(self.config.activation, (-np.inf, np.inf)))]
        values = [
            (GATE_NAMES[gate], cell.y[:, i], RANGES["tanh" if gate in "gn" else "sigmoid"]) for i, gate in enumerate(cell.gates)
        ]
        if hasattr(cell, "c"):
            values.append(("cell state", np.tanh(cell.c[1:]), RANGES["tanh"]))
        return values

    def _health(self) -> dict:
        """Ask held-out samples."""
        network, size, n = self.network, self.size, self.inputs.shape[1]
        shape = (len(network.cells), len(self.units))
        low, high, alive = np.zeros(shape), np.zeros(shape), [False] * len(network.cells)
        for first in range(0, n, size):
            network.x[...] = self.inputs[:, first : first + size, None]
            network.forward()
            if first == 0:
                states = np.array([cell.h[1:, 0, 0] for cell in network.cells])
                answers = network.readout.y[:, 0, 0].copy()
            for layer, cell in enumerate(network.cells):
                alive[layer] = alive[layer] | (cell.h[1:, :, 0] != 0).any(axis=(0, 1))
                for i, (_, values, ends) in enumerate(self._values(cell)):
                    shares = _at_the_ends(values[:, :, 0], ends)
                    low[layer, i] += shares[0] * size / n
                    high[layer, i] += shares[1] * size / n
        dead = [1 - np.mean(units) if self.relu else np.nan for units in alive]
        return {"low": low, "high": high, "dead": np.array(dead), "states": states, "answers": answers}


def _at_the_ends(values: np.ndarray, ends: tuple[float, float]) -> tuple[float, float]:
    """Return the shares of values at the lower and upper end of a range, NaN where that is infinite."""
    low, high = ends
    margin = OUTER * (high - low) if np.isfinite(high - low) else OUTER if low < 0 else 0.0
    below = np.mean(values <= low + margin) if np.isfinite(low) else np.nan
    return below, np.mean(values >= high - margin) if np.isfinite(high) else np.nan
