"""Stacks, the order of results, and the numbers of a training against the exercise's plain loop."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.plain_loop import draw_pairs, initial_weights, plain_iteration, train_plainly
from engine import CELLS, CURVES, TASKS, Population, RunConfig, fitting, rough_seconds, shape_key, stacks, train
from engine.memory import run_bytes
from engine.training import BUSY_RUNS, CACHE_BYTES, LARGEST_POPULATION, STEP_BYTES, WORTH_SPLITTING, population_size

SHAPES = [
    RunConfig(n_iterations=30),
    RunConfig(n_iterations=30, hidden_size=5),
    RunConfig(n_iterations=30, dtype="float32"),
    RunConfig(n_iterations=30, bits=3, batch_size=4, clip_norm=1.0),
    RunConfig(n_iterations=20, hidden_size=300, bits=2),
]


def column(result, name):
    return result.curves[:, CURVES.index(name)]


def flat(weights):
    return np.concatenate([w.ravel() for w in weights])


@pytest.mark.parametrize(
    ("settings", "tolerance"),
    [
        ({"n_iterations": 1000}, 1e-9),
        ({"n_iterations": 500, "weight_init_std": 2.0}, 1e-9),
        ({"n_iterations": 500, "hidden_size": 33, "bits": 5, "learning_rate": 1.0}, 1e-9),
        # float32 holds 7 digits; 8 steps of sums over 16 units lose about one of them, 500 updates another
        ({"n_iterations": 500, "dtype": "float32"}, 1e-5),
        # with steeper activations rounding grows from update to update unless the weights are small
        ({"n_iterations": 100, "activation": "tanh", "weight_init_std": 0.3}, 1e-9),
        ({"n_iterations": 100, "activation": "relu", "weight_init_std": 0.3}, 1e-9),
        ({"n_iterations": 100, "activation": "leaky_relu", "weight_init_std": 0.3}, 1e-9),
        ({"n_iterations": 100, "activation": "linear", "weight_init_std": 0.3}, 1e-9),
    ],
    ids=str,
)
def test_losses_and_weights_are_those_of_the_plain_loop(settings, tolerance):
    n = settings["n_iterations"]
    configs = [RunConfig(seed=seed, **settings | {"n_iterations": 2 * n}) for seed in (1, 2, 3)]
    population = Population(configs).advance(n)  # half-way, where the weights can still be looked at
    for run, config in enumerate(configs):
        losses, warned, weights = train_plainly(config, n)
        windows = np.reshape(losses, (50, -1)).mean(axis=1)
        np.testing.assert_allclose(population.curve(run)[:, CURVES.index("loss")], windows, rtol=tolerance)
        mine = population.parameters[population.rows.index(run)]
        np.testing.assert_allclose(mine, flat(weights), rtol=tolerance, atol=tolerance)
        assert not warned


def test_every_column_of_the_curves_is_what_it_says():
    """All but the loss, against the plain loop: window accuracy aside, they describe the update of the point's iteration."""
    config = RunConfig(n_iterations=200, bits=4, hidden_size=6, learning_rate=0.5, seed=3)
    result = Population([config]).advance(200).results()[0]
    weights = initial_weights(config)
    for i, pair in enumerate(draw_pairs(config, 200)):
        before = flat(weights)
        plain_iteration(config, weights, *pair)
        if i % 2:  # points are 2 iterations apart
            step, point = before - flat(weights), dict(zip(CURVES, result.curves[i // 2], strict=True))
            assert point["iteration"] == i + 1
            assert point["gradient_norm"] == pytest.approx(np.linalg.norm(step) / 0.5, rel=1e-9)
            assert point["weight_norm"] == pytest.approx(np.linalg.norm(flat(weights)), rel=1e-9)
            assert point["update_ratio"] == pytest.approx(np.linalg.norm(step) / np.linalg.norm(flat(weights)), rel=1e-9)
            assert point["accuracy"] in (0, 0.5, 1)


def test_the_gradients_norm_is_the_one_before_clipping_and_the_step_the_one_after():
    free = RunConfig(n_iterations=1, learning_rate=0.5)
    one, other = (result.curves[0] for result in train([free, free.replace(clip_norm=0.001)]))
    norm, ratio, weights = (CURVES.index(name) for name in ("gradient_norm", "update_ratio", "weight_norm"))
    assert other[norm] == one[norm] > 0.01
    assert other[ratio] * other[weights] == pytest.approx(0.5 * 0.001, rel=1e-12)


def answers_right(config, weights, a, b):
    """Return whether the plain loop's network adds a and b."""
    h, right = np.zeros(config.hidden_size), True
    for t in range(config.bits):
        h = 1 / (1 + np.exp(-(np.array([a >> t & 1, b >> t & 1]) @ weights[0] + h @ weights[1])))
        right &= bool(1 / (1 + np.exp(-(h @ weights[2])))[0] > 0.5) == bool(a + b >> t & 1)
    return right


def test_the_accuracy_of_a_point_is_the_share_of_its_windows_samples():
    config = RunConfig(n_iterations=500, bits=2, hidden_size=4, learning_rate=1.0, seed=2)
    result = Population([config]).advance(500).results()[0]
    weights, right = initial_weights(config), []
    for a, b in draw_pairs(config, 500):
        right.append(answers_right(config, weights, a, b))
        plain_iteration(config, weights, a, b)
    np.testing.assert_allclose(column(result, "accuracy"), np.reshape(right, (100, 5)).mean(axis=1), rtol=1e-15)
    assert 0.2 < np.mean(right) < 0.95


def test_a_batch_averages_its_samples_gradients():
    """One update of batch size 3 is the mean of three updates of batch size 1 from the same weights."""
    config = RunConfig(batch_size=3, n_iterations=10, learning_rate=0.7)
    start, moved, losses = initial_weights(config), [], []
    for pair in draw_pairs(config, 3):
        weights = [w.copy() for w in start]
        losses.append(plain_iteration(config, weights, *pair)[0])
        moved.append(flat(weights))
    population = Population([config]).advance(1)
    np.testing.assert_allclose(population.parameters[0], np.mean(moved, axis=0), rtol=1e-12)
    assert column(population.advance(9).results()[0], "loss")[0] == pytest.approx(np.mean(losses), rel=1e-12)


@given(st.lists(st.sampled_from(SHAPES), max_size=60), st.integers(1, 4))
@settings(max_examples=60, deadline=None, derandomize=True)  # derandomize: a red test always means changed code
def test_stacks_hold_every_run_once_and_only_runs_that_fit(configs, n_workers):
    cut = stacks(configs, n_workers)
    assert sorted(place for places in cut for place in places) == list(range(len(configs)))
    for places in cut:
        assert len({shape_key(configs[place]) for place in places}) == 1
        assert 1 <= len(places) <= population_size(configs[places[0]])


def test_stacks_are_as_few_as_the_cache_allows_and_of_even_size():
    config = SHAPES[0]
    largest = population_size(config)
    sizes = [len(places) for places in stacks([config] * (2 * largest + 1))]
    assert len(sizes) == 3
    assert max(sizes) - min(sizes) <= 2
    assert [len(places) for places in stacks([config] * largest)] == [largest]


def test_large_groups_are_shared_among_the_workers_and_small_ones_are_not():
    """A part for each of four workers is worth it as long as it is no less than an eighth of what the cache likes."""
    config = SHAPES[1]
    least = 4 * math.ceil(population_size(config) / WORTH_SPLITTING)
    assert [len(places) for places in stacks([config] * least, n_workers=4)] == [least // 4] * 4
    assert [len(places) for places in stacks([config] * (least - 1), n_workers=4)] == [least - 1]
    assert len(stacks([config] * (population_size(config) + 1), n_workers=4)) == 4
    assert len(stacks([config] * (4 * population_size(config) + 1), n_workers=4)) == 8


def test_a_populations_working_set_fits_the_cache():
    """16 units, 8 steps: 304 weights thrice, 8 x (2 + 3 x 16) activities and 48 of the readout are 10,880 bytes in float64."""
    assert population_size(RunConfig()) == CACHE_BYTES // 10_880
    assert population_size(RunConfig(dtype="float32")) == CACHE_BYTES // 5_440
    assert population_size(RunConfig(hidden_size=1, bits=2)) == LARGEST_POPULATION


def test_runs_that_fill_the_cache_alone_are_still_trained_together_while_their_steps_are_small():
    """A step of a GRU, 32 units and batch 32, are 3 x 32 x 32 numbers, of which 8 (float32) or 4 keep the calls busy."""
    long = RunConfig(task="adding_problem", cell="gru", hidden_size=32, batch_size=32, dtype="float32")
    assert run_bytes(long) > CACHE_BYTES
    assert population_size(long) == BUSY_RUNS == 8
    assert population_size(long.replace(dtype="float64")) == STEP_BYTES // (3 * 32 * 32 * 8) == 4
    assert population_size(RunConfig(hidden_size=64, batch_size=1024)) == 1
    assert population_size(RunConfig(hidden_size=3, batch_size=340, task="adding_problem", length=1000, cell="lstm")) >= 2


def test_rough_seconds_by_hand():
    """Small runs take 3 microseconds an iteration; large ones 6 operations a weight, step and sequence, at 5e10 a second."""
    assert rough_seconds(RunConfig(n_iterations=1000)) == pytest.approx(3e-3)
    large = RunConfig(hidden_size=1024, batch_size=1024, n_iterations=10)
    assert rough_seconds(large) == pytest.approx(10 * 6 * (2 * 1024 + 1024**2 + 1024) * 8 * 1024 / 5e10)
    assert rough_seconds(large.replace(n_iterations=20)) == 2 * rough_seconds(large)


def test_results_come_in_the_order_of_the_configs():
    rng = np.random.default_rng(0)
    configs = [SHAPES[i % 5].replace(seed=int(seed), learning_rate=0.1 + i) for i, seed in enumerate(rng.integers(0, 99, 25))]
    results = train(configs)
    assert [result.config for result in results] == configs
    for i in (0, 7, 24):
        (alone,) = train([configs[i]])
        assert alone.curves.tobytes() == results[i].curves.tobytes()
        assert alone.examples == results[i].examples


def test_training_nothing_gives_nothing():
    assert train([]) == []
    assert stacks([]) == []


def test_any_iterable_of_configs_will_do():
    assert len(train(SHAPES[i] for i in (0, 1))) == 2


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_parameters_keep_the_runs_own_number_type(dtype):
    population = Population([RunConfig(dtype=dtype, optimizer="momentum", clip_norm=1.0, bias=True, n_iterations=5)]).advance(3)
    assert population.parameters.dtype == dtype
    assert population.states[0].dtype == dtype
    assert population.advance(2).results()[0].curves.dtype == np.float64


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("task", TASKS)
def test_every_cell_trains_on_every_task_and_its_loss_comes_down(cell, task):
    """Adam on twenty samples that come again and again: whatever the task, sixty updates make them likelier."""
    settings = {"cell": cell, "task": task, "hidden_size": 12, "n_layers": 2, "bias": True, "init_scheme": "xavier_uniform"}
    settings |= {"optimizer": "adam", "learning_rate": 0.02, "batch_size": 8, "n_iterations": 60, "pool_size": 20, "bits": 4}
    settings |= {"length": (TASKS[task].shortest or 0) + 3, "activation": "tanh", "clip_norm": 1.0, "seed": 3}
    config = RunConfig(**fitting(settings))
    (result,) = train([config])
    losses = column(result, "loss")
    assert losses[-5:].mean() < 0.9 * losses[:5].mean()
    assert result.overflow is None
    assert result.n_parameters == Population([config]).parameters.shape[1]
