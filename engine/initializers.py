"""Initial weights: a table of schemes, each of them scaled by weight_init_std.

| scheme | standard deviation of a weight | source |
|---|---|---|
| normal | 1 (so weight_init_std itself) | the classic exercise |
| xavier | sqrt(2 / (fan_in + fan_out)) | Glorot & Bengio (2010) |
| he | sqrt(2 / fan_in) | He et al. (2015) |
| lecun | sqrt(1 / fan_in) | LeCun et al. (1998); the exercise calls this one "Xavier" |
| orthogonal | orthonormal rows or columns | Saxe, McClelland & Ganguli (2014) |
| identity | recurrent matrix is the identity, other weights normal with 0.001 | Le, Jaitly & Hinton (2015), for relu |

xavier, he and lecun come as normal and as uniform distributions of the same standard deviation.
"""

from collections.abc import Callable

import numpy as np

IDENTITY_INPUT_STD = 0.001
"""Standard deviation of the weights around an identity recurrent matrix; Le, Jaitly & Hinton (2015), section 4."""

Scheme = Callable[[np.random.Generator, int, int, bool], np.ndarray]


def _normal(rng, fan_in, fan_out, recurrent):
    return rng.standard_normal((fan_in, fan_out))


def _fan_scaled(variance: Callable[[int, int], float], uniform: bool) -> Scheme:
    def draw(rng, fan_in, fan_out, recurrent):
        std = np.sqrt(variance(fan_in, fan_out))
        if uniform:
            return rng.uniform(-1, 1, (fan_in, fan_out)) * (np.sqrt(3) * std)
        return rng.standard_normal((fan_in, fan_out)) * std

    return draw


def _orthogonal(rng, fan_in, fan_out, recurrent):
    wide = rng.standard_normal((max(fan_in, fan_out), min(fan_in, fan_out)))
    q, r = np.linalg.qr(wide)
    q *= np.where(np.diag(r) < 0, -1.0, 1.0)  # makes the draw uniform over orthogonal matrices: Mezzadri (2007)
    return q if fan_in >= fan_out else q.T


def _identity(rng, fan_in, fan_out, recurrent):
    return np.eye(fan_in) if recurrent else rng.standard_normal((fan_in, fan_out)) * IDENTITY_INPUT_STD


def _glorot(fan_in, fan_out):
    return 2 / (fan_in + fan_out)


def _he(fan_in, fan_out):
    return 2 / fan_in


def _lecun(fan_in, fan_out):
    return 1 / fan_in


INIT_SCHEMES: dict[str, Scheme] = {
    "normal": _normal,
    "xavier_normal": _fan_scaled(_glorot, uniform=False),
    "xavier_uniform": _fan_scaled(_glorot, uniform=True),
    "he_normal": _fan_scaled(_he, uniform=False),
    "he_uniform": _fan_scaled(_he, uniform=True),
    "lecun_normal": _fan_scaled(_lecun, uniform=False),
    "lecun_uniform": _fan_scaled(_lecun, uniform=True),
    "orthogonal": _orthogonal,
    "identity": _identity,
}

SHORT_NAMES = {
    "xavier": "xavier_normal",
    "he": "he_normal",
    "lecun": "lecun_normal",
    "glorot_normal": "xavier_normal",
    "glorot_uniform": "xavier_uniform",
}
"""Other spellings people use; a config always holds the full name."""
