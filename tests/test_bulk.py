"""`prelim bulk` as a person types it: every study once, the same drafts as alone, and going on after anything."""

import json
import os
import resource
import shutil
import signal
import stat
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

import service.bulk as bulk_module
from generation.draft import Draft
from retrieval.errors import BrokenLogits, StoreCorrupt, StoreUnavailable
from service.__main__ import main as prelim
from service.bulk import BulkLine
from service.bulk import bulk as run_of
from service.front import Front
from service.request import DraftRequest
from service.wiring import open_front
from tests.bulk_runs import UNSEEN, arguments, bulk, collection, lines_of
from tests.tiny_models import need_models


@pytest.fixture
def source() -> Path:
    return collection() / "unseen"


@pytest.fixture
def names(source: Path) -> list[str]:
    return sorted(path.name for path in source.iterdir())


def manifest(folder: Path, *lines: object) -> Path:
    path = folder / "manifest.jsonl"
    path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
    return path


def single(capsys: pytest.CaptureFixture[str], image: Path, *more: str) -> Draft:
    capsys.readouterr()
    asked = ["draft", str(image), "--index", str(collection() / "index"), "--view", "PA", "--json", *more]
    assert prelim(asked) == 0
    return Draft.model_validate_json(capsys.readouterr().out)


def drafts(out: Path) -> dict[str, Draft | None]:
    return {study: BulkLine.model_validate_json(line).draft for study, line in lines_of(out).items()}


def test_a_draft_in_bulk_is_the_one_made_alone(
    source: Path, names: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "drafts.jsonl"
    status, summary, said = bulk(source, out, capsys)
    assert status == 0
    assert (summary["studies"], summary["drafted"], summary["again"], summary["known"]) == (UNSEEN, UNSEEN, {}, 0)
    assert f"{UNSEEN}/{UNSEEN}" in said
    found = drafts(out)
    assert sorted(found) == names
    for name in names[:2]:
        assert found[name] == single(capsys, source / name)


def test_a_run_goes_on_behind_half_a_last_line(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "drafts.jsonl"
    assert bulk(source, out, capsys)[0] == 0
    whole, content = lines_of(out), out.read_bytes()
    out.write_bytes(content[: -len(content.splitlines()[-1]) // 2])
    status, summary, _ = bulk(source, out, capsys)
    assert (status, summary["known"], summary["drafted"]) == (0, UNSEEN - 1, 1)
    assert lines_of(out) == whole
    # What has all its lines is left alone.
    status, summary, _ = bulk(source, out, capsys)
    assert (status, summary["known"], summary["drafted"]) == (0, UNSEEN, 0)


def test_an_output_is_never_continued_with_other_settings(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "drafts.jsonl"
    assert bulk(source, out, capsys)[0] == 0
    before, beside = out.read_bytes(), tmp_path / "drafts.jsonl.run"
    begun = json.loads(beside.read_text())

    def refused(why: str, *more: str) -> None:
        status, _, said = bulk(source, out, capsys, *more)
        assert (status, said.split("UNFINISHED_BUILD: ")[1].count(why)) == (65, 1), said
        assert out.read_bytes() == before

    refused("another usual", "--view", "AP")
    beside.write_text(json.dumps(begun | {"index_snapshot": "00000007"}))
    refused("another index_snapshot")
    beside.write_text(json.dumps(begun | {"future": 1}))
    refused("of another version")
    beside.unlink()
    refused("is not there")


def test_two_runs_never_write_to_one_output(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "drafts.jsonl"
    with open_front(str(collection() / "index")) as front:
        first = run_of(front, source, out, usual=DraftRequest(view="PA"), at_once=1)
        next(first)
        status, _, said = bulk(source, out, capsys)
        assert status == 75
        assert "STORE_BUSY" in said
        for _ in first:
            pass
    assert len(lines_of(out)) == UNSEEN
    assert bulk(source, out, capsys)[1]["known"] == UNSEEN


def test_faults_of_files_and_requests_are_lines_and_what_may_succeed_later_is_none(
    source: Path, names: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "broken.png").write_bytes((source / names[0]).read_bytes()[:2000])
    # A socket is there and cannot be opened, also by root.
    os.mknod(tmp_path / "closed", stat.S_IFSOCK | 0o600)
    image = str(source / names[0])
    rows = [
        {"study": "a", "images": [image]},
        {"study": "broken", "images": ["broken.png"]},
        {"study": "absent", "images": ["absent.png"]},
        {"study": "closed", "images": ["closed"]},
        {"study": "nowhere", "images": ["x\0y"]},
        {"study": "asks", "images": [image], "request": {"written_by": "language_model"}},
        "{no json, with a secret",
        {"study": "b", "images": [], "secret": 1},
        {"study": "late", "images": [image], "request": {"deadline_s": 1e-9}},
    ]
    out = tmp_path / "drafts.jsonl"
    status, summary, _ = bulk(manifest(tmp_path, *rows), out, capsys)
    assert status == 75
    again = {"DEADLINE_EXCEEDED": 1, "INVALID_STUDY": 1, "UNREADABLE_IMAGE": 1}
    assert (summary["drafted"], summary["again"]) == (1, again)
    assert summary["faulty"] == {"UNREADABLE_IMAGE": 1, "INVALID_STUDY": 1, "REQUEST": 1, "INVALID_MANIFEST": 2}
    faults = {study: BulkLine.model_validate_json(line).fault for study, line in lines_of(out).items()}
    assert set(faults) == {"a", "broken", "nowhere", "asks", "line 7", "line 8"}
    assert faults["broken"] is not None
    assert faults["broken"].code == "UNREADABLE_IMAGE"
    assert "secret" not in out.read_text()
    # The next run tries again what may succeed, and nothing else.
    rows[-1] = {"study": "late", "images": [image]}
    (tmp_path / "closed").unlink()
    for name in ("absent.png", "closed"):
        shutil.copy(image, tmp_path / name)
    status, summary, _ = bulk(manifest(tmp_path, *rows), out, capsys)
    assert (status, summary["drafted"], summary["known"], summary["faulty"]) == (0, 3, 6, {})
    assert drafts(out)["late"] == drafts(out)["a"]


@pytest.mark.parametrize("kind", ["manifest", "folder"])
def test_storage_that_goes_away_ends_a_run_and_costs_no_study_its_draft(
    kind: str,
    source: Path,
    names: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(bulk_module, "GIVE_UP", 3)
    storage, away, out = tmp_path / "storage", tmp_path / "away", tmp_path / "drafts.jsonl"
    shutil.copytree(source, storage)
    rows = [{"study": name, "images": [f"storage/{name}"]} for name in names]
    given = storage if kind == "folder" else manifest(tmp_path, *rows)
    with (
        open_front(str(collection() / "index")) as front,
        closing(run_of(front, given, out, usual=DraftRequest(view="PA"), at_once=1)) as run,
    ):
        next(run)
        storage.rename(away)
        with pytest.raises(StoreUnavailable, match="missing or cannot be opened") as ended:
            for _ in run:
                pass
    assert str(tmp_path) not in str(ended.value)
    assert 0 < len(lines_of(out)) < UNSEEN
    assert None not in drafts(out).values()
    away.rename(storage)
    status, summary, _ = bulk(given, out, capsys)
    assert (status, summary["faulty"], sorted(lines_of(out))) == (0, {}, names)


def test_a_manifest_s_own_request_goes_before_what_the_command_asks(
    source: Path, names: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = str(source / names[0])
    rows = [
        {"study": "usual", "images": [image]},
        {"study": "own", "images": [image], "request": {"view": "LATERAL", "indication": "Cough."}},
    ]
    out = tmp_path / "drafts.jsonl"
    bulk(manifest(tmp_path, *rows), out, capsys)
    found = drafts(out)
    assert found["usual"] == single(capsys, source / names[0])
    assert found["own"] == single(capsys, source / names[0], "--view", "LATERAL", "--indication", "Cough.")
    assert found["own"] != found["usual"]


def test_what_would_be_for_nothing_is_refused_before_anything_is_opened(
    source: Path, names: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, image = tmp_path / "drafts.jsonl", str(source / names[0])
    (tmp_path / "empty").mkdir()
    twice = manifest(tmp_path, *({"study": "a", "images": [image]},) * 2)
    for given, why in (
        (twice, "number 2 has the name of number 1"),
        (source / names[0], "names no study"),
        (tmp_path / "empty", "names no study"),
        (tmp_path / "absent", "neither a folder"),
    ):
        status, _, said = bulk(given, out, capsys, "--index", str(tmp_path / "no-index"))
        assert (status, said.count(why)) == (65, 1), said
        assert not out.exists()
    for bad in (source / "drafts.jsonl", tmp_path / "absent/drafts.jsonl"):
        status, _, said = bulk(source, bad, capsys)
        assert (status, said.count("REQUEST: ")) == (65, 1), said
    out.write_text("not ours\n")
    assert bulk(source, out, capsys)[0] == 65
    assert out.read_text() == "not ours\n"


def test_a_full_disk_is_named_and_the_run_goes_on_when_there_is_room(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "drafts.jsonl"
    room = 300_000  # some three lines

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))

    command = [sys.executable, "-m", "service", *arguments(source, out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, preexec_fn=limited)
    assert (done.returncode, done.stderr.count("STORE_FULL")) == (75, 1), done.stderr
    assert out.stat().st_size == room
    written = lines_of(out)
    assert 0 < len(written) < UNSEEN
    status, summary, _ = bulk(source, out, capsys)
    assert (status, summary["known"]) == (0, len(written))
    assert lines_of(out).items() > written.items()
    assert len(lines_of(out)) == UNSEEN


def test_ctrl_c_leaves_whole_lines_and_says_how_to_go_on(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    many, out = tmp_path / "many", tmp_path / "drafts.jsonl"
    many.mkdir()
    for copy in range(12):
        for path in source.iterdir():
            shutil.copy(path, many / f"{copy}-{path.name}")
    command = [sys.executable, "-m", "service", *arguments(many, out)]

    def heard() -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # where tests run in the background, a child would not hear of it

    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, preexec_fn=heard
    ) as process:
        while process.poll() is None and (not out.exists() or out.stat().st_size < 200_000):
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "the same command goes on from there" in said
    assert out.read_bytes().endswith(b"\n")
    assert 0 < len(lines_of(out)) < 12 * UNSEEN


def test_an_error_of_one_draft_is_tried_again_and_one_of_all_ends_the_run(
    source: Path,
    names: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    draft_now = Front.draft_now
    faults: dict[str, Exception] = {names[1]: ZeroDivisionError(), names[2]: BrokenLogits("no numbers", groups=(0,))}

    def failing(front, paths, asked, writer, tell, halt):
        if fault := faults.get(paths[0].name):
            raise fault
        return draft_now(front, paths, asked, writer, tell, halt)

    monkeypatch.setattr(Front, "draft_now", failing)
    out = tmp_path / "drafts.jsonl"
    status, summary, _ = bulk(source, out, capsys)
    assert (status, summary["again"]) == (75, {"UNFORESEEN": 1, "BROKEN_LOGITS": 1})
    assert set(lines_of(out)) == {*names} - {names[1], names[2]}
    # Where nothing succeeds any more, a run does not go through all the rest.
    monkeypatch.setattr(bulk_module, "GIVE_UP", 2)
    faults = {names[1]: faults[names[2]], names[2]: faults[names[2]]}
    status, _, said = bulk(source, out, capsys)
    assert (status, said.count("BROKEN_LOGITS: no numbers")) == (78, 1)
    faults = {names[1]: StoreCorrupt("a checksum does not hold")}
    status, _, said = bulk(source, out, capsys)
    assert (status, said.count("STORE_CORRUPT")) == (78, 1)
    faults = {}
    assert bulk(source, out, capsys)[0] == 0
    assert sorted(lines_of(out)) == names


def test_a_language_model_s_drafts_are_written_in_batches_and_are_the_ones_written_alone(
    source: Path, names: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    need_models()
    from evaluation.random_models import Size, write_random_model  # noqa: PLC0415
    from generation.decoding.batched import BatchedGenerator  # noqa: PLC0415

    write_random_model(tmp_path / "model", "qwen2_vl", Size(positions=16384))
    sizes, generate = [], BatchedGenerator.generate

    def counting(generator, requests, *more):
        sizes.append(len(requests))
        return generate(generator, requests, *more)

    monkeypatch.setattr(BatchedGenerator, "generate", counting)
    more = ("--language-model", str(tmp_path / "model"), "--preset", "plain", "--max-new-tokens", "8")
    out = tmp_path / "drafts.jsonl"
    status, summary, _ = bulk(source, out, capsys, *more, "--at-once", "4")
    assert (status, summary["again"], summary["instead"]) == (0, {}, {})
    assert (sum(sizes), max(sizes)) == (UNSEEN, 4)
    found, alone = drafts(out)[names[0]], single(capsys, source / names[0], *more)
    assert found is not None
    assert found.writing is not None
    assert alone.writing is not None
    assert found.writing.generator == "transformers"
    seconds = {"seconds": 0.0}
    assert found.model_copy(update={"writing": found.writing.model_copy(update=seconds)}) == alone.model_copy(
        update={"writing": alone.writing.model_copy(update=seconds)}
    )
    # With other weights, or another preset, it is not continued.
    assert bulk(source, out, capsys, *more, "--max-new-tokens", "9")[0] == 65
