"""Optimizers: each turns a gradient g into the step that is subtracted from the weights. And how the learning rate changes.

Constants vary from run to run and come as columns; gradients, states and scratch are (P, n). Everything is element by element
and in place.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np


class Column(NamedTuple):
    """One constant of all runs, shape (P, 1): in float64, in the runs' number type, and what it lacks to 1 in that type.

    In float32 1 - 0.999 would be wrong in the fifth digit.
    """

    exact: np.ndarray
    value: np.ndarray
    rest: np.ndarray

    @classmethod
    def of(cls, values: list[float], dtype) -> "Column":
        """Return the column of some runs' values."""
        exact = np.array(values, np.float64)[:, None]
        return cls(exact, exact.astype(dtype), (1 - exact).astype(dtype))


@dataclass(frozen=True)
class Optimizer:
    """What an optimizer keeps between steps, which constants it reads, and its step.

    Attributes
    ----------
    n_states : int
        How many arrays of the parameters' size it remembers; they start at 0.
    constants : tuple of str
        Fields of a config besides learning_rate.
    step : callable
        `step(gradient, states, scratch, constants, t)` turns the gradient into the step in place; t counts from 1.
    """

    n_states: int
    constants: tuple[str, ...]
    step: Callable[[np.ndarray, list[np.ndarray], np.ndarray, dict[str, Column], int], None]


def _sgd(gradient, states, scratch, constants, t):
    """Step = learning_rate g."""
    np.multiply(gradient, constants["learning_rate"].value, out=gradient)


def _momentum(gradient, states, scratch, constants, t):
    """V <- momentum v + g; step = learning_rate v: Polyak (1964), in the form of Sutskever et al. (2013), section 2."""
    (velocity,) = states
    np.multiply(velocity, constants["momentum"].value, out=velocity)
    np.add(velocity, gradient, out=velocity)
    np.multiply(velocity, constants["learning_rate"].value, out=gradient)


def _nesterov(gradient, states, scratch, constants, t):
    """V <- momentum v + g; step = learning_rate (g + momentum v): Nesterov (1983) in the form of Sutskever et al. (2013)."""
    (velocity,) = states
    np.multiply(velocity, constants["momentum"].value, out=velocity)
    np.add(velocity, gradient, out=velocity)
    np.multiply(velocity, constants["momentum"].value, out=scratch)
    np.add(gradient, scratch, out=gradient)
    np.multiply(gradient, constants["learning_rate"].value, out=gradient)


def _adagrad(gradient, states, scratch, constants, t):
    """S <- s + g^2; step = learning_rate g / (sqrt(s) + epsilon): Duchi, Hazan & Singer (2011)."""
    (square,) = states
    np.multiply(gradient, gradient, out=scratch)
    np.add(square, scratch, out=square)
    _divide(gradient, square, scratch, constants)


def _rmsprop(gradient, states, scratch, constants, t):
    """S <- rho s + (1 - rho) g^2; step = learning_rate g / (sqrt(s) + epsilon): Tieleman & Hinton (2012)."""
    (square,) = states
    _mean(square, gradient, gradient, scratch, constants["rho"])
    _divide(gradient, square, scratch, constants)


def _adam(gradient, states, scratch, constants, t):
    """Step = learning_rate m' / (sqrt(s') + epsilon), with m' and s' freed of their start at 0: Kingma & Ba (2015)."""
    mean, square = states
    beta1, beta2 = constants["beta1"], constants["beta2"]
    _mean(square, gradient, gradient, scratch, beta2)
    _mean(mean, gradient, None, scratch, beta1)
    np.sqrt(square, out=scratch)
    np.divide(scratch, np.sqrt(1 - beta2.exact**t).astype(square.dtype), out=scratch)  # s' itself may overflow where s does not
    np.add(scratch, constants["epsilon"].value, out=scratch)
    np.divide(mean, (1 - beta1.exact**t).astype(mean.dtype), out=gradient)
    np.divide(gradient, scratch, out=gradient)
    np.multiply(gradient, constants["learning_rate"].value, out=gradient)


def _mean(mean, value, factor, scratch, share):
    """Let mean <- share mean + (1 - share) value factor."""
    np.multiply(mean, share.value, out=mean)
    np.multiply(value, share.rest, out=scratch)
    if factor is not None:
        np.multiply(scratch, factor, out=scratch)
    np.add(mean, scratch, out=mean)


def _divide(gradient, square, scratch, constants):
    """Let gradient <- learning_rate gradient / (sqrt(square) + epsilon)."""
    np.sqrt(square, out=scratch)
    np.add(scratch, constants["epsilon"].value, out=scratch)
    np.divide(gradient, scratch, out=gradient)
    np.multiply(gradient, constants["learning_rate"].value, out=gradient)


OPTIMIZERS = {
    "sgd": Optimizer(0, (), _sgd),
    "momentum": Optimizer(1, ("momentum",), _momentum),
    "nesterov": Optimizer(1, ("momentum",), _nesterov),
    "adagrad": Optimizer(1, ("epsilon",), _adagrad),
    "rmsprop": Optimizer(1, ("rho", "epsilon"), _rmsprop),
    "adam": Optimizer(2, ("beta1", "beta2", "epsilon"), _adam),
}


def _constant(config, done: int) -> float:
    return 1.0


def _step(config, done: int) -> float:
    return config.schedule_factor ** (done // config.schedule_every)


def _cosine(config, done: int) -> float:
    """Half a cosine wave from 1 to 0: Loshchilov & Hutter (2017), without restarts."""
    return 0.5 * (1 + np.cos(np.pi * done / config.n_iterations))


SCHEDULES: dict[str, Callable[[object, int], float]] = {"constant": _constant, "step": _step, "cosine": _cosine}
"""What the learning rate is multiplied by, from the config and the number of updates already made."""


def clip_values(gradients: np.ndarray, limits: np.ndarray) -> None:
    """Cut every number to between -limit and limit: (P, n), limits (P, 1)."""
    np.clip(gradients, -limits, limits, out=gradients)


def clip_norms(gradients: np.ndarray, limits: np.ndarray, scratch: np.ndarray, watch) -> None:
    """Shorten gradients longer than their limit: Pascanu, Mikolov & Bengio (2013), algorithm 1."""
    np.multiply(gradients, gradients, out=scratch)
    length = np.sqrt(np.add.reduce(scratch, axis=1, keepdims=True))
    if watch.raised:
        watch.blame(length)
    np.multiply(gradients, limits / np.maximum(length, limits), out=gradients)
