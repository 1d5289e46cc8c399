import csv
import io
import json
import math
import re
from dataclasses import replace

import numpy as np
import openpyxl
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from engine import CURVES, RunConfig, train
from studies import Plan, open_store
from studies.export import (
    FORMATS,
    FORMULA_STARTS,
    curves_to_csv,
    export,
    parse_curves_csv,
    plain,
    read_csv,
    read_json,
    to_csv,
    to_json,
)
from studies.export_excel import LONGEST_TEXT
from studies.export_print import to_latex
from studies.export_tables import ExportError, Origin, file_name, spell_seeds
from studies.maps import CELL, Axis, Map, cells_table
from studies.search import Range, Search
from studies.store_runs import COLUMNS

WRITERS = [(to_csv, read_csv), (to_json, read_json)]
BOTH = pytest.mark.parametrize(("write", "read"), WRITERS, ids=["csv", "json"])
LOSSLESS = [kind for kind, form in FORMATS.items() if form.read]
ALL = pytest.mark.parametrize("kind", LOSSLESS)
WITH_CURVES = [kind for kind, form in FORMATS.items() if form.has_curves]
ORIGIN = Origin("trials", '=cmd(),1;\t#"ü\n🧠\\', "hidden size 3", "name contains ',=1+1'", versions="a 1 · b 2")
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


# Any table, in every format


TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12) | st.sampled_from(
    [
        "",
        "'",
        "''",
        "=1+1",
        "'=1",
        "NaN",
        "None",
        "<r><t>x</t></r>",
        "_x000D_",
        "_x005F_",
        "\r",
        "\n",
        " a ",
        "\\|",
        "🧠",
        "# Brink",
        "True",
    ]
)
FLOATS = st.floats() | st.sampled_from([*NUMBERS, -0.0, 2.0**53, 0.1])
OPTIONAL_TEXTS = TEXTS | st.none()
KINDS = {
    "int64": st.integers(-(2**63), 2**63 - 1),
    "Int64": st.integers(-(2**63), 2**63 - 1) | st.none(),
    "int32": st.integers(-(2**31), 2**31 - 1),
    "float64": FLOATS,
    "float32": st.floats(width=32),
    "bool": st.booleans(),
    "str": OPTIONAL_TEXTS,
    "datetime64[ns, UTC]": st.integers(-(2**62), 2**62) | st.none(),
    "texts": TEXTS,
    "optional texts": OPTIONAL_TEXTS,
    "optional bools": st.booleans() | st.none(),
    "anything": st.none() | st.booleans() | st.integers() | FLOATS | TEXTS,
}
"""Kinds of columns: a type, or what is in a column of objects."""


@st.composite
def tables(draw):
    """A table with columns of several kinds, under any names."""
    n = draw(st.integers(0, 4))
    names = draw(st.lists(TEXTS.filter(lambda name: name not in COLUMNS), min_size=1, max_size=5, unique=True))
    columns = {}
    for name in names:
        dtype, values = draw(st.sampled_from(list(KINDS.items())))
        values = draw(st.lists(values, min_size=n, max_size=n))
        if dtype.startswith("datetime"):
            columns[name] = pd.to_datetime(pd.Series(values, dtype="Int64"), unit="ns", utc=True).astype(dtype)
        else:
            columns[name] = pd.Series(values, dtype=object if dtype.endswith("s") or dtype == "anything" else dtype)
    return pd.DataFrame(columns)


@ALL
@given(table=tables())
@settings(deadline=None, max_examples=100)
def test_any_table_comes_back_without_loss_with_its_origin(kind, table, spelled):
    found = FORMATS[kind].read(export(kind, table, ORIGIN))
    assert spelled(found.table) == spelled(table)
    assert found.origin == ORIGIN.of(table)
    assert found.origin.rows == len(table)
    assert found.curves is None


@ALL
def test_runs_come_back_without_loss_from_every_format(kind, table, spelled):
    found = FORMATS[kind].read(export(kind, table, Origin("runs")))
    assert spelled(found.table) == spelled(table)
    assert found.origin.seeds == "1"
    none = FORMATS[kind].read(export(kind, table.iloc[:0], Origin("runs")))
    assert spelled(none.table) == spelled(table.iloc[:0].reset_index(drop=True))


@pytest.fixture(scope="module")
def trials(tmp_path_factory, trained):
    """The trials of a real study, and its name."""
    store = open_store(f"sqlite:///{tmp_path_factory.mktemp('trials') / 'brink.db'}")
    search = Search(
        name="a study",
        space={"learning_rate": Range(0.01, 10.0, log=True), "hidden_size": Range(2, 4)},
        fixed={"n_iterations": 20},
        objectives=("final_loss", "accuracy"),
        n_trials=6,
        n_seeds=2,
    )
    return store.trials_table(trained(store, search))


@pytest.fixture(scope="module")
def cells():
    """The runs of a map, one of them with NaN, one that was never trained."""
    made = Map(name="m", x=Axis("learning_rate", 0.1, 1.0), y=Axis("activation", values=("tanh", "relu")), size=3, n_seeds=2)
    cells = np.zeros(made.shape, CELL)
    cells["outcome"].flat[1:] = 1
    cells["final_loss"], cells["best_loss"].flat[:3] = 0.25, (5e-324, math.nan, math.inf)
    cells["solved_at"].flat[2:5], cells["fingerprint"] = 7, b"0000000000000012"
    return cells_table(made, cells)


@ALL
def test_trials_and_cells_come_back_without_loss(kind, trials, cells, spelled):
    for table in (trials, cells):
        assert spelled(FORMATS[kind].read(export(kind, table, ORIGIN)).table) == spelled(table)


def test_a_column_of_another_type_is_refused_and_a_file_from_elsewhere_too(table):
    with pytest.raises(
        ExportError, match="odd: expected numbers, texts, yes or no, or UTC times, found a column of type complex"
    ):
        to_csv(pd.DataFrame({"odd": [1j]}))
    with pytest.raises(
        ExportError, match="expected a file that says of which kinds its columns are, found none, and a column 'x'"
    ):
        read_csv(b"x\r\n1\r\n")
    file = io.BytesIO()
    pyarrow.parquet.write_table(pa.table({"x": [1]}), file)
    with pytest.raises(ExportError, match="expected a Parquet file that was exported"):
        FORMATS["parquet"].read(file.getvalue())
    file, book = io.BytesIO(), openpyxl.Workbook()
    book.active.append(["x"])
    book.save(file)
    with pytest.raises(ExportError, match="expected a workbook that was exported"):
        FORMATS["xlsx"].read(file.getvalue())


# Curves


@pytest.fixture(scope="module")
def curves(table):
    """Curves of some of the runs, of different lengths, with every kind of number."""
    lengths = [3, 8, 1]
    values = np.resize([*NUMBERS, -0.0, 1.0, 30.0], (sum(lengths), len(CURVES)))
    long = pd.DataFrame(values, columns=list(CURVES))
    ids = np.repeat(table["id"].iloc[[0, 2, 5]].to_numpy(object), lengths)
    long.insert(0, "run_id", pd.Series(ids, dtype="str"))
    return long


@pytest.mark.parametrize("kind", WITH_CURVES)
def test_curves_come_back_without_loss_in_the_same_file(kind, table, curves, spelled):
    for some in (curves, curves.iloc[:0]):
        found = FORMATS[kind].read(export(kind, table, Origin("runs"), some))
        assert spelled(found.curves) == spelled(some)
        assert spelled(found.table) == spelled(table)


def test_curves_have_a_csv_file_of_their_own(curves, spelled):
    data = curves_to_csv(curves, ORIGIN)
    assert spelled(parse_curves_csv(data)) == spelled(curves)
    assert b"Infinity" in data
    head, *rows = [line for line in data.decode("utf-8-sig").splitlines() if not line.startswith("# ")]
    assert head == ",".join(["run_id", *CURVES])
    assert [row.split(",")[0] for row in rows] == curves["run_id"].tolist()
    with pytest.raises(ExportError, match="expected JSON, Parquet, Excel for runs with curves in one file, found CSV"):
        export("csv", curves, ORIGIN, curves)


def test_curves_of_real_runs_are_those_of_the_store(store, save, results, spelled):
    save(results)
    runs = store.runs()
    curves = store.curves(runs["id"])
    for kind in WITH_CURVES:
        assert spelled(FORMATS[kind].read(export(kind, runs, Origin("runs"), curves)).curves) == spelled(curves)
    assert spelled(parse_curves_csv(curves_to_csv(curves, Origin("runs")))) == spelled(curves)


# Other programs


HOSTILE = ["=1+1", "@x", '"\r\n,', "<r><t>x</t></r>", "naïve 你好🧠", " a ", "_x000D_", ""]


def test_csv_with_an_origin_says_where_the_table_begins_and_no_cell_above_is_a_formula(table):
    data = to_csv(table, ORIGIN)
    assert data.startswith(b"\xef\xbb\xbf# Brink export: the table begins in line ")
    text = data.decode("utf-8-sig")
    lines = text.split("\r\n")
    first = int(re.match(r"# Brink .* line (\d+)", lines[0])[1])
    assert all(line.startswith("# ") for line in lines[: first - 1])
    assert pd.read_csv(io.StringIO(text), skiprows=first - 1)["id"].tolist() == table["id"].tolist()
    for separator in ",;\t":
        cells = [cell for line in lines[: first - 1] for cell in line.split(separator)]
        assert all(cell.startswith("# ") for cell in cells)
    assert data.split(b"\r\n", first - 1)[-1] == to_csv(table).removeprefix(b"\xef\xbb\xbf")


def test_json_with_an_origin_is_strict(table, curves):
    found = json.loads(to_json(table, ORIGIN, curves), parse_constant=pytest.fail)
    assert list(found) == ["origin", "kinds", "rows", "curves"]
    assert found["rows"] == json.loads(to_json(table))
    assert found["origin"]["name"] == ORIGIN.name
    assert found["origin"]["rows"] == str(len(table))
    assert list(found["curves"]) == list(dict.fromkeys(curves["run_id"]))


def test_parquet_is_read_by_others_with_nan_beside_null_and_curves_as_lists(table, curves):
    data = export("parquet", table, ORIGIN, curves)
    found = pyarrow.parquet.read_table(io.BytesIO(data))
    losses = found["final_loss"].to_pylist()
    assert [repr(x) for x in losses] == [repr(x) for x in table["final_loss"]]
    assert found["overflow_kind"].to_pylist()[:3] == [None, None, "overflow"]
    assert found["projection_size"].type == pa.int64()
    assert [None if x is None else len(x) for x in found["curve_loss"].to_pylist()] == [3, None, 8, None, None, 1, None, None]
    assert json.loads(found.schema.metadata[b"brink"])["origin"]["name"] == ORIGIN.name
    read = pd.read_parquet(io.BytesIO(data))
    assert read["length"].dtype == pd.Int64Dtype()
    assert str(read["created_at"].dtype) == "datetime64[ns, UTC]"


def test_excel_has_numbers_and_texts_but_no_formulas_in_three_sheets(table, curves):
    table = table.assign(overflow_phase=HOSTILE, bits=2**53 + 1)
    book = openpyxl.load_workbook(io.BytesIO(export("xlsx", named(table, HOSTILE), ORIGIN, curves)))
    assert book.sheetnames == ["Table", "Curves", "Origin"]
    sheet = {column[0].value: column[1:] for column in book["Table"].columns}
    assert list(sheet) == list(COLUMNS)
    assert [cell.value for cell in sheet["name"]][:2] == HOSTILE[:2]
    assert {cell.data_type for column in sheet.values() for cell in column} <= {"s", "n", "b"}
    assert [cell.value for cell in sheet["final_loss"]] == ["NaN", "Infinity", "-Infinity", *NUMBERS[3:]]
    assert sheet["bits"][0].value == str(2**53 + 1)
    assert sheet["bias"][3].value is True
    assert sheet["clip_norm"][0].value is None
    facts = {name.value: fact.value for name, fact in book["Origin"].iter_rows()}
    assert facts["versions"] == ORIGIN.versions
    assert len(list(book["Curves"].rows)) == len(curves) + 1


def test_excel_refuses_what_a_sheet_cannot_hold(table, monkeypatch):
    fits = named(table, ["🧠" * (LONGEST_TEXT // 2)])
    assert FORMATS["xlsx"].read(export("xlsx", fits, ORIGIN)).table["name"].tolist() == fits["name"].tolist()
    with pytest.raises(ExportError, match="expected texts of at most 32,767 characters, as Excel has, found 32,768"):
        export("xlsx", named(table, ["x" * (LONGEST_TEXT + 1)]), ORIGIN)
    monkeypatch.setattr("studies.export_excel.MOST_ROWS", 4)
    with pytest.raises(ExportError, match=r"expected at most 4 rows .* found 9 and .*; Parquet and CSV have no limits"):
        export("xlsx", table, ORIGIN)


# For people


def test_markdown_has_all_cells_in_one_line_each_and_its_origin_below(table):
    hostile = ["a|b", "x\ny", "<img src=x>", "**bold**", "`code`", "\\|", "![x](y)", "$x$"]
    text = export("md", table.assign(name=hostile), Origin("runs", "my *study*", filter="seed at least 1")).decode()
    lines = text.splitlines()
    assert len(lines) == 2 + len(table) + 1 + 7
    columns = [re.split(r"(?<!\\)(?:\\\\)* ?\| ?", line)[1:-1] for line in lines[: 2 + len(table)]]
    assert {len(column) for column in columns} == {len(COLUMNS)}
    assert columns[0][:3] == ["id", "name", "note"]
    assert columns[1][list(COLUMNS).index("final_loss")] == "---:"
    assert [row[list(COLUMNS).index("final_loss")] for row in columns[2:5]] == ["NaN", "Infinity", "-Infinity"]
    assert "a\\|b" in text
    assert "x<br>y" in text
    assert "\\<img src=x\\>" in text
    assert lines[-7:-4] == ["- what: runs", "- name: my \\*study\\*", "- filter: seed at least 1"]


def latex_rows(text):
    """Return the cells of a LaTeX table, its heading first, after a look at its braces and rules."""
    code = re.sub(r"(?m)^%.*\n", "", text)
    bare = re.sub(r"\\[{}&%$#_]", "", code)
    assert bare.count("{") == bare.count("}")
    assert bare.count("$") % 2 == 0
    rules = [code.index(rule) for rule in ("\\toprule", "\\midrule", "\\bottomrule")]
    assert rules == sorted(rules)
    body = code[rules[0] : rules[2]].replace("\\toprule", "").replace("\\midrule", "")
    columns = re.search(r"begin\{tabular\}\{([lr]+)\}", code)[1]
    rows = [re.split(r"(?<!\\) & ", line.strip().removesuffix(" \\\\")) for line in body.strip().splitlines() if line.strip()]
    assert {len(row) for row in rows} == {len(columns)}
    return rows


def test_latex_of_runs_has_mean_and_spread_over_seeds_with_the_best_in_bold(cells):
    table = cells.assign(final_loss=[1.0, *[0.5, 0.7], *[0.1, math.nan], *[0.5, 0.7], *[2.0, 4e-5], *[math.inf, 1.0]])
    text = to_latex(table, Origin("runs of a map", "50% & more_")).decode()
    heading, *rows = latex_rows(text)
    assert heading == ["activation", "learning rate", "n", "final loss", "best loss", "accuracy"]
    assert [row[:3] for row in rows] == [
        *(["tanh", "0.1", "1"], ["tanh", "0.4", "2"], ["tanh", "0.7", "2"]),
        *(["relu", "0.1", "2"], ["relu", "0.4", "2"], ["relu", "0.7", "2"]),
    ]
    assert [row[3] for row in rows] == [
        "$1$",
        r"$\mathbf{0.6 \pm 0.14}$",
        r"$\mathrm{NaN}$",
        r"$\mathbf{0.6 \pm 0.14}$",
        r"$1 \pm 1.4$",
        r"$\infty$",
    ]
    assert (
        r"\caption{Runs of a map: 50\% \& more\_; mean $\pm$ standard deviation over seeds; seeds 1, 2; best in bold.}" in text
    )
    assert r"\label{tab:brink_runs_of_a_map_50_more}" in text
    assert "% versions: " in text


def test_latex_of_trials_has_their_own_means_and_spreads(trials):
    heading, *rows = latex_rows(to_latex(trials, Origin("trials", "a study")).decode())
    assert heading == ["learning rate", "hidden size", "n", "final loss", "accuracy"]
    assert len(rows) == len(trials)
    lowest, highest = trials["final_loss"].idxmin(), trials["accuracy"].max()
    assert [place for place, row in enumerate(rows) if "mathbf" in row[3]] == [lowest]
    assert [place for place, row in enumerate(rows) if "mathbf" in row[4]] == np.flatnonzero(
        trials["accuracy"] == highest
    ).tolist()
    assert all(r"\pm" in row[3] for row in rows)
    flipped = latex_rows(to_latex(trials, ORIGIN, directions={"final_loss": "maximize"}).decode())[1:]
    assert [place for place, row in enumerate(flipped) if "mathbf" in row[3]] == [trials["final_loss"].idxmax()]


def test_latex_of_everything_has_every_row_and_escapes_every_name(table):
    hostile = ["\\input{x}", "{", "}", "$", "a&b", "[1]", '~^|<>"', "line\nbreak"]
    heading, *rows = latex_rows(to_latex(table.assign(name=hostile), ORIGIN, aggregate=False).decode())
    assert (len(heading), len(rows)) == (len(COLUMNS), len(table))
    assert rows[0][1] == r"\textbackslash{}input\{x\}"
    assert rows[4][1] == r"a\&b"
    assert rows[5][1] == "{[}1]"  # a line that starts with [ would be an argument of the one before


def test_latex_of_one_run_and_of_none(table):
    assert len(latex_rows(to_latex(table.iloc[:1], ORIGIN).decode())) == 2
    assert len(latex_rows(to_latex(table.iloc[:0], ORIGIN).decode())) == 1


# Origin and names of files


def test_an_origin_says_versions_and_date_and_keeps_lines_whole():
    origin = Origin("runs", "a\nb")
    assert "numpy " + np.__version__ in origin.versions
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", origin.date)
    assert origin.lines()[:2] == ["what: runs", "name: a b"]
    assert spell_seeds([3, 1, 2, 2]) == "1-3"
    assert spell_seeds([]) == ""
    assert spell_seeds([5, 1]) == "1, 5"
    assert spell_seeds(range(0, 100, 2)) == "50 between 0 and 98"


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("my study", "brink_trials_my_study.csv"),
        ("", "brink_trials.csv"),
        ("CON", "brink_trials_CON.csv"),
        ("../../etc/passwd", "brink_trials_etc_passwd.csv"),
        ('a\\b:c*?"<>|.', "brink_trials_a_b_c.csv"),
        ("nul\0\n\x7f🧠", "brink_trials_nul.csv"),
        ("Größe 你好-2", "brink_trials_Größe_你好-2.csv"),
        ("x" * 300, "brink_trials_" + "x" * 120 + ".csv"),
    ],
)
def test_a_file_s_name_is_safe_and_can_be_read(name, file):
    assert file_name("trials", name, "csv") == file


@given(st.text())
def test_any_name_is_safe_as_a_file_s_name(name):
    file = file_name("runs", name, "parquet")
    assert file.startswith("brink_runs")
    assert not set(file) & set('/\\:*?"<>| ')
    assert file.count(".") == 1
    assert len(file.encode()) <= 255
    assert file.isprintable()
