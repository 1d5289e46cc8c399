"""What every task has in common: how samples are drawn, and what the population asks a task."""

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np


class Task:
    """A task: what it draws, how that becomes inputs and targets, and what a right answer is.

    Attributes
    ----------
    title : str
        For people: what is asked, in a few words.
    n_inputs, n_outputs : int
        I and O.
    output : str
        What the readout gives: "logistic" (bits), "linear" (numbers) or "softmax" (one of several classes).
    losses : tuple of str
        Keys of `engine.readouts.LOSSES` that make sense; the first is the usual one.
    usual_length, shortest : int or None
        The setting `length` if nothing else is said, and its least value; None for a task that has other sizes.
    usual_pool : int
        The setting `pool_size` if nothing else is said; 0 draws every sample fresh.
    starting_point : dict
        Settings under which the task can be learned; the dashboard's knobs start there.

    Notes
    -----
    A sample is a row of W random 64-bit words, so that drawing 10 samples and then 20 gives the same as drawing 30.
    """

    title: str
    n_inputs = 1
    n_outputs = 1
    output = "logistic"
    losses: tuple[str, ...]
    usual_length: int | None = None
    shortest: int | None = None
    usual_pool = 0
    starting_point: Mapping[str, object] = MappingProxyType({})

    def n_steps(self, config) -> int:
        """Return T, the number of time steps."""
        return config.length

    def n_answers(self, config) -> int:
        """Return K: only the last K steps have a target."""
        return 1

    def n_words(self, config) -> int:
        """Return W, the number of random words behind one sample."""
        return 1

    def draw(self, rng: np.random.Generator, n: int, config) -> np.ndarray:
        """Return n samples, shape (n, W), uint64."""
        n_words = self.n_words(config)
        return rng.bit_generator.random_raw(n * n_words).reshape(n, n_words)

    def encode(self, samples: np.ndarray, config) -> tuple[np.ndarray, np.ndarray]:
        """Return inputs (T, ..., I) and targets (K, ..., O) of samples (..., W): uint8, or floats of the config's dtype."""
        raise NotImplementedError

    def step_weight(self, config) -> float:
        """Return what one step counts in the loss: 1 sums over the steps, 1 / K takes their mean."""
        return 1.0

    def baseline(self, config) -> float:
        """Return the loss of the best constant answer, in the units of the config's loss."""
        raise NotImplementedError

    def correct(self, outputs: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """Return which samples are answered right: outputs and targets (K, ..., O) -> (...)."""
        raise NotImplementedError

    def examples(self, samples: np.ndarray, outputs: np.ndarray, config) -> list[dict]:
        """Return worked examples for people, ready for JSON.

        Parameters
        ----------
        samples : array, shape (n, W)
        outputs : array, shape (K, n, O)

        Returns
        -------
        list of dict
            Each with at least `line`, one line of text as the task's source prints it, and `right`.
        """
        raise NotImplementedError


def random_bits(words: np.ndarray, n_bits: int) -> np.ndarray:
    """Return the first bits of each sample's words, lowest first: (..., W) uint64 -> (n_bits, ...) uint8."""
    bits = np.empty((n_bits, *words.shape[:-1]), np.uint8)
    for i in range(n_bits):
        word, place = divmod(i, 64)
        bits[i] = (words[..., word] >> np.uint64(place)) & np.uint64(1)
    return bits
