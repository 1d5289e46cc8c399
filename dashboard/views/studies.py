"""Make, watch and steer searches."""

import streamlit as st

from dashboard.components.session import literal, the_store
from dashboard.components.study_form import set_form, study_form
from dashboard.components.study_list import import_form, studies_list
from dashboard.components.study_steer import steer_bar, study_summary
from dashboard.components.study_view import POLL_SECONDS, study_results
from studies import JobError
from studies.jobs import prepare
from studies.store_studies import Study


def close() -> None:
    """Go back to the list."""
    for name in ("study", "trial", "view"):
        st.query_params.pop(name, None)


def fork(study: Study) -> None:
    """Fill the form with a study's search."""
    set_form(study.search)
    close()


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
        live = any(study.job.is_live for study in studies)
        st.fragment(studies_list, run_every=POLL_SECONDS if live else None)(live)
    with st.expander("New study", expanded=not studies, icon=":material/add:"):
        study_form()
    with st.expander("Import an archive, or from Optuna", icon=":material/upload_file:"):
        import_form()
else:
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button("All studies", icon=":material/arrow_back:", on_click=close)
        steer_bar(study, fork)
    st.header(literal(study.name), anchor=False)
    st.caption(literal(study_summary(study)))
    if study.note or study.tags:
        st.markdown(literal(" · ".join(filter(None, [study.tags, study.note]))))
    st.fragment(study_results, run_every=POLL_SECONDS if study.job.is_live else None)(study.id, study.job.is_live)
