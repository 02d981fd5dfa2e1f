"""What every command does alike at a terminal: print text that is data, name an error, take the index and counts.

Text of reports, files and notes is printed without markup and without control characters, so that nothing in it can
move the cursor, colour the screen or break the printing.
"""

import argparse
import os
import re
from collections.abc import Callable

from rich.console import Console
from rich.text import Text

from retrieval.errors import PrelimError

INTERRUPTED = 130
"""Exit status after Ctrl-C, as shells count it."""
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")


def plain(text: str) -> Text:
    """Make text of a report, a file or a user safe to print."""
    return Text(_CONTROL.sub("", text))


def run_command(command: Callable[[], int], *, after_interrupt: str) -> int:
    """Run a command; print an error as `CODE: what happened (what to do)` and return its exit status."""
    errors = Console(stderr=True, soft_wrap=True, highlight=False)
    try:
        return command()
    except PrelimError as error:
        errors.print(plain(f"{error.code}: {error}"), style="red")
        return error.exit_status
    except KeyboardInterrupt:
        errors.print(plain(f"interrupted; {after_interrupt}"))
        return INTERRUPTED


def add_index_argument(parser: argparse.ArgumentParser) -> None:
    """Add `--index`, with PRELIM_INDEX as its default."""
    parser.add_argument(
        "--index",
        default=os.environ.get("PRELIM_INDEX", "index"),
        help="index folder, or the URL of a Qdrant server followed by / and the index's name (default: $PRELIM_INDEX)",
    )


def count(text: str) -> int:
    """Read a whole number from 1 to 1,000,000; for argparse."""
    try:
        number = int(text)
    except ValueError:
        number = 0
    if not 1 <= number <= 1_000_000:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 to 1,000,000")
    return number
