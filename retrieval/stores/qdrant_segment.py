"""One segment as one Qdrant collection: what stands in a point, and the questions a reader asks of it.

    point    one image row: its vector, view group, ordinal, identities
    first    on a case's first row also the rest of the case, once: record, kind, its rows of the posting lists

Posting lists are gathered from the first rows when a search first asks for them. So there is nothing beside the points
to keep in step: the points' checksum covers the lists, and the collection that an erasure drops takes them along. It
costs reading those payloads once for each snapshot that is opened (about a kilobyte a case).
"""

import contextlib
import json
import sqlite3
from collections.abc import Collection, Iterator, Sequence
from typing import Any, Literal

import numpy as np
from qdrant_client import QdrantClient, models
from qdrant_client.http.exceptions import ApiException, UnexpectedResponse

from retrieval.encoders.encoder import Vectors
from retrieval.errors import StoreFull, StoreUnavailable
from retrieval.mentions import ExtractorIdentity
from retrieval.records import Case, CaseId, ImageDigest, PatientKey, StudyUid, ViewGroup, view_group
from retrieval.stores.case_postings import CaseRows, PostingsWriter, SegmentPostings, made_by
from retrieval.stores.facets import CaseKind, Facets, kind_of
from retrieval.stores.reading import by_similarity
from retrieval.stores.segments import Ordinals
from retrieval.stores.store import Entry
from retrieval.where import Hit

POINTS_AT_ONCE = 256
"""Points in one request: a few megabytes at 1,024 dimensions."""
MARGIN = 8
"""Rows fetched beyond the limit, to see whether the last place is shared."""
NOISE = 1e-6
"""Similarities closer than this may be equal: float32 sums in another order."""


class QdrantSegment:
    """One collection; see `retrieval.stores.segments.Segment`. Stops answering when another process drops it."""

    def __init__(self, client: QdrantClient, collection: str, cases: int, *, exact_needs_asking: bool) -> None:
        self._client = client
        self._collection = collection
        self._cases = cases
        self._facets: Facets | None = None
        self._exact = models.SearchParams(exact=True) if exact_needs_asking else None

    def nearest(self, vectors: Vectors, limit: int, group: ViewGroup | None, excluded: Ordinals) -> list[list[Hit]]:
        must = [] if group is None else among("group", [group])
        must_not = []
        if 2 * len(excluded) > self._cases:  # whichever list is shorter
            must += among("ordinal", np.setdiff1d(np.arange(self._cases), excluded).tolist())
        elif len(excluded):
            must_not = among("ordinal", excluded.tolist())
        chosen = models.Filter(must=must, must_not=must_not)
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
            with answering(f"collection {self._collection!r}"):
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
        found = self._read(among("image", [0]), ["ordinal", "case", "content"])
        return [(case_id, content) for _, case_id, content in sorted(found)]

    def extractors(self) -> list[tuple[CaseId, ExtractorIdentity | None]]:
        found = self._read(among("image", [0]), ["ordinal", "case", "extractor"])
        return [(case_id, extractor) for _, case_id, extractor in sorted(found)]

    def find(self, case_ids: Collection[CaseId]) -> dict[CaseId, int]:
        if not case_ids:
            return {}
        found = self._read([*among("image", [0]), *among("case", list(case_ids))], ["case", "ordinal"])
        return dict(found)

    def cases(self, ordinals: Sequence[int]) -> list[Case]:
        if not ordinals:
            return []
        found = dict(self._read([*among("image", [0]), *among("ordinal", list(ordinals))], ["ordinal", "record"]))
        return [Case.model_validate_json(found[ordinal]) for ordinal in ordinals]

    def owners(self, digests: Collection[ImageDigest]) -> list[tuple[int, PatientKey]]:
        return list(set(self._read(among("digest", list(digests)), ["ordinal", "patient"]))) if digests else []

    def matching(self, patients: Collection[PatientKey], studies: Collection[StudyUid]) -> Ordinals:
        found: set[int] = set()
        for field, values in (("patient", patients), ("study", studies)):
            if values:
                found |= {ordinal for (ordinal,) in self._read(among(field, list(values)), ["ordinal"])}
        return np.array(sorted(found), np.int64)

    def facets(self) -> Facets:
        if self._facets is None:
            found = self._read(among("image", [0]), ["ordinal", "kind"])
            if any(kind is None for _, kind in found):  # from before it stood there
                records = self._read(among("image", [0]), ["ordinal", "record"])
                kinds = [kind_of(Case.model_validate_json(record)) for _, record in sorted(records)]
            else:
                in_order = (kind for _, kind in sorted(found, key=lambda pair: pair[0]))
                kinds = [CaseKind(sex, band, of, terms, frozenset(views)) for sex, band, of, terms, views in in_order]
            self._facets = Facets(kinds)
        return self._facets

    def postings(self) -> SegmentPostings | None:
        writer, by = PostingsWriter(), made_by()
        found = self._read(among("image", [0]), ["ordinal", "postings"])
        for _, rows in sorted(found, key=lambda pair: pair[0]):
            ours = rows is not None and rows["by"] == by
            writer.add(CaseRows(rows["concepts"], rows["words"]) if ours else None)
        return writer.finish()

    def image_count(self, ordinals: Ordinals) -> int:
        if not len(ordinals):
            return 0
        chosen = models.Filter(must=among("ordinal", ordinals.tolist()))
        with answering(f"collection {self._collection!r}"):
            return self._client.count(self._collection, count_filter=chosen, exact=True).count

    def entries(self, ordinals: Ordinals) -> Iterator[Entry]:
        # Few are asked for by name; for many, reading everything is less than sending their list with every page.
        wanted, record, rows = set(ordinals.tolist()), "", []
        must = among("ordinal", ordinals.tolist()) if len(wanted) <= 8 * POINTS_AT_ONCE else None
        with answering(f"collection {self._collection!r}"):
            for _, payload, row in scroll(self._client, self._collection, must, True, with_vectors=True):
                if payload["ordinal"] not in wanted:
                    continue
                record = payload.get("record", record)
                rows.append(row)
                case = Case.model_validate_json(record)
                if payload["image"] == len(case.images) - 1:
                    yield Entry(case, np.stack(rows))
                    rows = []

    def _read(self, must: list[Any], fields: list[str]) -> list[tuple[Any, ...]]:
        with answering(f"collection {self._collection!r}"):
            points = scroll(self._client, self._collection, must, fields)
            return [tuple(payload.get(field) for field in fields) for _, payload, _ in points]


@contextlib.contextmanager
def answering(what: str) -> Iterator[None]:
    """Raise StoreFull without room, StoreUnavailable for any other refusal."""
    try:
        yield
    except (ApiException, OSError, sqlite3.Error) as error:
        full = isinstance(error, UnexpectedResponse) and b"No space left" in error.content
        if full or getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
            raise StoreFull(f"Qdrant has no room for {what}", fix="make room, then call again") from error
        raise StoreUnavailable(f"Qdrant did not answer for {what}", fix="check the server and its address") from error
    except ValueError as error:  # local mode's way of saying 404
        raise StoreUnavailable(f"Qdrant has nothing for {what}", fix="refresh the store") from error


def scroll(
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


def among(field: str, values: list[Any]) -> list[Any]:
    """The condition that a payload field has one of these values."""
    return [models.FieldCondition(key=field, match=models.MatchAny(any=values))]


def payload_of(case: Case, ordinal: int, image: int, rows: CaseRows | None) -> dict[str, Any]:
    """What stands beside the vector of one image."""
    payload: dict[str, Any] = {
        "group": view_group(case.images[image].view), "ordinal": ordinal, "image": image, "case": case.case_id,
        "patient": case.patient_key, "study": case.study_instance_uid, "digest": case.images[image].digest,
    }  # fmt: skip
    if image == 0:  # the rest of the case once, on its first row
        record = case.model_dump_json(exclude_none=True)
        kind = kind_of(case)
        payload |= {"content": case.content, "extractor": case.extractor, "record": record}
        payload["kind"] = [*kind[:4], sorted(kind.views)]
        if rows is not None:
            payload["postings"] = {"by": made_by(), "concepts": dict(rows.concepts), "words": dict(rows.words)}
    return payload


def line_of(number: int, payload: dict[str, Any], row: Vectors) -> bytes:
    """What the checksum covers of one point: id, payload and the vector's bits."""
    text = json.dumps([number, payload], sort_keys=True, separators=(",", ":"))
    return text.encode() + np.asarray(row, "<f4").tobytes()


def _hit(point: models.ScoredPoint) -> Hit:
    payload = point.payload or {}
    return Hit(case_id=payload["case"], image=payload["image"], similarity=float(np.float32(point.score)))
