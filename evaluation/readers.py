"""The ways of reading that are compared, and how fast each is.

Speed is measured on one core and one thread after a warm-up, in processor time, because machines are shared. Each pass
reads reports that no earlier pass has read, so nothing kept from one text to the next can help; ours keeps its patterns
and a table of folded words, the rivals spaCy's table of words. A rival reads the same reports in the same pass, in
turns.
"""

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from statistics import median
from typing import NamedTuple

import numpy as np

from evaluation.coded_heads import Heads, Scheme
from evaluation.iu_reports import CodedReport
from evaluation.rivals import NegatedPhrases, our_phrases, radlabels_heads, radlabels_phrases
from retrieval.errors import MissingDependency
from retrieval.extraction.extractor import Extractor
from retrieval.mentions import ConceptId, ConceptMention
from retrieval.ontology.ontology import Ontology

PASSES = 4
"""Timed passes, over disjoint reports."""
_RIVAL_REPORTS = 100
"""Reports of each pass that a rival reads too; it is slower, and a ratio needs no more."""


class Reader(NamedTuple):
    """One way of reading."""

    read_report: Callable[[CodedReport], Sequence[ConceptMention]]
    """A report's mentions."""
    read: Callable[[str], Sequence[ConceptMention]]
    """A section's mentions, offsets into the section."""
    heads: Mapping[Scheme, Heads]
    """What its concepts stand for."""
    among: frozenset[ConceptId]
    """Its concepts that a marked word can be."""


def our_reader(extractor: Extractor, ontology: Ontology, heads: Mapping[Scheme, Heads]) -> Reader:
    """The extractor; "no new X" says nothing of X, so it is left out of reports as the extractor's own summary does."""
    no_new = ontology["no_new"].id

    def read_report(report: CodedReport) -> Sequence[ConceptMention]:
        return [m for m in extractor.read_report(report.report).mentions if m.change != no_new]

    return Reader(read_report, extractor.read, heads, _speaking(ontology))


def rival_readers(ontology: Ontology, heads: Mapping[Scheme, Heads]) -> tuple[dict[str, Reader], list[str]]:
    """The rivals that are installed, and what the others lack."""
    speaking = _speaking(ontology)
    radlabels: dict[Scheme, Heads] = {scheme: radlabels_heads(ontology, of) for scheme, of in heads.items()}
    makers: dict[str, tuple[Callable[[], NegatedPhrases], Mapping[Scheme, Heads]]] = {
        "our phrases + negspacy": (lambda: our_phrases(ontology, speaking), heads),
        "radlabels phrases + negspacy": (radlabels_phrases, radlabels),
    }
    found: dict[str, Reader] = {}
    lacking = []
    for name, (make, of) in makers.items():
        try:
            found[name] = _rival_reader(make(), of)
        except MissingDependency as error:
            lacking.append(f"{name}: {error.what}")
    return found, lacking


def _rival_reader(rival: NegatedPhrases, heads: Mapping[Scheme, Heads]) -> Reader:
    def read_report(report: CodedReport) -> Sequence[ConceptMention]:
        return rival.read(f"{report.findings}\n\n{report.impression}")

    return Reader(read_report, rival.read, heads, rival.concepts)


def _speaking(ontology: Ontology) -> frozenset[ConceptId]:
    """Concepts that a marked word can be: things that may be there or not."""
    return frozenset(c.id for c in ontology if c.kind in ("finding", "diagnosis", "device", "postoperative"))


def speed_of(reader: Reader, ours: Reader, reports: Sequence[CodedReport]) -> tuple[float, float]:
    """Reports a second, and seconds over those of ours on the same reports: medians of the passes."""
    order = np.random.default_rng(0).permutation(len(reports))
    warm, *passes = np.array_split(order, PASSES + 1)
    if reader is not ours:
        warm, *passes = (part[:_RIVAL_REPORTS] for part in (warm, *passes))
    rates, ratios = [], []
    with _one_core():
        for other in (reader, ours):
            _seconds(other, [reports[i] for i in warm])
        for number, part in enumerate(passes):
            texts = [reports[i] for i in part]
            if number % 2:
                mine, theirs = _seconds(ours, texts), _seconds(reader, texts)
            else:
                theirs, mine = _seconds(reader, texts), _seconds(ours, texts)
            rates.append(len(texts) / theirs)
            ratios.append(theirs / mine)
    return median(rates), 1.0 if reader is ours else median(ratios)


def _seconds(reader: Reader, reports: Sequence[CodedReport]) -> float:
    began = time.process_time()
    for report in reports:
        reader.read_report(report)
    return time.process_time() - began


@contextmanager
def _one_core() -> Iterator[None]:
    """Keep this process on one core, where the system can."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)
