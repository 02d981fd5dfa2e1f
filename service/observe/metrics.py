"""Figures for Prometheus, as `GET /metrics` shows them.

    name                              labels                              what
    prelim_requests_total             face, route, method, status, code   requests that have ended; `code` of the error
    prelim_request_seconds            face, route                         how long they took, streams to their end
    prelim_drafts_total               status, reason, fallback            drafts of every face, jobs too; a `failed` one
                                                                          has its error's code as `reason`
    prelim_step_seconds               step                                the steps of drafts and searches; `draft` is
                                                                          the whole, `wait` until its turn came
    prelim_tokens_total               generator, preset                   tokens written; of servers that name them
    prelim_sentences_total                                                sentences that drafts proposed and kept
    prelim_sentences_dropped_total    code                                those left out, by the check
    prelim_working, prelim_waiting    room, urgency                       now: drafts, and brief work such as searches
    prelim_refused_total              room, urgency                       refused because too many waited
    prelim_jobs                       state                               jobs that are kept; none while the database is
                                                                          away
    prelim_info                       version
    process_*, python_*                                                   the process, as the client library has it

Every label has a bounded set of values, all of them ours: routes are templates, what is not ours is `unknown`. Steps,
drafts, tokens and sentences are counted from the spans of traces, so that figures and traces cannot disagree.
"""

from collections import Counter as Tally
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from typing import Final, get_args

from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from prometheus_client import (
    CollectorRegistry,
    Counter,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from generation.steps import STEPS, TRACER
from retrieval.errors import RetryableError
from service.front import Front
from service.jobs.job import JobState
from service.waiting import ORDER

MEDIA_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
"""Of the exposition."""
UNKNOWN: Final = "unknown"
"""The route of what is none of ours."""
_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)

REGISTRY: Final = CollectorRegistry()
"""Of this process; what belongs to one front stands in `exposition`."""
REQUESTS: Final = Counter(
    "prelim_requests", "Requests that have ended.", ("face", "route", "method", "status", "code"), registry=REGISTRY
)
REQUEST_SECONDS: Final = Histogram(
    "prelim_request_seconds", "How long requests took.", ("face", "route"), buckets=_SECONDS, registry=REGISTRY
)
_DRAFTS: Final = Counter(
    "prelim_drafts", "Drafts that have ended.", ("status", "reason", "fallback"), registry=REGISTRY
)
_STEPS: Final = Histogram(
    "prelim_step_seconds", "How long the steps of a draft took.", ("step",), buckets=_SECONDS, registry=REGISTRY
)
_TOKENS: Final = Counter(
    "prelim_tokens", "Tokens that language models wrote.", ("generator", "preset"), registry=REGISTRY
)
_SENTENCES: Final = Counter("prelim_sentences", "Sentences that the checks left in drafts.", registry=REGISTRY)
_DROPPED: Final = Counter(
    "prelim_sentences_dropped", "Sentences that the checks left out.", ("code",), registry=REGISTRY
)
_BY_STEP: Final = {name: _STEPS.labels(name) for name in STEPS}
for _collect in (ProcessCollector, PlatformCollector, GCCollector):
    _collect(registry=REGISTRY)


class Figures(SpanProcessor):
    """Counts the spans of drafts as they end."""

    def on_end(self, span: ReadableSpan) -> None:
        """Count one span; those of others are not ours to count."""
        if span.instrumentation_scope is None or span.instrumentation_scope.name != TRACER:
            return
        if span.name not in _BY_STEP or span.start_time is None or span.end_time is None:
            return
        _BY_STEP[span.name].observe((span.end_time - span.start_time) / 1e9)
        facts = span.attributes or {}
        if span.name == "draft":
            error = facts.get("error.type")
            status = "failed" if error else facts.get("prelim.draft", "")
            reason = error or facts.get("prelim.reason", "")
            _DRAFTS.labels(status, reason, facts.get("prelim.fallback", "")).inc()
        elif span.name == "write" and isinstance(tokens := facts.get("prelim.tokens"), int):
            _TOKENS.labels(facts.get("prelim.generator", ""), facts.get("prelim.preset", "")).inc(tokens)
        elif span.name == "check" and isinstance(kept := facts.get("prelim.sentences"), int):
            _SENTENCES.inc(kept)
            codes = facts.get("prelim.dropped_by", ())
            for code, count in Tally(codes if isinstance(codes, tuple) else ()).items():
                _DROPPED.labels(code).inc(count)


def exposition(front: Front) -> bytes:
    """All figures, as Prometheus reads them."""
    here = CollectorRegistry()
    here.register(_Now(front))
    return generate_latest(REGISTRY) + generate_latest(here)


class _Now(Collector):
    """What is so at this moment."""

    def __init__(self, front: Front) -> None:
        self._front = front

    def collect(self) -> Iterable[Metric]:
        """The gauges of one front, with its counters that somebody else keeps."""
        labels = ("room", "urgency")
        working = GaugeMetricFamily("prelim_working", "Requests that are worked on.", labels=labels)
        waiting = GaugeMetricFamily("prelim_waiting", "Requests that wait their turn.", labels=labels)
        refused = CounterMetricFamily("prelim_refused", "Requests refused since too many waited.", labels=labels)
        for name, room in (("drafts", self._front.room), ("brief", self._front.brief)):
            for urgency in ORDER:
                working.add_metric((name, urgency), room.working(urgency))
                waiting.add_metric((name, urgency), room.waiting(urgency))
                refused.add_metric((name, urgency), room.refused(urgency))
        jobs = GaugeMetricFamily("prelim_jobs", "Jobs that are kept.", labels=("state",))
        for state, number in self._jobs().items():
            jobs.add_metric((state,), number)
        info = GaugeMetricFamily("prelim_info", "The version that runs.", labels=("version",))
        info.add_metric((version("prelim"),), 1)
        return (working, waiting, refused, jobs, info)

    def _jobs(self) -> Mapping[str, int]:
        """How many jobs are in each state; nothing where none are kept, or their database does not answer."""
        if self._front.jobs is None:
            return {}
        try:
            found = self._front.jobs.store.counts()
        except RetryableError:
            return {}
        return {state: found.get(state, 0) for state in get_args(JobState)}
