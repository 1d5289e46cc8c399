"""Set the knobs, train, watch, lay earlier runs over it."""

import streamlit as st

from dashboard.charts.curves import empty_chart
from dashboard.components.job_view import POLL_SECONDS, job_label, job_results, overlay_choice, plan_title
from dashboard.components.knobs import knobs, set_knobs, start_bar
from dashboard.components.session import literal, the_store
from engine import TASKS, BrinkError, RunConfig
from studies import Job, JobError, Plan
from studies.jobs import prepare, start


def train(plan: Plan) -> None:
    """Start a job in a process of its own, and show it."""
    try:
        st.query_params["job"] = start(the_store(), plan)
    except (BrinkError, OSError) as error:
        st.session_state["problem"] = str(error)


def offer(plan: Plan) -> None:
    """Turn the knobs to an offered plan, so that they say what is trained, and train it."""
    set_knobs(plan.axes)
    train(plan)


def try_instead(config: RunConfig) -> None:
    """Turn the knobs to a changed config and train it."""
    offer(Plan.of_config(config))


def shown_job() -> Job | None:
    """Return the job that the address names, or without one the newest."""
    store = the_store()
    if "job" in st.query_params:
        try:
            return store.job(st.query_params["job"])
        except JobError:
            st.warning("The experiment in this address does not exist any more; here is the newest.")
            del st.query_params["job"]
    return next(iter(store.jobs(most=1)), None)


def pick_job() -> None:
    """Let people open an earlier experiment."""
    jobs = {job.id: job_label(job) for job in the_store().jobs(most=50)}

    def show() -> None:
        st.query_params["job"] = st.session_state["earlier"]
        set_knobs(the_store().job(st.session_state["earlier"]).plan.axes)

    with st.popover("Earlier experiments", disabled=not jobs):
        st.radio(
            "Open", list(jobs), format_func=lambda job_id: literal(jobs[job_id]), index=None, key="earlier", on_change=show
        )


def empty_state() -> None:
    """Say what to do, and let people do it with one click."""
    st.header("Watch a recurrent network learn, or fail to")
    st.markdown(
        "A small network reads two numbers bit by bit and answers with the bits of their sum. "
        "Turn the knobs and press **Train**, or start with one of these:"
    )
    offers = {
        "See it learn": Plan.of("classic"),
        "Saturate it: std 10": Plan.of("std_10"),
        "Make it overflow: relu": Plan.of("relu"),
        "Compare four learning rates": Plan.of("classic", learning_rate=[0.01, 0.1, 1.0, 10.0]),
        "Remember 100 steps: rnn, LSTM, GRU": Plan.of("long_memory", seed=1),
    }
    with st.container(horizontal=True):
        for number, (text, plan) in enumerate(offers.items()):
            st.button(text, type="secondary" if number else "primary", on_click=offer, args=(plan,))
    st.altair_chart(empty_chart("loss", TASKS["binary_addition"].baseline(RunConfig())), alt="an empty chart of the loss")
    st.caption("The dashed line is the best constant answer. A run that learns falls below it; the others stay in sight too.")


job = shown_job()
if job is None or not job.is_live:
    prepare(the_store())
if job and "knob_seed" not in st.session_state:
    set_knobs(job.plan.axes)
with st.container(horizontal=True, vertical_alignment="bottom"):
    start_bar(train)
    pick_job()
    overlay = overlay_choice(job.id) if job else []
picture, controls = st.columns([8, 3], gap="large")
with controls:
    knobs()
with picture:
    if "problem" in st.session_state:
        st.error(literal(st.session_state.pop("problem")))
    if job is None:
        empty_state()
    else:
        st.subheader(literal(job.name or plan_title(job.plan)), anchor=False)
        st.fragment(job_results, run_every=POLL_SECONDS if job.is_live else None)(job.id, overlay, job.is_live, try_instead)
