"""Drafts over gRPC: the whole, sentence by sentence, and many at once.

A caller who goes away, or whose deadline passes, cancels: whoever drafts is told at once. What was sent stays on disk
until nobody reads it any more. Many studies wait behind people, as everything of bulk does; of a stream no more is read
than `AHEAD` studies before their replies are written, so that a sender is slowed down instead of refused.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from concurrent.futures import Future
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from generation.draft import Draft, DraftEvent, Tell
from generation.halt import Halt
from retrieval.errors import InvalidRequest, Overloaded
from service.bulk_input import LONGEST_NAME
from service.front import Front
from service.grpc import prelim_v1_pb2 as v1
from service.grpc.call import Call, images_of, record_of
from service.grpc.messages import draft_message, event_message, fault_message
from service.grpc.statuses import told_of
from service.request import DraftRequest
from service.uploads import Uploaded, received
from service.waiting import Urgency

AHEAD: Final = 8
"""Studies of one bulk stream that have been read and not answered."""
LOOK_S: Final = 0.05
"""How often a study of a bulk stream looks for a place to wait in."""


@dataclass(frozen=True)
class Drafting:
    """A draft under way."""

    future: Future[Draft]
    """Its end."""
    halt: Halt
    """When to give up."""

    async def ended(self) -> Draft:
        """The draft; raises what ended it, and DeadlineExceeded at the deadline."""
        waiting = asyncio.wrap_future(self.future)
        waiting.add_done_callback(lambda done: done.cancelled() or done.exception())  # it may end after we left
        while not (await asyncio.wait([waiting], timeout=self.halt.left))[0]:
            self.halt.check()
        if waiting.cancelled():
            raise Overloaded("the service is shutting down", retry_after_s=1.0)
        return waiting.result()


async def draft(call: Call[v1.DraftRequest]) -> AsyncGenerator[v1.Draft, None]:
    """The whole draft."""
    asked, halt, uploaded = await _taken(call)
    async with _begun(call.front, asked, uploaded, halt) as drafting:
        yield draft_message(await drafting.ended())


async def stream_draft(call: Call[v1.DraftRequest]) -> AsyncGenerator[v1.DraftEvent, None]:
    """Each sentence as it is checked, and the draft."""
    asked, halt, uploaded = await _taken(call)
    loop, told = asyncio.get_running_loop(), asyncio.Queue[DraftEvent | None]()

    def tell(event: DraftEvent | None) -> None:
        """From the thread that drafts; the loop may have ended with the service."""
        if not loop.is_closed():
            loop.call_soon_threadsafe(told.put_nowait, event)

    async with _begun(call.front, asked, uploaded, halt, tell=tell) as drafting:
        drafting.future.add_done_callback(lambda _: tell(None))
        while True:
            try:
                event = await asyncio.wait_for(told.get(), drafting.halt.left)
            except TimeoutError:
                drafting.halt.check()
                continue
            if event is None:
                break
            yield event_message(event)
        yield v1.DraftEvent(draft=draft_message(await drafting.ended()))


async def bulk(call: Call[v1.BulkRequest]) -> AsyncGenerator[v1.BulkReply, None]:
    """A reply to each study, in the order in which they are ready."""
    reading: asyncio.Task[v1.BulkRequest | None] | None = None
    under_way: set[asyncio.Task[v1.BulkReply]] = set()
    more = True
    try:
        while more or under_way:
            # 1. Read the next study while there is room for it.
            if more and reading is None and len(under_way) < AHEAD:
                reading = asyncio.ensure_future(call.next())
            # 2. Wait for it, or for a reply.
            waiting = {*under_way, reading} if reading else under_way
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            if reading and reading.done():
                message, reading = reading.result(), None
                more = message is not None
                if message is not None:
                    under_way.add(asyncio.ensure_future(_reply(call, message)))
                del message  # its images are on disk soon, and need not be in memory, too
            # 3. Write what is ready; until it is written it counts as under way.
            for ready in [each for each in under_way if each.done()]:
                yield ready.result()
                under_way.discard(ready)
    finally:
        left = [*under_way, *([reading] if reading else [])]
        for each in left:
            each.cancel()
        await asyncio.gather(*left, return_exceptions=True)


async def _reply(call: Call[v1.BulkRequest], message: v1.BulkRequest) -> v1.BulkReply:
    """The draft of one study of many, or what is at fault with it."""
    item = message.item[:LONGEST_NAME]
    try:
        if not 0 < len(message.item) <= LONGEST_NAME:
            long = f"1 to {LONGEST_NAME} characters"
            raise InvalidRequest("a field is not as it must be", fields=(("item", f"should have {long}"),))
        asked = record_of(DraftRequest, message.request, without=("images",))
        halt = Halt(asked.deadline_s)
        uploaded = await received(images_of(message.request))
        del message
        async with _begun(call.front, asked, uploaded, halt, urgency="bulk") as drafting:
            return v1.BulkReply(item=item, draft=draft_message(await drafting.ended()))
    except Exception as error:  # noqa: BLE001  one study must not end the others
        told = told_of(error, call.trace_id)
        return v1.BulkReply(item=item, fault=fault_message(told, call.trace_id))


async def _taken(call: Call[v1.DraftRequest]) -> tuple[DraftRequest, Halt, Uploaded]:
    """What is asked, and its images on disk; the message itself is gone."""
    message = await call.request()
    asked = record_of(DraftRequest, message, without=("images",))
    return asked, call.halt(asked), await received(images_of(message))


@asynccontextmanager
async def _begun(
    front: Front,
    asked: DraftRequest,
    uploaded: Uploaded,
    halt: Halt,
    *,
    tell: Tell | None = None,
    urgency: Urgency = "interactive",
) -> AsyncIterator[Drafting]:
    """Begin a draft, and end it with the block; its images go when it has ended, however it ends."""
    try:
        while (future := _seated(front, uploaded.paths, asked, tell, halt, urgency)) is None:
            halt.check()
            await asyncio.sleep(LOOK_S)
    except BaseException:
        uploaded.remove()
        raise
    future.add_done_callback(lambda _: uploaded.remove())
    try:
        yield Drafting(future, halt)
    finally:
        halt.cancel()
        future.cancel()


def _seated(
    front: Front, paths: Sequence[Path], asked: DraftRequest, tell: Tell | None, halt: Halt, urgency: Urgency
) -> Future[Draft] | None:
    """The draft to come. For a person a full room is an error; what is bulk tries again, which is None."""
    if urgency == "bulk" and front.room.full(urgency):
        return None
    try:
        return front.draft(paths, asked, tell=tell, halt=halt, urgency=urgency)
    except Overloaded:
        if urgency == "interactive":
            raise
        return None
