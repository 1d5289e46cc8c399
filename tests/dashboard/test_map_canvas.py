"""What the map's Python side sends: the bytes the browser gets."""

import json
from pathlib import Path

import numpy as np
import pytest

from dashboard.charts.maps import LOST, NOT_FINITE, Entry, Facet, Mark, Ramp, outcome_legend, palette
from dashboard.components import map_canvas as module
from dashboard.components.map_canvas import packed


def unpacked(data):
    """Return the header and the rest of what the browser gets."""
    end = 4 + int.from_bytes(data[:4], "little")
    return json.loads(data[4:end]), data[end:]


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
    assert legend["colors"] == [*palette("viridis"), LOST.color]
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
