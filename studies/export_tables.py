"""What every exported file shares: kinds of columns, plain cells and back, where the file comes from, its name."""

import datetime
import functools
import importlib.metadata
import json
import math
import platform
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, NamedTuple

from engine import ENGINE_VERSION, BrinkError
from studies.plans import describe, spell_value, spell_values
from studies.store_runs import COLUMNS

if TYPE_CHECKING:
    import pandas as pd

    from studies.store_maps import MapRecord
    from studies.store_studies import Study

NUMBERS = ("NaN", "Infinity", "-Infinity")
PACKAGES = ("numpy", "pandas", "optuna", "scipy")
"""Those whose version can matter for what a table says."""
LONGEST_NAME = 120
"""Bytes of a study's name in a file's name; systems allow 255 for all of it."""
SEEDS_SPELLED = 12
_OF_RUNS = {"text": "text", "optional text": "text?", "int": "int64", "optional int": "Int64", "bool": "bool"} | {
    "optional bool": "bool?",
    "float": "float64",
    "optional float": "float64",
    "time": "time_ns",
}


class ExportError(BrinkError, ValueError):
    """The table cannot be written in this format without loss, or the file is not one that was exported."""


@functools.cache
def _versions() -> str:
    packages = [f"{name} {importlib.metadata.version(name)}" for name in PACKAGES]
    return " · ".join([f"Brink's engine {ENGINE_VERSION}", f"Python {platform.python_version()}", *packages])


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


@dataclass(frozen=True)
class Origin:
    """Where a table comes from, as every exported file says.

    Attributes
    ----------
    what : str
        Of what there is one in each row: runs, trials.
    name : str
        Of the study, map or job.
    settings : str
        Those that are the same in all rows, where the table does not say.
    filter : str
        In words; empty: everything.
    seeds : str
        Empty: those of the table's column "seed", if it has one.
    rows : int
        Set when the table is written.
    """

    what: str
    name: str = ""
    settings: str = ""
    filter: str = ""
    seeds: str = ""
    rows: int = 0
    versions: str = field(default_factory=_versions)
    date: str = field(default_factory=_now)

    def of(self, table: "pd.DataFrame") -> "Origin":
        """Return the origin with what the table itself says."""
        return replace(self, rows=len(table), seeds=self.seeds or (spell_seeds(table["seed"]) if "seed" in table else ""))

    def facts(self) -> dict[str, str]:
        """Return everything that is known, as texts."""
        return {part.name: str(getattr(self, part.name)) for part in fields(self) if getattr(self, part.name) != ""}

    def lines(self) -> list[str]:
        """Return everything that is known, one line for each fact."""
        return [f"{name}: {' '.join(fact.split())}" for name, fact in self.facts().items()]

    @classmethod
    def of_study(cls, study: "Study", words: str = "") -> "Origin":
        """Return the origin of a study's trials, those that are left after a filter in words."""
        search = study.search
        seeds = "" if study.job.kind == "import" else spell_seeds(range(1, search.n_seeds + 1))
        return cls("trials", study.name, describe(search.fixed, list(search.fixed)), words, seeds)

    @classmethod
    def of_map(cls, record: "MapRecord") -> "Origin":
        """Return the origin of a map's runs."""
        return cls("runs of a map", record.name, describe(record.map.fixed, list(record.map.fixed)))

    @classmethod
    def of_facts(cls, facts: dict) -> "Origin":
        """Undo `facts`."""
        known = {part.name: "" for part in fields(cls)} | {"rows": 0}
        known |= {name: fact for name, fact in facts.items() if name in known}
        return cls(**known | {"rows": int(known["rows"])})


class Exported(NamedTuple):
    """What a file holds; origin and curves are None where it has none."""

    table: "pd.DataFrame"
    origin: Origin | None
    curves: "pd.DataFrame | None"


def spell_seeds(seeds: Iterable[int]) -> str:
    """Return seeds in words: "1-20", "1, 2, 5", or how many there are between the first and the last."""
    seeds = sorted({int(seed) for seed in seeds})
    text = spell_values(seeds) if seeds else ""
    many = len(seeds) > SEEDS_SPELLED and "," in text
    return f"{len(seeds)} between {seeds[0]} and {seeds[-1]}" if many else text


def file_name(what: str, name: str, ending: str) -> str:
    """Return a name for a file that every system accepts and people can read, such as brink_trials_my_study.csv."""
    return "_".join(filter(None, ["brink", _words(what), _words(name)])) + f".{ending}"


def _words(text: str) -> str:
    """Return the letters and digits of a text, of any script, with an underscore for everything between them."""
    kept = (c if unicodedata.category(c)[0] in "LMN" or c == "-" else " " for c in unicodedata.normalize("NFC", text))
    return "_".join("".join(kept).split()).encode(errors="ignore")[:LONGEST_NAME].decode(errors="ignore").strip("_-")


def plain(value: object) -> object:
    """Return a value as strict JSON can hold it; what is not finite becomes "NaN", "Infinity" or "-Infinity"."""
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


def kinds_of(table: "pd.DataFrame") -> dict[str, str]:
    """Return each column's kind: a type of pandas, text, mixed, time_ns; text?, str?, bool? where values may be missing.

    Raises
    ------
    ExportError
        If a column has another type.
    """
    return {name: _kind(name, column) for name, column in table.items()}


def _kind(name: str, column: "pd.Series") -> str:
    dtype = str(column.dtype)
    if dtype == "object":
        types, others = set(map(type, column)), {type(None)}
        if types <= {str} | others:
            return "text?" if types & others else "text"
        if types <= {bool} | others:
            return "bool?"
        return "mixed"
    if dtype.startswith("datetime64[") and dtype.endswith(", UTC]"):
        return "time_" + dtype[len("datetime64[") : -len(", UTC]")]
    if dtype not in ("bool", "str") and not dtype.lower().startswith(("int", "uint", "float")):
        raise ExportError(f"{name}: expected numbers, texts, yes or no, or UTC times, found a column of type {dtype}")
    return "str?" if dtype == "str" and column.isna().any() else dtype


def kinds_of_runs(names: Iterable[str]) -> dict[str, str]:
    """Return the kinds of columns of the table of runs, for files that do not say.

    Raises
    ------
    ExportError
        If there is another column.
    """
    names = list(names)
    if strange := [name for name in names if name not in COLUMNS]:
        raise ExportError(f"expected a file that says of which kinds its columns are, found none, and a column {strange[0]!r}")
    return {name: _OF_RUNS[COLUMNS[name]] for name in names}


def plain_columns(table: "pd.DataFrame", kinds: dict[str, str] | None = None) -> dict[str, list]:
    """Return the columns as lists of plain Python values; no value is None, with `kinds` "mixed" ones are spelled as JSON."""
    cells = {}
    for name, column in table.items():
        kind = COLUMNS.get(name, "optional") if "run_id" not in table else "optional"  # a study's trials, or runs
        is_time = str(column.dtype).startswith("datetime64")
        values = [time.isoformat() for time in column] if is_time else column.astype(object).tolist()
        if kinds and kinds[name] == "mixed":
            cells[name] = [json.dumps(value, ensure_ascii=False, default=lambda value: value.item()) for value in values]
            continue
        if kind.startswith("optional"):
            values = [None if missing else value for value, missing in zip(values, column.isna(), strict=True)]
        cells[name] = [None if value is None else plain(value) for value in values]
    return cells


def column_of(kind: str, values: list) -> "pd.Series":
    """Return a column of `plain_columns`, in which numbers may be texts and missing ones empty texts, with its type."""
    import pandas as pd

    if kind == "mixed":
        return pd.Series([json.loads(value) for value in values], dtype=object)
    if not kind.startswith(("text", "str")):
        values = [None if value == "" else value for value in values]
    if kind.startswith("bool"):
        values = [None if value is None else value in (True, "True") for value in values]
    elif "int" in kind.lower():
        values = [None if value is None else int(value) for value in values]
    elif kind.startswith("float"):
        values = [math.nan if value is None else float(value) for value in values]
    elif kind.startswith("time_"):
        values = pd.to_datetime(pd.Series(values, dtype=object), utc=True, format="ISO8601")
    return pd.Series(values, dtype=dtype_of(kind))


def dtype_of(kind: str) -> str:
    """Return the type of pandas of a column of some kind."""
    if kind.startswith("time_"):
        return f"datetime64[{kind.removeprefix('time_')}, UTC]"
    return {"str?": "str"}.get(kind, "object" if kind in ("text", "text?", "bool?", "mixed") else kind)


def varying(cells: dict[str, list]) -> list[str]:
    """Return the columns with more than one value."""
    return [name for name, values in cells.items() if len({repr(value) for value in values}) > 1]


def spelled(value: object) -> str:
    """Return a setting's value for people; no value is empty."""
    return "" if value is None else spell_value(value)
