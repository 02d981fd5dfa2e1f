"""A report as the checks see it: its sentences, what each says, and when two statements speak of one thing."""

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

from retrieval.checks.remark import Remark, RemarkCode, Severity
from retrieval.extraction.extractor import READ_SECTIONS, Extractor
from retrieval.extraction.sentences import sentence_spans
from retrieval.mentions import ConceptId, ConceptMention, Side
from retrieval.ontology.ontology import Ontology
from retrieval.records import Report, SectionName

FINDINGS: Final = ("finding", "diagnosis")
"""Kinds that a patient has; the others are devices, operations, views and statements of normality."""
RESTRICTED: Final = re.compile(
    r"\b(?:otherwise|remain\w*|rest of|elsewhere|except|other than|aside from|apart from|besides|additional|further)\b",
    re.I,
)
"""Words by which a statement speaks of what is left, beside what was named before."""
_MODERATE: Final = 4
"""Rank of moderate size or severity: who denies a large effusion leaves a small one open, not the other way round."""
_BARE_DENIALS: Final = frozenset(("focal", "diffuse", "acute"))
"""Modifiers that a denial may carry and still deny the finding as such."""
_FEW: Final = 200
"""Mentions of which each is compared with each; a report has fewer."""
_EQUAL: Final = 2
_URGENT: Final = ("critical", "significant")


class SentenceAt(NamedTuple):
    """One sentence of findings or impression."""

    number: int
    """From 0, as mentions count them."""
    section: SectionName
    """Where it stands."""
    start: int
    """First character in the report."""
    end: int
    """One past its last character."""
    text: str
    """As written."""
    mentions: tuple[ConceptMention, ...]
    """What it says."""


class Said:
    """The sentences of some sections of a report, with what they say; offsets are into the report's text."""

    def __init__(self, report: Report, extractor: Extractor, sections: tuple[SectionName, ...] = READ_SECTIONS) -> None:
        """Read the report; sentences carry the numbers that `Extractor.read_report` gives them."""
        self.extractor = extractor
        self.ontology: Ontology = extractor.ontology
        self.text = report.text
        read = extractor.read_report(report).mentions
        by_sentence: dict[int, list[ConceptMention]] = {}
        for m in read:
            by_sentence.setdefault(m.sentence, []).append(m)
        found: list[SentenceAt] = []
        number = 0
        for section in report.sections:
            if section.name not in READ_SECTIONS or not section.text:
                continue
            start = report.text.find(section.text, section.start)
            for first, last in sentence_spans(section.text):
                if section.name in sections:
                    text, mentions = section.text[first:last], tuple(by_sentence.get(number, ()))
                    found.append(SentenceAt(number, section.name, start + first, start + last, text, mentions))
                number += 1
        self.sentences = tuple(found)
        """In the order of the text."""
        self.mentions = tuple(m for s in found for m in s.mentions)
        """In the order of the text."""
        self._has: dict[tuple[re.Pattern[str], int], bool] = {}
        self._sentences = {s.number: s for s in found}
        self.crowded = False
        """Whether `few` left something out."""

    def section_of(self, mention: ConceptMention) -> SectionName:
        """The section a mention stands in."""
        return self._sentences[mention.sentence].section

    def sentence_of(self, mention: ConceptMention) -> SentenceAt:
        """The sentence a mention stands in."""
        return self._sentences[mention.sentence]

    def has(self, pattern: re.Pattern[str], mention: ConceptMention) -> bool:
        """Whether the sentence of a mention holds a pattern; looked up once a sentence."""
        key = (pattern, mention.sentence)
        if key not in self._has:
            self._has[key] = bool(pattern.search(self.sentence_of(mention).text))
        return self._has[key]

    def few(self, mentions: Sequence[ConceptMention]) -> Sequence[ConceptMention]:
        """The mentions for rules that compare each with each: of more than any report has, the first that differ.

        Of equal ones two are kept, so that there is one in another sentence.
        """
        if len(mentions) <= _FEW:
            return mentions
        times: dict[tuple[object, ...], int] = {}
        kept: list[ConceptMention] = []
        for m in mentions:
            what = (self.section_of(m), m.concept, m.certainty, m.side, m.sites, m.severity, m.size, m.modifiers,
                    m.change, m.measurement and m.measurement.millimetres)  # fmt: skip
            times[what] = times.get(what, 0) + 1
            if times[what] <= _EQUAL:
                kept.append(m)
            if len(kept) == _FEW:
                self.crowded = True
                break
        return kept

    def name(self, concept: ConceptId) -> str:
        """What a radiologist calls it."""
        return self.ontology[concept].name

    def is_finding(self, mention: ConceptMention) -> bool:
        """Whether it is about something a patient has."""
        return self.ontology[mention.concept].kind in FINDINGS

    def weight(self, *concepts: ConceptId) -> Severity:
        """Hard for what is critical or significant, soft for the rest."""
        return "hard" if any(self.ontology[c].acuity in _URGENT for c in concepts) else "soft"

    def related(self, one: ConceptId, other: ConceptId) -> bool:
        """Whether one of them is the other or narrower."""
        return self.ontology.is_a(one, other) or self.ontology.is_a(other, one)

    def is_new_only(self, mention: ConceptMention) -> bool:
        """Whether it only says that nothing of the kind is new, which leaves open whether an old one is there."""
        return mention.change == self.ontology["no_new"].id

    def narrowing(self, denial: ConceptMention) -> frozenset[ConceptId]:
        """What makes a denial one of a part only: a large one, a calcified one, one at a place that is not its usual.

        Empty where the finding is denied as such; who denies a small one denies all, a side is not looked at.
        """
        concept = self.ontology[denial.concept]
        high = {c for c in (denial.size, denial.severity) if c and (self.ontology[c].level or 0) >= _MODERATE}
        words = {*_BARE_DENIALS, *concept.name.split()}
        kinds = {c for c in denial.modifiers if self.ontology[c].slug not in words}
        usual = {place for site in self.ontology.ids(concept.site) for place in self.ontology.around(site)}
        places = {s for s in denial.sites if s not in usual and not words.issuperset(self.name(s).split())}
        return frozenset(high | kinds | places)

    def one_place(self, one: ConceptMention, other: ConceptMention) -> bool:
        """Whether both can speak of one place: no opposite sides, and no sites that lie apart."""
        if opposite(one.side, other.side):
            return False
        if not one.sites or not other.sites:
            return True
        return any(a in self.ontology.around(b) or b in self.ontology.around(a) for a in one.sites for b in other.sites)


def opposite(one: Side | None, other: Side | None) -> bool:
    """Whether one is left and the other right."""
    return {one, other} == {"left", "right"}


def upper(name: str) -> str:
    """A name as a sentence begins with it; an abbreviation keeps its case."""
    return name[:1].upper() + name[1:]


def remark_on(
    mention: ConceptMention, code: RemarkCode, severity: Severity, explanation: str, *also: ConceptId
) -> Remark:
    """A remark at the words of a mention."""
    return Remark(
        code=code,
        severity=severity,
        sentence=mention.sentence,
        start=mention.start,
        end=mention.end,
        concepts=tuple(dict.fromkeys((mention.concept, *also))),
        explanation=explanation,
    )


def remark_at(
    sentence: SentenceAt, span: tuple[int, int], code: RemarkCode, severity: Severity, explanation: str
) -> Remark:
    """A remark at some words of a sentence, with the concepts that these words name; `span` is into the sentence."""
    start, end = sentence.start + span[0], sentence.start + span[1]
    concepts = tuple(dict.fromkeys(m.concept for m in sentence.mentions if m.start < end and start < m.end))
    return Remark(
        code=code,
        severity=severity,
        sentence=sentence.number,
        start=start,
        end=end,
        concepts=concepts,
        explanation=explanation,
    )
