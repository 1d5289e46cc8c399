"""What a diagnosis shows, against central differences, plain loops of this file, NumPy's own functions and planted faults."""

import dataclasses
import functools
import itertools
from types import SimpleNamespace

import numpy as np
import pytest

import engine.population
from benchmarks.plain_loop import FUNCTIONS, train_plainly
from engine import ACTIVATIONS, CELLS, INIT_SCHEMES, OPTIMIZERS, QUANTILES, TASKS, Population, RunConfig, fitting, train
from engine.diagnosis import BINS, _described, diagnose, fitted_factor, looked_at, recurrent_blocks, spectrum
from engine.layout import n_parameters, unpack
from engine.network import initial_parameters, parameter_shapes
from engine.optimizers import SCHEDULES
from engine.randomness import HELD_OUT_SEED, stream
from engine.replay import Replay

GATED = [*({"cell": cell} for cell in CELLS if cell != "rnn"), {"cell": "gru", "reset_after": True}]
VARIANTS = [*({"cell": "rnn", "activation": name} for name in ACTIVATIONS), *GATED]
GATES = {"rnn": "g", "lstm_cec": "g", "lstm_io": "iog", "lstm": "ifog", "lstm_peephole": "ifog", "gru": "zrn"}
NAMES = {"i": "input gate", "f": "forget gate", "o": "output gate", "g": "cell input"}
NAMES |= {"z": "update gate", "r": "reset gate", "n": "candidate", "c": "cell state", "h": "hidden state"}
F = {name: function for name, (function, _) in FUNCTIONS.items()}
F |= {"elu": lambda u: np.where(u > 0, u, np.exp(np.minimum(u, 0)) - 1), "softplus": lambda u: np.log(1 + np.exp(u))}
sigma = F["sigmoid"]


@pytest.fixture(autouse=True)
def _nothing_is_printed_or_changed(capfd):
    before = np.geterr()
    yield
    assert (capfd.readouterr(), np.geterr()) == (("", ""), before)


def watched(config, n):
    """Train a run up to its n-th iteration; return weights, gradients, errors and data of that one, and the weights after."""
    replay, seen = Replay(config), SimpleNamespace()

    def before(work):
        network = work.network
        seen.weights, seen.gradients = replay.parameters[0].copy(), work.gradients[0].copy()
        seen.errors = np.array([cell.dh[:, :, 0] for cell in network.cells])
        seen.x, seen.target = network.x[:, :, 0].copy(), network.readout.target[:, :, 0].copy()

    def after(work):
        seen.after = replay.parameters[0].copy()

    replay.look([n], before, after)
    replay.advance_to(n)
    return seen


def by_name(config, flat):
    return {name: values[0] for name, values in unpack(flat[None], parameter_shapes(config)).items()}


def plain_layer(config, w, x, bumps):
    """Return what a layer makes of x (T, N, I), by name: u, h, gates and tanh of the cell state; bumps are added to h_t."""
    names, h, c, made = GATES[config.cell], np.zeros((x.shape[1], config.hidden_size)), 0.0, []
    w_in, w_rec, b = (
        dict(zip(names, np.split(w[name], len(names), -1), strict=True)) if name in w else dict.fromkeys(names, 0.0)
        for name in ("W_in", "W_rec", "b")
    )
    peep = dict(zip("ifo", w.get("peephole", np.zeros(3)), strict=True))
    for x_t, bump in zip(x, bumps, strict=True):
        u = {gate: x_t @ w_in[gate] + b[gate] for gate in names}
        full = {gate: u[gate] + h @ w_rec[gate] for gate in names}
        now = {"u": full[names[-1]]}
        if config.cell == "rnn":
            h = F[config.activation](full["g"])
        elif config.cell == "gru":
            z, r = sigma(full["z"]), sigma(full["r"])
            back = r * (h @ w_rec["n"] + w.get("b_rec", 0.0)) if config.reset_after else (r * h) @ w_rec["n"]
            n = np.tanh(u["n"] + back)
            h, now = z * h + (1 - z) * n, now | {"z": z, "r": r, "n": n}
        else:
            i = sigma(full["i"] + peep["i"] * c) if "i" in names else 1.0
            f = sigma(full["f"] + peep["f"] * c + config.forget_bias) if "f" in names else 1.0
            g = np.tanh(full["g"])
            c = f * c + i * g
            o = sigma(full["o"] + peep["o"] * c) if "o" in names else 1.0
            h, now = o * np.tanh(c), now | {"i": i, "f": f, "o": o, "g": g, "c": np.tanh(c)}
        h = h + bump
        made.append(now | {"h": h})
    return {name: np.array([now[name] for now in made]) for name in made[0]}


def plain(config, flat, x, bumps=None):
    """Return what all layers make of x (T, N, I), and the answers (K, N, O)."""
    w, task, made = by_name(config, flat), TASKS[config.task], []
    x = x @ w["W_proj"] + w.get("b_proj", 0.0) if config.projection_size else x
    for layer, bump in enumerate(np.zeros((config.n_layers, len(x), 1, 1)) if bumps is None else bumps):
        suffix = f"_{layer + 1}" if layer else ""
        own = {name: w[name + suffix] for name in ("W_in", "W_rec", "b", "b_rec", "peephole") if name + suffix in w}
        made.append(plain_layer(config, own, x, bump))
        x = made[-1]["h"]
    a = x[-task.n_answers(config) :] @ w["W_out"] + w.get("b_out", 0.0)
    if task.output == "softmax":
        return made, np.exp(a) / np.exp(a).sum(-1, keepdims=True)
    return made, sigma(a) if task.output == "logistic" else a


def plain_losses(config, y, d):
    """Return the loss of each sequence: (K, N, O) -> (N,)."""
    if config.loss == "cross_entropy":
        misses = np.log(1 - y) * (1 - d) if TASKS[config.task].output == "logistic" else 0
        return -(np.log(y) * d + misses).sum(axis=(0, 2))
    return {"half_squared_error": 0.5, "mean_squared_error": 1.0}[config.loss] * ((y - d) ** 2).sum(axis=(0, 2))


# Gradients through time

STEP, POINTS = 5e-4, {1: 45 / 60, -1: -45 / 60, 2: -9 / 60, -2: 9 / 60, 3: 1 / 60, -3: -1 / 60}
QUESTIONS = [{"bits": 5}, {"bits": 4, "loss": "cross_entropy"}]
QUESTIONS += [{"task": "bit_count", "length": 6}, {"task": "temporal_order", "length": 10}]


def differences(config, seen):
    """Return dL/dh_t by moving one hidden value at a time, (L, T, B, H), and whether a unit crossed a kink on the way."""
    n_steps, n_samples, _ = seen.x.shape
    places = list(itertools.product(range(config.n_layers), range(n_steps), range(config.hidden_size)))
    n = len(places) * len(POINTS)
    bumps = np.zeros((config.n_layers, n_steps, n, n_samples, config.hidden_size))
    for row, ((layer, t, unit), point) in enumerate(itertools.product(places, POINTS)):
        bumps[layer, t, row, :, unit] = point * STEP
    made, y = plain(config, seen.weights, np.tile(seen.x, (1, n, 1)), bumps.reshape(*bumps.shape[:2], -1, config.hidden_size))
    losses = plain_losses(config, y, np.tile(seen.target, (1, n, 1))).reshape(len(places), len(POINTS), n_samples)
    above = np.array([layer["u"] > 0 for layer in made]).reshape(bumps.shape)
    crossed = config.activation in ("relu", "leaky_relu", "elu") and (above != above[:, :, :1]).any()
    slopes = np.tensordot(list(POINTS.values()), losses, (0, 1)) / STEP / n_samples
    return slopes.reshape(config.n_layers, n_steps, config.hidden_size, n_samples).transpose(0, 1, 3, 2), crossed


@pytest.mark.parametrize("n_layers", [1, 2, 3])
@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_errors_of_hidden_values_equal_central_differences(variant, n_layers):
    """A value is moved after it was computed; the second iteration, where biases are no longer 0."""
    for number, question in enumerate(QUESTIONS):
        settings = variant | question | {"n_layers": n_layers, "batch_size": 1 + (number + n_layers) % 4, "hidden_size": 3}
        config = RunConfig(**settings, bias=True, init_scheme="lecun_normal", n_iterations=2)
        for seed in range(1, 40):
            seen = watched(config.replace(seed=seed), 2)
            expected, crossed = differences(config, seen)
            if not crossed and np.abs(expected).max() > 1e-3:
                break
        else:
            raise AssertionError("found no data that keeps every unit away from its kink")
        np.testing.assert_allclose(seen.errors, expected, rtol=1e-6, atol=1e-10, err_msg=str(config))
        found = diagnose(config.replace(seed=seed), 2)
        lengths = np.sqrt((expected**2).sum(axis=(2, 3)))
        np.testing.assert_allclose(found.error_norms[1], lengths, rtol=1e-6, atol=1e-10)
        loss = plain_losses(config, plain(config, seen.weights, seen.x)[1], seen.target).mean()
        np.testing.assert_allclose(found.loss[1], loss, rtol=1e-10)
        np.testing.assert_array_equal(found.factors, fitted_factor(found.error_norms))


def test_the_factor_of_norms_that_change_evenly_is_exact():
    rng, back = np.random.default_rng(0), np.arange(30)[::-1]
    factors = np.exp(rng.uniform(-3, 3, (4, 3)))
    np.testing.assert_allclose(fitted_factor(rng.uniform(0.1, 9, (4, 3, 1)) * factors[..., None] ** back), factors, rtol=1e-12)
    for factor in (1e-10, 1e10):  # from 1e-300 to 1e280 and the other way round
        assert fitted_factor(factor ** (back - 15.0) * 1e-10) == pytest.approx(factor, rel=1e-12)
    np.testing.assert_array_equal(fitted_factor([[1e-300, 1e300], [1e300, 1e-300]]), [0, np.inf])


def test_the_factor_is_that_of_a_straight_line_through_the_logarithms_that_exist():
    rng = np.random.default_rng(1)
    for n_steps in rng.integers(2, 40, 200):
        norms = np.exp(rng.normal(0, rng.uniform(0, 100), n_steps))
        known = rng.random(n_steps) < rng.uniform(0.2, 1)
        norms[~known] = rng.choice([0.0, np.nan, np.inf, -np.inf], (~known).sum())
        if known.sum() < 2:
            assert np.isnan(fitted_factor(norms))
            continue
        slope = np.polyfit(np.flatnonzero(known), np.log(norms[known]), 1)[0]
        assert np.log(fitted_factor(norms)) == pytest.approx(-slope, rel=1e-9, abs=1e-9)
    assert np.isnan(fitted_factor(np.array([[np.nan, 0.0], [2.0, np.inf]]))).all()


# Spectrum


@pytest.mark.parametrize("scale", [1.0, 1e200, 1e-200, 1e-310])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_the_spectrum_is_what_numpy_says_of_each_matrix(dtype, scale):
    rng = np.random.default_rng(0)
    for size in (1, 2, 5, 33):
        matrices = rng.standard_normal((3, 2, size, size)).astype(dtype)
        radius, singular = spectrum(matrices if scale == 1 else matrices * np.float64(scale))
        matrices = matrices.astype(float)
        np.testing.assert_allclose(radius, np.abs(np.linalg.eigvals(matrices)).max(-1) * scale, rtol=1e-8)
        np.testing.assert_allclose(singular, np.linalg.norm(matrices, 2, axis=(-2, -1)) * scale, rtol=1e-8)


def test_the_spectrum_of_matrices_known_by_heart():
    matrices = np.array([[[0, 3.0], [0, 0]], [[0, -2.0], [2.0, 0]], [[0.5, 7.0], [0, -0.7]], [[0, 0], [0, 0.0]]])
    radius, singular = spectrum(matrices)
    np.testing.assert_allclose(radius, [0, 2, 0.7, 0], atol=1e-12)
    np.testing.assert_allclose(singular[[0, 1, 3]], [3, 2, 0], atol=1e-12)
    assert [value.tolist() for value in spectrum(np.full((2, 2), 1.5e308))] == [np.inf, np.inf]
    for bad in (np.nan, np.inf, -np.inf):
        matrices[1, 0, 0] = bad
        for values in spectrum(matrices):
            assert np.isnan(values).tolist() == [False, True, False, False]


@pytest.mark.parametrize("variant", VARIANTS[6:], ids=str)
@pytest.mark.parametrize("n_layers", [1, 2, 4])
def test_the_recurrent_matrix_of_each_gate_and_layer_is_looked_at(variant, n_layers):
    config = RunConfig(**variant, n_layers=n_layers, hidden_size=3, bias=True, projection_size=2, n_iterations=1)
    flat = np.random.default_rng(0).permutation(n_parameters(parameter_shapes(config))).astype(float)
    for parameters in (flat, initial_parameters(config)):
        w = by_name(config, parameters)
        wide = [w["W_rec"], *(w[f"W_rec_{layer}"] for layer in range(2, n_layers + 1))]
        expected = np.array([[matrix[:, 3 * g : 3 * g + 3] for g in range(len(GATES[config.cell]))] for matrix in wide])
        np.testing.assert_array_equal(recurrent_blocks(config, parameters), expected)
    found = diagnose(config, 1)
    np.testing.assert_allclose(found.radius[0], np.abs(np.linalg.eigvals(expected)).max(-1), rtol=1e-10)
    np.testing.assert_allclose(found.singular[0], np.linalg.norm(expected, 2, axis=(-2, -1)), rtol=1e-10)
    assert found.gates == (("hidden state",) if config.cell == "rnn" else tuple(NAMES[gate] for gate in GATES[config.cell]))


# Units and states, against the plain pass of all held-out samples

ENDS = {"sigmoid": (0.1, 0.9), "tanh": (-0.8, 0.8), "relu": (0.0, np.nan), "elu": (-0.9, np.nan)}


def held_out(config, n):
    task = TASKS[config.task]
    return task.encode(task.draw(stream(HELD_OUT_SEED, "held_out"), n, config), config)


@pytest.mark.parametrize(
    "question",
    [
        {"bits": 5, "weight_init_std": 1.3, "bias": True, "n_layers": 2},
        {"task": "adding_problem", "length": 6, "weight_init_std": 0.8, "projection_size": 3, "n_layers": 3},
    ],
    ids=["bits", "adding"],
)
@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_shares_at_the_ends_states_and_answers_are_those_of_a_plain_pass(variant, question):
    config = RunConfig(**variant, **question, hidden_size=4, learning_rate=1.0, clip_norm=0.1, n_iterations=2)
    found, (inputs, targets) = diagnose(config, 2), held_out(config, 1000 if config.activation == "relu" else 250)
    made, y = plain(config, watched(config, 2).weights, inputs)
    units = "h" if config.cell == "rnn" else GATES[config.cell] + "c" * ("lstm" in config.cell)
    assert found.units == tuple(NAMES[unit] for unit in units)
    assert found.low.shape == found.high.shape == (2, config.n_layers, len(units))
    for layer, unit in itertools.product(range(config.n_layers), units):
        low, high = ENDS.get(config.activation or ("tanh" if unit in "gnc" else "sigmoid"), (np.nan, np.nan))
        values = made[layer][unit]
        expected = [np.nan if low != low else np.mean(values <= low), np.nan if high != high else np.mean(values >= high)]
        shares = [shares[1, layer, units.index(unit)] for shares in (found.low, found.high)]
        np.testing.assert_allclose(shares, expected, rtol=1e-9, atol=1e-12)
        dead = (values == 0).all(axis=(0, 1)).mean() if config.activation == "relu" else np.nan
        np.testing.assert_array_equal(found.dead[1, layer], dead)
        np.testing.assert_allclose(found.states[1, layer], made[layer]["h"][:, 0], rtol=1e-10, atol=1e-12)
    assert config.activation not in (None, *ENDS) or 0.01 < np.nansum([found.low, found.high]) / found.low.size < 1.5
    np.testing.assert_allclose(found.answers[1], y[:, 0], rtol=1e-10)
    np.testing.assert_array_equal(found.inputs, inputs[:, 0])
    np.testing.assert_array_equal(found.targets, targets[:, 0])


@pytest.fixture
def plant(monkeypatch):
    """Let runs start from weights given by name; all others are 0."""

    def start(config, **values):
        parts = [np.broadcast_to(values.get(name, 0.0), w.shape).ravel() for name, w in parameter_shapes(config).items()]
        monkeypatch.setattr(engine.population, "initial_parameters", lambda config: np.concatenate(parts))

    return start


def test_relu_units_that_never_answer_are_dead(plant):
    config = RunConfig(activation="relu", hidden_size=4, n_iterations=1)
    plant(config, W_in=[[1.0, -100, 1, -1], [1, -100, -1, -1]], W_rec=np.eye(4), W_out=0.1)  # x is 0 or 1
    assert diagnose(config, 1).dead.tolist() == [[0.5]]
    assert np.isnan(diagnose(config.replace(activation="leaky_relu"), 1).dead).all()


def test_a_relu_unit_that_a_single_held_out_sample_wakes_up_is_not_dead(plant):
    config = RunConfig(task="adding_problem", length=3, activation="relu", hidden_size=2, bias=True, n_iterations=1)
    largest = np.sort(held_out(config, 1000)[0][..., 0].max(axis=0))[-2:]
    assert held_out(config, 250)[0][..., 0].max() < largest[1]
    plant(config, W_in=[[1.0, 1.0], [0, 0]], b=[-largest.mean(), -largest[1]])
    assert diagnose(config, 1).dead.tolist() == [[0.5]]


def test_a_relu_unit_that_is_not_a_number_is_not_dead(plant):
    """The first two grow out of range together; the third sees inf - inf."""
    config = RunConfig(task="bit_count", length=10, activation="relu", hidden_size=3, n_iterations=1)
    plant(config, W_in=[[1.0, 1.0, -1.0]], W_rec=[[1e300, 0, 1], [0, 1e300, -1], [0, 0, 0]], W_out=1.0)
    found = diagnose(config, 1)
    assert not found.result.evidence["weights_finite"]
    assert found.dead.tolist() == [[0.0]]
    assert np.isnan(found.update_ratio).any()


# Parameters, gradients, steps


def check_described(values, quantiles, counts, edges):
    """Compare with the finite values, sorted: no quantile is more than half a place off."""
    ordered = np.sort(values[np.isfinite(values)])
    n, (n_bins,) = len(ordered), counts.shape
    for share, quantile in zip(QUANTILES, quantiles, strict=True):
        assert np.abs(np.flatnonzero(ordered == quantile) + 1 - max(1, share * n)).min() <= 0.5
    assert (counts.sum(), n_bins, len(edges)) == (n, BINS, BINS + 1)
    assert edges[0] <= ordered[0] <= ordered[-1] <= edges[-1]
    assert ordered[0] == ordered[-1] or (edges[0], edges[-1]) == (ordered[0], ordered[-1])
    assert counts.tolist() == np.histogram(ordered, edges)[0].tolist()


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("variant", VARIANTS[::2], ids=str)
def test_steps_weights_biases_and_gradients_are_described(variant, bias):
    config = RunConfig(**variant, bias=bias, n_layers=2, hidden_size=5, projection_size=3, n_iterations=2, weight_init_std=0.3)
    config = config.replace(optimizer="adam", learning_rate=0.01, clip_norm=0.01)
    found, seen = diagnose(config, 2), watched(config, 2)
    weights, after = by_name(config, seen.weights), by_name(config, seen.after)
    assert found.parameters == tuple(weights)
    lengths = [np.linalg.norm(weights[name] - after[name]) / np.linalg.norm(after[name]) for name in weights]
    np.testing.assert_allclose(found.update_ratio[1], lengths, rtol=1e-8, atol=1e-14)
    kinds = {"weights": [weights[name].ravel() for name in weights if name[0] != "b"]}
    kinds |= {"biases": [weights[name] for name in weights if name[0] == "b"]} if bias else {}
    kinds |= {"gradients": [seen.gradients]}
    assert list(found.quantiles) == list(found.histograms) == list(kinds)
    for kind, parts in kinds.items():
        counts, edges = found.histograms[kind]
        check_described(np.concatenate(parts), found.quantiles[kind][1], counts[1], edges[1])


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_any_numbers_are_described(dtype):
    rng, limits = np.random.default_rng(0), np.finfo(dtype)
    sizes, scales = (1, 2, 3, 19, 1000), (1.0, limits.smallest_subnormal, limits.tiny, limits.max / 8)
    examples = [rng.normal(0, 1, n).clip(-7, 7) * scale for n, scale in itertools.product(sizes, scales)]
    examples += [np.append(numbers, [np.nan, np.inf, -np.inf]) for numbers in examples]
    examples += [np.full(25, value) for value in (0.0, -3.0, 1e-30, limits.max, -limits.max)]
    for numbers in [*examples, np.array([-limits.max, 0, limits.max])]:
        check_described(numbers.astype(dtype), *_described(numbers.astype(dtype)))
    quantiles, counts, edges = _described(np.array([np.nan, np.inf], dtype))
    assert (np.isnan([*quantiles, *edges]).all(), counts.any()) == (True, False)


# Which iterations


@pytest.mark.parametrize("n_iterations", [1, 2, 3, 40, 50, 1000, 10_000, 10_000_000])
def test_iterations_are_spread_evenly_and_denser_at_the_start(n_iterations):
    places = looked_at(n_iterations)
    assert (places[0], places[-1], places) == (1, n_iterations, sorted(set(places)))
    assert np.diff([0, *places]).max() <= np.ceil(n_iterations / 39) + 1
    assert len(places) == n_iterations if n_iterations <= 40 else 40 <= len(places) <= 65
    assert n_iterations < 1000 or (np.array(places) < n_iterations / 40).sum() > 5


@pytest.mark.parametrize(("n_iterations", "event"), [(1, 1), (2, 2), (50, 50), (5000, 1), (5000, 7), (5000, 4321)])
def test_the_iterations_before_an_overflow_are_looked_at(n_iterations, event):
    places = looked_at(n_iterations, event)
    assert places == sorted({*looked_at(n_iterations), *range(max(1, event - 20), event + 1)})
    if n_iterations < 100:
        assert diagnose(RunConfig(n_iterations=n_iterations), n_iterations, event).iterations.tolist() == places


def test_losses_are_those_of_the_plain_loop():
    config = RunConfig(n_iterations=300)
    found = diagnose(config, 300, 200)
    losses = np.array(train_plainly(config, 300)[0])
    np.testing.assert_allclose(found.loss, losses[found.iterations - 1], rtol=1e-9)


# The bits


def bits_of(result):
    """Return everything a result holds but its time."""
    values = {f.name: getattr(result, f.name) for f in dataclasses.fields(result) if f.name not in ("seconds", "curves")}
    return repr(values), np.where(np.isnan(result.curves), np.nan, result.curves).tobytes()


@functools.cache
def trained(number):
    """Return a random run's result; each cell meets each task, every third run is wild: numbers overflow."""
    rng, tasks, cells = np.random.default_rng(number), list(TASKS), list(CELLS)

    def pick(*values):
        return values[rng.integers(len(values))]

    task, wild = tasks[number % len(tasks)], rng.integers(3) == 0
    values = {"task": task, "cell": cells[number // len(tasks) % len(cells)], "loss": pick(*TASKS[task].losses)}
    values |= {"bits": int(rng.integers(2, 7)), "length": (TASKS[task].shortest or 0) + int(rng.integers(1, 6))}
    values |= {"hidden_size": pick(1, 2, 3, 8, 33), "n_layers": pick(1, 1, 2, 3), "batch_size": pick(1, 2, 3, 40)}
    values |= {"activation": list(ACTIVATIONS)[number % len(ACTIVATIONS)], "projection_size": pick(None, None, 3)}
    values |= {"reset_after": pick(True, False), "pool_size": pick(0, 0, 7)}
    values |= {"bias": pick(True, False), "dtype": pick("float64", "float32"), "n_iterations": int(rng.integers(1, 9))}
    values |= {"optimizer": pick(*OPTIMIZERS), "schedule": pick(*SCHEDULES), "seed": number}
    values |= {"init_scheme": pick(*INIT_SCHEMES), "clip_norm": pick(None, 0.1), "clip_value": pick(None, None, 0.01)}
    values |= {"weight_init_std": 10 ** rng.uniform(1, 6) if wild else 0.5, "learning_rate": 1e6 if wild else 0.1}
    return train([RunConfig(**fitting(values))])[0]


@pytest.mark.parametrize("number", range(54))
def test_a_diagnosis_leaves_the_bits_as_they_are_and_tells_how_far_it_is(number):
    result, shares = trained(number), []
    event = result.overflow.iteration if result.overflow else None
    found = diagnose(result.config, result.iterations, event, shares.append)
    assert bits_of(found.result) == bits_of(result)
    assert (sorted(shares), shares[-1]) == (shares, 1)
    assert found.iterations.tolist() == list(range(1, result.iterations + 1))


def test_the_runs_above_are_of_every_kind():
    results = [trained(number) for number in range(54)]
    configs = [result.config for result in results]
    for name, known in {"task": TASKS, "cell": CELLS, "optimizer": OPTIMIZERS, "schedule": SCHEDULES}.items():
        assert {getattr(config, name) for config in configs} == set(known), name
    assert {config.activation for config in configs} == {None, *ACTIVATIONS}
    assert sum(result.overflow is not None for result in results) >= 10
    assert sum(not result.evidence["weights_finite"] for result in results) >= 3
    assert sum(config.batch_size * config.hidden_size >= 1024 for config in configs) >= 3  # those train without company


@pytest.mark.parametrize("variant", [{"cell": "rnn", "activation": "softplus"}, {"cell": "rnn"}, {"cell": "lstm"}], ids=str)
def test_a_run_that_was_stopped_has_the_same_bits_and_curve_as_far_as_it_went(variant):
    config = RunConfig(**variant, n_iterations=400, hidden_size=4, optimizer="adam", schedule="cosine")
    population = Population([config]).advance(130)
    population.stop()
    (result,) = population.results().values()
    assert (result.status, len(result.curves)) == ("stopped", 32)
    assert bits_of(diagnose(config, 130).result) == bits_of(result)


def test_a_run_that_lost_its_weights_is_looked_at_up_to_there():
    """Its first overflow is that of iteration 32; it goes on to 35, where five of 28 gradients are not finite any more."""
    config = RunConfig(bits=20, activation="softplus", hidden_size=4, weight_init_std=0.3, learning_rate=10.0, seed=3)
    (result,) = train([config])
    assert (result.evidence["weights_finite"], result.overflow.iteration, result.iterations) == (False, 32, 35)
    found, seen = diagnose(config, 35, 32), watched(config, 35)
    assert (bits_of(found.result), found.iterations[-1]) == (bits_of(result), 35)
    assert np.isfinite(found.radius).all()  # of the weights that the last iteration started from
    assert np.isnan(found.update_ratio[-1]).any()
    counts, edges = found.histograms["gradients"]
    assert counts.sum(axis=1)[-2:].tolist() == [28, 23]
    check_described(seen.gradients, found.quantiles["gradients"][-1], counts[-1], edges[-1])
