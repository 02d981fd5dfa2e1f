"""The command `prelim search`: by a study, a text, findings, a part of the body or an indexed case, with filters.

Options in, one answer out. Words are turned into a query before the index is opened, so that a slip is told at once.
"""

import argparse
from pathlib import Path
from typing import Final, get_args

from retrieval.asking import anatomy_asked, both, findings_asked, text_asked
from retrieval.comparison import ConceptSet
from retrieval.errors import RequestError
from retrieval.extraction.extractor import embedded
from retrieval.ranking.text import words_of
from retrieval.records import CaseId, GateVerdict, Leg, PatientKey, Sex, SimilarCases, ViewGroup, ViewPosition
from retrieval.retriever import Query
from retrieval.terminal import count
from retrieval.where import Where
from service.wiring import Desk

MAX_CASES: Final = 1000
"""More similar cases than anyone looks at."""
AGE_BANDS: Final = frozenset({*(f"{age}-{age + 9}" for age in range(0, 90, 10)), "90+"})
"""As the index keeps them (`indexing.manifest`)."""
ORDINARY: Final = 10
"""Cases shown when nobody says how many."""


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
        help="image, concept, text (default: for a study image and concept, else as asked)",
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


class Asked:
    """The options of one search, read; raises RequestError for words that mean nothing here."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.paths: list[Path] = options.paths
        self.like: CaseId | None = options.like
        self.view: ViewPosition | None = options.view
        self.patient_key: PatientKey | None = options.patient_key
        self.limit = min(options.cases, MAX_CASES)
        if self.paths and self.like:
            raise RequestError("a study and --like are two questions", fix="ask one after the other")
        if not (self.paths or self.like or options.text or options.finding):
            raise RequestError("nothing to search for", fix="name a study, or --text, --finding or --like")
        self.query = _query(options)
        if self.query.legs and not _able(self.query, images=bool(self.paths or self.like)) & {*self.query.legs}:
            raise RequestError(
                f"nothing is given for the leg {' and '.join(self.query.legs)} to ask with",
                fix="name a study for image, words in --text for text, findings for concept; or leave out --legs",
            )

    def answer(self, desk: Desk) -> SimilarCases:
        """Search; raises the errors of the study's files and of the store."""
        if self.paths:
            study = desk.read(self.paths, view=self.view, patient_key=self.patient_key)
            found = desk.drafter.similar_cases(study, self.limit, self.query)
        else:
            retriever, scope = desk.retriever, GateVerdict(in_scope=True)
            evidence = (
                retriever.find(self.limit, self.query)
                if self.like is None
                else retriever.like(self.like, self.limit, self.query)
            )
            found = SimilarCases(verdict=scope, evidence=evidence)
        return _with_what_is_missing(found, self.query, desk)


def _able(query: Query, *, images: bool) -> set[Leg]:
    """The legs that have something to ask with; with images, or a case, also the concepts that go with them."""
    able: set[Leg] = {"image", "concept"} if images else set()
    if query.concepts is not None and (query.concepts.present or query.concepts.absent):
        able.add("concept")
    if words_of(query.words):
        able.add("text")
    return able


def _query(options: argparse.Namespace) -> Query:
    for band in options.age_band:
        if band not in AGE_BANDS:
            raise RequestError(f"{band[:100]!r} is no age band", fix="write it as 60-69, from 0-9 to 80-89, or 90+")
    words, concepts, wanted, anatomy = "", None, ConceptSet(), None
    if options.text or options.finding or options.anatomy:
        reader = embedded()
        if options.text:
            concepts, words = text_asked(options.text, reader)
        wanted = findings_asked(options.finding, reader)
        if options.anatomy:
            anatomy = anatomy_asked(options.anatomy, reader.ontology)
    if options.finding and (wanted.sides or not (options.paths or options.like or options.text)):
        # Beside something else to search by, a finding without a side only filters.
        concepts = wanted if concepts is None else both(concepts, wanted)
    # A study by itself also asks for what its nearest cases show: so cases with its findings are found almost twice as
    # often as by its images alone (evaluation/measured/legs.json).
    bare = options.paths and not (options.text or options.finding)
    return Query(
        legs=options.legs or (("image", "concept") if bare else None),
        words=words,
        concepts=concepts,
        anatomy=anatomy,
        where=Where(
            not_patients=frozenset([options.patient_key] if options.patient_key else []),
            sex=options.sex,
            age_bands=frozenset(options.age_band),
            sources=frozenset(options.source),
            licences=frozenset(options.licence),
            views=frozenset(options.view_group),
            findings=frozenset(wanted.present),
            denied=frozenset(wanted.absent),
        ),
    )


def _with_what_is_missing(found: SimilarCases, query: Query, desk: Desk) -> SimilarCases:
    """The answer with why there are no cases, and with a warning where reports were not read."""
    if not found.verdict.in_scope:
        return found
    warnings = list(found.verdict.warnings)
    # A leg that was wanted and had nothing to ask with may have had nothing because no report can be found.
    asks_reports = query.where.by_report or {"concept", "text"} & {*found.evidence.legs, *(query.legs or ())}
    if asks_reports:
        read, cases = desk.retriever.searchable()
        if read < cases:
            warnings.append(
                f"the reports of {cases - read} of {cases} cases were not read by this version and cannot be found by "
                "what they say: run prelim-index reread"
            )
    if query.legs and (silent := [leg for leg in query.legs if leg not in found.evidence.legs]):
        warnings.append(f"nothing was given for the leg {' and '.join(silent)} to ask with")
    verdict = found.verdict.model_copy(update={"warnings": tuple(warnings)})
    if found.evidence.cases:
        return found.model_copy(update={"verdict": verdict})
    narrow = query.where != Where(not_patients=query.where.not_patients)
    why = "the index holds nothing like it that may be shown"
    if narrow:
        kept = desk.retriever.kept(query.where)
        why = "nothing that the filters keep is like it" if kept else "the filters keep no case"
    return found.model_copy(update={"verdict": verdict, "reason": "NO_CLOSE_MATCH", "explanation": why})


def _legs(text: str) -> tuple[Leg, ...]:
    known: tuple[Leg, ...] = get_args(Leg)
    legs = tuple(leg for leg in known if leg in text.split(","))
    if len(legs) != len(text.split(",")):
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of {', '.join(known)}")
    return legs
