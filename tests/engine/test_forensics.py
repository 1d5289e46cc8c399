"""The black box names every planted fault, in every buffer of every cell and in every phase; its trail, its errors.

A plot waits for one operation of one iteration and sets one number of its result to the largest that there is, times 10. It
does so in the training and again while the black box trains the run anew; what is expected comes from tables of this file.
"""

import re
import sys
from collections import Counter

import numpy as np
import pytest

import engine.population
from benchmarks.plain_loop import FUNCTIONS, draw_pairs, initial_weights, plain_iteration
from engine import CELLS, OPTIMIZERS, ConfigError, Population, RunConfig, fitting, train
from engine.forensics import black_box
from engine.network import Network, parameter_shapes

NUMPY_USERS = [sys.modules[name] for name in sorted(sys.modules) if re.match(r"engine\.(cells\.\w+|network|readouts)", name)]
NUMPY_USERS += [sys.modules[f"engine.{name}"] for name in ("activations", "layout", "population", "optimizers")]
VARIANTS = {name: {"cell": name} for name in CELLS} | {"gru_reset_after": {"cell": "gru", "reset_after": True}}
GATES = {"i": "input gate", "f": "forget gate", "o": "output gate", "g": "cell input"}
GATES |= {"z": "update gate", "r": "reset gate", "n": "candidate"}

BUFFERS = {
    "u": ("TBPW", "gate"),
    "product": ("BPW", "gate"),
    "product_zr": ("BPW", "gate"),
    "y": ("TGBPH", "gate"),
    "h": ("TBPH", "hidden state"),
    "c": ("TBPH", "cell state"),
    "scratch": ("BPH", "cell state"),
    "kept": ("TBPH", "candidate"),
    "peek": ("BPH", "peephole"),
    "dh": ("TBPH", "hidden state"),
    "back": ("BPH", "hidden state"),
    "d": ("GBPH", "gate"),
    "delta": ("TBPW", "gate"),
    "through": ("TBPW", "gate"),
    "carry": ("BPH", "cell state"),
    "seen": ("TGBPH", "peephole"),
}
"""Of a gated cell: axes, and what people call it."""
SIMPLE = dict.fromkeys(("u", "dh", "delta"), ("TBPH", "hidden state"))
SIMPLE |= dict.fromkeys(("product", "back"), ("BPH", "hidden state"))
OF_A_GRU = {"scratch": ("BPH", "candidate"), "carry": ("BPH", "hidden state")}


def buffers_of(population, work):
    """Return label, array, axes, tensor, layer and gates of every buffer, as this test knows them."""
    network, config = work.network, population.configs[0]
    known = SIMPLE if config.cell == "rnn" else BUFFERS | (OF_A_GRU if config.cell == "gru" else {})
    found = []
    for layer, cell in enumerate(network.cells, 1):
        for label, (axes, tensor) in known.items():
            array = getattr(cell, label, None)
            if array is not None:
                found.append((label, array[1:] if label in "hc" else array, axes, tensor, layer, cell.gates))
    for label in ("a", "y", "da", "total", "error", "losses"):
        array = getattr(network.readout, label, None)
        if array is not None:
            tensor = "loss" if label in ("error", "losses") else "readout"
            found.append((f"readout.{label}", array, "KBPO", tensor, None, ()))
    found.append(("work.loss", work.loss, "PO", "loss", None, ()))
    gates = () if config.cell == "rnn" else network.cells[0].gates
    if network.affine:
        for label in ("w_first", "w_first_slopes"):
            found.append((label, getattr(network, label)[:, :-1], "PIW", "W_in", 1, gates))
            found.append((label, getattr(network, label)[:, -1], "PW", "b", 1, gates))
    rows = {"gradients": work.gradients, "optimizer.scratch": work.scratch, "parameters": population.parameters}
    rows |= {f"state {number}": state for number, state in enumerate(population.states)}
    for label, flat in rows.items():
        found += parameters_in(label, flat, config, gates)
    return found


def parameters_in(label, flat, config, gates):
    start, found = 0, []
    for name, weight in parameter_shapes(config).items():
        size = int(np.prod(weight.shape))
        array, start = flat[:, start : start + size].reshape(-1, *weight.shape), start + size
        tensor, layer = re.fullmatch(r"(\w+?)_?(\d?)", name).groups()
        axes = {"W_in": "PIW", "W_rec": "PIW", "b": "PW", "peephole": "PGH"}.get(tensor, "PIO" if array.ndim == 3 else "PO")
        outside = tensor in ("W_proj", "b_proj", "W_out", "b_out")
        found.append((label, array, axes, tensor, None if outside else int(layer or 1), gates))
    return found


def position(array, address):
    """Return the index of the number at an address, or None if it is not in the array."""
    offset, index = address - array.__array_interface__["data"][0], []
    if not 0 <= offset < array.strides[0] * array.shape[0]:
        return None
    for stride, size in sorted(zip(array.strides, array.shape, strict=True), reverse=True):
        step, offset = divmod(offset, stride) if size > 1 else (0, offset)
        if not 0 <= step < size:
            return None
        index.append(step)
    return None if offset else index


class Spy:
    """Stands in for numpy, or for one of its functions: every operation that writes into an array passes `plot`."""

    def __init__(self, real, plot):
        self.real, self.plot = real, plot

    def __getattr__(self, name):
        value = getattr(self.real, name)
        return Spy(value, self.plot) if isinstance(value, np.ufunc) or name in ("reduce", "clip") else value

    def __call__(self, *arguments, **others):
        if "out" not in others or not self.plot.buffers:
            return self.real(*arguments, **others)
        return self.plot.operate(self.real, arguments, others)


class Plot:
    """Spoils one number right after one operation of one iteration, whenever that is computed.

    Attributes
    ----------
    seen : list of (number, (phase, label))
        The operations of that iteration that write into a buffer; only worked out where none is to be spoiled.
    expected : dict
        Where the fault is, in the words of a black box.
    """

    def __init__(self, patch, iteration, number=None, share=0.0):
        self.iteration, self.number, self.share = iteration, number, share
        self.phase, self.buffers, self.seen, self.expected = "", [], [], {}
        for module in NUMPY_USERS:
            patch.setattr(module, "np", Spy(np, self))
        self.enter(patch, Network, "forward", "forward", "loss")
        self.enter(patch, Network, "backward", "backward", "backward")
        self.enter(patch, Population, "_update", "update", "update")
        step = Population._step

        def step_of_the_plot(population, work, logs):
            if population.iteration + 1 == self.iteration:
                self.config, self.n_seen, self.buffers = population.configs[0], 0, buffers_of(population, work)
            result = step(population, work, logs)
            self.buffers = []
            return result

        patch.setattr(Population, "_step", step_of_the_plot)

    def enter(self, patch, owner, name, phase, phase_after):
        function = getattr(owner, name)

        def and_say_so(*arguments):
            self.phase = phase
            result = function(*arguments)
            self.phase = phase_after
            return result

        patch.setattr(owner, name, and_say_so)

    def locate(self, out):
        """Return the buffer that the chosen number of `out` stands in, and where there."""
        index = np.unravel_index(int(self.share * out.size), out.shape)
        address = out.__array_interface__["data"][0] + sum(i * stride for i, stride in zip(index, out.strides, strict=True))
        places = ((*buffer, position(buffer[1], address)) for buffer in self.buffers)
        return next((place for place in places if place[-1] is not None), None)

    def operate(self, real, arguments, others):
        number, self.n_seen = self.n_seen, self.n_seen + 1
        place = self.locate(others["out"]) if self.number in (None, number) else None
        if place is None:
            return real(*arguments, **others)
        label, array, axes, _, _, _, index = place
        if self.number is None:
            self.seen.append((number, (self.phase, label)))
            return real(*arguments, **others)
        spoiled = array[tuple(slice(None) if axis == "P" else i for axis, i in zip(axes, index, strict=True))]
        before = float(spoiled[0])
        result = real(*arguments, **others)
        frame = sys._getframe(2)
        self.label, self.operation = label, f"{frame.f_code.co_name}:{real.__name__}"
        self.expected = self.describe(*place) | {"before": before, "n_at_once": 1}
        np.copyto(spoiled, np.finfo(spoiled.dtype).max)
        np.multiply(spoiled, 10, out=spoiled)
        return result

    def describe(self, label, array, axes, tensor, layer, gates, index):
        at, size = dict(zip(axes, index, strict=True)), self.config.hidden_size
        if "W" in at:
            at["G"], at["H"] = divmod(at["W"], size)
        gate = GATES[gates[at["G"]]] if "G" in at and self.config.cell != "rnn" else ""
        step = at.get("T")
        if "K" in at:
            step = at["K"] + {"binary_addition": 0}.get(self.config.task, (self.config.length or 0) - 1)
        elif "B" in at and "T" not in at:
            frame = sys._getframe(2)
            while "cells" not in frame.f_code.co_filename or "t" not in frame.f_locals:
                frame = frame.f_back
            step = frame.f_locals["t"]
        counted = {"time_step": step, "sample": at.get("B"), "unit": at.get("H", at.get("O")), "row": at.get("I")}
        if tensor == "gate":
            tensor, gate = gate, ""
        return {name: None if number is None else int(number) + 1 for name, number in counted.items()} | {
            "iteration": self.iteration,
            "phase": self.phase,
            "kind": "overflow",
            "layer": layer,
            "tensor": f"{tensor} ({gate})" if gate else tensor,
            "dtype": self.config.dtype,
        }


def random_config(rng, variant, large):
    """Return a run that learns calmly; a large one is trained without a copy of itself."""
    task = str(rng.choice(["binary_addition", "bit_count", "temporal_order"]))
    settings = VARIANTS[variant] | {
        "task": task,
        "bits": int(rng.integers(2, 5)),
        "length": 10 if task == "temporal_order" else int(rng.integers(2, 6)),
        "hidden_size": 256 if large else int(rng.integers(1, 5)),
        "n_layers": 1 if large else int(rng.integers(1, 4)),
        "batch_size": 4 if large else int(rng.integers(1, 5)),
        "activation": str(rng.choice(["sigmoid", "tanh", "relu", "leaky_relu", "softplus", "linear"])),
        "projection_size": [None, 2][rng.integers(2)],
        "loss": "cross_entropy" if task == "binary_addition" and rng.integers(2) else None,
        "bias": bool(rng.integers(2)),
        "optimizer": str(rng.choice(list(OPTIMIZERS))),
        "clip_norm": [None, 1.0][rng.integers(2)],
        "clip_value": [None, 1.0][rng.integers(2)],
        "learning_rate": 1e-4,
        "weight_init_std": 0.1 if large else 0.3,
        "pool_size": 0,
        "dtype": str(rng.choice(["float32", "float64"])),
        "seed": int(rng.integers(100)),
    }
    return RunConfig(**fitting(settings))


BOUNDED = {"y": ("logistic:add", "logistic:reciprocal", "forward_step:tanh")}
BOUNDED |= dict.fromkeys(("u", "readout.a", "readout.y"), BOUNDED["y"]) | {"readout.error": ("loss:subtract",)}
BOUNDED |= {"optimizer.scratch": ("_divide:sqrt", "_divide:add", "_adam:sqrt", "_adam:divide", "_adam:add")}
BOUNDED |= {"scratch": ("forward_step:multiply",), "c": ("forward_step:multiply", "forward_step:add")}
"""Results that cannot overflow by themselves (a gate is at most 1, a cell state at most T): nobody watches these."""


def may_escape_the_watch(plot):
    """Return whether the training itself may miss a planted fault, or meet it later, as something else."""
    operation, label, phase, step = plot.operation, plot.label, plot.expected["phase"], plot.expected["time_step"]
    unused = phase == "backward" and (
        (step == 1 and label in ("carry", "peek", "scratch")) or (label == "w_first_slopes" and not plot.config.bias)
    )
    return unused or (operation in BOUNDED.get(label, ()) and phase != "backward")


@pytest.fixture(autouse=True)
def _nothing_is_printed_or_changed(capfd):
    before = np.geterr(), sys.gettrace()
    yield
    assert capfd.readouterr() == ("", "")
    assert (np.geterr(), sys.gettrace()) == before


def plant(config, rng, planted, monkeypatch):
    """Train a run with a fault where there have been fewest so far; return its plot, black box and the training's record."""
    with monkeypatch.context() as patch:
        plot = Plot(patch, 1)
        Population([config]).advance(1)
    kind = min(sorted({kind for _, kind in plot.seen}), key=lambda kind: (planted[kind], rng.random()))
    planted[kind] += 1
    operation = rng.choice([number for number, of in plot.seen if of == kind])
    iteration = int(rng.integers(1, rng.choice([3, 8, 31])))
    with monkeypatch.context() as patch:
        plot = Plot(patch, iteration, operation, rng.random())
        population = Population([config]).advance(iteration)
        population.stop()
        plot.expected = {}
        box = black_box(config, iteration)
    return plot, box, population.results()[0].overflow


N_FAULTS = 45


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_planted_fault_is_named_exactly(variant, monkeypatch):
    monkeypatch.setattr(engine.population, "HELD_OUT_SAMPLES", 125)  # evaluations have no part in this
    monkeypatch.setattr(engine.population, "START_SAMPLES", 125)
    rng, planted, n_watched = np.random.default_rng(list(VARIANTS).index(variant)), Counter(), 0
    for number in range(N_FAULTS):
        config = random_config(rng, variant, large=number % 15 == 14)
        plot, box, record = plant(config, rng, planted, monkeypatch)
        case = f"{number}: {plot.operation} into {plot.label} at iteration {plot.iteration} of {config}"
        assert {name: getattr(box, name) for name in plot.expected} == plot.expected, case
        if not may_escape_the_watch(plot):
            assert record is not None, case
            assert (record.iteration, record.phase, record.kind) == (plot.iteration, box.phase, box.kind), case
            n_watched += 1
    assert n_watched > 0.7 * N_FAULTS
    assert {phase for phase, _ in planted} == {"forward", "loss", "backward", "update"}
    assert len(planted) > 20


# Trail and errors


CALM_BEFORE = [("relu", 0.8, 0.1, 5), ("relu", 0.8, 0.1, 14), ("relu", 0.8, 0.01, 0), ("leaky_relu", 0.7, 0.1, 14)]
"""Runs in which rounding has grown little when they overflow, at iteration 39, 33, 42 and 32."""


@pytest.mark.parametrize(("activation", "std", "rate", "seed"), CALM_BEFORE)
def test_the_trail_is_the_plain_loops(activation, std, rate, seed):
    config = RunConfig(activation=activation, weight_init_std=std, learning_rate=rate, seed=seed, n_iterations=1000)
    iteration = Population([config]).advance(60)._overflow(0).iteration
    assert iteration > 25
    weights, trail, apply = initial_weights(config), [], FUNCTIONS[activation][0]
    with np.errstate(all="ignore"):
        for a, b in draw_pairs(config, iteration):
            (w_in, w_rec, _), h = weights, [np.zeros(config.hidden_size)]
            for t in range(config.bits):
                h.append(apply(np.array([a >> t & 1, b >> t & 1]) @ w_in + h[-1] @ w_rec))
            far = [weight.copy() for weight in weights]
            loss, _ = plain_iteration(config.replace(learning_rate=1e6), far, a, b)  # so far that it tells the gradient
            slopes = [(old - new).ravel() / 1e6 for old, new in zip(weights, far, strict=True)]
            largest_weight = max(np.abs(weight).max() for weight in weights)
            trail.append([np.abs(h).max(), np.linalg.norm(np.concatenate(slopes)), largest_weight, loss])
            plain_iteration(config, weights, a, b)
    box = black_box(config, iteration)
    assert [entry["iteration"] for entry in box.trail] == list(range(iteration - 20, iteration + 1))
    names = ("largest_hidden", "gradient_norm", "largest_weight", "loss")
    np.testing.assert_allclose([[entry[name] for name in names] for entry in box.trail], trail[-21:], rtol=1e-9)


def test_where_nothing_overflows_there_is_no_black_box():
    calm = RunConfig(bits=3, hidden_size=2, n_iterations=5)
    for iteration in (-1, 0, 1, 5, 6):
        with pytest.raises(ConfigError, match=f"expected an overflow at iteration {iteration}, found none"):
            black_box(calm, iteration)
    dead = RunConfig(activation="relu", weight_init_std=1e5, dtype="float32", n_iterations=50)
    result = Population([dead]).advance(50).results()[0]
    assert result.iterations < 40
    with pytest.raises(ConfigError, match="iteration 40"):
        black_box(dead, 40)


VIOLENT = RunConfig(activation="relu", weight_init_std=0.8, learning_rate=0.01, n_iterations=50, seed=0)
"""Overflows at iteration 42 and goes on."""


def test_a_black_box_leaves_no_trace_and_shows_how_far_it_is():
    shares, lines, population = [], [], Population([VIOLENT]).advance(41)

    def trace(frame, event, argument):
        lines.append(frame)

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        box = black_box(VIOLENT, 42, shares.append)
        assert sys.gettrace() is trace
    finally:
        sys.settrace(before)
    assert shares == sorted(shares)
    assert (min(shares) >= 0, shares[-1]) == (True, 1)
    assert repr(black_box(VIOLENT, 42)) == repr(box)
    result = population.advance(9).results()[0]
    assert (result.overflow.iteration, result.overflow.phase) == (42, box.phase)
    assert result.fingerprint == Population([VIOLENT]).advance(50).results()[0].fingerprint


def test_an_error_on_the_way_leaves_no_trace(monkeypatch):
    update, before = Population._update, sys.gettrace()

    def interrupted(population, work, logs):
        if population.iteration == 41:
            raise KeyboardInterrupt
        return update(population, work, logs)

    monkeypatch.setattr(Population, "_update", interrupted)
    with pytest.raises(KeyboardInterrupt):
        black_box(VIOLENT, 42)
    assert sys.gettrace() is before


def test_a_later_event_is_not_taken_for_the_first():
    config = RunConfig(activation="relu", n_iterations=300)
    assert train([config])[0].overflow.iteration == 11
    with pytest.raises(ConfigError, match=r"expected the first overflow at iteration 100, found one at 11; ask for that"):
        black_box(config, 100)
