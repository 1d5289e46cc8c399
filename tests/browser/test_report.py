"""A study's report, downloaded from the page and opened as a file, without server and network."""

import json

from conftest import PATIENCE, idle
from playwright.sync_api import expect

from studies import open_store
from studies.jobs import run_job
from studies.search import Choices, Range, Search

NAME = "</script><img src=x onerror=alert(1)>"


def test_the_report_of_a_study_opens_as_a_file_without_a_network(server, open_page, browser, tmp_path):
    store = open_store(server.store_url)
    space = {"learning_rate": Range(0.01, 10, log=True), "activation": Choices(["sigmoid", "tanh"])}
    study_id = store.add_study(Search(name=NAME, space=space, fixed={"n_iterations": 50}, n_trials=24, seed=2))
    run_job(store, store.study(study_id).job.id, 1)
    page, path = open_page(f"/studies?study={study_id}"), tmp_path / "report.html"
    page.get_by_role("button", name="More", exact=True).click()
    with page.expect_download() as download:
        page.get_by_role("button", name="Study as a report").click()
    assert download.value.suggested_filename == "brink_report_script_img_src_x_onerror_alert_1.html"
    download.value.save_as(path)
    idle(page)
    context = browser.new_context(viewport={"width": 390, "height": 844}, color_scheme="dark", offline=True)
    context.set_default_timeout(PATIENCE)
    try:
        page, troubles, requests = context.new_page(), [], []
        page.on("console", lambda message: troubles.append(message.text))
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on("dialog", lambda dialog: troubles.append(dialog.message))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(path.as_uri())
        expect(page.get_by_role("heading", level=1)).to_have_text(NAME)
        best = min(store.trials(study_id), key=lambda trial: trial.summary.values[0])
        row = page.get_by_role("region", name="The best trials").get_by_role("row").nth(1)
        expect(row).to_contain_text(f"{best.summary.values[0]:.4g}")
        plots = page.locator(".plot")
        for plot in plots.all():
            plot.scroll_into_view_if_needed()
            expect(plot.locator(".live").locator("canvas, svg").first).to_be_visible()
            expect(plot.locator("img")).to_be_hidden()
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        mark = plots.first.locator("path[transform]").first
        mark.scroll_into_view_if_needed()
        mark.hover()
        expect(page.locator("#vg-tooltip-element")).to_contain_text("final loss")
        page.emulate_media(media="print")
        expect(plots.first.locator("img")).to_be_visible()
        expect(plots.first.locator(".live")).to_be_hidden()
        page.emulate_media(media="screen")
        with page.expect_download() as download:
            page.get_by_role("link", name="The search as a file").click()
        assert json.loads(download.value.path().read_text())["name"] == NAME
        assert not troubles
        assert {url.partition(":")[0] for url in requests} <= {"file", "data"}
    finally:
        context.close()
