"""Trains a saved run again and compares the bits."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from threadpoolctl import threadpool_limits

from engine import CURVES, ENGINE_VERSION, Population, RunConfig, RunResult, fitting, train
from studies.store_runs import rows_of

SLICE = 100
"""Slices between two reports of progress."""


@dataclass(frozen=True)
class Verdict:
    """What training a run again showed.

    Attributes
    ----------
    identical : bool
        Whether loss curve and final weights are the same, bit for bit.
    iteration : int or None
        End of the first window of the loss curve that differs.
    before, now : float
        Its loss, as saved and as trained again.
    sentence : str
        For people.
    """

    identical: bool
    sentence: str
    iteration: int | None = None
    before: float = math.nan
    now: float = math.nan


def verify(run: dict, show: Callable[[float], None] = lambda share: None) -> Verdict:
    """Train a run again, alone and with one BLAS thread, as far as it was trained, and compare.

    Parameters
    ----------
    run : dict
        As `Store.run` returns it.
    show : callable
        Is told the share that is done, from 0 to 1.
    """
    config = RunConfig.from_dict(fitting(run["config"]))
    n_iterations = int(run["iterations"])
    with threadpool_limits(1):
        population = Population([config])
        while population.active and population.iteration < n_iterations:
            show(population.iteration / n_iterations)
            population.advance(min(max(1, n_iterations // SLICE), n_iterations - population.iteration))
        population.stop()  # if it is still training: the run was stopped here, or lost its weights here
    show(1.0)
    (result,) = population.results().values()
    return compare(run, result)


def train_again(config: RunConfig) -> dict:
    """Train a run, alone and with one BLAS thread, and return it as `Store.run` does; its id is the config's identity."""
    with threadpool_limits(1):
        (result,) = train([config])
    (row,), _ = rows_of("", [(0, result)])
    whole = {"config": config.to_dict(), "evidence": result.evidence, "examples": result.examples, "curves": result.curves}
    return row | whole | {"id": config.identity}


def compare(run: dict, result: RunResult) -> Verdict:
    """Compare a saved run with what training it again gave."""
    column = CURVES.index("loss")
    before, now = run["curves"][:, column], result.curves[:, column]
    n_both = min(len(before), len(now))
    same = (before[:n_both] == now[:n_both]) | (np.isnan(before[:n_both]) & np.isnan(now[:n_both]))
    version = run["engine_version"]
    why = f" The run was made by engine version {version}, this is {ENGINE_VERSION}." if version != ENGINE_VERSION else ""
    if not same.all():
        first = int(np.argmin(same))
        old, new, at = float(before[first]), float(now[first]), int(run["curves"][first, CURVES.index("iteration")])
        size = f"by {abs(new - old):.3g} (was {old:.17g}, is {new:.17g})"
        return Verdict(False, f"Different: the loss up to iteration {at:,} differs {size}.{why}", at, old, new)
    if len(before) != len(now):
        points = f"{len(before):,} points long, now {len(now):,}"
        return Verdict(False, f"Different: the loss curve was {points}; as far as both go it is identical.{why}")
    if run["fingerprint"] is None:
        return Verdict(False, f"The loss curve is identical; this run has no fingerprint of its final weights.{why}")
    if result.fingerprint == run["fingerprint"]:
        return Verdict(True, "Identical: loss curve and final weights are the same, bit for bit.")
    return Verdict(False, f"Different: the loss curve is identical, the final weights are not.{why}")
