import json
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine import FIELDS, INIT_SCHEMES, ConfigError, RunConfig
from studies import PRESETS, Plan, PlanError
from studies.plans import MOST_RUNS, describe, meaningful, parse_values, spell_value, spell_values

EXERCISE = {
    "classic": {},
    "std_10": {"weight_init_std": 10.0},
    "learning_rate_0.5": {"learning_rate": 0.5},
    "learning_rate_1": {"learning_rate": 1.0},
    "hidden_32": {"hidden_size": 32},
    "hidden_100": {"hidden_size": 100},
    "learning_rate_0.5_hidden_32": {"learning_rate": 0.5, "hidden_size": 32},
    "xavier": {"init_scheme": "lecun_normal"},
    "he": {"init_scheme": "he_normal"},
    "tanh": {"activation": "tanh"},
    "relu": {"activation": "relu"},
}
"""What the exercise's text asks its readers to try, as differences from its first setting."""


SIZES = ("hidden_size", "projection_size", "batch_size", "length")
"""Settings that are kept small here: all at their largest would not fit in any machine."""


def values_of(name):
    field = FIELDS[name]
    if field.kind == "choice":
        return st.sampled_from(field.choices)
    if field.kind == "bool":
        return st.booleans()
    if field.kind == "int":
        numbers = st.integers(20, 100) if name in SIZES else st.integers(int(field.low), int(field.high))
    else:
        numbers = st.floats(field.low, field.high, exclude_min=field.above_low)
    return numbers | st.none() if field.optional else numbers


@st.composite
def axes(draw):
    free = [name for name in FIELDS if name != "loss"]  # not every task has every loss
    names = draw(st.lists(st.sampled_from(free), unique=True, max_size=5))
    return meaningful({name: draw(st.lists(values_of(name), min_size=1, max_size=3)) for name in names})


@pytest.mark.parametrize(
    ("name", "text", "values"),
    [
        ("learning_rate", "0.5, 0.1,1e-3", [0.5, 0.1, 0.001]),
        ("learning_rate", "0.5,0.1,0.5,0.50", [0.5, 0.1]),
        ("seed", "1-4", [1, 2, 3, 4]),
        ("seed", " 7 - 9 , 2, 8 ", [7, 8, 9, 2]),
        ("seed", "5-5", [5]),
        ("clip_norm", "none, 1", [None, 1.0]),
        ("activation", "tanh,relu", ["tanh", "relu"]),
        ("init_scheme", "he, he_normal", ["he_normal"]),
        ("bias", "yes,false", [True, False]),
    ],
)
def test_typed_values_keep_their_order_and_come_once(name, text, values):
    assert parse_values(name, text) == values


@pytest.mark.parametrize("text", ["5-1", "1-1000000000", f"1-{MOST_RUNS + 1}"])
def test_ranges_that_fall_or_are_too_long_are_refused(text):
    with pytest.raises(PlanError, match=r"^seed: expected a range that rises and has at most 100,000 numbers, found '"):
        parse_values("seed", text)


def test_a_range_of_a_setting_with_fractions_is_refused_like_any_other_text():
    with pytest.raises(ConfigError, match=r"^learning_rate: expected a number above 0 up to 1,000,000, found '1-3'$"):
        parse_values("learning_rate", "1-3")


def test_the_last_setting_varies_fastest_and_seeds_last_of_all():
    configs = Plan({"seed": [2, 1], "learning_rate": [0.5, 0.1], "hidden_size": [4]}).configs()
    assert [(c.hidden_size, c.learning_rate, c.seed) for c in configs] == [(4, 0.5, 2), (4, 0.5, 1), (4, 0.1, 2), (4, 0.1, 1)]


def test_a_plan_holds_each_value_once_and_counts_combinations():
    plan = Plan.of("tanh", learning_rate=[0.1, 0.5, 0.1], seed=range(5), hidden_size=8)
    assert plan.axes == {"hidden_size": [8], "activation": ["tanh"], "learning_rate": [0.1, 0.5], "seed": [0, 1, 2, 3, 4]}
    assert plan.n_runs == len(plan.configs()) == 2 * 5
    assert plan.varied == ["learning_rate", "seed"]


def test_a_preset_s_setting_gives_way_to_one_that_is_given():
    assert Plan.of("relu", activation="tanh").configs() == [RunConfig(activation="tanh")]


def test_a_plan_without_axes_is_the_classic_run():
    assert Plan({}).configs() == Plan.of("classic").configs() == [RunConfig()]


@pytest.mark.parametrize(
    "make",
    [
        lambda: parse_values("seed", "1-1000000000"),
        lambda: Plan.of(seed=range(10**9)),
        lambda: Plan({"seed": range(10**9)}),
        lambda: Plan.of(**{name: range(1, 101) for name in ("hidden_size", "batch_size", "n_iterations", "seed")}),
    ],
)
def test_too_many_runs_are_refused_without_making_them(make):
    tracemalloc.start()
    try:
        with pytest.raises(PlanError, match=r"at most 100,000"):
            make()
        assert tracemalloc.get_traced_memory()[1] < 1_000_000  # bytes; a billion seeds would take gigabytes
    finally:
        tracemalloc.stop()


def test_the_largest_plan_is_allowed_and_one_run_more_is_not():
    assert Plan.of(seed=range(MOST_RUNS)).n_runs == MOST_RUNS
    with pytest.raises(PlanError, match=r"found 100,002 combinations"):
        Plan.of(seed=range(MOST_RUNS // 2 + 1), bias=[True, False])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("hidden_size", 0),
        ("hidden_size", 1.5),
        ("learning_rate", "0.1"),
        ("learning_rate", float("nan")),
        ("activation", "relo"),
        ("bias", 1),
        ("seed", -1),
    ],
)
def test_a_wrong_value_gets_the_words_of_run_config(name, value):
    with pytest.raises(ConfigError) as of_config:
        RunConfig(**{name: value})
    with pytest.raises(ConfigError) as of_plan:
        Plan({name: [value]})
    assert str(of_plan.value) == str(of_config.value)


@pytest.mark.parametrize("text", ["0", "many", "1.5"])
def test_a_wrong_typed_value_gets_the_range_of_its_setting(text):
    with pytest.raises(ConfigError, match=r"^hidden_size: expected a whole number from 1 to 1,024, found "):
        parse_values("hidden_size", text)


def test_unknown_names_are_answered_with_the_nearest():
    with pytest.raises(ConfigError, match=r"setting: .*found 'learning_rat'; did you mean 'learning_rate'\?"):
        Plan({"learning_rat": [1]})
    with pytest.raises(ConfigError, match=r"preset: .*found 'hiden_32'; did you mean 'hidden_32'\?"):
        Plan.of("hiden_32")
    with pytest.raises(ConfigError, match=r"did you mean 'seed'\?"):
        parse_values("seeds", "1-5")


def test_a_setting_without_values_is_refused():
    with pytest.raises(PlanError, match=r"^seed: expected one or more values, found none$"):
        Plan({"seed": []})


def test_the_presets_begin_with_those_of_the_exercise():
    assert list(PRESETS)[: len(EXERCISE)] == list(EXERCISE)


@pytest.mark.parametrize("name", EXERCISE)
def test_a_preset_differs_from_the_classic_run_in_exactly_what_the_exercise_says(name):
    (config,), classic = Plan.of(name).configs(), RunConfig().to_dict()
    assert {key: value for key, value in config.to_dict().items() if value != classic[key]} == EXERCISE[name]


@pytest.mark.parametrize(("preset", "variance"), [("xavier", 1.0), ("he", 2.0)])
def test_the_schemes_of_the_presets_have_the_exercise_s_standard_deviation(preset, variance):
    scheme = INIT_SCHEMES[PRESETS[preset].settings["init_scheme"]]
    for fan_in in (16, 100):
        weights = scheme(np.random.default_rng(0), fan_in, 20_000, False)
        # the standard deviation of n normal numbers scatters by 1 / sqrt(2 n): 0.12 % for 320,000
        assert weights.std() == pytest.approx(np.sqrt(variance / fan_in), rel=0.01)


@given(axes())
@settings(deadline=None)
def test_plans_survive_json(axes):
    plan = Plan(axes)
    again = Plan.from_json(plan.to_json())
    assert again == plan
    assert again.configs() == plan.configs()
    json.loads(plan.to_json(), parse_constant=pytest.fail)


@given(axes())
@settings(deadline=None)
def test_spelled_values_are_read_back_as_the_same_values(axes):
    for name, values in Plan(axes).axes.items():
        assert parse_values(name, spell_values(values)) == values


def test_values_are_spelled_as_people_type_them():
    assert spell_values([1, 2, 3, 4]) == "1-4"
    assert spell_values([1, 2]) == "1, 2"
    assert spell_values([1.0, 0.5, None]) == "1, 0.5, none"
    assert [spell_value(value) for value in (True, 10.0, 1e300, "relu")] == ["true", "10", "1e+300", "relu"]


def test_a_run_is_described_by_what_differs_from_the_classic_exercise_and_its_seed():
    assert describe(RunConfig(learning_rate=0.5, activation="relu").to_dict()) == "relu · learning rate 0.5 · seed 1"
    assert describe(RunConfig().to_dict(), ["hidden_size"]) == "hidden size 16"


def test_a_run_s_description_leaves_out_what_means_nothing_and_names_what_is_off():
    lstm = RunConfig(cell="lstm", clip_norm=1.0).to_dict()
    assert describe(lstm, ["cell", "activation", "forget_bias", "clip_norm"]) == "lstm · forget bias 1 · clip norm 1"
    assert describe(RunConfig().to_dict(), ["activation", "forget_bias", "clip_norm"]) == "sigmoid · clip norm none"
