"""The first LSTM: carousel with input and output gate, no forget gate (Hochreiter & Schmidhuber 1997).

    i, o = logistic(u + h_{t-1} W_rec)  and  g = tanh(u + h_{t-1} W_rec), each with its own columns
    c_t = c_{t-1} + i_t * g_t        h_t = o_t * tanh(c_t)        h_0 = c_0 = 0

and backwards dc_t = dc_{t+1} + dh_t * o_t * (1 - tanh(c_t)^2); d_i, d_o, d_g = dc_t * g_t, dh_t * tanh(c_t), dc_t * i_t, each
times its function's slope. The gradient is exact; the authors cut it off at the gates.
"""

import numpy as np

from engine.activations import logistic, logistic_derivative, tanh_derivative
from engine.cells.cell import Cell


class InputOutputLSTM(Cell):
    """A carousel that decides what comes in and what goes out, but never forgets."""

    gates = ("i", "o", "g")

    def allocate(self) -> None:
        """Keep the gates, the cell state c and its tanh."""
        super().allocate()
        self.c = np.zeros_like(self.h)
        self.tanh_c = np.empty_like(self.h[1:])
        self.steps = list(zip(self.y, self.c[:-1], self.c[1:], self.tanh_c, self.h[1:], strict=True))

    def tensors(self) -> list[tuple[str, str, np.ndarray]]:
        """Return every buffer that numbers can overflow in."""
        return [*super().tensors(), ("cell state", "TBPH", self.c[1:])]

    def forward_step(self, t, y, c_before, c, tanh_c, h) -> None:
        """Compute c_t and h_t."""
        self.recur(t, y)
        logistic(y[:2], self.watch)
        i, o, g = y
        np.tanh(g, out=g)
        np.multiply(i, g, out=self.scratch)
        np.add(c_before, self.scratch, out=c)
        np.tanh(c, out=tanh_c)
        np.multiply(o, tanh_c, out=h)

    def backward_step(self, t, dh, y, c_before, c, tanh_c, h) -> None:
        """Write delta_t; `carry` comes as dc_{t+1} and leaves as dc_t."""
        (i, o, g), (d_i, d_o, d_g), dc, part = y, self.d, self.carry, self.scratch
        tanh_derivative(tanh_c, part)
        np.multiply(part, o, out=part)
        np.multiply(part, dh, out=part)
        np.add(dc, part, out=dc)
        np.multiply(dc, g, out=d_i)
        np.multiply(dh, tanh_c, out=d_o)
        np.multiply(dc, i, out=d_g)
        logistic_derivative(y[:2], self.slopes[:2])
        tanh_derivative(g, self.slopes[2])
        np.multiply(self.d, self.slopes, out=self.delta_gates[t])
