"""Whether one group of runs is better than another.

The unit of replication is the seed: what several configurations came to with one seed is averaged first, because they share
their data and initial noise. A run that diverged counts as `studies.objectives` decides, so none is left out.
"""

import dataclasses
import itertools
import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from engine import FIELDS
from studies.errors import PlanError
from studies.groups import METRICS, Group, Metric, coded, count, finished, numbered, told_apart, units
from studies.significance import effect_size, holm, interval, mean_gain, probability_of_improvement, rank_test
from studies.spaces import apart_in_space, space_of, spell_part, winner_of

ALPHA = 0.05
"""Share of false alarms that is allowed: over all pairs together, by Holm's correction."""
POWER = 0.8
"""Chance of a decision that `n_more` asks for."""
MOST_SEEDS = 1000
"""Seeds beyond which a difference is too small to be worth the training."""
WHICH = {
    "best": "shared configurations and seeds where there are any, or else the winners",
    "shared": "what both trained alike",
    "winners": "the best configuration of each",
    "all": "all configurations, averaged",
}
"""What of two groups is compared."""


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
    return _pairs(told_apart(groups), metric, which)


def _pairs(groups: list[Group], metric: str, which: str) -> list[Comparison]:
    """Return the comparisons of all pairs, corrected and decided."""
    if which not in WHICH:
        raise PlanError(f"which: expected one of {', '.join(WHICH)}, found {which!r}")
    sides = _sides(groups, metric)
    found = [_compared(a, b, metric, which) for a, b in itertools.combinations(sides, 2)]
    corrected = zip(holm([c.p_value for c in found]), holm([c.lost_p for c in found]), strict=True)
    n_tests = sum(not math.isnan(c.p_value) for c in found)
    return [_decided(c, float(p), float(lost), n_tests) for c, (p, lost) in zip(found, corrected, strict=True)]


def _sides(groups: list[Group], metric: str) -> list[_Side]:
    codes = coded([finished(group) for group in groups])
    return [_Side(g, units(g, metric), c.reset_index(drop=True), space_of(g)) for g, c in zip(groups, codes, strict=True)]


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
        difference=mean_gain(x, y, paired),
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
        lost_difference=mean_gain(-lost_a, -lost_b, paired),
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
    best = [side.units[side.units["trial"] == winner_of(side.units, metric)] for side in (a, b)]
    match = _by_seed(*best, "winners: ")
    if any(side.units["trial"].nunique() > 1 for side in (a, b)):
        note = "The winners were chosen by the same seeds: their means are optimistic; new seeds would show how much."
        match = dataclasses.replace(match, notes=(*match.notes, note))
    return match


def _shared(a: _Side, b: _Side, apart: list[str]) -> _Match | None:
    """Return what both groups trained alike, paired by seed where they share seeds; None without a shared configuration."""
    codes = pd.concat([side.codes.drop(columns=apart) for side in (a, b)], ignore_index=True)
    numbers = np.split(numbered(codes), [len(a.units)])
    tables = [side.units.assign(configuration=n) for side, n in zip((a, b), numbers, strict=True)]
    cells = [table.groupby(["configuration", "seed"])[["value", "lost"]].mean() for table in tables]
    both = cells[0].index.intersection(cells[1].index).sort_values()
    n_configurations, n_seeds = (both.get_level_values(level).nunique() for level in ("configuration", "seed"))
    of = count(n_configurations, "shared configuration")
    common = np.intersect1d(*(table["configuration"] for table in tables))
    alike = [table[table["configuration"].isin(common)] for table in tables]
    fewer = min(table["seed"].nunique() for table in alike)
    if len(common) and fewer > 1 and not _worth_pairing(n_seeds, fewer):
        return _by_seed(*alike, f"{count(len(common), 'shared configuration')}, other seeds: ")
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
        return _Match(*parts, paired=True, by=f"{count(n_seeds, 'shared seed')} of {of}, paired", notes=notes)
    if not len(common):
        return None
    return _by_seed(*alike, f"{count(len(common), 'shared configuration')}, other seeds: ")


def _worth_pairing(n_shared: int, fewer: int) -> bool:
    """Return whether shared seeds are two or more and at least half of those of the group with fewer seeds."""
    return n_shared > 1 and 2 * n_shared >= fewer


def _by_seed(a: pd.DataFrame, b: pd.DataFrame, start: str) -> _Match:
    """Return averages by seed, paired over shared seeds if there are enough of them, or no others."""
    a, b = (table.groupby("seed")[["value", "lost"]].mean() for table in (a, b))
    both = a.index.intersection(b.index)
    if _worth_pairing(len(both), min(len(a), len(b))) or len(both) == len(a) == len(b):
        return _Match(a.loc[both], b.loc[both], True, f"{start}{count(len(both), 'shared seed')}, paired")
    return _Match(a, b, False, f"{start}{count(len(a), 'seed')} against {count(len(b), 'seed')}, unpaired")


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
    other = [name for name in apart_in_space(a.space, b.space) if name not in apart]
    if other:
        notes.append("Spaces differ: " + "; ".join(_against(a, b, name) for name in other) + ".")
    if {"task", "loss", "bits", "length"} & {*apart, *other}:
        notes.append("The tasks or their losses differ: losses of different units are compared.")
    for side in (a, b):
        n_pruned = int((side.group.runs["status"] == "pruned").sum())
        if n_pruned:
            notes.append(f"{count(n_pruned, 'pruned run')} of {side.group.name} left out: not trained to the end.")
    return notes


def _against(a: _Side, b: _Side, name: str) -> str:
    """Return what two groups have of a setting, in words."""
    words = (spell_part(side.space[name]) if name in side.space else "several" for side in (a, b))
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
