"""The same run gives the same bits: alone, in any company and order, in pieces, in any process."""

import dataclasses
import functools
import multiprocessing
import pickle
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from threadpoolctl import threadpool_limits

from engine import (
    ACTIVATIONS,
    CELLS,
    CURVES,
    INIT_SCHEMES,
    OPTIMIZERS,
    TASKS,
    Population,
    RunConfig,
    fitting,
    shape_key,
    stacks,
    train,
)
from engine.memory import LONE_WORK
from engine.optimizers import SCHEDULES
from engine.results import fingerprint

N_SHAPES = 60
HIDDEN = (1, 2, 3, 5, 8, 16, 17, 32, 33, 64, 96)
BATCH = (1, 1, 1, 2, 3, 5, 8, 16, 33, 64, 100)


@pytest.fixture(autouse=True)
def _few_held_out_samples(monkeypatch):
    """Ask fewer questions, in two blocks as before: the training is what takes different ways."""
    monkeypatch.setattr("engine.population.HELD_OUT_SAMPLES", 250)
    monkeypatch.setattr("engine.population.START_SAMPLES", 125)


def pick(rng, values):
    return values[rng.integers(len(values))]


def random_shape(rng, task, cell):
    """Return what all runs of a population share."""
    shape = {"task": task, "cell": cell, "n_layers": pick(rng, (1, 1, 1, 2, 2, 3)), "n_iterations": int(rng.integers(2, 6))}
    shape |= {"hidden_size": pick(rng, HIDDEN), "batch_size": pick(rng, BATCH), "dtype": pick(rng, ("float64", "float32"))}
    shape |= {"bias": pick(rng, (True, False)), "reset_after": pick(rng, (True, False)), "bits": int(rng.integers(2, 7))}
    shape |= {"projection_size": pick(rng, (None, None, 1, 4, 33)), "loss": pick(rng, TASKS[task].losses)}
    shape |= {"optimizer": pick(rng, list(OPTIMIZERS)), "length": (TASKS[task].shortest or 0) + int(rng.integers(0, 6))}
    return shape | {"clip_norm": pick(rng, (None, 1.0)), "clip_value": pick(rng, (None, None, None, 1.0))}


def random_member(rng, shape):
    """Return a run of that shape; every third is wild, with weights and learning rates that make numbers overflow."""
    wild = rng.integers(3) == 0
    std, rate = ((0.5, pick(rng, (1.5, 6))), (0, 6)) if wild else ((-1, 0.3), (-3, 0))  # decimal exponents
    values = {"activation": pick(rng, list(ACTIVATIONS)), "init_scheme": pick(rng, list(INIT_SCHEMES))}
    values |= {"weight_init_std": 10 ** rng.uniform(*std), "learning_rate": 10 ** rng.uniform(*rate)}
    values |= {"forget_bias": rng.uniform(-2, 2), "momentum": rng.uniform(0, 0.99), "rho": rng.uniform(0, 0.999)}
    values |= {"beta1": rng.uniform(0, 0.99), "beta2": rng.uniform(0, 0.9999), "epsilon": 10 ** rng.uniform(-10, -1)}
    values |= {"schedule": pick(rng, list(SCHEDULES)), "schedule_every": int(rng.integers(1, 4))}
    values |= {"schedule_factor": rng.uniform(0.01, 1), "pool_size": pick(rng, (0, 0, 1, 7)), "seed": int(rng.integers(5))}
    for clip in ("clip_norm", "clip_value"):
        values |= {clip: shape[clip] and 10 ** rng.uniform(-2, 2)}
    return RunConfig(**fitting(shape | values))


@functools.cache
def members(number):
    """Return runs that can be one population; over all numbers each cell meets each task."""
    rng, tasks, cells = np.random.default_rng(number), list(TASKS), list(CELLS)
    shape = random_shape(rng, tasks[number % len(tasks)], cells[number // len(tasks) % len(cells)])
    configs = [random_member(rng, shape) for _ in range(rng.integers(2, 9))]
    assert len({shape_key(config) for config in configs}) == 1
    return configs


def bits_of(result):
    """Return everything a result holds as text and bytes, its share of the time excepted; every NaN equals every other."""
    values = {f.name: getattr(result, f.name) for f in dataclasses.fields(result) if f.name not in ("seconds", "curves")}
    return repr(values), np.where(np.isnan(result.curves), np.nan, result.curves).tobytes()


def finish(population):
    results = population.advance(population.n_iterations).results()
    return [bits_of(results[place]) for place in range(len(population.configs))]


def alone(config):
    return finish(Population([config]))[0]


@functools.cache
def together(number):
    return finish(Population(members(number)))


@pytest.mark.parametrize("number", range(N_SHAPES))
def test_random_runs_have_the_same_bits_alone_and_in_any_company_order_and_pieces(number):
    configs, rng = members(number), np.random.default_rng(number)
    for config, bits in zip(configs, together(number), strict=True):
        assert alone(config) == bits, f"trained alone, this run has other bits: {config}"
    some = rng.permutation(len(configs))[: rng.integers(1, len(configs) + 1)]
    population = Population([configs[place] for place in some])
    while population.active:
        population = pickle.loads(pickle.dumps(population.advance(int(rng.integers(1, 4)))))
    assert finish(population) == [together(number)[place] for place in some]


def test_the_runs_above_are_many_and_of_every_kind():
    configs = [config for number in range(N_SHAPES) for config in members(number)]
    assert len(set(configs)) >= 200
    for name, known in {
        "task": TASKS,
        "cell": CELLS,
        "optimizer": OPTIMIZERS,
        "activation": ACTIVATIONS,
        "init_scheme": INIT_SCHEMES,
        "schedule": SCHEDULES,
        "hidden_size": HIDDEN,
        "batch_size": BATCH,
        "n_layers": (1, 2, 3),
        "bias": (True, False),
        "reset_after": (True, False),
        "projection_size": (None, 1, 4, 33),
    }.items():
        assert {getattr(config, name) for config in configs} >= set(known), name
    assert {(config.cell, config.task) for config in configs} == {(cell, task) for cell in CELLS for task in TASKS}
    assert {(config.cell, config.dtype) for config in configs} == {(cell, d) for cell in CELLS for d in ("float64", "float32")}
    assert {bool(config.pool_size) for config in configs} == {True, False}
    assert {(c.clip_norm is None, c.clip_value is None) for c in configs} == {
        (a, b) for a in (True, False) for b in (True, False)
    }
    work = [config.batch_size * config.hidden_size for config in configs]
    assert sum(size >= LONE_WORK for size in work) >= 30
    assert sum(size < LONE_WORK for size in work) >= 150
    texts = [text for number in range(N_SHAPES) for text, _ in together(number)]
    assert sum("'weights_finite': False" in text for text in texts) >= 15  # died
    assert sum("'overflow': Overflow" in text for text in texts) >= 40


LONE = [(1024, 1), (512, 2), (342, 3), (256, 5), (147, 7), (64, 16), (33, 33), (100, 80), (16, 100), (1, 1024)]
"""Batch and hidden size of runs of so much work that they need no company."""


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(("batch_size", "hidden_size"), LONE)
def test_large_runs_have_the_same_bits_without_company(batch_size, hidden_size, dtype):
    """With one output unit BLAS is handed vectors, and adds up those without gaps in another order."""
    shape = {"batch_size": batch_size, "hidden_size": hidden_size, "dtype": dtype, "n_iterations": 2}
    for cell, task in (("rnn", "binary_addition"), ("gru", "bit_count"), ("lstm", "temporal_order")):
        if hidden_size == 1024 and cell != "rnn":
            continue  # drawing its weights takes longer than all the rest
        small = {"bits": 3, "length": (TASKS[task].shortest or 0) + 1, "pool_size": 0, "init_scheme": "xavier_uniform"}
        config = RunConfig(**fitting(shape | {"cell": cell, "task": task} | small))
        assert batch_size * hidden_size >= LONE_WORK
        for others in (1, 2):
            crowd = [config, *(config.replace(seed=seed) for seed in range(10, 10 + others))]
            assert finish(Population(crowd))[0] == alone(config)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_classic_runs_have_the_same_bits_in_populations_of_any_size(dtype):
    names = list(ACTIVATIONS)
    configs = [RunConfig(n_iterations=25, seed=i, dtype=dtype, activation=names[i % 7]) for i in range(300)]
    crowd = finish(Population(configs))
    for size in (1, 2, 3, 7, 64, 129):
        assert finish(Population(configs[:size])) == crowd[:size]
    assert finish(Population(configs[::-1])) == crowd[::-1]
    assert finish(Population(configs[250:257])) == crowd[250:257]


@pytest.mark.parametrize("n_runs", range(2, 18))
def test_the_only_run_of_its_activation_may_have_a_single_unit(n_runs):
    """Its numbers then lie as far apart as there are runs: `numpy.negative` is wrong for some such distances."""
    for dtype in ("float64", "float32"):
        shape = {"hidden_size": 1, "batch_size": 3, "bits": 3, "n_iterations": 2, "dtype": dtype}
        configs = [RunConfig(**shape, activation=name) for name in ACTIVATIONS]
        crowd = [*configs, *(RunConfig(**shape, activation="tanh", seed=seed) for seed in range(2, 20))][: max(n_runs, 7)]
        for config in configs:
            others = [other for other in crowd if other.activation != config.activation][: n_runs - 1]
            assert finish(Population([config, *others]))[0] == alone(config)


def work_of_several_kinds():
    """Return 60 runs of three shapes; their stacks are cut for two workers."""
    names = list(ACTIVATIONS)
    classic = [RunConfig(n_iterations=60, seed=i, activation=names[i % 7]) for i in range(40)]
    gated = [RunConfig(n_iterations=20, cell="lstm", optimizer="adam", task="parity", seed=i) for i in range(10)]
    pooled = [
        RunConfig(n_iterations=10, cell="gru", task="bit_count", batch_size=33, dtype="float32", seed=i) for i in range(10)
    ]
    return [config for trio in zip(classic[::4], gated, pooled, strict=True) for config in trio] + classic


def test_one_worker_or_two_or_none_give_the_same_bits(monkeypatch):
    monkeypatch.undo()  # the workers know of no fewer questions
    monkeypatch.setattr("engine.training.CACHE_BYTES", 200_000)
    configs = work_of_several_kinds()
    expected = [bits_of(result) for result in train(configs)]
    groups = {n: stacks(configs, n_workers=n) for n in (1, 2)}
    assert len(groups[2]) > 3
    found = {n: [None] * len(configs) for n in groups}
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, context, initializer=threadpool_limits, initargs=(1,)) as workers:
        for n, cut in groups.items():
            for places, results in zip(cut, workers.map(train, [[configs[p] for p in places] for places in cut]), strict=True):
                for place, result in zip(places, results, strict=True):
                    found[n][place] = bits_of(result)
        population = Population([config for config in configs if config.cell == "lstm"])
        while population.active:
            population = workers.submit(population.advance, 7).result()  # goes from process to process
    assert found == {1: expected, 2: expected}
    expected = [bits for config, bits in zip(configs, expected, strict=True) if config.cell == "lstm"]
    assert [bits_of(population.results()[place]) for place in range(10)] == expected


# Fingerprints


def test_a_fingerprint_is_that_of_the_loss_curve_and_the_final_weights():
    population = Population([RunConfig(n_iterations=7, bits=3, hidden_size=4, dtype="float32")]).advance(6)
    expected = fingerprint(population.curve(0)[:, CURVES.index("loss")], population.parameters[0])
    population.stop()
    result = population.results()[0]
    assert result.fingerprint == expected
    assert len(result.fingerprint) == 32
    assert int(result.fingerprint, 16) >= 0


@given(st.integers(0, 11), st.integers(0, 51), st.sampled_from(["float64", "float32"]))
@settings(max_examples=100, deadline=None, derandomize=True)  # derandomize: a red test always means changed code
def test_any_bit_of_a_loss_or_a_weight_changes_the_fingerprint(place, bit, dtype):
    values = [np.linspace(0.1, 1, 6), np.linspace(1, 2, 6).astype(dtype)]
    before = fingerprint(*values)
    part, place = divmod(place, 6)
    word = values[part].view(f"u{values[part].itemsize}")
    word[place] ^= word.dtype.type(1) << word.dtype.type(bit % (23 if values[part].itemsize == 4 else 52))
    assert np.isfinite(values[part]).all()
    assert fingerprint(*values) != before


def test_losses_and_weights_do_not_stand_in_for_each_other():
    one, other = np.array([1.0, 2.0]), np.array([3.0, 4.0])
    assert len({fingerprint(one, other), fingerprint(other, one), fingerprint(one[::-1], other), fingerprint(one, one)}) == 4
    assert fingerprint(np.array([0.0]), one) != fingerprint(np.array([-0.0]), one)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_all_nans_are_one_to_a_fingerprint(dtype):
    word = {"float64": "u8", "float32": "u4"}[dtype]
    weights = np.array([np.nan, 1, -np.nan], dtype)
    other = weights.copy()
    other.view(word)[:] ^= np.array([1 << (8 * weights.itemsize - 1), 0, 5], word)  # another sign, another payload
    assert weights.tobytes() != other.tobytes()
    assert np.isnan(other).tolist() == [True, False, True]
    assert fingerprint(np.ones(2), weights) == fingerprint(np.ones(2), other)
    assert fingerprint(np.ones(2), weights) != fingerprint(np.ones(2), weights[:2])
    assert fingerprint(np.ones(2), weights) != fingerprint(np.ones(2), np.array([np.inf, 1, np.nan], dtype))
