"""Sections of a report: what is a heading, what only looks like one, and that nothing is ever lost."""

import json
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.records import Report
from retrieval.sections import compose_report, read_report

# Arbitrary text almost never holds a heading, so headings, line ends and blanks are mixed into it.
PIECES = st.one_of(
    st.text(max_size=20),
    st.sampled_from(
        ["FINDINGS:", "findings:", "Impression", "HISTORY :", "FINAL REPORT", "ADDENDUM:", "\r\n", "\r", "\n", "\x85"]
    ),
    st.sampled_from([" ", "\t", "\x00", "\x1c", "\u2028", ". ", ":", "(S):", " and ", "/", "\ufeff", "\U0001f600"]),
)
ANY_TEXT = st.lists(PIECES, max_size=30).map("".join)


def named(text: str) -> list[tuple[str, str]]:
    return [(s.name, s.text) for s in read_report(text).sections]


def assert_tiles(report: Report) -> None:
    assert "".join(report.text[s.start : s.end] for s in report.sections) == report.text
    ends = [0, *(s.end for s in report.sections)]
    assert [s.start for s in report.sections] == ends[:-1]
    assert ends[-1] == len(report.text)
    for s in report.sections:
        assert s.end > s.start
        assert report.text[s.start : s.end].strip().startswith(s.heading)
        assert report.text[s.start : s.end].strip().endswith(s.text)


@given(ANY_TEXT)
def test_sections_tile_any_text(text: str) -> None:
    assert_tiles(read_report(text))


@given(ANY_TEXT)
def test_every_character_but_headings_and_colons_reaches_a_section(text: str) -> None:
    report = read_report(text)
    kept = sum(len("".join(s.text.split())) + len("".join(s.heading.split())) for s in report.sections)
    assert 0 <= len("".join(text.split())) - kept <= len(report.sections)  # one colon per heading


@pytest.mark.parametrize(
    ("heading", "name"),
    [
        ("FINDINGS:", "findings"),
        ("Findings :", "findings"),
        ("findings:", "findings"),
        ("FINDINGS\n", "findings"),
        ("Findings\r\n", "findings"),
        ("FINDINGS AND IMPRESSION:", "findings"),
        ("Impression/Findings:", "findings"),
        ("Clinical history\n", "indication"),
        ("REASON FOR EXAM:", "indication"),
        ("REASON  FOR THIS\tEXAMINATION:", "indication"),
        ("HISTORY:", "indication"),
        ("INDICATION & HISTORY:", "indication"),
        ("EXAMINATION:", "technique"),
        ("PROCEDURE\n", "technique"),
        ("TECHNIQUE:", "technique"),
        ("VIEWS\n", "technique"),
        ("COMPARISON(S):", "comparison"),
        ("PRIOR:", "comparison"),
        ("CONCLUSION:", "impression"),
        ("OPINION\n", "impression"),
        ("SUMMARY:", "impression"),
        ("IMPRESSION:", "impression"),
        ("WET READ:", "other"),
        ("ADDENDUM\n", "other"),
        ("RECOMMENDATION:", "other"),
        ("NOTIFICATION:", "other"),
        ("Electronically signed by:", "other"),
    ],
)
def test_a_heading_as_really_written_names_its_section(heading: str, name: str) -> None:
    report = read_report(f"TECHNIQUE: PA\n\n   {heading} Clear at 3: 4.\n\nFINDINGS: Normal.")
    assert_tiles(report)
    section = report.sections[1]
    assert (section.name, section.text) == (name, "Clear at 3: 4.")
    assert section.heading == heading.strip().removesuffix(":").rstrip()
    assert len(report.sections) == 3


@pytest.mark.parametrize(
    "text",
    [
        "The findings are unchanged.",
        "There is the impression of a nodule: 4 mm.",
        "No acute\nfindings\nare seen.",
        "Chest: four images: lungs: clear. Heart: normal.",
        "PA and lateral views: the lungs are clear.",
        "Smoking history: 20 pack years. Compare with the prior: stable.",
        "These are the findings: a nodule.",
        "Findings are stable.",
        "FINDINGSXY: a. XFINDINGS: b.",
        "Lungs are clear of new findings, impression of scarring",
    ],
)
def test_a_word_inside_a_sentence_is_no_heading(text: str) -> None:
    assert named(text) == [("findings", text)]


@pytest.mark.parametrize("blanks", range(50, 75))
def test_the_tail_of_a_longer_word_is_no_heading_however_far_back(blanks: int) -> None:
    text = "See XFINDINGS" + " " * blanks + "AND IMPRESSION: Normal."
    assert [s.heading for s in read_report(text).sections] == ["", "IMPRESSION"]


def test_several_headings_on_one_line_are_all_found() -> None:
    assert named("INDICATION: Cough FINDINGS: Clear. impression: Normal. History: none") == [
        ("indication", "Cough"),
        ("findings", "Clear."),
        ("impression", "Normal."),
        ("indication", "none"),
    ]


def test_a_missing_blank_between_sections_hides_no_heading() -> None:
    assert named("FINDINGS:Clear.IMPRESSION:Normal.") == [("findings", "Clear."), ("impression", "Normal.")]


def test_a_numbered_impression_stays_one_section() -> None:
    text = "IMPRESSION:\n1. No effusion.\n2. Stable heart size: normal.\n\n3. Nodule."
    assert named(text) == [("impression", text.removeprefix("IMPRESSION:\n"))]


def test_repeated_headings_are_both_kept() -> None:
    report = read_report("FINDINGS: Heart.\nIMPRESSION: Normal.\nFINDINGS: Lungs.")
    assert report.findings == "Heart.\n\nLungs."
    assert [s.name for s in report.sections] == ["findings", "impression", "findings"]


def test_a_report_in_the_style_of_mimic_is_divided() -> None:
    text = (
        "                                 FINAL REPORT\n EXAMINATION:  CHEST (PA AND LAT)\n\n"
        " INDICATION:  History: ___F with cough  // eval for pneumonia\n\n COMPARISON:  ___\n\n"
        " FINDINGS: \n \n The heart is normal.\n\n IMPRESSION: \n \n 1.  Normal.\n\n"
        " NOTIFICATION:   By phone at 9:00.\n"
    )
    assert named(text) == [
        ("other", ""),
        ("technique", "CHEST (PA AND LAT)"),
        ("indication", "History: ___F with cough  // eval for pneumonia"),
        ("comparison", "___"),
        ("findings", "The heart is normal."),
        ("impression", "1.  Normal."),
        ("other", "By phone at 9:00."),
    ]
    assert_tiles(read_report(text))


def test_a_report_without_headings_is_findings() -> None:
    assert named("Lungs are clear.\n\nNormal chest.") == [("findings", "Lungs are clear.\n\nNormal chest.")]


def test_a_title_over_one_paragraph_does_not_hide_the_findings() -> None:
    report = read_report("FINAL REPORT\nLungs are clear.\nADDENDUM: Called.")
    assert (report.findings, report.section("other")) == ("Lungs are clear.", "Called.")


def test_text_before_the_first_heading_is_other() -> None:
    report = read_report("CHEST, PA\n\nFINDINGS: Clear.")
    assert [(s.name, s.heading, s.text) for s in report.sections] == [
        ("other", "", "CHEST, PA"),
        ("findings", "FINDINGS", "Clear."),
    ]


def test_blank_space_before_the_first_heading_makes_no_section() -> None:
    assert [s.name for s in read_report(" \r\n FINDINGS: Clear.").sections] == ["findings"]


def test_an_empty_report_has_no_sections() -> None:
    assert read_report("").sections == ()
    assert compose_report().text == ""


SECTION_TEXT = st.text(max_size=40) | st.sampled_from([" a \r\n b ", ": 1", "and more", "heart: normal", "\t"])


@given(SECTION_TEXT, SECTION_TEXT, SECTION_TEXT, SECTION_TEXT, SECTION_TEXT, SECTION_TEXT)
def test_a_composed_report_reads_back_as_composed(
    indication: str, technique: str, comparison: str, findings: str, impression: str, other: str
) -> None:
    made = compose_report(
        indication=indication,
        technique=technique,
        comparison=comparison,
        findings=findings,
        impression=impression,
        other=other,
    )
    assert_tiles(made)
    assert (made.findings, made.section("other")) == (findings.strip(), other.strip())
    assert (made.section("indication"), made.section("comparison")) == (indication.strip(), comparison.strip())
    assert read_report(made.text) == made


def test_a_heading_inside_a_given_section_does_not_divide_it() -> None:
    made = compose_report(findings="Clear.\nIMPRESSION: Normal.")
    assert [(s.name, s.text) for s in made.sections] == [("findings", "Clear.\nIMPRESSION: Normal.")]


@pytest.mark.parametrize(
    "unit",
    ["a: ", "FINDINGS: ", ":", " ", "\n", "x", "findings and ", "and/", "(FINDINGS)\t:", " \t:", "FINDINGS\x85"],
)
def test_a_megabyte_takes_time_in_proportion_to_its_length(unit: str) -> None:
    def seconds(length: int) -> float:
        text = unit * (length // len(unit))
        started = time.process_time()
        assert_ends(read_report(text), len(text))
        return time.process_time() - started

    small = min(seconds(100_000) for _ in range(3))
    assert seconds(1_000_000) < 30 * small + 0.2  # a quadratic reader would need 100 times as long


def assert_ends(report: Report, length: int) -> None:
    assert report.sections[-1].end == length


def test_short_reports_are_read_at_five_thousand_a_second() -> None:
    text = "INDICATION: Cough.\nCOMPARISON: None.\nFINDINGS: " + "The lungs are clear. " * 12 + "\nIMPRESSION: Normal."

    def seconds() -> float:
        started = time.process_time()
        for _ in range(500):
            read_report(text)
        return time.process_time() - started

    assert min(seconds() for _ in range(5)) < 500 / 5000


def one_line(name: str, text: str) -> str:
    return f"{name.upper()}: {text} "


def heading_alone(name: str, text: str) -> str:
    return f"{name.capitalize()}\r\n{text}\r\n\r\n"


def wrapped_in_lower_case(name: str, text: str) -> str:
    return textwrap.fill(f"{name}: {text}", 72).lower() + "\n"


@pytest.mark.data
@pytest.mark.parametrize("layout", [one_line, heading_alone, wrapped_in_lower_case])
def test_every_section_of_the_real_reports_comes_back(data: Path, layout: Callable[[str, str], str]) -> None:
    names = ("indication", "comparison", "findings", "impression")
    asked = found = 0
    with (data / "radiographs" / "reports_iu.jsonl").open(encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            given = {name: " ".join(row[name].split()) for name in names if row[name]}
            report = read_report("".join(layout(name, text) for name, text in given.items()))
            assert_tiles(report)
            for name, text in given.items():
                asked += 1
                found += " ".join(report.section(name).split()).lower() == text.lower()  # type: ignore[arg-type]
    assert asked > 10_000
    assert found / asked >= 0.995, f"{found} of {asked}"


@pytest.mark.data
def test_real_reports_as_dictated_keep_findings_and_impression_apart(data: Path) -> None:
    with (data / "radiographs" / "reports_other.jsonl").open(encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    assert rows
    for row in rows:
        report = read_report(row["full_text"])
        assert_tiles(report)
        headed = "findings:" in row["full_text"]
        # The samples that are impressions without saying so cannot be told from findings.
        expected = row["findings"] if headed else row["impression"]
        assert " ".join(report.findings.split()).startswith(" ".join(expected.split()))
        if headed and row["impression"]:
            assert " ".join(report.impression.split()).startswith(row["impression"])
