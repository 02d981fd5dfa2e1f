"""False cases beside an image: where they land, and what is counted. Every report is invented."""

import numpy as np
import pytest

from evaluation.poisoning import COSINE, FALSE, Asked, Poisoning, Unchanged, measure_poisoning
from generation.statements import prepare_statements, summarise
from retrieval.extraction.extractor import Extractor
from retrieval.ontology.ontology import load
from retrieval.records import Case, CaseId, CaseImage, ImageDigest, PatientKey, RetrievedCase, StudyUid
from retrieval.sections import compose_report

EXTRACTOR = Extractor(load())
WORDS = ["Lungs are clear.", *(f"There is {load()[slug].name}." for slug in FALSE)]


def case(case_id: str, findings: str) -> Case:
    report = compose_report(findings=findings, impression="")
    return Case(
        case_id=CaseId(case_id),
        patient_key=PatientKey(case_id),
        study_instance_uid=StudyUid(case_id),
        images=(CaseImage(digest=ImageDigest("0" * 64), view="PA"),),
        report=report,
        source="invented",
        licence="none",
        content="0" * 64,
        concepts=EXTRACTOR.read_report(report),
    )


@pytest.fixture(scope="module")
def measured() -> Poisoning:
    """Eight studies far apart, each with 30 cases of tortuous aorta."""
    texts = ["Lungs are clear."] * 60 + [text for text in WORDS for _ in range(4)] + ["Tortuous aorta."] * 4
    statements = prepare_statements(summarise(case(f"index-{i:03}", text) for i, text in enumerate(texts)))
    similar = [case(f"case-{i:02}", "Tortuous aorta. Lungs are clear.") for i in range(30)]
    cases = [RetrievedCase(case=c, rank=i + 1, similarity=0.3 - i / 300) for i, c in enumerate(similar)]
    vectors = np.eye(8, 64, dtype=np.float32)
    return measure_poisoning([Asked(cases, vector) for vector in vectors], statements, 2_000, EXTRACTOR)


def test_a_case_beside_another_image_changes_nothing(measured: Poisoning) -> None:
    assert measured.placed.asked == 20 * 8
    assert measured.placed.met == 20
    assert measured.placed.unchanged >= 20 * 7


def test_one_false_case_among_thirty_that_agree_is_outvoted_and_five_are_not(measured: Poisoning) -> None:
    assert measured.aimed[1] == Unchanged(asked=8, met=8, unchanged=8)
    assert measured.aimed[5].gained == 8
    assert measured.aimed[5].share == 0


def test_measurements_of_folds_add_up(measured: Poisoning) -> None:
    both = Poisoning() + measured + measured
    assert both.placed.asked == 2 * measured.placed.asked
    assert {n: u.asked for n, u in both.aimed.items()} == {1: 16, 2: 16, 5: 16}


def test_a_false_case_is_nearer_than_any_real_one_is() -> None:
    assert 0.9 < COSINE < 1
