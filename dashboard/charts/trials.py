"""More charts of a study: all settings at once, two of them, how outcomes and losses are spread, when trials were trained."""

import json
import math
import textwrap

import altair as alt
import numpy as np
import pandas as pd

from dashboard.charts import marks
from dashboard.charts.curves import log_ticks
from dashboard.charts.marks import (
    HANDS,
    QUIET,
    chosen,
    hint,
    number_axis,
    plain,
    position,
    pruned,
    scale_of,
    title,
)
from dashboard.charts.outcomes import CATEGORIES

MOST_LINES = 400
"""More lines than that nobody follows."""
MOST_ROWS = 5000
"""More rows of data than that take a browser long."""
MOST_BARS = 4000
BINS = 10
SURE = 5
"""A bar of fewer trials than that is pale."""
BAND = 22
"""Height in pixels of the band above a density."""
SEAMLESS = {"x2Offset": 0.6, "y2Offset": -0.6}
"""Cells reach a little into their neighbours: otherwise the page shines through between them."""
HALO = {"stroke": alt.ExprRef("background"), "strokeWidth": 4, "strokeJoin": "round"}
"""Sets words off from what lies under them, in the colour of the page."""
LOST = ["diverged", "overflow"]
UNITS = [("days", 86400.0, 172800.0), ("hours", 3600.0, 7200.0), ("minutes", 60.0, 120.0), ("seconds", 1.0, 0.0)]
"""Name, seconds, and from how many seconds on a time is told in it."""

READING = {
    "parallel": "Each line is a trial: it crosses every axis at the value of that setting, and the last axis at the "
    "objective. Where lines that end together come close on an axis, that setting decides. Faded lines are not selected, "
    "dashed ones were pruned. Click on a line to look closer at its run.",
    "pair": "Each mark is a trial, by two settings; the brighter the ground or a mark, the better. The ground is straight "
    "from trial to trial and ends where they end, so it is only as good as they are dense. Where an axis has words, a cell is "
    "the median of its trials. Hollow marks were pruned and count with the value they had then." + HANDS,
    "distribution": "The share of trials with a value up to this one. Where small is good, the line that rises earlier is the "
    "better study; where large is good, the one that rises later. Trials that diverged count: they stand at the end, where "
    "the objective caps them. Pruned trials are left out.",
    "timeline": "Each bar is a chunk of trials that were trained together: from when they were asked to when they were done, "
    "as high as there are trials, coloured by what became of them. Steep is fast; gaps are pauses; bars at the same time are "
    "workers side by side.",
    "outcomes": "What became of the trials, by bins of one setting: where colours change, training does. A pale bar has fewer "
    f"than {SURE} trials and says little.",
    "density": "Where the learning curves of all runs lie: the stronger the colour, the larger the share with that loss at "
    "that iteration, of those runs that came so far. The band on top holds runs whose loss is not finite or above the scale.",
}


def parallel_share(table: pd.DataFrame, objective: str, minimize: bool = True, most: int = MOST_LINES) -> pd.DataFrame:
    """Return the trials that get a line: all, or selected ones, the best, lost ones, and an even share of the rest."""
    if len(table) <= most:
        return table
    best = table.sort_values(objective, ascending=minimize, kind="stable")
    kept = pd.concat([table[chosen(table) & (not chosen(table).all())].head(most // 2), best.head(most // 4)])
    for part, share in ((table[table["outcome"].isin(LOST)], 2), (table, 1)):
        kept = kept.drop_duplicates("number")
        left, room = part[~part["number"].isin(kept["number"])], (most - len(kept)) // share
        kept = pd.concat([kept, left.iloc[np.linspace(0, len(left) - 1, min(len(left), room)).astype(int)]])
    return kept.sort_values("number")


def parallel_caption(table: pd.DataFrame, settings: list[str], objective: str, minimize: bool = True) -> str:
    """Return what is said about trials that get no line."""
    n = len(parallel_share(table, objective, minimize, _most_lines(settings)))
    told = "selected ones, the best, ones that were lost, and an even share of the rest"
    return "" if n == len(table) else f"{n:,} of {len(table):,} trials are drawn: {told}."


def _most_lines(settings: list[str]) -> int:
    return min(MOST_LINES, (MOST_ROWS - 200) // (len(settings) + 1))


def places(values: pd.Series) -> tuple[pd.Series, list[tuple[float, str]]]:
    """Return where values lie on an axis from 0 to 1, and its ticks: place and text."""
    kind = scale_of(values)
    if kind == "words":
        order = marks.word_order(values)
        spots = dict(zip(order, np.linspace(0, 1, len(order)) if len(order) > 1 else [0.5], strict=True))
        named = [(spots[name], textwrap.shorten(name, 14, placeholder="…") or name[:13] + "…") for name in order]
        return marks.words(values).map(spots).astype(float), named[:: -(-len(order) // 12)]
    numbers = plain(values).astype(float)
    low, high = marks.round_domain(numbers, kind == "log")
    scaled = np.log10 if kind == "log" else np.positive
    step = marks.round_step(high / 4 - low / 4)
    ticks = log_ticks(low, high) if kind == "log" else np.arange(math.ceil(low / step), high / step + 1e-9) * step
    span = scaled(high) - scaled(low)
    return (scaled(numbers) - scaled(low)) / span, [(float((scaled(t) - scaled(low)) / span), f"{t:.4g}") for t in ticks]


def _text(data: pd.DataFrame, x, y, dx: int) -> list[alt.Chart]:
    """Return words at the right of a place, legible whatever lies under them."""
    look = {"align": "left", "dx": dx, "fontSize": 11, "color": marks.TEXT, "fontWeight": 600}
    return [alt.Chart(data).mark_text(**look | more).encode(x=x, y=y, text="text:N") for more in (HALO, {})]


def parallel_chart(
    table: pd.DataFrame, settings: list[str], objective: str, labels: dict[str, str], minimize: bool = True, height: int = 380
) -> alt.LayerChart:
    """Draw every trial as a line over parallel axes, one for each setting and one for the objective.

    Parameters
    ----------
    table : DataFrame
        number, outcome, the settings, `objective`; state and selected if there are any.
    labels : dict of str to str
        What settings are called.

    Notes
    -----
    Reading: see `READING["parallel"]`. Axes are logarithmic where values span much; a trial that lacks a setting has a gap
    there, or stands at "None" where the axis has words.
    """
    names = {**{name: labels.get(name, title(name)) for name in settings}, objective: title(objective)}
    shown = parallel_share(table, objective, minimize, _most_lines(settings))
    shown = shown.iloc[np.lexsort((shown[objective] * (-1 if minimize else 1), chosen(shown)))]  # good and selected on top
    rows = pd.DataFrame({"number": shown["number"], "outcome": shown["outcome"]})
    rows["state"] = np.where(pruned(shown), "pruned", "complete")
    rows["shade"] = np.where(chosen(shown), 0.75 if len(shown) <= 100 else 0.35, 0.06)
    fields = {f"value{i}": name for i, name in enumerate(names)}
    told = rows.assign(**{field: marks.words(shown[name]) for field, name in fields.items()})
    axes = [places(table[name]) for name in names]
    data = told.loc[told.index.repeat(len(axes))].assign(axis=np.tile(np.arange(len(axes)), len(told)))
    data["place"] = np.column_stack([spots.loc[shown.index] for spots, _ in axes]).ravel()
    ticks = pd.DataFrame([(i, *tick) for i, (_, part) in enumerate(axes) for tick in part], columns=["axis", "place", "text"])
    lines = [textwrap.wrap(name, 9, break_long_words=False) or [""] for name in names.values()]
    room = 8 + 13 * (max(map(len, lines)) - 1)  # lines below the first one grow towards the axis
    head = {"labelExpr": f"{json.dumps(lines)}[datum.value]", "labelPadding": room, "labelAngle": 0, "labelOverlap": False}
    head = alt.Axis(orient="top", title=None, **head)
    head = alt.Axis(**head.to_dict(), grid=True, gridColor=QUIET, gridOpacity=0.6, gridWidth=1)
    x = alt.X("axis:O", scale=alt.Scale(type="point", padding=0.4), axis=head)
    y = alt.Y("place:Q", scale=alt.Scale(domain=[0, 1], nice=False, padding=8), axis=None)
    key = alt.Legend(orient="bottom", title=None, columns=3, symbolOpacity=1, symbolStrokeWidth=2.5)
    line = alt.Chart(data).encode(x=x, y=y, detail="number:N", order="axis:Q")
    dashes = alt.Scale(domain=["complete", "pruned"], range=[[1, 0], [4, 3]])
    thin = line.mark_line(strokeWidth=1.3).encode(
        color=alt.Color("outcome:N", scale=marks.outcome_scales(table["outcome"])[0], legend=key),
        opacity=alt.Opacity("shade:Q", scale=None, legend=None),
        strokeDash=alt.StrokeDash("state:N", scale=dashes, legend=None),
    )
    pick = alt.selection_point("pick", fields=["number"], on="click", empty=False, toggle=False)
    broad = line.mark_line(strokeWidth=9, opacity=0.001)  # what the pointer finds
    broad = broad.encode(tooltip=marks.tips(told, **{field: names[name] for field, name in fields.items()})).add_params(pick)
    return marks.sized(alt.layer(thin, *_text(ticks, x, y, 5), broad), data, height)


def pair_chart(
    table: pd.DataFrame,
    x_setting: str,
    y_setting: str,
    objective: str,
    labels: dict[str, str],
    colour: str = "objective",
    cells: pd.DataFrame | None = None,
    minimize: bool = True,
    height: int = 400,
) -> alt.LayerChart:
    """Draw trials by two settings.

    Parameters
    ----------
    colour : str
        objective (the ground is coloured by it), rank (marks are coloured by their rank, 0 the best) or outcome.
    cells : DataFrame, optional
        The ground: x, x2, y, y2, value; x2 or y2 is missing where an axis has words.

    Notes
    -----
    Reading: see `READING["pair"]`. The brush has the fields x and y.
    """
    table = table.assign(rank=(table[objective].rank(ascending=minimize) - 1) / max(1, len(table) - 1))
    shown = marks.trial_rows(table, x=x_setting, y=y_setting, value=objective, rank="rank")
    names = {field: labels.get(name, title(name)) for field, name in (("x", x_setting), ("y", y_setting))}
    x, y = position(alt.X, "x", table[x_setting], names["x"]), position(alt.Y, "y", table[y_setting], names["y"])
    look, tooltip = marks.outcome_encoding(shown), marks.tips(shown, **names, value=title(objective))
    ramp = {"orient": "right", "gradientLength": 200, "gradientThickness": 12, "tickCount": 4}
    if colour == "rank":
        key = alt.Legend(**ramp, format=".0%", title=["rank", "0 best"])
        scale = alt.Scale(scheme="cividis", domain=[0, 1], reverse=True)
        look |= {"fill": alt.Fill("rank:Q", scale=scale, legend=key), "stroke": alt.value(QUIET)}
        look["shape"]["legend"]["symbolFillColor"] = look["shape"]["legend"]["symbolStrokeColor"] = QUIET
    points = alt.Chart(shown).mark_point(strokeWidth=0.7 if colour == "rank" else 1.2, clip=True, **marks.scattered(x, y))
    points = points.encode(x=x, y=y, tooltip=[*tooltip, alt.Tooltip("rank:Q", format=".0%")], **look)
    points = points.add_params(*marks.hands(x, y))
    if colour != "objective" or cells is None or cells.empty:
        return marks.sized(alt.layer(points), shown, height)
    kinds = {"x": scale_of(table[x_setting]), "y": scale_of(table[y_setting])}
    cells = cells.assign(**{name: marks.words(cells[name]) for name, kind in kinds.items() if kind == "words"})
    log = scale_of(table[objective]) == "log"
    scale = alt.Scale(scheme="cividis", type="log" if log else "linear", reverse=minimize, clamp=True)
    scale.domain = list(marks.round_domain(table[objective], log))
    key = alt.Legend(**ramp, format="~g", title=textwrap.wrap(title(objective), 12))
    ground = alt.Chart(cells).mark_rect(clip=True, **SEAMLESS)
    ground = ground.encode(x=x, y=y, color=alt.Color("value:Q", scale=scale, legend=key))
    ground = ground.encode(**{f"{name}2": f"{name}2:Q" for name, kind in kinds.items() if kind != "words"})
    return marks.sized(alt.layer(ground, points), cells, height)


def distribution_caption(tables: dict[str, pd.DataFrame]) -> str:
    """Return what is said about trials that were pruned."""
    n, of = sum(int(pruned(table).sum()) for table in tables.values()), sum(map(len, tables.values()))
    return f"{n:,} of {of:,} trials were pruned and are left out." if n else ""


def distribution_chart(tables: dict[str, pd.DataFrame], objective: str, height: int = 320) -> alt.Chart:
    """Draw the empirical distribution function of an objective, a line for each study.

    Parameters
    ----------
    tables : dict of str to DataFrame
        By the studies' names.

    Notes
    -----
    Reading: see `READING["distribution"]`.
    """
    found = {name: table.loc[~pruned(table), objective].to_numpy(float) for name, table in tables.items()}
    together = pd.Series(np.concatenate([[], *found.values()]))
    low, high = marks.round_domain(together, scale_of(together) == "log")
    rows = [pd.DataFrame({"study": [], "value": [], "share": [], "n": []})]
    for name, values in ((name, values) for name, values in found.items() if len(values)):
        steps, counts = np.unique(values, return_counts=True)
        kept = np.unique(np.linspace(0, len(steps) - 1, min(len(steps), MOST_ROWS // len(found) - 2)).astype(int))
        shares = [0.0, *(np.cumsum(counts) / len(values))[kept], 1.0]
        rows.append(pd.DataFrame({"study": name, "value": [low, *steps[kept], high], "share": shares, "n": len(values)}))
    names = list(tables)
    range_ = {"range": CATEGORIES[: len(names)]} if len(names) <= len(CATEGORIES) else {"scheme": "viridis"}
    key = alt.Legend(orient="bottom", title=None, columns=2, labelLimit=300) if len(names) > 1 else None
    chart = alt.Chart(pd.concat(rows[len(rows) > 1 :])).mark_line(interpolate="step-after", strokeWidth=1.8)
    told = ["study:N", alt.Tooltip("value:Q", title=hint(title(objective)), format=".4g")]
    return chart.encode(
        x=position(alt.X, "value", together, title(objective)),
        y=alt.Y("share:Q", title="share of trials", scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(format=".0%", tickCount=5)),
        color=alt.Color("study:N", scale=alt.Scale(domain=names, **range_), sort=names, legend=key),
        tooltip=[*told, alt.Tooltip("share:Q", format=".1%"), alt.Tooltip("n:Q", title="trials")],
    ).properties(height=height)


def timeline_chart(
    chunks: pd.DataFrame,
    now: float | None = None,
    n_trials: int | None = None,
    height: int = 340,
) -> alt.Chart:
    """Draw when chunks of trials were trained.

    Parameters
    ----------
    chunks : DataFrame
        chunk; asked and done, seconds since the study began (done is NaN while it is trained); outcome ("training" while it is
        trained); n, the trials with that outcome; first, the number of the chunk's first trial.
    now : float, optional
        Where bars end that are not done; without it, at the latest time that is known.
    n_trials : int, optional
        How many trials are planned: the axis has room for them.

    Notes
    -----
    Reading: see `READING["timeline"]`.
    """
    latest = float(max([0.0, *chunks["asked"], *chunks["done"].dropna()]) if now is None else now)
    data = _merged(chunks.assign(end=chunks["done"].fillna(latest).clip(lower=chunks["asked"])))
    data = data.sort_values(["first", "chunk"], kind="stable")
    data["high"] = data["first"] + data.groupby("chunk")["n"].cumsum()
    data["low"], data["seconds"] = data["high"] - data["n"], data["end"] - data["asked"]
    unit, seconds, _ = next(row for row in UNITS if latest >= row[2])
    data[["asked", "end"]] /= seconds
    across = alt.Scale(domain=list(marks.round_domain(pd.Series([0.0, max(latest, 1.0) / seconds]), False)), nice=False)
    up = alt.Scale(domain=[0, max([n_trials or 1, *data["high"]])], nice=False)
    color = marks.outcome_scales(pd.Series([*chunks["outcome"], "training"]))[0]
    key = alt.Legend(orient="bottom", title=None, columns=4)
    bars = alt.Chart(data[["asked", "end", "low", "high", "n", "outcome", "seconds"]])
    return (
        bars.mark_rect(opacity=0.9, strokeWidth=0.7)
        .encode(
            x=alt.X("asked:Q", title=f"{unit} since the study began", scale=across, axis=number_axis(grid=False, tickCount=6)),
            x2="end:Q",
            y=alt.Y("low:Q", title="trial", scale=up, axis=alt.Axis(format=",d", tickCount=5)),
            y2="high:Q",
            color=alt.Color("outcome:N", scale=color, legend=key),
            stroke=alt.Stroke("outcome:N", scale=color, legend=key),
            tooltip=[alt.Tooltip("low:Q", title="from trial"), "n:Q", "outcome:N", alt.Tooltip("seconds:Q", format=",.3~g")],
        )
        .properties(height=height)
    )


def _merged(chunks: pd.DataFrame) -> pd.DataFrame:
    """Return neighbouring chunks as one where there are more bars than a browser draws quickly."""
    if len(chunks) <= MOST_BARS:
        return chunks
    every = -(-chunks["chunk"].nunique() * chunks["outcome"].nunique() // MOST_BARS)
    group = chunks["chunk"].rank(method="dense").sub(1) // every
    whole = chunks.groupby(group).agg(asked=("asked", "min"), end=("end", "max"), first=("first", "min"))
    return chunks.groupby([group, "outcome"], sort=False)["n"].sum().reset_index().merge(whole, on="chunk")


def outcome_bins(table: pd.DataFrame, setting: str) -> pd.DataFrame:
    """Return what became of trials by bins of a setting.

    Returns
    -------
    DataFrame
        bin, outcome, n, trials (of the bin), below and above (where the outcome's share begins and ends), shade; low and high
        of the bin, unless it is a word or one of a few numbers.
    """
    values, outcomes = plain(table[setting]), table["outcome"]
    many = scale_of(values) != "words" and values.nunique() > BINS + 2
    if many:
        values = values.dropna().astype(float)
        make = np.geomspace if scale_of(values) == "log" else np.linspace
        edges = make(values.min(), values.max(), BINS + 1)
        bins = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, BINS - 1)
    else:
        bins = marks.words(values).to_numpy()
    order = list(marks.outcome_scales(outcomes)[0].domain)
    counts = pd.crosstab(bins, pd.Categorical(outcomes[values.index], order), dropna=False)
    rows = counts.stack().rename("n").rename_axis(["bin", "outcome"]).reset_index().astype({"outcome": object})
    groups = rows.groupby("bin", sort=False)["n"]
    rows = rows.assign(trials=groups.transform("sum"), above=groups.cumsum())
    rows["below"], rows["above"] = (rows["above"] - rows["n"]) / rows["trials"], rows["above"] / rows["trials"]
    rows["shade"] = np.where(rows["trials"] < SURE, 0.4, 0.9)
    rows = rows[rows["n"] > 0].reset_index(drop=True)
    return rows.assign(low=edges[rows["bin"]], high=edges[rows["bin"] + 1]) if many else rows


def outcomes_chart(table: pd.DataFrame, setting: str, label: str, height: int = 230) -> alt.Chart:
    """Draw shares of outcomes by bins of one setting.

    Notes
    -----
    Reading: see `READING["outcomes"]`.
    """
    data = outcome_bins(table, setting)
    told = ["outcome:N", alt.Tooltip("n:Q", title="trials"), alt.Tooltip("trials:Q", title="of")]
    if "low" in data:
        told += [alt.Tooltip("low:Q", title="from", format=".4g"), alt.Tooltip("high:Q", title="to", format=".4g")]
        bars = alt.Chart(data).mark_rect().encode(x=position(alt.X, "low", table[setting], label, grid=False), x2="high:Q")
    else:
        axis, told = alt.Axis(labelAngle=0, labelOverlap=True), [*told, alt.Tooltip("bin:N", title=hint(label))]
        bars = alt.Chart(data).mark_bar()
        bars = bars.encode(x=alt.X("bin:N", title=label, sort=marks.word_order(table[setting]), axis=axis))
    share = alt.Axis(format=".0%", tickCount=4)
    return bars.encode(
        y=alt.Y("below:Q", title="share of trials", scale=alt.Scale(domain=[0, 1]), axis=share),
        y2="above:Q",
        color=alt.Color("outcome:N", scale=marks.outcome_scales(table["outcome"])[0], legend=None),
        opacity=alt.Opacity("shade:Q", scale=None, legend=None),
        tooltip=told,
    ).properties(height=height)


def density_chart(cells: pd.DataFrame, height: int = 320) -> alt.LayerChart:
    """Draw learning curves of many runs as a density.

    Parameters
    ----------
    cells : DataFrame
        iteration, iteration2, loss, loss2, share, n; loss is NaN for what stands in the band on top.

    Notes
    -----
    Reading: see `READING["density"]`.
    """
    inside, lost = cells[cells["loss"].notna()], cells[cells["loss"].isna()]
    heights = [float(inside["loss"].min()), float(inside["loss2"].max())] if len(inside) else [0.01, 1.0]
    across = alt.Scale(domain=[0, float(cells["iteration2"].max()) if len(cells) else 1.0], nice=False)
    x = alt.X("iteration:Q", title="iteration", scale=across, axis=alt.Axis(grid=False, tickCount=6))
    up = alt.Scale(type="log", domain=heights, nice=False, range=[alt.ExprRef("height"), BAND + 6])
    y = alt.Y("loss:Q", title="loss", scale=up, axis=number_axis(grid=False))
    dark = alt.ExprRef("luminance(background) < 0.5")  # few runs are close to the colour of the page
    shade = alt.Color(
        "share:Q", scale=alt.Scale(scheme="blues", type="pow", exponent=1 / 3, domain=[0, 1], reverse=dark), legend=None
    )
    told = [alt.Tooltip("iteration2:Q", title="iteration"), alt.Tooltip("share:Q", title="share of runs", format=".1%")]
    told.append(alt.Tooltip("n:Q", title="runs so far", format=","))
    spread = [alt.Tooltip("loss:Q", title="loss from", format=".3g"), alt.Tooltip("loss2:Q", title="to", format=".3g")]
    ground = alt.Chart(inside).mark_rect(**SEAMLESS).encode(x=x, x2="iteration2:Q", y=y, y2="loss2:Q")
    band = alt.Chart(lost).mark_rect(x2Offset=0.6).encode(x=x, x2="iteration2:Q", y=alt.value(0), y2=alt.value(BAND))
    name = _text(pd.DataFrame({"text": ["not finite or above the scale"]}), alt.value(0), alt.value(BAND / 2), 6)
    return alt.layer(
        ground.encode(color=shade, tooltip=told + spread), band.encode(color=shade, tooltip=told), *name
    ).properties(height=height)
