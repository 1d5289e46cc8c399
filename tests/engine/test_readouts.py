"""Readouts against closed forms, their derivatives against differences, and what saturated and overflowing ones do."""

import math

import numpy as np
import pytest

from engine import TASKS, RunConfig
from engine.network import Network, initial_parameters
from engine.readouts import LOSSES, READOUTS
from engine.watch import KINDS, PHASES, FloatingPointWatch

LN3 = math.log(3)
BITS_HALF, BITS_ENTROPY = ("logistic", "half_squared_error"), ("logistic", "cross_entropy")
NUMBERS, CLASSES = ("linear", "mean_squared_error"), ("softmax", "cross_entropy")


def readout_of(kind, a, target, dtype="float64"):
    """Return a readout after all its passes, and its watch: a and target (K, B, P, O)."""
    a = np.array(a, dtype)
    watch = FloatingPointWatch(np.zeros(a.shape[2], bool))
    readout = READOUTS[kind](a.shape, np.dtype(dtype), watch)
    readout.a[...], readout.target[...] = a, target
    with watch.on():
        readout.answer()
        watch.phase = PHASES.index("loss")
        readout.loss()
        readout.derivative()
        if watch.raised:  # as the network does after a loss
            watch.blame(readout.losses)
    return readout, watch


def one(kind, a, target):
    """Return y, loss and dL/da of the outputs of one step, one sequence and one run."""
    readout, _ = readout_of(kind, np.reshape(a, (1, 1, 1, -1)), np.reshape(target, (1, 1, 1, -1)))
    return readout.y.ravel(), readout.loss_factor * readout.losses.sum(), readout.gradient_factor * readout.da.ravel()


def test_tables_name_every_loss():
    assert {loss for _, loss in READOUTS} == set(LOSSES)
    assert {(task.output, loss) for task in TASKS.values() for loss in task.losses} <= set(READOUTS)


@pytest.mark.parametrize(("target", "error"), [(0, 0.75), (1, -0.25)])
def test_half_squared_error_of_a_bit_by_hand(target, error):
    # y = sigma(ln 3) = 3/4; loss = error^2 / 2; dL/da = error y (1 - y) = error 3/16
    y, loss, da = one(BITS_HALF, LN3, target)
    assert (y.item(), loss, da.item()) == pytest.approx((0.75, error**2 / 2, error * 3 / 16), rel=1e-14)


@pytest.mark.parametrize(("target", "probability"), [(0, 0.25), (1, 0.75)])
def test_cross_entropy_of_a_bit_by_hand(target, probability):
    y, loss, da = one(BITS_ENTROPY, LN3, target)
    assert (y.item(), loss, da.item()) == pytest.approx((0.75, -math.log(probability), 0.75 - target), rel=1e-14)


def test_squared_error_of_a_number_by_hand():
    # y = a = 7.5, d = 5: loss 2.5^2 = 6.25, dL/da = 2 * 2.5
    y, loss, da = one(NUMBERS, 7.5, 5)
    assert (y.item(), loss, da.item()) == (7.5, 6.25, 5.0)


def test_cross_entropy_of_classes_by_hand():
    # exp(ln 1), exp(ln 2), exp(ln 5): y = 1/8, 2/8, 5/8; truth is the second: loss = log 4, dL/da = y - d
    y, loss, da = one(CLASSES, [0, math.log(2), math.log(5)], [0, 1, 0])
    np.testing.assert_allclose(y, [0.125, 0.25, 0.625], rtol=1e-14)
    assert loss == pytest.approx(math.log(4), rel=1e-14)
    np.testing.assert_allclose(da, [0.125, -0.75, 0.625], rtol=1e-14)


@pytest.mark.parametrize("kind", READOUTS, ids="-".join)
def test_derivatives_equal_differences(kind):
    """Central differences of second order: wrong by some STEP^2 = 1e-10 times a third derivative, and 1e-16 / STEP = 1e-11."""
    step, rng = 1e-5, np.random.default_rng(3)
    shape = 3, 2, 2, 4
    a = rng.normal(0, 2, shape)
    target = np.eye(4)[rng.integers(0, 4, shape[:3])] if kind == CLASSES else rng.integers(0, 2, shape)
    readout, _ = readout_of(kind, a, target)
    derivative = readout.gradient_factor * readout.da
    for place in np.ndindex(shape):
        moved = np.zeros(shape)
        moved[place] = step
        plus, minus = (readout.loss_factor * readout_of(kind, a + k * moved, target)[0].losses.sum() for k in (1, -1))
        assert derivative[place] == pytest.approx((plus - minus) / (2 * step), rel=1e-6, abs=1e-8), place


@pytest.mark.parametrize("target", [0, 1])
@pytest.mark.parametrize("a", [-1000.0, 1000.0, -600.0, 600.0])
def test_the_cross_entropy_of_a_saturated_bit_is_its_input_s_size_or_nothing(a, target):
    y, loss, da = one(BITS_ENTROPY, a, target)
    wrong = (a > 0) != target
    assert loss == (abs(a) if wrong else pytest.approx(0.0, abs=1e-200))
    assert (y.item(), da.item()) == pytest.approx((float(a > 0), float(a > 0) - target), abs=1e-200)


@pytest.mark.parametrize("kind", [BITS_HALF, BITS_ENTROPY], ids="-".join)
def test_a_bit_s_logistic_overflows_without_consequences_and_blames_its_run(kind):
    """The plain formula meets exp(1000) on the way to 0; that is noticed, though everything stays finite."""
    readout, watch = readout_of(kind, np.reshape([1000.0, 3.0, -1000.0], (1, 1, 3, 1)), np.ones((1, 1, 3, 1)))
    assert watch.hit.tolist() == [False, False, True]
    assert not watch.spreads
    for values in (readout.y, readout.losses, readout.da):
        assert np.isfinite(values).all()


@pytest.mark.parametrize(("dtype", "largest"), [("float64", 709.78), ("float32", 88.72)])
def test_a_softmax_overflows_where_exp_does_and_blames_its_run(dtype, largest):
    a = np.zeros((2, 2, 4, 3))  # steps, sequences, runs, classes
    a[1, 0, 1, 2], a[0, 1, 2, 0], a[0, 0, 3] = largest, largest * 1.0001, -20 * largest
    target = np.eye(3)[np.ones((2, 2, 4), int)]
    _, watch = readout_of(CLASSES, a, target, dtype)
    assert watch.hit.tolist() == [False, False, True, True]
    assert PHASES[watch.first_phase[3]] == "forward"
    # three exp(-14000) = 0 add up to 0, and 0 / 0 is no number: invalid, not overflow
    assert [KINDS[kind] for kind in watch.first_kind[[2, 3]]] == ["overflow", "invalid"]
    assert watch.spreads


def test_a_sum_of_exponentials_may_overflow_where_none_of_them_does():
    a = np.zeros((1, 1, 2, 2))
    a[0, 0, 1] = 709.7  # twice exp(709.7) = 1.66e308
    _, watch = readout_of(CLASSES, a, np.eye(2)[np.zeros((1, 1, 2), int)])
    assert watch.hit.tolist() == [False, True]


def test_a_squared_error_overflows_and_blames_its_run():
    _, watch = readout_of(NUMBERS, np.reshape([1e100, 1e200], (1, 1, 2, 1)), np.zeros((1, 1, 2, 1)))
    assert watch.hit.tolist() == [False, True]


@pytest.mark.parametrize("kind", READOUTS, ids="-".join)
def test_losses_stand_by_step_sequence_run_and_output(kind):
    """A softmax has one loss for all its outputs; a loss depends on no other step, sequence or run."""
    rng, shape = np.random.default_rng(0), (3, 4, 5, 2)
    a, target = rng.normal(0, 1, shape), np.eye(2)[rng.integers(0, 2, shape[:3])]
    readout, _ = readout_of(kind, a, target)
    assert readout.losses.shape == (3, 4, 5, 1 if kind == CLASSES else 2)
    alone, _ = readout_of(kind, a[1:2, 2:3, 3:4], target[1:2, 2:3, 3:4])
    np.testing.assert_array_equal(readout.losses[1, 2, 3], alone.losses[0, 0, 0])
    np.testing.assert_array_equal(readout.da[1, 2, 3], alone.da[0, 0, 0])


@pytest.mark.parametrize(
    ("settings", "loss_factor", "gradient_factor"),
    [
        # losses are summed over steps and outputs; the loss halves squares or not, weighs steps, and is a mean over the batch
        ({"task": "binary_addition", "loss": "half_squared_error"}, 0.5, 1 / 4),
        ({"task": "binary_addition", "loss": "cross_entropy"}, 1, 1 / 4),
        ({"task": "bit_count"}, 1, 2 / 4),
        ({"task": "temporal_order"}, 1, 1 / 4),
        ({"task": "copy_memory", "length": 5}, 1 / 25, 1 / 25 / 4),
    ],
)
def test_a_network_s_factors_turn_sums_into_the_loss_and_its_gradient(settings, loss_factor, gradient_factor):
    config = RunConfig(batch_size=4, hidden_size=3, **settings)
    parameters = initial_parameters(config)[None]
    network = Network([config], parameters, np.empty_like(parameters), 4, FloatingPointWatch(np.zeros(1, bool)))
    assert network.loss_factor == pytest.approx(loss_factor, rel=1e-15)
    assert network.gradient_factor == pytest.approx(gradient_factor, rel=1e-15)
