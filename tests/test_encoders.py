"""Trained encoders, on tiny checkpoints of their architectures: what the libraries give is what an index gets."""

import json
import pickle
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from retrieval.encoders.encoder import ImageTextEncoder, encode
from retrieval.encoders.named import load
from retrieval.errors import (
    MissingDependency,
    MissingWeights,
    UnsafeWeights,
    UnsupportedModel,
)
from retrieval.pixels import Pixels
from tests.tiny_encoders import (
    READ_WORDS,
    TEXTS,
    TINY,
    TinyEncoder,
    checkpoint,
    named,
    need_encoders,
    noise,
    write_tiny,
)

need_encoders()
import torch  # noqa: E402
import transformers  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402

from retrieval.encoders import open_clip_encoder, torch_encoder  # noqa: E402
from retrieval.encoders.torch_encoder import normalised  # noqa: E402

import open_clip  # isort: skip  # noqa: E402 - after ours, which makes torchvision ready
from open_clip.transform import PreprocessCfg, image_transform_v2  # isort: skip  # noqa: E402
from torchvision.transforms.functional import to_pil_image  # isort: skip  # noqa: E402

SHAPES = ((60, 100), (101, 56), (28, 28), (73, 210), (29, 20), (300, 257))
IMAGES = [noise(seed, *shape) for seed, shape in enumerate(SHAPES)]


def rgb(image: Pixels) -> Any:
    return np.repeat(np.rint(image * 255).astype(np.uint8)[:, :, None], 3, axis=2)


def own_pixels(kind: TinyEncoder, images: Sequence[Pixels]) -> torch.Tensor:
    """What the library's own preprocessing makes of the images."""
    if kind.startswith("open_clip"):
        kept = json.loads((checkpoint(kind) / "open_clip_config.json").read_text())["preprocess_cfg"]
        transform = image_transform_v2(PreprocessCfg(size=28, **kept), is_train=False)
        return torch.stack([transform(to_pil_image(rgb(image))) for image in images])
    processor = transformers.AutoImageProcessor.from_pretrained(checkpoint(kind))
    made = [processor(images=[rgb(image)], return_tensors="pt")["pixel_values"][0] for image in images]
    return torch.stack(made)


def own_network(kind: TinyEncoder) -> Any:
    """The network as its library loads it, without anything of ours."""
    folder = checkpoint(kind)
    if kind == "open_clip":
        return open_clip.create_model(f"local-dir:{folder}").eval()
    if kind == "open_clip_bert":
        cfg = json.loads((folder / "open_clip_config.json").read_text())["model_cfg"]
        cfg["text_cfg"] |= {"hf_model_name": str(folder), "hf_model_pretrained": False}
        network = open_clip.CustomTextCLIP(**cfg)
        network.load_state_dict(load_file(folder / "open_clip_model.safetensors"))
        return network.eval()
    kinds = {
        "dinov2": transformers.Dinov2Model,
        "vit": transformers.ViTModel,
        "siglip": transformers.SiglipModel,
        "clip": transformers.CLIPModel,
    }
    more = {"add_pooling_layer": False} if kind == "vit" else {}
    return kinds[kind].from_pretrained(folder, **more).eval()


def own_rows(kind: TinyEncoder, pixels: torch.Tensor) -> torch.Tensor:
    network = own_network(kind)
    with torch.inference_mode():
        if kind.startswith("open_clip"):
            rows = network.encode_image(pixels)
        elif kind == "siglip":
            rows = network.vision_model(pixel_values=pixels).pooler_output
        elif kind == "clip":
            rows = network.visual_projection(network.vision_model(pixel_values=pixels).pooler_output)
        else:
            rows = network(pixel_values=pixels).last_hidden_state[:, 0]
    return torch.nn.functional.normalize(rows)


@pytest.mark.parametrize("kind", TINY)
def test_frames_are_what_the_library_makes_of_the_same_bytes_but_for_its_rounding(kind: TinyEncoder) -> None:
    encoder = load(named(kind))
    framing = encoder.prepare
    ours = normalised(torch.from_numpy(np.stack([framing(image) for image in IMAGES])), framing)
    levels = ((ours - own_pixels(kind, IMAGES)) * torch.tensor(framing.std).reshape(1, 3, 1, 1) * 255).abs()
    # open_clip resizes with Pillow, as here; transformers with torchvision, which rounds the weights of an antialiased
    # resize to other integers than Pillow: up to two grey levels of 255, a tenth of one on average.
    most, usually = (1e-3, 1e-4) if kind.startswith("open_clip") else (2.001, 0.1)
    assert levels.max() <= most
    assert levels.mean() <= usually


@pytest.mark.parametrize("kind", TINY)
def test_vectors_are_the_librarys_own(kind: TinyEncoder) -> None:
    encoder = load(named(kind))
    frames = np.stack([encoder.prepare(image) for image in IMAGES])
    on_same_pixels = own_rows(kind, normalised(torch.from_numpy(frames), encoder.prepare)).numpy()
    vectors = encode(encoder, IMAGES)
    np.testing.assert_allclose(vectors, on_same_pixels, atol=2e-6)
    # A level in a few pixels moves a vector of random weights by less than a thousandth.
    assert (vectors * own_rows(kind, own_pixels(kind, IMAGES)).numpy()).sum(1).min() > 0.999


@pytest.mark.parametrize("kind", TINY)
def test_rows_are_unit_in_order_and_none_for_no_images(kind: TinyEncoder) -> None:
    encoder = load(named(kind))
    rows = encode(encoder, IMAGES)
    assert rows.shape == (len(IMAGES), encoder.dimension)
    assert rows.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(encode(encoder, IMAGES[::-1]), rows[::-1], atol=2e-6)
    assert encode(encoder, []).shape == (0, encoder.dimension)
    assert (rows @ rows.T - np.eye(len(rows))).max() < 0.999  # or nothing above tells images apart


@pytest.mark.parametrize("kind", ["dinov2", "open_clip"])
def test_a_batch_of_any_size_gives_the_rows_of_single_images(
    kind: TinyEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = load(named(kind))
    frames = np.stack([encoder.prepare(noise(seed, 40, 50)) for seed in range(9)])
    single = np.concatenate([encoder.run(frame[None]) for frame in frames])
    for at_once in (1, 2, 4, 9, 32):
        monkeypatch.setattr(torch_encoder, "IMAGES_AT_ONCE", at_once)
        np.testing.assert_allclose(encoder.run(frames), single, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", READ_WORDS)
def test_logits_of_images_and_texts_are_the_librarys_own(kind: TinyEncoder) -> None:
    encoder = load(named(kind))
    assert isinstance(encoder, ImageTextEncoder)
    frames = np.stack([encoder.prepare(image) for image in IMAGES])
    ours = encoder.finish(encoder.run(frames)) @ encoder.encode_text(TEXTS).T * encoder.logit_scale + encoder.logit_bias
    pixels, network = normalised(torch.from_numpy(frames), encoder.prepare), own_network(kind)
    with torch.inference_mode():
        if kind.startswith("open_clip"):
            named_in = {"open_clip": f"local-dir:{checkpoint(kind)}", "open_clip_bert": ""}[kind]
            tokenizer = (
                open_clip.get_tokenizer(named_in)
                if named_in
                else open_clip.tokenizer.HFTokenizer(str(checkpoint(kind)), context_length=16)
            )
            theirs = network.get_logits(pixels, tokenizer(list(TEXTS)))[0]
        else:
            tokenizer = transformers.AutoTokenizer.from_pretrained(checkpoint(kind))
            padding = "max_length" if kind == "siglip" else True
            tokens = tokenizer(list(TEXTS), padding=padding, max_length=16, truncation=True, return_tensors="pt")
            if kind == "siglip":
                tokens.pop("attention_mask")
            theirs = network(pixel_values=pixels, **tokens).logits_per_image
    np.testing.assert_allclose(ours, theirs.numpy(), atol=1e-4)
    assert np.ptp(ours) > 0.1


@pytest.mark.parametrize("kind", READ_WORDS)
def test_texts_are_unit_rows_whatever_stands_beside_them(kind: TinyEncoder) -> None:
    encoder = load(named(kind))
    assert isinstance(encoder, ImageTextEncoder)
    rows = encoder.encode_text(TEXTS)
    assert rows.shape == (len(TEXTS), encoder.dimension)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(np.concatenate([encoder.encode_text([text]) for text in TEXTS]), rows, atol=2e-6)
    assert encoder.encode_text([]).shape == (0, encoder.dimension)
    np.testing.assert_allclose(encoder.encode_text(["effusion " * 500]), encoder.encode_text(["effusion " * 501]))


@pytest.mark.parametrize("kind", ["dinov2", "vit"])
def test_an_encoder_of_images_alone_does_not_claim_to_read_words(kind: TinyEncoder) -> None:
    assert not isinstance(load(named(kind)), ImageTextEncoder)


def test_the_bias_of_a_sigmoid_is_kept_and_others_have_none() -> None:
    biases = {kind: load(named(kind)).logit_bias for kind in READ_WORDS}  # type: ignore[attr-defined]
    assert biases == {"siglip": -10.0, "clip": 0.0, "open_clip": -10.0, "open_clip_bert": 0.0}


def test_preparing_images_elsewhere_needs_no_torch() -> None:
    framing = load(named("siglip")).prepare
    image = noise(3, 90, 70)
    program = (
        "import pickle, sys\n"
        "framing, image = pickle.load(sys.stdin.buffer)\n"
        "frame = framing(image)\n"
        "assert not {'torch', 'transformers', 'open_clip', 'huggingface_hub'} & set(sys.modules)\n"
        "sys.stdout.buffer.write(frame.tobytes())\n"
    )
    sent = pickle.dumps((framing, image))
    answer = subprocess.run([sys.executable, "-c", program], input=sent, capture_output=True, check=True)
    assert answer.stdout == framing(image).tobytes()
    assert len(pickle.dumps(framing)) < 1000


@pytest.mark.parametrize("module", ["retrieval.index", "indexing.__main__", "service.__main__"])
def test_an_index_imports_torch_only_for_an_encoder_that_needs_it(module: str) -> None:
    program = (
        f"import sys, {module}\n"
        "print({'torch', 'transformers', 'open_clip', 'safetensors', 'huggingface_hub'} & set(sys.modules))"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True)
    assert answer.stdout == "set()\n"


@pytest.mark.parametrize("kind", ["dinov2", "open_clip"])
def test_an_identity_goes_with_weights_and_preprocessing_and_not_with_the_folder(
    kind: TinyEncoder, tmp_path: Path
) -> None:
    library, _, folder = named(kind).partition(":")
    identity = load(named(kind)).identity
    moved, other, resized = (tmp_path / name for name in ("moved", "other", "resized"))
    shutil.copytree(folder, moved)
    assert load(f"{library}:{moved}").identity == identity
    other.mkdir()
    write_tiny(other, kind, seed=1)
    assert load(f"{library}:{other}").identity.split("/")[:2] == identity.split("/")[:2]
    assert load(f"{library}:{other}").identity != identity
    shutil.copytree(folder, resized)
    file = resized / ("open_clip_config.json" if kind == "open_clip" else "preprocessor_config.json")
    written = json.loads(file.read_text())
    if kind == "open_clip":
        written["preprocess_cfg"]["mean"] = [0.4] * 3
    else:
        written["image_mean"] = [0.4] * 3
    file.write_text(json.dumps(written))
    assert load(f"{library}:{resized}").identity.split("/")[1] != identity.split("/")[1]


@pytest.fixture
def copied(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Path]:
    kind: TinyEncoder = request.param
    folder = Path(shutil.copytree(checkpoint(kind), tmp_path / kind))
    return f"{named(kind).partition(':')[0]}:{folder}", folder


EACH_LIBRARY = pytest.mark.parametrize("copied", ["dinov2", "open_clip"], indirect=True)


@EACH_LIBRARY
def test_weights_that_are_only_pickled_are_refused_and_not_opened(copied: tuple[str, Path]) -> None:
    name, folder = copied
    weights = next(folder.glob("*.safetensors"))
    weights.unlink()
    (folder / "pytorch_model.bin").write_bytes(b"not even a pickle")
    with pytest.raises(UnsafeWeights):
        load(name)


@EACH_LIBRARY
@pytest.mark.parametrize("damage", ["gone", "cut", "incomplete", "unconfigured"])
def test_weights_that_are_not_all_there_are_missing(copied: tuple[str, Path], damage: str) -> None:
    name, folder = copied
    weights = next(folder.glob("*.safetensors"))
    match damage:
        case "gone":
            weights.unlink()
        case "cut":
            weights.write_bytes(weights.read_bytes()[:-100])
        case "incomplete":
            tensors = load_file(weights)
            del tensors[sorted(tensors)[0]]
            save_file(tensors, weights, metadata={"format": "pt"})
        case _:
            (folder / ("config.json" if "dinov2" in folder.name else "open_clip_config.json")).unlink()
    with pytest.raises(MissingWeights):
        load(name)


@pytest.mark.parametrize("library", ["transformers:", "open_clip:", "open_clip:hf-hub:"])
def test_an_unknown_hub_id_is_missing_and_nobody_is_asked(library: str) -> None:
    with pytest.raises(MissingWeights, match="local hub cache"):
        load(f"{library}nobody/no-such-encoder")


@pytest.mark.parametrize("copied", ["open_clip_bert"], indirect=True)
def test_a_text_encoder_that_the_configuration_names_is_looked_for_in_the_cache(copied: tuple[str, Path]) -> None:
    name, folder = copied
    (folder / "config.json").unlink()
    with pytest.raises(MissingWeights, match="nobody/tiny-bert"):
        load(name)


@pytest.mark.parametrize("name", ["", "descriptor", "resnet:/folder", "transformers:", "transformers"])
def test_a_name_that_names_no_encoder_is_refused(name: str) -> None:
    with pytest.raises(UnsupportedModel, match="names no encoder"):
        load(name)


def change(file: Path, **entries: object) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | entries))


@pytest.mark.parametrize("copied", ["dinov2"], indirect=True)
def test_an_architecture_that_is_no_encoder_of_images_is_refused(copied: tuple[str, Path]) -> None:
    change(copied[1] / "config.json", model_type="bert")
    with pytest.raises(UnsupportedModel, match="'bert'"):
        load(copied[0])


@pytest.mark.parametrize("copied", ["dinov2"], indirect=True)
def test_code_in_an_encoders_folder_is_never_run(copied: tuple[str, Path]) -> None:
    name, folder = copied
    change(folder / "config.json", model_type="theirs", auto_map={"AutoConfig": "theirs.C", "AutoModel": "theirs.M"})
    (folder / "theirs.py").write_text("from pathlib import Path\nPath(__file__).with_name('ran').touch()\n")
    with pytest.raises(UnsupportedModel):
        load(name)
    assert not (folder / "ran").exists()


@pytest.mark.parametrize("copied", ["dinov2"], indirect=True)
@pytest.mark.parametrize(
    "entries",
    [
        {"do_pad": True, "pad_size": {"height": 40, "width": 40}},
        {"do_resize": False},
        {"do_center_crop": False},
        {"size": {"shortest_edge": 20}},
        {"do_normalize": True, "image_mean": 0.5},
        {"image_processor_type": "PoolFormerImageProcessor", "crop_pct": 0.7},
    ],
    ids=lambda entries: "-".join(entries),
)
def test_preprocessing_that_is_not_followed_is_refused(copied: tuple[str, Path], entries: dict[str, Any]) -> None:
    name, folder = copied
    change(folder / "preprocessor_config.json", **entries)
    with pytest.raises(UnsupportedModel):
        load(name)


@pytest.mark.parametrize("resize", ["shortest", "longest", "squash"])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_each_way_open_clip_resizes_is_followed_to_the_byte(resize: str, interpolation: str) -> None:
    cfg = PreprocessCfg(size=31, resize_mode=resize, interpolation=interpolation, fill_color=9)
    framing, transform = open_clip_encoder.framing_of(cfg), image_transform_v2(cfg, is_train=False)
    for image in IMAGES:
        theirs = transform(to_pil_image(rgb(image)))
        ours = normalised(torch.from_numpy(framing(image)[None]), framing)[0]
        np.testing.assert_allclose(ours.numpy(), theirs.numpy(), atol=1e-5)


def test_a_device_that_is_not_there_is_named() -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has one")
    with pytest.raises(MissingDependency, match="CUDA"):
        load(named("dinov2"), device="cuda")


@pytest.mark.parametrize("package", ["torch", "open_clip"])
def test_a_package_that_is_not_installed_is_named_with_the_extra_that_brings_it(package: str) -> None:
    program = (
        f"import sys; sys.modules[{package!r}] = None\n"
        "from retrieval.encoders.named import load\n"
        "from retrieval.errors import MissingDependency\n"
        "try:\n"
        f"    load({named('open_clip')!r})\n"
        "except MissingDependency as error:\n"
        "    print(error)\n"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True)
    assert package in answer.stdout
    assert "prelim[models]" in answer.stdout
