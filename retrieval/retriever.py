"""Query vectors to similar cases: which views are compared, whose cases are left out, how they are ranked.

A frontal image is compared with frontal images only, a lateral with laterals. Frontal images decide whenever the study
has one: on real studies, mixing
in the lateral made retrieval worse with every weight tried (ARCHITECTURE.md, Retrieval).
The retriever refuses to know about pixels, prompts and drafts.
"""

from collections import defaultdict

import numpy as np

from retrieval.encoders.encoder import Vectors
from retrieval.records import CaseId, EncoderIdentity, Evidence, RetrievedCase, Study, ViewGroup, view_group
from retrieval.stores.store import Store
from retrieval.where import Where

DEPTH = 4
"""Image rows asked for per wanted case: a case may own several rows of one view."""


class Retriever:
    """Similar cases of a study from one store."""

    def __init__(self, store: Store, encoder: EncoderIdentity) -> None:
        self._store = store
        self._encoder = encoder

    def retrieve(self, study: Study, vectors: Vectors, limit: int) -> Evidence:
        """Return up to `limit` cases, nearest first; `vectors` holds one row per `study.images`.

        The study itself, every other study of its patient, and every case of a patient who owns one of its image
        files are left out: a case is evidence only when it belongs to somebody else.
        Raises StoreUnavailable when nothing is published.
        """
        group, images = _leading(study)
        where, rows = _others(study, group), limit * DEPTH
        while True:
            found = self._store.nearest(vectors[images], rows, where)
            matched: dict[CaseId, list[tuple[int, int, float]]] = defaultdict(list)
            for image, hits in zip(images, found, strict=True):
                for hit in hits:
                    matched[hit.case_id].append((image, hit.image, hit.similarity))
            # A case that owns very many rows may crowd out others: ask for more rows until there are enough cases.
            if len(matched) >= limit or all(len(hits) < rows for hits in found):
                break
            rows *= 4
        # The best pair speaks for the case: two frontal images of one study are two tries at the same thing.
        best = {case_id: max(similarity for _, _, similarity in pairs) for case_id, pairs in matched.items()}
        chosen = sorted(best, key=lambda case_id: (-best[case_id], case_id))[:limit]
        cases = tuple(
            RetrievedCase(case=case, rank=rank, similarity=best[case.case_id], matched=tuple(matched[case.case_id]))
            for rank, case in enumerate(self._store.cases(chosen), 1)
        )
        return self.nothing().model_copy(update={"cases": cases})

    def nothing(self) -> Evidence:
        """Return evidence without cases, which still says what would have been asked."""
        snapshot = self._store.current()
        return Evidence(index_snapshot=snapshot and snapshot.snapshot_id, encoder=self._encoder)


def _leading(study: Study) -> tuple[ViewGroup, list[int]]:
    """The view that decides and its images: frontal if there is one, else lateral, else the rest."""
    groups = [view_group(image.attributes.view) for image in study.images]
    order: tuple[ViewGroup, ...] = ("frontal", "lateral", "other")
    leading = next(group for group in order if group in groups)
    return leading, list(np.flatnonzero([group == leading for group in groups]))


def _others(study: Study, group: ViewGroup | None) -> Where:
    return Where(
        group=group,
        not_patients=frozenset([study.patient_key] if study.patient_key else []),
        not_studies=frozenset([study.study_instance_uid] if study.study_instance_uid else []),
        not_images=frozenset(image.digest for image in study.images),
    )
