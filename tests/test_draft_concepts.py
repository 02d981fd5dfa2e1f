"""The concepts of a draft: what is on the list and why, and how it is written. Every report is invented.

The golden files are written anew by `python tests/test_draft_concepts.py`.
"""

from pathlib import Path

import pytest

from prompts.concepts import BUDGET, FACTS, KNOWLEDGE, NO_CONCEPT, render_concepts, tokens
from retrieval.draft_concepts import SETTINGS, DraftConcept, DraftConcepts, DraftConceptSettings, draft_concepts
from retrieval.expert_scores import ExpertScore, ExpertScores
from retrieval.extraction.extractor import Extractor
from retrieval.mentions import Side
from retrieval.ontology.ontology import load
from retrieval.records import RetrievedCase
from tests.retrieved_cases import retrieved_case

GOLDEN = Path(__file__).parent / "golden" / "concepts"
EXTRACTOR = Extractor(load())


def cases(*reports: str) -> list[RetrievedCase]:
    return [retrieved_case(f"case-{i}", text, 0.5 - i / 100) for i, text in enumerate(reports)]


def expert(sides: dict[str, Side] | None = None, **probabilities: float) -> ExpertScores:
    scores = tuple(
        ExpertScore(
            concept=load()[slug].id, probability=p, absent_below=0.2, present_above=0.6, side=(sides or {}).get(slug)
        )
        for slug, p in probabilities.items()
    )
    return ExpertScores(expert="invented-1", scores=scores)


def listed(
    reports: tuple[str, ...] = (),
    scores: ExpertScores | None = None,
    indication: str = "",
    settings: DraftConceptSettings = SETTINGS,
) -> dict[str, DraftConcept]:
    found = draft_concepts(cases(*reports), scores, EXTRACTOR.read(indication), load(), settings)
    return {c.slug: c for c in found.concepts}


def test_an_expert_puts_on_the_list_what_it_has_not_settled_as_absent() -> None:
    found = listed(scores=expert(pleural_effusion=0.9, atelectasis=0.4, pneumothorax=0.1))
    assert {slug: c.standing for slug, c in found.items()} == {"pleural_effusion": "likely", "atelectasis": "possible"}
    assert found["pleural_effusion"].probability == 0.9
    assert found["pleural_effusion"].expert == "invented-1"


def test_similar_cases_put_on_the_list_what_two_of_them_state() -> None:
    found = listed(("Tortuous aorta. Mild kyphosis.", "Tortuous aorta.", "No hiatal hernia.", "No hiatal hernia."))
    assert set(found) == {"tortuous_aorta"}
    assert found["tortuous_aorta"].standing == "possible"
    assert found["tortuous_aorta"].cases == ("case-0", "case-1")
    assert found["tortuous_aorta"].of == 4


def test_a_narrower_finding_is_a_vote_for_the_broader_one() -> None:
    found = listed(("Linear atelectasis.", "Atelectasis.", "Dependent atelectasis."))
    assert set(found) == {"atelectasis"}
    assert len(found["atelectasis"].cases) == 3
    assert set(listed(("Linear atelectasis.", "Linear atelectasis."))) == {"linear_atelectasis"}


def test_hardware_of_similar_cases_and_what_they_leave_open_is_not_listed() -> None:
    assert listed(("Right jugular catheter. Possible pneumonia.",) * 3) == {}


def test_the_indication_puts_on_the_list_what_it_names() -> None:
    found = listed(indication="Left pneumothorax?", scores=expert(pneumothorax=0.02))
    assert found["pneumothorax"].standing == "unlikely"
    assert found["pneumothorax"].side == "left"
    found = listed(indication="Pneumonia.", scores=expert(pleural_effusion=0.9))
    assert found["pneumonia"].indication
    assert found["pneumonia"].standing == "asked"


def test_what_experts_and_cases_say_differently_is_disputed() -> None:
    effusions = ("Small pleural effusion.",) * 3
    assert listed(effusions, expert(pleural_effusion=0.05))["pleural_effusion"].standing == "disputed"
    assert listed(("Lungs are clear.",) * 3, expert(pleural_effusion=0.9))["pleural_effusion"].standing == "disputed"
    assert listed(effusions, expert(pleural_effusion=0.9))["pleural_effusion"].standing == "likely"


def test_nothing_is_taken_from_cases_that_the_experts_have_settled() -> None:
    assert listed(("Loculated pleural effusion.",) * 3, expert(pleural_effusion=0.05)).keys() == {"pleural_effusion"}
    assert set(listed(("Loculated pleural effusion.",) * 3, expert(pleural_effusion=0.9))) == {
        "pleural_effusion",
        "loculated_effusion",
    }


def test_no_side_comes_from_a_similarretrieved_case() -> None:
    reports = ("Small left pleural effusion.",) * 3
    assert listed(reports)["pleural_effusion"].side is None
    assert (
        listed(reports, expert({"pleural_effusion": "right"}, pleural_effusion=0.8))["pleural_effusion"].side == "right"
    )


@pytest.mark.parametrize(
    ("slug", "site"),
    [
        ("pleural_effusion", "pleural_space"),
        ("tuberculosis", "lung"),
        ("cardiomegaly", "heart"),
        ("hiatal_hernia", None),
    ],
)
def test_the_site_is_where_it_must_be_and_not_where_it_usually_is(slug: str, site: str | None) -> None:
    found = listed(scores=expert(**{slug: 0.9}))[slug]
    assert found.site == (load()[site].id if site else None)


def test_the_urgent_comes_before_the_equally_likely_and_the_list_is_cut() -> None:
    scores = expert(tortuous_aorta=0.7, pneumothorax=0.7, atelectasis=0.7, pleural_effusion=0.75)
    assert list(listed(scores=scores)) == ["pneumothorax", "pleural_effusion", "atelectasis", "tortuous_aorta"]
    assert list(listed(scores=scores, settings=DraftConceptSettings(limit=2))) == ["pneumothorax", "pleural_effusion"]


def test_knowledge_is_given_of_what_may_be_there_only() -> None:
    found = draft_concepts([], expert(pleural_effusion=0.9, pneumothorax=0.1), EXTRACTOR.read("Pneumothorax."), load())
    assert {c.slug: c.standing for c in found.concepts} == {"pleural_effusion": "likely", "pneumothorax": "unlikely"}
    assert {load()[t.subject].slug for t in found.knowledge} == {"pleural_effusion"}
    assert {t.relation for t in found.knowledge} >= {"looks_like", "not_to_confuse"}


def test_of_two_listed_concepts_that_exclude_each_other_both_say_so() -> None:
    found = draft_concepts([], expert(hyperinflation=0.5, low_lung_volumes=0.5), (), load())
    excludes = {(load()[t.subject].slug, t.text) for t in found.knowledge if t.relation == "excludes"}
    assert excludes == {("hyperinflation", "low_lung_volumes"), ("low_lung_volumes", "hyperinflation")}


MANY = expert(
    {"pleural_effusion": "left", "atelectasis": "bilateral"},
    pleural_effusion=0.86, pneumothorax=0.31, cardiomegaly=0.72, atelectasis=0.66, consolidation=0.35, pneumonia=0.28,
    pulmonary_edema=0.44, lung_nodule=0.25, fracture=0.22, hiatal_hernia=0.21, pleural_thickening=0.5, emphysema=0.4,
    lung_mass=0.3, scoliosis=0.6,
)  # fmt: skip
DRAWN = {
    "nothing": (DraftConcepts(), False),
    "experts": (draft_concepts([], expert({"pleural_effusion": "left"}, pleural_effusion=0.86), (), load()), True),
    "cases": (
        draft_concepts(cases(*("Tortuous aorta. Low lung volumes.",) * 3, "Lungs are clear."), None, (), load()),
        False,
    ),
    "disputed": (
        draft_concepts(
            cases(*("Mild cardiomegaly.",) * 4),
            expert(cardiomegaly=0.08, pneumothorax=0.03, pleural_effusion=0.7),
            EXTRACTOR.read("Left pneumothorax."),
            load(),
        ),
        False,
    ),
    "many": (draft_concepts(cases(*("Tortuous aorta.",) * 5), MANY, EXTRACTOR.read("Tuberculosis."), load()), False),
}  # fmt: skip


@pytest.mark.parametrize("name", DRAWN)
def test_the_block_is_written_as_in_its_golden_file(name: str) -> None:
    found, has_prior = DRAWN[name]
    assert render_concepts(found, load(), has_prior=has_prior) == (GOLDEN / f"{name}.txt").read_text()


@pytest.mark.parametrize("name", DRAWN)
def test_no_block_is_longer_than_its_budget(name: str) -> None:
    found, has_prior = DRAWN[name]
    text = render_concepts(found, load(), has_prior=has_prior)
    assert tokens(text) <= BUDGET
    assert len(found.concepts) <= 12
    assert all(f"\nC{i} {c.slug} | " in text for i, c in enumerate(found.concepts, 1))


def test_every_golden_file_is_asked_for() -> None:
    assert {p.stem for p in GOLDEN.glob("*.txt")} == set(DRAWN)


def test_what_does_not_fit_is_knowledge_and_never_a_fact() -> None:
    found, _ = DRAWN["experts"]
    short = render_concepts(found, load(), has_prior=False, budget=1)
    assert "C1 pleural_effusion | likely | .86 | left pleural space" in short
    assert KNOWLEDGE not in short
    assert NO_CONCEPT in render_concepts(DraftConcepts(), load(), has_prior=False)
    assert short.startswith(FACTS)


def test_no_words_and_no_id_of_a_similar_case_are_written() -> None:
    found = draft_concepts(cases(*("Peculiar tortuous aorta of Okonkwo.",) * 3), None, (), load())
    text = render_concepts(found, load(), has_prior=False)
    assert "tortuous_aorta | possible | 3 of 3 cases" in text
    assert "Okonkwo" not in text
    assert "case-" not in text


def test_tokens_are_counted_generously() -> None:
    # A byte-pair vocabulary takes 5 to 8 for each of these.
    assert tokens("pleural_effusion") >= 5
    assert tokens("Blunted costophrenic angle with a meniscus") >= 8


if __name__ == "__main__":
    for name, (found, has_prior) in DRAWN.items():
        (GOLDEN / f"{name}.txt").write_text(render_concepts(found, load(), has_prior=has_prior))
