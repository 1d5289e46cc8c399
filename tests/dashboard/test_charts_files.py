"""Charts as files: every kind of chart keeps its words, every file says where it comes from, and no name does harm."""

import html.parser
import inspect
import io
import json
import math
import tomllib
import xml.etree.ElementTree as ET
from pathlib import Path

import altair as alt
import numpy as np
import pandas as pd
import pytest
import vl_convert
from PIL import Image
from vl_convert import svg_to_png

from dashboard.charts import compare, curves, diagnosis, studies, trials
from dashboard.charts.files import KINDS, VERSION, chart_file, themed

HOSTILE = '<img src=x onerror=alert(1)> </script>" ]]> {braces} \\u003c \x0b é √'
LEGIBLE = HOSTILE.replace("\x0b", "\ufffd")
SOURCE = f"what: runs\nname: {HOSTILE}\nseeds: 1-3\ndate: 2026-11-21 20:00:00 UTC"
SVG = "{http://www.w3.org/2000/svg}"


def trial_table() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    run = {"number": np.arange(20), "outcome": ["solved", "overflow", "stalled", "learning"] * 5, "state": "complete"}
    settings = {"rate": 10 ** rng.uniform(-2, 2, 20), "cell": ["rnn", "gru"] * 10, "loss": rng.uniform(0.1, 1, 20)}
    return pd.DataFrame(run | settings | {"second": rng.uniform(0, 1, 20)})


def group_table() -> pd.DataFrame:
    outcomes = ["solved", "overflow", "learning", "stalled"]
    rows = {"group": ["one", "two"] * 2, "value": [0.5, 0.1, 2.0, 1.5], "outcome": outcomes, "seed": range(4)}
    return pd.DataFrame(rows | {"share": [0.5, 0.5, 1.0, 1.0], "n": 1, "setting": "rate"})


def curve(values: list[float], n_iterations: int = 30) -> alt.LayerChart:
    rows = {"run_id": "a", "iteration": np.linspace(10, n_iterations, len(values)), "loss": values}
    run = {"run_id": ["a"], "label": [HOSTILE], "outcome": ["overflow"], "color": ["overflow"]}
    runs = pd.DataFrame(run | {"overflow_iteration": pd.array([15], dtype="Int64")})
    return curves.curve_chart(pd.DataFrame(rows), runs, "loss", "the loss", log=True, baseline=0.7)


def charts() -> dict[str, tuple[alt.TopLevelMixin, set[str]]]:
    """Return every kind of chart, and words that must be in its picture."""
    table, groups, two = trial_table(), group_table(), ["one", "two"]
    best = groups.assign(budget=[1.0, 1.0, 2.0, 2.0], low=0.1, high=2.0, shared=True)
    pairs = pd.DataFrame({"pair": ["one against two"], "gain": [0.1], "low": [-0.1], "high": [0.3], "verdict": ["not decided"]})
    steps = pd.DataFrame({"iteration": [1, 2, 3] * 2, "step": [1] * 3 + [2] * 3, "value": [1.0, 0.5, math.inf, 2.0, 0.0, 1.0]})
    spread = pd.DataFrame([(i, q, i * q) for i in (1, 2) for q in (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)])
    spread.columns = ["iteration", "quantile", "value"]
    bins = pd.DataFrame({"start": [0.0, 1.0], "end": [1.0, 2.0], "count": [3, 4]})
    states = pd.DataFrame({"step": [1, 2], "unit": [1, 1], "value": [0.5, math.nan]})
    trail = pd.DataFrame({"iteration": [1, 2], "largest_hidden": [1.0, 9.0], "gradient_norm": [1.0, 99.0]})
    trail = trail.assign(largest_weight=1.0, loss=[1.0, math.inf])
    cells = pd.DataFrame({"iteration": [0, 0], "iteration2": [9, 9], "loss": [0.1, math.nan], "loss2": [1.0, math.nan]})
    chunks = pd.DataFrame({"chunk": [0], "asked": [0.0], "done": [9.0], "outcome": ["solved"], "n": [20], "first": [0]})
    labels = {"rate": "the rate", "cell": "the cell"}
    return {
        "curve_chart": (curve([1.0, 0.5, math.nan]), {"the loss", "iteration", "1 of 1 here: 1 overflow"}),
        "empty_chart": (curves.empty_chart("the loss", 0.7), {"the loss", "iteration"}),
        "history_chart": (studies.history_chart(table, "loss", table["loss"].cummin()), {"loss", "trial", "stalled"}),
        "slice_chart": (studies.slice_chart(table, "rate", "loss", "the rate"), {"the rate", "loss"}),
        "importance_chart": (studies.importance_chart(pd.Series({"rate": 0.75, "cell": 0.25})), {"rate", "75%"}),
        "pareto_chart": (studies.pareto_chart(table, ("loss", "second"), table["loss"] < 0.3), {"loss", "second", "solved"}),
        "parallel_chart": (trials.parallel_chart(table, ["rate", "cell"], "loss", labels), {"the rate", "gru", "overflow"}),
        "pair_chart": (trials.pair_chart(table, "rate", "cell", "loss", labels), {"the rate", "the cell", "rnn", "learning"}),
        "distribution_chart": (trials.distribution_chart({"one": table, "two": table}, "loss"), {"share of trials", "two"}),
        "timeline_chart": (trials.timeline_chart(chunks), {"seconds since the study began", "trial", "solved"}),
        "outcomes_chart": (trials.outcomes_chart(table, "cell", "the cell"), {"the cell", "gru", "share of trials"}),
        "density_chart": (trials.density_chart(cells.assign(share=0.5, n=1)), {"iteration", "not finite or above the scale"}),
        "best_chart": (compare.best_chart(best, two, "trials", "the loss"), {"trials", "the loss", "one"}),
        "spread_chart": (compare.spread_chart(groups, two, "the loss"), {"one", "two", "the loss", "overflow"}),
        "ecdf_chart": (compare.ecdf_chart(groups, two, "the loss"), {"the loss", "share of runs", "two"}),
        "outcome_chart": (compare.outcome_chart(groups, two), {"share of runs", "✓ solved", "∞ overflow"}),
        "importances_chart": (compare.importances_chart(groups, two), {"rate", "one", "two"}),
        "pairs_chart": (compare.pairs_chart(pairs, "the loss"), {"one against two"}),
        "line_chart": (diagnosis.line_chart(steps, "iteration", "the norm", "step"), {"the norm", "1 of 6 not finite"}),
        "error_map": (diagnosis.error_map(steps, domain=(-1, 1)), {"iteration", "time step", "power of ten"}),
        "distribution_chart of numbers": (diagnosis.distribution_chart(spread, "weights"), {"weights", "iteration"}),
        "histogram_chart": (diagnosis.histogram_chart(bins, "the weights"), {"the weights", "how many"}),
        "states_chart": (diagnosis.states_chart(states), {"time step", "unit", "1 of 2 not finite"}),
        "trail_chart": (diagnosis.trail_chart(trail), {"iteration", "largest hidden value", "gradient norm"}),
    }


CHARTS = charts()


def words_of(svg: bytes) -> list[str]:
    """Return the texts of a picture, each as it is read."""
    return ["".join(element.itertext()) for element in ET.fromstring(svg).iter(f"{SVG}text")]


def test_every_function_that_draws_is_among_the_charts():
    drawn = {
        name
        for module in (curves, studies, trials, compare, diagnosis)
        for name, function in inspect.getmembers(module, inspect.isfunction)
        if function.__module__ == module.__name__ and name.endswith(("_chart", "_map"))
    }
    assert drawn == {name.split()[0] for name in CHARTS}


@pytest.mark.parametrize("name", CHARTS)
def test_every_chart_is_converted_with_all_its_words_and_its_source(name):
    chart, expected = CHARTS[name]
    svg = chart_file(chart, "svg", SOURCE)
    words = words_of(svg)
    assert expected <= {*words, *words[0].split(" · ")}
    assert "seeds: 1-3" in " ".join(words).replace("\xa0", " ")
    assert b"NaN" not in svg
    assert ET.fromstring(svg).find(f"{SVG}metadata").text == SOURCE.replace(HOSTILE, LEGIBLE)


def test_a_picture_has_twice_the_pixels_its_words_are_drawn_and_it_says_where_it_comes_from():
    chart = CHARTS["outcome_chart"][0]
    svg = chart_file(chart, "svg", SOURCE)
    image = Image.open(io.BytesIO(chart_file(chart, "png", SOURCE)))
    picture = ET.fromstring(svg)
    assert image.size == (2 * int(picture.get("width")), 2 * int(picture.get("height")))
    assert image.info["Description"] == SOURCE.replace(HOSTILE, LEGIBLE)
    for text in picture.iter(f"{SVG}text"):
        text.text = None
    silent = Image.open(io.BytesIO(svg_to_png(ET.tostring(picture, "unicode"), scale=2)))
    differs = np.any(np.asarray(image.convert("RGB")) != np.asarray(silent.convert("RGB")), axis=2)
    places = np.argwhere(differs)
    assert places[:, 0].max() > 0.9 * image.height  # the source under it
    assert places[:, 1].min() < 0.1 * image.width  # the groups' names beside it


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours_and_font_are_those_of_the_page(scheme):
    theme = tomllib.loads((Path(__file__).parents[2] / ".streamlit" / "config.toml").read_text("utf-8"))["theme"]
    spec = themed(CHARTS["history_chart"][0], SOURCE, scheme)
    assert spec["background"] == theme[scheme]["backgroundColor"]
    assert spec["config"]["axis"]["labelColor"] == theme[scheme]["grayTextColor"]
    assert spec["config"]["axis"]["gridColor"] == theme[scheme]["borderColor"]
    assert spec["config"]["range"]["category"] == theme["chartCategoricalColors"]
    corner = Image.open(io.BytesIO(chart_file(CHARTS["history_chart"][0], "png", "", scheme))).getpixel((0, 0))
    assert "#{:02X}{:02X}{:02X}".format(*corner) == theme[scheme]["backgroundColor"]


def test_a_page_runs_no_script_but_its_own_and_asks_nobody_for_anything(monkeypatch):
    monkeypatch.setattr(vl_convert, "javascript_bundle", lambda vl_version: "")  # slow, and tried out in a browser
    page = chart_file(CHARTS["curve_chart"][0], "html", SOURCE).decode()
    seen = {"tags": [], "policy": "", "scripts": [], "told": "", "words": ""}

    class Reader(html.parser.HTMLParser):
        def handle_starttag(self, tag, attributes):
            seen["tags"].append(tag)
            values = dict(attributes)
            seen["policy"] += values["content"] if "http-equiv" in values else ""
            seen["told"] += values["content"] if values.get("name") == "description" else ""

        def handle_data(self, data):
            kind = [None, *seen["tags"]][-1]
            seen["scripts"] += [data] if kind == "script" else []
            seen["words"] += data if kind == "p" else ""

    Reader().feed(page)
    assert seen["tags"].count("script") == 2
    assert "img" not in seen["tags"]
    assert seen["policy"].startswith("default-src 'none'; script-src 'sha256-")
    assert "connect-src" not in seen["policy"]
    assert seen["told"] == seen["words"].strip() == SOURCE.replace(HOSTILE, LEGIBLE)
    spec = json.loads(seen["scripts"][0])
    assert LEGIBLE in {row.get("label") for rows in spec["datasets"].values() for row in rows}


def test_vega_lite_is_strict_json_that_altair_reads_and_holds_every_row():
    n = 6000  # more than Altair sets into a chart unasked
    chart = curve([1.0 + i / n for i in range(n)], n)
    spec = json.loads(chart_file(chart, "vl.json", SOURCE), parse_constant=pytest.fail)
    assert spec["usermeta"]["source"] == SOURCE.replace(HOSTILE, LEGIBLE).splitlines()
    assert max(map(len, spec["datasets"].values())) == n
    assert spec["$schema"].startswith(f"https://vega.github.io/schema/vega-lite/v{VERSION}")
    spec["datasets"] = {name: rows[:1] for name, rows in spec["datasets"].items()}  # or it takes seconds to check them
    assert alt.LayerChart.from_dict(spec, validate=True).to_dict()["layer"] == spec["layer"]
    assert VERSION in vl_convert.get_vegalite_versions()


def test_numbers_that_are_not_finite_become_null_wherever_they_stand():
    rows = pd.DataFrame({"a": [1.0, math.inf, math.nan], "b": pd.Series([-math.inf, "word", None], dtype=object)})
    spec = json.loads(
        chart_file(alt.Chart(rows).mark_point().encode(x="a:Q", y="b:N"), "vl.json", ""), parse_constant=pytest.fail
    )
    (data,) = spec["datasets"].values()
    assert data == [{"a": 1.0, "b": None}, {"a": None, "b": "word"}, {"a": None, "b": None}]


def test_a_chart_is_not_changed_and_files_do_not_depend_on_what_the_page_is_drawing():
    chart = CHARTS["history_chart"][0]
    before = chart.to_dict()
    alone = themed(chart, SOURCE)
    with alt.data_transformers.enable("json"), alt.theme.enable("none"):  # both are settings of the whole process
        assert themed(chart, SOURCE) == alone
    assert chart.to_dict() == before


def saved(test) -> list[str]:
    """Return the files of charts that the page offers."""
    return [button.key for button in test.get("download_button") if button.key.partition("_")[0] in KINDS]


def test_a_chart_s_files_are_only_offered_once_its_menu_is_open(open_app, filled_url):
    test = open_app(filled_url)
    assert saved(test) == []
    test.session_state["save_experiment_loss"] = True
    assert saved(test.run()) == [f"{kind}_experiment_loss" for kind in KINDS]
