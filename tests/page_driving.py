"""The page in a real browser before a real `prelim serve`: what its tests begin with, and what none leaves behind."""

import base64
import contextlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from evaluation.drawings import draw, write_studies
from indexing.__main__ import main as prelim_index
from tests.conftest import skip_or_fail
from tests.dicom_files import dataset, save

CHROMIUM = "/usr/bin/chromium"
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
STUDIES = 60
PATIENCE_MS = 60_000
HOSTILE = (
    "<script>window.hacked = 1</script><img src=x onerror='window.hacked = 2'></div>"
    "<a href='javascript:window.hacked = 3'>javascript:</a> {{window.hacked}} \U0001f600"
)
"""What a report or a case may hold, and must stay."""
DROPPED = """([data, name]) => {
  const bytes = Uint8Array.from(atob(data), (each) => each.charCodeAt(0));
  const carried = new DataTransfer();
  carried.items.add(new File([bytes], name));
  return carried;
}"""


def need_chromium() -> Any:
    """What drives Chromium; skips or fails where it or the browser is missing."""
    try:
        from playwright.sync_api import sync_playwright  # noqa: PLC0415
    except ImportError:
        skip_or_fail("chromium", "the Python package playwright is not installed")
    if not Path(CHROMIUM).exists():
        skip_or_fail("chromium", f"there is no {CHROMIUM}")
    return sync_playwright


def write_collection(folder: Path) -> None:
    """Drawn studies with sexes, ages and hostile reports, their index, and images of studies that are not in it."""
    manifest = write_studies(folder / "studies", STUDIES)
    head, *rows = manifest.read_text().splitlines()
    told = [json.loads(row) for row in rows]
    for number, row in enumerate(told):
        row["sex"] = "FM"[number % 2]
        row["age"] = 64 if number % 3 else 35
        # In front of the text, so that places in it count a character that JavaScript counts twice.
        if number % 3 == 0:
            row["report"]["text"] = row["report"]["text"].replace("FINDINGS: ", f"FINDINGS: {HOSTILE} ")
        row["labels"] = [*row["labels"], "<b onclick='window.hacked = 4'>label</b>"]
    manifest.write_text("\n".join([head, *map(json.dumps, told)]) + "\n")
    assert prelim_index(["build", str(manifest), "--index", str(folder / "index")]) == 0
    write_studies(folder / "drawn", 1, seed=9105)
    (folder / "drawn/images/009105.png").rename(folder / "unseen.png")
    from pydicom.uid import ExplicitVRLittleEndian  # noqa: PLC0415

    grey = draw(9105).frontal
    save(folder / "unseen.dcm", dataset(grey, ViewPosition="PA", BodyPartExamined="CHEST"), ExplicitVRLittleEndian)
    save(folder / "knee.dcm", dataset(grey, ViewPosition="AP", BodyPartExamined="KNEE"), ExplicitVRLittleEndian)


@contextmanager
def prelim_serve(folder: Path, *options: str) -> Iterator[str]:
    """The command itself, as somebody starts it; gives the address that it tells."""
    command = [sys.executable, "-m", "service", "serve", "--port", "0", "--decoders", "1"]
    command += ["--index", str(folder / "index"), "--images", str(folder / "studies"), *options]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200", "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            assert process.stderr is not None
            line = process.stderr.readline().decode()
            found = re.search(r"http://[0-9.:]+", line)
            assert found, line + process.stderr.read().decode()
            yield found[0]
        finally:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.communicate(timeout=30)
            process.kill()


@dataclass
class Tab:
    """A tab with the page, and everything it complained of or asked for."""

    page: Any
    address: str
    complaints: list[str] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)

    def watch(self) -> None:
        """Remember errors, and requests that go anywhere but to the service."""
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("console", lambda said: self._said(said.type, said.text))
        self.page.on("request", lambda asked: self._asked(asked.url))

    def _said(self, kind: str, text: str) -> None:
        if kind in ("error", "warning") and "willReadFrequently" not in text:  # which is about these tests
            self.complaints.append(text)

    def _asked(self, url: str) -> None:
        if not url.startswith((f"{self.address}/", "data:", "blob:")):
            self.elsewhere.append(url)

    def open(self) -> None:
        """The page, ready to be worked with."""
        self.page.goto(self.address)
        self.page.wait_for_selector("#examples li")

    def drop(self, path: Path) -> None:
        """Drop a file, as from a folder, and wait for an answer."""
        data = base64.b64encode(path.read_bytes()).decode()
        carried = self.page.evaluate_handle(DROPPED, [data, "dropped"])
        self.page.dispatch_event("main", "drop", {"dataTransfer": carried})
        self.answered()

    def answered(self) -> None:
        """Wait until a search has ended."""
        self.shows("#status", "found|match|scope")

    def searches(self, name: str, value: str) -> None:
        """Fill one field of the filters, search by it and wait for the answer."""
        self.page.fill(f"#filters [name={name}]", value)
        with self.page.expect_response(lambda answer: "similar-cases" in answer.url):
            self.page.press(f"#filters [name={name}]", "Enter")
        self.answered()

    def pixels(self, pane: str) -> tuple[int, ...]:
        """The canvas of a pane as it is seen: red of every seventh pixel, which is its grey."""
        script = f"""() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => {{
            const canvas = document.querySelector("#{pane} canvas.image");
            const {{ data }} = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
            done(Array.from({{ length: Math.floor(data.length / 28) }}, (_, at) => data[28 * at]));
        }})))"""
        return tuple(self.page.evaluate(script))

    def seen(self, pane: str) -> str:
        """How the pane says it is looked at."""
        self.page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        return str(self.page.text_content(f"#{pane} .seen"))

    def case_shown(self) -> str:
        """The id of the open case."""
        return str(self.page.text_content("#of-case h3"))

    def with_image(self) -> None:
        """Wait until the case's image is there."""
        self.shows("#case .seen", "zoom")

    def shows(self, selector: str, pattern: str) -> None:
        """Wait until an element's text has the pattern; not by a script, which the page's policy would refuse."""
        from playwright.sync_api import expect  # noqa: PLC0415

        expect(self.page.locator(selector)).to_have_text(re.compile(pattern), timeout=PATIENCE_MS)
