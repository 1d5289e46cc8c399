import dataclasses
import math
import statistics

import numpy as np
import pytest
from scipy.stats import binomtest

from engine import CURVES, TASKS, RunConfig, train
from studies.objectives import LOST, OBJECTIVES, WORST, summarize, wilson

CONFIGS = {
    "solved": RunConfig(
        bits=2, batch_size=16, optimizer="adam", learning_rate=0.03, hidden_size=16, bias=True, n_iterations=1000
    ),
    "stalled": RunConfig(n_iterations=100),
    "diverged": RunConfig(learning_rate=100.0, n_iterations=100),
    "overflow": RunConfig(activation="linear", dtype="float32", weight_init_std=1e6, n_iterations=100),
}


@pytest.fixture(scope="module")
def trained():
    """One real result of each kind, under its outcome."""
    found = dict(zip(CONFIGS, train(list(CONFIGS.values())), strict=True))
    assert {name: result.outcome for name, result in found.items()} == {name: name for name in CONFIGS}
    assert math.isnan(found["overflow"].final_loss)
    assert not found["overflow"].evidence["weights_finite"]
    return found


def of(name, result):
    return OBJECTIVES[name].of(result)


@pytest.mark.parametrize("outcome", CONFIGS)
@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_objective_of_every_outcome_is_a_finite_float(name, outcome, trained):
    value = of(name, trained[outcome])
    assert type(value) is float
    assert math.isfinite(value)
    assert value >= 0


def test_runs_that_trained_count_with_what_they_came_to(trained):
    for result in (trained["solved"], trained["stalled"], trained["diverged"]):
        assert of("final_loss", result) == result.final_loss
        assert of("held_out_loss", result) == result.evidence["held_out_loss"]
        assert of("best_loss", result) == result.best_loss
        assert of("accuracy", result) == result.accuracy
    assert of("accuracy", trained["solved"]) == 1


@pytest.mark.parametrize("name", ["final_loss", "held_out_loss", "best_loss"])
def test_a_lost_run_scores_the_worst_there_is_and_every_other_run_no_worse(name, trained):
    lost = trained["overflow"]
    worst = 10 * lost.evidence["baseline"]
    assert (of(name, lost), of("accuracy", lost)) == (worst, 0)
    assert all(of(name, result) < worst for outcome, result in trained.items() if outcome != "overflow")


@pytest.mark.parametrize("name", ["final_loss", "held_out_loss", "best_loss"])
def test_a_run_that_dies_while_its_losses_are_finite_scores_the_worst_there_is(name):
    """Its weights overflow in its first update, right after a lucky sample: without a cap it would be the best of all."""
    (dead,) = train([RunConfig(activation="softplus", bits=2, dtype="float32", weight_init_std=30.0, learning_rate=1e6)])
    assert (dead.iterations, dead.outcome, dead.final_loss < 1e-20) == (1, "overflow", True)
    assert of(name, dead) == 10 * dead.evidence["baseline"]


@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf, 1e300, 10.000001])
def test_losses_are_capped_at_some_times_the_baseline(loss, trained):
    result = trained["stalled"]
    changed = dataclasses.replace(
        result, final_loss=loss, best_loss=loss, accuracy=math.nan, evidence={"baseline": 1.0, "held_out_loss": loss}
    )
    assert {of(name, changed) for name in ("final_loss", "best_loss", "held_out_loss")} == {WORST}
    assert of("accuracy", changed) == 0
    under = dataclasses.replace(result, final_loss=9.75, evidence={"baseline": 1.0})
    assert of("final_loss", under) == 9.75
    assert of("final_loss", dataclasses.replace(under, evidence={"baseline": 0.5})) == 5


def curve(points):
    rows = np.zeros((len(points), len(CURVES)))
    for row, (iteration, accuracy) in zip(rows, points, strict=True):
        row[CURVES.index("iteration")], row[CURVES.index("accuracy")] = iteration, accuracy
    return rows


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        ([(1, 0.5), (30, 0.99), (60, 0.2), (100, 1)], 30),
        ([(1, 0.5), (30, 0.9899), (100, 0.995)], 100),
        ([(1, 0.5), (100, 0.98)], 200),
        ([(1, math.nan), (100, math.nan)], 200),
        ([], 200),
    ],
)
def test_iterations_to_solve_by_hand(points, expected, trained):
    assert of("iterations_to_solve", dataclasses.replace(trained["stalled"], curves=curve(points))) == expected


def test_iterations_to_solve_of_real_runs(trained):
    assert [of("iterations_to_solve", trained[name]) for name in ("stalled", "diverged", "overflow")] == [200] * 3
    solved = trained["solved"]
    rows = [dict(zip(CURVES, row, strict=True)) for row in solved.curves]
    first = next(row["iteration"] for row in rows if row["accuracy"] >= 0.99)
    assert of("iterations_to_solve", solved) == first < 1000


def test_the_cost_by_hand(trained):
    assert of("cost", trained["stalled"]) == (16 * (2 + 16 + 1)) * 8 * 1 * 100
    config = CONFIGS["solved"]
    assert of("cost", trained["solved"]) == trained["solved"].n_parameters * TASKS[config.task].n_steps(config) * 16 * 1000


def test_only_accuracy_is_made_large():
    assert [name for name, objective in OBJECTIVES.items() if objective.direction != "minimize"] == ["accuracy"]
    assert OBJECTIVES["accuracy"].direction == "maximize"


def test_a_trial_of_some_seeds_by_hand(trained):
    losses, shares = [1.0, 2.0, 6.0], [0.5, 0.25, 0.75]
    results = [
        dataclasses.replace(trained["stalled"], final_loss=loss, accuracy=share, outcome=outcome, evidence={"baseline": 1.0})
        for loss, share, outcome in zip(losses, shares, ("stalled", "diverged", "overflow"), strict=True)
    ]
    summary = summarize(results, ("final_loss", "accuracy"))
    assert summary.values == (3.0, 0.5)
    assert summary.medians == (2.0, 0.5)
    assert summary.spreads == pytest.approx((math.sqrt(7), 0.25))
    assert (summary.n, summary.n_lost) == (3, 2)
    interval = binomtest(2, 3).proportion_ci(method="wilson")
    assert (summary.lost_low, summary.lost_high) == pytest.approx(tuple(interval))


@pytest.mark.parametrize(
    ("outcomes", "most"),
    [
        (["stalled", "diverged", "diverged"], "diverged"),
        (["overflow", "solved"], "solved"),
        (["overflow", "diverged", "stalled", "overflow", "stalled"], "stalled"),
        (["unstable"], "unstable"),
    ],
)
def test_a_trial_s_outcome_is_the_most_frequent_one_and_of_equal_ones_the_better(outcomes, most, trained):
    summary = summarize([dataclasses.replace(trained["stalled"], outcome=name) for name in outcomes], ("final_loss",))
    assert (summary.outcome, summary.state, summary.rungs, summary.pruned_at) == (most, "complete", (), ())


def test_a_trial_of_one_seed_has_no_spread(trained):
    for outcome, result in trained.items():
        summary = summarize([result], ("best_loss",))
        assert summary.values == summary.medians == (of("best_loss", result),)
        assert (summary.spreads, summary.n, summary.n_lost) == ((0.0,), 1, int(outcome in LOST))


def test_a_trial_over_real_outcomes_is_finite_and_counts_the_lost_ones(trained):
    summary = summarize(list(trained.values()), tuple(OBJECTIVES))
    for name, mean, median in zip(OBJECTIVES, summary.values, summary.medians, strict=True):
        column = [of(name, result) for result in trained.values()]
        assert mean == pytest.approx(sum(column) / 4)
        assert median == statistics.median(column)
    assert summary.n_lost == 2


def test_the_interval_of_a_share_is_scipy_s():
    random = np.random.default_rng(1)
    cases = [(0, 1), (1, 1), (0, 1000), (1000, 1000)]
    cases += [(int(random.integers(0, n + 1)), int(n)) for n in random.integers(1, 1000, 60)]
    for n_hits, n in cases:
        assert wilson(n_hits, n) == pytest.approx(tuple(binomtest(n_hits, n).proportion_ci(method="wilson")), abs=1e-12)
        assert 0 <= wilson(n_hits, n)[0] <= n_hits / n <= wilson(n_hits, n)[1] <= 1


def test_nothing_is_known_of_a_share_of_nothing():
    assert wilson(0, 0) == (0, 1)
