"""Who proposes a search's trials: Optuna's samplers on an in-memory mirror of the study, or our own grid.

Trials are asked in chunks and told in order. For every chunk a sampler that learns starts from a seed that belongs to the
search's seed and the chunk's number, and from what the chunks before came to; random draws have a seed for each trial. So the
same search proposes the same trials with any number of workers, and after a restart, when the mirror is built again from what
the store kept.
"""

import contextlib
import json
import warnings
from typing import NamedTuple

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from studies.objectives import OBJECTIVES
from studies.search import Choices, Search

optuna.logging.set_verbosity(optuna.logging.WARNING)


FIXED = "fixed_params"
"""Among a trial's notes: it was not proposed but asked for by somebody, with these values."""


class Proposal(NamedTuple):
    """One trial that was asked: its number, the values of the searched settings, what the sampler noted about it.

    `rungs` is empty unless the trial was pruned; then it holds what it was compared by at each rung.
    """

    number: int
    values: dict
    notes: dict
    rungs: tuple[float, ...] = ()


def distributions(search) -> dict[str, BaseDistribution]:
    """Return the space of a search, imported or not, as Optuna knows it."""
    known: dict[str, BaseDistribution] = {}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The distribution is specified by", UserWarning)  # the last step may end below high
        for name, part in search.space.items():
            if isinstance(part, Choices):
                known[name] = CategoricalDistribution(part.values)
            elif isinstance(part.low, int):
                known[name] = IntDistribution(part.low, part.high, log=part.log, step=int(part.step or 1))
            else:
                known[name] = FloatDistribution(part.low, part.high, log=part.log, step=part.step)
    return known


def _sampler(search: Search, place: int) -> optuna.samplers.BaseSampler:
    """Return the sampler of one chunk, or of one trial where draws are independent."""
    seed = int(np.random.SeedSequence([search.seed, place]).generate_state(1)[0])
    if search.sampler == "tpe":
        return optuna.samplers.TPESampler(seed=seed)
    if search.sampler == "gp":
        return optuna.samplers.GPSampler(seed=seed, warn_independent_sampling=False)
    if search.sampler == "cmaes":
        return optuna.samplers.CmaEsSampler(seed=seed, warn_independent_sampling=False)
    if search.sampler == "qmc":  # one sequence for the whole search
        return optuna.samplers.QMCSampler(seed=search.seed, scramble=True, warn_independent_sampling=False)
    return optuna.samplers.RandomSampler(seed=seed)


class Mirror:
    """A search's study in memory.

    Parameters
    ----------
    search : Search
    told : list of (Proposal, tuple of float)
        Trials that are done, with their values, in order.
    attributes : dict
        What the sampler had noted about the study.
    prior : list of (dict, tuple of float)
        Trials of another study, by values of the searched settings, that the sampler learns from first.
    """

    def __init__(self, search: Search, told: list, attributes: dict, prior: list = ()):
        self.search, self.distributions, self.n_told_before = search, distributions(search), len(prior)
        self.grid = search.grid() if search.sampler == "grid" else None
        directions = [OBJECTIVES[name].direction for name in search.objectives]
        with _quiet():
            self.study = optuna.create_study(directions=directions, sampler=_sampler(search, 0))
        for name, value in attributes.items():
            self.study._storage.set_study_system_attr(self.study._study_id, name, value)
        self.study.add_trials([self.frozen(Proposal(0, params, {}), values) for params, values in prior])
        self.study.add_trials([self.frozen(proposal, values) for proposal, values in told])
        self.n_asked = len(told)
        self.n_proposed = sum(FIXED not in proposal.notes for proposal, _ in told)

    def frozen(self, proposal: Proposal, values: tuple[float, ...]) -> FrozenTrial:
        """Return a trial that has ended as Optuna knows it; a pruned one has the value of its last rung."""
        return create_trial(
            state=TrialState.PRUNED if proposal.rungs else TrialState.COMPLETE,
            params=proposal.values,
            distributions=self.distributions,
            values=[proposal.rungs[-1]] if proposal.rungs else list(values),
            intermediate_values=dict(enumerate(proposal.rungs)),
            system_attrs=proposal.notes,
        )

    @property
    def attributes(self) -> dict:
        """What the sampler has noted about the study, as plain values."""
        return json.loads(json.dumps(self.study._storage.get_study_system_attrs(self.study._study_id)))

    def ask(self, chunk: int, n: int, queued: list[dict] = ()) -> list[Proposal]:
        """Return trials with the values that were asked for, and the next n that the sampler proposes."""
        first, point = self.n_asked, self.n_proposed
        self.n_asked, self.n_proposed = first + len(queued) + n, point + n
        if self.grid is not None:
            asked = [Proposal(first + i, values, {FIXED: values}) for i, values in enumerate(queued)]
            return asked + [Proposal(first + len(queued) + i, self.grid[point + i], {}) for i in range(n)]
        for values in queued:
            self.study.enqueue_trial(values)
        with _quiet():
            self.study.sampler = _sampler(self.search, chunk)
            self.asked = []
            for number in range(first, self.n_asked):
                own = point + number - first - len(queued)  # queued trials take nothing from a sequence
                if self.search.sampler == "random":
                    self.study.sampler = _sampler(self.search, max(0, own))
                elif self.search.sampler == "qmc":  # which draws a study's first trial at random
                    independent = optuna.samplers.RandomSampler(seed=self.search.seed)
                    self.study.sampler = independent if own == 0 else _sampler(self.search, chunk)
                self.asked.append(self.study.ask(self.distributions))
        return [self._proposal(trial) for trial in self.asked]

    def _proposal(self, trial: optuna.Trial, rungs: tuple[float, ...] = ()) -> Proposal:
        notes = self.study._storage.get_trial_system_attrs(trial._trial_id)
        return Proposal(trial.number - self.n_told_before, dict(trial.params), json.loads(json.dumps(notes)), rungs)

    def tell(self, proposals: list[Proposal], values: list[tuple[float, ...]]) -> list[Proposal]:
        """Tell what a chunk came to, in its order; return it with the sampler's final notes."""
        if self.grid is not None:
            self.study.add_trials([self.frozen(*pair) for pair in zip(proposals, values, strict=True)])
            return proposals
        for trial, proposal, numbers in zip(self.asked, proposals, values, strict=True):
            for step, value in enumerate(proposal.rungs):
                trial.report(value, step)
            if proposal.rungs:
                self.study.tell(trial, state=TrialState.PRUNED)
            else:
                self.study.tell(trial, list(numbers))
        return [self._proposal(trial, p.rungs) for trial, p in zip(self.asked, proposals, strict=True)]


@contextlib.contextmanager
def _quiet():
    """Keep Optuna's remarks on young features from the terminal."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        yield
