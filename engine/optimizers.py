"""Optimizers: each turns a gradient into the step that is subtracted from the weights.

Constants vary from run to run and come as columns (P, 1); gradients and state are (P, n).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Optimizer:
    """What an optimizer keeps between steps, and its step.

    Attributes
    ----------
    n_states : int
        How many arrays of the parameters' size it remembers; they start at 0.
    step : callable
        `step(gradient, states, constants)` turns the gradient into the step in place.
    """

    n_states: int
    step: Callable[[np.ndarray, list[np.ndarray], dict[str, np.ndarray]], None]


def _sgd(gradient, states, constants):
    """Step = learning_rate g."""
    np.multiply(gradient, constants["learning_rate"], out=gradient)


def _momentum(gradient, states, constants):
    """V <- momentum v + g; step = learning_rate v: Polyak (1964), in the form of Sutskever et al. (2013), section 2."""
    (velocity,) = states
    np.multiply(velocity, constants["momentum"], out=velocity)
    np.add(velocity, gradient, out=velocity)
    np.multiply(velocity, constants["learning_rate"], out=gradient)


OPTIMIZERS = {"sgd": Optimizer(0, _sgd), "momentum": Optimizer(1, _momentum)}
CONSTANTS = ("learning_rate", "momentum")
"""Fields of a config that an optimizer may read."""
