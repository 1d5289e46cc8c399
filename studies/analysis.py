"""A study's trials as a table, and which settings mattered."""

import warnings

import numpy as np
import pandas as pd

from engine import OUTCOMES
from studies.objectives import OBJECTIVES
from studies.store import Store
from studies.store_studies import Study

LEAST_TRIALS = 8
"""Finished trials from which on importances are worth a look."""


def trials_table(store: Store, study: Study) -> pd.DataFrame:
    """Return a study's finished trials, one row each.

    Returns
    -------
    DataFrame
        number; the searched settings under their names; for each objective its mean under its name, and its median and spread
        over the seeds as median_... and spread_...; n seeds, n_lost of them diverged or overflowed, lost_low and lost_high
        (95 %); outcome, the most frequent one (of equal ones the first of `OUTCOMES`); run_id of the first seed's run.
    """
    search, trials = study.search, store.trials(study.id)
    names = search.objectives
    rows = []
    for trial in trials:
        s = trial.summary
        row = {"number": trial.number} | trial.params | dict(zip(names, s.values, strict=True))
        row |= {f"median_{name}": value for name, value in zip(names, s.medians, strict=True)}
        row |= {f"spread_{name}": value for name, value in zip(names, s.spreads, strict=True)}
        rows.append(row | {"n": s.n, "n_lost": s.n_lost, "lost_low": s.lost_low, "lost_high": s.lost_high})
    columns = ["number", *search.space, *names, *(f"median_{n}" for n in names), *(f"spread_{n}" for n in names)]
    table = pd.DataFrame(rows, columns=[*columns, "n", "n_lost", "lost_low", "lost_high"])
    runs = store.runs(study.job.id)[["number", "outcome", "id"]]
    runs = runs.assign(trial=runs["number"] // search.n_seeds)
    order = pd.Categorical(runs["outcome"], list(OUTCOMES), ordered=True)
    counts = pd.crosstab(runs["trial"], order, dropna=False)
    outcomes = counts.idxmax(axis=1) if len(counts) else pd.Series(dtype=object)
    first = runs.drop_duplicates("trial").set_index("trial")["id"]
    return table.assign(outcome=table["number"].map(outcomes).astype(object), run_id=table["number"].map(first).astype(object))


def best_so_far(values: pd.Series, objective: str) -> pd.Series:
    """Return the best value up to each trial."""
    return values.cummin() if OBJECTIVES[objective].direction == "minimize" else values.cummax()


def on_the_front(table: pd.DataFrame, objectives: tuple[str, str]) -> np.ndarray:
    """Return which trials no other one beats in both objectives: shape (trials,), bool."""
    signs = [1 if OBJECTIVES[name].direction == "minimize" else -1 for name in objectives]
    points = np.column_stack([sign * table[name].to_numpy(float) for sign, name in zip(signs, objectives, strict=True)])
    front, lowest = np.zeros(len(points), bool), np.inf
    order = np.lexsort((points[:, 1], points[:, 0]))
    last = None
    for place in order:
        if points[place, 1] < lowest or (last is not None and (points[place] == last).all()):
            front[place], lowest, last = True, points[place, 1], points[place]
    return front


def importances(table: pd.DataFrame, study: Study, objective: str) -> pd.Series:
    """Return by how much each searched setting decides an objective, as shares of 1, most important first.

    PED-ANOVA (Watanabe, Bansal & Hutter 2023) by Optuna; empty with fewer than `LEAST_TRIALS` trials or equal values.
    """
    if len(table) < LEAST_TRIALS or table[objective].nunique() < 2:
        return pd.Series(dtype=float)
    import optuna
    from optuna.trial import TrialState, create_trial

    from studies.sampling import distributions

    known = distributions(study.search)
    space = {name: known[name] for name in study.search.space if table[name].nunique() > 1}
    if not space:
        return pd.Series(dtype=float)
    mirror = optuna.create_study(direction=OBJECTIVES[objective].direction)
    columns = list(study.search.space)
    mirror.add_trials(
        create_trial(
            state=TrialState.COMPLETE, params=dict(zip(columns, values, strict=True)), distributions=known, value=value
        )
        for values, value in zip(table[columns].itertuples(index=False, name=None), table[objective], strict=True)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        found = optuna.importance.get_param_importances(mirror, params=list(space))
    return pd.Series(found, dtype=float).sort_values(ascending=False)
