"""Rules of pruning by hand, and studies that prune against runs that were trained alone."""

import dataclasses
import itertools
import json
import math
import multiprocessing
import statistics

import numpy as np
import optuna
import pytest

from engine import CURVES, Population, RunConfig, train
from studies import driver, open_store
from studies.jobs import run_job
from studies.objectives import so_far, summarize
from studies.pruning import LEAST_FINISHED, bracket, given_up, rungs
from studies.sampling import Mirror, Proposal
from studies.search import Choices, Range, Search

ENDS = (1 / 27, 1 / 9, 1 / 3)
TENTHS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


# Rules


@pytest.mark.parametrize(
    ("n", "sizes"),
    [(49, [27, 12, 6, 4]), (98, [54, 24, 12, 8]), (256, [142, 62, 32, 20]), (3, [2, 1, 0, 0]), (1, [1, 0, 0, 0])],
)
def test_hyperband_s_brackets_are_those_of_its_authors(n, sizes):
    """Li et al. (2018), table 1: the brackets s = 3, 2, 1, 0 of R = 27 and reduction 3; a chunk is a round in proportion."""
    places = [bracket(place, n) for place in range(n)]
    assert places == sorted(places)
    assert [places.count(skipped) for skipped in range(4)] == sizes


def test_every_rule_has_its_rungs():
    assert rungs("none") == ()
    assert rungs("median") == TENTHS
    assert rungs("halving") == rungs("hyperband") == pytest.approx(ENDS)


def test_hyperband_halves_each_bracket_by_itself_once_its_time_has_come():
    values = {place: float(place) for place in range(49)}
    first = given_up("hyperband", values, [], 0, 49)
    assert first == set(range(9, 27))
    left = {place: value for place, value in values.items() if place not in first}
    second = given_up("hyperband", left, [], 1, 49)
    assert second == {*range(3, 9), *range(31, 39)}
    left = {place: value for place, value in left.items() if place not in second}
    assert given_up("hyperband", left, [], 2, 49) == {1, 2, 28, 29, 30, 41, 42, 43, 44}


@pytest.mark.parametrize(
    ("values", "leaving"),
    [
        ({0: 3.0, 1: 1.0, 2: 2.0}, {0, 2}),
        ({5: 1.0, 2: 1.0, 9: 1.0}, {5, 9}),  # all are equal: the first ones stay
        ({0: 2.0, 1: 2.0, 2: 1.0, 3: 2.0, 4: 9.0, 5: 9.0}, {1, 3, 4, 5}),
        ({n: float(-n) for n in range(10)}, set(range(7))),
        ({4: 1.0, 3: 0.5}, {4}),
        ({7: 123.0}, set()),
        ({}, set()),
    ],
)
def test_halving_keeps_the_best_third_and_at_least_one(values, leaving):
    assert given_up("halving", values, []) == leaving
    assert given_up("halving", dict(reversed(values.items())), [0.0] * 20) == leaving


@pytest.mark.parametrize(
    ("finished", "leaving"),
    [
        ([], set()),
        ([1.0] * (LEAST_FINISHED - 1), set()),
        ([1.0] * LEAST_FINISHED, {2, 3}),
        ([0.0, 0.5, 2.0, 9.0, 9.0], {3}),
        ([9.0, 0.0, 0.5, 1.5, 1.5, 9.0], {2, 3}),
        ([0.0, 0.0, 1.0, 3.0, 9.0, 9.0], {3}),  # between 1 and 3
        ([-1.0] * 7, {0, 1, 2, 3}),
    ],
)
def test_the_median_rule_ends_what_does_worse_than_the_median_of_finished_trials(finished, leaving):
    assert LEAST_FINISHED == 5
    assert given_up("median", {0: 0.0, 1: 1.0, 2: 2.0, 3: 3.0}, finished) == leaving
    assert given_up("median", {}, finished) == set()


def curve(column, values):
    rows = np.zeros((len(values), len(CURVES)))
    rows[:, CURVES.index(column)] = values
    return rows


def test_a_run_is_compared_by_the_mean_of_its_last_five_points():
    config = RunConfig()
    assert so_far("final_loss", config, curve("loss", [9, 9, 1, 2, 3, 4, 5]), False) == 3
    assert so_far("best_loss", config, curve("loss", [1, 2]), False) == 1.5
    assert so_far("accuracy", config, curve("accuracy", [0, 0, 1, 0.5, 1, 0.5, 1]), False) == 0.8


@pytest.mark.parametrize("column", [[math.nan], [1, 1, math.inf, 1], [1e308, 1e308], [], [11.0]])
def test_a_run_without_a_finite_loss_is_compared_by_the_worst_that_counts(column):
    config = RunConfig(task="parity", length=3)
    baseline = train([config.replace(n_iterations=1)])[0].evidence["baseline"]
    assert so_far("final_loss", config, curve("loss", column), False) == pytest.approx(10 * baseline)


def test_a_dead_run_counts_as_the_worst_whatever_its_curve_says():
    baseline = train([RunConfig(n_iterations=1)])[0].evidence["baseline"]
    assert so_far("iterations_to_solve", RunConfig(), curve("loss", [0.0]), True) == 10 * baseline
    assert so_far("accuracy", RunConfig(), curve("accuracy", [1.0]), True) == 0
    assert so_far("accuracy", RunConfig(), curve("accuracy", [math.nan]), False) == 0


# Studies against runs trained alone


def search(pruner="halving", **changes):
    """Return a search of which some runs die, with populations of two sizes and two seeds."""
    space = {
        "learning_rate": Range(0.01, 1000, log=True),
        "weight_init_std": Range(0.01, 30, log=True),
        "activation": Choices(["tanh", "softplus"]),
        "hidden_size": Range(2, 3),
    }
    fixed = {"n_iterations": 100, "dtype": "float32", "batch_size": 4}
    usual = {"fixed": fixed, "sampler": "random", "n_trials": 39, "batch": 27, "n_seeds": 2, "seed": 3}
    return Search(**{"name": f"study by {pruner}", "space": space, "pruner": pruner} | usual | changes)


SHARES = {
    "halving": lambda chunk: ENDS,
    "hyperband": lambda chunk: ENDS,
    "median": lambda chunk: TENTHS,
    "none": lambda chunk: (),
}


@dataclasses.dataclass
class Expected:
    """What a trial should come to: whether it is pruned, what it is compared by, how many points each of its runs keeps."""

    state: str
    rungs: list
    points: list


class Alone:
    """A search's trials played by hand, from runs that were trained alone to their end."""

    def __init__(self, made, trials):
        self.made, self.history, self.expected = made, [], {}
        self.runs = {t.number: [train([made.config(t.params, seed)])[0] for seed in made.seeds] for t in trials}
        for chunk in range(trials[-1].chunk + 1):
            self.play([t.number for t in trials if t.chunk == chunk], SHARES[made.pruner](chunk))

    def value(self, number, share):
        """Return the mean over the seeds of what the runs of a trial were at a rung; lower is better."""
        values, accurate = [], self.made.objectives == ("accuracy",)
        for run in self.runs[number]:
            n = run.config.n_iterations
            at = max(1, round(share * min(100, n))) * n // min(100, n)
            rows = run.curves[run.curves[:, 0] <= at][-5:, CURVES.index("accuracy" if accurate else "loss")].tolist()
            mean = sum(rows) / len(rows)
            died = not run.evidence["weights_finite"] and run.iterations <= at
            worst = 0.0 if accurate else 10 * run.evidence["baseline"]
            if died or not math.isfinite(mean):
                values.append(worst)
            else:
                values.append(mean if accurate else min(mean, worst))
        return sum(values) / len(values) * (-1 if accurate else 1)

    def ended(self, run, share):
        n = run.config.n_iterations
        return run.iterations <= max(1, round(share * min(100, n))) * n // min(100, n)

    def groups(self, numbers, rung):
        """Return the trials that are compared with each other at a rung."""
        if self.made.pruner == "halving":
            return [numbers]
        cuts = [0, *(math.ceil(len(numbers) * part / 49) for part in (27, 39, 45))]
        return [numbers[start:end] for start, end in itertools.pairwise(cuts)][: rung + 1]

    def play(self, numbers, shares):
        here = {number: Expected("complete", [], [len(run.curves) for run in self.runs[number]]) for number in numbers}
        staying = list(numbers)
        for rung, share in enumerate(shares):
            if all(self.ended(run, share) for number in staying for run in self.runs[number]):
                break  # nobody waits at this rung
            values = {number: self.value(number, share) for number in staying}
            for number, value in values.items():
                here[number].rungs.append(value)
            if self.made.pruner == "median":
                past = [rungs[rung] for rungs in self.history if len(rungs) > rung]
                keeps = [n for n in staying if len(past) < 5 or values[n] <= np.median(past)]
            else:
                keeps = []
                for group in self.groups(numbers, rung):
                    alive = sorted(set(group) & set(staying), key=lambda n: (values[n], n))
                    keeps += alive[: max(1, len(alive) // 3)]
                keeps += set(staying) - {number for group in self.groups(numbers, rung) for number in group}
            for number in set(staying) - set(keeps):
                for i, run in enumerate(self.runs[number]):
                    if not self.ended(run, share):
                        here[number].state = "pruned"
                        here[number].points[i] = max(1, round(share * min(100, run.config.n_iterations)))
            staying = keeps
        self.expected |= here
        self.history += [trial.rungs for trial in here.values() if trial.state == "complete"]


def check(store, study_id):
    """Compare a finished study with `Alone`; return what it expected."""
    study, trials = store.study(study_id), store.trials(study_id)
    alone, ids, made = Alone(study.search, trials), store.run_ids(study.job.id), study.search
    sign = -1 if made.objectives == ("accuracy",) else 1
    for trial in trials:
        expected = alone.expected[trial.number]
        assert trial.summary.state == expected.state
        assert [sign * value for value in trial.summary.rungs] == pytest.approx(expected.rungs)
        for i, whole in enumerate(alone.runs[trial.number]):
            run = store.run(ids[trial.number * made.n_seeds + i])
            n = expected.points[i]
            short = n < len(whole.curves)
            at = int(whole.curves[n - 1, 0])
            result = whole
            if short:
                population = Population([whole.config]).advance(at)
                population.stop(status="pruned")
                result = population.results()[0]
            assert (run["status"], run["iterations"]) == ("pruned" if short else "finished", at)
            np.testing.assert_array_equal(run["curves"], whole.curves[:n])
            assert (run["fingerprint"], run["outcome"]) == (result.fingerprint, result.outcome)
            numbers = ("final_loss", "best_loss", "accuracy")
            np.testing.assert_equal([run[name] for name in numbers], [getattr(result, name) for name in numbers])
            np.testing.assert_equal(run["evidence"], result.evidence)
    return alone


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"pruner": "hyperband", "n_trials": 60},
        {"pruner": "median", "batch": 10},
        {"pruner": "median", "batch": 12, "objectives": ["accuracy"]},
        {"objectives": ["accuracy"], "n_seeds": 1},
        {"objectives": ["iterations_to_solve"], "batch": 10},
        {"sampler": "grid", "points": 3, "n_seeds": 1},
        {"sampler": "tpe", "batch": 9, "n_trials": 30},
        {"sampler": "qmc", "batch": 5, "n_trials": 12, "n_seeds": 3},
    ],
    ids=lambda changes: "-".join(map(str, changes.values())) or "usual",
)
def test_which_trials_are_pruned_and_how_far_each_run_is_trained_is_as_played_by_hand(changes, store, trained):
    study_id = trained(store, search(**changes))
    alone = check(store, study_id)
    states = [trial.state for trial in alone.expected.values()]
    assert 0 < states.count("pruned") < len(states)
    assert store.study(study_id).job.progress == 1
    assert any(run.iterations < 100 for runs in alone.runs.values() for run in runs)


def test_halving_27_trials_trains_18_6_and_2_to_the_rungs_and_one_to_the_end(store, trained):
    calm = {"learning_rate": Range(0.01, 1, log=True)}
    study_id = trained(store, search(space=calm, n_trials=27, n_seeds=1, fixed={"n_iterations": 300, "hidden_size": 3}))
    runs = store.runs(store.study(study_id).job.id)
    assert runs.groupby("iterations").size().to_dict() == {12: 18, 33: 6, 99: 2, 300: 1}
    assert runs.groupby("status").size().to_dict() == {"pruned": 26, "finished": 1}


def test_a_round_of_hyperband_trains_each_bracket_as_far_as_its_authors_say(store, trained):
    calm = {"learning_rate": Range(0.01, 1, log=True)}
    made = search("hyperband", space=calm, n_trials=49, n_seeds=1, batch=49, fixed={"n_iterations": 300, "hidden_size": 3})
    runs = store.runs(store.study(trained(store, made)).job.id).set_index("number")["iterations"]
    kept = [runs.loc[first:last].value_counts().to_dict() for first, last in ((0, 26), (27, 38), (39, 44), (45, 48))]
    assert kept == [{12: 18, 33: 6, 99: 2, 300: 1}, {33: 8, 99: 3, 300: 1}, {99: 4, 300: 2}, {300: 4}]


@pytest.mark.parametrize("pruner", ["halving", "median"])
def test_runs_of_different_lengths_are_compared_at_the_same_share_of_their_training(pruner, store, trained):
    space = search().space | {"n_iterations": Choices([1, 4, 50, 200])}
    fixed = {name: value for name, value in search().fixed.items() if name != "n_iterations"}
    study_id = trained(store, search(pruner, space=space, fixed=fixed, n_trials=45, batch=15))
    alone = check(store, study_id)
    pruned = [number for number, trial in alone.expected.items() if trial.state == "pruned"]
    assert {alone.runs[number][0].config.n_iterations for number in pruned} >= {50, 200}
    assert store.study(study_id).job.progress == 1


def test_a_run_that_dies_counts_as_the_worst_and_stays_complete(store, trained):
    study_id = trained(store, search(n_seeds=1))
    dead = store.runs(store.study(study_id).job.id).query("iterations < 4")
    assert len(dead) > 2
    trials = store.trials(study_id)
    for number in dead["number"]:
        summary = trials[number].summary
        assert (summary.state, summary.outcome, summary.n_lost) == ("complete", "overflow", 1)
        assert summary.rungs == (10 * store.run(store.run_ids(store.study(study_id).job.id)[number])["evidence"]["baseline"],)
        assert summary.values == summary.rungs


def test_a_trial_is_compared_by_the_mean_of_its_seeds_even_if_one_has_died(store, trained):
    alone = check(store, trained(store, search(n_seeds=3)))
    alive = {n: [run.evidence["weights_finite"] for run in runs] for n, runs in alone.runs.items()}
    mixed = [number for number, which in alive.items() if 0 < sum(which) < 3]
    assert mixed
    assert {alone.expected[number].state for number in mixed} == {"pruned"}


@pytest.mark.parametrize("pruner", ["halving", "median"])
def test_two_workers_prune_the_same_as_one(pruner, store, trained, facts, monkeypatch):
    made = search(pruner, n_trials=24, batch=8)
    one = facts(store, trained(store, made))
    monkeypatch.setattr(driver, "WORTH_A_POOL", 0)
    pids = set()
    note = lambda share: pids.update(child.pid for child in multiprocessing.active_children())  # noqa: E731
    two = facts(store, trained(store, dataclasses.replace(made, name="again"), 2, note))
    assert len(pids) == 2
    assert two == one


@pytest.mark.parametrize(("pruner", "sampler"), [("halving", "tpe"), ("halving", "grid"), ("median", "tpe"), ("median", "qmc")])
def test_a_pruned_study_stopped_in_mid_chunk_goes_on_as_if_nothing_had_been(
    pruner, sampler, store, trained, facts, small_slices
):
    fixed = search().fixed | {"n_iterations": 20}
    made = search(pruner, sampler=sampler, n_trials=16, batch=6, n_seeds=1, points=2, fixed=fixed)
    whole = facts(store, trained(store, made))
    study_id = store.add_study(dataclasses.replace(made, name="in parts"))
    job_id, stops = store.study(study_id).job.id, 0
    for share in (0.1, 0.35, 0.5, 0.75, 0.95):
        ended = run_job(store, job_id, 1, lambda done, at=share: done >= at and store.request_stop(job_id))
        if ended == "finished":
            break
        stops += [chunk.state for chunk in store.chunks(study_id)].count("open")
        store.wait_again(job_id)
    if ended != "finished":
        assert run_job(store, job_id, 1) == "finished"
    assert stops >= 3
    assert facts(store, study_id) == whole


# Optuna


@pytest.mark.parametrize("sampler", ["random", "tpe", "grid", "qmc"])
def test_optuna_reads_pruned_trials_as_its_own(sampler, store, trained):
    made = search(sampler=sampler, points=4, n_seeds=1)
    study_id = trained(store, made)
    trials = store.trials(study_id)
    theirs = optuna.load_study(study_name=made.name, storage=store.optuna_storage())
    found = theirs.get_trials()
    pruned = [trial for trial in found if trial.state.name == "PRUNED"]
    assert len(found) == len(trials) == 39
    assert len(pruned) > 20
    for trial, ours in zip(found, trials, strict=True):
        summary = ours.summary
        assert trial.state.name == {"pruned": "PRUNED", "complete": "COMPLETE"}[summary.state]
        assert trial.params == ours.params
        if summary.state == "pruned":
            assert trial.intermediate_values == dict(enumerate(summary.rungs))
            assert trial.values == [summary.rungs[-1]]
        else:
            assert trial.intermediate_values == {}
            assert tuple(trial.values) == summary.values
        assert trial.user_attrs["brink:summary"] == json.loads(json.dumps(dataclasses.asdict(summary)))
    assert theirs.best_trial.number == min(
        (t.number for t in trials if t.summary.state == "complete"), key=lambda n: trials[n].summary.values
    )
    assert (theirs.trials_dataframe()["state"] == "PRUNED").sum() == len(pruned)


@pytest.mark.parametrize("sampler", ["random", "tpe", "qmc", "grid"])
def test_optuna_told_by_hand_of_pruned_trials_has_the_same_study_as_the_mirror(sampler):
    made = search(sampler=sampler, n_trials=12, batch=6, points=3)
    mirror = Mirror(made, [], {})
    asked = mirror.ask(0, 6)
    rungs = [(), (3.0,), (3.0, 2.0), (), (1.0, 1.0, 1.0), ()]
    told = mirror.tell([p._replace(rungs=r) for p, r in zip(asked, rungs, strict=True)], [(0.5 + i,) for i in range(6)])
    by_hand = optuna.create_study()
    for proposal, values in zip(asked, rungs, strict=True):
        trial = by_hand.ask()
        for step, value in enumerate(values):
            trial.report(value, step)
        if values:
            by_hand.tell(trial, state=optuna.trial.TrialState.PRUNED)
        else:
            by_hand.tell(trial, 0.5 + proposal.number)
    expected = [(t.state, t.values, t.intermediate_values) for t in by_hand.trials]
    assert [(t.state, t.values, t.intermediate_values) for t in mirror.study.trials] == expected
    assert [proposal.rungs for proposal in told] == rungs
    rebuilt = Mirror(made, [(p, (0.5 + p.number,)) for p in told], mirror.attributes)
    assert [(t.state, t.values, t.intermediate_values) for t in rebuilt.study.trials] == expected
    assert [t.system_attrs for t in rebuilt.study.trials] == [t.system_attrs for t in mirror.study.trials]
    assert [t.params for t in rebuilt.study.trials] == [p.values for p in asked]


@pytest.mark.parametrize("sampler", ["tpe", "random", "qmc", "grid"])
def test_a_mirror_rebuilt_from_pruned_trials_asks_the_same(sampler):
    made = search(sampler=sampler, n_trials=48, batch=12, points=4)
    whole, told = Mirror(made, [], {}), []
    for chunk in range(4):
        rebuilt = Mirror(made, told, json.loads(json.dumps(whole.attributes)))
        asked = whole.ask(chunk, 12)
        assert [p.values for p in rebuilt.ask(chunk, 12)] == [p.values for p in asked]
        sizes = [math.log10(p.values["weight_init_std"]) ** 2 for p in asked]
        cut = statistics.median(sizes)
        asked = [p._replace(rungs=(size + 1, size + 0.5) if size > cut else ()) for p, size in zip(asked, sizes, strict=True)]
        for proposal, size in zip(whole.tell(asked, [(size,) for size in sizes]), sizes, strict=True):
            told.append((Proposal(*json.loads(json.dumps(proposal[:3])), proposal.rungs), (size,)))


def test_tpe_learns_from_pruned_trials():
    made = search(sampler="tpe", n_trials=48, batch=24)
    asked = Mirror(made, [], {}).ask(0, 24)

    def next_ones(rungs):
        told = [(p._replace(rungs=(rungs(p),) if p.number else ()), (1.0,)) for p in asked]
        return [p.values for p in Mirror(made, told, {}).ask(1, 12)]

    assert next_ones(lambda p: p.values["learning_rate"]) != next_ones(lambda p: -p.values["learning_rate"])


# Summaries


def test_a_trial_is_pruned_if_any_of_its_runs_is():
    violent = RunConfig(n_iterations=8, activation="linear", dtype="float32", weight_init_std=1e6)
    done, dead = train([RunConfig(n_iterations=8), violent])
    assert dead.iterations < 8
    population = Population([RunConfig(n_iterations=8)]).advance(4)
    population.stop(status="pruned")
    cut = population.results()[0]
    assert [run.status for run in (done, dead, cut)] == ["finished", "finished", "pruned"]
    for runs, state in (([done, dead], "complete"), ([dead, cut], "pruned"), ([cut, cut], "pruned"), ([dead], "complete")):
        summary = summarize(runs, ("final_loss",), (2.0, 1.0))
        assert (summary.state, summary.rungs) == (state, (2.0, 1.0))
        assert summary.pruned_at == ((2.0, 1.0) if state == "pruned" else ())


def test_a_store_opened_elsewhere_reads_rungs_and_states(store, trained, url):
    study_id = trained(store, search(n_trials=9, batch=9))
    summaries = [trial.summary for trial in open_store(url).trials(study_id)]
    assert summaries == [trial.summary for trial in store.trials(study_id)]
    assert all(isinstance(summary.rungs, tuple) for summary in summaries)
    assert {summary.state for summary in summaries} == {"complete", "pruned"}
