"""Studies as people see them: the list, and one study's charts, trials and steering."""

import pandas as pd
import streamlit as st

from dashboard.charts import studies as charts
from dashboard.charts.curves import READING as CURVE_READING
from dashboard.charts.curves import curve_chart
from dashboard.charts.outcomes import LOOKS, word
from dashboard.components.diagnosis import diagnosis_section
from dashboard.components.job_view import status_line
from dashboard.components.results import common_baseline, outcome_badge, run_details
from dashboard.components.session import literal, the_store
from engine import FIELDS, BrinkError
from studies import JobError
from studies.analysis import best_so_far, importances, on_the_front, trials_table
from studies.jobs import resume
from studies.objectives import OBJECTIVES
from studies.search import Choices
from studies.store_studies import Study

POLL_SECONDS = 1.0
MOST_CURVES = 1000
"""Runs whose learning curves are drawn: their bands hardly change with more."""


def studies_list(studies: list[Study]) -> None:
    """Show all studies; a click on a row opens one."""
    rows = [
        {
            "name": study.name,
            "state": study.job.status,
            "done": study.n_done / study.search.n_trials,
            "trials": study.search.n_trials,
            "sampler": study.search.sampler,
            "objective": ", ".join(study.search.objectives),
            "searched": ", ".join(study.search.space),
            "created": pd.Timestamp(study.created_at, unit="s", tz="UTC"),
        }
        for study in studies
    ]
    config = {
        "done": st.column_config.ProgressColumn("done", format="percent", min_value=0, max_value=1),
        "created": st.column_config.DatetimeColumn("created (UTC)", format="YYYY-MM-DD HH:mm"),
    }

    def open_one() -> None:
        picked = st.session_state["studies_table"]["selection"]["rows"]
        if picked and picked[0] < len(studies):
            st.query_params["study"] = studies[picked[0]].id

    st.dataframe(
        pd.DataFrame(rows),
        column_config=config,
        hide_index=True,
        on_select=open_one,
        selection_mode="single-row",
        key="studies_table",
        alt=f"table of {len(studies)} studies",
    )
    st.caption("Select a row to open the study.")


@st.cache_data(show_spinner=False, max_entries=20)
def _trials(url: str, study_id: str, n_done: int) -> pd.DataFrame:
    return trials_table(the_store(), the_store().study(study_id))


@st.cache_data(show_spinner=False, max_entries=20)
def _importances(url: str, study_id: str, n_done: int, objective: str) -> pd.Series:
    return importances(_trials(url, study_id, n_done), the_store().study(study_id), objective)


@st.cache_data(show_spinner=False, max_entries=10)
def _curves(url: str, job_id: str, n_done: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    runs = the_store().runs(job_id).head(MOST_CURVES)
    return runs, the_store().curves(list(runs["id"]))


def study_results(study_id: str, polling: bool) -> None:
    """Show a study. As a fragment it runs again and again while its job is live."""
    store = the_store()
    try:
        study = store.study(study_id)
    except JobError:
        st.rerun()  # deleted in another tab: the whole page says so
    if study.job.is_live != polling:
        st.rerun()  # the whole page, which decides whether to poll
    status_line(study.job)
    table = _trials(store.url, study.id, study.n_done)
    if table.empty:
        st.caption("The first trials appear in a moment." if study.job.is_live else "No trial of this study is done.")
        return
    with st.container(horizontal=True, gap="small"):
        counts = table["outcome"].value_counts()
        for outcome in (name for name in LOOKS if name in counts.index):
            outcome_badge(outcome, f"{word(outcome)} {counts[outcome]:,}")
        st.markdown(f"of {study.n_done:,} trials", width="content")
    objective = study.search.objectives[0]
    if len(study.search.objectives) > 1:
        objective = st.segmented_control(
            "Objective", study.search.objectives, default=objective, required=True, key="seen_objective"
        )
    _best(study, table, objective)
    _heading("History", "history")
    chart = charts.history_chart(table, objective, best_so_far(table[objective], objective))
    event = st.altair_chart(chart, key=f"history_{study.id}", on_select="rerun", selection_mode="pick", alt="values by trial")
    picked = event["selection"].get("pick") or []
    if caption := charts.thinned_caption(table):
        st.caption(caption)
    _settings_charts(study, table, objective)
    if len(study.search.objectives) > 1:
        _heading("Both objectives", "pareto")
        pair = study.search.objectives
        st.altair_chart(charts.pareto_chart(table, pair, on_the_front(table, pair)), alt="both objectives of all trials")
    _learning_curves(study)
    _trials_table(study, table, picked[0]["number"] if picked else None)


def _heading(text: str, reading: str) -> None:
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.markdown(f"**{text}**", width="content")
        with st.popover("How to read this", type="tertiary"):
            st.markdown(charts.READING[reading])


def _label(name: str) -> str:
    return FIELDS[name].label


def _best(study: Study, table: pd.DataFrame, objective: str) -> None:
    """Show the best trial's values."""
    minimize = OBJECTIVES[objective].direction == "minimize"
    best = table.loc[table[objective].idxmin() if minimize else table[objective].idxmax()]
    with st.container(horizontal=True):
        st.metric(f"best {charts.title(objective)}", f"{best[objective]:.4g}", width="content")
        for name in study.search.space:
            value = best[name]
            st.metric(_label(name), f"{value:.4g}" if isinstance(value, float) else str(value), width="content")


def _settings_charts(study: Study, table: pd.DataFrame, objective: str) -> None:
    """Show each setting's slice, and how much each decides."""
    _heading("One setting at a time", "slice")
    names = list(study.search.space)
    for start in range(0, len(names), 3):
        for column, name in zip(st.columns(3), names[start : start + 3], strict=False):
            with column:
                st.altair_chart(charts.slice_chart(table, name, objective, _label(name)), alt=f"{objective} by {name}")
    shares = _importances(the_store().url, study.id, study.n_done, objective)
    if len(shares) > 1:
        _heading("What decides", "importance")
        st.altair_chart(charts.importance_chart(shares), alt="importance of each setting")


def _learning_curves(study: Study) -> None:
    """Show the loss of all runs, as bands by outcome."""
    runs, curves = _curves(the_store().url, study.job.id, study.n_done)
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.markdown("**Learning curves**", width="content")
        with st.popover("How to read this", type="tertiary"):
            st.markdown(
                CURVE_READING["loss"] + " Many runs are drawn as the median and the band of the middle 80 % of each outcome."
            )
    if len(runs) == MOST_CURVES:
        st.caption(f"The first {MOST_CURVES:,} runs.")
    runs = runs.assign(run_id=runs["id"], label="run " + runs["number"].astype(str), color=runs["outcome"])
    baseline = common_baseline(runs)
    st.altair_chart(curve_chart(curves, runs, "loss", "loss", log=True, baseline=baseline), alt="loss of all runs of the study")


def _trials_table(study: Study, table: pd.DataFrame, clicked: int | None) -> None:
    """Show the trials as a table, and the run of the one that was clicked or selected."""
    names = [*study.search.objectives, *study.search.space]
    seeds = ["n_lost", "n", *_INTERVAL] if study.search.n_seeds > 1 else []
    shown = table[["number", "outcome", *names, *seeds]].copy()
    shown["outcome"] = shown["outcome"].map(word)
    config = {
        name: st.column_config.NumberColumn(charts.title(name), format="%.4g") for name in names if shown[name].dtype == float
    }
    config |= {"n_lost": "diverged", "n": "seeds"}
    config |= {name: st.column_config.NumberColumn(text, format="percent") for name, text in _INTERVAL.items()}
    event = st.dataframe(
        shown,
        column_config=config,
        hide_index=True,
        on_select="rerun",
        selection_mode="single-row",
        key=f"trials_{study.id}",
        height=300,
        alt=f"table of {len(shown)} trials",
    )
    rows = [row for row in event["selection"]["rows"] if row < len(table)]
    number = int(table["number"].iloc[rows[0]]) if rows else clicked
    if number is None:
        st.caption("Select a row, or click on a trial in the history, to look closer at its run.")
        return
    trial = table[table["number"] == number]
    if trial.empty:
        return
    run = the_store().run(trial["run_id"].iloc[0])
    st.subheader(f"Trial {number}", anchor=False)
    run_details(run)
    if not study.job.is_live:
        ids = [run["id"]]
        runs = the_store().runs(run_ids=ids)
        diagnosis_section(runs.assign(label=f"trial {number}"), run["id"])


_INTERVAL = {"lost_low": "diverged, from", "lost_high": "to (95 %)"}


def study_summary(study: Study) -> str:
    """Return what a study searches, in words."""
    parts = []
    for name, part in study.search.space.items():
        if isinstance(part, Choices):
            parts.append(f"{_label(name)} among {', '.join(map(str, part.values))}")
        else:
            parts.append(f"{_label(name)} from {part.low:g} to {part.high:g}{' (log)' if part.log else ''}")
    seeds = f", {study.search.n_seeds} seeds each" if study.search.n_seeds > 1 else ""
    return f"{study.search.sampler}, {study.search.n_trials:,} trials{seeds}: " + "; ".join(parts)


def _extend(study: Study) -> None:
    store = the_store()
    try:
        resume(store, store.extend_study(study.id, int(st.session_state["more_trials"])))
    except BrinkError as error:
        st.session_state["extend_problem"] = str(error)


def add_trials(study: Study) -> None:
    """Offer to go on with more trials."""
    st.number_input("More trials", 1, 100_000, value=study.search.n_trials, key="more_trials")
    st.button("Train them", type="primary", key="extend", on_click=_extend, args=(study,))
    if problem := st.session_state.pop("extend_problem", ""):
        st.markdown(f":red[{literal(problem)}]")


@st.dialog("Delete this study?")
def delete_study(study: Study) -> None:
    """Ask before deleting."""
    n_runs = len(the_store().runs(study.job.id))
    st.markdown(
        literal(
            f"{study.name}: {study.n_done:,} trials, {n_runs:,} runs with curves and notes, and the study in Optuna's tables."
        )
        + " This cannot be undone."
    )
    with st.container(horizontal=True):
        if st.button("Delete it", type="primary", key="delete_study_for_good"):
            the_store().delete_study(study.id)
            st.query_params.pop("study", None)
            st.rerun()
        if st.button("Keep it"):
            st.rerun()
