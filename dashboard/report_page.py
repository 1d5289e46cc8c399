"""A page in one file, for people who have nothing else: markup whose texts are escaped, charts, a policy against requests.

Each chart is there twice: as a picture, for paper and for where scripts are not allowed, and as data that one copy of Vega
draws when it comes into sight, with tooltips and zoom, as wide as the screen and in its colours.
"""

import base64
import html
import json
import re
from collections.abc import Collection
from pathlib import Path

import altair as alt
import vl_convert

from dashboard.charts.files import VERSION, script_hash, themed, vega

DIGITS = 7
"""Of numbers in charts; tables and files have all of them."""
EMPTY = ("img", "meta", "br")
"""Elements without an end."""
HANDS = ("pick", "brush")
"""Selections that mean something on Brink's own pages alone."""
NARROW, NARROW_COLUMNS = 480, 3
"""Pixels up to which a chart is narrow, and columns of a legend that it has room for."""
FILES = Path(__file__).with_name("report")
_PATH = re.compile(r"<path[^>]*>")
_LONG = re.compile(r"(\.\d\d)\d+")
_PLACED = re.compile(r'<path transform="translate\(([^,)]+),([^)]+)\)" ([^>]+)/>')


class Html(str):
    """Text that is markup already."""

    __slots__ = ()


def tag(name: str, /, *parts: object, **attributes: object) -> Html:
    """Return an element; texts among its parts and attributes are escaped, None is left out.

    Names of attributes have _ for - and may end with _ (class_).
    """
    given = ((key.rstrip("_").replace("_", "-"), value) for key, value in attributes.items() if value is not None)
    head = "".join(f' {key}="{html.escape(str(value))}"' for key, value in given)
    return Html(f"<{name}{head}>" + ("" if name in EMPTY else f"{joined(*parts)}</{name}>"))


def joined(*parts: object) -> Html:
    """Return parts one after another: markup as it is, other texts escaped, lists with all they hold."""
    found = []
    for part in parts:
        if isinstance(part, list | tuple):
            found.append(joined(*part))
        elif part is not None:
            found.append(part if isinstance(part, Html) else html.escape(str(part)))
    return Html("".join(found))


def html_table(caption: str, head: list[str], rows: list[list], numbers: Collection[int] = ()) -> Html:
    """Return a table; the first cell of each row is its heading, columns whose places are in `numbers` stand right."""
    looks = ["number" if place in numbers else None for place in range(len(head))]
    names = [tag("th", name, scope="col", class_=look) for name, look in zip(head, looks, strict=True)]
    lines = [[(cell, look) for cell, look in zip(row, looks, strict=True)] for row in rows]
    body = [
        tag("tr", tag("th", *first[:1], scope="row", class_=first[1]), [tag("td", cell, class_=look) for cell, look in rest])
        for first, *rest in lines
    ]
    whole = tag("table", tag("caption", caption), tag("thead", tag("tr", names)), tag("tbody", body))
    return tag("div", whole, class_="scroll", tabindex=0, role="region", aria_label=caption)


def data_link(text: str, data: bytes, name: str, mime: str) -> Html:
    """Return a link that saves a file which the page holds itself."""
    return tag("a", text, href=f"data:{mime};base64,{base64.b64encode(data).decode()}", download=name)


class Figures:
    """The page's charts: numbered, and with columns of data that several of them have kept once."""

    def __init__(self) -> None:
        self.charts: list[dict] = []
        self.columns: dict[str, int] = {}
        self.count = 0

    def figure(self, title: str, caption: str, plots: list[tuple[alt.TopLevelMixin, str]], width: int = 0) -> Html:
        """Return a figure of one chart or several side by side.

        Parameters
        ----------
        plots : list of (chart, str)
            Charts, and what they show in words.
        width : int
            Pixels of each of several charts side by side; 0: as wide as the page.
        """
        self.count += 1
        words = [tag("strong", f"Figure {self.count}. {title}. "), caption]
        grid = tag("div", [self._plot(*plot, width) for plot in plots], class_="plots" if width else None)
        return tag("figure", grid, tag("figcaption", words), id=f"figure-{self.count}")

    def _plot(self, chart: alt.TopLevelMixin, text: str, width: int) -> Html:
        spec = themed(chart.properties(width=width) if width else chart)
        spec["params"] = [part for part in spec.pop("params", []) if part["name"] not in HANDS]
        spec["padding"] = 4
        _wrap_legends(spec)
        spec["config"] = spec["config"] | {"aria": False}  # the picture's words say what it shows
        picture = base64.b64encode(_small(vl_convert.vegalite_to_svg(spec, VERSION)).encode("utf-8", "replace")).decode()
        self.charts.append(self._compact({k: v for k, v in spec.items() if k not in ("$schema", "background", "config")}))
        image = tag("img", src=f"data:image/svg+xml;base64,{picture}", alt=text)
        return tag("div", image, class_="plot", data_chart=len(self.charts) - 1)

    def _compact(self, spec: dict) -> dict:
        """Return a chart that has columns where it had rows, and the width of its place."""
        tables = {name: self._columns(rows) for name, rows in spec.pop("datasets", {}).items()}

        def named(part: dict) -> dict:
            if "values" in part.get("data", {}):
                name = f"table{len(tables)}"
                tables[name] = self._columns(part["data"]["values"])
                part = part | {"data": {"name": name}}
            return part | {"layer": [named(layer) for layer in part["layer"]]} if "layer" in part else part

        return named(spec) | {"width": "container", "tables": tables}

    def _columns(self, rows: list[dict]) -> dict:
        found = {}
        for name in rows[0] if rows else ():
            values = [_short(row[name]) for row in rows]
            text = json.dumps(values[:1] if all(value == values[0] for value in values) else values)
            found[name] = self.columns.setdefault(text, len(self.columns))
        return {"n": len(rows), "columns": found}

    def scripts(self) -> tuple[str, str]:
        """Return the data of all charts, as JSON that may stand in a page, and what draws them."""
        looks = {}
        for scheme in ("light", "dark"):
            spec = themed(alt.Chart().mark_point(), scheme=scheme)
            looks[scheme] = {"background": spec["background"], "config": spec["config"] | {"aria": False}}
        parts = {"charts": json.dumps(self.charts), "looks": json.dumps(looks), "columns": f"[{','.join(self.columns)}]"}
        data = "{" + ",".join(f'"{name}":{text}' for name, text in parts.items()) + "}"
        return data.replace("<", "\\u003c"), vega() + FILES.with_suffix(".js").read_text("utf-8")


def _wrap_legends(part: object) -> None:
    """Let legends of many columns have fewer where a chart is narrow."""
    for inner in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
        if isinstance(inner, dict) and isinstance(n := inner.get("columns"), int) and n > NARROW_COLUMNS:
            inner["columns"] = {"expr": f"width < {NARROW} ? {NARROW_COLUMNS} : {n}"}
        _wrap_legends(inner)


def _short(value: object) -> object:
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value


def _small(svg: str) -> str:
    """Return a picture with fewer digits, and with marks that look the same kept once."""
    shapes: dict[str, str] = {}

    def place(found: re.Match) -> str:
        x, y, shape = found.groups()
        return f'<use href="#{shapes.setdefault(shape, f"s{len(shapes)}")}" x="{x}" y="{y}"/>'

    svg = svg.replace('class="mark-rect', 'shape-rendering="crispEdges" class="mark-rect')  # no seams between cells
    svg = _PLACED.sub(place, _PATH.sub(lambda found: _LONG.sub(r"\1", found[0]), svg))
    head, body = svg.split(">", 1)
    kept = "".join(f'<path id="{name}" {shape}/>' for shape, name in shapes.items())
    return f"{head}><defs>{kept}</defs>{body}"


def page(title: str, parts: list[Html], figures: Figures) -> str:
    """Return a whole page.

    Notes
    -----
    Its policy lets no script run but its own, known by a hash, and nothing be loaded.
    """
    data, script = figures.scripts() if figures.charts else ("", "")
    rules = f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src '{script_hash(script)}'"
    head = [
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", http_equiv="Content-Security-Policy", content=f"{rules}; base-uri 'none'; form-action 'none'"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", title),
        tag("style", Html(FILES.with_suffix(".css").read_text("utf-8"))),
    ]
    if script:
        parts = [*parts, tag("script", Html(data), type="application/json", id="charts"), tag("script", Html(script))]
    whole = tag("html", tag("head", head), tag("body", parts), lang="en")
    return f"<!DOCTYPE html>\n{whole}\n".encode("utf-8", "replace").decode()
