"""A model's own control tokens are no words: none reaches the text, and those of images are never written at all."""

import copy
from dataclasses import replace

import pytest

from tests.tiny_models import ARCHITECTURES, EYES, FOUR, batched, drawn_request, need_models, pictures, reference, tiny

IMAGES = pictures(seed=5)
PRESETS_HERE = ("plain", "ccd", "vcd", "grounded", FOUR)


@pytest.fixture(autouse=True)
def _models():
    need_models()


def fond_of(architecture, tokens, times):
    """The tiny model, these tokens many times as dear to it, and never ending by itself."""
    model = replace(tiny(architecture), network=copy.deepcopy(tiny(architecture).network), end_ids=frozenset())
    model.network.lm_head.weight.data[sorted(tokens)] *= times
    return model


def requests(model, temperature, number=10):
    return [
        drawn_request(
            n, sees=model.sees, preset=PRESETS_HERE[n % 5], temperature=temperature, max_new_tokens=12, most_words=8
        )
        for n in range(number)
    ]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_draft_never_shows_the_text_of_a_special_token(architecture):
    tokenizer = tiny(architecture).tokenizer
    special = dict(zip(tokenizer.all_special_ids, tokenizer.all_special_tokens, strict=True))
    model = fond_of(architecture, special, 6.0)
    shown: dict[int, str] = {}

    def hear(number, text):
        shown[number] = shown.get(number, "") + text

    drafts = batched(model, requests(model, 1.0), IMAGES, hear)
    written = {token for draft in drafts for token in draft.token_ids}
    assert len(written & special.keys()) >= 5, "hardly a special token was written: this shows nothing"
    assert written - special.keys(), "nothing else was written"
    for number, draft in enumerate(drafts):
        assert draft.text == shown.get(number, "")
        assert not [mark for mark in special.values() if mark in draft.text]


@pytest.mark.parametrize("architecture", EYES)
@pytest.mark.parametrize("write", [reference, batched])
def test_a_place_for_an_image_is_never_drawn_however_hot(architecture, write):
    """Under every branch and preset, with and without a cut, where the model wants nothing else."""
    model = fond_of(architecture, tiny(architecture).image_ids, 20.0)
    asked = requests(model, 5.0, number=5) + requests(model, 0.0, number=5)
    drafts = write(model, asked, IMAGES)
    assert not model.image_ids & {token for draft in drafts for token in draft.token_ids}
    # One token only, since a place without an image cannot be read back.
    short = [drawn_request(n, sees=True, preset="plain", max_new_tokens=1, most_words=8) for n in range(12)]
    free = write(replace(model, image_ids=frozenset()), short, IMAGES)
    assert any(model.image_ids & set(draft.token_ids) for draft in free), "the model would not write one anyway"
