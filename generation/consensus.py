"""A findings draft without a language model: consensus over similar cases' reports.

The draft says what the retrieved reports agree on, in sentences copied from them (after CXR-RePaiR, Endo et al. 2021,
and X-REM, Jeong et al. 2023, which also draft by retrieval). Two ideas carry it:

* *Who votes is not who is quoted.* "Stable cardiomegaly" may not be copied (it compares with a study that this patient
  never had), but it is evidence that the similar image shows cardiomegaly. Every sentence votes for its claims; only
  sentences that belong to nobody in particular are quoted.
* *Abnormal statements are judged by lift over the base rate.* Most reports are normal, so a majority vote would never
  state any finding. One is drafted when enough of the voting cases have it, more often than the index does.

Nothing here knows an image, a store or the patient. All functions are pure, and ties are broken by rank and text: the
same input gives the same draft.
"""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from statistics import median
from typing import Final

from pydantic import Field, field_validator

from generation.claims import TOPICS, Claim, Topic, broader, contradict, is_device
from generation.draft import Flag, Sentence, Support
from generation.reports import PLACE, ReadReport, ReadSentence, read_case, supporters
from generation.statements import PreparedStatements
from generation.wording import Candidate, Vote, WordingSettings, choose, quotable, topic
from retrieval.foreign_sentences import Reason
from retrieval.mentions import ConceptId
from retrieval.ontology.concept import Slug
from retrieval.ontology.ontology import load
from retrieval.records import Record, RetrievedCase

READING_ORDER: Final[tuple[Topic, ...]] = ("heart", "mediastinum", "lungs", "pleura", "bones", "abdomen", "devices")
"""The order that most reports use: ROUGE-L .295 on folds 1 to 4, against .256 with the lungs first."""
_RAREST: Final = 0.002
"""The least rate a claim is given, one case in 500: a lift over nothing would be without limit."""
NEVER: Final[tuple[Slug, ...]] = (
    "support_device", "implanted_device", "surgical_material", "skin_marker", "jewelry", "foreign_body",
    "contrast_material", "postoperative_change", "fracture", "vertebral_deformity", "bone_deformity",
    "chest_wall_deformity", "hilar_abnormality", "lung_lesion", "mediastinal_mass", "pleural_mass", "chest_wall_mass",
    "malignancy", "bone_lesion", "lung_lucency", "bulla", "lung_cyst",
)  # fmt: skip
"""Hardware, and small focal things."""


class Policy(Record):
    """When a claim is accepted, and how it is said.

    The defaults were chosen on fold 0 of the Indiana University collection, where macro-F1 over its coded findings is
    flat around them (.152 to .163), and measured on folds 1 to 4 (evaluation/measured/iu.json).
    """

    voters: int = Field(default=30, ge=1)
    """How many cases vote, the nearest; sentences are also taken from cases further down."""
    weight_power: float = Field(default=3.0, ge=0)
    """A case votes with its similarity to this power: near cases count for more."""
    max_weight: float = Field(default=4.0, ge=1)
    """But with no more than so many times the vote of the median case: one copy of the image in the index must not
    outvote all others. Costs nothing on fold 0 (macro-F1 .163 with and without; .155 at 3)."""
    pseudo_cases: float = Field(default=10.0, ge=0)
    """Imagined voters at the base rate, against lucky lifts."""
    min_count: int = Field(default=4, ge=1)
    """A finding needs so many cases, however they weigh."""
    min_share: float = 0.15
    """A common finding needs so much of the vote and `min_lift`."""
    min_lift: float = 1.3
    """How much more often than usual a common finding must be said."""
    rare_lift: float = 3.0
    """How much more often than usual a finding must be said that is not common."""
    min_normal_share: float = 0.2
    """A denial or a normal structure needs so much of the vote."""
    min_support: int = Field(default=3, ge=1)
    """A sentence is quoted only if so many voting cases support all of it together."""
    never: tuple[Slug, ...] = NEVER
    """Concepts that are never drafted, with everything narrower. Hardware and small focal things are in one patient or
    they are not; similarity of whole images cannot tell. Drafted, they were almost never there."""
    order: tuple[Topic, ...] = READING_ORDER
    """In which order the topics are read; names every topic once."""
    wording: WordingSettings = WordingSettings()
    """How a sentence is chosen."""

    @property
    def identity(self) -> str:
        """A digest of all settings, and those that differ from the defaults in full: enough to make it again."""
        digest = hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:12]
        changed = self.model_dump_json(exclude_defaults=True)
        return digest if changed == "{}" else digest + changed

    @field_validator("never")
    @classmethod
    def _known(cls, never: tuple[Slug, ...]) -> tuple[Slug, ...]:
        if unknown := [slug for slug in never if slug not in load()]:
            raise ValueError(f"no concept of the ontology: {', '.join(unknown)}")
        return never

    @field_validator("order")
    @classmethod
    def _every_topic_once(cls, order: tuple[Topic, ...]) -> tuple[Topic, ...]:
        if sorted(order) != sorted(TOPICS):
            raise ValueError(f"a reading order names each of {', '.join(TOPICS)} once")
        return order


POLICY: Final = Policy()
"""The policy that was measured."""


class Consensus(Record):
    """What similar cases agree on, as proposed findings."""

    sentences: tuple[Sentence, ...] = ()
    """In reading order; empty when there were no cases or they agree on nothing that can be quoted."""
    voters: int = 0
    """How many cases were asked."""
    dropped: dict[Reason, int] = Field(default_factory=dict)
    """How many sentences of the voting cases may not be quoted, by reason; reasons that never applied are left out."""


def draft_findings(
    cases: Sequence[RetrievedCase], statements: PreparedStatements, policy: Policy = POLICY
) -> Consensus:
    """Draft the findings that the first `policy.voters` of `cases`, given nearest first, agree on."""
    # 1. Every report is read; the nearest vote, weighted by similarity.
    reports = [read_case(c.case) for c in cases]
    voters = reports[: policy.voters]
    if not voters:
        return Consensus()
    vote = _count(voters, [c.similarity for c in cases[: len(voters)]], policy)
    count = Counter(claim for report in voters for claim in report.claims)
    # 2. Claims are accepted: findings by lift, then the normal statements that they leave standing.
    accepted = _accept(vote, count, statements, policy)
    # 3. Sentences that may be quoted, of which each is supported as a whole.
    pool = [
        c
        for c in quotable(reports, statements.vocabulary, policy.wording)
        if not _lone_devices(c.sentence, count) and len(supporters(c.sentence, voters)) >= policy.min_support
    ]
    # 4. The sentences that say the accepted claims best, with their support.
    chosen = choose(pool, accepted, vote, statements, policy.order, policy.wording)
    return Consensus(
        sentences=tuple(_cite(c, voters, policy) for c in chosen),
        voters=len(voters),
        dropped=_dropped(voters, count),
    )


def _count(voters: Sequence[ReadReport], similarities: Sequence[float], policy: Policy) -> Vote:
    """The weighted vote."""
    # A similarity may be 0 or less; such a case still has a vote, next to nothing.
    raw = [max(similarity, 1e-3) ** policy.weight_power for similarity in similarities]
    most = policy.max_weight * median(raw)
    raw = [min(w, most) for w in raw]
    weights = [w / sum(raw) for w in raw]
    share: dict[Claim, float] = {}
    for report, weight in zip(voters, weights, strict=True):
        for claim in sorted(report.claims):
            share[claim] = share.get(claim, 0.0) + weight
    return Vote(voters, weights, share)


def _accept(vote: Vote, count: Mapping[Claim, int], statements: PreparedStatements, policy: Policy) -> frozenset[Claim]:
    """The claims to draft, of which no two contradict each other."""
    share = vote.share
    never = _with_narrower(policy.never)
    lift = {
        c: _lift(share[c], statements.rates.get(c, 0.0), len(vote.voters), policy)
        for c in share
        if c.polarity == "present"
        and count[c] >= policy.min_count
        and c.concept not in never
        and not _lone_device(c, count)
    }
    enough = [
        c for c in lift if lift[c] >= policy.rare_lift or (share[c] >= policy.min_share and lift[c] >= policy.min_lift)
    ]
    present: list[Claim] = []
    # The better supported of two rivals is kept.
    for claim in sorted(enough, key=lambda c: (-lift[c] * share[c], c)):
        if not any(contradict(claim, other) for other in present):
            present.append(claim)
    unopposed = [
        c
        for c in share
        if c.polarity != "present"
        # "No pneumothorax beside the chest tube": a device named in a denial is there more often than not.
        and not is_device(c)
        and share[c] >= policy.min_normal_share
        and not any(contradict(p, c) for p in present)
    ]
    # Whoever states a finding states what is broader; those votes are among its own.
    stated = {Claim("present", c) for p in present for c in (p.concept, *broader(p.concept))}
    return frozenset((*stated, *unopposed))


@cache
def _with_narrower(slugs: tuple[Slug, ...]) -> frozenset[ConceptId]:
    ontology = load()
    return frozenset(n for c in ontology.ids(slugs) for n in ontology.descendants(c))


def _lift(share: float, rate: float, voters: int, policy: Policy) -> float:
    """How many times more often than usual, after adding the imagined voters at the usual rate."""
    rate = max(rate, _RAREST)
    return (share * voters + policy.pseudo_cases * rate) / (voters + policy.pseudo_cases) / rate


def _lone_device(claim: Claim, count: Mapping[Claim, int]) -> bool:
    """Whether it is a device that at most one voting case has."""
    return claim.polarity == "present" and is_device(claim) and count[claim] < 2


def _lone_devices(sentence: ReadSentence, count: Mapping[Claim, int]) -> bool:
    return any(_lone_device(claim, count) for claim in sentence.claims)


def _dropped(voters: Sequence[ReadReport], count: Mapping[Claim, int]) -> dict[Reason, int]:
    reasons: Counter[Reason] = Counter()
    for report in voters:
        for s in report.sentences:
            if s.foreign is not None:
                reasons[s.foreign] += 1
            elif _lone_devices(s, count):
                reasons["LONE_DEVICE"] += 1
    return dict(sorted(reasons.items()))


def _cite(chosen: Candidate, voters: Sequence[ReadReport], policy: Policy) -> Sentence:
    """The record of a chosen sentence, with the voting cases that support it."""
    sentence = chosen.sentence
    agreeing = supporters(sentence, voters)
    return Sentence(
        text=sentence.text,
        section="findings",
        topic=topic(sentence.claims, policy.order),
        abnormal=sentence.abnormal,
        support=Support(case_ids=tuple(r.case_id for r in agreeing), of=len(voters)),
        flags=_flags(sentence, agreeing),
    )


def _flags(sentence: ReadSentence, agreeing: Sequence[ReadReport]) -> tuple[Flag, ...]:
    if not sentence.abnormal or not sentence.words & PLACE:
        return ()
    alike = sum(report.places_alike(sentence) for report in agreeing)
    if alike * 2 >= len(agreeing):
        return ()
    return (
        Flag(
            code="PLACE_DIFFERS",
            explanation=f"only {alike} of {len(agreeing)} supporting cases put this in the same place",
        ),
    )
