"""Studies whose trials a Gaussian process proposes; needs torch, and is skipped where that is not installed."""

import dataclasses

import optuna
import pytest

from studies.jobs import run_job
from studies.sampling import FIXED
from studies.search import Choices, Range, Search

pytest.importorskip("torch")
pytestmark = [pytest.mark.torch, pytest.mark.timeout(600)]

SPACE = {
    "learning_rate": Range(0.01, 10, log=True),
    "hidden_size": Range(2, 4),
    "activation": Choices(["tanh", "relu"]),
    "clip_norm": Choices([None, 1.0]),
}


def search(**changes):
    """Return a search of two chunks: ten trials drawn blindly, which the process needs to begin with, and four of its own."""
    usual = {"fixed": {"n_iterations": 20}, "sampler": "gp", "n_trials": 14, "batch": 10, "seed": 3}
    return Search(**{"name": "by a process", "space": SPACE} | usual | changes)


@pytest.mark.parametrize(
    "changes", [{}, {"objectives": ("final_loss", "accuracy")}, {"pruner": "median", "batch": 7}], ids=["one", "two", "pruned"]
)
def test_a_gaussian_process_proposes_in_its_space_and_finishes(changes, store, trained):
    made = search(**changes)
    trials = store.trials(trained(store, made))
    assert len(trials) == 14
    assert all(made.holds(trial.params) for trial in trials)
    assert len({str(trial.params) for trial in trials}) == 14
    theirs = optuna.load_study(study_name=made.name, storage=store.optuna_storage()).trials
    assert [trial.params for trial in theirs] == [trial.params for trial in trials]


def test_a_gaussian_process_learns_from_the_chunks_before(store, trained):
    """Both searches draw the same first chunk; what it came to is good in one and bad in the other."""
    fixed = {"n_iterations": 20, "activation": "tanh", "clip_norm": None}
    space = {name: SPACE[name] for name in ("learning_rate", "hidden_size")}
    low, high = (
        store.trials(trained(store, search(name=name, space=space, fixed=fixed, objectives=(name,))))
        for name in ("final_loss", "accuracy")
    )
    assert [trial.params for trial in low[:10]] == [trial.params for trial in high[:10]]
    assert [trial.params for trial in low[10:]] != [trial.params for trial in high[10:]]


def test_a_gaussian_process_stopped_in_mid_chunk_asks_the_same_again(store, trained, facts, go_on, small_slices):
    whole = facts(store, trained(store, search()))
    study_id = store.add_study(dataclasses.replace(search(), name="in parts"))
    job_id = store.study(study_id).job.id
    assert run_job(store, job_id, 1, lambda share: share >= 0.8 and store.request_stop(job_id)) == "stopped"
    assert [chunk.state for chunk in store.chunks(study_id)] == ["done", "open"]
    go_on(store, study_id)
    assert facts(store, study_id) == whole


def test_a_gaussian_process_is_warmed_up_and_given_trials(store, trained):
    trained(store, search(name="source", sampler="random", n_trials=12))
    study_id = store.add_study(search(n_trials=4, warm_start="source"))
    wish = {"learning_rate": 0.5, "hidden_size": 3, "activation": "tanh", "clip_norm": None}
    store.enqueue(study_id, [wish])
    assert run_job(store, store.study(study_id).job.id, 1) == "finished"
    trials = store.trials(study_id)
    assert [trial.params for trial in trials if FIXED in trial.notes] == [wish]
    assert len(trials) == 5
