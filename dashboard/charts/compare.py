"""Several studies, or groups of runs, side by side: pure functions from DataFrames to charts.

A group has the same colour in every chart; outcomes keep their own.
"""

import altair as alt
import numpy as np
import pandas as pd

from dashboard.charts.marks import QUIET, position, round_domain, title
from dashboard.charts.outcomes import CATEGORIES, LOOKS, word

READING = {
    "best": "The best value up to so many trials, iterations or seconds: the line is the median over the seeds, the band "
    "their spread. Left of the dashed rule every group has spent as much; compare there.",
    "spread": "Every mark is a run in the colour of its outcome, the box holds the middle half with its median. "
    "Runs that diverged or overflowed count with what divergence costs in a search, so none is left out.",
    "distribution": "The share of a group's runs that are at most this value, as steps: a line further to the upper left has "
    "more small values. A flat piece between two rises says that runs are either good or bad.",
    "outcomes": "How the runs of each group ended.",
    "importance": "By how much each setting decides the value within its study (PED-ANOVA), as shares of 1.",
    "pairs": "How much better the first of a pair is, with a 95 % interval over the seeds, whatever direction is better: "
    "right of zero it wins. An interval that crosses zero is not decided.",
}
HEIGHT = 300


def group_scale(names: list[str]) -> alt.Scale:
    """Return one colour for each group."""
    colors = {"range": CATEGORIES[: len(names)]} if len(names) <= len(CATEGORIES) else {"scheme": "viridis"}
    return alt.Scale(domain=names, **colors)


def _color(names: list[str], legend: bool = True) -> alt.Color:
    key = alt.Legend(orient="bottom", title=None, columns=2, labelLimit=400) if legend else None
    return alt.Color("group:N", scale=group_scale(names), sort=names, legend=key)


def best_chart(table: pd.DataFrame, names: list[str], budget: str, label: str) -> alt.LayerChart:
    """Draw the best value so far by budget, a line with a band for each group.

    Parameters
    ----------
    table : DataFrame
        group, budget, value, low, high, shared (whether every group has spent so much).
    names : list of str
        Groups in the order of their colours.
    budget : str
        What the budget counts.

    Notes
    -----
    Reading: see `READING["best"]`.
    """
    values = pd.concat([table["value"], table["low"], table["high"]], ignore_index=True)
    x = alt.X("budget:Q", title=budget, axis=alt.Axis(format="~s", tickCount=6))
    y = position(alt.Y, "value", values, label)
    base = alt.Chart(table).encode(x=x, color=_color(names))
    low = position(alt.Y, "low", values, label)
    band = base.mark_area(opacity=0.16, interpolate="step-after").encode(y=low, y2="high:Q")
    told = [
        "group:N",
        alt.Tooltip("budget:Q", format=",.4g"),
        *(alt.Tooltip(f"{n}:Q", format=".4g") for n in ("value", "low", "high")),
    ]
    line = base.mark_line(interpolate="step-after", strokeWidth=1.8).encode(y=y, tooltip=told)
    shared = table.loc[table["shared"], "budget"].max()
    rule = alt.Chart(pd.DataFrame({"budget": [shared]})).mark_rule(color=QUIET, strokeDash=[4, 3]).encode(x=x)
    return alt.layer(band, line, rule).properties(height=HEIGHT)


def spread_chart(table: pd.DataFrame, names: list[str], label: str) -> alt.LayerChart:
    """Draw every run as a mark, with a box for each group.

    Parameters
    ----------
    table : DataFrame
        group, value, outcome, seed; values are finite.

    Notes
    -----
    Reading: see `READING["spread"]`.
    """
    y = alt.Y("group:N", sort=names, title=None, axis=alt.Axis(labelLimit=220, labelOverlap=False))
    x = position(alt.X, "value", table["value"], label)
    box = alt.Chart(table).mark_boxplot(extent=0, size=26, color=QUIET, opacity=0.35, outliers=False, rule=False)
    present = [name for name in LOOKS if (table["outcome"] == name).any()]
    looks = alt.Scale(domain=present, range=[LOOKS[name].color for name in present])
    shapes = alt.Scale(domain=present, range=[LOOKS[name].shape for name in present])
    rng = np.random.default_rng(0)
    points = alt.Chart(table.assign(place=rng.uniform(-1, 1, len(table)))).mark_point(filled=True, size=34, opacity=0.6)
    key = alt.Legend(orient="bottom", title=None, columns=3)
    points = points.encode(
        x=x,
        y=y,
        yOffset=alt.YOffset("place:Q", scale=alt.Scale(domain=[-2.2, 2.2])),
        color=alt.Color("outcome:N", scale=looks, legend=key),
        shape=alt.Shape("outcome:N", scale=shapes, legend=key),
        tooltip=["group:N", alt.Tooltip("value:Q", title=label, format=".4g"), "outcome:N", "seed:Q"],
    )
    boxes = box.encode(x=x, y=y)
    return alt.layer(boxes, points).properties(height=110 + 56 * len(names))


def ecdf_chart(table: pd.DataFrame, names: list[str], label: str) -> alt.Chart:
    """Draw the empirical distribution function of each group.

    Parameters
    ----------
    table : DataFrame
        group, value, share (of the group's runs that are not above the value).

    Notes
    -----
    Reading: see `READING["distribution"]`.
    """
    data = table[["group", "value", "share"]].drop_duplicates().sort_values(["group", "value"])
    lines = alt.Chart(data).mark_line(interpolate="step-after", strokeWidth=1.8)
    return lines.encode(
        x=position(alt.X, "value", table["value"], label),
        y=alt.Y("share:Q", title="share of runs", scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(format=".0%", tickCount=5)),
        color=_color(names),
        tooltip=["group:N", alt.Tooltip("value:Q", title=label, format=".4g"), alt.Tooltip("share:Q", format=".1%")],
    ).properties(height=HEIGHT)


def outcome_chart(table: pd.DataFrame, names: list[str]) -> alt.LayerChart:
    """Draw how the runs of each group ended.

    Parameters
    ----------
    table : DataFrame
        group, outcome, n, share.

    Notes
    -----
    Reading: see `READING["outcomes"]`.
    """
    present = [name for name in LOOKS if (table["outcome"] == name).any()]
    data = table.assign(order=table["outcome"].map(list(LOOKS).index), what=table["outcome"].map(word))
    scale = alt.Scale(domain=[word(name) for name in present], range=[LOOKS[name].color for name in present])
    bars = alt.Chart(data).mark_bar()
    return bars.encode(
        y=alt.Y("group:N", sort=names, title=None, axis=alt.Axis(labelLimit=220, labelOverlap=False)),
        x=alt.X("n:Q", stack="normalize", title="share of runs", axis=alt.Axis(format=".0%", tickCount=5)),
        color=alt.Color("what:N", scale=scale, sort=None, legend=alt.Legend(orient="bottom", title=None, columns=3)),
        order="order:Q",
        tooltip=["group:N", "what:N", "n:Q", alt.Tooltip("share:Q", format=".1%")],
    ).properties(height=150 + 40 * len(names))


def importances_chart(table: pd.DataFrame, names: list[str]) -> alt.Chart:
    """Draw the importances of settings, the studies side by side.

    Parameters
    ----------
    table : DataFrame
        group, setting, share.

    Notes
    -----
    Reading: see `READING["importance"]`.
    """
    order = table.groupby("setting")["share"].max().sort_values(ascending=False).index.map(title).tolist()
    data = table.assign(setting=table["setting"].map(title))
    bars = alt.Chart(data).mark_bar(opacity=0.85)
    return bars.encode(
        y=alt.Y("setting:N", sort=order, title=None, axis=alt.Axis(labelLimit=200)),
        yOffset=alt.YOffset("group:N", sort=names),
        x=alt.X("share:Q", title=None, scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(format=".0%", tickCount=4)),
        color=_color(names),
        tooltip=["group:N", "setting:N", alt.Tooltip("share:Q", format=".1%")],
    ).properties(height=80 + 18 * len(data) + 14 * len(order))


def pairs_chart(table: pd.DataFrame, label: str) -> alt.LayerChart:
    """Draw the difference of each pair with its interval.

    Parameters
    ----------
    table : DataFrame
        pair, gain (positive where the first is better), low, high, verdict.

    Notes
    -----
    Reading: see `READING["pairs"]`.
    """
    values = pd.concat([table["low"], table["high"], table["gain"], pd.Series([0.0])], ignore_index=True)
    y = alt.Y("pair:N", sort=list(table["pair"]), title=None, axis=alt.Axis(labelLimit=360, labelOverlap=False))
    low, high = round_domain(values[np.isfinite(values)], False)
    x = alt.Scale(domain=[low, high], nice=False)
    told = ["pair:N", *(alt.Tooltip(f"{name}:Q", format=".4g") for name in ("gain", "low", "high")), "verdict:N"]
    rule = alt.Chart(table).mark_rule(strokeWidth=2, color=CATEGORIES[0])
    point = alt.Chart(table).mark_point(filled=True, size=80, color=CATEGORIES[0], opacity=1)
    zero = alt.Chart(pd.DataFrame({"zero": [0.0]})).mark_rule(color=QUIET, strokeDash=[4, 3]).encode(x=alt.X("zero:Q", scale=x))
    heading = f"{label}: how much better the first is"
    return alt.layer(
        zero,
        rule.encode(y=y, x=alt.X("low:Q", scale=x, title=heading), x2="high:Q", tooltip=told),
        point.encode(y=y, x=alt.X("gain:Q", scale=x), tooltip=told),
    ).properties(height=90 + 34 * len(table))
