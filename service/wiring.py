"""Which parts the faces are made of: the only place in `service` that names concrete classes."""

import gc
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final, Literal

from pydantic import SecretStr
from threadpoolctl import ThreadpoolController

from generation.decoding.presets import Preset
from generation.drafter import Drafter
from generation.experts.named import load_expert
from generation.generators import generator_named
from generation.summary import summary_of
from generation.vllm.launch import KEY
from generation.writer import Fallback, Writer
from retrieval.errors import InvalidLocation, RequestError
from retrieval.gate import Gate
from retrieval.index import open_index
from retrieval.look import look
from retrieval.pixels.display import whole
from retrieval.pixels.sandbox import Readers
from retrieval.pixels.wire import Keep
from retrieval.retriever import Retriever
from service.desk import Desk
from service.front import Front, Jobs
from service.images import Viewer
from service.keys import read_keys
from service.temporary import remove_left_behind
from service.waiting import WaitingRoom

NICE: Final = 10
"""Of the decoders of what nobody waits for: they get a tenth of a core that others want."""


@contextmanager
def open_desk(location: str, *, workers: int = 1, bulk_workers: int = 0, keep: Keep = "nothing") -> Iterator[Desk]:
    """Open everything for one index but a language model; raises the errors of `open_index`.

    `bulk_workers` are decoders of their own for what nobody waits for, which stand back behind all other processes.
    `keep` pixels where a language model shall write: `desk.drafter.written_by(load_writer(...))`.
    """
    salt = os.environ.get("PRELIM_PATIENT_SALT", "").encode() or None
    with ExitStack() as opened:
        # A draft's products of vectors are small: OpenBLAS's threads only waited for each other in loops, and took a
        # second core from the decoders. FAISS keeps its threads.
        opened.enter_context(ThreadpoolController().select(prefix="libscipy_openblas").limit(limits=1))
        index = opened.enter_context(closing(open_index(location)))

        def reading(workers: int, nice: int) -> Readers:
            made = Readers(index.encoder.prepare, look=look, workers=workers, salt=salt, keep=keep, nice=nice)
            return opened.enter_context(made)

        readers = reading(workers, 0)
        bulk_readers = reading(bulk_workers, NICE) if bulk_workers else readers
        summary = summary_of(index)
        retriever = Retriever(index.store, index.encoder.identity, index.encode_text)
        drafter = Drafter(index.encoder, retriever, Gate(index.scope), summary.statements)
        yield Desk(readers, bulk_readers, drafter, retriever)


def load_writer(
    generator: str,
    language_model: str,
    *,
    experts: Sequence[str],
    device: str,
    precision: Literal["float32", "bfloat16"],
    preset: Preset,
    temperature: float,
    seed: int,
    max_new_tokens: int,
    fallback: Fallback,
    servers: Sequence[str] = (),
) -> Writer:
    """Load a language model and experts by name; raises the errors of `generator_named` and `load_expert`."""
    key = os.environ.get(KEY, "")
    asked = [load_expert(name, device=device) for name in experts]
    return Writer(
        generator_named(
            generator,
            language_model,
            device=device,
            precision=precision,
            servers=servers,
            key=SecretStr(key) if key else None,
        ),
        preset=preset,
        experts=asked,
        temperature=temperature,
        seed=seed,
        max_new_tokens=max_new_tokens,
        fallback=fallback,
    )


@contextmanager
def open_front(
    location: str,
    *,
    writer: Callable[[], Writer] | None = None,
    keys: Path | None = None,
    jobs: str | None = None,
    spool: Path | None = None,
    images: Path | None = None,
    decoders: int = 2,
    at_once: int = 4,
    waiting: int = 64,
) -> Iterator[Front]:
    """Open all that serving needs; whatever can fail has failed, and whatever takes long is done, when it is open.

    `writer` loads a language model, `keys` is a file of API keys, `jobs` a file or a database URL with the folder
    `spool` for their images, `images` what the paths of the index's images are relative to; `at_once` drafts are worked
    on and `waiting` more may wait. Raises RequestError, and the errors of `open_desk`, `load_writer` and `JobStore`.
    """
    # 1. What was asked for, before anything large is opened; what killed processes have left goes.
    remove_left_behind()
    known = None if keys is None else read_keys(keys)
    if images is not None and not images.is_dir():
        raise RequestError("the folder of images is not there", fix="give the folder that the manifest lies in")
    kept = None if jobs is None else _kept(jobs, spool)
    with ExitStack() as opened:
        # 2. The index with its decoders, and decoders of their own for the eye, so that a page never waits for drafts.
        keep: Keep = "pixels" if writer else "nothing"
        desk = opened.enter_context(
            open_desk(location, workers=decoders, bulk_workers=decoders if kept else 0, keep=keep)
        )
        viewer = Viewer(opened.enter_context(Readers(whole)), images)
        # 3. The language model, which takes longest.
        if writer is not None:
            desk = replace(desk, drafter=desk.drafter.written_by(opened.enter_context(loaded(writer))))
        # 4. Places to work at. What is opened last is closed first: jobs are given back before these close.
        room = opened.enter_context(closing(WaitingRoom(at_once, interactive=waiting)))
        brief = opened.enter_context(closing(WaitingRoom(at_once, interactive=waiting)))
        front = Front(desk, room, brief, viewer, known)
        # 5. Jobs; those that a former process left behind begin at once.
        if kept is not None:
            front = opened.enter_context(_with_jobs(front, *kept, at_once=room.bulk_places))
        # 6. What stands now stays: Python's collector need not look at all of it again and again, which stops every
        #    thread for .15 s each time.
        gc.collect()
        gc.freeze()
        opened.callback(gc.unfreeze)
        yield front


@contextmanager
def _with_jobs(front: Front, url: str, spool: Path, *, at_once: int) -> Iterator[Front]:
    # Loaded only here: every command passes through this module, and few need a database.
    from service.jobs.runner import JobRunner  # noqa: PLC0415
    from service.jobs.store import JobStore  # noqa: PLC0415

    with closing(JobStore(url)) as store:
        runner = JobRunner(store, spool, front, at_once=at_once)
        runner.start()
        try:
            yield replace(front, jobs=Jobs(store, spool))
        finally:
            runner.stop()


@contextmanager
def loaded(writer: Callable[[], Writer]) -> Iterator[Writer]:
    """A writer whose generator is closed afterwards."""
    made = writer()
    try:
        yield made
    finally:
        made.generator.close()


def _kept(jobs: str, spool: Path | None) -> tuple[str, Path]:
    """The database URL, and the folder for images, made for this user alone; raises RequestError without one."""
    url = jobs if "://" in jobs else f"sqlite:///{Path(jobs).resolve()}"
    if spool is None and "://" in jobs:
        raise RequestError("jobs in a database need a folder for their images", fix="name one with --spool")
    # Named after the file of jobs: the jobs of each file remove, in time, what lies in their folder for none of them.
    folder = spool or Path(f"{Path(jobs).resolve()}.images")
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidLocation(
            f"the folder for the images of jobs cannot be made: {error.strerror}", fix="name another with --spool"
        ) from error
    return url, folder
