"""Which parts the faces are made of: the only place in `service` that names concrete classes."""

import os
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from generation.drafter import Drafter
from generation.summary import summary_of
from retrieval.gate import Gate
from retrieval.index import open_index
from retrieval.look import look
from retrieval.pixels.sandbox import Readers
from retrieval.records import PatientKey, ViewPosition
from retrieval.retriever import Retriever
from retrieval.study import ReadStudy, read_study


@dataclass(frozen=True)
class Desk:
    """An open index, decoders, a drafter and its retriever: all that a face needs."""

    readers: Readers
    drafter: Drafter
    retriever: Retriever

    def read(self, paths: Sequence[Path], *, view: ViewPosition | None, patient_key: PatientKey | None) -> ReadStudy:
        """Read files or a folder as one study; raises the errors of `read_study`."""
        return read_study(paths, self.readers, view=view, patient_key=patient_key)


@contextmanager
def open_desk(location: str, *, workers: int = 1) -> Iterator[Desk]:
    """Open everything for one index; raises the errors of `open_index`."""
    salt = os.environ.get("PRELIM_PATIENT_SALT", "").encode() or None
    with (
        closing(open_index(location)) as index,
        Readers(index.encoder.prepare, look=look, workers=workers, salt=salt) as readers,
    ):
        summary = summary_of(index)
        retriever = Retriever(index.store, index.encoder.identity)
        drafter = Drafter(index.encoder, retriever, Gate(index.scope), summary.statements)
        yield Desk(readers, drafter, retriever)
