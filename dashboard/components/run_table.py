"""The table of runs."""

import pandas as pd
import streamlit as st

from dashboard.charts.outcomes import word
from dashboard.components.run_filter import title
from engine import FIELDS

FIRST = ["name", "outcome", "final_loss", "accuracy", "overflow_iteration"]
LAST = ["best_loss", "reason", "overflow_phase", "overflow_kind", "overflow_count", "status", "iterations", "seconds"]
LAST += ["n_parameters", "fingerprint", "created_at", "note"]
KNOBS = ["task", "cell", "weight_init_std", "learning_rate", "hidden_size", "init_scheme", "activation", "seed"]


def columns() -> list[str]:
    """Return the columns in the order in which people look for them."""
    rest = [name for name in FIELDS if name not in KNOBS]
    return [*FIRST, *KNOBS, *LAST, *rest]


def run_table(runs: pd.DataFrame) -> list[str]:
    """Show runs, let people sort and select rows, and return the ids of the selected ones."""
    view = runs[columns()].copy()
    view["outcome"] = view["outcome"].map(word)
    config = {name: st.column_config.Column(title(name)) for name in view}
    for name in ("final_loss", "best_loss", "weight_init_std", "learning_rate", "seconds"):
        config[name] = st.column_config.NumberColumn(title(name), format="%.4g")
    config["accuracy"] = st.column_config.ProgressColumn(title("accuracy"), format="percent", min_value=0, max_value=1)
    config["created_at"] = st.column_config.DatetimeColumn("created (UTC)", format="YYYY-MM-DD HH:mm:ss")
    config["seed"] = st.column_config.NumberColumn("seed", format="%d")
    event = st.dataframe(
        view,
        column_config=config,
        hide_index=True,
        on_select="rerun",
        selection_mode="multi-row",
        key=f"runs_{st.session_state.get('runs_version', 0)}",
        height=min(420, 38 + 35 * len(view)),
        alt=f"table of {len(view)} runs",
    )
    rows = [row for row in event["selection"]["rows"] if row < len(runs)]
    return list(runs["id"].iloc[rows])
