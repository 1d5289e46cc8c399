"""Brink's training engine: populations of recurrent networks in NumPy. Start with `RunConfig` and `train`."""

from engine.activations import ACTIVATIONS
from engine.cells import CELLS
from engine.config import ENGINE_VERSION, FIELDS, RunConfig, check_name, check_value, parse_value
from engine.errors import BrinkError, ConfigError
from engine.initializers import INIT_SCHEMES
from engine.optimizers import OPTIMIZERS
from engine.outcomes import OUTCOMES
from engine.population import Population
from engine.results import CURVES, Overflow, RunResult
from engine.tasks import TASKS
from engine.training import stacks, train

__all__ = [
    "ACTIVATIONS",
    "CELLS",
    "CURVES",
    "ENGINE_VERSION",
    "FIELDS",
    "INIT_SCHEMES",
    "OPTIMIZERS",
    "OUTCOMES",
    "TASKS",
    "BrinkError",
    "ConfigError",
    "Overflow",
    "Population",
    "RunConfig",
    "RunResult",
    "check_name",
    "check_value",
    "parse_value",
    "stacks",
    "train",
]
