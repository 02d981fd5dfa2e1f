"""A typed client of the HTTP face: records in, records out, errors as the service raised them.

    with HttpClient("http://127.0.0.1:8470") as prelim:
        draft = prelim.draft([Path("chest.dcm")], DraftRequest(indication="Effusion?"))

Every call here may be repeated without harm (a job's submission carries an idempotency key), so each comes again by
itself where the service says that too much is waiting and when to come. May be used from several threads.
"""

import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import quote

import httpx

from generation.draft import Draft, DraftEvent
from retrieval.checks.remark import Checked
from retrieval.errors import (
    Cancelled,
    DeadlineExceeded,
    Forbidden,
    ImageTooLarge,
    MalformedRequest,
    OperatorError,
    Overloaded,
    PrelimError,
    RequestError,
    RetryableError,
    StoreFull,
    Unauthenticated,
)
from retrieval.records import Case, SimilarCases, ViewPosition
from service.capabilities import Capabilities
from service.client.asking import AnyRecord, Images, content, patiently, raised_there, read, waited_s
from service.images import ImageView
from service.jobs.job import ENDED, Job
from service.question import SearchRequest
from service.request import CheckRequest, DraftRequest
from service.waiting import Urgency

_POLL_S: Final = 1.0
_BY_STATUS: Final[dict[int, type[PrelimError]]] = {
    400: MalformedRequest, 401: Unauthenticated, 403: Forbidden, 413: ImageTooLarge, 429: Overloaded,
    499: Cancelled, 503: RetryableError, 504: DeadlineExceeded, 507: StoreFull,
}  # fmt: skip
"""What an answer means that carries no code of ours, such as one of a proxy."""


class HttpClient:
    """Calls of one service over HTTP."""

    def __init__(self, address: str, *, key: str | None = None) -> None:
        """`address` as `http://127.0.0.1:8470`; `key` as `prelim key` printed it."""
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._http = httpx.Client(base_url=address, headers=headers, timeout=waited_s(None))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close its connections."""
        self._http.close()

    def draft(self, images: Images, asked: DraftRequest = DraftRequest()) -> Draft:  # noqa: B008  it never changes
        """Draft one study."""
        return self._record(Draft, "POST", "/v1/drafts", timeout=waited_s(asked.deadline_s), **_form(images, asked))

    def stream(
        self,
        images: Images,
        asked: DraftRequest = DraftRequest(),  # noqa: B008
    ) -> Iterator[DraftEvent | Draft]:
        """Each sentence as it is checked; the last is the draft. Whoever closes the iterator cancels the draft."""
        with ExitStack() as open_until_the_end:
            request = {**_form(images, asked), "headers": {"Accept": "text/event-stream"}}
            answer = patiently(lambda: open_until_the_end.enter_context(self._begun("POST", "/v1/drafts", **request)))
            for name, data in _events(answer):
                match name:
                    case "draft":
                        yield read(Draft, data)
                        return
                    case "error":
                        raise _error(httpx.Response(httpx.codes.OK, content=data.encode()))
                    case _:
                        yield read(DraftEvent, data)
        raise RetryableError("the answer broke off", fix="try again")

    def submit(
        self,
        images: Images,
        asked: DraftRequest = DraftRequest(),  # noqa: B008
        *,
        idempotency_key: str | None = None,
        urgency: Urgency = "bulk",
    ) -> Job:
        """Have one study drafted later; the same key with the same request is the same job."""
        headers = {"Idempotency-Key": idempotency_key or str(uuid.uuid4())}
        form = _form(images, asked)
        return self._record(Job, "POST", "/v1/jobs", params={"urgency": urgency}, headers=headers, **form)

    def job(self, job_id: str) -> Job:
        """How far a job is, and its draft."""
        return self._record(Job, "GET", f"/v1/jobs/{quote(job_id, safe='')}")

    def ended(self, job_id: str, seconds: float) -> Job:
        """A job when it has ended; raises DeadlineExceeded where that takes longer, and the job goes on."""
        until = time.monotonic() + seconds
        while (job := self.job(job_id)).state not in ENDED:
            if time.monotonic() > until:
                raise DeadlineExceeded(f"the job has not ended within {seconds:g} s", fix="ask again later")
            time.sleep(_POLL_S)
        return job

    def cancel(self, job_id: str) -> Job:
        """Cancel a job."""
        return self._record(Job, "DELETE", f"/v1/jobs/{quote(job_id, safe='')}")

    def similar_cases(
        self,
        asked: SearchRequest = SearchRequest(),  # noqa: B008
        images: Images = (),
        view: ViewPosition | None = None,
    ) -> SimilarCases:
        """Cases similar to a study, to words, findings or an indexed case."""
        if not images:
            return self._record(SimilarCases, "POST", "/v1/similar-cases", json=asked.model_dump(mode="json"))
        form = _form(images, asked)
        form["data"] |= {"view": view} if view else {}
        return self._record(SimilarCases, "POST", "/v1/similar-cases/of-study", **form)

    def case(self, case_id: str) -> Case:
        """A case with its report."""
        return self._record(Case, "GET", f"/v1/cases/{quote(case_id, safe='')}")

    def image(self, case_id: str, number: int = 0, view: ImageView = ImageView()) -> bytes:  # noqa: B008
        """An image of a case, as a PNG."""
        path = f"/v1/cases/{quote(case_id, safe='')}/images/{number}"
        return self._answer("GET", path, params=view.model_dump(exclude_none=True)).content

    def check(self, asked: CheckRequest) -> Checked:
        """Remarks on a report."""
        return self._record(Checked, "POST", "/v1/checks", json=asked.model_dump(mode="json", exclude_unset=True))

    def capabilities(self) -> Capabilities:
        """What can be asked for there."""
        return self._record(Capabilities, "GET", "/v1/capabilities")

    def _record(self, form: type[AnyRecord], method: str, path: str, **request: Any) -> AnyRecord:  # noqa: ANN401
        return read(form, self._answer(method, path, **request).content)

    def _answer(self, method: str, path: str, **request: Any) -> httpx.Response:  # noqa: ANN401
        def ask() -> httpx.Response:
            with self._begun(method, path, **request) as answer:
                answer.read()
                return answer

        return patiently(ask)

    @contextmanager
    def _begun(self, method: str, path: str, **request: Any) -> Iterator[httpx.Response]:  # noqa: ANN401
        """An answer that has begun and is no refusal."""
        try:
            with self._http.stream(method, path, **request) as answer:
                if answer.is_error:
                    answer.read()
                    raise _error(answer)
                yield answer
        except httpx.TimeoutException:
            raise DeadlineExceeded("the service did not answer in time", fix="allow more time, or try later") from None
        except httpx.TransportError as error:
            raise RetryableError(
                f"the service cannot be reached, or broke off ({type(error).__name__})", fix="try again later"
            ) from None


def _form(images: Images, asked: DraftRequest | SearchRequest) -> dict[str, Any]:
    """Images and what is asked as a form; files go by their number."""
    files = [("images", (str(number), content(image))) for number, image in enumerate(images)]
    return {"files": files, "data": {"request": asked.model_dump_json(exclude_defaults=True)}}


def _events(answer: httpx.Response) -> Iterator[tuple[str, str]]:
    """Name and data of each server-sent event."""
    name = ""
    rest = b""
    for chunk in answer.iter_bytes():
        # Not by httpx: it ends lines at U+2028 and others too, which may stand in JSON as they are.
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            field, _, value = line.decode().partition(": ")
            if field == "event":
                name = value
            elif field == "data":
                yield name, value


def _error(answer: httpx.Response) -> PrelimError:
    """The error of a problem, or what the status says where somebody else answered."""
    try:
        told = answer.json()
        status, code = int(told["status"]), str(told["code"])
        detail, fix, trace_id = str(told["detail"]), str(told["fix"]), str(told["trace_id"])
        fields = tuple((str(each["field"]), str(each["what"])) for each in told["errors"])
    except (ValueError, TypeError, LookupError):
        status, code, fix, trace_id, fields = answer.status_code, "", "", "", ()
        detail = f"the service, or something on the way to it, answered {status}"
    wait = answer.headers.get("Retry-After", "")
    otherwise = _BY_STATUS.get(status, RequestError if status < 500 else OperatorError)
    if status == httpx.codes.SERVICE_UNAVAILABLE and wait.isdigit():
        otherwise = Overloaded
    return raised_there(
        code,
        otherwise,
        detail=detail,
        fix=fix,
        fields=fields,
        retry_after_s=float(wait) if wait.isdigit() else 1.0,
        trace_id=trace_id,
    )
