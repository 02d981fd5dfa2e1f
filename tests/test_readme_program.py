"""The README's examples for programs are run: the Python one as it stands, the gRPC one through reflection."""

import json
import re
import shlex
from collections.abc import Iterator

import grpc
import pytest
from google.protobuf import descriptor_pool, json_format
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from tests.grpc_serving import Both, grpc_served
from tests.http_serving import collection
from tests.test_readme import README

EXAMPLES = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
GRPCURL = re.findall(r"^(grpcurl .*)$", README, re.MULTILINE)


@pytest.fixture(scope="module")
def service() -> Iterator[Both]:
    with grpc_served() as both:
        yield both


@pytest.mark.parametrize("face", ["http", "grpc"])
def test_the_python_example_prints_a_draft(service: Both, capsys: pytest.CaptureFixture[str], face: str) -> None:
    channel, client, _ = service
    (example,) = EXAMPLES
    example = example.replace('"chest.dcm"', repr(str(collection() / "unseen.dcm")))
    address = str(client.base_url).rstrip("/")
    if face == "grpc":  # what the comment in it says
        example = example.replace("service.client.http import HttpClient", "service.client.grpc import GrpcClient")
        example = example.replace("HttpClient(", "GrpcClient(")
        address = channel._channel.target().decode().removeprefix("dns:///")
    example = re.sub(r'"http://127\.0\.0\.1:\d+"', repr(address), example)
    assert address in example
    exec(compile(example, "README.md", "exec"), {})
    assert capsys.readouterr().out.startswith("drafted ")


def test_the_grpcurl_example_is_answered_through_reflection(service: Both) -> None:
    channel = service[0]
    (line,) = GRPCURL
    _, plain, option, data, address, name = shlex.split(line)
    assert (plain, option) == ("-plaintext", "-d")
    assert address in README.split("--grpc ")[1]
    service_name, _, called = name.partition("/")
    # As grpcurl does: nothing is known but what the service says of itself.
    pool = descriptor_pool.DescriptorPool(ProtoReflectionDescriptorDatabase(channel))
    described = pool.FindServiceByName(service_name).FindMethodByName(called)
    request = json_format.Parse(data, GetMessageClass(described.input_type)())
    answered: grpc.UnaryUnaryMultiCallable = channel.unary_unary(f"/{name}")
    answer = GetMessageClass(described.output_type).FromString(answered(request.SerializeToString()))
    told = json.loads(json_format.MessageToJson(answer))
    assert len(told["cases"]) == json.loads(data)["limit"]
    assert told["cases"][0]["caseId"]
