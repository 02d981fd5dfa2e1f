"""Similar cases: whose, of which view, in which order."""

import numpy as np
import pytest

from retrieval.encoders.encoder import Vectors
from retrieval.records import (
    Case,
    CaseId,
    CaseImage,
    EncoderIdentity,
    ImageAttributes,
    ImageDigest,
    PatientKey,
    Study,
    StudyImage,
    StudyUid,
    ViewPosition,
)
from retrieval.retriever import Retriever
from retrieval.sections import compose_report
from retrieval.stores.memory import MemoryStore
from retrieval.stores.store import Entry

ENCODER = EncoderIdentity("test")


def unit(*angles: float) -> Vectors:
    return np.array([[np.cos(a), np.sin(a)] for a in angles], np.float32)


def entry(name: str, *images: tuple[ViewPosition, float], patient: str = "") -> Entry:
    case = Case(
        case_id=CaseId(name),
        patient_key=PatientKey(patient or f"patient of {name}"),
        study_instance_uid=StudyUid(f"study of {name}"),
        images=tuple(CaseImage(digest=ImageDigest(f"{name}{n}"), view=view) for n, (view, _) in enumerate(images)),
        report=compose_report(findings="The lungs are clear."),
        source="tests",
        licence="CC0-1.0",
        content=name,
    )
    return Entry(case, unit(*(angle for _, angle in images)))


def study(*views: ViewPosition, patient: str | None = None, uid: str | None = None, digest: str = "query") -> Study:
    images = tuple(
        StudyImage(
            path=f"{n}.png",
            digest=ImageDigest(f"{digest}{n}"),
            attributes=ImageAttributes(media="png", rows=1, columns=1, view=view),
        )
        for n, view in enumerate(views)
    )
    return Study(
        images=images,
        patient_key=None if patient is None else PatientKey(patient),
        study_instance_uid=None if uid is None else StudyUid(uid),
    )


def retriever(*entries: Entry) -> Retriever:
    store = MemoryStore(ENCODER, 2)
    store.stage(entries)
    store.publish()
    return Retriever(store, ENCODER)


def names(found: Retriever, asked: Study, vectors: Vectors, limit: int = 10) -> list[str]:
    return [c.case.case_id for c in found.retrieve(asked, vectors, limit).cases]


def test_the_nearest_case_comes_first_and_the_limit_holds() -> None:
    found = retriever(entry("far", ("PA", 1.0)), entry("near", ("PA", 0.1)), entry("mid", ("AP", 0.5)))
    assert names(found, study("PA"), unit(0), 2) == ["near", "mid"]
    evidence = found.retrieve(study("PA"), unit(0), 2)
    assert [c.rank for c in evidence.cases] == [1, 2]
    assert evidence.cases[0].similarity == pytest.approx(np.cos(0.1))
    assert evidence.encoder == ENCODER
    assert evidence.index_snapshot is not None


def test_a_case_from_the_same_patient_is_not_retrieved() -> None:
    found = retriever(entry("own", ("PA", 0), patient="me"), entry("other", ("PA", 1.0)))
    assert names(found, study("PA", patient="me"), unit(0)) == ["other"]


def test_the_same_study_is_not_retrieved() -> None:
    found = retriever(entry("own", ("PA", 0)), entry("other", ("PA", 1.0)))
    assert names(found, study("PA", uid="study of own"), unit(0)) == ["other"]


def test_the_owner_of_the_same_image_file_is_not_retrieved_whatever_the_study_is_called() -> None:
    found = retriever(
        entry("own", ("PA", 0), patient="me"), entry("earlier", ("PA", 0.1), patient="me"), entry("other", ("PA", 1.0))
    )
    assert names(found, study("PA", digest="own"), unit(0)) == ["other"]


def test_a_frontal_image_is_never_compared_with_a_lateral() -> None:
    found = retriever(entry("lateral", ("LL", 0)), entry("frontal", ("PA", 1.0)))
    assert names(found, study("AP"), unit(0)) == ["frontal"]
    assert names(found, study("LATERAL"), unit(0)) == ["lateral"]


def test_frontal_images_decide_when_there_are_any() -> None:
    found = retriever(entry("a", ("PA", 0.2), ("LL", 0.9)), entry("b", ("PA", 0.9), ("LL", 0)))
    assert names(found, study("LL", "PA"), unit(0, 0)) == ["a", "b"]


def test_a_case_with_several_images_counts_once_with_its_best() -> None:
    found = retriever(entry("two", ("PA", 0.8), ("AP", 0.1)), entry("one", ("PA", 0.3)))
    assert names(found, study("PA"), unit(0)) == ["two", "one"]


def test_an_index_of_only_the_patients_own_cases_gives_nothing() -> None:
    found = retriever(entry("own", ("PA", 0), patient="me"))
    assert names(found, study("PA", patient="me"), unit(0)) == []
