"""One request of any face, from its first byte to its last: its span, its figures and its line.

    with watched("http", "/v1/drafts", traceparent=header) as request:
        ...
        request.ended(200)

What a face says of it must be its own words: a route as a template, a status, a code.
"""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import Final, Literal

from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import Span, SpanKind, format_trace_id

from generation.steps import TRACER, code_of, failed
from service.observe.logs import told
from service.observe.metrics import REQUEST_SECONDS, REQUESTS, UNKNOWN
from service.observe.traces import parent_of, spoken

Face = Literal["http", "grpc"]
"""How a request came."""
_TRACER: Final = trace.get_tracer(TRACER)
_QUIET: Final = frozenset({"/metrics", "/health/live", "/health/ready"})
"""Asked every few seconds by machines; a line of each would hide the others."""
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_FALLEN: Final = {"http": "500", "grpc": "UNKNOWN"}


class Watched:
    """What is known of a request so far."""

    def __init__(self, face: Face, route: str, method: str, span: Span) -> None:
        context = span.get_span_context()
        self.trace_id = format_trace_id(context.trace_id) if context.is_valid else secrets.token_hex(16)
        """32 hex digits, the caller's own where it sent a valid `traceparent`."""
        self.face: Face = face
        self.route = route
        """A template of ours, or `unknown`."""
        self.method = method if face == "grpc" or method in _METHODS else "other"
        self.status = "OK" if face == "grpc" else "200"
        self.code = ""

    def ended(self, status: int | str, code: str = "") -> None:
        """How it ends: the face's own status, and the stable code where it is an error."""
        self.status, self.code = str(status), code


@contextmanager
def watched(face: Face, route: str = UNKNOWN, *, method: str = "", traceparent: str | None = None) -> Iterator[Watched]:
    """Watch a request; an error that comes out of it is counted by its code and raised again."""
    began = perf_counter()
    with _TRACER.start_as_current_span(
        f"{face} request",
        parent_of(traceparent),
        kind=SpanKind.SERVER,
        record_exception=False,
        set_status_on_exception=False,
    ) as span:
        request = Watched(face, route, method, span)
        try:
            yield request
        except BaseException as error:
            if not request.code:
                request.ended(_FALLEN[face], code_of(error))
            raise
        finally:
            _describe(span, request)
            _tell(span, request, perf_counter() - began)


def _describe(span: Span, request: Watched) -> None:
    """Name the span as OpenTelemetry's conventions have it."""
    if request.face == "http":
        span.update_name(f"{request.method} {request.route}")
        span.set_attributes({
            "http.request.method": request.method,
            "http.route": request.route,
            "http.response.status_code": int(request.status),
        })  # fmt: skip
    else:
        span.update_name(request.route.removeprefix("/"))
        span.set_attributes({
            "rpc.system": "grpc", "rpc.method": request.route, "rpc.response.status_code": request.status,
        })  # fmt: skip
    if request.code:
        failed(span, request.code)


def _tell(span: Span, request: Watched, seconds: float) -> None:
    """Count it, and write its line with what its draft was like, where it was one."""
    REQUESTS.labels(request.face, request.route, request.method, request.status, request.code).inc()
    REQUEST_SECONDS.labels(request.face, request.route).observe(seconds)
    if request.route in _QUIET and not request.code:
        return
    facts: dict[str, object] = {
        "trace_id": request.trace_id,
        "face": request.face,
        "method": request.method,
        "route": request.route,
        "status": request.status,
        "code": request.code,
        "seconds": round(seconds, 4),
    }
    facts |= spoken(span) if isinstance(span, ReadableSpan) else {}
    told("request", {name: fact for name, fact in facts.items() if fact != ""})
