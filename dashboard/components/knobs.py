"""The knobs: one widget for each setting of a run. What is typed is checked where it is typed."""

from collections.abc import Callable

import streamlit as st

from dashboard.components.session import literal
from engine import FIELDS, BrinkError, RunConfig
from studies import PRESETS, Plan
from studies.plans import parse_values, spell_values

SLIDERS = {
    "weight_init_std": ["0.01", "0.02", "0.05", "0.1", "0.2", "0.5", "1", "2", "5", "10", "20", "50", "100"],
    "learning_rate": ["0.001", "0.002", "0.005", "0.01", "0.02", "0.05", "0.1", "0.2", "0.5", "1", "2", "5", "10", "100"],
    "hidden_size": ["1", "2", "4", "8", "16", "32", "64", "100", "128", "256"],
}
"""Knobs of the mission that turn in even steps of a logarithmic scale; any other value can be typed."""
FIRST = ["weight_init_std", "learning_rate", "hidden_size", "activation", "init_scheme", "seed"]
MORE = ["n_iterations", "batch_size", "bits", "bias", "optimizer", "momentum", "clip_norm", "dtype"]
DEFAULTS = RunConfig().to_dict()


def _key(name: str) -> str:
    return f"knob_{name}"


def set_knobs(axes: dict) -> None:
    """Turn every knob to a plan's values; settings that the plan does not name go back to their defaults."""
    for name in [*FIRST, *MORE]:
        values = axes.get(name, [DEFAULTS[name]])
        if FIELDS[name].kind == "choice":
            st.session_state[_key(name)] = list(values)
        else:
            st.session_state[_key(name)] = spell_values(values)
            _follow(name)


def _follow(name: str) -> None:
    """Move a setting's slider to the first value typed, where the slider has it."""
    first = st.session_state[_key(name)].split(",")[0].strip()
    if first in SLIDERS.get(name, ()):
        st.session_state[f"slider_{name}"] = first


def _lead(name: str) -> None:
    st.session_state[_key(name)] = st.session_state[f"slider_{name}"]


def _start_from_preset() -> None:
    if st.session_state["preset"]:
        set_knobs(Plan.of(st.session_state["preset"]).axes)


def _parsed(name: str) -> list:
    """Return a knob's values, or raise what is wrong with them."""
    value = st.session_state[_key(name)]
    if FIELDS[name].kind != "choice":
        return parse_values(name, value)
    return Plan({name: value}).axes[name]


def _knob(name: str) -> None:
    """Draw one knob and, below it, what is wrong with its value."""
    field = FIELDS[name]
    if field.kind == "choice" and len(field.choices) < 8:
        st.pills(field.label, field.choices, selection_mode="multi", key=_key(name), help=field.note, wrap=True)
    elif field.kind == "choice":
        st.multiselect(field.label, field.choices, key=_key(name), help=field.note)
    else:
        several = "1-5" if field.kind == "int" else "0.1, 0.5, 1"
        about = f"{field.note} Expected: {field.expected}. Several values at once: {several}"
        st.text_input(field.label, key=_key(name), help=about, on_change=_follow, args=(name,))
    try:
        _parsed(name)
    except BrinkError as error:
        st.markdown(f":red[{literal(str(error))}]")
    if name in SLIDERS:
        label, key = f"{field.label}, in steps", f"slider_{name}"
        st.select_slider(label, SLIDERS[name], key=key, on_change=_lead, args=(name,), label_visibility="collapsed")


def start_bar(train: Callable[[Plan], None]) -> None:
    """Draw the presets and the button that hands what the knobs say to `train`."""
    if _key(FIRST[0]) not in st.session_state:
        set_knobs({})
    plan, problem = _plan()
    st.session_state["preset"] = _preset_of(plan)
    titles = {name: preset.title for name, preset in PRESETS.items()}
    st.selectbox(
        "Start from",
        list(PRESETS),
        format_func=titles.get,
        key="preset",
        index=None,
        placeholder="Settings of your own",
        on_change=_start_from_preset,
        help="The classic exercise and what it tells you to try. Sets all knobs; change what you like.",
        width=330,
    )
    words = f"Train {plan.n_runs:,} runs" if plan and plan.n_runs > 1 else "Train"
    st.button(
        words,
        type="primary",
        width=150,
        disabled=plan is None,
        on_click=_train,
        args=(train,),
        key="train",
        help=problem or None,
    )


def knobs() -> None:
    """Draw all knobs, each with what is wrong with its value."""
    for name in FIRST:
        _knob(name)
    with st.expander("More"):
        for name in MORE:
            if name in _named():
                _knob(name)


def _preset_of(plan: Plan | None) -> str | None:
    """Return the preset that the knobs say, whatever the seeds."""
    if plan is None:
        return None
    said = {name: values for name, values in plan.axes.items() if name != "seed" and values != [DEFAULTS[name]]}
    return next((name for name, preset in PRESETS.items() if {k: [v] for k, v in preset.settings.items()} == said), None)


def _train(train: Callable[[Plan], None]) -> None:
    plan, _ = _plan()  # not the plan of the last drawing: typing and clicking may arrive together
    if plan:
        train(plan)


def _named() -> list[str]:
    """Return the settings that mean something with the present optimizer."""
    momentum = "momentum" in st.session_state[_key("optimizer")]
    return [name for name in [*FIRST, *MORE] if name != "momentum" or momentum]


def _plan() -> tuple[Plan | None, str]:
    try:
        return Plan({name: _parsed(name) for name in _named()}), ""
    except BrinkError as error:
        return None, str(error)
