"""Adding problem: a sequence of numbers goes in, two of them marked; after the last step comes out the sum of these two.

The task is experiment 4 of Hochreiter & Schmidhuber (Long short-term memory, 1997), in the simpler form that Le, Jaitly &
Hinton (2015, section 4.1) and Arjovsky, Shah & Bengio (2016) made usual: numbers between 0 and 1, a sequence of fixed
length, one marker in each half, no signs for start and end. The longer the sequence, the longer two exact values have to be
kept from all that comes after them.
"""

import math
from typing import ClassVar

import numpy as np

from engine.tasks.task import Task

TOLERANCE = 0.08
"""An answer is right when it misses the sum by less: 0.04 in Hochreiter & Schmidhuber, whose targets spanned half as much."""
VALUE_BITS = 23
"""Numbers are multiples of 2**-23, so that even float32 holds them, and the sum of any two, exactly."""


class AddingProblem(Task):
    """Numbers and markers in, a pair a step; the sum of the two marked numbers out after the last step.

    Notes
    -----
    Inputs are (number, marker): numbers even over [0, 1), markers 1 at one step of the first length // 2 and one of the
    others, 0 elsewhere. The halves of a sample's first word say which, those of the other words are the numbers: their
    highest 23 bits. A step is chosen by multiplying 32 random bits, so that no step is favoured by more than one in a million.
    """

    title = "add the two marked numbers"
    n_inputs = 2
    output = "linear"
    losses = ("mean_squared_error",)
    usual_length = 100
    shortest = 2
    starting_point: ClassVar[dict] = {
        "cell": "lstm",
        "hidden_size": 32,
        "bias": True,
        "init_scheme": "xavier_uniform",
        "forget_bias": 1.0,
        "optimizer": "adam",
        "learning_rate": 0.005,
        "clip_norm": 1.0,
        "batch_size": 32,
        "n_iterations": 5000,
        "dtype": "float32",
    }

    def n_words(self, config) -> int:
        """Return the number of random words behind one sample: one for the markers, one for each two numbers."""
        return 1 + -(-config.length // 2)

    def marked(self, samples: np.ndarray, config) -> np.ndarray:
        """Return the two marked steps, counted from 0: (..., W) -> (2, ...)."""
        n_early = config.length // 2
        n_late = config.length - n_early
        early = (samples[..., 0] & np.uint64(2**32 - 1)) * np.uint64(n_early) >> np.uint64(32)
        late = (samples[..., 0] >> np.uint64(32)) * np.uint64(n_late) >> np.uint64(32)
        return np.stack([early, late + np.uint64(n_early)]).astype(np.intp)

    def encode(self, samples: np.ndarray, config) -> tuple[np.ndarray, np.ndarray]:
        """Return inputs (T, ..., 2) and targets (1, ..., 1) of samples (..., W), in the config's dtype."""
        inputs = np.zeros((config.length, *samples.shape[:-1], 2), config.dtype)
        numbers, markers, marked = inputs[..., 0], inputs[..., 1], self.marked(samples, config)
        words = np.moveaxis(samples[..., 1:], -1, 0)
        numbers[0::2] = words >> np.uint64(32 - VALUE_BITS) & np.uint64(2**VALUE_BITS - 1)
        numbers[1::2] = words[: config.length // 2] >> np.uint64(64 - VALUE_BITS)
        numbers *= 2.0**-VALUE_BITS
        np.put_along_axis(markers, marked, 1, axis=0)
        return inputs, np.take_along_axis(numbers, marked, axis=0).sum(axis=0)[None, ..., None]

    def baseline(self, config) -> float:
        """Return the loss of the best constant answer, 1: the variance of the sum of two even numbers from [0, 1)."""
        return 1 / 6

    def correct(self, outputs: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """Return for each sample whether the answer misses the sum by less than `TOLERANCE`."""
        return (np.abs(outputs - targets) < TOLERANCE).all(axis=(0, -1))

    def examples(self, samples: np.ndarray, outputs: np.ndarray, config) -> list[dict]:
        """Return worked examples for people as `Task.examples` says; an answer that is no finite number is None.

        The line's numbers have four decimals and its sum is theirs, which may differ from the truth in the last one.
        """
        inputs, targets = self.encode(samples, config)
        marked = np.take_along_axis(inputs[..., 0], self.marked(samples, config), axis=0)
        worked = []
        for i, right in enumerate(self.correct(outputs, targets).tolist()):
            (a, b), answer = marked[:, i].round(4).tolist(), float(outputs[0, i, 0])
            question = f"{a:.4f} + {b:.4f}"
            worked.append(
                {
                    "line": f"{question} = {a + b:.4f}, output: {answer:.6f}",
                    "right": right,
                    "question": question,
                    "answer": answer if math.isfinite(answer) else None,
                    "truth": float(targets[0, i, 0]),
                }
            )
        return worked
