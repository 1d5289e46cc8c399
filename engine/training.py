"""Groups runs into populations and trains them."""

import math

from engine.layout import n_parameters
from engine.network import parameter_shapes
from engine.population import Population, shape_key
from engine.results import RunResult
from engine.tasks import TASKS

CACHE_BYTES = 3_000_000
"""Working set of one population, some more than the second-level cache of one core: 256 runs of the classic exercise, where
`benchmarks/population.py` is fastest; fewer leave Python's own work per call unshared, more leave the cache."""
LARGEST_POPULATION = 1024


def population_size(config) -> int:
    """Return how many runs of this shape fit the cache together: parameters, gradients, optimizer states, activities."""
    activities = 4 * TASKS[config.task].n_steps(config) * config.batch_size * config.hidden_size
    n_bytes = (3 * n_parameters(parameter_shapes(config)) + activities) * (8 if config.dtype == "float64" else 4)
    return max(2, min(LARGEST_POPULATION, CACHE_BYTES // n_bytes))


def stacks(configs, n_workers: int = 1) -> list[list[int]]:
    """Return groups of places in `configs` that can be trained together, none larger than the cache likes.

    With several workers a group is cut so that each gets a share, as long as the shares stay worth it.
    """
    groups: dict[tuple, list[int]] = {}
    for place, config in enumerate(configs):
        groups.setdefault(shape_key(config), []).append(place)
    cut = []
    for places in groups.values():
        largest = population_size(configs[places[0]])
        n_parts = math.ceil(len(places) / largest)
        if len(places) >= 32 * n_workers:
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
