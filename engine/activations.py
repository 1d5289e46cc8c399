"""Activations of the hidden units, with derivatives written in terms of their own output.

Each one is the plain formula of the textbooks: where that overflows, NumPy's flag is raised and the population's
`FloatingPointWatch` says for which run. A safe formula (say, a logistic by way of tanh) would hide what the exercise shows.

Symbols: u input of the units, h output, shapes (..., run, unit); everything is computed in place.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from engine.watch import FloatingPointWatch

LEAKY_SLOPE = 0.01
"""Slope below zero; Maas, Hannun & Ng (2013)."""


@dataclass(frozen=True)
class Activation:
    """A function of u and its derivative.

    Attributes
    ----------
    apply : callable
        `apply(u, watch, first_run)` turns u into h in place.
    derivative : callable
        `derivative(h, out)` writes dh/du.
    formula : str
        For people.
    """

    apply: Callable[[np.ndarray, FloatingPointWatch, int], None]
    derivative: Callable[[np.ndarray, np.ndarray], None]
    formula: str


def logistic(u: np.ndarray, watch: FloatingPointWatch, first_run: int = 0) -> None:
    """Turn u into 1 / (1 + exp(-u)) in place; exp overflows below -709.8 (float64) or -88.7 (float32)."""
    if watch.raised:
        watch.blame(u, first_run)  # from here on an infinite u would be a clean 0 or 1
    np.multiply(u, -1, out=u)  # numpy.negative of 2.4.6 is wrong where numbers lie 8 (float64) or 4 (float32) apart
    np.exp(u, out=u)
    if watch.raised:
        watch.blame(u, first_run, recovers=True)
    np.add(u, 1, out=u)
    np.reciprocal(u, out=u)


def logistic_derivative(h: np.ndarray, out: np.ndarray) -> None:
    """Write h (1 - h)."""
    np.subtract(1, h, out=out)
    np.multiply(out, h, out=out)


def tanh_derivative(h: np.ndarray, out: np.ndarray) -> None:
    """Write 1 - h^2."""
    np.multiply(h, h, out=out)
    np.subtract(1, out, out=out)


def _tanh(u, watch, first_run=0):
    np.tanh(u, out=u)


def _relu(u, watch, first_run=0):
    np.maximum(u, 0, out=u)


def _relu_derivative(h, out):
    np.sign(h, out=out)


def _leaky_relu(u, watch, first_run=0):
    np.maximum(u, LEAKY_SLOPE * u, out=u)


def _leaky_relu_derivative(h, out):
    out[...] = LEAKY_SLOPE
    np.copyto(out, 1, where=h > 0)


def _elu(u, watch, first_run=0):
    np.copyto(u, np.expm1(np.minimum(u, 0)), where=u < 0)


def _elu_derivative(h, out):
    np.minimum(h, 0, out=out)
    np.add(out, 1, out=out)


def _softplus(u, watch, first_run=0):
    np.exp(u, out=u)
    if watch.raised:
        watch.blame(u, first_run)
    np.log1p(u, out=u)


def _softplus_derivative(h, out):
    np.multiply(h, -1, out=out)
    np.expm1(out, out=out)
    np.multiply(out, -1, out=out)


def _linear(u, watch, first_run=0):
    pass


def _linear_derivative(h, out):
    out[...] = 1


ACTIVATIONS: dict[str, Activation] = {
    "sigmoid": Activation(logistic, logistic_derivative, "1 / (1 + exp(-u))"),
    "tanh": Activation(_tanh, tanh_derivative, "tanh(u)"),
    "relu": Activation(_relu, _relu_derivative, "max(u, 0)"),
    "leaky_relu": Activation(_leaky_relu, _leaky_relu_derivative, f"max(u, {LEAKY_SLOPE} u)"),
    "elu": Activation(_elu, _elu_derivative, "u, or exp(u) - 1 below 0"),
    "softplus": Activation(_softplus, _softplus_derivative, "log(1 + exp(u))"),
    "linear": Activation(_linear, _linear_derivative, "u"),
}


def activation_groups(configs) -> list[tuple[Activation, slice]]:
    """Return which consecutive runs share an activation; the configs come sorted by it."""
    names = [config.activation for config in configs]
    starts = [i for i, name in enumerate(names) if i == 0 or names[i - 1] != name]
    return [(ACTIVATIONS[names[a]], slice(a, b)) for a, b in zip(starts, [*starts[1:], len(names)], strict=True)]
