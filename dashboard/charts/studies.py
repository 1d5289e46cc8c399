"""Charts of a study: history, slices, importances, Pareto front. Trials that diverged or overflowed keep colour and place."""

import altair as alt
import numpy as np
import pandas as pd

from dashboard.charts.curves import extent, log_ticks
from dashboard.charts.outcomes import CATEGORIES, LOOKS

MOST_POINTS = 5000
"""More marks than that a browser draws slowly."""
SPAN = 50
"""An axis of positive values that spans more than this factor is logarithmic."""

READING = {
    "history": "Each mark is a trial, in the order it was asked; the line is the best so far. Colour and shape tell how its "
    "runs ended. A run that diverged or overflowed counts as bad as the objective allows (see the objective's note), so it "
    "stands at the edge instead of missing. Click on a mark to look closer at its run.",
    "slice": "The same trials over one setting at a time: a valley shows where it has to be, a flat cloud that it hardly "
    "matters within the range that was searched.",
    "importance": "Share of each setting in deciding the objective (PED-ANOVA): it compares where the best tenth of the "
    "trials lie with where all lie. It speaks about the searched ranges only.",
    "pareto": "Each mark is a trial, by both objectives. The line joins those that no other trial beats in both: choosing "
    "among them is a matter of taste.",
}


def outcome_encoding(table: pd.DataFrame, legend: bool = True) -> dict:
    """Return colour and shape of outcomes, the same everywhere."""
    names = [name for name in LOOKS if name in set(table["outcome"])]
    key = alt.Legend(orient="bottom", title=None, columns=3) if legend else None
    return {
        "color": alt.Color(
            "outcome:N", sort=names, scale=alt.Scale(domain=names, range=[LOOKS[n].color for n in names]), legend=key
        ),
        "shape": alt.Shape(
            "outcome:N", sort=names, scale=alt.Scale(domain=names, range=[LOOKS[n].shape for n in names]), legend=key
        ),
    }


def _axis(values: pd.Series) -> tuple[alt.Scale, alt.Axis, bool]:
    """Return scale and axis for finite values: logarithmic where they span much."""
    finite = values[np.isfinite(values)]
    log = bool(len(finite) and finite.min() > 0 and finite.max() / SPAN > finite.min())
    if not len(finite):
        low, high = extent(values, False)
    elif log:
        low, high = float(finite.min()) / 1.15, float(min(finite.max() * 1.15, 1.7e308))
    else:
        room = 0.04 * float(finite.max() - finite.min()) or abs(float(finite.max())) * 0.1 or 1.0
        low, high = float(finite.min()) - room, float(finite.max()) + room
    ticks = {"values": log_ticks(low, high)} if log else {"tickCount": 5}
    return alt.Scale(type="log" if log else "linear", domain=[low, high], nice=False), alt.Axis(format="~g", **ticks), log


def thinned(table: pd.DataFrame) -> pd.DataFrame:
    """Return as many trials as a browser draws quickly: first those that diverged or overflowed, then an even share."""
    if len(table) <= MOST_POINTS:
        return table
    lost = table["outcome"].isin(["diverged", "overflow"])
    parts = [table[lost], table[~lost]]
    room = [min(len(parts[0]), MOST_POINTS - min(len(parts[1]), MOST_POINTS // 2))]
    room.append(MOST_POINTS - room[0])
    kept = [part.iloc[:: -(-len(part) // n)] for part, n in zip(parts, room, strict=True) if len(part)]
    return pd.concat(kept).sort_values("number")


def thinned_caption(table: pd.DataFrame) -> str:
    """Return what is said about trials that are not drawn."""
    n = len(thinned(table))
    return "" if n == len(table) else f"{n:,} of {len(table):,} trials are drawn, those that diverged or overflowed first."


def _words(table: pd.DataFrame, *columns: str) -> list:
    names = [name for name in columns if name in table]
    return [
        alt.Tooltip(f"{name}:{'Q' if pd.api.types.is_numeric_dtype(table[name]) else 'N'}", title=title(name)) for name in names
    ]


def title(name: str) -> str:
    """Return a column's name for people."""
    return name.replace("_", " ")


def history_chart(table: pd.DataFrame, objective: str, best: pd.Series, height: int = 340) -> alt.LayerChart:
    """Draw values by trial number, and the best so far.

    Parameters
    ----------
    table : DataFrame
        number, outcome, `objective` (finite), run_id.
    best : Series
        Best value up to each row.

    Notes
    -----
    Reading: see `READING["history"]`. A click selects a trial by its number: the selection "pick".
    """
    scale, axis, _ = _axis(table[objective])
    shown = thinned(table)[["number", "outcome", objective, "run_id"]].rename(columns={objective: "value"})
    x = alt.X("number:Q", title="trial", axis=alt.Axis(grid=False, tickMinStep=1), scale=alt.Scale(nice=False, padding=8))
    y = alt.Y("value:Q", title=title(objective), scale=scale, axis=axis)
    pick = alt.selection_point("pick", fields=["number"], on="click", empty=False, toggle=False)
    words = ["number:Q", "outcome:N", alt.Tooltip("value:Q", format=".4g")]
    marks = alt.Chart(shown).mark_point(filled=True, size=55, opacity=0.8)
    marks = marks.encode(x=x, y=y, tooltip=words, **outcome_encoding(shown)).add_params(pick)
    steps = pd.DataFrame({"number": table["number"], "value": best})
    steps = steps[steps["value"].shift() != steps["value"]]
    steps = pd.concat([steps, pd.DataFrame({"number": [table["number"].max()], "value": [best.iloc[-1]]})])
    line = alt.Chart(steps).mark_line(interpolate="step-after", color="#8A8F98", strokeWidth=1.5).encode(x=x, y=y)
    return alt.layer(line, marks).properties(height=height)


def slice_chart(table: pd.DataFrame, setting: str, objective: str, label: str, height: int = 230) -> alt.Chart:
    """Draw an objective over one setting; words stand side by side with a little scatter.

    Notes
    -----
    Reading: see `READING["slice"]`.
    """
    shown = thinned(table)[["number", "outcome", objective, setting]].rename(columns={objective: "value", setting: "setting"})
    scale, axis, _ = _axis(table[objective])
    y = alt.Y("value:Q", title=title(objective), scale=scale, axis=axis)
    words = ["number:Q", alt.Tooltip("setting", title=label), "outcome:N", alt.Tooltip("value:Q", format=".4g")]
    chart = alt.Chart(shown).mark_point(filled=True, size=40, opacity=0.75)
    if pd.api.types.is_numeric_dtype(table[setting]) and not pd.api.types.is_bool_dtype(table[setting]):
        x_scale, x_axis, _ = _axis(table[setting].astype(float))
        x = alt.X("setting:Q", title=label, scale=x_scale, axis=x_axis)
        return chart.encode(x=x, y=y, tooltip=words, **outcome_encoding(shown, legend=False)).properties(height=height)
    shown["setting"] = shown["setting"].astype(str)
    shown["beside"] = (shown["number"] * 0.6180339887) % 1  # golden ratio: neighbours do not hide each other
    x = alt.X("setting:N", title=label, axis=alt.Axis(labelAngle=0, labelOverlap=True))
    offset = alt.XOffset("beside:Q", scale=alt.Scale(domain=[-0.5, 1.5]))
    return chart.encode(x=x, xOffset=offset, y=y, tooltip=words, **outcome_encoding(shown, legend=False)).properties(
        height=height
    )


def importance_chart(shares: pd.Series) -> alt.LayerChart:
    """Draw shares of settings, most important first.

    Notes
    -----
    Reading: see `READING["importance"]`.
    """
    data = pd.DataFrame({"setting": [title(name) for name in shares.index], "share": shares.to_numpy(float)})
    y = alt.Y("setting:N", sort=list(data["setting"]), title=None, axis=alt.Axis(labelLimit=200, labelOverlap=False))
    bars = alt.Chart(data).mark_bar(color=CATEGORIES[0], opacity=0.85)
    bars = bars.encode(
        y=y, x=alt.X("share:Q", title=None, axis=alt.Axis(format=".0%", tickCount=4), scale=alt.Scale(domain=[0, 1]))
    )
    text = (
        alt.Chart(data)
        .mark_text(align="left", dx=4, color="#8A8F98")
        .encode(y=y, x="share:Q", text=alt.Text("share:Q", format=".0%"))
    )
    return alt.layer(bars, text).properties(height=max(110, 46 * len(data)))


def pareto_chart(table: pd.DataFrame, objectives: tuple[str, str], front: np.ndarray, height: int = 340) -> alt.LayerChart:
    """Draw two objectives against each other, and the trials that nothing beats.

    Notes
    -----
    Reading: see `READING["pareto"]`.
    """
    first, second = objectives
    data = table[["number", "outcome", first, second]].rename(columns={first: "first", second: "second"})
    scales = [_axis(table[name]) for name in objectives]
    x = alt.X("first:Q", title=title(first), scale=scales[0][0], axis=scales[0][1])
    y = alt.Y("second:Q", title=title(second), scale=scales[1][0], axis=scales[1][1])
    line = alt.Chart(data[front].sort_values("first")).mark_line(color="#8A8F98", strokeWidth=1.5, interpolate="step-after")
    shown = thinned(data)
    words = ["number:Q", "outcome:N", alt.Tooltip("first:Q", title=title(first), format=".4g")]
    words.append(alt.Tooltip("second:Q", title=title(second), format=".4g"))
    marks = alt.Chart(shown).mark_point(filled=True, size=55, opacity=0.8)
    return alt.layer(line.encode(x=x, y=y), marks.encode(x=x, y=y, tooltip=words, **outcome_encoding(shown))).properties(
        height=height
    )
