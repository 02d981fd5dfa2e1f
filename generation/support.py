"""What a sentence of a language model rests on: which similar cases, experts and earlier studies say the same.

Sentences in, `Sentence` records out, each with its support and with the flags that only somebody who knows the sources
can set. A source supports a sentence when it says all of it: every finding that is stated, on its side and as surely,
or every denial and normal structure of a sentence without findings. To compare with an earlier study is not to be
supported by it: what goes on must have been there, and what is new must not, else the sentence is flagged. Nothing is
taken away here; `checked` does that, and takes the sentences first that carry a hard flag.
"""

import re
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Final, Literal

from generation.claims import Claim, claims_of, contradict, standing
from generation.consensus import POLICY, READING_ORDER
from generation.draft import Flag, Sentence, Support
from generation.known import priors_said
from generation.reports import ReadReport, ReadSentence, Sides, read_case, read_sentence
from generation.wording import topic
from prompts.data import clean
from prompts.facts import Facts
from retrieval.agreement import Settled
from retrieval.checks.said import FINDINGS, opposite, upper
from retrieval.extraction.extractor import embedded
from retrieval.extraction.sentences import sentence_spans
from retrieval.mentions import ConceptMention
from retrieval.records import CaseId

_WORD: Final = re.compile(r"[^\W\d_]+")
_CAPITALISED: Final = re.compile(
    r"(?:(?<=[a-z,;] )|(?<=\b[DM]r\. )|(?<=\bMrs\. ))(?:[^\W\d_]['\u2019])?([^\W\d_]{3,})|"
    r"^(?!There\b|This\b)([^\W\d_]{3,})(?='s\b| (?:has|had|presents|presented|denies)\b)"
)
"""A word inside a sentence, behind a title, or one that opens the sentence as its subject, in any alphabet. Those in
capitals throughout are left to the ontology: they are abbreviations far more often than names."""
_BOTH: Final[Sides] = frozenset({"left", "right"})
_GOES_ON: Final = frozenset(
    {"unchanged", "persistent", "increased", "decreased", "worsened", "improved", "resolved", "healing"}
)
"""Changes of what an earlier study must have seen."""
_POSSIBLE: Final = 0.5
"""Share of the probability that states a finding from which on it may be called possible. It is relative because the
thresholds of rare findings lie low; with less, an open band means only that the expert could not rule it out."""


ENOUGH_CASES: Final = POLICY.min_support
"""Similar cases that have to say an abnormal sentence for it to stand without a flag where no expert says it. One false
report in the index, or one of this patient's own, must not be enough; sentences that are copied from cases need as
many."""


class Sources:
    """Everything that the sentences of one draft may rest on, read once."""

    def __init__(self, facts: Facts, vocabulary: frozenset[str]) -> None:
        """`vocabulary` holds the words that several reports of the index use, in lower case."""
        self._ontology = embedded().ontology
        before = priors_said(facts.study)
        self._cases = [_Source(read_case(case.case)) for case in facts.cases]
        self._priors = [_Source(_read(text)) for text in before]
        self._experts = facts.experts
        self._possible = {
            s.concept
            for s in (facts.experts.scores if facts.experts else ())
            # Without thresholds nothing is settled, so that an open band says nothing.
            if (s.absent_below > 0 or s.present_above < 1) and s.probability >= _POSSIBLE * s.present_above
        }
        self._settled = Settled(self._ontology, facts.experts)
        self._vocabulary = vocabulary
        given = (facts.study.indication, facts.study.technique, facts.study.comparison)
        self._asserted = claims_of(m for text in given if text for m in embedded().read(clean(text)))
        self._given = _words([*(text for text in given if text), *before])
        self._of_cases = _words(case.case.report.text for case in facts.cases)

    def sentence(self, text: str, section: Literal["findings", "impression"]) -> Sentence:
        """One sentence with its support."""
        read = read_sentence(text)
        support = Support(
            case_ids=tuple(case.report.case_id for case in self._cases if case.says(read)),
            of=len(self._cases),
            experts=(self._experts.expert,) if self._experts and self._expert_says(read.mentions) else (),
            prior=any(prior.says(read) for prior in self._priors),
        )
        return Sentence(
            text=read.text,
            section=section,
            topic=topic(read.claims, READING_ORDER) if read.claims else "other",
            abnormal=read.abnormal,
            support=support,
            flags=tuple(self._flags(read, support)),
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
        open_ = mention.certainty == "uncertain" and band == "uncertain"
        return band == "present" or (open_ and mention.concept in self._possible)

    def _against_before(self, read: ReadSentence) -> str:
        """How its words of change go against the earlier studies; empty where they do not."""
        for m in read.mentions:
            change = self._ontology[m.change].slug if m.change else ""
            if self._ontology[m.concept].kind not in FINDINGS or not (change == "new" or change in _GOES_ON):
                continue
            # The most recent study that speaks of it decides; they come in that order.
            before = next((was for prior in self._priors if (was := prior.had(m))), None)
            if before == ("stated" if change == "new" else "denied"):
                called = f"{upper(self._ontology[m.concept].name)} is called {self._ontology[change].name}"
                return f"{called}, and an earlier study {'has it already' if change == 'new' else 'denies it'}."
        return ""

    def _flags(self, read: ReadSentence, support: Support) -> Iterable[Flag]:
        if read.foreign in ("NAME", "DEIDENTIFIED"):
            yield Flag(code="NAME", severity="hard", explanation="It names a person, or holds the place of a name.")
        unusual = self._unusual(read.text)
        if unusual & self._of_cases:
            why = "It holds a capitalised word that only another patient's report uses, as names are."
            yield Flag(code="NAME", severity="hard", explanation=why)
        elif unusual:
            why = "It holds a capitalised word that no report of the index uses: it may be a name."
            yield Flag(code="NAME_LIKE", explanation=why)
        if why := self._against_before(read):
            yield Flag(code="CHANGE_NO_EVID", explanation=why)
        if not read.mentions:
            yield Flag(code="UNREAD", explanation="Nothing in it is known to the ontology, so nothing was checked.")
        elif read.abnormal and not (support.case_ids or support.experts or support.prior):
            why = "No similar case, expert or earlier study says the same: verify it on the image."
            yield Flag(code="UNSUPPORTED", explanation=why)
        elif read.abnormal and not support.experts and len(support.case_ids) < ENOUGH_CASES:
            yield Flag(code="THIN_SUPPORT", explanation=_thin(support))
        elif not read.abnormal and not support.experts and read.claims and read.claims <= self._asserted:
            why = "The request asserts the same, and no expert does: verify it on the image."
            yield Flag(code="ECHO", explanation=why)

    def _unusual(self, text: str) -> frozenset[str]:
        """Words where names stand that neither the index, the ontology nor the request knows."""
        words = (inside or opens for inside, opens in _CAPITALISED.findall(text))
        found = frozenset(word.lower() for word in words if word[0].isupper() and not word.isupper())
        return found - self._vocabulary - self._given - _words_of_concepts()


class _Source:
    """One report, and which of its findings makes which claim."""

    def __init__(self, report: ReadReport) -> None:
        self.report = report
        self._by_claim: dict[Claim, list[ConceptMention]] = {}
        self._stated: list[ConceptMention] = []
        for m in (m for sentence in report.sentences for m in sentence.mentions):
            if any(claim.polarity == "present" for claim in claims_of([m])):
                self._stated.append(m)
            for claim in claims_of([m]):
                self._by_claim.setdefault(claim, []).append(m)

    def says(self, read: ReadSentence) -> bool:
        """Whether it says all of the sentence; never of one that says nothing known."""
        if not read.claims or not self.report.supports(read):
            return False
        for m in read.mentions:
            for claim in claims_of([m]) & read.needed:
                said = [o for o in self._by_claim.get(claim, ()) if m.certainty in ("uncertain", o.certainty)]
                if not said or not _covers(said, m, claim):
                    return False
        # Of "shift to the right" no finding carries the side: there the words of the sentences are compared.
        loose = read.sides.difference(*(_sides(m) for m in read.mentions))
        return loose <= self.report.sides(read)

    def had(self, finding: ConceptMention) -> Literal["stated", "open", "denied"] | None:
        """What it says of a finding on that side and in that place; None when it does not speak of it."""
        stated, ontology = Claim("present", finding.concept), embedded().ontology
        near = [o for o in self._stated if _may_be_one(o, finding)]
        if near:
            sure = [o for o in near if o.certainty == "present" and ontology.is_a(o.concept, finding.concept)]
            return "stated" if sure and _covers(sure, finding, stated) else "open"
        for claim, said in self._by_claim.items():
            if claim.polarity != "present" and contradict(stated, claim) and _covers(said, finding, claim):
                return "denied"
        return None


def _thin(support: Support) -> str:
    cases = {0: (), 1: ("one similar case",)}.get(len(support.case_ids), (f"{len(support.case_ids)} similar cases",))
    said = " and ".join([*cases, *(["an earlier study"] if support.prior else [])])
    return f"Nobody but {said} says the same: verify it on the image."


def _read(text: str) -> ReadReport:
    """An earlier study's report as a source; it has no case id, being this patient's own."""
    sentences = tuple(read_sentence(text[first:last]) for first, last in sentence_spans(text))
    return ReadReport(CaseId(""), sentences, standing(claim for s in sentences for claim in s.claims))


def _sides(mention: ConceptMention) -> Sides:
    if mention.side is None:
        return frozenset()
    return _BOTH if mention.side == "bilateral" else frozenset({mention.side})


def _may_be_one(one: ConceptMention, other: ConceptMention) -> bool:
    """Whether both may speak of one finding: one is the other or narrower, and neither sides nor sites lie apart."""
    ontology = embedded().ontology
    related = ontology.is_a(one.concept, other.concept) or ontology.is_a(other.concept, one.concept)
    if not related or opposite(one.side, other.side):
        return False
    sites = [(a, b) for a in one.sites for b in other.sites]
    return not sites or any(a in ontology.around(b) or b in ontology.around(a) for a, b in sites)


def _covers(said: Sequence[ConceptMention], wanted: ConceptMention, claim: Claim) -> bool:
    """Whether what was said reaches every side of what is wanted.

    A finding without a side may be on either. Who denies one without a side, or calls lungs clear, speaks of both.
    """
    unsaid: Sides = frozenset() if claim.polarity == "present" else _BOTH
    return (_sides(wanted) or unsaid) <= frozenset(side for m in said for side in _sides(m) or unsaid)


def _words(texts: Iterable[str]) -> frozenset[str]:
    return frozenset(word for text in texts for word in _WORD.findall(text.lower()))


@cache
def _words_of_concepts() -> frozenset[str]:
    """Every word that the ontology writes a concept with: eponyms are among them."""
    written = embedded().ontology.written
    return _words(phrase for concept in written for phrase in (concept.name, *concept.synonyms))
