"""Bulk runs over drawn studies: an index, unseen studies, runs in this process, and runs that are killed."""

import json
import multiprocessing
import os
import random
import shutil
import signal
import tempfile
import time
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from evaluation.drawings import write_studies
from indexing.__main__ import main as prelim_index
from service.__main__ import main as prelim
from service.bulk import BulkLine

INDEXED, UNSEEN = 60, 8
_KEPT: list["tempfile.TemporaryDirectory[str]"] = []


@cache
def collection() -> Path:
    """A folder with an index of drawn studies (`index`) and unseen ones (`unseen`)."""
    kept = tempfile.TemporaryDirectory(prefix="prelim-bulk-")
    _KEPT.append(kept)
    folder = Path(kept.name)
    write_studies(folder / "studies", INDEXED)
    draw_unseen(folder, UNSEEN)
    assert prelim_index(["build", str(folder / "studies/manifest.jsonl"), "--index", str(folder / "index")]) == 0
    return folder


def draw_unseen(folder: Path, studies: int) -> Path:
    """A folder `unseen` with one image for each study; returns it."""
    write_studies(folder / "drawn", studies, seed=9100)
    (folder / "drawn/images").rename(folder / "unseen")
    return folder / "unseen"


def arguments(source: Path, out: Path, *more: str) -> list[str]:
    index = str(collection() / "index")
    return ["bulk", str(source), "--out", str(out), "--index", index, "--view", "PA", "--json", *more]


def bulk(source: Path, out: Path, capsys: pytest.CaptureFixture[str], *more: str) -> tuple[int, dict[str, Any], str]:
    """Exit status, summary and what was said on standard error."""
    capsys.readouterr()
    status = prelim(arguments(source, out, *more))
    printed, said = capsys.readouterr()
    return status, json.loads(printed) if printed else {}, said


def lines_of(out: Path) -> dict[str, str]:
    """Every whole line by its study, none of which may have two; half a last line is none."""
    whole = [line for line in out.read_text().splitlines(keepends=True) if line.endswith("\n")] if out.exists() else []
    found = {BulkLine.model_validate_json(line).study: line for line in whole}
    assert len(found) == len(whole), "a study has two lines"
    return found


def kill_bulk(folder: Path, studies: int, kills: int, seed: int, more: tuple[str, ...] = ()) -> dict[str, int]:
    """Kill a run at random moments, `kills` times, then let it end; returns counts after checking every promise."""
    moment = random.Random(seed)
    source, out, truth = draw_unseen(folder, studies), folder / "drafts.jsonl", folder / "truth.jsonl"
    # Processes are forked from one that has imported everything, or most of the time would go by until they begin.
    starting = multiprocessing.get_context("forkserver")
    starting.set_forkserver_preload(["service.__main__"])
    whole = starting.Process(target=_run, args=(arguments(source, truth, *more),))
    whole.start()
    whole.join()
    expected = lines_of(truth)
    assert len(expected) == studies
    killed = begun = halves = 0
    while killed < kills:
        before = len(lines_of(out))
        process = starting.Process(target=_run, args=(arguments(source, out, *more),))
        process.start()
        # Some die while they open the index, most in the middle of the work; what is left is enough for the others.
        some = moment.randint(0, max(1, 2 * (studies - before) // (kills - killed + 2)))
        while process.is_alive() and _written(out) < before + some:
            time.sleep(0.005)
        process.join(moment.uniform(0.0, 0.2) if some else moment.uniform(0.0, 2.0))
        if not process.is_alive():  # it came to its end first; another round
            assert lines_of(out) == expected
            out.unlink()
            continue
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        killed += 1
        found = lines_of(out)
        begun += len(found) > before
        halves += out.exists() and not out.read_bytes().endswith(b"\n") and out.stat().st_size > 0
        assert found == {study: expected[study] for study in found}, "a draft is not the one of a run that lived"
        assert len(found) >= before, "a draft was lost"
    last = starting.Process(target=_run, args=(arguments(source, out, *more),))
    last.start()
    last.join()
    assert last.exitcode == 0
    assert lines_of(out) == expected
    shutil.rmtree(source)
    return {"studies": studies, "kills": killed, "kills_after_new_drafts": begun, "half_lines": halves}


def _run(asked: list[str]) -> None:
    with Path(os.devnull).open("w") as nobody:
        os.dup2(nobody.fileno(), 1)
        os.dup2(nobody.fileno(), 2)
    raise SystemExit(prelim(asked))


def _written(out: Path) -> int:
    try:
        return out.read_bytes().count(b"\n")
    except FileNotFoundError:
        return 0
