"""How soon a large study can be seen in a browser, and what watching it costs, beside optuna-dashboard on the same file.

A study of 10,000 trials (or as many as asked for) with curves of 100 points is written by the store's own functions, in our
tables and in Optuna's: the trials are random ones, the results those of the nearest of some hundred runs that are really
trained. Then a real browser opens the study's page

- in the first session after the server's start, which loads everything, and in a second one, with a cache of its own;
- at its table of trials, in one more session;
- while its job is live: signs of life arrive, new trials do not. Each update of the page then costs the server what is printed;
- as a report: written by `python -m dashboard report`, in a process of its own, and opened from the disk at its first chart.

The page's first chart, or the table, is there when four fifths of what it ends with are drawn. That is looked for in the page
every 25 ms, in the pixels of its canvas or among the elements of its picture; the time counts from the navigation. The
websocket's bytes are those of its messages before any compression; all bytes are those and everything else that was loaded.

Both servers are started anew for every repeat and take turns; the least of the repeats is printed. Seconds on the clock depend
on what else the machine does, seconds of the processor hardly: the server's are those of its process, the browser's those of
the page's main thread.

Needs tests/requirements.txt and a Chromium, and optuna-dashboard (requirements.txt beside this file) for the comparison.

    python benchmarks/large_study.py [--json] [--quick] [--trials N ...] [--repeats N]
"""

import argparse
import contextlib
import dataclasses
import importlib.util
import json
import math
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

os.environ.update(OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1", OMP_NUM_THREADS="1")  # before NumPy loads its BLAS
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import psutil
from playwright.sync_api import Browser, Page, sync_playwright
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg

from engine import RunResult, train
from studies import Store, open_store
from studies.objectives import summarize
from studies.sampling import Mirror
from studies.search import Choices, Range, Search
from tests.browser.find import OPTIONS, browser_path

ROOT = Path(__file__).resolve().parent.parent

FIRST_CHART = {10_000: 2.0, 50_000: 5.0}
"""Bars: seconds until the first chart of a study with at most so many trials."""
TABLE, UPDATE, MEGABYTES, REPORT = 1.0, 0.3, 3.0, 5.0
"""Bars: seconds that the table may take longer; the server's processor seconds for an update; megabytes that the websocket
carries; megabytes of a report."""
PATIENCE, QUIET_LOOKS, N_UPDATES = 180, 40, 10
SPACE = {
    "weight_init_std": Range(0.01, 10, log=True),
    "learning_rate": Range(0.001, 10, log=True),
    "hidden_size": Choices([4, 8]),
    "activation": Choices(["sigmoid", "tanh", "relu"]),
}
CHART, TABLE_OF_TRIALS, PEERS_CHART, REPORTS_CHART = (
    "[data-testid=stVegaLiteChart]",
    "[data-testid=stDataFrame]",
    ".js-plotly-plot:has(.trace)",
    "#figure-1 .live",
)
"""Where pages have what is waited for: the first of these. (Without trials optuna-dashboard draws empty axes.)"""
LOOK = """(() => {
    const small = document.createElement("canvas");
    small.width = small.height = 64;
    const pen = small.getContext("2d", {willReadFrequently: true});
    const drawn = box => {
        let sum = box.querySelectorAll("svg path, svg use, svg rect, svg text").length;
        for (const canvas of box.querySelectorAll("canvas")) {
            if (!canvas.width || !canvas.height) continue;
            pen.clearRect(0, 0, 64, 64);
            pen.drawImage(canvas, 0, 0, 64, 64);
            const pixels = pen.getImageData(0, 0, 64, 64).data;
            for (let i = 4; i < pixels.length; i++) sum += Math.abs(pixels[i] - pixels[i - 4]);
        }
        return sum;
    };
    window.changes = [[0, 0]];
    window.quietLooks = 0;
    const look = () => {
        const box = document.querySelector(SELECTOR), now = box ? drawn(box) : 0;
        window.quietLooks++;
        if (window.changes.at(-1)[1] !== now) {
            window.changes.push([performance.now() / 1000, now]);
            window.quietLooks = 0;
        }
        setTimeout(look, 25);
    };
    look();
})();"""
"""Notes when how much is drawn changes: how much pixels differ from their neighbours, and the number of elements."""


def build(store: Store, n_trials: int) -> str:
    """Write a study whose trials are all done, and return its id."""
    fixed = {"n_iterations": 200}
    search = Search(name=f"{n_trials} trials", space=SPACE, fixed=fixed, sampler="random", n_trials=n_trials, batch=1000)
    study_id = store.add_study(search)
    study = store.study(study_id)
    token, mirror, done = store.claim(study.job.id), Mirror(search, [], {}), 0
    trained = _train_some(search)
    for chunk in range(-(-n_trials // search.batch)):
        proposals = mirror.ask(chunk, min(search.batch, n_trials - done))
        store.open_chunk(study, token, chunk, proposals, {})
        results = [_like_the_nearest(search, proposal.values, trained) for proposal in proposals]
        summaries = [summarize([result], search.objectives) for result in results]
        proposals = mirror.tell(proposals, [summary.values for summary in summaries])
        numbered = [(proposal.number, result) for proposal, result in zip(proposals, results, strict=True)]
        store.end_chunk(study, token, chunk, proposals, summaries, numbered, {}, mirror.distributions, 1.0)
        done += len(proposals)
        store.beat(study.job.id, token, done * search.fixed["n_iterations"])
    store.end_job(study.job.id, token, "finished")
    return study_id


def _train_some(search: Search) -> dict[tuple, list[tuple[np.ndarray, RunResult]]]:
    """Return trained runs by the settings that are words, with the place of their numbers."""
    rng, found = np.random.default_rng(1), {}
    sizes, activations = search.space["hidden_size"].values, search.space["activation"].values
    configs = [
        search.config({"weight_init_std": std, "learning_rate": rate, "hidden_size": size, "activation": name}, 1)
        for size in sizes
        for name in activations
        for std, rate in zip(10 ** rng.uniform(-2, 1, 40), 10 ** rng.uniform(-3, 1, 40), strict=True)
    ]
    for config, result in zip(configs, train(configs), strict=True):
        place = np.log([config.weight_init_std, config.learning_rate])
        found.setdefault((config.hidden_size, config.activation), []).append((place, result))
    return found


def _like_the_nearest(search: Search, values: dict, trained: dict) -> RunResult:
    """Return a result for a trial: that of the nearest trained run, with the trial's config."""
    place = np.log([values["weight_init_std"], values["learning_rate"]])
    near = min(trained[values["hidden_size"], values["activation"]], key=lambda run: np.abs(run[0] - place).sum())
    return dataclasses.replace(near[1], config=search.config(values, 1))


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def serving(command: list[str], port: int, health: str, folder: Path) -> Iterator[psutil.Process]:
    """Run a server, from when it answers."""
    environment = os.environ | {f"XDG_{name}_HOME": str(folder / name) for name in ("DATA", "STATE", "CACHE")}
    with (folder / "server.log").open("ab") as log:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
    try:
        for _ in range(600):
            with contextlib.suppress(OSError), urllib.request.urlopen(f"http://localhost:{port}{health}", timeout=30):
                break
            if process.poll() is not None:
                raise SystemExit("a server ended: " + (folder / "server.log").read_text())
            time.sleep(0.1)
        yield psutil.Process(process.pid)
    finally:
        process.kill()
        process.wait()


def processor_seconds(process: psutil.Process) -> float:
    """Return what a process has used."""
    return sum(process.cpu_times()[:2])


class Visit:
    """A page in a session of its own, with an empty cache, and what came over the wire."""

    def __init__(self, browser: Browser, selector: str):
        self.context = browser.new_context(viewport={"width": 1280, "height": 900})
        self.context.add_init_script(LOOK.replace("SELECTOR", json.dumps(selector)))
        self.page: Page = self.context.new_page()
        self.messages, self.loaded, self.n_updates = 0, 0, 0
        self.page.on("websocket", lambda socket: socket.on("framereceived", self._receive))
        self.tools = self.context.new_cdp_session(self.page)
        self.tools.on("Network.loadingFinished", self._load)
        self.tools.send("Network.enable")
        self.tools.send("Performance.enable", {"timeDomain": "threadTicks"})

    def _receive(self, message: str | bytes) -> None:
        self.messages += len(message)
        if isinstance(message, bytes):
            self.n_updates += ForwardMsg.FromString(message).WhichOneof("type") == "script_finished"

    def _load(self, event: dict) -> None:
        self.loaded += int(event["encodedDataLength"])

    def open(self, url: str) -> float:
        """Go to a page and wait until what was looked for is there and stays as it is; return when it was there."""
        self.page.goto(url, wait_until="commit")
        for _ in range(4 * PATIENCE):
            self.page.wait_for_timeout(250)
            changes, n_quiet = self.page.evaluate("[window.changes ?? [[0, 0]], window.quietLooks ?? 0]")
            end = changes[-1][1]
            if end and n_quiet > QUIET_LOOKS:
                return next(moment for moment, drawn in changes if drawn >= 0.8 * end)
        raise SystemExit(f"nothing to be seen on {url} after {PATIENCE} s")

    @property
    def busy(self) -> float:
        """Processor seconds of the page's main thread."""
        metrics = self.tools.send("Performance.getMetrics")["metrics"]
        return next(metric["value"] for metric in metrics if metric["name"] == "TaskDuration")


def visit(browser: Browser, server: psutil.Process, url: str, selector: str) -> dict[str, float]:
    """Open a page once and return what that took."""
    before, visitor = processor_seconds(server), Visit(browser, selector)
    with contextlib.closing(visitor.context):
        return {
            "seconds": visitor.open(url),
            "server": processor_seconds(server) - before,
            "browser": visitor.busy,
            "messages": visitor.messages / 1e6,
            "all": (visitor.messages + visitor.loaded) / 1e6,
        }


def watch(browser: Browser, server: psutil.Process, url: str, n_updates: int) -> dict:
    """Watch a page that updates itself; return what one update takes."""
    visitor = Visit(browser, CHART)
    with contextlib.closing(visitor.context):
        visitor.open(url)
        before, messages, first = processor_seconds(server), visitor.messages, visitor.n_updates
        for _ in range(100 * n_updates):
            visitor.page.wait_for_timeout(100)
            if visitor.n_updates >= first + n_updates:
                break
        n = visitor.n_updates - first
        if not n:
            raise SystemExit("the page of a live study does not update itself")
        spent, carried = processor_seconds(server) - before, visitor.messages - messages
        return {"updates": n, "server": spent / n, "kilobytes": carried / n / 1e3}


def write_report(browser: Browser, store: Store, study_id: str, folder: Path) -> dict[str, float]:
    """Write a report and open it; return what that takes."""
    path, started = folder / "report.html", time.perf_counter()
    command = [sys.executable, "-m", "dashboard", "report", study_id, "--storage", store.url, "--output", str(path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    written, visitor = time.perf_counter() - started, Visit(browser, REPORTS_CHART)
    with contextlib.closing(visitor.context):
        seconds = visitor.open(f"{path.as_uri()}#figure-1")
        return {"written": written, "megabytes": path.stat().st_size / 1e6, "seconds": seconds, "browser": visitor.busy}


@contextlib.contextmanager
def live(store: Store, study_id: str) -> Iterator[None]:
    """Let a study have a job that is alive but brings no new trials, and end it as it was."""
    store.extend_study(study_id, 1000)
    job_id = store.study(study_id).job.id
    store.wait_again(job_id)
    token, over = store.claim(job_id), threading.Event()
    done = store.study(study_id).n_done * store.study(study_id).search.fixed["n_iterations"]

    def beat() -> None:
        store.beat(job_id, token, done)
        while not over.wait(0.25):
            store.beat(job_id, token, done)

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        store.end_job(job_id, token, "finished")


def least(rows: list[dict[str, float]]) -> dict[str, float]:
    """Return the least of each column."""
    return {name: min(row[name] for row in rows) for name in rows[0]}


def visit_ours(browser: Browser, store: Store, study_id: str, folder: Path) -> dict[str, dict]:
    """Start our dashboard and open the study in three sessions."""
    with our_server(store, folder) as (server, address):
        page = f"{address}/studies?study={study_id}"
        return {
            "Brink, first session": visit(browser, server, page, CHART),
            "Brink, second session": visit(browser, server, page, CHART),
            "Brink, table of trials": visit(browser, server, f"{page}&view=Trials", TABLE_OF_TRIALS),
        }


@contextlib.contextmanager
def our_server(store: Store, folder: Path) -> Iterator[tuple[psutil.Process, str]]:
    """Run our dashboard; give its process and its address."""
    port = free_port()
    command = [sys.executable, "-m", "dashboard", "--port", str(port), "--storage", store.url]
    with serving(command, port, "/_stcore/health", folder) as server:
        yield server, f"http://localhost:{port}"


def visit_the_peer(browser: Browser, store: Store, study_id: str, folder: Path) -> dict[str, dict]:
    """Start optuna-dashboard and open the study in two sessions."""
    if importlib.util.find_spec("optuna_dashboard") is None:
        return {}
    port, start = free_port(), "import sys; from optuna_dashboard._cli import main; sys.exit(main())"
    command = [sys.executable, "-c", start, store.url, "--host", "localhost", "--port", str(port), "--quiet"]
    page = f"http://localhost:{port}/dashboard/studies/{store.study(study_id).optuna_id}"
    with serving(command, port, "/api/meta", folder) as server:
        return {
            f"optuna-dashboard, {session} session": visit(browser, server, page, PEERS_CHART) for session in ("first", "second")
        }


def measure(n_trials: int, repeats: int, n_updates: int) -> dict:
    """Write a study and open it in both dashboards, in turns."""
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        folder = Path(name)
        store = open_store(str(folder / "large.db"))
        started = time.perf_counter()
        study_id = build(store, n_trials)
        built, rounds = time.perf_counter() - started, []
        browser = playwright.chromium.launch(executable_path=browser_path(), args=OPTIONS)
        for _ in range(repeats):
            rounds.append(visit_ours(browser, store, study_id, folder) | visit_the_peer(browser, store, study_id, folder))
        with our_server(store, folder) as (server, address), live(store, study_id):
            update = watch(browser, server, f"{address}/studies?study={study_id}", n_updates)
        report = least([write_report(browser, store, study_id, folder) for _ in range(repeats)])
        browser.close()
        size = (folder / "large.db").stat().st_size / 1e6
    found = {"trials": n_trials, "seconds_to_write": built, "megabytes": size, "update": update, "report": report}
    found["visits"] = {name: least([visits[name] for visits in rounds]) for name in rounds[0]}
    return found | {"bars": _bars(found)}


def _bars(found: dict) -> list[dict]:
    limit = next((bar for n, bar in FIRST_CHART.items() if found["trials"] <= n), math.inf)
    bars = []
    for name, row in found["visits"].items():
        if name.startswith("Brink"):
            what, most = ("table", limit + TABLE) if name.endswith("trials") else ("first chart", limit)
            bars.append((f"{name}: {what} within {most:g} s", row["seconds"], most))
            bars.append((f"{name}: websocket at most {MEGABYTES:g} MB", row["messages"], MEGABYTES))
    bars.append((f"an update at most {UPDATE:g} s of the server's processor", found["update"]["server"], UPDATE))
    bars.append((f"report at most {REPORT:g} MB", found["report"]["megabytes"], REPORT))
    return [{"bar": text, "measured": value, "met": value <= bar} for text, value, bar in bars]


def as_table(found: dict) -> str:
    """Return the findings for people."""
    columns = {
        "seconds": "there after, s",
        "server": "server CPU, s",
        "browser": "browser CPU, s",
        "messages": "websocket, MB",
        "all": "all, MB",
    }
    title = (
        f"{found['trials']:,} trials with curves ({found['megabytes']:.0f} MB, written in {found['seconds_to_write']:.0f} s)"
    )
    lines = [title, "", f"{'':34}" + "".join(f"{text:>16}" for text in columns.values())]
    for name, row in found["visits"].items():
        lines.append(f"{name:34}" + "".join(f"{row[key]:16.2f}" for key in columns))
    update = found["update"]
    lines += ["", f"an update of a live study: {update['server']:.3f} s of the server, {update['kilobytes']:.0f} kB"]
    report = "{written:.1f} s to write, {megabytes:.1f} MB, its first chart after {seconds:.2f} s, browser CPU {browser:.2f} s"
    lines += ["a report: " + report.format(**found["report"]), ""]
    lines += [f"{bar['bar']:60}{bar['measured']:8.2f}  {'met' if bar['met'] else 'NOT MET'}" for bar in found["bars"]]
    if not any(name.startswith("optuna") for name in found["visits"]):
        lines += ["", "optuna-dashboard is not installed: pip install -r benchmarks/requirements.txt"]
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="How soon a large study can be seen, and what watching it costs.")
    parser.add_argument("--json", action="store_true", help="print the numbers as JSON instead of tables")
    parser.add_argument("--quick", action="store_true", help="a tiny study, which proves nothing but that it works")
    parser.add_argument("--trials", type=int, nargs="+", default=[10_000], metavar="N", help="sizes (default: 10,000)")
    parser.add_argument("--repeats", type=int, default=3, metavar="N", help="server starts (default: %(default)s)")
    options = parser.parse_args(arguments)
    if browser_path() is None:
        print("no Chromium was found; tests/browser/find.py installs one")
        return
    sizes = ([60], 1, 2) if options.quick else (options.trials, options.repeats, N_UPDATES)
    report = []
    for n_trials in sizes[0]:
        report.append(measure(n_trials, *sizes[1:]))
        if not options.json:
            print(as_table(report[-1]), end="\n\n\n", flush=True)
    if options.json:
        print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
