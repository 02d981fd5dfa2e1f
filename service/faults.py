"""What each error means to a caller: one table for every face, so that HTTP, gRPC and jobs never disagree.

The most special class in the table that an error is decides. What is not in the family is a fault of ours: its text may
hold anything and is never shown, only the number under which the log has it.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any, Final, Literal, NamedTuple

from pydantic import ValidationError

from retrieval.errors import (
    Cancelled,
    DeadlineExceeded,
    DecoderTimeout,
    Forbidden,
    ImageTooLarge,
    InvalidRequest,
    KeyReused,
    MalformedRequest,
    NoIndex,
    OperatorError,
    Overloaded,
    PrelimError,
    RequestError,
    RetryableError,
    StoreFull,
    Unauthenticated,
    UnknownCase,
    UnknownJob,
    UnknownSnapshot,
    UnreadableImage,
    UnsupportedImage,
)
from retrieval.record import Record
from service.observe import logs

GrpcCode = Literal[
    "INVALID_ARGUMENT", "NOT_FOUND", "ALREADY_EXISTS", "RESOURCE_EXHAUSTED", "UNAVAILABLE", "DEADLINE_EXCEEDED",
    "CANCELLED", "INTERNAL", "FAILED_PRECONDITION", "UNAUTHENTICATED", "PERMISSION_DENIED",
]  # fmt: skip


class Meaning(NamedTuple):
    """What a caller sees."""

    http: int
    """Status (RFC 9110; 499 is nginx's, for a caller who has gone)."""
    grpc: GrpcCode
    """Status (grpc.github.io, Status codes and their use)."""
    title: str
    """The kind of problem in a few words, equal for every occurrence (RFC 9457)."""


TABLE: Final[dict[type[PrelimError], Meaning]] = {
    UnreadableImage: Meaning(422, "INVALID_ARGUMENT", "An image cannot be read"),
    UnsupportedImage: Meaning(415, "INVALID_ARGUMENT", "Images of this kind are not read"),
    ImageTooLarge: Meaning(413, "INVALID_ARGUMENT", "Something sent is too large"),
    NoIndex: Meaning(404, "NOT_FOUND", "There is no such index"),
    UnknownCase: Meaning(404, "NOT_FOUND", "There is no such case"),
    UnknownJob: Meaning(404, "NOT_FOUND", "There is no such job"),
    UnknownSnapshot: Meaning(404, "NOT_FOUND", "There is no such snapshot"),
    KeyReused: Meaning(409, "ALREADY_EXISTS", "The idempotency key stands for another request"),
    MalformedRequest: Meaning(400, "INVALID_ARGUMENT", "The request is malformed"),
    InvalidRequest: Meaning(422, "INVALID_ARGUMENT", "The request does not have the form it must have"),
    Unauthenticated: Meaning(401, "UNAUTHENTICATED", "No key, or one that is not known"),
    Forbidden: Meaning(403, "PERMISSION_DENIED", "This is not allowed"),
    RequestError: Meaning(422, "INVALID_ARGUMENT", "The request cannot be answered as it is"),
    Overloaded: Meaning(429, "RESOURCE_EXHAUSTED", "Too much is waiting"),
    DecoderTimeout: Meaning(422, "INVALID_ARGUMENT", "Decoding took too long"),
    DeadlineExceeded: Meaning(504, "DEADLINE_EXCEEDED", "Not ready in time"),
    Cancelled: Meaning(499, "CANCELLED", "Cancelled by the caller"),
    StoreFull: Meaning(507, "RESOURCE_EXHAUSTED", "No room is left"),
    RetryableError: Meaning(503, "UNAVAILABLE", "Try again later"),
    OperatorError: Meaning(500, "INTERNAL", "Somebody has to repair something"),
    PrelimError: Meaning(500, "INTERNAL", "Something went wrong"),
}
"""The table; a subclass that is not named means what its nearest named ancestor means."""
UNFORESEEN: Final = Meaning(500, "INTERNAL", "Something went wrong")
"""An error that nobody raised on purpose."""


def meaning_of(error: BaseException) -> Meaning:
    """What an error means to a caller."""
    return next((TABLE[kind] for kind in type(error).__mro__ if kind in TABLE), UNFORESEEN)


_SAFE: Final = frozenset({
    "missing", "int_parsing", "float_parsing", "bool_parsing", "string_too_long", "string_too_short",
    "int_type", "string_type", "greater_than_equal", "less_than_equal", "greater_than", "less_than", "too_long",
    "literal_error",
})  # fmt: skip
"""Kinds of faults whose words name bounds, types and what is allowed only. Others may quote what was sent."""


class FieldFault(Record):
    """One field that is not as it must be."""

    field: str
    """Where it stands, as `body.seed` or `query.limit`."""
    what: str
    """What is wrong, without the value."""


def words_of(fault: Mapping[str, Any]) -> str:
    """What is wrong with a field, without the value."""
    kind = str(fault["type"])
    return str(fault["msg"]) if kind in _SAFE else kind.replace("_", " ")


def invalid(error: ValidationError, form: type[Record], place: str = "") -> InvalidRequest:
    """What is wrong with a request that was read as `form`, below `place`, field by field.

    Names that are not of the form are the caller's, and may be anything.
    """
    faults = error.errors(include_url=False, include_context=False, include_input=False)
    fields = []
    for fault in faults[:20]:
        parts = [
            str(part) if isinstance(part, int) or part in _names_of(form) else "(unknown)" for part in fault["loc"]
        ]
        fields.append((".".join([place, *parts] if place else parts), words_of(fault)))
    what = f"{len(faults)} fields are not as they must be" if len(faults) > 1 else "a field is not as it must be"
    return InvalidRequest(what, fields=tuple(fields), fix="see the fields named, and what this version takes")


@cache
def _names_of(form: type[Record]) -> frozenset[str]:
    """Every name of a field of a record, and of the records in it."""
    schema = form.model_json_schema()
    return frozenset(
        name for each in (schema, *schema.get("$defs", {}).values()) for name in each.get("properties", ())
    )


def log_unforeseen(error: BaseException, trace_id: str) -> None:
    """Log an error nobody raised on purpose: its kind and place, never its text, which may hold anything."""
    logs.unforeseen(error, trace_id)
