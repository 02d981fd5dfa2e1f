"""The page at `/`: fixed files, and the names of concepts as the page marks reports with them.

Nothing here is about a patient, so no key is asked for; everything else the page asks of the routes under `/v1`, as any
caller does. The files are named one by one: what is not in FILES is not served, whatever a path says.
"""

import json
from functools import cache
from importlib.resources import files
from typing import Final

from fastapi import APIRouter, HTTPException, Response

from retrieval.extraction.extractor import SPEAKING
from retrieval.ontology.ontology import load

router = APIRouter(include_in_schema=False)

_SCRIPT: Final = "text/javascript; charset=utf-8"
FILES: Final = {
    "index.html": "text/html; charset=utf-8",
    "page.css": "text/css; charset=utf-8",
    "icon.svg": "image/svg+xml",
    "cases.js": _SCRIPT,
    "compared.js": _SCRIPT,
    "draft.js": _SCRIPT,
    "elements.js": _SCRIPT,
    "events.js": _SCRIPT,
    "filters.js": _SCRIPT,
    "keyboard.js": _SCRIPT,
    "main.js": _SCRIPT,
    "png.js": _SCRIPT,
    "report.js": _SCRIPT,
    "service.js": _SCRIPT,
    "study.js": _SCRIPT,
    "tools.js": _SCRIPT,
    "viewer.js": _SCRIPT,
}
"""Every file of the page with its type."""
POLICY: Final = (
    "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
"""Content-Security-Policy: nothing from elsewhere, nothing inline, and no text can become markup."""
_HEADERS: Final = {"Content-Security-Policy": POLICY}


@router.get("/")
def page() -> Response:
    """The page itself."""
    return _file("index.html")


@router.get("/page/concepts.json")
def concepts() -> Response:
    """What concepts are called, and what is broader."""
    return Response(_concepts(), media_type="application/json", headers=_HEADERS)


@router.get("/page/{name}")
def part(name: str) -> Response:
    """A file of the page; 404 for every other name."""
    return _file(name)


@cache
def _concepts() -> bytes:
    """Each concept that reports speak of, by its id."""
    ontology = load()
    return json.dumps(
        {
            concept.id: {"name": concept.name, "kind": concept.kind, "broader": ontology.ancestors(concept.id)}
            for concept in ontology.written
            if concept.kind in SPEAKING
        }
    ).encode()


def _file(name: str) -> Response:
    if name not in FILES:
        raise HTTPException(404)
    content = files("service.http.page").joinpath(name).read_bytes()
    return Response(content, media_type=FILES[name], headers=_HEADERS)
