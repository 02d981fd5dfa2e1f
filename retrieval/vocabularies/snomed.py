"""SNOMED CT, from the snapshot files of Release Format 2.

Kept are active concepts, their active English descriptions, their active is-a relations and finding sites. The
preferred name is the synonym that the language reference set prefers, or the fully specified name without its tag.
"""

import re
from array import array
from bisect import bisect_left
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from retrieval.vocabularies.layer import Layer
from retrieval.vocabularies.licences import SNOMEDCT, Acknowledgement, check
from retrieval.vocabularies.reading import OnProgress, Reading, invalid, one_file, unheard
from retrieval.vocabularies.writing import LayerDraft, write_layer

US_ENGLISH: Final = "900000000000509007"
"""The language reference set asked when none is named: its spellings are those of the ontology."""
_FULLY_SPECIFIED: Final = "900000000000003001"
_SYNONYM: Final = "900000000000013009"
_PREFERRED: Final = "900000000000548007"
_IS_A: Final = "116680003"
_FINDING_SITE: Final = "363698007"
_TAG: Final = re.compile(r" \([a-z][a-z /+-]*\)$")

_CONCEPT: Final = "id effectiveTime active moduleId definitionStatusId"
_DESCRIPTION: Final = "id effectiveTime active moduleId conceptId languageCode typeId term caseSignificanceId"
_RELATION: Final = (
    "id effectiveTime active moduleId sourceId destinationId relationshipGroup typeId characteristicTypeId modifierId"
)
_LANGUAGE: Final = "id effectiveTime active moduleId refsetId referencedComponentId acceptabilityId"
_IDENTIFIERS: Final = frozenset({"conceptId", "sourceId", "destinationId", "referencedComponentId"})
"""Columns that must be numbers; `id` too, except in reference sets, where it is a UUID."""


def import_snomed(
    path: Path,
    out: Path,
    acknowledged: Acknowledgement | None = None,
    *,
    release: str = "",
    on_progress: OnProgress = unheard,
    language: str = US_ENGLISH,
) -> Layer:
    """Make a layer of the unpacked folder of one edition; the language reference set may be missing."""
    accepted = check(SNOMEDCT, acknowledged)
    concepts, descriptions, relations = (
        one_file(path, f"*sct2_{kind}_Snapshot{ending}_*.txt", "SNOMED CT RF2 snapshot")
        for kind, ending in (("Concept", ""), ("Description", "-en"), ("Relationship", ""))
    )
    languages = sorted(path.rglob("*der2_cRefset_LanguageSnapshot-en_*.txt"))

    def facts(draft: LayerDraft) -> tuple[str, str]:
        reading = Reading([concepts, *languages, descriptions, relations], on_progress)
        active = _Numbers(row[0] for row in _rows(reading, concepts, _CONCEPT))
        preferred = _Numbers(
            row[5]
            for file in languages
            for row in _rows(reading, file, _LANGUAGE)
            if row[4] == language and row[6] == _PREFERRED
        )
        for row in _rows(reading, descriptions, _DESCRIPTION):
            if row[5] == "en" and row[6] in (_FULLY_SPECIFIED, _SYNONYM) and row[4] in active:
                if row[6] == _FULLY_SPECIFIED:
                    draft.name(row[4], _TAG.sub("", row[7]), rank=1)
                else:
                    draft.name(row[4], row[7], rank=0 if row[0] in preferred else 2)
        for row in _rows(reading, relations, _RELATION):
            if row[7] == _IS_A:
                draft.broader(row[4], row[5])
            elif row[7] == _FINDING_SITE:
                draft.site(row[4], row[5])
        dated = re.search(r"_(\d{8})\.txt$", concepts.name)
        return release or (dated.group(1) if dated else ""), reading.checksum()

    return write_layer(out, "SNOMEDCT", "SNOMEDCT", SNOMEDCT, accepted, facts)


class _Numbers:
    """A set of identifiers in eight bytes each: half a million would be 50 MB as a set of strings."""

    def __init__(self, identifiers: Iterator[str]) -> None:
        self._sorted = array("Q", sorted(array("Q", map(int, identifiers))))

    def __contains__(self, identifier: str) -> bool:
        number = int(identifier)
        place = bisect_left(self._sorted, number)
        return place < len(self._sorted) and self._sorted[place] == number


def _rows(reading: Reading, file: Path, header: str) -> Iterator[list[str]]:
    """Active rows; raises InvalidVocabulary for a file with another header."""
    columns = header.split()
    numeric = [i for i, name in enumerate(columns) if name in _IDENTIFIERS or (name == "id" and header != _LANGUAGE)]
    with reading.open(file) as source:
        for number, row in source.rows("\t", len(columns)):
            if number == 1:
                if row != columns:
                    raise invalid(file.name, f"does not begin with the columns {header}", line=1)
            elif row[2] not in ("0", "1") or not all(row[i].isdecimal() and len(row[i]) <= 18 for i in numeric):
                raise invalid(file.name, "is no row of this file", line=number)
            elif row[2] == "1":
                yield row
