"""What must hold of every text, and of every name in the ontology."""

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrieval.extraction.cues import CUES
from retrieval.extraction.extractor import SPEAKING, Extractor
from retrieval.extraction.priors import find_prior_references, standalone, strip_priors
from retrieval.mentions import Certainty, ConceptId, ConceptMention
from retrieval.ontology.concept import Concept
from retrieval.ontology.ontology import load
from retrieval.sections import read_report

ONTOLOGY = load()
EXTRACTOR = Extractor(ONTOLOGY)
NAMED = [c for c in ONTOLOGY.written if c.kind in SPEAKING]
DENIABLE = [c for c in NAMED if c.kind != "normal"]

# Every word that can mean something, so that what hypothesis writes is often nearly a report.
WORDS = sorted(
    {p for c in ONTOLOGY.written for p in (c.name, *c.synonyms)} | {p for listed in CUES.values() for p in listed}
)
PIECES = st.one_of(
    st.sampled_from(WORDS),
    st.sampled_from([",", ".", ";", ":", "(", ")", "/", "and", "or", "no", "is", "the", "left", "8 mm", "2 x 3 cm"]),
    st.sampled_from(["unchanged", "new", "since the prior study", "compared to", "not", "may represent", "normal"]),
    st.text(max_size=6),
)
REPORTLIKE = st.lists(PIECES, max_size=40).map(" ".join)
ANY_TEXT = st.one_of(st.text(max_size=200), REPORTLIKE, st.lists(PIECES, max_size=15).map("".join))

SENTENCES = [
    "There is a small left pleural effusion.", "No pneumothorax.", "The heart is mildly enlarged.",
    "Lungs are clear.", "Possible 8 mm nodule in the right upper lobe.", "Pneumonia cannot be excluded.",
    "The mediastinum and hila are normal.", "Opacity may represent atelectasis or infiltrate.",
    "No new infiltrate.", "Unchanged position of the endotracheal tube.", "The effusion has resolved.",
    "Effusion on the right; scarring at the left apex.", "History of tuberculosis.", "Status post sternotomy.",
    "No fracture, effusion, or pneumothorax.", "A sentence of nothing.",
    "Bilateral opacities, left greater than right.", "Normal heart size but there is edema.", "Severe emphysema.",
]  # fmt: skip


def content(mentions: list[ConceptMention]) -> Counter[str]:
    """Mentions without their places in the text."""
    return Counter(
        repr(m.model_copy(update={"start": 0, "end": 1, "sentence": 0, "measurement": m.measurement
                                  and (m.measurement.value, m.measurement.unit)}))
        for m in mentions
    )  # fmt: skip


@given(ANY_TEXT)
@settings(max_examples=500, deadline=None)
def test_any_text_is_read_and_spans_are_words_of_it_in_order(text: str) -> None:
    mentions = EXTRACTOR.read(text)
    assert all(0 <= m.start < m.end <= len(text) for m in mentions)
    assert all(text[m.start].isalnum() and text[m.end - 1].isalnum() for m in mentions)
    assert [m.sentence for m in mentions] == sorted(m.sentence for m in mentions)
    assert [m.start for m in mentions] == sorted(m.start for m in mentions)
    for m in mentions:
        if m.measurement is not None:
            assert 0 <= m.measurement.start < m.measurement.end <= len(text)
        assert all(ONTOLOGY[s].kind == "anatomy" for s in m.sites)
        assert m.change is None or ONTOLOGY[m.change].kind == "change"
        assert ONTOLOGY[m.concept].kind in SPEAKING


@given(REPORTLIKE)
@settings(max_examples=100, deadline=None)
def test_reading_is_deterministic_and_remembers_nothing(text: str) -> None:
    first = EXTRACTOR.read(text)
    EXTRACTOR.read("No pneumothorax. " + text)
    assert EXTRACTOR.read(text) == first


@given(ANY_TEXT)
@settings(max_examples=150, deadline=None)
def test_a_report_is_read_like_its_sections(text: str) -> None:
    report = read_report(text)
    read = EXTRACTOR.read_report(report)
    sections = [s for s in report.sections if s.name in ("findings", "impression")]
    apart = [m for s in sections for m in EXTRACTOR.read(s.text)]
    assert content(list(read.mentions)) == content(apart)
    assert all(report.text[m.start : m.end].strip() for m in read.mentions)


@given(st.permutations(SENTENCES))
@settings(max_examples=60, deadline=None)
def test_the_order_of_sentences_does_not_matter(sentences: list[str]) -> None:
    whole = content(EXTRACTOR.read(" ".join(sentences)))
    assert whole == content(EXTRACTOR.read(" ".join(SENTENCES)))
    assert whole == sum((content(EXTRACTOR.read(s)) for s in sentences), Counter())


@given(REPORTLIKE, REPORTLIKE)
@settings(max_examples=150, deadline=None)
def test_two_texts_together_say_what_each_says(one: str, other: str) -> None:
    one, other = one.rstrip(" .:,;(/") + ".", other + "."
    together = EXTRACTOR.read(f"{one}\n\n\n{other}")
    assert content(together) == content(EXTRACTOR.read(one)) + content(EXTRACTOR.read(other))


@pytest.mark.parametrize("concept", NAMED, ids=[c.slug for c in NAMED])
def test_every_name_is_read_as_its_concept(concept: Concept) -> None:
    unread = [
        phrase
        for phrase in (concept.name, *concept.synonyms)
        if phrase not in UNREAD
        and (concept.id, "present") not in [(m.concept, m.certainty) for m in EXTRACTOR.read(f"There is {phrase}.")]
    ]
    assert unread == []


def normal_in(read: list[tuple[ConceptId, Certainty]]) -> bool:
    """Whether something normal is stated: "no lung abnormality" is a name of clear lungs."""
    return any(ONTOLOGY[concept].kind == "normal" for concept, _ in read)


@pytest.mark.parametrize("concept", DENIABLE, ids=[c.slug for c in DENIABLE])
def test_every_name_is_denied_by_no(concept: Concept) -> None:
    undenied = []
    for phrase in (concept.name, *concept.synonyms):
        read = [(m.concept, m.certainty) for m in EXTRACTOR.read(f"There is no {phrase}.")]
        if phrase not in UNREAD and (concept.id, "absent") not in read and not normal_in(read):
            undenied.append(phrase)
        assert (concept.id, "present") not in read, phrase
    assert undenied == []


UNREAD = frozenset({"E.T. tube"})
"""Names that cannot be read: a sentence ends behind "E.T."."""


def test_what_cannot_be_read_is_a_name() -> None:
    assert {p for c in NAMED for p in (c.name, *c.synonyms)} >= UNREAD


def test_few_names_are_denied_as_something_normal() -> None:
    normal = 0
    for concept in DENIABLE:
        for phrase in (concept.name, *concept.synonyms):
            read = EXTRACTOR.read(f"There is no {phrase}.")
            normal += all(ONTOLOGY[m.concept].kind == "normal" for m in read)
    assert normal <= 12


FRAMES = [
    ("{} is seen.", "present"), ("Possible {}.", "uncertain"), ("{} cannot be excluded.", "uncertain"),
    ("No evidence of {}.", "absent"), ("{} is not seen.", "absent"), ("{} has resolved.", "absent"),
    ("Findings consistent with {}.", "present"), ("This may represent {}.", "uncertain"), ("Without {}.", "absent"),
    ("No new {}.", "uncertain"), ("No pneumoperitoneum, {}, or pneumothorax.", "absent"),
]  # fmt: skip


@pytest.mark.parametrize(("frame", "certainty"), FRAMES, ids=[f[0] for f in FRAMES])
def test_frames_say_the_same_of_every_finding(frame: str, certainty: str) -> None:
    wrong = []
    for c in ONTOLOGY.written:
        if c.kind in ("finding", "diagnosis") and c.slug not in ("pneumoperitoneum", "pneumothorax"):
            text = frame.format(c.name)
            read = [(m.concept, m.certainty) for m in EXTRACTOR.read(text)]
            if (c.id, certainty) not in read and not (certainty != "present" and normal_in(read)):
                wrong.append(text)
    assert wrong == []


# What stands without an earlier study.


@given(ANY_TEXT)
@settings(max_examples=300, deadline=None)
def test_stripping_once_is_stripping_twice(text: str) -> None:
    once = strip_priors(text)
    assert strip_priors(once) == once
    assert find_prior_references(once) == []


STATIC = frozenset({"healing"})
"""Changes that can be seen on one image."""
TEMPLATES = [
    "Unchanged {}.", "Stable {}.", "The {} has increased.", "New {} since the prior study.", "{} is again seen.",
    "Interval improvement of {}.", "{} has resolved.", "Persistent {}, unchanged from the previous radiograph.",
    "There is {} without interval change.", "Worsening {}.", "{} is present.", "No new {}.", "Decreased {}.",
    "Compared to the prior study, {} is larger.", "{} is no longer seen.",
]  # fmt: skip


@pytest.mark.parametrize("template", TEMPLATES)
def test_standalone_sentences_say_nothing_of_change(template: str) -> None:
    left = []
    for c in ONTOLOGY.written:
        if c.kind in ("finding", "diagnosis"):
            for sentence in standalone(template.format(c.name)):
                changes = {ONTOLOGY[m.change].slug for m in EXTRACTOR.read(sentence) if m.change} - STATIC
                left += [(sentence, changes)] if changes else []
    assert left == []


def test_standalone_sentences_of_mixed_reports_say_nothing_of_change() -> None:
    rng = random.Random(3)
    names = [c.name for c in ONTOLOGY.written if c.kind in ("finding", "diagnosis", "device")]
    for _ in range(300):
        text = " ".join(rng.choice(TEMPLATES).format(rng.choice(names)) for _ in range(4))
        for sentence in standalone(text):
            changes = {ONTOLOGY[m.change].slug for m in EXTRACTOR.read(sentence) if m.change} - STATIC
            assert not changes, sentence
