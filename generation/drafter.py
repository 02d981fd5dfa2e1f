"""The ten steps of a draft, in the order they happen, for every face of the product, for bulk and for evaluation.

`Drafter` knows the steps and none of the parts: encoder, retriever, gate, statements and writer come in from outside.
It refuses to know about transports, files and stores. There are two ways to write. Without a writer the sentences are
copied from similar cases: the floor that every language model must beat, and what stands in for one that does not
answer. With a writer a language model writes, from the image and from what experts and similar cases say of it.
"""

import hashlib
from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass
from importlib.metadata import version
from time import perf_counter
from typing import Final

from generation.checked import Checked, keep_checked
from generation.consensus import POLICY, Policy, draft_findings
from generation.decoding.generator import Generated
from generation.draft import Draft, DraftEvent, Tell
from generation.halt import Halt
from generation.heard import Heard, heard
from generation.known import known_by_cases, known_by_model, shared
from generation.model_draft import Reading
from generation.statements import Statements, prepare_statements
from generation.steps import named, step
from generation.support import Sources
from generation.writer import Writer, asked_again, writing_of
from prompts.facts import Facts
from retrieval import agreement, draft_concepts
from retrieval.encoders.encoder import Encoder
from retrieval.errors import GeneratorUnavailable, Overloaded, RequestError
from retrieval.expert_scores import ExpertScores
from retrieval.extraction.extractor import embedded
from retrieval.gate import Gate
from retrieval.indication import asked_about
from retrieval.records import Evidence, GateVerdict, ReasonCode, SimilarCases
from retrieval.retriever import FOR_A_DRAFT, Query, Retriever
from retrieval.study import ReadStudy

NAME: Final = "retrieval-consensus-4"
"""Changes whenever the same evidence and policy would give another draft."""
MODEL_NAME: Final = "language-model-2"
"""Changes whenever the same text of a language model and the same evidence would give another draft."""
NO_PATIENT: Final = "the patient is not named, so other studies of the same patient cannot be left out"
NO_EXPERT: Final = "no expert judged the images, so nobody held an opinion of them against the language model's"
NO_CASES: Final = "no similar case may speak of this study, so the language model wrote without any"
CUT_OFF: Final = "the language model was cut off at its greatest length: the end, often the impression, may be missing"
DRAFT_CASES: Final = 40
"""Cases retrieved for a draft: the policy's voters, and some more whose words may be borrowed."""


class Drafter:
    """Similar cases and drafts for studies; may be used from several threads."""

    def __init__(
        self,
        encoder: Encoder,
        retriever: Retriever,
        gate: Gate,
        statements: Statements,
        policy: Policy = POLICY,
        *,
        writer: Writer | None = None,
    ) -> None:
        """Without a `writer` drafts are made of similar cases' sentences."""
        self._encoder = encoder
        self._retriever = retriever
        self._gate = gate
        self._statements = prepare_statements(statements)
        self._policy = policy
        self._writer = writer

    @property
    def writer(self) -> Writer | None:
        """Who writes; None where similar cases' sentences are copied."""
        return self._writer

    @property
    def identities(self) -> tuple[str, ...]:
        """What its drafts may name as their `drafter`: by similar cases, and, with a writer, by a language model."""
        by_cases = f"{NAME}/{self._policy.identity}"
        return (by_cases, f"{MODEL_NAME}/{_SETTINGS}") if self._writer else (by_cases,)

    def written_by(self, writer: Writer | None) -> "Drafter":
        """The same drafter with another writer, such as the preset and the seed of one request."""
        other = copy(self)
        other._writer = writer
        return other

    def similar_cases(self, read: ReadStudy, limit: int, query: Query = FOR_A_DRAFT) -> SimilarCases:
        """Return the gate's verdict and the similar cases; a study out of scope has none.

        A search may ask for more than a draft does. Raises StoreUnavailable when nothing is published.
        """
        read, verdict = self._admitted(read)
        evidence = self._similar(read, limit, query) if verdict.in_scope else self._retriever.nothing()
        return SimilarCases(verdict=verdict, evidence=evidence)

    def draft(self, read: ReadStudy, tell: Tell | None = None, halt: Halt | None = None) -> Draft:
        """Draft a study, or say why there is no draft.

        `tell` is told each sentence of a language model as soon as it is complete and checked. With a writer, `read`
        must hold pixels. Raises Cancelled and DeadlineExceeded soon after `halt` says so, StoreUnavailable, and what
        the generator raises, GeneratorUnavailable and Overloaded only where the writer's fallback is `error`.
        """
        tell, halt = tell or _to_nobody, halt or Halt()
        # 1. A face has parsed the request: `read` is a record of the study with what was decoded of its images.
        # 2. From here on nothing knows the transport.
        # 3. Pixels are display-ready grey, decoded in limited processes before this began.
        # 4. The gate: modality, view, quality. Out of scope is an answer.
        admitted, verdict = self._admitted(read)
        if not verdict.in_scope:
            nothing = _Basis(read, admitted, verdict, self._retriever.nothing(), Heard(admitted.study, (), ()))
            return self._abstain(nothing, verdict.reason, verdict.explanation)
        halt.pause()
        # 5. What the experts say of the images. The encoder's vectors are a part of retrieval.
        experts = None
        if self._writer is not None:
            with step("experts", experts=len(self._writer.experts)):
                experts = self._writer.consulted(admitted)
        halt.pause()
        # 6. Similar cases, never the patient's own.
        evidence = self._similar(admitted, DRAFT_CASES, FOR_A_DRAFT)
        # What speaks to a language model instead of a reader is not heard, and that is said.
        spoken = heard(admitted.study, evidence.cases)
        verdict = verdict.model_copy(update={"warnings": (*verdict.warnings, *spoken.warnings)})
        basis = _Basis(read, admitted, verdict, evidence, spoken, experts)
        halt.pause()
        # 7.-10. One of the two ways to write.
        if self._writer is None:
            return self._from_cases(basis, tell, halt)
        return self._by_language_model(self._writer, basis, tell, halt)

    def rewrite(self, draft: Draft, read: ReadStudy) -> Generated:
        """Write a recorded draft again, with this drafter's generator: the same tokens, if the machine is the same.

        Everything but the study's own files and request comes from the record. Raises RequestError where the draft was
        not written by a language model, or the study, the prompts or the weights are not those of the record.
        """
        if draft.writing is None or self._writer is None:
            raise RequestError("no language model wrote this draft", fix="name a draft with its `writing`")
        if read.study.digests != draft.images:
            raise RequestError("the draft is of other image files", fix="give the files it names by digest")
        generator, (admitted, _) = self._writer.generator, self._admitted(read)
        # A server keeps its weights to itself: there the name of what it serves is all that can be compared.
        served = not generator.weights and generator.language_model != draft.writing.language_model
        if generator.weights != draft.writing.weights or served:
            raise RequestError("another language model, or other weights, wrote it", fix="load the one that it names")
        facts = _facts(heard(admitted.study, draft.evidence.cases), draft.experts, draft.concepts)
        asked = asked_again(draft.writing, facts, admitted, embedded().ontology, generator)
        if asked.digests != draft.writing.prompts:
            raise RequestError("its prompts cannot be made again", fix="give the request as it was, with its priors")
        return generator.generate([asked.request], asked.images)[0]

    def _admitted(self, read: ReadStudy) -> tuple[ReadStudy, GateVerdict]:
        """The images that may be drafted from, and the gate's verdict."""
        with step("gate", images=len(read.study.images)) as span:
            read, verdict = self._judged(read)
            span.set_attributes(named({"admitted": len(read.study.images), "reason": verdict.reason or "NONE"}))
        return read, verdict

    def _judged(self, read: ReadStudy) -> tuple[ReadStudy, GateVerdict]:
        # Header rules first: modality and body part.
        verdict = self._gate.judge_headers(read.study)
        if not verdict.in_scope:
            return read, verdict.model_copy(update={"warnings": read.warnings})
        # Then pixel rules: can anything be seen, is it a chest radiograph, which view is it?
        read, verdict = self._gate.judge_pixels(read)
        if verdict.in_scope and read.study.patient_key is None:
            verdict = verdict.model_copy(update={"warnings": (*verdict.warnings, NO_PATIENT)})
        return read, verdict

    def _similar(self, read: ReadStudy, limit: int, query: Query) -> Evidence:
        """One unit vector per image, and the cases near them."""
        with step("retrieve", images=len(read.study.images)) as span:
            vectors = self._encoder.finish(self._encoder.run(read.batch()))
            evidence = self._retriever.retrieve(read.study, vectors, limit, query)
            span.set_attributes(named({"cases": len(evidence.cases), "snapshot": evidence.index_snapshot or ""}))
        return evidence

    def _from_cases(self, basis: "_Basis", tell: Tell, halt: Halt, *, fallback: str = "", told: int = 0) -> Draft:
        """Steps 7 to 10 without a language model: what similar cases agree on, in sentences copied from them.

        `fallback` says why no language model wrote, `told` how many sentences were told of it before.
        """
        spoken = basis.heard
        if not spoken.cases:
            why = "the index holds no case of another patient that this study may be compared with"
            return self._abstain(basis, "NO_CLOSE_MATCH", why, fallback=fallback)
        # 7.-9. Sentences that belong to nobody in particular.
        with step("write", generator="similar-cases", cases=len(spoken.cases)):
            consensus = draft_findings(spoken.cases, self._statements, self._policy)
        if not consensus.sentences:
            why = "the similar cases agree on nothing that may be said of another patient"
            return self._abstain(basis, "NO_CONSENSUS", why, fallback=fallback)
        halt.pause()
        # 10. The checks: a sentence with a hard remark is left out and counted, soft remarks become flags.
        known = known_by_cases(spoken.study, spoken.cases, basis.experts)
        with step("check", proposed=len(consensus.sentences)) as span:
            checked = keep_checked(consensus.sentences, known, shared(self._policy))
            span.set_attributes(_left(checked))
        halt.pause()
        rest = {
            "warnings": (*basis.verdict.warnings, *_missing(checked)),
            "dropped": checked.dropped,
            "fallback": fallback,
        }
        if not checked.sentences:
            why = "the checks left out every sentence that the similar cases agree on"
            return self._abstain(basis, "NO_CONSENSUS", why, **rest)
        for number, sentence in enumerate(checked.sentences, told):
            tell(DraftEvent(event="sentence", number=number, sentence=sentence))
        return self._draft(basis, sentences=checked.sentences, **rest)

    def _by_language_model(self, writer: Writer, basis: "_Basis", tell: Tell, halt: Halt) -> Draft:
        """Steps 7 to 10 with a language model."""
        reader, study = embedded(), basis.heard.study
        # 6. continued: of the similar cases only those that agree with the experts may speak.
        facts = _facts(basis.heard, basis.experts)
        # 7. At most twelve concepts to think of, from experts, indication and those cases.
        with step("concepts", cases=len(facts.cases)):
            asked_for = asked_about(study.indication or "", reader)
            concepts = draft_concepts.draft_concepts(facts.cases, basis.experts, asked_for, reader.ontology)
        facts = facts.model_copy(update={"concepts": concepts})
        # 8. The prompt of each branch, and the images it names.
        with step("prompts", branches=len(writer.preset.branches)):
            asked = writer.asked(facts, basis.admitted, reader.ontology)
        # 9. The branches are decoded together; each sentence is bound to its support and told as it is complete.
        reading = Reading(Sources(facts, self._statements.vocabulary), known_by_model(facts), tell)
        began, branches = perf_counter(), len(writer.preset.branches)
        try:
            with step("write", generator=writer.generator.name, preset=writer.preset.name, branches=branches) as span:
                (answer,) = writer.generator.generate([asked.request], asked.images, reading.hear, halt)
                span.set_attributes(named({"tokens": len(answer.token_ids), "finish": answer.finish}))
        except (GeneratorUnavailable, Overloaded) as error:
            told = reading.withdraw()
            if writer.fallback == "error":
                raise
            return self._from_cases(basis, tell, halt, fallback=error.code, told=told)
        writing = writing_of(asked, answer, writer.generator, perf_counter() - began)
        # 10. The checks of the whole; what was told and does not last is withdrawn.
        with step("check") as span:
            checked = reading.end(answer)
            span.set_attributes(_left(checked))
        warnings = [*basis.verdict.warnings]
        warnings += [NO_EXPERT] if basis.experts is None else []
        warnings += [] if facts.cases else [NO_CASES]
        warnings += [CUT_OFF] if answer.finish == "length" else []
        warnings += _missing(checked)
        written = {"concepts": concepts, "writing": writing, "warnings": tuple(warnings)}
        if all("UNREAD" in {flag.code for flag in sentence.flags} for sentence in checked.sentences):
            why = "the checks left nothing of what the language model wrote, or it wrote nothing that can be checked"
            return self._abstain(basis, "NOTHING_LEFT", why, dropped=checked.dropped, **written)
        return self._draft(basis, sentences=checked.sentences, dropped=checked.dropped, **written)

    def _abstain(self, basis: "_Basis", reason: ReasonCode | None, explanation: str, **more: object) -> Draft:
        return self._draft(basis, status="abstained", reason=reason, explanation=explanation, **more)

    def _draft(self, basis: "_Basis", **more: object) -> Draft:
        """The record, with everything needed to write the draft again; `more` are its other fields."""
        by_model = self._writer is not None and not more.get("fallback")
        fields: Mapping[str, object] = {
            "status": "drafted",
            "warnings": basis.verdict.warnings,
            "images": basis.read.study.digests,
            "evidence": basis.evidence,
            "experts": basis.experts,
            "drafter": self.identities[-1 if by_model else 0],
            "software": version("prelim"),
        }
        return Draft.model_validate({**fields, **more})


@dataclass(frozen=True)
class _Basis:
    """What a draft is made from, however it is written."""

    read: ReadStudy
    """As it was handed in."""
    admitted: ReadStudy
    """The same with the images that the gate lets pass."""
    verdict: GateVerdict
    evidence: Evidence
    heard: Heard
    """What of request and evidence may be drafted from."""
    experts: ExpertScores | None = None


def _facts(spoken: Heard, experts: ExpertScores | None, concepts: draft_concepts.DraftConcepts | None = None) -> Facts:
    """What the prompts are made of; of the similar cases those that may speak."""
    kept = agreement.agreeing(spoken.cases, experts, embedded().ontology).kept
    return Facts(study=spoken.study, experts=experts, cases=kept, concepts=concepts)


def _left(checked: Checked) -> Mapping[str, int | tuple[str, ...]]:
    """What a span says of the checks: how many sentences stay, and by which code each other one was left out."""
    codes = tuple(code for code, count in sorted(checked.dropped.items()) for _ in range(count))
    return {"prelim.sentences": len(checked.sentences), "prelim.dropped_by": codes}


def _missing(checked: Checked) -> list[str]:
    return [f"{remark.code}: {remark.explanation}" for remark in checked.missing]


def _to_nobody(_event: DraftEvent) -> None:
    pass


_SETTINGS: Final = hashlib.sha256(
    (agreement.SETTINGS.model_dump_json() + draft_concepts.SETTINGS.model_dump_json()).encode()
).hexdigest()[:12]
"""Which cases may speak and which concepts are named, by digest."""
