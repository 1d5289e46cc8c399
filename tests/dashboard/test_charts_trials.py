"""Parallel axes, pairs of settings, distributions, timelines, outcomes by setting and densities of a study's trials."""

import json
import time

import numpy as np
import pandas as pd
import pytest
from scipy.stats import ecdf

from dashboard.charts import marks
from dashboard.charts import trials as charts
from dashboard.charts.outcomes import LOOKS
from engine import OUTCOMES
from studies.analysis import curve_density, surface

HOSTILE = ["a.b[0]:c", "image", "<script>"]
LABELS = {"rate": "Learning rate", "<script>": "title"}


def table(n: int, seed: int = 0) -> pd.DataFrame:
    """Return n trials with settings of every kind, some with None, under plain and hostile names."""
    rng = np.random.default_rng(seed)
    words = rng.choice(np.array(["<script>", "a.b[0]:c", "image", None], dtype=object), n)
    settings = {
        "rate": 10 ** rng.uniform(-2, 2, n),
        "a.b[0]:c": rng.uniform(-1, 1, n),
        "image": pd.Series(rng.choice(np.array([0.1, 0.5, None], dtype=object), n), dtype=object),
        "<script>": pd.Series(words, dtype=object),
        "flag": rng.random(n) < 0.5,
        "size": rng.integers(2, 65, n),
    }
    run = {"number": np.arange(n), "outcome": rng.choice(list(OUTCOMES), n), "state": rng.choice(["complete", "pruned"], n)}
    return pd.DataFrame(run | settings | {"loss": 10 ** rng.uniform(-3, 1, n), "run_id": "r"})


SETTINGS = ["rate", *HOSTILE, "flag", "size"]
TABLES = {
    "usual": table(60),
    "one": table(1),
    "equal": pd.concat([table(1)] * 9, ignore_index=True).assign(number=range(9)),
    "all diverged": table(30).assign(outcome="diverged", loss=10.0),
    "all pruned": table(30).assign(state="pruned"),
    "no state": table(30).drop(columns="state"),
    "some selected": table(40).assign(selected=np.arange(40) < 5),
    "imported": table(30).assign(outcome=["complete", "failed"] * 15),
}


def checked(chart) -> dict:
    """Return a chart's spec; every tooltip and channel reads a column with a safe name that its data has."""
    spec = chart.to_dict()
    json.dumps(spec, allow_nan=False)
    columns = {key for rows in spec["datasets"].values() for row in rows for key in row}
    assert all(name.isidentifier() and name not in ("image", "title") for name in columns)
    for part in parts(spec):
        for name in part.get("encoding", {}):
            channels = part["encoding"][name] if name == "tooltip" else [part["encoding"][name]]
            for channel in channels:
                assert "field" not in channel or channel["field"].isidentifier()
                assert name != "tooltip" or channel.get("title", channel["field"]) not in ("image", "title")
    return spec


def parts(spec: dict) -> list[dict]:
    return spec.get("layer", [spec])


def rows_of(spec: dict, part: dict) -> list[dict]:
    return spec["datasets"][(part.get("data") or spec["data"])["name"]]


def drawn(kind: str, trials: pd.DataFrame) -> list:
    """Return the charts of one kind, with everything that can be chosen."""
    if kind == "parallel":
        return [charts.parallel_chart(trials, SETTINGS, "loss", LABELS)]
    if kind == "pair":
        found = []
        for x, y in (("rate", "size"), ("rate", "<script>"), ("image", "flag"), ("a.b[0]:c", "a.b[0]:c")):
            cells = surface(trials, x, y, "loss", (marks.scale_of(trials[x]), marks.scale_of(trials[y])), True)
            found += [
                charts.pair_chart(trials, x, y, "loss", LABELS, colour, cells) for colour in ("objective", "rank", "outcome")
            ]
        return found
    if kind == "distribution":
        return [charts.distribution_chart({"<script>": trials, "image": table(5)}, "loss")]
    return [charts.outcomes_chart(trials, name, name) for name in SETTINGS]


KINDS = ["parallel", "pair", "distribution", "outcomes"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", TABLES)
def test_charts_draw_whatever_trials_there_are(kind, name):
    for chart in drawn(kind, TABLES[name]):
        spec = checked(chart)
        colors = [part["encoding"].get("fill", part["encoding"].get("color", {})) for part in parts(spec)]
        scales = [color["scale"] for color in colors if color.get("field") == "outcome"]
        assert all(s["range"] == [LOOKS[o].color for o in s["domain"]] for s in scales)
        assert all(set(TABLES[name]["outcome"]) <= set(s["domain"]) for s in scales)


@pytest.mark.parametrize("kind", KINDS)
def test_ten_thousand_trials_stay_within_what_a_browser_draws(kind):
    trials = table(10_000)
    for chart in drawn(kind, trials):
        assert max(len(rows) for rows in checked(chart)["datasets"].values()) <= 5000


def test_building_a_chart_of_ten_thousand_trials_is_quick():
    trials, chunks = table(10_000), chunks_of(10_000, 32)
    makers = [
        lambda: charts.parallel_chart(trials, SETTINGS, "loss", LABELS),
        lambda: charts.pair_chart(trials, "rate", "size", "loss", LABELS, "rank"),
        lambda: charts.distribution_chart({"a": trials, "b": trials}, "loss"),
        lambda: charts.outcomes_chart(trials, "rate", "rate"),
        lambda: charts.timeline_chart(chunks),
    ]
    for make in makers:
        times = []
        for _ in range(3):
            start = time.perf_counter()
            make()
            times.append(time.perf_counter() - start)
        assert min(times) < 0.5  # a fifth of it on an idle machine


def test_a_parallel_line_crosses_every_axis_at_its_value():
    trials = pd.DataFrame(
        {
            "number": [7, 8, 9],
            "outcome": ["solved", "stalled", "solved"],
            "rate": [0.01, 1.0, 100.0],  # logarithmic: the ends and the middle
            "size": [0, 5, 20],
            "word": ["a", None, "c"],
            "loss": [0.5, 2.0, 1.0],
        }
    )
    spec = checked(charts.parallel_chart(trials, ["rate", "size", "word"], "loss", {"rate": "Learning rate"}))
    rows = rows_of(spec, spec["layer"][0])
    place = {(row["number"], row["axis"]): row["place"] for row in rows}
    expected = {7: [0, 0, 0], 8: [0.5, 0.25, 1], 9: [1, 1, 0.5]}
    assert {n: [place[n, axis] for axis in range(3)] for n in expected} == {n: pytest.approx(v) for n, v in expected.items()}
    assert [row["number"] for row in rows[::4]] == [8, 9, 7]  # the best lies on top
    assert '[["Learning", "rate"], ["size"], ["word"], ["loss"]][datum.value]' in json.dumps(spec).replace('\\"', '"')
    ticks = {(row["axis"], row["text"]): row["place"] for row in rows_of(spec, spec["layer"][1])}
    assert (ticks[0, "0.01"], ticks[0, "1"], ticks[0, "100"]) == pytest.approx((0, 0.5, 1))
    assert (ticks[2, "a"], ticks[2, "c"], ticks[2, "None"]) == pytest.approx((0, 0.5, 1))
    assert ticks[1, "5"] == pytest.approx(0.25)
    (pick,) = spec["params"]
    assert (pick["name"], pick["select"]["fields"]) == ("pick", ["number"])


def test_a_trial_that_lacks_a_setting_has_a_gap_on_an_axis_of_numbers():
    trials = table(40).assign(size=[None, *range(39)])
    spec = charts.parallel_chart(trials, ["rate", "size"], "loss", {}).to_dict()
    gaps = [(row["number"], row["axis"]) for row in rows_of(spec, spec["layer"][0]) if row["place"] is None]
    assert gaps == [(0, 1)]


@pytest.mark.parametrize("minimize", [True, False])
@pytest.mark.parametrize("n_lost", [0, 30, 3000])
def test_parallel_lines_are_shared_out(n_lost, minimize):
    trials = table(5000).assign(outcome=["overflow"] * n_lost + ["stalled"] * (5000 - n_lost), selected=False)
    trials.loc[100:149, "selected"] = True
    kept = charts.parallel_share(trials, "loss", minimize)
    assert len(kept) == charts.MOST_LINES
    assert kept["number"].is_unique
    best = trials.nsmallest(100, "loss") if minimize else trials.nlargest(100, "loss")
    assert set(best["number"]) <= set(kept["number"])
    assert set(range(100, 150)) <= set(kept["number"])
    assert (kept["outcome"] == "overflow").sum() >= min(n_lost, 30)
    assert charts.parallel_caption(trials, ["rate"], "loss").startswith("400 of 5,000 trials are drawn")
    assert charts.parallel_caption(trials.head(400), ["rate"], "loss") == ""


@pytest.mark.parametrize("minimize", [True, False])
def test_the_better_end_of_a_ground_is_the_bright_one(minimize):
    trials = table(60)
    cells = surface(trials, "rate", "size", "loss", ("log", "linear"), True)
    spec = checked(charts.pair_chart(trials, "rate", "size", "loss", LABELS, cells=cells, minimize=minimize))
    scale = spec["layer"][0]["encoding"]["color"]["scale"]
    assert (scale["scheme"], scale["reverse"], scale["type"]) == ("cividis", minimize, "log")  # cividis ends bright
    assert len(rows_of(spec, spec["layer"][0])) == len(cells) > 1000


def test_marks_of_a_pair_are_ranked_from_0_the_best_to_1():
    trials = table(5).assign(loss=[3.0, 1.0, 2.0, 2.0, 5.0])
    for minimize, ranks in ((True, [0.75, 0, 0.375, 0.375, 1]), (False, [0.25, 1, 0.625, 0.625, 0])):
        spec = checked(charts.pair_chart(trials, "rate", "size", "loss", LABELS, "rank", minimize=minimize))
        assert [row["rank"] for row in rows_of(spec, spec["layer"][0])] == ranks
        assert spec["layer"][0]["encoding"]["fill"]["scale"]["reverse"] is True


def test_a_pair_is_picked_brushed_and_zoomed_where_there_are_numbers():
    for x, y, names in (
        ("rate", "size", ["x", "y"]),
        ("rate", "flag", ["x"]),
        ("flag", "size", ["y"]),
        ("flag", "image", None),
    ):
        spec = charts.pair_chart(table(9), x, y, "loss", {}, "outcome").to_dict()
        found = {param["name"]: param["select"].get("encodings") for param in spec["params"]}
        assert found == {"pick": None, "brush": None} | ({"zoom": names} if names else {})


def test_words_of_cells_are_those_of_the_axis():
    trials = table(60)
    cells = surface(trials, "image", "<script>", "loss", ("words", "words"))
    spec = checked(charts.pair_chart(trials, "image", "<script>", "loss", LABELS, cells=cells))
    ground = spec["layer"][0]
    assert set(ground["encoding"]["x"]["sort"]) == {row["x"] for row in rows_of(spec, ground)} == {"0.1", "0.5", "None"}
    assert {row["y"] for row in rows_of(spec, ground)} == {"<script>", "a.b[0]:c", "image", "None"}
    assert not {"x2", "y2"} & set(ground["encoding"])


def test_a_distribution_is_that_of_scipy():
    trials = table(200).assign(loss=np.round(table(200)["loss"], 2))
    trials.loc[trials["outcome"].isin(["diverged", "overflow"]), "loss"] = 10.0
    spec = checked(charts.distribution_chart({"a": trials, "b": table(3)}, "loss"))
    kept = trials[trials["state"] != "pruned"]["loss"]
    reference = ecdf(kept).cdf
    rows = [row for row in rows_of(spec, spec) if row["study"] == "a"]
    inner = rows[1:-1]
    assert [row["value"] for row in inner] == reference.quantiles.tolist()
    assert [row["share"] for row in inner] == pytest.approx(reference.probabilities.tolist())
    assert (rows[0]["share"], rows[-1]["share"]) == (0, 1)
    assert rows[0]["value"] <= kept.min()
    assert {row["n"] for row in rows} == {len(kept)}
    assert spec["mark"]["interpolate"] == "step-after"
    n = (trials["state"] == "pruned").sum()
    assert charts.distribution_caption({"a": trials}) == f"{n} of 200 trials were pruned and are left out."
    assert charts.distribution_caption({"a": trials.assign(state="complete")}) == ""


def test_a_distribution_by_hand():
    trials = pd.DataFrame({"number": range(4), "outcome": "solved", "loss": [3.0, 1.0, 3.0, 2.0]})
    rows = rows_of(spec := checked(charts.distribution_chart({"a": trials}, "loss")), spec)
    assert [(row["value"], row["share"]) for row in rows] == [(1, 0), (1, 0.25), (2, 0.5), (3, 1), (3, 1)]
    assert spec["encoding"]["color"]["legend"] is None


def chunks_of(n_trials: int, size: int) -> pd.DataFrame:
    """Return chunks of half solved and half stalled trials, one after the other for 10 seconds each; the last is open."""
    rows = []
    for chunk, first in enumerate(range(0, n_trials, size)):
        times, n = (10.0 * chunk, 10.0 * chunk + 9), min(size, n_trials - first)
        rows += [(chunk, *times, "solved", n // 2, first), (chunk, *times, "stalled", n - n // 2, first)]
    rows[-2:] = [(chunk, 10.0 * chunk, np.nan, "training", n, first)]
    return pd.DataFrame(rows, columns=["chunk", "asked", "done", "outcome", "n", "first"])


def test_bars_of_a_timeline_are_as_long_as_their_time_and_as_high_as_their_trials():
    spec = checked(charts.timeline_chart(chunks_of(30, 10), now=26.0, n_trials=40))
    rows = [tuple(row[key] for key in ("asked", "end", "low", "high", "outcome", "seconds")) for row in rows_of(spec, spec)]
    assert rows == [
        (0, 9, 0, 5, "solved", 9),
        (0, 9, 5, 10, "stalled", 9),
        (10, 19, 10, 15, "solved", 9),
        (10, 19, 15, 20, "stalled", 9),
        (20, 26, 20, 30, "training", 6),
    ]
    assert spec["encoding"]["y"]["scale"]["domain"] == [0, 40]
    assert spec["encoding"]["x"]["title"].startswith("seconds")
    color = spec["encoding"]["color"]["scale"]
    assert color["domain"] == [*OUTCOMES, "training"]
    assert color["range"][-1] == LOOKS["training"].color


@pytest.mark.parametrize(
    ("now", "unit", "end"), [(50, "seconds", 50), (600, "minutes", 10), (7200, "hours", 2), (1e6, "days", 11.574)]
)
def test_a_timeline_counts_in_units_that_suit(now, unit, end):
    spec = checked(charts.timeline_chart(chunks_of(30, 10), now=float(now)))
    assert spec["encoding"]["x"]["title"].startswith(unit)
    assert max(row["end"] for row in rows_of(spec, spec)) == pytest.approx(end, rel=1e-4)


def test_a_timeline_of_thousands_of_chunks_keeps_every_trial():
    chunks = chunks_of(10_000, 2)
    rows = rows_of(spec := checked(charts.timeline_chart(chunks)), spec)
    assert len(rows) <= 5000
    assert sum(row["n"] for row in rows) == 10_000
    assert max(row["high"] for row in rows) == 10_000
    assert pd.DataFrame(rows).groupby("outcome")["n"].sum().to_dict() == chunks.groupby("outcome")["n"].sum().to_dict()


def test_a_timeline_without_chunks_is_empty():
    spec = checked(charts.timeline_chart(chunks_of(30, 10).head(0)))
    assert rows_of(spec, spec) == []


@pytest.mark.parametrize(("setting", "edges"), [("a.b[0]:c", np.linspace), ("rate", np.geomspace)])
def test_bins_of_outcomes_are_those_of_numpy(setting, edges):
    trials = table(500)
    bins = charts.outcome_bins(trials, setting)
    values = trials[setting]
    limits = edges(values.min(), values.max(), charts.BINS + 1)
    assert bins.drop_duplicates("bin")["low"].to_numpy() == pytest.approx(limits[:-1])
    for outcome in OUTCOMES:
        expected, _ = np.histogram(values[trials["outcome"] == outcome], limits)
        found = bins[bins["outcome"] == outcome].set_index("bin")["n"].reindex(range(charts.BINS), fill_value=0)
        assert found.tolist() == expected.tolist()
    for _, part in bins.groupby("bin"):
        assert part["below"].iloc[0] == 0
        assert part["above"].iloc[-1] == pytest.approx(1)
        assert part["below"].to_numpy()[1:] == pytest.approx(part["above"].to_numpy()[:-1])
        assert (part["above"] - part["below"]).to_numpy() == pytest.approx((part["n"] / part["trials"]).to_numpy())
        assert set(part["shade"]) == {0.4 if part["n"].sum() < charts.SURE else 0.9}


def test_words_and_few_numbers_are_bins_of_their_own():
    trials = pd.DataFrame({"number": range(5), "outcome": ["solved", "solved", "stalled", "solved", "overflow"], "loss": 1.0})
    trials["word"], trials["size"] = ["<script>", None, "<script>", "b", "b"], [8, 8, 16, 16, 32]
    found = charts.outcome_bins(trials, "word")
    rows = {(row.bin, row.outcome): (row.n, row.trials) for row in found.itertuples()}
    assert rows[("<script>", "solved")] == rows[("<script>", "stalled")] == rows[("b", "overflow")] == (1, 2)
    assert rows[("None", "solved")] == (1, 1)
    assert "low" not in found
    assert set(charts.outcome_bins(trials, "size")["bin"]) == {"8", "16", "32"}
    assert checked(charts.outcomes_chart(trials, "size", "size"))["encoding"]["x"]["sort"] == ["8", "16", "32"]


def test_a_density_draws_every_cell_and_the_band():
    curves = pd.DataFrame(
        {"run_id": ["a"] * 3 + ["b"] * 3, "iteration": [10, 20, 30] * 2, "loss": [1, 0.1, 0.01, 1, np.inf, np.nan]}
    )
    cells = curve_density(curves)
    spec = checked(charts.density_chart(cells))
    inside, band = spec["layer"][:2]
    assert len(rows_of(spec, inside)) == cells["loss"].notna().sum() == 3
    assert [(row["iteration2"], row["share"]) for row in rows_of(spec, band)] == [(20, 0.5), (30, 0.5)]
    assert inside["encoding"]["x"]["scale"]["domain"] == [0, 30]
    low, high = inside["encoding"]["y"]["scale"]["domain"]
    assert low <= 0.01 < 1 <= high


@pytest.mark.parametrize("losses", [[np.nan, np.inf], [0.0, 0.0], [1e300, 1e-300], [5.0, 5.0]])
def test_a_density_of_whatever_losses(losses):
    cells = curve_density(pd.DataFrame({"run_id": ["a", "a"], "iteration": [1, 2], "loss": losses}))
    assert sum(len(rows) for rows in checked(charts.density_chart(cells))["datasets"].values()) >= 2
    checked(charts.density_chart(cells.head(0)))


def test_every_chart_says_how_to_read_it():
    assert set(charts.READING) == {"parallel", "pair", "distribution", "timeline", "outcomes", "density"}
