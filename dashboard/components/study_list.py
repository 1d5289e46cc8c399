"""The list of studies, and bringing in studies that Optuna made elsewhere."""

import tempfile
from pathlib import Path

import pandas as pd
import streamlit as st

from dashboard.charts.outcomes import LOOKS
from dashboard.components.session import free_name, literal, the_store
from dashboard.components.study_data import best_trial, speed_of, trials_of
from engine import BrinkError
from studies.archive import import_archive, read_manifest
from studies.imports import import_study, names_in
from studies.store_studies import Study

ENDINGS = ["db", "sqlite", "sqlite3", "log", "journal", "zip"]


def studies_list(polling: bool) -> None:
    """Show all studies; a click on a row opens one. As a fragment it runs again and again while one is being trained."""
    studies = the_store().studies()
    if "study" in st.query_params:
        st.rerun()  # the whole page, which shows the one that was opened
    if any(study.job.is_live for study in studies) != polling:
        st.rerun()  # the whole page, which decides whether to poll
    studies = _wanted(studies)
    rows = [_row(study) for study in studies]
    config = {
        "done": st.column_config.ProgressColumn("done", format="percent", min_value=0, max_value=1),
        "created": st.column_config.DatetimeColumn("created (UTC)", format="YYYY-MM-DD HH:mm"),
        "best": st.column_config.NumberColumn("best", format="%.4g"),
        "trials": st.column_config.NumberColumn("trials", format="localized"),
        "outcomes": st.column_config.TextColumn("outcomes", help=", ".join(f"{look.symbol} {n}" for n, look in LOOKS.items())),
    }

    def open_one() -> None:
        picked = st.session_state["studies_table"]["selection"]["rows"]
        if picked and picked[0] < len(studies):
            st.query_params["study"] = studies[picked[0]].id

    st.dataframe(
        pd.DataFrame(rows, columns=None if rows else ["name"]),
        column_config=config,
        hide_index=True,
        on_select=open_one,
        selection_mode="single-row",
        key="studies_table",
        alt=f"table of {len(studies)} studies",
    )
    st.caption("Select a row to open the study." if rows else "No study has these words in its name, tags or note.")


def _wanted(studies: list[Study]) -> list[Study]:
    """Return the studies that have all typed words in their names, tags or notes."""
    if len(studies) < 2:
        return studies
    text = st.text_input("Find by name, tag or note", key="find_study", width=320, placeholder="all", live=True)
    asked = text.lower().split()
    return [study for study in studies if all(word in f"{study.name} {study.tags} {study.note}".lower() for word in asked)]


def _row(study: Study) -> dict:
    """Return what the list says about a study."""
    table, objective = trials_of(study), study.search.objectives[0]
    counts = table["outcome"].value_counts()
    shares = [f"{LOOKS[name].symbol} {counts[name] / len(table):.0%}" for name in LOOKS if name in counts.index]
    best, speed, left = best_trial(study, table, objective), speed_of(study), study.job.seconds_left
    return {
        "name": study.name,
        "state": study.job.status,
        "done": min(1.0, study.job.progress if study.job.is_live else study.n_done / max(1, study.n_trials)),
        "trials": study.n_done,
        "best": None if best is None else best[objective],
        "of": ", ".join(study.search.objectives),
        "outcomes": "  ".join(shares),
        "trials/s": f"{speed:.3g}" if speed else "",
        "left": f"{left:.0f} s" if study.job.is_live and left else "",
        "sampler": study.search.sampler + (f", {study.search.pruner}" if study.search.pruner != "none" else ""),
        "searched": ", ".join(study.search.space),
        "tags": study.tags,
        "created": pd.Timestamp(study.created_at, unit="s", tz="UTC"),
    }


def _import_archive(data: bytes) -> None:
    """Offer to bring a study from an archive, under a name that is free."""
    try:
        taken = {study.name for study in the_store().studies()}
        name = st.text_input("Name", free_name(read_manifest(data)["name"], taken), key="archive_name")
        if st.button("Import it", type="primary", key="archive_import"):
            st.query_params["study"] = import_archive(the_store(), data, name)
            st.rerun()
    except BrinkError as error:
        st.markdown(f":red[{literal(str(error))}]")


def import_form() -> None:
    """Let people bring an archive of a study, or a file that Optuna wrote."""
    st.markdown(
        "An archive, as a study offers it under More; or a study that Optuna 4 or 5 made, in an SQLite file or a journal, "
        "which is copied here to be looked at. The file is not changed."
    )
    given = st.file_uploader("File", ENDINGS, key="optuna_file")
    if given is None:
        return
    if given.name.endswith(".zip"):
        _import_archive(given.getvalue())
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "given"
        path.write_bytes(given.getvalue())
        try:
            names = names_in(path)
            name = st.selectbox("Study", names, key="optuna_study") if names else None
            if name is None:
                st.caption("There is no study in this file.")
            elif st.button("Import it", type="primary", key="optuna_import"):
                st.query_params["study"] = import_study(the_store(), path, name)
                st.rerun()
        except BrinkError as error:
            st.markdown(f":red[{literal(str(error).replace(path.name, given.name))}]")
