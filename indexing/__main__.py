"""The command `prelim-index`: make an index of image-report pairs and look after it.

    prelim-index build manifest.jsonl --index index/     index a manifest; start it again after any interruption
    prelim-index reread --index index/                   read reports again, without their images
    prelim-index describe --index index/                 snapshots, counts, encoder, what has read the reports
    prelim-index verify --index index/                   read everything, compare every checksum
    prelim-index erase CASE ... --index index/           remove every byte of a case, from every snapshot
    prelim-index rollback SNAPSHOT --index index/        serve an earlier snapshot again
    prelim-index pseudonym < ids.txt                     patient ids to salted patient keys (PRELIM_PATIENT_SALT);
                                                         one id a line, or issuer, tab, id as the DICOM header has them
    prelim-index vocabulary import radlex RadLex.owl --out radlex.sqlite
                                                         further synonyms, under your licence: build --vocabulary

Exit status: 0 done, 1 faults found or a case not found, 3 rows quarantined with --strict, 130 interrupted, else that of
the error (65 fix the input, 75 try later, 78 repair).
"""

import argparse
import json
import os
import sys
import time
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from generation.summary import keep_summary
from indexing.build import BATCH_IMAGES, BuildReport, build
from indexing.manifest import count_rows
from indexing.reread import reread
from indexing.vocabulary import add_vocabulary_arguments, run_vocabulary
from indexing.wiring import extractor, readers, rereading, writing
from retrieval.encoders.descriptor import COMPONENTS, DescriptorEncoder
from retrieval.encoders.named import Loading
from retrieval.errors import InvalidManifest, OperatorError, StoreCorrupt
from retrieval.index import open_index, verify_index
from retrieval.pixels.attributes import pseudonym
from retrieval.records import CaseId, SnapshotId
from retrieval.terminal import add_index_argument, count, plain, run_command


def _parser() -> argparse.ArgumentParser:
    shared = argparse.ArgumentParser(add_help=False)
    add_index_argument(shared)
    shared.add_argument("--json", action="store_true", help="one JSON object instead of text")

    layers = argparse.ArgumentParser(add_help=False)
    layers.add_argument(
        "--vocabulary",
        type=Path,
        action="append",
        default=[],
        metavar="LAYER",
        help="an imported vocabulary whose synonyms are read as well (repeatable)",
    )

    parser = argparse.ArgumentParser(prog="prelim-index", description="Make and look after an index of past cases.")
    commands = parser.add_subparsers(dest="command", required=True)
    building = commands.add_parser("build", parents=[shared, layers], help="index a manifest (resumable)")
    building.add_argument("manifest", type=Path, help="JSONL manifest, one study a line (README, Your own cases)")
    building.add_argument(
        "--encoder",
        default="",
        metavar="NAME",
        help="descriptor (default), or a trained one: open_clip: or transformers: with a folder or hub id after it",
    )
    building.add_argument("--device", default="cpu", help="where a trained encoder runs: cpu (default), cuda, cuda:1")
    building.add_argument(
        "--model-network", choices=("off", "on"), default="off", help="whether a hub may be asked for weights"
    )
    building.add_argument("--workers", type=count, help="decoder processes (default: one for each core)")
    building.add_argument("--remove-absent", action="store_true", help="take out cases the manifest no longer has")
    building.add_argument("--quarantine", type=Path, help="where refused rows go (default: MANIFEST.quarantine.jsonl)")
    building.add_argument("--strict", action="store_true", help="exit with 3 when rows were quarantined")
    building.add_argument("--batch", type=count, default=BATCH_IMAGES, metavar="N", help="images made durable together")
    building.add_argument("--note", default="", help="kept with the snapshot")
    commands.add_parser("reread", parents=[shared, layers], help="read reports again, without their images (resumable)")
    commands.add_parser("describe", parents=[shared, layers], help="what the index holds")
    commands.add_parser("verify", parents=[shared], help="check every byte")
    erasing = commands.add_parser("erase", parents=[shared], help="remove every byte of cases, for good")
    erasing.add_argument("cases", nargs="+", type=CaseId, metavar="CASE")
    rolling = commands.add_parser("rollback", parents=[shared], help="serve an earlier snapshot again")
    rolling.add_argument("snapshot", type=SnapshotId)
    commands.add_parser("pseudonym", help="salted patient keys for ids on standard input, one a line")
    add_vocabulary_arguments(commands.add_parser("vocabulary", help="import a vocabulary's synonyms; look at them"))
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    options = _parser().parse_args(arguments)
    return run_command(lambda: _run(options), after_interrupt="what is staged is kept: start it again to go on")


def _run(options: argparse.Namespace) -> int:
    # Progress goes to standard error, so that --json output can be piped.
    console, said = Console(stderr=True), Console(soft_wrap=True, highlight=False)
    match options.command:
        case "build":
            return _build(options, console, said)
        case "reread":
            return _reread(options, console, said)
        case "vocabulary":
            return run_vocabulary(options, console, said)
        case "describe":
            return _describe(options, said)
        case "verify":
            return _verify(options, said)
        case "erase":
            return _erase(options, said)
        case "rollback":
            with closing(open_index(options.index, "repair")) as index:
                snapshot = index.store.rollback(options.snapshot)
                keep_summary(index)
            _tell(said, options, snapshot.model_dump())
            return 0
        case _:
            return _pseudonyms()


def _build(options: argparse.Namespace, console: Console, said: Console) -> int:
    began = time.monotonic()
    reader = extractor(options.vocabulary)
    rows = count_rows(options.manifest)
    quarantine: Path = options.quarantine or options.manifest.with_suffix(".quarantine.jsonl")
    if quarantine.resolve() == options.manifest.resolve() or not quarantine.parent.is_dir():
        raise InvalidManifest(f"refused rows cannot be written to {quarantine}", fix="name another file: --quarantine")
    columns = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}")]
    with Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=console) as progress:
        fitting = progress.add_task("fitting the encoder", total=None, visible=False, rate="")
        indexing = progress.add_task("indexing", total=rows, rate="")

        def on_image(images: int) -> None:
            progress.update(fitting, advance=images, visible=True)

        def on_row(done: int) -> None:
            progress.update(indexing, advance=done)
            speed = progress.tasks[indexing].speed
            progress.update(indexing, rate=f"{speed:.0f} studies/s" if speed else "")

        loading = Loading(options.encoder, options.device, options.model_network)
        with (
            writing(options.index, options.manifest, loading=loading, workers=options.workers, on_image=on_image) as (
                index,
                known,
            ),
            readers(options.workers, index.encoder.prepare) as reading,
        ):
            progress.update(fitting, visible=False)
            report, refused = build(
                options.manifest,
                index.store,
                index.encoder,
                reading,
                reader,
                known=known,
                absent="remove" if options.remove_absent else "keep",
                batch_images=options.batch,
                note=options.note,
                on_row=on_row,
            )
            keep_summary(index)
            current, encoder = index.store.current(), index.encoder
            read_by, unlisted = index.store.extractors(), index.store.unlisted()
            otherwise = sum(by != reader.identity for by in read_by.values())
    quarantine.write_text("".join(row.model_dump_json() + "\n" for row in refused), encoding="utf-8")
    _report(said, options, report.model_copy(update={"seconds": time.monotonic() - began}), quarantine)
    few = isinstance(encoder, DescriptorEncoder) and encoder.dimension < sum(COMPONENTS)
    if few and current and current.images > 4 * encoder.dimension:
        console.print("the encoder was fitted on few images; build into a new folder to fit it on these")
    if otherwise:
        console.print(f"{otherwise} reports were read by another extractor: run prelim-index reread")
    elif unlisted:
        console.print(f"{len(unlisted)} reports are listed by another version: run prelim-index reread")
    return 3 if options.strict and refused else 0


def _report(said: Console, options: argparse.Namespace, report: BuildReport, quarantine: Path) -> None:
    if options.json:
        sys.stdout.write(report.model_dump_json(indent=2) + "\n")
        return
    resumed = f" ({report.resumed} of them by an earlier run)" if report.resumed else ""
    said.print(
        f"read {report.read} = indexed {report.indexed}{resumed} + unchanged {report.unchanged} "
        f"+ quarantined {report.quarantined}; removed {report.removed}"
    )
    said.print(f"{report.images} images encoded in {report.seconds:.1f} s; snapshot {report.snapshot}")
    if report.quarantined:
        reasons = ", ".join(f"{code} {count}" for code, count in sorted(report.reasons.items()))
        said.print(f"quarantined rows with their reasons: {quarantine} ({reasons})", markup=False)


def _reread(options: argparse.Namespace, console: Console, said: Console) -> int:
    reader = extractor(options.vocabulary)
    columns = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()]
    with (
        rereading(options.index) as index,
        Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=console) as progress,
    ):
        current = index.store.current()
        task = progress.add_task("reading", total=current.cases if current else 0)
        report = reread(
            index.store, reader, note="reports read again", on_case=lambda n: progress.update(task, advance=n)
        )
        keep_summary(index)
    if options.json:
        sys.stdout.write(report.model_dump_json(indent=2) + "\n")
        return 0
    resumed = f" + {report.resumed} by an earlier run" if report.resumed else ""
    said.print(f"{report.cases} cases = read {report.read}{resumed} + unchanged {report.unchanged}")
    said.print(f"by {report.extractor} in {report.seconds:.1f} s; snapshot {report.snapshot}", markup=False)
    return 0


def _describe(options: argparse.Namespace, said: Console) -> int:
    try:
        index = open_index(options.index)
    except StoreCorrupt:  # what can still be rolled back to is worth knowing then
        index = open_index(options.index, "repair")
    with closing(index):
        snapshots, current, staged = index.store.snapshots(), index.store.current(), len(index.store.staged())
        read_by = Counter(by or "" for by in index.store.extractors().values())
        unlisted = len(index.store.unlisted())
    installed = extractor(options.vocabulary).identity
    if options.json:
        facts: dict[str, Any] = {
            "current": current and current.snapshot_id,
            "staged": staged,
            "snapshots": [snapshot.model_dump() for snapshot in snapshots],
            "concepts": {
                "installed": installed,
                "read": {by: cases for by, cases in sorted(read_by.items()) if by},
                "unread": read_by[""],
                "unlisted": unlisted,
            },
        }
        sys.stdout.write(json.dumps(facts, indent=2) + "\n")
        return 0
    table = Table(title=plain(f"{options.index}: encoder {index.encoder.identity}"), title_justify="left")
    for name in ("snapshot", "cases", "images", "published (UTC)", "note"):
        table.add_column(name, justify="right" if name in ("cases", "images") else "left", overflow="fold")
    for snapshot in snapshots:
        mark = " *" if current and snapshot.snapshot_id == current.snapshot_id else ""
        row = (snapshot.snapshot_id + mark, str(snapshot.cases), str(snapshot.images), snapshot.created, snapshot.note)
        table.add_row(*map(plain, row))
    said.print(table)
    said.print("* answers searches" + (f"; {staged} cases are staged by an unfinished run" if staged else ""))
    for by, cases in sorted(read_by.items()):
        said.print(f"concepts: {cases} cases read by {by}" if by else f"concepts: {cases} cases not read", markup=False)
    if unlisted:
        said.print(f"concepts: {unlisted} of them listed by another version, so no search by report finds them")
    if unlisted or set(read_by) - {installed}:
        said.print(f"{installed} is installed: run prelim-index reread, with its --vocabulary if any", markup=False)
    return 0


def _verify(options: argparse.Namespace, said: Console) -> int:
    faults = verify_index(options.index)
    if options.json:
        sys.stdout.write(json.dumps({"faults": faults}, indent=2) + "\n")
    elif faults:
        for fault in faults:
            said.print(fault, style="red", markup=False)
    else:
        said.print("every checksum and count holds")
    return 1 if faults else 0


def _erase(options: argparse.Namespace, said: Console) -> int:
    with closing(open_index(options.index)) as index:
        found = index.erase(options.cases)
        keep_summary(index)
    _tell(said, options, {"erased": found, "asked": len(options.cases)})
    if found < len(set(options.cases)):
        said.print("Some were not in the index; all of these ids are kept out of it from now on. Check their spelling.")
        return 1
    return 0


def _tell(said: Console, options: argparse.Namespace, facts: dict[str, Any]) -> None:
    if options.json:
        sys.stdout.write(json.dumps(facts, indent=2) + "\n")
    else:
        said.print(", ".join(f"{name} {value}" for name, value in facts.items()), markup=False)


def _pseudonyms() -> int:
    salt = os.environ.get("PRELIM_PATIENT_SALT", "")
    if not salt:
        raise OperatorError(
            "there is no salt", fix="set PRELIM_PATIENT_SALT to a long secret and keep it: it links a patient's studies"
        )
    for number, line in enumerate(sys.stdin.buffer, 1):
        try:
            issuer, _, identifier = line.decode().strip().rpartition("\t")
            key = pseudonym(salt.encode(), issuer, identifier)
        except ValueError as error:
            raise InvalidManifest(f"line {number} is no patient id in UTF-8", fix="one id a line") from error
        sys.stdout.write(key + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
