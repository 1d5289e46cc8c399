"""A run's script needs nothing but NumPy and gives the losses that the engine gave."""

import ast
import functools
import itertools
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from engine import ACTIVATIONS, CELLS, CURVES, FIELDS, INIT_SCHEMES, ConfigError, Population, RunConfig
from studies import Plan, PlanError, script
from studies.jobs import run_job
from studies.script import numpy_script, script_of

LOSS = CURVES.index("loss")
SHORT = {"n_iterations": 30, "hidden_size": 4}
RUNNER = """
import contextlib, importlib.util, io, json, sys, numpy.random
import numpy as np
assert not any(importlib.util.find_spec(name) for name in ("engine", "studies", "dashboard"))
def top():
    return {name.partition(".")[0] for name in sys.modules}
before, answers = top(), []
for text in json.load(sys.stdin):
    names = {"__name__": "script"}
    exec(compile(text, "script.py", "exec"), names)
    with np.errstate(all="ignore"), contextlib.redirect_stdout(io.StringIO()) as said:
        points = list(names["train"]())
        agrees = names["compare"]([loss for _, loss in points]) if "compare" in names else None
    answers.append({"points": [[int(t), repr(loss)] for t, loss in points], "agrees": agrees, "said": said.getvalue()})
answers.append(sorted(top() - before - set(sys.stdlib_module_names)))
print(json.dumps(answers))
"""
"""Runs scripts where Brink cannot be imported; answers with their losses, and with what they imported beside NumPy."""
AXES = {
    "model": [
        *({"cell": "rnn", "activation": name} for name in ACTIVATIONS),
        {"cell": "lstm_cec"},
        {"cell": "lstm_io"},
        {"cell": "lstm", "forget_bias": 0.3},
        {"cell": "lstm_peephole", "forget_bias": 1.0},
        {"cell": "gru", "reset_after": False},
        {"cell": "gru", "reset_after": True},
    ],
    "question": [
        {"task": "binary_addition", "loss": "half_squared_error", "bits": 5},
        {"task": "binary_addition", "loss": "cross_entropy", "bits": 9},
        {"task": "bit_count", "length": 1},
        {"task": "bit_count", "length": 9},
        {"task": "adding_problem", "length": 7},
        {"task": "copy_memory", "length": 2},
        {"task": "temporal_order", "length": 13},
        {"task": "parity", "loss": "cross_entropy", "length": 6},
        {"task": "parity", "loss": "half_squared_error", "length": 3},
    ],
    "init_scheme": [*INIT_SCHEMES],
    "weight_init_std": [1.0, 0.3],
    "bias": [False, True],
    "projection_size": [None, 3],
    "n_layers": [1, 2, 3],
    "rule": [
        {"optimizer": "sgd"},
        {"optimizer": "momentum", "momentum": 0.7},
        {"optimizer": "nesterov"},
        {"optimizer": "adagrad", "epsilon": 1e-3},
        {"optimizer": "rmsprop", "rho": 0.8},
        {"optimizer": "adam", "beta1": 0.8},
    ],
    "learning_rate": [0.003, 0.02],
    "rates": [{"schedule": "constant"}, {"schedule": "step", "schedule_every": 7}, {"schedule": "cosine"}],
    "clip_norm": [None, 0.2],
    "clip_value": [None, 0.05],
    "pool_size": [0, 1, 17],
    "batch_size": [1, 3],
    "hidden_size": [4, 1],
    "dtype": ["float64", "float32"],
}
"""Whatever changes a script, by axis; a dict sets several things at once."""
CLOSE = {"float64": 1e-10, "float32": 1e-3}
"""How near the losses of 30 iterations have to be; most are within 1e-14 and 1e-6, those of small losses least."""
EDGES = [
    {"task": "binary_addition", "bits": 32},
    {"task": "bit_count", "length": 130},
    {"task": "temporal_order", "length": 41, "batch_size": 5},
    {"task": "parity", "length": 64},
    {"task": "binary_addition", "bits": 2, "weight_init_std": 0.0, "activation": "elu"},
    {"task": "adding_problem", "length": 2, "cell": "lstm", "forget_bias": -1000.0, "dtype": "float32"},
    {"task": "temporal_order", "length": 10, "optimizer": "momentum", "momentum": 0.0, "clip_norm": 1e12},
    {"task": "copy_memory", "length": 1, "optimizer": "adam", "beta1": 0.0, "beta2": 0.0, "epsilon": 0.0},
    {"task": "parity", "length": 1, "optimizer": "rmsprop", "rho": 0.0, "learning_rate": 1e-300, "dtype": "float32"},
    {"task": "bit_count", "length": 2, "n_layers": 4, "schedule": "step", "schedule_every": 1, "schedule_factor": 0.5},
    {"cell": "gru", "reset_after": True, "hidden_size": 1, "bias": True, "pool_size": 0, "seed": 2**32 - 1},
]
OVERFLOWS = [
    {"activation": "relu", "learning_rate": 1.0, "weight_init_std": 3.0},
    {"activation": "linear", "learning_rate": 1e6, "weight_init_std": 100.0, "loss": "cross_entropy", "dtype": "float32"},
    {"activation": "softplus", "weight_init_std": 1e6, "bias": True, "optimizer": "adam"},
    {"activation": "linear", "task": "bit_count", "learning_rate": 1e6, "projection_size": 3},
    {"activation": "elu", "task": "copy_memory", "weight_init_std": 1e6},
    {"cell": "lstm_cec", "task": "temporal_order", "learning_rate": 1e6, "dtype": "float32"},
    {"cell": "gru", "task": "adding_problem", "learning_rate": 1e6, "clip_norm": 1.0, "optimizer": "nesterov"},
]


def pairwise(axes, rng, candidates=20):
    """Return rows, a value's place for each axis, so that every two values of two axes meet in one of them."""
    sizes, names = [len(values) for values in axes.values()], range(len(axes))
    missing = {((a, i), (b, j)) for a, b in itertools.combinations(names, 2) for i in range(sizes[a]) for j in range(sizes[b])}
    rows = []
    while missing:
        best = min(missing)
        tries = [[int(rng.integers(size)) for size in sizes] for _ in range(candidates)]
        for row in tries:
            for axis, value in best:
                row[axis] = value
        met = [{pair for pair in itertools.combinations(enumerate(row), 2)} & missing for row in tries]
        most = max(range(candidates), key=lambda k: len(met[k]))
        rows.append(tries[most])
        missing -= met[most]
    return rows


def configs_of_all_pairs():
    configs = []
    for seed, row in enumerate(pairwise(AXES, np.random.default_rng(1))):
        settings = {"n_iterations": 30, "seed": seed}
        for (axis, values), place in zip(AXES.items(), row, strict=True):
            settings |= values[place] if isinstance(values[place], dict) else {axis: values[place]}
        configs.append(RunConfig(**settings))
    return configs


def run_scripts(texts):
    """Run scripts in one Python of their own; return what each answers."""
    command = [sys.executable, "-I", "-c", RUNNER]
    done = subprocess.run(command, input=json.dumps(texts), capture_output=True, text=True, timeout=150, check=False)
    assert done.returncode == 0, done.stderr
    *answers, imported = json.loads(done.stdout)
    assert imported == [], imported
    return answers


class Trainee(Population):
    """Asks few held-out questions, which have no part in the losses of the training."""

    def _evaluate(self, rows, n_samples):
        return super()._evaluate(rows, 125)


def curves_of(config):
    """Return what the engine's training leaves behind: curves and whether anything overflowed."""
    (result,) = Trainee([config]).advance(config.n_iterations).results().values()
    return result.curves


def losses_of(answer):
    return np.array([float(loss) for _, loss in answer["points"]])


def apart(answer, curves):
    """Return how far a script's losses are from the engine's, relative to these; at the same iterations."""
    assert [t for t, _ in answer["points"]] == curves[:, 0].tolist()
    now, saved = losses_of(answer), curves[:, LOSS]
    same = (now == saved) | ~(np.isfinite(now) | np.isfinite(saved))
    with np.errstate(all="ignore"):
        difference = np.where(same, 0, np.abs(now - saved) / np.maximum(np.abs(saved), 1e-3))
    return float(np.where(np.isfinite(difference), difference, np.inf).max())


@functools.cache
def texts_of_all_pairs():
    """Return scripts with curves of a hundred points with as many digits as there can be."""
    curves = np.full((100, len(CURVES)), -1.2345678901234567e-100)
    curves[:, 0] = np.arange(9_900_001, 9_900_101)
    return [script_of(config, curves) for config in configs_of_all_pairs()]


def test_scripts_of_all_settings_in_pairs_give_the_engine_s_losses():
    configs = configs_of_all_pairs()
    assert 100 < len(configs) < 160
    curves = [curves_of(config) for config in configs]
    answers = run_scripts([script_of(config, curve) for config, curve in zip(configs, curves, strict=True)])
    far = {config: apart(answer, curve) for config, curve, answer in zip(configs, curves, answers, strict=True)}
    assert {config: distance for config, distance in far.items() if distance > CLOSE[config.dtype]} == {}
    assert np.median([distance for config, distance in far.items() if config.dtype == "float64"]) < 1e-14
    assert all(answer["agrees"] for answer in answers)


def test_the_settings_above_are_all_that_there_are():
    configs = configs_of_all_pairs()
    for name, field in FIELDS.items():
        values = {getattr(config, name) for config in configs}
        assert len(values) > 1 or name in ("beta2", "epsilon", "schedule_factor", "n_iterations"), name
        assert values >= set(field.choices or ()), name
    assert {(config.cell, bool(config.reset_after)) for config in configs} == {*((c, False) for c in CELLS), ("gru", True)}


def test_scripts_are_short_plain_python_that_knows_nothing_of_brink():
    lengths = []
    for config, text in zip(configs_of_all_pairs(), texts_of_all_pairs(), strict=True):
        lengths.append((config.n_layers, len(text[: text.index("SAVED = {")].splitlines())))
        assert max(map(len, text.splitlines())) <= 128
        assert text.isascii()
        assert not any(word in text.lower() for word in ("brink", "engine", "studies", "#?", "$", "\t"))
        imports = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Import | ast.ImportFrom)]
        assert {alias.name for node in imports for alias in node.names} <= {"math", "sys", "numpy"}
    assert max(n for layers, n in lengths if layers == 1) < 230
    assert max(n for _, n in lengths) < 250


def test_scripts_are_tidy(tmp_path):
    ruff = shutil.which("ruff") or shutil.which("ruff", path=Path(sys.executable).parent)
    if ruff is None:
        pytest.skip("needs ruff")
    for number, text in enumerate(texts_of_all_pairs()):
        (tmp_path / f"script_{number}.py").write_text(text)
    rules = ["--isolated", "--no-cache", "--line-length", "128", "--select", "E,F,W,I,B,UP"]
    done = subprocess.run([ruff, "check", *rules, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_values_at_the_edge_of_what_is_allowed():
    configs = [RunConfig(**{"n_iterations": 12, "hidden_size": 3} | settings) for settings in EDGES]
    curves = [curves_of(config) for config in configs]
    answers = run_scripts([script_of(config, curve) for config, curve in zip(configs, curves, strict=True)])
    far = [apart(answer, curve) for answer, curve in zip(answers, curves, strict=True)]
    assert [d for d, config in zip(far, configs, strict=True) if d > CLOSE[config.dtype]] == []


def test_runs_that_overflow_do_so_in_their_scripts_as_well():
    configs = [RunConfig(**{"n_iterations": 40, "hidden_size": 4} | settings) for settings in OVERFLOWS]
    curves = [curves_of(config) for config in configs]
    assert sum(not np.isfinite(curve[:, LOSS]).all() for curve in curves) >= 4
    answers = run_scripts([script_of(config, curve) for config, curve in zip(configs, curves, strict=True)])
    for config, curve, answer in zip(configs, curves, answers, strict=True):
        assert answer["agrees"], (config, answer["said"])
        now, saved = losses_of(answer), curve[:, LOSS]
        assert np.isfinite(now).tolist() == np.isfinite(saved).tolist(), config
        assert config.projection_size or np.isnan(now).tolist() == np.isnan(saved).tolist(), config


def test_the_classic_exercise_stays_close_for_a_thousand_iterations():
    config = RunConfig(n_iterations=1000)
    (answer,) = run_scripts([script_of(config, curve := curves_of(config))])
    assert apart(answer, curve) < 1e-12
    assert answer["said"].startswith(("identical", "largest relative difference to the saved losses: "))


def run_file(path, text):
    path.write_text(text)
    return subprocess.run([sys.executable, "-I", path], capture_output=True, text=True, timeout=60, check=False)


def test_a_script_runs_as_a_file_prints_its_losses_and_its_exit_code_says_whether_they_agree(tmp_path):
    config = RunConfig(**SHORT)
    curves = curves_of(config)
    done = run_file(tmp_path / "script.py", script_of(config, curves))
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0] == f"iteration          1  loss {curves[0, LOSS]:.12g}"
    assert len(lines) == 31
    curves[20, LOSS] *= 1 + 1e-6
    done = run_file(tmp_path / "script.py", script_of(config, curves))
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.splitlines()[-1].startswith("different: up to iteration 21 rounding explains ")


def test_a_script_whose_losses_are_the_saved_ones_says_identical():
    config = RunConfig(**SHORT)
    (answer,) = run_scripts([script_of(config, curves := curves_of(config))])
    curves[:, LOSS] = losses_of(answer)
    (answer,) = run_scripts([script_of(config, curves)])
    assert (answer["agrees"], answer["said"]) == (True, "identical to the saved losses\n")


def test_an_unstable_run_is_known_by_a_twin_that_starts_one_digit_away():
    config = RunConfig(activation="tanh", n_iterations=400)
    (answer,) = run_scripts([script_of(config, curves := curves_of(config))])
    assert apart(answer, curves) > 1e-6
    assert answer["agrees"]
    assert "as expected: this run is unstable" in answer["said"]
    wrong = curves.copy()
    wrong[0, LOSS] *= 1.001
    (answer,) = run_scripts([script_of(config, wrong)])
    assert not answer["agrees"]
    assert "different: up to iteration 4 " in answer["said"]


def test_a_saved_run_becomes_a_script_whatever_its_texts_say(store):
    job_id = store.add_job(Plan.of(**SHORT))
    assert run_job(store, job_id, 1) == "finished"
    run = store.run(store.runs(job_id)["id"][0])
    plain = numpy_script(run)
    evil = '"""\nimport os; os.abort()\n"""  $title #? saved'
    texts = dict.fromkeys(("name", "note", "id", "fingerprint", "reason", "engine_version", "status", "job_id"), evil)
    assert numpy_script(run | texts | {"examples": [{"line": evil}], "evidence": {evil: evil}}) == plain
    for name in ("task", "cell", "init_scheme", "seed", "learning_rate", evil):
        with pytest.raises(ConfigError):
            numpy_script(run | {"config": run["config"] | {name: evil}})


def test_a_run_that_was_stopped_is_trained_as_far_as_its_curve_goes():
    config = RunConfig(**SHORT, schedule="cosine", optimizer="adam")
    curves = curves_of(config)[:7]
    (answer,) = run_scripts([script_of(config, curves)])
    assert answer["points"][-1][0] == 7
    assert apart(answer, curves) < 1e-12


@pytest.mark.parametrize("n_iterations", [7, 250])
def test_without_a_curve_a_script_trains_to_the_end_and_compares_with_nothing(n_iterations, tmp_path):
    config = RunConfig(hidden_size=4, n_iterations=n_iterations)
    for text in (script_of(config), script_of(config, np.empty((0, len(CURVES))))):
        (answer,) = run_scripts([text])
        assert answer["agrees"] is None
        assert apart(answer, curves_of(config)) < 1e-12
    assert run_file(tmp_path / "script.py", text).returncode == 0


@pytest.mark.parametrize(
    ("table", "name", "settings"),
    [
        ("_TASKS", "task", {"task": "parity"}),
        ("_CELLS", "cell", {"cell": "gru"}),
        ("_OPTIMIZERS", "optimizer", {"optimizer": "adam"}),
        ("_ACTIVATIONS", "activation", {"activation": "elu"}),
        ("_SCHEMES", "init_scheme", {"init_scheme": "orthogonal"}),
    ],
)
def test_what_has_no_template_is_refused_by_name(table, name, settings, monkeypatch):
    value = settings[name]
    monkeypatch.setattr(script, table, {k: v for k, v in getattr(script, table).items() if k != value})
    with pytest.raises(PlanError, match=f"{name}: no script can be written for '{value}'"):
        script_of(RunConfig(**settings))
