"""What is known of a draft when it is checked, and what is excused, for each of the two ways to write one."""

from collections.abc import Sequence

from generation.checked import Excuse
from generation.consensus import Policy
from generation.draft import Sentence
from prompts.facts import Facts
from prompts.priors import shown_priors, shown_sections
from retrieval.checks.context import CheckContext, SimilarReport
from retrieval.checks.remark import Remark
from retrieval.expert_scores import ExpertScores
from retrieval.extraction.extractor import embedded
from retrieval.records import RetrievedCase, Study


def known_by_cases(study: Study, cases: Sequence[RetrievedCase], experts: ExpertScores | None = None) -> CheckContext:
    """Beside a draft that similar cases make; `experts` were asked where it stands in for a language model's."""
    return CheckContext(
        # A retrieval draft compares with no earlier study, even where the request names one, so it may speak of none.
        has_prior=False,
        history=_given(study),
        # Nothing is measured, which is known. No detector of devices is asked: its checks stay out.
        measurements=(),
        experts=experts,
        cases=_reports(cases),
    )


def known_by_model(facts: Facts) -> CheckContext:
    """Beside a draft that a language model writes."""
    priors = priors_said(facts.study)
    return CheckContext(
        has_prior=any(shown_sections(prior) for prior in shown_priors(facts.study)),
        # A change can be told of what an earlier report speaks of.
        compared=frozenset(m.concept for text in priors for m in embedded().read(text)),
        history="\n".join([_given(facts.study), *priors]),
        # As above; nothing is said of devices.
        measurements=(),
        experts=facts.experts,
        cases=_reports(facts.cases),
    )


def priors_said(study: Study) -> list[str]:
    """What each earlier study that prompts show says of its images, the most recent first; why it was made is not."""
    shown = (shown_sections(prior) for prior in shown_priors(study))
    return ["\n\n".join(text for heading, text in sections if heading) for sections in shown]


def shared(policy: Policy) -> Excuse:
    """Excuses COPY where a sentence of similar cases is more than one patient's.

    Every sentence of such a draft is copied, and COPY looks for the side, size, date or device of *one* other patient.
    Here several cases say the same. The wording has asked them for the side, dates and numbers were refused before
    anything was quoted, and where most put the finding elsewhere PLACE_DIFFERS says so.
    """
    enough = max(2, policy.min_support)

    def excused(remark: Remark, sentence: Sentence) -> bool:
        return remark.code == "COPY" and len(sentence.support.case_ids) >= enough

    return excused


def _given(study: Study) -> str:
    return "\n".join(words for words in (study.indication, study.technique, study.comparison) if words)


def _reports(cases: Sequence[RetrievedCase]) -> tuple[SimilarReport, ...]:
    return tuple(SimilarReport.of(retrieved.case) for retrieved in cases)
