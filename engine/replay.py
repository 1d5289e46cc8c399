"""Trains one run again and lets somebody look at it on the way; its bits stay the same."""

from collections.abc import Callable, Iterable

from engine.config import RunConfig
from engine.population import Population
from engine.results import RunResult

PROGRESS_PARTS = 100


class Replay(Population):
    """One run, with two looks at each of some iterations.

    Parameters
    ----------
    config : RunConfig

    Attributes
    ----------
    before_update, after_update : callable or None
        Called with the workspace: first when the gradients are there and the weights are still those that made them, then
        when `gradients` holds the steps and the weights are new.
    looks : set of int
        Iterations, counted from 1, that are looked at.
    """

    keeps_errors = True

    def __init__(self, config: RunConfig):
        super().__init__([config])
        self.looks: set[int] = set()
        self.before_update: Callable | None = None
        self.after_update: Callable | None = None

    def __getstate__(self) -> dict:
        return super().__getstate__() | {"before_update": None, "after_update": None}

    def look(self, iterations: Iterable[int], before_update: Callable, after_update: Callable | None = None) -> None:
        """Choose the iterations to look at, and who looks."""
        self.looks, self.before_update, self.after_update = set(iterations), before_update, after_update

    def _update(self, work, logs):
        looks = self.iteration + 1 in self.looks
        if looks and self.before_update:
            self.before_update(work)
        measured = super()._update(work, logs)
        if looks and self.after_update:
            self.after_update(work)
        return measured

    def advance_to(self, iteration: int, show: Callable[[float], None] = lambda share: None) -> None:
        """Train up to an iteration; `show` is told the share that is done."""
        part = max(1, iteration // PROGRESS_PARTS)
        while self.active and self.iteration < iteration:
            show(self.iteration / iteration)
            self.advance(min(part, iteration - self.iteration))

    def end(self) -> RunResult:
        """End the run where it is and return its result."""
        self.stop()
        (result,) = self.results().values()
        return result
