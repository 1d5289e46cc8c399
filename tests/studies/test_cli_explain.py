"""`python -m studies explain`."""

import json

import pytest

from studies import Plan
from studies.jobs import run_job


@pytest.fixture(autouse=True)
def _own_store(store, monkeypatch):
    monkeypatch.setenv("BRINK_STORAGE", store.url)


@pytest.fixture
def job(store):
    """A job of two runs: the first learns nothing in 40 iterations, the second overflows."""
    job_id = store.add_job(Plan.of(activation=["sigmoid", "relu"], n_iterations=40))
    run_job(store, job_id, 1)
    return job_id


def test_a_run_is_explained_in_words(run, store, job):
    run_id = store.runs(job)["id"][1]
    code, out, err = run("explain", run_id[:8])
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == f"{run_id}  relu · iterations 40 · seed 1"
    assert lines[1].startswith("overflow: ")
    assert lines[2].startswith("Why: The recurrent matrix started with a spectral radius of ")
    assert [line[:5] for line in lines[3:6]] == ["Try: "] * 3
    assert lines[6].startswith("First: Iteration 11, forward pass: exp(")
    assert lines[7].split() == ["iteration", "largest_hidden", "gradient_norm", "largest_weight", "loss"]
    assert len(lines) == 8 + 11


def test_a_job_is_explained_as_json(run, store, job):
    code, out, _ = run("explain", "--job", job, "--json")
    records = [json.loads(line) for line in out.splitlines()]
    assert (code, [record["id"] for record in records]) == (0, store.runs(job)["id"].tolist())
    assert records[0]["black_box"] is None
    box = records[1]["black_box"]
    assert (box["iteration"], box["phase"], box["tensor"], box["kind"]) == (11, "forward", "readout", "overflow")
    assert [entry["iteration"] for entry in box["trail"]] == list(range(1, 12))
    assert box["sentence"].startswith("Iteration 11, forward pass")


def test_numbers_that_are_not_finite_are_words_in_json(run, store):
    run_job(store, store.add_job(Plan.of(activation="softplus", n_iterations=50, seed=2)), 1)  # its weights become NaN
    code, out, _ = run("explain", store.runs()["id"][0], "--json")
    trail = json.loads(out)["black_box"]["trail"]
    assert (code, trail[-1]["largest_hidden"]) == (0, "Infinity")


def test_an_overflow_that_is_not_found_again_is_said_and_the_others_are_explained(run, store, job, sql):
    sql(store, "UPDATE lab_run SET overflow_iteration = 3 WHERE overflow_count > 0")
    code, out, _ = run("explain", "--job", job)
    assert code == 0
    assert "Problem: expected an overflow at iteration 3, found none" in out
    assert out.count("Why: ") == 2


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "error: expected ids of runs, or --job and the id of a job\n"),
        (["abcdef", "--job", "x"], 2, "error: expected ids of runs, or --job and the id of a job\n"),
        (["--job", "nothing"], 1, "nothing"),
        (["abcdef"], 1, "abcdef"),
    ],
)
def test_what_is_missing_is_said(run, arguments, code, message):
    answer = run("explain", *arguments)
    assert answer[:2] == (code, "")
    assert message in answer[2]
