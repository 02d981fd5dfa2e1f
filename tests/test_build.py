"""Building an index: counts that reconcile, resuming, replacing, removing, and being killed."""

import json
import random
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evaluation.drawings import draw as drawn
from evaluation.drawings import write_studies
from indexing.build import BuildReport, build
from indexing.manifest import Quarantined
from indexing.wiring import extractor, readers, writing
from retrieval.encoders.descriptor import features
from retrieval.encoders.encoder import encode
from retrieval.errors import InvalidManifest
from retrieval.index import open_index
from retrieval.look import look
from retrieval.pixels.read import read_pixels
from retrieval.pixels.sandbox import Readers, Reading
from retrieval.records import CaseId
from retrieval.retriever import Retriever
from retrieval.study import assemble
from tests.dicom_files import draw as dicom


@pytest.fixture(scope="module")
def reading() -> Any:
    with readers(2) as opened:
        yield opened


def built(index: Path, manifest: Path, reading: Readers, **options: Any) -> tuple[BuildReport, list[Quarantined]]:
    with writing(str(index), manifest, workers=2) as (opened, known):
        return build(manifest, opened.store, opened.encoder, reading, extractor(), known=known, **options)


def rows_of(manifest: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in manifest.read_text().splitlines()]


def rewrite(manifest: Path, rows: list[dict[str, Any]]) -> None:
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))


def visible(index: Path) -> dict[CaseId, str]:
    with closing(open_index(str(index))) as opened:
        return dict(opened.store.contents())


def test_every_row_of_a_good_manifest_is_indexed_once(tmp_path: Path, reading: Readers) -> None:
    report, refused = built(tmp_path / "index", write_studies(tmp_path, 30), reading)
    assert (report.read, report.indexed, report.unchanged, report.quarantined, report.images) == (30, 30, 0, 0, 30)
    assert refused == []
    assert len(visible(tmp_path / "index")) == 30


def test_every_case_is_indexed_with_what_its_report_says(tmp_path: Path, reading: Readers) -> None:
    built(tmp_path / "index", write_studies(tmp_path, 12), reading)
    with closing(open_index(str(tmp_path / "index"))) as index:
        cases = index.store.cases(sorted(index.store.contents()))
        assert set(index.store.extractors().values()) == {extractor().identity}
    assert [case.concepts for case in cases] == [extractor().read_report(case.report) for case in cases]
    assert all(case.concepts and case.concepts.mentions and case.concepts.standalone for case in cases)


def test_a_second_build_encodes_nothing_and_publishes_nothing(tmp_path: Path, reading: Readers) -> None:
    manifest = write_studies(tmp_path, 12)
    first, _ = built(tmp_path / "index", manifest, reading)
    again, _ = built(tmp_path / "index", manifest, reading)
    assert (again.unchanged, again.indexed, again.images) == (12, 0, 0)
    assert again.snapshot == first.snapshot


def test_only_what_changed_is_encoded_again(tmp_path: Path, reading: Readers) -> None:
    manifest = write_studies(tmp_path, 12)
    built(tmp_path / "index", manifest, reading)
    before = visible(tmp_path / "index")
    rows = rows_of(manifest)
    rows[3]["labels"] = ["changed"]
    rewrite(manifest, rows)
    (tmp_path / rows[7]["images"][0]["path"]).write_bytes((tmp_path / rows[8]["images"][0]["path"]).read_bytes())
    report, _ = built(tmp_path / "index", manifest, reading)
    after = visible(tmp_path / "index")
    changed = {case for case in before if before[case] != after[case]}
    assert (report.indexed, report.unchanged, report.images) == (2, 10, 2)
    assert changed == {rows[3]["case_id"], rows[7]["case_id"]}


@pytest.mark.parametrize(("absent", "left"), [("keep", 12), ("remove", 7)])
def test_absent_rows_stay_unless_asked_otherwise(tmp_path: Path, reading: Readers, absent: str, left: int) -> None:
    manifest = write_studies(tmp_path, 12)
    built(tmp_path / "index", manifest, reading)
    rewrite(manifest, rows_of(manifest)[:8])  # the header and seven rows
    report, _ = built(tmp_path / "index", manifest, reading, absent=absent)
    assert report.removed == 12 - left
    assert len(visible(tmp_path / "index")) == left


def test_bad_rows_are_quarantined_with_reasons_and_the_counts_reconcile(tmp_path: Path, reading: Readers) -> None:
    manifest = write_studies(tmp_path, 20)
    rows = rows_of(manifest)
    (tmp_path / rows[1]["images"][0]["path"]).write_bytes(b"")
    (tmp_path / rows[2]["images"][0]["path"]).write_bytes(b"no image at all")
    whole = (tmp_path / rows[3]["images"][0]["path"]).read_bytes()
    (tmp_path / rows[3]["images"][0]["path"]).write_bytes(whole[: len(whole) // 2])
    rows[4]["images"].append({"path": "images/nowhere.png", "view": "LL"})
    rows[5]["report"] = {"text": ""}
    rows[6]["deidentified"] = None
    rows[8]["case_id"] = rows[7]["case_id"]
    rewrite(manifest, rows)
    report, refused = built(tmp_path / "index", manifest, reading)
    assert report.read == 20 == report.indexed + report.unchanged + report.quarantined
    assert report.reasons == {"UNREADABLE_IMAGE": 4, "EMPTY_REPORT": 1, "NO_ATTESTATION": 1, "DUPLICATE_CASE": 1}
    assert [q.line for q in refused] == [2, 3, 4, 5, 6, 7, 9]
    assert len(visible(tmp_path / "index")) == 13


def dicom_study(folder: Path, number: int, **header: str) -> dict[str, Any]:
    """A drawn chest as DICOM, and its manifest row, which names no study."""
    samples = drawn(number).frontal.astype(np.uint16) * 16
    dicom(folder / f"{number}.dcm", samples, 12, StudyInstanceUID=f"1.2.3.{number}", BodyPartExamined="CHEST", **header)
    return {
        "case_id": f"dicom-{number}",
        "patient_key": f"patient-{number}",
        "images": [{"path": f"{number}.dcm", "view": "PA"}],
        "report": {"text": "FINDINGS: The lungs are clear."},
        "source": "tests",
        "licence": "CC0-1.0",
        "deidentified": {"attested_by": "tests", "method": "drawn"},
    }


def test_a_dicom_study_is_known_by_its_header_where_the_row_names_none(tmp_path: Path, reading: Readers) -> None:
    rows = [dicom_study(tmp_path, number) for number in range(9)]
    rows[4]["study_instance_uid"] = "9.9"
    rewrite(tmp_path / "manifest.jsonl", rows)
    report, refused = built(tmp_path / "index", tmp_path / "manifest.jsonl", reading)
    assert (report.indexed, report.reasons) == (8, {"SEVERAL_STUDIES": 1})
    assert refused[0].case_id == "dicom-4"
    with closing(open_index(str(tmp_path / "index"))) as index:
        cases = index.store.cases(sorted(index.store.contents()))
        assert {case.study_instance_uid for case in cases} == {f"1.2.3.{n}" for n in range(9) if n != 4}
        # The same study under other bytes is still the same study.
        dicom_study(tmp_path, 2, PatientComments="exported again")
        vectors = encode(index.encoder, [read_pixels(tmp_path / "2.dcm")])
        with Readers(features, look=look) as looking:
            (again,) = looking.read([str(tmp_path / "2.dcm")])
        assert isinstance(again, Reading)
        study = assemble([again], view="PA").study
        found = Retriever(index.store, index.encoder.identity).retrieve(study, vectors, 9).cases
        assert "dicom-2" not in [case.case.case_id for case in found]
        assert len(found) == 7


def test_what_an_unfinished_build_of_another_manifest_staged_is_not_published(tmp_path: Path, reading: Readers) -> None:
    manifest = write_studies(tmp_path / "x", 20)
    with writing(str(tmp_path / "index"), manifest, workers=2) as (opened, known):
        store = opened.store
        original, calls = store.publish, []
        store.publish = lambda **options: calls.append(options)  # type: ignore[assignment, method-assign, return-value]
        build(manifest, store, opened.encoder, reading, extractor(), known=known)
        assert calls
        assert len(store.staged()) == 20
        store.publish = original  # type: ignore[method-assign]
    rewrite(tmp_path / "x/manifest.jsonl", rows_of(manifest)[:13])  # the header and twelve rows
    report, _ = built(tmp_path / "index", manifest, reading)
    assert (report.indexed, report.resumed, report.images) == (12, 12, 0)
    assert len(visible(tmp_path / "index")) == 12


def test_a_refused_row_is_not_an_absent_one(tmp_path: Path, reading: Readers) -> None:
    manifest = write_studies(tmp_path, 12)
    built(tmp_path / "index", manifest, reading)
    rows = rows_of(manifest)
    rows[5]["sex"] = "?"
    rewrite(manifest, rows)
    report, _ = built(tmp_path / "index", manifest, reading, absent="remove")
    assert (report.removed, report.quarantined) == (0, 1)
    assert len(visible(tmp_path / "index")) == 12


def test_an_empty_manifest_does_not_empty_the_index(tmp_path: Path, reading: Readers) -> None:
    manifest = write_studies(tmp_path, 12)
    built(tmp_path / "index", manifest, reading)
    manifest.write_text("")
    with pytest.raises(InvalidManifest, match="no rows"):
        built(tmp_path / "index", manifest, reading, absent="remove")
    assert len(visible(tmp_path / "index")) == 12


def test_an_erased_case_is_not_indexed_again(tmp_path: Path, reading: Readers) -> None:
    manifest = write_studies(tmp_path, 12)
    built(tmp_path / "index", manifest, reading)
    with closing(open_index(str(tmp_path / "index"))) as index:
        assert index.erase([CaseId("drawn-000003")]) == 1
    report, refused = built(tmp_path / "index", manifest, reading)
    assert (report.unchanged, report.reasons) == (11, {"ERASED": 1})
    assert refused[0].case_id == "drawn-000003"
    assert "drawn-000003" not in visible(tmp_path / "index")


def kill_builds(folder: Path, studies: int, kills: int, seed: int) -> dict[str, int]:
    """Kill builds at random moments until `kills` were killed; returns counts after checking every promise.

    A first build runs through, because fitting would swallow most kills. Then half of the rows change in every round,
    and kills fall between the moment at which a build of nothing would be done starting and the end of a whole one.
    """
    moment = random.Random(seed)
    folder.mkdir(exist_ok=True)
    manifest, index = write_studies(folder, studies, seed), folder / "index"
    command = [
        sys.executable,
        "-m",
        "indexing",
        "build",
        str(manifest),
        "--index",
        str(index),
        "--batch",
        "4",
        "--json",
    ]

    def whole_build() -> tuple[BuildReport, float]:
        began = time.monotonic()
        out = subprocess.run(command, check=True, capture_output=True).stdout
        return BuildReport.model_validate_json(out), time.monotonic() - began

    def change(version: int) -> None:
        rows = rows_of(manifest)
        for row in rows[1 + version % 2 :: 2]:
            row["labels"] = [f"version {version}"]
        rewrite(manifest, rows)

    whole_build()
    _, shortest = whole_build()
    change(0)
    _, longest = whole_build()
    killed = rounds = resumed = 0
    while killed < kills:
        rounds += 1
        change(rounds)
        expected = {row["case_id"] for row in rows_of(manifest)[1:]}
        acknowledged: dict[CaseId, str] = {}
        while killed < kills:
            process, began = (
                subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL),
                time.monotonic(),
            )
            try:
                process.wait(timeout=moment.uniform(0.5 * shortest, 1.1 * longest))
                # A machine that has become faster since would otherwise let every build run through. What is staged
                # already shortens a build too, so only one that had everything to do counts.
                if not acknowledged:
                    longest = min(longest, time.monotonic() - began)
                    shortest = min(shortest, longest)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.wait()
                killed += 1
            with closing(open_index(str(index))) as opened:
                staged, shown = dict(opened.store.staged()), dict(opened.store.contents())
                assert opened.verify() == []
            held = shown | staged
            assert all(held.get(case) == content for case, content in acknowledged.items())  # nothing lost
            assert set(shown) == expected  # the last good snapshot, whole
            acknowledged |= staged
            if process.returncode == 0:
                break
        report, _ = whole_build()
        resumed += len(acknowledged)
        assert report.read == studies == report.indexed + report.unchanged
        assert report.images <= studies // 2 + 1 - len(acknowledged)  # nothing acknowledged is encoded again
        with closing(open_index(str(index))) as opened:
            current = opened.store.current()
            assert current is not None
            assert set(opened.store.contents()) == expected
            assert (current.cases, current.images) == (studies, studies)  # nothing doubled
    return {"kills": killed, "rounds": rounds, "resumed": resumed, "studies": studies}


@pytest.mark.slow
def test_twenty_kills_of_a_build_lose_nothing_and_double_nothing(tmp_path: Path) -> None:
    counts = kill_builds(tmp_path, studies=120, kills=20, seed=7)
    assert counts["kills"] >= 20
    assert counts["resumed"] > 0  # some kills fell behind an acknowledgement: otherwise this shows nothing
