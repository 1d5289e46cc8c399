"""The long-memory tasks against arithmetic on Python's own numbers, worked out from what the network gets to see."""

from fractions import Fraction

import numpy as np
import pytest

from engine import TASKS, RunConfig
from engine.config import DTYPES
from engine.randomness import stream

ADDING, COPY, ORDER = TASKS["adding_problem"], TASKS["copy_memory"], TASKS["temporal_order"]
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


# adding problem

QUARTER, HALF = 1 << 30, 1 << 31
"""A quarter and a half of the numbers that 32 bits can be."""


def test_three_quarters_plus_an_eighth_by_hand():
    """The first marker's bits are at half of their range: the second of two steps; the others' at 0: the third of all."""
    samples = np.array([[HALF, QUARTER | (HALF | QUARTER) << 32, HALF >> 2]], np.uint64)
    inputs, targets = ADDING.encode(samples, RunConfig(task="adding_problem", length=4))
    assert inputs[:, 0].tolist() == [[0.25, 0], [0.75, 1], [0.125, 1], [0, 0]]
    assert targets.tolist() == [[[0.875]]]


@every_number_type
def test_the_smallest_and_largest_numbers_and_steps(dtype):
    config = RunConfig(task="adding_problem", length=5, dtype=dtype)
    inputs, targets = ADDING.encode(np.array([[0] * 4, [2**64 - 1] * 4], np.uint64), config)
    assert inputs[:, 0].tolist() == [[0, 1], [0, 0], [0, 1], [0, 0], [0, 0]]
    most = 1 - 2.0**-23
    assert inputs[:, 1].tolist() == [[most, 0], [most, 1], [most, 0], [most, 0], [most, 1]]
    assert targets[0, :, 0].tolist() == [0, 2 * most]


@pytest.mark.parametrize("length", [2, 3, 7, 100])
@every_number_type
def test_the_target_is_exactly_the_sum_of_what_is_marked(length, dtype):
    inputs, targets = encoded(RunConfig(task="adding_problem", length=length, dtype=dtype), 200)
    for i in range(200):
        marked = [t for t in range(length) if inputs[t, i, 1] == 1]
        assert [inputs[t, i, 1] for t in range(length) if t not in marked] == [0] * (length - 2)
        early, late = marked
        assert early < length // 2 <= late
        assert Fraction(float(targets[0, i, 0])) == sum(Fraction(float(inputs[t, i, 0])) for t in marked)
        assert all(0 <= inputs[t, i, 0] < 1 for t in range(length))


def test_every_step_of_each_half_is_marked_equally_often():
    inputs, _ = encoded(RunConfig(task="adding_problem", length=7), 36_000)
    early, late = inputs[:3, :, 1].argmax(axis=0), inputs[3:, :, 1].argmax(axis=0)
    assert even(np.bincount(early * 4 + late, minlength=12), 36_000)


def test_numbers_are_even_and_owe_nothing_to_each_other_or_to_the_markers():
    config, n = RunConfig(task="adding_problem", length=7), 20_000
    samples = drawn(config, n)
    inputs, _ = ADDING.encode(samples, config)
    for numbers in inputs[..., 0]:
        assert even(np.bincount((numbers * 16).astype(int), minlength=16), n)
    rows = np.concatenate([inputs[..., 0], ADDING.marked(samples, config)])
    correlations = np.corrcoef(rows) - np.eye(9)
    assert np.abs(correlations).max() < 5 / np.sqrt(n)


def test_a_sum_is_right_within_eight_hundredths():
    outputs = np.array([1.079, 1.081, 0.921, 0.919, 1.0])[None, :, None]
    assert ADDING.correct(outputs, np.ones((1, 5, 1))).tolist() == [True, False, True, False, True]


def test_the_baseline_of_the_adding_problem_is_known_in_closed_form():
    """Two independent numbers from [0, 1) have a variance of 1/12 each; the literature's 0.167."""
    assert ADDING.baseline(RunConfig(task="adding_problem")) == pytest.approx(1 / 12 + 1 / 12)


def test_examples_of_marked_sums_add_up_as_printed():
    samples = np.array([[0, round(0.00006 * 2**32) | round(0.91196 * 2**32) << 32]], np.uint64)
    outputs = np.array([[[0.9500214]]])
    (example,) = ADDING.examples(samples, outputs, RunConfig(task="adding_problem", length=2))
    assert example.pop("truth") == pytest.approx(0.91202, abs=2**-22)
    assert example == {
        "line": "0.0001 + 0.9120 = 0.9121, output: 0.950021",
        "right": True,
        "question": "0.0001 + 0.9120",
        "answer": 0.9500214,
    }


# copy memory


def digits(number):
    """Return ten symbols as a sample: three bits each, the first lowest, with noise above them."""
    return sum(int(digit) << 3 * i for i, digit in enumerate(number)) | 1 << 30 | 1 << 63


def test_ten_symbols_and_a_delay_of_three_by_hand():
    samples = np.array([[digits("3170025644")]], np.uint64)
    inputs, targets = COPY.encode(samples, RunConfig(task="copy_memory", length=3))
    blank, delimiter = [8], [9]
    assert inputs[:, 0].argmax(axis=-1).tolist() == [3, 1, 7, 0, 0, 2, 5, 6, 4, 4] + 2 * blank + delimiter + 10 * blank
    assert targets[:, 0].argmax(axis=-1).tolist() == 13 * blank + [3, 1, 7, 0, 0, 2, 5, 6, 4, 4]


@pytest.mark.parametrize("length", [1, 2, 10, 100])
def test_what_is_copied_is_what_was_seen(length):
    config = RunConfig(task="copy_memory", length=length)
    inputs, targets = encoded(config, 50)
    assert len(inputs) == len(targets) == COPY.n_answers(config) == length + 20
    assert (inputs.sum(axis=-1) == 1).all()
    assert (targets.sum(axis=-1) == 1).all()
    for i in range(50):
        seen, due = ([list(step).index(1) for step in array[:, i].tolist()] for array in (inputs, targets))
        assert max(seen[:10]) < 8
        assert [t for t, kind in enumerate(seen) if kind == 9] == [length + 9]
        assert set(seen[10 : length + 9] + seen[length + 10 :]) == {8}
        assert due == [8] * (length + 10) + seen[:10]


def test_every_symbol_comes_equally_often_everywhere_and_owes_nothing_to_the_others():
    n = 20_000
    seen = encoded(RunConfig(task="copy_memory"), n)[0][:10].argmax(axis=-1)
    assert all(even(np.bincount(kinds, minlength=8), n) for kinds in seen)
    assert np.abs(np.corrcoef(seen) - np.eye(10)).max() < 5 / np.sqrt(n)


@pytest.mark.parametrize("length", [1, 20, 500])
def test_the_baseline_of_copy_memory_is_the_sources(length):
    """Blanks are certain, and each of the ten symbols costs ln 8; a mean over all steps."""
    baseline = COPY.baseline(RunConfig(task="copy_memory", length=length))
    assert baseline == pytest.approx((10 * np.log(8) + (length + 10) * np.log(1)) / (length + 20))
    assert COPY.step_weight(RunConfig(task="copy_memory", length=length)) * (length + 20) == pytest.approx(1)


def test_a_copy_is_right_when_the_likeliest_symbols_of_the_last_ten_steps_all_are():
    _, targets = encoded(RunConfig(task="copy_memory", length=2), 1)
    for t in range(22):
        outputs = np.where(targets == 1, 0.3, 0.7 / 8)
        outputs[t] = np.roll(outputs[t], 1, axis=-1)
        assert COPY.correct(outputs, targets).tolist() == [t < 12]


def test_examples_of_copies():
    samples = np.array([[digits("3170025644")], [digits("0000000000")]], np.uint64)
    config = RunConfig(task="copy_memory", length=3)
    outputs = COPY.encode(samples, config)[1] * 0.5
    outputs[15, 0, 8] = 0.6  # the third symbol: blank instead of 7
    outputs[22, 1, 4] = np.nan
    assert COPY.examples(samples, outputs, config) == [
        {
            "line": "answer 31.0025644, correct 3170025644",
            "right": False,
            "question": "3170025644..:..........",
            "answer": "31.0025644",
            "truth": "3170025644",
        },
        {
            "line": "answer 000000000?, correct 0000000000",
            "right": False,
            "question": "0000000000..:..........",
            "answer": "000000000?",
            "truth": "0000000000",
        },
    ]


# temporal order


def shown(inputs):
    """Return what goes in as a text for each sample."""
    return ["".join("XYabcd"[list(step).index(1)] for step in sample) for sample in inputs.transpose(1, 0, 2).tolist()]


BY_HAND = np.array([[1 | HALF << 32, sum(t % 4 << 2 * t for t in range(10)) | 1 << 63]], np.uint64)
"""Distractors abcdabcdab; Y at the first of its two steps (bits 0), X at the second (bits at half of their range)."""


def test_y_before_x_by_hand():
    inputs, targets = ORDER.encode(BY_HAND, RunConfig(task="temporal_order", length=10))
    assert shown(inputs) == ["aYcdaXcdab"]
    assert targets.tolist() == [[[0, 0, 1, 0]]]


@pytest.mark.parametrize("length", [10, 11, 19, 50, 99])
def test_the_order_can_be_told_from_the_inputs_and_places_cover_their_tenths(length):
    inputs, targets = encoded(RunConfig(task="temporal_order", length=length), 1000)
    firsts, seconds = set(), set()
    for text, target in zip(shown(inputs), targets[0].tolist(), strict=True):
        first, second = (t for t in range(length) if text[t] in "XY")
        assert target == [int(text[first] + text[second] == order) for order in ("XX", "XY", "YX", "YY")]
        firsts.add(first)
        seconds.add(second)
    assert firsts == {t for t in range(length) if length <= 10 * t <= 2 * length}
    assert seconds == {t for t in range(length) if 4 * length <= 10 * t <= 5 * length}


def test_orders_and_places_are_drawn_evenly_and_apart_from_each_other():
    """At 20 steps three places each, 2 to 4 and 8 to 10, and four orders."""
    inputs, targets = encoded(RunConfig(task="temporal_order", length=20), 36_000)
    relevant = inputs[..., :2].any(axis=-1)
    first, second = relevant[2:5].argmax(axis=0), relevant[8:11].argmax(axis=0)
    assert even(np.bincount(first * 12 + second * 4 + targets[0].argmax(axis=-1), minlength=36), 36_000)


def test_distractors_are_drawn_evenly_and_apart_from_each_other():
    n = 16_000
    inputs, _ = encoded(RunConfig(task="temporal_order", length=40), n)
    free = [t for t in range(40) if not (4 <= t <= 8 or 16 <= t <= 20)]
    assert not inputs[free, :, :2].any()
    kinds = inputs[free, :, 2:].argmax(axis=-1)
    assert all(even(np.bincount(row, minlength=4), n) for row in kinds)
    assert np.abs(np.corrcoef(kinds) - np.eye(len(free))).max() < 5 / np.sqrt(n)


def test_an_order_is_right_when_it_is_the_likeliest():
    outputs = np.array([[[0.1, 0.3, 0.2, 0.4], [0.1, 0.4, 0.2, 0.3]]])
    targets = np.array([[[0, 0, 0, 1], [0, 0, 0, 1]]], np.uint8)
    assert ORDER.correct(outputs, targets).tolist() == [True, False]


def test_the_baseline_of_the_temporal_order_is_four_alike():
    assert ORDER.baseline(RunConfig(task="temporal_order")) == pytest.approx(-np.log(0.25))


def test_examples_of_orders():
    config = RunConfig(task="temporal_order", length=10)
    outputs = np.array([[[0.1, 0.2, 0.6, 0.1], [0.1, 0.6, 0.2, 0.1], [0.1, np.nan, 0.8, 0.1]]])
    examples = ORDER.examples(BY_HAND.repeat(3, axis=0), outputs, config)
    for example, answer, right in zip(examples, ("YX", "XY", "?"), (True, False, False), strict=True):
        line = f"Y..X -> answer {answer}, correct YX"
        assert example == {"line": line, "right": right, "question": "aYcdaXcdab", "answer": answer, "truth": "YX"}
