"""Charts get tables with everything that training can produce, and hide none of it."""

import json
import math

import numpy as np
import pandas as pd
import pytest

from dashboard.charts.curves import REACH, READING, curve_chart, empty_chart, extent, log_ticks, rail_caption, rail_events
from dashboard.charts.outcomes import LOOKS, word
from engine import OUTCOMES

FIELDS = ["loss", "accuracy", "gradient_norm"]


def make(losses: dict[str, list[float]], outcomes: dict[str, str], overflow_at: dict[str, int] | None = None):
    """Return curves and runs as the charts want them; every field has the same values."""
    curves = pd.concat(
        [
            pd.DataFrame({"run_id": name, "iteration": 10.0 * np.arange(1, len(v) + 1), **dict.fromkeys(FIELDS, v)})
            for name, v in losses.items()
        ],
        ignore_index=True,
    )
    runs = pd.DataFrame({"run_id": list(losses), "label": list(losses), "outcome": [outcomes[name] for name in losses]})
    runs["overflow_iteration"] = pd.array([(overflow_at or {}).get(name) for name in losses], dtype="Int64")
    return curves, runs.assign(color=runs["outcome"])


HOSTILE = {
    "with NaN": make({"a": [1.0, 0.5, math.nan], "b": [1.0, 0.9, 0.8]}, {"a": "overflow", "b": "learning"}, {"a": 29}),
    "with inf": make({"a": [1.0, math.inf, math.inf], "b": [1.0, 0.9, 0.8]}, {"a": "diverged", "b": "learning"}),
    "with -inf": make({"a": [1.0, -math.inf, 0.5], "b": [1.0, 0.9, 0.8]}, {"a": "diverged", "b": "learning"}),
    "with 1e300": make({"a": [1.0, 1e300, 1e300], "b": [1.0, 0.9, 0.8]}, {"a": "diverged", "b": "learning"}),
    "all diverged": make({"a": [1e300, 1e305], "b": [math.inf, math.nan]}, {"a": "diverged", "b": "overflow"}, {"b": 5}),
    "all NaN": make({"a": [math.nan, math.nan]}, {"a": "overflow"}, {"a": 1}),
    "zeros": make({"a": [0.0, 0.0], "b": [1e-300, 5e-324]}, {"a": "solved", "b": "stalled"}),
    "largest float": make({"a": [1.7e308, 1.7e308]}, {"a": "diverged"}),
}


def data_of(spec: dict, key: str) -> list[dict]:
    """Return all rows of a chart's data sets that have this column."""
    return [row for rows in spec["datasets"].values() for row in rows if key in row]


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("field", FIELDS)
def test_every_chart_counts_and_draws_runs_that_left_the_scale(name, field):
    curves, runs = HOSTILE[name]
    spec = curve_chart(curves, runs, field, "title", log=field != "accuracy").to_dict()
    json.dumps(spec["layer"], allow_nan=False)  # no number that a browser cannot read
    lost = runs[runs["outcome"].isin(["diverged", "overflow"])]
    marks = data_of(spec, "what")
    assert {row["label"] for row in marks} >= set(lost["label"])
    if len(lost):
        (caption,) = [row["text"] for row in data_of(spec, "text")]
        assert caption.startswith(f"{len(marks)} of {len(runs)} here")
        for outcome, count in lost["outcome"].value_counts().items():
            assert f"{count} {outcome}" in caption


@pytest.mark.parametrize("name", HOSTILE)
def test_drawn_points_are_finite_and_inside_a_finite_axis(name):
    curves, runs = HOSTILE[name]
    spec = curve_chart(curves, runs, "loss", "title", log=True).to_dict()
    low, high = spec["layer"][0]["encoding"]["y"]["scale"]["domain"]
    assert 0 < low < high < math.inf
    for row in data_of(spec, "run_id"):
        if "value" in row:
            assert low <= row["value"] <= high


def test_one_far_value_does_not_flatten_the_others():
    curves, _ = HOSTILE["with 1e300"]
    low, high = extent(curves["loss"], log=True)
    assert high <= 1.1 * 1.0 * REACH
    assert 0.7 < low < 0.8


def test_a_run_that_overflowed_is_pinned_where_it_first_did_although_its_loss_stayed_finite():
    curves, runs = make({"a": [1.7, 1.7]}, {"a": "overflow"}, {"a": 3})
    events = rail_events(curves, runs, "loss", 10.0)
    assert events[["iteration", "what", "outcome"]].to_dict("records") == [
        {"iteration": 3, "what": "first overflow", "outcome": "overflow"}
    ]


def test_a_diverged_run_with_finite_loss_is_pinned_at_its_end():
    curves, runs = make({"a": [1.0, 2.0, 2.1]}, {"a": "diverged"})
    assert rail_events(curves, runs, "loss", 10.0)["iteration"].tolist() == [30]


def test_healthy_runs_leave_the_rail_empty():
    curves, runs = make({"a": [1.0, 0.1], "b": [1.0, 0.9]}, {"a": "solved", "b": "stalled"})
    assert rail_events(curves, runs, "loss", 2.0).empty
    assert rail_caption(rail_events(curves, runs, "loss", 2.0), 2) == ""


def test_the_caption_counts_by_outcome():
    events = pd.DataFrame({"outcome": ["overflow", "diverged", "overflow"]})
    assert rail_caption(events, 7) == "3 of 7 here: 2 overflow, 1 diverged"


def test_many_runs_become_a_median_and_a_band_that_counts_them():
    losses = {f"r{i}": [1.0, float(i)] for i in range(1, 102)}
    curves, runs = make(losses, dict.fromkeys(losses, "learning"))
    spec = curve_chart(curves, runs, "loss", "title", log=True).to_dict()
    assert not [row for row in data_of(spec, "run_id") if "value" in row]
    last = next(row for row in data_of(spec, "low") if row["iteration"] == 20)
    assert (last["low"], last["value"], last["high"], last["n"]) == (11.0, 51.0, 91.0, 101)  # deciles of 1 .. 101


def test_outcome_colours_are_the_same_whatever_is_shown():
    curves, runs = make({"a": [1.0], "b": [1.0]}, {"a": "stalled", "b": "solved"})
    scale = curve_chart(curves, runs, "loss", "title", log=True).to_dict()["layer"][0]["encoding"]["color"]["scale"]
    assert dict(zip(scale["domain"], scale["range"], strict=True)) == {"stalled": "#8A8F98", "solved": "#009E73"}


def test_every_outcome_has_its_own_look():
    assert set(OUTCOMES) <= set(LOOKS)
    for part in ("color", "symbol"):
        assert len({getattr(look, part) for look in LOOKS.values()}) == len(LOOKS)
    assert word("overflow") == "∞ overflow"


def test_every_field_that_is_charted_says_how_to_read_it():
    assert set(READING) == set(FIELDS)


def test_an_empty_chart_shows_the_constant_answer():
    spec = empty_chart("loss", 1.0).to_dict()
    assert [row["value"] for row in data_of(spec, "value")] == [1.0]


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0.009, 1.2, [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0]),
        (1e-5, 3.0, [1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1.0]),
        (1e-300, 1e300, [float(f"1e{power}") for power in range(-300, 301, 75)]),
    ],
)
def test_log_axes_have_few_round_ticks(low, high, ticks):
    assert log_ticks(low, high) == ticks
