"""Every attack through real tokenizers: a prompt has the special tokens that its template put there, and no other."""

from typing import TYPE_CHECKING

import pytest

from tests.tiny_models import ARCHITECTURES, need_models, tiny

need_models()

from evaluation.attacks import attacks  # noqa: E402
from evaluation.injection_bench import WANTED  # noqa: E402
from tests.test_prompts_tokens import encoded, facts_with  # noqa: E402

if TYPE_CHECKING:
    from evaluation.random_models import Architecture


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_no_attack_adds_a_special_token_to_a_tokenised_prompt(architecture: "Architecture") -> None:
    tokenizer = tiny(architecture).tokenizer
    special = {*tokenizer.all_special_ids} | {i for i, a in tokenizer.added_tokens_decoder.items() if a.special}
    # A character that a small vocabulary lacks is unknown, which is a special token, too.
    special -= {tokenizer.unk_token_id}

    def specials(text: str) -> list[int]:
        return [token for token in encoded(architecture, facts_with(text), "evidence") if token in special]

    wanted = specials("Cough.")
    assert len(wanted) >= 2
    for attack in attacks(WANTED["false finding"]):
        assert specials(attack.text) == wanted, attack.name
