"""What belongs to an earlier study, and the report without it. Every sentence is invented."""

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.extraction.priors import (
    find_prior_references,
    read_standalone,
    standalone,
    strip_priors,
)

NEGATION = re.compile(r"\b(?:no|not|without|never|nor|neither|cannot|free)\b|n't\b", re.I)


def words(text: str) -> set[str]:
    return set(re.findall(r"[a-z]+", text.lower()))


@pytest.mark.parametrize(
    ("text", "kind", "cue"),
    [
        ("Compared to the outside film, more edema.", "explicit", "Compared"),
        ("Effusion seen on the prior chest radiograph.", "explicit", "prior chest radiograph"),
        ("An effusion, as before.", "explicit", "as before"),
        ("Interval placement of a drain.", "explicit", "Interval"),
        ("The effusion is unchanged.", "unchanged", "unchanged"),
        ("The chest is stable.", "unchanged", "stable"),
        ("No significant change in the effusion.", "unchanged", "No significant change"),
        ("The effusion has not changed.", "unchanged", "not changed"),
        ("An effusion is again seen.", "unchanged", "again"),
        ("The heart remains large.", "unchanged", "remains"),
        ("A persistent opacity.", "unchanged", "persistent"),
        ("Opacity is re-demonstrated.", "unchanged", "re-demonstrated"),
        ("The effusion has increased.", "worse", "has increased"),
        ("Increasing edema.", "worse", "Increasing"),
        ("Edema is worse.", "worse", "worse"),
        ("Pneumothorax is larger.", "worse", "is larger"),
        ("Improved inspiration.", "better", "Improved"),
        ("The opacity has cleared.", "better", "cleared"),
        ("The effusion has resolved.", "better", "resolved"),
        ("A new nodule.", "event", "new"),
        ("The tube has been removed.", "event", "has been removed"),
        ("The nodule is no longer seen.", "event", "no longer"),
    ],
)
def test_a_cue_is_found_where_it_stands(text: str, kind: str, cue: str) -> None:
    assert (kind, cue) in [(found.kind, text[found.start : found.end]) for found in find_prior_references(text)]


@pytest.mark.parametrize(
    "text",
    [
        "Increased interstitial markings.",
        "Increased opacity at the left base.",
        "Increased AP diameter of the chest.",
        "Decreased lung volumes.",
        "The cardiac silhouette is enlarged.",
        "Elevated right hemidiaphragm.",
        "The lungs are clear.",
        "Old granulomatous disease.",
        "Evidence of prior granulomatous disease.",
        "Remote fracture of the sixth rib.",
        "Old rib fracture.",
        "Chronic obstructive disease.",
        "Prior sternotomy and CABG.",
        "Degenerative changes of the spine.",
        "No acute changes.",
        "Changes of emphysema.",
        "New York Heart Association class two.",
        "A repeat radiograph at a short interval is suggested.",
        "Follow-up to document resolution is recommended.",
        "Degenerative disease, left worse than right.",
        "Opacities are more pronounced on the left.",
        "The left hilum is dense compared to the right.",
        "Since the patient is rotated, the heart is hard to judge.",
        "If symptoms persist, CT may be considered.",
        "A high resolution CT may be considered.",
        "The patient is clinically stable.",
        "Pneumonia remains a consideration.",
        "Radiographs before surgery.",
        "No comparison is available.",
        "The remaining lung is clear.",
    ],
)
def test_a_static_use_is_no_cue(text: str) -> None:
    assert find_prior_references(text) == []


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("Stable cardiomegaly.", "Cardiomegaly."),
        ("Unchanged small left effusion with atelectasis.", "Small left effusion with atelectasis."),
        ("There is a new small right pneumothorax.", "There is a small right pneumothorax."),
        ("There is an unchanged nodule.", "There is a nodule."),
        ("There has been interval development of a left effusion.", "Left effusion."),
        ("Interval placement of a right chest tube.", "Right chest tube."),
        ("Slight interval increase in the size of the left effusion.", "Left effusion."),
        ("The left effusion is unchanged from the prior study.", "Left effusion."),
        ("Mild scoliosis, unchanged.", "Mild scoliosis."),
        ("Moderate edema has improved.", "Moderate edema."),
        ("The effusion has decreased but persists.", "Effusion."),
        ("Heart size remains large.", "Heart size is large."),
        ("A left effusion remains.", "Left effusion."),
        ("The heart is normal and unchanged.", "The heart is normal."),
        ("The heart is stable and within normal limits.", "The heart is within normal limits."),
        ("The mediastinum is stable with a tortuous aorta.", "Tortuous aorta."),
        ("Stable chest without acute abnormality.", "No acute abnormality."),
        ("No residual pneumothorax.", "No pneumothorax."),
        ("Compared to the prior study, the left effusion has increased.", "Left effusion."),
        ("The nodule is larger than on the prior study.", "Nodule."),
        ("No change in the appearance of the right apical bulla.", "Right apical bulla."),
        ("A nodule at the apex, not seen on the prior study.", "Nodule at the apex."),
        ("Clips are again noted.", "Clips are noted."),
        ("Heart is large, stable mediastinal contours.", "Heart is large."),
        ("Bullae are unchanged with resolution of the effusion.", "Bullae."),
        ("Scarring is unchanged and the lungs are clear.", "Scarring; the lungs are clear."),
        ("The tube has been advanced and now ends in the stomach.", "Tube ends in the stomach."),
    ],
)
def test_a_finding_is_said_without_its_past(text: str, left: str) -> None:
    assert standalone(text) == (left,)


@pytest.mark.parametrize(
    "text",
    [
        "The cardiomediastinal silhouette is unchanged.",
        "Stable heart size.",
        "Improved aeration of the left lung.",
        "No interval change.",
        "No new nodule.",
        "No effusion or interval consolidation.",
        "The lungs are clear without new consolidation.",
        "A new nodule is not seen.",
        "There is no worsening of the edema.",
        "The effusion has resolved.",
        "Interval removal of the chest tube.",
        "The endotracheal tube has been removed.",
        "The previously seen nodule is not visualized.",
        "The opacity is no longer present.",
        "Possible worsening of the edema.",
        "These are unchanged since the last study.",
        "Comparison is made to the prior study.",
        "No prior studies are available for comparison.",
    ],
)
def test_what_says_nothing_of_this_image_alone_is_left_out(text: str) -> None:
    assert standalone(text) == ()


def test_a_sentence_that_leans_on_one_left_out_goes_with_it() -> None:
    read = read_standalone("Lungs are clear. The effusion has resolved. This was large. Stable cardiomegaly.")
    assert read.sentences == ("Lungs are clear.", "Cardiomegaly.")
    assert (read.kept, read.rewritten, read.dropped) == (1, 1, 2)


def test_a_text_without_cues_is_not_touched() -> None:
    text = " Lungs are clear;\nno effusion\n\n2. Heart is  normal"
    assert strip_priors(text) is text


FINDINGS = ["effusion", "left basilar atelectasis", "nodule", "edema", "rib fractures", "heart", "mediastinal contours"]
CHANGES = [
    "stable",
    "new",
    "unchanged",
    "persistent",
    "worsening",
    "improved",
    "interval",
    "increasing",
    "residual",
    "recurrent",
]
PREDICATES = [
    "is unchanged", "are stable", "has resolved", "has improved", "has increased since the prior study", "remains",
    "is again seen", "persists", "has not changed", "is no longer seen", "is not seen", "has been removed", "is larger",
    "is similar to prior", "is normal and stable", "remains normal", "is new", "is not new", "may be new",
]  # fmt: skip
TAILS = [
    "",
    " compared to the prior study",
    " since the prior radiograph",
    ", unchanged",
    " in the interval",
    " as before",
]
STARTS = ["", "No ", "There is no ", "There is a ", "Without ", "Possible ", "Again, ", "Compared to the prior study, "]
LINKS = [". ", ", ", " and ", " but ", "; ", " with ", " without ", " or "]


@st.composite
def phrases(draw: st.DrawFn) -> str:
    change = draw(st.sampled_from(["", *CHANGES]))
    predicate = draw(st.sampled_from(["", *PREDICATES]))
    named = " ".join(filter(None, [change, draw(st.sampled_from(FINDINGS)), predicate]))
    return draw(st.sampled_from(STARTS)) + named + draw(st.sampled_from(TAILS))


@st.composite
def reports(draw: st.DrawFn) -> str:
    text = draw(phrases())
    for phrase in draw(st.lists(phrases(), max_size=3)):
        text += draw(st.sampled_from(LINKS)) + phrase
    return text + "."


PIECES = st.one_of(
    st.text(max_size=10),
    st.just("\x01"),
    st.sampled_from(
        ["no ", "change ", "stable ", "prior ", "study", ". ", "\n", "is ", "interval ", "Dr.", "without ", "has been "]
    ),
)  # fmt: skip


@given(st.one_of(reports(), st.lists(PIECES, max_size=12).map("".join)))
def test_what_is_left_holds_no_cue_and_is_left_alone_the_second_time(text: str) -> None:
    stripped = strip_priors(text)
    assert find_prior_references(stripped) == []
    assert strip_priors(stripped) == stripped
    assert not any(find_prior_references(sentence) for sentence in standalone(text))


@given(reports())
def test_no_word_is_invented(text: str) -> None:
    assert words(" ".join(standalone(text))) <= words(text) | {"is", "are", "a", "an", "no"}


@given(phrases())
def test_a_denial_never_becomes_a_statement_nor_a_statement_a_denial(text: str) -> None:
    for sentence in standalone(text):
        # "Has not changed" denies the change and not the finding.
        said = text.replace("has not changed", "")
        assert bool(NEGATION.search(sentence)) == bool(NEGATION.search(said)), sentence


@pytest.mark.parametrize("finding", FINDINGS)
@pytest.mark.parametrize("change", ["new", "interval", "increasing", "worsening", "stable", "improved"])
def test_a_denied_change_denies_no_finding(finding: str, change: str) -> None:
    texts = [
        f"No {change} {finding}.",
        f"There is no opacity or {change} {finding}.",
        f"A {change} {finding} is not seen.",
    ]
    assert standalone(" ".join(texts)) == ()


@pytest.mark.parametrize("structure", ["heart", "mediastinal contours", "lungs", "cardiac silhouette"])
@pytest.mark.parametrize("predicate", ["unchanged", "stable", "similar to prior", "improved"])
def test_an_unchanged_structure_is_not_called_normal(structure: str, predicate: str) -> None:
    assert standalone(f"The {structure} is {predicate}.") == ()


@pytest.mark.parametrize(
    "piece",
    ["unchanged ", "no change. ", "prior ", "Stable, ", "is slightly ", "Slightly heart is stable. ", "(new", " "],
)
def test_a_megabyte_of_anything_is_read_in_seconds(piece: str) -> None:
    text = piece * (1_000_000 // len(piece))
    began = time.process_time()
    find_prior_references(text)
    strip_priors(text)
    assert time.process_time() - began < 20


def test_reading_keeps_pace_with_a_thousand_reports_a_second() -> None:
    report = (
        "The heart size is within normal limits. The lungs are clear without focal consolidation. No effusion or "
        "pneumothorax. Stable degenerative changes of the thoracic spine. No acute bony abnormality."
    )
    began = time.process_time()
    for _ in range(200):
        find_prior_references(report)
    # Thirty microseconds where it was written; the rest is for slow machines.
    assert (time.process_time() - began) / 200 < 0.001
