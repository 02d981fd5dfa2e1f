"""How similar two concept sets are: weights, the slow and obvious similarity, and its explanation.

    shared                          I  = sum over concepts of weight x the smaller degree (half when the sides differ)
    only in the case, in the query  D  = what is left of each set: its own sum less I
    contradicted                    C  = the same over what one states and the other denies

    similarity = (I + .3 I') / (I + .3 I' + case_only (D_c + .3 D'_c) + query_only (D_q + .3 D'_q) + C)

where ' marks what is denied instead of stated. This is Tversky's ratio (1977) with a term for contradiction, on the
sets that `Expansion` makes. Symmetric, both shares are one half, which is Dice's; asymmetric, what only the case says
weighs little, because the query (expert scores, a vote of neighbours) never asked. `postings.py` is the same, fast.
"""

from collections.abc import Iterable, Mapping
from math import log
from typing import Final, Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from retrieval.comparison import ComparedConcept as ComparedConcept
from retrieval.comparison import ConceptComparison as ConceptComparison
from retrieval.comparison import Form as Form
from retrieval.mentions import Certainty, ConceptId, Side
from retrieval.ontology.concept import Concept
from retrieval.ontology.ontology import Ontology
from retrieval.ranking.concept_sets import ConceptSet, Expanded, Expansion, Said

SHARES: Final[dict[Form, tuple[float, float]]] = {"symmetric": (0.5, 0.5), "asymmetric": (0.2, 1.0)}
"""How much counts what only the case says, and what only the query says."""
DENIED: Final = 0.3
"""Agreeing on what is not there counts, but less: most reports deny the same five things."""
OTHER_SIDE: Final = 0.5
"""What remains of a shared concept when one set has it on the left and the other on the right."""
GRAIN: Final = 1024
"""Weights are multiples of one over this. With degrees in 64ths and sides in halves every product is a multiple of
2^-17, and no sum comes near 2^36, so float64 holds them exactly in whatever order they are added."""
_FLOOR: Final = 0.1
"""Added to the information of a concept, so that what every report says still counts for something."""
_All = dict[ConceptId, Said]
_Number = TypeVar("_Number", float, NDArray[np.float64])


def kind_weight(concept: Concept) -> float:
    """How much a kind of concept matters (ontology.md, 1.6): urgent findings most, words about normality least.

    A normal statement is present like any other, so that normal cases find each other, but with the least weight: which
    structures a report calls normal is the author's habit more than the patient's state. It denies nothing here either.
    """
    if concept.kind in ("finding", "diagnosis"):
        return 3.0 if concept.acuity == "critical" else 2.0
    if concept.kind in ("device", "postoperative"):
        return 1.5
    return 0.5 if concept.kind == "anatomy" else 0.25


class Frequencies(NamedTuple):
    """In how many cases of a snapshot a concept is said or implied."""

    cases: int
    """All cases, those that say nothing included."""
    present: Mapping[ConceptId, int]
    """Cases in which it is present to any degree."""
    absent: Mapping[ConceptId, int]
    """Cases in which it is absent to any degree."""


def frequencies(sets: Iterable[Expanded]) -> Frequencies:
    """Counted one by one."""
    present: dict[ConceptId, int] = {}
    absent: dict[ConceptId, int] = {}
    cases = 0
    for cases, expanded in enumerate(sets, 1):  # noqa: B007
        for said, counts in zip(expanded, (present, absent), strict=True):
            for c in said:
                counts[c] = counts.get(c, 0) + 1
    return Frequencies(cases, present, absent)


class Weights:
    """What a concept weighs: its kind times its information in a snapshot, ln((cases + 1) / (cases with it + 1)).

    To state a pneumothorax is rare and to deny one is what most reports do, so the two are counted apart. Nothing here
    is fitted: a snapshot's own frequencies are all it takes.
    """

    def __init__(self, ontology: Ontology, counted: Frequencies) -> None:
        self._ontology = ontology
        self._counted = counted
        self._present: dict[ConceptId, float] = {}
        self._absent: dict[ConceptId, float] = {}

    def present(self, concept: ConceptId) -> float:
        """What its presence weighs, in a contradiction too: that is about what is there."""
        return self._weight(concept, self._present, self._counted.present)

    def absent(self, concept: ConceptId) -> float:
        """What its denial weighs."""
        return self._weight(concept, self._absent, self._counted.absent)

    def _weight(self, concept: ConceptId, known: dict[ConceptId, float], counts: Mapping[ConceptId, int]) -> float:
        if concept not in known:
            information = log((self._counted.cases + 1) / (counts.get(concept, 0) + 1))
            weight = kind_weight(self._ontology[concept]) * (information + _FLOOR)
            known[concept] = round(weight * GRAIN) / GRAIN
        return known[concept]


class Terms(NamedTuple, Generic[_Number]):
    """The sums that the similarity is made of: numbers for one case, or arrays with one value a case."""

    shared_present: _Number
    """Present in both."""
    shared_absent: _Number
    """Denied in both."""
    contradicted: _Number
    """Present in one and denied in the other."""
    query_present: float
    """All that is present in the query."""
    query_absent: float
    """All that the query denies."""
    case_present: _Number
    """All that is present in the case."""
    case_absent: _Number
    """All that the case denies."""


def ratio(terms: Terms[_Number], form: Form) -> tuple[_Number, _Number]:
    """Numerator and denominator; the one place where anything is rounded, so that fast and slow round alike."""
    case_only, query_only = SHARES[form]
    shared = terms.shared_present + DENIED * terms.shared_absent
    only_case = (terms.case_present - terms.shared_present) + DENIED * (terms.case_absent - terms.shared_absent)
    only_query = (terms.query_present - terms.shared_present) + DENIED * (terms.query_absent - terms.shared_absent)
    # The two are added to each other first: then exchanging query and case changes no bit.
    return shared, shared + (case_only * only_case + query_only * only_query) + terms.contradicted


def side_share(one: Side | None, other: Side | None) -> float:
    """Half for left against right; a side that is not said, or both sides, differs from nothing."""
    return OTHER_SIDE if {one, other} == {"left", "right"} else 1.0


class ConceptSimilarity:
    """The similarity of two concept sets, on dictionaries: slow, obvious, and the judge of the fast one."""

    def __init__(self, ontology: Ontology, weights: Weights) -> None:
        self._expansion = Expansion(ontology)
        self._weights = weights

    def similarity(
        self, query: ConceptSet, case: ConceptSet, form: Form = "symmetric", within: frozenset[ConceptId] | None = None
    ) -> float:
        """Between 0 and 1; 0 when either says nothing. `within` leaves out, on both sides, every other concept."""
        q, c = (self._expansion.expand(s).only(within) for s in (query, case))
        shared, whole = ratio(self._terms(q, c), form)
        return float(shared / whole) if whole else 0.0

    def _terms(self, q: Expanded, c: Expanded) -> Terms[float]:
        present, absent = self._weights.present, self._weights.absent
        return Terms(
            shared_present=sum(present(x) * _common(q.present[x], c.present[x]) for x in q.present if x in c.present),
            shared_absent=sum(absent(x) * _common(q.absent[x], c.absent[x]) for x in q.absent if x in c.absent),
            contradicted=sum(present(x) * _common(q.present[x], c.absent[x]) for x in q.present if x in c.absent)
            + sum(present(x) * _common(q.absent[x], c.present[x]) for x in q.absent if x in c.present),
            query_present=sum(present(x) * said.degree for x, said in q.present.items()),
            query_absent=sum(absent(x) * said.degree for x, said in q.absent.items()),
            case_present=sum(present(x) * said.degree for x, said in c.present.items()),
            case_absent=sum(absent(x) * said.degree for x, said in c.absent.items()),
        )

    def compare(
        self, query: ConceptSet, case: ConceptSet, form: Form = "symmetric", within: frozenset[ConceptId] | None = None
    ) -> ConceptComparison:
        """The similarity with every concept's part in it."""
        q, c = (self._expansion.expand(s).only(within) for s in (query, case))
        shared: list[ComparedConcept] = []
        contradicting: list[ComparedConcept] = []
        query_only: list[ComparedConcept] = []
        case_only: list[ComparedConcept] = []
        both: tuple[tuple[Certainty, _All, _All, _All], ...] = (
            ("present", q.present, c.present, c.absent),
            ("absent", q.absent, c.absent, c.present),
        )
        for certainty, ours, theirs, opposite in both:
            for x in ours.keys() | theirs.keys():
                one, other = ours.get(x, _NOTHING), theirs.get(x, _NOTHING)
                weight = self._weights.present(x) if certainty == "present" else DENIED * self._weights.absent(x)
                common = _common(one, other)
                shared.append(_compared(x, certainty, one, other, weight * common))
                query_only.append(_compared(x, certainty, one, other, weight * (one.degree - common)))
                case_only.append(_compared(x, certainty, one, other, weight * (other.degree - common)))
            for x in ours.keys() & opposite.keys():
                one, other = ours[x], opposite[x]
                weight = self._weights.present(x) * _common(one, other)
                contradicting.append(_compared(x, certainty, one, other, weight))
        return ConceptComparison(
            similarity=self.similarity(query, case, form, within),
            form=form,
            shared=_weightiest(shared),
            contradicting=_weightiest(contradicting),
            query_only=_weightiest(query_only),
            case_only=_weightiest(case_only),
        )


_NOTHING: Final = Said(0.0, None, stated=False)


def _compared(concept: ConceptId, certainty: Certainty, one: Said, other: Said, weight: float) -> ComparedConcept:
    return ComparedConcept(
        concept=concept,
        certainty=certainty,
        in_query=one.degree,
        in_case=other.degree,
        weight=weight,
        stated=one.stated or other.stated,
        side_differs=side_share(one.side, other.side) < 1,
    )


def _weightiest(found: list[ComparedConcept]) -> tuple[ComparedConcept, ...]:
    return tuple(sorted((f for f in found if f.weight > 0), key=lambda f: (-f.weight, f.concept)))


def _common(one: Said, other: Said) -> float:
    return min(one.degree, other.degree) * side_share(one.side, other.side)
