"""Filters over any column of the table of runs."""

import pandas as pd
import streamlit as st

from engine import FIELDS
from studies.plans import spell_value
from studies.store_runs import COLUMNS

MOST_CHOICES = 60
SHORT = {
    "n_parameters": "parameters",
    "n_iterations": "iterations (set)",
    "iterations": "iterations (done)",
    "overflow_iteration": "first overflow",
    "dtype": "number type",
}


def title(name: str) -> str:
    """Return a column's name for people."""
    return SHORT.get(name) or (FIELDS[name].label if name in FIELDS else name.replace("_", " "))


def filtered(table: pd.DataFrame, rules: dict) -> pd.DataFrame:
    """Return the rows that meet all rules.

    Parameters
    ----------
    rules : dict
        By column: a list of allowed values, a text that has to be contained (capitals do not matter), or a pair
        (least, most) in which None is open; values that are missing or NaN are outside every pair.
    """
    keep = pd.Series(True, index=table.index)
    for name, rule in rules.items():
        column = table[name]
        if isinstance(rule, str):
            keep &= column.fillna("").astype(str).str.contains(rule, case=False, regex=False)
        elif isinstance(rule, list):
            keep &= column.isin(rule) | (column.isna() if None in rule else False)
        else:
            least, most = rule
            keep &= column.notna() if (least, most) != (None, None) else True
            keep &= (column >= least).fillna(False).astype(bool) if least is not None else True
            keep &= (column <= most).fillna(False).astype(bool) if most is not None else True
    return table[keep]


def in_words(rules: dict) -> str:
    """Return rules for people: "activation is relu or tanh and seed at least 2"."""
    words = []
    for name, rule in rules.items():
        if isinstance(rule, str):
            words.append(f"{title(name)} contains {rule!r}")
        elif isinstance(rule, list):
            words.append(f"{title(name)} is {' or '.join(map(spell_value, rule))}")
        else:
            ends = [f"{side} {end}" for side, end in zip(("at least", "at most"), rule, strict=True) if end is not None]
            words.append(f"{title(name)} {' and '.join(ends)}" if ends else "")
    return " and ".join(filter(None, words))


def filter_controls(table: pd.DataFrame) -> dict:
    """Let people choose columns and rules for them, and return the rules."""
    names = st.multiselect("Filter by", list(COLUMNS), format_func=title, key="filter_columns", placeholder="Any column")
    rules = {}
    for name in names:
        rule = _control(table[name], name, COLUMNS[name].removeprefix("optional "))
        if rule is not None:
            rules[name] = rule
    return rules


def _control(column: pd.Series, name: str, kind: str) -> object:
    if kind in ("int", "float"):
        left, right = st.columns(2)
        least = left.number_input(f"{title(name)}, at least", value=None, key=f"least_{name}", format="%g", step=None)
        most = right.number_input(f"{title(name)}, at most", value=None, key=f"most_{name}", format="%g", step=None)
        return None if least is None and most is None else (least, most)
    if kind == "time":
        days = st.date_input(f"{title(name)}, from and to (UTC)", value=(), key=f"days_{name}")
        if len(days) < 2:
            return None
        return pd.Timestamp(days[0], tz="UTC"), pd.Timestamp(days[1], tz="UTC") + pd.Timedelta(days=1)
    values = list(column.drop_duplicates())
    if len(values) <= MOST_CHOICES and name not in ("name", "note", "reason"):
        picked = st.multiselect(title(name), values, key=f"values_{name}", format_func=str)
        return picked or None
    return st.text_input(f"{title(name)} contains", key=f"text_{name}") or None
