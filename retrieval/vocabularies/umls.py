"""The UMLS Metathesaurus, from the Rich Release Format that MetamorphoSys writes.

Kept are English atoms that are not suppressed (MRCONSO), PAR relations (MRREL) and all semantic types (MRSTY; a concept
may have several). Atoms of sources whose codes the ontology knows become cross-references. Which sources are in the
files is chosen in MetamorphoSys, because the licence restricts some further.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from retrieval.vocabularies.layer import Layer
from retrieval.vocabularies.licences import UMLS, Acknowledgement, check
from retrieval.vocabularies.reading import OnProgress, Reading, invalid, one_file, unheard
from retrieval.vocabularies.writing import LayerDraft, write_layer

_CONCEPTS, _RELATIONS, _TYPES, _FILES = "MRCONSO.RRF", "MRREL.RRF", "MRSTY.RRF", "MRFILES.RRF"
_COLUMNS: Final = {_CONCEPTS: 18, _RELATIONS: 16, _TYPES: 6, _FILES: 6}
_CUI: Final = re.compile(r"C\d{7}")
_XREFS: Final = frozenset({"SNOMEDCT_US", "MSH", "HPO", "NCI"})
"""Sources (SAB) whose CODE is a code of that vocabulary; RadLex and the OBO ontologies are not in the Metathesaurus."""


def import_umls(
    path: Path,
    out: Path,
    acknowledged: Acknowledgement | None = None,
    *,
    release: str = "",
    on_progress: OnProgress = unheard,
) -> Layer:
    """Make a layer of the folder META of a release or subset.

    MRFILES, where it is there, says how many rows each file has, and a file cut off between two lines is refused too.
    """
    accepted = check(UMLS, acknowledged)
    files = [one_file(path, name, "UMLS Rich Release Format") for name in (_CONCEPTS, _RELATIONS, _TYPES)]
    contents = files[0].with_name(_FILES)
    listed = [contents] if contents.is_file() else []

    def facts(draft: LayerDraft) -> tuple[str, str]:
        reading = Reading([*listed, *files], on_progress)
        expected: dict[str, int] = {}
        for file in listed:
            expected = {row[0]: int(row[4]) for row in _rows(reading, file, {}) if row[4].isdigit()}
        # CUI LAT TS LUI STT SUI ISPREF AUI SAUI SCUI SDUI SAB TTY CODE STR SRL SUPPRESS CVF
        for row in _rows(reading, files[0], expected):
            if row[1] == "ENG" and row[16] == "N":
                preferred = (row[2] == "P", row[4] == "PF", row[6] == "Y")
                draft.name(row[0], row[14], rank=preferred.count(False))
                if row[11] in _XREFS and row[13] != "NOCODE":
                    draft.xref(row[0], row[11], row[13])
        # CUI1 AUI1 STYPE1 REL CUI2 ...: REL is what the second is to the first, so PAR names the broader second
        for row in _rows(reading, files[1], expected):
            if row[3] == "PAR" and row[14] == "N":
                draft.broader(row[0], row[4])
        for row in _rows(reading, files[2], expected):
            draft.kind(row[0], row[1])
        return release or _release(files[0].parent), reading.checksum()

    return write_layer(out, "UMLS", "UMLS", UMLS, accepted, facts)


def _rows(reading: Reading, file: Path, expected: dict[str, int]) -> Iterator[list[str]]:
    number = 0
    with reading.open(file) as source:
        for number, row in source.rows("|", _COLUMNS[file.name] + 1):  # every column ends in the separator
            if row[-1] or (file.name != _FILES and not _CUI.fullmatch(row[0])):
                raise invalid(file.name, "is no row of this file", line=number)
            yield row
    if number != expected.get(file.name, number):
        raise invalid(file.name, f"has {number} rows where {_FILES} says {expected[file.name]}")


def _release(folder: Path) -> str:
    """What release.dat beside the folder says; empty without it."""
    for file in (folder / "release.dat", folder.parent / "release.dat"):
        if file.is_file():
            said = re.search(r"^umls\.release\.name=(\S{1,40})", file.read_text("utf-8", errors="replace"), re.M)
            return said.group(1) if said else ""
    return ""
