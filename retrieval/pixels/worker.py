"""The decoder process: reads one image after another until its pipe is closed.

Run as `python -P -m retrieval.pixels.worker FD` by `Readers`, never by a person. It gives up what it does not need
before it touches a file: memory beyond a limit, writing files, core dumps (they would hold pixels). It keeps no state
between images, and it ends when the process that started it does.
"""

import os
import pickle
import resource
import signal
import sys
import traceback
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

from retrieval.errors import ImageTooLarge, OperatorError, PrelimError
from retrieval.pixels.kept import packed
from retrieval.pixels.read import open_image
from retrieval.pixels.statistics import pixel_statistics
from retrieval.pixels.wire import READY, Answer, Fault, Image, Setup

_OPEN_FILES = 64


def main(descriptor: int) -> None:
    """Serve the pipe with this file descriptor until it is closed at the other end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that started this one
    connection: Connection[bytes, bytes] = Connection(descriptor)
    try:
        # These bytes come from the process that started this one, before any image was read.
        setup: Setup = pickle.loads(connection.recv_bytes())  # noqa: S301
        os.nice(setup.nice)
        _restrict(setup.memory_bytes)
        _silence()
        connection.send_bytes(READY)
        while True:
            path = os.fsdecode(connection.recv_bytes())
            answer, arrays = _answered(path, setup)
            connection.send_bytes(answer.model_dump_json().encode())
            for array in arrays:
                connection.send_bytes(array)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return


def _answered(path: str, setup: Setup) -> tuple[Answer, list[bytes]]:
    """Read one image; whatever goes wrong is the answer. With it come the bytes of the arrays it announces."""
    # The other side kills this process at its timeout. Should that side be gone, the kernel does, even in C code.
    signal.setitimer(signal.ITIMER_REAL, setup.timeout_s + 5)
    try:
        file = open_image(path, setup.limits)
        attributes = file.attributes(setup.salt)
        pixels = file.pixels()
        # Grey statistics are for the gate, like looks; indexing asks for neither, and they cost a tenth of its time.
        statistics = None if setup.look is None else pixel_statistics(pixels)
        prepared = np.ascontiguousarray(setup.prepare(pixels))
        looks = np.zeros(0, np.float32) if setup.look is None else setup.look(pixels).astype(np.float32).ravel()
        kept = packed(pixels) if setup.keep == "pixels" else None
        image = Image(
            digest=file.digest(),
            attributes=attributes,
            statistics=statistics,
            dtype=prepared.dtype.str,
            shape=prepared.shape,
            looks=looks.size,
            kept=None if kept is None else (kept.shape[0], kept.shape[1]),
        )
        arrays = [prepared.tobytes(), looks.tobytes()] + ([] if kept is None else [kept.tobytes()])
        return Answer(image=image), arrays
    # No error outlives its handler: with its traceback it would hold this frame, and this frame it, so that everything
    # that was read of a damaged image stayed until a collection came by; four bombs were more than a gigabyte.
    except MemoryError:
        fault = _fault(ImageTooLarge("the image does not fit in the decoder's memory", fix="export it smaller"))
    except PrelimError as error:
        fault = _fault(error)
    except Exception as error:  # noqa: BLE001 - a fault of `prepare` or of ours: told to the other side, not swallowed
        where = f"{_where(error)} while an image was read"
        fault = _fault(OperatorError(where, fix="report this with the image's digest"))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    return Answer(fault=fault), []


def _fault(error: PrelimError) -> Fault:
    return Fault(code=error.code, what=error.what, fix=error.fix)


def _where(error: Exception) -> str:
    """Class and line of an error that nobody foresaw, without its text, which may quote a header."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} in {Path(frame.filename).name}, line {frame.lineno},"


def _restrict(memory_bytes: int) -> None:
    for limit, value in (
        (resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, _OPEN_FILES),
    ):
        _, hard = resource.getrlimit(limit)
        allowed = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(limit, (allowed, allowed))


def _silence() -> None:
    """Drop what is printed from here on, in C code too: it may quote a header. What kept from starting was said."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 2)
    os.close(nothing)


if __name__ == "__main__":
    main(int(sys.argv[1]))
