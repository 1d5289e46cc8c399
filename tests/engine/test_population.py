"""A run's bits do not depend on its company, on pauses or on pickling; what a population records along the way."""

import dataclasses
import functools
import itertools
import math
import pickle
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.plain_loop import initial_weights, plain_iteration
from engine import ACTIVATIONS, CURVES, FIELDS, TASKS, Population, RunConfig, shape_key
from engine.evaluation import START_SAMPLES, evaluate
from engine.population import LOG_POINTS, norms
from engine.randomness import stream

QUICK = {"bits": 4, "hidden_size": 5, "n_iterations": 20}
SHAPES = [  # batch and hidden size in all pairs; the rest spread so that each value meets small and large arrays
    {"batch_size": 1, "hidden_size": 5, "bits": 2, "dtype": "float64", "bias": True, "n_iterations": 60},
    {"batch_size": 1, "hidden_size": 16, "bits": 8, "dtype": "float64", "n_iterations": 60},
    {"batch_size": 1, "hidden_size": 33, "bits": 5, "dtype": "float32", "optimizer": "momentum", "n_iterations": 40},
    {"batch_size": 1, "hidden_size": 100, "bits": 4, "dtype": "float64", "clip_norm": 1.0, "n_iterations": 30},
    {"batch_size": 3, "hidden_size": 5, "bits": 12, "dtype": "float32", "clip_norm": 1.0, "n_iterations": 50},
    {"batch_size": 3, "hidden_size": 16, "bits": 3, "dtype": "float32", "bias": True, "n_iterations": 50},
    {"batch_size": 3, "hidden_size": 33, "bits": 6, "dtype": "float64", "n_iterations": 40},
    {"batch_size": 3, "hidden_size": 100, "bits": 3, "dtype": "float32", "bias": True, "n_iterations": 30},
    {"batch_size": 16, "hidden_size": 5, "bits": 6, "dtype": "float64", "optimizer": "momentum", "n_iterations": 50},
    {"batch_size": 16, "hidden_size": 16, "bits": 4, "dtype": "float64", "bias": True, "clip_norm": 1.0, "n_iterations": 40},
    {"batch_size": 16, "hidden_size": 33, "bits": 3, "dtype": "float32", "n_iterations": 40},
    {"batch_size": 16, "hidden_size": 100, "bits": 2, "dtype": "float64", "optimizer": "momentum", "n_iterations": 30},
]


def members(shape, n, seed):
    """Return n random configs of one shape; every third is violent, so that many of them leave early.

    Softplus whose weights let exp(u) come near its limit of 709 in the last time step blows up now or some updates later;
    linear and relu with huge weights blow up at once.
    """
    rng, configs = np.random.default_rng(seed), []
    near = np.log10(709 ** (1 / shape["bits"]) / np.sqrt(shape["hidden_size"]))
    for i in range(n):
        activation = rng.choice(["softplus", "softplus", "linear", "relu"] if i % 3 == 2 else list(ACTIVATIONS))
        std, rate, clip = (-2, 0.5), (-2, 1), (-2, 1)  # decimal exponents
        if i % 3 == 2:
            std, rate, clip = (
                ((near - 0.3, near + 0.5), (0.5, 3), (6, 12)) if activation == "softplus" else ((3, 6), (2, 6), (6, 12))
            )
        values = {"activation": activation, "seed": rng.integers(0, 10)}
        values |= {"weight_init_std": 10 ** rng.uniform(*std), "learning_rate": 10 ** rng.uniform(*rate)}
        values |= {"momentum": rng.uniform(0, 0.99)} if "optimizer" in shape else {}
        values |= {"clip_norm": 10 ** rng.uniform(*clip)} if "clip_norm" in shape else {}
        configs.append(RunConfig(**shape | values))
    return configs


def mixed_members(shape):
    """Return the runs of one shape that are compared with being trained alone: some 300 over all shapes."""
    return members(shape, 14 if shape["hidden_size"] == 100 else 28, seed=shape["hidden_size"] + shape["batch_size"])


def bits_of(result):
    """Return everything a result holds as text and bytes, its share of the time excepted.

    Every NaN equals every other: IEEE 754 leaves the sign of a NaN to the processor. 0.0 and -0.0 differ.
    """
    values = {f.name: getattr(result, f.name) for f in dataclasses.fields(result) if f.name not in ("seconds", "curves")}
    return repr(values), np.where(np.isnan(result.curves), np.nan, result.curves).tobytes()


def finish(population):
    return {place: bits_of(result) for place, result in population.advance(population.n_iterations).results().items()}


def trained(configs):
    """Return the bits of each run of one population, in the order of `configs`."""
    results = finish(Population(configs))
    return [results[place] for place in range(len(configs))]


def alone(config):
    return trained([config])[0]


@pytest.mark.parametrize("shape", SHAPES, ids=lambda s: f"batch{s['batch_size']}_hidden{s['hidden_size']}_{s['dtype']}")
def test_run_alone_equals_run_in_population(shape):
    configs = mixed_members(shape)
    together = trained(configs)
    for config, bits in zip(configs, together, strict=True):
        assert alone(config) == bits, f"trained alone, this run has other bits: {config}"
    order = np.random.default_rng(1).permutation(len(configs))
    assert trained([configs[i] for i in order]) == [together[i] for i in order]
    for start in range(0, len(configs), 7):
        assert trained(configs[start : start + 7]) == together[start : start + 7]


def test_the_populations_above_lose_members_early_and_hold_every_activation():
    seen, left = set(), []
    for shape in SHAPES:
        configs = mixed_members(shape)
        results = Population(configs).advance(shape["n_iterations"]).results().values()
        left.append({result.iterations for result in results} - {shape["n_iterations"]})
        seen |= {result.config.activation for result in results}
    assert all(left), "a population that loses nobody tests less than it seems to"
    assert sum(max(iterations) > 1 for iterations in left) >= 6, left
    assert seen == set(ACTIVATIONS)


@pytest.mark.parametrize("shape", [SHAPES[1], SHAPES[4]], ids=["float64", "float32"])
def test_run_among_7_equals_run_among_300(shape):
    configs = members(shape | {"n_iterations": 40}, 300, seed=9)
    crowd = trained(configs)
    assert trained(configs[:7]) == crowd[:7]
    assert trained(configs[-7:]) == crowd[-7:]
    assert trained(configs[::-1]) == crowd[::-1]
    for place in range(0, 300, 12):
        assert alone(configs[place]) == crowd[place]


def test_weights_are_equal_bit_by_bit_after_every_single_iteration():
    configs = members(SHAPES[1], 9, seed=2)
    crowd, single = Population(configs), [Population([config]) for config in configs]
    for _ in range(30):
        crowd.advance(1)
        for run in crowd.active:
            mine = single[run].advance(1).parameters[0]
            assert crowd.parameters[crowd.rows.index(run)].tobytes() == mine.tobytes()
    assert 0 < len(crowd.active) < len(configs)


def test_survivors_keep_their_bits_when_all_others_have_left():
    calm = RunConfig(activation="linear", weight_init_std=0.1, n_iterations=40)
    violent = [calm.replace(activation="softplus", weight_init_std=0.5, learning_rate=10.0, seed=i) for i in range(4)]
    population = Population([*violent, calm])
    results = finish(population)
    assert all(population.results()[i].iterations < 40 for i in range(4))
    assert population.results()[4].status == "finished"
    assert results[4] == alone(calm)


@functools.cache
def whole_training():
    configs = members(SHAPES[8] | {"n_iterations": 40}, 8, seed=6)
    return configs, finish(Population(configs))


@given(cuts=st.lists(st.integers(0, 40), max_size=6), pickled=st.booleans())
@settings(max_examples=60, deadline=None, derandomize=True)  # derandomize: a red test always means changed code
def test_cutting_a_training_into_pieces_and_pickling_between_changes_no_bit(cuts, pickled):
    configs, whole = whole_training()
    population = Population(configs)
    for before, after in zip([0, *sorted(cuts)], [*sorted(cuts), 40], strict=True):
        population.advance(after - before)
        population = pickle.loads(pickle.dumps(population)) if pickled else population
    assert finish(population) == whole


def test_samples_drawn_ahead_in_other_blocks_give_the_same_bits(monkeypatch):
    configs = members(SHAPES[4], 8, seed=3)
    whole = trained(configs)
    for block in (1, 3_000, 20_000_000):
        monkeypatch.setattr("engine.population.BLOCK_BYTES", block)
        assert trained(configs) == whole


def test_one_config_twice_gets_two_equal_results():
    config = RunConfig(**QUICK)
    assert trained([config, config, config.replace(seed=2), config]) == [alone(config)] * 2 + trained(
        [config.replace(seed=2), config]
    )


def test_pickles_hold_no_buffers():
    population = Population([RunConfig(**QUICK | {"n_iterations": 1000})] * 2)
    before = len(pickle.dumps(population))
    population.advance(3)
    assert len(pickle.dumps(population)) < before + 1000
    assert population._work is not None  # pickling one does not spoil it


@pytest.mark.parametrize(
    ("n_iterations", "points"),
    [(1, [1]), (3, [1, 2, 3]), (100, range(1, 101)), (400, range(4, 401, 4)), (150, None), (101, None)],
)
def test_curves_have_up_to_100_evenly_spaced_points_and_end_at_the_end(n_iterations, points):
    population = Population([RunConfig(bits=2, hidden_size=2, n_iterations=n_iterations)])
    at = population.advance(n_iterations).results()[0].curves[:, CURVES.index("iteration")]
    assert len(at) == min(LOG_POINTS, n_iterations)
    assert at[-1] == n_iterations
    assert set(np.diff(at)) <= {np.floor(n_iterations / LOG_POINTS), np.ceil(n_iterations / LOG_POINTS)}
    if points is not None:
        assert at.tolist() == list(points)


def test_runs_that_do_not_fit_together_are_refused():
    with pytest.raises(ValueError, match=r"one or more configs of one shape_key; group them with engine\.stacks"):
        Population([RunConfig(hidden_size=4), RunConfig(hidden_size=5)])
    with pytest.raises(ValueError, match="one or more configs"):
        Population([])


FREE = {"pool_size", "activation", "forget_bias", "init_scheme", "weight_init_std", "learning_rate", "momentum", "rho", "seed"}
FREE |= {"beta1", "beta2", "epsilon", "schedule", "schedule_every", "schedule_factor", "clip_norm", "clip_value"}
VARIED = {
    "task": ["copy_memory"],
    "bits": [4],
    "length": [4],
    "pool_size": [5],
    "cell": ["lstm_peephole"],
    "hidden_size": [4],
    "n_layers": [2],
    "activation": ["elu"],
    "forget_bias": [2.0],
    "reset_after": [True],
    "projection_size": [3],
    "bias": [True],
    "init_scheme": ["he_normal"],
    "weight_init_std": [2.0],
    "loss": ["cross_entropy", "half_squared_error"],
    "optimizer": ["nesterov"],
    "learning_rate": [1.0],
    "momentum": [0.1],
    "rho": [0.1],
    "beta1": [0.1],
    "beta2": [0.1],
    "epsilon": [0.1],
    "schedule": ["step"],
    "schedule_every": [7],
    "schedule_factor": [0.7],
    "clip_norm": [7.0],
    "clip_value": [7.0],
    "batch_size": [2],
    "n_iterations": [9],
    "dtype": ["float32"],
    "seed": [9],
}
"""Another value of each setting; only those in FREE may differ inside a population."""


def test_what_may_vary_inside_a_population():
    bases = [
        RunConfig(optimizer="momentum", clip_norm=1.0, schedule="step"),
        RunConfig(task="parity", cell="lstm", optimizer="adam", clip_value=1.0),
        RunConfig(task="parity", cell="gru", optimizer="rmsprop"),
    ]
    seen = set()
    for base, (name, values) in itertools.product(bases, VARIED.items()):
        old = base.to_dict()
        for value in values:
            switched_on = name.startswith("clip") and old[name] is None
            if FIELDS[name].applies(old) and value != old[name] and not switched_on:
                assert (shape_key(base.replace(**{name: value})) == shape_key(base)) == (name in FREE), name
                seen.add(name)
    assert seen == set(VARIED) == set(FIELDS)
    clipped = RunConfig(clip_norm=1.0, clip_value=1.0)
    assert len({shape_key(clipped.replace(clip_norm=n, clip_value=v)) for n in (None, 2.0) for v in (None, 2.0)}) == 4


def test_advance_stops_at_the_end_and_counts_what_it_did():
    population = Population([RunConfig(**QUICK), RunConfig(**QUICK | {"seed": 2})])
    assert population.advance(0).iteration == 0
    assert population.advance(7) is population
    assert (population.iteration, population.active, population.results()) == (7, [0, 1], {})
    assert population.advance(1_000_000).iteration == 20
    assert population.active == []
    assert sorted(population.advance(5).results()) == [0, 1]
    assert all((r.status, r.iterations) == ("finished", 20) for r in population.results().values())


def test_stopping_ends_all_runs_with_what_they_have():
    population = Population([RunConfig(**QUICK), RunConfig(**QUICK | {"activation": "relu"}), RunConfig(**QUICK | {"seed": 2})])
    population.advance(8).stop()
    assert population.active == []
    results = population.results()
    assert [(r.status, r.iterations, len(r.curves)) for r in results.values()] == [("stopped", 8, 8)] * 3
    assert [results[i].config for i in range(3)] == population.configs
    population.stop()
    assert [bits_of(r) for r in population.results().values()] == [bits_of(r) for r in results.values()]


@pytest.mark.parametrize("leaving", [[0], [1, 3], [4, 2, 0], [0, 1, 2, 3], range(5), []])
def test_runs_that_are_pruned_have_their_bits_so_far_and_leave_the_others_theirs(leaving):
    configs = [
        RunConfig(**QUICK | {"seed": seed, "activation": name}) for seed, name in enumerate(["tanh", "relu"] * 2 + ["elu"])
    ]
    population = Population(configs).advance(8)
    population.stop(leaving, "pruned")
    assert population.active == sorted(set(range(5)) - set(leaving))
    assert sorted(population.results()) == sorted(leaving)
    results = population.advance(20).results()
    for place, config in enumerate(configs):
        single = Population([config]).advance(8 if place in leaving else 20)
        single.stop(status="pruned")
        assert bits_of(results[place]) == bits_of(single.results()[0])
        status, iterations = ("pruned", 8) if place in leaving else ("finished", 20)
        assert (results[place].status, results[place].iterations, len(results[place].curves)) == (
            status,
            iterations,
            iterations,
        )


def test_a_run_that_has_ended_is_not_pruned():
    calm = RunConfig(activation="linear", weight_init_std=0.1, n_iterations=40)
    population = Population([calm.replace(activation="softplus", weight_init_std=0.5, learning_rate=10.0), calm]).advance(20)
    ended = population.results()[0]
    assert (ended.status, ended.iterations < 20) == ("finished", True)
    population.stop([0], "pruned")
    assert bits_of(population.results()[0]) == bits_of(ended)
    population.stop([0, 1], "pruned")
    assert [result.status for result in population.results().values()] == ["finished", "pruned"]


def test_a_run_beside_its_own_copy_can_be_pruned():
    """A lone run of little work has a copy of itself as company."""
    configs = [RunConfig(**QUICK | {"seed": seed}) for seed in (1, 2)]
    population = Population(configs).advance(5)
    population.stop([0], "pruned")
    population.advance(5).stop([1], "pruned")
    assert (population.active, [r.iterations for r in population.results().values()]) == ([], [5, 10])
    single = Population([configs[1]]).advance(10)
    single.stop(status="pruned")
    assert bits_of(population.results()[1]) == bits_of(single.results()[0])


def test_a_run_stopped_before_its_first_update_is_judged_by_its_start():
    population = Population([RunConfig(**QUICK)])
    population.stop()
    result = population.results()[0]
    assert (result.status, result.iterations, result.outcome) == ("stopped", 0, "stalled")
    assert result.final_loss == result.evidence["start_loss"] > 0
    assert result.curves.shape == (0, len(CURVES))


def test_seconds_are_shares_of_the_time_it_took():
    started = time.perf_counter()
    population = Population([RunConfig(**QUICK | {"seed": seed}) for seed in range(5)]).advance(20)
    took = time.perf_counter() - started
    shares = [result.seconds for result in population.results().values()]
    assert min(shares) > 0
    assert sum(shares) <= took


# Pools


STILL = {"learning_rate": 1e-300, "n_iterations": 100}
"""A hundred points of one iteration each, all with the initial weights."""


def losses(population, run=0):
    return population.curve(run)[:, CURVES.index("loss")]


def test_a_pool_is_drawn_once_and_sampled_with_replacement():
    config = RunConfig(**STILL, pool_size=5, seed=3)
    found = losses(Population([config]).advance(100)).tolist()
    task, weights = TASKS[config.task], initial_weights(config)
    pairs = task.pairs(task.draw(stream(3, "pool"), 5, config), config).tolist()
    by_hand = [plain_iteration(config, [w.copy() for w in weights], *pair)[0] for pair in pairs]
    places = [np.abs(np.array(by_hand) - loss).argmin() for loss in found]
    np.testing.assert_allclose(found, [by_hand[place] for place in places], rtol=1e-12)
    counts = np.bincount(places, minlength=5)
    assert counts.min() >= 8  # 20 are expected, with a standard deviation of 4
    assert counts.max() <= 32
    assert any(places[i] == places[i + 1] for i in range(99))


def test_which_samples_of_a_pool_come_next_depends_on_the_seed_alone():
    words = stream(3, "data").bit_generator.random_raw(6) % np.uint64(7)
    pool = TASKS["parity"].draw(stream(3, "pool"), 7, RunConfig(task="parity"))
    population = Population([RunConfig(task="parity", pool_size=7, seed=3, batch_size=2, n_iterations=5)])
    np.testing.assert_array_equal(population._draw((3, 7), 3), pool[words].reshape(3, 2, 1))


def test_pools_of_one_seed_share_their_first_samples():
    population = Population([RunConfig(pool_size=size, seed=3) for size in (5, 9)])
    np.testing.assert_array_equal(population.pools[3, 5], population.pools[3, 9][:5])


def test_runs_with_and_without_a_pool_train_together_and_get_the_bits_they_get_alone():
    base = RunConfig(task="parity", cell="lstm", hidden_size=3, batch_size=2, n_iterations=12)
    configs = [base.replace(pool_size=size, seed=seed) for size in (0, 1, 4, 1000) for seed in (1, 2)]
    together = trained(configs)
    assert [alone(config) for config in configs] == together
    assert len(set(together)) == len(configs)


def test_a_pooled_runs_accuracy_on_the_way_is_of_held_out_samples_and_anothers_of_its_own():
    """One sample is soon known by heart; of the others the run knows nothing."""
    settings = {"bits": 4, "hidden_size": 8, "learning_rate": 2.0, "n_iterations": 100, "seed": 4}
    configs = [RunConfig(**settings, pool_size=1), RunConfig(**settings)]
    population, held_out = Population(configs), []
    for _ in range(100):
        population.advance(1)
        if population.active:
            parameters = population.parameters[[population.rows.index(0)] * 2]
            held_out.append(evaluate([configs[0]] * 2, parameters, population.held_out[:START_SAMPLES])[0][0])
    pooled, fresh = (population.curve(run)[:, CURVES.index("accuracy")] for run in (0, 1))
    assert pooled[:-1].tolist() == held_out
    assert pooled[-1] < 0.5
    assert losses(population)[-1] < 0.05
    assert set(fresh) == {0, 1}  # of the one sample of its window


# Norms


def test_norms_do_not_overflow_on_the_way():
    rows = np.array([[3e200, 4e200], [3e-200, 4e-200], [0, 0], [np.inf, 1], [np.nan, 1], [3, -4], [3e-320, 4e-320]])
    np.testing.assert_allclose(norms(rows), [5e200, 5e-200, 0, np.inf, np.nan, 5, 5e-320], rtol=1e-15, atol=5e-324)
    rows = np.array([[1.5e38, 2e38], [3e38, 3.3e38], [3e-30, 4e-30], [3e-44, 4e-44]], "float32")
    expected = np.hypot(*rows.T.astype(float))  # the second one is beyond float32
    np.testing.assert_allclose(norms(rows), expected, rtol=1e-15)


@given(
    st.integers(0, 2**32 - 1), st.integers(1, 300), st.floats(-1, 1), st.floats(0, 1), st.sampled_from(["float64", "float32"])
)
@settings(max_examples=200, deadline=None, derandomize=True)  # derandomize: a red test always means changed code
def test_norms_are_those_of_exact_sums_at_any_scale(seed, n, place, spread, dtype):
    """Rows whose numbers lie around any size that the type can hold, close together or far apart, some of them 0."""
    rng, limits = np.random.default_rng(seed), np.finfo(dtype)
    largest = np.log10(float(limits.max)) - 2
    exponents = largest * np.clip(place + spread * rng.uniform(-1, 1, (3, n)), -1.03, 1)
    with np.errstate(under="ignore"):
        rows = (rng.standard_normal((3, n)) * 10**exponents * (rng.random((3, n)) < 0.9)).astype(dtype)
    assert np.isfinite(rows).all()
    exact = [math.hypot(*row.tolist()) for row in rows]
    # n roundings of the sum in the rows' own type, each of at most half an eps, halved by the root; math.hypot is exact
    np.testing.assert_allclose(norms(rows), exact, rtol=(n + 4) * float(limits.eps) / 4, atol=5e-324)


def test_norms_of_zeros_are_zero_and_of_no_numbers_too():
    for dtype in ("float64", "float32"):
        assert norms(np.zeros((2, 5), dtype)).tolist() == [0, 0]
        assert norms(np.zeros((0, 5), dtype)).tolist() == []
        assert norms(np.zeros((2, 5), dtype)).dtype == np.float64


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_row_that_is_not_finite_spoils_no_other(dtype):
    rows = np.array([[np.nan] * 3, [1, 2, 2], [np.inf] * 3, [np.inf, np.nan, 0], [0, 0, 0]], dtype)
    found = norms(rows)
    assert np.isfinite(found).tolist() == [False, True, False, False, True]
    assert found[[1, 4]].tolist() == [3, 0]
