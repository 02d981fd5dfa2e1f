"""What one concept of the ontology is: names, patterns, place in the hierarchy, constraints, label maps.

Concepts are written by this project in YAML (retrieval/ontology/concepts/*.yaml, one list a file) and read into these
records by `ontology.py`. Wherever a file names another concept it uses the slug, because a person can read it; ids are
for what is stored.
"""

from typing import Annotated, Literal

from pydantic import Field

from retrieval.mentions import ConceptId
from retrieval.record import Record

Slug = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
"""A readable name, unique in the ontology; it may change, an id never does."""
Kind = Literal[
    "finding", "diagnosis", "anatomy", "device", "postoperative", "modifier", "certainty", "change", "view", "normal"
]
"""`view` covers views and image quality; `normal` are statements that something is as it should be."""
Acuity = Literal["critical", "significant", "conditional", "incidental"]
"""How urgently a present finding asks for somebody: at once, soon, depending on the patient, or not at all."""
Sidedness = Literal["paired", "midline", "left", "right", "none"]
"""Which sides a concept can have: both, none because it lies in the middle, one only, or sides mean nothing."""
Attribute = Literal["severity", "size", "distribution", "morphology", "margin", "density", "number", "age"]
"""What a modifier says of a finding."""


class Labels(Record):
    """The names of published label sets that mean this concept, as those sets write them."""

    chexpert: tuple[str, ...] = ()
    """CheXpert's 14 (Irvin et al., 2019)."""
    nih14: tuple[str, ...] = ()
    """ChestX-ray14 (Wang et al., 2017), with its underscores."""
    srr: tuple[str, ...] = ()
    """Leaves and upper classes of structured radiology reporting labels (SRR-BERT, 2025)."""
    vindr: tuple[str, ...] = ()
    """VinDr-CXR (Nguyen et al., 2022)."""
    iu_mesh: tuple[str, ...] = ()
    """MeSH heads as the Indiana University collection codes them, cut at the first "/"; a qualifier that decides is
    kept ("Lung/hypoinflation")."""


class Concept(Record):
    """One concept. An object that exists has valid fields; what must hold between concepts is in `validate.py`."""

    id: ConceptId = Field(pattern=r"^PRELIM:\d{4}$")
    """Stable, never reused."""
    slug: Slug
    """Readable name."""
    kind: Kind
    """What sort of thing it is."""
    name: str = Field(min_length=2)
    """The preferred name, lower case except for proper names and abbreviations; found in text like a synonym."""
    synonyms: tuple[str, ...] = ()
    """Other phrases that mean it, found as consecutive words. Case, hyphens and plurals need no entry of their own."""
    gap_synonyms: tuple[tuple[str, ...], ...] = ()
    """Words that mean it together, in any order, in one clause, with few other words between. A word may be a choice
    ("enlarged|large") and may end in * for any ending ("enlarg*")."""
    not_phrases: tuple[str, ...] = ()
    """Phrases in which one of its names means something else ("pleural scar" is no lung scar)."""
    is_a: tuple[Slug, ...] = ()
    """Broader concepts."""
    site: tuple[Slug, ...] = ()
    """Anatomy where it may be, the usual one first; empty when it may be anywhere."""
    laterality: Sidedness = "none"
    """Which sides it can have."""
    sides: dict[Literal["left", "right"], Annotated[ConceptId, Field(pattern=r"^PRELIM:\d{4}$")]] = Field(
        default_factory=dict
    )
    """For paired anatomy: the ids of its two sides, whose concepts are generated."""
    part_of: tuple[Slug, ...] = ()
    """For anatomy: what it is a part of."""
    attribute: Attribute | None = None
    """For modifiers: what it says of a finding."""
    level: int | None = Field(default=None, ge=1)
    """For modifiers on a scale (severity, size): the rank, 1 the least."""
    implies: tuple[Slug, ...] = ()
    """What is then usually also true, without being broader ("consolidation" and "lung opacity")."""
    acuity: Acuity | None = None
    """For findings, diagnoses and devices out of place: how urgent; None where the question has no meaning."""
    confused_with: tuple[Slug, ...] = ()
    """What looks alike."""
    caution: str = ""
    """One sentence on what misleads ("an AP projection magnifies the heart"); empty when nothing special does."""
    definition: str = Field(min_length=10)
    """One sentence in this project's own words."""
    appearance: str = ""
    """How it looks on a chest radiograph, one sentence in this project's own words; empty where looks say nothing."""
    labels: Labels = Labels()
    """Published labels that mean it."""


class Identifier(Record):
    """A code of another vocabulary for one of our concepts: a fact, with where it was read."""

    scheme: Literal["UMLS", "HPO", "RADLEX", "MESH", "DOID", "MONDO", "NCIT", "UBERON"]
    """The vocabulary."""
    code: str = Field(min_length=2)
    """Its code as that vocabulary writes it."""
    match: Literal["exact", "close"] = "exact"
    """Whether the two mean the same or nearly so (SKOS exactMatch, closeMatch)."""
    sources: tuple[str, ...] = Field(min_length=2)
    """At least two independent places where the code was read for this concept, with release or date."""
    verified: str = Field(pattern=r"^\d{4}-\d{2}$")
    """Year and month in which they were read."""


class Exclusion(Record):
    """Concepts of which two cannot both be true of one thing in one study."""

    name: Slug
    """What the group is about."""
    strength: Literal["hard", "soft"] = "hard"
    """`hard`: a draft that states both is wrong; `soft`: it deserves a look."""
    between: tuple[tuple[Slug, ...], ...] = Field(min_length=2)
    """Two or more lists; a concept (or anything narrower) of one list excludes every one of another list."""
    reason: str = ""
    """Why, where it is not plain."""
