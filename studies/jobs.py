"""Trains a job's runs, in this process or in one of its own, and keeps the store informed.

A job is cut into populations, and each population's training into slices of a fraction of a second. Between two slices the
driver writes progress and asks whether to stop; a slice is a pure function of the population's state, so that a worker that
dies costs one slice, and a job that is killed costs the populations in flight.
"""

import contextlib
import itertools
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import platformdirs
from threadpoolctl import threadpool_limits

from engine import Population, RunConfig, rough_seconds, stacks
from studies.errors import JobError
from studies.store import STORAGE_VARIABLE, Store, open_store
from studies.store_jobs import pack_live
from studies.workers import DeadWorkerError, Here, Worker, done

SLICE_SECONDS = 0.25
"""Time between two looks at the store: how quickly a job stops and how often its curves move."""
BEAT_SECONDS = 1.0
LIVE_RUNS = 40
"""Runs whose curves can be watched while they train; more lines than that nobody tells apart."""
WORTH_A_POOL = 1.2
"""Seconds of training on one core from which starting worker processes pays."""
MOST_DEATHS = 3


def n_cores() -> int:
    """Return how many processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _advance(population: Population | list[RunConfig], n_iterations: int) -> tuple[Population, float]:
    """Train a slice; return the population and the seconds it took."""
    started = time.perf_counter()
    if isinstance(population, list):
        population = Population(population)
    population.advance(n_iterations)
    return population, time.perf_counter() - started


@dataclass
class _Chunk:
    """A population on its way: the numbers of its runs in the job and its latest state."""

    numbers: list[int]
    state: Population | list[RunConfig]
    slice_length: int = 5
    deaths: int = 0

    @property
    def ended(self) -> bool:
        """Whether every run has ended."""
        return isinstance(self.state, Population) and not self.state.active

    @property
    def iterations_done(self) -> int:
        """Iterations of single runs, a run that left early counted as if it had stayed."""
        if isinstance(self.state, list):
            return 0
        return self.state.n_iterations * len(self.state.finished) + self.state.iteration * len(self.state.active)


class _Driver:
    """One job being trained by this process."""

    def __init__(self, store: Store, job_id: str, n_workers: int, show: Callable | None):
        self.store, self.job = store, store.job(job_id)
        self.token = store.claim(job_id)
        self.show, self.stopping = show, threading.Event()
        configs = self.job.plan.configs()
        finished = store.finished_numbers(job_id)
        numbers = [number for number in range(len(configs)) if number not in finished]
        todo = [configs[number] for number in numbers]
        worth = any(seconds >= WORTH_A_POOL for seconds in itertools.accumulate(map(rough_seconds, todo)))
        self.n_workers = n_workers if worth else 1
        groups = stacks(todo, self.n_workers)
        self.n_workers = min(self.n_workers, max(1, len(groups)))
        self.waiting = [_Chunk([numbers[i] for i in group], [todo[i] for i in group]) for group in groups]
        self.waiting.sort(key=lambda chunk: min(chunk.numbers))
        self.done = sum(configs[number].n_iterations for number in finished)
        self.idle = [Worker(_advance) for _ in range(self.n_workers)] if self.n_workers > 1 else [Here(_advance)]
        self.flying: dict[Here | Worker, _Chunk] = {}

    def drive(self) -> str:
        """Train until everything is done or somebody asks to stop; return how it ended."""
        ready: list[_Chunk] = []
        with threadpool_limits(1), contextlib.ExitStack() as stack:
            for worker in self.idle:
                stack.callback(worker.end)
            self._beat(ready, first=True)
            while ready or self.waiting or self.flying:
                self._take_off(ready)
                if not self.flying:
                    break
                ready += [self._land(worker) for worker in done(self.flying)]
                self._save([chunk for chunk in ready if chunk.ended])
                ready = [chunk for chunk in ready if not chunk.ended]
                self._beat(ready)
        if self.stopping.is_set() and (ready or self.waiting):
            self._save(ready, stopped=True)
            return "stopped"
        return "finished"

    def _take_off(self, ready: list[_Chunk]) -> None:
        """Give every idle worker a slice."""
        while self.idle and (ready or self.waiting) and not self.stopping.is_set():
            worker, chunk = self.idle.pop(), ready.pop(0) if ready else self.waiting.pop(0)
            self.flying[worker] = chunk
            worker.begin(chunk.state, chunk.slice_length)

    def _land(self, worker: Here | Worker) -> _Chunk:
        """Take a slice back from a worker: trained, or as it was if the worker has died."""
        chunk = self.flying.pop(worker)
        self.idle.append(worker)
        try:
            chunk.state, seconds = worker.answer()
        except DeadWorkerError:
            chunk.deaths += 1
            if chunk.deaths > MOST_DEATHS:
                raise JobError(
                    f"worker processes died {chunk.deaths} times while training runs {min(chunk.numbers)} to "
                    f"{max(chunk.numbers)}; expected them to live. Is there enough memory?"
                ) from None
            return chunk
        fitting = chunk.slice_length * SLICE_SECONDS / max(seconds, 1e-9)
        chunk.slice_length = int(np.clip(fitting, 1, 10 * chunk.slice_length))
        return chunk

    def _save(self, chunks: list[_Chunk], stopped: bool = False) -> None:
        """Write finished populations, or everything there is of populations that have to stop."""
        results = []
        for chunk in chunks:
            if isinstance(chunk.state, list):
                continue
            self.done += chunk.iterations_done
            if stopped:
                chunk.state.stop()
            results += [(chunk.numbers[place], result) for place, result in chunk.state.results().items()]
        if results:
            self.store.save_results(self.job.id, self.token, results)

    def _beat(self, ready: list[_Chunk], first: bool = False) -> None:
        """Write progress and the first runs' curves so far; notice a request to stop."""
        flying = [*ready, *self.flying.values()]
        states = [chunk for chunk in flying if isinstance(chunk.state, Population)]
        live = {
            chunk.numbers[place]: chunk.state.curve(place)
            for chunk in states
            for place in range(len(chunk.numbers))
            if chunk.numbers[place] < LIVE_RUNS
        }
        done = self.done + sum(chunk.iterations_done for chunk in flying)
        if self.store.beat(self.job.id, self.token, done, pack_live(live), first):
            self.stopping.set()
        if self.show:
            self.show(done / self.job.n_iterations)

    @contextlib.contextmanager
    def beating(self) -> Iterator[None]:
        """Give a sign of life every second, however long a slice takes."""
        over = threading.Event()

        def beat():
            while not over.wait(BEAT_SECONDS):
                with contextlib.suppress(Exception):  # the driver meets the same trouble and reports it
                    self.store.beat(self.job.id, self.token)

        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


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
    driver = _Driver(store, job_id, n_workers or n_cores(), show)
    try:
        with driver.beating(), _signals_stop(driver.stopping):
            status = driver.drive()
    except BaseException as error:
        with contextlib.suppress(Exception):
            store.end_job(job_id, driver.token, "failed", f"{type(error).__name__}: {error}")
        raise
    store.end_job(job_id, driver.token, status)
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
