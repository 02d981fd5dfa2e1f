"""Inverted lists over cases: for each key the cases that have it, with one byte each.

What the keys and bytes mean is for `postings.py` (concepts) and `text.py` (words) to say. A store keeps the lists of
each segment as arrays (`to_arrays`); a snapshot merges its segments, without what is gone, into one that counts cases
in the order of their ids, so that equal similarities rank by case id at no cost. Five bytes a posting.
"""

from array import array
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from retrieval.records import CaseId

Ordinals = NDArray[np.int32]
"""Cases by number; ascending in a list."""
Codes = NDArray[np.uint8]
"""One byte for each case of a list."""
Similarities = NDArray[np.float64]
"""One value for each case."""


class PostingLists:
    """Key to cases and bytes; immutable by convention, safe to read from any thread."""

    def __init__(
        self, keys: Sequence[str], starts: NDArray[np.int64], ordinals: Ordinals, codes: Codes, cases: int
    ) -> None:
        """Keys ascending; the list of keys[i] is ordinals[starts[i]:starts[i + 1]]."""
        if not len(starts) == len(keys) + 1 or not starts[-1] == len(ordinals) == len(codes):
            raise ValueError("posting lists of unequal length")
        if list(keys) != sorted(set(keys)) or (len(ordinals) and not 0 <= ordinals.min() <= ordinals.max() < cases):
            raise ValueError("posting lists name a key twice, or a case that is not there")
        self.keys = tuple(keys)
        self.cases = cases
        """How many there are, those in no list included."""
        self._starts, self._ordinals, self._codes = starts, ordinals, codes
        self._numbers = {key: number for number, key in enumerate(self.keys)}

    @classmethod
    def from_rows(cls, rows: Iterable[Mapping[str, int]]) -> "PostingLists":
        """One row a case, in the order in which they are to be counted: its keys, each with a number from 0 to 255."""
        found: dict[str, tuple[array[int], bytearray]] = {}
        cases = 0
        for ordinal, row in enumerate(rows):
            cases = ordinal + 1
            for key, code in row.items():
                if key not in found:
                    found[key] = (array("i"), bytearray())
                numbers, codes = found[key]
                numbers.append(ordinal)
                codes.append(code)
        return cls._joined(
            ((k, np.array(found[k][0], np.int32), np.frombuffer(found[k][1], np.uint8)) for k in sorted(found)), cases
        )

    @classmethod
    def _joined(cls, lists: Iterable[tuple[str, Ordinals, Codes]], cases: int) -> "PostingLists":
        kept = [(key, ordinals, codes) for key, ordinals, codes in lists if len(ordinals)]
        return cls(
            [key for key, _, _ in kept],
            np.cumsum([0, *(len(ordinals) for _, ordinals, _ in kept)], dtype=np.int64),
            np.concatenate([np.empty(0, np.int32), *(ordinals for _, ordinals, _ in kept)]),
            np.concatenate([np.empty(0, np.uint8), *(codes for _, _, codes in kept)]),
            cases,
        )

    def __getitem__(self, key: str) -> tuple[Ordinals, Codes]:
        """The cases that have the key, with their bytes; empty when none has."""
        number = self._numbers.get(key)
        if number is None:
            return self._ordinals[:0], self._codes[:0]
        span = slice(self._starts[number], self._starts[number + 1])
        return self._ordinals[span], self._codes[span]

    def __len__(self) -> int:
        """How many postings."""
        return len(self._ordinals)

    @property
    def nbytes(self) -> int:
        """Memory of the arrays."""
        return int(self._starts.nbytes + self._ordinals.nbytes + self._codes.nbytes)

    def to_arrays(self) -> dict[str, NDArray[np.generic]]:
        """All of it as five arrays that `np.savez` or a store can keep; nothing is pickled."""
        return {
            "keys": np.array([key.encode("ascii") for key in self.keys], np.bytes_),
            "starts": self._starts,
            "ordinals": self._ordinals,
            "codes": self._codes,
            "cases": np.array([self.cases], np.int64),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[np.generic]]) -> "PostingLists":
        """What `to_arrays` gave; raises ValueError or KeyError for arrays that do not fit together."""
        return cls(
            [bytes(key).decode("ascii") for key in arrays["keys"].tolist()],
            np.asarray(arrays["starts"], np.int64),
            np.asarray(arrays["ordinals"], np.int32),
            np.asarray(arrays["codes"], np.uint8),
            int(arrays["cases"][0]),
        )


class Part(NamedTuple):
    """One segment of a snapshot."""

    lists: PostingLists
    """Its lists."""
    case_ids: Sequence[CaseId]
    """Its cases by ordinal, those that are gone included."""
    gone: frozenset[int] = frozenset()
    """Ordinals that no longer count."""


def merge(parts: Sequence[Part]) -> tuple[PostingLists, tuple[CaseId, ...]]:
    """All living cases as one, counted in the order of their ids: the same whatever the segments were."""
    living = sorted(
        (case_id, number, ordinal)
        for number, part in enumerate(parts)
        for ordinal, case_id in enumerate(part.case_ids)
        if ordinal not in part.gone
    )
    case_ids = tuple(case_id for case_id, _, _ in living)
    if len(set(case_ids)) != len(case_ids):
        raise ValueError("a case lives in two segments")
    anew = [np.full(len(part.case_ids), -1, np.int32) for part in parts]
    for new, (_, number, ordinal) in enumerate(living):
        anew[number][ordinal] = new

    def joined(key: str) -> tuple[str, Ordinals, Codes]:
        pieces = [(anew[number][part.lists[key][0]], part.lists[key][1]) for number, part in enumerate(parts)]
        ordinals = np.concatenate([ordinals for ordinals, _ in pieces])
        codes = np.concatenate([codes for _, codes in pieces])
        order = np.argsort(ordinals, kind="stable")
        order = order[np.searchsorted(ordinals[order], 0) :]
        return key, ordinals[order], codes[order]

    keys = sorted({key for part in parts for key in part.lists.keys})
    return PostingLists._joined(map(joined, keys), len(case_ids)), case_ids


def best(similarities: Similarities, limit: int, keep: NDArray[np.bool_] | None = None) -> NDArray[np.intp]:
    """The ordinals of the highest, highest first, equal ones in order; none that is 0, none that `keep` leaves out."""
    if keep is not None:
        similarities = np.where(keep, similarities, 0)
    count = min(limit, len(similarities))
    if count <= 0:
        return np.empty(0, np.intp)
    least = np.partition(similarities, len(similarities) - count)[len(similarities) - count]
    above = np.flatnonzero(similarities > max(least, 0))
    level = np.flatnonzero(similarities == least)[: count - len(above)] if least > 0 else above[:0]
    return np.concatenate([above[np.argsort(-similarities[above], kind="stable")], level])
