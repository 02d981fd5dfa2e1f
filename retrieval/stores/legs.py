"""The concept and text legs of one open snapshot: the lists of its segments as one, and who is kept.

Made when a search first asks, from the cases that are visible and read: what a word or concept weighs is counted over
them alone, however they are spread over segments. Costs nothing before; a search by images never comes here.
"""

import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from retrieval.comparison import ConceptComparison, ConceptSet, Form
from retrieval.mentions import Certainty, ConceptId
from retrieval.ontology.ontology import load
from retrieval.ranking.lists import Part
from retrieval.ranking.postings import ConceptPostings, key
from retrieval.ranking.text import TextPostings
from retrieval.records import CaseId
from retrieval.stores.case_postings import known
from retrieval.stores.segments import Ordinals, Segment
from retrieval.where import Match, Where

Mask = NDArray[np.bool_]
"""One answer for each case."""
WHOLE: Final = 252
"""Bytes from here on are of degree 1: the report itself says so, without leaving it open (`postings.rows`)."""


class Legs:
    """Concepts and words of a snapshot; immutable but for what it remembers, safe in threads."""

    def __init__(self, parts: Sequence[tuple[Segment, Ordinals]]) -> None:
        self._ontology = load()
        self._starts: list[int] = []
        self._sizes: list[int] = []
        concepts: list[Part] = []
        words: list[Part] = []
        living: list[tuple[CaseId, int]] = []
        for segment, gone in parts:
            case_ids = [case_id for case_id, _ in segment.contents()]
            start = sum(self._sizes)
            self._starts.append(start)
            self._sizes.append(len(case_ids))
            kept = segment.postings()
            if kept is None:
                continue
            hidden = ~kept.read
            hidden[gone] = True
            absent = frozenset(np.flatnonzero(hidden).tolist())
            concepts.append(Part(kept.concepts, case_ids, absent))
            words.append(Part(kept.words, case_ids, absent))
            living += [(case_ids[ordinal], start + ordinal) for ordinal in np.flatnonzero(~hidden).tolist()]
        self._concepts = ConceptPostings(concepts, self._ontology)
        self._words = TextPostings(words)
        # Where each case of the merged lists stands: they count cases in the order of their ids.
        self._places = np.array([place for _, place in sorted(living)], np.int64)
        self._lock = threading.Lock()

    @property
    def cases(self) -> int:
        """Visible cases that somebody has read."""
        return len(self._places)

    def similar(
        self, query: ConceptSet, limit: int, out: Sequence[Ordinals], form: Form, within: frozenset[ConceptId] | None
    ) -> list[Match]:
        """See `Store.similar_concepts`; `out` names the cases of each segment that are left out."""
        # Sums of an anatomy are remembered, and only a few: one at a time.
        with self._lock:
            found = self._concepts.top(known(query), limit, form, self._kept(out), within)
        return [Match(case_id=case_id, similarity=similarity) for case_id, similarity in found]

    def matching(self, words: str, limit: int, out: Sequence[Ordinals]) -> list[Match]:
        """See `Store.matching_text`."""
        found = self._words.top(words, limit, self._kept(out))
        return [Match(case_id=case_id, similarity=similarity) for case_id, similarity in found]

    def compare(
        self, query: ConceptSet, case: ConceptSet, form: Form, within: frozenset[ConceptId] | None
    ) -> ConceptComparison:
        """See `Store.compare`."""
        return self._concepts.compare(known(query), case, form, within)

    def base_rates(self) -> Mapping[ConceptId, float]:
        """See `Store.base_rates`."""
        return self._concepts.base_rates()

    def lacking(self, where: Where) -> list[Mask]:
        """Of each segment's cases whether their reports are none of those that the query keeps to."""
        kept = np.ones(self.cases, bool)
        for finding in where.findings:
            kept &= self._states(finding)
        for finding in where.denied:
            kept &= self._denies(finding)
        for finding in where.not_stated:
            kept &= ~self._states(finding)
        for finding in where.not_denied:
            kept &= ~self._denies(finding)
        lacking = np.ones(sum(self._sizes), bool)
        lacking[self._places[kept]] = False
        return np.split(lacking, np.cumsum(self._sizes)[:-1]) if self._sizes else []

    def _states(self, finding: ConceptId) -> Mask:
        return self._says(self._narrower(finding), "present")

    def _denies(self, finding: ConceptId) -> Mask:
        return self._says(self._broader(finding), "absent") & ~self._states(finding)

    def _says(self, concepts: Iterable[ConceptId], certainty: Certainty) -> Mask:
        said = np.zeros(self.cases, bool)
        for concept in concepts:
            ordinals, codes = self._concepts.lists[key(concept, certainty)]
            said[ordinals[codes >= WHOLE]] = True
        return said

    def _narrower(self, concept: ConceptId) -> Iterable[ConceptId]:
        return self._ontology.descendants(concept) if concept in self._ontology else ()

    def _broader(self, concept: ConceptId) -> Iterable[ConceptId]:
        return self._ontology.depths(concept) if concept in self._ontology else ()

    def _kept(self, out: Sequence[Ordinals]) -> Mask:
        kept = np.ones(sum(self._sizes), bool)
        for start, ordinals in zip(self._starts, out, strict=True):
            kept[start + ordinals] = False
        return kept[self._places]
