"""The embedded ontology is sound, the validator finds what is unsound, and the graph says what a slow reading says."""

from collections import Counter

import pytest
from pydantic import ValidationError

from retrieval.ontology.concept import Concept, Exclusion, Identifier
from retrieval.ontology.ontology import Ontology, load
from retrieval.ontology.validate import faults, phrases

ONTOLOGY = load()
# Fewer than these and a file was lost or cut; each is about a tenth below what was written.
AT_LEAST = {
    "finding": 240, "diagnosis": 54, "device": 68, "postoperative": 18, "normal": 20, "view": 22, "anatomy": 90,
    "modifier": 60, "change": 13, "certainty": 6,
}  # fmt: skip
CHEXPERT = frozenset({
    "No Finding", "Enlarged Cardiomediastinum", "Cardiomegaly", "Lung Lesion", "Lung Opacity", "Edema",
    "Consolidation", "Pneumonia", "Atelectasis", "Pneumothorax", "Pleural Effusion", "Pleural Other", "Fracture",
    "Support Devices",
})  # fmt: skip
NIH14 = frozenset({
    "Atelectasis", "Cardiomegaly", "Effusion", "Infiltration", "Mass", "Nodule", "Pneumonia", "Pneumothorax",
    "Consolidation", "Edema", "Emphysema", "Fibrosis", "Pleural_Thickening", "Hernia", "No Finding",
})  # fmt: skip
"""The fourteen, and what the published table writes in their place."""


def concept(slug: str, number: int = 1, /, **fields: object) -> Concept:
    """A sound finding, but for what is given."""
    sound: dict[str, object] = {
        "id": f"PRELIM:{number:04d}", "slug": slug, "kind": "finding", "name": slug.replace("_", " "),
        "acuity": "incidental", "definition": "Invented for a test.", "appearance": "Invented.",
    }  # fmt: skip
    return Concept.model_validate(sound | fields)


ORGAN = concept("organ", 900, kind="anatomy", acuity=None, appearance="")


def test_the_embedded_ontology_has_no_fault() -> None:
    assert faults(ONTOLOGY) == []


def test_concepts_of_every_kind_are_there() -> None:
    counted = Counter(c.kind for c in ONTOLOGY.written)
    assert {kind for kind, least in AT_LEAST.items() if counted[kind] < least} == set()
    assert set(counted) == set(AT_LEAST)
    clinical = ("finding", "diagnosis", "device", "postoperative", "normal", "view")
    assert sum(counted[kind] for kind in clinical) >= 430


def test_every_finding_and_diagnosis_is_described() -> None:
    for c in ONTOLOGY.written:
        assert c.definition.endswith("."), c.slug
        if c.kind in ("finding", "diagnosis"):
            assert c.appearance.endswith("."), c.slug
            assert c.acuity is not None, c.slug


@pytest.mark.parametrize(("field", "labels"), [("chexpert", CHEXPERT), ("nih14", NIH14)])
def test_published_labels_are_all_reached_and_none_is_invented(field: str, labels: frozenset[str]) -> None:
    assert {label for c in ONTOLOGY.written for label in getattr(c.labels, field)} == labels


def test_ids_are_unique_and_slugs_lead_to_them() -> None:
    assert len({c.id for c in ONTOLOGY}) == len({c.slug for c in ONTOLOGY}) == len(ONTOLOGY)
    for c in ONTOLOGY:
        assert ONTOLOGY[c.id] is ONTOLOGY[c.slug] is c
        assert c.id in ONTOLOGY
        assert c.slug in ONTOLOGY
    assert ONTOLOGY.ids(["pneumothorax", "lung"]) == (ONTOLOGY["pneumothorax"].id, ONTOLOGY["lung"].id)


@pytest.mark.parametrize("name", ["PRELIM:9999", "nothing_of_the_kind", "", "PRELIM:"])
def test_what_is_no_concept_is_refused(name: str) -> None:
    assert name not in ONTOLOGY
    with pytest.raises(KeyError):
        ONTOLOGY[name]


def test_load_reads_once() -> None:
    assert load() is ONTOLOGY
    assert len(ONTOLOGY.version) == 12


# The graph against its obvious reading.


def closure() -> dict[str, set[str]]:
    """Everything broader of each id, by repeated widening."""
    above = {c.id: {ONTOLOGY[slug].id for slug in c.is_a} for c in ONTOLOGY}
    while True:
        wider = {c: {far for near in found for far in (near, *above[near])} for c, found in above.items()}
        if wider == above:
            return {str(c): {str(a) for a in found} for c, found in above.items()}
        above = wider


def test_ancestors_and_descendants_are_the_closure() -> None:
    above = closure()
    below: dict[str, set[str]] = {c: {c} for c in above}
    for c, found in above.items():
        for broader in found:
            below[broader].add(c)
    for c in ONTOLOGY:
        assert set(ONTOLOGY.ancestors(c.id)) == above[c.id], c.slug
        assert set(ONTOLOGY.descendants(c.id)) == below[c.id], c.slug
        assert len(ONTOLOGY.ancestors(c.id)) == len(above[c.id])
        assert all(ONTOLOGY.is_a(c.id, broader) for broader in ONTOLOGY.ancestors(c.id))
        assert ONTOLOGY.is_a(c.id, c.id)


def test_depths_up_and_down_agree_and_the_nearest_comes_first() -> None:
    for c in ONTOLOGY:
        up = ONTOLOGY.depths(c.id)
        assert up[c.id] == 0
        assert all(ONTOLOGY.descendants(broader)[c.id] == depth for broader, depth in up.items()), c.slug
        order = [up[broader] for broader in ONTOLOGY.ancestors(c.id)]
        assert order == sorted(order)


def test_exclusion_is_symmetric_and_inherited() -> None:
    expected: dict[tuple[str, str], set[str]] = {}
    for group in ONTOLOGY.exclusions:
        for i, one in enumerate(group.between):
            for other in [named for j, named in enumerate(group.between) if j != i]:
                for a in one:
                    for b in other:
                        for x in ONTOLOGY.descendants(ONTOLOGY[a].id):
                            for y in ONTOLOGY.descendants(ONTOLOGY[b].id):
                                expected.setdefault((x, y), set()).add(group.name)
    for x in ONTOLOGY:
        for y in ONTOLOGY:
            group = ONTOLOGY.excludes(x.id, y.id)
            assert group is ONTOLOGY.excludes(y.id, x.id)
            if group is None:
                assert (x.id, y.id) not in expected, (x.slug, y.slug)
            else:
                assert group.name in expected[x.id, y.id], (x.slug, y.slug)
    assert all(ONTOLOGY.excludes(c.id, c.id) is None for c in ONTOLOGY)


def test_hard_wins_over_soft_whatever_the_order() -> None:
    a, b = concept("aa", 1), concept("bb", 2)
    soft = Exclusion(name="soft", strength="soft", between=(("aa",), ("bb",)))
    hard = Exclusion(name="hard", strength="hard", between=(("bb",), ("aa",)))
    for groups in ((soft, hard), (hard, soft)):
        assert Ontology([a, b], groups).excludes(a.id, b.id) is hard


def test_sides_of_paired_anatomy_are_made() -> None:
    paired = concept(
        "thing", 3, kind="anatomy", acuity=None, appearance="", laterality="paired",
        sides={"left": "PRELIM:0004", "right": "PRELIM:0005"},
    )  # fmt: skip
    small = Ontology([paired])
    assert faults(small) == []
    assert [(c.slug, c.id, c.name, c.laterality, c.is_a) for c in small] == [
        ("thing", "PRELIM:0003", "thing", "paired", ()),
        ("left_thing", "PRELIM:0004", "left thing", "left", ("thing",)),
        ("right_thing", "PRELIM:0005", "right thing", "right", ("thing",)),
    ]
    assert small.written == (paired,)
    assert all(ONTOLOGY[f"{side}_{c.slug}"].id == i for c in ONTOLOGY.written for side, i in c.sides.items())


# The validator: each kind of fault is said, alone, with the name of the culprit.


def exclusion(*between: tuple[str, ...]) -> Exclusion:
    return Exclusion(name="pair", between=between)


def code(*sources: str, value: str = "C01", match: str = "exact") -> Identifier:
    return Identifier.model_validate(
        {"scheme": "UMLS", "code": value, "match": match, "sources": sources, "verified": "2026-01"}
    )


A, B = concept("alpha", 1), concept("beta", 2)
FAULTY: list[tuple[str, Ontology, str]] = [
    ("id used twice", Ontology([A, concept("beta", 1)]), "id PRELIM:0001 is used 2 times"),
    ("slug used twice", Ontology([A, concept("alpha", 2, name="other")]), "slug alpha is used 2 times"),
    (
        "generated side takes a used id",
        Ontology([A, concept("limb", 3, kind="anatomy", laterality="paired", sides={"left": "PRELIM:0001"})]),
        "id PRELIM:0001 is used 2 times",
    ),
    *(
        (f"unknown name in {field}", Ontology([concept("alpha", 1, **{field: ("gamma",)})]), f"alpha: {field} names")
        for field in ("is_a", "site", "part_of", "implies", "confused_with")
    ),
    ("unknown name in an exclusion", Ontology([A], [exclusion(("alpha",), ("gamma",))]), "exclusion pair names"),
    ("unknown name of identifiers", Ontology([A], (), {"gamma": []}), "identifiers name 'gamma'"),
    ("broader than itself", Ontology([concept("alpha", 1, is_a=("alpha",))]), "alpha is broader than itself"),
    (
        "a circle of two",
        Ontology([concept("alpha", 1, is_a=("beta",)), concept("beta", 2, is_a=("alpha",))]),
        "alpha is broader than itself",
    ),
    (
        "a circle of three",
        Ontology([concept(s, n, is_a=(b,)) for n, (s, b) in enumerate([("xx", "yy"), ("yy", "zz"), ("zz", "xx")], 1)]),
        "zz is broader than itself",
    ),
    (
        "kinds that do not go together",
        Ontology([concept("alpha", 1, is_a=("organ",)), ORGAN]),
        "alpha (finding) is_a organ (anatomy)",
    ),
    ("a site that is none", Ontology([concept("alpha", 1, site=("beta",)), B]), "alpha: site beta is no anatomy"),
    (
        "excludes itself",
        Ontology([A, B], [exclusion(("alpha",), ("beta", "alpha"))]),
        "exclusion pair: alpha excludes itself",
    ),
    (
        "excludes itself through something narrower",
        Ontology([A, concept("beta", 2, is_a=("alpha",))], [exclusion(("alpha",), ("beta",))]),
        "exclusion pair: beta excludes itself",
    ),
    ("a phrase twice", Ontology([concept("alpha", 1, synonyms=("Alpha",))]), "alpha has 'alpha' twice"),
    (
        "a phrase of two",
        Ontology([A, concept("beta", 2, synonyms=("ALPHA",))]),
        "'alpha' means alpha, beta",
    ),
    (
        "hyphens do not make another phrase",
        Ontology([concept("alpha", 1, synonyms=("air-space",)), concept("beta", 2, synonyms=("air space",))]),
        "'air space' means alpha, beta",
    ),
    (
        "a gap pattern of two",
        Ontology([
            concept("alpha", 1, gap_synonyms=(("x", "y"),)), concept("beta", 2, gap_synonyms=(("y", "x"),)),
        ]),
        "'x & y' means alpha, beta",
    ),
    ("a gap pattern of one word", Ontology([concept("alpha", 1, gap_synonyms=(("x",),))]), "has one word"),
    (
        "sides of what has none",
        Ontology([concept("alpha", 1, laterality="paired", sides={"left": "PRELIM:0007"})]),
        "alpha has sides but is no paired anatomy",
    ),
    (
        "sides of what is in the midline",
        Ontology([concept("limb", 1, kind="anatomy", laterality="midline", sides={"left": "PRELIM:0007"})]),
        "limb has sides but is no paired anatomy",
    ),
    ("a modifier of nothing", Ontology([concept("dim", 1, kind="modifier")]), "dim is a modifier of nothing"),
    *(
        (f"{scale} without a level", Ontology([concept("dim", 1, kind="modifier", attribute=scale)]), "without a level")
        for scale in ("severity", "size")
    ),
    ("no acuity", Ontology([concept("alpha", 1, acuity=None)]), "alpha needs acuity and appearance"),
    ("no appearance", Ontology([concept("alpha", 1, appearance="")]), "alpha needs acuity and appearance"),
    (
        "a diagnosis needs them too",
        Ontology([concept("alpha", 1, kind="diagnosis", acuity=None)]),
        "alpha needs acuity and appearance",
    ),
    ("normality of nothing", Ontology([concept("fine", 1, kind="normal")]), "fine says of nothing that it is normal"),
    ("one source named twice", Ontology([A], (), {"alpha": [code("x", "x")]}), "fewer than two sources"),
    (
        "one code exact for two",
        Ontology([A, B], (), {"alpha": [code("x", "y")], "beta": [code("x", "y")]}),
        "UMLS C01 is exact for beta and alpha",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("ontology", "said"), [f[1:] for f in FAULTY], ids=[f[0] for f in FAULTY])
def test_a_fault_is_found(ontology: Ontology, said: str) -> None:
    found = faults(ontology)
    assert any(said in fault for fault in found), found


SOUND: list[tuple[str, Ontology]] = [
    ("nothing", Ontology([])),
    ("a diagnosis is a finding", Ontology([A, concept("beta", 2, kind="diagnosis", is_a=("alpha",))])),
    (
        "two ways up to one",
        Ontology([A, concept("bb", 2, is_a=("alpha",)), concept("cc", 3, is_a=("alpha",)),
                  concept("dd", 4, is_a=("bb", "cc"))]),
    ),
    ("lists without common ground", Ontology([A, B], [exclusion(("alpha",), ("beta",))])),
    ("one code close to a second", Ontology([A, B], (), {
        "alpha": [code("x", "y")], "beta": [code("x", "y", match="close")]})),
    ("a site", Ontology([concept("alpha", 1, site=("organ",)), ORGAN])),
    ("a level on a scale", Ontology([concept("dim", 1, kind="modifier", attribute="size", level=1)])),
]  # fmt: skip


@pytest.mark.parametrize("ontology", [s[1] for s in SOUND], ids=[s[0] for s in SOUND])
def test_sound_ontologies_pass(ontology: Ontology) -> None:
    assert faults(ontology) == []


def test_an_unknown_name_raises_nothing_before_it_is_reported() -> None:
    broken = Ontology([concept("alpha", 1, is_a=("gamma",))], [exclusion(("alpha",), ("gamma",))])
    assert len(faults(broken)) == 2


@pytest.mark.parametrize(
    "fields",
    [
        {"id": "PRELIM:1"}, {"id": "prelim:0001"}, {"slug": "Alpha"}, {"slug": "a b"}, {"slug": "1a"}, {"kind": "bug"},
        {"name": "x"}, {"definition": "short"}, {"acuity": "soon"}, {"laterality": "both"}, {"level": 0},
        {"attribute": "colour"}, {"sides": {"middle": "PRELIM:0002"}}, {"sides": {"left": "left_alpha"}},
        {"surprise": 1}, {"labels": {"chexbert": ["Edema"]}},
    ],
)  # fmt: skip
def test_a_concept_with_bad_fields_is_none(fields: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        concept("alpha", 1, **fields)


def test_an_identifier_needs_two_sources_and_a_date() -> None:
    with pytest.raises(ValidationError):
        code("x")
    with pytest.raises(ValidationError):
        Identifier.model_validate({"scheme": "UMLS", "code": "C01", "sources": ["x", "y"], "verified": "2026"})
    with pytest.raises(ValidationError):
        Exclusion(name="alone", between=(("alpha",),))


def test_phrases_compare_without_case_and_hyphens() -> None:
    c = concept("alpha", 1, synonyms=("Air-Space  Thing",), gap_synonyms=(("y", "x|z"),))
    assert phrases(c) == ["alpha", "air space thing", "x|z & y"]
