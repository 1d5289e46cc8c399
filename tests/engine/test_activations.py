"""Activations against the textbook's formulas, one number at a time, and their overflow."""

import math

import numpy as np
import pytest

from engine import ACTIVATIONS, RunConfig
from engine.activations import LEAKY_SLOPE, activation_groups, logistic, logistic_derivative, tanh_derivative
from engine.watch import FloatingPointWatch

FORMULAS = {
    "sigmoid": lambda u: 1 / (1 + math.exp(-u)),
    "tanh": lambda u: (math.exp(u) - math.exp(-u)) / (math.exp(u) + math.exp(-u)),
    "relu": lambda u: u if u > 0 else 0.0,
    "leaky_relu": lambda u: u if u > 0 else 0.01 * u,
    "elu": lambda u: u if u > 0 else math.exp(u) - 1,
    "softplus": lambda u: math.log(1 + math.exp(u)),
    "linear": lambda u: u,
}
SLOPES = {
    "sigmoid": lambda u: math.exp(-u) / (1 + math.exp(-u)) ** 2,
    "tanh": lambda u: 1 / math.cosh(u) ** 2,
    "relu": lambda u: 1.0 if u > 0 else 0.0,
    "leaky_relu": lambda u: 1.0 if u > 0 else 0.01,
    "elu": lambda u: 1.0 if u > 0 else math.exp(u),
    "softplus": lambda u: 1 / (1 + math.exp(-u)),
    "linear": lambda u: 1.0,
}
U = np.concatenate([np.linspace(-8, 8, 40), [-20.0, 20.0]])  # even in number, so that 0 with its kinks is not among them
# Written with exp and log alone, the formulas above lose up to 1 / exp(-20) = 5e8 roundings of 1e-16 where their value is tiny.
ABSOLUTE = {"float64": 1e-15, "float32": 1e-7}
RELATIVE = {"float64": 1e-12, "float32": 1e-5}


def watch(n_runs=1):
    return FloatingPointWatch(np.zeros(n_runs, bool))


def apply(name, u, dtype="float64"):
    """Return h for numbers u, computed as one run of one unit."""
    h = np.array(u, dtype).reshape(-1, 1, 1)
    ACTIVATIONS[name].apply(h, watch(), 0)
    return h


def test_every_activation_has_its_formula_here():
    assert set(FORMULAS) == set(SLOPES) == set(ACTIVATIONS)


@pytest.mark.parametrize("dtype", ABSOLUTE)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_values_follow_the_textbook(name, dtype):
    h = apply(name, U, dtype)
    assert h.dtype == dtype
    expected = [FORMULAS[name](u) for u in np.array(U, dtype).tolist()]
    np.testing.assert_allclose(h.ravel(), expected, rtol=RELATIVE[dtype], atol=ABSOLUTE[dtype])


@pytest.mark.parametrize("dtype", ABSOLUTE)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_slopes_in_terms_of_the_output_follow_the_textbook(name, dtype):
    h = apply(name, U, dtype)
    slope = np.full_like(h, np.nan)
    ACTIVATIONS[name].derivative(h, slope)
    expected = [SLOPES[name](u) for u in np.array(U, dtype).tolist()]
    # h near 1 (or -1) has lost all but its last digits of 1 - h: a slope cannot be better than one rounding of 1
    np.testing.assert_allclose(slope.ravel(), expected, rtol=RELATIVE[dtype], atol=2 * ABSOLUTE[dtype])


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_zero_in_gives_the_formulas_value_and_slope(name):
    """At a kink the slope is the one from below, as the plain loop has it; sums of zeros meet it in every run with biases."""
    h = apply(name, [0.0])
    slope = np.empty_like(h)
    ACTIVATIONS[name].derivative(h, slope)
    assert h.item() == pytest.approx(FORMULAS[name](0.0), abs=1e-16)
    assert slope.item() == pytest.approx(SLOPES[name](0.0), abs=1e-16)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_runs_beside_the_slice_are_left_alone(name):
    layers = np.random.default_rng(0).standard_normal((3, 5, 4))  # batch, run, unit
    before = layers.copy()
    ACTIVATIONS[name].apply(layers[:, 1:3], watch(5), 1)
    np.testing.assert_array_equal(layers[:, [0, 3, 4]], before[:, [0, 3, 4]])
    np.testing.assert_array_equal(layers[:, 1:3].reshape(-1, 1, 1), apply(name, before[:, 1:3].ravel()))


@pytest.mark.parametrize(("dtype", "largest"), [("float64", 709.78), ("float32", 88.72)])
def test_the_logistic_overflows_where_exp_does_and_nothing_remains_of_it(dtype, largest):
    for u, overflows in [(-largest, False), (-largest * 1.0001, True), (largest * 10, False)]:
        watching, h = watch(), np.full((1, 1, 1), u, dtype)
        with watching.on():
            logistic(h, watching)
        assert watching.happened == overflows
        assert np.isfinite(h).all()
        assert h.item() == pytest.approx(1.0 if u > 0 else 0.0, abs=1e-37)
        assert not watching.spreads


@pytest.mark.parametrize(("dtype", "largest"), [("float64", 709.78), ("float32", 88.72)])
def test_softplus_overflows_where_exp_does_and_stays_infinite(dtype, largest):
    for u, overflows in [(largest, False), (largest * 1.0001, True), (-largest * 10, False)]:
        watching, h = watch(), np.full((1, 1, 1), u, dtype)
        with watching.on():
            ACTIVATIONS["softplus"].apply(h, watching, 0)
        assert watching.happened == watching.spreads == overflows
        assert np.isinf(h.item()) == overflows


@pytest.mark.parametrize("name", sorted(set(ACTIVATIONS) - {"sigmoid", "softplus"}))
def test_the_others_take_the_largest_numbers_without_an_event(name):
    watching = watch()
    h = np.array([-1e308, 1e308]).reshape(2, 1, 1)
    with watching.on():
        ACTIVATIONS[name].apply(h, watching, 0)
    assert not watching.raised
    assert not watching.happened
    assert np.isfinite(h).all()


def test_a_gate_s_logistic_blames_the_run_whichever_gate_sequence_and_unit_it_was():
    for gate, sequence, run, unit in np.ndindex(3, 2, 4, 2):
        watching, u = watch(4), np.zeros((3, 2, 4, 2))
        u[gate, sequence, run, unit] = -1000
        with watching.on():
            logistic(u, watching)
        assert np.flatnonzero(watching.hit).tolist() == [run]


def test_what_the_gates_use_is_what_the_activations_are():
    assert (ACTIVATIONS["sigmoid"].apply, ACTIVATIONS["sigmoid"].derivative) == (logistic, logistic_derivative)
    assert ACTIVATIONS["tanh"].derivative is tanh_derivative


def test_activations_are_grouped_by_consecutive_runs():
    groups = activation_groups([RunConfig(activation=name) for name in ["elu", "elu", "relu", "tanh", "tanh", "tanh"]])
    assert [(group.start, group.stop) for _, group in groups] == [(0, 2), (2, 3), (3, 6)]
    assert [activation for activation, _ in groups] == [ACTIVATIONS[name] for name in ("elu", "relu", "tanh")]


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_formulas_are_written_for_people(name):
    assert "u" in ACTIVATIONS[name].formula


def test_the_leaky_slope_is_the_published_one():
    assert LEAKY_SLOPE == 0.01
