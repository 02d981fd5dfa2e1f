"""Images on the page: all 16 bits through the window, zoom and pan of both together, read back from the canvas."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.http_serving import collection, served
from tests.page_driving import ARGUMENTS, CHROMIUM, PATIENCE_MS, Tab, need_chromium


@pytest.fixture(scope="module")
def shared() -> Iterator[Tab]:
    """One tab with the study dropped; every test leaves it as it found it."""
    with need_chromium()() as driver, served() as (client, _):
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.set_default_timeout(PATIENCE_MS)
        tab = Tab(page, str(client.base_url))
        tab.watch()
        tab.open()
        tab.drop(collection() / "unseen.png")
        tab.with_image()
        yield tab
        browser.close()
        assert not tab.complaints
        assert not tab.elsewhere


def test_dragging_windows_both_images_and_reset_gives_them_back(shared: Tab) -> None:
    page = shared.page
    page.keyboard.press("r")
    before = {pane: shared.pixels(pane) for pane in ("study", "case")}
    box = page.locator("#study canvas.image").bounding_box()
    page.mouse.move(box["x"] + 100, box["y"] + 100)
    page.mouse.down()
    page.mouse.move(box["x"] + 20, box["y"] + 140, steps=4)
    page.mouse.up()
    for pane in before:
        assert "W 1.00" not in shared.seen(pane)
        assert shared.pixels(pane) != before[pane]
    assert shared.seen("study").split("·")[1:] == shared.seen("case").split("·")[1:]
    page.keyboard.press("r")
    assert {pane: shared.pixels(pane) for pane in before} == before


def test_invert_turns_white_to_black_and_back(shared: Tab) -> None:
    shared.page.keyboard.press("r")
    before = shared.pixels("study")
    shared.page.keyboard.press("i")
    inside = [at for at, grey in enumerate(before) if 20 < grey < 235]
    after = shared.pixels("study")
    assert max(abs(before[at] + after[at] - 255) for at in inside) <= 2
    assert shared.page.get_attribute("#invert", "aria-pressed") == "true"
    shared.page.keyboard.press("i")
    assert shared.pixels("study") == before


def test_zoom_and_pan_move_both_images_until_they_are_unlinked(shared: Tab) -> None:
    page = shared.page
    page.keyboard.press("r")
    box = page.locator("#study canvas.image").bounding_box()
    before = shared.pixels("case")
    page.mouse.move(box["x"] + 60, box["y"] + 60)
    page.mouse.wheel(0, -400)
    shared.shows("#case .seen", "zoom 2[0-9][0-9] %")
    zoomed = shared.pixels("case")
    assert zoomed != before
    page.focus("#study canvas.image")
    page.keyboard.press("ArrowLeft")
    assert shared.pixels("case") != zoomed
    page.uncheck("#linked")
    there = shared.pixels("case")
    page.focus("#study canvas.image")
    page.keyboard.press("+")
    assert shared.seen("study").split("·")[1] != shared.seen("case").split("·")[1]
    assert shared.pixels("case") == there
    page.check("#linked")
    page.keyboard.press("r")


def test_what_is_under_the_pointer_stays_there_while_zooming(shared: Tab) -> None:
    page = shared.page
    page.keyboard.press("r")
    box = page.locator("#study canvas.image").bounding_box()
    at = {"x": box["width"] * 0.3, "y": box["height"] * 0.6}
    grey = """([x, y]) => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(
        document.querySelector('#study canvas.image').getContext('2d').getImageData(x - 3, y - 3, 7, 7).data
            .reduce((sum, each, place) => (place % 4 ? sum : sum + each), 0) / 49))))"""
    before = page.evaluate(grey, [at["x"], at["y"]])
    page.mouse.move(box["x"] + at["x"], box["y"] + at["y"])
    page.mouse.wheel(0, -300)
    shared.seen("study")
    assert abs(page.evaluate(grey, [at["x"], at["y"]]) - before) < 12
    page.keyboard.press("r")


def test_greys_that_eight_bits_lose_are_seen_through_a_narrow_window(shared: Tab, tmp_path: Path) -> None:
    tab = shared
    middle = np.linspace(30_000, 31_000, 256).astype(np.uint16)
    grey = np.tile(middle, (250, 1))
    grey[:8], grey[-8:] = 0, 65535  # so that the whole range is used
    Image.fromarray(grey).save(tmp_path / "deep.png")
    tab.page.set_input_files("#choose", tmp_path / "deep.png")
    tab.shows("#study .seen", "256 × 250")
    assert len(set(tab.pixels("study"))) < 30
    for name, value in (("level", 30_500 / 65_535), ("width", 0.015)):
        tab.page.evaluate(
            "([name, value]) => { const input = document.getElementById(name); input.step = 'any'; input.value = value;"
            " input.dispatchEvent(new Event('input', { bubbles: true })); }",
            [name, value],
        )
    assert len(set(tab.pixels("study"))) > 200


def test_each_image_of_a_study_can_be_looked_at(shared: Tab) -> None:
    page = shared.page
    page.set_input_files("#choose", [collection() / "unseen.png", collection() / "studies/images/000001.png"])
    page.wait_for_selector("#study-images button")
    first = shared.pixels("study")
    page.click("#study-images button:nth-child(2)")
    assert shared.pixels("study") != first
    pressed = "[...document.querySelectorAll('#study-images button')].map((each) => each.ariaPressed)"
    assert page.evaluate(pressed) == ["false", "true"]
