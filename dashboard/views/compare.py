"""Compare saved studies and groups of runs."""

import streamlit as st

from dashboard.components.compare_view import pick, show, things

st.header("Compare", anchor=False)
if not things():
    st.markdown(
        "Nothing to compare yet. Train something on the Experiment page with several seeds, such as three activations with "
        "seeds 1-5, or make a study; then come back."
    )
    st.page_link("views/experiment.py", label="To the experiments", icon=":material/experiment:")
else:
    keys, by, metric = pick()
    if keys:
        show(keys, by, metric)
    else:
        st.markdown(
            "Choose saved studies or experiments, or select runs on the Runs page. An experiment with several values of a "
            "setting is cut into groups: is relu better than tanh, and by how much? Seeds that both have are compared in pairs."
        )
