"""Splitting reports into sentences, and saying which of them belong to another patient.

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

# A full stop after one of these does not end a sentence.
_ABBREVIATIONS: Final[frozenset[str]] = frozenset({
    "dr", "mr", "mrs", "ms", "prof", "st", "vs", "approx", "e.g", "i.e", "eg", "ie", "etc", "ca", "fig", "a.m", "p.m",
    "am", "pm", "resp", "incl",
})  # fmt: skip
_BOUNDARY: Final = re.compile(r"[.!?]+(?=\s|$)|[.!?]+(?=[A-Z][a-z])|\n+|;\s+(?=[A-Z])")
_ENUMERATION: Final = re.compile(r"^\s*(?:\(?\d{1,2}[.)]\s+|[-*\u2022]\s+)+")
_LAST_WORD: Final = re.compile(r"([A-Za-z][A-Za-z.]*|\d+)$")
_LONGEST_WORD = 40
"""How far back a last word is looked for, so that a long text without blanks is read as fast as any other."""


def split(text: str) -> tuple[str, ...]:
    """Sentences in order, without list numbers, each ending in one full stop."""
    pieces: list[str] = []
    start = 0
    for match in _BOUNDARY.finditer(text):
        if match.group().startswith(".") and not _ends(text[start : match.start()]):
            continue
        pieces.append(text[start : match.start()])
        start = match.end()
    pieces.append(text[start:])
    sentences: list[str] = []
    for piece in pieces:
        body = " ".join(_ENUMERATION.sub("", piece).split()).strip(" ,;").rstrip(" .")
        # Two letters are the least that can be said in words; the rest are stray numbers and marks.
        if sum(ch.isalpha() for ch in body) >= 2:
            sentences.append(body[0].upper() + body[1:] + ".")
    return tuple(sentences)


def _ends(before: str) -> bool:
    """Whether the full stop after `before` really ends a sentence."""
    last = _LAST_WORD.search(before, max(0, len(before) - _LONGEST_WORD))
    if last is None:
        return True
    word = last.group(1).lower()
    if word in _ABBREVIATIONS:
        return False
    if word.isdigit():
        # "1." opening a list item; a number that ends a sentence has words before it.
        return bool(re.search(r"[A-Za-z]", before[: last.start()]))
    # Initials ("J. Smith"); 'a' alone is more often a typing slip than an initial.
    return not (len(word) == 1 and word.isalpha() and word != "a")


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
# "Prior granulomatous disease" describes what the image shows now, and "normal for age" is said of anybody. They are
# blanked before the search.
_HARMLESS: Final = re.compile(
    r"\b(?:prior|previous|remote|old)\s+(?:healed\s+)?(?:granulomat\w+|infecti\w+|histoplasm\w+|inflammat\w+)|"
    r"\bfor (?:the )?(?:patient\W?s? |stated )?age\b",
    re.I,
)
_PRIOR: Final = re.compile(
    r"\b(?:un-?changed|stable|stably|interval(?:ly)?|compar\w+|again|new|newly|previous(?:ly)?|prior|earlier|"
    r"improv\w+|worsen\w*|worse|progress\w*|regress\w*|persist\w*|residual|redemonstrat\w+|re-demonstrat\w+|"
    r"demonstrated again|remain(?:s|ed|ing)?|continu\w+|resol(?:ved|ving|ution)|since|now|no longer|still|"
    r"follow-?\s?up|recent(?:ly)?|last|baseline|similar|developed|developing|chang(?:e|ed) (?:from|in|since)|"
    r"(?:no|without|not|little)\s+(?:\w+\s+){0,2}chang(?:e|ed)|increased (?:from|since|in size)|"
    r"decreased (?:from|since|in size)|more (?:prominent|pronounced|conspicuous)|less (?:prominent|conspicuous)|"
    r"old (?:films?|exam\w*|stud\w+)|(?:has|have) (?:been|increased|decreased|cleared|enlarged)|"
    r"(?:increas|decreas|enlarg|evolv)ing|stability|unaltered|before)\b",
    re.I,
)
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
# wrong after it.
_RULES: Final[Mapping[Reason, re.Pattern[str]]] = {
    "DEIDENTIFIED": _DEIDENTIFIED,
    "NAME": _NAME,
    "DATE": _DATE,
    "MEASUREMENT": _MEASUREMENT,
    "PRIOR_REFERENCE": _PRIOR,
    "OTHER_MODALITY": _OTHER_MODALITY,
    "HISTORY": _HISTORY,
    "TECHNIQUE": _TECHNIQUE,
    "DEPENDENT": _DEPENDENT,
}


def foreign(sentence: str) -> Reason | None:
    """The first reason why this sentence belongs to another patient, or None."""
    searched = _HARMLESS.sub(" ", sentence)
    for reason, pattern in _RULES.items():
        if pattern.search(searched):
            return reason
    return None
