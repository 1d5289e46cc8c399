"""The charts of a study draw every trial, whatever became of its runs."""

import json
import math
import re

import numpy as np
import pandas as pd
import pytest

from dashboard.charts import marks
from dashboard.charts import studies as charts
from dashboard.charts.outcomes import LOOKS
from engine import OUTCOMES

VALUES = {
    "usual": [1.0, 0.5, 2.0, 0.1],
    "far": [1.0, 1e300, 1e-300, 5.0],
    "equal": [3.0, 3.0, 3.0, 3.0],
    "zeros": [0.0, 0.0, 1.0, 0.0],
    "negative": [-1.0, 2.0, -1e300, 0.0],
    "one": [2.0],
}


def table(values, outcome="overflow") -> pd.DataFrame:
    """Return trials as the charts want them; the first ones solved, the last `outcome`."""
    n = len(values)
    outcomes = ["solved"] * (n - 1) + [outcome]
    settings = {
        "rate": np.geomspace(0.01, 100, n),
        "size": np.arange(1, n + 1),
        "word": (["a", "b"] * n)[:n],
        "flag": [True] * n,
    }
    ids = [f"run{i}" for i in range(n)]
    return pd.DataFrame(
        {"number": range(n), "outcome": outcomes, "loss": values, "cost": values[::-1], "run_id": ids} | settings
    )


def data_of(spec: dict, key: str) -> list[dict]:
    return [row for rows in spec["datasets"].values() for row in rows if key in row]


def checked(chart) -> dict:
    spec = chart.to_dict()
    json.dumps(spec, allow_nan=False)
    return spec


@pytest.mark.parametrize("name", VALUES)
@pytest.mark.parametrize("outcome", OUTCOMES)
def test_history_draws_every_trial_with_its_outcome_and_the_best_so_far(name, outcome):
    values = VALUES[name]
    trials = table(values, outcome)
    spec = checked(charts.history_chart(trials, "loss", trials["loss"].cummin()))
    marks = data_of(spec, "outcome")
    assert [(row["number"], row["value"]) for row in marks] == list(enumerate(values))
    assert marks[-1]["outcome"] == outcome
    low, high = spec["layer"][1]["encoding"]["y"]["scale"]["domain"]
    assert low <= min(values) <= max(values) <= high < math.inf
    steps = [row["value"] for row in data_of(spec, "value") if "outcome" not in row]
    assert steps == [*dict.fromkeys(np.minimum.accumulate(values)), min(values)]
    (pick,) = [param for param in spec["params"] if param["name"] == "pick"]
    assert pick["select"]["fields"] == ["number"]


@pytest.mark.parametrize("name", VALUES)
@pytest.mark.parametrize("setting", ["rate", "size", "word", "flag"])
def test_slices_draw_every_trial_over_numbers_and_words(name, setting):
    spec = checked(charts.slice_chart(table(VALUES[name]), setting, "loss", "a label"))
    assert len(data_of(spec, "setting")) == len(VALUES[name])
    assert spec["encoding"]["x"]["title"] == "a label"
    assert spec["encoding"]["x"]["type"] == ("quantitative" if setting in ("rate", "size") else "nominal")


@pytest.mark.parametrize("name", VALUES)
def test_both_objectives_are_drawn_with_their_front(name):
    trials = table(VALUES[name])
    front = np.arange(len(trials)) == 0
    spec = checked(charts.pareto_chart(trials, ("loss", "cost"), front))
    assert {len(rows) for rows in spec["datasets"].values()} == {1, len(trials)}


def test_importances_stand_in_their_order():
    spec = checked(charts.importance_chart(pd.Series({"learning_rate": 0.75, "hidden_size": 0.25})))
    assert [row["setting"] for row in data_of(spec, "share")] == ["learning rate", "hidden size"]


def test_ten_thousand_trials_are_thinned_for_the_browser():
    spec = checked(charts.history_chart(table(list(np.linspace(1, 2, 10_001))), "loss", pd.Series(np.ones(10_001))))
    assert 1500 < len(data_of(spec, "outcome")) <= marks.MOST_POINTS


@pytest.mark.parametrize("n_lost", [0, 7, 2000, 6000, 12_000])
def test_thinning_keeps_what_diverged(n_lost):
    trials = table([1.0] * 12_000).assign(outcome=["overflow"] * n_lost + ["stalled"] * (12_000 - n_lost))
    kept = marks.thinned(trials)
    assert len(kept) <= marks.MOST_POINTS
    assert kept["number"].is_monotonic_increasing
    n_kept = (kept["outcome"] == "overflow").sum()
    assert n_kept == n_lost if n_lost <= marks.MOST_POINTS // 2 else n_kept >= marks.MOST_POINTS // 2
    assert charts.thinned_caption(trials).startswith(f"{len(kept):,} of 12,000 trials are drawn")
    assert charts.thinned_caption(trials.head(marks.MOST_POINTS)) == ""


def test_thinning_keeps_what_is_selected_but_not_if_all_is():
    trials = table([1.0] * 12_000, "stalled").assign(selected=np.arange(12_000) % 100 == 7)
    kept = marks.thinned(trials)
    assert kept["selected"].sum() == 120
    assert len(marks.thinned(trials.assign(selected=True))) == len(marks.thinned(trials.drop(columns="selected")))


def test_outcomes_look_as_everywhere_whichever_are_there_already():
    for there in (["overflow", "solved"], ["stalled"]):
        color, shape = (scale.to_dict() for scale in marks.outcome_scales(pd.Series(there)))
        assert dict(zip(color["domain"], color["range"], strict=True)) == {name: LOOKS[name].color for name in OUTCOMES}
        assert dict(zip(shape["domain"], shape["range"], strict=True)) == {name: LOOKS[name].shape for name in OUTCOMES}
    assert marks.outcome_scales(pd.Series(["failed", "complete"]))[0].domain == ["complete", "failed"]
    assert marks.outcome_scales(pd.Series(["failed", "solved"]))[0].domain == [*OUTCOMES, "failed"]


STUDY = pd.DataFrame(
    {
        "number": [0, 1, 2, 3, 4],
        "outcome": ["solved", "learning", "stalled", "diverged", "solved"],
        "state": ["complete", "pruned", "complete", "complete", "pruned"],
        "selected": [True, False, False, True, True],
        "rate": [0.01, 0.1, 1.0, 10.0, 100.0],
        "size": pd.Series([4, None, 16, 4, 16], dtype=object),
        "a.b[0]:c": ["image", "<script>", None, "image", "None"],
        "loss": [0.1, 0.5, 1.0, 9.5, 0.2],
        "cost": [5.0, 4.0, 3.0, 2.0, 1.0],
    }
)


def test_what_is_selected_or_pruned_stands_in_the_data_alone():
    specs = []
    for trials in (STUDY, STUDY.assign(selected=True, state="complete"), STUDY.drop(columns=["selected", "state"])):
        spec = checked(charts.slice_chart(trials, "rate", "loss", "rate"))
        rows = data_of(spec, "shade")
        specs.append(spec["encoding"] | {"tooltip": None})
        assert [row["shade"] > 0.5 for row in rows] == list(trials.get("selected", [True] * 5))
        assert [row["body"] == 0 for row in rows] == [state == "pruned" for state in trials.get("state", [""] * 5)]
    assert specs[0] == specs[1] == specs[2]
    assert specs[0]["opacity"] == {"field": "shade", "legend": None, "scale": None, "type": "quantitative"}


def without_data(chart) -> str:
    """Return a chart's spec as text, without its data and the names made from them."""
    spec = checked(chart)
    return re.sub(r'"(view_|data-)[0-9a-f_]+"', '"-"', json.dumps({name: spec[name] for name in spec if name != "datasets"}))


def test_new_trials_and_a_selection_change_the_data_alone():
    rng = np.random.default_rng(0)
    values = 10 ** rng.uniform(-2.9, 0.9, 60)
    values[:2] = 0.0012, 9.0
    trials = table(list(values)).assign(rate=10 ** rng.uniform(-1.9, 1.9, 60), outcome=list(OUTCOMES) * 10, selected=True)
    trials.loc[:1, "rate"], trials.loc[:1, "word"], trials.loc[:1, "size"] = [0.011, 95.0], ["a", "b"], [1, 60]
    fewer = trials.head(20).assign(selected=trials["number"] < 7)
    draw = [lambda t: charts.history_chart(t, "loss", t["loss"].cummin(), n_trials=100)]
    draw += [lambda t, name=name: charts.slice_chart(t, name, "loss", "label") for name in ("rate", "size", "word")]
    for chart in draw:
        assert without_data(chart(trials)) == without_data(chart(fewer))
    beyond = trials.assign(loss=trials["loss"] * 100)
    assert without_data(draw[0](trials)) != without_data(draw[0](beyond))  # the comparison can fail


@pytest.mark.parametrize("kind", ["history", "rate", "size", "pareto"])
def test_charts_of_trials_are_picked_brushed_and_zoomed(kind):
    if kind == "history":
        spec = checked(charts.history_chart(STUDY, "loss", STUDY["loss"].cummin()))
    elif kind == "pareto":
        spec = checked(charts.pareto_chart(STUDY, ("loss", "cost"), np.ones(5, bool)))
    else:
        spec = checked(charts.slice_chart(STUDY, kind, "loss", kind))
    found = {param["name"]: param for param in spec["params"]}
    assert set(found) == {"pick", "brush", "zoom"}
    assert found["pick"]["select"]["fields"] == ["number"]
    assert "!event.shiftKey" in found["brush"]["select"]["on"]
    assert found["brush"]["select"]["zoom"] is False  # or the plain wheel would not scroll the page
    assert found["zoom"]["select"]["zoom"] == "wheel![event.ctrlKey]"
    assert found["zoom"]["bind"] == "scales"
    assert found["zoom"]["select"]["encodings"] == (["y"] if kind == "size" else ["x", "y"])


@pytest.mark.parametrize(
    ("brush", "columns", "numbers"),
    [
        ({}, {"number": "number"}, []),
        ({"number": [0.5, 3]}, {"number": "number"}, [1, 2, 3]),
        ({"number": [3, 0.5], "value": [0.05, 1.0]}, {"number": "number", "value": "loss"}, [1, 2]),
        ({"setting": ["image", "<script>"]}, {"setting": "a.b[0]:c"}, [0, 1, 3]),
        ({"setting": ["None"], "value": [0, 10]}, {"setting": "a.b[0]:c", "value": "loss"}, [2, 4]),
        ({"setting": ["4"]}, {"setting": "size"}, [0, 3]),
        ({"setting": ["None", "16"]}, {"setting": "size"}, [1, 2, 4]),
        ({"setting": []}, {"setting": "size"}, []),
        ({"x": [0.05, 20], "y": [1.5, 3.5]}, {"x": "rate", "y": "cost"}, [2, 3]),
        ({"other": [0, 1]}, {"number": "number"}, []),
        ({"number": [7, 9]}, {"number": "number"}, []),
    ],
)
def test_a_brush_becomes_numbers_of_trials(brush, columns, numbers):
    found = marks.brushed(STUDY, brush, columns)
    assert found == numbers
    assert all(type(number) is int for number in found)


def test_a_brush_over_flags_means_words():
    trials = pd.DataFrame({"number": [4, 5, 6], "flag": [True, False, True]})
    assert marks.brushed(trials, {"setting": ["True"]}, {"setting": "flag"}) == [4, 6]


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([1.0, 49.0], "linear"),
        ([1.0, 51.0], "log"),
        ([0.0, 51.0], "linear"),
        ([-1, 500], "linear"),
        ([True, False], "words"),
        (["a", "b"], "words"),
        ([1.0, None], "words"),
        ([*range(40), None], "linear"),
        ([1, "a"], "words"),
        ([3, 3], "linear"),
    ],
)
def test_an_axis_suits_its_values(values, kind):
    assert marks.scale_of(pd.Series(values)) == kind
    assert marks.scale_of(pd.Series(values, dtype=object)) == kind


@pytest.mark.parametrize(
    ("values", "log", "ends"),
    [
        ([0.0013, 9.0], True, (0.001, 10)),
        ([0.02, 3.0], True, (0.02, 5)),
        ([1e-300, 1.7e308], True, (1e-300, 1.7976931348623157e308)),
        ([2, 63], False, (0, 70)),
        ([0.0, 0.97], False, (0, 1)),
        ([3.0, 3.0], False, (2.7, 3.3)),
        ([0.0, 0.0], False, (-0.6, 0.6)),
        ([-1.0, 1e300], False, (-1.0, 1e300)),
    ],
)
def test_axes_end_at_round_numbers(values, log, ends):
    low, high = marks.round_domain(pd.Series(values), log)
    assert (low, high) == pytest.approx(ends)
    assert low <= min(values) <= max(values) <= high


def test_words_are_in_order_and_a_missing_one_is_the_last():
    assert marks.word_order(pd.Series([10, None, 9, 2.5], dtype=object)) == ["2.5", "9", "10", "None"]
    assert marks.word_order(pd.Series(["b", None, "a"])) == ["a", "b", "None"]
    assert marks.words(pd.Series([True, None, False], dtype=object)).tolist() == ["True", "None", "False"]


def test_trials_without_a_setting_are_counted_where_they_have_no_place():
    trials = table([1.0] * 40).assign(size=[None, None, *range(38)])
    assert charts.absent_caption(trials, "size", "word") == "2 of 40 trials lack the setting and are not drawn."
    assert charts.absent_caption(STUDY, "size", "rate") == ""
    assert len(data_of(checked(charts.slice_chart(trials, "size", "loss", "size")), "setting")) == 38


def test_hostile_names_stay_out_of_columns_and_tooltips():
    trials = STUDY.rename(columns={"rate": "image"})
    for name in ("a.b[0]:c", "image"):
        spec = checked(charts.slice_chart(trials, name, "loss", name))
        assert {key for row in data_of(spec, "number") for key in row} >= {"setting", "value"}
        assert not {key for row in data_of(spec, "number") for key in row} & {name}
        titles = {tip.get("title", tip["field"]) for tip in spec["encoding"]["tooltip"]}
        assert not titles & {"image", "title"}  # the tooltip would load a picture
        assert {tip["field"] for tip in spec["encoding"]["tooltip"]} == {"number", "outcome", "state", "setting", "value"}


def test_every_chart_says_how_to_read_it():
    assert set(charts.READING) == {"history", "slice", "importance", "pareto"}
