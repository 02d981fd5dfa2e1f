"""A study, a text, findings or an indexed case to similar cases: which legs are asked, whose cases are left out.

    image     the study's images, or those of an indexed case,        nearest vectors of the same view
              or words, with an encoder that reads them
    concept   findings asked for, what a text or a case says,
              or what the cases nearest by image show                 concept-set similarity
    text      words                                                   BM25

Legs are fused by rank alone; one leg by itself keeps its order. A frontal image is compared with frontal images only, a
lateral with laterals, and frontal images decide whenever there is one: on real studies, mixing in the lateral made
retrieval worse with every weight tried (ARCHITECTURE.md, Retrieval). A study's own report is never asked with: there is
none when a draft is wanted. The retriever refuses to know about pixels, prompts and drafts.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np

from retrieval.comparison import ConceptComparison, ConceptSet, Form
from retrieval.encoders.encoder import Vectors
from retrieval.mentions import ConceptId
from retrieval.ontology.ontology import load
from retrieval.ranking.concept_sets import concepts_in, concepts_of_neighbours, restrict
from retrieval.ranking.fusion import fuse
from retrieval.ranking.text import words_of
from retrieval.record import Record
from retrieval.records import (
    Case,
    CaseId,
    EncoderIdentity,
    Evidence,
    FoundBy,
    ImageDigest,
    Leg,
    PatientKey,
    RetrievedCase,
    Study,
    StudyUid,
    ViewGroup,
    ViewPosition,
    view_group,
)
from retrieval.stores.case_postings import concept_set
from retrieval.stores.store import Store
from retrieval.where import EVERYWHERE, Where

ROWS_A_CASE: Final = 4
"""Image rows asked for per wanted case: a case may own several rows of one view."""
FUSED: Final = 100
"""Cases that each leg brings to a fusion, or as many as are wanted if that is more."""
NEIGHBOURS: Final = 80
"""Cases nearest by image whose reports make a study's concept query; of 20 to 80 the most did best on fold 0."""
LEGS: Final[tuple[Leg, ...]] = ("image", "concept", "text")
"""The order in which legs are told of."""


class Query(Record):
    """What is asked beside images: words, findings, a part of the body, and whom to keep to."""

    legs: tuple[Leg, ...] | None = None
    """The legs to ask, where there is something to ask them with; None asks each that was given something."""
    words: str = ""
    """For the text leg; grammar means nothing there."""
    concepts: ConceptSet | None = None
    """For the concept leg; None takes what the indexed case says, or what the cases nearest by image show."""
    anatomy: ConceptId | None = None
    """The concept leg compares in this part of the body alone; None compares in all of it."""
    where: Where = EVERYWHERE
    """Filters for every leg; the study's, patient's and images' own cases are left out besides."""


ANYTHING: Final = Query()
"""Nothing but what the images or the case say."""
FOR_A_DRAFT: Final = Query(legs=("image",))
"""What a draft rests on. The other legs are for searching, until fusion is measured to draft better."""


class _Images(NamedTuple):
    """Vectors of one view group to compare with, and which images they are of."""

    vectors: Vectors
    numbers: Sequence[int]
    group: ViewGroup


class _Concepts(NamedTuple):
    """The question of the concept leg."""

    query: ConceptSet
    form: Form
    within: frozenset[ConceptId] | None


class _Found(NamedTuple):
    """What the image leg found of a case."""

    similarity: float
    pairs: tuple[tuple[int, int, float], ...]


class Retriever:
    """Similar cases from one store."""

    def __init__(
        self, store: Store, encoder: EncoderIdentity, encode_text: Callable[[Sequence[str]], Vectors] | None = None
    ) -> None:
        """`encode_text` is the encoder's own, None where it reads no words."""
        self._store = store
        self._encoder = encoder
        self._encode_text = encode_text

    @property
    def reads_words(self) -> bool:
        """Whether the image leg can be asked in words."""
        return self._encode_text is not None

    def retrieve(self, study: Study, vectors: Vectors, limit: int, query: Query = FOR_A_DRAFT) -> Evidence:
        """Return up to `limit` cases, nearest first; `vectors` holds one row per `study.images`.

        The study itself, every other study of its patient, and every case of a patient who owns one of its image
        files are left out: a case is evidence only when it belongs to somebody else. Without a positive similarity
        in any leg there are no cases. Raises StoreUnavailable when nothing is published.
        """
        own = _others(query.where, study.patient_key, study.study_instance_uid, study.digests)
        images = _leading([image.attributes.view for image in study.images], vectors)
        return self._search(images, None, query, own, limit)

    def like(self, case_id: CaseId, limit: int, query: Query = ANYTHING) -> Evidence:
        """As `retrieve`, for an indexed case with its images and what its report says; raises UnknownCase too."""
        (entry,) = self._store.entries([case_id])
        case = entry.case
        digests = [image.digest for image in case.images]
        own = _others(query.where, case.patient_key, case.study_instance_uid, digests)
        images = _leading([image.view for image in case.images], entry.vectors)
        return self._search(images, concept_set(case) or ConceptSet(), query, own, limit)

    def find(self, limit: int, query: Query) -> Evidence:
        """As `retrieve`, for words and findings alone: nobody's own cases are left out unless `query.where` says so.

        The image leg is asked, in words, only where `query.legs` names it; frontal images answer.
        """
        images = None
        if self._encode_text and query.legs and "image" in query.legs and words_of(query.words):
            images = _Images(self._encode_text([query.words]), [0], "frontal")
        found = self._search(images, None, query, query.where, limit)
        # There is no image that one of the case's could be paired with.
        cases = tuple(case.model_copy(update={"matched": ()}) for case in found.cases)
        return found.model_copy(update={"cases": cases})

    def case(self, case_id: CaseId) -> Case:
        """One indexed case; raises UnknownCase."""
        return self._store.cases([case_id])[0]

    def nothing(self) -> Evidence:
        """Return evidence without cases, which still says what would have been asked."""
        snapshot = self._store.current()
        return Evidence(index_snapshot=snapshot and snapshot.snapshot_id, encoder=self._encoder)

    def searchable(self) -> tuple[int, int]:
        """How many cases the concept and text legs can find, and how many there are."""
        snapshot = self._store.current()
        return self._store.searchable(), 0 if snapshot is None else snapshot.cases

    def kept(self, where: Where) -> int:
        """How many cases the filters keep."""
        return 0 if self._store.current() is None else self._store.kept(where)

    def _search(
        self, images: _Images | None, said: ConceptSet | None, query: Query, where: Where, limit: int
    ) -> Evidence:
        """`said` is what an indexed case says; `where` is the query's, without the asker's own cases."""
        legs = _asked(images, said, query)
        asked = self._concepts(images, said, query, where) if "concept" in legs else None
        evidence = self.nothing().model_copy(update={"concepts": None if asked is None else asked.query})
        if asked is not None and not (asked.query.present or asked.query.absent):
            # Nothing is known to ask with: the leg is not asked, and no case is compared with nothing.
            asked, legs = None, tuple(leg for leg in legs if leg != "concept")
        depth = max(limit, FUSED) if len(legs) > 1 else limit
        # 1. Each leg by itself, best first.
        found = self._by_image(images, depth, where) if images and "image" in legs else {}
        rankings: dict[Leg, Mapping[CaseId, float]] = {}
        if "image" in legs:
            # Beside other legs a place among the nearest counts by itself, so what is not near at all has none.
            near = [(case_id, one.similarity) for case_id, one in found.items()]
            rankings["image"] = {case_id: s for case_id, s in near if s > 0 or len(legs) == 1}
        if asked is not None:
            matches = self._store.similar_concepts(asked.query, depth, where, form=asked.form, within=asked.within)
            rankings["concept"] = {match.case_id: match.similarity for match in matches}
        if "text" in legs:
            matches = self._store.matching_text(query.words, depth, _agreeing(where, query.concepts))
            rankings["text"] = {match.case_id: match.similarity for match in matches}
        evidence = evidence.model_copy(update={"legs": tuple(rankings)})
        # 2. Nothing is like it: the nearest of all then is no evidence of anything.
        if not any(similarity > 0 for ranking in rankings.values() for similarity in ranking.values()):
            return evidence
        # 3. One ranking, and why each case is in it.
        fusion = fuse([list(ranking) for ranking in rankings.values()], limit)
        chosen = [fused.case_id for fused in fusion]
        cases = self._store.cases(chosen)
        comparisons: list[ConceptComparison | None] = [None] * len(chosen)
        if asked is not None:
            comparisons = self._store.compare(asked.query, chosen, form=asked.form, within=asked.within)
        retrieved = []
        for rank, (fused, case, comparison) in enumerate(zip(fusion, cases, comparisons, strict=True), 1):
            by = tuple(
                FoundBy(leg=leg, rank=place, similarity=ranking[case.case_id])
                for (leg, ranking), place in zip(rankings.items(), fused.ranks, strict=True)
                if place is not None
            )
            retrieved.append(
                RetrievedCase(
                    case=case,
                    rank=rank,
                    similarity=by[0].similarity,
                    matched=found[case.case_id].pairs if case.case_id in found else (),
                    found_by=by,
                    comparison=comparison,
                )
            )
        return evidence.model_copy(update={"cases": tuple(retrieved)})

    def _by_image(self, images: _Images, limit: int, where: Where) -> dict[CaseId, _Found]:
        """The nearest cases, nearest first."""
        where, rows = where.model_copy(update={"group": images.group}), limit * ROWS_A_CASE
        while True:
            nearest = self._store.nearest(images.vectors, rows, where)
            matched: dict[CaseId, list[tuple[int, int, float]]] = defaultdict(list)
            for number, hits in zip(images.numbers, nearest, strict=True):
                for hit in hits:
                    matched[hit.case_id].append((number, hit.image, hit.similarity))
            # A case that owns very many rows may crowd out others: ask for more rows until there are enough cases.
            if len(matched) >= limit or all(len(hits) < rows for hits in nearest):
                break
            rows *= 4
        # The best pair speaks for the case: two frontal images of one study are two tries at the same thing.
        best = {case_id: max(similarity for _, _, similarity in pairs) for case_id, pairs in matched.items()}
        chosen = sorted(best, key=lambda case_id: (-best[case_id], case_id))[:limit]
        return {case_id: _Found(best[case_id], tuple(matched[case_id])) for case_id in chosen}

    def _concepts(
        self, images: _Images | None, said: ConceptSet | None, query: Query, where: Where
    ) -> _Concepts | None:
        """What the concept leg asks: findings as given, else what the case says, else what similar cases show."""
        form: Form = "asymmetric"
        if query.concepts is not None:
            concepts = query.concepts
        elif said is not None:
            # Two reports, each by somebody who looked for everything.
            concepts, form = said, "symmetric"
        elif images is not None:
            concepts = self._shown(images, where)
        else:
            return None
        within = None
        if query.anatomy is not None:
            concepts = restrict(concepts, load(), query.anatomy)
            within = concepts_in(load(), query.anatomy)
        return _Concepts(concepts, form, within)

    def _shown(self, images: _Images, where: Where) -> ConceptSet:
        """What the cases nearest by image show. Filters are none of its business: they say nothing of the study."""
        own = Where(not_patients=where.not_patients, not_studies=where.not_studies, not_images=where.not_images)
        near = self._by_image(images, NEIGHBOURS, own)
        read = [(concept_set(case), near[case.case_id].similarity) for case in self._store.cases(list(near))]
        votes = [(concepts, similarity) for concepts, similarity in read if concepts is not None]
        return concepts_of_neighbours(votes, self._store.base_rates(), load())


def _asked(images: _Images | None, said: ConceptSet | None, query: Query) -> tuple[Leg, ...]:
    """The legs that are wanted and have something to ask with."""
    able: set[Leg] = set()
    given: set[Leg] = set()
    if images is not None:
        able |= {"image", "concept"}
        given.add("image")
    if query.concepts is not None or said is not None:
        able.add("concept")
        given.add("concept")
    if query.anatomy is not None and "concept" in able:
        given.add("concept")
    if words_of(query.words):
        able.add("text")
        given.add("text")
    wanted = given if query.legs is None else able & {*query.legs}
    return tuple(leg for leg in LEGS if leg in wanted)


def _agreeing(where: Where, concepts: ConceptSet | None) -> Where:
    """Without cases that deny what is asked for, or state what is asked against: a word knows no denial."""
    if concepts is None:
        return where
    return where.model_copy(
        update={
            "not_denied": where.not_denied | concepts.present.keys(),
            "not_stated": where.not_stated | concepts.absent.keys(),
        }
    )


def _leading(views: Sequence[ViewPosition], vectors: Vectors) -> _Images:
    """The view that decides and its images: frontal if there is one, else lateral, else the rest."""
    groups = [view_group(view) for view in views]
    order: tuple[ViewGroup, ...] = ("frontal", "lateral", "other")
    leading = next(group for group in order if group in groups)
    numbers = np.flatnonzero([group == leading for group in groups]).tolist()
    return _Images(vectors[numbers], numbers, leading)


def _others(where: Where, patient: PatientKey | None, study: StudyUid | None, images: Iterable[ImageDigest]) -> Where:
    """The same without what is the asker's own."""
    return where.model_copy(
        update={
            "not_patients": where.not_patients | ({patient} if patient else set()),
            "not_studies": where.not_studies | ({study} if study else set()),
            "not_images": where.not_images | frozenset(images),
        }
    )
