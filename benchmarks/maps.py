"""How soon a map of trainability is there, in a real browser, from the click that starts it; beside a plain loop.

A new dashboard on an empty store is visited; a map of the classic exercise (16 sigmoid units, 200 iterations, the usual ranges
of weight_init_std and learning_rate) is asked for in the page's form, and the clock starts with the click on its button:

- first picture: the canvas shows trained cells (at once all of a map of 16 x 16);
- whole: every cell is trained and drawn;
- open a cell: from a click on a cell of the finished map until the chart of its run's loss is drawn;
- stop: from a click on Stop in the midst of training until the page says that the map is not at its end;
- memory: the most that server, job and workers have held at a time, shared pages counted in each of them.

The server has been up for some seconds by then, as when somebody has filled in a form: a process for the job stands ready.
Each map gets a new store. The plain loop (`plain_loop.py`, one call of NumPy after another, as the exercise is written) trains
some of the same cells in this process, after the maps; what a map would take it, on as many cores, is printed beside.

Needs tests/requirements.txt and a Chromium.

    python benchmarks/maps.py [--json] [--quick] [--sizes 16 32 100]
"""

import argparse
import contextlib
import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

os.environ.update(OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1", OMP_NUM_THREADS="1")  # before NumPy loads its BLAS
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import psutil
from playwright.sync_api import Browser, Page, expect, sync_playwright

from benchmarks.large_study import our_server
from benchmarks.plain_loop import train_plainly
from studies import open_store
from studies.jobs import n_cores
from studies.maps import COARSE, Map, usual_axis
from tests.browser.find import OPTIONS, browser_path

BARS = {"first": {16: 1.5, 32: 1.5, 100: 1.5, 512: 1.5}, "whole": {16: 1.5, 32: 5.0, 100: 20.0}, "cell": 1.0, "stop": 0.5}
"""Seconds."""
MEGABYTES = 1000
N_ITERATIONS, PLAIN_RUNS, PATIENCE = 200, 30, 900
LEGEND = ".st-key-map_plane .legend .entry .number"


@contextlib.contextmanager
def memory_of(server: psutil.Process) -> Iterator[list[float]]:
    """Note what a process and all it started hold, in MB, some times a second."""
    held, over = [], threading.Event()

    def look() -> None:
        while not over.wait(0.2):
            total = 0
            for process in [server, *server.children(recursive=True)]:
                with contextlib.suppress(psutil.Error):
                    total += process.memory_info().rss
            held.append(total / 1e6)

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield held
    finally:
        over.set()
        thread.join()


def ask(page: Page, address: str, size: int, n_iterations: int) -> None:
    """Fill in the form for a map; its button is left to click."""
    page.goto(f"{address}/map")
    page.get_by_text("A map of your own").click()
    page.locator(".st-key-map_x_setting input").wait_for()
    for side in "xy":
        axis = usual_axis({"x": "weight_init_std", "y": "learning_rate"}[side])
        for part in ("low", "high"):
            type_into(page, f"map_{side}_{part} input", f"{getattr(axis, part):g}")
    type_into(page, "map_size input", str(size))
    box = page.locator(".st-key-map_fixed textarea")
    box.fill(f"n_iterations = {n_iterations}")
    box.press("Control+Enter")
    expect(page.get_by_role("button", name=f"Train {size * size:,} runs")).to_be_enabled(timeout=30_000)
    page.wait_for_timeout(3000)


def type_into(page: Page, where: str, text: str) -> None:
    """Type into one field of the form."""
    field = page.locator(f".st-key-{where}").first
    field.fill(text)
    field.press("Enter")


def n_drawn(page: Page) -> int:
    """Return how many cells the legend counts; while a map is trained a coarse one counts for those it stands for."""
    return sum(int(text.replace(",", "")) for text in page.locator(LEGEND).all_inner_texts())


def since(page: Page, condition: Callable[[], bool], started: float, pause: int = 10) -> float:
    """Wait until something is so, looking every few milliseconds, and return the seconds since some moment."""
    while not condition():
        if time.perf_counter() - started > PATIENCE:
            raise SystemExit(f"not so after {PATIENCE} s")
        page.wait_for_timeout(pause)
    return time.perf_counter() - started


def measure(browser: Browser, size: int, n_iterations: int) -> dict:
    """Train one map in the browser."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        store = open_store(str(folder / "maps.db"))
        with our_server(store, folder) as (server, address), memory_of(server) as held:
            page = browser.new_page(viewport={"width": 1280, "height": 1000})
            ask(page, address, size, n_iterations)
            page.locator(".st-key-map_start button").click()
            started = time.perf_counter()
            first = since(page, lambda: n_drawn(page) > 0, started)
            ended = page.locator(".st-key-status")
            whole = since(page, lambda: ended.count() == 0 and n_drawn(page) == size * size, started, 100)
            found = {"size": size, "first": first, "whole": whole, "runs_per_second": size * size / whole}
            found["cell"] = open_cell(page)
            (record,) = store.maps()
            assert record.n_done == size * size
            page.close()
        return found | {"megabytes": max(held), "stored": record.n_blocks}


def open_cell(page: Page) -> float:
    """Click on a cell of a finished map; return the seconds until its curve is drawn."""
    page.wait_for_timeout(1000)
    page.locator(".st-key-map_plane canvas.hands").first.click(position={"x": 300, "y": 250})
    started = time.perf_counter()
    curve = page.locator(".st-key-cell [data-testid=stVegaLiteChart] :is(canvas, svg)")
    return since(page, lambda: curve.count() > 0, started)


def stop(browser: Browser, size: int, n_iterations: int) -> float:
    """Stop a map in the midst of training; return the seconds until the page says so."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        store = open_store(str(folder / "maps.db"))
        with our_server(store, folder) as (_, address):
            page = browser.new_page(viewport={"width": 1280, "height": 1000})
            ask(page, address, size, n_iterations)
            page.locator(".st-key-map_start button").click()
            since(page, lambda: store.maps() and store.maps()[0].n_done > COARSE**2, time.perf_counter())
            page.locator(".st-key-stop button").click()
            started = time.perf_counter()
            said = page.get_by_text("Not at its end")
            seconds = since(page, lambda: said.count() > 0, started)
            assert store.maps()[0].job.status == "stopped"
            page.close()
        return seconds


def plain_seconds(size: int, n_iterations: int, n_runs: int) -> float:
    """Return the seconds of one core that the plain loop takes for a run, the mean over cells all over the map."""
    made = Map(
        name="?",
        x=usual_axis("weight_init_std"),
        y=usual_axis("learning_rate"),
        size=size,
        fixed={"n_iterations": n_iterations},
    )
    numbers = range(0, made.n_runs, max(1, made.n_runs // n_runs))
    started = time.perf_counter()
    for number in numbers:
        train_plainly(made.config(number), n_iterations)
    return (time.perf_counter() - started) / len(numbers)


def bars(found: dict) -> list[dict]:
    """Return what was asked for and whether it is so."""
    rows = []
    for row in found["maps"]:
        name = f"{row['size']} x {row['size']}"
        for what, text in (("first", "first picture"), ("whole", "whole")):
            if row["size"] in BARS[what]:
                rows.append((f"{name}: {text} within {BARS[what][row['size']]:g} s", row[what], BARS[what][row["size"]]))
        rows.append((f"{name}: a cell opened within {BARS['cell']:g} s", row["cell"], BARS["cell"]))
        rows.append((f"{name}: at most {MEGABYTES:,} MB", row["megabytes"], MEGABYTES))
    rows.append((f"stopped within {BARS['stop']:g} s", found["stop"], BARS["stop"]))
    return [{"bar": text, "measured": value, "met": value <= bar} for text, value, bar in rows]


def as_table(found: dict) -> str:
    """Return the findings for people."""
    head = ("map", "first, s", "whole, s", "runs/s", "plain loop, s", "times", "cell, s", "MB")
    lines = [f"{found['n_iterations']} iterations, {found['cores']} cores", "", "".join(f"{text:>15}" for text in head)]
    for row in found["maps"]:
        plain = found["plain_seconds"] * row["size"] ** 2 / found["cores"]
        values = [
            row["first"],
            row["whole"],
            row["runs_per_second"],
            plain,
            plain / row["whole"],
            row["cell"],
            row["megabytes"],
        ]
        lines.append(f"{row['size']:>11} x {row['size']:<3}"[-15:].rjust(15) + "".join(f"{value:15,.2f}" for value in values))
    lines += ["", *(f"{bar['bar']:50}{bar['measured']:8.2f}  {'met' if bar['met'] else 'NOT MET'}" for bar in found["bars"])]
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="How soon a map of trainability is there, from the click that starts it.")
    parser.add_argument("--json", action="store_true", help="print the numbers as JSON instead of a table")
    parser.add_argument("--quick", action="store_true", help="a tiny map, which proves nothing but that it works")
    parser.add_argument("--sizes", type=int, nargs="+", default=[16, 32, 100], metavar="N", help="cells along a side")
    options = parser.parse_args(arguments)
    if browser_path() is None:
        print("no Chromium was found; tests/browser/find.py installs one")
        return
    sizes, n_iterations, n_plain = ([16], 20, 2) if options.quick else (options.sizes, N_ITERATIONS, PLAIN_RUNS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path(), args=OPTIONS)
        maps = [measure(browser, size, n_iterations) for size in sizes]
        found = {"n_iterations": n_iterations, "cores": n_cores(), "maps": maps}
        found["stop"] = stop(browser, 64 if options.quick else 200, n_iterations)
        browser.close()
    found["plain_seconds"] = plain_seconds(max(sizes), n_iterations, n_plain)
    found["bars"] = bars(found)
    print(json.dumps(found, indent=2) if options.json else as_table(found))


if __name__ == "__main__":
    main()
