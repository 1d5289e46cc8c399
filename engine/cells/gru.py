"""The gated recurrent unit (Cho et al. 2014).

    z, r = logistic(u + h_{t-1} W_rec), each with its own columns
    n_t = tanh(u + (r_t * h_{t-1}) W_rec)        h_t = z_t * h_{t-1} + (1 - z_t) * n_t        h_0 = 0

and backwards, from dh_t = dL/dh_t:

    d_z = dh_t * (h_{t-1} - n_t) * z_t (1 - z_t)        d_n = dh_t * (1 - z_t) * (1 - n_t^2)
    s = d_n W_rec^T        d_r = s * h_{t-1} * r_t (1 - r_t)        dh_t * z_t + s * r_t goes straight on to h_{t-1}

Some authors swap the meaning of z and 1 - z.
"""

import numpy as np

from engine.activations import logistic, logistic_derivative, tanh_derivative
from engine.cells.cell import Cell
from engine.layout import by_run


class GRU(Cell):
    """Two gates, no cell state: three quarters of an LSTM's weights. The reset gate acts before the product."""

    gates = ("z", "r", "n")
    settings = ("reset_after",)
    scratch_is, carry_is = "candidate", "hidden state"

    def allocate(self) -> None:
        """Keep the gates, and r * h for the weights' gradient."""
        super().allocate()
        w_rec, self.n_zr = self.weights["W_rec"], 2 * self.shape[-1]
        self.w_zr, self.w_n = w_rec[..., : self.n_zr], w_rec[..., self.n_zr :]
        self.kept = np.zeros((self.n_steps, *self.shape), self.dtype)
        self.kept_rows = [by_run(kept) for kept in self.kept]
        self.product_zr = np.empty((*self.shape[:2], self.n_zr), self.dtype)
        self.steps = list(zip(self.y, self.h[:-1], self.kept, self.h[1:], strict=True))

    def tensors(self) -> list[tuple[str, str, np.ndarray]]:
        """Return every buffer that numbers can overflow in."""
        return [*super().tensors(), ("gate", "BPW", self.product_zr), ("candidate", "TBPH", self.kept)]

    def forward_step(self, t, y, h_before, kept, h) -> None:
        """Compute h_t."""
        z, r, n = y
        np.copyto(y, self.u_gates[t])
        if t:
            np.matmul(self.h_rows[t], self.w_zr, out=by_run(self.product_zr))
            np.add(y[:2], self.by_gate(self.product_zr), out=y[:2])
        logistic(y[:2], self.watch)
        if t:
            np.multiply(r, h_before, out=kept)
            np.matmul(self.kept_rows[t], self.w_n, out=by_run(self.scratch))
            np.add(n, self.scratch, out=n)
        if self.watch.raised:
            self.watch.blame(y)
        self.mix(z, n, h_before, h)

    def mix(self, z, n, h_before, h) -> None:
        """Compute h_t = n + z (h_{t-1} - n), with n through its tanh."""
        np.tanh(n, out=n)
        np.subtract(h_before, n, out=h)
        np.multiply(z, h, out=h)
        np.add(n, h, out=h)

    def mix_backward(self, dh, y, h_before) -> None:
        """Write d_z and d_n times their slopes, the slope of r, and into `carry` what goes straight to h_{t-1}."""
        z, _, n = y
        d_z, _, d_n = self.d
        logistic_derivative(y[:2], self.slopes[:2])
        tanh_derivative(n, self.slopes[2])
        np.subtract(h_before, n, out=d_z)
        np.multiply(d_z, dh, out=d_z)
        np.multiply(d_z, self.slopes[0], out=d_z)
        np.multiply(dh, z, out=self.carry)
        np.subtract(dh, self.carry, out=d_n)
        np.multiply(d_n, self.slopes[2], out=d_n)

    def return_error(self, t, dh) -> None:
        """Add to dL/dh_t what comes back from step t + 1, past the gates and through them."""
        np.matmul(self.delta_rows[t + 1][..., : self.n_zr], self.w_zr.transpose(0, 2, 1), out=self.back_rows)
        np.add(dh, self.back, out=dh)
        np.add(dh, self.carry, out=dh)

    def backward_step(self, t, dh, y, h_before, kept, h) -> None:
        """Write delta_t."""
        d_r, d_n, back = self.d[1], self.d[2], self.scratch
        self.mix_backward(dh, y, h_before)
        np.matmul(by_run(d_n), self.w_n.transpose(0, 2, 1), out=by_run(back))
        np.multiply(back, h_before, out=d_r)
        np.multiply(d_r, self.slopes[1], out=d_r)
        np.multiply(back, y[1], out=back)
        np.add(self.carry, back, out=self.carry)
        np.copyto(self.delta_gates[t], self.d)

    def recurrent_gradients(self) -> None:
        """Write dW_rec: z and r saw h_{t-1}, n saw r_t * h_{t-1}."""
        rows, out, n_zr = by_run(self.delta[1:]), self.gradients["W_rec"], self.n_zr
        np.matmul(by_run(self.h[1:-1]).transpose(0, 2, 1), rows[..., :n_zr], out=out[..., :n_zr])
        np.matmul(by_run(self.kept[1:]).transpose(0, 2, 1), rows[..., n_zr:], out=out[..., n_zr:])
