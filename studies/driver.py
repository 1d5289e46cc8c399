"""Trains a job's runs in slices, here or in worker processes, and keeps the store informed.

A job is cut into populations, and each population's training into slices of a fraction of a second. Between two slices the
driver writes progress and asks whether to stop; a slice is a pure function of the population's state, so that a worker that
dies costs one slice, and a job that is killed costs the populations in flight.

A plan's runs are all known at the start. A search's are asked a chunk of trials at a time; a chunk is written when it is asked
and, with everything it came to, when the last of its runs has ended. A stopped or killed search trains an open chunk again.
Where a search prunes, all populations of a chunk wait for each other at each rung. A map's are those of its cells, coarse ones
first; they are lined up some at a time, and only whole ones are kept.
"""

import contextlib
import dataclasses
import itertools
import json
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from threadpoolctl import threadpool_limits

from engine import Population, RunConfig, RunResult, rough_seconds, stacks
from engine.population import log_points
from studies.errors import JobError
from studies.maps import CELL, COARSE, cell_of
from studies.objectives import so_far, summarize
from studies.pruning import given_up, rungs
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
FIRST_PICTURE_SECONDS = 3.0
"""Seconds of training on one core up to which a first picture is made without worker processes, which take one to start."""
MOST_DEATHS = 3
ROUND = 512
"""Runs of a map that are lined up at once for each worker: two populations of the usual size."""


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
    rung: int | None = None
    taken_at: int = 0

    @property
    def configs(self) -> list[RunConfig]:
        """Of its runs."""
        return self.state if isinstance(self.state, list) else self.state.configs

    @property
    def iteration(self) -> int:
        """How far the runs are that are still training."""
        return 0 if isinstance(self.state, list) else self.state.iteration

    @property
    def next_slice(self) -> int:
        """Iterations to train next: never past the rung."""
        return self.slice_length if self.rung is None else min(self.slice_length, self.rung - self.iteration)

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

    n_watched = LIVE_RUNS
    keeps_begun = True
    """Whether populations on their way are of use when the job is stopped."""

    def __init__(self, store: Store, job_id: str, n_workers: int, show: Callable | None):
        self.store, self.job = store, store.job(job_id)
        self.token = store.claim(job_id)
        self.show, self.stopping, self.pausing = show, threading.Event(), False
        self.n_workers, self.done = self.job.n_workers or n_workers, 0
        self.waiting: list[_Chunk] = []
        self.flying: dict[Here | Worker, _Chunk] = {}
        self.usual_slice = 5
        self.prepare()
        self.idle: list[Here | Worker] = []

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
        groups = sorted(stacks(configs, self.n_workers), key=min)
        self.waiting += [_Chunk([numbers[i] for i in group], [configs[i] for i in group], self.usual_slice) for group in groups]

    @property
    def has_more(self) -> bool:
        """Whether there is something left that is not lined up yet."""
        return False

    def refill(self) -> bool:
        """Line up more once everything is trained; return whether there is more."""
        return False

    def refresh(self) -> None:
        """Read again what is asked for; raise `JobError` if the job was taken over."""
        self.store.beat(self.job.id, self.token)

    def drive(self) -> str:
        """Train until everything is done or somebody asks to stop; return how it ended."""
        ready: list[_Chunk] = []
        with threadpool_limits(1), contextlib.ExitStack() as stack:
            stack.callback(self._staff, 0)
            self._beat(ready, first=True)
            while ready or self.waiting or self.flying or (not self.stopping.is_set() and self.refill()):
                self._staff(self.n_workers)
                self._hold_while_paused(ready)
                self._take_off(ready)
                if not self.flying or (self.stopping.is_set() and not self.keeps_begun):
                    break
                ready = self.sift(ready + [self._land(worker) for worker in done(self.flying)])
                self.save([chunk for chunk in ready if chunk.ended])
                ready = [chunk for chunk in ready if not chunk.ended]
                self._beat(ready)
        if self.stopping.is_set() and (ready or self.waiting or self.flying or self.has_more):
            self.save(ready, stopped=True)
            return "stopped"
        if self.done < self.job.n_iterations:  # a search among numbers of iterations: few trials took the most
            self.done = self.job.n_iterations
            self._beat([])
        return "finished"

    def _staff(self, n_workers: int) -> None:
        """Have so many workers, where 1 means this process; those that are busy leave after their slice."""
        kind = Worker if n_workers > 1 else Here
        leaving = [worker for worker in self.idle if not isinstance(worker, kind)]
        while len(self.idle) - len(leaving) + len(self.flying) > n_workers and len(leaving) < len(self.idle):
            leaving.append(next(worker for worker in self.idle if worker not in leaving))
        if not n_workers:
            leaving = [*self.idle, *self.flying]
        for worker in leaving:
            worker.end()
        self.idle = [worker for worker in self.idle if worker not in leaving]
        self.idle += [kind(_advance) for _ in range(n_workers - len(self.idle) - len(self.flying))]

    def _hold_while_paused(self, ready: list[_Chunk]) -> None:
        """Keep everything as it is until somebody wants it to go on, or to stop."""
        if not self.pausing or self.stopping.is_set():
            return
        self.store.mark_paused(self.job.id, self.token, True)
        while self.pausing and not self.stopping.wait(SLICE_SECONDS):
            self._beat(ready)
        self.store.mark_paused(self.job.id, self.token, False)

    def sift(self, ready: list[_Chunk]) -> list[_Chunk]:
        """Return the populations that may go on, or have ended."""
        return ready

    def _take_off(self, ready: list[_Chunk]) -> None:
        """Give every idle worker a slice."""
        while self.idle and (ready or self.waiting) and not self.stopping.is_set():
            worker, chunk = self.idle.pop(), ready.pop(0) if ready else self.waiting.pop(0)
            self.flying[worker], chunk.taken_at = chunk, chunk.iteration
            worker.begin(chunk.state, chunk.next_slice)

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
                    f"{max(chunk.numbers)}; expected them to live. Is there enough memory? In a script of your own, all that "
                    'trains has to stand below `if __name__ == "__main__":`, because worker processes read the script again.'
                ) from None
            return chunk
        trained = max(1, chunk.iteration - chunk.taken_at)
        chunk.slice_length = int(np.clip(trained * SLICE_SECONDS / max(seconds, 1e-9), 1, 10 * trained))
        self.usual_slice = max(5, chunk.slice_length // 2)
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
            if chunk.numbers[place] < self.n_watched
        }
        done = self.count(flying)
        wishes = self.store.beat(self.job.id, self.token, done, pack_live(live), first)
        self.pausing = wishes.pause
        if wishes.n_workers and wishes.n_workers != self.job.n_workers:
            self.job = dataclasses.replace(self.job, n_workers=wishes.n_workers)
            self.n_workers = wishes.n_workers
        if wishes.stop:
            self.stopping.set()
        if self.show:
            self.show(done / self.job.n_iterations)

    def count(self, chunks: list[_Chunk]) -> int:
        """Return the iterations that are done, with populations on their way."""
        return self.done + sum(chunk.iterations_done for chunk in chunks)

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
        from studies.sampling import FIXED, Mirror, Proposal

        self.study = self.store.study_of_job(self.job.id)
        search, chunks = self.study.search, self.store.chunks(self.study.id)
        trials = self.store.trials(self.study.id, done=False)
        n_runs = search.n_trials * search.n_seeds
        whole = rough_seconds(search.config(search.first(), 1)) * n_runs
        if not self.job.n_workers and whole < WORTH_A_POOL:
            self.n_workers = 1
        finished = [trial for trial in trials if trial.summary]
        told = [(Proposal(t.number, t.params, t.notes, t.summary.pruned_at), t.summary.values) for t in finished]
        ended = [chunk for chunk in chunks if chunk.state == "done"]
        self.mirror = Mirror(search, told, _attributes(ended), self.study.prior)
        self.chunk, self.proposals, self.results = len(ended), [], {}
        self.rungs = [trial.summary.rungs for trial in finished if trial.summary.state == "complete"]
        self.held: list[_Chunk] = []
        self.seconds, self.since = sum(chunk.seconds or 0 for chunk in ended), time.monotonic()
        self.stood_still: float | None = None
        self.began = self.seconds
        self.done = sum(search.config(t.params, 1).n_iterations for t in finished) * search.n_seeds
        if len(chunks) > len(ended):
            asked = [trial for trial in trials if not trial.summary]
            queued = [trial.params for trial in asked if FIXED in trial.notes]
            self.proposals = self.mirror.ask(self.chunk, len(asked) - len(queued), queued)
            if [proposal.values for proposal in self.proposals] != [trial.params for trial in asked]:
                raise JobError(
                    f"study {self.study.name!r}: expected the trials that were asked before, found others; it was begun with "
                    "another version of Optuna. Delete it and start it again"
                )
            self._line_up_trials()

    @property
    def used(self) -> float:
        """Seconds that the study has taken, pauses left out."""
        return self.seconds + (self.stood_still or time.monotonic()) - self.since

    @property
    def has_more(self) -> bool:
        """Whether there are trials that were not asked yet."""
        search = self.study.search
        in_time = not search.seconds or self.used < search.seconds
        return bool(self.proposals or self.study.queue) or (self.mirror.n_proposed < search.n_trials and in_time)

    def refresh(self) -> None:
        """Read the study again, which may have got more trials."""
        super().refresh()
        self.study = self.store.study_of_job(self.job.id)
        self.job = dataclasses.replace(self.study.job, n_workers=self.job.n_workers)

    def _hold_while_paused(self, ready: list[_Chunk]) -> None:
        """Let the study's time stand still as well."""
        self.stood_still = time.monotonic()
        super()._hold_while_paused(ready)
        self.since += time.monotonic() - self.stood_still
        self.stood_still = None

    def refill(self) -> bool:
        """Ask the next chunk of trials; those that people asked for come first."""
        self.refresh()
        if not self.has_more:
            if not self.study.search.seconds:
                return False
            settled = self.store.settle(self.study, self.token, self.mirror.n_asked)
            if settled is None:  # somebody gave the study more in this very moment
                return self.refill()
            self.job = settled
            self._beat([])
            return False
        search, queued = self.study.search, self.study.queue
        in_time = not search.seconds or self.used < search.seconds
        n = min(search.batch, search.n_trials - self.mirror.n_proposed) if in_time else 0
        self.proposals = self.mirror.ask(self.chunk, n, queued)
        self.store.open_chunk(self.study, self.token, self.chunk, self.proposals, self.mirror.attributes, len(queued))
        self.study = dataclasses.replace(self.study, queue=[])
        self._line_up_trials()
        return True

    def count(self, chunks: list[_Chunk]) -> int:
        """Return the iterations that are done; of a study with a time limit, as many as time has passed."""
        limit = self.study.search.seconds
        if not limit or self.done >= self.job.n_iterations:
            return super().count([*chunks, *self.held])
        return round(min(1, self.used / limit) * self.job.n_iterations)

    def _line_up_trials(self) -> None:
        search, self.results = self.study.search, {}
        self.pruned, self.compared = set(), {proposal.number: [] for proposal in self.proposals}
        self.shares, self.n_rungs_done = rungs(search.pruner), 0
        numbers = [p.number * search.n_seeds + i for p in self.proposals for i in range(search.n_seeds)]
        configs = [search.config(p.values, seed) for p in self.proposals for seed in search.seeds]
        self.line_up(numbers, configs)
        self._set_rung(self.waiting)

    def _set_rung(self, chunks: list[_Chunk]) -> None:
        """Let populations train to the next rung, or to their end."""
        left = self.shares[self.n_rungs_done :]
        for chunk in chunks:
            points = log_points(chunk.configs[0].n_iterations)
            chunk.rung = points[max(1, round(left[0] * len(points))) - 1] if left else None

    def sift(self, ready: list[_Chunk]) -> list[_Chunk]:
        """Hold populations at their rung; once all are there, prune, and let them go on."""
        waits = [chunk for chunk in ready if not chunk.ended and chunk.next_slice == 0]
        self.held += waits
        going = [chunk for chunk in ready if chunk not in waits]
        if not self.held or self.flying or self.waiting or not all(chunk.ended for chunk in going):
            return going
        self.save(going)
        held, self.held = self.held, []
        self._prune(held)
        self._set_rung(held)
        return held

    def _prune(self, held: list[_Chunk]) -> None:
        """Compare the trials at a rung, and end those that the rule gives up."""
        search, objective = self.study.search, self.study.search.objectives[0]
        values: dict[int, list[float]] = {}
        runs = [(n, c.configs[i], c.state.curve(i), c.state.finished.get(i)) for c in held for i, n in enumerate(c.numbers)]
        runs += [(number, result.config, result.curves, result) for number, result in self.results.items()]
        for number, config, curve, result in runs:
            died = result is not None and not result.evidence["weights_finite"]
            values.setdefault(number // search.n_seeds, []).append(so_far(objective, config, curve, died))
        sign = 1 if search.direction(objective) == "minimize" else -1
        means = {trial: statistics.fmean(them) for trial, them in values.items() if trial not in self.pruned}
        for trial, value in means.items():
            self.compared[trial].append(value)
        rung, first = self.n_rungs_done, self.proposals[0].number
        finished = [sign * reached[rung] for reached in self.rungs if len(reached) > rung]
        signed = {trial - first: sign * value for trial, value in means.items()}
        leaving = {first + p for p in given_up(search.pruner, signed, finished, rung, len(self.proposals))}
        for chunk in held:
            chunk.state.stop([i for i, n in enumerate(chunk.numbers) if n // search.n_seeds in leaving], "pruned")
        self.pruned |= leaving
        self.n_rungs_done += 1

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

        def of(proposal) -> list[RunResult]:
            return [self.results[proposal.number * n_seeds + i] for i in range(n_seeds)]

        objectives = self.study.search.objectives
        summaries = [summarize(of(p), objectives, self.compared[p.number]) for p in self.proposals]
        self.proposals = [p._replace(rungs=s.pruned_at) for p, s in zip(self.proposals, summaries, strict=True)]
        self.proposals = self.mirror.tell(self.proposals, [summary.values for summary in summaries])
        self.rungs += [summary.rungs for summary in summaries if summary.state == "complete"]
        self.store.end_chunk(
            self.study,
            self.token,
            self.chunk,
            self.proposals,
            summaries,
            sorted(self.results.items()),
            self.mirror.attributes,
            self.mirror.distributions,
            self.used - self.began,
        )
        self.chunk, self.proposals, self.results, self.began = self.chunk + 1, [], {}, self.used


class MapDriver(Driver):
    """The driver of a map: its runs are those of the cells, from coarse to fine."""

    n_watched, keeps_begun = 0, False

    def prepare(self) -> None:
        """Find out which cells are left."""
        self.record = self.store.map_of_job(self.job.id)
        self.map = self.record.map
        trained = self.store.cells(self.record.id)["outcome"].reshape(-1) > 0
        order = self.map.order
        self.todo = order[~trained[order]]
        self.n_asked, self.done = 0, self.map.n_iterations // self.map.n_runs * int(trained.sum())
        some = self.todo[:: max(1, len(self.todo) // COARSE)].tolist()
        each = statistics.fmean(rough_seconds(self.map.config(number)) for number in some) if some else 0
        self.worth, self.quick = each * len(self.todo) >= WORTH_A_POOL, each * COARSE**2 < FIRST_PICTURE_SECONDS
        self.wanted, self.n_workers = self.n_workers, 1

    @property
    def has_more(self) -> bool:
        """Whether there are cells that are not lined up yet."""
        return self.n_asked < len(self.todo)

    def refill(self) -> bool:
        """Line up the next cells."""
        if not self.has_more:
            return False
        first = not self.n_asked
        if self.worth and not (first and self.quick):
            self.n_workers = self.job.n_workers or self.wanted
        n = COARSE**2 if first else ROUND * self.n_workers
        numbers = self.todo[self.n_asked : self.n_asked + n].tolist()
        self.n_asked += len(numbers)
        self.line_up(numbers, [self.map.config(number) for number in numbers])
        return True

    def sift(self, ready: list[_Chunk]) -> list[_Chunk]:
        """Have something in line for every worker before it asks, but not before this process has ended what it began."""
        begun_here = self.n_workers == 1 and not all(chunk.ended for chunk in ready)
        if len(self.waiting) < self.n_workers and not begun_here and not self.stopping.is_set():
            self.refill()
        return ready

    def save(self, chunks: list[_Chunk], stopped: bool = False) -> None:
        """Write the cells that have ended; others are trained again when the map goes on."""
        if stopped:
            return
        results = [(chunk.numbers[place], r) for chunk in chunks for place, r in chunk.state.results().items()]
        if results:
            self.done += sum(chunk.iterations_done for chunk in chunks)
            numbers = np.array([number for number, _ in results], np.int32)
            self.store.save_cells(self.record, self.token, numbers, np.array([cell_of(r) for _, r in results], CELL))


def _attributes(chunks: list) -> dict:
    """Return what the sampler had noted about the study at the end of the last chunk."""
    return json.loads(chunks[-1].attributes) if chunks else {}
