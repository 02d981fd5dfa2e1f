"""The measurement of agreement between the generators: identity in float32, and what it says where drafts part."""

import json
import re

import pytest

from evaluation.__main__ import main
from generation.decoding.generator import Generated
from generation.decoding.presets import PRESETS
from tests.tiny_models import checkpoint, need_models


@pytest.fixture(autouse=True)
def _models():
    need_models()


@pytest.fixture
def small(monkeypatch):
    """Few and short drafts, so that it takes seconds."""
    from evaluation import decoding_parity  # noqa: PLC0415

    monkeypatch.setattr(decoding_parity, "NEW", 4)
    monkeypatch.setattr(decoding_parity, "DRAFTS_PER_PRESET", 2)
    return decoding_parity


def drafted(*tokens, margins=None):
    return Generated(
        token_ids=tokens, text="", finish="end", margins=margins or (1.0,) * (len(tokens) + 1), prompt_tokens=(5,)
    )


def test_a_first_difference_is_the_token_that_differs_or_that_only_one_draft_has(small):
    first = small.first_difference
    assert first(drafted(1, 2, 3), drafted(1, 2, 3)) is None
    assert first(drafted(1, 2, 3), drafted(1, 4, 3)) == 1
    assert first(drafted(1, 2), drafted(1, 2, 3)) == first(drafted(1, 2, 3), drafted(1, 2)) == 2


@pytest.mark.parametrize("architecture", ["gemma3", "qwen2"])
def test_in_float32_every_draft_of_every_preset_is_the_same(small, architecture, tmp_path, capsys):
    folder, out = checkpoint(architecture), tmp_path / "figures.json"
    asked = ["decoding-parity", "--precision", "float32", "--language-model", str(folder), "--out", str(out)]
    assert main(asked) == 0
    kept = json.loads(out.read_text())
    assert kept["agreed"] == kept["drafts"] == 2 * len(PRESETS)
    assert kept["tokens_agreed"] > 2 * len(PRESETS)
    assert kept["differences"] == kept["greedy_margins"] == kept["sampled_margins"] == []
    assert kept["unexcused"] == 0
    assert set(kept["rates"]) == {"reference", "transformers"}
    assert min(kept["rates"].values()) > 0
    assert kept["language_model"] == folder.name
    assert re.search(r"all +\D+16 +\D+16 ", capsys.readouterr().out)


def test_bfloat16_demands_nothing_and_says_where_drafts_part_and_how_undecided_the_oracle_was(small):
    figures = small.measure_decoding_parity("cpu", "bfloat16", str(checkpoint("llava")))
    assert figures.unexcused == 0
    assert figures.agreed + len(figures.differences) == figures.drafts == 16
    assert sum(row.agreed for row in figures.by_preset.values()) == figures.agreed
    assert len(figures.all_margins) == len(small.QUANTILES)
    assert figures.all_margins[2] > 10 * small.ROUNDING, "the model is undecided everywhere: agreement would be chance"
    small.parity_table(figures)


def test_in_float32_a_difference_where_the_oracle_was_sure_is_a_fault(small, monkeypatch):
    """A batched generator that writes another last token: the command fails, and not for a lead below the rounding."""
    from generation.decoding.batched import BatchedGenerator  # noqa: PLC0415

    right = BatchedGenerator.generate

    def wrong(self, requests, images, *rest):
        drafts = right(self, requests, images, *rest)
        last = drafts[-1]
        return [*drafts[:-1], last.model_copy(update={"token_ids": (*last.token_ids[:-1], 1)})]

    monkeypatch.setattr(BatchedGenerator, "generate", wrong)
    figures = small.measure_decoding_parity("cpu", "float32", str(checkpoint("qwen2")))
    assert figures.unexcused == len(figures.differences) == 1
    assert figures.differences[0].token == 3
    monkeypatch.setattr(small, "ROUNDING", 1e9)
    figures = small.measure_decoding_parity("cpu", "float32", str(checkpoint("qwen2")))
    assert (figures.unexcused, len(figures.differences)) == (0, 1)


def test_a_device_that_is_not_there_is_named_before_any_work(small, capsys):
    import torch  # noqa: PLC0415

    if torch.cuda.is_available():
        pytest.skip("there is one here")
    assert main(["decoding-parity", "--device", "cuda"]) == 78
    assert "no CUDA device" in capsys.readouterr().err
