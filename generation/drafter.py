"""The steps of a draft, in the order they happen, for every face of the product.

`Drafter` knows the steps and none of the parts: encoder, retriever, gate and statements come in from outside. It
refuses to know about transports, files and stores. Steps that need an expert or a language model join this list when
those exist; the retrieval draft stays as degraded mode and as the floor that every model must beat.
"""

from importlib.metadata import version

from generation.consensus import POLICY, Policy, draft_findings
from generation.statements import Statements, prepare_statements
from retrieval.encoders.encoder import Encoder
from retrieval.gate import Gate
from retrieval.records import Draft, ReasonCode, SimilarCases
from retrieval.retriever import FOR_A_DRAFT, Query, Retriever
from retrieval.study import ReadStudy

NAME = "retrieval-consensus-2"
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
        # 7. The draft, with everything needed to write it again.
        return Draft(
            status="drafted",
            sentences=consensus.sentences,
            warnings=verdict.warnings,
            images=read.study.digests,
            evidence=evidence,
            drafter=self._name,
            software=version("prelim"),
        )

    def _abstain(self, reason: ReasonCode | None, explanation: str, read: ReadStudy, found: SimilarCases) -> Draft:
        return Draft(
            status="abstained",
            reason=reason,
            explanation=explanation,
            warnings=found.verdict.warnings,
            images=read.study.digests,
            evidence=found.evidence,
            drafter=self._name,
            software=version("prelim"),
        )
