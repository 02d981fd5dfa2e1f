"""An index: a store, the encoder its vectors were made with, and what was learned of the whole when it was published.

Service, indexing and evaluation open the same thing from one string, so this is written once, here, and not in the
wiring of each: a folder (FAISS and SQLite), or the URL of a Qdrant server followed by / and the index's name.
"""

import base64
import os
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

from retrieval.encoders.descriptor import DescriptorEncoder
from retrieval.errors import EncoderMismatch, MissingDependency, StoreCorrupt, StoreUnavailable
from retrieval.look import Scope
from retrieval.records import CaseId, EncoderIdentity, Record
from retrieval.stores.documents import check_seal, seal, unseal
from retrieval.stores.faiss_segments import FaissSegments
from retrieval.stores.segmented import SegmentedStore
from retrieval.stores.segments import Segments

R = TypeVar("R", bound=Record)

ENCODER = "encoder"
"""The document with the fitted encoder; written once, before the first vector."""
SCOPE = "scope"
"""The document with what is ordinary in the index, for the gate; written with the encoder."""
SUMMARY = "summary"
"""The document about the whole snapshot: what the drafter compares a vote with."""


class EncoderState(Record):
    """A fitted encoder as kept beside its vectors."""

    identity: EncoderIdentity
    """Of the encoder that `state` gives back."""
    state: str
    """The encoder's own bytes in base64."""


@dataclass(frozen=True)
class Index:
    """Open for reading or writing."""

    shelf: Segments
    """Where documents and segments stand."""
    store: SegmentedStore
    encoder: DescriptorEncoder
    scope: Scope

    def summary(self, kind: type[R]) -> R | None:
        """What is kept about the whole; None when nothing is. Raises StoreCorrupt."""
        sealed = self.shelf.read(SUMMARY)
        return None if sealed is None else unseal(kind, SUMMARY, sealed)

    def keep_summary(self, summary: Record) -> None:
        """Replace what is kept about the whole; only while writing."""
        self.shelf.write(SUMMARY, seal(summary))

    def erase(self, cases: Collection[CaseId]) -> int:
        """Erase cases from the store and whatever quotes them here; the summary has to be made anew afterwards."""
        self.shelf.lock()
        self.shelf.delete(SUMMARY)
        return self.store.erase(cases)

    def verify(self) -> list[str]:
        """Every fault of the store and of the documents beside it; empty when whole."""
        faults = self.store.verify()
        for name in (ENCODER, SCOPE, SUMMARY):
            try:
                if (sealed := self.shelf.read(name)) is not None:
                    check_seal(name, sealed)
            except StoreCorrupt as error:
                faults.append(error.what)
        return faults

    def close(self) -> None:
        """Release locks and handles."""
        self.store.close()


def shelf_at(location: str) -> Segments:
    """The shelf a location names; nothing is opened or made yet.

    Raises MissingDependency for a URL without the extra `qdrant`.
    """
    if "://" not in location:
        return FaissSegments(Path(location))
    try:
        # Imported here so that an installation without Qdrant does not need its client.
        from retrieval.stores.qdrant_segments import QdrantSegments  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise MissingDependency("the Qdrant client is not installed", fix="pip install 'prelim[qdrant]'") from error
    server, _, name = location.rpartition("/")
    return QdrantSegments(server, name, api_key=os.environ.get("PRELIM_QDRANT_API_KEY"))


def read_fitted(shelf: Segments) -> tuple[DescriptorEncoder, Scope] | None:
    """The encoder and the scope kept on a shelf; None when nothing was fitted yet. Raises StoreCorrupt."""
    sealed = shelf.read(ENCODER)
    if sealed is None:
        return None
    kept = unseal(EncoderState, ENCODER, sealed)
    encoder = DescriptorEncoder.from_bytes(base64.b64decode(kept.state))
    if encoder.identity != kept.identity:
        raise EncoderMismatch(
            f"the index was built with encoder {kept.identity}; this version makes {encoder.identity} of it",
            fix="use the version it was built with, or build the index again",
        )
    return encoder, unseal(Scope, SCOPE, shelf.read(SCOPE))


def keep_fitted(shelf: Segments, encoder: DescriptorEncoder, scope: Scope) -> None:
    """Write scope and encoder to a locked shelf that holds none; the encoder, written last, says both are there."""
    shelf.write(SCOPE, seal(scope))
    state = base64.b64encode(encoder.to_bytes()).decode()
    shelf.write(ENCODER, seal(EncoderState(identity=encoder.identity, state=state)))


def open_index(location: str, opening: Literal["current", "repair"] = "current") -> Index:
    """Open an existing index; `repair` also opens one whose current snapshot is damaged.

    Raises StoreUnavailable when there is none, StoreCorrupt when bytes differ from what was written, EncoderMismatch
    when the vectors belong to another encoder than the one kept beside them.
    """
    shelf = shelf_at(location)
    try:
        fitted = read_fitted(shelf)
        if fitted is None:
            raise StoreUnavailable(f"there is no index at {location}", fix="build one: prelim-index build")
        encoder, scope = fitted
        return Index(shelf, SegmentedStore(shelf, encoder.identity, encoder.dimension, opening=opening), encoder, scope)
    except BaseException:
        shelf.close()
        raise
