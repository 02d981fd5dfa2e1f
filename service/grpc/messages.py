"""Records as messages: what integrators read as typed fields, and the whole record as JSON beside them.

Names and values are those of the records, so that both faces speak with one vocabulary.
"""

from generation.draft import Draft, DraftEvent, Sentence
from retrieval.checks.remark import Checked
from retrieval.records import Case, RetrievedCase, SimilarCases
from service.capabilities import Capabilities
from service.grpc import prelim_v1_pb2 as v1
from service.grpc.statuses import Told


def draft_message(draft: Draft) -> v1.Draft:
    """A draft."""
    return v1.Draft(
        status=draft.status,
        reason=draft.reason,
        explanation=draft.explanation,
        sentences=[_sentence(each) for each in draft.sentences],
        warnings=draft.warnings,
        similar_cases=[_similar(each) for each in draft.evidence.cases],
        drafter=draft.drafter,
        snapshot=draft.evidence.index_snapshot,
        fallback=draft.fallback,
        dropped=draft.dropped,
        software=draft.software,
        record_json=draft.model_dump_json().encode(),
    )


def event_message(event: DraftEvent) -> v1.DraftEvent:
    """What is told of a draft while it is written."""
    told = v1.ToldSentence(
        number=event.number, sentence=_sentence(event.sentence), record_json=event.model_dump_json().encode()
    )
    return v1.DraftEvent(sentence=told) if event.event == "sentence" else v1.DraftEvent(withdrawn=told)


def fault_message(told: Told, trace_id: str) -> v1.Fault:
    """What is at fault with one item of many."""
    return v1.Fault(
        code=told.code,
        title=told.title,
        detail=told.detail,
        fix=told.fix,
        trace_id=trace_id,
        fields=[v1.FieldFault(field=field, what=what) for field, what in told.fields],
        retry_after_s=told.retry_after_s,
    )


def similar_message(found: SimilarCases) -> v1.SimilarCases:
    """The answer to a search."""
    return v1.SimilarCases(
        in_scope=found.verdict.in_scope,
        reason=found.verdict.reason or found.reason,
        explanation=found.verdict.explanation or found.explanation,
        warnings=found.verdict.warnings,
        cases=[_similar(each) for each in found.evidence.cases],
        snapshot=found.evidence.index_snapshot,
        legs=found.evidence.legs,
        record_json=found.model_dump_json().encode(),
    )


def case_message(case: Case) -> v1.Case:
    """An indexed case."""
    return v1.Case(
        case_id=case.case_id,
        report=case.report.text,
        views=[image.view for image in case.images],
        source=case.source,
        licence=case.licence,
        attribution=case.attribution,
        sex=case.sex,
        age_band=case.age_band,
        record_json=case.model_dump_json().encode(),
    )


def checked_message(checked: Checked) -> v1.Checked:
    """Remarks on a report."""
    return v1.Checked(
        remarks=[
            v1.Remark(
                code=each.code, severity=each.severity, explanation=each.explanation, start=each.start, end=each.end
            )
            for each in checked.remarks
        ],
        not_run=[each.code for each in checked.not_run],
        record_json=checked.model_dump_json().encode(),
    )


def capabilities_message(can: Capabilities) -> v1.Capabilities:
    """What can be asked for."""
    return v1.Capabilities(
        software=can.software,
        snapshot=can.snapshot,
        cases=can.cases,
        language_model=can.language_model,
        presets=can.presets,
        images_of_cases=can.images_of_cases,
        record_json=can.model_dump_json().encode(),
    )


def _sentence(sentence: Sentence) -> v1.Sentence:
    support = sentence.support
    return v1.Sentence(
        text=sentence.text,
        section=sentence.section,
        topic=sentence.topic,
        abnormal=sentence.abnormal,
        support=v1.Support(
            case_ids=support.case_ids, of=support.of, experts=support.experts, prior=support.prior
        ),
        flags=[
            v1.Flag(code=flag.code, severity=flag.severity, explanation=flag.explanation) for flag in sentence.flags
        ],
    )  # fmt: skip


def _similar(found: RetrievedCase) -> v1.SimilarCase:
    case, compared = found.case, found.comparison
    return v1.SimilarCase(
        case_id=case.case_id,
        rank=found.rank,
        similarity=found.similarity,
        report=case.report.text,
        source=case.source,
        licence=case.licence,
        attribution=case.attribution,
        sex=case.sex,
        age_band=case.age_band,
        found_by=[v1.FoundBy(leg=each.leg, rank=each.rank, similarity=each.similarity) for each in found.found_by],
        shared=[each.concept for each in compared.shared] if compared else (),
        contradicting=[each.concept for each in compared.contradicting] if compared else (),
    )
