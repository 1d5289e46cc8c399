"""Initial weights against the published formulas, and the noise that runs share."""

import numpy as np
import pytest

from engine import INIT_SCHEMES, RunConfig
from engine.initializers import IDENTITY_INPUT_STD
from engine.layout import unpack
from engine.network import initial_parameters, parameter_shapes

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


def draw(scheme, fan_in=FAN_IN, fan_out=FAN_OUT, recurrent=False, seed=3):
    return INIT_SCHEMES[scheme](np.random.default_rng(seed), fan_in, fan_out, recurrent)


def parameters(**settings):
    """Return a run's initial parameters by name, without the run axis."""
    config = RunConfig(**settings)
    return {name: w[0] for name, w in unpack(initial_parameters(config)[None], parameter_shapes(config)).items()}


def test_every_scheme_has_its_formula_here():
    assert set(STANDARD_DEVIATIONS) == set(INIT_SCHEMES)


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


def test_biases_start_at_zero_and_leave_the_matrices_noise_alone():
    without, with_biases = parameters(), parameters(bias=True)
    assert not with_biases["b"].any()
    assert not with_biases["b_out"].any()
    for name, matrix in without.items():
        np.testing.assert_array_equal(with_biases[name], matrix)
