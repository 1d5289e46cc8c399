"""What a setting may be, what its error says, and what makes two configs the same run."""

import dataclasses
import json
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine import (
    CELLS,
    DEFAULTS,
    FIELDS,
    OPTIMIZERS,
    TASKS,
    BrinkError,
    ConfigError,
    RunConfig,
    check_name,
    fitting,
    parse_value,
)
from engine import config as config_module

NUMBERS = [name for name, field in FIELDS.items() if field.kind in ("int", "float")]
CHOICES = [name for name, field in FIELDS.items() if field.kind == "choice"]
SWITCHES = [name for name, field in FIELDS.items() if field.kind == "bool"]
CONDITIONAL = [name for name, field in FIELDS.items() if field.needs]
MEANING = {
    "bits": {},
    "length": {"task": "parity"},
    "activation": {},
    "forget_bias": {"cell": "lstm"},
    "reset_after": {"cell": "gru"},
    "momentum": {"optimizer": "momentum"},
    "rho": {"optimizer": "rmsprop"},
    "beta1": {"optimizer": "adam"},
    "beta2": {"optimizer": "adam"},
    "epsilon": {"optimizer": "adam"},
    "schedule_every": {"schedule": "step"},
    "schedule_factor": {"schedule": "step"},
    "loss": {"task": "parity"},
}
"""Settings beside which a setting means something (or, for loss, has two values): written down apart from `needs`."""
OTHER_VALUES = {
    "task": "parity",
    "bits": 9,
    "length": 7,
    "pool_size": 5,
    "cell": "gru",
    "hidden_size": 17,
    "n_layers": 2,
    "activation": "tanh",
    "forget_bias": 0.5,
    "reset_after": True,
    "projection_size": 3,
    "bias": True,
    "init_scheme": "he_normal",
    "weight_init_std": 0.5,
    "loss": "half_squared_error",
    "optimizer": "momentum",
    "learning_rate": 0.2,
    "momentum": 0.8,
    "rho": 0.8,
    "beta1": 0.8,
    "beta2": 0.8,
    "epsilon": 0.1,
    "schedule": "cosine",
    "schedule_every": 7,
    "schedule_factor": 0.5,
    "clip_norm": 1.0,
    "clip_value": 1.0,
    "batch_size": 2,
    "n_iterations": 9_999,
    "dtype": "float32",
    "seed": 2,
}
"""A valid value other than the usual one, for every field."""


def make(name, value):
    """Return a config with one field set, beside settings that give it a meaning."""
    return RunConfig(**MEANING.get(name, {}) | {name: value})


def message(function, *arguments):
    with pytest.raises(ConfigError) as caught:
        function(*arguments)
    return str(caught.value)


def limits(name):
    """Return the smallest and largest value of a number, and one just outside on each side."""
    field = FIELDS[name]
    if field.kind == "int":
        return field.low, field.high, field.low - 1, field.high + 1
    low = math.nextafter(field.low, math.inf) if field.above_low else field.low
    return low, field.high, math.nextafter(low, -math.inf), math.nextafter(field.high, math.inf)


def test_defaults_are_the_classic_exercise():
    config = RunConfig()
    assert (config.task, config.bits, config.cell, config.hidden_size) == ("binary_addition", 8, "rnn", 16)
    assert (config.activation, config.bias, config.init_scheme, config.weight_init_std) == ("sigmoid", False, "normal", 1.0)
    assert (config.optimizer, config.learning_rate, config.clip_norm) == ("sgd", 0.1, None)
    assert (config.batch_size, config.n_iterations, config.dtype) == (1, 10_000, "float64")
    assert (config.n_layers, config.projection_size, config.loss, config.schedule) == (
        1,
        None,
        "half_squared_error",
        "constant",
    )
    assert (config.pool_size, config.clip_value) == (0, None)
    assert [name for name in FIELDS if name in CONDITIONAL and getattr(config, name) is not None] == ["bits", "activation"]


def test_every_field_is_listed_here_and_in_a_dict():
    assert set(OTHER_VALUES) == set(FIELDS) == {field.name for field in dataclasses.fields(RunConfig)}
    assert list(RunConfig().to_dict()) == list(FIELDS) == list(DEFAULTS)
    assert RunConfig().to_dict() == {name: getattr(RunConfig(), name) for name in FIELDS}
    assert set(MEANING) == {*CONDITIONAL, "loss"}


@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_are_accepted_up_to_both_limits(name):
    low, high, _, _ = limits(name)
    assert getattr(make(name, low), name) == low
    assert getattr(make(name, high), name) == high


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("side", [2, 3], ids=["below", "above"])
def test_numbers_just_outside_are_refused_and_never_clamped(name, side):
    outside = limits(name)[side]
    text = message(make, name, outside)
    assert text.startswith(f"{name}: expected {FIELDS[name].expected}, found ")
    assert text.endswith(repr(float(outside) if FIELDS[name].kind == "float" else int(outside)))


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("wrong", ["8", True, False, np.True_, [1], None, 1j, {}, math.nan, math.inf, -math.inf], ids=repr)
def test_numbers_of_the_wrong_type_are_refused(name, wrong):
    if wrong is None and (FIELDS[name].optional or FIELDS[name].usual):
        assert make(name, None) == RunConfig(**MEANING.get(name, {}))
    else:
        assert message(make, name, wrong) == f"{name}: expected {FIELDS[name].expected}, found {wrong!r}"


@pytest.mark.parametrize("name", [name for name in NUMBERS if FIELDS[name].kind == "int"])
def test_whole_numbers_must_not_come_as_floats(name):
    assert "expected a whole number" in message(make, name, 8.0)


@pytest.mark.parametrize("name", [name for name in NUMBERS if FIELDS[name].kind == "float"])
def test_whole_numbers_beyond_every_float_are_refused_like_any_other(name):
    assert message(make, name, 10**400).startswith(f"{name}: expected {FIELDS[name].expected}, found 1000")


def test_range_errors_read_like_this():
    assert message(make, "bits", 33) == "bits: expected a whole number from 2 to 32, found 33"
    assert message(make, "learning_rate", 0) == "learning_rate: expected a number above 0 up to 1,000,000, found 0.0"
    assert message(make, "clip_norm", -1) == "clip_norm: expected a number above 0 up to 1e+12, or none, found -1.0"
    assert message(make, "bias", 1) == "bias: expected true or false, found 1"


def test_long_values_are_shortened_in_messages():
    text = message(make, "activation", "x" * 1000)
    assert "xxx..." in text
    assert len(text) < 200


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("bits", np.int8(4), 4),
        ("seed", np.uint32(2**32 - 1), 2**32 - 1),
        ("learning_rate", np.float32(0.5), 0.5),
        ("learning_rate", np.int64(3), 3.0),
        ("learning_rate", 1, 1.0),
        ("learning_rate", Fraction(1, 4), 0.25),
        ("clip_norm", np.float64(2), 2.0),
        ("bias", np.True_, True),
        ("activation", np.str_("relu"), "relu"),
    ],
    ids=repr,
)
def test_numpy_scalars_are_converted_to_the_fields_own_type(name, value, expected):
    stored = getattr(RunConfig(**{name: value}), name)
    assert stored == expected
    assert type(stored) is type(expected)


@pytest.mark.parametrize("name", CHOICES)
def test_unknown_choices_list_the_known_ones_and_the_nearest(name):
    known = FIELDS[name].choices
    text = message(make, name, known[0] + "x")
    assert text == f"{name}: expected one of {', '.join(known)}, found {known[0] + 'x'!r}; did you mean {known[0]!r}?"


@pytest.mark.parametrize("name", CHOICES)
@pytest.mark.parametrize("wrong", [None, 1, "", "qqqqqq", [], np.array(["relu", "tanh"])], ids=repr)
def test_choices_of_the_wrong_type_or_far_from_all_are_refused_without_a_guess(name, wrong):
    if wrong is None and FIELDS[name].usual:
        assert make(name, None) == RunConfig(**MEANING.get(name, {}))
        return
    assert message(make, name, wrong) == f"{name}: expected one of {', '.join(FIELDS[name].choices)}, found {wrong!r}"


@pytest.mark.parametrize("name", SWITCHES)
@pytest.mark.parametrize("wrong", [0, 1, "true", None, 1.0, np.int64(1)], ids=repr)
def test_switches_take_only_booleans(name, wrong):
    if wrong is None and FIELDS[name].usual:
        assert make(name, None) == RunConfig(**MEANING.get(name, {}))
    else:
        assert message(make, name, wrong) == f"{name}: expected true or false, found {wrong!r}"


def test_unknown_settings_list_the_known_ones_and_the_nearest():
    for function in (check_name, lambda name: RunConfig.from_dict({name: 1}), lambda name: parse_value(name, "1")):
        text = message(function, "learnig_rate")
        assert text.startswith("setting: expected one of task, bits, length, pool_size, cell,")
        assert text.endswith("found 'learnig_rate'; did you mean 'learning_rate'?")


def test_errors_belong_to_the_family_and_are_value_errors():
    with pytest.raises(BrinkError):
        RunConfig(bits=0)
    with pytest.raises(ValueError, match="bits: expected a whole number from 2 to 32, found 0"):
        RunConfig(bits=0)


@pytest.mark.parametrize(
    ("short", "full"),
    [
        ("xavier", "xavier_normal"),
        ("he", "he_normal"),
        ("lecun", "lecun_normal"),
        ("glorot_normal", "xavier_normal"),
        ("glorot_uniform", "xavier_uniform"),
    ],
)
def test_short_names_of_schemes_become_full_names(short, full):
    assert RunConfig(init_scheme=short).init_scheme == full
    assert parse_value("init_scheme", short) == full
    assert RunConfig(init_scheme=short).identity == RunConfig(init_scheme=full).identity


@pytest.mark.parametrize("name", NUMBERS)
def test_typed_numbers_outside_get_the_same_message_as_in_python(name):
    for outside in limits(name)[2:]:
        assert message(parse_value, name, f"{outside!r}") == message(make, name, outside)


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("text", ["eight", "1,5", "8 bits", "--1", "0x10"])
def test_typed_text_that_is_no_number_gets_the_same_message_as_in_python(name, text):
    assert message(parse_value, name, f" {text} ") == message(make, name, text)


@pytest.mark.parametrize("name", CHOICES)
def test_typed_choices_get_the_same_message_as_in_python(name):
    assert message(parse_value, name, "nonsense") == message(make, name, "nonsense")


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("bits", " 12 ", 12),
        ("learning_rate", "1e-3", 0.001),
        ("learning_rate", "1", 1.0),
        ("clip_norm", "none", None),
        ("clip_norm", "Off", None),
        ("clip_norm", "", None),
        ("clip_norm", "2.5", 2.5),
        ("bias", "Yes", True),
        ("bias", "on", True),
        ("bias", "0", False),
        ("bias", "FALSE", False),
        ("activation", " relu ", "relu"),
        ("activation", "usual", None),
        ("momentum", " Usual ", None),
        ("length", "", None),
        ("projection_size", "off", None),
    ],
)
def test_typed_values_are_read(name, text, value):
    assert parse_value(name, text) == value
    assert type(parse_value(name, text)) is type(value)


def test_typed_nonsense_for_a_switch_is_refused():
    assert message(parse_value, "bias", "perhaps") == "bias: expected true or false, found 'perhaps'"


@st.composite
def any_config(draw):
    """Draw settings over their whole range, and leave out what means nothing beside the others."""
    settings = {name: draw(any_value(name, field)) for name, field in FIELDS.items()}
    task = TASKS[settings["task"]]
    settings["loss"] = draw(st.sampled_from(task.losses))
    if task.shortest:
        settings["length"] = draw(st.none() | st.integers(task.shortest, 1000))
    return RunConfig(**fitting(settings))


def any_value(name, field):
    values = {
        "choice": lambda: st.sampled_from(field.choices),
        "bool": st.booleans,
        "int": lambda: st.integers(field.low, field.high),
        "float": lambda: st.floats(field.low, field.high, exclude_min=field.above_low),
    }[field.kind]()
    return st.none() | values if field.optional or field.usual else values


# derandomize: the same examples in every run of the tests, so that a red test always means changed code
example_settings = settings(max_examples=100, deadline=None, derandomize=True)


@given(any_config())
@example_settings
def test_configs_survive_dict_and_json(config):
    assert list(config.to_dict()) == list(FIELDS)
    assert RunConfig.from_dict(config.to_dict()) == config
    assert config.replace() == config
    again = RunConfig.from_dict(json.loads(config.canonical_json()))
    assert again == config
    assert again.canonical_json() == config.canonical_json()
    assert again.identity == config.identity
    assert hash(again) == hash(config)


@given(any_config(), any_config())
@example_settings
def test_equal_configs_and_only_those_share_an_identity(one, other):
    assert (one == other) == (one.identity == other.identity)


@given(any_config())
@example_settings
def test_a_setting_is_none_only_where_it_is_off_or_means_nothing(config):
    for name, field in FIELDS.items():
        if getattr(config, name) is None:
            assert field.optional or not field.applies(config.to_dict())
        else:
            assert field.applies(config.to_dict())


@given(any_config(), st.sampled_from(list(CELLS)), st.sampled_from(list(OPTIMIZERS)))
@example_settings
def test_replacing_there_and_back_keeps_what_was_usual(config, cell, optimizer):
    usual = config.replace(**dict.fromkeys(name for name in FIELDS if FIELDS[name].usual))
    there = usual.replace(cell=cell, optimizer=optimizer)
    assert there == RunConfig(**fitting(usual.to_dict() | dict.fromkeys(CONDITIONAL) | {"cell": cell, "optimizer": optimizer}))
    assert there.replace(cell=config.cell, optimizer=config.optimizer) == usual


def test_negative_zero_is_zero_to_identity():
    assert RunConfig(weight_init_std=-0.0).identity == RunConfig(weight_init_std=0.0).identity
    assert RunConfig(learning_rate=1).identity == RunConfig(learning_rate=np.float64(1.0)).identity


@pytest.mark.parametrize("name", FIELDS)
def test_any_changed_field_changes_the_identity(name):
    base = RunConfig(**MEANING.get(name, {}))
    changed = base.replace(**{name: OTHER_VALUES[name]})
    assert getattr(changed, name) == OTHER_VALUES[name] != getattr(base, name)
    assert changed.identity != base.identity
    assert changed != base


def test_the_engines_version_is_part_of_the_identity(monkeypatch):
    before = RunConfig().identity
    monkeypatch.setattr(config_module, "ENGINE_VERSION", config_module.ENGINE_VERSION + "x")
    assert RunConfig().identity != before
    assert len(before) == 32
    assert int(before, 16) >= 0


def test_canonical_json_is_sorted_and_without_spaces():
    text = RunConfig().canonical_json()
    assert text.startswith('{"activation":"sigmoid","batch_size":1,"beta1":null,"beta2":null,"bias":false,"bits":8,')
    assert list(json.loads(text)) == sorted(FIELDS)


def test_configs_are_frozen_and_keyword_only():
    config = RunConfig()
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.bits = 4
    with pytest.raises(TypeError, match="positional"):
        RunConfig("binary_addition")


@pytest.mark.parametrize("name", FIELDS)
def test_every_field_tells_people_what_it_is(name):
    field = FIELDS[name]
    assert field.label
    assert field.note.endswith(".")
    assert field.expected
    assert math.isfinite(field.low) == math.isfinite(field.high) == (field.kind in ("int", "float"))
