"""Binary addition: two numbers go in bit by bit, least significant first; their sum comes out bit by bit.

The classic exercise for a simple recurrent network in plain NumPy: 8 bits, numbers below 2**7 so that the sum fits, half
the squared error summed over the steps, a logistic output unit. A carry has to be remembered from step to step.
"""

import math

import numpy as np

from engine.tasks.task import Task


class BinaryAddition(Task):
    """Two numbers of bits - 1 digits in, their sum out, one bit a step.

    Notes
    -----
    Of a sample's word the lowest bits - 1 bits are the number a, the same bits of its upper half are b. Inputs are the bits
    of a and b, targets those of a + b, over T = bits steps.
    """

    title = "add two numbers bit by bit"
    n_inputs = 2
    losses = ("half_squared_error", "cross_entropy")

    def n_steps(self, config) -> int:
        """Return the number of time steps, one for each bit."""
        return config.bits

    def n_answers(self, config) -> int:
        """Return the number of time steps: each has a target."""
        return config.bits

    def pairs(self, samples: np.ndarray, config) -> np.ndarray:
        """Return the numbers a and b of samples: (..., 1) -> (..., 2), uint32."""
        mask = np.uint64(2 ** (config.bits - 1) - 1)
        pairs = np.empty((*samples.shape[:-1], 2), np.uint32)
        pairs[..., 0], pairs[..., 1] = samples[..., 0] & mask, (samples[..., 0] >> np.uint64(32)) & mask
        return pairs

    def encode(self, samples: np.ndarray, config) -> tuple[np.ndarray, np.ndarray]:
        """Return inputs (T, ..., 2) and targets (T, ..., 1) of samples (..., 1), as 0 and 1 in uint8."""
        pairs = self.pairs(samples, config)
        return _bits(pairs, config.bits), _bits(pairs[..., :1] + pairs[..., 1:], config.bits)

    def baseline(self, config) -> float:
        """Return the loss of the best constant answer: half the variance, or the entropy, of each bit of the sum.

        Every bit but the last is 0 or 1 equally often; the last is the carry out of n = bits - 1 digits, which is 1 with
        probability (1 - 2**-n) / 2 (count the pairs).
        """
        n = config.bits - 1
        last = (1 - 2.0**-n) / 2
        if config.loss == "cross_entropy":
            return n * math.log(2) - last * math.log(last) - (1 - last) * math.log(1 - last)
        return 0.5 * (n * 0.25 + last * (1 - last))

    def correct(self, outputs: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """Return for each sample whether every rounded bit is right."""
        return ((outputs > 0.5) == (targets > 0.5)).all(axis=(0, -1))

    def examples(self, samples: np.ndarray, outputs: np.ndarray, config) -> list[dict]:
        """Return worked examples for people.

        Parameters
        ----------
        samples : array, shape (n, 1)
        outputs : array, shape (T, n, 1)
            The network's answers between 0 and 1, least significant bit first.

        Returns
        -------
        list of dict
            line, right, a, b, the answer's number, the bits of all three and of the truth (most significant first), and the raw
            outputs.
        """

        def bits(number: int) -> str:
            return format(number, f"0{config.bits}b")

        answers = outputs[:, :, 0].T
        known = ~np.isnan(answers).any(axis=1)
        worked = []
        for (a, b), y, answered in zip(self.pairs(samples, config).tolist(), answers.tolist(), known.tolist(), strict=True):
            answer = sum(1 << t for t, bit in enumerate(y) if bit > 0.5)
            worked.append(
                {
                    "line": f"{a} + {b} = {answer}" + ("" if answer == a + b else f" (is {a + b})"),
                    "right": answered and answer == a + b,
                    "a": a,
                    "b": b,
                    "answer": answer,
                    "a_bits": bits(a),
                    "b_bits": bits(b),
                    "answer_bits": bits(answer),
                    "true_bits": bits(a + b),
                    "outputs": y[::-1],
                }
            )
        return worked


def _bits(numbers: np.ndarray, n_bits: int) -> np.ndarray:
    """Return the lowest bits of uint32 numbers, least significant first: (...) -> (n_bits, ...), uint8."""
    bits = np.empty((n_bits, *numbers.shape), np.uint8)
    for t in range(n_bits):
        if t % 8 == 0:
            byte = (numbers >> np.uint32(t)).astype(np.uint8)  # whole bytes at a time: 8-bit shifts are the fast ones
        np.bitwise_and(byte >> np.uint8(t % 8), np.uint8(1), out=bits[t])
    return bits
