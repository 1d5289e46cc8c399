"""Comparing in a real browser: chosen on the page, kept in the address, downloaded."""

import csv
import io

from conftest import idle
from playwright.sync_api import expect

from studies import Plan, open_store
from studies.comparison import compare
from studies.groups import runs_group
from studies.jobs import run_job


def trained(server):
    """Train three learning rates with eight seeds each; return the job's id."""
    store = open_store(server.store_url)
    plan = Plan.of("classic", learning_rate=[0.01, 0.1, 1.0], n_iterations=300, hidden_size=4, seed=range(1, 9))
    job_id = store.add_job(plan, "three rates")
    run_job(store, job_id, 1)
    return store, job_id


def test_an_experiment_is_chosen_compared_and_downloaded_and_the_address_brings_it_back(server, open_page):
    store, job_id = trained(server)
    page = open_page("/compare")
    page.locator(".st-key-compared input").click()
    page.get_by_role("option", name="three rates").click()
    page.keyboard.press("Escape")
    expect(page.get_by_text("Is one better?")).to_be_visible()
    idle(page)
    assert f"with=job%3A{job_id}" in page.url
    runs = store.runs(job_id)
    groups = [runs_group(f"learning rate {rate:g}", runs[runs["learning_rate"] == rate]) for rate in (0.01, 1.0)]
    expected = compare(*groups, "final_loss")
    expect(page.get_by_text(expected.sentence.split(" (")[0])).to_be_visible()
    with page.expect_download() as download:
        page.locator(".st-key-export_pairs_CSV button").click()
    text = download.value.path().read_text("utf-8-sig")
    rows = list(csv.DictReader(line for line in io.StringIO(text) if not line.startswith("#")))
    assert [(row["a"], row["b"]) for row in rows] == [
        ("learning rate 0.01", "learning rate 0.1"),
        ("learning rate 0.01", "learning rate 1"),
        ("learning rate 0.1", "learning rate 1"),
    ]
    assert float(rows[1]["difference"]) == expected.difference
    again = open_page(page.url.removeprefix(server.url), width=390, height=844, scheme="dark")
    expect(again.get_by_text(expected.sentence.split(" (")[0])).to_be_visible()
    wide = again.evaluate("document.documentElement.scrollWidth")
    assert wide <= 390
