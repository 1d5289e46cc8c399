"""Charts of groups side by side draw every run and every group, whatever became of them."""

import json

import numpy as np
import pandas as pd
import pytest

from dashboard.charts import compare as charts
from dashboard.charts.outcomes import CATEGORIES, LOOKS

NAMES = ["sigmoid", "relu <b>"]
VALUES = {"usual": [0.5, 0.1, 2.0, 1.5], "far": [1e300, 1e-300, 5.0, 1.0], "equal": [3.0] * 4, "zeros": [0.0, 0.0, 1.0, 0.0]}


def checked(chart) -> dict:
    spec = chart.to_dict()
    json.dumps(spec, allow_nan=False)
    return spec


def rows_of(spec: dict, key: str) -> list[dict]:
    return [row for rows in spec["datasets"].values() for row in rows if key in row]


def runs(values) -> pd.DataFrame:
    outcomes = ["solved", "overflow", "learning", "stalled"]
    groups = [NAMES[0], NAMES[1], NAMES[1], NAMES[0]]
    shares = [0.5, 0.5, 1.0, 1.0]
    return pd.DataFrame({"group": groups, "value": values, "outcome": outcomes, "seed": range(4), "share": shares})


@pytest.mark.parametrize("name", VALUES)
def test_every_run_is_a_mark_with_the_look_of_its_outcome(name):
    spec = checked(charts.spread_chart(runs(VALUES[name]), NAMES, "final loss"))
    marks = rows_of(spec, "place")
    assert [(row["group"], row["value"], row["outcome"]) for row in marks] == list(
        runs(VALUES[name])[["group", "value", "outcome"]].itertuples(index=False, name=None)
    )
    scale = spec["layer"][1]["encoding"]["color"]["scale"]
    assert dict(zip(scale["domain"], scale["range"], strict=True)) == {
        outcome: LOOKS[outcome].color for outcome in ("solved", "learning", "stalled", "overflow")
    }


@pytest.mark.parametrize("name", VALUES)
def test_a_group_has_one_colour_in_all_charts(name):
    values = VALUES[name]
    best = pd.DataFrame({"group": NAMES * 2, "budget": [1.0, 1.0, 2.0, 3.0], "value": values, "low": values, "high": values})
    shares = pd.DataFrame({"group": NAMES, "setting": "learning_rate", "share": [0.2, 1.0]})
    specs = [
        checked(charts.best_chart(best.assign(shared=best["budget"] <= 2), NAMES, "trials", "final loss"))["layer"][1],
        checked(charts.ecdf_chart(runs(values), NAMES, "final loss")),
        checked(charts.importances_chart(shares, NAMES)),
    ]
    for spec in specs:
        assert spec["encoding"]["color"]["scale"] == {"domain": NAMES, "range": CATEGORIES[:2]}


def test_the_budget_that_all_have_spent_is_ruled():
    best = pd.DataFrame({"group": [*NAMES, NAMES[0]], "budget": [1.0, 2.0, 4.0], "shared": [True, True, False]})
    best = best.assign(value=1.0, low=0.5, high=2.0)
    spec = checked(charts.best_chart(best, NAMES, "trials", "final loss"))
    (rule,) = [rows for rows in spec["datasets"].values() if all(set(row) == {"budget"} for row in rows)]
    assert rule == [{"budget": 2.0}]


def test_outcomes_are_stacked_in_the_usual_order():
    counts = pd.DataFrame({"group": NAMES, "outcome": ["overflow", "solved"], "n": [3, 4], "share": [1.0, 1.0]})
    spec = checked(charts.outcome_chart(counts, NAMES))
    assert spec["encoding"]["color"]["scale"]["domain"] == ["✓ solved", "∞ overflow"]
    assert [(row["group"], row["n"]) for row in rows_of(spec, "order")] == [(NAMES[0], 3), (NAMES[1], 4)]
    orders = {row["outcome"]: row["order"] for row in rows_of(spec, "order")}
    assert orders["solved"] < orders["overflow"]


def test_zero_stands_among_the_differences_and_every_pair_has_its_label():
    pairs = pd.DataFrame({"pair": [f"{i} against 0" for i in range(5)], "gain": np.linspace(1, 3, 5), "verdict": "not decided"})
    pairs = pairs.assign(low=pairs["gain"] - 0.5, high=pairs["gain"] + 0.5)
    spec = checked(charts.pairs_chart(pairs, "final loss"))
    low, high = spec["layer"][1]["encoding"]["x"]["scale"]["domain"]
    assert low <= 0 < 3.5 <= high
    y = spec["layer"][1]["encoding"]["y"]
    assert (y["sort"], y["axis"]["labelOverlap"]) == (list(pairs["pair"]), False)
    assert [(row["pair"], row["gain"]) for row in rows_of(spec, "verdict")] == list(
        zip(pairs["pair"], pairs["gain"], strict=True)
    )


def test_many_groups_have_colours_too():
    names = [str(number) for number in range(12)]
    assert charts.group_scale(names).to_dict() == {"domain": names, "scheme": "viridis"}


def test_every_chart_says_how_to_read_it():
    assert set(charts.READING) == {"best", "spread", "distribution", "outcomes", "importance", "pairs"}
