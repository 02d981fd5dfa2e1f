"""Errors as RFC 9457 problems: `application/problem+json` with a stable code, what happened and what to do.

A problem never repeats what was sent: no name, no value, no text. Of an error that nobody raised on purpose only a
number is told, under which the log has it.
"""

import math
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import Field, ValidationError
from starlette.exceptions import HTTPException
from starlette.routing import Match
from starlette.types import Receive, Scope, Send

from retrieval.errors import Overloaded, PrelimError
from retrieval.record import Record
from service.faults import UNFORESEEN, FieldFault, log_unforeseen, meaning_of, words_of

MEDIA_TYPE: Final = "application/problem+json"


class Refusal(NamedTuple):
    """What the framework itself refuses."""

    code: str
    title: str
    fix: str


OF_STATUS: Final[dict[int, Refusal]] = {
    400: Refusal("MALFORMED", "The request is malformed", "send what /openapi.json describes"),
    401: Refusal("UNAUTHENTICATED", "No key, or one that is not known", "send Authorization: Bearer and a key"),
    403: Refusal("FORBIDDEN", "This is not allowed", "use a key that has the scope, and no page of another place"),
    404: Refusal("NOT_FOUND", "There is nothing here", "see /openapi.json for what there is"),
    405: Refusal("METHOD_NOT_ALLOWED", "This method is not offered here", "see the header Allow"),
    413: Refusal("TOO_LARGE", "Something sent is too large", "send less at once"),
    415: Refusal("UNSUPPORTED_MEDIA", "Bodies of this kind are not read", "send the kind that /openapi.json names"),
    421: Refusal("MISDIRECTED", "This service answers its own machine alone", "ask for it as localhost, or with keys"),
}
"""By status."""


class Problem(Record):
    """An error as callers see it (RFC 9457)."""

    type: str
    """`urn:prelim:error:` and the code: a name, not an address."""
    title: str
    """The kind of problem, equal for every occurrence."""
    status: int
    """The HTTP status."""
    code: str
    """Stable code to act on."""
    detail: str
    """What happened."""
    fix: str = ""
    """What the caller can do about it."""
    trace_id: str = ""
    """Under which the service's log and traces have this request."""
    errors: tuple[FieldFault, ...] = Field(default=())
    """Each field that is wrong."""


def add_problems(app: FastAPI) -> None:
    """Answer every error of the service as a problem."""
    app.add_exception_handler(PrelimError, _of_ours)
    app.add_exception_handler(RequestValidationError, _of_form)
    app.add_exception_handler(HTTPException, _of_http)


def problem_of(error: PrelimError, trace_id: str = "") -> Problem:
    """One of our errors as a problem."""
    meaning = meaning_of(error)
    return Problem(
        type=_type(error.code),
        title=meaning.title,
        status=meaning.http,
        code=error.code,
        detail=error.unquoted,
        fix=error.fix,
        trace_id=trace_id,
    )


def of_status(status: int, scope: Scope) -> Problem:
    """What the framework or the guard refuses, as a problem."""
    refusal = OF_STATUS.get(status, Refusal("REFUSED", "The request cannot be answered", ""))
    return Problem(
        type=_type(refusal.code),
        title=refusal.title,
        status=status,
        code=refusal.code,
        detail=refusal.title,
        fix=refusal.fix,
        trace_id=str(scope.get("state", {}).get("trace_id", "")),
    )


def unforeseen(error: Exception, trace_id: str) -> Problem:
    """An error nobody raised on purpose: the log has its kind and place, never its text, which may hold anything."""
    log_unforeseen(error, trace_id)
    return Problem(
        type=_type("UNFORESEEN"),
        title=UNFORESEEN.title,
        status=UNFORESEEN.http,
        code="UNFORESEEN",
        detail="an error that nobody foresaw",
        fix="tell whoever runs the service the trace id",
        trace_id=trace_id,
    )


def answer(problem: Problem, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """The response that carries a problem."""
    return _Carried(problem, headers)


def note(scope: Scope, code: str) -> None:
    """Say of a request by which code it ended, for figures and lines."""
    scope.setdefault("state", {})["code"] = code


class _Carried(JSONResponse):
    """A problem on its way out, noted as what the request ended by."""

    def __init__(self, problem: Problem, headers: Mapping[str, str] | None) -> None:
        content = problem.model_dump(mode="json")
        super().__init__(content, problem.status, headers=dict(headers or {}), media_type=MEDIA_TYPE)
        self._code = problem.code

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        note(scope, self._code)
        await super().__call__(scope, receive, send)


def wrong_form(error: ValidationError, part: str) -> RequestValidationError:
    """What is wrong with a part of a form that is itself JSON, told field by field."""
    faults = error.errors(include_url=False, include_context=False, include_input=False)
    return RequestValidationError([{**each, "loc": ("body", part, *each["loc"])} for each in faults])


def trace_of(request: Request) -> str:
    """The number of this request, made when it came in."""
    return str(getattr(request.state, "trace_id", ""))


async def _of_ours(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, PrelimError)
    headers = {"Retry-After": str(math.ceil(error.retry_after_s))} if isinstance(error, Overloaded) else {}
    return answer(problem_of(error, trace_of(request)), headers)


async def _of_form(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    faults, known = error.errors(), _names(request.app.openapi())
    problem = Problem(
        type=_type("INVALID_REQUEST"),
        title="The request does not have the form it must have",
        status=422,
        code="INVALID_REQUEST",
        detail=f"{len(faults)} fields are not as they must be" if len(faults) > 1 else "a field is not as it must be",
        fix="see errors, and /openapi.json for the form",
        trace_id=trace_of(request),
        errors=tuple(_field(each, known) for each in faults[:20]),
    )
    return answer(problem)


def _field(fault: Mapping[str, Any], known: frozenset[str]) -> FieldFault:
    """Names that are not of the document are the caller's, and may be anything."""
    place = [str(part) if isinstance(part, int) or part in known else "(unknown)" for part in fault["loc"]]
    return FieldFault(field=".".join(place), what=words_of(fault))


def _names(document: Mapping[str, Any]) -> frozenset[str]:
    """Every name of a field or a parameter in the OpenAPI document."""
    found = {"body", "query", "path", "header", "request"}
    schemas: Mapping[str, Mapping[str, Any]] = document["components"]["schemas"]
    for schema in schemas.values():
        found |= set(schema.get("properties", ()))
    for path in document["paths"].values():
        for operation in path.values():
            found |= {parameter["name"] for parameter in operation.get("parameters", ())}
    return frozenset(found)


async def _of_http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    headers = dict(error.headers or {})
    if error.status_code == 405:
        # The framework names the methods of the first route alone.
        here = [route for route in request.app.routes if route.matches(request.scope)[0] is not Match.NONE]
        headers["Allow"] = ", ".join(sorted({method for route in here for method in route.methods or ()}))
    return answer(of_status(error.status_code, request.scope), headers)


def _type(code: str) -> str:
    return f"urn:prelim:error:{code.lower().replace('_', '-')}"
