"""One invented example of everything that HTTP takes and gives, made of the records themselves so that none grows old.

No sentence here is of a patient, and no case, digest or key exists.
"""

from collections.abc import Mapping
from typing import Final

from generation.draft import Draft, DraftEvent, Sentence, Support
from retrieval.checks.remark import Checked, NotRun, Remark
from retrieval.record import Record
from retrieval.records import (
    Case,
    CaseId,
    CaseImage,
    EncoderIdentity,
    Evidence,
    FoundBy,
    GateVerdict,
    ImageDigest,
    PatientKey,
    Report,
    RetrievedCase,
    SimilarCases,
    SnapshotId,
    StudyUid,
)
from service.capabilities import Capabilities
from service.faults import FieldFault
from service.http.capabilities import Health
from service.http.problems import Problem
from service.jobs.job import Job, JobId
from service.question import SearchRequest
from service.request import DraftRequest

_IMAGE: Final = ImageDigest("9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08")
_CASE: Final = Case(
    case_id=CaseId("drawn-000005"),
    patient_key=PatientKey("drawn-patient-000005"),
    study_instance_uid=StudyUid("drawn-study-000005"),
    images=(CaseImage(digest=_IMAGE, view="PA", path="images/000005.png"),),
    report=Report(text="FINDINGS: There is a left pleural effusion. The heart size is normal."),
    age_band="60-69",
    source="Prelim drawings",
    licence="CC0-1.0",
    content=_IMAGE,
)
_EVIDENCE: Final = Evidence(
    cases=(
        RetrievedCase(
            case=_CASE,
            rank=1,
            similarity=0.98,
            matched=((0, 0, 0.98),),
            found_by=(FoundBy(leg="image", rank=1, similarity=0.98),),
        ),
    ),
    index_snapshot=SnapshotId("000001-5d41402a"),
    encoder=EncoderIdentity("descriptor-1"),
    legs=("image",),
)
_SENTENCE: Final = Sentence(
    text="There is a left pleural effusion.",
    section="findings",
    topic="pleura",
    abnormal=True,
    support=Support(case_ids=(_CASE.case_id,), of=1),
)
_DRAFT: Final = Draft(
    status="drafted",
    sentences=(_SENTENCE,),
    images=(_IMAGE,),
    evidence=_EVIDENCE,
    drafter="retrieval-consensus-4",
    software="0.1.0",
)
_SIMILAR: Final = SimilarCases(verdict=GateVerdict(in_scope=True), evidence=_EVIDENCE)
_QUEUED: Final = Job(job_id=JobId("kz3yV0cE8sQ2nTq1bXwLr4aG"), state="queued", urgency="bulk", submitted=1795000000.0)
_REMARK: Final = Remark(
    code="INTERNAL",
    severity="hard",
    sentence=1,
    start=35,
    end=68,
    explanation="A pleural effusion on the left is stated and denied.",
)


def _json(record: Record) -> dict[str, object]:
    return record.model_dump(mode="json", exclude_defaults=True)


REQUESTS: Final[Mapping[str, object]] = {
    "create_draft": {"request": _json(DraftRequest(view="PA", indication="Shortness of breath.", deadline_s=60))},
    "submit": {"request": _json(DraftRequest(view="PA", indication="Cough."))},
    "find": _json(SearchRequest(text="left pleural effusion without cardiomegaly", limit=5)),
    "find_of_study": {"request": _json(SearchRequest(findings=("pleural effusion",), limit=5)), "view": "PA"},
    "own_image": {},
    "create_check": {"report": "There is a left pleural effusion. No pleural effusion on the left."},
}
"""By the name of the function that answers; of a form the parts that are no files."""
ANSWERS: Final[Mapping[str, object]] = {
    "create_draft": _json(_DRAFT),
    "submit": _json(_QUEUED),
    "ask": _json(
        _QUEUED.model_copy(update={"state": "succeeded", "ended": 1795000012.5, "attempts": 1, "draft": _DRAFT})
    ),
    "cancel": _json(_QUEUED.model_copy(update={"state": "cancelled", "ended": 1795000003.0})),
    "find": _json(_SIMILAR),
    "find_of_study": _json(_SIMILAR),
    "case": _json(_CASE),
    "create_check": _json(Checked(remarks=(_REMARK,), not_run=(NotRun(code="PRIOR_REF", lacks=("has_prior",)),))),
    "capabilities": _json(
        Capabilities(
            software="0.1.0",
            snapshot=_EVIDENCE.index_snapshot,
            cases=220,
            reports_read=220,
            encoder=_EVIDENCE.encoder,
            words_to_images=False,
            language_model=None,
            presets=(),
            experts=(),
            images_of_cases=True,
            jobs=True,
        )
    ),
    "ready": _json(Health(waiting={"interactive": 0, "bulk": 0}, working={"interactive": 1, "bulk": 0})),
}
"""By the name of the function that answers."""
EVENTS: Final = (
    f"event: sentence\nid: 0\ndata: {DraftEvent(event='sentence', number=0, sentence=_SENTENCE).model_dump_json()}\n\n"
    "event: draft\nid: 1\ndata: {...the whole draft...}\n\n"
)
"""A draft as it is told."""
PROBLEM: Final = _json(
    Problem(
        type="urn:prelim:error:invalid-request",
        title="The request does not have the form it must have",
        status=422,
        code="INVALID_REQUEST",
        detail="a field is not as it must be",
        fix="see errors, and /openapi.json for the form",
        trace_id="0af7651916cd43dd8448eb211c80319c",
        errors=(FieldFault(field="body.request.seed", what="Input should be greater than or equal to 0"),),
    )
)
"""What an error looks like."""
PARAMETERS: Final[Mapping[str, object]] = {
    "case_id": _CASE.case_id,
    "number": 0,
    "longest": 256,
    "job_id": _QUEUED.job_id,
    "Idempotency-Key": "7f0c2f3e-study-12",
}
"""Of paths, queries and headers."""
