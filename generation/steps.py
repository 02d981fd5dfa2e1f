"""The steps of a draft as spans of OpenTelemetry: when each began and ended, and how it went, in ids, counts and codes.

Only OpenTelemetry's interface is here, which does nothing until a program installs its SDK, as `prelim serve` does.
Never any text of a request, a report or an error: an exception leaves its stable code on its span and nothing else.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final, Literal, get_args

from opentelemetry import trace
from opentelemetry.trace import Span, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from generation.draft import Draft
from retrieval.errors import PrelimError

Step = Literal[
    "draft", "wait", "read", "gate", "experts", "retrieve", "concepts", "prompts", "write", "check"
]  # fmt: skip
"""`draft` is the whole, from when it was asked for to its end; the others are its parts, `wait` until its turn came."""
STEPS: Final[tuple[Step, ...]] = get_args(Step)
TRACER: Final = "prelim"
"""The name under which all our spans are made."""
UNFORESEEN: Final = "UNFORESEEN"
"""The code of an error that nobody raised on purpose."""

_TRACER: Final = trace.get_tracer(TRACER)
_W3C: Final = TraceContextTextMapPropagator()


@contextmanager
def step(name: Step, *, since_ns: int | None = None, **facts: str | int) -> Iterator[Span]:
    """A step under way, begun now or earlier; `facts` are ids, counts and codes.

    An error leaves its code and is raised again.
    """
    with _TRACER.start_as_current_span(
        name,
        start_time=since_ns,
        attributes=named(facts),
        record_exception=False,
        set_status_on_exception=False,
    ) as span:
        try:
            yield span
        except BaseException as error:
            failed(span, code_of(error))
            raise


def waited(since_ns: int) -> None:
    """A step that is over: the wait for one's turn, since a time in nanoseconds after 1970."""
    _TRACER.start_span("wait", start_time=since_ns).end()


def under_way() -> Span:
    """The span that this thread is in; one that takes nothing where it is in none."""
    return trace.get_current_span()


def failed(span: Span, code: str) -> None:
    """Mark a span as one that ended with this error."""
    span.set_attribute("error.type", code)
    span.set_status(Status(StatusCode.ERROR, code))


def code_of(error: BaseException) -> str:
    """The stable code of an error; never its words."""
    return error.code if isinstance(error, PrelimError) else UNFORESEEN


def named(facts: Mapping[str, str | int]) -> dict[str, str | int]:
    """Facts under the names that spans have them by."""
    return {f"prelim.{name}": value for name, value in facts.items()}


def facts_of(draft: Draft) -> dict[str, str | int]:
    """What a span may say of a draft."""
    facts: dict[str, str | int] = {
        "draft": draft.status,
        "reason": draft.reason or "",
        "fallback": draft.fallback,
        "snapshot": draft.evidence.index_snapshot or "",
        "images": len(draft.images),
        "cases": len(draft.evidence.cases),
        "sentences": len(draft.sentences),
        "flags": sum(len(sentence.flags) for sentence in draft.sentences),
        "dropped": sum(draft.dropped.values()),
        "tokens": len(draft.writing.token_ids) if draft.writing else 0,
    }
    return named({name: fact for name, fact in facts.items() if fact != ""})


def carried() -> dict[str, str]:
    """The header by which a server we ask joins this trace: `traceparent` alone (W3C), empty outside of a trace."""
    headers: dict[str, str] = {}
    _W3C.inject(headers)
    return {name: value for name, value in headers.items() if name == "traceparent"}
