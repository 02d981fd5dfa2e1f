"""A second look at a report over HTTP: what contradicts itself, or what is known of the study."""

from typing import Annotated

from fastapi import APIRouter, Body, Depends, Request

from retrieval.checks.remark import Checked
from service.check import looked_at
from service.front import Front
from service.http.guard import Guarded
from service.http.keys import AsksFor
from service.keys import Key
from service.request import CheckRequest

router = APIRouter(prefix="/v1", tags=["checks"], route_class=Guarded)


@router.post("/checks", summary="Check a report")
async def create_check(
    http: Request, asked: Annotated[CheckRequest, Body()], key: Annotated[Key, Depends(AsksFor("check"))]
) -> Checked:
    """Remarks on a report: `hard` is wrong unless somebody explains it, `soft` deserves a look."""
    front: Front = http.app.state.front

    return await front.done(lambda: looked_at(asked))
