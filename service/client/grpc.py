"""A typed client of the gRPC face: records in, records out, errors as the service raised them.

    with GrpcClient("127.0.0.1:8471") as prelim:
        draft = prelim.draft([Path("chest.dcm")], DraftRequest(indication="Effusion?"))

The calls are those of `service.client.http`; in place of jobs there is `bulk`, one connection for many studies. May be
used from several threads.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from types import TracebackType
from typing import Final, Self, TypeVar

import grpc
from google.protobuf.message import Message
from google.rpc import error_details_pb2 as details
from grpc_status import rpc_status

from generation.draft import Draft, DraftEvent
from retrieval.checks.remark import Checked
from retrieval.errors import (
    Cancelled,
    DeadlineExceeded,
    Forbidden,
    ImageTooLarge,
    OperatorError,
    PrelimError,
    RequestError,
    RetryableError,
    Unauthenticated,
)
from retrieval.records import Case, SimilarCases, ViewPosition
from service.capabilities import Capabilities
from service.client.asking import TIMEOUT_S, Images, content, patiently, raised_there, read, waited_s
from service.grpc import prelim_v1_pb2 as v1
from service.images import ImageView
from service.question import SearchRequest
from service.request import CheckRequest, DraftRequest

AnyMessage = TypeVar("AnyMessage", bound=Message)
_BY_STATUS: Final[dict[str, type[PrelimError]]] = {
    "CANCELLED": Cancelled, "DEADLINE_EXCEEDED": DeadlineExceeded, "UNAVAILABLE": RetryableError,
    "UNAUTHENTICATED": Unauthenticated, "PERMISSION_DENIED": Forbidden, "INVALID_ARGUMENT": RequestError,
    "NOT_FOUND": RequestError, "UNIMPLEMENTED": RequestError, "RESOURCE_EXHAUSTED": ImageTooLarge,
}  # fmt: skip
"""What a status means that carries no code of ours; gRPC itself refuses a message that is too large."""
_UNBOUNDED: Final = (("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1))


@dataclass(frozen=True)
class BulkItem:
    """One study of many."""

    item: str
    """The caller's own name of it."""
    images: Images
    """Its images; files are read when their turn comes."""
    asked: DraftRequest = DraftRequest()  # noqa: RUF009  it never changes
    """What else is asked."""


@dataclass(frozen=True)
class BulkAnswer:
    """What came of one study of many."""

    item: str
    """The caller's own name of it."""
    outcome: Draft | PrelimError
    """Its draft, or what is at fault with it."""


class GrpcClient:
    """Calls of one service over gRPC."""

    def __init__(
        self, address: str, *, key: str | None = None, credentials: grpc.ChannelCredentials | None = None
    ) -> None:
        """`address` as `127.0.0.1:8471`; `credentials` where something before the service speaks TLS."""
        if credentials is None:
            self._channel = grpc.insecure_channel(address, _UNBOUNDED)
        else:
            self._channel = grpc.secure_channel(address, credentials, _UNBOUNDED)
        self._metadata = (("authorization", f"Bearer {key}"),) if key else ()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close its connection; what is under way is cancelled."""
        self._channel.close()

    def draft(self, images: Images, asked: DraftRequest = DraftRequest()) -> Draft:  # noqa: B008  it never changes
        """Draft one study."""
        answer = self._one("Drafts/Draft", v1.Draft, _draft_request(images, asked), waited_s(asked.deadline_s))
        return read(Draft, answer.record_json)

    def stream(
        self,
        images: Images,
        asked: DraftRequest = DraftRequest(),  # noqa: B008
    ) -> Iterator[DraftEvent | Draft]:
        """Each sentence as it is checked; the last is the draft. Whoever closes the iterator cancels the draft."""
        request, seconds = _draft_request(images, asked), waited_s(asked.deadline_s)

        def begun() -> tuple[v1.DraftEvent, Iterator[v1.DraftEvent]]:
            events = self._many("Drafts/StreamDraft", v1.DraftEvent, iter([request]), seconds)
            return next(events), events

        first, others = patiently(begun)
        for event in chain([first], others):
            match event.WhichOneof("event"):
                case "draft":
                    yield read(Draft, event.draft.record_json)
                case _:
                    told = event.sentence if event.HasField("sentence") else event.withdrawn
                    yield read(DraftEvent, told.record_json)

    def bulk(self, items: Iterable[BulkItem]) -> Iterator[BulkAnswer]:
        """Draft many studies that nobody waits for; answers come as they are ready, in any order.

        `items` is read in another thread, a few ahead of the answers. What it raises comes out here.
        """
        raised: list[Exception] = []

        def requests() -> Iterator[v1.BulkRequest]:
            try:
                for each in items:
                    yield v1.BulkRequest(item=each.item, request=_draft_request(each.images, each.asked))
            except Exception as error:
                raised.append(error)
                raise

        try:
            for reply in self._many("Drafts/Bulk", v1.BulkReply, requests(), None):
                drafted = reply.WhichOneof("outcome") == "draft"
                yield BulkAnswer(reply.item, read(Draft, reply.draft.record_json) if drafted else _fault(reply.fault))
        except PrelimError:
            if raised:
                raise raised[0] from None
            raise

    def similar_cases(
        self,
        asked: SearchRequest = SearchRequest(),  # noqa: B008
        images: Images = (),
        view: ViewPosition | None = None,
    ) -> SimilarCases:
        """Cases similar to a study, to words, findings or an indexed case."""
        sent = [content(image) for image in images]
        request = v1.SearchRequest(images=sent, view=view, **asked.model_dump(exclude_defaults=True))
        return read(SimilarCases, self._one("Cases/Search", v1.SimilarCases, request).record_json)

    def case(self, case_id: str) -> Case:
        """A case with its report."""
        return read(Case, self._one("Cases/GetCase", v1.Case, v1.GetCaseRequest(case_id=case_id)).record_json)

    def image(self, case_id: str, number: int = 0, view: ImageView = ImageView()) -> bytes:  # noqa: B008
        """An image of a case, as a PNG."""
        request = v1.GetImageRequest(case_id=case_id, number=number, **view.model_dump(exclude_none=True))
        return self._one("Cases/GetImage", v1.Image, request).png

    def check(self, asked: CheckRequest) -> Checked:
        """Remarks on a report."""
        context = asked.context.model_dump_json(exclude_unset=True).encode()
        request = v1.CheckRequest(report=asked.report, context_json=context)
        return read(Checked, self._one("Checks/Check", v1.Checked, request).record_json)

    def capabilities(self) -> Capabilities:
        """What can be asked for there."""
        answer = self._one("About/GetCapabilities", v1.Capabilities, v1.GetCapabilitiesRequest())
        return read(Capabilities, answer.record_json)

    def _one(
        self, method: str, form: type[AnyMessage], request: Message, seconds: float | None = TIMEOUT_S
    ) -> AnyMessage:
        def ask() -> AnyMessage:
            (answer,) = self._many(method, form, iter([request]), seconds)
            return answer

        return patiently(ask)

    def _many(
        self, method: str, form: type[AnyMessage], requests: Iterator[Message], seconds: float | None
    ) -> Iterator[AnyMessage]:
        """The messages of an answer; on the wire a stream of one is a single message. Closing it cancels the call."""
        ask = self._channel.stream_stream(
            f"/prelim.v1.{method}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=form.FromString,
        )
        call = ask(requests, timeout=seconds, metadata=self._metadata)
        try:
            yield from call
        except grpc.RpcError:
            raise _error(call) from None
        finally:
            call.cancel()  # type: ignore[no-untyped-call]  # nothing happens to one that has ended


def _draft_request(images: Images, asked: DraftRequest) -> v1.DraftRequest:
    return v1.DraftRequest(images=[content(image) for image in images], **asked.model_dump(exclude_defaults=True))


def _fault(fault: v1.Fault) -> PrelimError:
    return raised_there(
        fault.code,
        PrelimError,
        detail=fault.detail,
        fix=fault.fix,
        fields=tuple((each.field, each.what) for each in fault.fields),
        retry_after_s=fault.retry_after_s,
        trace_id=fault.trace_id,
    )


def _error(call: grpc.Call) -> PrelimError:
    """The error of a rich status, or what the bare status says."""
    info, request, wrong, retry = details.ErrorInfo(), details.RequestInfo(), details.BadRequest(), details.RetryInfo()
    status = rpc_status.from_call(call)
    for packed in status.details if status else ():
        for known in (info, request, wrong, retry):
            if packed.Is(known.DESCRIPTOR):
                packed.Unpack(known)
    name = call.code().name
    return raised_there(
        info.reason,
        _BY_STATUS.get(name, OperatorError),
        detail=status.message if status else f"gRPC ended the call as {name}",
        fix=info.metadata["fix"],
        fields=tuple((each.field, each.description) for each in wrong.field_violations),
        retry_after_s=retry.retry_delay.ToTimedelta().total_seconds(),
        trace_id=request.request_id,
    )
