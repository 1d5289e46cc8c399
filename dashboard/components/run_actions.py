"""What can be done with selected runs."""

import contextlib
from collections.abc import Callable
from functools import partial

import pandas as pd
import streamlit as st

from dashboard.components.diagnosis import advice_lines, diagnosis_section
from dashboard.components.results import color_choice, common_baseline, curve_charts, labelled, outcome_counts, run_details
from dashboard.components.session import literal, the_store
from engine import BrinkError
from studies.export import FORMATS, TENSORBOARD, Format, Origin, curves_to_csv, export
from studies.export_tables import file_name

MOST_OVERLAID = 500
MOST_PRINTED, MOST_IN_SHEETS, MOST_IN_EVENTS = 5000, 1000, 5000
"""Rows that are offered for people to read; runs whose curves are offered for Excel, which takes them point by point, and for
TensorBoard, which has a file for each."""


def export_buttons(
    table: Callable[[], pd.DataFrame],
    n_rows: int,
    what: str,
    origin: Origin,
    curves: Callable[[pd.Series], pd.DataFrame] | None = None,
    directions: dict[str, str] | None = None,
    folded: bool = True,
    prefix: str = "export",
) -> None:
    """Offer a table in all formats; table and files are made when they are asked for.

    Parameters
    ----------
    what : str
        For the files' names.
    curves : callable, optional
        Returns curves of runs by their ids; without it curves are not offered.
    directions : dict of str to str, optional
        Whether to minimize or maximize a study's objectives.
    folded : bool
        Whether all but CSV and JSON are behind a button; not where the buttons are behind one already.
    prefix : str
        Of the buttons' keys, where a page offers several tables.
    """

    def button(form: Format, label: str, make: Callable[[], bytes], key: str, name: str = what) -> None:
        file = file_name(name, origin.name, form.ending)
        options = {"mime": form.mime, "on_click": "ignore", "key": f"{prefix}_{key}", "icon": ":material/download:"}
        st.download_button(label, make, file, **options)

    def plain_button(kind: str) -> None:
        form = FORMATS[kind]
        button(form, f"{form.title} ({n_rows:,})", lambda: export(kind, table(), origin, directions=directions), form.title)

    def with_curves(kind: str) -> bytes:
        runs = table()
        found = curves(runs["id"])
        if kind == "csv":
            return curves_to_csv(found, origin.of(runs))
        return TENSORBOARD.write(runs, origin, found) if kind == "events" else export(kind, runs, origin, found)

    for kind in ("csv", "json"):
        plain_button(kind)
    more = st.popover("More formats", icon=":material/download:") if folded else contextlib.nullcontext()
    with more, st.container(horizontal=True) if folded else contextlib.nullcontext():
        for kind in ("parquet", "xlsx", "md", "tex"):
            if n_rows <= MOST_PRINTED or FORMATS[kind].read:
                plain_button(kind)
    if curves is None:
        return
    with more:
        asked = st.toggle("With curves", key="export_with_curves")
    with more, st.container(horizontal=True):
        for kind in ("csv", "json", "parquet", "xlsx") if asked else ():
            if kind != "xlsx" or n_rows <= MOST_IN_SHEETS:
                label = f"{FORMATS[kind].title} with curves" if kind != "csv" else "Curves alone as CSV"
                button(FORMATS[kind], label, partial(with_curves, kind), f"curves_{kind}", f"{what}_curves")
        if asked and n_rows <= MOST_IN_EVENTS:
            button(TENSORBOARD, "For TensorBoard", partial(with_curves, "events"), "curves_events", f"{what}_tensorboard")


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
