"""Optimizer steps worked by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.plain_loop import draw_pairs, initial_weights, plain_iteration
from engine import FIELDS, OPTIMIZERS, Population, RunConfig
from engine.optimizers import CONSTANTS

CLASSIC = {"n_iterations": 1000, "bits": 4, "hidden_size": 5}


def steps(name, gradients, **constants):
    """Return the steps of one weight for gradients that arrive one after the other."""
    columns = {key: np.array([[value]]) for key, value in constants.items()}
    states = [np.zeros((1, 1)) for _ in range(OPTIMIZERS[name].n_states)]
    made = []
    for gradient in gradients:
        array = np.array([[gradient]])
        OPTIMIZERS[name].step(array, states, columns)
        made.append(array.item())
    return made


def flat_gradient(weights, config, pair):
    """Return the plain loop's gradient for one addition: what a step of learning rate 1 takes away."""
    after = [w.copy() for w in weights]
    plain_iteration(config.replace(learning_rate=1.0), after, *pair)
    return [before - w for before, w in zip(weights, after, strict=True)]


def flat(weights):
    return np.concatenate([w.ravel() for w in weights])


def test_sgd_takes_the_learning_rate_times_the_gradient():
    assert steps("sgd", [2.0, -1.0, 0.0], learning_rate=0.5, momentum=0.9) == [1.0, -0.5, 0.0]


def test_momentum_by_hand():
    # v: 2, then 0.5 * 2 - 1 = 0, then 0.5 * 0 + 4 = 4, then 0.5 * 4 + 0 = 2; the step is 0.25 v
    assert steps("momentum", [2.0, -1.0, 4.0, 0.0], learning_rate=0.25, momentum=0.5) == [0.5, 0.0, 1.0, 0.5]


def test_momentum_zero_is_sgd():
    gradients = [0.3, -1.7, 2.9]
    assert steps("momentum", gradients, learning_rate=0.1, momentum=0.0) == steps("sgd", gradients, learning_rate=0.1)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_constants_are_each_runs_own(name):
    gradient = np.ones((2, 3))
    states = [np.zeros((2, 3)) for _ in range(OPTIMIZERS[name].n_states)]
    OPTIMIZERS[name].step(gradient, states, {"learning_rate": np.array([[1.0], [0.5]]), "momentum": np.array([[0.9], [0.0]])})
    np.testing.assert_array_equal(gradient, [[1, 1, 1], [0.5, 0.5, 0.5]])


def test_constants_are_fields_of_a_config():
    assert set(CONSTANTS) <= set(FIELDS)
    assert set(FIELDS["optimizer"].choices) == set(OPTIMIZERS)


def test_first_steps_of_a_run_are_those_worked_out_with_the_plain_loop():
    """Three steps of momentum from the plain loop's gradients: v_1 = g_1, v_2 = 0.8 v_1 + g_2, v_3 = 0.8 v_2 + g_3."""
    config = RunConfig(optimizer="momentum", momentum=0.8, learning_rate=0.3, seed=4, **CLASSIC)
    weights, population = initial_weights(config), Population([config])
    velocity = [np.zeros_like(w) for w in weights]
    for pair in draw_pairs(config, 3):
        velocity = [0.8 * v + g for v, g in zip(velocity, flat_gradient(weights, config, pair), strict=True)]
        weights = [w - 0.3 * v for w, v in zip(weights, velocity, strict=True)]
        population.advance(1)
        # differences of weights of about 1 are exact to 2e-16, the products round in another order
        np.testing.assert_allclose(population.parameters[0], flat(weights), rtol=1e-13, atol=1e-14)


@given(st.integers(0, 10**6), st.floats(1e-3, 10.0), st.integers(1, 3))
@settings(max_examples=40, deadline=None, derandomize=True)  # derandomize: a red test always means changed code
def test_clipped_gradients_have_the_norm_asked_for_and_shorter_ones_keep_their_bits(seed, clip_norm, batch_size):
    plain = RunConfig(seed=seed, learning_rate=1.0, batch_size=batch_size, **CLASSIC)
    free, clipped = Population([plain]), Population([plain.replace(clip_norm=clip_norm)])
    start = free.parameters[0].copy()
    free, clipped = free.advance(1).parameters[0], clipped.advance(1).parameters[0]
    length = np.linalg.norm(start - free)
    if length > clip_norm:
        # the difference of two weights of about 1 is exact to 2e-16 of each, so lengths from 0.001 to 1e-12 or better
        assert np.linalg.norm(start - clipped) == pytest.approx(clip_norm, rel=1e-12)
        np.testing.assert_allclose((start - clipped) / clip_norm, (start - free) / length, atol=1e-12)
    else:
        assert clipped.tobytes() == free.tobytes()


def test_both_sides_of_the_clipping_norm_are_met_by_the_example_above():
    config = RunConfig(learning_rate=1.0, **CLASSIC)
    population = Population([config])
    start = population.parameters[0].copy()
    length = np.linalg.norm(start - population.advance(1).parameters[0])
    assert 0.01 < length < 1.0  # inside the clipping norms drawn above


def test_clipping_comes_before_momentum():
    config = RunConfig(optimizer="momentum", momentum=0.5, learning_rate=1.0, clip_norm=0.01, **CLASSIC)
    population = Population([config])
    before = population.parameters[0].copy()
    first = before - population.advance(1).parameters[0]
    before = population.parameters[0].copy()
    second = before - population.advance(1).parameters[0]
    assert np.linalg.norm(first) == pytest.approx(0.01, rel=1e-12)
    # v_2 = 0.5 v_1 + g_2 with |g_2| = 0.01: were the velocity clipped, it could not be longer than that
    assert np.linalg.norm(second - 0.5 * first) == pytest.approx(0.01, rel=1e-12)
    assert np.linalg.norm(second) > 0.0101


def test_the_clipping_norm_is_each_runs_own():
    norms = [0.001, 0.01, 1e12]
    population = Population([RunConfig(learning_rate=1.0, clip_norm=norm, **CLASSIC) for norm in norms])
    start = population.parameters.copy()
    taken = np.linalg.norm(start - population.advance(1).parameters, axis=1)
    np.testing.assert_allclose(taken[:2], norms[:2], rtol=1e-12)
    assert 0.01 < taken[2] < 1.0
