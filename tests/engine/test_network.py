"""Forward pass and gradients against a plain forward pass written here and central differences of its loss."""

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from engine import ACTIVATIONS, RunConfig
from engine.layout import by_run, n_parameters, unpack
from engine.network import Network, activation_groups, initial_parameters, parameter_shapes
from engine.watch import FloatingPointWatch

FORMULAS = {
    "sigmoid": lambda u: 1 / (1 + np.exp(-u)),
    "tanh": np.tanh,
    "relu": lambda u: u * (u > 0),
    "leaky_relu": lambda u: np.where(u > 0, u, u / 100),
    "elu": lambda u: np.where(u > 0, u, np.exp(np.minimum(u, 0)) - 1),
    "softplus": lambda u: np.log(1 + np.exp(u)),
    "linear": lambda u: u,
}
STEP = 1e-4
"""Of the differences below: their error is STEP**4 / 30 times a fifth derivative of order 1, far below rounding, and rounding
of a loss of order 1 makes 1e-16 / STEP = 1e-12."""
RELATIVE, ABSOLUTE = 1e-6, 2e-11
"""A gradient below 2e-5 is held to 20 times the rounding error of the differences instead of to 1e-6 of itself."""

# derandomize: the same examples in every run of the tests, so that a red test always means changed code
example_settings = settings(max_examples=60, deadline=None, derandomize=True)
sizes = st.fixed_dictionaries(
    {
        "bits": st.integers(2, 6),
        "hidden_size": st.integers(1, 7),
        "batch_size": st.integers(1, 4),
        "seed": st.integers(0, 10**6),
    }
)


def plain_loss(flat, config, x, target):
    """Return the losses and all inputs u of the hidden units, for any number of parameter vectors at once.

    flat (K, n), x (T, B, 2), target (T, B) -> (K,), (K, T, B, H)
    """
    h_size = config.hidden_size
    sizes = [2 * h_size, h_size * h_size, h_size, h_size, 1] if config.bias else [2 * h_size, h_size * h_size, h_size]
    parts = np.split(flat, np.cumsum(sizes)[:-1], axis=1)
    w_in, w_rec = parts[0].reshape(-1, 2, h_size), parts[1].reshape(-1, h_size, h_size)
    b, w_out, b_out = (parts[2], parts[3], parts[4]) if config.bias else (0 * parts[2], parts[2], np.zeros((len(flat), 1)))
    h = np.zeros((len(flat), x.shape[1], h_size))
    loss, inputs = np.zeros(len(flat)), []
    for x_t, d_t in zip(x, target, strict=True):
        u = np.einsum("bi,kih->kbh", x_t, w_in) + np.einsum("kbg,kgh->kbh", h, w_rec) + b[:, None]
        h = FORMULAS[config.activation](u)
        y = 1 / (1 + np.exp(-np.einsum("kbh,kh->kb", h, w_out) - b_out))
        loss += ((y - d_t) ** 2).mean(axis=1) / 2
        inputs.append(u)
    return loss, np.stack(inputs, axis=1)


def numeric_gradient(flat, config, x, target):
    """Return the gradient by central differences of fourth order, and whether a unit crossed its kink at 0 on the way."""
    steps = STEP * np.eye(len(flat))
    moved = [flat + k * steps for k in (2, 1, -1, -2)]
    (p2, p1, m1, m2), inputs = zip(*(plain_loss(m, config, x, target) for m in moved), strict=True)
    signs = np.sign(np.concatenate(inputs))
    return (8 * (p1 - m1) - (p2 - m2)) / (12 * STEP), bool((signs != signs[:1]).any())


@dataclass
class Example:
    """A population with random parameters, biases included, and random data; the network has been through all passes."""

    configs: list
    parameters: np.ndarray
    gradients: np.ndarray
    network: Network


def example(configs, batch_size, seed):
    rng = np.random.default_rng(seed)
    parameters = rng.normal(0, 0.7, (len(configs), n_parameters(parameter_shapes(configs[0]))))
    gradients = np.full_like(parameters, np.nan)
    network = Network(configs, parameters, gradients, batch_size, FloatingPointWatch(np.zeros(len(configs), bool)))
    network.x[...] = rng.normal(0, 1, network.x.shape)  # any numbers, not only bits: a kink is then met with probability 0
    network.target[...] = rng.integers(0, 2, network.target.shape)
    network.forward()
    network.loss()
    network.backward()
    return Example(configs, parameters, gradients, network)


def check_gradients(made: Example) -> bool:
    """Compare every gradient of every run; on failure tell config, parameter and both numbers.

    Returns False for an example that says nothing, because a unit crosses its kink between the points of a difference.
    """
    shapes = parameter_shapes(made.configs[0])
    names = [f"{name}[{i}]" for name, weight in shapes.items() for i in range(int(np.prod(weight.shape)))]
    for run, config in enumerate(made.configs):
        x, target = made.network.x[:, :, run], made.network.target[:, :, run, 0]
        numeric, kinked = numeric_gradient(made.parameters[run], config, x, target)
        if kinked:
            return False
        for name, analytic, reference in zip(names, made.gradients[run], numeric, strict=True):
            assert abs(analytic - reference) <= RELATIVE * abs(reference) + ABSOLUTE, (
                f"gradient of {name}: analytic {analytic!r}, central difference {reference!r}; "
                f"run {run} of {len(made.configs)}, batch {made.network.batch_size}, {config}"
            )
    return True


def configs_of(size, activations, bias=False):
    shape = {"bits": size["bits"], "hidden_size": size["hidden_size"], "bias": bias}
    return [RunConfig(activation=activation, **shape) for activation in sorted(activations)]


def test_every_activation_has_its_formula_here():
    assert set(FORMULAS) == set(ACTIVATIONS)


@pytest.mark.parametrize("bias", [False, True], ids=["no_bias", "bias"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
@given(size=sizes, n_runs=st.integers(2, 3))
@example_settings
def test_gradients_equal_central_differences(activation, bias, size, n_runs):
    assume(check_gradients(example(configs_of(size, [activation] * n_runs, bias), size["batch_size"], size["seed"])))


@given(size=sizes, activations=st.lists(st.sampled_from(list(ACTIVATIONS)), min_size=2, max_size=3), bias=st.booleans())
@settings(example_settings, max_examples=200)
def test_gradients_of_mixed_activations_equal_central_differences(size, activations, bias):
    assume(check_gradients(example(configs_of(size, activations, bias), size["batch_size"], size["seed"])))


@given(size=sizes, activations=st.lists(st.sampled_from(list(ACTIVATIONS)), min_size=2, max_size=3), bias=st.booleans())
@settings(example_settings, max_examples=100)
def test_forward_equals_the_plain_pass(size, activations, bias):
    made = example(configs_of(size, activations, bias), size["batch_size"], size["seed"])
    squared = made.network.loss()
    for run, config in enumerate(made.configs):
        x, target = made.network.x[:, :, run], made.network.target[:, :, run, 0]
        (expected,), _ = plain_loss(made.parameters[run : run + 1], config, x, target)
        # squares lie between 0 and 1; some ten roundings and six steps of at most 7-fold growth
        assert squared[:, :, run].sum() / 2 / size["batch_size"] == pytest.approx(expected, rel=1e-10, abs=1e-14)


def test_a_wrong_gradient_would_be_told_with_config_parameter_and_both_numbers():
    made = example(configs_of({"bits": 3, "hidden_size": 2}, ["tanh", "tanh"]), 2, 0)
    right = made.gradients[1, 3]
    made.gradients[1, 3] *= 1 + 3e-6
    with pytest.raises(AssertionError) as caught:
        check_gradients(made)
    text = str(caught.value)
    assert "gradient of W_in[3]" in text
    assert repr(made.gradients[1, 3]) in text
    assert f"{right:.6g}" in text
    assert "run 1 of 2, batch 2, RunConfig(" in text


def test_a_second_pass_through_the_same_buffers_gives_the_same_bits():
    made = example(configs_of({"bits": 5, "hidden_size": 3}, ["relu", "tanh"], bias=True), 3, 1)
    first = made.gradients.copy()
    made.network.forward()
    made.network.loss()
    made.network.backward()
    assert first.tobytes() == made.gradients.tobytes()


@pytest.mark.parametrize("bias", [False, True])
def test_parameters_have_the_shapes_of_the_formula(bias):
    shapes = parameter_shapes(RunConfig(hidden_size=5, bias=bias))
    expected = {"W_in": (2, 5), "W_rec": (5, 5), "W_out": (5, 1)} | ({"b": (5,), "b_out": (1,)} if bias else {})
    assert {name: weight.shape for name, weight in shapes.items()} == expected
    assert n_parameters(shapes) == initial_parameters(RunConfig(hidden_size=5, bias=bias)).size == 40 + 6 * bias


def test_named_parameters_are_views_in_order():
    config = RunConfig(hidden_size=2, bias=True)
    flat = np.arange(2 * 13.0).reshape(2, 13)
    named = unpack(flat, parameter_shapes(config))
    assert {name: w[1].ravel()[0] for name, w in named.items()} == {"W_in": 13, "W_rec": 17, "b": 21, "W_out": 23, "b_out": 25}
    named["W_rec"][1] = -1
    np.testing.assert_array_equal(flat[1, 4:8], -1)
    assert (flat[0] >= 0).all()


def test_rows_of_one_run_are_a_view_in_order_of_time_and_sequence():
    activities = np.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5)  # T, B, P, H
    rows = by_run(activities)
    assert rows.shape == (4, 6, 5)
    assert np.shares_memory(rows, activities)
    np.testing.assert_array_equal(rows[2], np.concatenate([activities[0, :, 2], activities[1, :, 2]]))


def test_activations_are_grouped_by_consecutive_runs():
    groups = activation_groups([RunConfig(activation=name) for name in ["elu", "elu", "relu", "tanh", "tanh", "tanh"]])
    assert [(group.start, group.stop) for _, group in groups] == [(0, 2), (2, 3), (3, 6)]
    assert [activation for activation, _ in groups] == [ACTIVATIONS[name] for name in ("elu", "relu", "tanh")]


def test_a_network_without_gradients_answers_the_same():
    made = example(configs_of({"bits": 4, "hidden_size": 3}, ["elu", "sigmoid"]), 2, 5)
    answering = Network(made.configs, made.parameters, None, 2, FloatingPointWatch(np.zeros(2, bool)))
    answering.x[...], answering.target[...] = made.network.x, made.network.target
    assert answering.forward().tobytes() == made.network.y.tobytes()
