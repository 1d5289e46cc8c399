"""What a study's trials tell: the Pareto front, which settings mattered, when it was trained."""

import contextlib
import math
import warnings

import numpy as np
import pandas as pd

from studies.store import Store
from studies.store_studies import Study

LEAST_TRIALS = 8
"""Finished trials from which on importances are worth a look."""
MOST_RANKED = 3000
"""Trials that importances look at: Optuna takes a second for 10,000, and the shares hardly change."""
REACH = 1e4
"""A loss more than this many times above the median of all stands beside the scale, so that it does not flatten the rest."""


def chunks_table(store: Store, study: Study, table: pd.DataFrame, now: float) -> tuple[pd.DataFrame, float | None]:
    """Return when chunks of trials were trained, and what became of them, and when now is if one is open.

    Parameters
    ----------
    table : DataFrame
        The study's trials.
    now : float
        UTC seconds since 1970.

    Returns
    -------
    DataFrame
        chunk; asked and done, seconds since the study's first chunk was asked (done is NaN for an open chunk); outcome
        ("training" while it is open); n, trials with that outcome; first, the number of the chunk's first trial.
    """
    chunks = store.chunks(study.id)
    start = min((chunk.asked_at for chunk in chunks), default=now)
    counts = table.groupby(["chunk", "outcome"], sort=False).size()
    rows, first = [], 0
    for chunk in chunks:
        done = math.nan if chunk.done_at is None else chunk.done_at - start
        there = counts.loc[chunk.number] if chunk.number in counts.index.get_level_values(0) else {"training": chunk.n_trials}
        rows += [(chunk.number, chunk.asked_at - start, done, outcome, int(n), first) for outcome, n in dict(there).items()]
        first += chunk.n_trials
    is_open = study.job.is_live and any(chunk.done_at is None for chunk in chunks)
    return pd.DataFrame(rows, columns=["chunk", "asked", "done", "outcome", "n", "first"]), now - start if is_open else None


def best_so_far(values: pd.Series, direction: str) -> pd.Series:
    """Return the best value up to each trial, in the direction minimize or maximize."""
    return values.cummin() if direction == "minimize" else values.cummax()


def on_the_front(table: pd.DataFrame, directions: dict[str, str]) -> np.ndarray:
    """Return which trials no other one beats in both objectives: shape (trials,), bool."""
    points = np.column_stack([(1 if d == "minimize" else -1) * table[name].to_numpy(float) for name, d in directions.items()])
    front, lowest = np.zeros(len(points), bool), np.inf
    order = np.lexsort((points[:, 1], points[:, 0]))
    last = None
    for place in order:
        if points[place, 1] < lowest or (last is not None and (points[place] == last).all()):
            front[place], lowest, last = True, points[place, 1], points[place]
    return front


def importances(table: pd.DataFrame, study: Study, objective: str) -> pd.Series:
    """Return by how much each searched setting decides an objective, as shares of 1, most important first.

    PED-ANOVA (Watanabe, Bansal & Hutter 2023) by Optuna, of at most `MOST_RANKED` trials, spread evenly over all; empty with
    fewer than `LEAST_TRIALS` trials or equal values. Pruned trials are left out.
    """
    if len(table) < LEAST_TRIALS or table[objective].nunique() < 2:
        return pd.Series(dtype=float)
    import optuna
    from optuna.trial import TrialState, create_trial

    from studies.sampling import distributions

    known = distributions(study.search)
    table = table[table["state"] == "complete"]
    table = table.iloc[:: math.ceil(len(table) / MOST_RANKED) or 1]
    space = [name for name in study.search.space if table[name].nunique(dropna=False) > 1]
    if not space or table[objective].nunique() < 2:
        return pd.Series(dtype=float)
    mirror = optuna.create_study(direction=study.search.direction(objective))
    for values, value in zip(table[space].astype(object).itertuples(index=False, name=None), table[objective], strict=True):
        params = {n: None if pd.isna(v) else v for n, v in zip(space, values, strict=True)}
        params = {n: v for n, v in params.items() if v is not None or None in getattr(study.search.space[n], "values", ())}
        own = {n: known[n] for n in params}
        mirror.add_trial(create_trial(state=TrialState.COMPLETE, params=params, distributions=own, value=value))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        found = optuna.importance.get_param_importances(mirror, params=space)
    return pd.Series(found, dtype=float).sort_values(ascending=False)


def surface(
    table: pd.DataFrame, x: str, y: str, objective: str, scales: tuple[str, str], log_value: bool = False, n: int = 40
) -> pd.DataFrame:
    """Return an objective over two settings, as cells.

    Parameters
    ----------
    scales : tuple of str
        How x and y are scaled: linear, log, or words.
    log_value : bool
        Whether to interpolate the objective's logarithm.
    n : int
        Cells along an axis of numbers; a quarter of them where the other axis has words.

    Returns
    -------
    DataFrame
        x, x2, y, y2 (ends of a cell; where `scales` says words, x is one and x2 is missing), value. Between numbers, values
        are interpolated linearly in triangles of trials (Delaunay), with nothing outside of them, so there is no cell if all
        trials lie on a line; where there are more trials than cells, those in a cell are averaged first. Along words a cell
        has the median of its trials. Trials without one of the settings are left out.
    """
    from scipy.interpolate import griddata
    from scipy.spatial import QhullError

    data = pd.DataFrame({"x": table[x], "y": table[y], "value": table[objective].astype(float)})
    numbers = [name for name, scale in zip("xy", scales, strict=True) if scale != "words"]
    data = data.dropna(subset=numbers)
    n = n if len(numbers) == 2 else n // 4
    edges = {}
    for name in numbers if len(data) else ():
        log = scales["xy".index(name)] == "log"
        values = np.log(data[name].astype(float)) if log else data[name].astype(float)
        ends = np.linspace(values.min(), values.max(), n + 1)
        data[name] = (values - ends[0]) / (ends[-1] - ends[0] or 1.0) * n  # in cells
        edges[name] = np.exp(ends) if log else ends
    cells = pd.DataFrame(columns=["x", "y", "value"])
    if len(numbers) == 2 and len(data):
        points = data.groupby(["x", "y"], as_index=False)["value"].median()
        points["value"] = np.log(points["value"]) if log_value else points["value"]
        if len(points) > n * n:
            points = points.groupby([points["x"] // 1, points["y"] // 1]).mean()
        down, across = (grid.ravel() for grid in np.meshgrid(np.arange(n), np.arange(n), indexing="ij"))
        with contextlib.suppress(QhullError):
            found = griddata(points[["x", "y"]].to_numpy(), points["value"].to_numpy(), (across + 0.5, down + 0.5))
            cells = pd.DataFrame({"x": across, "y": down, "value": np.exp(found) if log_value else found}).dropna()
    elif len(data):
        keys = [np.minimum(data[name].astype(int), n - 1) if name in numbers else data[name] for name in "xy"]
        cells = data.groupby(keys, dropna=False, sort=False)["value"].median().reset_index()
    for name in "xy":
        places = cells[name].to_numpy(int) if name in edges else None
        cells[f"{name}2"] = edges[name][places + 1] if name in edges else np.nan
        cells[name] = edges[name][places] if name in edges else cells[name]
    return cells[["x", "x2", "y", "y2", "value"]].reset_index(drop=True)


def curve_density(curves: pd.DataFrame, n_x: int = 80, n_y: int = 60) -> pd.DataFrame:
    """Return how the learning curves of many runs are spread, as cells over iteration and loss.

    Parameters
    ----------
    curves : DataFrame
        run_id, iteration, loss.
    n_x, n_y : int
        Cells along the iterations (fewer where there are fewer points) and along the loss, whose scale is logarithmic.

    Returns
    -------
    DataFrame
        iteration, iteration2, loss, loss2 (ends of a cell: without the first, with the last iteration), share, n. A share is
        one of the n runs that have a point at these iterations; the shares of a column add up to 1. Both losses are NaN for
        runs whose loss is not finite or more than `REACH` times the median; losses far below it are in the lowest cells.
    """
    columns = ["iteration", "iteration2", "loss", "loss2", "share", "n"]
    if curves.empty:
        return pd.DataFrame(columns=columns, dtype=float)
    runs, names = pd.factorize(curves["run_id"])
    iterations, losses = curves["iteration"].to_numpy(float), curves["loss"].to_numpy(float)
    points = np.sort(pd.unique(iterations))
    first = min(0.0, points[0] - 1)
    edges = np.array([first, *points]) if len(points) <= n_x else np.linspace(first, points[-1], n_x + 1)
    n_x = len(edges) - 1
    column = np.searchsorted(edges[:-1], iterations) - 1
    good = np.isfinite(losses) & (losses > 0)
    middle = np.median(losses[good]) if good.any() else 1.0
    low, high = (middle, middle) if not good.any() else (losses[good].min(), losses[good].max())
    low, high = math.floor(5 * math.log10(max(low, middle / REACH))), math.ceil(5 * math.log10(min(high, middle * REACH)))
    low, high = low / 5, min(max(high, low + 1) / 5, 308.0)  # powers of ten, in fifths
    heights = np.log10(losses, out=np.full(len(losses), low), where=good)
    row = np.clip((heights - low) / (high - low) * n_y, 0, n_y - 1).astype(int)
    row[(heights > high) | ~np.isfinite(losses)] = n_y
    cell = runs * n_x + column
    seen = np.bincount(cell, minlength=len(names) * n_x)
    n = (seen.reshape(-1, n_x) > 0).sum(axis=0)
    shares = np.bincount(column * (n_y + 1) + row, 1 / seen[cell], n_x * (n_y + 1)).reshape(n_x, n_y + 1)
    at, up = np.nonzero(shares)
    ends = np.append(np.logspace(low, high, n_y + 1), np.nan)
    start = np.where(up < n_y, ends[up], np.nan)
    parts = [edges[at], edges[at + 1], start, ends[up + 1], shares[at, up] / n[at], n[at]]
    return pd.DataFrame(dict(zip(columns, parts, strict=True)))
