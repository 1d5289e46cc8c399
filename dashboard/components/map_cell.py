"""One cell of a map, closely: its run, trained again with the same bits, why it ended so, and how far the edge is."""

from collections.abc import Callable
from functools import partial

import pandas as pd
import streamlit as st

from dashboard.charts.curves import READING, curve_chart
from dashboard.components.chart_view import draw, heading
from dashboard.components.diagnosis import advice_lines, black_box_at_once, black_box_panel
from dashboard.components.map_data import drawn_axis, facet_title, label_of, moves_of
from dashboard.components.results import event_sentence, outcome_badge, run_details
from dashboard.components.session import literal, the_store
from engine import OUTCOMES, TASKS, RunConfig
from studies import Plan
from studies.diagnosis import seconds_alone
from studies.edges import sentence
from studies.export_tables import Origin
from studies.jobs import start
from studies.maps import GOOD, Map
from studies.plans import describe
from studies.store_maps import MapRecord
from studies.store_runs import long_curves
from studies.verify import train_again

MOST_SECONDS = 5.0
"""A run that takes longer is trained again only if somebody asks for it."""


def shown_cell(record: MapRecord) -> tuple[int, int, int] | None:
    """Return facet, row and column of the cell that the address names, if there is one."""
    parts = st.query_params.get("cell", "").split(",")
    if len(parts) != 3 or not all(part.isdecimal() and len(part) < 5 for part in parts):
        return None
    place = tuple(int(part) for part in parts)
    return place if all(at < n for at, n in zip(place, record.map.shape, strict=False)) else None


def values_of(made: Map, place: tuple[int, int, int]) -> str:
    """Return the values of a cell in words."""
    facet, y, x = place
    texts = [f"{label_of(side.setting)} {drawn_axis(side, made.size).words[at]}" for side, at in ((made.x, x), (made.y, y))]
    return " · ".join(filter(None, [*texts, facet_title(made, facet)]))


def cell_section(record: MapRecord, cells, place: tuple[int, int, int]) -> None:
    """Show the cell that was clicked: what the map knows of it at once, then its run."""
    with st.container(border=True, key="cell"):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown(f"**{literal(values_of(record.map, place))}**", width="content")
            st.button("Close", key="close_cell", type="tertiary", on_click=_close)
        seed = _seed(record.map, cells, place)
        cell, config = cells[*place, seed], record.map.config(record.map.number(*place, seed))
        outcome = list(OUTCOMES)[cell["outcome"] - 1] if cell["outcome"] else ""
        if outcome:
            outcome_badge(outcome)
        seconds = seconds_alone(config, config.n_iterations)
        wanted = st.session_state.setdefault("cells_wanted", set())
        if seconds > MOST_SECONDS and config.identity not in wanted:
            text = f"Train this run again to see it, about {seconds:.0f} s"
            st.button(text, key="cell_train", on_click=wanted.add, args=(config.identity,))
            return
        run = _run(config)
        if not outcome:
            outcome_badge(run["outcome"])
            st.caption("Not trained on the map yet, where a coarser cell's colour stands for it; this is its own run.")
        st.markdown(literal(run["reason"]) + event_sentence(run))
        if outcome and run["fingerprint"][:16].encode() != cell["fingerprint"]:
            st.warning(
                f"Trained again it has other bits; on the map it is {outcome}. Another version of the engine made the map."
            )
        settings = config.to_dict()
        origin = partial(Origin, "a run of a map", record.name, describe(settings, list(settings)), rows=1)
        _curve(run, config, origin)
        if outcome in GOOD and cells[place]["outcome"].all():  # while a map is trained, other seeds may be missing
            _moves(record.map, cells, place)
        advice_lines(run, lambda changed: _train(Plan.of_config(changed)))
        if box := black_box_at_once(run):
            black_box_panel(box, origin, "cell")
        if st.button("Train it as an experiment, with diagnosis", key="cell_experiment", icon=":material/experiment:"):
            _train(Plan.of_config(config))
        with st.expander("Numbers and worked examples"):
            run_details(run, judged=False)
    if job_id := st.session_state.pop("train_beside", None):
        st.switch_page("views/experiment.py", query_params={"job": job_id})


def _close() -> None:
    st.query_params.pop("cell", None)


def _seed(made: Map, cells, place: tuple[int, int, int]) -> int:
    """Let people choose one of several seeds; return its place."""
    if made.n_seeds == 1:
        return 0
    words = ["", *OUTCOMES]
    return st.selectbox(
        "Seed",
        range(made.n_seeds),
        format_func=lambda at: f"{at + 1}: {words[cells[*place, at]['outcome']] or 'not trained'}",
        key="cell_seed",
        width=200,
    )


def _train(plan: Plan) -> None:
    st.session_state["train_beside"] = start(the_store(), plan)


@st.cache_resource(show_spinner="Training this run again …", max_entries=100)
def _run(config: RunConfig) -> dict:
    return train_again(config)


def _curve(run: dict, config: RunConfig, origin: Callable[[], Origin]) -> None:
    row = {"run_id": run["id"], "label": "this run", "color": run["outcome"], "outcome": run["outcome"]}
    row |= {"overflow_iteration": run["overflow_iteration"], "n_iterations": config.n_iterations}
    baseline = TASKS[config.task].baseline(config)
    frame, runs = long_curves({run["id"]: run["curves"]}), pd.DataFrame([row])
    heads = heading("Loss", READING["loss"])
    chart = curve_chart(frame, runs, "loss", "loss", log=True, baseline=baseline, height=220)
    draw(heads, chart, "loss", origin, key="cell_curve", alt="loss of the cell's run")


def _moves(made: Map, cells, place: tuple[int, int, int]) -> None:
    """Say how far the edge is."""
    if moves := moves_of(made, cells, place):
        st.markdown("\n".join(f"- {literal(sentence(move))}" for move in moves))
