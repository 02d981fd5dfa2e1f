"""The words that speak of an earlier study, each with the surroundings that make it one or keep it from being one.

The same word is often static: "increased interstitial markings", "worse on the left", "clear lungs", "prior sternotomy"
and "follow-up to document resolution" need no earlier study. So a word counts only when what stands right before and
right after it agrees. Surroundings are looked at through a window of fixed width, which keeps the search linear.
"""

import re
from typing import Final, Literal, NamedTuple

Kind = Literal["explicit", "unchanged", "worse", "better", "event"]
"""Names an earlier study, says no change, worse, better, or that something came, went or moved."""
Role = Literal["study", "adjective", "adverb", "verb", "noun", "gone", "stays"]
"""How the word stands in its sentence, hence how it can be taken out: "stays" is a verb that becomes "is"; "gone" says
that the thing is no longer there; "study" names a study."""


class Cue(NamedTuple):
    """One use of a word that counts; patterns ending in `_` must match, those starting with `no_` must not."""

    kind: Kind
    role: Role
    before_: re.Pattern[str] | None = None
    after_: re.Pattern[str] | None = None
    no_before: re.Pattern[str] | None = None
    no_after: re.Pattern[str] | None = None


def _before(pattern: str) -> re.Pattern[str]:
    return re.compile(rf"(?<!\w)(?:{pattern})\s*\Z", re.I)


def _after(pattern: str) -> re.Pattern[str]:
    return re.compile(rf"\s*(?:{pattern})(?!\w)", re.I)


DEGREE: Final = (
    r"(?:(?!\w*megaly\b|anomaly\b|only\b|early\b)\w+ly|somewhat|much|also|overall|now|even|quite|very|otherwise)"
)
"""Adverbs that qualify a change and go with it."""
EXTENT: Final = (
    r"(?:the\s+)?(?:overall\s+)?(?:size|extent|number|conspicuity|prominence|severity|degree|volume|amount|appearance|"
    r"position|positioning|configuration|distribution|contour|alignment|location|caliber|interval)"
)
"""In what respect something changed or did not."""
_DATE: Final = (
    r"(?:x{3,}|\d{1,2}[/-]\d{1,2}(?:[/-]\d{2,4})?|(?:19|20)\d\d|yesterday|"
    r"(?:january|february|march|april|may|june|july|august|september|october|november|december)(?:\s+\d+)?)"
)
EXAM: Final = (
    r"(?:stud(?:y|ies)|exam(?:ination)?s?|radiograph\w*|films?|x-?rays?|x-x{3,}|images?|imaging|cts?|scans?|mris?|"
    r"cxrs?|views?|reports?|tomogra\w+|pet|ultrasound|chest(?=\s*(?:[.,;:)]|\Z|from|dated|on\b|x{3,})))"
)
_OF_EXAM: Final = (
    r"(?:chest|portable|frontal|lateral|pa|ap|and|two|single|one|view|available|outside|abdomen|abdominal|pelvis|thorax|"
    r"thoracic|neck|most|recent|ct|cta|pet|mri|x-?ray|x-?x{3,}|x{3,}|plain|same|day|rib|spine|radiographic|[\d/-]+)"
)
STUDY: Final = (
    rf"(?:(?:(?:the|a|an|any|most|multiple|his|her|patient's|several|numerous|immediate|immediately)\s+)*"
    rf"(?:prior|previous|preceding|earlier|comparison|last|recent|old|outside)s?\b"
    rf"(?:[\s/]+{_OF_EXAM}\b)*(?:[\s/]+{EXAM}\b)*(?:\s+stud\w+)?"
    rf"(?:,?\s+(?:(?:from|of|dated|on|performed(?:\s+on)?|done|at|obtained(?:\s+on)?)\s+)?{_DATE}\b(?:,?\s+{_DATE}\b)*)?"
    rf"|(?:the\s+|an?\s+)?(?:{_OF_EXAM}\s+)*{EXAM}\s+(?:of|from|dated|on|performed\s+on)\s+{_DATE}\b"
    r")"
)
"""An earlier study as it is named."""
SINCE: Final = rf"(?:at\s+least\s+)?(?:{_DATE}\b(?:,?\s+{_DATE}\b)*|then\b|that\s+time\b)(?:'s\s+{EXAM})?"
"""A date that stands for an earlier study after "since" or "from"."""

_SIDE: Final = (
    r"(?:on|in|at|along|within|toward|towards|over|involving|throughout|centrally|peripherally|inferiorly|superiorly|"
    r"than\s+(?:that\s+(?:on|of)\s+|on\s+|in\s+)?(?:the\s+)?(?:right|left|other|upper|lower|contralateral|opposite|usual|"
    r"expected|typical|normal))"
)
_OTHER_SIDE: Final = _after(
    r"(?:made\s+)?(?:to|with)\s+(?:that\s+(?:on|of)\s+)?(?:the\s+)?(?:right|left|contralateral|opposite|other|normal|"
    r"expected|upper|lower|rest|remainder|adjacent|soft|surrounding|background|those|that)"
)
_FUTURE: Final = _before(
    r"(?:(?:to|should|until|ensur\w+|assur\w+|document\w*|confirm\w*|recommend\w*|suggest\w*\s+follow\w*|"
    r"follow-?\s?up|if|advis\w+|could|would)\b[^.;]{0,60})"
)
_NONE: Final = _before(r"(?:no|without|any|not)\s+(?:(?:a|any|other|available|relevant)\s+)*")
_NAMED: Final = (
    r"(?:effusions?|pneumothora(?:x|ces)|consolidations?|atelectas[ie]s|o?edema|infiltrates?|airspace disease|nodules?|"
    r"mass(?:es)?|collapse|congestion|cardiomegaly|opacification|opacit(?:y|ies))"
)
_HAS: Final = rf"(?:has|have|had|having)\s+(?:(?:{DEGREE}|since|been|become)\s+)*"
_HAS_BEEN: Final = rf"(?:(?:has|have|had|having)(?:\s+{DEGREE}|\s+since)*\s+been|was|were)\s+(?:{DEGREE}\s+)*"
_IS: Final = rf"(?:is|are|appears?|seems?|looks?|becom\w+|was|were)\s+(?:to\s+be\s+)?(?:{DEGREE}\s+)*"
_PLAIN_CHANGE: Final = (
    r"(?:significant|interval|appreciable|relevant|substantial|definite|gross|major|marked|obvious|apparent|real|great|"
    r"much|overall|demonstrable|radiographic|detectable|discernible|visible|clear|other|further|important|essential|"
    r"convincing|dramatic|notable|considerable|particular|acute interval|new)"
)
_GOES_ON: Final = _after(
    r"(?:to\s+)?(?:follow\w*|surveillance|attention|monitor\w*|radiograph\w*|imag\w+|clinical\w*|evaluat\w+|assess\w*|"
    r"with|at|into|along|through|across|inferiorly|superiorly|below|beyond|past|down|treatment|care|observation)"
)
_ORGAN: Final = _before(rf"(?:gallbladder|lobe|breasts?|spleen|kidney|valves?|hip|shoulder|rib)\s+{_HAS_BEEN}")
_TOLD: Final = r"(?:symptoms?|dyspnea|cough|pain|shortness|fevers?|clinical|condition|hypoxia|respiratory|concern)"


def _grows(kind: Kind) -> tuple[Cue, ...]:
    """Increased and decreased: static before a density, a change after "has" and before a thing that comes and goes."""
    return (
        Cue(kind, "adjective", before_=_before(_HAS)),
        Cue(kind, "adjective", after_=_after(rf"in\s+{EXTENT}|from|since|(?:when\s+|as\s+)?compared")),
        Cue(kind, "adjective", after_=_after(rf"(?:[a-z-]+\s+){{0,3}}{_NAMED}(?<!opacity)(?<!opacities)")),
        Cue(kind, "adjective", before_=_before(rf"{_NAMED}\s+{_IS}"), no_after=_after(r"density")),
    )


def _amount(kind: Kind) -> tuple[Cue, ...]:
    dense = r"markings?|densit\w+|opacit\w+|lucency|diameter|attenuation|translucency|vascularity|sensitivity|kyphosis"
    return (
        Cue(
            kind, "noun", after_=_after(r"(?:/\w+\s+)?(?:in|of)"),
            no_after=_after(rf"(?:in|of)\s+(?:the\s+)?(?:[\w-]+\s+){{0,4}}(?:{dense})"),
            no_before=_before(r"may|could|can|to|will|would|which|that"),
        ),
        Cue(kind, "noun", before_=_before(r"interval"), after_=_after(r"in|of")),
    )  # fmt: skip


_STABLE: Final = Cue(
    "unchanged", "adjective",
    no_before=_before(r"clinically|ha?emodynamically|medically|mechanically|(?:patient|condition)\s+is"),
    no_after=_after(r"patient|condition|vital|ha?emodynamic"),
)  # fmt: skip
_UNCHANGED: Final = Cue("unchanged", "adjective")
_AGAIN: Final = Cue("unchanged", "adverb")
_CHANGE: Final = Cue(
    "unchanged", "adjective",
    before_=_before(rf"(?:no|without|not|with\s+no|little)\s+(?:any\s+)?(?:{_PLAIN_CHANGE}\s+)*"),
    no_after=_after(r"of|to\s+suggest|suggest\w*|consistent|related|compatible|seen"),
)  # fmt: skip
_PERSISTS: Final = Cue("unchanged", "verb", no_before=_before(r"(?:if|should|until|unless|that|concern)\b[^.;]{0,60}"))
_PERSISTENT: Final = Cue("unchanged", "adjective", no_after=_after(_TOLD))
_REMAINS: Final = Cue(
    "unchanged", "stays", no_before=_before(r"should|must|may|the|foreign|might|could|can|which\s+may"),
    no_after=_after(r"(?:an?\s+|in\s+)?(?:\w+\s+)?(?:possib\w+|consideration|concern|differential|uncertain|unclear|"
                    r"indeterminate|to\s+be|unknown)"),
)  # fmt: skip
_CONTINUED: Final = Cue("unchanged", "adjective", no_after=_GOES_ON, no_before=_FUTURE)
_CONTINUES: Final = Cue("unchanged", "verb", no_after=_GOES_ON, no_before=_FUTURE)
_RE: Final = (Cue("unchanged", "adjective", before_=_before(r"re-")),)
_BETTER: Final = Cue(
    "better", "adjective", no_before=re.compile(_FUTURE.pattern + r"|\b(?:may|can|for|with\s+\w+\s+for)\s*\Z", re.I)
)
_RESOLVED: Final = Cue("better", "gone", no_before=_FUTURE, no_after=_after(r"by|for"))
_RESOLUTION: Final = Cue(
    "better", "gone", after_=_after(r"(?:in|of)\b|[.,;]|\Z"),
    no_before=re.compile(_FUTURE.pattern + r"|(?:high|low|spatial|temporal|image|limited|poor)[\s-]*\Z", re.I),
)  # fmt: skip
_WORSE: Final = Cue("worse", "adjective", no_after=_after(rf"{_SIDE}|{_TOLD}"), no_before=_before(r"if|may|any"))
_LARGER: Final = tuple(
    Cue("worse", "adjective", before_=_before(start), no_after=_after(rf"{_SIDE}|of|left|right|one"))
    for start in (_IS, rf"(?:slightly|mildly|now|somewhat|{_HAS})\s*")
)
_MORE: Final = (
    Cue("worse", "adjective", before_=_before(rf"(?:{DEGREE}\s+)?more"), no_after=_after(rf"{_SIDE}|than|most")),
    Cue("better", "adjective", before_=_before(rf"(?:{DEGREE}\s+)?less"), no_after=_after(rf"{_SIDE}|than|most")),
    Cue("worse", "adjective", before_=_before(r"more"), after_=_after(rf"than\s+(?:on\s+)?{STUDY}|than before")),
    Cue("better", "adjective", before_=_before(r"less"), after_=_after(rf"than\s+(?:on\s+)?{STUDY}|than before")),
)
_MOVED: Final = (Cue("event", "verb", before_=_before(_HAS_BEEN), no_before=_ORGAN),)
_REMOVED: Final = (Cue("event", "gone", before_=_before(_HAS_BEEN), no_before=_ORGAN),)
_PRIOR: Final = (
    Cue("explicit", "study", after_=_after(rf"(?:{_OF_EXAM}\s+)*{EXAM}"), no_before=_NONE),
    Cue(
        "explicit", "study",
        before_=_before(r"(?:to|from|than|with|since|on|versus|vs\.?|in)\s+(?:(?:the|any|multiple|most)\s+)*"),
        after_=_after(r"[.,;:)]|\Z|x{3,}|and\b|but\b|with\b|which\b|given\b|is\b|are\b"),
        no_before=_NONE,
    ),
)  # fmt: skip
_OLD_STUDY: Final = _PRIOR[:1]
_COMPARED: Final = (
    Cue(
        "explicit", "study", no_before=_before(r"(?:no|without|none|not)\b[^.;]{0,50}"),
        no_after=re.compile(
            _OTHER_SIDE.pattern + r"|\s*:?\s*(?:(?:is|are|\w*exam\w*|stud\w+|films?)\s+)*(?:none|not\s|un)", re.I
        ),
    ),
)  # fmt: skip
_PREVIOUSLY: Final = Cue(
    "explicit", "adverb",
    no_after=_after(r"healed|treated|resected|repaired|fractured|operated|mentioned|stated|placed"),
)  # fmt: skip
_NEW: Final = Cue(
    "event", "adjective",
    no_after=_after(r"(?:york|jersey|mexico|hampshire|zealand|orleans|england|delhi|haven|guinea|brunswick)"),
)  # fmt: skip
_SINCE: Final = Cue(
    "explicit", "study",
    after_=_after(rf"(?:(?:at|the|a|an|prior|previous|last|least|most|recent|comparison|and|lateral|chest|abdomen|ct|that|"
                  rf"his|her)\s+)*(?:{EXAM}|prior|previous|comparison|last|then|time|yesterday|admission|{_DATE})"),
)  # fmt: skip
_EXAM_OF: Final = (
    Cue(
        "explicit", "study",
        after_=_after(rf"(?:(?:scan|chest|exam\w*|study)\s+)?(?:from|dated|performed\s+on)\s+{_DATE}"),
    ),
)  # fmt: skip
_SIMILAR: Final = (
    Cue("unchanged", "adjective", after_=_after(r"[^.;]{0,40}\b(?:prior|previous|before|comparison|earlier|last)")),
    Cue(
        "unchanged", "adjective", after_=_after(rf"in\s+{EXTENT}|appearance|appearing"),
        no_after=_after(rf"(?:in\s+{EXTENT}|appear\w+)\s+(?:to|as|of)\s+(?:that\s+(?:on|of)\s+)?(?:the\s+)?(?:right|left|"
                        r"other|opposite|contralateral|those|changes|finding)"),
    ),
    Cue("unchanged", "adjective", before_=_before(_IS), after_=_after(r"[.,;]|\Z")),
)  # fmt: skip
_INTERVAL: Final = Cue(
    "explicit", "noun",
    no_before=_before(r"(?:short|term|regular|month|week|year|qt|pr|time|appropriate|\d+|following|defined)[\s-]*"),
    no_after=_after(r"follow\w*|surveillance|repeat|imaging|radiograph\w*|chest"),
)  # fmt: skip
_INTERIM: Final = Cue("explicit", "study", before_=_before(r"in\s+the|during\s+the|the"))


def _table(*rows: tuple[str, tuple[Cue, ...] | Cue]) -> dict[str, tuple[Cue, ...]]:
    return {word: cues if not isinstance(cues, Cue) else (cues,) for words, cues in rows for word in words.split()}


CUES: Final[dict[str, tuple[Cue, ...]]] = _table(
    ("unchanged unaltered", _UNCHANGED),
    ("stable", _STABLE),
    ("stability", Cue("unchanged", "noun", after_=_after("of|from|since|compared|in|over"), no_before=_FUTURE)),
    ("constant", Cue("unchanged", "adjective", before_=_before(_IS))),
    ("stably", _AGAIN),
    ("again", _AGAIN),
    ("still", Cue("unchanged", "adverb", no_after=_after(r"images?|frames?"))),
    ("change changes", _CHANGE),
    ("changed", (Cue("unchanged", "adjective", before_=_before(rf"(?:not|n't|un-)\s*(?:{DEGREE}\s+)*")),
                 Cue("event", "verb", before_=_before(_HAS)), Cue("event", "verb", after_=_after("from|since|in")))),
    ("similar", _SIMILAR),
    ("redemonstrated reidentified revisualized", _UNCHANGED),
    ("redemonstrates redemonstrate", Cue("unchanged", "verb")),
    ("redemonstration", Cue("unchanged", "noun")),
    ("demonstrated identified visualized", _RE),
    ("demonstration", Cue("unchanged", "noun", before_=_before("re-"))),
    ("persists persist persisted", _PERSISTS),
    ("persistent persisting", _PERSISTENT),
    ("persistence", Cue("unchanged", "noun", no_before=_FUTURE)),
    ("persistently", _AGAIN),
    ("remains remain remained", _REMAINS),
    ("continued continuing", _CONTINUED),
    ("continues continue", _CONTINUES),
    ("residual", Cue("unchanged", "adjective", no_after=_after(r"(?:\w+\s+){0,2}(?:contrast|barium|volume|thym\w+)"))),
    ("known", Cue("unchanged", "adjective", no_after=_after("as|to|whether"),
                  no_before=_before(r"not|no|well|is|are|also|if|without|any|otherwise|also\s+be"))),
    ("baseline", Cue("explicit", "study", before_=_before(r"(?:from|to|at|than|with|above|below)\s+(?:\S+\s+)?"))),
    ("increasing enlarging", Cue("worse", "adjective", no_before=_FUTURE)),
    ("decreasing diminishing", Cue("better", "adjective", no_before=_FUTURE)),
    ("worse worsened", _WORSE),
    ("worsening", (Cue("worse", "noun", after_=_after("of|in"), no_before=_FUTURE), _WORSE)),
    ("progressed", Cue("worse", "verb", before_=_before(_HAS))),
    ("progressing", _WORSE),
    ("progression", Cue("worse", "noun", no_before=_FUTURE)),
    ("progressively", Cue("worse", "adverb")),
    ("increased", _grows("worse")),
    ("decreased diminished reduced lessened", _grows("better")),
    ("increase", _amount("worse")),
    ("decrease", _amount("better")),
    ("larger bigger", _LARGER),
    ("smaller", tuple(cue._replace(kind="better") for cue in _LARGER)),
    ("pronounced conspicuous extensive prominent confluent apparent evident", _MORE),
    ("enlarged grown", Cue("worse", "verb", before_=_before(rf"(?:has|have)\s+(?:{DEGREE}\s+)*"))),
    ("improved improving", _BETTER),
    ("improvement", _BETTER._replace(role="noun")),
    ("resolved cleared", _RESOLVED),
    ("resolving", Cue("better", "adjective", no_before=_FUTURE)),
    ("resolution", _RESOLUTION),
    ("clearing", _RESOLUTION),
    ("regressed", Cue("better", "verb", before_=_before(_HAS))),
    ("regression", Cue("better", "noun", no_before=_FUTURE)),
    ("reexpanded", Cue("better", "gone")),
    ("reexpansion", Cue("better", "gone")),
    ("expanded expansion", Cue("better", "gone", before_=_before("re-"))),
    ("new newly", _NEW),
    ("now", Cue("event", "adverb", no_after=_after(r"recommend\w*"))),
    ("longer", Cue("event", "gone", before_=_before("no"))),
    ("developed", Cue("event", "verb", before_=_before(_HAS))),
    ("development appearance",
     Cue("event", "noun", before_=_before(rf"{_HAS}(?:\w+\s+)?|interval"), after_=_after("of"))),
    ("placed inserted advanced withdrawn retracted exchanged repositioned replaced discontinued", _MOVED),
    ("removed extubated", _REMOVED),
    ("removal", Cue("event", "gone", no_before=_before(r"recommend\w*|for|consider|prior\s+to|surgical|before"))),
    ("extubation", Cue("event", "gone")),
    ("reaccumulation reaccumulated", Cue("event", "noun")),
    ("interval", _INTERVAL),
    ("interim", _INTERIM),
    ("compared comparison comparisons", _COMPARED),
    ("prior previous earlier preceding priors", _PRIOR),
    ("old outside last recent", _OLD_STUDY),
    ("previously", _PREVIOUSLY),
    ("before", Cue("explicit", "study", before_=_before("as|than|from|like"))),
    ("since", _SINCE),
    ("ct cta radiograph radiographs study exam examination film films cxr scan mri", _EXAM_OF),
    ("yesterday", Cue("explicit", "study")),
)  # fmt: skip
"""Every word that can be a cue, in lower case, with its uses in the order in which they are tried."""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


BARE: Final = _words(
    """
    a an and at the of in on is are was were be been has have to with for or its this these there that both each
    all as by from heart cardiac size sizes shape silhouette silhouettes mediastinum mediastinal cardiomediastinal
    cardiomediastinum cardiopulmonary contour contours hilum hila hilar pulmonary venous vein vasculature
    vascularity vascular vessels lung lungs volume volumes aeration inspiration expansion left right bilateral
    upper lower middle mid basilar basal lobe lobes base bases zone zones apex apices apical pleural pleura space
    spaces bone bones bony osseous structure structures soft tissue tissues thorax thoracic chest aorta aortic
    trachea spine diaphragm hemidiaphragm hemidiaphragms abdomen abdominal skeletal skeleton appearance study exam
    examination radiograph radiographs radiographic radiographically film view views frontal lateral pa ap
    findings finding position positions positioning location interstitial markings parenchyma parenchymal
    cardiothoracic ratio outline border borders configuration joint joints rib ribs clavicle shoulder shoulders
    region area areas remainder remaining rest overall visualized visible central main great other side sided
    otherwise lines tubes support supporting monitoring apparatus device devices hardware show shows demonstrate
    demonstrates seen noted evident again also change changes degree amount extent respect hemithorax wall
    regional bronchovascular image images portable two one level limits field fields air pattern alignment
    technique time condition disease process abnormality angle angles costophrenic portion portions imaged unit
    pressure effort patient patient's s x xx xxx xxxx given technical factors differences considering course
    """
)
"""Names of structures and studies, with the words between them: a sentence of nothing else says nothing."""
