"""What is shown, and read, of the reports of a patient's earlier studies: the same for prompts and for support."""

from typing import Final

from prompts.data import clean
from retrieval.records import PriorReport, Section, Study
from retrieval.sections import read_report

PRIORS: Final = 2
"""Priors shown at most, in the order in which they were handed in: the most recent first."""


def shown_priors(study: Study) -> tuple[PriorReport, ...]:
    """The priors that a draft may compare with."""
    return study.priors[:PRIORS]


def shown_sections(prior: PriorReport) -> list[tuple[str, str]]:
    """Heading and text of what counts in a prior: addenda first, since they correct the rest; never its indication."""
    report = read_report(prior.text)
    addenda = [("Addendum", section.text) for section in report.sections if _is_addendum(section)]
    said = [("Findings", report.findings), ("Impression", report.impression)]
    return [(heading, text) for heading, text in [*addenda, *said] if clean(text)] or [
        ("", text) for text in [prior.text] if clean(text)
    ]


def _is_addendum(section: Section) -> bool:
    return section.name == "other" and section.heading.strip().casefold().startswith("addend")
