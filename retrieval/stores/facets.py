"""By what kind of case a search chooses: sex, age band, source, licence, views; one segment's columns in memory.

Six bytes a case and column, read when a search first asks; every shelf answers from the same columns.
"""

from collections.abc import Collection, Iterable
from typing import Final, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from retrieval.records import Case, Sex, ViewGroup, view_group
from retrieval.where import Where

GROUPS: Final[tuple[ViewGroup, ...]] = get_args(ViewGroup)
"""A case's views are one bit each, in this order."""


class CaseKind(NamedTuple):
    """What a case is chosen by; None where it is not known."""

    sex: Sex | None
    age_band: str | None
    source: str
    licence: str
    views: frozenset[ViewGroup]


def kind_of(case: Case) -> CaseKind:
    """The kind of one case."""
    views = frozenset(view_group(image.view) for image in case.images)
    return CaseKind(case.sex, case.age_band, case.source, case.licence, views)


class Facets:
    """The kinds of one segment's cases, by ordinal."""

    def __init__(self, kinds: Iterable[CaseKind]) -> None:
        # Columns of small numbers: comparing strings case by case would take longer than the search itself.
        numbers: list[dict[str | None, int]] = [{}, {}, {}, {}]
        found: list[list[int]] = [[], [], [], []]
        views: list[int] = []
        for kind in kinds:
            for value, known, column in zip(kind[:4], numbers, found, strict=True):
                column.append(known.setdefault(value, len(known)))
            views.append(_bits(kind.views))
        self._columns = [(known, np.array(column, np.int32)) for known, column in zip(numbers, found, strict=True)]
        self._views = np.array(views, np.uint8)

    def __len__(self) -> int:
        """How many cases."""
        return len(self._views)

    def left_out(self, where: Where) -> NDArray[np.bool_]:
        """Of each case whether the query leaves it out for its kind."""
        asked: list[Collection[str]] = [
            [where.sex] if where.sex else [],
            where.age_bands,
            where.sources,
            where.licences,
        ]
        needed = _bits(where.views)
        left_out: NDArray[np.bool_] = (self._views & needed) != needed
        for wanted, (numbers, column) in zip(asked, self._columns, strict=True):
            if wanted:
                left_out |= ~np.isin(column, [numbers[value] for value in wanted if value in numbers])
        return left_out


def _bits(views: Collection[ViewGroup]) -> int:
    return sum(1 << number for number, group in enumerate(GROUPS) if group in views)
