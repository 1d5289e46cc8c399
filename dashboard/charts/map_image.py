"""Maps of many runs as pictures: one SVG that needs nothing else, and a PNG of it."""

import base64
import io
import math
import re
import textwrap
from collections.abc import Callable, Sequence
from itertools import count, pairwise
from typing import NamedTuple
from xml.sax.saxutils import escape, quoteattr

import numpy as np
import vl_convert
from PIL import Image

from dashboard.charts.maps import (
    Axis,
    Entry,
    Facet,
    Mark,
    Ramp,
    common_shape,
    legend_colors,
    legend_entries,
    ramp_ticks,
)

FONT = "'Liberation Sans', Arial, Helvetica, sans-serif"
"""The first one comes with vl-convert, which leaves out text where it finds no font."""
ACROSS = 3
"""Planes in a row."""
EDGE, GAP, RIGHT = 16, 18, 14
"""Room in pixels around the picture, between planes, and right of a plane for half a label."""
SYMBOLS = {
    "★": "M0-8L1.8-2.5H7.6L2.9.9L4.7 6.5L0 3.1L-4.7 6.5L-2.9.9L-7.6-2.5H-1.8Z",
    "◆": "M0-7L6 0L0 7L-6 0Z",
    "✓": "M-6 .6L-4.6-.9L-2 1.6L4.6-5L6-3.5L-2 4.5Z",
    "✕": "M-5-3.6L-3.6-5L0-1.4L3.6-5L5-3.6L1.4 0L5 3.6L3.6 5L0 1.4L-3.6 5L-5 3.6L-1.4 0Z",
    "↗": "M-1.5-5H5V1.5H3.1V-1.7L-3.7 5L-5 3.7L1.7-3.1H-1.5Z",
    "↘": "M-1.5 5H5V-1.5H3.1V1.7L-3.7-5L-5-3.7L1.7 3.1H-1.5Z",
}
"""Outlines of symbols that the font lacks, around their middle, for a text of 16 pixels."""


class Theme(NamedTuple):
    """Colours of the page, as in .streamlit/config.toml."""

    paper: str
    text: str
    quiet: str
    line: str


LIGHT = Theme("#FFFFFF", "#10161F", "#4A525E", "#D5DAE1")
DARK = Theme("#0F141B", "#EDF1F6", "#B4BDC9", "#2E3947")


class Frame(NamedTuple):
    """Sizes in pixels: of a cell, of a plane, and of what stands left of it, above and below."""

    cell: tuple[float, float]
    width: float
    height: float
    left: float
    head: int
    foot: int


def map_svg(
    facets: Sequence[Facet],
    x: Axis,
    y: Axis,
    legend: Sequence[Entry] | Ramp,
    title: str = "",
    caption: str = "",
    dark: bool = False,
    side: float = 420,
) -> str:
    """Return a map as an SVG.

    Parameters
    ----------
    facets : sequence of Facet
        Planes of one shape, at most three in a row; their values are not shown.
    x, y : Axis
        The same for all of them.
    legend : sequence of Entry or Ramp
        What the indices mean.
    title, caption : str
        Stand above and below.
    dark : bool
        Whether words are light on a dark page.
    side : float
        About how many pixels wide and high a plane is: cells get a whole number of half pixels.

    Raises
    ------
    ValueError
        Where arrays differ in shape or hold no cell.
    """
    theme, frame = DARK if dark else LIGHT, _frame(facets, x, y, side)
    step = frame.left + frame.width + RIGHT + GAP, frame.head + frame.height + frame.foot + GAP
    room = step[0] * min(len(facets), ACROSS) - GAP
    parts, top = _lines(title, 16, room, EDGE, fill=theme.text, font_weight="bold")
    axes, colors = _axes(frame, x, y, theme), legend_colors(legend)
    for i, facet in enumerate(facets):
        at = EDGE + i % ACROSS * step[0] + frame.left, top + i // ACROSS * step[1] + frame.head
        parts.append(_tag("g", axes, *_plane(facet, frame, colors, theme, f"edge{i}"), transform=_moved(*at)))
    top += math.ceil(len(facets) / ACROSS) * step[1]
    if isinstance(legend, Ramp):
        parts.append(_ramp(legend, min(room, 320), theme, transform=_moved(EDGE, top)))
        top += 54
    entries, top = _entries(facets, legend, room, theme, top)
    words, top = _lines(caption, 12, room, top + 6, fill=theme.quiet)
    width, height = math.ceil(room + 2 * EDGE), math.ceil(top + EDGE / 2)
    paper = _tag("rect", width=width, height=height, fill=theme.paper)
    names = {"xmlns": "http://www.w3.org/2000/svg", "xmlns:xlink": "http://www.w3.org/1999/xlink", "role": "img"}
    size = {"width": width, "height": height, "viewBox": f"0 0 {width} {height}", "font-family": FONT, "font-size": 12}
    return _tag("svg", _tag("title", _legible(title)), paper, _hatch(theme), *parts, *entries, *words, **names, **size)


def map_png(svg: str, scale: float = 2) -> bytes:
    """Return an SVG as a PNG; with 2 pixels for each of its own, or a multiple of 2, cells of a map are sharp."""
    return vl_convert.svg_to_png(svg, scale=scale)


def edge_path(region: np.ndarray, trained: np.ndarray, cell: tuple[float, float] = (1, 1)) -> str:
    """Return the lines between trained cells of which one lies in a region.

    Parameters
    ----------
    region, trained : array of bool, shape (ny, nx)
        The first row is the lowest.
    cell : tuple of float
        Width and height of a cell.

    Returns
    -------
    str
        Commands of an SVG path, from the plane's upper left corner; one line as far as it goes straight on.
    """
    region, trained = np.asarray(region, dtype=bool)[::-1], np.asarray(trained, dtype=bool)[::-1]
    (width, height), paths = cell, []
    for lane, start, stop in _runs(region.T, trained.T):
        paths.append(f"M{lane * width:g} {start * height:g}V{stop * height:g}")
    for lane, start, stop in _runs(region, trained):
        paths.append(f"M{start * width:g} {lane * height:g}H{stop * width:g}")
    return "".join(paths)


def _runs(region: np.ndarray, trained: np.ndarray) -> list[list[int]]:
    """Return between which rows an edge runs (1 below the first one), and from where to where."""
    edge = (region[1:] != region[:-1]) & trained[1:] & trained[:-1]
    steps = np.diff(np.pad(edge.astype(np.int8), ((0, 0), (1, 1))))
    starts, stops = np.argwhere(steps == 1), np.argwhere(steps == -1)
    return np.column_stack([starts[:, 0] + 1, starts[:, 1], stops[:, 1]]).tolist()


def raster(colors: np.ndarray, palette: Sequence[str], repeat: tuple[int, int] = (1, 1)) -> bytes:
    """Return a PNG of a plane's cells.

    Parameters
    ----------
    colors : array of uint8, shape (ny, nx)
        Indices into the palette, 1 for its first colour; the first row is the lowest.
    palette : sequence of str
        Colours; a cell without one is transparent.
    repeat : tuple of int
        How many pixels wide and high a cell is.
    """
    pixels = np.repeat(np.repeat(np.asarray(colors, dtype=np.uint8)[::-1], repeat[0], axis=1), repeat[1], axis=0)
    image, file = Image.fromarray(pixels), io.BytesIO()
    image.putpalette(bytes(3) + b"".join(bytes.fromhex(color[1:]) for color in palette))
    image.save(file, "PNG", transparency=bytes([0, *[255] * len(palette), *[0] * (255 - len(palette))]))
    return file.getvalue()


def apart(ticks: Sequence[tuple[float, str]], length: float, size: Callable[[str], float]) -> list[tuple[float, str]]:
    """Return every label of an axis, or every second, third ..., so that none touches the next.

    Parameters
    ----------
    ticks : sequence of tuple of float and str
        Places from 0 to 1 in order, and texts.
    length : float
        The axis's, in pixels.
    size : callable
        Returns how many pixels of the axis a text needs.
    """
    for every in count(1):
        kept = ticks[::every]
        if all((b - a) * length >= (size(one) + size(other)) / 2 for (a, one), (b, other) in pairwise(kept)):
            return [*kept]


def text_width(text: str, size: float = 12) -> float:
    """Return about how many pixels wide a text is in Liberation Sans or Arial, rather more than less."""
    narrow, wide = (sum(map(text.count, letters)) for letters in (" fijlrtI!|.,:;'()[]/-", "mwMW@%—…"))
    wide += sum(letter > "\u2e7f" for letter in text)
    capitals = sum(letter.isupper() for letter in text)
    return size * (0.57 * len(text) - 0.23 * narrow + 0.43 * wide + 0.18 * capitals)


def _frame(facets: Sequence[Facet], x: Axis, y: Axis, side: float) -> Frame:
    shape = common_shape(facets)[::-1]
    cell = tuple(max(1, round(2 * side / n)) / 2 for n in shape)
    width, height = (n * size for n, size in zip(shape, cell, strict=True))
    widest = max((text_width(text) for _, text in y.ticks), default=0)
    left = math.ceil(min(widest, width / 3) + 9 + (20 if y.title else 0))
    return Frame(cell, width, height, left, 24 if any(facet.title for facet in facets) else 0, 42 if x.title else 22)


def _plane(facet: Facet, frame: Frame, colors: Sequence[str], theme: Theme, name: str) -> list[str]:
    (width, height), size = frame.cell, {"width": frame.width, "height": frame.height}
    source = base64.b64encode(raster(facet.colors, colors, (int(2 * width), int(2 * height)))).decode()
    look = {"preserveAspectRatio": "none", "image-rendering": "pixelated", "xlink:href": f"data:image/png;base64,{source}"}
    cells = [_tag("rect", **size, fill="url(#untrained)"), _tag("image", **size, **look)]
    if facet.region is not None:
        path = edge_path(facet.region, np.asarray(facet.colors) > 0, frame.cell)
        cells.append(_tag("defs", _tag("path", id=name, d=path, fill="none", stroke_linecap="round")))
        line = min(max(min(frame.cell) / 4, 0.5), 1.25)  # thinner where it would hide the cells
        for color, wide in ((theme.paper, 2.2 * line), (theme.text, line)):
            cells.append(_tag("use", **{"xlink:href": f"#{name}"}, stroke=color, stroke_width=wide))
    border = _tag("rect", x=-0.5, y=-0.5, width=frame.width + 1, height=frame.height + 1, fill="none", stroke=theme.line)
    head = _text(_cut(facet.title, frame.width, 13), 0, -9, fill=theme.text, font_size=13, font_weight="bold")
    return [*cells, border, head, *(_mark(mark, frame, theme) for mark in facet.marks)]


def _axes(frame: Frame, x: Axis, y: Axis, theme: Theme) -> str:
    width, height, parts, marks = frame.width, frame.height, [], ""
    for place, text in apart(y.ticks, height, lambda text: 14):
        at, text = round(height * (1 - place)), _cut(text, width / 3)
        parts.append(_text(text, -8, at + 4, text_anchor="end"))
        marks += f"M-5 {at + 0.5:g}H-1"
    words = [text for _, text in x.ticks] == x.words and frame.cell[0] > 45
    ticks = [(place, _cut(text, frame.cell[0] - 10 if words else width)) for place, text in x.ticks]
    for place, text in apart(ticks, width, lambda text: text_width(text) + 10):
        at, half = round(place * width), text_width(text) / 2
        parts.append(_text(text, min(max(at, half - frame.left), width + RIGHT - half), height + 17, text_anchor="middle"))
        marks += f"M{at + 0.5:g} {height + 1:g}V{height + 5:g}"
    parts.append(_tag("path", d=marks, stroke=theme.line))
    look = {"fill": theme.text, "font_size": 13, "text_anchor": "middle"}
    parts.append(_text(_cut(x.title, width, 13), width / 2, height + 37, **look))
    parts.append(_text(_cut(y.title, height, 13), 0, 0, transform=_moved(12 - frame.left, height / 2) + " rotate(-90)", **look))
    return _tag("g", *parts, fill=theme.quiet)


def _mark(mark: Mark, frame: Frame, theme: Theme) -> str:
    (width, height), halo = frame.cell, {"stroke": theme.paper, "stroke_width": 3.5, "stroke_linejoin": "round"}
    x, y = (mark.x + 0.5) * width, frame.height - (mark.y + 0.5) * height
    if mark.symbol:
        return _symbol(mark.symbol, x, y, 16, fill=theme.text, paint_order="stroke", **halo)
    width, height = max(width, 9), max(height, 9)
    box = {"x": x - width / 2, "y": y - height / 2, "width": width, "height": height, "fill": "none"}
    return _tag("rect", **box, **halo) + _tag("rect", **box, stroke=theme.text, stroke_width=2, stroke_linejoin="round")


def _symbol(symbol: str, x: float, y: float, size: float, **look: str | float) -> str:
    if symbol in SYMBOLS:
        return _tag("path", d=SYMBOLS[symbol], transform=f"{_moved(x, y)} scale({size / 16:g})", **look)
    return _text(symbol, x, y + 0.36 * size, font_size=size, text_anchor="middle", **look)


def _ramp(legend: Ramp, length: float, theme: Theme, **look: str) -> str:
    colors, stops = legend_colors(legend)[:-1:11], []  # 253 is a multiple of 11
    for i, color in enumerate(colors):
        stops.append(_tag("stop", offset=i / (len(colors) - 1), stop_color=color))
    parts = [_text(legend.title, 0, 12, fill=theme.text), _tag("linearGradient", *stops, id="ramp")]
    parts.append(_tag("rect", y=19, width=length, height=10, rx=2, fill="url(#ramp)"))
    for place, text in ramp_ticks(legend):
        anchor = {0: "start", 1: "end"}.get(place, "middle")
        parts.append(_text(text, place * length, 43, fill=theme.quiet, text_anchor=anchor))
    return _tag("g", *parts, **look)


def _entries(
    facets: Sequence[Facet], legend: Sequence[Entry] | Ramp, room: float, theme: Theme, top: float
) -> tuple[list[str], float]:
    """Return what colours and marks mean, line by line, and where the last one ends."""
    totals = sum(np.bincount(np.ravel(facet.colors), minlength=256) for facet in facets)
    rows = [(entry.symbol, entry.name, entry.color, totals[index]) for index, entry in legend_entries(legend).items()]
    rows = [row for row in rows if row[3] or not isinstance(legend, Ramp)]
    rows += [("", "not trained", "url(#untrained)", totals[0])] if totals[0] else []
    marks = dict.fromkeys((mark.symbol, mark.label) for facet in facets for mark in facet.marks)
    parts, left = [], 0
    for symbol, name, color, number in [*rows, *((*mark, "", None) for mark in marks)]:
        drawn, width = _entry(symbol, _cut(name, room - 120), color, "" if number is None else f"{number:,}", theme)
        if left and left + width > room:
            left, top = 0, top + 22
        parts.append(_tag("g", *drawn, transform=_moved(EDGE + left, top)))
        left += width + 20
    return parts, top + 22 if parts else top


def _entry(symbol: str, name: str, color: str, number: str, theme: Theme) -> tuple[list[str], float]:
    """Return one meaning and its width: swatch, symbol, name, number of cells."""
    parts, at = [], 0
    if color or not symbol:
        border = theme.line if color.startswith("url") else "none" if color else theme.text
        parts.append(_tag("rect", x=0.5, y=2.5, width=11, height=11, rx=2, fill=color or "none", stroke=border))
        at = 18
    if symbol:
        parts.append(_symbol(symbol, at + 6, 8, 13, fill=theme.text))
        at += 17
    parts.append(_text(name, at, 12, fill=theme.text))
    at += text_width(name) + 5
    return [*parts, _text(number, at, 12, fill=theme.quiet)], at + text_width(number)


def _hatch(theme: Theme) -> str:
    lines = _tag("path", d="M-1 1L1-1M-1 7L7-1M5 7L7 5", stroke=theme.line)
    return _tag("pattern", lines, id="untrained", width=6, height=6, patternUnits="userSpaceOnUse")


def _lines(text: str, size: int, room: float, top: float, **look: str) -> tuple[list[str], float]:
    """Return a text in as many lines as it needs, and where the last one ends."""
    letters = 0.93 * len(text) * room / max(text_width(text, size), 1)
    lines = textwrap.wrap(text, max(1, int(letters)))
    tall = round(1.35 * size)
    drawn = [_text(line, EDGE, top + i * tall + size, font_size=size, **look) for i, line in enumerate(lines)]
    return drawn, top + len(lines) * tall + (8 if lines else 0)


def _cut(text: str, room: float, size: float = 12) -> str:
    text = text[: 1 + int(room / size / 0.34)]
    while len(text) > 1 and text_width(text, size) > room:
        text = text[:-2] + "…"
    return text


def _moved(x: float, y: float) -> str:
    return f"translate({x:g} {y:g})"


def _text(words: str, x: float, y: float, **look: str | float) -> str:
    return _tag("text", _legible(words), x=x, y=y, **look) if words else ""


def _legible(words: str) -> str:
    """Return a text for XML, which can hold no control characters."""
    return escape(re.sub("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "\ufffd", words))


def _tag(_name: str, *inner: str, **attributes: str | float) -> str:
    written = (f"{value:g}" if isinstance(value, int | float) else value for value in attributes.values())
    pairs = (f" {key.replace('_', '-')}={quoteattr(text)}" for key, text in zip(attributes, written, strict=True))
    return f"<{_name}{''.join(pairs)}>{''.join(inner)}</{_name}>"
