"""The command `prelim check`: what it prints, what it reads beside the report, what it refuses."""

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from retrieval.checks.context import CheckContext, SimilarReport
from retrieval.checks.remark import Checked
from retrieval.errors import RequestError
from retrieval.records import CaseId
from retrieval.sections import compose_report
from service.check import check_report, context_of

REPORT = (
    "INDICATION: Cough.\n\nCOMPARISON: None.\n\nFINDINGS: Stable opacity in the left middle lobe. "
    "The heart is normal in size.\n\nIMPRESSION: Left middle lobe opacity."
)


def printed(report: str, context: CheckContext | None = None) -> str:
    screen = io.StringIO()
    check_report(report, Console(file=screen, width=100), context or CheckContext(), as_json=False)
    return screen.getvalue()


def as_facts(report: str, capsys: pytest.CaptureFixture[str], context: CheckContext | None = None) -> Checked:
    check_report(report, Console(), context or CheckContext(), as_json=True)
    return Checked.model_validate_json(capsys.readouterr().out)


def test_remarks_are_marked_by_a_sign_and_name_their_words() -> None:
    shown = printed(REPORT)
    assert "!! PRIOR_REF  sentence 1, " in shown
    assert '"Stable"' in shown
    assert "hard (!!)" in shown
    assert "not checked in full: CONTRA_EXPERT" in shown


def test_the_report_s_own_comparison_section_says_whether_there_was_an_earlier_study(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert "PRIOR_REF" in {r.code for r in as_facts(REPORT, capsys).remarks}
    compared = REPORT.replace("COMPARISON: None.", "COMPARISON: Chest radiograph of last year.")
    assert "PRIOR_REF" not in {r.code for r in as_facts(compared, capsys).remarks}
    unknown = as_facts("FINDINGS: Stable opacity.", capsys)
    assert "PRIOR_REF" in {n.code for n in unknown.not_run}
    told = context_of(None, has_prior=True)
    assert "PRIOR_REF" not in {r.code for r in as_facts(REPORT, capsys, told).remarks}


def test_a_report_in_a_file_and_its_spans_in_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "report.txt"
    file.write_text(REPORT)
    checked = as_facts(str(file), capsys)
    sides = [r for r in checked.remarks if r.code == "LATERALITY"]
    assert [REPORT[r.start : r.end] for r in sides] == ["left middle lobe", "Left middle lobe"]
    assert [r.sentence for r in sides] == [0, 2]


def test_a_whole_context_is_read_from_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sentence = "There is a moderate left pleural effusion with adjacent opacity."
    case = SimilarReport(case_id=CaseId("other"), report=compose_report(findings=sentence))
    file = tmp_path / "context.json"
    file.write_text(CheckContext(cases=(case,), measurements=()).model_dump_json())
    checked = as_facts(f"FINDINGS: {sentence}", capsys, context_of(file, has_prior=False))
    assert {r.code for r in checked.remarks} == {"COPY"}


@pytest.mark.parametrize("text", ["", "no json", json.dumps([1]), json.dumps({"evidence": {"cases": "x"}})])
def test_evidence_that_is_none_is_refused_without_its_text(text: str, tmp_path: Path) -> None:
    file = tmp_path / "evidence.json"
    file.write_text(text)
    with pytest.raises(RequestError) as refused:
        context_of(file, has_prior=False)
    assert "no json" not in str(refused.value)


def test_control_characters_of_a_report_do_not_reach_the_screen() -> None:
    assert "\x1b" not in printed("FINDINGS: Stable \x1b[31m opacity in the left middle lobe.\n\nCOMPARISON: None.")
