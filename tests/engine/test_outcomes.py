"""Verdicts: real runs that show each of them, and both sides of every threshold."""

import math

import numpy as np
import pytest

from engine import CURVES, OUTCOMES, TASKS, Population, RunConfig, train
from engine.outcomes import (
    DIVERGED_OF_BASELINE,
    DIVERGED_OF_START,
    LEARNED_SHARE,
    SOLVED_ACCURACY,
    UNSTABLE_GAIN,
    UNSTABLE_LOST,
    judge,
    smoothed,
)

SEEDS = range(1, 11)
NAN, INF = math.nan, math.inf


def train_seeds(**settings):
    """Return the results of ten runs of the classic exercise with some settings changed, in order of their seeds."""
    configs = [RunConfig(seed=seed, **settings) for seed in SEEDS]
    results = Population(configs).advance(configs[0].n_iterations).results()
    return [results[place] for place in range(len(configs))]


def loss_curve(result):
    return result.curves[:, CURVES.index("loss")]


BASELINE = TASKS["binary_addition"].baseline(RunConfig())
REAL_RUNS = [
    # outcome, how many of ten seeds must show it (in brackets: did, when this was written), settings
    ("solved", 8, {"learning_rate": 1.0, "n_iterations": 2000}),  # (10)
    ("learning", 6, {"n_iterations": 2000}),  # (9)
    ("stalled", 10, {"weight_init_std": 0.0, "n_iterations": 1000}),  # (10): equal units get equal gradients of 0
    ("stalled", 10, {"learning_rate": 1e-6, "n_iterations": 1000}),  # (10)
    ("unstable", 1, {"learning_rate": 5.0, "n_iterations": 2000}),  # (4)
    ("diverged", 8, {"learning_rate": 100.0, "n_iterations": 1000}),  # (10)
    ("overflow", 9, {"activation": "relu", "n_iterations": 100}),  # (10)
    ("overflow", 8, {"activation": "softplus", "n_iterations": 100}),  # (10)
]


@pytest.mark.parametrize(("outcome", "at_least", "settings"), REAL_RUNS, ids=lambda value: str(value))
def test_real_runs_end_like_this(outcome, at_least, settings):
    results = [result for result in train_seeds(**settings) if result.outcome == outcome]
    assert len(results) >= at_least
    for result in results:
        CONFIRMED[outcome](result)


def confirm_solved(result):
    assert result.accuracy >= 0.99
    assert loss_curve(result)[-10:].mean() < 0.3 * BASELINE


def confirm_learning(result):
    assert loss_curve(result)[-5:].mean() < 0.9 * BASELINE
    assert result.accuracy < 0.99


def confirm_stalled(result):
    # 100 windows of 10 samples, each with a standard deviation of about 0.4: the mean is good to 0.05 or so
    assert loss_curve(result).mean() > 0.85 * BASELINE
    assert loss_curve(result)[-20:].mean() > 0.85 * BASELINE


def confirm_unstable(result):
    losses, end = loss_curve(result), loss_curve(result)[-5:].mean()
    best = min(losses[i : i + 5].mean() for i in range(95))
    assert best < 0.75 * BASELINE
    assert end - best > 0.5 * (BASELINE - best)
    assert np.isfinite(losses).all()
    assert result.overflow is None


def confirm_diverged(result):
    assert loss_curve(result)[-5:].mean() > 1.5 * BASELINE
    assert np.isfinite(result.curves).all()
    assert result.overflow is None


def confirm_overflow(result):
    assert result.overflow.count >= 1
    assert result.accuracy < 0.5


CONFIRMED = {
    "solved": confirm_solved,
    "learning": confirm_learning,
    "stalled": confirm_stalled,
    "unstable": confirm_unstable,
    "diverged": confirm_diverged,
    "overflow": confirm_overflow,
}
"""What the raw curves must look like: written down apart from `judge`."""


def test_every_outcome_is_shown_by_a_real_run():
    assert {outcome for outcome, _, _ in REAL_RUNS} == set(CONFIRMED) == set(OUTCOMES)


def test_most_relu_runs_overflow_although_no_weight_ever_does():
    results = train_seeds(activation="relu", n_iterations=100)
    assert all(result.evidence["weights_finite"] for result in results)
    assert sum("numbers overflowed" in result.reason for result in results) >= 9


def test_the_classic_setting_learns_to_add():
    results = train_seeds()
    assert sum(result.accuracy >= 0.99 for result in results) >= 9
    for result in results:
        # a network that always answers 1/2 scores 8 steps x 1/2 x 1/4 = 1; random weights make it somewhat worse, and 100
        # samples scatter by some percent
        assert 0.9 < loss_curve(result)[0] < 1.5
        assert result.curves[0, CURVES.index("iteration")] == 100
    # a slow seed may end near 0.2 although every rounded bit is right
    assert sum(result.final_loss < 0.05 for result in results) >= 8
    assert all(result.overflow is None for result in results)


def verdict(overflowed=False, died=False, **evidence):
    classic = {"start_loss": 1.0, "final_loss": 1.0, "best_loss": 1.0, "baseline": 1.0, "accuracy": 0.0}
    classic["held_out_loss"] = evidence.get("final_loss", 1.0)
    outcome, reason = judge(classic | evidence, overflowed=overflowed, died=died)
    assert reason
    return outcome


BELOW, ABOVE = 1 - 1e-9, 1 + 1e-9


@pytest.mark.parametrize(
    ("evidence", "outcome"),
    [
        ({}, "stalled"),
        ({"accuracy": SOLVED_ACCURACY}, "solved"),
        ({"accuracy": SOLVED_ACCURACY * BELOW}, "stalled"),
        ({"final_loss": LEARNED_SHARE * BELOW, "best_loss": 0.8}, "learning"),
        ({"final_loss": LEARNED_SHARE, "best_loss": 0.8}, "stalled"),
        # baseline 2: everything is relative to it
        ({"baseline": 2.0, "final_loss": 2 * LEARNED_SHARE * BELOW, "best_loss": 1.7}, "learning"),
        ({"baseline": 2.0, "final_loss": 2 * LEARNED_SHARE, "best_loss": 1.7}, "stalled"),
        # a quarter of the baseline had been won, and all is lost again
        ({"best_loss": 1 - UNSTABLE_GAIN}, "unstable"),
        ({"best_loss": (1 - UNSTABLE_GAIN) * ABOVE}, "stalled"),
        ({"baseline": 2.0, "final_loss": 2.0, "best_loss": 2 * (1 - UNSTABLE_GAIN)}, "unstable"),
        # everything had been won; the rest is how much of it went back
        ({"best_loss": 0.0, "final_loss": UNSTABLE_LOST}, "learning"),
        ({"best_loss": 0.0, "final_loss": UNSTABLE_LOST * ABOVE}, "unstable"),
        # far above the baseline, from a start at it
        ({"final_loss": DIVERGED_OF_BASELINE}, "diverged"),
        ({"final_loss": DIVERGED_OF_BASELINE * BELOW}, "stalled"),
        # far above the baseline, from a start that was high already
        ({"final_loss": 2 * DIVERGED_OF_START, "start_loss": 2.0}, "diverged"),
        ({"final_loss": 2 * DIVERGED_OF_START * BELOW, "start_loss": 2.0}, "stalled"),
        # learned first, diverged then: it lost what it had
        ({"final_loss": 2.0, "best_loss": 0.1}, "unstable"),
    ],
)
def test_both_sides_of_every_threshold(evidence, outcome):
    assert verdict(**evidence) == outcome


@pytest.mark.parametrize(
    ("evidence", "overflowed", "died", "outcome"),
    [
        ({"accuracy": 1.0}, True, False, "solved"),
        ({"final_loss": 0.5, "best_loss": 0.5}, True, False, "learning"),
        ({}, True, False, "overflow"),
        ({"final_loss": 2.0}, True, False, "overflow"),
        ({"best_loss": 0.1}, True, False, "overflow"),
        ({"accuracy": 1.0}, True, True, "overflow"),
        ({"final_loss": NAN, "best_loss": 0.1}, True, True, "overflow"),
        ({"final_loss": INF, "best_loss": NAN}, False, True, "overflow"),
        ({"final_loss": NAN, "best_loss": 1.0}, False, False, "overflow"),
    ],
)
def test_an_overflow_decides_only_over_runs_that_did_not_learn_and_death_always(evidence, overflowed, died, outcome):
    assert verdict(overflowed, died, **evidence) == outcome


def test_reasons_name_their_numbers():
    evidence = {
        "start_loss": 1.25,
        "held_out_loss": 2.5,
        "final_loss": 2.5,
        "best_loss": 0.125,
        "baseline": 1.0,
        "accuracy": 0.995,
    }
    assert judge(evidence, overflowed=False, died=False)[1] == "99.5% of the held-out samples are right"
    evidence["accuracy"] = 0.1
    assert judge(evidence, overflowed=False, died=False)[1] == "loss had come down to 0.125 and went back to 2.5"
    evidence["best_loss"] = 1.0
    assert judge(evidence, overflowed=False, died=False)[1].startswith("loss rose from 1.25 to 2.5, far above")


@pytest.mark.parametrize(
    ("losses", "share", "least", "expected"),
    [
        ([], 0.5, 1, []),
        ([3.0], 0.5, 1, [3.0]),
        ([1.0, 3.0, 5.0, 7.0], 0.5, 1, [2, 4, 6]),  # means over two points
        ([1.0, 3.0, 5.0, 7.0], 0.75, 1, [3, 5]),  # over three
        ([1.0, 3.0, 5.0, 7.0], 0.01, 1, [1, 3, 5, 7]),  # never less than one
        ([1.0, 3.0, 5.0, 7.0], 0.01, 3, [3, 5]),  # nor than asked for
        ([1.0, 3.0, 5.0, 7.0], 0.5, 9, [4]),  # nor more than there are
        ([1.0, NAN, 3.0, 5.0], 0.5, 1, [NAN, NAN, 4]),
        ([1.0, INF, 3.0, 5.0], 0.5, 1, [INF, INF, 4]),
        ([INF, NAN, 3.0, 5.0], 0.5, 1, [NAN, NAN, 4]),
        ([INF, -INF, 3.0, 5.0], 0.5, 1, [NAN, -INF, 4]),
        ([1.5e308, 1.5e308, 1.0, 1.0], 0.5, 1, [1.5e308, 7.5e307, 1]),  # their sum would overflow
    ],
)
def test_smoothed_by_hand(losses, share, least, expected):
    np.testing.assert_array_equal(smoothed(losses, share, least), expected)


def test_smoothing_covers_5_percent_of_the_points():
    losses = [0.0] * 95 + [1.0, 2.0, 3.0, 4.0, 5.0]
    assert smoothed(losses)[-1] == 3.0
    assert smoothed(losses)[-2] == (0 + 1 + 2 + 3 + 4) / 5


@pytest.mark.parametrize(("n_iterations", "width"), [(50, 50), (200, 50), (1000, 10), (10_000, 5)])
def test_averages_cover_at_least_100_samples_or_the_whole_run(n_iterations, width):
    (result,) = Population([RunConfig(n_iterations=n_iterations, hidden_size=4)]).advance(n_iterations).results().values()
    windows = loss_curve(result)
    means = [windows[end - width : end].mean() for end in range(width, len(windows) + 1)]
    assert result.final_loss == pytest.approx(means[-1], rel=1e-14)
    assert result.best_loss == pytest.approx(min(means), rel=1e-14)


@pytest.mark.parametrize("n_iterations", [1, 20, 100, 200])
def test_a_network_that_cannot_learn_is_called_stalled_however_short_the_run(n_iterations):
    configs = [RunConfig(seed=s, learning_rate=1e-12, n_iterations=n_iterations, weight_init_std=0.5) for s in range(200)]
    outcomes = [result.outcome for result in Population(configs).advance(n_iterations).results().values()]
    assert outcomes.count("stalled") >= 198


def test_results_carry_the_evidence_behind_their_outcome():
    result = train_seeds(n_iterations=200)[0]
    assert result.final_loss == result.evidence["final_loss"]
    assert result.best_loss == result.evidence["best_loss"]
    assert result.evidence["held_out_loss"] == pytest.approx(result.final_loss, abs=0.2)
    assert result.evidence["baseline"] == BASELINE
    assert result.evidence["accuracy"] == result.accuracy
    assert result.evidence["overflow_iterations"] == 0
    assert result.evidence["weights_finite"] is True
    assert result.evidence["start_loss"] == pytest.approx(1.0, abs=0.7)


@pytest.mark.parametrize("seed", range(1, 6))
def test_what_is_learned_by_heart_was_never_won_and_so_cannot_be_lost(seed):
    """Ten samples again and again: the training loss falls to a hundredth, fresh samples stay near guessing all the time."""
    (run,) = train([RunConfig(seed=seed, pool_size=10, bits=4, n_iterations=2000, learning_rate=0.5)])
    assert run.best_loss < 0.03 * run.evidence["baseline"]
    assert run.evidence["best_loss"] > 0.75 * run.evidence["baseline"]
    assert abs(run.evidence["final_loss"] - run.evidence["held_out_loss"]) < 0.15 * run.evidence["baseline"]
    assert run.outcome in ("stalled", "learning")
