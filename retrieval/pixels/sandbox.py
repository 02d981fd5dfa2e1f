"""Decoding in processes that may fail: `Readers` reads image files in limited decoder processes.

What goes in is paths; what comes out, in the same order, is a `Reading` or the error of that image. A decoder that
crashes, hangs or runs out of memory costs the image it was reading and no other. The decoders (worker.py) are limited
in memory, time and files and write nothing; what they answer is checked (wire.py) and never unpickled, so a decoder
that a hostile file has taken over cannot pass that on to this process.

The processes are fresh interpreters, as with multiprocessing's `spawn`, but started by `subprocess`: spawn imports the
caller's main module a second time in every child, which for a command line is everything it has, and hands down the
whole environment, secrets included. Nothing here imports a decoder.
"""

import os
import pickle
import socket
import struct
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import BufferTooShort
from multiprocessing.connection import Connection
from queue import Empty, Queue
from threading import Lock, Thread
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from retrieval.errors import DecoderTimeout, OperatorError, PrelimError, UnreadableImage
from retrieval.pixels import Pixels
from retrieval.pixels.kept import unpacked
from retrieval.pixels.limits import DEFAULT_LIMITS, Limits
from retrieval.pixels.statistics import PixelStatistics
from retrieval.pixels.wire import MAX_ANSWER_BYTES, READY, Answer, Image, Keep, Setup
from retrieval.records import ImageAttributes, ImageDigest

_SENT = 2
"""Paths in a decoder's pipe: the one it reads and the next, so that it never waits to be asked."""
IN_FLIGHT = 4
"""Images per worker that are read ahead of the one asked for: bounds memory, and hides the caller's own work."""
START_TIMEOUT_S = 60.0
"""How long a decoder process may take to start."""
_STALL_S = 10
"""How long a decoder may pause in the middle of an answer."""
_SEND_BUFFER = 4 * 1024 * 1024
"""Asked of the kernel for a decoder's answers, in bytes; it gives as much of it as the machine allows."""
_PATH_BYTES = 4096
"""Linux opens no longer path; a very long one would fill the pipe while the decoder waits to be rid of its answer."""
_LAST_WORDS = 64 * 1024
"""Bytes read of what a decoder printed that did not start: as much as a pipe holds."""
_LAST_LINE = 300
"""Characters of the last line of it that are passed on."""
_KEPT = ("PATH", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "TMPDIR")
"""Environment that decoders get; anything else may be a secret."""
_ONE_THREAD = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
"""Each thread pool would take its share of the memory limit, and the workers are the parallelism."""


@dataclass(frozen=True)
class Reading:
    """One image, read."""

    path: str
    """As it was asked for."""
    digest: ImageDigest
    """SHA-256 of the bytes that were decoded."""
    attributes: ImageAttributes
    """What the header says."""
    statistics: PixelStatistics | None
    """What the grey is like; None without `look`, which the same callers ask for."""
    prepared: NDArray[Any]
    """What `prepare` made of the pixels."""
    look: NDArray[np.float32]
    """What `look` made of them, a vector; empty without one."""
    pixels: Pixels | None = None
    """The display-ready grey itself, at most `kept.LONGEST_SIDE` long; None unless the readers were to keep it."""


@dataclass(frozen=True)
class _Job:
    path: str
    result: "Future[Reading | PrelimError]"


class Readers:
    """Decoder processes that persist across images; use it as a context manager.

    `prepare`, and `look` where given, run in the decoders on the pixels of each image and are pickled by reference:
    functions of an importable module; what they raise, other than PrelimError, comes back as OperatorError. What a
    decoder prints is dropped.
    `keep` is whether the grey itself comes back as well, which costs two bytes a pixel of at most 1024 x 1024.
    `nice` is how far the decoders stand back behind other processes, from 0 to 19 as of Unix.
    `memory_bytes` bounds each decoder's address space, `timeout_s` the reading of one image. Several threads may read
    at once. Raises ValueError for fewer than one worker.
    """

    def __init__(
        self,
        prepare: Callable[[Pixels], NDArray[Any]],
        *,
        look: Callable[[Pixels], NDArray[np.float32]] | None = None,
        workers: int = 1,
        limits: Limits = DEFAULT_LIMITS,
        timeout_s: float = 20.0,
        memory_bytes: int = 2 * 1024**3,
        salt: bytes | None = None,
        keep: Keep = "nothing",
        nice: int = 0,
    ) -> None:
        if workers < 1:
            raise ValueError(f"{workers} workers read nothing")
        setup = Setup(prepare, look, limits, timeout_s, memory_bytes, salt, keep, nice)
        self._workers = [_Worker(setup) for _ in range(workers)]
        self._jobs: Queue[_Job | None] = Queue()
        self._threads: list[Thread] = []
        self._closed = False

    def __enter__(self) -> Self:
        """Start the decoders; they load while the caller goes on. Readers are entered once."""
        if self._threads or self._closed:
            raise RuntimeError("Readers are entered once")
        try:
            for worker in self._workers:
                worker.start()
                self._threads.append(Thread(target=self._serve, args=(worker,), name="reader", daemon=True))
                self._threads[-1].start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """See `close`."""
        self.close()

    def close(self) -> None:
        """Kill the decoders, whatever they are doing; images still waiting are not read."""
        self._closed = True
        self._cancel_waiting()
        for worker in self._workers:
            worker.close()
            self._jobs.put(None)
        for thread in self._threads:  # one that waits for a decoder has seen it go
            thread.join()
        self._cancel_waiting()  # what another thread asked for meanwhile

    def _cancel_waiting(self) -> None:
        with suppress(Empty):
            while True:
                if job := self._jobs.get_nowait():
                    job.result.cancel()

    def read(self, paths: Iterable[str]) -> Iterator[Reading | PrelimError]:
        """Read images, in the order asked for; an image that cannot be read gives its error in its place.

        At most `IN_FLIGHT` images a worker are taken from `paths` ahead of the one yielded. Raises OperatorError when
        decoders do not start at all.
        """
        if not self._threads or self._closed:
            raise RuntimeError("Readers reads inside its with block")
        ahead: deque[_Job] = deque()
        try:
            for path in paths:
                ahead.append(_Job(path, Future()))
                self._jobs.put(ahead[-1])
                if self._closed:  # by another thread; nobody is left to do it
                    raise RuntimeError("Readers was closed while it read")
                if len(ahead) >= IN_FLIGHT * len(self._workers):
                    yield ahead.popleft().result.result()
            while ahead:
                yield ahead.popleft().result.result()
        finally:
            for job in ahead:
                job.result.cancel()

    def _serve(self, worker: "_Worker") -> None:
        """Keep one decoder busy: it has its next path in the pipe before it has answered the one before."""
        sent: deque[_Job] = deque()
        while True:
            while len(sent) < _SENT:
                try:
                    job = self._jobs.get(block=not sent)
                except Empty:
                    break
                if job is None:
                    self._jobs.put(None)  # for after what was sent
                    if not sent:
                        return
                    break
                if not job.result.set_running_or_notify_cancel():
                    continue
                try:
                    worker.send(job.path)
                except UnreadableImage as error:
                    job.result.set_result(error)
                except BaseException as error:  # noqa: BLE001 - raised again where the result is asked for
                    job.result.set_exception(error)
                else:
                    sent.append(job)
            if not sent:
                continue
            job = sent.popleft()
            try:
                job.result.set_result(worker.receive(job.path, [later.path for later in sent]))
            except BaseException as error:  # noqa: BLE001 - raised again where the result is asked for
                job.result.set_exception(error)


class _Worker:
    """One decoder process and its pipe; used by one thread at a time, except for `close`."""

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self._lock = Lock()  # between `start` in a reader's thread and `close`
        self._closed = False
        self._ready = False
        self._process: subprocess.Popen[bytes] | None = None
        self._pipe: Connection[bytes, bytes] | None = None

    def start(self) -> None:
        """Start a process and return before it is ready."""
        ours, theirs = socket.socketpair()
        # A decoder that stops in the middle of an answer must not keep a thread of ours for ever.
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", _STALL_S, 0))
        # An answer that fits in the socket lets the decoder go on before this process has taken it.
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
        environment = {name: os.environ[name] for name in _KEPT if name in os.environ}
        environment |= dict.fromkeys(_ONE_THREAD, "1")
        environment["PYTHONPATH"] = os.pathsep.join(entry or os.getcwd() for entry in sys.path)  # noqa: PTH109
        command = [sys.executable, "-P", "-m", "retrieval.pixels.worker", str(theirs.fileno())]
        with self._lock, ours, theirs:
            if self._closed:
                return
            try:
                self._process = subprocess.Popen(
                    command,
                    env=environment,
                    pass_fds=[theirs.fileno()],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,  # a decoder's chatter must not end up in a command's output
                    stderr=subprocess.PIPE,  # for why it does not start; once it has, it points this elsewhere
                    process_group=0,  # Ctrl-C in a terminal reaches this process only, which then ends its decoders
                )
            except OSError as error:
                raise _not_started(error.strerror or type(error).__name__) from error
            self._pipe = Connection(ours.detach())
            self._ready = False
        setup = pickle.dumps(self._setup)
        with suppress(OSError):  # as in `send`
            self._pipe.send_bytes(setup)

    def send(self, path: str) -> None:
        """Ask for one image; that the process is gone is found out by `receive`.

        Raises UnreadableImage for text that can be no path, and then has not asked.
        """
        try:
            name = os.fsencode(path)
        except UnicodeEncodeError:
            name = b""
        if not 0 < len(name) < _PATH_BYTES:
            raise UnreadableImage("the file cannot be opened: not a path", fix="check the path")
        with suppress(OSError):
            if self._pipe is not None:
                self._pipe.send_bytes(name)

    def receive(self, path: str, later: Sequence[str]) -> Reading | PrelimError:
        """The answer to the first path not answered; `later` are the ones sent after it, still to be answered.

        Whatever happens to the process, the next image finds one that works. Raises OperatorError when it did not
        start.
        """
        try:
            pipe = self._ready_pipe()
            if pipe.poll(self._setup.timeout_s):
                return self._received(path, pipe)
            error: PrelimError = DecoderTimeout(
                f"reading the image took longer than {self._setup.timeout_s:g} s",
                fix="try again when the machine is less busy, or raise the time limit",
            )
        except (EOFError, OSError):
            error = UnreadableImage("the decoder process died reading this image", fix="export the image again")
        except (ValueError, BufferTooShort):  # of pydantic, too; and more bytes than were announced
            error = UnreadableImage("the decoder gave an answer that makes no sense", fix="export the image again")
        except BaseException:
            self._replace(later)  # or the rest of this answer would be taken for that to the next path
            raise
        self._replace(later)
        return error

    def close(self) -> None:
        """End the process now and for good."""
        with self._lock:
            self._closed = True
            process = self._process
        if process is not None:
            _end(process)
        # The pipe is left to the thread that may be reading it; it sees the end, and closing is the collector's.

    def _ready_pipe(self) -> "Connection[bytes, bytes]":
        if self._pipe is None:
            raise EOFError if self._closed else _not_started("none could be started after the last one")
        if not self._ready:
            try:
                started = self._pipe.poll(START_TIMEOUT_S) and self._pipe.recv_bytes(len(READY)) == READY
            except (EOFError, OSError):
                started = False
            if not started and not self._closed:
                raise _not_started(self._last_line())
            if self._process is not None and self._process.stderr is not None:
                self._process.stderr.close()
            self._ready = True
        return self._pipe

    def _received(self, path: str, pipe: "Connection[bytes, bytes]") -> Reading | PrelimError:
        answer = Answer.model_validate_json(pipe.recv_bytes(MAX_ANSWER_BYTES))
        if answer.fault is not None:
            return answer.fault.error()
        if answer.image is None:
            raise ValueError("an answer without image and fault")
        image = answer.image
        prepared = image.empty_array(self._setup.limits.max_decoded_bytes)
        if pipe.recv_bytes_into(prepared.reshape(-1).view(np.uint8).data) != prepared.nbytes:
            raise ValueError("an array of another size than said")
        look = np.frombuffer(pipe.recv_bytes(4 * image.looks + 1), np.float32)
        if look.size != image.looks:
            raise ValueError("another number of looks than said")
        pixels = self._kept(image, pipe) if self._setup.keep == "pixels" else None
        return Reading(path, image.digest, image.attributes, image.statistics, prepared, look, pixels)

    def _kept(self, image: Image, pipe: "Connection[bytes, bytes]") -> Pixels:
        if image.kept is None:
            raise ValueError("no pixels where they were asked for")
        grey = np.empty(image.kept, np.uint16)
        if pipe.recv_bytes_into(grey.reshape(-1).view(np.uint8).data) != grey.nbytes:
            raise ValueError("another number of pixels than said")
        return unpacked(grey)

    def _last_line(self) -> str:
        """What a process that did not start said last; it has seen no image yet, so this quotes no header."""
        process = self._process
        if process is None or process.stderr is None:
            return ""
        with suppress(subprocess.TimeoutExpired):
            process.wait(1)  # it may be writing still
        try:
            os.set_blocking(process.stderr.fileno(), False)
            said = process.stderr.read(_LAST_WORDS) or b""
        except (OSError, ValueError):  # closed by another thread
            said = b""
        lines = said.decode(errors="replace").split("\n")
        ended = "it did not get ready" if process.returncode is None else f"exit status {process.returncode}"
        last = next((line for line in reversed(lines) if line.strip()), ended)
        return "".join(c if c.isprintable() else "?" for c in last.strip())[:_LAST_LINE]

    def _replace(self, later: Sequence[str]) -> None:
        process, pipe = self._process, self._pipe
        if process is not None:
            _end(process)
        if pipe is not None:
            pipe.close()
        self._pipe = None
        self.start()
        for path in later:
            self.send(path)


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.kill()
    process.wait()
    if process.stderr is not None:
        process.stderr.close()


def _not_started(why: str) -> OperatorError:
    return OperatorError(f"the decoder process did not start: {why}", fix="repair the installation and start again")
