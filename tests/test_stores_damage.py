"""Every file of a small index, damaged in every way a disk damages files: noticed, never answered from."""

import argparse
import contextlib
import random
import re
from pathlib import Path

import pytest

from indexing.__main__ import _parser
from retrieval.errors import OperatorError, StoreCorrupt, UnknownSnapshot
from retrieval.stores.documents import Ledger, Pointer, seal, unseal
from retrieval.stores.faiss_segments import FaissSegments
from retrieval.stores.segmented import SegmentedStore
from tests.stores_drawing import DIMENSION, ENCODER, entries, exact_rows, ids
from tests.stores_interruptions import copy_store


@pytest.fixture
def whole(tmp_path):
    """A directory with two snapshots, two published segments, a tombstone, a staged segment and a ledger."""
    store = SegmentedStore(FaissSegments(tmp_path / "whole"), ENCODER, DIMENSION)
    store.stage(entries(range(12)))
    store.publish()
    store.stage(entries([20, 21]))
    store.publish(remove=ids([2]))
    store.stage(entries([30, 31]))
    store.erase(ids([5]))
    assert store.verify() == []
    store.close()
    return tmp_path / "whole"


def files(directory: Path) -> list[Path]:
    found = sorted(p.relative_to(directory) for p in directory.rglob("*") if p.is_file() and p.name != "writer.lock")
    assert {p.name for p in found} >= {
        "current.json", "ledger.json", "00000001.json", "00000002.json", "segment.json", "cases.sqlite",
        "vectors-frontal.faiss", "vectors-lateral.faiss", "vectors-other.faiss",
    }  # fmt: skip
    return found


def flips(size: int) -> list[int]:
    """Positions of bits: the first, the last, and some between."""
    generator = random.Random(size)
    return [0, size * 8 - 1, *(generator.randrange(size * 8) for _ in range(6))]


def damages(content: bytes):
    for position in flips(len(content)):
        changed = bytearray(content)
        changed[position // 8] ^= 1 << position % 8
        yield f"bit {position} flipped", bytes(changed)
    yield "cut in half", content[: len(content) // 2]
    yield "last byte lost", content[:-1]
    yield "emptied", b""
    yield "zeroed", bytes(len(content))
    yield "grown", content + b"\0"
    yield "removed", None


def answers(store):
    held = sorted(store.contents())
    return held, store.nearest(exact_rows(1, 3), 20), store.cases(held)


@pytest.mark.slow
def test_damage_to_any_file_is_noticed_and_never_answered_from(whole, tmp_path):
    healthy = SegmentedStore(FaissSegments(whole), ENCODER, DIMENSION)
    truth, waiting = answers(healthy), healthy.staged()
    copy = copy_store(whole, tmp_path / "copy")
    for name in files(whole):
        content = (whole / name).read_bytes()
        for damage, changed in damages(content):
            what = f"{name} {damage}"
            (copy / name).write_bytes(changed) if changed is not None else (copy / name).unlink()
            try:
                store = SegmentedStore(FaissSegments(copy), ENCODER, DIMENSION)
            except StoreCorrupt:
                store = SegmentedStore(FaissSegments(copy), ENCODER, DIMENSION, opening="repair")
                assert store.verify(), what
            else:
                assert answers(store) == truth, what
                if changed is None and name.name == "segment.json" and not store.verify():
                    # Without its description a staged segment is one that was never finished: it is staged again.
                    assert store.staged() == {}, what
                else:
                    assert store.verify(), what
                    with contextlib.suppress(StoreCorrupt):
                        assert store.staged() == waiting, what
            store.close()
            (copy / name).write_bytes(content)
    assert SegmentedStore(FaissSegments(copy), ENCODER, DIMENSION).verify() == []


def test_leftovers_of_a_killed_writer_are_no_fault_and_the_next_writer_removes_them(whole):
    (whole / "current.json.partial").write_bytes(b"half")
    (whole / "snapshots" / "00000003.json.partial").write_bytes(b"half")
    (whole / "snapshots" / "00000003.json").write_bytes((whole / "snapshots" / "00000002.json").read_bytes())
    (whole / "segments" / "unfinished").mkdir()
    (whole / "segments" / "unfinished" / "cases.sqlite").write_bytes(b"half")
    store = SegmentedStore(FaissSegments(whole), ENCODER, DIMENSION)
    assert store.verify() == []
    assert [s.snapshot_id for s in store.snapshots()] == ["00000001", "00000002"]
    store.stage(entries([40]))
    assert not list(whole.rglob("*.partial"))
    assert not (whole / "segments" / "unfinished").exists()
    assert store.publish().snapshot_id == "00000003"
    store.close()


@pytest.mark.parametrize("name", ["current.json", "snapshots/00000002.json", "segment"])
def test_a_damaged_store_is_rolled_back_in_repair_mode(whole, name):
    store = SegmentedStore(FaissSegments(whole), ENCODER, DIMENSION)
    newest = [d.segment for d in store._books.manifest("00000002").segments]
    only_new = next(s for s in newest if s not in [d.segment for d in store._books.manifest("00000001").segments])
    store.close()
    path = whole / "segments" / only_new / "cases.sqlite" if name == "segment" else whole / name
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(StoreCorrupt, match="prelim-index rollback"):
        SegmentedStore(FaissSegments(whole), ENCODER, DIMENSION)
    store = SegmentedStore(FaissSegments(whole), ENCODER, DIMENSION, opening="repair")
    store.rollback("00000001")
    assert sorted(store.contents()) == ids([0, 1, 2, 3, 4, *range(6, 12)])
    assert store.verify() == []
    store.stage(entries([40]))
    assert store.publish().snapshot_id == "00000003"
    assert sorted(store.contents())[-1] == ids([40])[0]
    store.close()


def test_damaged_staged_work_stops_publication_until_repair_drops_it(whole):
    store = SegmentedStore(FaissSegments(whole), ENCODER, DIMENSION)
    staged = store._books.staged(store._pointer())[0].segment
    path = whole / "segments" / staged / "vectors-frontal.faiss"
    path.write_bytes(bytes(len(path.read_bytes())))
    with pytest.raises(StoreCorrupt, match=staged):
        store.publish()
    store.close()
    store = SegmentedStore(FaissSegments(whole), ENCODER, DIMENSION, opening="repair")
    store.rollback("00000002")
    assert store.staged() == {}
    assert store.verify() == []
    store.close()


def test_a_store_that_lost_everything_but_its_segments_asks_for_a_rebuild(whole):
    for path in [whole / "current.json", *(whole / "snapshots").iterdir()]:
        path.unlink()
    with pytest.raises(OperatorError):
        SegmentedStore(FaissSegments(whole), ENCODER, DIMENSION)
    store = SegmentedStore(FaissSegments(whole), ENCODER, DIMENSION, opening="repair")
    with pytest.raises(StoreCorrupt, match="prelim-index build"):
        store.rollback("00000001")
    store.close()


def test_a_foreign_file_among_the_snapshots_is_left_alone_also_when_the_pointer_is_lost(whole):
    for name in ("abc", "00000002 copy", "00000009"):  # the last would be a snapshot's name, but is not its own
        (whole / "snapshots" / f"{name}.json").write_bytes((whole / "snapshots" / "00000002.json").read_bytes())
    (whole / "current.json").unlink()
    store = SegmentedStore(FaissSegments(whole), ENCODER, DIMENSION, opening="repair")
    assert any("current" in fault for fault in store.verify())
    assert store.rollback("00000002").snapshot_id == "00000002"
    assert [s.snapshot_id for s in store.snapshots()] == ["00000001", "00000002"]
    assert (whole / "snapshots" / "abc.json").exists()
    assert store.verify() == []
    store.close()


@pytest.mark.parametrize("name", ["current.json", "snapshots/00000002.json"])
def test_a_damaged_store_still_lists_the_snapshots_that_can_be_read(whole, name):
    (whole / name).write_bytes(b"")
    store = SegmentedStore(FaissSegments(whole), ENCODER, DIMENSION, opening="repair")
    left = ["00000001", "00000002"] if name == "current.json" else ["00000001"]
    assert [s.snapshot_id for s in store.snapshots()] == left
    store.close()


def test_a_lost_pointer_does_not_hide_other_damage(whole):
    (whole / "current.json").unlink()
    for table in whole.glob("segments/*/cases.sqlite"):
        table.write_bytes(b"")
    store = SegmentedStore(FaissSegments(whole), ENCODER, DIMENSION, opening="repair")
    faults = store.verify()
    assert any("current" in fault for fault in faults)
    assert any("cases.sqlite" in fault for fault in faults)
    store.close()


def test_repair_advice_names_commands_that_exist(whole):
    (whole / "current.json").write_bytes(b"")
    with pytest.raises(StoreCorrupt) as raised:
        SegmentedStore(FaissSegments(whole), ENCODER, DIMENSION)
    store = SegmentedStore(FaissSegments(whole), ENCODER, DIMENSION, opening="repair")
    with pytest.raises(UnknownSnapshot) as unknown:
        store.rollback("00000009")
    store.close()
    advised = re.findall(r"prelim-index (\w+)", raised.value.fix + unknown.value.fix)
    assert set(advised) == {"verify", "describe", "rollback"}
    (commands,) = [a.choices for a in _parser()._actions if isinstance(a, argparse._SubParsersAction)]
    assert set(advised) <= set(commands)


@pytest.mark.parametrize(
    "content", [b"", b"null", b"[]", b'{"body":{}}', b'{"body":1,"sha256":2}', b"\xff", b"[" * 100_000]
)
def test_a_document_of_other_bytes_is_corrupt_and_no_other_error(content):
    with pytest.raises(StoreCorrupt):
        unseal(Pointer, "current", content)


def test_a_document_with_respaced_json_is_corrupt():
    sealed = seal(Ledger(salt="00"))
    assert unseal(Ledger, "ledger", sealed) == Ledger(salt="00")
    with pytest.raises(StoreCorrupt):
        unseal(Ledger, "ledger", sealed.replace(b":", b": ", 1))
