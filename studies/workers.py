"""Worker processes, each at the end of a pipe of its own.

One that dies, even half-way through an answer, closes its pipe: that costs its own work and cannot hold up the others. (The
standard library's executors share one pipe, and wait for ever for the rest of such an answer.)
"""

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait

from threadpoolctl import threadpool_limits


class DeadWorkerError(Exception):
    """A worker process ended before it had answered; the next work gets a new one."""


class Here:
    """Does the work in this process, for jobs too small for worker processes."""

    def __init__(self, function: Callable):
        self.function = function

    def begin(self, *work) -> None:
        """Do the work."""
        self.result = self.function(*work)

    def answer(self) -> object:
        """Return what came out of it."""
        return self.result

    def end(self) -> None:
        """Do nothing."""


class Worker:
    """Does the work in a process of its own, which starts with the first work."""

    def __init__(self, function: Callable):
        self.function, self.process, self.pipe = function, None, None

    def begin(self, *work) -> None:
        """Hand over work; a process that has died is noticed when it is asked for the answer."""
        if self.process is None:
            context = multiprocessing.get_context("spawn")
            self.pipe, far_end = context.Pipe()
            self.process = context.Process(target=_serve, args=(far_end, self.function), daemon=True)
            resource_tracker.ensure_running()  # its start would open our ears to Ctrl-C again
            with _deaf_to_ctrl_c():
                self.process.start()
            far_end.close()
        with contextlib.suppress(OSError):
            self.pipe.send(work)

    def answer(self) -> object:
        """Return what came out of the work, or raise what it raised.

        Raises
        ------
        DeadWorkerError
        """
        try:
            answer = self.pipe.recv()
        except (EOFError, OSError):
            self.end()
            raise DeadWorkerError from None
        if isinstance(answer, Exception):
            raise answer
        return answer

    def end(self) -> None:
        """End the process, whatever it does."""
        if self.process is not None:
            self.pipe.close()
            self.process.terminate()
            self.process.join()
            self.process = None


def done(workers: Iterable[Here | Worker]) -> list[Here | Worker]:
    """Return, of workers that have work, those that have answered or died; wait for the first."""
    workers = list(workers)
    if here := [worker for worker in workers if isinstance(worker, Here)]:
        return here
    pipes = wait([worker.pipe for worker in workers])
    return [worker for worker in workers if worker.pipe in pipes]


def _serve(pipe: Connection, function: Callable) -> None:
    """Answer work until nobody is there to ask."""
    threadpool_limits(1)  # so that bits and cores are as planned
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the driver's business
    threading.Thread(target=_end_with_driver, daemon=True).start()
    with contextlib.suppress(EOFError, OSError):  # nobody is there any more
        while True:
            work = pipe.recv()
            try:
                answer = function(*work)
            except Exception as error:
                answer = error
            pipe.send(answer)


@contextlib.contextmanager
def _deaf_to_ctrl_c() -> Iterator[None]:
    """Let a process that starts here inherit a blocked Ctrl-C: its Python takes a while to get to `_serve`."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end_with_driver() -> None:
    """End this worker once the driver is gone: after a kill -9 it would train its slice to the end for nobody."""
    multiprocessing.parent_process().join()
    os._exit(1)
