"""Who proposes a search's trials: Optuna's samplers on an in-memory mirror of the study, or our own grid.

Trials are asked in chunks of fixed size and told in order. For every chunk the sampler starts from a seed that belongs to the
search's seed and the chunk's number, and from what the chunks before came to. So the same search proposes the same trials
with any number of workers, and after a restart, when the mirror is built again from what the store kept.
"""

import json
import warnings
from typing import NamedTuple

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from engine import FIELDS
from studies.objectives import OBJECTIVES
from studies.search import Choices, Search

optuna.logging.set_verbosity(optuna.logging.WARNING)


class Proposal(NamedTuple):
    """One trial that was asked: its number, the values of the searched settings, what the sampler noted about it."""

    number: int
    values: dict
    notes: dict


def distributions(search: Search) -> dict[str, BaseDistribution]:
    """Return a space as Optuna knows it."""
    known: dict[str, BaseDistribution] = {}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The distribution is specified by", UserWarning)  # the last step may end below high
        for name, part in search.space.items():
            if isinstance(part, Choices):
                known[name] = CategoricalDistribution(part.values)
            elif FIELDS[name].kind == "int":
                known[name] = IntDistribution(part.low, part.high, log=part.log, step=int(part.step or 1))
            else:
                known[name] = FloatDistribution(part.low, part.high, log=part.log, step=part.step)
    return known


def _sampler(search: Search, chunk: int) -> optuna.samplers.BaseSampler:
    """Return the sampler of one chunk."""
    seed = int(np.random.SeedSequence([search.seed, chunk]).generate_state(1)[0])
    if search.sampler == "tpe":
        return optuna.samplers.TPESampler(seed=seed)
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
    """

    def __init__(self, search: Search, told: list[tuple[Proposal, tuple[float, ...]]], attributes: dict):
        self.search, self.distributions, self.n_asked = search, distributions(search), 0
        self.grid = search.grid() if search.sampler == "grid" else None
        directions = [OBJECTIVES[name].direction for name in search.objectives]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            self.study = optuna.create_study(directions=directions, sampler=_sampler(search, 0))
        for name, value in attributes.items():
            self.study._storage.set_study_system_attr(self.study._study_id, name, value)
        self.study.add_trials([self.frozen(proposal, values) for proposal, values in told])
        self.n_asked = len(told)

    def frozen(self, proposal: Proposal, values: tuple[float, ...]) -> FrozenTrial:
        """Return a finished trial as Optuna knows it."""
        return create_trial(
            state=TrialState.COMPLETE,
            params=proposal.values,
            distributions=self.distributions,
            values=list(values),
            system_attrs=proposal.notes,
        )

    @property
    def attributes(self) -> dict:
        """What the sampler has noted about the study, as plain values."""
        return json.loads(json.dumps(self.study._storage.get_study_system_attrs(self.study._study_id)))

    def ask(self, chunk: int, n: int) -> list[Proposal]:
        """Return the next n trials."""
        first, self.n_asked = self.n_asked, self.n_asked + n
        if self.grid is not None:
            return [Proposal(number, self.grid[number], {}) for number in range(first, first + n)]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            self.study.sampler = _sampler(self.search, chunk)
            self.asked = [self.study.ask(self.distributions) for _ in range(n)]
        return [self._proposal(trial) for trial in self.asked]

    def _proposal(self, trial: optuna.Trial) -> Proposal:
        notes = self.study._storage.get_trial_system_attrs(trial._trial_id)
        return Proposal(trial.number, dict(trial.params), json.loads(json.dumps(notes)))

    def tell(self, proposals: list[Proposal], values: list[tuple[float, ...]]) -> list[Proposal]:
        """Tell what a chunk came to, in its order; return it with the sampler's final notes."""
        if self.grid is not None:
            self.study.add_trials([self.frozen(*pair) for pair in zip(proposals, values, strict=True)])
            return proposals
        for trial, numbers in zip(self.asked, values, strict=True):
            self.study.tell(trial, list(numbers))
        return [self._proposal(trial) for trial in self.asked]
