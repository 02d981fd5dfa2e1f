"""The gate: what is refused, with which reason, and what passes with which warning."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from evaluation.drawings import draw
from evaluation.main_job import write_iu_manifest
from evaluation.off_scope import off_scope_images
from indexing.fit import fit
from retrieval.encoders.descriptor import features
from retrieval.gate import Gate, judge_header, judge_statistics, refuse_for_index
from retrieval.look import MOST_DEMANDED, Scope, ViewScope, fits_of, look
from retrieval.pixels import Pixels
from retrieval.pixels.sandbox import Readers, Reading
from retrieval.pixels.statistics import pixel_statistics
from retrieval.records import GateVerdict, ImageAttributes, ImageDigest, Study, StudyImage
from retrieval.study import ReadStudy, assemble

UNLEARNED = Scope(frontal=None, lateral=None)


def attributes(**said: Any) -> ImageAttributes:
    return ImageAttributes.model_validate({"media": "dicom", "rows": 256, "columns": 256} | said)


def study(*images: tuple[Pixels, ImageAttributes]) -> ReadStudy:
    shown = [StudyImage(path=f"{n}", digest=ImageDigest(f"{n}"), attributes=a) for n, (_, a) in enumerate(images)]
    pixels = [p for p, _ in images]
    return ReadStudy(
        Study(images=tuple(shown)),
        tuple(np.zeros(3, np.float32) for _ in pixels),
        tuple(pixel_statistics(p) for p in pixels),
        tuple(look(p) for p in pixels),
        (),
    )


def chest(seed: int = 0) -> Pixels:
    return (draw(seed).frontal / 255).astype(np.float32)


def hand() -> Pixels:
    kind, image = next((k, i) for k, i in off_scope_images(60, 3) if k == "hand")
    assert kind == "hand"
    return (np.asarray(Image.fromarray(image).resize((256, 256))) / 255).astype(np.float32)


def verdict(*images: tuple[Pixels, ImageAttributes], scope: Scope = UNLEARNED) -> GateVerdict:
    return Gate(scope).judge_pixels(study(*images))[1]


@pytest.mark.parametrize("modality", ["CR", "DX", None])
def test_projection_radiographs_of_the_chest_pass(modality: str | None) -> None:
    assert judge_header(attributes(modality=modality, body_part="CHEST")).in_scope


@pytest.mark.parametrize("modality", ["CT", "MR", "US", "MG", "OT", ""])
def test_another_modality_is_refused_as_such(modality: str) -> None:
    refused = judge_header(attributes(modality=modality, body_part="CHEST"))
    assert refused.reason == "OUT_OF_SCOPE_MODALITY"
    assert modality in refused.explanation


def test_a_name_where_a_code_should_be_is_not_repeated() -> None:
    for refused in (judge_header(attributes(modality="DOE^JOHN")), judge_header(attributes(body_part="Doe's hand"))):
        assert not refused.in_scope
        assert "doe" not in refused.explanation.lower()


@pytest.mark.parametrize("part", ["RIBCAGE", "HAND", "SKULL", "ABDOMEN"])
def test_another_body_part_is_refused_as_such(part: str) -> None:
    assert judge_header(attributes(modality="CR", body_part=part)).reason == "OUT_OF_SCOPE_BODY_PART"


def test_burned_in_text_may_be_drafted_for_but_never_indexed() -> None:
    marked = attributes(modality="CR", burned_in_annotation=True)
    refused = refuse_for_index(marked)
    assert judge_header(marked).in_scope
    assert refused is not None
    assert refused.reason == "BURNED_IN_ANNOTATION"
    assert refuse_for_index(attributes(modality="CR")) is None


def test_a_chest_of_unknown_view_passes_and_its_view_is_said_to_be_a_guess() -> None:
    read, said = Gate(UNLEARNED).judge_pixels(study((chest(), attributes())))
    assert said.in_scope
    assert "no view is given; it looks frontal" in said.warnings
    assert (read.study.images[0].attributes.view, read.study.images[0].attributes.view_source) == (
        "FRONTAL",
        "similar_images",
    )


def test_a_declared_view_is_never_overwritten() -> None:
    read, said = Gate(UNLEARNED).judge_pixels(study((chest(), attributes(view="AP", view_source="view_position"))))
    assert read.study.images[0].attributes.view == "AP"
    assert said.warnings == ()


def test_a_hand_is_not_a_chest_whatever_view_is_declared() -> None:
    for view in ("UNKNOWN", "PA"):
        assert verdict((hand(), attributes(view=view))).reason == "NOT_A_CHEST_RADIOGRAPH"


def test_a_decubitus_view_is_refused_as_such() -> None:
    assert verdict((chest(), attributes(view="LLD"))).reason == "OUT_OF_SCOPE_VIEW"


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (np.zeros((256, 256)), "POOR_QUALITY"),
        (np.ones((256, 256)), "POOR_QUALITY"),
        (np.random.default_rng(0).random((256, 256)), "NOT_A_CHEST_RADIOGRAPH"),
        (np.tile(np.linspace(0, 1, 256), (256, 1)), "POOR_QUALITY"),
        (np.kron(chest(), np.ones((1, 4))), "NOT_A_CHEST_RADIOGRAPH"),
        ((chest() > 0.5).astype(float), "POOR_QUALITY"),
    ],
    ids=["black", "white", "noise", "gradient", "strip", "two greys"],
)
def test_an_image_in_which_nothing_can_be_seen_is_refused(image: Any, reason: str) -> None:
    refused = judge_statistics(pixel_statistics(np.asarray(image, np.float32)))
    assert refused is not None
    assert refused.reason == reason


def test_a_turned_chest_passes_with_a_warning() -> None:
    turned = np.ascontiguousarray(np.rot90(chest(3), 1))
    said = verdict((turned, attributes()))
    assert said.in_scope
    assert "it looks like a frontal chest radiograph that is turned" in said.warnings


def test_one_image_out_of_scope_is_left_out_and_the_rest_stands() -> None:
    read, said = Gate(UNLEARNED).judge_pixels(
        study((hand(), attributes(view="PA")), (chest(), attributes(view="PA")), (chest(1), attributes(modality="CT")))
    )
    assert said.in_scope
    assert [image.path for image in read.study.images] == ["1"]
    assert len(said.warnings) == 2
    assert read.batch().shape[0] == 1


def test_a_study_without_any_image_in_scope_is_refused_for_the_first_reason() -> None:
    assert verdict((np.zeros((64, 64), np.float32), attributes()), (hand(), attributes())).reason == "POOR_QUALITY"


def test_a_header_that_says_chest_lets_a_doubtful_image_pass_with_a_warning() -> None:
    doubtful = (0.45 * chest(4) + 0.55 * np.rot90(chest(4))).astype(np.float32)
    assert verdict((doubtful, attributes())).reason == "NOT_A_CHEST_RADIOGRAPH"
    said = verdict((doubtful, attributes(modality="DX", body_part="CHEST", view="PA")))
    assert said.in_scope
    assert said.warnings == ("the header says chest, but two lungs cannot be found",)


def test_a_scope_learned_from_images_all_alike_does_not_refuse_another_like_them() -> None:
    looks = [look(chest(seed)) for seed in range(210)]
    learned = ViewScope.learn(looks, [str(n) for n in range(210)], refused=0.001)
    assert learned is not None
    assert learned.least_share <= MOST_DEMANDED
    assert learned.share(look(chest(999))) > learned.least_share
    scope = Scope(frontal=learned, lateral=None)
    assert Scope.model_validate_json(scope.model_dump_json()) == scope
    assert all(verdict((chest(seed), attributes()), scope=scope).in_scope for seed in range(900, 920))


def test_too_few_images_teach_nothing() -> None:
    assert ViewScope.learn([look(chest(0))] * 10, ["p"] * 10, refused=0.001) is None


def test_lungs_are_found_in_drawings_and_not_in_a_hand() -> None:
    assert fits_of(look(chest(7)))[0] > 0.7
    assert fits_of(look(hand()))[0] < 0.6


@pytest.mark.data
@pytest.mark.slow
def test_few_real_chests_and_hardly_any_stranger_get_the_wrong_answer(data: Path, tmp_path: Path) -> None:
    """A part of what `prelim-evaluate main-job` measures on everything: scope of one collection, chests of another."""
    manifest = write_iu_manifest(data, tmp_path / "iu.jsonl")
    lines = manifest.read_text().splitlines()
    manifest.write_text("\n".join([lines[0], *lines[1::6]]) + "\n")  # about 450 studies
    strangers = []
    for number, (_, image) in enumerate(off_scope_images(100, 5)):
        strangers.append(str(tmp_path / f"{number}.png"))
        Image.fromarray(image).save(strangers[-1])
    chests = [str(file) for file in sorted((data / "nih" / "images").glob("*.jpg"))[::4]]
    with Readers(features, look=look, workers=2) as readers:
        gate = Gate(fit(manifest, readers).scope)
        passed = {
            name: [gate.judge_pixels(assemble([r]))[1].in_scope for r in readers.read(paths) if isinstance(r, Reading)]
            for name, paths in (("chests", chests), ("strangers", strangers))
        }
    assert len(passed["chests"]) > 400
    assert passed["chests"].count(False) <= 0.02 * len(passed["chests"])
    assert len(passed["strangers"]) == 100
    assert passed["strangers"].count(True) <= 3
