"""Trains a job in this process, or in one of its own that outlives its parent."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator

import platformdirs

from studies.driver import Driver, MapDriver, SearchDriver
from studies.errors import JobError
from studies.store import STORAGE_VARIABLE, Store, open_store


def n_cores() -> int:
    """Return how many processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextlib.contextmanager
def _signals_stop(stopping: threading.Event) -> Iterator[None]:
    """Let Ctrl-C and SIGTERM ask for a stop that keeps what there is."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, lambda *_: stopping.set()) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def run_job(store: Store, job_id: str, n_workers: int | None = None, show: Callable[[float], None] | None = None) -> str:
    """Train a waiting job in this process and return how it ended: finished or stopped.

    Parameters
    ----------
    n_workers : int, optional
        Worker processes; the number of cores without one. The results are the same bits for any number.
    show : callable, optional
        Called with the share that is done, from 0 to 1.

    Raises
    ------
    JobError
        If the job is not waiting or is taken over. Any other error is written into the job and raised again.
    """
    make = {"search": SearchDriver, "map": MapDriver}.get(store.job(job_id).kind, Driver)
    driver = make(store, job_id, n_workers or n_cores(), show)
    try:
        with store.engine.connect(), driver.beating(), _signals_stop(driver.stopping):
            status = driver.drive()
            while not store.end_job(job_id, driver.token, status, n_runs=driver.job.n_runs):
                driver.refresh()  # somebody gave the study more trials in the moment it ended
                status = driver.drive()
    except BaseException as error:
        with contextlib.suppress(Exception):
            store.end_job(job_id, driver.token, "failed", f"{type(error).__name__}: {error}")
        raise
    return status


_READY: dict[str, subprocess.Popen] = {}
"""By store, a process that has loaded everything and waits to be told which job to train."""
_READY_LOCK = threading.Lock()


def _new_process(url: str) -> subprocess.Popen:
    """Start a process in a session of its own that trains the job whose id it reads, or ends with its standard input."""
    folder = platformdirs.user_log_path("brink", ensure_exists=True)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("STREAMLIT_")}
    environment |= {STORAGE_VARIABLE: url, "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    with (folder / "jobs.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "studies.jobs"],
            env=environment,
            cwd=os.path.dirname(os.path.dirname(os.path.abspath(__file__))),
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            start_new_session=True,
            text=True,
        )
    threading.Thread(target=process.wait, daemon=True).start()  # or it would stay a zombie
    return process


def prepare(store: Store) -> None:
    """Have a process ready, so that the next job starts training a third of a second earlier."""
    with _READY_LOCK:
        if store.url not in _READY or _READY[store.url].poll() is not None:
            _READY[store.url] = _new_process(store.url)


def launch(store: Store, job_id: str) -> subprocess.Popen:
    """Train a waiting job in a process of its own, which outlives this one.

    Its output goes to a log file in the user's log folder.
    """
    with _READY_LOCK:
        process = _READY.pop(store.url, None)
    for candidate in (process, None):
        process = candidate or _new_process(store.url)
        with contextlib.suppress(BrokenPipeError):  # the one that was ready has died meanwhile
            with process.stdin as pipe:
                pipe.write(f"{job_id}\n")
            break
    return process


def start(store: Store, plan, name: str = "") -> str:
    """Add a job, train it in a process of its own, and return its id."""
    job_id = store.add_job(plan, name)
    launch(store, job_id)
    return job_id


def resume(store: Store, job_id: str) -> None:
    """Go on with a job that was stopped, failed or lost, without repeating what is finished."""
    store.wait_again(job_id)
    launch(store, job_id)


if __name__ == "__main__":
    wanted = sys.stdin.readline().strip()
    try:
        if wanted:
            run_job(open_store(), wanted)
    except JobError as problem:
        print(problem, file=sys.stderr)
    except Exception:
        traceback.print_exc()
        sys.exit(1)
