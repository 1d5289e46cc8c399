"""Axis letters, and how many runs share one array.

| letter | axis |
|---|---|
| T | time step |
| B | sequence of the batch |
| P | run of the population |
| I, H, O | input, hidden and output unit |

Activities are stored time outermost, (T, B, P, H), contiguous: what all runs do at one time step lies together, and the
rows that one run needs for a product over all steps are a strided view that BLAS takes without a copy.
"""

from typing import NamedTuple

import numpy as np


class Weight(NamedTuple):
    """Shape and part of one parameter: kind is "input", "recurrent", "readout" or "bias"."""

    shape: tuple[int, ...]
    kind: str


def by_run(a: np.ndarray) -> np.ndarray:
    """View activities (..., P, H) as one matrix for each run, (P, rows, H)."""
    return a.reshape(-1, *a.shape[-2:]).transpose(1, 0, 2)


def unpack(flat: np.ndarray, weights: dict[str, Weight]) -> dict[str, np.ndarray]:
    """View flat parameters (P, n) as named arrays (P, *shape)."""
    views, start = {}, 0
    for name, weight in weights.items():
        size = int(np.prod(weight.shape))
        views[name] = flat[:, start : start + size].reshape(-1, *weight.shape)
        start += size
    return views


def n_parameters(weights: dict[str, Weight]) -> int:
    """Return how many numbers one run's parameters are."""
    return sum(int(np.prod(weight.shape)) for weight in weights.values())
