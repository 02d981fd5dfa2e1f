"""The clients against real servers that fail in every known way: a named error, nothing stuck, nothing told twice."""

import logging
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from pydantic import SecretStr

from generation.decoding.generator import BranchPrompt, GenerationRequest, Phrase
from generation.decoding.presets import PRESETS
from generation.generators import generator_named
from generation.halt import Halt
from generation.remote.groups import Limits
from generation.remote.openai_http import OpenAiGenerator
from generation.remote.vllm_http import VllmHttpGenerator
from prompts.message import ImageRef, Message
from retrieval.errors import (
    Cancelled,
    DeadlineExceeded,
    GeneratorUnavailable,
    ImagesNotSupported,
    InvalidPrompt,
    Overloaded,
    PromptTooLong,
    RequestError,
)
from tests.misbehaving_server import Handler, good, serving

QUICK = Limits(first_token_s=1.2, next_token_s=1.0, tries=3)
PATIENT_WORDS = "an invented sentence that must not be repeated"


def asked(preset="grounded", *, text=PATIENT_WORDS, tokens=4, **more):
    branches = tuple(
        BranchPrompt(branch=branch, messages=(Message(role="user", content=(f"{text} {branch}",)),))
        for branch in PRESETS[preset].branches
    )
    return GenerationRequest(branches=branches, preset=PRESETS[preset], max_new_tokens=tokens, **more)


def only(member: int, then, else_=None):
    """The member of that number in its group behaves so, the others well."""

    def behave(handler: Handler, body) -> None:
        row = handler.server.seen and next(m for *_, b, m in reversed(handler.server.seen) if b is body).row
        (then if row == member else else_ or good())(handler, body)

    return behave


@pytest.fixture
def client():
    made = []

    def make(*urls, kind=VllmHttpGenerator, limits=QUICK, **more):
        made.append(kind(urls, "tiny", limits=limits, **more))
        return made[-1]

    yield make
    for each in made:
        each.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "prelim-remote"]


def test_a_group_goes_to_one_server_as_one_request_for_each_branch(client):
    with serving(good()) as first, serving(good()) as second:
        heard: list[tuple[int, str]] = []
        requests = [asked(), asked("ccd"), asked("plain")]
        drafts = client(first.url, second.url).generate(requests, {}, lambda *piece: heard.append(piece))
        for draft, request in zip(drafts, requests, strict=True):
            assert draft.token_ids == (1, 2, 3, 4)
            assert (draft.text, draft.finish) == ("a1 a2 a3 a4 ", "length")
            assert draft.prompt_tokens == (7,) * len(request.preset.branches)
        for number, draft in enumerate(drafts):
            assert "".join(text for n, text in heard if n == number) == draft.text
        by_group = {group: server for server in (first, second) for group in server.groups}
        assert len(by_group) == len(first.groups) + len(second.groups) == 3
        assert {server.url for server in by_group.values()} == {first.url, second.url}, "work was not spread"
        for server in (first, second):
            for path, headers, body, member in server.seen:
                assert path == "/v1/chat/completions"
                assert headers["x-prelim-group"] == member.group
                assert body["temperature"] == 0.0
                assert body["max_tokens"] == 4
                assert f"{PATIENT_WORDS} {member.branch}" == body["messages"][0]["content"]
                assert ("stream_interval" in body) == (member.row > 0)


def test_what_nobody_waits_for_goes_behind_and_waits_longer(client):
    patient = Halt()
    patient.awaited = False
    with serving(good()) as server:
        for halt in (None, Halt(), patient):
            client(server.url).generate([asked("ccd")], {}, None, halt)
        assert [body["priority"] for _, _, body, _ in server.seen] == [0, 0, 0, 0, 1, 1]
    with serving(silent) as server:
        began = time.monotonic()
        with pytest.raises(GeneratorUnavailable, match=r"sent nothing for 0\.1 s"):
            client(server.url, limits=Limits(first_token_s=0.1, tries=1)).generate([asked("ccd")], {}, None, Halt())
        with pytest.raises(GeneratorUnavailable, match="sent nothing for 2 s"):
            client(server.url, limits=Limits(first_token_s=0.1, tries=1)).generate([asked("ccd")], {}, None, patient)
        assert time.monotonic() - began >= 2.1


def test_draws_are_the_plugins_and_never_the_servers_own(client):
    with serving(good()) as server:
        client(server.url).generate(
            [asked("ccd", temperature=0.7, seed=11, phrases=(Phrase(label="x", probability=0.9),))], {}
        )
        for _, _, body, member in server.seen:
            assert (body["temperature"], "seed" in body) == (0.0, False)
            assert (member.temperature, member.seed, member.phrases[0].label) == (0.7, 11, "x")


def test_an_image_arrives_to_the_bit_and_once_for_each_branch_that_has_it(client):
    import base64  # noqa: PLC0415
    import io  # noqa: PLC0415

    from PIL import Image  # noqa: PLC0415

    pixels = np.random.default_rng(3).random((57, 113), dtype=np.float32)
    pixels[0, :2] = (-0.5, 1.5)
    request = GenerationRequest(
        branches=(
            BranchPrompt(branch="study", messages=(Message(role="user", content=(ImageRef(name="image-1"), "heart")),)),
            BranchPrompt(branch="anchored", text="finished text"),
        ),
        preset=PRESETS["ccd"],
        max_new_tokens=2,
    )
    with serving(good()) as server:
        client(server.url).generate([request], {"image-1": pixels})
        sent = {member.branch: (path, body) for path, _, body, member in server.seen}
    assert sent["anchored"][0] == "/v1/completions"
    assert sent["anchored"][1]["prompt"] == "finished text"
    image, text = sent["study"][1]["messages"][0]["content"]
    assert text == {"type": "text", "text": "heart"}
    kind, _, data = image["image_url"]["url"].partition(",")
    assert kind == "data:image/png;base64"
    opened = Image.open(io.BytesIO(base64.b64decode(data)))
    assert opened.mode == "RGB"
    np.testing.assert_array_equal(
        np.asarray(opened), np.repeat(np.rint(pixels.clip(0, 1) * 255).astype(np.uint8)[:, :, None], 3, axis=2)
    )


def broken(handler: Handler, _) -> None:
    handler.begin()
    handler.say(handler.piece(1))
    handler.raw(b'data: {"choices": [{"delta": {"con\n\n')


def cut(handler: Handler, _) -> None:
    handler.begin()
    handler.say(handler.piece(1))


def half_a_line(handler: Handler, _) -> None:
    handler.begin()
    handler.say(handler.piece(1))
    handler.raw(b'data: {"choi')


def reset(handler: Handler, _) -> None:
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    handler.connection.close()


def silent(handler: Handler, _) -> None:
    handler.begin()
    time.sleep(5)


def stalled(handler: Handler, _) -> None:
    handler.begin()
    handler.say(handler.piece(1))
    for _ in range(40):
        time.sleep(0.1)
        handler.raw(b": still here\n\n")  # a comment is no token


def endless(handler: Handler, _) -> None:
    handler.begin()
    for token in range(1, 10_000):
        handler.say(handler.piece(token))


def endless_text(handler: Handler, _) -> None:
    handler.begin()
    for _ in range(10_000):
        handler.say({"choices": [{"index": 0, "delta": {"content": "more "}, "finish_reason": None}]})


def flood(handler: Handler, _) -> None:
    handler.begin()
    for _ in range(6):
        handler.raw(b"x" * 2**20)


def a_page(handler: Handler, _) -> None:
    handler.refuse(200, b"<html>a proxy's login page</html>", content_type="text/html")


def said_in_stream(handler: Handler, _) -> None:
    handler.begin()
    handler.say({"error": {"message": PATIENT_WORDS, "type": "InternalServerError", "code": 500}})
    handler.say(b"[DONE]")


NONSENSE = (
    b"[]",
    b"12",
    b'"text"',
    b"{}",
    b"[" * 100_000,
    b'{"choices": 3}',
    b'{"choices": [7]}',
    b'{"choices": [{"token_ids": ["1"]}]}',
)


def nonsense(said: bytes):
    def behave(handler: Handler, _) -> None:
        handler.begin()
        handler.say(said)

    return behave


def ended_before_it_began(handler: Handler, _) -> None:
    handler.begin()
    handler.say(b"[DONE]")


FAULTS = {
    "a group given up before its first token": (ended_before_it_began, "before its first token"),
    "half an event": (broken, "no JSON"),
    "a cut stream": (cut, "broke its answer off"),
    "half a line": (half_a_line, "broke its answer off"),
    "a reset": (reset, "connection to the server was lost"),
    "silence": (silent, "sent nothing for 1"),
    "a stall": (stalled, "sent nothing for 1 s"),
    "more tokens than asked for": (endless, "more tokens than were asked for"),
    "more text than asked for": (endless_text, "more tokens than were asked for"),
    "a line without an end": (flood, "a line of more than"),
    "a page": (a_page, "no stream of events"),
    "an error in the stream": (said_in_stream, "failed while it wrote"),
    "HTTP 500": (lambda h, _: h.refuse(500, PATIENT_WORDS.encode()), "HTTP 500"),
    "HTTP 302": (lambda h, _: h.refuse(302, location="http://elsewhere.invalid/"), "HTTP 302"),
    "HTTP 401": (lambda h, _: h.refuse(401), "does not let us in"),
    "a wrong model": (lambda h, _: h.refuse(404), "does not serve this language model"),
    "given up": (lambda h, _: h.write(2, finish="abort"), "gave the draft up"),
    "an end for no reason": (lambda h, _: h.write(2, finish="tool_calls"), "no known reason"),
    "another draft": (lambda h, _: h.write(3), "wrote different drafts"),
    **{f"nonsense {number}": (nonsense(said), "no draft|broke") for number, said in enumerate(NONSENSE)},
}


@pytest.mark.parametrize("member", [0, 2])
@pytest.mark.parametrize("fault", FAULTS)
def test_what_fails_in_one_member_ends_the_group_with_a_named_error_and_no_second_try(client, fault, member):
    behave, why = FAULTS[fault]
    with serving(only(member, behave)) as server:
        generator = client(server.url)
        begun = time.monotonic()
        with pytest.raises(GeneratorUnavailable, match=why) as caught:
            generator.generate([asked()], {})
        assert time.monotonic() - begun < 4
        assert caught.value.fix or fault == "nonsense"
        assert PATIENT_WORDS not in str(caught.value)
        assert len(server.groups) == 1, "what a server had begun was asked for again"
        server.behaviour = good()
        assert generator.generate([asked()], {})[0].token_ids == (1, 2, 3, 4)


def test_a_draft_may_take_long_as_long_as_it_goes_on(client):
    with serving(good(16, pause=0.15)) as server:
        begun = time.monotonic()
        assert len(client(server.url).generate([asked("ccd", tokens=16)], {})[0].token_ids) == 16
        assert time.monotonic() - begun > QUICK.first_token_s


def test_a_draft_that_the_server_cut_short_for_want_of_room_is_no_draft(client):
    with serving(good(3)) as server, pytest.raises(PromptTooLong, match="3 of 4 tokens were written"):
        client(server.url).generate([asked()], {})


@pytest.mark.parametrize("follower", [0, 1])
def test_of_two_members_that_were_ended_the_one_that_knows_why_is_heard(client, follower):
    def cause(handler: Handler, _) -> None:
        time.sleep(0.05)
        handler.write(1, finish="abort", stop_reason="prelim_group_refused: 3 members need as many places")

    follow = lambda handler, _: handler.write(1, finish="abort", stop_reason="prelim_group_ended")  # noqa: E731
    with serving(only(follower, follow, cause)) as server, pytest.raises(InvalidPrompt, match="3 members need"):
        client(server.url).generate([asked("ccd")], {})


@pytest.mark.parametrize(
    ("status", "said", "error"),
    [
        (400, "This model's maximum context length is 2048 tokens. " + PATIENT_WORDS, PromptTooLong),
        (400, '{"error": {"code": "context_length_exceeded"}}', PromptTooLong),
        (400, "tiny is not a multimodal model", ImagesNotSupported),
        (400, "At most 0 image(s) may be provided", ImagesNotSupported),
        (400, PATIENT_WORDS, InvalidPrompt),
        (422, PATIENT_WORDS, InvalidPrompt),
        (413, "", InvalidPrompt),
    ],
)
def test_what_the_caller_must_change_is_a_request_error_that_repeats_nothing(client, status, said, error):
    with serving(lambda handler, _: handler.refuse(status, said.encode())) as server:
        for _ in range(5):  # and never opens the breaker
            with pytest.raises(error) as caught:
                client(server.url).generate([asked()], {})
            assert type(caught.value) is error
            assert PATIENT_WORDS not in str(caught.value)


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_server_is_asked_again_when_it_says_with_the_whole_group_anew(client, status):
    times: list[float] = []

    def behave(handler: Handler, body) -> None:
        times.append(time.monotonic())
        if len(handler.server.groups) < 3:
            handler.refuse(status, retry_after="0.3")
        else:
            good()(handler, body)

    with serving(behave) as server:
        heard: list[str] = []
        [draft] = client(server.url).generate([asked()], {}, lambda _, text: heard.append(text))
        assert draft.token_ids == (1, 2, 3, 4)
        assert "".join(heard) == draft.text
        assert len(server.groups) == 3
        last = server.groups[-1]
        assert [member.group for *_, member in server.seen].count(last) == 3, "a member was retried alone"
        assert times[-1] - times[0] >= 0.6


def test_one_refused_member_takes_its_waiting_group_along_and_all_come_again(client):
    """As at a server whose last place is taken by half a group: the other half would wait for ever."""
    closed = threading.Event()

    def park(handler: Handler, _) -> None:
        handler.connection.settimeout(5)
        assert handler.connection.recv(1) == b""  # until the client has gone
        closed.set()

    def behave(handler: Handler, body) -> None:
        if len(handler.server.groups) > 1:
            good()(handler, body)
        else:
            only(2, lambda h, _: h.refuse(503, retry_after="0"), park)(handler, body)

    with serving(behave) as server:
        assert client(server.url, limits=Limits(tries=3)).generate([asked()], {})[0].token_ids == (1, 2, 3, 4)
        assert closed.wait(2)
        assert len(server.groups) == 2


def test_a_member_refused_after_the_first_token_is_not_tried_again(client):
    told = threading.Event()

    def behave(handler: Handler, body) -> None:
        def late(late_handler: Handler, _) -> None:
            told.wait(2)
            late_handler.refuse(503)

        only(1, late, lambda h, b: h.write(4, pause=0.2))(handler, body)

    with serving(behave) as server, pytest.raises(GeneratorUnavailable, match="had begun"):
        client(server.url).generate([asked("ccd")], {}, lambda *_: told.set())
    assert len(server.groups) == 1


def test_a_server_that_stays_busy_ends_in_overloaded_with_its_own_word_on_when_to_come_again(client):
    with serving(lambda handler, _: handler.refuse(503, retry_after="0.2")) as server:
        with pytest.raises(Overloaded):
            client(server.url).generate([asked("plain")], {})
        assert len(server.groups) == 3
    with serving(lambda handler, _: handler.refuse(429, retry_after="90")) as server:
        generator = client(server.url)
        with pytest.raises(Overloaded) as caught:
            generator.generate([asked("plain")], {})
        assert 85 < caught.value.retry_after_s <= 90
        assert len(server.groups) == 1, "it was not left alone"


def test_a_server_that_is_down_is_passed_over_and_one_that_comes_back_is_used(client):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(GeneratorUnavailable, match="takes no connection"):
            client(nobody).generate([asked()], {})
        with serving(good()) as server:
            generator = client(nobody, server.url)
            for _ in range(8):
                assert generator.generate([asked()], {})[0].finish == "length"


def test_a_broken_server_is_left_alone_until_it_has_rested(client):
    with serving(lambda handler, _: handler.refuse(500)) as server:
        generator = client(server.url)
        for _ in range(3):
            with pytest.raises(GeneratorUnavailable):
                generator.generate([asked("plain")], {})
        seen = len(server.seen)
        begun = time.monotonic()
        with pytest.raises(GeneratorUnavailable, match=r"none of 1 .*HTTP 500"):
            generator.generate([asked("plain")], {})
        assert time.monotonic() - begun < 0.2
        assert len(server.seen) == seen
        server.behaviour = good()
        time.sleep(1.0)
        assert generator.generate([asked("plain")], {})[0].finish == "length"


@pytest.mark.parametrize("stop", ["cancel", "deadline"])
def test_a_halt_closes_every_connection_at_once(client, stop):
    """The quicker of three, since other work shares the machine; connections that stay open would stay for seconds."""
    passed = []
    for _ in range(3):
        with serving(good(400, pause=0.01)) as server:
            turned = [time.monotonic() + 0.5]
            halt = Halt(None if stop == "cancel" else 0.5)

            def hear(_: int, text: str, turned=turned, halt=halt) -> None:
                if text.startswith("a9 ") and stop == "cancel":
                    turned.append(time.monotonic())
                    halt.cancel()

            drafts = [asked(tokens=400), asked("ccd", tokens=400)]
            with pytest.raises(Cancelled if stop == "cancel" else DeadlineExceeded):
                client(server.url, limits=Limits()).generate(drafts, {}, hear, halt)
            while server.open and time.monotonic() < turned[-1] + 3:
                time.sleep(0.005)
            assert server.open == 0
            assert len(server.hung_up) == 5
            passed.append(time.monotonic() - turned[-1])
    assert min(passed) < 1.0, passed  # .25 on a machine that does nothing else


@pytest.mark.parametrize("due", ["cancelled", "late"])
def test_a_halt_that_is_due_already_is_said_at_once_and_no_server_is_asked(client, due):
    with serving(good(4)) as server:
        generator, halt = client(server.url), Halt(1e-9 if due == "late" else None)
        if due == "cancelled":
            halt.cancel()
        begun = time.monotonic()
        with pytest.raises(Cancelled if due == "cancelled" else DeadlineExceeded):
            generator.generate([asked()], {}, None, halt)
        assert time.monotonic() - begun < 1
        assert not server.seen


def test_a_key_that_no_header_can_carry_is_an_error_and_no_wait():
    with pytest.raises(RequestError, match="no header"):
        VllmHttpGenerator(["http://127.0.0.1:9"], "tiny", key=SecretStr("schl\u00fcssel\u2013"))


@pytest.mark.parametrize("url", ["http://127.0.0.1:abc", "http://127.0.0.1:99999", "http://127.0.0.1:0", "http://[::1"])
def test_an_address_that_is_none_is_refused_before_anything_is_asked(url):
    with pytest.raises(RequestError, match="no http or https URL"):
        VllmHttpGenerator([url], "tiny")


def test_a_listener_that_fails_leaves_nothing_running(client):
    with serving(good(400, pause=0.01)) as server:
        with pytest.raises(ZeroDivisionError):
            client(server.url).generate([asked(tokens=400)], {}, lambda *_: 1 / 0)
        time.sleep(0.2)
        assert server.open == 0


def test_a_slow_listener_holds_no_other_draft_up(client):
    with serving(good(4)) as server, ThreadPoolExecutor(2) as pool:
        generator = client(server.url)
        slow = pool.submit(generator.generate, [asked()], {}, lambda *_: time.sleep(0.3))
        begun = time.monotonic()
        generator.generate([asked()], {})
        assert time.monotonic() - begun < 0.3
        assert slow.result()[0].finish == "length"


def test_more_callers_than_may_wait_are_told_when_to_come_again(client):
    with serving(good(40, pause=0.02)) as server, ThreadPoolExecutor(8) as pool:
        generator = client(server.url, limits=Limits(groups=2, waiting=1))
        calls = []
        for _ in range(5):
            calls.append(pool.submit(generator.generate, [asked("plain", tokens=40)], {}))
            time.sleep(0.05)
        refused = [call for call in calls if isinstance(call.exception(), Overloaded)]
        assert len(refused) == 2
        assert all(call.exception().retry_after_s > 0 for call in refused)
        assert len({member.group for *_, member in server.seen}) == 3


def test_one_call_may_bring_more_drafts_than_there_are_places_and_they_take_turns(client):
    most = [0]

    def behave(handler: Handler, body) -> None:
        most[0] = max(most[0], handler.server.open)
        handler.write(2, pause=0.01)

    with serving(behave) as server:
        drafts = client(server.url, limits=Limits(groups=3, waiting=0)).generate(
            [asked("ccd", tokens=2) for _ in range(20)], {}
        )
        assert [draft.token_ids for draft in drafts] == [(1, 2)] * 20
        assert most[0] <= 6


def test_closing_ends_what_waits_and_what_comes_later(client):
    with serving(good(400, pause=0.01)) as server, ThreadPoolExecutor(1) as pool:
        generator = client(server.url)
        call = pool.submit(generator.generate, [asked(tokens=400)], {})
        while not server.open:
            time.sleep(0.01)
        generator.close()
        generator.close()
        with pytest.raises(Cancelled, match="closed"):
            call.result(2)
        with pytest.raises(Cancelled, match="closed"):
            generator.generate([asked()], {})


def test_a_key_is_sent_and_never_shown(client, caplog):
    key = SecretStr("open-sesame")
    with caplog.at_level(logging.DEBUG), serving(good()) as server:
        for kind in (VllmHttpGenerator, OpenAiGenerator):
            generator = client(server.url, kind=kind, key=key)
            generator.generate([asked("plain")], {})
            assert "sesame" not in repr(generator) + repr(vars(generator))
        assert [headers["authorization"] for _, headers, *_ in server.seen] == ["Bearer open-sesame"] * 2
        server.behaviour = lambda handler, _: handler.refuse(401)
        with pytest.raises(GeneratorUnavailable) as caught:
            generator.generate([asked("plain")], {})
    assert "sesame" not in caplog.text + str(caught.value)
    assert PATIENT_WORDS not in caplog.text


# What is refused before anybody is asked


@pytest.mark.parametrize("kind", [VllmHttpGenerator, OpenAiGenerator])
@pytest.mark.parametrize("mark", ["<|end|>", "<|vision_start|>", "</s>", "<start_of_image>", "[INST]", "<image>"])
def test_the_markup_of_known_models_cannot_come_from_data(client, kind, mark):
    with serving(good()) as server:
        with pytest.raises(InvalidPrompt, match="control token") as caught:
            client(server.url, kind=kind).generate([asked("plain"), asked("plain", text=f"Doe {mark} heart")], {})
        assert "Doe" not in str(caught.value)
        assert not server.seen


@pytest.mark.parametrize("array", [np.zeros((5, 5, 3)), np.zeros((0, 4)), np.full((60, 60), np.nan), None])
def test_an_image_that_is_missing_or_none_is_refused(client, array):
    request = GenerationRequest(
        branches=(BranchPrompt(branch="study", messages=(Message(role="user", content=(ImageRef(name="x"),)),)),),
        preset=PRESETS["plain"],
    )
    with serving(good()) as server:
        with pytest.raises(InvalidPrompt, match=r"not a grey image|not handed in"):
            client(server.url).generate([request], {} if array is None else {"x": array.astype(np.float32)})
        assert not server.seen


def test_finished_text_with_images_is_for_engines_in_this_process(client):
    request = GenerationRequest(
        branches=(BranchPrompt(branch="study", text="<image>", text_images=("x",)),), preset=PRESETS["plain"]
    )
    with serving(good()) as server, pytest.raises(InvalidPrompt, match="finished text with images"):
        client(server.url).generate([request], {"x": np.zeros((3, 3), np.float32)})


# Servers without the plugin


@pytest.mark.parametrize("preset", [name for name in PRESETS if name not in ("plain", "prompt")])
def test_a_server_without_the_plugin_asked_for_more_than_one_branch_says_which_preset_and_what_to_do(client, preset):
    with serving(good()) as server:
        with pytest.raises(RequestError, match=f"preset {preset} mixes") as caught:
            client(server.url, kind=OpenAiGenerator).generate([asked(preset)], {})
        assert "plain or prompt" in caught.value.fix
        assert "vllm-serve" in caught.value.fix
        assert not server.seen


def test_a_bias_or_a_ban_on_repeats_is_said_to_be_impossible_without_the_plugin(client):
    leaning = PRESETS["plain"].model_copy(update={"bias": "phrases", "bias_weight": 0.5})
    without_repeats = PRESETS["plain"].model_copy(update={"no_repeat": 3})
    for preset, what in ((leaning, "leans towards findings"), (without_repeats, "forbids repeats")):
        with serving(good()) as server, pytest.raises(RequestError, match=what):
            client(server.url, kind=OpenAiGenerator).generate(
                [asked("plain").model_copy(update={"preset": preset})], {}
            )


def test_a_server_without_the_plugin_gets_nothing_but_what_openai_defines(client):
    known = {"model", "messages", "max_tokens", "temperature", "seed", "stop", "stream", "stream_options"}
    with serving(good()) as server:
        generator = client(server.url, kind=OpenAiGenerator)
        requests = [asked("plain"), asked("prompt", temperature=0.5, seed=9, stop=("END",))]
        greedy, drawn = generator.generate(requests, {})
        assert (greedy.text, greedy.finish, greedy.token_ids, greedy.prompt_tokens) == (
            "a1 a2 a3 a4 ",
            "length",
            (),
            (7,),
        )
        assert drawn.margins == ()
        bodies = sorted((body for _, _, body, _ in server.seen), key=len)
        assert all(set(body) <= known for body in bodies)
        assert "seed" not in bodies[0]
        assert (bodies[1]["seed"], bodies[1]["temperature"], bodies[1]["stop"]) == (9, 0.5, ["END"])


def test_a_server_that_counts_no_tokens_gives_a_draft_without_counts(client):
    def behave(handler: Handler, _) -> None:
        handler.begin()
        handler.say({"choices": [{"index": 0, "delta": {"role": "assistant", "content": None}, "finish_reason": None}]})
        handler.say({"choices": [{"index": 0, "delta": {"content": "Clear."}, "finish_reason": None}]})
        handler.say({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
        handler.say(b"[DONE]")

    with serving(behave) as server:
        [draft] = client(server.url, kind=OpenAiGenerator).generate([asked("plain")], {})
        assert (draft.text, draft.finish, draft.prompt_tokens) == ("Clear.", "end", ())
        with pytest.raises(GeneratorUnavailable, match="left out the tokens"):
            client(server.url).generate([asked("plain")], {})


@pytest.mark.parametrize("name", ["vllm-http", "openai"])
def test_a_generator_on_servers_is_had_by_name_and_others_take_no_servers(name):
    with serving(good()) as server:
        made = generator_named(name, "tiny", servers=[server.url], key=SecretStr("k"))
        try:
            assert (made.name, made.language_model, made.weights) == (name, "tiny", "")
            assert made.generate([asked("plain")], {})[0].finish == "length"
        finally:
            made.close()
    with pytest.raises(RequestError, match="no server was named"):
        generator_named(name, "tiny")
    with pytest.raises(RequestError, match="asks no server"):
        generator_named("transformers", "tiny", servers=[server.url])
