"""Segments as Qdrant collections: for an index that many machines share, or that outgrows one.

    <name>-documents          one point per document, a dummy vector and the text as payload
    <name>-segment-<id>       one point per image row (`qdrant_segment`); never changed

Replacing a document is one upsert of one point, which Qdrant applies as a whole: that is the pointer swap. Erasure
writes the survivors to a new collection and deletes the old one, because deleting points inside a collection leaves
their bytes in place until an optimiser happens to vacuum the segment.

Durable means here: acknowledged by the server with `wait`, so in its write-ahead log. Opening compares counts only;
`verify` reads every point back. Similarities are Qdrant's own float32 sums and may differ in the last bits from those
of the other stores. Qdrant's local mode (":memory:" or a path) is for tests and trials, and for one process.
"""

import contextlib
import hashlib
import json
import secrets
import sqlite3
import time
import uuid
import warnings
from collections.abc import Iterable
from typing import Any

from qdrant_client import QdrantClient, models

from retrieval.errors import StoreBusy, StoreCorrupt, StoreUnavailable
from retrieval.stores.case_postings import RowMaker
from retrieval.stores.documents import REPAIR
from retrieval.stores.qdrant_segment import POINTS_AT_ONCE, QdrantSegment, among, answering, line_of, payload_of, scroll
from retrieval.stores.segments import Built
from retrieval.stores.store import Entry

LEASE_SECONDS = 120
"""How long a killed writer keeps others out; a living one renews its lease with every request it makes."""
TIMEOUT_SECONDS = 60
"""How long one request may take: an exact search over millions of points takes seconds."""
INDEXED = {
    "group": models.PayloadSchemaType.KEYWORD, "ordinal": models.PayloadSchemaType.INTEGER,
    "image": models.PayloadSchemaType.INTEGER, "case": models.PayloadSchemaType.KEYWORD,
    "patient": models.PayloadSchemaType.KEYWORD, "study": models.PayloadSchemaType.KEYWORD,
    "digest": models.PayloadSchemaType.KEYWORD,
}  # fmt: skip
"""Payload fields that searches filter by."""
LEASE = "writer"


class QdrantSegments:
    """A server (`http://...`), a directory or ":memory:" of Qdrant's local mode, or a client that is connected already.

    The writer lock is a lease in a document. On servers from 1.17 (insert-only upserts) two writers cannot both get
    it; on older ones they can if they ask within the same moment, so there run one indexing job at a time. Raises
    StoreBusy when another process uses the directory, StoreUnavailable when nothing answers.
    """

    def __init__(self, location: str | QdrantClient, name: str, *, api_key: str | None = None) -> None:
        self._name = name
        self._documents = f"{name}-documents"
        self._owner = secrets.token_hex(8)
        self._lease_until = 0.0
        self._own_client = isinstance(location, str)
        self._client = _connect(location, api_key) if isinstance(location, str) else location
        options = self._client.init_options
        self._local = options["location"] == ":memory:" or options["path"] is not None
        if self._own_client and self._local:
            # Nobody else can have this directory open, so a lease in it is of a killed process.
            self.delete(LEASE)

    def lock(self) -> None:
        self._make_documents()
        lease = self._lease()
        if lease is not None and lease["owner"] != self._owner:
            if lease["until"] > time.time():
                raise StoreBusy(
                    f"another writer holds {self._name!r}",
                    fix=f"wait until it is done; a killed one lets go after {LEASE_SECONDS} s",
                )
            self.delete(LEASE)
        self._renew(models.UpdateMode.INSERT_ONLY)
        lease = self._lease()
        if lease is None or lease["owner"] != self._owner:
            self._lease_until = 0.0
            raise StoreBusy(f"another writer took {self._name!r} at the same moment", fix="wait until it is done")

    def unlock(self) -> None:
        if self._lease_until:
            self._lease_until = 0.0
            lease = self._lease()
            if lease is not None and lease["owner"] == self._owner:
                self.delete(LEASE)

    def close(self) -> None:
        # A server that is gone lets the lease run out by itself.
        with contextlib.suppress(StoreUnavailable):
            self.unlock()
        if self._own_client:
            self._client.close()

    def read(self, name: str) -> bytes | None:
        with answering(f"document {name!r}"):
            if not self._client.collection_exists(self._documents):
                return None
            points = self._client.retrieve(self._documents, [_point_id(name)], with_payload=["text"])
        return str((points[0].payload or {}).get("text", "")).encode() if points else None

    def write(self, name: str, body: bytes) -> None:
        self._keep_lease()
        self._make_documents()
        with answering(f"document {name!r}"):
            self._client.upsert(self._documents, [_document(name, body.decode())], wait=True)

    def delete(self, name: str) -> None:
        with answering(f"document {name!r}"):
            if self._client.collection_exists(self._documents):
                selector = models.PointIdsList(points=[_point_id(name)])
                self._client.delete(self._documents, selector, wait=True)

    def documents(self, folder: str) -> list[str]:
        with answering(f"documents of {folder!r}"):
            if not self._client.collection_exists(self._documents):
                return []
            points = scroll(self._client, self._documents, among("folder", [folder]), ["name"])
            return sorted(payload["name"] for _, payload, _ in points)

    def segments(self) -> list[str]:
        prefix = self._collection("")
        with answering("the list of collections"):
            names = [collection.name for collection in self._client.get_collections().collections]
        return sorted(name.removeprefix(prefix) for name in names if name.startswith(prefix))

    def build(self, segment: str, dimension: int, entries: Iterable[Entry]) -> Built:
        collection, digest, cases, images = self._collection(segment), hashlib.sha256(), 0, 0
        maker = RowMaker()
        with answering(f"segment {segment}"):
            self._create(collection, dimension)
            waiting: list[models.PointStruct] = []
            for cases, entry in enumerate(entries, start=1):
                rows = maker.rows(entry.case)
                for image, row in enumerate(entry.vectors):
                    payload = payload_of(entry.case, cases - 1, image, rows)
                    digest.update(line_of(images, payload, row))
                    waiting.append(models.PointStruct(id=images, vector=row.tolist(), payload=payload))
                    images += 1
                if len(waiting) >= POINTS_AT_ONCE:
                    self._upsert(collection, waiting)
                    waiting = []
            self._upsert(collection, waiting)
        return Built(cases=cases, images=images, checksums={"points": digest.hexdigest()})

    def open(self, segment: str, built: Built, dimension: int) -> "QdrantSegment":
        collection = self._collection(segment)
        with answering(f"segment {segment}"):
            if not self._client.collection_exists(collection):
                raise StoreCorrupt(f"collection {collection!r} is missing", fix=REPAIR)
            count = self._client.count(collection, exact=True).count
        if count != built.images:
            raise StoreCorrupt(f"collection {collection!r} holds {count} of {built.images} points", fix=REPAIR)
        return QdrantSegment(self._client, collection, built.cases, exact_needs_asking=not self._local)

    def faults(self, segment: str, built: Built) -> list[str]:
        collection, digest = self._collection(segment), hashlib.sha256()
        with answering(f"segment {segment}"):
            if not self._client.collection_exists(collection):
                return [f"collection {collection!r} is missing"]
            for number, payload, row in scroll(self._client, collection, None, True, with_vectors=True):
                digest.update(line_of(number, payload, row))
        if digest.hexdigest() != built.checksums["points"]:
            return [f"collection {collection!r} does not match its checksum"]
        return []

    def drop(self, segment: str) -> None:
        with answering(f"segment {segment}"):
            if self._client.collection_exists(self._collection(segment)):
                self._client.delete_collection(self._collection(segment))

    def _collection(self, segment: str) -> str:
        return f"{self._name}-segment-{segment}"

    def _make_documents(self) -> None:
        with answering("the documents"):
            if not self._client.collection_exists(self._documents):
                vector = models.VectorParams(size=1, distance=models.Distance.DOT)
                self._client.create_collection(self._documents, vectors_config=vector)

    def _create(self, collection: str, dimension: int) -> None:
        # Dot, not cosine: rows are unit already, and cosine would store them normalised once more, in other bits.
        vector = models.VectorParams(size=dimension, distance=models.Distance.DOT)
        self._client.create_collection(collection, vectors_config=vector)
        if not self._local:
            for field, schema in INDEXED.items():
                self._client.create_payload_index(collection, field, field_schema=schema, wait=True)

    def _upsert(self, collection: str, points: list[models.PointStruct]) -> None:
        self._keep_lease()
        if points:
            with warnings.catch_warnings():
                # Local mode warns above 20,000 points; whoever chose it was told in this module's first lines.
                warnings.filterwarnings("ignore", message="Local mode is not recommended")
                self._client.upsert(collection, points, wait=True)

    def _lease(self) -> dict[str, Any] | None:
        text = self.read(LEASE)
        lease: dict[str, Any] | None = None if text is None else json.loads(text)
        return lease

    def _keep_lease(self) -> None:
        if self._lease_until and self._lease_until - time.time() < LEASE_SECONDS / 2:
            self._renew(models.UpdateMode.UPSERT)

    def _renew(self, mode: models.UpdateMode) -> None:
        self._lease_until = time.time() + LEASE_SECONDS
        text = json.dumps({"owner": self._owner, "until": self._lease_until})
        with answering("the writer's lease"):
            self._client.upsert(self._documents, [_document(LEASE, text)], wait=True, update_mode=mode)


def _connect(location: str, api_key: str | None) -> QdrantClient:
    if location == ":memory:":
        return QdrantClient(":memory:")
    if location.startswith(("http://", "https://")):
        # The version check asks the server at once and warns when it does not answer; our first call says it better.
        return QdrantClient(url=location, api_key=api_key, check_compatibility=False, timeout=TIMEOUT_SECONDS)
    try:
        return QdrantClient(path=location)
    except RuntimeError as error:
        raise StoreBusy(
            f"another process uses {location}", fix="local mode is for one process; use a server"
        ) from error
    except (OSError, sqlite3.Error) as error:
        raise StoreUnavailable(f"Qdrant's local mode cannot open {location}", fix="check the path") from error


def _document(name: str, text: str) -> models.PointStruct:
    payload = {"name": name, "folder": name.rpartition("/")[0], "text": text}
    return models.PointStruct(id=_point_id(name), vector=[1.0], payload=payload)


def _point_id(name: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, name))
