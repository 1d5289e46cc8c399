"""Diagnoses of runs from a real store, and the tables made of them, value by value."""

import dataclasses
import json
import math

import numpy as np
import pandas as pd
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from engine import QUANTILES, ConfigError, RunConfig, advise, black_box, diagnose
from studies import Plan, driver
from studies import diagnosis as tables
from studies.diagnosis import advice, config_of, examine, explain_overflow, fitted_line
from studies.jobs import run_job

SHORT = {"n_iterations": 40, "hidden_size": 4}
RELU = {"n_iterations": 40, "activation": "relu", "learning_rate": 1.0}
SOFTPLUS = {"bits": 20, "activation": "softplus", "hidden_size": 4, "weight_init_std": 0.3, "learning_rate": 10.0, "seed": 3}


@pytest.fixture
def trained(store):
    """Train a run, until a share of it is done, and return it as it was saved."""

    def train_and_read(until=1.0, **settings):
        job_id = store.add_job(Plan.of_config(RunConfig(**settings)))
        run_job(store, job_id, 1, lambda share: store.request_stop(job_id) if until <= share < 1 else None)
        (run_id,) = store.runs(job_id)["id"]
        return store.run(run_id)

    return train_and_read


def at(table, column="value", **place):
    """Return the only value that a table has at a place."""
    (value,) = table.loc[np.logical_and.reduce([table[name] == wanted for name, wanted in place.items()]), column]
    return value


# Whole runs


@pytest.mark.parametrize("changes", [{}, {"cell": "lstm", "bias": True}, {"cell": "gru", "dtype": "float32"}], ids=str)
def test_a_run_without_an_overflow_is_identical_and_has_no_black_box(changes, trained):
    run, shares, threads = trained(**SHORT, **changes), [], set()
    before = repr(run)

    def show(share):
        shares.append(share)
        threads.update(pool["num_threads"] for pool in threadpool_info())

    with threadpool_limits(2):
        found = examine(run, show)
    assert (found.verdict.identical, found.black_box, found.problem) == (True, None, "")
    assert (shares[0], shares[-1], shares) == (0, 1, sorted(shares))
    assert threads == {1}
    assert found.run is run
    assert repr(run) == before
    assert found.diagnosis.config == RunConfig(**SHORT, **changes)
    assert found.diagnosis.iterations.tolist() == list(range(1, 41))
    expected = diagnose(found.diagnosis.config, 40)
    np.testing.assert_array_equal(found.diagnosis.error_norms, expected.error_norms)


@pytest.mark.parametrize(("settings", "lives"), [(RELU, True), (SOFTPLUS | {"seed": 2}, False)], ids=["relu", "softplus"])
def test_a_run_that_overflowed_has_its_black_box_and_the_iterations_before_it(settings, lives, trained):
    run, shares = trained(**settings), []
    found, event = examine(run, shares.append), run["overflow_iteration"]
    assert run["evidence"]["weights_finite"] == lives
    assert (found.verdict.identical, found.problem) == (True, "")
    box = found.black_box
    assert (box.iteration, box.phase, box.kind) == (event, run["overflow_phase"], run["overflow_kind"])
    places = found.diagnosis.iterations.tolist()
    assert {*range(max(1, event - 20), event + 1), run["iterations"]} <= {*places}
    assert lives or len(places) < run["iterations"]  # far apart elsewhere
    assert (shares[0], shares[-1], shares) == (0, 1, sorted(shares))


@pytest.mark.parametrize("wrong", [1, 31, 36, 1000])
def test_a_wrong_overflow_iteration_is_a_problem_and_no_black_box(wrong, store, sql, trained):
    run = trained(**SOFTPLUS)
    assert (run["overflow_iteration"], run["iterations"]) == (32, 35)
    sql(store, f"UPDATE lab_run SET overflow_iteration = {wrong}")
    run, shares = store.run(run["id"]), []
    found = examine(run, shares.append)
    first = f"expected the first overflow at iteration {wrong}, found one at 32"
    assert found.problem.startswith(first if wrong > 32 else f"expected an overflow at iteration {wrong}, found none")
    assert (found.black_box, found.verdict.identical) == (None, True)
    assert (shares[-1], shares) == (1, sorted(shares))
    with pytest.raises(ConfigError, match=f"iteration {wrong}"):
        explain_overflow(run)


def test_other_bits_are_told(store, sql, trained):
    run = trained(**SHORT)
    sql(store, "UPDATE lab_run SET fingerprint = '0'")
    verdict = examine(store.run(run["id"])).verdict
    assert (verdict.identical, "the final weights are not" in verdict.sentence) == (False, True)


def test_a_stopped_run_is_diagnosed_as_far_as_it_went(trained, monkeypatch):
    monkeypatch.setattr(driver, "SLICE_SECONDS", 0.005)
    run = trained(until=0.1, **SHORT | {"n_iterations": 4000})
    assert run["status"] == "stopped"
    found = examine(run)
    assert found.verdict.identical
    assert found.diagnosis.iterations[-1] == run["iterations"] < 4000


def test_settings_that_mean_nothing_are_left_out_of_a_config(trained):
    run = trained(**SHORT)
    run["config"] |= {"momentum": 0.5, "forget_bias": 2.0}  # as earlier versions kept them
    assert config_of(run) == RunConfig(**SHORT)


@pytest.mark.parametrize("settings", [RELU, SHORT, SHORT | {"learning_rate": 1e-9}, RELU | {"task": "adding_problem"}], ids=str)
def test_advice_is_that_of_the_engine_for_what_was_saved(settings, trained):
    run = trained(**settings)
    first = run["overflow_iteration"]
    expected = advise(
        RunConfig(**settings), run["outcome"], run["evidence"], overflow_iteration=first, iterations=run["iterations"]
    )
    assert advice(run) == expected
    if first is None:  # a table of runs says it like this
        assert advice(run | {"overflow_iteration": math.nan}) == expected
    assert expected.tries
    assert all(config_of(run).replace(**changes) for changes in expected.tries)


def test_an_overflow_is_explained_as_the_engine_does_and_fits_into_json(trained):
    run, shares = trained(**RELU), []
    box = explain_overflow(run, shares.append)
    assert box == black_box(RunConfig(**RELU), run["overflow_iteration"])
    assert (shares[-1], shares) == (1, sorted(shares))
    told = tables.as_dict(box)
    assert told.pop("sentence") == box.sentence
    assert told == {field.name: getattr(box, field.name) for field in dataclasses.fields(box)}
    assert json.loads(json.dumps(told))["trail"] == box.trail
    trail = tables.trail_table(box)
    assert trail["iteration"].tolist() == list(range(max(1, box.iteration - 20), box.iteration + 1))
    for name, values in trail.items():
        assert values.tolist() == pytest.approx([row.get(name, math.nan) for row in box.trail], nan_ok=True)


# Tables

LSTM = RunConfig(cell="lstm", n_layers=2, bias=True, batch_size=3, n_iterations=5, hidden_size=3, weight_init_std=2.0)


@pytest.fixture(scope="module")
def lstm():
    return diagnose(LSTM, 5)


def test_errors_factors_losses_and_updates_by_iteration(lstm):
    errors = tables.error_table(lstm)
    assert (list(errors), len(errors)) == (["iteration", "layer", "step", "value"], 5 * 2 * 8)
    assert at(errors, iteration=4, layer=2, step=7) == lstm.error_norms[3, 1, 6]
    factors = tables.factor_table(lstm)
    assert (list(factors), len(factors)) == (["iteration", "layer", "value"], 5 * 2)
    assert at(factors, iteration=5, layer=1) == lstm.factors[4, 0]
    losses = tables.loss_table(lstm)
    assert (list(losses), losses["iteration"].tolist()) == (["iteration", "loss"], [1, 2, 3, 4, 5])
    assert at(losses, "loss", iteration=2) == lstm.loss[1]
    updates = tables.update_table(lstm)
    names = ["W_in", "W_rec", "b", "W_in_2", "W_rec_2", "b_2", "W_out", "b_out"]
    assert (list(updates), len(updates)) == (["iteration", "parameter", "value"], 5 * 8)
    assert updates["parameter"].tolist() == names * 5
    assert at(updates, iteration=3, parameter="W_rec_2") == lstm.update_ratio[2, 4]


def test_the_spectrum_by_gate(lstm):
    table = tables.spectrum_table(lstm)
    assert (set(table), len(table)) == ({"iteration", "layer", "gate", "measure", "value"}, 2 * 5 * 2 * 4)
    place = {"iteration": 2, "layer": 2, "gate": "forget gate"}
    assert at(table, measure="spectral radius", **place) == lstm.radius[1, 1, 1]
    assert at(table, measure="singular value", **place) == lstm.singular[1, 1, 1]
    assert (lstm.singular >= lstm.radius).all()


def test_health_of_gates_by_end(lstm):
    table = tables.health_table(lstm)
    assert set(table) == {"iteration", "layer", "unit", "measure", "value"}
    assert len(table) == 2 * 5 * 2 * 5  # no dead units here
    assert at(table, iteration=3, layer=1, unit="cell state", measure="at its lower end") == lstm.low[2, 0, 4]
    assert at(table, iteration=5, layer=2, unit="output gate", measure="at its upper end") == lstm.high[4, 1, 2]


@pytest.mark.parametrize(
    ("activation", "measures"),
    [
        ("sigmoid", {"at its lower end", "at its upper end"}),
        ("elu", {"at its lower end"}),
        ("relu", {"answers 0", "dead"}),
        ("linear", set()),
    ],
)
def test_health_shows_only_ends_that_are_there(activation, measures):
    found = diagnose(RunConfig(activation=activation, n_iterations=2, learning_rate=1e-3), 2)
    table = tables.health_table(found)
    assert set(table) == {"iteration", "layer", "unit", "measure", "value"}
    assert set(table["measure"]) == measures
    assert len(table) == 2 * len(measures)
    assert table["value"].notna().all()
    assert set(table["unit"]) <= {"hidden state"}
    if activation == "relu":
        assert at(table, iteration=2, measure="dead") == found.dead[1, 0]


def test_distributions_and_histograms_by_kind(lstm):
    table = tables.distribution_table(lstm)
    assert (set(table), len(table)) == ({"iteration", "quantile", "kind", "value"}, 3 * 5 * len(QUANTILES))
    for kind in ("weights", "biases", "gradients"):
        assert at(table, iteration=4, quantile=0.75, kind=kind) == lstm.quantiles[kind][3, QUANTILES.index(0.75)]
        counts, edges = lstm.histograms[kind]
        bars = tables.histogram_table(lstm, 3).query("kind == @kind")
        assert list(bars) == ["start", "end", "count", "kind"]
        assert (bars["count"].tolist(), bars["start"].tolist()) == (counts[3].tolist(), edges[3, :-1].tolist())
        assert bars["end"].tolist()[:-1] == bars["start"].tolist()[1:]
        assert bars["end"].iloc[-1] == edges[3, -1]


def test_a_kind_without_a_finite_number_has_no_bars():
    found = diagnose(RunConfig(activation="softplus", n_iterations=300, seed=2), 1)
    assert np.isnan(found.quantiles["gradients"]).all()
    assert set(tables.histogram_table(found, 0)["kind"]) == {"weights"}


def test_states_of_the_worked_example(lstm):
    table = tables.states_table(lstm, 2)
    assert (list(table), len(table)) == (["layer", "step", "unit", "value"], 2 * 8 * 3)
    assert at(table, layer=2, step=6, unit=3) == lstm.states[2, 1, 5, 2]


def test_the_worked_example_with_an_answer_at_every_step(lstm):
    table = tables.example_table(lstm, 4)
    assert list(table) == ["step", "input 1", "input 2", "target", "answer"]
    assert table["step"].tolist() == list(range(1, 9))
    assert table[["input 1", "input 2"]].to_numpy().tolist() == lstm.inputs.tolist()
    assert table["target"].tolist() == lstm.targets[:, 0].tolist()
    assert table["answer"].tolist() == lstm.answers[4, :, 0].tolist()
    a, b, total = (int((table[name] * 2 ** (table["step"] - 1)).sum()) for name in ("input 1", "input 2", "target"))
    assert a + b == total


def test_the_worked_example_with_answers_at_the_end():
    found = diagnose(RunConfig(task="temporal_order", length=12, n_iterations=2), 2)
    table = tables.example_table(found, 1)
    numbered = [f"{name} {i}" for i in (1, 2, 3, 4) for name in ("target", "answer")]
    assert list(table) == ["step", *(f"input {i}" for i in range(1, 7)), *numbered]
    assert table[numbered].iloc[:-1].isna().all(axis=None)
    assert table["answer 3"].iloc[-1] == found.answers[1, 0, 2]
    last = table[numbered].iloc[-1]
    assert last[numbered[::2]].tolist() == found.targets[0].tolist()
    assert last[numbered[1::2]].sum() == pytest.approx(1)


# The line through the norms


def test_the_line_is_that_of_least_squares_and_its_slope_is_the_factor(lstm):
    errors = tables.error_table(lstm).query("iteration == 5 and layer == 2")
    line = fitted_line(errors, lstm.factors[4, 1])
    slope, height = np.polyfit(errors["step"], np.log(errors["value"]), 1)
    assert (list(line), line["step"].tolist()) == (["step", "value"], [1, 8])
    np.testing.assert_allclose(np.log(line["value"]), height + slope * line["step"], rtol=1e-9)
    assert line["value"].iloc[0] / line["value"].iloc[1] == pytest.approx(lstm.factors[4, 1] ** 7)


def test_the_line_leaves_out_what_has_no_logarithm():
    table = pd.DataFrame({"step": range(1, 9), "value": [np.nan, 0.0, 8.0, 4.0, np.inf, -1.0, 0.5, 0.0]})
    line = fitted_line(table, 2.0)
    assert line["step"].tolist() == [3, 7]
    np.testing.assert_allclose(line["value"], [8, 0.5])


@pytest.mark.parametrize(("values", "factor"), [([1.0, 2.0], math.nan), ([0.0, 2.0], 2.0), ([math.nan] * 2, 2.0), ([], 1.0)])
def test_there_is_no_line_without_a_factor_or_two_norms(values, factor):
    line = fitted_line(pd.DataFrame({"step": range(1, 1 + len(values)), "value": values}, dtype=float), factor)
    assert (list(line), len(line)) == (["step", "value"], 0)


def test_a_line_out_of_range_ends_at_infinity():
    line = fitted_line(pd.DataFrame({"step": [1, 2], "value": [1e300, 1e-300]}), math.inf)
    assert line["value"].tolist() == [math.inf, 0]
