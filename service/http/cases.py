"""Indexed cases over HTTP: what their reports say, and their images.

Cases belong to other patients: an answer never says more of one than the index keeps.
"""

from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Depends, Query, Request, Response, UploadFile
from fastapi import Path as PathParameter

from retrieval.pixels.display import LEAST_WIDTH, Grey, png8, png16
from retrieval.records import Case, CaseId
from service.front import Front
from service.http.guard import Guarded
from service.http.keys import AsksFor
from service.images import LARGEST_SIDE, LEAST_SIDE
from service.keys import Key
from service.uploads import on_disk

router = APIRouter(prefix="/v1", tags=["cases"], route_class=Guarded)
PNG: Final[dict[int | str, dict[str, Any]]] = {200: {"content": {"image/png": {}}, "description": "A grey PNG"}}

Longest = Annotated[int | None, Query(ge=LEAST_SIDE, le=LARGEST_SIDE, description="longest side in pixels")]
Bits = Annotated[Literal["8", "16"], Query(description="16 for a page that applies the window itself")]
Centre = Annotated[float, Query(ge=-1, le=2, description="window centre, 0 black to 1 white; for 8 bits")]
Width = Annotated[float, Query(ge=LEAST_WIDTH, le=2, description="window width; for 8 bits")]
Number = Annotated[int, PathParameter(ge=0, le=1000, description="which of the case's images, from 0")]


@router.get(
    "/cases/{case_id:path}/images/{number}",
    summary="An image of a case",
    response_class=Response,
    responses=PNG,
)
async def case_image(
    http: Request,
    case_id: CaseId,
    number: Number,
    key: Annotated[Key, Depends(AsksFor("cases"))],
    longest: Longest = None,
    bits: Bits = "8",
    centre: Centre = 0.5,
    width: Width = 1.0,
) -> Response:
    """One image of a case, as indexed; `longest=256` gives a thumbnail."""
    front: Front = http.app.state.front

    def make() -> bytes:
        grey = front.viewer.of_case(front.desk.retriever.case(case_id), number)
        return _png(grey, bits, centre, width, longest)

    return Response(await front.done(make), media_type="image/png")


@router.get("/cases/{case_id:path}", summary="A case with its report")
async def case(http: Request, case_id: CaseId, key: Annotated[Key, Depends(AsksFor("cases"))]) -> Case:
    """What the index keeps of a case."""
    front: Front = http.app.state.front
    return await front.done(lambda: front.desk.retriever.case(case_id))


@router.post(
    "/images",
    summary="An image of one's own for the eye",
    response_class=Response,
    responses=PNG,
)
async def own_image(
    http: Request,
    image: UploadFile,
    key: Annotated[Key, Depends(AsksFor("search"))],
    longest: Longest = None,
    bits: Bits = "16",
    centre: Centre = 0.5,
    width: Width = 1.0,
) -> Response:
    """Decode a DICOM, PNG or JPEG image to display-ready grey, so that a page can show it; nothing is kept."""
    front: Front = http.app.state.front
    async with on_disk([image]) as (path,):
        png = await front.done(lambda: _png(front.viewer.read(path), bits, centre, width, longest))
    return Response(png, media_type="image/png")


def _png(grey: Grey, bits: str, centre: float, width: float, longest: int | None) -> bytes:
    return png16(grey, longest) if bits == "16" else png8(grey, centre=centre, width=width, longest=longest)
