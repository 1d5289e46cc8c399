"""The works of `peers.py` in JAX: `jit` of `vmap` over the runs of `lax.scan` over the iterations.

Started by `peers.py` with a task as JSON, asked for rounds on standard input. The gradient is JAX's own. What is free for
JAX: compiling, drawing and encoding samples, moving data to the device, and finding out which of several ways to write the
program is fastest here (`WAYS`). What is timed: all updates, the mean loss at the log points, the loss of 1,000 held-out
samples, which go through the network in pieces that fit the cache.

What made no difference or harm when this was written (jax 0.10, AVX-512), and so is not tried each time: products as
elementwise sums (4 times slower), the input products of all steps at once for the small network, a backward pass by hand with
one product over all steps, donated buffers, floats instead of bytes as stored samples, 512-bit vectors, fast-math flags,
oneDNN and XNNPACK.
"""

import json
import sys
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh, PartitionSpec

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.peer_process import HELD_OUT_PIECES, fastest, load, n_points, serve

jax.config.update("jax_enable_x64", True)


class Way(NamedTuple):
    """One way to write the same training.

    Attributes
    ----------
    steps, iterations : int
        How many time steps and iterations the compiler sees at once: `unroll` of `lax.scan`.
    ahead : bool
        Whether the input products of all time steps are made at once.
    runs_last : bool
        Whether the runs are the last axis of all arrays instead of the first.
    group : int
        Runs trained to their end before the next group starts, so that their weights stay in the cache; 0 for all.
    """

    steps: int = 1
    iterations: int = 1
    ahead: bool = False
    runs_last: bool = False
    group: int = 0


WAYS = {
    "rnn": [
        Way(steps=8),
        Way(steps=8, iterations=2),
        Way(steps=8, runs_last=True),
        Way(),
        *(Way(8, group=n) for n in (64, 128)),
    ],
    "lstm": [Way(ahead=True), Way(steps=10, ahead=True), Way(steps=10)],
    "gru": [Way(), Way(ahead=True), Way(group=8), Way(steps=5, group=8)],
}
ASKED_RUNS = 8
"""Runs that are asked held-out samples together."""


def rnn(w: dict, u: jax.Array, state: tuple) -> tuple:
    """Return h of the simple network, given its input u = x W_in."""
    return (jax.nn.sigmoid(u + state[0] @ w["w_rec"]),)


def lstm(w: dict, u: jax.Array, state: tuple) -> tuple:
    """Return h and c; gates i, f, o, g."""
    i, f, o, g = jnp.split(u + state[0] @ w["w_rec"], 4, axis=-1)
    c = jax.nn.sigmoid(f) * state[1] + jax.nn.sigmoid(i) * jnp.tanh(g)
    return jax.nn.sigmoid(o) * jnp.tanh(c), c


def gru(w: dict, u: jax.Array, state: tuple) -> tuple:
    """Return h; gates z, r, n; the reset gate comes before the product."""
    (h,), size = state, state[0].shape[-1]
    z, r = jnp.split(jax.nn.sigmoid(u[..., : 2 * size] + h @ w["w_rec"][:, : 2 * size]), 2, axis=-1)
    n = jnp.tanh(u[..., 2 * size :] + (r * h) @ w["w_rec"][:, 2 * size :])
    return (n + z * (h - n),)


CELLS = {"rnn": rnn, "lstm": lstm, "gru": gru}


def loss(cell: str, way: Way, w: dict, x: jax.Array, d: jax.Array) -> jax.Array:
    """Return the loss of one run for inputs (T, B, I) and targets (K, B, 1)."""
    x, d = x.astype(w["w_rec"].dtype), d.astype(w["w_rec"].dtype)
    if "w_proj" in w:
        x = x @ w["w_proj"] + w["b_proj"]

    def feed(x):
        return x @ w["w_in"] + w["b"] if "b" in w else x @ w["w_in"]

    def step(state, x):
        state = CELLS[cell](w, x if way.ahead else feed(x), state)
        return state, jax.nn.sigmoid(state[0] @ w["w_out"]) if cell == "rnn" else None

    zeros = jnp.zeros((x.shape[1], w["w_rec"].shape[0]), x.dtype)
    state, y = lax.scan(step, (zeros,) * (2 if cell == "lstm" else 1), feed(x) if way.ahead else x, unroll=way.steps)
    if cell == "rnn":
        return 0.5 * jnp.square(y - d).sum((0, 2)).mean()
    return jnp.square(state[0] @ w["w_out"] + w["b_out"] - d[0]).mean()


def train(task: dict, way: Way, w: dict, x: jax.Array, d: jax.Array) -> tuple:
    """Train one run on x (N, T, B, I) and d (N, K, B, 1); return its weights and its log points."""

    def iteration(w, sample):
        value, gradient = jax.value_and_grad(partial(loss, task["cell"], way))(w, *sample)
        return jax.tree.map(lambda p, g: p - task["learning_rate"] * g, w, gradient), value

    w, losses = lax.scan(iteration, w, (x, d), unroll=way.iterations)
    return w, losses.reshape(n_points(len(losses)), -1).mean(1)


def train_all(task: dict, way: Way, w: dict, x: jax.Array, d: jax.Array, held_x: jax.Array, held_d: jax.Array) -> tuple:
    """Train all runs, then ask them held-out samples; return log points and held-out losses."""
    axis = -1 if way.runs_last else 0
    program = jax.vmap(partial(train, task, way), in_axes=axis, out_axes=(axis, 0))
    if way.group:
        parts = jax.tree.map(lambda a: a.reshape(-1, way.group, *a.shape[1:]), (w, x, d))
        results = lax.map(lambda part: program(*part), parts)
        w, points = jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:]), results)
    else:
        w, points = program(w, x, d)
    w = jax.tree.map(lambda a: jnp.moveaxis(a, axis, 0), w)
    pieces = tuple(jnp.stack(jnp.split(a, HELD_OUT_PIECES, axis=1)) for a in (held_x, held_d))

    def ask(w):
        return lax.map(lambda piece: loss(task["cell"], way, w, *piece), pieces).mean()

    return points, lax.map(ask, w, batch_size=ASKED_RUNS)


def spread(program):
    """Return a program that gives every device its share of the runs."""
    runs, whole = PartitionSpec("runs"), PartitionSpec()
    specs = {"in_specs": (runs, runs, runs, whole, whole), "out_specs": runs}
    return jax.shard_map(program, mesh=Mesh(np.array(jax.devices()), ("runs",)), check_vma=False, **specs)


def compiled(task: dict, way: Way, weights: dict, x: np.ndarray, d: np.ndarray, held_out: tuple):
    """Return a function without arguments that trains all runs; compiled and with its data in place."""
    axis = -1 if way.runs_last else 0
    program = partial(train_all, task, way)
    program = spread(program) if jax.device_count() > 1 else program
    arguments = (*jax.tree.map(lambda a: np.moveaxis(a, 0, axis), (weights, x, d)), *held_out)
    call = jax.jit(program).lower(*arguments).compile()
    arguments = jax.device_put(arguments, call.input_shardings[0])
    return lambda: jax.block_until_ready(call(*arguments))


def candidates(task: dict, n_runs: int) -> list[Way]:
    """Return the ways that are tried; "whole" leaves out groups, as `vmap` over all runs is what people write."""
    n_own, spreads = n_runs // jax.device_count(), jax.device_count() > 1
    ways = [way for way in WAYS[task["cell"]] if not way.group or (n_own % way.group == 0 and not task["whole"])]
    ways = [way for way in ways if not (way.runs_last and spreads)]
    return ways[:1] if task["quick"] else ways


def main() -> None:
    """Take a task, find the fastest way on an eighth of its iterations, and answer."""
    task = json.loads(sys.argv[1])
    weights, x, d, held_out = load(task)
    part, few = slice(0, max(1, x.shape[1] // 8)), tuple(a[:, :HELD_OUT_PIECES] for a in held_out)
    way = fastest(candidates(task, len(x)), lambda way: compiled(task, way, weights, x[:, part], d[:, part], few))
    run = compiled(task, way, weights, x, d, held_out)
    serve(lambda: np.asarray(run()[0]), about=f"jax {jax.__version__}", way=way)


if __name__ == "__main__":
    main()
