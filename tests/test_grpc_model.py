"""A language model behind gRPC: tiny, with random weights, so that what it says is noise; here it is only stopped."""

import threading
import time
from collections.abc import Iterator

import grpc
import pytest

from generation.draft import Draft
from service.grpc import prelim_v1_pb2 as v1
from service.model_options import writer_options
from tests.grpc_serving import Both, grpc_served, image, method, refusal
from tests.test_http_drafts import until
from tests.test_http_model import AT_ONCE, HALTED_S
from tests.tiny_models import need_models, without_end


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    need_models()
    from evaluation.random_models import Size, write_random_model  # noqa: PLC0415
    from service.__main__ import _parser  # noqa: PLC0415

    folder = write_random_model(tmp_path_factory.mktemp("models") / "model", "qwen2_vl", Size(positions=16384))
    without_end(folder)  # so that what is to be stopped is still being written then
    options = _parser().parse_args(["serve", "--language-model", str(folder), "--preset", "plain"])
    with grpc_served(writer=writer_options(options), at_once=AT_ONCE) as both:
        yield both


ENDLESS = {"max_new_tokens": 4096, "temperature": 0.0}


def test_preset_seed_and_length_are_those_of_the_request(service: Both) -> None:
    request = v1.DraftRequest(images=[image()], preset="vcd", seed=7, max_new_tokens=9, temperature=1)
    draft = Draft.model_validate_json(method(service[0], "Drafts/Draft")(request).record_json)
    assert draft.writing is not None
    assert (draft.writing.preset.name, draft.writing.seed, len(draft.writing.token_ids)) == ("vcd", 7, 9)


@pytest.mark.parametrize("name", ["Drafts/Draft", "Drafts/StreamDraft", "Drafts/Bulk"])
@pytest.mark.parametrize("how", ["cancelled", "deadline of the call"])
def test_the_language_model_stops_soon_after_nobody_waits_any_more(service: Both, name: str, how: str) -> None:
    channel, _, front = service
    request = v1.DraftRequest(images=[image()], **ENDLESS)
    gone = threading.Event()
    seconds = 3.0 if how == "deadline of the call" else None
    if name == "Drafts/Draft":
        call = method(channel, name).future(request, timeout=seconds)
    elif name == "Drafts/Bulk":
        call = method(channel, name)(iter([v1.BulkRequest(item="x", request=request)]), timeout=seconds)
    else:
        call = method(channel, name)(request, timeout=seconds)
    call.add_callback(gone.set) if hasattr(call, "add_callback") else call.add_done_callback(lambda _: gone.set())
    urgency = "bulk" if name == "Drafts/Bulk" else "interactive"
    until(lambda: front.room.working(urgency) == 1, 30)
    time.sleep(0.8)  # read, searched, and being written
    assert front.room.working(urgency) == 1
    if how == "cancelled":
        call.cancel()
    assert gone.wait(10)
    took = until(lambda: front.room.working(urgency) == 0, 10)
    assert took < 5 * HALTED_S  # the machine may be busy with other tests


def test_a_deadline_of_the_request_ends_a_draft_that_is_being_written(service: Both) -> None:
    channel, _, front = service
    began = time.monotonic()
    with pytest.raises(grpc.RpcError) as error:
        method(channel, "Drafts/Draft")(v1.DraftRequest(images=[image()], deadline_s=2, **ENDLESS))
    assert refusal(error.value)[:2] == ("DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED")
    assert time.monotonic() - began < 4
    until(lambda: front.room.working("interactive") == 0, 5)
