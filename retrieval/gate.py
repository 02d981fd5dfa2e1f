"""The gate: is this a study we draft for? A refusal is an answer with a reason code, never a draft.

Three rules, from cheap to dear. *Header*: modality, body part, declared view. *Pixels*: an image with nothing in it.
*Distance*: how far the image lies from everything the index holds; a hand, a page of text or noise is far from every
chest radiograph. Users of published systems ask for exactly this: models that call a chest film a mammogram, or give a
CT a radiograph's report.

The gate reads headers sceptically but never repairs them silently: what it decides in spite of a missing or doubtful
attribute is said in the verdict's warnings.
"""

from retrieval.records import GateVerdict, ImageAttributes, ReasonCode

MODALITIES = frozenset({"CR", "DX"})
"""DICOM modalities of projection radiography; RG is retired and RF is fluoroscopy."""
BODY_PARTS = frozenset({"CHEST", "THORAX", "LUNG", "LUNGS", "PORT CHEST", "CHEST PORT", "CHEST PA", "CHEST AP"})
"""Body Part Examined (DICOM PS3.16 annex L names CHEST; the others are seen in the wild)."""


def judge_header(attributes: ImageAttributes) -> GateVerdict:
    """Judge one image by what its header declares; what it does not declare is left to the pixel rules."""
    if attributes.modality is not None and attributes.modality not in MODALITIES:
        return _refuse(
            "OUT_OF_SCOPE_MODALITY", f"the header says modality {attributes.modality}; chest radiographs are CR or DX"
        )
    if attributes.body_part and attributes.body_part not in BODY_PARTS:
        return _refuse("OUT_OF_SCOPE_BODY_PART", f"the header says body part {attributes.body_part}, not CHEST")
    return GateVerdict(in_scope=True)


def refuse_for_index(attributes: ImageAttributes) -> GateVerdict | None:
    """Say why an image may not enter an index; None when it may."""
    verdict = judge_header(attributes)
    if not verdict.in_scope:
        return verdict
    if attributes.burned_in_annotation:
        return _refuse("BURNED_IN_ANNOTATION", "the header says that identifying text is burned into the pixels")
    return None


def _refuse(reason: ReasonCode, explanation: str) -> GateVerdict:
    return GateVerdict(in_scope=False, reason=reason, explanation=explanation)
