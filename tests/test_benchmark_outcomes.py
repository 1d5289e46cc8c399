"""The benchmarks of verdicts and of the black box work, and their tables hold what was asked for."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.forensics import unwatched_engine
from benchmarks.outcomes import KINDS, Observed, Truth, ask, examine, generate, piece, questions, table
from engine import OUTCOMES, Population, RunConfig, train

ROOT = Path(__file__).resolve().parent.parent
LEARNED = Truth((1.0, 0.0), (0.2, 0.01), (0.1, 0.01), (0.5, 0.01), 1.0, died=False, overflowed=False)


def run(name):
    command = [sys.executable, "-W", "error", f"benchmarks/{name}.py", "--quick"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def numbers(line):
    return [0 if word == "." else int(word) for word in re.findall(r"(?<=\s)(?:\.|\d+)(?=\s|$)", line)]


def test_the_benchmark_of_verdicts_prints_every_table():
    parts = run("outcomes").strip().split("\n\n")
    titles, bodies = parts[::2], parts[1::2]
    assert [title.split()[-1] for title in titles] == [
        "verdict",
        "label",
        "not",
        "kind",
        "baseline",
        "ways",
        "advice",
        "changes",
    ]
    for body in bodies[:3]:
        lines = body.splitlines()
        assert [line.split()[0] for line in lines] == ["label", *OUTCOMES, "false"]
        assert sum(sum(numbers(line)[:6]) for line in lines[1:-1]) == numbers(lines[-1])[-2]
    assert [line[:22].strip() for line in bodies[3].splitlines()] == ["kind", *KINDS, "false alarms"]
    totals = [numbers(body.splitlines()[-1])[-2] for body in bodies[:4]]
    assert totals[0] + totals[1] + totals[2] == totals[3] == 2 * len(KINDS)
    assert f"the engine's number in {totals[3]} of {totals[3]} runs" in bodies[5]
    for body in bodies[6:]:
        rows = [line.split() for line in body.splitlines()[1:]]
        assert {row[0] for row in rows} <= set(OUTCOMES) - {"solved"}
        assert all(int(row[-5]) == sum(int(n) for n in row[-4:] if n != "-") for row in rows)
    assert "another seed" in bodies[6]
    assert "init, adam" in bodies[7]


def test_the_benchmark_of_the_black_box_prints_its_tables_and_its_bar():
    text = run("forensics")
    for name in (
        "always on",
        "classic, 4 runs",
        "LSTM, 4 runs",
        "relu, std 1, 4 runs",
        "black box of",
        "rnn",
        "lstm",
        "diagnosis of",
    ):
        assert f"\n{name} " in "\n" + text, name
    assert re.search(r"^at most 5% .*%  (NOT MET|met)$", text, re.MULTILINE)


@pytest.mark.parametrize(
    ("outcome", "changes"),
    [
        ("learning", {}),
        ("solved", {"accuracy": (0.99, 0.0)}),
        ("stalled", {"final": (0.95, 0.01), "best": (0.9, 0.01)}),
        ("unstable", {"final": (0.7, 0.01)}),
        ("diverged", {"final": (1.6, 0.01), "best": (0.9, 0.01)}),
        ("overflow", {"final": (0.95, 0.01), "overflowed": True}),
        ("overflow", {"accuracy": (1.0, 0.0), "died": True}),
        ("overflow", {"final": (np.nan, np.nan)}),
    ],
)
def test_labels_follow_the_definitions(outcome, changes):
    truth = LEARNED._replace(**changes)
    assert truth.label() == outcome
    assert not truth.borderline()


def test_a_label_within_two_standard_errors_of_another_is_borderline():
    assert LEARNED._replace(final=(0.54, 0.01)).borderline()
    assert LEARNED._replace(accuracy=(0.985, 0.003)).borderline()
    assert not LEARNED._replace(accuracy=(0.98, 0.003)).borderline()


@pytest.mark.parametrize("name", ["classic", "float32", "count, gru", "parity, lstm", "temporal order", "adding"])
def test_the_plain_forward_pass_agrees_with_the_engine(name):
    """On the held-out samples themselves losses and accuracies are the verdict's."""
    configs = generate(name, 6, 30)
    population = Observed(configs)
    held_out, task = population.held_out, population.task
    results = population.advance(30).results()
    inputs, targets = task.encode(held_out, configs[0])
    asked = inputs[:, None].astype(configs[0].dtype), targets[:, None].astype(configs[0].dtype)
    with np.errstate(all="ignore"):
        losses, _, accuracies = ask(configs, population.last, asked)
    for place, result in results.items():
        np.testing.assert_allclose(losses[place], result.evidence["held_out_loss"], rtol=1e-4)
        assert abs(accuracies[place] - result.accuracy) <= 1e-3
        assert population.seen[place] == result.evidence["overflow_iterations"]
    assert [result.fingerprint for result in train(configs)] == [results[place].fingerprint for place in range(6)]


def test_all_possible_samples_are_asked_once():
    inputs, targets = questions(RunConfig(bits=4), 1)
    assert inputs.shape == (4, 1, 64, 2)
    assert len(np.unique(inputs.reshape(4, 64, 2).transpose(1, 0, 2).reshape(64, 8), axis=0)) == 64
    weights = 2 ** np.arange(4)
    a, b = np.tensordot(weights, inputs[:, 0], axes=1).T
    assert np.array_equal(weights @ targets[:, 0, :, 0], a + b)


def test_runs_that_cannot_move_are_stalled_and_tables_count_them():
    rows = examine("still", generate("still", 5, 40))
    assert {(row["label"], row["verdict"]) for row in rows} == {("stalled", "stalled")}
    lines = table([*rows, rows[0] | {"label": "learning"}])
    assert numbers(lines[3]) == [0, 0, 5, 0, 0, 0, 5, 0]
    assert numbers(lines[2]) == [0, 0, 1, 0, 0, 0, 1, 1]
    assert numbers(lines[-1]) == [0, 0, 1, 0, 0, 0, 6, 1]


def test_pieces_of_advice_are_named_by_what_they_change():
    assert (
        piece({"init_scheme": "he_normal", "weight_init_std": 1.0, "optimizer": "adam", "learning_rate": 0.01}) == "init, adam"
    )
    assert piece({"cell": "gru", "activation": None, "clip_norm": 1.0}) == "gru, clip_norm"
    assert piece({"learning_rate": 0.02}) == "learning_rate"


def test_without_its_watch_the_engine_trains_the_same_runs_and_notices_nothing():
    other = unwatched_engine()
    assert other.Population is not Population
    settings = [{"weight_init_std": std, "seed": seed, "n_iterations": 50} for seed, std in enumerate((1.0, 1000.0))]
    watched, bare = (
        package.train([package.RunConfig(**own) for own in settings]) for package in (sys.modules["engine"], other)
    )
    assert [result.fingerprint for result in watched] == [result.fingerprint for result in bare]
    assert watched[1].overflow.count > 40
    assert bare[1].overflow is None
