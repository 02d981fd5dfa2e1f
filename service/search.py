"""The command `prelim search`: by a study, a text, findings, a part of the body or an indexed case, with filters.

Options in, one answer out. Words are turned into a query before the index is opened, so that a slip is told at once.
"""

import argparse
from pathlib import Path
from typing import Final, get_args

from pydantic import ValidationError

from retrieval.errors import RequestError
from retrieval.records import CaseId, Leg, Sex, SimilarCases, ViewGroup
from retrieval.terminal import count
from service.question import MAX_CASES, ORDINARY, SearchRequest, answer, query_of
from service.wiring import open_desk

_OPTIONS: Final = {
    "text": "--text", "findings": "--finding", "anatomy": "--anatomy", "age_bands": "--age-band",
    "sources": "--source", "licences": "--licence",
}  # fmt: skip
"""What the fields of a request are called here."""


def add_search_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what `prelim search` takes beside index, view, patient and --json."""
    parser.add_argument("--cases", type=count, default=ORDINARY, metavar="N", help=f"how many (default: {ORDINARY})")
    parser.add_argument("--text", metavar="TEXT", help='cases whose reports say this, such as "effusion without edema"')
    parser.add_argument(
        "--finding",
        action="append",
        default=[],
        metavar="NAME",
        help='only cases that state it; with a side, that side first; "no NAME" for cases that deny it (repeatable)',
    )
    parser.add_argument("--anatomy", metavar="NAME", help="compare findings in this part of the body alone")
    parser.add_argument("--like", type=CaseId, metavar="CASE", help="cases like this one of the index")
    parser.add_argument(
        "--legs",
        type=_legs,
        metavar="LEG,...",
        help="image, concept, text (default: for a study image and concept, else as asked); --text can ask image too",
    )
    parser.add_argument("--sex", choices=get_args(Sex), help="only patients of this sex")
    for option, what in (("--age-band", "age band, as 60-69"), ("--source", "collection"), ("--licence", "licence")):
        parser.add_argument(option, action="append", default=[], help=f"only cases of this {what} (repeatable)")
    parser.add_argument(
        "--view-group",
        action="append",
        default=[],
        choices=get_args(ViewGroup),
        help="only cases that have such an image (repeatable: that have each)",
    )


def search(options: argparse.Namespace) -> SimilarCases:
    """Search; raises RequestError for words that mean nothing here, and the errors of the files and of the store."""
    paths: list[Path] = options.paths
    try:
        asked = _asked(options)
    except ValidationError as error:
        option = _OPTIONS.get(str(error.errors()[0]["loc"][0]), "an option")
        raise RequestError(f"{option} is too long, or given too often", fix="ask for less at once") from None
    query = query_of(asked, images=bool(paths))
    with open_desk(options.index) as desk:
        study = desk.read(paths, view=options.view, patient_key=options.patient_key) if paths else None
        return answer(asked, query, desk, study)


def _asked(options: argparse.Namespace) -> SearchRequest:
    return SearchRequest(
        text=options.text or "",
        findings=tuple(options.finding),
        anatomy=options.anatomy or "",
        like=options.like,
        legs=options.legs or (),
        patient_key=options.patient_key,
        sex=options.sex,
        age_bands=tuple(options.age_band),
        sources=tuple(options.source),
        licences=tuple(options.licence),
        views=tuple(options.view_group),
        limit=min(options.cases, MAX_CASES),
    )


def _legs(text: str) -> tuple[Leg, ...]:
    known: tuple[Leg, ...] = get_args(Leg)
    legs = tuple(leg for leg in known if leg in text.split(","))
    if len(legs) != len(text.split(",")):
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of {', '.join(known)}")
    return legs
