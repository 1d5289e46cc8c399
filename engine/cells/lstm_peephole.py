"""The LSTM whose gates see the cell state (Gers, Schraudolph & Schmidhuber 2002).

    i, f = logistic(u + h_{t-1} W_rec + p c_{t-1})        c_t = f_t * c_{t-1} + i_t * g_t        (g as in the LSTM)
    o = logistic(u + h_{t-1} W_rec + p c_t)               h_t = o_t * tanh(c_t)

with one peephole weight p for each gate and unit: input and forget gate see the old state, the output gate the new one.
Backwards the peepholes carry error to the state as well: delta_o p_o to c_t, delta_i p_i + delta_f p_f to c_{t-1};
dp_i = sum_t delta_i c_{t-1}, likewise dp_f, and dp_o = sum_t delta_o c_t.
"""

import numpy as np

from engine.activations import logistic, logistic_derivative, tanh_derivative
from engine.cells.lstm import LSTM
from engine.layout import Weight, sum_rows


class PeepholeLSTM(LSTM):
    """Gates that know what the carousel holds."""

    @classmethod
    def parameters(cls, n_inputs, config) -> dict[str, Weight]:
        """Return those of the LSTM and the peepholes (3, H) of i, f and o."""
        return super().parameters(n_inputs, config) | {"peephole": Weight((3, config.hidden_size), "peephole", ("i", "f", "o"))}

    def allocate(self) -> None:
        """Keep what comes through a peephole apart from the rest."""
        super().allocate()
        self.peek = np.empty_like(self.scratch)

    def tensors(self) -> list[tuple[str, str, np.ndarray]]:
        """Return every buffer that numbers can overflow in."""
        seen = [] if self.gradients is None else [("peephole", "TGBPH", self.seen)]
        return [*super().tensors(), ("peephole", "BPH", self.peek), *seen]

    def allocate_backward(self) -> None:
        """Keep the gates' delta in one piece, and the peepholes' share of it."""
        super().allocate_backward()
        self.seen = np.empty((self.n_steps, 3, *self.shape), self.dtype)

    def forward_step(self, t, y, c_before, c, tanh_c, h) -> None:
        """Compute c_t and h_t."""
        self.recur(t, y)
        (i, f, o, g), (p_i, p_f, p_o), peek = y, self.weights["peephole"].transpose(1, 0, 2), self.peek
        for gate, p in ((i, p_i), (f, p_f)):
            np.multiply(p, c_before, out=peek)
            np.add(gate, peek, out=gate)
        logistic(y[:2], self.watch)
        np.tanh(g, out=g)
        np.multiply(f, c_before, out=c)
        np.multiply(i, g, out=self.scratch)
        np.add(c, self.scratch, out=c)
        np.multiply(p_o, c, out=peek)
        np.add(o, peek, out=o)
        logistic(o, self.watch)
        np.tanh(c, out=tanh_c)
        np.multiply(o, tanh_c, out=h)

    def backward_step(self, t, dh, y, c_before, c, tanh_c, h) -> None:
        """Write delta_t; `carry` comes as what step t + 1 sends to c_t and leaves as what step t sends to c_{t-1}."""
        (i, f, o, g), (d_i, d_f, d_o, d_g), dc, part, peek = y, self.d, self.carry, self.scratch, self.peek
        p_i, p_f, p_o = self.weights["peephole"].transpose(1, 0, 2)
        seen_i, seen_f, seen_o = self.seen[t]
        logistic_derivative(y[:3], self.slopes[:3])
        tanh_derivative(g, self.slopes[3])
        np.multiply(dh, tanh_c, out=d_o)
        np.multiply(d_o, self.slopes[2], out=d_o)
        np.multiply(d_o, c, out=seen_o)
        tanh_derivative(tanh_c, part)
        np.multiply(part, o, out=part)
        np.multiply(part, dh, out=part)
        np.add(dc, part, out=dc)
        np.multiply(d_o, p_o, out=peek)
        np.add(dc, peek, out=dc)
        np.multiply(dc, g, out=d_i)
        np.multiply(dc, c_before, out=d_f)
        np.multiply(dc, i, out=d_g)
        np.multiply(self.d[:2], self.slopes[:2], out=self.d[:2])
        np.multiply(d_g, self.slopes[3], out=d_g)
        np.multiply(d_i, c_before, out=seen_i)
        np.multiply(d_f, c_before, out=seen_f)
        np.copyto(self.delta_gates[t], self.d)
        np.multiply(dc, f, out=dc)
        for delta, p in ((d_i, p_i), (d_f, p_f)):
            np.multiply(delta, p, out=peek)
            np.add(dc, peek, out=dc)

    def recurrent_gradients(self) -> None:
        """Write dW_rec and the peepholes' gradients."""
        super().recurrent_gradients()
        for gate in range(3):
            sum_rows(self.seen[:, gate], out=self.gradients["peephole"][:, gate])
