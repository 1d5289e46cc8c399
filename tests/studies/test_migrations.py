"""A store of the first version, with its own rows, upgraded, taken back, upgraded again, and used."""

import contextlib
import json
import math
import sqlite3
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config

import studies
from engine import CURVES, ENGINE_VERSION, FIELDS, RunConfig, train
from studies import Plan, driver, open_store
from studies.export import read_csv, read_json, to_csv, to_json
from studies.jobs import run_job
from studies.maps import Axis, Map
from studies.search import Choices, Range, Search
from studies.store_runs import COLUMNS, pack_array
from studies.verify import verify

CLASSIC = {
    **{"task": "binary_addition", "bits": 8, "cell": "rnn", "hidden_size": 16, "activation": "sigmoid", "bias": False},
    **{"init_scheme": "normal", "weight_init_std": 1.0, "optimizer": "sgd", "learning_rate": 0.1, "momentum": 0.9},
    **{"clip_norm": None, "batch_size": 1, "n_iterations": 40, "dtype": "float64", "seed": 1},
}
"""A config as the first version wrote it."""
PLANS = {
    "a" * 32: {"optimizer": ["sgd", "momentum"], "momentum": [0.9], "n_iterations": [40], "seed": [1, 2]},
    "b" * 32: {"activation": ["relu"], "clip_norm": [None, 1.0], "optimizer": ["sgd"], "momentum": [0.9], "n_iterations": [40]},
    "c" * 32: {"hidden_size": [16], "activation": ["sigmoid"], "n_iterations": [40]},
}
"""Plans of three jobs, as the first version wrote them."""
EXAMPLE = {
    "a": 1,
    "b": 2,
    "answer": 3,
    "a_bits": "01",
    "b_bits": "10",
    "answer_bits": "11",
    "true_bits": "11",
    "outputs": [1, 1],
}


def configs_of(plan):
    """Return a plan's configs in the first version's order: the last setting varies fastest."""
    configs = [CLASSIC]
    for name, values in plan.items():
        configs = [config | {name: value} for config in configs for value in values]
    return configs


@pytest.fixture(scope="module")
def rows():
    """Rows of lab_run and lab_curve; the curves are those of this engine, so that only the version tells them apart."""
    runs, curves = [], []
    for job_id, plan in PLANS.items():
        for number, config in enumerate(configs_of(plan)):
            momentum = {} if config["optimizer"] == "momentum" else {"momentum": None}
            (result,) = train([RunConfig(**config | momentum)])
            run_id = f"{job_id[0]}{number}" + "0" * 30
            loss = "NaN" if (job_id[0], number) == ("b", 0) else result.final_loss
            event = result.overflow
            runs.append(
                {
                    **{"id": run_id, "job_id": job_id, "number": number, "identity": f"{number:032x}"},
                    **{"config": json.dumps(config, sort_keys=True, separators=(",", ":")), "status": "finished"},
                    **{"iterations": 40, "outcome": result.outcome, "reason": result.reason},
                    **{"evidence": json.dumps(result.evidence), "final_loss": loss, "best_loss": result.best_loss},
                    **{"accuracy": result.accuracy, "overflow_iteration": event and event.iteration},
                    **{"overflow_phase": event and event.phase, "overflow_kind": event and event.kind},
                    **{"overflow_count": event.count if event else 0, "seconds": 0.25, "engine_version": "1"},
                    **{"created_at": 1.7e9 + number, "name": f"run {number}", "note": "first"},
                }
            )
            curves.append({"run_id": run_id, "curves": pack_array(result.curves), "examples": json.dumps([EXAMPLE])})
    return runs, curves


def migrate(engine, change, revision):
    config = Config()
    config.set_main_option("script_location", str(Path(studies.__file__).parent / "migrations"))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        change(config, revision)


def insert(connection, table, row):
    connection.execute(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({', '.join('?' * len(row))})", tuple(row.values()))


@pytest.fixture
def path(tmp_path, rows):
    """A file that the first version made: its tables, three ended jobs and their runs."""
    path = tmp_path / "first.db"
    migrate(sa.create_engine(f"sqlite:///{path}", poolclass=sa.NullPool), command.upgrade, "0001")
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        for number, (job_id, plan) in enumerate(PLANS.items()):
            n_runs = len(configs_of(plan))
            job = {"id": job_id, "name": "", "plan": json.dumps(plan), "status": "finished", "stop_requested": False}
            job |= {"n_runs": n_runs, "n_iterations": 40 * n_runs, "iterations_done": 40 * n_runs}
            insert(connection, "lab_job", job | {"created_at": 1.7e9 - number, "heartbeat_at": 1.7e9})
        for table, its_rows in zip(("lab_run", "lab_curve"), rows, strict=True):
            for row in its_rows:
                insert(connection, table, row)
    return path


def contents(path):
    """Return every column and every row of our tables, as SQLite itself gives them."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return {
            name: (
                connection.execute(f"PRAGMA table_info('{name}')").fetchall(),
                sorted(connection.execute(f"SELECT * FROM {name}")),
            )
            for name in ("lab_job", "lab_run", "lab_curve", "lab_alembic_version")
        }


def test_an_upgraded_store_taken_back_is_what_it_was_and_upgrades_again_to_the_same(path):
    first = contents(path)
    store = open_store(f"sqlite:///{path}")
    second = contents(path)
    assert second != first
    migrate(store.engine, command.downgrade, "0001")
    assert contents(path) == first
    open_store(f"sqlite:///{path}")
    assert contents(path) == second


def test_an_upgrade_touches_nothing_but_the_configs(path):
    with contextlib.closing(sqlite3.connect(path)) as connection:
        names = [column[1] for column in connection.execute("PRAGMA table_info(lab_run)") if column[1] != "config"]
        ask = f"SELECT {', '.join(names)} FROM lab_run ORDER BY id"
        before, curves = connection.execute(ask).fetchall(), contents(path)["lab_curve"]
        open_store(f"sqlite:///{path}")
        assert connection.execute(ask).fetchall() == before
        assert connection.execute("SELECT DISTINCT n_parameters, fingerprint FROM lab_run").fetchall() == [(None, None)]
    assert contents(path)["lab_curve"] == curves


def test_the_upgraded_configs_are_those_of_the_plan_and_of_this_engine(path, rows):
    store = open_store(f"sqlite:///{path}")
    for job in store.jobs():
        ids = store.runs(job.id)["id"]
        assert len(ids) == job.plan.n_runs == job.n_runs
        for number, run_id in enumerate(ids):
            config = store.run(run_id)["config"]
            assert list(config) == sorted(FIELDS)
            assert RunConfig.from_dict(config) == job.plan.config(number)
            assert RunConfig.from_dict(config).canonical_json() == json.dumps(config, sort_keys=True, separators=(",", ":"))


def test_runs_of_the_first_version_stand_in_the_table_with_sensible_values(path, rows):
    table = open_store(f"sqlite:///{path}").runs().set_index("id")
    assert len(table) == len(rows[0]) == 7
    for row in rows[0]:
        found = table.loc[row["id"]]
        old = json.loads(row["config"])
        assert {name: found[name] for name in ("outcome", "best_loss", "accuracy", "name", "note", "identity")} == {
            name: row[name] for name in ("outcome", "best_loss", "accuracy", "name", "note", "identity")
        }
        same = ("task", "bits", "hidden_size", "activation", "learning_rate", "optimizer", "n_iterations", "seed")
        assert {name: found[name] for name in same} == {name: old[name] for name in same}
        assert found["momentum"] == 0.9 if old["optimizer"] == "momentum" else math.isnan(found["momentum"])
        assert (found["n_layers"], found["pool_size"], found["loss"]) == (1, 0, "half_squared_error")
        assert (found["schedule"], found["reset_after"], found["fingerprint"]) == ("constant", None, None)
        assert found["length"] is found["projection_size"] is found["n_parameters"] is pd.NA
    assert math.isnan(table.loc["b0" + "0" * 30, "final_loss"])
    assert table.loc["b0" + "0" * 30, "overflow_kind"] == "overflow"


@pytest.mark.parametrize(("write", "read"), [(to_csv, read_csv), (to_json, read_json)], ids=["csv", "json"])
def test_runs_of_the_first_version_beside_new_ones_are_exported_and_read_back(write, read, path, spelled):
    store = open_store(f"sqlite:///{path}")
    run_job(store, store.add_job(Plan.of(cell=["lstm", "gru"], n_iterations=5, hidden_size=2)), 1)
    table = store.runs()
    assert list(table) == list(COLUMNS)
    assert len(table) == 7 + 2
    assert table["fingerprint"].isna().sum() == 7
    assert spelled(read(write(table))) == spelled(table)


def test_verifying_a_run_of_the_first_version_says_which_versions_met(path):
    store = open_store(f"sqlite:///{path}")
    versions = f" The run was made by engine version 1, this is {ENGINE_VERSION}."
    for optimizer in ("a0", "a2"):
        run = store.run(optimizer + "0" * 30)
        verdict = verify(run)
        assert not verdict.identical
        expected = "The loss curve is identical; this run has no fingerprint of its final weights."
        assert verdict.sentence == expected + versions
        run["curves"][3, CURVES.index("loss")] += 0.5
        verdict = verify(run)
        assert (verdict.identical, verdict.iteration) == (False, 4)
        assert verdict.sentence.startswith("Different: the loss up to iteration 4 differs by 0.5 (was ")
        assert verdict.sentence.endswith(versions)


def test_a_job_of_the_first_version_that_was_stopped_is_resumed(path, sql):
    store = open_store(f"sqlite:///{path}")
    job_id = "a" * 32
    sql(store, "UPDATE lab_job SET status = 'stopped' WHERE id = ?", job_id)
    sql(store, "UPDATE lab_run SET status = 'stopped', iterations = 7 WHERE job_id = ? AND number = 2", job_id)
    sql(store, "DELETE FROM lab_run WHERE job_id = ? AND number = 3", job_id)
    store.wait_again(job_id)
    assert run_job(store, job_id, 1) == "finished"
    table = store.runs(job_id)
    assert list(table["number"]) == [0, 1, 2, 3]
    assert list(table["iterations"]) == [40] * 4
    assert [store.run(run_id)["engine_version"] for run_id in table["id"]] == ["1", "1", ENGINE_VERSION, ENGINE_VERSION]
    assert table["fingerprint"].notna().tolist() == [False, False, True, True]
    assert [verify(store.run(run_id)).identical for run_id in table["id"][2:]] == [True, True]
    assert list(table["id"][2:3]) == ["a2" + "0" * 30]


def test_the_configs_of_newer_runs_survive_a_downgrade(path):
    store = open_store(f"sqlite:///{path}")
    plan = {"cell": ["rnn", "lstm", "gru"], "optimizer": ["sgd", "momentum", "adam"], "schedule": ["constant", "step"]}
    run_job(store, store.add_job(Plan.of(**plan, n_iterations=2, hidden_size=2, clip_value=[None, 1])), 1)
    before = store.runs().drop(columns=["n_parameters", "fingerprint"])
    migrate(store.engine, command.downgrade, "0001")
    again = open_store(f"sqlite:///{path}").runs().drop(columns=["n_parameters", "fingerprint"])
    assert len(again) == 7 + 36
    pd.testing.assert_frame_equal(again, before)


def test_an_upgrade_that_fails_half_way_changes_nothing(path):
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE lab_run SET config = 'no JSON' WHERE id = ?", ("c0" + "0" * 30,))  # the last one
    before = contents(path)
    with pytest.raises(json.JSONDecodeError):
        open_store(f"sqlite:///{path}")
    assert contents(path) == before


def test_a_store_without_runs_is_upgraded_too(tmp_path):
    path = tmp_path / "empty.db"
    migrate(sa.create_engine(f"sqlite:///{path}", poolclass=sa.NullPool), command.upgrade, "0001")
    store = open_store(f"sqlite:///{path}")
    assert store.runs().empty
    assert np.shape(store.curves([])) == (0, 1 + len(CURVES))


STUDY_TABLES = ("lab_study", "lab_chunk", "lab_trial")


@pytest.fixture
def second(path):
    """The same file, brought to the second version, which knew no studies."""
    migrate(sa.create_engine(f"sqlite:///{path}", poolclass=sa.NullPool), command.upgrade, "0002")
    return path


def test_an_upgrade_from_the_second_version_adds_a_kind_to_every_job_and_empty_tables_for_studies(second, sql):
    before = contents(second)
    store = open_store(f"sqlite:///{second}")
    after = contents(second)
    assert [job.kind for job in store.jobs()] == ["plan"] * 3
    assert after["lab_job"][1] == [(*row, "plan", 0, None) for row in before["lab_job"][1]]
    names = [[column[1] for column in table["lab_job"][0]] for table in (before, after)]
    assert names[1] == [*names[0], "kind", "pause_requested", "n_workers"]
    assert {name: after[name] for name in ("lab_run", "lab_curve")} == {name: before[name] for name in ("lab_run", "lab_curve")}
    assert [sql(store, f"SELECT count(*) FROM {table}") for table in STUDY_TABLES] == [[(0,)]] * 3


def test_going_back_to_the_second_version_takes_studies_and_their_runs_and_nothing_else(second, sql):
    before = contents(second)
    store = open_store(f"sqlite:///{second}")
    made = Search(name="gone", space={"bias": Choices([True, False])}, fixed={"n_iterations": 2}, n_trials=2)
    run_job(store, store.study(store.add_study(made)).job.id, 1)
    assert len(contents(second)["lab_run"][1]) == 7 + 2
    migrate(store.engine, command.downgrade, "0002")
    assert contents(second) == before
    names = [row[0] for row in sql(store, "SELECT name FROM sqlite_master WHERE type = 'table'")]
    assert not set(names) & set(STUDY_TABLES)
    assert {"studies", "trials"} <= set(names)  # Optuna's tables are its own
    assert open_store(f"sqlite:///{second}").studies() == []


THIRD_SEARCH = {"name", "space", "fixed", "objectives", "sampler", "seed", "n_trials", "n_seeds", "batch", "points"}
THIRD_SUMMARY = {"values", "medians", "spreads", "n", "n_lost", "lost_low", "lost_high"}
"""Fields that the third version knew."""


def rows_of(path, *tables):
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return {name: connection.execute(f"SELECT * FROM {name} ORDER BY rowid").fetchall() for name in tables}


@pytest.fixture
def third(tmp_path, monkeypatch):
    """A store as the third version left it: a study of five done trials with three seeds each, some lost, and a stopped one."""
    monkeypatch.setattr(driver, "SLICE_SECONDS", 1e-6)
    path = tmp_path / "third.db"
    store = open_store(f"sqlite:///{path}")
    space = {"learning_rate": Range(0.01, 1000, log=True), "activation": Choices(["sigmoid", "relu"])}
    fixed = {"n_iterations": 60, "hidden_size": 4}
    made = Search(name="é", space=space, fixed=fixed, sampler="random", n_trials=5, n_seeds=3, seed=2)
    run_job(store, store.study(store.add_study(made)).job.id, 1)
    study_id = store.add_study(Search(name="stopped", space=space, fixed=fixed, n_trials=5, batch=2))
    job_id = store.study(study_id).job.id
    run_job(store, job_id, 1, lambda share: store.request_stop(job_id) if share >= 0.5 else None)
    migrate(store.engine, command.downgrade, "0003")
    return path


def test_what_goes_back_to_the_third_version_has_only_what_it_knew(third):
    rows = rows_of(third, "lab_study", "lab_trial")
    assert [set(json.loads(row[3])) for row in rows["lab_study"]] == [THIRD_SEARCH] * 2
    summaries = [row[5] for row in rows["lab_trial"]]
    assert {frozenset(json.loads(summary)) for summary in summaries if summary} == {frozenset(THIRD_SUMMARY)}
    assert (len(summaries), summaries.count(None)) == (5 + 4, 2)
    with contextlib.closing(sqlite3.connect(third)) as connection:
        names = [[column[1] for column in connection.execute(f"PRAGMA table_info(lab_{t})")] for t in ("study", "chunk")]
    assert names[0] == ["id", "job_id", "name", "search", "optuna_id", "created_at", "note"]
    assert names[1] == ["study_id", "number", "state", "n_trials", "attributes", "asked_at", "done_at"]


def test_an_upgrade_from_the_third_version_fills_in_each_trial_s_most_frequent_outcome(third):
    before = rows_of(third, "lab_trial", "lab_chunk", "lab_study")
    store = open_store(f"sqlite:///{third}")
    table = store.trials_table("é")
    runs = store.runs(store.study("é").job.id)
    expected = []
    for number in range(5):
        counts = Counter(runs["outcome"][runs["number"] // 3 == number])
        expected.append({name for name, n in counts.items() if n == max(counts.values())})
    assert all(outcome in most for outcome, most in zip(table["outcome"], expected, strict=True))
    assert len(set(table["outcome"])) > 1
    assert set(table["state"]) == {"complete"}
    after = rows_of(third, "lab_trial", "lab_chunk", "lab_study")
    assert [row[:5] for row in after["lab_trial"]] == [row[:5] for row in before["lab_trial"]]
    assert after["lab_chunk"] == [(*row, None) for row in before["lab_chunk"]]
    assert after["lab_study"] == [(*row, "", "[]", "[]") for row in before["lab_study"]]
    for old, new in zip(before["lab_trial"], after["lab_trial"], strict=True):
        assert (old[5] is None) == (new[5] is None)
        assert old[5] is None or json.loads(old[5]).items() <= json.loads(new[5]).items()


def test_a_trial_of_the_third_version_whose_runs_were_deleted_has_no_outcome(third):
    with contextlib.closing(sqlite3.connect(third)) as connection, connection:
        connection.execute("DELETE FROM lab_run WHERE number < 3")
    store = open_store(f"sqlite:///{third}")
    outcomes = [trial.summary.outcome for trial in store.trials(store.study("é").id)]
    assert outcomes[0] == ""
    assert all(outcomes[1:])


def test_a_study_of_the_third_version_that_was_stopped_goes_on_and_taken_back_and_forth_it_is_the_same(third):
    tables = ("lab_study", "lab_trial", "lab_chunk", "lab_job", "lab_run")
    before = rows_of(third, *tables)
    store = open_store(f"sqlite:///{third}")
    migrate(store.engine, command.downgrade, "0003")
    assert rows_of(third, *tables) == before
    store = open_store(f"sqlite:///{third}")
    job_id = store.study("stopped").job.id
    store.wait_again(job_id)
    assert run_job(store, job_id, 1) == "finished"
    assert [trial.number for trial in store.trials(store.study("stopped").id)] == list(range(5))


def test_going_back_to_the_third_version_stops_paused_jobs_and_takes_imported_studies(store, sql):
    kept = store.add_job(Plan.of(n_iterations=1))
    token = store.claim(kept)
    store.mark_paused(kept, token, True)
    gone = store.add_study(Search(name="gone", space={"bias": Choices([True, False])}, n_trials=2))
    sql(store, "UPDATE lab_job SET kind = 'import' WHERE name = 'gone'")
    migrate(store.engine, command.downgrade, "0003")
    assert sql(store, "SELECT id, status FROM lab_job") == [(kept, "stopped")]
    assert sql(store, "SELECT count(*) FROM lab_study WHERE id = ?", gone) == [(0,)]


@pytest.fixture
def fifth(store):
    """A store with a job of a plan, a study and two maps, one of them of the other's cells."""
    run_job(store, store.add_job(Plan.of(n_iterations=2, seed=[1, 2])), 1)
    made = Search(name="kept", space={"bias": Choices([True, False])}, fixed={"n_iterations": 2}, n_trials=2)
    run_job(store, store.study(store.add_study(made)).job.id, 1)
    axes = {"x": Axis("weight_init_std", 0.01, 100, log=True), "y": Axis("activation", values=("tanh", "relu"))}
    plane = Map(name="gone", **axes, size=4, fixed={"n_iterations": 2})
    run_job(store, store.map_record(store.add_map(plane)).job.id, 1)
    store.add_map(plane.zoomed("gone too", (0, 2), (0, 2)), "gone")
    return store


def test_going_back_to_the_fourth_version_takes_maps_and_their_jobs_and_nothing_else(fifth, everything):
    before = everything(fifth)
    assert [len(before[name]) for name in ("lab_map", "lab_map_block", "lab_job")] == [2, 2, 4]
    kept = [job.id for kind in ("plan", "search") for job in fifth.jobs(kind=kind)]
    migrate(fifth.engine, command.downgrade, "0004")
    fourth = everything(fifth)
    expected = {name: rows for name, rows in before.items() if name not in ("lab_map", "lab_map_block")}
    expected["lab_job"] = [row for row in before["lab_job"] if any(job_id in row for job_id in kept)]
    assert fourth == expected | {"lab_alembic_version": ["('0004',)"]}
    assert [len(fourth[name]) for name in ("lab_job", "lab_run", "lab_trial")] == [2, 4, 2]
    again = open_store(fifth.url)
    assert everything(again) == expected | {"lab_map": [], "lab_map_block": []}
    assert again.maps() == []
    assert sorted(job.id for kind in ("plan", "search", "map") for job in again.jobs(kind=kind)) == sorted(kept)
    migrate(again.engine, command.downgrade, "0004")
    assert everything(again) == fourth


def test_maps_can_be_made_and_trained_in_a_store_that_was_taken_back_and_forth(fifth):
    migrate(fifth.engine, command.downgrade, "0004")
    store = open_store(fifth.url)
    axes = {"x": Axis("weight_init_std", 0.01, 100, log=True), "y": Axis("learning_rate", 0.01, 1)}
    job_id = store.map_record(store.add_map(Map(name="gone", **axes, size=2, fixed={"n_iterations": 2}))).job.id
    assert run_job(store, job_id, 1) == "finished"
    assert store.map_record("gone").n_done == 4
    store.delete_job(job_id)
    assert store.maps() == []
