"""The list of maps, each with a small picture, and maps to start with one click."""

import base64
import statistics

import numpy as np
import pandas as pd
import streamlit as st

from dashboard.charts.map_image import raster
from dashboard.charts.maps import legend_colors, outcome_legend
from dashboard.components.map_data import label_of
from dashboard.components.session import free_name, the_store
from engine import OUTCOMES, BrinkError, rough_seconds
from studies.jobs import launch, n_cores
from studies.maps import TEMPLATES, Map, lattice, middle
from studies.store_maps import MapRecord

LOOKED_AT = 50
"""Runs, spread over all, that say how long a map takes."""
SMALL = 64
"""Cells along a side of a small picture, at most."""


def seconds_of(made: Map) -> float:
    """Return about how long a map takes on this machine."""
    some = range(0, made.n_runs, max(1, made.n_runs // LOOKED_AT))
    return statistics.fmean(rough_seconds(made.config(number)) for number in some) * made.n_runs / n_cores()


def train_map(made: Map) -> None:
    """Train a map in a process of its own and show it; another one may have its name."""
    store = the_store()
    try:
        map_id = store.add_map(made)
        launch(store, store.map_record(map_id).job.id)
        st.query_params["map"] = map_id
    except (BrinkError, OSError) as error:
        st.session_state["map_problem"] = str(error)


def offers() -> None:
    """Offer maps that are trained with one click."""
    taken = {record.name for record in the_store().maps()}
    with st.container(horizontal=True):
        for number, (key, parts) in enumerate(TEMPLATES.items()):
            made = Map(**parts | {"name": free_name(parts["name"], taken)})
            kind = "secondary" if number else "primary"
            about = f"{made.n_runs:,} runs, about {seconds_of(made):.0f} s; a first picture at once"
            st.button(parts["name"], key=f"offer_{key}", type=kind, on_click=train_map, args=(made,), help=about)


def maps_list(polling: bool) -> None:
    """Show all maps; a click on a row opens one. As a fragment it runs again and again while one is being trained."""
    records = the_store().maps()
    if "map" in st.query_params:
        st.rerun()  # the whole page, which shows the one that was opened
    if any(record.job.is_live for record in records) != polling:
        st.rerun()  # the whole page, which decides whether to poll
    names = {record.id: record.name for record in records}
    rows = [_row(record, names) for record in records]
    config = {
        "picture": st.column_config.ImageColumn("", width="small"),
        "done": st.column_config.ProgressColumn("done", format="percent", min_value=0, max_value=1),
        "runs": st.column_config.NumberColumn("runs", format="localized"),
        "created": st.column_config.DatetimeColumn("created (UTC)", format="YYYY-MM-DD HH:mm"),
    }

    def open_one() -> None:
        picked = st.session_state["maps_table"]["selection"]["rows"]
        if picked and picked[0] < len(records):
            st.query_params["map"] = records[picked[0]].id

    st.dataframe(
        pd.DataFrame(rows),
        column_config=config,
        hide_index=True,
        on_select=open_one,
        selection_mode="single-row",
        row_height=64,
        key="maps_table",
        alt=f"table of {len(rows)} maps",
    )
    st.caption("Select a row to open the map.")


def _row(record: MapRecord, names: dict[str, str]) -> dict:
    made = record.map
    return {
        "picture": _picture(record.id, record.n_blocks, record),
        "name": record.name,
        "state": record.job.status,
        "done": record.n_done / made.n_runs,
        "runs": made.n_runs,
        "across": label_of(made.x.setting),
        "up": label_of(made.y.setting),
        "planes": f"{len(made.facet_values)}: {label_of(made.facet)}" if made.facet else "",
        "made from": names.get(record.parent_id, ""),
        "created": pd.Timestamp(record.created_at, unit="s", tz="UTC"),
    }


@st.cache_resource(show_spinner=False, max_entries=300)
def _picture(map_id: str, n_blocks: int, _record: MapRecord) -> str:
    """Return the first plane of a map, small, as the address of a picture."""
    cells = the_store().cells(map_id)[:1]
    cells = cells[:, :: -(-cells.shape[1] // SMALL), :: -(-cells.shape[2] // SMALL)]
    trained = (cells["outcome"] > 0).all(axis=-1)
    rows, columns, known = lattice(trained)
    colors = np.where(known, middle(cells, "outcome")[0][rows, columns], 0)[0].astype(np.uint8)
    repeat = tuple(-(-SMALL // n) for n in reversed(colors.shape))
    picture = raster(colors, legend_colors(outcome_legend(list(OUTCOMES))), repeat)
    return "data:image/png;base64," + base64.b64encode(picture).decode()
