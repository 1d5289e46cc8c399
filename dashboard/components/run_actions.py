"""What can be done with selected runs."""

from collections.abc import Callable
from functools import partial

import pandas as pd
import streamlit as st

from dashboard.components.diagnosis import advice_lines, diagnosis_section
from dashboard.components.results import color_choice, common_baseline, curve_charts, labelled, outcome_counts, run_details
from dashboard.components.session import literal, the_store
from engine import BrinkError
from studies.export import to_csv, to_json

MOST_OVERLAID = 500


def export_buttons(table: Callable[[], pd.DataFrame], n_rows: int, what: str = "runs") -> None:
    """Offer a table as CSV and JSON; table and file are made when they are asked for."""
    for name, make, mime in (("CSV", to_csv, "text/csv"), ("JSON", to_json, "application/json")):
        st.download_button(
            f"{name} ({n_rows:,})",
            data=lambda make=make: make(table()),
            file_name=f"brink_{what}.{name.lower()}",
            mime=mime,
            on_click="ignore",
            key=f"export_{name}",
            icon=":material/download:",
        )


def overlay(runs: pd.DataFrame) -> None:
    """Lay the curves of runs over each other."""
    if len(runs) > MOST_OVERLAID:
        st.info(f"Curves are drawn for up to {MOST_OVERLAID} runs; here are the first of the {len(runs):,} selected.")
    runs = labelled(runs.head(MOST_OVERLAID))
    outcome_counts(runs)
    by = color_choice(runs, "runs_color_by")
    first = the_store().run(runs["id"].iloc[0])
    baseline = common_baseline(runs)
    why = partial(advice_lines, first, None) if len(runs) == 1 else lambda: None
    curve_charts(runs, the_store().curves(list(runs["id"])), by, baseline, "runs", why)
    if len(runs) == 1:
        run_details(first, judged=False)
        diagnosis_section(runs, first["id"])
    ids = ",".join(runs["id"].head(50))
    st.page_link(
        "views/experiment.py",
        label="Open as an experiment" if len(runs) == 1 else "Lay these over an experiment",
        query_params={"job": first["job_id"], "with": ids},
        icon=":material/experiment:",
    )


def name_form(run: pd.Series) -> None:
    """Let people give a run a name and a note."""
    if st.session_state.pop("name_saved", False):
        st.toast("Name and note saved.")
    with st.form(f"name_{run['id']}"):
        name = st.text_input("Name", value=run["name"])
        note = st.text_area("Note", value=run["note"])
        if st.form_submit_button("Save name and note"):
            try:
                the_store().name_run(run["id"], name, note)
            except BrinkError as error:
                st.error(literal(str(error)))
            else:
                st.session_state["name_saved"] = True  # said after the rerun, which may swallow a toast
                st.rerun()


@st.dialog("Delete runs?")
def delete_dialog(run_ids: list[str]) -> None:
    """Ask before deleting."""
    count = f"{len(run_ids):,} run" + ("s" if len(run_ids) > 1 else "")
    st.markdown(f"{count}, with curves, worked examples, names and notes. This cannot be undone.")
    with st.container(horizontal=True):
        if st.button(f"Delete {count}", type="primary", key="delete_for_good"):
            the_store().delete_runs(run_ids)
            st.session_state["runs_version"] = st.session_state.get("runs_version", 0) + 1  # forgets the selection
            st.rerun()
        if st.button("Keep them"):
            st.rerun()
