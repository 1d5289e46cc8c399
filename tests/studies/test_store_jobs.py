import threading
import time
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from studies import JobError, Plan, StoreError
from studies.store_jobs import pack_live, unpack_live

NO_JOB = "f" * 32


@pytest.fixture
def lose(sql):
    """Let a job's last sign of life be an hour ago."""
    return lambda store, job_id: sql(store, "UPDATE lab_job SET heartbeat_at = ? WHERE id = ?", time.time() - 3600, job_id)


def bring_to(store, status, lose):
    """Return the id of a job in a certain state."""
    job_id = store.add_job(Plan({}))
    if status != "waiting":
        token = store.claim(job_id)
    if status == "stopping":
        store.request_stop(job_id)
    if status == "paused":
        store.request_pause(job_id)
        store.mark_paused(job_id, token, True)
    if status in ("finished", "stopped", "failed"):
        store.end_job(job_id, token, status)
    if status == "lost":
        lose(store, job_id)
    assert store.job(job_id).status == status
    return job_id


def test_a_new_job_waits_with_its_plan_and_its_name(store):
    plan = Plan.of("relu", seed=[1, 2, 3], n_iterations=50)
    job = store.job(store.add_job(plan, "first"))
    assert (job.name, job.plan, job.status, job.n_runs, job.n_iterations) == ("first", plan, "waiting", 3, 150)
    assert (job.progress, job.rate, job.seconds_left, job.runs_per_second, job.error) == (0, None, None, None, None)
    assert job.is_live


def test_jobs_are_listed_newest_first_and_no_more_than_asked_for(store):
    ids = [store.add_job(Plan({}), str(number)) for number in range(4)]
    assert [job.id for job in store.jobs()] == ids[::-1]
    assert [job.name for job in store.jobs(most=2)] == ["3", "2"]


@pytest.mark.parametrize("name", ["", 'it\'s "x"; DROP TABLE lab_job;--', "a\nb\tc", "🧠<b>=1+1</b>", "x" * 100_000])
def test_a_job_s_name_is_stored_literally(name, store):
    assert store.job(store.add_job(Plan({}), name)).name == name


@pytest.mark.parametrize("name", ["x" * 100_001, "\udcff"])
def test_a_name_that_cannot_be_kept_is_refused(name, store):
    with pytest.raises(StoreError, match=r"^name: expected"):
        store.add_job(Plan({}), name)
    assert store.jobs() == []


def test_a_job_that_does_not_exist_is_named(store):
    for ask in (store.job, store.claim, store.wait_again):
        with pytest.raises(JobError, match=f"expected the id of a saved job, found '{NO_JOB}'"):
            ask(NO_JOB)


def test_a_job_is_claimed_by_exactly_one_of_many(store):
    job_id, tokens, refusals, gate = store.add_job(Plan({})), [], [], threading.Barrier(6)

    def claim():
        gate.wait()
        try:
            tokens.append(store.claim(job_id))
        except JobError as problem:
            refusals.append(str(problem))

    threads = [threading.Thread(target=claim) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(tokens) == 1
    assert refusals == ["expected a job that is waiting, found one that is running"] * 5
    store.beat(job_id, tokens[0])


@pytest.mark.parametrize("status", ["stopped", "failed", "lost"])
def test_a_job_that_ended_early_can_wait_again_and_be_claimed(status, store, lose):
    job_id = bring_to(store, status, lose)
    assert not store.job(job_id).is_live
    store.wait_again(job_id)
    assert store.job(job_id).status == "waiting"
    store.claim(job_id)
    assert store.job(job_id).status == "running"


@pytest.mark.parametrize("status", ["waiting", "running", "paused", "stopping", "finished"])
def test_a_job_that_is_at_work_or_done_cannot_wait_again(status, store, lose):
    job_id = bring_to(store, status, lose)
    with pytest.raises(JobError, match=f"expected a job that was stopped, failed or lost, found one that is {status}"):
        store.wait_again(job_id)
    assert store.job(job_id).status == status


@pytest.mark.parametrize(("status", "shown"), [("waiting", "lost"), ("running", "lost"), ("finished", "finished")])
def test_only_a_job_that_somebody_should_work_on_is_lost_by_silence(status, shown, store, lose):
    job_id = bring_to(store, status, lose)
    lose(store, job_id)
    assert store.job(job_id).status == store.jobs()[0].status == shown


def test_a_sign_of_life_finds_a_lost_job_again(store, lose):
    job_id = store.add_job(Plan({}))
    token = store.claim(job_id)
    lose(store, job_id)
    assert store.job(job_id).status == "lost"
    store.beat(job_id, token)
    assert store.job(job_id).status == "running"


def test_a_request_to_stop_is_heard_with_the_next_beat(store):
    job_id = store.add_job(Plan({}))
    token = store.claim(job_id)
    assert store.beat(job_id, token) == (False, False, None)
    store.request_stop(job_id)
    assert store.job(job_id).status == "stopping"
    assert store.beat(job_id, token, 10) == (True, False, None)


def test_a_request_to_pause_is_heard_until_it_is_taken_back(store):
    job_id = store.add_job(Plan({}))
    token = store.claim(job_id)
    store.request_pause(job_id)
    assert (store.job(job_id).status, store.job(job_id).is_live) == ("pausing", True)
    assert store.beat(job_id, token) == (False, True, None)
    store.mark_paused(job_id, token, True)
    assert (store.job(job_id).status, store.job(job_id).is_live) == ("paused", True)
    store.request_pause(job_id, False)
    assert store.beat(job_id, token).pause is False
    store.mark_paused(job_id, token, False)
    assert store.job(job_id).status == "running"


def test_a_paused_job_that_is_asked_to_stop_is_stopping(store):
    job_id = bring_to(store, "paused", None)
    store.request_stop(job_id)
    assert store.job(job_id).status == "stopping"


def test_a_pause_is_forgotten_when_a_job_waits_again(store, lose):
    job_id = bring_to(store, "paused", lose)
    lose(store, job_id)
    assert store.job(job_id).status == "lost"
    store.wait_again(job_id)
    assert store.beat(job_id, store.claim(job_id)) == (False, False, None)


def test_only_the_process_that_has_a_job_marks_it_paused(store, lose):
    job_id = bring_to(store, "running", lose)
    store.mark_paused(job_id, "foreign", True)
    assert store.job(job_id).status == "running"


@pytest.mark.parametrize("status", ["finished", "stopped", "failed"])
def test_a_request_to_stop_or_pause_a_job_that_has_ended_changes_nothing(status, store, lose):
    job_id = bring_to(store, status, lose)
    before = store.job(job_id)
    store.request_stop(job_id)
    store.request_pause(job_id)
    assert store.job(job_id) == before


def test_a_number_of_workers_is_kept_and_heard_with_the_next_beat(store):
    job_id = store.add_job(Plan({}))
    assert store.job(job_id).n_workers is None
    store.set_workers(job_id, 3)
    token = store.claim(job_id)
    assert (store.job(job_id).n_workers, store.beat(job_id, token).n_workers) == (3, 3)
    store.set_workers(job_id, 256)
    assert store.beat(job_id, token).n_workers == 256
    for wrong in (0, -1, 257, 2.0, "2", True, None):
        with pytest.raises(JobError, match="workers: expected a whole number from 1 to 256, found"):
            store.set_workers(job_id, wrong)
    assert store.job(job_id).n_workers == 256


def test_a_job_that_has_got_more_runs_meanwhile_does_not_end(store, sql):
    job_id = store.add_job(Plan({}))
    token = store.claim(job_id)
    sql(store, "UPDATE lab_job SET n_runs = 7")
    assert store.end_job(job_id, token, "finished", n_runs=6) is False
    assert store.job(job_id).status == "running"
    assert store.end_job(job_id, "foreign", "finished", n_runs=7) is False
    assert store.end_job(job_id, token, "finished", n_runs=7) is True
    assert store.job(job_id).status == "finished"


def test_a_process_whose_job_was_taken_over_can_write_nothing_more(store, lose, results):
    job_id = store.add_job(Plan({}))
    stale = store.claim(job_id)
    lose(store, job_id)
    store.wait_again(job_id)
    fresh = store.claim(job_id)
    for write in (lambda: store.beat(job_id, stale, 7), lambda: store.save_results(job_id, stale, [(0, results[0])])):
        with pytest.raises(JobError, match="was deleted or taken over by another process"):
            write()
    store.end_job(job_id, stale, "failed", "of the stale one")
    job = store.job(job_id)
    assert (job.status, job.iterations_done, job.error, len(store.runs())) == ("running", 0, None, 0)
    store.save_results(job_id, fresh, [(0, results[0])])
    assert len(store.runs()) == 1


def test_progress_and_speed_count_what_this_process_did(store, sql):
    job_id = store.add_job(Plan.of(n_iterations=100, seed=[1, 2, 3, 4]))
    token = store.claim(job_id)
    store.beat(job_id, token, 100, first=True)
    store.beat(job_id, token, 300)
    store.end_job(job_id, token, "stopped")
    sql(store, "UPDATE lab_job SET started_at = 1000, ended_at = 1005")
    job = store.job(job_id)
    assert job.progress == 0.75
    assert job.rate == 40  # (300 - 100) iterations in 5 seconds
    assert job.seconds_left == 2.5  # 100 iterations at 40 a second
    assert job.runs_per_second == 0.4  # of 100 iterations each


def test_a_job_counts_its_saved_runs(store, save, results):
    job_id, _ = save(results)
    store.add_job(Plan({}))
    assert [job.n_saved for job in store.jobs()] == [0, len(results)]
    assert store.job(job_id).n_saved == len(results)


def test_a_failed_job_keeps_its_message_until_it_waits_again(store):
    job_id = store.add_job(Plan({}))
    store.end_job(job_id, store.claim(job_id), "failed", "ValueError: 'x'")
    assert (store.job(job_id).status, store.job(job_id).error) == ("failed", "ValueError: 'x'")
    store.wait_again(job_id)
    assert store.job(job_id).error is None


def test_finished_runs_need_not_be_trained_again_and_stopped_ones_do(store, save, results):
    job_id, token = save(results)
    store.save_results(job_id, token, [(1, replace(results[1], status="stopped"))])
    assert store.finished_numbers(job_id) == {0, 2, 3}
    assert store.finished_numbers(NO_JOB) == set()


def test_a_deleted_job_takes_its_runs_and_curves_with_it(store, save, results, sql):
    doomed, _ = save(results)
    kept, _ = save(results[:2])
    store.delete_job(doomed)
    with pytest.raises(JobError):
        store.job(doomed)
    assert list(store.runs()["job_id"]) == [kept] * 2
    assert sql(store, "SELECT count(*) FROM lab_curve") == [(2,)]


def test_curves_of_runs_in_training_can_be_watched_until_the_job_ends(store):
    job_id = store.add_job(Plan({}))
    token = store.claim(job_id)
    assert store.live_curves(job_id) == {}
    store.beat(job_id, token, 10, pack_live({3: np.ones((2, 6)), 5: np.zeros((0, 6))}))
    store.beat(job_id, token)  # a sign of life alone takes nothing away
    live = store.live_curves(job_id)
    assert {number: rows.tolist() for number, rows in live.items()} == {3: [[1.0] * 6] * 2, 5: []}
    store.end_job(job_id, token, "finished")
    assert store.live_curves(job_id) == {}
    assert store.live_curves(NO_JOB) == {}


@given(st.dictionaries(st.integers(0, 10**6), st.integers(0, 4).flatmap(lambda n: hnp.arrays(float, (n, 3)))))
@settings(deadline=None)
def test_live_curves_are_unpacked_as_they_were_packed(curves):
    unpacked = unpack_live(pack_live(curves))
    assert list(unpacked) == list(curves)
    assert [rows.tobytes() for rows in unpacked.values()] == [rows.tobytes() for rows in curves.values()]
