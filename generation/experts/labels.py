"""Which concept a label of a published classifier or collection means.

The names are those of CheXpert (Irvin et al., 2019), of ChestX-ray14 (Wang et al., 2017) and of torchxrayvision, which
joins the two. A label means one concept, the broadest that it decides in both directions: the ontology's own `labels`
say which findings a label covers, and here only a concept will do of which a low score may be read as a denial.

Three names mean nothing here. "No Finding" is no finding: normality is what remains. "Pleural Other" is any pleural
abnormality but effusion and pneumothorax, and denying "pleural abnormality" would deny these two. An empty name stands
in torchxrayvision for an output that was never trained.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from retrieval.mentions import ConceptId
from retrieval.ontology.concept import Slug
from retrieval.ontology.ontology import load
from retrieval.record import Record

CONCEPTS: Final[Mapping[str, Slug]] = {
    "atelectasis": "atelectasis",
    "cardiomegaly": "cardiomegaly",
    "consolidation": "consolidation",
    "edema": "pulmonary_edema",
    "effusion": "pleural_effusion",
    "emphysema": "emphysema",
    "enlarged cardiomediastinum": "enlarged_cardiomediastinum",
    "fibrosis": "pulmonary_fibrosis",
    "fracture": "fracture",
    # Of the hernias that chest radiographs show nearly all are hiatal; the collections do not say which kind.
    "hernia": "hiatal_hernia",
    "infiltration": "infiltrate",
    "lung lesion": "lung_lesion",
    "lung opacity": "lung_opacity",
    "mass": "lung_mass",
    "nodule": "lung_nodule",
    "pleural effusion": "pleural_effusion",
    "pleural thickening": "pleural_thickening",
    "pneumonia": "pneumonia",
    "pneumothorax": "pneumothorax",
    "support devices": "support_device",
}
"""Concept by label; labels in lower case, with spaces for underscores."""


class Label(Record):
    """One output of an expert."""

    name: str
    """As the expert's own authors write it."""
    concept: ConceptId
    """What it means."""


def concept_of(name: str) -> ConceptId | None:
    """The concept a label means, however it is written; None for what means none."""
    slug = CONCEPTS.get(name.strip().lower().replace("_", " "))
    return load()[slug].id if slug else None


def labels_of(names: Iterable[str]) -> tuple[Label, ...]:
    """The names that mean a concept, in their order."""
    return tuple(Label(name=name, concept=concept) for name in names if (concept := concept_of(name)))
