"""Search, cases, images, checks and what the service says of itself, over HTTP."""

import io
import json
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from retrieval.records import Case, SimilarCases
from service.front import Front
from service.http.capabilities import Capabilities
from tests.http_serving import STUDIES, collection, problem, served, unseen

Served = tuple[httpx.Client, Front]


@pytest.fixture(scope="module")
def service() -> Iterator[Served]:
    with served() as both:
        yield both


@pytest.fixture(scope="module")
def client(service: Served) -> httpx.Client:
    return service[0]


def found(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [retrieved.case.case_id for retrieved in SimilarCases.model_validate_json(answer.text).evidence.cases]


def grey(answer: httpx.Response) -> np.ndarray[Any, Any]:
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "image/png"
    return np.asarray(Image.open(io.BytesIO(answer.content)))


def test_a_study_finds_cases_with_what_is_shared(client: httpx.Client) -> None:
    answer = client.post("/v1/similar-cases/of-study", files=unseen(), data={"view": "PA"})
    similar = SimilarCases.model_validate_json(answer.text)
    assert similar.evidence.legs == ("image", "concept")
    assert len(similar.evidence.cases) == 10
    assert all(each.comparison and each.found_by for each in similar.evidence.cases)


def test_pages_of_a_search_are_one_list_without_gap_or_repetition(client: httpx.Client) -> None:
    asked = {"text": "pleural effusion"}
    whole = found(client.post("/v1/similar-cases", json={**asked, "limit": 15}))
    pages = [found(client.post("/v1/similar-cases", json={**asked, "limit": 5, "offset": at})) for at in (0, 5, 10)]
    assert [case for page in pages for case in page] == whole
    assert len(set(whole)) == 15
    beyond = client.post("/v1/similar-cases", json={**asked, "offset": 900})
    assert beyond.json()["evidence"]["cases"] == []


def test_words_findings_anatomy_filters_and_a_case_can_be_asked_by(client: httpx.Client) -> None:
    for asked in (
        {"text": "left effusion without opacity"},
        {"findings": ["right pleural effusion"]},
        {"like": "drawn-000005", "anatomy": "left lung"},
        {"like": "drawn-000005", "views": ["frontal"], "legs": ["image"]},
    ):
        assert found(client.post("/v1/similar-cases", json=asked)), asked
    nothing = client.post("/v1/similar-cases", json={"text": "effusion", "sources": ["elsewhere"]}).json()
    assert (nothing["reason"], nothing["evidence"]["cases"]) == ("NO_CLOSE_MATCH", [])


def test_a_search_for_nothing_and_for_two_things_is_refused(client: httpx.Client) -> None:
    problem(client.post("/v1/similar-cases", json={}), 422, "REQUEST")
    both = {"request": json.dumps({"like": "drawn-000005"})}
    problem(client.post("/v1/similar-cases/of-study", files=unseen(), data=both), 422, "REQUEST")
    problem(client.post("/v1/similar-cases", json={"like": "nobody"}), 404, "UNKNOWN_CASE")


def test_a_case_is_told_with_its_report_and_shown_as_it_was_indexed(client: httpx.Client) -> None:
    case = Case.model_validate_json(client.get("/v1/cases/drawn-000005").text)
    assert case.report.text
    drawn = np.asarray(Image.open(collection() / "studies" / case.images[0].path))
    shown = grey(client.get("/v1/cases/drawn-000005/images/0"))
    assert shown.dtype == np.uint8
    assert np.abs(shown.astype(int) - drawn.astype(int)).max() <= 1
    deep = grey(client.get("/v1/cases/drawn-000005/images/0", params={"bits": "16"}))
    assert deep.dtype.itemsize >= 2
    assert np.array_equal(np.rint(deep / 257), drawn)
    thumbnail = grey(client.get("/v1/cases/drawn-000005/images/0", params={"longest": 64}))
    assert max(thumbnail.shape) == 64
    narrow = grey(client.get("/v1/cases/drawn-000005/images/0", params={"centre": 0.5, "width": 0.2}))
    assert ((shown < 0.39 * 255) == (narrow == 0))[np.abs(shown - 0.4 * 255) > 3].all()
    problem(client.get("/v1/cases/drawn-000005/images/1"), 404, "UNKNOWN_CASE")
    problem(client.get("/v1/cases/nobody"), 404, "UNKNOWN_CASE")
    problem(client.get("/v1/cases/nobody/images/0"), 404, "UNKNOWN_CASE")


def test_an_image_that_is_no_longer_what_was_indexed_is_not_shown(client: httpx.Client) -> None:
    path = collection() / "studies/images/000007.png"
    before = path.read_bytes()
    try:
        path.write_bytes((collection() / "unseen.png").read_bytes())
        problem(client.get("/v1/cases/drawn-000007/images/0"), 404, "UNKNOWN_CASE")
    finally:
        path.write_bytes(before)
    assert client.get("/v1/cases/drawn-000007/images/0").status_code == 200


def test_an_image_of_one_s_own_comes_back_with_every_grey(client: httpx.Client) -> None:
    for kind in ("png", "dcm"):
        shown = grey(client.post("/v1/images", files={"image": unseen(kind)[0][1]}))
        drawn = np.asarray(Image.open(collection() / "unseen.png"))
        assert np.corrcoef(shown.ravel(), drawn.ravel())[0, 1] > 0.999
        assert shown.shape == drawn.shape


def test_a_report_is_checked_and_unknown_concepts_are_refused(client: httpx.Client) -> None:
    text = "FINDINGS: There is a left pleural effusion. No pleural effusion on the left."
    checked = client.post("/v1/checks", json={"report": text}).json()
    assert "INTERNAL" in {remark["code"] for remark in checked["remarks"]}
    unknown = {"report": text, "context": {"devices": ["PRELIM:9999999"]}}
    problem(client.post("/v1/checks", json=unknown), 422, "REQUEST")


def test_the_service_says_what_it_can_do(service: Served) -> None:
    client, front = service
    told = Capabilities.model_validate_json(client.get("/v1/capabilities").text)
    assert (told.cases, told.reports_read, told.images_of_cases, told.jobs) == (STUDIES, STUDIES, True, False)
    assert told.language_model is None
    assert told.snapshot == front.desk.retriever.nothing().index_snapshot
    ready = client.get("/health/ready")
    assert ready.status_code == 200
    assert ready.json()["waiting"] == {"interactive": 0, "bulk": 0}
