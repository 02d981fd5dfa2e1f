"""The OpenAPI document: the committed one is current, whole, and true of the running service.

`PRELIM_GOLDEN=write pytest tests/test_http_document.py` writes it anew; then read what changed.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from jsonschema import Draft202012Validator

from service.front import Front
from service.keys import SCOPES, new_key
from tests.http_serving import collection, served

COMMITTED = Path(__file__).parent.parent / "deploy" / "openapi.json"
Served = tuple[httpx.Client, Front]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("service")
    secret, entry = new_key("tests", frozenset(SCOPES))
    (folder / "keys.json").write_text(f"[{entry.model_dump_json()}]")
    with served(jobs=str(folder / "jobs.sqlite"), keys=folder / "keys.json") as (client, front):
        client.headers["Authorization"] = f"Bearer {secret}"
        yield client, front


@pytest.fixture(scope="module")
def document(service: Served) -> dict[str, Any]:
    told: dict[str, Any] = service[0].get("/openapi.json").json()
    return told


def operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def test_the_committed_document_is_what_the_service_says(document: dict[str, Any]) -> None:
    text = json.dumps(document, indent=1, ensure_ascii=False) + "\n"
    if os.environ.get("PRELIM_GOLDEN") == "write":
        COMMITTED.write_text(text, encoding="utf-8")
    assert text == COMMITTED.read_text(encoding="utf-8"), "run with PRELIM_GOLDEN=write, and read what changed"


def test_every_operation_has_an_example_of_what_it_takes_and_gives_and_names_its_problems(
    document: dict[str, Any],
) -> None:
    assert document["openapi"].startswith("3.1")
    for name, answer in document["components"]["responses"].items():
        assert "example" in answer["content"]["application/problem+json"], name
    for name, operation in operations(document):
        for body in operation.get("requestBody", {}).get("content", {}).values():
            assert "example" in body, name
        for status, answer in operation["responses"].items():
            for kind, content in answer.get("content", {}).items():
                assert "example" in content or kind == "image/png", (name, status, kind)
        problems = {status for status, answer in operation["responses"].items() if "Problem" in str(answer)}
        assert {"400", "421", "500"} <= problems, name
        assert operation["summary"]


def test_every_example_is_what_its_schema_says(document: dict[str, Any]) -> None:
    def check(schema: dict[str, Any], example: Any) -> None:
        Draft202012Validator({**schema, "components": document["components"]}).validate(example)

    checked = 0
    for _, operation in operations(document):
        contents = [*operation.get("requestBody", {}).get("content", {}).items()]
        contents += [each for answer in operation["responses"].values() for each in answer.get("content", {}).items()]
        for kind, content in contents:
            if "json" in kind:
                check(content["schema"], content["example"])
                checked += 1
            elif kind == "multipart/form-data" and "request" in content["example"]:
                form = document["components"]["schemas"][content["schema"]["$ref"].split("/")[-1]]
                check(form["properties"]["request"], content["example"]["request"])
                checked += 1
        for parameter in operation.get("parameters", ()):
            if "example" in parameter:
                check(parameter["schema"], parameter["example"])
    assert checked > 10


HOOKS = """
import schemathesis
from hypothesis import strategies as st
from pathlib import Path

# An image is more than bytes: the document cannot say how one is made.
IMAGES = [Path(PLACE, name).read_bytes() for name in ("unseen.png", "unseen.dcm")]
schemathesis.openapi.format("binary", st.sampled_from(IMAGES))
"""


@pytest.mark.slow
def test_the_running_service_keeps_to_its_document(service: Served, tmp_path: Path) -> None:
    (tmp_path / "hooks.py").write_text(HOOKS.replace("PLACE", repr(str(collection()))))
    (tmp_path / "schemathesis.toml").write_text(SETTINGS)
    address = str(service[0].base_url).rstrip("/")
    outcome = subprocess.run(
        [
            Path(sys.executable).parent / "schemathesis", "run", f"{address}/openapi.json", "--max-examples", "6",
            "--phases", "examples,coverage,fuzzing", "--seed", "7", "--generation-deterministic", "--no-color",
            "--max-response-time", "20", "--request-timeout", "60",
            "--header", f"Authorization: {service[0].headers['Authorization']}",
        ],
        cwd=tmp_path, capture_output=True, text=True, check=False,
        env={**os.environ, "SCHEMATHESIS_HOOKS": "hooks", "PYTHONPATH": str(tmp_path)},
    )  # fmt: skip
    (tmp_path / "outcome.txt").write_text(outcome.stdout)
    assert outcome.returncode == 0, outcome.stdout[-20_000:] + outcome.stderr[-5_000:]


SETTINGS = """
[checks]
# Of words that are no finding and cases that do not exist, only the service knows that they are none.
positive_data_acceptance.enabled = false

[[operations]]
include-name = "POST /v1/checks"
# The one thing more that is taken: false and true for 0 and 1, deep inside of what another program wrote.
[operations.checks]
negative_data_rejection.enabled = false
"""
