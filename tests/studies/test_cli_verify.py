"""`python -m studies verify`, worked examples under the table, and settings in help and tables that mean nothing."""

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from engine import FIELDS, TASKS
from studies import Plan, StoreError, open_store
from studies.cli import main
from studies.jobs import run_job

ROOT = Path(__file__).parents[2]
IDENTICAL = "Identical: loss curve and final weights are the same, bit for bit.\n"
QUICK = ["--set", "n_iterations=40", "--set", "hidden_size=4", "--workers", "1"]


@pytest.fixture(autouse=True)
def _own_store(store, monkeypatch):
    monkeypatch.setenv("BRINK_STORAGE", store.url)


@pytest.fixture
def run_id(store):
    """The id of the only saved run."""
    run_job(store, store.add_job(Plan.of(cell="lstm", hidden_size=3, n_iterations=30)), 1)
    return store.runs()["id"][0]


@pytest.mark.parametrize("length", [6, 7, 31, 32])
def test_a_run_is_verified_by_the_start_of_its_id(length, run, run_id):
    assert run("verify", run_id[:length]) == (0, IDENTICAL, "")


def test_a_difference_is_printed_and_is_exit_code_3(run, run_id, store, sql):
    sql(store, "UPDATE lab_run SET fingerprint = ?", "0" * 32)
    assert run("verify", run_id) == (3, "Different: the loss curve is identical, the final weights are not.\n", "")
    sql(store, "UPDATE lab_run SET config = replace(config, '\"learning_rate\":0.1', '\"learning_rate\":0.5')")
    code, out, _ = run("verify", run_id)
    assert (code, out.startswith("Different: the loss up to iteration 2 differs by ")) == (3, True)
    sql(store, "UPDATE lab_run SET fingerprint = NULL, config = replace(config, '0.5', '0.1'), engine_version = '1'")
    code, out, _ = run("verify", run_id)
    assert (code, "no fingerprint" in out, "made by engine version 1, this is" in out) == (3, True, True)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", "expected at least the first 6 characters of a run's id, found ''"),
        ("abcde", "expected at least the first 6 characters of a run's id, found 'abcde'"),
        ("nothing", "expected the id of a saved run, or its start, found 'nothing'; it may have been deleted"),
        ("______", "expected the id of a saved run, or its start, found '______'; it may have been deleted"),
        ("%%%%%%", "expected the id of a saved run, or its start, found '%%%%%%'; it may have been deleted"),
        ("x' OR 1", 'expected the id of a saved run, or its start, found "x\' OR 1"; it may have been deleted'),
    ],
)
def test_an_unknown_run_is_exit_code_1(name, message, run, run_id):
    assert run("verify", name) == (1, "", f"error: {message}\n")


def test_a_start_that_several_runs_share_is_exit_code_1_and_more_of_it_is_not(run, store, sql):
    run_job(store, store.add_job(Plan.of(hidden_size=3, n_iterations=5, seed=[1, 2])), 1)
    sql(store, "PRAGMA foreign_keys = OFF")
    for number, run_id in enumerate(store.runs()["id"]):
        new = "abcdef" + str(number) * 26
        sql(store, "UPDATE lab_curve SET run_id = ? WHERE run_id = ?", new, run_id)
        sql(store, "UPDATE lab_run SET id = ? WHERE id = ?", new, run_id)
    code, out, err = run("verify", "abcdef")
    assert (code, out) == (1, "")
    assert err == "error: expected the start of one run's id, found several runs for 'abcdef'; give more characters\n"
    assert run("verify", "abcdef1")[0] == 0
    assert store.find_run("abcdef0") == "abcdef" + "0" * 26
    with pytest.raises(StoreError, match="several runs"):
        store.find_run("abcdef")


def test_a_run_of_another_store_is_verified_by_its_file(run, tmp_path):
    other = open_store(str(tmp_path / "other.sqlite"))
    run_job(other, other.add_job(Plan.of(hidden_size=3, n_iterations=5)), 1)
    run_id = other.runs()["id"][0]
    assert run("verify", run_id, "--store", str(tmp_path / "other.sqlite")) == (0, IDENTICAL, "")
    assert run("verify", run_id)[0] == 1


def test_progress_goes_to_a_terminal_s_error_output_alone(run_id):
    terminal, end = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "studies", "verify", run_id], cwd=ROOT, stdout=subprocess.PIPE, stderr=end, text=True
    )
    os.close(end)
    out = process.communicate(timeout=60)[0]
    shown = os.read(terminal, 100_000).decode()
    os.close(terminal)
    assert (process.returncode, out) == (0, IDENTICAL)
    shares = [float(part.split("%")[0]) for part in shown.split("\r") if "% trained" in part]
    assert shares == sorted(shares)
    assert (shares[0], shares[-1], len(shares)) == (0, 100, 31)
    assert shown.count("\n") == 1


@pytest.mark.parametrize("task", TASKS)
def test_a_single_run_s_worked_examples_stand_below_the_table(task, run, store):
    code, out, err = run("train", *QUICK, "--set", f"task={task}")
    assert (code, err) == (0, "")
    table, examples = out.split("\n\n")
    assert len(table.splitlines()) == 2
    assert examples.splitlines() == [example["line"] for example in store.run(store.runs()["id"][0])["examples"]]
    assert len(examples.splitlines()) == 8
    if task == "bit_count":  # as its source prints them
        assert all(line.startswith("output: ") and ", correct: " in line for line in examples.splitlines())


def test_several_runs_and_json_have_no_worked_examples(run):
    assert len(run("train", *QUICK, "--seeds", "1,2")[1].splitlines()) == 1 + 2
    assert len(run("train", *QUICK, "--json")[1].splitlines()) == 1


def test_a_setting_that_means_nothing_is_empty_in_the_table_and_one_that_is_off_is_none(run):
    settings = ["cell=gru,lstm,rnn", "forget_bias=0,1", "activation=relu,tanh", "clip_norm=none,0.5", "bits=2,3"]
    code, out, err = run("train", *QUICK, *(word for setting in settings for word in ("--set", setting)))
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0].split()[:5] == ["bits", "cell", "activation", "forget_bias", "clip_norm"]
    ends = {name: lines[0].index(name) + len(name) for name in lines[0].split()[:5]}
    starts = dict(zip(ends, [0, *ends.values()], strict=False))
    rows = [{name: line[starts[name] : end].strip() for name, end in ends.items()} for line in lines[1:]]
    assert len(rows) == 2 * (1 + 2 + 2) * 2
    for row in rows:
        assert row["activation"] in (("relu", "tanh") if row["cell"] == "rnn" else ("",))
        assert row["forget_bias"] in (("0", "1") if row["cell"] == "lstm" else ("",))
        assert row["clip_norm"] in ("none", "0.5")
        assert row["bits"] in ("2", "3")


def test_numbers_that_are_not_finite_stay_in_the_table(run):
    wild = ["activation=linear", "dtype=float32", "weight_init_std=1000000"]
    out = run("train", *QUICK, *(word for setting in wild for word in ("--set", setting)), "--seeds", "1,2")[1]
    assert out.splitlines()[1].split()[2:4] == ["NaN", "NaN"]


def test_help_says_what_a_conditional_setting_belongs_to(capfd):
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    lines = {line.split()[0]: line for line in capfd.readouterr()[0].splitlines() if line.startswith("  ") and line.strip()}
    assert lines["forget_bias"].split(maxsplit=1)[1] == "a number from -1,000 to 1,000 (cell lstm or lstm_peephole)"
    for name, field in FIELDS.items():
        other, values = field.needs or ("", ())
        assert lines[name].endswith(f"({other} {' or '.join(values)})") == bool(field.needs)


def test_help_names_verify_and_its_exit_codes(capfd):
    with pytest.raises(SystemExit):
        main(["verify", "--help"])
    assert "exit code: 0 identical, 3 different, 1 no such run" in capfd.readouterr()[0]


def test_a_run_becomes_a_script_that_trains_it_with_numpy_alone(run, run_id, store, tmp_path):
    path = tmp_path / "run.py"
    assert run("script", run_id[:8], "-o", str(path)) == (0, "", f"run it with: python {path}\n")
    assert run("script", run_id) == (0, path.read_text(), "")
    done = subprocess.run([sys.executable, "-I", str(path)], cwd=tmp_path, capture_output=True, text=True, check=True)
    last = store.run(run_id)["curves"][-1]
    losses = {
        int(words[1]): float(words[3]) for words in map(str.split, done.stdout.splitlines()) if words[:1] == ["iteration"]
    }
    assert losses[30] == pytest.approx(last[1], rel=1e-6)
    assert len(losses) == 30
    assert "engine" not in path.read_text().split('"""')[2]


def test_a_script_that_cannot_be_written_says_so(run, run_id, tmp_path):
    code, out, message = run("script", run_id, "-o", str(tmp_path / "no" / "run.py"))
    assert (code, out) == (1, "")
    assert "expected a file that can be written" in message
