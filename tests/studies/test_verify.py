"""Training a saved run again gives the same bits, or a sentence that says where they differ."""

import math
import re

import numpy as np
import pytest

from engine import CELLS, CURVES, ENGINE_VERSION, TASKS, Population, RunConfig
from studies import Plan, driver
from studies.jobs import run_job
from studies.verify import SLICE, verify

IDENTICAL = "Identical: loss curve and final weights are the same, bit for bit."
LOSS = CURVES.index("loss")
SHORT = {"n_iterations": 40, "hidden_size": 4}


@pytest.fixture
def trained(store):
    """Train a plan and return its saved runs."""

    def train_and_read(plan, n_workers=1):
        job_id = store.add_job(plan)
        assert run_job(store, job_id, n_workers) == "finished"
        return [store.run(run_id) for run_id in store.runs(job_id)["id"]]

    return train_and_read


@pytest.fixture
def run(trained):
    """One finished run."""
    return trained(Plan.of(**SHORT))[0]


def test_a_finished_run_is_identical(run):
    verdict = verify(run)
    assert (verdict.identical, verdict.sentence, verdict.iteration) == (True, IDENTICAL, None)
    assert math.isnan(verdict.before)
    assert math.isnan(verdict.now)


@pytest.mark.parametrize("task", TASKS)
def test_runs_of_every_cell_are_identical_whoever_they_were_trained_with(task, trained):
    plan = Plan.of(task=task, cell=[*CELLS], reset_after=[False, True], dtype="float32", seed=[1, 2], batch_size=3, **SHORT)
    runs = trained(plan)
    assert len(runs) == 7 * 2
    assert [verify(run).sentence for run in runs] == [IDENTICAL] * 14


def test_runs_trained_by_worker_processes_are_identical(trained, monkeypatch):
    monkeypatch.setattr(driver, "WORTH_A_POOL", 0)
    runs = trained(Plan.of(**SHORT | {"hidden_size": [3, 20]}, cell=["rnn", "lstm"], seed=[1, 2]), n_workers=2)
    assert [verify(run).sentence for run in runs] == [IDENTICAL] * 8


@pytest.mark.parametrize("cell", ["rnn", "lstm_peephole", "gru"])
def test_a_stopped_run_is_identical_as_far_as_it_was_trained(cell, store, monkeypatch):
    monkeypatch.setattr(driver, "SLICE_SECONDS", 0.005)
    job_id = store.add_job(Plan.of(cell=cell, hidden_size=4, n_iterations=4000, optimizer="adam", schedule="cosine"))
    assert run_job(store, job_id, 1, lambda share: store.request_stop(job_id) if share > 0.1 else None) == "stopped"
    (run,) = (store.run(run_id) for run_id in store.runs(job_id)["id"])
    assert (run["status"], len(run["curves"])) == ("stopped", run["iterations"] // 40)
    assert 400 < run["iterations"] < 4000
    assert verify(run).sentence == IDENTICAL


def test_a_run_without_a_single_point_of_a_curve_is_compared_by_its_weights(store):
    job_id = store.add_job(Plan.of(hidden_size=4, n_iterations=1_000_000))  # the first point is that of 10,000
    run_job(store, job_id, 1, lambda share: share and store.request_stop(job_id))
    (run,) = (store.run(run_id) for run_id in store.runs(job_id)["id"])
    assert 0 < run["iterations"] < 10_000
    assert len(run["curves"]) == 0
    assert verify(run).sentence == IDENTICAL
    run["fingerprint"] = "0" * 32
    assert verify(run).sentence == "Different: the loss curve is identical, the final weights are not."


def test_overflowed_runs_are_identical_even_with_weights_that_are_not_finite(trained):
    axes = {"activation": ["relu", "softplus"], "learning_rate": 1.0, "optimizer": ["sgd", "adam"], "n_iterations": 300}
    runs = trained(Plan.of(**axes, seed=[1, 2]))
    assert any(run["iterations"] < 300 and not run["evidence"]["weights_finite"] for run in runs)
    assert any(run["overflow_count"] and run["evidence"]["weights_finite"] for run in runs)
    assert any(np.isnan(run["curves"][:, LOSS]).any() for run in runs)
    assert [verify(run).sentence for run in runs] == [IDENTICAL] * 8


@pytest.mark.parametrize("change", [0.25, np.spacing(1.0), math.inf, math.nan])
def test_another_curve_is_answered_with_the_first_iteration_that_differs_and_by_how_much(change, trained):
    (run,) = trained(Plan.of(hidden_size=4, n_iterations=300))
    true = run["curves"][:, LOSS].copy()
    for point in (60, 41, 90):
        run["curves"][point, LOSS] += change
    verdict = verify(run)
    assert (verdict.identical, verdict.iteration) == (False, 126)  # points lie 3 iterations apart
    assert (verdict.before, verdict.now) == (pytest.approx(true[41] + change, nan_ok=True), true[41])
    found = re.fullmatch(
        r"Different: the loss up to iteration 126 differs by (\S+) \(was (\S+), is (\S+)\)\.", verdict.sentence
    )
    by, was, now = map(float, found.groups())
    assert (now, np.array([was]).tobytes()) == (true[41], np.array([verdict.before]).tobytes())
    assert by == pytest.approx(abs(verdict.before - true[41]), rel=1e-2, nan_ok=True)
    assert f"{run['curves'][41, 0]:.0f}" == "126"


def test_a_curve_that_was_not_a_number_and_is_one_now_is_different(run):
    run["curves"][:, LOSS] = math.nan
    assert (verify(run).identical, verify(run).iteration) == (False, 1)


def test_other_weights_under_the_same_curve_are_noticed(run):
    run["fingerprint"] = run["fingerprint"][::-1]
    verdict = verify(run)
    assert not verdict.identical
    assert verdict.sentence == "Different: the loss curve is identical, the final weights are not."


@pytest.mark.parametrize(("kept", "words"), [(slice(39), "39 points long, now 40"), (slice(0), "0 points long, now 40")])
def test_a_curve_of_another_length_is_noticed(kept, words, run):
    run["curves"] = run["curves"][kept]
    verdict = verify(run)
    assert not verdict.identical
    assert verdict.sentence == f"Different: the loss curve was {words}; as far as both go it is identical."
    run["curves"] = run["curves"].copy()
    run["curves"][5:6, LOSS] += 1
    assert ("iteration 6 differs by 1 " in verify(run).sentence) == (len(run["curves"]) > 5)


def test_a_run_that_lost_its_weights_then_and_does_not_now_is_different(trained):
    (run,) = trained(Plan.of(activation="softplus", n_iterations=300, seed=2))
    assert run["iterations"] < 300
    assert not run["evidence"]["weights_finite"]
    run["config"] |= {"learning_rate": 1e-9, "weight_init_std": 1e-9}  # as if the engine had become tamer
    assert verify(run).sentence.startswith("Different: the loss ")


def test_a_run_that_is_lost_now_and_was_not_then_is_different(trained):
    (run,) = trained(Plan.of(activation="linear", n_iterations=300))
    run["config"] |= {"learning_rate": 1e6}
    assert verify(run).sentence.startswith("Different: the loss up to iteration 3 differs by ")


def test_a_run_without_a_fingerprint_is_not_called_identical(run):
    verdict = verify(run | {"fingerprint": None})
    assert not verdict.identical
    assert verdict.sentence == "The loss curve is identical; this run has no fingerprint of its final weights."


def test_a_difference_to_another_engine_version_says_so(run):
    run["engine_version"] = "0.9"
    versions = f" The run was made by engine version 0.9, this is {ENGINE_VERSION}."
    assert verify(run).sentence == IDENTICAL
    run["fingerprint"] = "0" * 32
    assert verify(run).sentence.endswith("the final weights are not." + versions)
    run["curves"][0, LOSS] += 1
    assert verify(run).sentence.endswith(")." + versions)


@pytest.mark.parametrize("n_iterations", [1, 2, 99, 1000])
def test_progress_rises_from_0_to_1(n_iterations, trained):
    (run,) = trained(Plan.of(hidden_size=2, n_iterations=n_iterations))
    shares = []
    assert verify(run, shares.append).identical
    assert shares == sorted(set(shares))
    assert (shares[0], shares[-1]) == (0, 1)
    assert len(shares) == 1 + min(n_iterations, SLICE)


def test_progress_ends_at_1_for_a_run_that_leaves_early_or_never_began(trained):
    (run,) = trained(Plan.of(activation="softplus", n_iterations=300, seed=2))
    early, never = [], []
    assert verify(run, early.append).identical
    assert (early[0], early[-1]) == (0, 1)
    population = Population([RunConfig(**SHORT)])
    population.stop()
    (result,) = population.results().values()
    begun = {"config": result.config.to_dict(), "iterations": 0, "status": "stopped", "curves": result.curves}
    assert verify(begun | {"fingerprint": result.fingerprint, "engine_version": ENGINE_VERSION}, never.append).identical
    assert never == [1]


def test_the_saved_run_is_left_as_it_was(store, trained):
    (run,) = trained(Plan.of(cell="lstm", **SHORT))
    before, curves = store.runs(), run["curves"].copy()
    verify(run)
    assert np.array_equal(run["curves"], curves)
    assert store.runs().equals(before)
