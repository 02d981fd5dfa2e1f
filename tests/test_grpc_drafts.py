"""Drafts over gRPC, really served: typed fields, deadlines, cancelling, and many studies at once."""

import logging
import random
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import grpc
import pytest

from generation.draft import Draft, DraftEvent
from service import temporary
from service.grpc import prelim_v1_pb2 as v1
from service.grpc.drafts import AHEAD
from service.grpc.running import GrpcFace
from service.question import SearchRequest
from service.request import DraftRequest
from tests.dicom_files import dataset, ramp, save
from tests.grpc_serving import MOST, Both, grpc_served, image, method, refusal
from tests.test_http_drafts import until


@pytest.fixture(scope="module", autouse=True)
def _uploads_of_these_tests_alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(tmp_path_factory.mktemp("uploads")))
        temporary._own.cache_clear()  # an earlier test's may be elsewhere, where nobody would look
        yield


@pytest.fixture(scope="module")
def service() -> Iterator[Both]:
    with grpc_served() as both:
        yield both


def left_behind() -> list[Path]:
    return [*Path(tempfile.gettempdir()).glob("prelim-uploads-*/*")]


def held(front: object) -> threading.Event:
    """Every place of the room taken, until the event is set."""
    free = threading.Event()
    for _ in range(4):
        front.room.submit(lambda: free.wait(20))  # type: ignore[attr-defined]
    return free


def test_everything_that_may_be_asked_over_http_may_be_asked_here() -> None:
    assert {*v1.DraftRequest.DESCRIPTOR.fields_by_name} == {"images", *DraftRequest.model_fields}
    assert {*v1.SearchRequest.DESCRIPTOR.fields_by_name} == {"images", "view", *SearchRequest.model_fields}


def test_typed_fields_say_what_the_record_says(service: Both) -> None:
    told = method(service[0], "Drafts/Draft")(v1.DraftRequest(images=[image()], view="PA"))
    draft = Draft.model_validate_json(told.record_json)
    assert (told.status, told.drafter, told.snapshot) == ("drafted", draft.drafter, draft.evidence.index_snapshot)
    assert [*told.warnings] == [*draft.warnings]
    assert [each.case_id for each in told.similar_cases] == [each.case.case_id for each in draft.evidence.cases]
    assert told.similar_cases[0].report == draft.evidence.cases[0].case.report.text
    for sentence, record in zip(told.sentences, draft.sentences, strict=True):
        assert (sentence.text, sentence.section, sentence.topic) == (record.text, record.section, record.topic)
        assert sentence.abnormal == record.abnormal
        assert (*sentence.support.case_ids,) == record.support.case_ids
        assert sentence.support.of == record.support.of
        assert [(flag.code, flag.severity) for flag in sentence.flags] == [(f.code, f.severity) for f in record.flags]


def test_events_tell_each_sentence_and_end_with_the_draft(service: Both) -> None:
    *told, last = method(service[0], "Drafts/StreamDraft")(v1.DraftRequest(images=[image()], view="PA"))
    draft = Draft.model_validate_json(last.draft.record_json)
    assert [each.WhichOneof("event") for each in told] == ["sentence"] * len(draft.sentences)
    assert [each.sentence.sentence.text for each in told] == [each.text for each in draft.sentences]
    records = [DraftEvent.model_validate_json(each.sentence.record_json) for each in told]
    assert tuple(each.sentence for each in records) == draft.sentences


def test_out_of_scope_is_an_answer(service: Both, tmp_path: Path) -> None:
    hand = save(tmp_path / "hand.dcm", dataset(ramp(12, 64, 64), 12, BodyPartExamined="HAND"))
    told = method(service[0], "Drafts/Draft")(v1.DraftRequest(images=[hand.read_bytes()]))
    assert (told.status, told.reason) == ("abstained", "OUT_OF_SCOPE_BODY_PART")
    assert told.explanation


@pytest.mark.parametrize("name", ["Drafts/Draft", "Drafts/StreamDraft"])
def test_whoever_waits_behind_others_is_told_at_the_deadline_of_the_request_or_the_call(
    service: Both, name: str
) -> None:
    channel, _, front = service
    free = held(front)
    try:
        for named, seconds in ((0.3, 20.0), (None, 0.3)):
            request = v1.DraftRequest(images=[image()], deadline_s=named)
            began = time.monotonic()
            with pytest.raises(grpc.RpcError) as raised:
                list(answers(method(channel, name)(request, timeout=seconds)))
            assert raised.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
            assert time.monotonic() - began < 5
            if seconds > 1:  # else the client gives up by itself, and nobody is there to be told more
                assert refusal(raised.value)[:2] == ("DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED")
            assert until(lambda: not left_behind()) < 2
        assert front.room.working("interactive") == 4
    finally:
        free.set()
    until(lambda: front.room.working("interactive") == 0)


def test_who_names_a_deadline_gets_that_time_and_who_names_none_the_service_s_own(service: Both) -> None:
    front = replace(service[2], deadline_s=0.2)
    with (
        closing(GrpcFace("127.0.0.1", 0)) as face,
        face.serving(front),
        grpc.insecure_channel(face.address, MOST) as channel,
    ):
        free = held(front)
        try:
            ask = method(channel, "Drafts/Draft")
            named = [ask.future(v1.DraftRequest(images=[image()]), timeout=20)]
            named += [ask.future(v1.DraftRequest(images=[image()], deadline_s=each)) for each in (20, 3600)]
            with pytest.raises(grpc.RpcError) as raised:
                ask(v1.DraftRequest(images=[image()]))
            assert refusal(raised.value)[1] == "DEADLINE_EXCEEDED"
        finally:
            free.set()
        assert [each.result().status for each in named] == ["drafted"] * 3


def answers(told: object) -> Iterator[object]:
    """One message or many."""
    if isinstance(told, Iterator):
        yield from told
    else:
        yield told


@pytest.mark.parametrize("name", ["Drafts/Draft", "Drafts/StreamDraft", "Drafts/Bulk"])
def test_who_cancels_while_waiting_gives_up_the_place_and_leaves_no_file(service: Both, name: str) -> None:
    channel, _, front = service
    urgency = "bulk" if name == "Drafts/Bulk" else "interactive"
    free = held(front)
    try:
        request = v1.DraftRequest(images=[image()])
        if name == "Drafts/Draft":
            call = method(channel, name).future(request)
        elif name == "Drafts/Bulk":
            call = method(channel, name)(iter([v1.BulkRequest(item=str(n), request=request) for n in range(20)]))
        else:
            call = method(channel, name)(request)
        until(lambda: front.room.waiting(urgency) > 0)
        call.cancel()
        assert until(lambda: not left_behind()) < 2
    finally:
        free.set()
    until(lambda: front.room.working("interactive") == 0)
    assert front.room.working("bulk") == 0


def test_callers_who_leave_at_any_moment_leave_nothing_behind_and_are_no_fault_of_ours(
    service: Both, caplog: pytest.LogCaptureFixture
) -> None:
    channel, _, front = service
    moments, request = random.Random(7), v1.DraftRequest(images=[image("dcm")])

    def leave(number: int) -> None:
        match number % 3:
            case 0:
                call = method(channel, "Drafts/Draft").future(request)
            case 1:
                call = method(channel, "Drafts/StreamDraft")(request)
            case _:
                items = [v1.BulkRequest(item=str(n), request=request) for n in range(5)]
                call = method(channel, "Drafts/Bulk")(iter(items))
        time.sleep(moments.choice([0, 0.001, 0.01, 0.05, 0.1, 0.3, 0.6]))
        if number % 3 and number % 2:  # and some when there is something to hear
            next(call)
        call.cancel()

    threads = [threading.Thread(target=leave, args=(number,)) for number in range(120)]
    for thread in threads:
        thread.start()
        time.sleep(0.01)
    for thread in threads:
        thread.join()
    until(lambda: not front.room.working("interactive") and not front.room.working("bulk"), 10)
    until(lambda: not left_behind())
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert method(channel, "Drafts/Draft")(request).status == "drafted"


def test_too_many_are_told_when_to_come_again_but_a_bulk_stream_is_only_slowed_down() -> None:
    with grpc_served(at_once=1, waiting=1) as (channel, _, front):
        free = threading.Event()
        front.room.submit(lambda: free.wait(20))
        until(lambda: front.room.working("interactive") == 1)
        front.room.submit(lambda: None)
        for _ in range(8):  # nor may more of bulk wait
            front.room.submit(lambda: None, "bulk")
        assert front.room.full("bulk")
        for name in ("Drafts/Draft", "Drafts/StreamDraft"):
            with pytest.raises(grpc.RpcError) as raised:
                list(answers(method(channel, name)(v1.DraftRequest(images=[image()]))))
            status, code, found = refusal(raised.value)
            assert (status, code) == ("RESOURCE_EXHAUSTED", "OVERLOADED")
            assert found["RetryInfo"].retry_delay.seconds >= 1
        requests = [v1.BulkRequest(item=str(n), request=v1.DraftRequest(images=[image()])) for n in range(30)]
        replies = method(channel, "Drafts/Bulk")(iter(requests))
        time.sleep(0.3)
        free.set()
        outcomes = {reply.item: reply.WhichOneof("outcome") for reply in replies}
        assert outcomes == {str(n): "draft" for n in range(30)}
        assert not left_behind()


def test_no_more_of_a_bulk_stream_is_read_than_has_been_answered_and_a_few(service: Both) -> None:
    channel, _, front = service
    sent = 0

    def requests() -> Iterator[v1.BulkRequest]:
        nonlocal sent
        for n in range(200):
            sent += 1
            # A megabyte each, so that what is on its way does not hide what was read.
            yield v1.BulkRequest(item=str(n), request=v1.DraftRequest(images=[image() + bytes(2**20)]))

    free = held(front)
    try:
        replies = method(channel, "Drafts/Bulk")(requests())
        until(lambda: len(left_behind()) == AHEAD, 10)
        time.sleep(0.5)
        assert len(left_behind()) == AHEAD
        assert sent <= 2 * AHEAD
        replies.cancel()
    finally:
        free.set()
    until(lambda: not left_behind())


def test_each_study_of_a_bulk_stream_has_its_own_fault(service: Both) -> None:
    good = v1.DraftRequest(images=[image()])
    requests = {
        "good": good,
        "no image": v1.DraftRequest(),
        "text": v1.DraftRequest(images=[b"text"]),
        "archive": v1.DraftRequest(images=[b"PK\x03\x04 and so on"]),
        "seed": v1.DraftRequest(images=[image()], seed=2**63),
        "model": v1.DraftRequest(images=[image()], written_by="language_model"),
        "late": v1.DraftRequest(images=[image()], deadline_s=1e-9),
        "": good,
        "n" * 501: good,
        "good again": good,
    }
    replies = method(service[0], "Drafts/Bulk")(
        iter([v1.BulkRequest(item=item, request=request) for item, request in requests.items()])
    )
    found = {reply.item: reply for reply in replies}
    assert {item: reply.fault.code for item, reply in found.items()} == {
        "good": "", "good again": "", "no image": "INVALID_STUDY", "text": "UNREADABLE_IMAGE",
        "archive": "UNSUPPORTED_IMAGE", "seed": "INVALID_REQUEST", "model": "REQUEST", "late": "DEADLINE_EXCEEDED",
        "": "INVALID_REQUEST", "n" * 500: "INVALID_REQUEST",
    }  # fmt: skip
    assert found["good"].draft == found["good again"].draft
    assert [each.field for each in found["seed"].fault.fields] == ["seed"]
    for reply in found.values():
        if reply.HasField("fault"):
            assert reply.fault.title
            assert reply.fault.detail
            assert len(reply.fault.trace_id) == 32
