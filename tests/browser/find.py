"""Finds a Chromium for the tests, installing one where there is none.

Looked for in this order: on PATH, Playwright's own download, Debian's package (when root).
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
OPTIONS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def browser_path() -> str | None:
    """Return the path of a Chromium that is installed, or None."""
    on_path = next(filter(None, map(shutil.which, NAMES)), None)
    return on_path or _playwright_download()


def _playwright_download() -> str | None:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        path = playwright.chromium.executable_path
    return path if Path(path).exists() else None


def main() -> int:
    """Make sure that there is a browser and say which."""
    attempts = [[sys.executable, "-m", "playwright", "install", "chromium"]]
    if hasattr(os, "geteuid") and os.geteuid() == 0 and shutil.which("apt-get"):
        attempts += [["apt-get", "update"], ["apt-get", "install", "--yes", "--no-install-recommends", "chromium"]]
    for command in attempts:
        if browser_path():
            break
        print("no browser yet:", " ".join(command), flush=True)
        try:
            subprocess.run(command, check=False, timeout=900)
        except subprocess.TimeoutExpired:
            print("gave up after 15 minutes", flush=True)
    path = browser_path()
    if path is None:
        print(
            "the browser tests need a Chromium, none was found or could be installed; install one and try again",
            file=sys.stderr,
        )
        return 1
    print("browser for the tests:", path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
