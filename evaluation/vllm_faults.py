"""Faults at a real vLLM server, many at once: whether anything is stuck, memory grows, or others suffer.

Each fault is one of the ways in which callers, networks and members of groups fail; beside them ordinary requests of
other users go on, and each must get to the token what it gets on a quiet server. Figures of `make soak` are kept in
evaluation/measured/soak-vllm-faults.json. A server that is killed is a test's business: it ends the run.
"""

import json
import secrets
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

import httpx

from evaluation.vllm_server import NAME, VllmServer
from generation.decoding.generator import BranchPrompt, GenerationRequest
from generation.decoding.presets import PRESETS, PresetName
from generation.halt import Halt
from generation.remote.groups import Limits
from generation.remote.vllm_http import VllmHttpGenerator
from generation.vllm.group import Member
from generation.vllm.places import GROUP_HEADER
from prompts.message import Branch, Message
from retrieval.errors import Cancelled, DeadlineExceeded, PrelimError, PromptTooLong

PATIENCE_S: Final = 8.0
"""What the server of these faults must have been told to wait for members (PRELIM_GROUP_TIMEOUT_S)."""
STUCK_S: Final = 30.0
"""What has not ended so long after it should have is stuck; how soon it ends if nothing else runs, other tests say."""
_WORDS: Final = ("heart", "lungs", "clear", "effusion", "mild", "cardiomegaly", "pleural", "lower", "absent", "acute")
_MANY: Final[tuple[PresetName, ...]] = ("ccd", "cad", "grounded")


@dataclass
class Found:
    """What a run of faults showed."""

    faults: dict[str, int] = field(default_factory=dict)
    """How many of each kind."""
    wrong: list[str] = field(default_factory=list)
    """Faults that ended otherwise than they should, by kind and how."""
    slowest_s: dict[str, float] = field(default_factory=dict)
    """The longest that one fault of a kind took to end."""
    ordinary: int = 0
    """Requests of others that were answered meanwhile."""
    disturbed: int = 0
    """Those among them that were not answered as on a quiet server."""
    memory_mib: list[float] = field(default_factory=list)
    """Of the server: before, and after each part of the run, when it had nothing to do."""
    idle_s: list[float] = field(default_factory=list)
    """How long after each part its engine had nothing left."""


def messages(text: str) -> list[dict[str, str]]:
    """One user's message, as servers take it."""
    return [{"role": "user", "content": text}]


class Faults:
    """Makes faults at one server."""

    def __init__(self, server: VllmServer, *, drafts_at_once: int = 8) -> None:
        self._server = server
        self._client = VllmHttpGenerator(
            [server.url], NAME, key=server.key, limits=Limits(groups=drafts_at_once, waiting=1000, tries=20)
        )
        self._kinds: Mapping[str, Callable[[Random], None]] = {
            "cancelled while it writes": self._cancelled,
            "past its deadline": self._late,
            "one member hangs up": self._hung_up,
            "a member never comes": self._never_comes,
            "two members for one branch": self._doubled,
            "members that say different things": self._unlike,
            "arguments that describe no member": self._no_member,
            "a prompt too long": self._too_long,
            "no fault": self._whole,
        }

    def close(self) -> None:
        """Stop the client."""
        self._client.close()

    def run(self, number: int, *, seed: int, parts: int = 1, at_once: int = 4) -> Found:
        """`number` faults in all, `at_once` of them at a time, with ordinary requests beside them."""
        found, rng = Found(), Random(seed)
        asked = [(text := " ".join(rng.choices(_WORDS, k=rng.randint(1, 40))), self._ordinary(text)) for _ in range(4)]
        found.memory_mib.append(self._server.memory_mib)
        kinds = [list(self._kinds)[n % len(self._kinds)] for n in range(number)]
        rng.shuffle(kinds)
        stop = threading.Event()
        with ThreadPoolExecutor(at_once + 1) as pool:
            for part in range(parts):
                stop.clear()
                others = pool.submit(self._others, asked, stop, found)
                mine = kinds[part::parts]
                list(pool.map(lambda each: self._one(each[1], Random(f"{seed} {each[0]}"), found), enumerate(mine)))
                stop.set()
                others.result()
                idle = self._server.idle_within(STUCK_S)
                found.idle_s.append(STUCK_S if idle is None else round(idle, 3))
                if idle is None:
                    found.wrong.append("the engine was not idle long after the last fault")
                found.memory_mib.append(self._server.memory_mib)
        return found

    def _one(self, kind: str, rng: Random, found: Found) -> None:
        begun = time.monotonic()
        try:
            self._kinds[kind](rng)
        except AssertionError as error:
            found.wrong.append(f"{kind}: {error}")
        except (PrelimError, httpx.HTTPError) as error:
            found.wrong.append(f"{kind}: {type(error).__name__} {error}")
        found.faults[kind] = found.faults.get(kind, 0) + 1
        found.slowest_s[kind] = max(found.slowest_s.get(kind, 0.0), round(time.monotonic() - begun, 2))

    def _others(self, asked: Sequence[tuple[str, list[int]]], stop: threading.Event, found: Found) -> None:
        while not stop.is_set():
            for text, usual in asked:
                found.ordinary += 1
                if self._ordinary(text) != usual:
                    found.disturbed += 1

    def _ordinary(self, text: str) -> list[int]:
        """What somebody gets who has never heard of groups."""
        body = {"messages": messages(text), "temperature": 0, "max_tokens": 12, "return_token_ids": True}
        while (answer := self._server.complete(body)).status_code == httpx.codes.SERVICE_UNAVAILABLE:
            time.sleep(0.1)  # full, which it says: others wait, too
        if answer.status_code != httpx.codes.OK:
            return []
        tokens: list[int] = answer.json()["choices"][0]["token_ids"]
        return tokens

    # The kinds of faults

    def _request(self, rng: Random, *, tokens: int, words: int = 40) -> GenerationRequest:
        preset = PRESETS[rng.choice(_MANY)]
        return GenerationRequest(
            branches=tuple(
                BranchPrompt(
                    branch=branch,
                    messages=(Message(role="user", content=(" ".join(rng.choices(_WORDS, k=rng.randint(1, words))),)),),
                )
                for branch in preset.branches
            ),
            preset=preset,
            max_new_tokens=tokens,
        )

    def _whole(self, rng: Random) -> None:
        [draft] = self._client.generate([self._request(rng, tokens=10)], {})
        assert draft.finish == "end" or len(draft.token_ids) == 10, "a draft in full was not"

    def _cancelled(self, rng: Random) -> None:
        halt, after = Halt(), rng.randint(0, 12)
        heard: list[str] = []

        def hear(_: int, text: str) -> None:
            heard.append(text)
            if len(heard) > after:
                halt.cancel()

        timer = threading.Timer(rng.uniform(0, 2.0), halt.cancel)  # some while they still wait
        timer.start()
        try:
            [draft] = self._client.generate([self._request(rng, tokens=1000)], {}, hear, halt)
            assert draft.finish == "end", "a cancelled draft was written to its full length"
        except Cancelled:
            pass
        finally:
            timer.cancel()

    def _late(self, rng: Random) -> None:
        try:
            [draft] = self._client.generate([self._request(rng, tokens=1500)], {}, None, Halt(rng.uniform(0.05, 1.0)))
            assert draft.finish == "end", "a draft past its deadline was written to its full length"
        except DeadlineExceeded:
            pass

    def _too_long(self, rng: Random) -> None:
        long = GenerationRequest(
            branches=tuple(
                BranchPrompt(branch=branch, messages=(Message(role="user", content=("heart " * words,)),))
                for branch, words in (("study", 5), ("anchored", rng.randint(2100, 4000)))
            ),
            preset=PRESETS["ccd"],
            max_new_tokens=8,
        )
        try:
            self._client.generate([long], {})
        except PromptTooLong:
            return
        raise AssertionError("a prompt too long was taken")

    def _hung_up(self, rng: Random) -> None:
        why = self.left_by_one(rng)
        assert why == {"abort"}, f"members whose other had gone ended with {', '.join(sorted(why))}"

    def left_by_one(self, rng: Random) -> set[str]:
        """A client that leaves one of three connections; why the other two ended."""
        group, preset = secrets.token_hex(16), PRESETS["grounded"]
        ended: list[dict[str, Any]] = []

        def stay(branch: Branch) -> None:
            ended.append(self._member(group, branch, preset.name, tokens=1500).json()["choices"][0])

        staying = [threading.Thread(target=stay, args=(branch,)) for branch in preset.branches[1:]]
        for thread in staying:
            thread.start()
        body = self._body(group, preset.branches[0], preset.name, tokens=1500) | {"stream": True}
        pieces, leave_after = 0, rng.randint(0, 8)
        with (
            self._server.client() as client,
            client.stream("POST", "/v1/chat/completions", json=body, headers=_of(group)) as answer,
        ):
            for line in answer.iter_lines():
                pieces += line.startswith("data:")
                if pieces > leave_after:
                    break
        for thread in staying:
            thread.join(STUCK_S)
        assert len(ended) == 2, "members whose other had gone were not ended"
        return {each["finish_reason"] for each in ended}

    def _never_comes(self, rng: Random) -> None:
        group = secrets.token_hex(16)
        branches = rng.sample(PRESETS["grounded"].branches, k=2)
        with ThreadPoolExecutor(2) as pool:
            begun = time.monotonic()
            ended = list(pool.map(lambda branch: self._member(group, branch, "grounded"), branches))
        passed = time.monotonic() - begun
        for answer in ended:
            choice = answer.json()["choices"][0]
            assert choice["finish_reason"] == "abort", f"half a group ended with {choice['finish_reason']}"
            assert not choice["token_ids"], "half a group wrote something"
        assert PATIENCE_S - 0.5 < passed < PATIENCE_S + STUCK_S, f"half a group was kept for {passed:.1f} s"

    def _doubled(self, _: Random) -> None:
        group = secrets.token_hex(16)
        with ThreadPoolExecutor(2) as pool:
            both = list(pool.map(lambda _: self._member(group, "study", "ccd"), range(2)))
        reasons = [answer.json()["choices"][0]["finish_reason"] for answer in both]
        assert reasons == ["abort", "abort"], f"two members for one branch ended with {reasons}"

    def _unlike(self, rng: Random) -> None:
        group, presets = secrets.token_hex(16), rng.sample(("ccd", "cad"), k=2)
        branches: list[tuple[Branch, PresetName]] = [
            ("study", presets[0]),  # type: ignore[list-item]
            ("anchored" if presets[1] == "ccd" else "evidence", presets[1]),  # type: ignore[list-item]
        ]
        with ThreadPoolExecutor(2) as pool:
            both = list(pool.map(lambda each: self._member(group, *each), branches))
        reasons = [answer.json()["choices"][0]["finish_reason"] for answer in both]
        assert reasons == ["abort", "abort"], f"members that disagree ended with {reasons}"

    def _no_member(self, rng: Random) -> None:
        body = self._body(secrets.token_hex(16), "study", "ccd")
        member = json.loads(body["vllm_xargs"]["prelim_group"])
        spoilt = rng.choice(
            (
                {"vllm_xargs": {"prelim_group": "{"}},
                {"vllm_xargs": {"prelim_group": json.dumps(member | {"branch": "blind"})}},
                {"vllm_xargs": {"prelim_group": json.dumps(member | {"group": "../etc"})}},
                {"vllm_xargs": {"prelim_group": json.dumps(member | {"more": 1})}},
                {"temperature": 0.5},
                {"n": 2, "temperature": 0.5},
                {"repetition_penalty": 1.2},
                {"logit_bias": {"5": 10}},
            )
        )
        status = self._server.complete(body | spoilt).status_code
        assert status == httpx.codes.BAD_REQUEST, f"{list(spoilt)} was answered with HTTP {status}"

    def _body(self, group: str, branch: Branch, preset: PresetName, *, tokens: int = 8) -> dict[str, Any]:
        member = Member(group=group, branch=branch, preset=PRESETS[preset])
        return {
            "model": NAME,
            "messages": messages(f"{branch} heart lungs clear"),
            "temperature": 0,
            "max_tokens": tokens,
            "ignore_eos": True,
            "return_token_ids": True,
            "vllm_xargs": member.arguments(),
        }

    def _member(self, group: str, branch: Branch, preset: PresetName, *, tokens: int = 8) -> httpx.Response:
        """One member as a client of another make would send it; comes back when it has ended."""
        with self._server.client() as client:
            body = self._body(group, branch, preset, tokens=tokens)
            return client.post("/v1/chat/completions", json=body, headers=_of(group))


def _of(group: str) -> dict[str, str]:
    return {GROUP_HEADER: group}
