"""The published concept similarity asked with what similar images show: the same question as our concept leg's.

`retrieval.ranking.published_similarity` compares one pair at a time and judges this one; here whole numbers in matrices
give the same similarities, fast enough to ask thousands of times. The published sets have no degrees, so a vote needs a
threshold; how many cases vote and what share is enough are chosen for it on the tuning fold (`legs.py`).
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from retrieval.mentions import ConceptId
from retrieval.ontology.ontology import Ontology
from retrieval.ranking.published_similarity import ALPHA, BETA, PublishedSets, reachable, type_weight

Numbers = NDArray[np.float64]


class PublishedLeg:
    """Cases compared by the published similarity; immutable but for what it remembers."""

    def __init__(self, cases: Sequence[PublishedSets], ontology: Ontology) -> None:
        """Cases in the order in which equal ones shall rank."""
        self._ontology = ontology
        self._concepts = sorted({c for sets in cases for one in sets for c in one})
        self._columns = {c: column for column, c in enumerate(self._concepts)}
        self._weights = np.array([float(type_weight(ontology[c])) for c in self._concepts])
        self._present = np.stack([self._row(sets.present) for sets in cases])
        self._absent = np.stack([self._row(sets.absent) for sets in cases])
        self._near: dict[ConceptId, frozenset[ConceptId]] = {}

    def vote(self, nearest: NDArray[np.intp], similarities: NDArray[np.float32], least: float) -> PublishedSets:
        """What so large a share of cases has, by similarity and beyond chance as our own vote; in either set alike."""
        votes = np.maximum(similarities.astype(np.float64), 0)
        return PublishedSets(*(self._voted(rows, nearest, votes, least) for rows in (self._present, self._absent)))

    def top(self, query: PublishedSets, limit: int) -> NDArray[np.intp]:
        """The candidates by number, most similar first; fewer than `limit` when fewer can be reached."""
        if query.present:
            reached: set[ConceptId] = set()
            for concept in query.present:
                reached |= self._reachable(concept)
            candidates = np.flatnonzero(self._present @ self._row(frozenset(reached)))
        else:
            candidates = np.flatnonzero(~self._present.any(axis=1))
        contradiction = self._weight(query.present & query.absent)
        present = self._tversky(query.present, self._present[candidates], contradiction)
        absent = self._tversky(query.absent, self._absent[candidates], 0.0)
        return candidates[np.lexsort((candidates, -absent, -present))[:limit]]

    def _voted(self, rows: Numbers, nearest: NDArray[np.intp], votes: Numbers, least: float) -> frozenset[ConceptId]:
        share = votes @ rows[nearest] / (votes.sum() or 1)
        base = rows.mean(axis=0)
        # Multiplied out, because what every case has has no chance to be beaten.
        return frozenset(
            self._concepts[i] for i in np.flatnonzero((share - base > 0) & (share - base >= least * (1 - base)))
        )

    def _tversky(self, query: frozenset[ConceptId], cases: Numbers, contradiction: float) -> Numbers:
        shared: Numbers = cases @ (self._weights * self._row(query))
        extra, missing = cases @ self._weights - shared, self._weight(query) - shared
        differing = BETA * (ALPHA * np.minimum(extra, missing) + (1 - ALPHA) * np.maximum(extra, missing))
        whole = shared + differing + contradiction
        found: Numbers = shared / np.where(whole == 0, 1, whole)
        return found

    def _row(self, concepts: frozenset[ConceptId]) -> Numbers:
        row = np.zeros(len(self._concepts))
        row[[self._columns[c] for c in concepts if c in self._columns]] = 1
        return row

    def _weight(self, concepts: frozenset[ConceptId]) -> float:
        return float(sum(type_weight(self._ontology[c]) for c in concepts))

    def _reachable(self, concept: ConceptId) -> frozenset[ConceptId]:
        if concept not in self._near:
            self._near[concept] = reachable([concept], self._ontology)
        return self._near[concept]
