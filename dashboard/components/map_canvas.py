"""A map of many runs: cells on a plane of two hyperparameters, drawn by the browser on a canvas.

The browser gets bytes (a header and the arrays as they lie in memory) and patches what it shows: hover, focus, rectangle and
the legend's filter survive an update. What hands do comes back as the values `click` and `brush`, every time once.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import streamlit as st

from dashboard.charts.maps import Axis, Entry, Facet, Ramp, common_shape, legend_colors, legend_entries, ramp_ticks


def packed(facets: Sequence[Facet], legend: Sequence[Entry] | Ramp, head: dict) -> bytes:
    """Return what the browser gets: the header's length, the header, then colours, region and values of each facet.

    Raises
    ------
    ValueError
        Where arrays differ in shape.
    """
    ny, nx = common_shape(facets)
    arrays, planes = [], []
    for facet in facets:
        region = [] if facet.region is None else [np.asarray(facet.region, dtype=bool)]
        with np.errstate(over="ignore"):
            values = [np.asarray(values).astype("<f4") for values in facet.values.values()]
        arrays += [np.asarray(facet.colors, dtype=np.uint8), *region, *values]
        marks = [mark._asdict() for mark in facet.marks]
        planes.append({"title": facet.title, "values": list(facet.values), "region": bool(region), "marks": marks})
    text = json.dumps({"nx": nx, "ny": ny, "facets": planes, "legend": _legend(legend), **head}).encode()
    parts = [np.packbits(array) if array.dtype == bool else array for array in arrays]
    return b"".join([len(text).to_bytes(4, "little"), text, *(part.tobytes() for part in parts)])


def _legend(legend: Sequence[Entry] | Ramp) -> dict:
    entries = [entry._asdict() | {"index": index} for index, entry in legend_entries(legend).items()]
    bar = {"title": legend.title, "ticks": ramp_ticks(legend)} if isinstance(legend, Ramp) else None
    return {"colors": legend_colors(legend), "entries": entries, "bar": bar}


FILES = Path(__file__).with_suffix("")
_mount = st.components.v2.component(
    "map_canvas", css=FILES.with_suffix(".css").read_text("utf-8"), js=FILES.with_suffix(".js").read_text("utf-8")
)


def map_canvas(
    facets: Facet | Sequence[Facet],
    *,
    x: Axis,
    y: Axis,
    legend: Sequence[Entry] | Ramp,
    key: str,
    label: str,
    view: str = "",
    height: int = 420,
    on_click: Callable[[], None] | None = None,
    on_brush: Callable[[], None] | None = None,
):
    """Draw a map and return what was done with it.

    Parameters
    ----------
    facets : Facet or sequence of Facet
        Planes of one shape, side by side or, where it is narrow, one below the other.
    x, y : Axis
        The same for all of them.
    legend : sequence of Entry or Ramp
        What the indices mean. A click on an entry fades all others.
    key : str
        The same in every run of the script, so that the map is patched in place.
    label : str
        What the map shows, for those who cannot see it.
    view : str
        Names the part of the plane that is shown. When it changes, the rectangle and the focus begin anew.
    height : int
        Height of one plane in pixels.
    on_click, on_brush : callable or None
        Called before the script runs again; the values stand in the session state under `key`.

    Returns
    -------
    ComponentResult
        `click`: None or {"facet", "x", "y", "nx", "ny", "view"}, a cell that was opened. `brush`: None or {"facet", "x0",
        "x1", "y0", "y1", "nx", "ny", "view"}, the cells x0 <= x < x1 and y0 <= y < y1 of a rectangle, or {"facet", "view"}
        alone when it was taken away. nx, ny and view are those of the map the hand saw, which may have changed since.
    """
    facets = [facets] if isinstance(facets, Facet) else facets
    head = {"x": x._asdict(), "y": y._asdict(), "label": label, "view": view, "height": height}
    calls = {"on_click_change": on_click or _nothing, "on_brush_change": on_brush or _nothing}
    return _mount(key=key, data=packed(facets, legend, head), **calls)


def _nothing() -> None:
    """Make Streamlit report a value that nobody listens to."""
