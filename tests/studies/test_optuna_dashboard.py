"""optuna-dashboard, the real one, on a store of ours."""

import contextlib
import json
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from studies.jobs import run_job
from studies.search import Choices, Range, Search


@pytest.fixture
def dashboard(store, until):
    """Start optuna-dashboard on the store; return what asks it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [str(Path(sys.executable).with_name("optuna-dashboard")), "--port", str(port), store.url]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def ask(path):
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=30) as answer:
            return json.load(answer)

    def is_up():
        with contextlib.suppress(OSError):
            return ask("/api/studies") is not None

    yield lambda path: until(is_up) and ask(path)
    process.kill()
    process.wait()


def test_optuna_dashboard_opens_a_study_with_its_values_pruned_trials_and_runs(store, dashboard):
    space = {"learning_rate": Range(0.01, 100, log=True), "activation": Choices(["sigmoid", "relu"])}
    made = Search(
        name="näme <b>",
        space=space,
        fixed={"n_iterations": 54, "hidden_size": 3},
        sampler="random",
        pruner="halving",
        n_trials=9,
    )
    study_id = store.add_study(made)
    run_job(store, store.study(study_id).job.id, 1)
    trials = store.trials(study_id)
    (summary,) = dashboard("/api/studies")["study_summaries"]
    assert (summary["study_name"], summary["directions"]) == ("näme <b>", ["minimize"])
    found = dashboard(f"/api/studies/{summary['study_id']}?after=0")["trials"]
    assert [trial["number"] for trial in found] == list(range(9))
    states = {"complete": "Complete", "pruned": "Pruned"}
    assert [trial["state"] for trial in found] == [states[trial.summary.state] for trial in trials]
    assert {trial["state"] for trial in found} == {"Complete", "Pruned"}
    for theirs, ours in zip(found, trials, strict=True):
        values = {part["name"]: part["param_external_value"] for part in theirs["params"]}
        assert float(values["learning_rate"]) == ours.params["learning_rate"]
        assert values["activation"] == ours.params["activation"]
        assert theirs["values"] == [(ours.summary.pruned_at or ours.summary.values)[-1]]
        assert [point["value"] for point in theirs["intermediate_values"]] == list(ours.summary.pruned_at)
        assert "brink:runs" in {attribute["key"] for attribute in theirs["user_attrs"]}
