"""What must hold between concepts: `faults()` lists every sentence of the kind "this is wrong there".

`python -m retrieval.ontology.validate` prints them. The tests hold the embedded ontology to an empty list; a layer
that an operator imports is checked by its importer.
"""

import sys
from collections import Counter, defaultdict
from collections.abc import Iterator

from retrieval.ontology.concept import Concept
from retrieval.ontology.ontology import Ontology, load

AMBIGUOUS = frozenset[str]()
"""Phrases that may mean several concepts and are declared so; the extractor decides by what stands around them."""


def faults(ontology: Ontology) -> list[str]:
    """Everything that is wrong, one sentence each; empty for a sound ontology."""
    wrong = list(_names(ontology))
    if not wrong:  # the graph can be walked only when every name is known
        wrong += [*_graph(ontology), *_phrases(ontology), *_constraints(ontology), *_identifiers(ontology)]
    return wrong


def _names(ontology: Ontology) -> Iterator[str]:
    for field in ("id", "slug"):
        counted = Counter(getattr(c, field) for c in ontology)
        yield from (f"{field} {name} is used {n} times" for name, n in counted.items() if n > 1)
    known = {c.slug for c in ontology}
    for c in ontology:
        for field in ("is_a", "site", "part_of", "implies", "confused_with"):
            yield from (
                f"{c.slug}: {field} names {slug!r}, which is nothing" for slug in getattr(c, field) if slug not in known
            )
    for group in ontology.exclusions:
        for named in group.between:
            yield from (
                f"exclusion {group.name} names {slug!r}, which is nothing" for slug in named if slug not in known
            )
    yield from (f"identifiers name {slug!r}, which is nothing" for slug in ontology.identifiers if slug not in known)


def _graph(ontology: Ontology) -> Iterator[str]:
    for c in ontology:
        if any(c.id in ontology.depths(broader) for broader in ontology.ids(c.is_a)):
            yield f"{c.slug} is broader than itself"
        for slug in c.is_a:
            kinds = {c.kind, ontology[slug].kind}
            if len(kinds) > 1 and not kinds <= {"finding", "diagnosis"}:
                yield f"{c.slug} ({c.kind}) is_a {slug} ({ontology[slug].kind})"
        for slug in c.site:
            if ontology[slug].kind != "anatomy":
                yield f"{c.slug}: site {slug} is no anatomy"
    for group in ontology.exclusions:
        sides = [{n for slug in named for n in ontology.descendants(ontology[slug].id)} for named in group.between]
        for i, one in enumerate(sides):
            for other in sides[i + 1 :]:
                for both in sorted(one & other):
                    yield f"exclusion {group.name}: {ontology[both].slug} excludes itself"


def phrases(concept: Concept) -> list[str]:
    """Its names and gap patterns as the text would have them, for comparing: hyphens and case do not count."""
    plain = [" ".join(p.lower().replace("-", " ").split()) for p in (concept.name, *concept.synonyms)]
    return plain + [" & ".join(sorted(words)) for words in concept.gap_synonyms]


def _phrases(ontology: Ontology) -> Iterator[str]:
    owners: dict[str, list[str]] = defaultdict(list)
    for c in ontology.written:
        said = phrases(c)
        yield from (f"{c.slug} has {p!r} twice" for p, n in Counter(said).items() if n > 1)
        for phrase in set(said):
            owners[phrase].append(c.slug)
        for words in c.gap_synonyms:
            if len(words) < 2:
                yield f"{c.slug}: the gap synonym {words} has one word; make it a synonym"
    for phrase, slugs in sorted(owners.items()):
        if len(slugs) > 1 and phrase not in AMBIGUOUS:
            yield f"{phrase!r} means {', '.join(sorted(slugs))}"


def _constraints(ontology: Ontology) -> Iterator[str]:
    for c in ontology.written:
        if c.sides and (c.kind != "anatomy" or c.laterality != "paired"):
            yield f"{c.slug} has sides but is no paired anatomy"
        if c.kind == "modifier" and c.attribute is None:
            yield f"{c.slug} is a modifier of nothing"
        if c.attribute in ("severity", "size") and c.level is None:
            yield f"{c.slug} stands on a scale without a level"
        if c.kind in ("finding", "diagnosis") and (c.acuity is None or not c.appearance):
            yield f"{c.slug} needs acuity and appearance"
        if c.kind == "normal" and not c.site:
            yield f"{c.slug} says of nothing that it is normal; give it a site"


def _identifiers(ontology: Ontology) -> Iterator[str]:
    seen: dict[tuple[str, str], str] = {}
    for slug, rows in ontology.identifiers.items():
        for row in rows:
            if len(set(row.sources)) < 2:
                yield f"{slug}: {row.scheme} {row.code} has fewer than two sources"
            if row.match == "exact" and seen.setdefault((row.scheme, row.code), slug) != slug:
                yield f"{row.scheme} {row.code} is exact for {slug} and {seen[row.scheme, row.code]}"


if __name__ == "__main__":
    found = faults(load())
    sys.stdout.write("".join(f"{fault}\n" for fault in found) + f"{len(load())} concepts, {len(found)} faults\n")
    raise SystemExit(bool(found))
