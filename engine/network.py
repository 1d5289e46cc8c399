"""The whole network of a population: optional linear projection, recurrent layers, readout; forward, loss, backward.

    u = x W_in + b  of the first layer, above it the h of the layer below in the place of x        a = h W_out + b_out

The first layer sees [x, 1] and [W_in; b], so that one product gives input and bias together, forwards and backwards. A
linear projection before it is not worked out step by step: (x W_proj + b_proj) W_in + b is x (W_proj W_in) + (b_proj W_in + b),
two small products; its gradients follow in the same way.
"""

import numpy as np

from engine.cells import cell_of
from engine.initializers import INIT_SCHEMES
from engine.layout import Weight, apart, by_run, n_parameters, sum_rows, unpack
from engine.randomness import stream
from engine.readouts import READOUTS
from engine.tasks import TASKS
from engine.watch import FloatingPointWatch

MATRICES = ("W_in", "W_rec", "W_out", "W_proj", "peephole")
GATES = ("g", "i", "f", "o", "z", "r", "n")
"""Numbers of random streams: the same matrix and gate starts from the same noise in every cell."""


def _stream_number(name: str, layer: int, gate: str) -> tuple[int, ...]:
    """Return matrix, layer and gate as numbers without trailing zeros, so that a simple network's streams are 0, 1 and 2."""
    number = [MATRICES.index(name), layer, GATES.index(gate) if gate else 0]
    while len(number) > 1 and number[-1] == 0:
        number.pop()
    return tuple(number)


def _layer_name(name: str, layer: int) -> str:
    """Return a parameter's name: W_in, and W_in_2 in the second layer."""
    return name if layer == 0 else f"{name}_{layer + 1}"


def parameter_shapes(config) -> dict[str, Weight]:
    """Return name, shape and kind of every parameter of a run."""
    task, cell = TASKS[config.task], cell_of(config)
    n_inputs, shapes = task.n_inputs, {}
    if config.projection_size:
        shapes["W_proj"] = Weight((n_inputs, config.projection_size), "projection")
        if config.bias:
            shapes["b_proj"] = Weight((config.projection_size,), "bias")
        n_inputs = config.projection_size
    for layer in range(config.n_layers):
        shapes |= {_layer_name(name, layer): weight for name, weight in cell.parameters(n_inputs, config).items()}
        n_inputs = config.hidden_size
    shapes["W_out"] = Weight((config.hidden_size, task.n_outputs), "readout")
    return shapes | ({"b_out": Weight((task.n_outputs,), "bias")} if config.bias else {})


def count_parameters(config) -> int:
    """Return how many numbers a run trains."""
    return n_parameters(parameter_shapes(config))


def initial_parameters(config) -> np.ndarray:
    """Return a run's initial parameters, flat, in its own number type; biases start at 0.

    Every matrix, and in it every gate, is drawn by itself, with the fans of that gate alone and a random stream of its own:
    two runs of one seed share the noise of what they share. Peepholes are the diagonal of such a matrix.
    """
    scheme, parts = INIT_SCHEMES[config.init_scheme], []
    for name, weight in parameter_shapes(config).items():
        if weight.kind == "bias":
            parts.append(np.zeros(weight.shape))
            continue
        base, _, layer = name.rpartition("_") if name[-1].isdigit() else (name, "", "1")
        numbers = [_stream_number(base, int(layer) - 1, gate) for gate in weight.gates]
        streams = [stream(config.seed, "weights", *number) for number in numbers]
        if weight.kind == "peephole":
            size = weight.shape[1]
            noise = np.array([np.diag(scheme(rng, size, size, False)) for rng in streams])
        else:
            fan_in, fan_out = weight.shape[0], weight.shape[1] // len(weight.gates)
            noise = np.hstack([scheme(rng, fan_in, fan_out, weight.kind == "recurrent") for rng in streams])
        parts.append(config.weight_init_std * noise)
    return np.concatenate([part.ravel() for part in parts]).astype(config.dtype)


class Network:
    """Buffers and views for one population shape: P runs, B sequences, T steps, K of them with a target.

    Parameters
    ----------
    configs : list of RunConfig
        One for each run, of equal shape, sorted by activation.
    parameters, gradients : array, shape (P, n)
        Flat, one row for each run; gradients may be None where only `forward` is needed.
    batch_size : int
        B, which for held-out samples differs from the config's.
    watch : FloatingPointWatch
    keeps_errors : bool
        Whether the cells' dL/dh have to survive `backward`.

    Attributes
    ----------
    x : array, shape (T, B, P, I)
    readout : Readout
        With y, target and losses, (K, B, P, O).
    """

    def __init__(self, configs, parameters, gradients, batch_size, watch: FloatingPointWatch, keeps_errors=False):
        config, task, n_runs = configs[0], TASKS[configs[0].task], len(configs)
        n_steps, n_answers = task.n_steps(config), task.n_answers(config)
        shapes, dtype = parameter_shapes(config), parameters.dtype
        self.watch, self.projects = watch, bool(config.projection_size)
        self.weights = unpack(parameters, shapes)
        self.gradients = None if gradients is None else unpack(gradients, shapes)
        layers = [self._of_layer(layer) for layer in range(config.n_layers)]
        make = cell_of(config)
        self.cells = [make(configs, own, slopes, n_steps, batch_size, watch, keeps_errors) for own, slopes in layers]
        self.offsets = [cell.offset(configs) for cell in self.cells]
        first, n_inputs = self.cells[0].weights, task.n_inputs
        # with one input BLAS is slow: a column of ones beside it makes it ten times faster (1,000 x 1 times 1 x 320)
        self.affine = self.projects or "b" in first or self.offsets[0] is not None or n_inputs == 1
        self.inputs = np.ones((n_steps, batch_size, n_runs, n_inputs + self.affine), dtype)
        self.x, self.input_rows = self.inputs[..., :n_inputs], by_run(self.inputs)
        if self.affine:
            self.w_first = np.zeros((n_runs, n_inputs + 1, first["W_in"].shape[-1]), dtype)
            self.w_first_slopes = np.empty_like(self.w_first)
        self.readout = READOUTS[task.output, config.loss]((n_answers, batch_size, n_runs, task.n_outputs), dtype, watch)
        weight = task.step_weight(config)
        self.loss_factor = self.readout.loss_factor * weight
        self.gradient_factor = self.readout.gradient_factor * weight / batch_size
        self.first_answer = n_steps - n_answers
        self.a_rows, self.da_rows = by_run(self.readout.a), by_run(self.readout.da)
        self.h_last = self.cells[-1].h[1 + self.first_answer :]
        self.h_apart = self.h_last if n_runs > 1 else apart(self.h_last.shape, dtype)
        self.h_rows = by_run(self.h_apart)

    def _of_layer(self, layer: int) -> tuple[dict, dict | None]:
        """Return weights and gradients of one layer under their plain names."""
        suffix = f"_{layer + 1}" if layer else ""
        names = [name for name in self.weights if (name.endswith(suffix) if layer else not name[-1].isdigit())]
        plain = {name.removesuffix(suffix): name for name in names}
        weights = {own: self.weights[name] for own, name in plain.items()}
        return weights, None if self.gradients is None else {own: self.gradients[name] for own, name in plain.items()}

    def forward(self) -> np.ndarray:
        """Return the answers y, shape (K, B, P, O), for the inputs in `x`."""
        for layer, cell in enumerate(self.cells):
            if layer == 0:
                np.matmul(self.input_rows, self._first_weights(), out=by_run(cell.u))
            else:
                np.matmul(by_run(self.cells[layer - 1].h[1:]), cell.weights["W_in"], out=by_run(cell.u))
                for b in (cell.weights.get("b"), self.offsets[layer]):
                    if b is not None:
                        np.add(cell.u, b, out=cell.u)
            if self.watch.raised:
                self.watch.blame(cell.u)
            cell.forward()
        if self.h_apart is not self.h_last:
            np.copyto(self.h_apart, self.h_last)
        np.matmul(self.h_rows, self.weights["W_out"], out=self.a_rows)
        if "b_out" in self.weights:
            np.add(self.readout.a, self.weights["b_out"], out=self.readout.a)
        if self.watch.raised:
            self.watch.blame(self.readout.a)
        self.readout.answer()
        return self.readout.y

    def _first_weights(self) -> np.ndarray:
        """Return [W_in; b] of the first layer, with projection and offset worked in."""
        weights, offset = self.cells[0].weights, self.offsets[0]
        if not self.affine:
            return weights["W_in"]
        w, b = self.w_first[:, :-1], self.w_first[:, -1]
        if "b" in weights:
            np.copyto(b, weights["b"])
        if self.projects:
            np.matmul(self.weights["W_proj"], weights["W_in"], out=w)
            if "b_proj" in self.weights:
                np.add(b, np.matmul(self.weights["b_proj"][:, None], weights["W_in"])[:, 0], out=b)
        else:
            np.copyto(w, weights["W_in"])
        if offset is not None:
            np.add(b if "b" in weights else 0, offset, out=b)
        if self.watch.raised:
            self.watch.blame(self.w_first.transpose(1, 0, 2))
        return self.w_first

    def loss(self) -> np.ndarray:
        """Return the losses by step, sequence, run and output.

        Their sum over steps and outputs, mean over sequences, times `loss_factor` is the loss.
        """
        self.readout.loss()
        if self.watch.raised:
            self.watch.blame(self.readout.losses)
        return self.readout.losses

    def backward(self) -> None:
        """Write dL/dparameters into `gradients`, after `forward` and `loss`."""
        readout, cell = self.readout, self.cells[-1]
        readout.derivative()
        if self.gradient_factor != 1:
            np.multiply(readout.da, self.gradient_factor, out=readout.da)
        np.matmul(self.h_rows.transpose(0, 2, 1), self.da_rows, out=self.gradients["W_out"])
        if "b_out" in self.gradients:
            sum_rows(readout.da, out=self.gradients["b_out"])
        if self.first_answer:
            cell.dh[: self.first_answer] = 0
        if readout.da.shape[-1] == 1:
            np.multiply(readout.da, self.weights["W_out"][:, :, 0], out=cell.dh[self.first_answer :])
        else:
            np.matmul(self.da_rows, self.weights["W_out"].transpose(0, 2, 1), out=by_run(cell.dh[self.first_answer :]))
        for layer in range(len(self.cells) - 1, 0, -1):
            cell, below = self.cells[layer], self.cells[layer - 1]
            cell.backward()
            np.matmul(by_run(below.h[1:]).transpose(0, 2, 1), by_run(cell.delta), out=cell.gradients["W_in"])
            if "b" in cell.gradients:
                sum_rows(cell.delta, out=cell.gradients["b"])
            np.matmul(by_run(cell.delta), cell.weights["W_in"].transpose(0, 2, 1), out=by_run(below.dh))
        self.cells[0].backward()
        self._first_gradients(self.cells[0])

    def _first_gradients(self, cell) -> None:
        """Write the first layer's input gradients and those of a projection before it."""
        slopes = self.w_first_slopes if self.affine else cell.gradients["W_in"]
        np.matmul(self.input_rows.transpose(0, 2, 1), by_run(cell.delta), out=slopes)
        if not self.affine:
            return
        dw, db = slopes[:, :-1], slopes[:, -1]
        if "b" in cell.gradients:
            np.copyto(cell.gradients["b"], db)
        if not self.projects:
            np.copyto(cell.gradients["W_in"], dw)
            return
        w_in_t = cell.weights["W_in"].transpose(0, 2, 1)
        np.matmul(dw, w_in_t, out=self.gradients["W_proj"])
        np.matmul(self.weights["W_proj"].transpose(0, 2, 1), dw, out=cell.gradients["W_in"])
        if "b_proj" in self.weights:
            np.matmul(db[:, None], w_in_t, out=self.gradients["b_proj"][:, None])
            outer = self.weights["b_proj"][:, :, None] * db[:, None]
            np.add(cell.gradients["W_in"], outer, out=cell.gradients["W_in"])


__all__ = ["Network", "count_parameters", "initial_parameters", "n_parameters", "parameter_shapes"]
