"""The oracle: the store contract in its most obvious form, in one process's memory, exact and slow.

Every snapshot is a whole dict; nothing is shared, merged or tombstoned. The other stores must agree with this one;
only tests use it. What it cannot do: outlive its process, and have a second reader or writer.
"""

import hashlib
import hmac
import secrets
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Literal

import numpy as np

from retrieval.comparison import ConceptComparison, ConceptSet, Form
from retrieval.encoders.encoder import Vectors
from retrieval.errors import StoreUnavailable, UnknownCase, UnknownSnapshot
from retrieval.mentions import ConceptId, ExtractorIdentity
from retrieval.ontology.ontology import load
from retrieval.ranking.concept_sets import Expansion
from retrieval.ranking.concept_similarity import ConceptSimilarity, Weights, frequencies
from retrieval.ranking.text import K1, B, idf, rows, words_of
from retrieval.records import Case, CaseId, EncoderIdentity, SnapshotId, view_group
from retrieval.stores.acceptance import accept, queries
from retrieval.stores.case_postings import concept_set, known, words_affirmed
from retrieval.stores.store import RETAINED_SNAPSHOTS, Entry, Snapshot
from retrieval.where import EVERYWHERE, Hit, Match, Where


class MemoryStore:
    """Cases of one encoder in plain dicts; see `retrieval.stores.store.Store` for every method."""

    def __init__(self, encoder: EncoderIdentity, dimension: int) -> None:
        self._encoder = encoder
        self._dimension = dimension
        self._published: dict[SnapshotId, tuple[Snapshot, dict[CaseId, Entry]]] = {}
        self._staged: dict[CaseId, Entry] = {}
        self._current: SnapshotId | None = None
        self._publications = 0
        # Even here the ledger names nobody: a dump of it must not list the people who asked to be forgotten.
        self._salt = secrets.token_bytes(32)
        self._ledger: set[str] = set()

    def current(self) -> Snapshot | None:
        return None if self._current is None else self._published[self._current][0]

    def snapshots(self) -> list[Snapshot]:
        return [snapshot for snapshot, _ in self._published.values()]

    def contents(self) -> Mapping[CaseId, str]:
        return {case_id: entry.case.content for case_id, entry in self._visible().items()}

    def staged(self) -> Mapping[CaseId, str]:
        return {case_id: entry.case.content for case_id, entry in self._staged.items()}

    def extractors(self, among: Literal["visible", "staged"] = "visible") -> Mapping[CaseId, ExtractorIdentity | None]:
        kept = self._visible() if among == "visible" else self._staged
        return {case_id: entry.case.extractor for case_id, entry in kept.items()}

    def unlisted(self, among: Literal["visible", "staged"] = "visible") -> frozenset[CaseId]:
        """None ever: there are no lists here."""
        return frozenset()

    def stage(self, entries: Sequence[Entry]) -> None:
        for entry in accept(entries, self._dimension, self.erased):
            self._staged[entry.case.case_id] = entry

    def unstage(self, case_ids: Collection[CaseId]) -> None:
        self._staged = {case_id: entry for case_id, entry in self._staged.items() if case_id not in case_ids}

    def publish(self, *, remove: Collection[CaseId] = (), note: str = "") -> Snapshot:
        visible = {case_id: e for case_id, e in {**self._visible(), **self._staged}.items() if case_id not in remove}
        previous = self._current
        self._publications += 1
        self._current = SnapshotId(f"{self._publications:08d}")
        snapshot = _describe(self._current, self._encoder, self._dimension, visible, note)
        self._published[self._current] = snapshot, visible
        self._staged = {}
        # The one that served until now stays, even where a rollback made it the oldest.
        dispensable = sorted(self._published.keys() - {previous, self._current})
        for old in dispensable[: max(0, len(self._published) - RETAINED_SNAPSHOTS)]:
            del self._published[old]
        return snapshot

    def nearest(self, vectors: Vectors, limit: int, where: Where = EVERYWHERE) -> list[list[Hit]]:
        rows = queries(vectors, self._dimension)
        if self._current is None:
            raise StoreUnavailable("nothing has been published yet", fix="publish first")
        candidates = [
            (entry.case.case_id, number, entry.vectors[number])
            for entry in self._kept(where)
            for number, image in enumerate(entry.case.images)
            if where.group in (None, view_group(image.view))
        ]
        if not candidates:
            return [[] for _ in rows]
        matrix = np.stack([vector for _, _, vector in candidates]).astype(np.float64)
        # In float64 and rounded once, a similarity does not depend on the order of summation: equal rows tie exactly.
        similarities = (rows.astype(np.float64) @ matrix.T).astype(np.float32)
        return [
            sorted(
                (
                    Hit(case_id=case_id, image=number, similarity=float(similarity))
                    for (case_id, number, _), similarity in zip(candidates, line, strict=True)
                ),
                key=lambda hit: (-hit.similarity, hit.case_id, hit.image),
            )[: max(limit, 0)]
            for line in similarities
        ]

    def similar_concepts(
        self,
        query: ConceptSet,
        limit: int,
        where: Where = EVERYWHERE,
        *,
        form: Form = "symmetric",
        within: frozenset[ConceptId] | None = None,
    ) -> list[Match]:
        slow, query = self._similarity(), known(query)
        found = [
            Match(case_id=entry.case.case_id, similarity=similarity)
            for entry in self._kept(where)
            if (said := concept_set(entry.case)) and (similarity := slow.similarity(query, said, form, within)) > 0
        ]
        return sorted(found, key=_most_similar)[: max(limit, 0)]

    def matching_text(self, words: str, limit: int, where: Where = EVERYWHERE) -> list[Match]:
        counts = {entry.case.case_id: _words(entry.case) for entry in self._read()}
        lengths = {case_id: sum(words.values()) for case_id, words in counts.items()}
        mean = sum(lengths.values()) / len(lengths) if any(lengths.values()) else 1.0
        found = []
        for case_id in {entry.case.case_id for entry in self._kept(where)} & counts.keys():
            similarity, held_back = 0.0, K1 * (1 - B + B * (lengths[case_id] / mean))
            for word in sorted(words_of(words)):
                if often := float(counts[case_id][word]):
                    having = sum(word in other for other in counts.values())
                    similarity += idf(len(counts), having) * (often * (K1 + 1) / (often + held_back))
            if similarity > 0:
                found.append(Match(case_id=case_id, similarity=similarity))
        return sorted(found, key=_most_similar)[: max(limit, 0)]

    def compare(
        self,
        query: ConceptSet,
        case_ids: Sequence[CaseId],
        *,
        form: Form = "symmetric",
        within: frozenset[ConceptId] | None = None,
    ) -> list[ConceptComparison | None]:
        slow, query = self._similarity(), known(query)
        sets = [concept_set(case) for case in self.cases(case_ids)]
        return [None if said is None else slow.compare(query, said, form, within) for said in sets]

    def base_rates(self) -> Mapping[ConceptId, float]:
        expand, read = Expansion(load()).expand, self._read()
        sums: dict[ConceptId, float] = {}
        for entry in read:
            for concept, said in expand(concept_set(entry.case) or ConceptSet()).present.items():
                sums[concept] = sums.get(concept, 0.0) + said.degree
        return {concept: total / len(read) for concept, total in sums.items()}

    def searchable(self) -> int:
        return len(self._read())

    def kept(self, where: Where) -> int:
        return len(self._kept(where))

    def cases(self, case_ids: Sequence[CaseId]) -> list[Case]:
        return [entry.case for entry in self.entries(case_ids)]

    def entries(self, case_ids: Sequence[CaseId]) -> list[Entry]:
        visible = self._visible()
        for case_id in case_ids:
            if case_id not in visible:
                raise UnknownCase(f"no case {case_id!r} in the snapshot", unquoted="no such case")
        return [visible[case_id] for case_id in case_ids]

    def erase(self, case_ids: Collection[CaseId]) -> int:
        self._ledger.update(self._token(case_id) for case_id in case_ids)
        kept = [self._staged, *(visible for _, visible in self._published.values())]
        found = {case_id for case_id in case_ids if any(case_id in entries for entries in kept)}
        for case_id in found:
            self._staged.pop(case_id, None)
        for snapshot, visible in list(self._published.values()):
            left = {case_id: entry for case_id, entry in visible.items() if case_id not in found}
            counts = {"cases": len(left), "images": sum(len(entry.vectors) for entry in left.values())}
            self._published[snapshot.snapshot_id] = snapshot.model_copy(update=counts), left
        return len(found)

    def erased(self, case_id: CaseId) -> bool:
        return self._token(case_id) in self._ledger

    def rollback(self, snapshot_id: SnapshotId) -> Snapshot:
        if snapshot_id not in self._published:
            raise UnknownSnapshot(f"no snapshot {snapshot_id!r} is retained", fix="`prelim-index describe` lists them")
        self._current = snapshot_id
        return self._published[snapshot_id][0]

    def refresh(self) -> None:
        """Nothing to do: there is no other process that could have published."""

    def verify(self) -> list[str]:
        return []

    def close(self) -> None:
        """Nothing to release."""

    def _read(self) -> list[Entry]:
        if self._current is None:
            raise StoreUnavailable("nothing has been published yet", fix="publish first")
        return [entry for entry in self._visible().values() if entry.case.concepts is not None]

    def _similarity(self) -> ConceptSimilarity:
        expand = Expansion(load()).expand
        counted = frequencies(expand(concept_set(entry.case) or ConceptSet()) for entry in self._read())
        return ConceptSimilarity(load(), Weights(load(), counted))

    def _kept(self, where: Where) -> list[Entry]:
        """The visible cases that a search does not leave out."""
        visible = self._visible().values()
        owners = {
            e.case.patient_key for e in visible if any(image.digest in where.not_images for image in e.case.images)
        }
        return [
            entry
            for entry in visible
            if entry.case.patient_key not in where.not_patients | owners
            and entry.case.study_instance_uid not in where.not_studies
            and (where.sex is None or entry.case.sex == where.sex)
            and (not where.age_bands or entry.case.age_band in where.age_bands)
            and (not where.sources or entry.case.source in where.sources)
            and (not where.licences or entry.case.licence in where.licences)
            and where.views <= {view_group(image.view) for image in entry.case.images}
            and all(_states(entry.case, finding) for finding in where.findings)
            and all(_denies(entry.case, finding) for finding in where.denied)
            and not any(_states(entry.case, finding) for finding in where.not_stated)
            and not any(_denies(entry.case, finding) for finding in where.not_denied)
            and (entry.case.concepts is not None or not where.by_report)
        ]

    def _visible(self) -> dict[CaseId, Entry]:
        return {} if self._current is None else self._published[self._current][1]

    def _token(self, case_id: CaseId) -> str:
        return hmac.new(self._salt, case_id.encode(), hashlib.sha256).hexdigest()


def _states(case: Case, finding: ConceptId) -> bool:
    said = concept_set(case) or ConceptSet()
    ontology = load()
    return any(d == 1 and finding in ontology and ontology.is_a(c, finding) for c, d in said.present.items())


def _denies(case: Case, finding: ConceptId) -> bool:
    said = concept_set(case) or ConceptSet()
    ontology = load()
    denied = any(finding in ontology and ontology.is_a(finding, c) for c in said.absent)
    return denied and not _states(case, finding)


def _words(case: Case) -> Counter[str]:
    (words,) = rows([words_affirmed(case.concepts) if case.concepts else ()])
    return Counter(words)


def _most_similar(match: Match) -> tuple[float, CaseId]:
    return -match.similarity, match.case_id


def _describe(
    snapshot_id: SnapshotId, encoder: EncoderIdentity, dimension: int, visible: Mapping[CaseId, Entry], note: str
) -> Snapshot:
    return Snapshot(
        snapshot_id=snapshot_id,
        encoder=encoder,
        dimension=dimension,
        cases=len(visible),
        images=sum(len(entry.vectors) for entry in visible.values()),
        created=datetime.now(UTC).isoformat(timespec="milliseconds"),
        note=note,
    )
