"""What the map's Python side computes: colours, labels, and the bytes the browser gets."""

import json
import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from dashboard.charts.outcomes import LOOKS
from dashboard.components import map_canvas as module
from dashboard.components.map_canvas import (
    NOT_FINITE,
    STEPS,
    Axis,
    Entry,
    Facet,
    Mark,
    Ramp,
    axis_of,
    axis_ticks,
    outcome_legend,
    packed,
    palette,
    quantize,
)

NUMBERS = st.floats(-1e300, 1e300)
POSITIVE = st.floats(1e-300, 1e300)
steady = settings(max_examples=100, deadline=None, derandomize=True)  # a red test always means changed code


def unpacked(data):
    """Return the header and the rest of what the browser gets."""
    end = 4 + int.from_bytes(data[:4], "little")
    return json.loads(data[4:end]), data[end:]


def luminance(color):
    parts = np.array(list(bytes.fromhex(color[1:]))) / 255
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


@pytest.mark.parametrize(("name", "low", "middle", "high"), [
    ("cividis", "#00224e", (125, 124, 120), "#fee838"), ("viridis", "#440154", (32, 144, 141), "#fde725"),
])  # fmt: skip
def test_a_palette_is_the_published_one_and_grows_lighter_step_by_step(name, low, middle, high):
    colors = palette(name)
    assert (len(colors), colors[0], colors[STEPS - 1], colors[STEPS]) == (255, low, high, LOOKS["overflow"].color)
    assert np.allclose(list(bytes.fromhex(colors[STEPS // 2][1:])), middle, atol=4)
    light = [luminance(color) for color in colors[:STEPS]]
    assert len(set(colors)) > 250  # of eight bits a channel
    assert all(later > earlier - 1e-3 for earlier, later in pairwise(light))
    assert LOOKS["overflow"].color not in colors[:STEPS]


@steady
@given(arrays(float, array_shapes(max_dims=2, max_side=6), elements=st.floats()), POSITIVE, POSITIVE, st.booleans())
def test_every_value_gets_a_step_and_only_what_is_not_finite_the_last_index(values, low, high, log):
    low, high = sorted((low, high))
    steps = quantize(values, low, high, log)
    assert (steps.dtype, steps.shape) == (np.uint8, values.shape)
    assert np.array_equal(steps == NOT_FINITE, ~np.isfinite(values))
    assert steps.min() >= 1
    finite = np.isfinite(values)
    order = np.argsort(values[finite])
    assert (np.diff(steps[finite][order].astype(int)) >= 0).all()
    if low < high:
        assert (steps[finite & (values <= low)] == 1).all()
        assert (steps[finite & (values >= high)] == STEPS).all()


def test_steps_are_even_on_either_scale():
    assert quantize([0, 1, 2, math.nan, math.inf, -math.inf], 0, 2).tolist() == [1, 127, 254, 255, 255, 255]
    assert quantize([-1, 0, 0.01, 0.1, 1, 9], 0.01, 1, log=True).tolist() == [1, 1, 1, 127, 254, 254]
    assert quantize([-1e308, 0, 1e308], -1e308, 1e308).tolist() == [1, 127, 254]
    assert quantize([1, 2, 3], 2, 2).tolist() == [127, 127, 127]


@steady
@given(NUMBERS, NUMBERS, st.integers(2, 9))
def test_labels_of_a_linear_axis_lie_on_it_in_order_and_are_few(one, other, n):
    low, high = sorted((one, other))
    check(axis_ticks(low, high, n=n), low, high, n, lambda value: (value / 2 - low / 2) / (high / 2 - low / 2))


@steady
@given(POSITIVE, POSITIVE, st.integers(2, 9))
def test_labels_of_a_logarithmic_axis_lie_on_it_in_order_and_are_few(one, other, n):
    low, high = sorted((one, other))
    start, end = math.log(low), math.log(high)
    check(axis_ticks(low, high, True, n), low, high, n, lambda value: (math.log(value) - start) / (end - start))


def check(ticks, low, high, n, place):
    assert len(ticks) <= n
    assert bool(ticks) or high / 2 - low / 2 <= max(abs(low), abs(high), 1e-290) * 1e-9 or n < 3
    places, texts = [tick[0] for tick in ticks], [tick[1] for tick in ticks]
    assert places == sorted(set(places))
    assert len(set(texts)) == len(texts)
    assert all(0 <= tick <= 1 for tick in places)
    if high - low > 1e-6 * max(abs(low), abs(high)):
        assert all(abs(place(float(text)) - tick) < 1e-3 for tick, text in ticks)


@pytest.mark.parametrize(("low", "high", "log", "texts"), [
    (0, 1, False, "0 0.2 0.4 0.6 0.8 1"),
    (-3, 3, False, "-3 -2 -1 0 1 2 3"),
    (0.0312, 0.0318, False, "0.0312 0.0313 0.0314 0.0315 0.0316 0.0317 0.0318"),
    (0.01, 1, True, "0.01 0.02 0.05 0.1 0.2 0.5 1"),
    (0.001, 10, True, "0.001 0.01 0.1 1 10"),
    (1e-9, 1e9, True, "1e-9 1e-6 0.001 1 1000 1e6 1e9"),
    (2.1, 3.9, True, "2.5 3 3.5"),
    (1, 1, True, ""),
])  # fmt: skip
def test_labels_are_round_and_short(low, high, log, texts):
    assert " ".join(text for _, text in axis_ticks(low, high, log)) == texts


def test_the_axis_of_numbers_has_its_cells_in_the_middle_of_their_values():
    axis = axis_of("rate", np.geomspace(0.01, 100, 5), log=True)
    assert axis.words == ["0.01", "0.1", "1", "10", "100"]
    assert [(round(place, 6), text) for place, text in axis.ticks] == [
        (round(0.1 + 0.2 * i, 6), axis.words[i]) for i in range(5)
    ]
    assert axis_of("hidden", [4, 8, 12]).words == ["4", "8", "12"]
    assert [round(place, 6) for place, text in axis_of("hidden", [4, 8, 12]).ticks if text == "8"] == [0.5]


@pytest.mark.parametrize("values", [[0.0], [5], [0.3]])
def test_a_single_value_has_an_axis(values):
    assert axis_of("one", values).words == [f"{values[0]:g}"]
    assert axis_of("one", values).ticks


def test_words_of_neighbours_differ_however_far_one_zooms():
    for log in (False, True):
        words = axis_of("rate", np.linspace(0.1, 0.1 + 1e-7, 64), log).words
        assert len(set(words)) == 64


def test_the_axis_of_anything_else_has_one_label_for_each_cell():
    axis = axis_of("activation", ["tanh", None, True, 0.5])
    assert axis == Axis("activation", [(0.125, "tanh"), (0.375, "None"), (0.625, "True"), (0.875, "0.5")], axis.words)


def test_the_browser_gets_the_arrays_as_they_are():
    colors, loss = np.arange(6).reshape(2, 3), np.array([[1, 2, np.nan], [1e300, -1, 0]])
    region = colors % 2 == 1
    facet = Facet(colors, "tanh", {"loss": loss}, [Mark(1, 0, "★", "best")], region)
    head, rest = unpacked(packed([facet, Facet(colors)], outcome_legend(["solved", "overflow"]), {"view": "all"}))
    assert (head["nx"], head["ny"], head["view"]) == (3, 2, "all")
    assert head["facets"][0] == {
        "title": "tanh", "values": ["loss"], "region": True, "marks": [{"x": 1, "y": 0, "symbol": "★", "label": "best"}],
    }  # fmt: skip
    assert rest[:6] == bytes(range(6))
    assert rest[6:7] == np.packbits(region).tobytes()
    assert np.array_equal(np.frombuffer(rest[7:31], "<f4"), [1, 2, np.nan, np.inf, -1, 0], equal_nan=True)
    assert rest[31:] == bytes(range(6))
    assert head["legend"]["entries"][1] == {"name": "overflow", "color": "#D55E00", "symbol": "∞", "index": 2}


def test_a_large_map_stays_below_a_megabyte():
    colors = np.ones((512, 512), dtype=np.uint8)
    assert len(packed([Facet(colors, region=colors > 0)], Ramp("loss", 0.01, 1, True), {})) < 400_000


def test_a_metric_has_a_bar_with_its_limits():
    legend = unpacked(packed([Facet(np.ones((1, 1)))], Ramp("loss", 0.02, 5, True, "viridis"), {}))[0]["legend"]
    assert legend["colors"] == palette("viridis")
    assert legend["bar"] == {"title": "loss", "ticks": [[0, "≤ 0.02"], *legend["bar"]["ticks"][1:-1], [1, "≥ 5"]]}
    assert [entry["index"] for entry in legend["entries"]] == [NOT_FINITE]


@pytest.mark.parametrize("wrong", [
    [Facet(np.ones((2, 3))), Facet(np.ones((3, 2)))],
    [Facet(np.ones((2, 3)), values={"loss": np.ones(6)})],
    [Facet(np.ones((2, 3)), region=np.ones((1, 3)))],
    [Facet(np.ones((0, 3)))],
])  # fmt: skip
def test_arrays_of_different_shapes_are_refused(wrong):
    with pytest.raises(ValueError, match="one shape"):
        packed(wrong, [Entry("solved", "#009E73")], {})


def test_nothing_is_loaded_from_elsewhere_and_no_text_becomes_markup():
    for suffix in ("js", "css"):
        text = Path(module.__file__).with_suffix(f".{suffix}").read_text("utf-8")
        assert not [word for word in ("http", "import ", "@import", "url(", "innerHTML", "eval(") if word in text]
