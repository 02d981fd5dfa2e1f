"""Errors as google.rpc.Status, and as faults of one item: the same code, title, words and fix as a problem over HTTP.

What they mean is `service.faults`' affair. Nothing that was sent is repeated.
"""

from typing import Final

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc import error_details_pb2 as details
from google.rpc.status_pb2 import Status

from retrieval.errors import InvalidRequest, Overloaded, PrelimError
from retrieval.record import Record
from service.faults import UNFORESEEN, log_unforeseen, meaning_of

DOMAIN: Final = "prelim"
"""Whose codes `ErrorInfo.reason` names."""


class Told(Record):
    """An error as a caller sees it."""

    code: str
    """Stable code to act on."""
    title: str
    """The kind of error, equal for every occurrence."""
    detail: str
    """What happened."""
    fix: str
    """What the caller can do about it."""
    status: str
    """The name of the gRPC status."""
    fields: tuple[tuple[str, str], ...] = ()
    """Each field that is wrong, and how."""
    retry_after_s: float = 0.0
    """When to come again; 0 for no advice."""


def told_of(error: Exception, trace_id: str) -> Told:
    """What is told of an error; one that nobody raised on purpose is logged by kind and place and told by number."""
    meaning = meaning_of(error)
    if not isinstance(error, PrelimError):
        log_unforeseen(error, trace_id)
        return Told(
            code="UNFORESEEN",
            title=UNFORESEEN.title,
            detail="an error that nobody foresaw",
            fix="tell whoever runs the service the trace id",
            status=UNFORESEEN.grpc,
        )
    return Told(
        code=error.code,
        title=meaning.title,
        detail=error.unquoted,
        fix=error.fix,
        status=meaning.grpc,
        fields=error.fields if isinstance(error, InvalidRequest) else (),
        retry_after_s=error.retry_after_s if isinstance(error, Overloaded) else 0.0,
    )


def status_of(told: Told, trace_id: str) -> Status:
    """The error with its details."""
    packed: list[Message] = [
        details.ErrorInfo(reason=told.code, domain=DOMAIN, metadata={"title": told.title, "fix": told.fix}),
        details.RequestInfo(request_id=trace_id),
    ]
    if told.fields:
        violation = details.BadRequest.FieldViolation
        wrong = [violation(field=field, description=what) for field, what in told.fields]
        packed.append(details.BadRequest(field_violations=wrong))
    if told.retry_after_s:
        delay = Duration()
        delay.FromMilliseconds(round(told.retry_after_s * 1000))
        packed.append(details.RetryInfo(retry_delay=delay))
    status = Status(code=getattr(grpc.StatusCode, told.status).value[0], message=told.detail)
    for each in packed:
        any_message = AnyMessage()
        any_message.Pack(each)
        status.details.append(any_message)
    return status
