"""The simple recurrent network (Elman 1990).

    u_t = x_t W_in + h_{t-1} W_rec + b        h_t = f(u_t)        h_0 = 0

and backwards, with dL/dh_t arriving from above (Werbos 1990, back-propagation through time):

    delta_t = (dL/dh_t + delta_{t+1} W_rec^T) * f'(u_t)        dW_rec = sum_t h_{t-1}^T delta_t

u turns into h in place, dL/dh into delta (unless somebody wants to look at dL/dh).
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
        self.delta = np.empty_like(self.dh) if self.keeps_errors else self.dh
        self.slopes = np.empty_like(self.dh)
        after = [by_run(delta) for delta in self.delta[1:]]
        self.pairs = list(enumerate(zip(after, self.dh, self.delta, self.slopes, strict=False)))[::-1]

    def tensors(self) -> list[tuple[str, str, np.ndarray]]:
        """Return every buffer that numbers can overflow in."""
        places = [("gate", "TBPW", self.u), ("gate", "BPW", self.product)]
        if self.gradients is not None:
            places += [("gate", "TBPW", self.dh), ("gate", "BPW", self.back), ("gate", "TBPW", self.delta)]
        return places

    def forward(self) -> None:
        """Compute h_1 .. h_T from u."""
        watch, w_rec, product, product_rows = self.watch, self.weights["W_rec"], self.product, self.product_rows
        for t, (u, parts) in enumerate(self.steps):
            watch.step = t
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
        watch, watch.step = self.watch, self.n_steps - 1
        np.multiply(self.dh[-1], self.slopes[-1], out=self.delta[-1])
        for t, (after, dh, delta, slope) in self.pairs:
            watch.step = t
            np.matmul(after, self.w_rec_t, out=self.back_rows)
            np.add(dh, self.back, out=dh)
            np.multiply(dh, slope, out=delta)
        self.recurrent_gradients()
