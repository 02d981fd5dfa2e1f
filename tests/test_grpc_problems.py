"""Refusals over gRPC: rich statuses that say what HTTP says, keys, hostile bytes, reflection, and the document."""

import json
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest
from google.protobuf import descriptor_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

import retrieval.errors
from retrieval.errors import PrelimError
from service.client.grpc import GrpcClient
from service.client.http import HttpClient
from service.faults import meaning_of
from service.grpc import prelim_v1_pb2 as v1
from service.grpc.call import MAX_MESSAGE_BYTES
from service.grpc.running import METHODS
from service.keys import SCOPES, new_key
from tests.grpc_serving import Both, grpc_served, image, method, refusal
from tests.http_hostile import damaged
from tests.test_grpc_drafts import answers
from tests.test_http_problems import CANARY, problem

ROOT = Path(__file__).parent.parent
PROTO = "service/grpc/prelim_v1.proto"
REFLECTION = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
Status = health_pb2.HealthCheckResponse
NAMED_4XX = {
    "INVALID_ARGUMENT", "NOT_FOUND", "RESOURCE_EXHAUSTED", "UNIMPLEMENTED", "OUT_OF_RANGE", "FAILED_PRECONDITION",
}  # fmt: skip


@pytest.fixture(scope="module")
def service() -> Iterator[Both]:
    with grpc_served() as both:
        yield both


def every(kind: type[PrelimError]) -> list[type[PrelimError]]:
    ours = [each for each in kind.__subclasses__() if each.__module__ == retrieval.errors.__name__]
    return [kind, *(below for each in ours for below in every(each))]


def one_of(kind: type[PrelimError]) -> PrelimError:
    more = {"Overloaded": {"retry_after_s": 90.0}, "BrokenLogits": {"groups": ()}}
    return kind("what happened", fix="what to do", **more.get(kind.__name__, {}))


@pytest.mark.parametrize("kind", every(PrelimError), ids=lambda kind: kind.code)
def test_an_error_says_the_same_over_both_faces_and_comes_out_of_both_clients_as_it_went_in(
    service: Both, kind: type[PrelimError], monkeypatch: pytest.MonkeyPatch
) -> None:
    channel, client, front = service

    def raised(*_: object) -> None:
        raise one_of(kind)

    monkeypatch.setattr(type(front.desk.retriever), "case", raised)
    with pytest.raises(grpc.RpcError) as error:
        method(channel, "Cases/GetCase")(v1.GetCaseRequest(case_id="x"))
    status, code, found = refusal(error.value)
    told = client.get("/v1/cases/x").json()
    assert (status, told["status"]) == (meaning_of(one_of(kind)).grpc, meaning_of(one_of(kind)).http)
    info = found["ErrorInfo"].metadata
    assert (code, info["title"], found["detail"], info["fix"]) == (
        told["code"], told["title"], told["detail"], told["fix"],
    )  # fmt: skip
    assert ("RetryInfo" in found) == (code == "OVERLOADED")
    with HttpClient(str(client.base_url)) as over_http, GrpcClient(_address(channel)) as over_grpc:
        for each in (over_http, over_grpc):
            with pytest.raises(PrelimError) as again:
                each.case("x")
            assert (type(again.value), again.value.what, again.value.fix) == (kind, "what happened", "what to do")
            assert "trace id" in again.value.__notes__[0]


def _address(channel: grpc.Channel) -> str:
    return channel._channel.target().decode().removeprefix("dns:///")  # type: ignore[attr-defined]


def test_wrong_fields_are_named_and_their_values_are_not(service: Both) -> None:
    drawn = v1.DraftRequest(images=[image()], view=CANARY, seed=2**63, priors=["x" * 20_001])
    context = b'{"%s": 1}' % CANARY.encode()
    wrong = {
        "Drafts/Draft": (drawn, ["view", "priors.0", "seed"]),
        "Cases/Search": (v1.SearchRequest(sex=CANARY, limit=0, legs=["image", CANARY]), ["legs.1", "sex", "limit"]),
        "Cases/GetImage": (v1.GetImageRequest(case_id="x", bits=9, longest=1), ["longest", "bits"]),
        "Checks/Check": (v1.CheckRequest(report="Clear.", context_json=context), ["context_json.(unknown)"]),
    }
    for name, (request, fields) in wrong.items():
        with pytest.raises(grpc.RpcError) as error:
            method(service[0], name)(request)
        status, code, found = refusal(error.value)
        assert (status, code) == ("INVALID_ARGUMENT", "INVALID_REQUEST")
        assert [each.field for each in found["BadRequest"].field_violations] == fields
        assert CANARY not in str(found)
    with pytest.raises(grpc.RpcError) as error:
        method(service[0], "Cases/Search")(v1.SearchRequest(text="a", legs=["x"] * 5000))
    assert len(refusal(error.value)[2]["BadRequest"].field_violations) == 20


def test_an_error_that_nobody_foresaw_is_told_and_logged_without_its_text(
    service: Both, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    channel, _, front = service

    def broken(*_: object) -> None:
        raise KeyError(CANARY)

    monkeypatch.setattr(type(front.desk.retriever), "case", broken)
    with pytest.raises(grpc.RpcError) as error:
        method(channel, "Cases/GetCase")(v1.GetCaseRequest(case_id="x"))
    status, code, found = refusal(error.value)
    assert (status, code) == ("INTERNAL", "UNFORESEEN")
    assert CANARY not in str(found) + caplog.text
    assert found["RequestInfo"].request_id in caplog.text
    assert "KeyError" in caplog.text


def test_only_a_known_key_with_the_scope_is_let_in_before_a_message_is_read(tmp_path: Path) -> None:
    secrets, entries = {}, []
    for scope in SCOPES:
        secrets[scope], entry = new_key(f"only-{scope}", frozenset([scope]))
        entries.append(entry.model_dump(mode="json"))
    (tmp_path / "keys.json").write_text(json.dumps(entries))
    with grpc_served(keys=tmp_path / "keys.json") as (channel, client, _):
        for name, (scope, _) in METHODS.items():
            # What no message could be shows that the key is looked at first.
            call = channel.stream_stream(f"/prelim.v1.{name}")
            if scope is None:
                method(channel, name)(v1.GetCapabilitiesRequest())
                continue
            for value in (None, "Bearer prelim_x", f"Basic {secrets[scope]}", f"Bearer {secrets[scope]}x", "Bearer"):
                metadata = [("authorization", value)] if value else []
                assert refused(call, metadata) == ("UNAUTHENTICATED", "UNAUTHENTICATED")
            for other in SCOPES:
                told = refused(call, [("authorization", f"Bearer {secrets[other]}")])
                expected = ("INVALID_ARGUMENT", "MALFORMED") if other == scope else ("PERMISSION_DENIED", "FORBIDDEN")
                assert told == expected, (name, other)
        problem(client.get("/v1/cases/x"), 401, "UNAUTHENTICATED")
        health = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
        assert health.status == health_pb2.HealthCheckResponse.SERVING


def test_of_a_stranger_no_message_is_read_where_no_key_is_needed_either(tmp_path: Path) -> None:
    secret, entry = new_key("known", frozenset(["check"]))
    (tmp_path / "keys.json").write_text(json.dumps([entry.model_dump(mode="json")]))
    answered = threading.Event()

    def never() -> Iterator[bytes]:
        answered.wait(20)
        yield from ()

    with grpc_served(keys=tmp_path / "keys.json") as (channel, _, _):
        try:
            for name in ("Check", "Watch"):
                told = channel.stream_stream(f"/grpc.health.v1.Health/{name}")(never(), timeout=10)
                assert health_pb2.HealthCheckResponse.FromString(next(told)).status == Status.SERVING
                told.cancel()
            told = channel.stream_stream("/prelim.v1.About/GetCapabilities")(never(), timeout=10)
            assert v1.Capabilities.FromString(next(told)).cases
            told = channel.stream_stream(REFLECTION)(never(), timeout=10)
            with pytest.raises(grpc.RpcError) as error:
                next(told)
            assert refusal(error.value)[:2] == ("UNAUTHENTICATED", "UNAUTHENTICATED")
        finally:
            answered.set()
        # Who has a key is read: parts are looked for by name, and the services are listed.
        known, asked = [("authorization", f"Bearer {secret}")], health_pb2.HealthCheckRequest(service="nobody")
        with pytest.raises(grpc.RpcError) as error:
            health_pb2_grpc.HealthStub(channel).Check(asked, metadata=known)
        assert error.value.code() == grpc.StatusCode.NOT_FOUND
        listed = reflection_pb2.ServerReflectionRequest(list_services="").SerializeToString()
        assert b"prelim.v1.Drafts" in next(channel.stream_stream(REFLECTION)(iter([listed]), metadata=known))


def refused(call: grpc.StreamStreamMultiCallable, metadata: list[tuple[str, str]]) -> tuple[str, str]:
    with pytest.raises(grpc.RpcError) as error:
        list(call(iter([b"\xff\xff\xff"]), metadata=metadata))
    return refusal(error.value)[:2]


def hostile(number: int) -> tuple[str, list[bytes]]:
    """A method and what is sent to it; the same number is the same."""
    rng = np.random.default_rng(number)
    names = [*METHODS]
    name = names[int(rng.integers(len(names)))]
    match number % 5:
        case 0:  # bytes
            return name, [rng.bytes(int(rng.integers(0, 400)))]
        case 1:  # every field number with every wire type
            key = int(rng.integers(1, 16)) << 3 | int(rng.integers(0, 8))
            return name, [bytes([key]) + rng.bytes(int(rng.integers(0, 40)))]
        case 2:  # a good message, flipped and cut
            data = bytearray(
                v1.DraftRequest(images=[damaged(rng)[:5000]], indication="x" * 50, seed=5).SerializeToString()
            )
            for _ in range(int(rng.integers(1, 6))):
                data[int(rng.integers(len(data)))] = int(rng.integers(256))
            return "Drafts/Draft", [bytes(data[: int(rng.integers(len(data)))])]
        case 3:  # damaged images
            return ("Drafts/Draft", "Cases/Search", "Drafts/StreamDraft")[int(rng.integers(3))], [
                v1.DraftRequest(images=[damaged(rng) for _ in range(int(rng.integers(1, 3)))]).SerializeToString()
            ]
        case _:  # none, several, nested and long
            deep = b"\x12\x7f" * 200
            return name, [[], [b"", b""], [deep], [b"\x0a" + b"\xff" * 9 + b"\x01"], [b"\x0a\x00" * 5000]][
                int(rng.integers(5))
            ]


def test_hostile_bytes_get_a_named_status_in_time_and_harm_nobody(service: Both) -> None:
    channel, _, _ = service
    statuses: dict[str, int] = {}
    for number in range(400):
        name, messages = hostile(number)
        began = time.monotonic()
        try:
            list(channel.stream_stream(f"/prelim.v1.{name}")(iter(messages), timeout=20))
            status = "OK"
        except grpc.RpcError as error:
            status, code, _ = refusal(error)
            assert status in NAMED_4XX, (number, name, status, code)
        assert time.monotonic() - began < 5, (number, name)
        statuses[status] = statuses.get(status, 0) + 1
    assert statuses["INVALID_ARGUMENT"] > 200, statuses
    assert method(channel, "Drafts/Draft")(v1.DraftRequest(images=[image()])).status == "drafted"


def test_a_message_that_is_too_large_is_refused_by_what_it_says_of_itself(service: Both) -> None:
    channel, _, _ = service
    with pytest.raises(grpc.RpcError) as error:
        method(channel, "Drafts/Draft")(v1.DraftRequest(images=[bytes(MAX_MESSAGE_BYTES)]), timeout=60)
    assert error.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    with pytest.raises(grpc.RpcError) as error:
        method(channel, "Checks/Check")(v1.CheckRequest(report="x" * (5 * 2**20)))
    assert refusal(error.value)[:2] == ("INVALID_ARGUMENT", "IMAGE_TOO_LARGE")
    with pytest.raises(grpc.RpcError) as error:
        method(channel, "Drafts/Draft")(v1.DraftRequest(images=[b"x"] * 65))
    assert refusal(error.value)[:2] == ("INVALID_ARGUMENT", "INVALID_STUDY")


def test_nothing_that_was_sent_is_in_an_error_or_a_log(
    service: Both, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    channel, _, _ = service
    caplog.set_level(logging.DEBUG)
    metadata = [("authorization", f"Bearer {CANARY}"), ("x-canary", CANARY), ("traceparent", CANARY)]
    asked = {"indication": CANARY, "priors": [CANARY], "patient_key": CANARY}
    calls = [
        ("Drafts/Draft", v1.DraftRequest(images=[CANARY.encode()], **asked)),
        ("Drafts/Draft", v1.DraftRequest(images=[image()], view=CANARY, preset=CANARY, written_by=CANARY)),
        ("Drafts/Draft", v1.DraftRequest(images=[image()], **asked)),
        ("Drafts/StreamDraft", v1.DraftRequest(images=[image()[:-100] + CANARY.encode()], **asked)),
        ("Cases/GetCase", v1.GetCaseRequest(case_id=CANARY)),
        ("Cases/GetImage", v1.GetImageRequest(case_id=CANARY)),
        ("Cases/Search", v1.SearchRequest(text=CANARY, like=CANARY)),
        ("Cases/Search", v1.SearchRequest(findings=[CANARY])),
        ("Cases/Search", v1.SearchRequest(text="effusion", anatomy=CANARY)),
        ("Cases/Search", v1.SearchRequest(text="effusion", age_bands=[CANARY])),
        ("Checks/Check", v1.CheckRequest(report="Clear.", context_json=b'{"devices": ["%s"]}' % CANARY.encode())),
    ]
    for name, request in calls:
        told = ""
        try:
            list(answers(method(channel, name)(request, metadata=metadata)))
        except grpc.RpcError as error:
            told = str(refusal(error))
        assert CANARY.lower() not in told.lower(), name
    replies = list(method(channel, "Drafts/Bulk")(iter([v1.BulkRequest(item=CANARY, request=calls[1][1])])))
    assert replies[0].item == CANARY  # the caller's own name, in the caller's own reply
    assert CANARY.lower() not in str(replies[0].fault).lower()
    channel.unary_unary(f"/{CANARY}/{CANARY}").future(b"").exception()
    logged = [
        r.getMessage() + str(r.exc_info) for r in caplog.records if r.name.split(".")[0] not in ("httpx", "httpcore")
    ]
    assert CANARY.lower() not in "\n".join(logged).lower()
    assert CANARY.lower() not in "".join(capfd.readouterr()).lower()


def test_reflection_lists_every_service_and_health_says_serving(service: Both) -> None:
    channel, _, _ = service
    described = ProtoReflectionDescriptorDatabase(channel)
    ours = {f"prelim.v1.{name}" for name in v1.DESCRIPTOR.services_by_name}
    assert {*described.get_services()} == {*ours, "grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"}
    file = described.FindFileContainingSymbol("prelim.v1.Drafts")
    assert file.SerializeToString() == v1.DESCRIPTOR.serialized_pb
    stub = health_pb2_grpc.HealthStub(channel)
    for name in ("", *ours):
        told = stub.Check(health_pb2.HealthCheckRequest(service=name))
        assert told.status == health_pb2.HealthCheckResponse.SERVING
    with pytest.raises(grpc.RpcError) as error:
        stub.Check(health_pb2.HealthCheckRequest(service=CANARY))
    assert error.value.code() == grpc.StatusCode.NOT_FOUND


def test_every_method_of_the_document_is_answered_and_no_other() -> None:
    named = {f"{s.name}/{m.name}" for s in v1.DESCRIPTOR.services_by_name.values() for m in s.methods}
    assert {*METHODS} == named


def test_the_committed_messages_are_those_of_the_document(tmp_path: Path) -> None:
    outputs = [f"--pyi_out={tmp_path}", f"--descriptor_set_out={tmp_path}/set"]
    subprocess.run([sys.executable, "-m", "grpc_tools.protoc", "-I.", *outputs, PROTO], cwd=ROOT, check=True)
    (file,) = descriptor_pb2.FileDescriptorSet.FromString((tmp_path / "set").read_bytes()).file
    committed = descriptor_pb2.FileDescriptorProto.FromString(v1.DESCRIPTOR.serialized_pb)
    file.ClearField("source_code_info")
    for field in (f for m in file.message_type for f in (*m.field, *(n for o in m.nested_type for n in o.field))):
        field.ClearField("json_name")
    assert file == committed, "make proto"
    pyi = "service/grpc/prelim_v1_pb2.pyi"
    assert (tmp_path / pyi).read_text() == (ROOT / pyi).read_text(), "make proto"
