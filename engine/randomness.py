"""Random streams: each belongs to a seed and a purpose, never to a place in a batch.

Two runs with one seed therefore see the same data and start from the same noise, whatever else they are trained with.
"""

import numpy as np

PURPOSES = {"data": 0, "weights": 1, "held_out": 2, "pool": 3}
HELD_OUT_SEED = 0
"""Entropy of the held-out samples: the same questions for every run, so that accuracies can be compared."""


def stream(seed: int, purpose: str, *index: int) -> np.random.Generator:
    """Return the generator of one purpose of one seed.

    Parameters
    ----------
    seed : int
        Seed of the run, at least 0.
    purpose : str
        A key of `PURPOSES`.
    *index : int
        Which of several streams of that purpose, for instance the numbers of a layer, a weight matrix and a gate.

    References
    ----------
    O'Neill (2014), "PCG", for the generator; NumPy's `SeedSequence` for the derivation.
    """
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=(PURPOSES[purpose], *(index or (0,))))))
