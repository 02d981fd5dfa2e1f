"""The command `prelim`: similar cases and a draft for one study, from files; what a report says.

    prelim search chest.dcm --index index/     similar cases with their reports
    prelim draft  study-folder/ --index index/ a draft whose sentences name the cases they rest on
    prelim concepts report.txt                 the findings that a text states, denies and leaves open

All print for people, or with --json one object on standard output. Errors go to standard error as code, what
happened and what to do; the exit status says what kind it was (65 fix the input, 75 try later, 78 repair, 0 also for
"no draft, because": that is an answer).
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

from rich.console import Console

from retrieval.records import Draft, PatientKey, SimilarCases, ViewPosition
from retrieval.terminal import add_index_argument, count, run_command
from service.concepts import concepts
from service.show import show_draft, show_similar_cases
from service.wiring import open_desk

MAX_CASES = 1000
"""More similar cases than anyone looks at."""


def _parser() -> argparse.ArgumentParser:
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("paths", nargs="+", type=Path, help="image files or a folder: DICOM, PNG or JPEG of ONE study")
    add_index_argument(shared)
    shared.add_argument("--view", choices=get_args(ViewPosition), help="view of the images, where the files say none")
    shared.add_argument("--patient-key", type=PatientKey, help="leave out this patient's own cases")
    shared.add_argument("--json", action="store_true", help="one JSON object instead of text")

    parser = argparse.ArgumentParser(prog="prelim", description="Preliminary report drafts for radiologists to edit.")
    commands = parser.add_subparsers(dest="command", required=True)
    searching = commands.add_parser("search", parents=[shared], help="find similar cases")
    searching.add_argument("--cases", type=count, default=10, metavar="N", help="how many (default: 10)")
    commands.add_parser("draft", parents=[shared], help="draft the findings from similar cases")
    reading = commands.add_parser("concepts", help="read what a report says")
    reading.add_argument("text", metavar="TEXT|FILE", help="a report, a file that holds one, or - for standard input")
    reading.add_argument("--json", action="store_true", help="one JSON object instead of text")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    options = _parser().parse_args(arguments)
    return run_command(lambda: _run(options), after_interrupt="nothing was written")


def _run(options: argparse.Namespace) -> int:
    console = Console(highlight=False)
    if options.command == "concepts":
        concepts(options.text, console, as_json=options.json)
        return 0
    with open_desk(options.index) as desk:
        study = desk.read(options.paths, view=options.view, patient_key=options.patient_key)
        answer: SimilarCases | Draft
        if options.command == "search":
            answer = desk.drafter.similar_cases(study, limit=min(options.cases, MAX_CASES))
            show: Callable[[Console, Any], None] = show_similar_cases
        else:
            answer, show = desk.drafter.draft(study), show_draft
    if options.json:
        sys.stdout.write(answer.model_dump_json(indent=2) + "\n")
    else:
        show(console, answer)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
