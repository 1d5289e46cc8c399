"""Initial weights against the published formulas, and the noise that runs share."""

import numpy as np
import pytest

from engine import CELLS, INIT_SCHEMES, RunConfig
from engine.initializers import IDENTITY_INPUT_STD
from engine.layout import unpack
from engine.network import initial_parameters, parameter_shapes
from engine.randomness import stream

FAN_IN, FAN_OUT = 400, 300
# The standard deviation of n = 120,000 draws has a relative error of at most 1 / sqrt(2 n) = 0.2 % (for normal draws; uniform
# ones scatter less). Five of those.
SAMPLING = 5 / np.sqrt(2 * FAN_IN * FAN_OUT)
STANDARD_DEVIATIONS = {
    "normal": 1.0,
    "xavier_normal": (2 / 700) ** 0.5,
    "xavier_uniform": (2 / 700) ** 0.5,
    "he_normal": (2 / 400) ** 0.5,
    "he_uniform": (2 / 400) ** 0.5,
    "lecun_normal": 0.05,
    "lecun_uniform": 0.05,
    "orthogonal": (1 / 400) ** 0.5,  # each of 300 columns has length 1 over 400 rows
    "identity": 0.001,
}

FAN_SCALED = {
    "xavier_normal": lambda fan_in, fan_out: np.sqrt(2 / (fan_in + fan_out)),
    "he_normal": lambda fan_in, fan_out: np.sqrt(2 / fan_in),
    "lecun_normal": lambda fan_in, fan_out: np.sqrt(1 / fan_in),
}
GATES = {"rnn": "g", "lstm_cec": "g", "lstm_io": "iog", "lstm": "ifog", "lstm_peephole": "ifog", "gru": "zrn"}
"""In the order of their columns."""
VARIANTS = [*({"cell": cell} for cell in CELLS), {"cell": "gru", "reset_after": True}]


def name_of(settings):
    return "-".join(str(value) for value in settings.values())


def draw(scheme, fan_in=FAN_IN, fan_out=FAN_OUT, recurrent=False, seed=3):
    return INIT_SCHEMES[scheme](np.random.default_rng(seed), fan_in, fan_out, recurrent)


def parameters(**settings):
    """Return a run's initial parameters by name, without the run axis."""
    config = RunConfig(**settings)
    return {name: w[0] for name, w in unpack(initial_parameters(config)[None], parameter_shapes(config)).items()}


def test_every_scheme_has_its_formula_here():
    assert set(STANDARD_DEVIATIONS) == set(INIT_SCHEMES)
    assert set(GATES) == set(CELLS)


@pytest.mark.parametrize("scheme", INIT_SCHEMES)
def test_standard_deviations_follow_the_published_formulas(scheme):
    weights = draw(scheme)
    assert weights.shape == (FAN_IN, FAN_OUT)
    assert weights.std() == pytest.approx(STANDARD_DEVIATIONS[scheme], rel=SAMPLING)
    assert abs(weights.mean()) < 5 * STANDARD_DEVIATIONS[scheme] / np.sqrt(weights.size)  # five standard errors


@pytest.mark.parametrize("scheme", [scheme for scheme in INIT_SCHEMES if scheme.endswith("_uniform")])
def test_uniform_schemes_fill_their_interval_and_keep_to_it(scheme):
    largest = np.abs(draw(scheme)).max()
    bound = np.sqrt(3) * STANDARD_DEVIATIONS[scheme]  # a uniform distribution on [-b, b] has standard deviation b / sqrt(3)
    assert 0.999 * bound < largest <= bound


@pytest.mark.parametrize("scheme", [scheme for scheme in INIT_SCHEMES if scheme.endswith("normal")])
def test_normal_schemes_have_normal_tails(scheme):
    beyond_two = (np.abs(draw(scheme)) > 2 * STANDARD_DEVIATIONS[scheme]).mean()
    # 4.55 % by the tables of the normal distribution; five standard errors of sqrt(p / n) = 0.06 percentage points
    assert beyond_two == pytest.approx(0.0455, abs=0.003)


@pytest.mark.parametrize(("fan_in", "fan_out"), [(2, 16), (16, 16), (16, 1), (50, 50), (7, 3)])
def test_orthogonal_matrices_have_orthonormal_rows_or_columns(fan_in, fan_out):
    w = draw("orthogonal", fan_in, fan_out, recurrent=fan_in == fan_out)
    assert w.shape == (fan_in, fan_out)
    product = w.T @ w if fan_in >= fan_out else w @ w.T
    np.testing.assert_allclose(product, np.eye(min(fan_in, fan_out)), atol=1e-13)  # some 50 roundings of 1e-16 each


def test_orthogonal_matrices_turn_and_mirror_equally_often():
    """Without the correction of signs, QR hands out determinants with a preference."""
    signs = [np.sign(np.linalg.det(draw("orthogonal", 3, 3, recurrent=True, seed=seed))) for seed in range(400)]
    assert abs(np.mean(signs)) < 5 / np.sqrt(400)  # five standard errors of a fair coin
    firsts = [draw("orthogonal", 3, 3, recurrent=True, seed=seed)[0, 0] for seed in range(400)]
    assert abs(np.mean(firsts)) < 5 * np.sqrt(1 / 3) / np.sqrt(400)


def test_identity_is_the_identity_for_recurrent_weights_only():
    np.testing.assert_array_equal(draw("identity", 5, 5, recurrent=True), np.eye(5))
    assert draw("identity", 5, 5, recurrent=False).std() < 2 * IDENTITY_INPUT_STD
    w = parameters(init_scheme="identity", weight_init_std=2.0)
    np.testing.assert_array_equal(w["W_rec"], 2 * np.eye(16))
    assert 0 < np.abs(w["W_in"]).max() < 10 * IDENTITY_INPUT_STD


@pytest.mark.parametrize("scheme", INIT_SCHEMES)
@pytest.mark.parametrize("std", [0.0, 0.01, 0.3, 2.0, 10.0])
def test_weight_init_std_multiplies_the_published_weights_exactly(scheme, std):
    as_published = initial_parameters(RunConfig(init_scheme=scheme))
    scaled = initial_parameters(RunConfig(init_scheme=scheme, weight_init_std=std))
    np.testing.assert_array_equal(scaled, std * as_published)


def test_equal_seeds_share_noise_whatever_the_other_settings():
    first = initial_parameters(RunConfig(seed=5))
    for other in [{"learning_rate": 0.7}, {"activation": "relu"}, {"batch_size": 8}, {"n_iterations": 3}, {"bits": 20}]:
        np.testing.assert_array_equal(initial_parameters(RunConfig(seed=5, **other)), first)
    np.testing.assert_array_equal(initial_parameters(RunConfig(seed=5, dtype="float32")), first.astype("float32"))
    assert not np.isin(initial_parameters(RunConfig(seed=6)), first).any()


def test_schemes_of_normal_noise_share_it_too():
    normal, scaled = parameters(), parameters(init_scheme="he_normal")
    np.testing.assert_allclose(scaled["W_rec"], normal["W_rec"] * np.sqrt(2 / 16), rtol=1e-15)


def test_each_matrix_has_a_stream_of_its_own():
    narrow, wide = parameters(hidden_size=4), parameters(hidden_size=9)
    np.testing.assert_array_equal(narrow["W_out"].ravel(), wide["W_out"].ravel()[:4])  # however long the others were
    assert not np.isin(narrow["W_in"], narrow["W_rec"]).any()


@pytest.mark.parametrize("variant", VARIANTS, ids=name_of)
def test_biases_start_at_zero_and_leave_the_matrices_noise_alone(variant):
    settings = {"n_layers": 2, "projection_size": 3} | variant
    without, with_biases = parameters(**settings), parameters(bias=True, **settings)
    added = {"b_proj", "b", "b_2", "b_out"} | ({"b_rec", "b_rec_2"} if variant.get("reset_after") else set())
    assert set(with_biases) - set(without) == added
    assert not any(with_biases[name].any() for name in added)
    for name, matrix in without.items():
        np.testing.assert_array_equal(with_biases[name], matrix)


def columns(settings, name, gate):
    """Return the columns of one gate in a run's initial weights."""
    order = GATES[settings["cell"]]
    return np.split(parameters(**settings)[name], len(order), axis=1)[order.index(gate)]


@pytest.mark.parametrize("name", ["W_in", "W_rec", "W_in_2", "W_rec_2"])
@pytest.mark.parametrize(
    ("cell", "other", "gates"),
    [
        ("lstm_io", "lstm", "iog"),
        ("lstm_io", "lstm_peephole", "iog"),
        ("lstm", "lstm_peephole", "ifog"),
        ("lstm_cec", "lstm", "g"),
        ("rnn", "lstm", "g"),
    ],
)
def test_cells_share_the_noise_of_the_gates_they_share(cell, other, gates, name):
    for gate in gates:
        one, two = ({"cell": cell, "n_layers": 2, "hidden_size": 5, "seed": 3} for cell in (cell, other))
        np.testing.assert_array_equal(columns(one, name, gate), columns(two, name, gate))


def test_both_grus_start_from_the_same_weights():
    before, after = (parameters(cell="gru", n_layers=2, reset_after=reset_after) for reset_after in (False, True))
    assert before.keys() == after.keys()
    for name, matrix in before.items():
        np.testing.assert_array_equal(after[name], matrix)


@pytest.mark.parametrize("variant", VARIANTS, ids=name_of)
def test_networks_of_any_depth_share_the_noise_of_the_layers_they_share(variant):
    deepest = parameters(n_layers=4, hidden_size=5, **variant)
    for n_layers in (1, 2, 3):
        for name, matrix in parameters(n_layers=n_layers, hidden_size=5, **variant).items():
            np.testing.assert_array_equal(deepest[name], matrix)


@pytest.mark.parametrize("variant", VARIANTS, ids=name_of)
def test_a_projection_leaves_all_noise_but_the_first_layer_s_alone(variant):
    plain, projected = (parameters(n_layers=2, hidden_size=5, projection_size=size, **variant) for size in (None, 3))
    assert projected["W_proj"].shape == (2, 3)
    for name in set(plain) - {"W_in"}:
        np.testing.assert_array_equal(projected[name], plain[name])


@pytest.mark.parametrize("variant", VARIANTS, ids=name_of)
def test_no_two_weights_of_a_run_share_noise(variant):
    config = RunConfig(n_layers=4, hidden_size=5, projection_size=3, **variant)
    drawn = initial_parameters(config)
    assert len(np.unique(drawn)) == drawn.size


@pytest.mark.parametrize("scheme", FAN_SCALED)
@pytest.mark.parametrize("variant", VARIANTS, ids=name_of)
def test_fans_are_those_of_one_gate(variant, scheme):
    """Whatever stands side by side in a matrix, a unit's fans are its own inputs and outputs: I, H and O, never 4 H."""
    # inputs of temporal_order 6, outputs 4; projection 3; hidden 5
    fans = {"W_proj": (6, 3), "W_in": (3, 5), "W_rec": (5, 5), "W_in_2": (5, 5), "W_rec_2": (5, 5), "W_out": (5, 4)}
    fans |= {"peephole": (5, 5), "peephole_2": (5, 5)} if variant["cell"] == "lstm_peephole" else {}
    settings = {"task": "temporal_order", "n_layers": 2, "hidden_size": 5, "projection_size": 3} | variant
    noise = parameters(init_scheme="normal", **settings)
    scaled = parameters(init_scheme=scheme, **settings)
    assert set(scaled) == set(fans)
    for name, (fan_in, fan_out) in fans.items():
        np.testing.assert_allclose(scaled[name], noise[name] * FAN_SCALED[scheme](fan_in, fan_out), rtol=1e-14, err_msg=name)


@pytest.mark.parametrize("scheme", [scheme for scheme in INIT_SCHEMES if scheme.endswith("_uniform")])
@pytest.mark.parametrize("cell", ["lstm_peephole", "gru"])
def test_uniform_schemes_take_the_fans_of_one_gate_too(cell, scheme):
    bound = np.sqrt(3) * FAN_SCALED[scheme.replace("uniform", "normal")](6, 100)
    drawn = np.abs(
        columns({"cell": cell, "task": "temporal_order", "hidden_size": 100, "init_scheme": scheme}, "W_in", GATES[cell][1])
    )
    assert 0.98 * bound < drawn.max() <= bound  # the largest of 600 falls short by 2 % once in 180,000 times


@pytest.mark.parametrize("cell", GATES)
def test_every_gate_is_orthogonal_or_the_identity_by_itself(cell):
    for gate in GATES[cell]:
        for name in ("W_rec", "W_rec_2"):
            settings = {"cell": cell, "n_layers": 2, "hidden_size": 6}
            w = columns(settings | {"init_scheme": "orthogonal"}, name, gate)
            np.testing.assert_allclose(w.T @ w, np.eye(6), atol=1e-14)
            np.testing.assert_array_equal(columns(settings | {"init_scheme": "identity"}, name, gate), np.eye(6))


@pytest.mark.parametrize(
    ("cell", "name", "gate", "number"),
    [
        ("rnn", "W_in", "g", (0,)),
        ("rnn", "W_rec", "g", (1,)),
        ("rnn", "W_in_2", "g", (0, 1)),
        ("lstm_cec", "W_rec_3", "g", (1, 2)),
        ("lstm", "W_in", "i", (0, 0, 1)),
        ("lstm", "W_rec_2", "f", (1, 1, 2)),
        ("lstm_io", "W_in_2", "o", (0, 1, 3)),
        ("lstm_peephole", "W_rec", "g", (1,)),
        ("gru", "W_rec", "z", (1, 0, 4)),
        ("gru", "W_in_4", "r", (0, 3, 5)),
        ("gru", "W_rec_2", "n", (1, 1, 6)),
    ],
)
def test_every_gate_has_its_numbered_stream(cell, name, gate, number):
    """Matrix, layer, gate, without zeros at the end: with other numbers, old seeds would start from other weights."""
    drawn = columns({"cell": cell, "n_layers": 4, "hidden_size": 5, "seed": 8}, name, gate)
    np.testing.assert_array_equal(drawn, stream(8, "weights", *number).standard_normal(drawn.shape))


def test_readout_projection_and_peepholes_have_their_numbered_streams():
    drawn = parameters(cell="lstm_peephole", n_layers=2, hidden_size=5, projection_size=3, seed=8)
    for name, number in [("W_out", 2), ("W_proj", 3)]:
        np.testing.assert_array_equal(drawn[name], stream(8, "weights", number).standard_normal(drawn[name].shape))
    for row, gate in enumerate((1, 2, 3)):  # i, f, o
        for name, layer in [("peephole", 0), ("peephole_2", 1)]:
            square = stream(8, "weights", 4, layer, gate).standard_normal((5, 5))
            np.testing.assert_array_equal(drawn[name][row], np.diag(square))


def test_peepholes_are_the_diagonal_of_a_matrix_between_the_units():
    """A normal draw has standard deviation 1, xavier, lecun and orthogonal about 1 / sqrt(H), identity 0.001."""
    expected = {
        "normal": 1,
        "xavier_normal": 0.1,
        "xavier_uniform": 0.1,
        "lecun_normal": 0.1,
        "orthogonal": 0.1,
        "he_normal": 0.02**0.5,
    }
    for scheme, std in (expected | {"identity": IDENTITY_INPUT_STD}).items():
        drawn = parameters(cell="lstm_peephole", n_layers=4, hidden_size=100, init_scheme=scheme, bits=2)
        peepholes = np.array([drawn[name] for name in ("peephole", "peephole_2", "peephole_3", "peephole_4")])
        assert peepholes.shape == (4, 3, 100)
        # 1200 draws: the relative error of their standard deviation is 1 / sqrt(2400) = 2 %; five of those
        assert peepholes.std() == pytest.approx(std, rel=0.1), scheme
        assert abs(peepholes.mean()) < 5 * std / np.sqrt(1200), scheme


def test_weight_init_std_scales_projections_and_peepholes_too():
    settings = {"cell": "lstm_peephole", "projection_size": 3, "n_layers": 2, "init_scheme": "xavier_normal"}
    np.testing.assert_array_equal(
        initial_parameters(RunConfig(weight_init_std=0.3, **settings)), 0.3 * initial_parameters(RunConfig(**settings))
    )
