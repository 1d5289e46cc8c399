"""What a population takes of the machine's memory, estimated before it takes any."""

import os

from engine.cells import CELLS
from engine.errors import ConfigError
from engine.layout import n_parameters
from engine.network import parameter_shapes
from engine.optimizers import OPTIMIZERS
from engine.tasks import TASKS

LONE_WORK = 1024
"""Batch size times hidden size from which on a lone run needs no copy of itself as company: below it the copy costs next to
nothing, above it no product of the run degenerates but the readout's, which `layout.apart` takes care of."""
MEMORY_SHARE = 0.5
"""Most of the machine's memory that one population may take."""


def company(config, n_runs: int) -> int:
    """Return how many rows n_runs take: a lone run of little work, or of one hidden unit, takes two."""
    little = config.batch_size * config.hidden_size < LONE_WORK or config.hidden_size == 1
    return 2 if n_runs == 1 and little else n_runs


def run_bytes(config) -> int:
    """Return what one run of a population takes: parameters, gradients, optimizer states, activities of all layers."""
    task, n_gates = TASKS[config.task], len(CELLS[config.cell].gates)
    vectors = 3 + OPTIMIZERS[config.optimizer].n_states
    per_unit = 3 if config.cell == "rnn" else 3 * n_gates + 4  # u, y and delta of each gate; h, dh, cell state and its tanh
    values = task.n_steps(config) * (task.n_inputs + per_unit * config.hidden_size * config.n_layers)
    values += 6 * task.n_answers(config) * task.n_outputs
    numbers = vectors * n_parameters(parameter_shapes(config)) + config.batch_size * values
    return numbers * (8 if config.dtype == "float64" else 4)


def memory() -> int:
    """Return the machine's memory in bytes; 4 GB where the system does not say."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return 4 * 2**30


def most_runs(config) -> int:
    """Return how many runs of this shape, each with a pool of its own, fit in one population; at least 1."""
    each = run_bytes(config) + 8 * TASKS[config.task].n_words(config) * config.pool_size
    return max(1, int(MEMORY_SHARE * memory() / each))


def check_memory(config, n_runs: int = 1, n_pooled: int | None = None) -> None:
    """Refuse a population that would take too much memory, before it takes any.

    Parameters
    ----------
    n_pooled : int, optional
        Samples in all pools of the population; without it those of the config's own pool.

    Raises
    ------
    ConfigError
        With the estimate and the limit.
    """
    n_pooled = config.pool_size if n_pooled is None else n_pooled
    needed = run_bytes(config) * company(config, n_runs) + 8 * TASKS[config.task].n_words(config) * n_pooled
    limit = MEMORY_SHARE * memory()
    if needed > limit:
        raise ConfigError(
            f"expected a run that fits in {limit / 2**30:.1f} GB, half of this machine's memory, found one that needs about "
            f"{needed / 2**30:,.1f} GB; lower hidden_size, n_layers, batch_size, pool_size or the length of the sequences"
        )
