"""The exercise as a course writes it: one run, one sample, one time step at a time, small NumPy calls.

It is what the population is measured against, and the independent reference that tests compare losses, weights and
overflow warnings with. Only samples and initial weights come from the engine, so that both see the same numbers.
"""

import numpy as np

from engine.network import initial_parameters, parameter_shapes
from engine.randomness import stream
from engine.tasks import TASKS


def sigmoid(u):
    return 1 / (1 + np.exp(-u))


FUNCTIONS = {
    "sigmoid": (sigmoid, lambda u: sigmoid(u) * (1 - sigmoid(u))),
    "tanh": (np.tanh, lambda u: 1 - np.tanh(u) ** 2),
    "relu": (lambda u: np.maximum(u, 0), lambda u: (u > 0).astype(u.dtype)),
    "leaky_relu": (lambda u: np.where(u > 0, u, 0.01 * u), lambda u: np.where(u > 0, 1, 0.01).astype(u.dtype)),
    "linear": (lambda u: u, np.ones_like),
}


def initial_weights(config, flat=None):
    """Return W_in, W_rec and W_out of a config without biases, from the engine's flat parameters."""
    flat, weights, start = initial_parameters(config) if flat is None else flat, [], 0
    for weight in parameter_shapes(config).values():
        size = int(np.prod(weight.shape))
        weights.append(flat[start : start + size].reshape(weight.shape).copy())
        start += size
    return weights


def plain_iteration(config, weights, a, b):
    """Train on one sample, a + b, changing `weights` in place; return the loss and the rounded answer, as the exercise does."""
    f, d_f = FUNCTIONS[config.activation]
    dtype, n_bits, n_hidden = np.dtype(config.dtype), config.bits, config.hidden_size
    w_in, w_rec, w_out = weights
    u = np.zeros((n_bits, n_hidden), dtype)
    z = np.zeros((n_bits + 1, n_hidden), dtype)
    delta_out = np.zeros((n_bits, 1), dtype)
    delta = np.zeros((n_bits + 1, n_hidden), dtype)
    d_in, d_rec, d_out = np.zeros_like(w_in), np.zeros_like(w_rec), np.zeros_like(w_out)
    loss, answer = 0.0, np.zeros(n_bits)
    for t in range(n_bits):
        x = np.array([[a >> t & 1, b >> t & 1]], dtype)
        target = np.array([a + b >> t & 1], dtype)
        u[t] = (np.dot(x, w_in) + np.dot(z[t - 1].reshape(1, -1), w_rec))[0]
        z[t] = f(u[t])
        y = sigmoid(np.dot(z[t].reshape(1, -1), w_out))[0]
        loss += float(np.mean((y - target) ** 2) / 2)
        delta_out[t] = (y - target) * y * (1 - y)
        answer[t] = np.round(y)[0]
    for t in range(n_bits)[::-1]:
        x = np.array([[a >> t & 1, b >> t & 1]], dtype)
        from_above = np.dot(delta_out[t].reshape(1, -1), w_out.T)
        delta[t] = ((from_above + np.dot(delta[t + 1].reshape(1, -1), w_rec.T)) * d_f(u[t]))[0]
        d_out += np.dot(z[t].reshape(-1, 1), delta_out[t].reshape(1, -1))
        d_rec += np.dot(z[t - 1].reshape(-1, 1), delta[t].reshape(1, -1))
        d_in += np.dot(x.T, delta[t].reshape(1, -1))
    w_in -= dtype.type(config.learning_rate) * d_in
    w_rec -= dtype.type(config.learning_rate) * d_rec
    w_out -= dtype.type(config.learning_rate) * d_out
    return loss, answer


def warns(iteration, *arguments):
    """Call `iteration(*arguments)` and return its result and whether NumPy reported an overflow or invalid operation."""
    reports = []
    with np.errstate(over="call", invalid="call", call=lambda kind, flag: reports.append(kind)):
        result = iteration(*arguments)
    return result, bool(reports)


def draw_pairs(config, n_iterations):
    """Return the additions that the engine trains this config on, shape (n_iterations, 2)."""
    task = TASKS["binary_addition"]
    return task.pairs(task.draw(stream(config.seed, "data"), n_iterations, config), config).tolist()


def train_plainly(config, n_iterations):
    """Train one run of batch size 1 by plain gradient descent.

    Returns
    -------
    losses : list of float
        One for each sample.
    warned : list of int
        Iterations, counted from 1, in which NumPy reported an overflow or an invalid operation.
    weights : list of array
        W_in, W_rec, W_out at the end.
    """
    weights, losses, warned = initial_weights(config), [], []
    for iteration, (a, b) in enumerate(draw_pairs(config, n_iterations), start=1):
        (loss, _), warning = warns(plain_iteration, config, weights, a, b)
        losses.append(loss)
        warned += [iteration] if warning else []
    return losses, warned, weights
