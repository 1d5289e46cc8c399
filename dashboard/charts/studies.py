"""Charts of a study: history, slices, importances, Pareto front. Trials that diverged or overflowed keep colour and place."""

import altair as alt
import numpy as np
import pandas as pd

from dashboard.charts.marks import (
    HANDS,
    QUIET,
    hands,
    number_axis,
    outcome_encoding,
    position,
    scale_of,
    scattered,
    sized,
    thinned,
    tips,
    title,
    trial_rows,
)
from dashboard.charts.outcomes import CATEGORIES

READING = {
    "history": "Each mark is a trial, in the order it was asked; the line is the best so far. Colour and shape tell how its "
    "runs ended. A run without a finite loss counts as bad as the objective allows (see the objective's note), so it stands "
    "at the edge instead of missing. Hollow marks were pruned: stopped early, with the value they had then." + HANDS,
    "slice": "The same trials over one setting at a time: a valley shows where it has to be, a flat cloud that it hardly "
    "matters within the range that was searched. Hollow marks were pruned." + HANDS,
    "importance": "Share of each setting in deciding the objective (PED-ANOVA): it compares where the best tenth of the "
    "trials lie with where all lie. It speaks about the searched ranges only.",
    "pareto": "Each mark is a trial, by both objectives. The line joins those that no other trial beats in both: choosing "
    "among them is a matter of taste. Hollow marks were pruned." + HANDS,
}


def thinned_caption(table: pd.DataFrame) -> str:
    """Return what is said about trials that are not drawn."""
    n = len(thinned(table))
    return "" if n == len(table) else f"{n:,} of {len(table):,} trials are drawn, first those that were lost or are selected."


def absent_caption(table: pd.DataFrame, *settings: str) -> str:
    """Return what is said about trials that have no place on an axis of numbers, because they lack the setting."""
    lacking = pd.DataFrame({name: table[name].isna() & (scale_of(table[name]) != "words") for name in settings}).any(axis=1)
    return f"{lacking.sum():,} of {len(table):,} trials lack the setting and are not drawn." if lacking.any() else ""


def history_chart(
    table: pd.DataFrame, objective: str, best: pd.Series, n_trials: int | None = None, height: int = 340
) -> alt.LayerChart:
    """Draw values by trial number, and the best so far.

    Parameters
    ----------
    table : DataFrame
        number, outcome, `objective` (finite); state and selected if there are any.
    best : Series
        Best value up to each row.
    n_trials : int, optional
        How many trials are planned: the axis has room for them.

    Notes
    -----
    Reading: see `READING["history"]`. The brush has the fields number and value.
    """
    shown = trial_rows(table, value=objective)
    end = max(n_trials or 1, int(table["number"].max()) + 1 if len(table) else 1)
    across = alt.Scale(domain=[0, end], nice=False, padding=8)
    x = alt.X("number:Q", title="trial", axis=number_axis(grid=False, tickMinStep=1, format=",d"), scale=across)
    y = position(alt.Y, "value", table[objective], title(objective))
    marks = alt.Chart(shown).mark_point(strokeWidth=1.2, clip=True)
    marks = marks.encode(x=x, y=y, tooltip=tips(shown, value=title(objective)), **outcome_encoding(shown))
    steps = pd.DataFrame({"number": table["number"], "value": best})
    steps = steps[steps["value"].shift() != steps["value"]]
    steps = pd.concat([steps, pd.DataFrame({"number": [table["number"].max()], "value": [best.iloc[-1]]})])
    line = alt.Chart(steps).mark_line(interpolate="step-after", color=QUIET, strokeWidth=1.5, clip=True).encode(x=x, y=y)
    return sized(alt.layer(line, marks.add_params(*hands(x, y))), shown, height)


def slice_chart(table: pd.DataFrame, setting: str, objective: str, label: str, height: int = 230) -> alt.Chart:
    """Draw an objective over one setting; words stand side by side with a little scatter.

    Notes
    -----
    Reading: see `READING["slice"]`. The brush has the fields setting and value.
    """
    shown = trial_rows(table, setting=setting, value=objective)
    x, y = position(alt.X, "setting", table[setting], label), position(alt.Y, "value", table[objective], title(objective))
    chart = alt.Chart(shown).mark_point(strokeWidth=1.2, clip=True, **scattered(x, y))
    chart = chart.encode(x=x, y=y, tooltip=tips(shown, setting=label, value=title(objective)))
    return sized(chart.encode(**outcome_encoding(shown, legend=False)).add_params(*hands(x, y)), shown, height)


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
    Reading: see `READING["pareto"]`. The brush has the fields first and second.
    """
    first, second = objectives
    x = position(alt.X, "first", table[first], title(first))
    y = position(alt.Y, "second", table[second], title(second))
    edge = pd.DataFrame({"first": table[first], "second": table[second]})[front].sort_values("first")
    line = alt.Chart(edge).mark_line(color=QUIET, strokeWidth=1.5, interpolate="step-after", clip=True).encode(x=x, y=y)
    shown = trial_rows(table, first=first, second=second)
    marks = alt.Chart(shown).mark_point(strokeWidth=1.2, clip=True)
    marks = marks.encode(x=x, y=y, tooltip=tips(shown, first=title(first), second=title(second)), **outcome_encoding(shown))
    return sized(alt.layer(line, marks.add_params(*hands(x, y))), shown, height)
