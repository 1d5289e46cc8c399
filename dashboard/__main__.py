"""Starts the dashboard: `python -m dashboard`, which is what `make run` does; `python -m dashboard report` writes a file."""

import argparse
import gc
import os
import socket
import sys
from pathlib import Path

from engine import BrinkError
from studies import StoreError, default_url, open_store
from studies.export_tables import file_name
from studies.store import STORAGE_VARIABLE

ROOT = Path(__file__).parent.parent


def port_is_free(port: int) -> bool:
    """Return whether nothing listens on a port of this machine."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def main() -> int:
    """Check port and store, then become Streamlit; or write a report."""
    parser = argparse.ArgumentParser(prog="python -m dashboard", description="Open Brink's dashboard in the browser.")
    parser.add_argument("--port", type=int, default=8501, help="port on this machine (default: %(default)s)")
    storage = {"metavar": "URL", "help": f"where runs are kept (default: {default_url()})"}
    parser.add_argument("--storage", **storage)
    commands = parser.add_subparsers(dest="command", metavar="report")
    report = commands.add_parser(
        "report", help="write a study as one HTML file, with charts and all trials, for people to read"
    )
    report.add_argument("study", help="its id or name")
    report.add_argument("--output", "-o", metavar="FILE", help="default: a name made of the study's, in this folder")
    report.add_argument("--storage", **storage, default=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.command == "report":
        try:
            write_report(arguments.storage, arguments.study, arguments.output)
        except BrinkError as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
        return 0
    if not 1 <= arguments.port <= 65535:
        print(f"error: --port: expected a whole number from 1 to 65535, found {arguments.port}", file=sys.stderr)
        return 2
    if not port_is_free(arguments.port):
        print(
            f"error: port {arguments.port} is in use, perhaps by another Brink (http://localhost:{arguments.port}); "
            f"choose another: make run PORT={arguments.port + 1}",
            file=sys.stderr,
        )
        return 1
    try:
        store = open_store(arguments.storage or None)
    except BrinkError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"Brink keeps its runs in {store.url}", flush=True)
    os.environ[STORAGE_VARIABLE] = store.url
    os.chdir(ROOT)
    load_early()
    from streamlit.web.cli import main as serve

    sys.argv = ["streamlit", "run", "dashboard/app.py", "--server.port", str(arguments.port)]
    return serve()


def write_report(storage: str | None, study: str, output: str | None) -> None:
    """Write the report of a study, given by its id or name, to a file, and say to which."""
    store = open_store(storage or None)
    found = store.study(study)
    from dashboard.report import study_report

    path = Path(output or file_name("report", found.name, "html"))
    text = study_report(store, found.id)
    try:
        path.write_text(text, "utf-8")
    except OSError as error:
        raise StoreError(f"expected a file that can be written, found {error}") from None
    print(f"report of study {found.name!r} written to {path}", file=sys.stderr)


def load_early() -> None:
    """Load what pages need before the first visit, which would take twice as long, and keep it out of garbage collections.

    Streamlit collects after each script run; with pandas and Altair loaded that cost 70 of 97 ms of a poll.
    """
    import altair
    import pandas

    import dashboard.components.map_view
    import dashboard.components.study_view  # noqa: F401
    from studies.edges import safest_cell

    table = pandas.DataFrame({"x": [1]})
    table.convert_dtypes(dtype_backend="pyarrow")  # loads what tables are sent with
    altair.Chart(table).mark_point().encode(x="x:Q").to_dict()  # checks a chart for the first time
    safest_cell(pandas.DataFrame([[1, 0]]).to_numpy())  # loads SciPy's images
    gc.collect()
    gc.freeze()


if __name__ == "__main__":
    sys.exit(main())
