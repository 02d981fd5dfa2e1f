"""Texts that speak to a language model instead of a reader: orders, control tokens of chats, characters nobody sees.

Text in, yes or no out. Nobody writes such things into an indication or a report by accident, so the whole text is then
not heard: of a case that carries an order every other sentence is suspect as well. What is looked for is wording, and
wording can be changed: a false statement in plain radiology words is none of it, and whoever counts on this alone is
mistaken. Clean prompts (`prompts.data`), support and flags hold without it.

The expressions were written for what no radiologist or referrer writes; how often they find something in real reports
and requests stands in evaluation/measured/injection.json.
"""

import re
import unicodedata
from typing import Final

_MARK: Final = re.compile(
    r"<\|[^|<>\n]{0,60}\|?>|<</?SYS>>|</?(?:s|bos|eos|pad|unk|image|start_of_[a-z]{1,20}|end_of_[a-z]{1,20}|"
    r"image_soft_token|system|assistant|data)>|\[/?(?:INST|IMG(?:_[A-Z]{1,10})?|SYSTEM_PROMPT|TOOL_[A-Z]{1,10}|"
    r"AVAILABLE_TOOLS)\]|\{\{[^{}\n]{0,60}\}\}|\{%|\"role\"\s*:\s*\"|^```|^#{2,6} ?(?:instruction|response|system)",
    re.I | re.M,
)
"""Control tokens of chats, templates, and what looks like the end of data."""
_SPEAKER: Final = re.compile(r"(?:^|[.?!] )(?:USER|ASSISTANT|SYSTEM|HUMAN|AI) ?: ?\S", re.M)
"""A turn of a conversation, in capitals, since "Respiratory system: ..." is a heading."""
_ORDER: Final = re.compile(
    r"\b(?:ignore|disregard|forget|override|overrule|bypass)\b[^.]{0,40}\b(?:images?|pictures?|instructions?|rules?|"
    r"prompts?|guidelines|everything|pixels)\b|"
    r"\b(?:previous|prior|above|earlier|following|new|these|your|all|system) (?:instructions?|prompts?)\b"
    r"(?! (?:to|for) (?:the )?(?:patient|family))|"
    r"\b(?:write|say|state|answer|reply|respond|output|print|repeat|report|draft)\b,?\s+(?:back\s+|with\s+|only\s+)?"
    r"(?:exactly|verbatim|nothing but|the (?:following|next|words?)|word for word|"
    r"in (?:the|your) (?:draft|output|answer))|"
    r"\b(?:write|draft|print|output) this (?:draft|report|text|sentence)\b|"
    r"\byou (?:must|shall|will|should|have to|need to|are to)\b[^.]{0,30}\b(?:write|state|say|report|answer|mention|"
    r"draft|output|print|ignore|describe|act|pretend|conclude|repeat)\b|"
    r"\byou are (?:now|an? (?:AI|assistant|chatbot|language model|model))\b|"
    r"\byour (?:answer|output|reply|draft|next (?:sentence|words?)|only (?:task|answer))\b|"
    r"\b(?:language model|chatbot|LLM|ChatGPT|system prompt|jailbreak)\b|"
    r"\b(?:to|the|dear|any|hey|attention) (?:AI|A\.I\.|assistant|bot)\b|\bthe model (?:must|will|should|shall)\b",
    re.I,
)
"""Words that tell a writer what to write, or speak of it as a machine."""
_STEERS: Final = re.compile("[\x00-\x08\x0e-\x1b\x7f\u202a-\u202e\u2066-\u2069\U000e0000-\U000e007f]")
"""Characters that move a cursor, turn the direction of writing, or are seen by machines only."""
_CLOAKS: Final = frozenset({"Cc", "Cf"})


def holds_order(text: str) -> bool:
    """Whether a text speaks to a language model; any text is read, in linear time."""
    if _STEERS.search(text):
        return True
    # What is seen, in ordinary letters: an order is one under zero-width characters and in wide letters as well.
    seen = unicodedata.normalize("NFKC", text)
    if not seen.isascii():
        seen = "".join(c for c in seen if c in "\n\t\r" or unicodedata.category(c) not in _CLOAKS)
    lines = [" ".join(line.split()) for line in seen.splitlines()]
    return bool(_MARK.search("\n".join(lines)) or _SPEAKER.search("\n".join(lines)) or _ORDER.search(" ".join(lines)))
