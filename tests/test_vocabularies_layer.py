"""The layer's file: sealed, whole or absent, the same for the same input, and small in memory however large it is."""

import random
import sqlite3
import tracemalloc
from pathlib import Path

import pytest

from retrieval.errors import InvalidVocabulary, OperatorError, StoreCorrupt
from retrieval.vocabularies.layer import SEAL_LENGTH, OpenLayer
from retrieval.vocabularies.schemes import canonical
from retrieval.vocabularies.umls import import_umls
from tests.vocabularies_files import IMPORTERS, MAKERS, acknowledged, atom, imported, relation, umls

ROWS = 300_000
BOUND = 8 * 2**20
"""Bytes of Python objects at any moment; the rows are some 25 MB as text, and five times that as objects."""


@pytest.fixture
def meta(tmp_path: Path) -> Path:
    return umls(tmp_path / "META")


@pytest.fixture
def path(meta: Path, tmp_path: Path) -> Path:
    out = tmp_path / "layer.sqlite"
    imported("umls", meta, out).close()
    return out


def test_a_layer_with_any_byte_flipped_is_not_opened(path: Path) -> None:
    whole = path.read_bytes()
    places = {0, 68, 72, 100, len(whole) - SEAL_LENGTH, len(whole) - 1, *random.Random(7).sample(range(len(whole)), 40)}
    for place in places:
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises((StoreCorrupt, InvalidVocabulary)):
            OpenLayer(path)
    path.write_bytes(whole)
    OpenLayer(path)


@pytest.mark.parametrize("kept", [0, 1, 71, 72, 73, 500, -1, -SEAL_LENGTH])
def test_a_layer_cut_short_is_not_opened(path: Path, kept: int) -> None:
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises((StoreCorrupt, InvalidVocabulary)):
        OpenLayer(path)


def test_damage_and_a_wrong_file_are_told_apart(path: Path, tmp_path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(StoreCorrupt, match="import the vocabulary again"):
        OpenLayer(path)
    (tmp_path / "other").write_text("hello")
    for other in (tmp_path / "other", tmp_path / "nowhere", tmp_path):
        with pytest.raises(InvalidVocabulary):
            OpenLayer(other)


def test_opening_and_reading_leaves_the_file_as_it_was(path: Path) -> None:
    whole = path.read_bytes()
    list(OpenLayer(path))
    assert path.read_bytes() == whole
    assert [p.name for p in path.parent.iterdir() if p.name.startswith("layer")] == ["layer.sqlite"]


def test_sqlite_itself_finds_the_sealed_file_sound(path: Path) -> None:
    connection = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()


@pytest.mark.parametrize("token", sorted(MAKERS))
def test_the_same_files_and_acknowledgement_give_the_same_bytes(token: str, tmp_path: Path) -> None:
    source, out = MAKERS[token](tmp_path / "source"), tmp_path / "layer.sqlite"
    imported(token, source, out).close()
    first = out.read_bytes()
    imported(token, source, out).close()
    assert out.read_bytes() == first


def test_the_order_of_rows_changes_nothing_but_the_checksum(meta: Path, tmp_path: Path) -> None:
    first = imported("umls", meta, tmp_path / "one")
    rows = (meta / "MRCONSO.RRF").read_text().splitlines(keepends=True)
    (meta / "MRCONSO.RRF").write_text("".join(reversed(rows)))
    second = imported("umls", meta, tmp_path / "two")
    assert list(first) == list(second)
    assert first.layer.checksum != second.layer.checksum


def test_another_file_is_never_overwritten(meta: Path, tmp_path: Path) -> None:
    out = tmp_path / "report.txt"
    out.write_text("somebody's work")
    with pytest.raises(InvalidVocabulary, match="is no layer"):
        IMPORTERS["umls"](meta, out, acknowledged("umls"))
    assert out.read_text() == "somebody's work"


def test_a_place_that_cannot_be_written_is_an_error_with_a_name(meta: Path, tmp_path: Path) -> None:
    with pytest.raises(OperatorError, match="cannot be written"):
        IMPORTERS["umls"](meta, tmp_path / "nowhere" / "layer.sqlite", acknowledged("umls"))


def test_a_failed_import_leaves_the_old_layer_as_it_was(meta: Path, path: Path) -> None:
    whole, beside = path.read_bytes(), sorted(path.parent.iterdir())
    (meta / "MRSTY.RRF").write_text("C0000001|T033|")
    with pytest.raises(InvalidVocabulary, match="MRSTY"):
        IMPORTERS["umls"](meta, path, acknowledged("umls"))
    assert path.read_bytes() == whole
    assert sorted(path.parent.iterdir()) == beside


def test_a_damaged_layer_can_be_imported_again(meta: Path, path: Path) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[:-9])
    imported("umls", meta, path)
    assert path.read_bytes() == whole


def test_an_unknown_code_is_a_key_error(path: Path) -> None:
    layer = OpenLayer(path)
    assert "C9999999" not in layer
    with pytest.raises(KeyError):
        layer["C9999999"]


@pytest.mark.parametrize(
    ("written", "one"),
    [
        (("HP", "0000001"), ("HPO", "HP:0000001")), (("HPO", "HP:0000001"), ("HPO", "HP:0000001")),
        (("UMLS_CUI", "C0000001"), ("UMLS", "C0000001")), (("MSH", "D000001"), ("MESH", "D000001")),
        (("SCTID", "123"), ("SNOMEDCT", "123")), (("SNOMEDCT_US_2020_03_01", "123"), ("SNOMEDCT", "123")),
        (("NCIT", "NCIT:C1"), ("NCIT", "C1")), (("NCI", "C1"), ("NCIT", "C1")), (("DOID", "1"), ("DOID", "DOID:1")),
        (("Fyler", "12"), ("FYLER", "12")), (("RadLex", "RID1"), ("RADLEX", "RID1")),
    ],
)  # fmt: skip
def test_a_code_has_one_form_however_a_file_writes_it(written: tuple[str, str], one: tuple[str, str]) -> None:
    assert canonical(*written) == canonical(*one) == one


def test_three_hundred_thousand_rows_take_no_more_memory_than_a_batch(tmp_path: Path) -> None:
    concepts = ROWS // 6
    meta = tmp_path / "META"
    meta.mkdir()
    shuffled = random.Random(3).sample(range(concepts), concepts)
    with (meta / "MRCONSO.RRF").open("w") as file:
        for n in shuffled:
            file.writelines(atom(f"C{n:07d}", f"invented word {n} {way}") for way in "ab")
            file.writelines(atom(f"C{n:07d}", f"mot {n}", lat="FRE") for _ in range(3))
    with (meta / "MRREL.RRF").open("w") as file:
        file.writelines(relation(f"C{n:07d}", "PAR", f"C{n // 2:07d}") for n in shuffled)
    (meta / "MRSTY.RRF").write_text("")
    tracemalloc.start()
    try:
        layer = import_umls(meta, tmp_path / "layer.sqlite", acknowledged("umls"))
        opened = OpenLayer(tmp_path / "layer.sqlite")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (layer.terms, layer.phrases) == (concepts, 2 * concepts)
    assert opened.ancestors("C0000009") == ("C0000004", "C0000002", "C0000001", "C0000000")
    assert peak < BOUND
