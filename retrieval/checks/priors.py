"""Statements that only an earlier study can bear: none was given, or it was not compared for this finding."""

from collections.abc import Iterator
from typing import Final

from retrieval.checks.context import CheckContext
from retrieval.checks.remark import Remark
from retrieval.checks.said import Said, remark_at, remark_on, upper
from retrieval.extraction.prior_lexicon import Kind
from retrieval.extraction.priors import find_prior_references

_SAYS: Final[dict[Kind, str]] = {
    "explicit": "speaks of an earlier study",
    "unchanged": "says that something is as it was",
    "worse": "says that something has got worse",
    "better": "says that something has got better",
    "event": "says that something has happened since an earlier study",
}


def prior_reference(said: Said, context: CheckContext) -> Iterator[Remark]:
    """Words that refer to an earlier study though none was given; overlapping ones are one remark."""
    if context.has_prior is not False:
        return
    for sentence in said.sentences:
        last = 0
        for found in find_prior_references(sentence.text):
            if found.start < last:
                continue
            last = found.end
            words = " ".join(sentence.text[found.start : found.end].split()).strip(" .,;")
            explanation = f'"{words}" {_SAYS[found.kind]}, and no earlier study was given.'
            yield remark_at(sentence, (found.start, found.end), "PRIOR_REF", "hard", explanation)


def change_without_evidence(said: Said, context: CheckContext) -> Iterator[Remark]:
    """A change of a finding that was not compared with the earlier study."""
    if not context.has_prior or context.compared is None:
        return
    for m in said.mentions:
        if m.change is None or not said.is_finding(m):
            continue
        if not any(said.related(m.concept, c) for c in context.compared):
            explanation = (
                f"{upper(said.name(m.concept))} is called {said.name(m.change)}, and nothing says that it was "
                "compared with the earlier study."
            )
            yield remark_on(m, "CHANGE_NO_EVID", "soft", explanation)
