"""The page in Chromium before a real `prelim serve`: dropped, searched, filtered, drafted, by mouse and by keys."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from service.__main__ import main as prelim
from tests.page_driving import (
    ARGUMENTS,
    CHROMIUM,
    HOSTILE,
    PATIENCE_MS,
    Tab,
    need_chromium,
    prelim_serve,
    write_collection,
)

LAPTOP, DESK = {"width": 1280, "height": 800}, {"width": 1600, "height": 1000}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with need_chromium()() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def folder(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    write_collection(folder)
    return folder


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[str]:
    with prelim_serve(folder) as address:
        yield address


def opened(browser: Any, address: str, **options: Any) -> Iterator[Tab]:
    context = browser.new_context(viewport=LAPTOP, permissions=["clipboard-read", "clipboard-write"], **options)
    context.set_default_timeout(PATIENCE_MS)
    tab = Tab(context.new_page(), address)
    tab.watch()
    tab.open()
    yield tab
    hacked = tab.page.evaluate("window.hacked ?? null")
    context.close()
    assert hacked is None, "text of a report ran as a script"
    assert not tab.complaints
    assert not tab.elsewhere


@pytest.fixture
def tab(browser: Any, address: str) -> Iterator[Tab]:
    yield from opened(browser, address)


@pytest.fixture(scope="module")
def shared(browser: Any, address: str, folder: Path) -> Iterator[Tab]:
    """One tab with the study dropped, for tests that leave it as they found it."""
    for tab in opened(browser, address):
        tab.drop(folder / "unseen.png")
        tab.with_image()
        yield tab


def test_a_dropped_png_stands_beside_its_similar_cases(shared: Tab) -> None:
    page = shared.page
    assert page.locator("#strip .found").count() == 10
    assert page.locator("#strip .found[aria-current=true]").count() == 1
    assert shared.case_shown() in page.text_content("#case-title")
    for pane in ("study", "case"):
        assert len(set(shared.pixels(pane))) > 100
    assert "effusion" in page.text_content("#of-case .report")
    assert "Another patient" in page.text_content("#of-case")


def test_a_dicom_is_chosen_and_a_knee_is_shown_as_out_of_scope(tab: Tab, folder: Path) -> None:
    tab.page.set_input_files("#choose", folder / "unseen.dcm")
    tab.answered()
    assert tab.page.locator("#strip .found").count() == 10
    tab.page.set_input_files("#choose", folder / "knee.dcm")
    tab.page.wait_for_selector("#no-case .nothing")
    assert "Out of scope" in tab.page.text_content("#no-case")
    assert "OUT_OF_SCOPE_BODY_PART" in tab.page.text_content("#no-case")
    assert tab.page.locator("#strip .found").count() == 0
    tab.page.keyboard.press("d")
    tab.page.wait_for_selector("#told .nothing")
    assert "No draft" in tab.page.text_content("#told")
    assert tab.page.is_disabled("#copy")


def test_a_case_of_the_index_can_be_the_study_and_is_not_among_its_own_similar_cases(tab: Tab) -> None:
    example = tab.page.locator("#examples button").first
    case_id = example.locator(".quiet").text_content()
    example.click()
    tab.answered()
    assert case_id in tab.page.text_content("#study-title")
    assert tab.page.locator("#strip .found").count() == 10
    assert case_id not in tab.page.locator("#strip .id").all_text_contents()
    assert tab.page.is_visible("#own")
    assert not tab.page.is_visible("#own-report")  # not before somebody asks


def test_what_is_no_image_is_refused_in_words(tab: Tab, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no image")
    tab.page.set_input_files("#choose", tmp_path / "text")
    tab.page.wait_for_selector("#problem:visible")
    tab.complaints.clear()  # the browser itself writes down that a request was refused
    assert "UNREADABLE_IMAGE" in tab.page.text_content("#problem")
    tab.page.click("#problem button")
    assert not tab.page.is_visible("#problem")


def test_keys_go_through_the_cases_and_letters_typed_into_a_field_do_not(shared: Tab) -> None:
    page = shared.page
    ids = page.locator("#strip .id").all_text_contents()
    page.keyboard.press("1")
    for key, place in (("j", 1), ("j", 2), ("k", 1), ("5", 4), ("1", 0), ("k", 0)):
        page.keyboard.press(key)
        assert shared.case_shown() == ids[place], key
    page.keyboard.press("f")
    assert page.is_visible("#filters")
    assert page.evaluate("document.activeElement.name") == "text"
    page.keyboard.type("jjdi2")
    assert shared.case_shown() == ids[0]
    assert page.input_value("#filters [name=text]") == "jjdi2"
    page.fill("#filters [name=text]", "")
    page.keyboard.press("Escape")
    assert not page.is_visible("#filters")
    page.keyboard.press("?")
    assert page.is_visible("#help")
    page.keyboard.press("Escape")
    assert not page.is_visible("#help")


def test_filters_keep_cases_and_no_close_match_is_shown_as_such(tab: Tab, folder: Path) -> None:
    tab.drop(folder / "unseen.png")
    tab.page.keyboard.press("f")
    for name, value in (("sex", "F"), ("band", "30-39"), ("group", "frontal")):
        tab.page.select_option(f"#filters [name={name}]", value)
    tab.searches("findings", "no pleural effusion")
    assert "only: no pleural effusion · women · aged 30–39 · with a frontal view" in tab.page.text_content("#filtered")
    count = tab.page.locator("#strip .found").count()
    assert count
    for place in range(min(count, 3)):
        tab.page.locator("#strip .found").nth(place).click()
        assert "female, aged 30–39" in tab.page.text_content("#of-case")
    tab.searches("findings", "pneumoperitoneum")
    assert "No close match" in tab.page.text_content("#no-case")
    assert "NO_CLOSE_MATCH" in tab.page.text_content("#no-case")
    assert "The filters keep no case." in tab.page.text_content("#no-case")
    assert tab.page.locator("#strip .found").count() == 0
    with tab.page.expect_response(lambda answer: "similar-cases" in answer.url):
        tab.page.click("#filters button[type=reset]")
    tab.page.wait_for_selector("#strip .found")


def test_words_find_cases_without_a_study(tab: Tab) -> None:
    tab.page.keyboard.press("f")
    tab.searches("text", "left pleural effusion without opacity")
    assert tab.page.locator("#strip .found").count() > 0
    assert "effusion" in tab.page.text_content("#of-case .report mark.shared")
    assert tab.page.is_disabled("#write")


def test_shared_and_contradicting_findings_are_marked_by_signs_and_a_denial_is_not_shared(
    tab: Tab, folder: Path
) -> None:
    tab.drop(folder / "unseen.png")  # a left effusion
    effusion = tab.page.locator("#of-case .report mark.shared", has_text="effusion").first
    assert effusion.get_attribute("data-sign") == "+"
    assert "stated here" in effusion.get_attribute("title")
    tab.page.keyboard.press("f")
    tab.searches("findings", "no pleural effusion")
    denied = tab.page.locator("#of-case .report mark", has_text="effusion").first
    assert denied.get_attribute("class") == "against"
    assert denied.get_attribute("data-sign") == "≠"
    assert "denied here" in denied.get_attribute("title")
    assert tab.page.text_content("#of-case .compared .against .finding") == "+ pleural effusion (denied here)"
    assert "≠ 1 against" in tab.page.text_content("#strip")
    lines = tab.page.evaluate(
        "['shared', 'against', 'only'].map((kind) =>"
        " getComputedStyle(document.querySelector(`#legend mark.${kind}`)).textDecorationStyle)"
    )
    assert lines == ["solid", "wavy", "dotted"]


def test_marks_stand_on_their_words_behind_characters_that_javascript_counts_twice(tab: Tab) -> None:
    tab.page.keyboard.press("f")
    tab.searches("text", "pleural effusion")
    for found in tab.page.locator("#strip .found").all():
        found.click()
        marked = tab.page.locator("#of-case .report mark").all_text_contents()
        assert all(re.match(r"[A-Za-z]", words) and not words.endswith((".", " ")) for words in marked), marked
        if "\U0001f600" in tab.page.text_content("#of-case .report"):
            assert any("effusion" in words for words in marked)
            return
    pytest.fail("no hostile report was found")


def test_a_hostile_report_stays_text(tab: Tab) -> None:
    tab.page.fill("#by-id [name=id]", "drawn-000003")
    tab.page.press("#by-id [name=id]", "Enter")
    tab.answered()
    tab.page.click("#own summary")
    assert HOSTILE in tab.page.text_content("#own-report .report")
    for found in tab.page.locator("#strip .found").all():
        found.click()
        assert "<b onclick" in tab.page.text_content("#of-case")
    foreign = "main script, main img, main a, main iframe, #words b[onclick], [onerror], [style]"
    assert tab.page.locator(foreign).count() == 0
    # Had some module tried all the same, the policy would have stopped it.
    tried = tab.page.evaluate("() => { try { document.body.innerHTML = '<b>'; } catch (error) { return error.name; } }")
    assert tried == "TypeError"
    tab.complaints.clear()  # of that attempt


def test_a_draft_is_cards_with_support_that_opens_cases_and_is_copied_with_its_mark(tab: Tab, folder: Path) -> None:
    page = tab.page
    tab.drop(folder / "unseen.png")
    page.keyboard.press("d")
    page.wait_for_selector("#told .quiet")
    assert "DRAFT for a radiologist to edit and sign. Not a report" in page.text_content("#told .banner")
    card = page.locator("#told .card").first
    said = card.locator(".said").text_content()
    rests_on = re.search(r"Rests on (\d+) of (\d+) similar cases", card.text_content())
    assert rests_on
    assert 0 < int(rests_on[1]) <= int(rests_on[2])
    named = card.locator(".link").first.text_content()
    card.locator(".link").first.click()
    tab.shows("#of-case h3", f"^{named}$")
    assert page.is_visible("#report")
    page.keyboard.press("d")
    assert page.is_visible("#told .card")  # the same draft: nobody asked for another
    page.click("#copy")
    tab.shows("#status", "Copied")
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied.startswith("DRAFT for a radiologist to edit and sign. Not a report")
    assert said in copied


def test_an_api_key_is_asked_for_and_kept_in_memory_alone(
    browser: Any, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert prelim(["key", "page"]) == 0
    entry, told = capsys.readouterr()
    keys = tmp_path / "keys.json"
    keys.write_text(f"[{entry}]")
    secret = told.split(": ")[1].strip()
    with prelim_serve(folder, "--keys", str(keys)) as address:
        context = browser.new_context(viewport=LAPTOP)
        page = context.new_page()
        page.goto(address)
        page.wait_for_selector("#key:visible")
        assert page.evaluate("document.activeElement.id") == "key"
        page.fill("#key", secret)
        page.press("#key", "Enter")
        page.wait_for_selector("#examples li")
        assert page.input_value("#key") == ""
        kept = page.evaluate(
            "[{ ...localStorage }, { ...sessionStorage }, document.cookie, location.href, history.state]"
        )
        assert secret not in json.dumps([kept, context.storage_state(), page.content()])
        context.close()


@pytest.mark.parametrize("size", [LAPTOP, DESK])
@pytest.mark.parametrize("light", ["dark", "light"])
def test_nothing_overlaps_or_is_cut_off_at_the_sizes_of_a_laptop_and_a_desk(
    browser: Any, address: str, folder: Path, size: dict[str, int], light: str
) -> None:
    for tab in opened(browser, address, color_scheme=light):
        tab.page.set_viewport_size(size)
        tab.drop(folder / "unseen.png")
        tab.page.keyboard.press("f")
        boxes = {
            name: tab.page.locator(name).bounding_box() for name in ("header", "#filters", "#tools", "main", "#found")
        }
        bottom = 0.0
        for name, box in boxes.items():
            assert box["y"] >= bottom - 1, name
            assert box["x"] >= 0, name
            assert box["x"] + box["width"] <= size["width"], name
            bottom = box["y"] + box["height"]
        assert bottom <= size["height"]
        wide = """(names) => names.filter((name) => {
            const at = document.querySelector(name);
            return at.scrollWidth > at.clientWidth;
        })"""
        assert not tab.page.evaluate(wide, ["body", "header", "#filters", "#tools", "#report"])
        canvas = tab.page.locator("#case canvas.image").bounding_box()
        assert min(canvas["width"], canvas["height"]) > 0.34 * size["width"]


def test_every_control_has_a_name_and_can_be_reached_by_tab(shared: Tab) -> None:
    page = shared.page
    page.keyboard.press("f")
    nameless = page.evaluate("""() =>
        [...document.querySelectorAll("button, input, select, textarea, canvas[tabindex]")]
        .filter((each) => !(each.textContent.trim() || each.getAttribute("aria-label") || each.labels?.length))
        .map((each) => each.outerHTML)""")
    assert nameless == []
    page.click("h1")  # tabs go on from there
    reached = []
    for _ in range(60):
        page.keyboard.press("Tab")
        reached.append(
            page.evaluate(
                "document.activeElement.id || document.activeElement.name || document.activeElement.className"
            )
        )
    wanted = [
        "choose",
        "draft-now",
        "text",
        "findings",
        "band",
        "level",
        "width",
        "invert",
        "view",
        "tab-report",
        "found",
    ]
    places = [reached.index(name) for name in wanted]
    assert places == sorted(places), "the order of tabs is not the order of the page"
    page.keyboard.press("Escape")
