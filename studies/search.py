"""What a search is: fixed settings, a space of others, what counts as good, who proposes, how much is tried.

Search(
    name="learning rates",
    fixed={"n_iterations": 2000},
    space={"learning_rate": Range(0.001, 10, log=True), "activation": Choices(["sigmoid", "tanh"])},
)
"""

import dataclasses
import functools
import importlib.util
import itertools
import json
import math
from dataclasses import dataclass, field

from engine import DEFAULTS, FIELDS, ConfigError, RunConfig, check_memory, check_name, check_value, fitting
from engine.fields import unknown_name
from studies.errors import PlanError
from studies.objectives import OBJECTIVES
from studies.pruning import PRUNERS

MOST_TRIALS, MOST_SEEDS = 100_000, 1000
LARGEST_GRID = 1_000_000
SAMPLERS = {
    "tpe": "Tree-structured Parzen estimator: learns where good trials lie; the usual choice.",
    "cmaes": "CMA-ES: moves a normal distribution; for numbers only, words are drawn at random.",
    "qmc": "Quasi-Monte Carlo: spreads trials evenly without looking at results.",
    "random": "Random: independent draws; the fairest base line.",
    "grid": "Grid: every combination of a few values of each setting.",
    "gp": "Gaussian process: for costly trials, up to some hundreds; needs PyTorch.",
}
LEARNERS = ("tpe", "cmaes", "gp")
"""Samplers that look at results."""
LEAST_BATCH, LARGEST_BATCH = 8, 32
"""Trials that a learner is asked at once: an eighth of all within these bounds; TPE loses little then (16 of 512: nothing)."""
BLIND_BATCH = 256
"""Trials asked at once of a sampler that does not look at results: a population that fills the cache."""
LEAST_COMPARED = 54
"""Trials asked at once where they are compared with each other: two of 54 are left after three halvings by three."""
USUAL_TRIALS = 64
LONGEST = 30 * 24 * 3600


@dataclass(frozen=True)
class Range:
    """Numbers from low to high; `log` spreads them evenly over powers of ten, `step` (without log) takes every so many-th."""

    low: float
    high: float
    log: bool = False
    step: float | None = None

    def grid(self, whole: bool, n: int) -> list:
        """Return at most n values, evenly spread, both ends in."""
        if self.step:
            count = int((self.high - self.low) / self.step + 1e-9) + 1
            n = min(n, count)
            places = sorted({round(i * (count - 1) / max(1, n - 1)) for i in range(n)})
            values = [min(self.low + place * self.step, self.high) for place in places]  # 3 x 0.1 is above 0.3
        else:
            ends = (math.log(self.low), math.log(self.high)) if self.log else (self.low, self.high)
            values = [ends[0] + (ends[1] - ends[0]) * i / max(1, n - 1) for i in range(n)]
            values = [min(max(math.exp(v) if self.log else v, self.low), self.high) for v in values]
            values[0], values[-1] = self.low, self.high  # exp(log(0.001)) is not 0.001
        return sorted({round(v) for v in values}) if whole else list(dict.fromkeys(values))


@dataclass(frozen=True)
class Choices:
    """Some values, without an order."""

    values: tuple

    def __init__(self, values):
        object.__setattr__(self, "values", tuple(dict.fromkeys(values)))

    def grid(self, whole: bool, n: int) -> list:
        """Return all values."""
        return list(self.values)


@dataclass(frozen=True, kw_only=True)
class Search:
    """A search, checked on construction.

    Attributes
    ----------
    name : str
    fixed : dict
        Settings that are the same in all trials.
    space : dict of str to Range or Choices
        Settings that are searched.
    objectives : tuple of str
        One or two keys of `OBJECTIVES`.
    sampler : str
        A key of `SAMPLERS`.
    seed : int
        Of the sampler.
    pruner : str
        A key of `PRUNERS`: when trials are given up before their end.
    n_trials : int
        A trial is one configuration, trained with every seed. Without one: 64, or with `seconds` as many as there are.
    seconds : float, optional
        Time after which no more trials are asked; those that were asked are trained to their end.
    n_seeds : int
        Seeds per trial: 1, 2, ... n_seeds, the same for all trials, so that they share data and initial noise.
    batch : int
        Trials asked at once, trained together, told in order. Decides, with the seed, which trials a sampler that learns
        proposes; workers do not. Without one: what suits sampler and pruner.
    points : int
        Values that a grid takes of a range.
    warm_start : str
        Name of a study whose finished trials the sampler learns from first; empty: none.

    Raises
    ------
    ConfigError, PlanError
        With what is wrong: an empty space, low above high, a setting both fixed and searched, more trials than the space has.
    """

    name: str
    space: dict
    fixed: dict = field(default_factory=dict)
    objectives: tuple[str, ...] = ("final_loss",)
    sampler: str = "tpe"
    pruner: str = "none"
    seed: int = 1
    n_trials: int | None = None
    seconds: float | None = None
    n_seeds: int = 1
    batch: int | None = None
    points: int = 5
    warm_start: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name.strip():
            raise PlanError("name: expected some text, found none; a study is found again by its name")
        for what, kinds in (("fixed", dict), ("space", dict), ("objectives", (list, tuple))):
            if not isinstance(getattr(self, what), kinds):
                wanted = "settings with their values" if kinds is dict else "a list of names"
                raise PlanError(f"{what}: expected {wanted}, found {getattr(self, what)!r}")
        object.__setattr__(self, "objectives", tuple(self.objectives))
        if not self.space:
            raise PlanError("space: expected one or more settings to search, found none")
        for name in (*self.fixed, *self.space):
            check_name(name)
        if both := sorted(set(self.fixed) & set(self.space)):
            raise PlanError(f"{both[0]}: expected it fixed or searched, found it as both; take it out of one")
        if "seed" in self.fixed or "seed" in self.space:
            raise PlanError("seed: expected no value; n_seeds says with how many seeds each trial is trained")
        object.__setattr__(self, "fixed", {name: check_value(name, value) for name, value in self.fixed.items()})
        object.__setattr__(self, "space", {name: _checked(name, part) for name, part in self.space.items()})
        tables = {"objective": OBJECTIVES, "sampler": SAMPLERS, "pruner": PRUNERS}
        for what, known in tables.items():
            for name in self.objectives if what == "objective" else (getattr(self, what),):
                if not isinstance(name, str) or name not in known:
                    raise unknown_name(what, name, known)
        if not 1 <= len(self.objectives) <= 2 or len(set(self.objectives)) < len(self.objectives):
            raise PlanError(f"objectives: expected one, or two different ones, found {', '.join(self.objectives) or 'none'}")
        self._check_together()
        if self.n_trials is None:
            object.__setattr__(self, "n_trials", int(min(self.size, MOST_TRIALS if self.seconds else USUAL_TRIALS)))
        if self.batch is None and isinstance(self.n_trials, int):
            object.__setattr__(self, "batch", self.usual_batch)
        for name, least, most in (
            ("n_trials", 1, MOST_TRIALS),
            ("n_seeds", 1, MOST_SEEDS),
            ("batch", 1, MOST_TRIALS),
            ("points", 2, 1000),
            ("seed", 0, 2**32 - 1),
        ):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
                raise PlanError(f"{name}: expected a whole number from {least:,} to {most:,}, found {value!r}")
        self._check_size()
        for values in self._corners():
            check_memory(self.config(values, 1))

    def _check_together(self) -> None:
        """Refuse what does not go together."""
        if len(self.objectives) > 1 and self.sampler == "cmaes":
            raise PlanError("sampler: expected one that can follow two objectives, found cmaes; tpe can")
        if self.sampler == "gp" and not is_installed("gp"):
            raise PlanError("sampler: expected PyTorch for gp, found none; install it (pip install torch), or take tpe")
        if self.pruner != "none":
            if len(self.objectives) > 1:
                raise PlanError(f"pruner: expected none beside two objectives, found {self.pruner}")
            if not OBJECTIVES[self.objectives[0]].column:
                raise PlanError(f"pruner: expected none beside {self.objectives[0]}, which is known from the start")
            if self.sampler == "cmaes":
                raise PlanError(f"pruner: expected none beside cmaes, which compares whole generations, found {self.pruner}")
            if self.sampler == "gp" and self.pruner != "median":
                raise PlanError(f"pruner: expected none or median beside gp, which learns of whole trials, found {self.pruner}")
        limit = self.seconds
        is_number = isinstance(limit, (int, float)) and not isinstance(limit, bool)
        if limit is not None and not (is_number and 0 < limit <= LONGEST):
            raise PlanError(f"seconds: expected a number above 0 and at most {LONGEST:,} (30 days), found {limit!r}")
        if not isinstance(self.warm_start, str):
            raise PlanError(f"warm_start: expected the name of a study, found {self.warm_start!r}")
        if self.warm_start and self.sampler not in ("tpe", "gp"):
            raise PlanError(f"warm_start: expected a sampler that learns from any trial (tpe or gp), found {self.sampler}")

    @property
    def usual_batch(self) -> int:
        """How many trials are asked at once unless somebody says."""
        usual = BLIND_BATCH
        if self.sampler in LEARNERS or self.pruner == "median":
            usual = max(LEAST_BATCH, min(LARGEST_BATCH, self.n_trials // 8))
        return max(usual, LEAST_COMPARED) if self.pruner in ("halving", "hyperband") else usual

    def _check_size(self) -> None:
        size = self.size
        if self.sampler == "grid":
            if size > LARGEST_GRID:
                raise PlanError(f"space: expected a grid of at most {LARGEST_GRID:,} points, found {size:,}; give fewer points")
            object.__setattr__(self, "n_trials", min(self.n_trials, size))
        elif self.n_trials > size:
            raise PlanError(f"n_trials: expected at most {size:,}, which is all that the space has, found {self.n_trials:,}")

    @property
    def size(self) -> float:
        """How many different trials the space has; infinite with a range of real numbers, unless it is a grid."""
        if self.sampler == "grid":
            return math.prod(len(part.grid(FIELDS[name].kind == "int", self.points)) for name, part in self.space.items())
        sizes = []
        for name, part in self.space.items():
            if isinstance(part, Choices):
                sizes.append(len(part.values))
            elif FIELDS[name].kind == "int" or part.step:
                sizes.append(int((part.high - part.low) / (part.step or 1) + 1e-9) + 1)
            else:
                sizes.append(math.inf)
        return math.prod(sizes)

    def _corners(self):
        """Yield values at the ends of every range, every choice: what is refused is refused before anything is trained."""
        ends = [part.values if isinstance(part, Choices) else (part.low, part.high) for part in self.space.values()]
        if math.prod(map(len, ends)) <= 512:
            yield from (dict(zip(self.space, values, strict=True)) for values in itertools.product(*ends))
            return
        for place, (name, values) in enumerate(zip(self.space, ends, strict=True)):
            first = [other[-1] for other in ends]
            for value in values:
                yield dict(zip(self.space, [*first[:place], value, *first[place + 1 :]], strict=True)) | {name: value}

    def first(self) -> dict:
        """Return the first value of every part of the space: an example of a trial."""
        return {name: part.values[0] if isinstance(part, Choices) else part.low for name, part in self.space.items()}

    def grid(self) -> list[dict]:
        """Return all points of the grid; the last setting varies fastest."""
        values = [part.grid(FIELDS[name].kind == "int", self.points) for name, part in self.space.items()]
        return [dict(zip(self.space, point, strict=True)) for point in itertools.product(*values)]

    def config(self, values: dict, seed: int) -> RunConfig:
        """Return the config of one run of a trial; a searched setting that means nothing beside the others is left out."""
        return RunConfig(**fitting(self.fixed | values), seed=seed)

    def direction(self, objective: str) -> str:
        """Return minimize or maximize."""
        return OBJECTIVES[objective].direction

    @property
    def promise(self) -> str:
        """What the same search proposes when it is made again, in words."""
        if self.sampler == "gp":
            return "A Gaussian process rounds differently from machine to machine: the same seed may propose other trials."
        if self.seconds:
            return "The same seed proposes the same trials in the same order; how many there are depends on the machine."
        return "The same seed proposes the same trials, with any number of workers."

    def holds(self, values: dict) -> bool:
        """Return whether values of all searched settings, and nothing else, lie in the space."""
        return set(values) == set(self.space) and all(_has(FIELDS[n].kind, self.space[n], value) for n, value in values.items())

    @property
    def seeds(self) -> range:
        """The seeds of every trial."""
        return range(1, self.n_seeds + 1)

    @property
    def n_iterations(self) -> int:
        """At most how many iterations all runs make together."""
        part = self.space.get("n_iterations")
        most = self.fixed.get("n_iterations", DEFAULTS["n_iterations"])
        if part is not None:
            most = max(part.values) if isinstance(part, Choices) else int(part.high)
        return most * self.n_trials * self.n_seeds

    def to_json(self) -> str:
        """Return the search as JSON."""
        parts = {
            name: list(part.values) if isinstance(part, Choices) else dataclasses.asdict(part)
            for name, part in self.space.items()
        }
        return json.dumps({f.name: getattr(self, f.name) for f in dataclasses.fields(self)} | {"space": parts})

    @classmethod
    @functools.lru_cache(maxsize=200)
    def from_json(cls, text: str) -> "Search":
        """Return the search that JSON describes; ranges are objects with low and high, choices are lists.

        Remembers it, because a page that watches a study asks again and again.
        """
        try:
            raw = json.loads(text)
        except json.JSONDecodeError as error:
            raise PlanError(f"expected a search as JSON, found text that is none: {error}") from None
        return cls.from_dict(raw)

    @classmethod
    def from_dict(cls, raw: dict) -> "Search":
        """Return the search that a dict of plain values describes."""
        known = {f.name for f in dataclasses.fields(cls)}
        if not isinstance(raw, dict):
            raise PlanError(f"expected a search as an object with {', '.join(sorted(known))}, found {type(raw).__name__}")
        for name in raw:
            if name not in known:
                raise unknown_name("field", name, sorted(known))
        for name in ("name", "space"):
            if name not in raw:
                raise PlanError(f"expected a search with {name}, found none")
        if not isinstance(raw["space"], dict):
            raise PlanError("space: expected an object that gives each setting a list of choices, or low and high")
        return cls(**raw | {"space": {name: _part(name, part) for name, part in raw["space"].items()}})


def is_installed(sampler: str) -> bool:
    """Return whether what a sampler needs is there."""
    return sampler != "gp" or importlib.util.find_spec("torch") is not None


def _has(kind: str, part: "Range | Choices", value: object) -> bool:
    """Return whether a part of a space has a value."""
    if isinstance(part, Choices):
        return any(type(value) is type(choice) and value == choice for choice in part.values)
    if isinstance(value, bool) or not isinstance(value, (int, float) if kind == "float" else int):
        return False
    if not part.low <= value <= part.high:
        return False
    return not part.step or abs((value - part.low) / part.step - round((value - part.low) / part.step)) < 1e-9


def _part(name: str, part: object) -> Range | Choices:
    """Return a range or choices from plain values."""
    if isinstance(part, list):
        if any(isinstance(value, (list, dict)) for value in part):
            raise PlanError(f"{name}: expected plain values as choices, found {part!r}")
        return Choices(part)
    if isinstance(part, dict) and {"low", "high"} <= set(part) <= {f.name for f in dataclasses.fields(Range)}:
        return Range(**part)
    raise PlanError(
        f'{name}: expected a list of choices or {{"low": ..., "high": ..., "log": false, "step": null}}, found {part!r}'
    )


def _checked(name: str, part: Range | Choices) -> Range | Choices:
    """Return a part of a space with checked values."""
    kind = FIELDS[name].kind
    if not isinstance(part, (Range, Choices)):
        raise PlanError(f"{name}: expected a Range or Choices, found {part!r}")
    if isinstance(part, Choices):
        if not part.values:
            raise PlanError(f"{name}: expected one or more choices, found none")
        return Choices([check_value(name, value) for value in part.values])
    if kind not in ("int", "float"):
        raise PlanError(f"{name}: expected a list of choices, found a range; it is no number")
    low, high = check_value(name, part.low), check_value(name, part.high)
    if low is None or high is None or not low < high:
        raise PlanError(f"{name}: expected low below high, found {part.low} and {part.high}")
    if not isinstance(part.log, bool):
        raise PlanError(f"{name}: expected log to be true or false, found {part.log!r}")
    if part.log and low <= 0:
        raise PlanError(f"{name}: expected a range above 0 for log, found it starts at {part.low}")
    if part.log and part.step:
        raise PlanError(f"{name}: expected log or step, found both")
    if part.step is not None and not _is_step(part.step, high - low):
        raise PlanError(f"{name}: expected a step above 0 and at most {high - low:g}, found {part.step!r}")
    if kind == "int" and part.step is not None and part.step != int(part.step):
        raise PlanError(f"{name}: expected a whole step, found {part.step}")
    return Range(low, high, part.log, part.step)


def _is_step(step: object, width: float) -> bool:
    """Return whether a number fits into a range once or more, and not so often that it vanishes beside the range's ends."""
    is_number = isinstance(step, (int, float)) and not isinstance(step, bool)
    return is_number and 0 < step <= width and width / step < 2**53


TEMPLATES: dict[str, dict] = {
    "quick_look": {
        "name": "A quick look",
        "fixed": {"n_iterations": 2000},
        "space": {
            "weight_init_std": Range(0.01, 100, log=True),
            "learning_rate": Range(0.001, 100, log=True),
            "hidden_size": Choices([8, 16, 32]),
        },
        "sampler": "random",
        "n_trials": 64,
    },
    "exercise": {
        "name": "The exercise's grid",
        "fixed": {},
        "space": {
            "weight_init_std": Choices([0.1, 1.0, 10.0]),
            "learning_rate": Choices([0.1, 0.5, 1.0]),
            "hidden_size": Choices([16, 32, 100]),
        },
        "sampler": "grid",
        "n_trials": 27,
    },
    "init_and_activation": {
        "name": "Init and activation",
        "fixed": {"n_iterations": 5000, "learning_rate": 0.1},
        "space": {
            "init_scheme": Choices(["normal", "xavier_normal", "he_normal", "lecun_normal", "orthogonal"]),
            "activation": Choices(["sigmoid", "tanh", "relu", "elu"]),
        },
        "sampler": "grid",
        "n_trials": 20,
        "n_seeds": 5,
    },
    "cells": {
        "name": "Cells compared",
        "fixed": {"n_iterations": 2000, "batch_size": 16, "optimizer": "adam", "bias": True, "init_scheme": "xavier_normal"},
        "space": {
            "cell": Choices(["rnn", "lstm_cec", "lstm_io", "lstm", "lstm_peephole", "gru"]),
            "learning_rate": Choices([0.003, 0.01, 0.03]),
        },
        "sampler": "grid",
        "n_trials": 18,
        "n_seeds": 3,
    },
}
"""Where a study can start from."""


def template(name: str, /, **changes) -> Search:
    """Return a template's search with some of its fields replaced."""
    if name not in TEMPLATES:
        raise unknown_name("template", name, TEMPLATES)
    return Search(**TEMPLATES[name] | changes)


__all__ = ["PRUNERS", "SAMPLERS", "TEMPLATES", "Choices", "ConfigError", "Range", "Search", "template"]
