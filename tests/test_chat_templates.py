"""Chat templates for checkpoints without one: each family's published format, its marks, and how a prompt ends.

The golden files are written anew by `PRELIM_GOLDEN=write pytest tests/test_chat_templates.py`; then read them.
"""

import copy
import json
import os
import shutil
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Final, get_args

import numpy as np
import pytest

from generation.decoding.chat_templates import FORMATS, MARKS, OPENINGS, Format, chat_format, chat_template
from generation.decoding.generator import BranchPrompt, GenerationRequest
from generation.decoding.presets import PRESETS
from prompts.facts import Facts
from prompts.message import ImageRef, Message
from prompts.render import render
from retrieval.errors import InvalidPrompt
from retrieval.ontology.ontology import load
from retrieval.records import Study
from tests.prompts_facts import image
from tests.tiny_models import checkpoint, need_models, tiny

need_models()

from tokenizers import AddedToken  # noqa: E402

from generation.decoding.hf_models import HfModel, load_model  # noqa: E402

if TYPE_CHECKING:
    from evaluation.random_models import Architecture

GOLDEN: Final = Path(__file__).parent / "golden" / "chat"
MODELS: Final[dict[Format, "Architecture"]] = {
    "chatml": "qwen2_vl", "gemma": "gemma3", "vicuna": "llava", "plain": "qwen2",
}  # fmt: skip
OTHERS: Final[tuple["Architecture", ...]] = ("qwen2_5_vl",)
MESSAGES: Final = (
    Message(role="system", content=("You write drafts.\nLines of data are data.\n",)),
    Message(role="user", content=(ImageRef(name="image-1"), ImageRef(name="image-2"), "INDICATION\n| Cough.")),
    Message(role="assistant", content=("FINDINGS: Clear lungs.",)),
    Message(role="user", content=("And the impression?",)),
)
STUDY: Final = Facts(study=Study(images=(image("PA"), image("LL")), indication="Cough."))


def without_template(architecture: "Architecture", folder: Path, marks: tuple[str, ...] | None = None) -> HfModel:
    """A checkpoint as hubs serve them that has no template, loaded; with the marks of its family unless others."""
    made = tiny(architecture)
    shutil.copytree(checkpoint(architecture), folder, dirs_exist_ok=True)
    for file in ("chat_template.jinja", "chat_template.json"):
        (folder / file).unlink(missing_ok=True)
    tokenizer = copy.deepcopy(made.tokenizer)
    tokenizer.chat_template = None
    family = next(name for name, one in MODELS.items() if one in (architecture, architecture.replace("_5", "")))
    added = MARKS[family] if marks is None else marks
    tokenizer.add_tokens([AddedToken(mark, special=True) for mark in added], special_tokens=True)
    tokenizer.save_pretrained(folder)
    for name in ("processor_config.json", "tokenizer_config.json"):
        if (folder / name).is_file():
            settings = json.loads((folder / name).read_text())
            settings.pop("chat_template", None)
            (folder / name).write_text(json.dumps(settings))
    return load_model(str(folder))


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> dict[str, HfModel]:
    return {one: without_template(one, tmp_path_factory.mktemp(one)) for one in (*MODELS.values(), *OTHERS)}


def text_only(messages: tuple[Message, ...]) -> tuple[Message, ...]:
    return tuple(m.model_copy(update={"content": tuple(p for p in m.content if isinstance(p, str))}) for m in messages)


def rendered(model: HfModel, messages: tuple[Message, ...]) -> str:
    prompt = BranchPrompt(branch="study", messages=messages if model.sees else text_only(messages))
    return model._prompts.finished(prompt, {n: np.zeros((56, 56), np.float32) for n in prompt.images}).text


@pytest.mark.parametrize("name", get_args(Format))
def test_a_conversation_reads_as_in_its_golden_file(name: Format, bare: dict[str, HfModel]) -> None:
    for what, messages in (("turns", MESSAGES), ("study", render(STUDY, "study", load()).messages)):
        text = rendered(bare[MODELS[name]], messages) + "\u2588\n"  # where the draft begins
        golden = GOLDEN / f"{name}-{what}.txt"
        if os.environ.get("PRELIM_GOLDEN") == "write":
            golden.parent.mkdir(parents=True, exist_ok=True)
            golden.write_text(text, encoding="utf-8")
        assert text == golden.read_text(encoding="utf-8"), "run with PRELIM_GOLDEN=write, and read what changed"


def test_every_golden_conversation_is_asked_for() -> None:
    names = {f"{name}-{what}" for name in get_args(Format) for what in ("turns", "study")}
    assert {p.stem for p in GOLDEN.glob("*.txt")} == names


@pytest.mark.parametrize("architecture", [*MODELS.values(), *OTHERS])
def test_the_tokens_before_the_first_generated_one_open_the_assistants_turn(
    architecture: "Architecture", bare: dict[str, HfModel]
) -> None:
    model = bare[architecture]
    messages = render(STUDY, "evidence", load()).messages
    messages = messages if model.sees else text_only(messages)
    request = GenerationRequest(
        branches=(BranchPrompt(branch="study", messages=messages),), preset=PRESETS["plain"], max_new_tokens=1
    )
    images = {name: np.zeros((56, 56), dtype=np.float32) for name in ("image-1", "image-2")}
    ids = [int(t) for t in replace(model, longest=None).encode(request, images)[0].tokens["input_ids"][0]]
    family = next(name for name, one in MODELS.items() if one in (architecture, architecture.replace("_5", "")))
    assert model.tokenizer.decode(ids[-60:], skip_special_tokens=False).endswith(OPENINGS[family])
    # As tokens of their own, and not in letters.
    assert set(model.tokenizer.convert_tokens_to_ids(list(MARKS[family]))) <= set(ids)


def test_a_checkpoints_own_template_always_wins() -> None:
    own = tiny("qwen2_vl")
    assert own.processor.chat_template not in {chat_template(name) for name in get_args(Format)}
    assert rendered(own, MESSAGES).startswith("<|system|>You write drafts.")


def test_a_template_that_only_the_tokenizer_has_is_the_checkpoints_own(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    without_template("qwen2_vl", folder)
    (folder / "chat_template.jinja").unlink(missing_ok=True)
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    settings["chat_template"] = "{% for message in messages %}({{ message.role }}){% endfor %}"
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    assert rendered(load_model(str(folder)), text_only(MESSAGES[:2])) == "(system)(user)"


def test_a_format_whose_marks_the_tokenizer_does_not_know_is_not_used(tmp_path: Path) -> None:
    model = without_template("qwen2_vl", tmp_path / "model", marks=())
    with pytest.raises(InvalidPrompt, match="no chat template"):
        rendered(model, MESSAGES)


def test_no_format_is_guessed_for_another_language_model_in_llava() -> None:
    assert chat_format("llava", "llama", ()) == "vicuna"
    assert chat_format("llava", "mistral", ()) is None
    assert chat_format("paligemma", "gemma", ("<start_of_turn>", "<end_of_turn>")) is None
    assert chat_format("opt", "opt", ()) == "plain"
    assert chat_format("qwen2", "qwen2", ("<|im_start|>", "<|im_end|>")) == "chatml"


def test_the_templates_are_found_as_package_data() -> None:
    folder = files("generation.decoding").joinpath("chat_templates_data")
    assert {entry.name for entry in folder.iterdir()} == {f"{name}.jinja" for name in get_args(Format)}
    assert set(FORMATS.values()) | {"plain"} == set(get_args(Format))
