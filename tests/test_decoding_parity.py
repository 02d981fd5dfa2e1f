"""The batched generator against the oracle, token by token, in float32.

A first difference is excused only where the oracle's two best scores were closer than 1e-4, in at most one of 200
drafts, and excused ones are listed; so in a set of fewer than 200 none is. Random weights make every draft noise, so
nothing is agreed upon by habit. `make soak` runs a larger grid and keeps its counts in evaluation/measured/.
"""

import copy
import json
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from generation.decoding.generator import BranchPrompt, Generated, GenerationRequest
from generation.decoding.presets import PRESETS
from tests.tiny_models import (
    ARCHITECTURES,
    EYES,
    FOUR,
    PHRASES,
    batched,
    drawn_request,
    need_models,
    pictures,
    reference,
    tiny,
    tokens_request,
)

MEASURED = Path(__file__).parent.parent / "evaluation" / "measured" / "soak-decoding-parity.json"
IMAGES = pictures(seed=5)
MIXTURE = ("plain", "ccd", "vcd", "m3id", "grounded", "icd", "cad", "prompt")


@pytest.fixture(autouse=True)
def _models():
    need_models()


def excused(oracle: Sequence[Generated], fast: Sequence[Generated]) -> list[str]:
    """What differs only where the oracle was about to toss a coin; anything else fails the test."""
    from evaluation.decoding_parity import ROUNDING, first_difference  # noqa: PLC0415

    assert len(oracle) == len(fast)
    listed = []
    for number, (slow, quick) in enumerate(zip(oracle, fast, strict=True)):
        assert slow.prompt_tokens == quick.prompt_tokens
        first = first_difference(slow, quick)
        if first is None:
            assert (slow.text, slow.finish) == (quick.text, quick.finish)
            np.testing.assert_allclose(slow.margins, quick.margins, atol=2e-3, rtol=2e-3)
            continue
        margin = slow.margins[first]
        assert margin < ROUNDING, f"draft {number} differs at token {first}, where the oracle led by {margin:.2g}"
        listed.append(f"draft {number}, token {first}, margin {margin:.1g}")
    assert len(listed) <= len(oracle) // 200, listed
    return listed


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_eight_drafts_at_once_are_what_the_oracle_writes_one_by_one(architecture):
    """Eight presets, greedy and sampled, biased or not, with no, one, two or other images in each branch."""
    model = tiny(architecture)
    requests = [
        drawn_request(seed, sees=model.sees, preset=preset, temperature=0.8 * (seed % 2), max_new_tokens=12)
        for seed, preset in enumerate(MIXTURE)
    ]
    oracle = reference(model, requests, IMAGES)
    assert not excused(oracle, batched(model, requests, IMAGES))
    assert len({draft.token_ids for draft in oracle}) == len(requests)
    assert min(len(set(draft.token_ids)) for draft in oracle) > 3, "a draft that repeats itself shows nothing"


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_one_to_four_branches_of_five_to_nine_hundred_tokens_with_and_without_images_alone_and_in_eights(architecture):
    """What must agree all at once: biased, sampled, and images that differ between the branches of one draft."""
    model = tiny(architecture)
    requests = [
        drawn_request(
            seed, sees=model.sees, preset=preset, temperature=0.9 * (seed % 2), most_words=most, max_new_tokens=8
        )
        for seed, preset, most in (
            (3, FOUR, 100), (7, FOUR, 8), (9, "grounded", 500), (4, "m3id", 60), (6, "vcd", 100), (1, "ccd", 2),
        )
    ]  # fmt: skip
    requests += [tokens_request((5, 900, 333), seed=1, max_new_tokens=8), drawn_request(5, sees=False, preset="plain")]
    oracle = reference(model, requests, IMAGES)
    for at_once in (1, 8):
        assert not excused(oracle, batched(model, requests, IMAGES, drafts_at_once=at_once))
    # That the requests are what the name says.
    lengths = {length for draft in oracle for length in draft.prompt_tokens}
    assert lengths >= {5, 900}
    assert {len(draft.prompt_tokens) for draft in oracle} == {1, 2, 3, 4}
    assert {request.temperature for request in requests} == {0.0, 0.9}
    assert {request.preset.bias for request in requests} == {"none", "published", "phrases"}
    if model.sees:
        seen = [{one.images for one in request.mixed} for request in requests]
        assert {()} in seen
        assert any(len(images) > 2 for images in seen), "no draft shows its branches three different things"
        with_images = [
            length
            for request, draft in zip(requests, oracle, strict=True)
            for one, length in zip(request.mixed, draft.prompt_tokens, strict=True)
            if one.images
        ]
        assert min(with_images) < 50
        assert max(with_images) > 500


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_prompts_of_five_to_nine_hundred_tokens_in_one_batch(architecture):
    model = tiny(architecture)
    requests = [tokens_request(lengths, seed=n) for n, lengths in enumerate([(5, 900), (37,), (333, 12, 620), (64,)])]
    oracle = reference(model, requests, {})
    assert not excused(oracle, batched(model, requests, {}))
    assert sorted(length for draft in oracle for length in draft.prompt_tokens) == [5, 12, 37, 64, 333, 620, 900]


def test_a_long_prompt_with_images_goes_with_a_short_one_without():
    for architecture in EYES:
        model = tiny(architecture)
        requests = [
            drawn_request(seed, sees=True, preset="vcd", most_words=words, max_new_tokens=6)
            for seed, words in ((1, 150), (5, 1), (3, 90), (6, 3))
        ]
        assert not excused(reference(model, requests, IMAGES), batched(model, requests, IMAGES)), architecture


@pytest.mark.parametrize("limits", [{"drafts_at_once": 3}, {"prefill_tokens": 1}, {"prefill_tokens": 150}])
def test_how_the_work_is_parted_changes_nothing(limits):
    model = tiny("qwen2_vl")
    requests = [drawn_request(seed, sees=True, preset="grounded", max_new_tokens=10) for seed in range(7)]
    assert not excused(batched(model, requests, IMAGES), batched(model, requests, IMAGES, **limits))


@pytest.mark.parametrize("architecture", ["qwen2_vl", "gemma3"])
def test_a_draft_that_ends_does_not_disturb_the_others(architecture):
    """Drafts of 1 to 30 tokens, so that rows are dropped more than once; each is what it is alone."""
    model = replace(tiny(architecture), end_ids=frozenset())
    requests = [
        drawn_request(seed, sees=True, preset="ccd", max_new_tokens=length)
        for seed, length in enumerate((1, 30, 2, 4, 9, 5, 3, 17))
    ]
    together = batched(model, requests, IMAGES)
    assert [len(draft.token_ids) for draft in together] == [1, 30, 2, 4, 9, 5, 3, 17]
    assert not excused([batched(model, [request], IMAGES)[0] for request in requests], together)


@pytest.mark.parametrize("architecture", ["qwen2_5_vl", "llava"])
def test_an_end_token_ends_all_branches_of_its_draft_only(architecture):
    model = tiny(architecture)
    requests = [drawn_request(seed, sees=True, preset="grounded", max_new_tokens=20) for seed in range(6)]
    free = reference(model, requests, IMAGES)
    ends = replace(model, end_ids=frozenset({free[0].token_ids[7], free[3].token_ids[12]}))
    oracle, fast = reference(ends, requests, IMAGES), batched(ends, requests, IMAGES)
    assert not excused(oracle, fast)
    ended = [draft for draft in fast if draft.finish == "end"]
    assert fast[0].finish == fast[3].finish == "end"
    assert all(len(draft.margins) == len(draft.token_ids) + 1 for draft in ended)
    for draft, whole in zip(fast, free, strict=True):
        assert draft.token_ids == whole.token_ids[: len(draft.token_ids)]
        assert not ends.end_ids & set(draft.token_ids)


def test_a_stop_string_across_tokens_ends_its_draft_and_is_cut_off():
    model = tiny("llava")
    requests = [drawn_request(seed, sees=True, preset="ccd", max_new_tokens=20) for seed in range(4)]
    free = reference(model, requests, IMAGES)
    # The last letter of one token with the first of the next, so in no single token.
    grown = [model.decode(free[2].token_ids[:length]) for length in range(1, 21)]
    stop = next(
        after[len(before) - 1 : len(before) + 1]
        for before, after in pairwise(grown[5:])
        if len(after) > len(before) and after[len(before) - 1 : len(before) + 1] not in before
    )
    stopping = [request.model_copy(update={"stop": (stop, "never written")}) for request in requests]
    oracle, fast = reference(model, stopping, IMAGES), batched(model, stopping, IMAGES)
    assert not excused(oracle, fast)
    assert fast[2].finish == "stop"
    for draft, whole in zip(fast, free, strict=True):
        assert draft.text == whole.text.partition(stop)[0]


def test_text_is_handed_out_as_it_becomes_certain_and_never_taken_back():
    model = tiny("qwen2")
    requests = [
        drawn_request(seed, sees=False, preset="plain", max_new_tokens=25, temperature=1.2, stop=("e", "thorax and"))
        for seed in range(5)
    ]
    for write in (reference, batched):
        heard: dict[int, list[str]] = {}
        drafts = write(model, requests, {}, lambda number, text: heard.setdefault(number, []).append(text))  # noqa: B023
        for number, draft in enumerate(drafts):
            assert "".join(heard.get(number, [])) == draft.text
            assert all(heard.get(number, []))
    assert any(len(pieces) > 3 for pieces in heard.values())


def test_the_same_seed_draws_the_same_draft_and_another_seed_another():
    model = tiny("qwen2")
    first = drawn_request(1, sees=False, preset="ccd", temperature=1.0)
    again, other = batched(model, [first, first.model_copy(update={"seed": 2})], {})
    assert [again, other] == batched(model, [first, first.model_copy(update={"seed": 2})], {})
    assert again.token_ids != other.token_ids


@pytest.mark.parametrize("architecture", EYES)
def test_an_image_and_a_branch_and_the_bias_each_decide_what_is_written(architecture):
    """Without this, agreement on images, branches and biases could be agreement on nothing."""
    model = tiny(architecture)
    request = drawn_request(1, sees=True, preset="grounded", max_new_tokens=20)
    [usual] = batched(model, [request], IMAGES)
    [other_image] = batched(model, [request], IMAGES | {"image-1": IMAGES["image-2"]})
    [one_branch] = batched(model, [request.model_copy(update={"preset": PRESETS["plain"]})], IMAGES)
    strong = PRESETS["grounded"].model_copy(update={"bias_weight": 1.0, "gamma": 1e6, "plausible": None})
    certain = tuple(phrase.model_copy(update={"probability": 1.0}) for phrase in PHRASES)
    [leaning] = batched(model, [request.model_copy(update={"preset": strong, "phrases": certain})], IMAGES)
    assert len({usual.token_ids, other_image.token_ids, one_branch.token_ids, leaning.token_ids}) == 4


@pytest.mark.parametrize("architecture", EYES)
def test_a_model_that_wants_to_write_an_image_writes_the_next_best(architecture):
    """A place for an image without an image would be another prompt: the oracle could not even read it."""
    model = replace(tiny(architecture), network=copy.deepcopy(tiny(architecture).network))
    assert model.image_ids
    for token in model.image_ids:
        model.network.lm_head.weight.data[token] *= 30.0
    requests = [drawn_request(seed, sees=True, preset="ccd", max_new_tokens=5) for seed in (1, 2)]
    oracle = reference(model, requests, IMAGES)
    assert not excused(oracle, batched(model, requests, IMAGES))
    assert not model.image_ids & {token for draft in oracle for token in draft.token_ids}


@pytest.mark.parametrize("architecture", ["qwen2_vl", "gemma3"])
def test_the_published_loop_that_bans_the_drafts_own_runs_only_is_preset_ccd(architecture):
    from evaluation.decoding_speed import published_loop  # noqa: PLC0415

    model = replace(tiny(architecture), end_ids=frozenset())
    request = drawn_request(4, sees=True, preset="ccd", max_new_tokens=12)
    [draft] = batched(model, [request], IMAGES)
    assert published_loop(model, request, IMAGES, runs="draft").token_ids == draft.token_ids


def test_a_prompt_in_tokens_is_the_prompt_in_text():
    model = tiny("qwen2")
    text = "<|user|>The heart size is normal.<|end|><|assistant|>"
    forms = (
        BranchPrompt(branch="study", text=text),
        BranchPrompt(branch="study", token_ids=tuple(model.tokenizer(text, add_special_tokens=False)["input_ids"])),
    )
    in_text, in_tokens = (
        batched(model, [GenerationRequest(branches=(form,), preset=PRESETS["plain"], max_new_tokens=9)], {})
        for form in forms
    )
    assert in_text == in_tokens


def test_positions_are_counted_from_the_first_token_and_go_on_from_the_largest_plane_of_an_image():
    """Rotary positions only matter as differences, so drafts cannot show whether padding is counted."""
    from generation.decoding.hf_models import stack  # noqa: PLC0415

    model = tiny("qwen2_vl")
    request = drawn_request(4, sees=True, preset="vcd")
    study, blind = model.encode(request, IMAGES)
    assert study.pictures
    assert not blind.pictures
    for one in (study, blind):
        alone = model.positions(one)
        padded = model.positions(stack([one, model.encode(tokens_request((500,)), {})[0]], 0))
        assert (padded[..., 0, -one.length :] == alone[..., 0, :]).all()
        assert alone[..., 0].eq(0).all()
    assert int(model.positions(study).max()) + 1 < study.length, "an image takes fewer positions than tokens"
    assert int(model.positions(blind).max()) + 1 == blind.length


@pytest.mark.soak
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_whole_grid_agrees(architecture):
    """Every preset, greedy and sampled, batches of 1 and 8, prompts up to 900 tokens, end tokens and stop strings."""
    kept = json.loads(MEASURED.read_text()) if MEASURED.exists() else {"architectures": {}}
    if architecture in kept["architectures"]:
        return
    model = tiny(architecture)
    requests = [
        drawn_request(
            seed,
            sees=model.sees,
            preset=preset,
            temperature=temperature,
            most_words=most,
            max_new_tokens=32,
            stop=("ar", "\n") if seed % 4 == 0 else (),
        )
        for seed, (preset, temperature, most) in enumerate(
            (preset, temperature, most)
            for preset in (*MIXTURE, FOUR)
            for temperature in (0.0, 0.7)
            for most in (3, 40, 120, 400) * 3  # more than 200 drafts, so that one might be excused
        )
    ]
    requests += [tokens_request(lengths, seed=n, max_new_tokens=32) for n, lengths in enumerate([(900, 5), (450, 700)])]
    ends = replace(model, end_ids=model.end_ids | {40, 41})
    oracle = reference(ends, requests, IMAGES)
    together = {size: batched(ends, requests, IMAGES, drafts_at_once=size) for size in (1, 8)}
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=MEASURED.parent, capture_output=True, text=True, check=False
    )
    kept["architectures"][architecture] = {
        "drafts": len(oracle),
        "tokens": sum(len(draft.margins) for draft in oracle),
        "longest_prompt": max(length for draft in oracle for length in draft.prompt_tokens),
        "smallest_margin": min(margin for draft in oracle for margin in draft.margins),
        "excused": {f"in batches of {size}": excused(oracle, drafts) for size, drafts in together.items()},
        "commit": commit.stdout.strip(),
    }
    for name in ("drafts", "tokens"):
        kept[name] = sum(counts[name] for counts in kept["architectures"].values())
    MEASURED.write_text(json.dumps(kept, indent=1) + "\n")
