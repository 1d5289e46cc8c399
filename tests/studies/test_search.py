import dataclasses
import importlib.util
import itertools
import json
import math

import pytest

from engine import ConfigError, RunConfig, train
from engine import memory as machine
from studies.errors import PlanError
from studies.search import SAMPLERS, TEMPLATES, Choices, Range, Search, is_installed, template

RATES = {"learning_rate": Range(0.01, 1, log=True)}


def search(**changes):
    return Search(**{"name": "test", "space": RATES, "n_trials": 4} | changes)


def space(name, part, **changes):
    return {"space": {name: part}} | changes


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": ""}, "name: expected some text, found none"),
        ({"name": " \n"}, "name: expected some text, found none"),
        ({"name": 5}, "name: expected some text, found none"),
        ({"space": {}}, "space: expected one or more settings to search, found none"),
        ({"space": [1]}, r"space: expected settings with their values, found \[1\]"),
        ({"fixed": None}, "fixed: expected settings with their values, found None"),
        (space("learning_rate", [0.1, 0.2]), r"learning_rate: expected a Range or Choices, found \[0.1, 0.2\]"),
        (space("learning_rate", Range(1, 1)), "learning_rate: expected low below high, found 1 and 1"),
        (space("learning_rate", Range(2, 1)), "learning_rate: expected low below high, found 2 and 1"),
        (space("clip_norm", Range(None, 1)), "clip_norm: expected low below high, found None and 1"),
        (space("learning_rate", Range(0.1, math.nan)), "learning_rate: expected a number .* found nan"),
        (space("hidden_size", Range(1.5, 4)), "hidden_size: expected a whole number from 1 to 1,024, found 1.5"),
        (space("weight_init_std", Range(0, 1, log=True)), "weight_init_std: expected a range above 0 for log, .* starts at 0"),
        (
            space("forget_bias", Range(-1, 1, log=True), fixed={"cell": "lstm"}),
            "forget_bias: expected a range above 0 for log, .* starts at -1",
        ),
        (space("learning_rate", Range(1, 2, log="no")), "learning_rate: expected log to be true or false, found 'no'"),
        (space("hidden_size", Range(1, 9, True, 2)), "hidden_size: expected log or step, found both"),
        (space("hidden_size", Range(1, 9, step=9)), "hidden_size: expected a step above 0 and at most 8, found 9"),
        (space("hidden_size", Range(1, 9, step=0)), "hidden_size: expected a step above 0 and at most 8, found 0"),
        (space("hidden_size", Range(1, 9, step=-2)), "hidden_size: expected a step above 0 and at most 8, found -2"),
        (space("hidden_size", Range(1, 9, step=True)), "hidden_size: expected a step above 0 and at most 8, found True"),
        (space("hidden_size", Range(1, 9, step="2")), "hidden_size: expected a step above 0 and at most 8, found '2'"),
        (space("clip_norm", Range(1, 2, step=math.nan)), "clip_norm: expected a step above 0 and at most 1, found nan"),
        (space("clip_norm", Range(1, 1e12, step=1e-320)), "clip_norm: expected a step above 0 .* found 1e-320"),
        (space("hidden_size", Range(1, 9, step=1.5)), "hidden_size: expected a whole step, found 1.5"),
        (space("hidden_size", Choices([])), "hidden_size: expected one or more choices, found none"),
        (space("hidden_size", Choices([0])), "hidden_size: expected a whole number from 1 to 1,024, found 0"),
        (space("activation", Choices(["tanh", "sigmoit"])), "activation: .* found 'sigmoit'; did you mean 'sigmoid'"),
        (space("activation", Range(1, 2)), "activation: expected a list of choices, found a range; it is no number"),
        (space("bias", Range(0, 1)), "bias: expected a list of choices, found a range; it is no number"),
        (space("hidden_sise", Range(1, 2)), "setting: .* found 'hidden_sise'; did you mean 'hidden_size'"),
        ({"fixed": {"bts": 8}}, "setting: .* found 'bts'; did you mean 'bits'"),
        ({"fixed": {"hidden_size": 0}}, "hidden_size: expected a whole number from 1 to 1,024, found 0"),
        ({"objectives": ["final_lost"]}, "objective: .* found 'final_lost'; did you mean 'final_loss'"),
        ({"objectives": [["cost"]]}, r"objective: .* found \['cost'\]"),
        ({"objectives": "cost"}, "objectives: expected a list of names, found 'cost'"),
        ({"objectives": []}, "objectives: expected one, or two different ones, found none"),
        ({"objectives": ["cost", "cost"]}, "objectives: expected one, or two different ones, found cost, cost"),
        (
            {"objectives": ["cost", "accuracy", "best_loss"]},
            "objectives: expected one, or two .* found cost, accuracy, best_loss",
        ),
        ({"sampler": "cma-es"}, "sampler: .* found 'cma-es'; did you mean 'cmaes'"),
        ({"sampler": []}, r"sampler: .* found \[\]"),
        ({"sampler": "cmaes", "objectives": ["cost", "accuracy"]}, "sampler: expected one that can follow two objectives"),
        ({"fixed": {"learning_rate": 0.1}}, "learning_rate: expected it fixed or searched, found it as both"),
        ({"fixed": {"seed": 1}}, "seed: expected no value; n_seeds says"),
        (space("seed", Range(1, 9)), "seed: expected no value; n_seeds says"),
        (space("hidden_size", Range(1, 3)), "n_trials: expected at most 3, which is all that the space has, found 4"),
        (space("hidden_size", Range(1, 9, step=4)), "n_trials: expected at most 3, "),
        (space("hidden_size", Choices([3, 4, 5, 3])), "n_trials: expected at most 3, "),
        (space("weight_init_std", Range(0, 0.2, step=0.1)), "n_trials: expected at most 3, "),
        (
            {
                "sampler": "grid",
                "points": 1000,
                "space": RATES | {"weight_init_std": Range(0, 1), "bias": Choices([True, False])},
            },
            "space: expected a grid of at most 1,000,000 points, found 2,000,000; give fewer points",
        ),
        (
            space("hidden_size", Range(8, 1024), fixed={"n_layers": 4, "batch_size": 1024, "length": 1000, "task": "parity"}),
            "expected a run that fits in .* lower hidden_size",
        ),
        (
            space("task", Choices(["parity", "adding_problem"]), n_trials=2, fixed={"loss": "cross_entropy"}),
            "loss: expected ",
        ),
        (space("length", Range(1, 50), fixed={"task": "temporal_order"}), "length: expected at least .* found 1"),
        (
            {"pruner": "median", "objectives": ["final_loss", "accuracy"]},
            "pruner: expected none beside two objectives, found median",
        ),
        ({"pruner": "halving", "objectives": ["cost"]}, "pruner: expected none beside cost, which is known from the start"),
        ({"pruner": "hyperband", "sampler": "cmaes"}, "pruner: expected none beside cmaes, .* found hyperband"),
        ({"pruner": "halvin"}, "pruner: .* found 'halvin'; did you mean 'halving'"),
        ({"pruner": None}, "pruner: .* found None"),
        ({"warm_start": 5}, "warm_start: expected the name of a study, found 5"),
        (
            {"warm_start": "x", "sampler": "random"},
            r"warm_start: expected a sampler .* \(tpe or gp\), found random",
        ),
        ({"warm_start": "x", "sampler": "cmaes"}, r"warm_start: expected a sampler .* \(tpe or gp\), found cmaes"),
    ],
)
def test_what_cannot_be_searched_is_refused_with_what_was_expected(changes, message, monkeypatch):
    monkeypatch.setattr(machine, "memory", lambda: 8 * 2**30)
    with pytest.raises((ConfigError, PlanError), match=message):
        search(**changes)


@pytest.mark.parametrize(
    ("name", "least", "most"),
    [("n_trials", 1, 100_000), ("n_seeds", 1, 1000), ("batch", 1, 100_000), ("points", 2, 1000), ("seed", 0, 2**32 - 1)],
)
def test_counts_have_limits_and_are_whole_numbers(name, least, most):
    assert [getattr(search(**{name: value}), name) for value in (least, most)] == [least, most]
    for wrong in (least - 1, most + 1, True, 5.0, "5", None, math.nan):
        if wrong is None and name in ("n_trials", "batch"):
            continue  # there None means what is usual
        with pytest.raises(PlanError, match=f"{name}: expected a whole number from {least:,} to {most:,}, found "):
            search(**{name: wrong})


@pytest.mark.parametrize(
    ("changes", "n_trials", "batch"),
    [
        ({}, 64, 8),
        ({"n_trials": 200}, 200, 25),
        ({"n_trials": 1000}, 1000, 32),
        ({"n_trials": 20}, 20, 8),
        ({"sampler": "cmaes", "n_trials": 200}, 200, 25),
        ({"sampler": "random"}, 64, 256),
        ({"sampler": "qmc", "n_trials": 1000}, 1000, 256),
        ({"sampler": "grid", "points": 7}, 7, 256),
        ({"space": {"hidden_size": Range(2, 9)}}, 8, 8),
        ({"seconds": 5.0}, 100_000, 32),
        ({"seconds": 5, "space": {"hidden_size": Range(2, 9)}, "sampler": "random"}, 8, 256),
        ({"seconds": 5.0, "n_trials": 30}, 30, 8),
        ({"pruner": "halving"}, 64, 54),
        ({"pruner": "halving", "n_trials": 1000}, 1000, 54),
        ({"pruner": "halving", "sampler": "random", "n_trials": 1000}, 1000, 256),
        ({"pruner": "hyperband"}, 64, 54),
        ({"pruner": "hyperband", "n_trials": 98, "sampler": "random"}, 98, 256),
        ({"pruner": "median"}, 64, 8),
        ({"pruner": "median", "sampler": "random", "n_trials": 1000}, 1000, 32),
        ({"batch": 5, "pruner": "halving"}, 64, 5),
    ],
)
def test_trials_and_batches_that_nobody_counts(changes, n_trials, batch):
    """An eighth of the trials, 8 to 32, where results are looked at; else 256; where a chunk is compared at least 54."""
    made = search(**{"n_trials": None} | changes)
    assert (made.n_trials, made.batch) == (n_trials, batch)
    assert Search.from_json(made.to_json()) == made


def test_corners_beyond_counting_are_tried_one_setting_at_a_time(monkeypatch):
    """With ten settings there are 1,024 corners; the one of hidden_size alone is too much."""
    monkeypatch.setattr(machine, "memory", lambda: 2**20)
    names = ("weight_init_std", "learning_rate", "clip_norm", "clip_value", "momentum", "bits", "forget_bias", "pool_size")
    many = {name: Range(2, 3) if name != "momentum" else Range(0.1, 0.2) for name in names} | {"n_layers": Range(1, 2)}
    fixed = {"optimizer": "momentum", "cell": "lstm"}
    assert search(space=many | {"batch_size": Range(1, 2)}, fixed=fixed).size == math.inf
    with pytest.raises(ConfigError, match="expected a run that fits in"):
        search(space={"hidden_size": Range(2, 1024)} | many, fixed=fixed)


@pytest.mark.parametrize(
    ("part", "n_points", "values"),
    [
        (Range(2, 6), 3, [2, 4, 6]),
        (Range(2, 6), 9, [2, 3, 4, 5, 6]),
        (Range(1, 64, log=True), 4, [1, 4, 16, 64]),
        (Range(1, 8, log=True), 1000, [1, 2, 3, 4, 5, 6, 7, 8]),
        (Range(3, 10, step=3), 5, [3, 6, 9]),
        (Range(0, 100, step=5), 3, [0, 50, 100]),
        (Choices([8, 3, 8, 5]), 2, [8, 3, 5]),
    ],
)
def test_the_grid_of_a_whole_number_by_hand(part, n_points, values):
    name = "pool_size" if 0 in values else "hidden_size"
    made = search(space={name: part}, sampler="grid", points=n_points, n_trials=1000)
    assert [point[name] for point in made.grid()] == values
    assert all(type(point[name]) is int for point in made.grid())
    assert (made.size, made.n_trials) == (len(values), len(values))


@pytest.mark.parametrize(
    ("part", "n_points", "values"),
    [
        (Range(0.5, 1.5), 3, [0.5, 1.0, 1.5]),
        (Range(0.001, 10, log=True), 5, [0.001, 0.01, 0.1, 1, 10]),
        (Range(0.0, 0.3, step=0.1), 5, [0, 0.1, 0.2, 0.3]),
        (Range(0.0, 1, step=0.3), 5, [0, 0.3, 0.6, 0.9]),
        (Range(0.0, 1, step=0.1), 3, [0, 0.5, 1]),
    ],
)
def test_the_grid_of_a_real_number_by_hand(part, n_points, values):
    grid = search(space={"weight_init_std": part}, sampler="grid", points=n_points).grid()
    found = [point["weight_init_std"] for point in grid]
    assert found == pytest.approx(values, rel=1e-12, abs=1e-12)
    assert all(part.low <= value <= part.high for value in found)


@pytest.mark.parametrize("n_points", [2, 5, 7])
@pytest.mark.parametrize("ends", [(0.001, 10), (0.001, 100), (0.07, 0.3), (3e-7, 1e5)])
def test_a_grid_over_powers_of_ten_holds_both_ends_exactly(ends, n_points):
    grid = Range(*ends, log=True).grid(False, n_points)
    assert (grid[0], grid[-1], len(grid)) == (*ends, n_points)
    assert grid == sorted(grid)


def test_a_grid_is_the_product_of_its_parts_with_the_last_setting_fastest():
    parts = {"bias": Choices([True, False]), "hidden_size": Range(2, 4), "activation": Choices(["tanh", "relu"])}
    made = search(space=parts, sampler="grid", n_trials=1000, points=3)
    expected = itertools.product([True, False], [2, 3, 4], ["tanh", "relu"])
    assert [tuple(point.values()) for point in made.grid()] == list(expected)
    assert (made.size, made.n_trials) == (12, 12)


@pytest.mark.parametrize(
    ("parts", "size"),
    [
        ({"hidden_size": Range(2, 8)}, 7),
        ({"hidden_size": Range(2, 8, log=True), "bias": Choices([True, False])}, 14),
        ({"hidden_size": Range(2, 8, step=4), "weight_init_std": Range(0.0, 0.3, step=0.1)}, 8),
        ({"hidden_size": Range(2, 8), "weight_init_std": Range(0.0, 0.3)}, math.inf),
    ],
)
def test_the_size_of_a_space_by_hand(parts, size):
    assert search(space=parts).size == size


def test_a_searched_setting_that_means_nothing_is_left_out():
    parts = {"cell": Choices(["rnn", "lstm"]), "activation": Choices(["tanh", "relu"]), "forget_bias": Range(0, 2)}
    made = search(space=parts, fixed={"hidden_size": 3})
    values = {"activation": "relu", "forget_bias": 0.5}
    assert made.config({"cell": "rnn"} | values, 7) == RunConfig(hidden_size=3, activation="relu", seed=7)
    assert made.config({"cell": "lstm"} | values, 8) == RunConfig(hidden_size=3, cell="lstm", forget_bias=0.5, seed=8)


def test_iterations_are_counted_at_their_most():
    assert search(n_seeds=3, fixed={"n_iterations": 7}).n_iterations == 7 * 4 * 3
    assert search(n_seeds=2).n_iterations == 10_000 * 4 * 2
    assert search(space={"n_iterations": Range(5, 9)}).n_iterations == 9 * 4
    assert search(space={"n_iterations": Choices([5, 8, 2, 6])}).n_iterations == 8 * 4


@pytest.mark.parametrize("name", TEMPLATES)
def test_every_template_can_be_made_comes_back_from_json_and_its_configs_can_be_trained(name):
    made = template(name)
    assert Search.from_json(made.to_json()) == made
    assert Search.from_dict(json.loads(made.to_json())) == made
    assert made.n_trials == TEMPLATES[name]["n_trials"]
    short = template(name, fixed=TEMPLATES[name]["fixed"] | {"n_iterations": 2}, n_trials=2)
    values = [made.first(), *(template(name, sampler="grid", points=2, n_trials=10**5).grid())]
    assert len(values) > 12
    results = train([short.config(point, seed) for point in values for seed in (1, 2)])
    assert {result.status for result in results} == {"finished"}
    for point, result in zip(values, results[::2], strict=True):
        shown = result.config.to_dict() | {"activation": result.config.activation or point.get("activation")}
        assert {key: shown[key] for key in point} == point


def test_a_search_with_everything_comes_back_from_json():
    made = search(
        name="é ☃",
        space={
            "clip_norm": Choices([None, 0.1, 1.0]),
            "bias": Choices([True, False]),
            "hidden_size": Range(2, 8, step=2),
            **RATES,
        },
        fixed={"n_iterations": 5, "clip_value": None},
        objectives=["cost", "accuracy"],
        sampler="qmc",
        seed=2**32 - 1,
        n_trials=9,
        seconds=2.5,
        n_seeds=8,
        batch=7,
        points=6,
    )
    back = Search.from_json(made.to_json())
    assert back == made
    defaults = [f.name for f in dataclasses.fields(made) if getattr(made, f.name) == f.default]
    assert defaults == ["pruner", "warm_start"]
    assert back.objectives == ("cost", "accuracy")
    other = search(pruner="hyperband", warm_start="é ☃")
    assert (other.pruner, other.warm_start, Search.from_json(other.to_json())) == ("hyperband", "é ☃", other)


def test_a_search_of_before_there_was_pruning_is_read():
    old = {"name": "x", "space": {"bits": [2, 3]}, "fixed": {}, "objectives": ["final_loss"], "sampler": "tpe", "seed": 1}
    old |= {"n_trials": 2, "n_seeds": 1, "batch": 32, "points": 5}
    made = Search.from_json(json.dumps(old))
    assert (made.pruner, made.seconds, made.warm_start, made.n_trials, made.batch) == ("none", None, "", 2, 32)


def test_an_unknown_template_is_named():
    with pytest.raises(ConfigError, match=r"template: .* found 'cell'; did you mean 'cells'"):
        template("cell")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected a search as JSON, found text that is none"),
        ("{", "expected a search as JSON, found text that is none"),
        ("[]", "expected a search as an object with .*, found list"),
        ("null", "expected a search as an object with .*, found NoneType"),
        ("{}", "expected a search with name, found none"),
        ('{"name": "a"}', "expected a search with space, found none"),
        ('{"name": "a", "space": [1]}', "space: expected an object that gives each setting a list of choices, or low and high"),
        ('{"name": "a", "space": {}}', "space: expected one or more settings to search, found none"),
        ('{"name": "a", "space": {"bits": [2]}, "n_trails": 1}', "field: .* found 'n_trails'; did you mean 'n_trials'"),
        ('{"name": "a", "space": {"bits": 3}}', "bits: expected a list of choices or .*, found 3"),
        ('{"name": "a", "space": {"bits": "23"}}', "bits: expected a list of choices or .*, found '23'"),
        ('{"name": "a", "space": {"bits": {"low": 2}}}', "bits: expected a list of choices or .*, found {'low': 2}"),
        ('{"name": "a", "space": {"bits": {"low": 2, "high": 3, "x": 1}}}', "bits: expected a list of choices or "),
        ('{"name": "a", "space": {"bits": {"low": "2", "high": 3}}}', "bits: expected a whole number .*, found '2'"),
        ('{"name": "a", "space": {"bits": [[2]]}}', r"bits: expected plain values as choices, found \[\[2\]\]"),
        ('{"name": "a", "space": {"bits": []}}', "bits: expected one or more choices, found none"),
        ('{"name": "a", "space": {"bits": [2]}, "objectives": 5}', "objectives: expected a list of names, found 5"),
        ('{"name": "a", "space": {"bits": [2]}, "fixed": [1]}', r"fixed: expected settings with their values, found \[1\]"),
    ],
)
def test_text_that_describes_no_search_is_refused_with_what_was_expected(text, message):
    with pytest.raises((ConfigError, PlanError), match=message):
        Search.from_json(text)


def test_every_sampler_makes_a_search(monkeypatch):
    monkeypatch.setattr("studies.search.is_installed", lambda sampler: True)
    assert [search(sampler=name).sampler for name in SAMPLERS] == list(SAMPLERS)


def test_gp_is_refused_where_pytorch_is_missing(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert [name for name in SAMPLERS if not is_installed(name)] == ["gp"]
    with pytest.raises(PlanError, match=r"^sampler: expected PyTorch for gp, found none; install it \(pip install torch\), or"):
        search(sampler="gp")


def test_values_that_lie_in_a_space_are_told_from_others():
    space = {
        "learning_rate": Range(0.01, 1, log=True),
        "hidden_size": Range(2, 8, step=2),
        "weight_init_std": Range(0, 1, step=0.1),
        "clip_norm": Choices([None, 1.0]),
        "bias": Choices([True, False]),
    }
    made = search(space=space)
    inside = {"learning_rate": 0.5, "hidden_size": 4, "weight_init_std": 0.1 * 3, "clip_norm": None, "bias": True}
    assert made.holds(inside)
    for ends in ({"learning_rate": 1}, {"learning_rate": 0.01}, {"hidden_size": 8}, {"clip_norm": 1.0}, {"bias": False}):
        assert made.holds(inside | ends)
    wrong = {
        "learning_rate": [0.0099, 1.01, "0.5", True, None, math.nan, math.inf],
        "hidden_size": [3, 4.0, 10, True],
        "weight_init_std": [0.35, 1.1],
        "clip_norm": [1, 2.0, "None"],
        "bias": [1, 0, None],
    }
    for name, values in wrong.items():
        for value in values:
            assert not made.holds(inside | {name: value}), (name, value)
    assert not made.holds(inside | {"bits": 4})
    assert not made.holds({name: inside[name] for name in list(inside)[1:]})
    assert not made.holds({})


@pytest.mark.parametrize("wrong", [0, -1, math.nan, math.inf, True, "5", 2_592_001])
def test_a_time_limit_is_a_number_of_seconds_up_to_30_days(wrong):
    assert search(seconds=2_592_000).seconds == 2_592_000
    with pytest.raises(PlanError, match=r"^seconds: expected a number above 0 and at most 2,592,000 \(30 days\), found "):
        search(seconds=wrong)


def test_what_a_search_promises_depends_on_sampler_and_time(monkeypatch):
    monkeypatch.setattr("studies.search.is_installed", lambda sampler: True)
    promises = [search().promise, search(seconds=1).promise, search(sampler="gp").promise]
    assert len(set(promises)) == 3
    assert "any number of workers" in promises[0]
    assert "depends on the machine" in promises[1]
    assert "other trials" in promises[2]
