"""Groups of runs that are compared, and their tables side by side.

The unit of replication is the seed. A run that diverged counts as `studies.objectives` decides, so none is left out.
"""

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pandas as pd

from engine import FIELDS, OUTCOMES, TASKS, RunConfig
from engine.outcomes import judge
from studies import analysis
from studies.errors import PlanError
from studies.imports import ImportedSearch
from studies.objectives import LOST, OBJECTIVES, wilson
from studies.search import Search
from studies.store import Store
from studies.store_studies import Study

MOST_POINTS = 200
"""Budgets at which the best so far is given."""
LEAST_QUANTILES = 10
"""Seeds from which on a band is made of quantiles."""
BUDGETS = {"trials": "trials", "iterations": "iterations", "seconds": "seconds of training"}
SETTINGS = [name for name in FIELDS if name != "seed"]
_JUDGED = dict.fromkeys(("start_loss", "held_out_loss", "final_loss", "best_loss", "baseline", "accuracy"), 0.0)
_DIED = judge(_JUDGED, overflowed=True, died=True)[1]
"""The reason that runs without finite weights have."""


@dataclass(frozen=True)
class Group:
    """Runs that are compared with others.

    Attributes
    ----------
    name : str
    runs : DataFrame
        Columns of `studies.store_runs.COLUMNS` and trial, the number of a configuration within the group; runs that were
        stopped are not among them, and each trial has a seed at most once.
    search : Search or None
        Of a study.
    key : str
        Id of the study or job.
    """

    name: str
    runs: pd.DataFrame
    search: Search | None = None
    key: str = ""


def study_group(store: Store, study: Study) -> Group:
    """Return the finished and pruned runs of a study.

    Raises
    ------
    PlanError
        If the study was imported: then there are no runs.
    """
    if isinstance(study.search, ImportedSearch):
        raise PlanError(
            f"study {study.name!r}: expected one that was made here, found one imported from {study.search.source}, whose "
            "trials have no runs to compare"
        )
    runs = store.runs(study.job.id)
    runs = runs.assign(trial=runs["number"] // study.search.n_seeds)
    return Group(study.name, runs[runs["status"] != "stopped"].reset_index(drop=True), study.search, study.id)


def runs_group(name: str, runs: pd.DataFrame, key: str = "") -> Group:
    """Return a group of any runs, as `Store.runs` returns them; one configuration with one seed counts once."""
    runs = runs[runs["status"] != "stopped"]
    runs = runs.assign(trial=numbered(coded([runs])[0]))
    return Group(name, runs.drop_duplicates(["trial", "seed"]).reset_index(drop=True), None, key)


def distinct(groups: Iterable[Group]) -> list[Group]:
    """Return groups of which no two have the same name: a number is put behind those that repeat one."""
    names: dict[str, None] = {}
    groups = list(groups)
    for group in groups:
        spelled = (f"{group.name} ({i})" if i > 1 else group.name for i in itertools.count(1))
        names[next(name for name in spelled if name not in names)] = None
    return [dataclasses.replace(group, name=name) for group, name in zip(groups, names, strict=True)]


@dataclass(frozen=True)
class Metric:
    """A number that runs are compared by.

    Attributes
    ----------
    label : str
    direction : str
        minimize or maximize.
    note : str
        For people, with what divergence costs.
    of : callable
        `of(runs)` are finite values, shape (runs,), whatever happened to the runs.
    """

    label: str
    direction: str
    note: str
    of: Callable[[pd.DataFrame], np.ndarray]

    @property
    def sign(self) -> int:
        """By what values are multiplied so that larger ones are better."""
        return -1 if self.direction == "minimize" else 1

    @property
    def objective(self) -> str:
        """An objective with the same direction."""
        return "final_loss" if self.direction == "minimize" else "accuracy"


def _baselines(runs: pd.DataFrame) -> list[float]:
    """Return the loss of the best constant answer for each run."""
    names = ["task", "bits", "length", "loss"]
    asked = list(zip(*([None if v is pd.NA else v for v in runs[name]] for name in names), strict=True))
    settings = ({n: v for n, v in zip(names, values, strict=True) if not pd.isna(v)} for values in dict.fromkeys(asked))
    known = {values: RunConfig(**given) for values, given in zip(dict.fromkeys(asked), settings, strict=True)}
    known = {values: TASKS[config.task].baseline(config) for values, config in known.items()}
    return [known[values] for values in asked]


def _by_objective(name: str) -> Callable[[pd.DataFrame], np.ndarray]:
    """Return how a column of the table of runs becomes what a search is told."""

    def values(runs: pd.DataFrame) -> np.ndarray:
        columns = (_baselines(runs), runs["reason"] != _DIED, *(runs[n] for n in ("final_loss", "best_loss", "accuracy")))
        results = (
            SimpleNamespace(
                evidence={"baseline": worth, "weights_finite": alive}, final_loss=end, best_loss=best, accuracy=right
            )
            for worth, alive, end, best, right in zip(*columns, strict=True)
        )
        return np.fromiter((OBJECTIVES[name].of(result) for result in results), float, len(runs))

    return values


def _solved(runs: pd.DataFrame) -> np.ndarray:
    return (runs["outcome"] == "solved").to_numpy(float)


METRICS: dict[str, Metric] = {
    name: Metric(name.replace("_", " "), OBJECTIVES[name].direction, OBJECTIVES[name].note, _by_objective(name))
    for name in ("final_loss", "best_loss", "accuracy")
} | {"solved": Metric("share solved", "maximize", "1 for a run that solved its task, 0 for any other.", _solved)}


def finished(group: Group) -> pd.DataFrame:
    """Return the runs that were trained to their end; pruned ones were not."""
    return group.runs[group.runs["status"] == "finished"]


def units(group: Group, metric: str) -> pd.DataFrame:
    """Return what every run came to, without pruned ones, which have not been trained to their end.

    Returns
    -------
    DataFrame
        trial, seed, value, lost (whether it diverged or overflowed), outcome, run_id: one row per configuration and seed.
    """
    runs = finished(group)
    columns = {"trial": runs["trial"], "seed": runs["seed"], "value": METRICS[metric].of(runs)}
    columns |= {"lost": runs["outcome"].isin(LOST), "outcome": runs["outcome"], "run_id": runs["id"]}
    return pd.DataFrame(columns).reset_index(drop=True)


def distributions(groups: list[Group], metric: str) -> pd.DataFrame:
    """Return the units of groups one below the other, with group and share: the empirical distribution at each value."""
    tables = [units(group, metric).assign(group=group.name) for group in told_apart(groups)]
    tables = [table.assign(share=table["value"].rank(method="max", pct=True)) for table in tables]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=["group", "value", "share"])


def told_apart(groups: list[Group]) -> list[Group]:
    """Return groups as they are, or refuse those that cannot be told apart."""
    names = [group.name for group in groups]
    if len(set(names)) < len(names):
        raise PlanError("expected groups with different names, found one twice; `distinct` numbers them")
    return groups


def best_so_far(groups: list[Group], metric: str, budget: str) -> pd.DataFrame:
    """Return the best value up to a budget, each seed by its own values.

    Parameters
    ----------
    budget : str
        A key of `BUDGETS`: trials, iterations or seconds that one seed's runs took, in the order of the trials. Pruned runs
        cost what they took and have no value.

    Returns
    -------
    DataFrame
        group; budget, at most about `MOST_POINTS` of them, the same for all groups; value, the median over the seeds; low and
        high, and band, what they are in words; n, seeds with a value by then; shared, whether every group has spent so much.
        A group's rows end with its own budget.
    """
    steps = {group.name: _steps(group, METRICS[metric], budget) for group in told_apart(groups)}
    ends = {name: max(float(spent[-1]) for spent, _ in seeds) for name, seeds in steps.items() if seeds}
    columns = ["group", "budget", "value", "low", "high", "band", "n", "shared"]
    if not ends:
        return pd.DataFrame(columns=columns)
    starts = [float(spent[0]) for seeds in steps.values() for spent, _ in seeds]
    grid = np.linspace(min(starts), max(ends.values()), MOST_POINTS)
    if budget == "trials":
        grid = np.unique(np.round(np.linspace(1, max(ends.values()), min(MOST_POINTS, int(max(ends.values()))))))
    grid = np.unique([*grid, *ends.values()])
    tables = []
    for name, end in ends.items():
        table = _band(steps[name], grid[grid <= end], METRICS[metric])
        table["shared"] = table["budget"] <= min(ends.values())
        tables.append(table.assign(group=name)[columns])
    return pd.concat(tables, ignore_index=True)


def _steps(group: Group, metric: Metric, budget: str) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return for each seed what was spent after each of its trials and the best value by then (NaN: none yet)."""
    runs = group.runs.sort_values(["seed", "trial"])
    if runs.empty:
        return []
    values = np.where(runs["status"] == "finished", metric.of(runs) * metric.sign, -np.inf)
    costs = np.ones(len(runs)) if budget == "trials" else runs[budget].to_numpy(float)
    cuts = np.flatnonzero(np.diff(runs["seed"].to_numpy())) + 1
    steps = []
    for cost, value in zip(np.split(costs, cuts), np.split(values, cuts), strict=True):
        best = np.maximum.accumulate(value)
        steps.append((np.cumsum(cost), np.where(np.isfinite(best), best * metric.sign, np.nan)))
    return steps


def _band(steps: list[tuple[np.ndarray, np.ndarray]], grid: np.ndarray, metric: Metric) -> pd.DataFrame:
    """Return median and band over seeds at each budget of a grid where one of them has a value."""
    places = [np.searchsorted(spent, grid, side="right") for spent, _ in steps]
    values = np.array([np.append(np.nan, best)[place] for (_, best), place in zip(steps, places, strict=True)])
    n = np.isfinite(values).sum(axis=0)
    grid, values, n = grid[n > 0], values[:, n > 0], n[n > 0]
    few = len(steps) < LEAST_QUANTILES
    low, middle, high = np.nanquantile(values, [0.0, 0.5, 1.0] if few else [0.1, 0.5, 0.9], axis=0)
    words = "one seed" if len(steps) == 1 else f"all {len(steps)} seeds" if few else "10 % to 90 % of the seeds"
    return pd.DataFrame({"budget": grid, "value": middle, "low": low, "high": high, "band": words, "n": n})


def outcome_shares(groups: list[Group]) -> pd.DataFrame:
    """Return how often runs ended in each outcome that occurs, pruned ones left out.

    Returns
    -------
    DataFrame
        group, outcome, n, share, low, high: Wilson's interval (95 %) for independent runs; those of one seed are alike, so
        with many configurations it is too narrow.
    """
    counts = {group.name: finished(group)["outcome"].value_counts() for group in told_apart(groups)}
    rows = []
    for name, found in counts.items():
        total = int(found.sum())
        for outcome in OUTCOMES:
            n = int(found.get(outcome, 0))
            if any(outcome in others for others in counts.values()):
                rows.append((name, outcome, n, n / total if total else math.nan, *wilson(n, total)))
    return pd.DataFrame(rows, columns=["group", "outcome", "n", "share", "low", "high"])


def importances(groups: list[Group], metric: str) -> pd.DataFrame:
    """Return by how much each searched setting decides a metric: settings by groups, most important first.

    NaN where a group does not search a setting, has too few trials, or no search at all.
    """
    found = {group.name: _importances(group, METRICS[metric], metric) for group in told_apart(groups)}
    table = pd.DataFrame(found, index=[name for name in FIELDS if any(name in shares for shares in found.values())])
    return table.loc[table.mean(axis=1).sort_values(ascending=False, kind="stable").index]


def _importances(group: Group, metric: Metric, name: str) -> pd.Series:
    if group.search is None:
        return pd.Series(dtype=float)
    space = list(group.search.space)
    first = finished(group).drop_duplicates("trial").set_index("trial")
    table = first[space].assign(state="complete")
    table[metric.objective] = units(group, name).groupby("trial")["value"].mean()
    return analysis.importances(table, group, metric.objective)


def coded(tables: list[pd.DataFrame]) -> list[pd.DataFrame]:
    """Return the settings of tables as whole numbers, equal where values are equal; settings that are equal everywhere go."""
    cuts, codes = np.cumsum([len(table) for table in tables])[:-1], {}
    for name in SETTINGS:
        column, values = pd.factorize(pd.concat([table[name] for table in tables], ignore_index=True))
        if len(values) + (column < 0).any() > 1:
            codes[name] = np.split(column, cuts)
    return [pd.DataFrame({name: parts[i] for name, parts in codes.items()}, index=t.index) for i, t in enumerate(tables)]


def numbered(codes: pd.DataFrame) -> np.ndarray:
    """Return the numbers of the different rows in the order of their first appearance: shape (rows,)."""
    numbers = np.zeros(len(codes), np.int64)
    for name in codes:
        column = codes[name].to_numpy() + 1
        numbers = pd.factorize(numbers * (column.max(initial=0) + 1) + column)[0]
    return numbers


def count(n: int, what: str) -> str:
    """Return "one seed" or "5 seeds"."""
    return f"one {what}" if n == 1 else f"{n:,} {what}s"
