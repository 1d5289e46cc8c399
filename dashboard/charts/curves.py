"""Curves over iterations: loss, accuracy, gradient norm. Runs that left the scale stay visible, on a rail above it."""

import math

import altair as alt
import numpy as np
import pandas as pd

from dashboard.charts.outcomes import CATEGORIES, LOOKS

MOST_LINES = 40
"""More lines than that nobody tells apart: then each group is its median and the band of its middle 80 %."""
MOST_MARKS = 300
RAIL = 36
"""Height of the rail in pixels."""
REACH = 1e4
"""A value more than this many times above the median of all is drawn on the rail, so that it does not flatten the rest."""

READING = {
    "loss": "Each line is a run; lower is better, and the scale is logarithmic. The dashed line is the best constant answer: "
    "a line that stays there has learned nothing. Marks on the rail at the top are runs that overflowed (∞, at the "
    "iteration where it first happened), diverged or left the scale: none is hidden.",
    "accuracy": "Share of answers that are wholly right, among the samples of each window, asked before the network learned "
    "from them; of a run with a fixed pool, among held-out samples. It rises late: one wrong bit makes an answer wrong.",
    "gradient_norm": "Length of the gradient over all weights. Values that shrink to nothing are vanishing gradients, values "
    "that shoot up are exploding ones; a healthy run drifts slowly downwards.",
}


def extent(values: pd.Series, log: bool) -> tuple[float, float]:
    """Return the part of an axis that shows what is there without being flattened by a few far values.

    Reading: everything outside is drawn on the rail.
    """
    finite = values[np.isfinite(values) & ((values > 0) | (not log))]
    if finite.empty:
        return (0.01, 2.0) if log else (0.0, 1.0)
    middle = float(finite.abs().quantile(0.5, interpolation="lower")) or 1.0
    high = float(finite[finite <= middle * REACH].max())
    low = float(finite.min())
    if not log:
        return min(low, 0.0), high if high > min(low, 0.0) else 1.0
    low = max(low, middle / REACH, 1e-300)
    return (low / 1.1, max(high, low) * 1.1) if math.isfinite(high * 1.1) else (low / 1.1, high)


def rail_events(curves: pd.DataFrame, runs: pd.DataFrame, field: str, high: float) -> pd.DataFrame:
    """Return one row for each run that belongs on the rail: run_id, label, outcome, iteration, what.

    Parameters
    ----------
    curves : DataFrame
        run_id, iteration and `field`.
    runs : DataFrame
        run_id, label, outcome, overflow_iteration.
    high : float
        Upper end of the axis.
    """
    values = curves[field]
    outside = curves[~np.isfinite(values) & values.notna() | values.isna() | (values > high)]
    first = outside.groupby("run_id")["iteration"].min()
    last = curves.groupby("run_id")["iteration"].max()
    rows = []
    for run in runs.itertuples():
        met = getattr(run, "overflow_iteration", None)
        if run.outcome == "overflow" and not pd.isna(met):
            rows.append((run.run_id, run.label, run.outcome, int(met), "first overflow"))
        elif run.run_id in first.index:
            rows.append((run.run_id, run.label, run.outcome, int(first[run.run_id]), f"{field} left the scale"))
        elif run.outcome in ("diverged", "overflow"):
            rows.append((run.run_id, run.label, run.outcome, int(last.get(run.run_id, 0)), run.outcome))
    return pd.DataFrame(rows, columns=["run_id", "label", "outcome", "iteration", "what"])


def rail_caption(events: pd.DataFrame, n_runs: int) -> str:
    """Return the count that stands on the rail, such as "3 of 10: 2 overflow, 1 diverged"."""
    if events.empty:
        return ""
    counts = events["outcome"].value_counts()
    return f"{len(events)} of {n_runs} here: " + ", ".join(f"{count} {name}" for name, count in counts.items())


def curve_chart(
    curves: pd.DataFrame,
    runs: pd.DataFrame,
    field: str,
    title: str,
    *,
    log: bool = False,
    baseline: float | None = None,
    color_title: str = "outcome",
    legend: bool = True,
    height: int = 320,
    at: float | None = None,
    pick: bool = False,
) -> alt.LayerChart:
    """Draw a column of the curves over the iterations.

    Parameters
    ----------
    curves : DataFrame
        Long: run_id, iteration, `field`.
    runs : DataFrame
        One row for each run: run_id, label, outcome, overflow_iteration, color (the text that decides its colour).
    baseline : float, optional
        Drawn as a dashed line.
    at : float, optional
        An iteration to be marked.
    pick : bool
        Whether a click picks the nearest iteration: the selection "pick".

    Notes
    -----
    Reading: see `READING`.
    """
    limit = extent(curves[field], log)[1]
    events = rail_events(curves, runs, field, limit)
    data = curves[["run_id", "iteration", field]].rename(columns={field: "value"})
    data = data[np.isfinite(data["value"]) & (data["value"] <= limit)].merge(runs[["run_id", "label", "color"]], on="run_id")
    data = bands(data) if len(runs) > MOST_LINES else data
    heights = [name for name in ("value", "low", "high") if name in data]
    low, high = extent(data[heights].stack(), log) if field != "accuracy" else (0.0, 1.0)
    if baseline is not None and low / 2 <= baseline <= 2 * high:
        low, high = min(low, baseline / 1.2), max(high, baseline * 1.2)  # keeps the dashed line in sight
    data[heights] = data[heights].clip(low, high)
    x = alt.X(
        "iteration:Q",
        title="iteration",
        scale=alt.Scale(domain=[0, _last(curves, runs)], nice=False),
        axis=alt.Axis(grid=False),
    )
    top = 0 if events.empty else RAIL + 6
    scale = alt.Scale(
        type="log" if log else "linear", domain=[low, high], nice=False, range=[alt.ExprRef("height"), top], clamp=True
    )
    ticks = {"values": log_ticks(low, high)} if log else {"tickCount": 5}
    y = alt.Y("value:Q", title=title, scale=scale, axis=alt.Axis(format="~g", **ticks))
    layers = _lines(data, x, y, scale, _color(runs, color_title if legend else None))
    if baseline is not None and low <= baseline <= high:
        layers.append(_baseline(baseline, scale, title))
    layers += _rail(events, x, len(runs))
    if at is not None:
        layers.append(alt.Chart(pd.DataFrame({"iteration": [at]})).mark_rule(color="#8A8F98", strokeWidth=1.5).encode(x=x))
    if pick:
        layers.append(_pick(curves, x))
    return alt.layer(*layers).resolve_scale(color="independent", shape="independent").properties(height=height)


def log_ticks(low: float, high: float) -> list[float]:
    """Return the round numbers to label on a logarithmic axis: powers of ten, and where they are few numbers between them."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    every = max(1, (last - first) // 8)
    for steps in ((1,), (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9)) if last - first <= 4 else ((1,),):
        ticks = [float(f"{step}e{power}") for power in range(first, last + 1, every) for step in steps]
        ticks = [tick for tick in ticks if low <= tick <= high]
        if len(ticks) > 3:
            break
    return ticks


def _last(curves: pd.DataFrame, runs: pd.DataFrame) -> float:
    """Return the last iteration that the axis has room for: what was asked for, so that it stands still during training."""
    planned = runs["n_iterations"].max() if "n_iterations" in runs and len(runs) else 1
    return float(max(1, planned, 1 if curves.empty else curves["iteration"].max()))


def _color(runs: pd.DataFrame, title: str | None) -> alt.Color:
    names = list(dict.fromkeys(runs["color"]))
    if set(names) <= set(LOOKS):
        names = [name for name in LOOKS if name in names]
        scale = alt.Scale(domain=names, range=[LOOKS[name].color for name in names])
    elif len(names) <= len(CATEGORIES):
        scale = alt.Scale(domain=names, range=CATEGORIES[: len(names)])
    else:
        scale = alt.Scale(domain=names, scheme="viridis")
    legend = (
        alt.Legend(orient="bottom", title=title, titleOrient="left", columns=6, symbolLimit=24)
        if title and len(names) > 1
        else None
    )
    return alt.Color("color:N", scale=scale, legend=legend, sort=names)


def bands(data: pd.DataFrame) -> pd.DataFrame:
    """Return median (value) and deciles (low, high) of each colour's runs at each iteration, and how many (n) there are."""
    grouped = data.groupby(["color", "iteration"], sort=False)["value"]
    table = grouped.quantile([0.1, 0.5, 0.9]).unstack().set_axis(["low", "value", "high"], axis=1)
    return table.join(grouped.size().rename("n")).reset_index()


def _lines(data: pd.DataFrame, x: alt.X, y: alt.Y, scale: alt.Scale, color: alt.Color) -> list[alt.Chart]:
    """Return a line for each run, or where `bands` were made the median and the band of each colour."""
    number = {"format": ".4g"}
    if "n" not in data:
        tooltip = [alt.Tooltip("label:N", title="run"), alt.Tooltip("iteration:Q"), alt.Tooltip("value:Q", **number)]
        line = alt.Chart(data).mark_line(strokeWidth=1.8, opacity=0.9)
        return [line.encode(x=x, y=y, color=color, detail="run_id:N", tooltip=tooltip)]
    tooltip = [alt.Tooltip("color:N", title="runs"), alt.Tooltip("iteration:Q"), alt.Tooltip("n:Q")]
    tooltip += [alt.Tooltip(f"{k}:Q", title=t, **number) for k, t in (("low", "10 %"), ("value", "median"), ("high", "90 %"))]
    area = alt.Chart(data).mark_area(opacity=0.22)
    area = area.encode(x=x, y=alt.Y("low:Q", scale=scale, title=None), y2="high:Q", color=color.copy(deep=True).legend(None))
    return [area, alt.Chart(data).mark_line(strokeWidth=2).encode(x=x, y=y, color=color, tooltip=tooltip)]


def empty_chart(title: str, baseline: float, height: int = 320) -> alt.LayerChart:
    """Draw the axes that wait for a first run, with the loss of the best constant answer."""
    nothing = pd.DataFrame({"run_id": [], "iteration": [], "loss": []}, dtype=float)
    no_runs = pd.DataFrame({"run_id": [], "label": [], "color": [], "outcome": [], "overflow_iteration": []})
    return curve_chart(nothing, no_runs, "loss", title, log=True, baseline=baseline, height=height)


def _pick(curves: pd.DataFrame, x: alt.X) -> alt.Chart:
    """Return invisible points, one for each iteration, of which a click picks the nearest."""
    pick = alt.selection_point("pick", fields=["iteration"], on="click", nearest=True, empty=False, toggle=False)
    points = alt.Chart(curves[["iteration"]].drop_duplicates()).mark_point(opacity=0, size=30)
    return points.encode(x=x, y=alt.value(60)).add_params(pick)


def _baseline(value: float, scale: alt.Scale, title: str) -> alt.Chart:
    data = pd.DataFrame({"value": [value], "what": ["a constant answer"]})
    rule = alt.Chart(data).mark_rule(strokeDash=[5, 4], opacity=0.7, color="#8A8F98")
    return rule.encode(y=alt.Y("value:Q", scale=scale, title=title), tooltip=["what:N", alt.Tooltip("value:Q", format=".4g")])


def _rail(events: pd.DataFrame, x: alt.X, n_runs: int) -> list[alt.Chart]:
    """Return the rail: a band at the top, a mark for each run on it, and their count."""
    if events.empty:
        return []
    names = [name for name in LOOKS if name in set(events["outcome"])]
    band = alt.Chart(pd.DataFrame({"zero": [0]})).mark_rect(color="#8A8F98", opacity=0.14)
    band = band.encode(y=alt.value(0), y2=alt.value(RAIL), x=alt.value(0), x2=alt.value("width"))
    marks = alt.Chart(events.head(MOST_MARKS)).mark_point(size=70, filled=True, opacity=0.85)
    marks = marks.encode(
        x=x,
        y=alt.value(RAIL - 10),
        color=alt.Color("outcome:N", scale=alt.Scale(domain=names, range=[LOOKS[n].color for n in names]), legend=None),
        shape=alt.Shape("outcome:N", scale=alt.Scale(domain=names, range=[LOOKS[n].shape for n in names]), legend=None),
        tooltip=[alt.Tooltip("label:N", title="run"), "outcome:N", "what:N", "iteration:Q"],
    )
    caption = pd.DataFrame({"text": [rail_caption(events, n_runs)]})
    text = alt.Chart(caption).mark_text(align="right", baseline="middle", fontSize=12, color="#8A8F98", fontWeight=600, dx=-6)
    return [band, marks, text.encode(x=alt.value("width"), y=alt.value(10), text="text:N")]
