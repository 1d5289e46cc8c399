"""Tables of runs as CSV and JSON, loss-free, and read back.

CSV: a text cell that a spreadsheet would take for a formula (or that starts with an apostrophe) gets an apostrophe in front;
`read_csv` takes exactly one away again. Numbers have as many digits as tell them apart; NaN, Infinity and -Infinity are
spelled out, an empty cell means "no value". JSON has no such numbers, so there they are the same words as strings.
"""

import io
import json
import math
from typing import TYPE_CHECKING

from studies.store_runs import COLUMNS, typed

if TYPE_CHECKING:
    import pandas as pd

_NUMBERS = ("NaN", "Infinity", "-Infinity")
FORMULA_STARTS = ("=", "+", "-", "@", "|", "\t", "\r", "\n", "'")


def plain(value: object) -> object:
    """Return a value as strict JSON can hold it; what is not finite becomes "NaN", "Infinity" or "-Infinity"."""
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


def _cells(table: "pd.DataFrame") -> dict[str, list]:
    """Return the columns as lists of plain Python values; no value is None."""
    cells = {}
    for name, column in table.items():
        kind = COLUMNS.get(name, "optional") if "run_id" not in table else "optional"  # a study's trials, or runs
        values = [time.isoformat() for time in column] if kind == "time" else column.astype(object).tolist()
        if kind.startswith("optional"):
            values = [None if missing else value for value, missing in zip(values, column.isna(), strict=True)]
        cells[name] = [plain(value) for value in values]
    return cells


def to_csv(table: "pd.DataFrame") -> bytes:
    """Return a table of runs, or of trials, as CSV in UTF-8, with the mark by which spreadsheets know it."""
    import pandas as pd

    cells = _cells(table)
    cells = {_harmless(name): [_harmless(cell) for cell in column] for name, column in cells.items()}
    return pd.DataFrame(cells, dtype=object).to_csv(index=False, lineterminator="\r\n").encode("utf-8-sig")


def _harmless(cell: object) -> object:
    """Return a cell, with an apostrophe in front of a text that a spreadsheet would take for a formula."""
    is_formula = isinstance(cell, str) and cell.startswith(FORMULA_STARTS) and cell not in _NUMBERS
    return "'" + cell if is_formula else cell


def read_csv(data: bytes) -> "pd.DataFrame":
    """Return the table that `to_csv` wrote."""
    import pandas as pd

    cells = pd.read_csv(io.BytesIO(data), dtype=str, keep_default_na=False, encoding="utf-8-sig").astype(object)
    columns = {}
    for name, texts in cells.items():
        kind = COLUMNS[name]
        columns[name] = texts.str.removeprefix("'") if kind.endswith("text") else texts
        columns[name] = columns[name] if kind == "text" else columns[name].where(texts != "", None)
        if kind == "bool":
            columns[name] = texts == "True"
        elif kind == "optional bool":
            columns[name] = texts.map({"True": True, "False": False, "": None})
    return typed(columns)


def to_json(table: "pd.DataFrame") -> bytes:
    """Return a table of runs, or of trials, as a JSON list with one object for each."""
    cells = _cells(table)
    records = [dict(zip(cells, row, strict=True)) for row in zip(*cells.values(), strict=True)]
    return json.dumps(records, ensure_ascii=False, indent=1, allow_nan=False).encode()


def read_json(data: bytes) -> "pd.DataFrame":
    """Return the table that `to_json` wrote."""
    records = json.loads(data)
    return typed({name: [record[name] for record in records] for name in (records[0] if records else COLUMNS)})
