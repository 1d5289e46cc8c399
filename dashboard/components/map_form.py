"""Making a map: two axes, what is fixed, how fine; what is wrong is said before anything is trained."""

import json

import streamlit as st

from dashboard.components.map_data import label_of
from dashboard.components.map_list import seconds_of, train_map
from dashboard.components.session import free_name, given, keep_state, literal, the_store
from engine import FIELDS, TASKS, BrinkError
from studies.errors import PlanError
from studies.maps import LARGEST, MOST_SEEDS, SMALLEST, TEMPLATES, Axis, Map, usual_axis
from studies.plans import parse_fixed, parse_values, spell_fixed, spell_value, spell_values

SIDES = {"x": "Across", "y": "Up"}
NONE = "none"
SETTINGS = [name for name in FIELDS if name != "seed"]
WORDS = [name for name in SETTINGS if FIELDS[name].kind in ("choice", "bool")]
PARTS = ("setting", "low", "high", "log", "values")
KEYS = ("name", "size", "n_seeds", "facet", "facet_values", "fixed", *(f"{side}_{part}" for side in SIDES for part in PARTS))


def set_map_form(made: Map) -> None:
    """Fill the form with a map, under a name that is free; of a zoomed one with the window that is seen."""
    values = {
        "name": free_name(made.name, {record.name for record in the_store().maps()}),
        "size": made.size,
        "n_seeds": made.n_seeds,
        "facet": made.facet or NONE,
        "facet_values": spell_values(list(made.facet_values)),
        "fixed": spell_fixed(made.fixed),
    }
    for side in SIDES:
        values |= _side_values(side, getattr(made, side))
    for name, value in values.items():
        st.session_state[f"map_{name}"] = value


def _side_values(side: str, axis: Axis) -> dict:
    ends = ("", "") if axis.values else (spell_value(axis.at(0, 1)), spell_value(axis.at(1, 1)))
    texts = (axis.setting, *ends, axis.log, spell_values(list(axis.values)))
    return {f"{side}_{part}": text for part, text in zip(PARTS, texts, strict=True)}


def _follow_setting(side: str) -> None:
    """Turn an axis to the usual range of the setting that was chosen for it."""
    for name, value in _side_values(side, usual_axis(st.session_state[f"map_{side}_setting"])).items():
        st.session_state[f"map_{name}"] = value


def _follow_facet() -> None:
    facet = st.session_state["map_facet"]
    st.session_state["map_facet_values"] = "" if facet == NONE else spell_values(list(usual_axis(facet).values))


def _from_template() -> None:
    if st.session_state["map_template"]:
        set_map_form(Map(**TEMPLATES[st.session_state["map_template"]]))


def _from_task() -> None:
    """Fix the settings from which a task can be learned, but for those on the axes."""
    task = st.session_state.pop("map_task")
    if task:
        moved = {st.session_state[f"map_{name}"] for name in ("x_setting", "y_setting", "facet")}
        settings = {"task": task} | TASKS[task].starting_point
        st.session_state["map_fixed"] = spell_fixed({n: v for n, v in settings.items() if n not in moved})


def _axis(side: str) -> Axis:
    """Return the axis that the form describes."""
    name, low, high, log, values = (st.session_state[f"map_{side}_{part}"] for part in PARTS)
    if values.strip():
        return Axis(name, values=parse_values(name, values))
    if name in WORDS:
        raise PlanError(f"{name}: expected one or more values, found none")
    ends = [parse_values(name, text) for text in (low, high)]
    if any(len(end) != 1 for end in ends):
        raise PlanError(f"{name}: expected one number in from and one in to")
    return Axis(name, ends[0][0], ends[1][0], log=log)


def _map() -> tuple[Map | None, str]:
    """Return the map that the form describes, or what is wrong with it."""
    state = {name: st.session_state[f"map_{name}"] for name in KEYS}
    facet = "" if state["facet"] == NONE else state["facet"]
    try:
        made = Map(
            name=state["name"].strip(),
            x=_axis("x"),
            y=_axis("y"),
            size=int(state["size"]),
            fixed=parse_fixed(state["fixed"]),
            n_seeds=int(state["n_seeds"]),
            facet=facet,
            facet_values=tuple(parse_values(facet, state["facet_values"])) if facet and state["facet_values"].strip() else (),
        )
    except BrinkError as error:
        return None, str(error)
    return made, ""


def _keep() -> None:
    keep_state([f"map_{name}" for name in KEYS])


def _start() -> None:
    _keep()
    made, _ = _map()
    if made:
        train_map(made)


def map_form() -> None:
    """Draw the form and its button."""
    _keep()
    if "map_name" not in st.session_state:
        set_map_form(Map(**TEMPLATES["classic"]))
    titles = {name: parts["name"] for name, parts in TEMPLATES.items()}
    with st.container(horizontal=True, vertical_alignment="bottom"):
        options = {"index": None, "format_func": titles.get, "on_change": _from_template, "placeholder": "A template"}
        st.selectbox("Start from", list(TEMPLATES), key="map_template", width=300, **options)
        st.text_input("Name", **given("map_name"), width=320)
        options = {"index": None, "on_change": _from_task, "placeholder": "as fixed below"}
        st.selectbox("Task", list(TASKS), key="map_task", width=190, **options)
    for side, title in SIDES.items():
        _side(side, title)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.number_input("Cells along a side", SMALLEST, LARGEST, **given("map_size"), width=150)
        st.number_input("Seeds per cell", 1, MOST_SEEDS, **given("map_n_seeds"), width=130)
        options = {"on_change": _follow_facet, "format_func": _label}
        st.selectbox("A plane for each", **given("map_facet", [NONE, *WORDS]), width=190, **options)
        if st.session_state["map_facet"] != NONE:
            st.text_input("Values", **given("map_facet_values"), width=320)
    st.text_area(
        "Fixed settings, one on each line",
        **given("map_fixed"),
        height=110,
        help="name = value; all others keep the defaults of the classic exercise.",
    )
    made, problem = _map()
    taken = made and next((record for record in the_store().maps() if record.name == made.name), None)
    if problem:
        st.markdown(f":red[{literal(problem)}]")
    elif taken:
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown(literal(f"There is a map {made.name!r} already."), width="content")
            st.button("Open that one", on_click=lambda: st.query_params.update(map=taken.id), key="map_open_taken")
            st.button("Take another name", on_click=_rename, args=(made.name,), key="map_rename")
    text = f"Train {made.n_runs:,} runs, about {_spell_seconds(seconds_of(made))}" if made else "Train"
    st.button(text, type="primary", key="map_start", on_click=_start, disabled=made is None or taken is not None)
    if made:
        with st.popover("As JSON, for the command line", type="tertiary"):
            st.code(json.dumps(json.loads(made.to_json()), indent=1), language="json")


def _label(setting: str) -> str:
    return NONE if setting == NONE else label_of(setting)


def _side(side: str, title: str) -> None:
    """Draw the knobs of one axis."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        key = f"map_{side}"
        options = {"on_change": _follow_setting, "args": (side,), "format_func": _label}
        st.selectbox(title, **given(f"{key}_setting", list(SETTINGS)), width=220, **options)
        has_range = st.session_state[f"{key}_setting"] not in WORDS
        if has_range:
            unable = bool(st.session_state[f"{key}_values"].strip())
            st.text_input("from", **given(f"{key}_low"), width=110, disabled=unable)
            st.text_input("to", **given(f"{key}_high"), width=110, disabled=unable)
            st.checkbox("log", **given(f"{key}_log"), disabled=unable, help="Spread evenly over powers of ten.")
        st.text_input("or values" if has_range else "values", **given(f"{key}_values"), width=320)


def _spell_seconds(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, seconds):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _rename(name: str) -> None:
    st.session_state["map_name"] = free_name(name, {record.name for record in the_store().maps()})
