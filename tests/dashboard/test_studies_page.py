"""The Studies page, through Streamlit's own test tool."""

import re

import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from studies import open_store
from studies.jobs import run_job
from studies.search import Choices, Range, Search, template


@pytest.fixture(scope="module")
def studied_url(tmp_path_factory):
    """A store with two studies, one of them with two objectives; tests must not change it."""
    url = f"sqlite:///{tmp_path_factory.mktemp('studied') / 'brink.db'}"
    store = open_store(url)
    space = {"learning_rate": Range(0.01, 100, log=True), "activation": Choices(["sigmoid", "relu"])}
    shared = {"space": space, "fixed": {"n_iterations": 60, "hidden_size": 4}, "n_trials": 12, "batch": 6}
    for search in (Search(name="one", **shared, n_seeds=2), Search(name="two <b>*", **shared, objectives=("accuracy", "cost"))):
        run_job(store, store.study(store.add_study(search)).job.id, 1)
    return url


@pytest.fixture
def page(open_app):
    """Return a function that opens the page on a store."""

    def open_page(url: str, study: str | None = None, **address) -> AppTest:
        return open_app(url, "studies", **({"study": study} if study else {}), **address)

    return open_page


def texts(test: AppTest) -> str:
    kinds = ("markdown", "caption", "header", "subheader")
    return " ".join(element.value for kind in kinds for element in getattr(test, kind)).replace("\\", "")


def typed(test: AppTest, **values) -> AppTest:
    """Type into the form; the table of the space is given as rows."""
    for name, value in values.items():
        if name == "rows":
            columns = ["on", "setting", "low", "high", "log", "step", "choices"]
            test.session_state["study_space"] = pd.DataFrame(value, columns=columns)
            test.session_state["study_version"] += 1
        else:
            test.session_state[f"study_{name}"] = value
    return test.run()


def test_an_empty_store_offers_a_form_that_can_be_started_at_once(page, empty_url):
    test = page(empty_url)
    assert test.text_input(key="study_name").value == "A quick look"
    assert test.button(key="study_start").label == "Start study (64 runs)"
    assert not test.button(key="study_start").disabled


RATE = (True, "learning_rate", "0.01", "1", True, "", "")
WRONG = [
    ({"name": " "}, "name: expected some text"),
    ({"rows": []}, "space: expected one or more settings to search, found none"),
    ({"rows": [(False, "learning_rate", "0.01", "1", True, "", "")]}, "space: expected one or more settings"),
    ({"rows": [RATE, RATE]}, "learning_rate: expected it once, found it twice"),
    (
        {"rows": [(True, "learning_rate", "1", "0.1", True, "", "")]},
        "learning_rate: expected low below high, found 1.0 and 0.1",
    ),
    ({"rows": [(True, "weight_init_std", "0", "1", True, "", "")]}, "weight_init_std: expected"),
    (
        {"rows": [(True, "learning_rate", "0.1", "1", True, "", "0.5")]},
        "learning_rate: expected from and to, or choices, found both",
    ),
    ({"rows": [(True, "learning_rate", "", "1", True, "", "")]}, "learning_rate: expected"),
    ({"rows": [(True, "activation", "a", "b", False, "", "")]}, "activation: "),
    ({"rows": [(True, "activation", "", "", False, "", "tahn")]}, "tanh"),
    ({"fixed": "n_iterations"}, "fixed settings: expected name = value on each line, found 'n_iterations'"),
    ({"fixed": "n_iterations = 5\nn_iterations = 6"}, "fixed settings: expected n_iterations once, found it twice"),
    ({"fixed": "n_iterations = 5, 6"}, "expected one value of n_iterations, found 2; search it instead"),
    ({"fixed": "learning_rate = 0.1"}, "learning_rate: expected it fixed or searched, found it as both"),
    (
        {"rows": [(True, "hidden_size", "1", "4", False, "", "")]},
        "n_trials: expected at most 4, which is all that the space has, found 64",
    ),
]


def test_what_is_wrong_is_said_before_anything_starts(page, empty_url):
    test = page(empty_url)
    right = {name: test.session_state[f"study_{name}"] for name in ("name", "fixed")}
    right["rows"] = test.session_state["study_space"].to_numpy().tolist()
    for changes, message in WRONG:
        typed(test, **right | changes)
        (problem,) = [element.value for element in test.markdown if element.value.startswith(":red[")]
        assert message in problem.replace("\\", "")
        assert test.button(key="study_start").disabled
    assert open_store(empty_url).studies() == []


def test_the_form_s_widgets_have_what_they_show_as_their_defaults_too(page, empty_url):
    test = typed(page(empty_url), first="accuracy", sampler="random", n_trials=7, fixed="bits = 4", batch=5)
    for name, value in (("first", "accuracy"), ("sampler", "random")):
        chosen = test.selectbox(key=f"study_{name}")
        assert chosen.options[chosen.proto.default] == value
    assert test.number_input(key="study_n_trials").proto.default == 7
    assert test.text_area(key="study_fixed").proto.default == "bits = 4"
    assert not test.number_input(key="study_batch").proto.HasField("default")  # or nobody could empty it again


def test_a_template_fills_the_form(page, empty_url):
    test = page(empty_url)
    test.selectbox(key="study_template").select("init_and_activation").run()
    assert test.session_state["study_n_seeds"] == 5
    assert test.text_area(key="study_fixed").value == "n_iterations = 5000\nlearning_rate = 0.1"
    assert test.button(key="study_start").label == "Start study (100 runs)"


def test_a_study_is_started_with_what_the_form_says(page, empty_url):
    test = typed(page(empty_url), name="mine", rows=[RATE], fixed="n_iterations = 20", n_trials=3, n_seeds=2, second="cost")
    test.button(key="study_start").click().run()
    (study,) = open_store(empty_url).studies()
    expected = {"learning_rate": Range(0.01, 1.0, log=True)}
    assert (study.name, study.search.space, study.search.fixed) == ("mine", expected, {"n_iterations": 20})
    assert (study.search.objectives, study.search.n_trials, study.search.n_seeds) == (("final_loss", "cost"), 3, 2)
    assert "mine" in texts(test)


@pytest.mark.parametrize(("typed_batch", "batch"), [(None, 256), (7, 7)])
def test_trials_asked_at_once_are_the_usual_number_unless_somebody_says(page, empty_url, typed_batch, batch):
    test = typed(page(empty_url), rows=[RATE], fixed="n_iterations = 20", n_trials=3, batch=typed_batch)
    test.button(key="study_start").click().run()
    (study,) = open_store(empty_url).studies()
    assert study.search.batch == batch
    forked = page(empty_url, study.id)
    forked.button(key="fork").click().run()
    assert forked.session_state["study_batch"] == typed_batch


def test_a_name_that_is_taken_is_refused_where_it_is_typed_and_another_is_offered(page, empty_url):
    store = open_store(empty_url)
    taken = store.add_study(template("quick_look"))
    store.add_study(template("quick_look", name="A quick look 2"))
    test = page(empty_url)
    assert test.text_input(key="study_name").value == "A quick look 3"
    typed(test, name="A quick look")
    assert "There is a study 'A quick look' already" in texts(test)
    assert test.button(key="study_start").disabled
    test.button(key="study_rename").click().run()
    assert test.text_input(key="study_name").value == "A quick look 3"
    assert not test.button(key="study_start").disabled
    typed(test, name="A quick look").button(key="study_open_taken").click().run()
    assert test.query_params["study"] == taken


def test_the_list_shows_every_study(page, studied_url):
    test = page(studied_url)
    shown = test.dataframe[0].value
    assert shown["name"].tolist() == ["two <b>*", "one"]
    assert shown["done"].tolist() == [1.0, 1.0]


PANELS = {
    "Overview": ["History", "Learning curves"],
    "Curves": ["Learning curves of all runs, as a density", "Learning curves"],
    "Settings": ["One setting at a time", "What decides", "Outcomes by setting"],
    "Pairs": ["Two settings", "All settings"],
    "Spread": ["Distribution", "When"],
    "Trials": [],
}


@pytest.mark.parametrize("view", PANELS)
@pytest.mark.parametrize("name", ["one", "two <b>*"])
def test_every_view_of_a_study_shows_its_charts(page, studied_url, name, view):
    study = open_store(studied_url).study(name)
    test = page(studied_url, study.id, view=view)
    written = texts(test)
    found = re.findall(r"\*\*(.*?)\*\*", written)
    both = view == "Overview" and len(study.search.objectives) > 1
    assert found == PANELS[view][:1] + ["Both objectives"] * both + PANELS[view][1:]
    assert f"of {study.n_done:,} trials" in written
    assert name in written
    assert test.session_state["view"] == view


def test_the_table_of_trials_has_all_of_them_with_their_seeds(page, studied_url):
    test = page(studied_url, open_store(studied_url).study("one").id, view="Trials")
    trials = test.dataframe[0].value
    assert trials["number"].tolist() == list(range(12))
    assert {"n", "n_lost", "lost_low", "lost_high"} <= set(trials)
    assert {"CSV (12)", "JSON (12)"} <= {button.label for button in test.get("download_button")}


@pytest.mark.parametrize("view", ["Overview", "Settings", "Pairs", "Trials"])
def test_a_trial_in_the_address_is_looked_at_closely_in_every_view(page, studied_url, view):
    study = open_store(studied_url).study("one")
    test = page(studied_url, study.id, view=view, trial="7")
    written = texts(test)
    assert "Trial 7" in written
    assert "Why:" in written
    assert "Diagnosis" in written
    seed = next(control for control in test.get("button_group") if control.key == "seed_7")
    assert seed.options == ["1", "2"]
    test.button(key="close_trial").click().run()
    assert "Trial 7" not in texts(test)
    assert "trial" not in test.query_params


@pytest.mark.parametrize("trial", ["12", "-1", "x", ""])
def test_a_trial_that_is_not_there_is_left_out(page, studied_url, trial):
    test = page(studied_url, open_store(studied_url).study("one").id, trial=trial)
    assert not [element for element in test.subheader if "Trial" in element.value]


def test_what_is_selected_is_selected_in_every_view_until_it_is_cleared(page, studied_url):
    study = open_store(studied_url).study("one")
    test = page(studied_url, study.id, view="Trials")
    test.session_state["selected_trials"] = (study.id, [3, 5], "a chart")
    test.run()
    assert test.dataframe[0].value["number"].tolist() == [3, 5]
    assert "2 trials selected" in texts(test)
    test.button(key="clear_selection").click().run()
    assert len(test.dataframe[0].value) == 12
    other = open_store(studied_url).study("two <b>*")
    test.session_state["selected_trials"] = (study.id, [3, 5], "a chart")
    test.query_params["study"] = other.id
    test.run()
    assert len(test.dataframe[0].value) == 12


def test_a_fork_fills_the_form_with_the_studys_search(page, studied_url):
    study = open_store(studied_url).study("two <b>*")
    test = page(studied_url, study.id)
    test.button(key="fork").click().run()
    assert test.text_input(key="study_name").value == "two <b>* 2"
    assert test.session_state["study_second"] == "cost"
    assert test.session_state["study_space"]["setting"].tolist() == ["learning_rate", "activation"]


def test_a_wrong_address_says_so_and_lists_the_others(page, studied_url):
    test = page(studied_url, "nothing")
    assert "does not exist any more" in test.warning[0].value
    assert test.dataframe
