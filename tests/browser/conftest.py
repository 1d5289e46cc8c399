"""A real server and a real browser."""

import contextlib
import os
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import psutil
import pytest
from playwright.sync_api import Error, expect, sync_playwright
from sqlalchemy import MetaData

from studies import open_store

sys.path.insert(0, str(Path(__file__).parent))
from find import OPTIONS, browser_path

ROOT = Path(__file__).parents[2]
PATIENCE = 60_000
expect.set_options(timeout=PATIENCE)


class Server:
    """The dashboard on a store of its own, started as `make run` starts it."""

    def __init__(self, folder: Path, port: int | None = None):
        self.folder, self.store_url = folder, f"sqlite:///{folder / 'brink.db'}"
        self.port, self.log = port or free_port(), folder / "server.log"
        self.url = f"http://localhost:{self.port}"
        self.process = None

    def start(self) -> None:
        """Start the server and wait until it answers."""
        environment = os.environ | {f"XDG_{name}_HOME": str(self.folder / name) for name in ("DATA", "STATE", "CACHE")}
        command = [sys.executable, "-m", "dashboard", "--port", str(self.port), "--storage", self.store_url]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command, cwd=ROOT, env=environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )
        for _ in range(300):
            with contextlib.suppress(OSError):
                if urllib.request.urlopen(f"{self.url}/_stcore/health", timeout=1).status == 200:
                    return
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(0.1)
                raise AssertionError(self.log.read_text())
        raise AssertionError("the server did not answer: " + self.log.read_text())

    def kill(self) -> None:
        """End the server as kill -9 does."""
        self.process.kill()
        self.process.wait()


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="session")
def browser():
    """Chromium."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path(), args=OPTIONS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """The server of all tests of a file; its log must be free of tracebacks at the end."""
    server = Server(tmp_path_factory.mktemp("served"))
    server.start()
    yield server
    server.kill()
    assert "Traceback" not in server.log.read_text()


@pytest.fixture
def server(served):
    """A server with an empty store."""
    yield served
    store = open_store(served.store_url)
    for job in [job for kind in ("plan", "search", "map") for job in store.jobs(kind=kind)]:
        if job.is_live and job.process:
            with contextlib.suppress(psutil.NoSuchProcess):
                process = psutil.Process(int(job.process.split(":")[1]))
                process.kill()
                process.wait()
    tables = MetaData()
    tables.reflect(store.engine)
    with store.engine.begin() as connection:
        for table in reversed(tables.sorted_tables):
            if "version" not in table.name:
                connection.execute(table.delete())


@pytest.fixture(scope="session")
def context(browser):
    """One profile for all tabs: what a server sends to all of them alike is read once."""
    context = browser.new_context(accept_downloads=True)
    context.set_default_timeout(PATIENCE)
    return context


@pytest.fixture
def open_page(context, server):
    """Return a function that opens a tab; no script error and no request to elsewhere may happen in it."""
    troubles, pages = [], []

    def watch(request) -> None:
        if "//localhost" not in request.url and not request.url.startswith(("data:", "blob:")):
            troubles.append(f"request to {request.url}")

    def open_page(path: str = "/", width: int = 1280, height: int = 900, scheme: str = "light"):
        page = context.new_page()
        pages.append(page)
        page.set_viewport_size({"width": width, "height": height})
        page.emulate_media(color_scheme=scheme)
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on("request", watch)
        page.goto(server.url + path)
        idle(page)
        return page

    yield open_page
    for page in pages:
        with contextlib.suppress(Error):
            page.close()
    assert not troubles


def idle(page) -> None:
    """Wait until the page is connected and its script has run."""
    app = page.get_by_test_id("stApp")
    expect(app).to_have_attribute("data-test-connection-state", "CONNECTED")
    expect(app).to_have_attribute("data-test-script-state", "notRunning")


def type_into(page, knob: str, text: str) -> None:
    """Type into a knob once the page is drawn to its end, and wait until it has taken the text."""
    field = page.locator(f".st-key-knob_{knob} input")
    expect(field).to_be_visible()
    idle(page)
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")  # what it got is drawn
    field.fill(text)
    field.press("Enter")
    idle(page)
    expect(field).to_have_value(text)
