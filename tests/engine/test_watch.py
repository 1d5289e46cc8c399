"""A run reports a floating-point event exactly when NumPy warns about the exercise's plain loop; nothing is printed."""

import warnings

import numpy as np
import pytest

from benchmarks.plain_loop import draw_pairs, initial_weights, plain_iteration, train_plainly, warns
from engine import CURVES, Overflow, Population, RunConfig
from engine.layout import unpack
from engine.network import parameter_shapes
from engine.watch import KINDS, PHASES, FloatingPointWatch


@pytest.fixture(autouse=True)
def _nothing_is_printed_or_changed(capfd):
    before = np.geterr()
    yield
    assert capfd.readouterr() == ("", "")
    assert np.geterr() == before


def compare_in_step(configs, n_iterations):
    """Train a population, and before each update let the plain loop make the same update from the same weights.

    Rounding differs in the last digit and relu makes it grow, so two free trainings would part ways for good reason.
    Returns how many iterations of single runs were compared, and in how many of them NumPy warned.
    """
    population, pairs = Population(configs), [draw_pairs(config, n_iterations) for config in configs]
    n_compared, n_warned = 0, 0
    for i in range(n_iterations):
        weights = {run: population.parameters[population.rows.index(run)].copy() for run in population.active}
        counts = population.events["count"].copy()
        population.advance(1)
        for run, flat in weights.items():
            _, warned = warns(plain_iteration, configs[run], initial_weights(configs[run], flat), *pairs[run][i])
            grew = population.events["count"][run] - counts[run]
            assert grew == warned, f"iteration {i + 1}: NumPy warned {warned}, events grew by {grew}; {configs[run]}"
            n_compared, n_warned = n_compared + 1, n_warned + warned
    return n_compared, n_warned


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_relu_reports_an_event_exactly_when_numpy_warns(dtype):
    configs = [
        RunConfig(activation="relu", weight_init_std=1.0, dtype=dtype, seed=seed, n_iterations=150) for seed in range(50)
    ]
    n_compared, n_warned = compare_in_step(configs, 150)
    assert n_compared == 50 * 150
    assert 100 < n_warned < n_compared - 100  # both answers are put to the test


@pytest.mark.parametrize(
    ("activation", "settings"),
    [
        ("linear", {"weight_init_std": 1.0}),
        ("linear", {"weight_init_std": 1.0, "dtype": "float32"}),
        ("leaky_relu", {"weight_init_std": 1.0}),
        ("leaky_relu", {"weight_init_std": 1.0, "dtype": "float32", "learning_rate": 1.0}),
        ("sigmoid", {"weight_init_std": 1000.0}),
        ("sigmoid", {"weight_init_std": 30.0, "dtype": "float32"}),
        ("tanh", {"weight_init_std": 300.0}),
        ("relu", {"weight_init_std": 3e4, "dtype": "float32"}),
        ("linear", {"weight_init_std": 0.5, "dtype": "float32", "learning_rate": 1e6}),
    ],
    ids=str,
)
def test_other_activations_report_an_event_exactly_when_numpy_warns(activation, settings):
    configs = [RunConfig(activation=activation, seed=seed, n_iterations=60, **settings) for seed in range(8)]
    _, n_warned = compare_in_step(configs, 60)
    assert n_warned >= 8


def test_the_classic_exercise_meets_no_event():
    assert compare_in_step([RunConfig(seed=seed, n_iterations=60) for seed in range(8)], 60) == (480, 0)


def test_the_first_event_of_a_free_training_is_the_plain_loops():
    """Over 50 updates in float64 rounding has not grown enough to move a first event."""
    configs = [RunConfig(activation="relu", seed=seed, n_iterations=50) for seed in range(50)]
    population = Population(configs).advance(50)
    first = []
    for run, config in enumerate(configs):
        _, warned, _ = train_plainly(config, 50)
        first.append(warned[0] if warned else 0)
        overflow = population.results()[run].overflow
        assert (overflow.iteration if overflow else 0) == first[-1], f"seed {config.seed}"
    assert first.count(0) >= 3  # some run without an event,
    assert first.count(1) >= 3  # some meet theirs at once,
    assert sum(iteration > 1 for iteration in first) >= 10  # and some only after updates


def test_an_event_counts_iterations_and_remembers_only_the_first():
    config = RunConfig(weight_init_std=1000.0, n_iterations=60)
    _, warned, _ = train_plainly(config, 60)
    result = Population([config]).advance(60).results()[0]
    assert result.overflow == Overflow(warned[0], "forward", "overflow", len(warned))
    assert len(warned) > 1


def test_a_clean_run_beside_overflowing_ones_reports_nothing():
    loud = [RunConfig(activation="relu", weight_init_std=5.0, seed=seed, n_iterations=20) for seed in range(5)]
    quiet = RunConfig(n_iterations=20)
    results = Population([*loud[:3], quiet, *loud[3:]]).advance(20).results()
    assert [results[i].overflow is None for i in range(6)] == [False, False, False, True, False, False]


def set_up(config, **weights):
    """Return a population of one run with the given weights everywhere, and its named parameters."""
    population = Population([config])
    for name, view in unpack(population.parameters, parameter_shapes(config)).items():
        view[...] = weights.get(name, 0.0)
    return population


FLOAT32 = RunConfig(activation="linear", bits=2, hidden_size=1, dtype="float32", n_iterations=4, bias=True, seed=1)


@pytest.mark.parametrize(
    ("settings", "weights", "phase", "kind"),
    [
        # u_2 = 1e20 * 1e20 is beyond float32's 3e38
        ({}, {"b": 1e20, "W_rec": 1e20}, "forward", "overflow"),
        # the readout's sum is 1e20 * 1e20 or its negative; the logistic makes 1 or 0 of that
        ({}, {"b": 1e20, "W_out": 1e20}, "forward", "overflow"),
        ({}, {"b": 1e20, "W_out": -1e20}, "forward", "overflow"),
        # h stays 0 and y 1/2, but delta_1 = delta_2 W_rec holds 1e20 * 1e20
        ({}, {"W_rec": 1e20, "W_out": 1e20}, "backward", "overflow"),
        # the gradient of b holds 1e34 times some tenths, times a learning rate of 1e6
        ({"learning_rate": 1e6}, {"W_out": 1e34}, "update", "overflow"),
        # the squares behind the gradient's norm hold (1e30)**2
        ({"clip_norm": 1.0}, {"W_out": 1e30}, "update", "overflow"),
    ],
    ids=["hidden", "readout", "negative readout", "delta", "step", "norm"],
)
def test_the_phase_says_where_it_happened_first(settings, weights, phase, kind):
    population = set_up(FLOAT32.replace(**settings), **weights).advance(1)
    population.stop()
    overflow = population.results()[0].overflow
    assert (overflow.iteration, overflow.phase, overflow.kind) == (1, phase, kind)


def test_an_operation_without_an_answer_is_invalid():
    """h_1 is infinite from the start without any operation overflowing; its product with W_rec is inf * 0."""
    population = set_up(FLOAT32, b=np.inf).advance(1)
    assert population.results()[0].overflow == Overflow(1, "forward", "invalid", 1)


def test_a_run_leaves_as_soon_as_its_weights_are_not_finite():
    violent = {"activation": "softplus", "weight_init_std": 0.5, "n_iterations": 60}
    configs = [RunConfig(seed=seed, learning_rate=1.0 + seed % 3, **violent) for seed in range(20)]
    population, left = Population(configs), {}
    for iteration in range(1, 61):
        population.advance(1)
        left |= {run: iteration for run in population.finished if run not in left}
        assert np.isfinite(population.parameters).all(), "a run stayed although its weights are not finite"
    results = population.results()
    died = [run for run in results if results[run].iterations < 60]
    assert len({left[run] for run in died}) >= 3  # not all at once
    assert len(died) < 20
    for run in died:
        result = results[run]
        assert result.iterations == left[run] == result.curves[-1, CURVES.index("iteration")]
        assert (result.outcome, result.status) == ("overflow", "finished")
        assert result.reason == "the weights stopped being finite numbers"
        assert result.evidence["weights_finite"] is False
        assert not np.isfinite(result.curves[-1, CURVES.index("weight_norm")])  # the numbers stay what they are
        assert np.isfinite(result.curves[:-1]).all()
        assert result.overflow.iteration <= result.iterations


def test_numbers_that_are_not_finite_stay_what_they_are():
    """Only b_out's step overflows: the loss before it is a plain number, the norms after it are not."""
    config = FLOAT32.replace(learning_rate=1e6)
    population = set_up(config, W_out=1e34).advance(4)
    result = population.results()[0]
    point = dict(zip(CURVES, result.curves[-1], strict=True))
    assert result.iterations == 1
    assert np.isfinite(point["loss"])
    assert 1e32 < point["gradient_norm"] < 1e35
    assert np.isinf(point["weight_norm"])
    assert not np.isfinite(point["update_ratio"])
    assert result.final_loss == point["loss"]


def test_overflow_does_not_warn_even_where_warnings_are_errors():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Population([RunConfig(activation="softplus", weight_init_std=1e6, n_iterations=5)]).advance(5).stop()


# The watch itself: arrays are (batch, run, unit)


def blamed(values, first_run=0, recovers=False, known=(False, False, False), phase="forward"):
    watch = FloatingPointWatch(np.array(known))
    watch.phase, watch.raised = PHASES.index(phase), True
    watch.blame(np.array(values, float), first_run, recovers)
    assert not watch.raised
    return watch


def test_only_runs_with_values_that_are_not_finite_are_blamed():
    watch = blamed([[[1, 2], [3, np.inf], [5, 6]], [[1, 2], [3, 4], [np.nan, 6]]])
    assert watch.hit.tolist() == [False, True, True]
    assert [KINDS[kind] for kind in watch.first_kind[1:]] == ["overflow", "invalid"]
    assert watch.happened
    assert watch.spreads


def test_infinity_beside_nan_is_an_overflow():
    assert KINDS[blamed([[[np.nan, np.inf], [0, 0], [0, 0]]]).first_kind[0]] == "overflow"


def test_rows_of_flat_parameters_are_traced_too():
    assert blamed([[1.0, 2.0], [-np.inf, 0.0], [0.0, 0.0]]).hit.tolist() == [False, True, False]


def test_a_slice_of_runs_is_counted_from_its_first():
    assert blamed([[[0.0], [np.inf]]], first_run=1).hit.tolist() == [False, False, True]


def test_what_recovers_does_not_spread():
    watch = blamed([[[np.inf], [0], [0]]], recovers=True)
    assert watch.happened
    assert not watch.spreads


def test_an_event_that_left_nothing_behind_is_nobodys():
    watch = blamed([[[1.0], [2.0], [3.0]]])
    assert not watch.happened
    assert not watch.hit.any()


def test_known_runs_keep_their_first_event():
    watch = blamed([[[np.inf], [np.inf], [0]]], known=(True, False, False), phase="backward")
    assert watch.hit.tolist() == [True, True, False]
    assert [PHASES[phase] for phase in watch.first_phase[:2]] == ["forward", "backward"]
    watch.phase, watch.raised = PHASES.index("update"), True
    watch.blame(np.array([[[0.0], [np.nan], [0.0]]]))
    assert (PHASES[watch.first_phase[1]], KINDS[watch.first_kind[1]]) == ("backward", "overflow")


def test_the_next_iteration_starts_clean():
    watch = blamed([[[np.inf], [0], [0]]])
    watch.next_iteration()
    assert not watch.hit.any()
    assert not watch.happened
    assert not watch.spreads
    assert watch.known.tolist() == [True, False, False]


def test_the_caller_keeps_its_own_record_of_known_runs():
    known = np.zeros(3, bool)
    watch = FloatingPointWatch(known)
    watch.blame(np.array([[[np.inf], [0.0], [0.0]]]))
    assert not known.any()


@pytest.mark.parametrize(
    ("operation", "noticed"),
    [
        (lambda: np.exp(np.array([1000.0])), True),
        (lambda: np.array([np.inf]) - np.array([np.inf]), True),
        (lambda: np.matmul(np.full((2, 2, 2), 1e200), np.full((2, 2, 2), 1e200)), True),
        (lambda: np.exp(np.array([-1000.0])), False),
        (lambda: np.array([1.0]) / np.array([0.0]), False),
        (lambda: np.array([np.nan]) + np.array([np.inf]), False),
    ],
    ids=["overflow", "invalid", "inside matmul", "underflow", "divide", "passing on"],
)
def test_overflow_and_invalid_operations_are_noticed_and_nothing_else(operation, noticed):
    watch = FloatingPointWatch(np.zeros(1, bool))
    with watch.on():
        operation()
    assert watch.raised == noticed
