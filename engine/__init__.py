"""Brink's training engine: populations of recurrent networks in NumPy. Start with `RunConfig` and `train`."""

from engine.activations import ACTIVATIONS
from engine.cells import CELLS
from engine.config import DEFAULTS, ENGINE_VERSION, FIELDS, RunConfig, check_name, check_value, fitting, parse_value
from engine.errors import BrinkError, ConfigError
from engine.initializers import INIT_SCHEMES
from engine.memory import check_memory
from engine.network import count_parameters
from engine.optimizers import OPTIMIZERS
from engine.outcomes import OUTCOMES
from engine.population import Population, shape_key
from engine.results import CURVES, Overflow, RunResult
from engine.tasks import TASKS
from engine.training import rough_seconds, stacks, train

__all__ = [
    "ACTIVATIONS",
    "CELLS",
    "CURVES",
    "DEFAULTS",
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
    "check_memory",
    "check_name",
    "check_value",
    "count_parameters",
    "fitting",
    "parse_value",
    "rough_seconds",
    "shape_key",
    "stacks",
    "train",
]
