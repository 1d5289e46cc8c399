"""One study's charts and trials, in views of which only the chosen one is drawn. What is selected in one is selected in all."""

import time
from collections.abc import Callable
from functools import partial

import altair as alt
import pandas as pd
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from dashboard.charts import studies as charts
from dashboard.charts import trials as more
from dashboard.charts.curves import READING as CURVE_READING
from dashboard.charts.curves import curve_chart
from dashboard.charts.marks import brushed
from dashboard.charts.outcomes import LOOKS, word
from dashboard.components.chart_view import draw, heading, offer
from dashboard.components.results import common_baseline, outcome_badge
from dashboard.components.run_actions import export_buttons
from dashboard.components.session import draws_what_is_there, literal, the_store
from dashboard.components.study_data import (
    BAND_RUNS,
    best_trial,
    curves_of,
    density_of,
    importances_of,
    label_of,
    surface_of,
    trials_of,
)
from dashboard.components.study_steer import status_line
from dashboard.components.study_trial import shown_trial, trial_section
from studies.analysis import best_so_far, chunks_table, on_the_front
from studies.export import Origin
from studies.store_studies import Study

POLL_SECONDS = 1.0
FEWER_DIGITS = 5000
"""From so many trials on the table on the page has seven digits; files have all."""
READING = {**charts.READING, **more.READING, "curves": CURVE_READING["loss"] + " Many runs are the median and the middle 80 %."}
_INTERVAL = {"lost_low": "diverged, from", "lost_high": "to (95 %)"}


@draws_what_is_there
def study_results(study_id: str, polling: bool) -> None:
    """Show a study. As a fragment it runs again and again while its job is live."""
    study = the_store().study(study_id)
    if study.job.is_live != polling:
        st.rerun()  # the whole page, which decides whether to poll
    status_line(study)
    with st.container():
        if problem := st.session_state.pop("steer_problem", ""):
            st.error(literal(problem))
    table = trials_of(study)
    if table.empty:
        st.caption("The first trials appear in a moment." if study.job.is_live else "No trial of this study is done.")
        return
    selected = _selected(study, table)
    objective = _head(study, table)
    views = {name: view for name, view in VIEWS.items() if study.job.kind == "search" or name != "Curves"}
    view = st.segmented_control(
        "View", list(views), default="Overview", required=True, key="view", bind="query-params", label_visibility="collapsed"
    )
    with st.container(horizontal=True, vertical_alignment="center"):  # always there: charts that move are drawn anew
        if selected:
            st.markdown(f"**{len(selected):,} trials selected** in all charts and in the table", width="content")
            st.button("Clear", key="clear_selection", type="tertiary", icon=":material/deselect:", on_click=_clear)
            table = table.assign(selected=table["number"].isin(selected))
        else:
            st.caption("Drag over marks to select trials in all charts; click on one to look closer at its run.")
    views[view](study, table, objective)


def _head(study: Study, table: pd.DataFrame) -> str:
    """Show how trials ended and the best one; return which objective is looked at."""
    with st.container(horizontal=True, gap="small", vertical_alignment="center"):
        counts = table["outcome"].value_counts()
        for outcome in (name for name in LOOKS if name in counts.index):
            outcome_badge(outcome, f"{word(outcome)} {counts[outcome]:,}")
        n_pruned = int((table["state"] == "pruned").sum())
        st.markdown(f"of {len(table):,} trials" + (f", {n_pruned:,} pruned" if n_pruned else ""), width="content")
    objective = study.search.objectives[0]
    if len(study.search.objectives) > 1:
        objective = st.segmented_control(
            "Objective", study.search.objectives, default=objective, required=True, key="seen_objective"
        )
    best = best_trial(study, table, objective)
    if best is None:
        return objective
    with st.container(horizontal=True):
        st.metric(f"best {charts.title(objective)}", f"{best[objective]:.4g}", width="content")
        for name in study.search.space:
            value = best[name]
            text = "none" if pd.isna(value) else f"{value:.4g}" if isinstance(value, float) else str(value)
            st.metric(label_of(name), text, width="content")
    return objective


def _selected(study: Study, table: pd.DataFrame) -> list[int]:
    """Return the trials that people selected, unless they belong to another study."""
    owner, numbers, _ = st.session_state.get("selected_trials", ("", [], ""))
    return numbers if owner == study.id else []


def _clear() -> None:
    st.session_state.pop("selected_trials", None)
    st.session_state["study_nonce"] = st.session_state.get("study_nonce", 0) + 1  # charts forget their brushes


def _selecting(study: Study, table: pd.DataFrame, name: str, fields: dict[str, str] | None = None) -> dict:
    """Return options of a chart of trials: a click picks one, a brush selects some; `fields` are the brush's, by column."""
    key = f"{name}_{study.id}_{st.session_state.get('study_nonce', 0)}"
    return {"key": key, "on_select": partial(_take, study.id, table, key, fields or {})}


def _origin(study: Study, table: pd.DataFrame | None = None) -> Origin:
    """Return the origin of a chart; with the table of one in which trials are faded, of which."""
    table = trials_of(study) if table is None else table
    words = f"{table['selected'].sum():,} trials selected, the others faded" if "selected" in table else ""
    return Origin.of_study(study, words).of(table)


def _take(study_id: str, table: pd.DataFrame, key: str, fields: dict[str, str]) -> None:
    """Note what was clicked or brushed in a chart."""
    event = st.session_state[key]["selection"]
    picked = next((row.get("number") for row in event.get("pick") or []), None)
    if picked is not None and picked != st.session_state.get(f"picked_{key}"):
        st.session_state[f"picked_{key}"] = picked
        st.query_params["trial"] = str(int(picked))
    owner, _, source = st.session_state.get("selected_trials", ("", [], ""))
    if event.get("brush"):
        st.session_state["selected_trials"] = (study_id, brushed(table, event["brush"], fields), key)
    elif (owner, source) == (study_id, key):
        st.session_state.pop("selected_trials")


def _heading(text: str, reading: str) -> DeltaGenerator:
    return heading(text, READING[reading])


def _caption(text: str) -> None:
    if text:
        st.caption(text)


def _overview(study: Study, table: pd.DataFrame, objective: str) -> None:
    row, origin = _heading("History", "history"), partial(_origin, study, table)
    best = best_so_far(table[objective].where(table["state"] == "complete"), study.search.direction(objective)).ffill()
    n_trials = None if study.search.seconds else study.n_trials
    chart = charts.history_chart(table, objective, best, n_trials)
    options = _selecting(study, table, "history", {"number": "number", "value": objective})
    draw(row, chart, "history", origin, alt="values by trial", **options)
    _caption(charts.thinned_caption(table))
    trial_section(study, table)
    if len(study.search.objectives) > 1:
        row = _heading("Both objectives", "pareto")
        first, second = study.search.objectives
        front = on_the_front(table, {name: study.search.direction(name) for name in study.search.objectives})
        chart = charts.pareto_chart(table, (first, second), front)
        options = _selecting(study, table, "pareto", {"first": first, "second": second})
        draw(row, chart, "both objectives", origin, alt="both objectives", **options)
    if study.job.kind == "search" and len(table) <= BAND_RUNS:  # the curves of more have a view of their own
        _bands(study)


def _bands(study: Study) -> None:
    """Show the loss of runs as bands by outcome."""
    runs, curves = curves_of(study)
    if runs.empty:
        return
    row = _heading("Learning curves", "curves")
    if len(runs) < len(trials_of(study)) * study.search.n_seeds:
        st.caption(f"{len(runs):,} of the runs, spread evenly over all.")
    runs = runs.assign(run_id=runs["id"], label="run " + runs["number"].astype(str), color=runs["outcome"])
    chart = curve_chart(curves, runs, "loss", "loss", log=True, baseline=common_baseline(runs))
    draw(row, chart, "learning curves", partial(_origin, study), key="curves", alt="loss of runs of the study")


def _curves(study: Study, table: pd.DataFrame, objective: str) -> None:
    cells = density_of(study)
    if len(cells):
        row = _heading("Learning curves of all runs, as a density", "density")
        chart = more.density_chart(cells)
        draw(
            row,
            chart,
            "density of learning curves",
            partial(_origin, study),
            key="density",
            alt="density of the learning curves",
        )
    _bands(study)


def _settings(study: Study, table: pd.DataFrame, objective: str) -> None:
    shares = importances_of(study, objective)
    names = [*shares.index, *(name for name in study.search.space if name not in shares.index)]
    origin = partial(_origin, study, table)
    row = _heading("One setting at a time", "slice")
    slices = {name: charts.slice_chart(table, name, objective, label_of(name)) for name in names}
    offer(row, {f"{charts.title(objective)} by {label_of(name)}": chart for name, chart in slices.items()}, origin, "slices")
    _in_columns(names, lambda name: _slice(study, table, objective, name, slices[name]))
    trial_section(study, table)
    if len(shares) > 1:
        row = _heading("What decides", "importance")
        chart = charts.importance_chart(shares)
        draw(row, chart, "importance", partial(_origin, study), key="importance", alt="importance of each setting")
    row = _heading("Outcomes by setting", "outcomes")
    origin, bars = partial(_origin, study), {name: more.outcomes_chart(table, name, label_of(name)) for name in names}
    offer(row, {f"outcomes by {label_of(name)}": chart for name, chart in bars.items()}, origin, "outcomes")
    _in_columns(names, lambda name: st.altair_chart(bars[name], alt=f"outcomes by {name}"))


def _in_columns(names: list[str], draw: Callable[[str], object]) -> None:
    for start in range(0, len(names), 3):
        for column, name in zip(st.columns(3), names[start : start + 3], strict=False):
            with column:
                draw(name)


def _slice(study: Study, table: pd.DataFrame, objective: str, name: str, chart: alt.Chart) -> None:
    options = _selecting(study, table, f"slice_{name}", {"setting": name, "value": objective})
    st.altair_chart(chart, alt=f"{objective} by {name}", **options)
    _caption(charts.absent_caption(table, name))


def _pairs(study: Study, table: pd.DataFrame, objective: str) -> None:
    shares = importances_of(study, objective)
    names = [*shares.index, *(name for name in study.search.space if name not in shares.index)]
    minimize, labels = study.search.direction(objective) == "minimize", {name: label_of(name) for name in names}
    origin = partial(_origin, study, table)
    if len(names) > 1:
        with st.container(horizontal=True, vertical_alignment="bottom"):
            x = st.selectbox("Across", names, format_func=label_of, key="pair_x", width=220)
            others = [name for name in names if name != x]
            y = st.selectbox("Up", others, format_func=label_of, key="pair_y", width=220)
            shown = {"objective": "ground", "rank": "rank", "outcome": "outcome"}
            colour = st.segmented_control(
                "Colour", list(shown), default="objective", required=True, format_func=shown.get, key="pair_colour"
            )
        row = _heading("Two settings", "pair")
        cells = surface_of(study, x, y, objective) if colour == "objective" else None
        chart = more.pair_chart(table, x, y, objective, labels, colour, cells, minimize)
        options = _selecting(study, table, f"pair_{x}_{y}_{colour}", {"x": x, "y": y})
        name = f"{charts.title(objective)} by {labels[x]} and {labels[y]}"
        draw(row, chart, name, origin, alt=f"{objective} by {x} and {y}", **options)
        _caption(charts.absent_caption(table, x, y))
        trial_section(study, table)
    row = _heading("All settings", "parallel")
    settings = list(study.search.space)
    chart = more.parallel_chart(table, settings, objective, labels, minimize)
    options = _selecting(study, table, "parallel")
    draw(row, chart, "all settings", origin, alt="all settings and the objective", **options)
    _caption(more.parallel_caption(table, settings, objective, minimize))
    if len(names) == 1:
        trial_section(study, table)


def _spread(study: Study, table: pd.DataFrame, objective: str) -> None:
    row, origin, name = _heading("Distribution", "distribution"), partial(_origin, study), f"distribution of {objective}"
    draw(row, more.distribution_chart({study.name: table}, objective), name, origin, key="distribution", alt=name)
    _caption(more.distribution_caption({study.name: table}))
    if study.job.kind == "search":
        row = _heading("When", "timeline")
        chunks, now = chunks_table(the_store(), study, table, time.time())
        n_trials = None if study.search.seconds else study.n_trials
        chart = more.timeline_chart(chunks, now, n_trials)
        draw(row, chart, "timeline", origin, key="timeline", alt="when trials were trained")


def _trials(study: Study, table: pd.DataFrame, objective: str) -> None:
    """Show the trials as a table; a selected row is looked at closely."""
    if "selected" in table:
        table = table[table["selected"]]
    names = [*study.search.objectives, *study.search.space]
    seeds = ["n_lost", "n", *_INTERVAL] if study.search.n_seeds > 1 else []
    state = ["state"] if (table["state"] == "pruned").any() else []
    shown = table[["number", "outcome", *state, *names, *seeds]].assign(outcome=table["outcome"].map(word))
    floats = [name for name in names if shown[name].dtype == float]
    config = {name: st.column_config.NumberColumn(label_of(name), format="%.4g") for name in floats}
    if len(shown) > FEWER_DIGITS:  # less to send
        shown = shown.astype(
            {name: "float32" for name in floats} | {"outcome": "category"} | {name: "category" for name in state}
        )
    config |= {"n_lost": "diverged", "n": "seeds"}
    config |= {name: st.column_config.NumberColumn(text, format="percent") for name, text in _INTERVAL.items()}
    key = f"trials_{study.id}_{st.session_state.get('study_nonce', 0)}"
    numbers = table["number"].tolist()

    def open_one() -> None:
        rows = st.session_state[key]["selection"]["rows"]
        if rows and rows[0] < len(numbers):
            st.query_params["trial"] = str(numbers[rows[0]])

    st.dataframe(
        shown,
        column_config=config,
        hide_index=True,
        on_select=open_one,
        selection_mode="single-row",
        key=key,
        height=420,
        alt=f"table of {len(shown)} trials",
    )
    with st.container(horizontal=True, vertical_alignment="center"):
        _export(study, table)
        if shown_trial(table) is None:
            st.caption("Select a row to look closer at its run.")
    trial_section(study, table)


def _export(study: Study, table: pd.DataFrame) -> None:
    """Offer the trials of the table as files."""
    origin = Origin.of_study(study, "selected in charts" if "selected" in table else "")
    directions = {name: study.search.direction(name) for name in study.search.objectives}
    trials = partial(table.drop, columns=["selected", "chunk"], errors="ignore")
    export_buttons(trials, len(table), "trials", origin, directions=directions)


VIEWS = {
    "Overview": _overview,
    "Curves": _curves,
    "Settings": _settings,
    "Pairs": _pairs,
    "Spread": _spread,
    "Trials": _trials,
}
