"""The gate: is this a study we draft for? A refusal is an answer with a reason code, never a draft.

Three kinds of rules, from cheap to dear. *Header*: modality, body part. *Pixels*: an image in which nothing can be
seen. *Look*: two lungs are found, or the outline is that of a lateral chest in the index. Users of published systems
ask for exactly this: models that call a chest film a mammogram, or give a CT a radiograph's report.

Bounds are fixed numbers far from every chest radiograph measured, or quantiles of the index's own images; how they were
chosen and what passes nevertheless stands in ARCHITECTURE.md, Gate. The gate reads headers sceptically but never
repairs them silently: what it decides in spite of a missing or doubtful attribute is said in the verdict's warnings.
"""

import re
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from retrieval.look import Scope, fits_of
from retrieval.pixels.statistics import PixelStatistics
from retrieval.records import GateVerdict, ImageAttributes, ReasonCode, Study, StudyImage, ViewGroup, view_group
from retrieval.study import ReadStudy

MODALITIES = frozenset({"CR", "DX"})
"""DICOM modalities of projection radiography; RG is retired and RF is fluoroscopy."""
BODY_PARTS = frozenset({"CHEST", "THORAX", "LUNG", "LUNGS", "PORT CHEST", "CHEST PORT", "CHEST PA", "CHEST AP"})
"""Body Part Examined (DICOM PS3.16 annex L names CHEST; the others are seen in the wild)."""
LUNG_FIT, LONE_FIT = 0.50, 0.65
"""Least correlation with two drawn lungs where the outline is judged as well, and where it stands alone. Together with
the outline's bound the first refuses .2 % of the frontal images measured."""
TURNED_FIT, TURNED_BY = 0.75, 0.08
"""The same for a turned image, stricter because there are three tries; and how much better than upright it must be."""
DECLARED_FIT = 0.40
"""Least lung fit of an image whose header says CHEST: a white-out hides a lung, and then a warning serves better."""
IN_SCOPE = GateVerdict(in_scope=True)
_CODE = re.compile(r"[A-Z0-9_ ]{0,16}")
"""DICOM code strings (VR CS); anything else in their place may be somebody's name and is not repeated."""


class Gate:
    """The rules with one index's scope."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    def judge_headers(self, study: Study) -> GateVerdict:
        """Judge a study by its headers: refused when no image is in scope, for the first image's reason."""
        verdicts = [judge_header(image.attributes) for image in study.images]
        return IN_SCOPE if any(v.in_scope for v in verdicts) else verdicts[0]

    def judge_pixels(self, read: ReadStudy) -> tuple[ReadStudy, GateVerdict]:
        """Judge every image; returns the study without refused images and with views named, and the verdict.

        Images whose header is out of scope are left out as well, with a warning. The study comes back unchanged when
        nothing is left of it.
        """
        kept: list[int] = []
        images: list[StudyImage] = []
        refusals: list[GateVerdict] = []
        warnings: list[str] = list(read.warnings)
        for number, image in enumerate(read.study.images):
            verdict, group = self._judge(read, number)
            if verdict.in_scope:
                kept.append(number)
                images.append(_with_view(image, group))
                warnings += verdict.warnings
            else:
                refusals.append(verdict)
                warnings.append(f"image {number + 1} was left out: {verdict.reason}, {verdict.explanation}")
        if not kept:
            return read, refusals[0].model_copy(update={"warnings": read.warnings})
        return read.only(kept, images), GateVerdict(in_scope=True, warnings=tuple(warnings))

    def _judge(self, read: ReadStudy, number: int) -> tuple[GateVerdict, ViewGroup]:
        attributes = read.study.images[number].attributes
        declared = view_group(attributes.view)
        header = judge_header(attributes)
        if not header.in_scope:
            return header, declared
        if (poor := judge_statistics(read.statistics[number])) is not None:
            return poor, declared
        if declared == "other" and attributes.view != "UNKNOWN":
            return _refuse("OUT_OF_SCOPE_VIEW", f"view {attributes.view} is neither frontal nor lateral"), declared
        looks = self._looks_like(read.looks[number])
        if looks == "turned":
            return _warn("it looks like a frontal chest radiograph that is turned"), "frontal"
        if looks is None:
            return self._unlike(attributes, fits_of(read.looks[number])[0])
        if attributes.view == "UNKNOWN":
            return _warn(f"no view is given; it looks {looks}"), looks
        return (IN_SCOPE if looks == declared else _warn(f"it is called {declared} but looks {looks}")), declared

    def _looks_like(self, looked: NDArray[np.float32]) -> Literal["frontal", "lateral", "turned"] | None:
        upright, *turned = fits_of(looked)
        if max(turned) >= TURNED_FIT and max(turned) > upright + TURNED_BY:
            return "turned"
        frontal, lateral = self._scope.frontal, self._scope.lateral
        as_frontal = frontal.share(looked) - frontal.least_share if frontal else 0.0
        as_lateral = lateral.share(looked) - lateral.least_share if lateral else -1.0
        needed = LUNG_FIT if frontal else LONE_FIT
        if as_lateral >= 0 and (as_lateral > as_frontal or upright < needed):
            return "lateral"
        return "frontal" if upright >= needed and as_frontal >= 0 else None

    def _unlike(self, attributes: ImageAttributes, upright: float) -> tuple[GateVerdict, ViewGroup]:
        """Judge an image that looks like no chest: what its header declares may still speak for it."""
        declared = view_group(attributes.view)
        if declared == "lateral" and self._scope.lateral is None:
            return _warn("the index has too few lateral images to tell whether this is one"), declared
        if attributes.body_part in BODY_PARTS and declared != "lateral" and upright >= DECLARED_FIT:
            return _warn("the header says chest, but two lungs cannot be found"), "frontal"
        why = "two lungs cannot be found, and it is like no lateral chest radiograph in the index"
        return _refuse("NOT_A_CHEST_RADIOGRAPH", why), declared


def judge_header(attributes: ImageAttributes) -> GateVerdict:
    """Judge one image by what its header declares; what it does not declare is left to the other rules."""
    if attributes.modality is not None and attributes.modality not in MODALITIES:
        said = attributes.modality if _CODE.fullmatch(attributes.modality) else "that is no DICOM code"
        why = f"the header says modality {said}; chest radiographs are CR or DX"
        return _refuse("OUT_OF_SCOPE_MODALITY", why)
    if attributes.body_part and attributes.body_part not in BODY_PARTS:
        said = attributes.body_part if _CODE.fullmatch(attributes.body_part) else "that is no DICOM code"
        return _refuse("OUT_OF_SCOPE_BODY_PART", f"the header says body part {said}, not CHEST")
    return IN_SCOPE


def judge_statistics(grey: PixelStatistics) -> GateVerdict | None:
    """Refuse an image in which nothing can be seen; None when something can."""
    if grey.grey_levels < 32:
        return _refuse("POOR_QUALITY", "the image has fewer than 32 grey levels")
    if grey.std < 0.04 or grey.fraction_black > 0.8 or grey.fraction_white > 0.6 or grey.fraction_mid < 0.15:
        return _refuse("POOR_QUALITY", "the image is almost all black, white or of one grey")
    if grey.fine_share < 0.002:
        return _refuse("POOR_QUALITY", "the image holds no detail finer than a sixteenth of its side")
    if not 0.4 <= grey.aspect_ratio <= 2.5:
        return _refuse("NOT_A_CHEST_RADIOGRAPH", "the image is a strip, more than 2.5 times as long as wide")
    if grey.roughness > 0.6:
        return _refuse("NOT_A_CHEST_RADIOGRAPH", "neighbouring pixels have little to do with each other, as in noise")
    return None


def refuse_for_index(attributes: ImageAttributes) -> GateVerdict | None:
    """Say why an image may not enter an index; None when it may."""
    verdict = judge_header(attributes)
    if not verdict.in_scope:
        return verdict
    if attributes.burned_in_annotation:
        return _refuse("BURNED_IN_ANNOTATION", "the header says that identifying text is burned into the pixels")
    return None


def _with_view(image: StudyImage, group: ViewGroup) -> StudyImage:
    """Name an unknown view after what was seen; a declared one stays."""
    if image.attributes.view != "UNKNOWN" or group == "other":
        return image
    view = "FRONTAL" if group == "frontal" else "LATERAL"
    attributes = image.attributes.model_copy(update={"view": view, "view_source": "similar_images"})
    return image.model_copy(update={"attributes": attributes})


def _refuse(reason: ReasonCode, explanation: str) -> GateVerdict:
    return GateVerdict(in_scope=False, reason=reason, explanation=explanation)


def _warn(warning: str) -> GateVerdict:
    return GateVerdict(in_scope=True, warnings=(warning,))
