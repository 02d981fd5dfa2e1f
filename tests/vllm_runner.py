"""A stand-in for vLLM's model runners without a language model: what a row samples is a hash of the KV cache it reads.

It keeps what the real runners keep between steps, by the same rules (V1: a batch that unscheduled requests leave, and
memory of their own of what they sampled; V2: a place for each request, given up when it is preempted), so that a
scheduler that forgets to tell them something is found out. KV cache is written and read through block tables: a block
given to two requests, or taken for a prefix it is not, changes the hash. A member of a group that samples without its
others gives LONE.
"""

import hashlib
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from generation.vllm.group import Member, member_in
from generation.vllm.internals import Vllm

# Behind our own, which see to it that vLLM can be imported.
from vllm.v1.outputs import EMPTY_MODEL_RUNNER_OUTPUT, ModelRunnerOutput  # isort: skip

LONE: Final = 7
"""What a member samples without its others; never an honest sample."""
BLOCK: Final = 16
"""Tokens in a block of KV cache."""
RunnerKind = Literal["v1", "v2"]


def sample(histories: Sequence[Sequence[int]], masks: Sequence[int]) -> int:
    """The token that follows these histories, one for each row, under these grammars."""
    said = repr((histories, masks)).encode()
    return 10 + int.from_bytes(hashlib.blake2b(said, digest_size=4).digest(), "little") % 400


def fingerprint(tokens: Sequence[int]) -> int:
    """What stands for the mask of a grammar that has taken these tokens; never 0."""
    digest = hashlib.blake2b(repr(tuple(tokens)).encode(), digest_size=3).digest()
    return 1 + int.from_bytes(digest, "little")


@dataclass
class Row:
    """What the runner remembers of a request."""

    tokens: list[int]
    prompt: int
    member: Member | None
    blocks: list[int] = field(default_factory=list)
    images: Sequence[Any] = ()

    @property
    def outputs(self) -> int:
        return len(self.tokens) - self.prompt


class Runner:
    """The executor that vLLM's engine core is given."""

    def __init__(self, kind: RunnerKind, *, runs_ahead: bool) -> None:
        self.kind = kind
        self.runs_ahead = runs_ahead
        self.rows: dict[str, Row] = {}
        self.batch: set[str] = set()
        self.cache: dict[int, list[int]] = {}
        self.encoded: set[str] = set()
        self.planned: Vllm = None
        self.lone = 0
        """Rows sampled alone, whether or not somebody took what they sampled."""
        self.computed = 0
        """Tokens computed."""

    # ------------------------------------------------- what the engine core calls

    def execute_model(self, planned: Vllm, non_block: bool = False) -> "Future[Any]":
        self.remember(planned)
        done: Future[Any] = Future()
        empty = planned.total_num_scheduled_tokens == 0
        done.set_result(EMPTY_MODEL_RUNNER_OUTPUT if empty else None)
        self.planned = None if empty else planned
        return done

    def sample_tokens(self, grammar: Vllm, non_block: bool = False) -> Any:
        planned, self.planned = self.planned, None
        masks = {}
        if grammar is not None:
            masks = {
                request_id: int(grammar.grammar_bitmask[row][0])
                for row, request_id in enumerate(grammar.structured_output_request_ids)
            }
        output = self.compute(planned, masks)
        if not non_block:
            return output
        done: Future[Any] = Future()
        done.set_result(output)
        return done

    # ------------------------------------------------- what the runners remember

    def remember(self, planned: Vllm) -> None:
        self.encoded -= set(planned.free_encoder_mm_hashes)
        gone = set(planned.finished_req_ids)
        if self.kind == "v2":
            gone |= planned.preempted_req_ids or set()
        for request_id in gone:
            self.rows.pop(request_id, None)
        cached = planned.scheduled_cached_reqs
        self.batch &= planned.num_scheduled_tokens.keys() - cached.resumed_req_ids
        self.batch -= gone
        self.first = {new.req_id: new.num_computed_tokens for new in planned.scheduled_new_reqs}
        for new in planned.scheduled_new_reqs:
            if self.kind == "v1":
                assert new.req_id not in self.rows, "a request is new twice"
            tokens = new.prompt_token_ids if self.kind == "v1" else new.prefill_token_ids
            member = member_in(new.sampling_params.extra_args)
            self.rows[new.req_id] = Row(
                list(tokens), len(new.prompt_token_ids), member, list(new.block_ids[0]), new.mm_features
            )
        for place, request_id in enumerate(cached.req_ids):
            row = self.rows[request_id]
            self.first[request_id] = cached.num_computed_tokens[place]
            more = cached.new_block_ids[place]
            if self.kind == "v2":
                assert request_id not in cached.resumed_req_ids, "the V2 runner takes what comes back as new"
            else:
                said = cached.num_output_tokens[place]
                if said < row.outputs:
                    del row.tokens[row.prompt + said :]
                if request_id not in self.batch and self.runs_ahead and said > 0:
                    row.tokens[row.prompt :] = cached.all_token_ids[request_id][-said:]
            if request_id in cached.resumed_req_ids:
                row.blocks = list(more[0])
            elif more is not None:
                row.blocks.extend(more[0])
        self.batch = set(planned.num_scheduled_tokens)

    # ------------------------------------------------- what they compute

    def compute(self, planned: Vllm, masks: dict[str, int]) -> ModelRunnerOutput:
        for request_id, numbers in planned.scheduled_encoder_inputs.items():
            self.encoded |= {self.rows[request_id].images[number].identifier for number in numbers}
        read: dict[str, tuple[int, ...]] = {}
        for request_id, number in planned.num_scheduled_tokens.items():
            row, first = self.rows[request_id], self.first[request_id]
            end = first + number
            assert end <= len(row.tokens), f"{request_id} is to compute {end} tokens and has {len(row.tokens)}"
            self.computed += number
            for image in row.images:
                lies = image.mm_position.offset < end and image.mm_position.offset + image.mm_position.length > first
                assert not lies or image.identifier in self.encoded, "an image is read that was not encoded"
            for position in range(first, end):
                self.cache.setdefault(row.blocks[position // BLOCK], [-1] * BLOCK)[position % BLOCK] = row.tokens[
                    position
                ]
            if end == len(row.tokens):
                whole = [token for block in row.blocks[: -(-end // BLOCK)] for token in self.cache[block]]
                read[request_id] = tuple(whole[:end])
        sampled = {request_id: self.token(request_id, read, masks) for request_id in read}
        for request_id, token in sampled.items():
            self.rows[request_id].tokens.append(token)
        ids = list(planned.num_scheduled_tokens)
        return ModelRunnerOutput(
            req_ids=ids,
            req_id_to_index={request_id: place for place, request_id in enumerate(ids)},
            sampled_token_ids=[[sampled[i]] if i in sampled else [] for i in ids],
        )

    def token(self, request_id: str, read: dict[str, tuple[int, ...]], masks: dict[str, int]) -> int:
        member = self.rows[request_id].member
        if member is None:
            return sample([read[request_id]], [masks.get(request_id, 0)])
        group = {
            other.member.row: name
            for name in read
            if (other := self.rows[name]).member is not None and other.member.group == member.group
        }
        if len(group) != member.size:
            self.lone += 1
            return LONE
        names = [group[row] for row in sorted(group)]
        return sample([read[name] for name in names], [masks.get(name, 0) for name in names])
