"""Tables of trials, the Pareto front, importances; studies that get more trials."""

import itertools
import statistics

import numpy as np
import pandas as pd
import pytest

from studies import JobError, PlanError
from studies.analysis import LEAST_TRIALS, best_so_far, importances, on_the_front, trials_table
from studies.jobs import run_job
from studies.search import Choices, Range, Search

SPACE = {"learning_rate": Range(0.01, 1000, log=True), "activation": Choices(["sigmoid", "relu"])}


@pytest.fixture
def study(store):
    """A study of 10 trials with three seeds each, some of which diverge or overflow."""
    search = Search(
        name="s",
        space=SPACE,
        fixed={"n_iterations": 60, "hidden_size": 4},
        n_trials=10,
        n_seeds=3,
        batch=4,
        objectives=("final_loss", "accuracy"),
    )
    run_job(store, store.study(store.add_study(search)).job.id, 1)
    return store.study("s")


def test_a_trial_is_one_row_with_what_its_seeds_came_to(store, study):
    table, runs = trials_table(store, study), store.runs(study.job.id)
    assert table["number"].tolist() == list(range(10))
    assert len(runs) == 30
    for row in table.itertuples():
        mine = runs[runs["number"] // 3 == row.number]
        assert mine["seed"].tolist() == [1, 2, 3]
        assert set(mine["learning_rate"]) == {row.learning_rate}
        assert set(mine["activation"]) == {row.activation}
        assert row.run_id == mine["id"].iloc[0]
        assert row.n_lost == mine["outcome"].isin(["diverged", "overflow"]).sum()
        assert row.lost_low <= row.n_lost / 3 <= row.lost_high
        capped = [min(loss, 10.0) for loss in mine["final_loss"]]  # the baseline is 1 but for 1e-5
        assert row.final_loss == pytest.approx(statistics.fmean(capped), rel=1e-4)
        assert row.median_final_loss == pytest.approx(statistics.median(capped), rel=1e-4)
        assert row.spread_accuracy == pytest.approx(statistics.stdev(mine["accuracy"]))
        assert row.outcome in statistics.multimode(mine["outcome"])
    assert table["n_lost"].sum() > 0


def test_a_study_without_a_finished_trial_is_an_empty_table(store):
    study = store.study(store.add_study(Search(name="s", space=SPACE)))
    table = trials_table(store, study)
    assert table.empty
    assert {"number", "learning_rate", "final_loss", "outcome", "run_id"} <= set(table)


def test_the_best_so_far_follows_the_objectives_direction():
    values = pd.Series([3.0, 5.0, 1.0, 2.0])
    assert best_so_far(values, "final_loss").tolist() == [3, 3, 1, 1]
    assert best_so_far(values, "accuracy").tolist() == [3, 5, 5, 5]


@pytest.mark.parametrize("seed", range(20))
def test_the_front_is_what_no_other_trial_beats(seed):
    rng = np.random.default_rng(seed)
    table = pd.DataFrame({"accuracy": rng.integers(0, 6, 40) / 5, "cost": rng.integers(1, 8, 40) * 10.0})  # many are equal

    def beats(a, b):
        better = (a.accuracy >= b.accuracy, a.cost <= b.cost)
        return all(better) and (a.accuracy > b.accuracy or a.cost < b.cost)

    rows = list(table.itertuples())
    expected = [not any(beats(other, row) for other in rows) for row in rows]
    assert on_the_front(table, ("accuracy", "cost")).tolist() == expected


def test_what_decides_is_found(store):
    """The loss is a parabola over the learning rate's logarithm and knows nothing of the activation."""
    study = store.study(store.add_study(Search(name="s", space=SPACE, n_trials=99)))
    rates, words = np.geomspace(0.01, 1000, 30), ["sigmoid", "relu"]
    rows = [(rate, word, np.log10(rate) ** 2) for rate, word in itertools.product(rates, words)]
    table = pd.DataFrame(rows, columns=["learning_rate", "activation", "final_loss"])
    shares = importances(table, study, "final_loss")
    assert shares.index.tolist() == ["learning_rate", "activation"]
    assert shares["learning_rate"] > 0.9
    assert shares.sum() == pytest.approx(1)
    assert importances(table.head(LEAST_TRIALS - 1), study, "final_loss").empty
    assert importances(table.assign(final_loss=1.0), study, "final_loss").empty
    one = table[table["learning_rate"] == rates[0]]
    assert importances(pd.concat([one] * 10).assign(final_loss=range(20)), study, "final_loss").index.tolist() == ["activation"]


def test_an_extended_study_keeps_its_trials_and_gets_the_new_ones(store, study):
    before = store.trials(study.id)
    job_id = store.extend_study(study.id, 7)
    assert store.job(job_id).status == "stopped"
    store.wait_again(job_id)
    run_job(store, job_id, 1)
    trials, runs = store.trials(study.id), store.runs(job_id)
    assert trials[:10] == before
    assert [trial.number for trial in trials] == list(range(17))
    assert runs["number"].tolist() == list(range(51))
    assert (store.job(job_id).status, store.job(job_id).n_runs, store.job(job_id).progress) == ("finished", 51, 1)


def test_a_study_cannot_be_extended_past_its_space_or_while_it_is_trained(store):
    search = Search(
        name="grid", space={"hidden_size": Range(2, 5)}, sampler="grid", points=4, n_trials=2, fixed={"n_iterations": 5}
    )
    study_id = store.add_study(search)
    with pytest.raises(JobError, match="'grid': expected one that is finished or stopped, found it waiting"):
        store.extend_study(study_id, 1)
    run_job(store, store.study(study_id).job.id, 1)
    for wrong in (0, -1, 3):
        with pytest.raises(PlanError, match="n_trials: expected"):
            store.extend_study(study_id, wrong)
    store.wait_again(store.extend_study(study_id, 2))
    run_job(store, store.study(study_id).job.id, 1)
    assert [trial.params for trial in store.trials(study_id)] == [{"hidden_size": n} for n in (2, 3, 4, 5)]
