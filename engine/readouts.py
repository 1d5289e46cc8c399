"""What the readout gives and what it costs: answers y from a = h W_out + b_out, losses, and dL/da.

Losses are added up over steps and outputs, in the units of `LOSSES`; a step may count less than 1 (`Task.step_weight`), and the
batch is averaged.
"""

import numpy as np

from engine.activations import logistic, logistic_derivative
from engine.layout import apart
from engine.watch import FloatingPointWatch

LOSSES = {
    "half_squared_error": "half of (y - d)^2, as the classic exercise has it",
    "mean_squared_error": "(y - d)^2",
    "cross_entropy": "-log of the probability given to the truth, in nats",
}


class Readout:
    """Buffers of one population; shapes (K, B, P, O), but `losses` of a softmax is (K, B, P, 1).

    Attributes
    ----------
    a, y, target, error : array
        Input of the outputs, answers, truth, and y - d.
    loss_factor, gradient_factor : float
        What `losses` has to be multiplied by to be the loss, and `da` to be its derivative.
    """

    loss_factor, gradient_factor = 1.0, 1.0

    def __init__(self, shape: tuple[int, ...], dtype, watch: FloatingPointWatch):
        self.watch = watch
        self.y, self.target, self.error, self.da, self.losses = (apart(shape, dtype) for _ in range(5))
        self.a = self.y

    def answer(self) -> None:
        """Compute y from a."""

    def loss(self) -> None:
        """Compute error and losses from y."""
        np.subtract(self.y, self.target, out=self.error)
        np.multiply(self.error, self.error, out=self.losses)

    def derivative(self) -> None:
        """Compute da, up to `gradient_factor`."""
        np.copyto(self.da, self.error)


class HalfSquaredBits(Readout):
    """y = 1 / (1 + exp(-a)); losses (y - d)^2, of which one half counts."""

    loss_factor = 0.5

    def answer(self) -> None:
        """Compute y in the place of a."""
        logistic(self.y, self.watch)

    def derivative(self) -> None:
        """Compute da = (y - d) y (1 - y)."""
        logistic_derivative(self.y, self.da)
        np.multiply(self.da, self.error, out=self.da)


class CrossEntropyBits(Readout):
    """y = 1 / (1 + exp(-a)); losses log(1 + exp(a)) - a d, which is -log of the truth's probability; da = y - d."""

    def __init__(self, shape, dtype, watch):
        super().__init__(shape, dtype, watch)
        self.a = apart(shape, dtype)

    def answer(self) -> None:
        """Compute y and keep a."""
        np.copyto(self.y, self.a)
        logistic(self.y, self.watch)

    def loss(self) -> None:
        """Compute the losses from a, so that a saturated y takes no log of 0."""
        np.subtract(self.y, self.target, out=self.error)
        np.logaddexp(0, self.a, out=self.losses)
        np.multiply(self.a, self.target, out=self.da)
        np.subtract(self.losses, self.da, out=self.losses)


class SquaredNumbers(Readout):
    """y = a; losses (y - d)^2; da = 2 (y - d)."""

    gradient_factor = 2.0


class CrossEntropyClasses(Readout):
    """y = exp(a) / sum exp(a), the plain formula, which overflows above 709 (float64); da = y - d."""

    def __init__(self, shape, dtype, watch):
        super().__init__(shape, dtype, watch)
        self.a = apart(shape, dtype)
        self.losses, self.total = apart((*shape[:-1], 1), dtype), apart((*shape[:-1], 1), dtype)

    def answer(self) -> None:
        """Compute y and keep a."""
        np.exp(self.a, out=self.y)
        np.add.reduce(self.y, axis=-1, keepdims=True, out=self.total)
        if self.watch.raised:
            self.watch.blame(self.total)
        np.divide(self.y, self.total, out=self.y)
        if self.watch.raised:  # 0 / 0, where every exp came out as 0
            self.watch.blame(self.y)

    def loss(self) -> None:
        """Compute log(sum exp(a)) - a_d."""
        np.subtract(self.y, self.target, out=self.error)
        np.multiply(self.a, self.target, out=self.da)
        np.add.reduce(self.da, axis=-1, keepdims=True, out=self.losses)
        np.log(self.total, out=self.total)
        np.subtract(self.total, self.losses, out=self.losses)


READOUTS: dict[tuple[str, str], type[Readout]] = {
    ("logistic", "half_squared_error"): HalfSquaredBits,
    ("logistic", "cross_entropy"): CrossEntropyBits,
    ("linear", "mean_squared_error"): SquaredNumbers,
    ("softmax", "cross_entropy"): CrossEntropyClasses,
}
"""By what a task's outputs are and which loss a config asks for."""
