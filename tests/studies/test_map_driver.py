"""Maps that are trained: cells as of runs alone, coarse ones first, stopped, killed, steered, zoomed."""

import dataclasses
import functools
import itertools
import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from engine import CURVES, OUTCOMES, ConfigError, train
from studies import JobError, driver, maps, open_store
from studies.jobs import launch, run_job
from studies.maps import CELL, Axis, Map
from studies.store_runs import unpack_array

ROOT = Path(__file__).parents[2]
STD = Axis("weight_init_std", 0.01, 100, log=True)
RATE = Axis("learning_rate", 0.001, 100, log=True)
FIXED = {"n_iterations": 12, "hidden_size": 2}


def plane(name="edge", **changes):
    usual = {"x": STD, "y": RATE, "size": 8, "fixed": FIXED}
    return Map(**{"name": name} | usual | changes)


STEERED = plane(x=Axis("hidden_size", 2, 5), size=6, fixed={"n_iterations": 8, "activation": "relu", "weight_init_std": 3.0})
"""36 runs of three shapes."""
N = STEERED.n_runs
ENDLESS = plane(size=2, fixed={"n_iterations": 3_000_000, "hidden_size": 4})
"""A map of some minutes: nobody waits for its end."""


@pytest.fixture(autouse=True)
def _nothing_goes_on(store):
    """A process that still trains when its test has failed finds its map deleted, and ends."""
    yield
    for record in store.maps():
        store.delete_map(record.id)


@pytest.fixture
def small_rounds(monkeypatch):
    """Begin with a few cells and line up a few runs at a time, so that small maps go through all that large ones do."""
    monkeypatch.setattr(maps, "COARSE", 3)
    monkeypatch.setattr(driver, "COARSE", 3)
    monkeypatch.setattr(driver, "ROUND", 8)
    monkeypatch.setattr(driver, "WORTH_A_POOL", 0)
    Map.from_json.cache_clear()  # maps remember the order of their cells
    yield
    Map.from_json.cache_clear()


@pytest.fixture
def trained_here(monkeypatch):
    """Note what is trained in this process: configs that are begun, and iterations of populations."""
    advance, begun, iterations = driver._advance, [], []

    def noting(population, n_iterations):
        before = 0 if isinstance(population, list) else population.iteration
        if isinstance(population, list):
            begun.extend(config.identity for config in population)
        after, seconds = advance(population, n_iterations)
        iterations.append(after.iteration - before)
        return after, seconds

    monkeypatch.setattr(driver, "_advance", noting)
    return begun, iterations


@pytest.fixture
def blocks(sql):
    """Read the numbers of a map's runs from the file, block by block."""

    def read(store, map_id):
        rows = sql(store, "SELECT runs, n_runs FROM lab_map_block WHERE map_id = ? ORDER BY number", map_id)
        found = [unpack_array(runs).tolist() for runs, _ in rows]
        assert [len(numbers) for numbers in found] == [n_runs for _, n_runs in rows]
        return found

    return read


@functools.cache
def alone(config):
    """Return what is kept of a run that is trained all by itself, read from its result."""
    (result,) = train([config])
    right = result.curves[result.curves[:, CURVES.index("accuracy")] >= 0.99]
    cell = np.zeros((), CELL)
    cell["outcome"] = 1 + list(OUTCOMES).index(result.outcome)
    cell["solved_at"] = right[0, CURVES.index("iteration")] if len(right) else 0
    cell["overflow_at"] = result.overflow.iteration if result.overflow else 0
    cell["fingerprint"] = result.fingerprint[:16].encode()
    for name in ("final_loss", "best_loss", "accuracy", "iterations"):
        cell[name] = getattr(result, name)
    return cell


def expected(made):
    """Return the cells of a map whose every run is trained by itself."""
    return np.array([alone(made.config(number)) for number in range(made.n_runs)], CELL).reshape(made.shape)


def is_right(store, map_id):
    """Tell whether a map has ended with the cells of its runs trained alone, to the last bit, and says so."""
    record = store.map_record(map_id)
    ended = (record.job.status, record.job.progress, record.n_done) == ("finished", 1, record.map.n_runs)
    return ended and store.cells(map_id).tobytes() == expected(record.map).tobytes()


def made(store, plan=STEERED, parent=None):
    """Write a map; return its id and its job's."""
    record = store.map_record(store.add_map(plan, parent))
    return record.id, record.job.id


def once(at, act):
    """Return what a driver calls with its progress: it acts once, when that much is done."""
    acted = []

    def show(share):
        if share >= at and not acted:
            acted.append(share)
            act()

    return show


class Watching:
    """Notes how many worker processes there are; may ask for others at some progress, and notes how many there are then."""

    def __init__(self, store=None, job_id=None, plan=()):
        self.store, self.job_id, self.plan, self.seen, self.at_change, self.shares = store, job_id, list(plan), [], [], []

    def __call__(self, share):
        self.shares.append(share)
        self.seen.append(len(multiprocessing.active_children()))
        if self.plan and share >= self.plan[0][0]:
            self.at_change.append(self.seen[-1])
            self.store.set_workers(self.job_id, self.plan.pop(0)[1])


# The same bits


KINDS = {
    "seeds": plane(size=4, n_seeds=3),
    "facets": plane(size=4, facet="activation", facet_values=("sigmoid", "tanh", "relu")),
    "settings that mean nothing in some cells": plane(
        x=Axis("optimizer", values=("sgd", "momentum")),
        size=4,
        n_seeds=2,
        facet="cell",
        facet_values=("rnn", "lstm", "gru"),
        fixed=FIXED | {"activation": "relu", "momentum": 0.5, "forget_bias": 2.0},
    ),
    "an axis that means nothing in some facets": plane(
        y=Axis("momentum", 0.1, 0.9), size=3, facet="optimizer", facet_values=("sgd", "momentum", "adam")
    ),
    "words": plane(x=Axis("activation", values=("softplus", "relu")), y=Axis("init_scheme", values=("normal", "he_normal"))),
    "sizes": STEERED,
    "iterations": plane(x=Axis("n_iterations", 3, 60), size=4, fixed={"hidden_size": 2}),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_cell_is_to_the_last_bit_its_run_trained_alone(kind, store, small_rounds, blocks):
    map_id, job_id = made(store, KINDS[kind])
    assert run_job(store, job_id, 1) == "finished"
    assert is_right(store, map_id)
    found = blocks(store, map_id)
    assert len(found) > 1 or kind == "words"
    assert sorted(itertools.chain(*found)) == list(range(KINDS[kind].n_runs))


def test_the_maps_of_these_tests_have_cells_of_many_kinds():
    cells = np.concatenate([expected(plan).ravel() for plan in KINDS.values()])
    assert len(set(cells["outcome"])) >= 3
    assert 0 < (cells["overflow_at"] > 0).sum() < len(cells)
    assert len(set(cells["iterations"])) > 4


@pytest.mark.parametrize("kind", ["settings that mean nothing in some cells", "sizes"])
def test_two_worker_processes_give_the_same_bits(kind, store, small_rounds, blocks):
    watching, (map_id, job_id) = Watching(), made(store, KINDS[kind])
    assert run_job(store, job_id, 2, watching) == "finished"
    assert max(watching.seen) == 2
    assert watching.shares == sorted(watching.shares)
    assert (watching.shares[0], watching.shares[-1]) == (0, 1)
    assert is_right(store, map_id)
    assert sorted(itertools.chain(*blocks(store, map_id))) == list(range(KINDS[kind].n_runs))


@pytest.mark.parametrize(
    ("worth", "slow", "n_here"), [(0, 3.0, 9), (0, 0.0, 0), (1e9, 0.0, N)], ids=["usual", "slow first picture", "little work"]
)
def test_a_quick_first_picture_and_little_work_are_trained_in_the_driver_s_own_process_and_the_rest_by_workers(
    worth, slow, n_here, store, small_rounds, monkeypatch
):
    plan, begun, sent = plane(size=6), [], []
    map_id, job_id = made(store, plan)
    monkeypatch.setattr(driver, "WORTH_A_POOL", worth)
    monkeypatch.setattr(driver, "FIRST_PICTURE_SECONDS", slow)

    class Noting(driver.Here):
        def begin(self, population, n_iterations):
            if isinstance(population, list):
                begun.extend(config.identity for config in population)
            super().begin(population, n_iterations)

    class NotingWorker(driver.Worker):
        def begin(self, population, n_iterations):
            sent.extend(config.identity for config in getattr(population, "configs", population))
            super().begin(population, n_iterations)

    monkeypatch.setattr(driver, "Here", Noting)
    monkeypatch.setattr(driver, "Worker", NotingWorker)
    assert run_job(store, job_id, 2) == "finished"
    assert set(sent).isdisjoint(begun)
    assert sorted(begun) == sorted(plan.config(number).identity for number in plan.order[:n_here])
    assert is_right(store, map_id)


# From coarse to fine


def test_the_first_block_is_the_coarsest_lattice_and_all_blocks_have_every_run_once(store, blocks):
    plan = plane(size=32, fixed={"n_iterations": 2, "hidden_size": 2})
    map_id, job_id = made(store, plan)
    assert run_job(store, job_id, 1) == "finished"
    found = blocks(store, map_id)
    assert set(found[0]) == {plan.number(0, y, x, 0) for y in range(0, 32, 2) for x in range(0, 32, 2)}
    assert list(itertools.chain(*found)) == plan.order.tolist()
    assert len(found) > 2


def test_the_coarsest_cells_come_first_also_with_seeds_facets_and_several_shapes(store):
    facets = {"facet": "hidden_size", "facet_values": (2, 3)}
    plan = plane(size=24, n_seeds=2, fixed={"n_iterations": 1}, **facets)
    lining_up = driver.MapDriver(store, made(store, plan)[1], 1, None)
    while lining_up.refill():
        pass
    numbers = [number for chunk in lining_up.waiting for number in chunk.numbers]
    assert sorted(numbers) == list(range(plan.n_runs))
    facet, y, x, _ = np.unravel_index(numbers, plan.shape)
    coarse = (y % 2 == 0) & (x % 2 == 0)
    assert coarse[:256].all()
    assert set(facet[:256]) == {0}
    assert coarse.sum() == 576 == coarse[: 256 + 512].sum()  # what is lined up at once is sorted by shapes


def test_what_is_lined_up_later_comes_later_also_where_coarse_cells_still_wait(store, monkeypatch):
    monkeypatch.setattr(driver, "COARSE", 8)
    monkeypatch.setattr(driver, "ROUND", 64)
    plan = plane(size=24)
    lining_up = driver.MapDriver(store, made(store, plan)[1], 1, None)
    for _ in range(3):  # the third has finer cells, whose numbers are smaller than those of the second
        assert lining_up.refill()
    assert [number for chunk in lining_up.waiting for number in chunk.numbers] == plan.order[:192].tolist()


def test_cells_can_be_read_while_others_are_trained(store, small_rounds):
    (map_id, job_id), other, seen = made(store), open_store(store.url), []
    whole = expected(STEERED)
    cells = other.cells(map_id)

    def look(share):
        record = other.map_record(map_id)
        other.cells(map_id, cells, seen[-1][1] if seen else 0)
        there = cells["outcome"] > 0
        assert cells[there].tobytes() == whole[there].tobytes()
        assert there.sum() == record.n_done <= share * N
        seen.append((record.n_done, record.n_blocks))

    assert run_job(store, job_id, 1, look) == "finished"
    assert seen == sorted(seen)
    assert len(set(seen)) > 5
    assert seen[-1][0] == N


def test_progress_rises_from_nothing_to_everything(store, small_rounds):
    (_, job_id), shares, stored = made(store), [], []
    show = lambda share: (shares.append(share), stored.append(store.job(job_id).progress))  # noqa: E731
    assert run_job(store, job_id, 1, show) == "finished"
    assert shares == sorted(shares) == stored
    assert (shares[0], shares[-1]) == (0, 1)
    assert len(set(shares)) > 4


def test_progress_comes_to_its_end_also_where_runs_make_different_numbers_of_iterations(store, small_rounds):
    (map_id, job_id), shares = made(store, KINDS["iterations"]), []
    assert run_job(store, job_id, 1, once(0.2, lambda: store.request_stop(job_id))) == "stopped"
    assert 0 < store.map_record(map_id).n_done < 16
    store.wait_again(job_id)
    assert run_job(store, job_id, 1, shares.append) == "finished"
    assert shares == sorted(shares)
    assert shares[-1] == 1
    assert is_right(store, map_id)


# Stopped and resumed


def stopped(store, at=0.4, n_workers=1, plan=STEERED):
    """Write a map and stop it half-way by a request through another connection; return its id, its job's, and its cells."""
    (map_id, job_id), other = made(store, plan), open_store(store.url)
    assert run_job(store, job_id, n_workers, once(at, lambda: other.request_stop(job_id))) == "stopped"
    assert store.job(job_id).status == "stopped"
    return map_id, job_id, store.cells(map_id)


def test_a_stopped_map_keeps_its_whole_cells_and_trains_only_the_others_when_it_goes_on(
    store, small_rounds, small_slices, trained_here, blocks
):
    map_id, job_id, cells = stopped(store)
    there, before = (cells["outcome"] > 0).ravel(), blocks(store, map_id)
    assert 0 < there.sum() == store.map_record(map_id).n_done < N
    assert np.flatnonzero(there).tolist() != list(range(there.sum()))  # but those of the coarsest lattice
    assert cells.ravel()[there].tobytes() == expected(STEERED).ravel()[there].tobytes()
    begun, shares = trained_here[0], []
    begun.clear()
    store.wait_again(job_id)
    assert run_job(store, job_id, 1, shares.append) == "finished"
    assert shares[0] == there.mean()
    assert sorted(begun) == sorted(STEERED.config(number).identity for number in np.flatnonzero(~there))
    found = blocks(store, map_id)
    assert found[: len(before)] == before
    assert sorted(itertools.chain(*found)) == list(range(N))
    assert is_right(store, map_id)


def test_a_map_with_worker_processes_is_stopped_and_goes_on_without_them(store, small_rounds, blocks):
    map_id, job_id, cells = stopped(store, 0.3, 2)
    assert 0 < (cells["outcome"] > 0).sum() < N
    assert multiprocessing.active_children() == []
    store.wait_again(job_id)
    assert run_job(store, job_id, 1) == "finished"
    assert sorted(itertools.chain(*blocks(store, map_id))) == list(range(N))
    assert is_right(store, map_id)


def test_a_map_that_was_stopped_before_it_began_goes_on(store, trained_here):
    map_id, job_id = made(store)
    store.request_stop(job_id)
    assert run_job(store, job_id, 1) == "stopped"
    assert (store.map_record(map_id).n_done, trained_here[0]) == (0, [])
    store.wait_again(job_id)
    assert run_job(store, job_id, 1) == "finished"
    assert is_right(store, map_id)


def test_a_request_to_stop_that_comes_too_late_leaves_a_finished_map(store):
    map_id, job_id = made(store)
    assert run_job(store, job_id, 1, once(1, lambda: store.request_stop(job_id))) == "finished"
    assert is_right(store, map_id)


# Killed, refused, taken over, deleted


KILLED = """if True:
    import os, sys
    from studies import driver, maps, open_store, store_maps
    from studies.jobs import run_job

    url, job_id, moment, n_workers = sys.argv[1:]
    maps.COARSE, driver.COARSE, driver.ROUND, driver.WORTH_A_POOL = 3, 3, 8, 0
    kill = lambda *_: os.kill(os.getpid(), 9)
    write, n_written = store_maps._write_block, []

    def killed_while_writing(*arguments):
        write(*arguments)
        n_written.append(1)
        if len(n_written) == 3:
            kill()

    if moment == "writing":
        store_maps._write_block = killed_while_writing
        show = None
    else:
        show = lambda share: share >= float(moment) and kill()
    run_job(open_store(url), job_id, int(n_workers), show)"""
"""Trains a map and kills itself at some progress, or in the transaction that writes its third block."""


def test_a_map_whose_process_is_killed_again_and_again_loses_and_doubles_nothing(store, sql, blocks):
    (map_id, job_id), before = made(store), []
    for moment, n_workers in (("writing", 1), (0.6, 2)):
        command = [sys.executable, "-c", KILLED, store.url, job_id, str(moment), str(n_workers)]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
            process.communicate(timeout=60)  # the pipe ends when the last worker that shares it has ended
        assert process.returncode == -signal.SIGKILL
        found, cells = blocks(store, map_id), store.cells(map_id)
        assert sql(store, "PRAGMA integrity_check") == [("ok",)]
        assert found[: len(before)] == before
        assert len(before) < len(found)
        there = cells["outcome"] > 0
        assert sorted(itertools.chain(*found)) == np.flatnonzero(there).tolist()
        assert cells[there].tobytes() == expected(STEERED)[there].tobytes()
        assert len(found) == 2 or moment != "writing"
        sql(store, "UPDATE lab_job SET heartbeat_at = 0")
        assert store.job(job_id).status == "lost"
        store.wait_again(job_id)
        before = found
    assert sum(map(len, before)) < N
    assert run_job(store, job_id, 1) == "finished"
    assert sorted(itertools.chain(*blocks(store, map_id))) == list(range(N))
    assert is_right(store, map_id)


def test_a_map_is_trained_by_a_process_of_its_own_which_has_nothing_to_say(store, tmp_path):
    map_id, job_id = made(store)
    assert launch(store, job_id).wait(60) == 0
    assert is_right(store, map_id)
    (log,) = (tmp_path / "home").rglob("jobs.log")
    assert log.read_text() == ""


def test_a_map_that_is_deleted_while_a_process_trains_it_ends_that_process_with_a_sentence(store, until, tmp_path):
    map_id, job_id = made(store, ENDLESS)
    process = launch(store, job_id)
    until(lambda: store.job(job_id).progress > 0)
    store.delete_map(map_id)
    assert process.wait(60) == 0
    (log,) = (tmp_path / "home").rglob("jobs.log")
    assert log.read_text() == f"job {job_id} was deleted or taken over by another process\n"
    assert store.maps() == []


@pytest.mark.parametrize("name", ["delete_map", "delete_job"])
def test_a_driver_whose_map_is_deleted_stops_without_writing(name, store, small_rounds, sql):
    map_id, job_id = made(store)
    delete = {"delete_map": lambda: store.delete_map(map_id), "delete_job": lambda: store.delete_job(job_id)}[name]
    with pytest.raises(JobError, match="was deleted or taken over"):
        run_job(store, job_id, 1, once(0.4, delete))
    tables = ("lab_job", "lab_map", "lab_map_block")
    assert [sql(store, f"SELECT count(*) FROM {table}") for table in tables] == [[(0,)]] * 3


def test_a_map_that_is_deleted_in_the_moment_its_training_begins_is_named(store, monkeypatch):
    (map_id, job_id), claim = made(store), store.claim

    def too_late(job_id):
        token = claim(job_id)
        store.delete_map(map_id)
        return token

    monkeypatch.setattr(store, "claim", too_late)
    with pytest.raises(JobError, match="it may have been deleted"):
        run_job(store, job_id, 1)


def test_a_map_that_is_being_trained_is_refused_to_a_second_driver(store, small_rounds):
    (map_id, job_id), other, refused = made(store), open_store(store.url), []

    def again():
        with pytest.raises(JobError, match="expected a job that is waiting, found one that is running"):
            run_job(other, job_id, 1)
        refused.append(store.map_record(map_id).n_done)

    assert run_job(store, job_id, 1, once(0.4, again)) == "finished"
    assert 0 < refused[0] < N
    assert is_right(store, map_id)


def test_a_driver_whose_map_is_taken_over_writes_nothing_more(store, sql, small_rounds, blocks, monkeypatch):
    monkeypatch.setattr(driver, "BEAT_SECONDS", 600)  # as if it had hung so long that another one thought it lost
    (map_id, job_id), before = made(store), []

    def take_over():
        sql(store, "UPDATE lab_job SET heartbeat_at = 0")
        store.wait_again(job_id)
        before.extend([blocks(store, map_id), store.claim(job_id)])

    with pytest.raises(JobError, match="was deleted or taken over"):
        run_job(store, job_id, 1, once(0.4, take_over))
    assert len(before[0]) > 0
    assert blocks(store, map_id) == before[0]
    assert (store.job(job_id).status, store.job(job_id).error) == ("running", None)
    store.beat(job_id, before[1])


# Steered


def test_a_paused_map_stands_still_and_goes_on_from_memory(store, small_rounds, small_slices, trained_here):
    (map_id, job_id), paused, calls = made(store), [], []

    def show(share):
        job, record = store.job(job_id), store.map_record(map_id)
        if job.status == "paused":
            paused.append((share, job.iterations_done, record.n_done, len(trained_here[1])))
            if len(paused) == 4:
                store.request_pause(job_id, False)
        elif share >= 0.4 and not calls:
            calls.append(store.request_pause(job_id))

    assert run_job(store, job_id, 1, show) == "finished"
    assert len(paused) >= 4
    assert len(set(paused)) == 1
    assert 0 < paused[0][2] < N
    assert sorted(trained_here[0]) == sorted(STEERED.config(number).identity for number in range(N))
    assert is_right(store, map_id)


def test_a_paused_map_can_be_stopped(store, small_rounds, small_slices):
    map_id, job_id = made(store)
    store.request_pause(job_id)
    assert run_job(store, job_id, 1, lambda share: store.request_stop(job_id)) == "stopped"
    store.wait_again(job_id)
    assert run_job(store, job_id, 1) == "finished"
    assert is_right(store, map_id)


def test_workers_come_and_go_while_a_map_is_trained_and_change_no_bit(store, small_rounds, small_slices):
    map_id, job_id = made(store)
    watching = Watching(store, job_id, [(0.2, 2), (0.7, 1)])
    assert run_job(store, job_id, 1, watching) == "finished"
    assert watching.at_change == [0, 2]  # more was lined up in between
    assert [number for number, _ in itertools.groupby(watching.seen) if number != 1] == [0, 2, 0]
    assert is_right(store, map_id)
    assert store.job(job_id).n_workers == 1


def test_workers_that_were_sent_away_stay_away_whatever_is_lined_up_later(store, small_rounds):
    (map_id, job_id), watching = made(store, dataclasses.replace(STEERED, size=9)), Watching()

    def show(share):
        watching(share)
        if watching.seen[-1] == 2:
            store.set_workers(job_id, 1)

    assert run_job(store, job_id, 2, show) == "finished"
    assert [number for number, _ in itertools.groupby(watching.seen) if number != 1] == [0, 2, 0]
    assert watching.seen[-4:] == [0] * 4
    assert is_right(store, map_id)


def test_a_map_whose_worker_is_killed_still_finishes_with_the_same_bits(store, small_rounds, blocks):
    (map_id, job_id), killed = made(store), []

    def kill_one(share):
        children = multiprocessing.active_children()
        if children and share < 0.8 and not killed:
            killed.append(children[0])
            os.kill(killed[0].pid, signal.SIGKILL)
            killed[0].join()

    assert run_job(store, job_id, 2, kill_one) == "finished"
    assert [process.exitcode for process in killed] == [-signal.SIGKILL]
    assert sorted(itertools.chain(*blocks(store, map_id))) == list(range(N))
    assert is_right(store, map_id)


def test_an_error_in_training_is_written_into_the_job_and_the_map_goes_on_later(store, small_rounds, blocks, monkeypatch):
    (map_id, job_id), advance, calls = made(store), driver._advance, []

    def broken(*arguments):
        calls.append(1)
        if len(calls) > 7:
            raise ZeroDivisionError("planted <b>'error'</b>")
        return advance(*arguments)

    monkeypatch.setattr(driver, "_advance", broken)
    with pytest.raises(ZeroDivisionError, match="planted"):
        run_job(store, job_id, 1)
    record = store.map_record(map_id)
    assert (record.job.status, record.job.error) == ("failed", "ZeroDivisionError: planted <b>'error'</b>")
    assert 0 < record.n_done < N
    monkeypatch.setattr(driver, "_advance", advance)
    before = blocks(store, map_id)
    store.wait_again(job_id)
    assert run_job(store, job_id, 1) == "finished"
    assert blocks(store, map_id)[: len(before)] == before
    assert is_right(store, map_id)


def test_a_map_of_a_larger_machine_that_does_not_fit_here_fails_with_the_reason(store, monkeypatch):
    monkeypatch.setattr("engine.memory.memory", lambda: 2**50)
    large = {"task": "copy_memory", "length": 1000, "cell": "lstm", "n_layers": 4, "hidden_size": 512, "batch_size": 1024}
    _, job_id = made(store, plane(size=2, fixed=large))
    monkeypatch.setattr("engine.memory.memory", lambda: 2**33)
    with pytest.raises(ConfigError, match="expected a run that fits"):
        run_job(store, job_id, 1)
    assert store.job(job_id).status == "failed"
    assert "ConfigError: expected a run that fits in 4.0 GB" in store.job(job_id).error


# Zoomed and refined


@pytest.fixture
def parent(store):
    """A map that is trained, with two seeds."""
    map_id, job_id = made(store, plane("parent", size=6, n_seeds=2))
    assert run_job(store, job_id, 1) == "finished"
    return store.map_record(map_id)


CHILDREN = {
    "zoom": (lambda made: made.zoomed("child", (1, 4), (2, 5)), 18),
    "finer": (lambda made: dataclasses.replace(made, name="child", size=12), 72),
    "more seeds": (lambda made: dataclasses.replace(made, name="child", n_seeds=3), 72),
    "other facets": (lambda made: dataclasses.replace(made, name="child", facet="optimizer", facet_values=("sgd",)), 0),
}


@pytest.mark.parametrize("kind", CHILDREN)
def test_a_child_trains_only_what_its_parent_has_not_and_equals_a_map_trained_from_nothing(
    kind, store, parent, trained_here, blocks
):
    change, n_known = CHILDREN[kind]
    child, shares = change(parent.map), []
    map_id, job_id = made(store, child, parent.id)
    assert store.map_record(map_id).n_done == n_known
    assert run_job(store, job_id, 1, shares.append) == "finished"
    known = {parent.map.config(number).identity for number in range(parent.map.n_runs)} if n_known else set()
    wanted = [child.config(number).identity for number in range(child.n_runs)]
    assert sorted(trained_here[0]) == sorted(identity for identity in wanted if identity not in known)
    assert len(trained_here[0]) == child.n_runs - n_known
    assert shares[0] == n_known / child.n_runs
    assert sorted(itertools.chain(*blocks(store, map_id))) == list(range(child.n_runs))
    assert is_right(store, map_id)
    assert is_right(store, parent.id)


def test_a_child_of_a_map_that_is_deleted_goes_on_alone(store, parent):
    map_id, job_id = made(store, parent.map.zoomed("child", (1, 4), (2, 5)), parent.id)
    store.delete_map(parent.id)
    assert run_job(store, job_id, 1) == "finished"
    assert is_right(store, map_id)
    assert store.map_record(map_id).parent_id == parent.id


def test_a_child_of_a_map_that_is_being_trained_takes_over_what_is_there(store, small_rounds, monkeypatch):
    (map_id, job_id), children, finer = made(store), [], dataclasses.replace(STEERED, name="child", size=12)

    def make_child():
        there = store.cells(map_id)["outcome"] > 0
        children.extend([*made(store, finer, map_id), there.sum()])
        taken = store.cells(children[0])["outcome"] > 0
        assert (taken[:, ::2, ::2] == there).all()
        assert taken.sum() == there.sum()

    assert run_job(store, job_id, 1, once(0.4, make_child)) == "finished"
    child, child_job, n_there = children
    assert 0 < n_there == store.map_record(child).n_done < N
    assert is_right(store, map_id)
    monkeypatch.setattr(driver, "ROUND", 512)
    assert run_job(store, child_job, 1) == "finished"
    assert is_right(store, child)


def test_a_map_all_of_whose_cells_were_taken_over_ends_at_once(store, parent, trained_here):
    child = dataclasses.replace(parent.map.zoomed("child", (1, 4), (2, 5)), size=3)
    map_id, job_id = made(store, child, parent.id)
    watching, shares = Watching(), []
    assert store.map_record(map_id).n_done == child.n_runs
    assert run_job(store, job_id, 2, lambda share: (shares.append(share), watching(share))) == "finished"
    assert (set(shares), set(watching.seen), trained_here[0]) == ({1}, {0}, [])
    assert store.map_record(map_id).n_blocks == 1
    assert is_right(store, map_id)
