"""Which runs to train: settings, each with one or several values, times seeds. The presets of the exercise."""

import copy
import functools
import itertools
import json
import math
import re
from dataclasses import InitVar, dataclass, field

from engine import DEFAULTS, FIELDS, TASKS, RunConfig, check_memory, check_name, check_value, fitting, parse_value
from engine.fields import unknown_name
from engine.population import SHAPE
from studies.errors import PlanError

MOST_RUNS = 100_000
"""Runs of one plan: some minutes of the classic exercise on two cores, and as many rows as a table opens quickly."""
MOST_COMPARED = 20
"""Combinations of a plan up to which it is held against the presets."""


@dataclass(frozen=True)
class Preset:
    """Settings with a name that people can pick; a list stands for several values."""

    title: str
    note: str
    settings: dict = field(default_factory=dict)


_MEMORY = {
    "length": 50,
    "hidden_size": 16,
    "bias": True,
    "init_scheme": "xavier_uniform",
    "optimizer": "adam",
    "learning_rate": 0.01,
    "clip_norm": 1.0,
    "batch_size": 32,
    "n_iterations": 2000,
    "dtype": "float32",
}
"""Settings under which gated cells remember: the same for every cell, so that only the cell differs."""
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
    "bit_count": Preset(
        "First LSTM: count ten bits",
        "The first LSTM example: 80 units, plain gradient descent, a pool of 1,000 sequences.",
        {"task": "bit_count", **TASKS["bit_count"].starting_point},
    ),
    "long_memory": Preset(
        "Long memory: rnn, LSTM, GRU",
        "Two marked numbers among 100, to be added: the simple network stays at guessing, the gated ones remember.",
        {
            "task": "adding_problem",
            **_MEMORY,
            "length": 100,
            "activation": "tanh",
            "cell": ["rnn", "lstm", "gru"],
            "seed": [1, 2, 3],
        },
    ),
    "lstm_history": Preset(
        "The LSTM's history",
        "Two marked numbers among 50: carousel alone, with gates, with forget gate, with peepholes.",
        {
            "task": "adding_problem",
            **_MEMORY,
            "cell": ["lstm_cec", "lstm_io", "lstm", "lstm_peephole"],
            "seed": [1, 2, 3],
        },
    ),
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


def parse_fixed(text: str) -> dict:
    """Return settings that are typed as name = value, one a line.

    Raises
    ------
    ConfigError, PlanError
    """
    settings = {}
    for line in filter(None, map(str.strip, text.splitlines())):
        name, equals, value = (part.strip() for part in line.partition("="))
        if not equals:
            raise PlanError(f"fixed settings: expected name = value on each line, found {line!r}")
        if name in settings:
            raise PlanError(f"fixed settings: expected {name} once, found it twice")
        values = parse_values(name, value)
        if len(values) != 1:
            raise PlanError(f"fixed settings: expected one value of {name}, found {len(values)}; search it instead")
        settings[name] = values[0]
    return settings


def spell_fixed(settings: dict) -> str:
    """Return settings as people type them, so that `parse_fixed` gives them back."""
    return "\n".join(f"{name} = {spell_value(value)}" for name, value in settings.items())


def meaningful(axes: dict[str, list]) -> dict[str, list]:
    """Return the axes that mean something beside at least one value of the others."""

    def means_something(name: str) -> bool:
        needs = check_name(name).needs
        return needs is None or any(value in needs[1] for value in axes.get(needs[0], [DEFAULTS[needs[0]]]))

    return {name: values for name, values in axes.items() if means_something(name)}


_LEFT_OUT = object()


def _combined(axes: dict[str, list]) -> list[dict]:
    """Return the different combinations of the axes' values, each without what means nothing in it; the last varies fastest."""
    names = list(axes)
    needs = [(place, *FIELDS[name].needs) for place, name in enumerate(names) if FIELDS[name].needs]
    limits = [(place, names.index(other), allowed) for place, other, allowed in needs if other in axes]

    def reduced(values: tuple) -> tuple:
        left = list(values)
        for place, other, allowed in limits:
            if values[other] not in allowed:
                left[place] = _LEFT_OUT
        return tuple(left)

    every = itertools.product(*axes.values())
    distinct = dict.fromkeys(map(reduced, every) if limits else every)
    found = [{n: v for n, v in zip(names, values, strict=True) if v is not _LEFT_OUT} for values in distinct]
    if any(FIELDS[name].usual and None in values and len(values) > 1 for name, values in axes.items()):
        by_run: dict[str, dict] = {}
        for settings in found:  # None stands for the usual value, which may be one of the others
            by_run.setdefault(RunConfig(**settings).identity, settings)
        return list(by_run.values())
    return found


def _deciding(name: str, values: list) -> list:
    """Return the values of a setting that decide whether it goes with the others and how much memory runs take."""
    if name not in SHAPE:
        return values[:1]
    numbers = [value for value in values if value is not None]
    if FIELDS[name].kind != "int" or not numbers:
        return values
    return list(dict.fromkeys([*([None] if None in values else []), min(numbers), max(numbers)]))


@dataclass(frozen=True)
class Plan:
    """The runs of a job: every combination of the axes' values, on top of fixed settings.

    A setting that means nothing in a combination (the activation beside an LSTM) is left out there, and combinations that
    become equal are trained once.

    Attributes
    ----------
    axes : dict of str to list
        Values of each setting; settings that are not named keep the defaults of `RunConfig`.
    trained_here : bool
        False for a plan of the past, which a larger machine may have trained: then memory is not checked.

    Raises
    ------
    ConfigError, PlanError
        On construction: an unknown setting, a value out of range, no value at all, a setting that means nothing in any
        combination, more than `MOST_RUNS` runs, a run that would not fit in memory.
    """

    axes: dict
    trained_here: InitVar[bool] = True

    def __post_init__(self, trained_here: bool) -> None:
        checked = {}
        for name, values in self.axes.items():
            check_name(name)
            if len(values) > MOST_RUNS:  # asked before anything of that length is made
                raise PlanError(f"{name}: expected at most {MOST_RUNS:,} values, found {len(values):,}; give fewer")
            checked[name] = list(dict.fromkeys(check_value(name, value) for value in values))
            if not checked[name]:
                raise PlanError(f"{name}: expected one or more values, found none")
        kept = meaningful(checked)
        object.__setattr__(self, "axes", {name: kept[name] for name in FIELDS if name in kept})
        n_combinations = math.prod(len(values) for values in self.axes.values())
        if n_combinations > MOST_RUNS:
            raise PlanError(
                f"expected at most {MOST_RUNS:,} runs, found {n_combinations:,} combinations; give fewer values or seeds"
            )
        some = fitting({name: values[0] for name, values in self.axes.items()})
        for name, values in checked.items():
            for value in values if name not in kept else ():
                RunConfig(**some | {name: value})  # says why it means nothing; None: nothing was asked for
        self._check_combinations(trained_here)

    def _check_combinations(self, trained_here: bool) -> None:
        """Refuse settings that do not go together or take too much memory: the deciding ones stand for all."""
        for settings in _combined({name: _deciding(name, values) for name, values in self.axes.items()}):
            config = RunConfig(**settings)
            if trained_here:
                check_memory(config)

    @functools.cached_property
    def combinations(self) -> list[dict]:
        """The different settings, without seeds: the last setting varies fastest."""
        return _combined({name: values for name, values in self.axes.items() if name != "seed"})

    @classmethod
    def of(cls, preset: str = "classic", **axes) -> "Plan":
        """Return a preset's plan with some settings replaced by one value or a list of values."""
        if preset not in PRESETS:
            raise unknown_name("preset", preset, PRESETS)
        values = {**PRESETS[preset].settings, **axes}
        lists = {name: value if isinstance(value, list | tuple | range) else [value] for name, value in values.items()}
        kept = meaningful(lists)
        return cls({name: values for name, values in lists.items() if name in kept or name in axes})

    @classmethod
    def of_config(cls, config: RunConfig) -> "Plan":
        """Return the plan of one run."""
        return cls({name: [value] for name, value in config.to_dict().items() if value is not None})

    @classmethod
    @functools.lru_cache(maxsize=200)
    def from_json(cls, text: str) -> "Plan":
        """Return the plan that `to_json` wrote; remembers it, because a page that watches a job asks again and again."""
        axes = meaningful(json.loads(text))  # earlier versions kept settings that meant nothing
        return cls(axes, trained_here=False)

    def to_json(self) -> str:
        """Return the plan as JSON."""
        return json.dumps(self.axes)

    @property
    def seeds(self) -> list[int]:
        """The seeds over which every combination is repeated."""
        return self.axes.get("seed", [DEFAULTS["seed"]])

    @property
    def n_runs(self) -> int:
        """How many runs the plan makes."""
        return len(self.combinations) * len(self.seeds)

    @property
    def n_iterations(self) -> int:
        """How many iterations all runs make together."""
        each = (settings.get("n_iterations", DEFAULTS["n_iterations"]) for settings in self.combinations)
        return sum(each) * len(self.seeds)

    @property
    def varied(self) -> list[str]:
        """Settings with more than one value."""
        return [name for name, values in self.axes.items() if len(values) > 1]

    def config(self, number: int) -> RunConfig:
        """Return the config of one run; seeds vary fastest."""
        combination, seed = divmod(number, len(self.seeds))
        return RunConfig(**self.combinations[combination], seed=self.seeds[seed])

    def configs(self) -> list[RunConfig]:
        """Return the runs' configs in their order."""
        configs = []
        for settings in self.combinations:
            config = RunConfig(**settings, seed=self.seeds[0])
            configs += [config, *(_with_seed(config, seed) for seed in self.seeds[1:])]
        return configs

    def baseline(self) -> float | None:
        """Return the loss of the best constant answer, where it is the same for all runs."""
        asked = {name: values for name, values in self.axes.items() if name in ("task", "bits", "length", "loss")}
        configs = [RunConfig(**settings) for settings in _combined(asked)]
        baselines = {TASKS[config.task].baseline(config) for config in configs}
        return baselines.pop() if len(baselines) == 1 else None


def _with_seed(config: RunConfig, seed: int) -> RunConfig:
    """Return a copy with another seed, both checked before: a plan of 100,000 seeds has no time to check each again."""
    twin = copy.copy(config)
    object.__setattr__(twin, "seed", seed)
    return twin


@functools.cache
def _presets_by_runs() -> dict[frozenset, str]:
    return {_identities(Plan.of(name)): name for name in PRESETS}


def _identities(plan: Plan) -> frozenset:
    return frozenset(RunConfig(**settings).identity for settings in plan.combinations)


def preset_of(plan: Plan) -> str | None:
    """Return the preset that trains what a plan trains, whatever the seeds."""
    return _presets_by_runs().get(_identities(plan)) if len(plan.combinations) <= MOST_COMPARED else None


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
    ordered = [name for name in ordered if settings[name] is not None or FIELDS[name].optional]
    return " · ".join(f"{_word(name)}{spell_value(settings[name])}" for name in ordered)


def _word(name: str) -> str:
    return "" if FIELDS[name].kind == "choice" else f"{FIELDS[name].label} "
