"""Traces by OpenTelemetry: its SDK for this process, figures made of its spans, and an exporter where one is asked for.

Spans leave this process only where OTEL_EXPORTER_OTLP_ENDPOINT, or OTEL_EXPORTER_OTLP_TRACES_ENDPOINT, names a
collector (OTLP over HTTP); OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES, OTEL_EXPORTER_OTLP_HEADERS and
OTEL_TRACES_SAMPLER are read as OpenTelemetry has them. A trace that is not sampled is not exported, and still counted.

Of what a caller sends the header `traceparent` alone is read, and only a valid one: its ids and its flag. `tracestate`
and `baggage` hold whatever anybody likes, so they are neither kept nor passed on.
"""

import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from typing import Final

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult
from opentelemetry.trace import Link, SpanKind, TraceState, format_trace_id
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import Attributes

from service.observe.logs import told
from service.observe.metrics import Figures

_ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_W3C: Final = TraceContextTextMapPropagator()
_FLUSH_S: Final = 3.0
"""How long the end of the service waits for a collector."""
_started: list[TracerProvider] = []


def start() -> TracerProvider:
    """Make spans of this process real; the second call gives what the first has made."""
    if _started:
        return _started[0]
    resource = Resource({"service.name": "prelim", "service.version": version("prelim")})
    provider = TracerProvider(resource=resource.merge(OTELResourceDetector().detect()), shutdown_on_exit=False)
    provider.sampler = _Counted(provider.sampler)
    provider.add_span_processor(Figures())
    provider.add_span_processor(_Alone())
    trace.set_tracer_provider(provider)
    _started.append(provider)
    return provider


@contextmanager
def tracing() -> Iterator[None]:
    """Spans for as long as this is entered, exported where a collector is named; what is left goes out at the end."""
    provider = start()
    if not any(os.environ.get(name) for name in _ENDPOINTS):
        yield
        return
    exporter = OTLPSpanExporter()
    exporting = BatchSpanProcessor(exporter)
    provider.add_span_processor(exporting)
    try:
        yield
    finally:
        # The processor sends what is left, and keeps to no limit of time while the exporter tries again and again; the
        # exporter stops trying when it is told to.
        enough = threading.Timer(_FLUSH_S, exporter.shutdown)
        enough.start()
        exporting.shutdown()  # type: ignore[no-untyped-call]
        enough.cancel()


def spoken(span: ReadableSpan) -> dict[str, object]:
    """What a line says of a span: how long it took, by which code it failed, and its facts under their short names."""
    known = span.attributes or {}
    facts: dict[str, object] = {"code": known["error.type"]} if "error.type" in known else {}
    if span.start_time is not None and span.end_time is not None:
        facts["seconds"] = round((span.end_time - span.start_time) / 1e9, 4)
    return facts | {name.removeprefix("prelim."): fact for name, fact in known.items() if name.startswith("prelim.")}


def parent_of(traceparent: str | None) -> Context:
    """The trace that a request says it is a part of; a new one without a valid `traceparent`."""
    return _W3C.extract({"traceparent": traceparent} if traceparent else {}, Context())


class _Alone(SpanProcessor):
    """Writes the line of a draft that has no request for itself, as in jobs and bulk; others are in their request's."""

    def on_end(self, span: ReadableSpan) -> None:
        """Write it."""
        bulk = (span.attributes or {}).get("prelim.urgency") == "bulk"
        if span.name != "draft" or span.context is None or not (bulk or span.parent is None):
            return
        facts = {"trace_id": format_trace_id(span.context.trace_id), **spoken(span)}
        told("draft", facts)


class _Counted(Sampler):
    """What another sampler decides, but nothing is dropped: it is recorded for the figures and not exported."""

    def __init__(self, sampler: Sampler) -> None:
        self._sampler = sampler

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        """Record at least."""
        said = self._sampler.should_sample(parent_context, trace_id, name, kind, attributes, links)
        if said.decision is not Decision.DROP:
            return said
        kept: Mapping[str, object] | None = attributes
        return SamplingResult(Decision.RECORD_ONLY, kept, said.trace_state)  # type: ignore[arg-type]

    def get_description(self) -> str:
        """As the other one, and that everything is counted."""
        return f"Counted({self._sampler.get_description()})"
