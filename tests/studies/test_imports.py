"""Studies that Optuna 4 and 5 made, imported; each file is left as it was, to the last byte."""

import contextlib
import hashlib
import json
import math
import sqlite3
import subprocess
import sys
from pathlib import Path

import optuna
import pandas as pd
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState, create_trial

from studies import open_store
from studies.analysis import importances, on_the_front
from studies.errors import JobError, NameTakenError, PlanError, StoreError
from studies.imports import import_study, names_in
from studies.jobs import run_job
from studies.search import Choices, Range, Search

OPTUNA_4 = Path(sys.prefix) / "optuna4"
"""Where `make test` installs the last release of Optuna 4, beside the one that Brink uses."""
SCRIPT = """
import sys, warnings
warnings.simplefilter("ignore")
import optuna
optuna.logging.set_verbosity(optuna.logging.ERROR)

def objective(trial):
    x = trial.suggest_float("x", -3, 3)
    rate = trial.suggest_float("rate", 1e-4, 1, log=True)
    kind = trial.suggest_categorical("kind", ["a", "b", None])
    if kind == "b":
        trial.suggest_int("layers", 1, 4)
    if trial.number % 5 == 2:
        return float("nan")
    if trial.number % 7 == 3:
        trial.report(x, 1)
        raise optuna.TrialPruned()
    return x * x + rate

where, how = sys.argv[1:]
if how == "journal":
    where = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(where))
study = optuna.create_study(storage=where, study_name="theirs", sampler=optuna.samplers.RandomSampler(seed=1))
study.optimize(objective, n_trials=40)
study.ask()
print(optuna.__version__)
"""


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def made(path, how, version):
    """Let an Optuna of some version make a study of 40 trials and a running one in a process of its own."""
    environment = {"PYTHONPATH": str(OPTUNA_4) if version == "4" else "", "PATH": ""}
    where = str(path) if how == "journal" else f"sqlite:///{path}"
    command = [sys.executable, "-c", SCRIPT, where, how]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"{version}.")
    return path


@pytest.fixture(scope="module", params=[("4", "sqlite"), ("5", "sqlite"), ("4", "journal"), ("5", "journal")], ids="-".join)
def theirs(request, tmp_path_factory):
    version, how = request.param
    return made(tmp_path_factory.mktemp("theirs") / "their file.db", how, version)


def test_a_study_of_optuna_4_or_5_comes_with_all_trials_that_ended(theirs, store):
    before = digest(theirs)
    assert names_in(theirs) == ["theirs"]
    study = store.study(import_study(store, theirs))
    assert digest(theirs) == before
    assert [path.name for path in theirs.parent.iterdir()] == [theirs.name]
    assert (study.name, study.n_done, study.job.kind, study.job.status) == ("theirs", 40, "import", "finished")
    assert study.search.space == {
        "x": Range(-3.0, 3.0),
        "rate": Range(1e-4, 1.0, log=True),
        "kind": Choices(["a", "b", None]),
        "layers": Range(1, 4),
    }
    assert (study.search.directions, study.search.source) == ({"value": "minimize"}, theirs.name)
    table = store.trials_table(study.id)
    failed, pruned = table["number"] % 5 == 2, (table["number"] % 7 == 3) & (table["number"] % 5 != 2)
    assert table["outcome"].tolist() == ["failed" if is_failed else "complete" for is_failed in failed]
    assert table["state"].tolist() == ["pruned" if is_pruned else "complete" for is_pruned in pruned]
    whole = table[~failed & ~pruned]
    assert whole["value"].tolist() == (whole["x"] ** 2 + whole["rate"]).tolist()
    assert table["value"][failed].tolist() == [table["value"][~failed].max()] * failed.sum()
    assert table["value"][pruned].tolist() == table["x"][pruned].tolist()
    assert (table["layers"].notna() == (table["kind"] == "b")).all()
    assert table["n_lost"].tolist() == failed.astype(int).tolist()
    again = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    assert table["x"][0] == again.ask().suggest_float("x", -3, 3)


def test_importances_of_an_imported_study_are_optuna_s_own(store, tmp_path):
    path = made(tmp_path / "a.db", "sqlite", "5")
    study = store.study(import_study(store, path))
    table = store.trials_table(study.id)
    found = importances(table, study, "value")
    their = optuna.load_study(study_name="theirs", storage=f"sqlite:///{path}")
    mirror = optuna.create_study()
    for trial in their.get_trials(states=[TrialState.COMPLETE]):
        mirror.add_trial(trial)
    failed = table[table["outcome"] == "failed"]
    for row in failed.itertuples():  # they count as bad as the worst
        params = {"x": row.x, "rate": row.rate, "kind": None if pd.isna(row.kind) else row.kind}
        params |= {"layers": int(row.layers)} if row.kind == "b" else {}
        known = {
            "x": FloatDistribution(-3, 3),
            "rate": FloatDistribution(1e-4, 1, log=True),
            "kind": CategoricalDistribution(["a", "b", None]),
            "layers": IntDistribution(1, 4),
        }
        mirror.add_trial(create_trial(params=params, distributions={n: known[n] for n in params}, value=row.value))
    expected = optuna.importance.get_param_importances(mirror, params=list(study.search.space))
    assert found.to_dict() == pytest.approx(expected)


def foreign(path, trials, directions=("minimize",), name="f", metric_names=None):
    """Write a study with given trials."""
    study = optuna.create_study(storage=f"sqlite:///{path}", study_name=name, directions=directions)
    if metric_names:
        with pytest.warns(optuna.exceptions.ExperimentalWarning):
            study.set_metric_names(metric_names)
    study.add_trials(trials)
    return path


def trial(params, values, state=TrialState.COMPLETE, **changes):
    known = {name: FloatDistribution(-10, 10) for name in params} | changes.pop("distributions", {})
    return create_trial(params=params, distributions=known, values=values, state=state, **changes)


@pytest.mark.parametrize(
    ("direction", "worst"),
    [("minimize", 4.0), ("maximize", -2.0)],
)
def test_values_that_are_not_finite_count_as_bad_as_the_worst(store, tmp_path, direction, worst):
    values = [1.0, math.inf, -math.inf, 4.0, -2.0]
    path = foreign(tmp_path / "a.db", [trial({"a": 0.5}, [value]) for value in values], [direction])
    study = store.study(import_study(store, path))
    table = store.trials_table(study.id)
    assert table["value"].tolist() == [1.0, worst, worst, 4.0, -2.0]
    assert table["outcome"].tolist() == ["complete", "diverged", "diverged", "complete", "complete"]


def test_two_objectives_keep_their_names_and_directions(store, tmp_path):
    trials = [trial({"a": a}, [a, -a * a]) for a in (1.0, 2.0, 3.0)]
    path = foreign(tmp_path / "a.db", trials, ["minimize", "maximize"], metric_names=["loss", "number"])
    study = store.study(import_study(store, path))
    assert study.search.directions == {"loss": "minimize", "number_": "maximize"}
    table = store.trials_table(study.id)
    assert table["number_"].tolist() == [-1.0, -4.0, -9.0]
    assert on_the_front(table, study.search.directions).tolist() == [True, False, False]


HOSTILE = ["number", "outcome", "value", "median_x", "a.b[0]:c", "image", "<script>", "=cmd()", "n", ""]


def test_parameters_of_any_name_keep_their_values(store, tmp_path):
    path = foreign(tmp_path / "a.db", [trial(dict(zip(HOSTILE, range(10), strict=True)), [1.0])])
    study = store.study(import_study(store, path))
    table = store.trials_table(study.id)
    assert table[list(study.search.space)].iloc[0].tolist() == list(range(10))
    assert len(set(table.columns)) == len(table.columns)
    assert table["number"].tolist() == [0]


def test_changed_ranges_and_categories_are_joined(store, tmp_path):
    trials = [
        trial({"k": "a", "r": 1.0}, [1.0], distributions={"k": CategoricalDistribution(["a", "b"])}),
        trial({"k": "c", "r": 50.0}, [1.0], distributions={"k": CategoricalDistribution(["c"]), "r": FloatDistribution(0, 90)}),
    ]
    storage = f"sqlite:///{tmp_path / 'a.db'}"
    for name, one in zip("xy", trials, strict=True):
        optuna.create_study(storage=storage, study_name=name).add_trial(one)
    with contextlib.closing(sqlite3.connect(tmp_path / "a.db")) as connection:  # Optuna itself refuses to mix them
        connection.execute("UPDATE trials SET study_id = 1, number = trial_id - 1")
        connection.commit()
    study = store.study(import_study(store, tmp_path / "a.db", "x"))
    assert study.search.space == {"k": Choices(["a", "b", "c"]), "r": Range(-10.0, 90.0)}


def test_a_study_of_brink_comes_back_with_outcomes_and_intervals(store, tmp_path):
    space = {"learning_rate": Range(0.01, 100, log=True), "activation": Choices(["sigmoid", "relu"])}
    search = Search(name="ours", space=space, fixed={"n_iterations": 60, "hidden_size": 4}, n_trials=6, n_seeds=2)
    study_id = store.add_study(search)
    run_job(store, store.study(study_id).job.id, 1)
    other = open_store(f"sqlite:///{tmp_path / 'other.db'}")
    copied = other.study(import_study(other, store.engine.url.database, name="copy"))
    assert [t.summary for t in other.trials(copied.id)] == [t.summary for t in store.trials(study_id)]
    assert [t.params for t in other.trials(copied.id)] == [t.params for t in store.trials(study_id)]
    assert copied.name == "copy"


def empty_file(path):
    path.write_bytes(b"")


def other_sqlite(path):
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE t (a)")


def newer_schema(path):
    foreign(path, [trial({"a": 1.0}, [1.0])])
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'v99.0.0.a'")
        connection.commit()


def unknown_distribution(path):
    foreign(path, [trial({"a": 1.0}, [1.0])])
    with contextlib.closing(sqlite3.connect(path)) as connection:
        unknown = json.dumps({"name": "NormalDistribution", "attributes": {"mean": 0}})
        connection.execute("UPDATE trial_params SET distribution_json = ?", (unknown,))
        connection.commit()


def deleted_category(path):
    one = trial({"k": "b"}, [1.0], distributions={"k": CategoricalDistribution(["a", "b"])})
    foreign(path, [one])
    with contextlib.closing(sqlite3.connect(path)) as connection:
        fewer = json.dumps({"name": "CategoricalDistribution", "attributes": {"choices": ["a"]}})
        connection.execute("UPDATE trial_params SET distribution_json = ?", (fewer,))
        connection.commit()


def nothing_ended(path):
    optuna.create_study(storage=f"sqlite:///{path}", study_name="f").ask()


def only_text(path):
    path.write_text("number,value\n1,2\n")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda path: None, "expected a file that Optuna wrote, found none at"),
        (other_sqlite, "found an SQLite file without its tables: a.db"),
        (newer_schema, "found one that a newer version made: a.db; upgrade Optuna"),
        (unknown_distribution, "Unknown distribution class: NormalDistribution"),
        (deleted_category, r"expected a file that Optuna 5\S+ can read, found a.db: "),
        (nothing_ended, "expected a study with trials that have ended, found none in 'f'"),
        (only_text, r"expected a file that Optuna 5\S+ can read, found a.db: "),
        (empty_file, "expected the name of one of the file's studies"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_and_nothing_is_written(store, tmp_path, spoil, message):
    path = tmp_path / "a.db"
    spoil(path)
    before = digest(path) if path.exists() else None
    with pytest.raises(StoreError, match=message):
        import_study(store, path)
    assert store.studies() == []
    assert store.jobs(kind="import") == []
    assert (digest(path) if path.exists() else None) == before


def test_of_several_studies_one_has_to_be_named(store, tmp_path):
    for name in ("one", "two"):
        foreign(tmp_path / "a.db", [trial({"a": 1.0}, [1.0])], name=name)
    with pytest.raises(StoreError, match=r"one of the file's studies \('one', 'two'\), found None"):
        import_study(store, tmp_path / "a.db")
    assert store.study(import_study(store, tmp_path / "a.db", "two")).name == "two"
    with pytest.raises(NameTakenError, match="found 'two', which another study has"):
        import_study(store, tmp_path / "a.db", "two")
    assert store.study(import_study(store, tmp_path / "a.db", "two", "third")).name == "third"
    assert len(store.studies()) == 2


def test_an_imported_study_cannot_be_trained_but_renamed_and_deleted(store, tmp_path):
    study_id = import_study(store, foreign(tmp_path / "a.db", [trial({"a": 1.0}, [1.0])]))
    for act in (lambda: store.extend_study(study_id, 3), lambda: store.enqueue(study_id, [{"a": 1.0}])):
        with pytest.raises(PlanError, match=r"study 'f': expected one that was made here, found one imported from a\.db"):
            act()
    with pytest.raises(JobError):
        store.wait_again(store.study(study_id).job.id)
    store.describe_study(study_id, "g", "a note", "x, y,x")
    study = store.study(study_id)
    assert (study.name, study.search.name, study.note, study.tags) == ("g", "g", "a note", "x, y")
    store.delete_study(study_id)
    assert (store.studies(), store.jobs(kind="import")) == ([], [])


def test_the_command_line_imports_lists_and_exports(run, url, tmp_path):
    path = foreign(tmp_path / "a.db", [trial({"a": float(a)}, [a * 2.0]) for a in range(3)])
    code, _, messages = run("import", str(path), "--name", "mine", "--store", url)
    assert (code, messages) == (0, "3 trials of 'mine' imported\n")
    assert "imported  mine" in run("studies", "--store", url)[1]
    code, out, _ = run("export", "--study", "mine", "--format", "json", "--store", url)
    origin, rows = json.loads(out)["origin"], json.loads(out)["rows"]
    assert (origin["what"], origin["name"], "seeds" in origin) == ("trials", "mine", False)
    assert [(row["number"], row["a"], row["value"]) for row in rows] == [(0, 0.0, 0.0), (1, 1.0, 2.0), (2, 2.0, 4.0)]
    code, _, messages = run("import", str(tmp_path / "none.db"), "--store", url)
    assert code == 1
    assert "expected a file that Optuna wrote, found none at" in messages
