"""Files of requests on disk: nothing stays of a process that was killed, and nothing is taken from one that lives."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from service import temporary
from service.temporary import remove_left_behind, upload_folder
from service.uploads import received
from service.wiring import open_front
from tests.http_serving import collection


class File:
    """One file as it comes in."""

    def __init__(self) -> None:
        self.rest = b"a patient"

    async def read(self, _: int, /) -> bytes:
        content, self.rest = self.rest, b""
        return content


def put() -> Path:
    return asyncio.run(received([File()])).paths[0]


PUTS = """
import sys
from tests.test_uploads import put
put()
print("there", flush=True)
sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where temporary files go."""
    collection()  # lies where they went before
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    temporary._own.cache_clear()
    yield tmp_path
    temporary._own.cache_clear()


@contextmanager
def another(folder: Path) -> Iterator["subprocess.Popen[str]"]:
    """Another process, which has put down a file."""
    with subprocess.Popen(
        [sys.executable, "-c", PUTS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "TMPDIR": str(folder)}, cwd=Path(__file__).parent.parent,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == "there\n"
        try:
            yield process
        finally:
            process.kill()


def images(folder: Path) -> list[Path]:
    return [*folder.rglob("0")]


def test_files_of_a_killed_process_go_when_the_next_begins_and_those_of_one_that_lives_stay(folder: Path) -> None:
    mine = put()
    index = str(collection() / "index")
    with another(folder) as killed, another(folder) as lives:
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        assert len(images(folder)) == 3
        with open_front(index):
            assert len(images(folder)) == 2
        assert mine.exists()
        # In order, a process leaves nothing.
        assert lives.stdin is not None
        lives.stdin.close()
        assert lives.wait(20) == 0
        assert images(folder) == [mine]


def test_what_looks_like_a_folder_of_uploads_and_leads_elsewhere_is_left_alone(folder: Path) -> None:
    (folder / "else").mkdir()
    (folder / "else/file").touch()
    (folder / "prelim-uploads-link").symlink_to(folder / "else")
    (folder / "prelim-uploads-file").touch()
    remove_left_behind()
    assert (folder / "else/file").exists()
    assert (folder / "prelim-uploads-file").exists()


def test_a_process_whose_folder_was_cleaned_away_makes_another(folder: Path) -> None:
    shutil.rmtree(upload_folder().parent)
    assert upload_folder().is_dir()


def test_every_folder_is_for_this_user_alone(folder: Path) -> None:
    upload = upload_folder()
    assert (upload.parent.parent, upload.parent.stat().st_mode & 0o077, upload.stat().st_mode & 0o077) == (folder, 0, 0)
