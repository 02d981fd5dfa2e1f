"""The command `prelim`: similar cases and a draft for one study, from files; what a report says.

    prelim search chest.dcm --index index/     similar cases with their reports; also by words (search --help)
    prelim draft  study-folder/ --index index/ a draft whose sentences name what they rest on, with --language-model
                                               written by one
    prelim concepts report.txt                 the findings that a text states, denies and leaves open
    prelim check report.txt                    a second look at a report: what contradicts itself or what is known
    prelim bulk studies/ --out drafts.jsonl    drafts for thousands of studies; started again it goes on where it was
    prelim serve --index index/                all of this over HTTP, for callers of this machine or with API keys
    prelim key ward-7                          a key for `serve --keys`
    prelim vllm-serve model/                   a vLLM server for `draft --generator vllm-http`

All print for people, or with --json one object on standard output. Errors go to standard error as code, what
happened and what to do; the exit status says what kind it was (65 fix the input, 75 try later, 78 repair, 0 also for
"no draft, because": that is an answer).
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import get_args

from rich.console import Console

from retrieval.record import Record
from retrieval.records import PatientKey, ViewPosition
from retrieval.terminal import add_index_argument, run_command
from service.bulk_command import GOES_ON, add_bulk_arguments, bulk_drafts
from service.check import check_report, context_of, with_similar_cases
from service.concepts import concepts
from service.draft import add_draft_arguments, draft
from service.search import add_search_arguments, search
from service.serve import add_key_arguments, add_serve_arguments, make_key, serve
from service.show import show_draft, show_similar_cases
from service.vllm_serve import add_vllm_serve_arguments, vllm_serve

STUDY = "image files or a folder: DICOM, PNG or JPEG of ONE study"


def _parser() -> argparse.ArgumentParser:
    shared = argparse.ArgumentParser(add_help=False)
    add_index_argument(shared)
    shared.add_argument("--view", choices=get_args(ViewPosition), help="view of the images, where the files say none")
    shared.add_argument("--patient-key", type=PatientKey, help="leave out this patient's own cases")
    shared.add_argument("--json", action="store_true", help="one JSON object instead of text")

    study = argparse.ArgumentParser(add_help=False)
    study.add_argument("paths", nargs="+", type=Path, metavar="STUDY", help=STUDY)

    parser = argparse.ArgumentParser(prog="prelim", description="Preliminary report drafts for radiologists to edit.")
    commands = parser.add_subparsers(dest="command", required=True)
    searching = commands.add_parser("search", parents=[shared], help="find similar cases")
    searching.add_argument("paths", nargs="*", type=Path, metavar="STUDY", help=f"{STUDY}; none to search by words")
    add_search_arguments(searching)
    drafting = commands.add_parser("draft", parents=[study, shared], help="draft a report of a study")
    add_draft_arguments(drafting)
    reading = commands.add_parser("concepts", help="read what a report says")
    given = "a report, a file that holds one, or - for standard input"
    reading.add_argument("text", metavar="TEXT|FILE", help=given)
    reading.add_argument("--json", action="store_true", help="one JSON object instead of text")
    add_bulk_arguments(commands.add_parser("bulk", help="draft thousands of studies"))
    add_vllm_serve_arguments(commands.add_parser("vllm-serve", help="serve a language model with vLLM"))
    add_serve_arguments(commands.add_parser("serve", help="serve drafts, searches and checks over HTTP"))
    add_key_arguments(commands.add_parser("key", help="make an API key for serve --keys"))
    checking = commands.add_parser("check", help="take a second look at a report")
    checking.add_argument(
        "report", metavar="REPORT|FILE", help="a report, a file that holds one, or - for standard input"
    )
    evidence = "what draft or search wrote with --json, or a context"
    checking.add_argument("--evidence", type=Path, metavar="JSON", help=evidence)
    prior = "whether an earlier study was given (default: what the report's comparison section says)"
    checking.add_argument("--prior", choices=("yes", "no"), help=prior)
    checking.add_argument("--images", nargs="+", type=Path, help="the study: its similar cases in --index are evidence")
    add_index_argument(checking)
    checking.add_argument("--view", choices=get_args(ViewPosition), help="view of the images, where the files say none")
    checking.add_argument("--patient-key", type=PatientKey, help="leave out this patient's own cases")
    checking.add_argument("--json", action="store_true", help="one JSON object instead of text")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    options = _parser().parse_args(arguments)
    after_interrupt = GOES_ON if options.command == "bulk" else "nothing was written"
    return run_command(lambda: _run(options), after_interrupt=after_interrupt)


def _run(options: argparse.Namespace) -> int:
    console = Console(highlight=False)
    if options.command == "concepts":
        concepts(options.text, console, as_json=options.json)
        return 0
    if options.command == "bulk":
        return bulk_drafts(options, console, Console(stderr=True, highlight=False))
    if options.command == "vllm-serve":
        return vllm_serve(options, console)
    if options.command == "serve":
        return serve(options, Console(stderr=True, highlight=False))
    if options.command == "key":
        return make_key(options, console, Console(stderr=True, highlight=False))
    if options.command == "check":
        context = context_of(options.evidence, has_prior=None if options.prior is None else options.prior == "yes")
        if options.images:
            context = with_similar_cases(
                context,
                options.images,
                options.index,
                Console(stderr=True, highlight=False),
                view=options.view,
                patient_key=options.patient_key,
            )
        check_report(options.report, console, context, as_json=options.json)
        return 0
    if options.command == "search":
        found = search(options)
        _tell(options, found, lambda: show_similar_cases(console, found))
    else:
        drafted = draft(options, Console(stderr=True, highlight=False))
        _tell(options, drafted, lambda: show_draft(console, drafted))
    return 0


def _tell(options: argparse.Namespace, answer: Record, show: Callable[[], None]) -> None:
    if options.json:
        sys.stdout.write(answer.model_dump_json(indent=2) + "\n")
    else:
        show()


if __name__ == "__main__":
    raise SystemExit(main())
