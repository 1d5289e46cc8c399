"""A study as one HTML file: its numbers are the store's, it needs nothing else, and what people typed stays text."""

import base64
import gzip
import hashlib
import json
import re
import sys
from collections import Counter
from html.parser import HTMLParser
from xml.etree import ElementTree

import optuna
import pandas as pd
import pytest

import dashboard.__main__ as command
from dashboard import report
from dashboard.report import study_report
from dashboard.report_page import EMPTY
from studies import open_store
from studies.export import parse_csv
from studies.imports import import_study
from studies.jobs import run_job
from studies.search import Choices, Range, Search

HOSTILE = "</script><img src=x onerror=alert(1)>"
RATE, WORDS = Range(0.01, 100, log=True), Choices(["sigmoid", "relu"])
SEARCHES = {
    "pruned": {"space": {"learning_rate": RATE, "activation": WORDS}, "n_trials": 24, "n_seeds": 2, "pruner": "median"},
    "two": {"space": {"hidden_size": Choices([2, 4])}, "n_trials": 2, "objectives": ("accuracy", "cost")},
    HOSTILE: {
        "space": {"learning_rate": Range(100.0, 1000.0)},
        "n_trials": 3,
        "fixed": {"activation": "relu", "hidden_size": 16},
    },
    "not begun": {"space": {"learning_rate": RATE}, "n_trials": 4},
}
CURVES = ["Learning curves by outcome", "Learning curves as a density"]
FIGURES = {
    "pruned": [
        *("History of final loss", "What decides final loss", "Final loss by setting", "Outcomes by setting"),
        *("learning rate and activation", "All settings together", *CURVES, "Distribution of final loss"),
    ],
    "two": [
        *("History of accuracy", "History of cost", "Both objectives", "Accuracy by setting", "Cost by setting"),
        *("Outcomes by setting", *CURVES, "Distribution of accuracy and cost"),
    ],
    HOSTILE: ["History of final loss", "Final loss by setting", "Outcomes by setting", *CURVES, "Distribution of final loss"],
    "not begun": [],
    "theirs": [
        *("History of value", "Value by setting", "Outcomes by setting"),
        *(f"{HOSTILE} and Trial", "All settings together", "Distribution of value"),
    ],
    "empty": ["History of value", "Distribution of value"],
}


class Page(HTMLParser):
    """What a page holds: elements with their attributes, texts, tables by caption; every element is closed in its turn."""

    def __init__(self, page):
        super().__init__()
        self.elements, self.open, self.text, self.scripts, self.tables, self.figures = [], [], "", [], {}, []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in EMPTY:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("th", "td"):
            self.rows[-1].append("")
        elif tag == "table":
            self.caption, self.rows = "", []
        elif tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag):
        assert tag == self.open.pop()
        if tag == "table":
            self.tables[self.caption] = self.rows

    def handle_data(self, data):
        inside = self.open[-1] if self.open else ""
        if inside == "script":
            self.scripts[-1] += data
        elif inside != "style":
            self.text += data
        if inside == "caption":
            self.caption += data
        elif "tr" in self.open:
            self.rows[-1][-1] += data
        elif inside == "strong" and "figcaption" in self.open:
            self.figures.append(re.fullmatch(r"Figure (\d+)\. (.+)\. ", data).groups())

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]

    def table(self, start):
        """Return the rows of the table whose caption starts so, by the head's names."""
        head, *rows = next(rows for caption, rows in self.tables.items() if caption.startswith(start))
        return [dict(zip(head, row, strict=True)) for row in rows]

    def file(self, ending):
        """Return what the link with such a file holds."""
        (link,) = (a for a in self.all("a") if a.get("download", "").endswith(ending))
        return base64.b64decode(link["href"].partition(";base64,")[2], validate=True)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Studies with several seeds and pruned trials, two objectives, nothing but overflows, no trials, made elsewhere."""
    folder = tmp_path_factory.mktemp("reported")
    store = open_store(f"sqlite:///{folder / 'brink.db'}")
    for name, search in SEARCHES.items():
        fixed = {"n_iterations": 60, "hidden_size": 4} | search.get("fixed", {})
        fixed = {key: value for key, value in fixed.items() if key not in search["space"]}
        study_id = store.add_study(Search(**search | {"name": name, "fixed": fixed, "sampler": "random"}))
        store.describe_study(study_id, name, f"note {HOSTILE}", f"tag{HOSTILE}")
        if name != "not begun":
            run_job(store, store.study(study_id).job.id, 1)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    theirs = f"sqlite:///{folder / 'optuna.db'}"

    def value(trial):
        word, n = trial.suggest_categorical(HOSTILE, ["a", "<b>", None]), trial.suggest_int("Trial", 1, 4)
        if n == 3:
            raise ZeroDivisionError
        return float("inf") if n == 4 else n + len(word or "")

    sampler = optuna.samplers.RandomSampler(seed=1)
    optuna.create_study(storage=theirs, study_name="theirs", sampler=sampler).optimize(value, 7, catch=(ZeroDivisionError,))
    optuna.create_study(storage=theirs, study_name="empty").optimize(lambda trial: 1.0, 2)
    for name in ("theirs", "empty"):
        import_study(store, folder / "optuna.db", name)
    return store


@pytest.fixture(scope="module")
def pages(store):
    """The report of each study."""
    return {name: Page(study_report(store, name)) for name in FIGURES}


def test_outcomes_and_lost_runs_are_those_of_the_store(store, pages):
    trials = store.trials(store.study("pruned").id)
    counts = Counter(trial.summary.outcome for trial in trials)
    rows = pages["pruned"].table("How 24 trials ended")
    assert {row["Outcome"].split()[1]: int(row["Trials"]) for row in rows} == counts
    assert [row["Share"] for row in rows] == [f"{100 * int(row['Trials']) / 24:.1f} %" for row in rows]
    assert sum(int(row["Of these pruned"]) for row in rows) == sum(trial.summary.state == "pruned" for trial in trials) > 0
    lost = sum(trial.summary.n_lost for trial in trials)
    assert sum(int(row["Runs lost"].split(" of ")[0]) for row in rows) == lost > 0
    assert f"{lost} of 48 runs diverged or overflowed ({100 * lost / 48:.1f} %" in pages["pruned"].text
    all_lost = pages[HOSTILE].table("How 3 trials ended")
    assert [(row["Outcome"], row["Trials"], row["Share"]) for row in all_lost] == [("∞ overflow", "3", "100.0 %")]


def test_the_best_trials_are_whole_ones_in_order_with_settings_and_spread(store, pages):
    whole = [trial for trial in store.trials(store.study("pruned").id) if trial.summary.state == "complete"]
    whole.sort(key=lambda trial: trial.summary.values[0])
    rows = pages["pruned"].table("The best of the trials that were not pruned")
    assert [row["Trial"] for row in rows] == [str(trial.number) for trial in whole[:10]]
    for row, trial in zip(rows, whole, strict=False):
        assert row["final loss"] == f"{trial.summary.values[0]:.4g} ± {trial.summary.spreads[0]:.2g}"
        assert (row["learning rate"], row["activation"]) == (f"{trial.params['learning_rate']:.4g}", trial.params["activation"])
        assert row["Seeds lost"] == f"{trial.summary.n_lost} of 2"
    front = pages["two"].table("Trials that no other one beats in both objectives")
    values = {trial.number: trial.summary.values for trial in store.trials(store.study("two").id)}
    beaten = {n for n, (a, c) in values.items() for b, d in values.values() if b >= a and d <= c and (b, d) != (a, c)}
    assert {int(row["Trial"]) for row in front} == set(values) - beaten


@pytest.mark.parametrize("limit", [10**6, 10], ids=["plain", "compressed"])
def test_all_trials_are_in_the_table_and_in_the_file(limit, store, pages, monkeypatch):
    monkeypatch.setattr(report, "LARGEST_FILE", limit)
    study = store.study("pruned")
    table = store.trials_table(study.id)
    rows = pages["pruned"].table("All 24 trials")
    assert [int(row["Trial"]) for row in rows] == list(range(24))
    assert [row["State"] for row in rows] == list(table["state"])
    page = Page(report._Report(store, study).files())
    data = page.file(".csv") if limit > 10 else gzip.decompress(page.file(".csv.gz"))
    found = parse_csv(data)
    pd.testing.assert_frame_equal(found.table, table.drop(columns="chunk"))
    assert found.origin.name == "pruned"


def test_of_many_trials_the_best_are_shown_and_the_file_has_all(store, monkeypatch):
    monkeypatch.setattr(report, "MOST_ROWS", 5)
    monkeypatch.setattr(report, "BEST_ROWS", 3)
    study = store.study("pruned")
    page = Page("".join(report._Report(store, study).trials()))
    table = store.trials_table(study.id)
    best = table[table["state"] == "complete"].nsmallest(3, "final_loss")
    assert [int(row["Trial"]) for row in page.table("The best 3 of 24 trials")] == list(best["number"])
    assert len(parse_csv(page.file(".csv")).table) == 24


def test_the_search_in_the_page_is_the_study_s(store, pages):
    for name in ("pruned", "two", HOSTILE):
        search = store.study(name).search
        assert Search.from_json(pages[name].file(".json").decode()) == search
        assert Search.from_json(re.search(r"<<'END'\n(.*)\nEND", pages[name].text, re.DOTALL)[1]) == search
        (made,) = (row for row in pages[name].table("What was searched")[:1])
        assert made["Setting"].split()[0] in ("learning", "hidden")
    assert "Make it again" not in pages["theirs"].text
    assert "imported from optuna.db" in pages["theirs"].text
    assert "it had not ended when this was written" in pages["not begun"].text


@pytest.mark.parametrize("name", FIGURES)
def test_a_study_gets_the_charts_that_it_has_data_for(name, pages):
    page = pages[name]
    assert page.figures == [(str(n), title) for n, title in enumerate(FIGURES[name], start=1)]
    images = page.all("img")
    assert len(images) >= len(FIGURES[name])
    for image in images:
        assert len(image["alt"]) > 15
        drawn = ElementTree.fromstring(base64.b64decode(image["src"].removeprefix("data:image/svg+xml;base64,")))
        kinds = Counter(element.tag.rpartition("}")[2] for element in drawn.iter())
        assert kinds["text"] > 2
        assert not {"script", "image", "foreignObject"} & set(kinds)
        links = {value for element in drawn.iter() for key, value in element.attrib.items() if key.endswith("href")}
        assert all(link.startswith("#") for link in links)
    if not images:
        assert page.scripts == []
        return
    book = json.loads(page.scripts[0])
    assert len(book["charts"]) == len(images)
    for chart in book["charts"]:
        for table in chart["tables"].values():
            assert {len(book["columns"][column]) for column in table["columns"].values()} <= {1, table["n"]}
        assert not {"pick", "brush"} & {part["name"] for part in chart["params"]}


@pytest.mark.parametrize("name", FIGURES)
def test_the_page_loads_nothing_runs_only_its_own_script_and_shows_what_people_typed_as_text(name, pages, store):
    page, study = pages[name], store.study(name)
    (policy,) = (a["content"] for a in page.all("meta") if a.get("http-equiv") == "Content-Security-Policy")
    own = "".join(page.scripts[1:])
    digest = base64.b64encode(hashlib.sha256(own.encode()).digest()).decode()
    assert policy.startswith("default-src 'none'; style-src 'unsafe-inline'; img-src data:; ")
    assert policy.split("; ")[3] == f"script-src 'sha256-{digest}'"
    for _, attributes in page.elements:
        assert not [key for key in attributes if key.startswith("on")]
        assert all(attributes[key].startswith(("data:", "#")) for key in ("src", "href") if key in attributes)
    assert not {"link", "iframe", "object", "base", "form"} & {tag for tag, _ in page.elements}
    assert len(page.scripts) in (0, 2)
    assert "http" not in page.text + "".join(page.scripts[:1])
    assert study.name in page.text
    assert study.note in page.text
    assert not re.search(r"\b(Click|[Ss]elect)", page.text)
    assert page.all("html") == [{"lang": "en"}]
    assert len(page.all("h1")) == 1
    assert {a["scope"] for a in page.all("th")} <= {"col", "row"}
    assert len(page.tables) == len(page.all("table"))
    if name == "theirs":
        assert "one of a, <b>, none" in page.text
        assert page.text.count(HOSTILE) > 3


def test_the_command_writes_the_page(store, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["dashboard", *arguments])
        return command.main(), capsys.readouterr().err

    assert call("report", "not begun", "--storage", store.url)[0] == 0
    assert "not begun" in Page((tmp_path / "brink_report_not_begun.html").read_text("utf-8")).text
    code, told = call("--storage", store.url, "report", store.study("not begun").id, "-o", "mine.html")
    assert (code, told) == (0, "report of study 'not begun' written to mine.html\n")
    assert call("--storage", store.url, "report", "nope") == (
        1,
        "error: expected the id or name of a study, found 'nope'; it may have been deleted\n",
    )
    assert "expected a file that can be written" in call("--storage", store.url, "report", "not begun", "-o", "no/a")[1]
