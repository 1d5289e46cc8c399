"""Trains many runs at once: one NumPy call advances every run of a population.

Runs of equal shape share arrays; learning rate, initial weights, activation, seed, pool and all constants of optimizer,
schedule and clipping vary inside. A run's bits do not depend on its company: it has random streams of its own, every product is
made run by run, and a lone run of little work is trained beside a copy of itself, because NumPy would otherwise drop the run
axis and take another path.
"""

import dataclasses
import time

import numpy as np

from engine.evaluation import HELD_OUT_SAMPLES, N_EXAMPLES, START_SAMPLES, evaluate
from engine.layout import sum_rows
from engine.memory import check_memory, company
from engine.network import Network, initial_parameters
from engine.optimizers import OPTIMIZERS, SCHEDULES, Column, clip_norms, clip_values
from engine.randomness import HELD_OUT_SEED, stream
from engine.results import CURVES, Overflow, RunResult, make_result
from engine.tasks import TASKS
from engine.watch import KINDS, PHASES, FloatingPointWatch

LOG_POINTS = 100
"""Points of a curve: enough for any screen, and as many as the exercise plots (every 100 of 10,000 iterations)."""
BLOCK_BYTES = 400_000
"""Encoded samples drawn ahead; small enough to leave the cache to the weights."""
FORWARD, LOSS, BACKWARD, UPDATE = range(len(PHASES))
SHAPE = (
    *("task", "bits", "length", "cell", "hidden_size", "n_layers", "reset_after", "projection_size", "bias"),
    *("loss", "optimizer", "batch_size", "n_iterations", "dtype"),
)
"""Settings that the runs of one population share; of clipping they share whether there is any. All others vary inside."""


def shape_key(config) -> tuple:
    """Return what runs must have in common to be trained in one population."""
    clips = (config.clip_norm is not None, config.clip_value is not None)
    return (*(getattr(config, name) for name in SHAPE), *clips)


def log_points(n_iterations: int) -> list[int]:
    """Return the iterations, counted from 1, after which a point of the curves is written; the last is the end."""
    return np.rint(np.linspace(0, n_iterations, min(LOG_POINTS, n_iterations) + 1)).astype(int)[1:].tolist()


def norms(rows: np.ndarray) -> np.ndarray:
    """Return the Euclidean norm of each row without overflow or underflow on the way: (P, n) -> (P,) in float64."""
    with np.errstate(all="ignore"):
        squares = np.vecdot(rows, rows).astype(np.float64)
        limits = np.finfo(rows.dtype)
        doubtful = np.flatnonzero(~((squares > limits.tiny / limits.eps) & (squares < np.inf)))
        lengths = np.sqrt(squares)
        if len(doubtful):
            exact = rows[doubtful].astype(np.float64)
            largest = np.abs(exact).max(axis=1)
            scale = np.where((largest > 0) & np.isfinite(largest), largest, 1.0)
            lengths[doubtful] = np.sqrt(np.square(exact / scale[:, None]).sum(axis=1)) * scale
    return lengths


class _Workspace:
    """What can be rebuilt at any time: the network's buffers and the constants as columns."""

    def __init__(self, configs, parameters: np.ndarray, watch: FloatingPointWatch, keeps_errors: bool):
        self.watch, self.configs, self.dtype = watch, configs, parameters.dtype
        self.gradients, self.scratch = np.empty_like(parameters), np.empty_like(parameters)
        self.network = Network(configs, parameters, self.gradients, configs[0].batch_size, watch, keeps_errors)
        self.loss = np.empty((len(configs), self.network.readout.losses.shape[-1]), parameters.dtype)
        self.optimizer = OPTIMIZERS[configs[0].optimizer]
        self.constants = {name: self._column(name) for name in ("learning_rate", *self.optimizer.constants)}
        self.clip_norm = self._column("clip_norm").value if configs[0].clip_norm is not None else None
        self.clip_value = self._column("clip_value").value if configs[0].clip_value is not None else None
        self.scheduled = any(config.schedule != "constant" for config in configs)

    def _column(self, name: str) -> Column:
        return Column.of([getattr(config, name) for config in self.configs], self.dtype)

    def set_learning_rates(self, done: int) -> None:
        """Let each run's learning rate follow its schedule after `done` updates."""
        rates = [config.learning_rate * SCHEDULES[config.schedule](config, done) for config in self.configs]
        self.constants["learning_rate"] = Column.of(rates, self.dtype)


class Population:
    """Runs of one shape that advance together; may be pickled between two calls of `advance`.

    Parameters
    ----------
    configs : list of RunConfig
        One or more, all with the same `shape_key`.

    Attributes
    ----------
    iteration : int
        Iterations done by the runs that are still training.
    finished : dict of int to RunResult
        Results so far, by place in `configs`.
    """

    watch_type: type[FloatingPointWatch] = FloatingPointWatch
    keeps_errors = False

    def __init__(self, configs):
        self.configs = list(configs)
        if len({shape_key(config) for config in self.configs}) != 1:
            raise ValueError("expected one or more configs of one shape_key; group them with engine.stacks first")
        n_runs, first = len(self.configs), self.configs[0]
        sources = {(config.seed, config.pool_size) for config in self.configs}
        check_memory(first, n_runs, sum(n for _, n in sources))
        self.iteration, self.n_iterations, self.task = 0, first.n_iterations, TASKS[first.task]
        self.log_at = log_points(self.n_iterations)
        self.curves = np.full((n_runs, len(self.log_at), len(CURVES)), np.nan)
        self.tested = np.full((n_runs, len(self.log_at)), np.nan)  # held-out losses of runs with a pool
        self.n_logged = 0
        self.events = np.zeros(n_runs, [(name, int) for name in ("iteration", "phase", "kind", "count")])
        self.n_lost, self.seconds = np.zeros(n_runs, int), np.zeros(n_runs)
        self.finished: dict[int, RunResult] = {}
        self.generators = {source: stream(source[0], "data") for source in sources}
        self.pools = {(s, n): self.task.draw(stream(s, "pool"), n, first) for s, n in sources if n}
        self.held_out = self.task.draw(stream(HELD_OUT_SEED, "held_out"), HELD_OUT_SAMPLES, first)
        order = sorted(range(n_runs), key=lambda run: self.configs[run].activation or "")
        self.parameters = np.stack([initial_parameters(self.configs[run]) for run in order])
        self.states = [np.zeros_like(self.parameters) for _ in range(OPTIMIZERS[first.optimizer].n_states)]
        self.window_loss, self.window_right, self.window_start = np.zeros(n_runs), np.zeros(n_runs), 0
        self.rows, self._work = order, None
        self._keep(range(n_runs))
        self.start_loss = np.empty(n_runs)
        self.start_loss[self.rows] = self._evaluate(range(len(self.rows)), START_SAMPLES)[1]

    def _keep(self, rows) -> None:
        """Keep only some rows; a single survivor may get a copy of itself as company."""
        rows = list(rows)
        rows = rows and list(np.resize(rows, company(self.configs[0], len(rows))))
        self.rows = [self.rows[row] for row in rows]
        self.parameters = self.parameters[rows]
        self.states = [state[rows] for state in self.states]
        self.window_loss, self.window_right = self.window_loss[rows], self.window_right[rows]
        self._work = None

    def __getstate__(self) -> dict:
        return self.__dict__ | {"_work": None}

    @property
    def active(self) -> list[int]:
        """Places in `configs` of the runs that are still training."""
        return sorted(set(self.rows))

    def advance(self, n_iterations: int) -> "Population":
        """Train every active run for up to `n_iterations` more and return self; cutting a training up changes no bit."""
        end = min(self.iteration + n_iterations, self.n_iterations)
        while self.rows and self.iteration < end:
            block = max(1, BLOCK_BYTES // (self._iteration_bytes() * len(self.rows)))
            n = min(block, end - self.iteration)
            samples = {source: self._draw(source, n) for source in {self._source(run) for run in self.rows}}
            used = 0
            while used < n and self.rows:
                started, runs = time.perf_counter(), self.active
                used += self._train(samples, used)
                self.seconds[runs] += (time.perf_counter() - started) / len(runs)
        return self

    def _iteration_bytes(self) -> int:
        """Return how many bytes one iteration's samples of one run take."""
        inputs, targets = self.task.encode(self.held_out[:1], self.configs[0])
        return (inputs.nbytes + targets.nbytes + self.held_out[:1].nbytes) * self.configs[0].batch_size

    def _source(self, run: int) -> tuple[int, int]:
        """Return where a run's samples come from: its seed and the size of its pool."""
        return self.configs[run].seed, self.configs[run].pool_size

    def _draw(self, source: tuple[int, int], n: int) -> np.ndarray:
        """Draw the samples of the next n iterations, fresh or with replacement from the pool: (n, B, W)."""
        first, generator = self.configs[0], self.generators[source]
        if source in self.pools:
            words = generator.bit_generator.random_raw(n * first.batch_size)
            return self.pools[source][words % np.uint64(source[1])].reshape(n, first.batch_size, -1)
        return self.task.draw(generator, n * first.batch_size, first).reshape(n, first.batch_size, -1)

    def _train(self, samples: dict[tuple[int, int], np.ndarray], used: int) -> int:
        """Train on the samples from `used` on until they are used up or a run leaves; return the iterations done."""
        configs, work = [self.configs[run] for run in self.rows], self._workspace()
        drawn = np.array([samples[self._source(run)][used:] for run in self.rows])
        inputs, targets = self.task.encode(drawn.transpose(1, 2, 0, 3), configs[0])
        watch, n = work.watch, inputs.shape[1]
        with watch.on():
            for i in range(n):
                np.copyto(work.network.x, inputs[:, i])
                np.copyto(work.network.readout.target, targets[:, i])
                logs = self.iteration + 1 == self.log_at[self.n_logged]
                measured = self._step(work, logs)
                self.iteration += 1
                leaving = self._note_events(watch) if watch.happened else []
                if logs or leaving:
                    self._log(slice(None) if logs else leaving, measured)
                if logs:
                    self.n_logged += 1
                    self.window_loss[:], self.window_right[:], self.window_start = 0, 0, self.iteration
                if self.iteration == self.n_iterations:
                    leaving = range(len(self.rows))
                if leaving:
                    self._finish(leaving, "finished")
                    self._keep(sorted(set(range(len(self.rows))).difference(leaving)))
                    return i + 1
        return n

    def _workspace(self) -> _Workspace:
        """Return the buffers for the rows that are there."""
        if self._work is None:
            configs, known = [self.configs[run] for run in self.rows], self.events["count"][self.rows] > 0
            self._work = _Workspace(configs, self.parameters, self.watch_type(known), self.keeps_errors)
        return self._work

    def _step(self, work: _Workspace, logs: bool) -> np.ndarray | None:
        """Make one update of all weights; return the gradients' norms before it, (P,), where somebody will ask."""
        self._find_gradients(work)
        return self._update(work, logs)

    def _find_gradients(self, work: _Workspace) -> None:
        """Go forward and backward through the network, and add to the window's loss and right answers."""
        network, watch = work.network, work.watch
        watch.phase = FORWARD
        network.forward()
        watch.phase = LOSS
        sum_rows(network.loss(), out=work.loss)
        if watch.raised:
            watch.blame(work.loss, recovers=True)
        np.add(self.window_loss, np.add.reduce(work.loss, axis=1), out=self.window_loss)
        right = self.task.correct(network.readout.y, network.readout.target)
        np.add(self.window_right, np.add.reduce(right, axis=0), out=self.window_right)
        watch.phase = BACKWARD
        network.backward()
        if watch.raised:
            watch.blame(work.gradients)

    def _update(self, work: _Workspace, logs: bool) -> np.ndarray | None:
        """Clip the gradients, turn them into steps, and make these."""
        watch, gradients = work.watch, work.gradients
        watch.phase = UPDATE
        measured = norms(gradients) if logs or watch.spreads else None
        if work.clip_value is not None:
            clip_values(gradients, work.clip_value)
        if work.clip_norm is not None:
            clip_norms(gradients, work.clip_norm, work.scratch, watch)
        if work.scheduled:
            work.set_learning_rates(self.iteration)
        work.optimizer.step(gradients, self.states, work.scratch, work.constants, self.iteration + 1)
        np.subtract(self.parameters, gradients, out=self.parameters)
        if watch.raised:
            self._blame_update(watch)
        return measured

    def _blame_update(self, watch: FloatingPointWatch) -> None:
        """Find the runs whose weights, or more of whose optimizer's memory than before, stopped being finite."""
        watch.blame(self.parameters)
        if self.states:
            n_lost = sum(np.count_nonzero(~np.isfinite(state), axis=1) for state in self.states)
            watch.blame(np.where(n_lost > self.n_lost[self.rows], np.inf, 0)[:, None], recovers=True)
            self.n_lost[self.rows] = n_lost

    def _note_events(self, watch: FloatingPointWatch) -> list[int]:
        """Count this iteration's events; return the rows whose weights are no longer finite and so have to leave."""
        hit = np.flatnonzero(watch.hit)
        runs = np.asarray(self.rows)[hit]
        new = self.events["count"][runs] == 0
        self.events["iteration"][runs[new]] = self.iteration
        self.events["phase"][runs[new]] = watch.first_phase[hit[new]]
        self.events["kind"][runs[new]] = watch.first_kind[hit[new]]
        self.events["count"][runs] = self.events["count"][runs] + 1  # not +=: a run may stand here twice
        dead = hit[~np.isfinite(self.parameters[hit]).all(axis=1)] if watch.spreads else hit[:0]
        watch.next_iteration()
        return dead.tolist()

    def _log(self, rows: slice | list[int], gradient_norms: np.ndarray | None) -> None:
        """Write a point of the curves of some rows."""
        runs, gradients = np.asarray(self.rows)[rows], self._work.gradients
        n_samples = (self.iteration - self.window_start) * self.configs[0].batch_size
        with np.errstate(all="ignore"):
            weight_norms = norms(self.parameters[rows])
            point = {
                "iteration": self.iteration,
                "loss": self._work.network.loss_factor * self.window_loss[rows] / n_samples,
                "accuracy": self.window_right[rows] / n_samples,
                "gradient_norm": np.nan if gradient_norms is None else gradient_norms[rows],
                "weight_norm": weight_norms,
                "update_ratio": norms(gradients[rows]) / weight_norms,
            }
        for column, name in enumerate(CURVES):
            self.curves[runs, self.n_logged, column] = point[name]
        everywhere = range(len(self.rows)) if isinstance(rows, slice) else rows
        pooled = [row for row in everywhere if self._source(self.rows[row]) in self.pools]
        if pooled:  # fresh samples of a pool are no test
            accuracy, loss, _ = self._evaluate(pooled, START_SAMPLES)
            runs = [self.rows[row] for row in pooled]
            self.curves[runs, self.n_logged, CURVES.index("accuracy")], self.tested[runs, self.n_logged] = accuracy, loss

    def _evaluate(self, rows, n_samples: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return accuracy (rows,), loss (rows,) and first answers (K, N_EXAMPLES, rows, O) on held-out samples."""
        n_rows = len(rows)
        rows = np.resize(rows, max(2, n_rows))  # one row gets itself as company: see the module's docstring
        configs = [self.configs[self.rows[row]] for row in rows]
        accuracy, loss, examples = evaluate(configs, self.parameters[rows], self.held_out[:n_samples])
        return accuracy[:n_rows], loss[:n_rows], examples[:, :, :n_rows]

    def _finish(self, rows, status: str) -> None:
        """Evaluate some rows on all held-out samples and make their results."""
        rows = list(rows)
        accuracy, loss, outputs = self._evaluate(rows, HELD_OUT_SAMPLES)
        for i, row in enumerate(rows):
            run = self.rows[row]
            config = self.configs[run]
            self.finished[run] = make_result(
                config,
                status=status,
                iterations=self.iteration,
                curves=self.curve(run),
                tested=self.tested[run, : len(self.curve(run))] if config.pool_size else None,
                start_loss=float(self.start_loss[run]),
                held_out_loss=float(loss[i]),
                baseline=self.task.baseline(config),
                accuracy=float(accuracy[i]),
                overflow=self._overflow(run),
                weights=self.parameters[row],
                examples=self.task.examples(self.held_out[:N_EXAMPLES], outputs[:, :, i], config),
            )

    def _overflow(self, run: int) -> Overflow | None:
        event = self.events[run]
        if not event["count"]:
            return None
        return Overflow(int(event["iteration"]), PHASES[event["phase"]], KINDS[event["kind"]], int(event["count"]))

    def stop(self, places=None, status: str = "stopped") -> None:
        """End runs that are still training, all or those at some places: they get results for what they have done."""
        leaving = [row for row, run in enumerate(self.rows) if places is None or run in places]
        if leaving:
            self._finish(leaving, status)
            self._keep(sorted({self.rows.index(run) for run in self.rows} - set(leaving)))

    def curve(self, place: int) -> np.ndarray:
        """Return the curves of one run so far, shape (points, len(CURVES)), by its place in `configs`."""
        return self.curves[place][~np.isnan(self.curves[place, :, CURVES.index("iteration")])]

    def results(self) -> dict[int, RunResult]:
        """Return the results of the runs that have ended, by place in `configs`."""
        return {run: dataclasses.replace(self.finished[run], seconds=float(self.seconds[run])) for run in sorted(self.finished)}
