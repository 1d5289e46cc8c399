"""What hands do on a map, in a real browser, on a page that holds nothing else."""

import contextlib
import json
import os
import subprocess
import sys
import urllib.request

import pytest
from conftest import ROOT, free_port, idle
from playwright.sync_api import expect

SCRIPT = """
import numpy as np
import streamlit as st
from dashboard.charts.maps import Facet, Mark, axis_of, outcome_legend
from dashboard.components.map_canvas import map_canvas

NAMES = ["solved", "learning", "overflow"]

live = "live" in st.query_params

def plane(n):
    colors = np.arange(n * n).reshape(n, n) // (n * n // 4) % 4
    loss = colors / 8 + live * st.session_state.step
    return Facet(colors, "tanh", {"final loss": loss}, [Mark(1, n - 1, "★", "best")], colors == 1)

def body():
    n = int(st.query_params.get("n", 8)) * (2 if st.checkbox("finer") else 1)
    st.session_state.step = st.session_state.get("step", 0) + 1
    rate = axis_of("learning rate", np.geomspace(0.001, 100, n), True)
    seen = map_canvas([plane(n), plane(n)], x=rate, y=axis_of("hidden", np.arange(1, n + 1)), legend=outcome_legend(NAMES),
        key="map", label="Outcomes", view=st.text_input("view"), height=240)
    log = st.session_state.setdefault("log", [])
    log += [{name: seen[name]} for name in ("click", "brush") if seen[name]]
    st.text(f"steps {st.session_state.step}")
    with st.container(key="log"):
        st.text(repr(log))

st.fragment(body, run_every=0.5 if live else None)()
"""


class Page:
    """A server of the script above."""

    def __init__(self, folder):
        (folder / "app.py").write_text(SCRIPT, "utf-8")
        self.port, self.path = free_port(), folder / "server.log"
        self.url = f"http://localhost:{self.port}"
        command = [sys.executable, "-m", "streamlit", "run", str(folder / "app.py"), "--server.port", str(self.port)]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        with self.path.open("ab") as log:
            self.process = subprocess.Popen(
                [*command, "--server.headless", "true"], cwd=ROOT, env=environment, stdout=log, stderr=log
            )

    def answers(self):
        with contextlib.suppress(OSError):
            return urllib.request.urlopen(f"{self.url}/_stcore/health", timeout=1).status == 200
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(0.1)
        return False


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    page = Page(tmp_path_factory.mktemp("canvas"))
    try:
        assert any(page.answers() for _ in range(300))
        yield page
    finally:
        page.process.kill()
        page.process.wait()
    assert "Traceback" not in page.path.read_text()


def canvas(page, facet=0):
    return page.locator(".st-key-map canvas.hands").nth(facet)


def place(page, x, y, facet=0, n=8):
    """Return where the middle of a cell lies on the page."""
    canvas(page, facet).scroll_into_view_if_needed()
    box, area = canvas(page, facet).bounding_box(), json.loads(canvas(page, facet).get_attribute("data-area"))
    across, down = (x + 0.5) / n * area["width"], (n - y - 0.5) / n * area["height"]
    return box["x"] + area["left"] + across, box["y"] + area["top"] + down


def expect_log(page, *events):
    """Wait until exactly these values were reported; all were seen on a map of 8 x 8 cells without a view."""
    told = [{name: {"facet": 0, **value, "nx": 8, "ny": 8, "view": ""}} for name, value in events]
    expect(page.locator(".st-key-log")).to_have_text(repr(told))


def pixel(page, x, y):
    """Return the colour in the middle of a cell of the first plane."""
    area = json.loads(canvas(page).get_attribute("data-area"))
    across, down = area["left"] + (x + 0.5) / 8 * area["width"], area["top"] + (7.5 - y) / 8 * area["height"]
    script = "(base, [x, y]) => [...base.getContext('2d').getImageData(x, y, 1, 1).data.slice(0, 3)]"
    return tuple(page.locator(".st-key-map canvas").first.evaluate(script, [int(across), int(down)]))


def test_a_click_opens_a_cell_and_opens_it_again(open_page):
    page = open_page()
    click = ("click", {"x": 5, "y": 6})
    page.mouse.click(*place(page, 5, 6))
    expect_log(page, click)
    page.mouse.click(*place(page, 5, 6))
    expect_log(page, click, click)
    page.mouse.click(*place(page, 0, 0, facet=1))
    expect_log(page, click, click, ("click", {"facet": 1, "x": 0, "y": 0}))


def test_dragging_reports_a_rectangle_of_cells_unless_escape_cancels_it(open_page):
    page = open_page()
    for key in (None, "Escape"):
        page.mouse.move(*place(page, 6, 5))
        page.mouse.down()
        page.mouse.move(*place(page, 2, 1), steps=4)
        page.mouse.move(*place(page, 2, 3), steps=4)
        if key:
            page.keyboard.press(key)
        page.mouse.up()
    brush = ("brush", {"x0": 2, "x1": 7, "y0": 3, "y1": 6})
    expect_log(page, brush)
    page.mouse.click(*place(page, 1, 1))
    expect_log(page, brush, ("click", {"x": 1, "y": 1}))


def test_everything_can_be_done_with_keys(open_page):
    page = open_page()
    expect(canvas(page, 1)).to_be_visible()
    page.get_by_role("textbox", name="view").focus()
    for _ in range(3):  # over the legend
        page.keyboard.press("Tab")
    expect(canvas(page)).not_to_be_focused()
    page.keyboard.press("Tab")
    expect(canvas(page)).to_be_focused()
    for key in ("ArrowRight", "ArrowDown", "Enter"):  # from the cell that is pointed out
        page.keyboard.press(key)
    told = "∞ overflow, learning rate 0.0268, hidden 7, final loss 0.375"
    expect(page.locator(".st-key-map [aria-live]")).to_have_text(told)
    click = ("click", {"x": 2, "y": 6})
    expect_log(page, click)
    for key in ("Shift+ArrowRight", "Shift+ArrowDown", "Shift+ArrowDown", "Enter"):
        page.keyboard.press(key)
    brush = ("brush", {"x0": 2, "x1": 4, "y0": 4, "y1": 7})
    expect_log(page, click, brush)
    expect(canvas(page)).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.locator(".st-key-log")).to_contain_text("{'brush': {'facet': 0, 'view': ''}}")


def test_a_cell_under_the_pointer_tells_what_it_holds_while_the_map_changes(open_page):
    page = open_page()
    tip = page.locator(".st-key-map .tip")
    expect(tip).to_be_hidden()
    page.mouse.move(*place(page, 1, 7))
    expect(tip).to_have_text("∞ overflow, ★ bestlearning rate0.00518hidden8final loss0.375")
    page.mouse.move(*place(page, 1, 1))
    expect(tip).to_have_text("not trained yetlearning rate0.00518hidden2")
    page.get_by_text("finer").click()
    idle(page)
    page.mouse.move(*place(page, 3, 15, n=16))
    expect(tip).to_contain_text("hidden16")
    page.mouse.move(1, 1)
    expect(tip).to_be_hidden()


def test_the_legend_fades_all_others_and_keeps_doing_so_when_the_data_changes(open_page):
    page = open_page()
    solved, overflow = (page.get_by_role("button", name=name) for name in ("solved", "overflow"))
    expect(solved).to_have_text("✓ solved32")
    before = {y: pixel(page, 6, y) for y in (1, 3, 7)}
    assert before[3] == (0, 158, 115)
    assert before[7] == (213, 94, 0)
    solved.click()
    assert pixel(page, 6, 3) == before[3]
    faded = pixel(page, 6, 7)
    assert min(faded) > 200
    page.get_by_text("finer").click()
    expect(solved).to_have_text("✓ solved128")
    expect(solved).to_have_attribute("aria-pressed", "true")
    assert pixel(page, 6, 7) == faded
    overflow.click()
    assert pixel(page, 6, 7) == before[7]
    page.get_by_role("button", name="show all").click()
    expect(solved).to_have_attribute("aria-pressed", "false")
    expect(solved).to_be_focused()


def test_a_live_map_keeps_its_canvas_its_hover_and_what_is_dragged(open_page):
    page = open_page("/?live=1")
    steps = page.get_by_text("steps ")
    first = canvas(page).element_handle()
    page.mouse.move(*place(page, 6, 5))
    page.mouse.down()
    page.mouse.move(*place(page, 2, 3), steps=4)
    start = int(steps.inner_text().split()[1])
    expect(page.get_by_text(f"steps {start + 3}")).to_be_visible()
    page.mouse.up()
    expect_log(page, ("brush", {"x0": 2, "x1": 7, "y0": 3, "y1": 6}))
    assert first.evaluate("element => element.isConnected")
    tip = page.locator(".st-key-map .tip")
    expect(tip).to_be_visible()
    expect(tip).not_to_have_text(tip.inner_text())  # the loss, which grows


def test_a_new_view_takes_the_rectangle_away(open_page):
    page = open_page()
    canvas(page).focus()
    for key in ("ArrowLeft", "ArrowLeft", "Shift+ArrowRight", "Enter"):
        page.keyboard.press(key)
    expect(page.locator(".st-key-log")).to_contain_text("brush")
    dimmed = "over => over.getContext('2d').getImageData(over.width / 2, over.height - 60, 1, 1).data[3]"
    assert canvas(page).evaluate(dimmed) > 0
    field = page.get_by_role("textbox", name="view")
    field.fill("closer")
    field.press("Enter")
    page.wait_for_function(f"over => ({dimmed})(over) === 0", arg=canvas(page).element_handle())


def test_on_a_phone_planes_stand_below_each_other_and_a_finger_opens_or_scrolls(browser, server):
    context = browser.new_context(viewport={"width": 390, "height": 500}, has_touch=True, is_mobile=True)
    page = context.new_page()
    page.goto(server.url)
    idle(page)
    one, other = (canvas(page, facet).bounding_box() for facet in (0, 1))
    assert other["y"] > one["y"] + one["height"]
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    page.touchscreen.tap(*place(page, 3, 2))
    expect_log(page, ("click", {"x": 3, "y": 2}))
    touch = context.new_cdp_session(page)
    x, y = place(page, 4, 2)
    scrolled = "document.querySelector('[data-testid=stMain]').scrollTop"
    before = page.evaluate(scrolled)
    touch.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [{"x": x, "y": y}]})
    for step in range(1, 9):
        touch.send("Input.dispatchTouchEvent", {"type": "touchMove", "touchPoints": [{"x": x, "y": y - 12 * step}]})
    touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    page.wait_for_function(f"{scrolled} > {before} + 30")
    expect_log(page, ("click", {"x": 3, "y": 2}))
    context.close()


def test_512_x_512_cells_are_drawn_quickly(open_page):
    page = open_page("/?live=1&n=512")
    page.evaluate("""() => {
        window.times = [];
        const own = DataView.prototype.getUint32;  // the first thing an update calls; a promise follows its last
        DataView.prototype.getUint32 = function (...parts) {
            const start = performance.now();
            Promise.resolve().then(() => window.times.push(performance.now() - start));
            return own.apply(this, parts);
        };
    }""")
    page.wait_for_function("window.times.length >= 6")
    times = sorted(page.evaluate("window.times"))
    assert times[len(times) // 2] < 200  # 35 ms for both planes where nothing else runs
