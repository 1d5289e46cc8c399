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
    """One parameter: its shape, its kind, and the gates that stand side by side in its columns.

    kind is "input", "projection", "recurrent", "peephole", "readout" or "bias".
    """

    shape: tuple[int, ...]
    kind: str
    gates: tuple[str, ...] = ("",)


def by_run(a: np.ndarray) -> np.ndarray:
    """View activities (..., P, H) as one matrix for each run, (P, rows, H)."""
    return a.reshape(-1, *a.shape[-2:]).transpose(1, 0, 2)


def sum_rows(a: np.ndarray, out: np.ndarray) -> None:
    """Sum activities (..., P, n) over all but the last two axes, row by row whatever P and n are, into out (P, n).

    NumPy adds up a single column pairwise and several ones row by row; a lone column therefore gets company.
    """
    if a.shape[-1] * a.shape[-2] > 1:
        np.add.reduce(by_run(a), axis=1, out=out)
    else:
        pair = np.zeros((a.size, 2), a.dtype)
        pair[:, 0] = a.ravel()
        out[...] = np.add.reduce(pair, axis=0)[0]


def apart(shape: tuple[int, ...], dtype) -> np.ndarray:
    """Return an empty array (..., P, n) in which even the rows of a lone run lie apart, as they do in company.

    BLAS multiplies a matrix and a vector without gaps in another order than with gaps: see `kernel/x86_64/sgemv_*` of OpenBLAS.
    """
    gap = 1 if shape[-2] == 1 else 0
    return np.empty((*shape[:-1], shape[-1] + gap), dtype)[..., : shape[-1]]


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
