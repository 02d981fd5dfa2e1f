"""Concept sets and their similarity: what a report leaves in a set, and what more or less agreement does."""

import math
from itertools import pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import ValidationError

from retrieval.expert_scores import ExpertScore, ExpertScores
from retrieval.extraction.extractor import Extractor
from retrieval.ontology.ontology import load
from retrieval.ranking.concept_sets import (
    ConceptSet,
    Expansion,
    concepts_in,
    concepts_of_experts,
    concepts_of_neighbours,
    concepts_of_report,
    restrict,
)
from retrieval.ranking.concept_similarity import SHARES, ConceptSimilarity, Form, Frequencies, Weights, frequencies
from retrieval.ranking.published_similarity import (
    PublishedSets,
    published_sets,
    published_similarity,
    rank_published,
    reachable,
)
from retrieval.records import CaseId
from retrieval.sections import compose_report
from tests.concept_sets_drawing import IDS, ONTOLOGY, cid, concept_sets

RARE = ConceptSimilarity(ONTOLOGY, Weights(ONTOLOGY, Frequencies(999, {}, {})))
"""Every concept equally rare, so that only kinds differ."""
FORMS = st.sampled_from(["symmetric", "asymmetric"])


def of(*present: str, absent: tuple[str, ...] = (), sides: dict[str, str] | None = None) -> ConceptSet:
    return ConceptSet.model_validate(
        {
            "present": {cid(slug): 1 for slug in present},
            "absent": {cid(slug): 1 for slug in absent},
            "sides": {cid(slug): side for slug, side in (sides or {}).items()},
        }
    )


def read(findings: str) -> ConceptSet:
    return concepts_of_report(Extractor(load()).read_report(compose_report(findings=findings)), ONTOLOGY)


# What a study says


def test_a_report_leaves_what_it_says_as_a_whole() -> None:
    said = read("Small left pleural effusion. No right pleural effusion. Possible pneumonia. No pneumothorax.")
    assert said.present == {cid("pleural_effusion"): 1, cid("pneumonia"): 0.5}
    assert said.absent == {cid("pneumothorax"): 1}
    assert said.sides == {cid("pleural_effusion"): "left"}


def test_no_new_finding_leaves_nothing() -> None:
    assert cid("consolidation") not in {**(said := read("No new consolidation.")).present, **said.absent}


def test_sides_of_several_mentions_add_up() -> None:
    said = read("Left pleural effusion. There is also a right pleural effusion.")
    assert said.sides[cid("pleural_effusion")] == "bilateral"


@pytest.mark.parametrize("degree", [0, -0.5, 1.5, 0.3, math.nan])
def test_a_degree_that_is_no_sixteenth_is_refused(degree: float) -> None:
    with pytest.raises(ValidationError):
        ConceptSet(present={cid("pneumonia"): degree})


def test_a_concept_cannot_be_both_present_and_absent() -> None:
    with pytest.raises(ValidationError):
        of("pneumonia", absent=("pneumonia",))


def test_experts_state_what_they_settled_and_leave_the_rest_open() -> None:
    def score(slug: str, probability: float) -> ExpertScore:
        return ExpertScore(concept=cid(slug), probability=probability, absent_below=0.2, present_above=0.7, side="left")

    said = concepts_of_experts(
        ExpertScores(expert="e", scores=(score("pneumonia", 0.4), score("fracture", 0.1), score("atelectasis", 0.9)))
    )
    assert said.present == {cid("pneumonia"): 0.5, cid("atelectasis"): 1}
    assert said.absent == {cid("fracture"): 1}
    assert cid("fracture") not in said.sides


def test_neighbours_vote_by_similarity_above_the_base_rate() -> None:
    sick, well = of("cardiomegaly", sides={"cardiomegaly": "left"}), of("normal_heart_size")
    rates = {cid("cardiomegaly"): 0.1, cid("normal_heart_size"): 0.6}
    voted = concepts_of_neighbours([(sick, 0.5), (sick, 0.3), (well, 0.2)], rates, ONTOLOGY)
    # (.8 - .1) / .9 is enough, and what is enough counts in full.
    assert voted.present[cid("cardiomegaly")] == 1
    rates[cid("cardiomegaly")] = 0.79
    assert (
        cid("cardiomegaly")
        not in concepts_of_neighbours([(sick, 0.5), (sick, 0.3), (well, 0.2)], rates, ONTOLOGY).present
    )
    assert cid("normal_heart_size") not in voted.present
    assert not voted.sides


def test_what_a_single_neighbour_shows_does_not_count() -> None:
    assert not concepts_of_neighbours([(of("fracture"), 0.9), (of("cardiomegaly"), 0.1)], {}, ONTOLOGY).present


@given(
    st.lists(st.tuples(concept_sets(), st.floats(-1, 1)), max_size=6),
    st.dictionaries(st.sampled_from(IDS), st.floats(0, 1)),
)
def test_a_vote_is_a_valid_set_whatever_the_neighbours(neighbours: list[tuple[ConceptSet, float]], rates: dict) -> None:
    assert not concepts_of_neighbours(neighbours, rates, ONTOLOGY).absent


# One part of the body


def test_a_restricted_set_keeps_what_lies_there() -> None:
    said = read("Small left pleural effusion. Cardiomegaly. Right lower lobe opacity. Old rib fracture.")
    assert set(restrict(said, ONTOLOGY, "heart").present) == {cid("cardiomegaly")}
    assert set(restrict(said, ONTOLOGY, "pleura").present) == {cid("pleural_effusion")}
    assert cid("lung_opacity") in restrict(said, ONTOLOGY, "lower_lobe").present
    assert cid("lung_opacity") not in restrict(said, ONTOLOGY, "upper_lobe").present
    assert restrict(said, ONTOLOGY, "thorax").present.keys() >= {cid("cardiomegaly"), cid("pleural_effusion")}


def test_a_sided_part_keeps_its_side_and_what_has_none() -> None:
    said = of("pneumothorax", "pleural_effusion", "consolidation", "atelectasis").model_copy(
        update={"sides": {cid("pleural_effusion"): "bilateral", cid("consolidation"): "right"}}
    )
    left = restrict(said, ONTOLOGY, "left_lung")
    assert cid("consolidation") not in left.present
    assert cid("atelectasis") in left.present
    assert restrict(said, ONTOLOGY, "left_pleural_space").sides == {cid("pleural_effusion"): "left"}


@given(concept_sets())
def test_restricting_twice_is_restricting_once(said: ConceptSet) -> None:
    once = restrict(said, ONTOLOGY, "lung")
    assert restrict(once, ONTOLOGY, "lung") == once


def test_the_concepts_of_a_part_are_those_that_may_lie_there() -> None:
    assert {cid("pleural_effusion"), cid("pneumothorax")} <= concepts_in(ONTOLOGY, "pleura")
    assert cid("cardiomegaly") not in concepts_in(ONTOLOGY, "pleura")
    # An opacity may lie in the lower lobe, though its site is the lung.
    assert cid("lung_opacity") in concepts_in(ONTOLOGY, "left_lower_lobe")


# What follows from what is said


def test_presence_goes_up_and_denial_goes_down() -> None:
    expansion = Expansion(ONTOLOGY)
    up = expansion.expand(of("pleural_effusion"))
    assert up.present[cid("pleural_abnormality")].degree == 0.5
    assert not up.absent
    down = expansion.expand(of(absent=("pleural_effusion",)))
    assert down.absent[cid("loculated_effusion")].degree == 0.5
    assert cid("pleural_abnormality") not in down.absent


def test_what_is_stated_outweighs_what_only_follows() -> None:
    both = Expansion(ONTOLOGY).expand(of("loculated_effusion", absent=("pleural_effusion",)))
    assert cid("loculated_effusion") in both.present
    assert cid("loculated_effusion") not in both.absent
    assert cid("pleural_effusion") in both.absent
    assert cid("pleural_effusion") not in both.present


@given(concept_sets())
def test_no_expanded_set_contradicts_itself(said: ConceptSet) -> None:
    expanded = Expansion(ONTOLOGY).expand(said)
    assert not expanded.present.keys() & expanded.absent.keys()


# Similarity


@given(concept_sets(), concept_sets())
def test_the_symmetric_form_is_symmetric(one: ConceptSet, other: ConceptSet) -> None:
    assert RARE.similarity(one, other) == RARE.similarity(other, one)


@given(concept_sets(), concept_sets(), FORMS)
def test_similarity_lies_between_0_and_1(one: ConceptSet, other: ConceptSet, form: Form) -> None:
    assert 0 <= RARE.similarity(one, other, form) <= 1


@given(concept_sets(), FORMS)
def test_a_set_is_wholly_similar_to_itself_unless_empty(said: ConceptSet, form: Form) -> None:
    assert RARE.similarity(said, said, form) == (1 if said.present or said.absent else 0)


@given(concept_sets(), concept_sets(), FORMS, st.randoms())
def test_the_order_of_concepts_changes_nothing(one: ConceptSet, other: ConceptSet, form: Form, random) -> None:
    def shuffled(said: ConceptSet) -> ConceptSet:
        maps = {name: list(getattr(said, name).items()) for name in ("present", "absent", "sides")}
        for items in maps.values():
            random.shuffle(items)
        return ConceptSet(**{name: dict(items) for name, items in maps.items()})

    assert RARE.similarity(shuffled(one), shuffled(other), form) == RARE.similarity(one, other, form)


@given(concept_sets(), concept_sets(), st.sampled_from(IDS), FORMS)
def test_a_contradiction_never_raises_the_similarity(
    query: ConceptSet, case: ConceptSet, concept: str, form: Form
) -> None:
    # The case denies what the query states; about that concept and its relatives it said nothing, and the query denies
    # none of them (otherwise the denial is an agreement as well).
    kin = set(ONTOLOGY.descendants(concept)) | set(ONTOLOGY.ancestors(concept))
    kin |= {n for a in kin for n in ONTOLOGY.descendants(a)}
    assume(not kin & {*case.present, *case.absent, *query.absent})
    query = ConceptSet(present={**query.present, concept: 1.0}, absent=query.absent, sides=query.sides)
    contradicting = case.model_copy(update={"absent": {**case.absent, concept: 1.0}})
    assert RARE.similarity(query, contradicting, form) <= RARE.similarity(query, case, form)


def test_a_contradiction_is_worse_than_silence_and_another_side_worse_than_the_same() -> None:
    query = of("pleural_effusion", "cardiomegaly", sides={"pleural_effusion": "left"})
    silent, denying = of("cardiomegaly"), of("cardiomegaly", absent=("pleural_effusion",))
    assert RARE.similarity(query, denying) < RARE.similarity(query, silent)
    same, other, open_ = (
        of("pleural_effusion", sides=sides)
        for sides in ({"pleural_effusion": "left"}, {"pleural_effusion": "right"}, None)
    )
    assert RARE.similarity(query, other) < RARE.similarity(query, same) == RARE.similarity(query, open_)
    assert RARE.similarity(same, other) == 0.5


def test_a_cousin_is_more_similar_than_a_stranger() -> None:
    assert RARE.similarity(of("consolidation"), of("airspace_opacity")) > RARE.similarity(
        of("consolidation"), of("cardiomegaly")
    ) == 0  # fmt: skip


def test_urgent_findings_weigh_more_and_normal_statements_least() -> None:
    query = of("tension_pneumothorax", "cardiomegaly", "clear_lungs")
    similar = [RARE.similarity(query, of(slug)) for slug in ("tension_pneumothorax", "cardiomegaly", "clear_lungs")]
    assert similar == sorted(similar, reverse=True)
    assert len(set(similar)) == 3


def test_a_rare_concept_weighs_more_and_denials_are_counted_apart() -> None:
    expanded = [Expansion(ONTOLOGY).expand(s) for s in [of(absent=("pneumothorax",))] * 9 + [of("cardiomegaly")]]
    weights = Weights(ONTOLOGY, frequencies(expanded))
    assert weights.present(cid("pneumothorax")) > weights.present(cid("cardiomegaly"))
    assert weights.absent(cid("pneumothorax")) < weights.absent(cid("cardiomegaly"))


def test_an_asymmetric_query_holds_little_against_what_it_never_asked() -> None:
    query, case = of("cardiomegaly"), of("cardiomegaly", "fracture", "pneumonia")
    assert RARE.similarity(query, case, "asymmetric") > RARE.similarity(query, case)
    assert RARE.similarity(case, query, "asymmetric") < RARE.similarity(query, case, "asymmetric")


@given(concept_sets(), concept_sets(), FORMS)
def test_the_explanation_adds_up_to_the_similarity(one: ConceptSet, other: ConceptSet, form: Form) -> None:
    told = RARE.compare(one, other, form)
    shared, contradicting, query_only, case_only = (
        sum(entry.weight for entry in found)
        for found in (told.shared, told.contradicting, told.query_only, told.case_only)
    )
    in_case, in_query = SHARES[form]
    whole = shared + in_case * case_only + in_query * query_only + contradicting
    assert told.similarity == pytest.approx(shared / whole if whole else 0, abs=1e-12)
    assert all(a.weight >= b.weight for found in (told.shared, told.case_only) for a, b in pairwise(found))


def test_an_explanation_names_what_is_shared_and_what_is_not() -> None:
    told = RARE.compare(
        of("pleural_effusion", "cardiomegaly", absent=("fracture",), sides={"pleural_effusion": "left"}),
        of("pleural_effusion", "pneumonia", absent=("cardiomegaly",), sides={"pleural_effusion": "right"}),
    )
    effusion = next(e for e in told.shared if e.concept == cid("pleural_effusion"))
    assert effusion.side_differs
    assert effusion.stated
    assert not next(e for e in told.shared if e.concept == cid("pleural_abnormality")).stated
    assert cid("cardiomegaly") in {e.concept for e in told.contradicting if e.certainty == "present"}
    assert cid("pneumonia") in {e.concept for e in told.case_only}
    assert (cid("fracture"), "absent") in {(e.concept, e.certainty) for e in told.query_only}


# The published form


def published(*present: str, absent: tuple[str, ...] = ()) -> PublishedSets:
    return PublishedSets(frozenset(map(cid, present)), frozenset(map(cid, absent)))


def test_the_published_form_is_weighted_dice_by_type() -> None:
    # pneumonia is a diagnosis (3), the others findings by acuity.
    similar = published_similarity(published("pneumonia"), published("pneumonia", "rib_fracture"), ONTOLOGY)
    weight = 2 if ONTOLOGY["rib_fracture"].acuity in ("critical", "significant") else 1
    assert similar == (3 / (3 + weight / 2), 0)


def test_in_the_published_form_denials_only_break_ties() -> None:
    query = published("pneumonia", absent=("pneumothorax",))
    cases = {
        CaseId("a"): published("pneumonia", "atelectasis", absent=("pneumothorax",)),
        CaseId("b"): published("pneumonia"),
        CaseId("c"): published("pneumonia", absent=("pneumothorax",)),
        CaseId("d"): published("picc"),
    }
    assert [case_id for case_id, _ in rank_published(query, cases, ONTOLOGY)] == ["c", "b", "a"]


def test_in_the_published_form_a_query_that_states_nothing_finds_cases_that_state_nothing() -> None:
    cases = {
        CaseId("a"): published("pneumonia", absent=("pneumothorax",)),
        CaseId("b"): published(),
        CaseId("c"): published(absent=("pneumothorax",)),
    }
    query = published(absent=("pneumothorax",))
    assert [case_id for case_id, _ in rank_published(query, cases, ONTOLOGY)] == ["c", "b"]


def test_reachable_goes_both_ways() -> None:
    assert {cid("loculated_effusion"), cid("pneumothorax")} <= reachable([cid("pleural_effusion")], ONTOLOGY)


def test_the_published_sets_take_every_mention_for_itself() -> None:
    said = Extractor(load()).read_report(
        compose_report(
            findings="Left pleural effusion. No right pleural effusion. Possible pneumonia. No new fracture."
        )
    )
    sets = published_sets(said, ONTOLOGY)
    assert sets.present == {cid("pleural_effusion"), cid("pneumonia")}
    assert sets.absent == {cid("pleural_effusion")}
