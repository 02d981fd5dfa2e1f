"""Lines on standard error, for people or as JSON: what happened, when, and under which number; ids, counts and codes.

They are written by a thread of their own: whoever stops reading them must not stop the service. Our own lines are made
of fixed words and named facts. Whatever else is logged in this process, and every error that nobody foresaw, is told by
its kind and place alone: the words of others may hold anything that was sent.
"""

import json
import logging
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from queue import Full, Queue
from types import TracebackType
from typing import Any, Final, Literal, TextIO, get_args

Style = Literal["plain", "json", "none"]
"""How lines look; `none` leaves out those of requests that went well."""
STYLES: Final[tuple[Style, ...]] = get_args(Style)
_OURS: Final = ("service", "generation", "prompts", "retrieval", "indexing")
_LOG: Final = logging.getLogger(__name__)
_AHEAD: Final = 10_000
"""Lines that may wait to be written; further ones are lost."""
_LAST_WORDS_S: Final = 2.0
"""How long the end waits for lines to be written."""


@contextmanager
def lines(style: Style, to: TextIO | None = None) -> Iterator[None]:
    """Write lines for as long as this is entered; what Python would print of an error in a thread is one, too."""
    handler = _Queued(to or sys.stderr, _Json() if style == "json" else _Plain())
    root, ours = logging.getLogger(), [logging.getLogger(name) for name in _OURS]
    before = [(each, each.level) for each in ours]
    hooks = threading.excepthook, sys.unraisablehook
    for each in ours:
        each.setLevel(logging.WARNING if style == "none" else logging.INFO)
    root.addHandler(handler)
    logging.captureWarnings(True)
    threading.excepthook = lambda told: _uncaught(told.exc_value)
    sys.unraisablehook = lambda told: _uncaught(told.exc_value)
    try:
        yield
    finally:
        threading.excepthook, sys.unraisablehook = hooks
        logging.captureWarnings(False)
        root.removeHandler(handler)
        handler.close()
        for each, level in before:
            each.setLevel(level)


def told(event: str, facts: dict[str, Any], level: int = logging.INFO) -> None:
    """Write one line of named facts."""
    if _LOG.isEnabledFor(level):
        _LOG.log(level, "%s %s", event, facts, extra={"facts": {"event": event, **facts}})


def unforeseen(error: BaseException, trace_id: str) -> None:
    """Write the line of an error that nobody raised on purpose."""
    told("unforeseen", {"trace_id": trace_id, "error": type(error).__name__, "at": place_of(error)}, logging.ERROR)


def place_of(error: BaseException) -> str:
    """Where an error was raised, as file and line."""
    at: TracebackType | None = error.__traceback__
    while at is not None and at.tb_next is not None:
        at = at.tb_next
    return f"{at.tb_frame.f_code.co_filename}:{at.tb_lineno}" if at is not None else "unknown"


def _uncaught(error: BaseException | None) -> None:
    if error is not None and not isinstance(error, SystemExit):
        unforeseen(error, "")


class _Queued(logging.Handler):
    """Hands lines to a thread that writes them, and waits for nobody."""

    def __init__(self, to: TextIO, formatter: logging.Formatter) -> None:
        super().__init__()
        self._to, self._formatter = to, formatter
        self._queue: Queue[logging.LogRecord | None] = Queue(_AHEAD)
        self._thread = threading.Thread(target=self._write, name="prelim-lines", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        with suppress(Full):
            self._queue.put_nowait(record)

    def close(self) -> None:
        with suppress(Full):
            self._queue.put_nowait(None)
        self._thread.join(_LAST_WORDS_S)
        super().close()

    def _write(self) -> None:
        while (record := self._queue.get()) is not None:
            # A line that cannot be written is lost: there is nowhere to say so.
            with suppress(OSError, ValueError):
                self._to.write(self._formatter.format(record) + "\n")
                self._to.flush()


def _facts(record: logging.LogRecord) -> dict[str, Any]:
    """What a line says, whoever wrote it."""
    stamp = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
    facts: dict[str, Any] = {"time": stamp, "level": record.levelname.lower()}
    given = getattr(record, "facts", None)
    if isinstance(given, dict):
        return {**facts, **given}
    if record.name.split(".")[0] in _OURS:
        facts |= {"event": "note", "from": record.name, "note": record.getMessage()}
    else:
        facts |= {"event": "library", "from": record.name, "where": f"{record.pathname}:{record.lineno}"}
    error = record.exc_info[1] if record.exc_info else None
    if error is not None:
        facts |= {"error": type(error).__name__, "at": place_of(error)}
    return facts


class _Json(logging.Formatter):
    """One object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        return json.dumps(_facts(record), separators=(",", ":"))


class _Plain(logging.Formatter):
    """Time, level and event, then what else there is as `name=value`."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        facts = _facts(record)
        head = " ".join(str(facts.pop(name)) for name in ("time", "level", "event"))
        return " ".join([head, *(f"{name}={json.dumps(value)}" for name, value in facts.items())])
