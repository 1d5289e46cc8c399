"""Floating-point events of gated cells, of every readout and optimizer: found, told by phase and kind, and nobody else's."""

import numpy as np
import pytest

from engine import CELLS, OPTIMIZERS, TASKS, Overflow, Population, RunConfig, fitting, train
from engine.layout import unpack
from engine.network import parameter_shapes
from engine.watch import FloatingPointWatch

FLOAT32 = {"bits": 2, "hidden_size": 1, "dtype": "float32", "n_iterations": 4, "bias": True, "seed": 1}
RNN = FLOAT32 | {"activation": "linear"}
GATED = {name: {"cell": name} for name in CELLS if name != "rnn"} | {"gru_reset_after": {"cell": "gru", "reset_after": True}}


@pytest.fixture(autouse=True)
def _nothing_is_printed_or_changed(capfd):
    before = np.geterr()
    yield
    assert capfd.readouterr() == ("", "")
    assert np.geterr() == before


def set_up(config, **weights):
    """Return a population of one run with the given weights everywhere, 0 elsewhere; W_rec_z is what gate z has of W_rec."""
    population, shapes = Population([config]), parameter_shapes(config)
    gates = shapes["W_in"].gates
    for name, view in unpack(population.parameters, shapes).items():
        view[...] = weights.get(name, 0.0)
        for i, gate in enumerate(gates):
            if f"{name}_{gate}" in weights:
                view[(slice(None), i) if name == "peephole" else (..., i)] = weights[f"{name}_{gate}"]
    return population


def first_event(config, **weights):
    """Return phase and kind of what the first update of a run with these weights meets; None if nothing."""
    population = set_up(config, **weights).advance(1)
    population.stop()
    overflow = population.results()[0].overflow
    return overflow and (overflow.phase, overflow.kind)


@pytest.mark.parametrize("name", GATED)
def test_each_phase_of_a_gated_cell_says_where_it_happened_first(name):
    config = RunConfig(**FLOAT32 | GATED[name])
    n = {f"{part}_{'n' if 'gru' in name else 'g'}": 3e38 for part in ("b", "W_rec")}
    # float32 ends at 3.4e38: n or g of step 2 has 3e38 from the bias and a quarter of 3e38 or more from h_1
    assert first_event(config, **n) == ("forward", "overflow")
    # all weights 0 but W_out and W_rec: h is 0 and y 1/2, so that delta_2 has at least 0.125 * 0.25 * 1e21, times 1e21;
    # what is left of that in the gradients may be inf * 0
    assert first_event(config, W_out=1e21, W_rec=1e21)[0] == "backward"
    # the gradient of b has at least 0.125 * 0.25 * 1e35, times a learning rate of 1e6
    assert first_event(config.replace(learning_rate=1e6), W_out=1e35) == ("update", "overflow")
    # the squares of the gradient hold (3e20)**2
    assert first_event(config.replace(clip_norm=1.0), W_out=1e22) == ("update", "overflow")
    assert first_event(config, W_out=1e22) is None
    # the readout's sum: 2e38 and at least a quarter of 3e38 more, from h of about 1/2 or more
    squared = config.replace(task="bit_count", bits=None, length=2, pool_size=0)
    steady = {"b_i": 5, "b_f": 5, "b_o": 5, "b_g": 5, "b_n": 5}
    assert first_event(config, b_out=3e38, W_out=3e38, **steady) == ("forward", "overflow")
    assert first_event(squared, b_out=3e38, W_out=3e38, **steady) == ("forward", "overflow")
    # (1e20)**2 is too much for the loss, 1e20 is not too much for anything else
    assert first_event(squared, b_out=1e20) == ("loss", "overflow")
    assert first_event(squared, b_out=1e18) is None


GATES = [
    ("lstm_io", "i"),
    ("lstm_io", "o"),
    *(("lstm", gate) for gate in "ifo"),
    *(("lstm_peephole", gate) for gate in "ifo"),
    *((name, gate) for name in ("gru", "gru_reset_after") for gate in "zr"),
]


@pytest.mark.parametrize(("name", "gate"), GATES)
def test_a_gates_own_overflow_is_found_although_the_gate_is_a_clean_0_or_1(name, gate):
    config = RunConfig(**FLOAT32 | GATED[name] | fitting({"cell": GATED[name]["cell"], "forget_bias": 0.0}))
    open_ = {f"b_{other}": 5.0 for other in "ifogn" if other != gate}
    assert first_event(config, **open_, **{f"b_{gate}": -100.0}) == ("forward", "overflow")  # exp(100) is 2.7e43
    assert first_event(config, **open_, **{f"b_{gate}": 100.0}) is None
    if gate != "z":  # with z at 1, h would stay 0
        # the gate's input grows from 3e38 to infinity, which the logistic makes a clean 1
        weights = open_ | {f"b_{gate}": 3e38, f"W_rec_{gate}": 3e38}
        assert first_event(config, **weights) == ("forward", "overflow")


@pytest.mark.parametrize("gate", "ifo")
def test_a_peepholes_overflow_is_found_although_the_gate_is_a_clean_1(gate):
    config = RunConfig(**FLOAT32 | {"cell": "lstm_peephole", "forget_bias": 0.0})
    weights = {f"b_{other}": 5.0 for other in "ifog"} | {f"b_{gate}": 3e38, f"peephole_{gate}": 3e38}
    assert first_event(config, **weights) == ("forward", "overflow")


# Readouts


@pytest.mark.parametrize(
    ("bias", "dtype", "event", "dies"),
    [
        (100.0, "float32", ("forward", "overflow"), True),  # exp(100) is 2.7e43
        (88.0, "float32", ("forward", "overflow"), False),  # exp(88) is 1.7e38, but there are four of them: answers of 0
        (87.0, "float32", None, False),
        (-1000.0, "float32", ("forward", "invalid"), True),  # 0 / 0
        (100.0, "float64", None, False),
        (709.5, "float64", ("forward", "overflow"), False),
        (710.0, "float64", ("forward", "overflow"), True),
        (-1000.0, "float64", ("forward", "invalid"), True),
    ],
)
def test_a_softmax_overflows_by_one_number_or_by_their_sum_or_has_no_answer(bias, dtype, event, dies):
    config = RunConfig(task="temporal_order", length=10, **FLOAT32 | {"bits": None, "dtype": dtype})
    result = set_up(config, b_out=bias).advance(4).results()[0]
    assert result.iterations == (1 if dies else 4)  # NaN reached the weights or did not
    assert result.overflow == (Overflow(1, *event, result.iterations) if event else None)
    assert (result.outcome == "overflow") == (event is not None)


def test_a_loss_that_overflows_only_as_a_sum_over_the_steps_is_found():
    """Each wrong answer costs 3e38 nats, and of eight bits at least two are 0."""
    config = RunConfig(**FLOAT32 | {"bits": 8, "loss": "cross_entropy"})
    assert first_event(config, b_out=3e38) == ("loss", "overflow")
    assert first_event(config, b_out=1e37) is None


# Optimizers


@pytest.mark.parametrize("optimizer", ["adagrad", "rmsprop", "adam"])
def test_an_optimizers_memory_overflows_where_squares_do_and_the_run_goes_on(optimizer):
    """The gradient of b is at least 0.125 * 1e25, its square times 0.001 beyond 3e38; b itself stands still then.

    So do the two weights of W_in once their input is a 1: what is infinite already cannot overflow again.
    """
    config = RunConfig(**RNN | {"optimizer": optimizer})
    result = set_up(config, W_out=1e25).advance(4).results()[0]
    assert (result.overflow.iteration, result.overflow.phase, result.overflow.kind) == (1, "update", "overflow")
    assert 1 <= result.overflow.count <= 3
    assert (result.iterations, result.evidence["weights_finite"]) == (4, True)
    assert first_event(config.replace(dtype="float64"), W_out=1e25) is None


@pytest.mark.parametrize("optimizer", ["momentum", "nesterov"])
def test_a_velocity_that_overflows_takes_the_run_with_it(optimizer):
    """The gradient of b is some 1e37 again and again, and the learning rate, in float32, is 0."""
    settings = {"task": "bit_count", "length": 2, "bits": None, "optimizer": optimizer, "momentum": 0.999, "n_iterations": 60}
    config = RunConfig(**RNN | settings | {"learning_rate": 1e-300})
    result = set_up(config, W_out=1e36, b_out=10.0).advance(60).results()[0]
    assert (result.overflow.iteration, result.overflow.phase, result.overflow.count) == (result.iterations, "update", 1)
    assert 10 < result.iterations < 60
    assert result.outcome == "overflow"


def test_how_often_a_run_overflowed_does_not_depend_on_its_company():
    """Squares of gradients overflow in some iterations, and stay infinite in Adam's memory while others overflow."""
    shape = {"task": "bit_count", "length": 3, "hidden_size": 2, "activation": "relu", "dtype": "float32", "optimizer": "adam"}
    stds = np.logspace(3.5, 5.75, 10).tolist()
    configs = [RunConfig(**shape, n_iterations=20, weight_init_std=std, seed=seed) for std in stds for seed in range(6)]
    together = [result.overflow for result in train(configs)]
    assert together == [train([config])[0].overflow for config in configs]
    assert 10 < sum(overflow is not None for overflow in together) < 50


# All of them


@pytest.mark.parametrize("name", GATED)
def test_runs_that_die_leave_and_the_others_keep_their_bits(name):
    shape = GATED[name] | {"task": "bit_count", "length": 4, "hidden_size": 4, "bias": True, "n_iterations": 60}
    rates = [0.01, 1e6, 0.02, 1e6, 0.03, 1e6]
    configs = [RunConfig(**shape, dtype="float32", learning_rate=rate, seed=seed) for seed, rate in enumerate(rates)]
    results = train(configs)
    assert all(result.iterations == 60 for result in results[::2])
    assert any(result.iterations < 60 for result in results[1::2])
    assert [result.evidence["weights_finite"] for result in results] == [result.iterations == 60 for result in results]
    for config, result in zip(configs, results, strict=True):
        assert train([config])[0].fingerprint == result.fingerprint
    assert all(result.overflow is None for result in results[::2])


def violent_population(number):
    """Return a lone float32 run in which every gate of every parameter is 0, or of some size up to 10**37."""
    rng = np.random.default_rng(number)
    task, cell, optimizer = (str(rng.choice(list(table))) for table in (TASKS, CELLS, OPTIMIZERS))
    settings = {"task": task, "cell": cell, "optimizer": optimizer, "dtype": "float32", "bias": True, "n_iterations": 6}
    settings |= {"hidden_size": int(rng.integers(1, 6)), "batch_size": int(rng.integers(1, 4)), "bits": 3}
    settings |= {"n_layers": int(rng.integers(1, 3)), "reset_after": bool(rng.integers(2)), "seed": number}
    settings |= {"loss": str(rng.choice(TASKS[task].losses)), "length": (TASKS[task].shortest or 0) + 2}
    settings |= {"clip_norm": [None, 1.0][rng.integers(2)], "projection_size": [None, 3][rng.integers(2)]}
    config = RunConfig(**fitting(settings))
    population, shapes = Population([config]), parameter_shapes(config)
    for name, view in unpack(population.parameters, shapes).items():
        for part in np.split(view, len(shapes[name].gates), axis=1 if name.startswith("peephole") else -1):
            exponent = rng.choice([-np.inf, -np.inf, 0, 0, 10, 20, 37])
            part *= np.float32(10.0**exponent)
            part += np.float32(rng.choice([-1, 0, 1]) * 10.0**exponent)
    return population


def test_an_iteration_counts_exactly_when_numpy_reports_something(monkeypatch):
    """Of a lone run everything that NumPy reports is its own: nothing may be lost, nothing invented."""
    reports, tally = [], {True: 0, False: 0}

    def notice(watch, kind, flag):
        watch.raised = True
        reports.append(kind)

    monkeypatch.setattr(FloatingPointWatch, "_notice", notice)
    for number in range(150):
        population = violent_population(number)
        while population.active:
            before, config = population.events["count"][0], population.configs[0]
            spoiled = any(not np.isfinite(state).all() for state in population.states)
            reports.clear()
            population.advance(1)
            counted = bool(population.events["count"][0] - before)
            assert counted == bool(reports) or (spoiled and not counted), f"{number}: {reports}, {config}"
            tally[counted] += 1
    assert min(tally.values()) > 100
