"""What pages read of a study: cached by how many of its trials are done, so that looking at one that stands still is cheap."""

import pandas as pd
import streamlit as st

from dashboard.charts.marks import scale_of
from dashboard.components.session import the_store
from engine import FIELDS
from studies import analysis
from studies.store_studies import Study

BAND_RUNS, DENSITY_RUNS = 500, 10_000
"""Runs whose curves are drawn as bands, and as a density: spread evenly over all; neither changes much with more."""


def trials_of(study: Study) -> pd.DataFrame:
    """Return the study's trials as a table."""
    return _trials(the_store().url, study.id, study.n_done)


@st.cache_resource(show_spinner=False, max_entries=60)
def _trials(url: str, study_id: str, n_done: int) -> pd.DataFrame:
    return the_store().trials_table(study_id)  # shared: nobody changes it


def importances_of(study: Study, objective: str) -> pd.Series:
    """Return the share of each setting in deciding an objective."""
    return _importances(the_store().url, study.id, study.n_done, objective)


@st.cache_resource(show_spinner=False, max_entries=60)
def _importances(url: str, study_id: str, n_done: int, objective: str) -> pd.Series:
    return analysis.importances(_trials(url, study_id, n_done), the_store().study(study_id), objective)


def curves_of(study: Study) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return some runs, spread evenly over all, and their curves."""
    return _curves(the_store().url, study.job.id, study.n_done, BAND_RUNS)


@st.cache_resource(show_spinner=False, max_entries=20)
def _curves(url: str, job_id: str, n_done: int, most: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    ids = list(the_store().run_ids(job_id).values())
    ids = ids[:: -(-len(ids) // most)] if ids else ids
    runs = the_store().runs(run_ids=ids)
    return runs, the_store().curves(ids)


@st.cache_resource(show_spinner=False, max_entries=20)
def _density(url: str, job_id: str, n_done: int) -> pd.DataFrame:
    ids = list(the_store().run_ids(job_id).values())
    ids = ids[:: -(-len(ids) // DENSITY_RUNS)] if ids else ids
    return analysis.curve_density(the_store().curves(ids))


def density_of(study: Study) -> pd.DataFrame:
    """Return the learning curves of all runs as a density."""
    return _density(the_store().url, study.job.id, study.n_done)


@st.cache_resource(show_spinner=False, max_entries=40)
def _surface(url: str, study_id: str, n_done: int, x: str, y: str, objective: str) -> pd.DataFrame:
    table = _trials(url, study_id, n_done)
    scales = (scale_of(table[x]), scale_of(table[y]))
    return analysis.surface(table, x, y, objective, scales, scale_of(table[objective]) == "log")


def surface_of(study: Study, x: str, y: str, objective: str) -> pd.DataFrame:
    """Return an objective over two settings, as cells."""
    return _surface(the_store().url, study.id, study.n_done, x, y, objective)


def best_trial(study: Study, table: pd.DataFrame, objective: str) -> pd.Series | None:
    """Return the best of the trials that were trained to their end, or None."""
    whole = table[table["state"] == "complete"]
    if whole.empty:
        return None
    minimize = study.search.direction(objective) == "minimize"
    return table.loc[whole[objective].idxmin() if minimize else whole[objective].idxmax()]


def speed_of(study: Study) -> float | None:
    """Return trials per second: of a study that is being trained at present, of others on the whole."""
    if study.job.is_live and study.job.runs_per_second and not study.search.seconds:
        return study.job.runs_per_second / study.search.n_seeds
    return study.n_done / study.seconds if study.seconds else None


def label_of(name: str) -> str:
    """Return what a setting is called."""
    return FIELDS[name].label if name in FIELDS else name
