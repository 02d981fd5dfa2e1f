"""A case's report as the drafter sees it: sentences, what each claims, where, and whether it may be quoted.

Cases in, read reports out. Nothing is counted over cases here, except which of them support a sentence.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from generation.claims import Claim, claims_of, standing
from generation.sentences import Reason, foreign, split
from retrieval.records import Case, CaseId

Side = Literal["left", "right"]
"""The patient's side, as reports say it."""

_WORD: Final = re.compile(r"[a-z0-9]+")
PLACE: Final[frozenset[str]] = frozenset(
    _WORD.findall("""left right bilateral bilaterally upper lower middle lobe lobes lingula lingular apical apex apices
    biapical base bases basilar bibasilar perihilar infrahilar suprahilar retrocardiac midlung anterior posterior medial
    hilum hilar mid costophrenic subclavian jugular thoracic lumbar thoracolumbar""")
)
"""Words that say where a finding is."""
_BOTH_SIDES: Final[frozenset[str]] = frozenset({"bilateral", "bilaterally", "bibasilar", "biapical", "both"})
_SIDES: Final[dict[str, Side]] = {
    "left": "left",
    "leftward": "left",
    "lingula": "left",
    "lingular": "left",
    "right": "right",
    "rightward": "right",
}


@dataclass(frozen=True, slots=True)
class ReadSentence:
    """One sentence of a report."""

    text: str
    """As written, in one line."""
    claims: frozenset[Claim]
    """What it says; empty when no word of it is known."""
    words: frozenset[str]
    """Its words and numbers in lower case."""
    foreign: Reason | None
    """Why it may not be quoted for another patient; None when it may."""

    @property
    def abnormal(self) -> bool:
        """Whether it states a finding."""
        return any(c.polarity == "present" for c in self.claims)

    @property
    def needed(self) -> frozenset[Claim]:
        """What a case must claim to support it: its present findings, or all claims when it has none."""
        return frozenset(c for c in self.claims if c.polarity == "present") or self.claims

    @property
    def sides(self) -> frozenset[Side]:
        """The sides it names; both for a word such as bilateral."""
        if self.words & _BOTH_SIDES:
            return frozenset({"left", "right"})
        return frozenset(_SIDES[word] for word in self.words if word in _SIDES)


@dataclass(frozen=True, slots=True)
class ReadReport:
    """What one case's report says."""

    case_id: CaseId
    """Whose report it is."""
    sentences: tuple[ReadSentence, ...]
    """In the order written."""
    claims: frozenset[Claim]
    """What it says as a whole: a finding that one sentence states, another cannot deny."""

    def supports(self, sentence: ReadSentence) -> bool:
        """Whether it says the same: every present finding of an abnormal sentence, every claim of a normal one."""
        return sentence.needed <= self.claims

    def places_alike(self, sentence: ReadSentence) -> bool:
        """Whether one of its sentences makes one of the claims with all of the sentence's words of place."""
        place = sentence.words & PLACE
        return any(s.claims & sentence.needed and place <= s.words for s in self.sentences)

    def sides(self, sentence: ReadSentence) -> frozenset[Side]:
        """Every side that it names where it makes one of the sentence's claims."""
        return frozenset(side for s in self.sentences if s.claims & sentence.needed for side in s.sides)


def read_case(case: Case) -> ReadReport:
    """Read the findings of a case's report, or its impression when it has no findings."""
    sentences = tuple(map(read_sentence, split(case.report.findings or case.report.impression)))
    return ReadReport(case.case_id, sentences, standing(c for s in sentences for c in s.claims))


def read_sentence(text: str) -> ReadSentence:
    """Read one sentence as it came out of `split`."""
    return ReadSentence(text, claims_of(text), frozenset(_WORD.findall(text.lower())), foreign(text))


def supporters(sentence: ReadSentence, reports: Sequence[ReadReport]) -> list[ReadReport]:
    """The reports that say the same, in the order given."""
    return [report for report in reports if report.supports(sentence)]
