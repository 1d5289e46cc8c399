import contextlib
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa

from engine import rough_seconds, train
from studies import JobError, Plan, StoreError, open_store
from studies import driver as training
from studies.jobs import _READY, launch, prepare, resume, run_job, start

ROOT = Path(__file__).parents[2]
PLAN = Plan.of(hidden_size=[3, 4], activation=["tanh", "relu"], n_iterations=[60, 300], seed=[1, 2])
"""Four shapes, so four populations of four runs each."""
LONG = Plan.of(hidden_size=4, n_iterations=3_000_000)
"""A run of some minutes: nobody waits for its end."""


@pytest.fixture(autouse=True)
def _nothing_goes_on(store):
    """A process that still trains when its test has failed finds its job deleted, and ends."""
    yield
    for job in store.jobs():
        store.delete_job(job.id)


@pytest.fixture
def small_pool(monkeypatch):
    """Let even the smallest job have worker processes."""
    monkeypatch.setattr(training, "WORTH_A_POOL", 0)


def bits(store, job_id):
    """Return what training decided about every run of a job, curves as bytes; not ids, names and times."""
    table = store.runs(job_id).drop(columns=["id", "job_id", "created_at", "seconds"])
    rows = map(repr, table.astype(object).to_dict("records"))
    runs = [store.run(run_id) for run_id in store.runs(job_id)["id"]]
    return [(row, run["curves"].tobytes(), run["examples"], repr(run["evidence"])) for row, run in zip(rows, runs, strict=True)]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """What PLAN gives when it is trained in one go."""
    store = open_store(f"sqlite:///{tmp_path_factory.mktemp('undisturbed') / 'brink.db'}")
    job_id = store.add_job(PLAN)
    assert run_job(store, job_id, 1) == "finished"
    return bits(store, job_id)


def in_session_of_its_own(code, *arguments):
    """Start Python on some lines of code; its output is a pipe that it shares with the processes it starts."""
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.Popen(
        command,
        cwd=ROOT,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def test_a_job_gives_the_bits_of_the_engine_in_the_plan_s_order(store):
    job_id = store.add_job(PLAN)
    assert run_job(store, job_id, 1) == "finished"
    table = store.runs(job_id)
    assert list(table["number"]) == list(range(16))
    for result, run_id in zip(train(PLAN.configs()), table["id"], strict=True):
        run = store.run(run_id)
        assert run["identity"] == result.config.identity
        assert run["curves"].tobytes() == result.curves.tobytes()
        assert (run["final_loss"], run["accuracy"], run["outcome"]) == (result.final_loss, result.accuracy, result.outcome)


def test_worker_processes_give_the_same_bits_as_this_process(store, undisturbed, small_pool):
    pids, job_id = set(), store.add_job(PLAN)
    note = lambda share: pids.update(child.pid for child in multiprocessing.active_children())  # noqa: E731
    assert run_job(store, job_id, 2, note) == "finished"
    assert len(pids) == 2
    assert bits(store, job_id) == undisturbed


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc to look at another process's signals")
def test_workers_are_deaf_to_ctrl_c_from_their_first_moment(store, small_pool):
    blocked, job_id = set(), store.add_job(PLAN)

    def look(share):
        for child in multiprocessing.active_children():
            status = Path(f"/proc/{child.pid}/status").read_text()
            blocked.add(int(re.search(r"SigBlk:\s*(\w+)", status)[1], 16) >> signal.SIGINT - 1 & 1)

    run_job(store, job_id, 2, look)
    assert blocked == {1}
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])  # this process still hears it


def test_no_worker_processes_are_started_for_a_job_that_is_not_worth_them(store):
    children, job_id = [], store.add_job(Plan.of(n_iterations=50, seed=range(40)))
    run_job(store, job_id, 2, lambda share: children.extend(multiprocessing.active_children()))
    assert children == []
    assert len(store.runs(job_id)) == 40


@pytest.mark.parametrize("n_workers", [1, 2])
def test_progress_rises_from_nothing_to_everything(n_workers, store, small_pool):
    shares, stored, job_id = [], [], store.add_job(PLAN)
    run_job(store, job_id, n_workers, lambda share: (shares.append(share), stored.append(store.job(job_id).progress)))
    assert shares == sorted(shares) == stored
    assert (shares[0], shares[-1]) == (0, 1)
    assert len(set(shares)) > 4
    assert (store.job(job_id).status, store.job(job_id).progress) == ("finished", 1)


def test_curves_can_be_watched_while_they_grow(store):
    lengths, job_id = [], store.add_job(Plan.of(n_iterations=2000, seed=[1, 2]))
    run_job(store, job_id, 1, lambda share: lengths.append([len(rows) for rows in store.live_curves(job_id).values()]))
    grown = [length for length in lengths if length]
    assert all(one == two for one, two in grown)
    assert grown == sorted(grown)
    assert any(0 < one < 100 for one, _ in grown)


def stop_at(store, job_id, share_to_stop):
    return lambda share: store.request_stop(job_id) if share >= share_to_stop else None


def test_a_stopped_job_keeps_what_it_has_and_resumes_without_repeating(store, undisturbed):
    job_id = store.add_job(PLAN)
    assert run_job(store, job_id, 1, stop_at(store, job_id, 0.3)) == "stopped"
    stopped, job = store.runs(job_id), store.job(job_id)
    assert set(stopped["status"]) == {"finished", "stopped"}
    assert 0.3 <= job.progress < 1
    assert job.status == "stopped"
    partial = stopped[stopped["status"] == "stopped"]
    assert (partial["iterations"] < 300).all()
    store.wait_again(job_id)
    shares = []
    assert run_job(store, job_id, 1, shares.append) == "finished"
    finished = store.runs(job_id)
    again = finished.set_index("id").loc[stopped["id"]]  # nothing was lost
    whole = (stopped["status"] == "finished").tolist()
    assert again[whole]["created_at"].tolist() == stopped[whole]["created_at"].tolist()
    assert shares[0] == stopped[whole]["n_iterations"].sum() / job.n_iterations
    assert bits(store, job_id) == undisturbed


def test_a_request_to_stop_that_comes_too_late_leaves_a_finished_job(store):
    job_id = store.add_job(Plan.of(n_iterations=6))  # slices of 5 and 1: the request comes between them, and is heard after
    assert run_job(store, job_id, 1, stop_at(store, job_id, 5 / 6)) == "finished"
    assert (store.job(job_id).status, list(store.runs(job_id)["status"])) == ("finished", ["finished"])


def test_a_job_with_worker_processes_can_be_stopped_and_resumed(store, undisturbed, small_pool):
    job_id = store.add_job(PLAN)
    assert run_job(store, job_id, 2, stop_at(store, job_id, 0.1)) == "stopped"
    assert len(store.finished_numbers(job_id)) < 16
    store.wait_again(job_id)
    assert run_job(store, job_id, 1) == "finished"
    assert bits(store, job_id) == undisturbed


def test_a_job_that_was_stopped_before_it_began_can_be_resumed(store, undisturbed):
    job_id = store.add_job(PLAN)
    store.request_stop(job_id)
    assert run_job(store, job_id, 1) == "stopped"
    assert store.runs(job_id).empty
    store.wait_again(job_id)
    assert run_job(store, job_id, 1) == "finished"
    assert bits(store, job_id) == undisturbed


def test_a_job_whose_worker_is_killed_still_finishes_with_the_same_bits(store, undisturbed, small_pool):
    job_id, killed = store.add_job(PLAN), []

    def kill_one(share):
        if 0 < share < 0.5 and not killed:
            killed.append(multiprocessing.active_children()[0])
            os.kill(killed[0].pid, signal.SIGKILL)
            killed[0].join()

    assert run_job(store, job_id, 2, kill_one) == "finished"
    assert [process.exitcode for process in killed] == [-signal.SIGKILL]
    assert bits(store, job_id) == undisturbed


def test_a_job_whose_workers_die_again_and_again_fails_with_a_question(store, small_pool, monkeypatch):
    monkeypatch.setattr(training, "MOST_DEATHS", 1)
    job_id = store.add_job(Plan.of(hidden_size=[3, 4], n_iterations=1_000_000))

    def kill_one(share):
        for child in multiprocessing.active_children()[:1]:
            os.kill(child.pid, signal.SIGKILL)
            child.join()

    with pytest.raises(JobError, match="worker processes died 2 times while training runs"):
        run_job(store, job_id, 2, kill_one)
    assert store.job(job_id).status == "failed"
    assert "Is there enough memory?" in store.job(job_id).error


def test_workers_end_with_a_driver_that_is_killed(store, until):
    job_id = store.add_job(Plan.of(hidden_size=[3, 4], n_iterations=3_000_000))
    code = """if True:
        import sys
        from studies import jobs, open_store
        jobs.run_job(open_store(sys.argv[1]), sys.argv[2], 2)"""
    driver = in_session_of_its_own(code, store.url, job_id)
    until(lambda: store.job(job_id).progress > 0)
    driver.kill()
    try:
        driver.communicate(timeout=30)  # the pipe ends when the last process that shares it has ended
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(driver.pid, signal.SIGKILL)


def test_an_error_in_training_is_written_into_the_job_and_raised(store, monkeypatch):
    def broken(*arguments):
        raise ZeroDivisionError("planted <b>'error'</b>")

    monkeypatch.setattr(training, "_advance", broken)
    job_id = store.add_job(PLAN)
    with pytest.raises(ZeroDivisionError, match="planted"):
        run_job(store, job_id, 1)
    job = store.job(job_id)
    assert (job.status, job.error) == ("failed", "ZeroDivisionError: planted <b>'error'</b>")
    monkeypatch.undo()
    store.wait_again(job_id)
    assert run_job(store, job_id, 1) == "finished"


def test_a_job_whose_disk_is_full_fails_with_advice_and_resumes(store, undisturbed):
    def limit(connection, record):
        connection.execute("PRAGMA max_page_count = 1")  # SQLite takes the present size instead

    job_id = store.add_job(PLAN)
    sa.event.listen(store.engine, "connect", limit)
    with pytest.raises(StoreError, match="the disk is full"):
        run_job(store, job_id, 1)
    sa.event.remove(store.engine, "connect", limit)
    job = store.job(job_id)
    assert job.status == "failed"
    assert "free some space" in job.error
    store.wait_again(job_id)
    assert run_job(store, job_id, 1) == "finished"
    assert bits(store, job_id) == undisturbed


def test_a_driver_whose_job_is_deleted_stops_without_writing(store, sql):
    job_id, shares = store.add_job(PLAN), []

    def delete(share):
        shares.append(share)
        store.delete_job(job_id)

    with pytest.raises(JobError, match="was deleted or taken over"):
        run_job(store, job_id, 1, delete)
    assert shares == [0]
    assert sql(store, "SELECT (SELECT count(*) FROM lab_job), (SELECT count(*) FROM lab_run)") == [(0, 0)]


def test_a_driver_whose_job_is_taken_over_stops_without_writing(store, sql, monkeypatch):
    monkeypatch.setattr(training, "BEAT_SECONDS", 600)  # as if it had hung so long that another one thought it lost
    job_id, tokens = store.add_job(PLAN), []

    def take_over(share):
        sql(store, "UPDATE lab_job SET heartbeat_at = 0")
        store.wait_again(job_id)
        tokens.append(store.claim(job_id))

    with pytest.raises(JobError, match="was deleted or taken over"):
        run_job(store, job_id, 1, take_over)
    job = store.job(job_id)
    assert (job.status, job.progress, job.error, len(store.runs())) == ("running", 0, None, 0)
    store.beat(job_id, *tokens)


def test_signs_of_life_are_given_however_long_a_slice_takes(store, sql, until, monkeypatch):
    monkeypatch.setattr(training, "BEAT_SECONDS", 0.05)
    advance, job_id, seen = training._advance, store.add_job(Plan.of(n_iterations=5)), set()

    def slow(*arguments):
        until(lambda: seen.update(sql(store, "SELECT heartbeat_at FROM lab_job")) or len(seen) >= 4)
        return advance(*arguments)

    monkeypatch.setattr(training, "_advance", slow)
    assert run_job(store, job_id, 1) == "finished"


def test_a_job_that_is_running_cannot_be_run_again(store):
    job_id = store.add_job(PLAN)
    token = store.claim(job_id)
    with pytest.raises(JobError, match="expected a job that is waiting, found one that is running"):
        run_job(store, job_id, 1)
    store.beat(job_id, token)
    assert store.job(job_id).status == "running"


def test_ctrl_c_and_sigterm_are_given_back_after_a_job(store):
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.getsignal(number) for number in numbers]
    during = []
    run_job(store, store.add_job(Plan.of(n_iterations=5)), 1, lambda share: during.append(signal.getsignal(signal.SIGTERM)))
    assert [signal.getsignal(number) for number in numbers] == before
    assert before[1] not in during


def test_a_job_can_be_run_outside_the_main_thread(store, undisturbed):
    job_id = store.add_job(PLAN)
    thread = threading.Thread(target=run_job, args=(store, job_id, 1))
    thread.start()
    thread.join()
    assert bits(store, job_id) == undisturbed


def test_a_launched_job_runs_in_a_session_of_its_own_and_stops_gracefully_on_sigterm(store, until):
    job_id = store.add_job(LONG)
    process = launch(store, job_id)
    until(lambda: store.job(job_id).progress > 0)
    assert os.getsid(process.pid) == process.pid != os.getsid(0)
    process.terminate()
    assert process.wait(30) == 0
    (row,) = store.runs(job_id).to_dict("records")
    assert store.job(job_id).status == row["status"] == "stopped"
    assert 0 < row["iterations"] < LONG.configs()[0].n_iterations


def test_a_started_job_hears_a_request_to_stop(store, until):
    job_id = start(store, LONG, "long")
    until(lambda: store.job(job_id).progress > 0)
    store.request_stop(job_id)
    until(lambda: store.job(job_id).status == "stopped")
    assert list(store.runs(job_id)["status"]) == ["stopped"]
    assert store.job(job_id).name == "long"


def test_a_launched_job_outlives_the_process_that_launched_it(store, until, undisturbed):
    job_id = store.add_job(PLAN)
    code = """if True:
        import sys
        from studies import open_store
        from studies.jobs import launch
        launch(open_store(sys.argv[1]), sys.argv[2])
        print("launched", flush=True)
        sys.stdin.read()"""
    launcher = in_session_of_its_own(code, store.url, job_id)
    assert launcher.stdout.readline() == "launched\n"
    os.killpg(launcher.pid, signal.SIGKILL)
    launcher.communicate()
    assert launcher.returncode == -signal.SIGKILL
    until(lambda: store.job(job_id).status == "finished")
    assert bits(store, job_id) == undisturbed


def test_a_second_process_leaves_a_running_job_alone_and_says_so_in_the_log(store, tmp_path):
    job_id = store.add_job(PLAN)
    token = store.claim(job_id)
    assert launch(store, job_id).wait(30) == 0
    store.beat(job_id, token)
    assert store.runs().empty
    (log,) = (tmp_path / "home").rglob("jobs.log")
    assert log.read_text() == "expected a job that is waiting, found one that is running\n"


def test_a_killed_job_is_lost_within_15_seconds_and_resumes_without_losing_or_doubling_a_run(store, until):
    plan = Plan.of(hidden_size=[2, 3, 4, 5], n_iterations=4000, seed=range(26))  # worth a pool, some seconds long
    job_id = store.add_job(plan)
    assert sum(map(rough_seconds, plan.configs())) >= training.WORTH_A_POOL
    process = launch(store, job_id)
    until(lambda: store.finished_numbers(job_id))
    process.kill()
    process.wait(10)
    before = store.runs(job_id).set_index("id")
    assert 0 < len(before) < plan.n_runs
    assert store.job(job_id).status == "running"
    until(lambda: store.job(job_id).status == "lost", seconds=15)
    resume(store, job_id)
    until(lambda: store.job(job_id).status == "finished")
    after = store.runs(job_id)
    assert list(after["number"]) == list(range(plan.n_runs))
    assert list(after["identity"]) == [config.identity for config in plan.configs()]
    kept = after.set_index("id").loc[before.index]
    assert kept.equals(before)
    places = [0, plan.n_runs - 1, plan.n_runs // 2]
    alone = train([plan.configs()[place] for place in places])
    curves = [store.run(after["id"][place])["curves"] for place in places]
    assert all(np.array_equal(c, result.curves, equal_nan=True) for c, result in zip(curves, alone, strict=True))


def test_a_process_that_is_ready_takes_the_next_job(store):
    prepare(store)
    ready = _READY[store.url]
    prepare(store)
    assert _READY[store.url] is ready
    job_id = store.add_job(Plan.of(n_iterations=20))
    assert launch(store, job_id) is ready
    assert ready.wait(60) == 0
    assert store.job(job_id).status == "finished"


def test_a_ready_process_that_has_died_is_replaced(store):
    prepare(store)
    _READY[store.url].kill()
    _READY[store.url].wait(60)
    job_id = store.add_job(Plan.of(n_iterations=20))
    assert launch(store, job_id).wait(60) == 0
    assert store.job(job_id).status == "finished"


def test_a_ready_process_ends_with_the_server_that_keeps_it(store):
    prepare(store)
    ready = _READY.pop(store.url)
    ready.stdin.close()  # as the system does when the server is killed
    assert ready.wait(60) == 0


def test_slices_in_the_driver_s_own_process_grow_while_they_are_quick(store, monkeypatch):
    monkeypatch.setattr(training, "SLICE_SECONDS", 100)
    shares = []
    run_job(store, store.add_job(Plan.of(n_iterations=2000, hidden_size=2)), 1, shares.append)
    done = [round(2000 * share) for share in shares]
    assert done == [0, 5, 55, 555, 2000]
