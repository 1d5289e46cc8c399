"""The charts of a diagnosis get tables with everything that training can produce, draw what they can and count the rest."""

import json
import math

import numpy as np
import pandas as pd
import pytest

from dashboard.charts import diagnosis as charts
from dashboard.charts.diagnosis import LOST, READING, ZERO

NAN, INF = math.nan, math.inf
HOSTILE = {
    "healthy": [1.0, 0.5, 0.25],
    "with NaN": [1.0, NAN, 0.25],
    "with inf": [1.0, INF, 0.25],
    "with -inf": [1.0, -INF, 0.25],
    "with 1e300": [1.0, 1e300, 0.25],
    "all diverged": [INF, NAN, -INF],
    "zeros": [0.0, 0.0, 0.0],
    "one zero": [1.0, 0.0, 2.0],
    "smallest and largest": [5e-324, 1.0, 1.7e308],
    "negative": [-1.0, -1e300, 2.0],
    "one point": [3.0],
}


def data_of(spec: dict, key: str) -> list[dict]:
    """Return all rows of a chart's data sets that have this column."""
    return [row for rows in spec["datasets"].values() for row in rows if key in row]


def written(spec: dict) -> str:
    """Return the captions of a chart."""
    title = spec.get("title", {}).get("text", "")
    return " ".join([title, *(row["text"] for row in data_of(spec, "text"))]).strip()


def checked(chart) -> dict:
    """Return a chart's specification, which must hold no number that a browser cannot read."""
    spec = chart.to_dict()
    json.dumps(spec, allow_nan=False)
    return spec


def n_lost(values) -> int:
    return int((~np.isfinite(values)).sum())


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize(
    "options", [{"log": True}, {"log": False}, {"log": True, "one": True}, {"at": 20.0, "dash": "measure"}]
)
def test_lines_carry_what_is_not_finite_at_the_upper_edge_and_count_it(name, options):
    values = HOSTILE[name]
    table = pd.DataFrame({"iteration": 10.0 * np.arange(1, len(values) + 1), "value": values, "name": "a", "measure": "m"})
    spec = checked(charts.line_chart(table, "iteration", "title", "name", **options))
    lost = n_lost(np.array(values))
    marks = [row for row in data_of(spec, "value") if isinstance(row["value"], str)]
    assert [row["value"] for row in marks] == [str(v) for v in values if not math.isfinite(v)]
    assert written(spec) == (f"{lost} of {len(values)} not finite" if lost else "")
    low, high = spec["layer"][0]["encoding"]["y"]["scale"]["domain"]
    assert low < high < INF
    assert low > 0 or not options.get("log")
    drawn = [row["value"] for row in data_of(spec, "measure") if not isinstance(row["value"], str)]
    expected = [v for v in values if math.isfinite(v) and (v > 0 or not options.get("log"))]
    assert len(drawn) == len(expected)
    assert all(low <= value <= high for value in drawn)
    rules = [row for row in data_of(spec, "what") if row["what"] == "the line at 1"]
    assert len(rules) == bool(options.get("one"))


def test_shares_stand_on_an_axis_from_0_to_1():
    table = pd.DataFrame({"iteration": [1, 2], "value": [0.2, 0.4], "name": "gate", "measure": ["dead", "at its upper end"]})
    spec = checked(charts.line_chart(table, "iteration", "", "name", dash="measure", share=True))
    assert spec["layer"][0]["encoding"]["y"]["scale"]["domain"] == [0, 1]
    assert spec["layer"][0]["encoding"]["strokeDash"]["scale"]["domain"] == ["dead", "at its upper end"]


def grid(values) -> pd.DataFrame:
    """Return a map of three iterations and as many steps as there are values."""
    n = len(values)
    return pd.DataFrame(
        {"iteration": np.repeat([1, 10, 100], n), "step": np.tile(np.arange(1, n + 1), 3), "value": np.tile(values, 3)}
    )


@pytest.mark.parametrize("name", HOSTILE)
def test_a_map_paints_what_is_not_finite_and_what_is_0_in_colours_of_their_own(name):
    table = grid(HOSTILE[name])
    domain = charts.map_domain([table])
    assert -330 < domain[0] < domain[1] <= 309
    spec = checked(charts.error_map(table, domain=domain, at=10))
    lost, zero = n_lost(table["value"]), int((table["value"] == 0).sum())
    paints = [layer["mark"].get("color") for layer in spec["layer"] if layer["mark"]["type"] == "rect"]
    assert paints == [None, *[LOST] * (lost > 0), *[ZERO] * (zero > 0)]
    what = [row["what"] for row in data_of(spec, "what")]
    assert (what.count("not finite"), what.count("exactly 0")) == (lost, zero)
    assert written(spec) == (f"{lost} of {len(table)} not finite" if lost else "")
    powers = [row["power"] for row in data_of(spec, "power")]
    assert len(powers) == len(table[np.isfinite(table["value"]) & (table["value"] > 0)])
    assert all(domain[0] <= power <= domain[1] for power in powers)


def test_maps_beside_each_other_have_the_same_colours():
    low, high = charts.map_domain([grid([1e-3, 1e-2]), grid([1.0, 100.0])])
    assert (low, high) == (-3.0, pytest.approx(2.0))
    assert charts.map_domain([grid([1e-300, 1.0])])[0] == -16  # deeper than that nobody tells colours apart
    assert charts.map_domain([]) == (-1, 1)


def test_a_map_of_a_thousand_steps_stays_small():
    spec = checked(charts.error_map(grid(np.ones(1000)), domain=(-1, 1)))
    rows = data_of(spec, "power")
    assert len(rows) == 3 * charts.MOST_ROWS
    assert max(row["top"] for row in rows) >= 1000


@pytest.mark.parametrize("name", HOSTILE)
def test_bands_leave_out_and_count_iterations_that_are_not_finite(name):
    values = HOSTILE[name]
    rows = [(10 * i, q, value) for i, value in enumerate(values, 1) for q in (0, 0.05, 0.25, 0.5, 0.75, 0.95, 1)]
    table = pd.DataFrame(rows, columns=["iteration", "quantile", "value"])
    spec = checked(charts.distribution_chart(table, "weights", at=10))
    lost = n_lost(np.array(values))
    assert written(spec) == (f"{lost} of {len(values)} not finite" if lost else "")
    assert [row["iteration"] for row in data_of(spec, "q3")] == [
        10 * i for i, value in enumerate(values, 1) if math.isfinite(value)
    ]


@pytest.mark.parametrize("edges", [[0.0, 1.0, 2.0], [-1e300, 0.0, 1e300], [NAN, NAN, NAN]])
def test_a_histogram_of_anything(edges):
    table = pd.DataFrame({"start": edges[:-1], "end": edges[1:], "count": [3, 4]})
    spec = checked(charts.histogram_chart(table, "weights"))
    assert sum(row["count"] for row in data_of(spec, "count")) == (0 if math.isnan(edges[0]) else 7)
    assert ("none is finite" in json.dumps(spec)) == math.isnan(edges[0])


@pytest.mark.parametrize("name", HOSTILE)
def test_hidden_states_that_are_not_finite_have_a_colour_of_their_own(name):
    values = HOSTILE[name]
    table = pd.DataFrame({"step": np.arange(1, len(values) + 1), "unit": 1, "value": values})
    spec = checked(charts.states_chart(table))
    lost = n_lost(np.array(values))
    assert len(data_of(spec, "what")) == lost
    assert written(spec) == (f"{lost} of {len(values)} not finite" if lost else "")
    assert len(data_of(spec, "value")) == len(values) - lost


def test_the_trail_draws_all_four_and_marks_the_end():
    trail = pd.DataFrame(
        {
            "iteration": [1, 2, 3],
            "largest_hidden": [1.0, 1e200, INF],
            "gradient_norm": [1.0, 1e300, NAN],
            "largest_weight": [1.0, 1.0, 1.0],
            "loss": [0.5, 1e10, INF],
        }
    )
    spec = checked(charts.trail_chart(trail))
    assert {row["what"] for row in data_of(spec, "what")} == {"largest hidden value", "gradient norm", "largest weight", "loss"}
    assert written(spec) == "3 of 12 not finite"


def test_every_panel_says_how_to_read_it():
    assert set(READING) == {
        *("iteration", "errors", "error_curve", "spectrum", "health", "updates"),
        *("distribution", "histogram", "states", "trail"),
    }
    assert all(len(text) > 40 for text in READING.values())
