"""One trial of a study, closely: its run, why it ended so, and what to do next."""

import pandas as pd
import streamlit as st

from dashboard.charts.outcomes import LOOKS
from dashboard.components.diagnosis import diagnosis_section
from dashboard.components.results import outcome_badge, run_details
from dashboard.components.session import literal, the_store
from dashboard.components.study_data import label_of
from dashboard.components.study_steer import start_near
from engine import RunConfig
from studies import Plan, StoreError
from studies.jobs import start
from studies.plans import spell_value
from studies.store_studies import Study

OTHER_SEEDS = 10


def shown_trial(table: pd.DataFrame) -> int | None:
    """Return the trial that the address names, if there is one."""
    number = st.query_params.get("trial", "")
    return int(number) if number.isdecimal() and (table["number"] == int(number)).any() else None


def close_trial() -> None:
    """Look closer at none; charts forget the click, or the same mark could not be clicked again."""
    st.query_params.pop("trial", None)
    st.session_state["study_nonce"] = st.session_state.get("study_nonce", 0) + 1


def trial_section(study: Study, table: pd.DataFrame) -> None:
    """Show the trial that was clicked or selected last, if any, in a place that is always there."""
    number = shown_trial(table)
    with st.container():
        if number is not None:
            _closer(study, table, number)


def _closer(study: Study, table: pd.DataFrame, number: int) -> None:
    row = table[table["number"] == number].iloc[0]
    with st.container(border=True, key="trial"):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.subheader(f"Trial {number}", anchor=False, width="content")
            if row["outcome"] in LOOKS:
                outcome_badge(row["outcome"])
            if row["state"] == "pruned":
                st.badge("pruned before its end", color="gray")
            st.button("Close", key="close_trial", on_click=close_trial, type="tertiary", icon=":material/close:")
        params = the_store().trial(study.id, number).params
        st.markdown(literal(" · ".join(f"{label_of(name)} {_short(value)}" for name, value in params.items())))
        objectives = ", ".join(f"{name.replace('_', ' ')} {row[name]:.4g}" for name in study.search.objectives)
        seeds = f"; {row['n_lost']} of {row['n']} seeds diverged or overflowed" if row["n"] > 1 else ""
        st.markdown(literal(objectives + seeds))
        run_id = _run_of(study, row)
        if run_id:
            _run(study, run_id, params)
        elif study.job.kind == "search":
            st.caption("Its runs were deleted.")


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else spell_value(value)


def _run_of(study: Study, row: pd.Series) -> str | None:
    """Return the id of one of the trial's runs; where it has several seeds, people choose."""
    n_seeds, ids = study.search.n_seeds, None
    if n_seeds == 1:
        return row["run_id"]
    ids = the_store().run_ids(study.job.id)
    first = int(row["number"]) * n_seeds
    found = {seed: ids[first + i] for i, seed in enumerate(study.search.seeds) if first + i in ids}
    if not found:
        return None
    seed = st.segmented_control("Seed", list(found), default=next(iter(found)), required=True, key=f"seed_{row['number']}")
    return found[seed]


def _run(study: Study, run_id: str, params: dict) -> None:
    try:
        run = the_store().run(run_id)
    except StoreError:
        return  # deleted this moment
    with st.container(horizontal=True, vertical_alignment="bottom"):
        if st.button(f"Train with {OTHER_SEEDS} other seeds", icon=":material/casino:", key="other_seeds"):
            first = study.search.n_seeds + 1
            config = RunConfig(**run["config"])
            _train(Plan(Plan.of_config(config).axes | {"seed": list(range(first, first + OTHER_SEEDS))}))
        st.button("Try values near it", icon=":material/my_location:", key="near", on_click=start_near, args=(study, params))
    run_details(run, train=lambda config: _train(Plan.of_config(config)))
    if job_id := st.session_state.pop("train_beside", None):
        st.switch_page("views/experiment.py", query_params={"job": job_id})
    if not study.job.is_live:
        runs = the_store().runs(run_ids=[run_id])
        diagnosis_section(runs.assign(label=f"trial {run['number'] // study.search.n_seeds}"), run_id)


def _train(plan: Plan) -> None:
    """Train a plan, and show it on the page of experiments with the next run of this one."""
    st.session_state["train_beside"] = start(the_store(), plan)
