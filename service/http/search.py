"""Similar cases over HTTP: of a study, of words, of findings, of an indexed case."""

from typing import Annotated

from fastapi import APIRouter, Body, Depends, File, Form, Request, UploadFile
from pydantic import ValidationError

from retrieval.records import SimilarCases, ViewPosition
from service.front import Front
from service.http.drafts import IMAGES
from service.http.guard import Guarded
from service.http.keys import AsksFor
from service.http.problems import wrong_form
from service.keys import Key
from service.question import SearchRequest, answer, query_of
from service.uploads import on_disk

router = APIRouter(prefix="/v1", tags=["similar cases"], route_class=Guarded)


@router.post("/similar-cases", summary="Find cases in words, by findings, or like an indexed case")
async def find(
    http: Request, asked: Annotated[SearchRequest, Body()], key: Annotated[Key, Depends(AsksFor("search"))]
) -> SimilarCases:
    """Find cases without a study. Nothing like it is an answer (`reason: NO_CLOSE_MATCH`), not an error."""
    front: Front = http.app.state.front
    query = query_of(asked, images=False)
    return await front.done(lambda: answer(asked, query, front.desk, None))


@router.post("/similar-cases/of-study", summary="Find cases similar to a study")
async def find_of_study(
    http: Request,
    images: Annotated[list[UploadFile], File(description=IMAGES)],
    key: Annotated[Key, Depends(AsksFor("search"))],
    request: Annotated[str, Form(description="A JSON object: see the schema SearchRequest.")] = "{}",
    view: Annotated[ViewPosition | None, Form(description="view of images whose files say none")] = None,
) -> SimilarCases:
    """Find cases similar to a study; the patient's own cases, and those of the same files, are left out."""
    front: Front = http.app.state.front
    try:
        asked = SearchRequest.model_validate_json(request)
    except ValidationError as error:
        raise wrong_form(error, "request") from None
    query = query_of(asked, images=True)
    async with on_disk(images) as paths:

        def search() -> SimilarCases:
            study = front.desk.read(paths, view=view, patient_key=asked.patient_key)
            return answer(asked, query, front.desk, study)

        return await front.done(search)
