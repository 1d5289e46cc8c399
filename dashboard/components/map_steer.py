"""What people can do with a map: refine it, change it, rename it, delete it, and go back to where they zoomed in."""

import contextlib
from collections.abc import Callable

import streamlit as st

from dashboard.components.map_view import refine, root_name
from dashboard.components.session import literal, the_store
from engine import BrinkError
from studies import JobError
from studies.maps import LARGEST, Map
from studies.store_maps import MapRecord


def breadcrumb(record: MapRecord) -> None:
    """Show the maps that this one was zoomed out of, the first one first."""
    path, store = [], the_store()
    parent = record.parent_id
    with contextlib.suppress(JobError):  # one that was deleted ends the path
        while parent:
            path.insert(0, store.map_record(parent))
            parent = path[0].parent_id
    if not path:
        return
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="breadcrumb"):
        for one in path:
            name = one.name.removeprefix(f"{root_name(one)} · ")
            st.button(literal(name), key=f"to_{one.id}", type="tertiary", on_click=_go, args=(one.id,), help=literal(one.name))
            st.markdown("›", width="content")


def _go(map_id: str) -> None:
    st.query_params["map"] = map_id
    st.query_params.pop("cell", None)


def steer_bar(record: MapRecord, fork: Callable[[Map], None]) -> None:
    """Show what can be done with a map."""
    made = record.map
    if made.size < LARGEST and not (made.x.values and made.y.values):
        text = f"Refine to {min(2 * made.size, LARGEST)}"
        st.button(text, icon=":material/grid_on:", key="refine", on_click=refine, args=(record,), help=REFINE_NOTE)
    with st.popover("More", icon=":material/more_horiz:", key="map_more", on_change="rerun"):
        st.button("Change it and train anew", icon=":material/fork_right:", key="fork", on_click=fork, args=(made,))
        st.download_button(
            "Map as JSON",
            made.to_json(),
            "brink_map.json",
            "application/json",
            on_click="ignore",
            key="map_json",
            icon=":material/download:",
            help="For python -m studies map --file brink_map.json",
        )
        with st.form("map_name_form"):
            name = st.text_input("Name", value=record.name)
            if st.form_submit_button("Save name"):
                try:
                    the_store().rename_map(record.id, name)
                    st.rerun()
                except BrinkError as error:
                    st.error(literal(str(error)))
        if record.job.is_live:
            st.caption("Stop it to delete it.")
        elif st.button("Delete …", key="delete_map", icon=":material/delete:", on_click=_close_more):
            _delete(record)


def _close_more() -> None:
    st.session_state["map_more"] = False  # it would lie over the dialog


REFINE_NOTE = "Twice as many cells along each side; those that are trained are kept."


@st.dialog("Delete map?")
def _delete(record: MapRecord) -> None:
    """Ask before deleting."""
    st.markdown(f"{literal(record.name)}, with {record.n_done:,} trained runs. Maps zoomed out of it stay.")
    with st.container(horizontal=True):
        if st.button("Delete it", type="primary", key="delete_map_for_good"):
            the_store().delete_map(record.id)
            for name in ("map", "cell", "map_colour"):
                st.query_params.pop(name, None)
            st.rerun()
        if st.button("Keep it"):
            st.rerun()
