"""A job of every cell and task, and one large population, trained by one process and by two."""

import pytest

from engine import ACTIVATIONS, CELLS, TASKS, stacks
from studies import Plan, driver, open_store
from studies.jobs import run_job

EVERYTHING = Plan.of(
    task=[*TASKS], cell=[*CELLS], reset_after=[False, True], optimizer="adam", hidden_size=3, n_iterations=6, seed=[1, 2]
)
ONE_SHAPE = Plan.of(activation=[*ACTIVATIONS], learning_rate=[0.01, 1.0], n_iterations=20, seed=range(10))
PLANS = pytest.mark.parametrize("plan", [EVERYTHING, ONE_SHAPE], ids=["everything", "one shape"])


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """Train plans in this process; return their tables, each made once."""
    store, tables = open_store(str(tmp_path_factory.mktemp("alone") / "brink.db")), {}

    def table(plan):
        if plan.to_json() not in tables:
            job_id = store.add_job(plan)
            assert run_job(store, job_id, 1) == "finished"
            tables[plan.to_json()] = store.runs(job_id)
        return tables[plan.to_json()]

    return table


@PLANS
def test_every_run_of_a_job_finishes_with_a_fingerprint_of_its_own(plan, alone):
    table = alone(plan)
    assert list(table["number"]) == list(range(plan.n_runs))
    assert list(table["identity"]) == [config.identity for config in plan.configs()]
    assert set(table["status"]) == {"finished"}
    assert table["fingerprint"].str.fullmatch("[0-9a-f]{32}").all()
    alive = table[table["overflow_count"] == 0]  # those that died at once have no numbers that tell them apart
    assert alive["fingerprint"].nunique() == len(alive) > 20
    assert (table["n_parameters"] > 0).all()


def test_the_plan_of_everything_has_every_cell_and_task():
    assert EVERYTHING.n_runs == len(TASKS) * (len(CELLS) + 1) * 2  # the GRU comes in two forms


@PLANS
def test_worker_processes_give_the_same_fingerprints(plan, alone, store, monkeypatch):
    monkeypatch.setattr(driver, "WORTH_A_POOL", 0)
    assert len(stacks(plan.configs(), 2)) >= 2  # enough for both
    job_id = store.add_job(plan)
    assert run_job(store, job_id, 2) == "finished"
    table = store.runs(job_id)
    for name in ("identity", "fingerprint", "outcome", "iterations", "final_loss", "accuracy", "overflow_count"):
        assert table[name].equals(alone(plan)[name])
