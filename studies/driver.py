"""Trains a job's runs in slices, here or in worker processes, and keeps the store informed.

A job is cut into populations, and each population's training into slices of a fraction of a second. Between two slices the
driver writes progress and asks whether to stop; a slice is a pure function of the population's state, so that a worker that
dies costs one slice, and a job that is killed costs the populations in flight.

A plan's runs are all known at the start. A search's are asked a chunk of trials at a time; a chunk is written when it is asked
and, with everything it came to, when the last of its runs has ended. A stopped or killed search trains an open chunk again.
"""

import contextlib
import itertools
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from threadpoolctl import threadpool_limits

from engine import Population, RunConfig, RunResult, rough_seconds, stacks
from studies.errors import JobError
from studies.store import Store
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


class Driver:
    """One job being trained by this process."""

    def __init__(self, store: Store, job_id: str, n_workers: int, show: Callable | None):
        self.store, self.job = store, store.job(job_id)
        self.token = store.claim(job_id)
        self.show, self.stopping = show, threading.Event()
        self.n_workers, self.done = n_workers, 0
        self.waiting: list[_Chunk] = []
        self.flying: dict[Here | Worker, _Chunk] = {}
        self.prepare()
        self.idle = [Worker(_advance) for _ in range(self.n_workers)] if self.n_workers > 1 else [Here(_advance)]

    def prepare(self) -> None:
        """Find out what is left to do and how many workers that is worth."""
        configs = self.job.plan.configs()
        finished = self.store.finished_numbers(self.job.id)
        numbers = [number for number in range(len(configs)) if number not in finished]
        todo = [configs[number] for number in numbers]
        worth = any(seconds >= WORTH_A_POOL for seconds in itertools.accumulate(map(rough_seconds, todo)))
        self.n_workers = self.n_workers if worth else 1
        self.line_up(numbers, todo)
        self.n_workers = min(self.n_workers, max(1, len(self.waiting)))
        self.done = sum(configs[number].n_iterations for number in finished)

    def line_up(self, numbers: list[int], configs: list[RunConfig]) -> None:
        """Put runs, with their numbers in the job, in line for the workers."""
        groups = stacks(configs, self.n_workers)
        self.waiting += [_Chunk([numbers[i] for i in group], [configs[i] for i in group]) for group in groups]
        self.waiting.sort(key=lambda chunk: min(chunk.numbers))

    @property
    def has_more(self) -> bool:
        """Whether there is something left that is not lined up yet."""
        return False

    def refill(self) -> bool:
        """Line up more once everything is trained; return whether there is more."""
        return False

    def drive(self) -> str:
        """Train until everything is done or somebody asks to stop; return how it ended."""
        ready: list[_Chunk] = []
        with threadpool_limits(1), contextlib.ExitStack() as stack:
            for worker in self.idle:
                stack.callback(worker.end)
            self._beat(ready, first=True)
            while ready or self.waiting or self.flying or (not self.stopping.is_set() and self.refill()):
                self._take_off(ready)
                if not self.flying:
                    break
                ready += [self._land(worker) for worker in done(self.flying)]
                self.save([chunk for chunk in ready if chunk.ended])
                ready = [chunk for chunk in ready if not chunk.ended]
                self._beat(ready)
        if self.stopping.is_set() and (ready or self.waiting or self.has_more):
            self.save(ready, stopped=True)
            return "stopped"
        if self.done < self.job.n_iterations:  # a search among numbers of iterations: few trials took the most
            self.done = self.job.n_iterations
            self._beat([])
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

    def save(self, chunks: list[_Chunk], stopped: bool = False) -> None:
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


class SearchDriver(Driver):
    """The driver of a study: its runs are those of the trials that the sampler asks for."""

    def prepare(self) -> None:
        """Build the sampler's mirror from what is done, and line up the chunk that was open."""
        from studies.sampling import Mirror, Proposal

        self.study = self.store.study_of_job(self.job.id)
        search, chunks = self.study.search, self.store.chunks(self.study.id)
        trials = self.store.trials(self.study.id, done=False)
        n_runs = search.n_trials * search.n_seeds
        whole = rough_seconds(search.config(search.first(), 1)) * n_runs
        self.n_workers = self.n_workers if whole >= WORTH_A_POOL else 1
        told = [(Proposal(t.number, t.params, t.notes), t.summary.values) for t in trials if t.summary]
        ended = [chunk for chunk in chunks if chunk.state == "done"]
        self.mirror = Mirror(search, told, _attributes(ended))
        self.chunk, self.proposals, self.results = len(ended), [], {}
        self.done = sum(search.config(t.params, 1).n_iterations for t in trials if t.summary) * search.n_seeds
        if len(chunks) > len(ended):
            self.proposals = self.mirror.ask(self.chunk, chunks[-1].n_trials)
            asked = [t.params for t in trials if not t.summary]
            if [proposal.values for proposal in self.proposals] != asked:
                raise JobError(
                    f"study {self.study.name!r}: expected the trials that were asked before, found others; it was begun with "
                    "another version of Optuna. Delete it and start it again"
                )
            self._line_up_trials()

    @property
    def has_more(self) -> bool:
        """Whether there are trials that were not asked yet."""
        return self.mirror.n_asked < self.study.search.n_trials

    def refill(self) -> bool:
        """Ask the next chunk of trials."""
        search = self.study.search
        if not self.has_more:
            return False
        n = min(search.batch, search.n_trials - self.mirror.n_asked)
        self.proposals = self.mirror.ask(self.chunk, n)
        self.store.open_chunk(self.study, self.token, self.chunk, self.proposals, self.mirror.attributes)
        self._line_up_trials()
        return True

    def _line_up_trials(self) -> None:
        search, self.results = self.study.search, {}
        numbers = [p.number * search.n_seeds + i for p in self.proposals for i in range(search.n_seeds)]
        configs = [search.config(p.values, seed) for p in self.proposals for seed in search.seeds]
        self.line_up(numbers, configs)

    def save(self, chunks: list[_Chunk], stopped: bool = False) -> None:
        """Keep what has ended; once that is the whole chunk of trials, tell the sampler and write it."""
        if stopped:
            return  # the chunk stays open, and is trained again when the study goes on
        for chunk in chunks:
            self.done += chunk.iterations_done
            self.results |= {chunk.numbers[place]: result for place, result in chunk.state.results().items()}
        n_seeds = self.study.search.n_seeds
        if not self.proposals or len(self.results) < len(self.proposals) * n_seeds:
            return
        from studies.objectives import summarize

        def of(proposal) -> list[RunResult]:
            return [self.results[proposal.number * n_seeds + i] for i in range(n_seeds)]

        summaries = [summarize(of(proposal), self.study.search.objectives) for proposal in self.proposals]
        self.proposals = self.mirror.tell(self.proposals, [summary.values for summary in summaries])
        self.store.end_chunk(
            self.study,
            self.token,
            self.chunk,
            self.proposals,
            summaries,
            sorted(self.results.items()),
            self.mirror.attributes,
            self.mirror.distributions,
        )
        self.chunk, self.proposals, self.results = self.chunk + 1, [], {}


def _attributes(chunks: list) -> dict:
    """Return what the sampler had noted about the study at the end of the last chunk."""
    return json.loads(chunks[-1].attributes) if chunks else {}
