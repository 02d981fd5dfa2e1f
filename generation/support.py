"""What a sentence of a language model rests on: which similar cases, experts and earlier studies say the same.

Sentences in, `Sentence` records out, each with its support and with the flags that only somebody who knows the sources
can set. A source supports a sentence when it says all of it: every finding that is stated, with its side, or every
denial and normal structure of a sentence without findings. Nothing is taken away here; `checked` does that, and takes
the sentences first that carry a hard flag.
"""

import re
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Final, Literal

from generation.claims import standing
from generation.consensus import READING_ORDER
from generation.draft import Flag, Sentence, Support
from generation.reports import ReadReport, ReadSentence, read_case, read_sentence, supporters
from generation.wording import topic
from prompts.facts import Facts
from retrieval.agreement import Settled
from retrieval.extraction.extractor import READ_SECTIONS, embedded
from retrieval.extraction.priors import find_prior_references
from retrieval.extraction.sentences import sentence_spans
from retrieval.mentions import ConceptMention
from retrieval.records import CaseId
from retrieval.sections import read_report

_WORD: Final = re.compile(r"[a-z]+")
_NAME_LIKE: Final = re.compile(
    r"(?<=[a-z,;] )[A-Z][a-z]{2,}|^(?!There\b|This\b)[A-Z][a-z]{2,}(?='s\b| (?:has|had|presents|presented|denies)\b)"
)
"""A capitalised word inside a sentence, or one that opens it as its subject."""


class Sources:
    """Everything that the sentences of one draft may rest on, read once."""

    def __init__(self, facts: Facts, vocabulary: frozenset[str]) -> None:
        """`vocabulary` holds the words that several reports of the index use, in lower case."""
        self._ontology = embedded().ontology
        self._cases = [read_case(case.case) for case in facts.cases]
        self._priors = [_read(prior.text) for prior in facts.study.priors]
        self._before = {m.concept for prior in facts.study.priors for m in embedded().read(prior.text)}
        self._experts = facts.experts
        self._settled = Settled(self._ontology, facts.experts)
        self._vocabulary = vocabulary
        given = (facts.study.indication, facts.study.technique, facts.study.comparison)
        self._given = _words([*(text for text in given if text), *(prior.text for prior in facts.study.priors)])
        self._of_cases = _words(case.case.report.text for case in facts.cases)

    def sentence(self, text: str, section: Literal["findings", "impression"]) -> Sentence:
        """One sentence with its support."""
        read = read_sentence(text)
        mentions = embedded().read(text)
        support = Support(
            case_ids=tuple(r.case_id for r in _saying(read, self._cases)),
            of=len(self._cases),
            experts=(self._experts.expert,) if self._experts and self._expert_says(mentions) else (),
            prior=bool(_saying(read, self._priors)) or self._compares(text, mentions),
        )
        return Sentence(
            text=read.text,
            section=section,
            topic=topic(read.claims, READING_ORDER) if read.claims else "other",
            abnormal=read.abnormal,
            support=support,
            flags=tuple(self._flags(read, mentions, support)),
        )

    def _expert_says(self, mentions: Sequence[ConceptMention]) -> bool:
        """Whether the experts have settled everything that the sentence speaks of, in the way it does."""
        ontology = self._ontology
        spoken = [m for m in mentions if ontology[m.concept].kind != "view"]
        stated = [m for m in spoken if m.certainty != "absent" and ontology[m.concept].kind != "normal"]
        return bool(spoken) and all(map(self._settles, stated or spoken))

    def _settles(self, mention: ConceptMention) -> bool:
        band = self._settled.band(mention.concept)
        if self._ontology[mention.concept].kind == "normal":
            # "The heart is normal in size" rests on every finding it rules out for certain that was looked for.
            ruled_out = [
                band
                for concept, band in self._settled.bands.items()
                if (group := self._ontology.excludes(concept, mention.concept)) and group.strength == "hard"
            ]
            return bool(ruled_out) and set(ruled_out) == {"absent"}
        if mention.certainty == "absent":
            return band == "absent"
        return band == "present" or (mention.certainty == "uncertain" and band == "uncertain")

    def _compares(self, text: str, mentions: Sequence[ConceptMention]) -> bool:
        """Whether it compares with an earlier study that speaks of the same thing."""
        return bool(find_prior_references(text)) and any(m.concept in self._before for m in mentions)

    def _flags(self, read: ReadSentence, mentions: Sequence[ConceptMention], support: Support) -> Iterable[Flag]:
        if read.foreign in ("NAME", "DEIDENTIFIED"):
            yield Flag(code="NAME", severity="hard", explanation="It names a person, or holds the place of a name.")
        unusual = self._unusual(read.text)
        if unusual & self._of_cases:
            why = "It holds a capitalised word that only another patient's report uses, as names are."
            yield Flag(code="NAME", severity="hard", explanation=why)
        elif unusual:
            why = "It holds a capitalised word that no report of the index uses: it may be a name."
            yield Flag(code="NAME_LIKE", explanation=why)
        if not mentions:
            yield Flag(code="UNREAD", explanation="Nothing in it is known to the ontology, so nothing was checked.")
        elif read.abnormal and not (support.case_ids or support.experts or support.prior):
            why = "No similar case, expert or earlier study says the same: verify it on the image."
            yield Flag(code="UNSUPPORTED", explanation=why)

    def _unusual(self, text: str) -> frozenset[str]:
        """Words where names stand that neither the index, the ontology nor the request knows."""
        found = frozenset(word.lower() for word in _NAME_LIKE.findall(text))
        return found - self._vocabulary - self._given - _words_of_concepts()


def _saying(read: ReadSentence, reports: Sequence[ReadReport]) -> list[ReadReport]:
    """The reports that say all of the sentence, on its side or sides; none for a sentence that says nothing known."""
    if not read.claims:
        return []
    return [report for report in supporters(read, reports) if read.sides <= report.sides(read)]


def _read(text: str) -> ReadReport:
    """An earlier study's report as a source; it has no case id, being this patient's own."""
    parts = [section.text for section in read_report(text).sections if section.name in READ_SECTIONS]
    sentences = tuple(read_sentence(part[first:last]) for part in parts for first, last in sentence_spans(part))
    return ReadReport(CaseId(""), sentences, standing(claim for s in sentences for claim in s.claims))


def _words(texts: Iterable[str]) -> frozenset[str]:
    return frozenset(word for text in texts for word in _WORD.findall(text.lower()))


@cache
def _words_of_concepts() -> frozenset[str]:
    """Every word that the ontology writes a concept with: eponyms are among them."""
    written = embedded().ontology.written
    return _words(phrase for concept in written for phrase in (concept.name, *concept.synonyms))
