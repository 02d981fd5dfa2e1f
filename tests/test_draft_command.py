"""`prelim draft` with a language model, as a person types it: random weights, so that what it writes is noise."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from evaluation.drawings import write_studies
from generation.decoding.presets import PRESETS
from generation.draft import Draft
from generation.writer import Writer
from indexing.__main__ import main as prelim_index
from service.__main__ import main as prelim
from tests.tiny_experts import need_xrv, write_tiny_xrv
from tests.tiny_models import need_models

STUDIES = 40


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index of drawings and one unseen study."""
    folder = tmp_path_factory.mktemp("drafting")
    write_studies(folder / "studies", STUDIES)
    write_studies(folder / "unseen", 1, seed=9105)
    assert prelim_index(["build", str(folder / "studies/manifest.jsonl"), "--index", str(folder / "index")]) == 0
    return folder


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a language model (`model`) and an expert (`xrv`)."""
    need_models()
    need_xrv()
    from evaluation.random_models import Size, write_random_model  # noqa: PLC0415

    folder = tmp_path_factory.mktemp("models")
    # The tiny vocabulary knows few words, so that prompts are four times as long as a real model's.
    write_random_model(folder / "model", "qwen2_vl", Size(positions=16384))
    write_tiny_xrv(folder / "xrv")
    return folder


def run(arguments: Sequence[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    capsys.readouterr()
    status = prelim([*arguments])
    out, err = capsys.readouterr()
    return status, out, err


def asked(folder: Path, *more: str) -> list[str]:
    return ["draft", str(folder / "unseen/images/009105.png"), "--view", "PA", "--index", str(folder / "index"), *more]


def by_model(models: Path, *more: str) -> list[str]:
    return ["--language-model", str(models / "model"), "--max-new-tokens", "24", "--temperature", "1", *more]


def test_a_language_model_s_draft_holds_all_that_it_was_made_of_and_is_written_again_from_it(
    folder: Path, models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prior = folder / "prior.txt"
    prior.write_text("FINDINGS: Small left pleural effusion.")
    more = ("--expert", f"xrv:{models / 'xrv'}", "--indication", "Effusion?", "--prior", str(prior), "--seed", "3")
    arguments = asked(folder, *by_model(models, *more), "--json")
    status, out, _ = run(arguments, capsys)
    draft = Draft.model_validate_json(out)
    writing = draft.writing
    assert status == 0
    assert writing is not None
    assert (writing.generator, writing.language_model) == ("transformers", str(models / "model"))
    assert (writing.preset, writing.seed, writing.temperature) == (PRESETS["grounded"], 3, 1.0)
    assert len(writing.weights) == 64
    assert len(writing.token_ids) == 24
    assert set(writing.prompts) == {"study", "anchored", "evidence"}
    assert all(count > 100 for count in writing.prompt_tokens.values())
    assert draft.experts is not None
    assert len(writing.phrases) == len(draft.experts.scores) > 3
    assert draft.concepts is not None
    # 1. The same command writes the same tokens.
    again = Draft.model_validate_json(run(arguments, capsys)[1])
    assert again.writing is not None
    assert again.writing.token_ids == writing.token_ids
    # 2. So does the record with the study's files, the language model's folder and no expert; another seed does not.
    from generation.generators import generator_named  # noqa: PLC0415
    from retrieval.records import PriorReport, StudyUid, Told  # noqa: PLC0415
    from service.wiring import open_desk  # noqa: PLC0415

    with open_desk(str(folder / "index"), keep="pixels") as desk:
        study = desk.read(
            [folder / "unseen/images/009105.png"],
            view="PA",
            patient_key=None,
            told=Told(
                indication="Effusion?",
                priors=(PriorReport(study_instance_uid=StudyUid("prior-1"), text=prior.read_text()),),
            ),
        )
        drafter = desk.drafter.written_by(Writer(generator_named("transformers", str(models / "model"))))
        assert drafter.rewrite(draft, study).token_ids == writing.token_ids
        other = draft.model_copy(update={"writing": writing.model_copy(update={"seed": 4})})
        assert drafter.rewrite(other, study).token_ids != writing.token_ids


def test_both_engines_write_the_same_draft(folder: Path, models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    written = []
    for generator in ("reference", "transformers"):
        more = ("--generator", generator, "--preset", "vcd", "--max-new-tokens", "8", "--json")
        status, out, _ = run(asked(folder, *by_model(models, *more)), capsys)
        draft = Draft.model_validate_json(out)
        assert status == 0
        assert draft.writing is not None
        written.append((draft.writing.token_ids, draft.writing.prompts, draft.sentences, draft.dropped))
    assert written[0] == written[1]


def test_noise_of_a_language_model_is_no_draft_and_says_why(
    folder: Path, models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, _ = run(asked(folder, *by_model(models, "--preset", "plain")), capsys)
    assert status == 0
    assert "No draft: NOTHING_LEFT" in out


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--preset", "plain"], "--preset is for a language model"),
        (["--expert", "xrv:x"], "--expert is for a language model"),
        (["--max-new-tokens", "9"], "--max-new-tokens is for a language model"),
        (["--prior", "/nowhere/report.txt"], "there is no such file"),
    ],
)
def test_options_that_mean_nothing_are_refused_before_anything_is_opened(
    tmp_path: Path, more: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, err = run(["draft", "x.png", "--index", str(tmp_path / "none"), *more], capsys)
    assert (status, out) == (65, "")
    assert said in err


@pytest.mark.parametrize(
    "more", [["--seed", "-1"], ["--seed", "x"], ["--temperature", "-1"], ["--temperature", "nan"], ["--preset", "best"]]
)
def test_numbers_and_names_that_are_none_are_refused_by_the_command_line(
    more: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        prelim(["draft", "x.png", *more])
    capsys.readouterr()


def test_a_model_that_is_not_there_and_an_expert_that_is_none_are_named(
    folder: Path, models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, err = run(asked(folder, "--language-model", str(tmp_path)), capsys)
    assert (status, out, err.split(":")[0]) == (78, "", "MISSING_WEIGHTS")
    status, out, err = run(asked(folder, *by_model(models, "--expert", "oracle")), capsys)
    assert (status, out, err.split(":")[0]) == (78, "", "UNSUPPORTED_MODEL")


def test_a_deadline_that_has_passed_is_an_error_that_may_be_tried_again(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, err = run(asked(folder, "--deadline", "0"), capsys)
    assert (status, out, err.split(":")[0]) == (75, "", "DEADLINE_EXCEEDED")


WITHOUT_TORCH = """import sys
from service.__main__ import main
assert "torch" not in sys.modules
sys.modules["torch"] = None
status = main(sys.argv[1:])
assert not {"transformers", "open_clip"} & sys.modules.keys()
raise SystemExit(status)
"""
"""The command where torch is not installed."""


def without_torch(arguments: Sequence[str]) -> "subprocess.CompletedProcess[str]":
    root = Path(__file__).parent.parent
    command = [sys.executable, "-c", WITHOUT_TORCH, *arguments]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)


def test_a_draft_of_similar_cases_needs_no_torch(folder: Path) -> None:
    done = without_torch(asked(folder, "--json"))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["writing"] is None


def test_a_language_model_without_torch_names_the_extra(folder: Path) -> None:
    done = without_torch(asked(folder, "--language-model", "x"))
    assert (done.returncode, done.stderr.split(":")[0]) == (78, "MISSING_DEPENDENCY")
    assert "prelim[models]" in done.stderr
