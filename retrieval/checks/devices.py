"""Devices: stated though nothing shows them, moved though nothing earlier is known, or at a wrong place.

Positions are read only where the text states them. The rules are those of teaching texts and await a radiologist's
review: endotracheal tube 3 to 7 cm above the carina with the neck neutral, central catheter in the lower superior vena
cava or at the cavoatrial junction, enteric tube below the diaphragm, chest tube on the side of what it drains. A text
that itself calls the position wrong, or asks for it to be changed, has noticed.
"""

import re
from collections.abc import Iterator
from typing import Final

from retrieval.checks.context import CheckContext
from retrieval.checks.remark import Remark
from retrieval.checks.said import Said, SentenceAt, opposite, remark_on, upper
from retrieval.mentions import ConceptId, ConceptMention

_KIND: Final = "device"
_LOW, _HIGH = 30.0, 70.0
"""Millimetres above the carina between which the tip of an endotracheal tube should lie."""
_EVENTS: Final = ("placed", "removed", "repositioned", "new")
_BELONGS: Final = {
    "cardiac_lead": ("cardiac_device",),
    "sternal_wires": ("sternotomy", "cabg", "cardiac_surgery"),
    "surgical_clip": ("cabg", "cholecystectomy", "mastectomy", "postoperative_change"),
    "graft_marker": ("cabg",),
    "surgical_suture": ("postoperative_change",),
    "spinal_hardware": ("spinal_fusion",),
}
"""What comes with another device or with an operation that is known."""
_ASTRAY: Final = ("azygos_vein", "right_ventricle", "inferior_vena_cava", "axilla")
"""Where no central catheter should end; jugular and subclavian veins are also where one enters."""
_TOO_LOW: Final = ("carina", "main_bronchus", "bronchus")
"""Where no tube for the windpipe should end."""
_TOO_HIGH: Final = ("esophagus", "gastroesophageal_junction", "neck", "main_bronchus", "bronchus", "trachea")
"""Where no tube for the stomach should end."""
_NOTICED: Final = re.compile(
    r"\b(?:recommend\w*|advis\w*|suggest\w*|should|consider|advance\w*|withdraw\w*|retract\w*|reposition\w*|pull\w*|"
    r"malposition\w*|misplace\w*|low|high|deep|shallow|too|abnormal\w*|unusual|removal|removed|short of)\b",
    re.I,
)
_ABOVE_CARINA: Final = re.compile(
    r"\b(?:above|from|proximal to|superior to)\s+(?:the\s+)?(?:level of the\s+)?carina", re.I
)
_IN_BRONCHUS: Final = re.compile(
    r"\b(?:in|into|within|at|enter\w*|below|beyond|past|distal to)\s+(?:the\s+)?(?:(?:level|origin|orifice)\s+of\s+)?"
    r"(?:the\s+)?(?:proximal\s+|distal\s+)?(?:(?:right|left)\s+)?(?:main|bronch|carina)",
    re.I,
)
_VOLUMES: Final = re.compile(r"\blow(?:er)?[- ](?:lung |inspiratory )?volumes?\b", re.I)
_LENGTH: Final = re.compile(r"(\d+(?:\.\d+)?)\s*-?\s*(mm|cm|millimet\w+|centimet\w+)", re.I)
_TIP: Final = re.compile(r"\b(?:tip|ends?|ending|terminat\w+|projects?|projecting|side ?-?(?:hole|port))\b", re.I)


def device_unseen(said: Said, context: CheckContext) -> Iterator[Remark]:
    """A device that is stated though neither the images nor the history are known to have it."""
    if context.devices is None:
        return
    known = set(context.devices) | {m.concept for m in said.extractor.read(context.history or "")}
    known |= {s.concept for s in (context.experts.scores if context.experts else ()) if s.band == "present"}
    for m in _devices(said):
        if not any(_same_device(said, m.concept, other) for other in known):
            explanation = f"{upper(said.name(m.concept))} is stated, and no such device is known of or was detected."
            yield remark_on(m, "DEVICE_UNSEEN", "hard", explanation)


def device_event(said: Said, context: CheckContext) -> Iterator[Remark]:
    """A device that was put in, moved or taken out, told without an earlier study."""
    if context.has_prior is not False:
        return
    events = set(said.ontology.ids(_EVENTS))
    for m in said.mentions:
        if said.ontology[m.concept].kind == _KIND and m.change in events:
            explanation = (
                f"{upper(said.name(m.concept))} is called {said.name(m.change)}, which no single study shows, and no "
                "earlier study was given."
            )
            yield remark_on(m, "DEVICE_STATE", "hard", explanation)


def device_position(said: Said, context: CheckContext) -> Iterator[Remark]:
    """A stated position that is wrong for the device, in a sentence that does not say so."""
    drained = [
        m
        for m in said.mentions
        if m.certainty == "present" and m.side and _is(said, m, "pleural_effusion", "pneumothorax")
    ]
    for m in _devices(said):
        sentence = said.sentence_of(m)
        if _NOTICED.search(_VOLUMES.sub("", sentence.text)):
            continue
        told = _misplaced(said, sentence, m, drained)
        if told:
            yield remark_on(m, "DEVICE_STATE", "soft", f"{upper(said.name(m.concept))}: {told}.")


def _misplaced(said: Said, sentence: SentenceAt, m: ConceptMention, drained: list[ConceptMention]) -> str:
    """What is wrong with the stated position; empty when nothing is."""
    if _is(said, m, "endotracheal_tube"):
        millimetres = _above_carina(sentence.text)
        if millimetres is not None and not _LOW <= millimetres <= _HIGH:
            return f"{millimetres / 10:g} cm above the carina lies outside the usual 3 to 7 cm"
        astray = millimetres is None and set(m.sites) & set(said.ontology.ids(_TOO_LOW))
        if astray and _IN_BRONCHUS.search(sentence.text):
            return f"its tip should lie 3 to 7 cm above the carina, and {_at(said, m)} is named"
    elif _is(said, m, "central_venous_catheter"):
        if m.sites and _TIP.search(sentence.text) and set(m.sites) <= set(said.ontology.ids(_ASTRAY)):
            return f"its tip should lie low in the superior vena cava or by the right atrium, not in {_at(said, m)}"
    elif _is(said, m, "enteric_tube"):
        if _TIP.search(sentence.text) and m.sites and set(m.sites) <= set(said.ontology.ids(_TOO_HIGH)):
            return f"tip and side hole should lie in the stomach, not in {_at(said, m)}"
    elif _is(said, m, "chest_tube") and drained and m.side and all(opposite(m.side, d.side) for d in drained):
        return f"it lies on the {m.side}, and {said.name(drained[0].concept)} is stated on the {drained[0].side} only"
    return ""


def _above_carina(sentence: str) -> float | None:
    """The distance from the carina that a sentence gives, in mm."""
    place = _ABOVE_CARINA.search(sentence)
    lengths = list(_LENGTH.finditer(sentence, 0, place.start())) if place else []
    if not lengths:
        return None
    value, unit = lengths[-1].groups()
    return float(value) * (10 if unit.lower().startswith("c") else 1)


def _devices(said: Said) -> list[ConceptMention]:
    """Devices that are stated as being there."""
    return [m for m in said.mentions if m.certainty == "present" and said.ontology[m.concept].kind == _KIND]


def _same_device(said: Said, device: ConceptId, known: ConceptId) -> bool:
    """Whether what is known accounts for a device: itself, a wider or narrower name, or what it comes with."""
    if said.related(device, known):
        return True
    comes_with = said.ontology.ids(w for slug, ws in _BELONGS.items() for w in ws if said.ontology[device].slug == slug)
    return any(said.related(known, with_) for with_ in comes_with)


def _is(said: Said, m: ConceptMention, *slugs: str) -> bool:
    return any(said.ontology.is_a(m.concept, broader) for broader in said.ontology.ids(slugs))


def _at(said: Said, m: ConceptMention) -> str:
    return " and ".join(said.name(site) for site in m.sites)
