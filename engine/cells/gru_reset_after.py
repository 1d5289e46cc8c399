"""The GRU whose reset gate acts on the recurrent product, as in cuDNN, PyTorch and Keras (reset_after).

    q_t = h_{t-1} W_rec + b_rec  (columns of n)        n_t = tanh(u + r_t * q_t)        z, r and h_t as in the GRU

and backwards d_r = d_n * q_t * r_t (1 - r_t), while d_n * r_t goes back through W_rec. One wide product a step instead of two.
"""

import numpy as np

from engine.activations import logistic
from engine.cells.gru import GRU
from engine.layout import Weight, by_run, sum_rows


class ResetAfterGRU(GRU):
    """`kept` holds q; `through` is delta with d_n * r in the place of d_n."""

    @classmethod
    def parameters(cls, n_inputs, config) -> dict[str, Weight]:
        """Return those of the GRU and, with biases, b_rec."""
        shapes = super().parameters(n_inputs, config)
        return shapes | ({"b_rec": Weight((config.hidden_size,), "bias")} if config.bias else {})

    def allocate_backward(self) -> None:
        """Keep what goes back through W_rec."""
        super().allocate_backward()
        self.through = np.empty_like(self.delta)
        self.through_rows, self.through_gates = [by_run(d) for d in self.through], list(self.by_gate(self.through))

    def tensors(self) -> list[tuple[str, str, np.ndarray]]:
        """Return every buffer that numbers can overflow in."""
        return [*super().tensors(), ("gate", "TBPW", self.through)] if self.gradients is not None else super().tensors()

    def forward_step(self, t, y, h_before, kept, h) -> None:
        """Compute h_t."""
        z, r, n = y
        np.copyto(y, self.u_gates[t])
        if t:
            np.matmul(self.h_rows[t], self.weights["W_rec"], out=self.product_rows)
            np.add(y[:2], self.product_gates[:2], out=y[:2])
            np.copyto(kept, self.product_gates[2])
        else:
            kept.fill(0)
        if "b_rec" in self.weights:
            np.add(kept, self.weights["b_rec"], out=kept)
        if self.watch.raised:  # before the gates' logistic clears the flag
            self.watch.blame(kept)
            self.watch.blame(y)
        logistic(y[:2], self.watch)
        np.multiply(r, kept, out=self.scratch)
        np.add(n, self.scratch, out=n)
        if self.watch.raised:
            self.watch.blame(y)
        self.mix(z, n, h_before, h)

    def return_error(self, t, dh) -> None:
        """Add to dL/dh_t what comes back from step t + 1, past the gates and through them."""
        np.matmul(self.through_rows[t + 1], self.w_rec_t, out=self.back_rows)
        np.add(dh, self.back, out=dh)
        np.add(dh, self.carry, out=dh)

    def backward_step(self, t, dh, y, h_before, kept, h) -> None:
        """Write delta_t."""
        d_r, d_n = self.d[1], self.d[2]
        self.mix_backward(dh, y, h_before)
        np.multiply(d_n, kept, out=d_r)
        np.multiply(d_r, self.slopes[1], out=d_r)
        np.copyto(self.delta_gates[t], self.d)
        np.multiply(d_n, y[1], out=d_n)
        np.copyto(self.through_gates[t], self.d)

    def recurrent_gradients(self) -> None:
        """Write dW_rec and db_rec."""
        np.matmul(by_run(self.h[1:-1]).transpose(0, 2, 1), by_run(self.through[1:]), out=self.gradients["W_rec"])
        if "b_rec" in self.gradients:
            sum_rows(self.through[..., self.n_zr :], out=self.gradients["b_rec"])
