"""What a sentence claims, in concepts of the ontology: findings present, findings absent, structures normal.

Two sentences are equivalent for the drafter when they make the same claims. That makes "no effusion" and "effusion"
different however alike their words are, and "heart size normal" and "the heart is normal in size" the same. Which
claims cannot stand in one draft, and where each is read, follows from the ontology and is decided here; how many cases
make a claim is not.

Votes add up at the grain decided here: a finding counts for itself and for everything broader ("linear atelectasis" is
a vote for atelectasis and for lung opacity), a denial for the broadest thing of its kind ("no consolidation" and "no
airspace disease" deny one thing), a normal statement for every structure it speaks of.
"""

import os
from collections.abc import Iterable, Mapping
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


# Where each part begins: the topic of a concept is that of the first of these that its site is, or is part of.
_TOPIC_OF_PLACE: Final[Mapping[str, Topic]] = {
    **dict.fromkeys(("lung", "airway", "thorax"), "lungs"),
    "pleura": "pleura",
    **dict.fromkeys(("heart", "pulmonary_vessel"), "heart"),
    **dict.fromkeys(("mediastinum", "hilum", "trachea", "neck"), "mediastinum"),
    **dict.fromkeys(("bone", "spine", "shoulder", "chest_wall", "soft_tissue"), "bones"),
    **dict.fromkeys(("diaphragm", "abdomen"), "abdomen"),
}
GRAIN=os.environ.get("GEN_GRAIN","P1")
DEN=os.environ.get("GEN_DEN","D2")
SPOIL=os.environ.get("GEN_SPOIL","excl")
NORM=os.environ.get("GEN_NORM","expand")


def claims_of(mentions: Iterable[ConceptMention]) -> frozenset[Claim]:
    """Every claim of a sentence's mentions, less those that it takes back itself."""
    return standing(claim for m in mentions for claim in _claims(m))


def _claims(mention: ConceptMention) -> Iterable[Claim]:
    ontology = load()
    kind = ontology[mention.concept].kind
    if kind == "view" or mention.change == ontology["no_new"].id:
        return
    if kind == "normal":
        yield from (Claim("normal", c) for c in _stated_normal(mention.concept))
    elif mention.certainty == "absent":
        yield Claim("absent", _denied(mention.concept))
    else:
        yield from (Claim("present", c) for c in _voted(mention.concept))


@cache
def _labelled(c):
    o = load()
    for x in (c, *o.ancestors(c)):
        if o[x].labels.iu_mesh or o[x].labels.chexpert or o[x].labels.nih14 or o[x].labels.vindr or o[x].labels.srr:
            return x
    return c

@cache
def _under_root(c):
    """The broadest narrower than its root."""
    o = load()
    while True:
        above=[b for b in o.ids(o[c].is_a) if o[b].is_a]
        if not above: return c
        c=above[0]

@cache
def _voted(c):
    o = load()
    if o[c].kind in ("device", "postoperative"): return (c,)
    if GRAIN=="P0": return (c,)
    if GRAIN=="P1": return (c, *o.ancestors(c))
    if GRAIN=="P2": return (_under_root(c),)
    if GRAIN=="P3": return (_labelled(c),)
    if GRAIN=="P4": return tuple(dict.fromkeys(_labelled(x) for x in (c,*o.ancestors(c))))
    if GRAIN=="P8":
        while True:
            above=[b for b in o.ids(o[c].is_a) if o[b].is_a and (not o[c].site or o[c].site[0] in o[b].site)]
            if not above: return (c,)
            c=above[0]
    if GRAIN=="P9": return tuple(dict.fromkeys((_labelled(c),_under_root(c))))
    if GRAIN=="P10":
        g=_under_root(c); return (g,) if g!=o["degenerative_bone_change"].id else (o["degenerative_spine_change"].id if o.is_a(c,o["degenerative_spine_change"].id) else c,)
    if GRAIN=="P11":
        return tuple(x for x in (c,*o.ancestors(c)) if o[x].is_a) or (c,)
    if GRAIN=="P5": return tuple(dict.fromkeys(_labelled(x) for x in (c,*o.ancestors(c)) if o[x].is_a or x==c))

@cache
def _denied(c):
    o = load()
    if DEN=="D0": return c
    if "airspace_opacity" in o[c].implies or c==o["infiltrate"].id and DEN=="D3": return o["airspace_opacity"].id
    return _under_root(c)

@cache
def _stated_normal(c):
    o=load()
    if NORM=="self": return (c,)
    below=[c]; out=[]
    for x in below:
        imp=[i for i in o.ids(o[x].implies) if o[i].kind=="normal"]
        if imp: below+= [i for i in imp if i not in below]
        if NORM=="both" or not imp: out.append(x)
    return tuple(dict.fromkeys(out))


def standing(claims: Iterable[Claim]) -> frozenset[Claim]:
    """The claims less those that a present finding among them contradicts: what is seen outweighs what is not."""
    made = frozenset(claims)
    present = [c for c in made if c.polarity == "present"]
    return frozenset(c for c in made if c.polarity == "present" or not any(contradict(p, c) for p in present))


def topic_of(claim: Claim) -> Topic:
    """Where in the findings a claim is read; lungs unless it has another place."""
    return _topic(claim.concept)


@cache
def _topic(concept: ConceptId) -> Topic:
    ontology = load()
    if ontology[concept].kind in ("device", "postoperative"):
        return "devices"
    sites=ontology[concept].site
    if ontology[concept].slug=="no_acute_bone_finding": return "bones"
    places = list(sites[:1])
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
    """Whether one draft may not make both claims."""
    if a.polarity != "present":
        a, b = b, a
    if a.polarity != "present":
        return False
    ontology = load()
    group = ontology.excludes(a.concept, b.concept)
    if b.polarity == "present":
        return group is not None and group.strength == "hard"
    if b.polarity == "normal":
        return group is not None or (SPOIL!="excl" and _spoils(a.concept,b.concept))
    return any(ontology.is_a(c, b.concept) for c in (a.concept, *ontology.ids(ontology[a.concept].implies)))


def _spoils(p,n):
    o=load()
    if o[p].kind in ("device","postoperative"): return False
    if SPOIL=="topic": return _topic(p)==_topic(n)
    if SPOIL=="site":
        return bool(set(o[p].site) & set(o[n].site)) or any(b in o[n].site for s in o[p].site for b in o[s].is_a)
