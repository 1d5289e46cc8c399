import io
import json
import math
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest

from engine import CURVES, FIELDS, RunConfig
from studies import JobError, Plan, StoreError
from studies.store_runs import COLUMNS, RESULTS

NUMBERS = [math.nan, math.inf, -math.inf, 1e308, 5e-324, 0.1 + 0.2, 2.2250738585072014e-308, -1e-17]
TEXTS = [
    "",
    'it\'s "quoted" and `ticked`',
    "line\nbreak\r\nand\ttab",
    "🧠 naïve 你好 \u202eright to left \u200b",
    "<script>alert(1)</script> <b>$x^2$</b> **bold** :red[text]",
    "'; DROP TABLE lab_run; -- ? :name %s {0}",
    "=1+1",
    "'=1+1",
    "@SUM(A1)",
    "x" * 10_000,
    "é" * 100_000,
]


def bits(number):
    return number.hex() if math.isfinite(number) else str(number)


def missing(value):
    """Return whether a cell of an optional column has no value."""
    return value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value))


def only(store):
    """Return the store's single run as the table's row and as a whole."""
    (row,) = store.runs().to_dict("records")
    return row, store.run(row["id"])


@pytest.mark.parametrize("number", NUMBERS)
def test_every_number_comes_back_as_itself(number, store, save, results):
    curves = np.full((3, len(CURVES)), number)
    evidence = {"start_loss": number, "deep": [number, {"x": number}], "weights_finite": False, "n": 3}
    fields = {"final_loss": number, "best_loss": number, "accuracy": number}
    job_id, _ = save([replace(results[0], curves=curves, evidence=evidence, **fields)])
    row, run = only(store)
    (record,) = store.results(job_id)
    for found in (row, run, record):
        assert [bits(found[name]) for name in fields] == [bits(number)] * 3
    assert run["curves"].tobytes() == curves.tobytes()
    assert repr(run["evidence"]) == repr(record["evidence"]) == repr(evidence)


def test_curves_come_back_bit_for_bit_even_the_bits_inside_nan(store, save, results):
    patterns = np.random.default_rng(0).integers(0, 2**64, (100, len(CURVES)), np.uint64).view(float)
    patterns[0, 0] = np.array([0x7FF8DEADBEEF0001], np.uint64).view(float)[0]
    save([replace(results[0], curves=patterns)])
    row, run = only(store)
    assert run["curves"].tobytes() == patterns.tobytes()
    long = store.curves([row["id"]])
    assert long[list(CURVES)].to_numpy().tobytes() == patterns.tobytes()


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
def test_names_and_notes_are_stored_literally(text, store, save, results):
    save(results[:1])
    store.name_run(only(store)[0]["id"], text, text[::-1])
    for found in only(store):
        assert (found["name"], found["note"]) == (text, text[::-1])


@pytest.mark.parametrize("text", ["x" * 100_001, "\ud800", "fine until \udfff"], ids=["long", "high half", "low half"])
@pytest.mark.parametrize("what", ["name", "note"])
def test_texts_that_cannot_be_kept_are_refused_by_name(what, text, store, save, results):
    save(results[:1])
    run_id = only(store)[0]["id"]
    store.name_run(run_id, "old", "old")
    with pytest.raises(StoreError, match=rf"^{what}: expected (at most 100,000 characters, found 100,001|Unicode text)"):
        store.name_run(run_id, **({"name": "new", "note": "new"} | {what: text}))
    assert (only(store)[0]["name"], only(store)[0]["note"]) == ("old", "old")


def test_the_table_has_the_documented_columns_of_the_documented_kinds(store, save, results):
    dtypes = {"text": "object", "int": "int64", "float": "float64", "bool": "bool", "time": "datetime64[ns, UTC]"}
    dtypes |= {"optional int": "Int64", "optional float": "float64", "optional text": "object", "optional bool": "object"}
    empty = store.runs()
    save(results)
    for table in (empty, store.runs()):
        assert list(table) == list(COLUMNS)
        assert {name: str(dtype) for name, dtype in table.dtypes.items()} == {n: dtypes[k] for n, k in COLUMNS.items()}


def test_a_row_says_what_the_result_said(store, save, results):
    save(results)
    table = store.runs()
    for result, row in zip(results, table.to_dict("records"), strict=True):
        expected = result.config.to_dict()
        expected |= {name: getattr(result, name) for name in RESULTS if not name.startswith("overflow")}
        event = result.overflow
        expected |= {f"overflow_{name}": getattr(event, name) for name in ("iteration", "phase", "kind")} if event else {}
        expected |= {"overflow_count": event.count if event else 0, "identity": result.config.identity}
        assert {name: None if missing(row[name]) else row[name] for name in expected} == expected
    assert table["overflow_iteration"].isna().tolist() == [True, True, False, True]
    assert table["overflow_kind"].tolist()[0] is None


def test_a_run_says_what_the_result_said(store, save, results):
    save(results)
    for result, run_id in zip(results, store.runs()["id"], strict=True):
        run = store.run(run_id)
        assert (run["config"], run["evidence"]) == (result.config.to_dict(), result.evidence)
        assert run["examples"] == json.loads(json.dumps(result.examples))
        assert run["curves"].tobytes() == result.curves.tobytes()
        assert RunConfig.from_dict(run["config"]).identity == run["identity"]


def test_times_are_utc(store, save, results):
    before = datetime.now(UTC)
    save(results[:1])
    # the table's clock counts nanoseconds, a float of today's seconds only some hundred of them
    assert before.timestamp() - 1e-5 <= only(store)[0]["created_at"].timestamp() <= datetime.now(UTC).timestamp() + 1e-5


def test_runs_are_listed_newest_job_first_and_in_the_job_s_order(store, save, results):
    first, _ = save(results)
    second, token = save(results[:1])
    store.save_results(second, token, [(5, results[0]), (2, results[1])])
    table = store.runs()
    assert list(zip(table["job_id"], table["number"], strict=True)) == [
        *((second, number) for number in (0, 2, 5)),
        *((first, number) for number in range(4)),
    ]
    assert list(store.runs(second)["number"]) == [0, 2, 5]
    assert store.runs("no such job").empty


def test_a_part_of_the_table_can_be_asked_for(store, save, results):
    save(results)
    ids = list(store.runs()["id"])
    assert list(store.runs(run_ids=ids[2:0:-1])["id"]) == ids[1:3]
    assert list(store.runs(most=3)["id"]) == ids[:3]
    assert store.runs(run_ids=[]).empty


def test_the_command_line_s_records_name_the_overflow_or_null(store, save, results):
    job_id, _ = save(results)
    records = store.results(job_id)
    event = results[2].overflow
    assert [record["overflow"] for record in records] == [None, None, vars(event), None]
    assert [record["seed"] for record in records] == [result.config.seed for result in results]


def test_a_chunk_that_fails_half_way_leaves_nothing(store, save, results, sql):
    job_id, token = save(results[:1])
    before = store.runs()
    with pytest.raises(StoreError, match="UNIQUE constraint failed"):
        store.save_results(job_id, token, [(7, results[0]), (8, results[1]), (8, results[2])])
    assert store.runs().equals(before)
    assert sql(store, "SELECT count(*) FROM lab_curve") == [(1,)]


def test_results_that_break_while_they_are_handed_over_leave_nothing(store, save, results):
    job_id, token = save(results[:1])

    def broken():
        yield 1, results[1]
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        store.save_results(job_id, token, broken())
    assert len(store.runs()) == 1


def test_only_the_process_that_holds_the_job_can_write(store, save, results):
    job_id, _ = save(results[:1])
    for wrong in (job_id, "no such job"):
        with pytest.raises(JobError, match="was deleted or taken over"):
            store.save_results(wrong, "stale", [(1, results[1])])
    assert len(store.runs()) == 1


def test_a_stopped_run_that_is_finished_later_keeps_id_name_and_note(store, save, results, sql):
    job_id, token = save([results[0], replace(results[1], status="stopped", iterations=10, final_loss=9.0)])
    finished, stopped = store.runs()["id"]
    store.name_run(stopped, "mine", "to be finished")
    store.save_results(job_id, token, [(1, results[1]), (2, results[2])])
    table = store.runs().set_index("number")
    assert list(table["id"][:2]) == [finished, stopped]
    assert tuple(table.loc[1, ["status", "iterations", "name", "note"]]) == ("finished", 40, "mine", "to be finished")
    assert table.loc[1, "final_loss"] == results[1].final_loss
    assert store.run(stopped)["curves"].tobytes() == results[1].curves.tobytes()
    assert sql(store, "SELECT count(*) FROM lab_curve") == [(3,)]


def test_chunks_longer_than_a_database_s_list_are_written_read_replaced_and_deleted(store, save, results, sql):
    many = [replace(results[0], config=results[0].config.replace(seed=seed), status="stopped") for seed in range(1200)]
    job_id, token = save(many)
    ids = list(store.runs()["id"])
    store.save_results(job_id, token, ((number, replace(result, status="finished")) for number, result in enumerate(many)))
    assert list(store.runs()["id"]) == ids
    assert set(store.runs()["status"]) == {"finished"}
    assert list(store.curves(ids)["run_id"].unique()) == ids
    store.delete_runs(ids[:1100])
    assert list(store.runs()["id"]) == ids[1100:]
    assert sql(store, "SELECT count(*) FROM lab_curve") == [(100,)]


def test_curves_come_in_the_order_asked_for_without_deleted_runs(store, save, results):
    save(results)
    ids = list(store.runs()["id"])
    store.delete_runs(ids[1:2])
    long = store.curves([ids[3], ids[1], ids[0]])
    assert list(long) == ["run_id", *CURVES]
    assert list(long["run_id"].unique()) == [ids[3], ids[0]]
    assert len(long) == len(results[3].curves) + len(results[0].curves)
    assert store.curves([]).columns.tolist() == list(long)


def test_a_run_that_does_not_exist_is_named(store):
    with pytest.raises(StoreError, match="expected the id of a saved run, found 'gone'; it may have been deleted"):
        store.run("gone")


def test_deleted_runs_take_curves_and_emptied_jobs_with_them_but_no_live_ones(store, save, results, sql):
    (ended, ended_token), (partly, partly_token), (live, _) = save(results), save(results), save(results)
    store.end_job(ended, ended_token, "finished")
    store.end_job(partly, partly_token, "stopped")
    failed = store.add_job(Plan({}))
    store.end_job(failed, store.claim(failed), "failed", "no run of it was ever kept")
    table = store.runs()
    doomed = [*table[table["job_id"] != partly]["id"], *table[table["job_id"] == partly]["id"][:1]]
    store.delete_runs(doomed)
    assert {job.id for job in store.jobs()} == {partly, live, failed}
    assert set(store.runs()["job_id"]) == {partly}
    assert sql(store, "SELECT count(*), count(DISTINCT run_id) FROM lab_curve") == [(3, 3)]


def test_stored_curves_are_plain_numpy_files(store, save, results, sql):
    save(results[:1])
    ((packed,),) = sql(store, "SELECT curves FROM lab_curve")
    assert np.load(io.BytesIO(packed), allow_pickle=False).shape == (40, len(CURVES))


def test_every_setting_of_a_run_is_a_column(store):
    assert set(FIELDS) <= set(COLUMNS)
    assert store.job(store.add_job(Plan({}))).plan == Plan({})
