"""What a sentence claims: findings present, findings absent, structures normal.

Two sentences are equivalent for the drafter when they make the same claims. That makes "no effusion" and "effusion"
different however alike their words are, and "heart size normal" and "the heart is normal in size" the same. Which
claims cannot stand in one draft, and where each is read, is decided here too; how many cases make a claim is not.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Final, Literal, NamedTuple, get_args

from generation.terms import DEVICES, read

Topic = Literal["lungs", "pleura", "heart", "mediastinum", "bones", "abdomen", "devices"]
"""A part of the findings that is read in one go."""
TOPICS: Final[tuple[Topic, ...]] = get_args(Topic)
Polarity = Literal["present", "absent", "normal"]
"""What is said of a finding (present, absent) or of a structure (normal)."""


class Claim(NamedTuple):
    """One thing that a sentence says."""

    polarity: Polarity
    """Whether `of` is said to be present, absent or normal."""
    of: str
    """A finding ("Pleural Effusion", or "Lung/low" with a qualifier); a structure ("lungs") when normal."""

    @property
    def head(self) -> str:
        """The finding without its qualifier."""
        return self.of.split("/")[0]

    def __str__(self) -> str:
        return f"{self.polarity} {self.of}"

    @classmethod
    def parse(cls, written: str) -> "Claim":
        """The claim that `str` wrote; raises ValueError for text that is none."""
        match written.split(" ", 1):
            case ["present" | "absent" | "normal" as polarity, of] if of:
                return cls(polarity, of)
        raise ValueError("a claim is written as its polarity and what it is of, such as 'present Pleural Effusion'")


_TOPIC_OF_HEAD: Final[Mapping[str, Topic]] = {
    **dict.fromkeys(("Pleural Effusion", "Pneumothorax", "Costophrenic Angle", "Thickening"), "pleura"),
    **dict.fromkeys(("Cardiomegaly", "Cardiac Shadow"), "heart"),
    **dict.fromkeys(
        ("Aorta", "Atherosclerosis", "Calcinosis", "Mediastinum", "Hernia", "Lymphadenopathy"), "mediastinum"
    ),
    **dict.fromkeys(("Thoracic Vertebrae", "Spine", "Spondylosis", "Osteophyte", "Arthritis"), "bones"),
    **dict.fromkeys(("Scoliosis", "Kyphosis", "Fractures", "Deformity", "Bone Loss", "acute bone"), "bones"),
    **dict.fromkeys(("Diaphragm", "Diaphragmatic Eventration", "Free Air"), "abdomen"),
    **dict.fromkeys(DEVICES, "devices"),
}
_TOPIC_OF_STRUCTURE: Final[Mapping[str, Topic]] = {
    "lungs": "lungs",
    "inflation": "lungs",
    "vessels": "heart",
    "pleura": "pleura",
    "heart": "heart",
    "mediastinum": "mediastinum",
    "bones": "bones",
    "diaphragm": "abdomen",
}

# One word can name two findings that no patient has at once; the qualifier keeps them apart, so that their votes are
# not added up.
_QUALIFIERS: Final[Mapping[str, tuple[tuple[str, re.Pattern[str]], ...]]] = {
    "Lung": (
        ("low", re.compile(r"\b(?:low|small|decreas|diminish|reduc|shallow|poor|hypo|under)", re.I)),
        ("high", re.compile(r"\b(?:hyper|over|large|increas)", re.I)),
    ),
    "Diaphragm": (("flat", re.compile(r"flatten", re.I)), ("elevated", re.compile(r"elevat", re.I))),
}

_NORMAL: Final = re.compile(
    r"\b(?:normal|normally|unremarkable|within normal limits|clear|well[- ]expanded|expanded|aerated|intact|"
    r"sharp|not enlarged|no acute|without acute|negative for acute|free of|maintained|symmetric)\b"
)
# A hedge takes the normality back.
_NOT_NORMAL: Final = re.compile(
    r"\b(?:upper limits?|top normal|borderline|otherwise|abnormal(?!it)|not (?:clear|normal))\b"
)
_STRUCTURES: Final[Mapping[str, re.Pattern[str]]] = {
    "lungs": re.compile(r"\b(?:lungs?(?: fields?)?|lung parenchyma|hemithora\w+)\b(?! (?:volume|inflation))"),
    "inflation": re.compile(r"\b(?:(?:normal|well)(?:ly)?[- ](?:inflat|expan|aerat)\w+|expanded|lung volumes)\b"),
    "pleura": re.compile(r"\b(?:pleural spaces?|pleura|costophrenic (?:angles?|sulc\w+))\b"),
    "heart": re.compile(r"\b(?:heart|cardiac|cardio ?-?mediastinal|cardiopericardial|cardiothymic)\b"),
    "vessels": re.compile(r"\b(?:vascula\w+)\b"),
    "mediastinum": re.compile(r"\b(?:mediastin\w+|cardio ?-?mediastinal|hil(?:a|um|ar)|aort\w+)\b"),
    "bones": re.compile(r"\b(?:bon(?:e|es|y)|osseous|skelet\w+|ribs?|spine|vertebra\w*|clavicles?)\b"),
    "diaphragm": re.compile(r"\b(?:(?:hemi)?diaphragms?|upper abdomen|bowel gas)\b"),
}
_ACUTE_BONE: Final = re.compile(
    r"\b(?:no|without|negative for)\b.{0,40}\b(?:bon(?:e|es|y)|osseous|skeletal)\b|"
    r"\b(?:bon\w+|osseous|skelet\w+)\b.{0,60}\b(?:intact|without acute)\b"
)
_CLAUSE: Final = re.compile(r"[.;]|\b(?:but|however|although|except|with)\b")

# Topics whose present findings cannot stand beside a normal structure.
_SPOILS: Final[Mapping[str, frozenset[str]]] = {
    "lungs": frozenset({"lungs"}),
    "pleura": frozenset({"pleura"}),
    "heart": frozenset({"heart"}),
    "mediastinum": frozenset({"mediastinum"}),
    "bones": frozenset({"bones"}),
    "abdomen": frozenset({"diaphragm"}),
}
_ALSO_SPOILS: Final[Mapping[str, frozenset[str]]] = {
    "Lung": frozenset({"inflation"}),
    "Emphysema": frozenset({"inflation"}),
    "Pulmonary Congestion": frozenset({"vessels"}),
    "Pulmonary Edema": frozenset({"vessels"}),
    "Markings": frozenset({"vessels"}),
    "Pleural Effusion": frozenset({"lungs"}),
    "Cardiac Shadow": frozenset({"mediastinum"}),
    "Costophrenic Angle": frozenset({"lungs"}),
}
# Names of one phenomenon: stating any of them while denying another reads as a contradiction, whatever the finer points
# of usage.
_FAMILIES: Final[tuple[frozenset[str], ...]] = (
    frozenset({"Airspace Disease", "Infiltrate", "Consolidation", "Pneumonia", "Opacity"}),
    frozenset({"Nodule", "Mass", "Granuloma", "Calcified Granuloma"}),
    frozenset({"Cardiomegaly", "Cardiac Shadow"}),
    frozenset({"Pulmonary Congestion", "Pulmonary Edema"}),
    frozenset({"Pleural Effusion", "Costophrenic Angle"}),
    frozenset({"Fractures", "acute bone"}),
    frozenset({"Thoracic Vertebrae", "Spine", "Spondylosis", "Osteophyte"}),
)
# Denials are not told apart within a family ("no infiltrate" and "no focal consolidation" deny one thing), so that they
# vote and are cited together.
_DENIED_AS: Final[Mapping[str, str]] = {
    "Opacity": "Airspace Disease",
    "Infiltrate": "Airspace Disease",
    "Consolidation": "Airspace Disease",
    "Pneumonia": "Airspace Disease",
    "Mass": "Nodule",
    "Granuloma": "Nodule",
    "Calcified Granuloma": "Nodule",
    "Cardiac Shadow": "Cardiomegaly",
    "Pulmonary Congestion": "Pulmonary Edema",
}
_RIVALS: Final[tuple[frozenset[str], ...]] = (
    frozenset({"Lung/low", "Lung/high"}),
    frozenset({"Lung/low", "Emphysema"}),
    frozenset({"Lung/low", "Pulmonary Disease"}),
    frozenset({"Diaphragm/flat", "Diaphragm/elevated"}),
    frozenset({"Lung/low", "Diaphragm/flat"}),
)


def claims_of(sentence: str) -> frozenset[Claim]:
    """Every claim of a sentence, less those it takes back itself; empty when no word of it is known."""
    reading = read(sentence)
    found: set[Claim] = {Claim("present", name) for head in reading.present for name in _qualified(head, sentence)}
    found |= {Claim("absent", _DENIED_AS.get(head, head)) for head in reading.absent}
    for clause in _CLAUSE.split(sentence.lower()):
        # "No acute bony abnormality" and "bones are intact" deny something new; neither says that bones are normal.
        acute_bone_denied = _ACUTE_BONE.search(clause) is not None
        if acute_bone_denied:
            found.add(Claim("absent", "acute bone"))
        if _NORMAL.search(clause) and not _NOT_NORMAL.search(clause):
            found |= {
                Claim("normal", name)
                for name, pattern in _STRUCTURES.items()
                if pattern.search(clause) and not (name == "bones" and acute_bone_denied)
            }
    # Rivals in one sentence ("small" and "hyperinflated") mean that a word was misread; neither is believed.
    return frozenset(c for c in standing(found) if not any(_rivals(c, other) for other in found))


def standing(claims: Iterable[Claim]) -> frozenset[Claim]:
    """The claims less those that a present finding among them contradicts: what is seen outweighs what is not."""
    made = frozenset(claims)
    present = [c for c in made if c.polarity == "present"]
    return frozenset(c for c in made if c.polarity == "present" or not any(contradict(p, c) for p in present))


def _qualified(head: str, sentence: str) -> tuple[str, ...]:
    """The head with every qualifier that the sentence gives it, or bare when it gives none."""
    options = _QUALIFIERS.get(head, ())
    return tuple(f"{head}/{name}" for name, pattern in options if pattern.search(sentence)) or (head,)


def topic_of(claim: Claim) -> Topic:
    """Where in the findings a claim is read; lungs unless it has another place."""
    if claim.polarity == "normal":
        return _TOPIC_OF_STRUCTURE[claim.of]
    return _TOPIC_OF_HEAD.get(claim.head, "lungs")


def contradict(a: Claim, b: Claim) -> bool:
    """Whether one draft may not make both claims."""
    if a.polarity != "present":
        a, b = b, a
    if a.polarity != "present":
        return False
    if b.polarity == "present":
        return _rivals(a, b)
    if b.polarity == "normal":
        return b.of in _SPOILS.get(topic_of(a), frozenset()) or b.of in _ALSO_SPOILS.get(a.head, frozenset())
    return a.head == b.head or any({a.head, b.head} <= family for family in _FAMILIES)


def _rivals(a: Claim, b: Claim) -> bool:
    """Whether these are two findings that no patient has at once."""
    return a.polarity == b.polarity == "present" and frozenset((a.of, b.of)) in _RIVALS
