"""What counts as good, what divergence costs, and how the seeds of a trial become one value: the only place that decides.

A run that overflowed, diverged or answered NaN did worse than any run that trained. So a loss counts at most `WORST` times the
baseline (what a constant answer scores), and that is what a run without a finite loss gets; its accuracy is 0; a run that
never solves its task counts as twice its iterations. A trial's value is the mean over its seeds.
"""

import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass

from engine import CURVES, TASKS, RunResult, count_parameters
from engine.outcomes import SOLVED_ACCURACY

WORST = 10.0
"""Times the baseline that a loss counts at most: far above random answers (twice), near enough to tell other losses apart."""
UNSOLVED = 2
"""Times its iterations that a run counts which never solved its task."""
LOST = ("diverged", "overflow")
"""Outcomes that count as divergence."""
Z = 1.959963984540054
"""Quantile of the normal distribution for 95 % intervals."""


@dataclass(frozen=True)
class Objective:
    """A number to be made small or large.

    Attributes
    ----------
    direction : str
        minimize or maximize.
    of : callable
        `of(result)` is a finite float whatever happened to the run.
    note : str
        For people, with what divergence costs.
    """

    direction: str
    of: Callable[[RunResult], float]
    note: str


def _capped(loss: float, result: RunResult) -> float:
    worst = WORST * result.evidence["baseline"]
    return min(loss, worst) if math.isfinite(loss) else worst


def _final_loss(result: RunResult) -> float:
    return _capped(result.final_loss, result)


def _held_out_loss(result: RunResult) -> float:
    return _capped(result.evidence["held_out_loss"], result)


def _best_loss(result: RunResult) -> float:
    return _capped(result.best_loss, result)


def _accuracy(result: RunResult) -> float:
    return result.accuracy if math.isfinite(result.accuracy) else 0.0


def _iterations_to_solve(result: RunResult) -> float:
    """Return the first point of the curve with enough right answers."""
    curves = result.curves
    solved = curves[curves[:, CURVES.index("accuracy")] >= SOLVED_ACCURACY, CURVES.index("iteration")]
    return float(solved[0]) if len(solved) else float(UNSOLVED * result.config.n_iterations)


def _cost(result: RunResult) -> float:
    """Return multiplications of the training, roughly: parameters x time steps x batch x iterations."""
    config = result.config
    return float(count_parameters(config)) * TASKS[config.task].n_steps(config) * config.batch_size * config.n_iterations


OBJECTIVES: dict[str, Objective] = {
    "final_loss": Objective(
        "minimize", _final_loss, f"Averaged training loss at the end, at most {WORST:g} times the baseline."
    ),
    "held_out_loss": Objective("minimize", _held_out_loss, f"Loss on held-out samples, at most {WORST:g} times the baseline."),
    "best_loss": Objective("minimize", _best_loss, f"Lowest averaged training loss, at most {WORST:g} times the baseline."),
    "accuracy": Objective("maximize", _accuracy, "Share of held-out samples answered right; 0 where answers are NaN."),
    "iterations_to_solve": Objective(
        "minimize", _iterations_to_solve, f"First iteration with 99 % right; {UNSOLVED} times n_iterations if never."
    ),
    "cost": Objective("minimize", _cost, "Parameters x time steps x batch x iterations: what the training costs."),
}


@dataclass(frozen=True)
class Summary:
    """One trial over its seeds.

    Attributes
    ----------
    values : tuple of float
        Mean of each objective: what the sampler is told.
    medians, spreads : tuple of float
        Median and standard deviation (0 with one seed).
    n : int
        Seeds.
    n_lost : int
        Runs that diverged or overflowed.
    lost_low, lost_high : float
        Wilson's interval of their share, 95 %.
    """

    values: tuple[float, ...]
    medians: tuple[float, ...]
    spreads: tuple[float, ...]
    n: int
    n_lost: int
    lost_low: float
    lost_high: float


def summarize(results: list[RunResult], objectives: tuple[str, ...]) -> Summary:
    """Return what the seeds of one trial come to."""
    columns = [[OBJECTIVES[name].of(result) for result in results] for name in objectives]
    n_lost = sum(result.outcome in LOST for result in results)
    return Summary(
        values=tuple(statistics.fmean(column) for column in columns),
        medians=tuple(statistics.median(column) for column in columns),
        spreads=tuple(statistics.stdev(column) if len(column) > 1 else 0.0 for column in columns),
        n=len(results),
        n_lost=n_lost,
        lost_low=wilson(n_lost, len(results))[0],
        lost_high=wilson(n_lost, len(results))[1],
    )


def wilson(n_hits: int, n: int) -> tuple[float, float]:
    """Return the 95 % interval of a share: Wilson (1927), "Probable inference, the law of succession", eq. 4."""
    if not n:
        return 0.0, 1.0
    share, square = n_hits / n, Z * Z / n
    middle = share + square / 2
    reach = Z * math.sqrt(share * (1 - share) / n + square / (4 * n))
    low, high = (middle - reach) / (1 + square), (middle + reach) / (1 + square)
    return low if n_hits else 0.0, high if n_hits < n else 1.0  # exactly, whatever rounding does
