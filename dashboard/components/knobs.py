"""The knobs: one widget for each setting of a run. What is typed is checked where it is typed."""

from collections.abc import Callable

import streamlit as st

from dashboard.components.session import given, keep_state, literal
from engine import FIELDS, TASKS, BrinkError, RunConfig, count_parameters
from studies import PRESETS, Plan
from studies.plans import MOST_COMPARED, meaningful, parse_values, preset_of, spell_values

SLIDERS = {
    "weight_init_std": ["0.01", "0.02", "0.05", "0.1", "0.2", "0.5", "1", "2", "5", "10", "20", "50", "100"],
    "learning_rate": ["0.001", "0.002", "0.005", "0.01", "0.02", "0.05", "0.1", "0.2", "0.5", "1", "2", "5", "10", "100"],
    "hidden_size": ["1", "2", "4", "8", "16", "32", "64", "80", "100", "128", "256"],
}
"""Knobs of the mission that turn in even steps of a logarithmic scale; any other value can be typed."""
FIRST = ["task", "cell", "weight_init_std", "learning_rate", "hidden_size", "activation", "init_scheme", "seed"]
MORE = {
    "Task and data": ["bits", "length", "pool_size", "batch_size", "loss"],
    "Network": ["n_layers", "projection_size", "bias", "forget_bias", "reset_after"],
    "Optimizer": [
        *("optimizer", "momentum", "rho", "beta1", "beta2", "epsilon"),
        *("schedule", "schedule_every", "schedule_factor", "clip_norm", "clip_value"),
    ],
    "Run": ["n_iterations", "dtype"],
}
KNOBS = [*FIRST, *(name for names in MORE.values() for name in names)]
WORDS = {False: "off", True: "on"}


def _key(name: str) -> str:
    return f"knob_{name}"


def set_knobs(axes: dict) -> None:
    """Turn every knob to a plan's values; settings that the plan does not name go to their usual values."""
    settings = RunConfig().to_dict() | {name: values[0] for name, values in axes.items()}
    for name in KNOBS:
        field = FIELDS[name]
        values = axes.get(name) or [field.usual(settings) if field.usual else settings[name]]
        if name == "task":
            st.session_state[_key(name)] = values[0]
        elif field.kind == "choice":
            st.session_state[_key(name)] = list(values)
        elif field.kind == "bool":
            st.session_state[_key(name)] = [WORDS[value] for value in values]
        else:
            st.session_state[_key(name)] = spell_values(values) if field.optional or values != [None] else ""
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


def _start_from_task() -> None:
    """Turn the knobs to settings that can learn the chosen task, and keep the seeds."""
    seeds, (task,) = st.session_state[_key("seed")], _chosen("task")
    set_knobs({"task": [task]} | {name: [value] for name, value in TASKS[task].starting_point.items()})
    st.session_state[_key("seed")] = seeds


def _chosen(name: str) -> list[str]:
    """Return what a knob of words is turned to: one task, any number of other words."""
    value = st.session_state[_key(name)]
    return [value] if isinstance(value, str) else list(value or [])


def _parsed(name: str) -> list:
    """Return a knob's values, or raise what is wrong with them."""
    if FIELDS[name].kind == "bool":
        return [word == WORDS[True] for word in _chosen(name)] or parse_values(name, "")
    if FIELDS[name].kind == "choice":
        return _chosen(name) or parse_values(name, "")
    return parse_values(name, st.session_state[_key(name)])


def _problem(name: str) -> str:
    """Return what is wrong with a knob by itself, or nothing."""
    try:
        _parsed(name)
    except BrinkError as error:
        return str(error)
    return ""


def _choices(name: str) -> list[str]:
    """Return what a knob of words can be turned to; the losses are those that suit the chosen task, and none is the usual."""
    field = FIELDS[name]
    if name == "loss":
        suiting = [loss for task in _chosen("task") for loss in TASKS[task].losses]
        st.session_state[_key(name)] = [loss for loss in _chosen(name) if loss in suiting]
        return suiting
    return list(WORDS.values()) if field.kind == "bool" else list(field.choices)


def _knob(name: str) -> None:
    """Draw one knob and, below it, what it does and what is wrong with its value."""
    field, key = FIELDS[name], _key(name)
    if field.kind in ("choice", "bool"):
        choices, default = _choices(name), st.session_state[key]
        if name == "task":
            st.pills(field.label, choices, required=True, default=default, key=key, on_change=_start_from_task, wrap=True)
        elif len(choices) < 8:
            st.pills(field.label, choices, selection_mode="multi", default=default, key=key, wrap=True)
        else:
            st.multiselect(field.label, choices, default, key=key)
    else:
        several = "1-5" if field.kind == "int" else "0.1, 0.5, 1"
        about = f"Expected: {field.expected}. Several values at once: {several}"
        usual = "usual" if field.usual else None
        st.text_input(field.label, **given(key), help=about, on_change=_follow, args=(name,), placeholder=usual)
    if problem := _problem(name):
        st.markdown(f":red[{literal(problem)}]")
    if name in SLIDERS:
        label, key = f"{field.label}, in steps", f"slider_{name}"
        st.session_state.setdefault(key, SLIDERS[name][0])  # where what was typed is not among the steps
        options = {"on_change": _lead, "args": (name,), "label_visibility": "collapsed"}
        st.select_slider(label, SLIDERS[name], **given(key), **options)
    st.caption(literal(_note(name)))


def _note(name: str) -> str:
    """Return what stands under a knob; of task and cell what the present choice means."""
    if name == "task":
        return "; ".join(TASKS[task].title for task in _chosen(name)).capitalize() or FIELDS[name].note
    if name == "cell" and (plan := _plan()[0]) and len(plan.combinations) <= MOST_COMPARED:
        return f"{FIELDS[name].note} Numbers to train: {_counts(plan)}."
    return FIELDS[name].note


def _counts(plan: Plan) -> str:
    """Return how many parameters the networks of each cell have."""
    counts: dict[str, list[int]] = {}
    for config in (RunConfig(**settings) for settings in plan.combinations):
        counts.setdefault(config.cell, []).append(count_parameters(config))
    spans = {cell: f"{min(n):,}" if min(n) == max(n) else f"{min(n):,} to {max(n):,}" for cell, n in counts.items()}
    return ", ".join(f"{cell} {span}" for cell, span in spans.items())


def start_bar(train: Callable[[Plan], None]) -> None:
    """Draw the presets and the button that hands what the knobs say to `train`."""
    keep_state([*map(_key, KNOBS), *(f"slider_{name}" for name in SLIDERS)])
    if _key(FIRST[0]) not in st.session_state:
        set_knobs({})
    _choices("loss")  # takes away what does not suit, before anything is drawn
    plan, problem = _plan()
    st.session_state["preset"] = preset_of(plan) if plan else None
    titles = {name: preset.title for name, preset in PRESETS.items()}
    st.selectbox(
        "Start from",
        list(PRESETS),
        format_func=titles.get,
        key="preset",
        index=None,
        placeholder="Settings of your own",
        on_change=_start_from_preset,
        help="The classic exercise and what it tells you to try, then longer memories. Sets all knobs; change what you like.",
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
        help=literal(problem) or None,
    )


def knobs() -> None:
    """Draw all knobs: those of the mission, the rest folded away in groups."""
    named = _named()
    for name in FIRST:
        if name in named:
            _knob(name)
    for group, names in MORE.items():
        with st.expander(group):
            for name in names:
                if name in named and (name != "loss" or len(_choices(name)) > 1):
                    _knob(name)
    if (problem := _plan()[1]) and not any(map(_problem, named)):
        st.markdown(f":red[{literal(problem)}]")


def _train(train: Callable[[Plan], None]) -> None:
    keep_state(list(map(_key, KNOBS)))
    plan, _ = _plan()  # not the plan of the last drawing: typing and clicking may arrive together
    if plan:
        train(plan)


def _named() -> list[str]:
    """Return the settings that mean something beside the present choices."""
    chosen = {name: _chosen(name) for name in KNOBS if FIELDS[name].kind == "choice"}
    return list(meaningful({name: chosen.get(name) or [] for name in KNOBS}))


def _plan() -> tuple[Plan | None, str]:
    try:
        return Plan({name: _parsed(name) for name in _named()}), ""
    except BrinkError as error:
        return None, str(error)
