"""What a sentence claims, in concepts of the ontology: findings present, findings absent, structures normal.

Two sentences are equivalent for the drafter when they make the same claims. That makes "no effusion" and "effusion"
different however alike their words are, and "heart size normal" and "the heart is normal in size" the same. Which
claims cannot stand in one draft, and where each is read, follows from the ontology and is decided here; how many cases
make a claim is not.

Votes add up at the grain decided here: a finding counts for itself and everything broader but the broadest ("linear
atelectasis" is a vote for atelectasis), a denial for the broadest thing of its kind ("no consolidation" and "no
airspace disease" deny one thing), a normal statement for every structure it speaks of.
"""

from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import Final, Literal, NamedTuple, get_args

from retrieval.mentions import ConceptId, ConceptMention
from retrieval.ontology.ontology import load

Topic = Literal["lungs", "pleura", "heart", "mediastinum", "bones", "abdomen", "devices"]
"""A part of the findings that is read in one go."""
TOPICS: Final[tuple[Topic, ...]] = get_args(Topic)
Polarity = Literal["present", "absent", "normal"]
"""What is said of a finding (present, absent) or of a structure (normal)."""


class Claim(NamedTuple):
    """One thing that a sentence says."""

    polarity: Polarity
    """Whether the concept is said to be present, absent or, for a normal statement, to hold."""
    concept: ConceptId
    """A finding, diagnosis or device; a normal statement when normal."""

    def __str__(self) -> str:
        return f"{self.polarity} {self.concept}"

    @classmethod
    def parse(cls, written: str) -> "Claim":
        """The claim that `str` wrote; raises ValueError for text that is none."""
        match written.split(" "):
            case ["present" | "absent" | "normal" as polarity, concept] if concept in load():
                return cls(polarity, load()[concept].id)
        raise ValueError("a claim is written as its polarity and its concept, such as 'present PRELIM:0221'")


# The topic of a concept is that of the first of these that its usual site is, or is a part or a kind of.
_TOPIC_OF_PLACE: Final[Mapping[str, Topic]] = {
    **dict.fromkeys(("lung", "airway", "thorax"), "lungs"),
    "pleura": "pleura",
    **dict.fromkeys(("heart", "pulmonary_vessel"), "heart"),
    **dict.fromkeys(("mediastinum", "hilum", "trachea", "neck"), "mediastinum"),
    **dict.fromkeys(("bone", "spine", "shoulder", "chest_wall", "soft_tissue"), "bones"),
    **dict.fromkeys(("diaphragm", "abdomen"), "abdomen"),
}
# Its site is the thorax only so that no structure's normality is read as it.
_SAID_OF_BONES: Final = "no_acute_bone_finding"


def claims_of(mentions: Iterable[ConceptMention]) -> frozenset[Claim]:
    """Every claim of a sentence's mentions, less those that it takes back itself.

    What is left open ("possible effusion") is claimed as present: the draft that quotes it leaves it open as well.
    "No new effusion" claims nothing, nor does anything about views and image quality.
    """
    return standing(claim for m in mentions if m.change != load()["no_new"].id for claim in _claims(m))


def _claims(mention: ConceptMention) -> Iterator[Claim]:
    kind = load()[mention.concept].kind
    if kind == "normal":
        yield from (Claim("normal", c) for c in _stated_normal(mention.concept))
    elif kind != "view" and mention.certainty == "absent":
        yield Claim("absent", _denied(mention.concept))
    elif kind != "view":
        yield from (Claim("present", c) for c in (mention.concept, *broader(mention.concept)))


@cache
def broader(concept: ConceptId) -> tuple[ConceptId, ...]:
    """Everything broader that is itself a kind of something.

    The broadest concepts gather whatever an organ can have. A vote for one says too little to be worth counting: with
    them, macro-F1 on fold 0 was .123 and not .155, because every finding of the lungs spoke for an opacity.
    """
    ontology = load()
    return tuple(b for b in ontology.ancestors(concept) if ontology[b].is_a)


@cache
def _denied(concept: ConceptId) -> ConceptId:
    """What a denial denies: the broadest concept of its kind, so that denials in other words vote and count together.

    On a radiograph "no pneumonia" says that there is no airspace opacity, so the two deny one thing.
    """
    ontology = load()
    if ontology.is_a(concept, ontology["pneumonia"].id):
        return ontology["airspace_opacity"].id
    return (concept, *broader(concept))[-1]


@cache
def _stated_normal(concept: ConceptId) -> tuple[ConceptId, ...]:
    """The normal statement and every one that it implies: a normal silhouette is that of heart and mediastinum."""
    ontology = load()
    stated = [concept]
    for c in stated:
        stated += [i for i in ontology.ids(ontology[c].implies) if i not in stated]
    return tuple(stated)


def standing(claims: Iterable[Claim]) -> frozenset[Claim]:
    """The claims less those that a present finding among them contradicts: what is seen outweighs what is not."""
    made = frozenset(claims)
    present = [c for c in made if c.polarity == "present"]
    return frozenset(c for c in made if c.polarity == "present" or not any(contradict(p, c) for p in present))


@cache
def topic_of(claim: Claim) -> Topic:
    """Where in the findings a claim is read: at the usual site of its concept; lungs for what has none."""
    ontology = load()
    concept = ontology[claim.concept]
    if is_device(claim):
        return "devices"
    if concept.slug == _SAID_OF_BONES:
        return "bones"
    places = list(concept.site[:1])
    for place in places:
        if place in _TOPIC_OF_PLACE:
            return _TOPIC_OF_PLACE[place]
        places += [*ontology[place].part_of, *ontology[place].is_a]
    return "lungs"


@cache
def is_device(claim: Claim) -> bool:
    """Whether it is about what was put into a patient, or left behind by an operation."""
    return load()[claim.concept].kind in ("device", "postoperative")


@cache
def contradict(a: Claim, b: Claim) -> bool:
    """Whether one draft may not make both claims.

    A present finding contradicts the denial of itself, of anything broader and of what it implies, a normal statement
    that the ontology excludes beside it however softly, and another finding that it excludes for certain.
    """
    if a.polarity != "present":
        a, b = b, a
    if a.polarity != "present":
        return False
    ontology = load()
    if b.polarity == "absent":
        stated = (a.concept, *ontology.ids(ontology[a.concept].implies))
        return any(ontology.is_a(c, b.concept) for c in stated)
    group = ontology.excludes(a.concept, b.concept)
    return group is not None and (b.polarity == "normal" or group.strength == "hard")
