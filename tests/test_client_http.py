"""The client of the HTTP face: jobs, patience, and answers of others; the rest is compared in test_client_grpc."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from retrieval.errors import (
    DeadlineExceeded,
    ImageTooLarge,
    KeyReused,
    OperatorError,
    Overloaded,
    RetryableError,
    UnknownJob,
)
from service.client.http import HttpClient
from service.front import Front
from service.http.drafts import _event
from service.request import DraftRequest
from tests.http_serving import collection, served
from tests.test_http_drafts import until

Served = tuple[HttpClient, Front]
FILE = "unseen.png"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with (
        served(jobs=str(tmp_path_factory.mktemp("jobs") / "jobs.sqlite"), at_once=2, waiting=1) as (client, front),
        HttpClient(str(client.base_url)) as prelim,
    ):
        yield prelim, front


def test_a_job_ends_with_the_draft_and_its_key_is_one_job(service: Served) -> None:
    prelim, _ = service
    asked = DraftRequest(view="PA")
    job = prelim.submit([collection() / FILE], asked, idempotency_key="visit 7")
    assert prelim.submit([collection() / FILE], asked, idempotency_key="visit 7").job_id == job.job_id
    with pytest.raises(KeyReused):
        prelim.submit([collection() / FILE], idempotency_key="visit 7")
    ended = prelim.ended(job.job_id, 30)
    assert (ended.state, ended.draft) == ("succeeded", prelim.draft([collection() / FILE], asked))
    assert prelim.submit([collection() / FILE], asked).job_id != job.job_id
    with pytest.raises(UnknownJob):
        prelim.job("nobody")


def test_a_job_is_cancelled_and_one_that_does_not_end_is_not_waited_for(service: Served) -> None:
    prelim, front = service
    free = threading.Event()
    held = [front.room.submit(lambda: free.wait(20), urgency) for urgency in ("interactive", "bulk")]
    try:
        job = prelim.submit([collection() / FILE])
        with pytest.raises(DeadlineExceeded):
            prelim.ended(job.job_id, 0.1)
        prelim.cancel(job.job_id)
        assert prelim.ended(job.job_id, 10).state == "cancelled"
    finally:
        free.set()
    assert all(each.result(5) for each in held)


def test_who_is_told_to_come_again_comes_again(service: Served) -> None:
    prelim, front = service
    free = threading.Event()
    for number in (1, 2):
        front.room.submit(lambda: free.wait(20))
        until(lambda number=number: front.room.working("interactive") == number)
    front.room.submit(lambda: None)
    before = front.room.refused("interactive")
    threading.Timer(0.5, free.set).start()
    began = time.monotonic()
    assert prelim.draft([collection() / FILE]).status == "drafted"
    assert front.room.refused("interactive") > before
    assert time.monotonic() - began >= 1


def test_line_ends_that_only_unicode_knows_do_not_break_the_stream(service: Served) -> None:
    prelim, _ = service
    draft = prelim.draft([collection() / FILE])
    odd = draft.sentences[0].model_copy(update={"text": "Clear\u2028lungs\u2029on\u0085both sides."})
    draft = draft.model_copy(update={"sentences": (odd, *draft.sentences[1:])})
    told = _event("draft", 0, draft.model_dump_json()).encode()
    pieces = (told[at : at + 7] for at in range(0, len(told), 7))  # some end within a letter
    over = HttpClient("http://proxy.invalid")
    over._http = httpx.Client(
        transport=httpx.MockTransport(lambda _: httpx.Response(200, content=pieces)), base_url="http://proxy.invalid"
    )
    with over:
        assert [*over.stream([collection() / FILE])] == [draft]


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (httpx.Response(413, text="<html>too large</html>"), ImageTooLarge),
        (httpx.Response(502, text="bad gateway"), OperatorError),
        (httpx.Response(503, headers={"Retry-After": "100"}), Overloaded),
        (httpx.Response(503), RetryableError),
        (httpx.Response(200, text='{"software": "of another version"}'), OperatorError),
        (httpx.Response(200, text="<html>"), OperatorError),
    ],
)
def test_what_others_on_the_way_answer_is_an_error_of_the_family_too(
    answer: httpx.Response, kind: type[Exception], tmp_path: Path
) -> None:
    prelim = HttpClient("http://proxy.invalid")
    prelim._http = httpx.Client(transport=httpx.MockTransport(lambda _: answer), base_url="http://proxy.invalid")
    with prelim, pytest.raises(kind) as error:
        prelim.capabilities()
    assert "html" not in str(error.value)
    assert "another version" not in str(error.value)
