"""The works of `peers.py` in PyTorch: all runs stacked by hand in one network, or one layer of `torch.nn` run after run.

Started by `peers.py` with a task as JSON, asked for rounds on standard input. The gradient is autograd's. What is free for
PyTorch: drawing and encoding samples and finding out which of several ways is fastest here (`candidates`). What is timed:
all updates, the mean loss at the log points, the loss of 1,000 held-out samples, which go through the network in pieces.

Updates subtract `autograd.grad` in place, which spares `torch.optim` its bookkeeping. `nn.LSTM` has two biases that are added
to each other; the second stays 0, so that it trains what the others train. `torch.compile` gained 4 % in the stacked
addition for half a minute of compiling, and does not take `nn.LSTM`: it is left out, and with it the C++ compiler it needs.
"""

import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.peer_process import CORES, HELD_OUT_PIECES, fastest, load, n_points, serve


class Way(NamedTuple):
    """One way to do the same training: the number of threads; products as sums instead of `bmm`."""

    threads: int
    sums: bool = False


def stacked_rnn(w: dict[str, Tensor], x: Tensor) -> Tensor:
    """Return the answers (P, K, B, 1) of the simple network to inputs (P, T, B, I)."""
    u = (x.flatten(1, 2) @ w["w_in"]).unflatten(1, x.shape[1:3]).unbind(1)
    h = [torch.sigmoid(u[0])]
    for u_t in u[1:]:
        h.append(torch.sigmoid(torch.baddbmm(u_t, h[-1], w["w_rec"])))
    y = torch.sigmoid(torch.cat(h, 1) @ w["w_out"])
    return y.unflatten(1, x.shape[1:3])


def summed_rnn(w: dict[str, Tensor], x: Tensor) -> Tensor:
    """Return what `stacked_rnn` returns, for B = 1: products of a vector and a matrix are elementwise, then sums."""
    u = (x[:, :, 0].unsqueeze(-1) * w["w_in"].unsqueeze(1)).sum(2).unbind(1)
    h = [torch.sigmoid(u[0])]
    for u_t in u[1:]:
        h.append(torch.sigmoid(u_t + (h[-1].unsqueeze(-1) * w["w_rec"]).sum(1)))
    y = torch.sigmoid((torch.stack(h, 1) * w["w_out"].transpose(1, 2)).sum(-1))
    return y[:, :, None, None]


def stacked_gru(w: dict[str, Tensor], x: Tensor) -> Tensor:
    """Return the answers (P, 1, B, 1) of the GRU, whose reset gate comes before the product; gates z, r, n."""
    u = torch.baddbmm(w["b"].unsqueeze(1), x.flatten(1, 2), w["w_in"]).unflatten(1, x.shape[1:3])
    size = w["w_rec"].shape[1]
    u_gates, u_new = (part.unbind(1) for part in u.split((2 * size, size), -1))
    w_gates, w_new = w["w_rec"].split((2 * size, size), -1)
    h = torch.zeros_like(u_new[0])
    for a, b in zip(u_gates, u_new, strict=True):
        z, r = torch.sigmoid(torch.baddbmm(a, h, w_gates)).chunk(2, -1)
        h = torch.lerp(torch.tanh(torch.baddbmm(b, r * h, w_new)), h, z)
    return torch.baddbmm(w["b_out"].unsqueeze(1), h, w["w_out"]).unsqueeze(1)


STACKED = {"rnn": stacked_rnn, "gru": stacked_gru}


def losses(cell: str, y: Tensor, d: Tensor) -> Tensor:
    """Return the loss of each run for answers and targets (P, K, B, 1): the rnn's is half the squared error."""
    return torch.square(y - d).sum((1, 3)).mean(1) * (0.5 if cell == "rnn" else 1.0)


def descend(task: dict, parameters: list[Tensor], answer: Callable, x: Tensor, d: Tensor) -> Tensor:
    """Train on x (N, P, T, B, I), d (N, P, K, B, 1); return the mean loss at the log points, (P, points)."""
    window = len(x) // n_points(len(x))
    total, points = torch.zeros(x.shape[1], dtype=x.dtype), []
    for i in range(len(x)):
        loss = losses(task["cell"], answer(x[i]), d[i])
        gradients = torch.autograd.grad(loss.sum(), parameters)
        with torch.no_grad():
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter.sub_(gradient, alpha=task["learning_rate"])
            total += loss
        if (i + 1) % window == 0:
            points.append(total / window)
            total = torch.zeros_like(total)
    return torch.stack(points, 1)


def ask_held_out(task: dict, answer: Callable, held_x: Tensor, held_d: Tensor) -> Tensor:
    """Return each run's loss on held-out samples, inputs (P, T, n, I), piece by piece."""
    with torch.no_grad():
        pieces = zip(held_x.chunk(HELD_OUT_PIECES, 2), held_d.chunk(HELD_OUT_PIECES, 2), strict=True)
        return torch.stack([losses(task["cell"], answer(x), d) for x, d in pieces]).mean(0)


def train_stacked(task: dict, way: Way, weights: dict, x: Tensor, d: Tensor, held_out: list[Tensor]) -> np.ndarray:
    """Train all runs in one network; return their log points."""
    w = {name: weight.clone().requires_grad_() for name, weight in weights.items()}
    asked = STACKED[task["cell"]]
    trained = summed_rnn if way.sums else asked
    points = descend(task, list(w.values()), partial(trained, w), x, d)
    ask_held_out(task, partial(asked, w), *(a.expand(x.shape[1], *a.shape[1:]) for a in held_out))
    return points.numpy()


class Layered(torch.nn.Module):
    """One run as people write it: `nn.RNN` or projection and `nn.LSTM`, and a linear readout."""

    def __init__(self, cell: str, w: dict[str, Tensor]) -> None:
        super().__init__()
        n_inputs, size, options = w["w_in"].shape[0], w["w_rec"].shape[0], {"dtype": w["w_rec"].dtype}
        self.cell, self.projection = cell, None
        if cell == "lstm":
            self.projection = torch.nn.Linear(1, n_inputs, **options)
            self.layer = torch.nn.LSTM(n_inputs, size, **options)
        else:
            self.layer = torch.nn.RNN(n_inputs, size, bias=False, **options)
        self.readout = torch.nn.Linear(size, 1, bias="b_out" in w, **options)
        with torch.no_grad():
            self.set_weights(w)

    def set_weights(self, w: dict[str, Tensor]) -> None:
        """Take over weights that multiply from the right, the LSTM's with gates i, f, o, g instead of i, f, g, o."""
        if self.cell == "lstm":
            i, f, o, g = torch.arange(w["b"].shape[0]).chunk(4)
            order = torch.cat([i, f, g, o])
            w = w | {name: w[name][..., order] for name in ("w_in", "w_rec", "b")}
            self.projection.weight.copy_(w["w_proj"].T)
            self.projection.bias.copy_(w["b_proj"])
            self.layer.bias_ih_l0.copy_(w["b"])
            self.layer.bias_hh_l0.zero_()
            self.readout.bias.copy_(w["b_out"])
        self.layer.weight_ih_l0.copy_(w["w_in"].T)
        self.layer.weight_hh_l0.copy_(w["w_rec"].T)
        self.readout.weight.copy_(w["w_out"].T)

    def forward(self, x: Tensor) -> Tensor:
        """Return answers (1, K, B, 1) to inputs (1, T, B, I)."""
        if self.cell == "lstm":
            h, _ = self.layer(self.projection(x[0]))
            return self.readout(h[-1])[None, None]
        return torch.sigmoid(self.readout(self.layer(x[0])[0]))[None]


def train_layers(task: dict, way: Way, weights: dict, x: Tensor, d: Tensor, held_out: list[Tensor]) -> np.ndarray:
    """Train one run after another; return their log points."""
    points = []
    for run in range(x.shape[1]):
        network, own = Layered(task["cell"], {name: w[run] for name, w in weights.items()}), slice(run, run + 1)
        trained = [parameter for name, parameter in network.named_parameters() if name != "layer.bias_hh_l0"]
        points.append(descend(task, trained, network, x[:, own], d[:, own]))
        ask_held_out(task, network, *held_out)
    return torch.cat(points).numpy()


def candidates(task: dict) -> list[Way]:
    """Return the ways that are tried."""
    sums = (False, True) if task["cell"] == "rnn" and task["stacked"] else (False,)
    ways = [Way(n, by_sums) for n in sorted({1, CORES}) for by_sums in sums]
    return ways[:1] if task["quick"] else ways


def trainer(task: dict, way: Way, weights: dict, x: Tensor, d: Tensor, held_out: list[Tensor]) -> Callable:
    """Return a function without arguments that trains all runs."""
    train = train_stacked if task["stacked"] else train_layers

    def run():
        torch.set_num_threads(way.threads)
        return train(task, way, weights, x, d, held_out)

    return run


def main() -> None:
    """Take a task, find the fastest way on a twentieth of its iterations, and answer."""
    task = json.loads(sys.argv[1])
    weights, x, d, held_out = load(task)
    weights = {name: torch.from_numpy(w) for name, w in weights.items()}
    dtype = weights["w_rec"].dtype
    x, d = (torch.from_numpy(a).transpose(0, 1).contiguous().to(dtype) for a in (x, d))
    held_out = [torch.from_numpy(a)[None].to(dtype) for a in held_out]
    part, few = slice(0, max(1, len(x) // 20)), [a[:, :, :HELD_OUT_PIECES] for a in held_out]
    way = fastest(candidates(task), lambda way: trainer(task, way, weights, x[part], d[part], few))
    serve(trainer(task, way, weights, x, d, held_out), about=f"torch {torch.__version__}", way=way)


if __name__ == "__main__":
    main()
