"""Advice: its numbers, against real runs of every outcome, and that whatever it says to try can be tried."""

import math
import re

import numpy as np
import pytest

from benchmarks.plain_loop import initial_weights, plain_iteration, train_plainly
from engine import (
    ACTIVATIONS,
    CELLS,
    INIT_SCHEMES,
    OPTIMIZERS,
    OUTCOMES,
    TASKS,
    Population,
    RunConfig,
    advise,
    fitting,
    train,
)
from engine.optimizers import SCHEDULES
from engine.randomness import HELD_OUT_SEED, stream

EVIDENCE = dict.fromkeys(("start_loss", "held_out_loss", "final_loss", "best_loss", "baseline", "accuracy"), 1.0)
ADAM = {"optimizer": "adam", "learning_rate": 0.01}


def advise_on(result):
    first = result.overflow.iteration if result.overflow else None
    return advise(result.config, result.outcome, result.evidence, overflow_iteration=first, iterations=result.iterations)


def made_up(config, outcome, first=None, iterations=7, **evidence):
    return advise(config, outcome, EVIDENCE | evidence, overflow_iteration=first, iterations=iterations)


def changed(config, advice):
    """Return the configs that advice leads to, each of them valid."""
    return [config.replace(**changes) for changes in advice.tries]


@pytest.mark.parametrize(
    ("outcome", "settings", "words"),
    [
        ("solved", {"learning_rate": 1.0, "n_iterations": 2000}, ["{accuracy:.1%}", "2,000 iterations"]),
        ("learning", {"n_iterations": 2000}, ["{start_loss:.3g} to {held_out_loss:.3g}", "{accuracy:.1%}"]),
        ("stalled", {"n_iterations": 300}, ["{held_out_loss:.3g}", "{baseline:.3g}", "300 iterations"]),
        ("unstable", {"learning_rate": 5.0, "n_iterations": 2000}, ["{best_loss:.3g}", "{held_out_loss:.3g}"]),
        ("diverged", {"learning_rate": 100.0, "n_iterations": 500}, ["{start_loss:.3g} to {held_out_loss:.3g}", "of 100 "]),
        ("overflow", {"activation": "relu", "n_iterations": 100}, ["4.4", "at iteration 11."]),
        ("overflow", {"learning_rate": 1e5, "n_iterations": 100}, ["at iteration 2:", "of 100000", "{start_loss:.3g}"]),
        ("overflow", {"weight_init_std": 1e4, "n_iterations": 9}, ["in the first iteration", "spectral radius 4.4e+04"]),
    ],
    ids=str,
)
def test_every_outcome_is_explained_with_its_numbers(outcome, settings, words):
    (result,) = train([RunConfig(**settings)])
    found = advise_on(result)
    assert result.outcome == outcome
    for text in words:
        assert text.format(**result.evidence) in found.cause
    assert len(found.tries) == (0 if outcome == "solved" else len(set(changed(result.config, found)) - {result.config}))
    assert bool(found.tries) == (outcome != "solved")


def random_config(rng):
    def pick(*values):
        return values[rng.integers(len(values))]

    task = pick(*TASKS)
    values = {"task": task, "cell": pick(*CELLS), "activation": pick(*ACTIVATIONS), "loss": pick(*TASKS[task].losses)}
    values |= {"bits": pick(2, 8, 32), "length": pick(10, 29, 30, 40), "n_layers": pick(1, 2, 4)}
    values |= {"hidden_size": pick(1, 2, 5), "init_scheme": pick(*INIT_SCHEMES), "reset_after": pick(True, False)}
    values |= {"weight_init_std": pick(0.0, 1.0, 10 ** rng.uniform(-3, 6)), "learning_rate": pick(0.01, 0.1, 1e-300, 1e6)}
    values |= {"optimizer": pick(*OPTIMIZERS), "momentum": pick(0.5, 0.9), "rho": 0.5, "beta1": pick(0.5, 0.9)}
    values |= {"schedule": pick(*SCHEDULES), "schedule_every": pick(5, 9), "clip_norm": pick(None, 1.0, 5.0)}
    values |= {"n_iterations": pick(1, 10_000, 10_000_000), "dtype": pick("float64", "float32"), "bias": pick(True, False)}
    return RunConfig(**fitting(values | {"seed": int(rng.integers(9)), "forget_bias": pick(-3.0, 1.0)}))


def test_whatever_is_to_be_tried_can_be_tried():
    """Over random runs that need not have ended so: other configs than the run's own, all of them valid, none twice."""
    rng = np.random.default_rng(0)
    configs = [random_config(rng) for _ in range(300)]
    for config in configs:
        for outcome in OUTCOMES:
            evidence = {name: rng.choice([0.5, 1.0, 1e300, math.inf, math.nan]) for name in EVIDENCE} | {"baseline": 0.25}
            found = made_up(config, outcome, rng.choice([None, 1, 4000]), **evidence)
            others = changed(config, found)
            assert len({config, *others}) == 1 + len(others)
            assert bool(others) == (outcome != "solved")
            assert re.search(r"\d|\bnan\b|\binf\b", found.cause)
    assert {(config.cell, config.task) for config in configs} == {(cell, task) for cell in CELLS for task in TASKS}
    assert {config.activation for config in configs} == {None, *ACTIVATIONS}


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_relu_network_that_overflowed_is_told_its_spectral_radius_and_the_growth_over_all_steps(seed):
    (result,) = train([RunConfig(activation="relu", n_iterations=200, seed=seed)])
    radius = np.abs(np.linalg.eigvals(initial_weights(result.config)[1])).max()
    found = advise_on(result)
    assert f"a spectral radius of {radius:.2g}, and relu has no upper end" in found.cause
    assert f"{radius:.2g}-fold per step, {radius**8:.2g}-fold over 8 steps" in found.cause
    when = "in the first iteration" if result.overflow.iteration == 1 else f"at iteration {result.overflow.iteration}"
    assert f"Numbers overflowed {when}." in found.cause
    kept = [config for config in changed(result.config, found) if config.init_scheme == "normal"]
    for config in kept:  # the initial weights shrunk to a radius of about 1
        assert np.abs(np.linalg.eigvals(initial_weights(config)[1])).max() == pytest.approx(1, rel=0.05)
    assert kept


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_of_several_layers_the_largest_radius_is_told(seed):
    config = RunConfig(activation="relu", n_layers=3, seed=seed)
    _, first, _, second, _, third, _ = initial_weights(config)
    radius = np.abs(np.linalg.eigvals([first, second, third])).max()
    assert f"spectral radius of {radius:.2g}," in made_up(config, "overflow", 1).cause


def test_growth_beyond_what_a_number_can_hold_is_told_all_the_same():
    config = RunConfig(task="bit_count", length=1000, activation="linear", init_scheme="identity", weight_init_std=100.0)
    assert "1e+02-fold per step, 1e+2000-fold over 1000 steps" in made_up(config, "overflow", 1).cause


@pytest.mark.parametrize("iterations", [0, 1])
def test_an_overflow_that_only_held_out_samples_met_is_explained(iterations):
    """The last update is never followed by another training pass."""
    config = RunConfig(task="adding_problem", activation="linear", learning_rate=100.0, weight_init_std=0.3, n_iterations=1)
    config = config if iterations else config.replace(activation="relu", length=1000, weight_init_std=100.0)
    population = Population([config]).advance(iterations)
    population.stop()
    result = population.results()[0]
    assert (result.outcome, result.overflow, result.iterations) == ("overflow", None, iterations)
    found = advise_on(result)
    assert "Numbers overflowed on held-out samples" in found.cause
    assert changed(config, found)
    sigmoid = made_up(RunConfig(), "overflow", None, iterations)
    assert ("initial weights" in sigmoid.cause, "learning rate of 0.1" in sigmoid.cause) == (not iterations, bool(iterations))


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("variant", [{}, {"activation": "tanh"}, {"cell": "lstm"}, {"cell": "gru", "n_layers": 2}], ids=str)
def test_a_saturated_network_is_told_so(variant, seed):
    (result,) = train([RunConfig(**variant, weight_init_std=30.0, n_iterations=50, seed=seed)])
    found = advise_on(result)
    assert result.outcome == "stalled"
    assert "most units stand at the flat ends" in found.cause
    # 16 units of about 1/2 or less, weights of about 30: sqrt(16 / 4) * 30
    assert float(found.cause.partition("about ")[2].partition(":")[0]) == pytest.approx(60, rel=0.25)
    assert all(config.weight_init_std == 1 or config.optimizer == "adam" for config in changed(result.config, found))


@pytest.mark.parametrize("variant", [{}, {"cell": "gru"}, {"task": "adding_problem", "cell": "lstm"}], ids=str)
def test_a_network_that_hardly_learns_is_told_its_learning_rate(variant):
    """Judged on the same held-out samples before and after: `start_loss` is that of some of them, and differs."""
    (result,) = train([RunConfig(**variant, learning_rate=1e-9, n_iterations=50, init_scheme="xavier_normal")])
    found = advise_on(result)
    assert result.outcome == "stalled"
    assert "50 updates with a learning rate of 1e-09 hardly change the answers" in found.cause
    assert float(found.cause.partition("moved by ")[2].partition(" only")[0]) < 1e-5
    assert max(config.learning_rate for config in changed(result.config, found)) > 1e-3


def test_the_loss_moved_from_that_of_the_untrained_network_on_all_held_out_samples():
    config, task = (
        RunConfig(learning_rate=1e-5, n_iterations=100, activation="tanh", weight_init_std=0.5),
        TASKS["binary_addition"],
    )
    (result,) = train([config])
    pairs = task.pairs(task.draw(stream(HELD_OUT_SEED, "held_out"), 1000, config), config).tolist()
    weights = train_plainly(config, 100)[2]
    before, after = (
        np.mean([plain_iteration(config, [w.copy() for w in start], *pair)[0] for pair in pairs])
        for start in (initial_weights(config), weights)
    )
    assert result.evidence["held_out_loss"] == pytest.approx(after, rel=1e-9)
    assert before - after > 1e-5
    assert f"moved by {before - after:.2g} only, from {before:.4g} to {after:.4g}:" in advise_on(result).cause


def test_a_network_too_large_to_ask_again_is_not_said_to_be_slow(monkeypatch):
    monkeypatch.setattr("engine.advice.evaluate", None)
    config = RunConfig(task="adding_problem", length=1000, hidden_size=64, weight_init_std=0.1, cell="lstm")
    assert "stayed near" in made_up(config, "stalled").cause


@pytest.mark.parametrize("variant", [{"activation": "tanh"}, {"activation": "relu"}, {"cell": "lstm_cec"}], ids=str)
def test_a_simple_network_with_much_to_carry_is_offered_gates(variant):
    config = RunConfig(
        task="adding_problem", init_scheme="xavier_normal", n_iterations=30, batch_size=20, learning_rate=0.03, **variant
    )
    (result,) = train([config])
    found = advise_on(result)
    assert result.outcome == "stalled"
    assert "over up to 100 steps" in found.cause
    assert [other.cell for other in changed(config, found)] == ["gru", "lstm", config.cell]
    assert all((other.optimizer, other.learning_rate) == ("adam", 0.01) for other in changed(config, found))
    short = made_up(config.replace(length=29), "stalled", held_out_loss=0.9)
    gated = made_up(RunConfig(task="adding_problem", cell="lstm", init_scheme="xavier_normal"), "stalled", held_out_loss=0.9)
    assert not any("Gates" in other.cause for other in (short, gated))


def test_settings_that_lose_their_meaning_do_not_keep_advice_away():
    config = RunConfig(optimizer="momentum", momentum=0.5, schedule="step", schedule_every=7, schedule_factor=0.3)
    tries = made_up(config, "unstable").tries
    assert ADAM | {"momentum": None} in tries
    assert {"schedule": "cosine", "schedule_every": None, "schedule_factor": None} in tries
    found = made_up(RunConfig(task="adding_problem", activation="elu"), "stalled", held_out_loss=0.9)
    assert {"cell": "gru", "activation": None} | ADAM in found.tries


def test_what_comes_to_the_same_is_offered_once():
    config = RunConfig(init_scheme="xavier_normal", learning_rate=1.0)
    tries = made_up(config, "diverged").tries
    assert [bool(changes.get("optimizer")) for changes in tries] == [True, False]
    assert [other.learning_rate for other in changed(config, made_up(config, "diverged"))] == [0.01, 0.1]
