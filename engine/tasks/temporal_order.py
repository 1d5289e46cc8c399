"""Temporal order: a sequence of symbols goes in, two of them matter; after the last step comes out which came in which order.

The task is experiment 6a of Hochreiter & Schmidhuber (Long short-term memory, 1997), with sequences of fixed length and the
places of Martens & Sutskever (2011) and Pascanu, Mikolov & Bengio (2013). What matters passes early on, and half of the
sequence follows that has to leave no trace.
"""

import math
from typing import ClassVar

import numpy as np

from engine.tasks.task import Task, random_bits

SIGNS = "XYabcd"
"""The symbols in the order of the input units: the two that matter, then the distractors."""
ORDERS = ("XX", "XY", "YX", "YY")
"""The answers in the order of the output units."""


class TemporalOrder(Task):
    """Symbols in, one a step, two of them X or Y; after the last step one of four orders out.

    Notes
    -----
    Steps count from 0: the first X or Y stands at a whole number from T/10 to 2T/10, the second at one from 4T/10 to 5T/10,
    ends included, all equally often; from T = 10 on there is one. Of each half of a sample's first word the lowest bit says
    X or Y and the others where (by multiplying, so that no step is favoured by more than one in a million); the other words
    are the distractors, two bits each.
    """

    title = "tell the order of two symbols"
    n_inputs = len(SIGNS)
    n_outputs = len(ORDERS)
    output = "softmax"
    losses = ("cross_entropy",)
    usual_length = 50
    shortest = 10
    starting_point: ClassVar[dict] = {
        "cell": "lstm",
        "hidden_size": 16,
        "bias": True,
        "init_scheme": "xavier_uniform",
        "forget_bias": 1.0,
        "optimizer": "adam",
        "learning_rate": 0.01,
        "clip_norm": 1.0,
        "batch_size": 32,
        "n_iterations": 3000,
        "dtype": "float32",
    }

    def n_words(self, config) -> int:
        """Return the number of random words behind one sample: one for X and Y, one for each 32 distractors."""
        return 1 + -(-config.length // 32)

    def encode(self, samples: np.ndarray, config) -> tuple[np.ndarray, np.ndarray]:
        """Return inputs (T, ..., 6) and targets (1, ..., 4) of samples (..., W), as 0 and 1 in uint8, one 1 a step."""
        bits = random_bits(samples[..., 1:], 2 * config.length)
        symbols = 2 + bits[0::2] + 2 * bits[1::2]
        halves = np.stack([samples[..., 0] & np.uint64(2**32 - 1), samples[..., 0] >> np.uint64(32)])
        are_y = (halves & np.uint64(1)).astype(np.uint8)
        np.put_along_axis(symbols, _places(halves >> np.uint64(1), config.length), are_y, axis=0)
        order = 2 * are_y[:1] + are_y[1:]
        return np.eye(len(SIGNS), dtype=np.uint8).take(symbols, axis=0), np.eye(len(ORDERS), dtype=np.uint8).take(order, axis=0)

    def baseline(self, config) -> float:
        """Return the loss of the best constant answer: all four orders alike."""
        return math.log(len(ORDERS))

    def correct(self, outputs: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """Return for each sample whether the likeliest order is the right one; none is if an output is not a number."""
        right = outputs.argmax(axis=-1) == targets.argmax(axis=-1)
        return (right & ~np.isnan(outputs).any(axis=-1)).all(axis=0)

    def examples(self, samples: np.ndarray, outputs: np.ndarray, config) -> list[dict]:
        """Return worked examples for people as `Task.examples` says; an answer that is not a number is "?"."""
        inputs, targets = self.encode(samples, config)
        worked = []
        for i, right in enumerate(self.correct(outputs, targets).tolist()):
            truth = ORDERS[targets[0, i].argmax()]
            answer = "?" if np.isnan(outputs[0, i]).any() else ORDERS[outputs[0, i].argmax()]
            line = f"{truth[0]}..{truth[1]} -> answer {answer}, correct {truth}"
            question = "".join(SIGNS[k] for k in inputs[:, i].argmax(axis=-1))
            worked.append({"line": line, "right": right, "question": question, "answer": answer, "truth": truth})
        return worked


def _places(numbers: np.ndarray, length: int) -> np.ndarray:
    """Return where the first and the second X or Y stand, from 31-bit random numbers: (2, ...) -> (2, ...)."""
    earliest = np.array([-(-length // 10), -(-4 * length // 10)], np.uint64)
    n_places = np.array([2 * length // 10, 5 * length // 10], np.uint64) - earliest + np.uint64(1)
    by_row = 2, *(1,) * (numbers.ndim - 1)
    return (earliest.reshape(by_row) + (numbers * n_places.reshape(by_row) >> np.uint64(31))).astype(np.intp)
