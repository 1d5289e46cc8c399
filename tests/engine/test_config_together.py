"""Which settings belong together: usual values, values without a meaning, copies with changes."""

import pytest

from engine import DEFAULTS, FIELDS, TASKS, ConfigError, RunConfig, check_value, fitting

CONDITIONAL = {
    "bits": 9,
    "length": 12,
    "activation": "tanh",
    "forget_bias": 0.5,
    "reset_after": True,
    "momentum": 0.8,
    "rho": 0.8,
    "beta1": 0.8,
    "beta2": 0.8,
    "epsilon": 0.1,
    "schedule_every": 7,
    "schedule_factor": 0.5,
}
"""Settings that mean something only beside others, and a value."""


def message(function, *arguments):
    with pytest.raises(ConfigError) as caught:
        function(*arguments)
    return str(caught.value)


USUAL = [  # what None stands for, beside these settings: from the sources of tasks, cells and optimizers
    ({}, {"bits": 8, "length": None, "activation": "sigmoid", "pool_size": 0, "loss": "half_squared_error"}),
    ({}, {"forget_bias": None, "reset_after": None, "projection_size": None, "momentum": None, "schedule_every": None}),
    ({"task": "bit_count"}, {"bits": None, "length": 10, "pool_size": 1000, "loss": "mean_squared_error"}),
    ({"task": "adding_problem"}, {"bits": None, "length": 100, "pool_size": 0, "loss": "mean_squared_error"}),
    ({"task": "copy_memory"}, {"length": 10, "loss": "cross_entropy"}),
    ({"task": "temporal_order"}, {"length": 50, "loss": "cross_entropy"}),
    ({"task": "parity"}, {"length": 8, "loss": "cross_entropy"}),
    ({"cell": "lstm"}, {"activation": None, "forget_bias": 1.0, "reset_after": None}),
    ({"cell": "lstm_peephole"}, {"activation": None, "forget_bias": 1.0}),
    ({"cell": "lstm_cec"}, {"activation": None, "forget_bias": None}),
    ({"cell": "lstm_io"}, {"activation": None, "forget_bias": None}),
    ({"cell": "gru"}, {"activation": None, "forget_bias": None, "reset_after": False}),
    ({"optimizer": "momentum"}, {"momentum": 0.9, "rho": None, "beta1": None, "epsilon": None}),
    ({"optimizer": "nesterov"}, {"momentum": 0.9, "rho": None}),
    ({"optimizer": "adagrad"}, {"momentum": None, "epsilon": 1e-8, "rho": None, "beta2": None}),
    ({"optimizer": "rmsprop"}, {"momentum": None, "rho": 0.9, "epsilon": 1e-8, "beta1": None}),
    ({"optimizer": "adam"}, {"beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8, "momentum": None, "rho": None}),
    ({"schedule": "step"}, {"schedule_every": 3333, "schedule_factor": 0.1}),
    ({"schedule": "step", "n_iterations": 2}, {"schedule_every": 1}),
    ({"schedule": "cosine"}, {"schedule_every": None, "schedule_factor": None}),
]


@pytest.mark.parametrize(("beside", "expected"), USUAL, ids=str)
def test_none_is_the_usual_value_where_it_means_something_and_none_elsewhere(beside, expected):
    config = RunConfig(**beside)
    assert {name: getattr(config, name) for name in expected} == expected
    assert RunConfig(**beside | dict.fromkeys(expected)) == config
    assert RunConfig(**beside | expected).identity == config.identity


def test_every_task_cell_optimizer_and_schedule_stands_above():
    for name in ("task", "cell", "optimizer", "schedule"):
        assert {beside.get(name, DEFAULTS[name]) for beside, _ in USUAL} >= set(FIELDS[name].choices) - {"constant"}


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (
            {"cell": "lstm", "activation": "tanh"},
            "activation: expected none because cell 'lstm' has no use for it, found 'tanh'",
        ),
        ({"forget_bias": 1.0}, "forget_bias: expected none because cell 'rnn' has no use for it, found 1.0"),
        (
            {"cell": "lstm_io", "forget_bias": 1},
            "forget_bias: expected none because cell 'lstm_io' has no use for it, found 1.0",
        ),
        (
            {"cell": "lstm", "reset_after": False},
            "reset_after: expected none because cell 'lstm' has no use for it, found False",
        ),
        ({"momentum": 0.9}, "momentum: expected none because optimizer 'sgd' has no use for it, found 0.9"),
        ({"optimizer": "adam", "momentum": 0.9}, "momentum: expected none because optimizer 'adam' has no use for it"),
        ({"optimizer": "adagrad", "rho": 0.9}, "rho: expected none because optimizer 'adagrad' has no use for it"),
        ({"optimizer": "rmsprop", "beta1": 0.9}, "beta1: expected none because optimizer 'rmsprop' has no use for it"),
        ({"optimizer": "nesterov", "beta2": 0.9}, "beta2: expected none because optimizer 'nesterov' has no use for it"),
        ({"epsilon": 1e-8}, "epsilon: expected none because optimizer 'sgd' has no use for it"),
        ({"task": "bit_count", "bits": 8}, "bits: expected none because task 'bit_count' has no use for it, found 8"),
        ({"length": 10}, "length: expected none because task 'binary_addition' has no use for it, found 10"),
        ({"schedule_every": 5}, "schedule_every: expected none because schedule 'constant' has no use for it, found 5"),
        ({"schedule": "cosine", "schedule_factor": 0.5}, "schedule_factor: expected none because schedule 'cosine' has no use"),
    ],
    ids=lambda value: str(value)[:50],
)
def test_a_value_where_a_setting_means_nothing_is_refused_with_the_reason(settings, expected):
    text = message(lambda: RunConfig(**settings))
    assert text.startswith(expected)
    name = text.partition(":")[0]
    other, values = FIELDS[name].needs
    assert text.endswith(f"; it belongs to {other} {' or '.join(values)}")


def test_what_belongs_together_is_told_in_words():
    assert message(lambda: RunConfig(forget_bias=1.0)).endswith("; it belongs to cell lstm or lstm_peephole")
    assert message(lambda: RunConfig(momentum=0.5)).endswith("; it belongs to optimizer momentum or nesterov")
    assert message(lambda: RunConfig(reset_after=True)).endswith("; it belongs to cell gru")


@pytest.mark.parametrize("name", CONDITIONAL)
def test_each_such_setting_is_refused_beside_everything_else_and_taken_where_it_belongs(name):
    other, values = FIELDS[name].needs
    assert values
    for value in FIELDS[other].choices:
        settings = {other: value, name: CONDITIONAL[name]}
        if value in values:
            assert getattr(RunConfig(**settings), name) == settings[name]
        else:
            assert message(lambda settings=settings: RunConfig(**settings)).startswith(f"{name}: expected none because {other}")


def test_a_value_out_of_range_is_refused_even_where_the_setting_means_nothing():
    assert message(lambda: RunConfig(momentum=7)) == "momentum: expected a number from 0 to 0.9999, found 7.0"


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("loss", FIELDS["loss"].choices)
def test_a_loss_that_does_not_fit_the_task_is_refused_with_those_that_do(task, loss):
    fits = {
        "binary_addition": ["half_squared_error", "cross_entropy"],
        "parity": ["cross_entropy", "half_squared_error"],
        "bit_count": ["mean_squared_error"],
        "adding_problem": ["mean_squared_error"],
        "copy_memory": ["cross_entropy"],
        "temporal_order": ["cross_entropy"],
    }[task]
    if loss in fits:
        assert RunConfig(task=task, loss=loss).loss == loss
    else:
        output = {"binary_addition": "logistic", "parity": "logistic", "bit_count": "linear", "adding_problem": "linear"}
        assert message(lambda: RunConfig(task=task, loss=loss)) == (
            f"loss: expected {' or '.join(fits)} because the answers of task {task!r} are {output.get(task, 'softmax')}, "
            f"found {loss!r}"
        )


@pytest.mark.parametrize(
    ("task", "shortest"), [("bit_count", 1), ("adding_problem", 2), ("copy_memory", 1), ("temporal_order", 10), ("parity", 1)]
)
def test_lengths_reach_from_the_tasks_shortest_to_1000(task, shortest):
    assert RunConfig(task=task, length=shortest).length == shortest
    assert RunConfig(task=task, length=1000).length == 1000
    assert message(lambda: RunConfig(task=task, length=1001)) == "length: expected a whole number from 1 to 1,000, found 1001"
    if shortest > 1:
        text = message(lambda: RunConfig(task=task, length=shortest - 1))
        assert text == f"length: expected at least {shortest} for task {task!r}, found {shortest - 1}"


# Copies with changes


@pytest.mark.parametrize(
    ("base", "changes", "follow"),
    [
        ({}, {"cell": "lstm"}, {"activation": None, "forget_bias": 1.0}),
        ({}, {"cell": "gru"}, {"activation": None, "reset_after": False}),
        ({"cell": "lstm"}, {"cell": "rnn"}, {"activation": "sigmoid", "forget_bias": None}),
        ({}, {"task": "bit_count"}, {"bits": None, "length": 10, "pool_size": 1000, "loss": "mean_squared_error"}),
        ({"task": "bit_count"}, {"task": "parity"}, {"length": 8, "pool_size": 0, "loss": "cross_entropy"}),
        ({"task": "parity"}, {"task": "binary_addition"}, {"bits": 8, "length": None, "loss": "half_squared_error"}),
        ({"optimizer": "adam"}, {"optimizer": "rmsprop"}, {"beta1": None, "rho": 0.9, "epsilon": 1e-8}),
        ({"schedule": "step"}, {"n_iterations": 900}, {"schedule_every": 300}),
        ({"schedule": "step"}, {"schedule": "constant"}, {"schedule_every": None, "schedule_factor": None}),
        # values of one's own stay where they mean something
        ({"schedule": "step", "schedule_every": 7}, {"n_iterations": 900}, {"schedule_every": 7}),
        ({"optimizer": "momentum", "momentum": 0.5}, {"optimizer": "nesterov"}, {"momentum": 0.5}),
        ({"task": "parity", "length": 12}, {"task": "bit_count"}, {"length": 12, "pool_size": 1000}),
        ({"pool_size": 5}, {"task": "bit_count"}, {"pool_size": 5}),
        ({"cell": "lstm", "forget_bias": 3.0}, {"cell": "lstm_peephole"}, {"forget_bias": 3.0}),
        (
            {"cell": "lstm", "forget_bias": 3.0},
            {"cell": "gru", "forget_bias": None},
            {"forget_bias": None, "reset_after": False},
        ),
    ],
    ids=str,
)
def test_replace_lets_usual_values_follow_and_keeps_ones_own(base, changes, follow):
    config = RunConfig(**base).replace(**changes)
    assert {name: getattr(config, name) for name in follow} == follow


@pytest.mark.parametrize(
    ("base", "changes", "name"),
    [
        ({"activation": "tanh"}, {"cell": "lstm"}, "activation"),
        ({"bits": 4}, {"task": "bit_count"}, "bits"),
        ({"task": "parity", "length": 12}, {"task": "binary_addition"}, "length"),
        ({"optimizer": "momentum", "momentum": 0.5}, {"optimizer": "sgd"}, "momentum"),
        ({"loss": "cross_entropy"}, {"task": "bit_count"}, "loss"),
        ({"task": "parity", "length": 7}, {"task": "temporal_order"}, "length"),
        ({"schedule": "step", "schedule_factor": 0.5}, {"schedule": "cosine"}, "schedule_factor"),
        ({}, {"cell": "lstm", "activation": "sigmoid"}, "activation"),
    ],
    ids=str,
)
def test_replace_refuses_values_of_ones_own_that_lose_their_meaning(base, changes, name):
    assert message(lambda: RunConfig(**base).replace(**changes)).startswith(f"{name}: expected ")


def test_replace_checks_and_leaves_the_original_alone():
    config = RunConfig()
    assert config.replace(seed=7).seed == 7
    assert config.replace() == config
    assert config.seed == 1
    assert "did you mean 'seed'" in message(lambda: config.replace(sede=7))


def test_fitting_leaves_out_what_means_nothing_beside_the_rest():
    assert fitting({"cell": "lstm", "activation": "tanh", "forget_bias": 2.0}) == {"cell": "lstm", "forget_bias": 2.0}
    assert fitting({"activation": "tanh", "forget_bias": 2.0, "seed": 3}) == {"activation": "tanh", "seed": 3}
    assert fitting({"task": "parity", "bits": 4, "length": 5, "momentum": 0.5}) == {"task": "parity", "length": 5}
    assert fitting({"optimizer": "adam", "schedule": "step"}) == {"optimizer": "adam", "schedule": "step"}
    assert fitting({}) == {}
    assert "did you mean 'seed'" in message(fitting, {"sede": 1})


def test_check_value_is_what_a_config_does_with_one_setting():
    assert check_value("learning_rate", 1) == 1.0
    assert check_value("momentum", None) is None
    assert message(check_value, "bits", 1) == "bits: expected a whole number from 2 to 32, found 1"


def test_no_conditional_setting_is_missing_above():
    assert set(CONDITIONAL) == {name for name, field in FIELDS.items() if field.needs}
