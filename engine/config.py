"""What one training run is: `RunConfig`, every setting with its range, and which of them belong together."""

import dataclasses
import hashlib
import json
from dataclasses import dataclass

from engine.activations import ACTIVATIONS
from engine.cells import CELLS
from engine.errors import ConfigError
from engine.fields import Field, check, parse, shown, unknown_name
from engine.initializers import INIT_SCHEMES, SHORT_NAMES
from engine.optimizers import OPTIMIZERS, SCHEDULES
from engine.readouts import LOSSES
from engine.tasks import TASKS

ENGINE_VERSION = "2"
"""Part of every run's identity: goes up whenever the same config would give other bits."""

DTYPES = ("float64", "float32")
LONGEST = 1000
"""Most time steps that `length` may ask for: the long-memory tests of the literature end there."""


def _setting(default: object, kind: str, label: str, note: str, **limits) -> object:
    return dataclasses.field(default=default, metadata={"field": Field(kind=kind, label=label, note=note, **limits)})


def _cells_with(part: str) -> tuple[str, tuple[str, ...]]:
    return "cell", tuple(name for name, cell in CELLS.items() if part in cell.settings)


def _optimizers_with(constant: str) -> tuple[str, tuple[str, ...]]:
    return "optimizer", tuple(name for name, optimizer in OPTIMIZERS.items() if constant in optimizer.constants)


def _optimizer_constant(name: str, usual: float, note: str, **limits) -> object:
    return _setting(None, "float", name, note, low=0.0, needs=_optimizers_with(name), usual=lambda settings: usual, **limits)


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Everything that decides the outcome of one training run, checked on construction.

    The defaults are the classic exercise: 8-bit addition, 16 sigmoid units, no biases, one sample at a time. A setting that
    is None takes its usual value where it has a meaning; where it has none (the momentum of plain gradient descent), it
    stays None and any other value is refused.

    Raises
    ------
    ConfigError
        For a value of the wrong type, out of range or unknown, and for a setting that the others make meaningless.
    """

    task: str = _setting("binary_addition", "choice", "task", "What the network is asked to learn.", choices=tuple(TASKS))
    bits: int | None = _setting(
        None,
        "int",
        "bits",
        "Length of the sums in bits, and so the number of time steps; the exercise has 8.",
        low=2,
        high=32,
        needs=("task", ("binary_addition",)),
        usual=lambda settings: 8,
    )
    length: int | None = _setting(
        None,
        "int",
        "length",
        "How long the sequences are, or for copy_memory the delay: the longer, the more has to be remembered.",
        low=1,
        high=LONGEST,
        needs=("task", tuple(name for name, task in TASKS.items() if task.usual_length)),
        usual=lambda settings: TASKS[settings["task"]].usual_length,
    )
    pool_size: int | None = _setting(
        None,
        "int",
        "pool",
        "Training samples that are drawn once and used again and again; 0 draws every sample fresh.",
        low=0,
        high=1_000_000,
        usual=lambda settings: TASKS[settings["task"]].usual_pool,
    )
    cell: str = _setting(
        "rnn",
        "choice",
        "cell",
        "rnn is the simple (Elman) network; the LSTMs and the GRU keep a memory behind gates. A GRU has three quarters of an "
        "LSTM's weights.",
        choices=tuple(CELLS),
    )
    hidden_size: int = _setting(
        16, "int", "hidden size", "Units in each hidden layer; the exercise tries 16, 32 and 100.", low=1, high=1024
    )
    n_layers: int = _setting(
        1, "int", "layers", "Recurrent layers on top of each other; most people use 1 or 2.", low=1, high=4
    )
    activation: str | None = _setting(
        None,
        "choice",
        "activation",
        "Squashes (or not) the hidden units' input; relu and linear let values grow without bound.",
        choices=tuple(ACTIVATIONS),
        needs=_cells_with("activation"),
        usual=lambda settings: "sigmoid",
    )
    forget_bias: float | None = _setting(
        None,
        "float",
        "forget bias",
        "Added to the forget gate's input, so that it starts open. Usual: 1 (0 to 5).",
        low=-1000.0,
        high=1000.0,
        needs=_cells_with("forget_bias"),
        usual=lambda settings: 1.0,
    )
    reset_after: bool | None = _setting(
        None,
        "bool",
        "reset after",
        "Applies the GRU's reset gate after the recurrent product, as cuDNN does, instead of before it.",
        needs=_cells_with("reset_after"),
        usual=lambda settings: False,
    )
    projection_size: int | None = _setting(
        None,
        "int",
        "input projection",
        "Units of a linear layer between the inputs and the first recurrent layer; none leaves it out.",
        low=1,
        high=1024,
        optional=True,
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
    loss: str | None = _setting(
        None,
        "choice",
        "loss",
        "What the gradient descends; each task has a usual one.",
        choices=tuple(LOSSES),
        usual=lambda settings: TASKS[settings["task"]].losses[0],
    )
    optimizer: str = _setting("sgd", "choice", "optimizer", "The rule that changes the weights.", choices=tuple(OPTIMIZERS))
    learning_rate: float = _setting(
        0.1,
        "float",
        "learning rate",
        "Size of a step against the gradient. Usual: 0.001 to 1, for adam and rmsprop 0.0001 to 0.01.",
        low=0.0,
        high=1e6,
        above_low=True,
    )
    momentum: float | None = _optimizer_constant(
        "momentum", 0.9, "Share of the last step that is kept. Usual: 0.9.", high=0.9999
    )
    rho: float | None = _optimizer_constant("rho", 0.9, "Share of the old mean square that is kept. Usual: 0.9.", high=0.9999)
    beta1: float | None = _optimizer_constant(
        "beta1", 0.9, "Share of the old mean gradient that is kept. Usual: 0.9.", high=0.9999
    )
    beta2: float | None = _optimizer_constant(
        "beta2", 0.999, "Share of the old mean square that is kept. Usual: 0.999.", high=0.999999
    )
    epsilon: float | None = _optimizer_constant(
        "epsilon", 1e-8, "Added to the root mean square that divides the step. Usual: 1e-8.", high=1.0
    )
    schedule: str = _setting(
        "constant",
        "choice",
        "schedule",
        "How the learning rate changes: step multiplies it every so often, cosine lets it sink to 0.",
        choices=tuple(SCHEDULES),
    )
    schedule_every: int | None = _setting(
        None,
        "int",
        "drop every",
        "Iterations between two drops of the learning rate. Usual: a third of the run.",
        low=1,
        high=10_000_000,
        needs=("schedule", ("step",)),
        usual=lambda settings: max(1, settings["n_iterations"] // 3),
    )
    schedule_factor: float | None = _setting(
        None,
        "float",
        "drop to",
        "What each drop multiplies the learning rate by. Usual: 0.1 to 0.5.",
        low=0.0,
        high=1.0,
        above_low=True,
        needs=("schedule", ("step",)),
        usual=lambda settings: 0.1,
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
    clip_value: float | None = _setting(
        None,
        "float",
        "clip value",
        "Each number of the gradient is cut to between minus this and this; none leaves it. Usual: 0.1 to 10.",
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
        "float64",
        "choice",
        "number type",
        "float32 is faster and overflows earlier: exp at 88.7 instead of 709.",
        choices=DTYPES,
    )
    seed: int = _setting(
        1, "int", "seed", "Decides data and initial noise; repeat over seeds before you believe.", low=0, high=2**32 - 1
    )

    def __post_init__(self) -> None:
        settings = {name: check_value(name, getattr(self, name)) for name in FIELDS}
        for name, field in FIELDS.items():
            if not field.applies(settings) and settings[name] is not None:
                raise _meaningless(name, field, settings)
            if field.applies(settings) and settings[name] is None and field.usual:
                settings[name] = field.usual(settings)
            object.__setattr__(self, name, settings[name])
        self._check_task(TASKS[self.task])

    def _check_task(self, task) -> None:
        if task.shortest and self.length < task.shortest:
            raise ConfigError(f"length: expected at least {task.shortest} for task {self.task!r}, found {self.length}")
        if self.loss not in task.losses:
            raise ConfigError(
                f"loss: expected {' or '.join(task.losses)} because the answers of task {self.task!r} are {task.output}, "
                f"found {self.loss!r}"
            )

    def to_dict(self) -> dict:
        """Return the fields and their values as JSON can hold them."""
        return {name: getattr(self, name) for name in FIELDS}

    @classmethod
    def from_dict(cls, values: dict) -> "RunConfig":
        """Make a config from a dict; missing fields take their defaults, unknown ones raise `ConfigError`."""
        for name in values:
            check_name(name)
        return cls(**values)

    def replace(self, **changes) -> "RunConfig":
        """Return a copy with some fields changed; settings at their usual values follow what they depend on."""
        old = self.to_dict()
        kept = {n: v for n, v in old.items() if not (FIELDS[n].usual and FIELDS[n].applies(old) and v == FIELDS[n].usual(old))}
        return type(self).from_dict(kept | changes)

    def canonical_json(self) -> str:
        """Return the one spelling of this config as JSON: sorted keys, no spaces."""
        return json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"))

    @property
    def identity(self) -> str:
        """Hash of the canonical JSON and the engine's version, 32 hexadecimal digits: equal identity, equal bits."""
        return hashlib.sha256(f"{ENGINE_VERSION}:{self.canonical_json()}".encode()).hexdigest()[:32]


FIELDS: dict[str, Field] = {f.name: f.metadata["field"] for f in dataclasses.fields(RunConfig)}
DEFAULTS: dict[str, object] = {f.name: f.default for f in dataclasses.fields(RunConfig)}


def _meaningless(name: str, field: Field, settings: dict) -> ConfigError:
    other, values = field.needs
    return ConfigError(
        f"{name}: expected none because {other} {settings[other]!r} has no use for it, found {shown(settings[name])}; "
        f"it belongs to {other} {' or '.join(values)}"
    )


def fitting(settings: dict) -> dict:
    """Return settings without those that have no meaning beside the others."""
    full = DEFAULTS | settings
    return {name: value for name, value in settings.items() if check_name(name).applies(full)}


def check_name(name: str) -> Field:
    """Return the field of that name or raise `ConfigError` with the nearest one."""
    if name not in FIELDS:
        raise unknown_name("setting", name, FIELDS)
    return FIELDS[name]


def check_value(name: str, value: object) -> object:
    """Return `value` as the field's own Python type, or raise `ConfigError` with the allowed range."""
    return check(name, check_name(name), value)


def parse_value(name: str, text: str) -> object:
    """Return what a person typed for a setting as a checked value.

    Raises
    ------
    ConfigError
        With the same words as `RunConfig` itself.
    """
    return parse(name, check_name(name), text)
