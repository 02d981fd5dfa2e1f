"""Decoder processes: what one image does to its decoder, no other image notices."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from retrieval.errors import DecoderTimeout, ImageTooLarge, OperatorError, UnreadableImage, UnsupportedImage
from retrieval.pixels.limits import Limits
from retrieval.pixels.read import digest, read_header, read_pixels
from retrieval.pixels.sandbox import IN_FLIGHT, Readers, Reading, _Worker
from retrieval.pixels.statistics import pixel_statistics
from retrieval.pixels.wire import Image
from tests import dicom_files
from tests.dicom_files import as_is, draw, jpeg, png, ramp


@pytest.fixture
def paths(tmp_path: Path) -> list[str]:
    """Twelve different images; the fifth is all white."""
    drawn = []
    for number in range(12):
        grey = np.full((16, 16), 20 * number, np.uint8)
        if number == 4:
            grey[:] = 255
        write = (draw, png, jpeg)[number % 3]
        drawn.append(str(write(tmp_path / f"{number}", grey)))
    return drawn


@pytest.fixture(scope="module")
def readers() -> Iterator[Readers]:
    with Readers(dicom_files.as_is, workers=2, salt=b"salt") as started:
        yield started


def test_a_reading_is_what_reading_here_gives(readers: Readers, paths: list[str]) -> None:
    for reading, path in zip(readers.read(paths), paths, strict=True):
        assert isinstance(reading, Reading)
        assert (reading.path, reading.digest) == (path, digest(path))
        assert reading.attributes == read_header(path, salt=b"salt")
        np.testing.assert_array_equal(reading.prepared, read_pixels(path))
        assert reading.prepared.flags.writeable
        assert (reading.statistics, reading.look.size) == (None, 0)


def test_readers_that_look_also_say_what_the_grey_is_like(paths: list[str]) -> None:
    with Readers(as_is, look=as_is) as looking:
        for reading, path in zip(looking.read(paths), paths, strict=True):
            assert isinstance(reading, Reading)
            assert reading.statistics == pixel_statistics(read_pixels(path))
            np.testing.assert_array_equal(reading.look, read_pixels(path).ravel())


def test_decoders_stand_back_as_far_as_they_are_told_to(paths: list[str]) -> None:
    with Readers(as_is, nice=3) as modest:
        assert isinstance(next(modest.read(paths)), Reading)
        process = modest._workers[0]._process
        assert process is not None
        assert os.getpriority(os.PRIO_PROCESS, process.pid) == min(19, os.getpriority(os.PRIO_PROCESS, 0) + 3)


def test_readings_come_in_the_order_asked_for(readers: Readers, paths: list[str]) -> None:
    many = paths * 10
    assert [r.path for r in readers.read(many) if isinstance(r, Reading)] == many


def test_an_error_stands_in_its_image_s_place(readers: Readers, paths: list[str], tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.touch()
    colour = png(tmp_path / "colour", np.stack([ramp(8), ramp(8), ramp(8)[::-1]], axis=-1))
    huge = draw(tmp_path / "huge", Rows=65535, Columns=65535)
    results = list(readers.read([paths[0], str(empty), str(colour), str(huge), str(tmp_path / "none"), paths[1]]))
    kinds = [type(r) for r in results]
    assert kinds == [Reading, UnreadableImage, UnsupportedImage, ImageTooLarge, UnreadableImage, Reading]
    error = results[1]
    assert isinstance(error, UnreadableImage)
    assert (error.what, error.fix) == ("the file is empty", "export the image again")


def test_paths_are_taken_only_a_window_ahead(readers: Readers, paths: list[str]) -> None:
    taken = []

    def asked() -> Iterator[str]:
        for path in paths * 10:
            taken.append(path)
            yield path

    reading = readers.read(asked())
    next(reading)
    assert len(taken) == 2 * IN_FLIGHT
    reading.close()  # type: ignore[attr-defined]
    assert len(list(readers.read(paths))) == len(paths)


def test_reading_nothing_gives_nothing(readers: Readers) -> None:
    assert list(readers.read([])) == []


def test_a_path_that_is_no_text_is_read(readers: Readers, tmp_path: Path) -> None:
    path = os.fsdecode(os.fsencode(tmp_path) + b"/r\xf6ntgen.png")
    png(Path(path), ramp(8))
    assert [type(r) for r in readers.read([path])] == [Reading]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_crash_costs_one_image(paths: list[str], workers: int) -> None:
    with Readers(dicom_files.killed_by_white, workers=workers) as readers:
        results = list(readers.read(paths))
        again = list(readers.read(paths[:2]))
    assert [n for n, r in enumerate(results) if not isinstance(r, Reading)] == [4]
    assert isinstance(results[4], UnreadableImage)
    assert "died" in str(results[4])
    assert all(isinstance(r, Reading) for r in again)


def test_a_decoder_that_hangs_is_stopped_and_costs_one_image(paths: list[str]) -> None:
    with Readers(dicom_files.asleep_on_white, workers=1, timeout_s=0.5) as readers:
        results = list(readers.read(paths[:7]))
    assert [type(r) for r in results] == [Reading] * 4 + [DecoderTimeout] + [Reading] * 2


def test_too_much_memory_is_too_large_and_costs_one_image(paths: list[str]) -> None:
    with Readers(dicom_files.greedy, workers=1, memory_bytes=2**30) as readers:
        assert [type(r) for r in readers.read(paths[:2])] == [ImageTooLarge, ImageTooLarge]


def test_what_was_read_of_refused_images_does_not_pile_up(tmp_path: Path) -> None:
    bomb = str(dicom_files.deflated_bomb(tmp_path / "bomb.dcm", 32 * 2**20))
    with Readers(as_is, workers=1, limits=Limits(max_file_bytes=24 * 2**20)) as readers:

        def most_held() -> int:
            assert isinstance(next(iter(readers.read([bomb]))), ImageTooLarge)
            (worker,) = (w._process for w in readers._workers if w._process is not None)
            return int(Path(f"/proc/{worker.pid}/status").read_text().split("VmHWM:")[1].split()[0])

        first = most_held()
        assert max(most_held() for _ in range(6)) < first + 24 * 2**10


def test_the_limits_hold_in_the_decoder(paths: list[str]) -> None:
    with Readers(dicom_files.as_is, workers=1, limits=Limits(max_rows=15)) as readers:
        assert [type(r) for r in readers.read(paths[:3])] == [ImageTooLarge] * 3


def test_a_decoder_cannot_write_a_file(paths: list[str]) -> None:
    with Readers(dicom_files.writing, workers=1) as readers:
        (reading,) = readers.read(paths[:1])
    assert isinstance(reading, Reading)
    assert reading.prepared.tolist() == [0]


def test_a_decoder_has_no_secrets_in_its_environment(paths: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRELIM_TEST_SECRET", "1")
    with Readers(dicom_files.surroundings, workers=1) as readers:
        (reading,) = readers.read(paths[:1])
    assert isinstance(reading, Reading)
    assert reading.prepared[0] == 0


def test_what_would_have_to_be_unpickled_does_not_arrive(paths: list[str]) -> None:
    with Readers(dicom_files.of_objects, workers=1) as readers:
        (result,) = readers.read(paths[:1])
    assert isinstance(result, OperatorError)


@pytest.mark.parametrize(
    ("dtype", "shape"), [("|O8", (1,)), ("<V8", (1,)), ("<f4", (-1,)), ("<f8", (10**6, 10**6)), ("<M8", (1,))]
)
def test_only_numbers_of_a_bounded_size_are_received(paths: list[str], dtype: str, shape: tuple[int, ...]) -> None:
    said = {"digest": "0" * 64, "attributes": read_header(paths[0]), "statistics": pixel_statistics(np.zeros((1, 1)))}
    with pytest.raises(ValueError):  # noqa: PT011 - pydantic's or ours, both are that
        Image(**said, dtype=dtype, shape=shape).empty_array(2**30)  # type: ignore[arg-type]


def test_a_fault_of_prepare_is_named_by_class_and_line_and_not_the_image_s(paths: list[str]) -> None:
    with Readers(dicom_files.broken, workers=1) as readers:
        results = list(readers.read(paths[:3]))
    assert [type(r) for r in results] == [OperatorError] * 3
    assert "ZeroDivisionError in dicom_files.py, line " in str(results[0])


def _local(pixels: Any) -> Any:
    return pixels


def test_a_prepare_that_decoders_cannot_import_is_the_operator_s_to_repair(
    paths: list[str], monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    monkeypatch.setattr("tests.dicom_files._of_the_moment", _local, raising=False)
    _local.__module__, _local.__qualname__ = "tests.dicom_files", "_of_the_moment"
    with Readers(_local, workers=1) as readers, pytest.raises(OperatorError, match=r"not start: .*_of_the_moment"):
        list(readers.read(paths))
    assert capfd.readouterr() == ("", "")


def test_a_decoder_that_cannot_be_started_is_the_operator_s_to_repair(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(OperatorError, match="did not start: No such file"), Readers(dicom_files.as_is):
        pass


def test_what_a_decoder_prints_reaches_no_terminal(paths: list[str], capfd: Any) -> None:
    with Readers(dicom_files.chatty) as readers:
        assert [type(r) for r in readers.read(paths[:2])] == [Reading] * 2
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", ["\ud800.png", "", "x" * 5000, "a\0b"])
def test_text_that_can_be_no_path_costs_one_image(readers: Readers, paths: list[str], name: str) -> None:
    results = list(readers.read([paths[0], name, paths[1]]))
    assert [type(r) for r in results] == [Reading, UnreadableImage, Reading]
    assert "not a path" in str(results[1])


def test_what_fails_in_a_reading_thread_is_raised_where_it_was_asked_for(paths: list[str]) -> None:
    with Readers(dicom_files.as_is) as readers:
        with pytest.raises(TypeError):
            list(readers.read([17]))  # type: ignore[list-item]
        assert [type(r) for r in readers.read(paths[:2])] == [Reading] * 2


def test_an_answer_half_taken_is_never_that_to_the_next_path(paths: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    whole = _Worker._received

    def interrupted(self: _Worker, path: str, pipe: Any) -> Any:
        if path == paths[0]:
            raise MemoryError
        return whole(self, path, pipe)

    monkeypatch.setattr(_Worker, "_received", interrupted)
    with Readers(dicom_files.as_is) as readers:
        with pytest.raises(MemoryError):
            list(readers.read(paths[:3]))
        for reading, path in zip(readers.read(paths[1:4]), paths[1:4], strict=True):
            assert isinstance(reading, Reading)
            assert reading.digest == digest(path)


@pytest.mark.parametrize("workers", [0, -1])
def test_readers_without_a_worker_are_not_made(workers: int) -> None:
    with pytest.raises(ValueError, match="workers"):
        Readers(dicom_files.as_is, workers=workers)


def test_leaving_ends_the_decoders_even_in_the_middle_of_an_image(paths: list[str]) -> None:
    began = time.monotonic()
    with Readers(dicom_files.asleep_on_white, workers=2) as readers:
        reading = readers.read([paths[0], *paths[4:5] * 4])
        next(reading)
        pids = [worker._process.pid for worker in readers._workers if worker._process]
    assert time.monotonic() - began < 10
    assert len(pids) == 2
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_an_interrupt_leaves_no_decoder(paths: list[str]) -> None:
    pids: list[int] = []

    def interrupted() -> None:
        with Readers(dicom_files.as_is, workers=1) as readers:
            pids.extend(worker._process.pid for worker in readers._workers if worker._process)
            for _ in readers.read(paths):
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    with pytest.raises(ProcessLookupError):
        os.kill(pids[0], 0)


def test_readers_outside_a_with_block_do_not_read(paths: list[str]) -> None:
    with pytest.raises(RuntimeError, match="with block"):
        next(Readers(dicom_files.as_is).read(paths))


def test_readers_are_entered_once() -> None:
    readers = Readers(dicom_files.as_is)
    with readers:
        pass
    with pytest.raises(RuntimeError, match="once"), readers:
        pass


def test_a_decoder_ends_with_the_process_that_started_it(paths: list[str]) -> None:
    program = (
        "import os, sys\n"
        "from retrieval.pixels.sandbox import Readers\n"
        "from tests.dicom_files import as_is\n"
        "readers = Readers(as_is).__enter__()\n"
        "next(readers.read([sys.argv[1]]))\n"
        "print(readers._workers[0]._process.pid, flush=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    root = Path(__file__).parent.parent
    started = subprocess.run(
        [sys.executable, "-c", program, paths[0]], cwd=root, capture_output=True, text=True, check=False
    )
    pid = int(started.stdout)
    for _ in range(100):
        try:
            if Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z":
                return
        except FileNotFoundError:
            return
        time.sleep(0.05)
    pytest.fail("the decoder outlived its parent by 5 s")
