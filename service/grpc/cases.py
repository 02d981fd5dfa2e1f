"""Similar cases, indexed cases, checks and capabilities over gRPC: each translates and nothing more."""

from collections.abc import AsyncGenerator

from pydantic import Field, ValidationError

from retrieval.checks.context import CheckContext
from retrieval.record import Record
from retrieval.records import CaseId, SimilarCases, ViewPosition
from service.capabilities import capabilities_of
from service.check import looked_at
from service.faults import invalid
from service.grpc import prelim_v1_pb2 as v1
from service.grpc.call import Call, images_of, record_of
from service.grpc.messages import capabilities_message, case_message, checked_message, similar_message
from service.images import ImageView
from service.question import SearchRequest, answer, query_of
from service.request import CheckRequest
from service.uploads import on_disk


class _View(Record):
    """What only a search by images has."""

    view: ViewPosition | None = None
    """View of images whose files say none."""


class _Image(Record):
    """Which image of a case."""

    number: int = Field(default=0, ge=0, le=1000)
    """From 0."""


async def search(call: Call[v1.SearchRequest]) -> AsyncGenerator[v1.SimilarCases, None]:
    """Cases similar to a study, to words, findings or an indexed case."""
    front, message = call.front, await call.request()
    words = tuple(name for name in SearchRequest.model_fields if name != "view")
    view = record_of(_View, message, without=("images", *words)).view
    asked = record_of(SearchRequest, message, without=("images", "view"))
    query = query_of(asked, images=bool(message.images))
    if not message.images:
        yield similar_message(await front.done(lambda: answer(asked, query, front.desk, None)))
        return
    async with on_disk(images_of(message)) as paths:

        def found() -> SimilarCases:
            study = front.desk.read(paths, view=view, patient_key=asked.patient_key)
            return answer(asked, query, front.desk, study)

        yield similar_message(await front.done(found))


async def get_case(call: Call[v1.GetCaseRequest]) -> AsyncGenerator[v1.Case, None]:
    """A case with its report."""
    front, case_id = call.front, CaseId((await call.request()).case_id)
    yield case_message(await front.done(lambda: front.desk.retriever.case(case_id)))


async def get_image(call: Call[v1.GetImageRequest]) -> AsyncGenerator[v1.Image, None]:
    """An image of a case."""
    front, message = call.front, await call.request()
    number = record_of(_Image, message, without=("case_id", *ImageView.model_fields)).number
    view = record_of(ImageView, message, without=("case_id", "number"))

    def made() -> bytes:
        case = front.desk.retriever.case(CaseId(message.case_id))
        return view.png(front.viewer.of_case(case, number))

    yield v1.Image(png=await front.done(made))


async def check(call: Call[v1.CheckRequest]) -> AsyncGenerator[v1.Checked, None]:
    """Remarks on a report."""
    message = await call.request()
    asked = record_of(CheckRequest, message, without=("context_json",))
    if message.context_json:
        try:
            context = CheckContext.model_validate_json(message.context_json)
        except ValidationError as error:
            raise invalid(error, CheckContext, "context_json") from None
        asked = asked.model_copy(update={"context": context})
    yield checked_message(await call.front.done(lambda: looked_at(asked)))


async def capabilities(call: Call[v1.GetCapabilitiesRequest]) -> AsyncGenerator[v1.Capabilities, None]:
    """What can be asked for here; no key is needed, so the message, which is empty, is not read."""
    yield capabilities_message(capabilities_of(call.front))
