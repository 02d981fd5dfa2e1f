"""The commands as a person types them: what they print, write and exit with."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from evaluation.drawings import write_studies
from evaluation.off_scope import off_scope_images
from generation.draft import Draft
from indexing.__main__ import main as prelim_index
from indexing.wiring import extractor
from retrieval.ontology.concept import Identifier
from retrieval.ontology.ontology import load
from retrieval.records import SimilarCases
from retrieval.stores import case_postings
from retrieval.vocabularies.licences import UMLS
from retrieval.vocabularies.writing import LayerDraft, write_layer
from service.__main__ import main as prelim
from tests.vocabularies_files import acknowledged

STUDIES = 220


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A drawn collection with its index, and one unseen study with a left effusion."""
    folder = tmp_path_factory.mktemp("commands")
    write_studies(folder / "studies", STUDIES)
    write_studies(folder / "unseen", 1, seed=9105)
    assert prelim_index(["build", str(folder / "studies/manifest.jsonl"), "--index", str(folder / "index")]) == 0
    return folder


def unseen(folder: Path) -> str:
    return str(folder / "unseen/images/009105.png")


def run(arguments: list[str], capsys: pytest.CaptureFixture[str], command: Any = prelim) -> tuple[int, str, str]:
    capsys.readouterr()
    status = command(arguments)
    out, err = capsys.readouterr()
    return status, out, err


def test_a_draft_says_what_was_drawn_and_names_its_cases(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["draft", unseen(folder), "--view", "PA", "--index", str(folder / "index"), "--json"]
    status, out, _ = run(arguments, capsys)
    draft = Draft.model_validate_json(out)
    assert (status, draft.status) == (0, "drafted")
    said = draft.findings.lower()
    assert "left" in said
    assert "effusion" in said
    assert "right" not in said
    known = {case.case.case_id for case in draft.evidence.cases}
    assert all(sentence.support.case_ids for sentence in draft.sentences)
    assert all(set(sentence.support.case_ids) <= known for sentence in draft.sentences)
    assert draft.evidence.index_snapshot
    assert draft.evidence.encoder


def test_the_same_study_gets_the_same_draft(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["draft", unseen(folder), "--index", str(folder / "index"), "--json"]
    assert run(arguments, capsys)[1] == run(arguments, capsys)[1]


def test_a_draft_for_people_says_that_it_is_one(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(["draft", unseen(folder), "--index", str(folder / "index")], capsys)
    assert status == 0
    assert "DRAFT for a radiologist to edit and sign. Not a report" in out
    assert " similar cases: drawn-" in out
    assert " ! " in out


def test_search_shows_cases_with_source_and_licence(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["search", unseen(folder), "--index", str(folder / "index"), "--cases", "3"]
    status, out, _ = run(arguments, capsys)
    assert status == 0
    assert out.count("image #") == 3  # which leg found it, and where
    assert out.count("Prelim drawings, CC0-1.0") == 3
    _, out, _ = run([*arguments, "--json"], capsys)
    found = SimilarCases.model_validate_json(out)
    assert found.verdict.in_scope
    assert len(found.evidence.cases) == 3


def searched(folder: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> SimilarCases:
    status, out, _ = run(["search", *arguments, "--index", str(folder / "index"), "--json"], capsys)
    assert status == 0
    return SimilarCases.model_validate_json(out)


def test_search_by_words_finds_what_they_say_and_not_what_denies_it(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = searched(folder, capsys, "--text", "left pleural effusion, no opacity")
    assert found.evidence.legs == ("concept", "text")
    assert len(found.evidence.cases) == 10
    for retrieved in found.evidence.cases:
        said = retrieved.case.report.findings.lower()
        assert "effusion" in said
        assert "no pleural effusion" not in said
        assert retrieved.comparison
    _, out, _ = run(["search", "--text", "left effusion without opacity", "--index", str(folder / "index")], capsys)
    assert "compared by: + left pleural effusion, - lung opacity" in out
    assert "shared: + pleural effusion" in out
    assert "concept #" in out
    assert "text #" in out


def test_search_by_finding_keeps_to_cases_that_state_it(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    effusion = load()["pleural_effusion"].id
    found = searched(folder, capsys, unseen(folder), "--view", "PA", "--finding", "pleural_effusion")
    assert found.evidence.legs == ("image",)
    assert found.evidence.cases
    for retrieved in found.evidence.cases:
        assert retrieved.case.concepts
        assert "present" in {m.certainty for m in retrieved.case.concepts.mentions if m.concept == effusion}
    sided = searched(folder, capsys, "--finding", "right pleural effusion", "--finding", "no opacity", "--cases", "2")
    assert sided.evidence.legs == ("concept",)
    assert all("right" in retrieved.case.report.findings.lower() for retrieved in sided.evidence.cases)


def test_search_like_a_case_by_part_of_the_body_leaves_the_case_out(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--like", "drawn-000005", "--anatomy", "left lung", "--legs", "concept,image"]
    found = searched(folder, capsys, *arguments)
    assert found.evidence.legs == ("image", "concept")
    assert "drawn-000005" not in [retrieved.case.case_id for retrieved in found.evidence.cases]
    status, _, err = run(["search", "--like", "nobody", "--index", str(folder / "index")], capsys)
    assert (status, err.split(":")[0]) == (65, "UNKNOWN_CASE")


def test_search_says_so_when_nothing_is_like_it(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    nothing = [
        "--sex",
        "F",
        "--age-band",
        "60-69",
        "--source",
        "elsewhere",
        "--licence",
        "x",
        "--view-group",
        "lateral",
    ]
    found = searched(folder, capsys, "--text", "effusion", *nothing)
    assert (found.reason, found.evidence.cases) == ("NO_CLOSE_MATCH", ())
    _, out, _ = run(["search", "--finding", "pneumomediastinum", "--index", str(folder / "index")], capsys)
    assert "No similar case: NO_CLOSE_MATCH. The filters keep no case." in out
    _, out, _ = run(["search", "--text", "effusion", "--source", "Elsewhere", "--index", str(folder / "index")], capsys)
    assert "No similar case: NO_CLOSE_MATCH. The filters keep no case." in out
    _, out, _ = run(
        ["search", "--text", "zebra", "--source", "Prelim drawings", "--index", str(folder / "index")], capsys
    )
    assert "No similar case: NO_CLOSE_MATCH. Nothing that the filters keep is like it." in out
    found = searched(folder, capsys, unseen(folder), "--legs", "image,text")
    assert any("nothing was given for the leg text" in warning for warning in found.verdict.warnings)


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--finding", "zebra"],
        ["--text", "no"],
        ["--like", "a", "b.png"],
        ["--anatomy", "lung"],
        ["--finding", "effusion", "--finding", "no effusion"],
        ["--finding", "no lung opacity", "--finding", "consolidation"],
        ["--finding", "effusion", "--legs", "image"],
        ["--text", "zebra", "--legs", "concept"],
        ["--text", "effusion", "--age-band", "60"],
    ],
)
def test_a_search_that_asks_nothing_is_refused(
    folder: Path, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, err = run(["search", *arguments, "--index", str(folder / "index")], capsys)
    assert (status, out, err.split(":")[0]) == (65, "", "REQUEST")
    with pytest.raises(SystemExit):
        prelim(["search", "--text", "effusion", "--legs", "image,smell"])


def test_an_indexed_image_never_finds_its_own_study(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = str(folder / "studies/images/000005.png")
    _, out, _ = run(["search", own, "--index", str(folder / "index"), "--json"], capsys)
    found = [case.case.case_id for case in SimilarCases.model_validate_json(out).evidence.cases]
    assert len(found) == 10
    assert "drawn-000005" not in found


def test_a_named_patient_is_left_out(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["search", unseen(folder), "--index", str(folder / "index"), "--json"]
    first = SimilarCases.model_validate_json(run(arguments, capsys)[1])
    assert any("the patient is not named" in warning for warning in first.verdict.warnings)
    nearest = first.evidence.cases[0].case
    again = SimilarCases.model_validate_json(run([*arguments, "--patient-key", nearest.patient_key], capsys)[1])
    assert nearest.case_id not in [case.case.case_id for case in again.evidence.cases]
    assert not any("the patient is not named" in warning for warning in again.verdict.warnings)


def test_a_folder_of_several_studies_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = run(["draft", str(folder / "studies/images"), "--index", str(folder / "index")], capsys)
    assert (status, out) == (65, "")
    assert err.startswith("INVALID_STUDY: ")


@pytest.mark.parametrize(
    ("content", "code"), [(b"", "UNREADABLE_IMAGE"), (b"a report, called chest.dcm", "UNREADABLE_IMAGE")]
)
def test_bad_input_is_a_named_error_with_a_fix(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes, code: str
) -> None:
    (tmp_path / "chest.dcm").write_bytes(content)
    status, _, err = run(["draft", str(tmp_path / "chest.dcm"), "--index", str(folder / "index")], capsys)
    assert status == 65
    assert err.startswith(f"{code}: ")
    assert "(" in err
    assert "Traceback" not in err


def test_out_of_scope_is_an_answer_and_not_an_error(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hand = next(image for kind, image in off_scope_images(60, 3) if kind == "hand")
    Image.fromarray(hand).save(tmp_path / "hand.png")
    status, out, _ = run(["draft", str(tmp_path / "hand.png"), "--index", str(folder / "index")], capsys)
    assert status == 0
    assert out.startswith("No draft: NOT_A_CHEST_RADIOGRAPH.")
    _, out, _ = run(["draft", str(tmp_path / "hand.png"), "--index", str(folder / "index"), "--json"], capsys)
    draft = Draft.model_validate_json(out)
    assert (draft.status, draft.reason, draft.sentences) == ("abstained", "NOT_A_CHEST_RADIOGRAPH", ())


def test_a_missing_index_says_how_to_make_one(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, _, err = run(["search", unseen(folder), "--index", str(tmp_path / "nowhere")], capsys)
    assert status == 65
    assert err.startswith("NO_INDEX: ")
    assert "prelim-index build" in err
    assert not (tmp_path / "nowhere").exists()


def test_building_again_says_what_is_unchanged(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["build", str(folder / "studies/manifest.jsonl"), "--index", str(folder / "index")]
    status, out, _ = run(arguments, capsys, prelim_index)
    assert status == 0
    assert f"read {STUDIES} = indexed 0 + unchanged {STUDIES} + quarantined 0" in out


def test_describe_and_verify_speak_json(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(["describe", "--index", str(folder / "index"), "--json"], capsys, prelim_index)
    assert json.loads(out)["snapshots"][-1]["cases"] == STUDIES
    status, out, _ = run(["verify", "--index", str(folder / "index"), "--json"], capsys, prelim_index)
    assert (status, json.loads(out)) == (0, {"faults": []})


def test_reports_are_read_again_with_a_vocabulary_and_describe_says_what_read_them(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    index, layer = str(shutil.copytree(folder / "index", tmp_path / "index")), tmp_path / "layer.sqlite"
    (scheme, code) = next((i.scheme, i.code) for i in load().identifiers["pleural_effusion"] if i.match == "exact")

    def facts(draft: LayerDraft) -> tuple[str, str]:
        draft.name("X1", "zygomorphic sinus")
        draft.xref("X1", scheme, code)
        return "", "0" * 64

    write_layer(layer, "UMLS", "UMLS", UMLS, acknowledged("umls"), facts)
    ours, theirs = extractor().identity, extractor([layer]).identity
    assert theirs.startswith(ours + "/")
    described = run(["describe", "--index", index], capsys, prelim_index)[1]
    assert f"{STUDIES} cases read by {ours}" in described
    assert "reread" not in described

    arguments = ["reread", "--index", index, "--vocabulary", str(layer), "--json"]
    status, out, _ = run(arguments, capsys, prelim_index)
    assert (status, json.loads(out)["read"], json.loads(out)["extractor"]) == (0, STUDIES, theirs)
    assert "run prelim-index reread" in run(["describe", "--index", index], capsys, prelim_index)[1]
    told = run(["describe", "--index", index, "--vocabulary", str(layer), "--json"], capsys, prelim_index)[1]
    assert json.loads(told)["concepts"] == {"installed": theirs, "read": {theirs: STUDIES}, "unread": 0, "unlisted": 0}
    status, out, _ = run(arguments[:-1], capsys, prelim_index)
    assert status == 0
    assert f"{STUDIES} cases = read 0 + unchanged {STUDIES}" in out
    building = ["build", str(folder / "studies/manifest.jsonl"), "--index", index]
    _, out, err = run(building, capsys, prelim_index)
    assert f"unchanged {STUDIES}" in out
    assert f"{STUDIES} reports were read by another extractor: run prelim-index reread" in " ".join(err.split())


def test_lists_of_another_form_are_told_of_and_made_again_by_reread(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    index = str(shutil.copytree(folder / "index", tmp_path / "index"))
    monkeypatch.setattr(case_postings, "FORM", "postings-of-another-version")
    for arguments in (["--text", "effusion"], [unseen(folder), "--legs", "concept"]):
        _, out, _ = run(["search", *arguments, "--index", index, "--json"], capsys)
        before = SimilarCases.model_validate_json(out)
        assert before.evidence.cases == ()
        assert any("run prelim-index reread" in warning for warning in before.verdict.warnings)
    described = " ".join(run(["describe", "--index", index], capsys, prelim_index)[1].split())
    assert f"{STUDIES} of them listed by another version" in described
    assert "run prelim-index reread" in described
    told = json.loads(run(["describe", "--index", index, "--json"], capsys, prelim_index)[1])
    assert told["concepts"]["unlisted"] == STUDIES
    assert f"read {STUDIES} + unchanged 0" in run(["reread", "--index", index], capsys, prelim_index)[1]
    assert "reread" not in run(["describe", "--index", index], capsys, prelim_index)[1].replace("reports read", "")
    _, out, _ = run(["search", "--text", "effusion", "--index", index, "--json"], capsys)
    after = SimilarCases.model_validate_json(out)
    assert after.evidence.legs == ("concept", "text")
    assert after.evidence.cases
    assert not after.verdict.warnings


def test_a_file_that_is_no_layer_is_a_named_error(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "layer.sqlite").write_text("no layer")
    arguments = ["reread", "--index", str(folder / "index"), "--vocabulary", str(tmp_path / "layer.sqlite")]
    status, _, err = run(arguments, capsys, prelim_index)
    assert (status, err.split(":")[0]) == (65, "INVALID_VOCABULARY")


def test_two_layers_that_give_a_phrase_to_two_concepts_give_it_to_none(tmp_path: Path) -> None:
    for number, slug in enumerate(("pleural_effusion", "pneumothorax")):
        by = next(i for i in load().identifiers[slug] if i.match == "exact")

        def facts(draft: LayerDraft, by: Identifier = by) -> tuple[str, str]:
            draft.name("X1", "zygomorphic sinus")
            draft.xref("X1", by.scheme, by.code)
            return "", "0" * 64

        write_layer(tmp_path / f"{number}.sqlite", "UMLS", "UMLS", UMLS, acknowledged("umls"), facts)
    layers = [tmp_path / "0.sqlite", tmp_path / "1.sqlite"]
    assert all(extractor([layer]).read("A zygomorphic sinus is seen.") for layer in layers)
    assert extractor(layers).read("A zygomorphic sinus is seen.") == []


def test_the_vocabulary_commands_are_part_of_prelim_index(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["vocabulary", "import", "radlex", str(tmp_path), "--out", str(tmp_path / "layer.sqlite")]
    status, _, err = run(arguments, capsys, prelim_index)
    assert (status, err.strip().split(":")[0]) == (65, "LICENCE_NOT_ACKNOWLEDGED")


def test_quarantined_rows_are_written_beside_the_manifest_and_strict_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = write_studies(tmp_path, 9)
    with manifest.open("a") as rows:
        rows.write("{\n")
    arguments = ["build", str(manifest), "--index", str(tmp_path / "index"), "--strict"]
    status, out, _ = run(arguments, capsys, prelim_index)
    assert status == 3
    (refused,) = (tmp_path / "manifest.quarantine.jsonl").read_text().splitlines()
    assert json.loads(refused)["code"] == "NOT_JSON"
    assert "NOT_JSON 1" in out


def test_an_erased_case_is_in_no_byte_of_the_index_and_a_rollback_does_not_bring_it_back(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest, index = write_studies(tmp_path, 12), str(tmp_path / "index")
    lines = manifest.read_text().splitlines()
    # What can be said of it without an earlier study is another sentence, which stands in the index only.
    unique, standalone = "not seen in the zygomorphic study", "There is a zygomorphic opacity in the left lung."
    row = json.loads(lines[4])
    row["report"] = {"text": f"FINDINGS: {standalone[:-1]}, not seen on the prior study. It was {unique}."}
    manifest.write_text("\n".join([*lines[:4], json.dumps(row), *lines[5:]]) + "\n")
    for note in ("first", "second"):
        assert prelim_index(["build", str(manifest), "--index", index, "--note", note]) == 0
        first = json.loads(manifest.read_text().splitlines()[1])
        first["labels"] = ["changed"]
        manifest.write_text("\n".join([lines[0], json.dumps(first), *manifest.read_text().splitlines()[2:]]) + "\n")

    def holding(text: str) -> list[str]:
        files = [file for file in Path(index).rglob("*") if file.is_file()]
        return [file.name for file in files if text.encode() in file.read_bytes()]

    assert standalone not in row["report"]["text"]
    assert holding(unique)
    assert holding(standalone)
    status, out, _ = run(["erase", row["case_id"], "--index", index, "--json"], capsys, prelim_index)
    assert (status, json.loads(out)) == (0, {"erased": 1, "asked": 1})
    for trace in (unique, standalone, "zygomorphic", row["case_id"], row["patient_key"], row["study_instance_uid"]):
        assert holding(trace) == []
    snapshots = json.loads(run(["describe", "--index", index, "--json"], capsys, prelim_index)[1])["snapshots"]
    assert len(snapshots) == 2
    assert run(["rollback", snapshots[0]["snapshot_id"], "--index", index], capsys, prelim_index)[0] == 0
    assert (
        json.loads(run(["describe", "--index", index, "--json"], capsys, prelim_index)[1])["current"]
        == (snapshots[0]["snapshot_id"])
    )
    assert holding("zygomorphic") == []
    assert json.loads(run(["verify", "--index", index, "--json"], capsys, prelim_index)[1]) == {"faults": []}


def test_pseudonyms_need_a_salt_and_link_a_patient(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [sys.executable, "-m", "indexing", "pseudonym"]
    without = subprocess.run(command, input="17\n", capture_output=True, text=True, check=False, env={"PATH": ""})
    assert without.returncode == 78
    salted = {"PATH": "", "PRELIM_PATIENT_SALT": "a long secret"}
    ids = "17\nhospital\t17\n17\n 17 \r\n"
    out = subprocess.run(command, input=ids, capture_output=True, text=True, check=True, env=salted).stdout.split()
    assert out[0] == out[2] == out[3] != out[1]
    assert all(len(key) == 32 for key in out)
    blank = subprocess.run(command, input="\n", capture_output=True, text=True, check=False, env=salted)
    assert (blank.returncode, blank.stdout) == (65, "")


@pytest.mark.parametrize("command", ["prelim", "prelim-index", "prelim-evaluate"])
def test_every_command_explains_itself(command: str) -> None:
    installed = Path(sys.executable).parent / command
    said = subprocess.run([installed, "--help"], capture_output=True, text=True, check=True).stdout
    assert said.startswith(f"usage: {command}")


@pytest.mark.parametrize("option", [["--workers", "0"], ["--workers", "-1"], ["--batch", "0"], ["--batch", "x"]])
def test_a_count_below_one_is_refused_by_the_command_line(
    folder: Path, option: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        prelim_index(["build", str(folder / "studies/manifest.jsonl"), *option])
    assert "is not a whole number from 1" in capsys.readouterr().err


@pytest.mark.parametrize("where", ["manifest.jsonl", "nowhere/refused.jsonl"])
def test_a_quarantine_that_cannot_be_written_is_refused_before_anything_is_built(
    tmp_path: Path, where: str, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = write_studies(tmp_path, 9)
    before = manifest.read_bytes()
    arguments = ["build", str(manifest), "--index", str(tmp_path / "index"), "--quarantine", str(tmp_path / where)]
    status, _, err = run(arguments, capsys, prelim_index)
    assert (status, err.split(":")[0]) == (65, "INVALID_MANIFEST")
    assert manifest.read_bytes() == before
    assert not (tmp_path / "index").exists()


@pytest.mark.parametrize("studies", [0, 1, 5])
def test_too_few_images_to_fit_are_refused_and_leave_no_index_behind(
    tmp_path: Path, studies: int, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest, index = write_studies(tmp_path, studies), str(tmp_path / "index")
    status, _, err = run(["build", str(manifest), "--index", index], capsys, prelim_index)
    assert status == 65
    assert "at least 8 different images" in err
    write_studies(tmp_path, 9)
    assert run(["build", str(manifest), "--index", index], capsys, prelim_index)[0] == 0


def test_markup_in_a_note_is_printed_as_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["build", str(write_studies(tmp_path, 9)), "--index", str(tmp_path / "index"), "--note", "[/red] x"]
    assert run(arguments, capsys, prelim_index)[0] == 0
    status, out, _ = run(["describe", "--index", str(tmp_path / "index")], capsys, prelim_index)
    assert status == 0
    assert "[/red] x" in out


def test_erasing_an_unknown_case_does_not_look_done(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert prelim_index(["build", str(write_studies(tmp_path, 9)), "--index", str(tmp_path / "index")]) == 0
    status, out, _ = run(["erase", "drawn-00003", "--index", str(tmp_path / "index")], capsys, prelim_index)
    assert status == 1
    assert "erased 0, asked 1" in out
    assert "spelling" in out
