"""One call: who asks, what is asked, how long there is time, and how every error leaves.

A stranger is refused before a message is read: each method is served as a stream of bytes, so that nothing is received
or parsed until its key has been looked at. To a caller that makes no difference. Browsers cannot speak gRPC without a
gateway, so no page from elsewhere can ask through one, as it might over HTTP.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from typing import Any, Final, Generic, Protocol, TypeVar

import grpc
from google.protobuf.message import DecodeError, Message
from grpc_status import rpc_status
from pydantic import ValidationError

from generation.halt import Halt
from retrieval.errors import Cancelled, Forbidden, ImageTooLarge, MalformedRequest, Unauthenticated
from retrieval.record import Record
from service.faults import invalid
from service.front import Front
from service.grpc import prelim_v1_pb2 as v1
from service.grpc.statuses import status_of, told_of
from service.keys import Key, Scope, holder
from service.observe.requests import watched
from service.request import DraftRequest
from service.uploads import MAX_BODY_BYTES, Incoming

Asked = TypeVar("Asked", bound=Message)
AnyRecord = TypeVar("AnyRecord", bound=Record)
MAX_MESSAGE_BYTES: Final = 64 * 2**20 + MAX_BODY_BYTES
"""Of one message, images and words. Less than over HTTP, where a form goes to disk while it comes in: gRPC hands over a
message as a whole and takes more than four times its size for a moment (measured). A chest radiograph has less than
40 MB."""
LONGEST_S: Final = 3600.0
"""A call's deadline further away is as good as none; drafts end by then."""
_LARGE: Final = 2**20
"""Bytes from which a message is parsed beside the loop."""


class Context(Protocol):
    """What is used of gRPC's own context."""

    async def read(self) -> object:
        """The bytes of the next message, or something else after the last."""
        ...

    async def write(self, message: bytes) -> None:
        """Send a message."""
        ...

    async def abort_with_status(self, status: grpc.Status) -> None:
        """End the call with an error; raises."""
        ...

    def invocation_metadata(self) -> Iterable[tuple[str, str | bytes]] | None:
        """What came before the first message."""
        ...

    def set_trailing_metadata(self, trailing_metadata: tuple[tuple[str, str], ...]) -> None:
        """What goes after the last one."""
        ...

    def time_remaining(self) -> float | None:
        """Seconds until the caller's deadline."""
        ...


@dataclass(frozen=True)
class Call(Generic[Asked]):
    """A call that may be answered."""

    front: Front
    """What it is answered from."""
    context: Context
    """The connection."""
    trace_id: str
    """Its number."""
    form: type[Asked]
    """What its messages are."""

    async def request(self) -> Asked:
        """The one message of a call that has one; raises MalformedRequest and ImageTooLarge."""
        if (message := await self.next()) is None:
            raise MalformedRequest("no message was sent", fix="send the request that the method takes")
        return message

    async def next(self) -> Asked | None:
        """The next message of a stream, None after the last; raises MalformedRequest and ImageTooLarge."""
        with _unless_gone():
            data = await self.context.read()
        return await self._parsed(data) if isinstance(data, bytes) else None

    async def _parsed(self, data: bytes) -> Asked:
        if len(data) > MAX_BODY_BYTES and not _HOLDS_IMAGES & {*self.form.DESCRIPTOR.fields_by_name}:
            raise ImageTooLarge(f"a message without images may have {MAX_BODY_BYTES >> 20} MB", fix="send less at once")
        try:
            if len(data) > _LARGE:
                return await asyncio.to_thread(self.form.FromString, data)
            return self.form.FromString(data)
        except DecodeError:
            raise MalformedRequest(
                "the message is not the one that this method takes", fix="send what prelim_v1.proto describes"
            ) from None

    def halt(self, asked: DraftRequest) -> Halt:
        """When to give up: the earlier of the call's deadline and the request's, else the service's own."""
        left = self.context.time_remaining()
        left = None if left is None or left >= LONGEST_S else left
        named = [seconds for seconds in (asked.deadline_s, left) if seconds is not None]
        return Halt(min(named) if named else self.front.deadline_s)


_HOLDS_IMAGES: Final = frozenset({"images", "request"})
Answer = Callable[[Call[Any]], AsyncGenerator[Message, None]]
"""What answers a method: its messages, of which a method that does not stream has one."""


def record_of(form: type[AnyRecord], message: Message, *, without: tuple[str, ...] = ()) -> AnyRecord:
    """The fields of a message that were set, as a record; raises InvalidRequest, naming fields and never values."""
    fields = {
        field.name: list(value) if field.is_repeated else value
        for field, value in message.ListFields()
        if field.name not in without
    }
    try:
        return form.model_validate(fields)
    except ValidationError as error:
        raise invalid(error, form) from None


class _Image:
    """One image of a message as a file, taken out of it when it is read and not before."""

    def __init__(self, images: Sequence[bytes], number: int) -> None:
        self._images, self._number = images, number
        self._rest: memoryview | None = None

    async def read(self, size: int, /) -> bytes:
        """The next bytes."""
        rest = memoryview(self._images[self._number]) if self._rest is None else self._rest
        part, self._rest = bytes(rest[:size]), rest[size:]
        return part


def images_of(message: v1.DraftRequest | v1.SearchRequest) -> list[Incoming]:
    """The images of a message as files."""
    return [_Image(message.images, number) for number in range(len(message.images))]


def handler(
    front: Front, route: str, form: type[Message], scope: Scope | None, answer: Answer
) -> Callable[[object, Context], Awaitable[None]]:
    """What gRPC calls for a method; `scope` is None for what is asked without a key."""

    async def answered(_: object, context: Context) -> None:
        metadata = metadata_of(context.invocation_metadata())
        with watched("grpc", route, traceparent=metadata.get("traceparent")) as watch:
            context.set_trailing_metadata((("x-trace-id", watch.trace_id),))
            try:
                if scope is not None:
                    _let_in(front, metadata, scope)
                async with aclosing(answer(Call(front, context, watch.trace_id, form))) as messages:
                    async for message in messages:
                        with _unless_gone():
                            await context.write(message.SerializeToString())
                return
            except asyncio.CancelledError:
                watch.ended("CANCELLED", "CANCELLED")  # nobody is there to be told
                raise
            except Exception as error:  # noqa: BLE001  gRPC would write it to its log, and its text to the caller
                told = told_of(error, watch.trace_id)
            watch.ended(told.status, told.code)
        # Outside of the watch: aborting is an exception to gRPC.
        await context.abort_with_status(rpc_status.to_status(status_of(told, watch.trace_id)))

    return answered


@contextmanager
def _unless_gone() -> Iterator[None]:
    """What gRPC raises of a connection that is no more, in whichever words, as Cancelled."""
    try:
        yield
    except Exception:  # noqa: BLE001  it has classes for it that nobody may name
        raise Cancelled("the caller has gone") from None


def asker(keys: tuple[Key, ...] | None, metadata: Mapping[str, str]) -> Key | None:
    """Whose key came before the first message; None for a stranger."""
    kind, _, secret = metadata.get("authorization", "").partition(" ")
    return holder(keys, secret.strip() if kind.lower() == "bearer" else None)


def no_key() -> Unauthenticated:
    """What a stranger is told."""
    return Unauthenticated("no key was sent, or one that is not known", fix="send authorization: Bearer and a key")


def _let_in(front: Front, metadata: Mapping[str, str], scope: Scope) -> None:
    key = asker(front.keys, metadata)
    if key is None:
        raise no_key()
    if scope not in key.scopes:
        raise Forbidden("the key is not for this", fix="use a key that has the scope")


def metadata_of(sent: Iterable[tuple[str, str | bytes]] | None) -> dict[str, str]:
    """Metadata of text; of a name that comes twice the last."""
    return {name: value for name, value in sent or () if isinstance(value, str)}
