"""What a training run leaves behind."""

import hashlib
import math
from dataclasses import dataclass

import numpy as np

from engine.config import RunConfig
from engine.outcomes import SMOOTHING_SAMPLES, judge, smoothed

CURVES = ("iteration", "loss", "accuracy", "gradient_norm", "weight_norm", "update_ratio")
"""Columns of a run's curves; loss is the mean over the window since the point before."""


@dataclass(frozen=True)
class Overflow:
    """The first floating-point event of a run, and in how many iterations one happened.

    Attributes
    ----------
    iteration : int
        Counted from 1: the first update is iteration 1.
    phase : str
        forward, loss, backward or update.
    kind : str
        "overflow" (a number grew past the largest) or "invalid" (an operation without an answer, as inf - inf).
    count : int
        Iterations with at least one event.
    """

    iteration: int
    phase: str
    kind: str
    count: int


@dataclass(frozen=True)
class RunResult:
    """One trained run.

    Attributes
    ----------
    status : str
        "finished", or before its last iteration "stopped" by somebody or "pruned" by a search.
    outcome, reason : str
        A key of `engine.OUTCOMES`, and why in plain words.
    evidence : dict
        The numbers behind the outcome.
    final_loss, best_loss : float
        Training loss averaged over 5 % of the run and at least 100 samples, at the end and at its lowest.
    accuracy : float
        Share of 1,000 held-out samples answered right.
    overflow : Overflow or None
    curves : array, shape (points, len(CURVES)), float64
    examples : list of dict
        Worked examples, as the task describes them.
    n_parameters : int
        Trained numbers.
    fingerprint : str
        Hash of the loss curve and the final weights, 32 hexadecimal digits: equal fingerprints, equal bits.
    seconds : float
        The run's share of the time its population took.
    """

    config: RunConfig
    status: str
    iterations: int
    outcome: str
    reason: str
    evidence: dict
    final_loss: float
    best_loss: float
    accuracy: float
    overflow: Overflow | None
    curves: np.ndarray
    examples: list
    n_parameters: int
    fingerprint: str
    seconds: float = 0.0


def make_result(
    config, *, status, iterations, curves, tested, start_loss, held_out_loss, baseline, accuracy, overflow, weights, examples
) -> RunResult:
    """Judge a run that ended and put its result together.

    `tested` are held-out losses by point of a run with a pool, whose training losses say what it knows by heart; else None.
    """
    losses = curves[:, CURVES.index("loss")]
    points_needed = math.ceil(SMOOTHING_SAMPLES * len(losses) / max(1, iterations * config.batch_size))
    final, best = _last_and_lowest(losses, points_needed, start_loss)
    judged_final, judged_best = (final, best) if tested is None else _last_and_lowest(tested, 1, start_loss)
    evidence = {
        "start_loss": start_loss,
        "held_out_loss": held_out_loss,
        "final_loss": judged_final,
        "best_loss": judged_best,
        "baseline": baseline,
        "accuracy": accuracy,
        "overflow_iterations": overflow.count if overflow else 0,
        "weights_finite": bool(np.isfinite(weights).all()),
    }
    outcome, reason = judge(evidence, overflowed=overflow is not None, died=not evidence["weights_finite"])
    return RunResult(
        config=config,
        status=status,
        iterations=iterations,
        outcome=outcome,
        reason=reason,
        evidence=evidence,
        final_loss=final,
        best_loss=best,
        accuracy=accuracy,
        overflow=overflow,
        curves=curves,
        examples=examples,
        n_parameters=weights.size,
        fingerprint=fingerprint(losses, weights),
    )


def _last_and_lowest(losses: np.ndarray, least: int, start_loss: float) -> tuple[float, float]:
    """Return the last average of a curve of losses, and its lowest finite one (NaN if none is)."""
    means = smoothed(losses, least=least)
    lowest = float(np.min(means, initial=math.inf, where=np.isfinite(means)))
    return float(means[-1]) if len(means) else start_loss, lowest if math.isfinite(lowest) else math.nan


def fingerprint(losses: np.ndarray, weights: np.ndarray) -> str:
    """Return the hash of a loss curve and final weights; NaNs count as equal, whatever their sign and payload."""
    digest = hashlib.sha256()
    for values in (losses, weights):
        values = np.ascontiguousarray(values)
        digest.update(np.where(np.isnan(values), values.dtype.type(np.nan), values).tobytes())
    return digest.hexdigest()[:32]
