"""Reads a map of settings, every cell a trained run or some seeds of it: where its edge is, how rough, and how far away.

A map has ny rows and nx columns: y is the setting that changes from row to row, x the one that changes from column to column.
A cell is good (it learned) or not, and known (it was trained) or not; a cell that is not known stands on neither side.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

LEAST_SIDE = 64
"""Cells along the shorter side of a map from which on a dimension is told."""
LEAST_KNOWN = 0.9
"""Share of cells that must be known for it: with a tenth unknown, chosen by chance, it is read 0.01 lower."""
LEAST_BOXES = 6
"""So many of the largest fitted boxes must hold a part of the edge: a straight line through the whole map fills eight."""
BLOCKS = 8
"""Rows and columns of blocks that a map is cut into to see whether its parts agree on the dimension."""
WINDOW = 4
"""Neighbouring box sizes that a fit needs at least."""
DRAWS = 400
"""Fits of drawn blocks and windows that the interval is read from."""
BIAS = 0.02
"""By so much the interval is made longer at both ends; without it, it misses one straight line in ten, by less than 0.01."""


def _sides(good: np.ndarray, known: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Return which cells are known to be good and which are known not to be."""
    good = np.asarray(good, bool)
    known = np.ones(good.shape, bool) if known is None else np.asarray(known, bool)
    return good & known, ~good & known


def _crossings(good: np.ndarray, known: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Return where the edge runs between a cell and the one below, (ny - 1, nx), and the one to the right, (ny, nx - 1)."""
    good, bad = _sides(good, known)
    below = good[1:] & bad[:-1] | bad[1:] & good[:-1]
    return below, good[:, 1:] & bad[:, :-1] | bad[:, 1:] & good[:, :-1]


def border(good: np.ndarray, known: np.ndarray | None = None) -> np.ndarray:
    """Return the cells that have the edge beside them: at least one of their four neighbours is on the other side.

    Parameters
    ----------
    good, known : ndarray of bool, shape (ny, nx)
        Every cell is known without `known`.

    Returns
    -------
    ndarray of bool, shape (ny, nx)
        The border is two cells thick: it has the cells of both sides.
    """
    below, right = _crossings(good, known)
    found = np.zeros(np.shape(good), bool)
    found[1:] |= below
    found[:-1] |= below
    found[:, 1:] |= right
    found[:, :-1] |= right
    return found


def segments(good: np.ndarray, known: np.ndarray | None = None) -> np.ndarray:
    """Return the edge as straight lines between cells, as long as they can be.

    Returns
    -------
    ndarray, shape (lines, 4)
        x and y of a line's start, x and y of its end, in cells: the cell in row i and column j reaches from j - 0.5 to j + 0.5
        along x and from i - 0.5 to i + 0.5 along y.
    """
    below, right = _crossings(good, known)
    rows, first, last = _runs(below)
    flat = np.column_stack([first, rows + 1, last, rows + 1])
    columns, first, last = _runs(right.T)
    return np.concatenate([flat, np.column_stack([columns + 1, first, columns + 1, last])]) - 0.5


def _runs(there: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return row, first column and column behind the last of every run of True within a row."""
    steps = np.diff(np.pad(there, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    rows, first = np.nonzero(steps == 1)
    return rows, first, np.nonzero(steps == -1)[1]


@dataclass(frozen=True)
class Dimension:
    """The box-counting dimension of an edge.

    Attributes
    ----------
    value : float or None
        Between 0 and 2: 1 for a smooth line, 2 for an edge that comes close to every cell. None if the map does not tell.
    low, high : float or None
        The ends of an interval of about 95 %. Measured on random surfaces: 80 % at 64 cells a side, 90 to 95 % from 128 on.
    sizes : ndarray of int, shape (sizes,)
        Sides of the boxes, in steps from cell to cell.
    counts : ndarray of float, shape (sizes,)
        Boxes that hold a part of the edge, the mean over all places of the grid.
    fit_from, fit_to : int or None
        The smallest and the largest fitted box.
    problem : str
        Why there is no value.
    """

    value: float | None
    low: float | None
    high: float | None
    sizes: np.ndarray
    counts: np.ndarray
    fit_from: int | None
    fit_to: int | None
    problem: str = ""


def box_dimension(good: np.ndarray, known: np.ndarray | None = None, seed: int = 0) -> Dimension:
    """Return the box-counting dimension of the edge between good and other cells.

    A box of s x s steps has (s + 1) x (s + 1) cells; it counts if good ones and others are among them. So the edge is a line
    without thickness, and straight lines have the dimension 1 at every angle. (Border cells have a thickness, which small
    boxes see.) s is 2^k and 3 * 2^k, from 2 to a quarter of the shorter side. A box is laid around every cell, which is the
    mean over all places of the grid, and the map is mirrored at its borders. If the share of boxes that count grows as s^a,
    the dimension is 2 - a: the uncertainty exponent of Grebogi, McDonald, Ott & Yorke (1983, "Final state sensitivity").

    a is the slope of the least-squares line through log share by log s, from the square root of an eighth of the shorter side
    (a smaller box has too few cells to see thin parts) to an eighth of it (a larger one sees the whole shape and the map's
    end).

    The interval holds 95 % of `DRAWS` fits, made longer by `BIAS` at both ends. Each fit has blocks of the map drawn with
    replacement, where every box that counts is shared among the border cells in it, and a window drawn from all of at least
    `WINDOW` neighbouring sizes, from half the smallest fitted box to twice the largest. So it covers what differs from place
    to place and from scale to scale, and not what no fitted scale shows: graphs of rough functions, read too low by 0.1 to 0.2
    at a dimension of 1.5, mostly lie above it. Single cells that are good or not by chance are points where they are few,
    which lowers the value, and fill the map where they are many: one in a hundred makes a straight line 1.8 in 512 x 512.

    Parameters
    ----------
    good, known : ndarray of bool, shape (ny, nx)
        Every cell is known without `known`.
    seed : int
        Of the draws: the same map has the same interval.
    """
    good, bad = _sides(good, known)
    side, no_sizes = min(good.shape), np.zeros(0)
    if side < LEAST_SIDE:
        problem = f"The map has {side} cells along its shorter side; a dimension needs at least {LEAST_SIDE}."
        return Dimension(None, None, None, no_sizes.astype(int), no_sizes, None, None, problem)
    sizes = np.sort(np.concatenate([2 ** np.arange(1, 31), 3 * 2 ** np.arange(1, 31)]))
    sizes = sizes[sizes <= side / 4]
    edge = border(good, good | bad)
    found = [_shared_boxes(good, bad, edge, size) for size in sizes]
    shares, blocks = np.array([share for share, _ in found]), np.array([block for _, block in found])
    counts = shares * (good.shape[0] - 1) * (good.shape[1] - 1) / sizes**2
    fitted = (sizes >= np.sqrt(side / 8)) & (sizes <= side / 8)
    fit_from, fit_to = sizes[fitted][[0, -1]].tolist()
    if problem := _too_little(good | bad, edge, counts[fitted][-1]):
        return Dimension(None, None, None, sizes, counts, fit_from, fit_to, problem)
    value = 2 - _slope(sizes[fitted], shares[fitted])

    rng = np.random.default_rng(seed)
    blocks = blocks[:, blocks.all(0)]
    n_blocks = blocks.shape[1]
    drawn = rng.multinomial(n_blocks, np.full(n_blocks, 1 / n_blocks), DRAWS) @ blocks.T
    (wide,) = np.nonzero((sizes >= fit_from / 2) & (sizes <= fit_to * 2))
    windows = [wide[a:b] for a in range(len(wide)) for b in range(a + WINDOW, len(wide) + 1)]
    picked = rng.integers(len(windows), size=DRAWS)
    fits = [2 - _slope(sizes[windows[w]], drawn[i, windows[w]]) for i, w in enumerate(picked)]
    low, high = np.percentile(fits, [2.5, 97.5])
    low, high = max(min(low, value) - BIAS, 0.0), min(max(high, value) + BIAS, 2.0)
    return Dimension(float(value), float(low), float(high), sizes, counts, fit_from, fit_to)


def _too_little(known: np.ndarray, edge: np.ndarray, n_boxes: float) -> str:
    """Return why a map does not tell a dimension."""
    if known.mean() < LEAST_KNOWN:
        return f"Only {known.mean():.0%} of the cells are known; a dimension needs {LEAST_KNOWN:.0%}."
    if not edge.any():
        return "No edge: no good cell stands beside one that is not."
    if n_boxes < LEAST_BOXES:
        return f"The edge is too short: {n_boxes:.1f} of the largest boxes hold a part of it; a dimension needs {LEAST_BOXES}."
    return ""


def _shared_boxes(good: np.ndarray, bad: np.ndarray, edge: np.ndarray, size: int) -> tuple[float, np.ndarray]:
    """Return the share of boxes that count, and how it is made up of `BLOCKS` x `BLOCKS` blocks: shape (blocks,).

    Every box that counts is shared equally among the border cells in it, and every border cell belongs to a block.
    """
    from scipy.ndimage import maximum_filter, uniform_filter  # takes as long to load as a small map to train

    cells = size + 1
    counts = maximum_filter(good, cells, mode="mirror") & maximum_filter(bad, cells, mode="mirror")
    density = uniform_filter(edge.astype(np.float64), cells, mode="mirror")
    each = np.divide(counts, density, out=np.zeros(edge.shape), where=density > 0.5 / cells**2)
    each = uniform_filter(each, cells, mode="mirror") * edge
    starts = [np.arange(BLOCKS) * n // BLOCKS for n in edge.shape]
    return counts.mean(), np.add.reduceat(np.add.reduceat(each, starts[0], 0), starts[1], 1).ravel()


def _slope(sizes: np.ndarray, shares: np.ndarray) -> float:
    """Return the slope of the least-squares line through log shares by log sizes."""
    x = np.log(sizes) - np.log(sizes).mean()
    return x @ np.log(shares) / (x @ x)


class Axis(NamedTuple):
    """A setting along a side of the map.

    Attributes
    ----------
    name : str
    values : ndarray, shape (nx,) or (ny,)
        One per column or row, all rising or all falling.
    log : bool
        Whether a distance is a factor; the values must be positive then.
    """

    name: str
    values: np.ndarray
    log: bool


class Move(NamedTuple):
    """How far one setting may move in one direction, all others as they are.

    Attributes
    ----------
    name : str
        The setting.
    grows : bool
        Whether its value gets larger.
    log : bool
        Whether distances are factors of at least 1, else they are differences of at least 0.
    by : float or None
        The distance to the edge; None if the map ends first.
    at_least : float
        The distance to the last cell before the edge or the map's end.
    several : bool
        Whether cells have several seeds. With one, `by` is `at_least`: the edge is somewhere before the next cell.
    """

    name: str
    grows: bool
    log: bool
    by: float | None
    at_least: float
    several: bool


def distance_to_edge(share_good: np.ndarray, cell: tuple[int, int], x: Axis, y: Axis) -> list[Move]:
    """Return how far the settings of a cell may move before fewer than half of the seeds are good.

    Parameters
    ----------
    share_good : ndarray, shape (ny, nx) or (ny, nx, seeds)
        The share of good seeds, or which seeds are good (a bool per cell is one seed). NaN is not known; such cells are passed
        over. Between cells with several seeds the share is interpolated linearly (over the logarithm of a log axis).
    cell : tuple
        Row and column.
    x, y : Axis
        The settings along the columns and the rows.

    Returns
    -------
    list of Move
        x grows, x shrinks, y grows, y shrinks; none if the cell itself is not good.

    Raises
    ------
    ValueError
        If the cell is not known, or an axis has other values than it may.
    """
    share_good = np.asarray(share_good)
    several = share_good.shape[2] > 1 if share_good.ndim == 3 else share_good.dtype != bool
    if share_good.ndim == 3:
        known = ~np.isnan(share_good.astype(float))
        n_known = known.sum(2)
        share = np.where(n_known, np.where(known, share_good, 0).sum(2) / np.maximum(n_known, 1), np.nan)
    else:
        share = share_good.astype(float)
    row, column = cell
    if np.isnan(share[row, column]):
        raise ValueError(f"The cell in row {row} and column {column} is not known.")
    if share[row, column] < 0.5:
        return []
    moves = []
    for axis, shares, place in ((x, share[row], column), (y, share[:, column], row)):
        values = np.asarray(axis.values, float)
        if len(values) != len(shares) or not np.isfinite(values).all() or (axis.log and values.min() <= 0):
            raise ValueError(f"{axis.name} needs {len(shares)} finite values, positive ones on a log axis.")
        if not ((steps := np.diff(values)) > 0).all() and not (steps < 0).all():
            raise ValueError(f"The values of {axis.name} must all rise or all fall.")
        places = np.log(values) if axis.log else values
        ahead, behind = slice(place, None), slice(place, None, -1)
        for grows, part in ((True, ahead), (False, behind)) if values[-1] >= values[0] else ((True, behind), (False, ahead)):
            by, at_least = _way(shares[part], np.abs(places[part] - places[place]), several)
            far = np.exp if axis.log else float
            by = None if by is None else float(far(by))
            moves.append(Move(axis.name, grows, axis.log, by, float(far(at_least)), several))
    return moves


def _way(shares: np.ndarray, distances: np.ndarray, several: bool) -> tuple[float | None, float]:
    """Return where a share, at first at least a half, falls below it, or None, and the last place before."""
    known = ~np.isnan(shares)
    shares, distances = shares[known], distances[known]
    (low,) = np.nonzero(shares < 0.5)
    if not len(low):
        return None, distances[-1]
    (before, after), (start, end) = shares[low[0] - 1 : low[0] + 1], distances[low[0] - 1 : low[0] + 1]
    return start + (end - start) * (before - 0.5) / (before - after) if several else start, start


def sentence(move: Move, verb: str = "learn") -> str:
    """Return a move in words: "learning_rate may grow 1.8-fold before half of the seeds no longer learn"."""
    word, none = "grow" if move.grows else "shrink", 1.0 if move.log else 0.0
    may = f"{move.name} may {word}"
    if move.by is None and move.at_least == none:
        return f"whether {may} is not known: the map ends here"
    if move.by is None:
        return f"{may} at least {_far(move.at_least, move.log)}, to the end of the map"
    end = f"half of the seeds no longer {verb}" if move.several else f"at the next cell of the map it no longer {verb}s"
    if move.by == none:
        return f"{move.name} may not {word}: {end}"
    return f"{may} {_far(move.by, move.log)}{' before' if move.several else ';'} {end}"


def _far(distance: float, log: bool) -> str:
    """Return a distance with two digits, three where two would say that a factor is 1."""
    text = f"{float(f'{distance:.{3 if log and distance < 1.1 else 2}g}'):g}"
    return f"{text}-fold" if log else f"by {text}"


def best_cell(loss: np.ndarray, good: np.ndarray) -> tuple[int, int] | None:
    """Return row and column of the good cell with the lowest finite loss, the first of equal ones; None if there is none."""
    ranked = _losses(loss, good)
    return _cell(ranked) if np.isfinite(ranked).any() else None


def safest_cell(share_good: np.ndarray, loss: np.ndarray | None = None) -> tuple[tuple[int, int], float] | None:
    """Return the good cell that is farthest from any cell that is not good.

    Parameters
    ----------
    share_good : ndarray, shape (ny, nx)
        A cell is good if it is True or at least half of its seeds are. NaN is not known: neither good nor in the way.
    loss : ndarray, shape (ny, nx), optional
        Of equally far cells the one with the lowest finite loss is taken, then the first.

    Returns
    -------
    tuple or None
        Row and column; the distance in steps of the map, straight to the middle of the nearest cell that is not good, infinite
        if there is none. The map's borders do not count. None if no cell is good.
    """
    from scipy.ndimage import distance_transform_edt

    share = np.asarray(share_good, float)
    good, bad = share >= 0.5, share < 0.5
    if not good.any():
        return None
    distances = distance_transform_edt(~bad) if bad.any() else np.full(share.shape, np.inf)
    farthest = good & (distances == distances[good].max())
    cell = _cell(_losses(np.zeros(share.shape) if loss is None else loss, farthest), farthest)
    return cell, float(distances[cell])


def _losses(loss: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Return the finite losses of wanted cells, infinity elsewhere."""
    loss = np.asarray(loss, float)
    return np.where(np.asarray(wanted, bool) & np.isfinite(loss), loss, np.inf)


def _cell(ranked: np.ndarray, allowed: np.ndarray | None = None) -> tuple[int, int]:
    """Return row and column of the lowest value, the first of equal ones, among the allowed cells."""
    flat = np.arange(ranked.size) if allowed is None else np.flatnonzero(allowed)
    row, column = divmod(int(flat[np.argmin(ranked.ravel()[flat])]), ranked.shape[1])
    return row, column


def progressive_order(ny: int, nx: int, coarse: int = 16) -> tuple[np.ndarray, dict[int, int]]:
    """Return in which order to train the cells of a map, so that it is seen coarsely first.

    Parameters
    ----------
    ny, nx : int
        Rows and columns.
    coarse : int
        The first stride, a power of two.

    Returns
    -------
    order : ndarray of int, shape (ny * nx,)
        Every cell once, as row * nx + column; within a level from row to row.
    ends : dict
        For each stride, from coarse to 1, how many cells of the order make its lattice: these are exactly the ones in rows and
        columns 0, stride, 2 * stride, ... Of strides with the same lattice only the smallest is there.

    Raises
    ------
    ValueError
        If there is no cell, or coarse is not a power of two.
    """
    if ny < 1 or nx < 1 or coarse < 1 or coarse & (coarse - 1):
        raise ValueError(f"A map needs cells and a power of two as its first stride, not {ny} x {nx} and {coarse}.")
    strides = [coarse >> k for k in range(coarse.bit_length())]
    level = np.zeros((ny, nx), int)
    for k, stride in reversed(list(enumerate(strides))):
        level[::stride, ::stride] = k
    reached = np.cumsum(np.bincount(level.ravel(), minlength=len(strides))).tolist()
    smallest = {end: stride for stride, end in zip(strides, reached, strict=True)}
    return np.argsort(level, axis=None, kind="stable"), {stride: end for end, stride in smallest.items()}
