"""Back-propagation through time against central differences of the loss; and how a network keeps its parameters.

The loss at every moved parameter vector is the engine's own, which `test_cells.py` holds against plain loops: the moved vectors
are the runs of one big population.
"""

import itertools
from dataclasses import dataclass

import numpy as np
import pytest

from engine import ACTIVATIONS, CELLS, TASKS, RunConfig
from engine.layout import apart, by_run, sum_rows, unpack
from engine.network import Network, initial_parameters, n_parameters, parameter_shapes
from engine.readouts import READOUTS
from engine.watch import FloatingPointWatch

VARIANTS = [*({"cell": cell} for cell in CELLS), {"cell": "gru", "reset_after": True}]
QUESTIONS = [{"task": name, "loss": loss} for name, task in TASKS.items() for loss in task.losses]
OPTIONS = [
    {"bias": bias, "projection": projection, "batch_size": batch_size}
    for bias, projection, batch_size in itertools.product((False, True), (False, True), (1, 3))
]
STEP, POINTS = 2e-4, {1: 45 / 60, -1: -45 / 60, 2: -9 / 60, -2: 9 / 60, 3: 1 / 60, -3: -1 / 60}
"""Of central differences of sixth order: wrong by STEP**6 / 140 times a seventh derivative, and by rounding, 1e-16 / STEP times
the loss. Over the 1,800 networks below the worst error relative to a derivative above 1e-4 was 8e-8, 1e-7, 2e-6 and 3e-5 with
steps of 2e-4, 3e-4, 5e-4 and 1e-3: four layers of carousels over 25 steps bend sharply. Fourth order gets 1.5e-7 at best."""
RELATIVE, ABSOLUTE = 1e-6, 2e-11
"""A derivative below 2e-5 is held to 2e-11, some roundings of a loss of order 1 divided by STEP, and not to 1e-6 of itself."""
KINKED = ("relu", "leaky_relu", "elu")
"""Activations with a jump in some derivative at 0: no difference may reach across it."""


@dataclass
class Example:
    """A population with random parameters and data; its network has been through all passes."""

    configs: list
    parameters: np.ndarray
    gradients: np.ndarray
    network: Network


def name_of(settings):
    return "-".join(str(value) for value in settings.values())


def rng_of(*settings):
    """Return a generator that depends on the settings alone, so that a red test always means changed code."""
    return np.random.default_rng(list(repr(settings).encode()))


def random_configs(rng, variant, question, n_layers, bias, projection, batch_size, largest=5):
    """Return a random population's configs: of an rnn with every activation, one of them twice, of others 2 or 3 runs."""
    task = TASKS[question["task"]]
    length = max(int(rng.integers(3, 7)), task.shortest or 0)
    config = RunConfig(
        **variant,
        **question,
        **{"length" if task.usual_length else "bits": length},
        n_layers=n_layers,
        bias=bias,
        projection_size=int(rng.integers(2, 5)) if projection else None,
        batch_size=batch_size,
        hidden_size=int(rng.integers(2, largest + 1)),
    )
    if config.activation:
        names = sorted([*ACTIVATIONS, list(ACTIVATIONS)[rng.integers(len(ACTIVATIONS))]])
        return [config.replace(activation=name) for name in names]
    own = [{"forget_bias": float(rng.normal())} if config.forget_bias is not None else {} for _ in range(rng.integers(2, 4))]
    return [config.replace(**settings) for settings in own]


def new_network(configs, parameters, gradients=None):
    return Network(configs, parameters, gradients, configs[0].batch_size, FloatingPointWatch(np.zeros(len(configs), bool)))


def losses(network):
    """Return the loss of every run."""
    network.forward()
    return network.loss_factor * network.loss().sum(axis=(0, 1, 3)) / network.x.shape[1]


def fill(rng, configs, parameters, network, runs):
    """Draw weights, biases among them, and data of some runs; recurrent weights are small enough to keep chaos away."""
    for name, weight in parameter_shapes(configs[0]).items():
        values, fan_in = network.weights[name], 4 if weight.kind == "bias" else weight.shape[0]
        scale = 0.5 if weight.kind == "recurrent" else 1.0
        values[runs] = rng.normal(0, scale / np.sqrt(fan_in), values[runs].shape)
    network.x[:, :, runs] = rng.normal(0, 1, network.x[:, :, runs].shape)
    target, output = network.readout.target, TASKS[configs[0].task].output
    shape = target[:, :, runs].shape
    if output == "linear":
        target[:, :, runs] = rng.normal(0, 1, shape)
    elif output == "logistic":
        target[:, :, runs] = rng.integers(0, 2, shape)
    else:
        target[:, :, runs] = np.eye(shape[-1])[rng.integers(0, shape[-1], shape[:-1])]


def example(configs, rng):
    n_runs = len(configs)
    parameters = np.empty((n_runs, n_parameters(parameter_shapes(configs[0]))))
    gradients = np.full_like(parameters, np.nan)
    network = new_network(configs, parameters, gradients)
    fill(rng, configs, parameters, network, np.arange(n_runs))
    losses(network)
    network.backward()
    return Example(configs, parameters, gradients, network)


def redraw(made, rng, runs):
    """Give some runs new parameters and data."""
    fill(rng, made.configs, made.parameters, made.network, runs)
    made.gradients.fill(np.nan)
    losses(made.network)
    made.network.backward()


def differences(made, directions, step=STEP):
    """Return the loss's derivatives along some directions, (P, D), and the runs whose units crossed a kink on the way."""
    n_runs, n = made.parameters.shape
    moves = np.concatenate([k * step * directions for k in POINTS])
    moved = (made.parameters[:, None] + moves).reshape(-1, n)
    network = new_network([config for config in made.configs for _ in moves], moved)
    network.x[...] = np.repeat(made.network.x, len(moves), axis=2)
    network.readout.target[...] = np.repeat(made.network.readout.target, len(moves), axis=2)
    found = losses(network).reshape(n_runs, len(POINTS), -1)
    crossed = np.zeros(n_runs, bool)
    if made.configs[0].activation:
        kinked = np.array([config.activation in KINKED for config in made.configs])
        for cell in network.cells:
            above = (cell.h > 0).reshape(*cell.h.shape[:2], n_runs, len(moves), -1)
            crossed |= kinked & (above != above[:, :, :, :1]).any(axis=(0, 1, 3, 4))
    return np.tensordot(list(POINTS.values()), found, (0, 1)) / step, np.flatnonzero(crossed)


def every_number(configs, rng):
    """Return names and directions (D, n) that move one number of the parameters at a time."""
    shapes = parameter_shapes(configs[0])
    names = [f"{name}{list(place)}" for name, weight in shapes.items() for place in np.ndindex(weight.shape)]
    return names, np.eye(len(names))


def two_directions_each(configs, rng):
    """Return names and directions (D, n) of length 1 that move all numbers of one parameter at a time, each in two ways."""
    shapes = parameter_shapes(configs[0])
    names = [f"{name} along {direction}" for name in shapes for direction in ("one direction", "another")]
    directions = np.zeros((len(names), n_parameters(shapes)))
    for first, values in zip(itertools.count(0, 2), unpack(directions, shapes).values(), strict=False):
        values[first : first + 2] = rng.normal(0, 1, values[:2].shape)
    return names, directions / np.linalg.norm(directions, axis=1, keepdims=True)


def check_gradients(made, choose, rng):
    """Compare back-propagation with differences; on failure tell run, parameter, both numbers and the config."""
    names, directions = choose(made.configs, rng)
    for _ in range(40):
        numeric, crossed = differences(made, directions)
        if not len(crossed):
            break
        redraw(made, rng, crossed)
    else:
        raise AssertionError("found no data that keeps every unit away from its kink")
    analytic = made.gradients @ directions.T
    excess = np.abs(analytic - numeric) / (RELATIVE * np.abs(numeric) + ABSOLUTE)
    run, place = np.unravel_index(np.argmax(np.where(np.isnan(excess), np.inf, excess)), excess.shape)
    assert excess[run, place] <= 1, (
        f"dL/d {names[place]}, run {run} of {len(made.configs)}: back-propagation {analytic[run, place]:.17g}, "
        f"central difference {numeric[run, place]:.17g}; {made.configs[run]}"
    )


def test_questions_meet_every_readout():
    assert {(TASKS[question["task"]].output, question["loss"]) for question in QUESTIONS} == set(READOUTS)


@pytest.mark.parametrize("n_layers", [1, 2, 3, 4])
@pytest.mark.parametrize("variant", VARIANTS, ids=name_of)
def test_gradients_of_every_parameter_equal_central_differences(variant, n_layers):
    """Every cell and layer count with every task, loss, bias, projection and batch; an rnn's runs have every activation."""
    for question, options in itertools.product(QUESTIONS, OPTIONS):
        rng = rng_of(variant, n_layers, question, options)
        configs = random_configs(rng, variant, question, n_layers, **options)
        check_gradients(example(configs, rng), two_directions_each, rng)


@pytest.mark.parametrize("variant", VARIANTS, ids=name_of)
def test_gradients_of_a_lone_run_equal_central_differences(variant):
    """NumPy takes other paths where the axis of the runs has length 1."""
    for question, options in itertools.product(QUESTIONS, OPTIONS):
        rng = rng_of("lone", variant, question, options)
        configs = random_configs(rng, variant, question, int(rng.integers(1, 4)), **options)
        check_gradients(example([configs[rng.integers(len(configs))]], rng), two_directions_each, rng)


@pytest.mark.parametrize("question", QUESTIONS, ids=name_of)
@pytest.mark.parametrize("variant", VARIANTS, ids=name_of)
def test_every_number_of_the_gradient_equals_its_central_difference(variant, question):
    """Number by number, which is slow, of four networks each: smaller ones, every layer count and four of the options."""
    rng = rng_of(variant, question)
    for n_layers, option in zip((1, 2, 3, 4), rng.permutation(len(OPTIONS)), strict=False):
        configs = random_configs(rng, variant, question, n_layers, **OPTIONS[option], largest=3)
        check_gradients(example(configs, rng), every_number, rng)


@pytest.mark.parametrize("variant", VARIANTS, ids=name_of)
def test_the_differences_themselves_are_good_to_a_third_of_the_tolerance(variant):
    """Judged by differences with half and twice the step, without back-propagation."""
    for question in QUESTIONS:
        rng = rng_of("step", variant, question)
        made = example(random_configs(rng, variant, question, 2, True, True, 3), rng)
        _, directions = two_directions_each(made.configs, rng)
        found, crossed = zip(*(differences(made, directions, factor * STEP) for factor in (0.5, 1, 2)), strict=True)
        clean = np.setdiff1d(np.arange(len(made.configs)), np.concatenate(crossed))
        half, best, twice = (values[clean] for values in found)
        for other in (half, twice):
            assert (np.abs(other - best) <= (RELATIVE * np.abs(best) + ABSOLUTE) / 3).all(), question


def test_a_wrong_gradient_is_told_with_parameter_run_both_numbers_and_config():
    rng = np.random.default_rng(0)
    made = example([RunConfig(bits=3, hidden_size=2, activation="tanh", seed=seed) for seed in (5, 6)], rng)
    right = made.gradients[1, 3]
    made.gradients[1, 3] *= 1 + 3e-6
    with pytest.raises(AssertionError) as caught:
        check_gradients(made, every_number, rng)
    text = str(caught.value)
    assert f"dL/d W_in[1, 1], run 1 of 2: back-propagation {made.gradients[1, 3]:.17g}, central difference" in text
    assert f"difference {right:.8g}"[:-1] in text
    assert "seed=6" in text


def test_a_gradient_that_was_not_written_is_told():
    made = example([RunConfig(bits=3, hidden_size=2, activation="tanh")], np.random.default_rng(0))
    made.gradients[0, 5] = np.nan
    with pytest.raises(AssertionError, match="run 0 of 1: back-propagation nan"):
        check_gradients(made, every_number, None)


@pytest.mark.parametrize("variant", VARIANTS, ids=name_of)
@pytest.mark.parametrize("n_layers", [1, 3])
def test_a_pass_leaves_nothing_behind_in_the_buffers(variant, n_layers):
    """Bits after other data have been through the same buffers are those of fresh buffers."""
    rng = rng_of(variant, n_layers)
    made = example(random_configs(rng, variant, {"task": "temporal_order"}, n_layers, True, True, 3), rng)
    first, answers = made.gradients.copy(), made.network.readout.y.copy()
    x, target = made.network.x.copy(), made.network.readout.target.copy()
    made.network.x[...] = 3 * x[::-1]
    losses(made.network)
    made.network.backward()
    assert made.gradients.tobytes() != first.tobytes()
    made.network.x[...], made.network.readout.target[...] = x, target
    losses(made.network)
    made.network.backward()
    assert made.gradients.tobytes() == first.tobytes()
    assert made.network.readout.y.tobytes() == answers.tobytes()


@pytest.mark.parametrize("variant", VARIANTS, ids=name_of)
def test_a_network_without_gradients_answers_the_same(variant):
    rng = rng_of(variant)
    made = example(random_configs(rng, variant, {"task": "adding_problem"}, 2, True, False, 3), rng)
    answering = new_network(made.configs, made.parameters)
    answering.x[...] = made.network.x
    assert answering.forward().tobytes() == made.network.readout.y.tobytes()


@pytest.mark.parametrize("variant", VARIANTS, ids=name_of)
def test_float32_gradients_are_those_of_float64_to_its_precision(variant):
    rng = rng_of("float32", variant)
    made = example(random_configs(rng, variant, {"task": "binary_addition"}, 2, True, True, 3), rng)
    single = np.full(made.gradients.shape, np.nan, np.float32)
    network = new_network(made.configs, made.parameters.astype(np.float32), single)
    network.x[...], network.readout.target[...] = made.network.x, made.network.readout.target
    assert losses(network).dtype == np.float32
    network.backward()
    # 1e-7 a rounding, a few hundred of them, growing by a small factor from step to step
    np.testing.assert_allclose(single, made.gradients, rtol=0, atol=1e-5 * np.abs(made.gradients).max())


def test_named_parameters_are_views_in_order():
    config = RunConfig(hidden_size=2, bias=True)
    flat = np.arange(2 * 13.0).reshape(2, 13)
    named = unpack(flat, parameter_shapes(config))
    assert {name: w[1].ravel()[0] for name, w in named.items()} == {"W_in": 13, "W_rec": 17, "b": 21, "W_out": 23, "b_out": 25}
    named["W_rec"][1] = -1
    np.testing.assert_array_equal(flat[1, 4:8], -1)
    assert (flat[0] >= 0).all()


def test_parameters_of_upper_layers_carry_their_number_and_each_layer_gets_its_own():
    config = RunConfig(n_layers=3, hidden_size=2, bias=True, projection_size=4)
    names = ["W_proj", "b_proj", "W_in", "W_rec", "b", "W_in_2", "W_rec_2", "b_2", "W_in_3", "W_rec_3", "b_3", "W_out", "b_out"]
    assert list(parameter_shapes(config)) == names
    network = new_network([config], initial_parameters(config)[None])
    for cell, suffix in zip(network.cells, ("", "_2", "_3"), strict=True):
        for name in ("W_in", "W_rec", "b"):
            assert cell.weights[name] is network.weights[name + suffix]


def test_rows_of_one_run_are_a_view_in_order_of_time_and_sequence():
    activities = np.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5)  # T, B, P, H
    rows = by_run(activities)
    assert rows.shape == (4, 6, 5)
    assert np.shares_memory(rows, activities)
    np.testing.assert_array_equal(rows[2], np.concatenate([activities[0, :, 2], activities[1, :, 2]]))


@pytest.mark.parametrize("n_runs", [1, 2])
def test_rows_of_a_lone_run_lie_apart_and_are_a_view_all_the_same(n_runs):
    activities = apart((2, 3, n_runs, 4), np.float32)
    assert (activities.shape, activities.dtype) == ((2, 3, n_runs, 4), np.float32)
    rows = by_run(activities)
    assert np.shares_memory(rows, activities)
    assert rows.strides[1] > 4 * 4  # a run's own four numbers of four bytes
    assert rows.strides[2] == 4


@pytest.mark.parametrize(("n_runs", "width"), [(1, 1), (1, 3), (2, 1), (5, 4)])
def test_sums_over_rows_add_up_one_after_the_other_whatever_the_company(n_runs, width):
    activities = np.random.default_rng(0).standard_normal((40, 7, n_runs, width))
    total, out = np.zeros((n_runs, width)), np.empty((n_runs, width))
    for row in activities.reshape(-1, n_runs, width):
        total += row
    sum_rows(activities, out)
    assert out.tobytes() == total.tobytes()
