"""A run's bits do not depend on its company, on pauses or on pickling; what a population records along the way."""

import dataclasses
import functools
import pickle
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from threadpoolctl import threadpool_limits

from engine import ACTIVATIONS, CURVES, TASKS, Population, RunConfig
from engine.population import HELD_OUT_SAMPLES, LOG_POINTS, N_EXAMPLES, START_SAMPLES, norms, shape_key
from engine.randomness import HELD_OUT_SEED, stream

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


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    """Hold BLAS to one thread as jobs do: several cut large products differently, and fight each other on a busy machine."""
    with threadpool_limits(1):
        yield


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


def test_evaluating_in_other_parts_gives_the_same_bits(monkeypatch):
    configs = members(SHAPES[1], 9, seed=4)
    whole = trained(configs)
    for n_runs in (2, 3, 5, 1000):
        monkeypatch.setattr("engine.population.RUNS_AT_ONCE", n_runs)
        assert trained(configs) == whole


@pytest.mark.parametrize("shape", SHAPES[:8:2], ids=lambda s: f"hidden{s['hidden_size']}_{s['dtype']}")
def test_a_run_that_leaves_alone_gets_the_answers_it_would_get_in_company(shape):
    """Those who leave because they died answer NaN, which hides rounding: so this looks at the evaluation itself."""
    population = Population([RunConfig(**shape, seed=seed) for seed in range(3)])
    together = population._evaluate(range(3), HELD_OUT_SAMPLES)
    for row in range(3):
        for mine, ours in zip(population._evaluate([row], HELD_OUT_SAMPLES), together, strict=True):
            assert mine.tobytes() == ours[..., row : row + 1].tobytes()


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


def test_what_may_vary_inside_a_population():
    base = RunConfig(optimizer="momentum", clip_norm=1.0)
    for free in [{"learning_rate": 1}, {"weight_init_std": 2}, {"activation": "elu"}, {"seed": 9}, {"init_scheme": "he"}]:
        assert shape_key(base.replace(**free)) == shape_key(base)
    for free in [{"momentum": 0.1}, {"clip_norm": 7.0}]:
        assert shape_key(base.replace(**free)) == shape_key(base)
    for fixed in [
        {"bits": 4},
        {"hidden_size": 4},
        {"bias": True},
        {"batch_size": 2},
        {"dtype": "float32"},
        {"n_iterations": 9},
    ]:
        assert shape_key(base.replace(**fixed)) != shape_key(base)
    assert shape_key(base.replace(clip_norm=None)) != shape_key(base)


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


def brute_force(config, flat, samples):
    """Return the outputs (T, n) of one run for held-out samples, by the formula, one matrix product at a time."""
    h_size = config.hidden_size
    w_in, w_rec = flat[: 2 * h_size].reshape(2, -1), flat[2 * h_size : -h_size].reshape(h_size, -1)
    pairs = TASKS[config.task].pairs(samples, config).astype(np.int64)
    h, outputs = np.zeros((len(samples), h_size)), []
    for t in range(config.bits):
        h = np.tanh((pairs >> t & 1) @ w_in + h @ w_rec)
        outputs.append(1 / (1 + np.exp(-h @ flat[-h_size:])))
    return np.array(outputs), pairs.sum(axis=1)


def test_accuracy_examples_and_start_loss_follow_a_brute_force_evaluation():
    config = RunConfig(bits=3, hidden_size=6, activation="tanh", learning_rate=0.3, n_iterations=1000)
    samples = TASKS["binary_addition"].draw(stream(HELD_OUT_SEED, "held_out"), HELD_OUT_SAMPLES)
    population = Population([config])
    start, sums = brute_force(config, population.parameters[0], samples[:START_SAMPLES])
    start_loss = ((start - (sums >> np.arange(3)[:, None] & 1)) ** 2).sum(axis=0).mean() / 2
    population.advance(400)
    outputs, sums = brute_force(config, population.parameters[0].copy(), samples)
    answers = ((outputs > 0.5) << np.arange(3)[:, None]).sum(axis=0)
    population.stop()
    result = population.results()[0]
    assert 0.2 < result.accuracy < 1  # an accuracy of 0 or 1 could come from anywhere
    assert result.accuracy == np.mean(answers == sums)
    assert result.evidence["start_loss"] == pytest.approx(start_loss, rel=1e-12)  # some thousand roundings that cancel
    assert [(e["a"] + e["b"], e["answer"]) for e in result.examples] == list(zip(sums, answers, strict=True))[:N_EXAMPLES]
    for i, example in enumerate(result.examples):
        np.testing.assert_allclose(example["outputs"], outputs[::-1, i], rtol=1e-12)


def test_a_network_that_answers_nan_answers_wrong():
    """A quarter of the additions of 2 bits is 0 + 0, and NaN > 0.5 is as false as 0 > 0.5."""
    population = Population([RunConfig(bits=2)])
    population.parameters[...] = np.nan
    population.stop()
    result = population.results()[0]
    assert result.accuracy == 0.0
    assert np.isnan(result.examples[0]["outputs"]).all()
    assert result.outcome == "overflow"


def test_every_run_is_asked_the_same_held_out_questions():
    results = Population([RunConfig(**QUICK | {"seed": seed}) for seed in range(3)]).advance(20).results()
    asked = [[(e["a"], e["b"]) for e in result.examples] for result in results.values()]
    assert asked[0] == asked[1] == asked[2]
    assert len(asked[0]) == N_EXAMPLES


def test_norms_do_not_overflow_on_the_way():
    rows = np.array([[3e200, 4e200], [3e-200, 4e-200], [0, 0], [np.inf, 1], [np.nan, 1], [3, -4]])
    np.testing.assert_allclose(norms(rows), [5e200, 5e-200, 0, np.inf, np.nan, 5], rtol=1e-15)
    assert norms(np.array([[1.5e38, 2e38]], "float32"))[0] == pytest.approx(2.5e38, rel=1e-6)  # float32 holds 7 digits
