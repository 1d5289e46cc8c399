"""Charts as files that stand alone: with font, colours and size, which a page gives them otherwise, and with their source."""

import base64
import functools
import hashlib
import html
import io
import json
import math
import re
import textwrap
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import altair as alt
import pandas as pd
import vl_convert
from PIL import Image, PngImagePlugin

from dashboard.charts.map_image import DARK, FONT, LIGHT, SYMBOLS, Theme

WIDTH, PADDING = 720, 16
"""In pixels; of a chart that is as wide as its place on the page, and around it."""
SCALE = 2
"""Pixels of a PNG for each of the chart's."""
SOURCE_LETTERS, SOURCE_LINES = 165, 3
"""How long the source under a chart may be; metadata hold all of it."""
VERSION = ".".join(alt.SCHEMA_VERSION.removeprefix("v").split(".")[:2])
"""Of Vega-Lite."""
_SETTINGS = Path(__file__).parents[2] / ".streamlit" / "config.toml"
_ILLEGIBLE = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML cannot hold."""
_EMBED = """
const options = {renderer: "svg", ast: true, actions: {export: true, source: false, compiled: false, editor: false}};
vegaEmbed("#chart", JSON.parse(document.getElementById("spec").textContent), options);
"""
_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; script-src '{hash}'; \
style-src 'unsafe-inline'; img-src data: blob:">
<meta name="description" content="{source}">
<title>{title}</title>
<style>body {{ margin: 0; padding: 16px; background: {paper}; color: {quiet}; font: 13px/1.5 {font}; }}
#chart {{ max-width: 100%; overflow-x: auto; }} p {{ white-space: pre-line; overflow-wrap: anywhere; }}</style>
</head>
<body>
<div id="chart"></div>
<p>{source}</p>
<script type="application/json" id="spec">{spec}</script>
<script>{script}</script>
</body>
</html>
"""


def themed(chart: alt.TopLevelMixin, source: str = "", scheme: str = "light") -> dict:
    """Return a chart as Vega-Lite that needs neither a page nor other files.

    Parameters
    ----------
    chart : Chart or LayerChart
        Every encoding tells its type.
    source : str
        Lines that say where the data come from: they stand under the chart as far as there is room, and whole in `usermeta`.
    scheme : str
        light or dark.

    Returns
    -------
    dict
        Strict JSON: what is not finite is None.
    """
    spec = _plain(_inlined(chart.copy(deep=True)).to_dict())
    spec |= {"background": _theme(scheme).paper, "padding": PADDING, "config": _config(scheme)}
    if not isinstance(spec.get("width"), int | float):
        spec["width"] = WIDTH
    if source:
        lines = _shortened(source)
        title = spec.get("title")  # a chart's own line of text
        spec["title"] = {"text": title["text"], "subtitle": lines} if title else {"text": lines} | _small(scheme)
        spec["title"] |= {"orient": "bottom", "anchor": "start", "frame": "bounds", "offset": 14}
        spec["usermeta"] = spec.get("usermeta", {}) | {"source": _plain(source).splitlines()}
    return spec


def _inlined(chart: alt.TopLevelMixin) -> alt.TopLevelMixin:
    """Set plain rows in place of a chart's tables.

    Altair could do so itself, but which way it does is a setting of the whole process, and the page changes it for a moment
    whenever it draws a chart.
    """
    if isinstance(chart.data, pd.DataFrame):
        chart.data = alt.to_values(chart.data)
    for part in getattr(chart, "layer", ()):
        _inlined(part)
    return chart


def _plain(value):
    """Return a value with nothing that strict JSON or XML cannot hold."""
    if isinstance(value, dict):
        return {name: _plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if isinstance(value, str):
        return _ILLEGIBLE.sub("\ufffd", value)
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _theme(scheme: str) -> Theme:
    return {"light": LIGHT, "dark": DARK}[scheme]


@functools.cache
def _categories() -> list[str]:
    return tomllib.loads(_SETTINGS.read_text("utf-8"))["theme"]["chartCategoricalColors"]


def _small(scheme: str) -> dict:
    return {"fontSize": 10, "fontWeight": "normal", "color": _theme(scheme).quiet, "lineHeight": 13}


def _config(scheme: str) -> dict:
    theme = _theme(scheme)
    words = {"labelColor": theme.quiet, "titleColor": theme.quiet, "labelFontSize": 12, "titleFontSize": 12}
    words["titleFontWeight"] = "normal"
    lines = {"gridColor": theme.line, "domain": False, "ticks": False, "labelPadding": 8, "titlePadding": 12}
    small = {f"subtitle{name[0].upper()}{name[1:]}": value for name, value in _small(scheme).items()}
    return {
        "font": FONT,
        "axis": words | lines,
        "axisDiscrete": {"grid": False},
        "legend": words | {"symbolStrokeWidth": 2},
        "title": {"color": theme.text, "fontSize": 12, "subtitlePadding": 6} | small,
        "header": words,
        "text": {"color": theme.text},
        "range": {"category": _categories()},
        "view": {"stroke": None, "continuousHeight": 320, "continuousWidth": WIDTH},
    }


def _shortened(source: str) -> list[str]:
    """Return as much of a source as has room under a chart."""
    text = _plain(" · ".join(source.splitlines())).replace(" · ", "\xa0· ")  # a dot stands at the end of a line
    return textwrap.wrap(text, SOURCE_LETTERS, max_lines=SOURCE_LINES, placeholder=" …")


def _png(chart: alt.TopLevelMixin, source: str, scheme: str) -> bytes:
    spec = _json(themed(chart, source, scheme))
    for symbol in SYMBOLS:  # the font lacks them; before words that say the same
        spec = spec.replace(f"{symbol} ", "")
    image = Image.open(io.BytesIO(vl_convert.vegalite_to_png(spec, VERSION, scale=SCALE)))
    told, file = PngImagePlugin.PngInfo(), io.BytesIO()
    told.add_itxt("Description", source)
    image.save(file, "PNG", pnginfo=told)
    return file.getvalue()


def _svg(chart: alt.TopLevelMixin, source: str, scheme: str) -> bytes:
    head, inner = vl_convert.vegalite_to_svg(themed(chart, source, scheme), VERSION).split(">", 1)
    return f"{head}><metadata>{html.escape(source)}</metadata>{inner}".encode()


def _html(chart: alt.TopLevelMixin, source: str, scheme: str) -> bytes:
    theme, script = _theme(scheme), vega() + _EMBED
    return _PAGE.format(
        hash=script_hash(script),
        source=html.escape(source),
        title=html.escape(source.partition("\n")[0] or "Brink"),
        paper=theme.paper,
        quiet=theme.quiet,
        font=FONT,
        spec=_json(themed(chart, "", scheme)).replace("<", "\\u003c"),
        script=script,
    ).encode()


@functools.cache
def vega() -> str:
    """Return Vega, Vega-Lite and Vega-Embed as one script."""
    return vl_convert.javascript_bundle(vl_version=VERSION)


def script_hash(script: str) -> str:
    """Return what a page's policy calls a script that may run."""
    return f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}"


def _json(spec: dict) -> str:
    return json.dumps(spec, ensure_ascii=False, allow_nan=False)


class Kind(NamedTuple):
    """A format of files: its name, the end of a file's name, its type on the web, and what makes its bytes."""

    title: str
    ending: str
    mime: str
    make: Callable[[alt.TopLevelMixin, str, str], bytes]


KINDS = {
    "png": Kind("PNG", "png", "image/png", _png),
    "svg": Kind("SVG", "svg", "image/svg+xml", _svg),
    "html": Kind("HTML", "html", "text/html", _html),
    "vl.json": Kind("Vega-Lite", "vl.json", "application/json", lambda *asked: _json(themed(*asked)).encode()),
}


def chart_file(chart: alt.TopLevelMixin, kind: str, source: str, scheme: str = "light") -> bytes:
    """Return a chart as a file of one of `KINDS`, which holds all data and says where they come from.

    Notes
    -----
    A page of HTML has tooltips, zoom and selections; it makes no request, and runs no script but its own.
    """
    return KINDS[kind].make(chart, _plain(source), scheme)
