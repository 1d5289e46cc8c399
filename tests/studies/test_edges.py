"""Edges of maps: borders, dimensions of shapes whose dimension is known, distances, best and safest cells, orders."""

import itertools
import math
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from studies import edges
from studies.edges import Axis, best_cell, border, box_dimension, distance_to_edge, progressive_order, safest_cell, segments

SHORT = settings(deadline=None, max_examples=60)
MAPS = arrays.array_shapes(min_dims=2, max_dims=2, max_side=9)
BOOLS = arrays.arrays(bool, MAPS)
PAIRS = MAPS.flatmap(lambda shape: st.tuples(arrays.arrays(bool, shape), arrays.arrays(bool, shape)))


# Shapes of known dimension, drawn from the definition of each, turned and moved by chance


def plane(n):
    """Return x and y of the cells, from -1 to 1."""
    return np.meshgrid(*[(np.arange(n) + 0.5) / n * 2 - 1] * 2)


def turned(n, rng, zoom):
    """Return the cells as complex numbers, turned by any angle, zoomed and moved a little."""
    x, y = plane(n)
    turn = np.exp(2j * np.pi * rng.random()) * rng.uniform(0.9, 1.1) * zoom
    return (x + 1j * y) * turn + complex(*rng.uniform(-0.1, 0.1, 2))


def half_plane(n, rng, angle=None):
    x, y = plane(n)
    angle = rng.random() * 2 * np.pi if angle is None else angle
    return np.cos(angle) * x + np.sin(angle) * y < rng.uniform(-0.5, 0.5)


def disc(n, rng):
    return abs(turned(n, rng, 1)) < rng.uniform(0.35, 0.65)


def island(corners, pattern, n, rng):
    """Return the inside of a polygon whose sides were replaced by a pattern until they are shorter than a cell."""
    outline = np.append(corners, corners[0])
    while abs(np.diff(outline)).max() > 1 / n:
        outline = np.append((outline[:-1, None] + np.diff(outline)[:, None] * np.array(pattern)[:-1]).ravel(), outline[-1])
    outline = outline * np.exp(2j * np.pi * rng.random()) * rng.uniform(0.6, 0.8) + complex(*rng.uniform(-0.1, 0.1, 2))
    axis = plane(n)[0][0]
    flips = np.zeros((n, n + 1), int)
    for start, end in itertools.pairwise(outline):
        for row in range(*np.searchsorted(axis, sorted((start.imag, end.imag)))):
            x = start.real + (axis[row] - start.imag) / (end.imag - start.imag) * (end.real - start.real)
            flips[row, np.searchsorted(axis, x)] += 1
    return np.cumsum(flips, 1)[:, :n] % 2 == 1


def koch(n, rng):
    pattern = [0, 1 / 3, 0.5 - 1j * math.sqrt(3) / 6, 2 / 3, 1]
    return island(np.exp(2j * np.pi * np.arange(3) / 3), pattern, n, rng)


def minkowski(n, rng):
    """The quadratic Koch island of type 2: eight parts, each a quarter as long."""
    pattern = np.array([0, 1, 1 + 1j, 2 + 1j, 2, 2 - 1j, 3 - 1j, 3, 4]) / 4
    return island(np.exp(2j * np.pi * np.arange(4) / 4), pattern, n, rng)


def carpet(n, rng):
    """Cells that no level down to a cell's size cuts out."""
    middle = [np.floor((np.arange(n) + rng.random()) / n * 3**k) % 3 == 1 for k in range(1, int(math.log(n, 3)) + 1)]
    return ~np.any([third[:, None] & third for third in middle], 0)


def triangle(n, rng):
    """Points of a unit square whose coordinates have no common binary digit."""
    points = turned(n, rng, 1.1) / 1.6 + 0.5 + 0.5j
    x, y = (np.floor(part * 2 ** int(math.log2(n / 1.4))).astype(int) for part in (points.real, points.imag))
    return (x & y == 0) & (abs(points.real - 0.5) < 0.5) & (abs(points.imag - 0.5) < 0.5)


def julia(c, n, rng):
    z = turned(n, rng, 1.5)
    for _ in range(200):
        z = np.where(abs(z) < 4, z * z + c, 9)
    return abs(z) < 4


def basilica(n, rng):
    return julia(-1, n, rng)


def rabbit(n, rng):
    return julia(-0.122561 + 0.744862j, n, rng)


def noise(n, rng):
    return rng.random((n, n)) < 0.5


def surface(n, rng):
    """Below the median of a Gaussian surface of Hurst exponent 0.5: its level lines have the dimension 2 - 0.5."""
    step = np.fft.fftfreq(2 * n)
    power = np.hypot(step[:, None], step)
    power[0, 0] = np.inf
    heights = np.fft.ifft2(np.fft.fft2(rng.standard_normal((2 * n, 2 * n))) * power**-1.5).real[:n, :n]
    return heights < np.median(heights)


def graph(holder, n, rng):
    """Below Weierstrass' function of dimension 2 - holder."""
    x = (np.arange(n) + 0.5) / n
    waves = [(2.0**k, rng.random()) for k in range(1, int(math.log2(2 * n)) + 1)]
    height = sum(b**-holder * np.cos(2 * np.pi * (b * x + phase)) for b, phase in waves)
    return np.arange(n)[:, None] / n - 0.5 < height / abs(height).max() / 2.5


def rough(n, rng):
    return graph(0.5, n, rng)


def smoother(n, rng):
    return graph(0.7, n, rng)


KNOWN = {
    half_plane: 1,
    disc: 1,
    koch: math.log(4, 3),
    minkowski: 1.5,
    carpet: math.log(8, 3),
    triangle: math.log2(3),
    basilica: 1.26835,  # McMullen (1998), "Hausdorff dimension and conformal dynamics III"
    rabbit: 1.3934,  # the same
    noise: 2,
    surface: 1.5,
    smoother: 1.3,
}


def measured(shape, n, n_seeds):
    found = [box_dimension(shape(n, np.random.default_rng(seed))) for seed in range(n_seeds)]
    return np.array([(d.value, d.low, d.high) for d in found]).T


@pytest.mark.parametrize("shape", KNOWN, ids=lambda shape: shape.__name__)
@pytest.mark.parametrize(("n", "n_seeds"), [(128, 6), (256, 3), (512, 1)])
def test_the_dimension_of_a_known_shape_is_found_and_its_interval_holds_it(shape, n, n_seeds):
    value, low, high = measured(shape, n, n_seeds)
    by_chance = 0.2 if shape is surface else 0  # one Gaussian surface is not as rough as the next
    allowed = {128: 0.06, 256: 0.045, 512: 0.035}[n]
    assert abs(value.mean() - KNOWN[shape]) < allowed + by_chance / math.sqrt(n_seeds)
    assert ((low <= value) & (value <= high)).all()
    assert np.mean((low <= KNOWN[shape]) & (high >= KNOWN[shape])) >= (0.5 if by_chance else 1)


@pytest.mark.parametrize("angle", np.radians([0, 7, 22.5, 30, 45, 61, 90, 135]))
@pytest.mark.parametrize("n", [64, 100, 128])
def test_a_straight_line_has_the_dimension_one_at_every_angle(angle, n):
    found = [box_dimension(half_plane(n, np.random.default_rng(seed), angle)) for seed in range(3)]
    assert all(abs(d.value - 1) < 0.05 and d.low <= 1 <= d.high and d.high - d.low < 0.22 for d in found)


def test_intervals_of_95_percent_hold_the_dimension_of_most_random_surfaces():
    value, low, high = measured(surface, 128, 40)
    assert 0.85 <= np.mean((low <= 1.5) & (high >= 1.5)) < 1
    assert 0.2 < np.mean(high - low) < 0.5
    assert value.std() > 0.05


def test_graphs_of_rough_functions_are_read_too_low_as_is_said():
    value, _, high = measured(rough, 256, 10)
    assert 0.1 < 1.5 - value.mean() < 0.2
    assert np.mean(high < 1.5) > 0.5


def test_few_chance_cells_lower_the_dimension_many_raise_it_and_the_interval_grows():
    rng = np.random.default_rng(1)
    line, chance = half_plane(512, rng), rng.random((512, 512))
    clean, few, some = (box_dimension(line ^ (chance < share)) for share in (0, 0.001, 0.01))
    assert few.value < clean.value < some.value
    assert some.value == pytest.approx(1.8, abs=0.1)
    assert few.high - few.low > 10 * (clean.high - clean.low)


def test_a_box_counts_where_both_sides_are_in_it_counted_one_by_one():
    good = koch(64, np.random.default_rng(2))
    found = box_dimension(good)
    assert found.sizes.tolist() == [2, 4, 6, 8, 12, 16]
    assert (found.fit_from, found.fit_to) == (4, 8)
    for size, count in zip(found.sizes, found.counts, strict=True):
        mirrored = np.pad(good, size // 2, mode="reflect")
        boxes = (mirrored[i : i + size + 1, j : j + size + 1] for i in range(64) for j in range(64))
        both = sum(box.any() and not box.all() for box in boxes)
        assert count == pytest.approx(both / 64**2 * 63**2 / size**2)
    assert found.value == pytest.approx(-np.polyfit(np.log([4, 6, 8]), np.log(found.counts[1:4]), 1)[0])


def test_turning_mirroring_and_swapping_the_sides_changes_no_value():
    good = minkowski(96, np.random.default_rng(3))
    value = box_dimension(good).value
    for same in (~good, good.T, good[::-1], np.rot90(good)):
        assert box_dimension(same).value == pytest.approx(value, abs=1e-12)
    assert box_dimension(good) is not box_dimension(good)
    assert box_dimension(good).low == box_dimension(good).low
    assert box_dimension(good).low != box_dimension(good, seed=1).low


def test_maps_need_not_be_square():
    found = box_dimension(2 * np.arange(100)[:, None] < np.arange(300))
    assert found.sizes[-1] == 24
    assert found.low <= 1 <= found.high


def test_some_unknown_cells_lower_the_dimension_by_about_a_hundredth():
    rng = np.random.default_rng(4)
    good, known = koch(128, rng), rng.random((128, 128)) < 0.905
    whole, holed = box_dimension(good).value, box_dimension(good, known).value
    assert holed == pytest.approx(whole, abs=0.02)
    assert box_dimension(good | ~known, known).value == box_dimension(good & known, known).value == holed


@pytest.mark.parametrize(
    ("good", "known", "problem"),
    [
        (np.ones((100, 100)), None, "No edge"),
        (np.zeros((100, 100)), None, "No edge"),
        (np.eye(100), np.eye(100), "Only 1% of the cells are known"),
        (np.ones((63, 900)), None, "The map has 63 cells along its shorter side; a dimension needs at least 64."),
        (np.ones((1, 1)), None, "The map has 1 cells"),
        (np.zeros((0, 5)), None, "The map has 0 cells"),
        (np.pad([[1]], 50), None, "The edge is too short: 1.2 of the largest boxes"),
        (np.arange(100) < 50 + np.zeros((100, 1)), np.arange(100)[:, None] < 80 + np.zeros(100), "Only 80% of the cells"),
    ],
)
def test_a_map_that_does_not_tell_says_why(good, known, problem):
    found = box_dimension(good, known)
    assert (found.value, found.low, found.high) == (None, None, None)
    assert found.problem.startswith(problem)


def test_the_least_edge_that_is_told_crosses_most_of_the_map():
    good = np.zeros((128, 128), bool)
    good[:64, :110] = True
    assert box_dimension(good).value is not None
    good[:, 40:] = good[40:] = False
    assert "too short" in box_dimension(good).problem


# Borders and segments


@SHORT
@given(PAIRS)
def test_a_border_cell_has_a_known_neighbour_on_the_other_side(pair):
    good, known = pair
    ny, nx = good.shape
    for i, j in itertools.product(range(ny), range(nx)):
        beside = [(i + 1, j), (i - 1, j), (i, j + 1), (i, j - 1)]
        beside = [(a, b) for a, b in beside if 0 <= a < ny and 0 <= b < nx and known[a, b]]
        assert border(good, known)[i, j] == (known[i, j] and any(good[cell] != good[i, j] for cell in beside))


@SHORT
@given(PAIRS)
def test_segments_are_all_pieces_of_the_edge_once_and_as_long_as_they_can_be(pair):
    good, known = pair
    pieces = []
    for x0, y0, x1, y1 in segments(good, known):
        assert (x0 == x1) != (y0 == y1)
        assert x0 <= x1
        assert y0 <= y1
        steps = int(x1 - x0 + y1 - y0)
        ends = np.column_stack([np.linspace(x0, x1, steps + 1), np.linspace(y0, y1, steps + 1)])
        pieces += [(*a, *b) for a, b in itertools.pairwise(ends.tolist())]
    wanted = set()
    for i, j in np.ndindex(good.shape):
        for a, b in ((i + 1, j), (i, j + 1)):
            if a < good.shape[0] and b < good.shape[1] and known[i, j] and known[a, b] and good[i, j] != good[a, b]:
                wanted.add((j - 0.5, i + 0.5, j + 0.5, i + 0.5) if a > i else (j + 0.5, i - 0.5, j + 0.5, i + 0.5))
    assert len(pieces) == len(set(pieces))
    assert set(pieces) == wanted
    starts, ends = ({(x0 == x1, *end) for x0, x1, *end in found} for found in _ends(segments(good, known)))
    assert not starts & ends


def _ends(lines):
    """Return x of both ends and a whole end of every line: of all starts, of all ends."""
    return [(x0, x1, x0, y0) for x0, y0, x1, y1 in lines], [(x0, x1, x1, y1) for x0, y0, x1, y1 in lines]


def test_a_square_has_four_segments():
    good = np.zeros((5, 6), bool)
    good[1:3, 2:5] = True
    assert {tuple(line) for line in segments(good).tolist()} == {
        (1.5, 0.5, 4.5, 0.5),
        (1.5, 2.5, 4.5, 2.5),
        (1.5, 0.5, 1.5, 2.5),
        (4.5, 0.5, 4.5, 2.5),
    }
    assert segments(np.ones((4, 4), bool)).shape == (0, 4)


# Distances to the edge

RATES = Axis("learning_rate", np.array([0.1, 0.2, 0.4, 0.8, 1.6]), True)
DROPS = Axis("dropout", np.array([0.0, 0.1, 0.2]), False)


def test_between_cells_with_several_seeds_the_share_is_interpolated():
    share = np.array([[1, 1, 1, 1, 1], [0.5, 0.75, 1, 0.8, 0.2], [0.25, 0, 0.25, 0, 0]])
    right, left, up, down = distance_to_edge(share, (1, 2), RATES, DROPS)
    assert right.by == pytest.approx(2 * 2 ** (0.3 / 0.6))
    assert right.at_least == pytest.approx(2)
    assert (left.by, left.grows, left.name) == (None, False, "learning_rate")
    assert left.at_least == pytest.approx(4)
    assert up.by == pytest.approx(0.1 * 0.5 / 0.75)
    assert up.at_least == 0
    assert (down.by, down.at_least) == (None, pytest.approx(0.1))
    assert edges.sentence(right) == "learning_rate may grow 2.8-fold before half of the seeds no longer learn"
    assert edges.sentence(left) == "learning_rate may shrink at least 4-fold, to the end of the map"
    assert edges.sentence(up, "solve") == "dropout may grow by 0.067 before half of the seeds no longer solve"
    assert edges.sentence(down) == "dropout may shrink at least by 0.1, to the end of the map"


def test_with_one_seed_the_distance_is_the_last_good_cell():
    good = np.array([[0, 1, 1, 1, 0], [0, 0, 0, 0, 0], [1, 1, 1, 1, 1]], bool)
    for share in (good, good[..., None], good[..., None].astype(float)):
        right, left, up, down = distance_to_edge(share, (0, 2), RATES, DROPS)
        assert [move.by for move in (right, left)] == pytest.approx([2, 2])
        assert up.by == up.at_least == 0
        assert edges.sentence(right) == "learning_rate may grow 2-fold; at the next cell of the map it no longer learns"
        assert edges.sentence(up) == "dropout may not grow: at the next cell of the map it no longer learns"
        assert edges.sentence(down) == "whether dropout may shrink is not known: the map ends here"


def test_a_share_of_exactly_a_half_is_good_and_is_the_edge_where_it_falls():
    right, *_ = distance_to_edge(np.array([[0.5, 0.0]]), (0, 0), Axis("a", [1, 2], True), Axis("b", [1], True))
    assert right.by == 1
    assert edges.sentence(right) == "a may not grow: half of the seeds no longer learn"


def test_a_cell_that_is_not_good_has_no_distances_and_an_unknown_one_is_refused():
    share = np.array([[1.0, 0.4, np.nan]])
    axes = Axis("a", [1, 2, 3], True), Axis("b", [1], True)
    assert distance_to_edge(share, (0, 1), *axes) == []
    with pytest.raises(ValueError, match="row 0 and column 2 is not known"):
        distance_to_edge(share, (0, 2), *axes)


def test_unknown_cells_and_seeds_are_passed_over():
    seeds = np.full((1, 5, 3), np.nan)
    seeds[0, 0] = seeds[0, 2, :2] = 1
    seeds[0, 4] = [0, 0, np.nan]
    right, *_ = distance_to_edge(seeds, (0, 0), Axis("a", np.arange(5), False), Axis("b", [1], False))
    assert (right.by, right.at_least) == (3, 2)


@pytest.mark.parametrize(
    ("axis", "says"),
    [
        (Axis("a", [1, 2, 2], False), "must all rise or all fall"),
        (Axis("a", [1, 3, 2], False), "must all rise or all fall"),
        (Axis("a", [0, 1, 2], True), "a needs 3 finite values, positive ones on a log axis"),
        (Axis("a", [1, 2, np.nan], False), "a needs 3 finite values"),
        (Axis("a", [1, 2], False), "a needs 3 finite values"),
    ],
)
def test_an_axis_with_other_values_is_refused(axis, says):
    with pytest.raises(ValueError, match=says):
        distance_to_edge(np.ones((1, 3)), (0, 0), axis, Axis("b", [1], False))


@SHORT
@given(
    arrays.arrays(float, st.integers(1, 12), elements=st.sampled_from([0, 0.2, 0.4, 0.5, 0.6, 0.8, 1])),
    st.data(),
    st.booleans(),
    st.booleans(),
)
def test_the_share_interpolated_along_the_way_is_a_half_at_the_edge_and_not_less_before(share, data, log, falling):
    start = data.draw(st.integers(0, len(share) - 1))
    values = np.geomspace(0.01, 5, len(share)) if log else np.linspace(-3, 5, len(share))
    values = values[::-1] if falling else values
    moves = distance_to_edge(share[:, None], (start, 0), Axis("x", [1], False), Axis("y", values, log))
    assert (moves == []) == (share[start] < 0.5)
    rising = np.argsort(values)
    for move in moves[2:]:
        sign = 1 if move.grows else -1
        scale = np.log if log else np.asarray
        to_share = partial(np.interp, xp=scale(values[rising]), fp=share[rising])
        ahead = share[sign * (values - values[start]) >= 0]
        assert (move.by is None) == (ahead >= 0.5).all()
        far = scale(move.at_least if move.by is None else move.by)
        assert (to_share(scale(values[start]) + sign * np.linspace(0, far, 50)) >= 0.5 - 1e-9).all()
        if move.by is not None:
            assert to_share(scale(values[start]) + sign * far) == pytest.approx(0.5)
            assert move.at_least <= move.by
            assert to_share(scale(values[start]) + sign * (far + 1e-4)) < 0.5
        assert edges.sentence(move).startswith(("y may ", "whether y may "))


@pytest.mark.parametrize(
    ("by", "log", "text"),
    [(1.04, True, "1.04-fold"), (1.84, True, "1.8-fold"), (1234.0, True, "1200-fold"), (0.0333, False, "by 0.033")],
)
def test_distances_have_two_digits(by, log, text):
    assert text in edges.sentence(edges.Move("a", True, log, by, by, True))


# Best and safest cells


def test_the_best_cell_is_good_and_has_the_lowest_finite_loss():
    loss = np.array([[0.1, np.nan, 0.5], [-np.inf, 0.2, 0.2]])
    assert best_cell(loss, np.array([[0, 1, 1], [1, 1, 1]])) == (1, 1)
    assert best_cell(loss, np.ones((2, 3))) == (0, 0)
    assert best_cell(loss, np.zeros((2, 3))) is None
    assert best_cell(loss, np.array([[0, 1, 0], [1, 0, 0]])) is None


@SHORT
@given(arrays.arrays(float, MAPS, elements=st.sampled_from([0, 0.4, 0.5, 1, np.nan])), st.data())
def test_the_safest_cell_is_the_farthest_of_all_from_cells_that_are_not_good(share, data):
    loss = data.draw(arrays.arrays(float, share.shape, elements=st.sampled_from([1, 2, np.nan, np.inf])))
    good, bad = np.argwhere(share >= 0.5), np.argwhere(share < 0.5)
    found = safest_cell(share, loss)
    if not len(good):
        assert found is None
        return
    distances = [min((math.dist(cell, other) for other in bad), default=math.inf) for cell in good]
    cell, distance = found
    assert distance == pytest.approx(max(distances))
    ties = [tuple(map(int, c)) for c, d in zip(good, distances, strict=True) if d == max(distances)]
    assert cell == min(ties, key=lambda c: (loss[c] if math.isfinite(loss[c]) else math.inf, c))
    assert safest_cell(share)[0] == min(ties)


def test_borders_of_the_map_are_no_edges():
    good = np.ones((5, 9), bool)
    assert safest_cell(good) == ((0, 0), math.inf)
    good[2, 0] = False
    assert safest_cell(good) == ((0, 8), math.hypot(2, 8))


# Orders from coarse to fine


@SHORT
@given(st.integers(1, 70), st.integers(1, 70), st.integers(0, 6).map(lambda k: 2**k))
def test_after_every_level_the_trained_cells_are_a_lattice_and_no_cell_is_trained_twice(ny, nx, coarse):
    order, ends = progressive_order(ny, nx, coarse)
    assert sorted(order) == list(range(ny * nx))
    assert list(ends.values())[-1] == ny * nx
    assert list(ends)[-1] == 1
    assert max(ends) <= coarse
    assert list(ends) == sorted(ends, reverse=True)
    assert len(set(ends.values())) == len(ends)
    for stride, end in ends.items():
        lattice = [i * nx + j for i in range(0, ny, stride) for j in range(0, nx, stride)]
        assert sorted(order[:end]) == lattice
    starts = [0, *ends.values()]
    assert all((np.diff(order[a:b]) > 0).all() for a, b in itertools.pairwise(starts))


def test_orders_of_some_sizes():
    assert progressive_order(100, 100)[1] == {16: 49, 8: 169, 4: 625, 2: 2500, 1: 10000}
    assert progressive_order(5, 300)[1] == {16: 19, 8: 38, 4: 150, 2: 450, 1: 1500}
    order, ends = progressive_order(1, 7)
    assert order.tolist() == [0, 4, 2, 6, 1, 3, 5]
    assert ends == {8: 1, 4: 2, 2: 4, 1: 7}
    assert progressive_order(1, 1)[1] == {1: 1}


@pytest.mark.parametrize(("ny", "nx", "coarse"), [(0, 5, 16), (5, 0, 16), (5, 5, 12), (5, 5, 0), (5, 5, -4)])
def test_an_order_of_no_cells_or_of_another_stride_is_refused(ny, nx, coarse):
    with pytest.raises(ValueError, match="power of two"):
        progressive_order(ny, nx, coarse)
