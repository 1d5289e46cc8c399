import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from engine import FIELDS, RunConfig, train
from studies import PRESETS, JobError, Plan
from studies.export import FORMATS, parse_curves_csv, read_csv, read_json
from studies.jobs import run_job

ROOT = Path(__file__).parents[2]
DOCUMENTED = {
    *("id", "config", "seed", "status", "outcome", "reason", "evidence", "final_loss", "best_loss", "accuracy", "overflow"),
    *("n_parameters", "fingerprint", "seconds"),
}
QUICK = ["--set", "n_iterations=40", "--set", "hidden_size=4", "--workers", "1"]


@pytest.fixture(autouse=True)
def _own_store(store, monkeypatch):
    monkeypatch.setenv("BRINK_STORAGE", store.url)
    yield
    for job in store.jobs():
        store.delete_job(job.id)  # a process that still trains when its test has failed notices, and ends


def command(*arguments, **options):
    """Start a command in a process (and a session) of its own."""
    line = [sys.executable, "-m", "studies", *arguments]
    return subprocess.Popen(line, cwd=ROOT, start_new_session=True, stderr=subprocess.PIPE, **options)


def test_train_prints_a_table_of_what_varies_and_nothing_else(run, store):
    code, out, err = run("train", *QUICK, "--set", "learning_rate=0.5,0.1", "--seeds", "3-4", "--name", "my job")
    assert (code, err) == (0, "")
    lines = [line.split() for line in out.splitlines()]
    assert lines[0][:6] == ["learning_rate", "seed", "outcome", "final_loss", "best_loss", "accuracy"]
    assert [line[:2] for line in lines[1:]] == [["0.5", "3"], ["0.5", "4"], ["0.1", "3"], ["0.1", "4"]]
    (job,) = store.jobs()
    assert (job.name, job.status, job.n_runs) == ("my job", "finished", 4)


def test_train_with_json_prints_one_strict_object_a_line_with_the_documented_keys(run):
    settings = ["--preset", "learning_rate_1", "--set", "activation=sigmoid,relu", "--set", "n_iterations=40"]
    code, out, err = run("train", "--json", *settings)
    records = [json.loads(line, parse_constant=pytest.fail) for line in out.splitlines()]
    assert (code, err, len(records)) == (0, "", 2)
    for record, activation in zip(records, ("sigmoid", "relu"), strict=True):
        assert set(record) == DOCUMENTED
        config = RunConfig(activation=activation, n_iterations=40, learning_rate=1.0)
        (result,) = train([config])
        assert record["config"] == config.to_dict()
        assert (record["seed"], record["outcome"], record["status"]) == (1, result.outcome, "finished")
        assert (record["final_loss"], record["evidence"]) == (result.final_loss, result.evidence)
        assert (record["n_parameters"], record["fingerprint"]) == (result.n_parameters, result.fingerprint)
        assert record["overflow"] == (vars(result.overflow) if result.overflow else None)
    assert records[0]["overflow"] is None
    assert set(records[1]["overflow"]) == {"iteration", "phase", "kind", "count"}


def test_numbers_that_are_not_finite_are_words_in_json(run):
    wild = ["activation=linear", "dtype=float32", "weight_init_std=1000000"]  # eight bits and products make about 1e50
    code, out, _ = run("train", "--json", *QUICK, *(word for setting in wild for word in ("--set", setting)))
    record = json.loads(out, parse_constant=pytest.fail)
    assert (code, record["final_loss"], record["best_loss"]) == (0, "NaN", "NaN")
    assert record["evidence"]["final_loss"] == "NaN"


def test_the_json_keys_are_those_that_help_documents(run):
    code, out, _ = run("train", "--help")
    documented = out[out.index("with --json each line is one run:") :]
    assert code == 0
    assert all(key in documented for key in [*DOCUMENTED, "iteration", "phase", "kind", "count", '"NaN"', '"-Infinity"'])


def test_help_names_every_command_setting_and_range(run):
    code, out, _ = run("--help")
    assert code == 0
    assert all(name in out for name in ("train", "presets", "list", "resume", "verify", "export"))
    _, out, _ = run("train", "--help")
    assert all(name in out and field.expected in out for name, field in FIELDS.items())
    assert all(option in out for option in ("--store", "--preset", "--set", "--seeds", "--name", "--workers", "--json"))


def test_help_shows_a_store_with_a_percent_sign_in_its_address(run, monkeypatch):
    monkeypatch.setenv("BRINK_STORAGE", "sqlite:////tmp/100%25.db")
    code, out, _ = run("train", "--help")
    assert code == 0
    assert "sqlite:////tmp/100%25.db" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--set", "hidden_size=0"], "hidden_size: expected a whole number from 1 to 1,024, found 0"),
        (["--set", "learning_rate=fast"], "learning_rate: expected a number above 0 up to 1,000,000, found 'fast'"),
        (["--set", "learning_rate=nan"], "learning_rate: expected a number above 0 up to 1,000,000, found nan"),
        (["--set", "learning_rat=1"], "did you mean 'learning_rate'?"),
        (["--set", "activation=rel"], "did you mean 'relu'?"),
        (["--set", "seed"], "--set: expected NAME=VALUE, such as learning_rate=0.1,0.5, found 'seed'"),
        (["--set", "bias=on", "--set", "bias=off"], "--set bias: expected it once, found it twice"),
        (["--set", "seed=1", "--seeds", "2"], "expected seeds once, found both --seeds and --set seed="),
        (["--seeds", "1-1000000000"], "seed: expected a range that rises and has at most 100,000 numbers"),
        (["--seeds", "5-1"], "seed: expected a range that rises"),
        (["--seeds", "x"], "seed: expected a whole number from 0 to 4,294,967,295, found 'x'"),
        (["--seeds", "1-100000", "--set", "bias=on,off"], "expected at most 100,000 runs, found 200,000 combinations"),
        (["--preset", "std10"], "did you mean 'std_10'?"),
        (["--set", "momentum=0.5"], "momentum: expected none because optimizer 'sgd' has no use for it, found 0.5"),
        (["--set", "cell=lstm,gru", "--set", "activation=tanh"], "activation: expected none because cell 'lstm' has no use"),
        (["--preset", "tanh", "--set", "cell=gru", "--set", "activation=relu"], "activation: expected none because cell 'gru'"),
        (["--workers", "0"], "--workers: expected at least 1, found 0"),
        (["--workers", "two"], "invalid int value: 'two'"),
        (["--nonsense"], "unrecognized arguments: --nonsense"),
    ],
)
def test_a_wrong_setting_is_exit_code_2_and_leaves_no_job(arguments, message, run, store):
    code, out, err = run("train", *arguments)
    assert (code, out) == (2, "")
    assert message in err
    assert store.jobs() == []


def test_a_store_that_cannot_be_used_is_exit_code_1(run, tmp_path):
    (tmp_path / "diary").write_text("dear diary, this is no database")
    for command in (["train"], ["list"], ["resume", "x"], ["export"]):
        code, out, err = run(*command, "--store", f"sqlite:///{tmp_path / 'diary'}")
        assert (code, out) == (1, "")
        assert err.startswith("error: expected an SQLite database, found another kind of file")
    assert run("list", "--store", "nonsense")[0] == 1


def test_a_name_that_is_no_text_is_exit_code_1(run, store):
    code, _, err = run("train", *QUICK, "--name", "\udcff")
    assert (code, err) == (1, "error: name: expected Unicode text, found half of a surrogate pair\n")
    assert store.jobs() == []


def test_presets_lists_every_preset(run):
    code, out, err = run("presets")
    assert (code, err) == (0, "")
    assert [line.split()[0] for line in out.splitlines()] == list(PRESETS)
    for line, preset in zip(out.splitlines(), PRESETS.values(), strict=True):
        assert preset.note in line
        assert all(f"{name}=" in line for name in preset.settings)
    assert "[" not in out  # several values are spelled as --set takes them
    code, out, _ = run("presets", "--json")
    listed = json.loads(out)
    assert {name: preset["settings"] for name, preset in listed.items()} == {n: p.settings for n, p in PRESETS.items()}


def test_list_shows_jobs_newest_first(run, store):
    assert run("list") == (0, "", "no jobs yet; train some with: python -m studies train --preset classic\n")
    ids = [store.add_job(Plan.of(seed=range(9))), store.add_job(Plan({}), "mine 🧠"), store.add_job(Plan({}))]
    clipped = store.add_job(Plan.of(clip_norm=[None, 1], bias=True))
    code, out, err = run("list")
    assert (code, err) == (0, "")
    assert [line.split() for line in out.splitlines()] == [
        [clipped, "waiting", "2", "runs", "bias=true,", "clip_norm=none,1"],
        [ids[2], "waiting", "1", "runs", "classic"],
        [ids[1], "waiting", "1", "runs", "mine", "🧠"],
        [ids[0], "waiting", "9", "runs", "seed=0..8", "(9)"],
    ]
    listed = json.loads(run("list", "--json")[1])
    assert [job["id"] for job in listed] == [clipped, *ids[::-1]]
    assert listed[3] == {"id": ids[0], "name": "", "status": "waiting", "runs": 9, "plan": {"seed": list(range(9))}}


def test_resume_finishes_a_stopped_job_and_prints_its_table(run, store):
    job_id = store.add_job(Plan.of(n_iterations=300, seed=[7, 8]))
    assert run_job(store, job_id, 1, lambda share: store.request_stop(job_id)) == "stopped"
    code, out, err = run("resume", job_id, "--workers", "1")
    assert (code, err) == (0, "")
    assert [line.split()[0] for line in out.splitlines()] == ["seed", "7", "8"]
    assert set(store.runs(job_id)["iterations"]) == {300}


def test_resume_of_a_job_that_cannot_be_resumed_is_exit_code_1(run, store):
    job_id = store.add_job(Plan({}))
    token = store.claim(job_id)
    assert run("resume", job_id)[::2] == (
        1,
        "error: expected a job that was stopped, failed or lost, found one that is running\n",
    )
    store.end_job(job_id, token, "stopped")
    assert run("resume", job_id, "--workers", "0")[0] == 2
    assert store.job(job_id).status == "stopped"
    code, _, err = run("resume", "nothing")
    assert (code, err) == (1, "error: expected the id of a saved job, found 'nothing'; it may have been deleted\n")


def test_an_error_while_training_is_exit_code_1(run, store, monkeypatch):
    def broken(*arguments):
        raise JobError("planted")

    monkeypatch.setattr("studies.driver._advance", broken)
    assert run("train", *QUICK) == (1, "", "error: planted\n")
    assert [job.status for job in store.jobs()] == ["failed"]


def test_export_writes_what_is_saved_to_a_file_or_to_standard_output(run, store, save, results, spelled, tmp_path):
    save(results)
    save(results[:1])
    for name, read in (("runs.csv", read_csv), ("runs.json", read_json), ("runs", read_csv)):
        code, out, err = run("export", "-o", str(tmp_path / name))
        assert (code, out, err) == (0, "", f"5 runs written to {tmp_path / name}\n")
        assert spelled(read((tmp_path / name).read_bytes())) == spelled(store.runs())
    assert run("export", "--format", "json", "-o", str(tmp_path / "runs"))[0] == 0
    assert len(read_json((tmp_path / "runs").read_bytes())) == 5


def test_export_to_standard_output_is_the_file_s_bytes(store, save, results, spelled):
    job_id, _ = save(results)
    save(results[:1])
    for arguments, read in ((["--job", job_id], read_csv), (["--job", job_id, "--format", "json"], read_json)):
        process = command("export", *arguments, stdout=subprocess.PIPE)
        out, err = process.communicate()
        assert (process.returncode, err) == (0, b"")
        assert spelled(read(out)) == spelled(store.runs(job_id))


@pytest.mark.parametrize("kind", ["json", "parquet", "xlsx"])
def test_export_with_curves_is_one_file_that_says_where_it_comes_from(kind, run, store, save, results, spelled, tmp_path):
    job_id, _ = save(results, "my job")
    save(results[:1])
    path = tmp_path / f"RUNS.{kind.upper()}"
    assert run("export", "--job", job_id, "--curves", "-o", str(path)) == (0, "", f"4 runs written to {path}\n")
    found, runs = FORMATS[kind].read(path.read_bytes()), store.runs(job_id)
    assert spelled(found.table) == spelled(runs)
    assert spelled(found.curves) == spelled(store.curves(runs["id"]))
    origin = found.origin
    assert (origin.what, origin.name, origin.filter, origin.rows) == ("runs", "my job", f"job {job_id}", 4)


def test_export_as_csv_with_curves_is_two_files(run, store, save, results, spelled, tmp_path):
    save(results)
    path, beside = tmp_path / "runs.csv", tmp_path / "runs_curves.csv"
    assert run("export", "--curves", "-o", str(path)) == (0, "", f"4 runs written to {path} and {beside}\n")
    assert spelled(read_csv(path.read_bytes())) == spelled(store.runs())
    assert spelled(parse_curves_csv(beside.read_bytes())) == spelled(store.curves(store.runs()["id"]))


def test_export_for_tensorboard_is_a_folder_with_the_runs_curves(run, store, save, results, tmp_path):
    job_id, _ = save(results, "my job")
    save(results[:1])
    path = tmp_path / "my logs"
    hint = f"look at them with: tensorboard --logdir '{path}'"
    arguments = ["export", "--format", "tensorboard", "--job", job_id, "-o", str(path)]
    assert run(*arguments) == (0, "", f"4 runs written to {path}; {hint}\n")
    places = [place for place in path.iterdir() if place.is_dir()]
    assert {place.name[-8:] for place in places} == {run_id[:8] for run_id in store.runs(job_id)["id"]}
    assert all(b"curve/gradient_norm" in file.read_bytes() for place in places for file in place.iterdir())
    code, out, err = run(*arguments)
    assert (code, out) == (1, "")
    assert err.endswith("expected an empty folder or none, found 5 files and folders in it; give another name\n")
    (tmp_path / "file").touch()
    code, out, err = run(*arguments[:-1], str(tmp_path / "file" / "logs"))
    assert (code, out) == (1, "")
    assert err.startswith("error: expected a folder that can be written, found ")


def test_export_for_people(run, save, results):
    save(results)
    code, out, err = run("export", "--format", "tex")
    assert (code, err) == (0, "")
    assert all(text in out for text in ("\\toprule", "relu & 1 &", "% seeds: 1, 2"))
    code, out, err = run("export", "--format", "md")
    assert (code, err) == (0, "")
    assert out.startswith("| id | name | note |")


def test_export_refuses_what_does_not_go_together(run, save, results, monkeypatch):
    save(results)
    for arguments, message in (
        (["--curves"], "expected --output beside --curves and csv, which make two files, found none"),
        (["--curves", "--study", "x", "--format", "json"], "expected runs, all or with --job, beside --curves, found --study"),
        (["--format", "tensorboard", "--map", "x"], "expected runs, all or with --job, beside tensorboard, found --map"),
        (["--format", "tensorboard"], "expected --output and a new folder for tensorboard, found none"),
    ):
        assert run("export", *arguments) == (2, "", f"error: {message}\n")
    code, out, err = run("export", "--curves", "--format", "tex")
    assert (code, out) == (1, "")
    assert err == "error: expected JSON, Parquet, Excel for runs with curves in one file, found LaTeX\n"
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    message = "expected --output for Parquet, which a terminal cannot show, found none"
    assert run("export", "--format", "parquet") == (2, "", f"error: {message}\n")


def test_export_that_cannot_be_written_or_found_is_exit_code_1(run, store, tmp_path):
    code, out, err = run("export", "-o", str(tmp_path / "missing" / "runs.csv"))
    assert (code, out) == (1, "")
    assert err.startswith("error: expected a file that can be written, found ")
    assert run("export", "--job", "nothing")[0] == 1


def test_relu_overflows_without_warnings_in_a_process_of_its_own(store):
    process = command("train", "--preset", "relu", "--set", "n_iterations=300", "--seeds", "1-3", stdout=subprocess.PIPE)
    out, err = process.communicate()
    assert (process.returncode, err) == (0, b"")
    assert len(out.splitlines()) == 1 + 3
    assert store.runs()["overflow_count"].max() > 0


@pytest.mark.parametrize("n_workers", ["1", "2"])
def test_ctrl_c_keeps_what_there_is_and_is_exit_code_130(n_workers, store, until):
    long = ["--set", "n_iterations=5000000", "--set", "hidden_size=4,5", "--workers", n_workers]
    process = command("train", *long, stdout=subprocess.PIPE)
    (job,) = until(store.jobs)
    until(lambda: store.job(job.id).progress > 0)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the workers too
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert f"python -m studies resume {job.id}".encode() in err
    runs = store.runs(job.id)
    assert store.job(job.id).status == "stopped"
    assert set(runs["status"]) == {"stopped"}
    assert len(out.splitlines()) == 1 + len(runs) >= 2


def test_ctrl_c_while_workers_are_starting_is_as_calm(store, sql, until):
    process = command(
        "train", "--set", "n_iterations=5000000", "--set", "hidden_size=4,5", "--workers", "2", stdout=subprocess.PIPE
    )
    until(lambda: sql(store, "SELECT id FROM lab_job WHERE live IS NOT NULL"))  # its first beat: workers start right after it
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    (job,) = store.jobs()
    assert (process.returncode, job.status) == (130, "stopped")
    assert err.decode() == f"stopped; go on with: python -m studies resume {job.id}\n"
    assert len(out.splitlines()) == (1 + job.n_saved if job.n_saved else 0)


def test_a_job_that_is_stopped_before_it_has_any_result_prints_no_table(run, monkeypatch):
    monkeypatch.setattr("studies.cli_studies.run_job", lambda *arguments: "stopped")
    assert run("train", *QUICK)[:2] == (130, "")


def test_a_reader_that_has_gone_is_no_error():
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as pipe:
        process = command("presets", stdout=pipe, env=os.environ | {"PYTHONUNBUFFERED": ""})
        assert (process.communicate()[1], process.returncode) == (b"", 0)
