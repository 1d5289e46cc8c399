"""The constant error carousel alone: the heart of the LSTM without any gate (Hochreiter & Schmidhuber 1997, section 3.2).

    g_t = tanh(u + h_{t-1} W_rec)        c_t = c_{t-1} + g_t        h_t = tanh(c_t)        h_0 = c_0 = 0

Backwards the state hands its error on undiminished: dc_t = dc_{t+1} + dh_t * (1 - tanh(c_t)^2), delta_t = dc_t * (1 - g_t^2).
Everything that ever came in stays in.
"""

import numpy as np

from engine.activations import tanh_derivative
from engine.cells.cell import Cell


class CarouselLSTM(Cell):
    """A cell state that only adds up."""

    gates = ("g",)

    def allocate(self) -> None:
        """Keep g and the cell state c; h is its tanh."""
        super().allocate()
        self.c = np.zeros_like(self.h)
        self.steps = list(zip(self.y, self.c[:-1], self.c[1:], self.h[1:], strict=True))

    def tensors(self) -> list[tuple[str, str, np.ndarray]]:
        """Return every buffer that numbers can overflow in."""
        return [*super().tensors(), ("cell state", "TBPH", self.c[1:])]

    def forward_step(self, t, y, c_before, c, h) -> None:
        """Compute c_t and h_t."""
        self.recur(t, y)
        np.tanh(y, out=y)
        np.add(c_before, y[0], out=c)
        np.tanh(c, out=h)

    def backward_step(self, t, dh, y, c_before, c, h) -> None:
        """Write delta_t; `carry` comes as dc_{t+1} and leaves as dc_t."""
        dc, part = self.carry, self.scratch
        tanh_derivative(h, part)
        np.multiply(part, dh, out=part)
        np.add(dc, part, out=dc)
        tanh_derivative(y, self.slopes)
        np.multiply(dc, self.slopes, out=self.delta_gates[t])
