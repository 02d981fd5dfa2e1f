"""Several rankings into one, by rank alone: reciprocal-rank fusion (Cormack, Clarke and Büttcher, SIGIR 2009).

Similarities of an image, of words and of concepts have nothing in common but their order, so nothing is fitted and no
leg has to be calibrated. A case gets 1 / (60 + rank) from every leg that found it, and nothing from one that did not.
"""

from collections.abc import Sequence
from math import fsum
from typing import Final

from pydantic import Field

from retrieval.record import Record
from retrieval.records import CaseId

K: Final = 60
"""Cormack et al.'s constant: how little the first ranks stand out."""


class FusedCase(Record):
    """A case with its place in the fused ranking and in each leg."""

    case_id: CaseId
    """The case."""
    value: float = Field(gt=0)
    """Sum of 1 / (60 + rank); means something only beside others of the same fusion."""
    ranks: tuple[int | None, ...]
    """Its rank in each leg, from 1; None in a leg that did not find it."""


def fuse(legs: Sequence[Sequence[CaseId]], limit: int | None = None) -> list[FusedCase]:
    """The cases of all legs, best first, equal ones by case id.

    Each leg names cases best first. A case that one leg names twice has its better rank; an empty leg changes nothing.
    """
    ranks: dict[CaseId, list[int | None]] = {}
    for number, leg in enumerate(legs):
        for rank, case_id in enumerate(dict.fromkeys(leg), 1):
            ranks.setdefault(case_id, [None] * len(legs))[number] = rank
    fused = [
        # fsum rounds once, so that ranks (1, 2, 3) and (3, 1, 2) are equal and not nearly so.
        FusedCase(case_id=case_id, value=fsum(1 / (K + rank) for rank in places if rank), ranks=tuple(places))
        for case_id, places in ranks.items()
    ]
    fused.sort(key=lambda f: (-f.value, f.case_id))
    return fused[:limit]
