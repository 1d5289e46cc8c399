"""Notices floating-point overflow and invalid operations, and says which run met them.

NumPy raises the processor's flags at no cost (`np.errstate(over="call")`); only when one is raised do we look which run's
numbers stopped being finite. So an overflow is found although nothing non-finite remains: the plain logistic of -1000 is a
clean 0, but the exp(1000) on the way was not.
"""

import numpy as np

PHASES = ("forward", "loss", "backward", "update")
KINDS = ("overflow", "invalid")


class FloatingPointWatch:
    """Traces each floating-point event of an iteration to the runs that met it.

    Parameters
    ----------
    known : array of bool, shape (P,)
        Which runs have met an event before; phase and kind are only worked out for a first one.

    Attributes
    ----------
    raised, overflowed : bool
        Whether NumPy reported an event, and an overflow among them, that has not been traced yet.
    phase, step : int
        Where the training is: a place in `PHASES`, and the time step that a cell is at.
    happened : bool
        Whether an event was traced to a run in this iteration.
    hit : array of bool, shape (P,)
        The runs that met an event in this iteration.
    spreads : bool
        Whether numbers that are not finite may have reached the weights in this iteration.
    first_phase, first_kind : array of int, shape (P,)
        Of the first event of each run: places in `PHASES` and `KINDS`.
    """

    def __init__(self, known: np.ndarray) -> None:
        self.known = known.copy()
        self.first_phase, self.first_kind = np.zeros(len(known), int), np.zeros(len(known), int)
        self.hit = np.zeros(len(known), bool)
        self.phase, self.step = 0, 0
        self.raised, self.overflowed, self.happened, self.spreads = False, False, False, False

    def on(self) -> np.errstate:
        """Return the context in which overflow and invalid operations are watched and never printed."""
        return np.errstate(over="call", invalid="call", divide="ignore", under="ignore", call=self._notice)

    def _notice(self, kind: str, flag: int) -> None:
        self.raised, self.overflowed = True, self.overflowed or kind == "overflow"

    def blame(self, values: np.ndarray, first_run: int = 0, recovers: bool = False) -> None:
        """Find the runs whose values are not finite.

        Parameters
        ----------
        values : array, shape (..., run, unit)
            What the reported operation has just computed.
        first_run : int
            Number of the first run in `values`.
        recovers : bool
            Whether the next operation makes infinite values finite again, as 1 / (1 + inf) does.
        """
        overflowed, self.raised, self.overflowed = self.overflowed, False, False
        others = (*range(values.ndim - 2), values.ndim - 1)
        bad = first_run + np.flatnonzero(~np.isfinite(values).all(axis=others))
        if not len(bad):
            return
        self.hit[bad] = self.happened = True
        self.spreads |= not recovers
        new = bad[~self.known[bad]]
        if len(new):
            infinite = np.isinf(values[..., new - first_run, :]).any(axis=others)  # NaN may be what is left of infinities
            self.first_phase[new] = self.phase
            self.first_kind[new] = np.where(infinite | overflowed, KINDS.index("overflow"), KINDS.index("invalid"))
            self.known[new] = True

    def next_iteration(self) -> None:
        """Forget what happened in this iteration, but not who is known."""
        self.hit[:] = self.happened = self.spreads = False
