"""The logits processor for vLLM's first model runner, the only one on a CPU: rows move, tokens are at hand."""

import torch

from generation.vllm.admission import check_member
from generation.vllm.choice import Alike, Choice, Seat
from generation.vllm.group import Member, member_in
from generation.vllm.internals import Vllm

# Behind our own: `internals` has refused other versions of vLLM by now.
from vllm.v1.sample.logits_processor import LogitsProcessor, MoveDirectionality  # isort: skip


class GroupProcessor(LogitsProcessor):  # type: ignore[misc]  # vLLM is read without its types
    """Chooses the token of every group that is whole in the batch."""

    @classmethod
    def validate_params(cls, sampling_params: Vllm) -> None:
        """Raises ValueError for a member that asks for what cannot be done for its group."""
        check_member(sampling_params)

    def __init__(self, vllm_config: Vllm, device: torch.device, is_pin_memory: bool) -> None:
        del is_pin_memory
        self._choice = Choice(vllm_config, device)
        self._rows: dict[int, tuple[Member, list[int]]] = {}
        self._plan: list[Alike] = []

    def is_argmax_invariant(self) -> bool:
        return False

    def update_state(self, batch_update: Vllm) -> None:
        if batch_update is None:
            return
        rows = self._rows
        for row in batch_update.removed:
            rows.pop(row, None)
        for row, params, _, written in batch_update.added:
            rows.pop(row, None)
            # vLLM goes on appending to this list and has put real tokens into it whenever `apply` is called.
            if (member := member_in(params.extra_args)) is not None:
                rows[row] = (member, written)
        for source, to, how in batch_update.moved:
            moved, there = rows.pop(source, None), rows.pop(to, None)
            if moved is not None:
                rows[to] = moved
            if there is not None and how is MoveDirectionality.SWAP:
                rows[source] = there
        self._plan = self._choice.plan(Seat(row, member, written) for row, (member, written) in rows.items())

    def apply(self, logits: torch.Tensor) -> torch.Tensor:
        for alike in self._plan:
            self._choice.choose(logits, alike)
        return logits
