"""Which runs to train: settings, each with one or several values, times seeds. The presets of the exercise."""

import collections
import functools
import itertools
import json
import math
import re
from dataclasses import dataclass, field

from engine import FIELDS, RunConfig, check_name, check_value, parse_value
from engine.config import unknown_name
from studies.errors import PlanError

MOST_RUNS = 100_000
"""Runs of one plan: some minutes of the classic exercise on two cores, and as many rows as a table opens quickly."""


@dataclass(frozen=True)
class Preset:
    """Settings with a name that people can pick."""

    title: str
    note: str
    settings: dict = field(default_factory=dict)


PRESETS = {
    "classic": Preset("Classic exercise", "8-bit addition, 16 sigmoid units, std 1, learning rate 0.1. It learns."),
    "std_10": Preset("Try: std 10", "Ten times larger initial weights saturate the units.", {"weight_init_std": 10.0}),
    "learning_rate_0.5": Preset("Try: learning rate 0.5", "Five times larger steps.", {"learning_rate": 0.5}),
    "learning_rate_1": Preset("Try: learning rate 1", "Ten times larger steps.", {"learning_rate": 1.0}),
    "hidden_32": Preset("Try: hidden 32", "Twice as many hidden units.", {"hidden_size": 32}),
    "hidden_100": Preset("Try: hidden 100", "Many hidden units: it starts far off.", {"hidden_size": 100}),
    "learning_rate_0.5_hidden_32": Preset(
        "Try: learning rate 0.5, hidden 32", "Both at once.", {"learning_rate": 0.5, "hidden_size": 32}
    ),
    "xavier": Preset(
        "Try: Xavier", "As the exercise writes it, 1 / sqrt(fan_in): LeCun's scheme.", {"init_scheme": "lecun_normal"}
    ),
    "he": Preset("Try: He", "sqrt(2 / fan_in), meant for relu.", {"init_scheme": "he_normal"}),
    "tanh": Preset("Try: tanh", "Values between -1 and 1: it rarely gets there.", {"activation": "tanh"}),
    "relu": Preset("Try: relu", "Nothing bounds the hidden values: they overflow.", {"activation": "relu"}),
}


def parse_values(name: str, text: str) -> list:
    """Return the values typed for a setting: "0.1, 0.5, 1", or "1-5" for whole numbers; each once, in order.

    Raises
    ------
    ConfigError, PlanError
    """
    values: list = []
    for part in text.split(","):
        span = re.fullmatch(r"\s*(\d+)\s*-\s*(\d+)\s*", part)
        if span and check_name(name).kind == "int":
            low, high = (parse_value(name, end) for end in span.groups())
            if not low <= high < low + MOST_RUNS:
                raise PlanError(
                    f"{name}: expected a range that rises and has at most {MOST_RUNS:,} numbers, found {part.strip()!r}"
                )
            values += range(low, high + 1)
        else:
            values.append(parse_value(name, part))
    return list(dict.fromkeys(values))


@dataclass(frozen=True)
class Plan:
    """The runs of a job: every combination of the axes' values, on top of fixed settings.

    Attributes
    ----------
    axes : dict of str to list
        Values of each setting; settings that are not named keep the defaults of `RunConfig`.

    Raises
    ------
    ConfigError, PlanError
        On construction: an unknown setting, a value out of range, no value at all, more than `MOST_RUNS` runs.
    """

    axes: dict

    def __post_init__(self) -> None:
        checked = {}
        for name, values in self.axes.items():
            check_name(name)
            if len(values) > MOST_RUNS:  # asked before anything of that length is made
                raise PlanError(f"{name}: expected at most {MOST_RUNS:,} values, found {len(values):,}; give fewer")
            checked[name] = list(dict.fromkeys(check_value(name, value) for value in values))
            if not checked[name]:
                raise PlanError(f"{name}: expected one or more values, found none")
        object.__setattr__(self, "axes", {name: checked[name] for name in FIELDS if name in checked})
        if self.n_runs > MOST_RUNS:
            raise PlanError(
                f"expected at most {MOST_RUNS:,} runs, found {self.n_runs:,} combinations; give fewer values or seeds"
            )
        one_seed = self.axes | ({"seed": self.axes["seed"][:1]} if "seed" in self.axes else {})
        collections.deque(self._configs(one_seed), maxlen=0)  # every combination has to be a run that makes sense

    @classmethod
    def of(cls, preset: str = "classic", **axes) -> "Plan":
        """Return a preset's plan with some settings replaced by one value or a list of values."""
        if preset not in PRESETS:
            raise unknown_name("preset", preset, PRESETS)
        values = {**PRESETS[preset].settings, **axes}
        return cls({k: v if isinstance(v, list | tuple | range) else [v] for k, v in values.items()})

    @classmethod
    @functools.lru_cache(maxsize=200)
    def from_json(cls, text: str) -> "Plan":
        """Return the plan that `to_json` wrote; remembers it, because a page that watches a job asks again and again."""
        return cls(json.loads(text))

    def to_json(self) -> str:
        """Return the plan as JSON."""
        return json.dumps(self.axes)

    @property
    def n_runs(self) -> int:
        """How many runs the plan makes."""
        return math.prod(len(values) for values in self.axes.values())

    @property
    def varied(self) -> list[str]:
        """Settings with more than one value."""
        return [name for name, values in self.axes.items() if len(values) > 1]

    def configs(self) -> list[RunConfig]:
        """Return the runs' configs: the last setting varies fastest, seeds last of all."""
        return list(self._configs(self.axes))

    @staticmethod
    def _configs(axes: dict):
        return (RunConfig(**dict(zip(axes, values, strict=True))) for values in itertools.product(*axes.values()))


def spell_values(values: list) -> str:
    """Return values as people type them, so that `parse_values` gives them back: "0.1, 0.5" or "1-5"."""
    whole = all(isinstance(value, int) and not isinstance(value, bool) for value in values)
    if whole and len(values) > 2 and values == list(range(values[0], values[0] + len(values))):
        return f"{values[0]}-{values[-1]}"
    return ", ".join(spell_value(value) for value in values)


def spell_value(value: object) -> str:
    """Return one value as people type it: 1 for 1.0, none for None."""
    if value is None or isinstance(value, bool):
        return str(value).lower()
    return f"{value:.0f}" if isinstance(value, float) and value.is_integer() and abs(value) < 1e15 else str(value)


def describe(settings: dict, names: list[str] | None = None) -> str:
    """Return settings in words: those of `names`, or without them what differs from the classic exercise, and the seed."""
    if names is None:
        classic = RunConfig().to_dict()
        names = [name for name, value in settings.items() if name in classic and value != classic[name] and name != "seed"]
        names = [*names, "seed"]
    ordered = [name for name in FIELDS if name in names and name in settings]
    return " · ".join(f"{_word(name)}{spell_value(settings[name])}" for name in ordered)


def _word(name: str) -> str:
    return "" if FIELDS[name].kind == "choice" else f"{FIELDS[name].label} "
