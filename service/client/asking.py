"""What both clients share: images, errors as the service raised them, and patience where it is safe.

An error comes out of a client as the class that the service raised, so that one `except` serves a program whether it
calls the drafter itself or through a face. Nothing that a caller sends leaves a file name behind.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Final, TypeVar

from pydantic import ValidationError

from retrieval import errors
from retrieval.errors import (
    BrokenLogits,
    InvalidRequest,
    OperatorError,
    Overloaded,
    PrelimError,
    UnreadableImage,
)
from retrieval.record import Record

T = TypeVar("T")
AnyRecord = TypeVar("AnyRecord", bound=Record)
Images = Sequence[Path | bytes]
"""The images of one study: files, or what is in them."""
TIMEOUT_S: Final = 150.0
"""Seconds to wait for an answer when a request names no deadline: more than the service gives a draft."""
BEYOND_S: Final = 5.0
"""How much longer than a request's deadline its answer is waited for: the service itself says when it has passed."""
_TRIES: Final = 4
_LONGEST_WAIT_S: Final = 30.0


def content(image: Path | bytes) -> bytes:
    """The bytes of an image; raises UnreadableImage for a file that cannot be read."""
    if isinstance(image, bytes):
        return image
    try:
        return image.read_bytes()
    except OSError as error:
        raise UnreadableImage(f"a file cannot be read: {error.strerror}", fix="give files that are there") from error


def waited_s(deadline_s: float | None) -> float:
    """How long to wait for an answer."""
    return TIMEOUT_S if deadline_s is None else deadline_s + BEYOND_S


def patiently(ask: Callable[[], T]) -> T:
    """Ask; where too much is waiting, come again a few times when the service says. Nothing was begun then."""
    for tried in range(1, _TRIES + 1):
        try:
            return ask()
        except Overloaded as error:
            if tried == _TRIES or error.retry_after_s > _LONGEST_WAIT_S:
                raise
            time.sleep(error.retry_after_s)
    raise AssertionError


def read(form: type[AnyRecord], json: bytes | str) -> AnyRecord:
    """An answer as a record; raises OperatorError where it is of another version."""
    try:
        return form.model_validate_json(json)
    except ValidationError:
        # Not chained: what pydantic says of it quotes the answer.
        raise OperatorError(
            f"the answer is no {form.__name__} of this version", fix="use the client of the service's own version"
        ) from None


def raised_there(
    code: str,
    otherwise: type[PrelimError],
    *,
    detail: str,
    fix: str = "",
    fields: tuple[tuple[str, str], ...] = (),
    retry_after_s: float = 0.0,
    trace_id: str = "",
) -> PrelimError:
    """The error that the service raised, by its code; for a code that no class has, one of `otherwise`."""
    kind = _classes().get(code, otherwise)
    error: PrelimError
    if issubclass(kind, Overloaded):
        error = kind(detail, retry_after_s=max(retry_after_s, 0.1), fix=fix)
    elif issubclass(kind, InvalidRequest):
        error = kind("; ".join([detail, *(f"{field}: {what}" for field, what in fields)]), fields=fields, fix=fix)
    elif issubclass(kind, BrokenLogits):
        error = kind(detail, groups=(), fix=fix)
    else:
        error = kind(detail, fix=fix)
    if trace_id:
        error.add_note(f"{code}, trace id {trace_id}")
    return error


@cache
def _classes() -> Mapping[str, type[PrelimError]]:
    """Every error of the family by its code; what other modules make of them has the code of its class there."""
    named = (each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, PrelimError))
    return {each.code: each for each in named}
