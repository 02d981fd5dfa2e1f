"""The measurement of the checks: contexts from coding, edits that turn a sentence round, rates, a small real run."""

import random
from pathlib import Path

import pytest

from evaluation.check_contexts import Contexts, Known, known_reports
from evaluation.check_figures import rate
from evaluation.iu_reports import CodedReport
from evaluation.metamorphic import MUTATIONS, Bench
from evaluation.planted import DEVICES, FINDINGS, NORMALS
from evaluation.sentence_edits import denied, lifted, swapped
from retrieval.checks.check import check
from retrieval.extraction.extractor import Extractor
from retrieval.ontology.ontology import load

ONTOLOGY = load()
EXTRACTOR = Extractor(ONTOLOGY)


def coded(*terms: str, findings: str = "The lungs are clear.") -> CodedReport:
    return CodedReport(report_id="X1", findings=findings, impression="", coded=terms, gold14=None)


def test_coding_becomes_settled_scores_with_sides_and_leaves_kin_open() -> None:
    reports = [coded("Pleural Effusion/left"), coded("Pneumothorax"), coded("Consolidation"), coded("Opacity")]
    contexts = Contexts(ONTOLOGY, reports)
    scores = {s.concept: s for s in contexts.experts(reports[0]).scores}
    effusion, pneumothorax = scores[ONTOLOGY["pleural_effusion"].id], scores[ONTOLOGY["pneumothorax"].id]
    assert (effusion.band, effusion.side) == ("present", "left")
    assert (pneumothorax.band, pneumothorax.side) == ("absent", None)
    of_consolidation = {s.concept: s.band for s in contexts.experts(reports[2]).scores}
    assert of_consolidation[ONTOLOGY["consolidation"].id] == "present"
    assert ONTOLOGY["lung_opacity"].id not in of_consolidation
    strict = {s.concept: s.band for s in contexts.strict_experts(reports[2]).scores}
    assert strict[ONTOLOGY["lung_opacity"].id] == "absent"


def test_every_planted_sentence_says_what_it_is_filed_under() -> None:
    for slug, sentence in (*FINDINGS, *DEVICES, *NORMALS):
        read = [m for m in EXTRACTOR.read(sentence) if m.certainty == "present"]
        assert any(ONTOLOGY.is_a(m.concept, ONTOLOGY[slug].id) for m in read), sentence


@pytest.mark.parametrize(
    ("sentence", "turned"),
    [
        ("There is no effusion or edema.", "There is effusion and edema."),
        ("No pneumothorax is seen.", "Pneumothorax is seen."),
        ("No pneumothorax.", "There is pneumothorax."),
        ("The lungs are free of nodules.", "The lungs show nodules."),
        ("No change.", None),
    ],
)
def test_a_denial_is_lifted(sentence: str, turned: str | None) -> None:
    assert lifted(sentence, len(sentence) - 1, len(sentence)) == turned


@pytest.mark.parametrize(
    ("sentence", "at", "turned"),
    [
        ("There is a small effusion.", 17, "There is no effusion."),
        ("An opacity is seen.", 3, "No opacity is seen."),
        ("Mild cardiomegaly.", 5, "No cardiomegaly."),
        ("Opacity without effusion.", 0, None),
    ],
)
def test_a_statement_is_denied(sentence: str, at: int, turned: str | None) -> None:
    assert denied(sentence, at, at + 5) == turned


def test_sides_are_swapped_only_where_there_is_one() -> None:
    assert swapped("Left base opacity.", 0, 4) == "Right base opacity."
    assert swapped("Left and right effusions.", 0, 4) is None
    assert swapped("An opacity.", 0, 4) is None


def test_an_interval_is_honest_at_none_and_all() -> None:
    none, every = rate(0, 100), rate(100, 100)
    assert none.value == 0
    assert 0.03 < none.high < 0.04
    assert every.value == 1
    assert 0.96 < every.low < 0.97
    half = rate(50, 100)
    assert half.low == pytest.approx(0.4038, abs=1e-4)
    assert rate(0, 0).high == 1


@pytest.fixture(scope="module")
def tuning(data: Path) -> list[Known]:
    return [k for k in known_reports(data, EXTRACTOR) if k.coded.fold == 0]


@pytest.mark.data
@pytest.mark.slow
def test_on_the_tuning_fold_faults_are_caught_and_untouched_reports_left_alone(tuning: list[Known]) -> None:
    bench = Bench(EXTRACTOR, tuning)
    alarms = {k.coded.report_id: check(k.coded.report, k.context, EXTRACTOR).hard for k in tuning}
    for name, mutation in list(MUTATIONS.items())[:8]:
        made = caught = 0
        for known in tuning[:200]:
            mutant = mutation(known, random.Random(f"{name}/{known.coded.report_id}"), bench)
            if mutant:
                made += 1
                found = {r.code for r in check(mutant.report, mutant.context, EXTRACTOR).remarks}
                caught += not found.isdisjoint(mutant.right)
        assert made > 20, name
        assert caught >= 0.9 * made, name
    for code in {r.code for remarks in alarms.values() for r in remarks}:
        assert sum(any(r.code == code for r in remarks) for remarks in alarms.values()) <= 0.05 * len(tuning), code
