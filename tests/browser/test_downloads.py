"""Charts are saved from a page, and read back: by an image library, an XML parser, Altair, and a browser that is offline."""

import io
import json
import xml.etree.ElementTree as ET

import altair as alt
from conftest import idle
from PIL import Image
from playwright.sync_api import expect

from studies import Plan, open_store
from studies.jobs import run_job

HOSTILE = '<img src=x onerror=alert(1)> </script>" rates'


def test_a_chart_is_saved_in_all_formats_and_its_page_needs_no_network(server, open_page, tmp_path):
    store = open_store(server.store_url)
    plan = Plan.of("classic", learning_rate=[0.01, 0.1], n_iterations=60, hidden_size=2, seed=[1, 2])
    run_job(store, store.add_job(plan, HOSTILE), 1)
    page = open_page("/", width=390, height=844)
    offer, files = page.locator(".st-key-save_experiment_loss button:visible"), {}
    expect(offer).to_be_visible()
    expect(page.get_by_test_id("stVegaLiteChart")).to_have_count(3)
    idle(page)  # nothing moves any more
    words = page.get_by_text("Loss", exact=True).bounding_box()
    assert words["y"] < offer.bounding_box()["y"] + offer.bounding_box()["height"] / 2 < words["y"] + words["height"]
    assert page.get_by_test_id("stDownloadButton").filter(has_text="PNG").count() == 0
    offer.click()
    for name in ("PNG", "SVG", "HTML", "Vega-Lite"):
        with page.expect_download() as download:
            page.get_by_role("button", name=name, exact=True).click()
        path = tmp_path / download.value.suggested_filename
        download.value.save_as(path)
        files[name] = path
    page.keyboard.press("Escape")
    expect(page.get_by_role("button", name="SVG", exact=True)).to_have_count(0)
    idle(page)
    assert [path.name for path in files.values()] == [
        f"brink_loss_img_src_x_onerror_alert_1_script_rates.{ending}" for ending in ("png", "svg", "html", "vl.json")
    ]
    picture = ET.fromstring(files["SVG"].read_bytes())
    told = picture.find("{http://www.w3.org/2000/svg}metadata").text.splitlines()
    assert told[:3] == ["chart: loss", "what: runs", f"name: {HOSTILE}"]
    assert {"seeds: 1, 2", "rows: 4"} <= set(told)
    image = Image.open(io.BytesIO(files["PNG"].read_bytes()))
    assert image.size == (2 * int(picture.get("width")), 2 * int(picture.get("height")))
    assert len(image.convert("RGB").getcolors(1_000_000)) > 50
    assert image.info["Description"].splitlines()[:3] == told[:3]
    spec = json.loads(files["Vega-Lite"].read_text("utf-8"))
    assert spec["usermeta"]["source"][:3] == told[:3]
    chart = alt.Chart.from_dict(spec, validate=True)
    lines = chart.datasets.to_dict()[chart.layer[0].data.name]
    assert {row["label"] for row in lines} == {f"learning rate {rate} · seed {seed}" for rate in (0.01, 0.1) for seed in (1, 2)}
    look_offline(page.context.browser, files["HTML"])


def look_offline(browser, path) -> None:
    """Open a saved page where nothing can be reached: the chart is drawn, has tooltips and says where it comes from."""
    context, asked, troubles = browser.new_context(offline=True), [], []
    try:
        saved = context.new_page()
        saved.on("request", lambda request: asked.append(request.url))
        saved.on("pageerror", lambda error: troubles.append(str(error)))
        saved.on("console", lambda message: troubles.append(message.text) if message.type == "error" else None)
        saved.goto(path.as_uri())
        line = saved.locator("#chart svg .mark-line path").first
        expect(line).to_be_visible()
        expect(saved.get_by_text(f"name: {HOSTILE}")).to_be_visible()
        first = "e => { const p = e.getPointAtLength(1).matrixTransform(e.getScreenCTM()); return [p.x, p.y]; }"
        saved.mouse.move(*line.evaluate(first))
        expect(saved.locator("#vg-tooltip-element")).to_contain_text("learning rate 0.")
        assert saved.locator("img").count() == 0
        assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []
        assert troubles == []
    finally:
        context.close()
