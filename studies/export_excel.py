"""Tables as Excel workbooks, and back: sheets "Table", perhaps "Curves", and "Origin".

Excel keeps numbers as IEEE doubles and computes with 15 digits of them; here they are written with all. What its numbers cannot
be is written as text: NaN, infinities, whole numbers beyond 2^53, times (Excel's have no zone and no nanoseconds). Texts are
written as texts, never as formulas.
"""

import io
import re
import zipfile
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from studies.export_tables import Exported, ExportError, Origin, column_of, kinds_of, plain_columns

if TYPE_CHECKING:
    import pandas as pd

MOST_ROWS, MOST_COLUMNS, LONGEST_TEXT = 1_048_576, 16_384, 32_767
"""Of a sheet, the heading among the rows; and UTF-16 units of a cell's text."""
EXACT = 2**53
"""Whole numbers up to here are doubles."""
_NAMESPACE = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
_ESCAPED = re.compile(r"_x([0-9A-Fa-f]{4})_")


class _Exact(float):
    """A number that is written with all digits, where the writer asks for sixteen."""

    def __format__(self, spec: str) -> str:
        return float.__repr__(self)


def to_excel(table: "pd.DataFrame", origin: Origin, curves: "pd.DataFrame | None" = None) -> bytes:
    """Return a table as an Excel workbook.

    Raises
    ------
    ExportError
        If a sheet cannot hold it: too many rows or columns, or too long a text.
    """
    import xlsxwriter

    sheets = {"Table": table} if curves is None else {"Table": table, "Curves": curves}
    kinds = {sheet: kinds_of(part) for sheet, part in sheets.items()}
    file = io.BytesIO()
    with xlsxwriter.Workbook(file, {"in_memory": True}) as book:
        bold = book.add_format({"bold": True})
        for sheet, part in sheets.items():
            _check_size(sheet, part)
            page = book.add_worksheet(sheet)
            page.freeze_panes(1, 0)
            for place, (name, cells) in enumerate(plain_columns(part, kinds[sheet]).items()):
                _write(page, 0, place, str(name), bold)
                _write_column(page, place, cells, kinds[sheet][name])
        page = book.add_worksheet("Origin")
        page.set_column(0, 0, 14)
        page.set_column(1, 1, 80)
        facts = origin.of(table).facts() | {f"{sheet} kinds": " ".join(by.values()) for sheet, by in kinds.items()}
        for row, (name, fact) in enumerate(facts.items()):
            _write(page, row, 0, name, bold)
            _write(page, row, 1, fact)
    return file.getvalue()


def _check_size(sheet: str, table: "pd.DataFrame") -> None:
    rows, columns = len(table) + 1, len(table.columns)
    if rows > MOST_ROWS or columns > MOST_COLUMNS:
        limits = f"at most {MOST_ROWS:,} rows and {MOST_COLUMNS:,} columns in Excel's sheet {sheet}"
        raise ExportError(f"expected {limits}, found {rows:,} and {columns:,}; Parquet and CSV have no limits")


def _write_column(page, place: int, cells: list, kind: str) -> None:
    """Write a column's cells below its heading; without a value a cell is empty."""
    for row, cell in enumerate(cells, 1):
        if isinstance(cell, str):
            if kind in ("text?", "str?") and not cell.strip("'"):
                cell = "'" + cell  # an empty text is not an empty cell
            _write(page, row, place, cell)
        elif isinstance(cell, bool):
            page.write_boolean(row, place, cell)
        elif isinstance(cell, int) and abs(cell) > EXACT:
            page.write_string(row, place, str(cell))
        elif cell is not None:
            page.write_number(row, place, _Exact(cell) if isinstance(cell, float) else cell)


def _write(page, row: int, place: int, text: str, style=None) -> None:
    """Write a text as it is."""
    if text.startswith("<r>") and text.endswith("</r>"):  # which the writer would take for markup of its own
        code = page.write_rich_string(row, place, "<", "r", text[2:], *filter(None, [style]))
    else:
        code = page.write_string(row, place, text, style)
    if code:
        raise ExportError(
            f"expected texts of at most {LONGEST_TEXT:,} characters, as Excel has, found {len(text):,} in one cell"
        )


def parse_excel(data: bytes) -> Exported:
    """Return what `to_excel` wrote.

    Raises
    ------
    ExportError
        If it is not such a workbook.
    """
    sheets = _read_sheets(data)
    if "Table" not in sheets or "Origin" not in sheets:
        raise ExportError("expected a workbook that was exported, with the sheets Table and Origin")
    facts = {row.get(0, ""): row.get(1, "") for row in sheets["Origin"]}
    origin = Origin.of_facts(facts)
    empty = [{}] * (origin.rows + 1 - len(sheets["Table"]))  # rows without any value at the end are left out
    table = _table(sheets["Table"] + empty, facts["Table kinds"].split(" "))
    curves = _table(sheets["Curves"], facts["Curves kinds"].split(" ")) if "Curves" in sheets else None
    return Exported(table, origin, curves)


def _table(rows: list[dict], kinds: list[str]) -> "pd.DataFrame":
    import pandas as pd

    heading, *below = rows
    columns = {}
    for place, kind in enumerate(kinds):
        cells = [row.get(place) for row in below]
        if kind in ("text", "str"):
            cells = ["" if cell is None else cell for cell in cells]
        elif kind in ("text?", "str?"):
            cells = [cell[1:] if cell is not None and not cell.strip("'") else cell for cell in cells]
        columns[heading.get(place, "")] = column_of(kind, cells)
    return pd.DataFrame(columns)


def _read_sheets(data: bytes) -> dict[str, list[dict[int, str]]]:
    """Return all sheets: for each row the cells that have something, as texts, by their column."""
    with zipfile.ZipFile(io.BytesIO(data)) as book:
        names = [sheet.get("name") for sheet in ElementTree.fromstring(book.read("xl/workbook.xml")).iter(_NAMESPACE + "sheet")]
        has_texts = "xl/sharedStrings.xml" in book.namelist()
        texts = [*map(_text, ElementTree.fromstring(book.read("xl/sharedStrings.xml")))] if has_texts else []
        return {name: _rows(book.read(f"xl/worksheets/sheet{n}.xml"), texts) for n, name in enumerate(names, 1)}


def _text(string: ElementTree.Element) -> str:
    parts = "".join(part.text or "" for part in string.iter(_NAMESPACE + "t"))
    return _ESCAPED.sub(lambda found: chr(int(found[1], 16)), parts)


def _rows(sheet: bytes, texts: list[str]) -> list[dict[int, str]]:
    rows = []
    for row in ElementTree.fromstring(sheet).iter(_NAMESPACE + "row"):
        rows += [{} for _ in range(int(row.get("r")) - 1 - len(rows))]  # those without any cell are left out
        cells = {}
        for cell in row:
            value = cell.findtext(_NAMESPACE + "v", "")
            meant = {"s": lambda v: texts[int(v)], "b": lambda v: "True" if v == "1" else "False"}.get(cell.get("t"), str)
            cells[_place(cell.get("r"))] = meant(value)
        rows.append(cells)
    return rows


def _place(reference: str) -> int:
    """Return the column of a cell such as AB12, counted from 0."""
    place = 0
    for letter in reference.rstrip("0123456789"):
        place = 26 * place + ord(letter) - ord("A") + 1
    return place - 1
