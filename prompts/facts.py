"""What is known of a study when its prompts are written: the study itself, and what others say of it."""

from retrieval.draft_concepts import DraftConcepts
from retrieval.expert_scores import ExpertScores
from retrieval.record import Record
from retrieval.records import RetrievedCase, Study


class Facts(Record):
    """Everything the branches are made of; a branch shows its part of it."""

    study: Study
    """The study a draft is asked for, with its priors."""
    experts: ExpertScores | None = None
    """What the experts say of its images; None where none was asked."""
    cases: tuple[RetrievedCase, ...] = ()
    """Similar cases that may speak (`retrieval.agreement`), nearest first. They are other patients' and no priors."""
    concepts: DraftConcepts | None = None
    """What the draft should think of; None where nothing was looked up."""
