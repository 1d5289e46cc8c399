"""What pages read and draw of a map: cells are read once, whatever is drawn of them."""

import numpy as np
import streamlit as st

from dashboard.charts.maps import LOST, Axis, Entry, Facet, Mark, Ramp, axis_of, outcome_legend, quantize
from dashboard.charts.outcomes import LOOKS
from dashboard.components.session import the_store
from engine import FIELDS, OUTCOMES
from studies import edges
from studies.maps import Axis as Side
from studies.maps import Map, lattice, middle, share_good
from studies.plans import describe, spell_value
from studies.store_maps import MapRecord

COLOURS = {
    "outcome": "outcome",
    "final_loss": "final loss",
    "accuracy": "answers right",
    "solved_at": "iterations to solve",
    "overflow_at": "iterations to overflow",
    "share": "share of seeds that learn",
}
"""What colours of a map can mean."""
NEVER = {
    "solved_at": Entry("never solved", LOOKS["stalled"].color, LOOKS["stalled"].symbol),
    "overflow_at": Entry("no overflow", LOOKS["stalled"].color, ""),
}
VALUES_WHILE_TRAINED = 128
"""Cells along a side up to which numbers are told about cells while a map is trained: they are sent again and again."""
KEPT = 4
"""Maps whose cells stay in a session."""


def cells_of(record: MapRecord) -> np.ndarray:
    """Return a map's cells, as `Store.cells` does; only blocks that are new are read."""
    kept = st.session_state.setdefault("map_cells", {})
    cells, n_blocks = kept.pop(record.id, (None, 0))
    if cells is None or n_blocks < record.n_blocks:
        cells = the_store().cells(record.id, cells, n_blocks)
    kept[record.id] = cells, record.n_blocks
    while len(kept) > KEPT:
        kept.pop(next(iter(kept)))
    return cells


def drawn_axis(side: Side, n: int) -> Axis:
    """Return a side of a map as the canvas draws it; so far in that no label would fit, the title says from where to where."""
    values = [spell_value(value) for value in side.values] or side.all(n)
    drawn = axis_of(label_of(side.setting), values, side.log)
    return drawn if drawn.ticks else drawn._replace(title=f"{drawn.title}, {values[0]!r} to {values[-1]!r}")


def label_of(setting: str) -> str:
    """Return what a setting is called."""
    return FIELDS[setting].label


def facet_title(made: Map, facet: int) -> str:
    """Return which value of its setting a facet has, or nothing where there is one plane."""
    return describe({made.facet: made.facet_values[facet]}, [made.facet]) if made.facet else ""


def planes(record: MapRecord, cells: np.ndarray, by: str, place: tuple | None) -> tuple[list[Facet], list[Entry] | Ramp]:
    """Return the facets of a map and their legend.

    Parameters
    ----------
    by : str
        What colours mean: one of `COLOURS`.
    place : tuple of int or None
        Facet, row and column of the cell that is looked at closely.
    """
    trained = (cells["outcome"] > 0).all(axis=-1)
    values, outcomes, good = middle(cells, by), middle(cells, "outcome"), np.nan_to_num(share_good(cells)) >= 0.5
    if by == "outcome":
        colors, legend = values.astype(np.uint8), outcome_legend(list(OUTCOMES))
    else:
        lost = np.isin(outcomes, [place for place, name in enumerate(OUTCOMES, 1) if name in ("diverged", "overflow")])
        limits = _limits(values[trained & ~lost] if by == "final_loss" else values[trained], by)
        colors, legend = quantize(values, *limits), Ramp(COLOURS[by], *limits, lost=NEVER.get(by, LOST))
    told = {}
    if not record.job.is_live or max(trained.shape[1:]) <= VALUES_WHILE_TRAINED:
        names = ["final_loss", "accuracy", *(name for name in NEVER if cells[name].any())]
        names += ["share"] if record.map.n_seeds > 1 else []
        told = {COLOURS[name]: middle(cells, name) for name in names}
    every = [np.where(trained, colors, 0), good & trained, *told.values()]
    if not trained.all():  # a trained cell stands for its neighbours that are not trained yet
        rows, columns, _ = lattice(trained)
        facet = np.arange(len(trained))[:, None, None]
        every = [array[facet, rows, columns] for array in every]
    drawn = []
    for i in range(len(trained)):
        marks = [] if record.job.is_live else [*pointed_out(record, cells, i)]
        if place and place[0] == i:
            marks.append(Mark(place[2], place[1], "", "looked at"))
        title = facet_title(record.map, i)
        numbers = {name: array[i] for name, array in zip(told, every[2:], strict=True)}
        drawn.append(Facet(every[0][i], title, numbers, marks, every[1][i]))
    return drawn, legend


def _limits(values: np.ndarray, by: str) -> tuple[float, float, bool]:
    """Return limits that a few far values do not stretch, and whether they span so much that the scale is logarithmic."""
    if by in ("accuracy", "share"):
        return 0.0, 1.0, False
    values = values[np.isfinite(values) & (values > 0)]
    if not len(values):
        return 0.0, 1.0, False
    low, high = (float(part) for part in np.quantile(values, [0.02, 0.98]))
    high = high if high > low else low * 2
    return low, high, high / low > 20


def pointed_out(record: MapRecord, cells: np.ndarray, facet: int) -> list[Mark]:
    """Return the marks of the best and of the safest good cell."""
    return _pointed_out(record.id, record.n_blocks, facet, cells)


@st.cache_resource(show_spinner=False, max_entries=100)
def _pointed_out(map_id: str, n_blocks: int, facet: int, _cells: np.ndarray) -> list[Mark]:
    cells = _cells[facet : facet + 1]
    loss, share, found = middle(cells, "final_loss")[0], share_good(cells)[0], []
    if best := edges.best_cell(loss, share >= 0.5):
        found.append(Mark(best[1], best[0], "★", "lowest loss"))
    if safest := edges.safest_cell(share, loss):
        found.append(Mark(safest[0][1], safest[0][0], "◆", "farthest from the edge"))
    return found


def dimension_of(record: MapRecord, cells: np.ndarray, facet: int) -> edges.Dimension:
    """Return the box-counting dimension of a facet's edge."""
    return _dimension(record.id, record.n_blocks, facet, cells)


@st.cache_resource(show_spinner=False, max_entries=100)
def _dimension(map_id: str, n_blocks: int, facet: int, _cells: np.ndarray) -> edges.Dimension:
    share = share_good(_cells[facet : facet + 1])[0]
    return edges.box_dimension(np.nan_to_num(share) >= 0.5, ~np.isnan(share))


def moves_of(made: Map, cells: np.ndarray, place: tuple[int, int, int]) -> list[edges.Move]:
    """Return how far each setting of numbers may move from a good cell before it is none."""
    facet, *at = place
    share = share_good(cells[facet : facet + 1])[0]
    sides, names = [], []
    for i, side in ((1, made.x), (0, made.y)):
        values = side.all(made.size)
        if any(isinstance(value, str | bool) or value is None for value in values):
            sides.append(edges.Axis("", np.arange(len(values)), False))
            continue
        distinct, first = np.unique(np.array(values, float), return_index=True)  # whole numbers may stand side by side twice
        share, at[i] = np.take(share, first, axis=i), int(np.searchsorted(distinct, values[at[i]]))
        sides.append(edges.Axis(label_of(side.setting), distinct, side.log))
        names.append(label_of(side.setting))
    found = edges.distance_to_edge(share if made.n_seeds > 1 else share[..., None], tuple(at), *sides)
    return [move for move in found if move.name in names]
