"""Concept extraction measured on the IU reports: heads, sides, marks of certainty, speed, rivals, who is right.

Patterns and cues were tuned looking at fold 0; figures are quoted on folds 1 to 4, fold 0 stands apart beside them.
Scored are the heads that both schemes name: some concept stands for them and at least MINIMUM reports carry them. How
concepts and heads meet is fixed in `coded_heads.py`. Stated and left open both count as read, because coders coded
"possible pneumonia" as pneumonia; the coding is positive only, so denials are measured on the marks.

*Normal* (a report in which no coded-for finding is read) and *technical quality* are no findings and stand apart.

*Marks* are 200 words of folds 1 to 4 whose certainty and side one reader, no radiologist, marked sentence by sentence
before the extractor had run; nobody marked them a second time. Harder wordings are there on purpose more often than
they occur, so their accuracy is not that of an average sentence. "No new X" is not among them: the collection's
de-identification has blanked "new".
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from evaluation.adjudication import (
    Adjudicated,
    Disagreement,
    Errors,
    Grid,
    adjudicated,
    read_verdicts,
    remaining_errors,
    undecided,
)
from evaluation.coded_heads import Gold, Heads, Scheme, asserted, claimed, gold_of, heads_of, named, plain_name
from evaluation.extraction_figures import (
    HeadFigures,
    HeadScores,
    Mark,
    MarkFigures,
    SideFigures,
    head_figures,
    head_scores,
    mark_figures,
    mention_at,
    micro_f1_interval,
    side_figures,
)
from evaluation.iu_reports import NORMAL, CodedReport, read_reports
from evaluation.readers import Reader, our_reader, rival_readers, speed_of
from evaluation.statistics import Interval
from retrieval.errors import NotScorable
from retrieval.extraction.extractor import Extractor
from retrieval.mentions import ConceptMention
from retrieval.ontology.ontology import load
from retrieval.record import Record

MARKS = Path(__file__).parent / "measured" / "marks"
MINIMUM = 5
"""Reports that must carry a head for it to be scored."""
TUNING_FOLD = 0
TECHNICAL = "Technical Quality of Image Unsatisfactory"
APART = frozenset({NORMAL, TECHNICAL})


class SystemFigures(Record):
    """One way of reading, over all measurements."""

    heads: HeadScores
    """MeSH heads, folds 1 to 4."""
    heads_tuning: HeadScores
    """MeSH heads, fold 0."""
    first_head_micro_f1: float
    """MeSH heads, folds 1 to 4, if each concept could only be coded by its first head: what is left of micro-F1 when
    coders' choice among heads for one thing counts as the reader's error."""
    stated_micro_f1: Interval
    """MeSH heads, folds 1 to 4, if only what is stated counted and nothing that is left open: coders often coded the
    opacity and not what it "may represent". On fold 0 this way of counting is the better one too."""
    gold14: HeadScores
    """ChestX-ray14 names, folds 1 to 4."""
    gold14_tuning: HeadScores
    """ChestX-ray14 names, fold 0."""
    normal: HeadFigures
    """Reports coded normal against reports in which no finding is read, folds 1 to 4."""
    technical: HeadFigures | None
    """Image quality, folds 1 to 4; None when no concept stands for it."""
    sides: SideFigures | None
    """Folds 1 to 4; None for a reader that gives no sides."""
    marks: MarkFigures
    """On the marked words."""
    reports_per_second: float
    """Median of the passes."""
    times_ours: float
    """How much longer it takes than our extractor on the same reports; median of the passes, 1 for ours."""


class ExtractionReport(Record):
    """Everything measured; figures for people and for the next session."""

    extractor: str
    """Identity of what was measured."""
    reports: int
    """Coded, with text."""
    findings: list[str]
    """MeSH heads that are scored."""
    unnamed: dict[str, int]
    """Coded terms of at least MINIMUM reports that no concept stands for: first parts, and how many reports."""
    ours: SystemFigures
    """The extractor."""
    adjudicated: Adjudicated | None
    """MeSH heads after verdicts, folds 1 to 4; None while there are too few."""
    rivals: dict[str, SystemFigures]
    """Other readers in the same run."""
    not_installed: list[str]
    """Rivals that could not run, each with what it lacks."""
    errors: dict[str, Errors]
    """What is left for each head, without cells that a verdict decided for the reader."""


class Measured(NamedTuple):
    """The figures, and what an adjudicator needs."""

    report: ExtractionReport
    disagreements: tuple[Disagreement, ...]
    """MeSH heads, folds 1 to 4."""
    texts: Mapping[str, str]
    """Report id to text."""
    names: Mapping[str, str]
    """Head to plain words."""


class _Gold(NamedTuple):
    """What was coded, one entry a report."""

    coded: Sequence[Sequence[str]]
    """MeSH terms."""
    mesh: Sequence[Gold]
    chest14: Sequence[Gold]
    has14: Sequence[bool]
    """Whether the report has ChestX-ray14 names at all."""


def measure_extraction(data: Path) -> Measured:
    """Run the whole measurement; a few minutes with rivals.

    Raises MissingData, and NotScorable for marks that do not fit the collection.
    """
    every = read_reports(data)
    marks = read_marks(every)
    reports = [r for r in every if r.coded is not None]
    ontology = load()
    extractor = Extractor(ontology)
    heads: dict[Scheme, Heads] = {"iu_mesh": heads_of(ontology, "iu_mesh"), "nih14": heads_of(ontology, "nih14")}
    ours = our_reader(extractor, ontology, heads)
    rivals, lacking = rival_readers(ontology, heads)

    coded = [r.coded or () for r in reports]
    known, known14 = named(heads["iu_mesh"]), named(heads["nih14"])
    gold = _Gold(
        coded=coded,
        mesh=[gold_of(terms, known) for terms in coded],
        chest14=[gold_of(r.gold14 or (), known14) for r in reports],
        has14=[r.gold14 is not None for r in reports],
    )
    scored, scored14 = scored_heads(gold.mesh, known), scored_heads(gold.chest14, known14)
    speeds = {name: speed_of(reader, ours, reports) for name, reader in rivals.items()}
    speeds["ours"] = speed_of(ours, ours, reports)
    readings = {name: [reader.read_report(r) for r in reports] for name, reader in {"ours": ours, **rivals}.items()}
    figures = {
        name: _figures(reader, readings[name], reports, gold, (scored, scored14), marks, speeds[name])
        for name, reader in {"ours": ours, **rivals}.items()
    }
    quoted = [i for i, r in enumerate(reports) if r.fold != TUNING_FOLD]
    grid = _grid(reports, gold.mesh, readings["ours"], heads["iu_mesh"], scored).rows(quoted)
    verdicts = read_verdicts(MARKS / "adjudicated.jsonl")
    said = {r.report_id: m for r, m in zip(reports, readings["ours"], strict=True)}
    return Measured(
        report=ExtractionReport(
            extractor=extractor.identity,
            reports=len(reports),
            findings=scored,
            unnamed=_unnamed(coded, known),
            ours=figures.pop("ours"),
            adjudicated=adjudicated(grid, verdicts),
            rivals=figures,
            not_installed=lacking,
            errors=remaining_errors(undecided(grid, verdicts), said, heads["iu_mesh"]),
        ),
        disagreements=grid.disagreements(),
        texts={r.report_id: f"Findings: {r.findings}\nImpression: {r.impression}" for r in reports},
        names={head: plain_name(ontology, heads["iu_mesh"], head) for head in scored},
    )


def read_marks(reports: Sequence[CodedReport]) -> list[tuple[Mark, str]]:
    """The marked words, each with the section it is in; raises NotScorable when one does not stand where marked."""
    lines = (MARKS / "polarity.jsonl").read_text(encoding="utf-8").splitlines()
    marks = tuple(Mark.model_validate(json.loads(line)) for line in lines)
    sections = {(r.report_id, name): r.section(name) for r in reports for name in ("findings", "impression")}
    found = [(mark, sections.get((mark.report, mark.section), "")) for mark in marks]
    for mark, text in found:
        if text[mark.start : mark.end].lower() != mark.word:
            raise NotScorable(f"the mark {mark.place} is not in this collection", fix="restore reports_iu.jsonl")
    return found


def scored_heads(gold: Sequence[Gold], known: Sequence[str]) -> list[str]:
    """Of the heads that concepts stand for, those that are coded for enough reports and are findings."""
    return [head for head in known if head not in APART and sum(head in g.heads for g in gold) >= MINIMUM]


def _grid(
    reports: Sequence[CodedReport],
    gold: Sequence[Gold],
    readings: Sequence[Sequence[ConceptMention]],
    heads: Heads,
    scored: Sequence[str],
) -> Grid:
    said = [asserted(claimed(m), heads, g, scored) for m, g in zip(readings, gold, strict=True)]
    return Grid(
        reports=[r.report_id for r in reports],
        heads=scored,
        asserted=np.array([[head in s for head in scored] for s in said]),
        truth=np.array([[head in g.heads for head in scored] for g in gold]),
    )


def _figures(
    reader: Reader,
    readings: Sequence[Sequence[ConceptMention]],
    reports: Sequence[CodedReport],
    gold: _Gold,
    scored: tuple[Sequence[str], Sequence[str]],
    marks: Sequence[tuple[Mark, str]],
    speed: tuple[float, float],
) -> SystemFigures:
    quoted = [i for i, r in enumerate(reports) if r.fold != TUNING_FOLD]
    tuning = [i for i, r in enumerate(reports) if r.fold == TUNING_FOLD]
    mesh, chest14 = reader.heads["iu_mesh"], reader.heads["nih14"]
    coded = gold.coded
    grid = _grid(reports, gold.mesh, readings, mesh, scored[0])
    grid14 = _grid(reports, gold.chest14, readings, chest14, scored[1])
    findings = {concept for concept, of in mesh.items() if not APART.issuperset(of)}
    quiet = np.array([not findings & claimed(readings[i]) for i in quoted])
    quality = {concept for concept, of in mesh.items() if TECHNICAL in of}
    poor = np.array([bool(quality & claimed(readings[i])) for i in quoted])
    at = {m.place: mention_at(reader.read(text), m.start, m.end, reader.among) for m, text in marks}
    first = {concept: listed[:1] for concept, listed in mesh.items()}
    strict = _grid(reports, gold.mesh, readings, first, scored[0]).rows(quoted)
    stated = [[m for m in readings[i] if m.certainty == "present"] for i in quoted]
    firm = _grid([reports[i] for i in quoted], [gold.mesh[i] for i in quoted], stated, mesh, scored[0])
    return SystemFigures(
        heads=_scores(grid.rows(quoted)),
        heads_tuning=_scores(grid.rows(tuning)),
        first_head_micro_f1=micro_f1_interval(strict.asserted, strict.truth).value,
        stated_micro_f1=micro_f1_interval(firm.asserted, firm.truth),
        gold14=_scores(grid14.rows([i for i in quoted if gold.has14[i]])),
        gold14_tuning=_scores(grid14.rows([i for i in tuning if gold.has14[i]])),
        normal=head_figures(NORMAL, quiet, np.array([NORMAL in coded[i] for i in quoted])),
        technical=head_figures(TECHNICAL, poor, np.array([TECHNICAL in coded[i] for i in quoted])) if quality else None,
        sides=side_figures(
            [reports[i].report_id for i in quoted],
            [coded[i] for i in quoted],
            [readings[i] for i in quoted],
            mesh,
            scored[0],
        ),
        marks=mark_figures([m for m, _ in marks], at),
        reports_per_second=speed[0],
        times_ours=speed[1],
    )


def _scores(grid: Grid) -> HeadScores:
    return head_scores(grid.asserted, grid.truth, grid.heads)


def _unnamed(coded: Sequence[Sequence[str]], known: Sequence[str]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for terms in coded:
        for first in {t.split("/")[0] for t in terms if t not in APART and not gold_of([t], known).heads}:
            counts[first] = counts.get(first, 0) + 1
    return {first: n for first, n in sorted(counts.items(), key=lambda item: -item[1]) if n >= MINIMUM}
