"""The Compare page, through Streamlit's own test tool."""

import statistics

import pytest
from streamlit.testing.v1 import AppTest

from studies import Plan, open_store
from studies.jobs import run_job
from studies.search import Choices, Range, Search

HOSTILE = "one <b>*[x](y)*"


@pytest.fixture(scope="module")
def compared_url(tmp_path_factory):
    """A store with an experiment of two activations and two studies of different spaces; tests must not change it."""
    url = f"sqlite:///{tmp_path_factory.mktemp('compared') / 'brink.db'}"
    store = open_store(url)
    plan = Plan.of("classic", activation=["sigmoid", "relu"], n_iterations=60, seed=range(1, 9))
    run_job(store, store.add_job(plan, "two activations"), 1)
    for name, low, high in ((HOSTILE, 0.01, 1), ("wide", 0.1, 10)):
        space = {"learning_rate": Range(low, high, log=True), "hidden_size": Choices([2, 4])}
        search = Search(name=name, space=space, fixed={"n_iterations": 40}, n_trials=10, n_seeds=2, batch=10)
        run_job(store, store.study(store.add_study(search)).job.id, 1)
    return url


@pytest.fixture
def page(open_app):
    """Return a function that opens the page on a store, with the names of what is compared."""

    def open_page(url: str, *names: str) -> AppTest:
        store = open_store(url)
        known = {job.name: f"job:{job.id}" for job in store.jobs()} | {s.name: f"study:{s.id}" for s in store.studies()}
        return open_app(url, "compare", **({"with": ",".join(known[name] for name in names)} if names else {}))

    return open_page


def texts(test: AppTest) -> str:
    kinds = ("markdown", "caption", "header", "subheader", "error")
    return " ".join(element.value for kind in kinds for element in getattr(test, kind)).replace("\\", "")


def test_an_empty_store_says_what_to_do(page, empty_url):
    assert "Nothing to compare yet" in texts(page(empty_url))


def test_nothing_chosen_says_what_can_be_chosen(page, compared_url):
    test = page(compared_url)
    assert test.multiselect(key="compared").options == ["wide", HOSTILE, "two activations"]
    assert "Choose saved studies or experiments" in texts(test)


def test_an_experiment_is_cut_into_groups_which_are_compared_in_pairs(page, compared_url):
    test = page(compared_url, "two activations")
    assert test.selectbox(key="compare_by").value == "activation"
    runs = open_store(compared_url).runs()
    runs = runs[runs["activation"].notna() & (runs["job_id"] == open_store(compared_url).jobs()[0].id)]
    losses = {name: list(part["final_loss"]) for name, part in runs.groupby("activation")}
    difference = statistics.fmean(losses["relu"]) - statistics.fmean(losses["sigmoid"])
    word = "higher" if difference > 0 else "lower"
    written = texts(test)
    assert f"The final loss of relu is on average {abs(difference):.3g} {word} than that of sigmoid" in written
    assert "8 shared seeds" in written
    assert "Diverged or overflowed" in written
    assert test.dataframe[0].value["group"].tolist() == ["sigmoid", "relu"]


def test_an_experiment_can_be_left_whole(page, compared_url):
    test = page(compared_url, "two activations")
    test.selectbox(key="compare_by").select("").run()
    assert not test.exception
    assert test.dataframe[0].value["group"].tolist() == ["two activations"]
    assert "Is one better?" not in texts(test)


def test_two_studies_are_compared_by_every_metric_and_budget(page, compared_url):
    test = page(compared_url, HOSTILE, "wide")
    turns = [("final_loss", "trials"), ("best_loss", "iterations"), ("accuracy", "seconds"), ("solved", "trials")]
    for metric, budget in turns:
        test.selectbox(key="compare_metric").select(metric)
        next(group for group in test.button_group if group.key == "compare_budget").set_value(budget)
        test.run()
        assert not test.exception
        assert not test.error
        assert HOSTILE in texts(test)
        assert test.dataframe[0].value["group"].tolist() == [HOSTILE, "wide"]


def test_of_different_spaces_only_the_overlap_is_compared_if_asked_for(page, compared_url):
    test = page(compared_url, HOSTILE, "wide")
    assert "search different spaces" in texts(test)
    test.toggle(key="compare_overlap").set_value(True).run()
    assert not test.exception
    store = open_store(compared_url)
    inside = [sum(0.1 <= trial.params["learning_rate"] <= 1 for trial in store.trials(s.id)) for s in store.studies()]
    assert 0 < min(inside) < 10
    assert f"{inside[1]} of 10 trials of {HOSTILE} and {inside[0]} of 10 trials of wide" in texts(test)


def test_an_address_with_something_that_is_gone_shows_the_rest(page, compared_url):
    test = page(compared_url, "wide")
    test.query_params["with"] = "study:gone," + test.query_params["with"][0]
    test.switch_page("views/compare.py").run()
    assert not test.exception
    assert test.dataframe[0].value["group"].tolist() == ["wide"]


def test_selected_runs_are_groups_too_and_stand_in_the_address(open_app, compared_url):
    runs = open_store(compared_url).runs(open_store(compared_url).jobs()[0].id)
    relu, sigmoid = (list(runs.loc[runs["activation"] == name, "id"]) for name in ("relu", "sigmoid"))
    keys = [f"runs:{'.'.join(run_id[:8] for run_id in ids)}" for ids in (relu, sigmoid)]
    test = open_app(compared_url, "compare", **{"with": ",".join([*keys, "runs:00000000"])})
    assert test.dataframe[0].value["group"].tolist() == ["8 selected runs", "8 selected runs 2"]
    assert "one selected run has no finished runs." in texts(test)
    assert "8 shared seeds" in texts(test)
    test = open_app(compared_url, "compare", **{"with": keys[0][:-9] + "." + keys[1].removeprefix("runs:")})
    assert test.dataframe[0].value["group"].tolist() == ["sigmoid", "relu"]


def test_runs_are_sent_to_be_compared_beside_what_was_chosen_before(open_app, compared_url):
    test = open_app(compared_url, "runs")
    test.session_state["compared_before"] = ["runs:abcdefab", "study:x"]
    test.multiselect(key="filter_columns").select("activation").run()
    test.multiselect(key="values_activation").select("relu").run()
    relu = open_store(compared_url).runs().query("activation == 'relu'")["id"]
    test.button(key="compare_runs").click().run()
    assert not test.exception
    assert test.header[0].value == "Compare"
    assert test.query_params["with"] == f"runs:abcdefab,runs:{'.'.join(run_id[:8] for run_id in relu)}"


def test_an_experiment_and_a_study_lead_to_their_comparison(open_app, compared_url):
    store = open_store(compared_url)
    (job,), study = store.jobs(), store.studies()[0]
    for test, key in (
        (open_app(compared_url), f"job:{job.id}"),
        (open_app(compared_url, "studies", study=study.id), f"study:{study.id}"),
    ):
        links = [link.proto for link in test.get("page_link") if link.proto.page.endswith("compare")]
        assert [link.query_string for link in links] == [f"with={key.replace(':', '%3A')}"]
