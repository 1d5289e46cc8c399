"""How a run ended, with the numbers behind the verdict.

The verdict is made of three losses, all per sample, summed over the time steps:

- start: on held-out samples, before the first update;
- final and best: the training loss averaged over 5 % of the run (`SMOOTHING`), at its end and at its lowest.

`baseline` is what the best constant answer scores, so that "learned" means something.
"""

import math

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
"""A loss below this share of the baseline counts as learned: a window of 500 samples of a guessing network scatters by
about 2 %, one of 10 samples (the shortest runs) by 10 %."""
UNSTABLE_GAIN = 0.25
"""A run has to have won at least this share of the baseline before it can lose it ..."""
UNSTABLE_LOST = 0.5
"""... and has lost it once it gave back at least this share of what it had won."""
DIVERGED_OF_BASELINE, DIVERGED_OF_START = 1.5, 1.2
"""Diverged is at least this many times the baseline and the start: a saturated network that answers at random scores twice
the baseline, and it may have started high already."""
SMOOTHING = 0.05
"""Share of the run's points that one averaged loss covers; tells learning from the noise of single samples."""


def smoothed(losses: list[float], share: float = SMOOTHING) -> list[float]:
    """Return trailing means of a loss curve over `share` of its points; non-finite values stay what they are."""
    width = max(1, round(share * len(losses)))
    return [math.fsum(w) / len(w) if all(map(math.isfinite, w)) else sum(w) for w in _windows(losses, width)]


def _windows(values, width):
    return [values[max(0, i + 1 - width) : i + 1] for i in range(len(values))]


def judge(evidence: dict, *, overflowed: bool, died: bool) -> tuple[str, str]:
    """Return outcome and reason in plain words.

    Parameters
    ----------
    evidence : dict
        start_loss, final_loss, best_loss, baseline, accuracy.
    overflowed : bool
        Whether a floating-point event happened at any time.
    died : bool
        Whether the weights stopped being finite.
    """
    start, final, best = evidence["start_loss"], evidence["final_loss"], evidence["best_loss"]
    baseline, accuracy = evidence["baseline"], evidence["accuracy"]
    learned = final < LEARNED_SHARE * baseline
    gain = baseline - best
    lost = gain >= UNSTABLE_GAIN * baseline and final - best > UNSTABLE_LOST * gain
    if died:
        return "overflow", "the weights stopped being finite numbers"
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
