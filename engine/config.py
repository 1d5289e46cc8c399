"""What one training run is: `RunConfig`, its fields, their ranges, and the messages when a value does not fit.

The same table of fields checks Python arguments, the command line and what people type into the dashboard, so that the
same mistake gets the same message everywhere.
"""

import dataclasses
import difflib
import hashlib
import json
import math
import numbers
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from engine.activations import ACTIVATIONS
from engine.cells import CELLS
from engine.errors import ConfigError
from engine.initializers import INIT_SCHEMES, SHORT_NAMES
from engine.optimizers import OPTIMIZERS
from engine.tasks import TASKS

ENGINE_VERSION = "1"
"""Part of every run's identity: goes up whenever the same config would give other bits."""

DTYPES = ("float64", "float32")


@dataclass(frozen=True, kw_only=True)
class Field:
    """One setting of a run: its type, its range and what to tell people about it.

    Attributes
    ----------
    kind : str
        "int", "float", "bool" or "choice".
    low, high : float
        Smallest and largest value allowed; `above_low` excludes `low` itself.
    choices : tuple of str
        The values of a "choice".
    optional : bool
        Whether None ("off") is allowed.
    note : str
        One sentence for people: what it does, what values are usual.
    """

    kind: str
    label: str
    note: str
    low: float = -math.inf
    high: float = math.inf
    above_low: bool = False
    choices: tuple[str, ...] = ()
    short_names: dict[str, str] = dataclasses.field(default_factory=dict)
    optional: bool = False

    @property
    def expected(self) -> str:
        """What a value must look like, in words."""
        if self.kind == "choice":
            return "one of " + ", ".join(self.choices)
        if self.kind == "bool":
            return "true or false"
        noun = "a whole number" if self.kind == "int" else "a number"
        low = f"above {self.low:g} up to" if self.above_low else f"from {self.low:,.12g} to"
        return f"{noun} {low} {self.high:,.12g}" + (", or none" if self.optional else "")


def _setting(default: object, kind: str, label: str, note: str, **limits) -> object:
    return dataclasses.field(default=default, metadata={"field": Field(kind=kind, label=label, note=note, **limits)})


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Everything that decides the outcome of one training run, checked on construction.

    The defaults are the classic exercise: 8-bit addition, 16 sigmoid units, no biases, one sample at a time.

    Raises
    ------
    ConfigError
        For a value of the wrong type, out of range or unknown, and for a setting that the others make meaningless.
    """

    task: str = _setting("binary_addition", "choice", "task", "What the network is asked to learn.", choices=tuple(TASKS))
    bits: int = _setting(
        8, "int", "bits", "Length of the sums in bits, and so the number of time steps; the exercise has 8.", low=2, high=32
    )
    cell: str = _setting(
        "rnn", "choice", "cell", "The recurrent cell; rnn is the simple (Elman) network.", choices=tuple(CELLS)
    )
    hidden_size: int = _setting(
        16, "int", "hidden size", "Units in the hidden layer; the exercise tries 16, 32 and 100.", low=1, high=1024
    )
    activation: str = _setting(
        "sigmoid",
        "choice",
        "activation",
        "Squashes (or not) the hidden units' input; relu and linear let values grow without bound.",
        choices=tuple(ACTIVATIONS),
    )
    bias: bool = _setting(False, "bool", "biases", "Adds a bias to every unit; the classic exercise has none.")
    init_scheme: str = _setting(
        "normal",
        "choice",
        "init scheme",
        "How initial weights are drawn; all but normal adapt to the layer's width.",
        choices=tuple(INIT_SCHEMES),
        short_names=SHORT_NAMES,
    )
    weight_init_std: float = _setting(
        1.0,
        "float",
        "weight_init_std",
        "Multiplies the initial weights; 1 leaves a scheme as published. Usual: 0.01 to 10.",
        low=0.0,
        high=1e6,
    )
    optimizer: str = _setting("sgd", "choice", "optimizer", "The rule that changes the weights.", choices=tuple(OPTIMIZERS))
    learning_rate: float = _setting(
        0.1,
        "float",
        "learning rate",
        "Size of a step against the gradient. Usual: 0.001 to 1.",
        low=0.0,
        high=1e6,
        above_low=True,
    )
    momentum: float = _setting(
        0.9, "float", "momentum", "Share of the last step that is kept. Usual: 0.9.", low=0.0, high=0.9999
    )
    clip_norm: float | None = _setting(
        None,
        "float",
        "clip norm",
        "Gradients longer than this are shortened to it; none leaves them. Usual: 0.5 to 5.",
        low=0.0,
        high=1e12,
        above_low=True,
        optional=True,
    )
    batch_size: int = _setting(1, "int", "batch size", "Samples per iteration; the exercise has 1.", low=1, high=1024)
    n_iterations: int = _setting(
        10_000, "int", "iterations", "Weight updates; the exercise has 10,000.", low=1, high=10_000_000
    )
    dtype: str = _setting(
        "float64", "choice", "number type", "float32 overflows earlier: exp at 88.7 instead of 709.", choices=DTYPES
    )
    seed: int = _setting(
        1, "int", "seed", "Decides data and initial noise; repeat over seeds before you believe.", low=0, high=2**32 - 1
    )

    def __post_init__(self) -> None:
        for name in FIELDS:
            object.__setattr__(self, name, check_value(name, getattr(self, name)))
        if self.optimizer == "sgd" and self.momentum != _DEFAULTS["momentum"]:
            raise ConfigError(
                f"momentum: expected its default {_DEFAULTS['momentum']} because optimizer 'sgd' has no momentum, "
                f"found {self.momentum}; set optimizer to 'momentum' to use it"
            )

    def to_dict(self) -> dict:
        """Return the fields and their values as JSON can hold them."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict) -> "RunConfig":
        """Make a config from a dict; missing fields take their defaults, unknown ones raise `ConfigError`."""
        for name in values:
            check_name(name)
        return cls(**values)

    def replace(self, **changes) -> "RunConfig":
        """Return a copy with some fields changed."""
        return type(self).from_dict(self.to_dict() | changes)

    def canonical_json(self) -> str:
        """Return the one spelling of this config as JSON: sorted keys, no spaces."""
        return json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"))

    @property
    def identity(self) -> str:
        """Hash of the canonical JSON and the engine's version, 32 hexadecimal digits: equal identity, equal bits."""
        return hashlib.sha256(f"{ENGINE_VERSION}:{self.canonical_json()}".encode()).hexdigest()[:32]


FIELDS: dict[str, Field] = {f.name: f.metadata["field"] for f in dataclasses.fields(RunConfig)}
_DEFAULTS = {f.name: f.default for f in dataclasses.fields(RunConfig)}


def unknown_name(what: str, name: object, known: Iterable[str]) -> ConfigError:
    """Return the error for a name that does not exist: lists the known ones and the nearest."""
    known = list(known)
    near = difflib.get_close_matches(str(name), known, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return ConfigError(f"{what}: expected one of {', '.join(known)}, found {shown(name)}{hint}")


def shown(value: object) -> str:
    """Return a value as error messages quote it: its repr, shortened when long."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def check_name(name: str) -> Field:
    """Return the field of that name or raise `ConfigError` with the nearest one."""
    if name not in FIELDS:
        raise unknown_name("setting", name, FIELDS)
    return FIELDS[name]


def check_value(name: str, value: object) -> object:
    """Return `value` as the field's own Python type, or raise `ConfigError` with the allowed range."""
    field = check_name(name)
    if value is None and field.optional:
        return None
    return _CHECKS[field.kind](name, field, value)


def _wrong(name: str, field: Field, value: object) -> ConfigError:
    return ConfigError(f"{name}: expected {field.expected}, found {shown(value)}")


def _check_choice(name: str, field: Field, value: object) -> str:
    value = field.short_names.get(value, value) if isinstance(value, str) else value
    if not isinstance(value, str) or value not in field.choices:
        raise unknown_name(name, value, field.choices)
    return str(value)  # numpy.str_ is a str, but not the field's own type


def _check_bool(name: str, field: Field, value: object) -> bool:
    if not isinstance(value, bool) and type(value).__name__ != "bool":  # numpy.bool is no subclass of bool
        raise _wrong(name, field, value)
    return bool(value)


def _check_number(convert: Callable, wanted: type) -> Callable:
    def check(name: str, field: Field, value: object):
        if isinstance(value, bool) or not isinstance(value, wanted):
            raise _wrong(name, field, value)
        try:
            value = convert(value) + 0  # turns -0.0 into 0.0: equal configs must have one identity
        except OverflowError:  # a whole number beyond every float
            raise _wrong(name, field, value) from None
        inside = (field.low < value if field.above_low else field.low <= value) and value <= field.high
        if not inside:
            raise _wrong(name, field, value)
        return value

    return check


_CHECKS: dict[str, Callable] = {
    "choice": _check_choice,
    "bool": _check_bool,
    "int": _check_number(int, numbers.Integral),
    "float": _check_number(float, numbers.Real),
}


def parse_value(name: str, text: str) -> object:
    """Return what a person typed for a setting as a checked value.

    Raises
    ------
    ConfigError
        With the same words as `RunConfig` itself.
    """
    field, text = check_name(name), text.strip()
    if field.optional and text.lower() in ("none", "off", ""):
        return None
    if field.kind == "choice":
        return check_value(name, text)
    if field.kind == "bool":
        words = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
        return check_value(name, words.get(text.lower(), text))
    try:
        number = int(text) if field.kind == "int" else float(text)
    except ValueError:
        raise _wrong(name, field, text) from None
    return check_value(name, number)
