"""What is looked at before a body is read: who asks, from where, how much is coming, and of what kind.

A stranger's bytes are neither parsed nor kept: each refusal here happens on headers alone, or while bytes are counted.
"""

from collections.abc import AsyncGenerator, Callable, Coroutine
from typing import Any, Final
from urllib.parse import urlsplit

from fastapi import Request, Response, params
from fastapi.routing import APIRoute
from python_multipart.multipart import parse_options_header
from starlette.datastructures import FormData, Headers
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException
from starlette.requests import AwaitableOrContextManager  # type: ignore[attr-defined]
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from retrieval.study import MAX_IMAGES
from service.front import Front
from service.http.keys import AsksFor
from service.http.problems import answer, of_status
from service.keys import is_loopback
from service.uploads import MAX_BODY_BYTES, MAX_UPLOAD_BYTES, no_room

_MULTIPART: Final = "multipart/form-data"
_EPILOGUE: Final = 1024
"""Bytes that may follow the end of a form; nobody reads them."""
_MOST_FIELDS: Final = 8
"""Parts of a form beside its images."""


class Guarded(APIRoute):
    """A route that refuses by key and by kind of body before it reads one."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The framework's handler behind the guard."""
        handle = super().get_route_handler()
        asked = [each.call for each in self.dependant.dependencies if isinstance(each.call, AsksFor)]
        drafts = any(each.scope == "draft" for each in asked)
        form = self.body_field is not None and isinstance(self.body_field.field_info, params.Form)

        async def guarded(request: Request) -> Response:
            for each in asked:
                await each.before_the_body(request)
            if self.body_field is not None and not _is(request.headers.get("content-type", ""), form=form):
                raise HTTPException(415)
            if drafts:
                front: Front = request.app.state.front
                front.room.announce()
            try:
                return await handle(_FewParts(request.scope, request.receive))
            except HTTPException as error:
                if isinstance(error.__cause__, OSError):  # the framework calls the form malformed then
                    raise no_room() from error
                raise

        return guarded


class CountedBody:
    """Refuse a body that is larger than any request may be: by what it says of itself, or while it arrives."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on a request whose body is counted."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        most = MAX_UPLOAD_BYTES if headers.get("content-type", "").startswith(_MULTIPART) else MAX_BODY_BYTES
        said = headers.get("content-length", "")
        if said.isdigit() and (len(said) > 15 or int(said) > most):
            await answer(of_status(413, scope))(scope, receive, send)
            return
        seen = 0

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > most:
                raise HTTPException(413)  # the framework lets its own errors through while it reads a body
            return message

        await self._app(scope, counted, send)


class OfThisMachine:
    """Where no keys are asked for: refuse what a page from elsewhere makes a browser on this machine ask.

    Such a page cannot forge the `Host` it was loaded by nor its `Origin`, so a name that was made to point to this
    machine gives itself away.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on what this machine itself asks."""
        if scope["type"] == "http":
            headers = Headers(scope=scope)
            origin = headers.get("origin")
            # Beside `Host`, an origin of this machine but another port is another page: forms of it are refused too.
            if not is_loopback(_name(headers.get("host", ""))):
                await answer(of_status(421, scope))(scope, receive, send)
                return
            if origin is not None and origin != f"{scope['scheme']}://{headers.get('host', '')}":
                await answer(of_status(403, scope))(scope, receive, send)
                return
        await self._app(scope, receive, send)


def _name(host: str) -> str:
    """The name or address of a `Host`, without its port; empty for what is none."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _is(content_type: str, *, form: bool) -> bool:
    kind = content_type.partition(";")[0].strip().lower()
    if form:
        return kind == _MULTIPART
    return kind == "application/json" or (kind.startswith("application/") and kind.endswith("+json"))


class _FewParts(Request):
    """A request whose form is whole, and has no more parts than any request needs: each costs a file or memory."""

    async def stream(self) -> AsyncGenerator[bytes, None]:
        """The body as it comes; 400 for a form that was cut off, whose last image may be half of one."""
        kind, options = parse_options_header(self.headers.get("content-type"))
        end, tail = b"--" + options.get(b"boundary", b"") + b"--", b""
        async for chunk in super().stream():
            tail = (tail + chunk)[-len(end) - _EPILOGUE :]
            yield chunk
        if kind == _MULTIPART.encode() and end not in tail:
            raise MultiPartException("the form was cut off")

    def form(
        self, *, max_files: float = MAX_IMAGES + 1, max_fields: float = _MOST_FIELDS, max_part_size: int = 2**21
    ) -> "AwaitableOrContextManager[FormData]":
        """The form; 400 for one with more parts."""
        return super().form(max_files=max_files, max_fields=max_fields, max_part_size=max_part_size)
