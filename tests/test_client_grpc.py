"""The client of the gRPC face, against a service that is really served."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from generation.draft import Draft
from retrieval.errors import (
    Cancelled,
    DeadlineExceeded,
    InvalidRequest,
    RetryableError,
    Unauthenticated,
    UnreadableImage,
)
from service.client.grpc import BulkItem, GrpcClient
from service.client.http import HttpClient
from service.images import ImageView
from service.question import SearchRequest
from service.request import CheckRequest, DraftRequest
from tests.grpc_serving import Both, grpc_served, image
from tests.http_serving import collection
from tests.test_grpc_problems import _address

Clients = tuple[GrpcClient, HttpClient]


@pytest.fixture(scope="module")
def service() -> Iterator[Both]:
    with grpc_served() as both:
        yield both


@pytest.fixture(scope="module")
def clients(service: Both) -> Iterator[Clients]:
    with GrpcClient(_address(service[0])) as over_grpc, HttpClient(str(service[1].base_url)) as over_http:
        yield over_grpc, over_http


def test_both_clients_get_the_same_records_by_the_same_calls(clients: Clients) -> None:
    asked = DraftRequest(indication="Effusion?", patient_key="p-1", view="PA", priors=("Clear.",), seed=5)
    file = collection() / "unseen.dcm"
    text = SearchRequest(text="left effusion without edema", limit=3, offset=1, legs=("concept", "text"))
    of_study = SearchRequest(limit=2, sex="F", views=("frontal",))
    report = CheckRequest.model_validate(
        {"report": "FINDINGS: No effusion. Left effusion. Nodule of 5 mm.", "context": {"has_prior": False}}
    )
    over_grpc, over_http = clients
    for name, arguments in (
        ("draft", ([file], asked)),
        ("draft", ([file, image("png")],)),
        ("similar_cases", (text,)),
        ("similar_cases", (of_study, [file])),
        ("similar_cases", (of_study, [image("png")], "PA")),
        ("case", ("drawn-000005",)),
        ("image", ("drawn-000005",)),
        ("image", ("drawn-000005", 0, ImageView(longest=64, bits=16))),
        ("image", ("drawn-000005", 0, ImageView(centre=0.4, width=0.3))),
        ("check", (report,)),
        ("capabilities", ()),
    ):
        told = getattr(over_grpc, name)(*arguments)
        assert told == getattr(over_http, name)(*arguments), name
    assert len(over_grpc.similar_cases(text).evidence.cases) == 3


def test_a_stream_ends_with_the_draft_and_one_that_is_left_is_cancelled(service: Both, clients: Clients) -> None:
    for client in clients:
        *told, last = client.stream([image()])
        assert isinstance(last, Draft)
        assert last == client.draft([image()])
        assert tuple(each.sentence for each in told if not isinstance(each, Draft)) == last.sentences
        first = next(left := client.stream([image()]))
        assert first == told[0]
        left.close()
        with pytest.raises(UnreadableImage):
            list(client.stream([b"text"]))


def test_many_studies_are_answered_by_their_names(clients: Clients, tmp_path: Path) -> None:
    over_grpc, _ = clients
    (tmp_path / "text").write_bytes(b"no image")
    items = [BulkItem(f"study {n}", [collection() / "unseen.dcm"], DraftRequest(view="PA")) for n in range(12)]
    answers = {each.item: each.outcome for each in over_grpc.bulk([*items, BulkItem("bad", [tmp_path / "text"])])}
    assert isinstance(answers.pop("bad"), UnreadableImage)
    draft = over_grpc.draft([collection() / "unseen.dcm"], DraftRequest(view="PA"))
    assert answers == {f"study {n}": draft for n in range(12)}


def test_what_the_studies_of_a_bulk_stream_raise_comes_out(clients: Clients, tmp_path: Path) -> None:
    with pytest.raises(UnreadableImage, match="cannot be read"):
        list(clients[0].bulk([BulkItem("x", [image()]), BulkItem("gone", [tmp_path / "gone"])]))


def test_errors_are_those_that_the_service_raised(clients: Clients) -> None:
    for client in clients:
        with pytest.raises(UnreadableImage) as error:
            client.draft([b"text"])
        assert error.value.fix
        with pytest.raises(InvalidRequest) as wrong:
            client.image("drawn-000005", 0, ImageView.model_construct(longest=3))
        assert [field.rpartition(".")[2] for field, _ in wrong.value.fields] == ["longest"]
        with pytest.raises(DeadlineExceeded):
            client.draft([image()], DraftRequest(deadline_s=1e-6))


def test_a_service_that_is_not_there_may_be_tried_again() -> None:
    with GrpcClient("127.0.0.1:9") as nobody, pytest.raises(RetryableError) as error:
        nobody.capabilities()
    assert not isinstance(error.value, DeadlineExceeded | Cancelled)
    with HttpClient("http://127.0.0.1:9") as nobody_there, pytest.raises(RetryableError):
        nobody_there.capabilities()


def test_a_key_is_sent_and_one_that_is_not_known_is_refused(tmp_path: Path) -> None:
    from service.keys import new_key  # noqa: PLC0415

    secret, entry = new_key("ward-7", frozenset(["cases"]))
    (tmp_path / "keys.json").write_text(f"[{entry.model_dump_json()}]")
    with grpc_served(keys=tmp_path / "keys.json") as (channel, client, _):
        for key in (secret, None, "prelim_x"):
            with GrpcClient(_address(channel), key=key) as one, HttpClient(str(client.base_url), key=key) as other:
                for each in (one, other):
                    if key == secret:
                        assert each.case("drawn-000005").case_id == "drawn-000005"
                    else:
                        with pytest.raises(Unauthenticated):
                            each.case("drawn-000005")
