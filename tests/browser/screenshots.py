"""Takes the README's pictures from the running app: `make screenshots`."""

import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from playwright.sync_api import Page, expect, sync_playwright

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[2]))

from conftest import Server, idle
from find import OPTIONS, browser_path

from dashboard.report import study_report
from studies import Plan, Store, open_store
from studies.jobs import run_job
from studies.maps import TEMPLATES, Map
from studies.search import template

FOLDER = Path(__file__).parents[2] / "dashboard" / "screenshots"
PLANS = {
    "Which activations can add?": Plan.of("classic", activation=["sigmoid", "tanh", "relu"], seed=[1, 2, 3, 4, 5]),
    "": Plan.of("relu"),
    "Learning rates": Plan.of("classic", learning_rate=[0.01, 0.1, 1.0, 10.0], seed=range(1, 6)),
    "Remember 100 steps": Plan.of("long_memory", seed=1),
}

WINDOWS = (((24, 56), (166, 198)), ((0, 32), (20, 52)), ((0, 32), (48, 80)))
"""Cells across and up into which the pictures zoom, one after the other: the upper edge, bands within bands."""


def whole(page: Page, name: str) -> None:
    """Save the page from top to bottom."""
    expect(page.locator("[data-testid=stVegaLiteChart], .st-key-map_plane canvas").first).to_be_visible()
    for _ in range(2):  # charts may grow once there is room
        height = page.evaluate("document.querySelector('[data-testid=stMain]').scrollHeight")
        page.set_viewport_size({"width": page.viewport_size["width"], "height": height})
        page.wait_for_timeout(1500)
    page.screenshot(path=FOLDER / f"{name}.png")


def part(page: Page, first: str, last: str, name: str) -> None:
    """Save what stands between two texts of the page's left column."""
    height = page.evaluate("document.querySelector('[data-testid=stMain]').scrollHeight")
    page.set_viewport_size({"width": page.viewport_size["width"], "height": height})
    page.wait_for_timeout(2000)
    top, bottom = (page.get_by_text(text, exact=True).first.bounding_box() for text in (first, last))
    clip = {"x": top["x"] - 10, "y": top["y"] - 10, "width": 815, "height": bottom["y"] - top["y"]}
    page.screenshot(path=FOLDER / f"{name}.png", clip=clip)


def train_maps(store: Store) -> list[str]:
    """Train a large map of the classic exercise, and one map after the other into its edge; return their ids."""
    large = Map(**TEMPLATES["classic"] | {"size": 256, "fixed": {"n_iterations": 1000}})
    map_ids = [store.add_map(large)]
    run_job(store, store.map_record(map_ids[0]).job.id)
    for window in WINDOWS:
        parent = store.map_record(map_ids[-1])
        part = replace(parent.map.zoomed(f"{large.name} · zoom {len(map_ids)}", *window), size=128)
        map_ids.append(store.add_map(part, parent.id))
        run_job(store, store.map_record(map_ids[-1]).job.id)
    return map_ids


def plane(page: Page, name: str) -> None:
    """Save the plane alone."""
    page.locator(".st-key-map_plane").screenshot(path=FOLDER / f"{name}.png")


def main() -> None:
    """Fill a store, start the server, and take every picture."""
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        server = Server(Path(folder))
        store = open_store(server.store_url)
        jobs = {}
        for name, plan in PLANS.items():
            jobs[name] = store.add_job(plan, name)
            run_job(store, jobs[name])
        study = store.add_study(template("quick_look", sampler="tpe", n_trials=96))
        run_job(store, store.study(study).job.id)
        maps = train_maps(store)
        server.start()
        browser = playwright.chromium.launch(executable_path=browser_path(), args=OPTIONS)

        def open_page(path: str, width: int = 1280, height: int = 900, scheme: str = "light") -> Page:
            page = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme).new_page()
            page.goto(server.url + path)
            idle(page)
            return page

        several, single = list(jobs.values())[:2]
        whole(open_page(f"/?job={several}"), "experiment")
        whole(open_page(f"/?job={single}", scheme="dark"), "overflow_dark")
        whole(open_page(f"/?job={several}", width=390, height=844), "phone")
        page = open_page(f"/?job={jobs['Remember 100 steps']}")
        page.get_by_role("button", name="Diagnose").click()
        expect(page.get_by_text("The panels below show")).to_be_visible(timeout=300_000)
        idle(page)
        part(page, "Gradients through time", "The panels below show", "diagnosis")
        whole(open_page(f"/studies?study={study}"), "study")
        whole(open_page(f"/studies?study={study}&view=Pairs", scheme="dark"), "study_pairs")
        whole(open_page(f"/compare?with=job:{jobs['Learning rates']}"), "compare")
        file = Path(folder) / "report.html"
        file.write_text(study_report(store, study), "utf-8")
        page = browser.new_context(viewport={"width": 1000, "height": 1250}).new_page()
        page.goto(file.as_uri())
        expect(page.locator("#figure-1 svg")).to_be_visible()
        page.screenshot(path=FOLDER / "report.png")
        page = open_page("/runs")
        box = page.locator("[data-testid=stDataFrame] canvas").first.bounding_box()
        for row in (0, 5, 9):
            page.mouse.click(box["x"] + 15, box["y"] + 55 + 35 * row)
            idle(page)
        whole(page, "runs")
        page = open_page(f"/map?map={maps[0]}", height=1000)
        expect(page.get_by_text("of the plane learns")).to_be_visible()
        whole(page, "map")
        for number, map_id in enumerate(maps[1:], start=1):
            page = open_page(f"/map?map={map_id}", width=900, height=1000)
            expect(page.get_by_text("of the plane learns")).to_be_visible()
            plane(page, f"zoom_{number}")
        browser.close()
        server.kill()
    print(f"pictures in {FOLDER}")


if __name__ == "__main__":
    main()
