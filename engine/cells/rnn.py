"""The simple recurrent network (Elman 1990).

    u_t = x_t W_in + h_{t-1} W_rec + b        h_t = f(u_t)        h_0 = 0

and backwards, with dL/dh_t arriving from the layer above (Werbos 1990, back-propagation through time):

    delta_t = (dL/dh_t + delta_{t+1} W_rec^T) * f'(u_t)
    dW_in = sum_t x_t^T delta_t        dW_rec = sum_t h_{t-1}^T delta_t        db = sum_t delta_t

Only the product with W_rec is truly sequential; everything else is one product over all time steps.
"""

import numpy as np

from engine.layout import Weight, by_run


class SimpleRNN:
    """Forward and backward pass of one layer for all runs of a population.

    Parameters
    ----------
    weights, gradients : dict of str to array
        Views (P, ...) of the parameters and of where their gradients go; no gradients (None), no `backward`.
    n_steps, batch_size : int
        T and B.
    activations : list of (Activation, slice)
        Which runs use which activation.
    watch : FloatingPointWatch
    """

    def __init__(self, weights, gradients, n_steps, batch_size, activations, watch):
        n_runs, hidden_size, _ = weights["W_rec"].shape
        self.weights, self.gradients, self.activations, self.watch = weights, gradients, activations, watch
        shape, dtype = (n_steps, batch_size, n_runs, hidden_size), weights["W_rec"].dtype
        self.h = np.zeros((n_steps + 1, *shape[1:]), dtype)
        self.product = np.empty(shape[1:], dtype)
        self._h_steps = [by_run(h) for h in self.h]
        self._u_parts = [[(a.apply, h[:, runs], runs.start) for a, runs in activations] for h in self.h[1:]]
        self._product_by_run = by_run(self.product)
        if gradients is not None:
            self.delta, self.slope = np.empty(shape, dtype), np.empty(shape, dtype)
            steps = range(n_steps - 2, -1, -1)
            self._backward_steps = [(by_run(self.delta[t + 1]), self.delta[t], self.slope[t]) for t in steps]
            self._w_rec_t = weights["W_rec"].transpose(0, 2, 1)

    @staticmethod
    def parameters(n_inputs: int, config) -> dict[str, Weight]:
        """Return the shapes of the cell's parameters."""
        size = config.hidden_size
        shapes = {"W_in": Weight((n_inputs, size), "input"), "W_rec": Weight((size, size), "recurrent")}
        return shapes | ({"b": Weight((size,), "bias")} if config.bias else {})

    def forward(self, x: np.ndarray) -> np.ndarray:
        """Return the hidden values h_1 .. h_T, shape (T, B, P, H), for inputs (T, B, P, I)."""
        h, watch = self.h[1:], self.watch
        np.matmul(by_run(x), self.weights["W_in"], out=by_run(h))
        if "b" in self.weights:
            np.add(h, self.weights["b"], out=h)
        for t, u in enumerate(h):
            if t:
                np.matmul(self._h_steps[t], self.weights["W_rec"], out=self._product_by_run)
                np.add(u, self.product, out=u)
            if watch.raised:
                watch.blame(u)
            for apply, part, first_run in self._u_parts[t]:
                apply(part, watch, first_run)
        return h

    def backward(self, x: np.ndarray) -> None:
        """Write the gradients, given dL/dh in `delta`, shape (T, B, P, H), which becomes dL/du."""
        delta = self.delta
        for activation, runs in self.activations:
            activation.derivative(self.h[1:, :, runs], self.slope[:, :, runs])
        np.multiply(delta[-1], self.slope[-1], out=delta[-1])
        for after, now, slope in self._backward_steps:
            np.matmul(after, self._w_rec_t, out=self._product_by_run)
            np.add(now, self.product, out=now)
            np.multiply(now, slope, out=now)
        rows = by_run(delta)
        np.matmul(by_run(x).transpose(0, 2, 1), rows, out=self.gradients["W_in"])
        np.matmul(by_run(self.h[1:-1]).transpose(0, 2, 1), by_run(delta[1:]), out=self.gradients["W_rec"])
        if "b" in self.gradients:
            np.add.reduce(rows, axis=1, out=self.gradients["b"])
