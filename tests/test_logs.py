"""Lines of a service: our own facts in full, of everybody else's words none."""

import asyncio
import gc
import io
import json
import logging
import os
import threading
import warnings
from contextlib import suppress
from typing import Any

import pytest

from service.observe.logs import Style, lines, told, unforeseen

CANARY = "Zqxvhart 770770770"


def written(style: Style, what: Any) -> list[str]:
    """The lines that are written while something happens."""
    to = io.StringIO()
    with lines(style, to):
        what()
    return to.getvalue().splitlines()


def fails() -> None:
    raise ValueError(CANARY)


def caught() -> BaseException:
    try:
        fails()
    except ValueError as error:
        return error
    raise AssertionError


def test_a_line_is_one_object_or_one_sentence_whatever_its_facts_hold() -> None:
    facts = {"trace_id": "ab", "status": "200", "odd": 'a "b"\nc', "seconds": 0.25}
    [line] = written("json", lambda: told("request", facts))
    said = json.loads(line)
    assert said.pop("time").endswith("+00:00")
    assert said == {"level": "info", "event": "request", **facts}
    [line] = written("plain", lambda: told("request", facts))
    assert line.endswith(r'info request trace_id="ab" status="200" odd="a \"b\"\nc" seconds=0.25')


def test_none_leaves_out_what_went_well_and_nothing_else() -> None:
    assert not written("none", lambda: told("request", {"status": "200"}))
    [line] = written("none", lambda: unforeseen(caught(), "abc"))
    assert "abc" in line


def test_an_unforeseen_error_is_told_by_kind_place_and_trace() -> None:
    [line] = written("json", lambda: unforeseen(caught(), "abc"))
    said = json.loads(line)
    assert (said["event"], said["level"], said["error"], said["trace_id"]) == (
        "unforeseen", "error", "ValueError", "abc",
    )  # fmt: skip
    assert said["at"].startswith(f"{__file__}:")
    assert CANARY not in line


def in_a_library() -> None:
    log = logging.getLogger("somebody.else")
    log.error("it read %s", CANARY)
    log.warning(f"it read {CANARY}")  # noqa: G004
    log.exception("it read", exc_info=caught())


def in_a_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        # As `lines` has taken them over, pytest's own way to record them is put aside.
        logging._showwarning(CANARY, UserWarning, "file.py", 1)  # type: ignore[attr-defined]


def in_a_thread() -> None:
    thread = threading.Thread(target=fails, name=CANARY)
    thread.start()
    thread.join()


def in_a_task_nobody_waits_for() -> None:
    async def nobody_waits() -> None:
        task = asyncio.create_task(asyncio.to_thread(fails), name=CANARY)
        await asyncio.wait([task])

    asyncio.run(nobody_waits())
    gc.collect()


def while_it_is_deleted() -> None:
    class Deleted:
        def __del__(self) -> None:
            fails()

    Deleted()
    gc.collect()


@pytest.mark.parametrize("style", ["plain", "json"])
@pytest.mark.parametrize(
    "what", [in_a_library, in_a_warning, in_a_thread, in_a_task_nobody_waits_for, while_it_is_deleted]
)
@pytest.mark.filterwarnings("default::pytest.PytestUnhandledThreadExceptionWarning")
def test_nobody_s_words_are_written(style: Style, what: Any, capfd: pytest.CaptureFixture[str]) -> None:
    said = written(style, what)
    assert said
    assert CANARY not in "".join(said)
    assert CANARY not in "".join(capfd.readouterr())
    if what in (in_a_thread, in_a_task_nobody_waits_for, while_it_is_deleted):
        assert "ValueError" in said[0]
        assert f"{__file__}:" in said[0]


def test_lines_that_nobody_reads_hold_nobody_up() -> None:
    reading, writing = os.pipe()

    def tell() -> None:
        for number in range(5000):  # a pipe holds 64 KiB
            told("request", {"number": number, "filler": "x" * 50})

    with suppress(BrokenPipeError), os.fdopen(writing, "w") as to, lines("plain", to):
        telling = threading.Thread(target=tell, daemon=True)
        telling.start()
        telling.join(20)
        held_up = telling.is_alive()
        os.close(reading)
    assert not held_up
