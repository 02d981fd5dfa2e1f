"""What may be put into a store: one check for every store, so that all refuse the same entries.

Entries in; the entries to keep out, each case once. Knows nothing of how a store keeps them.
"""

from collections.abc import Callable, Iterable

import numpy as np

from retrieval.encoders.encoder import Vectors
from retrieval.errors import EncoderMismatch, RequestError
from retrieval.records import CaseId
from retrieval.stores.store import Entry

UNIT_TOLERANCE = 1e-3
"""How far a row's length may be from 1: float16 encoders stay within, unnormalised rows do not."""


def accept(entries: Iterable[Entry], dimension: int, erased: Callable[[CaseId], bool]) -> list[Entry]:
    """The entries to write; where one call brings a case twice, the later one.

    Raises EncoderMismatch (rows of another length, count or norm) and RequestError (a case the ledger forbids),
    before anything is written.
    """
    accepted: dict[CaseId, Entry] = {}
    for entry in entries:
        case_id, rows = entry.case.case_id, np.asarray(entry.vectors, dtype=np.float32)
        if rows.shape != (len(entry.case.images), dimension):
            raise EncoderMismatch(
                f"case {case_id!r} has {len(entry.case.images)} images, its vectors are {rows.shape}, "
                f"and the store's dimension is {dimension}",
                fix="encode with the encoder the store was made for",
            )
        # A NaN row would be nearest to nothing or to everything, and a long one nearest to all.
        if not _unit(rows):
            raise EncoderMismatch(f"vectors of case {case_id!r} are not unit rows", fix="use Encoder.finish")
        if erased(case_id):
            raise RequestError(
                f"case {case_id!r} was erased and may not come back", fix="leave out cases for which `erased` is true"
            )
        accepted[case_id] = Entry(entry.case, np.ascontiguousarray(rows))
    return list(accepted.values())


def queries(vectors: Vectors, dimension: int) -> Vectors:
    """Query rows as the indexes want them, queries x dimension contiguous float32; raises EncoderMismatch."""
    rows = np.ascontiguousarray(vectors, dtype=np.float32)
    if rows.ndim != 2 or rows.shape[1] != dimension:
        raise EncoderMismatch(
            f"the query is {rows.shape} and the store's dimension is {dimension}",
            fix="encode with the encoder the store was made for",
        )
    if not _unit(rows):
        raise EncoderMismatch("the query's rows are not unit rows", fix="use Encoder.finish")
    return rows


def _unit(rows: Vectors) -> bool:
    return bool((np.abs(np.linalg.norm(rows, axis=1) - 1) <= UNIT_TOLERANCE).all())
