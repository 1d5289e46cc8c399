"""The entry point: says which pages there are, and nothing else."""

import streamlit as st

PAGES = {
    "experiment": st.Page("views/experiment.py", title="Experiment", icon=":material/experiment:", default=True),
    "studies": st.Page("views/studies.py", title="Studies", icon=":material/travel_explore:"),
    "map": st.Page("views/map.py", title="Map", icon=":material/map:"),
    "compare": st.Page("views/compare.py", title="Compare", icon=":material/compare_arrows:"),
    "runs": st.Page("views/runs.py", title="Runs", icon=":material/table_rows:"),
}

st.set_page_config(page_title="Brink", page_icon="📉", layout="wide")
st.navigation(list(PAGES.values()), position="top").run()
