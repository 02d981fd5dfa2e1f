"""A real vLLM server with the plugin, asked over HTTP: drafts as the oracle writes them, and every kind of fault.

One server serves the whole file; the last test kills it. `make soak` makes a thousand faults on one of its own.
"""

import asyncio
import importlib.util
import json
import math
import os
import random
import re
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

import pytest

from generation.decoding.presets import PRESETS
from generation.halt import Halt
from generation.remote import groups
from generation.remote.groups import Limits
from generation.remote.openai_http import OpenAiGenerator
from generation.remote.vllm_http import VllmHttpGenerator
from retrieval.errors import Cancelled, DeadlineExceeded, GeneratorUnavailable, Overloaded, PromptTooLong
from tests.conftest import skip_or_fail
from tests.tiny_models import FOUR, batched, checkpoint, drawn_request, need_models, pictures, tiny, tokens_request

IMAGES = pictures(seed=5)
MIXTURE = ("grounded", "ccd", "vcd", "m3id", FOUR, "icd", "cad", "grounded", "plain", "prompt", FOUR, "grounded")
LONG = drawn_request(4, sees=False, preset="ccd", max_new_tokens=1500)
"""A draft that does not end before its length."""
SOAK = Path(__file__).parent.parent / "evaluation" / "measured" / "soak-vllm-faults.json"

pytestmark = pytest.mark.slow


def started(folder):
    """A server as `prelim vllm-serve` starts it; small, and quick to give half a group up."""
    need_models()
    if importlib.util.find_spec("vllm") is None:
        skip_or_fail("vllm", "no build of vLLM is installed (make vllm)")
    from evaluation.vllm_faults import PATIENCE_S  # noqa: PLC0415
    from evaluation.vllm_server import VllmServer  # noqa: PLC0415

    settings = {"PRELIM_GROUP_TIMEOUT_S": str(PATIENCE_S), "PRELIM_MOST_GROUPS": "20", "OMP_NUM_THREADS": "1"}
    return VllmServer(checkpoint("qwen2_vl"), folder / "server.log", groups=8, settings=settings)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """Started while the oracle writes what it will be compared with."""
    made = started(tmp_path_factory.mktemp("vllm"))
    try:
        expected()
        yield made.ready()
    finally:
        made.kill()


@pytest.fixture
def client(server):
    made = []

    def make(kind=VllmHttpGenerator, **limits):
        made.append(kind([server.url], "tiny", key=server.key, limits=Limits(**limits)))
        return made[-1]

    yield make
    for each in made:
        each.close()


def requests():
    return [
        drawn_request(seed, sees=True, preset=preset, temperature=0.8 * (seed % 3 == 1), max_new_tokens=12)
        for seed, preset in enumerate(MIXTURE * 2)
    ]


EXPECTED = []


def expected():
    if not EXPECTED:
        EXPECTED.extend(batched(tiny("qwen2_vl"), requests(), IMAGES))
    return EXPECTED


def alike(draft, oracle):
    """A server withholds a half character at the end of a text; everything else is the same."""
    assert (draft.token_ids, draft.finish, draft.prompt_tokens) == (
        oracle.token_ids,
        oracle.finish,
        oracle.prompt_tokens,
    )
    assert draft.text == oracle.text.rstrip("\ufffd") or draft.text == oracle.text


def test_groups_of_one_to_four_over_http_are_what_the_oracle_writes(server, client, monkeypatch):
    """Sixteen at a time, each member late by chance, with images, draws and biases; ordinary requests beside them."""
    sent = groups.stream

    async def late(*call):
        await asyncio.sleep(random.random() * 0.3)
        return await sent(*call)

    monkeypatch.setattr(groups, "stream", late)
    heard: dict[int, list[str]] = {}
    plain = [number for number, preset in enumerate(MIXTURE) if preset == "plain"]
    greedy = [request for number in plain if (request := requests()[number]).temperature == 0]
    generator, ordinary = client(groups=16), client(OpenAiGenerator, groups=2)
    with ThreadPoolExecutor(2) as pool:
        others = pool.submit(lambda: [ordinary.generate(greedy, IMAGES) for _ in range(10)])
        drafts = generator.generate(requests(), IMAGES, lambda n, text: heard.setdefault(n, []).append(text))
        beside = others.result()
    for number, (draft, oracle) in enumerate(zip(drafts, expected(), strict=True)):
        alike(draft, oracle)
        assert "".join(heard.get(number, [])) == draft.text
    assert {len(draft.prompt_tokens) for draft in drafts} == {1, 2, 3, 4}
    assert greedy
    for answers in beside:
        for answer, number in zip(answers, plain, strict=True):
            assert answer.text == expected()[number].text.rstrip("\ufffd")
    assert server.figure("prelim_group_admitted_total") >= 20
    assert server.figure("prelim_group_timed_out_total") == 0


def test_drafts_that_nobody_waits_for_are_held_for_the_others_and_come_out_the_same(server, client):
    patient = Halt()
    patient.awaited = False
    # Long enough to be met under way; what somebody waits for takes less than the two seconds of a hold.
    long = [request.model_copy(update={"max_new_tokens": 400}) for request in requests()[:3]]
    short = [request.model_copy(update={"max_new_tokens": 60}) for request in requests()[8:10]]
    begun, held, told = threading.Event(), list[float](), list[float]()
    before = server.figure("prelim_group_stood_back_total")
    with ThreadPoolExecutor(1) as pool:
        behind = pool.submit(
            client(groups=8).generate, long, IMAGES, lambda *_: begun.set() or held.append(time.monotonic()), patient
        )
        assert begun.wait(60)
        awaited = client(groups=8).generate(short, IMAGES, lambda *_: told.append(time.monotonic()), Halt())
        drafts = awaited + behind.result()
    for draft, oracle in zip(drafts, batched(tiny("qwen2_vl"), short + long, IMAGES), strict=True):
        alike(draft, oracle)
    assert server.figure("prelim_group_stood_back_total") > before
    assert held[-1] > told[-1]
    meanwhile = sum(told[0] < each < told[-1] for each in held)
    assert meanwhile < 0.2 * len(told), "they were written beside, not behind"


def test_a_stop_string_ends_a_draft_over_http_where_the_oracle_ends_it(client):
    # Letters of whole characters, so that no half one before them is counted differently.
    stops = {n: found.group() for n, d in enumerate(expected()) if (found := re.search("[a-z]{3}", d.text[4:]))}
    stopping = [requests()[n].model_copy(update={"stop": (stop, "never written")}) for n, stop in stops.items()]
    heard: dict[int, list[str]] = {}
    drafts = client().generate(stopping, IMAGES, lambda n, text: heard.setdefault(n, []).append(text))
    oracle = batched(tiny("qwen2_vl"), stopping, IMAGES)
    assert [draft.finish for draft in oracle].count("stop") > 5
    for number, (draft, slow) in enumerate(zip(drafts, oracle, strict=True)):
        alike(draft, slow)
        assert "".join(heard.get(number, [])) == draft.text


def test_prompts_in_tokens_are_decoded_up_to_nine_hundred_of_them(client):
    both = [tokens_request((5, 900)), tokens_request((37, 12, 333), seed=3)]
    drafts, oracle = client().generate(both, {}), batched(tiny("qwen2_vl"), both, {})
    # Not their texts: these prompts end in half a character, which the server's first text completes.
    for draft, slow in zip(drafts, oracle, strict=True):
        assert (draft.token_ids, draft.prompt_tokens) == (slow.token_ids, slow.prompt_tokens)


@pytest.mark.parametrize(
    "spoilt",
    [
        {"vllm_xargs": {"prelim_group": "{"}},
        {"vllm_xargs": {"prelim_group": '{"group": "a b"}'}},
        {"temperature": 0.5},
        {"top_p": 0.5, "temperature": 0.5},
        {"repetition_penalty": 1.3},
        {"logprobs": True, "top_logprobs": 2},
    ],
)
def test_arguments_that_make_no_member_are_refused_with_http_400(server, spoilt):
    from evaluation.vllm_faults import messages  # noqa: PLC0415
    from generation.vllm.group import Member  # noqa: PLC0415

    member = Member(group="g", branch="study", preset=PRESETS["ccd"])
    body = {"messages": messages("heart"), "temperature": 0, "max_tokens": 4, "vllm_xargs": member.arguments()}
    answer = server.complete(body | spoilt)
    assert answer.status_code == 400
    assert "error" in answer.json()


def test_a_prompt_too_long_is_named_before_a_token_and_its_others_are_freed(server, client):
    long = drawn_request(2, sees=True, preset="grounded", most_words=4000, max_new_tokens=8)
    with pytest.raises(PromptTooLong):
        client().generate([long], IMAGES)
    with pytest.raises(PromptTooLong, match="18 of 64 tokens were written"):
        client().generate([tokens_request((2030, 12), max_new_tokens=64)], {})
    assert server.idle_within(3) is not None


@pytest.mark.parametrize("stop", ["cancel", "deadline"])
def test_a_halt_reaches_the_engine_at_once(server, client, stop):
    """The quickest of four, since other work shares the machine; an engine that is not told would take seconds."""
    passed = []
    for _ in range(4):
        halt, turned = Halt(None if stop == "cancel" else 1.0), [time.monotonic() + 1.0]

        def hear(_: int, text: str, turned=turned, halt=halt) -> None:
            if stop == "cancel" and len(turned) == 1:
                until = time.monotonic() + 2  # its figures come a step late
                while server.at_work < 2 and time.monotonic() < until:
                    pass
                turned.append(time.monotonic() if server.at_work else -math.inf)
                halt.cancel()

        with pytest.raises(Cancelled if stop == "cancel" else DeadlineExceeded):
            client().generate([LONG] * 4, {}, hear, halt)
        assert server.idle_within(5) is not None
        passed.append(time.monotonic() - turned[-1])
    assert min(passed) < 1.0, passed  # .25 on a machine that does nothing else


def test_the_command_says_how_to_use_what_it_serves_and_nothing_of_what_it_was_asked(server):
    assert f"tiny is served at {server.url}: 8 drafts at once of 3 branches." in server.printed
    assert f"prelim draft STUDY --generator vllm-http --server {server.url} --language-model tiny" in server.printed
    assert server.key.get_secret_value() not in server.printed
    assert not [word for word in ("cardiomegaly", "effusion", "pneumothorax") if word in server.printed]


def test_a_server_on_a_cpu_leaves_the_cores_to_those_who_ask_it(server):
    from evaluation.processes import session  # noqa: PLC0415
    from generation.vllm.launch import installed_build  # noqa: PLC0415
    from generation.vllm.serve import NICE  # noqa: PLC0415

    others = {*session(server.process.pid)} - {server.process.pid}
    assert len(others) >= 3  # the server, its engine, its worker
    stands_back = NICE if installed_build() == "cpu" else 0
    here = os.getpriority(os.PRIO_PROCESS, 0)
    assert {os.getpriority(os.PRIO_PROCESS, each) for each in others} == {min(19, here + stands_back)}
    shared = Path(f"/proc/{server.process.pid}/autogroup")
    assert not shared.exists() or shared.read_text() in {"", shared.read_text().split()[0] + f" nice {stands_back}\n"}


def test_a_wrong_key_and_a_wrong_model_are_told_with_what_to_do(server):
    from pydantic import SecretStr  # noqa: PLC0415

    for name, key, fix in (("tiny", SecretStr("wrong"), "PRELIM_GENERATOR_KEY"), ("huge", server.key, "/v1/models")):
        with VllmHttpGenerator([server.url], name, key=key) as generator:
            with pytest.raises(GeneratorUnavailable) as caught:
                generator.generate(requests()[:1], IMAGES)
            assert fix in caught.value.fix


def test_a_full_server_turns_groups_away_whole_and_all_are_written_in_the_end(server, client):
    before = server.figure("prelim_group_timed_out_total")
    short = [drawn_request(7, sees=False, preset="grounded", most_words=8, max_new_tokens=24)] * 36
    with pytest.raises(Overloaded) as caught:
        client(groups=36, tries=1).generate(short, {})
    assert caught.value.retry_after_s > 0
    drafts = client(groups=36, tries=20).generate(short, {})
    assert len({draft.token_ids for draft in drafts}) == 1
    assert server.figure("prelim_group_timed_out_total") == before, "half a group was let in"


def test_a_client_that_hangs_up_takes_the_other_members_along(server):
    from evaluation.vllm_faults import Faults  # noqa: PLC0415

    faults = Faults(server)
    try:
        for seed in range(4):
            assert faults.left_by_one(random.Random(seed)) == {"abort"}
    finally:
        faults.close()


def test_twenty_faults_leave_nothing_stuck_and_others_unharmed(server):
    from evaluation.vllm_faults import Faults  # noqa: PLC0415

    faults = Faults(server)
    try:
        found = faults.run(20, seed=7, at_once=5)
    finally:
        faults.close()
    assert not found.wrong
    assert sum(found.faults.values()) == 20
    assert len(found.faults) == 9
    assert found.ordinary >= 8
    assert not found.disturbed


@pytest.mark.soak
def test_a_thousand_faults_leave_nothing_stuck_and_no_memory_behind(tmp_path):
    from evaluation.vllm_faults import Faults  # noqa: PLC0415

    made = started(tmp_path).ready()
    faults = Faults(made)
    try:
        found = faults.run(1000, seed=1, parts=10, at_once=8)
    finally:
        faults.close()
        made.kill()
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=SOAK.parent, capture_output=True, text=True, check=False
    )
    SOAK.write_text(json.dumps({**asdict(found), "commit": commit.stdout.strip()}, indent=1) + "\n")
    assert not found.wrong
    assert sum(found.faults.values()) == 1000
    assert found.ordinary > 100
    assert not found.disturbed
    # Server and scheduler stay where they are. The worker, in which vLLM keeps compiled kernels for each size of a
    # step, grows more and more slowly, and does so under ordinary requests alone, too.
    before, last = found.memory_mib[-4], found.memory_mib[-1]
    assert last - before < 0.04 * before, found.memory_mib


def test_a_killed_server_ends_what_it_writes_and_what_comes_after_with_an_honest_error(server, client):
    """The last test of this file: there is no server after it."""
    generator = client()
    begun = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(generator.generate, [LONG] * 3, {}, lambda *_: begun.set())
        assert begun.wait(60)
        server.kill()
        killed = time.monotonic()
        with pytest.raises(GeneratorUnavailable, match=r"lost|broke"):
            call.result(10)
        assert time.monotonic() - killed < 5  # a silent server would be waited for three times as long
    with pytest.raises(GeneratorUnavailable, match=r"takes no connection|none of 1"):
        generator.generate([LONG], {})
