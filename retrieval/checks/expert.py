"""A text against the classifier: what it contradicts, what it leaves out, and where the two are not equally sure.

The hierarchy decides what contradicts what. A consolidation that is stated contradicts a classifier that excludes any
opacity, and an opacity that is stated does not contradict one that excludes consolidation; a denied opacity contradicts one that
found a consolidation.
"""

from collections.abc import Iterator

from retrieval.checks.context import CheckContext
from retrieval.checks.remark import Remark
from retrieval.checks.said import RESTRICTED, Said, remark_on, upper
from retrieval.expert_scores import ExpertScore
from retrieval.mentions import ConceptId, ConceptMention

_HIGH = 4
"""Rank of moderate: who denies a large effusion leaves a small one open; who denies a small one denies all."""
_ALSO = ("focal", "diffuse", "acute")
"""Words that a denial may carry and still deny the finding as such."""


def contra_expert(said: Said, context: CheckContext) -> Iterator[Remark]:
    """What is stated though the classifier excludes it, and denied though the classifier found it."""
    for m in said.mentions:
        if said.is_new_only(m):
            continue
        against = _against(said, context, m)
        if against is None:
            continue
        named, expert, p = said.name(m.concept), said.name(against.concept), f"{against.probability:.2f}"
        what = (
            f"the image classifier finds {expert} absent (p {p}, absent below {against.absent_below:.2f})"
            if against.band == "absent"
            else f"the image classifier finds {expert} present (p {p}, present from {against.present_above:.2f})"
        )
        how = "denied" if m.certainty == "absent" else "stated"
        explanation = f"{upper(named)} is {how}, but {what}."
        yield remark_on(m, "CONTRA_EXPERT", said.weight(m.concept, against.concept), explanation, against.concept)


def omit_expert(said: Said, context: CheckContext) -> Iterator[Remark]:
    """What the classifier found and the text neither states, doubts nor denies."""
    spoken = {m.concept for m in said.mentions if not said.is_new_only(m)}
    spoken |= {c for m in said.mentions for c in said.ontology.ids(said.ontology[m.concept].implies)}
    found = [s for s in _scores(context) if s.band == "present"]
    for score in found:
        # Of a finding and what is narrower only the narrower one is asked for.
        if any(o is not score and said.ontology.is_a(o.concept, score.concept) for o in found):
            continue
        if any(said.related(c, score.concept) for c in spoken) or any(
            _denied_by_normal(said, c, score) for c in spoken
        ):
            continue
        critical = said.ontology[score.concept].acuity == "critical"
        yield Remark(
            code="OMIT_EXPERT",
            severity="hard" if critical else "soft",
            concepts=(score.concept,),
            explanation=f"The image classifier finds {said.name(score.concept)} (p {score.probability:.2f}, present "
            f"from {score.present_above:.2f}), and the text does not speak of it.",
        )


def certainty(said: Said, context: CheckContext) -> Iterator[Remark]:
    """What is stated though the classifier leaves it open, and left open though the classifier has settled it."""
    scores = {s.concept: s for s in _scores(context)}
    stated = {m.concept for m in said.mentions if m.certainty == "present"}
    for m in said.mentions:
        score = scores.get(m.concept)
        if score is None or said.is_new_only(m):
            continue
        named, p = said.name(m.concept), f"p {score.probability:.2f}"
        if m.certainty == "present" and score.band == "uncertain":
            told = f"{upper(named)} is stated, and the image classifier leaves it open ({p})."
        elif m.certainty == "uncertain" and score.band != "uncertain" and m.concept not in stated:
            told = f"{upper(named)} is left open, and the image classifier finds it {score.band} ({p})."
        else:
            continue
        yield remark_on(m, "CERTAINTY", "soft", told)


def _scores(context: CheckContext) -> tuple[ExpertScore, ...]:
    return context.experts.scores if context.experts else ()


def _against(said: Said, context: CheckContext, m: ConceptMention) -> ExpertScore | None:
    """The score that a mention contradicts most; None when it contradicts none."""
    ontology, normal = said.ontology, said.ontology[m.concept].kind == "normal"
    against: list[ExpertScore] = []
    for score in _scores(context):
        if normal:
            contrary = score.band == "present" and _denied_by_normal(said, m.concept, score)
            contrary = contrary and not _partly(said, m) and _same_side(m, score)
        elif m.certainty == "present":
            contrary = score.band == "absent" and ontology.is_a(m.concept, score.concept)
        else:
            contrary = m.certainty == "absent" and score.band == "present" and ontology.is_a(score.concept, m.concept)
            contrary = contrary and _whole_denial(said, m) and _same_side(m, score)
        if contrary:
            against.append(score)
    return max(against, key=lambda s: (s.concept == m.concept, abs(s.probability - 0.5)), default=None)


def _denied_by_normal(said: Said, normal: ConceptId, score: ExpertScore) -> bool:
    """Whether it is a statement of normality that rules out what was found."""
    group = said.ontology.excludes(score.concept, normal)
    return group is not None and group.strength == "hard" and said.ontology[normal].kind == "normal"


def _same_side(m: ConceptMention, score: ExpertScore) -> bool:
    """Whether what is denied on one side is what was found: a denial on the left leaves the right open."""
    return m.side in (None, "bilateral") or m.side == score.side or score.side == "bilateral"


def _whole_denial(said: Said, m: ConceptMention) -> bool:
    """Whether the finding is denied, and not only a large, displaced or suspicious one, or one at one place."""
    if any((said.ontology[degree].level or 0) >= _HIGH for degree in (m.size, m.severity) if degree):
        return False
    if any(said.ontology[c].slug not in _ALSO for c in m.modifiers) or m.measurement:
        return False
    # "No opacity at the apex" says nothing of the base, where the text may state one.
    return not m.sites or not any(
        o.certainty != "absent" and said.related(o.concept, m.concept) and not said.one_place(o, m)
        for o in said.mentions
    )


def _partly(said: Said, m: ConceptMention) -> bool:
    """Whether a statement of normality is of one side or of what is left."""
    return m.side in ("left", "right") or bool(RESTRICTED.search(said.sentence_of(m).text))
