"""Facts to the messages of each branch, in the words of versioned templates.

The templates are plain text (templates/<version>/*.txt): what changes what a language model reads gets a new version,
because a draft records the version it was written with. All branches of a study begin alike, to the character, so that
an engine computes their common beginning once: system turn, images, indication, technique, priors, task. Only then
comes what a branch adds, also the disturbed instruction, which ICD puts first.

Whatever a person wrote stands on lines of data (`prompts.data`). The Comparison section of a request is shown only
beside a prior that was handed in: without one it lowers every figure (CCD, table 1). A prior keeps its own words of
change, because a finding that went with them would look new. What is not known is said to be unknown.
"""

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from string import Template
from typing import Final

from prompts.concepts import render_concepts, tokens
from prompts.data import data_line
from prompts.facts import Facts
from prompts.message import Blinding, Branch, ImageRef, Message
from prompts.priors import shown_priors, shown_sections
from retrieval.agreement import Settled, supplementary
from retrieval.errors import InvalidPrompt
from retrieval.expert_scores import Band, ExpertScore
from retrieval.extraction.priors import strip_priors
from retrieval.extraction.sentences import sentence_spans
from retrieval.foreign_sentences import Reason, foreign
from retrieval.ontology.ontology import Ontology
from retrieval.record import Record
from retrieval.records import RetrievedCase, Study

TEMPLATES: Final = "1"
"""The version used unless another is asked for."""
VERSIONS: Final = ("1",)
"""Every version that can still be rendered."""

INDICATION: Final = 150
"""Tokens of the indication at most, some hundred words; a longer one is clipped."""
TECHNIQUE: Final = 60
"""Tokens of the technique, and of the Comparison section, at most."""
PRIOR: Final = 120
"""Tokens of a section of a prior at most."""
EXPERTS: Final = 250
"""Tokens of the expert findings at most; the surest of each band come first."""
LEAST_OPEN: Final = 0.1
"""A finding that no expert has settled is named from this probability on; below it would only be hedged."""
CASES: Final = 4
"""Similar cases shown at most: dissimilar ones hurt, and so does a crowd."""
CASE: Final = 110
"""Tokens of one similar case at most."""
BUDGET: Final = 2000
"""No branch has more tokens of text, whatever the facts; its images, and the words that say what each is, are not
counted, because all of them are shown."""

_NOT_SHOWN: Final[frozenset[Reason | None]] = frozenset(
    {"DEIDENTIFIED", "NAME", "DATE", "MEASUREMENT", "OTHER_MODALITY", "HISTORY"}
)
"""Why a sentence of another patient's report stays out. What speaks of its priors is stripped of that instead."""
_BANDS: Final[tuple[Band, ...]] = ("present", "uncertain", "absent")


class Rendered(Record):
    """One branch's prompt, before any model's own markup."""

    branch: Branch
    """Whose prompt it is."""
    messages: tuple[Message, ...]
    """A system turn and a user turn."""
    parts: dict[str, int]
    """Tokens of each part (`prompts.concepts.tokens`, which counts generously), without the images."""


def image_names(study: Study) -> tuple[str, ...]:
    """What prompts call the images of a study, in its order."""
    return tuple(f"image-{number}" for number in range(1, len(study.images) + 1))


def noised_name(name: str) -> str:
    """What prompts call the noised twin of an image."""
    return f"{name} noised"


def render(
    facts: Facts,
    branch: Branch,
    ontology: Ontology,
    *,
    blinding: Blinding | None = None,
    templates: str = TEMPLATES,
) -> Rendered:
    """Write the prompt of one branch; `blinding` is read by the blind one only, which needs it."""
    if templates not in VERSIONS:
        raise InvalidPrompt(
            f"there are no prompt templates of version {templates!r}", fix=f"known are {', '.join(VERSIONS)}"
        )
    if branch == "blind" and blinding is None:
        raise ValueError("a blind branch needs its blinding")
    # 1. What all branches share.
    priors = _priors(facts.study, templates)
    shared = {
        "indication": data_line(facts.study.indication or "", INDICATION) or _phrase(templates, "no_indication"),
        "views": _views(facts.study, templates),
        "technique": data_line(facts.study.technique or "", TECHNIQUE) or _phrase(templates, "no_technique"),
        "priors": priors or _phrase(templates, "no_prior"),
    }
    texts = [_text(templates, "study", shared)]
    parts = {"system": tokens(_text(templates, "system")), "task": _frame(templates, "study")}
    parts |= {name: tokens(text) for name, text in shared.items()}
    # 2. What this one adds.
    added: dict[str, str] = {}
    template = ""
    if branch == "anchored":
        template, added = "anchored", {"experts": _experts(facts, ontology, templates)}
    elif branch == "evidence":
        template, added = "evidence", {
            "cases": _cases(facts, ontology, templates),
            "concepts": _phrase(templates, "no_concepts")
            if facts.concepts is None
            else render_concepts(facts.concepts, ontology, has_prior=bool(priors)).strip(),
        }  # fmt: skip
    elif branch == "blind" and blinding == "disturbed_instruction":
        template = "disturbed"
    if template:
        texts.append(_text(templates, template, added))
        parts["task"] += _frame(templates, template)
    parts |= {name: tokens(text) for name, text in added.items()}
    # 3. Images first, then one text: some chat templates take the blanks off each text's ends.
    names = image_names(facts.study)
    if branch == "blind":
        names = {"no_image": (), "noised_image": tuple(map(noised_name, names))}.get(str(blinding), names)
    user = Message(role="user", content=(*(ImageRef(name=name) for name in names), "\n\n".join(texts)))
    system = Message(role="system", content=(_text(templates, "system"),))
    return Rendered(branch=branch, messages=(system, user), parts=parts)


def _views(study: Study, version: str) -> str:
    """Which view each image is."""
    return " ".join(
        _phrase(version, "image", number=number, view=_phrase(version, image.attributes.view))
        for number, image in enumerate(study.images, 1)
    )


def _priors(study: Study, version: str) -> str:
    """The patient's earlier studies as they were reported; empty without any."""
    shown: list[str] = []
    for number, prior in enumerate(shown_priors(study), 1):
        parts = (f"{heading}: {text}" if heading else text for heading, text in shown_sections(prior))
        if said := [line for line in (data_line(part, PRIOR) for part in parts) if line]:
            shown += [_phrase(version, f"prior_{number}"), *said]
    if shown and (named := data_line(study.comparison or "", TECHNIQUE)):
        shown += [_phrase(version, "named"), named]
    return "\n".join(shown)


def _experts(facts: Facts, ontology: Ontology, version: str) -> str:
    """What the experts call present, uncertain and absent; the surest first, and as many as there is room for."""
    if facts.experts is None or not facts.experts.scores:
        return _phrase(version, "no_experts")
    listed: dict[Band, list[str]] = {band: [] for band in _BANDS}
    left = EXPERTS - sum(tokens(_phrase(version, band, findings=_phrase(version, "no_finding"))) for band in _BANDS)
    for band in _BANDS:
        least = LEAST_OPEN if band == "uncertain" else 0.0
        scores = [s for s in facts.experts.scores if s.band == band and s.probability >= least]
        for score in sorted(scores, key=lambda s: (s.probability if band == "absent" else -s.probability, s.concept)):
            finding = _finding(score, ontology)
            left -= tokens(finding)
            if left >= 0:
                listed[band].append(finding)
    bands = (
        _phrase(version, band, findings="; ".join(listed[band]) or _phrase(version, "no_finding")) for band in _BANDS
    )
    return "\n".join([_phrase(version, "use_experts"), *bands])


def _finding(score: ExpertScore, ontology: Ontology) -> str:
    # As many digits as calibration is good for, and no bare zero or one.
    probability = f"{min(max(score.probability, 0.01), 0.99):.2f}".lstrip("0")
    side = f", {score.side}" if score.side else ""
    return f"{ontology[score.concept].name}{side} ({probability})"


def _cases(facts: Facts, ontology: Ontology, version: str) -> str:
    settled = Settled(ontology, facts.experts)
    said = (data_line(_said(case, settled), CASE) for case in facts.cases)
    shown = [line for line in said if line][:CASES]
    if not shown:
        return _phrase(version, "no_case")
    cases = (f"{_phrase(version, 'case', number=number)}\n{line}" for number, line in enumerate(shown, 1))
    return "\n".join([_phrase(version, "use_cases"), *cases])


def _said(case: RetrievedCase, settled: Settled) -> str:
    """The findings of a case, without sentences on what the experts have settled and without its own priors."""
    if case.case.concepts is None:
        return ""  # nothing has read it, so nobody knows what it speaks of
    report = case.case.report
    free = {(m.start, m.concept) for m in supplementary(case, settled)}
    kept: list[str] = []
    for section in report.sections:
        if section.name == "findings" and section.text:
            start = report.text.find(section.text, section.start)
            for first, last in sentence_spans(section.text):
                sentence = section.text[first:last]
                said = [m for m in case.case.concepts.mentions if start + first <= m.start < start + last]
                # What names a person, a date or a size is somebody's; what names no finding shows nothing.
                if said and all((m.start, m.concept) in free for m in said) and foreign(sentence) not in _NOT_SHOWN:
                    kept.append(sentence)
    return strip_priors(" ".join(kept))


@cache
def _template(version: str, name: str) -> Template:
    return Template(files("prompts").joinpath("templates", version, f"{name}.txt").read_text("utf-8").strip())


@cache
def _phrases(version: str) -> Mapping[str, Template]:
    lines = _template(version, "phrases").template.splitlines()
    return {name: Template(text) for name, text in (line.split(": ", 1) for line in lines)}


def _text(version: str, name: str, values: Mapping[str, str] | None = None) -> str:
    return _template(version, name).substitute(values or {})


def _phrase(version: str, name: str, **values: object) -> str:
    return _phrases(version)[name].substitute(values)


def _frame(version: str, name: str) -> int:
    """Tokens of a template's own words."""
    template = _template(version, name)
    return tokens(template.substitute(dict.fromkeys(template.get_identifiers(), "")))
