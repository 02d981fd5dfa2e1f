"""Health and reflection, whose code is the library's and asks for no key: what they may read of a stranger.

The library reads a message as a whole before anything looks at who sent it, and gRPC has no limit of size per method.
So of a stranger (keys are asked for, and none that is known came) no message is read: reflection is refused, and health
tells of the whole service, whichever part was named. All parts are well or none is.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Final

import grpc
from grpc_status import rpc_status

from service.grpc.call import Context, asker, metadata_of, no_key
from service.grpc.statuses import status_of, told_of
from service.keys import Key
from service.observe.requests import watched

OURS: Final = "/prelim.v1."
"""Methods that look at keys themselves."""


class Strangers(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]  # it is generic in its stubs only
    """Let nothing of the library read what a stranger sends."""

    def __init__(self) -> None:
        self.keys: tuple[Key, ...] | None = ()
        """Who may ask; None for everybody on this machine. To be set before the server starts."""

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:  # noqa: ANN401  one of gRPC's handlers
        """What answers a call: the library, or what does so without reading."""
        found = await continuation(handler_call_details)
        route = str(handler_call_details.method)
        metadata = metadata_of(handler_call_details.invocation_metadata)
        if found is None or route.startswith(OURS) or asker(self.keys, metadata):
            return found
        answers = _refused(route) if found.request_streaming else _unread(found)
        # Whatever it is to a caller: a stream, so that nothing is read before it is answered.
        return grpc.stream_stream_rpc_method_handler(answers, response_serializer=found.response_serializer)


def _unread(found: Any) -> Callable[[object, Any], Awaitable[None]]:  # noqa: ANN401
    """The library's answer to an empty message."""

    async def answered(_: object, context: Any) -> None:  # noqa: ANN401
        empty = found.request_deserializer(b"")
        if found.response_streaming:
            await found.unary_stream(empty, context)
        else:
            await context.write(await found.unary_unary(empty, context))

    return answered


def _refused(route: str) -> Callable[[object, Context], Awaitable[None]]:
    async def answered(_: object, context: Context) -> None:
        with watched("grpc", route) as watch:
            context.set_trailing_metadata((("x-trace-id", watch.trace_id),))
            told = told_of(no_key(), watch.trace_id)
            watch.ended(told.status, told.code)
        await context.abort_with_status(rpc_status.to_status(status_of(told, watch.trace_id)))

    return answered
