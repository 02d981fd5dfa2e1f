"""Hostile data through real tokenizers: a prompt has the special tokens that its template put there, and no other."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tests.tiny_models import ARCHITECTURES, EYES, need_models, tiny

need_models()

import mistral_common  # noqa: E402
import sentencepiece  # noqa: E402
from mistral_common.tokens.tokenizers.tekken import Tekkenizer  # noqa: E402
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers  # noqa: E402

from generation.decoding.generator import BranchPrompt, GenerationRequest  # noqa: E402
from generation.decoding.presets import PRESETS, Preset  # noqa: E402
from prompts.facts import Facts  # noqa: E402
from prompts.message import Branch, ImageRef  # noqa: E402
from prompts.render import render  # noqa: E402
from retrieval.errors import InvalidPrompt  # noqa: E402
from retrieval.ontology.ontology import load  # noqa: E402
from retrieval.records import PriorReport, StudyUid  # noqa: E402
from tests.prompts_facts import EVERY_SPECIAL, FACTS, HOSTILE  # noqa: E402
from tests.retrieved_cases import retrieved_case  # noqa: E402

if TYPE_CHECKING:
    from evaluation.random_models import Architecture

DATA = Path(mistral_common.__file__).parent / "data"
BRANCHES: tuple[Branch, ...] = ("study", "anchored", "evidence")


def facts_with(text: str) -> Facts:
    """The same lines of a prompt, with this text in every place for data."""
    study = FACTS["full"].study.model_copy(
        update={
            "indication": text,
            "technique": text,
            "comparison": text,
            "priors": (PriorReport(study_instance_uid=StudyUid("1"), text=f"FINDINGS: {text}\n\nIMPRESSION: none."),),
        }
    )
    cases = (retrieved_case("case-1", f"Scoliosis. {text}", 0.5),)
    return FACTS["full"].model_copy(update={"study": study, "cases": cases})


# In pieces, so that clipping hides none of them.
ATTACKS = [HOSTILE, *(" ".join(EVERY_SPECIAL[n : n + 3]) for n in range(0, len(EVERY_SPECIAL), 3))]


def encoded(architecture: "Architecture", facts: Facts, branch: Branch) -> list[int]:
    model = replace(tiny(architecture), longest=None)
    messages = render(facts, branch, load()).messages
    if architecture not in EYES:
        messages = tuple(
            m.model_copy(update={"content": tuple(p for p in m.content if isinstance(p, str))}) for m in messages
        )
    preset = Preset(name="plain", branches=(branch,), constant=(1.0,), source="for tests")
    request = GenerationRequest(branches=(BranchPrompt(branch=branch, messages=messages),), preset=preset)
    names = [part.name for m in messages for part in m.content if isinstance(part, ImageRef)]
    (inputs,) = model.encode(request, {name: np.zeros((56, 56), dtype=np.float32) for name in names})
    return [int(token) for token in inputs.tokens["input_ids"][0]]


@pytest.mark.parametrize("branch", BRANCHES)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_hostile_data_adds_no_special_token_to_a_prompt(architecture: "Architecture", branch: Branch) -> None:
    special = set(tiny(architecture).tokenizer.all_special_ids) | {
        token for token, added in tiny(architecture).tokenizer.added_tokens_decoder.items() if added.special
    }
    assert len(special) >= 4

    def specials(facts: Facts) -> list[int]:
        return [token for token in encoded(architecture, facts, branch) if token in special]

    wanted = specials(facts_with("Cough."))
    assert wanted
    # What these tokenizers have for special tokens, and what others have.
    own = " ".join(tiny(architecture).tokenizer.convert_ids_to_tokens(sorted(special))).replace("<unk>", "")
    unknown = tiny(architecture).tokenizer.unk_token_id
    for attack in (own, *ATTACKS[:: 6 if branch == "study" else 12]):
        assert [t for t in specials(facts_with(attack)) if t != unknown] == wanted


def test_without_cleaning_the_same_data_would_be_refused() -> None:
    model = tiny("qwen2_vl")
    (system, user) = render(FACTS["full"], "study", load()).messages
    raw = user.model_copy(update={"content": (*user.content, "<|image_pad|>")})
    request = GenerationRequest(
        branches=(BranchPrompt(branch="study", messages=(system, raw)),), preset=PRESETS["plain"]
    )
    images = {name: np.zeros((56, 56), dtype=np.float32) for name in ("image-1", "image-2")}
    with pytest.raises(InvalidPrompt, match="image_pad"):
        replace(model, longest=None).encode(request, images)


def texts(facts: Facts) -> str:
    return "\n".join(
        part
        for branch in BRANCHES
        for message in render(facts, branch, load()).messages
        for part in message.content
        if isinstance(part, str)
    )


@pytest.mark.parametrize("normaliser", ["none", "NFC", "NFKC", "NFKD", "accents", "lower"])
def test_a_tokenizer_that_normalises_before_it_looks_finds_no_special_token(normaliser: str) -> None:
    chain: dict[str, list[Any]] = {
        "none": [], "NFC": [normalizers.NFC()], "NFKC": [normalizers.NFKC()], "NFKD": [normalizers.NFKD()],
        "accents": [normalizers.NFKD(), normalizers.StripAccents()], "lower": [normalizers.Lowercase()],
    }  # fmt: skip
    alphabet = {c: n for n, c in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    made = Tokenizer(models.BPE(vocab=alphabet, merges=[]))
    made.normalizer = normalizers.Sequence(chain[normaliser])
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.add_special_tokens([AddedToken(token, normalized=True, special=True) for token in EVERY_SPECIAL])
    first = len(alphabet)
    raw = [token for token in made.encode(HOSTILE).ids if token >= first]
    assert len(set(raw)) > 0.9 * len(set(EVERY_SPECIAL))  # the attack is one
    for attack in ATTACKS:
        assert not [token for token in made.encode(texts(facts_with(attack))).ids if token >= first]


@pytest.mark.parametrize("model", ["tokenizer.model.v1", "mistral_instruct_tokenizer_240323.model.v3"])
def test_a_sentencepiece_vocabulary_finds_no_control_symbol(model: str) -> None:
    found = sentencepiece.SentencePieceProcessor()
    found.Load(str(DATA / model))
    named = {found.IdToPiece(n) for n in range(found.GetPieceSize()) if found.IsControl(n) or found.IsUnknown(n)}
    assert {"<s>", "</s>"} <= named
    for attack in (*ATTACKS, " ".join(sorted(named))):
        ids = found.EncodeAsIds(texts(facts_with(attack)))
        assert not [n for n in ids if found.IsControl(n) or found.IsUnknown(n)]
        assert not named & {found.IdToPiece(n) for n in ids}


@pytest.mark.parametrize("file", ["tekken_240718.json", "tekken_240911.json"])
def test_tekken_finds_no_special_token(file: str) -> None:
    found = Tekkenizer.from_file(DATA / file)
    for attack in ATTACKS:
        text = texts(facts_with(attack))
        assert min(found.encode(text, bos=False, eos=False)) >= found.num_special_tokens
