"""Every check of a text, in the order of the catalogue: the one door of this package.

    report + context ─> sentences with what they say ─> every rule ─> remarks, and which rules lacked their input

Rules are pure functions of what is said and what is known. A rule whose input is not known says nothing, and the answer
names it, so that silence is never mistaken for approval.
"""

from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

from retrieval.checks.context import CheckContext
from retrieval.checks.copying import copied
from retrieval.checks.devices import device_event, device_position, device_unseen
from retrieval.checks.expert import certainty, contra_expert, omit_expert
from retrieval.checks.foreign import not_on_the_image, unmeasured
from retrieval.checks.internal import attributes, contradiction, exclusion, repetition
from retrieval.checks.places import impossible_side, impossible_site, side_against_expert, side_between_sections
from retrieval.checks.priors import change_without_evidence, prior_reference
from retrieval.checks.remark import Checked, NotRun, Remark, RemarkCode
from retrieval.checks.said import Said
from retrieval.checks.support import negation, unsupported
from retrieval.extraction.extractor import Extractor
from retrieval.records import Report


class Rule(NamedTuple):
    """One row of the catalogue."""

    code: RemarkCode
    """What its remarks are called; several rules may share one."""
    find: Callable[[Said, CheckContext], Iterable[Remark]]
    """The rule."""
    needs: tuple[str, ...] = ()
    """Fields of the context without which it says nothing."""


CATALOGUE: Final = (
    Rule("CONTRA_EXPERT", contra_expert, ("experts",)),
    Rule("OMIT_EXPERT", omit_expert, ("experts",)),
    Rule("UNSUPPORTED", unsupported, ("cases",)),
    Rule("PRIOR_REF", prior_reference, ("has_prior",)),
    Rule("CHANGE_NO_EVID", change_without_evidence, ("has_prior", "compared")),
    Rule("LATERALITY", side_against_expert, ("experts",)),
    Rule("LATERALITY", side_between_sections),
    Rule("LATERALITY", impossible_side),
    Rule("SITE", impossible_site),
    Rule("INTERNAL", contradiction),
    Rule("INTERNAL", exclusion),
    Rule("INTERNAL", attributes),
    Rule("NEGATION", negation, ("cases", "supports")),
    Rule("DEVICE_UNSEEN", device_unseen, ("devices",)),
    Rule("DEVICE_STATE", device_event, ("has_prior",)),
    Rule("DEVICE_STATE", device_position),
    Rule("MEASURE", unmeasured, ("measurements",)),
    Rule("CERTAINTY", certainty, ("experts",)),
    Rule("NONIMAGE", not_on_the_image, ("history",)),
    Rule("COPY", copied, ("cases",)),
    Rule("REPEAT", repetition),
)
"""Every rule, in the order in which a reader would ask."""


def check(report: Report, context: CheckContext, extractor: Extractor) -> Checked:
    """Everything in a report or draft that deserves a second look; total for any text, and the same every time."""
    said = Said(report, extractor, context.sections)
    remarks: list[Remark] = []
    not_run: list[NotRun] = []
    for rule in CATALOGUE:
        lacks = tuple(name for name in rule.needs if getattr(context, name) is None)
        if lacks:
            not_run.append(NotRun(code=rule.code, lacks=lacks))
        else:
            remarks += rule.find(said, context)
    return Checked(
        remarks=tuple(sorted(dict.fromkeys(remarks), key=_order)), not_run=tuple(not_run), crowded=said.crowded
    )


def _order(remark: Remark) -> tuple[float, bool, str]:
    place = float("inf") if remark.start is None else remark.start
    return place, remark.severity == "soft", remark.code
