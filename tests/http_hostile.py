"""Requests that mean harm, drawn by number: damaged images, bombs, forms and JSON that are none, odd names."""

import json
import struct
import zlib
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from tests.http_serving import unseen
from tests.test_pixels_damage import KINDS, whole

ENDPOINTS = (
    ("/v1/drafts", "images"), ("/v1/similar-cases/of-study", "images"), ("/v1/images", "image"), ("/v1/jobs", "images"),
)  # fmt: skip
NAMES = (
    "../../../etc/passwd", "/etc/shadow", "C:\\windows\\system32", "a" * 5000, "con", ".", "..", "", "x\x00y", "%2e%2e",
    "a/b/c.dcm", "‮mcd.exe", "image-1", "$(id)", "'; drop table cases; --", "\r\nX-Evil: 1",
)  # fmt: skip
PATHS = (
    "/v1/cases/../../etc/passwd", "/v1/cases/%2e%2e%2f%2e%2e%2fetc%2fpasswd", "/v1/cases/%00",
    "/v1/cases/" + "a" * 9000,
    "/v1/cases/drawn-000005/images/99999999999999999999", "/v1/cases/drawn-000005/images/-1", "/v1/jobs/%F0%9F%A9%BB",
    "/v1/cases/drawn-000005/images/0?longest=1e9", "/v1/cases/drawn-000005/images/0?centre=nan&width=inf", "/../../",
    "/v1/cases//images/0", "/%ff%fe", "/openapi.json/../../x", "/v1/capabilities/" + "x/" * 500,
)  # fmt: skip


class Hostile(NamedTuple):
    """One request, and what it is called."""

    kind: str
    method: str
    path: str
    body: bytes = b""
    media: str = ""


def hostile(number: int) -> Hostile:
    """The request of this number; the same number is the same request."""
    rng = np.random.default_rng(number)
    kind = ("image", "image", "image", "bomb", "json", "json", "form", "form", "count", "path")[number % 10]
    path, part = ENDPOINTS[int(rng.integers(len(ENDPOINTS)))]
    name = NAMES[int(rng.integers(len(NAMES)))]
    match kind:
        case "image":
            body = _form([(part, name, damaged(rng))], _asked(rng))
        case "bomb":
            body = _form([(part, name, BOMBS[number // 10 % len(BOMBS)]())])
        case "count":
            many = int(rng.choice([0, 1, 3, 65, 66, 200]))
            body = _form([(part, name, bytes(int(rng.choice([0, 0, 5])))) for _ in range(many)], _asked(rng))
        case "form":
            body = bytes(_spoilt(rng, bytearray(_form([(part, name, unseen()[0][1][1][:2000])], _asked(rng)))))
        case "json":
            target = ("/v1/checks", "/v1/similar-cases")[int(rng.integers(2))]
            return Hostile(kind, "POST", target, odd_json(rng), "application/json")
        case _:
            return Hostile(kind, "GET", PATHS[number // 10 % len(PATHS)])
    return Hostile(kind, "POST", path, body, "multipart/form-data; boundary=BOUND")


def damaged(rng: np.random.Generator) -> bytes:
    """A DICOM, PNG or JPEG image with flipped bytes, cut short or with something else inside."""
    data = bytearray(whole(str(rng.choice(KINDS))))
    if rng.random() < 0.2:  # headers are where the harm is
        at = int(rng.integers(0, min(len(data), 600)))
        data[at : at + 4] = struct.pack("<I", int(rng.choice([0, 1, 2**31 - 1, 2**32 - 1])))
    return bytes(_spoilt(rng, data))


def odd_json(rng: np.random.Generator) -> bytes:
    """JSON that is none, or is of the wrong form."""
    odd: list[Any] = [
        "x", -1, 10**400, 1e308, float("nan"), float("inf"), None, True, [], {}, [[[[]]]], "\ud800", "\x00",
        "a" * 60_000,
        {"a": {"b": 1}}, ["x"] * 5000, "PRELIM:0221", "effusion", -(2**63),
    ]  # fmt: skip
    fields = ("report", "context", "text", "findings", "anatomy", "like", "legs", "sex", "limit", "offset", "sources")
    inside = ("cases", "devices", "experts", "measurements", "supports", "sections", "compared", "history", "has_prior")

    def one() -> Any:
        return odd[int(rng.integers(len(odd)))]

    value = {str(rng.choice(fields)): one() for _ in range(int(rng.integers(1, 4)))}
    if rng.random() < 0.4:
        value = {"report": "There is an effusion.", "context": {str(rng.choice(inside)): one()}}
    match int(rng.integers(6)):
        case 0:
            return b"[" * 200_000
        case 1:
            return b'{"a":' * 50_000
        case 2:
            return bytes(_spoilt(rng, bytearray(json.dumps(value).encode())))
        case _:
            return json.dumps(value).encode()


def _asked(rng: np.random.Generator) -> bytes | None:
    return (None, b"{}", b"{", b"null", b'{"seed": 1e400}', b'{"priors": [' + b'"a",' * 5000 + b'"a"]}', b"\xff" * 99)[
        int(rng.integers(7))
    ]


def _spoilt(rng: np.random.Generator, data: bytearray) -> bytearray:
    for _ in range(int(rng.integers(1, 12))):
        if data:
            data[int(rng.integers(len(data)))] = int(rng.integers(256))
    return data[: int(rng.integers(len(data) + 1))] if rng.random() < 0.3 else data


def _form(files: list[tuple[str, str, bytes]], asked: bytes | None = None) -> bytes:
    parts = [
        b'--BOUND\r\nContent-Disposition: form-data; name="%s"; filename="%s"\r\n\r\n%s\r\n'
        % (part.encode(), name.encode(), content)
        for part, name, content in files
    ]
    if asked is not None:
        parts.append(b'--BOUND\r\nContent-Disposition: form-data; name="request"\r\n\r\n' + asked + b"\r\n")
    return b"".join(parts) + b"--BOUND--\r\n"


@cache
def png_bomb() -> bytes:
    """A PNG of 30,000 by 30,000 pixels in some 900 kB, all of it there."""
    side = 30_000

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    packed = zlib.compressobj(9)
    rows = b"".join(packed.compress(bytes(side + 1)) for _ in range(side)) + packed.flush()
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0))
        + chunk(b"IDAT", rows)
        + chunk(b"IEND", b"")
    )


@cache
def deflated_bomb() -> bytes:
    """A deflated DICOM file that inflates to 2 GB."""
    start = whole("deflated")
    length = 132 + 12 + struct.unpack("<I", start[140:144])[0]  # preamble, and the group that says its length
    packed = zlib.compressobj(9, zlib.DEFLATED, -15)
    rest = b"".join(packed.compress(bytes(2**20)) for _ in range(2048)) + packed.flush()
    return start[:length] + rest


@cache
def text_bomb() -> bytes:
    """A PNG whose text inflates to 500 MB."""
    packed = zlib.compressobj(9)
    text = b"".join(packed.compress(bytes(2**20)) for _ in range(500)) + packed.flush()
    data = b"Comment\x00\x00" + text
    chunk = struct.pack(">I", len(data)) + b"zTXt" + data + struct.pack(">I", zlib.crc32(b"zTXt" + data))
    image = whole("png")
    return image[:33] + chunk + image[33:]


def _zip() -> bytes:
    return b"PK\x03\x04" + bytes(26) + b"../../../../tmp/evil" + bytes(500)


def _gzip() -> bytes:
    return b"\x1f\x8b\x08" + bytes(500)


def _doctype() -> bytes:
    return b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaaa">]><x>&a;</x>'


def _lengths() -> bytes:
    """A DICOM file whose elements say that they are longer than the file."""
    data = bytearray(whole("implicit"))
    at = data.find(struct.pack("<HH", 0x7FE0, 0x0010))
    data[at + 4 : at + 8] = struct.pack("<I", 0xFFFFFFF0)
    return bytes(data)


BOMBS = (png_bomb, deflated_bomb, text_bomb, _zip, _gzip, _doctype, _lengths)
