"""All saved runs: filter, sort, select, overlay, name, delete, export."""

import streamlit as st

from dashboard.components.compare_view import compare_button
from dashboard.components.run_actions import delete_dialog, export_buttons, name_form, overlay
from dashboard.components.run_filter import filter_controls, filtered, in_words
from dashboard.components.run_table import run_table
from dashboard.components.session import the_store
from studies.export import Origin

table = the_store().runs()
st.header("Runs", anchor=False)
if table.empty:
    st.markdown("No run is saved yet. Every training is kept here by itself: start one on the Experiment page.")
    st.page_link("views/experiment.py", label="Go to the experiment", icon=":material/experiment:")
    st.stop()

rules = filter_controls(table)
shown = filtered(table, rules)
if shown.empty:
    st.info("No run meets these filters. Widen or remove one.")
    st.stop()
chosen = run_table(shown)
picked = shown[shown["id"].isin(chosen)]
with st.container(horizontal=True, vertical_alignment="center"):
    what = f"{len(picked):,} of {len(shown):,} selected" if len(picked) else f"{len(shown):,} of {len(table):,} runs shown"
    st.markdown(what, width="content")
    exported = picked if len(picked) else shown
    words = " and ".join(filter(None, [in_words(rules), "selected by hand" if len(picked) else ""]))
    export_buttons(lambda: exported, len(exported), "runs", Origin("runs", filter=words), the_store().curves)
    compare_button(exported)
    if len(picked) and st.button("Delete …", key="delete"):
        delete_dialog(list(picked["id"]))
if len(picked):
    overlay(picked)
    if len(picked) == 1:
        name_form(picked.iloc[0])
else:
    st.caption("Select rows to lay their curves over each other, to name, compare, delete or export them.")
