"""The words of findings: which findings a stretch of report text states, and which it denies.

Text in, names of findings out; nothing is known here of votes, drafts or stores. The names are MeSH heads: findings as
one collection codes them (Indiana University; "Pulmonary Atelectasis/base/left" cut at its first "/" or ","), because
that is what could be measured. An ontology of concepts will replace this file; nobody should read more into a name than
the expressions below it. They are general words of radiology, chosen on fold 0 of that collection. On folds 1 to 4 they
find the hand-coded heads of a report (findings and impression) with a macro-F1 of .877.

Two choices explain most of the code:

* A denial is bounded by the clause, not by a window of words: a list such as "no focal consolidation, effusion, or
  pneumothorax" can be long, while a "but" or a semicolon really does end the denial.
* A denial is kept as a fact of its own. The drafter needs it to refuse a draft that both denies and states a finding.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

# Each expression is over the lower-case text of one clause. Gaps such as "( \w+){0,3}" stand for the adjectives and
# de-identification marks that come between the two words that matter.
_PATTERNS: Final[Mapping[str, Sequence[str]]] = {
    # --- lungs
    "Lung": (
        r"\blung volumes( \w+){0,3} (low|small|decreased|diminished)",
        r"\b(low|small|decreased|diminished|reduced|shallow)( lung)? (volumes?|inspirat\w+|inflation|expansion)",
        r"\b(hypo|hyper|under|over) ?-?(inflat|expan|aerat|disten)\w*",
        r"\b(increased|large) lung volumes?",
        r"\bpoor(ly)? (inspir|inflat)\w+",
        r"\bhyperlucen\w+",
        r"\bhypoventilat\w+",
    ),
    "Opacity": (r"\bopaci(ty|ties|fication|fications)\b",),
    "Pulmonary Atelectasis": (r"\batelecta\w+", r"\bcollapse of\b", r"\bvolume loss\b"),
    "Calcified Granuloma": (
        r"\bcalcified( \w+){0,3} (granuloma(s|ta)?|nodules?)\b",
        r"\bgranuloma(s|ta)? (is|are)? ?calcified",
        r"\bcalcified( \w+){0,4} granuloma",
    ),
    "Granulomatous Disease": (r"\bgranulomatous\b",),
    "Granuloma": (r"(?<!calcified )(?<!calcified pulmonary )(?<!calcified lung )\bgranuloma(s|ta)?\b",),
    "Cicatrix": (r"\bscar(s|ring|red)?\b", r"\bcicatri\w+", r"\bfibro(sis|tic)\b"),
    "Markings": (
        r"\b(interstitial|bronchovascular|lung|pulmonary|vascular|bronchial)( \w+){0,2} markings?\b",
        r"\bcrowding\b",
        r"\bbronchovascular\b",
        r"\binterstitial prominence\b",
        r"\bprominen\w+ (of the )?interstiti\w+",
    ),
    "Density": (r"(?<!bone )(?<!mineral )\b(radio|hyper)?dens(e|ity|ities)\b",),
    "Airspace Disease": (r"\bair ?-?space (disease|process|change|infiltrate)s?\b", r"\bairspace (opacit|consolid)\w+"),
    "Infiltrate": (r"\binfiltrat(e|es|ion|ions)\b",),
    "Consolidation": (r"\bconsolidat\w+",),
    "Pneumonia": (r"\bpneumonias?\b", r"\bpneumonitis\b"),
    "Nodule": (r"\bnodul(e|es|arity)\b", r"\bnodular (focus|lesion)"),
    "Emphysema": (r"(?<!subcutaneous )\bemphysema\w*",),
    "Pulmonary Disease": (r"\bcopd\b", r"\bchronic obstructive", r"\bobstructive (pulmonary|lung|airway)"),
    "Pulmonary Congestion": (
        r"\bcongesti(on|ve)\b",
        r"\bcephalization\b",
        r"\bvascular(ity)? (prominence|engorgement|redistribution)",
        r"\bvascular\w* (is |are |appears? )?(mildly |slightly )?(prominent|engorged|increased)",
        r"\b(prominent|engorged|increased) (central )?(pulmonary )?vascula\w+",
    ),
    "Pulmonary Edema": (r"\bedema\b",),
    # --- pleura
    "Pleural Effusion": (r"\beffusions?\b", r"\bpleural fluid\b", r"\bhydrothorax\b"),
    "Costophrenic Angle": (r"\bblunt\w*",),
    "Thickening": (r"\bthickening\b", r"\bthickened\b"),
    "Pneumothorax": (r"\bpneumothora(x|ces)\b",),
    # --- heart
    "Cardiomegaly": (
        r"\bcardiomegaly\b",
        r"\bheart( \w+){0,5} (enlarged|large)\b",
        r"\benlarge(d|ment)( \w+){0,3} heart\b",
        r"\bcardiac enlargement\b",
        r"\b(large|borderline)( \w+){0,3} heart\b",
        r"\bheart( \w+){0,5} borderline\b",
        r"\bcardiac size( \w+){0,4} (enlarged|borderline)",
    ),
    "Cardiac Shadow": (
        r"\b(cardiac|cardio ?mediastinal|cardiopericardial|heart) (silhouette|shadow|contour)s?( \w+){0,5} "
        r"(enlarged|prominent|large|borderline)\b",
        r"\b(enlarge(d|ment)|prominen(t|ce)|large)( \w+){0,3} (cardiac|cardio ?mediastinal|cardiopericardial) "
        r"(silhouette|shadow|contour)",
    ),
    # --- mediastinum and great vessels
    "Aorta": (
        r"\btortuo\w+",
        r"\bectatic\b",
        r"\bectasia\b",
        r"\buncoil\w+",
        r"\bunfold\w+",
        r"\b(dilated|enlarged) (thoracic )?aorta",
    ),
    "Atherosclerosis": (r"\batheroscler\w+", r"\batheromat\w+", r"\bartherosc\w+", r"\batherosc\w+"),
    "Calcinosis": (r"(?<!atherosclerotic )(?<!vascular )\bcalcifi(ed|c|cation|cations)\b(?!( \w+){0,3} granuloma)",),
    "Mediastinum": (
        r"\bmediastin\w+( \w+){0,3} (prominen\w+|widen\w+)",
        r"\b(widen\w+|prominen\w+)( \w+){0,3} mediastin\w+",
    ),
    "Hernia": (r"\bhernia\w*",),
    # --- diaphragm
    "Diaphragm": (
        r"\b(flatten\w*|elevat\w*)( \w+){0,4} (hemi)?diaphragm\w*",
        r"\b(hemi)?-?diaphragm\w*( \w+){0,4} (flatten|elevat)\w*",
    ),
    "Diaphragmatic Eventration": (r"\beventration\w*",),
    # --- bones
    "Thoracic Vertebrae": (
        r"\bdegenerative( \w+){0,6} (thoracic|thoracolumbar|t-spine|midthoracic)",
        r"\bthoracic( \w+){0,4} degenerative",
        r"\bdegenerative( \w+){0,5} vertebra\w*",
    ),
    "Spine": (
        r"\bdegenerative (disc |disk |joint |bony |osseous |endplate )?(change|disease|spurring|disk|disc)\w*"
        r"(?!.{0,40}\bthoracic (spine|vert|xxxx))(?=.{0,40}\b(spine|spinal|disc|disk)\b)",
        r"(?<!thoracic )\bspine( \w+){0,4} degenerative",
        r"\bdegenerative spine\b",
    ),
    "Spondylosis": (r"\bspondylo(sis|tic)\b",),
    "Osteophyte": (r"\bosteophyt\w*", r"\bspur(s|ring)?\b"),
    "Arthritis": (r"\b(osteo)?arthr(itis|itic|osis)\b", r"\barthropathy\b"),
    "Scoliosis": (r"\b\w*scoliosis\b", r"\bscoliotic\b", r"\bcurvature\b"),
    "Kyphosis": (r"\bkypho\w+",),
    "Fractures": (r"\bfractur\w*",),
    "Deformity": (r"\bdeformit\w+", r"\bwedg(ing|ed)\b", r"\bpectus\b"),
    # --- devices
    "Catheters": (
        r"\bcatheters?\b",
        r"\bpicc\b",
        r"\bport(-?a-?cath)?\b(?! a)",
        r"\bcentral (venous )?line\b",
        r"\bmediport\b",
        r"\btip( \w+){0,6} (svc|vena cava|cavoatrial|caval|atrium|atrial)\b",
        r"\b(subclavian|jugular) (line|xxxx)",
    ),
    "Surgical Instruments": (
        r"\bclips?\b",
        r"\bstaples?\b",
        r"\bsutures?\b",
        r"\bsurgical (material|hardware|changes?)",
        r"\bcholecystectomy\b",
    ),
}

# Read for the drafter's sake (it must not slip one in, and must not contradict one), but too rare or too loosely coded
# in the collection to be measured.
_UNMEASURED: Final[Mapping[str, Sequence[str]]] = {
    "Mass": (
        r"\bmass(es)?(-?like)?\b",
        r"\blesions?\b",
        r"\bneoplas\w+",
        r"\bmalignan\w+",
        r"\bmetasta\w+",
        r"\bcavit\w+",
    ),
    "Lymphadenopathy": (r"\b(lymph)?adenopathy\b", r"\bhil(ar|um|a)( \w+){0,2} (enlarge|prominen|full)\w*"),
    "Free Air": (r"\bfree( \w+)? air\b", r"\bpneumoperitoneum\b"),
    "Lucency": (r"\blucenc\w+", r"\bcysts?\b", r"\bbull(a|ae|ous)\b", r"\bblebs?\b", r"\bbronchiectas\w+"),
    "Volume Loss": (r"\bvolume loss\b", r"\bretraction\b", r"\bdistort\w+", r"\bshift\w*"),
    "Bone Loss": (r"\bosteopeni\w+", r"\bosteoporo\w+", r"\bdeminerali\w+", r"\bheight loss\b", r"\bloss of height\b"),
    "Foreign Body": (r"\bforeign bod\w+", r"\bshrapnel\b", r"\bbullet\w*", r"\bmetallic\b", r"\bjewelry\b"),
    "Pacemaker": (r"\bpace-?maker\b", r"\bicd\b", r"\bdefibrillator\b", r"\bleads?\b", r"\bpacing\b", r"\baicd\b"),
    "Sternotomy": (r"\bstern\w+ wires?\b", r"\bsternotom\w+", r"\bcerclage\b", r"\bwires\b"),
    "Hardware": (
        r"\bhardware\b",
        r"\bfusion\b",
        r"\bscrews?\b",
        r"\bplates?\b(?!-)",
        r"\brods?\b",
        r"\bprosthe\w+",
        r"\bstents?\b",
        r"\bvalve\b",
        r"\banchors?\b",
        r"\bimplants?\b",
    ),
    "Tube": (r"\btub(e|es|ing)\b", r"\btracheostom\w+", r"\bshunt\b", r"\bstimulator\b"),
}

HEADS: Final[tuple[str, ...]] = tuple(_PATTERNS)
"""Findings that the collection codes well enough to measure with."""
DEVICES: Final[frozenset[str]] = frozenset(
    {"Catheters", "Surgical Instruments", "Foreign Body", "Pacemaker", "Sternotomy", "Hardware", "Tube"}
)
"""What was put into a patient, or left behind; never a finding about another patient's image."""
_COMPILED: Final[Mapping[str, re.Pattern[str]]] = {
    head: re.compile("|".join(f"(?:{p})" for p in alternatives))
    for head, alternatives in (*_PATTERNS.items(), *_UNMEASURED.items())
}

# What ends a denial. A comma does not: denials are lists.
_CLAUSE: Final = re.compile(
    r"[.;:!?]+(?:\s+|$)|\b(?:but|however|although|though|except|otherwise|aside from|other than|apart from|while|"
    r"whereas)\b|,\s*(?=(?:there (?:is|are)|and there|with (?:mild|minimal|small|some|stable|left|right|bilateral))\b)"
)
_DENIAL_BEFORE: Final = re.compile(
    r"\b(?:no|without|negative for|free of|clear of|absent|absence of|not|nor|neither|rather than|lack of|"
    r"resolution of|resolved|devoid of|exclude|excludes|rule out)\b"
)
# "without change" and "not significantly changed" speak about an earlier
# study, and deny nothing that follows.
_NO_DENIAL: Final = re.compile(
    r"\b(?:no|not|without)(?: \w+){0,3} (?:change[sd]?|well|excluded|exclude)\b|\bcannot be excluded\b|\bno longer\b"
)
_DENIAL_AFTER: Final = re.compile(
    r"^[\w\s,/-]{0,60}\b(?:(?:is|are|was|were) (?:not|no longer) (?:seen|identified|present|evident|visualized|"
    r"demonstrated|appreciated|noted|detected)|(?:is|are) absent|(?:has|have) (?:resolved|cleared)|"
    r"(?:is|are|appears?) (?:\w+ and )?(?:normal|unremarkable|within normal limits|clear|sharp))\b"
)


@dataclass(frozen=True, slots=True)
class Reading:
    """The findings that a text is about."""

    present: frozenset[str]
    """Stated at least once."""
    absent: frozenset[str]
    """Denied, and nowhere stated."""


def read(text: str) -> Reading:
    """Find what a sentence or a whole report states and denies; a finding it does not mention is in neither set."""
    present: set[str] = set()
    absent: set[str] = set()
    for raw in _CLAUSE.split(text.lower()):
        clause = _NO_DENIAL.sub(lambda m: " " * len(m.group()), raw)
        cue = _DENIAL_BEFORE.search(clause)
        for head, pattern in _COMPILED.items():
            for match in pattern.finditer(clause):
                denied_before = cue is not None and cue.start() < match.end()
                denied = denied_before or _DENIAL_AFTER.match(clause[match.end() :]) is not None
                (absent if denied else present).add(head)
    # The collection does not code a calcified granuloma as a plain one as well.
    if "Calcified Granuloma" in present:
        present.discard("Granuloma")
    return Reading(frozenset(present), frozenset(absent - present))
