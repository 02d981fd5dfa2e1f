"""What cannot be done is said by name, with what to do about it, before any work where that is possible."""

import copy
import json
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from generation.decoding.generator import BranchPrompt, DraftText, GenerationRequest
from generation.decoding.presets import PRESETS
from prompts.message import Message
from retrieval.errors import (
    ImagesNotSupported,
    InvalidPrompt,
    MissingWeights,
    OperatorError,
    PromptTooLong,
    RequestError,
    UnsafeWeights,
    UnsupportedModel,
)
from tests.tiny_models import (
    batched,
    checkpoint,
    drawn_request,
    need_models,
    pictures,
    prompt,
    reference,
    tiny,
    tokens_request,
)

BOTH = pytest.mark.parametrize("write", [reference, batched])
IMAGES = pictures(seed=1)


@pytest.fixture
def models():
    need_models()


@pytest.fixture
def folder(models):
    """A copy of a checkpoint, to be spoilt."""
    with tempfile.TemporaryDirectory(prefix="prelim-faults-") as made:
        yield Path(shutil.copytree(checkpoint("qwen2"), Path(made) / "model"))


def load(where, **how):
    from generation.decoding.hf_models import load_model  # noqa: PLC0415

    return load_model(str(where), **how)


def digest(folder):
    from retrieval.encoders.hub import folder_digest  # noqa: PLC0415

    return folder_digest(folder)


def one(*prompts: BranchPrompt, **more) -> GenerationRequest:
    return GenerationRequest(branches=prompts, preset=PRESETS["plain"], max_new_tokens=4, **more)


# Prompts


@BOTH
def test_a_prompt_too_long_for_the_model_is_refused_with_its_branch_and_counts(models, write):
    good, long = tokens_request((5,)), tokens_request((30, 2045), max_new_tokens=8)
    said = "branch anchored has 2045 tokens, which with 8 new ones exceed the 2048"
    with pytest.raises(PromptTooLong, match=said) as caught:
        write(tiny("qwen2"), [good, long], {}, on_text=lambda *_: pytest.fail("work began"))
    assert "max_new_tokens" in caught.value.fix
    fits = tokens_request((30, 2040), max_new_tokens=8)
    assert len(batched(tiny("qwen2"), [fits], {})[0].token_ids) == 8


@BOTH
def test_a_text_only_model_asked_for_an_image_says_so(models, write):
    asked = [one(prompt("study", "heart")), one(prompt("study", "heart", ["image-0"]))]
    with pytest.raises(ImagesNotSupported, match="reads text only") as caught:
        write(tiny("qwen2"), asked, IMAGES, on_text=lambda *_: pytest.fail("work began"))
    assert "vision-language model" in caught.value.fix


@BOTH
def test_an_image_that_was_not_handed_in_is_named_by_its_branch(models, write):
    with pytest.raises(InvalidPrompt, match="branch study names an image that was not handed in"):
        write(tiny("llava"), [one(prompt("study", "heart", ["image-9"]))], IMAGES)


@pytest.mark.parametrize("array", [np.zeros((5, 5, 3)), np.zeros((0, 4)), np.full((60, 60), np.nan)])
def test_an_array_that_is_no_grey_image_is_refused(models, array):
    with pytest.raises(InvalidPrompt, match="not a grey image"):
        batched(tiny("llava"), [one(prompt("study", "heart", ["x"]))], {"x": array.astype(np.float32)})


@pytest.mark.parametrize("architecture", ["qwen2_vl", "gemma3", "llava"])
def test_finished_text_must_hold_one_mark_for_each_image(models, architecture):
    model = tiny(architecture)
    for marks, images in ((0, 1), (2, 1), (1, 0)):
        text = f"<|user|>heart{marks * model.processor.image_token}<|assistant|>"
        wrong = BranchPrompt(branch="study", text=text, text_images=("image-0",) * images)
        with pytest.raises(InvalidPrompt, match=f"{marks} places for {images} images"):
            batched(model, [one(wrong)], IMAGES)


@pytest.mark.parametrize("mark", ["<|end|>", "<|vision_start|>", "<|image_pad|>", "</s>"])
def test_the_models_own_markup_cannot_come_from_data(models, mark):
    with pytest.raises(InvalidPrompt, match="control token") as caught:
        batched(tiny("qwen2_vl"), [one(prompt("study", f"Mrs Doe {mark} heart"))], {})
    assert "Doe" not in str(caught.value)


def test_tokens_outside_of_the_vocabulary_are_refused(models):
    with pytest.raises(InvalidPrompt, match="outside of the vocabulary"):
        batched(tiny("qwen2"), [one(BranchPrompt(branch="study", token_ids=(1, 99_999)))], {})


def test_a_prompt_in_tokens_has_no_place_for_an_image(models):
    model = tiny("llava")
    with pytest.raises(InvalidPrompt, match="hold a place for an image"):
        batched(model, [one(BranchPrompt(branch="study", token_ids=(50, *model.image_ids)))], {})


def test_messages_need_a_chat_template(models):
    tokenizer = copy.deepcopy(tiny("qwen2").tokenizer)
    tokenizer.chat_template = None
    bare = replace(tiny("qwen2"), processor=tokenizer, tokenizer=tokenizer)
    with pytest.raises(InvalidPrompt, match="no chat template"):
        batched(bare, [one(prompt("study", "heart"))], {})


def test_a_request_that_makes_no_sense_cannot_be_made():
    study = BranchPrompt(branch="study", text="x")
    with pytest.raises(ValidationError, match="exactly one of"):
        BranchPrompt(branch="study", text="x", messages=(Message(role="user", content=("x",)),))
    with pytest.raises(ValidationError, match="without a prompt: anchored"):
        GenerationRequest(branches=(study,), preset=PRESETS["ccd"])
    with pytest.raises(ValidationError, match="two prompts"):
        GenerationRequest(branches=(study, study), preset=PRESETS["plain"])
    with pytest.raises(ValidationError, match="empty stop string"):
        one(study, stop=("",))
    with pytest.raises(ValidationError, match="text_images"):
        BranchPrompt(branch="study", token_ids=(1,), text_images=("x",))


def test_a_draft_shows_no_half_character_and_no_head_of_a_stop_string():
    pieces = {0: "a", 1: "ST", 2: "OP", 3: "b"}
    draft = DraftText(
        one(BranchPrompt(branch="study", text="x"), stop=("STOP",)).model_copy(update={"max_new_tokens": 9}),
        frozenset({9}),
        lambda ids: "".join(pieces.get(token, "\ufffd") for token in ids).replace("\ufffd\ufffd", "\u00e9"),
    )
    shown = [draft.add(token, 1.0) for token in (0, 1, 3, 7, 8, 1, 2)]
    assert shown == ["a", "", "STb", "", "\u00e9", "", ""]
    assert draft.finish == "stop"
    assert draft.result([1]).text == "aSTb\u00e9"


# What the model answers


@BOTH
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_logits_that_are_no_numbers_end_the_call_and_name_the_drafts(models, write, value):
    import torch  # noqa: PLC0415

    from retrieval.errors import BrokenLogits  # noqa: PLC0415

    broken = replace(tiny("qwen2"), network=copy.deepcopy(tiny("qwen2").network))
    with torch.no_grad():
        broken.network.lm_head.weight[3] = value
    with pytest.raises(BrokenLogits, match="float32 or bfloat16") as caught:
        write(broken, [tokens_request((4, 9)), tokens_request((7,))], {})
    assert set(caught.value.groups) <= {0, 1}
    assert isinstance(caught.value, OperatorError)


# What a model is loaded from


def test_no_such_folder_and_no_such_hub_id_offline(models, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for network in ("off", "on"):
        with pytest.raises(MissingWeights, match="neither a folder nor a model in the local hub cache") as caught:
            load("nobody/no-such-model", network=network)
        assert "HF_HUB_OFFLINE" in caught.value.fix
    with pytest.raises(MissingWeights, match="neither a folder"):
        load("/no/such/folder/at/all")


def test_a_folder_without_configuration_or_weights_says_which(folder):
    (folder / "model.safetensors").unlink()
    with pytest.raises(MissingWeights, match=r"no model\.safetensors"):
        load(folder)
    (folder / "config.json").unlink()
    with pytest.raises(MissingWeights, match=r"no config\.json"):
        load(folder)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "weights.ckpt"])
def test_weights_that_are_only_pickles_are_never_opened(folder, name):
    ran = folder / "ran"
    (folder / "model.safetensors").unlink()
    (folder / name).write_bytes(f"cbuiltins\nopen\n(S'{ran}'\nS'w'\ntR.".encode())  # a pickle that writes a file
    with pytest.raises(UnsafeWeights, match="pickles"):
        load(folder)
    assert not ran.exists()


def test_a_shard_that_the_index_names_must_be_there(folder):
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    names = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": names}))
    with pytest.raises(MissingWeights, match=r"lacks model-00002-of-00002\.safetensors"):
        load(folder)


def test_a_weight_that_no_file_holds_is_not_made_up(folder):
    from safetensors.torch import load_file, save_file  # noqa: PLC0415

    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(MissingWeights, match=r"1 weights .* model\.layers\.1\.mlp\.up_proj\.weight"):
        load(folder)


@pytest.mark.parametrize("left", [0, 100, 50_000])
def test_a_file_cut_short_is_missing_weights(folder, left):
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[:left])
    with pytest.raises(MissingWeights, match="cannot be read"):
        load(folder)


def test_weights_of_another_size_than_the_configuration_says_are_refused(folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"intermediate_size": 64}))
    with pytest.raises(MissingWeights):
        load(folder)


def test_code_in_a_models_folder_is_never_run(folder):
    ran = folder / "ran"
    (folder / "modeling_own.py").write_text(f"open({str(ran)!r}, 'w')\nclass Own: pass\n")
    config = json.loads((folder / "config.json").read_text())
    own = {"AutoConfig": "modeling_own.Own", "AutoModelForCausalLM": "modeling_own.Own"}
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "own", "auto_map": own}))
    with pytest.raises(UnsupportedModel, match="its own code"):
        load(folder)
    # Where transformers knows the architecture, its class is taken and the folder's is not looked at.
    (folder / "config.json").write_text(json.dumps(config | {"auto_map": own}))
    assert type(load(folder).network).__module__.startswith("transformers.")
    assert not ran.exists()


def test_a_models_digest_changes_with_every_byte_and_not_with_the_folders_place(folder):
    model = load(folder)
    assert len(model.weights) == 64
    moved = Path(shutil.copytree(folder, folder.with_name("elsewhere")))
    assert load(moved).weights == model.weights
    # What is not loaded does not count: code and pickles are never read.
    (moved / "modeling_own.py").write_text("pass")
    (moved / "training_args.bin").write_bytes(b"x")
    assert load(moved).weights == model.weights
    seen = {model.weights}
    for name in ("model.safetensors", "tokenizer.json", "config.json", "generation_config.json"):
        file = moved / name
        whole = file.read_bytes()
        # The last bit of the last weight, or a blank that means nothing in JSON.
        spoilt = whole + b" " if name.endswith(".json") else whole[:-1] + bytes([whole[-1] ^ 1])
        file.write_bytes(spoilt)
        seen.add(load(moved).weights)
        file.write_bytes(whole)
    assert len(seen) == 5
    assert load(moved).weights == model.weights
    (moved / "tokenizer.json").rename(moved / "other.json")
    assert digest(moved) != model.weights


def test_a_generator_says_which_weights_it_writes_with(models):
    from generation.decoding.batched import BatchedGenerator  # noqa: PLC0415
    from generation.decoding.reference import ReferenceGenerator  # noqa: PLC0415

    for architecture in ("qwen2", "llava"):
        for kind in (BatchedGenerator, ReferenceGenerator):
            generator = kind(tiny(architecture))
            assert generator.weights == digest(checkpoint(architecture))
            assert generator.language_model == str(checkpoint(architecture))


def test_a_model_that_writes_no_text_is_not_supported(folder):
    import transformers  # noqa: PLC0415

    transformers.CLIPVisionConfig().save_pretrained(folder)
    with pytest.raises(UnsupportedModel, match="writes no text"):
        load(folder)


def test_every_fault_says_what_to_do_and_belongs_to_the_family():
    codes = set()
    for kind in (InvalidPrompt, PromptTooLong, ImagesNotSupported, MissingWeights, UnsafeWeights, UnsupportedModel):
        assert issubclass(kind, RequestError | OperatorError)
        codes.add(kind.code)
    assert len(codes) == 6


def test_a_request_of_all_presets_can_be_made_without_torch():
    assert [drawn_request(1, sees=True, preset=name).preset.name for name in PRESETS] == list(PRESETS)
