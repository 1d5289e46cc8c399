"""Cells against plain loops over the published equations, worked examples of one unit, and parameters counted by hand."""

import itertools
from pathlib import Path

import numpy as np
import pytest

import engine.cells
from engine import CELLS, TASKS, RunConfig
from engine.layout import n_parameters, unpack
from engine.network import Network, initial_parameters, parameter_shapes
from engine.watch import KINDS, FloatingPointWatch

VARIANTS = [*({"cell": cell} for cell in CELLS), {"cell": "gru", "reset_after": True}]
QUESTIONS = [{"task": name, "loss": loss} for name, task in TASKS.items() for loss in task.losses]
FORMULAS = {
    "sigmoid": lambda u: 1 / (1 + np.exp(-u)),
    "tanh": np.tanh,
    "relu": lambda u: u * (u > 0),
    "leaky_relu": lambda u: np.where(u > 0, u, u / 100),
    "elu": lambda u: np.where(u > 0, u, np.exp(np.minimum(u, 0)) - 1),
    "softplus": lambda u: np.log(1 + np.exp(u)),
    "linear": lambda u: u,
}
sigma, tanh = FORMULAS["sigmoid"], np.tanh


def name_of(settings):
    return "-".join(str(value) for value in settings.values())


def gates(w, name, order):
    """Return the columns of each gate: of weights (I, G H) or biases (G H,); 0 for biases that are not there."""
    return dict(zip(order, np.split(w[name], len(order), axis=-1), strict=True)) if name in w else dict.fromkeys(order, 0.0)


# One function for each cell: one sequence x (T, I) of one run with weights w -> h (T, H). The orders of gates are written down
# again, because they are part of what a stored run means.


def plain_rnn(x, w, config):
    b, h, out = w.get("b", 0.0), np.zeros(config.hidden_size), []
    for x_t in x:
        h = FORMULAS[config.activation](x_t @ w["W_in"] + h @ w["W_rec"] + b)
        out.append(h)
    return np.array(out)


def plain_lstm_cec(x, w, config):
    b, h, c, out = w.get("b", 0.0), np.zeros(config.hidden_size), 0.0, []
    for x_t in x:
        c = c + tanh(x_t @ w["W_in"] + h @ w["W_rec"] + b)
        h = tanh(c)
        out.append(h)
    return np.array(out)


def plain_lstm_io(x, w, config):
    w_in, w_rec, b = (gates(w, name, "iog") for name in ("W_in", "W_rec", "b"))
    h, c, out = np.zeros(config.hidden_size), 0.0, []
    for x_t in x:
        i = sigma(x_t @ w_in["i"] + h @ w_rec["i"] + b["i"])
        o = sigma(x_t @ w_in["o"] + h @ w_rec["o"] + b["o"])
        g = tanh(x_t @ w_in["g"] + h @ w_rec["g"] + b["g"])
        c = c + i * g
        h = o * tanh(c)
        out.append(h)
    return np.array(out)


def plain_lstm(x, w, config):
    w_in, w_rec, b = (gates(w, name, "ifog") for name in ("W_in", "W_rec", "b"))
    h, c, out = np.zeros(config.hidden_size), np.zeros(config.hidden_size), []
    for x_t in x:
        i = sigma(x_t @ w_in["i"] + h @ w_rec["i"] + b["i"])
        f = sigma(x_t @ w_in["f"] + h @ w_rec["f"] + b["f"] + config.forget_bias)
        o = sigma(x_t @ w_in["o"] + h @ w_rec["o"] + b["o"])
        g = tanh(x_t @ w_in["g"] + h @ w_rec["g"] + b["g"])
        c = f * c + i * g
        h = o * tanh(c)
        out.append(h)
    return np.array(out)


def plain_lstm_peephole(x, w, config):
    w_in, w_rec, b = (gates(w, name, "ifog") for name in ("W_in", "W_rec", "b"))
    p_i, p_f, p_o = w["peephole"]
    h, c, out = np.zeros(config.hidden_size), np.zeros(config.hidden_size), []
    for x_t in x:
        i = sigma(x_t @ w_in["i"] + h @ w_rec["i"] + b["i"] + p_i * c)
        f = sigma(x_t @ w_in["f"] + h @ w_rec["f"] + b["f"] + p_f * c + config.forget_bias)
        g = tanh(x_t @ w_in["g"] + h @ w_rec["g"] + b["g"])
        c = f * c + i * g
        o = sigma(x_t @ w_in["o"] + h @ w_rec["o"] + b["o"] + p_o * c)
        h = o * tanh(c)
        out.append(h)
    return np.array(out)


def plain_gru(x, w, config):
    w_in, w_rec, b = (gates(w, name, "zrn") for name in ("W_in", "W_rec", "b"))
    h, out = np.zeros(config.hidden_size), []
    for x_t in x:
        z = sigma(x_t @ w_in["z"] + h @ w_rec["z"] + b["z"])
        r = sigma(x_t @ w_in["r"] + h @ w_rec["r"] + b["r"])
        if config.reset_after:
            n = tanh(x_t @ w_in["n"] + b["n"] + r * (h @ w_rec["n"] + w.get("b_rec", 0.0)))
        else:
            n = tanh(x_t @ w_in["n"] + b["n"] + (r * h) @ w_rec["n"])
        h = z * h + (1 - z) * n
        out.append(h)
    return np.array(out)


PLAIN = {
    "rnn": plain_rnn,
    "lstm_cec": plain_lstm_cec,
    "lstm_io": plain_lstm_io,
    "lstm": plain_lstm,
    "lstm_peephole": plain_lstm_peephole,
    "gru": plain_gru,
}


def plain_answers(x, w, config):
    """Return the answers (K, O) to one sequence and the loss's inputs: all of the network for one run."""
    if config.projection_size:
        x = x @ w["W_proj"] + w.get("b_proj", 0.0)
    for layer in range(1, config.n_layers + 1):
        suffix = "" if layer == 1 else f"_{layer}"
        own = ("W_in", "W_rec", "b", "b_rec", "peephole")
        x = PLAIN[config.cell](x, {name: w[name + suffix] for name in own if name + suffix in w}, config)
    task = TASKS[config.task]
    a = x[len(x) - task.n_answers(config) :] @ w["W_out"] + w.get("b_out", 0.0)
    if task.output == "linear":
        return a
    return sigma(a) if task.output == "logistic" else np.exp(a) / np.exp(a).sum(axis=-1, keepdims=True)


def plain_loss(y, d, config):
    """Return the loss of one sequence's answers, as the formulas have it."""
    if config.loss == "half_squared_error":
        return sum(0.5 * (y - d) ** 2 for y, d in zip(y.ravel(), d.ravel(), strict=True))
    if config.loss == "mean_squared_error":
        return np.mean((y - d) ** 2)
    if TASKS[config.task].output == "logistic":
        return sum(-np.log(y if d == 1 else 1 - y) for y, d in zip(y.ravel(), d.ravel(), strict=True))
    of_the_truth = -np.log(y[d == 1])
    return of_the_truth.mean() if config.task == "copy_memory" else of_the_truth.sum()


def random_configs(rng, variant, question, n_layers, bias, projection):
    """Return three configs of one shape: an rnn's runs have three activations, others their own forget_bias."""
    task = TASKS[question["task"]]
    length = max(int(rng.integers(3, 7)), task.shortest or 0)
    config = RunConfig(
        **variant,
        **question,
        **{"length" if task.usual_length else "bits": length},
        n_layers=n_layers,
        bias=bias,
        projection_size=int(rng.integers(2, 5)) if projection else None,
        hidden_size=int(rng.integers(2, 6)),
        batch_size=2,
    )
    if config.activation:
        return [config.replace(activation=name) for name in sorted(rng.choice(list(FORMULAS), 3, replace=False))]
    return [config.replace(forget_bias=bias) if config.forget_bias is not None else config for bias in (-1.0, 0.0, 2.5)]


def filled_network(rng, configs):
    """Return a network with random parameters, biases among them, and its parameters by name."""
    shapes = parameter_shapes(configs[0])
    parameters = rng.normal(0, 0.4, (len(configs), n_parameters(shapes)))
    network = Network(configs, parameters, None, configs[0].batch_size, FloatingPointWatch(np.zeros(len(configs), bool)))
    network.x[...] = rng.normal(0, 1, network.x.shape)
    return network, unpack(parameters, shapes)


def test_every_cell_has_its_plain_loop_here():
    assert set(PLAIN) == set(CELLS)


@pytest.mark.parametrize("n_layers", [1, 2, 3, 4])
@pytest.mark.parametrize("variant", VARIANTS, ids=name_of)
def test_answers_and_losses_equal_the_plain_loops(variant, n_layers):
    for question, bias, projection in itertools.product(QUESTIONS, (False, True), (False, True)):
        rng = np.random.default_rng(list(repr((variant, n_layers, question, bias, projection)).encode()))
        configs = random_configs(rng, variant, question, n_layers, bias, projection)
        network, named = filled_network(rng, configs)
        target, output = network.readout.target, TASKS[configs[0].task].output
        if output == "softmax":
            target[...] = np.eye(target.shape[-1])[rng.integers(0, target.shape[-1], target.shape[:-1])]
        else:
            target[...] = rng.integers(0, 2, target.shape)
        answers = network.forward().copy()
        losses = network.loss_factor * network.loss().sum(axis=(0, 3))
        for run, config in enumerate(configs):
            w = {name: values[run] for name, values in named.items()}
            for sequence in range(2):
                expected = plain_answers(network.x[:, sequence, run], w, config)
                # a few hundred roundings of 1e-16, growing by a small factor from step to step
                np.testing.assert_allclose(answers[:, sequence, run], expected, rtol=1e-10, atol=1e-12, err_msg=str(config))
                loss = plain_loss(expected, target[:, sequence, run], config)
                assert losses[sequence, run] == pytest.approx(loss, rel=1e-10, abs=1e-12), config


def hidden(x, weights, **settings):
    """Return h_1 .. h_T of one unit with one input, for parameters given by name as the gates' numbers."""
    config = RunConfig(task="bit_count", length=len(x), hidden_size=1, **settings)
    shapes = parameter_shapes(config)
    parameters = np.zeros((1, n_parameters(shapes)))
    for name, values in unpack(parameters, shapes).items():
        values.flat = weights.get(name, 0.0)
    network = Network([config], parameters, None, 1, FloatingPointWatch(np.zeros(1, bool)))
    network.x[:, 0, 0, 0] = x
    network.forward()
    return network.cells[0].h[1:, 0, 0, 0]


LN2, LN3 = np.log(2), np.log(3)
"""sigma(ln 3) = 3/4, sigma(-ln 3) = 1/4, sigma(0) = 1/2; tanh(ln 2) = (2 - 1/2) / (2 + 1/2) = 3/5, tanh(ln 3) = 4/5."""


def test_one_unit_of_the_rnn_by_hand():
    # h_1 = tanh(ln 2 * 1) = 3/5; h_2 = tanh(0 + 3/5 * 5 ln 3 / 3) = tanh(ln 3) = 4/5; h_3 = tanh(-ln 3 / 2 + 4/5 * 5/3 ln 3)
    #     = tanh(5/6 ln 3) = (3**(5/3) - 1) / (3**(5/3) + 1) = 5.240251 / 7.240251
    h = hidden([1.0, 0.0, -LN3 / LN2 / 2], {"W_in": [LN2], "W_rec": [5 * LN3 / 3]}, cell="rnn", activation="tanh")
    np.testing.assert_allclose(h, [0.6, 0.8, 0.723767], atol=1e-6)


def test_one_unit_of_the_carousel_by_hand():
    # every step adds tanh(ln 2) = 3/5 while W_rec is 0: c = 3/5, 6/5, 6/5, and h = tanh(c)
    h = hidden([1.0, 1.0, 0.0], {"W_in": [LN2]}, cell="lstm_cec")
    np.testing.assert_allclose(h, [0.537050, 0.833655, 0.833655], atol=1e-6)


def test_one_unit_of_the_first_lstm_by_hand():
    # i = sigma(ln 3 x), o = sigma(-ln 3 x), g = tanh(ln 2 x), W_rec = 0
    # x = 1: i = 3/4, o = 1/4, g = 3/5, c = 0.45, h = 0.25 tanh(0.45) = 0.25 * 0.421899
    # x = -1: i = 1/4, o = 3/4, g = -3/5, c = 0.45 - 0.15 = 0.3, h = 0.75 tanh(0.3) = 0.75 * 0.291313
    h = hidden([1.0, -1.0], {"W_in": [LN3, -LN3, LN2]}, cell="lstm_io")
    np.testing.assert_allclose(h, [0.105475, 0.218484], atol=1e-6)


def test_one_unit_of_the_lstm_by_hand():
    # i = sigma(ln 3 x), f = sigma(ln 3 + 0) by forget_bias alone, o = 1/2 + nothing, g = tanh(ln 2 x + h / 2)
    # x = 1: i = 3/4, f = 3/4, g = 3/5, c = 3/4 * 0 + 3/4 * 3/5 = 0.45, h = tanh(0.45) / 2 = 0.421899 / 2
    # x = 0: i = 1/2, f = 3/4, g = tanh(0.105475) = 0.105085, c = 0.3375 + 0.052543 = 0.390043, h = 0.371397 / 2
    # x = -1: i = 1/4, g = tanh(-0.693147 + 0.092849) = -0.537262, c = 0.292532 - 0.134315 = 0.158217, h = 0.156910 / 2
    weights = {"W_in": [LN3, 0, 0, LN2], "W_rec": [0, 0, 0, 0.5]}
    h = hidden([1.0, 0.0, -1.0], weights, cell="lstm", forget_bias=LN3)
    np.testing.assert_allclose(h, [0.210950, 0.185699, 0.078455], atol=1e-6)


def test_one_unit_of_the_peephole_lstm_by_hand():
    # as above without W_rec, p_i = 1, p_f = -2, p_o = 3
    # x = 1: c_0 = 0, so i = 3/4, f = 3/4, g = 3/5, c = 0.45; o sees the new state: o = sigma(1.35) = 0.794130,
    #        h = 0.794130 * tanh(0.45) = 0.794130 * 0.421899
    # x = 0: i = sigma(0.45) = 0.610639, f = sigma(1.098612 - 0.9) = 0.549490, g = 0, c = 0.549490 * 0.45 = 0.247271,
    #        o = sigma(0.741812) = 0.677392, h = 0.677392 * tanh(0.247271) = 0.677392 * 0.242351
    weights = {"W_in": [LN3, 0, 0, LN2], "peephole": [1, -2, 3]}
    h = hidden([1.0, 0.0], weights, cell="lstm_peephole", forget_bias=LN3)
    np.testing.assert_allclose(h, [0.335043, 0.164167], atol=1e-6)


def test_one_unit_of_the_gru_by_hand():
    # z = sigma(-ln 3 x), r = sigma(ln 3 x), n = tanh(ln 2 x + 2 (r h))
    # x = 1: z = 1/4, r = 3/4, n = 3/5, h = 1/4 * 0 + 3/4 * 3/5 = 0.45
    # x = 0: z = r = 1/2, n = tanh(2 * 0.5 * 0.45) = tanh(0.45) = 0.421899, h = 0.225 + 0.210950 = 0.435950
    # x = -1: z = 3/4, r = 1/4, n = tanh(-0.693147 + 2 * 0.25 * 0.435950) = tanh(-0.475172) = -0.442369,
    #         h = 0.75 * 0.435950 + 0.25 * -0.442369 = 0.326962 - 0.110592
    weights = {"W_in": [-LN3, LN3, LN2], "W_rec": [0, 0, 2]}
    expected = [0.45, 0.435950, 0.216370]
    np.testing.assert_allclose(hidden([1.0, 0.0, -1.0], weights, cell="gru"), expected, atol=1e-6)
    # one unit without biases cannot tell r (h w) from (r h) w
    np.testing.assert_allclose(hidden([1.0, 0.0, -1.0], weights, cell="gru", reset_after=True), expected, atol=1e-6)


def test_one_unit_of_the_gru_that_resets_after_the_product_by_hand():
    # as above with b_rec = 0.4 inside r's reach: n = tanh(ln 2 x + r (2 h + 0.4))
    # x = 1: z = 1/4, r = 3/4, n = tanh(0.693147 + 0.75 * 0.4) = tanh(0.993147) = 0.758701, h = 3/4 * 0.758701 = 0.569026
    # x = 0: z = r = 1/2, n = tanh(0.5 * (1.138052 + 0.4)) = tanh(0.769026) = 0.646363, h = 0.284513 + 0.323181
    weights = {"W_in": [-LN3, LN3, LN2], "W_rec": [0, 0, 2], "b_rec": [0.4]}
    h = hidden([1.0, 0.0], weights, cell="gru", reset_after=True, bias=True)
    np.testing.assert_allclose(h, [0.569026, 0.607694], atol=1e-6)


def count(**settings):
    """Return how many parameters a run has, by the shapes and by what is really there."""
    config = RunConfig(**{"hidden_size": 16} | settings)
    counted = n_parameters(parameter_shapes(config))
    assert initial_parameters(config).size == counted
    return counted


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        # binary addition: 2 inputs, 1 output; each gate has 2 * 16 + 16 * 16 = 288 weights, the readout 16
        ({"cell": "rnn"}, 288 + 16),
        ({"cell": "lstm_cec"}, 288 + 16),
        ({"cell": "lstm_io"}, 3 * 288 + 16),
        ({"cell": "lstm"}, 4 * 288 + 16),
        ({"cell": "lstm_peephole"}, 4 * 288 + 3 * 16 + 16),
        ({"cell": "gru"}, 3 * 288 + 16),
        ({"cell": "gru", "reset_after": True}, 3 * 288 + 16),
        # biases: 16 for each gate, 1 for the output; with reset_after 16 more
        ({"cell": "rnn", "bias": True}, 288 + 16 + 16 + 1),
        ({"cell": "lstm_cec", "bias": True}, 288 + 16 + 16 + 1),
        ({"cell": "lstm_io", "bias": True}, 3 * (288 + 16) + 16 + 1),
        ({"cell": "lstm", "bias": True}, 4 * (288 + 16) + 16 + 1),
        ({"cell": "lstm_peephole", "bias": True}, 4 * (288 + 16) + 48 + 16 + 1),
        ({"cell": "gru", "bias": True}, 3 * (288 + 16) + 16 + 1),
        ({"cell": "gru", "bias": True, "reset_after": True}, 3 * (288 + 16) + 16 + 16 + 1),
        # upper layers see 16 inputs: 16 * 16 + 16 * 16 = 512 weights for each gate
        ({"cell": "rnn", "n_layers": 2}, 288 + 512 + 16),
        ({"cell": "lstm", "n_layers": 4}, 4 * (288 + 3 * 512) + 16),
        ({"cell": "lstm_peephole", "n_layers": 3, "bias": True}, 4 * (288 + 2 * 512) + 3 * (64 + 48) + 16 + 1),
        ({"cell": "gru", "n_layers": 2, "bias": True, "reset_after": True}, 3 * (288 + 512) + 2 * (48 + 16) + 16 + 1),
        # a projection to 5 units: 2 * 5 weights and 5 biases, and the first layer sees 5: 5 * 16 + 16 * 16 = 336
        ({"cell": "rnn", "projection_size": 5}, 10 + 336 + 16),
        ({"cell": "lstm", "projection_size": 5, "bias": True}, 15 + 4 * (336 + 16) + 16 + 1),
        ({"cell": "gru", "projection_size": 5, "n_layers": 2}, 10 + 3 * (336 + 512) + 16),
        # other tasks: 1 input and 1 output, 6 and 4, 10 and 9
        ({"cell": "rnn", "task": "bit_count"}, 16 + 256 + 16),
        ({"cell": "lstm", "task": "temporal_order"}, 4 * (96 + 256) + 64),
        ({"cell": "gru", "task": "copy_memory", "bias": True}, 3 * (160 + 256 + 16) + 144 + 9),
        # the recipe of the bit count: projection 80, LSTM of 80, biases
        (
            {"cell": "lstm", "task": "bit_count", "hidden_size": 80, "projection_size": 80, "bias": True},
            160 + 4 * (6400 + 6400 + 80) + 80 + 1,
        ),
    ],
)
def test_parameters_counted_by_hand(settings, expected):
    assert count(**settings) == expected


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("hidden_size", [1, 7, 16, 100])
def test_a_gru_has_three_quarters_and_the_first_lstm_too_of_an_lstm_s_recurrent_weights(hidden_size, bias):
    readout = hidden_size + bias
    lstm, gru, first = (count(cell=cell, hidden_size=hidden_size, bias=bias) - readout for cell in ("lstm", "gru", "lstm_io"))
    assert 4 * gru == 4 * first == 3 * lstm


def test_forget_bias_is_no_parameter():
    assert count(cell="lstm", forget_bias=5.0) == count(cell="lstm", forget_bias=0.0)


def saturated(variant, **settings):
    """Return three runs' network, watch and parameters by name; the second's gates are open, its z shut: h is 0.7 or 1."""
    config = RunConfig(bits=4, hidden_size=4, **variant, **settings)
    shapes = parameter_shapes(config)
    parameters = np.stack([initial_parameters(config.replace(seed=seed)) for seed in range(3)])
    watch = FloatingPointWatch(np.zeros(3, bool))
    network = Network([config] * 3, parameters, None, 1, watch)
    network.x[...] = 1
    named = unpack(parameters, shapes)
    for name, weight in shapes.items():
        if weight.kind in ("input", "recurrent", "readout"):
            named[name][1] = 5
        if weight.gates[0] == "z":
            named[name][1, :, :4] = -5
    return network, watch, named


@pytest.mark.parametrize("name", ["W_in", "W_rec", "W_in_2", "W_rec_2", "W_out"])
@pytest.mark.parametrize("variant", VARIANTS, ids=name_of)
def test_a_product_that_overflows_is_traced_to_the_run_that_made_it(variant, name):
    network, watch, named = saturated(variant, n_layers=2)
    named[name][1] = 1e308 * np.sign(named[name][1])  # 4 units of 0.7 or 1, or 2 inputs of 1, make more than 1.8e308
    with watch.on():
        network.forward()
    assert watch.hit.tolist() == [False, True, False]
    assert watch.first_kind[1] == KINDS.index("overflow")


@pytest.mark.parametrize("variant", [v for v in VARIANTS if v["cell"] not in ("rnn", "lstm_cec")], ids=name_of)
def test_a_gate_that_is_shut_overflows_like_any_logistic_and_leaves_finite_answers(variant):
    """exp(1000) is infinite on the way to 1 / (1 + exp(1000)) = 0."""
    network, watch, named = saturated(variant)
    named["W_in"][1] = -500  # twice, for the two inputs
    with watch.on():
        answers = network.forward()
    assert watch.hit.tolist() == [False, True, False]
    assert not watch.spreads
    assert np.isfinite(answers).all()


@pytest.mark.parametrize("path", sorted(Path(engine.cells.__file__).parent.glob("*.py")), ids=lambda path: path.stem)
def test_a_cell_is_a_small_file(path):
    """A hundred lines and a docstring: some two minutes for somebody who knows NumPy."""
    assert len([line for line in path.read_text().splitlines() if line.strip()]) <= (130 if path.stem == "cell" else 120)
