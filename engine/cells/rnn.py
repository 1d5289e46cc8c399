"""The simple recurrent network (Elman 1990).

    u_t = x_t W_in + h_{t-1} W_rec + b        h_t = f(u_t)        h_0 = 0

and backwards, with dL/dh_t arriving from above (Werbos 1990, back-propagation through time):

    delta_t = (dL/dh_t + delta_{t+1} W_rec^T) * f'(u_t)        dW_rec = sum_t h_{t-1}^T delta_t

u turns into h in place, dL/dh into delta.
"""

import numpy as np

from engine.activations import activation_groups
from engine.cells.cell import Cell
from engine.layout import by_run


class SimpleRNN(Cell):
    """Runs may have different activations; they come sorted by them."""

    gates = ("g",)
    settings = ("activation",)

    def allocate(self) -> None:
        """Let u share the memory of h."""
        self.u, self.activations = self.h[1:], activation_groups(self.configs)
        self.steps = [(u, [(a.apply, u[:, runs], runs.start) for a, runs in self.activations]) for u in self.u]

    def allocate_backward(self) -> None:
        """Let delta share the memory of dh."""
        self.dh = np.empty((self.n_steps, *self.shape), self.dtype)
        self.delta, self.slopes = self.dh, np.empty_like(self.dh)
        self.pairs = [(by_run(self.dh[t + 1]), self.dh[t], self.slopes[t]) for t in range(self.n_steps - 2, -1, -1)]

    def forward(self) -> None:
        """Compute h_1 .. h_T from u."""
        watch, w_rec, product, product_rows = self.watch, self.weights["W_rec"], self.product, self.product_rows
        for t, (u, parts) in enumerate(self.steps):
            if t:
                np.matmul(self.h_rows[t], w_rec, out=product_rows)
                np.add(u, product, out=u)
            if watch.raised:
                watch.blame(u)
            for apply, part, first_run in parts:
                apply(part, watch, first_run)

    def backward(self) -> None:
        """Compute delta_1 .. delta_T and dW_rec from dL/dh."""
        for activation, runs in self.activations:
            activation.derivative(self.u[:, :, runs], self.slopes[:, :, runs])
        np.multiply(self.dh[-1], self.slopes[-1], out=self.dh[-1])
        for after, dh, slope in self.pairs:
            np.matmul(after, self.w_rec_t, out=self.back_rows)
            np.add(dh, self.back, out=dh)
            np.multiply(dh, slope, out=dh)
        self.recurrent_gradients()
