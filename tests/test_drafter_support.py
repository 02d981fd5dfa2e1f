"""What counts as a source that says the same: sides, certainty, experts' bands and earlier studies. All invented."""

import pytest

from generation.draft import Sentence
from generation.experts.calibration import NEVER
from generation.known import known_by_model
from generation.support import Sources
from prompts.facts import Facts
from prompts.priors import PRIORS
from retrieval.expert_scores import ExpertScore, ExpertScores
from retrieval.extraction.extractor import embedded
from retrieval.ontology.ontology import load
from retrieval.records import PriorReport, StudyUid
from tests.retrieved_cases import retrieved_case
from tests.test_drafter_checks import study


def facts(*cases: str, priors: tuple[str, ...] = (), experts: ExpertScores | None = None) -> Facts:
    reports = tuple(PriorReport(study_instance_uid=StudyUid(f"1.{n}"), text=text) for n, text in enumerate(priors))
    return Facts(
        study=study().model_copy(update={"priors": reports}),
        experts=experts,
        cases=tuple(retrieved_case(f"case-{n}", text, 0.9) for n, text in enumerate(cases)),
    )


def said(text: str, known: Facts) -> Sentence:
    return Sources(known, frozenset()).sentence(text, "findings")


def codes(sentence: Sentence) -> list[str]:
    return [flag.code for flag in sentence.flags]


def thinks(probability: float, *band: float) -> ExpertScores:
    low, high = band
    score = ExpertScore(
        concept=load()["pneumothorax"].id, probability=probability, absent_below=low, present_above=high
    )
    return ExpertScores(expert="an-expert", scores=(score,))


# Sides and certainty.


@pytest.mark.parametrize(
    ("source", "text", "supports"),
    [
        ("Small right pleural effusion and left basilar atelectasis.", "Small left pleural effusion.", False),
        ("Small right pleural effusion and left basilar atelectasis.", "Small right pleural effusion.", True),
        ("Small right pleural effusion and left basilar atelectasis.", "Left atelectasis.", True),
        ("Right pneumothorax, and the left lung is clear.", "Left pneumothorax.", False),
        ("Bilateral pleural effusions.", "Small left pleural effusion.", True),
        ("Left pleural effusion. Right pleural effusion.", "Bilateral pleural effusions.", True),
        ("Left pleural effusion.", "Bilateral pleural effusions.", False),
        ("There is a pleural effusion.", "Small left pleural effusion.", False),
        ("Left pleural effusion.", "There is a pleural effusion.", True),
        ("The lungs are clear.", "The right lung is clear.", True),
        ("The right lung is clear.", "The lungs are clear.", False),
        ("No pneumothorax.", "No left pneumothorax.", True),
        ("No left pneumothorax.", "No pneumothorax.", False),
        ("Mediastinal shift to the left.", "Mediastinal shift to the right.", False),
        ("Mediastinal shift to the right.", "Mediastinal shift to the right.", True),
        ("Possible right pneumothorax.", "Right pneumothorax.", False),
        ("Possible right pneumothorax.", "Right pneumothorax is possible.", True),
        ("Right pneumothorax.", "Right pneumothorax is possible.", True),
        ("Possible pneumothorax. Right pneumothorax.", "Right pneumothorax.", True),
    ],
)
def test_a_source_says_the_same_of_the_same_finding_on_its_side_and_as_surely(
    source: str, text: str, supports: bool
) -> None:
    by_case = said(text, facts(source))
    by_prior = said(text, facts(priors=(f"FINDINGS: {source}",)))
    assert (bool(by_case.support.case_ids), by_prior.support.prior) == (supports, supports)
    assert ("UNSUPPORTED" in codes(by_case)) == (by_case.abnormal and not supports)


@pytest.mark.parametrize(
    ("probability", "band", "supports"),
    [
        (0.01, NEVER, False),
        (0.7, NEVER, False),
        (0.01, (0.0, 0.8), False),
        (0.3, (0.2, 0.8), False),
        (0.4, (0.2, 0.8), True),
        (0.05, (0.02, 0.08), True),
        (0.6, (0.2, 1.0), True),
    ],
)
def test_a_band_that_never_settles_or_a_slight_probability_supports_no_hedge(
    probability: float, band: tuple[float, float], supports: bool
) -> None:
    sentence = said("Possible right pneumothorax.", facts(experts=thinks(probability, *band)))
    assert bool(sentence.support.experts) == supports


# Earlier studies.


@pytest.mark.parametrize(
    ("prior", "text", "rests", "flags"),
    [
        ("No pneumothorax.", "New large right pneumothorax.", False, ["UNSUPPORTED"]),
        ("No pleural effusion.", "Unchanged left pleural effusion.", False, ["CHANGE_NO_EVID", "UNSUPPORTED"]),
        ("No pleural effusion.", "The left pleural effusion has increased.", False, ["CHANGE_NO_EVID", "UNSUPPORTED"]),
        ("No pleural effusion.", "The left pleural effusion has resolved.", True, ["CHANGE_NO_EVID"]),
        ("Small left pleural effusion.", "The left pleural effusion has resolved.", False, []),
        ("Small left pleural effusion.", "Unchanged left pleural effusion.", True, ["THIN_SUPPORT"]),
        ("Small left pleural effusion.", "New left pleural effusion.", True, ["CHANGE_NO_EVID", "THIN_SUPPORT"]),
        ("Small left pleural effusion.", "New right pleural effusion.", False, ["UNSUPPORTED"]),
        ("Left lower lobe opacity.", "New left upper lobe opacity.", True, ["THIN_SUPPORT"]),
        ("Possible left pleural effusion.", "New left pleural effusion.", False, ["UNSUPPORTED"]),
        ("No right effusion. Small left effusion.", "Unchanged left effusion.", True, ["THIN_SUPPORT"]),
        ("No right effusion. Small left effusion.", "Unchanged right effusion.", False,
         ["CHANGE_NO_EVID", "UNSUPPORTED"]),
        ("Heart size is normal.", "Unchanged cardiomegaly.", False, ["CHANGE_NO_EVID", "UNSUPPORTED"]),
        ("No new pleural effusion.", "Unchanged left pleural effusion.", False, ["UNSUPPORTED"]),
    ],
)  # fmt: skip
def test_a_change_that_goes_against_the_earlier_study_is_flagged_and_a_denial_is_no_support(
    prior: str, text: str, rests: bool, flags: list[str]
) -> None:
    sentence = said(text, facts(priors=(f"FINDINGS: {prior}",)))
    assert sentence.support.prior == rests
    assert sorted(codes(sentence)) == flags
    assert {flag.severity for flag in sentence.flags} <= {"soft"}


def test_of_several_earlier_studies_the_most_recent_that_speaks_of_it_bears_the_change() -> None:
    effusion, none = "FINDINGS: Left pleural effusion.", "FINDINGS: No pleural effusion."
    silent = "FINDINGS: Clear lungs."
    for priors, text, flagged in (
        ((none, effusion), "New left pleural effusion.", False),
        ((effusion, none), "New left pleural effusion.", True),
        ((silent, effusion), "New left pleural effusion.", True),
        ((none, effusion), "Unchanged left pleural effusion.", True),
    ):
        assert ("CHANGE_NO_EVID" in codes(said(text, facts(priors=priors)))) == flagged


def test_only_what_the_prompt_shows_of_earlier_studies_is_a_source() -> None:
    effusion = "FINDINGS: Left pleural effusion."
    old = facts(priors=("FINDINGS: Clear lungs.",) * PRIORS + (effusion,))
    asked = facts(priors=("INDICATION: Left pleural effusion.\n\nFINDINGS: Clear lungs.",))
    only_asked = facts(priors=("INDICATION: Left pleural effusion.",))
    for known in (old, asked, only_asked):
        assert not said("Left pleural effusion.", known).support.prior
        assert load()["pleural_effusion"].id not in (known_by_model(known).compared or ())
    added = facts(priors=("FINDINGS: Clear lungs.\n\nADDENDUM: Left pleural effusion.",))
    assert said("Left pleural effusion.", added).support.prior
    assert {m.concept for m in embedded().read("Left pleural effusion.")} <= (known_by_model(added).compared or set())


def test_a_name_in_a_part_of_an_earlier_report_that_no_prompt_shows_may_be_a_name() -> None:
    signed = facts(priors=("FINDINGS: Clear lungs.\n\nSIGNED BY: Dora Halloway",))
    assert "NAME_LIKE" in codes(said("The heart of Halloway is enlarged.", signed))


@pytest.mark.parametrize("name", ["McAlloway", "H\u00e4lloway", "O'Halloway", "Halloway"])
def test_a_name_is_one_in_any_alphabet_and_with_capitals_inside(name: str) -> None:
    for text in (f"The effusion seen by {name} is small.", f"The effusion seen by Dr. {name} is small."):
        assert "NAME_LIKE" in codes(said(text, facts())), text
    assert "NAME_LIKE" not in codes(said("The PICC line ends in the SVC.", facts()))


def test_an_earlier_study_without_a_word_is_none() -> None:
    assert known_by_model(facts(priors=(" ",))).has_prior is False
