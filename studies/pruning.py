"""When a search gives trials up, so that their time is saved: rules that are asked between two stretches of training.

A chunk of trials is trained together up to a rung, a share of the training; there the rule decides for the whole chunk at once,
and what it gives up leaves the population. So the decisions depend neither on workers nor on the order in which runs end.
"""

import itertools
import math
import statistics

REDUCTION, N_HALVINGS = 3, 3
"""Successive halving keeps the best third, at 1/27, 1/9 and 1/3 of the training: the reduction of Li et al. (2018), sec. 2."""
LEAST_FINISHED = 5
"""Finished trials from which on a median says something."""
PRUNERS = {
    "none": "Every trial is trained to its end.",
    "median": "At each tenth of the training a trial ends that does worse than the median of finished trials did there.",
    "halving": "Successive halving: of each batch the best third goes on at 1/27, 1/9 and 1/3 of the training.",
    "hyperband": "Hyperband: halving that begins early for half of a batch, later or never for others, which may start slowly.",
}


def rungs(pruner: str) -> tuple[float, ...]:
    """Return the shares of the training at which trials are compared."""
    if pruner == "median":
        return tuple(tenth / 10 for tenth in range(1, 10))
    return () if pruner == "none" else tuple(REDUCTION**-k for k in range(N_HALVINGS, 0, -1))


def bracket(place: int, n: int) -> int:
    """Return in which of Hyperband's brackets the trial at a place of a chunk of n is: how many rungs it leaves out.

    A round has ceil((s_max + 1) / (s + 1) x 3^s) trials that are compared at s = s_max ... 0 rungs: 27, 12, 6 and 4 for three
    (Li et al. 2018, "Hyperband: a novel bandit-based approach to hyperparameter optimization", alg. 1). A chunk is such a
    round, in proportion; all its brackets are trained together.
    """
    sizes = [math.ceil((N_HALVINGS + 1) / (s + 1) * REDUCTION**s) for s in range(N_HALVINGS, -1, -1)]
    ends = itertools.accumulate(sizes)
    return next(skipped for skipped, end in enumerate(ends) if place * sum(sizes) < end * n)


def given_up(pruner: str, values: dict[int, float], finished: list[float], rung: int = 0, n: int = 0) -> set[int]:
    """Return which trials end at a rung.

    Parameters
    ----------
    values : dict of int to float
        By the trial's place in its chunk, of those that have come to the rung; lower is better.
    finished : list of float
        What trials of earlier chunks that were trained to their end had at the same rung.
    rung : int
        Which of `rungs`.
    n : int
        Trials of the chunk.
    """
    if pruner == "median":
        if len(finished) < LEAST_FINISHED:
            return set()
        middle = statistics.median(finished)
        return {place for place, value in values.items() if value > middle}
    groups: dict[int, list[int]] = {}
    for place in values:
        skipped = bracket(place, n) if pruner == "hyperband" else 0
        if skipped <= rung:
            groups.setdefault(skipped, []).append(place)
    leaving: set[int] = set()
    for places in groups.values():
        ranked = sorted(places, key=lambda place: (values[place], place))
        leaving |= set(ranked[max(1, len(ranked) // REDUCTION) :])
    return leaving
