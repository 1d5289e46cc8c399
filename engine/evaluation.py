"""Asks networks held-out questions: the same samples for every run of a task, never trained on."""

import numpy as np

from engine.network import Network
from engine.tasks import TASKS
from engine.watch import FloatingPointWatch

START_SAMPLES = 250
"""Held-out samples behind the loss before the first update, and behind each accuracy on the way of a run with a pool."""
HELD_OUT_SAMPLES = 1000
"""Held-out samples behind the final accuracy: its standard error is at most 1.6 percentage points, 0.3 at 99 %."""
N_EXAMPLES = 8
"""Worked examples kept of each run."""
BLOCK_VALUES = 128_000
"""Hidden values of all steps that are worked out together; keeps the evaluation in the cache."""


def samples_at_once(config) -> int:
    """Return how many samples pass the network together: a divisor of the numbers above that depends on the run alone."""
    width = TASKS[config.task].n_steps(config) * config.hidden_size
    return next((n for n in (125, 25, 5) if n * width <= BLOCK_VALUES), 1)


def evaluate(configs, parameters: np.ndarray, samples: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return accuracy (P,), loss (P,) and answers to the first examples (K, N_EXAMPLES, P, O); P is at least 2.

    A network that answers NaN answers wrong.

    Parameters
    ----------
    configs : list of RunConfig
        Of equal shape, sorted by activation.
    parameters : array, shape (P, n)
    samples : array, shape (n_samples, W)
    """
    config, task, n_runs, n_samples = configs[0], TASKS[configs[0].task], len(configs), len(samples)
    right, loss = np.zeros(n_runs), np.zeros(n_runs)
    examples = np.empty((task.n_answers(config), N_EXAMPLES, n_runs, task.n_outputs))
    inputs, targets = task.encode(samples, config)
    size = samples_at_once(config)
    width = size * task.n_steps(config) * config.hidden_size
    n_at_once = min(n_runs, max(2, BLOCK_VALUES // width))
    part_parameters = np.empty((n_at_once, parameters.shape[1]), parameters.dtype)
    with np.errstate(all="ignore"):
        for start in range(0, n_runs, n_at_once):
            start = min(start, n_runs - n_at_once)  # the last part overlaps: all are of one size
            part = slice(start, start + n_at_once)
            part_parameters[...] = parameters[part]
            network = Network(configs[part], part_parameters, None, size, FloatingPointWatch(np.zeros(n_at_once, bool)))
            target = network.readout.target
            right[part], loss[part] = 0, 0
            for first in range(0, n_samples, size):
                block = slice(first, first + size)
                network.x[...], target[...] = inputs[:, block, None], targets[:, block, None]
                answers = network.forward()
                right[part] += (task.correct(answers, target) & np.isfinite(answers).all(axis=(0, -1))).sum(axis=0)
                loss[part] += network.loss_factor * network.loss().sum(axis=(0, 1, 3), dtype=np.float64)
                shown = examples[:, first : first + size, part]
                shown[...] = answers[:, : shown.shape[1]]
    return right / n_samples, loss / n_samples, examples
