"""Brink's training engine: populations of recurrent networks in NumPy. Start with `RunConfig` and `train`."""

from engine.activations import ACTIVATIONS
from engine.advice import Advice, advise
from engine.cells import CELLS
from engine.config import DEFAULTS, ENGINE_VERSION, FIELDS, RunConfig, check_name, check_value, fitting, parse_value
from engine.diagnosis import QUANTILES, Diagnosis, diagnose
from engine.errors import BrinkError, ConfigError
from engine.forensics import BlackBox, black_box
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
    "QUANTILES",
    "TASKS",
    "Advice",
    "BlackBox",
    "BrinkError",
    "ConfigError",
    "Diagnosis",
    "Overflow",
    "Population",
    "RunConfig",
    "RunResult",
    "advise",
    "black_box",
    "check_memory",
    "check_name",
    "check_value",
    "count_parameters",
    "diagnose",
    "fitting",
    "parse_value",
    "rough_seconds",
    "shape_key",
    "stacks",
    "train",
]
