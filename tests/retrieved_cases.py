"""Invented similar cases, as a search would have found them."""

from retrieval.extraction.extractor import embedded
from retrieval.records import Case, CaseId, CaseImage, ImageDigest, PatientKey, RetrievedCase, StudyUid
from retrieval.sections import compose_report


def retrieved_case(case_id: str, findings: str, similarity: float, *, read: bool = True) -> RetrievedCase:
    """A case of a patient of its own, whose report has been read unless said otherwise."""
    report = compose_report(findings=findings, impression="")
    return RetrievedCase(
        case=Case(
            case_id=CaseId(case_id),
            patient_key=PatientKey(case_id),
            study_instance_uid=StudyUid(case_id),
            images=(CaseImage(digest=ImageDigest("0" * 64), view="PA"),),
            report=report,
            source="invented",
            licence="none",
            content="0" * 64,
            concepts=embedded().read_report(report) if read else None,
        ),
        rank=1,
        similarity=similarity,
    )
