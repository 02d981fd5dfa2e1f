"""What the guards against injection cost on real input that nobody attacks (PRELIM_DATA).

Texts in which an order is seen would not be heard: counted over every field of every report of the collection. Flags
are counted on drafts that could not be better: the sentences of each study's own report, as if a language model had
written them, beside the cases that lie nearest to its image in an index of the other folds, and without an expert. Only
counts come out.
"""

import json
from collections import Counter
from pathlib import Path
from typing import Final

import numpy as np
from pydantic import Field

from evaluation.iu import IuStudy, read_studies
from generation.drafter import DRAFT_CASES
from generation.statements import summarise
from generation.support import ENOUGH_CASES, Sources
from indexing.fit import FIT_IMAGES
from prompts.facts import Facts
from retrieval.agreement import agreeing
from retrieval.encoders.descriptor import DescriptorEncoder
from retrieval.extraction.extractor import embedded
from retrieval.extraction.sentences import sentence_spans
from retrieval.orders import holds_order
from retrieval.pixels.sandbox import Readers, Reading
from retrieval.record import Record
from retrieval.records import Case, CaseImage, PatientKey, Study, StudyImage, StudyUid
from retrieval.retriever import Retriever
from retrieval.sections import compose_report
from retrieval.stores.memory import MemoryStore
from retrieval.stores.store import Entry

FIELDS: Final = ("findings", "impression", "indication", "comparison", "exam")
FLAGS: Final = ("UNSUPPORTED", "THIN_SUPPORT", "ECHO")
ASKED_FOLD: Final = 0


class Price(Record):
    """What true words pay."""

    texts: dict[str, int] = Field(default_factory=dict)
    """Texts of the collection, by field."""
    unheard: dict[str, int] = Field(default_factory=dict)
    """Those in which an order is seen."""
    studies: int = 0
    """Studies whose own sentences were put to the support of their nearest cases."""
    abnormal: int = 0
    """Their abnormal sentences."""
    normal: int = 0
    """Their other sentences in which something was read."""
    flagged: dict[str, int] = Field(default_factory=dict)
    """Sentences by flag: UNSUPPORTED was there before, the others are the guards'."""
    supported_by: dict[int, int] = Field(default_factory=dict)
    """Abnormal sentences by how many similar cases say the same, from 1 to `ENOUGH_CASES` and more."""


def measure_price(data: Path, workers: int = 1) -> Price:
    """Count both; raises MissingData. Some three minutes."""
    texts, unheard = Counter[str](), Counter[str]()
    with (data / "radiographs" / "reports_iu.jsonl").open("rb") as lines:
        for line in lines:
            row = json.loads(line)
            for field in FIELDS:
                if text := str(row[field] or "").strip():
                    texts[field] += 1
                    unheard[field] += holds_order(text)
    studies = [s for s in read_studies(data) if s.frontals and s.findings]
    asked, abnormal, normal, flagged, by = _flags(studies, workers)
    return Price(
        texts=dict(texts),
        unheard=dict(+unheard),
        studies=asked,
        abnormal=abnormal,
        normal=normal,
        flagged={code: flagged[code] for code in FLAGS},
        supported_by={n: by[n] for n in range(1, ENOUGH_CASES + 1)},
    )


def _flags(studies: list[IuStudy], workers: int) -> tuple[int, int, int, Counter[str], Counter[int]]:
    # 1. An index of the other folds.
    with Readers(DescriptorEncoder.prepare, workers=workers) as readers:
        found = list(readers.read([str(s.frontals[0]) for s in studies]))
    readings = [r for r in found if isinstance(r, Reading)]
    if len(readings) < len(studies):
        raise next(r for r in found if not isinstance(r, Reading))
    indexed = [n for n, s in enumerate(studies) if s.fold != ASKED_FOLD]
    fitted_on = np.random.default_rng(0).permutation(indexed)[:FIT_IMAGES]
    encoder = DescriptorEncoder.fit(np.stack([readings[n].prepared for n in fitted_on]))
    vectors = encoder.finish(encoder.run(np.stack([reading.prepared for reading in readings])))
    cases = {n: _case(studies[n], readings[n]) for n in indexed}
    store = MemoryStore(encoder.identity, encoder.dimension)
    store.stage([Entry(cases[n], vectors[n : n + 1]) for n in indexed])
    store.publish()
    vocabulary = frozenset(summarise(cases.values()).vocabulary)
    retriever = Retriever(store, encoder.identity)
    # 2. What each sentence of the asked fold's own reports would be flagged with.
    asked = abnormal = normal = 0
    flagged, by = Counter[str](), Counter[int]()
    for n, study in enumerate(studies):
        if study.fold == ASKED_FOLD:
            asked += 1
            image = StudyImage(
                path=readings[n].path,
                digest=readings[n].digest,
                attributes=readings[n].attributes.model_copy(update={"view": "FRONTAL", "view_source": "request"}),
            )
            told = Study(images=(image,), indication=study.indication or None)
            near = retriever.retrieve(told, vectors[n : n + 1], DRAFT_CASES).cases
            kept = agreeing(near, None, embedded().ontology).kept
            sources = Sources(Facts(study=told, experts=None, cases=kept, concepts=None), vocabulary)
            for text in _sentences(study):
                sentence = sources.sentence(text, "findings")
                codes = {flag.code for flag in sentence.flags}
                abnormal += sentence.abnormal
                normal += not sentence.abnormal and "UNREAD" not in codes
                flagged.update(codes)
                by[min(len(sentence.support.case_ids), ENOUGH_CASES)] += sentence.abnormal
    return asked, abnormal, normal, flagged, by


def _sentences(study: IuStudy) -> list[str]:
    texts = (study.findings, study.impression)
    return [text[first:last] for text in texts for first, last in sentence_spans(text)]


def _case(study: IuStudy, reading: Reading) -> Case:
    report = compose_report(findings=study.findings, impression=study.impression)
    return Case(
        case_id=study.case_id,
        patient_key=PatientKey(study.case_id),
        study_instance_uid=StudyUid(study.case_id),
        images=(CaseImage(digest=reading.digest, view="FRONTAL"),),
        report=report,
        source="IU",
        licence="CC BY-NC-ND 4.0, internal measurement",
        content=reading.digest,
        concepts=embedded().read_report(report),
    )
