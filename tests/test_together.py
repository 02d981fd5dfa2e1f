"""Requests of many threads in one call, before the real batched generator."""

import threading
import time

import pytest

from generation.decoding.presets import PRESETS
from generation.halt import Halt
from prompts.message import ImageRef, Message
from retrieval.errors import Cancelled, PromptTooLong
from tests.tiny_models import drawn_request, need_models, pictures, tiny

need_models()

from generation.decoding.batched import BatchedGenerator  # noqa: E402
from generation.together import Together  # noqa: E402


class Counting:
    """The real generator, with how many requests each call had; slow on demand."""

    name = "transformers"

    def __init__(self, inner, seconds=0.0):
        self.inner, self.seconds, self.calls = inner, seconds, []
        self.language_model, self.weights = inner.language_model, inner.weights

    def generate(self, requests, images, on_text=None, halt=None):
        self.calls.append(len(requests))
        time.sleep(self.seconds)
        return self.inner.generate(requests, images, on_text, halt)


@pytest.fixture(scope="module")
def inner():
    return BatchedGenerator(tiny("qwen2_vl"))


def asked(seed):
    """A request whose image has the name that every request gives its own, and is another one."""
    request = drawn_request(seed, sees=True, preset=PRESETS["m3id"], most_words=8, max_new_tokens=8)
    own = f"image-{seed % 4}"
    branches = []
    for prompt in request.branches:
        messages = tuple(
            Message(
                role=m.role,
                content=tuple(ImageRef(name="image-1") if isinstance(p, ImageRef) else p for p in m.content),
            )
            for m in prompt.messages
        )
        branches.append(prompt.model_copy(update={"messages": messages}))
    return request.model_copy(update={"branches": tuple(branches)}), {"image-1": pictures(3)[own]}


def said(draft):
    """All but the margins, whose last digits depend on what else is in a batch."""
    return draft.token_ids, draft.text, draft.finish, draft.prompt_tokens


def run(threads):
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)


def test_drafts_written_together_are_the_ones_written_alone(inner):
    alone = [inner.generate([request], images)[0] for request, images in map(asked, range(12))]
    counting = Counting(inner)
    together, answers, told = Together(counting, most=8, linger_s=0.2), {}, {n: "" for n in range(12)}

    def one(n):
        request, images = asked(n)

        def hear(number, text):
            assert number == 0
            told[n] += text

        answers[n] = together.generate([request], images, hear)[0]

    run([threading.Thread(target=one, args=(n,)) for n in range(12)])
    assert [said(answers[n]) for n in range(12)] == [said(draft) for draft in alone]
    assert [told[n] for n in range(12)] == [draft.text for draft in alone]
    assert max(counting.calls) == 8
    assert sum(counting.calls) == 12


def test_a_faulty_request_spoils_nobody_elses(inner):
    counting = Counting(inner)
    together, answers = Together(counting, most=4, linger_s=0.3), {}

    def one(n):
        request, images = asked(n)
        if n == 2:
            request = request.model_copy(update={"max_new_tokens": 100_000})
        try:
            answers[n] = together.generate([request], images)[0]
        except PromptTooLong as error:
            answers[n] = error

    run([threading.Thread(target=one, args=(n,)) for n in range(4)])
    assert isinstance(answers[2], PromptTooLong)
    for n in (0, 1, 3):
        request, images = asked(n)
        assert said(answers[n]) == said(inner.generate([request], images)[0])


def test_one_that_goes_away_while_waiting_is_not_written(inner):
    counting = Counting(inner, seconds=0.4)
    together, halt, raised = Together(counting, most=1, linger_s=0), Halt(), []

    def first():
        request, images = asked(0)
        together.generate([request], images)

    def second():
        request, images = asked(1)
        try:
            together.generate([request], images, None, halt)
        except Cancelled:
            raised.append(time.monotonic())

    threads = [threading.Thread(target=first), threading.Thread(target=second)]
    threads[0].start()
    while not counting.calls:
        time.sleep(0.005)
    threads[1].start()
    time.sleep(0.05)
    asked_at = time.monotonic()
    halt.cancel()
    for thread in threads:
        thread.join(10)
    assert raised[0] - asked_at < 0.25
    assert counting.calls == [1]


def test_an_unforeseen_error_reaches_everybody_who_waits(inner):
    class Broken(Counting):
        def generate(self, requests, images, on_text=None, halt=None):
            raise ZeroDivisionError

    together, raised = Together(Broken(inner), most=3, linger_s=0.3), []

    def one(n):
        request, images = asked(n)
        try:
            together.generate([request], images)
        except ZeroDivisionError:
            raised.append(n)

    run([threading.Thread(target=one, args=(n,)) for n in range(3)])
    assert sorted(raised) == [0, 1, 2]


def test_a_faulty_request_leaves_the_others_in_batches(inner):
    counting = Counting(inner)
    together, raised = Together(counting, most=8, linger_s=0.5), []

    def one(n):
        request, images = asked(n)
        if n == 2:
            request = request.model_copy(update={"max_new_tokens": 100_000})
        try:
            together.generate([request], images)
        except PromptTooLong:
            raised.append(n)

    run([threading.Thread(target=one, args=(n,)) for n in range(8)])
    assert raised == [2]
    assert sorted(counting.calls) == [1, 1, 2, 2, 4, 4, 8]


def test_a_caller_that_fails_at_what_it_hears_fails_alone(inner):
    together, answers = Together(Counting(inner), most=3, linger_s=0.5), {}

    def one(n):
        request, images = asked(n)

        def hear(_number, _text):
            if n == 1:
                raise ZeroDivisionError

        try:
            answers[n] = together.generate([request], images, hear)[0]
        except ZeroDivisionError as error:
            answers[n] = error

    run([threading.Thread(target=one, args=(n,)) for n in range(3)])
    assert isinstance(answers[1], ZeroDivisionError)
    for n in (0, 2):
        request, images = asked(n)
        assert said(answers[n]) == said(inner.generate([request], images)[0])


def test_what_writes_is_named_as_the_engine_behind(inner):
    together = Together(inner)
    assert (together.name, together.language_model, together.weights) == (
        "transformers",
        inner.language_model,
        inner.weights,
    )
