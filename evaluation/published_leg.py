"""The published concept similarity asked with what similar images show: the same question as our concept leg's.

`retrieval.ranking.published_similarity` compares one pair at a time and judges this one; here whole numbers in matrices
give the same similarities, fast enough to ask thousands of times. The published sets have no degrees, so a vote needs a
threshold; how many cases vote and what share is enough are chosen for it on the tuning fold (`legs.py`).
"""

from collections.abc import Sequence
from typing import NamedTuple

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
        self._columns = {c: i for i, c in enumerate(sorted({c for sets in cases for one in sets for c in one}))}
        self._present = self._rows([sets.present for sets in cases])
        self._absent = self._rows([sets.absent for sets in cases])
        self._near: dict[ConceptId, NDArray[np.bool_]] = {}

    def vote(self, nearest: NDArray[np.intp], similarities: NDArray[np.float32], least: float) -> PublishedSets:
        """What so large a share of cases has, by similarity and beyond chance as in our own vote; either set alike."""
        votes = np.maximum(similarities.astype(np.float64), 0)
        return PublishedSets(*(self._voted(rows, nearest, votes, least) for rows in (self._present, self._absent)))

    def top(self, query: PublishedSets, limit: int) -> NDArray[np.intp]:
        """The candidates by number, most similar first; fewer than `limit` when fewer can be reached."""
        if query.present:
            candidates = np.asarray(np.any([self._reachable(concept) for concept in query.present], axis=0))
        else:
            candidates = np.asarray(~self._present.said.any(axis=1))
        contradiction = self._weight(query.present & query.absent)
        present = self._tversky(query.present, self._present, contradiction)
        absent = self._tversky(query.absent, self._absent, 0.0)
        order = np.lexsort((-absent, -present))
        found: NDArray[np.intp] = order[candidates[order]][:limit]
        return found

    def _voted(self, rows: "_Rows", nearest: NDArray[np.intp], votes: Numbers, least: float) -> frozenset[ConceptId]:
        share = votes @ rows.said[nearest] / (votes.sum() or 1)
        # Multiplied out, because what every case has leaves nothing to beat chance by.
        enough = (share > rows.base) & (share - rows.base >= least * (1 - rows.base))
        return frozenset(c for c, column in self._columns.items() if enough[column])

    def _tversky(self, query: frozenset[ConceptId], cases: "_Rows", contradiction: float) -> Numbers:
        shared = np.zeros(len(cases.said))
        for concept in query:
            if concept in self._columns:
                shared += cases.said[:, self._columns[concept]] * type_weight(self._ontology[concept])
        extra, missing = cases.weights - shared, self._weight(query) - shared
        differing = BETA * (ALPHA * np.minimum(extra, missing) + (1 - ALPHA) * np.maximum(extra, missing))
        whole = shared + differing + contradiction
        found: Numbers = shared / np.where(whole == 0, 1, whole)
        return found

    def _rows(self, sets: Sequence[frozenset[ConceptId]]) -> "_Rows":
        # A concept's column lies together in memory: that is how it is read.
        said = np.zeros((len(sets), len(self._columns)), np.bool_, order="F")
        for i, concepts in enumerate(sets):
            said[i, [self._columns[c] for c in concepts]] = True
        return _Rows(said, said.mean(axis=0), np.array([self._weight(concepts) for concepts in sets]))

    def _weight(self, concepts: frozenset[ConceptId]) -> float:
        return float(sum(type_weight(self._ontology[c]) for c in concepts))

    def _reachable(self, concept: ConceptId) -> NDArray[np.bool_]:
        """Which cases state something that can be reached from the concept."""
        if concept not in self._near:
            columns = [self._columns[c] for c in reachable([concept], self._ontology) if c in self._columns]
            self._near[concept] = np.asarray(self._present.said[:, columns].any(axis=1))
        return self._near[concept]


class _Rows(NamedTuple):
    """One of the two sets of every case."""

    said: NDArray[np.bool_]
    """bool[cases, concepts]."""
    base: Numbers
    """Share of the cases that have each concept."""
    weights: Numbers
    """What all concepts of each case weigh."""
