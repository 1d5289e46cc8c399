import json
import math

import pytest

from engine import FIELDS
from studies.sampling import Mirror, Proposal
from studies.search import SAMPLERS as ALL
from studies.search import Choices, Range, Search

SAMPLERS = [sampler for sampler in ALL if sampler != "gp"]
"""The Gaussian process needs seconds for a chunk, and torch; it has a file of its own."""

SPACE = {
    "learning_rate": Range(0.01, 1, log=True),
    "weight_init_std": Range(0, 2),
    "hidden_size": Range(2, 9),
    "bits": Range(2, 14, step=3),
    "activation": Choices(["tanh", "relu", "sigmoid"]),
    "clip_norm": Choices([None, 1.0]),
}
ASKED = 40


def search(sampler, **changes):
    """Return a search of three whole chunks and a shorter one."""
    return Search(**{"name": "x", "space": SPACE, "sampler": sampler, "n_trials": ASKED, "batch": 12, "points": 2} | changes)


def values(proposal, n_objectives):
    """Return some smooth function of a trial, so that samplers have something to learn."""
    part = proposal.values
    first = (math.log10(part["learning_rate"]) + 1) ** 2 + (part["weight_init_std"] - 1) ** 2 + part["hidden_size"] / 10
    return (first, first / 2 - part["hidden_size"])[:n_objectives]


def told_of(search, rebuild=False):
    """Play a search; after each chunk build the mirror anew from what a store would keep, if wanted."""
    mirror, told, attributes, chunk = Mirror(search, [], {}), [], {}, 0
    while mirror.n_asked < search.n_trials:
        asked = mirror.ask(chunk, min(search.batch, search.n_trials - mirror.n_asked))
        if rebuild:  # as after a kill in mid-chunk: asked once more, from what the chunks before came to
            mirror = Mirror(search, told, attributes)
            again = mirror.ask(chunk, len(asked))
            assert [proposal.values for proposal in again] == [proposal.values for proposal in asked]
            asked = again
        results = [values(proposal, len(search.objectives)) for proposal in asked]
        told += zip(mirror.tell(asked, results), results, strict=True)
        attributes = json.loads(json.dumps(mirror.attributes))
        told = [(Proposal(p.number, *json.loads(json.dumps([p.values, p.notes]))), v) for p, v in told]
        chunk += 1
        if rebuild:
            mirror = Mirror(search, told, attributes)
    assert [proposal.number for proposal, _ in told] == list(range(search.n_trials))
    return told


def trials_of(search, rebuild=False):
    return [tuple(proposal.values.items()) for proposal, _ in told_of(search, rebuild)]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_mirror_rebuilt_from_what_was_kept_asks_the_same_trials_with_the_same_notes(sampler):
    rebuilt, whole = told_of(search(sampler), rebuild=True), told_of(search(sampler))
    for one, other in zip(rebuilt, whole, strict=True):
        assert (comparable(one[0]), one[1]) == (comparable(other[0]), other[1])


def comparable(proposal):
    """Return a proposal without the bytes of the optimizer of cmaes: places that it has not used hold what was in memory."""
    notes = {name: None if name.startswith("cma:optimizer") else note for name, note in proposal.notes.items()}
    return proposal.number, proposal.values, notes


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_the_seed_decides_the_trials(sampler):
    one, again, other = (trials_of(search(sampler, seed=seed)) for seed in (1, 1, 2))
    assert one == again
    assert (one == other) == (sampler == "grid")


@pytest.mark.parametrize("sampler", ["tpe", "cmaes"])
def test_samplers_that_learn_come_nearer_to_the_best(sampler):
    """The mean of the last chunk of a long search, beside the mean of its first, whose trials are drawn blindly."""
    numbers = {name: part for name, part in SPACE.items() if isinstance(part, Range)}
    results = [v[0] for _, v in told_of(search(sampler, space=numbers, n_trials=120))]
    assert sum(results[-12:]) < 0.7 * sum(results[:12])


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_only_samplers_that_learn_look_at_what_trials_came_to(sampler):
    made = search(sampler)
    told = told_of(made)[:24]
    before, after = (Mirror(made, [(p, (sign * v[0],)) for p, v in told], {}).ask(2, 12) for sign in (1, -1))
    assert ([p.values for p in before] != [p.values for p in after]) == (sampler in ("tpe", "cmaes"))


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_all_values_lie_in_the_space_and_have_the_setting_s_type(sampler):
    seen = {name: set() for name in SPACE}
    for proposal, _ in told_of(search(sampler)):
        assert list(proposal.values) == list(SPACE)
        for name, value in proposal.values.items():
            seen[name].add(value)
            part = SPACE[name]
            if isinstance(part, Choices):
                assert value in part.values
            else:
                assert part.low <= value <= part.high
                assert type(value) is {"int": int, "float": float}[FIELDS[name].kind]
    assert seen["bits"] <= {2, 5, 8, 11, 14}
    assert sampler == "grid" or all(len(values) > 1 for values in seen.values())


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_steps_that_do_not_reach_the_end_of_their_range_are_kept(sampler):
    space = {"weight_init_std": Range(0, 1, step=0.3), "hidden_size": Range(2, 9, step=3), "learning_rate": Range(0.1, 1)}
    made = search(sampler, space=space, points=4, n_trials=48)
    played = [proposal.values for proposal, _ in told_of(made, rebuild=True)]
    assert {round(trial["weight_init_std"] / 0.3, 9) for trial in played} == {0, 1, 2, 3}
    assert {trial["hidden_size"] for trial in played} == {2, 5, 8}


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("sampler", [sampler for sampler in SAMPLERS if sampler != "grid"])
def test_no_sampler_repeats_itself_over_the_chunks(sampler, seed):
    """Each chunk draws from a seed of its own, and QMC goes on with its sequence: real numbers never come twice."""
    space = {name: SPACE[name] for name in ("learning_rate", "weight_init_std", "hidden_size")}
    played = trials_of(search(sampler, space=space, seed=seed, n_trials=60), rebuild=True)
    for name in ("learning_rate", "weight_init_std"):
        inside = [value for trial in played if (value := dict(trial)[name]) not in (space[name].low, space[name].high)]
        assert len(set(inside)) == len(inside) > 40


def test_qmc_spreads_more_evenly_than_chance():
    """Of 64 scrambled Sobol points every eighth of a range holds 8, but for the end of the sequence."""
    space = {name: SPACE[name] for name in ("learning_rate", "weight_init_std", "hidden_size")}

    def fullest(sampler):
        played = [dict(trial)["weight_init_std"] for trial in trials_of(search(sampler, space=space, n_trials=64, batch=16))]
        return max(sum(k / 4 <= value < (k + 1) / 4 for value in played) for k in range(8))

    assert fullest("qmc") <= 9 < fullest("random")


def test_a_grid_comes_in_its_order():
    made = search("grid", space={"bits": Choices([4, 2]), "hidden_size": Range(2, 5)}, points=4, batch=3)
    values = [(bits, size) for bits in (4, 2) for size in (2, 3, 4, 5)]
    mirror, found = Mirror(made, [], {}), []
    for chunk, n in enumerate((3, 3, 2)):
        asked = mirror.ask(chunk, n)
        found += [tuple(proposal.values.values()) for proposal in asked]
        mirror.tell(asked, [(0.0,)] * n)
    assert found == values


@pytest.mark.parametrize("sampler", [sampler for sampler in SAMPLERS if sampler != "cmaes"])
def test_two_objectives_work_with_every_sampler_but_cmaes(sampler):
    made = search(sampler, objectives=("final_loss", "accuracy"))
    told = told_of(made, rebuild=True)
    assert told == told_of(made)
    mirror = Mirror(made, told, {})
    assert [direction.name for direction in mirror.study.directions] == ["MINIMIZE", "MAXIMIZE"]
    assert [tuple(trial.values) for trial in mirror.study.trials] == [values for _, values in told]
