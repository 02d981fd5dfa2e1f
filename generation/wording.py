"""Which sentences of the retrieved reports say the accepted claims best.

Claims and read reports in, sentences out. The sentence nearest to the consensus of those that make a claim (their
medoid) is the one with least of its own patient in it. Overlap alone does not see this well enough for abnormal
findings, where each report places and grades the finding differently, so words of place and grade that the others do
not share are charged for. A side is never a matter of price: see `on_its_side`.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from generation.claims import Claim, Topic, broader, topic_of
from generation.reports import PLACE, ReadReport, ReadSentence, supporters
from generation.statements import PreparedStatements
from retrieval.ontology.ontology import load
from retrieval.records import CaseId, Record

_GRADE: Final[frozenset[str]] = frozenset({
    "moderate", "moderately", "severe", "severely", "large", "small", "tiny", "marked", "markedly", "multiple",
    "diffuse", "extensive", "subtle", "patchy", "streaky", "linear", "nodular", "rounded", "vague", "indistinct",
})  # fmt: skip


class WordingSettings(Record):
    """How a sentence is chosen. The defaults were chosen on fold 0 of the Indiana University collection."""

    max_words: int = 24
    """A normal sentence of more different words is not quoted."""
    max_words_abnormal: int = 14
    """The same for an abnormal one: a longer sentence is a description of one patient."""
    breadth: float = 0.05
    """Gain for covering further accepted claims, by their share of the vote."""
    repeat_cost: float = 0.1
    """Cost of saying again what the draft already says, by its share of the vote."""
    detail_cost: float = 0.2
    """Cost of a word of place or grade, by the part of the group that does not use it."""
    word_cost: float = 0.02
    """The same for any other word."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A sentence that may be quoted, and where it stands."""

    sentence: ReadSentence
    """The sentence."""
    rank: int
    """Place of its case among the retrieved, from 0; the number of voters for a phrase of the index."""
    case_id: CaseId
    """The case whose words these are."""


@dataclass(frozen=True, slots=True)
class Vote:
    """What the voting cases said, as far as the wording needs it."""

    voters: Sequence[ReadReport]
    """The voting cases, the first of the retrieved."""
    weights: Sequence[float]
    """The weight of each; they add up to 1."""
    share: Mapping[Claim, float]
    """The weight behind each claim."""


def quotable(reports: Sequence[ReadReport], vocabulary: frozenset[str], settings: WordingSettings) -> list[Candidate]:
    """Sentences that are nobody's in particular, short and in ordinary words."""
    return [
        Candidate(s, rank, report.case_id)
        for rank, report in enumerate(reports)
        for s in report.sentences
        if s.foreign is None
        and s.claims
        and s.words <= vocabulary
        and len(s.words) <= (settings.max_words_abnormal if s.abnormal else settings.max_words)
    ]


def choose(
    pool: Sequence[Candidate],
    accepted: frozenset[Claim],
    vote: Vote,
    statements: PreparedStatements,
    order: Sequence[Topic],
    settings: WordingSettings,
) -> list[Candidate]:
    """Cover the accepted claims with few sentences, in reading order.

    The pool may reach further down than the voters. A claim that no sentence can say is left out.
    """
    # 1. A sentence that makes any claim not accepted says more than the cases agree on.
    usable = [c for c in pool if c.sentence.claims <= accepted and on_its_side(c.sentence, vote.voters)]
    groups: dict[Claim, list[Candidate]] = {}
    for c in pool:
        for claim in c.sentence.claims if c.rank < len(vote.voters) else ():
            groups.setdefault(claim, []).append(c)
    # 2. Abnormal claims choose first, the narrower before the broader: they may bring their own normal clauses.
    covered: set[Claim] = set()
    chosen: list[Candidate] = []
    for claim in sorted(accepted, key=lambda c: (c.polarity != "present", -len(broader(c.concept)), -vote.share[c], c)):
        if claim in covered:
            continue
        # 3. Words are taken from a voting case; failing that, from one retrieved further down, and last from the
        # index's own phrase. The claim itself always rests on the voting cases.
        options = [c for c in usable if claim in c.sentence.claims] or _phrase(claim, vote, statements)
        options = [c for c in options if c.rank < len(vote.voters)] or options
        if options:
            group = groups.get(claim, options)
            worth = [_worth(c, group, covered, vote, settings) for c in options]
            best = options[worth.index(max(worth))]
            # 4. Who says atelectasis need not say opacity as well.
            covered |= best.sentence.claims | {
                Claim("present", above)
                for c in best.sentence.claims
                if c.polarity == "present"
                for above in load().ancestors(c.concept)
            }
            chosen.append(best)
    # 5. In reading order; within a topic, in the order chosen.
    return sorted(chosen, key=lambda c: order.index(topic(c.sentence.claims, order)))


def topic(claims: Collection[Claim], order: Sequence[Topic]) -> Topic:
    """Where a sentence is read: with its abnormal claims when it has any."""
    leading = [c for c in claims if c.polarity == "present"] or claims
    return min((topic_of(c) for c in leading), key=order.index)


def on_its_side(sentence: ReadSentence, voters: Sequence[ReadReport]) -> bool:
    """Whether the supporting cases allow the side or sides that an abnormal sentence names; true when it names none.

    At least one of them must put the finding there, and not more of them elsewhere: on the other side, or on one side
    only where the sentence says both. Without this, one in five one-sided sentences on folds 1 to 4 had more support
    on the other side (83 of 413); macro-F1 is the same with and without.
    """
    if not sentence.abnormal or not sentence.sides:
        return True
    named = [report.sides(sentence) for report in supporters(sentence, voters)]
    here = sum(sentence.sides <= sides for sides in named)
    elsewhere = sum(bool(sides) and bool(sides ^ sentence.sides) for sides in named)
    return here >= max(1, elsewhere)


def _phrase(claim: Claim, vote: Vote, statements: PreparedStatements) -> list[Candidate]:
    """The index's own phrase for a claim, if it has one that may stand here."""
    if claim not in statements.phrases:
        return []
    case_id, sentence = statements.phrases[claim]
    return [Candidate(sentence, len(vote.voters), case_id)] if on_its_side(sentence, vote.voters) else []


def _worth(
    c: Candidate, group: Sequence[Candidate], covered: Collection[Claim], vote: Vote, settings: WordingSettings
) -> tuple[float, int, str]:
    """How well a candidate says what its group says, and what else it covers; ties go to the nearer case."""
    claims = sorted(c.sentence.claims)
    gain = settings.breadth * sum(vote.share[x] for x in claims if x not in covered)
    cost = settings.repeat_cost * sum(vote.share[x] for x in claims if x in covered)
    return _fit(c.sentence, group, vote.weights, settings) + gain - cost, -c.rank, c.sentence.text


def _fit(
    sentence: ReadSentence, group: Sequence[Candidate], weights: Sequence[float], settings: WordingSettings
) -> float:
    """Weighted mean word overlap (Dice) with the group, less the words that the group does not share."""
    total = overlap = 0.0
    # Sorted, so that rounding does not depend on the order of a set.
    shared = dict.fromkeys(sorted(sentence.words), 0.0)
    for other in group:
        # A group that is only the index's own phrase has no weight of its own.
        weight = weights[min(other.rank, len(weights) - 1)]
        words = other.sentence.words
        common = sentence.words & words
        overlap += weight * 2 * len(common) / (len(sentence.words) + len(words))
        total += weight
        for word in common:
            shared[word] += weight
    cost = sum(
        (settings.detail_cost if word in PLACE or word in _GRADE else settings.word_cost) * (1 - weight / total)
        for word, weight in shared.items()
    )
    return overlap / total - cost
