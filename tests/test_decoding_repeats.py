"""The ban on repeated runs of tokens: part of the published preset, held by both generators, stronger than any bias."""

import copy
import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from generation.decoding.bias import repeated_ngrams
from generation.decoding.generator import Biases, Phrase
from generation.decoding.presets import PRESETS, Plausible
from tests.tiny_models import ARCHITECTURES, PHRASES, batched, drawn_request, need_models, pictures, reference, tiny

IMAGES = pictures(seed=5)
CCD = PRESETS["ccd"]
FREE = CCD.model_copy(update={"no_repeat": 0})
FAVOURITES = range(300, 306)


def repeats(tokens, size=3):
    runs = [tuple(tokens[i : i + size]) for i in range(len(tokens) - size + 1)]
    return len(runs) - len(set(runs))


def circling(architecture):
    """The tiny model, with six tokens it likes so much that it goes round in circles."""
    model = replace(tiny(architecture), network=copy.deepcopy(tiny(architecture).network), end_ids=frozenset())
    model.network.lm_head.weight.data[FAVOURITES] *= 8.0
    return model


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_published_draft_never_writes_three_tokens_twice_and_both_generators_agree(architecture):
    need_models()
    model = circling(architecture)

    def requests(preset):
        return [
            drawn_request(n, sees=model.sees, preset=preset, max_new_tokens=24, temperature=0.1 * (n % 2), most_words=9)
            for n in range(3)
        ]

    free = batched(model, requests(FREE), IMAGES)
    assert all(repeats(draft.token_ids) > 5 for draft in free), "what does not repeat itself shows nothing"
    oracle, fast = reference(model, requests(CCD), IMAGES), batched(model, requests(CCD), IMAGES)
    assert [draft.token_ids for draft in fast] == [draft.token_ids for draft in oracle]
    assert [repeats(draft.token_ids) for draft in oracle] == [0] * 3


def test_where_the_cut_would_leave_banned_tokens_only_the_next_best_is_written():
    need_models()
    model = circling("llava")
    cutting = CCD.model_copy(update={"no_repeat": 1, "plausible": Plausible(branch="study", beta=1.0)})
    requests = [drawn_request(n, sees=True, preset=cutting, max_new_tokens=40) for n in range(2)]
    oracle, fast = reference(model, requests, IMAGES), batched(model, requests, IMAGES)
    assert [draft.token_ids for draft in fast] == [draft.token_ids for draft in oracle]
    assert all(len(set(draft.token_ids)) == 40 for draft in oracle)


def test_a_ban_wins_over_a_bias():
    """Of all who ask for a token: the phrases, the published heads, and a ban, which is the last word."""
    need_models()
    model = tiny("qwen2_vl")
    biases = Biases(model.words, model.image_ids)
    for preset in (CCD, PRESETS["grounded"].model_copy(update={"no_repeat": 3})):
        bias = biases.of(preset, PHRASES)
        leant = next(token for token, value in bias([]).items() if math.isfinite(value) and value > 0)
        pair = next((a, b) for a in range(300, 400) for b in range(a + 1, 400) if bias([a, b]).get(leant, 0) > 0)
        assert bias([*pair, leant, 301, *pair])[leant] == -math.inf
        assert bias([*pair, leant, 301, pair[1], pair[0]]).get(leant, 0) != -math.inf
        # A word that stands for an image is banned even if a phrase or a repeated run names it.
        image = min(model.image_ids)
        assert bias([])[image] == bias([*pair, image, *pair])[image] == -math.inf


@given(st.lists(st.integers(0, 3), max_size=40), st.integers(1, 4))
@settings(deadline=None)
def test_what_is_written_around_the_bans_repeats_nothing(wishes, size):
    """Take the wishes one after the other, the next token instead of a banned one: no run comes twice."""
    written: list[int] = []
    for wish in wishes:
        banned = repeated_ngrams(written, size)
        allowed = [token for token in (wish, (wish + 1) % 4, (wish + 2) % 4, (wish + 3) % 4) if token not in banned]
        if not allowed:
            break
        written.append(allowed[0])
        assert repeats(written, size) == 0


def test_a_preset_without_the_ban_allows_every_run():
    need_models()
    model = tiny("qwen2")
    bias = Biases(model.words, model.image_ids).of(FREE, (Phrase(label="effusion", probability=0.9),))
    assert bias([300, 301, 302] * 3) == bias([])
