"""Maps of many runs: colours, labels, and pictures of them."""

import base64
import io
import math
import re
import tomllib
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image

from dashboard.charts.map_image import DARK, LIGHT, SYMBOLS, apart, edge_path, map_png, map_svg, text_width
from dashboard.charts.maps import (
    LOST,
    NOT_FINITE,
    STEPS,
    Axis,
    Entry,
    Facet,
    Mark,
    Ramp,
    axis_of,
    axis_ticks,
    outcome_legend,
    palette,
    quantize,
)
from dashboard.charts.outcomes import LOOKS

NUMBERS = st.floats(-1e300, 1e300)
POSITIVE = st.floats(1e-300, 1e300)
steady = settings(max_examples=100, deadline=None, derandomize=True)  # a red test always means changed code


def luminance(color):
    parts = np.array(list(bytes.fromhex(color[1:]))) / 255
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


@pytest.mark.parametrize(("name", "low", "middle", "high"), [
    ("cividis", "#00224e", (125, 124, 120), "#fee838"), ("viridis", "#440154", (32, 144, 141), "#fde725"),
])  # fmt: skip
def test_a_palette_is_the_published_one_and_grows_lighter_step_by_step(name, low, middle, high):
    colors = palette(name)
    assert (len(colors), colors[0], colors[-1]) == (STEPS, low, high)
    assert np.allclose(list(bytes.fromhex(colors[STEPS // 2][1:])), middle, atol=4)
    light = [luminance(color) for color in colors]
    assert len(set(colors)) > 250  # of eight bits a channel
    assert all(later > earlier - 1e-3 for earlier, later in pairwise(light))
    assert LOOKS["overflow"].color not in colors


@steady
@given(arrays(float, array_shapes(max_dims=2, max_side=6), elements=st.floats()), POSITIVE, POSITIVE, st.booleans())
def test_every_value_gets_a_step_and_only_what_is_not_finite_the_last_index(values, low, high, log):
    low, high = sorted((low, high))
    steps = quantize(values, low, high, log)
    assert (steps.dtype, steps.shape) == (np.uint8, values.shape)
    assert np.array_equal(steps == NOT_FINITE, ~np.isfinite(values))
    assert steps.min() >= 1
    finite = np.isfinite(values)
    order = np.argsort(values[finite])
    assert (np.diff(steps[finite][order].astype(int)) >= 0).all()
    if low < high:
        assert (steps[finite & (values <= low)] == 1).all()
        assert (steps[finite & (values >= high)] == STEPS).all()


def test_steps_are_even_on_either_scale():
    assert quantize([0, 1, 2, math.nan, math.inf, -math.inf], 0, 2).tolist() == [1, 127, 254, 255, 255, 255]
    assert quantize([-1, 0, 0.01, 0.1, 1, 9], 0.01, 1, log=True).tolist() == [1, 1, 1, 127, 254, 254]
    assert quantize([-1e308, 0, 1e308], -1e308, 1e308).tolist() == [1, 127, 254]
    assert quantize([1, 2, 3], 2, 2).tolist() == [127, 127, 127]


@steady
@given(NUMBERS, NUMBERS, st.integers(2, 9))
def test_labels_of_a_linear_axis_lie_on_it_in_order_and_are_few(one, other, n):
    low, high = sorted((one, other))
    check(axis_ticks(low, high, n=n), low, high, n, lambda value: (value / 2 - low / 2) / (high / 2 - low / 2))


@steady
@given(POSITIVE, POSITIVE, st.integers(2, 9))
def test_labels_of_a_logarithmic_axis_lie_on_it_in_order_and_are_few(one, other, n):
    low, high = sorted((one, other))
    start, end = math.log(low), math.log(high)
    check(axis_ticks(low, high, True, n), low, high, n, lambda value: (math.log(value) - start) / (end - start))


def check(ticks, low, high, n, place):
    assert len(ticks) <= n
    assert bool(ticks) or high / 2 - low / 2 <= max(abs(low), abs(high), 1e-290) * 1e-9 or n < 3
    places, texts = [tick[0] for tick in ticks], [tick[1] for tick in ticks]
    assert places == sorted(set(places))
    assert len(set(texts)) == len(texts)
    assert all(0 <= tick <= 1 for tick in places)
    if high - low > 1e-6 * max(abs(low), abs(high)):
        assert all(abs(place(float(text)) - tick) < 1e-3 for tick, text in ticks)


@pytest.mark.parametrize(("low", "high", "log", "texts"), [
    (0, 1, False, "0 0.2 0.4 0.6 0.8 1"),
    (-3, 3, False, "-3 -2 -1 0 1 2 3"),
    (0.0312, 0.0318, False, "0.0312 0.0313 0.0314 0.0315 0.0316 0.0317 0.0318"),
    (0.01, 1, True, "0.01 0.02 0.05 0.1 0.2 0.5 1"),
    (0.001, 10, True, "0.001 0.01 0.1 1 10"),
    (1e-9, 1e9, True, "1e-9 1e-6 0.001 1 1000 1e6 1e9"),
    (2.1, 3.9, True, "2.5 3 3.5"),
    (1, 1, True, ""),
])  # fmt: skip
def test_labels_are_round_and_short(low, high, log, texts):
    assert " ".join(text for _, text in axis_ticks(low, high, log)) == texts


def test_the_axis_of_numbers_has_its_cells_in_the_middle_of_their_values():
    axis = axis_of("rate", np.geomspace(0.01, 100, 5), log=True)
    assert axis.words == ["0.01", "0.1", "1", "10", "100"]
    assert [(round(place, 6), text) for place, text in axis.ticks] == [
        (round(0.1 + 0.2 * i, 6), axis.words[i]) for i in range(5)
    ]
    assert axis_of("hidden", [4, 8, 12]).words == ["4", "8", "12"]
    assert [round(place, 6) for place, text in axis_of("hidden", [4, 8, 12]).ticks if text == "8"] == [0.5]


@pytest.mark.parametrize("values", [[0.0], [5], [0.3]])
def test_a_single_value_has_an_axis(values):
    assert axis_of("one", values).words == [f"{values[0]:g}"]
    assert axis_of("one", values).ticks


def test_words_of_neighbours_differ_however_far_one_zooms():
    for log in (False, True):
        words = axis_of("rate", np.linspace(0.1, 0.1 + 1e-7, 64), log).words
        assert len(set(words)) == 64


def test_the_axis_of_anything_else_has_one_label_for_each_cell():
    axis = axis_of("activation", ["tanh", None, True, 0.5])
    assert axis == Axis("activation", [(0.125, "tanh"), (0.375, "None"), (0.625, "True"), (0.875, "0.5")], axis.words)


NAMES = ["solved", "learning", "overflow"]
HOSTILE = "<&\"'>]]>"
SVG, LINK = "{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/xlink}href"


def picture(facets, legend=None, **options):
    """Return an SVG of planes whose axes are plain numbers."""
    ny, nx = np.shape(facets[0].colors)
    x, y = axis_of("learning rate", np.arange(1, nx + 1)), axis_of("hidden", np.arange(1, ny + 1))
    return map_svg(facets, x, y, legend or outcome_legend(NAMES), **options)


def cells(ny, nx, seed=0):
    """Return cells of three outcomes, some not trained."""
    return np.random.default_rng(seed).integers(0, 4, (ny, nx)).astype(np.uint8)


def planes(svg):
    """Return the left upper corner and the image element of every plane."""
    groups = [group for group in ElementTree.fromstring(svg).iter(f"{SVG}g") if group.find(f"{SVG}image") is not None]
    places = [tuple(map(float, re.findall(r"[\d.]+", group.get("transform")))) for group in groups]
    return list(zip(places, [group.find(f"{SVG}image") for group in groups], strict=True))


def decoded(image):
    """Return the pixels of an image element, shape (height, width, 4), the first row the lowest."""
    kind, data = image.get(LINK).split(",")
    assert kind == "data:image/png;base64"
    return np.array(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGBA"))[::-1]


def rendered(svg, scale=2):
    return np.array(Image.open(io.BytesIO(map_png(svg, scale))).convert("RGB"))


def shown(svg):
    """Return the pixels of the first plane in the PNG, shape (height, width, 3), the first row the lowest."""
    (left, top), image = planes(svg)[0]
    width, height = (float(image.get(name)) for name in ("width", "height"))
    top, bottom, left, right = (round(2 * edge) for edge in (top, top + height, left, left + width))
    return rendered(svg)[top:bottom, left:right][::-1]


def texts(svg):
    return ["".join(text.itertext()) for text in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def rgb(color):
    return tuple(bytes.fromhex(color[1:]))


@pytest.mark.parametrize(("ny", "nx"), [(1, 1), (3, 5), (16, 7), (2, 300), (512, 1)])
def test_every_cell_is_a_block_of_its_colour_in_the_embedded_raster(ny, nx):
    colors = cells(ny, nx)
    image = planes(picture([Facet(colors)]))[0][1]
    pixels = decoded(image)
    height, width = pixels.shape[0] // ny, pixels.shape[1] // nx
    assert pixels.shape == (height * ny, width * nx, 4)
    assert pixels.shape[:2] == (2 * float(image.get("height")), 2 * float(image.get("width")))
    for y in range(ny):
        for x in range(nx):
            block = pixels[y * height : (y + 1) * height, x * width : (x + 1) * width].reshape(-1, 4)
            if colors[y, x]:
                assert (block == (*rgb(LOOKS[NAMES[colors[y, x] - 1]].color), 255)).all()
            else:
                assert (block[:, 3] == 0).all()


def test_a_metric_s_raster_has_the_colours_of_its_ramp():
    colors = np.arange(256, dtype=np.uint8).reshape(16, 16)
    pixels = decoded(planes(picture([Facet(colors)], Ramp("loss", 0.01, 1, True, "viridis")))[0][1])
    middles = pixels[np.arange(16) * len(pixels) // 16][:, np.arange(16) * len(pixels) // 16].reshape(256, 4)
    assert [tuple(color) for color in middles[1:]] == [(*rgb(color), 255) for color in [*palette("viridis"), LOST.color]]
    assert middles[0, 3] == 0


@pytest.mark.parametrize(("dark", "theme"), [(False, LIGHT), (True, DARK)])
@pytest.mark.parametrize("n", [6, 256])
def test_cells_are_sharp_to_the_pixel_in_the_png(n, dark, theme):
    colors = cells(n, n)
    svg = picture([Facet(colors)], dark=dark)
    pixels = shown(svg)
    size = len(pixels) // n
    wanted = np.repeat(np.repeat(colors, size, axis=0), size, axis=1)
    for index, name in enumerate(NAMES, 1):
        assert (pixels[wanted == index] == rgb(LOOKS[name].color)).all()
    hatch, ends = pixels[wanted == 0], np.array([rgb(theme.paper), rgb(theme.line)])
    assert ((hatch >= ends.min(axis=0)) & (hatch <= ends.max(axis=0))).all()
    assert 0.1 < (hatch != ends[0]).any(axis=1).mean() < 0.9
    root = ElementTree.fromstring(svg)
    width, height = int(root.get("width")), int(root.get("height"))
    assert rendered(svg, 1).shape == (height, width, 3)
    assert rendered(svg).shape == (2 * height, 2 * width, 3)
    assert tuple(rendered(svg)[0, 0]) == rgb(theme.paper)


@pytest.mark.parametrize(("name", "theme"), [("light", LIGHT), ("dark", DARK)])
def test_pictures_have_the_colours_of_the_page(name, theme):
    page = tomllib.loads((Path(__file__).parents[2] / ".streamlit" / "config.toml").read_text())["theme"][name]
    assert theme == (page["backgroundColor"], page["textColor"], page["grayTextColor"], page["borderColor"])


@steady
@given(arrays(np.uint8, array_shapes(min_dims=2, max_dims=2, max_side=6), elements=st.integers(0, 3)))
def test_the_edge_lies_between_trained_cells_that_differ_and_nowhere_else(bits):
    region, trained, ny, nx = bits % 2 == 1, bits >= 1, *bits.shape
    wanted = set()
    for y in range(ny):
        for x in range(nx):
            for dx, dy, line in ((1, 0, (x + 1, y, x + 1, y + 1)), (0, 1, (x, y + 1, x + 1, y + 1))):
                other = y + dy, x + dx
                if other[0] < ny and other[1] < nx and trained[y, x] and trained[other] and region[y, x] != region[other]:
                    wanted.add((line[0], ny - line[3], line[2], ny - line[1]))
    found, ends = [], []
    for x0, y0, way, end in re.findall(r"M(\d+) (\d+)([HV])(\d+)", edge_path(region, trained)):
        x0, y0, end = int(x0), int(y0), int(end)
        steps = range(x0 if way == "H" else y0, end)
        found += [(step, y0, step + 1, y0) if way == "H" else (x0, step, x0, step + 1) for step in steps]
        ends += [(way, x0, y0), (way, end, y0) if way == "H" else (way, x0, end)]
    assert sorted(found) == sorted(wanted)
    assert len(set(ends)) == len(ends)  # no line begins where one of its direction ends


def test_the_edge_is_drawn_over_the_cells_in_dark_on_light():
    region = np.zeros((4, 4), dtype=bool)
    region[:, 2:] = True
    pixels = shown(picture([Facet(np.ones((4, 4), dtype=np.uint8), region=region)]))
    changed = np.argwhere((pixels != rgb(LOOKS["solved"].color)).any(axis=2))
    middle = pixels.shape[1] / 2
    assert (abs(changed[:, 1] + 0.5 - middle) < 3).all()
    assert set(changed[:, 0]) == set(range(len(pixels)))
    assert tuple(pixels[100, int(middle)]) == rgb(LIGHT.text)
    assert pixels[100, int(middle) + 2].min() > 150


@pytest.mark.parametrize("symbol", ["★", "◆", "✕", "•", ""])
def test_a_mark_stands_on_its_cell(symbol):
    colors = np.ones((8, 8), dtype=np.uint8)
    marked = shown(picture([Facet(colors, marks=[Mark(2, 6, symbol, "best")])]))
    changed = np.argwhere((marked != rgb(LOOKS["solved"].color)).any(axis=2)) + 0.5
    size = len(marked) / 8
    middle = np.array([6.5 * size, 2.5 * size])
    assert np.allclose((changed.min(axis=0) + changed.max(axis=0)) / 2, middle, atol=4)
    assert 8 < (changed.max(axis=0) - changed.min(axis=0)).min() < 1.2 * size


def test_every_symbol_is_drawn_even_where_only_the_font_of_the_exporter_is_installed():
    for symbol in [*(look.symbol for look in LOOKS.values()), "★", "◆"]:
        assert symbol in SYMBOLS or symbol.encode("mac_roman")  # Liberation Sans has every letter of that set


def hostile(text):
    facets = [Facet(cells(2, 2), text, {}, [Mark(0, 0, "", text), Mark(1, 1, text, "b")]), Facet(cells(2, 2))]
    axes = axis_of(f"x{text}", [text, "b"]), axis_of(f"y{text}", [text, "c"])
    return map_svg(facets, *axes, [entry._replace(name=text + entry.name) for entry in outcome_legend(NAMES)], text, text)


def test_texts_stay_texts():
    found, harmless = texts(hostile(HOSTILE)), texts(hostile("plain"))
    assert found == [text.replace("plain", HOSTILE) for text in harmless]
    assert (
        found.count(HOSTILE) == 10
    )  # title, caption, facet's title, a mark's symbol twice, the other's label, labels of both planes
    tags = [[element.tag for element in ElementTree.fromstring(hostile(text)).iter()] for text in (HOSTILE, "plain")]
    assert tags[0] == tags[1]
    assert len(map_png(hostile(HOSTILE))) > 1000


def test_control_characters_do_not_break_the_file():
    assert "a\ufffdb\ufffd" in texts(hostile("a\x00b\ud800"))


def test_the_legend_counts_the_cells_of_all_planes():
    one, other = cells(5, 5, 1), cells(5, 5, 2)
    found = texts(picture([Facet(one), Facet(other)]))
    for index, name in enumerate(["not trained", *NAMES]):
        assert found[found.index(name) + 1] == str((one == index).sum() + (other == index).sum())
    assert "not trained" not in texts(picture([Facet(np.ones((60, 60), dtype=np.uint8))]))
    assert "3,600" in texts(picture([Facet(np.ones((60, 60), dtype=np.uint8))]))


def test_a_ramp_has_its_limits_and_names_what_is_not_finite_only_if_there_is_any():
    colors = np.full((3, 3), 7, dtype=np.uint8)
    found = texts(picture([Facet(colors)], Ramp("final loss", 0.02, 5, True)))
    assert {"final loss", "≤ 0.02", "≥ 5"} < set(found)
    assert "not finite" not in found
    colors[1, 1] = NOT_FINITE
    for lost in (LOST, Entry("never", "#112233")):
        svg = picture([Facet(colors)], Ramp("final loss", 0.02, 5, True, lost=lost))
        assert texts(svg)[texts(svg).index(lost.name) + 1] == "1"
        assert tuple(shown(svg)[len(shown(svg)) // 2, len(shown(svg)) // 2]) == rgb(lost.color)


def test_planes_stand_in_rows_of_three():
    places = [place for place, _ in planes(picture([Facet(cells(4, 4), str(i)) for i in range(5)]))]
    lefts, tops = sorted({x for x, _ in places}), sorted({y for _, y in places})
    assert places == [(lefts[i % 3], tops[i // 3]) for i in range(5)]


@steady
@given(st.lists(st.tuples(st.floats(0, 1), st.text("ab1W", max_size=8)), max_size=9).map(sorted), st.integers(20, 300))
def test_labels_that_are_left_do_not_touch_and_no_more_are_left_out_than_must(ticks, length):
    def free(kept):
        boxes = [(place * length - 3 * len(text), place * length + 3 * len(text)) for place, text in kept]
        return all(right <= left + 1e-9 for (_, right), (left, _) in pairwise(boxes))

    kept = apart(ticks, length, lambda text: 6 * len(text))
    assert free(kept)
    fewer = [ticks[::every] for every in range(1, len(ticks) + 1)]
    assert kept == next((some for some in fewer if free(some)), ticks)


@pytest.mark.parametrize("text", ["0.001 1e-6 -3.25", "leaky_relu", "WIDTH MIX", "(16, 16)", "The quick brown fox jumps over"])
def test_a_text_needs_a_little_less_room_than_was_thought(text):
    svg = f'<svg xmlns="http://www.w3.org/2000/svg" width="400" height="30"><text x="9" y="20" {{}}>{text}</text></svg>'
    pixels = rendered(svg.format('font-family="Liberation Sans" font-size="12" fill="red"'), 4)
    there = np.flatnonzero((pixels != pixels[0, 0]).any(axis=(0, 2)))
    assert 0.65 * text_width(text) < (there[-1] - there[0]) / 4 < text_width(text)


def test_planes_of_different_shapes_are_no_picture():
    with pytest.raises(ValueError, match="one shape"):
        picture([Facet(cells(2, 3)), Facet(cells(3, 2))])
