"""The LSTM with a forget gate (Gers, Schmidhuber & Cummins 2000).

    i, f, o = logistic(u + h_{t-1} W_rec)  and  g = tanh(u + h_{t-1} W_rec), each with its own columns
    c_t = f_t * c_{t-1} + i_t * g_t        h_t = o_t * tanh(c_t)        h_0 = c_0 = 0

and backwards, from dh_t = dL/dh_t, with the error dc that the carousel carries:

    dc_t = dc_{t+1} * f_{t+1} + dh_t * o_t * (1 - tanh(c_t)^2)
    d_i, d_f, d_o, d_g = dc_t * g_t, dc_t * c_{t-1}, dh_t * tanh(c_t), dc_t * i_t, each times its function's slope

forget_bias is added to f's input and keeps the gate open at first, as in TensorFlow's BasicLSTMCell; it is not trained.
"""

import numpy as np

from engine.activations import logistic, logistic_derivative, tanh_derivative
from engine.cells.cell import Cell


class LSTM(Cell):
    """Input, forget and output gate around a constant error carousel."""

    gates = ("i", "f", "o", "g")
    settings = ("forget_bias",)

    def offset(self, configs) -> np.ndarray:
        """Return forget_bias where f stands, 0 elsewhere."""
        offset = np.zeros((len(configs), len(self.gates), self.shape[-1]), self.dtype)
        offset[:, self.gates.index("f")] = np.array([[config.forget_bias] for config in configs])
        return offset.reshape(len(configs), -1)

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
        logistic(y[:3], self.watch)
        i, f, o, g = y
        np.tanh(g, out=g)
        np.multiply(f, c_before, out=c)
        np.multiply(i, g, out=self.scratch)
        np.add(c, self.scratch, out=c)
        np.tanh(c, out=tanh_c)
        np.multiply(o, tanh_c, out=h)

    def backward_step(self, t, dh, y, c_before, c, tanh_c, h) -> None:
        """Write delta_t; `carry` comes as dc_{t+1} * f_{t+1} and leaves as dc_t * f_t."""
        (i, f, o, g), (d_i, d_f, d_o, d_g), dc, part = y, self.d, self.carry, self.scratch
        tanh_derivative(tanh_c, part)
        np.multiply(part, o, out=part)
        np.multiply(part, dh, out=part)
        np.add(dc, part, out=dc)
        np.multiply(dc, g, out=d_i)
        np.multiply(dc, c_before, out=d_f)
        np.multiply(dh, tanh_c, out=d_o)
        np.multiply(dc, i, out=d_g)
        logistic_derivative(y[:3], self.slopes[:3])
        tanh_derivative(g, self.slopes[3])
        np.multiply(self.d, self.slopes, out=self.delta_gates[t])
        np.multiply(dc, f, out=dc)
