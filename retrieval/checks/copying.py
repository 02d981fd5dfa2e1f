"""Words taken over from another patient's report that hold what can only be true of that patient.

A copied phrase alone is no fault: reports share most of their wording. What must not be taken over is the side, the
size, the date or the device of the other patient, unless this study is known to have the same. Words that stand in
several of the retrieved cases are no single patient's, so a remark on them is soft.
"""

import re
from collections.abc import Iterator
from typing import Final

from retrieval.checks.context import CheckContext, SimilarReport
from retrieval.checks.foreign import quantities
from retrieval.checks.remark import Remark
from retrieval.checks.said import Said, SentenceAt, opposite, remark_at
from retrieval.extraction.tokens import Tokens, tokenise
from retrieval.mentions import ConceptMention

_LONG: Final = 8
"""Words in a row from which a phrase counts as taken over."""
_DATE: Final = re.compile(
    r"\b\d{1,2}/\d{1,2}(?:/\d{2,4})?\b|\b(?:19|20)\d\d\b|\b(?:yesterday|days? ago|weeks? ago|months? ago)\b", re.I
)


def copied(said: Said, context: CheckContext) -> Iterator[Remark]:
    """Eight words in a row from a retrieved case, with a side, size, date or device that nothing here supports."""
    if context.cases is None:
        return
    pieces = [(case, _pieces(case)) for case in context.cases]
    texts = [_joined(_words(case.report.text)) for case in context.cases]
    for sentence in said.sentences:
        tokens = _words(sentence.text)
        if len(tokens.words) < _LONG:
            continue
        for case, known in pieces:
            found = _longest_run(tokens, known)
            foreign = found and _foreign(said, context, sentence, found)
            if found and foreign:
                run = _joined(_words(sentence.text[found[0] : found[1]]))
                count = sum(run in text for text in texts)
                where = f"of case {case.case_id}, another patient" if count <= 1 else f"of {count} other patients"
                explanation = f"These words are those {where}, with {foreign}."
                yield remark_at(sentence, found, "COPY", "hard" if count <= 1 else "soft", explanation)
                break


def _pieces(case: SimilarReport) -> frozenset[tuple[str, ...]]:
    """Every eight words in a row of a case's report."""
    words = _words(case.report.text).words
    return frozenset(tuple(words[i : i + _LONG]) for i in range(len(words) - _LONG + 1))


def _longest_run(tokens: Tokens, known: frozenset[tuple[str, ...]]) -> tuple[int, int] | None:
    """The longest stretch of a sentence that stands in a case, as a span; None when none is long enough."""
    best: tuple[int, int] | None = None
    begin: int | None = None
    for i in range(len(tokens.words) - _LONG + 2):
        if tuple(tokens.words[i : i + _LONG]) in known:
            begin = i if begin is None else begin
        elif begin is not None:
            last = i + _LONG - 2
            if best is None or last - begin > best[1] - best[0]:
                best = (begin, last)
            begin = None
    return None if best is None else (tokens.starts[best[0]], tokens.ends[best[1]])


def _foreign(said: Said, context: CheckContext, sentence: SentenceAt, span: tuple[int, int]) -> str:
    """What of the other patient the words hold; empty when this study is known to have the same."""
    text = sentence.text[span[0] : span[1]]
    for quantity, start, end in quantities(text):
        if quantity not in (context.measurements or ()):
            return f'the measurement "{" ".join(text[start:end].split())}"'
    given = " ".join((context.history or "").lower().split())
    for date in _DATE.finditer(text):
        if not re.search(rf"(?<![\w/]){re.escape(' '.join(date.group().lower().split()))}(?![\w/])", given):
            return "a date"
    first, last = sentence.start + span[0], sentence.start + span[1]
    for m in sentence.mentions:
        if m.certainty == "absent" or not (first <= m.start and m.end <= last):
            continue
        name, kind = said.name(m.concept), said.ontology[m.concept].kind
        if kind == "device":
            if not any(said.related(m.concept, d) for d in context.devices or ()):
                return f"a device, {name}"
        elif said.is_finding(m) and (m.side or m.size) and not _supported(said, context, m):
            which = " and ".join(w for w, has in (("side", m.side), ("size", m.size)) if has)
            return f"the {which} of {name}"
    return ""


def _supported(said: Said, context: CheckContext, m: ConceptMention) -> bool:
    """Whether the classifier found the finding, and not on the other side."""
    scores = context.experts.scores if context.experts else ()
    found = [s for s in scores if s.band == "present" and said.related(m.concept, s.concept)]
    return any(not opposite(s.side, m.side) for s in found)


def _joined(tokens: Tokens) -> str:
    """The words between blanks, so that a run of words is a part of it."""
    return f" {' '.join(tokens.words)} "


def _words(text: str) -> Tokens:
    """The words without punctuation, which a copyist changes first."""
    tokens = tokenise(text)
    kept = [i for i, word in enumerate(tokens.words) if word[:1].isalnum()]
    return Tokens([tokens.words[i] for i in kept], [tokens.starts[i] for i in kept], [tokens.ends[i] for i in kept])
