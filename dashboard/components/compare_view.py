"""Comparing saved studies and groups of runs: what is compared, whether one is better, and how they look side by side."""

import math
from collections.abc import Callable
from functools import partial

import pandas as pd
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from dashboard.charts import compare as charts
from dashboard.components.chart_view import draw, heading
from dashboard.components.job_view import plan_title
from dashboard.components.results import varied
from dashboard.components.run_actions import export_buttons
from dashboard.components.session import free_name, literal, the_store
from dashboard.components.study_data import label_of
from engine import BrinkError
from studies.comparison import Comparison, compare_all
from studies.export_tables import Origin
from studies.groups import (
    BUDGETS,
    METRICS,
    Group,
    best_so_far,
    distinct,
    distributions,
    importances,
    outcome_shares,
    runs_group,
    study_group,
)
from studies.plans import describe
from studies.spaces import differences, overlap_all, winners

MOST_GROUPS, MOST_LISTED, MOST_SAID = 12, 200, 10
MOST_SELECTED, SHORT_ID = 400, 8
"""Runs of a selection whose address browsers still take, and how much of each id stands there."""


def compare_button(runs: pd.DataFrame) -> None:
    """Offer to compare selected runs, beside what was selected before."""
    allowed = 1 < len(runs) <= MOST_SELECTED
    note = f"Is one better? From 2 to {MOST_SELECTED} runs, beside those that you chose to compare before."
    if st.button("Compare", key="compare_runs", icon=":material/compare_arrows:", disabled=not allowed, help=note):
        key = f"runs:{'.'.join(run_id[:SHORT_ID] for run_id in runs['id'])}"
        before = [other for other in st.session_state.get("compared_before", []) if other.startswith("runs:")]
        keys = ",".join(dict.fromkeys([*before, key]))
        st.switch_page("views/compare.py", query_params={"with": keys})


def things() -> dict[str, str]:
    """Return what can be compared, by a key that the address holds: studies and experiments that have runs, selections."""
    store = the_store()
    found = {f"study:{study.id}": study.name for study in store.studies() if study.job.kind == "search" and study.n_done}
    jobs = [job for job in store.jobs(most=MOST_LISTED) if job.n_saved]
    found |= {f"job:{job.id}": job.name or plan_title(job.plan) for job in jobs}
    keys = [*st.query_params.get("with", "").split(","), *st.session_state.get("compared_before", [])]
    for key in dict.fromkeys(key for key in keys if key.startswith("runs:")):
        n = key.count(".") + 1
        found[key] = free_name(f"{n} selected runs" if n > 1 else "one selected run", set(found.values()))
    return found


def _runs_of(key: str) -> pd.DataFrame:
    """Return the runs of an experiment or a selection."""
    kind, _, thing = key.partition(":")
    if kind == "job":
        return the_store().runs(thing)
    runs = the_store().runs()
    return runs[runs["id"].str[:SHORT_ID].isin(thing.split("."))]


def groups_of(keys: list[str], by: str) -> list[Group]:
    """Return the groups that are compared: studies and runs, or the parts of the runs that differ in a setting."""
    store, names, found = the_store(), things(), []
    for key in keys:
        kind, _, thing = key.partition(":")
        if kind == "study":
            found.append(study_group(store, store.study(thing)))
            continue
        runs = _runs_of(key)
        if by not in runs or runs[by].nunique(dropna=False) < 2:
            found.append(runs_group(names[key], runs, thing))
            continue
        for value, part in runs.groupby(by, sort=False, dropna=False):
            value = None if pd.isna(value) else value.item() if hasattr(value, "item") else value
            found.append(runs_group(describe({by: value}, [by]) or f"{label_of(by)} none", part, thing))
    return distinct(found)


def pick() -> tuple[list[str], str, str]:
    """Let people say what is compared, by what it is cut into groups, and by which number."""
    names = things()
    asked = [key for key in st.query_params.get("with", "").split(",") if key in names]
    with st.container(horizontal=True, vertical_alignment="bottom"):
        keys = st.multiselect(
            "Compare",
            list(names),
            default=asked,
            format_func=names.get,
            key="compared",
            placeholder="studies, experiments",
            width=560,
        )
        if keys:
            st.query_params["with"] = ",".join(keys)
        else:
            st.query_params.pop("with", None)
        st.session_state["compared_before"] = keys
        whole = [key for key in keys if not key.startswith("study:")]
        settings = [name for key in whole for name in varied(_runs_of(key)) if name != "seed"]
        by = ""
        if settings:
            options = ["", *dict.fromkeys(settings)]
            words = {"": "nothing, keep them whole"}
            by = st.selectbox(
                "Cut runs by",
                options,
                index=int(len(keys) == 1),
                format_func=lambda n: words.get(n) or label_of(n),
                key="compare_by",
                width=220,
            )
        metric = st.selectbox(
            "By", list(METRICS), format_func=lambda name: METRICS[name].label, key="compare_metric", width=190
        )
    return keys, by, metric


def _heading(text: str, reading: str) -> DeltaGenerator:
    return heading(text, charts.READING[reading])


def comparison_view(groups: list[Group], metric: str, cut: str = "") -> None:
    """Show groups side by side; `cut` says which of their runs are left out."""
    names, label = [group.name for group in groups], METRICS[metric].label
    origin = partial(_origin, groups, cut)
    if len(groups) > 1:
        _verdicts(groups, metric, origin)
    if any(group.runs["trial"].nunique() > 1 for group in groups):
        _best(groups, names, metric, origin)
    left, right = st.columns(2, gap="large")
    with left:
        row = _heading("Spread", "spread")
        table = distributions(groups, metric)
        draw(row, charts.spread_chart(table, names, label), "spread", origin, key="spread", alt=f"{label} of all runs")
    with right:
        row = _heading("Outcomes", "outcomes")
        chart = charts.outcome_chart(outcome_shares(groups), names)
        draw(row, chart, "outcomes", origin, key="outcomes", alt="outcomes of each group")
    row = _heading("Distribution", "distribution")
    chart = charts.ecdf_chart(table, names, label)
    draw(row, chart, "distribution", origin, key="distribution", alt=f"distribution of {label}")
    shares = importances(groups, metric)
    if len(shares):
        row = _heading("What decides", "importance")
        rows = shares.rename_axis("setting").reset_index().melt("setting", var_name="group", value_name="share").dropna()
        chart = charts.importances_chart(rows, names)
        draw(row, chart, "importance", origin, key="importance", alt="importances of settings")
    _tables(groups, metric)


def _origin(groups: list[Group], cut: str) -> Origin:
    runs = pd.concat([group.runs for group in groups])
    return Origin("runs of groups", ", ".join(group.name for group in groups), filter=cut).of(runs)


def _verdicts(groups: list[Group], metric: str, origin: Callable[[], Origin]) -> None:
    """Say for each pair whether one is better, and how sure that is."""
    found = compare_all(groups, metric)
    row = _heading("Is one better?", "pairs")
    rows = [(f"{c.b} against {c.a}", c.difference, c.low, c.high, c.verdict) for c in found]
    table = pd.DataFrame(rows, columns=["pair", "gain", "low", "high", "verdict"]).dropna()
    if len(table):
        chart = charts.pairs_chart(table, METRICS[metric].label)
        draw(row, chart, "pairs", origin, key="pairs", alt="differences of all pairs with intervals")
    for one in found[:MOST_SAID]:
        with st.container(border=True):
            _verdict(one, len(found))
    if len(found) > MOST_SAID:
        st.caption(f"The first {MOST_SAID} of {len(found)} pairs are said in words; the table has all.")
    with st.container(horizontal=True):
        origin = Origin("pairs of groups", ", ".join(group.name for group in groups), filter=METRICS[metric].label)
        export_buttons(lambda: _as_table(found), len(found), "pairs", origin, prefix="export_pairs")


def _as_table(found: list[Comparison]) -> pd.DataFrame:
    return pd.DataFrame([vars(one) | {"notes": " ".join(one.notes)} for one in found])


def _verdict(one: Comparison, n_pairs: int) -> None:
    verdict = f"\u2713 {one.verdict}" if one.is_decided else one.verdict.capitalize()
    st.markdown(f"**{literal(verdict)}.** {literal(one.sentence)} {literal(one.by[0].upper() + one.by[1:])}.")
    st.caption(literal(" ".join(_details(one, n_pairs))))
    for note in one.notes:
        st.caption(literal(note))


def _details(one: Comparison, n_pairs: int) -> list[str]:
    """Return in sentences what stands behind a verdict."""
    if math.isnan(one.difference):
        return []
    parts = [f"Chance that {one.b} does better with {'the same' if one.paired else 'any'} seed: {one.p_improvement:.0%}."]
    if not math.isnan(one.effect):
        parts.append(f"{one.effect_name} {one.effect:.2f}.")
    if not math.isnan(one.p_value):
        holm = f", {one.p_holm:.3g} corrected for {n_pairs} pairs (Holm)" if n_pairs > 1 else ""
        parts.append(f"{one.test}: p = {one.p_value:.3g}{holm}.")
    if one.n_more:
        parts.append(f"About {one.n_more:,} more {one.unit}s would decide it, if the difference is what it seems.")
    if one.lost_a or one.lost_b:
        p = "" if math.isnan(one.lost_p) else f" ({one.lost_test}: p = {one.lost_p:.3g})"
        parts.append(f"Diverged or overflowed: {one.lost_a:.0%} of {one.a}, {one.lost_b:.0%} of {one.b}{p}.")
    return parts


def _best(groups: list[Group], names: list[str], metric: str, origin: Callable[[], Origin]) -> None:
    with st.container(horizontal=True, vertical_alignment="bottom"):
        row = _heading("Best so far", "best")
        budget = st.segmented_control(
            "Budget", list(BUDGETS), default="trials", required=True, key="compare_budget", label_visibility="collapsed"
        )
    table = best_so_far(groups, metric, budget)
    if len(table):
        chart = charts.best_chart(table, names, BUDGETS[budget], METRICS[metric].label)
        alt = f"best {METRICS[metric].label} so far by {BUDGETS[budget]}"
        draw(row, chart, f"best so far by {budget}", origin, key="best", alt=alt)


def _tables(groups: list[Group], metric: str) -> None:
    best = winners(groups, metric)
    st.markdown("**Winners**: the best configuration of each")
    config = {"run_id": None, **{name: st.column_config.NumberColumn(name, format="%.4g") for name in ("value", "spread")}}
    st.dataframe(best, column_config=config, hide_index=True, alt="the best configuration of each group")
    with st.container(horizontal=True):
        origin = Origin("best configurations", ", ".join(group.name for group in groups), filter=METRICS[metric].label)
        export_buttons(lambda: best, len(best), "winners", origin, prefix="export_winners")
    apart = differences(groups)
    if len(apart):
        st.markdown("**What differs**")
        st.dataframe(apart, alt="settings in which the groups differ")


def _overlapping(groups: list[Group]) -> tuple[list[Group], str]:
    """Offer to compare studies only where all of them have searched; return what is left, and in words how it was cut."""
    if len(groups) < 2 or not all(group.search for group in groups):
        return groups, ""
    left, cut = overlap_all(groups)
    if not cut:
        return groups, ""
    if not st.toggle("Only where the spaces overlap", key="compare_overlap"):
        st.caption("The studies search different spaces.")
        return groups, ""
    st.caption(literal(cut))
    return left, cut


def show(keys: list[str], by: str, metric: str) -> None:
    """Show what was picked, or say what is wrong with it."""
    try:
        groups = groups_of(keys, by)
        if len(groups) > MOST_GROUPS:
            st.info(f"{len(groups)} groups are too many to tell apart; here are the first {MOST_GROUPS}.")
        if len(groups) == 1:
            st.caption("Add another study, experiment or selection of runs above to see which one is better.")
        left, cut = _overlapping(groups[:MOST_GROUPS])
        comparison_view(left, metric, cut)
    except BrinkError as error:
        st.error(literal(str(error)))
