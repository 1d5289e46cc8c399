"""The engine against PyTorch: outputs, losses and gradients of the same weights, optimizers, clipping, schedules, a training.

Needs torch, which `make test-torch` installs; without it these tests are skipped.
"""

import itertools

import numpy as np
import pytest

from engine import OPTIMIZERS, TASKS, Population, RunConfig
from engine.layout import n_parameters, unpack
from engine.network import Network, parameter_shapes
from engine.optimizers import SCHEDULES, Column, clip_norms, clip_values
from engine.randomness import stream
from engine.watch import FloatingPointWatch

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

VARIANTS = [
    {"cell": "rnn", "activation": "tanh"},
    {"cell": "rnn", "activation": "relu"},
    {"cell": "lstm"},
    {"cell": "gru", "reset_after": True},  # the only one PyTorch has
]
QUESTIONS = [{"task": name, "loss": loss} for name, task in TASKS.items() for loss in task.losses]
OUR_GATES = {"rnn": "g", "lstm": "ifog", "gru": "zrn"}
THEIR_GATES = {"rnn": "g", "lstm": "ifgo", "gru": "rzn"}
RELATIVE, ABSOLUTE = 1e-10, 1e-14
"""Both round some hundred times on the way, by 1e-16 of numbers of order 1, each in an order of its own."""


def name_of(settings):
    return "-".join(str(value) for value in settings.values())


def reorder(a, order, wanted):
    """Return the gates' columns (or bias numbers) in another order."""
    parts = dict(zip(order, np.split(a, len(order), axis=-1), strict=True))
    return np.concatenate([parts[gate] for gate in wanted], axis=-1)


class Peer(torch.nn.Module):
    """A run's network as PyTorch has it: optional linear layer, nn.RNN, nn.LSTM or nn.GRU, linear layer.

    PyTorch keeps matrices transposed and two biases for each gate: ours is the first; the second holds forget_bias and b_rec.
    """

    def __init__(self, config, w):
        super().__init__()
        task, size = TASKS[config.task], config.hidden_size
        self.config, self.n_answers = config, task.n_answers(config)
        n_inputs = config.projection_size or task.n_inputs
        self.projection = torch.nn.Linear(task.n_inputs, n_inputs, bias=config.bias) if config.projection_size else None
        kind = {"rnn": torch.nn.RNN, "lstm": torch.nn.LSTM, "gru": torch.nn.GRU}[config.cell]
        more = {"nonlinearity": config.activation} if config.activation else {}
        self.recurrent = kind(n_inputs, size, config.n_layers, **more)
        self.readout = torch.nn.Linear(size, task.n_outputs, bias=config.bias)
        self.double()
        with torch.no_grad():
            for own, tensor in self.matrices().items():
                tensor.copy_(torch.from_numpy(self.theirs(own, w[own])))
            for layer in range(config.n_layers):
                second = np.zeros((len(THEIR_GATES[config.cell]), size))
                if config.cell == "lstm":
                    second[1] = config.forget_bias
                if config.cell == "gru":
                    second[2] = w.get(named("b_rec", layer), 0.0)
                getattr(self.recurrent, f"bias_hh_l{layer}").copy_(torch.from_numpy(second.ravel()))
                if not config.bias:
                    getattr(self.recurrent, f"bias_ih_l{layer}").zero_()

    def matrices(self):
        """Return PyTorch's parameters by our names, all but b_rec."""
        found, bias = {}, self.config.bias
        if self.projection:
            found |= {"W_proj": self.projection.weight} | ({"b_proj": self.projection.bias} if bias else {})
        for layer in range(self.config.n_layers):
            found[named("W_in", layer)] = getattr(self.recurrent, f"weight_ih_l{layer}")
            found[named("W_rec", layer)] = getattr(self.recurrent, f"weight_hh_l{layer}")
            if bias:
                found[named("b", layer)] = getattr(self.recurrent, f"bias_ih_l{layer}")
        return found | {"W_out": self.readout.weight} | ({"b_out": self.readout.bias} if bias else {})

    def is_gated(self, name):
        return name.startswith(("W_in", "W_rec")) or name.rstrip("_234") == "b"

    def theirs(self, name, values):
        cell = self.config.cell
        return (reorder(values, OUR_GATES[cell], THEIR_GATES[cell]) if self.is_gated(name) else values).T

    def ours(self, name, values):
        cell = self.config.cell
        return reorder(values.T, THEIR_GATES[cell], OUR_GATES[cell]) if self.is_gated(name) else values.T

    def forward(self, x):
        """Return a, the inputs of the output units, (K, B, O), for x (T, B, I)."""
        h, _ = self.recurrent(self.projection(x) if self.projection else x)
        return self.readout(h[-self.n_answers :])

    def answers(self, a):
        output = TASKS[self.config.task].output
        return {"logistic": torch.sigmoid, "linear": lambda a: a, "softmax": lambda a: torch.softmax(a, -1)}[output](a)

    def loss(self, a, d):
        """Return the loss by PyTorch's own functions: summed over steps (copy_memory: their mean), mean over the batch."""
        functional, batch_size, output = torch.nn.functional, a.shape[1], TASKS[self.config.task].output
        if self.config.loss == "half_squared_error":
            return functional.mse_loss(torch.sigmoid(a), d, reduction="sum") / 2 / batch_size
        if self.config.loss == "mean_squared_error":
            return functional.mse_loss(a, d)
        if output == "logistic":
            return functional.binary_cross_entropy_with_logits(a, d, reduction="sum") / batch_size
        return functional.cross_entropy(a.flatten(0, 1), d.argmax(dim=-1).flatten())  # one answer, or the mean over the steps

    def gradients(self):
        """Return what PyTorch's autograd found, by our names."""
        found = {name: self.ours(name, tensor.grad.numpy()) for name, tensor in self.matrices().items()}
        if self.config.cell == "gru" and self.config.bias:
            for layer in range(self.config.n_layers):
                found[named("b_rec", layer)] = getattr(self.recurrent, f"bias_hh_l{layer}").grad.numpy()[
                    -self.config.hidden_size :
                ]
        return found


def named(name, layer):
    return f"{name}_{layer + 1}" if layer else name


def close(actual, expected, what):
    np.testing.assert_allclose(actual, expected, rtol=RELATIVE, atol=ABSOLUTE, err_msg=what)


@pytest.mark.parametrize("n_layers", [1, 2, 3])
@pytest.mark.parametrize("question", QUESTIONS, ids=name_of)
@pytest.mark.parametrize("variant", VARIANTS, ids=name_of)
def test_outputs_losses_and_gradients_are_those_of_pytorch(variant, question, n_layers):
    for bias, projection in itertools.product((False, True), (None, 3)):
        rng = np.random.default_rng(list(repr((variant, question, n_layers, bias, projection)).encode()))
        task, length = TASKS[question["task"]], int(rng.integers(3, 7))
        config = RunConfig(
            **variant,
            **question,
            **{"length" if task.usual_length else "bits": max(length, task.shortest or 0)},
            n_layers=n_layers,
            bias=bias,
            projection_size=projection,
            hidden_size=int(rng.integers(2, 6)),
            batch_size=3,
        )
        configs = [config.replace(forget_bias=own) if config.forget_bias is not None else config for own in (0.7, -0.4)]
        shapes = parameter_shapes(config)
        parameters = rng.normal(0, 0.4, (2, n_parameters(shapes)))
        gradients = np.full_like(parameters, np.nan)
        network = Network(configs, parameters, gradients, 3, FloatingPointWatch(np.zeros(2, bool)))
        for run, own in enumerate(configs):  # as many samples of the task itself for each run
            network.x[:, :, run], network.readout.target[:, :, run] = task.encode(task.draw(rng, 3, own), own)
        answers = network.forward().copy()
        losses = network.loss_factor * network.loss().sum(axis=(0, 1, 3)) / 3
        network.backward()
        for run, own in enumerate(configs):
            peer = Peer(own, {name: values[run] for name, values in unpack(parameters, shapes).items()})
            a = peer(torch.from_numpy(network.x[:, :, run].copy()))
            loss = peer.loss(a, torch.from_numpy(network.readout.target[:, :, run].copy()))
            loss.backward()
            close(answers[:, :, run], peer.answers(a).detach().numpy(), f"answers of {own}")
            close(losses[run], loss.item(), f"loss of {own}")
            expected = peer.gradients()
            assert set(expected) == set(shapes)
            for name, values in unpack(gradients, shapes).items():
                close(values[run], expected[name], f"gradient of {name} of {own}")


PEERS = {
    "sgd": (torch.optim.SGD, {}),
    "momentum": (torch.optim.SGD, {"momentum": "momentum"}),
    "nesterov": (torch.optim.SGD, {"momentum": "momentum", "nesterov": True}),
    "adagrad": (torch.optim.Adagrad, {"eps": "epsilon"}),
    "rmsprop": (torch.optim.RMSprop, {"alpha": "rho", "eps": "epsilon"}),
    "adam": (torch.optim.Adam, {"betas": ("beta1", "beta2"), "eps": "epsilon"}),
}
"""PyTorch's optimizers and what their arguments are called here."""


def their_optimizer(config, parameters):
    """Return PyTorch's optimizer with a run's constants."""
    kind, arguments = PEERS[config.optimizer]
    values = {}
    for theirs, ours in arguments.items():
        if isinstance(ours, tuple):
            values[theirs] = tuple(getattr(config, name) for name in ours)
        else:
            values[theirs] = getattr(config, ours) if isinstance(ours, str) else ours
    return kind(parameters, lr=config.learning_rate, **values)


def test_every_optimizer_has_its_peer():
    assert set(PEERS) == set(OPTIMIZERS)


@pytest.mark.parametrize("usual", [True, False], ids=["usual", "own"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_twenty_steps_of_an_optimizer_are_those_of_pytorch(name, usual):
    own = {"momentum": 0.5, "rho": 0.7, "beta1": 0.6, "beta2": 0.8, "epsilon": 1e-3}
    constants = {key: value for key, value in own.items() if key in OPTIMIZERS[name].constants and not usual}
    configs = [RunConfig(optimizer=name, learning_rate=rate, **constants) for rate in (0.01, 0.3)]
    columns = {
        key: Column.of([getattr(config, key) for config in configs], np.float64)
        for key in ("learning_rate", *OPTIMIZERS[name].constants)
    }
    rng = np.random.default_rng(4)
    ours = rng.normal(0, 1, (2, 7))
    tensors = [torch.tensor(row, requires_grad=True) for row in ours]
    optimizers = [their_optimizer(config, [tensor]) for config, tensor in zip(configs, tensors, strict=True)]
    states, scratch = [np.zeros_like(ours) for _ in range(OPTIMIZERS[name].n_states)], np.empty_like(ours)
    for t in range(1, 21):
        gradient = rng.normal(0, 1, ours.shape) * 10.0 ** rng.integers(-4, 2, ours.shape)
        for tensor, optimizer, row in zip(tensors, optimizers, gradient, strict=True):
            tensor.grad = torch.from_numpy(row.copy())
            optimizer.step()
        OPTIMIZERS[name].step(gradient, states, scratch, columns, t)
        ours -= gradient
        # up to 20 steps, each rounded some ten times by 1e-16 of itself
        np.testing.assert_allclose(ours, [tensor.detach().numpy() for tensor in tensors], rtol=1e-12, atol=1e-13)


def test_clipping_values_is_that_of_pytorch():
    gradients = np.random.default_rng(5).normal(0, 1, (3, 8))
    limits = [0.1, 1.0, 10.0]
    tensors = [torch.zeros(8, dtype=torch.float64) for _ in limits]
    for tensor, row, limit in zip(tensors, gradients, limits, strict=True):
        tensor.grad = torch.from_numpy(row.copy())
        torch.nn.utils.clip_grad_value_([tensor], limit)
    clip_values(gradients, np.array(limits)[:, None])
    np.testing.assert_array_equal(gradients, [tensor.grad.numpy() for tensor in tensors])


def test_clipping_norms_is_that_of_pytorch_but_for_the_millionth_it_adds():
    gradients = np.random.default_rng(5).normal(0, 1, (3, 8))
    norms = np.linalg.norm(gradients, axis=1)
    limits = [0.1, norms[1] / 2, 100.0]
    theirs = []
    for row, limit in zip(gradients, limits, strict=True):
        tensor = torch.zeros(8, dtype=torch.float64)
        tensor.grad = torch.from_numpy(row.copy())
        torch.nn.utils.clip_grad_norm_([tensor], limit)
        theirs.append(tensor.grad.numpy())
    kept = gradients[2].copy()
    clip_norms(gradients, np.array(limits)[:, None], np.empty_like(gradients), FloatingPointWatch(np.zeros(3, bool)))
    exact = np.array(theirs[:2]) * ((norms[:2] + 1e-6) / norms[:2])[:, None]  # PyTorch divides by the norm + 1e-6
    np.testing.assert_allclose(gradients[:2], exact, rtol=1e-14)
    np.testing.assert_array_equal(gradients[2], kept)
    np.testing.assert_array_equal(theirs[2], kept)


@pytest.mark.parametrize(
    "settings",
    [
        {"schedule": "step", "schedule_every": 7, "schedule_factor": 0.3},
        {"schedule": "step", "schedule_every": 1, "schedule_factor": 0.9},
        {"schedule": "cosine"},
        {"schedule": "constant"},
    ],
    ids=name_of,
)
def test_schedules_are_those_of_pytorch(settings):
    config = RunConfig(n_iterations=50, learning_rate=0.2, **settings)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=config.learning_rate)
    schedulers = {
        "step": lambda: torch.optim.lr_scheduler.StepLR(optimizer, config.schedule_every, config.schedule_factor),
        "cosine": lambda: torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, config.n_iterations),
        "constant": lambda: torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1.0),
    }
    assert set(schedulers) == set(SCHEDULES)
    scheduler = schedulers[config.schedule]()
    for done in range(config.n_iterations):
        rate = config.learning_rate * SCHEDULES[config.schedule](config, done)
        # PyTorch works out each rate from the one before: 50 roundings, against the largest rate where the cosine nears 0
        assert rate == pytest.approx(scheduler.get_last_lr()[0], rel=1e-12, abs=1e-15)
        optimizer.step()
        scheduler.step()


TRAININGS = [
    {"task": "bit_count", "cell": "lstm", "length": 6, "projection_size": 4, "optimizer": "adam", "schedule": "cosine"},
    {"task": "binary_addition", "cell": "gru", "reset_after": True, "optimizer": "rmsprop", "clip_value": 0.05},
    {"task": "temporal_order", "cell": "rnn", "activation": "tanh", "n_layers": 2, "optimizer": "nesterov", "schedule": "step"},
]


@pytest.mark.parametrize("settings", TRAININGS, ids=lambda settings: settings["task"])
def test_a_training_is_pytorch_s(settings):
    """The first 20 of 30 iterations of two runs, from the same weights on the same samples, with clipping and schedule."""
    common = {"bias": True, "hidden_size": 6, "batch_size": 5, "n_iterations": 30, "init_scheme": "xavier_uniform"}
    configs = [RunConfig(**settings, **common, pool_size=0, learning_rate=0.01 * seed, seed=seed) for seed in (1, 2)]
    population = Population(configs)
    shapes, task = parameter_shapes(configs[0]), TASKS[configs[0].task]
    start = [{name: values[run].copy() for name, values in unpack(population.parameters, shapes).items()} for run in range(2)]
    population.advance(20)
    for run, config in enumerate(configs):
        peer = Peer(config, start[run])
        learned = list(peer.matrices().values())
        if config.cell == "gru":  # of its second biases PyTorch would train all, we b_rec alone
            learned.append(peer.recurrent.bias_hh_l0)
            peer.recurrent.bias_hh_l0.register_hook(lambda g, size=config.hidden_size: g * (torch.arange(len(g)) >= 2 * size))
        optimizer = their_optimizer(config, learned)
        samples = task.draw(stream(config.seed, "data"), 20 * 5, config).reshape(20, 5, -1)
        for done in range(20):
            x, d = task.encode(samples[done], config)
            optimizer.zero_grad()
            peer.loss(peer(torch.from_numpy(x.astype(float))), torch.from_numpy(d.astype(float))).backward()
            if config.clip_value:
                torch.nn.utils.clip_grad_value_(learned, config.clip_value)
            for group in optimizer.param_groups:
                group["lr"] = config.learning_rate * SCHEDULES[config.schedule](config, done)
            optimizer.step()
        assert population.rows[run] == run
        for name, tensor in peer.matrices().items():
            expected = peer.ours(name, tensor.detach().numpy())
            # adam and rmsprop divide by root mean squares near 0, which lets a rounding grow
            np.testing.assert_allclose(
                unpack(population.parameters, shapes)[name][run], expected, rtol=1e-9, atol=1e-11, err_msg=f"{name} of {config}"
            )
            assert np.abs(expected - start[run][name]).max() > 1e-3  # something was learned
