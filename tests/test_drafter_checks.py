"""The checks as a step of the draft: hard remarks leave a sentence out, soft ones flag it. Every report is invented."""

from collections.abc import Sequence
from contextlib import closing
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from evaluation.drawings import write_studies
from generation.checked import keep_checked
from generation.consensus import POLICY, Policy, draft_findings
from generation.draft import Draft, Flag, Sentence, Support
from generation.drafter import Drafter
from generation.known import known_by_cases, shared
from generation.statements import Statements, prepare_statements, summarise
from retrieval.encoders.descriptor import DescriptorEncoder, features
from retrieval.expert_scores import ExpertScore, ExpertScores
from retrieval.gate import Gate
from retrieval.look import Scope, look
from retrieval.ontology.ontology import load
from retrieval.pixels.sandbox import Readers
from retrieval.records import (
    Case,
    CaseId,
    CaseImage,
    Evidence,
    ImageAttributes,
    ImageDigest,
    PatientKey,
    RetrievedCase,
    Study,
    StudyImage,
    StudyUid,
)
from retrieval.retriever import Retriever
from retrieval.sections import compose_report
from retrieval.stores.faiss_segments import FaissSegments
from retrieval.stores.segmented import SegmentedStore
from retrieval.stores.store import Entry
from retrieval.study import read_study
from service.show import show_draft

CLEAR = "Lungs are clear."
EFFUSION = "Small left pleural effusion."
LONG = "There is a small left pleural effusion with blunting of the left costophrenic angle."
DIGEST = ImageDigest("0" * 64)


def case(number: int, findings: str) -> Case:
    return Case(
        case_id=CaseId(f"case-{number:03}"),
        patient_key=PatientKey(f"patient-{number:03}"),
        study_instance_uid=StudyUid(f"study-{number:03}"),
        images=(CaseImage(digest=DIGEST, view="PA"),),
        report=compose_report(findings=findings),
        source="invented",
        licence="none",
        content=f"{number:064}",
    )


def evidence(*reports: str) -> Evidence:
    return Evidence(
        cases=tuple(
            RetrievedCase(case=case(i, text), rank=i + 1, similarity=0.9 - i / 100) for i, text in enumerate(reports)
        )
    )


def sentence(text: str, support: int = 5, flags: tuple[Flag, ...] = ()) -> Sentence:
    cited = Support(case_ids=tuple(CaseId(f"case-{i:03}") for i in range(support)), of=10)
    return Sentence(text=text, section="findings", topic="lungs", abnormal=False, support=cited, flags=flags)


def study(indication: str | None = None) -> Study:
    image = StudyImage(path="x.png", digest=DIGEST, attributes=ImageAttributes(media="png", rows=9, columns=9))
    return Study(images=(image,), indication=indication)


def checked(
    proposed: Sequence[Sentence], asked: Study, cases: Evidence, policy: Policy = POLICY
) -> tuple[tuple[Sentence, ...], dict[str, int]]:
    kept = keep_checked(proposed, known_by_cases(asked, cases.cases), shared(policy))
    return kept.sentences, kept.dropped


def kept_texts(*proposed: Sentence, cases: Evidence | None = None, policy: Policy = POLICY) -> tuple[list[str], object]:
    cases = cases or evidence(*[" ".join(s.text for s in proposed)] * 10)
    kept, dropped = checked(proposed, study(), cases, policy)
    return [s.text for s in kept], dropped


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("The heart is unchanged from the previous radiograph.", "PRIOR_REF"),
        ("There is a granuloma of 7 mm.", "MEASURE"),
        ("These findings were discussed with Dr. Halloway.", "NONIMAGE"),
        ("There is an opacity in the left middle lobe.", "LATERALITY"),
        ("The endotracheal tube has been removed.", "DEVICE_STATE"),
    ],
)
def test_a_sentence_with_a_hard_remark_is_left_out_and_counted(text: str, code: str) -> None:
    assert kept_texts(sentence(CLEAR), sentence(text), sentence("No pneumothorax.")) == (
        [CLEAR, "No pneumothorax."],
        {code: 1},
    )


def test_a_soft_remark_flags_its_own_sentence_after_the_flags_it_had() -> None:
    had = Flag(code="PLACE_DIFFERS", explanation="only 1 of 5 supporting cases put this in the same place")
    again = "Neither pneumothorax nor pleural effusion is seen."
    proposed = [sentence(CLEAR), sentence("No pneumothorax."), sentence(again, flags=(had,))]
    kept, dropped = checked(proposed, study(), evidence(*[f"{CLEAR} {again}"] * 10))
    assert dropped == {}
    assert [[(f.code, f.severity) for f in s.flags] for s in kept] == [
        [],
        [],
        [("PLACE_DIFFERS", "soft"), ("REPEAT", "soft")],
    ]
    assert [s.model_copy(update={"flags": ()}) for s in kept] == [
        s.model_copy(update={"flags": ()}) for s in proposed
    ]  # nothing but flags is touched


def test_what_was_left_out_flags_no_other_sentence() -> None:
    # The second one repeats the first, which is left out; alone it repeats nothing.
    first, second = "No pneumothorax, unchanged from the previous study.", "No pneumothorax."
    kept, dropped = checked([sentence(first), sentence(second)], study(), evidence(*[second] * 10))
    assert [(s.text, s.flags) for s in kept] == [(second, ())]
    assert dropped == {"PRIOR_REF": 1}


def test_a_contradiction_is_left_out() -> None:
    texts, dropped = kept_texts(sentence("Mild cardiomegaly."), sentence("There is no cardiomegaly."))
    assert (texts, dropped) == (["Mild cardiomegaly."], {"INTERNAL": 1})


def test_a_sentence_of_several_faults_counts_once() -> None:
    texts, dropped = kept_texts(sentence(CLEAR), sentence("The 7 mm granuloma is unchanged since the prior study."))
    assert texts == [CLEAR]
    assert isinstance(dropped, dict)
    assert sum(dropped.values()) == 1


def test_a_remark_finds_its_sentence_where_the_extractor_sees_two() -> None:
    both = sentence("No pneumothorax. No pleural effusion.")
    texts, dropped = kept_texts(both, sentence("Comparison is made with the prior study."), sentence(CLEAR))
    assert (texts, dropped) == ([both.text, CLEAR], {"PRIOR_REF": 1})


def test_cases_that_mostly_say_the_opposite_flag_the_sentence_that_cites_them() -> None:
    proposed = [sentence("No pneumothorax. No pleural effusion."), sentence("There is pleural thickening.")]
    kept, _ = checked(proposed, study(), evidence(*["There is no pleural thickening."] * 10))
    assert [[f.code for f in s.flags] for s in kept][1] == ["NEGATION", "UNSUPPORTED"]


def test_words_that_several_cases_share_are_not_called_copied_from_one() -> None:
    shared = evidence(LONG, *[EFFUSION + " Blunted left costophrenic angle."] * 9)
    assert kept_texts(sentence(LONG, support=POLICY.min_support), cases=shared) == ([LONG], {})
    assert kept_texts(sentence(LONG, support=POLICY.min_support - 1), cases=shared) == ([], {"COPY": 1})


def test_words_of_a_single_case_are_copied_whatever_the_policy_asks_for() -> None:
    lenient = Policy(min_support=1)
    assert kept_texts(sentence(LONG, support=1), cases=evidence(LONG), policy=lenient) == ([], {"COPY": 1})
    assert kept_texts(sentence(LONG, support=2), cases=evidence(LONG), policy=lenient) == ([LONG], {})


def test_history_that_came_with_the_request_may_be_told() -> None:
    told = [sentence(CLEAR), sentence("History of renal failure.")]
    given = evidence(*[CLEAR] * 10)
    assert checked(told, study(), given)[1] == {"NONIMAGE": 1}
    assert checked(told, study("Cough. History of renal failure."), given)[1] == {}


def test_nothing_is_checked_where_nothing_is_proposed() -> None:
    assert checked([], study(), evidence()) == ((), {})


def test_what_the_experts_found_is_missed_also_where_nothing_is_left() -> None:
    score = ExpertScore(concept=load()["pneumothorax"].id, probability=0.9, absent_below=0.2, present_above=0.8)
    experts = ExpertScores(expert="an-expert", scores=(score,))
    known = known_by_cases(study(), evidence("No pneumothorax.").cases, experts)
    for proposed, dropped in (([sentence("No pneumothorax.")], {"CONTRA_EXPERT": 1}), ([], {})):
        kept = keep_checked(proposed, known)
        assert (kept.sentences, kept.dropped, [r.code for r in kept.missing]) == ((), dropped, ["OMIT_EXPERT"])


def test_an_ordinary_consensus_passes_whole() -> None:
    reports = [f"Heart size is normal. {CLEAR} {EFFUSION} No pneumothorax."] * 12
    cases = evidence(*reports)
    consensus = draft_findings(cases.cases, prepare_statements(usual(*reports)))
    assert len(consensus.sentences) > 2
    assert checked(consensus.sentences, study(), cases) == (consensus.sentences, {})


def usual(*reports: str) -> Statements:
    texts = ["Heart size is normal. Lungs are clear. No pneumothorax."] * 60 + list(reports)
    return summarise(case(i, text) for i, text in enumerate(texts))


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_studies(tmp_path_factory.mktemp("drawn"), 12, seed=7).parent / "images"


def draft(images: Path, folder: Path, text: str) -> Draft:
    """Draft for the first of twelve drawings from an index in which all of them have one report."""
    with Readers(features, look=look, workers=1) as readers:
        reads = [read_study([image], readers, view="PA") for image in sorted(images.glob("*.png"))]
        encoder = DescriptorEncoder.fit(np.concatenate([read.batch() for read in reads]))
        with closing(SegmentedStore(FaissSegments(folder), encoder.identity, encoder.dimension)) as store:
            vectors = [encoder.finish(encoder.run(read.batch())) for read in reads]
            store.stage([Entry(case(i, text), vector) for i, vector in enumerate(vectors)])
            store.publish()
            gate = Gate(Scope(frontal=None, lateral=None))
            return Drafter(encoder, Retriever(store, encoder.identity), gate, usual(*[text] * 20)).draft(reads[0])


def shown(draft: Draft) -> str:
    out = StringIO()
    show_draft(Console(file=out, width=200), draft)
    return out.getvalue()


# The drafter's own reader knows nothing of sides that a place does not have: only the check stops this sentence.
IMPOSSIBLE = "Left middle lobe atelectasis."


def test_a_draft_tells_what_the_checks_left_out(images: Path, tmp_path: Path) -> None:
    made = draft(images, tmp_path, f"Heart size is normal. {IMPOSSIBLE}")
    assert (made.status, made.findings, made.dropped) == ("drafted", "Heart size is normal.", {"LATERALITY": 1})
    assert "left out by the checks: 1 for LATERALITY" in shown(made)
    assert Draft.model_validate_json(made.model_dump_json()) == made


def test_there_is_no_draft_when_the_checks_leave_nothing(images: Path, tmp_path: Path) -> None:
    made = draft(images, tmp_path, IMPOSSIBLE)
    assert (made.status, made.reason, made.dropped) == ("abstained", "NO_CONSENSUS", {"LATERALITY": 1})
    assert "left out by the checks: 1 for LATERALITY" in shown(made)


def test_flags_are_shown_by_the_sign_of_their_severity(images: Path, tmp_path: Path) -> None:
    made = draft(images, tmp_path, CLEAR)
    assert "!!" not in shown(made)
    flags = (
        Flag(code="REPEAT", explanation="Said before."),
        Flag(code="LATERALITY", severity="hard", explanation="No such side."),
    )
    flagged = made.model_copy(update={"sentences": (sentence(CLEAR, flags=flags),)})
    assert "     !  REPEAT: Said before.\n     !! LATERALITY: No such side.\n" in shown(flagged)
