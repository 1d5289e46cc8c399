"""Tables of runs, trials or a map's runs as files of many formats, and back without loss where a format allows it.

CSV: a text cell that a spreadsheet would take for a formula (or that starts with an apostrophe) gets an apostrophe in front;
`read_csv` takes exactly one away again. Numbers have as many digits as tell them apart; NaN, Infinity and -Infinity are
spelled out, an empty cell means "no value". JSON has no such numbers, so there they are the same words as strings.

With an origin, a CSV file begins with lines that start with #, as NumPy, R, gnuplot and others know comments; the first says in
which line the table begins. A JSON file is then an object with origin, kinds, rows and perhaps curves; without, the list of
rows alone. Parquet has the origin among its metadata, and curves as lists, Excel both as sheets of their own.
"""

import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from engine import CURVES
from studies.export_excel import parse_excel, to_excel
from studies.export_print import to_latex, to_markdown
from studies.export_tables import (
    NUMBERS,
    Exported,
    ExportError,
    Origin,
    column_of,
    dtype_of,
    kinds_of,
    kinds_of_runs,
    plain,
    plain_columns,
)
from studies.store_runs import COLUMNS

if TYPE_CHECKING:
    import pandas as pd

FORMULA_STARTS = ("=", "+", "-", "@", "|", "\t", "\r", "\n", "'")
HEAD = "# Brink export: the table begins in line "
_SPLITTING = str.maketrans({sign: f"\\u{ord(sign):04x}" for sign in ",;\t\x7f\x85\u2028\u2029"})
_LIST = "curve_"
"""In front of the names of a Parquet file's columns with curves."""


@dataclass(frozen=True)
class Format:
    """A kind of file.

    Attributes
    ----------
    write : callable
        `write(table, origin)` returns the file's bytes; `write(table, origin, curves)` too if it has curves.
    read : callable or None
        `read(data)` returns an `Exported`; None where the format is for people.
    has_curves : bool
        Whether curves are written in the same file.
    """

    title: str
    ending: str
    mime: str
    write: Callable[..., bytes]
    read: Callable[[bytes], Exported] | None = None
    has_curves: bool = False
    is_binary: bool = False


def _harmless(cell: object) -> object:
    """Return a cell, with an apostrophe in front of a text that a spreadsheet would take for a formula."""
    is_formula = isinstance(cell, str) and cell.startswith(FORMULA_STARTS) and cell not in NUMBERS
    return "'" + cell if is_formula else cell


def to_csv(table: "pd.DataFrame", origin: Origin | None = None) -> bytes:
    """Return a table as CSV in UTF-8, with the mark by which spreadsheets know it, below where it comes from."""
    import pandas as pd

    kinds = kinds_of(table)
    cells = plain_columns(table, kinds if origin else None)
    cells = {name: [_harmless(cell) for cell in column] for name, column in cells.items()}
    for name in (name for name, kind in kinds.items() if kind in ("text?", "str?")):  # an empty text is not an empty cell
        cells[name] = ["'" if cell == "" else cell for cell in cells[name]]
    cells = {_harmless(name): column for name, column in cells.items()}
    text = pd.DataFrame(cells, dtype=object).to_csv(index=False, lineterminator="\r\n")
    return (_head(origin.of(table), kinds) + text if origin else text).encode("utf-8-sig")


def _head(origin: Origin, kinds: dict[str, str]) -> str:
    """Return the lines above the table; no cell of them can be split off by a spreadsheet and computed."""
    facts = [
        f"# {name}: {json.dumps(fact, ensure_ascii=False)[1:-1].translate(_SPLITTING)}" for name, fact in origin.facts().items()
    ]
    lines = [*facts, f"# kinds: {' '.join(kinds.values())}"]
    return "".join(line + "\r\n" for line in [f"{HEAD}{len(lines) + 2}", *lines])


def _split(data: bytes) -> tuple[dict[str, str], bytes]:
    """Return what the lines above a CSV table say, and the table."""
    data = data.removeprefix(b"\xef\xbb\xbf")
    if not data.startswith(HEAD.encode()):
        return {}, data
    first = data[len(HEAD) :].split(b"\r\n", 1)[0]
    *lines, rest = data.split(b"\r\n", int(first) - 1)
    pairs = (line.decode().removeprefix("# ").split(": ", 1) for line in lines[1:])
    return {name: json.loads(f'"{fact}"') for name, fact in pairs}, rest


def parse_csv(data: bytes) -> Exported:
    """Return what `to_csv` wrote."""
    import pandas as pd

    facts, rest = _split(data)
    options = {"header": None, "dtype": str, "keep_default_na": False, "skip_blank_lines": False, "encoding": "utf-8"}
    cells = pd.read_csv(io.BytesIO(rest), **options).astype(object)
    names = [name.removeprefix("'") for name in cells.iloc[0]]
    given = facts.pop("kinds", "").split(" ")
    kinds = dict(zip(names, given, strict=True)) if facts else kinds_of_runs(names)
    columns = {}
    for place, (name, kind) in enumerate(kinds.items()):
        texts = cells[place].iloc[1:].tolist()
        if kind in ("text?", "str?"):
            texts = [None if text == "" else text.removeprefix("'") for text in texts]
        elif kind in ("text", "str", "mixed"):
            texts = [text.removeprefix("'") for text in texts]
        columns[name] = column_of(kind, texts)
    return Exported(pd.DataFrame(columns), Origin.of_facts(facts) if facts else None, None)


def read_csv(data: bytes) -> "pd.DataFrame":
    """Return the table that `to_csv` wrote."""
    return parse_csv(data).table


def curves_to_csv(curves: "pd.DataFrame", origin: Origin) -> bytes:
    """Return the curves of runs as a long CSV table: run_id and the columns of `engine.CURVES`."""
    import pyarrow as pa
    from pyarrow import csv

    columns = {"run_id": pa.array(curves["run_id"], pa.string())} | _digits(curves)
    file = io.BytesIO()
    options = csv.WriteOptions(include_header=False, quoting_style="none")
    csv.write_csv(pa.table(columns), file, options)
    head = _head(origin.of(curves), kinds_of(curves)) + ",".join(columns) + "\r\n"
    return head.encode("utf-8-sig") + file.getvalue()


def _digits(curves: "pd.DataFrame", quote: str = "") -> dict:
    """Return the numbers of curves as texts that tell them apart, those that are not finite as words between quotes."""
    import pyarrow as pa
    from pyarrow import compute

    columns = {}
    for name in curves.columns[1:]:
        values = curves[name].to_numpy(float)
        odd = ~np.isfinite(values) | ((values == 0) & np.signbit(values))  # -0 would be read as a whole number without a sign
        words = pa.array([f"{quote}{plain(x)}{quote}" if x else "-0.0" for x in values[odd].tolist()], pa.string())
        texts = compute.cast(pa.array(values), pa.string())
        columns[name] = compute.replace_with_mask(texts, pa.array(odd), words) if odd.any() else texts
    return columns


def parse_curves_csv(data: bytes) -> "pd.DataFrame":
    """Return the curves that `curves_to_csv` wrote."""
    import pandas as pd

    options = {"dtype": {"run_id": "str"}, "keep_default_na": False, "na_values": ["NaN"]}
    curves = pd.read_csv(io.BytesIO(_split(data)[1]), **options)
    return curves.astype({name: float for name in curves.columns[1:]})


def to_json(table: "pd.DataFrame", origin: Origin | None = None, curves: "pd.DataFrame | None" = None) -> bytes:
    """Return a table as a JSON list with one object for each row, or with an origin as an object with that list in it."""
    kinds = kinds_of(table)
    cells = plain_columns(table, kinds if origin else None)
    rows = [dict(zip(cells, row, strict=True)) for row in zip(*cells.values(), strict=True)]
    text = "[\n" + ",\n".join(map(_strict, rows)) + "\n]"
    if not origin:
        return text.encode()
    about = f'"origin": {_strict(origin.of(table).facts())},\n"kinds": {_strict(kinds)}'
    parts = [f'{{\n{about},\n"rows": {text}'.encode()]
    if curves is not None:  # bytes from here on: a hundred megabytes are copied as seldom as can be
        parts += [b',\n"curves": {\n', b",\n".join(_by_run(curves)), b"\n}"]
    return b"".join([*parts, b"\n}\n"])


def _strict(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _by_run(curves: "pd.DataFrame") -> Iterator[bytes]:
    """Yield each run's id and curves as JSON."""
    import pyarrow as pa
    from pyarrow import compute

    starts, ids = _runs_of(curves)
    offsets = pa.array([*starts, len(curves)], pa.int32())
    names, columns = [_strict(name) for name in curves.columns[1:]], _digits(curves, '"').values()
    lists = [compute.binary_join(pa.ListArray.from_arrays(offsets, column), ", ").to_pylist() for column in columns]
    for run_id, *run in zip(ids, *lists, strict=True):
        fields = (f"{name}: [{numbers}]" for name, numbers in zip(names, run, strict=True))
        yield f"{_strict(run_id)}: {{{', '.join(fields)}}}".encode()


def _runs_of(curves: "pd.DataFrame") -> tuple[list[int], list[str]]:
    """Return where in a long table each run's curves start, and whose they are."""
    ids = curves["run_id"].to_numpy(object)
    new = np.flatnonzero(np.r_[True, ids[1:] != ids[:-1]]) if len(ids) else np.empty(0, int)
    return new.tolist(), ids[new].tolist()


def parse_json(data: bytes) -> Exported:
    """Return what `to_json` wrote."""
    found = json.loads(data)
    if isinstance(found, list):
        kinds = kinds_of_runs(found[0] if found else COLUMNS)
        return Exported(_table_of(kinds, found), None, None)
    curves = _long(found["curves"]) if "curves" in found else None
    return Exported(_table_of(found["kinds"], found["rows"]), Origin.of_facts(found["origin"]), curves)


def _long(curves: dict[str, dict[str, list]]) -> "pd.DataFrame":
    """Undo `_by_run`."""
    import pandas as pd

    names = list(next(iter(curves.values()), CURVES))
    ids = [run_id for run_id, run in curves.items() for _ in run[names[0]]]
    columns = {name: [float(value) for run in curves.values() for value in run[name]] for name in names}
    return pd.DataFrame({"run_id": column_of("str", ids)} | {name: column_of("float64", c) for name, c in columns.items()})


def _table_of(kinds: dict[str, str], rows: list[dict]) -> "pd.DataFrame":
    import pandas as pd

    return pd.DataFrame({name: column_of(kind, [row[name] for row in rows]) for name, kind in kinds.items()})


def read_json(data: bytes) -> "pd.DataFrame":
    """Return the table that `to_json` wrote."""
    return parse_json(data).table


def to_parquet(table: "pd.DataFrame", origin: Origin, curves: "pd.DataFrame | None" = None) -> bytes:
    """Return a table as Parquet; NaN is NaN and no value is null, except that a float without a value is NaN."""
    import pandas as pd
    import pyarrow as pa
    from pyarrow import parquet

    kinds = kinds_of(table)
    mixed = plain_columns(table[[name for name, kind in kinds.items() if kind == "mixed"]], kinds)
    table = pd.DataFrame({name: mixed.get(name, column) for name, column in table.items()}, table.index)
    schema = pa.Schema.from_pandas(table, preserve_index=False)
    columns = {name: _arrow(table[name], kind) for name, kind in kinds.items()}
    lists = _lists(table["id"], curves) if curves is not None else {}
    about = {"origin": origin.of(table).facts(), "kinds": kinds, "curves": list(lists)}
    metadata = {b"pandas": schema.metadata[b"pandas"], b"brink": json.dumps(about).encode()}
    file = io.BytesIO()
    parquet.write_table(pa.table(columns | lists).replace_schema_metadata(metadata), file, compression="zstd")
    return file.getvalue()


def _arrow(column: "pd.Series", kind: str):
    import pyarrow as pa

    if kind in ("text", "text?", "mixed"):
        return pa.array(column.tolist(), pa.string())
    if kind == "bool?":
        return pa.array(column.tolist(), pa.bool_())
    return pa.array(column.to_numpy() if kind.startswith("float") else column, from_pandas=not kind.startswith("float"))


def _lists(run_ids: "pd.Series", curves: "pd.DataFrame") -> dict:
    """Return curves as one list for each run, null where a run has none."""
    import pyarrow as pa

    starts, ids = _runs_of(curves)
    places = {run_id: place for place, run_id in enumerate(ids)}
    wanted = pa.array([places.get(run_id) for run_id in run_ids], pa.int64())
    offsets = pa.array([*starts, len(curves)], pa.int32())
    columns = {name: pa.array(curves[name].to_numpy(float)) for name in curves.columns[1:]}
    return {_LIST + name: pa.ListArray.from_arrays(offsets, values).take(wanted) for name, values in columns.items()}


def parse_parquet(data: bytes) -> Exported:
    """Return what `to_parquet` wrote.

    Raises
    ------
    ExportError
        If it is another Parquet file.
    """
    import pandas as pd
    import pyarrow as pa
    from pyarrow import parquet

    found = parquet.read_table(pa.BufferReader(data))
    if b"brink" not in (found.schema.metadata or {}):
        raise ExportError("expected a Parquet file that was exported, found one from elsewhere")
    about = json.loads(found.schema.metadata[b"brink"])
    columns = {name: _pandas(found[name], kind) for name, kind in about["kinds"].items()}
    curves = _unlisted(found, about["curves"]) if about["curves"] else None
    return Exported(pd.DataFrame(columns), Origin.of_facts(about["origin"]), curves)


def _pandas(column, kind: str) -> "pd.Series":
    import pandas as pd

    if kind.startswith(("text", "bool?", "mixed")):
        return column_of(kind, column.to_pylist())
    if kind[0].isupper():  # a number without a value is null
        return column.to_pandas(types_mapper={column.type: pd.api.types.pandas_dtype(kind)}.get)
    return column.to_pandas().astype(dtype_of(kind))


def _unlisted(found, names: list[str]) -> "pd.DataFrame":
    """Undo `_lists`."""
    import pandas as pd

    lists = {name.removeprefix(_LIST): found[name].combine_chunks() for name in names}
    lengths = next(iter(lists.values())).value_lengths().fill_null(0).to_numpy()
    ids = np.repeat(np.array(found["id"].to_pylist(), object), lengths)
    columns = {name: column.flatten().to_numpy() for name, column in lists.items()}
    return pd.DataFrame({"run_id": column_of("str", ids)} | columns)


_SHEET = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
FORMATS = {
    form.ending: form
    for form in (
        Format("CSV", "csv", "text/csv", to_csv, parse_csv),
        Format("JSON", "json", "application/json", to_json, parse_json, has_curves=True),
        Format("Parquet", "parquet", "application/vnd.apache.parquet", to_parquet, parse_parquet, True, True),
        Format("Excel", "xlsx", _SHEET, to_excel, parse_excel, True, True),
        Format("Markdown", "md", "text/markdown", to_markdown),
        Format("LaTeX", "tex", "application/x-tex", to_latex),
    )
}
"""By the ending of the file's name."""


def _to_events(table: "pd.DataFrame", origin: Origin, curves: "pd.DataFrame") -> bytes:
    from studies.export_tensorboard import tensorboard_zip  # loads a library that only this needs

    return tensorboard_zip(table, curves, origin)


TENSORBOARD = Format("TensorBoard", "zip", "application/zip", _to_events, None, True, True)
"""Not among `FORMATS`, because it is for runs with their curves and nothing else."""


def export(
    kind: str,
    table: "pd.DataFrame",
    origin: Origin,
    curves: "pd.DataFrame | None" = None,
    directions: dict[str, str] | None = None,
) -> bytes:
    """Return a table as a file of one of `FORMATS`.

    Parameters
    ----------
    curves : DataFrame, optional
        Of the runs in the table, as `Store.curves` returns them.
    directions : dict of str to str, optional
        For LaTeX: whether to minimize or maximize columns that are not in `OBJECTIVES`.

    Raises
    ------
    ExportError
        If the format cannot hold the table, or curves beside it.
    """
    if curves is not None and not FORMATS[kind].has_curves:
        able = ", ".join(form.title for form in FORMATS.values() if form.has_curves)
        raise ExportError(f"expected {able} for runs with curves in one file, found {FORMATS[kind].title}")
    if kind == "tex":
        return to_latex(table, origin, directions=directions)
    if curves is None:
        return FORMATS[kind].write(table, origin)
    return FORMATS[kind].write(table, origin, curves)
