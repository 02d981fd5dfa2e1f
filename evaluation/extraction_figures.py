"""Figures on what an extractor read: heads against coding, sides, and marks of certainty. Arrays and records, no files.

Heads are measured as a retrieval of documents: does the report carry the head or not. Micro-F1 counts every report
and head once; macro-F1 is the mean over heads. Intervals are bootstrap intervals by report.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Literal

import numpy as np

from evaluation.coded_heads import Heads, fits, gold_of
from evaluation.statistics import (
    RESAMPLES,
    Flags,
    Interval,
    Numbers,
    bootstrap_mean,
    draws,
    interval,
    macro_f1_interval,
)
from retrieval.errors import NotScorable
from retrieval.mentions import Certainty, ConceptId, ConceptMention, Side
from retrieval.record import Record

Marked = Literal["present", "absent", "uncertain", "none"]
"""A certainty, or `none` for a word by which the report states nothing."""
MARKED: tuple[Marked, ...] = ("present", "absent", "uncertain", "none")


class HeadFigures(Record):
    """One head over all reports."""

    head: str
    """As coded."""
    support: int
    """Reports that are coded with it."""
    asserted: int
    """Reports in which it was read."""
    both: int
    """Reports with both."""
    precision: float | None
    """Of those in which it was read, the share coded; None when it was never read."""
    recall: float | None
    """Of those coded, the share in which it was read; None when it was never coded."""
    f1: float | None
    """Harmonic mean of the two; None when it was neither read nor coded."""


class HeadScores(Record):
    """Reading against coding over a set of reports."""

    reports: int
    """How many."""
    micro_f1: Interval
    """Every report and head counted once."""
    macro_f1: Interval
    """Mean over heads that were read or coded."""
    precision: float
    """Micro-averaged."""
    recall: float
    """Micro-averaged."""
    heads: list[HeadFigures]
    """Most often coded first."""


class SideFigures(Record):
    """Sides that were read against sides that were coded, where both give one for the same head of a report."""

    pairs: int
    """How many heads of reports have both."""
    agreement: Interval
    """Share with the same side."""
    opposite: list[str]
    """Reports in which left and right are exchanged: the error that harms."""
    per_head: dict[str, tuple[int, int]]
    """For each head: how many agree, of how many."""
    read_only: int
    """Heads of reports, read and coded, where only the reader gives a side."""
    coded_only: int
    """The same where only the coding gives one."""


class Mark(Record):
    """What one word of one report means, marked by reading its sentence before the extractor had run."""

    report: str
    """The collection's id."""
    section: Literal["findings", "impression"]
    """Where it stands."""
    start: int
    """First character in the stripped section."""
    end: int
    """One past the last."""
    word: str
    """The word, in lower case; the only one kept here."""
    certainty: Marked
    """By the policy of the extractor; none when the word is no mention."""
    side: Literal["left", "right", "bilateral", "none"]
    """The side a radiologist would bind to it."""

    @property
    def place(self) -> str:
        """Where to look it up."""
        return f"{self.report} {self.section} {self.start}"


class MarkFigures(Record):
    """How a reader did on the marked words."""

    marks: int
    """How many words."""
    accuracy: Interval
    """Share with the marked certainty, none included."""
    confusion: dict[str, dict[str, int]]
    """Marked certainty, then the one read, then how often."""
    flips: list[str]
    """Marks that were read as absent for present or the other way round."""
    wrong: list[str]
    """All other marks read wrongly, with what was read."""
    sided: int
    """Marked mentions that the reader found: their sides are compared."""
    side_agreement: Interval | None
    """Share of those with the marked side, none included; None when fewer than two were found."""
    side_opposite: list[str]
    """Marks with left and right exchanged."""
    side_wrong: list[str]
    """All other marks with another side, with what was read."""


def head_scores(asserted: Flags, truth: Flags, heads: Sequence[str]) -> HeadScores:
    """Figures of bool[n, h] each, over n reports and h heads. Raises NotScorable when nothing is read or coded."""
    hits, said, true = (float(a.sum()) for a in (asserted & truth, asserted, truth))
    figures = [head_figures(head, asserted[:, i], truth[:, i]) for i, head in enumerate(heads)]
    return HeadScores(
        reports=len(truth),
        micro_f1=micro_f1_interval(asserted, truth),
        macro_f1=macro_f1_interval(asserted, truth),
        precision=hits / said if said else 0.0,
        recall=hits / true if true else 0.0,
        heads=sorted(figures, key=lambda f: (-f.support, f.head)),
    )


def head_figures(head: str, asserted: Flags, truth: Flags) -> HeadFigures:
    """One head: bool[n] each."""
    both, said, true = int((asserted & truth).sum()), int(asserted.sum()), int(truth.sum())
    return HeadFigures(
        head=head,
        support=true,
        asserted=said,
        both=both,
        precision=both / said if said else None,
        recall=both / true if true else None,
        f1=2 * both / (said + true) if said + true else None,
    )


def micro_f1_interval(asserted: Flags, truth: Flags, resamples: int = RESAMPLES, seed: int = 0) -> Interval:
    """Micro-averaged F1 = 2 TP / (2 TP + FP + FN) of bool[n, h] each, with its interval over the n reports."""
    hits: Numbers = 2.0 * (asserted & truth).sum(axis=1)
    sizes: Numbers = asserted.sum(axis=1, dtype=np.float64) + truth.sum(axis=1)
    if not sizes.sum():
        raise NotScorable("no head is read or coded in any report", fix="check the heads and the reports")
    resampled = [np.divide(w @ hits, w @ sizes) for w in draws(len(hits), resamples, seed)]
    return interval(float(hits.sum() / sizes.sum()), resampled, len(hits), seed)


def side_figures(
    reports: Sequence[str],
    coded: Sequence[Sequence[str]],
    mentions: Sequence[Sequence[ConceptMention]],
    heads: Heads,
    scored: Sequence[str],
) -> SideFigures | None:
    """Agreement of sides; report ids, coded terms and mentions in one order. None with fewer than two pairs."""
    pairs: list[tuple[str, str, Side, Side]] = []
    read_only = coded_only = 0
    for report, terms, said in zip(reports, coded, mentions, strict=True):
        for head in gold_of(terms, scored).heads:
            given = _together([side for term in terms if fits(head, term) for side in term.casefold().split("/")])
            stating = [m for m in said if m.certainty != "absent" and head in heads.get(m.concept, ())]
            found = _together([m.side for m in stating if m.side])
            if given and found:
                pairs.append((report, head, given, found))
            elif stating:
                read_only += found is not None
                coded_only += given is not None
    if len(pairs) < 2:
        return None
    per_head: dict[str, tuple[int, int]] = {}
    for _, head, given, found in pairs:
        agree, of = per_head.get(head, (0, 0))
        per_head[head] = (agree + (given == found), of + 1)
    return SideFigures(
        pairs=len(pairs),
        agreement=bootstrap_mean([float(p[2] == p[3]) for p in pairs], clusters=[p[0] for p in pairs]),
        opposite=[p[0] for p in pairs if {p[2], p[3]} == {"left", "right"}],
        per_head=dict(sorted(per_head.items(), key=lambda item: -item[1][1])),
        read_only=read_only,
        coded_only=coded_only,
    )


def mark_figures(marks: Sequence[Mark], read: Mapping[str, ConceptMention | None]) -> MarkFigures:
    """Figures over marks; `read` gives for the place of each mark the mention found at it, or None."""
    certainties: list[Certainty | Literal["none"]] = []
    for mark in marks:
        found = read[mark.place]
        certainties.append(found.certainty if found else "none")
    confusion = {gold: dict.fromkeys(MARKED, 0) for gold in MARKED}
    for mark, certainty in zip(marks, certainties, strict=True):
        confusion[mark.certainty][certainty] += 1
    wrong = [(m, c) for m, c in zip(marks, certainties, strict=True) if m.certainty != c]
    flipped = [m for m, c in wrong if {m.certainty, c} == {"present", "absent"}]
    sides = [(m, found.side or "none") for m in marks if m.certainty != "none" and (found := read[m.place])]
    amiss = [(m, side) for m, side in sides if m.side != side]
    opposite = [m for m, side in amiss if {m.side, side} == {"left", "right"}]
    return MarkFigures(
        marks=len(marks),
        accuracy=bootstrap_mean([float(m.certainty == c) for m, c in zip(marks, certainties, strict=True)]),
        confusion=confusion,
        flips=[m.place for m in flipped],
        wrong=[f"{m.place} {m.word}: {m.certainty} read {c}" for m, c in wrong if m not in flipped],
        sided=len(sides),
        side_agreement=bootstrap_mean([float(m.side == side) for m, side in sides]) if len(sides) > 1 else None,
        side_opposite=[m.place for m in opposite],
        side_wrong=[f"{m.place} {m.word}: {m.side} read {side}" for m, side in amiss if m not in opposite],
    )


def mention_at(
    mentions: Sequence[ConceptMention], start: int, end: int, among: Collection[ConceptId]
) -> ConceptMention | None:
    """The mention of one of the concepts `among` that covers most tightly what stands at start to end; None without."""
    over = [m for m in mentions if m.concept in among and m.start < end and m.end > start]
    return min(over, key=lambda m: (m.end - m.start, m.start), default=None)


def _together(sides: Sequence[str]) -> Side | None:
    """Several sides as one; words that are no side do not count."""
    found = {side.strip() for side in sides} & {"left", "right", "bilateral"}
    if not found:
        return None
    if len(found) > 1 or "bilateral" in found:
        return "bilateral"
    return "left" if "left" in found else "right"
