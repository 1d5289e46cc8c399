"""The black box against natural faults whose place formulas of this file work out, and its words."""

import sys
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pytest

import engine.population
from benchmarks.plain_loop import FUNCTIONS
from engine import CELLS, OPTIMIZERS, TASKS, ConfigError, Population, RunConfig
from engine.forensics import black_box
from engine.layout import unpack
from engine.network import Network, parameter_shapes
from engine.randomness import stream

VARIANTS = {name: {"cell": name} for name in CELLS} | {"gru_reset_after": {"cell": "gru", "reset_after": True}}
GATES = {"i": "input gate", "f": "forget gate", "o": "output gate", "g": "cell input"}
GATES |= {"z": "update gate", "r": "reset gate", "n": "candidate"}


@pytest.fixture(autouse=True)
def _nothing_is_printed_or_changed(capfd):
    before = np.geterr(), sys.gettrace()
    yield
    assert capfd.readouterr() == ("", "")
    assert (np.geterr(), sys.gettrace()) == before


# Natural faults, against formulas of this test's own

SMALL = {"activation": "linear", "bits": 4, "hidden_size": 3, "bias": True, "dtype": "float32"}
NUMBERS = {"task": "bit_count", "bits": None, "length": 1, "pool_size": 0}


def named(flat, config):
    return {name: values[0] for name, values in unpack(flat, parameter_shapes(config)).items()}


def start_with(patch, change):
    """Let `change` change the initial weights of every training, the black box's as well."""
    start = engine.population.initial_parameters

    def changed(config):
        flat = start(config)
        change(named(flat[None], config))
        return flat

    patch.setattr(engine.population, "initial_parameters", changed)


def first_event(config, patch):
    """Train a run up to its first event; return what it recorded, and weights, inputs and targets of that iteration."""
    networks, forward = [], Network.forward
    patch.setattr(Network, "forward", lambda network: (networks.append(network), forward(network))[1])
    population = Population([config])
    while population.active and not population.events["count"][0]:
        flat = population.parameters[:1].copy()
        population.advance(1)
    network = next(network for network in reversed(networks) if network.gradients)
    return population._overflow(0), named(flat, config), network.x[:, :, 0], network.readout.target[:, :, 0]


class Made(NamedTuple):
    """What one operation makes: numbers, their axes, what it is (with a function, for people), and what came before."""

    numbers: np.ndarray
    axes: str
    operation: str
    tensor: str
    before: np.ndarray | None = None
    steps: Sequence = ()
    layer: int | None = None
    time_step: int | None = None
    gates: str = ""


def check(config, record, phase, operations):
    """Compare the black box with the first of some operations that makes a number out of range; return that operation."""
    made = next(made for made in operations if not np.isfinite(made.numbers).all())
    bad, box = np.argwhere(~np.isfinite(made.numbers)), black_box(config, record.iteration)
    at = dict(zip(made.axes, (bad[0] + 1).tolist(), strict=True))
    step = made.time_step
    if "K" in at:
        step = (config.bits or config.length) - len(made.numbers) + at["K"]
    expected = {
        **{"iteration": record.iteration, "phase": phase, "kind": "overflow", "operation": made.operation},
        **{"layer": made.layer, "time_step": step, "sample": at.get("B"), "unit": at.get("H"), "row": at.get("I")},
        "tensor": GATES[made.gates[at["G"] - 1]] if made.gates else made.tensor,
        **{"n_at_once": len(bad), "dtype": config.dtype},
    }
    assert {name: getattr(box, name) for name in expected} == expected
    assert record.phase == phase
    assert record.kind == "overflow" or phase == "backward"  # there the training looks when infinities may have met
    tolerance = 1e-10 if config.dtype == "float64" else 1e-4
    np.testing.assert_allclose(box.steps, made.steps, rtol=tolerance)
    if made.before is not None:
        np.testing.assert_allclose(box.before, made.before[tuple(bad[0])], rtol=tolerance)
    return made


def largest(h):
    return [np.abs(h_t).max() for h_t in h]


def squash(exponent):
    return 1 / (1 + np.exp(exponent))


def exponents_of(config, weights, x):
    """Yield what exp makes of each gate's input, step by step: the formulas of all cells."""
    names, size = parameter_shapes(config)["W_in"].gates, config.hidden_size
    together = {"lstm_io": "io", "lstm": "ifo", "lstm_peephole": "if", "gru": "zr", "rnn": "g"}[config.cell]
    for layer in range(1, config.n_layers + 1):
        own = {name.removesuffix(f"_{layer}"): values for name, values in weights.items() if layer == 1 or name.endswith("_2")}
        w_in, w_rec, b = (dict(zip(names, np.split(own[name], len(names), -1), strict=True)) for name in ("W_in", "W_rec", "b"))
        peephole = dict(zip("ifo", own.get("peephole", np.zeros((3, size), x.dtype)), strict=True))
        h, c, sign = [np.zeros((config.batch_size, size), x.dtype)], 0, 1 if config.activation == "softplus" else -1

        def made(given, gates, t, h, layer=layer):
            tensor = "hidden state" if config.cell == "rnn" else ""
            return Made(np.exp(given), "GBH", "exp", tensor, given, largest(h[1:]), layer, t + 1, "" if tensor else gates)

        for t, x_t in enumerate(x):
            u = {gate: x_t @ w_in[gate] + b[gate] + x.dtype.type(gate == "f" and config.forget_bias) for gate in names}
            full = {gate: u[gate] + h[-1] @ w_rec[gate] for gate in names}
            given = {gate: sign * (full[gate] + peephole.get(gate, 0) * c) for gate in together}
            yield made(np.array(list(given.values())), together, t, h)
            open_ = {gate: squash(exponent) for gate, exponent in given.items()}
            if config.cell == "rnn":
                h.append(np.log1p(np.exp(given["g"])) if config.activation == "softplus" else open_["g"])
            elif config.cell == "gru":
                back = (
                    open_["r"] * (h[-1] @ w_rec["n"] + own["b_rec"]) if config.reset_after else open_["r"] * h[-1] @ w_rec["n"]
                )
                h.append(open_["z"] * h[-1] + (1 - open_["z"]) * np.tanh(u["n"] + back))
            else:
                c = open_.get("f", 1) * c + open_["i"] * np.tanh(full["g"])
                if config.cell == "lstm_peephole":
                    late = -(full["o"] + peephole["o"] * c)
                    yield made(late[None], "o", t, h)
                    open_["o"] = squash(late)
                h.append(open_["o"] * np.tanh(c))
        x = np.array(h[1:])


GATED = [(variant, None) for variant in VARIANTS if variant not in ("rnn", "lstm_cec")]


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("n_layers", [1, 2])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(("variant", "activation"), [("rnn", "sigmoid"), ("rnn", "softplus"), *GATED])
def test_an_exponent_out_of_range_is_named_with_its_gate_and_value(variant, activation, dtype, n_layers, seed, monkeypatch):
    settings = {"bits": 6, "hidden_size": 2, "batch_size": 3, "bias": True, "n_iterations": 1000}
    settings |= {"activation": activation, "weight_init_std": 0.8 * np.log(float(np.finfo(dtype).max))}
    config = RunConfig(**VARIANTS[variant], **settings, dtype=dtype, n_layers=n_layers, seed=seed)

    def quieten_the_readout(weights):
        weights["W_out"] *= 1e-3

    start_with(monkeypatch, quieten_the_readout)
    record, weights, x, _ = first_event(config, monkeypatch)
    with np.errstate(over="ignore"):
        check(config, record, "forward", exponents_of(config, weights, x))


def growth(config, weights, x, target):
    """Yield what a simple network without biases makes, in order, up to its losses."""
    apply, w_in, w_rec, w_out = FUNCTIONS[config.activation][0], *weights.values()
    h = [np.zeros((config.batch_size, config.hidden_size), x.dtype)]
    for t, u in enumerate(x @ w_in):
        product = h[-1] @ w_rec if t else 0 * u
        for numbers, operation in ((product, "matmul"), (u + product, "add")):
            yield Made(numbers, "BH", operation, "hidden state", None, largest(h[1:]), 1, t + 1)
        h.append(apply(u + product))
    a = np.array(h[-len(target) :]) @ w_out
    yield Made(a, "KBH", "matmul", "readout", None, largest(h[1:]))
    if config.task == "bit_count":
        yield Made((a - target) ** 2, "KBH", "multiply", "loss", None, largest(h[1:]))
    given = a if config.task == "temporal_order" else -a
    yield Made(np.exp(given), "KBH", "exp", "readout", given, largest(h[1:]))


ADDITION, ORDER, COUNT = (
    {"bits": 8},
    {"task": "temporal_order", "length": 12},
    {"task": "bit_count", "length": 60, "pool_size": 0},
)
GROWTH = [
    ("matmul hidden state", "float32", ADDITION, 1e6),
    ("matmul hidden state", "float64", COUNT, 1e6),
    ("exp readout", "float32", ADDITION, 5.0),
    ("exp readout", "float64", ADDITION, 10.0),
    ("exp readout", "float32", ADDITION | {"loss": "cross_entropy"}, 5.0),
    ("exp readout", "float64", ADDITION | {"loss": "cross_entropy"}, 10.0),
    ("exp readout", "float32", ORDER, 3.0),
    ("exp readout", "float64", ORDER, 5.0),
    ("multiply loss", "float32", COUNT | {"length": 40}, 3.0),
    ("multiply loss", "float64", COUNT, 1000.0),
]


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("activation", ["relu", "linear", "leaky_relu"])
@pytest.mark.parametrize(("what", "dtype", "task", "std"), GROWTH, ids=str)
def test_growth_is_followed_to_where_it_ends(what, dtype, task, std, activation, seed, monkeypatch):
    settings = {"hidden_size": 4, "batch_size": 2, "weight_init_std": std, "n_iterations": 1000, "seed": seed}
    config = RunConfig(**task, **settings, activation=activation, dtype=dtype)
    record, weights, x, target = first_event(config, monkeypatch)
    with np.errstate(all="ignore"):
        made = check(config, record, record.phase, growth(config, weights, x, target))
    assert f"{made.operation} {made.tensor}" == what


def silent(weights, **values):
    """Set all weights to 0 but some: the network's hidden values stay 0, its answers 1/2 or 0."""
    for name, array in weights.items():
        array[...] = values.get(name, 0)


def errors_backwards(weights, target):
    """Yield what goes back through a silent linear network, whose answers are 1/2: dL/dh of one step after the other."""
    above = (0.5 - target) * 0.25 / target.shape[1] * weights["W_out"][:, 0]
    dh = [above[-1]]
    for t in range(len(target) - 2, -1, -1):
        back = dh[0] @ weights["W_rec"].T
        for numbers, operation in ((back, "matmul"), (above[t] + back, "add")):
            yield Made(numbers, "BH", operation, "hidden state", None, largest(dh), 1, t + 1)
        dh.insert(0, above[t] + back)


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize(("dtype", "size"), [("float32", 1e6), ("float64", 1e15)])
def test_errors_are_followed_backwards_to_where_they_end(dtype, size, seed, monkeypatch):
    config = RunConfig(bits=30, activation="linear", hidden_size=3, batch_size=2, dtype=dtype, seed=seed)
    start_with(monkeypatch, lambda weights: silent(weights, W_out=1, W_rec=weights["W_rec"] * size))
    record, weights, _, target = first_event(config, monkeypatch)
    with np.errstate(all="ignore"):
        check(config, record, "backward", errors_backwards(weights, target))


def first_overflow_of_a_step(config, gradient):
    """Return which operation on the first gradient overflows, the number before it, and after."""
    rate, square = gradient.dtype.type(config.learning_rate), gradient * gradient
    if config.clip_norm or config.optimizer == "adagrad":
        return square, None
    if config.optimizer in ("rmsprop", "adam"):
        part = gradient * gradient.dtype.type(1 - (config.rho or config.beta2))
        return part * gradient, part
    step = gradient + gradient.dtype.type(config.momentum) * gradient if config.optimizer == "nesterov" else gradient
    return rate * step, step


STEPS = {name: {"optimizer": name} for name in OPTIMIZERS} | {"clip": {"clip_norm": 1.0}}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("step", STEPS)
def test_a_step_out_of_range_is_named_with_its_weight(step, dtype, monkeypatch):
    """Of a silent linear network only the gradient of W_in is not 0: x_t times dL/dh_t."""
    config = RunConfig(**STEPS[step], bits=4, activation="linear", hidden_size=3, batch_size=2, dtype=dtype, learning_rate=1e6)
    most = float(np.finfo(dtype).max)
    share = {"rmsprop": 0.1, "adam": 0.001}.get(step, 1)
    size = 10 * (most / 1e6 if step in ("sgd", "momentum", "nesterov") else most**0.5 / share**0.5)
    start_with(monkeypatch, lambda weights: silent(weights, W_out=weights["W_out"] * size))
    record, weights, x, target = first_event(config, monkeypatch)
    d_h = (0.5 - target) * 0.25 / 2 * weights["W_out"][:, 0]
    with np.errstate(over="ignore"):
        numbers, before = first_overflow_of_a_step(config, np.einsum("tbi,tbh->ih", x, d_h))
    assert 0 < np.count_nonzero(np.isinf(numbers)) < 6
    check(config, record, "update", [Made(numbers, "IH", "multiply", "W_in", before, (), 1)])


@pytest.mark.parametrize("optimizer", ["adagrad", "rmsprop", "adam"])
def test_an_optimizers_memory_is_named_and_only_the_first_event_has_a_black_box(optimizer, monkeypatch):
    """The squares of b's gradient overflow at once, those of W_in when its inputs are 1 for the first time."""
    config = RunConfig(**SMALL | {"hidden_size": 1, "optimizer": optimizer, "n_iterations": 6, "bits": 2, "seed": 3})
    start_with(monkeypatch, lambda weights: silent(weights, W_out=1e25))
    population = Population([config]).advance(6)
    assert population.results()[0].overflow.count > 1
    box = black_box(config, 1)
    assert (box.phase, box.operation, box.unit) == ("update", "multiply", 1)
    with pytest.raises(ConfigError, match="found one at 1; ask for that"):
        black_box(config, 2)


EVERY_GATE = [("lstm_cec", "g"), *(("lstm_io", gate) for gate in "iog"), *(("lstm", gate) for gate in "ifog")]
EVERY_GATE += [("lstm_peephole", gate) for gate in "ifog"] + [
    (name, gate) for name in VARIANTS if "gru" in name for gate in "zrn"
]


@pytest.mark.parametrize("weight", ["W_rec", "W_rec_2", "W_in_2"])
@pytest.mark.parametrize(("variant", "gate"), EVERY_GATE)
def test_a_sum_out_of_range_is_named_with_its_gate(variant, gate, weight, monkeypatch):
    """Open gates make three units of 1/2 to 3/4 each, times 3e38: from step 2 on where they come from the step before."""
    shape = {"bits": 3, "hidden_size": 3, "batch_size": 2, "bias": True, "dtype": "float32", "n_layers": 2, "n_iterations": 1}
    config = RunConfig(**VARIANTS[variant], **shape)
    gates = parameter_shapes(config)["W_in"].gates
    bias = np.repeat([0 if name == "z" else 5 for name in gates], 3)

    def change(weights):
        silent(weights, b=bias, b_2=bias)
        weights[weight][:, 3 * gates.index(gate) + 1] = 3e38

    start_with(monkeypatch, change)
    box = black_box(config, 1)
    tanh_5, open_ = np.tanh(5), 1 / (1 + np.exp(-5))
    h = {"gru": tanh_5 / 2, "lstm_cec": np.tanh(tanh_5)}.get(config.cell, open_ * np.tanh(open_ * tanh_5))
    layer, step = (1 if weight == "W_rec" else 2), (1 if weight == "W_in_2" else 2)
    assert (box.phase, box.kind, box.operation, box.tensor) == ("forward", "overflow", "matmul", GATES[gate])
    assert (box.layer, box.time_step, box.sample, box.unit, box.row) == (layer, step, 1, 2, None)
    assert box.n_at_once == (6 if weight == "W_in_2" else 2)
    assert box.steps == pytest.approx([h][: step - 1], rel=1e-5)
    assert box.before == 0  # nothing stood there before, whatever was in the memory


def test_the_training_itself_notices_a_candidates_recurrent_sum(monkeypatch):
    config = RunConfig(cell="gru", reset_after=True, bits=3, hidden_size=3, bias=True, dtype="float32", n_iterations=1)

    def change(weights):
        silent(weights, b=np.repeat([0, 5, 5], 3))
        weights["W_rec"][:, 7] = 3e38

    start_with(monkeypatch, change)
    overflow = Population([config]).advance(1).results()[0].overflow
    assert overflow is not None
    assert (overflow.phase, overflow.kind) == ("forward", "overflow")


# Intermediate results that stand in no buffer


def box_of(patch, settings, **values):
    """Return the black box of the first iteration of a run with some weights, all others 0; the training agrees."""
    config = RunConfig(**settings)
    start_with(patch, lambda weights: silent(weights, **values))
    population, box = Population([config]).advance(1), black_box(config, 1)
    assert (population._overflow(0).iteration, population._overflow(0).phase) == (1, box.phase)
    return box


@pytest.mark.parametrize(("hidden_size", "batch_size"), [(3, 2), (32, 32)], ids=["two rows", "one row"])
def test_a_loss_too_large_only_as_a_sum_is_named(hidden_size, batch_size, monkeypatch):
    """Each wrong answer costs 3e38 nats."""
    settings = SMALL | {"bits": 8, "loss": "cross_entropy", "hidden_size": hidden_size, "batch_size": batch_size}
    box = box_of(monkeypatch, settings, b_out=3e38)
    assert (box.phase, box.tensor, box.layer, box.time_step, box.sample, box.unit) == ("loss", "loss", None, None, None, 1)


def test_a_projections_product_is_named_as_the_weights_it_makes(monkeypatch):
    """A projection of 3 units, 2e38 each, meets weights of 1."""
    w_in = np.array([[0, 1, 0], [0, 1, 0], [0, 0, 1]])
    for name, tensor, row in (("b_proj", "b", None), ("W_proj", "W_in", 1)):
        with monkeypatch.context() as patch:
            box = box_of(patch, SMALL | {"projection_size": 3}, W_in=w_in, **{name: 2e38})
        assert (box.phase, box.tensor, box.layer, box.unit, box.row, box.time_step) == ("forward", tensor, 1, 2, row, None)
        assert box.before == 0


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_gradient_too_long_only_as_a_whole_is_named(optimizer, monkeypatch):
    """Without a one in the input b alone has a gradient: 3 numbers, 2 y W_out = 1.6e19 each; 2.6e38 squared, 7.7e38 in all."""
    settings = SMALL | NUMBERS | {"clip_norm": 1.0, "optimizer": optimizer}
    seeds = (seed for seed in range(50) if not ones(RunConfig(**settings, seed=seed)))
    box = box_of(monkeypatch, settings | {"seed": next(seeds)}, b_out=8, W_out=1e18)
    assert (box.phase, box.tensor, box.kind) == ("update", "length of the gradient", "overflow")
    assert {box.layer, box.time_step, box.sample, box.unit, box.row} == {None}
    assert np.isnan(box.before)


def ones(config):
    """Return the ones in the first input of a bit_count."""
    task = TASKS["bit_count"]
    return task.encode(task.draw(stream(config.seed, "data"), 1, config), config)[0].sum()


AT_ONCE = [
    # the first sum of two inputs that are both 1
    (SMALL | {"bits": 6, "seed": 4}, {"W_in": 3e38}, ("forward", "hidden state", 1, 5, 1, 1, None)),
    # all steps of dL/dh below at once; backwards the last is the first
    (SMALL | {"n_layers": 2}, {"W_out": 1e30, "W_in_2": 1e30}, ("backward", "hidden state", 1, 4, 1, 1, None)),
    # h = 1e25 times 2 y = 2e15
    (SMALL | NUMBERS, {"b": 1e25, "b_out": 1e15}, ("backward", "W_out", None, None, None, 1, 1)),
]


@pytest.mark.parametrize(("settings", "values", "expected"), AT_ONCE, ids=["input", "error", "gradient"])
def test_a_product_of_all_steps_at_once_has_no_steps_before_it(settings, values, expected, monkeypatch):
    box = box_of(monkeypatch, settings, **values)
    assert (box.phase, box.tensor, box.layer, box.time_step, box.sample, box.unit, box.row) == expected
    assert (box.operation, box.steps) == ("matmul", [])


# Words


WORDS = [
    (
        {"cell": "lstm", "bits": 3, "hidden_size": 2, "bias": True, "dtype": "float32", "n_layers": 2},
        {"b_2": np.where(np.arange(8) == 3, -100, 0)},  # and forget_bias is 1
        "forget gate of unit 2, layer 2, time step 1, sample 1",
        "Iteration 1, forward pass: exp(99), more than float32 can hold (3.4e+38), in the {place}.",
    ),
    (
        {"task": "temporal_order", "length": 10, "bias": True},
        {"b_out": -1000},  # exp gives 0 for all, and their shares are 0 / 0
        "readout of unit 1, time step 10, sample 1",
        "Iteration 1, forward pass: an operation without an answer (such as inf - inf) in the {place}; "
        "3 other numbers went with it.",
    ),
    (
        SMALL | NUMBERS | {"length": 3, "batch_size": 2},
        {"b_out": 1e20},
        "loss of unit 1, time step 3, sample 1",
        "Iteration 1, loss pass: more than float32 can hold (3.4e+38) in the {place}; another number went with it.",
    ),
    (
        {"cell": "lstm", "bits": 3, "hidden_size": 2, "bias": True, "dtype": "float32", "batch_size": 2},
        {"W_out": 1e30, "W_rec": 1e30},
        "derivative of the hidden state of unit 1, layer 1, time step 2, sample 1",
        "Iteration 1, backward pass: more than float32 can hold (3.4e+38) in the {place}; 3 other numbers went with it.",
    ),
    (
        SMALL | {"learning_rate": 1e6},
        {"W_out": [[0], [1e34], [0]]},
        "W_in of unit 2 from input 2, layer 1",
        "Iteration 1, update pass: more than float32 can hold (3.4e+38) in the {place}.",
    ),
]


@pytest.mark.parametrize(
    ("settings", "values", "place", "sentence"), WORDS, ids=["forward", "invalid", "loss", "backward", "update"]
)
def test_each_phase_reads_well(settings, values, place, sentence, monkeypatch):
    box = box_of(monkeypatch, settings, **values)
    assert (box.place, box.sentence) == (place, sentence.format(place=place))
    assert [entry["iteration"] for entry in box.trail] == [1]
