"""Concept sets drawn by hypothesis over a corner of the real ontology that has some depth."""

from hypothesis import strategies as st

from retrieval.mentions import ConceptId
from retrieval.ontology.ontology import load
from retrieval.ranking.concept_sets import ConceptSet

ONTOLOGY = load()
SLUGS = (
    "lung_opacity", "airspace_opacity", "consolidation", "interstitial_opacity", "atelectasis", "linear_atelectasis",
    "lobar_collapse", "pneumonia", "pleural_abnormality", "pleural_effusion", "loculated_effusion", "pneumothorax",
    "tension_pneumothorax", "cardiac_abnormality", "cardiomegaly", "fracture", "rib_fracture", "picc",
    "central_venous_catheter", "clear_lungs", "normal_heart_size", "sternal_wires",
)  # fmt: skip
IDS = tuple(ONTOLOGY[slug].id for slug in SLUGS)


def cid(slug: str) -> ConceptId:
    return ONTOLOGY[slug].id


@st.composite
def concept_sets(draw: st.DrawFn, at_least: int = 0) -> ConceptSet:
    concepts = draw(st.lists(st.sampled_from(IDS), min_size=at_least, max_size=8, unique=True))
    denied = {c for c in concepts if draw(st.booleans()) and draw(st.booleans())}
    degrees = st.one_of(st.just(1.0), st.just(0.5), st.integers(1, 16).map(lambda n: n / 16))
    sides = draw(st.dictionaries(st.sampled_from(IDS), st.sampled_from(["left", "right", "bilateral"]), max_size=6))
    return ConceptSet(
        present={c: draw(degrees) for c in concepts if c not in denied},
        absent={c: draw(degrees) for c in concepts if c in denied},
        sides={c: side for c, side in sides.items() if c in concepts},
    )
