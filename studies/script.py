"""A run as a stand-alone script: plain NumPy, no Brink, only the parts that this run needs.

The script draws the same random numbers, writes the mathematics out as the textbooks do (a loop over time, products over batch
and units) and compares its losses with the saved ones. Sums are made in another order than the engine's, so that the last
digits differ.

Everything below is kept as templates: a line that ends in `#? a !b` stands in the script if the run has part `a` and has not
part `b`. Numbers come into a script as constants, through `repr` alone.
"""

import math
import string
import textwrap

import numpy as np

from engine import CURVES, OPTIMIZERS, TASKS, RunConfig, fitting
from engine.network import GATES, MATRICES, parameter_shapes
from engine.population import LOG_POINTS
from studies.errors import PlanError

TOLERANCES = {"float64": 1e-9, "float32": 1e-4}
"""Relative differences of losses that need no explanation: rounding (1e-16, 6e-8), multiplied by what training does to it."""
SLACK = 1000
"""How much farther than a twin with weights changed in their last digit a script may be: it rounds differently at every sum."""
SMALLEST = 1e-3
"""Differences of smaller losses are taken relative to this one: near 0 a loss is what is left of larger numbers."""
_COLUMNS = [CURVES.index("iteration"), CURVES.index("loss")]
_MEANINGS = {
    "SEED": "decides data and initial weights",
    "N_STEPS": "time steps of a sequence",
    "N_WORDS": "random 64-bit numbers behind one sample",
    "BATCH": "sequences in each iteration",
    "POOL_SIZE": "samples that are used again and again",
    "WEIGHT_INIT_STD": "multiplies the initial weights",
    "FORGET_BIAS": "keeps the forget gate open at first; it is not trained",
}
"""What a constant's name does not say."""

_HEAD = '''
"""A recurrent network learns to $title, in NumPy alone.

This is one run: the settings below, the random numbers of its seed, and the losses it had when it was saved.
Run it with `python script.py`; it trains the network again and compares.

What to expect: the same losses, but not the same bits. Here the sums are made in another order, which changes a
loss in its last digits, and training can multiply such a difference with every update. If it grows beyond
$tolerance, a second training from weights changed in their last digit shows how far rounding alone drives this
run apart: a run that converges hardly at all, an unstable one until nothing agrees. The exit code is 0 if the
losses agree, as far as that allows.

Shapes: T time steps, B sequences (the batch), I inputs, H hidden units, O outputs; `w` holds the weights.
"""
'''

_RANDOM = '''
def generator(*key):
    """Return the random numbers of one purpose: (0, 0) samples, (1, ...) weights, (3, 0) the pool of samples."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(SEED, spawn_key=key)))
'''

_TASKS = {
    "binary_addition": '''
def encode(words):
    """Take two numbers from each word; inputs are their bits, lowest first, targets the bits of their sum."""
    mask, place = np.uint64(2 ** (N_STEPS - 1) - 1), np.arange(N_STEPS, dtype=np.uint64)[:, None]
    a, b = words[:, 0] & mask, words[:, 0] >> np.uint64(32) & mask
    bits = [number >> place & np.uint64(1) for number in (a, b, a + b)]
    return np.stack(bits[:2], axis=-1).astype(DTYPE), bits[2][..., None].astype(DTYPE)
''',
    "bit_count": '''
def encode(words):
    """Take the words' bits as inputs, one a step; the target is how many of them are 1."""
    bits = np.stack([words[:, t // 64] >> np.uint64(t % 64) & np.uint64(1) for t in range(N_STEPS)])
    return bits[..., None].astype(DTYPE), bits.sum(axis=0)[None, :, None].astype(DTYPE)
''',
    "parity": '''
def encode(words):
    """Take the words' bits as inputs, one a step; the target is 1 if the number of ones is odd."""
    bits = np.stack([words[:, t // 64] >> np.uint64(t % 64) & np.uint64(1) for t in range(N_STEPS)])
    odd = bits.sum(axis=0) % np.uint64(2)
    return bits[..., None].astype(DTYPE), odd[None, :, None].astype(DTYPE)
''',
    "adding_problem": '''
def encode(words):
    """Inputs are (number, marker) at each step; the target is the sum of the two marked numbers.

    The first word chooses one step of each half; the halves of the others are the numbers, 23 bits each, below 1.
    """
    low, high = words & np.uint64(2**32 - 1), words >> np.uint64(32)
    numbers = np.stack([low[:, 1:], high[:, 1:]], axis=-1).reshape(len(words), -1)[:, :N_STEPS].T >> np.uint64(9)
    x = np.zeros((N_STEPS, len(words), 2), DTYPE)
    x[:, :, 0] = numbers * 2.0**-23
    n_early, each = N_STEPS // 2, np.arange(len(words))
    early = (low[:, 0] * np.uint64(n_early) >> np.uint64(32)).astype(int)
    late = n_early + (high[:, 0] * np.uint64(N_STEPS - n_early) >> np.uint64(32)).astype(int)
    x[early, each, 1] = x[late, each, 1] = 1
    return x, (x[early, each, 0] + x[late, each, 0])[None, :, None]
''',
    "copy_memory": '''
def encode(words):
    """Ten symbols (0 to 7), blanks (8), a delimiter (9), blanks; to be answered by blanks and then the symbols."""
    symbols = np.stack([words[:, 0] >> np.uint64(3 * k) & np.uint64(7) for k in range(10)])
    asked, answers = np.full((2, N_STEPS, len(words)), 8)
    asked[:10] = answers[-10:] = symbols
    asked[-11] = 9
    return np.eye(10, dtype=DTYPE)[asked], np.eye(9, dtype=DTYPE)[answers]
''',
    "temporal_order": '''
def encode(words):
    """Symbols X Y a b c d, one a step; X or Y stands once early and once later, and the target is their order.

    Each half of the first word says X or Y (its lowest bit) and where; the other words are the distractors.
    """
    two_bits = [words[:, 1 + t // 32] >> np.uint64(2 * t % 64) & np.uint64(3) for t in range(N_STEPS)]
    symbols, order, each = 2 + np.stack(two_bits).astype(int), 0, np.arange(len(words))
    for half, first, last in ((0, -(-N_STEPS // 10), 2 * N_STEPS // 10), (1, -(-4 * N_STEPS // 10), 5 * N_STEPS // 10)):
        word = (words[:, 0] >> np.uint64(32 * half) & np.uint64(2**32 - 1)).astype(int)
        is_y, place = word & 1, first + ((word >> 1) * (last - first + 1) >> 31)
        symbols[place, each] = is_y
        order = 2 * order + is_y
    return np.eye(6, dtype=DTYPE)[symbols], np.eye(4, dtype=DTYPE)[order][None]
''',
}

_SAMPLES = '''
def samples():
    """Yield one batch of inputs (T, B, I) and targets after another."""
    words = generator(0, 0).bit_generator
    pool = generator(3, 0).bit_generator.random_raw(POOL_SIZE * N_WORDS).reshape(POOL_SIZE, N_WORDS)  #? pool
    while True:
        yield encode(words.random_raw(BATCH * N_WORDS).reshape(BATCH, N_WORDS))  #? !pool
        yield encode(pool[words.random_raw(BATCH) % np.uint64(POOL_SIZE)])  #? pool
'''

_SCHEMES = {
    "normal": '''
def noise(rng, fan_in, fan_out):
    """Normal numbers, as the classic exercise has them."""
    return rng.standard_normal((fan_in, fan_out))
''',
    "normal_of": '''
def noise(rng, fan_in, fan_out):
    """Normal numbers with variance $variance: $source."""
    return np.sqrt($variance) * rng.standard_normal((fan_in, fan_out))
''',
    "uniform_of": '''
def noise(rng, fan_in, fan_out):
    """Even numbers with variance $variance: $source; those from -1 to 1 have 1/3."""
    return np.sqrt(3) * np.sqrt($variance) * rng.uniform(-1, 1, (fan_in, fan_out))
''',
    "orthogonal": '''
def noise(rng, fan_in, fan_out):
    """Orthonormal rows or columns: Saxe, McClelland & Ganguli (2014); the signs as Mezzadri (2007)."""
    q, r = np.linalg.qr(rng.standard_normal((max(fan_in, fan_out), min(fan_in, fan_out))))
    q = q * np.where(np.diag(r) < 0, -1, 1)
    return q if fan_in >= fan_out else q.T
''',
    "identity": '''
def noise(rng, fan_in, fan_out):
    """Small normal numbers beside a recurrent identity: Le, Jaitly & Hinton (2015)."""
    return 0.001 * rng.standard_normal((fan_in, fan_out))
''',
}
_FANS = {
    "xavier": ("2 / (fan_in + fan_out)", "Glorot & Bengio (2010)"),
    "he": ("2 / fan_in", "He et al. (2015)"),
    "lecun": ("1 / fan_in", "LeCun et al. (1998)"),
}

_WEIGHTS = '''
def matrix(fan_in, fan_out, *streams):
    """Return initial weights; each of the cell's gates has its own columns, drawn from a random stream of its own."""
    blocks = [noise(generator(1, *stream), fan_in, fan_out) for stream in streams]
    return (WEIGHT_INIT_STD * np.hstack(blocks)).astype(DTYPE)


def identities(n_gates):  #? identity
    """Return the recurrent weights: the identity for each gate."""  #? identity
    return (WEIGHT_INIT_STD * np.hstack([np.eye(N_HIDDEN)] * n_gates)).astype(DTYPE)  #? identity
  #? identity
  #? identity
def peepholes(*streams):  #? peephole
    """Return one weight for each gate and unit, the diagonal of a matrix."""  #? peephole
    noises = [noise(generator(1, *stream), N_HIDDEN, N_HIDDEN) for stream in streams]  #? peephole
    return (WEIGHT_INIT_STD * np.array([np.diag(values) for values in noises])).astype(DTYPE)  #? peephole
  #? peephole
  #? peephole
def initial_weights():
    """Return all weights by name; biases start at 0."""  #? bias
    """Return all weights by name."""  #? !bias
    return {
$weights
    }
'''

_LOGISTIC = '''
def logistic(u):
    """Return 1 / (1 + exp(-u)), the plain formula: exp overflows for large negative u, and the result is still 0."""
    return 1 / (1 + np.exp(-u))
'''

_ROWS = '''
def rows(a):
    """Return (T, B, n) as one row for each step and sequence, so that one product sums over both."""
    return a.reshape(-1, a.shape[-1])
'''

_ACTIVATIONS = {
    "sigmoid": ("logistic(u)", "h * (1 - h)"),
    "tanh": ("np.tanh(u)", "1 - h**2"),
    "relu": ("np.maximum(u, 0)", "np.sign(h)"),
    "leaky_relu": ("np.maximum(u, 0.01 * u)", "np.where(h > 0, 1, 0.01).astype(DTYPE)"),
    "elu": ("np.where(u < 0, np.expm1(np.minimum(u, 0)), u)", "1 + np.minimum(h, 0)"),
    "softplus": ("np.log1p(np.exp(u))", "-np.expm1(-h)"),
    "linear": ("u", "np.ones_like(h)"),
}
"""f(u), and f'(u) written by way of h = f(u)."""

_SIMPLE = '''
def f(u):
    """Return the activation of the hidden units: $activation."""
    return $function


def slope(h):
    """Return f'(u) by way of h = f(u)."""
    return $derivative
'''

_INPUT = """
    u = x @ w["W_in"] + w["b"]  #? bias
    u = x @ w["W_in"]  #? !bias
"""
_GRADIENTS = """
    dw = {"W_in": rows(x).T @ rows(delta), "W_rec": $recurrent}
    dw["b"] = rows(delta).sum(axis=0)  #? bias
"""
_RETURN = """
    return dw  #? !below
    return dw, delta @ w["W_in"].T  # and dL/dx, for what lies below  #? below
"""
_PLAIN_RECURRENT = "rows(h[1:-1]).T @ rows(delta[1:])"

_RNN = '''
def forward(w, x):
    """Return the states h of one layer, h[t + 1] after step t: u_t = x_t W_in + h_{t-1} W_rec, h_t = f(u_t)."""
$input
    h = np.zeros((N_STEPS + 1, BATCH, N_HIDDEN), DTYPE)
    for t in range(N_STEPS):
        h[t + 1] = f(u[t] + h[t] @ w["W_rec"] if t else u[t])  # the state before the first step is 0
    return h, None  # nothing but h is needed on the way back


def backward(w, x, h, kept, dh):
    """Return the weights' gradients from dL/dh: back-propagation through time, Werbos (1990).

    delta_t = dL/du_t = (dL/dh_t + delta_{t+1} W_rec^T) f'(u_t)
    """
    delta, back = np.zeros_like(dh), 0
    for t in reversed(range(N_STEPS)):
        delta[t] = (dh[t] + back) * slope(h[t + 1])
        back = delta[t] @ w["W_rec"].T
$gradients
$return
'''

_CAROUSEL = '''
def forward(w, x):
    """Return states h and c: g = tanh(x_t W_in + h_{t-1} W_rec), c_t = c_{t-1} + g, h_t = tanh(c_t)."""
$input
    h, c = np.zeros((2, N_STEPS + 1, BATCH, N_HIDDEN), DTYPE)  # h[t + 1] is the state after step t
    g = np.zeros_like(h[1:])
    for t in range(N_STEPS):
        g[t] = np.tanh(u[t] + h[t] @ w["W_rec"] if t else u[t])
        c[t + 1] = c[t] + g[t]
        h[t + 1] = np.tanh(c[t + 1])
    return h, g


def backward(w, x, h, g, dh):
    """Return the weights' gradients from dL/dh: the state hands its error dc on undiminished.

    dc_t = dc_{t+1} + dL/dh_t (1 - tanh(c_t)^2), delta_t = dL/du_t = dc_t (1 - g_t^2)
    """
    delta, back, dc = np.zeros_like(dh), 0, 0
    for t in reversed(range(N_STEPS)):
        dc = dc + (dh[t] + back) * (1 - h[t + 1] ** 2)
        delta[t] = dc * (1 - g[t] ** 2)
        back = delta[t] @ w["W_rec"].T
$gradients
$return
'''

_LSTM = '''
def forward(w, x):
    """Return the states h and c of one layer, and its gates.

    i, f, o = logistic(u), g = tanh(u), u = x_t W_in + h_{t-1} W_rec  #? forget !peephole
    i, f = logistic(u + p c_{t-1}), o = logistic(u + p c_t), g = tanh(u), u = x_t W_in + h_{t-1} W_rec  #? peephole
    i, o = logistic(u), g = tanh(u), u = x_t W_in + h_{t-1} W_rec  #? !forget
    c_t = f c_{t-1} + i g, h_t = o tanh(c_t)  #? forget
    c_t = c_{t-1} + i g, h_t = o tanh(c_t)  #? !forget
    """
$input
    h, c = np.zeros((2, N_STEPS + 1, BATCH, N_HIDDEN), DTYPE)  # h[t + 1] is the state after step t
    gates = []
    p_i, p_f, p_o = w["peephole"]  #? peephole
    for t in range(N_STEPS):
        u_t = u[t] + h[t] @ w["W_rec"] if t else u[t]
        i, f, o, g = np.split(u_t, 4, axis=1)  #? forget
        i, o, g = np.split(u_t, 3, axis=1)  #? !forget
        i, f, g = logistic(i + p_i * c[t]), logistic(f + FORGET_BIAS + p_f * c[t]), np.tanh(g)  #? peephole
        i, f, o, g = logistic(i), logistic(f + FORGET_BIAS), logistic(o), np.tanh(g)  #? forget !peephole
        i, o, g = logistic(i), logistic(o), np.tanh(g)  #? !forget
        c[t + 1] = f * c[t] + i * g  #? forget
        c[t + 1] = c[t] + i * g  #? !forget
        o = logistic(o + p_o * c[t + 1])  #? peephole
        h[t + 1] = o * np.tanh(c[t + 1])
        gates.append((i, f, o, g))  #? forget
        gates.append((i, o, g))  #? !forget
    return h, (c, gates)


def backward(w, x, h, kept, dh):
    """Return the weights' gradients from dL/dh: back-propagation through time, with the error dc of the cell state.

    dc_t = dc_{t+1} f_{t+1} + dL/dh_t o (1 - tanh(c_t)^2)  #? forget !peephole
    dc_t = dc_{t+1} f_{t+1} + delta_i p_i + delta_f p_f (of t + 1) + dL/dh_t o (1 - tanh(c_t)^2) + delta_o p_o  #? peephole
    dc_t = dc_{t+1} + dL/dh_t o (1 - tanh(c_t)^2)  #? !forget
    delta = dL/du: of a gate times y (1 - y), of g times 1 - g^2
    """
    (c, gates), delta, back, dc = kept, np.zeros((N_STEPS, BATCH, w["W_rec"].shape[1]), DTYPE), 0, 0
    p_i, p_f, p_o = w["peephole"]  #? peephole
    for t in reversed(range(N_STEPS)):
        (i, f, o, g), tanh_c, dh_t = gates[t], np.tanh(c[t + 1]), dh[t] + back  #? forget
        (i, o, g), tanh_c, dh_t = gates[t], np.tanh(c[t + 1]), dh[t] + back  #? !forget
        delta_o = dh_t * tanh_c * o * (1 - o)
        dc = dc + dh_t * o * (1 - tanh_c**2)
        dc = dc + delta_o * p_o  #? peephole
        delta_i = dc * g * i * (1 - i)
        delta_f = dc * c[t] * f * (1 - f)  #? forget
        delta_g = dc * i * (1 - g**2)
        delta[t] = np.hstack([delta_i, delta_f, delta_o, delta_g])  #? forget
        delta[t] = np.hstack([delta_i, delta_o, delta_g])  #? !forget
        dc = dc * f  #? forget !peephole
        dc = dc * f + delta_i * p_i + delta_f * p_f  #? peephole
        back = delta[t] @ w["W_rec"].T
$gradients
    delta_i, delta_f, delta_o, _ = np.split(delta, 4, axis=2)  #? peephole
    seen = (delta_i * c[:-1], delta_f * c[:-1], delta_o * c[1:])  #? peephole
    dw["peephole"] = np.array([rows(part).sum(axis=0) for part in seen])  #? peephole
$return
'''

_GRU = '''
def forward(w, x):
    """Return the states h of one layer, and what it keeps for the way back.

    z, r = logistic(x_t W_in + h_{t-1} W_rec), n = tanh(x_t W_in + (r h_{t-1}) W_rec), h_t = z h_{t-1} + (1 - z) n
    """
$input
    h, w_zr, w_n = np.zeros((N_STEPS + 1, BATCH, N_HIDDEN), DTYPE), *np.split(w["W_rec"], [2 * N_HIDDEN], axis=1)
    kept = np.zeros_like(h[1:])  # r_t h_{t-1}, which is 0 at the first step
    gates = []
    for t in range(N_STEPS):
        u_zr, u_n = np.split(u[t], [2 * N_HIDDEN], axis=1)
        z, r = np.split(logistic(u_zr + h[t] @ w_zr if t else u_zr), 2, axis=1)
        kept[t] = r * h[t]
        n = np.tanh(u_n + kept[t] @ w_n if t else u_n)
        h[t + 1] = n + z * (h[t] - n)
        gates.append((z, r, n))
    return h, (kept, gates)


def backward(w, x, h, kept, dh):
    """Return the weights' gradients from dL/dh: back-propagation through time; delta = dL/du."""
    delta, back, (kept, gates) = np.zeros((N_STEPS, BATCH, 3 * N_HIDDEN), DTYPE), 0, kept
    w_zr, w_n = np.split(w["W_rec"], [2 * N_HIDDEN], axis=1)
    for t in reversed(range(N_STEPS)):
        (z, r, n), dh_t = gates[t], dh[t] + back
        delta_z = dh_t * (h[t] - n) * z * (1 - z)
        delta_n = dh_t * (1 - z) * (1 - n**2)
        through_r = delta_n @ w_n.T
        delta_r = through_r * h[t] * r * (1 - r)
        delta[t] = np.hstack([delta_z, delta_r, delta_n])
        back = dh_t * z + through_r * r + delta[t, :, : 2 * N_HIDDEN] @ w_zr.T
    d_zr, d_n = np.split(delta, [2 * N_HIDDEN], axis=2)
    d_rec = np.hstack([rows(h[1:-1]).T @ rows(d_zr[1:]), rows(kept[1:]).T @ rows(d_n[1:])])
$gradients
$return
'''

_GRU_AFTER = '''
def forward(w, x):
    """Return the states h of one layer, and what it keeps for the way back.

    z, r = logistic(x_t W_in + h_{t-1} W_rec), n = tanh(x_t W_in + r q), h_t = z h_{t-1} + (1 - z) n
    with q = h_{t-1} W_rec + b_rec, so that the reset gate acts after the product
    """
$input
    h = np.zeros((N_STEPS + 1, BATCH, N_HIDDEN), DTYPE)
    gates, nothing = [], np.zeros((BATCH, 3 * N_HIDDEN), DTYPE)
    for t in range(N_STEPS):
        q_z, q_r, q = np.split(h[t] @ w["W_rec"] if t else nothing, 3, axis=1)
        u_z, u_r, u_n = np.split(u[t], 3, axis=1)
        q = q + w["b_rec"]  #? bias
        z, r = logistic(u_z + q_z), logistic(u_r + q_r)
        n = np.tanh(u_n + r * q)
        h[t + 1] = n + z * (h[t] - n)
        gates.append((z, r, n, q))
    return h, gates


def backward(w, x, h, gates, dh):
    """Return the weights' gradients from dL/dh: back-propagation through time.

    delta = dL/du, through = dL/d(h_{t-1} W_rec), which is delta but for n
    """
    delta, back = np.zeros((N_STEPS, BATCH, 3 * N_HIDDEN), DTYPE), 0
    through = np.zeros_like(delta)
    for t in reversed(range(N_STEPS)):
        (z, r, n, q), dh_t = gates[t], dh[t] + back
        delta_z = dh_t * (h[t] - n) * z * (1 - z)
        delta_n = dh_t * (1 - z) * (1 - n**2)
        delta_r = delta_n * q * r * (1 - r)
        delta[t] = np.hstack([delta_z, delta_r, delta_n])
        through[t] = np.hstack([delta_z, delta_r, delta_n * r])
        back = dh_t * z + through[t] @ w["W_rec"].T
$gradients
    dw["b_rec"] = rows(through)[:, 2 * N_HIDDEN :].sum(axis=0)  #? bias
$return
'''

_LAYER = '''
def of_layer(w, suffix):
    """Return the weights of one layer under their plain names."""
    return {name: w[name + suffix] for name in ($names)}
'''

_NETWORK = '''
def loss_and_gradients(w, x, d):
    """Return the loss of a batch with targets d, and its derivative by every weight."""
    p = x @ w["W_proj"] + w["b_proj"]  # the linear layer before the recurrent one  #? projection bias
    p = x @ w["W_proj"]  # the linear layer before the recurrent one  #? projection !bias
    h, kept = forward(w, x)  #? one !projection
    h, kept = forward(w, p)  #? one projection
    below, kept = [x], []  # what each layer sees, and what it keeps for the way back  #? layers !projection
    below, kept = [p], []  # what each layer sees, and what it keeps for the way back  #? layers projection
    for suffix in LAYERS:  #? layers
        h, own = forward(of_layer(w, suffix), below[-1])  #? layers
        below.append(h[1:])  #? layers
        kept.append((h, own))  #? layers
    top = h[-1:]  # only the last step is answered  #? last
    top = h[1:]  #? !last
    a = top @ w["W_out"] + w["b_out"]  #? bias
    a = top @ w["W_out"]  #? !bias
    y = logistic(a)  #? logistic
    loss = 0.5 * np.sum((y - d) ** 2) / BATCH  #? logistic half
    da = (y - d) * y * (1 - y) / BATCH  # dL/da  #? logistic half
    loss = np.sum(np.logaddexp(0, a) - a * d) / BATCH  # -log of the probability given to the truth  #? logistic !half
    da = (y - d) / BATCH  # dL/da  #? logistic !half
    loss = np.sum((a - d) ** 2) / BATCH  #? linear
    da = 2 * (a - d) / BATCH  # dL/da  #? linear
    total = np.exp(a).sum(axis=-1, keepdims=True)  # softmax: y = exp(a) / sum exp(a), cross-entropy -log y_d  #? softmax
    log_y = np.sum(a * d, axis=-1, keepdims=True) - np.log(total)  #? softmax
    loss = -np.sum(log_y) / (BATCH * N_STEPS)  # a mean over the steps  #? softmax mean
    da = (np.exp(a) / total - d) / (BATCH * N_STEPS)  # dL/da  #? softmax mean
    loss = -np.sum(log_y) / BATCH  #? softmax !mean
    da = (np.exp(a) / total - d) / BATCH  # dL/da  #? softmax !mean

    dh = da @ w["W_out"].T  #? !last
    dh = np.zeros_like(h[1:])  #? last
    dh[-1:] = da @ w["W_out"].T  #? last
    dw = backward(w, x, h, kept, dh)  #? one !below
    dw, dp = backward(w, p, h, kept, dh)  #? one below
    dw, dx = {}, dh  #? layers
    for layer in reversed(range(len(LAYERS))):  #? layers
        own, dx = backward(of_layer(w, LAYERS[layer]), below[layer], *kept[layer], dx)  #? layers
        dw |= {name + LAYERS[layer]: gradient for name, gradient in own.items()}  #? layers
    dw["W_proj"] = rows(x).T @ rows(dp)  #? projection one
    dw["b_proj"] = rows(dp).sum(axis=0)  #? projection one bias
    dw["W_proj"] = rows(x).T @ rows(dx)  #? projection layers
    dw["b_proj"] = rows(dx).sum(axis=0)  #? projection layers bias
    dw["W_out"] = rows(top).T @ rows(da)
    dw["b_out"] = rows(da).sum(axis=0)  #? bias
    return loss, dw
'''

_CLIPPING = """
    for name in w:  #? clip_value
        dw[name] = np.clip(dw[name], -CLIP_VALUE, CLIP_VALUE)  #? clip_value
    length = np.sqrt(sum(np.sum(gradient * gradient) for gradient in dw.values()))  #? clip_norm
    for name in w:  #? clip_norm
        dw[name] = dw[name] * (CLIP_NORM / np.maximum(length, CLIP_NORM))  # Pascanu, Mikolov & Bengio (2013)  #? clip_norm
    rate = LEARNING_RATE  #? constant
    rate = LEARNING_RATE * SCHEDULE_FACTOR ** ((t - 1) // SCHEDULE_EVERY)  #? step
    rate = LEARNING_RATE * 0.5 * (1 + math.cos(math.pi * (t - 1) / N_ITERATIONS))  # Loshchilov & Hutter (2017)  #? cosine
"""

_OPTIMIZERS = {
    "sgd": '''
def update(w, dw, t):
    """Make update t, counted from 1: gradient descent."""
$clipping
    for name in w:
        w[name] -= rate * dw[name]
''',
    "momentum": '''
def update(w, dw, v, t):
    """Make update t, counted from 1: gradient descent with the momentum v of Polyak (1964)."""
$clipping
    for name in w:
        v[name] = MOMENTUM * v[name] + dw[name]
        w[name] -= rate * v[name]
''',
    "nesterov": '''
def update(w, dw, v, t):
    """Make update t, counted from 1: Nesterov (1983) in the form of Sutskever et al. (2013)."""
$clipping
    for name in w:
        v[name] = MOMENTUM * v[name] + dw[name]
        w[name] -= rate * (dw[name] + MOMENTUM * v[name])
''',
    "adagrad": '''
def update(w, dw, s, t):
    """Make update t, counted from 1: Adagrad, Duchi, Hazan & Singer (2011); s sums the squares."""
$clipping
    for name in w:
        s[name] = s[name] + dw[name] * dw[name]
        w[name] -= rate * (dw[name] / (np.sqrt(s[name]) + EPSILON))
''',
    "rmsprop": '''
def update(w, dw, s, t):
    """Make update t, counted from 1: RMSProp, Tieleman & Hinton (2012); s is a running mean of the squares."""
$clipping
    for name in w:
        s[name] = RHO * s[name] + (1 - RHO) * dw[name] * dw[name]
        w[name] -= rate * (dw[name] / (np.sqrt(s[name]) + EPSILON))
''',
    "adam": '''
def update(w, dw, m, s, t):
    """Make update t, counted from 1: Adam, Kingma & Ba (2015); m and s are running means of gradient and square.

    Dividing by 1 - BETA**t frees them of their start at 0.
    """
$clipping
    for name in w:
        m[name] = BETA1 * m[name] + (1 - BETA1) * dw[name]
        s[name] = BETA2 * s[name] + (1 - BETA2) * dw[name] * dw[name]
        root = np.sqrt(s[name]) / math.sqrt(1 - BETA2**t)
        w[name] -= rate * (m[name] / (1 - BETA1**t) / (root + EPSILON))
''',
}
_STATES = {"sgd": "", "momentum": "v", "nesterov": "v", "adagrad": "s", "rmsprop": "s", "adam": "ms"}
"""One letter for each array that an optimizer keeps."""

_TRAIN = '''
def train(nudged=False):  #? saved
def train():  #? !saved
    """Train the network; yield iteration and mean loss since the last point at each point of the curve."""
    w, data, losses = initial_weights(), samples(), []
    if nudged:  #? saved
        w = {name: np.nextafter(values, np.inf) for name, values in w.items()}  #? saved
    $states = ({name: np.zeros_like(values) for name, values in w.items()} for _ in range(2))  #? two_states
    $states = {name: np.zeros_like(values) for name, values in w.items()}  #? one_state
    for t in range(1, $last + 1):
        loss, dw = loss_and_gradients(w, *next(data))
        update(w, dw, $passed)
        losses.append(float(loss))
        if t in $points:
            yield t, sum(losses) / len(losses)
            losses = []
'''

_COMPARE = '''
def apart(losses, others):
    """Return how far losses are from others at each point, relative to these.

    After an overflow the order of the operations decides between inf and NaN; here they are the same.
    """
    losses, others = np.array(losses), np.array(others)
    same = (losses == others) | ~(np.isfinite(losses) | np.isfinite(others))
    distance = np.where(same, 0, abs(losses - others) / np.maximum(abs(others), SMALLEST))
    return np.where(np.isnan(distance), np.inf, distance)


def compare(losses):
    """Say how far the losses are from the saved ones; return whether they agree."""
    distance, points = apart(losses, [*SAVED.values()]), [*SAVED]
    if np.array_equal(losses, [*SAVED.values()], equal_nan=True):
        print("identical to the saved losses")
        return True
    print(f"largest relative difference to the saved losses: {distance.max():.2g}, at iteration {points[distance.argmax()]:,}")
    if distance.max() <= TOLERANCE:
        return True
    print("training again from weights changed in their last digit, to see what rounding alone does to this run")
    drift = np.maximum.accumulate(apart([loss for _, loss in train(nudged=True)], losses))
    later = np.minimum(np.arange(len(losses)) + 5, len(losses) - 1)  # chance decides at which point exactly they part
    agrees = distance <= TOLERANCE + SLACK * drift[later]
    if agrees.all():
        print(f"as expected: this run is unstable, two trainings drift apart by {drift.max():.2g}")
    else:
        print(f"different: up to iteration {points[agrees.argmin()]:,} rounding explains {drift[agrees.argmin()]:.2g}")
    return bool(agrees.all())
'''

_MAIN = """
if __name__ == "__main__":
    np.seterr(all="ignore")  # a run that overflows does so here as well; without this line NumPy says where
    losses = []  #? saved
    for iteration, loss in train():
        print(f"iteration {iteration:>10,}  loss {loss:.12g}", flush=True)
        losses.append(loss)  #? saved
    sys.exit(0 if compare(losses) else 1)  #? saved
"""


_CELLS = {
    "rnn": (_RNN, _PLAIN_RECURRENT),
    "lstm_cec": (_CAROUSEL, _PLAIN_RECURRENT),
    "lstm_io": (_LSTM, _PLAIN_RECURRENT),
    "lstm": (_LSTM, _PLAIN_RECURRENT),
    "lstm_peephole": (_LSTM, _PLAIN_RECURRENT),
    "gru": (_GRU, "d_rec"),
    "gru_reset_after": (_GRU_AFTER, "rows(h[1:-1]).T @ rows(through[1:])"),
}
"""Functions of each cell, and its gradient of W_rec; h_0 is 0 and adds nothing."""


def numpy_script(run: dict) -> str:
    """Return a saved run as a stand-alone script in Python that needs only NumPy.

    Parameters
    ----------
    run : dict
        As `Store.run` returns it. Its config and its curves go into the script, none of its texts.

    Raises
    ------
    PlanError
        For a run that no script can be written for, with the setting that prevents it.
    """
    return script_of(RunConfig.from_dict(fitting(run["config"])), run["curves"])


def script_of(config: RunConfig, curves: np.ndarray | None = None) -> str:
    """Return the script of a run; without curves it trains to the end and compares with nothing.

    Parameters
    ----------
    config : RunConfig
    curves : array, shape (points, len(CURVES)), optional
        The curves that the run has: `RunResult.curves`. The script trains as far as they go.
    """
    saved = {} if curves is None else {int(t): float(loss) for t, loss in np.asarray(curves)[:, _COLUMNS].tolist()}
    parts = _parts(config, saved)
    values = _texts(config) | {"tolerance": f"{TOLERANCES[config.dtype]:g}"}
    values |= {"points": "SAVED", "last": "max(SAVED)"} if saved else {"points": "POINTS", "last": "N_ITERATIONS"}
    functions = [_RANDOM, _of(_TASKS, "task", config), _SAMPLES, _scheme(config), _WEIGHTS]
    functions += [_LOGISTIC] if parts & {"logistic", "gated"} or config.activation == "sigmoid" else []
    functions += [_ROWS, *([_SIMPLE] if config.cell == "rnn" else []), _cell(config), *([_LAYER] if "layers" in parts else [])]
    functions += [_NETWORK, _of(_OPTIMIZERS, "optimizer", config).replace("$clipping", _CLIPPING.strip("\n")), _TRAIN]
    functions += [_COMPARE] if saved else []
    head = [_filled(_HEAD, parts, values), "", *_imports(config, saved), "", *_constants(config, saved)]
    texts = ["\n".join(head), *(_filled(text, parts, values) for text in functions)]
    texts += ["\n".join(_saved_losses(saved))] if saved else []
    return "\n\n\n".join([*texts, _filled(_MAIN, parts, values)]) + "\n"


def _filled(template: str, parts: set[str], values: dict[str, str]) -> str:
    """Return a template with its values, and without the lines of parts that the run has not."""
    lines = []
    for line in string.Template(template.strip("\n")).substitute(values).splitlines():
        code, _, conditions = line.partition("  #? ")
        if all((name.removeprefix("!") in parts) != name.startswith("!") for name in conditions.split()):
            lines.append(code)
    return "\n".join(lines)


def _of(table: dict[str, str], setting: str, config: RunConfig):
    """Return the template of a setting's value, or refuse a value that has none."""
    value = getattr(config, setting)
    if value not in table:
        raise PlanError(f"{setting}: no script can be written for {value!r}, only for {' or '.join(table)}")
    return table[value]


def _parts(config: RunConfig, saved: dict) -> set[str]:
    """Return what a run has, by the names that the templates use."""
    task, n_states = TASKS[config.task], OPTIMIZERS[config.optimizer].n_states
    has = {
        "saved": saved,
        "bias": config.bias,
        "pool": config.pool_size,
        "identity": config.init_scheme == "identity",
        "gated": config.cell not in ("rnn", "lstm_cec"),
        "forget": config.forget_bias is not None,
        "peephole": config.cell == "lstm_peephole",
        "one": config.n_layers == 1,
        "layers": config.n_layers > 1,
        "projection": config.projection_size,
        "below": config.n_layers > 1 or config.projection_size,
        "last": task.n_answers(config) == 1,
        "mean": task.step_weight(config) != 1,
        "half": config.loss == "half_squared_error",
        "clip_norm": config.clip_norm is not None,
        "clip_value": config.clip_value is not None,
        "one_state": n_states == 1,
        "two_states": n_states == 2,
        task.output: True,
        config.schedule: True,
    }
    return {name for name, there in has.items() if there}


def _texts(config: RunConfig) -> dict[str, str]:
    """Return what the templates' placeholders stand for."""
    states = _STATES[config.optimizer]
    function, derivative = _of(_ACTIVATIONS, "activation", config) if config.activation else ("", "")
    names = tuple(name for name in parameter_shapes(config.replace(n_layers=1, projection_size=None)) if name[-3:] != "out")
    texts = {"title": TASKS[config.task].title, "weights": _weight_lines(config), "names": _spelled(names)}
    texts |= {"activation": config.activation or "", "function": function, "derivative": derivative}
    return texts | {"states": ", ".join(states), "passed": ", ".join((*states, "t"))}


def _scheme(config: RunConfig) -> str:
    """Return the function that draws noise."""
    base, _, kind = config.init_scheme.partition("_")
    if not kind:
        return _of(_SCHEMES, "init_scheme", config)
    variance, source = _FANS[base]
    return string.Template(_SCHEMES[f"{kind}_of"]).substitute(variance=variance, source=source)


def _cell(config: RunConfig) -> str:
    """Return the functions of the cell, with what all cells share in its place."""
    name = "gru_reset_after" if config.reset_after else config.cell
    if name not in _CELLS:
        raise PlanError(f"cell: no script can be written for {name!r}, only for {' or '.join(_CELLS)}")
    text, recurrent = _CELLS[name]
    shared = {"input": _INPUT, "gradients": _GRADIENTS.replace("$recurrent", recurrent), "return": _RETURN}
    return string.Template(text).substitute({name: part.strip("\n") for name, part in shared.items()})


def _weight_lines(config: RunConfig) -> str:
    """Return the entries of `initial_weights`: every parameter with its shape and random streams."""
    lines = []
    for name, weight in parameter_shapes(config).items():
        base, _, layer = name.rpartition("_") if name[-1].isdigit() else (name, "", "1")
        n_gates = len(weight.gates)
        streams = "" if weight.kind == "bias" else ", ".join(repr(_stream(base, int(layer) - 1, gate)) for gate in weight.gates)
        if weight.kind == "bias":
            value = f"np.zeros({weight.shape[0]}, DTYPE)"
        elif weight.kind == "peephole":
            value = f"peepholes({streams})"
        elif weight.kind == "recurrent" and config.init_scheme == "identity":
            value = f"identities({n_gates})"
        else:
            value = f"matrix({weight.shape[0]}, {weight.shape[1] // n_gates}, {streams})"
        lines.append(f'        "{name}": {value},')
    return "\n".join(lines)


def _stream(name: str, layer: int, gate: str) -> tuple[int, ...]:
    """Return the number of a matrix's random stream: matrix, layer and gate without trailing zeros, see `engine.network`."""
    number = [MATRICES.index(name), layer, GATES.index(gate) if gate else 0]
    while len(number) > 1 and number[-1] == 0:
        number.pop()
    return tuple(number)


def _imports(config: RunConfig, saved: dict) -> list[str]:
    """Return the import lines."""
    uses_math = config.schedule == "cosine" or config.optimizer == "adam"
    standard = [*(["import math"] if uses_math else []), *(["import sys"] if saved else [])]
    return [*standard, *([""] if standard else []), "import numpy as np"]


def _constants(config: RunConfig, saved: dict) -> list[str]:
    """Return the lines that name the settings."""
    task = TASKS[config.task]
    values = {"SEED": config.seed, "N_STEPS": task.n_steps(config), "N_WORDS": task.n_words(config), "BATCH": config.batch_size}
    values |= {"N_HIDDEN": config.hidden_size, "WEIGHT_INIT_STD": config.weight_init_std}
    values |= {"N_ITERATIONS": config.n_iterations} if config.schedule == "cosine" or not saved else {}
    names = ("pool_size", "forget_bias", "learning_rate", *OPTIMIZERS[config.optimizer].constants)
    names += ("schedule_every", "schedule_factor", "clip_value", "clip_norm")
    values |= {name.upper(): getattr(config, name) for name in names if getattr(config, name) is not None}
    if not config.pool_size:
        del values["POOL_SIZE"]
    lines = [f"{name} = {value!r}" + (f"  # {_MEANINGS[name]}" if name in _MEANINGS else "") for name, value in values.items()]
    lines.append(f"DTYPE = np.{config.dtype}")
    if config.n_layers > 1:
        suffixes = ("", *(f"_{layer}" for layer in range(2, config.n_layers + 1)))
        lines.append(f"LAYERS = ({_spelled(suffixes)})  # what the weights' names end in")
    if not saved:
        return [*lines, f"POINTS = {_points(config)}  # of the loss curve"]
    lines.append(f"TOLERANCE = {TOLERANCES[config.dtype]!r}  # relative differences of losses up to here need no explanation")
    lines.append(f"SMALLEST = {SMALLEST!r}  # differences of smaller losses are taken relative to this one")
    return [*lines, f"SLACK = {SLACK!r}  # rounding differs at every sum, not only in the initial weights"]


def _points(config: RunConfig) -> str:
    """Return how the script works out the points of a curve that it does not have."""
    return f"np.rint(np.linspace(0, N_ITERATIONS, {min(LOG_POINTS, config.n_iterations) + 1}))[1:]"


def _saved_losses(saved: dict[int, float]) -> list[str]:
    """Return the saved curve as literals with all their digits, as many on a line as fit."""
    items = [f"{t}: {_literal(loss)}" for t, loss in saved.items()]
    return ["SAVED = {  # iteration: mean loss since the one before", *_wrapped(items), "}"]


def _literal(number: float) -> str:
    return repr(number) if math.isfinite(number) else "np.nan" if math.isnan(number) else "np.inf" if number > 0 else "-np.inf"


def _spelled(names: tuple[str, ...]) -> str:
    """Return names as the inside of a tuple of strings."""
    return ", ".join(f'"{name}"' for name in names)


def _wrapped(items: list[str]) -> list[str]:
    """Return items as lines of a literal."""
    text = " ".join(item.replace(" ", "~") + "," for item in items)  # no break inside an item
    indent = " " * 4
    lines = textwrap.wrap(text, 120, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False)
    return [line.replace("~", " ") for line in lines]
