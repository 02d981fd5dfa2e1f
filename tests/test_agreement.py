"""Which similar cases may speak beside the experts. Every report is invented."""

from collections.abc import Sequence

import pytest

from generation.reports import read_case
from retrieval.agreement import SETTINGS, AgreementSettings, Settled, agreeing, supplementary
from retrieval.draft_concepts import DraftConceptSettings, draft_concepts
from retrieval.expert_scores import ExpertScore, ExpertScores
from retrieval.extraction.extractor import Extractor
from retrieval.mentions import ConceptId
from retrieval.ontology.ontology import load
from retrieval.records import FoundBy, RetrievedCase
from tests.retrieved_cases import retrieved_case

EXTRACTOR = Extractor(load())
EFFUSION = "Small left pleural effusion."


def experts(**probabilities: float) -> ExpertScores:
    scores = tuple(
        ExpertScore(concept=load()[slug].id, probability=p, absent_below=0.2, present_above=0.6)
        for slug, p in probabilities.items()
    )
    return ExpertScores(expert="invented", scores=scores)


def kept(
    cases: Sequence[RetrievedCase], scores: ExpertScores | None, settings: AgreementSettings = SETTINGS
) -> list[str]:
    return [c.case.case_id for c in agreeing(cases, scores, load(), settings).kept]


def test_a_far_case_is_left_out_even_where_few_are_near() -> None:
    cases = [
        retrieved_case("near", EFFUSION, 0.4),
        retrieved_case("half", EFFUSION, 0.2),
        retrieved_case("far", EFFUSION, 0.19),
    ]
    assert kept(cases, None) == ["near", "half"]
    assert agreeing(cases, None, load()).left_out == {"far": "DISSIMILAR"}
    assert kept(cases, None, AgreementSettings(floor=0)) == ["near", "half", "far"]
    assert kept(cases, None, AgreementSettings(floor=1)) == ["near"]


def test_nearness_is_counted_from_an_arbitrary_case_upwards() -> None:
    cases = [
        retrieved_case("near", EFFUSION, 0.9),
        retrieved_case("usual", EFFUSION, 0.7),
        retrieved_case("half", EFFUSION, 0.8),
    ]
    assert kept(cases, None) == ["near", "usual", "half"]
    assert kept(cases, None, AgreementSettings(usual=0.7)) == ["near", "half"]
    assert kept([retrieved_case("all usual", EFFUSION, 0.7)], None, AgreementSettings(usual=0.7)) == []


def test_a_concept_that_this_ontology_lacks_is_passed_over() -> None:
    known = retrieved_case("known", EFFUSION, 0.4)
    read = known.case.concepts
    assert read
    mention = read.mentions[0].model_copy(update={"sites": (ConceptId("PRELIM:9998"),)})
    later = (mention, mention.model_copy(update={"concept": ConceptId("PRELIM:9999")}))
    concepts = read.model_copy(update={"mentions": later})
    foreign = known.model_copy(update={"case": known.case.model_copy(update={"concepts": concepts})})
    scores = experts(cardiomegaly=0.1)
    assert kept([foreign], scores) == ["known"]
    assert [m.concept for m in supplementary(foreign, Settled(load(), scores))] == [mention.concept]
    chosen = draft_concepts([foreign, foreign], scores, (), load(), DraftConceptSettings(min_cases=1))
    assert mention.concept in {c.concept for c in chosen.concepts}
    assert any(claim.concept == mention.concept for claim in read_case(foreign.case).claims)


def test_similarities_of_two_legs_are_not_compared() -> None:
    text = retrieved_case("text", EFFUSION, 12.5).model_copy(
        update={"found_by": (FoundBy(leg="text", rank=1, similarity=12.5),)}
    )
    assert kept([text, retrieved_case("image", EFFUSION, 0.4)], None) == ["text", "image"]


@pytest.mark.parametrize(
    ("report", "scores", "agreement"),
    [
        (EFFUSION, {"pleural_effusion": 0.9}, 1.0),
        ("Loculated pleural effusion.", {"pleural_effusion": 0.9}, 1.0),
        ("No pleural effusion.", {"pleural_effusion": 0.9}, 0.0),
        ("Lungs are clear.", {"pleural_effusion": 0.9}, 0.0),
        (EFFUSION, {"pleural_effusion": 0.1}, 0.0),
        ("Lungs are clear.", {"pleural_effusion": 0.1}, 1.0),
        (EFFUSION, {"pleural_effusion": 0.9, "cardiomegaly": 0.9}, 0.5),
        (EFFUSION, {"pleural_effusion": 0.4}, 1.0),
        (EFFUSION, {}, 1.0),
    ],
)
def test_agreement_is_the_share_of_settled_findings_that_both_have(
    report: str, scores: dict[str, float], agreement: float
) -> None:
    assert agreeing([retrieved_case("a", report, 0.5)], experts(**scores), load()).agreement == {"a": agreement}


def test_a_case_against_the_experts_is_left_out_and_nobody_takes_its_place() -> None:
    cases = [
        retrieved_case("a", "Cardiomegaly.", 0.5),
        retrieved_case("b", EFFUSION, 0.45),
        retrieved_case("c", EFFUSION, 0.1),
    ]
    found = agreeing(cases, experts(pleural_effusion=0.9, cardiomegaly=0.05), load())
    assert [c.case.case_id for c in found.kept] == ["b"]
    assert found.left_out == {"a": "DISAGREES", "c": "DISSIMILAR"}


def test_a_case_that_nothing_has_read_does_not_speak() -> None:
    assert agreeing([retrieved_case("a", EFFUSION, 0.5, read=False)], None, load()).left_out == {"a": "UNREAD"}


@pytest.mark.parametrize(
    ("scores", "slug", "band"),
    [
        ({"pleural_effusion": 0.9}, "pleural_effusion", "present"),
        ({"pleural_effusion": 0.9}, "pleural_abnormality", "present"),
        ({"pleural_effusion": 0.9}, "loculated_effusion", None),
        ({"pleural_effusion": 0.1}, "loculated_effusion", "absent"),
        ({"pleural_effusion": 0.1}, "pleural_abnormality", None),
        ({"pleural_effusion": 0.4}, "pleural_effusion", "uncertain"),
        ({"pleural_effusion": 0.9}, "cardiomegaly", None),
    ],
)
def test_what_is_settled_carries_up_when_present_and_down_when_absent(
    scores: dict[str, float], slug: str, band: str | None
) -> None:
    assert Settled(load(), experts(**scores)).band(load()[slug].id) == band


def test_only_what_the_experts_leave_open_is_taken_from_a_case() -> None:
    told = retrieved_case("a", "Small left pleural effusion. Mild cardiomegaly. Tortuous aorta.", 0.5)
    settled = Settled(load(), experts(pleural_effusion=0.9, cardiomegaly=0.4))
    assert [load()[m.concept].slug for m in supplementary(told, settled)] == ["cardiomegaly", "tortuous_aorta"]
