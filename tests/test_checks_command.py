"""The command `prelim check`: what it prints, what it reads beside the report, what it refuses."""

import io
import json
import sys
from pathlib import Path

import pytest
from rich.console import Console

from retrieval.checks.context import CheckContext, SimilarReport
from retrieval.checks.remark import Checked
from retrieval.errors import RequestError
from retrieval.records import CaseId
from retrieval.sections import compose_report
from service.__main__ import main
from service.check import check_report, context_of, with_similar_cases
from service.concepts import LONGEST, read_input

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
    checked = as_facts(f"FINDINGS: {sentence}", capsys, context_of(file))
    assert {r.code for r in checked.remarks} == {"COPY"}


@pytest.mark.parametrize("text", ["", "no json", json.dumps([1]), json.dumps({"evidence": {"cases": "x"}})])
def test_evidence_that_is_none_is_refused_without_its_text(text: str, tmp_path: Path) -> None:
    file = tmp_path / "evidence.json"
    file.write_text(text)
    with pytest.raises(RequestError) as refused:
        context_of(file)
    assert "no json" not in str(refused.value)


def test_control_characters_of_a_report_do_not_reach_the_screen() -> None:
    assert "\x1b" not in printed("FINDINGS: Stable \x1b[31m opacity in the left middle lobe.\n\nCOMPARISON: None.")


def test_a_text_too_long_for_a_file_name_is_a_text() -> None:
    for length in (256, 300, 999, 5000):
        text = "FINDINGS: " + "x" * (length - 10)
        assert read_input(text) == text


@pytest.mark.parametrize("given", ["", "  \n", "reports/nosuch", "nosuch.txt", "nosuch.JSON", ".", "/nosuch"])
def test_what_holds_no_report_is_refused_with_what_to_do(given: str) -> None:
    with pytest.raises(RequestError) as refused:
        read_input(given)
    assert refused.value.fix


@pytest.mark.parametrize("data", [b"", b"\xff\xfe", b"x" * (LONGEST + 1), b"x" * (5 * LONGEST), "é".encode() * LONGEST])
def test_a_file_and_standard_input_are_judged_alike(
    data: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "report"
    file.write_bytes(data)
    told = []
    for given in ("-", str(file)):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
        try:
            told.append(read_input(given))
        except RequestError as error:
            told.append(str(error))
    assert told[0] == told[1]
    assert told[0] == data.decode() if data[:1] == b"\xc3" else len(told[0]) < 200


@pytest.mark.parametrize("report", ["INDICATION: Cough.", "COMPARISON: None.\n\nFINDINGS:", "FINDINGS: ...", "...."])
def test_nothing_to_read_is_no_clean_report(report: str, capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("check", "concepts"):
        assert main([command, report]) == RequestError.exit_status
        shown = capsys.readouterr()
        assert "no findings or impression to read" in shown.err
        assert not shown.out


def test_an_earlier_study_may_be_told_or_denied(capsys: pytest.CaptureFixture[str]) -> None:
    codes = {}
    for prior in ("yes", "no"):
        assert main(["check", "FINDINGS: Stable opacity.", "--json", "--prior", prior]) == 0
        codes[prior] = {r.code for r in Checked.model_validate_json(capsys.readouterr().out).remarks}
    assert ("PRIOR_REF" in codes["yes"], "PRIOR_REF" in codes["no"]) == (False, True)


def test_a_comparison_alone_is_no_history(capsys: pytest.CaptureFixture[str]) -> None:
    text = "COMPARISON: None.\n\nFINDINGS: Status post CABG."
    assert "NONIMAGE" in {n.code for n in as_facts(text, capsys).not_run}
    assert "NONIMAGE" not in {n.code for n in as_facts(f"INDICATION: Cough.\n\n{text}", capsys).not_run}


@pytest.mark.parametrize(
    "text",
    ["[" * 200_000, '{"devices": ["PRELIM:nosuch"]}', '{"compared": ["nosuch"]}'],
    ids=["deep", "device", "finding"],
)
def test_a_context_that_cannot_be_used_is_refused(text: str, tmp_path: Path) -> None:
    file = tmp_path / "context.json"
    file.write_text(text)
    with pytest.raises(RequestError) as refused:
        context_of(file)
    assert refused.value.fix


def test_similar_cases_are_given_once() -> None:
    with pytest.raises(RequestError, match="twice"):
        with_similar_cases(CheckContext(cases=()), [Path("x.png")], "nosuch", Console())
