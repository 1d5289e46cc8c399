"""Charts on pages: what one is, how to read it, the chart itself, and files of it."""

import contextlib
from collections.abc import Callable
from functools import partial

import altair as alt
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from dashboard.charts.files import KINDS, chart_file
from dashboard.components.session import the_store
from studies import JobError
from studies.export_tables import Origin, file_name


def job_name(job_id: str) -> str:
    """Return what people called a job; empty if they did not, or deleted it this moment."""
    with contextlib.suppress(JobError):
        return the_store().job(job_id).name
    return ""


def heading(text: str, *readings: str) -> DeltaGenerator:
    """Show what a chart is, and beside it how to read it; return the row, which has room for what is offered with it."""
    row = st.container(horizontal=True, vertical_alignment="center", gap="small")
    with row:
        st.markdown(f"**{text}**", width="content")
        with st.popover("How to read this", type="tertiary"):
            for reading in readings:
                st.markdown(reading)
    return row


def draw(
    row: DeltaGenerator, chart: alt.TopLevelMixin, name: str, origin: Callable[[], Origin], *, key: str, **options
) -> None:
    """Draw a chart, and offer it as files in its heading's row.

    Parameters
    ----------
    row : DeltaGenerator
        As `heading` returns it.
    name : str
        What the chart shows, for its files.
    origin : callable
        Returns where the data come from; called when files are asked for.
    key : str
        Of the chart, unlike all others on the page.
    **options
        Of st.altair_chart.
    """
    offer(row, {name: chart}, origin, key)
    st.altair_chart(chart, key=key, **options)


def offer(row: DeltaGenerator, charts: dict[str, alt.TopLevelMixin], origin: Callable[[], Origin], key: str) -> None:
    """Offer charts with one heading, by their names, as files; they are made when somebody clicks."""
    with row:
        look = {"type": "tertiary", "icon": ":material/download:", "help": "Save this chart"}
        menu = st.popover("", key=f"save_{key}", on_change="rerun", **look)
    if not menu.open:
        return
    with menu:
        name = next(iter(charts))
        if len(charts) > 1:
            name = st.selectbox("Chart", list(charts), key=f"saved_{key}")
        said = origin()
        source = "\n".join([f"chart: {name}", *said.lines()])
        with st.container(horizontal=True):
            for kind, (title, ending, mime, _) in KINDS.items():
                st.download_button(
                    title,
                    partial(chart_file, charts[name], kind, source),
                    file_name(name, said.name, ending),
                    mime,
                    on_click="ignore",
                    key=f"{kind}_{key}",
                )
        st.caption("HTML keeps tooltips and zoom; Vega-Lite is the chart as data, to draw or change it elsewhere.")
