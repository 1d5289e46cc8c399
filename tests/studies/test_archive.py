"""A study leaves one store as an archive and arrives in another without loss; what is no archive changes nothing."""

import dataclasses
import hashlib
import io
import json
import os
import pickle
import zipfile

import numpy as np
import optuna
import pytest
from cmaes import CMA

from engine import ENGINE_VERSION
from studies import StoreError, archive, open_store
from studies.archive import MANIFEST, MEMBERS, RUN_ROWS, STUDY, VALUES, export_archive, import_archive, read_manifest
from studies.errors import NameTakenError
from studies.imports import import_study
from studies.jobs import run_job
from studies.search import Choices, Range, Search

SPACE = {"learning_rate": Range(0.01, 100, log=True), "activation": Choices(["tanh", "relu"]), "hidden_size": Range(2, 3)}
NUMBERS = {"learning_rate": Range(0.01, 1, log=True), "weight_init_std": Range(0.1, 1)}
SEARCHES = {
    "random": {},
    "tpe": {"sampler": "tpe", "n_seeds": 2},
    "grid": {"sampler": "grid", "points": 2, "n_trials": 8},
    "qmc": {"sampler": "qmc"},
    "pruned": {"pruner": "median", "n_trials": 12},
    "cmaes": {"sampler": "cmaes", "space": NUMBERS, "n_trials": 24, "batch": 8},
    "two": {"objectives": ("final_loss", "cost")},
}


def search(name="study", **changes):
    usual = {"fixed": {"n_iterations": 12}, "sampler": "random", "n_trials": 10, "batch": 4, "seed": 3}
    return Search(**{"name": name, "space": SPACE} | usual | changes)


@pytest.fixture
def other(tmp_path):
    """Another installation's store."""
    return open_store(f"sqlite:///{tmp_path / 'other.db'}")


@pytest.fixture(scope="module")
def packed(tmp_path_factory, trained):
    """An archive of a small study."""
    store = open_store(f"sqlite:///{tmp_path_factory.mktemp('packed') / 'brink.db'}")
    return export_archive(store, trained(store, search(n_trials=5)))


def unpacked(data):
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        return {name: file.read(name) for name in file.namelist()}


def zipped(members):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as target:
        for name, data in members.items():
            target.writestr(name, data)
    return file.getvalue()


def sealed(members):
    """Return an archive whose manifest has the right sizes and checksums of whatever the members are."""
    manifest = json.loads(members[MANIFEST])
    manifest["members"] = {n: {"bytes": len(members[n]), "sha256": hashlib.sha256(members[n]).hexdigest()} for n in MEMBERS}
    return zipped(members | {MANIFEST: json.dumps(manifest)})


def changed(data, member, change):
    """Return an archive in whose member something is changed, as somebody would who knows how it is sealed."""
    members = unpacked(data)
    value = json.loads(members[member])
    value = change(value) or value
    return sealed(members | {member: json.dumps(value).encode()})


def own(store, study_id):
    """Return what a study's rows say, without ids and what a process leaves."""
    study, job = store.study(study_id), None
    job = dataclasses.replace(study.job, id="", process=None, n_workers=None)
    table = store.runs(study.job.id).drop(columns=["id", "job_id"])
    return dataclasses.replace(study, id="", job=job, optuna_id=0), table


@pytest.mark.parametrize("kind", SEARCHES)
def test_a_study_is_the_same_in_another_store_and_goes_on_in_the_same_way(kind, store, other, trained, facts, go_on, spelled):
    study_id = trained(store, search(f"it's {kind} ☃", **SEARCHES[kind]))
    store.describe_study(study_id, f"it's {kind} ☃", "a note\n", "one, two")
    first = store.runs(store.study(study_id).job.id)["id"][0]
    store.name_run(first, "a name", "a note")
    new_id = import_archive(other, export_archive(store, study_id))
    assert new_id != study_id
    assert facts(other, new_id) == facts(store, study_id)
    (study, runs), (new, new_runs) = own(store, study_id), own(other, new_id)
    assert new == study
    assert spelled(new_runs) == spelled(runs)
    run, new_run = store.run(first), other.run(other.runs(other.study(new_id).job.id)["id"][0])
    assert {k: v for k, v in new_run.items() if k not in ("id", "job_id", "curves")} == {
        k: v for k, v in run.items() if k not in ("id", "job_id", "curves")
    }
    if kind != "grid":
        for its_store, its_id in ((store, study_id), (other, new_id)):
            its_store.extend_study(its_id, 6)
            go_on(its_store, its_id)
        assert facts(other, new_id) == facts(store, study_id)


def test_optuna_s_trials_point_to_the_new_runs(store, other, trained):
    new_id = import_archive(other, export_archive(store, trained(store, search(n_trials=3, n_seeds=2))))
    study = other.study(new_id)
    theirs = optuna.load_study(study_name=study.name, storage=other.optuna_storage()).get_trials()
    assert [run for trial in theirs for run in trial.user_attrs["brink:runs"]] == list(other.run_ids(study.job.id).values())


def test_runs_that_overflowed_or_were_deleted(store, other, trained):
    fixed = {"n_iterations": 12, "weight_init_std": 1e5, "activation": "linear", "loss": "cross_entropy", "dtype": "float32"}
    study_id = trained(store, search(space={"learning_rate": Range(1e3, 1e6, log=True)}, fixed=fixed))
    runs = store.runs(store.study(study_id).job.id)
    assert runs["final_loss"].isna().any()
    store.delete_runs(runs["id"][2:4])
    new_id = import_archive(other, export_archive(store, study_id))
    found = []
    for its_store, its_id in ((store, study_id), (other, new_id)):
        its_table = its_store.runs(its_store.study(its_id).job.id)
        assert its_table["number"].tolist() == [0, 1, *range(4, 10)]
        found.append([its_store.run(run_id)["curves"].tobytes() for run_id in its_table["id"]])
    assert found[0] == found[1]


def test_a_study_that_is_exported_in_the_middle_goes_on_elsewhere_to_the_same_end(store, other, trained, facts, go_on):
    whole = facts(store, trained(store, search("whole", sampler="tpe", n_trials=12)))
    study_id = store.add_study(search("begun", sampler="tpe", n_trials=12))
    job_id, archives = store.study(study_id).job.id, []

    def show(share):
        if not archives and store.study(study_id).n_done:
            archives.append(export_archive(store, study_id))

    assert run_job(store, job_id, 1, show) == "finished"
    new_id = import_archive(other, archives[0])
    assert other.study(new_id).job.status == "stopped"
    assert 0 < other.study(new_id).n_done < 12
    go_on(other, new_id)
    assert facts(other, new_id) == facts(store, study_id) == whole


def test_a_study_that_waits_for_its_first_trial(store, other, facts, go_on):
    study_id = store.add_study(search())
    store.enqueue(study_id, [{"learning_rate": 0.5, "activation": "tanh", "hidden_size": 3}])
    new_id = import_archive(other, export_archive(store, study_id))
    for its_store, its_id in ((store, study_id), (other, new_id)):
        assert its_store.study(its_id).queue == [{"learning_rate": 0.5, "activation": "tanh", "hidden_size": 3}]
    go_on(other, new_id)
    assert run_job(store, store.study(study_id).job.id, 1) == "finished"
    assert facts(other, new_id) == facts(store, study_id)


def test_a_study_that_learned_from_another(store, other, trained, facts):
    trained(store, search("source"))
    study_id = trained(store, search("warm", sampler="tpe", warm_start="source"))
    new_id = import_archive(other, export_archive(store, study_id))
    assert other.study(new_id).prior == store.study(study_id).prior != []
    assert facts(other, new_id) == facts(store, study_id)


def test_a_study_that_optuna_made(store, other, tmp_path):
    theirs = optuna.create_study(storage=f"sqlite:///{tmp_path / 'theirs.db'}", study_name="theirs")
    theirs.optimize(lambda trial: trial.suggest_float("x", 0, 1) + len(trial.suggest_categorical("c", ["a", "b"])), n_trials=5)
    study_id = import_study(store, tmp_path / "theirs.db")
    new_id = import_archive(other, export_archive(store, study_id), "renamed")
    assert other.trials(new_id) == store.trials(study_id)
    assert other.study(new_id).search == dataclasses.replace(store.study(study_id).search, name="renamed")


def test_a_name_that_is_taken(store, other, packed, trained, facts, everything):
    taken = import_archive(store, packed)
    before = everything(store)
    with pytest.raises(NameTakenError, match="found 'study', which another study has; give another"):
        import_archive(store, packed)
    assert everything(store) == before
    again = import_archive(store, packed, "study 2")
    assert store.study(again).name == store.study(again).search.name == store.study(again).job.name == "study 2"
    assert facts(store, again) == facts(store, taken)
    optuna.create_study(storage=other.optuna_storage(), study_name="study")
    before = everything(other)
    with pytest.raises(NameTakenError, match="which a study of Optuna in this store has"):
        import_archive(other, packed)
    assert everything(other) == before


def test_an_archive_says_what_it_is(packed):
    manifest = read_manifest(packed)
    assert (manifest["format"], manifest["version"], manifest["name"]) == ("brink-study", 1, "study")
    assert manifest["engine_version"] == ENGINE_VERSION
    assert manifest["packages"]["numpy"] == np.__version__


def test_any_damaged_byte_is_noticed_and_nothing_is_written(store, packed, everything):
    before, rng = everything(store), np.random.default_rng(1)
    wrong = [packed[:n] for n in (0, 1, 100, len(packed) // 2, len(packed) - 1)]
    for place in rng.integers(len(packed), size=60).tolist():
        wrong.append(packed[:place] + bytes([packed[place] ^ 1 << int(rng.integers(8))]) + packed[place + 1 :])
    refused = 0
    for data in wrong:
        try:
            import_archive(store, data)
        except StoreError as error:
            assert "Nothing was written" in str(error)  # noqa: PT017
            refused += 1
        else:  # a byte of the zip file's own dates and flags: the content is whole
            assert unpacked(data) == unpacked(packed)
            store.delete_study(store.studies()[0].id)
    assert refused > 50
    after = everything(store)
    assert {name: rows for name, rows in after.items() if name.startswith("lab_")} == {
        name: rows for name, rows in before.items() if name.startswith("lab_")
    }


def with_member(name, data):
    return lambda packed: zipped(unpacked(packed) | {name: data})


def manifest_with(**changes):
    return lambda packed: zipped(
        unpacked(packed) | {MANIFEST: json.dumps(json.loads(unpacked(packed)[MANIFEST]) | changes).encode()}
    )


def study_with(*path, value):
    def change(rows):
        place = rows
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = value

    return lambda packed: changed(packed, STUDY, change)


def run_with(name, value):
    return lambda packed: changed(packed, RUN_ROWS, lambda runs: runs[1].update({name: value}))


HOSTILE = {
    "text": lambda packed: b"a study",
    "foreign zip": lambda packed: zipped({"a.txt": b"a"}),
    "a path": with_member("../../evil.py", b"evil"),
    "one missing": lambda packed: zipped({n: d for n, d in unpacked(packed).items() if n != VALUES}),
    "no json": with_member(MANIFEST, b"{"),
    "deep json": with_member(MANIFEST, b"[" * 90_000),
    "a list": with_member(MANIFEST, b"[]"),
    "a large manifest": with_member(MANIFEST, b" " * 200_000),
    "other format": manifest_with(format="other"),
    "newer": manifest_with(version=2),
    "version true": manifest_with(version=True),
    "version text": manifest_with(version="1"),
    "wrong checksum": manifest_with(members={}),
    "unsealed": with_member(STUDY, b"{}"),
    "no tables": lambda packed: changed(packed, STUDY, lambda rows: {"study": {}}),
    "list of tables": lambda packed: changed(packed, STUDY, lambda rows: [1]),
    "other column": study_with("job", "token", value="x"),
    "missing name": study_with("study", "name", value=None),
    "number as name": study_with("study", "name", value=3),
    "half a surrogate": study_with("study", "note", value="\ud800"),
    "status": study_with("job", "status", value="happy"),
    "kind": study_with("job", "kind", value="plan"),
    "text as number": study_with("job", "n_runs", value="1"),
    "true as number": study_with("job", "n_runs", value=True),
    "65 bits": study_with("job", "n_runs", value=2**64),
    "plan": study_with("job", "plan", value="{}["),
    "search": study_with("study", "search", value="{}"),
    "search of another name": study_with("study", "search", value=search("other", n_trials=5).to_json()),
    "queue": study_with("study", "queue", value='[{"learning_rate": 1e9}]'),
    "prior": study_with("study", "prior", value='[[{"learning_rate": 1e9}, [1]]]'),
    "chunk state": study_with("chunks", 0, "state", value="open"),
    "chunk size": study_with("chunks", 0, "n_trials", value=10**15),
    "chunk number": study_with("chunks", 0, "number", value=1),
    "trial number": study_with("trials", 1, "number", value=0),
    "trial notes": study_with("trials", 1, "notes", value="[]"),
    "pickle": study_with("trials", 1, "notes", value='{"cma:optimizer": "80049e"}'),
    "params": study_with("trials", 1, "params", value='{"learning_rate": 1}'),
    "evil params": study_with("trials", 1, "params", value='{"__class__": 1}'),
    "summary": study_with("trials", 1, "summary", value="{}"),
    "summary none": study_with("trials", 1, "summary", value=None),
    "run's config": run_with("config", '{"task": "evil"}'),
    "run's number": run_with("number", 0),
    "run's examples": run_with("examples", "{}"),
    "run's evidence": run_with("evidence", "nothing"),
    "long fingerprint": run_with("fingerprint", "f" * 33),
    "curves' shape": run_with("shape", [10**9, 6]),
    "negative shape": run_with("shape", [-1, -6]),
    "more curves": lambda packed: sealed(unpacked(packed) | {VALUES: unpacked(packed)[VALUES] + bytes(48)}),
    "part of a number": lambda packed: sealed(unpacked(packed) | {VALUES: unpacked(packed)[VALUES][:-1]}),
    "no runs": lambda packed: changed(packed, RUN_ROWS, lambda runs: {"a": 1}),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_what_is_no_archive_is_refused_and_nothing_is_written(kind, store, packed, everything):
    before = everything(store)
    with pytest.raises(StoreError, match="Nothing was written"):
        import_archive(store, HOSTILE[kind](packed))
    assert everything(store) == before


def test_a_member_that_says_it_is_huge_is_not_unpacked(store, packed, monkeypatch):
    bomb = zipped(unpacked(packed) | {VALUES: bytes(10_000_000)})
    assert len(bomb) < 100_000
    monkeypatch.setattr(archive, "LARGEST", 5_000_000)
    monkeypatch.setattr(archive, "_read", lambda file, name: pytest.fail("read before its size was checked"))
    with pytest.raises(StoreError, match="at most 5,000,000 bytes unpacked, found a larger one"):
        import_archive(store, bomb)


def test_a_study_that_is_too_large_is_not_exported(store, trained, monkeypatch):
    study_id = trained(store, search(n_trials=3))
    monkeypatch.setattr(archive, "LARGEST", 1000)
    with pytest.raises(StoreError, match="expected a study of at most 1,000 bytes"):
        export_archive(store, study_id)


def state_of(harm):
    """Return notes with a pickle in the place of the state of CMA-ES."""
    return {"cma:optimizer:0": pickle.dumps(harm).hex(), "cma:generation": 1}


OPTIMIZER = b"\x80\x03ccmaes._cma\nCMA\n)\x81}X\x05\x00\x00\x00_mean%ssb."
NUMBER = b"cnumpy.core.multiarray\nscalar\ncnumpy\ndtype\nX\x02\x00\x00\x00%s\x85\x81C\x0812345678\x86R"
"""Pickles as an attacker writes them: a NumPy type made past its constructor, for a number of raw bytes."""
SOUND = b"cnumpy.core.multiarray\nscalar\ncnumpy\ndtype\nX\x02\x00\x00\x00f8\x89\x88\x87RC\x0812345678\x86R"


class Harm:
    """Calls something when it is unpickled."""

    def __init__(self, *call):
        self.call = call

    def __reduce__(self):
        return self.call


def cma(**changes):
    optimizer = CMA(mean=np.zeros(2), sigma=1.0)
    vars(optimizer).update(changes)
    return optimizer


@pytest.mark.parametrize(
    "notes",
    [
        state_of(Harm(os.mkdir, ("harm",))),
        state_of([Harm(eval, ("1 + 1",))]),
        state_of(cma(_mean=Harm(os.mkdir, ("harm",)))),
        state_of(cma(_mean=np.array([{}], object))),
        state_of(cma(_mean=np.zeros(2, "f8,f8"))),
        state_of(cma(_mean=Harm(np.ndarray, ((10**15,),)))),
        {"cma:optimizer:0": (OPTIMIZER % NUMBER % b"O8").hex()},
        state_of(cma(_mean=[[1.0]])),
        state_of(Harm(CMA, (np.zeros(2), 1.0))),
        state_of(np.zeros(3)),
        state_of("text"),
        {"cma:optimizer:0": "no hex"},
        {"cma:optimizer:0": ""},
        {"cma:optimizer:1": pickle.dumps(cma()).hex()},
        {"cma:optimizer": pickle.dumps(cma()).hex()},
        {"cma:optimizer:0": 3},
    ],
)
def test_a_state_of_cmaes_that_could_run_code_is_refused(notes, store, packed, everything, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = everything(store)
    with pytest.raises(StoreError, match="Nothing was written"):
        import_archive(store, study_with("trials", 1, "notes", value=json.dumps(notes))(packed))
    assert everything(store) == before
    assert not (tmp_path / "harm").exists()
    for number, good in enumerate([pickle.dumps(cma()), OPTIMIZER % SOUND]):
        notes = json.dumps({"cma:optimizer:0": good.hex()})
        assert import_archive(store, study_with("trials", 1, "notes", value=notes)(packed), f"good {number}")


def test_a_failure_in_the_middle_leaves_nothing_behind(store, packed, monkeypatch, sql):
    def fail(*_):
        raise ValueError("no")

    monkeypatch.setattr(archive, "write_optuna", fail)
    with pytest.raises(StoreError, match="Nothing was written"):
        import_archive(store, packed)
    assert store.studies() == []
    assert sql(store, "SELECT count(*) FROM studies") == sql(store, "SELECT count(*) FROM lab_job") == [(0,)]
    monkeypatch.undo()
    assert store.study(import_archive(store, packed)).n_done == 5


def test_the_command_line_packs_a_study_and_brings_it_to_another_store(run, store, other, trained, facts, tmp_path):
    study_id, path = trained(store, search()), tmp_path / "study.zip"
    assert run("archive", "study", "-o", str(path), "--store", store.url)[0] == 0
    assert run("import", str(path), "--store", other.url)[0] == 0
    (arrived,) = other.studies()
    assert facts(other, arrived.id) == facts(store, study_id)
    code, _, message = run("import", str(path), "--store", other.url)
    assert (code, len(other.studies())) == (2, 1)
    assert "'study'" in message
    assert run("import", str(path), "--name", "again", "--store", other.url)[0] == 0
    assert {study.name for study in other.studies()} == {"study", "again"}
    code, _, message = run("archive", "study", "-o", str(tmp_path / "no" / "a.zip"), "--store", store.url)
    assert (code, "expected a file that can be written" in message) == (1, True)
