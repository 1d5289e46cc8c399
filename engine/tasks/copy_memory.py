"""Copy memory: ten symbols go in; after a long delay they have to come out again, in order.

The task is of Hochreiter & Schmidhuber (1997), in the form of Arjovsky, Shah & Bengio (Unitary evolution recurrent neural
networks, 2016, section 5.1), which counts the delay T as we count `length`: ten random symbols, `length` - 1 blanks, a
delimiter that asks for the answer, ten more blanks. The answer is blank up to and including the delimiter, then the symbols.
"""

import math
from typing import ClassVar

import numpy as np

from engine.tasks.task import Task, random_bits

N_REMEMBERED = 10
"""Symbols to remember."""
N_KINDS = 8
"""Kinds of symbols, as many as three bits tell apart; beside them there are blank and, for inputs only, the delimiter."""
BLANK, DELIMITER = N_KINDS, N_KINDS + 1
SIGNS = "01234567.:?"
"""What people see: symbols, blank, delimiter, and an answer that is not a number."""


class CopyMemory(Task):
    """Ten symbols of eight kinds in, a delay of `length` steps, the same symbols out, over T = length + 20 steps.

    Notes
    -----
    Of a sample's word the lowest 30 bits are the ten symbols, three bits each. Every step has a target and they count
    alike: the loss is the mean over the steps, as the source has it.
    """

    title = "remember ten symbols"
    n_inputs = N_KINDS + 2
    n_outputs = N_KINDS + 1
    output = "softmax"
    losses = ("cross_entropy",)
    usual_length = 10
    shortest = 1
    starting_point: ClassVar[dict] = {
        "cell": "lstm",
        "hidden_size": 128,
        "bias": True,
        "init_scheme": "xavier_uniform",
        "forget_bias": 1.0,
        "optimizer": "adam",
        "learning_rate": 0.005,
        "clip_norm": 1.0,
        "batch_size": 32,
        "n_iterations": 10_000,
        "dtype": "float32",
    }

    def n_steps(self, config) -> int:
        """Return the number of time steps: the delay, and ten at each end."""
        return config.length + 2 * N_REMEMBERED

    def n_answers(self, config) -> int:
        """Return the number of time steps: each has a target."""
        return self.n_steps(config)

    def encode(self, samples: np.ndarray, config) -> tuple[np.ndarray, np.ndarray]:
        """Return inputs (T, ..., 10) and targets (T, ..., 9) of samples (..., 1), as 0 and 1 in uint8, one 1 a step."""
        bits = random_bits(samples, 3 * N_REMEMBERED)
        symbols = bits[0::3] + 2 * bits[1::3] + 4 * bits[2::3]
        asked = np.full((self.n_steps(config), *samples.shape[:-1]), BLANK)
        answers = asked.copy()
        asked[:N_REMEMBERED] = answers[-N_REMEMBERED:] = symbols
        asked[-N_REMEMBERED - 1] = DELIMITER
        one_hot = np.eye(self.n_inputs, dtype=np.uint8)
        return one_hot.take(asked, axis=0), one_hot[: self.n_outputs, : self.n_outputs].take(answers, axis=0)

    def step_weight(self, config) -> float:
        """Return 1 / T: the loss is the mean over the steps."""
        return 1 / self.n_steps(config)

    def baseline(self, config) -> float:
        """Return the loss of the best answer without memory: blanks while they are due, then all eight symbols alike.

        It is constant but for the step it is given at, and the source's baseline.
        """
        return N_REMEMBERED * math.log(N_KINDS) / self.n_steps(config)

    def correct(self, outputs: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """Return for each sample whether the likeliest symbols of all the last ten steps are right, and all outputs numbers."""
        return (_likeliest(outputs) == _likeliest(targets)).all(axis=0) & ~np.isnan(outputs).any(axis=(0, -1))

    def examples(self, samples: np.ndarray, outputs: np.ndarray, config) -> list[dict]:
        """Return worked examples for people as `Task.examples` says; sequences are written as in `SIGNS`."""
        inputs, targets = self.encode(samples, config)
        asked, answers, truths = inputs.argmax(axis=-1), _likeliest(outputs), _likeliest(targets)
        worked = []
        for i, right in enumerate(self.correct(outputs, targets).tolist()):
            question, answer, truth = ("".join(SIGNS[k] for k in kinds[:, i]) for kinds in (asked, answers, truths))
            line = f"answer {answer}, correct {truth}"
            worked.append({"line": line, "right": right, "question": question, "answer": answer, "truth": truth})
        return worked


def _likeliest(y: np.ndarray) -> np.ndarray:
    """Return the likeliest class of each of the last ten steps, or 10 where there is none: (K, ..., 9) -> (10, ...)."""
    y = y[-N_REMEMBERED:]
    return np.where(np.isnan(y).any(axis=-1), len(SIGNS) - 1, y.argmax(axis=-1))
