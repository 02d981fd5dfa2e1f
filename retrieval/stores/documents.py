"""The documents of a segmented store: what stands in each, and the seal that shows when a byte has changed.

Records in, sealed bytes out and back. No document holds a case id, patient, study, digest or report text: cases are
named by segment and ordinal, and the erasure ledger holds keyed hashes. Documents therefore never need rewriting to
make bytes disappear.
"""

import hashlib
import hmac
import json
from typing import Literal, TypeVar

from pydantic import Field

from retrieval.errors import StoreCorrupt
from retrieval.records import CaseId, EncoderIdentity, Record, SnapshotId
from retrieval.stores.segments import Built
from retrieval.stores.store import Snapshot

R = TypeVar("R", bound=Record)

REPAIR = (
    "`prelim-index verify` lists every fault; go back to a snapshot that `prelim-index describe` lists with "
    "`prelim-index rollback SNAPSHOT`, or build the index again in a new folder"
)
"""What a person can do about damage, said in every StoreCorrupt of a segmented store."""


class Description(Built):
    """The last thing written of a segment: a segment without it is unfinished and is cleared away."""

    segment: str
    """The segment's id, random, never used twice."""
    purpose: Literal["staged", "merged"]
    """`merged` segments count only while a retained snapshot names them."""
    order: int
    """The place among staged segments, kept when erasure rewrites one; 0 for merged ones."""


class Pointer(Record):
    """The one document whose replacement publishes, rolls back and forgets."""

    encoder: EncoderIdentity
    """Whose vectors the store holds; a store never changes its encoder."""
    dimension: int
    """Length of a vector."""
    current: SnapshotId | None = None
    """The snapshot that answers; None before the first publication."""
    retained: tuple[SnapshotId, ...] = ()
    """Every snapshot that can be rolled back to, oldest first."""
    publications: int = 0
    """How many there were ever: the next snapshot's number."""
    published_order: int = 0
    """Staged segments up to this order were published; only later ones still wait."""


class Manifest(Snapshot):
    """One snapshot: segments and the cases in them that it does not show."""

    segments: tuple[Description, ...] = ()
    """Every segment this snapshot reads."""
    tombstones: dict[str, tuple[int, ...]] = Field(default_factory=dict)
    """Segment to the ordinals of cases that were removed or replaced; segments without any are left out."""
    published_order: int = 0
    """As in the pointer when this was current: lets a lost pointer be remade."""

    def snapshot(self) -> Snapshot:
        """What readers are told of it."""
        return Snapshot.model_validate(self.model_dump(include=set(Snapshot.model_fields)))


class Ledger(Record):
    """Who must never come back, without saying who."""

    salt: str
    """Key of the tokens, in hex; random for each store."""
    tokens: dict[str, Literal["pending", "done"]] = Field(default_factory=dict)
    """HMAC-SHA256 of the case id; `pending` until its bytes are gone from every segment."""

    def token(self, case_id: CaseId) -> str:
        """The case as the ledger writes it."""
        return hmac.digest(bytes.fromhex(self.salt), case_id.encode(), hashlib.sha256).hex()

    def forbids(self, case_id: CaseId) -> bool:
        """Whether the case was erased, or is just being erased."""
        # Without tokens nothing is hashed: opening a store that never erased anything stays cheap.
        return bool(self.tokens) and self.token(case_id) in self.tokens

    @property
    def pending(self) -> bool:
        """Whether an erasure was begun and not finished."""
        return "pending" in self.tokens.values()


def seal(record: Record) -> bytes:
    """The document with the SHA-256 of its body, as canonical JSON."""
    body = record.model_dump(mode="json")
    return _canonical({"body": body, "sha256": hashlib.sha256(_canonical(body)).hexdigest()})


def unseal(kind: type[R], name: str, sealed: bytes | None) -> R:
    """The record in a document; raises StoreCorrupt when it is missing or any byte differs from what was sealed."""
    try:
        return kind.model_validate(check_seal(name, sealed))
    except ValueError as error:
        raise StoreCorrupt(f"document {name!r} cannot be read", fix=REPAIR) from error


def check_seal(name: str, sealed: bytes | None) -> object:
    """The body of a document whose checksum holds; raises StoreCorrupt otherwise."""
    if sealed is None:
        raise StoreCorrupt(f"document {name!r} is missing", fix=REPAIR)
    try:
        document = json.loads(sealed)
        body, digest = document["body"], document["sha256"]
        # Comparing whole documents also notices damage that JSON forgives, such as changed spacing.
        whole = _canonical(document) == sealed and hashlib.sha256(_canonical(body)).hexdigest() == digest
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise StoreCorrupt(f"document {name!r} cannot be read", fix=REPAIR) from error
    if not whole:
        raise StoreCorrupt(f"document {name!r} does not match its checksum", fix=REPAIR)
    return body


def _canonical(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode() + b"\n"
