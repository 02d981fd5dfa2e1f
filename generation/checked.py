"""The checks as a step of a draft: hard remarks leave a sentence out, soft ones flag it.

Proposed sentences and what is known in, the sentences that stay out. Both ways of writing a draft end here; what they
know, and what they excuse, is theirs to say.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import NamedTuple

from generation.draft import Flag, Sentence
from retrieval.checks.check import check
from retrieval.checks.context import CheckContext
from retrieval.checks.remark import Remark
from retrieval.extraction.extractor import embedded
from retrieval.extraction.sentences import sentence_spans
from retrieval.records import CaseId
from retrieval.sections import compose_report

Excuse = Callable[[Remark, Sentence], bool]
"""Whether a remark on a sentence is passed over."""


class Checked(NamedTuple):
    """What the checks leave of the proposed sentences."""

    sentences: tuple[Sentence, ...]
    """Those that no hard remark is on, in the order proposed, with the soft ones as flags."""
    dropped: dict[str, int]
    """How many were left out, by code; a sentence with several hard remarks counts once, under the first."""
    missing: tuple[Remark, ...]
    """Remarks on what no sentence says."""


def nothing_excused(_remark: Remark, _sentence: Sentence) -> bool:
    """No remark is passed over."""
    return False


def keep_checked(proposed: Sequence[Sentence], context: CheckContext, excused: Excuse = nothing_excused) -> Checked:
    """Check sentences that are read together, findings before impression; `context` needs no `supports`.

    A sentence that arrives with a hard flag goes first. What was left out may be what made another sentence a
    repetition or a contradiction, so the rest is checked again until nothing hard is left. Where nothing at all is left
    the empty text is, because what the experts found is missing from it too.
    """
    hard = [next((flag.code for flag in s.flags if flag.severity == "hard"), None) for s in proposed]
    kept, dropped = tuple(proposed), Counter[str]()
    while True:
        dropped.update(code for code in hard if code)
        kept = tuple(s for s, code in zip(kept, hard, strict=True) if code is None)
        remarks, missing = _remarks(kept, context, excused)
        hard = [next((r.code for r in found if r.severity == "hard"), None) for found in remarks]
        if not any(hard):
            flagged = tuple(_flagged(s, found) for s, found in zip(kept, remarks, strict=True))
            return Checked(flagged, dict(dropped), missing)


def _remarks(
    sentences: Sequence[Sentence], context: CheckContext, excused: Excuse
) -> tuple[list[list[Remark]], tuple[Remark, ...]]:
    """What the checks say of each sentence when all are read together, and of what none says."""
    places = {name: [i for i, s in enumerate(sentences) if s.section == name] for name in ("findings", "impression")}
    texts = {name: " ".join(sentences[i].text for i in of) for name, of in places.items()}
    report = compose_report(findings=texts["findings"], impression=texts["impression"])
    # The checks count sentences as the extractor does, which may see two in one of the draft's.
    order: list[int] = []
    starts: list[int] = []
    supports: dict[int, tuple[CaseId, ...]] = {}
    for section in report.sections:
        of, begin = places[section.name], report.text.index(section.text, section.start)
        order += of
        starts += accumulate((len(sentences[i].text) + 1 for i in of[:-1]), initial=begin)
        for first, _ in sentence_spans(section.text):
            cited = order[bisect_right(starts, begin + first) - 1]
            supports[len(supports)] = sentences[cited].support.case_ids
    checked = check(report, context.model_copy(update={"supports": supports}), embedded())
    found: list[list[Remark]] = [[] for _ in sentences]
    for remark in checked.remarks:
        if remark.start is not None:
            place = order[bisect_right(starts, remark.start) - 1]
            if not excused(remark, sentences[place]):
                found[place].append(remark)
    return found, tuple(remark for remark in checked.remarks if remark.start is None)


def _flagged(sentence: Sentence, remarks: Sequence[Remark]) -> Sentence:
    known = {flag.code for flag in sentence.flags}
    flags = (Flag(code=r.code, severity=r.severity, explanation=r.explanation) for r in remarks if r.code not in known)
    return sentence.model_copy(update={"flags": (*sentence.flags, *flags)})
