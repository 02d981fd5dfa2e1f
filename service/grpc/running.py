"""The gRPC face as a running server, beside HTTP: a loop in a thread of its own.

The address is taken first, so that one that is not free is told at once; who asks before the front is open waits. At
the end health says NOT_SERVING, what is new is refused, and what was begun may end.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Coroutine, Iterator
from contextlib import aclosing, contextmanager
from threading import Thread
from typing import Any, Final, TypeVar

import grpc
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from retrieval.errors import RequestError, RetryableError
from service.front import Front
from service.grpc import cases, drafts
from service.grpc import prelim_v1_pb2 as v1
from service.grpc.call import MAX_MESSAGE_BYTES, Answer, Call, handler
from service.grpc.strangers import Strangers
from service.keys import Scope

T = TypeVar("T")
PACKAGE: Final = "prelim.v1"
METHODS: Final[dict[str, tuple[Scope | None, Answer]]] = {
    "Drafts/Draft": ("draft", drafts.draft),
    "Drafts/StreamDraft": ("draft", drafts.stream_draft),
    "Drafts/Bulk": ("draft", drafts.bulk),
    "Cases/Search": ("search", cases.search),
    "Cases/GetCase": ("cases", cases.get_case),
    "Cases/GetImage": ("cases", cases.get_image),
    "Checks/Check": ("check", cases.check),
    "About/GetCapabilities": (None, cases.capabilities),
}
"""What answers each method of the protocol, and what its key must be for."""
_OPTIONS: Final = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", -1),
    ("grpc.so_reuseport", 0),  # two services at one port would share its callers
)
_GRACE_S: Final = 30.0
"""How long what was begun may take at the end, as over HTTP."""
_LAST_WORDS_S: Final = 0.5
"""How long the statuses of calls that have ended may take to leave; who watches health never ends by itself."""


class GrpcFace:
    """A server at its address; `serving` begins to answer, `close` ends it."""

    def __init__(self, host: str, port: int) -> None:
        """Take the address; raises RequestError where that cannot be done."""
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, name="prelim-grpc", daemon=True)
        self._thread.start()
        self._leaving = False
        self._calls = 0
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        try:
            self.port = self._run(self._bound(address))
        except RuntimeError:
            self.close()
            raise RequestError(
                f"cannot listen to {host} at port {port} for gRPC", fix="choose another address for --grpc"
            ) from None
        self.address = address.rpartition(":")[0] + f":{self.port}"
        """Where it is, with the port that was free where 0 was asked for."""

    @contextmanager
    def serving(self, front: Front) -> Iterator[None]:
        """Answer from an open front, until the block ends and what was begun has ended."""
        self._run(self._started(front))
        try:
            yield
        finally:
            self.leave()
            until = time.monotonic() + _GRACE_S
            while self._calls and time.monotonic() < until:
                time.sleep(0.02)

    def leave(self) -> None:
        """Say that the end has begun, and take nothing new; may be called in a signal handler, and twice."""
        self._leaving = True
        if self._loop.is_running():
            asyncio.run_coroutine_threadsafe(self._health.enter_graceful_shutdown(), self._loop)

    def close(self) -> None:
        """End what is left; may be called twice."""
        if self._loop.is_closed():
            return
        self._run(self._server.stop(_LAST_WORDS_S))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _bound(self, address: str) -> int:
        self._strangers = Strangers()
        self._server = grpc.aio.server(interceptors=[self._strangers], options=_OPTIONS)
        self._health = health.aio.HealthServicer()  # type: ignore[attr-defined]
        return self._server.add_insecure_port(address)

    async def _started(self, front: Front) -> None:
        self._strangers.keys = front.keys
        services = v1.DESCRIPTOR.services_by_name
        names = [f"{PACKAGE}.{name}" for name in services]
        for service in services.values():
            methods = {}
            for method in service.methods:
                scope, answer = METHODS[f"{service.name}/{method.name}"]
                form: type[Message] = GetMessageClass(method.input_type)
                answers = handler(front, f"/{service.full_name}/{method.name}", form, scope, self._counted(answer))
                # Whatever it is to a caller: a stream of bytes, so that nothing is read before the key.
                methods[method.name] = grpc.stream_stream_rpc_method_handler(answers)
            self._server.add_generic_rpc_handlers((
                grpc.method_handlers_generic_handler(service.full_name, methods),
            ))  # fmt: skip
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        for name in names:
            await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)
        reflection.enable_server_reflection([*names, health.SERVICE_NAME, reflection.SERVICE_NAME], self._server)
        await self._server.start()

    def _counted(self, answer: Answer) -> Answer:
        """The same while the service is not ending, counted, so that its end can wait for it."""

        async def counted(call: Call[Any]) -> AsyncGenerator[Message, None]:
            if self._leaving:
                raise RetryableError("the service is shutting down", fix="try again when it is back")
            self._calls += 1
            try:
                async with aclosing(answer(call)) as messages:
                    async for message in messages:
                        yield message
            finally:
                self._calls -= 1

        return counted
