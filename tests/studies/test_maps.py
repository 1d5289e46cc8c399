"""Maps: values by closed forms, maps of twice the size and zooms, orders, what is kept of runs, what a map knows of another."""

import collections
import dataclasses
import itertools
import json
import math
import statistics
from decimal import Decimal, localcontext
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from engine import OUTCOMES, ConfigError, RunConfig, train
from studies.errors import PlanError
from studies.maps import CELL, LARGEST, MOST_RUNS, Axis, Map, cell_of, known_from, lattice, middle, share_good

SHORT = settings(deadline=None, max_examples=30)
STD = Axis("weight_init_std", 0.01, 100, log=True)
RATE = Axis("learning_rate", 0.001, 100, log=True)
WORDS = Axis("activation", values=("sigmoid", "tanh", "relu"))
SCHEMES = Axis("init_scheme", values=("normal", "he_normal"))
PLACES = {name: place for place, name in enumerate(OUTCOMES, 1)}


def plane(x=STD, y=RATE, **more):
    return Map(**{"name": "edge", "x": x, "y": y, "size": 8} | more)


@st.composite
def windows(draw, n):
    first = draw(st.integers(0, n - 1))
    return first, draw(st.integers(first + 1, n))


# Values of an axis


def exact(low, high, log, share):
    """Return what stands at a share of an axis, with fifty digits."""
    with localcontext(prec=50):
        low, high, share = Decimal(low), Decimal(high), Decimal(share.numerator) / Decimal(share.denominator)
        return ((low.ln() + (high.ln() - low.ln()) * share).exp()) if log else low + (high - low) * share


@SHORT
@given(st.floats(1e-6, 1), st.floats(2, 1e6), st.booleans(), st.integers(2, 200), st.data())
def test_values_are_spread_evenly_over_numbers_or_over_powers_of_ten(low, high, log, n, data):
    axis = Axis("learning_rate", low, high, log)
    values = axis.all(n)
    assert len(values) == n
    assert values[0] == low
    assert all(a < b for a, b in itertools.pairwise(values))
    assert axis.at(n, n) == high
    place = data.draw(st.integers(0, n))
    assert axis.at(place, n) == pytest.approx(float(exact(low, high, log, Fraction(place, n))), rel=1e-13)


def test_a_logarithmic_axis_multiplies_from_cell_to_cell_and_another_one_adds():
    assert RATE.all(5) == pytest.approx([0.001, 0.01, 0.1, 1, 10])
    assert Axis("learning_rate", 1, 3).all(8) == [1, 1.25, 1.5, 1.75, 2, 2.25, 2.5, 2.75]
    assert Axis("weight_init_std", 0, 10).all(2) == [0, 5]


@SHORT
@given(st.booleans(), st.integers(2, 60), st.integers(2, 9), st.lists(windows(60), max_size=4))
def test_a_finer_axis_has_the_same_floats_at_the_old_places_also_after_zooms(log, n, times, zooms):
    axis = Axis("learning_rate", 0.0013, 77.7, log)
    for first, end in zooms:
        axis = axis.window(first, end, 60)
    assert axis.all(times * n)[::times] == axis.all(n)


@SHORT
@given(st.booleans(), windows(24), st.integers(1, 7))
def test_a_window_that_is_cut_finer_has_the_floats_of_the_cells_it_was_cut_from(log, window, times):
    axis, (first, end) = Axis("weight_init_std", 0.037, 12.3, log), window
    zoomed = axis.window(first, end, 24)
    assert zoomed.all((end - first) * times)[::times] == axis.all(24)[first:end]
    assert zoomed.at(1, 1) == axis.at(end, 24)


def test_a_window_of_a_window_is_the_window_of_both():
    once = STD.window(4, 12, 64).window(2, 6, 8)
    assert once == STD.window(6, 10, 64)
    assert (once.start, once.stop) == (Fraction(6, 64), Fraction(10, 64))
    assert (once.low, once.high) == (0.01, 100)


def test_windows_by_numpy_s_whole_numbers_stay_exact_however_deep():
    ours = theirs = STD
    for _ in range(15):
        ours, theirs = ours.window(37, 50, 100), theirs.window(np.int64(37), np.int64(50), 100)
    assert ours == theirs
    assert ours.stop - ours.start == Fraction(13, 100) ** 15


@SHORT
@given(st.booleans(), st.integers(1, 20), st.integers(21, 1024), st.integers(2, 100), st.integers(2, 5))
def test_a_whole_number_setting_takes_the_nearest_whole_numbers(log, low, high, n, times):
    axis = Axis("hidden_size", low, high, log)
    values = axis.all(n)
    assert all(type(value) is int for value in values)
    away = [abs(value - exact(low, high, log, Fraction(i, n))) for i, value in enumerate(values)]
    assert max(away) <= Decimal("0.500000001")
    assert values == sorted(values)
    assert axis.at(n, n) == high
    assert axis.all(times * n)[::times] == values


def test_words_stand_in_their_order_once_each_whatever_the_size():
    assert Axis("activation", values=["tanh", "relu", "tanh"]).values == ("tanh", "relu")
    assert WORDS.all(64) == ["sigmoid", "tanh", "relu"]
    assert (WORDS.size(64), RATE.size(64)) == (3, 64)
    assert WORDS.window(1, 3, 3).all(64) == ["tanh", "relu"]
    assert Axis("clip_norm", values=(None, 1, 0.5)).all(9) == [None, 1.0, 0.5]
    assert Axis("bias", values=(False, True)).all(9) == [False, True]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (("learning_rat", 0, 1), ConfigError, "did you mean 'learning_rate'?"),
        (("seed", 1, 9), PlanError, "seed: expected another setting on an axis; n_seeds says with how many seeds"),
        (("optimizer",), PlanError, "optimizer: expected a list of values on an axis, found a range; it is no number"),
        (("bias", 0, 1), PlanError, "bias: expected a list of values on an axis, found a range; it is no number"),
        (("learning_rate", 1.0, 0.1), PlanError, "learning_rate: expected low below high, found 1.0 and 0.1"),
        (("learning_rate", 1.0, 1.0), PlanError, "learning_rate: expected low below high, found 1.0 and 1.0"),
        (("clip_norm", None, 1.0), PlanError, "clip_norm: expected low below high, found None and 1.0"),
        (("clip_norm",), PlanError, "clip_norm: expected low below high, found None and None"),
        (("learning_rate",), ConfigError, "learning_rate: expected a number above 0 up to 1,000,000, found None"),
        (
            ("learning_rate", 0.1, 1e7),
            ConfigError,
            "learning_rate: expected a number above 0 up to 1,000,000, found 10000000.0",
        ),
        (("learning_rate", math.nan, 1), ConfigError, "found nan"),
        (("hidden_size", 1.5, 9), ConfigError, "hidden_size: expected a whole number from 1 to 1,024, found 1.5"),
        (("weight_init_std", 0, 1, True), PlanError, "weight_init_std: expected a range above 0 for log, found it starts at 0"),
        (("forget_bias", -1, 1, True), PlanError, "forget_bias: expected a range above 0 for log, found it starts at -1"),
        (("activation", None, None, False, ("tanh", "rely")), ConfigError, "did you mean 'relu'?"),
        (("bias", None, None, False, (1,)), ConfigError, "bias: expected true or false, found 1"),
        (("learning_rate", 1, 2, False, (), 1, 1), PlanError, "learning_rate: expected a window inside 0 to 1, found 1 to 1"),
        (("learning_rate", 1, 2, False, (), -1, 1), PlanError, "expected a window inside 0 to 1, found -1 to 1"),
        (("learning_rate", 1, 2, False, (), 0, Fraction(9, 8)), PlanError, "expected a window inside 0 to 1, found 0 to 9/8"),
    ],
)
def test_an_axis_that_makes_no_sense_is_refused_with_the_reason(arguments, error, message):
    with pytest.raises(error) as refused:
        Axis(*arguments)
    assert message in str(refused.value)


@pytest.mark.parametrize(
    "axis",
    [STD, WORDS, Axis("hidden_size", 2, 40), Axis("clip_norm", values=(None, 0.1)), STD.window(7, 9, 11).window(3, 8, 13)],
)
def test_an_axis_survives_plain_values_as_json_to_the_last_bit(axis):
    again = Axis.from_dict(json.loads(json.dumps(axis.to_dict())))
    assert again == axis
    assert again.all(50) == axis.all(50)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (7, "axis: expected an object with high, log, low, setting, start, stop, values, found 7"),
        ({"low": 1, "high": 2}, "axis: expected an object with"),
        ({"setting": "learning_rate", "lo": 1}, "axis: expected an object with"),
        ({"setting": ["learning_rate"]}, "axis: expected an object with"),
        ({"setting": "cell", "values": "rnn"}, "axis: expected an object with"),
        ({"setting": "cell", "values": 5}, "axis: expected an object with"),
        *(
            (
                {"setting": "learning_rate", "low": 1, "high": 2, "start": start},
                "axis learning_rate: expected start and stop as",
            )
            for start in ("a third", "1/0", None, math.inf, math.nan, [1])
        ),
    ],
)
def test_plain_values_that_are_no_axis_are_refused_with_the_reason(raw, message):
    with pytest.raises(PlanError) as refused:
        Axis.from_dict(raw)
    assert message in str(refused.value)


# Maps


def test_a_map_has_facets_rows_columns_and_seeds():
    assert plane().shape == (1, 8, 8, 1)
    wide = plane(x=WORDS, n_seeds=5, facet="optimizer", facet_values=("sgd", "adam"))
    assert wide.shape == (2, 8, 3, 5)
    assert wide.n_runs == 2 * 8 * 3 * 5
    assert Map(name="a", x=STD, y=RATE).shape == (1, 64, 64, 1)


@pytest.mark.parametrize(
    "made",
    [
        plane(size=3, n_seeds=2, fixed={"hidden_size": 4, "n_iterations": 7}),
        plane(x=WORDS, size=4, n_seeds=3, facet="optimizer", facet_values=("sgd", "adam"), fixed={"bias": True}),
        plane(x=Axis("batch_size", 1, 9), y=SCHEMES, size=5, facet="bias", facet_values=(False, True)),
    ],
    ids=["numbers", "facets", "words"],
)
def test_runs_are_numbered_by_facet_row_column_and_seed(made):
    number = 0
    for f, facet in enumerate(made.facet_values or [None]):
        for y, down in enumerate(made.y.all(made.size)):
            for x, across in enumerate(made.x.all(made.size)):
                for seed in range(1, made.n_seeds + 1):
                    moved = {made.x.setting: across, made.y.setting: down} | ({made.facet: facet} if facet is not None else {})
                    assert made.number(f, y, x, seed - 1) == number
                    assert made.config(number) == RunConfig(**made.fixed, **moved, seed=seed)
                    number += 1
    assert number == made.n_runs


def test_settings_that_mean_nothing_in_a_cell_are_left_out_there():
    made = plane(x=Axis("cell", values=("rnn", "lstm")), facet="optimizer", facet_values=("sgd", "momentum"))
    made = dataclasses.replace(made, fixed={"activation": "relu", "momentum": 0.5})
    configs = {(f, x): made.config(made.number(f, 0, x, 0)) for f in range(2) for x in range(2)}
    assert {at: config.activation for at, config in configs.items()} == {
        (0, 0): "relu",
        (0, 1): None,
        (1, 0): "relu",
        (1, 1): None,
    }
    assert {at: config.momentum for at, config in configs.items()} == {(0, 0): None, (0, 1): None, (1, 0): 0.5, (1, 1): 0.5}


def test_the_number_of_iterations_is_at_most_what_every_run_may_make():
    assert plane(size=2, n_seeds=3).n_iterations == 10_000 * 12
    assert plane(size=2, fixed={"n_iterations": 50}).n_iterations == 200
    assert plane(x=Axis("n_iterations", 100, 900), size=2).n_iterations == 500 * 4
    assert plane(size=2, facet="n_iterations", facet_values=(20_000, 5)).n_iterations == 20_000 * 8


def coarseness(y, x):
    """Return the largest power of two that divides both."""
    return next(2**k for k in range(20, -1, -1) if y % 2**k == x % 2**k == 0)


@SHORT
@given(st.integers(2, 40), st.integers(1, 3), st.integers(0, 2), st.booleans())
def test_the_order_has_every_run_once_from_coarse_to_fine_and_levels_have_all_facets_and_seeds(size, n_seeds, n_facets, words):
    facets = {"facet": "optimizer", "facet_values": ("sgd", "adam")[:n_facets]} if n_facets else {}
    made = plane(size=size, n_seeds=n_seeds, x=WORDS if words else STD, **facets)
    assert sorted(made.order) == list(range(made.n_runs))
    facet, y, x, seed = np.unravel_index(made.order, made.shape)
    first = 2 ** max(0, round(math.log2(max(made.shape[1:3]) / 16)))
    levels = [min(coarseness(*cell), first) for cell in zip(y.tolist(), x.tolist(), strict=True)]
    assert levels == sorted(levels, reverse=True)
    runs = list(zip(levels, facet.tolist(), y.tolist(), x.tolist(), seed.tolist(), strict=True))
    assert runs == sorted(runs, key=lambda run: (-run[0], *run[1:]))


def test_the_first_picture_has_about_sixteen_cells_along_the_longer_side():
    for size in (16, 64, 100, 512):
        made = plane(size=size)
        y, x = np.unravel_index(made.order, (size, size))
        stride = x[1]
        assert 11 <= size / stride <= 23
        n = math.ceil(size / stride)
        assert set(y[: n * n]) == set(x[: n * n]) == set(range(0, size, stride))


def test_a_zoom_keeps_everything_but_the_name_and_the_windows():
    made = plane(size=64, n_seeds=3, fixed={"bias": True}, facet="optimizer", facet_values=("sgd", "adam"))
    zoomed = made.zoomed("closer", (8, 16), (32, 64))
    windows = {"x": STD.window(8, 16, 64), "y": RATE.window(32, 64, 64)}
    assert zoomed == dataclasses.replace(made, name="closer", **windows)
    assert zoomed.shape == made.shape
    for place in range(8):
        assert zoomed.x.at(8 * place, 64) == made.x.at(8 + place, 64)
    assert made.zoomed(made.name, (0, 64), (0, 64)) == made


def test_a_zoom_into_words_has_only_those():
    zoomed = plane(x=WORDS).zoomed("closer", (1, 3), (0, 4))
    assert zoomed.shape == (1, 8, 2, 1)
    assert zoomed.config(0).activation == "tanh"


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        ((-1, 4), (0, 4), "x: expected a rectangle inside 8 cells, found -1 to 4"),
        ((4, 4), (0, 4), "x: expected a rectangle inside 8 cells, found 4 to 4"),
        ((0, 4), (5, 9), "y: expected a rectangle inside 8 cells, found 5 to 9"),
    ],
)
def test_a_zoom_beyond_the_map_is_refused(x, y, message):
    with pytest.raises(PlanError, match=message):
        plane().zoomed("closer", x, y)


# Resolution


def deeper(made, times):
    for _ in range(times):
        made = made.zoomed(made.name, (29, 37), (11, 19))
    return made


def test_ten_zooms_by_eight_still_tell_the_cells_of_float64_apart_where_they_belong():
    made = deeper(plane(size=64), 10)
    assert made.x.stop - made.x.start == Fraction(1, 8**10)
    assert made.doubtful() == ""
    for axis in (made.x, made.y):
        values = axis.all(64)
        assert all(a < b for a, b in itertools.pairwise(values))
        width = axis.stop - axis.start
        truth = [exact(axis.low, axis.high, True, axis.start + width * i / 64) for i in range(64)]
        assert values == pytest.approx([float(value) for value in truth], rel=1e-14, abs=0)
        step = truth[1] - truth[0]
        away = max(abs(Decimal(value) - right) / step for value, right in zip(values, truth, strict=True))
        assert away < Decimal("0.001")
    assert len({made.config(number).identity for number in range(made.n_runs)}) == made.n_runs


def test_float32_does_not_tell_the_same_cells_apart_and_says_so():
    fixed = {"dtype": "float32"}
    assert plane(size=64, fixed=fixed).doubtful() == ""
    assert deeper(plane(size=64, fixed=fixed), 10).doubtful() == (
        "weight_init_std: neighbouring cells differ by less than four steps of float32, 63 of 63 not at all; "
        "what is seen between them is rounding"
    )


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("steps", "doubtful"), [(2, True), (3, True), (4, False), (5, False)])
def test_doubt_begins_below_four_steps_of_the_number_type(dtype, steps, doubtful):
    step = float(np.spacing(np.dtype(dtype).type(1)))
    made = plane(x=Axis("learning_rate", 1.0, 1.0 + 8 * steps * step), y=STD, fixed={"dtype": dtype})
    expected = (
        f"learning_rate: neighbouring cells differ by less than four steps of {dtype}; what is seen between them is rounding"
    )
    assert made.doubtful() == (expected if doubtful else "")
    turned = dataclasses.replace(made, x=made.y, y=made.x)
    assert turned.doubtful() == made.doubtful()


def test_the_coarsest_of_several_number_types_counts():
    made = deeper(plane(size=64), 9)
    assert made.doubtful() == ""
    assert "float32" in dataclasses.replace(made, facet="dtype", facet_values=("float64", "float32")).doubtful()
    assert "float32" in dataclasses.replace(made, x=Axis("dtype", values=("float32", "float64"))).doubtful()
    assert dataclasses.replace(made, facet="dtype", facet_values=("float64",)).doubtful() == ""


def test_float64_too_comes_to_an_end_and_words_and_whole_numbers_never_do():
    assert "float64, " in deeper(plane(size=64), 18).doubtful()
    x, y = Axis("hidden_size", 2, 9), Axis("activation", values=("tanh", "relu"))
    assert deeper(plane(x=x, y=Axis("batch_size", 1, 9), size=64), 5).doubtful() == plane(x=x, y=y).doubtful() == ""


# What is refused


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": " "}, "name: expected some text, found none; a map is found again by its name"),
        ({"name": None}, "name: expected some text, found none"),
        ({"size": 1}, f"size: expected a whole number from 2 to {LARGEST}, found 1"),
        ({"size": LARGEST + 1}, f"size: expected a whole number from 2 to {LARGEST}, found {LARGEST + 1}"),
        ({"size": 8.0}, "size: expected a whole number from 2 to 512, found 8.0"),
        ({"size": True}, "size: expected a whole number from 2 to 512, found True"),
        ({"n_seeds": 0}, "n_seeds: expected a whole number from 1 to 100, found 0"),
        ({"n_seeds": 101}, "n_seeds: expected a whole number from 1 to 100, found 101"),
        ({"x": RATE}, "expected different settings on the axes, found learning_rate, learning_rate"),
        ({"facet": "learning_rate", "facet_values": (1.0,)}, "expected different settings on the axes, found weight_init_std"),
        ({"facet": "optimiser", "facet_values": ("sgd",)}, "did you mean 'optimizer'?"),
        ({"facet": "optimizer", "facet_values": ("adm",)}, "did you mean 'adam'?"),
        ({"facet": "optimizer"}, "facet: expected a setting and its values, or neither"),
        ({"facet_values": ("sgd",)}, "facet: expected a setting and its values, or neither"),
        ({"facet_values": None}, "facet_values as a list"),
        ({"facet": "seed", "facet_values": (1, 2)}, "seed: expected no value; n_seeds says"),
        ({"fixed": {"seed": 3}}, "seed: expected no value; n_seeds says with how many seeds each cell is trained"),
        ({"fixed": {"learning_rate": 1.0}}, "learning_rate: expected it fixed or on an axis, found it as both"),
        (
            {"fixed": {"optimizer": "sgd"}, "facet": "optimizer", "facet_values": ("sgd",)},
            "optimizer: expected it fixed or on an",
        ),
        ({"fixed": {"hiden_size": 3}}, "did you mean 'hidden_size'?"),
        ({"fixed": {"hidden_size": 0}}, "hidden_size: expected a whole number from 1 to 1,024, found 0"),
        ({"fixed": []}, "expected fixed as settings with a value each"),
        ({"fixed": {"loss": "mean_squared_error"}}, "loss: expected half_squared_error or cross_entropy"),
        (
            {"x": Axis("momentum", 0.1, 0.9)},
            "momentum: expected a setting that the runs use; it belongs to optimizer momentum or",
        ),
        (
            {"x": Axis("loss", values=("half_squared_error", "mean_squared_error", "cross_entropy"))},
            "loss: expected half_squared",
        ),
        ({"x": Axis("task", values=("binary_addition", "adding_problem", "bit_count")), "fixed": {"length": 1}}, "at least"),
    ],
)
def test_a_map_that_makes_no_sense_is_refused_with_the_reason(changes, message):
    with pytest.raises((PlanError, ConfigError)) as refused:
        plane(**changes)
    assert message in str(refused.value)


def test_a_setting_that_only_some_runs_use_may_be_an_axis():
    made = plane(x=Axis("momentum", 0.1, 0.9), facet="optimizer", facet_values=("sgd", "momentum", "adam"))
    assert [made.config(made.number(f, 0, 0, 0)).momentum for f in range(3)] == [None, 0.1, None]


def test_a_map_has_at_most_two_million_runs():
    fits = plane(size=500, n_seeds=8)
    assert fits.n_runs == MOST_RUNS
    with pytest.raises(PlanError, match="expected at most 2,000,000 runs, found 2,008,008; take fewer cells, seeds or facets"):
        plane(size=501, n_seeds=4, facet="bias", facet_values=(False, True))


LARGE = {"task": "copy_memory", "length": 1000, "cell": "lstm", "n_layers": 4, "hidden_size": 512}
WIDE = {"task": "copy_memory", "length": 1000, "cell": "lstm", "hidden_size": 512}


@pytest.mark.parametrize(
    "changes",
    [
        {"x": Axis("batch_size", 1, 1024), "fixed": LARGE, "size": 64},
        {"y": Axis("batch_size", 1, 1024), "x": STD, "fixed": LARGE, "size": 64},
        {"x": Axis("batch_size", values=(1, 1024, 2)), "fixed": LARGE},
        {"y": Axis("batch_size", values=(1, 1024, 2)), "x": STD, "fixed": LARGE},
        {"x": Axis("n_layers", values=(1, 4, 2)), "y": Axis("batch_size", 1, 900), "fixed": WIDE},
        {"facet": "batch_size", "facet_values": (1, 1024, 2), "fixed": LARGE},
    ],
)
def test_a_map_with_a_cell_that_does_not_fit_in_memory_is_refused_wherever_the_cell_stands(changes, monkeypatch):
    monkeypatch.setattr("engine.memory.memory", lambda: 2**33)
    with pytest.raises(ConfigError, match=r"expected a run that fits in 4.0 GB, half of this machine's memory"):
        plane(**changes)


def test_a_word_in_the_middle_that_does_not_fit_in_memory_is_found(monkeypatch):
    cells, small = ("rnn", "lstm_peephole", "gru"), {"task": "copy_memory", "length": 200, "hidden_size": 64, "batch_size": 64}
    needed = {}
    for cell in cells:
        for power in range(20, 40):
            monkeypatch.setattr("engine.memory.memory", lambda power=power: 2**power)
            try:
                plane(x=Axis("cell", values=(cell, cell)), fixed=small, size=2)
            except ConfigError:
                needed[cell] = power
    assert needed["rnn"] < needed["lstm_peephole"]
    monkeypatch.setattr("engine.memory.memory", lambda: 2 ** needed["lstm_peephole"])
    with pytest.raises(ConfigError, match="expected a run that fits"):
        plane(x=Axis("cell", values=("rnn", "lstm_peephole", "rnn", "lstm_cec")), fixed=small)
    assert plane(x=Axis("cell", values=("rnn",)), fixed=small)


# JSON


@pytest.mark.parametrize(
    "made",
    [
        plane(),
        plane(x=WORDS, n_seeds=4, fixed={"clip_norm": None, "bias": True, "batch_size": 3}),
        deeper(plane(size=50, facet="optimizer", facet_values=("sgd", "adam")), 12),
        plane(facet="clip_norm", facet_values=(None, 0.1)),
    ],
    ids=["plain", "words", "deep", "facets"],
)
def test_a_map_survives_json_to_the_last_bit(made):
    text = made.to_json()
    again = Map.from_json(text)
    assert again == made
    assert again.to_json() == text
    assert again.config(again.n_runs - 1).identity == made.config(made.n_runs - 1).identity


def test_what_json_leaves_out_takes_its_default():
    raw = {"name": "a", "x": {"setting": "learning_rate", "low": 0.1, "high": 1}, "y": {"setting": "bias", "values": [True]}}
    expected = Map(name="a", x=Axis("learning_rate", 0.1, 1), y=Axis("bias", values=(True,)))
    assert Map.from_json(json.dumps(raw)) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "expected a map as JSON, found text that is none"),
        ("[]", "expected a map as an object with facet, facet_values, fixed, n_seeds, name, size, x, y, found []"),
        ('{"name": "a", "x": {}}', "expected a map as an object with"),
        ('{"name": "a", "x": 1, "y": 1}', "axis: expected an object with"),
        ('{"name": "a", "x": 1, "y": 1, "sise": 1}', "found 'sise'; did you mean 'size'?"),
        ('{"name": "a", "x": 1, "y": 1, "seeds": 1}', "found 'seeds'; did you mean 'n_seeds'?"),
        (plane().to_json().replace('"fixed": {}', '"fixed": [1]'), "expected fixed as settings"),
        (plane().to_json().replace('"facet_values": []', '"facet_values": null'), "facet_values as a list"),
        (plane().to_json().replace('"start": "0"', '"start": Infinity'), "expected start and stop as fractions"),
    ],
)
def test_text_that_is_no_map_is_refused_with_the_reason(text, message):
    with pytest.raises((PlanError, ConfigError)) as refused:
        Map.from_json(text)
    assert message in str(refused.value)


# What is kept of runs


@pytest.fixture(scope="module")
def some_results():
    short = RunConfig(n_iterations=40)
    easy = {"bits": 2, "n_iterations": 400, "optimizer": "adam", "learning_rate": 0.05, "batch_size": 8, "bias": True}
    return train([short, short.replace(activation="relu", learning_rate=1.0), RunConfig(**easy)])


def test_a_cell_keeps_what_came_of_a_run(some_results):
    cells = np.array([cell_of(result) for result in some_results], CELL)
    assert [result.outcome for result in some_results] == ["stalled", "overflow", "solved"]
    for cell, result in zip(cells, some_results, strict=True):
        assert list(OUTCOMES)[cell["outcome"] - 1] == result.outcome
        assert cell["final_loss"].tobytes() == np.float64(result.final_loss).tobytes()
        assert cell["best_loss"].tobytes() == np.float64(result.best_loss).tobytes()
        assert cell["accuracy"] == np.float32(result.accuracy)
        assert cell["iterations"] == result.iterations == result.config.n_iterations
        assert len(cell["fingerprint"]) == 16
        assert result.fingerprint.startswith(cell["fingerprint"].decode())
    assert some_results[1].overflow.iteration > 0
    assert cells["overflow_at"].tolist() == [0, some_results[1].overflow.iteration, 0]
    first = next(row[0] for row in some_results[2].curves if row[2] >= 0.99)
    assert cells["solved_at"].tolist() == [0, 0, first]


def test_a_run_that_was_solved_once_keeps_when_also_if_it_lost_it(some_results):
    stalled = some_results[0]
    for row, found in ((0, 1), (6, 7), (39, 40)):
        curves = stalled.curves.copy()
        curves[row, 2] = 0.99
        assert cell_of(dataclasses.replace(stalled, curves=curves))[4] == found
    assert cell_of(dataclasses.replace(stalled, curves=stalled.curves[:0]))[4] == 0


def cells_of(outcomes, **columns):
    cells = np.zeros(np.shape(outcomes), CELL)
    cells["outcome"] = outcomes
    for name, values in columns.items():
        cells[name] = values
    return cells


CODES = arrays.arrays(np.uint8, st.tuples(*[st.integers(1, 3)] * 3, st.integers(1, 5)), elements=st.integers(0, len(OUTCOMES)))


@SHORT
@given(CODES)
def test_shares_and_most_frequent_outcomes_are_those_of_counting_by_hand(codes):
    cells = cells_of(codes)
    shares, frequent = share_good(cells), middle(cells, "outcome")
    assert shares.shape == frequent.shape == codes.shape[:3]
    for place in np.ndindex(codes.shape[:3]):
        seeds = codes[place].tolist()
        good = [code in (PLACES["solved"], PLACES["learning"]) for code in seeds]
        expected = math.nan if 0 in seeds else sum(good) / len(good)
        assert shares[place] == pytest.approx(expected, nan_ok=True)
        counts = collections.Counter(sorted(seeds))
        assert frequent[place] == counts.most_common(1)[0][0]
    np.testing.assert_array_equal(middle(cells, "share"), shares)


@SHORT
@given(arrays.arrays(np.int32, st.tuples(*[st.integers(1, 3)] * 3, st.integers(1, 6)), elements=st.integers(0, 4)))
def test_the_middle_of_times_counts_what_never_happened_as_later_than_all(times):
    for column in ("solved_at", "overflow_at"):
        cells = cells_of(np.ones(times.shape), **{column: times})
        before = cells.copy()
        found = middle(cells, column)
        for place in np.ndindex(times.shape[:3]):
            expected = statistics.median(time or math.inf for time in times[place].tolist())
            assert found[place] == pytest.approx(expected if expected < math.inf else math.nan, nan_ok=True)
        assert (cells == before).all()


@SHORT
@given(
    arrays.arrays(float, st.tuples(*[st.integers(1, 2)] * 3, st.integers(1, 5)), elements=st.floats(0, 9) | st.just(math.inf))
)
def test_the_middle_of_other_columns_is_the_median(losses):
    cells = cells_of(np.ones(losses.shape), final_loss=losses)
    found = middle(cells, "final_loss")
    expected = [statistics.median(losses[place].tolist()) for place in np.ndindex(losses.shape[:3])]
    assert found.ravel().tolist() == pytest.approx(expected)


def test_the_middle_of_losses_that_are_no_numbers_is_none():
    losses = np.array([[[[math.nan, 1, 2]]], [[[math.inf, math.inf, 2]]]])
    np.testing.assert_array_equal(
        middle(cells_of(np.ones((2, 1, 1, 3)), best_loss=losses), "best_loss"), [[[math.nan]], [[math.inf]]]
    )
    one = cells_of(np.ones((1, 1, 1, 1)), accuracy=0.5, iterations=7)
    assert [middle(one, column).tolist() for column in ("accuracy", "iterations")] == [[[[0.5]]], [[[7.0]]]]


# Maps that are not finished


@SHORT
@given(st.sampled_from([(22, 1), (45, 2), (50, 4)]), st.integers(1, 22), st.floats(0, 1), st.integers(0, 99))
def test_a_cell_is_stood_for_by_itself_or_by_the_nearest_lattice_as_coarse_as_the_first_picture(longest, other, share, seed):
    longer, coarsest = longest
    shape = (2, longer, other) if seed % 2 else (2, other, longer)
    trained = np.random.default_rng(seed).random(shape) < share
    rows, columns, known = lattice(trained.copy())
    assert rows.shape == columns.shape == known.shape == trained.shape
    for f, y, x in np.ndindex(trained.shape):
        coarser = ((y - y % stride, x - x % stride) for stride in (1, 2, 4) if stride <= coarsest)
        found = next((cell for cell in coarser if trained[(f, *cell)]), None)
        assert known[f, y, x] == (found is not None)
        if found is not None:
            assert (rows[f, y, x], columns[f, y, x]) == found


def test_every_cell_of_a_map_is_known_once_its_first_level_is_trained():
    made = plane(size=100, facet="bias", facet_values=(False, True))
    n = 2 * 13 * 13  # every eighth cell of a hundred
    trained = np.zeros(made.n_runs, bool)
    trained[made.order[:n]] = True
    rows, columns, known = lattice(trained.reshape(made.shape[:3]))
    assert known.all()
    assert (rows == (np.arange(100) // 8 * 8)[:, None]).all()
    assert (columns == np.arange(100) // 8 * 8).all()


# What a map knows of another


def trained_cells(made, share=1.0, seed=0):
    """Return cells of which each tells its own number."""
    codes = np.where(np.random.default_rng(seed).random(made.shape) < share, 1, 0)
    return cells_of(codes, iterations=np.arange(made.n_runs).reshape(made.shape))


def by_identity(parent, cells, made):
    """Return number by number what the same runs of another map came to."""
    old = {parent.config(number).identity: cell for number, cell in enumerate(cells.ravel()) if cell["outcome"]}
    new = {number: made.config(number).identity for number in range(made.n_runs)}
    return {number: old[identity]["iterations"].item() for number, identity in new.items() if identity in old}


def told(parent, cells, made):
    numbers, found = known_from(parent, cells, made)
    assert numbers.dtype == np.int32
    assert found.dtype == CELL
    assert len(numbers) == len(found) == len(set(numbers.tolist()))
    assert (found["outcome"] > 0).all()
    return dict(zip(numbers.tolist(), found["iterations"].tolist(), strict=True))


FACETS = {"facet": "optimizer", "facet_values": ("sgd", "adam")}
PARENT = plane(size=6, n_seeds=2)
WORDY = plane(size=4, x=WORDS, n_seeds=2, **FACETS)
RELATED = {
    "the same": (PARENT, PARENT, 72),
    "twice the size": (PARENT, dataclasses.replace(PARENT, size=12), 72),
    "a half more": (PARENT, dataclasses.replace(PARENT, size=9), 18),
    "half the size": (PARENT, dataclasses.replace(PARENT, size=3), 18),
    "more seeds": (PARENT, dataclasses.replace(PARENT, n_seeds=3), 72),
    "fewer seeds, finer": (PARENT, dataclasses.replace(PARENT, n_seeds=1, size=12), 36),
    "zoomed on cells": (PARENT, PARENT.zoomed("b", (1, 3), (2, 5)), 12),
    "zoomed by one to one": (PARENT, dataclasses.replace(PARENT.zoomed("b", (2, 5), (0, 3)), size=3), 18),
    "zoomed out again": (PARENT.zoomed("b", (1, 4), (3, 6)), PARENT, 18),
    "zoomed twice": (PARENT, PARENT.zoomed("b", (1, 4), (3, 6)).zoomed("c", (2, 4), (0, 2)), 2),
    "zoomed between cells": (PARENT, dataclasses.replace(PARENT.zoomed("b", (1, 4), (3, 6)), size=5), 2),
    "zoomed beside cells": (
        dataclasses.replace(PARENT, size=5),
        dataclasses.replace(PARENT, size=7).zoomed("c", (1, 2), (1, 2)),
        0,
    ),
    "two windows that overlap": (PARENT.zoomed("b", (0, 4), (0, 4)), PARENT.zoomed("c", (2, 6), (2, 6)), 18),
    "two windows apart": (PARENT.zoomed("b", (0, 3), (0, 3)), PARENT.zoomed("c", (3, 6), (3, 6)), 0),
    "other fixed settings": (PARENT, dataclasses.replace(PARENT, fixed={"bias": True}), 0),
    "another end": (PARENT, dataclasses.replace(PARENT, x=Axis("weight_init_std", 0.011, 90, log=True)), 0),
    "another setting": (PARENT, dataclasses.replace(PARENT, x=Axis("epsilon", 0.01, 1), fixed={"optimizer": "adam"}), 0),
    "words and facets": (WORDY, dataclasses.replace(WORDY, size=8), 48),
    "fewer words": (WORDY, WORDY.zoomed("b", (1, 3), (0, 4)), 32),
    "words in another order": (
        WORDY,
        dataclasses.replace(WORDY, x=Axis("activation", values=("relu", "linear", "sigmoid"))),
        32,
    ),
    "other words": (WORDY, dataclasses.replace(WORDY, x=Axis("activation", values=("linear",))), 0),
    "words turned": (plane(size=4, x=RATE, y=WORDS), plane(size=8, x=RATE, y=Axis("activation", values=("relu",))), 4),
}


@pytest.mark.parametrize("share", [1.0, 0.6, 0.0])
@pytest.mark.parametrize("case", RELATED)
def test_a_map_knows_exactly_the_runs_that_another_one_trained_with_the_same_identity(case, share):
    parent, made, n = RELATED[case]
    cells = trained_cells(parent, share)
    found = told(parent, cells, made)
    assert found == by_identity(parent, cells, made)
    assert len(found) == {1.0: n, 0.0: 0}.get(share, len(found))


@settings(deadline=None, max_examples=25)
@given(st.integers(2, 6), st.integers(2, 6), st.data())
def test_any_two_windows_of_one_map_share_exactly_the_runs_with_the_same_identity(a, b, data):
    def drawn(size):
        x, y = (data.draw(windows(6)) for _ in "xy")
        return dataclasses.replace(plane(size=6).zoomed("w", x, y), size=size)

    parent, made = drawn(a), drawn(b)
    cells = trained_cells(parent)
    assert told(parent, cells, made) == by_identity(parent, cells, made)


@pytest.mark.parametrize(
    ("parent", "made"),
    [
        (plane(size=4), plane(size=4, fixed={"hidden_size": 16})),
        (plane(size=4, **FACETS), plane(size=4, facet="optimizer", facet_values=("adam", "sgd"))),
        (plane(size=6, x=Axis("hidden_size", 2, 5)), plane(size=7, x=Axis("hidden_size", 2, 5))),
        (plane(size=4), plane(size=4, x=Axis("weight_init_std", 0.01, 100))),
        (plane(size=4, x=STD, y=RATE), plane(size=4, x=RATE, y=STD)),
        (plane(size=4, x=Axis("hidden_size", 2, 4)), plane(size=4, x=Axis("hidden_size", values=(2, 3)))),
        (plane(size=4, x=Axis("hidden_size", values=(2, 3))), plane(size=4, x=Axis("hidden_size", 2, 4))),
        (plane(size=4, x=Axis("hidden_size", 2, 4)), plane(size=4, x=Axis("hidden_size", 2, 4, values=(2, 3)))),
    ],
    ids=[
        "a default spelled out",
        "facets in another order",
        "rounding",
        "not over powers",
        "turned",
        "a list",
        "a range",
        "both",
    ],
)
def test_where_a_map_overlooks_runs_it_tells_no_wrong_ones(parent, made):
    cells = trained_cells(parent)
    found, right = told(parent, cells, made), by_identity(parent, cells, made)
    for number, at in found.items():
        assert parent.config(at).identity == made.config(number).identity
    assert found.keys() <= right.keys()


def test_a_finer_map_begins_with_the_runs_it_knows_and_a_deep_zoom_knows_its_corner_cells():
    parent = plane(size=16)
    finer = dataclasses.replace(parent, size=32)
    numbers, _ = known_from(parent, trained_cells(parent), finer)
    assert set(numbers.tolist()) == set(finer.order[:256].tolist())
    deep = parent
    for _ in range(9):
        deep, above = deep.zoomed("deep", (5, 7), (9, 11)), deep
    found = told(above, trained_cells(above), deep)
    assert found == by_identity(above, trained_cells(above), deep)
    assert len(found) == 4
