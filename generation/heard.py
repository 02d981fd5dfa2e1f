"""Whose words are heard while a draft is made: not those that speak to a language model instead of a reader.

Study and similar cases in, the same without texts that hold an order (`retrieval.orders`) out, and warnings that say so
by kind and number. A text is left out as a whole: who orders once may state falsely in the next sentence. The record of
a draft keeps the evidence as it was found; the same words are left out again when the draft is written again.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

from prompts.data import clean
from retrieval.orders import holds_order
from retrieval.records import RetrievedCase, Study

CODE: Final = "ORDER_LIKE"
"""What the warnings begin with."""
_WHY: Final = "what reads like an order to a language model"


class Heard(NamedTuple):
    """What may be drafted from."""

    study: Study
    """Without the words of the request that hold an order."""
    cases: tuple[RetrievedCase, ...]
    """Without the cases whose reports do."""
    warnings: tuple[str, ...]
    """What was left out; never in its own words."""


def orders(text: str) -> bool:
    """Whether a text speaks to a language model, as it stands or as prompts would show it, without what is unseen."""
    return holds_order(text) or holds_order(clean(text))


def heard(study: Study, cases: Sequence[RetrievedCase]) -> Heard:
    """Leave out every text that holds an order."""
    given = {"indication": study.indication, "technique": study.technique, "comparison": study.comparison}
    silent = [name for name, text in given.items() if text and orders(text)]
    priors = tuple(prior for prior in study.priors if not orders(prior.text))
    speaking = tuple(case for case in cases if not orders(case.case.report.text))
    warnings = [f"{CODE}: the {name} holds {_WHY}, and was not used" for name in silent]
    if lost := len(study.priors) - len(priors):
        warnings.append(f"{CODE}: {lost} of {len(study.priors)} earlier reports hold {_WHY}, and were not used")
    if lost := len(cases) - len(speaking):
        warnings.append(f"{CODE}: {lost} of {len(cases)} similar cases hold {_WHY}, and were not heard")
    if warnings:
        study = study.model_copy(update={**dict.fromkeys(silent), "priors": priors})
    return Heard(study, speaking, tuple(warnings))
