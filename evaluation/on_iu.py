"""Retrieval and drafting measured on the real IU studies, through the product's own encoder, store, retriever, drafter.

Five folds (studies whose findings text is the same stand in one). Each study with a frontal image and findings queries
an index of the other four folds once. Encoder whitening and the drafter's statements are fitted on those four folds
only. The encoder's settings were chosen looking at all folds; the drafter's thresholds were chosen on fold 0, so drafts
are quoted on folds 1 to 4.

What a text asserts is read by the extractor and compared with the hand coding as `coded_heads.py` fixes it: stated and
left open both count, because both were coded. The same reader reads every row. Studies that nobody coded are left out
of the figures for heads.
"""

import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from evaluation.coded_heads import Gold, Heads, asserted, claimed, gold_of, heads_of, named
from evaluation.extraction import APART
from evaluation.iu import FOLDS, IuStudy, read_studies
from evaluation.iu_reports import read_reports
from evaluation.poisoning import Asked, Poisoning, measure_poisoning
from evaluation.retrieval_metrics import MINIMUM, Lift, lift_at, lift_interval
from evaluation.statistics import Flags, Interval, macro_f1, macro_f1_difference
from evaluation.text_metrics import TextScores, rouge_l, text_scores
from generation.consensus import draft_findings
from generation.statements import prepare_statements, summarise
from indexing.fit import FIT_IMAGES
from retrieval.encoders.descriptor import DescriptorEncoder
from retrieval.extraction.extractor import Extractor
from retrieval.ontology.ontology import load
from retrieval.pixels.sandbox import Readers, Reading
from retrieval.records import (
    Case,
    CaseImage,
    ImageAttributes,
    PatientKey,
    Record,
    RetrievedCase,
    Study,
    StudyImage,
    StudyUid,
)
from retrieval.retriever import Retriever
from retrieval.sections import compose_report
from retrieval.stores.faiss_segments import FaissSegments
from retrieval.stores.segmented import SegmentedStore
from retrieval.stores.store import Entry

DEPTH = 40
"""Cases retrieved for each query."""
TUNING_FOLD = 0
CONSTANTS = 200
"""Reports tried as the one constant report."""


class HeadFigures(Record):
    """How well the heads a text asserts are those coded for the study."""

    macro_f1: float
    """Mean over heads."""
    macro_f1_over_nearest: Interval | None
    """Paired difference to the nearest case's report, by study; None for that row itself."""
    precision: float
    """Micro-averaged: of all asserted heads, how many are coded."""
    recall: float
    """Micro-averaged: of all coded heads, how many are asserted."""
    asserted_per_study: float
    """How many heads a text asserts."""


class Row(Record):
    """One way of writing findings."""

    text: TextScores
    """Against the reference findings."""
    heads: HeadFigures
    """Against the hand-coded MeSH heads."""


class IuReport(Record):
    """Everything measured; figures for people and for the next session."""

    studies: int
    """With a frontal image and findings: queries and cases."""
    lift5: Lift
    """All five folds."""
    lift5_interval: Interval
    """Bootstrap by query."""
    lift5_random: float
    """The same for neighbours drawn at random."""
    lift20: float
    """All five folds, top 20."""
    drafted_on: int
    """Studies of folds 1 to 4."""
    coded: int
    """Those of them that somebody coded: heads are judged on these."""
    extractor: str
    """What read the texts."""
    heads: list[str]
    """Which heads the drafts are judged by."""
    reader_macro_f1: float
    """The reader of heads applied to each study's own findings: what a perfect draft could reach."""
    rows: dict[str, Row]
    """constant, nearest, consensus."""
    empty_drafts: int
    """Studies for which the drafter had nothing to say."""
    poisoned: Poisoning
    """Drafts of folds 1 to 4 with false cases in the index."""


class _Judge(NamedTuple):
    """The reader of heads, and what was coded."""

    extractor: Extractor
    stands_for: Heads
    gold: Mapping[str, Gold]
    """By case id; a study that nobody coded is left out."""
    scored: Sequence[str]

    def asserted(self, texts: Sequence[str], studies: Sequence[IuStudy]) -> Flags:
        """Which scored heads each text asserts for its study; of studies that were coded."""
        no_new = load()["no_new"].id
        said = [claimed([m for m in self.extractor.read(text) if m.change != no_new]) for text in texts]
        found = [
            asserted(c, self.stands_for, self.gold[s.case_id], self.scored)
            for c, s in zip(said, studies, strict=True)
            if s.case_id in self.gold
        ]
        return np.array([[head in heads for head in self.scored] for heads in found])

    def truth(self, studies: Sequence[IuStudy]) -> Flags:
        coded = [self.gold[s.case_id].heads for s in studies if s.case_id in self.gold]
        return np.array([[head in heads for head in self.scored] for heads in coded])


def measure_iu(data: Path, workers: int) -> IuReport:
    """Run the whole measurement; a few minutes on two cores. Raises MissingData."""
    studies = [s for s in read_studies(data) if s.frontals and s.findings]
    extractor = Extractor(load())
    judge = _judge(data, studies, extractor)
    with Readers(DescriptorEncoder.prepare, workers=workers) as readers:
        read_images = list(readers.read([str(s.frontals[0]) for s in studies]))
    readings = [r for r in read_images if isinstance(r, Reading)]
    if len(readings) != len(studies):
        raise next(r for r in read_images if not isinstance(r, Reading))
    indexed = [_case(study, reading, extractor) for study, reading in zip(studies, readings, strict=True)]

    folds = np.array([s.fold for s in studies])
    found: list[tuple[RetrievedCase, ...]] = [()] * len(studies)
    drafts = [""] * len(studies)
    poisoned = Poisoning()
    for fold in range(FOLDS):
        queries, cases = np.flatnonzero(folds == fold), np.flatnonzero(folds != fold)
        of_fold = _measure_fold(indexed, readings, queries, cases, found, drafts, extractor)
        if fold != TUNING_FOLD:
            poisoned += of_fold

    names = sorted({head for s in studies for head in s.heads})
    has = np.array([[head in s.heads for head in names] for s in studies])
    place = {s.case_id: i for i, s in enumerate(studies)}
    neighbours = np.array([[place[c.case.case_id] for c in nearest[:20]] for nearest in found])
    chance = np.random.default_rng(0).integers(0, len(studies), neighbours.shape)

    quoted = np.flatnonzero(folds != TUNING_FOLD)
    asked = [studies[i] for i in quoted]
    references = [s.findings for s in asked]
    truth = judge.truth(asked)
    constant = _best_constant([s.findings for s in studies if s.fold == TUNING_FOLD])
    texts = {
        "constant": [constant] * len(quoted),
        "nearest": [studies[neighbours[i, 0]].findings for i in quoted],
        "consensus": [drafts[i] for i in quoted],
    }
    said = {name: judge.asserted(written, asked) for name, written in texts.items()}
    return IuReport(
        studies=len(studies),
        lift5=lift_at(5, neighbours, has, has, names),
        lift5_interval=lift_interval(5, neighbours, has, has, names),
        lift5_random=lift_at(5, chance, has, has, names).value,
        lift20=lift_at(20, neighbours, has, has, names).value,
        drafted_on=len(quoted),
        coded=len(truth),
        extractor=extractor.identity,
        heads=list(judge.scored),
        reader_macro_f1=macro_f1(judge.asserted(references, asked), truth),
        rows={
            name: Row(text=text_scores(written, references), heads=_figures(name, said, truth))
            for name, written in texts.items()
        },
        empty_drafts=sum(not draft for draft in texts["consensus"]),
        poisoned=poisoned,
    )


def _judge(data: Path, studies: Sequence[IuStudy], extractor: Extractor) -> _Judge:
    """Scored are the heads that some concept stands for and at least MINIMUM of the studies carry."""
    heads = heads_of(extractor.ontology, "iu_mesh")
    known = named(heads)
    wanted = {str(s.case_id) for s in studies}
    coded = {f"iu-{r.report_id}": r.coded for r in read_reports(data) if r.coded is not None}
    gold = {case_id: gold_of(terms, known) for case_id, terms in coded.items() if case_id in wanted}
    support = Counter(head for g in gold.values() for head in g.heads)
    return _Judge(extractor, heads, gold, [h for h in known if h not in APART and support[h] >= MINIMUM])


def _measure_fold(
    indexed: Sequence[Case],
    readings: Sequence[Reading],
    queries: NDArray[np.intp],
    cases: NDArray[np.intp],
    found: list[tuple[RetrievedCase, ...]],
    drafts: list[str],
    extractor: Extractor,
) -> Poisoning:
    """Index `cases`, ask for `queries`; fills `found` and `drafts` at the queries' places."""
    fitted_on = np.random.default_rng(0).permutation(cases)[:FIT_IMAGES]
    encoder = DescriptorEncoder.fit(np.stack([readings[i].prepared for i in fitted_on]))
    vectors = encoder.finish(encoder.run(np.stack([reading.prepared for reading in readings])))
    with tempfile.TemporaryDirectory() as folder:
        shelf = FaissSegments(Path(folder))
        with closing(SegmentedStore(shelf, encoder.identity, encoder.dimension)) as store:
            store.stage([Entry(indexed[i], vectors[i : i + 1]) for i in cases])
            store.publish()
            statements = prepare_statements(summarise(store.cases(sorted(store.contents()))))
            retriever = Retriever(store, encoder.identity)
            for i in queries:
                study = _study(readings[i])
                found[i] = retriever.retrieve(study, vectors[i : i + 1], DEPTH).cases
                drafts[i] = " ".join(s.text for s in draft_findings(found[i], statements).sentences)
    asked = [Asked(found[i], vectors[i]) for i in queries]
    return measure_poisoning(asked, statements, len(cases), extractor)


def _case(study: IuStudy, reading: Reading, extractor: Extractor) -> Case:
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
        concepts=extractor.read_report(report),
    )


def _study(reading: Reading) -> Study:
    attributes: ImageAttributes = reading.attributes.model_copy(update={"view": "FRONTAL", "view_source": "request"})
    return Study(images=(StudyImage(path=reading.path, digest=reading.digest, attributes=attributes),))


def _best_constant(reports: Sequence[str]) -> str:
    """The report of the tuning fold that reads most like the others there, by ROUGE-L."""
    tried = [reports[i] for i in np.random.default_rng(0).permutation(len(reports))[:CONSTANTS]]
    best: str = max(tried, key=lambda text: float(rouge_l([text] * len(reports), reports).mean()))
    return best


def _figures(name: str, every: Mapping[str, Flags], truth: Flags) -> HeadFigures:
    said = every[name]
    hits = float((said & truth).sum())
    return HeadFigures(
        macro_f1=macro_f1(said, truth),
        macro_f1_over_nearest=None if name == "nearest" else macro_f1_difference(said, every["nearest"], truth),
        precision=hits / said.sum() if said.any() else 0.0,
        recall=hits / float(truth.sum()),
        asserted_per_study=float(said.sum(axis=1).mean()),
    )
