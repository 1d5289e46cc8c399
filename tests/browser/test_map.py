"""Maps, in a real browser against a real server."""

import io
import json
import re
from fractions import Fraction
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from conftest import idle
from PIL import Image
from playwright.sync_api import expect

from engine import OUTCOMES, train
from studies import open_store
from studies.jobs import launch, run_job
from studies.maps import Axis, Map, cell_of

STD = Axis("weight_init_std", 0.01, 30, log=True)
RATE = Axis("learning_rate", 0.01, 50, log=True)
WORDS = Axis("activation", values=("sigmoid", "tanh", "relu"))
WORDY = {"bits": 2, "n_iterations": 100}
HOSTILE_NAME = "=1+1 **bold** <img src=x> ![x](http://x.test/x.png) '\"; DROP TABLE lab_map; --\N{SNOWMAN}"
GOOD = [list(OUTCOMES).index(name) + 1 for name in ("solved", "learning")]
TRAINED = re.compile("of the plane learns")
STOPPED = "Not at its end. What is trained is kept."


@pytest.fixture
def store(server):
    return open_store(server.store_url)


def plane(name="small", **changes):
    usual = {"x": STD, "y": RATE, "size": 16, "fixed": {"bits": 2, "n_iterations": 100, "activation": "tanh"}}
    return Map(**{"name": name} | usual | changes)


def trained(store, made):
    """Train a map here; return its id."""
    map_id = store.add_map(made)
    assert run_job(store, store.map_record(map_id).job.id, 1) == "finished"
    return map_id


def canvas(page, facet=0):
    return page.locator(".st-key-map_plane canvas.hands").nth(facet)


def place(page, x, y, facet=0, nx=16, ny=16):
    """Return where the middle of a cell lies on the page."""
    canvas(page, facet).scroll_into_view_if_needed()
    box, area = canvas(page, facet).bounding_box(), json.loads(canvas(page, facet).get_attribute("data-area"))
    across, down = (x + 0.5) / nx * area["width"], (ny - y - 0.5) / ny * area["height"]
    return box["x"] + area["left"] + across, box["y"] + area["top"] + down


def click_cell(page, x, y, **where):
    page.mouse.click(*place(page, x, y, **where))
    expect(page.locator(".st-key-cell")).to_be_visible()
    idle(page)


def brush(page, start, end):
    page.mouse.move(*place(page, *start))
    page.mouse.down()
    page.mouse.move(*place(page, *end), steps=4)
    page.mouse.up()


def heading(page, name):
    return page.get_by_role("heading", name=name, exact=True)


def legend(page, name):
    return page.locator(f".st-key-map_plane .legend button[data-name='{name}']")


def pixels(page):
    """Return the colours in the middles of a plane's cells: (16, 16, 3), the lowest row first."""
    area = json.loads(canvas(page).get_attribute("data-area"))
    script = """(base, [left, top, width, height]) => [...Array(256).keys()].map((i) => {
        const at = [left + ((i % 16) + 0.5) / 16 * width, top + (15.5 - Math.floor(i / 16)) / 16 * height];
        return [...base.getContext('2d').getImageData(...at.map(Math.floor), 1, 1).data.slice(0, 3)];
    })"""
    base = page.locator(".st-key-map_plane canvas").first
    return np.array(base.evaluate(script, [area[name] for name in ("left", "top", "width", "height")])).reshape(16, 16, 3)


def download(page, name):
    with page.expect_download() as event:
        page.get_by_role("button", name=name).click()
    return Path(event.value.path()).read_bytes()


def test_a_map_is_made_in_the_form_trained_and_opened_from_the_list(store, open_page):
    page = open_page("/map")
    page.get_by_text("A map of your own").click()
    knobs = (
        ("spinbutton", "Cells along a side", "16", "Enter"),
        ("textbox", "Fixed settings", "n_iterations = 30", "Control+Enter"),
    )
    for role, label, text, key in knobs:
        field = page.get_by_role(role, name=label)
        field.fill(text)
        field.press(key)
        idle(page)
    page.get_by_role("button", name=re.compile("^Train 256 runs")).click()
    expect(heading(page, "Where the classic exercise learns")).to_be_visible()
    expect(page.get_by_text(TRAINED)).to_be_visible()
    (record,) = store.maps()
    assert (record.job.status, record.n_done, record.map.size, record.map.fixed) == ("finished", 256, 16, {"n_iterations": 30})
    page.get_by_role("button", name="All maps").click()
    expect(page.get_by_text("Select a row to open the map.")).to_be_visible()
    idle(page)
    box = page.locator(".st-key-maps_table canvas").first.bounding_box()
    page.mouse.click(box["x"] + 15, box["y"] + 70)
    expect(heading(page, "Where the classic exercise learns")).to_be_visible()
    assert f"map={record.id}" in page.url


def test_one_click_on_an_offer_shows_a_first_picture_long_before_the_end(store, open_page):
    page = open_page("/map")
    page.get_by_role("button", name="Where the classic exercise learns").click()
    expect(canvas(page)).to_be_visible()
    expect(page.locator(".st-key-map_plane .legend .note", has_text="not trained")).to_be_hidden()
    page.get_by_role("button", name="Stop", exact=True).click()
    expect(page.get_by_text(STOPPED)).to_be_visible()
    (record,) = store.maps()
    assert 256 <= record.n_done < 4096
    assert (store.cells(record.id)["outcome"][:, ::4, ::4] > 0).all()


def test_a_rectangle_is_trained_as_a_map_of_its_own_and_the_way_back_is_shown(store, open_page):
    parent = trained(store, plane())
    page = open_page(f"/map?map={parent}")
    brush(page, (4, 2), (11, 5))
    expect(heading(page, "small · zoom")).to_be_visible()
    expect(page.get_by_text(TRAINED)).to_be_visible()
    child = store.map_record("small · zoom")
    assert (child.parent_id, child.job.status, child.n_done) == (parent, "finished", 256)
    x, y = child.map.x, child.map.y
    assert (x.start, x.stop, y.start, y.stop) == (Fraction(4, 16), Fraction(12, 16), Fraction(2, 16), Fraction(6, 16))
    theirs, mine = store.cells(parent), store.cells(child.id)
    assert mine[:, ::4, ::2].tobytes() == theirs[:, 2:6, 4:12].tobytes()
    brush(page, (0, 0), (3, 3))
    expect(heading(page, "small · zoom 2")).to_be_visible()
    crumbs = page.locator(".st-key-breadcrumb").get_by_role("button")
    expect(crumbs).to_have_text(["small", re.compile(r"\bzoom$")])
    crumbs.first.click()
    expect(heading(page, "small")).to_be_visible()
    expect(crumbs).to_have_count(0)
    idle(page)
    brush(page, (11, 5), (4, 2))  # the same rectangle opens what is there
    expect(heading(page, "small · zoom")).to_be_visible()
    assert len(store.maps()) == 3


def test_a_click_shows_the_run_of_a_cell_which_the_address_brings_back(server, store, open_page):
    map_id = trained(store, plane())
    (result,) = train([store.map_record(map_id).map.config(16 * 11 + 7)])
    assert store.cells(map_id)[0, 11, 7, 0].tobytes() == np.array(cell_of(result), store.cells(map_id).dtype).tobytes()
    page = open_page(f"/map?map={map_id}")
    click_cell(page, 7, 11)
    assert "cell=0%2C11%2C7" in page.url

    def check(page):
        cell = page.locator(".st-key-cell")
        expect(cell.get_by_test_id("stVegaLiteChart")).to_be_visible()
        expect(cell).to_contain_text(f"{result.outcome}")
        expect(cell).to_contain_text(result.reason)
        cell.get_by_text("Numbers and worked examples").click()
        expect(cell).to_contain_text(f"{result.final_loss:.4g}")
        expect(cell).to_contain_text(result.fingerprint)
        expect(page.get_by_text("Trained again it has other bits")).to_have_count(0)

    check(page)
    page.reload()
    check(page)
    check(open_page(page.url.removeprefix(server.url)))
    page.locator(".st-key-close_cell").get_by_role("button", name="Close").first.click()
    expect(page.locator(".st-key-cell")).to_have_count(0)
    idle(page)
    assert "cell=" not in page.url


def test_a_map_that_is_stopped_keeps_its_cells_and_goes_on_to_its_end(server, store, open_page):
    page = open_page("/map")
    map_id = store.add_map(plane("large", size=32, fixed={"n_iterations": 1000}))
    launch(store, store.map_record(map_id).job.id)
    page.goto(f"{server.url}/map?map={map_id}")
    expect(canvas(page)).to_be_visible()
    page.get_by_role("button", name="Stop", exact=True).click()
    expect(page.get_by_text(STOPPED)).to_be_visible()
    before, done = store.cells(map_id), store.map_record(map_id).n_done
    assert 0 < done < 1024
    share = np.isin(before["outcome"][before["outcome"] > 0], GOOD).mean()
    expect(page.get_by_text(f"{share:.1%} of the {done} trained cells learns.")).to_be_visible()
    page.get_by_role("button", name="Resume").click()
    expect(page.get_by_role("button", name="Stop", exact=True)).to_be_visible()
    expect(page.get_by_text(TRAINED)).to_be_visible()
    after = store.cells(map_id)
    there = before["outcome"] > 0
    assert there.sum() == done
    assert after[there].tobytes() == before[there].tobytes()
    assert (after["outcome"] > 0).all()


def test_colours_mean_the_loss_on_a_ramp_or_outcomes_of_which_one_is_chosen(store, open_page):
    map_id = trained(store, plane())
    found, counts = np.unique(store.cells(map_id)["outcome"], return_counts=True)
    page = open_page(f"/map?map={map_id}")
    for at, count in zip(found, counts, strict=True):
        expect(legend(page, list(OUTCOMES)[at - 1])).to_contain_text(f"{count}")
    chosen = store.cells(map_id)["outcome"][0, ..., 0] == found[0]
    expect(canvas(page)).to_be_visible()
    before = pixels(page)
    legend(page, list(OUTCOMES)[found[0] - 1]).click()
    expect(legend(page, list(OUTCOMES)[found[0] - 1])).to_have_attribute("aria-pressed", "true")
    after = pixels(page)
    marked = (before == after).all(axis=-1)
    assert marked[chosen].mean() > 0.9  # marks and the edge may lie on a middle
    assert marked[~chosen].mean() < 0.1
    page.get_by_role("radio", name="final loss").or_(page.get_by_role("button", name="final loss")).first.click()
    expect(page.locator(".st-key-map_plane .bar")).to_contain_text("final loss")
    expect(page.locator(".st-key-map_plane .bar .ticks")).to_contain_text(re.compile("≤.*≥"))
    idle(page)
    assert "map_colour=" in page.url
    page.reload()
    expect(page.locator(".st-key-map_plane .bar")).to_contain_text("final loss")


def test_tables_and_pictures_of_a_map_are_read_back(store, open_page):
    map_id = trained(store, plane(HOSTILE_NAME, x=WORDS, n_seeds=2, size=8, fixed=WORDY))
    record, cells = store.map_record(map_id), store.cells(map_id).reshape(-1)
    page = open_page(f"/map?map={map_id}", height=1400)
    expect(heading(page, HOSTILE_NAME)).to_be_visible()
    assert page.locator("img[src*='x.test']").count() == 0
    page.get_by_role("button", name="Export").click()
    table = pd.DataFrame(json.loads(download(page, re.compile(r"JSON \(48\)")))["rows"])
    configs = [record.map.config(number) for number in range(48)]
    for name in ("activation", "learning_rate", "seed"):
        assert table[name].tolist() == [getattr(config, name) for config in configs]
    for name in ("final_loss", "best_loss", "iterations"):
        assert np.array_equal(table[name].to_numpy(float), cells[name].astype(float), equal_nan=True)
    assert table["outcome"].tolist() == [list(OUTCOMES)[at - 1] for at in cells["outcome"]]
    assert table["fingerprint"].tolist() == [text.decode() for text in cells["fingerprint"]]
    lines = download(page, re.compile(r"CSV \(48\)")).decode("utf-8-sig").split("\r\n")
    lines = [line for line in lines if not line.startswith("# ")]
    column = lines[0].split(",").index("final_loss")
    assert [float(line.split(",")[column]) for line in lines[1:-1]] == cells["final_loss"].tolist()
    svg = ElementTree.fromstring(download(page, "Picture as SVG"))
    assert svg.tag == "{http://www.w3.org/2000/svg}svg"
    assert HOSTILE_NAME in "".join(svg.itertext()).replace("\n", " ")
    with Image.open(io.BytesIO(download(page, "Picture as PNG"))) as image:
        assert (image.format, image.width > 400, image.height > 300) == ("PNG", True, True)
        assert len(set(image.convert("RGB").get_flattened_data())) > 10
    page.keyboard.press("Escape")
    page.get_by_role("button", name="More").click()
    assert Map.from_json(download(page, "Map as JSON").decode()) == record.map


def test_a_finer_map_begins_with_the_cells_that_are_there(store, open_page):
    map_id = trained(store, plane())
    page = open_page(f"/map?map={map_id}")
    page.get_by_role("button", name="Refine to 32").click()
    expect(heading(page, "small · 32 cells")).to_be_visible()
    finer = store.map_record("small · 32 cells")
    assert (finer.parent_id, finer.map.size) == (map_id, 32)
    assert finer.n_done >= 256
    assert store.cells(finer.id)[:, ::2, ::2].tobytes() == store.cells(map_id).tobytes()
    expect(page.get_by_text(TRAINED)).to_be_visible()
    assert store.map_record(finer.id).n_done == 1024


def test_a_map_is_renamed_and_deleted_and_its_old_address_says_so(server, store, open_page):
    map_id, other = trained(store, plane(size=4)), trained(store, plane("other", size=4))
    page = open_page(f"/map?map={map_id}")
    page.get_by_role("button", name="More").click()
    for name, answer in (("other", page.get_by_text("which another map has")), ("new *b*", heading(page, "new *b*"))):
        page.get_by_role("textbox", name="Name").fill(name)
        page.get_by_role("button", name="Save name").click()
        expect(answer).to_be_visible()
    assert store.map_record(map_id).name == "new *b*"
    page.get_by_role("button", name="Delete …").click()
    page.get_by_role("button", name="Keep it").click()
    expect(page.get_by_role("dialog")).to_have_count(0)
    assert len(store.maps()) == 2
    page.get_by_role("button", name="More").click()
    page.get_by_role("button", name="Delete …").click()
    page.get_by_role("button", name="Delete it").click()
    expect(heading(page, "Map of trainability")).to_be_visible()
    assert [record.id for record in store.maps()] == [other]
    page.goto(f"{server.url}/map?map={map_id}")
    expect(page.get_by_text("The map in this address does not exist any more")).to_be_visible()


def test_there_is_a_plane_for_each_activation_of_which_keys_open_a_cell(store, open_page):
    map_id = trained(store, plane(facet="activation", facet_values=("sigmoid", "tanh", "relu"), fixed=WORDY))
    page = open_page(f"/map?map={map_id}")
    expect(page.locator(".st-key-map_plane figcaption")).to_have_text(["sigmoid", "tanh", "relu"])
    expect(page.get_by_text(TRAINED)).to_have_count(3)
    canvas(page, 2).focus()
    for key in ("ArrowUp", "Home", "ArrowRight", "ArrowRight", *["Control+ArrowDown"] * 2, "ArrowUp", "Enter"):
        page.keyboard.press(key)
    values = page.locator(".st-key-cell p").first
    # 0.01 * 3000^(2/16) and 0.01 * 5000^(1/16)
    expect(values).to_have_text(re.compile(r"^weight_init_std 0\.0272 · learning rate 0\.0170?3? · relu$"))
    idle(page)
    assert "cell=2%2C1%2C2" in page.url
    expect(canvas(page, 2)).to_be_focused()


@pytest.mark.parametrize(("scheme", "paper"), [("light", "rgb(255, 255, 255)"), ("dark", "rgb(15, 20, 27)")])
def test_on_a_phone_nothing_is_wider_than_the_screen(store, open_page, scheme, paper):
    map_id = trained(store, plane("x" * 60, x=WORDS, size=8, facet="bias", facet_values=(True, False), fixed=WORDY))
    page = open_page(f"/map?map={map_id}&cell=0,3,1", width=390, height=844, scheme=scheme)
    troubles = []

    def watch(message) -> None:
        if message.type == "error" and "/_stcore/" not in message.location["url"]:  # Streamlit asks below the page's path too
            troubles.append(message.text)

    page.on("console", watch)
    page.reload()
    idle(page)
    expect(page.locator(".st-key-cell").get_by_test_id("stVegaLiteChart")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.evaluate("getComputedStyle(document.querySelector('[data-testid=stApp]')).backgroundColor") == paper
    page.get_by_role("button", name="All maps").click()
    expect(heading(page, "Map of trainability")).to_be_visible()
    page.get_by_text("A map of your own").click()
    expect(page.get_by_role("button", name=re.compile("^Train 4,096 runs"))).to_be_visible()
    idle(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert not troubles
