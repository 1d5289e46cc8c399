"""What counts as good, what divergence costs, and how the seeds of a trial become one value: the only place that decides.

A run that overflowed, diverged or answered NaN did worse than any run that trained. So a loss counts at most `WORST` times the
baseline (what a constant answer scores), and that is what a run without a finite loss gets; its accuracy is 0; a run that
never solves its task counts as twice its iterations. A trial's value is the mean over its seeds.
"""

import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from engine import CURVES, OUTCOMES, TASKS, RunConfig, RunResult, count_parameters
from engine.outcomes import SMOOTHING, SOLVED_ACCURACY

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
    column : str
        Of the curves: by this runs are compared before they have ended. Empty where that makes no sense.
    """

    direction: str
    of: Callable[[RunResult], float]
    note: str
    column: str = "loss"


def _capped(loss: float, result: RunResult) -> float:
    worst = WORST * result.evidence["baseline"]
    died = not result.evidence.get("weights_finite", True)  # perhaps so soon that its curve is still finite
    return worst if died or not math.isfinite(loss) else min(loss, worst)


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
    "accuracy": Objective(
        "maximize", _accuracy, "Share of held-out samples answered right; 0 where answers are NaN.", "accuracy"
    ),
    "iterations_to_solve": Objective(
        "minimize", _iterations_to_solve, f"First iteration with 99 % right; {UNSOLVED} times n_iterations if never."
    ),
    "cost": Objective("minimize", _cost, "Parameters x time steps x batch x iterations: what the training costs.", ""),
}


def so_far(name: str, config: RunConfig, curve: np.ndarray, died: bool) -> float:
    """Return by what a run that has not ended is compared: its averaged loss or accuracy on the last 5 % of the training.

    Parameters
    ----------
    name : str
        Key of `OBJECTIVES` with a column.
    curve : array, shape (points, len(CURVES))
        Up to now.
    died : bool
        Whether the run's weights stopped being finite: it counts as bad as the objective allows.
    """
    column = OBJECTIVES[name].column
    values = curve[:, CURVES.index(column)]
    width = max(1, round(SMOOTHING * 100))  # of a whole curve's points
    with np.errstate(all="ignore"):
        mean = math.nan if died or not len(values) else float(np.mean(values[-width:]))
    if column == "accuracy":
        return mean if math.isfinite(mean) else 0.0
    worst = WORST * TASKS[config.task].baseline(config)
    return min(mean, worst) if math.isfinite(mean) else worst


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
    outcome : str
        The most frequent one of its runs; of equally frequent ones the first of `OUTCOMES`.
    state : str
        complete, or pruned: ended before its last iteration, with the values that it had then.
    rungs : tuple of float
        What it was compared by at each rung of the pruner.
    """

    values: tuple[float, ...]
    medians: tuple[float, ...]
    spreads: tuple[float, ...]
    n: int
    n_lost: int
    lost_low: float
    lost_high: float
    outcome: str = ""
    state: str = "complete"
    rungs: tuple[float, ...] = ()

    @property
    def pruned_at(self) -> tuple[float, ...]:
        """The rungs of a pruned trial; empty for a complete one."""
        return self.rungs if self.state == "pruned" else ()


def summarize(results: list[RunResult], objectives: tuple[str, ...], rungs: tuple[float, ...] = ()) -> Summary:
    """Return what the seeds of one trial come to."""
    outcomes = [result.outcome for result in results]
    columns = [[OBJECTIVES[name].of(result) for result in results] for name in objectives]
    n_lost = sum(outcome in LOST for outcome in outcomes)
    return Summary(
        values=tuple(statistics.fmean(column) for column in columns),
        medians=tuple(statistics.median(column) for column in columns),
        spreads=tuple(statistics.stdev(column) if len(column) > 1 else 0.0 for column in columns),
        n=len(results),
        n_lost=n_lost,
        lost_low=wilson(n_lost, len(results))[0],
        lost_high=wilson(n_lost, len(results))[1],
        outcome=max(OUTCOMES, key=outcomes.count),
        state="pruned" if any(result.status == "pruned" for result in results) else "complete",
        rungs=tuple(rungs),
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
