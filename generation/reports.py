"""A case's report as the drafter sees it: sentences, what each claims, where, and whether it may be quoted.

Cases in, read reports out. What a sentence says is what the extractor read when the case was indexed; a case that
nothing has read is read here. Nothing is counted over cases, except which of them support a sentence.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from generation.claims import Claim, claims_of, standing
from retrieval.extraction.extractor import embedded
from retrieval.extraction.sentences import sentence_spans
from retrieval.foreign_sentences import Reason, foreign
from retrieval.mentions import ConceptMention, Side
from retrieval.records import Case, CaseId

Sides = frozenset[Side]
"""Left, right, both or none; bilateral is both."""

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
    """As written, in one line, ending in one full stop."""
    claims: frozenset[Claim]
    """What it says; empty when no word of it is known."""
    words: frozenset[str]
    """Its words and numbers in lower case."""
    foreign: Reason | None
    """Why it may not be quoted for another patient; None when it may."""
    mentions: tuple[ConceptMention, ...] = ()
    """What was read in it, each finding with its own side and certainty."""

    @property
    def abnormal(self) -> bool:
        """Whether it states a finding."""
        return any(c.polarity == "present" for c in self.claims)

    @property
    def needed(self) -> frozenset[Claim]:
        """What a case must claim to support it: its present findings, or all claims when it has none."""
        return frozenset(c for c in self.claims if c.polarity == "present") or self.claims

    @property
    def sides(self) -> Sides:
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

    def sides(self, sentence: ReadSentence) -> Sides:
        """Every side that it names where it makes one of the sentence's claims."""
        return frozenset(side for s in self.sentences if s.claims & sentence.needed for side in s.sides)


def read_case(case: Case) -> ReadReport:
    """Read the findings of a case's report, or its impression when it has no findings."""
    reader = embedded()
    read = case.concepts.within(reader.ontology) if case.concepts else reader.read_report(case.report)
    wanted = "findings" if case.report.findings else "impression"
    sentences: list[ReadSentence] = []
    for section in case.report.sections:
        if section.name == wanted and section.text:
            begin = case.report.text.find(section.text, section.start)
            for first, last in sentence_spans(section.text):
                inside = [m for m in read.mentions if begin + first <= m.start < begin + last]
                sentences.append(_sentence(section.text[first:last], inside))
    return ReadReport(case.case_id, tuple(sentences), standing(c for s in sentences for c in s.claims))


def read_sentence(text: str) -> ReadSentence:
    """Read one sentence by itself."""
    return _sentence(text, embedded().read(text))


def supporters(sentence: ReadSentence, reports: Sequence[ReadReport]) -> list[ReadReport]:
    """The reports that say the same, in the order given."""
    return [report for report in reports if report.supports(sentence)]


def _sentence(text: str, mentions: Sequence[ConceptMention]) -> ReadSentence:
    line = " ".join(text.split()).rstrip(" .,;!?")
    written = line[:1].upper() + line[1:] + "."
    words = frozenset(_WORD.findall(line.lower()))
    return ReadSentence(written, claims_of(mentions), words, foreign(written), tuple(mentions))
