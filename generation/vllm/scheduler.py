"""Schedulers under which the members of a group sample in the same step or not at all.

In: vLLM's requests, of which some carry a `Member`. Out: vLLM's steps, in which of a group's rows all sample or none
does. How logits are mixed is the processors' business; what a group is made of, `groups`'; what fits, `room`'s.

A member is parked until its group is whole; then the group takes places and KV cache for all or waits for them. Of
every member's prompt one token is held back until all have only that one left; from then on they go one token a
step, together. A member that loses its KV cache takes the others with it, and what is still being computed for any of
them is dropped, so that all have the same tokens. When one ends, all end.

While more urgent groups are written, the others are held where they are, since every row lengthens the step of all.
"""

import os
import time
from collections.abc import Iterable
from typing import Final

from generation.vllm.choice import broken_mark
from generation.vllm.group import member_in
from generation.vllm.groups import BROKEN, ENDED, REFUSED, TIMED_OUT, Group, Groups
from generation.vllm.internals import (
    AsyncScheduler,
    EngineCoreOutput,
    EngineCoreOutputs,
    PauseState,
    Request,
    RequestStatus,
    Scheduler,
    Vllm,
    refuse_other_configurations,
)
from generation.vllm.metrics import Counts, Export
from generation.vllm.room import fits_now, never_fits

PATIENCE: Final = "PRELIM_GROUP_TIMEOUT_S"
"""Environment variable: seconds after which the members that came are ended because another never did."""
PATIENCE_S: Final = 30.0
"""Without it."""
STANDS_BACK_S: Final = 2.0
"""How long less urgent groups are held at most before they go on for as long: slowed, never starved."""
_SHARED_ENDS: Final = (
    RequestStatus.FINISHED_STOPPED,
    RequestStatus.FINISHED_LENGTH_CAPPED,
    RequestStatus.FINISHED_REPETITION,
)
"""Ends that hold for a whole group: they follow from the tokens, which all members share."""


class GroupScheduler(Scheduler):  # type: ignore[misc]  # vLLM is read without its types
    """vLLM's scheduler with groups kept in step, for engines that wait for a step before they plan the next."""

    clock = staticmethod(time.monotonic)
    """Seconds; a simulator has its own."""

    def __init__(self, vllm_config: Vllm, *args: Vllm, **named: Vllm) -> None:
        refuse_other_configurations(vllm_config)
        super().__init__(vllm_config, *args, **named)
        self.patience_s = float(os.environ.get(PATIENCE, PATIENCE_S))
        self._mark = broken_mark(self.vllm_config.model_config.hf_config)
        self._spoilt: list[int] = []
        """Blocks that hold what is not a number."""
        self.counts = Counts()
        self._export = Export(self.counts)
        self._groups: Groups[Request] = Groups()
        self._released: set[str] = set()
        """Groups that may sample in the step being planned."""
        self.stands_back_s = STANDS_BACK_S
        self._standing_back: set[str] = set()
        """Groups held where they are in the step being planned."""
        self._stood_back_s = 0.0
        """For how long groups were held, less for how long they went on since."""
        self._planned_at = 0.0
        """When the last step was planned."""
        self._entering: Group[Request] | None = None
        """The group whose members are taking their places; while some have and some have not, no other begins to."""
        self._broken: set[Group[Request]] = set()
        """Groups of which a member lost its place; the others lose theirs before the next step is planned."""
        self._unsaid: list[tuple[int, EngineCoreOutput]] = []
        """Ends that nobody has been told yet, with the client they are for."""

    # ---------------------------------------------------------------- arrival

    def add_request(self, request: Request) -> None:
        """Queue a request; a member waits until its group is whole. Raises for nothing that a client can get wrong."""
        known = request.request_id in self.requests
        super().add_request(request)
        if known or request.sampling_params is None:
            return
        try:
            member = member_in(request.sampling_params.extra_args)
        except ValueError as error:
            return self._refuse([request], str(error))
        if member is None:
            return
        group = self._groups.join(member, request, self.clock())
        if isinstance(group, str):
            return self._refuse([request], group)
        if group.whole:
            self._line_up(group)

    def _line_up(self, group: Group[Request]) -> None:
        """Put the members of a whole group behind one another, alike in what decides who goes first and who ends."""
        members = group.members
        last = max(m.arrival_time for m in members)
        least = max(m.priority for m in members)
        most = min(min(m.max_tokens, self.max_model_len - m.num_prompt_tokens) for m in members)
        self.waiting.remove_requests(set(members))
        for member in members:
            member.arrival_time, member.priority, member.max_tokens = last, least, most
            self.waiting.add_request(member)
        if (why := never_fits(self, members)) is not None:
            self._refuse(members, why)

    # ---------------------------------------------------------------- one step

    def schedule(self, throttle_prefills: bool = False) -> Vllm:
        """Plan a step. Whatever vLLM makes of it, no group leaves it with tokens that not all members have."""
        # 1. End what waited too long, and take back what lost a member since the last step.
        for group in self._groups.overdue(self.clock(), self.patience_s):
            self.counts.timed_out += 1
            self._end(group.members, TIMED_OUT)
        self._take_back()
        # 2. Which groups may sample: all members in their places, one token left for each.
        self._released = set()
        for group in self._groups:
            if group.whole and all(m.status == RequestStatus.RUNNING for m in group.members):
                self.counts.admitted += not group.admitted
                group.admitted = True
                if all(_left(m, m.num_computed_tokens) == 1 for m in group.members):
                    self._released.add(group.id)
        # 3. Which must stand back; then vLLM plans, and the hooks below hold members back.
        self._standing_back = self._less_urgent()
        output = super().schedule(throttle_prefills)
        # 4. A group of which only some sample gives up its places, and what they sample is dropped.
        for group in self._groups:
            if group.id in self._released:
                sampling = sum(m.request_id in output.num_scheduled_tokens for m in group.members)
                self.counts.joint += sampling == group.size
                if 0 < sampling < group.size:
                    self.counts.repaired += 1
                    self._broken.add(group)
        self._take_back()
        # 5. If nobody can go on because groups hold what others need, those held go on, or the youngest gives way.
        if output.total_num_scheduled_tokens == 0:
            self._unstick()
        return output

    def _less_urgent(self) -> set[str]:
        """Groups that the most urgent ones go before; none while one of those waits for places, which others hold."""
        # 1. In the long run held for half of the time at most, however many come that are more urgent.
        now, before = self.clock(), self._planned_at
        self._planned_at = now
        self._stood_back_s += now - before if self._standing_back else before - now
        self._stood_back_s = min(max(self._stood_back_s, 0.0), self.stands_back_s)
        # 2. Who would be held.
        whole = [group for group in self._groups if group.whole]
        first = min(map(_urgency, whole), default=0)
        behind = {group.id for group in whole if _urgency(group) > first}
        waits = any(m.status != RequestStatus.RUNNING for g in whole if g.id not in behind for m in g.members)
        if waits or self._stood_back_s >= self.stands_back_s:
            return set()
        self.counts.stood_back += len(behind)
        return behind

    def _handle_blocked_waiting_request(self, request: Request) -> bool:
        """Whether a waiting request may be looked at: of groups, one at a time, whole, with every grammar compiled."""
        group = self._groups.of(request.request_id)
        ready: bool = super()._handle_blocked_waiting_request(request)
        if group is None or not ready:
            return ready
        if not group.whole or (self._is_entering() and self._entering is not group) or group.id in self._standing_back:
            return False
        for other in group.members:
            if other is not request and other.status != RequestStatus.RUNNING:
                ready &= super()._handle_blocked_waiting_request(other)
        return ready

    def _get_local_prefix_cache_hit(self, request: Request) -> tuple[Vllm, int, int, bool]:
        """What the prefix cache holds; of a member's prompt never so much that the token held back is all there is."""
        found: tuple[Vllm, int, int, bool] = super()._get_local_prefix_cache_hit(request)
        if self._groups.of(request.request_id) is None or found[1] == 0 or found[1] < request.num_tokens - 1:
            return found
        blocks, hit, uncached = self.kv_cache_manager.coordinator.find_longest_cache_hit(
            request.block_hashes, request.num_tokens - 2
        )
        return self.kv_cache_manager.create_kv_cache_blocks(blocks), hit, hit + uncached if uncached else 0, False

    def _reserve_prefill_lookahead(self, request: Request, num_computed_tokens: int, num_new_tokens: int) -> int:
        """How many of the tokens that vLLM would give a request it gets; vLLM asks this last, for every request."""
        tokens: int = super()._reserve_prefill_lookahead(request, num_computed_tokens, num_new_tokens)
        group = self._groups.of(request.request_id)
        if group is None:
            return tokens
        if request.status != RequestStatus.RUNNING and not self._may_enter(group):
            # vLLM gives up on the queue for this step now, and would keep images in its cache for this request's sake.
            self.encoder_cache_manager.free(request)
            return 0
        if group.id in self._standing_back:
            return 0
        left = _left(request, num_computed_tokens)
        if 0 < left <= tokens and group.id not in self._released:
            self.counts.held += 1
            return left - 1
        return tokens

    def _may_enter(self, group: Group[Request]) -> bool:
        """Whether a waiting member may take its place: when there is room for all, or others have theirs already."""
        if not self._is_entering():
            if not fits_now(self, group.members):
                return False
            self._entering = group
        return True

    def _is_entering(self) -> bool:
        if self._entering is not None:
            running = sum(m.status == RequestStatus.RUNNING for m in self._entering.members)
            if running == 0 or running == self._entering.size:
                self._entering = None
        return self._entering is not None

    # ---------------------------------------------------------------- losing places

    def _preempt_request(self, request: Request, timestamp: float, drop_stale_output: bool = False) -> None:
        """Take a request's place; of a member, what is being computed is dropped, and the others are to follow."""
        group = self._groups.of(request.request_id)
        if group is not None:
            self._broken.add(group)
        super()._preempt_request(request, timestamp, drop_stale_output=drop_stale_output or group is not None)

    def _take_back(self) -> None:
        """Every group that lost a member's place loses all, and waits behind one another at the head of the queue."""
        broken, self._broken = self._broken, set()
        for group in sorted(broken, key=lambda group: group.since, reverse=True):
            if not self._groups.lives(group):
                continue
            self.counts.preempted += 1
            for member in group.members:
                if member.status == RequestStatus.RUNNING:
                    self.running.remove(member)
                    self._preempt_request(member, time.monotonic())
                    # It may come back in the very next step, which must then send the runner its tokens anew.
                    self.prev_step_scheduled_req_ids.discard(member.request_id)
            self.waiting.remove_requests(set(group.members))
            self.waiting.prepend_requests(reversed(group.members))
        self._broken.clear()

    def _unstick(self) -> None:
        if self._pause_state == PauseState.PAUSED_ALL or any(r.num_in_flight_tokens for r in self.running):
            return
        if self._standing_back:
            self._stood_back_s = self.stands_back_s
            return
        for request in reversed(self.running):
            group = self._groups.of(request.request_id)
            if group is not None:
                self.counts.unstuck += 1
                self._broken.add(group)
                return self._take_back()

    # ---------------------------------------------------------------- ends

    def update_from_output(self, scheduler_output: Vllm, model_runner_output: Vllm) -> dict[int, EngineCoreOutputs]:
        """What the step gave. Where one member of a group ends, all end, in the same answer."""
        # vLLM frees a request at its greatest length, and then nobody knows any more which blocks it had.
        last = {group.id: self._blocks(group) for group in self._groups if any(map(_writes_its_last, group.members))}
        answers: dict[int, EngineCoreOutputs] = super().update_from_output(scheduler_output, model_runner_output)
        said = {output.request_id: output for answer in answers.values() for output in answer.outputs}
        for request_id, output in list(said.items()):
            group = self._groups.of(request_id)
            if group is not None and self._mark is not None and self._mark in output.new_token_ids:
                self._break(group, said, last.get(group.id) or self._blocks(group))
            elif group is not None and output.finish_reason is not None:
                self._end_together(group, said)
        for client, output in self._unsaid:
            answers.setdefault(client, EngineCoreOutputs()).outputs.append(output)
        self._unsaid = []
        self._export.publish()
        return answers

    def _end_together(self, group: Group[Request], said: dict[str, EngineCoreOutput]) -> None:
        first = next(m for m in group.members if m.is_finished())
        rest = [m for m in group.members if not m.is_finished()]
        self._groups.forget(group)
        for member in rest:
            same = first.status in _SHARED_ENDS and list(member.output_token_ids) == list(first.output_token_ids)
            super().finish_requests(member.request_id, first.status if same else RequestStatus.FINISHED_ABORTED)
            self.counts.orphans += 1
            if (output := said.get(member.request_id)) is None:
                output = EngineCoreOutput(request_id=member.request_id, new_token_ids=[])
                self._unsaid.append((member.client_index, output))
            output.finish_reason = member.get_finished_reason()
            output.stop_reason = first.stop_reason if same else ENDED

    def _break(self, group: Group[Request], said: dict[str, EngineCoreOutput], blocks: set[int]) -> None:
        """A group whose logits were broken ends as an error, which servers answer with HTTP 500.

        What is not a number in a block of its cache would break whoever gets the block next, since kernels multiply
        with what they mask; so its blocks are forgotten by the prefix cache and, on a CPU, emptied before the next
        step. A GPU's runners empty blocks for Mamba only: whether its attention kernels need it was not tried.
        """
        self._groups.forget(group)
        self.counts.broken += 1
        cache = self.kv_cache_manager
        for member in group.members:
            super().finish_requests(member.request_id, RequestStatus.FINISHED_ERROR)
            if (output := said.get(member.request_id)) is None:
                output = EngineCoreOutput(request_id=member.request_id, new_token_ids=[])
                self._unsaid.append((member.client_index, output))
            output.new_token_ids = []
            output.finish_reason = RequestStatus.get_finished_reason(RequestStatus.FINISHED_ERROR)
            output.stop_reason = BROKEN
        free = {block for block in blocks if cache.block_pool.blocks[block].ref_cnt == 0}
        cache.block_pool.evict_blocks(free)
        self._spoilt += free

    def _blocks(self, group: Group[Request]) -> set[int]:
        """Of the KV cache, all that the members hold."""
        ids = self.kv_cache_manager.get_block_ids
        return {block for member in group.members for kind in ids(member.request_id) for block in kind}

    def _get_new_block_ids_to_zero(self) -> list[int] | None:
        """Blocks that the CPU's runner empties before it computes the step."""
        spoilt, self._spoilt = self._spoilt, []
        blocks: list[int] = super()._get_new_block_ids_to_zero() or []
        return (blocks if self.use_v2_model_runner else [*blocks, *spoilt]) or None

    def finish_requests(self, request_ids: str | Iterable[str] | None, finished_status: RequestStatus) -> list[Request]:
        """End these requests, and the groups that they are members of; answers only for those that were named."""
        ended: list[Request] = super().finish_requests(request_ids, finished_status)
        for request in ended:
            group = self._groups.of(request.request_id)
            if group is not None:
                rest = [m for m in group.members if not m.is_finished()]
                self.counts.orphans += len(rest)
                self._groups.forget(group)
                self._end(rest, ENDED)
        return ended

    def _refuse(self, requests: list[Request], why: str) -> None:
        self.counts.refused += 1
        self._end(requests, f"{REFUSED}: {why}")

    def _end(self, requests: list[Request], reason: str) -> None:
        """End requests that their clients have not asked to end, and tell them why."""
        for request in requests:
            if (group := self._groups.of(request.request_id)) is not None:
                self._groups.forget(group)
        for request in super().finish_requests([r.request_id for r in requests], RequestStatus.FINISHED_ABORTED):
            output = EngineCoreOutput(
                request_id=request.request_id,
                new_token_ids=[],
                finish_reason=request.get_finished_reason(),
                stop_reason=reason,
            )
            self._unsaid.append((request.client_index, output))


class GroupAsyncScheduler(GroupScheduler, AsyncScheduler):  # type: ignore[misc]
    """The same for engines that plan a step while the one before is still being computed."""


def _urgency(group: Group[Request]) -> int:
    """Of a whole group: less is more urgent, as in vLLM, and as urgent as its least urgent member are all."""
    least: int = group.members[0].priority
    return least


def _writes_its_last(request: Request) -> bool:
    """Whether the token that it is given now reaches its greatest length."""
    reached: bool = request.num_output_tokens + 1 >= request.max_tokens
    return reached


def _left(request: Request, computed: int) -> int:
    """Tokens that must still be computed before the request samples, those being sampled right now among them."""
    left: int = request.num_tokens_with_spec + request.num_output_placeholders - computed
    return left
