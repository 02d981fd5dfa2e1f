"""Figures over HTTP, for Prometheus: what they are called stands in `service.observe.metrics`."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from service.front import Front
from service.http.guard import Guarded
from service.http.keys import AsksFor
from service.keys import Key
from service.observe.metrics import MEDIA_TYPE, exposition

router = APIRouter(include_in_schema=False, route_class=Guarded)


@router.get("/metrics")
def metrics(http: Request, key: Annotated[Key, Depends(AsksFor("metrics"))]) -> Response:
    """All figures in the text format; of the machine, not of patients, and still for those with a key alone."""
    front: Front = http.app.state.front
    return Response(exposition(front), headers={"Content-Type": MEDIA_TYPE})
