"""Studies and jobs that people steer: paused, with other workers, with trials of their own, longer, warmed up, renamed."""

import dataclasses
import itertools
import multiprocessing
import threading
import time
from types import SimpleNamespace

import numpy as np
import optuna
import pytest

from engine import train
from studies import JobError, Plan, StoreError, driver
from studies.errors import NameTakenError, PlanError
from studies.jobs import launch, resume, run_job
from studies.objectives import summarize
from studies.sampling import FIXED, distributions
from studies.search import Choices, Range, Search
from studies.store import Store

SPACE = {"learning_rate": Range(0.01, 10, log=True), "activation": Choices(["tanh", "relu"]), "hidden_size": Range(2, 3)}
WISHES = [
    {"learning_rate": 0.5, "activation": "tanh", "hidden_size": 3},
    {"learning_rate": 0.25, "activation": "relu", "hidden_size": 2},
]
BLIND = ("random", "qmc", "grid")


def search(name="study", **changes):
    """Return a search of three chunks (4, 4 and 2 trials), each of up to two populations."""
    usual = {"fixed": {"n_iterations": 12}, "sampler": "random", "n_trials": 10, "batch": 4, "seed": 3, "points": 3}
    return Search(**{"name": name, "space": SPACE} | usual | changes)


def made(store, **changes):
    """Make a study; return its id and its job's."""
    study = store.study(store.add_study(search(**changes)))
    return study.id, study.job.id


def own(store, study_id):
    """Return what the sampler proposed, in order."""
    return [trial.params for trial in store.trials(study_id) if FIXED not in trial.notes]


def asked_for(store, study_id):
    """Return what people asked for, by number."""
    return {trial.number: trial.params for trial in store.trials(study_id) if FIXED in trial.notes}


def once(at, act):
    """Return what a driver calls with its progress: it acts once, when that much is done."""
    acted = []

    def show(share):
        if share >= at and not acted:
            acted.append(share)
            act()

    return show


def unchunked(found):
    """Return what a study came to without where its chunks began."""
    trials = [dataclasses.replace(trial, chunk=0) for trial in found["trials"]]
    return {name: part for name, part in found.items() if name != "chunks"} | {"trials": trials}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, facts, trained):
    """What the usual search comes to by each sampler when nobody steers it."""
    from studies import open_store

    store = open_store(f"sqlite:///{tmp_path_factory.mktemp('undisturbed') / 'brink.db'}")
    return {sampler: facts(store, trained(store, search(sampler, sampler=sampler))) for sampler in (*BLIND, "tpe")}


# Pause


class Pausing:
    """Pauses a job at some progress and lets it go on, or does something else, after some beats; notes what it saw."""

    def __init__(self, store, job_id, at, n_beats=4, then=None):
        self.store, self.job_id, self.at, self.left, self.then = store, job_id, at, n_beats, then
        self.paused, self.beats, self.after = [], [], []

    def __call__(self, share):
        job = self.store.job(self.job_id)
        with self.store.reading() as connection:
            beat = connection.exec_driver_sql("SELECT heartbeat_at FROM lab_job WHERE id = ?", (self.job_id,)).scalar()
        if job.status == "paused":
            self.paused.append((share, job.iterations_done))
            self.beats.append(beat)
            self.left -= 1
            if not self.left:
                self.then() if self.then else self.store.request_pause(self.job_id, False)
        elif self.paused:
            self.after.append(share)
        elif share >= self.at and job.status != "pausing":
            self.store.request_pause(self.job_id)
            assert self.store.job(self.job_id).status == "pausing"


@pytest.fixture
def quick(monkeypatch):
    """Short slices, counted: how many iterations of populations were trained in this process."""
    monkeypatch.setattr(driver, "SLICE_SECONDS", 1e-6)
    advance, counts = driver._advance, []

    def counting(population, n_iterations):
        before = 0 if isinstance(population, list) else population.iteration
        after, seconds = advance(population, n_iterations)
        counts.append(after.iteration - before)
        return after, seconds

    monkeypatch.setattr(driver, "_advance", counting)
    return counts


@pytest.mark.parametrize("at", [0, 0.3, 0.7])
def test_a_paused_study_stands_still_and_goes_on_from_memory(at, store, facts, undisturbed, quick):
    study_id, job_id = made(store)
    pausing = Pausing(store, job_id, at)
    assert run_job(store, job_id, 1, pausing) == "finished"
    assert len(pausing.paused) >= 4
    assert len(set(pausing.paused)) == 1
    assert len(set(pausing.beats)) >= 4
    assert pausing.beats == sorted(pausing.beats)
    assert pausing.after == sorted(pausing.after)
    assert pausing.after[0] >= pausing.paused[0][0]
    assert facts(store, study_id) == undisturbed["random"]
    populations = sum(len({t.params["hidden_size"] for t in store.trials(study_id) if t.chunk == chunk}) for chunk in range(3))
    assert sum(quick) == 12 * populations  # nothing was trained twice


def test_a_paused_job_of_a_plan_stands_still_and_goes_on(store, quick):
    plan = Plan.of(hidden_size=[3, 4], n_iterations=12, seed=[1, 2])
    job_id = store.add_job(plan)
    pausing = Pausing(store, job_id, 0.4)
    assert run_job(store, job_id, 1, pausing) == "finished"
    assert len(pausing.paused) >= 4
    assert len(set(pausing.paused)) == 1
    assert sum(quick) == 24
    fingerprints = [result.fingerprint for result in train(plan.configs())]
    assert store.runs(job_id)["fingerprint"].tolist() == fingerprints


def test_a_study_with_two_workers_stands_still_when_it_is_paused(store, facts, undisturbed, monkeypatch):
    monkeypatch.setattr(driver, "WORTH_A_POOL", 0)
    study_id, job_id = made(store)
    pausing = Pausing(store, job_id, 0.01)
    assert run_job(store, job_id, 2, pausing) == "finished"
    assert len(pausing.paused) >= 4
    assert len(set(pausing.paused)) == 1
    assert facts(store, study_id) == undisturbed["random"]


def test_a_paused_study_can_be_stopped_and_resumed(store, facts, undisturbed, quick, go_on):
    study_id, job_id = made(store)
    pausing = Pausing(store, job_id, 0.2, then=lambda: store.request_stop(job_id))
    assert run_job(store, job_id, 1, pausing) == "stopped"
    assert len(pausing.paused) >= 4
    assert (store.job(job_id).status, [chunk.state for chunk in store.chunks(study_id)]) == ("stopped", ["open"])
    go_on(store, study_id)
    assert facts(store, study_id) == undisturbed["random"]


def test_a_job_paused_before_it_began_holds_at_its_start(store, facts, undisturbed, quick):
    study_id, job_id = made(store)
    store.request_pause(job_id)
    assert store.job(job_id).status == "pausing"
    pausing = Pausing(store, job_id, 2)
    assert run_job(store, job_id, 1, pausing) == "finished"
    assert len(pausing.paused) >= 4
    assert set(pausing.paused) == {(0, 0)}
    assert facts(store, study_id) == undisturbed["random"]


def test_a_pause_taken_back_before_it_is_heard_is_none(store, quick):
    _, job_id = made(store)
    seen = []

    def show(share):
        if share >= 0.3 and not seen:
            store.request_pause(job_id)
            store.request_pause(job_id, False)
        seen.append(store.job(job_id).status)

    assert run_job(store, job_id, 1, show) == "finished"
    assert set(seen) == {"running"}


def test_a_process_of_its_own_holds_with_signs_of_life_until_it_may_go_on(store, sql, until):
    job_id = store.add_job(Plan.of(hidden_size=4, n_iterations=3_000_000))
    process = launch(store, job_id)
    until(lambda: store.job(job_id).progress > 0)
    store.request_pause(job_id)
    until(lambda: store.job(job_id).status == "paused")
    held, beats = store.job(job_id).iterations_done, set()
    until(lambda: beats.update(sql(store, "SELECT heartbeat_at FROM lab_job")) or len(beats) >= 4)
    assert (store.job(job_id).iterations_done, store.job(job_id).status) == (held, "paused")
    with pytest.raises(JobError, match="found one that is paused"):
        store.wait_again(job_id)
    store.request_pause(job_id, False)
    until(lambda: store.job(job_id).iterations_done > held)
    assert store.job(job_id).status == "running"
    store.request_pause(job_id)
    until(lambda: store.job(job_id).status == "paused")
    store.request_stop(job_id)
    until(lambda: store.job(job_id).status == "stopped")
    assert process.wait(30) == 0
    (iterations,) = store.runs(job_id)["iterations"]
    assert held < iterations < 3_000_000


def test_a_study_killed_while_it_is_paused_goes_on(store, sql, until, facts, undisturbed, go_on):
    study_id, job_id = made(store)
    store.request_pause(job_id)
    process = launch(store, job_id)
    until(lambda: store.job(job_id).status == "paused")
    process.kill()
    process.wait(30)
    sql(store, "UPDATE lab_job SET heartbeat_at = 0")
    assert store.job(job_id).status == "lost"
    go_on(store, study_id)
    assert facts(store, study_id) == undisturbed["random"]


# Workers


class Staffing:
    """Asks for other numbers of workers at some progress and notes how many there were."""

    def __init__(self, store, job_id, plan):
        self.store, self.job_id, self.plan, self.seen = store, job_id, list(plan), []

    def __call__(self, share):
        self.seen.append(len(multiprocessing.active_children()))
        if self.plan and share >= self.plan[0][0]:
            self.store.set_workers(self.job_id, self.plan.pop(0)[1])


def test_workers_come_and_go_while_a_study_is_trained_and_change_no_bit(store, facts, trained, monkeypatch):
    changes = {"space": SPACE | {"hidden_size": Range(2, 5)}, "n_trials": 24, "batch": 12}
    whole = facts(store, trained(store, search("whole", **changes)))
    monkeypatch.setattr(driver, "WORTH_A_POOL", 0)
    monkeypatch.setattr(driver, "SLICE_SECONDS", 1e-6)
    study_id, job_id = made(store, **changes)
    staffing = Staffing(store, job_id, [(0.1, 2), (0.4, 1)])
    assert run_job(store, job_id, 1, staffing) == "finished"
    assert [number for number, _ in itertools.groupby(staffing.seen) if number != 1] == [0, 2, 0]
    assert facts(store, study_id) == whole
    assert store.job(job_id).n_workers == 1


def test_workers_come_and_go_while_a_plan_is_trained_and_change_no_bit(store, monkeypatch):
    monkeypatch.setattr(driver, "WORTH_A_POOL", 0)
    monkeypatch.setattr(driver, "SLICE_SECONDS", 1e-6)
    plan = Plan.of(hidden_size=[2, 3, 4], n_iterations=30, seed=[1, 2])
    job_id = store.add_job(plan)
    staffing = Staffing(store, job_id, [(0.05, 2), (0.5, 1)])
    assert run_job(store, job_id, 1, staffing) == "finished"
    assert max(staffing.seen) == 2
    assert staffing.seen[-1] == 0
    assert store.runs(job_id)["fingerprint"].tolist() == [result.fingerprint for result in train(plan.configs())]


def test_a_number_of_workers_asked_for_before_is_used_however_small_the_job(store, facts, undisturbed):
    study_id, job_id = made(store)
    store.set_workers(job_id, 2)
    staffing = Staffing(store, job_id, [])
    assert run_job(store, job_id, 1, staffing) == "finished"
    assert max(staffing.seen) == 2
    assert facts(store, study_id) == undisturbed["random"]


# Trials that people ask for


@pytest.mark.parametrize("sampler", [*BLIND, "tpe"])
def test_trials_asked_for_before_a_study_begins_come_first(sampler, store, trained, undisturbed, go_on):
    study_id, job_id = made(store, sampler=sampler)
    assert store.enqueue(study_id, WISHES) == job_id
    assert (store.study(study_id).queue, store.study(study_id).n_trials) == (WISHES, 12)
    assert run_job(store, job_id, 1) == "finished"
    study, trials = store.study(study_id), store.trials(study_id)
    assert asked_for(store, study_id) == dict(enumerate(WISHES))
    assert (study.queue, study.n_done, study.n_trials, study.job.n_runs, study.job.progress) == ([], 12, 12, 12, 1)
    assert [chunk.n_trials for chunk in store.chunks(study_id)] == [6, 4, 2]
    if sampler in BLIND:
        assert own(store, study_id) == [trial.params for trial in undisturbed[sampler]["trials"]]
    results = train([study.search.config(trial.params, 1) for trial in trials])
    assert store.runs(job_id)["fingerprint"].tolist() == [result.fingerprint for result in results]
    theirs = optuna.load_study(study_name="study", storage=store.optuna_storage()).trials
    assert [t.number for t in theirs if "fixed_params" in t.system_attrs] == [0, 1]
    assert [t.params for t in theirs] == [trial.params for trial in trials]
    assert [tuple(t.values) for t in theirs] == [summarize([result], ("final_loss",)).values for result in results]


@pytest.mark.parametrize("sampler", BLIND)
@pytest.mark.parametrize("at", [0.2, 0.6, 0.99])
def test_trials_asked_for_while_a_study_is_trained_come_next_and_leave_the_sampler_s_own_alone(
    at, sampler, store, undisturbed, quick
):
    study_id, job_id = made(store, sampler=sampler)
    assert run_job(store, job_id, 1, once(at, lambda: store.enqueue("study", WISHES))) == "finished"
    first = {0.2: 4, 0.6: 8, 0.99: 10}[at]
    assert asked_for(store, study_id) == {first: WISHES[0], first + 1: WISHES[1]}
    assert own(store, study_id) == [trial.params for trial in undisturbed[sampler]["trials"]]
    study = store.study(study_id)
    assert (study.queue, study.n_done, study.job.status, study.job.progress) == ([], 12, "finished", 1)


@pytest.mark.parametrize("sampler", [*BLIND, "tpe"])
def test_trials_asked_for_after_a_study_s_end_are_trained_when_it_goes_on(sampler, store, trained, facts, undisturbed, go_on):
    study_id = trained(store, search(sampler=sampler))
    job_id = store.enqueue(study_id, WISHES)
    assert (store.job(job_id).status, store.job(job_id).n_runs, store.job(job_id).progress) == ("stopped", 12, 10 / 12)
    go_on(store, study_id)
    assert asked_for(store, study_id) == {10: WISHES[0], 11: WISHES[1]}
    found = facts(store, study_id)
    assert found["trials"][:10] == undisturbed[sampler]["trials"]
    assert found["optuna"][:10] == undisturbed[sampler]["optuna"]
    job_id = store.extend_study(study_id, 2)
    go_on(store, study_id)
    assert store.study(study_id).n_done == 14
    if sampler in BLIND:
        longer = trained(store, search("longer", sampler=sampler, n_trials=12))
        assert own(store, study_id) == own(store, longer)


@pytest.mark.parametrize("sampler", [*BLIND, "tpe"])
def test_an_open_chunk_with_trials_that_were_asked_for_is_asked_again(sampler, store, trained, facts, quick, go_on):
    whole_id, job_id = made(store, name="whole", sampler=sampler)
    store.enqueue(whole_id, WISHES[:1])
    assert run_job(store, job_id, 1, once(0.2, lambda: store.enqueue(whole_id, WISHES[1:]))) == "finished"
    study_id, job_id = made(store, sampler=sampler)
    store.enqueue(study_id, WISHES[:1])

    def ask_and_stop():
        store.enqueue(study_id, WISHES[1:])
        store.request_stop(job_id)

    assert run_job(store, job_id, 1, once(0.2, ask_and_stop)) == "stopped"
    assert store.study(study_id).queue == WISHES[1:]
    assert [(chunk.state, chunk.n_trials) for chunk in store.chunks(study_id)] == [("open", 5)]
    store.wait_again(job_id)
    assert run_job(store, job_id, 1, once(0.6, lambda: store.request_stop(job_id))) == "stopped"
    assert [(chunk.state, chunk.n_trials) for chunk in store.chunks(study_id)] == [("done", 5), ("open", 5)]
    go_on(store, study_id)
    assert asked_for(store, study_id) == {0: WISHES[0], 5: WISHES[1]}
    assert facts(store, study_id) == facts(store, whole_id)


def test_trials_asked_for_in_the_moment_a_chunk_is_asked_wait_for_the_next(store, monkeypatch):
    study_id, job_id = made(store)
    store.enqueue(study_id, WISHES[:1])
    open_chunk, calls = Store.open_chunk, []

    def late(self, *arguments):
        if not calls:
            store.enqueue(study_id, WISHES[1:])
        calls.append(arguments)
        open_chunk(self, *arguments)

    monkeypatch.setattr(Store, "open_chunk", late)
    assert run_job(store, job_id, 1) == "finished"
    assert asked_for(store, study_id) == {0: WISHES[0], 5: WISHES[1]}


def test_what_lies_outside_of_a_study_s_space_is_not_asked(store, trained, everything):
    study_id = trained(store, search())
    before = everything(store)
    good = WISHES[0]
    wrong = [
        good | {"learning_rate": 11},
        good | {"learning_rate": "0.5"},
        good | {"learning_rate": float("nan")},
        good | {"activation": "sigmoid"},
        good | {"hidden_size": 2.5},
        good | {"hidden_size": True},
        good | {"bits": 4},
        {"learning_rate": 0.5},
        {},
    ]
    for values in wrong:
        with pytest.raises(PlanError, match="expected values of learning_rate, activation, hidden_size within"):
            store.enqueue(study_id, [good, values])
    with pytest.raises(JobError, match="expected the id or name of a study, found 'nobody'"):
        store.enqueue("nobody", [good])
    assert everything(store) == before


def test_tpe_learns_from_trials_that_were_asked_for(store, trained):
    """Ten trials are drawn blindly; with two more of people the last chunk, asked after, is another one."""
    plain = trained(store, search("plain", sampler="tpe", n_trials=16, batch=12))
    study_id, job_id = made(store, sampler="tpe", n_trials=16, batch=12)
    store.enqueue(study_id, WISHES)
    assert run_job(store, job_id, 1) == "finished"
    assert own(store, study_id)[12:] != own(store, plain)[12:]


def test_a_whole_number_may_stand_for_a_real_one(store):
    study_id, job_id = made(store)
    store.enqueue(study_id, [WISHES[0] | {"learning_rate": 1}])
    assert run_job(store, job_id, 1) == "finished"
    assert store.trials(study_id)[0].params["learning_rate"] == 1.0
    assert store.runs(job_id)["learning_rate"][0] == 1.0


# Longer


@pytest.mark.parametrize("sampler", BLIND)
@pytest.mark.parametrize("n", [4, 7])
def test_a_study_extended_after_its_end_is_as_one_made_so_long_at_once(n, sampler, store, trained, facts, go_on, undisturbed):
    study_id = trained(store, search(sampler=sampler, n_trials=n))
    job_id = store.extend_study("study", 10 - n)
    assert (store.job(job_id).status, store.study(study_id).search.n_trials) == ("stopped", 10)
    go_on(store, study_id)
    assert unchunked(facts(store, study_id)) == unchunked(undisturbed[sampler])
    assert (store.job(job_id).n_runs, store.job(job_id).progress) == (10, 1)


@pytest.mark.parametrize("sampler", [*BLIND, "tpe"])
def test_a_study_extended_while_it_is_trained_is_as_one_made_so_long_at_once(sampler, store, facts, quick, undisturbed):
    study_id, job_id = made(store, sampler=sampler, n_trials=8)
    shares = []
    extend = once(0.3, lambda: store.extend_study(study_id, 2))
    assert run_job(store, job_id, 1, lambda share: (shares.append(share), extend(share))) == "finished"
    assert facts(store, study_id) == undisturbed[sampler]
    assert (store.study(study_id).search.n_trials, store.job(job_id).progress, shares[-1]) == (10, 1, 1)


def added_at_the_end(monkeypatch, store, study_id, ask):
    """Let somebody add two trials in the moment in which a job is said to have ended; return how it is said to, each time."""
    end, calls = Store.end_job, []

    def late(self, job, token, status, *rest, **options):
        if not calls:
            store.extend_study(study_id, 2) if ask == "extend" else store.enqueue(study_id, WISHES)
        calls.append(status)
        return end(self, job, token, status, *rest, **options)

    monkeypatch.setattr(Store, "end_job", late)
    return calls


@pytest.mark.parametrize("ask", ["extend", "enqueue"])
def test_trials_added_in_the_moment_a_study_ends_are_trained(ask, store, monkeypatch, undisturbed):
    study_id, job_id = made(store, n_trials=8)
    calls = added_at_the_end(monkeypatch, store, study_id, ask)
    assert run_job(store, job_id, 1) == "finished"
    assert calls == ["finished", "finished"]
    study = store.study(study_id)
    assert (study.n_done, study.n_trials, study.job.status, study.job.progress, study.queue) == (10, 10, "finished", 1, [])
    expected = [trial.params for trial in undisturbed["random"]["trials"]]
    assert [t.params for t in store.trials(study_id)] == (expected if ask == "extend" else expected[:8] + WISHES)


@pytest.mark.parametrize("ask", ["extend", "enqueue"])
def test_trials_added_in_the_moment_a_study_stops_leave_it_stopped(ask, store, monkeypatch, quick, undisturbed, go_on):
    study_id, job_id = made(store, n_trials=8)
    calls = added_at_the_end(monkeypatch, store, study_id, ask)
    assert run_job(store, job_id, 1, once(0.6, lambda: store.request_stop(job_id))) == "stopped"
    assert calls == ["stopped", "stopped"]
    assert [chunk.state for chunk in store.chunks(study_id)] == ["done", "open"]
    go_on(store, study_id)
    expected = [trial.params for trial in undisturbed["random"]["trials"]]
    assert [t.params for t in store.trials(study_id)] == (expected if ask == "extend" else expected[:8] + WISHES)


def interleave(store, monkeypatch, act):
    """Let something happen between two looks at the store of one call: after the first study is read."""
    study, acted = Store.study, []

    def slow(self, study_id):
        found = study(self, study_id)
        if not acted:
            acted.append(True)
            act()
        return found

    monkeypatch.setattr(Store, "study", slow)


def test_two_that_change_a_study_at_once_lose_nothing(store, monkeypatch):
    study_id, _ = made(store)
    interleave(store, monkeypatch, lambda: store.extend_study(study_id, 5))
    store.enqueue(study_id, WISHES)
    interleave(store, monkeypatch, lambda: store.enqueue(study_id, WISHES))
    store.extend_study(study_id, 3)
    interleave(store, monkeypatch, lambda: store.extend_study(study_id, 1))
    store.describe_study(study_id, "renamed", "", "")
    interleave(store, monkeypatch, lambda: store.describe_study(study_id, "again", "a note", ""))
    store.extend_study(study_id, 1)
    study = store.study(study_id)
    assert (study.search.n_trials, study.queue, study.n_trials) == (20, WISHES * 2, 24)
    assert (study.name, study.search.name, study.note) == ("again", "again", "a note")


# Time limits


@pytest.fixture
def clock(monkeypatch):
    """A clock of the driver's that stands still but for ten seconds with each chunk that is asked."""
    now = SimpleNamespace(seconds=1000.0)
    known = SimpleNamespace(monotonic=lambda: now.seconds, perf_counter=time.perf_counter, time=time.time)
    monkeypatch.setattr(driver, "time", known)
    open_chunk = Store.open_chunk

    def slow(self, *arguments):
        open_chunk(self, *arguments)
        now.seconds += 10

    monkeypatch.setattr(Store, "open_chunk", slow)
    return now


def timed(store, **changes):
    return made(store, **{"n_trials": None, "seconds": 25.0} | changes)


def test_a_time_limit_ends_a_study_between_two_chunks_with_as_many_trials_as_there_are(store, clock, facts, trained):
    shares, (study_id, job_id) = [], timed(store)
    assert (store.study(study_id).n_trials, store.study(study_id).search.n_trials) == (100_000, 100_000)
    assert run_job(store, job_id, 1, shares.append) == "finished"
    study = store.study(study_id)
    assert (study.n_done, study.n_trials, study.job.n_runs, study.job.status) == (12, 12, 12, "finished")
    assert (study.job.progress, study.job.n_iterations, study.job.iterations_done) == (1, 144, 144)
    assert [chunk.seconds for chunk in store.chunks(study_id)] == [10, 10, 10]
    assert (shares[0], shares[-1]) == (0, 1)
    assert shares == sorted(shares)
    assert {0.4, 0.8, 1} <= set(shares)


def test_a_chunk_knows_how_long_it_took_and_the_next_process_goes_on_counting(store, clock, monkeypatch, trained, go_on):
    advance = driver._advance

    def slow(*work):
        clock.seconds += 5
        return advance(*work)

    monkeypatch.setattr(driver, "_advance", slow)
    monkeypatch.setattr(driver, "SLICE_SECONDS", 1e9)
    study_id, job_id = timed(store, space={"learning_rate": Range(0.01, 1)}, fixed={"n_iterations": 5, "hidden_size": 2})
    assert run_job(store, job_id, 1) == "finished"
    assert [chunk.seconds for chunk in store.chunks(study_id)] == [15, 15]
    store.extend_study(study_id, more_seconds=10)
    assert store.study(study_id).search.seconds == 35
    go_on(store, study_id)
    assert [chunk.seconds for chunk in store.chunks(study_id)] == [15, 15, 15]


def test_a_study_whose_time_is_over_goes_on_with_more_and_is_the_same_as_one_that_had_it_at_once(store, clock, facts, go_on):
    whole_id, job_id = timed(store, name="whole", seconds=45.0)
    assert run_job(store, job_id, 1) == "finished"
    study_id, job_id = timed(store)
    assert run_job(store, job_id, 1, once(0.5, lambda: store.extend_study(study_id, more_seconds=20))) == "finished"
    assert store.study(study_id).n_done == store.study(whole_id).n_done == 20
    assert facts(store, study_id) == facts(store, whole_id)
    assert store.job(job_id).progress == 1


def test_a_study_with_a_time_limit_and_fewer_trials_ends_with_its_trials(store, clock, facts, undisturbed):
    study_id, job_id = timed(store, n_trials=10, seconds=1e6)
    shares = []
    assert run_job(store, job_id, 1, shares.append) == "finished"
    assert facts(store, study_id) == undisturbed["random"]
    assert (store.job(job_id).n_runs, store.job(job_id).progress, shares[-1]) == (10, 1, 1)


def test_time_stands_still_in_a_pause(store, clock, quick):
    study_id, job_id = timed(store)
    pausing = Pausing(store, job_id, 0.3)

    def show(share):
        pausing(share)
        if store.job(job_id).status == "paused":
            clock.seconds += 1000

    assert run_job(store, job_id, 1, show) == "finished"
    assert len(pausing.paused) >= 4
    assert len(set(pausing.paused)) == 1
    assert store.study(study_id).n_done == 12
    assert [chunk.seconds for chunk in store.chunks(study_id)] == [10, 10, 10]


def test_trials_asked_for_are_trained_even_when_the_time_is_over(store, clock, go_on):
    study_id, job_id = timed(store)
    assert run_job(store, job_id, 1, once(1, lambda: store.enqueue(study_id, WISHES[:1]))) == "finished"
    assert asked_for(store, study_id) == {12: WISHES[0]}
    assert (store.study(study_id).n_done, store.job(job_id).n_runs) == (13, 13)
    clock.seconds += 1000
    store.enqueue(study_id, WISHES[1:])
    assert store.job(job_id).status == "stopped"
    go_on(store, study_id)
    assert asked_for(store, study_id).keys() >= {12}
    assert WISHES[1] in asked_for(store, study_id).values()


@pytest.mark.parametrize("ask", ["enqueue", "extend"])
@pytest.mark.parametrize("where", ["settle", "end_job"])
def test_what_is_asked_in_the_moment_a_study_s_time_is_over_is_done(where, ask, store, clock, monkeypatch):
    study_id, job_id = timed(store)
    method, calls = getattr(Store, where), []

    def late(self, *arguments, **options):
        calls.append(where)
        if len(calls) == 1:
            store.enqueue(study_id, WISHES) if ask == "enqueue" else store.extend_study(study_id, more_seconds=10)
        return method(self, *arguments, **options)

    monkeypatch.setattr(Store, where, late)
    assert run_job(store, job_id, 1) == "finished"
    study = store.study(study_id)
    assert study.n_done == (14 if ask == "enqueue" else 16)
    assert (study.queue, study.n_trials, study.job.status, study.job.progress) == ([], study.n_done, "finished", 1)


def test_an_open_chunk_is_not_forgotten_when_a_study_is_stopped_after_its_time(store, clock, monkeypatch, quick, go_on):
    study_id, job_id = timed(
        store, n_trials=12, space={"learning_rate": Range(0.01, 1)}, fixed={"hidden_size": 2, "n_iterations": 12}
    )
    end, calls = Store.end_job, []

    def late(self, job, token, status, *rest, **options):
        if not calls:
            store.extend_study(study_id, 4)
        calls.append(status)
        return end(self, job, token, status, *rest, **options)

    monkeypatch.setattr(Store, "end_job", late)
    stop = lambda: len(store.chunks(study_id)) == 3 and store.request_stop(job_id)  # noqa: E731
    assert run_job(store, job_id, 1, lambda share: stop()) == "stopped"
    assert [chunk.state for chunk in store.chunks(study_id)] == ["done", "done", "open"]
    clock.seconds += 1000
    go_on(store, study_id)
    assert {chunk.state for chunk in store.chunks(study_id)} == {"done"}


def test_only_a_study_with_a_time_limit_gets_more_time(store, everything):
    study_id, _ = made(store)
    timed_id, _ = timed(store, name="timed")
    before = everything(store)
    with pytest.raises(PlanError, match="seconds: expected a study with a time limit, found 'study', which has none"):
        store.extend_study(study_id, more_seconds=5)
    for wrong in (-25, 1e9, float("nan")):
        with pytest.raises(PlanError, match="seconds: expected a number above 0"):
            store.extend_study(timed_id, more_seconds=wrong)
    for wrong in (0, -1):
        with pytest.raises(PlanError, match="n_trials: expected one or more new trials, found"):
            store.extend_study(timed_id, wrong)
    assert everything(store) == before


# Warm starts


def next_by_hand(made, told, n, chunk=0):
    """Return what Optuna's own sampler proposes after some finished trials, with the seed of a chunk."""
    seed = int(np.random.SeedSequence([made.seed, chunk]).generate_state(1)[0])
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed))
    known = distributions(made)
    study.add_trials([optuna.trial.create_trial(params=p, distributions=known, value=v) for p, v in told])
    return [study.ask(known).params for _ in range(n)]


def pairs(store, name):
    return [(trial.params, trial.summary.values[0]) for trial in store.trials(store.study(name).id)]


@pytest.fixture
def source(store, trained):
    """A finished study of 24 trials."""
    trained(store, search("source", n_trials=24, batch=24))
    return "source"


def test_a_warm_start_tells_the_sampler_the_trials_of_another_study(store, source, trained):
    warm = search("warm", sampler="tpe", n_trials=8, warm_start=source)
    cold = search("cold", sampler="tpe", n_trials=8)
    known = pairs(store, source)
    trained(store, warm)
    trained(store, cold)
    found = pairs(store, "warm")
    assert [params for params, _ in found[:4]] == next_by_hand(warm, known, 4)
    assert [params for params, _ in found[4:]] == next_by_hand(warm, known + found[:4], 4, chunk=1)
    assert [params for params, _ in pairs(store, "cold")[:4]] == next_by_hand(cold, [], 4)
    assert not any(params in [p for p, _ in pairs(store, "cold")] for params, _ in found)
    theirs = optuna.load_study(study_name="warm", storage=store.optuna_storage()).trials
    assert [trial.number for trial in theirs] == list(range(8))
    assert [trial.params for trial in theirs] == [params for params, _ in found]


def test_a_warm_study_goes_on_after_its_source_is_gone(store, source, trained, facts, quick, go_on):
    warm = search("warm", sampler="tpe", n_trials=8, warm_start=source)
    whole = facts(store, trained(store, warm))
    study_id, job_id = made(store, name="in parts", sampler="tpe", n_trials=8, warm_start=source)
    assert run_job(store, job_id, 1, once(0.6, lambda: store.request_stop(job_id))) == "stopped"
    assert store.study(study_id).n_done == 4
    store.delete_study(source)
    go_on(store, study_id)
    assert facts(store, study_id) == whole
    assert len(store.study(study_id).prior) == 24


def test_only_complete_trials_in_the_new_space_are_told_with_settings_that_were_fixed_there(store, trained):
    fixed = {"n_iterations": 60, "hidden_size": 3, "activation": "tanh"}
    made = search(
        "source", space={"learning_rate": SPACE["learning_rate"]}, fixed=fixed, n_trials=24, batch=3, pruner="halving"
    )
    trained(store, made)
    space = {
        "activation": Choices(["tanh", "relu"]),
        "learning_rate": Range(0.1, 2),
        "hidden_size": Range(2, 4),
        "bits": Range(7, 9),
    }
    study_id = store.add_study(search("warm", space=space, sampler="tpe", warm_start="source"))
    trials = store.trials(store.study("source").id)
    states = {trial.summary.state for trial in trials if 0.1 <= trial.params["learning_rate"] <= 2}
    assert states == {"complete", "pruned"}
    expected = [
        [{"activation": "tanh", "learning_rate": t.params["learning_rate"], "hidden_size": 3, "bits": 8}, [*t.summary.values]]
        for t in trials
        if t.summary.state == "complete" and 0.1 <= t.params["learning_rate"] <= 2
    ]
    assert store.study(study_id).prior == expected
    assert list(store.study(study_id).prior[0][0]) == list(space)


def test_a_warm_start_without_trials_of_use_is_refused_and_nothing_is_written(store, source, everything):
    store.add_study(search("empty"))
    before = everything(store)
    cases = [
        ({"warm_start": "nobody"}, JobError, "expected the id or name of a study, found 'nobody'"),
        ({"warm_start": "empty"}, PlanError, "warm_start: expected a study with finished trials in this space, found none in"),
        (
            {"warm_start": source, "space": SPACE | {"learning_rate": Range(20, 30)}},
            PlanError,
            "warm_start: expected a study with finished trials in this space, found none in 'source'",
        ),
        (
            {"warm_start": source, "objectives": ["accuracy"]},
            PlanError,
            "warm_start: expected a study with the objectives accuracy, found final_loss in 'source'",
        ),
    ]
    for changes, error, message in cases:
        with pytest.raises(error, match=message):
            store.add_study(search("warm", sampler="tpe", **changes))
    assert everything(store) == before


# Names, notes, tags


def test_a_study_is_renamed_with_its_job_and_optuna_s_study(store, trained, facts):
    study_id = trained(store, search())
    before = facts(store, study_id)
    store.describe_study("study", "renamed", "a note", "b, a,b ,, c d,")
    study = store.study("renamed")
    assert (study.id, study.name, study.search.name, study.job.name) == (study_id, *["renamed"] * 3)
    assert (study.note, study.tags) == ("a note", "b, a, c d")
    assert facts(store, study_id) == before
    assert optuna.get_all_study_names(store.optuna_storage()) == ["renamed"]
    with pytest.raises(JobError, match="found 'study'"):
        store.study("study")
    store.add_study(search())  # the name is free again
    store.describe_study(study_id, "renamed", "", "")
    assert (store.study(study_id).note, store.study(study_id).tags) == ("", "")


def test_a_study_is_renamed_while_it_is_trained(store, facts, quick, undisturbed):
    study_id, job_id = made(store)
    rename = once(0.3, lambda: store.describe_study(study_id, "renamed", "", ""))
    assert run_job(store, job_id, 1, rename) == "finished"
    assert facts(store, study_id) == undisturbed["random"]
    assert (store.study(study_id).name, store.study(study_id).search.name, store.job(job_id).name) == ("renamed",) * 3


def test_a_study_whose_twin_of_optuna_was_deleted_is_renamed_and_leaves_others_alone(store, trained):
    study_id = trained(store, search())
    optuna.delete_study(study_name="study", storage=store.optuna_storage())
    theirs = optuna.create_study(study_name="theirs", storage=store.optuna_storage())
    assert theirs._study_id == store.study(study_id).optuna_id
    store.describe_study(study_id, "renamed", "", "")
    assert optuna.get_all_study_names(store.optuna_storage()) == ["theirs"]
    store.delete_job(store.study(study_id).job.id)
    assert optuna.get_all_study_names(store.optuna_storage()) == ["theirs"]


def test_names_that_are_taken_or_none_are_refused_and_nothing_is_written(store, trained, everything):
    study_id = trained(store, search())
    store.add_study(search("other"))
    optuna.create_study(study_name="theirs", storage=store.optuna_storage())
    before = everything(store)
    for name in ("other", "theirs"):
        with pytest.raises(NameTakenError, match=f"name: expected a new one, found '{name}', which another study has"):
            store.describe_study(study_id, name, "", "")
    for name in ("", " \n"):
        with pytest.raises(PlanError, match="name: expected some text, found none"):
            store.describe_study(study_id, name, "", "")
    for texts in (("\ud800", "", ""), ("a", "\ud800", ""), ("a", "", "x" * 100_001)):
        with pytest.raises(StoreError, match=r"^(name|note|tags): expected"):
            store.describe_study(study_id, *texts)
    assert everything(store) == before
    store.describe_study(study_id, "study", "its own name is not taken", "")


HOSTILE = ['it\'s "x"; DROP TABLE lab_study;--', "<b>🧠</b> =1+1", "%s {0} \\n", "a\nb\tc", "ß" * 300, "' OR 1=1 --"]


@pytest.mark.parametrize("text", HOSTILE)
def test_names_notes_and_tags_are_kept_literally(text, store, trained, everything):
    study_id = trained(store, search(n_trials=2))
    other = store.add_study(search("other"))
    store.describe_study(study_id, text, text, text.replace(",", ";"))
    study = store.study(text)
    assert (study.id, study.name, study.note, study.tags) == (study_id, text, text, text.replace(",", ";"))
    assert sorted(optuna.get_all_study_names(store.optuna_storage())) == sorted([text, "other"])
    assert len(optuna.load_study(study_name=text, storage=store.optuna_storage()).trials) == 2
    assert (store.study(other).name, store.study(other).note) == ("other", "")


# Deleting


def test_deleting_a_study_s_job_deletes_the_study_and_optuna_s_rows(store, trained, everything):
    trained(store, search("kept"))
    before = everything(store)
    study_id = trained(store, search(pruner="halving", fixed={"n_iterations": 60}, batch=10))
    assert len(everything(store)["trial_intermediate_values"]) > 5
    store.delete_job(store.study(study_id).job.id)
    assert everything(store) == before
    plan_job = store.add_job(Plan.of(n_iterations=2))
    store.delete_job(plan_job)
    assert everything(store) == before


def test_deleting_all_runs_of_a_study_keeps_the_study(store, trained, facts, go_on):
    study_id = trained(store, search())
    trials = store.trials(study_id)
    job_id = store.study(study_id).job.id
    ids = store.run_ids(job_id)
    assert ids == dict(zip(store.runs(job_id)["number"], store.runs(job_id)["id"], strict=True))
    store.delete_runs(ids.values())
    assert store.run_ids(job_id) == {}
    assert (store.trials(study_id), store.study(study_id).job.status) == (trials, "finished")
    store.extend_study(study_id, 2)
    go_on(store, study_id)
    assert sorted(store.run_ids(job_id)) == [10, 11]
    assert store.trials(study_id)[:10] == trials


def test_deleting_a_study_while_it_is_trained_ends_its_process_without_a_trace(store, everything, quick):
    before = everything(store)
    _, job_id = made(store)
    with pytest.raises(JobError, match="was deleted or taken over"):
        run_job(store, job_id, 1, once(0.5, lambda: store.delete_job(job_id)))
    after = everything(store)
    assert {name: after[name] for name in before if name.startswith("lab_")} == {
        name: rows for name, rows in before.items() if name.startswith("lab_")
    }
    assert after["studies"] == after["trials"] == []


def test_a_study_resumed_in_a_process_of_its_own_gets_what_was_asked_meanwhile(store, trained, until, undisturbed):
    study_id = trained(store, search(n_trials=8))
    resume(store, store.extend_study(study_id, 2))
    until(lambda: store.study(study_id).job.status == "finished")
    assert own(store, study_id) == [trial.params for trial in undisturbed["random"]["trials"]]


def test_a_job_can_be_steered_from_another_thread(store, facts, undisturbed, quick, until):
    study_id, job_id = made(store)
    store.request_pause(job_id)
    thread = threading.Thread(target=run_job, args=(store, job_id, 1))
    thread.start()
    until(lambda: store.job(job_id).status == "paused")
    store.enqueue(study_id, WISHES)
    store.request_pause(job_id, False)
    thread.join(60)
    assert not thread.is_alive()
    assert [*asked_for(store, study_id).values()] == WISHES
    assert own(store, study_id) == [trial.params for trial in undisturbed["random"]["trials"]]
    assert store.study(study_id).queue == []


def test_nothing_cannot_be_tried(store):
    study_id = store.add_study(Search(name="x", space={"learning_rate": Range(0.01, 1)}))
    with pytest.raises(PlanError, match="expected values of one or more trials, found none"):
        store.enqueue(study_id, [])
    assert store.study(study_id).job.status == "waiting"
