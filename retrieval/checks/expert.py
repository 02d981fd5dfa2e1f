"""A text against the classifier: what it contradicts, what it leaves out, and where the two are not equally sure.

The hierarchy decides what contradicts what. A consolidation that is stated contradicts a classifier that excludes any
opacity, and an opacity that is stated does not contradict one that excludes consolidation; a denied opacity contradicts
one that found a consolidation.
"""

from collections.abc import Iterator

from retrieval.checks.context import CheckContext
from retrieval.checks.remark import Remark
from retrieval.checks.said import RESTRICTED, Said, opposite, remark_on, upper
from retrieval.expert_scores import ExpertScore
from retrieval.mentions import ConceptId, ConceptMention


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
            contrary = contrary and not _partly(said, m)
        elif m.certainty == "present":
            contrary = score.band == "absent" and ontology.is_a(m.concept, score.concept)
        else:
            contrary = m.certainty == "absent" and score.band == "present" and ontology.is_a(score.concept, m.concept)
            contrary = contrary and not opposite(m.side, score.side) and _denies_it(said, m, score)
        if contrary:
            against.append(score)
    return max(against, key=lambda s: (s.concept == m.concept, abs(s.probability - 0.5)), default=None)


def _denied_by_normal(said: Said, normal: ConceptId, score: ExpertScore) -> bool:
    """Whether it is a statement of normality that rules out what was found."""
    group = said.ontology.excludes(score.concept, normal)
    return group is not None and group.strength == "hard" and said.ontology[normal].kind == "normal"


def _denies_it(said: Said, m: ConceptMention, score: ExpertScore) -> bool:
    """Whether the finding is denied, and not only a large, displaced or suspicious one, or one on one side or place.

    Who denies only that leaves room for another, but then the text must speak of the other; and where the denied side
    is the one on which it was found, of one that lies elsewhere.
    """
    narrowing, located = said.narrowing(m), m.side in ("left", "right") and m.side == score.side
    if not (narrowing or m.measurement or m.side in ("left", "right")):
        return True
    others = [
        o
        for o in said.few(said.mentions)
        if o.sentence != m.sentence and o.certainty != "absent" and said.related(o.concept, m.concept)
    ]
    if located and narrowing <= set(m.sites):
        others = [o for o in others if not said.one_place(o, m)]
    return not others


def _partly(said: Said, m: ConceptMention) -> bool:
    """Whether a statement of normality is of one side or of what is left."""
    return m.side in ("left", "right") or bool(RESTRICTED.search(said.sentence_of(m).text))
