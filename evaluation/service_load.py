"""The service under load: how long drafts take at 1, 8 and 32 callers, and what lies between them and the drafter.

`prelim serve` runs as users start it, in processes of its own, on loopback, over drawn studies; callers are threads
here, each waiting for its draft before it asks for the next. Overhead is a draft over HTTP minus the same one by the
same drafter in this process, in turns. Beside bulk, a caller asks now and then while jobs keep the queue full. Machines
are shared: everything is compared within one run. What is measured against vLLM uses random weights and a vocabulary so
small that prompts are four times as long as a real model's.
"""

import argparse
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Final

import httpx
import numpy as np
from rich.table import Table

from evaluation.served import Service, drawn
from retrieval.record import Record
from service.model_options import add_model_arguments, writer_options
from service.request import DraftRequest
from service.wiring import open_front

LEVELS: Final = (1, 8, 32)
EACH: Final = 4
"""Drafts that every caller asks for at a level, and 40 in all at least."""
PAIRS: Final = 40
PROBES: Final = 60
EVERY_S: Final = 2.0
"""Between two questions beside bulk: each is over before the next one comes."""
FLOOD: Final = 400
"""Callers at once: 160 were all taken in, since callers on the same cores do not come faster than some are answered."""


class Spread(Record):
    """How long drafts took."""

    drafts: int
    """Behind the figures."""
    p50_ms: float
    """Half of them took less."""
    p95_ms: float
    """19 of 20 took less."""
    p99_ms: float
    """99 of 100 took less; of fewer than a hundred, an estimate between the two slowest."""
    rate: float
    """Drafts a second, of all callers together."""


class Beside(Record):
    """One caller while jobs keep the queue full."""

    alone: Spread
    """The same caller with nothing beside."""
    beside: Spread
    """With jobs beside."""
    p95_rises: float
    """As a share of the one alone."""
    bulk_rate: float
    """Jobs a second with nobody else there."""
    bulk_rate_beside: float
    """Jobs a second while the caller asks."""


class Flood(Record):
    """More callers at once than may wait."""

    callers: int
    """At once, one draft each."""
    drafted: int
    """Answered with a draft."""
    shed: int
    """Told to come again (429 with Retry-After)."""
    other: int
    """Anything else; there must be none."""
    after: Spread
    """One caller right after it."""


class LoadRow(Record):
    """One way to write."""

    bare_ms: float
    """A draft by the drafter in this process; the median."""
    http_ms: float
    """The same draft over HTTP, in turns; the median."""
    overhead_ms: float
    """Median of the differences, pair by pair."""
    levels: dict[str, Spread]
    """By callers at once."""
    beside: Beside
    """One caller and bulk."""
    flood: Flood
    """Too many callers."""
    memory_mib: tuple[float, float]
    """Of the service after the first draft and at the end, all processes."""


class Load(Record):
    """What `prelim-evaluate load` measured."""

    cores: int
    """Of the machine, for service, callers and vLLM together."""
    at_once: int
    """Drafts that the service works on at once."""
    rows: dict[str, LoadRow]
    """By who writes."""


Post = Callable[[int], httpx.Response]
"""Ask for the draft of the n-th unseen study."""


def measure_load(at_once: int = 4, *, with_vllm: bool = True) -> Load:
    """Start services and measure them; about ten minutes for each way to write."""
    sys.setswitchinterval(0.0005)  # a caller here must not wait for the threads that feed jobs
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        index, images = drawn(folder)
        rows = {"similar cases": _row(index, images, folder, at_once, [])}
        if with_vllm:
            with _language_model(folder) as options:
                rows["language model in vLLM"] = _row(index, images, folder, at_once, options)
    return Load(cores=os.cpu_count() or 1, at_once=at_once, rows=rows)


def load_tables(measured: Load) -> list[Table]:
    """The figures for a terminal."""
    levels = Table(title=f"drafts over HTTP on {measured.cores} cores, {measured.at_once} worked on at once")
    for name in ("by", "callers", "drafts", "p50", "p95", "p99", "drafts/s"):
        levels.add_column(name, justify="left" if name == "by" else "right")
    rest = Table(title="overhead, beside bulk, and too many at once")
    rest.add_column("by")
    rest.add_column("")
    for name, row in measured.rows.items():
        for callers, spread in row.levels.items():
            levels.add_row(name, callers, str(spread.drafts), *_columns(spread))
        rest.add_row(name, f"bare drafter {row.bare_ms:.0f} ms, over HTTP {row.overhead_ms:+.1f} ms")
        beside, flood = row.beside, row.flood
        rest.add_row(
            "",
            f"one caller beside bulk: p95 {beside.alone.p95_ms:.0f} -> {beside.beside.p95_ms:.0f} ms "
            f"({beside.p95_rises:+.0%}); bulk {beside.bulk_rate:.2f} -> {beside.bulk_rate_beside:.2f} a second",
        )
        rest.add_row(
            "",
            f"{flood.callers} at once: {flood.drafted} drafted, {flood.shed} told to come again, {flood.other} other; "
            f"p50 right after {flood.after.p50_ms:.0f} ms",
        )
        rest.add_row("", f"memory {row.memory_mib[0]:.0f} -> {row.memory_mib[1]:.0f} MiB")
    return [levels, rest]


def _columns(spread: Spread) -> list[str]:
    return [f"{spread.p50_ms:.0f} ms", f"{spread.p95_ms:.0f} ms", f"{spread.p99_ms:.0f} ms", f"{spread.rate:.2f}"]


def _row(index: Path, images: Sequence[Path], folder: Path, at_once: int, options: list[str]) -> LoadRow:
    where = folder / ("with-model" if options else "without")
    where.mkdir()
    service = Service(index, where, "--at-once", str(at_once), *options)
    # Connections are kept, as a caller of many drafts keeps them.
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=64)
    try:
        with httpx.Client(base_url=service.url, timeout=300, trust_env=False, limits=limits) as client:
            post = poster(client, images)
            post(0).raise_for_status()
            before = service.memory_mib
            bare, http, overhead = _overhead(index, images, options, post)
            return LoadRow(
                bare_ms=bare,
                http_ms=http,
                overhead_ms=overhead,
                levels={str(level): _at_level(post, level) for level in LEVELS},
                beside=_beside_bulk(client, images, post),
                flood=_flood(post),
                memory_mib=(before, service.memory_mib),
            )
    finally:
        service.kill()


def poster(client: httpx.Client, images: Sequence[Path]) -> Post:
    """Drafts of these images in turn."""
    held = [("images", (image.name, image.read_bytes())) for image in images]
    return lambda n: client.post("/v1/drafts", files=[held[n % len(held)]], data={"request": '{"view": "PA"}'})


def _overhead(index: Path, images: Sequence[Path], options: list[str], post: Post) -> tuple[float, float, float]:
    """Milliseconds: bare, over HTTP, and the median of the differences, in turns."""
    parser = argparse.ArgumentParser()
    add_model_arguments(parser)
    writer = writer_options(parser.parse_args(options))
    asked = DraftRequest(view="PA")
    bare, http = [], []
    with open_front(str(index), writer=writer, at_once=1) as front:
        for n in range(PAIRS + 2):
            began = time.perf_counter()
            front.draft_now([images[n % len(images)]], asked, front.writer(asked), None, front.halt(asked))
            middle = time.perf_counter()
            post(n).raise_for_status()
            if n >= 2:  # the first are slower
                bare.append(1000 * (middle - began))
                http.append(1000 * (time.perf_counter() - middle))
    return float(np.median(bare)), float(np.median(http)), float(np.median(np.subtract(http, bare)))


def _at_level(post: Post, callers: int) -> Spread:
    """Callers who each wait for a draft and ask for the next."""
    numbers, seconds = count(), list[float]()

    def caller(_: int) -> None:
        for _ in range(max(EACH, 40 // callers)):
            began = time.perf_counter()
            post(next(numbers)).raise_for_status()
            seconds.append(time.perf_counter() - began)

    began = time.perf_counter()
    with ThreadPoolExecutor(callers) as pool:
        list(pool.map(caller, range(callers)))
    return _spread(seconds, time.perf_counter() - began)


def _spread(seconds: Sequence[float], wall: float) -> Spread:
    p50, p95, p99 = (1000 * float(each) for each in np.percentile(seconds, (50, 95, 99)))
    return Spread(drafts=len(seconds), p50_ms=p50, p95_ms=p95, p99_ms=p99, rate=len(seconds) / wall)


def _beside_bulk(client: httpx.Client, images: Sequence[Path], post: Post) -> Beside:
    """One caller alone and beside jobs, in turns of a quarter each."""
    alone, beside = list[float](), list[float]()
    quiet, busy = [], []
    with _jobs(client, images) as jobs:
        for _ in range(4):
            jobs.pause()
            alone += _now_and_then(post, PROBES // 4)
            jobs.go_on()
            quiet.append(jobs.rate_over(15))
            begun = jobs.ended()
            began = time.perf_counter()
            beside += _now_and_then(post, PROBES // 4)
            busy.append((jobs.ended() - begun) / (time.perf_counter() - began))
    one, other = _spread(alone, EVERY_S * len(alone)), _spread(beside, EVERY_S * len(beside))
    return Beside(
        alone=one,
        beside=other,
        p95_rises=other.p95_ms / one.p95_ms - 1,
        bulk_rate=float(np.mean(quiet)),
        bulk_rate_beside=float(np.mean(busy)),
    )


def _now_and_then(post: Post, times: int) -> list[float]:
    seconds = []
    for n in range(times):
        began = time.perf_counter()
        post(n).raise_for_status()
        seconds.append(time.perf_counter() - began)
        time.sleep(max(0.0, EVERY_S - seconds[-1]))
    return seconds


class _Jobs:
    """Keeps a queue of bulk drafts from running dry, and looks seldom: its questions are load, too."""

    AHEAD: Final = 24
    LOOK_S: Final = 0.1

    def __init__(self, client: httpx.Client, images: Sequence[Path]) -> None:
        self._client, self._images = client, [image.read_bytes() for image in images]
        self._going, self._closing = threading.Event(), threading.Event()
        self._open: list[str] = []
        self._ended = 0
        self._looking = threading.Lock()
        self._thread = threading.Thread(target=self._feed)
        self._thread.start()

    def ended(self) -> int:
        """Jobs that have succeeded."""
        self._look()
        return self._ended

    def rate_over(self, seconds: float) -> float:
        """Jobs a second from now."""
        begun, began = self.ended(), time.perf_counter()
        time.sleep(seconds)
        return (self.ended() - begun) / (time.perf_counter() - began)

    def go_on(self) -> None:
        """Fill the queue."""
        self._going.set()
        time.sleep(2)

    def pause(self) -> None:
        """Let the queue run dry."""
        self._going.clear()
        while self._open:
            self._look()
            time.sleep(self.LOOK_S)

    def close(self) -> None:
        """End."""
        self.pause()
        self._closing.set()
        self._thread.join()

    def _feed(self) -> None:
        for n in count():
            while not (self._going.is_set() and len(self._open) < self.AHEAD):
                if self._closing.wait(self.LOOK_S):
                    return
                self._look()
            part = ("images", ("image.png", self._images[n % len(self._images)]))
            answer = self._client.post("/v1/jobs", files=[part], data={"request": '{"view": "PA"}'})
            answer.raise_for_status()
            self._open.append(answer.headers["location"])

    def _look(self) -> None:
        """Ask from the oldest on, until one has not ended: they end in order, but for a place or two."""
        with self._looking:
            for at in list(self._open):
                state = self._client.get(at).json()["state"]
                if state == "succeeded":
                    self._open.remove(at)
                    self._ended += 1
                elif state in ("queued", "running"):
                    return
                else:
                    raise RuntimeError(f"a job has {state}")


@contextmanager
def _jobs(client: httpx.Client, images: Sequence[Path]) -> Iterator[_Jobs]:
    jobs = _Jobs(client, images)
    try:
        yield jobs
    finally:
        jobs.close()


def _flood(post: Post) -> Flood:
    """Everybody at once; then one caller."""
    with ThreadPoolExecutor(FLOOD) as pool:
        answers = list(pool.map(post, range(FLOOD)))
    drafted = sum(answer.status_code == httpx.codes.OK for answer in answers)
    shed = sum(
        answer.status_code == httpx.codes.TOO_MANY_REQUESTS and float(answer.headers["retry-after"]) > 0
        for answer in answers
    )
    return Flood(callers=FLOOD, drafted=drafted, shed=shed, other=FLOOD - drafted - shed, after=_at_level(post, 1))


@contextmanager
def _language_model(folder: Path) -> Iterator[list[str]]:
    """A vLLM server with random weights, and the service's options for it."""
    from evaluation.random_models import Size, write_random_model  # noqa: PLC0415  it needs torch
    from evaluation.vllm_server import NAME, VllmServer  # noqa: PLC0415
    from generation.vllm.launch import KEY  # noqa: PLC0415

    model = write_random_model(folder / "model", "qwen2_vl", Size(positions=16384))
    server = VllmServer(model, folder / "vllm.log", groups=8, longest=8192)
    try:
        server.ready()
        os.environ[KEY] = server.key.get_secret_value()
        yield [
            "--generator", "vllm-http", "--server", server.url, "--language-model", NAME,
            "--preset", "vcd", "--max-new-tokens", "64", "--fallback", "error",
        ]  # fmt: skip
    finally:
        server.kill()
        os.environ.pop(KEY, None)
