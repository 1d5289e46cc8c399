"""The black box of a run that overflowed: what happened first, where, and how it came to that.

During training nothing is kept for it but iteration, phase and kind of a run's first floating-point event. The rest is found
by training the run again, with the same bits, up to the iteration before, and then going through the fatal iteration twice:

1. NumPy reports an overflow while the operation's caller waits. The tracer then looks at every buffer of the network: what is
   not finite now and was before, that the operation has just written.
2. Knowing the number, the tracer follows it from line to line (`sys.settrace`), so that its last value before the operation
   is known even where the operation overwrote it.
"""

import copy
import linecache
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from engine.config import RunConfig
from engine.errors import ConfigError
from engine.layout import unpack
from engine.network import parameter_shapes
from engine.population import norms
from engine.replay import Replay
from engine.watch import PHASES, FloatingPointWatch

TRAIL = 20
"""Iterations before the event that are described."""
GATE_NAMES = {"i": "input gate", "f": "forget gate", "o": "output gate", "g": "cell input"}
GATE_NAMES |= {"z": "update gate", "r": "reset gate", "n": "candidate"}
HIDDEN, LENGTH = "hidden state", "length of the gradient"
WHOLE = ("W_proj", "b_proj", "W_out", "b_out")
"""Parameters that belong to no layer."""
ENGINE, WATCH = str(Path(__file__).parent), sys.modules[FloatingPointWatch.__module__].__file__
NETWORK = sys.modules[parameter_shapes.__module__].__file__


@dataclass(frozen=True)
class BlackBox:
    """What happened first in a run that overflowed. Everything that people count is counted from 1.

    Attributes
    ----------
    iteration : int
    phase : str
        forward, loss, backward or update.
    kind : str
        overflow or invalid.
    operation : str
        NumPy's name of what was computed, such as "exp" or "matmul"; empty where the source is not at hand.
    layer : int or None
        None for projection, readout and loss.
    tensor : str
        A gate by its name, "hidden state", "cell state", "peephole", "readout", "loss", or a parameter such as "W_rec". In the
        backward phase it is the derivative of the loss with respect to that.
    time_step, sample, unit : int or None
        None for what has none: a weight belongs to no time step and no sample.
    row : int or None
        Of a weight matrix: the unit or input that the weight comes from.
    n_at_once : int
        How many numbers stopped being finite in the same operation.
    before : float
        The number's value just before; NaN for an intermediate result that was in no buffer.
    steps : list of float
        Of a number with time steps: largest absolute hidden value of its layer at each step before, in that iteration.
    trail : list of dict
        The iterations before the event and itself: iteration, largest_hidden, gradient_norm, largest_weight, loss. At the
        event itself only what was known by then.
    dtype : str
    """

    iteration: int
    phase: str
    kind: str
    operation: str
    layer: int | None
    tensor: str
    time_step: int | None
    sample: int | None
    unit: int | None
    row: int | None
    n_at_once: int
    before: float
    steps: list[float]
    trail: list[dict]
    dtype: str

    @property
    def place(self) -> str:
        """Where it happened, for people: "forget gate of unit 3, layer 1, time step 5, sample 2"."""
        names = [("layer", self.layer), ("time step", self.time_step), ("sample", self.sample)]
        unit = "" if self.unit is None else f" of unit {self.unit}"
        origin = "input" if self.layer in (None, 1) and self.tensor.startswith(("W_in", "W_proj")) else "unit"
        source = "" if self.row is None else f" from {origin} {self.row}"
        what = f"derivative of the {self.tensor}" if self.phase == "backward" else self.tensor
        return ", ".join([f"{what}{unit}{source}", *(f"{name} {number}" for name, number in names if number is not None)])

    @property
    def sentence(self) -> str:
        """What happened, for people."""
        most = float(np.finfo(self.dtype).max)
        if self.kind == "invalid":
            what = "an operation without an answer (such as inf - inf)"
        elif self.operation == "exp" and np.isfinite(self.before):
            what = f"exp({self.before:.5g}), more than {self.dtype} can hold ({most:.3g}),"
        else:
            what = f"more than {self.dtype} can hold ({most:.3g})"
        others = "another number" if self.n_at_once == 2 else f"{self.n_at_once - 1:,} other numbers"
        others = f"; {others} went with it" if self.n_at_once > 1 else ""
        return f"Iteration {self.iteration:,}, {self.phase} pass: {what} in the {self.place}{others}."


class _Place(NamedTuple):
    """A buffer: what it holds, its axes, the run's part of it.

    Axes as in `Cell.tensors`; besides K answer, O output, I where a weight comes from.
    """

    tensor: str
    axes: str
    array: np.ndarray
    layer: int | None = None
    gates: tuple[str, ...] = ()


class _Found(NamedTuple):
    """What the first pass found: the place by its number, the index in it, how many at once, and when."""

    place: int
    index: tuple[int, ...]
    n_at_once: int
    kind: str
    phase: int
    step: int
    operation: str
    steps: list[float]
    exponent: float | None


def black_box(config: RunConfig, iteration: int, show: Callable[[float], None] = lambda share: None) -> BlackBox:
    """Return what happened first in a run whose first event was at an iteration, counted from 1.

    Parameters
    ----------
    show : callable
        Is told the share that is done, from 0 to 1.

    Raises
    ------
    ConfigError
        If nothing overflows there: the run was trained by another engine version, or on another kind of processor.
    """
    replay, trail = Replay(config), []
    replay.look(range(iteration - TRAIL, iteration), lambda work: trail.append(_state(replay, work)))
    replay.advance_to(iteration - 1, show)
    if replay.events["count"].any():
        before = int(replay.events["iteration"].max())
        raise ConfigError(f"expected the first overflow at iteration {iteration}, found one at {before}; ask for that")
    again, found = copy.deepcopy(replay), None
    if replay.active and replay.iteration == iteration - 1:
        tracer, at_the_event = _trace(replay, None)
        found, places = tracer.found, tracer.places
    if found is None:
        raise ConfigError(
            f"expected an overflow at iteration {iteration}, found none on training the run again; it was trained by another "
            "version or on another kind of processor"
        )
    before = _trace(again, found)[0].value if found.exponent is None else found.exponent
    place = places[found.place]
    index = dict(zip(place.axes, found.index, strict=True))
    gate, unit = _gate_and_unit(place, index, config.hidden_size)
    step = index.get("T", index["K"] + _first_answer(replay) if "K" in index else found.step if "B" in index else None)
    show(1.0)
    return BlackBox(
        iteration=iteration,
        phase=PHASES[found.phase],
        kind=found.kind,
        operation=found.operation,
        layer=None if place.layer is None else place.layer + 1,
        tensor=_tensor(place.tensor, gate, config),
        time_step=None if step is None else step + 1,
        sample=index["B"] + 1 if "B" in index else None,
        unit=None if unit is None else unit + 1,
        row=index["I"] + 1 if "I" in index else None,
        n_at_once=found.n_at_once,
        before=before,
        steps=found.steps,
        trail=[*trail, at_the_event],
        dtype=config.dtype,
    )


def _first_answer(replay: Replay) -> int:
    return replay.task.n_steps(replay.configs[0]) - replay.task.n_answers(replay.configs[0])


def _gate_and_unit(place: _Place, index: dict[str, int], hidden_size: int) -> tuple[str, int | None]:
    """Return which gate ("" where none is meant) and unit an index means."""
    if "W" in index:
        gate, unit = divmod(index["W"], hidden_size)
        return place.gates[gate], unit
    return place.gates[index["G"]] if "G" in index else "", index.get("H", index.get("O"))


def _tensor(name: str, gate: str, config: RunConfig) -> str:
    """Return a tensor's name for people."""
    people = HIDDEN if config.cell == "rnn" else GATE_NAMES.get(gate, "")
    if name == "gate":
        return people
    return f"{name} ({people})" if people and config.cell != "rnn" else name


def _state(replay: Replay, work) -> dict:
    """Describe an iteration whose gradients are there."""
    network, n_samples = work.network, replay.configs[0].batch_size
    with np.errstate(all="ignore"):
        return {
            "iteration": replay.iteration + 1,
            "largest_hidden": max(float(np.abs(cell.h[:, :, 0]).max()) for cell in network.cells),
            "gradient_norm": float(norms(work.gradients[:1])[0]),
            "largest_weight": float(np.abs(replay.parameters[0]).max()),
            "loss": network.loss_factor * float(np.sum(work.loss[0], dtype=np.float64)) / n_samples,
        }


def _trace(replay: Replay, target: _Found | None) -> tuple["_Tracer", dict]:
    """Train the fatal iteration under the eyes of a tracer; return it, and the state in which the gradients were found."""
    state: dict = {}
    replay.watch_type, replay._work = (lambda known: _Tracer(known, target)), None
    work = replay._workspace()
    work.watch.start(work.network, _places(replay, work))
    replay.look([replay.iteration + 1], lambda work: state.update(_state(replay, work)))
    others = sys.gettrace()
    sys.settrace(work.watch.enter)
    try:
        replay.advance(1)
    finally:
        sys.settrace(others)
    work.watch.end()
    return work.watch, state


def _places(replay: Replay, work) -> list[_Place]:
    """Return every buffer of the one run in which numbers can overflow."""
    network, readout, config = work.network, work.network.readout, replay.configs[0]
    places = [
        _Place(name, axes.replace("P", ""), _of_run(array, axes), layer, cell.gates)
        for layer, cell in enumerate(network.cells)
        for name, axes, array in cell.tensors()
    ]
    answers = [
        ("readout", readout.a),
        ("readout", readout.y),
        ("loss", readout.error),
        ("loss", readout.losses),
        ("readout", readout.da),
    ]
    if hasattr(readout, "total"):
        answers.append(("readout", readout.total))
    places += [_Place(name, "KBO", _of_run(array, "KBPO")) for name, array in answers]
    places.append(_Place("loss", "O", work.loss[0]))
    if network.affine:
        for rows in (network.w_first[0], network.w_first_slopes[0]):
            places += [
                _Place("W_in", "IW", rows[:-1], 0, network.cells[0].gates),
                _Place("b", "W", rows[-1], 0, network.cells[0].gates),
            ]
    for place in places:
        place.array[...] = 0  # what stood in fresh memory
    work.gradients[...] = work.scratch[...] = 0
    for rows in (work.gradients, work.scratch, replay.parameters, *replay.states):
        places += _weights(rows[:1], config, network.cells[0].gates)
    return [*places, _Place(LENGTH, "", np.array(np.nan))]


def _of_run(array: np.ndarray, axes: str) -> np.ndarray:
    """View the first run's part of an array."""
    return array[(slice(None),) * axes.index("P") + (0,)]


def _weights(row: np.ndarray, config: RunConfig, gates: tuple[str, ...]) -> list[_Place]:
    """View what has the shape of the parameters, by their names."""
    shapes = parameter_shapes(config)
    places = []
    for name, array in unpack(row, shapes).items():
        weight, plain = shapes[name], name.rstrip("0123456789_") if name[-1].isdigit() else name
        layer = None if plain in WHOLE else int(name.rpartition("_")[2]) - 1 if name[-1].isdigit() else 0
        axes = {"input": "IW", "recurrent": "IW", "projection": "IO", "readout": "IO", "peephole": "GH"}.get(weight.kind)
        axes = axes or ("W" if plain == "b" else "H" if plain == "b_rec" else "O")
        places.append(_Place(plain, axes, array[0], layer, weight.gates if weight.kind == "peephole" else gates))
    return places


class _Tracer(FloatingPointWatch):
    """Looks at all buffers as soon as NumPy reports something; or, with a target, follows one number up to that moment.

    Attributes
    ----------
    found : _Found or None
    missing : _Found or None
        What was reported while no buffer was spoiled: an intermediate result, which most often arrives in one a line later.
    value : float
        The target's value before the operation that spoiled it.
    """

    def __init__(self, known: np.ndarray, target: _Found | None):
        super().__init__(known)
        self.target, self.found, self.value, self.over = target, None, float("nan"), False
        self.missing: _Found | None = None

    def start(self, network, places: list[_Place]) -> None:
        """Remember what is not finite before the iteration: an optimizer's memory may have overflowed without harm."""
        self.network, self.places = network, places
        self.was = [~np.isfinite(place.array) for place in places]

    def _notice(self, kind: str, flag: int) -> None:
        super()._notice(kind, flag)
        if self.target is not None:
            self.over |= not np.isfinite(self.places[self.target.place].array[self.target.index])
        elif self.found is None:
            what = "overflow" if kind == "overflow" else "invalid"
            in_cell, operation = _caller()
            report = _Found(len(self.places) - 1, (), 1, what, self.phase, self.step, operation, [], None)
            self._find(report, in_cell)
            self.missing = self.missing or report

    def _find(self, report: _Found, in_cell: bool) -> None:
        """Look for the first number that the operation has made non-finite; backwards, time steps run backwards."""
        for number, (place, was) in enumerate(zip(self.places, self.was, strict=True)):
            new = np.argwhere(~np.isfinite(place.array) & ~was)
            if len(new):
                if "T" in place.axes and PHASES[report.phase] == "backward":
                    new = new[np.argsort(-new[:, place.axes.index("T")], kind="stable")]
                index = tuple(new[0].tolist())
                step = index[place.axes.index("T")] if "T" in place.axes else report.step
                steps, exponent = self._growth(place, step, report.phase, in_cell), None
                if report.operation == "exp" and hasattr(self.network.readout, "total") and "K" in place.axes:
                    exponent = float(self.network.readout.a[(*index[:2], 0, index[2])])  # a softmax leaves it where it was
                self.found = report._replace(place=number, index=index, n_at_once=len(new), steps=steps, exponent=exponent)
                return

    def _growth(self, place: _Place, step: int, phase: int, in_cell: bool) -> list[float]:
        """Return the largest hidden value of each step so far, or backwards the largest dL/dh of each later step."""
        cell = self.network.cells[-1 if place.layer is None else place.layer]
        if PHASES[phase] == "update" or (place.layer is None and PHASES[phase] == "backward"):
            return []
        if PHASES[phase] == "backward":
            values = cell.dh[step + 1 :, :, 0] if "B" in place.axes else cell.dh[:, :, 0]
        elif place.layer is None:
            values = cell.h[1:, :, 0]
        else:
            values = cell.h[1 : step + 1 if in_cell else 1, :, 0]
        return np.abs(values).max(axis=(1, 2)).tolist() if len(values) else []

    def end(self) -> None:
        """Blame an update's intermediate result that never arrived in a buffer: dividing by the length makes it 0 again."""
        if self.found is None and self.missing is not None and PHASES[self.missing.phase] == "update":
            self.found = self.missing

    def enter(self, frame, event, argument):
        """Follow the engine's functions line by line, but for the watch's: the operation is over when it speaks."""
        file = frame.f_code.co_filename
        return self.follow if file.startswith(ENGINE) and file not in (__file__, WATCH) else None

    def follow(self, frame, event, argument):
        """Read the target before each line, until it is spoiled; or see where an intermediate result has arrived."""
        if event == "line" and self.target is None and self.missing is not None and self.found is None:
            self._find(self.missing, True)
        elif event == "line" and self.target is not None and not self.over:
            value = float(self.places[self.target.place].array[self.target.index])
            self.over = not np.isfinite(value)
            self.value = self.value if self.over else value
        return self.follow


def _caller() -> tuple[bool, str]:
    """Return whether a cell's step is being worked out, and the name of the NumPy function that the engine is in."""
    frame = sys._getframe(1)
    while frame is not None and (frame.f_code.co_filename == __file__ or "numpy" in Path(frame.f_code.co_filename).parts):
        frame = frame.f_back
    called = frame and re.search(r"np\.(\w+)", linecache.getline(frame.f_code.co_filename, frame.f_lineno))
    in_cell = frame is not None and frame.f_code.co_filename != NETWORK
    return in_cell, called.group(1) if called else ""
