"""A map as people see it: the plane while it is trained and after, what it says, zooming in, and files of it."""

import contextlib
import dataclasses
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import streamlit as st

from dashboard.charts.map_image import map_png, map_svg
from dashboard.components.job_view import idle_line
from dashboard.components.map_canvas import map_canvas
from dashboard.components.map_cell import cell_section, shown_cell, values_of
from dashboard.components.map_data import (
    COLOURS,
    cells_of,
    dimension_of,
    drawn_axis,
    facet_title,
    label_of,
    planes,
    pointed_out,
)
from dashboard.components.run_actions import export_buttons
from dashboard.components.session import free_name, literal, the_store
from engine import BrinkError
from studies import JobError
from studies.export import Origin
from studies.jobs import launch
from studies.maps import LARGEST, Map, cells_table, share_good
from studies.plans import describe
from studies.store_maps import MapRecord

POLL_SECONDS, MANY = 0.4, 3000
SMOOTH = 1.05
"""An edge is called rough if all of the interval of its dimension lies above this; 1 is a smooth line."""
LEAST_BRUSHED = 4
"""Cells of a rectangle below which it was a slip of the hand."""
READING = (
    "Each cell is a run, or the most frequent outcome of several seeds; all cells see the same data and start from the same "
    "noise. The line is the edge between learning (learning or solved, for at least half of the seeds) and not. While a map "
    "is trained, coarse cells are refined. **Drag a rectangle** to train it at the same resolution; **click a cell**, or "
    "move there with the arrow keys and press Enter, to see its run. ★ is the lowest loss; ◆ is the good cell farthest from "
    "the edge."
)
STATUS = {
    "waiting": "Starting …",
    "running": "Training …",
    "pausing": "Pausing …",
    "paused": "Paused.",
    "stopping": "Stopping …",
    "stopped": "Not at its end. What is trained is kept.",
    "failed": "Training failed.",
    "lost": "The training process is gone: it was killed, or the machine went down. What is trained is kept.",
}


def poll_seconds(record: MapRecord) -> float | None:
    """Return after how long a map is looked at again: a large one less often, because drawing it takes time from training."""
    return None if not record.job.is_live else POLL_SECONDS if record.job.n_runs < MANY else 3 * POLL_SECONDS


def map_results(map_id: str, polling: bool) -> None:
    """Show a map. As a fragment it runs again and again while its job is live."""
    if st.query_params.get("map") != map_id:
        st.rerun()  # the whole page: somebody zoomed
    try:
        record = the_store().map_record(map_id)
    except JobError:
        st.rerun()  # deleted in another tab: the whole page says so
    if record.job.is_live != polling:
        st.rerun()  # the whole page, which decides whether to poll
    with st.container():
        _status(record)
        if record.job.status == "stopping" and not _after_a_moment(record, lambda one: not one.job.is_live).job.is_live:
            st.rerun()  # the whole page says so
    with st.container():
        if problem := st.session_state.pop("map_problem", ""):
            st.error(literal(problem))
        if doubt := record.map.doubtful():
            st.warning(literal(doubt))
    with st.empty():
        if not record.n_done:
            st.caption("The first cells appear in a moment." if polling else "No cell of this map is trained.")
            record = _after_a_moment(record, lambda one: one.n_done or not one.job.is_live)
        if not record.n_done:
            return
        st.empty()
    cells = cells_of(record)
    one = record.map.shape[0] == 1
    picture, beside = st.columns([8, 5], gap="large") if one else (st.container(), st.container())
    with picture:
        _plane(record, cells)
    with beside:
        if place := shown_cell(record):
            cell_section(record, cells, place)
        else:
            _facts(record, cells)


def _after_a_moment(record: MapRecord, condition: Callable[[MapRecord], object]) -> MapRecord:
    """Wait until something is so, but not long, so that it is shown when it is so and not at the next poll."""
    ends = time.monotonic() + 2 * POLL_SECONDS
    while not condition(record) and time.monotonic() < ends:
        time.sleep(0.04)
        with contextlib.suppress(JobError):
            record = the_store().map_record(record.id)
    return record


def _status(record: MapRecord) -> None:
    """Show what a map's job is doing and how fast, and the one thing that can be done about it."""
    job = record.job
    if job.status == "finished":
        return
    with st.container(horizontal=True, vertical_alignment="center", key="status"):
        if not job.is_live:
            idle_line(job, STATUS)
            return
        speed = f", {job.runs_per_second:,.0f} runs/s, {job.seconds_left:.0f} s left" if job.rate else ""
        st.progress(min(1.0, job.progress), f"{STATUS[job.status]} {record.n_done:,} of {job.n_runs:,} runs{speed}")
        stopping = job.status == "stopping"
        st.button("Stop", key="stop", on_click=the_store().request_stop, args=(job.id,), disabled=stopping)


def _short_name(by: str) -> str:
    return {"share": "share that learns"}.get(by, COLOURS[by].replace("iterations to ", "time to "))


def _plane(record: MapRecord, cells: np.ndarray) -> None:
    """Draw the plane, below what its colours can mean."""
    names = [name for name in COLOURS if name != "share" or record.map.n_seeds > 1]
    options = {"format_func": _short_name, "bind": "query-params", "wrap": True}
    by = st.segmented_control("Colour", names, default="outcome", required=True, key="map_colour", **options)
    facets, legend = planes(record, cells, by, shown_cell(record))
    x, y = drawn_axis(record.map.x, record.map.size), drawn_axis(record.map.y, record.map.size)
    with st.container(horizontal=True):
        with st.popover("How to read this", type="tertiary"):
            st.markdown(READING)
        with st.popover("Export", type="tertiary", icon=":material/download:"):
            _export(record, cells, partial(map_svg, facets, x, y, legend, record.name, summary(record.map)))
    map_canvas(
        facets,
        x=x,
        y=y,
        legend=legend,
        key="map_plane",
        label=f"{COLOURS[by]} over {x.title} and {y.title}",
        view=record.id,
        height=520 if len(facets) == 1 else 380,
        on_click=_clicked,
        on_brush=_brushed,
    )


def _export(record: MapRecord, cells: np.ndarray, draw: Callable[[], str]) -> None:
    """Offer the plane as a picture and the cells as a table; all are made when they are asked for."""
    files = {"SVG": (lambda: draw().encode(), "image/svg+xml"), "PNG": (lambda: map_png(draw()), "image/png")}
    with st.container(horizontal=True):
        for name, (make, mime) in files.items():
            file = f"brink_map.{name.lower()}"
            st.download_button(f"Picture as {name}", make, file, mime, on_click="ignore", key=f"picture_{name}")
    st.caption("All trained cells as a table, one row for each run:")
    with st.container(horizontal=True):
        table = partial(cells_table, record.map, cells)
        export_buttons(table, record.n_done, "map", Origin.of_map(record), folded=False)


def summary(made: Map) -> str:
    """Return in one line what a map holds fixed, and how large it is."""
    _, ny, nx, n_seeds = made.shape
    closer = [float(1 / (side.stop - side.start)) for side in (made.x, made.y)]
    parts = [f"{nx} x {ny} cells", *([f"enlarged {closer[0]:.3g} x {closer[1]:.3g} times"] if max(closer) > 1 else [])]
    parts += [f"{n_seeds} seeds each" if n_seeds > 1 else "seed 1 everywhere"]
    parts += [f"a plane for each value of {label_of(made.facet)}"] if made.facet else []
    return " · ".join(filter(None, [*parts, describe(made.fixed, list(made.fixed))]))


def _clicked() -> None:
    event = st.session_state["map_plane"]["click"]
    if event and event["view"] == st.query_params.get("map"):
        st.query_params["cell"] = f"{event['facet']},{event['y']},{event['x']}"


def _brushed() -> None:
    event = st.session_state["map_plane"]["brush"]
    if not event or "x0" not in event:
        return
    (x0, x1), (y0, y1) = ((event[f"{side}0"], event[f"{side}1"]) for side in "xy")
    if (x1 - x0) * (y1 - y0) < LEAST_BRUSHED:
        return
    try:
        record = the_store().map_record(event["view"])
        train_child(record, record.map.zoomed(f"{root_name(record)} · zoom", (x0, x1), (y0, y1)))
    except (BrinkError, OSError) as error:
        st.session_state["map_problem"] = str(error)


def root_name(record: MapRecord) -> str:
    """Return the name of the map that a zoomed or refined one began with."""
    return record.name.split(" · ")[0]


def train_child(record: MapRecord, made: Map) -> None:
    """Train a map that was made from another one, or open it if it is there already."""
    store, maps = the_store(), the_store().maps()
    plain = dataclasses.replace(made, name="?")
    there = next((one for one in maps if dataclasses.replace(one.map, name="?", trained_here=False) == plain), None)
    if there is None:
        made = dataclasses.replace(made, name=free_name(made.name, {one.name for one in maps}))
        map_id = store.add_map(made, record.id)
        launch(store, store.map_record(map_id).job.id)
    st.query_params["map"] = there.id if there else map_id
    st.query_params.pop("cell", None)


def refine(record: MapRecord) -> None:
    """Train the same plane with twice as many cells along each side; those that are trained stay."""
    try:
        size = min(2 * record.map.size, LARGEST)
        train_child(record, dataclasses.replace(record.map, size=size, name=f"{root_name(record)} · {size} cells"))
    except (BrinkError, OSError) as error:
        st.session_state["map_problem"] = str(error)


def _facts(record: MapRecord, cells: np.ndarray) -> None:
    """Say what the map shows: how much of it learns, the best and the safest cell, and how rough the edge is."""
    if record.job.is_live:
        st.caption("Click a cell to see its run; drag a rectangle to train it closer. Both work while the map is trained.")
        return
    for facet in range(record.map.shape[0]):
        with st.container(border=True):
            name = f"**{literal(facet_title(record.map, facet))}**: " if record.map.facet else ""
            share = share_good(cells)[facet]
            trained, whole = share[~np.isnan(share)], not np.isnan(share).any()
            what = "of the plane learns." if whole else f"of the {trained.size:,} trained cells learns."
            st.markdown(f"{name}**{np.mean(trained >= 0.5):.1%}** {what}" if trained.size else f"{name}not trained yet.")
            for mark in pointed_out(record, cells, facet):
                place = facet, mark.y, mark.x
                with st.container(horizontal=True, vertical_alignment="center", gap="small"):
                    st.markdown(f"{mark.symbol} {literal(f'{mark.label}: {values_of(record.map, place)}')}", width="content")
                    st.button("See its run", key=f"open_{facet}_{mark.label}", type="tertiary", on_click=_open, args=(place,))
            _dimension(record, cells, facet)
    st.caption("Click a cell to see its run; drag a rectangle to train it closer.")


def _open(place: tuple[int, int, int]) -> None:
    st.query_params["cell"] = ",".join(map(str, place))


def _dimension(record: MapRecord, cells: np.ndarray, facet: int) -> None:
    found = dimension_of(record, cells, facet)
    if found.value is None:
        st.caption(literal(f"The edge's dimension is not told. {found.problem}"))
        return
    verdict = "rougher than a smooth line" if found.low > SMOOTH else "not to be told from a smooth line, which has 1"
    interval = f"{found.value:.2f} (95 %: {found.low:.2f} to {found.high:.2f})"
    st.markdown(literal(f"Box-counting dimension of the edge: {interval}, {verdict}."))
    chance = (
        "Half of the seeds decide, which takes chance out of single cells."
        if record.map.n_seeds > 1
        else "All cells have one seed; cells that learn by chance make it larger."
    )
    scales = f"Fitted over boxes of {found.fit_from:g} to {found.fit_to:g} cells"
    st.caption(literal(f"{scales}; it holds for these scales, this plane and this length of training. {chance}"))
