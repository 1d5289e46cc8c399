"""Spaces of groups: what each has or searches of every setting, what differs, the winners, and what spaces have in common."""

import copy
import dataclasses
import itertools

import numpy as np
import pandas as pd

from engine import FIELDS
from studies.groups import METRICS, SETTINGS, Group, Metric, count, told_apart, units
from studies.plans import describe, spell_value
from studies.search import Choices, Range

MOST_CHOICES = 12
"""Different numbers up to which runs without a search are taken as trying some values, not a range."""


def _spell(value: object) -> str:
    return spell_value(float(f"{value:.4g}") if isinstance(value, float) else value)


def spell_part(part: Range | Choices) -> str:
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


def space_of(group: Group) -> dict[str, Range | Choices]:
    """Return what a group has or searches of each setting; of a study not what follows from others."""
    search, space = group.search, {}
    for name in SETTINGS:
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
    spaces = [space_of(group) for group in told_apart(groups)]
    for name in SETTINGS:
        parts = [space.get(name) for space in spaces]
        if len({(_region(part), getattr(part, "log", False)) for part in parts}) > 1:
            rows[name] = ["" if part is None else spell_part(part) for part in parts]
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
    for group in told_apart(groups):
        table = units(group, metric)
        if table.empty:
            continue
        trial = winner_of(table, METRICS[metric])
        mine = table[table["trial"] == trial].sort_values("seed")
        run = group.runs[group.runs["id"] == mine["run_id"].iloc[0]].iloc[0]
        spread = float(mine["value"].std()) if len(mine) > 1 else 0.0
        row = (group.name, trial, _settings(group, run), mine["value"].mean(), spread)
        rows.append((*row, len(mine), int(mine["lost"].sum()), run["id"]))
    return pd.DataFrame(rows, columns=["group", "trial", "settings", "value", "spread", "n", "n_lost", "run_id"])


def winner_of(table: pd.DataFrame, metric: Metric) -> int:
    """Return the trial with the best mean, among those with enough seeds."""
    trials = table.groupby("trial")["value"].agg(["mean", "size"])
    enough = trials[trials["size"] * 2 >= trials["size"].max()]
    return int((enough["mean"] * metric.sign).idxmax())


def _settings(group: Group, run: pd.Series) -> str:
    """Return the settings of a run that its group varies, in words; where it varies none, what is not the classic's."""
    values = {name: None if pd.isna(run[name]) else np.asarray(run[name]).item() for name in SETTINGS}
    values = {name: float(f"{v:.4g}") if isinstance(v, float) else v for name, v in values.items()}
    varied = [name for name, part in space_of(group).items() if not isinstance(part, Choices) or len(part.values) > 1]
    return describe(values, varied or None) or "classic exercise"


def apart_in_space(a: dict, b: dict) -> list[str]:
    """Return the settings of which two groups have or search different values, where that is known of both."""
    return [name for name in SETTINGS if name in a and name in b and _region(a[name]) != _region(b[name])]


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
    spaces, common = (space_of(a), space_of(b)), {}
    for name in apart_in_space(*spaces):
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
        f"{new.runs['trial'].nunique():,} of {count(old.runs['trial'].nunique(), 'trial')} of {old.name}"
        for old, new in zip((a, b), kept, strict=True)
    ]
    words = "; ".join(f"{FIELDS[name].label} {spell_part(part)}" for name, part in common.items())
    return *kept, f"Only what both spaces hold ({words}): {' and '.join(counts)}."


def overlap_all(groups: list[Group]) -> tuple[list[Group], str]:
    """Return the trials of groups that lie in all of their spaces, and in words what was cut, as `overlap` does for two."""
    left, words = list(groups), ""
    for i, j in itertools.combinations(range(len(groups)), 2):
        left[i], left[j], words = overlap(left[i], left[j])
    if len(groups) > 2:
        counts = [[found.runs["trial"].nunique() for found in side] for side in (left, groups)]
        told = [f"{kept:,} of {count(n, 'trial')} of {group.name}" for kept, n, group in zip(*counts, groups, strict=True)]
        words = f"Only what all spaces hold: {', '.join(told)}." if counts[0] != counts[1] else ""
    return left, words


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
