"""What probably made a run end as it did, with its numbers, and what to try instead.

What is tried first is what helped most often: `benchmarks/outcomes.py` trains random runs again with every piece of advice.
"""

import math
from dataclasses import dataclass

import numpy as np

from engine.config import FIELDS, RunConfig
from engine.diagnosis import recurrent_blocks, spectrum
from engine.errors import ConfigError
from engine.evaluation import HELD_OUT_SAMPLES, evaluate, samples_at_once
from engine.network import count_parameters, initial_parameters
from engine.randomness import HELD_OUT_SEED, stream
from engine.tasks import TASKS

UNBOUNDED = ("relu", "leaky_relu", "elu", "softplus", "linear")
LONG = 30
"""Time steps over which a simple network's error has usually vanished: Bengio, Simard & Frasconi (1994)."""
SATURATING = 4.0
"""Standard deviation of the units' inputs from which on most sigmoid and tanh units stand in the outer tenth of their range: a
logistic is there beyond +-2.2, as 58 % of normal numbers of that deviation are, a tanh beyond +-1.1, as 78 % are."""
ADAM = {"optimizer": "adam", "learning_rate": 0.01}
CLIP = {"clip_norm": 1.0}
SLOW = 1e-3
"""A loss that moved by less than this share of where it started has not moved: the network hardly learns."""
MOST_PRODUCTS, STEP_PRODUCTS = 5e8, 5e4
"""Products of a number with a weight that an untrained network may cost, some tenths of a second, and what the calls of one
time step count as."""


@dataclass(frozen=True)
class Advice:
    """Why, in plain words with numbers, and changed settings to try, best first; each makes another valid config."""

    cause: str
    tries: tuple[dict, ...] = ()


def advise(config: RunConfig, outcome: str, evidence: dict, *, overflow_iteration: int | None, iterations: int) -> Advice:
    """Explain an outcome and say what to try.

    Parameters
    ----------
    outcome : str
        A key of `OUTCOMES`.
    evidence : dict
        The run's.
    overflow_iteration : int or None
        Of the first event.
    iterations : int
        Iterations done.
    """
    cause, tries = _ADVISERS[outcome](config, evidence, overflow_iteration, iterations)
    possible, known = [], {config}
    for changes in tries:
        full = config.to_dict() | changes
        changes = changes | {name: None for name, field in FIELDS.items() if full[name] is not None and not field.applies(full)}
        try:
            changed = config.replace(**changes)
        except ConfigError:  # out of range
            continue
        if changed not in known:
            possible.append(changes)
            known.add(changed)
    return Advice(cause, tuple(possible))


def first_radius(config: RunConfig) -> float:
    """Return the largest spectral radius of the initial recurrent matrices."""
    return float(spectrum(recurrent_blocks(config, initial_parameters(config)))[0].max())


def _overflow(config, evidence, first, iterations):
    radius, n_steps = first_radius(config), TASKS[config.task].n_steps(config)
    smaller = {"weight_init_std": _round(config.weight_init_std / max(radius, 1.0))}
    tries = [_fans(config) | ADAM | CLIP, _fans(config) | _at_most(config, 0.1), smaller | CLIP | _at_most(config, 0.1)]
    where = f"at iteration {first:,}" if first else "on held-out samples"
    when = "in the first iteration" if first == 1 else where
    if config.activation in UNBOUNDED and radius > 1:
        return (
            f"The recurrent matrix started with a spectral radius of {radius:.2g}, and {config.activation} has no upper end: "
            f"hidden values can grow about {radius:.2g}-fold per step, {_power(radius, n_steps)}-fold over {n_steps} steps. "
            f"Numbers overflowed {when}.",
            tries,
        )
    if first == 1 or not iterations:
        return (
            f"Numbers overflowed {when}: the initial weights (spectral radius {radius:.2g}) make sums too large for exp.",
            tries,
        )
    return (
        f"Numbers overflowed {when}: updates with a learning rate of {config.learning_rate:g} made the weights too large; the "
        f"loss had started at {evidence['start_loss']:.3g}.",
        tries,
    )


def _diverged(config, evidence, first, iterations):
    times = evidence["held_out_loss"] / evidence["baseline"]
    return (
        f"The loss went from {evidence['start_loss']:.3g} to {evidence['held_out_loss']:.3g}, {times:.3g} times that of a "
        f"constant answer: updates with a learning rate of {config.learning_rate:g} overshoot.",
        [_fans(config) | ADAM, ADAM, _at_most(config, 0.1), {"learning_rate": _round(config.learning_rate / 10)}],
    )


def _unstable(config, evidence, first, iterations):
    return (
        f"The loss had come down to {evidence['best_loss']:.3g} and went back to {evidence['held_out_loss']:.3g}: steps that "
        "were right at first are too long near the solution, or one exploding gradient threw the weights away.",
        [ADAM, {"learning_rate": _round(config.learning_rate / 10)}, {"schedule": "cosine"}, CLIP],
    )


def _stalled(config, evidence, first, iterations):
    radius, n_steps = first_radius(config), TASKS[config.task].n_steps(config)
    deviation = _input_deviation(config)
    better = [_fans(config) | ADAM, _fans(config) | {"learning_rate": 0.1}, ADAM]
    if deviation > SATURATING and config.activation not in UNBOUNDED:
        return (
            f"The inputs of the units start with a standard deviation of about {deviation:.2g}: most units stand at the flat "
            f"ends of their functions, where gradients are nearly 0 (recurrent spectral radius {radius:.2g}).",
            better,
        )
    start = _untrained_loss(config)
    moved = abs(start - evidence["held_out_loss"])
    if moved < SLOW * start:
        return (
            f"The loss moved by {moved:.2g} only, from {start:.4g} to {evidence['held_out_loss']:.4g}: "
            f"{iterations:,} updates with a learning rate of {config.learning_rate:g} hardly change the answers.",
            better,
        )
    if config.cell in ("rnn", "lstm_cec") and n_steps >= LONG:
        return (
            f"A simple network has to carry the error back over up to {n_steps} steps, where it vanishes or explodes "
            f"(recurrent spectral radius {radius:.2g} at the start). Gates were invented for this.",
            [
                {"cell": "gru", "activation": None} | ADAM,
                {"cell": "lstm", "activation": None} | ADAM,
                {"init_scheme": "orthogonal", "weight_init_std": 1.0} | ADAM,
            ],
        )
    return (
        f"The loss, {evidence['held_out_loss']:.3g}, stayed near that of a constant answer, {evidence['baseline']:.3g}, for "
        f"{iterations:,} iterations.",
        better,
    )


def _learning(config, evidence, first, iterations):
    return (
        f"The loss came down from {evidence['start_loss']:.3g} to {evidence['held_out_loss']:.3g}, and "
        f"{evidence['accuracy']:.1%} of the answers are right: on its way, not there yet.",
        [ADAM, {"hidden_size": 2 * config.hidden_size}, {"n_iterations": 4 * config.n_iterations}],
    )


def _solved(config, evidence, first, iterations):
    return f"{evidence['accuracy']:.1%} of the held-out samples are answered right after {iterations:,} iterations.", []


_ADVISERS = {
    "overflow": _overflow,
    "diverged": _diverged,
    "unstable": _unstable,
    "stalled": _stalled,
    "learning": _learning,
    "solved": _solved,
}


def _input_deviation(config: RunConfig) -> float:
    """Return about the standard deviation of the units' inputs at the start; hidden values count as 1/2."""
    blocks = recurrent_blocks(config, initial_parameters(config))
    return float(np.sqrt(np.square(blocks).mean(axis=(-2, -1)).max() * config.hidden_size / 4))


def _untrained_loss(config: RunConfig) -> float:
    """Return the loss of the initial weights on the samples of `held_out_loss`; where that takes long, NaN.

    `start_loss` is that of a quarter of these samples: some percent off, many times what `SLOW` is about.
    """
    task = TASKS[config.task]
    per_step = count_parameters(config) + STEP_PRODUCTS * config.n_layers / samples_at_once(config)
    if per_step * task.n_steps(config) * HELD_OUT_SAMPLES > MOST_PRODUCTS:
        return math.nan
    samples = task.draw(stream(HELD_OUT_SEED, "held_out"), HELD_OUT_SAMPLES, config)
    return float(evaluate([config], initial_parameters(config)[None], samples)[1][0])


def _fans(config: RunConfig) -> dict:
    """Return the initial weights made for a network's activation."""
    wide = config.activation in ("relu", "leaky_relu", "elu", "softplus")
    return {"init_scheme": "he_normal" if wide else "xavier_normal", "weight_init_std": 1.0}


def _at_most(config: RunConfig, learning_rate: float) -> dict:
    """Return a learning rate that is not above a limit."""
    return {"learning_rate": min(_round(config.learning_rate), learning_rate)}


def _power(base: float, exponent: int) -> str:
    """Return a power as text, even where a float cannot hold it."""
    digits = exponent * math.log10(base)
    return f"{base**exponent:.2g}" if digits < 308 else f"1e+{digits:.0f}"


def _round(value: float) -> float:
    """Return a value with two significant digits."""
    return float(f"{value:.1e}")
