"""What a map is: a plane over two settings of which every cell is a run, or several seeds of one.

A cell stands at its lower left corner, so that a map of twice the size has the cells of this one among its own, with the same
numbers to the last bit: places are exact fractions of the first map's axes, however often somebody zooms in.

Map(name="edge", x=Axis("weight_init_std", 0.01, 100, log=True), y=Axis("learning_rate", 0.001, 100, log=True), size=64)
"""

import dataclasses
import functools
import itertools
import json
import math
from dataclasses import InitVar, dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from engine import (
    CURVES,
    DEFAULTS,
    FIELDS,
    OUTCOMES,
    TASKS,
    RunConfig,
    RunResult,
    check_memory,
    check_name,
    check_value,
    fitting,
)
from engine.fields import unknown_name
from engine.outcomes import SOLVED_ACCURACY
from studies.edges import progressive_order
from studies.errors import PlanError
from studies.store_runs import typed

if TYPE_CHECKING:
    import pandas as pd

SMALLEST, LARGEST, MOST_SEEDS = 2, 512, 100
MOST_RUNS = 2_000_000
COARSE = 16
"""Cells along a side of the first picture, about."""
GOOD = ("solved", "learning")
"""Outcomes on the good side of the edge."""
NEVER = 0
"""In whole-number columns: it did not happen."""
CELL = np.dtype(
    [
        ("outcome", "u1"),
        ("final_loss", "f8"),
        ("best_loss", "f8"),
        ("accuracy", "f4"),
        ("solved_at", "i4"),
        ("overflow_at", "i4"),
        ("iterations", "i4"),
        ("fingerprint", "S16"),
    ]
)
"""What is kept of a run: outcome (its place in `OUTCOMES`, counted from 1; 0 is not trained), losses, accuracy, first iteration
with 99 % right and first overflow (0: never), iterations, first half of its fingerprint."""


@dataclass(frozen=True)
class Axis:
    """One side of a map: numbers from low to high, or words.

    Attributes
    ----------
    setting : str
    low, high : float
        Of the map that everything began with.
    log : bool
        Whether they are spread evenly over powers of ten.
    values : tuple
        Words, or chosen numbers, instead.
    start, stop : Fraction
        The window that is seen, as shares of low to high, or of the values.
    """

    setting: str
    low: float | None = None
    high: float | None = None
    log: bool = False
    values: tuple = ()
    start: Fraction = Fraction(0)
    stop: Fraction = Fraction(1)

    def __post_init__(self) -> None:
        check_name(self.setting)
        name, kind = self.setting, FIELDS[self.setting].kind
        if self.setting == "seed":
            raise PlanError("seed: expected another setting on an axis; n_seeds says with how many seeds each cell is trained")
        if self.values:
            values = tuple(dict.fromkeys(check_value(name, value) for value in self.values))
            object.__setattr__(self, "values", values)
            return
        if kind not in ("int", "float"):
            raise PlanError(f"{name}: expected a list of values on an axis, found a range; it is no number")
        low, high = check_value(name, self.low), check_value(name, self.high)
        if low is None or high is None or not low < high:
            raise PlanError(f"{name}: expected low below high, found {self.low} and {self.high}")
        if self.log and low <= 0:
            raise PlanError(f"{name}: expected a range above 0 for log, found it starts at {self.low}")
        object.__setattr__(self, "low", low)
        object.__setattr__(self, "high", high)
        start, stop = Fraction(self.start), Fraction(self.stop)
        if not 0 <= start < stop <= 1:
            raise PlanError(f"{name}: expected a window inside 0 to 1, found {start} to {stop}")
        object.__setattr__(self, "start", start)
        object.__setattr__(self, "stop", stop)

    def size(self, size: int) -> int:
        """Return how many cells it has in a map of some size."""
        return len(self.values) or size

    def at(self, place: int | Fraction, n: int) -> object:
        """Return the value at a place, counted from 0, of n; n itself is the end of the window."""
        if self.values:
            return self.values[int(place)]
        share = float(self.start + (self.stop - self.start) * Fraction(place) / n)
        if share in (0.0, 1.0):
            return (self.low, self.high)[int(share)]
        if self.log:
            value = math.exp(math.log(self.low) + (math.log(self.high) - math.log(self.low)) * share)
        else:
            value = self.low + (self.high - self.low) * share
        return round(value) if FIELDS[self.setting].kind == "int" else min(max(value, self.low), self.high)

    def all(self, size: int) -> list:
        """Return the values of all cells."""
        n = self.size(size)
        return [self.at(place, n) for place in range(n)]

    def deciding(self, n: int) -> list[int]:
        """Return the places, of n, that decide whether settings go together and how much memory runs take."""
        if not self.values:
            return [0, n - 1]
        if FIELDS[self.setting].kind not in ("int", "float"):
            return list(range(n))
        numbers = [value for value in self.values if value is not None]
        ends = None, min(numbers, default=None), max(numbers, default=None)
        return [place for place, value in enumerate(self.values) if value in ends]

    def window(self, first: int, end: int, n: int) -> "Axis":
        """Return the part from one cell of n to before another."""
        if self.values:
            return dataclasses.replace(self, values=self.values[first:end])
        width, first, end = self.stop - self.start, int(first), int(end)  # NumPy's numbers would make fractions that overflow
        return dataclasses.replace(
            self, start=self.start + width * Fraction(first, n), stop=self.start + width * Fraction(end, n)
        )

    def to_dict(self) -> dict:
        """Return plain values."""
        return dataclasses.asdict(self) | {"values": list(self.values), "start": str(self.start), "stop": str(self.stop)}

    @classmethod
    def from_dict(cls, raw: dict) -> "Axis":
        """Return the axis that plain values describe."""
        known = {f.name for f in dataclasses.fields(cls)}
        ok = isinstance(raw, dict) and {"setting"} <= set(raw) <= known and isinstance(raw["setting"], str)
        if not ok or not isinstance(raw.get("values", ()), list | tuple):
            raise PlanError(f"axis: expected an object with {', '.join(sorted(known))}, found {raw!r}")
        try:
            ends = {name: Fraction(raw[name]) for name in ("start", "stop") if name in raw}
        except (ValueError, TypeError, ArithmeticError):
            raise PlanError(f"axis {raw['setting']}: expected start and stop as fractions, found {raw!r}") from None
        return cls(**raw | {"values": tuple(raw.get("values", ()))} | ends)


RANGES = {
    "weight_init_std": (0.01, 100.0, True),
    "learning_rate": (0.001, 100.0, True),
    "hidden_size": (2, 64, True),
    "batch_size": (1, 64, True),
    "n_iterations": (50, 5000, True),
    "length": (5, 100, True),
    "pool_size": (10, 1000, True),
    "projection_size": (1, 32, True),
    "forget_bias": (-2.0, 4.0, False),
    "momentum": (0.0, 0.99, False),
    "rho": (0.5, 0.999, False),
    "beta1": (0.0, 0.99, False),
    "beta2": (0.5, 0.9999, False),
    "epsilon": (1e-10, 1.0, True),
    "clip_norm": (0.01, 100.0, True),
    "clip_value": (0.001, 10.0, True),
    "schedule_every": (10, 1000, True),
    "schedule_factor": (0.1, 1.0, False),
}
"""From where to where a map of a setting is worth a look, and whether on a logarithmic axis."""


def usual_axis(setting: str) -> Axis:
    """Return the axis of a setting with its usual range, or with all its words or first numbers."""
    field = check_name(setting)
    if field.kind in ("choice", "bool"):
        words = TASKS[DEFAULTS["task"]].losses if setting == "loss" else field.choices  # no task takes all losses
        return Axis(setting, values=words or (False, True))
    if setting not in RANGES:  # few whole numbers
        return Axis(setting, values=range(int(field.low), int(min(field.high, field.low + 15)) + 1))
    low, high, log = RANGES[setting]
    return Axis(setting, low, high, log=log)


@dataclass(frozen=True, kw_only=True)
class Map:
    """A map, checked on construction.

    Attributes
    ----------
    name : str
    x, y : Axis
    size : int
        Cells along an axis of numbers.
    fixed : dict
        Settings that are the same everywhere.
    n_seeds : int
        Seeds of each cell: 1, 2, ... n_seeds, the same for all cells, so that they share data and initial noise.
    facet : str
        A setting of words of which each value has a plane of its own; empty: none.
    facet_values : tuple
    trained_here : bool
        False for a map of the past, which a larger machine may have made: then memory is not checked.
    """

    name: str
    x: Axis
    y: Axis
    size: int = 64
    fixed: dict = field(default_factory=dict)
    n_seeds: int = 1
    facet: str = ""
    facet_values: tuple = ()
    trained_here: InitVar[bool] = True

    def __post_init__(self, trained_here: bool) -> None:
        if not isinstance(self.name, str) or not self.name.strip():
            raise PlanError("name: expected some text, found none; a map is found again by its name")
        for name, least, most in (("size", SMALLEST, LARGEST), ("n_seeds", 1, MOST_SEEDS)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
                raise PlanError(f"{name}: expected a whole number from {least} to {most}, found {value!r}")
        if not isinstance(self.fixed, dict) or not isinstance(self.facet_values, list | tuple):
            raise PlanError("expected fixed as settings with a value each, and facet_values as a list")
        moved = [self.x.setting, self.y.setting, *([self.facet] if self.facet else [])]
        if len(set(moved)) < len(moved):
            raise PlanError(f"expected different settings on the axes, found {', '.join(moved)}")
        for name in (*moved, *self.fixed):
            check_name(name)
        if both := sorted(set(moved) & set(self.fixed)):
            raise PlanError(f"{both[0]}: expected it fixed or on an axis, found it as both; take it out of one")
        if "seed" in (*self.fixed, self.facet):
            raise PlanError("seed: expected no value; n_seeds says with how many seeds each cell is trained")
        fixed = {name: check_value(name, value) for name, value in self.fixed.items()}
        object.__setattr__(self, "fixed", fixed)
        if bool(self.facet) != bool(self.facet_values):
            raise PlanError("facet: expected a setting and its values, or neither")
        values = tuple(dict.fromkeys(check_value(self.facet, value) for value in self.facet_values))
        object.__setattr__(self, "facet_values", values)
        if self.n_runs > MOST_RUNS:
            raise PlanError(f"expected at most {MOST_RUNS:,} runs, found {self.n_runs:,}; take fewer cells, seeds or facets")
        ny, nx = self.shape[1:3]
        places = itertools.product(range(self.shape[0]), self.y.deciding(ny), self.x.deciding(nx))
        used = set()
        for place in places:
            config = self.config(self.number(*place, 0))
            if trained_here:
                check_memory(config)
            used |= {name for name in (*moved, *fixed) if FIELDS[name].applies(config.to_dict())}
        for name in (*moved, *fixed):
            if name not in used and fixed.get(name, "") is not None:
                other, words = FIELDS[name].needs
                raise PlanError(f"{name}: expected a setting that the runs use; it belongs to {other} {' or '.join(words)}")

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Facets, cells up, cells across, seeds."""
        return max(1, len(self.facet_values)), self.y.size(self.size), self.x.size(self.size), self.n_seeds

    @property
    def n_runs(self) -> int:
        """How many runs there are."""
        return math.prod(self.shape)

    @property
    def n_iterations(self) -> int:
        """At most how many iterations all runs make together."""
        most = self.fixed.get("n_iterations", DEFAULTS["n_iterations"])
        for axis in (self.x, self.y):
            if axis.setting == "n_iterations":
                most = max(axis.all(self.size))
        if self.facet == "n_iterations":
            most = max(self.facet_values)
        return most * self.n_runs

    def number(self, facet: int, y: int, x: int, seed: int) -> int:
        """Return the number of a run; seeds vary fastest, then x."""
        return int(np.ravel_multi_index((facet, y, x, seed), self.shape))

    def config(self, number: int) -> RunConfig:
        """Return the config of one run."""
        facet, y, x, seed = (int(place) for place in np.unravel_index(number, self.shape))
        values = {self.x.setting: self.x.at(x, self.shape[2]), self.y.setting: self.y.at(y, self.shape[1])}
        if self.facet:
            values[self.facet] = self.facet_values[facet]
        return RunConfig(**fitting(self.fixed | values), seed=seed + 1)

    @functools.cached_property
    def order(self) -> np.ndarray:
        """Numbers of all runs from coarse to fine, all facets and seeds of a level together: shape (n_runs,)."""
        n_facets, ny, nx, n_seeds = self.shape
        cells, ends = progressive_order(ny, nx, first_stride(ny, nx))
        parts, start = [], 0
        for end in ends.values():
            level = np.arange(n_facets)[:, None, None] * (ny * nx) + np.asarray(cells[start:end])[None, :, None]
            parts.append((level * n_seeds + np.arange(n_seeds)).ravel())
            start = end
        return np.concatenate(parts)

    def zoomed(self, name: str, x: tuple[int, int], y: tuple[int, int]) -> "Map":
        """Return the map of a rectangle of cells, each side from the first cell to before the last, of the same size."""
        for what, (first, end), n in (("x", x, self.shape[2]), ("y", y, self.shape[1])):
            if not 0 <= first < end <= n:
                raise PlanError(f"{what}: expected a rectangle inside {n} cells, found {first} to {end}")
        ny, nx = self.shape[1:3]
        return dataclasses.replace(self, name=name, x=self.x.window(*x, nx), y=self.y.window(*y, ny))

    def doubtful(self) -> str:
        """Return what is wrong with the map's resolution: neighbours that the number type cannot tell apart, or nothing."""
        moved = {self.x.setting: self.x.values, self.y.setting: self.y.values, self.facet: self.facet_values}
        kinds = moved.get("dtype") or [self.fixed.get("dtype", DEFAULTS["dtype"])]
        kind = min((np.dtype(name).type for name in kinds), key=lambda kind: np.dtype(kind).itemsize)
        for axis, n in ((self.x, self.shape[2]), (self.y, self.shape[1])):
            values = axis.all(self.size)
            if not axis.values and FIELDS[axis.setting].kind == "float":
                typed = np.array(values, kind)
                same = int((typed[1:] == typed[:-1]).sum())
                close = np.abs(np.diff(typed)) < 4 * np.spacing(np.abs(typed[1:]))
                if close.any():
                    return (
                        f"{axis.setting}: neighbouring cells differ by less than four steps of {np.dtype(kind).name}"
                        + (f", {same} of {n - 1} not at all" if same else "")
                        + "; what is seen between them is rounding"
                    )
        return ""

    def to_json(self) -> str:
        """Return the map as JSON."""
        raw = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return json.dumps(raw | {"x": self.x.to_dict(), "y": self.y.to_dict(), "facet_values": list(self.facet_values)})

    @classmethod
    @functools.lru_cache(maxsize=100)
    def from_json(cls, text: str) -> "Map":
        """Return the map that JSON describes; remembers it, because a page that watches one asks again and again."""
        try:
            raw = json.loads(text)
        except json.JSONDecodeError as error:
            raise PlanError(f"expected a map as JSON, found text that is none: {error}") from None
        known = {f.name for f in dataclasses.fields(cls)}
        if not isinstance(raw, dict) or not {"name", "x", "y"} <= set(raw):
            raise PlanError(f"expected a map as an object with {', '.join(sorted(known))}, found {raw!r}")
        for name in raw:
            if name not in known:
                raise unknown_name("field", name, sorted(known))
        axes = {side: Axis.from_dict(raw[side]) for side in ("x", "y")}
        return cls(**raw | axes, trained_here=False)


_PLACES = {name: place for place, name in enumerate(OUTCOMES, 1)}


def cell_of(result: RunResult) -> tuple:
    """Return what is kept of a run: the columns of `CELL`."""
    curves = result.curves
    solved = curves[curves[:, CURVES.index("accuracy")] >= SOLVED_ACCURACY, CURVES.index("iteration")]
    return (
        _PLACES[result.outcome],
        result.final_loss,
        result.best_loss,
        result.accuracy,
        int(solved[0]) if len(solved) else NEVER,
        result.overflow.iteration if result.overflow else NEVER,
        result.iterations,
        result.fingerprint[:16].encode(),
    )


def share_good(cells: np.ndarray) -> np.ndarray:
    """Return the share of seeds that learn or solve: (facets, ny, nx), NaN where a seed is not trained yet."""
    good = np.isin(cells["outcome"], [_PLACES[name] for name in GOOD])
    return np.where((cells["outcome"] > 0).all(axis=-1), good.mean(axis=-1), np.nan)


def known_from(parent: Map, cells: np.ndarray, made: Map) -> tuple[np.ndarray, np.ndarray]:
    """Return which runs of a map another one has trained already: their numbers, and what came of them.

    Only runs that are the same to the last bit: the same fixed settings, the same axes in another window or size.
    """
    none = np.empty(0, np.int32), np.empty(0, CELL)
    if (parent.fixed, parent.facet, parent.facet_values) != (made.fixed, made.facet, made.facet_values):
        return none
    places = []
    for old, new, n_old, n_new in (
        (parent.y, made.y, parent.shape[1], made.shape[1]),
        (parent.x, made.x, parent.shape[2], made.shape[2]),
    ):
        if (old.setting, old.low, old.high, old.log) != (new.setting, new.low, new.high, new.log):
            return none
        if new.values or old.values:
            places.append([old.values.index(value) if value in old.values else -1 for value in new.values])
            continue
        width = new.stop - new.start
        at = [(new.start + width * Fraction(i, n_new) - old.start) / (old.stop - old.start) * n_old for i in range(n_new)]
        places.append([int(place) if place.denominator == 1 and 0 <= place < n_old else -1 for place in at])
    ys, xs = (np.array(side, int) for side in places)
    seeds = min(parent.n_seeds, made.n_seeds)
    there = np.flatnonzero(ys >= 0), np.flatnonzero(xs >= 0)
    if not len(there[0]) or not len(there[1]):
        return none
    taken = cells[:, ys[there[0]]][:, :, xs[there[1]]][..., :seeds]
    numbers = np.arange(made.n_runs).reshape(made.shape)[:, there[0]][:, :, there[1]][..., :seeds]
    trained = taken["outcome"] > 0
    return numbers[trained].astype(np.int32), taken[trained]


def first_stride(ny: int, nx: int) -> int:
    """Return the distance between the cells of the first picture, about `COARSE` along the longer side."""
    return 2 ** max(0, round(math.log2(max(ny, nx) / COARSE)))


def lattice(trained: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return which trained cell stands for each cell of a map that is not finished: its own, or one of a coarser lattice.

    None is coarser than the first picture: a few cells taken over from another map do not stand for the whole plane.

    Parameters
    ----------
    trained : array of bool, shape (facets, ny, nx)

    Returns
    -------
    rows, columns : arrays of int, shape (facets, ny, nx)
    known : array of bool, shape (facets, ny, nx)
    """
    _, ny, nx = trained.shape
    rows, columns = (np.broadcast_to(part, trained.shape).copy() for part in np.ogrid[:ny, :nx])
    known, stride = trained.copy(), 1
    while not known.all() and stride < first_stride(ny, nx):
        stride *= 2
        ys, xs = np.arange(ny) // stride * stride, np.arange(nx) // stride * stride
        new = trained[:, ys][:, :, xs] & ~known
        rows[new] = np.broadcast_to(ys[None, :, None], trained.shape)[new]
        columns[new] = np.broadcast_to(xs[None, None, :], trained.shape)[new]
        known |= new
    return rows, columns, known


def middle(cells: np.ndarray, column: str) -> np.ndarray:
    """Return one value for each cell: shape (facets, ny, nx).

    Of "outcome" the place of the most frequent one of its seeds (of equal ones the first), of "share" the share that learns, of
    other columns the median, NaN where something never happened.
    """
    if column == "share":
        return share_good(cells)
    values = cells[column]
    if column == "outcome":
        counts = np.stack([(values == place).sum(axis=-1) for place in range(len(OUTCOMES) + 1)])
        return counts.argmax(axis=0)
    values = values.astype(float)
    if column in ("solved_at", "overflow_at"):
        values[values == NEVER] = np.inf
        found = np.median(values, axis=-1)
        return np.where(np.isfinite(found), found, np.nan)
    return np.median(values, axis=-1) if values.shape[-1] > 1 else values[..., 0]


_STD, _RATE = Axis("weight_init_std", 0.01, 30, log=True), Axis("learning_rate", 0.01, 50, log=True)
TEMPLATES: dict[str, dict] = {
    "classic": {
        "name": "Where the classic exercise learns",
        "x": _STD,
        "y": _RATE,
        "size": 64,
        "fixed": {"n_iterations": 2000},
    },
    "relu": {
        "name": "Where relu overflows",
        "x": Axis("weight_init_std", 0.01, 10, log=True),
        "y": Axis("learning_rate", 0.001, 10, log=True),
        "size": 64,
        "fixed": {"activation": "relu", "n_iterations": 300},
    },
    "activations": {
        "name": "Four activations",
        "x": _STD,
        "y": _RATE,
        "size": 32,
        "fixed": {"n_iterations": 1000},
        "facet": "activation",
        "facet_values": ("sigmoid", "tanh", "relu", "elu"),
    },
    "hidden": {
        "name": "Hidden size and learning rate",
        "x": Axis("hidden_size", values=(2, 3, 4, 6, 8, 11, 16, 23, 32, 45, 64)),
        "y": _RATE,
        "size": 32,
        "fixed": {"n_iterations": 2000},
        "n_seeds": 3,
    },
    "schemes": {
        "name": "Init schemes and learning rate",
        "x": usual_axis("init_scheme"),
        "y": _RATE,
        "size": 32,
        "fixed": {"n_iterations": 2000},
        "n_seeds": 5,
    },
}
"""Maps to start from."""


def cells_table(made: Map, cells: np.ndarray) -> "pd.DataFrame":
    """Return the trained runs of a map, one row each, by number.

    Parameters
    ----------
    cells : array of `CELL`, shape (facets, ny, nx, seeds)

    Returns
    -------
    DataFrame
        The settings of facet, y and x under their names, where the cell stands, also if its runs have no use for one; seed; the
        columns of `CELL`: outcome as a word, solved_at and overflow_at without a value where it never happened.
    """
    import pandas as pd

    numbers = np.flatnonzero(cells["outcome"])
    runs = cells.reshape(-1)[numbers]
    facet, y, x, seed = np.unravel_index(numbers, made.shape)
    sides = [(made.facet, made.facet_values, facet)] if made.facet else []
    sides += [(made.y.setting, made.y.all(made.size), y), (made.x.setting, made.x.all(made.size), x)]
    columns = {name: typed({name: values})[name].take(places).reset_index(drop=True) for name, values, places in sides}
    columns |= {"seed": seed + 1} | {name: runs[name] for name in CELL.names}
    columns["outcome"] = pd.Series(np.array([None, *OUTCOMES])[runs["outcome"]], dtype=object)
    columns["fingerprint"] = pd.Series(runs["fingerprint"].astype(str), dtype=object)
    columns |= {name: runs[name].astype(np.int64) for name in ("solved_at", "overflow_at", "iterations")}
    columns |= {name: pd.arrays.IntegerArray(columns[name], runs[name] == NEVER) for name in ("solved_at", "overflow_at")}
    return pd.DataFrame(columns | {"accuracy": runs["accuracy"].astype(float)})
