"""Every task against arithmetic on Python's own numbers, worked out from what the network gets to see."""

import itertools
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine import TASKS, ConfigError, RunConfig
from engine.config import DTYPES, FIELDS
from engine.randomness import PURPOSES, stream
from engine.readouts import READOUTS

ADDITION, COUNT, PARITY = TASKS["binary_addition"], TASKS["bit_count"], TASKS["parity"]


def sizes(name):
    """Return settings for the smallest of a task, a little more, one that needs several words, and the usual one."""
    shortest = TASKS[name].shortest
    if shortest is None:
        return [{"bits": 2}, {"bits": 5}, {}]
    return [{"length": shortest}, {"length": shortest + 3}, {"length": 150}, {}]


SIZED = [pytest.param(name, size, id=f"{name}-{size}") for name in TASKS for size in sizes(name)]
every_task = pytest.mark.parametrize("name", TASKS)
every_size = pytest.mark.parametrize(("name", "size"), SIZED)
every_number_type = pytest.mark.parametrize("dtype", DTYPES)


def drawn(config, n, seed=1):
    return TASKS[config.task].draw(stream(seed, "data"), n, config)


def encoded(config, n, seed=1):
    return TASKS[config.task].encode(drawn(config, n, seed), config)


def even(counts, n):
    """Return whether counts among n draws are all alike, up to five standard deviations of a count."""
    counts = np.asarray(counts)
    p = 1 / counts.size
    return np.abs(counts - n * p).max() <= 5 * np.sqrt(n * p * (1 - p))


# every task


def test_every_task_of_the_config_is_here():
    assert set(FIELDS["task"].choices) == set(TASKS)


@every_task
def test_a_task_fits_the_config_and_the_readouts(name):
    task = TASKS[name]
    assert task.title
    assert {(task.output, loss) for loss in task.losses} <= set(READOUTS)
    start = RunConfig(task=name, **task.starting_point)
    assert {key: getattr(start, key) for key in task.starting_point} == task.starting_point
    assert RunConfig(task=name).pool_size == task.usual_pool
    assert RunConfig(task=name).loss == task.losses[0]
    if task.shortest is not None:
        assert RunConfig(task=name).length == task.usual_length >= task.shortest
        with pytest.raises(ConfigError):
            RunConfig(task=name, length=task.shortest - 1)


@every_size
@every_number_type
def test_inputs_and_targets_keep_the_axes_of_the_samples(name, size, dtype):
    task, config = TASKS[name], RunConfig(task=name, dtype=dtype, **size)
    samples = drawn(config, 24)
    assert samples.shape == (24, task.n_words(config))
    inputs, targets = task.encode(samples, config)
    for array, n_steps, n_units in (
        (inputs, task.n_steps(config), task.n_inputs),
        (targets, task.n_answers(config), task.n_outputs),
    ):
        assert array.shape == (n_steps, 24, n_units)
        assert array.dtype in (np.dtype(np.uint8), np.dtype(dtype))
    in_place = samples.reshape(4, 2, 3, -1)
    strided = np.moveaxis(samples.reshape(2, 3, 4, -1).copy(), 2, 0)  # as the population hands them on: no copy, other strides
    for block, flat in ((in_place, samples), (strided, strided.reshape(24, -1))):
        for array, one_row in zip(task.encode(block, config), task.encode(flat, config), strict=True):
            np.testing.assert_array_equal(array, one_row.reshape(len(one_row), 4, 2, 3, -1))
    for array, alone in zip((inputs, targets), task.encode(samples[7], config), strict=True):
        np.testing.assert_array_equal(array[:, 7], alone)


@every_size
def test_both_number_types_see_the_same_samples(name, size):
    double, single = (encoded(RunConfig(task=name, dtype=dtype, **size), 50) for dtype in ("float64", "float32"))
    for array, other in zip(double, single, strict=True):
        assert (array == other).all()


@every_task
@given(st.lists(st.integers(0, 50), min_size=1, max_size=6), st.integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None, derandomize=True)  # derandomize: a red test always means changed code
def test_samples_drawn_in_pieces_are_those_drawn_at_once(name, pieces, seed):
    config, rng = RunConfig(task=name), stream(seed, "data")
    parts = np.concatenate([TASKS[name].draw(rng, n, config) for n in pieces])
    np.testing.assert_array_equal(parts, drawn(config, sum(pieces), seed))


def losses_of(y, targets, task, loss):
    """Return each sample's loss of one answer y (K, O) to all, straight from the loss's definition."""
    y, d = y[:, None], targets.astype(float)
    if loss == "cross_entropy" and task.output == "softmax":
        return -np.where(d > 0, np.log(np.maximum(y, 1e-300)), 0).sum(axis=(0, -1))
    if loss == "cross_entropy":
        return -(d * np.log(y) + (1 - d) * np.log(1 - y)).sum(axis=(0, -1))
    return {"half_squared_error": 0.5, "mean_squared_error": 1}[loss] * ((y - d) ** 2).sum(axis=(0, -1))


@pytest.mark.parametrize(
    ("name", "size", "loss"), [(name, size, loss) for name in TASKS for size in sizes(name)[:2] for loss in TASKS[name].losses]
)
def test_the_baseline_is_the_loss_of_the_best_constant_answer_to_100_000_samples(name, size, loss):
    """The mean answer of each step, which minimizes a squared error and a cross-entropy alike."""
    task, config = TASKS[name], RunConfig(task=name, loss=loss, **size)
    parts = [encoded(config, 10_000, seed)[1] for seed in range(10)]
    best = np.mean([part.mean(axis=1) for part in parts], axis=0)
    mean = task.step_weight(config) * np.mean([losses_of(best, part, task, loss) for part in parts])
    # a variance of n samples scatters by sqrt((kurtosis - 1) / n), ours have kurtosis 3 or less; five times that
    assert task.baseline(config) == pytest.approx(mean, rel=5 * np.sqrt(2 / 100_000))


@every_size
def test_the_truth_is_right_and_examples_are_plain_json(name, size):
    task, config = TASKS[name], RunConfig(task=name, **size)
    samples = drawn(config, 20)
    _, targets = task.encode(samples, config)
    assert task.correct(targets.astype(float), targets).tolist() == [True] * 20
    examples = task.examples(samples, targets.astype(float), config)
    assert [example["right"] for example in examples] == [True] * 20
    assert json.loads(json.dumps(examples, allow_nan=False)) == examples
    assert all(example["line"] and "\n" not in example["line"] for example in examples)


@pytest.mark.parametrize(
    ("name", "length", "n_words"),
    [(name, length, -(-length // 64)) for name in ("bit_count", "parity") for length in (1, 64, 65, 128)]
    + [("adding_problem", length, 1 + -(-length // 2)) for length in (2, 3)]
    + [("temporal_order", length, 1 + -(-length // 32)) for length in (10, 32, 33)]
    + [("copy_memory", 100, 1)],
)
def test_a_sample_takes_no_more_words_than_it_needs(name, length, n_words):
    assert TASKS[name].n_words(RunConfig(task=name, length=length)) == n_words


@every_size
@every_number_type
def test_examples_are_right_where_correct_says_so(name, size, dtype):
    task, config = TASKS[name], RunConfig(task=name, dtype=dtype, **size)
    samples = drawn(config, 200)
    targets = task.encode(samples, config)[1].astype(dtype)
    noise = np.random.default_rng(5).normal(size=targets.shape) * np.linspace(0, 1, 200)[:, None]
    outputs = (targets + noise).astype(dtype)
    right = task.correct(outputs, targets)
    assert right.shape == (200,)
    assert 0 < right.sum() < 200
    assert [example["right"] for example in task.examples(samples, outputs, config)] == right.tolist()
    in_block = task.correct(outputs.reshape(-1, 4, 50, task.n_outputs), targets.reshape(-1, 4, 50, task.n_outputs))
    np.testing.assert_array_equal(in_block, right.reshape(4, 50))


@pytest.mark.parametrize("name", [name for name in TASKS if name != "binary_addition"])  # leaves this to the population
def test_an_answer_that_is_not_a_number_is_wrong(name):
    task, config = TASKS[name], RunConfig(task=name)
    samples = drawn(config, 60)
    _, targets = task.encode(samples, config)
    for place in ((), (-1, slice(None), 0), (-1, slice(None), -1), (0, slice(None), 0)):
        outputs = targets.astype(float)
        spoiled = outputs[:, ::2]
        spoiled[place] = np.nan
        right = task.correct(outputs, targets).tolist()
        assert right == [False, True] * 30
        examples = task.examples(samples, outputs, config)
        assert [example["right"] for example in examples] == right
        assert json.loads(json.dumps(examples, allow_nan=False)) == examples


def test_streams_differ_by_seed_purpose_and_index_and_by_nothing_else():
    keys = [(seed, purpose, index) for seed in (0, 1) for purpose in PURPOSES for index in (0, 1)]
    firsts = {key: stream(*key).bit_generator.random_raw() for key in keys}
    assert len(set(firsts.values())) == len(keys)
    assert firsts == {key: stream(*key).bit_generator.random_raw() for key in keys}


# binary addition


def words(pairs):
    """Return samples that hold these numbers, with noise in all the bits that must not matter."""
    high = 2**31  # the one bit of each half that no task size uses
    return np.array([[(a | high) | ((b | high) << 32)] for a, b in pairs], np.uint64)


def bits_of(number, n):
    return [number >> t & 1 for t in range(n)]


def test_5_plus_3_by_hand():
    """101 + 011 = 1000, least significant bit first."""
    inputs, targets = ADDITION.encode(words([(5, 3)]), RunConfig(bits=4))
    assert inputs[:, 0].tolist() == [[1, 1], [0, 1], [1, 0], [0, 0]]
    assert targets[:, 0, 0].tolist() == [0, 0, 0, 1]


def test_a_carry_can_run_through_all_bits():
    inputs, targets = ADDITION.encode(words([(127, 1)]), RunConfig(bits=8))
    assert inputs[:, 0, 0].tolist() == [1] * 7 + [0]
    assert targets[:, 0, 0].tolist() == [0] * 7 + [1]


@given(st.integers(2, 32), st.data())
@settings(max_examples=200, deadline=None, derandomize=True)
def test_sums_are_exact_for_every_number_of_bits(n_bits, data):
    number = st.integers(0, 2 ** (n_bits - 1) - 1)
    pairs = data.draw(st.lists(st.tuples(number, number), min_size=1, max_size=5))
    config = RunConfig(bits=n_bits)
    samples = words(pairs)
    assert ADDITION.pairs(samples, config).tolist() == [list(pair) for pair in pairs]
    inputs, targets = ADDITION.encode(samples, config)
    assert len(inputs) == len(targets) == n_bits
    for i, (a, b) in enumerate(pairs):
        assert inputs[:, i, 0].tolist() == bits_of(a, n_bits)
        assert inputs[:, i, 1].tolist() == bits_of(b, n_bits)
        assert targets[:, i, 0].tolist() == bits_of(a + b, n_bits)


@pytest.mark.parametrize("n_bits", [2, 8, 9, 31, 32])
def test_the_largest_sum_fits(n_bits):
    largest = 2 ** (n_bits - 1) - 1
    _, targets = ADDITION.encode(words([(largest, largest)]), RunConfig(bits=n_bits))
    assert sum(int(bit) << t for t, bit in enumerate(targets[:, 0, 0])) == 2 * largest < 2**n_bits


def test_small_numbers_are_drawn_evenly():
    config = RunConfig(bits=3)
    pairs = ADDITION.pairs(drawn(config, 16_000, seed=3), config)
    assert even(np.bincount(pairs[:, 0] * 4 + pairs[:, 1], minlength=16), 16_000)


def losses_of_constants(n_bits, answers):
    """Return the loss of constant answers, one for each bit, averaged over all pairs of numbers."""
    numbers = range(2 ** (n_bits - 1))
    truths = np.array([bits_of(a + b, n_bits) for a, b in itertools.product(numbers, numbers)])
    return ((answers - truths) ** 2).sum(axis=1).mean() / 2, truths.mean(axis=0)


@pytest.mark.parametrize("n_bits", range(2, 9))
def test_the_baseline_of_addition_is_the_best_constant_answers_loss_over_all_pairs(n_bits):
    _, best = losses_of_constants(n_bits, np.zeros(n_bits))  # the mean minimizes a squared error
    loss, _ = losses_of_constants(n_bits, best)
    assert ADDITION.baseline(RunConfig(bits=n_bits)) == pytest.approx(loss, rel=1e-12)  # some 100,000 roundings that cancel
    entropy = -(best * np.log(best) + (1 - best) * np.log(1 - best)).sum()
    assert ADDITION.baseline(RunConfig(bits=n_bits, loss="cross_entropy")) == pytest.approx(entropy, rel=1e-12)
    for moved in (best + 0.01, best - 0.01):
        assert losses_of_constants(n_bits, moved)[0] > loss


@given(st.integers(0, 10**6), st.integers(2, 6))
@settings(max_examples=50, deadline=None, derandomize=True)
def test_correct_counts_sums_whose_every_rounded_bit_is_right(seed, n_bits):
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, 2, (n_bits, 30, 1))
    outputs = np.where(rng.random((n_bits, 30, 1)) < 0.8, targets, 1 - targets) * 0.9 + 0.05
    by_hand = [all(round(y) == d for y, d in zip(outputs[:, i, 0], targets[:, i, 0], strict=True)) for i in range(30)]
    assert ADDITION.correct(outputs, targets).tolist() == by_hand


def test_a_missing_answer_to_a_1_is_wrong():
    assert ADDITION.correct(np.array([[[np.nan], [0.9]]]), np.array([[[1], [1]]])).tolist() == [False, True]


def test_examples_of_sums_hold_the_numbers_the_answer_and_all_bits():
    # 3 + 2 = 5 = 101; the outputs, least significant bit first, round to 1, 1, 0: the answer 3
    config = RunConfig(bits=3)
    (example,) = ADDITION.examples(words([(3, 2)]), np.array([[[0.9]], [[0.75]], [[0.5]]]), config)
    assert example == {
        "line": "3 + 2 = 3 (is 5)",
        "right": False,
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
    outputs = np.array([0.0] + [1.0] * 31)[:, None, None]
    (example,) = ADDITION.examples(words([(largest, largest)]), outputs, RunConfig(bits=32))
    assert example["answer"] == example["a"] + example["b"] == 2**32 - 2
    assert example["line"] == "2147483647 + 2147483647 = 4294967294"
    assert example["true_bits"] == example["answer_bits"] == "1" * 31 + "0"
    assert example["a_bits"] == "0" + "1" * 31


# bit count and parity


def many_words(number, n_words):
    """Return one sample that holds a whole number, lowest 64 bits first."""
    return np.array([[number >> 64 * i & 2**64 - 1 for i in range(n_words)]], np.uint64)


@pytest.mark.parametrize(("name", "of_ones"), [("bit_count", lambda ones: ones), ("parity", lambda ones: ones % 2)])
@pytest.mark.parametrize("length", [1, 10, 64, 65, 130, 1000])
@given(st.data())
@settings(max_examples=10, deadline=None, derandomize=True)
def test_ones_are_counted_as_in_whole_numbers(name, of_ones, length, data):
    task, config = TASKS[name], RunConfig(task=name, length=length, dtype="float32")
    all_ones, any_number = st.just(2**length - 1), st.integers(0, 2**length - 1)
    number = data.draw(all_ones | any_number)
    above = 1 << 64 * task.n_words(config) - 1 if length % 64 else 0  # a bit that must not matter
    inputs, targets = task.encode(many_words(number | above, task.n_words(config)), config)
    assert inputs[:, 0, 0].tolist() == bits_of(number, length)
    assert targets.tolist() == [[[of_ones(number.bit_count())]]]


@pytest.mark.parametrize("length", [1, 2, 7])
def test_the_baselines_of_count_and_parity_over_all_sequences(length):
    samples = np.arange(2**length, dtype=np.uint64)[:, None]
    counts = COUNT.encode(samples, RunConfig(task="bit_count", length=length))[1]
    assert COUNT.baseline(RunConfig(task="bit_count", length=length)) == counts.var()
    config = RunConfig(task="parity", length=length)
    assert PARITY.encode(samples, config)[1].mean() == 0.5
    assert PARITY.baseline(config) == -np.log(0.5)
    assert PARITY.baseline(config.replace(loss="half_squared_error")) == 0.5**2 / 2


def test_a_count_is_right_within_a_twentieth():
    outputs = np.array([6.049, 6.051, 5.951, 5.949, 6.0, np.inf, 5.0])[None, :, None]
    right = [True, False, True, False, True, False, False]
    assert COUNT.correct(outputs, np.full((1, 7, 1), 6.0)).tolist() == right


def test_a_parity_is_right_when_it_rounds_to_the_truth():
    outputs = np.array([0.0, 0.49, 0.5, 0.51, 1.0])[None, :, None]
    assert PARITY.correct(outputs, np.zeros((1, 5, 1), np.uint8)).tolist() == [True, True, True, False, False]
    assert PARITY.correct(outputs, np.ones((1, 5, 1), np.uint8)).tolist() == [False, False, False, True, True]


def test_examples_of_counts_read_as_their_source_prints_them():
    config = RunConfig(task="bit_count", length=4)
    examples = COUNT.examples(np.array([[0b1101], [0b0100]], np.uint64), np.array([[[3.01002449], [-np.inf]]]), config)
    assert examples == [
        {"line": "output: 3.010024, correct: 3", "right": True, "question": "1011", "answer": 3.01002449, "truth": 3},
        {"line": "output: -inf, correct: 1", "right": False, "question": "0010", "answer": None, "truth": 1},
    ]


def test_examples_of_parities():
    config = RunConfig(task="parity", length=4)
    samples = np.array([[0b1101], [0b0101], [0]], np.uint64)
    assert PARITY.examples(samples, np.array([[[0.9], [0.7], [np.nan]]]), config) == [
        {"line": "ones: 3 -> answer odd, correct odd", "right": True, "question": "1011", "answer": "odd", "truth": "odd"},
        {"line": "ones: 2 -> answer odd, correct even", "right": False, "question": "1010", "answer": "odd", "truth": "even"},
        {"line": "ones: 0 -> answer ?, correct even", "right": False, "question": "0000", "answer": "?", "truth": "even"},
    ]
