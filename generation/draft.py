"""The draft: sentences for a radiologist to edit and sign, and everything that it was made from.

What is written here is enough to write the draft again: the evidence with its snapshot, the experts' scores, the
concepts, and, where a language model wrote, its prompts' digests, preset, seed and tokens.
"""

from collections.abc import Callable
from typing import Literal

from pydantic import Field

from generation.decoding.generator import Finish, Phrase
from generation.decoding.presets import Preset
from prompts.message import Branch
from retrieval.draft_concepts import DraftConcepts
from retrieval.expert_scores import ExpertScores
from retrieval.record import Record
from retrieval.records import CaseId, Evidence, ImageDigest, ReasonCode


class Region(Record):
    """A box on one image of the study, in fractions of its width and height, as displayed."""

    image: int
    """Which image of the study, from 0."""
    left: float = Field(ge=0, le=1)
    """Left edge as seen on the screen."""
    top: float = Field(ge=0, le=1)
    """Upper edge."""
    width: float = Field(gt=0, le=1)
    """Horizontal extent."""
    height: float = Field(gt=0, le=1)
    """Vertical extent."""


class Support(Record):
    """What a sentence rests on."""

    case_ids: tuple[CaseId, ...] = ()
    """Retrieved cases that say the same, nearest first."""
    of: int = 0
    """How many retrieved cases were asked."""
    experts: tuple[str, ...] = ()
    """Experts whose scores say the same."""
    prior: bool = False
    """Whether an earlier study of the same patient says the same; to compare with one is not enough."""


class Flag(Record):
    """Something a reader should look at before accepting a sentence."""

    code: str
    """Stable code of the check."""
    severity: Literal["hard", "soft"] = "soft"
    """`hard`: wrong unless somebody explains it. `soft`: worth a look."""
    explanation: str
    """One sentence for a person."""


class Sentence(Record):
    """One proposed sentence with its evidence."""

    text: str
    """As proposed."""
    section: Literal["findings", "impression"]
    """Where it belongs in the report."""
    topic: str
    """The part of the reading order it belongs to, such as lungs or pleura; `other` where nothing in it is known."""
    abnormal: bool
    """True when it states something other than a normal finding."""
    support: Support
    """What it rests on. A sentence of similar cases always rests on some; a language model's abnormal one that rests on
    nothing is flagged UNSUPPORTED, one that rests on little THIN_SUPPORT."""
    flags: tuple[Flag, ...] = ()
    """Warnings of the checks."""
    region: Region | None = None
    """Where on the image it can be seen; None until something grounds it."""


class Writing(Record):
    """How a language model wrote a draft; with the evidence, enough to write it again token by token."""

    generator: str
    """The engine: reference, transformers, vllm, openai."""
    language_model: str
    """Folder or hub id, with the revision where one was named."""
    weights: str = ""
    """Digest of the model's files as far as this machine has them; empty where a server keeps them."""
    preset: Preset
    """How the branches were mixed, with every number."""
    templates: str
    """Version of the prompts' templates."""
    prompts: dict[Branch, str]
    """SHA-256 of each branch's messages; the messages follow from study, evidence and templates."""
    prompt_tokens: dict[Branch, int]
    """Length of each branch's prompt, images included; empty where a server does not count them."""
    phrases: tuple[Phrase, ...] = ()
    """What a bias leant on; empty without one."""
    temperature: float
    """0 takes the most likely token."""
    seed: int
    """Of the draws, where there were any."""
    max_new_tokens: int
    """Where the draft would have ended at the latest."""
    token_ids: tuple[int, ...]
    """What the model wrote."""
    finish: Finish
    """Why it ended."""
    seconds: float = Field(default=0.0, ge=0)
    """From the prompts to the last token; what else ran beside it counts too."""


class Draft(Record):
    """A proposal for a radiologist to edit and sign; never a report."""

    status: Literal["drafted", "abstained"]
    """`abstained` means there are no sentences, for `reason`."""
    reason: ReasonCode | None = None
    """Why there is no draft; None when there is one."""
    explanation: str = ""
    """The reason in one sentence for a person."""
    sentences: tuple[Sentence, ...] = ()
    """In reading order."""
    dropped: dict[str, int] = Field(default_factory=dict)
    """How many proposed sentences a check left out, by its code, each counted once; codes that left out none are not
    named. May be there without a draft, when nothing was left."""
    warnings: tuple[str, ...] = ()
    """What the gate noticed, and which files and images were left out."""
    images: tuple[ImageDigest, ...]
    """The image files it was asked for."""
    evidence: Evidence
    """What the draft was made from."""
    experts: ExpertScores | None = None
    """What the experts say of the images; None where none was asked."""
    concepts: DraftConcepts | None = None
    """What the language model was told to think of; None where none was asked."""
    writing: Writing | None = None
    """How a language model wrote it; None for a draft made of similar cases' sentences alone."""
    fallback: str = ""
    """Why the language model did not write, as a stable code, where a retrieval draft stands in for it; else empty."""
    drafter: str
    """Which drafter wrote it, with its version and settings: enough to write it again."""
    software: str
    """Version of Prelim."""

    @property
    def findings(self) -> str:
        """The findings as running text."""
        return " ".join(s.text for s in self.sentences if s.section == "findings")

    @property
    def impression(self) -> str:
        """The impression as running text; empty where only findings were drafted."""
        return " ".join(s.text for s in self.sentences if s.section == "impression")


class DraftEvent(Record):
    """What is told of a draft while it is written. The finished draft decides: its flags may be more."""

    event: Literal["sentence", "withdrawn"]
    """`sentence`: written, and nothing hard against it so far. `withdrawn`: told before, and not in the draft after
    all, because a later sentence or the whole spoke against it."""
    number: int = Field(ge=0)
    """Which of the sentences told, from 0; a withdrawal repeats the number of what it takes back."""
    sentence: Sentence
    """The sentence, with the flags it has by now."""


Tell = Callable[[DraftEvent], None]
"""Told each event as it happens, in the thread that drafts."""
