"""Making a study: a form that turns into a `Search`; what is wrong is said before anything is trained."""

import json

import pandas as pd
import streamlit as st

from dashboard.components.session import literal, the_store
from engine import FIELDS, BrinkError
from studies.errors import PlanError
from studies.jobs import launch
from studies.objectives import OBJECTIVES
from studies.plans import parse_values, spell_value, spell_values
from studies.search import SAMPLERS, TEMPLATES, Choices, Range, Search, template

COLUMNS = {
    "on": st.column_config.CheckboxColumn("search", default=True, width="small"),
    "setting": st.column_config.SelectboxColumn("setting", options=[name for name in FIELDS if name != "seed"], required=True),
    "low": st.column_config.TextColumn("from"),
    "high": st.column_config.TextColumn("to"),
    "log": st.column_config.CheckboxColumn("log", help="Spread evenly over powers of ten.", width="small"),
    "choices": st.column_config.TextColumn("or choices", help="Words or numbers with commas, instead of from and to."),
}
NONE = "none"
KEYS = ("name", "fixed", "first", "second", "sampler", "n_trials", "n_seeds", "seed")


def _rows(search: Search) -> pd.DataFrame:
    """Return a search's space as rows of the table."""
    rows = []
    for name, part in search.space.items():
        if isinstance(part, Choices):
            rows.append((True, name, "", "", False, spell_values(list(part.values))))
        else:
            rows.append((True, name, spell_value(part.low), spell_value(part.high), part.log, ""))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def set_form(search: Search) -> None:
    """Fill the form with a search."""
    first, second = (*search.objectives, NONE)[:2]
    values = {
        "name": search.name,
        "fixed": "\n".join(f"{name} = {spell_value(value)}" for name, value in search.fixed.items()),
        "first": first,
        "second": second,
        "sampler": search.sampler,
        "n_trials": search.n_trials,
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


def _fixed(text: str) -> dict:
    """Return settings that are typed as name = value, one a line."""
    settings = {}
    for line in filter(None, map(str.strip, text.splitlines())):
        name, equals, value = (part.strip() for part in line.partition("="))
        if not equals:
            raise PlanError(f"fixed settings: expected name = value on each line, found {line!r}")
        if name in settings:
            raise PlanError(f"fixed settings: expected {name} once, found it twice")
        values = parse_values(name, value)
        if len(values) != 1:
            raise PlanError(f"fixed settings: expected one value of {name}, found {len(values)}; search it instead")
        settings[name] = values[0]
    return settings


def _space(rows: pd.DataFrame) -> dict:
    """Return the space that the table describes."""
    space: dict = {}
    for row in rows.to_dict("records"):
        name = row["setting"]
        if not row["on"] or not isinstance(name, str) or not name:
            continue
        if name in space:
            raise PlanError(f"{name}: expected it once, found it twice; take one row out")
        texts = {part: str(row[part]).strip() if isinstance(row[part], str) else "" for part in ("low", "high", "choices")}
        if texts["choices"]:
            if texts["low"] or texts["high"]:
                raise PlanError(f"{name}: expected from and to, or choices, found both")
            space[name] = Choices(parse_values(name, texts["choices"]))
            continue
        ends = [parse_values(name, texts[part]) for part in ("low", "high")]
        if any(len(end) != 1 for end in ends):
            raise PlanError(f"{name}: expected one number in from and one in to")
        space[name] = Range(ends[0][0], ends[1][0], log=bool(row["log"]))
    return space


def _search() -> tuple[Search | None, str]:
    """Return the search that the form describes, or what is wrong with it."""
    state = {name: st.session_state[f"study_{name}"] for name in KEYS}
    try:
        objectives = [state["first"]] + ([] if state["second"] == NONE else [state["second"]])
        search = Search(
            name=state["name"].strip(),
            fixed=_fixed(state["fixed"]),
            space=_space(st.session_state["study_rows"]),
            objectives=objectives,
            sampler=state["sampler"],
            n_trials=int(state["n_trials"]),
            n_seeds=int(state["n_seeds"]),
            seed=int(state["seed"]),
        )
    except BrinkError as error:
        return None, str(error)
    return search, ""


def _start() -> None:
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
    if "study_name" not in st.session_state:
        set_form(template("quick_look"))
    for name in KEYS:  # Streamlit forgets the state of widgets that are not drawn, unless it is set again
        st.session_state[f"study_{name}"] = st.session_state[f"study_{name}"]
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
        st.text_input("Name", key="study_name", width=320)
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
        key="study_fixed",
        height=110,
        help="name = value; all others keep the defaults of the classic exercise.",
    )
    with st.container(horizontal=True):
        st.selectbox("Objective", list(OBJECTIVES), key="study_first", width=200)
        others = [NONE, *(name for name in OBJECTIVES if name != st.session_state["study_first"])]
        if st.session_state["study_second"] not in others:
            st.session_state["study_second"] = NONE
        st.selectbox("and at once", others, key="study_second", width=200)
        st.selectbox("Sampler", list(SAMPLERS), key="study_sampler", width=140)
        st.number_input("Trials", 1, 100_000, key="study_n_trials", width=130)
        st.number_input("Seeds per trial", 1, 1000, key="study_n_seeds", width=130)
        st.number_input("Sampler's seed", 0, 2**32 - 1, key="study_seed", width=130)
    chosen = [st.session_state["study_first"], st.session_state["study_second"]]
    notes = [SAMPLERS[st.session_state["study_sampler"]], *(OBJECTIVES[name].note for name in chosen if name != NONE)]
    st.caption(literal(" ".join(notes)) + " The same seed proposes the same trials, with any number of workers.")
    search, problem = _search()
    problem = problem or st.session_state.pop("study_problem", "")
    if problem:
        st.markdown(f":red[{literal(problem)}]")
    runs = f" ({search.n_trials * search.n_seeds:,} runs)" if search else ""
    st.button(f"Start study{runs}", type="primary", key="study_start", on_click=_start, disabled=search is None)
    if search:
        with st.popover("As JSON, for the command line", type="tertiary"):
            st.code(json.dumps(json.loads(search.to_json()), indent=1), language="json")
