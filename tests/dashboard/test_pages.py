"""Every page on an empty and on a filled store, through Streamlit's own test tool."""

import re

import pyarrow as pa
import pytest
from streamlit.testing.v1 import AppTest

from dashboard.components.run_filter import in_words
from engine import CELLS, FIELDS, OPTIMIZERS, OUTCOMES, TASKS
from studies import PRESETS, Store, open_store
from studies.export import FORMATS
from studies.jobs import run_job
from studies.plans import Plan


@pytest.fixture
def app(open_app):
    """Return a function that opens a page on a store."""
    return lambda url, page="experiment", query=None: open_app(url, page, **(query or {}))


def texts(test: AppTest) -> str:
    """Return everything that is written on the page."""
    return " ".join(
        element.value for kind in ("markdown", "caption", "header", "subheader", "error") for element in getattr(test, kind)
    )


@pytest.mark.parametrize("page", ["experiment", "runs"])
def test_an_empty_store_says_what_to_do(app, empty_url, page):
    written = texts(app(empty_url, page))
    assert ("Train" in written) or ("Experiment page" in written)


@pytest.mark.parametrize("page", ["experiment", "runs"])
def test_a_filled_store_shows_no_error(app, filled_url, page):
    test = app(filled_url, page)
    assert not test.error
    assert test.get("vega_lite_chart") or test.dataframe


def test_a_knob_that_means_nothing_any_more_does_not_hinder_the_training(app, empty_url, monkeypatch):
    launched = []
    monkeypatch.setattr("studies.jobs.launch", lambda store, job_id: launched.append(job_id))
    test = app(empty_url)
    next(group for group in test.button_group if group.key == "knob_cell").set_value(["lstm"]).run()
    test.run()  # by now the activation would be forgotten
    test.button(key="train").click().run()
    assert not test.exception
    (job,) = open_store(empty_url).jobs()
    assert (job.plan.axes["cell"], "activation" in job.plan.axes, launched) == (["lstm"], False, [job.id])


def test_the_newest_experiment_is_shown_with_its_outcome_and_reason(app, filled_url):
    written = texts(app(filled_url))
    assert "far above a constant answer" in written
    assert "Worked examples" in written


def test_the_address_opens_an_older_experiment(app, filled_url):
    job = next(job for job in open_store(filled_url).jobs() if job.name == "dies")
    test = app(filled_url, query={"job": job.id})
    assert "dies" in texts(test)
    assert "the weights stopped being finite numbers" in texts(test)


def test_a_wrong_address_says_so_and_shows_the_newest(app, filled_url):
    test = app(filled_url, query={"job": "<script>"})
    assert "does not exist any more" in test.warning[0].value


def test_overlaid_runs_join_the_chart(app, filled_url):
    store = open_store(filled_url)
    run_ids = [store.runs(job.id)["id"].iloc[0] for job in store.jobs()[1:3]]
    test = app(filled_url, query={"with": ",".join(run_ids)})
    assert test.multiselect(key="overlay").value == run_ids
    assert len(test.selectbox(key="closer").options) == 3


def test_a_preset_turns_the_knobs_to_what_it_says(app, empty_url):
    test = app(empty_url)
    for name in PRESETS:
        test.selectbox(key="preset").select(name).run()
        plan = Plan.of(name)
        expected = plan.config(0)
        assert test.text_input(key="knob_weight_init_std").value == f"{expected.weight_init_std:g}"
        assert test.text_input(key="knob_learning_rate").value == f"{expected.learning_rate:g}"
        assert test.text_input(key="knob_hidden_size").value == str(expected.hidden_size)
        assert test.session_state["knob_cell"] == list(dict.fromkeys(config.cell for config in plan.configs()))
        assert test.session_state["knob_activation"] == [expected.activation or "sigmoid"]
        assert test.multiselect(key="knob_init_scheme").value == [expected.init_scheme]
        assert test.selectbox(key="preset").value == name
        assert test.button(key="train").label == (f"Train {plan.n_runs} runs" if plan.n_runs > 1 else "Train")
        assert not [element.value for element in test.markdown if element.value.startswith(":red[")]


def drawn(test: AppTest) -> set[str]:
    """Return the settings whose knobs stand on the page."""
    kinds = (test.text_input, test.multiselect, test.get("button_group"))
    return {knob.key.removeprefix("knob_") for kind in kinds for knob in kind if (knob.key or "").startswith("knob_")}


def turn(test: AppTest, **choices) -> AppTest:
    """Turn knobs of words and draw the page again."""
    for name, values in choices.items():
        test.session_state[f"knob_{name}"] = values
    return test.run()


@pytest.mark.parametrize("task", TASKS)
def test_only_knobs_that_mean_something_are_drawn_and_what_they_say_can_be_trained(app, empty_url, task):
    test = app(empty_url)
    for cell in CELLS:
        turn(test, task=task, cell=[cell])
        settings = {"task": task, "cell": cell, "optimizer": "sgd", "schedule": "constant"}
        meant = {name for name, field in FIELDS.items() if field.applies(settings)}
        assert drawn(test) == (meant if len(TASKS[task].losses) > 1 else meant - {"loss"})
        assert not test.button(key="train").disabled


def test_an_optimizer_brings_its_constants(app, empty_url):
    test = app(empty_url)
    constants = {name for other in OPTIMIZERS.values() for name in other.constants}
    for name, optimizer in OPTIMIZERS.items():
        assert drawn(turn(test, optimizer=[name])) & constants == set(optimizer.constants)


def test_choosing_a_task_turns_the_knobs_to_settings_that_can_learn_it_and_keeps_the_seeds(app, empty_url):
    test = app(empty_url)
    test.text_input(key="knob_seed").input("7-9").run()
    task = next(knob for knob in test.get("button_group") if knob.key == "knob_task")
    task.set_value("adding_problem").run()
    start = TASKS["adding_problem"].starting_point
    assert test.session_state["knob_cell"] == [start["cell"]]
    assert test.session_state["knob_optimizer"] == [start["optimizer"]]
    assert test.text_input(key="knob_hidden_size").value == str(start["hidden_size"])
    assert test.text_input(key="knob_length").value == str(TASKS["adding_problem"].usual_length)
    assert test.text_input(key="knob_seed").value == "7-9"
    assert TASKS["adding_problem"].title.capitalize() in texts(test)


def test_the_page_counts_parameters_by_cell(app, empty_url):
    """By hand: 2 inputs, 16 units, 1 output; a gate has 18 x 16 weights, an LSTM four, a GRU three."""
    written = texts(turn(app(empty_url), cell=["rnn", "lstm", "gru"])).replace("\\", "")
    assert f"rnn {18 * 16 + 16}, lstm {4 * 18 * 16 + 16:,}, gru {3 * 18 * 16 + 16}" in written


def test_every_knob_has_a_note(app, empty_url):
    captions = [element.value.replace("\\", "") for element in app(empty_url).caption]
    for name in ("weight_init_std", "optimizer", "clip_value", "schedule", "pool_size", "init_scheme"):
        assert FIELDS[name].note in captions


def test_a_problem_of_the_whole_plan_is_said_below_the_knobs(app, empty_url):
    test = turn(app(empty_url), task="temporal_order")
    test.text_input(key="knob_length").input("5").run()
    (shown,) = [element.value for element in test.markdown if element.value.startswith(":red[")]
    assert "expected at least 10 for task 'temporal_order'" in shown.replace("\\", "")


def test_re_run_and_verify_says_identical(app, filled_url):
    test = app(filled_url)
    (button,) = [button for button in test.button if (button.key or "").startswith("verify_")]
    button.click().run()
    assert "the same, bit for bit" in test.success[0].value


def test_a_run_of_another_task_shows_its_examples_in_a_line_each(app, empty_url):
    store = open_store(empty_url)
    job_id = store.add_job(Plan.of("bit_count", n_iterations=5, hidden_size=3))
    run_job(store, job_id, 1)
    test = app(empty_url)
    written = " ".join(element.proto.body for element in test.get("html"))
    assert len(re.findall(r"output: -?\d+\.\d{6}, correct: \d+", written)) == 8
    assert "First LSTM" not in texts(test)  # it is not the preset any more


IMPOSSIBLE = [
    ("hidden_size", "0", "expected a whole number from 1 to 1,024, found 0"),
    ("weight_init_std", "-1", "expected a number from 0 to 1,000,000, found -1"),
    ("learning_rate", "abc", "expected a number above 0 up to 1,000,000, found 'abc'"),
    ("bits", "64", "expected a whole number from 2 to 32, found 64"),
    ("n_iterations", "1000000000", "expected a whole number from 1 to 10,000,000, found 1000000000"),
    ("seed", "1-1000000000", "at most 100,000 numbers"),
    ("learning_rate", "![x](http://x.test/x.png)", "found"),
]


def test_an_impossible_setting_is_refused_where_it_is_typed(app, empty_url):
    test = app(empty_url)
    for knob, typed, message in IMPOSSIBLE:
        right = test.text_input(key=f"knob_{knob}").value
        test.text_input(key=f"knob_{knob}").input(typed).run()
        (shown,) = [element.value for element in test.markdown if element.value.startswith(":red[")]
        assert message in shown.replace("\\", "")
        assert "](" not in shown.removeprefix(":red[").removesuffix("]")  # markup arrives escaped
        assert test.button(key="train").disabled
        test.text_input(key=f"knob_{knob}").input(right).run()
        assert not test.button(key="train").disabled


def test_lists_of_values_and_seeds_are_counted_before_training(app, empty_url):
    test = app(empty_url)
    test.text_input(key="knob_learning_rate").input("0.1, 0.5, 1").run()
    test.text_input(key="knob_seed").input("1-5").run()
    assert test.button(key="train").label == "Train 15 runs"


def test_a_slider_writes_its_value_and_typing_moves_the_slider(app, empty_url):
    test = app(empty_url)
    test.select_slider(key="slider_learning_rate").set_value("0.5").run()
    assert test.text_input(key="knob_learning_rate").value == "0.5"
    test.text_input(key="knob_learning_rate").input("2").run()
    assert test.select_slider(key="slider_learning_rate").value == "2"


def test_what_a_browser_sends_before_it_knows_better_is_what_the_page_shows(app, empty_url):
    """Its own default was sent once, and turned weight_init_std to the slider's least step."""
    test = app(empty_url)
    test.text_input(key="knob_weight_init_std").input("2").run()
    slider = test.select_slider(key="slider_weight_init_std").proto
    assert slider.options[int(slider.default[0])] == "2"
    assert test.text_input(key="knob_weight_init_std").proto.default == "2"
    assert test.text_input(key="knob_learning_rate").proto.default == "0.1"


def test_sliders_keep_their_place_while_another_page_is_read(app, empty_url):
    test = app(empty_url)
    test.text_input(key="knob_weight_init_std").input("2").run()
    test.switch_page("views/runs.py").run()
    test.switch_page("views/experiment.py").run()
    assert test.text_input(key="knob_weight_init_std").value == "2"
    assert test.select_slider(key="slider_weight_init_std").value == "2"


def test_momentum_is_offered_only_where_it_means_something(app, empty_url):
    test = app(empty_url)
    assert "knob_momentum" not in [knob.key for knob in test.text_input]
    test.session_state["knob_optimizer"] = ["momentum"]
    test.run()
    assert "knob_momentum" in [knob.key for knob in test.text_input]
    assert not test.exception


def test_runs_are_offered_in_every_format_with_curves_when_asked(app, filled_url):
    test = app(filled_url, "runs")
    n = len(open_store(filled_url).runs())
    labels = [button.label for button in test.get("download_button")]
    assert labels == [f"{form.title} ({n})" for form in FORMATS.values()]
    test.toggle(key="export_with_curves").set_value(True).run()
    labels = {button.label for button in test.get("download_button")} - set(labels)
    assert labels == {"Curves alone as CSV", "JSON with curves", "Parquet with curves", "Excel with curves", "For TensorBoard"}


def test_large_tables_are_not_offered_as_pages_to_read(app, filled_url, monkeypatch):
    monkeypatch.setattr("dashboard.components.run_actions.MOST_PRINTED", 2)
    monkeypatch.setattr("dashboard.components.run_actions.MOST_IN_SHEETS", 2)
    test = app(filled_url, "runs")
    test.toggle(key="export_with_curves").set_value(True).run()
    labels = {button.label.partition(" (")[0] for button in test.get("download_button")}
    assert labels & {"Markdown", "LaTeX", "Excel with curves", "Excel", "Parquet with curves"} == {
        "Excel",
        "Parquet with curves",
    }


def test_filters_are_told_in_words():
    rules = {"activation": ["relu", None], "name": "a b", "seed": (2, None), "final_loss": (0.1, 0.5), "bits": (None, None)}
    words = "activation is relu or none and name contains 'a b' and seed at least 2 and final loss at least 0.1 and at most 0.5"
    assert in_words(rules) == words
    assert in_words({}) == ""


def test_runs_can_be_filtered_by_outcome_and_number(app, filled_url):
    test = app(filled_url, "runs")
    everything = len(test.dataframe[0].value)
    test.multiselect(key="filter_columns").select("outcome").select("learning_rate").run()
    test.multiselect(key="values_outcome").select("diverged").run()
    assert len(test.dataframe[0].value) == 1 < everything
    test.number_input(key="most_learning_rate").set_value(1.0).run()
    assert "No run meets these filters" in test.info[0].value


def test_a_store_that_cannot_be_opened_is_explained(app, tmp_path):
    (tmp_path / "notes.txt").write_text("not a database, but a text of more than sixteen bytes")
    test = app(f"sqlite:///{tmp_path / 'notes.txt'}")
    assert "expected an SQLite database" in test.error[0].value.replace("\\", "")


def test_every_outcome_of_the_store_is_known_to_the_page(filled_url):
    assert set(open_store(filled_url).runs()["outcome"]) <= set(OUTCOMES)


def last_iteration(test: AppTest) -> float:
    """Return where the loss curve on the page ends."""
    table = test.get("vega_lite_chart")[0].proto.datasets
    frames = [pa.ipc.open_stream(data.data.data).read_pandas() for data in table]
    return max(frame["iteration"].max() for frame in frames if {"iteration", "value", "label"} <= set(frame))


def test_a_resumed_run_is_drawn_to_its_end_where_its_stopped_curve_had_been_shown(app, empty_url):
    store = open_store(empty_url)
    job_id = store.add_job(Plan.of("classic", n_iterations=4000, hidden_size=2))
    assert run_job(store, job_id, 1, lambda share: store.request_stop(job_id) if share > 0 else None) == "stopped"
    test = app(empty_url)
    assert last_iteration(test) < 4000
    store.wait_again(job_id)
    assert run_job(store, job_id, 1) == "finished"
    test.run()
    assert last_iteration(test) == 4000


def test_an_experiment_deleted_elsewhere_is_missed_without_an_error(app, empty_url):
    store = open_store(empty_url)
    jobs = [store.add_job(Plan.of("classic", n_iterations=20, seed=seed)) for seed in (1, 2)]
    for job_id in jobs:
        run_job(store, job_id, 1)
    test = app(empty_url, query={"job": jobs[0]})
    store.delete_job(jobs[0])
    test.run()
    assert not test.exception
    assert "does not exist any more" in test.warning[0].value


def test_a_run_deleted_elsewhere_in_the_middle_of_the_drawing_is_missed_without_an_error(app, empty_url, monkeypatch):
    store, read, deleted = open_store(empty_url), Store.run, []
    run_job(store, store.add_job(Plan.of("classic", n_iterations=20, seed=[1, 2])), 1)

    def read_late(self, run_id):
        if not deleted:
            deleted.append(run_id)
            self.delete_runs(deleted)
        return read(self, run_id)

    monkeypatch.setattr(Store, "run", read_late)
    app(empty_url)
    assert len(deleted) == len(store.runs()) == 1


# Why: advice and diagnosis


def job_named(url: str, name: str):
    return next(job for job in open_store(url).jobs() if job.name == name)


def test_a_run_says_why_what_happened_first_and_what_to_try(app, filled_url):
    written = texts(app(filled_url, query={"job": job_named(filled_url, "dies").id}))
    assert "**Why:**" in written
    assert "spectral radius" in written
    assert re.search(
        r"\*\*First:\*\* Iteration \d+, forward pass: .*hidden state of unit \d+, layer 1, time step \d",
        written.replace("\\", ""),
    )


def test_a_try_turns_the_knobs_and_trains(app, empty_url):
    store = open_store(empty_url)
    run_job(store, store.add_job(Plan.of("relu", n_iterations=30)), 1)
    test = app(empty_url)
    run_id = store.runs()["id"][0]
    test.button(key=f"try_{run_id}_1").click().run()
    newest = store.jobs()[0]
    config = newest.plan.config(0)
    assert (config.init_scheme, config.weight_init_std, config.learning_rate) == ("he_normal", 1.0, 0.1)
    assert (config.activation, config.n_iterations) == ("relu", 30)
    assert test.query_params["job"] in (newest.id, [newest.id])
    assert test.multiselect(key="knob_init_scheme").value == ["he_normal"]


PANELS = [
    "What happened first.",
    "Gradients through time",
    "Gradients at iteration",
    "Spectrum of the recurrent matrices",
    "Saturated and dead units",
    "Update by weight",
    "Hidden states",
    "How weights, biases and gradients are spread",
]


def diagnosed(app, url: str, name: str) -> tuple[AppTest, str]:
    """Diagnose the first run of a job on its page; return the page and the run's id."""
    job = job_named(url, name)
    test = app(url, query={"job": job.id})
    run_id = open_store(url).runs(job.id)["id"].iloc[0]
    test.button(key=f"diagnose_{run_id}").click().run()
    assert not test.exception
    return test, run_id


def test_diagnose_shows_every_panel_with_the_same_bits(app, filled_url):
    test, run_id = diagnosed(app, filled_url, "relu")
    written = texts(test).replace("\\", "")
    for panel in PANELS:
        assert panel in written
    assert written.count("Identical: loss curve and final weights are the same, bit for bit.") == 2  # beside its sister
    event = open_store(filled_url).run(run_id)["overflow_iteration"]
    assert test.select_slider(key=f"iteration_{run_id}").value == event  # opens where it happened
    assert f"Gradients at iteration {event:,}" in written
    assert len(test.get("vega_lite_chart")) >= 14


def test_the_slider_moves_all_panels(app, filled_url):
    test, run_id = diagnosed(app, filled_url, "")
    key = f"iteration_{run_id}"
    assert "Gradients at iteration 300" in texts(test)
    test.select_slider(key=key).set_value(1).run()
    assert "Gradients at iteration 1," in texts(test)
    assert "Hidden states, iteration 1" in texts(test)


def test_a_diagnosis_is_kept_and_others_stand_beside_it(app, filled_url):
    test, run_id = diagnosed(app, filled_url, "")
    assert set(test.session_state["examinations"]) >= {run_id}
    assert test.button(key=f"diagnose_{run_id}").disabled
    beside = test.multiselect(key=f"beside_{run_id}")
    assert len(beside.value) == 1
    beside.set_value([]).run()
    assert texts(test).count("trained again") == 1
