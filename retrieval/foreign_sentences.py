"""Which sentences of a report belong to its own patient and may not be said of another.

A drafted sentence is copied from somebody else's report. Anything in it that can only be known about *that* patient
(an earlier study, a date, a size, a name, what the lateral radiograph or the CT showed) would be false in the draft, so
such a sentence is dropped whole. Dropping is preferred to editing: a sentence with its comparison cut out is a sentence
that no radiologist wrote.

The reason is kept as a code, so that a reader can be told why a similar case's sentence was not used and a test can
count each kind. The expressions find kinds of wording, not persons: a bare surname is stopped by the vocabulary of the
index, which holds only words that several reports use.
"""

import re
from collections.abc import Mapping
from typing import Final, Literal

from retrieval.extraction.priors import find_prior_references

Reason = Literal[
    "DEIDENTIFIED",
    "NAME",
    "DATE",
    "MEASUREMENT",
    "PRIOR_REFERENCE",
    "OTHER_MODALITY",
    "HISTORY",
    "TECHNIQUE",
    "DEPENDENT",
    "LONE_DEVICE",
]
"""Why a sentence of a retrieved report may not be reused. Stable: audits store it.

TECHNIQUE speaks of the images of that study; DEPENDENT leans on the sentence before it ("these", "also", "otherwise").
Only a caller who sees all the retrieved reports can tell LONE_DEVICE.
"""

_DEIDENTIFIED: Final = re.compile(r"x{3,}|_{2,}|\[\s*\*\*|\*\*\]|\[(?:name|date|redacted|removed)\w*\]", re.I)
_NAME: Final = re.compile(
    r"\b(?:Dr|DR|Mr|Mrs|Ms|Prof)\.?\s+[A-Z]|\b(?:Dr|Prof)\b|\bM\.?D\.?(?=[\s.,]|$)|\b(?:[Dd]octor|[Pp]hysician|[Rr]adiologist|[Nn]urse|RN)\b"
)
_DATE: Final = re.compile(
    r"\b\d{1,2}[/-]\d{1,2}(?:[/-]\d{2,4})?\b(?!\s*(?:cm|mm))|\b(?:19|20)\d\d\b|\b\d{1,2}:\d{2}\b|"
    r"\b(?:january|february|march|april|june|july|august|september|october|november|december)\b|"
    r"\bin may\b|\b(?:jan|feb|mar|apr|may|jun|jul|aug|sept?|oct|nov|dec)\.?\s+\d|"
    r"\b(?:a\.?m\.?|p\.?m\.?)\s*(?:on|today|$)|\b(?:today|yesterday|tomorrow|hours?|days?|weeks?|months?|years?)\b",
    re.I,
)
_MEASUREMENT: Final = re.compile(
    r"\b\d+(?:[.,]\d+)?\s*-?\s*(?:cm|mm|centimet\w+|millimet\w+|ml|cc|french|fr|degrees?|%|percent)(?=\W|$)|"
    r"\b\d+(?:\.\d+)?\s*x\s*\d+|\b(?:sub)?centimet\w+|\bmillimet\w+|\bmeasur(?:es?|ed|ing|ements?)\b|\bcm\b|\bmm\b|\binch(?:es)?\b",
    re.I,
)
# "Normal for age" is said of anybody; it is blanked before the search.
_FOR_AGE: Final = re.compile(r"\bfor (?:the )?(?:patient\W?s? |stated )?age\b", re.I)
_OTHER_MODALITY: Final = re.compile(
    r"\b(?:ct|cta|mri?|pet|tomograph\w*|ultraso\w+|sonogra\w+|echocardio\w*|fluoroscop\w*|scintigra\w*|"
    r"mammogra\w*|angiogra\w*|barium|esophagram|bronchoscop\w*|scan)\b",
    re.I,
)
_HISTORY: Final = re.compile(
    r"\b(?:histor(?:y|ies)|status[ -]post|s/p|post-?\s?(?:op\w*|surg\w*|traum\w*|radia\w*|biops\w*|procedur\w*)|"
    r"resection|lobectomy|pneumonectomy|mastectomy|thoracotomy|cabg|bypass|cholecystectomy|transplant\w*|"
    r"surg(?:ery|eries)|biops\w+|radiation|chemo\w*|dialysis|known|patient\w*|clinical\w*|symptom\w*|"
    r"pain|cough|fever|year[- ]old|y/o|man|woman|male|female|gentleman|lady|boy|girl|"
    r"recommend\w*|suggest(?:ed)? (?:follow|clinical|ct)|advis\w+|correlat\w+|consider|"
    r"if (?:desired|indicated|clinically)|"
    r"discuss\w*|notif\w+|called|call|telephon\w*|phone|communicat\w*|inform(?:ed)?|"
    r"placement|placed|removed|removal|inserted|insertion|underwent|treated|treatment|diagnos\w+)\b",
    re.I,
)
_TECHNIQUE: Final = re.compile(
    r"\b(?:views?|images?|films?|projections?|radiographs?|exam(?:ination)?s?|stud(?:y|ies)|technique|technical\w*|"
    r"rotat(?:ed|ion)|motion|lordotic|exposure|penetrat\w+|artifacts?|overlying (?:soft|monitor|leads)|"
    r"body habitus|habitus|limited|obscur\w+|portable|supine|upright|semi-?upright|lateral (?:chest|radiograph\w*)|"
    r"frontal|oblique|ap|pa|nipple|artifactual|submitted|obtained|pelvis|abdomen and|shoulder)\b",
    re.I,
)
_DEPENDENT: Final = re.compile(
    r"^(?:and|or|but|also|additionally|however|therefore|otherwise|specifically|this|these|those|it|they|"
    r"which|appearances?|in addition|of note|note(?: is made)?|chest|impression|findings)\b|"
    r"\b(?:also|as well|otherwise|as described|described above|above|aforementioned|other than|the same|elsewhere)\b",
    re.I,
)

# In the order in which a reader should hear of them: what identifies a person first, what merely makes the sentence
# wrong after it. A reference to an earlier study is found by the extractor's own lexicon, which stands between them.
_PERSONAL: Final[Mapping[Reason, re.Pattern[str]]] = {
    "DEIDENTIFIED": _DEIDENTIFIED,
    "NAME": _NAME,
    "DATE": _DATE,
    "MEASUREMENT": _MEASUREMENT,
}
_MISPLACED: Final[Mapping[Reason, re.Pattern[str]]] = {
    "OTHER_MODALITY": _OTHER_MODALITY,
    "HISTORY": _HISTORY,
    "TECHNIQUE": _TECHNIQUE,
    "DEPENDENT": _DEPENDENT,
}


def foreign(sentence: str) -> Reason | None:
    """The first reason why this sentence belongs to another patient, or None."""
    searched = _FOR_AGE.sub(" ", sentence)
    for reason, pattern in _PERSONAL.items():
        if pattern.search(searched):
            return reason
    if find_prior_references(sentence):
        return "PRIOR_REFERENCE"
    return next((reason for reason, pattern in _MISPLACED.items() if pattern.search(searched)), None)
