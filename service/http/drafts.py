"""Drafts over HTTP: the whole at once, or sentence by sentence as they are checked.

`Accept: text/event-stream` asks for events (`sentence`, `withdrawn`, then `draft` or `error`); else the answer is the
draft. A caller who goes away cancels: whoever drafts is told within a quarter of a second. What was sent stays on disk
until nobody reads it any more, and no longer.
"""

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Annotated, Final

from fastapi import APIRouter, Depends, File, Form, Request, Response, UploadFile
from pydantic import ValidationError
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from generation.draft import Draft, DraftEvent, Tell
from generation.halt import Halt
from retrieval.errors import Cancelled, PrelimError
from service.front import Front
from service.http.guard import Guarded
from service.http.keys import AsksFor
from service.http.problems import note, problem_of, trace_of, unforeseen, wrong_form
from service.keys import Key
from service.request import DraftRequest
from service.uploads import Uploaded, received

router = APIRouter(prefix="/v1", tags=["drafts"], route_class=Guarded)
IMAGES: Final = "The images of ONE study: DICOM, PNG or JPEG. File names are not used."
REQUEST: Final = "A JSON object, everything in it optional: see the schema DraftRequest."
EVENTS: Final = "text/event-stream"
LOOK_S: Final = 0.1
"""How often it is looked whether the caller is still there."""
_PING_S: Final = 15.0
"""Something is said at least so often, so that nothing on the way takes the connection for dead."""


def draft_request(request: Annotated[str, Form(description=REQUEST)] = "{}") -> DraftRequest:
    """The part named `request`, read; what is wrong with it is told field by field."""
    try:
        return DraftRequest.model_validate_json(request)
    except ValidationError as error:
        raise wrong_form(error, "request") from None


Images = Annotated[list[UploadFile], File(description=IMAGES)]
Asked = Annotated[DraftRequest, Depends(draft_request)]


@router.post("/drafts", summary="Draft one study", response_model=Draft)
async def create_draft(
    http: Request, images: Images, asked: Asked, key: Annotated[Key, Depends(AsksFor("draft"))]
) -> Response | Draft:
    """Draft one study from its images: sentences for a radiologist to edit, each with what it rests on.

    Out of scope, no similar case and nothing agreed on are answers (`status: abstained` with a `reason`), not errors.
    With `Accept: text/event-stream` each sentence is told as soon as it is written and checked.
    """
    front: Front = http.app.state.front
    uploaded = await received(images)
    if EVENTS not in http.headers.get("accept", ""):
        return await _whole(http, _begin(front, uploaded, asked))
    loop, told = asyncio.get_running_loop(), asyncio.Queue[DraftEvent | None]()
    drafting = _begin(front, uploaded, asked, lambda event: _later(loop, told, event))
    drafting.future.add_done_callback(lambda _: _later(loop, told, None))
    return _Told(drafting, told, http)


@dataclass(frozen=True)
class _Drafting:
    """A draft under way."""

    future: Future[Draft]
    halt: Halt

    def leave(self) -> None:
        """Nobody waits any more; nothing happens to a draft that is done."""
        self.halt.cancel()
        self.future.cancel()


def _begin(front: Front, uploaded: Uploaded, asked: DraftRequest, tell: Tell | None = None) -> _Drafting:
    """Begin a draft; its images go when it has ended, however it ends."""
    halt = front.halt(asked)
    try:
        future = front.draft(uploaded.paths, asked, tell=tell, halt=halt)
    except BaseException:
        uploaded.remove()
        raise
    future.add_done_callback(lambda _: uploaded.remove())
    return _Drafting(future, halt)


async def _whole(http: Request, drafting: _Drafting) -> Draft:
    """The draft, while it is looked whether there is time left and the caller is still there."""
    waiting = asyncio.wrap_future(drafting.future)
    waiting.add_done_callback(lambda done: done.cancelled() or done.exception())  # it may end after we left
    try:
        while not (await asyncio.wait([waiting], timeout=LOOK_S))[0]:
            drafting.halt.check()
            if await http.is_disconnected():
                raise Cancelled("the caller has gone")
        return waiting.result()
    finally:
        drafting.leave()


class _Told(StreamingResponse):
    """Server-sent events of a draft; the last one is `draft` or `error`. A caller who goes away cancels it."""

    def __init__(self, drafting: _Drafting, told: "asyncio.Queue[DraftEvent | None]", http: Request) -> None:
        super().__init__(_events(drafting, told, http), media_type=EVENTS, headers={"X-Accel-Buffering": "no"})
        self._drafting = drafting

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events, until the end or until the caller goes."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            if not self._drafting.future.done():
                note(scope, Cancelled.code)  # the answer has begun, so no status can say it
            self._drafting.leave()


async def _events(drafting: _Drafting, told: "asyncio.Queue[DraftEvent | None]", http: Request) -> AsyncIterator[str]:
    """Each event as it happens."""
    number, silent_s = 0, 0.0
    try:
        while True:
            try:
                event = await asyncio.wait_for(told.get(), LOOK_S)
            except TimeoutError:
                drafting.halt.check()
                silent_s += LOOK_S
                if silent_s >= _PING_S:
                    silent_s = 0.0
                    yield ": still here\n\n"
                continue
            silent_s = 0.0
            if event is None:
                break
            yield _event(event.event, number, event.model_dump_json())
            number += 1
        yield _event("draft", number, drafting.future.result().model_dump_json())
    except PrelimError as error:
        note(http.scope, error.code)
        yield _event("error", number, problem_of(error, trace_of(http)).model_dump_json())
    except Exception as error:  # noqa: BLE001  the stream has begun: it is told as its last event, by its number alone
        problem = unforeseen(error, trace_of(http))
        note(http.scope, problem.code)
        yield _event("error", number, problem.model_dump_json())


def _event(name: str, number: int, data: str) -> str:
    """One event; JSON has no line breaks of its own."""
    return f"event: {name}\nid: {number}\ndata: {data}\n\n"


def _later(loop: asyncio.AbstractEventLoop, told: "asyncio.Queue[DraftEvent | None]", event: DraftEvent | None) -> None:
    """Hand an event from the thread that drafts to the loop that tells; the loop may have ended with the service."""
    if not loop.is_closed():
        loop.call_soon_threadsafe(told.put_nowait, event)
