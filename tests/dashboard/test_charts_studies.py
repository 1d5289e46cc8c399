"""The charts of a study draw every trial, whatever became of its runs."""

import json
import math

import numpy as np
import pandas as pd
import pytest

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
    assert 3000 < len(data_of(spec, "outcome")) <= charts.MOST_POINTS


@pytest.mark.parametrize("n_lost", [0, 7, 2000, 6000, 12_000])
def test_thinning_keeps_what_diverged(n_lost):
    trials = table([1.0] * 12_000).assign(outcome=["overflow"] * n_lost + ["stalled"] * (12_000 - n_lost))
    kept = charts.thinned(trials)
    assert len(kept) <= charts.MOST_POINTS
    assert kept["number"].is_monotonic_increasing
    n_kept = (kept["outcome"] == "overflow").sum()
    assert n_kept == n_lost if n_lost <= charts.MOST_POINTS // 2 else n_kept >= 2000
    assert charts.thinned_caption(trials).startswith(f"{len(kept):,} of 12,000 trials are drawn")
    assert charts.thinned_caption(trials.head(5000)) == ""


def test_outcomes_look_as_everywhere():
    encoding = charts.outcome_encoding(pd.DataFrame({"outcome": ["overflow", "solved"]}))
    scale = encoding["color"].to_dict()["scale"]
    assert dict(zip(scale["domain"], scale["range"], strict=True)) == {n: LOOKS[n].color for n in ("solved", "overflow")}


def test_every_chart_says_how_to_read_it():
    assert set(charts.READING) == {"history", "slice", "importance", "pareto"}
