"""A recurrent layer and its readout for a whole population: forward, loss, backward.

a_t = h_t W_out + b_out        y_t = 1 / (1 + exp(-a_t))        L = 1/2 sum_t mean_batch (y_t - d_t)^2
"""

import numpy as np

from engine.activations import ACTIVATIONS, logistic, logistic_derivative
from engine.cells import CELLS
from engine.initializers import INIT_SCHEMES
from engine.layout import Weight, by_run, n_parameters, unpack
from engine.randomness import stream
from engine.tasks import TASKS
from engine.watch import FloatingPointWatch


def parameter_shapes(config) -> dict[str, Weight]:
    """Return name, shape and part of every parameter of a run."""
    task = TASKS[config.task]
    shapes = CELLS[config.cell].parameters(task.n_inputs, config)
    shapes["W_out"] = Weight((config.hidden_size, task.n_outputs), "readout")
    return shapes | ({"b_out": Weight((task.n_outputs,), "bias")} if config.bias else {})


def initial_parameters(config) -> np.ndarray:
    """Return a run's initial parameters, flat, in its own number type; biases start at 0.

    Each matrix has a random stream of its own, so that two runs of one seed share the noise of the matrices they share.
    """
    scheme, parts, n_matrices = INIT_SCHEMES[config.init_scheme], [], 0
    for weight in parameter_shapes(config).values():
        if weight.kind == "bias":
            parts.append(np.zeros(weight.shape))
        else:
            noise = scheme(stream(config.seed, "weights", n_matrices), *weight.shape, weight.kind == "recurrent")
            parts.append(config.weight_init_std * noise)
            n_matrices += 1  # biases do not count, so that runs with and without them share their matrices
    return np.concatenate([part.ravel() for part in parts]).astype(config.dtype)


def activation_groups(configs) -> list[tuple]:
    """Return which consecutive runs share an activation; the configs come sorted by it."""
    names = [config.activation for config in configs]
    starts = [i for i, name in enumerate(names) if i == 0 or names[i - 1] != name]
    return [(ACTIVATIONS[names[a]], slice(a, b)) for a, b in zip(starts, [*starts[1:], len(names)], strict=True)]


class Network:
    """Buffers and views for one population shape: P runs, B sequences, T steps.

    Parameters
    ----------
    configs : list of RunConfig
        One for each run, of equal shape, sorted by activation.
    parameters, gradients : array, shape (P, n)
        Flat, one row for each run; gradients may be None where only `forward` is needed.
    batch_size : int
        B, which for held-out samples differs from the config's.
    watch : FloatingPointWatch
    """

    def __init__(self, configs, parameters, gradients, batch_size, watch: FloatingPointWatch):
        config, task = configs[0], TASKS[configs[0].task]
        n_steps, n_runs = task.n_steps(config), len(configs)
        shapes, dtype = parameter_shapes(config), parameters.dtype
        self.watch, self.batch_size = watch, batch_size
        self.weights = unpack(parameters, shapes)
        self.gradients = None if gradients is None else unpack(gradients, shapes)
        self.cell = CELLS[config.cell](self.weights, self.gradients, n_steps, batch_size, activation_groups(configs), watch)
        lead = (n_steps, batch_size, n_runs)
        self.x, self.target = np.empty((*lead, task.n_inputs), dtype), np.empty((*lead, task.n_outputs), dtype)
        self.y, self.error = np.empty((*lead, task.n_outputs), dtype), np.empty((*lead, task.n_outputs), dtype)
        self.squared, self.slope = np.empty_like(self.y), np.empty_like(self.y)

    def forward(self) -> np.ndarray:
        """Return the outputs y, shape (T, B, P, O), for the inputs in `x`."""
        h = self.cell.forward(self.x)
        np.matmul(by_run(h), self.weights["W_out"], out=by_run(self.y))
        if "b_out" in self.weights:
            np.add(self.y, self.weights["b_out"], out=self.y)
        if self.watch.raised:
            self.watch.blame(self.y)
        logistic(self.y, self.watch)
        return self.y

    def loss(self) -> np.ndarray:
        """Return the squared errors, shape (T, B, P, O); half their sum over T and O, mean over B, is the loss."""
        np.subtract(self.y, self.target, out=self.error)
        np.multiply(self.error, self.error, out=self.squared)
        if self.watch.raised:
            self.watch.blame(self.squared)
        return self.squared

    def backward(self) -> None:
        """Write dL/dparameters into `gradients`, after `forward` and `loss`."""
        da = self.slope
        logistic_derivative(self.y, da)
        np.multiply(da, self.error, out=da)
        if self.batch_size > 1:
            np.multiply(da, 1 / self.batch_size, out=da)
        rows, h = by_run(da), self.cell.h[1:]
        np.matmul(by_run(h).transpose(0, 2, 1), rows, out=self.gradients["W_out"])
        if "b_out" in self.gradients:
            np.add.reduce(rows, axis=1, out=self.gradients["b_out"])
        np.multiply(da, self.weights["W_out"][:, :, 0], out=self.cell.delta)
        self.cell.backward(self.x)


__all__ = ["Network", "initial_parameters", "n_parameters", "parameter_shapes"]
