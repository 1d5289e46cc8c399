"""What all recurrent cells share: buffers, the product with W_rec, and the loops over time.

Whatever the cell, the network hands it u_t = x_t W_in + b for all steps and gates, and wants h_t; backwards it hands over
dL/dh_t and wants delta_t = dL/du_t. In between a cell makes one step at a time.

Two layouts meet in a gated cell. Products want the gates side by side, (T, B, P, G H), one wide product for each run;
functions want each gate in one piece, (G, B, P, H). `by_gate` views the first as the second, so that every conversion rides
on an operation that is made anyway.
"""

import numpy as np

from engine.layout import Weight, by_run


class Cell:
    """One recurrent layer for all runs of a population.

    Parameters
    ----------
    configs : list of RunConfig
        One for each run, of equal shape.
    weights, gradients : dict of str to array
        Views (P, ...) of the layer's parameters and of where their gradients go; no gradients (None), no `backward`.
    n_steps, batch_size : int
        T and B.
    watch : FloatingPointWatch
    keeps_errors : bool
        Whether dh has to survive `backward`, for somebody who wants to look at it.

    Attributes
    ----------
    gates : tuple of str
        What stands side by side in u, in order; G is their number.
    settings : tuple of str
        Settings of a run that only some cells have.
    u, delta : array, shape (T, B, P, G H)
    h : array, shape (T + 1, B, P, H)
        h[0] is 0.
    dh : array, shape (T, B, P, H)
        dL/dh_t: what comes from above, and after `backward` also what comes from later steps.
    scratch_is, carry_is : str
        What `scratch` and `carry` are parts of, for people.
    """

    gates: tuple[str, ...] = ("g",)
    settings: tuple[str, ...] = ()
    scratch_is = carry_is = "cell state"

    def __init__(self, configs, weights, gradients, n_steps, batch_size, watch, keeps_errors=False):
        n_runs, size, n_wide = weights["W_rec"].shape
        self.configs, self.weights, self.gradients, self.watch = configs, weights, gradients, watch
        self.keeps_errors = keeps_errors
        self.shape, self.wide = (batch_size, n_runs, size), (batch_size, n_runs, n_wide)
        self.n_steps, self.dtype = n_steps, weights["W_rec"].dtype
        self.h = np.zeros((n_steps + 1, *self.shape), self.dtype)
        self.h_rows = [by_run(h) for h in self.h]
        self.product = np.empty(self.wide, self.dtype)
        self.product_rows, self.product_gates = by_run(self.product), self.by_gate(self.product)
        self.allocate()
        if gradients is not None:
            self.w_rec_t = weights["W_rec"].transpose(0, 2, 1)
            self.back = np.empty(self.shape, self.dtype)
            self.back_rows = by_run(self.back)
            self.allocate_backward()

    @classmethod
    def parameters(cls, n_inputs: int, config) -> dict[str, Weight]:
        """Return the shapes of the cell's parameters."""
        size, n_wide = config.hidden_size, config.hidden_size * len(cls.gates)
        shapes = {
            "W_in": Weight((n_inputs, n_wide), "input", cls.gates),
            "W_rec": Weight((size, n_wide), "recurrent", cls.gates),
        }
        return shapes | ({"b": Weight((n_wide,), "bias")} if config.bias else {})

    def by_gate(self, a: np.ndarray) -> np.ndarray:
        """View (..., B, P, G H) as (..., G, B, P, H)."""
        split = a.reshape(*a.shape[:-1], -1, self.shape[-1])
        return np.moveaxis(split, -2, -4)

    def offset(self, configs) -> np.ndarray | None:
        """Return constants (P, G H) to be added to u, or None."""
        return None

    def allocate(self) -> None:
        """Make what `forward` keeps; `self.steps` holds the views of each step, in the order of `forward_step`."""
        self.u = np.empty((self.n_steps, *self.wide), self.dtype)
        self.u_gates = list(self.by_gate(self.u))
        self.y = np.empty((self.n_steps, len(self.gates), *self.shape), self.dtype)
        self.scratch = np.empty(self.shape, self.dtype)

    def allocate_backward(self) -> None:
        """Make what `backward` needs besides."""
        self.dh = np.empty((self.n_steps, *self.shape), self.dtype)
        self.delta = np.empty((self.n_steps, *self.wide), self.dtype)
        self.delta_rows, self.delta_gates = [by_run(d) for d in self.delta], list(self.by_gate(self.delta))
        self.d, self.slopes = np.empty(self.y.shape[1:], self.dtype), np.empty(self.y.shape[1:], self.dtype)
        self.carry = np.empty(self.shape, self.dtype)

    def tensors(self) -> list[tuple[str, str, np.ndarray]]:
        """Return every buffer that numbers can overflow in: what it holds, for people, its axes, and the array.

        "gate" stands for the name of the gate at the index of axis G or W (gates and units side by side). Other axes are T
        (time step; where it is missing, `watch.step` says which), B (sequence), P (run), H (unit).
        """
        places = [("gate", "TBPW", self.u), ("gate", "BPW", self.product), ("gate", "TGBPH", self.y)]
        places += [("hidden state", "TBPH", self.h[1:]), (self.scratch_is, "BPH", self.scratch)]
        if self.gradients is not None:
            places += [("hidden state", "TBPH", self.dh), ("hidden state", "BPH", self.back), ("gate", "GBPH", self.d)]
            places += [("gate", "TBPW", self.delta), (self.carry_is, "BPH", self.carry)]
        return places

    def recur(self, t: int, out: np.ndarray) -> None:
        """Write u_t + h_{t-1} W_rec gate by gate, (G, B, P, H)."""
        if t:
            np.matmul(self.h_rows[t], self.weights["W_rec"], out=self.product_rows)
            np.add(self.u_gates[t], self.product_gates, out=out)
        else:
            np.copyto(out, self.u_gates[t])
        if self.watch.raised:
            self.watch.blame(out)

    def forward(self) -> None:
        """Compute h_1 .. h_T from u."""
        for t, step in enumerate(self.steps):
            self.watch.step = t
            self.forward_step(t, *step)

    def backward(self) -> None:
        """Compute delta_1 .. delta_T and the recurrent weights' gradients from dL/dh."""
        self.carry.fill(0)
        for t in range(self.n_steps - 1, -1, -1):
            self.watch.step = t
            dh = self.dh[t]
            if t < self.n_steps - 1:
                self.return_error(t, dh)
            self.backward_step(t, dh, *self.steps[t])
        self.recurrent_gradients()

    def return_error(self, t: int, dh: np.ndarray) -> None:
        """Add to dL/dh_t what comes back from step t + 1."""
        np.matmul(self.delta_rows[t + 1], self.w_rec_t, out=self.back_rows)
        np.add(dh, self.back, out=dh)

    def recurrent_gradients(self) -> None:
        """Write dW_rec = sum_t h_{t-1}^T delta_t; h_0 is 0."""
        np.matmul(by_run(self.h[1:-1]).transpose(0, 2, 1), by_run(self.delta[1:]), out=self.gradients["W_rec"])
