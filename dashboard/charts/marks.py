"""How trials are drawn, the same in every chart: scales, colour and shape, what is faded or hollow, and what hands can do.

A chart stands still while its study grows: axes end at round numbers, so that a new trial changes the data alone and the
browser keeps what was zoomed and brushed. Which trials are selected, and which were pruned, stands in the data too.
"""

import math
import sys

import altair as alt
import numpy as np
import pandas as pd

from dashboard.charts.curves import extent
from dashboard.charts.outcomes import LOOKS
from engine import FIELDS

MOST_POINTS = 2000
"""More marks than that a browser draws slowly."""
MOST_SHAPES = 500
"""Up to so many marks are shapes of the page, which a screen reader finds."""
SPAN = 50
"""An axis of positive values that spans more than this factor is logarithmic."""
MOST_WORDS = 12
"""Numbers with gaps (None) stand side by side as words as long as there are no more different ones than this."""
SELECTED, FADED = 0.8, 0.12
"""Opacity of a trial's mark."""
QUIET, TEXT = "#8A8F98", "#747A84"
"""Lines and words of the charts themselves, legible on light and dark."""
HANDS = (
    " Drag over marks to select their trials in all charts, click on one to look closer at its run. Zoom with Ctrl and the "
    "wheel or by pinching, move with Shift and drag; a double click shows everything again."
)


def title(name: str) -> str:
    """Return what a setting or another column is called."""
    return FIELDS[name].label if name in FIELDS else name.replace("_", " ")


def hint(label: str) -> str:
    """Return a label for a tooltip, which would load `image` as a picture and set `title` as a heading."""
    return f"{label} (setting)" if label in ("image", "title") else label


def plain(values: pd.Series) -> pd.Series:
    """Return numbers that stand among objects (because of a None) as floats, everything else as it is."""
    known = values.dropna()
    if values.dtype == object and len(known) and all(isinstance(v, int | float) and not isinstance(v, bool) for v in known):
        return values.astype(float)
    return values


def scale_of(values: pd.Series) -> str:
    """Return how an axis shows values: "words" side by side, "log" where positive numbers span much, or "linear"."""
    values = plain(values)
    if not pd.api.types.is_numeric_dtype(values) or pd.api.types.is_bool_dtype(values):
        return "words"
    if values.isna().any() and values.nunique() <= MOST_WORDS:
        return "words"
    finite = values[np.isfinite(values.astype(float))]
    return "log" if len(finite) and finite.min() > 0 and finite.max() / SPAN > finite.min() else "linear"


def words(values: pd.Series) -> pd.Series:
    """Return values as texts; a missing one is "None"."""
    values = plain(values)
    texts = values.map(lambda value: f"{value:g}") if pd.api.types.is_float_dtype(values) else values.astype(object).map(str)
    return texts.astype(object).where(values.notna(), "None")


def word_order(values: pd.Series) -> list[str]:
    """Return the different texts of `words` in order: numbers by size, None last."""
    values = plain(values)
    known = values.dropna().drop_duplicates()
    known = known.sort_values() if pd.api.types.is_numeric_dtype(values) else known.sort_values(key=lambda part: part.map(str))
    return [*dict.fromkeys(words(known)), *(["None"] if values.isna().any() else [])]


def round_domain(values: pd.Series, log: bool) -> tuple[float, float]:
    """Return round numbers around finite values: of the row 1, 2, 5, 10 if logarithmic, otherwise multiples of a step."""
    finite = values[np.isfinite(values)]
    if finite.empty:
        return extent(values, False)
    low, high = float(finite.min()), float(finite.max())
    if log:
        steps = [float(f"{n}e{power}") for v in (low, high) for power in (math.floor(math.log10(v)),) for n in (1, 2, 5, 10)]
        return max(step for step in steps if step <= low), min(min(s for s in steps if s >= high), sys.float_info.max)
    if low == high:
        room = abs(low) / 10 or 0.5
        low, high = low - room, high + room
    step = round_step(high / 8 - low / 8)
    ends = math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step
    lower, upper = (float(f"{end:.12g}") if math.isfinite(end) else math.copysign(sys.float_info.max, end) for end in ends)
    return min(low, lower), max(high, upper)


def round_step(least: float) -> float:
    """Return the smallest number of the row 1, 2, 5, 10 ... that is at least so large."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(n * power for n in (1, 2, 5, 10) if n * power >= least * (1 - 1e-9))


def position(channel: type, field: str, values: pd.Series, label: str, **options) -> alt.X | alt.Y:
    """Return the encoding of an axis (`channel` is alt.X or alt.Y) whose data stands in the column `field`.

    Options are those of an axis of numbers.
    """
    kind = scale_of(values)
    if kind == "words":
        axis = alt.Axis(labelAngle=0, labelOverlap=True, labelLimit=120)
        return channel(f"{field}:N", title=label, sort=word_order(values), axis=axis, scale=alt.Scale(type="band"))
    domain = list(round_domain(plain(values).astype(float), kind == "log"))
    scale = alt.Scale(type=kind, domain=domain, nice=False, padding=8)
    options |= {"format": ",~f"} if kind == "linear" and 1e-3 < max(map(abs, domain)) < 1e7 else {}
    return channel(f"{field}:Q", title=label, scale=scale, axis=number_axis(**options))


def number_axis(**options) -> alt.Axis:
    """Return an axis of numbers whose ticks follow the zoom: only labelled ones have a line."""
    unlabelled = {"condition": {"test": "datum.label === ''", "value": 0}, "value": 1}
    return alt.Axis(**{"format": "~g", "tickCount": 5, "gridOpacity": unlabelled} | options)


def outcome_scales(outcomes: pd.Series) -> tuple[alt.Scale, alt.Scale]:
    """Return the scales of colours and shapes, the same everywhere: all outcomes of trials whichever are there already."""
    there, late = set(outcomes), ("training", "complete", "failed")
    names = [name for name in LOOKS if name in there or (name not in late and not there <= {"complete", "failed"})]
    colors, shapes = [LOOKS[name].color for name in names], [LOOKS[name].shape for name in names]
    return alt.Scale(domain=names, range=colors), alt.Scale(domain=names, range=shapes)


def outcome_encoding(table: pd.DataFrame, legend: bool = True) -> dict:
    """Return how a trial's mark looks: colour and shape by outcome, faded unless selected, hollow if pruned."""
    key = alt.Legend(orient="bottom", title=None, columns=3, symbolOpacity=1, symbolStrokeWidth=1) if legend else None
    color, shape = outcome_scales(table["outcome"])
    return {
        "fill": alt.Fill("outcome:N", scale=color, legend=key),
        "stroke": alt.Stroke("outcome:N", scale=color, legend=key),
        "shape": alt.Shape("outcome:N", scale=shape, legend=key),
        "opacity": alt.Opacity("shade:Q", scale=None, legend=None),
        "fillOpacity": alt.FillOpacity("body:Q", scale=None, legend=None),
        "size": alt.Size("size:Q", scale=None, legend=None),
    }


def chosen(table: pd.DataFrame) -> pd.Series:
    """Return which trials are selected, a column of bools; without the column `selected`, all."""
    return table["selected"].astype(bool) if "selected" in table else pd.Series(True, index=table.index)


def pruned(table: pd.DataFrame) -> pd.Series:
    """Return which trials were stopped between rungs, a column of bools; without the column `state`, none."""
    return table["state"] == "pruned" if "state" in table else pd.Series(False, index=table.index)


def thinned(table: pd.DataFrame) -> pd.DataFrame:
    """Return as many trials as a browser draws quickly: first those that were lost or are selected, then an even share."""
    if len(table) <= MOST_POINTS:
        return table
    first = table["outcome"].isin(["diverged", "overflow"]) | (chosen(table) & (not chosen(table).all()))
    parts = [table[first], table[~first]]
    room = [min(len(parts[0]), MOST_POINTS - min(len(parts[1]), MOST_POINTS // 2))]
    room.append(MOST_POINTS - room[0])
    kept = [part.iloc[:: -(-len(part) // n)] for part, n in zip(parts, room, strict=True) if len(part)]
    return pd.concat(kept).sort_values("number")


def trial_rows(table: pd.DataFrame, **columns: str) -> pd.DataFrame:
    """Return the trials that are drawn: number, outcome, state, shade, body, size, and columns under safe names."""
    shown = thinned(table)
    rows = shown[["number", "outcome"]].assign(state=np.where(pruned(shown), "pruned", "complete"))
    rows = rows.assign(shade=np.where(chosen(shown), SELECTED, FADED), body=np.where(pruned(shown), 0.0, 1.0))
    rows["size"] = float(np.clip(40_000 / max(1, len(rows)), 10, 45))
    for field, name in columns.items():
        rows[field] = words(shown[name]) if scale_of(table[name]) == "words" else plain(shown[name])
    return rows.dropna(subset=list(columns))


def tips(rows: pd.DataFrame, **labels: str) -> list[alt.Tooltip]:
    """Return the tooltip of a trial's mark, with columns under their labels."""
    told = ["number:Q", "outcome:N", "state:N"] if (rows["state"] == "pruned").any() else ["number:Q", "outcome:N"]
    for field, label in labels.items():
        number = pd.api.types.is_numeric_dtype(rows[field])
        told.append(alt.Tooltip(f"{field}:Q" if number else f"{field}:N", title=hint(label), format=".4g" if number else ""))
    return told


def scattered(*axes: alt.X | alt.Y) -> dict[str, alt.ExprRef]:
    """Return how marks stand beside a word's middle: steps of the golden ratio, so that neighbours do not hide each other."""
    steps = zip(axes, "xy", (0.6180339887, 0.7548776662), strict=True)
    return {
        f"{name}Offset": alt.ExprRef(f"(datum.number * {step} % 1 - 0.5) * 0.6 * bandwidth('{name}')")
        for axis, name, step in steps
        if axis.shorthand.endswith(":N")
    }


def sized(chart: alt.TopLevelMixin, rows: pd.DataFrame, height: int) -> alt.TopLevelMixin:
    """Return a chart with its height; one of many marks is drawn as pixels, which is several times as quick."""
    chart = chart.properties(height=height)
    if len(rows) > MOST_SHAPES:
        chart.usermeta = {"embedOptions": {"renderer": "canvas"}}
    return chart


def hands(*axes: alt.X | alt.Y) -> list[alt.Parameter]:
    """Return the selections of a chart of trials: "pick" by a click, "brush" by dragging, "zoom" where an axis has numbers.

    Notes
    -----
    A finger scrolls the page, so it does not brush. The plain wheel scrolls too.
    """
    drag = "[pointerdown[{0}], window:pointerup] > window:pointermove!"
    plain_drag, shift_drag = drag.format("!event.shiftKey && event.pointerType !== 'touch'"), drag.format("event.shiftKey")
    look = alt.BrushConfig(fill=QUIET, fillOpacity=0.15, stroke=QUIET)
    found = [
        alt.selection_point("pick", fields=["number"], on="click", empty=False, toggle=False),
        alt.selection_interval("brush", on=plain_drag, translate=plain_drag, zoom=False, mark=look),
    ]
    numbers = [name for name, axis in zip("xy", axes, strict=True) if axis.shorthand.endswith(":Q")]
    if numbers:
        wheel = "wheel![event.ctrlKey]"
        found.append(alt.selection_interval("zoom", bind="scales", encodings=numbers, translate=shift_drag, zoom=wheel))
    return found


def brushed(table: pd.DataFrame, brush: dict, columns: dict[str, str]) -> list[int]:
    """Return the numbers of the trials inside a brush.

    Parameters
    ----------
    table : DataFrame
        number, and the columns meant below.
    brush : dict
        As the browser reports it: for each of the chart's fields [low, high], or the words; {} where nothing is brushed.
    columns : dict of str to str
        Which column of the table stands behind which field of the chart.
    """
    parts = {columns[field]: part for field, part in brush.items() if field in columns}
    inside = pd.Series(bool(parts), index=table.index)
    for name, part in parts.items():
        if scale_of(table[name]) == "words":
            inside &= words(table[name]).isin([str(value) for value in part])
        else:
            inside &= plain(table[name]).between(min(part), max(part))
    return [int(number) for number in table.loc[inside, "number"]]
