"""How a run ended, with the numbers behind the verdict.

The verdict is made of three losses, all per sample, summed over the time steps:

- start and held-out: on held-out samples, before the first update and after the last;
- best: the lowest that the training loss came, averaged over 5 % of the run and at least 100 samples; of a run with a pool
  the held-out loss at its points, because its training loss tells what it knows by heart.

`baseline` is what the best constant answer scores, so that "learned" means something.
"""

import math

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

OUTCOMES = {
    "solved": "answers the task",
    "learning": "clearly better than a constant answer",
    "stalled": "no better than a constant answer",
    "unstable": "learned, then lost it",
    "diverged": "finite, but far above its start",
    "overflow": "met a floating-point overflow and did not learn",
}

SOLVED_ACCURACY = 0.99
"""Share of held-out samples answered right; the exercise's successful runs reach 1.0, its failures stay below 0.95."""
LEARNED_SHARE = 0.9
"""A held-out loss below this share of the baseline counts as learned: that of a guessing network scatters by about 1 %."""
UNSTABLE_GAIN = 0.25
"""A run has to have won at least this share of the baseline before it can lose it ..."""
UNSTABLE_LOST = 0.5
"""... and has lost it once it gave back at least this share of what it had won."""
DIVERGED_OF_BASELINE, DIVERGED_OF_START = 1.5, 1.2
"""Diverged is at least this many times the baseline and the start: a saturated network that answers at random scores twice
the baseline, and it may have started high already."""
SMOOTHING, SMOOTHING_SAMPLES = 0.05, 100
"""Share of the run, and least number of samples, that one averaged training loss covers: a guessing network's scatters by
about 3 % then, far from a gain of a quarter."""


def smoothed(losses, share: float = SMOOTHING, least: int = 1) -> np.ndarray:
    """Return the means of a loss curve over each stretch of `share` of its points, of at least `least` points.

    The last of them is the end of the run. Values that are not finite stay what they are.
    """
    losses = np.asarray(losses, np.float64)
    width = min(len(losses), max(1, round(share * len(losses)), least))
    if not width:
        return losses
    with np.errstate(invalid="ignore"):  # inf - inf is a NaN, as it should be; divided first, nothing overflows
        return (sliding_window_view(losses, width) / width).sum(axis=1)


def judge(evidence: dict, *, overflowed: bool, died: bool) -> tuple[str, str]:
    """Return outcome and reason in plain words.

    Parameters
    ----------
    evidence : dict
        start_loss, held_out_loss, final_loss, best_loss, baseline, accuracy.
    overflowed : bool
        Whether a floating-point event happened at any time.
    died : bool
        Whether the weights stopped being finite.
    """
    start, final, best = evidence["start_loss"], evidence["held_out_loss"], evidence["best_loss"]
    baseline, accuracy = evidence["baseline"], evidence["accuracy"]
    learned = final < LEARNED_SHARE * baseline
    gain = baseline - best
    fell_back = best < evidence["final_loss"]  # the lowest average was not the last one, or the only one of a short run
    lost = fell_back and gain >= UNSTABLE_GAIN * baseline and final - best > UNSTABLE_LOST * gain
    if died:
        return "overflow", "the weights stopped being finite numbers"
    if not math.isfinite(final):
        return "overflow", "the answers to held-out samples are not finite numbers"
    if accuracy >= SOLVED_ACCURACY:
        return "solved", f"{accuracy:.1%} of the held-out samples are right"
    if learned and not lost:
        return "learning", f"loss {final:.3g} is below a constant answer's {baseline:.3g}; {accuracy:.1%} right"
    if overflowed:
        return (
            "overflow",
            f"numbers overflowed, and loss {final:.3g} is not clearly better than a constant answer's {baseline:.3g}",
        )
    if lost:
        return "unstable", f"loss had come down to {best:.3g} and went back to {final:.3g}"
    if final >= DIVERGED_OF_BASELINE * baseline and final >= DIVERGED_OF_START * start:
        return "diverged", f"loss rose from {start:.3g} to {final:.3g}, far above a constant answer's {baseline:.3g}"
    return "stalled", f"loss {final:.3g} is not clearly better than a constant answer's {baseline:.3g}"
