"""Twenty questions in a radiologist's plain words, each graded by what was coded for the cases that answer it.

A case is graded 2 when it is coded with the finding as asked (side, place, degree), 1 when with the finding only, else
0. Grades follow from MeSH codes given by hand and from nothing that retrieval reads. What was asked and how it is
graded was written down before anything was measured.

*Reports visible*: the product's own way with `--text`, concepts and BM25 fused. *Every word*: the same, but with the
words that a report denies in the text leg, which the product leaves out as it does with the question's; BM25 then
answers "pneumothorax" with everybody who has none.

*Reports hidden*: no encoder here compares words with an image, so an unseen
image stands for what its similar cases show: each case is known only by the concepts of its neighbours in the other
folds (`case_material.shown`), its own report is never read. Beside them stands what a random order would reach.

Thirteen of the questions ask as ELIXR's nineteen did (Xu et al., arXiv 2308.01317, who report a mean nDCG of .76 on
other images and grades): a finding alone, with a side, with a degree, with a place, a device. They are written in our
words after the kinds that paper names, because its list is not at hand; the rest are ours. A bilateral finding is also
on the side asked for. Nothing says who was coded without a finding, so what is asked to be absent is what nobody coded.
"""

from collections.abc import Iterator, Sequence
from math import log2
from pathlib import Path
from typing import Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from evaluation.case_material import TUNING_FOLD, Cases, Places, shown
from evaluation.coded_heads import fits
from evaluation.iu import FOLDS
from evaluation.iu_reports import NORMAL, read_reports
from evaluation.statistics import Interval, bootstrap_mean, paired_difference
from retrieval.asking import AskedText, text_asked
from retrieval.comparison import ConceptSet, Form
from retrieval.extraction.extractor import Extractor
from retrieval.ontology.ontology import Ontology
from retrieval.ranking.fusion import fuse
from retrieval.ranking.postings import ConceptPostings
from retrieval.ranking.text import TextPostings
from retrieval.records import CaseId, Record
from retrieval.retriever import FUSED, NEIGHBOURS
from retrieval.stores.case_postings import words_affirmed

K: Final = 5
"""Answers looked at."""
FORM: Final[Form] = "asymmetric"
"""As the product asks with a text: what only the case says weighs little."""
Grades = NDArray[np.int64]
"""A grade for every study."""
Terms = tuple[tuple[str, ...], ...]
"""Alternatives, each a conjunction: every head in it fits some code of the case (`coded_heads.fits`)."""


class TextQuery(NamedTuple):
    """One question."""

    words: str
    """As asked."""
    full: Terms
    """Coded so, a case is graded 2."""
    part: Terms = ()
    """Coded only so, it is graded 1."""
    without: tuple[str, ...] = ()
    """Coded with any of these, it is graded 1 at most, and only if `part` says so."""
    kind: Literal["after ELIXR", "ours"] = "after ELIXR"
    """Where the question comes from."""


def _sided(head: str, *rest: str) -> Terms:
    return tuple(("/".join((head, *rest, side)),) for side in ("left", "bilateral"))


ENLARGED: Final[Terms] = (("Cardiomegaly",), ("Cardiac Shadow/enlarged",))
QUERIES: Final = (
    TextQuery("pneumothorax", (("Pneumothorax",),)),
    TextQuery("right apical pneumothorax", (("Pneumothorax/apex/right",),), (("Pneumothorax",),)),
    TextQuery("left pleural effusion", _sided("Pleural Effusion"), (("Pleural Effusion",),)),
    TextQuery("small bilateral pleural effusions", (("Pleural Effusion/bilateral/small",),), (("Pleural Effusion",),)),
    TextQuery("large pleural effusion", (("Pleural Effusion/large",),), (("Pleural Effusion",),)),
    TextQuery("cardiomegaly", ENLARGED),
    TextQuery("mild cardiomegaly", (("Cardiomegaly/mild",), ("Cardiac Shadow/enlarged/mild",)), ENLARGED),
    TextQuery("severe cardiomegaly", (("Cardiomegaly/severe",), ("Cardiac Shadow/enlarged/severe",)), ENLARGED),
    TextQuery("pulmonary edema", (("Pulmonary Edema",),), (("Pulmonary Congestion",),)),
    TextQuery(
        "right central venous catheter",
        (("Catheters, Indwelling/right",), ("Catheters, Indwelling/bilateral",)),
        (("Catheters, Indwelling",),),
    ),
    TextQuery(
        "endotracheal tube", (("Tube, Inserted/trachea",), ("Tube, Inserted/trachea, carina",)), (("Tube, Inserted",),)
    ),
    TextQuery("left lower lobe consolidation", _sided("Consolidation", "lower lobe"), (("Consolidation",),)),
    TextQuery(
        "right lower lobe pneumonia",
        (("Pneumonia/lower lobe/right",), ("Pneumonia/lower lobe/bilateral",)),
        (("Pneumonia",),),
    ),
    TextQuery(
        "left basilar atelectasis",
        _sided("Pulmonary Atelectasis", "base"),
        (("Pulmonary Atelectasis",),),
        kind="ours",
    ),
    TextQuery("healed rib fractures", (("Fractures, Bone/ribs/healed",),), (("Fractures, Bone/ribs",),), kind="ours"),
    TextQuery("large hiatal hernia", (("Hernia, Hiatal/large",),), (("Hernia, Hiatal",),), kind="ours"),
    TextQuery(
        "hyperinflated lungs with flattened diaphragms",
        (("Lung/hyperdistention", "Diaphragm/flattened"),),
        (("Lung/hyperdistention",), ("Diaphragm/flattened",)),
        kind="ours",
    ),
    TextQuery("cardiomegaly without pleural effusion", ENLARGED, ENLARGED, ("Pleural Effusion",), kind="ours"),
    TextQuery("no pleural effusion or pneumothorax", ((),), (), ("Pleural Effusion", "Pneumothorax"), kind="ours"),
    TextQuery("normal chest, no acute abnormality", ((NORMAL,),), kind="ours"),
)
"""All that is asked."""


class AnsweredQuery(Record):
    """One question's figures on folds 1 to 4."""

    words: str
    """As asked."""
    kind: str
    """Whose kind of question."""
    full: int
    """Cases graded 2."""
    part: int
    """Cases graded 1."""
    ndcg: dict[str, float]
    """nDCG@5 of each row, and of a random order."""


class RowFigures(Record):
    """One way of answering, over all questions."""

    ndcg: Interval
    """Mean nDCG@5, drawn by question."""
    precision_full: Interval
    """Mean share of the first five that are graded 2; some questions have fewer than five such cases."""
    precision_any: Interval
    """Mean share that are graded 1 or 2."""
    perfect: int
    """Questions with an nDCG@5 of 1."""
    ndcg_fold_0: float
    """Mean nDCG@5 on fold 0 over the questions that some case there answers."""


class TextQueriesReport(Record):
    """Everything measured of questions in words."""

    cases: int
    """Coded studies of folds 1 to 4: the same are searched in every row."""
    rows: dict[str, RowFigures]
    """visible (concept and text fused), every word, concept, text, text with every word, hidden."""
    chance_ndcg: Interval
    """Mean nDCG@5 that a random order would have on average."""
    visible_over_every_word: Interval
    """What leaving denied words out of the text leg brings the fusion, paired by question."""
    hidden_over_chance: Interval
    """Hidden minus a random order, paired by question."""
    queries: tuple[AnsweredQuery, ...]
    """One by one."""


def measure_text_queries(cases: Cases, data: Path, extractor: Extractor) -> TextQueriesReport:
    """Ask everything of the coded studies; half a minute. Raises MissingData."""
    coded = {f"iu-{r.report_id}": r.coded for r in read_reports(data) if r.coded is not None}
    have = np.array([s.case_id in coded for s in cases.studies])
    grades = [np.array([grade(q, coded.get(s.case_id, ())) for s in cases.studies]) for q in QUERIES]
    unseen = hidden_sets(cases, extractor.ontology)
    quoted, before = (
        np.flatnonzero(have & where) for where in (cases.folds != TUNING_FOLD, cases.folds == TUNING_FOLD)
    )
    asked = [text_asked(q.words, extractor) for q in QUERIES]
    answered = answers(asked, cases, quoted, unseen, extractor)
    on_fold_0 = answers(asked, cases, before, unseen, extractor)
    ndcgs = {name: _ndcgs(found, grades, quoted) for name, found in answered.items()}
    chance = np.array([chance_ndcg(g[quoted]) for g in grades])
    return TextQueriesReport(
        cases=len(quoted),
        rows={
            name: _row(found, grades, ndcgs[name], _ndcgs(on_fold_0[name], grades, before))
            for name, found in answered.items()
        },
        chance_ndcg=bootstrap_mean(chance),
        visible_over_every_word=paired_difference(ndcgs["visible"], ndcgs["every word"]),
        hidden_over_chance=paired_difference(ndcgs["hidden"], chance),
        queries=tuple(
            AnsweredQuery(
                words=query.words,
                kind=query.kind,
                full=int((graded[quoted] == 2).sum()),
                part=int((graded[quoted] == 1).sum()),
                ndcg={name: float(values[i]) for name, values in ndcgs.items()} | {"chance": float(chance[i])},
            )
            for i, (query, graded) in enumerate(zip(QUERIES, grades, strict=True))
        ),
    )


def grade(query: TextQuery, coded: Sequence[str]) -> int:
    """2 when coded as asked, 1 when with the finding only, else 0."""
    if _coded(query.full, coded) and not _coded(tuple((head,) for head in query.without), coded):
        return 2
    return 1 if _coded(query.part, coded) else 0


def _coded(terms: Terms, coded: Sequence[str]) -> bool:
    return any(all(any(fits(head, term) for term in coded) for head in together) for together in terms)


def ndcg(found: Sequence[float], every: NDArray[np.integer]) -> float:
    """nDCG@5 of the grades found, in order, among all grades there are (Järvelin and Kekäläinen, 2002).

    Gain is the grade, halved or more by the logarithm of the rank, over the same for the best order there is. An answer
    that is short is as good as one that goes on with grade 0. NaN when nothing is graded.
    """
    best = _gain(np.sort(every)[::-1][:K].tolist())
    return _gain(found[:K]) / best if best else float("nan")


def chance_ndcg(every: NDArray[np.integer]) -> float:
    """What a random order has on average: every place holds the mean grade."""
    return ndcg([float(every.mean())] * min(K, len(every)), every)


def hidden_sets(cases: Cases, ontology: Ontology) -> list[ConceptSet]:
    """For each study what its neighbours in the other folds show; its own report is not read."""
    rates = []
    for fold in range(FOLDS):
        others = cases.others(fold)
        rates.append(ConceptPostings.build(_named(cases, others, cases.said), ontology).base_rates())
    return [shown(cases, i, NEIGHBOURS, rates[fold], ontology) for i, fold in enumerate(cases.folds)]


def answers(
    asked: Sequence[AskedText], cases: Cases, among: Places, unseen: Sequence[ConceptSet], extractor: Extractor
) -> dict[str, list[Places]]:
    """The first five of `among` for each question, by row; fewer where a row finds fewer."""
    said = ConceptPostings.build(_named(cases, among, cases.said), extractor.ontology)
    shown_only = ConceptPostings.build(_named(cases, among, unseen), extractor.ontology)
    every = TextPostings.build((cases.studies[i].case_id, cases.read[i].standalone) for i in among)
    stated = TextPostings.build((cases.studies[i].case_id, words_affirmed(cases.read[i])) for i in among)
    places = {cases.studies[i].case_id: i for i in among}
    found: dict[str, list[Places]] = {}
    for one in asked:
        by_concept = _ids(said.top(one.concepts, FUSED, FORM))
        by_words, by_stated = _ids(every.top(one.words, FUSED)), _ids(stated.top(one.words, FUSED))
        rankings = {
            "visible": [f.case_id for f in fuse([by_concept, by_stated], K)],
            "every word": [f.case_id for f in fuse([by_concept, by_words], K)],
            "concept": by_concept,
            "text": by_stated,
            "text, every word": by_words,
            "hidden": _ids(shown_only.top(one.concepts, K, FORM)),
        }
        for name, ranking in rankings.items():
            found.setdefault(name, []).append(np.array([places[case_id] for case_id in ranking[:K]], np.intp))
    return found


def _ids(ranking: Sequence[tuple[CaseId, float]]) -> list[CaseId]:
    return [case_id for case_id, _ in ranking]


def _named(cases: Cases, among: Places, sets: Sequence[ConceptSet]) -> Iterator[tuple[CaseId, ConceptSet]]:
    return ((cases.studies[i].case_id, sets[i]) for i in among)


def _ndcgs(found: Sequence[Places], grades: Sequence[Grades], among: Places) -> NDArray[np.float64]:
    return np.array([ndcg(g[f].tolist(), g[among]) for f, g in zip(found, grades, strict=True)])


def _row(
    found: Sequence[Places], grades: Sequence[Grades], ndcgs: NDArray[np.float64], fold_0: NDArray[np.float64]
) -> RowFigures:
    def precision(least: int) -> Interval:
        return bootstrap_mean([(g[f] >= least).sum() / K for f, g in zip(found, grades, strict=True)])

    return RowFigures(
        ndcg=bootstrap_mean(ndcgs),
        precision_full=precision(2),
        precision_any=precision(1),
        perfect=int((ndcgs >= 1 - 1e-9).sum()),
        ndcg_fold_0=float(np.nanmean(fold_0)),
    )


def _gain(grades: Sequence[float]) -> float:
    return sum(g / log2(rank + 1) for rank, g in enumerate(grades, 1))
