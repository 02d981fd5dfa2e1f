"""The steps of a draft, in the order they happen, for every face of the product.

`Drafter` knows the steps and none of the parts: encoder, retriever, gate and statements come in from outside. It
refuses to know about transports, files and stores. Steps that need an expert or a language model join this list when
those exist; the retrieval draft stays as degraded mode and as the floor that every model must beat.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from itertools import accumulate

from generation.consensus import POLICY, Policy, draft_findings
from generation.draft import Draft, Flag, Sentence
from generation.statements import Statements, prepare_statements
from retrieval.checks.check import check
from retrieval.checks.context import CheckContext, SimilarReport
from retrieval.checks.remark import Remark
from retrieval.encoders.encoder import Encoder
from retrieval.extraction.extractor import embedded
from retrieval.extraction.sentences import sentence_spans
from retrieval.gate import Gate
from retrieval.records import Evidence, ReasonCode, SimilarCases, Study
from retrieval.retriever import FOR_A_DRAFT, Query, Retriever
from retrieval.sections import compose_report
from retrieval.study import ReadStudy

NAME = "retrieval-consensus-3"
"""Changes whenever the same evidence and policy would give another draft."""
NO_PATIENT = "the patient is not named, so other studies of the same patient cannot be left out"
DRAFT_CASES = 40
"""Cases retrieved for a draft: the policy's voters, and some more whose words may be borrowed."""


class Drafter:
    """Similar cases and drafts for studies."""

    def __init__(
        self, encoder: Encoder, retriever: Retriever, gate: Gate, statements: Statements, policy: Policy = POLICY
    ) -> None:
        self._encoder = encoder
        self._retriever = retriever
        self._gate = gate
        self._statements = prepare_statements(statements)
        self._policy = policy
        self._name = f"{NAME}/{policy.identity}"

    def similar_cases(self, read: ReadStudy, limit: int, query: Query = FOR_A_DRAFT) -> SimilarCases:
        """Return the gate's verdict and the similar cases; a study out of scope has none.

        A search may ask for more than a draft does. Raises StoreUnavailable when nothing is published.
        """
        # 1. The study arrives read: pixels were decoded in a limited process, headers are records.
        # 2. The gate's header rules: modality and body part.
        verdict = self._gate.judge_headers(read.study)
        if not verdict.in_scope:
            verdict = verdict.model_copy(update={"warnings": read.warnings})
            return SimilarCases(verdict=verdict, evidence=self._retriever.nothing())
        # 3. The gate's pixel rules: can anything be seen, is it a chest radiograph, which view is it?
        read, verdict = self._gate.judge_pixels(read)
        if not verdict.in_scope:
            return SimilarCases(verdict=verdict, evidence=self._retriever.nothing())
        # 4. One unit vector per image.
        vectors = self._encoder.finish(self._encoder.run(read.batch()))
        # 5. Similar cases, never the patient's own.
        if read.study.patient_key is None:
            verdict = verdict.model_copy(update={"warnings": (*verdict.warnings, NO_PATIENT)})
        return SimilarCases(verdict=verdict, evidence=self._retriever.retrieve(read.study, vectors, limit, query))

    def draft(self, read: ReadStudy) -> Draft:
        """Draft the findings from the reports of similar cases, or say why there is no draft."""
        # 1.-5. Gate and retrieval.
        found = self.similar_cases(read, DRAFT_CASES)
        verdict, evidence = found.verdict, found.evidence
        if not verdict.in_scope:
            return self._abstain(verdict.reason, verdict.explanation, read, found)
        if not evidence.cases:
            why = "the index holds no case of another patient that this study may be compared with"
            return self._abstain("NO_CLOSE_MATCH", why, read, found)
        # 6. What the similar cases agree on, in sentences that belong to nobody in particular.
        consensus = draft_findings(evidence.cases, self._statements, self._policy)
        if not consensus.sentences:
            why = "the similar cases agree on nothing that may be said of another patient"
            return self._abstain("NO_CONSENSUS", why, read, found)
        # 7. The checks: a sentence with a hard remark is left out and counted, soft remarks become flags.
        sentences, dropped = keep_checked(consensus.sentences, read.study, evidence, self._policy)
        if not sentences:
            why = "the checks left out every sentence that the similar cases agree on"
            return self._abstain("NO_CONSENSUS", why, read, found, dropped)
        # 8. The draft, with everything needed to write it again.
        return Draft(
            status="drafted",
            sentences=sentences,
            dropped=dropped,
            warnings=verdict.warnings,
            images=read.study.digests,
            evidence=evidence,
            drafter=self._name,
            software=version("prelim"),
        )

    def _abstain(
        self,
        reason: ReasonCode | None,
        explanation: str,
        read: ReadStudy,
        found: SimilarCases,
        dropped: Mapping[str, int] | None = None,
    ) -> Draft:
        return Draft(
            status="abstained",
            reason=reason,
            explanation=explanation,
            dropped=dict(dropped or {}),
            warnings=found.verdict.warnings,
            images=read.study.digests,
            evidence=found.evidence,
            drafter=self._name,
            software=version("prelim"),
        )


def keep_checked(
    sentences: Sequence[Sentence], study: Study, evidence: Evidence, policy: Policy = POLICY
) -> tuple[tuple[Sentence, ...], dict[str, int]]:
    """The sentences that no hard remark is on, with the soft ones as flags, and how many were left out by code.

    What was left out may be what made another sentence a repetition or a contradiction, so the rest is checked again
    until nothing hard is left. A sentence with several hard remarks counts once, under the first.
    """
    kept, dropped = tuple(sentences), Counter[str]()
    while kept:
        remarks = _remarks(kept, study, evidence, policy)
        hard = [next((r.code for r in found if r.severity == "hard"), None) for found in remarks]
        if not any(hard):
            return tuple(_flagged(s, found) for s, found in zip(kept, remarks, strict=True)), dict(dropped)
        dropped.update(code for code in hard if code)
        kept = tuple(s for s, code in zip(kept, hard, strict=True) if code is None)
    return (), dict(dropped)


def _remarks(sentences: Sequence[Sentence], study: Study, evidence: Evidence, policy: Policy) -> list[list[Remark]]:
    """What the checks say of each sentence when all are read together."""
    report = compose_report(findings=" ".join(s.text for s in sentences))
    begin = report.text.index(report.findings)
    starts = list(accumulate((len(s.text) + 1 for s in sentences[:-1]), initial=begin))
    # The checks count sentences as the extractor does, which may see two in one of the draft's.
    supports = {
        number: sentences[bisect_right(starts, begin + first) - 1].support.case_ids
        for number, (first, _) in enumerate(sentence_spans(report.findings))
    }
    context = CheckContext(
        # A retrieval draft compares with no earlier study, even where the request names one, so it may speak of none.
        has_prior=False,
        history="\n".join(words for words in (study.indication, study.technique, study.comparison) if words),
        # Nothing is measured, which is known. No classifier and no detector of devices is asked: their checks stay out.
        measurements=(),
        cases=tuple(SimilarReport.of(c.case) for c in evidence.cases),
        supports=supports,
    )
    found: list[list[Remark]] = [[] for _ in sentences]
    for remark in check(report, context, embedded()).remarks:
        # Only OMIT_EXPERT speaks of no sentence, and no expert is asked.
        if remark.start is not None:
            place = bisect_right(starts, remark.start) - 1
            if remark.code != "COPY" or not _shared(sentences[place], policy):
                found[place].append(remark)
    return found


def _shared(sentence: Sentence, policy: Policy) -> bool:
    """Whether a sentence is more than one patient's, so that COPY has nothing to say of it.

    Every sentence of this draft is copied, and COPY looks for the side, size, date or device of *one* other patient.
    Here several cases say the same. The wording has asked them for the side, dates and numbers were refused before
    anything was quoted, and where most put the finding elsewhere PLACE_DIFFERS says so.
    """
    return len(sentence.support.case_ids) >= max(2, policy.min_support)


def _flagged(sentence: Sentence, remarks: Sequence[Remark]) -> Sentence:
    flags = (Flag(code=r.code, severity=r.severity, explanation=r.explanation) for r in remarks)
    return sentence.model_copy(update={"flags": (*sentence.flags, *flags)})
