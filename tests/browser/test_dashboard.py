"""What people do, in a real browser against a real server."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest
from conftest import idle, type_into
from playwright.sync_api import expect
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from studies import Plan, open_store
from studies.export import FORMATS, parse_csv, parse_curves_csv, read_json
from studies.jobs import run_job

LONG = "300000"
"""Iterations that take about half a minute: long enough to interfere with."""
HOSTILE_NAME = "=1+1 **bold** <img src=x> ![x](http://x.test/x.png) '\"; DROP TABLE lab_run; --\N{SNOWMAN}"


def pick_preset(page, title: str) -> None:
    page.get_by_role("combobox", name=re.compile("Start from")).click()
    page.get_by_role("option", name=title, exact=True).click()
    idle(page)


def start_long_job(page, server):
    """Train something long and return its job once its first points are on the screen."""
    page.get_by_text("Run", exact=True).click()
    type_into(page, "n_iterations", LONG)
    page.get_by_role("button", name="Train", exact=True).click()
    expect(page.get_by_text("Training …")).to_be_visible()
    expect(page.get_by_test_id("stVegaLiteChart").first).to_be_visible()
    return open_store(server.store_url).jobs()[0]


def worker_of(server, job_id: str) -> psutil.Process:
    """Return the process that trains a job."""
    return psutil.Process(int(open_store(server.store_url).job(job_id).process.split(":")[1]))


def select_rows(page, *rows: int) -> None:
    box = page.locator("[data-testid=stDataFrame] canvas").first.bounding_box()
    for row in rows:
        page.mouse.click(box["x"] + 15, box["y"] + 55 + 35 * row)
        idle(page)


def download(page, name: str) -> bytes:
    with page.expect_download() as event:
        page.get_by_role("button", name=re.compile(rf"{name} \(")).click()
    return Path(event.value.path()).read_bytes()


def saved(page, name: str) -> tuple[str, bytes]:
    """Click on what saves a file; return the file's name and what is in it."""
    with page.expect_download() as event:
        page.get_by_role("button", name=name).click()
    return event.value.suggested_filename, Path(event.value.path()).read_bytes()


def test_a_new_user_sees_a_network_learn_with_one_click(server, open_page):
    page = open_page()
    page.get_by_role("button", name="See it learn").click()
    expect(page.get_by_text("of the held-out samples are right")).to_be_visible()
    expect(page.get_by_text("solved")).to_be_visible()
    expect(page.get_by_test_id("stVegaLiteChart")).to_have_count(3)
    expect(page.locator("pre", has_text="predicted").first).to_contain_text(re.compile(r"\d+ \+ \d+ = \d+ ✓"))
    page.get_by_text("How to read this").first.click()
    expect(page.get_by_text("Each line is a run")).to_be_visible()
    assert open_store(server.store_url).runs()["outcome"].tolist() == ["solved"]


def test_the_relu_preset_overflows_and_says_where(open_page):
    page = open_page()
    page.get_by_role("button", name="Make it overflow: relu").click()
    expect(page.get_by_text(re.compile(r"First overflow at iteration 11, in the forward pass"))).to_be_visible()
    expect(page.get_by_text(re.compile("^numbers overflowed, and loss"))).to_be_visible()
    expect(page.locator("pre u").first).to_be_visible()
    expect(page.get_by_role("combobox", name=re.compile("Start from"))).to_have_value("Try: relu")
    pick_preset(page, "Try: tanh")
    page.get_by_role("button", name="Train", exact=True).click()
    expect(page.get_by_role("heading", name="Try: tanh · seed 1")).to_be_visible()


def test_another_task_is_one_click_away_and_its_run_can_be_verified(server, open_page):
    page = open_page()
    page.locator(".st-key-knob_task").get_by_text("bit_count", exact=True).click()
    expect(page.locator(".st-key-knob_hidden_size input")).to_have_value("80")
    expect(page.get_by_text("Count the ones in a sequence")).to_be_visible()
    expect(page.get_by_text(re.compile("Numbers to train: lstm 51,761"))).to_be_visible()
    page.get_by_text("Run", exact=True).click()
    type_into(page, "n_iterations", "40")
    page.get_by_role("button", name="Train", exact=True).click()
    expect(page.locator("pre").first).to_contain_text(re.compile(r"output: -?\d+\.\d{6}, correct: \d+"))
    page.get_by_role("button", name="Re-run and verify").click()
    expect(page.get_by_text("Identical: loss curve and final weights are the same, bit for bit.")).to_be_visible()
    assert open_store(server.store_url).runs()["cell"].tolist() == ["lstm"]


def test_several_values_train_together_and_a_second_tab_sees_the_same(open_page):
    page = open_page()
    type_into(page, "learning_rate", "0.1, 1")
    type_into(page, "seed", "1-3")
    page.get_by_role("button", name="Train 6 runs").click()
    expect(page.get_by_text("solved 6")).to_be_visible()
    other = open_page(page.url.removeprefix(page.url.split("/?")[0]))
    expect(other.get_by_text("solved 6")).to_be_visible()
    expect(other.locator(".st-key-knob_learning_rate input")).to_have_value("0.1, 1")


def test_a_bad_value_is_refused_where_it_is_typed(open_page):
    page = open_page()
    type_into(page, "learning_rate", "abc")
    expect(page.get_by_text("learning_rate: expected a number above 0 up to 1,000,000, found 'abc'")).to_be_visible()
    expect(page.get_by_role("button", name="Train", exact=True)).to_be_disabled()


def test_a_training_survives_a_reload_can_be_stopped_and_resumed(server, open_page):
    page = open_page()
    job = start_long_job(page, server)
    page.reload()
    idle_or_polling(page)
    expect(page.get_by_text("Training …")).to_be_visible()
    page.get_by_role("button", name="Stop").click()
    expect(page.get_by_text("Stopped before the end")).to_be_visible()
    expect(page.get_by_text(re.compile("Stopped after [\\d,]+ iterations"))).to_be_visible()
    assert open_store(server.store_url).runs()["status"].tolist() == ["stopped"]
    page.get_by_role("button", name="Resume").click()
    expect(page.get_by_text("Training …")).to_be_visible()
    worker_of(server, job.id).kill()


def idle_or_polling(page) -> None:
    expect(page.get_by_test_id("stApp")).to_have_attribute("data-test-connection-state", "CONNECTED")


def test_a_killed_training_is_noticed_within_15_seconds(server, open_page):
    page = open_page()
    job = start_long_job(page, server)
    os.kill(worker_of(server, job.id).pid, signal.SIGKILL)
    expect(page.get_by_text("The training process is gone")).to_be_visible(timeout=15_000)
    expect(page.get_by_role("button", name="Resume")).to_be_visible()


def test_a_training_outlives_a_killed_server(server, open_page):
    page = open_page()
    job = start_long_job(page, server)
    worker = worker_of(server, job.id)
    server.kill()
    before = open_store(server.store_url).job(job.id).iterations_done
    server.start()
    expect(page.get_by_text("Training …")).to_be_visible()  # the tab connects again by itself
    assert worker.is_running()
    store = open_store(server.store_url)
    for _ in range(100):
        if store.job(job.id).iterations_done > before:
            break
        page.wait_for_timeout(100)
    assert store.job(job.id).iterations_done > before
    page.goto(f"{server.url}/?job={job.id}")
    page.get_by_role("button", name="Stop").click()
    expect(page.get_by_text("Stopped before the end")).to_be_visible()


@pytest.fixture
def some_runs(server):
    """A store with two jobs, made through the same code as the dashboard's."""
    store = open_store(server.store_url)
    run_job(store, store.add_job(Plan.of("relu", n_iterations=100, seed=[1, 2])), 1)
    run_job(store, store.add_job(Plan.of("classic", n_iterations=100, seed=[1, 2])), 1)
    return store


def test_runs_are_selected_overlaid_exported_and_read_back(some_runs, open_page):
    page = open_page("/runs")
    everything = parse_csv(download(page, "CSV"))
    assert everything.table["id"].tolist() == some_runs.runs()["id"].tolist()
    assert (everything.origin.filter, everything.origin.rows) == ("", 4)
    select_rows(page, 0, 2)
    expect(page.get_by_text("2 of 4 selected")).to_be_visible()
    expect(page.get_by_test_id("stVegaLiteChart")).to_have_count(3)
    data = download(page, "JSON")
    assert read_json(data)["activation"].tolist() == ["sigmoid", "relu"]
    assert all(isinstance(record["final_loss"], float) for record in json.loads(data)["rows"])
    page.get_by_text("Lay these over an experiment").click()
    expect(page.get_by_role("button", name=re.compile(r"Overlay \(1\)"))).to_be_visible()
    expect(page.get_by_text("Look closer at")).to_be_visible()


def test_runs_are_exported_in_every_format_with_their_curves_too(some_runs, open_page, tmp_path):
    page, runs = open_page("/runs"), some_runs.runs()
    curves, ids = some_runs.curves(runs["id"]), runs["id"].tolist()
    for kind in ("csv", "json", "parquet", "xlsx"):
        if kind == "parquet":
            page.get_by_role("button", name="More formats").click()
        assert FORMATS[kind].read(download(page, FORMATS[kind].title)).table["id"].tolist() == ids
    assert all(f"| {run_id} |" in download(page, "Markdown").decode() for run_id in ids)
    assert b"\\toprule" in download(page, "LaTeX")
    page.get_by_text("With curves").click()
    for kind, label in (("json", "JSON with curves"), ("parquet", "Parquet with curves"), ("xlsx", "Excel with curves")):
        name, data = saved(page, label)
        assert name == f"brink_runs_curves.{kind}"
        assert FORMATS[kind].read(data).curves.equals(curves)
    assert parse_curves_csv(saved(page, "Curves alone as CSV")[1]).equals(curves)
    (tmp_path / "logs.zip").write_bytes(saved(page, "For TensorBoard")[1])
    shutil.unpack_archive(tmp_path / "logs.zip", tmp_path)
    (folder,) = (path for path in (tmp_path / "brink").iterdir() if path.name.endswith(ids[0][:8]))
    events = EventAccumulator(str(folder)).Reload().Scalars("curve/loss")
    losses = curves.loc[curves["run_id"] == ids[0], "loss"].to_numpy(np.float32)
    assert [event.value for event in events] == losses.tolist()


def test_a_run_is_saved_as_a_script_that_gives_the_same_losses(some_runs, open_page, tmp_path):
    page = open_page(f"/?job={some_runs.jobs()[0].id}")
    name, data = saved(page, "As a NumPy script")
    (tmp_path / name).write_bytes(data)
    done = subprocess.run([sys.executable, "-I", name], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_filters_narrow_what_is_shown_and_exported(some_runs, open_page):
    page = open_page("/runs")
    page.get_by_role("combobox", name=re.compile("Filter by")).fill("activation")  # the list is longer than the screen
    page.get_by_role("option", name="activation", exact=True).click()
    page.keyboard.press("Escape")
    page.get_by_role("combobox", name=re.compile("^activation")).click()
    page.get_by_role("option", name="relu", exact=True).click()
    page.keyboard.press("Escape")
    expect(page.get_by_text("2 of 4 runs shown")).to_be_visible()
    found = parse_csv(download(page, "CSV"))
    assert set(found.table["activation"]) == {"relu"}
    assert found.origin.filter == "activation is relu"


def test_names_and_notes_are_stored_and_shown_literally(some_runs, open_page):
    page = open_page("/runs")
    select_rows(page, 0)
    expect(page.get_by_test_id("stVegaLiteChart")).to_have_count(3)
    expect(page.get_by_role("button", name="Save name and note")).to_be_visible()
    idle(page)  # the page is whole: nothing is drawn again while somebody types
    note = HOSTILE_NAME + "\n" + "x" * 10_000
    page.get_by_label("Name", exact=True).fill(HOSTILE_NAME)
    page.get_by_label("Note", exact=True).fill(note)
    page.get_by_role("button", name="Save name and note").press("Enter")  # charts above may still move it under the mouse
    expect(page.get_by_text("Name and note saved.")).to_be_visible()
    row = some_runs.runs().iloc[0]
    assert (row["name"], row["note"]) == (HOSTILE_NAME, note)
    data = download(page, "CSV")
    assert b"'=1+1" in data
    assert parse_csv(data).table["name"].iloc[0] == HOSTILE_NAME
    page.goto(page.url.replace("/runs", "/"))
    idle(page)
    page.get_by_role("button", name="Overlay").click()
    assert page.locator("img[src*='x.test']").count() == 0


def test_deleting_asks_first(some_runs, open_page):
    page = open_page("/runs")
    select_rows(page, 0)
    page.get_by_role("button", name="Delete …").click()
    page.get_by_role("button", name="Keep them").click()
    expect(page.get_by_role("dialog")).to_have_count(0)
    assert len(some_runs.runs()) == 4
    page.get_by_role("button", name="Delete …").click()
    page.get_by_role("button", name="Delete 1 run").click()
    expect(page.get_by_text("3 of 3 runs shown").or_(page.get_by_text("3 runs shown"))).to_be_visible()
    assert len(some_runs.runs()) == 3


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("path", ["/", "/runs"])
def test_nothing_is_wider_than_a_phone(some_runs, open_page, path, scheme):
    page = open_page(path, width=390, height=844, scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    background = page.evaluate("getComputedStyle(document.querySelector('[data-testid=stApp]')).backgroundColor")
    assert background == {"light": "rgb(255, 255, 255)", "dark": "rgb(15, 20, 27)"}[scheme]


def test_a_learner_sees_why_relu_overflowed_tries_the_advice_and_is_better_off(server, open_page):
    page = open_page()
    page.get_by_role("button", name="Make it overflow: relu").click()
    expect(page.get_by_text(re.compile("relu has no upper end: hidden values can grow about"))).to_be_visible()
    expect(
        page.get_by_text(re.compile(r"First: Iteration 11, forward pass: exp\([\d.]+\), more than float64 can hold"))
    ).to_be_visible()
    page.locator("[class*=st-key-try_]").get_by_role("button").first.click()
    expect(page.locator(".st-key-knob_learning_rate input")).to_have_value("0.01")
    expect(page.get_by_text("of the held-out samples are answered right")).to_be_visible()
    assert set(open_store(server.store_url).runs()["outcome"]) == {"overflow", "solved"}


def test_a_diagnosis_follows_a_click_on_the_loss(server, open_page):
    store = open_store(server.store_url)
    run_job(store, store.add_job(Plan.of("classic", activation=["sigmoid", "relu"], n_iterations=400)), 1)
    page = open_page()
    page.get_by_role("button", name="Diagnose").click()
    expect(page.get_by_text("Identical: loss curve and final weights are the same, bit for bit.")).to_have_count(2)
    expect(page.get_by_text("Gradients at iteration 400, back through time")).to_be_visible()
    chart = page.locator("[class*='st-key-iteration_'][class*='_loss']").get_by_test_id("stVegaLiteChart")
    box = chart.bounding_box()
    chart.click(position={"x": 0.55 * box["width"], "y": 0.4 * box["height"]})
    expect(page.get_by_text(re.compile(r"Gradients at iteration (1[5-9]\d|2[0-4]\d), back through time"))).to_be_visible()
    expect(page.get_by_text(re.compile(r"Hidden states, iteration (1[5-9]\d|2[0-4]\d)"))).to_be_visible()
    idle(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= 1280


@pytest.mark.parametrize("path", ["/runs", "/studies"])
def test_a_link_into_the_app_works_as_a_servers_very_first_address(server, open_page, path):
    server.kill()
    server.start()
    page = open_page(path)
    expect(page.get_by_role("link", name="Experiment", exact=True)).to_be_visible()
    expect(page.get_by_test_id("stSidebar")).to_have_count(0)
