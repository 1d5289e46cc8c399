"""Make, watch and steer searches."""

import streamlit as st

from dashboard.components.session import literal, the_store
from dashboard.components.study_form import set_form, study_form
from dashboard.components.study_view import POLL_SECONDS, add_trials, delete_study, studies_list, study_results, study_summary
from studies import JobError
from studies.jobs import prepare


def close() -> None:
    """Go back to the list."""
    st.query_params.pop("study", None)


study = None
if "study" in st.query_params:
    try:
        study = the_store().study(st.query_params["study"])
    except JobError:
        st.warning("The study in this address does not exist any more; here are the others.")
        close()
if study is None:
    prepare(the_store())
    studies = the_store().studies()
    st.header("Studies", anchor=False)
    st.markdown(
        "A study lets a sampler propose settings, trains them by the population, and keeps every trial, the diverged ones too."
    )
    if studies:
        studies_list(studies)
    with st.expander("New study", expanded=not studies, icon=":material/add:"):
        study_form()
else:
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button("All studies", icon=":material/arrow_back:", on_click=close)
        st.button(
            "Fork",
            icon=":material/fork_right:",
            on_click=lambda: (set_form(study.search), close()),
            help="Change and start anew.",
        )
        if not study.job.is_live:
            with st.popover("Add trials"):
                add_trials(study)
            if st.button("Delete …", key="delete_study"):
                delete_study(study)
    st.header(literal(study.name), anchor=False)
    st.caption(literal(study_summary(study)))
    st.fragment(study_results, run_every=POLL_SECONDS if study.job.is_live else None)(study.id, study.job.is_live)
