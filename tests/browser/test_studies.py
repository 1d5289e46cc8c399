"""Studies, in a real browser against a real server."""

import re

import optuna
from conftest import idle
from playwright.sync_api import expect

from studies import open_store
from studies.jobs import launch, run_job
from studies.search import Choices, Range, Search, template


def chart_of(page, name):
    return page.locator(f"[class*='st-key-{name}_']").get_by_test_id("stVegaLiteChart")


def view(page, name):
    page.get_by_test_id("stButtonGroup").get_by_role("button", name=name).or_(
        page.get_by_role("radio", name=name)
    ).first.click()
    idle(page)


def finished(store, **changes):
    """Train a small study here; return it."""
    space = {"learning_rate": Range(0.01, 10, log=True), "activation": Choices(["sigmoid", "tanh"])}
    search = Search(**{"name": "small", "space": space, "fixed": {"n_iterations": 50}, "n_trials": 24, "seed": 2} | changes)
    study_id = store.add_study(search)
    run_job(store, store.study(study_id).job.id, 1)
    return store.study(study_id)


def drag(page, chart, start, end):
    """Drag over a chart, from one place to another, given as shares of its width and height."""
    chart.scroll_into_view_if_needed()
    box = chart.bounding_box()
    (x0, y0), (x1, y1) = ((box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in (start, end))
    page.mouse.move(x0, y0)
    page.mouse.down()
    page.mouse.move((x0 + x1) / 2, (y0 + y1) / 2)
    page.mouse.move(x1, y1)
    page.mouse.up()


def test_a_study_is_made_watched_opened_at_a_trial_and_deleted(server, open_page):
    page = open_page("/studies")
    page.get_by_role("button", name="Start study (64 runs)").click()
    expect(page.get_by_role("heading", name="A quick look")).to_be_visible()
    expect(page.get_by_text("History")).to_be_visible()
    expect(page.get_by_text(re.compile(r"^of 64 trials"))).to_be_visible()
    expect(page.get_by_text("Learning curves")).to_be_visible()
    expect(page.get_by_text("Training …")).to_have_count(0)
    view(page, "Trials")
    grid = page.locator("[class*='st-key-trials_'] canvas").first
    box = grid.bounding_box()
    page.mouse.click(box["x"] + 15, box["y"] + 55)
    expect(page.get_by_role("heading", name=re.compile(r"Trial \d+"))).to_be_visible()
    expect(page.get_by_role("button", name="Diagnose")).to_be_visible()
    page.get_by_role("button", name="More", exact=True).click()
    page.get_by_role("button", name="Delete …").click()
    page.get_by_role("button", name="Delete it").click()
    expect(page.get_by_role("heading", name="Studies")).to_be_visible()
    store = open_store(server.store_url)
    assert (store.studies(), len(store.runs())) == ([], 0)


def test_a_study_survives_a_killed_server_is_paused_stopped_and_resumed_without_losing_a_trial(server, open_page):
    store = open_store(server.store_url)
    search = template("quick_look", fixed={"n_iterations": 3000}, n_trials=240, sampler="tpe")
    study_id = store.add_study(search)
    page = open_page(f"/studies?study={study_id}")
    launch(store, store.study(study_id).job.id)
    expect(page.get_by_text("Training …")).to_be_visible()
    server.kill()
    server.start()
    page.reload()
    expect(page.get_by_text("Training …")).to_be_visible()
    page.get_by_role("button", name="Pause").click()
    expect(page.get_by_text("Paused, with everything in memory")).to_be_visible()
    assert store.study(study_id).job.status == "paused"
    page.get_by_role("button", name="Go on").click()
    expect(page.get_by_text("Training …")).to_be_visible()
    page.get_by_role("button", name="Stop", exact=True).click()
    expect(page.get_by_text("Not at its end")).to_be_visible()
    done = store.study(study_id).n_done
    assert done < 240
    page.get_by_role("button", name="Resume").click()
    expect(page.get_by_text("Training …")).to_be_visible()
    page.get_by_role("button", name="Stop", exact=True).click()
    expect(page.get_by_text("Not at its end")).to_be_visible()
    idle(page)
    trials = store.trials(study_id)
    assert len(trials) >= done
    assert [trial.number for trial in trials] == list(range(len(trials)))


def test_a_study_is_given_trials_values_a_name_and_tags_and_found_by_them(server, open_page):
    store = open_store(server.store_url)
    study = finished(store)
    finished(store, name="another")
    page = open_page(f"/studies?study={study.id}")
    page.get_by_role("button", name="Add trials").click()
    page.get_by_role("spinbutton", name="More trials").fill("8")
    page.get_by_role("spinbutton", name="More trials").press("Enter")
    idle(page)
    page.get_by_role("button", name="Train them").click()
    expect(page.get_by_text(re.compile(r"^of 32 trials"))).to_be_visible()
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Try values").click()
    field = page.get_by_role("textbox", name="learning rate: 0.01 to 10")
    field.fill("50")
    field.press("Enter")
    idle(page)
    page.get_by_role("button", name="Train it next").click()
    expect(page.get_by_text("within the study's space")).to_be_visible()
    field.fill("0.7")
    field.press("Enter")
    idle(page)
    page.get_by_role("button", name="Train it next").click()
    expect(page.get_by_text(re.compile(r"^of 33 trials"))).to_be_visible()
    assert store.trial(study.id, 32).params["learning_rate"] == 0.7
    page.keyboard.press("Escape")
    page.get_by_role("button", name="More").click()
    page.get_by_role("textbox", name="Name").fill("rates *b*")
    page.get_by_role("textbox", name="Tags, with commas").fill("thesis")
    page.get_by_role("button", name="Save name, note and tags").click()
    expect(page.get_by_role("heading", name="rates *b*")).to_be_visible()
    page.goto(server.url + "/studies")
    idle(page)
    find = page.get_by_role("textbox", name="Find by name, tag or note")
    find.fill("no such word")
    expect(page.get_by_text("No study has these words")).to_be_visible()
    find.fill("thesis")
    expect(page.get_by_text("Select a row to open the study")).to_be_visible()
    idle(page)
    box = page.locator(".st-key-studies_table").bounding_box()
    page.mouse.click(box["x"] + 15, box["y"] + 55)
    expect(page.get_by_role("heading", name="rates *b*")).to_be_visible()
    their = optuna.get_all_study_names(storage=store.optuna_storage())
    assert sorted(their) == ["another", "rates *b*"]


def test_what_is_brushed_in_one_chart_is_selected_in_the_table_and_a_click_opens_a_trial(server, open_page):
    store = open_store(server.store_url)
    study = finished(store)
    page = open_page(f"/studies?study={study.id}")
    chart = chart_of(page, "history")
    expect(chart.locator("canvas, svg").first).to_be_visible()
    drag(page, chart, (0.3, 0.02), (0.7, 0.7))
    selected = page.get_by_text(re.compile(r"\d+ trials selected"))
    expect(selected).to_be_visible()
    n = int(re.search(r"\d+", selected.inner_text()).group())
    assert 0 < n < 24
    view(page, "Trials")
    expect(page.get_by_role("button", name=f"CSV ({n})")).to_be_visible()
    page.get_by_role("button", name="Clear").click()
    expect(page.get_by_role("button", name="CSV (24)")).to_be_visible()
    view(page, "Overview")
    chart = chart_of(page, "history")
    marks = chart.locator("g.mark-symbol path[aria-roledescription='point']")
    marks.nth(3).click()
    expect(page.get_by_role("heading", name=re.compile(r"Trial \d+"))).to_be_visible()


def test_zoom_survives_a_study_that_grows(server, open_page):
    store = open_store(server.store_url)
    search = template("quick_look", fixed={"n_iterations": 3000}, n_trials=400, sampler="random", batch=8)
    study_id = store.add_study(search)
    page = open_page(f"/studies?study={study_id}")
    launch(store, store.study(study_id).job.id)
    chart = chart_of(page, "history")
    ticks = chart.locator("g.role-axis-label text")
    expect(ticks.first).to_be_visible()
    chart.scroll_into_view_if_needed()
    box = chart.bounding_box()
    page.mouse.move(box["x"] + 0.5 * box["width"], box["y"] + 0.4 * box["height"])
    before = ticks.all_text_contents()
    page.keyboard.down("Control")
    page.mouse.wheel(0, -600)
    page.keyboard.up("Control")
    expect(ticks.first).not_to_have_text(before[0])
    zoomed = ticks.all_text_contents()
    done = store.study(study_id).n_done
    counted = page.get_by_text(re.compile(r"^of \d+ trials"))
    for _ in range(2):  # two updates
        text = counted.inner_text()
        expect(counted).not_to_have_text(text)
    assert store.study(study_id).n_done > done
    assert ticks.all_text_contents() == zoomed
    page.get_by_role("button", name="Stop", exact=True).click()
    expect(page.get_by_text("Not at its end")).to_be_visible()


def test_a_file_of_optuna_s_is_imported_by_two_clicks(server, open_page, tmp_path):
    study = optuna.create_study(storage=f"sqlite:///{tmp_path / 'theirs.db'}", study_name="theirs <b>")
    study.optimize(lambda trial: trial.suggest_float("x.y", -1, 1) ** 2, n_trials=12)
    study.optimize(lambda trial: trial.suggest_float("x.y", -1, 1) * float("nan"), n_trials=3)
    page = open_page("/studies")
    page.get_by_text("Import an archive, or from Optuna").click()
    page.locator("input[type=file]").set_input_files(tmp_path / "theirs.db")
    page.get_by_role("button", name="Import it").click()
    expect(page.get_by_role("heading", name="theirs <b>")).to_be_visible()
    expect(page.get_by_text("✕ failed 3")).to_be_visible()
    expect(page.get_by_text(re.compile(r"^of 15 trials"))).to_be_visible()
    view(page, "Settings")
    expect(page.get_by_text("One setting at a time")).to_be_visible()
    expect(page.get_by_role("button", name="Add trials")).to_have_count(0)


def test_a_study_is_packed_and_brought_back_under_another_name(server, open_page, tmp_path):
    store = open_store(server.store_url)
    study = finished(store, n_trials=8)
    page = open_page(f"/studies?study={study.id}")
    page.get_by_role("button", name="More").click()
    with page.expect_download() as download:
        page.get_by_role("button", name="Study as an archive").click()
    assert download.value.suggested_filename == "brink_study_small.zip"
    download.value.save_as(tmp_path / "small.zip")
    page = open_page("/studies")
    page.get_by_text("Import an archive, or from Optuna").click()
    page.locator("input[type=file]").set_input_files(tmp_path / "small.zip")
    page.locator(".st-key-archive_import button").click()
    expect(page.get_by_role("heading", name="small 2")).to_be_visible()
    tables = [store.runs(one.job.id) for one in store.studies()]
    assert tables[0]["fingerprint"].tolist() == tables[1]["fingerprint"].tolist()
