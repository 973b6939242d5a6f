"""The report page in an offline browser."""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.report.made_runs import IDS, NAMES, safe, write_data, write_run
from vocseg.report.command import report


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page about two runs whose classes and ids are markup, with curves."""
    folder, ids = tmp_path_factory.mktemp("page"), tuple(map(safe, IDS))
    layout = write_data(folder / "data", ids, len(NAMES))
    runs = [write_run(folder / name, layout, ids, NAMES, seed) for seed, name in enumerate("ab")]
    (runs[0] / "config.yaml").write_text("seed_everything: 1\nmodel:\n  arch: unet\n")
    rows = "".join(f"{k},{9 * k},{2 / (k + 1)},{2.2 / (k + 1)},{k / 9},{k / 10}\n" for k in range(8))
    (runs[0] / "metrics.csv").write_text("epoch,step,loss/train,loss/val,miou/train,miou/val\n" + rows)
    return report(list(map(str, runs)), folder / "report.html", images=3)


@pytest.fixture
def opened(browser: Any, page_file: Path, request: pytest.FixtureRequest) -> Iterator[Any]:
    """The page, opened from disk without a network; at its end nothing may have gone wrong."""
    options = {"reduced_motion": "reduce", **getattr(request, "param", {})}
    context, wrong = browser.new_context(offline=True, **options), []
    page = context.new_page()
    page.on("console", lambda message: wrong.append(message.text))
    page.on("pageerror", lambda fault: wrong.append(str(fault)))
    page.on("requestfailed", lambda asked: wrong.append(asked.url[:100]))
    page.on("request", lambda asked: wrong.append(asked.url) if asked.url.startswith("http") else None)
    page.on("dialog", lambda dialog: (wrong.append(dialog.message), dialog.dismiss()))
    page.goto(page_file.as_uri())
    yield page
    assert wrong == []
    assert page.title() == "2 runs compared - vocseg report"
    context.close()


def test_navigation_and_skip_link_reach_their_sections(opened: Any) -> None:
    opened.keyboard.press("Tab")
    assert opened.evaluate("document.activeElement.className") == "skip"
    opened.keyboard.press("Enter")
    assert opened.evaluate("document.activeElement.id") == "main"
    links = opened.locator("nav a")
    assert links.count() == 3
    for k in range(links.count()):
        links.nth(k).click()
        target = opened.locator(f"[id='{links.nth(k).get_attribute('href')[1:]}']")
        assert -5 < target.bounding_box()["y"] < 200
    levels = opened.eval_on_selector_all("main :is(h1,h2,h3,h4)", "all => all.map(e => Number(e.tagName[1]))")
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert opened.eval_on_selector_all(
        "img", "all => all.every(e => e.complete && e.naturalWidth > 9 && e.alt)"
    )
    assert not opened.locator("#run-B-confusion").is_visible()
    opened.locator("#run-B .more > summary").click()
    assert opened.locator("#run-B-confusion").is_visible()


def test_viewer_opens_by_click_and_key_and_closes_by_escape(opened: Any) -> None:
    viewer, first = opened.locator("#viewer"), opened.locator("#run-A-images .open").first
    small = first.locator("img").first.bounding_box()["width"]
    first.click()
    assert viewer.is_visible()
    assert viewer.locator("img").count() == 4
    assert viewer.locator("img").first.bounding_box()["width"] > 1.5 * small
    title = opened.locator("#viewer-title").inner_text()
    opened.keyboard.press("ArrowRight")
    assert opened.locator("#viewer-title").inner_text() != title
    opened.keyboard.press("Escape")
    assert not viewer.is_visible()
    opened.locator("#run-A-label-errors .open").first.focus()
    opened.keyboard.press("Enter")
    frame, picture = (opened.locator(f"#viewer {each}").first.bounding_box() for each in (".box", "img"))
    assert (frame["x"] - picture["x"]) / picture["width"] == pytest.approx(0.2, abs=0.02)
    assert (frame["y"] - picture["y"]) / picture["height"] == pytest.approx(0.3, abs=0.02)
    assert frame["width"] / picture["width"] == pytest.approx(0.3, abs=0.02)
    opened.locator("#viewer-close").click()
    assert not viewer.is_visible()


def test_cells_and_curves_are_described_and_classes_sort(opened: Any) -> None:
    cells, readout = opened.locator("#run-A-confusion td[data-n]"), opened.locator("#run-A-cell")
    assert cells.count() == len(NAMES) ** 2
    cells.nth(1).hover()
    assert readout.inner_text().startswith("background predicted as cat: ")
    assert f"{int(cells.nth(1).get_attribute('data-n')):,} of " in readout.inner_text()
    cells.nth(0).focus()
    opened.keyboard.press("ArrowDown")
    opened.keyboard.press("End")
    assert readout.inner_text().startswith(f"cat predicted as {NAMES[-1]}: ")
    chart = opened.locator("#run-A-curves .chart").nth(1)
    chart.locator("svg").focus()
    for _ in range(3):
        opened.keyboard.press("ArrowRight")
    assert chart.locator(".readout").inner_text() == "epoch 3: train 22.2 %, val 20.0 %"
    box = chart.locator("svg").bounding_box()
    opened.mouse.move(box["x"] + box["width"] * 0.96, box["y"] + 50)
    assert chart.locator(".readout").inner_text().startswith("epoch 8: ")
    bars = opened.locator("#run-A-classes .bars li")
    colours = bars.locator(".fill").evaluate_all("all => all.map(e => getComputedStyle(e).backgroundColor)")
    assert len(set(colours)) == len(NAMES)
    for key in ("value", "index"):
        opened.locator(f"#run-A-classes [data-sort={key}]").click()
        values = [float(bar.get_attribute(f"data-{key}")) for bar in bars.all()]
        assert values == sorted(values)


@pytest.mark.parametrize("opened", [{"viewport": {"width": 375, "height": 740}}], indirect=True)
def test_page_fits_phone_width(opened: Any) -> None:
    assert opened.evaluate("document.documentElement.scrollWidth") <= 375
    outside = opened.eval_on_selector_all(
        "main *, header *",
        "all => all.filter(e => e.getBoundingClientRect().right > 376 && !e.closest('.scroll, nav, .unseen'))"
        ".map(e => e.outerHTML.slice(0, 90))",
    )
    assert outside == []
    opened.locator("#run-A-images .open").first.click()
    assert opened.evaluate("document.querySelector('#viewer').scrollWidth") <= 375


def test_printed_page_is_light_without_controls(opened: Any) -> None:
    opened.emulate_media(media="print", color_scheme="dark")
    assert not opened.locator(".top").is_visible()
    assert opened.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert opened.locator("#run-A-confusion table").is_visible()
    opened.pdf()
    assert opened.locator("#run-B-confusion table").is_visible()  # paper cannot unfold it
