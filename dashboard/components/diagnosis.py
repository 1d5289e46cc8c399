"""Why a run learned or did not: advice, the black box, and the panels of a diagnosis."""

import contextlib
from collections.abc import Callable
from functools import partial

import numpy as np
import pandas as pd
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from dashboard.charts import diagnosis as charts
from dashboard.charts.curves import curve_chart
from dashboard.charts.diagnosis import READING
from dashboard.charts.outcomes import word
from dashboard.components.chart_view import draw, heading, job_name, offer
from dashboard.components.session import literal, the_store
from engine import Advice, BlackBox, ConfigError, RunConfig
from studies import diagnosis as tables
from studies.diagnosis import Examination, advice, config_of, examine, explain_overflow, seconds_to_explain
from studies.export_tables import Origin
from studies.plans import describe
from studies.store_runs import long_curves

MOST_BESIDE, MOST_KEPT = 3, 6
"""Diagnoses drawn side by side, and kept in a session."""
STATE = "examinations"
AT_ONCE_SECONDS = 0.7
"""A black box that takes no longer is shown without being asked for."""


def advice_lines(run: dict, train: Callable[[RunConfig], None] | None) -> None:
    """Say what probably made a run end as it did, and offer what to try; without `train` only in words."""
    config, found = config_of(run), _advice(run["id"], run["iterations"], run)
    st.markdown(f"**Why:** {literal(found.cause)}")
    if box := black_box_at_once(run):
        st.markdown(f"**First:** {literal(box.sentence)}")
    if not found.tries:
        return
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.markdown("**Try:**", width="content")
        for number, changes in enumerate(found.tries):
            text = describe(changes, [name for name, value in changes.items() if value is not None])
            if train is None:
                st.markdown(literal(text), width="content")
            else:
                key = f"try_{run['id']}_{number}"
                st.button(
                    literal(text), key=key, on_click=train, args=(config.replace(**changes),), help="Train with this change."
                )


@st.cache_resource(show_spinner=False, max_entries=200)
def _advice(run_id: str, iterations: int, _run: dict) -> Advice:
    return advice(_run)


def black_box_at_once(run: dict) -> BlackBox | None:
    """Return the black box of a run that overflowed, if nobody has to wait for it."""
    if not run["overflow_count"] or seconds_to_explain(run) > AT_ONCE_SECONDS:
        return None
    return _black_box(run["id"], run["overflow_iteration"], run)


@st.cache_resource(show_spinner=False, max_entries=200)
def _black_box(run_id: str, iteration: int, _run: dict) -> BlackBox | None:
    with contextlib.suppress(ConfigError):  # the diagnosis will say why
        return explain_overflow(_run)
    return None


def diagnosis_section(runs: pd.DataFrame, picked: str) -> None:
    """Offer to diagnose a run, beside others of the same picture, and show what was found.

    Parameters
    ----------
    runs : DataFrame
        Those that can be diagnosed, with id, label, outcome and iterations.
    picked : str
        Id of the run that is looked at closely.
    """
    texts = {run.id: f"{run.label} · {run.outcome}" for run in runs.itertuples() if run.iterations > 0}
    if picked not in texts:
        return
    others = [run_id for run_id in texts if run_id != picked]
    st.divider()
    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.subheader("Diagnosis", anchor=False, width="content")
        beside = []
        if others:
            few = others if len(texts) <= MOST_BESIDE else []
            beside = st.multiselect(
                "Beside",
                others,
                default=few,
                format_func=texts.get,
                max_selections=MOST_BESIDE - 1,
                key=f"beside_{picked}",
                placeholder="no other run",
                width=420,
            )
        wanted = [picked, *beside]
        kept = st.session_state.setdefault(STATE, {})
        missing = [run_id for run_id in wanted if run_id not in kept]
        asked = st.button(
            "Diagnose",
            type="primary",
            icon=":material/troubleshoot:",
            key=f"diagnose_{picked}",
            disabled=not missing,
            help="Trains these runs again, bit for bit, and records what training has no time for: gradients through time, "
            "spectrum, saturation, distributions, hidden states.",
        )
    if missing and asked:
        bar = st.progress(0.0, "Training again with full recording …")
        for number, run_id in enumerate(missing):
            text = f"Training again with full recording: {texts[run_id]}"
            kept[run_id] = examine(
                the_store().run(run_id),
                lambda share, number=number, text=text: bar.progress(min(1.0, (number + share) / len(missing)), literal(text)),
            )
        bar.empty()
        for old in list(kept)[: max(0, len(kept) - MOST_KEPT)]:
            del kept[old]
        st.rerun()  # the button has been drawn as if there were something to do
    if missing:
        st.caption("Trains the run again, with the same bits and full recording, and shows why it went as it did.")
        return
    labels = _unique({run_id: describe(kept[run_id].run["config"]) if len(wanted) == 1 else texts[run_id] for run_id in wanted})
    st.fragment(_panels)({labels[run_id]: kept[run_id] for run_id in wanted})


def _unique(texts: dict[str, str]) -> dict[str, str]:
    """Return texts of which no two are the same."""
    seen = list(texts.values())
    return {key: text if seen.count(text) == 1 else f"{text} ({key[:6]})" for key, text in texts.items()}


def _panels(examinations: dict[str, Examination]) -> None:
    """Show all panels; as a fragment, so that the chosen iteration redraws nothing else."""
    first = next(iter(examinations.values()))
    for label, examination in examinations.items():
        name = f"{label}: " if len(examinations) > 1 else ""
        verdict = examination.verdict
        icon = ":material/fingerprint:" if verdict.identical else ":material/warning:"
        st.caption(f"{icon} {literal(name)}trained again. {literal(verdict.sentence)}")
        if examination.problem:
            st.warning(literal(name + examination.problem))
        if examination.black_box:
            black_box_panel(examination.black_box, partial(_origin, [examination]), examination.run["id"], name)
    at = _iteration(first, next(iter(examinations)) if len(examinations) > 1 else "")
    _errors(examinations, at)
    looked = examinations
    if len(examinations) > 1:
        labels = list(examinations)
        chosen = st.segmented_control("The panels below show", labels, default=labels[0], required=True, key="diagnosed")
        looked = {chosen: examinations[chosen]}
    (examination,) = looked.values()
    _one(examination, at)


def _heading(text: str, *readings: str) -> DeltaGenerator:
    return heading(text, *(READING[reading] for reading in readings))


def _origin(examinations: list[Examination]) -> Origin:
    runs = [examination.run for examination in examinations]
    names = dict.fromkeys(run["name"] or job_name(run["job_id"]) for run in runs)
    settings = [describe(run["config"], list(run["config"])) for run in runs]
    return Origin("runs that were diagnosed", ", ".join(filter(None, names)), "; ".join(settings), rows=len(runs))


def _iteration(examination: Examination, label: str) -> int:
    """Let people choose an iteration, by slider or by a click on the loss curve, and return it."""
    run, iterations = examination.run, examination.diagnosis.iterations.tolist()
    key, event = f"iteration_{run['id']}", run["overflow_iteration"]
    if st.session_state.get(key) not in iterations:
        st.session_state[key] = int(event) if run["overflow_count"] and int(event) in iterations else iterations[-1]

    def follow() -> None:
        points = st.session_state[f"{key}_loss"]["selection"].get("pick") or []
        if points:
            clicked = points[0]["iteration"]
            st.session_state[key] = min(iterations, key=lambda iteration: abs(iteration - clicked))

    at = st.session_state[key]
    row = _heading(f"Loss{' of ' + literal(label) if label else ''}, and the iteration that all panels show", "iteration")
    curves = long_curves({run["id"]: run["curves"]})
    runs = pd.DataFrame(
        {
            "run_id": [run["id"]],
            "label": ["this run"],
            "outcome": [run["outcome"]],
            "overflow_iteration": [event],
            "color": [run["outcome"]],
            "n_iterations": [run["config"]["n_iterations"]],
        }
    )
    chart = curve_chart(
        curves, runs, "loss", "loss", log=True, baseline=run["evidence"]["baseline"], height=170, pick=True, at=at
    )
    options = {"on_select": follow, "selection_mode": "pick", "alt": "loss of this run over the iterations"}
    draw(row, chart, "loss", partial(_origin, [examination]), key=f"{key}_loss", **options)
    return st.select_slider("Iteration", iterations, key=key, format_func=lambda n: f"{n:,}")


def _place(examination: Examination, at: int) -> int:
    """Return the place of the iteration nearest to the chosen one."""
    return int(np.argmin(np.abs(examination.diagnosis.iterations - at)))


def _errors(examinations: dict[str, Examination], at: int) -> None:
    """Show gradients through time: a map for each run, and all of them at the chosen iteration."""
    row, origin = _heading("Gradients through time", "errors"), partial(_origin, list(examinations.values()))
    layers = {label: tables.error_table(examination.diagnosis) for label, examination in examinations.items()}
    n_layers = max(int(table["layer"].max()) for table in layers.values())
    layer = 1
    if n_layers > 1:
        layer = st.segmented_control("Layer", list(range(1, n_layers + 1)), default=1, required=True, key="error_layer")
    maps = {label: table[table["layer"] == min(layer, table["layer"].max())] for label, table in layers.items()}
    domain = charts.map_domain(list(maps.values()))
    legend = 180 if len(maps) == 1 else 90
    drawn = {label: charts.error_map(table, domain=domain, at=at, legend=legend) for label, table in maps.items()}
    offer(row, {f"gradients through time, {label}": chart for label, chart in drawn.items()}, origin, "errors")
    for column, (label, chart) in zip(st.columns(len(maps)), drawn.items(), strict=True):
        with column:
            if len(maps) > 1:
                st.markdown(literal(label))
            st.altair_chart(chart, alt=f"gradient norms by iteration and time step, {label}")
    row = _heading(f"Gradients at iteration {at:,}, back through time", "error_curve")
    parts = []
    for label, examination in examinations.items():
        place, diagnosis = _place(examination, at), examination.diagnosis
        number = min(layer, diagnosis.factors.shape[1]) - 1
        table = maps[label][maps[label]["iteration"] == diagnosis.iterations[place]]
        factor, radius = diagnosis.factors[place, number], float(np.max(diagnosis.radius[place, number]))
        name = f"{label}: " if len(examinations) > 1 else ""
        text = f"{name}×{factor:.3g} per step back; spectral radius {radius:.3g}"
        parts.append(table[["step", "value"]].assign(run=text, line="measured"))
        parts.append(tables.fitted_line(table, factor).assign(run=text, line="fit"))
    lines = pd.concat(parts, ignore_index=True).rename(columns={"step": "time_step"})
    chart = charts.line_chart(lines, "time_step", "|dL/dh|", "run", dash="line", log=True)
    draw(row, chart, f"gradients at iteration {at}", origin, key="error_curve", alt="gradient norm by time step")


def _one(examination: Examination, at: int) -> None:
    """Show spectrum, unit health, updates, distributions and hidden states of one run."""
    diagnosis, place, origin = examination.diagnosis, _place(examination, at), partial(_origin, [examination])
    exactly = int(diagnosis.iterations[place])
    many = diagnosis.radius.shape[1] > 1

    def named(table: pd.DataFrame, *columns: str) -> pd.DataFrame:
        parts = [table[column] for column in columns]
        name = parts[0] if len(parts) == 1 else parts[0].str.cat(parts[1:], sep=", ")
        return table.assign(name=("layer " + table["layer"].astype(str) + ", " + name) if many else name)

    left, right = st.columns(2)
    with left:
        row = _heading("Spectrum of the recurrent matrices", "spectrum")
        table = named(tables.spectrum_table(diagnosis), "gate")
        chart = charts.line_chart(table, "iteration", "", "name", dash="measure", log=True, one=True, at=at)
        alt = "spectral radius and largest singular value over the iterations"
        draw(row, chart, "spectrum of the recurrent matrices", origin, key="spectrum", alt=alt)
    with right:
        row = _heading("Saturated and dead units", "health")
        table = tables.health_table(diagnosis)
        if table.empty:
            st.caption(f"{diagnosis.config.activation} has no flat end: nothing saturates.")
        else:
            chart = charts.line_chart(named(table, "unit"), "iteration", "", "name", dash="measure", share=True, at=at)
            alt = "shares of saturated units over the iterations"
            draw(row, chart, "saturated and dead units", origin, key="health", alt=alt)
    left, right = st.columns(2)
    with left:
        row = _heading("Update by weight", "updates")
        chart = charts.line_chart(tables.update_table(diagnosis), "iteration", "", "parameter", log=True, at=at)
        alt = "length of the step by length of the weights, matrix by matrix"
        draw(row, chart, "update by weight", origin, key="updates", alt=alt)
    with right:
        row = _heading(f"Hidden states, iteration {exactly:,}", "states")
        states = tables.states_table(diagnosis, place)
        layer = 1
        if many:
            layers = sorted(states["layer"].unique().tolist())
            layer = st.segmented_control("Layer shown", layers, default=1, required=True, key="state_layer")
        chart, name = charts.states_chart(states[states["layer"] == layer]), f"hidden states at iteration {exactly}"
        draw(row, chart, name, origin, key="states", alt="hidden states by time step and unit")
        with st.popover("The sample and the answers", type="tertiary"):
            st.dataframe(tables.example_table(diagnosis, place), hide_index=True)
    row = _heading("How weights, biases and gradients are spread", "distribution", "histogram")
    spread, counts = tables.distribution_table(diagnosis), tables.histogram_table(diagnosis, place)
    kinds = list(dict.fromkeys(spread["kind"]))
    titles = {kind: f"{kind} at iteration {exactly:,}" for kind in kinds}
    drawn = {kind: charts.distribution_chart(spread[spread["kind"] == kind], kind, at=at) for kind in kinds}
    bars = {title: charts.histogram_chart(counts[counts["kind"] == kind], title) for kind, title in titles.items()}
    offer(row, drawn | bars, origin, "spreads")
    for column, (kind, title) in zip(st.columns(len(kinds)), titles.items(), strict=True):
        with column:
            st.altair_chart(drawn[kind], alt=f"quantiles of the {kind} over the iterations")
            st.altair_chart(bars[title], alt=f"histogram of the {kind}")


def black_box_panel(box: BlackBox, origin: Callable[[], Origin], key: str, name: str = "") -> None:
    """Show what happened first in a run that overflowed; the key is unlike those of other runs on the page."""
    with st.container(border=True):
        st.markdown(f"{word('overflow')[0]} **{literal(name)}What happened first.** {literal(box.sentence)}")
        if len(box.steps) > 1:
            what = "dL/dh of the later steps" if box.phase == "backward" else "hidden value of each step before"
            values = " → ".join(f"{value:.3g}" for value in _ends(box.steps))
            st.markdown(literal(f"Largest {what}, in that iteration: {values}"))
        trail = tables.trail_table(box)
        if len(trail) > 1:
            row = _heading(f"The {len(trail) - 1} iterations before", "trail")
            alt = "largest hidden value, gradient norm, largest weight and loss"
            draw(row, charts.trail_chart(trail), "iterations before the overflow", origin, key=f"trail_{key}", alt=alt)
        with st.expander("As numbers"):
            st.dataframe(trail, hide_index=True)


def _ends(values: list[float], n: int = 6) -> list[float]:
    """Return the first and the last few of many values."""
    return values if len(values) <= 2 * n else [*values[:n], *values[-n:]]
