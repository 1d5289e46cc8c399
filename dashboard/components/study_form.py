"""Making a study: a form that turns into a `Search`; what is wrong is said before anything is trained."""

import json

import pandas as pd
import streamlit as st

from dashboard.components.session import free_name, given, keep_state, literal, the_store
from engine import FIELDS, TASKS, BrinkError, RunConfig
from studies.errors import PlanError
from studies.jobs import launch
from studies.objectives import OBJECTIVES
from studies.plans import parse_fixed, parse_values, spell_fixed, spell_value, spell_values
from studies.search import PRUNERS, SAMPLERS, TEMPLATES, Choices, Range, Search, is_installed, template

COLUMNS = {
    "on": st.column_config.CheckboxColumn("search", default=True, width="small"),
    "setting": st.column_config.SelectboxColumn("setting", options=[name for name in FIELDS if name != "seed"], required=True),
    "low": st.column_config.TextColumn("from"),
    "high": st.column_config.TextColumn("to"),
    "log": st.column_config.CheckboxColumn("log", help="Spread evenly over powers of ten.", width="small"),
    "step": st.column_config.TextColumn("step", help="Only every so many-th number, counted from the first.", width="small"),
    "choices": st.column_config.TextColumn("or choices", help="Words or numbers with commas, instead of from and to."),
}
NONE = "none"
KEYS = (
    "name",
    "fixed",
    "first",
    "second",
    "sampler",
    "pruner",
    "until",
    "n_trials",
    "minutes",
    "n_seeds",
    "seed",
    "warm_start",
    "batch",
)
UNTIL = ("trials", "minutes")
BATCH_NOTE = "Trials that are trained together. More are quicker; a sampler that learns hears of results after each batch."


def _rows(search: Search) -> pd.DataFrame:
    """Return a search's space as rows of the table."""
    rows = []
    for name, part in search.space.items():
        if isinstance(part, Choices):
            rows.append((True, name, "", "", False, "", spell_values(list(part.values))))
        else:
            step = spell_value(part.step) if part.step else ""
            rows.append((True, name, spell_value(part.low), spell_value(part.high), part.log, step, ""))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def set_form(search: Search) -> None:
    """Fill the form with a search, under a name that is free."""
    first, second = (*search.objectives, NONE)[:2]
    values = {
        "name": _free_name(search.name),
        "fixed": spell_fixed(search.fixed),
        "first": first,
        "second": second,
        "sampler": search.sampler,
        "pruner": search.pruner,
        "until": UNTIL[bool(search.seconds)],
        "n_trials": min(search.n_trials, 10_000) if search.seconds else search.n_trials,
        "minutes": (search.seconds or 60) / 60,
        "warm_start": search.warm_start or NONE,
        "batch": None if search.batch == search.usual_batch else search.batch,
        "n_seeds": search.n_seeds,
        "seed": search.seed,
    }
    for name, value in values.items():
        st.session_state[f"study_{name}"] = value
    st.session_state["study_space"] = _rows(search)
    st.session_state["study_version"] = st.session_state.get("study_version", 0) + 1


def _from_template() -> None:
    if st.session_state["study_template"]:
        set_form(template(st.session_state["study_template"]))


def _task() -> str:
    """Return the task that the fixed settings name."""
    lines = [line.partition("=") for line in st.session_state["study_fixed"].splitlines()]
    return next((value.strip() for name, _, value in lines if name.strip() == "task"), RunConfig().task)


def _from_task() -> None:
    """Fix the settings from which a task can be learned, but for those that are searched."""
    task = st.session_state.pop("study_task")
    if task:
        searched = set(st.session_state["study_rows"]["setting"])
        settings = {"task": task} | TASKS[task].starting_point
        kept = {name: value for name, value in settings.items() if name not in searched}
        st.session_state["study_fixed"] = spell_fixed(kept)


def _space(rows: pd.DataFrame) -> dict:
    """Return the space that the table describes."""
    space: dict = {}
    for row in rows.to_dict("records"):
        name = row["setting"]
        if not row["on"] or not isinstance(name, str) or not name:
            continue
        if name in space:
            raise PlanError(f"{name}: expected it once, found it twice; take one row out")
        texts = {n: str(row[n]).strip() if isinstance(row[n], str) else "" for n in ("low", "high", "step", "choices")}
        if texts["choices"]:
            if texts["low"] or texts["high"]:
                raise PlanError(f"{name}: expected from and to, or choices, found both")
            space[name] = Choices(parse_values(name, texts["choices"]))
            continue
        ends = [parse_values(name, texts[part]) for part in ("low", "high")]
        if any(len(end) != 1 for end in ends):
            raise PlanError(f"{name}: expected one number in from and one in to")
        try:
            step = float(texts["step"]) if texts["step"] else None
        except ValueError:
            raise PlanError(f"{name}: expected a number as step, found {texts['step']!r}") from None
        space[name] = Range(ends[0][0], ends[1][0], log=bool(row["log"]), step=step)
    return space


def _search() -> tuple[Search | None, str]:
    """Return the search that the form describes, or what is wrong with it."""
    state = {name: st.session_state[f"study_{name}"] for name in KEYS}
    limited = state["until"] == "minutes"
    try:
        objectives = [state["first"]] + ([] if state["second"] == NONE else [state["second"]])
        search = Search(
            name=state["name"].strip(),
            fixed=parse_fixed(state["fixed"]),
            space=_space(st.session_state["study_rows"]),
            objectives=objectives,
            sampler=state["sampler"],
            pruner=state["pruner"],
            n_trials=None if limited else int(state["n_trials"]),
            seconds=60 * state["minutes"] if limited else None,
            warm_start="" if state["warm_start"] == NONE else state["warm_start"],
            n_seeds=int(state["n_seeds"]),
            batch=state["batch"] and int(state["batch"]),
            seed=int(state["seed"]),
        )
    except BrinkError as error:
        return None, str(error)
    return search, ""


def _keep() -> None:
    keep_state([f"study_{name}" for name in KEYS])


def _start() -> None:
    _keep()
    search, problem = _search()
    try:
        if search is None:
            raise PlanError(problem)
        store = the_store()
        study_id = store.add_study(search)
        launch(store, store.study(study_id).job.id)
        st.query_params["study"] = study_id
    except (BrinkError, OSError) as error:
        st.session_state["study_problem"] = str(error)


def study_form() -> None:
    """Draw the form and its button."""
    _keep()
    if "study_name" not in st.session_state:
        set_form(template("quick_look"))
    _what()
    _how()
    search, problem = _search()
    _notes(search)
    _end(search, problem or st.session_state.pop("study_problem", ""))


def _what() -> None:
    """Draw what is searched, and what is fixed."""
    titles = {name: parts["name"] for name, parts in TEMPLATES.items()}
    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.selectbox(
            "Start from",
            list(TEMPLATES),
            index=None,
            format_func=titles.get,
            key="study_template",
            on_change=_from_template,
            placeholder="A template",
            width=260,
        )
        st.text_input("Name", **given("study_name"), width=320)
        st.selectbox("Task", list(TASKS), index=None, key="study_task", on_change=_from_task, placeholder=_task(), width=190)
    st.markdown("**What is searched**: numbers from … to …, or a list of choices")
    version = st.session_state["study_version"]
    st.session_state["study_rows"] = st.data_editor(
        st.session_state["study_space"],
        column_config=COLUMNS,
        num_rows="dynamic",
        hide_index=True,
        key=f"study_table_{version}",
    )
    st.text_area(
        "Fixed settings, one on each line",
        **given("study_fixed"),
        height=110,
        help="name = value; all others keep the defaults of the classic exercise.",
    )


def _how() -> None:
    """Draw what is good, who proposes, and for how long."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.selectbox("Objective", **given("study_first", list(OBJECTIVES)), width=190)
        others = _keeping("second", [NONE, *(name for name in OBJECTIVES if name != st.session_state["study_first"])])
        st.selectbox("and at once", **given("study_second", others), width=190)
        st.selectbox("Sampler", **given("study_sampler", [name for name in SAMPLERS if is_installed(name)]), width=130)
        st.selectbox("Pruner", **given("study_pruner", list(PRUNERS)), width=140)
        sources = _keeping("warm_start", [NONE, *_sources()])
        st.selectbox("Learn first from", **given("study_warm_start", sources), width=220)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.segmented_control("Until", UNTIL, default=st.session_state["study_until"], key="study_until", required=True)
        if st.session_state["study_until"] == "minutes":
            st.number_input("Minutes", 0.05, 30 * 24 * 60.0, **given("study_minutes"), width=130)
        else:
            st.number_input("Trials", 1, 100_000, **given("study_n_trials"), width=130)
        st.number_input("Seeds per trial", 1, 1000, **given("study_n_seeds"), width=130)
        st.number_input(
            "Asked at once", 1, 100_000, value=None, key="study_batch", placeholder="usual", width=130, help=BATCH_NOTE
        )  # only without a default can it be emptied
        st.number_input("Sampler's seed", 0, 2**32 - 1, **given("study_seed"), width=130)


def _notes(search: Search | None) -> None:
    """Say what was chosen means."""
    chosen = [st.session_state["study_first"], st.session_state["study_second"]]
    pruner = st.session_state["study_pruner"]
    notes = [SAMPLERS[st.session_state["study_sampler"]], *([PRUNERS[pruner]] if pruner != NONE else [])]
    notes += [OBJECTIVES[name].note for name in chosen if name != NONE]
    notes += [search.promise + f" Trials are asked {search.batch:,} at once."] if search else []
    st.caption(literal(" ".join(notes)))


def _end(search: Search | None, problem: str) -> None:
    """Say what is wrong, or offer to start."""
    taken = next((study for study in the_store().studies() if search and study.name == search.name), None)
    if problem:
        st.markdown(f":red[{literal(problem)}]")
    elif taken:
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown(literal(f"There is a study {search.name!r} already: give it more trials, or fork it."), width="content")
            st.button("Open that one", on_click=lambda: st.query_params.update(study=taken.id), key="study_open_taken")
            st.button("Take another name", on_click=_rename, args=(search.name,), key="study_rename")
    runs = f" ({search.n_trials * search.n_seeds:,} runs)" if search and not search.seconds else ""
    unable = search is None or taken is not None
    st.button(f"Start study{runs}", type="primary", key="study_start", on_click=_start, disabled=unable)
    if search:
        with st.popover("As JSON, for the command line", type="tertiary"):
            st.code(json.dumps(json.loads(search.to_json()), indent=1), language="json")


def _keeping(name: str, options: list[str]) -> list[str]:
    """Return options, after a choice that is none of them has become the first."""
    if st.session_state[f"study_{name}"] not in options:
        st.session_state[f"study_{name}"] = options[0]
    return options


def _sources() -> list[str]:
    """Return the names of studies that a sampler can learn from."""
    wanted = [st.session_state[f"study_{part}"] for part in ("first", "second")]
    wanted = tuple(name for name in wanted if name != NONE)
    return [study.name for study in the_store().studies() if study.search.objectives == wanted and study.n_done]


def _free_name(name: str) -> str:
    return free_name(name, {study.name for study in the_store().studies()})


def _rename(name: str) -> None:
    st.session_state["study_name"] = _free_name(name)
