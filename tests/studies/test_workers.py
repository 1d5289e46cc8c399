"""Worker processes: what they answer, what they raise, and that one that dies holds nobody up."""

import multiprocessing
import os
import signal

import pytest

from studies import Plan, driver
from studies.jobs import run_job
from studies.workers import DeadWorkerError, Here, Worker, done

LARGE = 20_000_000
"""Bytes of an answer that fits no pipe: while nobody reads it, its worker waits half-way."""


@pytest.fixture
def worker():
    """A worker that makes as many zeros as it is asked for."""
    worker = Worker(bytes)
    yield worker
    worker.end()
    assert multiprocessing.active_children() == []


def kill(worker):
    os.kill(worker.process.pid, signal.SIGKILL)
    worker.process.join()


def test_a_worker_answers_one_work_after_the_other_in_one_process(worker):
    pids = set()
    for n in (3, LARGE, 0):
        worker.begin(n)
        assert done([worker]) == [worker]
        assert worker.answer() == bytes(n)
        pids.add(worker.process.pid)
    assert len(pids) == 1
    assert os.getpid() not in pids


@pytest.mark.parametrize("make", [Here, Worker])
def test_an_error_is_raised_where_the_answer_is_asked_for_and_the_worker_lives_on(make):
    worker = make(int)
    try:
        with pytest.raises(ValueError, match="invalid literal"):
            worker.begin("x") or worker.answer()
        worker.begin("12")
        assert worker.answer() == 12
    finally:
        worker.end()


def test_a_worker_that_is_killed_half_way_through_its_answer_is_noticed_and_replaced(worker):
    worker.begin(LARGE)
    assert done([worker]) == [worker]  # the first bytes are there
    kill(worker)
    with pytest.raises(DeadWorkerError):
        worker.answer()
    worker.begin(5)
    assert worker.answer() == bytes(5)


@pytest.mark.parametrize("n", [1, LARGE], ids=["before it has begun", "while it works"])
def test_a_worker_that_is_killed_before_it_answers_is_noticed(n, worker):
    worker.begin(1)
    worker.answer()
    if n == 1:
        kill(worker)
    worker.begin(n)
    if n == LARGE:
        kill(worker)
    assert done([worker]) == [worker]
    with pytest.raises(DeadWorkerError):
        worker.answer()


def test_work_in_this_process_is_done_before_anybody_waits():
    here, worker = Here(bytes), Worker(bytes)
    here.begin(2)
    assert done([here, worker]) == [here]
    assert here.answer() == bytes(2)


def test_a_job_whose_worker_is_killed_half_way_through_its_answer_finishes_with_the_same_bits(store, monkeypatch):
    monkeypatch.setattr(driver, "WORTH_A_POOL", 0)
    plan = Plan.of(hidden_size=[3, 4], n_iterations=60, seed=range(150))  # states larger than what a pipe holds
    answer, killed = Worker.answer, []

    def kill_the_first(worker):
        if not killed:
            killed.append(worker.process.pid)
            kill(worker)
        return answer(worker)

    monkeypatch.setattr(Worker, "answer", kill_the_first)
    disturbed, undisturbed = store.add_job(plan), store.add_job(plan)
    assert run_job(store, disturbed, 2) == "finished"
    assert len(killed) == 1
    assert run_job(store, undisturbed, 1) == "finished"
    fingerprints = [store.runs(job_id)["fingerprint"].tolist() for job_id in (disturbed, undisturbed)]
    assert fingerprints[0] == fingerprints[1]
    assert multiprocessing.active_children() == []
