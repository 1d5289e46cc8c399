"""What a population takes of the memory: the estimate against what NumPy reports, and when it refuses."""

import os
import tracemalloc

import pytest

from engine import TASKS, ConfigError, Population, RunConfig, check_memory, stacks
from engine import memory as memory_module
from engine.memory import LONE_WORK, company, memory, run_bytes

BIG = {"hidden_size": 1024, "batch_size": 1024, "task": "adding_problem", "length": 1000, "n_layers": 4, "cell": "lstm"}
MEASURED = [  # populations of some 3 to 15 MB
    (300, {}),
    (2, {"batch_size": 256, "hidden_size": 64}),
    (1, {"batch_size": 512, "hidden_size": 64}),
    (2, {"hidden_size": 256, "batch_size": 4, "optimizer": "adam", "clip_norm": 1.0}),
    (4, {"cell": "lstm", "batch_size": 32, "hidden_size": 64, "n_layers": 2, "bias": True}),
    (2, {"cell": "lstm_peephole", "task": "parity", "length": 20, "batch_size": 64, "hidden_size": 32, "dtype": "float32"}),
    (1, {"cell": "lstm_peephole", "task": "parity", "length": 20, "batch_size": 64, "hidden_size": 32}),
    (3, {"cell": "lstm_cec", "task": "copy_memory", "length": 20, "batch_size": 64, "hidden_size": 32}),
    (2, {"cell": "lstm_io", "task": "temporal_order", "length": 20, "batch_size": 64, "hidden_size": 32}),
    (1, {"cell": "gru", "task": "adding_problem", "length": 40, "batch_size": 64, "hidden_size": 32}),
    (2, {"cell": "gru", "reset_after": True, "task": "adding_problem", "length": 20, "batch_size": 64, "hidden_size": 32}),
    (1, {"cell": "lstm", "task": "bit_count", "batch_size": 100, "hidden_size": 80, "projection_size": 80, "bias": True}),
    (2, {"task": "copy_memory", "length": 30, "batch_size": 256, "hidden_size": 4}),
]


@pytest.mark.parametrize(("n_runs", "settings"), MEASURED, ids=str)
def test_the_estimate_is_about_what_a_training_takes(n_runs, settings):
    configs = [RunConfig(n_iterations=1000, seed=seed, **settings) for seed in range(n_runs)]  # the first makes no point
    estimate = run_bytes(configs[0]) * company(configs[0], n_runs)
    assert estimate > 2_000_000
    tracemalloc.start()
    try:
        population = Population(configs)
        tracemalloc.reset_peak()
        population.advance(1)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert 0.75 < peak / estimate < 1.75  # curves and samples drawn ahead count more beside small runs


def test_the_estimate_of_the_classic_exercise_by_hand():
    """304 weights thrice; 8 steps of 2 inputs and 3 x 16 activities; 6 numbers for each of 8 answers; 8 bytes each."""
    assert run_bytes(RunConfig()) == (3 * 304 + 8 * (2 + 3 * 16) + 6 * 8) * 8
    assert run_bytes(RunConfig(dtype="float32")) == run_bytes(RunConfig()) / 2
    assert run_bytes(RunConfig(optimizer="adam")) == run_bytes(RunConfig()) + 2 * 304 * 8


def test_a_lone_run_takes_two_rows_unless_it_is_large_and_has_units_enough():
    small, large = RunConfig(batch_size=63, hidden_size=16), RunConfig(batch_size=64, hidden_size=16)
    assert large.batch_size * large.hidden_size == LONE_WORK
    assert (company(small, 1), company(small, 2), company(small, 7)) == (2, 2, 7)
    assert (company(large, 1), company(large, 2), company(large, 7)) == (1, 2, 7)
    assert company(RunConfig(batch_size=1024, hidden_size=1), 1) == 2  # all its products are of vectors
    assert Population([small]).rows == [0, 0]
    assert Population([large.replace(n_iterations=1)]).rows == [0]


def test_too_much_is_refused_with_the_numbers_before_anything_is_taken(monkeypatch):
    monkeypatch.setattr(memory_module, "memory", lambda: 16 * 2**30)
    config = RunConfig(**BIG)
    expected = (
        "expected a run that fits in 8.0 GB, half of this machine's memory, found one that needs about "
        f"{run_bytes(config) / 2**30:.1f} GB; lower hidden_size, n_layers, batch_size, pool_size or the length of the sequences"
    )
    tracemalloc.start()
    try:
        for refuse in (lambda: check_memory(config), lambda: Population([config])):
            with pytest.raises(ConfigError) as caught:
                refuse()
            assert str(caught.value) == expected
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert run_bytes(config) > 400 * 2**30
    assert peak < 1_000_000


def test_runs_that_do_not_fit_together_are_stacked_in_smaller_populations(monkeypatch):
    long = RunConfig(task="copy_memory", length=200, hidden_size=16, batch_size=16, n_iterations=1)
    pooled = long.replace(pool_size=500_000, seed=2)
    runs = [long.replace(seed=seed) for seed in range(10, 19)]
    assert max(map(len, stacks(runs))) > 3
    monkeypatch.setattr(memory_module, "memory", lambda: 2 * 3.5 * run_bytes(long))
    assert list(map(len, stacks(runs))) == [3, 3, 3]
    for places in stacks(runs):
        Population([runs[place] for place in places])
    pools = 8 * TASKS["copy_memory"].n_words(long) * 500_000
    assert pools > run_bytes(long)
    monkeypatch.setattr(memory_module, "memory", lambda: 2 * 2.5 * (run_bytes(long) + pools))
    assert max(map(len, stacks([*runs, pooled]))) == 2  # any of them may be the one with the pool


def test_the_limit_is_half_of_the_memory_for_all_runs_together(monkeypatch):
    config = RunConfig()
    monkeypatch.setattr(memory_module, "memory", lambda: 2 * 10 * run_bytes(config))
    check_memory(config)
    check_memory(config, 10)
    with pytest.raises(ConfigError, match="needs about"):
        check_memory(config, 11)
    with pytest.raises(ConfigError, match="needs about"):
        Population([config] * 11)


def test_pools_count_once_for_each_seed_and_size(monkeypatch):
    """1,000 bits are 16 words: a million samples are 128 MB."""
    pooled = {"task": "bit_count", "length": 1000, "hidden_size": 1, "n_iterations": 1, "pool_size": 1_000_000}
    configs = [RunConfig(seed=seed, **pooled) for seed in range(3)]
    monkeypatch.setattr(memory_module, "memory", lambda: 2 * 130_000_000)
    check_memory(configs[0])
    with pytest.raises(ConfigError, match="pool_size"):
        check_memory(configs[0], n_pooled=2_000_000)
    with pytest.raises(ConfigError, match="needs about"):
        Population([configs[0].replace(pool_size=0), *configs])
    monkeypatch.setattr("engine.population.check_memory", lambda config, n_runs, n_pooled: asked.append((n_runs, n_pooled)))
    asked = []
    small = [config.replace(length=10, pool_size=size) for size in (0, 5, 9) for config in (configs[0], *configs)]
    Population(small)
    assert asked == [(12, 3 * 5 + 3 * 9)]


def test_where_the_system_does_not_say_there_are_4_gb(monkeypatch):
    def unknown(name):
        raise ValueError("unrecognized configuration name")

    assert memory() > 2**28
    monkeypatch.setattr(os, "sysconf", unknown, raising=False)
    assert memory() == 4 * 2**30
    monkeypatch.delattr(os, "sysconf")
    assert memory() == 4 * 2**30
