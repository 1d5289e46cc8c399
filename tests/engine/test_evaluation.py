"""Held-out questions: the same for every run, answered with the same bits in any part, checked by brute force."""

import numpy as np
import pytest

from engine import CELLS, TASKS, Population, RunConfig, fitting
from engine.evaluation import BLOCK_VALUES, HELD_OUT_SAMPLES, N_EXAMPLES, START_SAMPLES, evaluate, samples_at_once
from engine.network import Network
from engine.population import SHAPE
from engine.randomness import HELD_OUT_SEED, stream
from engine.watch import FloatingPointWatch

KINDS = [
    {"task": task, "cell": cell, "dtype": dtype}
    for i, task in enumerate(TASKS)
    for cell, dtype in ((list(CELLS)[i], "float64"), (list(CELLS)[(i + 3) % len(CELLS)], "float32"))
]


def some_runs(n, **settings):
    short = {"bits": 4, "length": (TASKS[settings["task"]].shortest or 0) + 3, "hidden_size": 5, "bias": True}
    configs = [RunConfig(**fitting(short | settings | {"seed": seed})) for seed in range(n)]
    population = Population(configs)
    return configs, population.parameters, population.held_out


def bits(arrays):
    return [array.tobytes() for array in arrays]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: "-".join(kind.values()))
def test_answers_have_the_same_bits_in_any_part_of_a_population(kind, monkeypatch):
    configs, parameters, samples = some_runs(9, **kind)
    monkeypatch.setattr("engine.evaluation.samples_at_once", lambda config: 25)
    width = 25 * TASKS[kind["task"]].n_steps(configs[0]) * 5
    whole = evaluate(configs, parameters, samples[:START_SAMPLES])
    for n_at_once in (1, 2, 3, 5, 8):  # never alone, and the last part overlaps
        monkeypatch.setattr("engine.evaluation.BLOCK_VALUES", n_at_once * width)
        assert bits(evaluate(configs, parameters, samples[:START_SAMPLES])) == bits(whole)
    for first in (0, 3, 7):
        part = slice(first, first + 2)
        accuracy, loss, examples = evaluate(configs[part], parameters[part], samples[:START_SAMPLES])
        assert bits((accuracy, loss, examples)) == bits((whole[0][part], whole[1][part], whole[2][:, :, part]))


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: "-".join(kind.values()))
def test_a_run_that_leaves_alone_gets_the_answers_it_would_get_in_company(kind):
    """Those who leave because they died answer NaN, which hides rounding: so this looks at the evaluation itself."""
    configs, _, _ = some_runs(3, **kind)
    population = Population(configs)
    accuracy, loss, examples = population._evaluate(range(3), HELD_OUT_SAMPLES)
    for row in range(3):
        mine = population._evaluate([row], HELD_OUT_SAMPLES)
        assert bits(mine) == bits((accuracy[row : row + 1], loss[row : row + 1], examples[:, :, row : row + 1]))


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: "-".join(kind.values()))
def test_answers_do_not_depend_on_how_many_samples_pass_together(kind, monkeypatch):
    """Up to rounding: BLAS adds up in another order. Eight examples may come out of two blocks of five."""
    configs, parameters, samples = some_runs(2, **kind)
    accuracy, loss, examples = evaluate(configs, parameters, samples[:START_SAMPLES])
    tolerance = 1e-12 if kind["dtype"] == "float64" else 2e-5
    for size in (1, 5, 25):
        monkeypatch.setattr("engine.evaluation.samples_at_once", lambda config, size=size: size)
        other = evaluate(configs, parameters, samples[:START_SAMPLES])
        np.testing.assert_allclose(other[0], accuracy, atol=1 / START_SAMPLES)
        np.testing.assert_allclose(other[1], loss, rtol=tolerance)
        np.testing.assert_allclose(other[2], examples, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: "-".join(kind.values()))
def test_losses_and_accuracies_are_means_over_the_samples(kind):
    configs, parameters, samples = some_runs(2, **kind)
    task, n = TASKS[kind["task"]], START_SAMPLES
    accuracy, loss, examples = evaluate(configs, parameters, samples[:n])
    network = Network(configs, parameters.copy(), None, n, FloatingPointWatch(np.zeros(2, bool)))
    inputs, targets = task.encode(samples[:n], configs[0])
    network.x[...], network.readout.target[...] = inputs[:, :, None], targets[:, :, None]
    answers = network.forward().astype(float)
    for run in range(2):
        right = task.correct(answers[:, :, run], targets)
        assert accuracy[run] == pytest.approx(np.mean(right), abs=1 / n)  # rounding may move one answer
        np.testing.assert_allclose(examples[:, :, run], answers[:, :N_EXAMPLES, run], rtol=2e-5, atol=2e-5)
        assert loss[run] == pytest.approx(loss_by_hand(configs[run], answers[:, :, run], targets), rel=2e-5)


def loss_by_hand(config, answers, targets):
    """Return the mean over the samples of what the config calls its loss."""
    if config.loss == "cross_entropy":
        right = np.where(targets > 0, answers, 1 - answers if TASKS[config.task].output == "logistic" else 1)
        each = -np.log(right)
    else:
        each = (answers - targets) ** 2 * (0.5 if config.loss == "half_squared_error" else 1)
    return each.sum(axis=(0, 2)).mean() / (len(answers) if config.task == "copy_memory" else 1)


def test_how_many_samples_pass_together_depends_on_the_run_alone_and_divides_both_numbers():
    for settings in ({}, {"hidden_size": 1024}, {"task": "adding_problem"}, {"task": "copy_memory", "length": 1000}):
        for hidden_size in (1, 16, 100, 1024):
            config = RunConfig(**{"hidden_size": hidden_size} | settings)
            n = samples_at_once(config)
            assert START_SAMPLES % n == HELD_OUT_SAMPLES % n == 0
            assert n == 1 or n * TASKS[config.task].n_steps(config) * config.hidden_size <= BLOCK_VALUES
            assert samples_at_once(config.replace(seed=9, learning_rate=7, batch_size=5)) == n
    assert {"task", "bits", "length", "hidden_size"} <= set(SHAPE)  # so a population agrees on it
    assert samples_at_once(RunConfig()) == 125
    assert samples_at_once(RunConfig(task="copy_memory", length=1000, hidden_size=1024)) == 1


def brute_force(config, flat, samples):
    """Return the outputs (T, n) of one run for held-out samples, by the formula, one matrix product at a time."""
    h_size = config.hidden_size
    w_in, w_rec = flat[: 2 * h_size].reshape(2, -1), flat[2 * h_size : -h_size].reshape(h_size, -1)
    pairs = TASKS[config.task].pairs(samples, config).astype(np.int64)
    h, outputs = np.zeros((len(samples), h_size)), []
    for t in range(config.bits):
        h = np.tanh((pairs >> t & 1) @ w_in + h @ w_rec)
        outputs.append(1 / (1 + np.exp(-h @ flat[-h_size:])))
    return np.array(outputs), pairs.sum(axis=1)


def test_accuracy_examples_and_start_loss_follow_a_brute_force_evaluation():
    config = RunConfig(bits=3, hidden_size=6, activation="tanh", learning_rate=0.3, n_iterations=1000)
    samples = TASKS["binary_addition"].draw(stream(HELD_OUT_SEED, "held_out"), HELD_OUT_SAMPLES, config)
    population = Population([config])
    start, sums = brute_force(config, population.parameters[0], samples[:START_SAMPLES])
    start_loss = ((start - (sums >> np.arange(3)[:, None] & 1)) ** 2).sum(axis=0).mean() / 2
    population.advance(400)
    outputs, sums = brute_force(config, population.parameters[0].copy(), samples)
    answers = ((outputs > 0.5) << np.arange(3)[:, None]).sum(axis=0)
    population.stop()
    result = population.results()[0]
    assert 0.2 < result.accuracy < 1  # an accuracy of 0 or 1 could come from anywhere
    assert result.accuracy == np.mean(answers == sums)
    assert result.evidence["start_loss"] == pytest.approx(start_loss, rel=1e-12)  # some thousand roundings that cancel
    assert [(e["a"] + e["b"], e["answer"]) for e in result.examples] == list(zip(sums, answers, strict=True))[:N_EXAMPLES]
    for i, example in enumerate(result.examples):
        np.testing.assert_allclose(example["outputs"], outputs[::-1, i], rtol=1e-12)


@pytest.mark.parametrize("task", TASKS)
def test_a_network_that_answers_nan_answers_wrong(task):
    """A quarter of the additions of 2 bits is 0 + 0, and NaN > 0.5 is as false as 0 > 0.5."""
    settings = {"task": task, "bits": 2, "length": (TASKS[task].shortest or 0) + 1, "hidden_size": 3}
    population = Population([RunConfig(**fitting(settings))])
    population.parameters[...] = np.nan
    population.stop()
    result = population.results()[0]
    assert result.accuracy == 0.0
    assert np.isnan(result.evidence["held_out_loss"])
    assert not any(example["right"] for example in result.examples)
    assert result.outcome == "overflow"


@pytest.mark.parametrize("task", TASKS)
def test_every_run_is_asked_the_same_held_out_questions(task):
    settings = {"task": task, "bits": 4, "length": (TASKS[task].shortest or 0) + 5, "hidden_size": 3, "n_iterations": 2}
    shapes = [{}, {"cell": "gru"}, {"batch_size": 3}, {"dtype": "float32", "optimizer": "adam"}, {"pool_size": 2}]
    asked = []
    for seed, shape in enumerate(shapes):
        config = RunConfig(**fitting(settings | shape | {"seed": seed}))
        result = Population([config]).advance(2).results()[0]
        asked.append([(e["a"], e["b"]) if "a" in e else e.get("question") for e in result.examples])
        assert result.accuracy * HELD_OUT_SAMPLES == pytest.approx(round(result.accuracy * HELD_OUT_SAMPLES), abs=1e-9)
    assert asked == [asked[0]] * len(shapes)
    assert len(asked[0]) == N_EXAMPLES
    assert len(set(asked[0])) > 2
