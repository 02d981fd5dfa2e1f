"""Giving up: the switch and the deadline themselves, and both generators, which stop before their next forward pass."""

import copy
import threading
import time
from dataclasses import replace

import pytest

from generation.halt import Halt
from retrieval.errors import Cancelled, DeadlineExceeded, RetryableError
from tests.tiny_models import drawn_request, need_models, pictures, tiny

IMAGES = pictures(seed=5)


# The switch and the deadline


def test_what_is_not_halted_goes_on_for_ever():
    halt = Halt()
    halt.check()
    assert halt.left is None


def test_a_deadline_counts_down_to_nothing_and_is_then_due():
    halt = Halt(0.05)
    halt.check()
    assert 0 < halt.left <= 0.05
    time.sleep(0.06)
    assert halt.left == 0
    with pytest.raises(DeadlineExceeded, match=r"within 0\.05 s") as caught:
        halt.check()
    assert caught.value.fix
    with pytest.raises(DeadlineExceeded):
        Halt(0).check()


def test_a_cancelled_answer_is_cancelled_from_any_thread_for_good_and_before_it_is_late():
    halt = Halt(0)
    for _ in range(2):
        thread = threading.Thread(target=halt.cancel)
        thread.start()
        thread.join()
        with pytest.raises(Cancelled):
            halt.check()
    assert issubclass(Cancelled, RetryableError)
    assert issubclass(DeadlineExceeded, RetryableError)


# The generators


@pytest.fixture(params=["reference", "transformers"])
def generator(request):
    """With a model of its own, whose forward passes are counted and never end a draft by themselves."""
    need_models()
    from generation.decoding.batched import BatchedGenerator  # noqa: PLC0415
    from generation.decoding.reference import ReferenceGenerator  # noqa: PLC0415

    shared = tiny("qwen2_vl")
    model = replace(shared, network=copy.deepcopy(shared.network), end_ids=frozenset())
    made = BatchedGenerator(model) if request.param == "transformers" else ReferenceGenerator(model)
    made.passes = 0

    def count(*_):
        made.passes += 1

    model.network.register_forward_pre_hook(count)
    made.network = model.network
    return made


def requests(max_new_tokens=20):
    return [
        drawn_request(seed, sees=True, preset="grounded", max_new_tokens=max_new_tokens, most_words=8)
        for seed in range(3)
    ]


def test_what_is_cancelled_before_it_begins_runs_no_forward_pass(generator):
    halt = Halt()
    halt.cancel()
    with pytest.raises(Cancelled):
        generator.generate(requests(), IMAGES, lambda *_: pytest.fail("text was written"), halt)
    with pytest.raises(DeadlineExceeded):
        generator.generate(requests(), IMAGES, lambda *_: pytest.fail("text was written"), Halt(0))
    assert generator.passes == 0


def test_a_draft_cancelled_from_another_thread_ends_within_a_token_and_leaves_nothing_behind(generator):
    usual = generator.generate(requests(), IMAGES)
    halt, heard = Halt(), []

    def hear(number, text):
        heard.append((number, text))
        if len(heard) == 7:
            thread = threading.Thread(target=halt.cancel)
            thread.start()
            thread.join()
            generator.passes = 0

    with pytest.raises(Cancelled):
        generator.generate(requests(), IMAGES, hear, halt)
    assert generator.passes == 0
    assert len(heard) <= 9, "drafts of one batch take their token together, and no more come"
    assert generator.generate(requests(), IMAGES) == usual


def test_a_deadline_that_passes_while_a_draft_is_written_ends_it_then(generator):
    usual = generator.generate(requests(4), IMAGES)
    slow = generator.network.register_forward_pre_hook(lambda *_: time.sleep(0.1))
    generator.passes = 0
    began = time.monotonic()
    with pytest.raises(DeadlineExceeded):
        generator.generate(requests(200), IMAGES, None, Halt(1.0))
    # A pass more than fits, and room for a machine with other work.
    assert time.monotonic() - began < 5
    assert 1 <= generator.passes <= 11
    slow.remove()
    assert generator.generate(requests(4), IMAGES) == usual


def test_a_prompt_is_not_read_on_when_the_answer_is_no_longer_wanted():
    """Long prompts are read in parts; a cancelled draft waits for one part at most."""
    need_models()
    from generation.decoding.batched import BatchedGenerator  # noqa: PLC0415

    shared = tiny("qwen2")
    model = replace(shared, network=copy.deepcopy(shared.network))
    halt, passes = Halt(), []
    model.network.register_forward_pre_hook(lambda *_: (passes.append(1), halt.cancel())[0])
    alone = [drawn_request(seed, sees=False, preset="grounded", most_words=8) for seed in range(3)]
    with pytest.raises(Cancelled):
        BatchedGenerator(model, prefill_tokens=1).generate(alone, {}, None, halt)
    assert len(passes) == 1


def test_a_halt_that_is_never_due_changes_nothing(generator):
    assert generator.generate(requests(6), IMAGES, None, Halt(600)) == generator.generate(requests(6), IMAGES)
