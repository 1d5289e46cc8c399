"""Compares studies and groups of runs: tables side by side, and whether one is better than another.

The unit of replication is the seed: what several configurations came to with one seed is averaged first, because they share
their data and initial noise. A run that diverged counts as `studies.objectives` decides, so none is left out.
"""

import copy
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
from studies.objectives import LOST, OBJECTIVES, Z, wilson
from studies.plans import describe, spell_value
from studies.search import Choices, Range, Search
from studies.store import Store
from studies.store_studies import Study

ALPHA = 0.05
"""Share of false alarms that is allowed: over all pairs together, by Holm's correction."""
POWER = 0.8
"""Chance of a decision that `n_more` asks for."""
MOST_SEEDS = 1000
"""Seeds beyond which a difference is too small to be worth the training."""
LEAST_RESAMPLED = 8
"""Seeds from which on an interval is bootstrapped; of fewer there are too few different samples."""
RESAMPLES, MOST_DRAWN = 1999, 4_000_000
"""Bootstrap samples, and the most values drawn for them (fewer samples of very many seeds do)."""
MOST_EXACT = 50
"""Values up to which a rank test is exact."""
MOST_POINTS = 200
"""Budgets at which the best so far is given."""
LEAST_QUANTILES = 10
"""Seeds from which on a band is made of quantiles."""
MOST_CHOICES = 12
"""Different numbers up to which runs without a search are taken as trying some values, not a range."""
BUDGETS = {"trials": "trials", "iterations": "iterations", "seconds": "seconds of training"}
WHICH = {
    "best": "shared configurations and seeds where there are any, or else the winners",
    "shared": "what both trained alike",
    "winners": "the best configuration of each",
    "all": "all configurations, averaged",
}
"""What of two groups is compared."""
_SETTINGS = [name for name in FIELDS if name != "seed"]
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
    runs = runs.assign(trial=_numbered(_coded([runs])[0]))
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


def _finished(group: Group) -> pd.DataFrame:
    return group.runs[group.runs["status"] == "finished"]


def units(group: Group, metric: str) -> pd.DataFrame:
    """Return what every run came to, without pruned ones, which have not been trained to their end.

    Returns
    -------
    DataFrame
        trial, seed, value, lost (whether it diverged or overflowed), outcome, run_id: one row per configuration and seed.
    """
    runs = _finished(group)
    columns = {"trial": runs["trial"], "seed": runs["seed"], "value": METRICS[metric].of(runs)}
    columns |= {"lost": runs["outcome"].isin(LOST), "outcome": runs["outcome"], "run_id": runs["id"]}
    return pd.DataFrame(columns).reset_index(drop=True)


def distributions(groups: list[Group], metric: str) -> pd.DataFrame:
    """Return the units of groups one below the other, with group and share: the empirical distribution at each value."""
    tables = [units(group, metric).assign(group=group.name) for group in _named(groups)]
    tables = [table.assign(share=table["value"].rank(method="max", pct=True)) for table in tables]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=["group", "value", "share"])


def _named(groups: list[Group]) -> list[Group]:
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
    steps = {group.name: _steps(group, METRICS[metric], budget) for group in _named(groups)}
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
    counts = {group.name: _finished(group)["outcome"].value_counts() for group in _named(groups)}
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
    found = {group.name: _importances(group, METRICS[metric], metric) for group in _named(groups)}
    table = pd.DataFrame(found, index=[name for name in FIELDS if any(name in shares for shares in found.values())])
    return table.loc[table.mean(axis=1).sort_values(ascending=False, kind="stable").index]


def _importances(group: Group, metric: Metric, name: str) -> pd.Series:
    if group.search is None:
        return pd.Series(dtype=float)
    space = list(group.search.space)
    first = _finished(group).drop_duplicates("trial").set_index("trial")
    table = first[space].assign(state="complete")
    table[metric.objective] = units(group, name).groupby("trial")["value"].mean()
    return analysis.importances(table, group, metric.objective)


def _spell(value: object) -> str:
    return spell_value(float(f"{value:.4g}") if isinstance(value, float) else value)


def _words(part: Range | Choices) -> str:
    """Return a part of a space in words."""
    if isinstance(part, Choices):
        return ", ".join(_spell(value) for value in part.values)
    step = f" in steps of {_spell(part.step)}" if part.step else " (log)" if part.log else ""
    return f"{_spell(part.low)} to {_spell(part.high)}{step}"


def _observed(name: str, column: pd.Series) -> Range | Choices:
    """Return what runs have of a setting: a range of many numbers, else the values; a missing one is None."""
    values = column.drop_duplicates()
    known = values.dropna().tolist()
    if FIELDS[name].kind in ("int", "float"):
        known = sorted(known)
        if len(known) > MOST_CHOICES and len(known) == len(values):
            return Range(known[0], known[-1])
    return Choices([*known, *([None] if len(known) < len(values) else [])])


def _space(group: Group) -> dict[str, Range | Choices]:
    """Return what a group has or searches of each setting; of a study not what follows from others."""
    search, space = group.search, {}
    for name in _SETTINGS:
        if search is not None and name in search.space:
            space[name] = search.space[name]
        elif len(group.runs):
            part = _observed(name, group.runs[name])
            if search is None or (isinstance(part, Choices) and len(part.values) == 1):
                space[name] = part
        elif search is not None and name in search.fixed:
            space[name] = Choices([search.fixed[name]])
    return space


def _region(part: Range | Choices | None) -> object:
    """Return what of a part decides which values lie in it."""
    return (part.low, part.high, part.step) if isinstance(part, Range) else part and frozenset(part.values)


def differences(groups: list[Group]) -> pd.DataFrame:
    """Return what groups do not have in common, in words: settings (index) by group (columns), and the seeds.

    A fixed value, the choices, or the range; empty where it follows from other settings or nothing is known.
    """
    rows: dict[str, list[str]] = {}
    spaces = [_space(group) for group in _named(groups)]
    for name in _SETTINGS:
        parts = [space.get(name) for space in spaces]
        if len({(_region(part), getattr(part, "log", False)) for part in parts}) > 1:
            rows[name] = ["" if part is None else _words(part) for part in parts]
    seeds = [_seeds(group) for group in groups]
    rows |= {"seed": seeds} if len(set(seeds)) > 1 else {}
    for name in ("sampler", "pruner"):
        words = [getattr(group.search, name, "") for group in groups]
        rows |= {name: words} if len(set(words)) > 1 else {}
    return pd.DataFrame(list(rows.values()), index=list(rows), columns=[group.name for group in groups], dtype=object)


def _seeds(group: Group) -> str:
    """Return the seeds of a group as short as people write them: 1-5, 8."""
    seeds = np.unique(group.runs["seed"].to_numpy(int))
    pieces = np.split(seeds, np.flatnonzero(np.diff(seeds) > 1) + 1) if len(seeds) else []
    words = [f"{piece[0]}-{piece[-1]}" if len(piece) > 2 else ", ".join(map(str, piece)) for piece in pieces]
    return ", ".join([*words[:MOST_CHOICES], *(["..."] if len(words) > MOST_CHOICES else [])])


def winners(groups: list[Group], metric: str) -> pd.DataFrame:
    """Return the best configuration of each group by its mean over the seeds, of equal ones the first.

    Configurations with less than half as many seeds as the fullest one cannot win: one seed may be lucky.

    Returns
    -------
    DataFrame
        group, trial, settings (those that the group varies, in words), value (mean), spread (standard deviation, 0 of one
        seed), n (seeds), n_lost, run_id of the first seed. A group without a finished run has no row.
    """
    rows = []
    for group in _named(groups):
        table = units(group, metric)
        if table.empty:
            continue
        trial = _winner(table, METRICS[metric])
        mine = table[table["trial"] == trial].sort_values("seed")
        run = group.runs[group.runs["id"] == mine["run_id"].iloc[0]].iloc[0]
        spread = float(mine["value"].std()) if len(mine) > 1 else 0.0
        row = (group.name, trial, _settings(group, run), mine["value"].mean(), spread)
        rows.append((*row, len(mine), int(mine["lost"].sum()), run["id"]))
    return pd.DataFrame(rows, columns=["group", "trial", "settings", "value", "spread", "n", "n_lost", "run_id"])


def _winner(table: pd.DataFrame, metric: Metric) -> int:
    """Return the trial with the best mean, among those with enough seeds."""
    trials = table.groupby("trial")["value"].agg(["mean", "size"])
    enough = trials[trials["size"] * 2 >= trials["size"].max()]
    return int((enough["mean"] * metric.sign).idxmax())


def _settings(group: Group, run: pd.Series) -> str:
    """Return the settings of a run that its group varies, in words; where it varies none, what is not the classic's."""
    values = {name: None if pd.isna(run[name]) else np.asarray(run[name]).item() for name in _SETTINGS}
    values = {name: float(f"{v:.4g}") if isinstance(v, float) else v for name, v in values.items()}
    varied = [name for name, part in _space(group).items() if not isinstance(part, Choices) or len(part.values) > 1]
    return describe(values, varied or None) or "classic exercise"


@dataclass(frozen=True)
class Comparison:
    """Whether B is better than A. All differences are above 0 where B is better, whatever the metric.

    Attributes
    ----------
    a, b, metric : str
        Names of the groups, key of `METRICS`.
    paired : bool
    by : str
        What was compared with what, in words.
    unit : str
        seed, or configuration where there is but one seed: then nothing is decided, because the seed's luck is in all of them.
    n_a, n_b : int
        Units; the same number if paired.
    mean_a, mean_b : float
        In the metric's own unit.
    difference, low, high : float
        How much better B is on average: A - B of a loss, B - A of an accuracy. With its 95 % interval; NaN: none.
    interval : str
        How it was found.
    p_improvement, p_improvement_low, p_improvement_high : float
        Probability that B is better than A with the same seed (paired) or any two seeds; a tie counts half.
    effect, effect_name : float, str
        Cohen's dz (mean over standard deviation of the differences) or Hedges' g (pooled, corrected for few seeds).
    p_value, test : float, str
        NaN where nothing can be tested.
    p_holm : float
        Corrected for the number of pairs that were compared together.
    verdict : str
        "B is better", "A is better" with the groups' names, or "not decided".
    n_more : int or None
        About how many more seeds (in each group) would decide it, if the difference is what it seems; None if it is decided,
        hopeless, or there is nothing to compare.
    lost_a, lost_b : float
        Shares of the compared runs that diverged or overflowed.
    lost_difference, lost_low, lost_high : float
        A - B with its 95 % interval: above 0 where B is lost less often.
    lost_p, lost_p_holm, lost_test : float, float, str
    notes : tuple of str
        What to keep in mind.
    """

    a: str
    b: str
    metric: str
    paired: bool = False
    by: str = "nothing to compare"
    unit: str = "seed"
    n_a: int = 0
    n_b: int = 0
    mean_a: float = math.nan
    mean_b: float = math.nan
    difference: float = math.nan
    low: float = math.nan
    high: float = math.nan
    interval: str = "none"
    p_improvement: float = math.nan
    p_improvement_low: float = math.nan
    p_improvement_high: float = math.nan
    effect: float = math.nan
    effect_name: str = "none"
    p_value: float = math.nan
    test: str = "none"
    p_holm: float = math.nan
    verdict: str = "not decided"
    n_more: int | None = None
    lost_a: float = math.nan
    lost_b: float = math.nan
    lost_difference: float = math.nan
    lost_low: float = math.nan
    lost_high: float = math.nan
    lost_p: float = math.nan
    lost_p_holm: float = math.nan
    lost_test: str = "none"
    notes: tuple[str, ...] = ()

    @property
    def is_decided(self) -> bool:
        """Whether one is better than the other."""
        return self.verdict != "not decided"

    @property
    def sentence(self) -> str:
        """The difference in words: what B's metric is beside A's."""
        metric = METRICS[self.metric]
        if math.isnan(self.difference):
            return f"There is no {metric.label} of both to compare."
        raw = metric.sign * self.difference
        ends = sorted(metric.sign * end for end in (self.low, self.high))
        within = "" if math.isnan(self.low) else f" (95 %: {_signed(ends[0])} to {_signed(ends[1])})"
        if raw == 0:
            return f"The {metric.label} of {self.b} and {self.a} is the same on average{within}."
        than = f"{'lower' if raw < 0 else 'higher'} than that of {self.a}"
        return f"The {metric.label} of {self.b} is on average {abs(raw):.3g} {than}{within}."


def _signed(value: float) -> str:
    return f"{value:+.3g}".replace("-", "\N{MINUS SIGN}") if value else "0"


@dataclass(frozen=True)
class _Side:
    """One group as it is compared: its units, the codes of its settings (runs, settings), and what it has of each setting."""

    group: Group
    units: pd.DataFrame
    codes: pd.DataFrame
    space: dict


@dataclass(frozen=True)
class _Match:
    """What is compared: value and lost by unit, of A and of B in the same order if paired."""

    a: pd.DataFrame
    b: pd.DataFrame
    paired: bool
    by: str
    unit: str = "seed"
    notes: tuple[str, ...] = ()


def compare(a: Group, b: Group, metric: str, which: str = "best") -> Comparison:
    """Return whether B is better than A.

    Settings in which the groups differ throughout are what is compared: a number or a word each, or words against others.
    Configurations that are equal but for those are shared. What shared configurations came to with a seed is averaged, so
    that there is one difference per shared seed; with one seed only, there is one per shared configuration. Without shared
    seeds, or with few among many others, the averages by seed are compared unpaired; without shared configurations the
    winners, paired by seed in the same way.

    Parameters
    ----------
    which : str
        A key of `WHICH`.

    Raises
    ------
    PlanError
        If only what is shared is asked for, and there is none.
    """
    return _pairs([a, b], metric, which)[0]


def compare_all(groups: list[Group], metric: str, which: str = "best") -> list[Comparison]:
    """Return the comparisons of all pairs of groups, each with the later one as B.

    `p_holm` and verdicts allow for the number of pairs: Holm (1979), "A simple sequentially rejective multiple test procedure".
    """
    return _pairs(_named(groups), metric, which)


def _pairs(groups: list[Group], metric: str, which: str) -> list[Comparison]:
    """Return the comparisons of all pairs, corrected and decided."""
    if which not in WHICH:
        raise PlanError(f"which: expected one of {', '.join(WHICH)}, found {which!r}")
    sides = _sides(groups, metric)
    found = [_compared(a, b, metric, which) for a, b in itertools.combinations(sides, 2)]
    corrected = zip(holm([c.p_value for c in found]), holm([c.lost_p for c in found]), strict=True)
    n_tests = sum(not math.isnan(c.p_value) for c in found)
    return [_decided(c, float(p), float(lost), n_tests) for c, (p, lost) in zip(found, corrected, strict=True)]


def holm(p_values: list[float]) -> np.ndarray:
    """Return p-values corrected for their number by Holm's method: shape (pairs,); NaN stays and does not count."""
    p_values = np.asarray(p_values, float)
    order = np.argsort(p_values, kind="stable")[: np.isfinite(p_values).sum()]
    corrected = np.full(len(p_values), np.nan)
    factors = len(order) - np.arange(len(order))
    corrected[order] = np.maximum.accumulate(np.minimum(1.0, p_values[order] * factors))
    return corrected


def _coded(tables: list[pd.DataFrame]) -> list[pd.DataFrame]:
    """Return the settings of tables as whole numbers, equal where values are equal; settings that are equal everywhere go."""
    cuts, codes = np.cumsum([len(table) for table in tables])[:-1], {}
    for name in _SETTINGS:
        column, values = pd.factorize(pd.concat([table[name] for table in tables], ignore_index=True))
        if len(values) + (column < 0).any() > 1:
            codes[name] = np.split(column, cuts)
    return [pd.DataFrame({name: parts[i] for name, parts in codes.items()}, index=t.index) for i, t in enumerate(tables)]


def _numbered(codes: pd.DataFrame) -> np.ndarray:
    """Return the numbers of the different rows in the order of their first appearance: shape (rows,)."""
    numbers = np.zeros(len(codes), np.int64)
    for name in codes:
        column = codes[name].to_numpy() + 1
        numbers = pd.factorize(numbers * (column.max(initial=0) + 1) + column)[0]
    return numbers


def _sides(groups: list[Group], metric: str) -> list[_Side]:
    codes = _coded([_finished(group) for group in groups])
    return [_Side(g, units(g, metric), c.reset_index(drop=True), _space(g)) for g, c in zip(groups, codes, strict=True)]


def _differ_throughout(a: _Side, b: _Side) -> list[str]:
    """Return the settings that are what is compared."""
    names = []
    for name in a.codes:
        mine, others = (set(np.unique(side.codes[name])) for side in (a, b))
        is_word = FIELDS[name].kind in ("choice", "bool")
        absent = {-1} in (mine, others)
        if not mine & others and (is_word or absent or len(mine) == len(others) == 1):
            names.append(name)
    return names


def _compared(a: _Side, b: _Side, metric: str, which: str) -> Comparison:
    """Return a comparison without correction and verdict."""
    names = {"a": a.group.name, "b": b.group.name, "metric": metric}
    if empty := [side.group.name for side in (a, b) if side.units.empty]:
        return Comparison(**names, notes=tuple(f"{name} has no finished runs." for name in empty))
    apart = _differ_throughout(a, b)
    match = _matched(a, b, apart, METRICS[metric], which)
    sign, paired = METRICS[metric].sign, match.paired
    x, y = (sign * table["value"].to_numpy(float) for table in (match.a, match.b))
    lost_a, lost_b = (table["lost"].to_numpy(float) for table in (match.a, match.b))
    low, high, how = interval(x, y, paired, metric == "solved")
    p_value, test = rank_test(x, y, paired, metric == "solved")
    improved = probability_of_improvement(x, y, paired)
    lost_low, lost_high, _ = interval(1 - lost_a, 1 - lost_b, paired, shares=True)
    lost_p, lost_test = rank_test(1 - lost_a, 1 - lost_b, paired, shares=True)
    effect, effect_name = effect_size(x, y, paired)
    return Comparison(
        **names,
        paired=paired,
        by=match.by,
        unit=match.unit,
        n_a=len(x),
        n_b=len(y),
        mean_a=float(sign * x.mean()),
        mean_b=float(sign * y.mean()),
        difference=_gain(x, y, paired),
        low=low,
        high=high,
        interval=how,
        p_improvement=improved[0],
        p_improvement_low=improved[1],
        p_improvement_high=improved[2],
        effect=effect,
        effect_name=effect_name,
        p_value=p_value,
        test=test,
        lost_a=float(lost_a.mean()),
        lost_b=float(lost_b.mean()),
        lost_difference=_gain(-lost_a, -lost_b, paired),
        lost_low=lost_low,
        lost_high=lost_high,
        lost_p=lost_p,
        lost_test=lost_test,
        notes=(*match.notes, *_notes(a, b, apart, match)),
    )


def _matched(a: _Side, b: _Side, apart: list[str], metric: Metric, which: str) -> _Match:
    """Return what of two groups is compared."""
    if which == "all":
        return _by_seed(a.units, b.units, "all configurations: ")
    if which in ("best", "shared"):
        match = _shared(a, b, apart)
        if match is not None:
            return match
        if which == "shared":
            raise PlanError(
                f"{a.group.name} and {b.group.name}: expected shared configurations, found none; compare the winners instead"
            )
    best = [side.units[side.units["trial"] == _winner(side.units, metric)] for side in (a, b)]
    match = _by_seed(*best, "winners: ")
    if any(side.units["trial"].nunique() > 1 for side in (a, b)):
        note = "The winners were chosen by the same seeds: their means are optimistic; new seeds would show how much."
        match = dataclasses.replace(match, notes=(*match.notes, note))
    return match


def _shared(a: _Side, b: _Side, apart: list[str]) -> _Match | None:
    """Return what both groups trained alike, paired by seed where they share seeds; None without a shared configuration."""
    codes = pd.concat([side.codes.drop(columns=apart) for side in (a, b)], ignore_index=True)
    numbers = np.split(_numbered(codes), [len(a.units)])
    tables = [side.units.assign(configuration=n) for side, n in zip((a, b), numbers, strict=True)]
    cells = [table.groupby(["configuration", "seed"])[["value", "lost"]].mean() for table in tables]
    both = cells[0].index.intersection(cells[1].index).sort_values()
    n_configurations, n_seeds = (both.get_level_values(level).nunique() for level in ("configuration", "seed"))
    of = _count(n_configurations, "shared configuration")
    common = np.intersect1d(*(table["configuration"] for table in tables))
    alike = [table[table["configuration"].isin(common)] for table in tables]
    fewer = min(table["seed"].nunique() for table in alike)
    if len(common) and fewer > 1 and not _worth_pairing(n_seeds, fewer):
        return _by_seed(*alike, f"{_count(len(common), 'shared configuration')}, other seeds: ")
    if n_seeds == 1 and n_configurations > 1:
        parts = [table.loc[both].droplevel("seed") for table in cells]
        note = "One shared seed: p and interval tell of other configurations, not of other seeds; train more seeds to decide."
        return _Match(*parts, paired=True, by=f"{of} with one seed, paired", unit="configuration", notes=(note,))
    if n_seeds:
        parts = [table.loc[both].groupby("seed").mean() for table in cells]
        uneven = len(both) < n_seeds * n_configurations
        notes = ("Not every shared seed has every shared configuration.",) if uneven else ()
        n_trials = [table["configuration"].nunique() for table in tables]
        if 2 * n_configurations < max(n_trials):
            notes += (f"Of {n_trials[0]:,} and {n_trials[1]:,} configurations {n_configurations:,} are shared.",)
        return _Match(*parts, paired=True, by=f"{_count(n_seeds, 'shared seed')} of {of}, paired", notes=notes)
    if not len(common):
        return None
    return _by_seed(*alike, f"{_count(len(common), 'shared configuration')}, other seeds: ")


def _worth_pairing(n_shared: int, fewer: int) -> bool:
    """Return whether shared seeds are two or more and at least half of those of the group with fewer seeds."""
    return n_shared > 1 and 2 * n_shared >= fewer


def _count(n: int, what: str) -> str:
    return f"one {what}" if n == 1 else f"{n:,} {what}s"


def _by_seed(a: pd.DataFrame, b: pd.DataFrame, start: str) -> _Match:
    """Return averages by seed, paired over shared seeds if there are enough of them, or no others."""
    a, b = (table.groupby("seed")[["value", "lost"]].mean() for table in (a, b))
    both = a.index.intersection(b.index)
    if _worth_pairing(len(both), min(len(a), len(b))) or len(both) == len(a) == len(b):
        return _Match(a.loc[both], b.loc[both], True, f"{start}{_count(len(both), 'shared seed')}, paired")
    return _Match(a, b, False, f"{start}{_count(len(a), 'seed')} against {_count(len(b), 'seed')}, unpaired")


def _notes(a: _Side, b: _Side, apart: list[str], match: _Match) -> list[str]:
    """Return what else to keep in mind about a comparison."""
    notes, least, fewest = [], min(len(match.a), len(match.b)), _fewest(match.paired, ALPHA)
    if match.unit == "seed" and least < 2:
        notes.append(f"One seed shows no scatter, so nothing is tested: train {fewest} seeds or more.")
    elif match.unit == "seed" and least < fewest:
        smallest = 2.0 ** (1 - least) if match.paired else 2 / math.comb(len(match.a) + len(match.b), least)
        if smallest > ALPHA:
            notes.append(f"With fewer than {fewest} seeds the smallest possible p is {smallest:.2g}.")
    if apart:
        notes.append("Compared: " + "; ".join(_against(a, b, name) for name in apart) + ".")
    other = [name for name in _apart_in_space(a.space, b.space) if name not in apart]
    if other:
        notes.append("Spaces differ: " + "; ".join(_against(a, b, name) for name in other) + ".")
    if {"task", "loss", "bits", "length"} & {*apart, *other}:
        notes.append("The tasks or their losses differ: losses of different units are compared.")
    for side in (a, b):
        n_pruned = int((side.group.runs["status"] == "pruned").sum())
        if n_pruned:
            notes.append(f"{_count(n_pruned, 'pruned run')} of {side.group.name} left out: not trained to the end.")
    return notes


def _against(a: _Side, b: _Side, name: str) -> str:
    """Return what two groups have of a setting, in words."""
    words = (_words(side.space[name]) if name in side.space else "several" for side in (a, b))
    return f"{FIELDS[name].label} " + " against ".join(words)


def _decided(found: Comparison, p_holm: float, lost_p_holm: float, n_tests: int) -> Comparison:
    """Return a comparison with verdict, after the correction for several pairs."""
    verdict, n_more, notes = "not decided", None, list(found.notes)
    better = np.sign(found.difference) if np.isfinite(found.difference) else 0.0
    if found.unit == "configuration":
        n_more = _fewest(paired=True, alpha=ALPHA / max(1, n_tests)) - 1
    elif p_holm <= ALPHA and better and better == np.sign(found.p_improvement - 0.5):
        verdict = f"{found.b if better > 0 else found.a} is better"
        if not (found.low > 0 or found.high < 0):
            notes.append("The ranks decide: the interval of the mean difference holds 0.")
    elif found.n_a and found.n_b:
        n_more = _n_more(found, ALPHA / max(1, n_tests))
        if p_holm <= ALPHA:
            notes.append("Ranks and means point in different directions: a few seeds with large differences decide the mean.")
        elif not found.difference:
            notes.append("No difference was seen: how many seeds would decide it cannot be told.")
        elif n_more is None:
            notes.append(f"More than {MOST_SEEDS:,} seeds would be needed for a difference as small as this one.")
    return dataclasses.replace(
        found, p_holm=p_holm, lost_p_holm=lost_p_holm, verdict=verdict, n_more=n_more, notes=tuple(notes)
    )


def _fewest(paired: bool, alpha: float) -> int:
    """Return with how many seeds in each group an exact rank test can reach alpha at all."""
    smallest = (2.0 ** (1 - n) if paired else 2 / math.comb(2 * n, n) for n in itertools.count(2))
    return next(n for n, p in enumerate(smallest, 2) if p <= alpha)


def _n_more(found: Comparison, alpha: float) -> int | None:
    """Return how many more seeds would decide it with a chance of `POWER`, or None if more than `MOST_SEEDS` in all.

    Normal approximation with its correction for few seeds, divided by 3 / pi, the efficiency of the rank tests for normal
    values (Lehmann 1975, "Nonparametrics", appendix). With one seed: as many as could decide anything.
    """
    from scipy.special import ndtri

    least, n = _fewest(found.paired, alpha), min(found.n_a, found.n_b)
    if n < 2:
        return least - n
    if not found.effect:
        return None
    quantile = ndtri(1 - alpha / 2)
    wanted = ((quantile + ndtri(POWER)) / found.effect) ** 2
    wanted = (wanted if found.paired else 2 * wanted) + quantile**2 / (2 if found.paired else 4)
    needed = max(least, wanted * math.pi / 3)
    return max(1, math.ceil(needed) - n) if needed <= MOST_SEEDS else None


def _gain(a: np.ndarray, b: np.ndarray, paired: bool) -> float:
    """Return the mean of b less that of a."""
    return float((b - a).mean() if paired else b.mean() - a.mean())


def _is_binary(*samples: np.ndarray) -> bool:
    return all(np.isin(sample, (0.0, 1.0)).all() for sample in samples)


def interval(a: np.ndarray, b: np.ndarray, paired: bool, shares: bool = False) -> tuple[float, float, str]:
    """Return the 95 % interval of how much larger b is than a on average, and how it was found.

    The symmetric studentized (percentile-t) bootstrap: Efron & Tibshirani (1993), "An introduction to the bootstrap", section
    12.5; Hall (1988), "On symmetric bootstrap confidence intervals". With ten seeds plain percentiles cover the truth in about
    90 % of all cases, and studentized ones with two different ends in 91 to 94 % if the values are skewed. Student's t
    (Welch's if unpaired) below `LEAST_RESAMPLED` seeds and where samples are often all alike; Newcombe's interval for
    hits and misses.

    Parameters
    ----------
    a, b : array, shape (seeds,)
        In the same order if paired.
    shares : bool
        Whether these are shares of hits: if one configuration was trained, 1 or 0 with each seed.

    Returns
    -------
    low, high : float
        NaN with fewer than two seeds.
    how : str
    """
    if min(len(a), len(b)) < 2:
        return math.nan, math.nan, "none"
    if shares and _is_binary(a, b):
        return *newcombe(a, b, paired), "Newcombe's hybrid score"
    samples = [b - a] if paired else [a, b]
    middle, errors, scale = _gain(a, b, paired), [_error(sample) for sample in samples], max(np.abs(a).max(), np.abs(b).max())
    error = math.hypot(*errors)
    if error <= 1e-14 * scale:
        return middle, middle, "no scatter"
    if min(map(len, samples)) >= LEAST_RESAMPLED:
        reach = error * _studentized(samples, error)
        if math.isfinite(reach):
            return middle - reach, middle + reach, "studentized bootstrap"
    from scipy.special import stdtrit

    degrees = sum(e**2 for e in errors) ** 2 / sum(e**4 / (len(s) - 1) for e, s in zip(errors, samples, strict=True) if e)
    reach = error * float(stdtrit(degrees, 0.975))
    return middle - reach, middle + reach, "Student's t" if paired else "Welch's t"


def _error(sample: np.ndarray) -> float:
    """Return the standard error of a mean."""
    return float(sample.std(ddof=1)) / math.sqrt(len(sample))


def _studentized(samples: list[np.ndarray], error: float) -> float:
    """Return how many standard errors an interval reaches from one sample's mean, or from the difference of two samples' means.

    NaN where too many bootstrap samples have no scatter to divide by. The samples' order does not matter, so that A and B can
    change places.
    """
    samples = sorted(((sample - sample.mean()) / error for sample in samples), key=lambda sample: sample.tolist())
    n = int(np.clip(MOST_DRAWN // sum(map(len, samples)), 199, RESAMPLES))
    rng, shift, square = np.random.default_rng(1), np.zeros(n), np.zeros(n)
    for sign, sample in zip((1, -1), samples, strict=False):
        drawn = sample[rng.integers(0, len(sample), (n, len(sample)), dtype=np.int32)]
        mean, mean_square = drawn.mean(axis=1), np.einsum("ij,ij->i", drawn, drawn) / len(sample)
        shift += sign * mean
        square += (mean_square - mean**2) / (len(sample) - 1)
    good = square > 1e-12
    return float(np.quantile(np.abs(shift[good]) / np.sqrt(square[good]), 0.95)) if good.mean() > 0.99 else math.nan


def newcombe(a: np.ndarray, b: np.ndarray, paired: bool) -> tuple[float, float]:
    """Return the 95 % interval of a difference of shares, of b less a, from Wilson's intervals of both.

    Newcombe (1998), "Interval estimation for the difference between independent proportions", method 10, and "Improved
    confidence intervals for the difference between binomial proportions based on paired data", method 10.
    """
    p, q = float(a.mean()), float(b.mean())
    (low_a, high_a), (low_b, high_b) = wilson(int(a.sum()), len(a)), wilson(int(b.sum()), len(b))
    phi = _association(a, b) if paired else 0.0
    down, up = (q - low_b, high_a - p), (high_b - q, p - low_a)
    reach = [math.sqrt(max(0.0, x * x - 2 * phi * x * y + y * y)) for x, y in (down, up)]
    return q - p - reach[0], q - p + reach[1]


def _association(a: np.ndarray, b: np.ndarray) -> float:
    """Return Newcombe's phi of paired 0s and 1s, corrected for continuity; 0 where one of them never changes."""
    both, neither, only_a, only_b = (a * b).sum(), ((1 - a) * (1 - b)).sum(), (a * (1 - b)).sum(), ((1 - a) * b).sum()
    spread = (both + only_a) * (only_b + neither) * (both + only_b) * (only_a + neither)
    excess = both * neither - only_a * only_b
    excess = max(0.0, excess - len(a) / 2) if excess > 0 else excess
    return float(excess / math.sqrt(spread)) if spread else 0.0


def probability_of_improvement(a: np.ndarray, b: np.ndarray, paired: bool) -> tuple[float, float, float]:
    """Return how likely a value of b is above one of a (a tie counts half), with its 95 % interval.

    Paired: the share of pairs with Wilson's interval. Unpaired: U / (m n), with the interval of Newcombe (2006), "Confidence
    intervals for an effect size measure based on the Mann-Whitney statistic. Part 2", method 5, which is not of no width
    where all values of one are above the other's, as a bootstrap's is.
    """
    if paired:
        wins = float(((np.sign(_tidy(b - a, a, b)) + 1) / 2).sum())
        return wins / len(a), *wilson(wins, len(a))
    from scipy.optimize import brentq

    order = np.sort(a)
    below = (np.searchsorted(order, b, "left") + np.searchsorted(order, b, "right")) / 2
    share, size = float(below.mean() / len(a)), (len(a) + len(b)) / 2 - 1

    def square(theta: float) -> float:
        spread = 1 + size * ((1 - theta) / (2 - theta) + theta / (1 + theta))
        return (theta - share) ** 2 - Z * Z * theta * (1 - theta) * spread / (len(a) * len(b))

    low = brentq(square, 0.0, min(share, 1 - 1e-9)) if share > 0 else 0.0
    high = brentq(square, max(share, 1e-9), 1.0) if share < 1 else 1.0
    return share, low, high


def effect_size(a: np.ndarray, b: np.ndarray, paired: bool) -> tuple[float, str]:
    """Return by how many standard deviations b is larger than a, and the measure's name; infinite without any scatter."""
    name = "Cohen's dz" if paired else "Hedges' g"
    if min(len(a), len(b)) < 2:
        return math.nan, name
    gain, scale = _gain(a, b, paired), max(np.abs(a).max(), np.abs(b).max())
    if paired:
        spread, correction = float((b - a).std(ddof=1)), 1.0
    else:
        degrees = len(a) + len(b) - 2
        spread = math.sqrt(((len(a) - 1) * a.var(ddof=1) + (len(b) - 1) * b.var(ddof=1)) / degrees)
        correction = 1 - 3 / (4 * degrees - 1)
    if spread <= 1e-14 * scale:
        return (0.0 if abs(gain) <= 1e-14 * scale else math.copysign(math.inf, gain)), name
    return correction * gain / spread, name


def _tidy(values: np.ndarray, *samples: np.ndarray) -> np.ndarray:
    """Return values in which what differs by rounding only is equal, measured by the largest of the samples."""
    scale = max(float(np.abs(sample).max()) for sample in samples)
    return np.round(values / scale, 12) + 0.0 if scale else values


def rank_test(a: np.ndarray, b: np.ndarray, paired: bool, shares: bool = False) -> tuple[float, str]:
    """Return the two-sided p-value of no difference and the test's name.

    Wilcoxon's signed-rank test without differences of 0, or Mann & Whitney's: exact up to `MOST_EXACT` values, with ties too;
    then by the normal distribution. For hits and misses (`shares` as in `interval`) McNemar's exact test or Fisher's.
    """
    from scipy import stats

    if min(len(a), len(b)) < 2:
        return math.nan, "none"
    if shares and _is_binary(a, b):
        return _shares_test(a, b, paired)
    if paired:
        gains = _tidy(b - a, a, b)
        gains = gains[gains != 0]
        if len(gains) > MOST_EXACT:
            return float(stats.wilcoxon(gains, method="asymptotic").pvalue), "Wilcoxon signed-rank"
        return _signed_rank_p(gains), "Wilcoxon signed-rank"
    x, y = _tidy(a, a, b), _tidy(b, a, b)
    if len(x) + len(y) > MOST_EXACT and len(np.unique([*x, *y])) > 1:
        return float(stats.mannwhitneyu(y, x, method="asymptotic").pvalue), "Mann-Whitney"
    return _rank_sum_p(x, y), "Mann-Whitney"


def _signed_rank_p(gains: np.ndarray) -> float:
    """Return the p-value of a sum of signed ranks among those of all signs, counted one value after the other."""
    from scipy.stats import rankdata

    ranks = (2 * rankdata(np.abs(gains))).astype(int)  # whole numbers, whatever is tied
    counts = np.zeros(ranks.sum() + 1)
    counts[0] = 1
    for rank in ranks:
        counts[rank:] += counts[:-rank].copy()
    return _two_sided(counts, ranks[gains > 0].sum())


def _rank_sum_p(a: np.ndarray, b: np.ndarray) -> float:
    """Return the p-value of a sum of ranks among those of all choices of so many values, counted one value after the other."""
    from scipy.stats import rankdata

    ranks, n = (2 * rankdata([*a, *b])).astype(int), min(len(a), len(b))
    counts = np.zeros((n + 1, ranks.sum() + 1))
    counts[0, 0] = 1
    for rank in ranks:
        counts[1:, rank:] += counts[:-1, :-rank].copy()
    return _two_sided(counts[n], (ranks[: len(a)] if n == len(a) else ranks[len(a) :]).sum())


def _two_sided(counts: np.ndarray, place: int) -> float:
    """Return twice the smaller share of what is at or below a place, and at or above it."""
    tails = counts[: place + 1].sum(), counts[place:].sum()
    return float(min(1.0, 2 * min(tails) / counts.sum()))


def _shares_test(a: np.ndarray, b: np.ndarray, paired: bool) -> tuple[float, str]:
    from scipy import stats

    if not paired:
        hits = [[int(x.sum()), int(len(x) - x.sum())] for x in (a, b)]
        return float(stats.fisher_exact(hits).pvalue), "Fisher's exact"
    up, down = int((b > a).sum()), int((b < a).sum())
    return (float(stats.binomtest(up, up + down).pvalue) if up + down else 1.0), "McNemar's exact"


def _apart_in_space(a: dict, b: dict) -> list[str]:
    """Return the settings of which two groups have or search different values, where that is known of both."""
    return [name for name in _SETTINGS if name in a and name in b and _region(a[name]) != _region(b[name])]


def _inside(name: str, column: pd.Series, part: Range | Choices) -> np.ndarray:
    """Return which values lie in a part of a space: shape (runs,). A setting without a meaning lies in every part."""
    missing = column.isna().to_numpy()
    if isinstance(part, Choices):
        return (column.isin([v for v in part.values if v is not None]) & ~missing) | (
            missing & (None in part.values or FIELDS[name].needs is not None)
        )
    values = column.to_numpy(float, na_value=np.nan)
    inside = (values >= part.low) & (values <= part.high)
    if part.step:
        steps = (values - part.low) / part.step
        inside &= np.abs(steps - np.round(steps)) < 1e-9
    return inside | (missing & (FIELDS[name].needs is not None))


def _common(name: str, a: Range | Choices, b: Range | Choices) -> Range | Choices | None:
    """Return what two parts have in common, None if nothing; of two step sizes the larger one."""
    if isinstance(a, Range) and isinstance(b, Range):
        low, high = max(a.low, b.low), min(a.high, b.high)
        step = max(a.step or 0, b.step or 0) or None
        return Range(low, high, a.log and b.log, step) if low < high else Choices([low]) if low == high else None
    chosen, other = (a, b) if isinstance(a, Choices) else (b, a)
    return _filtered(name, chosen, other)


def _filtered(name: str, part: Choices, other: Range | Choices) -> Choices | None:
    """Return the choices that lie in another part, None if there are none."""
    values = pd.Series(list(part.values), dtype=float if isinstance(other, Range) else object)
    kept = [value for value, ok in zip(part.values, _inside(name, values, other), strict=True) if ok]
    return Choices(kept) if kept else None


def _stretched(part: Range | Choices, other: Range | Choices) -> Range | Choices:
    """Return several numbers beside a range as the range from the smallest to the largest: a grid explores that."""
    if isinstance(part, Choices) and isinstance(other, Range) and len(part.values) > 1 and None not in part.values:
        return Range(min(part.values), max(part.values), other.log)
    return part


def overlap(a: Group, b: Group) -> tuple[Group, Group, str]:
    """Return the trials of two groups that lie in both spaces, and in words what was cut.

    Several numbers in one space count as their range where the other has a range. Settings of which the groups have nothing in
    common are what is compared: they cut nothing. Where nothing is cut, the groups stay as they are, and there are no words.
    """
    spaces, common = (_space(a), _space(b)), {}
    for name in _apart_in_space(*spaces):
        parts = spaces[0][name], spaces[1][name]
        shared = _common(name, _stretched(*parts), _stretched(*parts[::-1]))
        common |= {name: shared} if shared is not None else {}
    masks = [np.ones(len(group.runs), bool) for group in (a, b)]
    for (mask, group), (name, part) in itertools.product(zip(masks, (a, b), strict=True), common.items()):
        mask &= _inside(name, group.runs[name], part)
    if all(mask.all() for mask in masks):
        return a, b, ""
    kept = [_narrowed(group, mask, common) for group, mask in zip((a, b), masks, strict=True)]
    counts = [
        f"{new.runs['trial'].nunique():,} of {_count(old.runs['trial'].nunique(), 'trial')} of {old.name}"
        for old, new in zip((a, b), kept, strict=True)
    ]
    words = "; ".join(f"{FIELDS[name].label} {_words(part)}" for name, part in common.items())
    return *kept, f"Only what both spaces hold ({words}): {' and '.join(counts)}."


def _narrowed(group: Group, mask: np.ndarray, common: dict[str, Range | Choices]) -> Group:
    """Return a group with some of its runs, whose search is narrower."""
    search = copy.copy(group.search)
    if search is not None:
        space = dict(search.space)
        for name in common.keys() & space.keys():
            choices = isinstance(space[name], Choices)
            space[name] = _filtered(name, space[name], common[name]) if choices else common[name]
        object.__setattr__(search, "space", {name: part for name, part in space.items() if part is not None})
    return dataclasses.replace(group, runs=group.runs[mask].reset_index(drop=True), search=search)
