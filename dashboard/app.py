"""The entry point: says which pages there are, and nothing else."""

import streamlit as st

from dashboard.components.session import warm_up

PAGES = {
    "experiment": st.Page("pages/experiment.py", title="Experiment", icon=":material/experiment:", default=True),
    "runs": st.Page("pages/runs.py", title="Runs", icon=":material/table_rows:"),
}

st.set_page_config(page_title="Brink", page_icon="📉", layout="wide")
warm_up()
st.navigation(list(PAGES.values()), position="top").run()
