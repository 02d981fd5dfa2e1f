"""Segments as Qdrant collections: for an index that many machines share, or that outgrows one.

    <name>-documents          one point per document, a dummy vector and the text as payload
    <name>-segment-<id>       one point per image row: vector, view group, ordinal, identities; never changed

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
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any, Literal

import numpy as np
from qdrant_client import QdrantClient, models
from qdrant_client.http.exceptions import ApiException, UnexpectedResponse

from retrieval.encoders.encoder import Vectors
from retrieval.errors import StoreBusy, StoreCorrupt, StoreFull, StoreUnavailable
from retrieval.mentions import ExtractorIdentity
from retrieval.records import Case, CaseId, ImageDigest, PatientKey, StudyUid, ViewGroup, view_group
from retrieval.stores.documents import REPAIR
from retrieval.stores.reading import by_similarity
from retrieval.stores.segments import Built, Ordinals
from retrieval.stores.store import Entry
from retrieval.where import Hit

POINTS_AT_ONCE = 256
"""Points in one request: a few megabytes at 1,024 dimensions."""
LEASE_SECONDS = 120
"""How long a killed writer keeps others out; a living one renews its lease with every request it makes."""
TIMEOUT_SECONDS = 60
"""How long one request may take: an exact search over millions of points takes seconds."""
MARGIN = 8
"""Rows fetched beyond the limit, to see whether the last place is shared."""
NOISE = 1e-6
"""Similarities closer than this may be equal: float32 sums in another order."""
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
        with _answering(f"document {name!r}"):
            if not self._client.collection_exists(self._documents):
                return None
            points = self._client.retrieve(self._documents, [_point_id(name)], with_payload=["text"])
        return str((points[0].payload or {}).get("text", "")).encode() if points else None

    def write(self, name: str, body: bytes) -> None:
        self._keep_lease()
        self._make_documents()
        with _answering(f"document {name!r}"):
            self._client.upsert(self._documents, [_document(name, body.decode())], wait=True)

    def delete(self, name: str) -> None:
        with _answering(f"document {name!r}"):
            if self._client.collection_exists(self._documents):
                selector = models.PointIdsList(points=[_point_id(name)])
                self._client.delete(self._documents, selector, wait=True)

    def documents(self, folder: str) -> list[str]:
        with _answering(f"documents of {folder!r}"):
            if not self._client.collection_exists(self._documents):
                return []
            points = _scroll(self._client, self._documents, _is("folder", [folder]), ["name"])
            return sorted(payload["name"] for _, payload, _ in points)

    def segments(self) -> list[str]:
        prefix = self._collection("")
        with _answering("the list of collections"):
            names = [collection.name for collection in self._client.get_collections().collections]
        return sorted(name.removeprefix(prefix) for name in names if name.startswith(prefix))

    def build(self, segment: str, dimension: int, entries: Iterable[Entry]) -> Built:
        collection, digest, cases, images = self._collection(segment), hashlib.sha256(), 0, 0
        with _answering(f"segment {segment}"):
            self._create(collection, dimension)
            waiting: list[models.PointStruct] = []
            for cases, entry in enumerate(entries, start=1):
                for image, row in enumerate(entry.vectors):
                    payload = _payload(entry.case, cases - 1, image)
                    digest.update(_line(images, payload, row))
                    waiting.append(models.PointStruct(id=images, vector=row.tolist(), payload=payload))
                    images += 1
                if len(waiting) >= POINTS_AT_ONCE:
                    self._upsert(collection, waiting)
                    waiting = []
            self._upsert(collection, waiting)
        return Built(cases=cases, images=images, checksums={"points": digest.hexdigest()})

    def open(self, segment: str, built: Built, dimension: int) -> "QdrantSegment":
        collection = self._collection(segment)
        with _answering(f"segment {segment}"):
            if not self._client.collection_exists(collection):
                raise StoreCorrupt(f"collection {collection!r} is missing", fix=REPAIR)
            count = self._client.count(collection, exact=True).count
        if count != built.images:
            raise StoreCorrupt(f"collection {collection!r} holds {count} of {built.images} points", fix=REPAIR)
        return QdrantSegment(self._client, collection, exact_needs_asking=not self._local)

    def faults(self, segment: str, built: Built) -> list[str]:
        collection, digest = self._collection(segment), hashlib.sha256()
        with _answering(f"segment {segment}"):
            if not self._client.collection_exists(collection):
                return [f"collection {collection!r} is missing"]
            for number, payload, row in _scroll(self._client, collection, None, True, with_vectors=True):
                digest.update(_line(number, payload, row))
        if digest.hexdigest() != built.checksums["points"]:
            return [f"collection {collection!r} does not match its checksum"]
        return []

    def drop(self, segment: str) -> None:
        with _answering(f"segment {segment}"):
            if self._client.collection_exists(self._collection(segment)):
                self._client.delete_collection(self._collection(segment))

    def _collection(self, segment: str) -> str:
        return f"{self._name}-segment-{segment}"

    def _make_documents(self) -> None:
        with _answering("the documents"):
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
        with _answering("the writer's lease"):
            self._client.upsert(self._documents, [_document(LEASE, text)], wait=True, update_mode=mode)


class QdrantSegment:
    """One collection; see `retrieval.stores.segments.Segment`. Stops answering when another process drops it."""

    def __init__(self, client: QdrantClient, collection: str, *, exact_needs_asking: bool) -> None:
        self._client = client
        self._collection = collection
        self._exact = models.SearchParams(exact=True) if exact_needs_asking else None

    def nearest(self, vectors: Vectors, limit: int, group: ViewGroup | None, excluded: Ordinals) -> list[list[Hit]]:
        must = [] if group is None else _is("group", [group])
        chosen = models.Filter(must=must, must_not=_is("ordinal", excluded.tolist()) if len(excluded) else [])
        answers: list[list[Hit]] = [[] for _ in vectors]
        undecided, fetch = list(range(len(vectors))), limit + MARGIN
        while undecided:
            requests = [
                models.QueryRequest(
                    query=vectors[query].tolist(), filter=chosen, params=self._exact, limit=fetch,
                    with_payload=["case", "image"],
                )
                for query in undecided
            ]  # fmt: skip
            with _answering(f"collection {self._collection!r}"):
                responses = self._client.query_batch_points(self._collection, requests)
            again = []
            for query, response in zip(undecided, responses, strict=True):
                points = response.points
                # Rows as near as the last place may lie beyond what was fetched: then fetch more.
                if len(points) == fetch and points[-1].score >= points[limit - 1].score - NOISE:
                    again.append(query)
                else:
                    answers[query] = sorted((_hit(point) for point in points), key=by_similarity)[:limit]
            undecided, fetch = again, fetch * 4
        return answers

    def contents(self) -> list[tuple[CaseId, str]]:
        found = self._read(_is("image", [0]), ["ordinal", "case", "content"])
        return [(case_id, content) for _, case_id, content in sorted(found)]

    def extractors(self) -> list[tuple[CaseId, ExtractorIdentity | None]]:
        found = self._read(_is("image", [0]), ["ordinal", "case", "extractor"])
        return [(case_id, extractor) for _, case_id, extractor in sorted(found)]

    def find(self, case_ids: Collection[CaseId]) -> dict[CaseId, int]:
        if not case_ids:
            return {}
        found = self._read([*_is("image", [0]), *_is("case", list(case_ids))], ["case", "ordinal"])
        return dict(found)

    def cases(self, ordinals: Sequence[int]) -> list[Case]:
        if not ordinals:
            return []
        found = dict(self._read([*_is("image", [0]), *_is("ordinal", list(ordinals))], ["ordinal", "record"]))
        return [Case.model_validate_json(found[ordinal]) for ordinal in ordinals]

    def owners(self, digests: Collection[ImageDigest]) -> list[tuple[int, PatientKey]]:
        return list(set(self._read(_is("digest", list(digests)), ["ordinal", "patient"]))) if digests else []

    def matching(self, patients: Collection[PatientKey], studies: Collection[StudyUid]) -> Ordinals:
        found: set[int] = set()
        for field, values in (("patient", patients), ("study", studies)):
            if values:
                found |= {ordinal for (ordinal,) in self._read(_is(field, list(values)), ["ordinal"])}
        return np.array(sorted(found), np.int64)

    def image_count(self, ordinals: Ordinals) -> int:
        if not len(ordinals):
            return 0
        chosen = models.Filter(must=_is("ordinal", ordinals.tolist()))
        with _answering(f"collection {self._collection!r}"):
            return self._client.count(self._collection, count_filter=chosen, exact=True).count

    def entries(self, ordinals: Ordinals) -> Iterator[Entry]:
        # Few are asked for by name; for many, reading everything is less than sending their list with every page.
        wanted, record, rows = set(ordinals.tolist()), "", []
        must = _is("ordinal", ordinals.tolist()) if len(wanted) <= 8 * POINTS_AT_ONCE else None
        with _answering(f"collection {self._collection!r}"):
            for _, payload, row in _scroll(self._client, self._collection, must, True, with_vectors=True):
                if payload["ordinal"] not in wanted:
                    continue
                record = payload.get("record", record)
                rows.append(row)
                case = Case.model_validate_json(record)
                if payload["image"] == len(case.images) - 1:
                    yield Entry(case, np.stack(rows))
                    rows = []

    def _read(self, must: list[Any], fields: list[str]) -> list[tuple[Any, ...]]:
        with _answering(f"collection {self._collection!r}"):
            points = _scroll(self._client, self._collection, must, fields)
            return [tuple(payload.get(field) for field in fields) for _, payload, _ in points]


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


@contextlib.contextmanager
def _answering(what: str) -> Iterator[None]:
    try:
        yield
    except (ApiException, OSError, sqlite3.Error) as error:
        full = isinstance(error, UnexpectedResponse) and b"No space left" in error.content
        if full or getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
            raise StoreFull(f"Qdrant has no room for {what}", fix="make room, then call again") from error
        raise StoreUnavailable(f"Qdrant did not answer for {what}", fix="check the server and its address") from error
    except ValueError as error:  # local mode's way of saying 404
        raise StoreUnavailable(f"Qdrant has nothing for {what}", fix="refresh the store") from error


def _scroll(
    client: QdrantClient,
    collection: str,
    must: list[Any] | None,
    fields: list[str] | Literal[True],
    *,
    with_vectors: bool = False,
) -> Iterator[tuple[int, dict[str, Any], Vectors]]:
    """Every point that fits, by ascending id: id, payload and vector (empty unless asked for)."""
    offset: Any = None
    while True:
        points, offset = client.scroll(
            collection, scroll_filter=models.Filter(must=must) if must else None, limit=POINTS_AT_ONCE, offset=offset,
            with_payload=fields, with_vectors=with_vectors,
        )  # fmt: skip
        for point in points:
            yield point.id, point.payload or {}, np.array(point.vector if with_vectors else [], np.float32)  # type: ignore[misc]
        if offset is None:
            return


def _is(field: str, values: list[Any]) -> list[Any]:
    return [models.FieldCondition(key=field, match=models.MatchAny(any=values))]


def _payload(case: Case, ordinal: int, image: int) -> dict[str, Any]:
    payload: dict[str, Any] = {
        "group": view_group(case.images[image].view), "ordinal": ordinal, "image": image, "case": case.case_id,
        "patient": case.patient_key, "study": case.study_instance_uid, "digest": case.images[image].digest,
    }  # fmt: skip
    if image == 0:  # the rest of the case once, on its first row
        record = case.model_dump_json(exclude_none=True)
        payload |= {"content": case.content, "extractor": case.extractor, "record": record}
    return payload


def _line(number: int, payload: dict[str, Any], row: Vectors) -> bytes:
    """What the checksum covers of one point: id, payload and the vector's bits."""
    text = json.dumps([number, payload], sort_keys=True, separators=(",", ":"))
    return text.encode() + np.asarray(row, "<f4").tobytes()


def _hit(point: models.ScoredPoint) -> Hit:
    payload = point.payload or {}
    return Hit(case_id=payload["case"], image=payload["image"], similarity=float(np.float32(point.score)))


def _document(name: str, text: str) -> models.PointStruct:
    payload = {"name": name, "folder": name.rpartition("/")[0], "text": text}
    return models.PointStruct(id=_point_id(name), vector=[1.0], payload=payload)


def _point_id(name: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, name))
