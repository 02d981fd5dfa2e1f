"""A language model's text to the sentences of a draft, also while it is still being written.

Text in, piece by piece; checked sentences out, told one by one as each is complete, and all together at the end. A
sentence is told once nothing hard speaks against it beside those before it. What comes later may: then it is withdrawn.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Final, Literal

from generation.checked import Checked, keep_checked
from generation.decoding.generator import Generated
from generation.draft import DraftEvent, Sentence, Tell
from generation.model_text import Written, ends_open, sentences_of
from generation.support import Sources
from retrieval.checks.context import CheckContext

MOST_SENTENCES: Final = 60
"""Sentences that a draft may have; no report has so many, and a model that repeats itself has no end."""

_Section = Literal["findings", "impression"]


class Reading:
    """One draft's text as it grows, and what was told of it."""

    def __init__(self, sources: Sources, context: CheckContext, tell: Tell) -> None:
        self._sources = sources
        self._context = context
        self._tell = tell
        self._text = ""
        self._heard = 0
        self._read: dict[tuple[_Section, str], Sentence] = {}
        self._told: dict[tuple[str, str], DraftEvent] = {}

    def hear(self, _request: int, text: str) -> None:
        """Take text that has become certain; a generator calls this."""
        if self._heard >= MOST_SENTENCES:
            return
        self._text += text
        complete = sentences_of(self._text)[:-1]
        if len(complete) > self._heard:
            self._heard = len(complete)
            proposed, _ = self._proposed(complete)
            self._tell_new(keep_checked(proposed, self._context).sentences)

    def end(self, answer: Generated) -> Checked:
        """The checked sentences of the whole text; what was told and did not last is withdrawn."""
        written = sentences_of(answer.text)
        cut_off = answer.finish == "length" and ends_open(answer.text) and bool(written)
        proposed, left_out = self._proposed(written[:-1] if cut_off else written)
        left_out += Counter(CUT_OFF=int(cut_off))
        checked = keep_checked(proposed, self._context)
        self._tell_new(checked.sentences)
        self.withdraw({_key(sentence) for sentence in checked.sentences})
        return checked._replace(dropped=dict(left_out + Counter(checked.dropped)))

    def withdraw(self, lasting: set[tuple[str, str]] | None = None) -> int:
        """Take back what was told, all of it or all but what lasts; returns how many sentences had been told."""
        for key, event in self._told.items():
            if key not in (lasting or ()):
                self._tell(event.model_copy(update={"event": "withdrawn"}))
        return len(self._told)

    def _proposed(self, written: Sequence[Written]) -> tuple[list[Sentence], Counter[str]]:
        """Sentences to be checked, each with its support, and how many were left out unread by code."""
        proposed: dict[tuple[_Section, str], Sentence] = {}
        left_out = Counter[str](TOO_MANY=max(0, len(written) - MOST_SENTENCES))
        for section, text in written[:MOST_SENTENCES]:
            if section == "other":
                left_out["OTHER_SECTION"] += 1
                continue
            key = (section, text)
            if key not in self._read:
                self._read[key] = self._sources.sentence(text, section)
            sentence = self._read[key]
            # Language models fall into loops; to say the very same again is no second finding.
            if _key(sentence) in proposed:
                left_out["REPEAT"] += 1
            proposed.setdefault(_key(sentence), sentence)
        return list(proposed.values()), left_out

    def _tell_new(self, sentences: Sequence[Sentence]) -> None:
        for sentence in sentences:
            if _key(sentence) not in self._told:
                event = DraftEvent(event="sentence", number=len(self._told), sentence=sentence)
                self._told[_key(sentence)] = event
                self._tell(event)


def _key(sentence: Sentence) -> tuple[_Section, str]:
    return sentence.section, sentence.text
