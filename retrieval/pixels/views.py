"""How the patient was seen: one view position out of the places where a header may say it.

What goes in is a DICOM header; what comes out is a view and which attribute it was taken from, most trusted first:
View Position, View Code, Patient Orientation, and words of a description. A place that says nothing known here leaves
the question to the next; two places are never mixed. Descriptions are free text and may hold findings: nothing of
them leaves this module but a view.
"""

import re

from pydicom import Dataset

from retrieval.pixels.attributes import first_item, texts
from retrieval.records import ViewPosition, ViewSource

_POSITIONS: dict[str, ViewPosition] = {
    "PA": "PA", "AP": "AP", "LL": "LL", "RL": "RL", "RLD": "RLD", "LLD": "LLD", "RLO": "RLO", "LLO": "LLO",
    "FRONTAL": "FRONTAL", "LATERAL": "LATERAL", "LAT": "LATERAL",
    "POSTERO_ANTERIOR": "PA", "ANTERO_POSTERIOR": "AP",
    "AP LLD": "LLD", "PA LLD": "LLD", "AP RLD": "RLD", "PA RLD": "RLD",
    "LAO": "OTHER", "RAO": "OTHER", "LPO": "OTHER", "RPO": "OTHER", "LORDOTIC": "OTHER", "AP LORDOTIC": "OTHER",
    "AP AXIAL": "OTHER", "XTABLE LATERAL": "OTHER", "SWIMMERS": "OTHER",
}  # fmt: skip
"""Defined terms of (0018,5101), and other values that published collections hold."""

_CODES: dict[str, ViewPosition] = {
    # CID 4010: SNOMED CT identifier, and the SNOMED-RT style identifier of files written before 2019.
    "399348003": "AP", "R-10206": "AP",
    "272479007": "PA", "R-10214": "PA", "R-40888": "PA",  # the standard has had both old codes for PA
    "399173006": "LL", "R-10236": "LL",
    "399198007": "RL", "R-10232": "RL",
    "399033003": "FRONTAL", "R-10202": "FRONTAL",
    "399067008": "LATERAL", "R-102CD": "LATERAL",
    # Obliques and axials: a view is stated, and it is none that images here are compared with.
    "399135007": "OTHER", "R-10220": "OTHER", "399356000": "OTHER", "R-40985": "OTHER",
    "399006002": "OTHER", "R-10212": "OTHER", "399038007": "OTHER", "R-10210": "OTHER",
    "399312000": "OTHER", "R-10208": "OTHER", "399059000": "OTHER", "R-10216": "OTHER",
    "399182000": "OTHER", "R-102C1": "OTHER", "399184004": "OTHER", "R-10238": "OTHER",
    "399236003": "OTHER", "R-10234": "OTHER", "399160007": "OTHER", "R-10204": "OTHER",
    "399061009": "OTHER", "R-10241": "OTHER", "399004004": "OTHER", "R-10246": "OTHER",
}  # fmt: skip
_SCHEMES = frozenset({"SCT", "SRT", "SNM3", "99SDM"})

_WORDS: dict[str, ViewPosition] = {
    "PA": "PA", "AP": "AP", "FRONTAL": "FRONTAL", "LATERAL": "LATERAL", "LAT": "LATERAL",
    "DECUBITUS": "OTHER", "DECUB": "OTHER", "OBLIQUE": "OTHER", "LORDOTIC": "OTHER",
}  # fmt: skip
_DESCRIPTIONS = ("SeriesDescription", "ProtocolName", "StudyDescription")


def view_of(header: Dataset) -> tuple[ViewPosition, ViewSource]:
    """The view position and its source; UNKNOWN and `none` when no place says one."""
    if view := _POSITIONS.get(" ".join(texts(header, "ViewPosition")).upper()):
        return view, "view_position"
    if view := _from_code(header):
        return view, "view_code"
    if view := _from_orientation(texts(header, "PatientOrientation")):
        return view, "patient_orientation"
    for keyword in _DESCRIPTIONS:
        if view := _from_words(" ".join(texts(header, keyword))):
            return view, "description"
    return "UNKNOWN", "none"


def _from_code(header: Dataset) -> ViewPosition | None:
    """View Code Sequence (0054,0220); the first item is the view, modifiers are items below it."""
    item = first_item(header, "ViewCodeSequence")
    if item is None or not _SCHEMES.intersection(texts(item, "CodingSchemeDesignator")):
        return None
    return _CODES.get("".join(texts(item, "CodeValue")))


def _from_orientation(directions: list[str]) -> ViewPosition | None:
    """Patient Orientation (0020,0020): where rows and where columns run to, by the patient's axes.

    Rows along left-right is a frontal image, along front-back a lateral one; which way the beam went is not said. An
    image turned by 90 degrees has the axes exchanged, which is the same view.
    """
    if len(directions) != 2 or not all(directions):
        return None
    axes = {_AXES.get(direction[0].upper()) for direction in directions}
    if axes == {"side", "height"}:
        return "FRONTAL"
    if axes == {"depth", "height"}:
        return "LATERAL"
    return "OTHER" if axes == {"side", "depth"} else None


_AXES = {"L": "side", "R": "side", "A": "depth", "P": "depth", "H": "height", "F": "height"}


def _from_words(description: str) -> ViewPosition | None:
    """A view that a description names; None when it names none or, as for a whole study, several."""
    named = {_WORDS[word] for word in re.split(r"[^A-Z]+", description.upper()) if word in _WORDS}
    if "OTHER" in named:  # lateral decubitus is no lateral image
        return "OTHER"
    if len(named) == 2 and "FRONTAL" in named and named & {"PA", "AP"}:  # "frontal (PA)"
        named.remove("FRONTAL")
    return named.pop() if len(named) == 1 else None
