"""The command `prelim`: similar cases and a draft for one study, from files.

    prelim search chest.dcm --index index/     similar cases with their reports
    prelim draft  study-folder/ --index index/ a draft whose sentences name the cases they rest on

Both print for people, or with --json one object on standard output. Errors go to standard error as code, what
happened and what to do; the exit status says what kind it was (65 fix the input, 75 try later, 78 repair, 0 also for
"no draft, because": that is an answer).
"""

import argparse
import os
import sys
from pathlib import Path
from typing import get_args

from rich.console import Console

from retrieval.errors import PrelimError
from retrieval.records import PatientKey, ViewPosition
from service.show import show_draft, show_evidence
from service.wiring import open_desk

MAX_CASES = 1000
"""More similar cases than anyone looks at."""


def _parser() -> argparse.ArgumentParser:
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("paths", nargs="+", type=Path, help="image files or a folder: DICOM, PNG or JPEG of ONE study")
    shared.add_argument(
        "--index",
        default=os.environ.get("PRELIM_INDEX", "index"),
        help="index folder, or the URL of a Qdrant server followed by / and the index's name (default: $PRELIM_INDEX)",
    )
    shared.add_argument("--view", choices=get_args(ViewPosition), help="view of the images, where the files say none")
    shared.add_argument("--patient-key", type=PatientKey, help="leave out this patient's own cases")
    shared.add_argument("--json", action="store_true", help="one JSON object instead of text")

    parser = argparse.ArgumentParser(prog="prelim", description="Preliminary report drafts for radiologists to edit.")
    commands = parser.add_subparsers(dest="command", required=True)
    searching = commands.add_parser("search", parents=[shared], help="find similar cases")
    searching.add_argument("--cases", type=_count, default=10, metavar="N", help="how many (default: 10)")
    commands.add_parser("draft", parents=[shared], help="draft the findings from similar cases")
    return parser


def _count(text: str) -> int:
    if not 1 <= (count := int(text)) <= MAX_CASES:
        raise argparse.ArgumentTypeError(f"from 1 to {MAX_CASES}")
    return count


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    options = _parser().parse_args(arguments)
    console = Console()
    try:
        with open_desk(options.index) as desk:
            study = desk.read(options.paths, view=options.view, patient_key=options.patient_key)
            if options.command == "search":
                verdict, evidence = desk.drafter.similar_cases(study, limit=options.cases)
                if options.json:
                    sys.stdout.write(evidence.model_dump_json(indent=2) + "\n")
                else:
                    show_evidence(console, verdict, evidence)
            else:
                draft = desk.drafter.draft(study)
                if options.json:
                    sys.stdout.write(draft.model_dump_json(indent=2) + "\n")
                else:
                    show_draft(console, draft)
    except PrelimError as error:
        Console(stderr=True, soft_wrap=True).print(f"{error.code}: {error}", style="red", markup=False, highlight=False)
        return error.exit_status
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
