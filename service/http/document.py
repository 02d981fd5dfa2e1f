"""The OpenAPI document: what the framework makes of the routes, with problems for every error and examples for all.

The framework describes its own errors, which nobody gets here; these are taken out. What a form holds as JSON is
described as the record it is read as.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from fastapi import FastAPI
from fastapi.routing import APIRoute

from service.http.drafts import EVENTS
from service.http.examples import ANSWERS, PARAMETERS, PROBLEM, REQUESTS
from service.http.examples import EVENTS as EVENTS_EXAMPLE
from service.http.problems import MEDIA_TYPE, OF_STATUS, Problem
from service.question import SearchRequest
from service.request import DraftRequest

_MULTIPART: Final = "multipart/form-data"
_READ_AS: Final = {"create_draft": DraftRequest, "submit": DraftRequest, "find_of_study": SearchRequest}
"""What the part `request` of a form is read as."""
_REF: Final = "#/components/schemas/"
_TITLES: Final = {
    404: "There is no such thing here",
    409: "The idempotency key stands for another request",
    422: "The request cannot be answered as it is",
    429: "Too much is waiting: come again after Retry-After seconds",
    500: "Somebody has to repair something",
    503: "Try again later",
    504: "Not ready in time",
    507: "No room is left",
}
"""What the statuses of our own errors say; the guard's have theirs in `problems`."""
_ALWAYS: Final = frozenset({400, 404, 421, 500, 503})
_WITH_KEY: Final = frozenset({401, 403, 422, 429})
_WITH_BODY: Final = frozenset({413, 415})
_ALSO: Final[Mapping[str, frozenset[int]]] = {
    "create_draft": frozenset({504, 507}),
    "submit": frozenset({409, 507}),
    "find_of_study": frozenset({507}),
    "own_image": frozenset({507}),
}
"""Further statuses, by the name of the function that answers."""


def describe(app: FastAPI) -> None:
    """Let the application describe itself so."""
    plain = app.openapi
    ready: dict[str, Any] = {}

    def openapi() -> dict[str, Any]:
        if not ready:
            ready.update(_described(app, plain))
        return ready

    app.openapi = openapi  # type: ignore[method-assign]  # the way the framework names for it


def _described(app: FastAPI, plain: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    document = plain()
    schemas = document["components"]["schemas"]
    for record in (Problem, DraftRequest, SearchRequest):
        schema = record.model_json_schema(ref_template=_REF + "{model}")
        schemas.update(schema.pop("$defs", {}))
        schemas[record.__name__] = schema
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    for name, operation in _operations(app, document):
        _with_problems(operation, name)
        _with_examples(operation, name)
        if body := operation.get("requestBody", {}).get("content", {}).get(_MULTIPART):
            _with_form(body, schemas, name)
    document["components"]["schemas"] = dict(sorted(schemas.items()))
    statuses = sorted({*_ALWAYS, *_WITH_KEY, *_WITH_BODY, *(status for each in _ALSO.values() for status in each)})
    document["components"]["responses"] = {f"Problem{status}": _problem(status) for status in statuses}
    return document


def _operations(app: FastAPI, document: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each operation with the name of the function that answers it."""
    names = {
        (route.path_format, method.lower()): route.name
        for route in app.routes
        if isinstance(route, APIRoute)
        for method in route.methods or ()
    }
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            operation["operationId"] = name = names[path, method]
            yield name, operation


def _problem(status: int) -> dict[str, object]:
    """The answer that every operation gives with this status."""
    content = {MEDIA_TYPE: {"schema": {"$ref": f"{_REF}Problem"}, "example": PROBLEM}}
    described: dict[str, object] = {"description": _TITLES.get(status) or OF_STATUS[status].title, "content": content}
    if status == 429:
        seconds = {"description": "seconds until a place is likely to be free", "schema": {"type": "integer"}}
        described["headers"] = {"Retry-After": seconds}
    return described


def _with_problems(operation: dict[str, Any], name: str) -> None:
    statuses = set(_ALWAYS | _ALSO.get(name, frozenset()))
    statuses |= _WITH_KEY if operation.get("security") else set()
    statuses |= _WITH_BODY if "requestBody" in operation else set()
    answers = {status: answer for status, answer in operation["responses"].items() if status.startswith("2")}
    answers |= {str(status): {"$ref": f"#/components/responses/Problem{status}"} for status in sorted(statuses)}
    if name == "ready":  # not ready is no problem but an answer
        answers["503"] = {**answers["200"], "description": "Not now"}
    operation["responses"] = answers


def _with_examples(operation: dict[str, Any], name: str) -> None:
    for parameter in operation.get("parameters", ()):
        if parameter["name"] in PARAMETERS:
            parameter["example"] = PARAMETERS[parameter["name"]]
    for body in operation.get("requestBody", {}).get("content", {}).values():
        body["example"] = REQUESTS[name]
    for status in ("200", "202"):
        content = operation["responses"].get(status, {}).get("content", {})
        if "application/json" in content:
            content["application/json"]["example"] = ANSWERS[name]
        if name == "create_draft":
            content[EVENTS] = {"schema": {"type": "string"}, "example": EVENTS_EXAMPLE}


def _with_form(body: dict[str, Any], schemas: dict[str, Any], name: str) -> None:
    """Files as files, and the part `request` as the record it is read as."""
    schema = schemas[body["schema"]["$ref"].removeprefix(_REF)]
    encoding = {}
    for part, described in schema["properties"].items():
        if part in ("image", "images"):
            described.get("items", described).update({"type": "string", "format": "binary"})
            encoding[part] = {"contentType": "application/dicom, image/png, image/jpeg"}
    if name in _READ_AS:
        described = schema["properties"]["request"]
        schema["properties"]["request"] = {
            "$ref": _REF + _READ_AS[name].__name__, "description": described["description"],
        }  # fmt: skip
        encoding["request"] = {"contentType": "application/json"}
    body["encoding"] = encoding
