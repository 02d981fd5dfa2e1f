"""A search in the words of a caller, for the command and every face: which cases, by what, kept to which.

A request in, an answer out: words are read as findings and words, names as concepts, and what nobody asked for is not
searched by. Where an answer holds less than was asked, it says so.
"""

from typing import Final

from pydantic import Field

from retrieval.asking import anatomy_asked, both, findings_asked, text_asked
from retrieval.comparison import ConceptSet
from retrieval.errors import RequestError
from retrieval.extraction.extractor import embedded
from retrieval.ranking.text import words_of
from retrieval.record import Record
from retrieval.records import CaseId, GateVerdict, Leg, PatientKey, Sex, SimilarCases, ViewGroup
from retrieval.retriever import Query
from retrieval.study import ReadStudy
from retrieval.where import Where
from service.desk import Desk

MAX_CASES: Final = 1000
"""More similar cases than anyone looks at."""
ORDINARY: Final = 10
"""Cases given when nobody says how many."""
AGE_BANDS: Final = frozenset({*(f"{age}-{age + 9}" for age in range(0, 90, 10)), "90+"})
"""As the index keeps them (`indexing.manifest`)."""


class SearchRequest(Record):
    """What is asked of a search, beside the images of a study."""

    text: str = Field(default="", max_length=2000)
    """Cases whose reports say this, such as "effusion without edema"."""
    findings: tuple[str, ...] = Field(default=(), max_length=20)
    """Only cases that state each; with a side, that side first; "no NAME" for cases that deny it."""
    anatomy: str = Field(default="", max_length=200)
    """Findings are compared in this part of the body alone; empty for all of it."""
    like: CaseId | None = None
    """Cases like this one of the index; instead of a study."""
    legs: tuple[Leg, ...] = ()
    """Ways of finding to use; empty takes image and concept for a study, else what something is given for."""
    patient_key: PatientKey | None = None
    """This patient's own cases are left out."""
    sex: Sex | None = None
    """Only patients of this sex."""
    age_bands: tuple[str, ...] = Field(default=(), max_length=10)
    """Only patients of one of these, as 60-69."""
    sources: tuple[str, ...] = Field(default=(), max_length=50)
    """Only cases of one of these collections."""
    licences: tuple[str, ...] = Field(default=(), max_length=50)
    """Only cases under one of these licences."""
    views: tuple[ViewGroup, ...] = ()
    """Only cases that have an image of each of these."""
    limit: int = Field(default=ORDINARY, ge=1, le=MAX_CASES)
    """How many cases."""
    offset: int = Field(default=0, ge=0, lt=MAX_CASES)
    """How many of the nearest to leave out: for the next page. The first MAX_CASES can be seen."""


def query_of(asked: SearchRequest, *, images: bool) -> Query:
    """The request as the retriever takes it, `images` being whether a study is given.

    Raises RequestError for words that mean nothing here, for two questions at once, and for none.
    """
    if images and asked.like:
        raise RequestError("a study and a case to be like are two questions", fix="ask one after the other")
    if not (images or asked.like or asked.text or asked.findings):
        raise RequestError("nothing to search for", fix="give a study, or a text, findings or a case to be like")
    query = _query(asked, images=images)
    if query.legs and not _able(query, images=bool(images or asked.like)) & {*query.legs}:
        raise RequestError(
            f"nothing is given for the leg {' and '.join(query.legs)} to ask with",
            fix="give a study for image, words in the text for text, findings for concept; or leave the legs out",
        )
    return query


def answer(asked: SearchRequest, query: Query, desk: Desk, study: ReadStudy | None) -> SimilarCases:
    """Search; raises the errors of the store."""
    most = min(asked.offset + asked.limit, MAX_CASES)
    if study is not None:
        found = desk.drafter.similar_cases(study, most, query)
    else:
        retriever = desk.retriever
        if query.legs == ("image",) and asked.like is None and not retriever.reads_words:
            raise RequestError(
                "this index's encoder reads no words, so its images cannot be asked in words",
                fix="give a study, or leave the legs out; an index can be built with an encoder that reads words",
            )
        evidence = retriever.find(most, query) if asked.like is None else retriever.like(asked.like, most, query)
        found = SimilarCases(verdict=GateVerdict(in_scope=True), evidence=evidence)
    found = _with_what_is_missing(found, query, desk)
    page = found.evidence.model_copy(update={"cases": found.evidence.cases[asked.offset :]})
    return found.model_copy(update={"evidence": page})


def _able(query: Query, *, images: bool) -> set[Leg]:
    """The legs that have something to ask with; with images, or a case, also the concepts that go with them.

    Words can ask the image leg of an index whose encoder reads them, which is known once it is open.
    """
    able: set[Leg] = {"image", "concept"} if images else set()
    if query.concepts is not None and (query.concepts.present or query.concepts.absent):
        able.add("concept")
    if words_of(query.words):
        able |= {"image", "text"}
    return able


def _query(asked: SearchRequest, *, images: bool) -> Query:
    for band in asked.age_bands:
        if band not in AGE_BANDS:
            raise RequestError(
                f"{band[:100]!r} is no age band",
                fix="write it as 60-69, from 0-9 to 80-89, or 90+",
                unquoted="there is no such age band",
            )
    words, concepts, wanted, anatomy = "", None, ConceptSet(), None
    if asked.text or asked.findings or asked.anatomy:
        reader = embedded()
        if asked.text:
            concepts, words = text_asked(asked.text, reader)
        wanted = findings_asked(asked.findings, reader)
        if asked.anatomy:
            anatomy = anatomy_asked(asked.anatomy, reader.ontology)
    if asked.findings and (wanted.sides or not (images or asked.like or asked.text)):
        # Beside something else to search by, a finding without a side only filters.
        concepts = wanted if concepts is None else both(concepts, wanted)
    # A study by itself also asks for what its nearest cases show: so cases with its findings are found almost twice as
    # often as by its images alone (evaluation/measured/legs.json).
    bare = images and not (asked.text or asked.findings)
    return Query(
        legs=asked.legs or (("image", "concept") if bare else None),
        words=words,
        concepts=concepts,
        anatomy=anatomy,
        where=Where(
            not_patients=frozenset([asked.patient_key] if asked.patient_key else []),
            sex=asked.sex,
            age_bands=frozenset(asked.age_bands),
            sources=frozenset(asked.sources),
            licences=frozenset(asked.licences),
            views=frozenset(asked.views),
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
