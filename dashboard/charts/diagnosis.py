"""Charts of a diagnosis: gradients through time, spectrum, unit health, distributions, hidden states, the black box's trail.

Values that are not finite are never dropped: lines carry them as marks at the upper edge, maps as cells of their own colour,
and both say how many there are.
"""

import altair as alt
import numpy as np
import pandas as pd

from dashboard.charts.curves import extent, log_ticks
from dashboard.charts.outcomes import CATEGORIES, LOOKS

LOST, ZERO = LOOKS["overflow"].color, "#8A8F98"
CHOSEN = "#8A8F98"
MOST_ROWS = 200
"""Time steps of a map that are drawn one by one; of more, every so many-th."""

READING = {
    "iteration": "The run's loss, as on top of the page. Click on it, or move the slider below: every panel of the diagnosis "
    "shows that iteration, or marks it with a grey line.",
    "errors": "Each column is an iteration, each row a time step: how strongly the loss depends on the hidden state of that "
    "step (the length of dL/dh, over units and sequences). Read it upwards, back in time: where the colour fades towards the "
    "first step, gradients vanish and the beginning of a sequence teaches nothing; where it glows, they explode. Orange cells "
    "are not finite, grey ones exactly 0.",
    "error_curve": "One column of the map: the same lengths at the chosen iteration, on a logarithmic axis. A straight line "
    "means that the error changes by the same factor at every step back; the dashed line is that fit, its factor is in the "
    "legend. Above 1 the error grows on its way back, below 1 it shrinks. Beside it stands the spectral radius: a linear "
    "network's error would change about by that.",
    "spectrum": "Spectral radius (the largest absolute eigenvalue) and largest singular value of every recurrent matrix, gate "
    "by gate. Far above the line at 1 hidden values and errors tend to explode, far below they tend to vanish; squashing "
    "functions and gates hold against that.",
    "health": "Shares of values in the outer tenth of their function's range, where its slope is small and little gradient "
    "gets through. For gates that is often wanted: a forget gate at its upper end keeps. Dead relu units answer 0 to every "
    "held-out sample at every step: no gradient reaches them any more.",
    "updates": "Length of the step by length of the weights, for each matrix. Around 0.001 is a common rule of thumb; far "
    "above it training jumps, far below it crawls.",
    "distribution": "How the numbers are spread over the iterations: the middle line is the median, the bands hold 50 %, 90 % "
    "and all of them. Bands that widen without end are on their way to an overflow.",
    "histogram": "The same numbers at the chosen iteration, in 40 bins.",
    "states": "What the hidden units hold while the network works on one held-out sample, step by step, at the chosen "
    "iteration. Rows of one colour are units that ignore the input.",
    "trail": "The iterations before the overflow, on a logarithmic axis: which of the four grows first tells where it began. "
    "Marks at the upper edge are not finite.",
}


def lost_caption(n_lost: int, n: int) -> str:
    """Return what is said about values that are not finite."""
    return f"{n_lost:,} of {n:,} not finite" if n_lost else ""


def line_chart(
    table: pd.DataFrame,
    x: str,
    title: str,
    color: str,
    *,
    dash: str | None = None,
    log: bool = False,
    at: float | None = None,
    one: bool = False,
    share: bool = False,
    height: int = 290,
) -> alt.LayerChart:
    """Draw lines of `value` over a column x.

    Parameters
    ----------
    table : DataFrame
        x, value, color, and dash where given.
    color, dash : str
        Columns that tell lines apart.
    at : float, optional
        Where the chosen x is marked.
    one : bool
        Whether to draw the line at 1.
    share : bool
        Whether values are shares of 1.

    Notes
    -----
    Reading: see `READING`; marks at the upper edge are values that are not finite.
    """
    good = np.isfinite(table["value"]) & ((table["value"] > 0) | (not log))
    lost = table[~np.isfinite(table["value"])]
    low, high = (0.0, 1.0) if share else _span(table.loc[good, "value"], log)
    if one:
        low, high = min(low, 0.9), max(high, 1.1)
    data = table[good].assign(value=table.loc[good, "value"].clip(low, high))
    scale = alt.Scale(type="log" if log else "linear", domain=[low, high], nice=False, clamp=True)
    ticks = {"values": log_ticks(low, high)} if log else {"tickCount": 5}
    axis = alt.Axis(format=".0%" if share else "~g", **ticks)
    column = alt.X(f"{x}:Q", title=x.replace("_", " "), axis=alt.Axis(grid=False, tickMinStep=1), scale=_scale(table[x]))
    names = list(dict.fromkeys(table[color]))
    columns = 1 if dash else 3
    legend = alt.Legend(orient="bottom", title=None, columns=columns, labelLimit=520) if len(names) > 1 or dash else None
    encoding = {"color": alt.Color(f"{color}:N", scale=_colors(names), sort=names, legend=legend)}
    tooltip = [f"{color}:N", f"{x}:Q", alt.Tooltip("value:Q", format=".2%" if share else ".4g")]
    if dash:
        kinds = list(dict.fromkeys(table[dash]))
        encoding["strokeDash"] = alt.StrokeDash(
            f"{dash}:N",
            sort=kinds,
            scale=alt.Scale(domain=kinds, range=[[1, 0], [6, 3], [2, 2]][: len(kinds)]),
            legend=alt.Legend(orient="bottom", title=None, columns=1, labelLimit=260) if len(kinds) > 1 else None,
        )
        tooltip.insert(1, f"{dash}:N")
    y = alt.Y("value:Q", title=title, scale=scale, axis=axis)
    layers = [alt.Chart(data).mark_line(strokeWidth=1.8).encode(x=column, y=y, tooltip=tooltip, **encoding)]
    layers += [*_rule(1.0, scale, "the line at 1")] if one else []
    layers += _chosen(x, at, table[x])
    layers += _lost(lost, column, len(table), color)
    return alt.layer(*layers).properties(height=height)


def error_map(
    table: pd.DataFrame, *, domain: tuple[float, float], at: float | None = None, legend: int = 180, height: int = 340
) -> alt.LayerChart:
    """Draw the norms of dL/dh_t as a map: iteration by time step.

    Parameters
    ----------
    table : DataFrame
        iteration, step, value.
    domain : tuple of float
        Powers of ten that the colours span: see `map_domain`.
    at : float, optional
        Where the chosen iteration is marked.
    legend : int
        Length of the colours' legend in pixels.

    Notes
    -----
    Reading: see `READING["errors"]`.
    """
    steps = np.sort(table["step"].unique())
    every = max(1, -(-len(steps) // MOST_ROWS))
    data = table[(table["step"] - 1) % every == 0]
    ends = _ends(np.sort(table["iteration"].unique()))
    seam = (max(ends.values()) - min(ends)) / 400, len(steps) / 200  # cells overlap a little, or the page shines through
    data = data.assign(
        end=data["iteration"].map(ends) + seam[0], bottom=data["step"] - 0.5, top=data["step"] + every - 0.5 + seam[1]
    )
    normal = np.isfinite(data["value"]) & (data["value"] > 0)
    shown = data[normal].assign(power=np.log10(data.loc[normal, "value"]).clip(*domain))
    x = alt.X("iteration:Q", title="iteration", scale=_scale(table["iteration"]), axis=alt.Axis(grid=False))
    span = alt.Scale(domain=[0.5, float(steps[-1] + every) - 0.5], nice=False, reverse=True)
    y = alt.Y("bottom:Q", title="time step", scale=span, axis=alt.Axis(grid=False, tickMinStep=1))
    where = {"x": x, "x2": "end:Q", "y": y, "y2": "top:Q"}
    words = ["iteration:Q", "step:Q", alt.Tooltip("value:Q", title="|dL/dh|", format=".3g")]
    key = alt.Legend(title="power of ten", orient="bottom", gradientLength=legend, titleLimit=300)
    color = alt.Color("power:Q", scale=alt.Scale(domain=list(domain), scheme="viridis"), legend=key)
    layers = [alt.Chart(shown).mark_rect().encode(color=color, tooltip=words, **where)]
    for part, paint, name in (
        (data[~np.isfinite(data["value"])], LOST, "not finite"),
        (data[data["value"] == 0], ZERO, "exactly 0"),
    ):
        if len(part):
            special = alt.Chart(part[["iteration", "end", "step", "bottom", "top"]].assign(what=name))
            layers.append(special.mark_rect(color=paint).encode(tooltip=["iteration:Q", "step:Q", "what:N"], **where))
    n_lost = int((~np.isfinite(table["value"])).sum())
    layers += _chosen("iteration", at, table["iteration"])
    return alt.layer(*layers).properties(height=height, **_subtitle(lost_caption(n_lost, len(table))))


def map_domain(tables: list[pd.DataFrame]) -> tuple[float, float]:
    """Return the powers of ten that cover all maps, at most 16 below the largest, so that their colours mean the same."""
    values = np.concatenate([table["value"].to_numpy(float) for table in tables]) if tables else np.empty(0)
    powers = np.log10(values[np.isfinite(values) & (values > 0)])
    if not len(powers):
        return -1.0, 1.0
    high = float(np.quantile(powers, 0.995))
    low = max(float(powers.min()), high - 16)
    return (low, high) if high > low else (low - 0.5, low + 0.5)


def distribution_chart(table: pd.DataFrame, title: str, *, at: float | None = None, height: int = 220) -> alt.LayerChart:
    """Draw how one kind of numbers is spread over the iterations.

    Parameters
    ----------
    table : DataFrame
        iteration, quantile, value: all quantiles of one kind.

    Notes
    -----
    Reading: see `READING["distribution"]`. The axis is linear around 0 and logarithmic farther out.
    """
    wide = table.pivot(index="iteration", columns="quantile", values="value").reset_index()
    quantiles = [name for name in wide.columns if name != "iteration"]
    wide.columns = ["iteration", *[f"q{i}" for i in range(len(quantiles))]]
    lost = table[~np.isfinite(table["value"])].drop_duplicates("iteration")
    wide = wide.replace([np.inf, -np.inf], np.nan).dropna()
    middle = float(wide[["q1", f"q{len(quantiles) - 2}"]].abs().to_numpy().max()) if len(wide) else 1.0
    scale = alt.Scale(type="symlog", constant=middle or 1.0, nice=False)
    x = alt.X("iteration:Q", title="iteration", scale=_scale(table["iteration"]), axis=alt.Axis(grid=False))
    chart, layers = alt.Chart(wide), []
    for i, opacity in ((0, 0.14), (1, 0.22), (2, 0.34)):
        y = alt.Y(f"q{i}:Q", title=title, scale=scale, axis=alt.Axis(format="~g", tickCount=5))
        band = chart.mark_area(opacity=opacity, color=CATEGORIES[0]).encode(x=x, y=y, y2=f"q{len(quantiles) - 1 - i}:Q")
        layers.append(band)
    names = {"q0": "least", f"q{len(quantiles) // 2}": "median", f"q{len(quantiles) - 1}": "most"}
    words = ["iteration:Q", *(alt.Tooltip(f"{q}:Q", title=name, format=".3g") for q, name in names.items())]
    median = alt.Y(f"q{len(quantiles) // 2}:Q", scale=scale)
    layers.append(chart.mark_line(color=CATEGORIES[0], strokeWidth=1.8).encode(x=x, y=median, tooltip=words))
    layers += _chosen("iteration", at, table["iteration"])
    layers += _lost(lost.assign(what=title), x, table["iteration"].nunique(), "what")
    return alt.layer(*layers).properties(height=height)


def histogram_chart(table: pd.DataFrame, title: str, height: int = 220) -> alt.Chart:
    """Draw one histogram: start, end, count.

    Notes
    -----
    Reading: see `READING["histogram"]`.
    """
    data = table[np.isfinite(table["start"]) & np.isfinite(table["end"])]
    x = alt.X(
        "start:Q", title=title, scale=alt.Scale(nice=False, zero=False), axis=alt.Axis(format="~g", tickCount=5, grid=False)
    )
    bars = alt.Chart(data.assign(zero=0)).mark_rect(color=CATEGORIES[0], opacity=0.75)
    words = [alt.Tooltip("start:Q", format=".3g"), alt.Tooltip("end:Q", format=".3g"), "count:Q"]
    bars = bars.encode(
        x=x, x2="end:Q", y=alt.Y("count:Q", title="how many", axis=alt.Axis(tickCount=4)), y2="zero:Q", tooltip=words
    )
    return bars.properties(height=height, **_subtitle("" if len(data) else "none is finite"))


def states_chart(table: pd.DataFrame, height: int = 290) -> alt.LayerChart:
    """Draw hidden states of one sample: step, unit, value.

    Notes
    -----
    Reading: see `READING["states"]`.
    """
    finite = np.isfinite(table["value"])
    values = table.loc[finite, "value"]
    reach = float(values.abs().quantile(0.99)) or 1.0 if len(values) else 1.0
    signed = bool((values < 0).any())
    scale = alt.Scale(
        domain=[-reach, reach] if signed else [0, reach], scheme="purpleorange" if signed else "viridis", clamp=True
    )
    band = alt.Scale(paddingInner=0.06)
    x = alt.X("step:O", title="time step", axis=alt.Axis(labelAngle=0, labelOverlap=True))
    y = alt.Y("unit:O", title="unit", scale=band, axis=alt.Axis(labelOverlap=True))
    words = ["step:O", "unit:O", alt.Tooltip("value:Q", format=".4g")]
    color = alt.Color("value:Q", scale=scale, legend=alt.Legend(title=None, orient="bottom", gradientLength=160))
    layers = [alt.Chart(table[finite]).mark_rect().encode(x=x, y=y, color=color, tooltip=words)]
    if not finite.all():
        lost = alt.Chart(table.loc[~finite, ["step", "unit"]].assign(what="not finite"))
        layers.append(lost.mark_rect(color=LOST).encode(x=x, y=y, tooltip=["step:O", "unit:O", "what:N"]))
    n_lost = int((~finite).sum())
    return alt.layer(*layers).properties(height=height, **_subtitle(lost_caption(n_lost, len(table))))


def trail_chart(trail: pd.DataFrame, height: int = 260) -> alt.LayerChart:
    """Draw the iterations before an overflow: iteration, largest_hidden, gradient_norm, largest_weight, loss.

    Notes
    -----
    Reading: see `READING["trail"]`.
    """
    names = {"largest_hidden": "largest hidden value", "gradient_norm": "gradient norm", "largest_weight": "largest weight"}
    long = trail.rename(columns=names).melt("iteration", var_name="what")
    return line_chart(long, "iteration", "value", "what", log=True, height=height)


def _span(values: pd.Series, log: bool) -> tuple[float, float]:
    """Return the part of an axis for finite values: all of them."""
    if values.empty:
        return extent(values, log)
    low, high = float(values.min()), float(values.max())
    if log:
        low = max(low, 1e-300)
        return low / 1.1, high * 1.1 if high < 1e308 else high
    return min(low, 0.0), high if high > min(low, 0.0) else 1.0


def _scale(values) -> alt.Scale:
    low, high = float(min(values)), float(max(values))
    return alt.Scale(domain=[low, high if high > low else low + 1], nice=False)


def _ends(iterations: np.ndarray) -> dict[int, float]:
    """Return where each iteration's column ends: at the next one; the last has no room."""
    last = iterations[-1] if len(iterations) > 1 else iterations[-1] + 1
    return dict(zip(iterations.tolist(), [*iterations[1:].tolist(), last], strict=True))


def _colors(names: list[str]) -> alt.Scale:
    if len(names) <= len(CATEGORIES):
        return alt.Scale(domain=names, range=CATEGORIES[: len(names)])
    return alt.Scale(domain=names, scheme="viridis")


def _rule(value: float, scale: alt.Scale, what: str) -> list[alt.Chart]:
    data = pd.DataFrame({"value": [value], "what": [what]})
    return [
        alt.Chart(data).mark_rule(strokeDash=[5, 4], color=ZERO).encode(y=alt.Y("value:Q", scale=scale), tooltip=["what:N"])
    ]


def _chosen(x: str, at: float | None, values) -> list[alt.Chart]:
    """Return the mark of the chosen place on the x axis."""
    if at is None:
        return []
    rule = alt.Chart(pd.DataFrame({x: [at]})).mark_rule(color=CHOSEN, strokeWidth=1.5)
    return [rule.encode(x=alt.X(f"{x}:Q", scale=_scale(values)))]


def _lost(lost: pd.DataFrame, x: alt.X, n: int, what: str) -> list[alt.Chart]:
    """Return marks at the upper edge for values that are not finite, and how many there are."""
    if lost.empty:
        return []
    data = lost.assign(value=lost["value"].map(str) if "value" in lost else "not finite")
    marks = alt.Chart(data).mark_point(shape=LOOKS["overflow"].shape, filled=True, size=55, color=LOST, opacity=0.8)
    marks = marks.encode(x=x, y=alt.value(5), tooltip=[f"{what}:N", x.shorthand, "value:N"])
    text = alt.Chart(pd.DataFrame({"text": [lost_caption(len(lost), n)]})).mark_text(
        align="right", baseline="top", fontSize=12, color=ZERO, fontWeight=600, dx=-4
    )
    return [marks, text.encode(x=alt.value("width"), y=alt.value(12), text="text:N")]


def _subtitle(text: str) -> dict:
    """Return a chart's line of text above it, if there is one."""
    if not text:
        return {}
    return {"title": alt.TitleParams(text, anchor="end", fontSize=12, color=ZERO, fontWeight=600)}
