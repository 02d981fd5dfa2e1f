"""What reports of an index usually say: the background against which a vote of similar cases is judged.

Cases in, one record out. It is kept as a sealed document beside a snapshot and made anew after every publication,
rollback and erasure: the phrases are report text, so an erased case must not live on in them. The order of the cases
does not matter.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from pydantic import Field, field_validator

from generation.claims import Claim
from generation.heard import orders
from generation.reports import ReadSentence, read_case, read_sentence
from retrieval.records import Case, CaseId, Record

MIN_REPORTS: Final = 4
"""In how many reports a word must stand to be an ordinary one: fewer are slips, names and rarities."""


class Statements(Record):
    """What is usual in an index."""

    cases: int = Field(default=0, ge=0)
    """How many reports were read; one without findings and impression says nothing and is not counted."""
    rates: dict[str, float] = Field(default_factory=dict)
    """The share of all reports that make a claim, by the claim as written: "present PRELIM:0221"."""
    vocabulary: tuple[str, ...] = ()
    """The words that at least MIN_REPORTS reports use, sorted."""
    phrases: dict[str, tuple[CaseId, str]] = Field(default_factory=dict)
    """For a present finding, the plainest sentence that states it alone and the case it was copied from. Used when no
    retrieved report states the finding without saying more; a finding that is always said with others has none."""

    @field_validator("rates", "phrases")
    @classmethod
    def _by_claim(cls, by_claim: dict[str, object]) -> dict[str, object]:
        """Refuse keys that are no claims, because nothing would ever look them up."""
        for written in by_claim:
            Claim.parse(written)
        return by_claim


@dataclass(frozen=True, slots=True)
class PreparedStatements:
    """Statements with their claims and phrases read, for looking up."""

    rates: Mapping[Claim, float] = field(default_factory=dict)
    """The share of all reports that make a claim; a claim that none makes is left out."""
    vocabulary: frozenset[str] = frozenset()
    """Ordinary words, the only ones a draft may use."""
    phrases: Mapping[Claim, tuple[CaseId, ReadSentence]] = field(default_factory=dict)
    """The plainest sentence for a present finding, with the case it comes from."""


def prepare_statements(statements: Statements) -> PreparedStatements:
    """Read the record once, when a drafter is made, and not once a draft."""
    return PreparedStatements(
        rates={Claim.parse(written): rate for written, rate in statements.rates.items()},
        vocabulary=frozenset(statements.vocabulary),
        phrases={
            Claim.parse(written): (case_id, read_sentence(text))
            for written, (case_id, text) in statements.phrases.items()
        },
    )


def summarise(cases: Iterable[Case]) -> Statements:
    """Read every case once and count; holds one short phrase for each wording in memory, and no report."""
    reports = 0
    claims: Counter[Claim] = Counter()
    words: Counter[str] = Counter()
    wordings: dict[Claim, dict[frozenset[str], _Wording]] = {}
    for case in cases:
        report = read_case(case)
        reports += bool(report.sentences)
        claims.update(report.claims)
        words.update(frozenset[str]().union(*(s.words for s in report.sentences)))
        # Who orders is not quoted; that his report counts among the others moves no rate.
        for s in () if orders(case.report.text) else report.sentences:
            if len(s.claims) == 1 and s.abnormal and s.foreign is None:
                (claim,) = s.claims
                group = wordings.setdefault(claim, {})
                said = _Wording(1, report.case_id, s.text)
                group[s.words] = group[s.words].and_also(said) if s.words in group else said
    vocabulary = frozenset(word for word, count in words.items() if count >= MIN_REPORTS)
    phrases = {claim: _plainest(wordings[claim], vocabulary) for claim in sorted(wordings)}
    return Statements(
        cases=reports,
        rates={str(claim): claims[claim] / reports for claim in sorted(claims)},
        vocabulary=tuple(sorted(vocabulary)),
        phrases={str(claim): (said.case_id, said.text) for claim, said in phrases.items() if said is not None},
    )


@dataclass(frozen=True, slots=True)
class _Wording:
    """Sentences of the same words, counted; of the case that comes first by id."""

    count: int
    case_id: CaseId
    text: str

    def and_also(self, other: "_Wording") -> "_Wording":
        case_id, text = min((self.case_id, self.text), (other.case_id, other.text))
        return _Wording(self.count + other.count, case_id, text)


def _plainest(group: Mapping[frozenset[str], _Wording], vocabulary: frozenset[str]) -> _Wording | None:
    """The wording said most often, then the shortest; None when every one has an unusual word."""
    ordinary = ((words, said) for words, said in group.items() if words <= vocabulary)
    best = min(ordinary, key=lambda item: (-item[1].count, len(item[0]), item[1].text), default=None)
    return best[1] if best else None
