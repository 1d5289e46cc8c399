"""Optimizer steps, clipping and schedules worked by hand, and their effect in a training."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.plain_loop import draw_pairs, initial_weights, plain_iteration
from engine import CURVES, FIELDS, OPTIMIZERS, Population, RunConfig, fitting, train
from engine.optimizers import SCHEDULES, Column, clip_norms, clip_values
from engine.watch import FloatingPointWatch

CLASSIC = {"n_iterations": 1000, "bits": 4, "hidden_size": 5}


def steps(name, gradients, dtype="float64", **constants):
    """Return the steps of one weight for gradients that arrive one after the other."""
    columns = {key: Column.of([value], dtype) for key, value in constants.items()}
    states = [np.zeros((1, 1), dtype) for _ in range(OPTIMIZERS[name].n_states)]
    made = []
    for t, gradient in enumerate(gradients, start=1):
        array = np.array([[gradient]], dtype)
        OPTIMIZERS[name].step(array, states, np.full((1, 1), np.nan, dtype), columns, t)
        made.append(array.item())
    return made


def test_sgd_by_hand():
    assert steps("sgd", [2.0, -1.0, 0.0], learning_rate=0.5) == [1.0, -0.5, 0.0]


def test_momentum_by_hand():
    # v: 2, then 0.5 * 2 - 1 = 0, then 0.5 * 0 + 4 = 4, then 0.5 * 4 + 0 = 2; the step is 0.25 v
    assert steps("momentum", [2.0, -1.0, 4.0, 0.0], learning_rate=0.25, momentum=0.5) == [0.5, 0.0, 1.0, 0.5]


def test_nesterov_by_hand():
    # v as above: 2, 0, 4, 2; the step is 0.25 (g + 0.5 v): 0.25 (2 + 1), 0.25 (-1 + 0), 0.25 (4 + 2), 0.25 (0 + 1)
    assert steps("nesterov", [2.0, -1.0, 4.0, 0.0], learning_rate=0.25, momentum=0.5) == [0.75, -0.25, 1.5, 0.25]


def test_adagrad_by_hand():
    # s: 9, then 9 + 16 = 25, then 25 + 144 = 169; the step is 2 g / (sqrt(s) + 1): 6/4, -8/6, 24/14
    expected = [1.5, -8 / 6, 24 / 14]
    assert steps("adagrad", [3.0, -4.0, 12.0], learning_rate=2.0, epsilon=1.0) == pytest.approx(expected, rel=1e-15)


def test_rmsprop_by_hand():
    # s: 16/4 = 4, then 3 + 4/4 = 4, then 3 + 0 = 3, then 2.25 + 16/4 = 6.25; the step is g / 2 / (sqrt(s) + 2):
    # 4 / 2 / 4, -2 / 2 / 4, 0, 4 / 2 / 4.5
    made = steps("rmsprop", [4.0, -2.0, 0.0, 4.0], learning_rate=0.5, rho=0.75, epsilon=2.0)
    assert made == pytest.approx([0.5, -0.25, 0.0, 4 / 9], rel=1e-15)


def test_adam_by_hand():
    # m: 2/2 = 1, then 0.5 - 1 = -0.5, then -0.25; freed of the start: / (1 - 0.5) = 2, / 0.75 = -2/3, / 0.875 = -2/7
    # s: 4/4 = 1, then 0.75 + 1 = 1.75, then 1.3125; freed: / (1 - 0.75) = 4, / 0.4375 = 4, / 0.578125 = 84/37
    # the step is m' / (sqrt(s') + 1)
    made = steps("adam", [2.0, -2.0, 0.0], learning_rate=1.0, beta1=0.5, beta2=0.75, epsilon=1.0)
    assert made == pytest.approx([2 / 3, -2 / 9, -2 / 7 / (math.sqrt(84 / 37) + 1)], rel=1e-15)


@pytest.mark.parametrize("name", ["momentum", "nesterov"])
def test_momentum_zero_is_sgd(name):
    gradients = [0.3, -1.7, 2.9]
    assert steps(name, gradients, learning_rate=0.1, momentum=0.0) == steps("sgd", gradients, learning_rate=0.1)


def test_adams_first_step_is_the_learning_rate_whatever_the_gradient():
    """m' = g and s' = g^2 then; with the default constants 1 - beta2 = 0.001 has to cancel."""
    for gradient in (1e-3, -2.0, 1e4):
        for dtype, tolerance in (("float64", 1e-14), ("float32", 3e-7)):  # some roundings of 1.1e-16 or 6e-8
            (step,) = steps("adam", [gradient], dtype, learning_rate=0.1, beta1=0.9, beta2=0.999, epsilon=0.0)
            assert step == pytest.approx(math.copysign(0.1, gradient), rel=tolerance)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_float32_steps_are_those_of_float64_to_one_in_a_million(name):
    """Were 1 - 0.999 worked out in float32, Adam's steps would be wrong by 6 in a million."""
    gradients = np.random.default_rng(0).uniform(1, 2, 20).astype("float32")  # of one sign: nothing cancels
    usual = {"momentum": 0.9, "rho": 0.9, "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8}
    constants = {"learning_rate": 0.1} | {key: usual[key] for key in OPTIMIZERS[name].constants}
    assert steps(name, gradients, "float32", **constants) == pytest.approx(steps(name, gradients, **constants), rel=1e-6)


def test_a_column_keeps_what_its_value_lacks_to_1():
    column = Column.of([0.999, 0.9], "float32")
    np.testing.assert_array_equal(column.rest, np.array([[0.001], [0.1]], "float32"))
    np.testing.assert_array_equal(column.value, np.array([[0.999], [0.9]], "float32"))
    assert column.exact.dtype == np.float64
    assert column.value.dtype == column.rest.dtype == np.float32


def test_constants_are_fields_of_a_config_that_belong_to_the_optimizer():
    assert set(FIELDS["optimizer"].choices) == set(OPTIMIZERS)
    for name, optimizer in OPTIMIZERS.items():
        fields = {field for field in FIELDS if FIELDS[field].needs and FIELDS[field].needs[0] == "optimizer"}
        assert {field for field in fields if FIELDS[field].applies({"optimizer": name})} == set(optimizer.constants)


# In a training


def reference_weights(config, weights, pairs):
    """Yield the weights after each update: the sources' formulas, a gradient of the plain loop, one array after the other."""
    sums = [[np.zeros_like(w), np.zeros_like(w)] for w in weights]
    for t, pair in enumerate(pairs, start=1):
        rate = config.learning_rate * schedule(config, t - 1)
        gradient = flat_gradient(weights, config, pair)
        if config.clip_value is not None:
            gradient = [np.minimum(np.maximum(g, -config.clip_value), config.clip_value) for g in gradient]
        length = math.sqrt(sum((g**2).sum() for g in gradient))
        if config.clip_norm is not None and length > config.clip_norm:
            gradient = [g * config.clip_norm / length for g in gradient]
        weights = [w - rate * direction(config, g, s, t) for w, g, s in zip(weights, gradient, sums, strict=True)]
        yield weights


def direction(config, g, sums, t):
    """Return the step at a learning rate of 1."""
    if config.optimizer in ("momentum", "nesterov"):
        sums[0] = config.momentum * sums[0] + g
        return sums[0] if config.optimizer == "momentum" else g + config.momentum * sums[0]
    if config.optimizer == "adagrad":
        sums[0] = sums[0] + g**2
        return g / (np.sqrt(sums[0]) + config.epsilon)
    if config.optimizer == "rmsprop":
        sums[0] = config.rho * sums[0] + (1 - config.rho) * g**2
        return g / (np.sqrt(sums[0]) + config.epsilon)
    if config.optimizer == "adam":
        sums[0] = config.beta1 * sums[0] + (1 - config.beta1) * g
        sums[1] = config.beta2 * sums[1] + (1 - config.beta2) * g**2
        return sums[0] / (1 - config.beta1**t) / (np.sqrt(sums[1] / (1 - config.beta2**t)) + config.epsilon)
    return g


def schedule(config, done):
    if config.schedule == "step":
        return config.schedule_factor ** (done // config.schedule_every)
    return (1 + math.cos(math.pi * done / config.n_iterations)) / 2 if config.schedule == "cosine" else 1.0


def flat_gradient(weights, config, pair):
    """Return the plain loop's gradient for one addition: what a step of learning rate 1 takes away."""
    after = [w.copy() for w in weights]
    plain_iteration(config.replace(learning_rate=1.0), after, *pair)
    return [before - w for before, w in zip(weights, after, strict=True)]


def flat(weights):
    return np.concatenate([w.ravel() for w in weights])


OWN = {"momentum": 0.8, "rho": 0.7, "beta1": 0.6, "beta2": 0.95, "epsilon": 0.01}
CHANGES = [
    {},
    {"clip_norm": 0.1},
    {"clip_value": 0.05},
    {"clip_norm": 0.2, "clip_value": 0.1},
    {"schedule": "step", "schedule_every": 3, "schedule_factor": 0.5},
    {"schedule": "cosine", "n_iterations": 10},
]


@pytest.mark.parametrize("changes", CHANGES, ids=str)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_steps_of_a_run_are_those_worked_out_from_the_plain_loops_gradients(name, changes):
    config = RunConfig(**fitting(CLASSIC | {"optimizer": name, "learning_rate": 0.3, "seed": 4} | OWN | changes))
    population, n_steps = Population([config]), 8
    for weights in reference_weights(config, initial_weights(config), draw_pairs(config, n_steps)):
        population.advance(1)
        # differences of weights of about 1 are exact to 2e-16, adagrad and its heirs divide them by at least 0.01
        np.testing.assert_allclose(population.parameters[0], flat(weights), rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_every_constant_is_each_runs_own(name, dtype):
    """One population in which each constant takes three values, one at a time; each run has the bits that it has alone."""
    base = fitting(CLASSIC | {"optimizer": name, "dtype": dtype, "clip_norm": 0.5, "clip_value": 0.2, "n_iterations": 12} | OWN)
    varied = {
        "learning_rate": (0.01, 1.0),
        "clip_norm": (0.01, 0.1),
        "clip_value": (0.001, 0.01),
        "schedule": ("step", "cosine"),
    }
    varied |= {constant: (0.05, 0.5) for constant in OPTIMIZERS[name].constants}
    configs = [RunConfig(**base)] + [RunConfig(**base | {key: value}) for key, pair in varied.items() for value in pair]
    together = Population(configs).advance(12).results()
    assert len({result.fingerprint for result in together.values()}) == len(configs)  # each constant means something
    for place, config in enumerate(configs):
        (alone,) = train([config])
        assert alone.fingerprint == together[place].fingerprint
        assert alone.curves.tobytes() == together[place].curves.tobytes()


# Clipping


def clipped(rows, limits):
    rows = np.array(rows, float)
    watch = FloatingPointWatch(np.zeros(len(rows), bool))
    with watch.on():
        clip_norms(rows, np.array(limits, float)[:, None], np.empty_like(rows), watch)
    return rows, watch


def test_clipping_by_norm_by_hand():
    # lengths 5, 5 and 0; limits 2.5, 10 and 1
    rows, watch = clipped([[3, -4], [3, -4], [0, 0]], [2.5, 10, 1])
    np.testing.assert_array_equal(rows, [[1.5, -2], [3, -4], [0, 0]])
    assert not watch.happened


def test_clipping_by_norm_meets_overflow_where_squares_do():
    rows, watch = clipped([[1e200, 1], [3, -4]], [1, 10])
    assert watch.hit.tolist() == [True, False]
    np.testing.assert_array_equal(rows[1], [3, -4])


@pytest.mark.parametrize("gradient", [[1e20, 0, 0, 0], [1.5e19] * 4], ids=["a square", "their sum"])
def test_float32_squares_overflow_one_by_one_or_as_a_sum(gradient):
    """Float32 ends at 3.4e38; (1.5e19)**2 is 2.25e38."""
    rows = np.array([gradient, [3, -4, 0, 0], [9e18] * 4], "float32")
    watch = FloatingPointWatch(np.zeros(3, bool))
    with watch.on():
        clip_norms(rows, np.full((3, 1), 10, "float32"), np.empty_like(rows), watch)
    assert watch.hit.tolist() == [True, False, False]
    np.testing.assert_array_equal(rows[1:], np.array([[3, -4, 0, 0], [5, 5, 5, 5]], "float32"))


def test_clipping_by_value_by_hand():
    rows = np.array([[3, -4, 0.5], [3, -4, np.nan]])
    clip_values(rows, np.array([[1.0], [3.5]]))
    np.testing.assert_array_equal(rows, [[1, -1, 0.5], [3, -3.5, np.nan]])


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


# Schedules


def rates(n, **settings):
    config = RunConfig(**settings)
    return [SCHEDULES[config.schedule](config, done) for done in range(n)]


def test_schedules_by_hand():
    assert rates(3) == [1, 1, 1]
    # two updates at the full rate, two at a quarter, then a sixteenth
    assert rates(5, schedule="step", schedule_every=2, schedule_factor=0.25) == [1, 1, 1 / 4, 1 / 4, 1 / 16]
    # cos 0, 45, 90, 135 degrees; after the last update it would be 0
    half = math.sqrt(2) / 4
    assert rates(5, schedule="cosine", n_iterations=4) == pytest.approx([1, 0.5 + half, 0.5, 0.5 - half, 0], abs=1e-15)
    assert set(FIELDS["schedule"].choices) == set(SCHEDULES)


@pytest.mark.parametrize(
    ("settings", "shares"),
    [
        ({}, [1, 1, 1, 1]),
        ({"schedule": "step", "schedule_every": 2, "schedule_factor": 0.25}, [1, 1, 1 / 4, 1 / 4]),
        ({"schedule": "cosine"}, [1, 0.5 + math.sqrt(2) / 4, 0.5, 0.5 - math.sqrt(2) / 4]),
    ],
    ids=str,
)
def test_a_step_is_the_scheduled_share_of_the_gradient(settings, shares):
    config = RunConfig(**CLASSIC | {"n_iterations": 4, "learning_rate": 0.5} | settings)
    curves = Population([config, RunConfig(**CLASSIC | {"n_iterations": 4})]).advance(4).results()[0].curves
    norm, ratio, weights = (curves[:, CURVES.index(name)] for name in ("gradient_norm", "update_ratio", "weight_norm"))
    np.testing.assert_allclose(ratio * weights / norm, 0.5 * np.array(shares), rtol=1e-12)
