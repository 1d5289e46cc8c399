"""Trains many runs at once: one NumPy call advances every run of a population.

Runs of equal shape share arrays; learning rate, initial weights, activation, seed, momentum and clipping norm vary inside.
A run's bits do not depend on its company: it has random streams of its own, every product is made run by run, and a
population of one is trained beside a copy of itself, because NumPy would otherwise drop the run axis and add up in another
order.
"""

import dataclasses
import time

import numpy as np

from engine.network import Network, initial_parameters
from engine.optimizers import CONSTANTS, OPTIMIZERS
from engine.randomness import HELD_OUT_SEED, stream
from engine.results import CURVES, Overflow, RunResult, make_result
from engine.tasks import TASKS
from engine.watch import KINDS, PHASES, FloatingPointWatch

LOG_POINTS = 100
"""Points of a curve: enough for any screen, and as many as the exercise plots (every 100 of 10,000 iterations)."""
START_SAMPLES = 250
"""Held-out samples behind the loss before the first update."""
HELD_OUT_SAMPLES = 1000
"""Held-out samples behind the final accuracy: its standard error is at most 1.6 percentage points, 0.3 at 99 %."""
N_EXAMPLES = 8
"""Worked examples kept of each run."""
BLOCK_BYTES = 400_000
"""Encoded samples drawn ahead; small enough to leave the cache to the weights."""
FORWARD, LOSS, BACKWARD, UPDATE = range(len(PHASES))
SAMPLES_AT_ONCE, RUNS_AT_ONCE = 125, 8
"""Held-out samples and runs evaluated together; keeps the evaluation in the cache. Divides the numbers of samples above."""


def shape_key(config) -> tuple:
    """Return what runs must have in common to be trained in one population."""
    return (
        config.task,
        config.bits,
        config.cell,
        config.hidden_size,
        config.bias,
        config.optimizer,
        config.batch_size,
        config.n_iterations,
        config.dtype,
        config.clip_norm is not None,
    )


def norms(rows: np.ndarray) -> np.ndarray:
    """Return the Euclidean norm of each row without overflowing on the way: (P, n) -> (P,) in float64."""
    rows = rows.astype(np.float64)
    largest = np.abs(rows).max(axis=1)
    scale = np.where((largest > 0) & np.isfinite(largest), largest, 1.0)
    return np.sqrt(np.square(rows / scale[:, None]).sum(axis=1)) * scale


class _Workspace:
    """What can be rebuilt at any time: the network's buffers and the constants as columns."""

    def __init__(self, configs, parameters: np.ndarray, known_events: np.ndarray):
        self.watch = FloatingPointWatch(known_events)
        self.gradients = np.empty_like(parameters)
        self.network = Network(configs, parameters, self.gradients, configs[0].batch_size, self.watch)
        self.loss_rows = self.network.squared.reshape(-1, len(configs))
        self.loss = np.empty(len(configs), parameters.dtype)
        self.constants = {
            name: np.array([[getattr(config, name)] for config in configs], parameters.dtype) for name in CONSTANTS
        }
        clips = configs[0].clip_norm is not None
        self.clip_norm = np.array([[c.clip_norm] for c in configs], parameters.dtype) if clips else None
        self.optimizer = OPTIMIZERS[configs[0].optimizer]


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

    def __init__(self, configs):
        self.configs = list(configs)
        if len({shape_key(config) for config in self.configs}) != 1:
            raise ValueError("expected one or more configs of one shape_key; group them with engine.stacks first")
        n_runs, first = len(self.configs), self.configs[0]
        self.iteration, self.n_iterations, self.task = 0, first.n_iterations, TASKS[first.task]
        n_points = min(LOG_POINTS, self.n_iterations)
        self.log_at = np.rint(np.linspace(0, self.n_iterations, n_points + 1)).astype(int)[1:].tolist()
        self.curves = np.full((n_runs, n_points, len(CURVES)), np.nan)
        self.n_logged = 0
        self.events = np.zeros(n_runs, [(name, int) for name in ("iteration", "phase", "kind", "count")])
        self.seconds = np.zeros(n_runs)
        self.finished: dict[int, RunResult] = {}
        self.generators = {config.seed: stream(config.seed, "data") for config in self.configs}
        self.held_out = self.task.draw(stream(HELD_OUT_SEED, "held_out"), HELD_OUT_SAMPLES)
        order = sorted(range(n_runs), key=lambda run: self.configs[run].activation)
        self.parameters = np.stack([initial_parameters(self.configs[run]) for run in order])
        self.states = [np.zeros_like(self.parameters) for _ in range(OPTIMIZERS[first.optimizer].n_states)]
        self.window_loss, self.window_right, self.window_start = np.zeros(n_runs), np.zeros(n_runs), 0
        self.rows, self._work = order, None
        self._keep(range(n_runs))
        self.start_loss = np.empty(n_runs)
        self.start_loss[self.rows] = self._evaluate(range(len(self.rows)), START_SAMPLES)[1]

    def _keep(self, rows) -> None:
        """Keep only some rows; a single survivor gets a copy of itself as company."""
        rows = list(rows)
        rows *= 2 if len(rows) == 1 else 1
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
        first = self.configs[0]
        end = min(self.iteration + n_iterations, self.n_iterations)
        while self.rows and self.iteration < end:
            sample_bytes = self.task.n_steps(first) * first.batch_size * (self.task.n_inputs + self.task.n_outputs)
            block = max(1, BLOCK_BYTES // (sample_bytes * len(self.rows)))
            n = min(block, end - self.iteration)
            samples = {
                seed: self.task.draw(self.generators[seed], n * first.batch_size).reshape(n, first.batch_size)
                for seed in {self.configs[run].seed for run in self.rows}
            }
            used = 0
            while used < n and self.rows:
                started, runs = time.perf_counter(), self.active
                used += self._train(samples, used)
                self.seconds[runs] += (time.perf_counter() - started) / len(runs)
        return self

    def _train(self, samples: dict[int, np.ndarray], used: int) -> int:
        """Train on the samples from `used` on until they are used up or a run leaves; return the iterations done."""
        configs = [self.configs[run] for run in self.rows]
        work = self._work = self._work or _Workspace(configs, self.parameters, self.events["count"][self.rows] > 0)
        drawn = np.array([samples[config.seed][used:] for config in configs])
        inputs, targets = self.task.encode(drawn.transpose(1, 2, 0), configs[0])
        watch, n = work.watch, inputs.shape[1]
        with watch.on():
            for i in range(n):
                np.copyto(work.network.x, inputs[:, i])
                np.copyto(work.network.target, targets[:, i])
                logs = self.iteration + 1 == self.log_at[self.n_logged]
                measured = self._step(work, logs)
                self.iteration += 1
                leaving = self._note_events(watch) if watch.happened else []
                if logs or leaving:
                    self._log(range(len(self.rows)) if logs else leaving, measured)
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

    def _step(self, work: _Workspace, logs: bool) -> np.ndarray | None:
        """Make one update of all weights; return the gradients' norms before it, (P,), where somebody will ask."""
        network, watch, gradients = work.network, work.watch, work.gradients
        watch.phase = FORWARD
        network.forward()
        watch.phase = LOSS
        network.loss()
        np.add.reduce(work.loss_rows, axis=0, out=work.loss)
        np.add(self.window_loss, work.loss, out=self.window_loss)
        right = self.task.correct(network.y[..., 0], network.target[..., 0])
        np.add(self.window_right, np.add.reduce(right, axis=0), out=self.window_right)
        watch.phase = BACKWARD
        network.backward()
        if watch.raised:
            watch.blame(gradients)
        watch.phase = UPDATE
        measured = norms(gradients) if logs or watch.spreads else None
        if work.clip_norm is not None:
            self._clip(work)
        work.optimizer.step(gradients, self.states, work.constants)
        np.subtract(self.parameters, gradients, out=self.parameters)
        if watch.raised:
            watch.blame(self.parameters)
        return measured

    @staticmethod
    def _clip(work: _Workspace) -> None:
        """Shorten gradients longer than clip_norm: Pascanu, Mikolov & Bengio (2013), algorithm 1."""
        squares = np.square(work.gradients)
        if work.watch.raised:
            work.watch.blame(squares)
        length = np.sqrt(np.add.reduce(squares, axis=1, keepdims=True))
        np.multiply(work.gradients, work.clip_norm / np.maximum(length, work.clip_norm), out=work.gradients)

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

    def _log(self, rows, gradient_norms: np.ndarray | None) -> None:
        """Write a point of the curves of some rows."""
        rows, work = list(rows), self._work
        with np.errstate(all="ignore"):
            weight_norms, step_norms = norms(self.parameters[rows]), norms(work.gradients[rows])
            n_samples = (self.iteration - self.window_start) * self.configs[0].batch_size
            point = {
                "iteration": self.iteration,
                "loss": 0.5 * self.window_loss[rows] / n_samples,
                "accuracy": self.window_right[rows] / n_samples,
                "gradient_norm": np.nan if gradient_norms is None else gradient_norms[rows],
                "weight_norm": weight_norms,
                "update_ratio": step_norms / weight_norms,
            }
        for column, name in enumerate(CURVES):
            self.curves[[self.rows[row] for row in rows], self.n_logged, column] = point[name]

    def _evaluate(self, rows, n_samples: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return accuracy (rows,), loss (rows,) and outputs of the first examples (T, N_EXAMPLES, rows) on held-out samples.

        A network that answers NaN answers wrong.
        """
        n_rows, config = len(rows), self.configs[0]
        rows = np.resize(rows, max(2, n_rows))  # one row gets itself as company: see the module's docstring
        right, loss = np.zeros(len(rows)), np.zeros(len(rows))
        examples = np.empty((self.task.n_steps(config), N_EXAMPLES, len(rows)))
        inputs, targets = self.task.encode(self.held_out[:n_samples], config)
        n_at_once = min(len(rows), RUNS_AT_ONCE)
        parameters = np.empty((n_at_once, self.parameters.shape[1]), config.dtype)
        with np.errstate(all="ignore"):
            for start in range(0, len(rows), n_at_once):
                start = min(start, len(rows) - n_at_once)  # the last part overlaps: all are of one size
                part = slice(start, start + n_at_once)
                parameters[...] = self.parameters[rows[part]]
                configs = [self.configs[self.rows[row]] for row in rows[part]]
                network = Network(configs, parameters, None, SAMPLES_AT_ONCE, FloatingPointWatch(np.zeros(n_at_once, bool)))
                right[part], loss[part] = 0, 0
                for first in range(0, n_samples, SAMPLES_AT_ONCE):
                    samples = slice(first, first + SAMPLES_AT_ONCE)
                    network.x[...], network.target[...] = inputs[:, samples, None], targets[:, samples, None]
                    outputs, truth = network.forward()[..., 0], network.target[..., 0]
                    right[part] += (self.task.correct(outputs, truth) & np.isfinite(outputs).all(axis=0)).sum(axis=0)
                    loss[part] += 0.5 * network.loss().sum(axis=(0, 1, 3), dtype=np.float64)
                    if first == 0:
                        examples[..., part] = outputs[:, :N_EXAMPLES]
        return right[:n_rows] / n_samples, loss[:n_rows] / n_samples, examples[..., :n_rows]

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
                start_loss=float(self.start_loss[run]),
                held_out_loss=float(loss[i]),
                baseline=self.task.baseline(config),
                accuracy=float(accuracy[i]),
                overflow=self._overflow(run),
                died=not np.isfinite(self.parameters[row]).all(),
                examples=self.task.examples(self.held_out[:N_EXAMPLES], outputs[..., i], config),
            )

    def _overflow(self, run: int) -> Overflow | None:
        event = self.events[run]
        if not event["count"]:
            return None
        return Overflow(int(event["iteration"]), PHASES[event["phase"]], KINDS[event["kind"]], int(event["count"]))

    def stop(self) -> None:
        """End the runs that are still training: they get results for what they have done, marked "stopped"."""
        if self.rows:
            self._finish(range(len(self.rows)), "stopped")
            self._keep([])

    def curve(self, place: int) -> np.ndarray:
        """Return the curves of one run so far, shape (points, len(CURVES)), by its place in `configs`."""
        return self.curves[place][~np.isnan(self.curves[place, :, CURVES.index("iteration")])]

    def results(self) -> dict[int, RunResult]:
        """Return the results of the runs that have ended, by place in `configs`."""
        return {run: dataclasses.replace(self.finished[run], seconds=float(self.seconds[run])) for run in sorted(self.finished)}
