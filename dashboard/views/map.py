"""Train planes of runs, see where training works, and zoom into its edge."""

import streamlit as st

from dashboard.components.map_form import map_form, set_map_form
from dashboard.components.map_list import maps_list, offers
from dashboard.components.map_steer import breadcrumb, steer_bar
from dashboard.components.map_view import POLL_SECONDS, map_results, poll_seconds, summary
from dashboard.components.session import literal, the_store
from studies import JobError
from studies.jobs import prepare
from studies.maps import Map


def close() -> None:
    """Go back to the list."""
    for name in ("map", "cell", "map_colour"):
        st.query_params.pop(name, None)


def fork(made: Map) -> None:
    """Fill the form with a map."""
    set_map_form(made)
    st.session_state["map_form_open"] = True
    close()


record = None
if "map" in st.query_params:
    try:
        record = the_store().map_record(st.query_params["map"])
    except JobError:
        st.warning("The map in this address does not exist any more; here are the others.")
        close()
if record is None or not record.job.is_live:
    prepare(the_store())
if record is None:
    records = the_store().maps()
    st.header("Map of trainability", anchor=False)
    st.markdown(
        "Thousands of networks on a plane of two settings, each cell one of them: where they learn, stall or blow up. "
        "Zoom into the edge, and click a cell to see its run. One click trains one of these:"
    )
    if problem := st.session_state.pop("map_problem", ""):
        st.error(literal(problem))
    offers()
    if records:
        live = any(record.job.is_live for record in records)
        st.fragment(maps_list, run_every=2 * POLL_SECONDS if live else None)(live)
    with st.expander("A map of your own", expanded=st.session_state.pop("map_form_open", False), icon=":material/add:"):
        map_form()
else:
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button("All maps", icon=":material/arrow_back:", on_click=close)
        steer_bar(record, fork)
    breadcrumb(record)
    st.header(literal(record.name), anchor=False)
    st.caption(literal(summary(record.map)))
    st.fragment(map_results, run_every=poll_seconds(record))(record.id, record.job.is_live)
