import dataclasses
import io
import json
import sys

import pytest

from engine import train
from studies import Plan, cli_studies, driver
from studies.jobs import run_job
from studies.objectives import OBJECTIVES, summarize
from studies.search import SAMPLERS, TEMPLATES, Search, template

RAW = {
    "name": "rates",
    "fixed": {"n_iterations": 20},
    "space": {"activation": ["sigmoid", "tanh"], "hidden_size": {"low": 2, "high": 4}},
    "objectives": ["final_loss", "accuracy"],
    "sampler": "random",
    "n_trials": 5,
    "batch": 2,
    "n_seeds": 2,
}


@pytest.fixture(autouse=True)
def _own_store(store, monkeypatch):
    monkeypatch.setenv("BRINK_STORAGE", store.url)


@pytest.fixture
def file(tmp_path):
    """Write a search into a file; return the file's name."""

    def write(raw=RAW, **changes):
        path = tmp_path / "search.json"
        path.write_text(raw if isinstance(raw, str) else json.dumps(raw | changes))
        return str(path)

    return write


def test_run_makes_a_study_from_a_file_trains_it_and_prints_its_best_trials(run, store, file):
    code, out, err = run("run", file(n_trials=6, n_seeds=3), "--workers", "1")
    assert (code, err) == (0, "the best of 6 trials\n")
    (study,) = store.studies()
    assert study.search == Search.from_dict(RAW | {"n_trials": 6, "n_seeds": 3})
    assert (study.n_done, study.job.status, study.job.n_saved) == (6, "finished", 18)
    head, *lines = [line.split() for line in out.splitlines()]
    assert head == ["trial", "activation", "hidden_size", "final_loss", "accuracy", "diverged"]
    trials = sorted(store.trials(study.id), key=lambda trial: trial.summary.values[0])
    for line, trial in zip(lines, trials, strict=True):
        assert line[:3] == [str(trial.number), trial.params["activation"], str(trial.params["hidden_size"])]
        assert [float(word) for word in line[3:5]] == pytest.approx(trial.summary.values, rel=1e-3)
        assert line[5:] == [str(trial.summary.n_lost), "of", "3"]


def test_a_table_shows_ten_trials_and_starts_with_the_largest_where_large_is_good(run, file):
    losses = {"learning_rate": {"low": 0.001, "high": 3, "log": True}, "hidden_size": {"low": 2, "high": 16}}
    path = file(n_trials=12, objectives=["accuracy"], space=losses, fixed={"bits": 2, "n_iterations": 200}, n_seeds=1)
    code, out, err = run("run", path, "--workers", "1")
    shares = [float(line.split()[3]) for line in out.splitlines()[1:]]
    assert (code, len(shares), err) == (0, 10, "the best of 12 trials\n")
    assert shares == sorted(shares, reverse=True)
    assert len(set(shares)) > 3


def test_run_reads_standard_input_and_prints_json_of_every_trial(run, store, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO(json.dumps(RAW)))
    code, out, err = run("run", "-", "--json", "--workers", "1")
    records = [json.loads(line, parse_constant=pytest.fail) for line in out.splitlines()]
    assert (code, err, [record["number"] for record in records]) == (0, "", [0, 1, 2, 3, 4])
    made = Search.from_dict(RAW)
    for record in records:
        results = train([made.config(record["params"], seed) for seed in (1, 2)])
        summary = json.loads(json.dumps(dataclasses.asdict(summarize(results, made.objectives))))
        assert record == {"number": record["number"], "params": record["params"]} | summary


@pytest.mark.parametrize("name", TEMPLATES)
def test_run_takes_a_template_with_another_name_and_other_counts(name, run, store, monkeypatch):
    short = {key: raw | {"fixed": raw["fixed"] | {"n_iterations": 2}} for key, raw in TEMPLATES.items()}
    monkeypatch.setattr(sys.modules["studies.search"], "TEMPLATES", short)
    line = ["--name", "mine", "--trials", "3", "--seeds", "2", "--workers", "1"]
    code, out, err = run("run", "--template", name, *line)
    assert (code, err, len(out.splitlines())) == (0, "the best of 3 trials\n", 4)
    (study,) = store.studies()
    assert study.search == template(name, name="mine", n_trials=3, n_seeds=2)
    assert len(store.runs(study.job.id)) == 6


def test_studies_are_listed_newest_first_for_people_and_as_json(run, store, file):
    assert run("studies") == (0, "", "no studies yet; make one with: python -m studies run --template quick_look\n")
    assert run("studies", "--json")[:2] == (0, "")
    run("run", file(), "--workers", "1")
    store.add_study(Search.from_dict(RAW | {"name": "waiting", "sampler": "tpe"}))
    store.add_job(Plan.of(n_iterations=1))
    waiting, rates = store.studies()
    code, out, err = run("studies")
    assert (code, err) == (0, "")
    assert [line.split() for line in out.splitlines()] == [
        [waiting.job.id, "waiting", "0", "of", "5", "trials", "tpe", "waiting"],
        [rates.job.id, "finished", "5", "of", "5", "trials", "random", "rates"],
    ]
    code, out, err = run("studies", "--json")
    records = [json.loads(line) for line in out.splitlines()]
    assert [(r["id"], r["job"], r["status"], r["done"]) for r in records] == [
        (waiting.id, waiting.job.id, "waiting", 0),
        (rates.id, rates.job.id, "finished", 5),
    ]
    assert [Search.from_dict(record["search"]) for record in records] == [waiting.search, rates.search]
    assert "rates" not in run("list")[1]


def test_a_study_that_is_stopped_says_how_to_go_on_and_resume_prints_its_trials(run, store, file, monkeypatch):
    monkeypatch.setattr(driver, "SLICE_SECONDS", 1e-6)

    def stopping(share):
        if share >= 0.4:  # after the first of three chunks
            store.request_stop(store.studies()[0].job.id)

    with monkeypatch.context() as patch:
        patch.setattr(cli_studies, "show", lambda: stopping)
        code, out, err = run("run", file(), "--workers", "1")
    (study,) = store.studies()
    assert code == 130
    assert err == f"stopped; go on with: python -m studies resume {study.job.id}\nthe best of 2 trials\n"
    assert (study.job.status, study.n_done, len(out.splitlines())) == ("stopped", 2, 3)
    code, out, err = run("resume", study.job.id, "--workers", "1")
    assert (code, err, len(out.splitlines())) == (0, "the best of 5 trials\n", 6)
    whole = store.add_study(Search.from_dict(RAW | {"name": "whole"}))
    run_job(store, store.study(whole).job.id, 1)
    assert store.trials(whole) == store.trials(study.id)
    code, out, err = run("resume", study.job.id)
    assert (code, out) == (1, "")
    assert "found one that is finished" in err


BAD = [
    (["run"], "expected a file with a search, or --template and one of quick_look, "),
    (["run", "search.json", "--template", "cells"], "expected a file with a search, or --template and one of quick_look, "),
    (["run", "no such file.json"], "expected a file with a search as JSON, found none: "),
    (["run", "."], "expected a file with a search as JSON, found none: "),
    (["run", "--template", "cell"], "invalid choice: 'cell'"),
    (["run", "--template", "cells", "--trials", "0"], "n_trials: expected a whole number from 1 to 100,000, found 0"),
    (["run", "--template", "cells", "--trials", "x"], "argument --trials: invalid int value: 'x'"),
    (["run", "--template", "cells", "--seeds", "0"], "n_seeds: expected a whole number from 1 to 1,000, found 0"),
    (["run", "--template", "cells", "--name", " "], "name: expected some text, found none"),
    (["run", "--template", "cells", "--workers", "0"], "--workers: expected at least 1, found 0"),
    (["run", "--template", "cells", "--name", "taken"], "name: expected a new one, found 'taken', which another study has"),
]


@pytest.mark.parametrize(("line", "message"), BAD)
def test_a_wrong_command_line_is_refused_and_nothing_is_written(line, message, run, store, sql):
    store.add_study(Search.from_dict(RAW | {"name": "taken"}))
    code, out, err = run(*line)
    assert (code, out) == (2, "")
    assert message in err
    assert sql(store, "SELECT name FROM lab_job") == sql(store, "SELECT study_name FROM studies") == [("taken",)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected a file with a search as JSON, found none: "),
        ("[1]", "expected a search as an object with "),
        ("{}", "expected a search with name, found none"),
        ('{"name": "a", "space": {"hidden_sise": [1]}}', "did you mean 'hidden_size'?"),
        (
            '{"name": "a", "space": {"hidden_size": {"low": 4, "high": 2}}}',
            "hidden_size: expected low below high, found 4 and 2",
        ),
        ('{"name": "a", "space": {"bias": [true]}, "sampler": 5}', "sampler: expected one of tpe, cmaes, qmc, random, grid"),
        ('{"name": "a", "space": {"bias": [{}]}}', "bias: expected plain values as choices, found [{}]"),
        ('{"name": "a", "space": {"bits": {"low": 2, "high": 9, "step": "1"}}}', "bits: expected a step above 0 and at most 7"),
    ],
)
def test_a_file_that_holds_no_search_is_refused_before_the_store_is_made(text, message, run, tmp_path, file):
    url = f"sqlite:///{tmp_path / 'new.db'}"
    code, out, err = run("run", file(text), "--store", url)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert message in err
    assert not (tmp_path / "new.db").exists()


def test_a_file_that_is_no_text_is_refused(run, tmp_path):
    (tmp_path / "search.json").write_bytes(b"\xff\xfe\x00")
    code, _, err = run("run", str(tmp_path / "search.json"))
    assert code == 2
    assert "expected a file with a search as JSON, found none: " in err


def test_help_names_samplers_and_objectives_with_their_notes_and_an_example_that_can_be_made(run):
    code, out, _ = run("run", "--help")
    assert code == 0
    assert all(name in out for name in [*SAMPLERS, *OBJECTIVES, *TEMPLATES])
    assert all(objective.note in out for objective in OBJECTIVES.values())
    example = next(line for line in out.splitlines() if line.startswith('{"name"'))
    assert Search.from_json(example).n_trials == 64
