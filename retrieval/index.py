"""An index: a store, the encoder its vectors were made with, and what was learned of the whole when it was published.

Service, indexing and evaluation open the same thing from one string, so this is written once, here, and not in the
wiring of each: a folder (FAISS and SQLite), or the URL of a Qdrant server followed by / and the index's name.
"""

import base64
import contextlib
import os
import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias, TypeVar
from urllib.parse import urlsplit

import numpy as np

from retrieval.encoders.descriptor import DescriptorEncoder
from retrieval.encoders.encoder import Vectors
from retrieval.encoders.named import DESCRIPTOR, LOCALLY, CentredEncoder, Loading
from retrieval.errors import EncoderMismatch, InvalidLocation, MissingDependency, NoIndex, StoreCorrupt
from retrieval.look import Scope
from retrieval.records import CaseId, EncoderIdentity, Record
from retrieval.stores.bookkeeping import POINTER, SNAPSHOTS
from retrieval.stores.directory import answering
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


IndexEncoder: TypeAlias = DescriptorEncoder | CentredEncoder
"""What an index's vectors are made with: the embedded encoder, or a trained one centred on the index's images."""


class EncoderState(Record):
    """A fitted encoder as kept beside its vectors; the weights of a trained one stay where they are."""

    identity: EncoderIdentity
    """Of the encoder that this gives back, its weights included."""
    state: str
    """What was fitted, in base64: the descriptor's own bytes, or the mean of a trained encoder as float32."""
    name: str = DESCRIPTOR
    """Which encoder: `descriptor`, or a trained one as `retrieval.encoders.named` writes it."""


@dataclass(frozen=True)
class Index:
    """Open for reading or writing."""

    shelf: Segments
    """Where documents and segments stand."""
    store: SegmentedStore
    encoder: IndexEncoder
    """A trained one is loaded when it is first asked to encode, and raises then what loading raises."""
    scope: Scope

    @property
    def encode_text(self) -> Callable[[Sequence[str]], Vectors] | None:
        """Places words among the images; None where the encoder reads none. Loads a trained encoder."""
        return self.encoder.encode_text if isinstance(self.encoder, CentredEncoder) else None

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
        return _faults(self.shelf, self.store)

    def close(self) -> None:
        """Release locks and handles."""
        self.store.close()


def shelf_at(location: str) -> Segments:
    """The shelf a location names; nothing is opened or made yet.

    Raises InvalidLocation for what is neither a folder nor a server's URL with a name, NoIndex where a file stands in
    the folder's way, and MissingDependency for a URL without the extra `qdrant`.
    """
    # One slash is enough: `http:/host/name` is a slip in a URL, and no folder of that name shall be made.
    if ":/" not in location:
        return FaissSegments(_folder(location))
    server, name = _server_and_name(location)
    try:
        # Imported here so that an installation without Qdrant does not need its client.
        from retrieval.stores.qdrant_segments import QdrantSegments  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise MissingDependency("the Qdrant client is not installed", fix="pip install 'prelim[qdrant]'") from error
    return QdrantSegments(server, name, api_key=os.environ.get("PRELIM_QDRANT_API_KEY"))


def _folder(location: str) -> Path:
    if not location:
        raise InvalidLocation("the index location is empty", fix="name a folder, or a server's URL with / and a name")
    folder = Path(location)
    with answering(location):
        for place in (folder, *folder.parents):
            if place.exists() and not place.is_dir():
                raise NoIndex(f"there is no index at {location}: {place} is no folder", fix="name an index's folder")
    return folder


def _server_and_name(location: str) -> tuple[str, str]:
    """A URL taken apart, with its scheme in small letters; raises InvalidLocation, which shows no user or password."""
    refusal = InvalidLocation(
        f"{location.rpartition('@')[2]!r} is neither a folder nor a server's URL with a name",
        fix="write http(s)://HOST[:PORT]/NAME, the name in letters, digits, _ and -; a key in PRELIM_QDRANT_API_KEY",
    )
    try:
        url = urlsplit(location)
        host, port = url.hostname or "", url.port
    except ValueError as error:
        raise refusal from error
    path, _, name = url.path.rpartition("/")
    if (
        url.scheme not in ("http", "https")
        or not re.fullmatch(r"[\w.:-]+", host)
        or port == 0
        or url.username is not None
        or url.query
        or url.fragment
        or not re.fullmatch(r"[A-Za-z0-9_-]+", name)
    ):
        raise refusal
    return f"{url.scheme}://{url.netloc}{path}", name


def read_fitted(shelf: Segments, loading: Loading = LOCALLY) -> tuple[IndexEncoder, Scope] | None:
    """The encoder and the scope kept on a shelf; None when nothing was fitted yet.

    Raises StoreCorrupt, also when there are vectors and no encoder: one fitted now would not be theirs.
    """
    # Asked first: the encoder is written before any vector, so a first build under way is never taken for a loss.
    holding = _holds_vectors(shelf)
    sealed = shelf.read(ENCODER)
    if sealed is None:
        if holding:
            raise StoreCorrupt(
                f"document {ENCODER!r} is missing beside the vectors it made",
                fix=f"restore {ENCODER}.json from a backup, or build into a new folder",
            )
        return None
    kept = unseal(EncoderState, ENCODER, sealed)
    return _encoder(kept, loading), unseal(Scope, SCOPE, shelf.read(SCOPE))


def _encoder(kept: EncoderState, loading: Loading) -> IndexEncoder:
    if loading.name and (loading.name == DESCRIPTOR) != (kept.name == DESCRIPTOR):
        raise EncoderMismatch(
            f"the index was built with {kept.name}, not with {loading.name}",
            fix="leave out the encoder's name, or build into a new folder",
        )
    state = base64.b64decode(kept.state)
    if kept.name != DESCRIPTOR:
        mean = np.frombuffer(state, "<f4").astype(np.float32)
        return CentredEncoder(kept.name, kept.identity, len(mean), mean, loading)
    encoder = DescriptorEncoder.from_bytes(state)
    if encoder.identity != kept.identity:
        raise EncoderMismatch(
            f"the index was built with encoder {kept.identity}; this version makes {encoder.identity} of it",
            fix="use the version it was built with, or build the index again",
        )
    return encoder


def keep_fitted(shelf: Segments, encoder: IndexEncoder, scope: Scope) -> None:
    """Write scope and encoder to a locked shelf that holds none; the encoder, written last, says both are there."""
    shelf.write(SCOPE, seal(scope))
    if isinstance(encoder, DescriptorEncoder):
        name, state = DESCRIPTOR, encoder.to_bytes()
    else:
        name, state = encoder.name, np.ascontiguousarray(encoder.mean, "<f4").tobytes()
    kept = EncoderState(identity=encoder.identity, state=base64.b64encode(state).decode(), name=name)
    shelf.write(ENCODER, seal(kept))


def open_index(location: str, opening: Literal["current", "repair"] = "current", loading: Loading = LOCALLY) -> Index:
    """Open an existing index; `repair` also opens one whose current snapshot is damaged.

    Raises InvalidLocation, NoIndex when there is none, StoreUnavailable when the store does not answer, StoreCorrupt
    when bytes differ from what was written, EncoderMismatch when the vectors belong to another encoder than the one
    kept beside them. A trained encoder is loaded, and compared with what was kept, when it is first asked to encode.
    """
    shelf = shelf_at(location)
    try:
        fitted = read_fitted(shelf, loading)
        if fitted is None:
            raise _no_index(location)
        encoder, scope = fitted
        return Index(shelf, SegmentedStore(shelf, encoder.identity, encoder.dimension, opening=opening), encoder, scope)
    except BaseException:
        shelf.close()
        raise


def verify_index(location: str) -> list[str]:
    """Every fault of the index there, whichever of its parts is damaged or lost; empty when whole.

    Reads without the encoder, which may be what is damaged. Raises InvalidLocation, NoIndex, StoreUnavailable.
    """
    shelf = shelf_at(location)
    try:
        if not _holds_vectors(shelf) and shelf.read(ENCODER) is None:
            raise _no_index(location)
        return _faults(shelf, SegmentedStore(shelf, None, None, opening="repair"))
    finally:
        shelf.close()


def _faults(shelf: Segments, store: SegmentedStore) -> list[str]:
    faults = store.verify()
    try:
        kept = unseal(EncoderState, ENCODER, shelf.read(ENCODER)).identity
        with contextlib.suppress(StoreCorrupt):  # the store's own complaint, made above
            faults += [
                f"document {ENCODER!r} is of {kept}, the vectors are of {other}"
                for other in sorted({snapshot.encoder for snapshot in store.snapshots()} - {kept})
            ]
    except StoreCorrupt as error:
        faults.append(error.what)
    try:
        unseal(Scope, SCOPE, shelf.read(SCOPE))
    except StoreCorrupt as error:
        faults.append(error.what)
    try:
        # Only its seal: what stands in it is the generation's affair, and without it it is made anew.
        if (summary := shelf.read(SUMMARY)) is not None:
            check_seal(SUMMARY, summary)
    except StoreCorrupt as error:
        faults.append(error.what)
    return faults


def _holds_vectors(shelf: Segments) -> bool:
    """Whether a store was begun, also where its pointer was lost."""
    return shelf.read(POINTER) is not None or bool(shelf.segments() or shelf.documents(SNAPSHOTS))


def _no_index(location: str) -> NoIndex:
    return NoIndex(f"there is no index at {location}", fix="build one: prelim-index build")
