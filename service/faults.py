"""What each error means to a caller: one table for every face, so that HTTP, gRPC and jobs never disagree.

The most special class in the table that an error is decides. What is not in the family is a fault of ours: its text may
hold anything and is never shown, only the number under which the log has it.
"""

from typing import Final, Literal, NamedTuple

from retrieval.errors import (
    Cancelled,
    DeadlineExceeded,
    DecoderTimeout,
    ImageTooLarge,
    KeyReused,
    NoIndex,
    OperatorError,
    Overloaded,
    PrelimError,
    RequestError,
    RetryableError,
    StoreFull,
    UnknownCase,
    UnknownJob,
    UnknownSnapshot,
    UnreadableImage,
    UnsupportedImage,
)

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
