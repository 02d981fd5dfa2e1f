"""What is known of a study beside the text that is checked, as a record: None means "not known", never "none"."""

import re
from typing import Final, Literal

from retrieval.expert_scores import ExpertScores
from retrieval.extraction.extractor import READ_SECTIONS
from retrieval.extraction.tokens import tokenise, word_set
from retrieval.mentions import ConceptId, ReadConcepts
from retrieval.record import Record
from retrieval.records import Case, CaseId, Report, SectionName

Unit = Literal["mm", "ml", "%", "degrees", "Fr"]
"""Units after conversion: lengths are in mm, volumes in ml."""
_NO: Final = re.compile(r"(?:there\s+(?:is|are|was|were)\s+)?(?:none|no|not|n/?a|unavailable|without)\b", re.I)
_NOTHING_ELSE: Final = word_set(
    "none no not n na unavailable available without there is are was were any the a or of to for in on at with this "
    "time present currently provided given found made performed possible obtained applicable old older prior priors "
    "previous earlier recent relevant similar dedicated direct outside other comparison comparisons compare study "
    "studies exam exams examination examinations film films image images imaging radiograph radiographs radiography "
    "chest x ray rays xray xrays cxr system pacs file record records /"
)
"""Words of a statement that there is nothing to compare with."""


class Quantity(Record):
    """A number with its unit."""

    value: float
    """In `unit`."""
    unit: Unit
    """What it counts."""


class SimilarReport(Record):
    """The report of a retrieved case. Never a prior: it belongs to another patient."""

    case_id: CaseId
    """Which case."""
    report: Report
    """Its report; what a text may have been copied from."""
    concepts: ReadConcepts | None = None
    """What it says; None when nothing has read it, then the checks read it."""

    @classmethod
    def of(cls, case: Case) -> "SimilarReport":
        """The part of a case that checks need."""
        return cls(case_id=case.case_id, report=case.report, concepts=case.concepts)


class CheckContext(Record):
    """Everything beside the text; a check whose input is None does not run, and `check` says so."""

    has_prior: bool | None = None
    """Whether an earlier study was given; None when nobody knows."""
    compared: frozenset[ConceptId] | None = None
    """Findings for which the study was compared with the earlier one; None when no comparison is known of."""
    history: str | None = None
    """What was given in words: indication, history, technique, comparison; None when nothing was handed in, empty when
    it was and says nothing."""
    devices: frozenset[ConceptId] | None = None
    """Devices, and traces of operations, that are known or were detected on the images; None without a detector."""
    measurements: tuple[Quantity, ...] | None = None
    """What was measured on this study; empty when nothing was, None when nobody knows."""
    experts: ExpertScores | None = None
    """What a classifier says of this study; None without one."""
    cases: tuple[SimilarReport, ...] | None = None
    """Retrieved cases, nearest first; None when nothing was retrieved."""
    supports: dict[int, tuple[CaseId, ...]] | None = None
    """For a draft: which of `cases` each sentence, by number, rests on; None for a text that cites none."""
    sections: tuple[SectionName, ...] = READ_SECTIONS
    """Which sections are checked, of those that are read."""


def earlier_study(comparison: str) -> bool | None:
    """Whether a comparison section names an earlier study: not when it says "None" and nothing else.

    None when it is empty, and when it begins so and then says more that is no date or number.
    """
    parts = [part.strip() for part in re.split(r"[.;,:\n]", comparison) if re.search(r"\w", part)]
    if not parts:
        return None
    if not _NO.match(parts[0]) or re.search(r"\d", comparison):
        return True
    whole = all(_NO.match(part) and _NOTHING_ELSE.issuperset(tokenise(part).words) for part in parts)
    return False if whole else None
