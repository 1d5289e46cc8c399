"""Binary addition against arithmetic on Python's whole numbers."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine import TASKS, RunConfig
from engine.config import FIELDS
from engine.randomness import PURPOSES, stream

TASK = TASKS["binary_addition"]


def words(pairs):
    """Return samples that hold these numbers, with noise in all the bits that must not matter."""
    high = 2**31  # the one bit of each half that no task size uses
    return np.array([(a | high) | ((b | high) << 32) for a, b in pairs], np.uint64)


def bits_of(number, n):
    return [number >> t & 1 for t in range(n)]


def test_every_task_of_the_config_is_here():
    assert set(FIELDS["task"].choices) == set(TASKS) == {"binary_addition"}


def test_5_plus_3_by_hand():
    """101 + 011 = 1000, least significant bit first."""
    inputs, targets = TASK.encode(words([(5, 3)]), RunConfig(bits=4))
    assert inputs[:, 0].tolist() == [[1, 1], [0, 1], [1, 0], [0, 0]]
    assert targets[:, 0, 0].tolist() == [0, 0, 0, 1]


def test_a_carry_can_run_through_all_bits():
    inputs, targets = TASK.encode(words([(127, 1)]), RunConfig(bits=8))
    assert inputs[:, 0, 0].tolist() == [1] * 7 + [0]
    assert targets[:, 0, 0].tolist() == [0] * 7 + [1]


@given(st.integers(2, 32), st.data())
@settings(max_examples=200, deadline=None, derandomize=True)  # derandomize: a red test always means changed code
def test_sums_are_exact_for_every_number_of_bits(n_bits, data):
    number = st.integers(0, 2 ** (n_bits - 1) - 1)
    pairs = data.draw(st.lists(st.tuples(number, number), min_size=1, max_size=5))
    config = RunConfig(bits=n_bits)
    samples = words(pairs)
    assert TASK.pairs(samples, config).tolist() == [list(pair) for pair in pairs]
    inputs, targets = TASK.encode(samples, config)
    assert len(inputs) == len(targets) == TASK.n_steps(config) == n_bits
    for i, (a, b) in enumerate(pairs):
        assert inputs[:, i, 0].tolist() == bits_of(a, n_bits)
        assert inputs[:, i, 1].tolist() == bits_of(b, n_bits)
        assert targets[:, i, 0].tolist() == bits_of(a + b, n_bits)


@pytest.mark.parametrize("n_bits", [2, 8, 9, 31, 32])
def test_the_largest_sum_fits(n_bits):
    largest = 2 ** (n_bits - 1) - 1
    _, targets = TASK.encode(words([(largest, largest)]), RunConfig(bits=n_bits))
    assert sum(int(bit) << t for t, bit in enumerate(targets[:, 0, 0])) == 2 * largest < 2**n_bits


def test_inputs_keep_the_axes_of_the_samples():
    samples = TASK.draw(stream(1, "data"), 24).reshape(2, 3, 4)
    inputs, targets = TASK.encode(samples, RunConfig(bits=5))
    assert inputs.shape == (5, 2, 3, 4, TASK.n_inputs)
    assert targets.shape == (5, 2, 3, 4, TASK.n_outputs)
    np.testing.assert_array_equal(inputs[:, 1, 2, 3], TASK.encode(samples[1, 2, 3:], RunConfig(bits=5))[0][:, 0])
    assert set(np.unique(inputs)) == set(np.unique(targets)) == {0, 1}


@given(st.lists(st.integers(0, 50), min_size=1, max_size=6), st.integers(0, 2**32 - 1))
@settings(max_examples=50, deadline=None, derandomize=True)
def test_samples_drawn_in_pieces_are_those_drawn_at_once(pieces, seed):
    rng = stream(seed, "data")
    parts = np.concatenate([TASK.draw(rng, n) for n in pieces])
    np.testing.assert_array_equal(parts, TASK.draw(stream(seed, "data"), sum(pieces)))


def test_small_numbers_are_drawn_evenly():
    pairs = TASK.pairs(TASK.draw(stream(3, "data"), 16_000), RunConfig(bits=3))
    counts = np.bincount(pairs[:, 0] * 4 + pairs[:, 1], minlength=16)
    assert len(counts) == 16
    np.testing.assert_allclose(counts, 1000, atol=5 * np.sqrt(1000))  # five standard deviations of a count


def test_streams_differ_by_seed_purpose_and_index_and_by_nothing_else():
    keys = [(seed, purpose, index) for seed in (0, 1) for purpose in PURPOSES for index in (0, 1)]
    firsts = {key: stream(*key).bit_generator.random_raw() for key in keys}
    assert len(set(firsts.values())) == len(keys)
    assert firsts == {key: stream(*key).bit_generator.random_raw() for key in keys}


def losses_of_constants(n_bits, answers):
    """Return the loss of constant answers, one for each bit, averaged over all pairs of numbers."""
    numbers = range(2 ** (n_bits - 1))
    truths = np.array([bits_of(a + b, n_bits) for a, b in itertools.product(numbers, numbers)])
    return ((answers - truths) ** 2).sum(axis=1).mean() / 2, truths.mean(axis=0)


@pytest.mark.parametrize("n_bits", range(2, 9))
def test_the_baseline_is_the_best_constant_answers_loss_over_all_pairs(n_bits):
    _, best = losses_of_constants(n_bits, np.zeros(n_bits))  # the mean minimizes a squared error
    loss, _ = losses_of_constants(n_bits, best)
    assert TASK.baseline(RunConfig(bits=n_bits)) == pytest.approx(loss, rel=1e-12)  # some 100,000 roundings that cancel
    for moved in (best + 0.01, best - 0.01):
        assert losses_of_constants(n_bits, moved)[0] > loss


@given(st.integers(0, 10**6), st.integers(2, 6))
@settings(max_examples=50, deadline=None, derandomize=True)
def test_correct_counts_samples_whose_every_rounded_bit_is_right(seed, n_bits):
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, 2, (n_bits, 30))
    outputs = np.where(rng.random((n_bits, 30)) < 0.8, targets, 1 - targets) * 0.9 + 0.05
    by_hand = [all(round(y) == d for y, d in zip(ys, ds, strict=True)) for ys, ds in zip(outputs.T, targets.T, strict=True)]
    assert TASK.correct(outputs, targets).tolist() == by_hand


def test_a_missing_answer_to_a_1_is_wrong():
    assert TASK.correct(np.array([[np.nan, 0.9]]), np.array([[1, 1]])).tolist() == [False, True]


def test_examples_hold_the_numbers_the_answer_and_all_bits():
    # 3 + 2 = 5 = 101; the outputs, least significant bit first, round to 1, 1, 0: the answer 3
    config = RunConfig(bits=3)
    (example,) = TASK.examples(words([(3, 2)]), np.array([[0.9], [0.75], [0.5]]), config)
    assert example == {
        "a": 3,
        "b": 2,
        "answer": 3,
        "a_bits": "011",
        "b_bits": "010",
        "answer_bits": "011",
        "true_bits": "101",
        "outputs": [0.5, 0.75, 0.9],
    }


def test_examples_of_32_bits_are_exact():
    largest = 2**31 - 1
    (example,) = TASK.examples(words([(largest, largest)]), np.array([[0.0]] + [[1.0]] * 31), RunConfig(bits=32))
    assert example["answer"] == example["a"] + example["b"] == 2**32 - 2
    assert example["true_bits"] == example["answer_bits"] == "1" * 31 + "0"
    assert example["a_bits"] == "0" + "1" * 31
