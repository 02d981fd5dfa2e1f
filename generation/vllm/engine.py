"""Drafts written by vLLM in this process: for bulk work on a machine of its own, without a server between.

In: requests of any preset; their prompts are rendered as for transformers. Out: tokens, text and why each draft ended;
scores stay inside vLLM. Each mixed branch becomes one request of the engine; that a draft's branches write the same is
the plugin's business (`scheduler`, `choice`), where a draft ends and what it shows is `DraftText`'s.
"""

import logging
import os
import secrets
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final, Literal

import transformers
from pydantic import Field

from generation.decoding.generator import DraftText, Generated, GenerationRequest, Images, OnText
from generation.decoding.hf_models import Precision
from generation.decoding.hf_prompts import SAFELY, HfPrompts, end_tokens, image_tokens, read_processor
from generation.halt import Halt
from generation.vllm.group import Member
from generation.vllm.internals import Vllm
from generation.vllm.ready import ready_vllm
from retrieval.encoders.hub import Network, check_transformers, folder_digest, model_folder
from retrieval.errors import BrokenLogits, GeneratorUnavailable, InvalidPrompt, PromptTooLong, UnsupportedModel
from retrieval.record import Record

# Behind our own: `internals` has refused other versions of vLLM by now.
from vllm import EngineArgs, SamplingParams  # isort: skip
from vllm.platforms import current_platform  # isort: skip
from vllm.renderers import TokenizeParams  # isort: skip
from vllm.sampling_params import RequestOutputKind  # isort: skip
from vllm.v1.engine.llm_engine import LLMEngine  # isort: skip

_LOG: Final = logging.getLogger(__name__)
PROCESSORS: Final[Mapping[bool, str]] = {
    False: "generation.vllm.processors:GroupProcessor",
    True: "generation.vllm.processors_v2:GroupProcessorV2",
}
"""The logits processor by whether vLLM runs its second model runner, which takes no other."""
SCHEDULERS: Final = {
    "synchronous": "generation.vllm.scheduler.GroupScheduler",
    "asynchronous": "generation.vllm.scheduler.GroupAsyncScheduler",
}
"""The group scheduler by whether a step is planned while the one before is still being computed."""


class VllmSettings(Record):
    """How large an engine is, and how it works."""

    rows: int = Field(default=48, ge=1)
    """Requests decoded at once, one for each branch of a draft: a multiple of 2, 3 and 4 wastes none."""
    longest: int | None = Field(default=None, ge=2)
    """Positions of a prompt with its draft; None for as many as the model knows."""
    images: int = Field(default=4, ge=0)
    """Most images of one prompt."""
    cache_gb: float = Field(default=4.0, gt=0)
    """Memory for keys and values; at least as much as two of the longest prompts need."""
    step_tokens: int | None = Field(default=None, ge=1)
    """Most tokens of one step; longer prompts are read in parts. None for vLLM's own default."""
    precision: Precision = "float32"
    """Of weights and arithmetic."""
    scheduling: Literal["synchronous", "asynchronous"] = "asynchronous"
    """Whether a step is planned while the one before is still being computed."""
    compiling: Literal["off", "on"] = "off"
    """Whether the model is compiled when the engine starts, which takes minutes and pays in bulk on a GPU."""


@dataclass
class _Draft:
    """One draft while it is written."""

    number: int
    request: GenerationRequest
    text: DraftText
    inputs: list[Vllm]
    group: str = field(default_factory=lambda: secrets.token_hex(16))
    others: dict[str, tuple[int, ...]] = field(default_factory=dict)
    """What the members behind the first have written, by request, once they have ended."""

    @property
    def ids(self) -> list[str]:
        """Its requests' names in the engine."""
        return [f"{self.group}-{prompt.branch}" for prompt in self.request.mixed]

    @property
    def prompt_tokens(self) -> list[int]:
        """The length of each branch's prompt, images included."""
        return [len(one["prompt_token_ids"]) for one in self.inputs]


class VllmGenerator:
    """Writes drafts with an engine that lives in this process; one call at a time, others wait."""

    name: ClassVar[str] = "vllm"

    def __init__(
        self,
        where: str,
        settings: VllmSettings | None = None,
        *,
        revision: str | None = None,
        network: Network = "off",
        more: Mapping[str, Any] | None = None,
    ) -> None:
        """Load the model from a folder or by hub id and start the engine; seconds to minutes.

        `more` are further arguments of vLLM's engine; they go before everything that follows from `settings`.
        """
        self._where = where
        settings = settings or VllmSettings()
        folder = model_folder(where, revision=revision, network=network)
        check_transformers(folder, where)
        config = transformers.AutoConfig.from_pretrained(folder, **SAFELY)
        ready_vllm(config.architectures or ())
        processor, tokenizer = read_processor(folder, config, where)
        self.engine: Vllm = _started(str(folder), settings, sees=processor is not tokenizer, more=more or {})
        """vLLM's own, for what stands beside drafts: its counters, ordinary requests."""
        self.end_ids = end_tokens(
            self.engine.input_processor.generation_config_fields.get("eos_token_id"), tokenizer.eos_token_id
        )
        """Tokens that end a draft."""
        said = self.engine.model_config
        self.processor = processor
        """transformers' processor of the model: what a prompt is made with."""
        self._prompts = HfPrompts(where, processor, tokenizer, image_tokens(config), said.get_vocab_size())
        self._longest: int = said.max_model_len
        self._weights = folder_digest(folder)
        self._turn = threading.Lock()
        if current_platform.is_cpu() and said.is_mm_prefix_lm and self._prompts.sees:
            _LOG.warning(
                "on a CPU vLLM lets an image token of %s see only what stands before it, on a GPU and in transformers "
                "the whole image: what is written here of an image is not what the model would write there",
                where,
            )

    @property
    def language_model(self) -> str:
        """The folder or hub id of the model."""
        return self._where

    @property
    def weights(self) -> str:
        """Digest of the model's files."""
        return self._weights

    def close(self) -> None:
        """Stop the engine and let go of its memory."""
        self.engine.engine_core.shutdown()

    def generate(
        self,
        requests: Sequence[GenerationRequest],
        images: Images,
        on_text: OnText | None = None,
        halt: Halt | None = None,
    ) -> list[Generated]:
        """Write one draft per request, in the order of the requests.

        A draft whose logits are not numbers ends the call with BrokenLogits, whose `groups` are request numbers.
        """
        halt = halt or Halt()
        while not self._turn.acquire(timeout=0.05):
            halt.check()
        try:
            # 1. Every prompt, so that every fault of one comes before any work.
            drafts = [
                _Draft(
                    number,
                    request,
                    DraftText(request, self.end_ids, self._prompts.words.decode),
                    self.prepared(request, images),
                )
                for number, request in enumerate(requests)
            ]
            # 2. All members of all drafts; the engine takes up as many as fit.
            try:
                for draft in drafts:
                    self.submit(draft.group, draft.request, draft.inputs)
                self._write(drafts, on_text, halt)
            finally:
                self.engine.abort_request([one for draft in drafts for one in draft.ids])
            return [draft.text.result(draft.prompt_tokens).model_copy(update={"margins": ()}) for draft in drafts]
        finally:
            self._turn.release()

    def prepared(self, request: GenerationRequest, images: Images) -> list[Vllm]:
        """Each mixed branch's prompt as the engine takes it; every fault of a prompt shows here."""
        prepared = []
        for prompt in request.mixed:
            text, pictures, token_ids = self._prompts.finished(prompt, images)
            raw: dict[str, Any] = {"prompt_token_ids": list(token_ids)} if token_ids else {"prompt": text}
            if pictures:
                raw["multi_modal_data"] = {"image": pictures}
            # Cached on this side only: vLLM's other cache fails when prompts go in another order, or do not go at all.
            [one] = self.engine.renderer.render_cmpl(
                [raw], TokenizeParams(max_total_tokens=None, add_special_tokens=False), skip_mm_cache=True
            )
            length = len(one["prompt_token_ids"])
            if not length:
                raise InvalidPrompt(f"the prompt of branch {prompt.branch} has no tokens")
            if length + request.max_new_tokens > self._longest:
                raise PromptTooLong(
                    f"branch {prompt.branch} has {length} tokens, which with {request.max_new_tokens} new ones "
                    f"exceed the {self._longest} positions of {self._where}",
                    fix="give fewer or shorter similar cases, or lower max_new_tokens",
                )
            prepared.append(one)
        return prepared

    def submit(self, group: str, request: GenerationRequest, inputs: Sequence[Vllm]) -> None:
        """Hand a draft's members to the engine, as requests `{group}-{branch}`; they run when the engine steps."""
        for row, one in enumerate(inputs):
            self.submit_member(group, request, row, one)

    def submit_member(
        self,
        group: str,
        request: GenerationRequest,
        row: int,
        prepared: Vllm,
        *,
        priority: int = 0,
        **more: Any,  # noqa: ANN401
    ) -> None:
        """Hand one member to the engine, which lets it wait for its others; `more` are vLLM's sampling parameters.

        The first member tells its tokens as they come, the others theirs when they end. Less `priority` goes first.
        """
        member = Member(
            group=group,
            branch=request.preset.branches[row],
            preset=request.preset,
            phrases=request.phrases,
            temperature=request.temperature,
            seed=request.seed,
        )
        kind = RequestOutputKind.FINAL_ONLY if row else RequestOutputKind.DELTA
        said = {"output_kind": kind, "extra_args": member.arguments(), **more}
        self.submit_ordinary(f"{group}-{member.branch}", prepared, request.max_new_tokens, priority=priority, **said)

    def submit_ordinary(
        self,
        name: str,
        prepared: Vllm,
        max_new_tokens: int,
        *,
        priority: int = 0,
        **more: Any,  # noqa: ANN401
    ) -> None:
        """Hand the engine a request of its own, greedy unless `more` says otherwise; it runs beside the drafts."""
        said = {
            "temperature": 0.0,
            "max_tokens": max_new_tokens,
            "ignore_eos": True,  # what ends a draft is said in full
            "stop_token_ids": sorted(self.end_ids),
            "detokenize": False,
            "output_kind": RequestOutputKind.DELTA,
        }
        self.engine.add_request(name, prepared, SamplingParams(**{**said, **more}), priority=priority)

    def _write(self, drafts: Sequence[_Draft], on_text: OnText | None, halt: Halt) -> None:
        owners = {one: draft for draft in drafts for one in draft.ids}
        while self.engine.has_unfinished_requests():
            halt.check()
            for output in self.engine.step():
                draft = owners.get(output.request_id)
                if draft is None:
                    continue
                if output.request_id == draft.ids[0]:
                    self._take(draft, output.outputs[0], on_text)
                else:
                    draft.others[output.request_id] = tuple(output.outputs[0].token_ids)
        for draft in drafts:
            self._agreed(draft)

    def _take(self, draft: _Draft, told: Vllm, on_text: OnText | None) -> None:
        """What the first member of a draft has written since the last time."""
        tokens, finish = told.token_ids, told.finish_reason
        for token in tokens:
            if draft.text.finish is None and (shown := draft.text.add(token, 0.0)) and on_text is not None:
                on_text(draft.number, shown)
        if finish == "error":
            raise BrokenLogits(
                "a draft's logits are not numbers, or forbid every token",
                groups=(draft.number,),
                fix="load the weights in float32 or bfloat16, and look for masks that clash",
            )
        if finish is None and draft.text.finish is not None:  # a stop string, which the engine does not know
            self.engine.abort_request(draft.ids)
        if finish is not None and draft.text.finish is None:
            raise GeneratorUnavailable(f"the engine gave up a draft ({told.stop_reason or finish})")

    def _agreed(self, draft: _Draft) -> None:
        """Members that wrote different tokens were not decoded together; such a draft is never handed out."""
        if draft.text.finish == "stop":
            return  # they were ended before they could say what they wrote
        first = draft.text.token_ids
        for written in draft.others.values():
            if list(written[: len(first)]) != first or len(written) > len(first) + 1:
                raise GeneratorUnavailable(
                    "the members of a group wrote different drafts",
                    fix="run the engine with the group scheduler (`scheduling`), and no other",
                )


def _started(folder: str, settings: VllmSettings, *, sees: bool, more: Mapping[str, Any]) -> Vllm:
    """An engine with the plugin, in this process."""
    arguments: dict[str, Any] = {
        "model": folder,
        "load_format": "safetensors",
        "trust_remote_code": False,
        "dtype": settings.precision,
        "max_model_len": settings.longest,
        "max_num_seqs": settings.rows,
        "max_num_batched_tokens": settings.step_tokens,
        "kv_cache_memory_bytes": int(settings.cache_gb * 2**30),
        "limit_mm_per_prompt": {"image": settings.images, "video": 0} if sees else {},
        "enable_prefix_caching": True,
        "enforce_eager": settings.compiling == "off",
        "async_scheduling": settings.scheduling == "asynchronous",
        "scheduler_cls": SCHEDULERS[settings.scheduling],
        "disable_log_stats": True,
    }
    if current_platform.is_cpu():
        arguments["block_size"] = 32
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"  # on a CPU vLLM asks for nothing else
    try:
        config = EngineArgs(**{**arguments, **more}).create_engine_config()
        # Which processor vLLM takes follows from its configuration; so it is named last.
        config.model_config.logits_processors = [PROCESSORS[config.use_v2_model_runner]]
        engine = LLMEngine.from_vllm_config(config, disable_log_stats=True)
    except ValueError as error:
        raise UnsupportedModel(
            f"vLLM cannot run {folder} as asked: {error}", fix="see vLLM's log for what it refuses"
        ) from error
    # On a CPU it warns at every image that the number of threads stays as it is.
    logging.getLogger("vllm.v1.worker.cpu_worker").setLevel("ERROR")
    return engine
