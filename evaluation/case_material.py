"""The IU studies with images as similar-case search meets them: read once, shared by everything measured on them.

A study with a frontal image and findings is a query of the other four folds' cases and a case for their queries. The
encoder's whitening is fitted on those four folds only, as in `on_iu.py`. What a report says is kept beside the study;
whoever asks with a study must leave its own alone, and the tests of each measurement say so.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from evaluation.iu import FOLDS, IuStudy, read_studies
from indexing.fit import FIT_IMAGES
from retrieval.comparison import ConceptSet
from retrieval.encoders.descriptor import DescriptorEncoder
from retrieval.extraction.extractor import Extractor
from retrieval.mentions import ConceptId, ReadConcepts
from retrieval.ontology.ontology import Ontology
from retrieval.pixels.sandbox import Readers, Reading
from retrieval.ranking.concept_sets import concepts_of_neighbours, concepts_of_report
from retrieval.sections import compose_report

TUNING_FOLD = 0
"""Settings may be chosen looking at its queries; the others are quoted."""
Places = NDArray[np.intp]
"""Studies by their place in `Cases.studies`."""


class Cases(NamedTuple):
    """Studies with what their reports say and how similar their images are."""

    studies: Sequence[IuStudy]
    """In the order of their case ids, so that the first of equals is the first by id."""
    read: Sequence[ReadConcepts]
    """What each study's report says, mention by mention."""
    said: Sequence[ConceptSet]
    """The same as a set."""
    folds: NDArray[np.intp]
    """The fold of each study."""
    similar: NDArray[np.float32]
    """similar[i, j]: how similar study j's image is to study i's, both encoded for an index without i's fold."""

    def others(self, fold: int) -> Places:
        """The cases that queries of a fold search."""
        return np.flatnonzero(self.folds != fold)

    def nearest(self, query: int, count: int) -> Places:
        """The cases of the other folds most similar by image, equal ones by case id."""
        cases = self.others(int(self.folds[query]))
        order = np.argsort(-self.similar[query, cases], kind="stable")[:count]
        return cases[order]


def read_cases(data: Path, workers: int, extractor: Extractor) -> Cases:
    """Encode every image and read every report; a few minutes on two cores. Raises MissingData."""
    studies = sorted((s for s in read_studies(data) if s.frontals and s.findings), key=lambda s: s.case_id)
    with Readers(DescriptorEncoder.prepare, workers=workers) as readers:
        found = list(readers.read([str(s.frontals[0]) for s in studies]))
    prepared = [r.prepared for r in found if isinstance(r, Reading)]
    if len(prepared) != len(studies):
        raise next(r for r in found if not isinstance(r, Reading))
    folds = np.array([s.fold for s in studies])
    read = [extractor.read_report(compose_report(findings=s.findings, impression=s.impression)) for s in studies]
    said = [concepts_of_report(concepts, extractor.ontology) for concepts in read]
    return Cases(studies, read, said, folds, _similar(np.stack(prepared), folds))


def shown(
    cases: Cases, query: int, neighbours: int, base_rates: Mapping[ConceptId, float], ontology: Ontology
) -> ConceptSet:
    """What the cases nearest by image show of a study, as the product asks its concept leg; nothing of its report."""
    nearest = cases.nearest(query, neighbours)
    votes = [(cases.said[i], float(cases.similar[query, i])) for i in nearest]
    return concepts_of_neighbours(votes, base_rates, ontology)


def _similar(prepared: NDArray[np.float32], folds: NDArray[np.intp]) -> NDArray[np.float32]:
    similar = np.empty((len(folds), len(folds)), np.float32)
    for fold in range(FOLDS):
        fitted_on = np.random.default_rng(0).permutation(np.flatnonzero(folds != fold))[:FIT_IMAGES]
        encoder = DescriptorEncoder.fit(prepared[fitted_on])
        vectors = encoder.finish(encoder.run(prepared))
        similar[folds == fold] = vectors[folds == fold] @ vectors.T
    return similar
