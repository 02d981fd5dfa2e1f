"""What of a report belongs to an earlier study, and the report without it.

`find_prior_references` gives the cues, `standalone` the sentences that can be said of this image alone. A sentence is
mended only where a cue can be taken out whole and what is left still says something: "stable cardiomegaly" becomes
"Cardiomegaly.". Nothing is concluded: that a normal structure is unchanged does not make it normal, "no new nodule"
does not deny a nodule, and what has resolved is not said to be absent. Such a sentence is left out, as is every one
that after mending still holds a cue or has lost its grammar. Words are only taken away; what is put in is "is", "are",
an article, and "no" for "without".
"""

import re
from typing import Final, NamedTuple

from retrieval.extraction.prior_lexicon import BARE, CUES, DEGREE, EXTENT, SINCE, STUDY, Cue, Kind
from retrieval.extraction.sentences import sentence_spans

_WINDOW = 96
"""How far to either side of a word its surroundings are read."""
_WORD: Final = re.compile(r"[A-Za-z]+")
_LOWER_WORD: Final = re.compile(r"[a-z]+")
_CUE_WORDS: Final = frozenset(CUES)


class PriorReference(NamedTuple):
    """Words that can only be known from an earlier study."""

    kind: Kind
    """What they say of it."""
    start: int
    """First character of the cue."""
    end: int
    """One past its last character."""


class Standalone(NamedTuple):
    """A report without what belongs to an earlier study, and what that took."""

    sentences: tuple[str, ...]
    """What remains, in order; each ends in a stop."""
    kept: int
    """Sentences that held no cue."""
    rewritten: int
    """Sentences mended."""
    dropped: int
    """Sentences left out, those included that lean on one left out ("this is ...")."""


def find_prior_references(text: str) -> list[PriorReference]:
    """The cues in the order of the text, overlapping ones included; empty for most sentences."""
    return [PriorReference(cue.kind, start, end) for cue, start, end, _, _ in _cues(text)]


def _cues(text: str) -> list[tuple[Cue, int, int, int, int]]:
    """Each cue with its span and the span of the one word that made it count."""
    # Most reports hold none of the words; one look at the set of their words settles it.
    if _CUE_WORDS.isdisjoint(_LOWER_WORD.findall(text.lower())):
        return []
    found: list[tuple[Cue, int, int, int, int]] = []
    for word in _WORD.finditer(text):
        cues = CUES.get(word.group().lower())
        if cues is None:
            continue
        start, end = word.span()
        before, after = text[max(0, start - _WINDOW) : start], text[end : end + _WINDOW]
        for cue in cues:
            preceding = cue.before_.search(before) if cue.before_ else None
            following = cue.after_.match(after) if cue.after_ else None
            if (
                (cue.before_ and not preceding)
                or (cue.after_ and not following)
                or (cue.no_before and cue.no_before.search(before))
                or (cue.no_after and cue.no_after.match(after))
            ):
                continue
            first = start - len(before) + preceding.start() if preceding else start
            last = end + following.end() if following and cue.role == "study" else end
            found.append((cue, first, last, start, end))
            break
    return found


# While a sentence is mended, one character stands for each word taken out, so that the rules below are about grammar.
_ADJ, _NOUN, _VERB, _GONE, _CHANGE, _STUDY, _ADVERB = "\x01", "\x02", "\x03", "\x04", "\x05", "\x06", "\x07"
_MARKS: Final = {"adjective": _ADJ, "noun": _NOUN, "verb": _VERB, "gone": _GONE, "adverb": _ADVERB}
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]+")
_MARK: Final = re.compile(r"[\x01-\x07]")
_IS: Final = (
    r"(?:is|are|was|were|appears?|seems?|looks?|has|have|(?:has|have) been|(?:is|are|appears?) (?:to be|being))"
)
_TAKEN: Final = r"(?:seen|noted|present|demonstrated|visualized|visible|identified|described|shown|evident|imaged)"
_TAIL: Final = re.compile(
    rf",?\s*(?:\b(?:(?:which|that|and)\s+)?(?:(?:is|are|was|were)\s+)?(?:also\s+)?(?:not\s+)?(?:as\s+)?"
    rf"(?:more\s+readily\s+|better\s+|also\s+)?{_TAKEN}\s+(?:on|in|at)\s+{STUDY}"
    rf"|\b(?:when|as|if)?\s*\b(?:compared|in comparison|comparing|comparison)\s+(?:made\s+)?(?:to|with)\s+{STUDY}"
    rf"|\b(?:from|since|to|than)\s+{SINCE}"
    rf"|\b(?:dating\s+)?(?:back\s+)?(?:from|since|to|versus|vs\.?|than(?:\s+on)?|with|as|on)\s+"
    rf"(?:that\s+(?:of|on)\s+)?{STUDY}"
    rf"|\b(?:in|during|over) the (?:interval|interim)|\b(?:as|than|from) before)",
    re.I,
)
_OPENING: Final = re.compile(
    rf"^(?:(?:when\s+|as\s+)?(?:compared|in comparison|comparing)\s+(?:to|with)\s+{STUDY}|(?:since|from)\s+{STUDY}|"
    rf"in the (?:interval|interim))\s*,?\s*",
    re.I,
)
_UNCHANGING: Final = re.compile(
    rf"\b(?:(?:there\s+(?:is|are|has been|have been)|with|shows?|demonstrates?|has|have)\s+)?"
    rf"(?:no|without|not|little)\s+(?:any\s+)?(?:(?!in\b|of\b)[a-z]+\s+|{_ADJ}\s+|{_NOUN}\s+){{0,3}}{_CHANGE}",
    re.I,
)
_NOT_CHANGED: Final = re.compile(
    rf"\b(?:(?:has|have|had|is|are)\s+)?not\s+(?:{DEGREE}\s+)*{_CHANGE}|\bun-\s*{_CHANGE}", re.I
)
_RESPECT: Final = re.compile(
    rf"({_ADJ}|{_VERB}),?\s+in\s+(?:{EXTENT})\b(?:\s+(?:and|or)\s+(?:{EXTENT})\b)?(?!\s+of\b)", re.I
)
_LOOKS: Final = (
    r"(?:appearance|size|position|positioning|configuration|extent|number|amount|distribution|alignment|course)"
)
_APPEARANCE: Final = re.compile(
    rf"(?:(?<!\w)(?:the|an?)\s+)?{_ADJ}\s+(?:in\s+)?(?:the\s+)?(?:{_LOOKS}|{_ADJ})\s+of\s+(?:the\s+)?|"
    rf"{_ADJ}\s+in\s+(?:the\s+)?|{_ADJ}\s+appearing\s+",
    re.I,
)
_ATTRIBUTE: Final = re.compile(rf"(?:(?<!\w){DEGREE}\s+)?{_ADJ}(?:\s+(?:and|or)\s+{_ADJ})*", re.I)
_TWO: Final = re.compile(rf"(?<!\w)(?:{DEGREE}\s+)?{_ADJ}\s*,?\s+(?:and|but|or)\s+(?=[a-z])", re.I)
_ALONE: Final = re.compile(rf",\s*(?:{DEGREE}\s+)?{_ADJ}\s*,(?=\s+(?:is|are|was|were|may)\b)", re.I)
_ADDED: Final = re.compile(rf",?\s+(?:with|and)\s+(?:an?\s+|the\s+)?(?:{DEGREE}\s+)?{_ADJ}\s+([^{_ADJ}]*)$", re.I)
_SUBJECT: Final = re.compile(
    rf"^(?:there\s+(?:is|are)\s+)?(?:the\s+|an?\s+)?(?:{DEGREE}\s+)?{_ADJ}\s+(?P<what>[^{_ADJ}]*?)\s+"
    rf"(?P<rest>(?:with(?:\s+no)?|without)\s.*)$",
    re.I,
)
_PREDICATE: Final = re.compile(
    rf"^(?P<what>.*?)\s+(?:{_IS}\s+(?:{DEGREE}\s+)*(?:{_ADJ}|{_VERB})|{_VERB})(?:\s+{DEGREE}\b)*(?P<rest>.*)$",
    re.I,
)
_STATES: Final = (
    r"(?:normal|unremarkable|within|enlarged|(?:mildly|moderately|slightly|markedly|grossly|borderline|top|upper|mild|"
    r"moderate|severely|at the upper)\b|clear|intact|tortuous|calcified|prominent|well|midline|of normal|in |healed|"
    r"small|large|hyperinflated|hyperexpanded|demineralized|ectatic|low|elevated)"
)
_AND_SAME: Final = re.compile(
    rf",?\s+(?:and|but|yet|though|although)\s+(?:(?:is|are|appears?)\s+)?(?:{DEGREE}\s+)*{_ADJ}"
    rf"(?:\s+(?:in\s+)?(?:position|appearance|configuration|alignment))?(?=\s*(?:$|[,;]|in\b|with|given|without))",
    re.I,
)
_SAME_AND: Final = re.compile(rf"\b({_IS})\s+(?:{DEGREE}\s+)*{_ADJ},?\s+(?:(?:and|but)\s+)?(?={_STATES})", re.I)
_OF_NOUN: Final = re.compile(
    rf"(?<!\w)(?:there\s+(?:has|have)\s+been\s+|there\s+(?:is|are)\s+)?(?:(?:an?|the|some|slight|mild|moderate|marked|"
    rf"minimal|further|significant|partial|small|mild-to-moderate|{_ADJ}|{DEGREE})\s+)*{_NOUN}(?:\s*[\s/]\s*(?:{_NOUN}|"
    rf"{_ADJ}|enlargement|extension|placement|insertion|appearance|development|growth|increase|decrease|improvement))*"
    rf"\s+(?:in|of)\s+(?:the\s+)?(?:{EXTENT}\s+(?:in|of)\s+(?:the\s+)?)?",
    re.I,
)
_HAS_BEEN: Final = re.compile(rf"^there\s+(?:has|have)\s+been\s+(?:an?\s+)?(?:{_NOUN}|{_ADJ})\s+", re.I)
_GONE_TAIL: Final = re.compile(rf",?\s*\b(?:and|with)\s+(?:(?:{_NOUN}|[a-z]+)\s+)?{_GONE}\s+of\s.*$", re.I)
_ARTICLE: Final = re.compile(rf"\b(an?)\s+(?:{DEGREE}\s+)?{_ADJ}[\s,]+(?=([a-z]))", re.I)
_NOTED: Final = re.compile(
    r"^(?:noted|seen|demonstrated|identified|visualized)\s+(?:is|are)\s+(?:the\s+|an?\s+)?", re.I
)
_CLAUSE: Final = re.compile(
    r"(\s*;\s*|,?\s+but\s+(?!\x01)|,?\s+however,?\s+|,?\s+(?:and|although|while)\s+(?=there\s+(?:is|are|has)\b))", re.I
)
_SEGMENT: Final = re.compile(r"(,\s+)")

_HEDGE: Final = re.compile(
    r"\b(?:possib\w+|probab\w+|likely|may|might|could|question\w*|suspect\w*|suggest\w*|if|concern\w*)\b", re.I
)
_NEGATION: Final = re.compile(
    r"\b(?:no|not|without|never|nor|neither|none|free|clear of|negative|absen\w+|cannot|lack\w*|rather|exclud\w+|"
    r"unlikely|den(?:y|ies))\b|n't\b",
    re.I,
)
# "New nodule is not seen": the denial follows the change and still is about it alone.
_THEN_DENIED: Final = re.compile(
    r"[\x01-\x03\x07](?:[^,]*|.*,\s*(?:but\s+|and\s+)?)\b(?:not|never|cannot|none|unlikely|absent|excluded|denied)\b|"
    r"[\x01-\x03\x07][^,]*n't\b",
    re.I,
)
_LEANING: Final = re.compile(r"^(?:this|these|those|it|they|both|such|the former|the latter|its)\b", re.I)
_NO_PRIOR: Final = re.compile(
    r"^(?:comparison\b.{0,40}|(?:there (?:is|are) )?no (?:\w+\s){0,4}?(?:comparisons?|priors?|previous)\b.{0,60})$",
    re.I,
)
_FINITE: Final = re.compile(
    r"\b(?:is|are|was|were|has|have|appears?|seems?|shows?|may|can|do|does|demonstrates?)\b", re.I
)
_CONTINUES: Final = re.compile(
    r"and\s+(?:may|could|is|are|has|have|likely|represents?|appears?|reflects?|ends?|terminates?|projects?|extends?|"
    r"overl(?:y|ies)|lies?|courses?|measures?|causes?|obscures?|involves?|suggests?)\b",
    re.I,
)
# What mending can leave behind when it went wrong: such a sentence is left out.
_DANGLING: Final = re.compile(
    r"(?:\b(?:in|of|to|and|with|from|the|an?|is|are|was|were|be|has|have|been|than|by|which|that|as|on|at|or|no|not|"
    r"without|for|appears?|seems?|remains?|since|when|but|show|shows|demonstrates?|consistent|compatible|likely|due|represents?|"
    r"minimal|mild|slight|slightly|mildly|more|less|versus|may|might|could|can|would|should|does|do|did)|[-/])\W*$",
    re.I,
)
_BAD_START: Final = re.compile(
    r"^(?:and|or|but|which|that|with|of|to|in|on|at|from|than|as|by|is|are|was|were|has|have|been|consistent|compatible|"
    r"suggest\w*|likely|given|considering|allowing|since|when|without|compared|for|due|represent\w*|appear\w*|these|this|"
    r"they|it|those|such|versus|followed|may|could|not)\b",
    re.I,
)
_BROKEN: Final = re.compile(
    r"\b(?:is|are|has|have|of|the|an?|in|with|and|to|been|was|were)\s+(?:of|is|are|has|have|and|been|,|;|was|were)(?:\s|$)|"
    r"\(\s*\)|\b(?:of|the|an?|in|with|and|to)[,;]|\bthere\s+(?!is|are|was|were|may|appears?|does|do|remains?)\w+|"
    r"\b(?:not|may|to|could|does)\s+(?:is|are)\b",
    re.I,
)
_PLAIN_WORD: Final = re.compile(r"[a-z']+")
_BLANKS: Final = re.compile(r"\s+")
_LONGEST = 500
"""A sentence longer than this is none; with a cue in it, it is left out, so that mending takes bounded time."""


def strip_priors(text: str) -> str:
    """The text as it is when it holds no cue, else its standalone sentences in one line; the result holds no cue."""
    for _ in range(4):
        if not _cues(text):
            return text
        # Sentences can run together in a text that is no report ("no" and "change"), and are then read again.
        text = " ".join(standalone(text))
    return text if not _cues(text) else ""


def standalone(text: str) -> tuple[str, ...]:
    """The sentences that can be said of this image alone."""
    return read_standalone(text).sentences


def read_standalone(text: str) -> Standalone:
    """The sentences that can be said of this image alone, with how many were kept, mended and left out."""
    sentences: list[str] = []
    kept = rewritten = dropped = 0
    leaning, plain = False, _CUE_WORDS.isdisjoint(_LOWER_WORD.findall(text.lower()))
    for start, end in sentence_spans(text):
        sentence = " ".join(text[start:end].split())
        if plain or (not _cues(sentence) and not _NO_PRIOR.match(sentence)):
            # "This is ..." after a sentence left out would speak of something else.
            if leaning and _LEANING.match(sentence):
                dropped += 1
                continue
            leaning = False
            kept += 1
            sentences.append(sentence if sentence[-1] in ".!?" else sentence + ".")
            continue
        mended = _mended(sentence) if len(sentence) <= _LONGEST else None
        leaning = mended is None
        if mended is None:
            dropped += 1
        else:
            rewritten += 1
            sentences.append(mended)
    return Standalone(tuple(sentences), kept, rewritten, dropped)


def _mended(sentence: str) -> str | None:
    """One sentence without its cues, or None when that cannot be had safely."""
    if _LEANING.match(sentence) or _NO_PRIOR.match(sentence):
        return None
    pieces: list[str | None] = []
    for i, piece in enumerate(_CLAUSE.split(_with_marks(_CONTROL.sub(" ", sentence).rstrip(" .!?")))):
        # A fragment joins on with a semicolon only.
        pieces.append(
            _clause(piece) if i % 2 == 0 else "; " if re.search(r"but|however|although|while", piece) else piece
        )
    body = _BLANKS.sub(" ", _join(pieces) or "").replace(" ,", ",").strip(" ,;:-")
    body = _NOTED.sub("", re.sub(r",(?:\s*,)+", ",", body))
    if not _FINITE.search(body):
        body = re.sub(r"^(?:the|an?)\s+", "", body, flags=re.I)
    if not body or _bare(body) or _DANGLING.search(body) or _BAD_START.match(body) or _BROKEN.search(body):
        return None
    mended = body[0].upper() + body[1:] + "."
    return None if _cues(mended) or len(sentence_spans(mended)) != 1 else mended


def _with_marks(sentence: str) -> str:
    """The sentence with a mark for each cue word, and for the earlier studies it names."""
    for cue, _, _, start, end in reversed(_cues(sentence)):
        word, before, after = sentence[start:end].lower(), sentence[:start], sentence[end:]
        if cue.role == "study" or (word == "interval" and before.lower().endswith(" the ")):
            continue
        following = after.lstrip()[:1]
        mark = _MARKS.get(cue.role, "")
        if cue.role == "stays":
            # "An effusion remains." ends in it; "does not remain" cannot become "does not is".
            alone = not following or following in ",;" or re.search(r"\b(?:not|to|n't)\s+(?:\w+\s+)?$", before)
            mark = _VERB if alone else "are" if word == "remain" else "is"
        elif word in ("change", "changes", "changed"):
            mark = _CHANGE
        elif word == "residual" and re.search(r"\bno\s+(?:\w+\s+)?$", before, re.I):
            # The one change word under "no" that leaves a plain denial.
            mark = ""
        elif word == "previously":
            # What is "not seen" now was there before: nothing is left to say.
            mark = _GONE if _NEGATION.search(sentence) else _ADJ
            after = re.sub(rf"^\s+{_TAKEN}\b", "", after, flags=re.I)
        elif word == "interval":
            # Before a noun that is a cue itself it only repeats it; before another word it is an adjective.
            of = re.match(r"\s*(?:\w+/)?\w+\s+(?:in|of)\b", after)
            mark = "" if following == _GONE else _ADJ if not of or following in (_NOUN, _ADJ) else _NOUN
        sentence = before + mark + after
    sentence = _NOT_CHANGED.sub(f"is {_ADJ}", _UNCHANGING.sub(_ADJ, _OPENING.sub("", sentence)))
    sentence = re.sub(rf"\b(?:more|less)\s+{_ADJ}", _ADJ, sentence, flags=re.I)
    sentence = re.sub(rf"\b(?:re-|once\s+)(?={_ADJ}|{_NOUN}|{_ADVERB})", "", sentence, flags=re.I)
    return _RESPECT.sub(r"\1", _BLANKS.sub(" ", _TAIL.sub(_STUDY, sentence))).strip()


def _clause(clause: str) -> str | None:
    """One clause without its marks, or None."""
    clause = _GONE_TAIL.sub("", clause)
    marks = list(_MARK.finditer(clause))
    if not marks:
        return clause or None
    # What is gone is not said to be absent, and a change under a negation says nothing about now.
    if (
        _GONE in clause
        or _CHANGE in clause
        or _NEGATION.search(clause[: marks[-1].start()])
        or _THEN_DENIED.search(clause)
    ):
        return None
    clause = _BLANKS.sub(" ", clause.replace(_STUDY, "").replace(_ADVERB, "")).lstrip(" ,")
    noun = _OF_NOUN.search(clause)
    if noun and _HEDGE.search(clause, 0, noun.end()):
        return None
    clause = _HAS_BEEN.sub("", _OF_NOUN.sub("", clause))
    clause = _ALONE.sub("", _APPEARANCE.sub(f"{_ADJ} ", clause))
    clause = _SAME_AND.sub(lambda m: f"{_verb(m.group(1))} ", _AND_SAME.sub("", clause))
    return _join([_segment(s) if i % 2 == 0 else s for i, s in enumerate(_SEGMENT.split(clause))])


def _segment(segment: str) -> str | None:
    """What stands between two commas, without its marks, or None when only they said something."""
    if not _MARK.search(segment):
        return segment
    while (added := _ADDED.search(segment)) and _bare(added.group(1)):
        segment = segment[: added.start()]
    subject, predicate = _SUBJECT.match(segment), _PREDICATE.match(segment)
    if subject and _bare(subject["what"]):
        segment = _stated("", subject["rest"])
    elif predicate and predicate["what"].strip().lower() != "there":
        segment = _stated(predicate["what"].strip(), predicate["rest"].strip())
    segment = _ARTICLE.sub(lambda m: "an " if m.group(2).lower() in "aeiou" else "a ", _TWO.sub("", segment))
    segment = _ATTRIBUTE.sub("", segment)
    if _MARK.search(segment):
        return None
    segment = _BLANKS.sub(" ", segment).strip()
    return None if _bare(segment) else segment


def _stated(what: str, rest: str) -> str:
    """The subject of "is unchanged" as a statement with what follows it."""
    rest = re.sub(r"^(?:given|considering|allowing|accounting)\b.*$", "", rest, flags=re.I).lstrip(", ")
    lacks = re.match(r"(?:without|with no)\s+(.*)$", rest, re.I | re.S)
    has = re.match(r"(?:with|and)\s+(.*)$", rest, re.I | re.S)
    if _bare(what):
        return f"no {lacks.group(1)}" if lacks else has.group(1) if has else ""
    if _CONTINUES.match(rest):
        return f"{what} {rest[4:]}"
    what = re.sub(
        rf"^(?:there\s+(?:is|are)\s+)?(?:(?:the|an?)\s+)?(?:{_LOOKS}\s+of\s+(?:the\s+)?)?", "", what, flags=re.I
    )
    if rest.lower().startswith("and ") and re.search(r"\b(?:is|are|has|have|appears?)\b", rest, re.I):
        return f"{what}; {rest[4:]}"
    return f"{what} {rest}"


def _verb(word: str) -> str:
    """A copula that can stand before an adjective."""
    return {"has": "is", "have": "are", "has been": "is", "have been": "are"}.get(word.lower(), word)


def _bare(words: str) -> bool:
    """Whether nothing is said: only names of structures and of studies."""
    return BARE.issuperset(_PLAIN_WORD.findall(words.lower()))


def _join(pieces: list[str | None]) -> str | None:
    """Pieces and the separators between them, without the pieces that are None; None when all are."""
    joined = ""
    for i in range(0, len(pieces), 2):
        piece = pieces[i]
        if piece:
            joined = f"{joined}{pieces[i - 1]}{piece}" if joined else piece
    return joined or None
