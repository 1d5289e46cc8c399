"""A job as people see it: what it is doing, its curves so far, how its runs ended."""

import contextlib
from collections.abc import Callable

import pandas as pd
import streamlit as st

from dashboard.components.diagnosis import advice_lines, diagnosis_section
from dashboard.components.results import color_choice, curve_charts, labelled, outcome_counts, run_details, varied
from dashboard.components.session import draws_what_is_there, literal, the_store
from engine import FIELDS, BrinkError, RunConfig
from studies import PRESETS, Job, Plan
from studies.jobs import resume
from studies.plans import describe, preset_of, spell_values
from studies.store_runs import long_curves

POLL_SECONDS = 0.3
MOST_TO_PICK, MOST_SPELLED = 300, 4
STATUS = {
    "waiting": "Starting …",
    "running": "Training …",
    "stopping": "Stopping …",
    "stopped": "Stopped before the end. What was trained is kept; runs that had begun are marked as stopped.",
    "failed": "Training failed.",
    "lost": "The training process is gone: it was killed, or the machine went down. Finished runs are kept.",
}


def plan_title(plan: Plan) -> str:
    """Return a plan in words: its preset, or what differs from the classic exercise, and how many seeds."""
    seeds = f"{len(plan.seeds)} seeds" if len(plan.seeds) > 1 else f"seed {plan.seeds[0]}"
    if preset := preset_of(plan):
        return f"{PRESETS[preset].title} · {seeds}"
    classic = RunConfig().to_dict()
    fixed = {name: values[0] for name, values in plan.axes.items() if len(values) == 1 and name != "seed"}
    texts = [describe(fixed, [name for name, value in fixed.items() if value != classic[name]])]
    texts += [_several(name, plan.axes[name]) for name in plan.varied if name != "seed"]
    return " · ".join(filter(None, [*texts, seeds]))


def _several(name: str, values: list) -> str:
    """Return some values of a setting in words, or how many there are."""
    if len(values) > MOST_SPELLED:
        return f"{len(values)} values of {name}"
    return ("" if FIELDS[name].kind == "choice" else f"{FIELDS[name].label} ") + spell_values(values)


def job_label(job: Job) -> str:
    """Return a job in one line, for a list to pick from."""
    when = pd.Timestamp(job.created_at, unit="s", tz="UTC").strftime("%d %b %H:%M")
    return f"{job.name or plan_title(job.plan)} ({job.status}, {job.n_saved:,} of {job.n_runs:,} runs, {when} UTC)"


def status_line(job: Job) -> None:
    """Show what a job is doing, and the one thing that can be done about it."""
    if job.status == "finished":
        return
    with st.container(horizontal=True, vertical_alignment="center", key="status"):
        if job.is_live:
            speed = ""
            if job.rate:
                speed = (
                    f" {job.n_saved:,} of {job.n_runs:,} runs, {job.runs_per_second:.1f} runs/s, {job.seconds_left:.0f} s left"
                )
            st.progress(min(1.0, job.progress), STATUS[job.status] + speed)
            stopping = job.status == "stopping"
            st.button("Stop", key="stop", on_click=the_store().request_stop, args=(job.id,), disabled=stopping)
        else:
            idle_line(job, STATUS)


@st.cache_data(show_spinner=False, max_entries=20)
def _saved_curves(url: str, runs: tuple[tuple[str, int], ...]) -> pd.DataFrame:
    """Return curves of runs, given as id and iterations: they only change when a stopped run is trained to its end."""
    return the_store().curves([run_id for run_id, _ in runs])


def idle_line(job: Job, words: dict[str, str]) -> None:
    """Say why nobody works on a job that is not at its end, and offer to go on."""
    st.warning(words[job.status] + (f" {literal(job.error)}" if job.error else ""))
    st.button("Resume", key="resume", type="primary", on_click=_resume, args=(job.id,))


def _resume(job_id: str) -> None:
    with contextlib.suppress(BrinkError):  # another tab was faster, or the job is gone: the page will show it
        resume(the_store(), job_id)


def _live(job: Job, saved: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return runs that are being trained, and their curves so far."""
    done = set(saved.loc[saved["status"] == "finished", "number"])
    live = (
        {n: rows for n, rows in the_store().live_curves(job.id).items() if n not in done and len(rows)} if job.is_live else {}
    )
    rows = [{"id": f"live{n}", "name": "", "number": n, "outcome": "training", **job.plan.config(n).to_dict()} for n in live]
    return pd.DataFrame(rows), long_curves({f"live{n}": curve for n, curve in live.items()})


@draws_what_is_there
def job_results(job_id: str, overlay: list[str], polling: bool, train: Callable[[RunConfig], None]) -> None:
    """Show a job with earlier runs laid over it. As a fragment it runs again and again while the job is live.

    `train` is called with a config that somebody wants to try instead.
    """
    store = the_store()
    if st.query_params.get("job", job_id) != job_id:
        st.rerun()  # the whole page: a try was started from here
    job = store.job(job_id)
    if job.is_live != polling:
        st.rerun()  # the whole page, which decides whether to poll
    status_line(job)
    saved = store.runs(job.id)
    others = store.runs(run_ids=overlay) if overlay else saved.head(0)
    fresh, fresh_curves = _live(job, saved)
    saved = saved[~saved["number"].isin(fresh["number"])] if len(fresh) else saved
    frames = [frame for frame in (saved, fresh, others) if len(frame)]
    if not frames:
        st.caption("The first points appear in a moment." if job.is_live else "No run of this job was kept.")
        return
    runs = labelled(pd.concat(frames, ignore_index=True))
    kept = pd.concat([saved, others])
    curves = _saved_curves(store.url, tuple(zip(kept["id"], kept["iterations"], strict=True)))
    curves = pd.concat([curves, fresh_curves], ignore_index=True) if len(fresh_curves) else curves
    with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="bottom"):
        outcome_counts(runs)
        by = color_choice(runs, "color_by")
        if not job.is_live and varied(saved) not in ([], ["seed"]):
            link = {"query_params": {"with": f"job:{job.id}"}, "icon": ":material/compare_arrows:"}
            st.page_link("views/compare.py", label="Is one better?", help="Compares these runs with each other.", **link)
    ended = runs[runs["outcome"] != "training"]

    def why() -> None:
        if len(runs) == len(ended) == 1:
            advice_lines(store.run(ended["id"].iloc[0]), train)

    curve_charts(runs, curves, by, job.plan.baseline(), "experiment", why)
    if len(ended):
        picked = _closer(ended, train)
        if not job.is_live:
            diagnosis_section(ended, picked)


def _closer(runs: pd.DataFrame, train: Callable[[RunConfig], None]) -> str:
    """Show one of the runs closely and return its id."""
    texts = {run.id: f"{run.label} · {run.outcome}" for run in runs.itertuples()}
    picked = next(iter(texts))
    if len(texts) > 1:
        if st.session_state.get("closer") not in texts:
            st.session_state["closer"] = picked
        picked = st.selectbox("Look closer at", list(texts), format_func=texts.get, key="closer")
    run_details(the_store().run(picked), judged=len(texts) > 1, train=train)
    return picked


def overlay_choice(job_id: str) -> list[str]:
    """Let people pick earlier runs to lay over the curves; the address keeps them. Return their ids."""
    wanted = [run_id for run_id in st.query_params.get("with", "").split(",") if run_id]
    table = the_store().runs(without_job=job_id, most=MOST_TO_PICK)
    extra = [run_id for run_id in wanted if run_id not in set(table["id"])]
    if extra:
        table = pd.concat([table, the_store().runs(run_ids=extra, without_job=job_id)], ignore_index=True)
    rows = table.astype(object).where(table.notna(), None).to_dict("records")
    texts = {row["id"]: f"{row['name'] or describe(row)} · {row['outcome']} · {row['created_at']:%d %b %H:%M}" for row in rows}
    chosen = st.session_state.get("overlay", wanted)
    st.session_state["overlay"] = [run_id for run_id in chosen if run_id in texts]
    count = f" ({len(st.session_state['overlay'])})" if st.session_state["overlay"] else ""
    with st.popover(f"Overlay{count}", disabled=not texts, help="Lay earlier runs over this experiment's curves."):
        picked = st.multiselect("Earlier runs", list(texts), format_func=texts.get, key="overlay", placeholder="None")
    if picked:
        st.query_params["with"] = ",".join(picked)
    else:
        st.query_params.pop("with", None)
    return picked
