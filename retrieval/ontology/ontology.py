"""The concepts as one graph, read from this package's YAML files.

`load()` reads and checks once a process; everything after is lookups. The files know slugs; ids are what is stored.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from importlib.resources import files
from itertools import combinations

import yaml

from retrieval.mentions import ConceptId
from retrieval.ontology.concept import Concept, Exclusion, Identifier

SIDES = ("left", "right")


class Ontology:
    """All concepts with their hierarchy; raises KeyError for an id or slug that is not one."""

    def __init__(
        self,
        concepts: Sequence[Concept],
        exclusions: Sequence[Exclusion] = (),
        identifiers: Mapping[str, Sequence[Identifier]] | None = None,
        version: str = "",
    ) -> None:
        """Take concepts as written; the sides of paired anatomy are generated here."""
        self.written = tuple(concepts)
        """As authored, without the generated sides."""
        self.concepts = (*concepts, *_sided(concepts))
        self.exclusions = tuple(exclusions)
        self.identifiers = dict(identifiers or {})
        """Codes of other vocabularies, by slug."""
        self.version = version
        """Digest of the files: two ontologies are the same when it is equal."""
        self._by_id = {c.id: c for c in self.concepts}
        self._by_slug = {c.slug: c for c in self.concepts}
        self._ancestors: dict[ConceptId, tuple[ConceptId, ...]] = {}
        self._around: dict[ConceptId, frozenset[ConceptId]] = {}
        self._children: dict[ConceptId, list[ConceptId]] = {}
        for c in self.concepts:
            # A name that is nothing is for `validate.faults` to report, which needs the rest to stand.
            for broader in c.is_a:
                if broader in self._by_slug:
                    self._children.setdefault(self._by_slug[broader].id, []).append(c.id)
        self._excluding = self._pairs()

    def __iter__(self) -> Iterator[Concept]:
        return iter(self.concepts)

    def __len__(self) -> int:
        return len(self.concepts)

    def __getitem__(self, name: str) -> Concept:
        """The concept of an id or a slug."""
        return self._by_id[ConceptId(name)] if name.startswith("PRELIM:") else self._by_slug[name]

    def __contains__(self, name: str) -> bool:
        return name in self._by_id or name in self._by_slug

    def ids(self, slugs: Iterable[str]) -> tuple[ConceptId, ...]:
        """Slugs as ids, in order."""
        return tuple(self._by_slug[slug].id for slug in slugs)

    def depths(self, concept: ConceptId) -> dict[ConceptId, int]:
        """The concept and everything broader, with the length of the shortest way up; itself at 0."""
        found = {concept: 0}
        level = [concept]
        while level:
            above = [b for c in level for b in self.ids(self._by_id[c].is_a) if b not in found]
            found.update({b: found[c] + 1 for c in level for b in self.ids(self._by_id[c].is_a) if b not in found})
            level = list(dict.fromkeys(above))
        return found

    def ancestors(self, concept: ConceptId) -> tuple[ConceptId, ...]:
        """Everything broader, nearest first, without itself."""
        if concept not in self._ancestors:
            found = self.depths(concept)
            self._ancestors[concept] = tuple(sorted((c for c in found if c != concept), key=lambda c: (found[c], c)))
        return self._ancestors[concept]

    def descendants(self, concept: ConceptId) -> dict[ConceptId, int]:
        """The concept and everything narrower, with the length of the shortest way down; itself at 0."""
        found = {concept: 0}
        level = [concept]
        while level:
            below = [(n, found[c] + 1) for c in level for n in self._children.get(c, ()) if n not in found]
            found.update({n: depth for n, depth in below if n not in found})
            level = list(dict.fromkeys(n for n, _ in below))
        return found

    def around(self, place: ConceptId) -> frozenset[ConceptId]:
        """A place, what it is a kind of, and everything it is part of."""
        if place not in self._around:
            found, ahead = {place}, [place]
            while ahead:
                concept = self._by_id[ahead.pop()]
                above = [a for a in self.ids((*concept.is_a, *concept.part_of)) if a not in found]
                found.update(above)
                ahead += above
            self._around[place] = frozenset(found)
        return self._around[place]

    def is_a(self, concept: ConceptId, broader: ConceptId) -> bool:
        """Whether the first is the second or narrower."""
        return concept == broader or broader in self.ancestors(concept)

    def excludes(self, one: ConceptId, other: ConceptId) -> Exclusion | None:
        """The group by which the two cannot both be true; None when they can. Symmetric."""
        return self._excluding.get((one, other))

    def _pairs(self) -> dict[tuple[ConceptId, ConceptId], Exclusion]:
        pairs: dict[tuple[ConceptId, ConceptId], Exclusion] = {}
        # Hard groups are entered last, so that they win over a soft group on the same pair.
        for group in sorted(self.exclusions, key=lambda g: g.strength == "hard"):
            lists = [
                [n for slug in named if slug in self._by_slug for n in self.descendants(self._by_slug[slug].id)]
                for named in group.between
            ]
            for left, right in combinations(lists, 2):
                for a in left:
                    for b in right:
                        if a != b:
                            pairs[a, b] = pairs[b, a] = group
        return pairs


@cache
def load() -> Ontology:
    """The embedded ontology, read and indexed once a process."""
    folder = files("retrieval.ontology").joinpath("concepts")
    texts = {f.name: f.read_bytes() for f in sorted(folder.iterdir(), key=lambda f: f.name) if f.name.endswith(".yaml")}
    read = {name: yaml.load(text, yaml.CSafeLoader) or [] for name, text in texts.items()}
    exclusions = [Exclusion.model_validate(row) for row in read.pop("exclusions.yaml", [])]
    identifiers = {
        slug: [Identifier.model_validate(row) for row in rows]
        for slug, rows in dict(read.pop("identifiers.yaml", None) or {}).items()
    }
    concepts = [Concept.model_validate(row) for name in read for row in read[name]]
    digest = hashlib.sha256(b"".join(name.encode() + texts[name] for name in texts)).hexdigest()[:12]
    return Ontology(concepts, exclusions, identifiers, digest)


def _sided(concepts: Sequence[Concept]) -> Iterator[Concept]:
    """The sides of paired anatomy: "left lower lobe" of "lower lobe"."""
    for c in concepts:
        for side, concept_id in sorted(c.sides.items()):
            yield Concept(
                id=concept_id,
                slug=f"{side}_{c.slug}",
                kind=c.kind,
                name=f"{side} {c.name}",
                is_a=(c.slug,),
                laterality=side,
                definition=f"The {c.name} on the patient's {side} side.",
            )
