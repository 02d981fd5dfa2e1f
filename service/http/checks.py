"""A second look at a report over HTTP: what contradicts itself, or what is known of the study."""

from typing import Annotated

from fastapi import APIRouter, Body, Depends, Request
from pydantic import Field

from retrieval.checks.check import check
from retrieval.checks.context import CheckContext
from retrieval.checks.remark import Checked
from retrieval.extraction.extractor import embedded
from retrieval.record import Record
from retrieval.sections import read_report
from service.check import completed, of_known_concepts
from service.front import Front
from service.http.guard import Guarded
from service.http.keys import AsksFor
from service.keys import Key

router = APIRouter(prefix="/v1", tags=["checks"], route_class=Guarded)


class CheckRequest(Record):
    """A report, and what is known of its study."""

    report: str = Field(min_length=1, max_length=50_000)
    """The text, with or without headings."""
    context: CheckContext = CheckContext()
    """What is known beside the text; what is left out is taken from the report's own sections where they say it, and
    what nobody knows is named in the answer as not checked."""


@router.post("/checks", summary="Check a report")
async def create_check(
    http: Request, asked: Annotated[CheckRequest, Body()], key: Annotated[Key, Depends(AsksFor("check"))]
) -> Checked:
    """Remarks on a report: `hard` is wrong unless somebody explains it, `soft` deserves a look."""
    front: Front = http.app.state.front

    def look() -> Checked:
        report = read_report(asked.report)
        return check(report, completed(of_known_concepts(asked.context), report), embedded())

    return await front.done(look)
