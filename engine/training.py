"""Groups runs into populations and trains them."""

import math

from engine.cells import CELLS
from engine.layout import n_parameters
from engine.memory import company, most_runs, run_bytes
from engine.network import parameter_shapes
from engine.population import Population, shape_key
from engine.results import RunResult
from engine.tasks import TASKS

CACHE_BYTES = 3_000_000
"""Working set of one population, some more than the second-level cache of one core: 256 runs of the classic exercise, where
`benchmarks/population.py` is fastest; fewer leave Python's own work per call unshared, more leave the cache."""
LARGEST_POPULATION = 1024
BUSY_RUNS, STEP_BYTES = 8, 100_000
"""So many runs are worth training together whatever the length of the sequences, while all gates of a step stay below these
bytes: for a GRU (32 units, batch 32, 50 steps) 8 runs take 0.45 of the time of one after the other, 32 runs 0.6."""
WORTH_SPLITTING = 8
"""A population may be cut into parts that are smaller than the cache allows by this factor, to keep several workers busy."""
LEAST_SECONDS, OPERATIONS_PER_SECOND = 3e-6, 5e10
"""For rough estimates: one iteration of a small run, and floating-point operations of the products of large ones."""


def population_size(config) -> int:
    """Return how many runs of this shape are trained together; small ones are never alone.

    As many as the cache holds, or, where long sequences fill it with a single run, as many as keep the calls of one step busy.
    """
    step = len(CELLS[config.cell].gates) * config.batch_size * config.hidden_size * (8 if config.dtype == "float64" else 4)
    busy = min(BUSY_RUNS, STEP_BYTES // step)
    fitting = min(max(busy, min(LARGEST_POPULATION, CACHE_BYTES // run_bytes(config))), most_runs(config))
    return max(company(config, 1), fitting)


def rough_seconds(config) -> float:
    """Return about how long one core trains a run: enough to tell whether work is worth sharing."""
    products = 6 * n_parameters(parameter_shapes(config)) * TASKS[config.task].n_steps(config) * config.batch_size
    return config.n_iterations * max(LEAST_SECONDS, products / OPERATIONS_PER_SECOND)


def stacks(configs, n_workers: int = 1) -> list[list[int]]:
    """Return groups of places in `configs` that can be trained together, none larger than the cache likes.

    With several workers a group is cut so that each gets a share, as long as the shares stay worth it.
    """
    groups: dict[tuple, list[int]] = {}
    for place, config in enumerate(configs):
        groups.setdefault(shape_key(config), []).append(place)
    cut = []
    for places in groups.values():
        largest = population_size(max((configs[place] for place in places), key=lambda config: config.pool_size))
        n_parts = math.ceil(len(places) / largest)
        if len(places) >= n_workers * math.ceil(largest / WORTH_SPLITTING):
            n_parts = math.ceil(n_parts / n_workers) * n_workers
        size = math.ceil(len(places) / n_parts)
        cut += [places[start : start + size] for start in range(0, len(places), size)]
    return cut


def train(configs) -> list[RunResult]:
    """Train runs in this process and return their results in the order of `configs`."""
    configs = list(configs)
    results: list[RunResult | None] = [None] * len(configs)
    for places in stacks(configs):
        population = Population([configs[place] for place in places])
        population.advance(population.n_iterations)
        for place, result in population.results().items():
            results[places[place]] = result
    return results
