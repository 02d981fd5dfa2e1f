"""What this service can do, and whether it is well."""

from fastapi import APIRouter, Request, Response

from retrieval.record import Record
from service.capabilities import Capabilities, capabilities_of
from service.front import Front
from service.waiting import ORDER, Urgency

router = APIRouter(tags=["service"])


class Health(Record):
    """How much is waiting."""

    waiting: dict[Urgency, int]
    """Requests that wait their turn."""
    working: dict[Urgency, int]
    """Requests that are worked on."""


@router.get("/v1/capabilities", summary="What this service can do")
def capabilities(http: Request) -> Capabilities:
    """Asked without a key: nothing here is about a patient."""
    front: Front = http.app.state.front
    return capabilities_of(front)


@router.get("/health/live", summary="Whether the process answers", status_code=204)
async def live() -> None:
    """For whoever restarts it."""


@router.get("/health/ready", summary="Whether drafts can be asked for")
def ready(http: Request, response: Response) -> Health:
    """503 while an index has nothing to answer from, or nobody more may wait."""
    front: Front = http.app.state.front
    room = front.room
    if front.desk.retriever.nothing().index_snapshot is None or room.full("interactive"):
        response.status_code = 503
    return Health(
        waiting={urgency: room.waiting(urgency) for urgency in ORDER},
        working={urgency: room.working(urgency) for urgency in ORDER},
    )
