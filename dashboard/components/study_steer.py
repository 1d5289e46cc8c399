"""What people can do with a study: stop, pause and resume it, give it trials, workers, another name; delete it."""

import json
from collections.abc import Callable
from functools import partial

import streamlit as st

from dashboard.components.job_view import idle_line
from dashboard.components.session import literal, the_store
from dashboard.components.study_data import best_trial, label_of, speed_of, trials_of
from dashboard.report import study_report
from engine import BrinkError
from studies.archive import export_archive
from studies.export_tables import file_name
from studies.jobs import n_cores, resume
from studies.plans import parse_values, spell_value
from studies.search import Choices
from studies.store_jobs import MOST_WORKERS
from studies.store_studies import Study

STATUS = {
    "waiting": "Starting …",
    "running": "Training …",
    "pausing": "Pausing …",
    "paused": "Paused, with everything in memory.",
    "stopping": "Stopping …",
    "stopped": "Not at its end. Finished trials are kept; those that had begun are trained again when it goes on.",
    "failed": "Training failed.",
    "lost": "The training process is gone: it was killed, or the machine went down. Finished trials are kept.",
}


def status_line(study: Study) -> None:
    """Show what a study is doing and how fast, and what can be done about it."""
    job, store = study.job, the_store()
    if job.status == "finished":
        return
    with st.container(horizontal=True, vertical_alignment="center", key="status"):
        if not job.is_live:
            idle_line(job, STATUS)
            return
        speed, left = speed_of(study), job.seconds_left
        parts = [f"{study.n_done:,} trials" if study.search.seconds else f"{study.n_done:,} of {study.n_trials:,} trials"]
        parts += [f"{speed:.3g} trials/s"] if speed else []
        parts += [f"{left:.0f} s left"] if left and job.status == "running" else []
        parts += [f"{len(study.queue)} of your own waiting"] if study.queue else []
        st.progress(min(1.0, job.progress), f"{STATUS[job.status]} {', '.join(parts)}")
        held = job.status in ("paused", "pausing")
        label, look = ("Go on", "primary") if held else ("Pause", "secondary")  # one button, which does not move under the hand
        unable = not held and job.status != "running"
        act = {"on_click": store.request_pause, "args": (job.id, not held)}
        st.button(label, key="hold", type=look, width=90, disabled=unable, **act)
        st.button("Stop", key="stop", on_click=store.request_stop, args=(job.id,), disabled=job.status == "stopping")


def _act(act, *arguments) -> None:
    """Do something to a study, and say on the page what went wrong."""
    try:
        act(*arguments)
    except (BrinkError, OSError) as error:
        st.session_state["steer_problem"] = str(error)


def _train_more(study: Study, job_id: str) -> None:
    if not the_store().job(job_id).is_live:
        resume(the_store(), job_id)


def steer_bar(study: Study, fork: Callable[[Study], None]) -> None:
    """Show what can be done with a study; one that was imported cannot be trained."""
    if study.job.kind == "search":
        _more_trials(study)
        if study.n_done:
            link = {"query_params": {"with": f"study:{study.id}"}, "icon": ":material/compare_arrows:"}
            st.page_link("views/compare.py", label="Compare", help="With other studies and experiments.", **link)
    with st.popover("More", icon=":material/more_horiz:", key="study_more", on_change="rerun"):
        if study.job.kind == "search":
            st.button("Fork: change it and start anew", icon=":material/fork_right:", key="fork", on_click=fork, args=(study,))
            with st.container(horizontal=True, vertical_alignment="bottom"):
                n = study.job.n_workers or n_cores()
                st.number_input("Worker processes", 1, MOST_WORKERS, value=n, key="workers", help=WORKERS_NOTE)
                st.button("Use so many", key="set_workers", on_click=_act, args=(_set_workers, study))
            st.download_button(
                "Search as JSON",
                _as_json(study),
                "brink_search.json",
                "application/json",
                on_click="ignore",
                key="search_json",
                icon=":material/download:",
                help="For python -m studies run brink_search.json",
            )
        note = "All of it in one file, which another installation imports without loss."
        _offer(study, "archive", export_archive, file_name("study", study.name, "zip"), "application/zip", note)
        note = "One page with numbers, charts and all trials, to be sent or printed; it needs no Brink and no network."
        _offer(study, "report", study_report, file_name("report", study.name, "html"), "text/html", note)
        _details_form(study)
        if study.job.is_live:
            st.caption("Stop it to delete it.")
        elif st.button("Delete …", key="delete_study", icon=":material/delete:", on_click=_close_more):
            _delete(study)


def _offer(study: Study, what: str, make: Callable, name: str, mime: str, note: str) -> None:
    """Offer all of a study as a file, which is made when somebody asks for it."""
    icon = {"archive": ":material/archive:", "report": ":material/description:"}[what]
    make, label = partial(make, the_store(), study.id), f"Study as {'an' if what == 'archive' else 'a'} {what}"
    st.download_button(label, make, name, mime, on_click="ignore", key=f"study_{what}", icon=icon, help=note)


def _close_more() -> None:
    st.session_state["study_more"] = False  # it would lie over the dialog


def _more_trials(study: Study) -> None:
    """Offer to give a study more to train."""
    with st.popover("Add trials", icon=":material/add:"):
        limited = bool(study.search.seconds)
        if limited:
            st.number_input("More seconds", 1, 30 * 24 * 3600, value=int(study.search.seconds) or 1, key="more_seconds")
        else:
            st.number_input("More trials", 1, 100_000, value=study.search.n_trials, key="more_trials")
        st.button("Train them", type="primary", key="extend", on_click=_act, args=(_extend, study))
    with st.popover("Try values", icon=":material/my_location:"):
        _values_form(study)


WORKERS_NOTE = "Also while it trains. The results are the same bits for any number; more than there are cores does not help."


def _set_workers(study: Study) -> None:
    the_store().set_workers(study.job.id, int(st.session_state["workers"]))
    st.toast(f"{st.session_state['workers']} workers from the next populations on.")


def _extend(study: Study) -> None:
    n_more, seconds = st.session_state.get("more_trials", 0), st.session_state.get("more_seconds", 0)
    limited = bool(study.search.seconds)
    _train_more(study, the_store().extend_study(study.id, 0 if limited else int(n_more), float(seconds) if limited else 0))


def _values_form(study: Study) -> None:
    """Let people type one value for each searched setting, starting from the best trial's."""
    version, start = st.session_state.get(f"near_{study.id}", (0, None))
    if start is None:
        table = trials_of(study)
        best = best_trial(study, table, study.search.objectives[0]) if len(table) else None
        start = the_store().trial(study.id, int(best["number"])).params if best is not None else study.search.first()
        st.session_state[f"near_{study.id}"] = version, start  # stands still while better ones are found
    st.caption("Trained next, beside what the sampler proposes; it learns from them too.")
    for name, part in study.search.space.items():
        if isinstance(part, Choices):
            hint = "one of " + ", ".join(map(spell_value, part.values))
        else:
            hint = f"{part.low:g} to {part.high:g}"
        st.text_input(f"{label_of(name)}: {hint}", value=spell_value(start.get(name)), key=f"try_{version}_{name}")
    st.button("Train it next", type="primary", key="try_values", on_click=_act, args=(_try_values, study, version))


def start_near(study: Study, values: dict) -> None:
    """Let the form of values to try start from these."""
    version, _ = st.session_state.get(f"near_{study.id}", (0, None))
    st.session_state[f"near_{study.id}"] = version + 1, values
    st.toast("The values stand in “Try values”, above.")


def _try_values(study: Study, version: int) -> None:
    values = {}
    for name in study.search.space:
        given = parse_values(name, st.session_state[f"try_{version}_{name}"])
        values[name] = given[0] if len(given) == 1 else given
    _train_more(study, the_store().enqueue(study.id, [values]))
    st.toast("It is trained next.")


def _details_form(study: Study) -> None:
    """Let people rename, note and tag a study."""
    with st.form(f"details_{study.id}", border=False):
        name = st.text_input("Name", value=study.name)
        note = st.text_area("Note", value=study.note)
        tags = st.text_input("Tags, with commas", value=study.tags)
        if st.form_submit_button("Save name, note and tags"):
            try:
                the_store().describe_study(study.id, name.strip(), note, tags)
            except BrinkError as error:
                st.markdown(f":red[{literal(str(error))}]")
            else:
                st.rerun()


@st.dialog("Delete this study?")
def _delete(study: Study) -> None:
    """Ask before deleting."""
    n_runs = len(the_store().run_ids(study.job.id))
    ours = "" if study.job.kind == "import" else f", {n_runs:,} runs with curves and notes, and the study in Optuna's tables"
    st.markdown(literal(f"{study.name}: {study.n_done:,} trials{ours}.") + " This cannot be undone.")
    with st.container(horizontal=True):
        if st.button("Delete it", type="primary", key="delete_study_for_good"):
            the_store().delete_study(study.id)
            st.query_params.pop("study", None)
            st.rerun()
        if st.button("Keep it"):
            st.rerun()


def study_summary(study: Study) -> str:
    """Return what a study searches, in words."""
    search, parts = study.search, []
    for name, part in search.space.items():
        if isinstance(part, Choices):
            parts.append(f"{label_of(name)} among {', '.join(map(spell_value, part.values))}")
        else:
            parts.append(f"{label_of(name)} from {part.low:g} to {part.high:g}{' (log)' if part.log else ''}")
    size = f"{search.seconds:g} s" if search.seconds else f"{study.n_trials:,} trials"
    first = f"{search.sampler}, {size}"
    first += f", {search.n_seeds} seeds each" if search.n_seeds > 1 else ""
    first += f", pruner {search.pruner}" if search.pruner != "none" else ""
    first += f", learned from {search.warm_start}" if search.warm_start else ""
    first += f" from {search.source}" if study.job.kind == "import" else ""
    fixed = f"; fixed: {', '.join(f'{n} {spell_value(v)}' for n, v in search.fixed.items())}" if search.fixed else ""
    return f"{first}: " + "; ".join(parts) + fixed


def _as_json(study: Study) -> str:
    """Return a study's search as people keep it in a file."""
    return json.dumps(json.loads(study.search.to_json()), indent=1)
