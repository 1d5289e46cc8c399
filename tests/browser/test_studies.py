"""Studies, in a real browser against a real server."""

import re

from conftest import idle
from playwright.sync_api import expect

from studies import open_store
from studies.search import template


def test_a_study_is_made_watched_opened_at_a_trial_and_deleted(server, open_page):
    page = open_page("/studies")
    page.get_by_role("button", name="Start study (64 runs)").click()
    expect(page.get_by_role("heading", name="A quick look")).to_be_visible()
    expect(page.get_by_text("History")).to_be_visible()
    expect(page.get_by_text("of 64 trials")).to_be_visible()
    expect(page.get_by_text("What decides")).to_be_visible()
    chart = page.locator("[class*='st-key-history_']").get_by_test_id("stVegaLiteChart")
    box = chart.bounding_box()
    chart.click(position={"x": 0.5 * box["width"], "y": 0.3 * box["height"]})  # the nearest mark may be elsewhere
    grid = page.locator("[class*='st-key-trials_'] canvas").first
    grid.scroll_into_view_if_needed()
    box = grid.bounding_box()
    page.mouse.click(box["x"] + 15, box["y"] + 55)
    expect(page.get_by_role("heading", name=re.compile(r"Trial \d+"))).to_be_visible()
    expect(page.get_by_role("button", name="Diagnose")).to_be_visible()
    page.get_by_role("button", name="Delete …").click()
    page.get_by_role("button", name="Delete it").click()
    expect(page.get_by_role("heading", name="Studies")).to_be_visible()
    store = open_store(server.store_url)
    assert (store.studies(), len(store.runs())) == ([], 0)


def test_a_study_survives_a_killed_server_is_stopped_and_resumed_without_losing_a_trial(server, open_page):
    store = open_store(server.store_url)
    search = template("quick_look", fixed={"n_iterations": 3000}, n_trials=240, sampler="tpe")
    study_id = store.add_study(search)
    page = open_page(f"/studies?study={study_id}")
    from studies.jobs import launch

    launch(store, store.study(study_id).job.id)
    expect(page.get_by_text("Training …")).to_be_visible()
    server.kill()
    server.start()
    page.reload()
    expect(page.get_by_text("Training …")).to_be_visible()
    page.get_by_role("button", name="Stop", exact=True).click()
    expect(page.get_by_text("Stopped before the end")).to_be_visible()
    done = store.study(study_id).n_done
    assert done < 240
    page.get_by_role("button", name="Resume").click()
    expect(page.get_by_text("Training …")).to_be_visible()
    page.get_by_role("button", name="Stop", exact=True).click()
    expect(page.get_by_text("Stopped before the end")).to_be_visible()
    idle(page)
    trials = store.trials(study_id)
    assert len(trials) >= done
    assert [trial.number for trial in trials] == list(range(len(trials)))
