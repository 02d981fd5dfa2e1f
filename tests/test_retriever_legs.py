"""Legs beside the image: what they are asked with, how they are fused, and what is told of each case."""

import numpy as np
import pytest

from retrieval.asking import anatomy_asked, both, finding_asked, text_asked
from retrieval.comparison import ConceptSet
from retrieval.encoders.encoder import Vectors
from retrieval.errors import RequestError, UnknownCase
from retrieval.extraction.extractor import Extractor
from retrieval.mentions import ConceptId
from retrieval.ontology.ontology import load
from retrieval.records import (
    Case,
    CaseId,
    CaseImage,
    EncoderIdentity,
    Evidence,
    FoundBy,
    ImageAttributes,
    ImageDigest,
    PatientKey,
    Study,
    StudyImage,
    StudyUid,
)
from retrieval.retriever import Query, Retriever
from retrieval.sections import compose_report
from retrieval.stores.memory import MemoryStore
from retrieval.stores.store import Entry
from retrieval.where import Where

ENCODER = EncoderIdentity("test")
EXTRACTOR = Extractor(load())


def cid(slug: str) -> ConceptId:
    return load()[slug].id


def unit(angle: float) -> Vectors:
    return np.array([[np.cos(angle), np.sin(angle)]], np.float32)


def entry(name: str, angle: float, findings: str, patient: str = "") -> Entry:
    report = compose_report(findings=findings)
    case = Case(
        case_id=CaseId(name),
        patient_key=PatientKey(patient or f"patient of {name}"),
        study_instance_uid=StudyUid(f"study of {name}"),
        images=(CaseImage(digest=ImageDigest(name), view="PA"),),
        report=report,
        source="tests",
        licence="CC0-1.0",
        content=name,
        concepts=EXTRACTOR.read_report(report) if findings else None,
    )
    return Entry(case, unit(angle))


CASES = [
    entry("left", 0.0, "There is a left pleural effusion. The heart is normal in size."),
    entry("right", 0.2, "There is a right pleural effusion."),
    entry("none", 0.4, "No pleural effusion or pneumothorax."),
    entry("big", 0.5, "The heart is enlarged. Left pleural effusion."),
    entry("air", 3.0, "Large left pneumothorax."),
    entry("again", 0.1, "Small left pleural effusion.", patient="patient of left"),
    entry("unread", 0.3, ""),
]


def retriever(cases: list[Entry] = CASES) -> Retriever:
    store = MemoryStore(ENCODER, 2)
    store.stage(cases)
    store.publish()
    return Retriever(store, ENCODER)


def study(digest: str = "query") -> Study:
    attributes = ImageAttributes(media="png", rows=1, columns=1, view="PA")
    return Study(images=(StudyImage(path="a.png", digest=ImageDigest(digest), attributes=attributes),))


def names(evidence: Evidence) -> list[str]:
    return [found.case.case_id for found in evidence.cases]


def asked(text: str, **more: object) -> Query:
    question = text_asked(text, EXTRACTOR)
    return Query(concepts=question.concepts, words=question.words, **more)  # type: ignore[arg-type]


def test_the_image_leg_alone_is_the_default_and_says_so() -> None:
    evidence = retriever().retrieve(study(), unit(0.0), 3)
    assert names(evidence) == ["left", "again", "right"]
    assert evidence.legs == ("image",)
    assert evidence.concepts is None
    assert [found.found_by for found in evidence.cases] == [
        (FoundBy(leg="image", rank=rank, similarity=found.similarity),) for rank, found in enumerate(evidence.cases, 1)
    ]


def test_a_text_asks_with_its_findings_and_its_words() -> None:
    evidence = retriever().find(9, asked("left pleural effusion without pneumothorax"))
    assert evidence.legs == ("concept", "text")
    assert set(names(evidence)[:3]) == {"left", "again", "big"}
    assert "air" not in names(evidence)[:4]
    assert evidence.concepts == ConceptSet(
        present={cid("pleural_effusion"): 1.0},
        absent={cid("pneumothorax"): 1.0},
        sides={cid("pleural_effusion"): "left"},
    )
    first = evidence.cases[0]
    assert [by.leg for by in first.found_by] == ["concept", "text"]
    assert first.similarity == first.found_by[0].similarity
    assert first.matched == ()
    assert first.comparison
    assert cid("pleural_effusion") in {c.concept for c in first.comparison.shared}
    (other,) = [found for found in evidence.cases if found.case.case_id == "right"]
    assert other.comparison
    assert any(c.side_differs for c in other.comparison.shared)
    # It denies one of the two, as asked; by words it is not found, because it denies the other.
    (against,) = [found for found in evidence.cases if found.case.case_id == "none"]
    assert [by.leg for by in against.found_by] == ["concept"]
    assert against.comparison
    assert [c.concept for c in against.comparison.contradicting if c.stated] == [cid("pleural_effusion")]


def test_a_fusion_tells_the_place_in_every_leg() -> None:
    evidence = retriever().retrieve(study(), unit(0.0), 9, asked("enlarged heart"))
    assert evidence.legs == ("image", "concept", "text")
    (big,) = [found for found in evidence.cases if found.case.case_id == "big"]
    assert {by.leg: by.rank for by in big.found_by} == {"image": 6, "concept": 1, "text": 1}
    assert big.rank == 1
    (unread,) = [found for found in evidence.cases if found.case.case_id == "unread"]
    assert [by.leg for by in unread.found_by] == ["image"]
    assert unread.comparison is None
    # Its image looks away, and it says none of this.
    assert "air" not in names(evidence)


def test_an_images_concepts_are_those_of_its_neighbours() -> None:
    many = [entry(f"e{n}", 0.01 * n, "Left pleural effusion.") for n in range(12)]
    many += [entry(f"n{n}", 1.5, "No pleural effusion. The lungs are clear.") for n in range(30)]
    evidence = retriever(many).retrieve(study(), unit(0.0), 5, Query(legs=("concept",)))
    assert evidence.legs == ("concept",)
    assert evidence.concepts
    assert cid("pleural_effusion") in evidence.concepts.present
    assert evidence.concepts.sides == {}
    assert all(name.startswith("e") for name in names(evidence))


def test_the_studys_own_report_never_asks() -> None:
    alone = [
        entry("own", 0.0, "Left pneumothorax."),
        entry("other", 0.1, "Cardiomegaly."),
        entry("third", 0.2, "Edema."),
    ]
    evidence = retriever(alone).retrieve(study("own"), unit(0.0), 5, Query(legs=("image", "concept")))
    assert names(evidence) == ["other", "third"]
    assert evidence.concepts == ConceptSet()


def test_like_a_case_is_by_its_images_and_its_report_without_its_patient() -> None:
    evidence = retriever().like(CaseId("left"), 9)
    assert evidence.legs == ("image", "concept")
    assert not {"left", "again"} & {*names(evidence)}
    assert evidence.concepts
    assert evidence.concepts.sides == {cid("pleural_effusion"): "left"}
    assert evidence.cases[0].comparison
    assert evidence.cases[0].comparison.form == "symmetric"
    with pytest.raises(UnknownCase):
        retriever().like(CaseId("nobody"), 9)
    assert "unread" in names(retriever().like(CaseId("big"), 9))


def test_a_part_of_the_body_is_compared_alone() -> None:
    heart = Query(anatomy=anatomy_asked("heart", load()))
    evidence = retriever().like(CaseId("big"), 9, heart)
    assert evidence.concepts
    assert evidence.concepts.present == {cid("cardiomegaly"): 1.0}
    assert all(
        cid("pleural_effusion") not in {c.concept for c in (*why.shared, *why.case_only, *why.query_only)}
        for found in evidence.cases
        if (why := found.comparison)
    )


def test_filters_hold_in_every_leg() -> None:
    where = Where(findings=frozenset({cid("pleural_effusion")}))
    for query in (asked("left effusion", where=where), Query(where=where, legs=("image",))):
        assert set(names(retriever().retrieve(study(), unit(0.0), 9, query))) == {"left", "right", "big", "again"}
    denied = Where(denied=frozenset({cid("pneumothorax")}))
    assert names(retriever().retrieve(study(), unit(0.0), 9, Query(where=denied))) == ["none"]


def test_what_is_not_like_it_at_all_is_not_shown() -> None:
    lonely = retriever([entry("away", 2.0, "Pneumothorax.")])
    assert names(lonely.retrieve(study(), unit(0.0), 5)) == []
    assert names(lonely.find(5, asked("cardiomegaly"))) == []
    assert names(lonely.retrieve(study(), unit(0.0), 5, asked("pneumothorax"))) == ["away"]


def test_a_leg_without_a_question_is_not_asked() -> None:
    evidence = retriever().retrieve(study(), unit(0.0), 5, Query(legs=("image", "text")))
    assert evidence.legs == ("image",)
    assert retriever().find(5, Query(legs=("image",), words="effusion")).cases == ()
    for empty in (Query(words="no, not without"), Query(concepts=ConceptSet())):
        evidence = retriever().find(5, empty)
        assert (evidence.legs, evidence.cases) == ((), ())


@pytest.mark.parametrize(
    ("name", "slug", "side"),
    [
        ("pleural_effusion", "pleural_effusion", None),
        ("Left Pleural Effusion", "pleural_effusion", "left"),
        ("right pleural-effusion", "pleural_effusion", "right"),
        ("prelim:0101", "airspace_opacity", None),
        ("enlarged heart", "cardiomegaly", None),
    ],
)
def test_a_finding_is_asked_for_by_any_of_its_names(name: str, slug: str, side: str | None) -> None:
    said = finding_asked(name, EXTRACTOR)
    assert said.present == {cid(slug): 1.0}
    assert said.sides.get(cid(slug)) == side


def test_a_finding_is_asked_against_with_no() -> None:
    assert finding_asked("no pneumothorax", EXTRACTOR).absent == {cid("pneumothorax"): 1.0}
    one, other = finding_asked("no pneumothorax", EXTRACTOR), finding_asked("pneumothorax", EXTRACTOR)
    assert both(one, other) == one
    assert both(other, one) == other


@pytest.mark.parametrize(
    ("name", "near"), [("pneumotorax", "pneumothorax"), ("left lung", ""), ("", ""), ("zebra", "")]
)
def test_what_is_no_finding_is_refused_with_the_nearest_names(name: str, near: str) -> None:
    with pytest.raises(RequestError, match=f"no finding is called .*{near}"):
        finding_asked(name, EXTRACTOR)


def test_parts_of_the_body_have_names_and_sides() -> None:
    assert anatomy_asked("Left Lung", load()) == cid("left_lung")
    with pytest.raises(RequestError, match="such as pleura"):
        anatomy_asked("pleurra", load())
    with pytest.raises(RequestError):
        anatomy_asked("pneumonia", load())


def test_words_of_denial_are_not_searched_for() -> None:
    assert "pneumothorax" not in text_asked("effusion without pneumothorax", EXTRACTOR).words
    with pytest.raises(RequestError):
        text_asked("no, not without", EXTRACTOR)
    with pytest.raises(RequestError):
        text_asked("a" * 20_001, EXTRACTOR)
