"""What the processors do to the rows of a batch, driven with the layouts that vLLM hands in; no engine, no weights."""

import importlib.util
import json
import math
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from generation.decoding.generator import Phrase
from generation.decoding.presets import PRESETS, Preset
from generation.vllm.group import ARGUMENT, Member
from tests.conftest import skip_or_fail
from tests.tiny_models import FOUR, PHRASES, checkpoint, need_models

VOCABULARY = 512


@pytest.fixture(autouse=True)
def _vllm():
    need_models()
    if importlib.util.find_spec("vllm") is None:
        skip_or_fail("vllm", "vLLM is not installed (make vllm)")


@pytest.fixture
def config():
    """As much of an engine's configuration as the processors read, with a real model's folder."""
    import transformers  # noqa: PLC0415

    folder = checkpoint("qwen2_vl")
    return SimpleNamespace(
        speculative_config=None,
        parallel_config=SimpleNamespace(enable_batch_sharded_sampling=False),
        model_config=SimpleNamespace(
            tokenizer=str(folder),
            tokenizer_revision=None,
            hf_config=transformers.AutoConfig.from_pretrained(folder),
        ),
    )


def members(preset: Preset, group: str, **more: Any) -> list[Member]:
    return [Member(group=group, branch=branch, preset=preset, phrases=PHRASES, **more) for branch in preset.branches]


def params(member: Member | None, **more: Any) -> Any:
    from vllm import SamplingParams  # noqa: PLC0415

    said: dict[str, Any] = {"temperature": 0.0, "max_tokens": 9}
    return SamplingParams(**said | more, extra_args=member.arguments() if member else None)


def expected(config: Any, member: Member, rows: Any, written: Sequence[int]) -> int:
    """The token that the oracle would choose from these logits [branches, vocabulary]."""
    import transformers  # noqa: PLC0415

    from generation.decoding.combine import combine, sample  # noqa: PLC0415
    from generation.decoding.generator import Biases  # noqa: PLC0415
    from generation.decoding.tokenizer import HuggingFaceTokenizer  # noqa: PLC0415

    said = config.model_config
    words = HuggingFaceTokenizer(transformers.AutoTokenizer.from_pretrained(said.tokenizer))
    bias = Biases(words, {said.hf_config.image_token_id, said.hf_config.video_token_id})
    preset, step = member.preset, len(written)
    scores = combine(rows, preset.weights(step), cut=preset.cut, bias=bias.of(preset, member.phrases)(list(written)))
    return sample(scores, member.temperature, member.seed, step)


class FirstRunner:
    """vLLM's first model runner as the processor sees it: rows that come, go and move, and lists that grow."""

    def __init__(self, config: Any) -> None:
        import torch  # noqa: PLC0415

        from generation.vllm.processors import GroupProcessor  # noqa: PLC0415

        self.processor = GroupProcessor(config, torch.device("cpu"), False)
        self.torch = torch

    def update(self, *, added: Any = (), removed: Any = (), moved: Any = (), size: int = 8) -> None:
        from vllm.v1.sample.logits_processor import BatchUpdate  # noqa: PLC0415

        self.processor.update_state(BatchUpdate(batch_size=size, removed=removed, added=added, moved=moved))

    def logits(self, rows: int, seed: int) -> Any:
        return self.torch.randn(rows, VOCABULARY, generator=self.torch.Generator().manual_seed(seed)) * 4


def chosen(row: Any) -> int:
    """The one token that a written row leaves, as 0 among minus infinities."""
    assert row.max() == 0.0
    assert row.isneginf().sum() == VOCABULARY - 1
    return int(row.argmax())


@pytest.mark.parametrize("temperature", [0.0, 0.9])
def test_groups_of_every_size_get_the_oracles_token_at_every_step_while_rows_move(config, temperature):
    from vllm.v1.sample.logits_processor import MoveDirectionality  # noqa: PLC0415

    runner = FirstRunner(config)
    groups = [
        members(preset, f"g{n}", temperature=temperature, seed=n)
        for n, preset in enumerate([PRESETS["vcd"], PRESETS["ccd"], PRESETS["grounded"], PRESETS["m3id"], FOUR])
    ]
    everyone = [member for group in groups for member in group] + [None, None]
    rows = list(np.random.default_rng(3).permutation(len(everyone)))  # row of each, ordinary requests among them
    written: list[list[int]] = [[] for _ in everyone]
    runner.update(added=[(rows[n], params(member), [1], written[n]) for n, member in enumerate(everyone)])
    for step in range(6):
        if step == 3:  # two change places
            runner.update(moved=[(rows[0], rows[-1], MoveDirectionality.SWAP)])
            rows[0], rows[-1] = rows[-1], rows[0]
        before = runner.logits(len(everyone), step)
        after = runner.processor.apply(before.clone())
        for n, member in enumerate(everyone):
            if member is None:
                assert runner.torch.equal(after[rows[n]], before[rows[n]]), "an ordinary row was touched"
                written[n].append(0)
                continue
            mine = [k for k, other in enumerate(everyone) if other is not None and other.group == member.group]
            token = expected(config, member, before[[rows[k] for k in mine]], written[n])
            assert chosen(after[rows[n]]) == token
            written[n].append(token)


def test_a_member_without_its_others_is_left_alone_and_one_that_comes_back_is_seen(config):
    runner = FirstRunner(config)
    one, other = members(PRESETS["vcd"], "g")
    runner.update(added=[(0, params(one), [1], []), (1, params(other), [1], [])])
    runner.update(removed=[1])
    logits = runner.logits(2, 1)
    assert runner.torch.equal(runner.processor.apply(logits.clone()), logits)
    runner.update(added=[(1, params(other), [1], [])])
    assert chosen(runner.processor.apply(logits.clone())[1]) == chosen(runner.processor.apply(logits.clone())[0])


def test_what_one_row_forbids_and_places_for_images_are_never_chosen(config):
    runner = FirstRunner(config)
    runner.update(added=[(row, params(each), [1], []) for row, each in enumerate(members(PRESETS["vcd"], "g"))])
    free = chosen(runner.processor.apply(runner.logits(2, 5))[0])
    masked = runner.logits(2, 5)
    masked[1, free] = -math.inf  # a grammar on the branch whose weight is negative
    assert chosen(runner.processor.apply(masked)[0]) != free
    wanting = runner.logits(2, 5)
    wanting[0, config.model_config.hf_config.image_token_id] = 50.0
    assert chosen(runner.processor.apply(wanting)[0]) != config.model_config.hf_config.image_token_id


def test_logits_that_are_not_numbers_mark_their_own_group_only(config, caplog):
    from generation.vllm.choice import broken_mark  # noqa: PLC0415

    runner = FirstRunner(config)
    written: dict[str, list[int]] = {"a": [], "b": [], "c": []}
    seats = [(n, each) for n, each in enumerate(member for g in "abc" for member in members(PRESETS["vcd"], g))]
    runner.update(added=[(row, params(each), [1], written[each.group]) for row, each in seats])
    logits = runner.logits(6, 2)
    whole = runner.processor.apply(logits.clone())
    logits[3, 17] = math.nan
    spoilt = runner.processor.apply(logits.clone())
    mark = broken_mark(config.model_config.hf_config)
    assert [chosen(row) for row in spoilt[[2, 3]]] == [mark, mark]
    assert runner.torch.equal(spoilt[[0, 1, 4, 5]], whole[[0, 1, 4, 5]])
    written["b"].append(mark)  # nobody ended it
    assert chosen(runner.processor.apply(logits.clone())[2]) == 2, "then the end token does"
    assert "1 of 3 groups" in caplog.text


@pytest.mark.parametrize(
    "asked",
    [
        {"n": 2}, {"temperature": 0.5}, {"seed": 3}, {"presence_penalty": 0.1}, {"frequency_penalty": 0.1},
        {"repetition_penalty": 1.05}, {"logit_bias": {5: 1.0}}, {"logprobs": 1}, {"prompt_logprobs": 0},
        {"max_tokens": None}, {"extra_args": {ARGUMENT: "{}"}}, {"extra_args": {ARGUMENT: 7}},
    ],
)  # fmt: skip
def test_a_member_that_asks_for_more_than_its_group_can_have_is_refused_with_http_400(asked):
    from vllm import SamplingParams  # noqa: PLC0415
    from vllm.exceptions import VLLMValidationError  # noqa: PLC0415
    from vllm.v1.sample.logits_processor import validate_logits_processors_parameters  # noqa: PLC0415

    said: dict[str, Any] = {
        "temperature": 0.0,
        "max_tokens": 9,
        "extra_args": members(PRESETS["vcd"], "g")[0].arguments(),
    }
    plugin = ("generation.vllm.processors:GroupProcessor",)
    validate_logits_processors_parameters(plugin, SamplingParams(**said))
    with pytest.raises(VLLMValidationError, match=next(iter(asked)) if "extra_args" not in asked else ARGUMENT):
        validate_logits_processors_parameters(plugin, SamplingParams(**said | asked))
    ordinary = {name: value for name, value in (said | asked).items() if name != "extra_args"}
    if ordinary.get("n") != 2:  # which vLLM refuses for greedy requests itself
        validate_logits_processors_parameters(plugin, SamplingParams(**ordinary))


@pytest.mark.parametrize("label", ["", " ", "x" * 201])
def test_a_phrase_that_cannot_be_written_is_refused(label):
    from generation.vllm.admission import check_member  # noqa: PLC0415

    member = members(PRESETS["grounded"], "g")[0].model_copy(
        update={"phrases": (Phrase(label=label, probability=0.9),)}
    )
    with pytest.raises(ValueError, match="phrase"):
        check_member(params(member))


@pytest.mark.parametrize("label", ["\x00", "<|image_pad|>", "\ufffd", "🫁 effusion", "a\nb", "." * 50, "\u202e"])
def test_no_wording_that_is_let_in_stops_the_engine(config, label):
    from generation.vllm.admission import check_member  # noqa: PLC0415

    runner = FirstRunner(config)
    phrases = (Phrase(label=label, probability=0.9, forms=(label + "s",)),)
    group = [each.model_copy(update={"phrases": phrases}) for each in members(PRESETS["grounded"], "g")]
    assert all(check_member(params(each)) is not None for each in group)
    runner.update(added=[(row, params(each), [1], [60, 61]) for row, each in enumerate(group)])
    chosen(runner.processor.apply(runner.logits(3, 1))[0])


@pytest.mark.parametrize("temperature", ["Infinity", "NaN", "-1"])
def test_a_temperature_that_is_no_number_is_refused(temperature):
    from generation.vllm.admission import check_member  # noqa: PLC0415

    said = json.loads(members(PRESETS["vcd"], "g")[0].model_dump_json())
    text = json.dumps(said | {"temperature": "HERE"}).replace('"HERE"', temperature)
    asked = params(None)
    asked.extra_args = {ARGUMENT: text}
    with pytest.raises(ValueError, match="temperature"):
        check_member(asked)


def test_each_runner_takes_its_own_processor_and_refuses_the_others():
    from vllm.v1.sample.logits_processor import _load_logitsprocs_by_fqcns  # noqa: PLC0415
    from vllm.v1.worker.gpu.sample.logits_processor.loader import _load_v2_logitsprocs_by_fqcns  # noqa: PLC0415

    from generation.vllm.engine import PROCESSORS  # noqa: PLC0415

    assert _load_logitsprocs_by_fqcns([PROCESSORS[False]])[0].__name__ == "GroupProcessor"
    assert _load_v2_logitsprocs_by_fqcns([PROCESSORS[True]])[0].__name__ == "GroupProcessorV2"
    with pytest.raises(ValueError, match="subclass"):
        _load_v2_logitsprocs_by_fqcns([PROCESSORS[False]])
    with pytest.raises(ValueError, match="subclass"):
        _load_logitsprocs_by_fqcns([PROCESSORS[True]])


class SecondRunner:
    """vLLM's second model runner as the processor sees it: slots with their tokens on the device, rows in any order."""

    def __init__(self, config: Any, slots: int = 8) -> None:
        import torch  # noqa: PLC0415

        from generation.vllm.processors_v2 import GroupProcessorV2  # noqa: PLC0415

        self.torch = torch
        self.prompt, self.prefill = np.zeros(slots, np.int32), np.zeros(slots, np.int32)
        self.tokens = torch.zeros(slots, 128, dtype=torch.int32)
        self.processor = GroupProcessorV2(
            config,
            SimpleNamespace(
                device=torch.device("cpu"),
                prompt_len=SimpleNamespace(np=self.prompt),
                prefill_len=SimpleNamespace(np=self.prefill),
                all_token_ids=SimpleNamespace(gpu=self.tokens),
            ),
        )

    def add(self, slot: int, member: Member | None, prompt: int, written: Sequence[int] = ()) -> None:
        self.prompt[slot], self.prefill[slot] = prompt, prompt + len(written)
        self.tokens[slot, prompt : prompt + len(written)] = self.torch.tensor(list(written), dtype=self.torch.int32)
        assert self.processor.add_request(slot, params(member)) is (member is not None)

    def apply(self, logits: Any, slots: Sequence[int], lengths: Sequence[int]) -> Any:
        layout = SimpleNamespace(idx_mapping_np=np.array(slots), seq_lens_upper_bound_np=np.array(lengths))
        return self.processor.apply(logits, layout)


def test_the_second_runner_is_served_the_same_through_drops_preemption_and_lost_slots(config):
    """Prompts of 5 and 9 tokens: read in parts, four tokens, one of them dropped, then both come back elsewhere."""
    runner = SecondRunner(config)
    one, other = members(PRESETS["grounded"].model_copy(update={
        "branches": ("study", "anchored"), "constant": (0.5, 0.5), "no_repeat": 2,
    }), "g")  # fmt: skip
    runner.add(0, one, 5)
    runner.add(3, None, 4)
    runner.add(2, other, 9)

    def logits(seed: int) -> Any:
        return runner.torch.randn(3, VOCABULARY, generator=runner.torch.Generator().manual_seed(seed))

    def step(seed: int, written: Sequence[int], slots: Sequence[int] = (2, 3, 0)) -> int:
        before = logits(seed)
        lengths = [int(runner.prompt[slot]) + len(written) for slot in slots]
        after = runner.apply(before.clone(), slots, lengths)
        assert runner.torch.equal(after[1], before[1]), "an ordinary row was touched"
        token = expected(config, one, before[[2, 0]], written)
        assert [chosen(after[0]), chosen(after[2])] == [token, token]
        return token

    # 1. While one still reads its prompt nothing is written, and nothing remembered.
    half = logits(0)
    assert runner.torch.equal(runner.apply(half.clone(), [2, 3, 0], [4, 4, 5]), half)
    # 2. Three tokens; then the engine drops the third and has it computed again.
    written = [step(1, [])]
    written.append(step(2, written))
    step(3, written)
    written.append(step(4, written))
    # 3. Both are preempted, their slots taken by others, and come back in other slots with what they had written.
    runner.add(0, None, 3)
    runner.add(2, None, 3)
    runner.add(5, one, 5, written)
    runner.add(6, other, 9, written)
    half = logits(9)
    assert runner.torch.equal(runner.apply(half.clone(), [6, 3, 5], [12, 4, 7]), half), "it reads again"
    written.append(step(5, written, (6, 3, 5)))
    assert len(written) == 4


def test_settings_that_would_part_a_group_are_refused_when_the_engine_starts(config):
    from retrieval.errors import UnsupportedEngine  # noqa: PLC0415

    config.parallel_config.enable_batch_sharded_sampling = True
    with pytest.raises(UnsupportedEngine, match="different devices"):
        SecondRunner(config)
    config.speculative_config = object()
    with pytest.raises(UnsupportedEngine, match="speculatively"):
        FirstRunner(config)
