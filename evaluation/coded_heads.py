"""From concepts to the heads that people code with, and back: what counts as the same finding in both schemes.

Three rules, fixed before anything was measured.

*Climbing.* A concept stands for the heads in its own labels. One without any stands for those of its nearest broader
concept that has some ("tension pneumothorax" is coded Pneumothorax). It never climbs past a concept that the coders
have a word of their own for: "calcified granuloma" has one in MeSH, so it is not counted as Nodule in ChestX-ray14.

*Alternatives.* Coders use several heads for one thing ("Aorta/tortuous", "Aorta, Thoracic/tortuous"), and a concept
lists all of them, the usual one first. For one report a concept asserts those of its heads that were coded, and its
first head when none was. So an alternative nobody chose is no error, and a finding nobody coded is exactly one.

*Qualifiers.* "Lung/hypoinflation" is coded by every term with that head and that qualifier, whatever else it says. A
coded term counts for the heads with the most qualifiers only. A concept that names a broader head of a coded term has
not named it, but has said nothing false: a miss, and no false alarm.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cache
from typing import Literal, NamedTuple

from retrieval.mentions import ConceptId, ConceptMention
from retrieval.ontology.ontology import Ontology

Scheme = Literal["iu_mesh", "nih14"]
Heads = Mapping[ConceptId, tuple[str, ...]]
"""The heads that each concept stands for, the usual one first; a concept that stands for none is left out."""


class Gold(NamedTuple):
    """What was coded for one report."""

    heads: frozenset[str]
    """The heads with the most qualifiers that each coded term has."""
    broader: frozenset[str]
    """Further heads that are also true of a coded term."""


def heads_of(ontology: Ontology, scheme: Scheme) -> dict[ConceptId, tuple[str, ...]]:
    """The heads that every concept stands for, by the rule of climbing."""
    heads = {}
    for concept in ontology:
        levels: dict[int, list[ConceptId]] = {}
        for above, depth in ontology.depths(concept.id).items():
            levels.setdefault(depth, []).append(above)
        for depth in sorted(levels):
            labels = [ontology[above].labels for above in levels[depth]]
            found = tuple(dict.fromkeys(head for label in labels for head in getattr(label, scheme)))
            if found:
                heads[concept.id] = found
            if found or any(label.iu_mesh for label in labels):
                break
    return heads


def named(heads: Heads) -> tuple[str, ...]:
    """Every head that some concept stands for, sorted."""
    return tuple(sorted({head for listed in heads.values() for head in listed}))


def plain_name(ontology: Ontology, heads: Heads, head: str) -> str:
    """What a head means in words: the names of the broadest concepts that stand for it by their own labels."""
    own = [c for c in ontology.written if head in heads.get(c.id, ())]
    stand = {c.id for c in own}
    return " or ".join(c.name for c in own if not stand & set(ontology.ancestors(c.id)))


def gold_of(coded: Iterable[str], known: Collection[str]) -> Gold:
    """The heads among `known` that coded terms have; terms that no head of `known` fits are left out."""
    exact: set[str] = set()
    broader: set[str] = set()
    for term in coded:
        fitting = [head for head in known if fits(head, term)]
        for head in fitting:
            narrower = any(set(_parts(head)) < set(_parts(other)) for other in fitting)
            (broader if narrower else exact).add(head)
    return Gold(frozenset(exact), frozenset(broader - exact))


def fits(head: str, term: str) -> bool:
    """Whether a coded term is coded under a head: the same first part, and every qualifier of the head."""
    (first, *qualifiers), (other, *has) = _parts(head), _parts(term)
    return first == other and set(qualifiers) <= set(has)


def asserted(concepts: Iterable[ConceptId], heads: Heads, gold: Gold, scored: Collection[str]) -> frozenset[str]:
    """Which heads, of those that are scored, a set of concepts asserts for one report."""
    said: set[str] = set()
    for concept in concepts:
        alternatives = heads.get(concept, ())
        coded = gold.heads.intersection(alternatives)
        if coded:
            said |= coded & frozenset(scored)
        elif not gold.broader.intersection(alternatives):
            said.update([head for head in alternatives if head in scored][:1])
    return frozenset(said)


def claimed(mentions: Sequence[ConceptMention]) -> frozenset[ConceptId]:
    """The concepts that a report states or leaves open: both were coded."""
    return frozenset(m.concept for m in mentions if m.certainty != "absent")


@cache
def _parts(term: str) -> tuple[str, ...]:
    return tuple(" ".join(part.split()).casefold() for part in term.split("/"))
