"""What a study says of each concept, as degrees: made from a report, from experts, or from similar cases.

Degrees are sixteenths. Halved twice on the way through the hierarchy they are still whole 64ths, so that every sum over
them is exact and the fast similarity can be held to the slow one without tolerance (`postings.py`).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from retrieval.comparison import STEPS as STEPS
from retrieval.comparison import ConceptSet as ConceptSet
from retrieval.expert_scores import ExpertScores
from retrieval.extraction.extractor import stated
from retrieval.mentions import ConceptId, ReadConcepts, Side
from retrieval.ontology.concept import Concept
from retrieval.ontology.ontology import Ontology

GAMMA: Final = 0.5
"""What remains of a degree one step up or down the hierarchy (ontology.md, 1.6)."""
DEPTH: Final = 2
"""How many steps are followed; a third would say "abnormality of the chest" of nearly everything."""
WITNESSES: Final = 2
"""Similar cases that must show a concept before it counts: what one patient has alone says nothing of another."""
ENOUGH: Final = 1 / 16
"""The share of votes beyond chance that is enough; 1/32 and 1/8 find worse cases on fold 0."""


def concepts_of_report(read: ReadConcepts, ontology: Ontology) -> ConceptSet:
    """What the report as a whole says; "no new effusion" leaves nothing, because an old one may be there."""
    no_new = ontology["no_new"].id
    whole = stated(read.mentions, no_new)
    sides: dict[ConceptId, set[Side]] = {}
    sites: dict[ConceptId, dict[ConceptId, None]] = {}
    for m in read.mentions:
        # Only the mentions that decided: "effusion on the left, none on the right" is an effusion on the left.
        if m.change != no_new and m.certainty == whole[m.concept]:
            if m.side:
                sides.setdefault(m.concept, set()).add(m.side)
            sites.setdefault(m.concept, {}).update(dict.fromkeys(m.sites))
    return ConceptSet(
        present={c: 1.0 if v == "present" else 0.5 for c, v in whole.items() if v != "absent"},
        absent={c: 1.0 for c, v in whole.items() if v == "absent"},
        sides={c: _together(said) for c, said in sides.items()},
        sites={c: tuple(given) for c, given in sites.items() if given},
    )


def concepts_of_experts(scores: ExpertScores) -> ConceptSet:
    """What the experts settled, and by half what they left open.

    Compare with it asymmetrically: what is not in it was never asked.
    """
    by_band = {band: [s for s in scores.scores if s.band == band] for band in ("absent", "uncertain", "present")}
    present = {s.concept: 0.5 for s in by_band["uncertain"]} | {s.concept: 1.0 for s in by_band["present"]}
    return ConceptSet(
        present=present,
        absent={s.concept: 1.0 for s in by_band["absent"] if s.concept not in present},
        sides={s.concept: s.side for s in scores.scores if s.side and s.band != "absent"},
    )


def concepts_of_neighbours(
    neighbours: Sequence[tuple[ConceptSet, float]], base_rates: Mapping[ConceptId, float], ontology: Ontology
) -> ConceptSet:
    """What similar cases show beyond chance: a vote by similarity, (share - base rate) / (1 - base rate) >= ENOUGH.

    What is voted in counts in full, as if a report stated it: lift@5 on fold 0 of the Indiana University collection was
    .128 so, and .096 with the excess as its degree.

    Votes are cast for what a case says or implies, as `base_rates` (`ConceptPostings.base_rates`) are. What is denied
    does not vote, because denials follow the author's habit; sides do not, because they are another patient's.
    """
    expansion = Expansion(ontology)
    total = sum(max(similarity, 0.0) for _, similarity in neighbours)
    votes: dict[ConceptId, float] = {}
    witnesses: dict[ConceptId, int] = {}
    for concepts, similarity in neighbours:
        for c, said in expansion.expand(concepts).present.items():
            votes[c] = votes.get(c, 0.0) + max(similarity, 0.0) * said.degree
            witnesses[c] = witnesses.get(c, 0) + (similarity > 0)
    present: dict[ConceptId, float] = {}
    for c, vote in votes.items():
        base = base_rates.get(c, 0.0)
        if witnesses[c] >= WITNESSES and base < 1 and (vote / total - base) / (1 - base) >= ENOUGH:
            present[c] = 1.0
    return ConceptSet(present=present)


def restrict(concepts: ConceptSet, ontology: Ontology, anatomy: str) -> ConceptSet:
    """What is said of one part of the body, given by id or slug; a sided part keeps its side only.

    The sites of the report decide where they narrow down what the ontology allows ("opacity in the upper lobe"). Where
    they do not ("effusion at the base": the pleural space is not in the base), the allowed sites do. A concept without
    a side stays, because it may lie on either.
    """
    place = ontology[anatomy]
    side, base = _side_of(place, ontology)
    kept: dict[ConceptId, Side | None] = {}
    for c in (*concepts.present, *concepts.absent):
        allowed = ontology.ids(ontology[c].site)
        given = [s for s in concepts.sites.get(c, ()) if any(a in ontology.around(s) for a in allowed)]
        said = concepts.sides.get(c)
        if any(base in ontology.around(s) for s in given or allowed) and (
            said in (None, "bilateral", side) or not side
        ):
            kept[c] = side if side and said else said
    return ConceptSet(
        present={c: d for c, d in concepts.present.items() if c in kept},
        absent={c: d for c, d in concepts.absent.items() if c in kept},
        sides={c: s for c, s in kept.items() if s},
        sites={c: s for c, s in concepts.sites.items() if c in kept},
    )


def concepts_in(ontology: Ontology, anatomy: str) -> frozenset[ConceptId]:
    """Every concept that may lie in that part of the body: what counts when cases are compared in it alone."""
    _, base = _side_of(ontology[anatomy], ontology)
    return frozenset(
        c.id
        for c in ontology.written
        if c.kind != "anatomy"
        and any(base in ontology.around(s) or s in ontology.around(base) for s in ontology.ids(c.site))
    )


class Said(NamedTuple):
    """What a set says or implies of one concept."""

    degree: float
    """A multiple of 1/64."""
    side: Side | None
    """The patient's side, None when open."""
    stated: bool
    """False when it only follows from a narrower or broader concept."""


class Expanded(NamedTuple):
    """A concept set with what follows from it; a concept is in one of the two at most."""

    present: dict[ConceptId, Said]
    """Concepts and what is broader: a consolidation is an opacity."""
    absent: dict[ConceptId, Said]
    """Concepts and what is narrower: who denies an opacity denies a consolidation."""

    def only(self, within: frozenset[ConceptId] | None) -> "Expanded":
        """Without what lies elsewhere; None keeps all."""
        if within is None:
            return self
        return Expanded(*({c: said for c, said in m.items() if c in within} for m in self))


class Expansion:
    """Adds what follows from a set: presence goes up the hierarchy, denial goes down."""

    def __init__(self, ontology: Ontology) -> None:
        self._ontology = ontology
        self._up: dict[ConceptId, list[tuple[ConceptId, float]]] = {}
        self._down: dict[ConceptId, list[tuple[ConceptId, float]]] = {}

    def expand(self, concepts: ConceptSet) -> Expanded:
        """Of what is both present and absent the greater degree stays, and presence if they are equal.

        "No focal opacity" beside "atelectasis" is ordinary writing: what is stated outweighs what would only follow. It
        also means that no set contradicts itself, so that a set is wholly similar to itself.
        """
        present = self._spread(concepts.present, concepts.sides, self._up, self._ontology.depths)
        absent = self._spread(concepts.absent, concepts.sides, self._down, self._ontology.descendants)
        for c in present.keys() & absent.keys():
            del (absent if present[c].degree >= absent[c].degree else present)[c]
        return Expanded(present, absent)

    def _spread(
        self,
        degrees: Mapping[ConceptId, float],
        sides: Mapping[ConceptId, Side],
        known: dict[ConceptId, list[tuple[ConceptId, float]]],
        related: Callable[[ConceptId], dict[ConceptId, int]],
    ) -> dict[ConceptId, Said]:
        found: dict[ConceptId, Said] = {}
        for concept, degree in degrees.items():
            if concept not in known:
                known[concept] = [(c, GAMMA**d) for c, d in related(concept).items() if d <= DEPTH]
            side = sides.get(concept)
            for c, share in known[concept]:
                new = Said(degree * share, side, c == concept)
                old = found.get(c)
                found[c] = new if old is None else _stronger(old, new)
        return found


def _stronger(one: Said, other: Said) -> Said:
    """The greater degree; of equal ones what is stated; of equals again, the sides they share or both."""
    if one[::2] != other[::2]:
        return max(one, other, key=lambda said: said[::2])
    if one.side is None or other.side is None:
        return one._replace(side=None)
    return one._replace(side=_together((one.side, other.side)))


def _together(sides: Iterable[Side]) -> Side:
    """One side for several mentions that each give one."""
    (first, *others) = set(sides)
    return "bilateral" if others else first


def _side_of(place: Concept, ontology: Ontology) -> tuple[Side | None, ConceptId]:
    """The side of a generated sided place and the place without it; None and itself for any other."""
    for slug in place.is_a:
        for side, sided in ontology[slug].sides.items():
            if sided == place.id:
                return side, ontology[slug].id
    return None, place.id
