"""Where sentences begin and end, as offsets. Every sentence is invented."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.extraction.sentences import sentence_spans

# Whatever can end a sentence or only looks like it, mixed into arbitrary text.
PIECES = st.one_of(
    st.text(max_size=12),
    st.sampled_from(
        [". ", ".", "Dr. ", "1. ", "- ", "XXXX", "\n", "\r\n", "\n\n", "; ", "e.g. ", "J. ", "0.5 ", "No effusion"]
    ),
)  # fmt: skip
TEXTS = st.lists(PIECES, max_size=12).map("".join)


def sentences(text: str) -> list[str]:
    return [text[start:end] for start, end in sentence_spans(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Lungs are clear. No effusion.", ["Lungs are clear.", "No effusion."]),
        ("Lungs are clear.No effusion", ["Lungs are clear.", "No effusion"]),
        ("Lungs are clear.XXXX effusion", ["Lungs are clear.", "XXXX effusion"]),
        ("Is there an effusion? No effusion!", ["Is there an effusion?", "No effusion!"]),
        ("Lungs (both are clear.) No effusion.", ["Lungs (both are clear.)", "No effusion."]),
        ("Heart is normal; Lungs are clear.", ["Heart is normal; Lungs are clear."]),
        ("Lungs are clear.. No effusion.", ["Lungs are clear..", "No effusion."]),
        ("Seen on XXXX. XXXX effusion.", ["Seen on XXXX.", "XXXX effusion."]),
        ("Fracture of rib 5. No effusion.", ["Fracture of rib 5.", "No effusion."]),
        ("  Lungs are clear.  \n ", ["Lungs are clear."]),
        ("", []),
        (" . .. 3. ?", []),
    ],
)
def test_a_sentence_ends_at_its_stop(text: str, expected: list[str]) -> None:
    assert sentences(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "Discussed with Dr. Halloway by phone.",
        "Read by J. Halloway at noon.",
        "Opacities at the bases, e.g. atelectasis.",
        "Opacities at the bases (e.g. atelectasis).",
        "Atelectasis vs. scar at the left base.",
        "A nodule of approx. two centimeters.",
        "A nodule of 2.5 cm at the left base.",
        "Old granulomas etc.",
    ],
)
def test_the_stop_of_an_abbreviation_or_a_number_ends_no_sentence(text: str) -> None:
    assert sentences(text) == [text]


@pytest.mark.parametrize(
    "text",
    [
        "1. Lungs are clear.\n2. No effusion.",
        "1. Lungs are clear. 2. No effusion.",
        "1.Lungs are clear.\n2.No effusion.",
        "(1) Lungs are clear.\n(2) No effusion.",
        "- Lungs are clear.\n- No effusion.",
        "\u2022 Lungs are clear.\n\u2022 No effusion.",
        "* 1. Lungs are clear.\n* 2. No effusion.",
    ],
)
def test_list_marks_are_not_part_of_a_sentence(text: str) -> None:
    assert sentences(text) == ["Lungs are clear.", "No effusion."]


@pytest.mark.parametrize(
    "text",
    [
        "There is an opacity\nat the left base.",
        "There is an opacity\r\nat the left base.",
        "There is an opacity of the\nRight lower lobe.",
        "There is an opacity of\n2.5 cm.",
        "Atelectasis, effusion,\nPICC in place.",
        "THERE IS A LARGE EFFUSION AND COMPLETE COLLAPSE OF THE LEFT\nLOWER LOBE.",
    ],
)
def test_a_line_end_that_only_wraps_a_line_ends_no_sentence(text: str) -> None:
    assert sentences(text) == [text]


@pytest.mark.parametrize(
    "text",
    ["Heart is normal\nLungs are clear", "Heart is normal\n\nlungs are clear", "Heart is normal\n- lungs are clear"],
)
def test_a_line_end_between_two_statements_ends_a_sentence(text: str) -> None:
    assert [s.lower() for s in sentences(text)] == ["heart is normal", "lungs are clear"]


@given(TEXTS)
def test_spans_are_in_order_apart_and_without_outer_blanks(text: str) -> None:
    reached = 0
    for start, end in sentence_spans(text):
        assert reached <= start < end <= len(text)
        assert text[start:end] == text[start:end].strip()
        reached = end


@given(TEXTS)
def test_no_word_is_outside_every_sentence(text: str) -> None:
    outside, reached = [], 0
    for start, end in [*sentence_spans(text), (len(text), len(text))]:
        outside.append(text[reached:start])
        reached = end
    assert "effusion" not in " ".join(outside)


@pytest.mark.parametrize(
    "piece", [".", "a", ". ", "1. ", "\n", "a.B", " ", ".)", "e.g. ", "A\n", "- ", "b.Aab.Aa", "-"]
)
def test_a_megabyte_of_anything_is_split_in_seconds(piece: str) -> None:
    began = time.process_time()
    sentence_spans(piece * (1_000_000 // len(piece)))
    assert time.process_time() - began < 5
