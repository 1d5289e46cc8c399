"""The Map page through Streamlit's own test tool, and what it reads and draws of a map, from cells made by hand."""

import base64
import io
import itertools
import json
import math
import re
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from dashboard.charts.maps import Ramp
from dashboard.charts.outcomes import word
from dashboard.components.map_data import _limits, dimension_of, drawn_axis, moves_of, planes, pointed_out
from engine import FIELDS, OUTCOMES, TASKS, RunConfig, train
from studies import open_store
from studies.jobs import run_job
from studies.maps import CELL, TEMPLATES, Axis, Map, usual_axis
from studies.store_maps import MapRecord

STD = Axis("weight_init_std", 0.01, 30, log=True)
RATE = Axis("learning_rate", 0.01, 50, log=True)
DOUBLING = Axis("learning_rate", 1, 16, log=True)  # of four cells: 1, 2, 4, 8
STEPS = Axis("weight_init_std", 0, 4)  # of four cells: 0, 1, 2, 3
LETTERS = {".": 0, **{letter: list(OUTCOMES).index(name) + 1 for letter, name in zip("slxduo", (
    "solved", "learning", "stalled", "diverged", "unstable", "overflow"), strict=True)}}  # fmt: skip
HOSTILE_NAME = "=1+1 **bold** <img src=x> ![x](http://x.test/x.png) `code` $x$ :red[r] '\"\N{SNOWMAN}"
IDS = map("map {}".format, itertools.count())


def plane(name="small", **changes):
    usual = {"x": STD, "y": RATE, "size": 8, "fixed": {"bits": 2, "n_iterations": 30}}
    return Map(**{"name": name} | usual | changes)


def record_of(made, live=False):
    job = SimpleNamespace(is_live=live)
    return MapRecord(next(IDS), made.name, made, job, None, 0.0, 0, 1)


def cells_of(*facets, **columns):
    """Return cells whose outcomes are given as letters: rows from the top, several letters for the seeds of a cell."""
    words = [[row.split() for row in reversed(facet.strip().splitlines())] for facet in facets]
    cells = np.zeros((len(facets), len(words[0]), len(words[0][0]), len(words[0][0][0])), CELL)
    cells["outcome"] = [[[[LETTERS[letter] for letter in cell] for cell in row] for row in facet] for facet in words]
    cells["final_loss"] = 1.0
    for name, values in columns.items():
        cells[name] = values
    return cells


# The page


@pytest.fixture
def page(open_app):
    """Return a function that opens the page on a store."""
    return lambda url, **address: open_app(url, "map", **address)


@pytest.fixture(scope="module")
def mapped_url(tmp_path_factory):
    """A store with a map, one zoomed out of it, and one of words with seeds and facets; tests must not change it."""
    url = f"sqlite:///{tmp_path_factory.mktemp('mapped') / 'brink.db'}"
    store = open_store(url)
    words = Axis("activation", values=("sigmoid", "relu"))
    first = store.add_map(plane(HOSTILE_NAME))
    for made, parent in (
        (plane("zoom").zoomed("zoom", (2, 6), (2, 6)), first),
        (plane("words", x=words, size=4, n_seeds=2, facet="bias", facet_values=(True, False)), None),
    ):
        store.add_map(made, parent)
    for record in store.maps():
        run_job(store, record.job.id, 1)
    return url


@pytest.fixture
def launched(monkeypatch):
    """Keep processes from being started; return the ids of the jobs they would train."""
    jobs = []
    monkeypatch.setattr("dashboard.components.map_list.launch", lambda store, job_id: jobs.append(job_id))
    monkeypatch.setattr("studies.jobs._new_process", lambda url: SimpleNamespace(poll=lambda: None))
    return jobs


def half_trained(store, made, letters):
    """Write a map that was stopped, with the outcomes that letters say; return its id."""
    map_id = store.add_map(made)
    record, cells = store.map_record(map_id), cells_of(letters, final_loss=0.5, fingerprint=b"0" * 16).reshape(-1)
    token = store.claim(record.job.id)
    numbers = np.flatnonzero(cells["outcome"])
    store.save_cells(record, token, numbers, cells[numbers])
    store.end_job(record.job.id, token, "stopped")
    return map_id


def texts(test):
    kinds = ("markdown", "caption", "header", "subheader", "warning")
    return " ".join(element.value for kind in kinds for element in getattr(test, kind)).replace("\\", "")


def typed(test, **values):
    """Type into the form."""
    for name, value in values.items():
        test.session_state[f"map_{name}"] = value
    return test.run()


def shown_map(test):
    """Return the map that the form shows as JSON."""
    (code,) = test.code
    return Map.from_json(code.value)


def drawn(test):
    """Return the header of what the browser gets to draw."""
    (canvas,) = test.get("bidi_component")
    data = canvas.proto.bytes
    return json.loads(data[4 : 4 + int.from_bytes(data[:4], "little")])


def test_an_empty_store_offers_maps_and_a_form_that_can_be_started_at_once(page, empty_url):
    test = page(empty_url)
    for key, parts in TEMPLATES.items():
        assert test.button(key=f"offer_{key}").label == parts["name"]
    assert "4,096 runs, about " in test.button(key="offer_classic").help
    assert shown_map(test) == Map(**TEMPLATES["classic"])
    assert test.button(key="map_start").label.startswith("Train 4,096 runs, about ")
    assert not test.button(key="map_start").disabled
    assert not test.dataframe


WRONG = [
    ({"name": "  "}, "name: expected some text, found none"),
    ({"x_low": "5", "x_high": "1"}, "weight_init_std: expected low below high, found 5.0 and 1.0"),
    ({"x_low": "2", "x_high": "2"}, "weight_init_std: expected low below high, found 2.0 and 2.0"),
    ({"x_low": "0"}, "weight_init_std: expected a range above 0 for log"),
    ({"y_low": ""}, "learning_rate: expected a number above 0 up to 1,000,000, found ''"),
    ({"y_high": "much"}, "learning_rate: expected a number above 0 up to 1,000,000, found 'much'"),
    ({"x_low": "1, 2"}, "weight_init_std: expected one number in from and one in to"),
    ({"x_values": "1, x"}, "weight_init_std: expected a number from 0 to 1,000,000, found 'x'"),
    ({"x_setting": "activation"}, "activation: expected one or more values, found none"),
    ({"x_setting": "activation", "x_values": "sigmoid, tahn"}, "did you mean 'tanh'?"),
    ({"x_setting": "learning_rate"}, "expected different settings on the axes, found learning_rate, learning_rate"),
    (
        {"x_setting": "activation", "x_values": "relu, tanh", "facet": "activation", "facet_values": "tanh"},
        "expected different settings on the axes, found activation, learning_rate, activation",
    ),
    ({"x_setting": "momentum", "x_low": "0.1", "x_high": "0.9"}, "it belongs to optimizer momentum or nesterov"),
    ({"fixed": "n_iterations"}, "fixed settings: expected name = value on each line, found 'n_iterations'"),
    ({"fixed": "n_iteration = 5"}, "did you mean 'n_iterations'?"),
    ({"fixed": "hidden_size = 4, 8"}, "expected one value of hidden_size, found 2"),
    ({"fixed": "hidden_size = 4\nhidden_size = 8"}, "expected hidden_size once, found it twice"),
    ({"fixed": "hidden_size = 0"}, "hidden_size: expected a whole number from 1 to 1,024, found 0"),
    ({"fixed": "learning_rate = 1"}, "learning_rate: expected it fixed or on an axis, found it as both"),
    ({"fixed": "seed = 3"}, "seed: expected no value"),
    ({"facet": "activation", "facet_values": " "}, "facet: expected a setting and its values, or neither"),
    ({"facet": "activation", "facet_values": "sigmid"}, "did you mean 'sigmoid'?"),
    ({"size": 512, "n_seeds": 8}, "expected at most 2,000,000 runs, found 2,097,152"),
]


def test_what_is_wrong_is_said_before_anything_is_trained(page, empty_url):
    test = page(empty_url)
    right = {name: test.session_state[f"map_{name}"] for changes, _ in WRONG for name in changes}
    for changes, message in WRONG:
        typed(test, **right | changes)
        (problem,) = [element.value for element in test.markdown if element.value.startswith(":red[")]
        assert message in problem.replace("\\", "")
        assert test.button(key="map_start").disabled
        assert not test.code


def test_what_is_typed_is_shown_literally_also_where_it_is_wrong(page, empty_url):
    hostile = HOSTILE_NAME.replace("=", "")
    test = typed(page(empty_url), fixed=hostile)
    (problem,) = [element.value for element in test.markdown if element.value.startswith(":red[")]
    assert hostile.partition("'")[0] in problem.replace("\\", "")
    assert not re.search(r"(?<!\\)[*<>\[\]`$]|(?<!\\):red", problem.removeprefix(":red[").removesuffix("]"))


def test_the_form_s_widgets_have_what_they_show_as_their_defaults_too(page, empty_url):
    test = typed(page(empty_url), x_setting="hidden_size", x_low="2", x_high="9", x_log=False, size=48, fixed="bits = 4")
    options = test.selectbox(key="map_x_setting")
    assert options.options[options.proto.default] == "hidden size"
    assert test.text_input(key="map_x_low").proto.default == "2"
    assert test.checkbox(key="map_x_log").proto.default is False
    assert test.number_input(key="map_size").proto.default == 48
    assert test.text_area(key="map_fixed").proto.default == "bits = 4"


def test_a_template_fills_the_form(page, empty_url):
    test = page(empty_url)
    for key, parts in TEMPLATES.items():
        test.selectbox(key="map_template").select(key).run()
        made = Map(**parts)
        assert shown_map(test) == made
        assert test.button(key="map_start").label.startswith(f"Train {made.n_runs:,} runs, about ")


@pytest.mark.parametrize("task", ["adding_problem", "bit_count"])
def test_a_task_fixes_what_it_can_be_learned_with_but_for_what_is_on_the_axes(page, empty_url, task):
    test = page(empty_url)
    test.selectbox(key="map_task").select(task).run()
    settings = {"task": task} | TASKS[task].starting_point
    assert "learning_rate" in settings
    expected = {name: value for name, value in settings.items() if name not in ("weight_init_std", "learning_rate")}
    lines = test.text_area(key="map_fixed").value.splitlines()
    assert [line.split(" = ")[0] for line in lines] == list(expected)
    assert shown_map(test).fixed == expected
    assert test.selectbox(key="map_task").value is None


def test_a_setting_brings_its_usual_range_or_its_words(page, empty_url):
    test = page(empty_url)
    test.selectbox(key="map_x_setting").select("hidden_size").run()
    assert [test.text_input(key=f"map_x_{part}").value for part in ("low", "high", "values")] == ["2", "64", ""]
    test.selectbox(key="map_x_setting").select("optimizer").run()
    assert test.text_input(key="map_x_values").value == "sgd, momentum, nesterov, adagrad, rmsprop, adam"
    assert "map_x_low" not in [field.key for field in test.text_input]
    test.selectbox(key="map_facet").select("bias").run()
    assert test.text_input(key="map_facet_values").value == "false, true"
    assert shown_map(test).facet_values == (False, True)
    test.selectbox(key="map_facet").select("none").run()
    assert (shown_map(test).facet, shown_map(test).facet_values) == ("", ())


FORM = {
    "name": " mine ",
    "x_setting": "hidden_size",
    "x_values": "2, 4, 8",
    "y_low": "0.1",
    "y_high": "1.5",
    "y_log": False,
    "size": 4,
    "n_seeds": 2,
    "facet": "activation",
    "facet_values": "tanh, relu",
    "fixed": "n_iterations = 7",
}
MADE = Map(
    name="mine",
    x=Axis("hidden_size", values=(2, 4, 8)),
    y=Axis("learning_rate", 0.1, 1.5),
    size=4,
    fixed={"n_iterations": 7},
    n_seeds=2,
    facet="activation",
    facet_values=("tanh", "relu"),
)


def test_a_map_is_started_as_the_form_and_its_json_say(page, empty_url, launched):
    test = typed(page(empty_url), **FORM)
    assert shown_map(test) == MADE
    assert test.button(key="map_start").label.startswith("Train 48 runs, about 1 s")
    test.button(key="map_start").click().run()
    (record,) = open_store(empty_url).maps()
    assert record.map == MADE
    assert test.query_params["map"] == record.id
    assert launched == [record.job.id]
    assert "The first cells appear in a moment." in texts(test)


def test_fields_that_are_not_drawn_keep_their_values_and_do_not_hinder_the_start(page, empty_url, launched):
    test = typed(page(empty_url), x_low="0.5", facet="activation", facet_values="tanh, relu", fixed="n_iterations = 7", size=4)
    test.selectbox(key="map_facet").select("none").run()
    test.selectbox(key="map_x_setting").select("optimizer").run()
    test.run()  # by now what was typed would be forgotten
    test.button(key="map_start").click().run()
    assert not test.exception
    (record,) = open_store(empty_url).maps()
    assert (record.map.x.setting, record.map.facet, len(launched)) == ("optimizer", "", 1)


def test_an_offer_is_trained_at_once_under_a_name_that_is_free(page, empty_url, launched):
    store = open_store(empty_url)
    store.add_map(plane("Where relu overflows"))
    test = page(empty_url)
    test.button(key="offer_relu").click().run()
    record = store.maps()[0]
    assert record.map == Map(**TEMPLATES["relu"] | {"name": "Where relu overflows 2"})
    assert (test.query_params["map"], launched) == (record.id, [record.job.id])


def test_a_name_that_is_taken_is_refused_where_it_is_typed_and_another_is_offered(page, empty_url):
    store = open_store(empty_url)
    taken = store.add_map(plane())
    store.add_map(plane("small 2"))
    test = typed(page(empty_url), name="small")
    assert "There is a map 'small' already." in texts(test)
    assert test.button(key="map_start").disabled
    test.button(key="map_rename").click().run()
    assert test.text_input(key="map_name").value == "small 3"
    assert not test.button(key="map_start").disabled
    typed(test, name="small").button(key="map_open_taken").click().run()
    assert test.query_params["map"] == taken


def test_a_map_that_is_changed_fills_the_form_with_the_window_that_is_seen(page, mapped_url):
    """By hand: of 8 cells from 0.01 to 30 the ones from 2 to before 6 reach from 0.01 * 3000^(1/4) to 0.01 * 3000^(3/4)."""
    test = page(mapped_url, map=open_store(mapped_url).map_record("zoom").id)
    test.button(key="fork").click().run()
    assert "map" not in test.query_params
    made = shown_map(test)
    assert (made.name, made.size, made.fixed) == ("zoom 2", 8, {"bits": 2, "n_iterations": 30})
    assert (made.x.low, made.x.high) == pytest.approx((0.01 * 3000**0.25, 0.01 * 3000**0.75))
    assert (made.y.low, made.y.high) == pytest.approx((0.01 * 5000**0.25, 0.01 * 5000**0.75))


def test_the_list_shows_every_map_with_its_first_plane(page, mapped_url):
    shown = page(mapped_url).dataframe[0].value
    assert shown["name"].tolist() == ["words", "zoom", HOSTILE_NAME]
    assert shown["state"].tolist() == ["finished"] * 3
    assert shown["runs"].tolist() == [32, 64, 64]
    assert shown["made from"].tolist() == ["", HOSTILE_NAME, ""]
    assert shown["planes"].tolist() == ["2: biases", "", ""]
    assert shown["across"].tolist() == ["activation", "weight_init_std", "weight_init_std"]


def test_the_list_shows_how_far_a_map_is_and_what_there_is_of_it(page, empty_url):
    half_trained(open_store(empty_url), plane(size=4), "o d . .\n. . . .\n. . . .\ns x . .")
    test = page(empty_url)
    (row,) = test.dataframe[0].value.to_dict("records")
    assert (row["state"], row["done"], row["runs"]) == ("stopped", 4 / 16, 16)
    seen = picture_of(row, 4)
    known = {(0, 3): (213, 94, 0), (1, 3): (230, 159, 0), (0, 0): (0, 158, 115), (1, 0): (138, 143, 152)}
    for place, color in known.items():
        assert seen.pop(place) == (*color, 255)
    assert len(set(seen.values())) == 1
    assert seen[3, 3] not in [(*color, 255) for color in known.values()]


def picture_of(row, n):
    """Return the colours of the list's small picture, by column and row of a map of n x n cells."""
    with Image.open(io.BytesIO(base64.b64decode(row["picture"].partition(",")[2]))) as picture:
        pixels = picture.convert("RGBA")
    side = pixels.width / n
    return {(x, y): pixels.getpixel((int((x + 0.5) * side), int((n - 0.5 - y) * side))) for x in range(n) for y in range(n)}


def test_the_list_s_picture_is_whole_once_there_is_a_coarse_one(page, empty_url):
    """By hand: every second of 32 x 32 cells is trained, solved in the lower half and overflowed above."""
    rows = ["s . " * 16 if y < 16 else "o . " * 16 for y in range(32)]
    rows[1::2] = [". " * 32] * 16
    half_trained(open_store(empty_url), plane(size=32), "\n".join(reversed(rows)))
    (row,) = page(empty_url).dataframe[0].value.to_dict("records")
    seen = picture_of(row, 32)
    assert {color for (_, y), color in seen.items() if y < 16} == {(0, 158, 115, 255)}
    assert {color for (_, y), color in seen.items() if y >= 16} == {(213, 94, 0, 255)}


def test_a_map_that_was_stopped_says_so_and_counts_only_what_is_trained(page, empty_url):
    """By hand: of four trained cells the solved and the learning one learn."""
    map_id = half_trained(open_store(empty_url), plane(size=4), ". . . .\n. . . .\n. x . .\ns l d .")
    written = texts(page(empty_url, map=map_id))
    assert "Not at its end. What is trained is kept." in written
    assert "**50.0%** of the 4 trained cells learns." in written


def test_a_facet_of_which_nothing_is_trained_yet_says_so(page, empty_url):
    store = open_store(empty_url)
    made = plane(size=4, facet="bias", facet_values=(True, False))
    map_id = store.add_map(made)
    record = store.map_record(map_id)
    token = store.claim(record.job.id)
    store.save_cells(record, token, np.arange(3), cells_of("s s x").reshape(-1))
    store.end_job(record.job.id, token, "stopped")
    written = texts(page(empty_url, map=map_id))
    assert "**biases true**: **66.7%** of the 3 trained cells learns." in written
    assert "**biases false**: not trained yet." in written


def test_names_are_shown_literally(page, mapped_url):
    store = open_store(mapped_url)
    test = page(mapped_url, map=store.map_record(HOSTILE_NAME).id)
    child = page(mapped_url, map=store.map_record("zoom").id)
    crumb = child.button(key=f"to_{store.map_record(HOSTILE_NAME).id}").label
    test.button(key="delete_map").click().run()
    (asked,) = [element.value for element in test.markdown if "64 trained runs" in element.value]
    for shown in (test.header[0].value, crumb, asked):
        assert HOSTILE_NAME in shown.replace("\\", "")
        assert not re.search(r"(?<!\\)[*<>\[\]`$]|(?<!\\):red", shown)


def test_an_address_of_a_map_that_is_gone_says_so_and_lists_the_others(page, mapped_url):
    test = page(mapped_url, map="nothing")
    assert "The map in this address does not exist any more" in test.warning[0].value
    assert len(test.dataframe[0].value) == 3
    assert "map" not in test.query_params


@pytest.mark.parametrize("cell", ["", "1", "0,0", "1,0,0", "0,8,0", "0,0,8", "-1,0,0", "0,0,x", "0,0,99999", "0,0,0,0"])
def test_an_address_of_a_cell_that_is_not_there_is_left_out(page, mapped_url, cell):
    test = page(mapped_url, map=open_store(mapped_url).map_record("zoom").id, cell=cell)
    assert "of the plane learns" in texts(test)
    assert "close_cell" not in [button.key for button in test.button]


def test_a_cell_in_the_address_shows_its_run_of_each_seed(page, mapped_url):
    record = open_store(mapped_url).map_record("words")
    cells = open_store(mapped_url).cells(record.id)
    test = page(mapped_url, map=record.id, cell="1,2,0")
    assert re.search(r"\*\*activation sigmoid · learning rate 0\.707\d* · biases false\*\*", texts(test))  # 0.01 * 5000^(2/4)
    for seed in (0, 1):
        test.selectbox(key="cell_seed").select_index(seed).run()
        cell = cells[1, 2, 0, seed]
        assert [metric.value for metric in test.metric][:2] == [f"{cell['accuracy']:.1%}", f"{cell['final_loss']:.4g}"]
        assert cell["fingerprint"].decode() in texts(test)
    assert not test.warning
    test.button(key="close_cell").click().run()
    assert "cell" not in test.query_params


def test_a_cell_whose_run_has_other_bits_today_says_so(page, empty_url):
    map_id = half_trained(open_store(empty_url), plane(size=4), ". . . .\n. . . .\n. x . .\ns l d .")
    test = page(empty_url, map=map_id, cell="0,0,0")
    (warning,) = [element.value for element in test.warning if "Trained again it has other bits" in element.value]
    assert "solved" in warning


def test_a_cell_of_a_map_in_training_opens_before_all_of_its_seeds_are_there(page, empty_url):
    made = plane(size=2, n_seeds=2)
    map_id = half_trained(open_store(empty_url), made, "ss ss\ns. ..")
    written = texts(page(empty_url, map=map_id, cell="0,0,0"))  # of two seeds one is trained, and good
    assert "✓ solved" in written
    assert "may grow" not in written
    (result,) = train([made.config(made.number(0, 0, 1, 0))])
    written = texts(page(empty_url, map=map_id, cell="0,0,1"))  # none is
    assert f"{word(result.outcome)}]" in written
    assert "Not trained on the map yet" in written


def test_a_share_can_be_chosen_where_cells_have_several_seeds_only(page, mapped_url):
    store = open_store(mapped_url)
    for name, there in (("words", True), ("zoom", False)):
        test = page(mapped_url, map=store.map_record(name).id, map_colour="share that learns")
        (control,) = [group for group in test.get("button_group") if group.key == "map_colour"]
        assert ("share that learns" in control.options) is there
        assert control.value == ("share" if there else "outcome")
        assert (drawn(test)["legend"]["bar"] is not None) is there


def test_the_browser_gets_one_plane_for_each_facet_and_the_frame_of_the_open_cell(page, mapped_url):
    head = drawn(page(mapped_url, map=open_store(mapped_url).map_record("words").id, cell="1,2,0"))
    assert (head["nx"], head["ny"], len(head["facets"])) == (2, 4, 2)
    assert head["x"]["words"] == ["sigmoid", "relu"]
    looked = [[(mark["x"], mark["y"]) for mark in facet["marks"] if mark["label"] == "looked at"] for facet in head["facets"]]
    assert looked == [[], [(0, 2)]]
    assert [entry["name"] for entry in head["legend"]["entries"]] == list(OUTCOMES)


# What is read and drawn of a map


@pytest.mark.parametrize("setting", [name for name in FIELDS if name != "seed"])
def test_every_setting_has_a_usual_axis_that_makes_a_map(setting):
    other = "learning_rate" if setting != "learning_rate" else "weight_init_std"
    needs = FIELDS[setting].needs
    axis, values = usual_axis(setting), usual_axis(setting).all(4)
    Map(name="m", x=axis, y=usual_axis(other), size=4, fixed={needs[0]: needs[1][0]} if needs else {})
    assert len(set(values)) == len(values) > 1
    words = TASKS["binary_addition"].losses if setting == "loss" else FIELDS[setting].choices  # no task takes all of them
    assert FIELDS[setting].kind not in ("choice", "bool") or set(values) == set(words or (True, False))


@pytest.mark.parametrize("key", TEMPLATES)
def test_every_template_is_a_map_all_of_whose_corners_can_be_trained(key):
    made = Map(**TEMPLATES[key])
    assert made.n_runs <= 20_000
    corners = itertools.product(*[(0, n - 1) for n in made.shape])
    assert all(isinstance(made.config(made.number(*corner)), RunConfig) for corner in corners)
    assert not made.doubtful()


def test_cells_stand_on_an_axis_at_their_values():
    """By hand: four cells over four decades, the middle of the first an eighth from the left, written as their values."""
    axis = drawn_axis(Axis("learning_rate", 0.01, 100, log=True), 4)
    assert (axis.title, axis.words) == ("learning rate", ["0.01", "0.1", "1", "10"])
    assert [text for _, text in axis.ticks] == axis.words
    assert [place for place, _ in axis.ticks] == pytest.approx([1 / 8, 3 / 8, 5 / 8, 7 / 8])


@pytest.mark.parametrize(("setting", "values", "words"), [
    ("activation", ("tanh", "relu"), ["tanh", "relu"]),
    ("bias", (True, False), ["true", "false"]),
    ("clip_norm", (None, 0.5), ["none", "0.5"]),
    ("hidden_size", (16, 2), ["16", "2"]),
])  # fmt: skip
def test_chosen_values_stand_on_an_axis_as_they_are_typed(setting, values, words):
    axis = drawn_axis(Axis(setting, values=values), 64)
    assert (axis.words, axis.ticks) == (words, [(0.25, words[0]), (0.75, words[1])])


def test_outcomes_are_drawn_with_what_learns_the_best_and_the_safest_cell_and_the_one_looked_at():
    """By hand: the bottom left corner has five good cells; the solved corner is farthest from the others, (1, 1) has the
    lowest loss of the good ones.
    """  # fmt: skip
    made = plane(x=DOUBLING, y=STEPS, size=4)
    cells = cells_of("x x x o\nl x x d\ns l x u\ns s l x")
    cells["final_loss"][0, 1, 1] = 0.25
    cells["final_loss"][0, 3, 0] = 0.125  # a stalled one
    cells["accuracy"][0, 0, 2] = 0.75
    (facet,), legend = planes(record_of(made), cells, "outcome", (0, 3, 2))
    assert [entry.name for entry in legend] == list(OUTCOMES)
    assert np.array_equal(facet.colors, cells["outcome"][0, ..., 0])
    assert facet.region.astype(int).tolist() == [[1, 1, 1, 0], [1, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]
    assert set(facet.values) == {"final loss", "answers right"}
    assert facet.values["final loss"][1, 1] == 0.25
    assert facet.values["answers right"][0, 2] == 0.75
    assert [(mark.x, mark.y, mark.symbol) for mark in facet.marks] == [(1, 1, "★"), (0, 0, "◆"), (2, 3, "")]


def test_losses_are_drawn_on_a_ramp_that_lost_runs_do_not_stretch():
    """By hand: of 1, 2, 3, 4 the limits are 1.06 and 3.94, where 2 and 98 % lie; 2 is 0.94 of 2.88, step 1 + 253 * 0.326."""
    losses = [[[[1], [2]], [[3], [4]], [[1e9], [np.inf]], [[np.nan], [7]]]]
    cells = cells_of("o .\nd d\nx x\nx x", final_loss=losses)
    made = plane(x=Axis("activation", values=("tanh", "relu")), y=STEPS, size=4)
    (facet,), legend = planes(record_of(made), cells, "final_loss", None)
    assert isinstance(legend, Ramp)
    assert (legend.title, legend.low, legend.high, legend.log) == (
        "final loss",
        pytest.approx(1.06),
        pytest.approx(3.94),
        False,
    )
    assert facet.colors.tolist() == [[1, 84], [171, 254], [254, 255], [255, 0]]
    assert "never" not in legend.lost.name


def test_times_are_drawn_with_a_colour_for_never():
    cells = cells_of("x s\ns o", solved_at=[[[[40], [0]], [[0], [10]]]], overflow_at=[[[[0], [5]], [[0], [0]]]])
    made = plane(size=2)
    (facet,), legend = planes(record_of(made), cells, "solved_at", None)
    assert facet.colors.tolist() == [[254, 255], [255, 1]]
    assert legend.lost.name == "never solved"
    assert set(facet.values) == {"final loss", "answers right", "iterations to solve", "iterations to overflow"}
    (facet,), legend = planes(record_of(made), cells, "overflow_at", None)
    assert facet.colors[0, 0] == facet.colors[1, 1] == 255
    assert legend.lost.name == "no overflow"


def test_several_seeds_are_drawn_as_the_most_frequent_outcome_or_the_share_that_learns():
    """By hand: shares 1, 2/3, 1/3 and 0 are the steps 1 + 253, 1 + 168.7, 1 + 84.3 and 1."""
    cells = cells_of("lxx xxd\nsss slx")
    record = record_of(plane(size=2, n_seeds=3))
    (facet,), _ = planes(record, cells, "outcome", None)
    assert facet.colors.tolist() == [[LETTERS["s"]] * 2, [LETTERS["x"]] * 2]
    assert facet.region.tolist() == [[True, True], [False, False]]
    (facet,), legend = planes(record, cells, "share", None)
    assert facet.colors.tolist() == [[254, 170], [85, 1]]
    assert (legend.low, legend.high, legend.log) == (0.0, 1.0, False)
    assert np.allclose(facet.values["share of seeds that learn"], [[1, 2 / 3], [1 / 3, 0]])


def test_a_cell_of_which_a_seed_is_not_trained_is_not_drawn():
    cells = cells_of("s. xx\nss .x")
    for by in ("outcome", "share", "final_loss"):
        (facet,), _ = planes(record_of(plane(size=2, n_seeds=2)), cells, by, None)
        assert (facet.colors == 0).tolist() == [[False, True], [True, False]]
    assert facet.region.tolist() == [[True, False], [False, False]]


def test_a_trained_cell_stands_for_its_neighbours_until_they_are_trained():
    """By hand: the first picture of 32 x 32 cells has every second one of them."""
    coarse = np.random.default_rng(0).integers(1, len(OUTCOMES) + 1, (16, 16))
    cells = np.zeros((1, 32, 32, 1), CELL)
    cells["outcome"][0, ::2, ::2, 0] = coarse
    cells["final_loss"][0, ::2, ::2, 0] = coarse / 10
    (facet,), _ = planes(record_of(plane(size=32), live=True), cells, "outcome", None)
    assert np.array_equal(facet.colors, coarse.repeat(2, 0).repeat(2, 1))
    assert np.array_equal(facet.values["final loss"], facet.colors / 10)
    assert np.array_equal(facet.region, np.isin(facet.colors, [LETTERS["s"], LETTERS["l"]]))
    other = LETTERS["o"] if coarse[3, 3] != LETTERS["o"] else LETTERS["s"]
    cells["outcome"][0, 7, 7, 0] = other
    (facet,), _ = planes(record_of(plane(size=32), live=True), cells, "outcome", None)
    assert (facet.colors[7, 7], facet.colors[6, 7], facet.colors[7, 6]) == (other, coarse[3, 3], coarse[3, 3])


@pytest.mark.parametrize(("size", "live", "told"), [(128, True, True), (129, True, False), (129, False, True)])
def test_marks_and_the_numbers_of_large_maps_wait_for_the_end(size, live, told):
    cells = np.zeros((1, size, size, 1), CELL)
    cells["outcome"] = LETTERS["s"]
    (facet,), _ = planes(record_of(plane(size=size), live), cells, "outcome", None)
    assert bool(facet.values) is told
    assert bool(facet.marks) is not live


def test_each_facet_has_its_title_and_its_own_marks():
    made = plane(size=2, facet="activation", facet_values=("tanh", "relu"))
    cells = cells_of("x x\nx s", "l x\nx x")
    drawn, _ = planes(record_of(made), cells, "outcome", (1, 0, 1))
    assert [facet.title for facet in drawn] == ["tanh", "relu"]
    assert [(mark.x, mark.y, mark.symbol) for mark in drawn[0].marks] == [(1, 0, "★"), (1, 0, "◆")]
    assert [(mark.x, mark.y, mark.symbol) for mark in drawn[1].marks] == [(0, 1, "★"), (0, 1, "◆"), (1, 0, "")]


def test_a_cell_that_was_looked_at_leaves_no_mark_behind():
    record, cells = record_of(plane(size=2)), cells_of("x x\nx s")
    for place in ((0, 0, 0), (0, 1, 1)):
        (facet,), _ = planes(record, cells, "outcome", place)
        assert [(mark.x, mark.y) for mark in facet.marks] == [(1, 0), (1, 0), place[:0:-1]]
    assert [mark.symbol for mark in pointed_out(record, cells, 0)] == ["★", "◆"]


def test_nothing_is_pointed_out_where_nothing_learns():
    assert pointed_out(record_of(plane(size=2)), cells_of("x o\nd u"), 0) == []


LIMITS = [
    ("accuracy", [0.3, 0.4], (0.0, 1.0, False)),
    ("share", [0.5], (0.0, 1.0, False)),
    ("final_loss", [], (0.0, 1.0, False)),
    ("final_loss", [np.nan, np.inf, 0.0], (0.0, 1.0, False)),
    ("final_loss", [0.25, 0.25], (0.25, 0.5, False)),
    ("final_loss", [*range(1, 102), np.inf, np.nan, 0], (3.0, 99.0, True)),
    ("final_loss", [*range(11, 112)], (13.0, 109.0, False)),
    ("solved_at", [10, 10, 10], (10.0, 20.0, False)),
]


@pytest.mark.parametrize(("by", "values", "expected"), LIMITS)
def test_limits_leave_out_a_fiftieth_at_both_ends_and_are_logarithmic_beyond_a_factor_of_20(by, values, expected):
    assert _limits(np.array(values, float), by) == pytest.approx(expected)


def test_the_dimension_is_that_of_a_facet_s_trained_cells():
    made = plane(size=64, facet="activation", facet_values=("tanh", "relu", "elu"))
    cells = np.zeros(made.shape, CELL)
    cells["outcome"] = LETTERS["x"]
    cells["outcome"][0, :, :32] = LETTERS["s"]
    cells["outcome"][1][(np.indices((64, 64)).sum(0) % 2 == 0)] = LETTERS["l"]
    cells["outcome"][2] = LETTERS["s"]
    cells["outcome"][2, :, 16:] = 0  # no edge: nobody knows what is there
    record = record_of(made)
    straight, checkered, unknown = (dimension_of(record, cells, facet) for facet in range(3))
    assert straight.value == pytest.approx(1, abs=0.05)
    assert straight.low <= 1 <= straight.high
    assert checkered.value == pytest.approx(2, abs=0.05)
    assert unknown.value is None
    assert "25%" in unknown.problem or "no good cell stands beside one that is not" in unknown.problem


def moves(made, cells, place):
    """Return setting, whether it grows, distance and last place before for each move."""
    found = moves_of(made, cells, place)
    return [(move.name, move.grows, move.by and round(move.by, 6), round(move.at_least, 6)) for move in found]


def test_moves_reach_to_the_last_cell_before_the_edge_or_to_the_end_of_the_map():
    """By hand: from learning rate 2 and std 1."""
    made = plane(x=DOUBLING, y=STEPS, size=4)
    cells = cells_of("x l x x\nx s x x\nx s s x\nx x x x")
    assert moves(made, cells, (0, 1, 1)) == [
        ("learning rate", True, 2.0, 2.0),
        ("learning rate", False, 1.0, 1.0),
        ("weight_init_std", True, None, 2.0),
        ("weight_init_std", False, 0.0, 0.0),
    ]
    assert moves(made, cells, (0, 0, 0)) == []


def test_between_cells_of_several_seeds_the_edge_is_where_half_of_them_learn():
    """By hand: all learn at 4, none at 8, so half between them on the logarithm: 4 * sqrt(2), from 2 on 2 * sqrt(2)."""
    cells = cells_of("xx ss ss xx\nxx ss ss xx\nxx ss ss xx\nxx ss ss xx")
    first, second, *_ = moves(plane(x=DOUBLING, y=STEPS, size=4, n_seeds=2), cells, (0, 1, 1))
    assert first == ("learning rate", True, round(2 * math.sqrt(2), 6), 2.0)
    assert second == ("learning rate", False, round(math.sqrt(2), 6), 1.0)


def test_words_do_not_move_and_numbers_beside_them_do():
    words = Axis("activation", values=("tanh", "relu"))
    cells = cells_of("x x\nx x\nx s\nx s")
    assert moves(plane(x=words, y=STEPS, size=4), cells, (0, 1, 1)) == [
        ("weight_init_std", True, 0.0, 0.0),
        ("weight_init_std", False, None, 1.0),
    ]
    kept = Axis("clip_norm", values=(None, 1.0))  # no value at all is none to move to
    assert {name for name, *_ in moves(plane(x=kept, y=STEPS, size=4), cells, (0, 1, 1))} == {"weight_init_std"}


def test_whole_numbers_that_stand_side_by_side_twice_and_chosen_ones_in_any_order_move_by_value():
    """By hand: 2 to 4 in 8 cells are 2, 2, 2, 3, 3, 3, 4, 4, and 4 does not learn; of 8, 2, 4 the 8 does not."""
    cells = cells_of("\n".join(["s s s s s s x x"] * 8))
    side = Axis("hidden_size", 2, 4)
    assert [int(value) for value in side.all(8)] == [2, 2, 2, 3, 3, 3, 4, 4]
    for x in (3, 4, 5):
        found = moves(plane(x=side, y=RATE, size=8), cells, (0, 5, x))
        assert found[:2] == [("hidden size", True, 0.0, 0.0), ("hidden size", False, None, 1.0)]
    chosen = plane(x=Axis("hidden_size", values=(8, 2, 4)), y=STEPS, size=4)
    found = moves(chosen, cells_of("\n".join(["x s s"] * 4)), (0, 1, 2))
    assert found[:2] == [("hidden size", True, 0.0, 0.0), ("hidden size", False, None, 2.0)]


def test_cells_that_are_not_trained_are_passed_over():
    cells = cells_of(". . . .\n. . . .\nx s . s\n. . . .")
    found = moves(plane(x=DOUBLING, y=STEPS, size=4), cells, (0, 1, 1))
    assert found[:2] == [("learning rate", True, None, 4.0), ("learning rate", False, 1.0, 1.0)]
