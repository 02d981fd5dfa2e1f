"""A shelf that dies at its n-th change, and a worker process that is killed from outside."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from retrieval.stores.faiss_segments import FaissSegments
from retrieval.stores.segmented import SegmentedStore
from tests.stores_drawing import DIMENSION, ENCODER, entries


class Killed(BaseException):
    """Stands for SIGKILL: not an Exception, so nothing that tidies up after errors gets to see it."""


class Interrupted:
    """A real shelf whose changes are counted; before or in the middle of change number `at` the process 'dies'."""

    def __init__(self, shelf, at: int, *, halfway: bool) -> None:
        self._shelf = shelf
        self._at = at
        self._halfway = halfway
        self.dead = False

    def __getattr__(self, name: str):
        return getattr(self._shelf, name)

    def _count(self) -> bool:
        """Whether this change must stop halfway; raises when it must not even begin."""
        if self.dead:
            raise Killed
        self._at -= 1
        if self._at < 0:
            self.dead = True
            if not self._halfway:
                raise Killed
            return True
        return False

    def write(self, name: str, body: bytes) -> None:
        if self._count():
            if isinstance(self._shelf, FaissSegments):
                path = self._shelf._document(name)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.with_name(path.name + ".partial").write_bytes(body[: len(body) // 2])
            raise Killed
        self._shelf.write(name, body)

    def delete(self, name: str) -> None:
        if self._count():
            raise Killed
        self._shelf.delete(name)

    def build(self, segment: str, dimension: int, given):
        stop = self._count()

        def some() -> Iterator:
            for number, each in enumerate(given):
                if stop and number:
                    raise Killed
                yield each
            if stop:
                raise Killed

        return self._shelf.build(segment, dimension, some())

    def drop(self, segment: str) -> None:
        if self._count():
            if isinstance(self._shelf, FaissSegments):
                for file in sorted(self._shelf._segment(segment).glob("*"))[:1]:
                    file.unlink()
            raise Killed
        self._shelf.drop(segment)


def stage_and_publish_forever(directory: str, acknowledged: str) -> None:
    """Stage cases one by one and publish every third; each acknowledged staging is one line in `acknowledged`."""
    store = SegmentedStore(FaissSegments(Path(directory)), ENCODER, DIMENSION)
    numbers = [int(case_id.rpartition("-")[2]) for case_id in (*store.contents(), *store.staged())]
    number = max(numbers, default=-1) + 1
    handle = os.open(acknowledged, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    while True:
        store.stage(entries([number]))
        # One write call: the line is with the kernel, and outlives us, when it returns.
        os.write(handle, f"{number}\n".encode())
        if number % 3 == 2:
            store.publish()
        number += 1


def copy_store(source: Path, target: Path) -> Path:
    shutil.rmtree(target, ignore_errors=True)
    return Path(shutil.copytree(source, target))
