"""The concept similarity of one query to every case of a snapshot, from posting lists.

Every concept has two lists: the cases in which it is present and those in which it is absent, what is implied included.
A query walks the lists of its own concepts only; each case's sum over all its concepts is counted once, when the
snapshot is opened, so what is not shared follows by subtraction. Weights and degrees are such that every sum is exact
(`concept_similarity.GRAIN`), and the one rounding step is the slow similarity's own: the two agree in every bit.
"""

from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from retrieval.mentions import Certainty, ConceptId, Side
from retrieval.ontology.ontology import Ontology
from retrieval.ranking.concept_sets import DEPTH, GAMMA, STEPS, ConceptSet, Expanded, Expansion, Said
from retrieval.ranking.concept_similarity import (
    ConceptComparison,
    ConceptSimilarity,
    Form,
    Frequencies,
    Terms,
    Weights,
    ratio,
    side_share,
)
from retrieval.ranking.lists import Part, PostingLists, Similarities, best, merge
from retrieval.records import CaseId

_SIDES: Final[tuple[Side | None, ...]] = (None, "left", "right", "bilateral")
_DEGREES: Final = int(STEPS / GAMMA**DEPTH)
"""Steps of an implied degree."""
_DEGREE_OF: Final = (np.arange(256) // len(_SIDES) + 1) / _DEGREES
"""Degree of each byte."""
_KEPT_TOTALS: Final = 8
"""Anatomies whose sums are remembered; 16 bytes a case each."""


def key(concept: ConceptId, certainty: Certainty) -> str:
    """The name of a list."""
    return f"{concept}{'-' if certainty == 'absent' else '+'}"


def rows(sets: Iterable[ConceptSet], ontology: Ontology) -> Iterable[dict[str, int]]:
    """What `PostingLists.from_rows` takes: a byte holds the degree in 64ths, less one, and the side."""
    expansion = Expansion(ontology)
    for concepts in sets:
        expanded = expansion.expand(concepts)
        row = {key(c, "present"): _code(said) for c, said in expanded.present.items()}
        row.update({key(c, "absent"): _code(said) for c, said in expanded.absent.items()})
        yield row


def _code(said: Said) -> int:
    return (int(said.degree * _DEGREES) - 1) * len(_SIDES) + _SIDES.index(said.side)


class ConceptPostings:
    """Every case of a snapshot, ready to be compared with a query; immutable but for what it remembers."""

    def __init__(self, parts: Sequence[Part], ontology: Ontology) -> None:
        """Segments with what is gone from them; the weights follow from the cases that are left."""
        self.lists, self.case_ids = merge(parts)
        self._concepts = sorted({ConceptId(k[:-1]) for k in self.lists.keys})
        counted = Frequencies(
            self.lists.cases,
            {c: len(self.lists[key(c, "present")][0]) for c in self._concepts},
            {c: len(self.lists[key(c, "absent")][0]) for c in self._concepts},
        )
        self.weights = Weights(ontology, counted)
        self._expansion = Expansion(ontology)
        self._slow = ConceptSimilarity(ontology, self.weights)
        self._all = self._summed(None)
        self._totals: dict[frozenset[ConceptId], tuple[Similarities, Similarities]] = {}

    @classmethod
    def build(cls, cases: Iterable[tuple[CaseId, ConceptSet]], ontology: Ontology) -> "ConceptPostings":
        """From cases at hand, in any order."""
        case_ids: list[CaseId] = []

        def sets() -> Iterable[ConceptSet]:
            for case_id, concepts in cases:
                case_ids.append(case_id)
                yield concepts

        lists = PostingLists.from_rows(rows(sets(), ontology))
        return cls([Part(lists, case_ids)], ontology)

    def top(
        self,
        query: ConceptSet,
        limit: int,
        form: Form = "symmetric",
        keep: NDArray[np.bool_] | None = None,
        within: frozenset[ConceptId] | None = None,
    ) -> list[tuple[CaseId, float]]:
        """The most similar cases, equal ones by case id; a case that shares nothing is none of them.

        `keep` says of each of `case_ids` whether it may be found; `within` compares in those concepts alone
        (`concept_sets.concepts_in`).
        """
        similarities = self.similarities(query, form, within)
        return [(self.case_ids[i], float(similarities[i])) for i in best(similarities, limit, keep)]

    def similarities(
        self, query: ConceptSet, form: Form = "symmetric", within: frozenset[ConceptId] | None = None
    ) -> Similarities:
        """To every case, in the order of `case_ids`."""
        expanded = self._expansion.expand(query).only(within)
        shared, whole = ratio(self._terms(expanded, within), form)
        found: Similarities = np.divide(shared, whole, out=np.zeros(self.lists.cases), where=whole > 0)
        return found

    def compare(
        self, query: ConceptSet, case: ConceptSet, form: Form = "symmetric", within: frozenset[ConceptId] | None = None
    ) -> ConceptComparison:
        """Why a case of this snapshot is as similar as it is."""
        return self._slow.compare(query, case, form, within)

    def base_rates(self) -> dict[ConceptId, float]:
        """The mean degree to which each concept is present in the snapshot's cases."""
        sums = {c: float(_DEGREE_OF[self.lists[key(c, "present")][1]].sum()) for c in self._concepts}
        return {c: total / self.lists.cases for c, total in sums.items() if total}

    @property
    def nbytes(self) -> int:
        """Memory of the lists and of the sums; case ids are the store's as well and not counted."""
        return self.lists.nbytes + sum(one.nbytes for pair in (self._all, *self._totals.values()) for one in pair)

    def _terms(self, query: Expanded, within: frozenset[ConceptId] | None) -> Terms[Similarities]:
        shared_present, shared_absent, contradicted = (np.zeros(self.lists.cases) for _ in range(3))
        for c, said in query.present.items():
            self._add(shared_present, key(c, "present"), said, self.weights.present(c))
            self._add(contradicted, key(c, "absent"), said, self.weights.present(c))
        for c, said in query.absent.items():
            self._add(shared_absent, key(c, "absent"), said, self.weights.absent(c))
            self._add(contradicted, key(c, "present"), said, self.weights.present(c))
        case_present, case_absent = self._total(within)
        return Terms(
            shared_present=shared_present,
            shared_absent=shared_absent,
            contradicted=contradicted,
            query_present=sum(self.weights.present(c) * said.degree for c, said in query.present.items()),
            query_absent=sum(self.weights.absent(c) * said.degree for c, said in query.absent.items()),
            case_present=case_present,
            case_absent=case_absent,
        )

    def _total(self, within: frozenset[ConceptId] | None) -> tuple[Similarities, Similarities]:
        if within is None:
            return self._all
        known = self._totals
        if within not in known:
            # A new dictionary each time: another thread may be reading the old one.
            kept = known if len(known) < _KEPT_TOTALS else {}
            self._totals = known = {**kept, within: self._summed(within)}
        return known[within]

    def _add(self, sums: Similarities, of: str, said: Said, weight: float) -> None:
        """Add what each case of a list has in common with the query's concept."""
        ordinals, codes = self.lists[of]
        shares = np.array([side_share(said.side, side) for side in _SIDES])
        by_code = weight * np.minimum(_DEGREE_OF, said.degree) * np.tile(shares, 256 // len(_SIDES))
        # Three times as fast with the machine's own integers as with the four bytes they are kept in.
        np.add.at(sums, ordinals.astype(np.intp), by_code.take(codes))

    def _summed(self, within: frozenset[ConceptId] | None) -> tuple[Similarities, Similarities]:
        """Of each case the sum over what is present and what is absent."""
        present, absent = np.zeros(self.lists.cases), np.zeros(self.lists.cases)
        for c in self._concepts:
            if within is None or c in within:
                self._add(present, key(c, "present"), _WHOLE, self.weights.present(c))
                self._add(absent, key(c, "absent"), _WHOLE, self.weights.absent(c))
        return present, absent


_WHOLE: Final = Said(1.0, None, stated=True)
"""Has everything in common with any degree and side."""
