"""The gRPC face really served, on loopback, beside HTTP over the same front; and calls as any client makes them."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import grpc
import httpx
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.rpc import error_details_pb2 as details
from grpc_status import rpc_status

from service.front import Front
from service.grpc import prelim_v1_pb2 as v1
from service.grpc.running import GrpcFace
from service.wiring import open_front
from tests.http_serving import collection, serving

MOST = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
Both = tuple[grpc.Channel, httpx.Client, Front]


@contextmanager
def grpc_served(**options: Any) -> Iterator[Both]:
    """A channel and an HTTP client of one service with these options of `open_front`, and what it stands before."""
    folder = collection()
    with (
        closing(GrpcFace("127.0.0.1", 0)) as face,
        open_front(str(folder / "index"), **{"images": folder / "studies", **options}) as front,
        face.serving(front),
        serving(front) as address,
        httpx.Client(base_url=address, timeout=60) as client,
        grpc.insecure_channel(face.address, MOST) as channel,
    ):
        yield channel, client, front


def image(kind: str = "png") -> bytes:
    """The unseen study."""
    return (collection() / f"unseen.{kind}").read_bytes()


def method(channel: grpc.Channel, name: str) -> Any:
    """A method such as `Drafts/Draft`, to be called with its message or messages."""
    service, _, called = name.partition("/")
    described = v1.DESCRIPTOR.services_by_name[service].methods_by_name[called]
    kind = (
        f"{'stream' if described.client_streaming else 'unary'}_{'stream' if described.server_streaming else 'unary'}"
    )
    form: type[Message] = GetMessageClass(described.output_type)
    return getattr(channel, kind)(
        f"/prelim.v1.{name}", request_serializer=lambda m: m.SerializeToString(), response_deserializer=form.FromString
    )


def refusal(error: grpc.RpcError) -> tuple[str, str, dict[str, Any]]:
    """Status, code and details of an error, which must be whole."""
    status = rpc_status.from_call(error)
    assert status is not None, error
    found: dict[str, Any] = {}
    for packed in status.details:
        kind = packed.TypeName().rpartition(".")[2]
        found[kind] = getattr(details, kind).FromString(packed.value)
    info = found["ErrorInfo"]
    assert info.domain == "prelim"
    assert info.metadata["title"]
    assert status.message
    trailing = dict(error.trailing_metadata())  # type: ignore[attr-defined]
    assert found["RequestInfo"].request_id == trailing.get("x-trace-id", found["RequestInfo"].request_id)
    found["detail"] = status.message
    return error.code().name, info.reason, found  # type: ignore[attr-defined]
