"""Finding similar cases, measured: the legs against each other, and questions in words (PRELIM_DATA)."""

from pathlib import Path

from evaluation.case_material import read_cases
from evaluation.legs import LegsReport, measure_legs
from evaluation.text_queries import TextQueriesReport, measure_text_queries
from retrieval.extraction.extractor import Extractor
from retrieval.ontology.ontology import load
from retrieval.records import Record


class CaseSearchReport(Record):
    """Everything measured of case search."""

    extractor: str
    """What read reports and questions."""
    legs: LegsReport
    """A study's image asks."""
    words: TextQueriesReport
    """A person asks in words."""


def measure_case_search(data: Path, workers: int) -> CaseSearchReport:
    """Read the images and reports once and measure both; under six minutes on two cores. Raises MissingData."""
    extractor = Extractor(load())
    cases = read_cases(data, workers, extractor)
    return CaseSearchReport(
        extractor=extractor.identity,
        legs=measure_legs(cases, extractor.ontology),
        words=measure_text_queries(cases, data, extractor),
    )
