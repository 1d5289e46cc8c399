import csv
import io
import json
import math
from dataclasses import replace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from engine import CURVES, RunConfig, train
from studies import Plan, open_store
from studies.export import FORMULA_STARTS, plain, read_csv, read_json, to_csv, to_json
from studies.store_runs import COLUMNS

WRITERS = [(to_csv, read_csv), (to_json, read_json)]
BOTH = pytest.mark.parametrize(("write", "read"), WRITERS, ids=["csv", "json"])
NUMBERS = [math.nan, math.inf, -math.inf, 1e308, 5e-324, 0.1 + 0.2, -1e-17, 123456789.123456789]


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """A table from a real store with every kind of value, one row for each of NUMBERS."""
    store = open_store(f"sqlite:///{tmp_path_factory.mktemp('export') / 'brink.db'}")
    job_id = store.add_job(Plan.of(seed=range(len(NUMBERS))))
    short = RunConfig(n_iterations=30)
    configs = [
        short,
        short.replace(clip_norm=0.1),
        short.replace(activation="relu", learning_rate=1.0),
        short.replace(bias=True),
        short.replace(cell="gru", reset_after=True),
        short.replace(cell="gru", projection_size=3, optimizer="adam", schedule="step"),
        short.replace(cell="lstm", forget_bias=0.0, clip_value=1e-3),
        short.replace(task="parity", length=7, pool_size=9),
    ]
    results = train(configs)
    results = [replace(r, final_loss=x, best_loss=-x, accuracy=x) for r, x in zip(results, NUMBERS, strict=True)]
    store.save_results(job_id, store.claim(job_id), enumerate(results))
    return store.runs()


def named(table, texts):
    """Return the table's first rows with these names, and the same turned round as notes."""
    part = table.iloc[: len(texts)].copy()
    part["name"], part["note"] = texts, [text[::-1] for text in texts]
    return part


def raw_cells(data, name):
    """Return a column as another program reads it from the file."""
    rows = list(csv.DictReader(io.StringIO(data.decode("utf-8-sig"), newline="")))
    return [row[name] for row in rows]


@BOTH
def test_a_table_comes_back_without_loss(write, read, table, spelled):
    assert spelled(read(write(table))) == spelled(table)


@BOTH
def test_every_kind_of_column_comes_back_with_and_without_a_value(write, read, table):
    again = read(write(table))
    expected = {
        "reset_after": [None, None, None, None, True, False, None, None],
        "activation": ["sigmoid", "sigmoid", "relu", "sigmoid", None, None, None, "sigmoid"],
        "projection_size": [None, None, None, None, None, 3, None, None],
        "length": [None, None, None, None, None, None, None, 7],
        "bits": [8, 8, 8, 8, 8, 8, 8, None],
        "clip_value": [None, None, None, None, None, None, 1e-3, None],
        "overflow_kind": [None, None, "overflow", None, None, None, None, None],
        "bias": [False, False, False, True, False, False, False, False],
        "pool_size": [0, 0, 0, 0, 0, 0, 0, 9],
    }
    for name, values in expected.items():
        cells = again[name].astype(object).tolist()
        found = [None if missing else value for value, missing in zip(cells, again[name].isna(), strict=True)]
        assert found == values
        assert list(map(type, found)) == list(map(type, values))
    kinds = {kind for kind in COLUMNS.values() if kind.startswith("optional")}
    assert {COLUMNS[name] for name in expected} >= kinds
    assert again["n_parameters"].tolist() == table["n_parameters"].tolist()
    assert again["fingerprint"].tolist() == table["fingerprint"].tolist()


@BOTH
def test_texts_of_an_optional_column_come_back_literally(write, read, table):
    texts = ["=1+1", "'=1", "'", None, "-1", "NaN", "None", '"\r\n,']
    assert read(write(table.assign(overflow_phase=texts)))["overflow_phase"].tolist() == texts
    assert raw_cells(to_csv(table.assign(overflow_phase=texts)), "overflow_phase")[:4] == ["'=1+1", "''=1", "''", ""]


@BOTH
def test_an_empty_table_comes_back_with_its_columns_and_kinds(write, read, table, spelled):
    assert spelled(read(write(table.iloc[:0]))) == spelled(table.iloc[:0].reset_index(drop=True))


@BOTH
@given(texts=st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")), min_size=1, max_size=4))
@example(texts=[start + "1+1" for start in FORMULA_STARTS[:4]])
@example(texts=[start + "1+1" for start in FORMULA_STARTS[4:8]])
@example(texts=["", '""', "''", "'"])
@example(texts=["NaN", "None", "nan", "Infinity"])
@example(texts=["a\rb", "a\r\nb", "\n", "\ufeffx"])
@example(texts=[",;\t", 'a,"b', " spaces ", "🧠\u2028\x1f"])
@settings(deadline=None, max_examples=40)
def test_names_and_notes_come_back_literally(write, read, texts, table):
    again = read(write(named(table, texts)))
    assert again["name"].tolist() == texts
    assert again["note"].tolist() == [text[::-1] for text in texts]


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "|", "\t", "\r", "\n", "'"])
def test_a_text_that_a_spreadsheet_would_compute_starts_with_an_apostrophe(start, table):
    text = start + "cmd|' /C calc'!A0"
    data = to_csv(named(table, [text, "harmless " + text]))
    assert raw_cells(data, "name") == ["'" + text, "harmless " + text]
    assert b"'" + text.encode() in data


def test_no_cell_of_a_csv_starts_like_a_formula_but_numbers(table):
    data = to_csv(named(table, ["=1", "+1", "-1"]))
    for row in csv.reader(io.StringIO(data.decode("utf-8-sig"), newline="")):
        for cell in row:
            if cell.startswith(("=", "+", "-", "@", "|", "\t", "\r", "\n")):
                float(cell)  # which raises for anything but a number


def test_numbers_are_written_with_the_digits_that_tell_them_apart(table):
    assert raw_cells(to_csv(table), "final_loss") == [
        *("NaN", "Infinity", "-Infinity", "1e+308", "5e-324", "0.30000000000000004", "-1e-17", "123456789.12345679")
    ]


def test_what_has_no_value_is_empty_in_csv_and_null_in_json(table):
    assert raw_cells(to_csv(table), "clip_norm")[:2] == ["", "0.1"]
    assert [record["clip_norm"] for record in json.loads(to_json(table))][:2] == [None, 0.1]
    assert [record["overflow_kind"] for record in json.loads(to_json(table))][:3] == [None, None, "overflow"]


def test_csv_is_utf_8_that_spreadsheets_recognize(table):
    data = to_csv(named(table, ["naïve 你好"]))
    assert data.startswith(b"\xef\xbb\xbfid,name,note,")
    assert "naïve 你好".encode() in data
    assert raw_cells(data, "name") == ["naïve 你好"]


def test_json_is_strict_and_has_the_table_s_columns_in_order(table):
    records = json.loads(to_json(table), parse_constant=pytest.fail)
    assert [list(record) for record in records] == [list(COLUMNS)] * len(table)
    assert [record["final_loss"] for record in records][:3] == ["NaN", "Infinity", "-Infinity"]
    assert isinstance(records[0]["hidden_size"], int)
    assert records[3]["bias"] is True


@given(st.recursive(st.floats() | st.text() | st.none() | st.booleans() | st.integers(), st.lists, max_leaves=8))
@settings(deadline=None)
def test_plain_values_are_strict_json(value):
    text = json.dumps(plain({"x": value, "y": (value, CURVES)}), allow_nan=False)
    json.loads(text, parse_constant=pytest.fail)


def test_exporting_does_not_change_the_table(table, spelled):
    before = spelled(table)
    to_csv(table)
    to_json(table)
    assert spelled(table) == before
