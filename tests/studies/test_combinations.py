"""Which runs a plan makes when settings mean something only beside some values of others."""

import itertools
import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine import CELLS, FIELDS, OPTIMIZERS, TASKS, ConfigError, RunConfig, fitting
from engine.population import SHAPE
from studies import PRESETS, Plan, plans
from studies.plans import MOST_COMPARED, MOST_RUNS, meaningful, preset_of

HUGE = {"task": "copy_memory", "length": 1000, "cell": "lstm", "hidden_size": 1024, "n_layers": 4, "batch_size": 1024}
"""One run of this takes half a terabyte."""
SMALL = {
    "task": [*TASKS],
    "bits": [None, 2, 8],
    "length": [None, 1, 2, 10, 50],
    "pool_size": [None, 0, 1000],
    "cell": [*CELLS],
    "activation": [None, "sigmoid", "relu"],
    "forget_bias": [None, 0.0, 1.0],
    "reset_after": [None, False, True],
    "hidden_size": [1, 16, 30],
    "projection_size": [None, 5],
    "loss": [None, *FIELDS["loss"].choices],
    "optimizer": [*OPTIMIZERS],
    "momentum": [None, 0.5, 0.9],
    "rho": [None, 0.9],
    "epsilon": [0.1],
    "schedule": [*FIELDS["schedule"].choices],
    "schedule_every": [None, 1, 100],
    "n_iterations": [1, 300, 10_000],
    "clip_value": [None, 0.5],
    "seed": [1, 2, 3],
}
"""Values that meet each other in every way: usual ones, None for them, too short ones, ones that exclude each other."""


@st.composite
def small_axes(draw):
    names = draw(st.lists(st.sampled_from([*SMALL]), unique=True, max_size=6))
    return {name: draw(st.lists(st.sampled_from(SMALL[name]), min_size=1, max_size=3, unique=True)) for name in names}


def one_by_one(axes):
    """Return the runs of a plan, made the slow way: every combination, what fits of it, each run once."""
    names = [name for name in FIELDS if name in axes]
    some = fitting({name: values[0] for name, values in axes.items()})
    for name in axes.keys() - meaningful(axes).keys():
        for value in axes[name]:
            RunConfig(**some | {name: value})
    runs = {}
    for values in itertools.product(*(axes[name] for name in names)):
        config = RunConfig(**fitting(dict(zip(names, values, strict=True))))
        runs.setdefault(config.identity, config)
    return list(runs.values())


def test_settings_are_left_out_where_they_mean_nothing_and_each_run_is_made_once():
    plan = Plan.of(cell=["rnn", "lstm", "gru"], activation=["sigmoid", "tanh"], forget_bias=[0, 1], seed=[7, 8])
    assert plan.combinations == [
        {"cell": "rnn", "activation": "sigmoid"},
        {"cell": "rnn", "activation": "tanh"},
        {"cell": "lstm", "forget_bias": 0.0},
        {"cell": "lstm", "forget_bias": 1.0},
        {"cell": "gru"},
    ]
    assert plan.n_runs == len(plan.configs()) == 5 * 2
    assert [(c.cell, c.activation, c.forget_bias, c.seed) for c in plan.configs()[2:6]] == [
        ("rnn", "tanh", None, 7),
        ("rnn", "tanh", None, 8),
        ("lstm", None, 0.0, 7),
        ("lstm", None, 0.0, 8),
    ]
    assert plan.varied == ["cell", "activation", "forget_bias", "seed"]


@given(small_axes())
@settings(deadline=None, max_examples=300)
def test_a_plan_makes_the_runs_that_making_them_one_by_one_gives(axes):
    try:
        expected = one_by_one(axes)
    except ConfigError:
        with pytest.raises(ConfigError):
            Plan(axes)
        return
    plan = Plan(axes)
    assert plan.configs() == [plan.config(number) for number in range(plan.n_runs)] == expected
    assert plan.n_iterations == sum(config.n_iterations for config in expected)
    baselines = {TASKS[config.task].baseline(config) for config in expected}
    assert plan.baseline() == (baselines.pop() if len(baselines) == 1 else None)
    assert Plan.from_json(plan.to_json()).configs() == plan.configs()


def test_copies_for_other_seeds_are_the_configs_that_checking_each_would_give():
    plan = Plan.of(cell=["rnn", "gru"], seed=[3, 1, 2])
    assert [config.identity for config in plan.configs()] == [
        RunConfig(cell=cell, seed=seed).identity for cell in ("rnn", "gru") for seed in (3, 1, 2)
    ]
    assert plan.config(4) == RunConfig(cell="gru", seed=1)


@pytest.mark.parametrize(
    ("axes", "reason"),
    [
        ({"momentum": [0.5]}, "momentum: expected none because optimizer 'sgd' has no use for it, found 0.5; it belongs to"),
        ({"momentum": [None, 0.5]}, "momentum: expected none because optimizer 'sgd' has no use for it, found 0.5"),
        ({"cell": ["gru", "lstm"], "activation": ["tanh"]}, "activation: expected none because cell 'gru' has no use for it"),
        ({"forget_bias": [0, 1]}, "forget_bias: expected none because cell 'rnn' has no use for it, found 0.0"),
        ({"length": [20]}, "length: expected none because task 'binary_addition' has no use for it"),
        ({"task": ["parity"], "bits": [4]}, "bits: expected none because task 'parity' has no use for it"),
        ({"schedule": ["cosine"], "schedule_every": [10]}, "schedule_every: expected none because schedule 'cosine'"),
        ({"task": ["adding_problem", "parity"], "length": [1]}, "length: expected at least"),
        ({"task": ["adding_problem"], "length": [100, 50, 1, 60]}, "length: expected at least"),
        ({"task": ["parity", "adding_problem"], "loss": ["cross_entropy"]}, "loss: expected mean_squared_error because"),
    ],
)
def test_what_means_nothing_or_does_not_go_together_is_refused_with_the_engine_s_reason(axes, reason):
    with pytest.raises(ConfigError) as problem:
        Plan(axes)
    assert str(problem.value).startswith(reason)


def test_an_idle_setting_without_a_value_asks_for_nothing():
    assert Plan({"momentum": [None], "activation": [None], "cell": ["gru"]}).axes == {"cell": ["gru"]}


def test_the_usual_value_spelled_out_or_left_open_is_one_run():
    plan = Plan({"activation": [None, "tanh", "sigmoid"], "n_iterations": [300, 30], "schedule": ["step"]})
    assert [config.activation for config in plan.configs()] == ["sigmoid", "sigmoid", "tanh", "tanh"]


def test_a_plan_of_the_first_version_is_read_although_sgd_has_no_momentum():
    text = json.dumps({"hidden_size": [16, 32], "optimizer": ["sgd"], "momentum": [0.9], "seed": [1, 2]})
    assert Plan.from_json(text) == Plan.of(hidden_size=[16, 32], optimizer="sgd", seed=[1, 2])
    both = Plan.from_json(json.dumps({"optimizer": ["sgd", "momentum"], "momentum": [0.9]}))
    assert both.configs() == [RunConfig(), RunConfig(optimizer="momentum", momentum=0.9)]


def test_a_preset_s_settings_that_mean_nothing_beside_a_given_one_are_left_out(monkeypatch):
    named = {"cell": "lstm", "forget_bias": [0.0, 0.8], "hidden_size": 5}
    monkeypatch.setitem(plans.PRESETS, "named", plans.Preset("", "", named))
    assert Plan.of("named", cell="gru").combinations == [{"cell": "gru", "hidden_size": 5}]
    assert Plan.of("named", cell=["gru", "lstm"]).combinations == [
        {"cell": "gru", "hidden_size": 5},
        {"cell": "lstm", "hidden_size": 5, "forget_bias": 0.0},
        {"cell": "lstm", "hidden_size": 5, "forget_bias": 0.8},
    ]
    with pytest.raises(ConfigError, match="forget_bias: expected none because cell 'gru'"):
        Plan.of("named", cell="gru", forget_bias=1)  # asked for, not the preset's


@pytest.mark.parametrize("name", PRESETS)
def test_every_setting_of_a_preset_means_something_and_is_recognized(name):
    plan = Plan.of(name)
    assert plan.axes.keys() == PRESETS[name].settings.keys()
    assert all(value is not None for config in plan.configs() for value in (config.loss, config.pool_size))
    assert preset_of(plan) == preset_of(Plan.of(name, seed=range(40, 50))) == name


def test_a_preset_is_recognized_by_its_runs_alone():
    assert preset_of(Plan.of(hidden_size=16, activation="sigmoid", loss="half_squared_error")) == "classic"
    assert preset_of(Plan.of(hidden_size=17)) is None
    assert preset_of(Plan.of("tanh", activation=["tanh", "relu"])) is None
    assert preset_of(Plan.of(hidden_size=range(1, MOST_COMPARED + 2))) is None


def test_a_plan_that_does_not_fit_in_memory_is_refused_with_the_number(monkeypatch):
    monkeypatch.setattr("engine.memory.memory", lambda: 16 * 2**30)
    with pytest.raises(ConfigError, match=r"fits in 8\.0 GB, half of this machine's memory, found one .* about 511\.\d GB"):
        Plan.of(**HUGE)
    sizes = [1, 1024, 500]
    with pytest.raises(ConfigError, match=r"about 511\.\d GB; lower hidden_size"):
        Plan.of(**HUGE | {"hidden_size": sizes, "batch_size": sizes, "learning_rate": [0.1, 0.2]})
    assert Plan.of(**HUGE | {"batch_size": [1, 2]}).n_runs == 2


def test_a_plan_of_the_past_is_read_on_a_smaller_machine(monkeypatch, store):
    monkeypatch.setattr("engine.memory.memory", lambda: 2**60)
    plan = Plan.of(**HUGE)
    job_id = store.add_job(plan)
    monkeypatch.setattr("engine.memory.memory", lambda: 2**30)
    with pytest.raises(ConfigError, match=r"fits in 0\.5 GB"):
        Plan(plan.axes)
    assert Plan.from_json(plan.to_json()) == plan == store.job(job_id).plan
    assert [job.id for job in store.jobs()] == [job_id]


@pytest.fixture
def n_made(monkeypatch):
    """Count the configs that are made."""
    made, check = [], RunConfig.__post_init__
    monkeypatch.setattr(RunConfig, "__post_init__", lambda self: (made.append(1), check(self))[1])
    return lambda: len(made)


LARGE = {
    "seeds": {"seed": range(MOST_RUNS)},
    "rates and seeds": {"learning_rate": [i / 1000 for i in range(1, 1001)], "seed": range(100)},
    "numbers": {"learning_rate": [i / 1000 for i in range(1, 1001)], "weight_init_std": range(100)},
    "shapes": {"hidden_size": range(1, 1001), "batch_size": range(1, 101)},
    "cells": {
        "cell": [*CELLS],
        "activation": ["tanh", "relu"],
        "forget_bias": [0, 1],
        "optimizer": [*OPTIMIZERS],
        "momentum": [0.5, 0.9],
        "learning_rate": [i / 1000 for i in range(1, 301)],
    },
}


@pytest.mark.parametrize("axes", LARGE.values(), ids=LARGE)
def test_a_large_plan_is_made_and_counted_without_making_its_configs(axes, n_made):
    started = time.process_time()
    plan = Plan.of(**axes)
    assert plan.n_runs == len(plan.combinations) * len(plan.seeds)
    assert plan.n_iterations == plan.n_runs * 10_000
    assert Plan.from_json(plan.to_json()) == plan
    assert plan.baseline() is not None
    assert time.process_time() - started < 3  # it takes 0.1 to 0.3 s; making 100,000 configs takes 5
    assert n_made() < 500


def test_a_large_plan_is_stored_without_making_its_configs(n_made, store):
    job = store.job(store.add_job(Plan.of(seed=range(MOST_RUNS))))
    assert (job.n_runs, job.n_iterations) == (MOST_RUNS, MOST_RUNS * 10_000)
    assert n_made() < 10


def test_each_combination_s_config_is_made_once_however_many_seeds(n_made):
    plan = Plan.of(learning_rate=[0.1, 0.5], seed=range(1000))
    before = n_made()
    assert len(plan.configs()) == 2000
    assert n_made() - before == 2


def test_the_settings_that_a_plan_s_check_looks_at_are_all_that_decide():
    """It looks at those of `SHAPE` alone, the others at their first value."""
    assert {"task", "length", "loss"} <= {*SHAPE}  # what a task refuses
    assert all(field.needs[0] in SHAPE for name, field in FIELDS.items() if name in SHAPE and field.needs)
