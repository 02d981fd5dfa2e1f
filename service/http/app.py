"""The HTTP face, version 1: routes, limits and errors around the desk.

A request comes in with a number (`trace_id`), is counted while its body arrives, and leaves as an answer or as a
problem (RFC 9457). What is drafted, found and checked is the desk's affair; each route translates and nothing more.
"""

from importlib.metadata import version
from typing import Final

from fastapi import FastAPI
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.front import Front
from service.http import capabilities, cases, checks, document, drafts, jobs, metrics, problems, search
from service.http.guard import CountedBody, OfThisMachine
from service.http.page import page
from service.observe.requests import watched

GONE: Final = 499
"""The status of a request whose caller went away before there was an answer, as nginx has it."""
DESCRIPTION: Final = (
    "Preliminary report drafts for a radiologist to edit and sign, similar cases, and checks of reports. "
    "A draft is never a report and never final without a named person. Every error is a problem (RFC 9457) with a "
    "stable `code`; no problem repeats anything that was sent."
)


def create_app(front: Front) -> FastAPI:
    """The application around an open front; the caller closes the front when serving has ended."""
    app = FastAPI(
        title="Prelim",
        version=version("prelim"),
        summary="Radiology report drafts that show their evidence",
        description=DESCRIPTION,
        docs_url=None,  # their pages load scripts from elsewhere
        redoc_url=None,
        swagger_ui_oauth2_redirect_url=None,
        redirect_slashes=False,  # a path is what it is, and a redirect would repeat it
    )
    app.state.front = front
    problems.add_problems(app)
    for part in (drafts, jobs, search, cases, checks, capabilities, metrics, page):
        app.include_router(part.router)
    document.describe(app)
    app.add_middleware(CountedBody)
    if front.keys is None:
        app.add_middleware(OfThisMachine)
    app.add_middleware(_Numbered)
    return app


class _Numbered:
    """Watch each request, and give each answer its number and the headers that every answer has; let no error out."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        traceparent = Headers(scope=scope).get("traceparent")
        with watched("http", method=scope["method"], traceparent=traceparent) as request:
            scope.setdefault("state", {})["trace_id"] = request.trace_id
            status = await self._answered(scope, receive, send, request.trace_id)
            request.route = getattr(scope.get("route"), "path_format", request.route)
            request.ended(status, scope["state"].get("code", ""))

    async def _answered(self, scope: Scope, receive: Receive, send: Send, trace_id: str) -> int:
        """Let the request be answered; the status of the answer, or GONE where nobody waited for one."""
        status, begun = GONE, False

        async def with_headers(message: Message) -> None:
            nonlocal status, begun
            if message["type"] == "http.response.start":
                status, begun = message["status"], True
                headers = MutableHeaders(scope=message)
                headers["X-Trace-Id"] = trace_id
                # Patient data is kept by no cache, and no page of another place learns where it was.
                headers.setdefault("Cache-Control", "no-store")
                headers["X-Content-Type-Options"] = "nosniff"
                headers["Referrer-Policy"] = "no-referrer"
            await send(message)

        try:
            await self._app(scope, receive, with_headers)
        except Exception as error:  # noqa: BLE001  a server would write it to its log with all that it quotes
            problem = problems.unforeseen(error, trace_id)
            if not begun:  # else the answer breaks off, which is all that can be told
                await problems.answer(problem)(scope, receive, with_headers)
            problems.note(scope, problem.code)
        return status
