"""Concept similarity as Nützel, Dombrowski and Kainz describe it (arXiv 2508.19915), beside ours for comparison.

Re-implemented from the description, on our ontology; nothing is copied. The query's and the case's present concepts are
compared by symmetric Tversky (alpha .5, beta 1, which is weighted Dice), then, only to break ties, the denied ones.
Uncertain counts as present. A case is a candidate when some present concept of it can be reached from the query within
ten steps of the hierarchy, taken in both directions.

What differs because our ontology is not the Metathesaurus:
* Synonyms are one concept here, so the query is never widened by them and no extra of the case is excused.
* The hierarchy has only is_a; theirs adds related, similar and qualified-by edges, so more is reachable there.
* Semantic types become kinds: diagnosis 3 (disease), critical or significant finding 2 (pathologic function), other
  finding 1, everything else 0, as anatomy, devices and normal statements have there.
* When both sets are empty they draw a case at random; here the first by case id, so that an answer can be repeated.
* "No new X" is left out, as in the whole of this project; their parser denies X.
"""

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from retrieval.mentions import ConceptId, ReadConcepts
from retrieval.ontology.concept import Concept
from retrieval.ontology.ontology import Ontology
from retrieval.records import CaseId

ALPHA: Final = 0.5
"""Balance between the smaller and the larger of the two differences."""
BETA: Final = 1.0
"""Weight of the differences."""
HOPS: Final = 10
"""How far from the query a candidate may be."""


class PublishedSets(NamedTuple):
    """Plain sets: no degrees, no sides, and a concept may be in both."""

    present: frozenset[ConceptId]
    """Stated or left open by some mention."""
    absent: frozenset[ConceptId]
    """Denied by some mention."""


class PublishedSimilarity(NamedTuple):
    """Compared as a pair: the second only breaks ties of the first."""

    present: float
    """Of what is stated."""
    absent: float
    """Of what is denied."""


def published_sets(read: ReadConcepts, ontology: Ontology) -> PublishedSets:
    """The two sets of one report, mention by mention."""
    said = [m for m in read.mentions if m.change != ontology["no_new"].id]
    return PublishedSets(
        frozenset(m.concept for m in said if m.certainty != "absent"),
        frozenset(m.concept for m in said if m.certainty == "absent"),
    )


def type_weight(concept: Concept) -> int:
    """3, 2, 1 or 0 by kind."""
    if concept.kind == "diagnosis":
        return 3
    if concept.kind == "finding":
        return 2 if concept.acuity in ("critical", "significant") else 1
    return 0


def published_similarity(query: PublishedSets, case: PublishedSets, ontology: Ontology) -> PublishedSimilarity:
    """Of one pair; what the query both states and denies counts against every case alike."""
    contradiction = _weight(query.present & query.absent, ontology)
    return PublishedSimilarity(
        _tversky(query.present, case.present, contradiction, ontology),
        _tversky(query.absent, case.absent, 0, ontology),
    )


def rank_published(
    query: PublishedSets, cases: Mapping[CaseId, PublishedSets], ontology: Ontology
) -> list[tuple[CaseId, PublishedSimilarity]]:
    """The candidates, most similar first, equal ones by case id.

    A query that states nothing finds the cases that state nothing, ranked by what they deny.
    """
    near = reachable(query.present, ontology)
    found = [
        (case_id, published_similarity(query, sets, ontology))
        for case_id, sets in cases.items()
        if (near & sets.present if query.present else not sets.present)
    ]
    return sorted(found, key=lambda f: (-f[1].present, -f[1].absent, f[0]))


def reachable(concepts: Iterable[ConceptId], ontology: Ontology) -> frozenset[ConceptId]:
    """The concepts and all that is within ten steps up or down."""
    found = set(concepts)
    level = found
    for _ in range(HOPS):
        up = {b for c in level for b in ontology.ids(ontology[c].is_a)}
        down = {n for c in level for n, depth in ontology.descendants(c).items() if depth == 1}
        level = (up | down) - found
        found |= level
    return frozenset(found)


def _tversky(one: frozenset[ConceptId], other: frozenset[ConceptId], contradiction: int, ontology: Ontology) -> float:
    shared, extra, missing = (_weight(s, ontology) for s in (one & other, other - one, one - other))
    differing = BETA * (ALPHA * min(extra, missing) + (1 - ALPHA) * max(extra, missing))
    return shared / ((shared + differing + contradiction) or 1)


def _weight(concepts: Iterable[ConceptId], ontology: Ontology) -> int:
    return sum(type_weight(ontology[c]) for c in concepts)
