"""Maps of many runs, cells on a plane of two hyperparameters: their colours, their axes, and what a drawing of one needs."""

import math
from collections.abc import Mapping, Sequence
from itertools import count
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from dashboard.charts.marks import round_step
from dashboard.charts.outcomes import LOOKS

SCHEMES = {
    "cividis": "0:00224e 21:003170 23:013271 28:123570 34:1e3a6f 52:36466c 147:8f8a78 179:aea371 205:c9b965 232:e7d150 "
    "251:fde334 255:fee838",
    "viridis": "0:440154 29:482979 57:3e4a89 90:2e6d8e 143:1f9f88 154:23a983 170:35b779 188:56c667 208:84d44b 238:d2e21b "
    "246:e7e419 255:fde725",
}
"""Points of two published colour maps of 256 steps; straight lines between them stay within 3/255 of the maps.

cividis: Nuñez, Anderton & Renslow (2018), "Optimizing colormaps with consideration for color vision deficiency to enable
accurate interpretation of scientific data", PLoS ONE 13(7), e0199239. viridis: van der Walt & Smith (2015), CC0.
"""
STEPS, NOT_FINITE = 254, 255
"""Indices of a metric's cells: 1 to 254 grow with it, 255 is NaN or infinite; 0 is a cell that is not trained yet."""
MOST_LABELS = 7
"""More labels than that are never put on an axis."""


class Axis(NamedTuple):
    """One direction of the plane: its title, labels with their place from 0 to 1, and the text of each cell's value."""

    title: str
    ticks: list[tuple[float, str]]
    words: list[str]


class Entry(NamedTuple):
    """What one index means, 1 for the first entry of a legend: name, colour, symbol."""

    name: str
    color: str
    symbol: str = ""


LOST = Entry("not finite", LOOKS["overflow"].color, LOOKS["overflow"].symbol)
"""What the index `NOT_FINITE` usually means."""


class Ramp(NamedTuple):
    """What the indices of a metric mean: its title, the limits and the scheme it was quantized with, and `NOT_FINITE`."""

    title: str
    low: float
    high: float
    log: bool = False
    scheme: str = "cividis"
    lost: Entry = LOST


class Mark(NamedTuple):
    """A cell that is pointed out by a symbol, or by a frame where the symbol is empty."""

    x: int
    y: int
    symbol: str
    label: str


class Facet(NamedTuple):
    """One plane.

    Attributes
    ----------
    colors : array of uint8, shape (ny, nx)
        Indices into the legend, 0 where nothing is trained yet; the first row is the lowest.
    title : str
        Stands above it.
    values : dict of str to array, shape (ny, nx)
        Numbers told about a cell, by name; NaN where there is none. Better left out beyond 256 x 256 cells.
    marks : sequence of Mark
        Cells to point out.
    region : array of bool, shape (ny, nx), or None
        Cells whose edge is drawn as a line, between trained cells only.
    """

    colors: np.ndarray
    title: str = ""
    values: Mapping[str, np.ndarray] = MappingProxyType({})
    marks: Sequence[Mark] = ()
    region: np.ndarray | None = None


def palette(name: str) -> list[str]:
    """Return 254 steps of a scheme, from low to high."""
    points = [point.split(":") for point in SCHEMES[name].split()]
    places, channels = [int(place) for place, _ in points], np.array([list(bytes.fromhex(color)) for _, color in points]).T
    steps = np.stack([np.interp(np.linspace(0, 255, STEPS), places, channel) for channel in channels], axis=1)
    return ["#" + bytes(step).hex() for step in np.rint(steps).astype(np.uint8)]


def quantize(values: np.ndarray, low: float, high: float, log: bool = False) -> np.ndarray:
    """Return the indices of a metric's colours.

    Parameters
    ----------
    values : array
        The metric.
    low, high : float
        Finite limits, positive on a logarithmic scale; what lies beyond gets the first or the last step.
    log : bool
        Whether the scale is logarithmic.

    Returns
    -------
    array of uint8
        1 to 254, or 255 (`NOT_FINITE`); the caller sets 0 where nothing is trained.
    """
    values = np.asarray(values, dtype=float)
    finite = np.isfinite(values)
    inside = np.clip(np.where(finite, values, low), low, max(low, high))
    if log:
        inside, low, high = np.log(inside), math.log(low), math.log(high)
    half = high / 2 - low / 2
    share = (inside / 2 - low / 2) / half if half > 0 else np.full(values.shape, 0.5)
    return np.where(finite, 1 + np.rint(np.clip(share, 0, 1) * (STEPS - 1)), NOT_FINITE).astype(np.uint8)


def axis_ticks(low: float, high: float, log: bool = False, n: int = MOST_LABELS) -> list[tuple[float, str]]:
    """Return the labels of an axis.

    Parameters
    ----------
    low, high : float
        The values at its ends; both positive on a logarithmic axis.
    log : bool
        Whether it is logarithmic: labels then stand at 1, 2, 5, at powers of ten, or at every second, third ... power.
    n : int
        How many labels there may be, at least two.

    Returns
    -------
    list of tuple of float and str
        Places from 0 (low) to 1 (high) and texts, in order; no label at all where low and high cannot be told apart.
    """
    if not (math.isfinite(low) and math.isfinite(high) and high / 2 - low / 2 > max(abs(low), abs(high), 1e-290) * 1e-9):
        return []
    if not log:
        return [((value / 2 - low / 2) / (high / 2 - low / 2), text) for value, text in _multiples(low, high, n)]
    found = _powers(low, high, n)
    if len(found) < 3 and high / 10 < low:
        found = _multiples(low, high, n)
    span = math.log(high) - math.log(low)
    return [((math.log(value) - math.log(low)) / span, text) for value, text in found]


def _multiples(low: float, high: float, n: int) -> list[tuple[float, str]]:
    step = round_step(high / (n - 1) - low / (n - 1))
    numbers = range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)
    return [(min(max(number * step, low), high), _short(number * step)) for number in numbers]


def _powers(low: float, high: float, n: int) -> list[tuple[float, str]]:
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    rows = [[(digit, power) for power in powers for digit in (1, 2, 5)]]
    for every in count(1):
        values = [float(f"{digit}e{power}") for digit, power in rows[-1]]
        values = [value for value in values if low * (1 - 1e-9) <= value <= high * (1 + 1e-9)]
        if len(values) <= n:
            return [(min(max(value, low), high), _short(value)) for value in values]
        rows.append([(1, power) for power in powers if power % every == 0])


def _short(value: float, digits: int = 10) -> str:
    plain, mantissa, power = f"{value:.{digits}g}", *f"{value:.{digits - 1}e}".split("e")
    if "e" not in plain and len(plain) <= 5:
        return plain
    written = f"{mantissa.rstrip('0').rstrip('.')}e{int(power)}"
    return written if "e" in plain or len(plain) > len(written) + 2 else plain


def axis_of(title: str, values: Sequence, log: bool = False) -> Axis:
    """Return the axis of a plane whose columns or rows have these values: evenly spaced numbers, ascending, or anything else.

    Parameters
    ----------
    title : str
        The hyperparameter's name.
    values : sequence
        One value for each cell; numbers are those of the cells' middles.
    log : bool
        Whether numbers are evenly spaced on a logarithmic axis.
    """
    if not all(isinstance(value, int | float | np.number) and not isinstance(value, bool) for value in values):
        words = [str(value) for value in values]
        return Axis(title, [((i + 0.5) / len(words), word) for i, word in enumerate(words)], words)
    ends = float(values[0]), float(values[-1])
    first, last = map(math.log, ends) if log else ends
    half = (last - first) / (len(values) - 1) / 2 if len(values) > 1 else (0.5 if log else abs(first) / 10 or 0.5)
    low, high = (math.exp(end) if log else end for end in (first - half, last + half))
    nearest = min(2 * half, 1) if log else 2 * half / max(map(abs, ends)) if any(ends) else 1
    digits = min(max(3, 2 - math.floor(math.log10(max(nearest, 1e-15)))), 15)
    return Axis(title, axis_ticks(low, high, log), [_short(float(value), digits) for value in values])


def outcome_legend(names: Sequence[str]) -> list[Entry]:
    """Return the legend of outcomes; the first has the index 1."""
    return [Entry(name, LOOKS[name].color, LOOKS[name].symbol) for name in names]


def legend_colors(legend: Sequence[Entry] | Ramp) -> list[str]:
    """Return the colours of the indices 1, 2, 3 ..."""
    if isinstance(legend, Ramp):
        return [*palette(legend.scheme), legend.lost.color]
    return [entry.color for entry in legend]


def legend_entries(legend: Sequence[Entry] | Ramp) -> dict[int, Entry]:
    """Return the indices that have a name of their own."""
    return {NOT_FINITE: legend.lost} if isinstance(legend, Ramp) else dict(enumerate(legend, 1))


def ramp_ticks(ramp: Ramp) -> list[tuple[float, str]]:
    """Return places from 0 to 1 and texts along a ramp: its limits, which mean what lies beyond too, and labels between."""
    between = [tick for tick in axis_ticks(ramp.low, ramp.high, ramp.log, 5) if 0.15 < tick[0] < 0.85]
    return [(0, f"≤ {_short(ramp.low, 3)}"), *between, (1, f"≥ {_short(ramp.high, 3)}")]


def common_shape(facets: Sequence[Facet]) -> tuple[int, int]:
    """Return the shape (ny, nx) of a map's planes.

    Raises
    ------
    ValueError
        Where arrays differ in shape or hold no cell.
    """
    arrays = [array for facet in facets for array in (facet.colors, facet.region, *facet.values.values()) if array is not None]
    shapes = {np.shape(array) for array in arrays}
    if len(shapes) != 1 or not np.prod([*shapes]):
        raise ValueError(f"arrays of a map must have one shape, found {sorted(shapes)}")
    return shapes.pop()
