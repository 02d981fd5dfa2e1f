"""The concepts of a draft as text: what to look for in this study, general knowledge, and rules, plainly apart.

Compact unordered triples beat prose for facts, and cost the fewest tokens (KG-LLM-Bench; arXiv 2402.11541). What comes
first matters most and is never cut: every concept has its line. Knowledge fills what is left of the budget.

No text of a similar case is in here, and no id of one either; those stand in the evidence.
"""

import re
from math import ceil
from typing import Final

from retrieval.draft_concepts import DraftConcept, DraftConcepts
from retrieval.ontology.ontology import Ontology

BUDGET: Final = 350
"""Tokens at most (ontology.md's figure; `tokens` counts generously)."""
_PIECE: Final = re.compile(r"[A-Za-z]+|\S")
_LETTERS: Final = 5
"""Letters to a token, at the pace of long Latin words; ordinary English has six or more with its blank."""

FACTS: Final = "CONCEPTS to look for (id name | status | probability or similar cases | site)"
LEGEND: Final = (
    "likely: experts say so; possible: not settled; disputed: experts and similar cases differ; "
    "unlikely: experts deny it; asked: by the referrer"
)
KNOWLEDGE: Final = "KNOWLEDGE (general; no evidence)"
NO_CONCEPT: Final = "none: neither experts, indication nor similar cases name one"
_RULES: Final = "RULES: sides from the images; no measurements; similar cases are other patients; "
_NO_PRIOR: Final = "no earlier study is at hand, so no words of change."
_PRIOR: Final = "words of change only against the earlier study given."


def render_concepts(found: DraftConcepts, ontology: Ontology, *, has_prior: bool, budget: int = BUDGET) -> str:
    """Write the block; knowledge that does not fit into `budget` tokens is left out, the last concepts' first."""
    facts = [FACTS, *(_fact(i, c, ontology) for i, c in enumerate(found.concepts, 1))]
    facts += [LEGEND] if found.concepts else [NO_CONCEPT]
    rules = _RULES + (_PRIOR if has_prior else _NO_PRIOR)
    left = budget - sum(map(tokens, (*facts, KNOWLEDGE, rules)))
    knowledge: list[str] = []
    for triple in found.knowledge:
        line = f"({ontology[triple.subject].slug}, {triple.relation}, {triple.text.rstrip('.')})"
        if tokens(line) <= left:
            left -= tokens(line)
            knowledge.append(line)
    return "\n".join([*facts, *([KNOWLEDGE, *knowledge] if knowledge else []), rules]) + "\n"


def tokens(text: str) -> int:
    """How many tokens a text has at most, roughly, for any byte-pair vocabulary; a line end is one.

    Other scripts and signs count their bytes, which is what a vocabulary without them falls back to.
    """
    return 1 + sum(
        ceil(len(piece) / _LETTERS) if piece.isascii() else len(piece.encode("utf-8", "replace"))
        for piece in _PIECE.findall(text)
    )


def _fact(number: int, concept: DraftConcept, ontology: Ontology) -> str:
    """One line; without an expert's probability the similar cases speak, and without those nobody does."""
    if concept.probability is not None:
        # As many digits as calibration is good for, and no bare zero or one.
        weight = f"{min(max(concept.probability, 0.01), 0.99):.2f}".lstrip("0")
    else:
        weight = f"{len(concept.cases)} of {concept.of} cases" if concept.cases else "-"
    site = ontology[concept.site].name if concept.site else ""
    place = " ".join(part for part in (concept.side, site) if part) or "-"
    return f"C{number} {concept.slug} | {concept.standing} | {weight} | {place}"
