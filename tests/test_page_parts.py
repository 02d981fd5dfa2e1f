"""The page's parts by themselves: its files, its colours, and its modules in Chromium on what no service here sends."""

import base64
import json
import re
import struct
import zlib
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

import service.http.page
from service.http.page.page import FILES, POLICY
from tests.http_serving import problem, served
from tests.page_driving import ARGUMENTS, CHROMIUM, need_chromium

FOLDER = Path(str(service.http.page.__file__)).parent
STREAM = """async (chunks) => {
  const { eventsOf } = await import("/page/events.js");
  const { Telling, showDraft } = await import("/page/draft.js");
  const bytes = new TextEncoder().encode(chunks.join(""));
  const cut = chunks.map((_, at) => Math.floor((at * bytes.length) / chunks.length) + at * 3);
  const stream = new ReadableStream({ start(to) {
    for (const [at, from] of cut.entries()) to.enqueue(bytes.slice(from, cut[at + 1]));
    to.close();
  } });
  const root = document.createElement("div");
  const telling = new Telling(root, () => {});
  const heard = [];
  for await (const { event, data } of eventsOf(stream)) {
    heard.push(event);
    if (event === "sentence" || event === "withdrawn") telling.hear(data);
    if (event === "draft") showDraft(root, data, () => {});
  }
  return [heard, [...root.querySelectorAll(".card")].map((card) => [
    card.className, card.querySelector(".said").textContent, card.querySelector("s")?.textContent ?? "",
    [...card.querySelectorAll(".flag")].map((flag) => flag.textContent)]), root.textContent];
}"""


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    with served() as (client, _):
        yield client


@pytest.fixture(scope="module")
def page(client: httpx.Client) -> Iterator[Any]:
    with need_chromium()() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        page = browser.new_page()
        page.goto(str(client.base_url))
        yield page
        browser.close()


def test_every_file_of_the_page_is_served_and_nothing_else_is(client: httpx.Client) -> None:
    kept = {path.name for path in FOLDER.iterdir() if path.suffix in (".html", ".css", ".js", ".svg")}
    assert kept == set(FILES)
    for name, kind in FILES.items():
        answer = client.get(f"/page/{name}")
        assert answer.status_code == 200
        assert answer.headers["content-type"] == kind
        assert answer.headers["content-security-policy"] == POLICY
    assert client.get("/").text == client.get("/page/index.html").text
    for path in ("/page/page.py", "/page/__init__.py", "/page/..%2fapp.py", "/page/%2e%2e/app.py", "/page/"):
        problem(client.get(path), 404, "NOT_FOUND")


def test_the_page_names_no_other_host_and_nothing_inline() -> None:
    for name in FILES:
        text = (FOLDER / name).read_text()
        hosts = set(re.findall(r"(?:https?:)?//[a-z0-9.-]+\.[a-z]+", text)) - {"http://www.w3.org"}
        assert not hosts, name
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function", text), name
        assert not re.search(r"localStorage|sessionStorage|indexedDB|document\.cookie", text), name
    html = (FOLDER / "index.html").read_text()
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=|<script(?! type=\"module\" src=\"/page/)", html)


@pytest.mark.parametrize("light", ["dark", "light"])
def test_text_can_be_read_against_what_it_stands_on(light: str) -> None:
    css = (FOLDER / "page.css").read_text()
    blocks = re.findall(r":root \{([^}]*)\}", css)
    colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", blocks[0 if light == "dark" else 1]))
    texts = ("text", "quiet", "accent", "shared", "against", "only", "alarm")
    pairs = [(text, ground) for text in texts for ground in ("ground", "raised")]
    pairs += [("shared", "shared-ground"), ("against", "against-ground"), ("text", "against-ground")]
    pairs += [("alarm", "alarm-ground"), ("text", "alarm-ground"), ("on-accent", "accent")]
    faint = {pair: ratio for pair in pairs if (ratio := contrast(*(colours[name] for name in pair))) < 4.5}
    assert not faint
    assert contrast(colours["focus"], colours["ground"]) >= 3


def contrast(one: str, other: str) -> float:
    """As WCAG 2 counts it."""

    def light(colour: str) -> float:
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    lighter, darker = sorted((light(one), light(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def png(grey: NDArray[Any], kinds: list[int]) -> bytes:
    """A grey PNG whose lines are written in these ways, in turn, its data in two chunks."""
    step = grey.dtype.itemsize
    raw = grey.astype(grey.dtype.newbyteorder(">")).tobytes()
    line = grey.shape[1] * step
    rows = [bytes(line), *(raw[at : at + line] for at in range(0, len(raw), line))]
    lines = b""
    for number, (above, row) in enumerate(pairwise(rows)):
        kind = kinds[number % len(kinds)]
        lines += bytes([kind])
        for i, byte in enumerate(row):
            left, corner = (row[i - step], above[i - step]) if i >= step else (0, 0)
            nearest = min((left, above[i], corner), key=lambda each: abs(left + above[i] - corner - each))
            guess = (0, left, above[i], (left + above[i]) // 2, nearest)[kind]
            lines += bytes([(byte - guess) % 256])
    data = zlib.compress(lines)
    header = struct.pack(">IIBBBBB", grey.shape[1], grey.shape[0], 8 * step, 0, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"gAMA", bytes(4)), (b"IDAT", data[:9]), (b"IDAT", data[9:]), (b"IEND", b"")]
    framed = (
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)) for name, body in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(framed)


def decoded(page: Any, content: bytes) -> Any:
    return page.evaluate(
        """async (data) => {
          const { decodePng } = await import("/page/png.js");
          const bytes = Uint8Array.from(atob(data), (each) => each.charCodeAt(0));
          try {
            const { rows, columns, grey } = await decodePng(bytes.buffer);
            return [rows, columns, [...grey]];
          } catch (error) {
            return error.message;
          }
        }""",
        base64.b64encode(content).decode(),
    )


@pytest.mark.parametrize("kinds", [[0], [1], [2], [3], [4], [4, 1, 3, 0, 2]])
@pytest.mark.parametrize("bits", [8, 16])
def test_a_png_is_decoded_to_exactly_its_greys(page: Any, kinds: list[int], bits: int) -> None:
    dtype = np.uint8 if bits == 8 else np.uint16
    grey = np.random.default_rng(bits).integers(0, 2**bits, (11, 7)).astype(dtype)
    rows, columns, greys = decoded(page, png(grey, kinds))
    assert (rows, columns) == (11, 7)
    assert np.array_equal(np.reshape(greys, (11, 7)), grey.astype(int) * (257 if bits == 8 else 1))


def test_a_damaged_png_is_refused_and_not_shown_in_part(page: Any) -> None:
    whole = png(np.arange(48, dtype=np.uint16).reshape(6, 8), [1])
    assert "PNG" in decoded(page, b"no image at all")
    assert isinstance(decoded(page, whole[:60]), str)
    assert decoded(page, whole[:19] + b"\x09" + whole[20:]) == "a PNG of another length than it says"
    assert decoded(page, whole[:25] + b"\x02" + whole[26:]) == "not a plain grey PNG"


def told(event: str, number: int, **sentence: Any) -> str:
    said = {"section": "findings", "topic": "pleura", "abnormal": True, "flags": [], **sentence}
    said["support"] = {"case_ids": ["one"], "of": 8, "experts": ["densenet"], "prior": False}
    return f"event: {event}\nid: {number}\ndata: {json_of({'event': event, 'number': number, 'sentence': said})}\n\n"


def json_of(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def test_a_withdrawn_sentence_is_struck_out_and_flags_are_told_by_sign_and_words(page: Any) -> None:
    flags = [
        {"code": "SIDE", "severity": "hard", "explanation": "the side is another."},
        {"code": "UNSUPPORTED", "severity": "soft", "explanation": "nothing says so."},
    ]
    heard, cards, text = page.evaluate(
        STREAM,
        [
            ": still here\n\n",
            told("sentence", 0, text="Größere Ergüsse. <b>"),
            told("sentence", 1, text="A second.", flags=flags),
            told("withdrawn", 0, text="Größere Ergüsse. <b>"),
        ],
    )
    assert heard == ["sentence", "sentence", "withdrawn"]
    assert cards[0][0].split() == ["card", "is-abnormal", "withdrawn"]
    assert cards[0][1:3] == ["Größere Ergüsse. <b> withdrawn by a check", "Größere Ergüsse. <b>"]
    assert cards[1][3] == [
        "!!wrong unless explained: the side is another. SIDE",
        "!worth a look: nothing says so. UNSUPPORTED",
    ]
    assert "1 of 8 similar cases" in text
    assert "expert densenet" in text
    assert "DRAFT for a radiologist to edit and sign" in text
