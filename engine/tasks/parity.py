"""Parity: a sequence of 0s and 1s goes in; after the last step comes out whether the number of 1s is odd.

The function is the classic one of Minsky & Papert (Perceptrons, 1969). Bengio, Simard & Frasconi (1994) posed it to
recurrent networks, which have to carry one bit along and flip it at each 1; a single wrong flip anywhere spoils the answer.
Short sequences are learned by heart, and a network small enough is found sooner by guessing its weights than by gradients
(Hochreiter & Schmidhuber, LSTM can solve hard long time lag problems, 1997).
"""

import math
from typing import ClassVar

import numpy as np

from engine.tasks.task import Task, random_bits


class Parity(Task):
    """Random bits in, one a step; after the last step 1 if their number of 1s is odd, 0 if it is even.

    Notes
    -----
    Inputs are the first `length` bits of a sample's words, each 0 or 1 equally often.
    """

    title = "tell whether the number of ones is odd"
    losses = ("cross_entropy", "half_squared_error")
    usual_length = 8
    shortest = 1
    starting_point: ClassVar[dict] = {
        "cell": "lstm",
        "hidden_size": 32,
        "bias": True,
        "init_scheme": "xavier_uniform",
        "weight_init_std": 3.0,  # at 1 most runs stay at the constant answer for thousands of iterations
        "optimizer": "adam",
        "learning_rate": 0.003,
        "clip_norm": 1.0,
        "batch_size": 32,
        "n_iterations": 5000,
        "dtype": "float32",
    }

    def n_words(self, config) -> int:
        """Return the number of random words behind one sample: 64 bits each."""
        return -(-config.length // 64)

    def encode(self, samples: np.ndarray, config) -> tuple[np.ndarray, np.ndarray]:
        """Return inputs (T, ..., 1) and targets (1, ..., 1) of samples (..., W), as 0 and 1 in uint8."""
        bits = random_bits(samples, config.length)
        return bits[..., None], np.bitwise_xor.reduce(bits, axis=0)[None, ..., None]

    def baseline(self, config) -> float:
        """Return the loss of the best constant answer: 1/2, because odd and even come equally often."""
        return math.log(2) if config.loss == "cross_entropy" else 1 / 8

    def correct(self, outputs: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """Return for each sample whether the rounded answer is right; none that is not a number is."""
        return np.where(targets > 0.5, outputs > 0.5, outputs <= 0.5).all(axis=(0, -1))

    def examples(self, samples: np.ndarray, outputs: np.ndarray, config) -> list[dict]:
        """Return worked examples for people as `Task.examples` says; an answer that is not a number is "?"."""
        inputs, targets = self.encode(samples, config)
        worked = []
        for i, right in enumerate(self.correct(outputs, targets).tolist()):
            output, truth = outputs[0, i, 0], _name(targets[0, i, 0])
            worked.append(
                {
                    "line": f"ones: {inputs[:, i].sum()} -> answer {_name(output)}, correct {truth}",
                    "right": right,
                    "question": "".join(map(str, inputs[:, i, 0].tolist())),
                    "answer": _name(output),
                    "truth": truth,
                }
            )
        return worked


def _name(odd: float) -> str:
    """Return the word for an answer between 0 and 1."""
    return "?" if math.isnan(odd) else "odd" if odd > 0.5 else "even"
