"""Bit count: a sequence of 0s and 1s goes in; after the last step comes out how many 1s it had.

A first exercise for an LSTM as it circulates for TensorFlow's BasicLSTMCell: "predict the sum of ten 0/1 numbers", answered
by a linear output unit and learned from a fixed set of sequences. A unit that only adds up what comes in solves it.
"""

import math
from typing import ClassVar

import numpy as np

from engine.tasks.task import Task, random_bits

TOLERANCE = 0.05
"""An answer is right when it misses the sum by less than this: a tenth of what rounding to the nearest sum would forgive."""


class BitCount(Task):
    """Random bits in, one a step; their sum out after the last step.

    Notes
    -----
    Inputs are the first `length` bits of a sample's words, each 0 or 1 equally often.
    """

    title = "count the ones in a sequence"
    output = "linear"
    losses = ("mean_squared_error",)
    usual_length = 10
    shortest = 1
    usual_pool = 1000
    starting_point: ClassVar[dict] = {
        "cell": "lstm",
        "hidden_size": 80,
        "projection_size": 80,
        "bias": True,
        "init_scheme": "xavier_uniform",
        "forget_bias": 0.8,
        "learning_rate": 0.01,
        "batch_size": 100,
        "n_iterations": 5000,
        "dtype": "float32",
    }

    def n_words(self, config) -> int:
        """Return the number of random words behind one sample: 64 bits each."""
        return -(-config.length // 64)

    def encode(self, samples: np.ndarray, config) -> tuple[np.ndarray, np.ndarray]:
        """Return inputs (T, ..., 1), as 0 and 1 in uint8, and targets (1, ..., 1) in the config's dtype."""
        bits = random_bits(samples, config.length)
        return bits[..., None], bits.sum(axis=0, dtype=config.dtype)[None, ..., None]

    def baseline(self, config) -> float:
        """Return the loss of the best constant answer: the variance of `length` fair coins."""
        return config.length / 4

    def correct(self, outputs: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """Return for each sample whether the answer misses the sum by less than `TOLERANCE`."""
        return (np.abs(outputs - targets) < TOLERANCE).all(axis=(0, -1))

    def examples(self, samples: np.ndarray, outputs: np.ndarray, config) -> list[dict]:
        """Return worked examples for people as `Task.examples` says; an answer that is no finite number is None."""
        inputs, targets = self.encode(samples, config)
        worked = []
        for i, right in enumerate(self.correct(outputs, targets).tolist()):
            answer, truth = float(outputs[0, i, 0]), int(targets[0, i, 0])
            worked.append(
                {
                    "line": f"output: {answer:.6f}, correct: {truth}",
                    "right": right,
                    "question": "".join(map(str, inputs[:, i, 0].tolist())),
                    "answer": answer if math.isfinite(answer) else None,
                    "truth": truth,
                }
            )
        return worked
