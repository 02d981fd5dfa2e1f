"""The desk: an open index with its decoders and its drafter, as every face and every command stands before it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from generation.drafter import Drafter
from generation.steps import step
from retrieval.pixels.sandbox import Readers
from retrieval.records import NOTHING_TOLD, PatientKey, Told, ViewPosition
from retrieval.retriever import Retriever
from retrieval.study import ReadStudy, read_study
from service.waiting import Urgency


@dataclass(frozen=True)
class Desk:
    """An open index, decoders, a drafter and its retriever: all that a face needs."""

    readers: Readers
    """Decoder processes that prepare images for the index's encoder."""
    bulk_readers: Readers
    """Those for studies that nobody waits for; the same ones where nobody else is there."""
    drafter: Drafter
    """Makes drafts, with a language model or without one."""
    retriever: Retriever
    """Finds cases."""

    def read(
        self,
        paths: Sequence[Path],
        *,
        view: ViewPosition | None,
        patient_key: PatientKey | None,
        told: Told = NOTHING_TOLD,
        urgency: Urgency = "interactive",
    ) -> ReadStudy:
        """Read files or a folder as one study; raises the errors of `read_study`."""
        readers = self.readers if urgency == "interactive" else self.bulk_readers
        with step("read", files=len(paths)):
            return read_study(paths, readers, view=view, patient_key=patient_key, told=told)
