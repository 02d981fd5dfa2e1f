"""The Indiana University reports with their hand-coded heads: the text that extraction is measured on.

Reads radiographs/reports_iu.jsonl under the folder that PRELIM_DATA names (Demner-Fushman et al., JAMIA 23:304, 2016).
For internal measurement only (CC BY-NC-ND 4.0): nothing of its text is copied into this repository or a log.

Two codings come with it. `coded` is MeSH, given by hand, each term a head with qualifiers of place, side and degree
("Opacity/lung/base/left/mild"). `gold14` are ChestX-ray14 names, which follow from the MeSH heads one by one; a few
reports have none. Both are positive only: what a report denies is not coded.
"""

import json
from pathlib import Path

from evaluation.iu import fold
from retrieval.errors import InvalidManifest, MissingData
from retrieval.record import Record
from retrieval.records import Report
from retrieval.sections import compose_report

NORMAL = "normal"
UNCODED = "No Indexing"
"""What the collection writes on reports that nobody coded."""


class CodedReport(Record):
    """One report with what was coded for it."""

    report_id: str
    """The collection's own id, such as CXR12."""
    findings: str
    """Findings section as written, stripped; empty when the report has none."""
    impression: str
    """Impression section as written, stripped; empty when the report has none."""
    coded: tuple[str, ...] | None
    """MeSH terms with qualifiers, in single spaces; None for a report that nobody coded."""
    gold14: tuple[str, ...] | None
    """ChestX-ray14 names; None when the collection gives none for this report."""

    @property
    def fold(self) -> int:
        """Which fold it is measured in; the same as that of the study with images, where there is one."""
        return fold(self.findings, f"iu-{self.report_id}")

    @property
    def report(self) -> Report:
        """As the report that an index would hold."""
        return compose_report(findings=self.findings, impression=self.impression)

    def section(self, name: str) -> str:
        """The text of `findings` or `impression`, into which marks count their offsets."""
        return self.findings if name == "findings" else self.impression


def read_reports(data: Path) -> tuple[CodedReport, ...]:
    """Every report that has text, in file order.

    Raises MissingData without the file, and InvalidManifest, with the line number and without its text, for a line
    that is no report.
    """
    path = data / "radiographs" / "reports_iu.jsonl"
    if not path.exists():
        raise MissingData(f"there is no {path}", fix="set PRELIM_DATA to the folder that holds radiographs/")
    reports = []
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                reports.append(_report(json.loads(line)))
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                # Pydantic and json quote their input, and the input is report text.
                raise InvalidManifest(
                    f"line {number} of {path} is not a report ({type(error).__name__})", fix="restore the file"
                ) from None
    return tuple(r for r in reports if r.findings or r.impression)


def _report(row: dict[str, object]) -> CodedReport:
    """One line as a report; raises what json and pydantic raise."""
    coded, gold14 = row["mesh_major"], row["gold14"]
    if not isinstance(coded, list) or not isinstance(gold14, list | None):
        raise TypeError("mesh_major or gold14")
    return CodedReport(
        report_id=str(row["report_id"]),
        findings=str(row["findings"] or "").strip(),
        impression=str(row["impression"] or "").strip(),
        coded=None if UNCODED in coded else tuple(" ".join(str(term).split()) for term in coded),
        gold14=None if gold14 is None else tuple(map(str, gold14)),
    )
