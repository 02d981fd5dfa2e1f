"""The command `prelim-index`: make an index of image-report pairs and look after it.

    prelim-index build manifest.jsonl --index index/     index a manifest; start it again after any interruption
    prelim-index describe --index index/                 snapshots, counts, encoder
    prelim-index verify --index index/                   read everything, compare every checksum
    prelim-index erase CASE ... --index index/           remove every byte of a case, from every snapshot
    prelim-index rollback SNAPSHOT --index index/        serve an earlier snapshot again
    prelim-index pseudonym < ids.txt                     patient ids to salted patient keys (PRELIM_PATIENT_SALT)

Exit status: 0 done, 1 faults found, 3 rows quarantined with --strict, else that of the error (65 fix the input, 75 try
later, 78 repair).
"""

import argparse
import json
import os
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from generation.summary import keep_summary
from indexing.build import BATCH_IMAGES, BuildReport, build
from indexing.manifest import Quarantined, count_rows
from indexing.wiring import readers, writing
from retrieval.errors import OperatorError, PrelimError
from retrieval.index import open_index
from retrieval.pixels.attributes import pseudonym
from retrieval.records import CaseId, SnapshotId


def _parser() -> argparse.ArgumentParser:
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument(
        "--index",
        default=os.environ.get("PRELIM_INDEX", "index"),
        help="index folder, or the URL of a Qdrant server followed by / and the index's name (default: $PRELIM_INDEX)",
    )
    shared.add_argument("--json", action="store_true", help="one JSON object instead of text")

    parser = argparse.ArgumentParser(prog="prelim-index", description="Make and look after an index of past cases.")
    commands = parser.add_subparsers(dest="command", required=True)
    building = commands.add_parser("build", parents=[shared], help="index a manifest (resumable)")
    building.add_argument("manifest", type=Path, help="JSONL manifest, one study a line (README, Your own cases)")
    building.add_argument("--workers", type=int, help="decoder processes (default: one for each core)")
    building.add_argument("--remove-absent", action="store_true", help="take out cases the manifest no longer has")
    building.add_argument("--quarantine", type=Path, help="where refused rows go (default: MANIFEST.quarantine.jsonl)")
    building.add_argument("--strict", action="store_true", help="exit with 3 when rows were quarantined")
    building.add_argument("--batch", type=int, default=BATCH_IMAGES, metavar="N", help="images made durable together")
    building.add_argument("--note", default="", help="kept with the snapshot")
    commands.add_parser("describe", parents=[shared], help="what the index holds")
    commands.add_parser("verify", parents=[shared], help="check every byte")
    erasing = commands.add_parser("erase", parents=[shared], help="remove every byte of cases, for good")
    erasing.add_argument("cases", nargs="+", type=CaseId, metavar="CASE")
    rolling = commands.add_parser("rollback", parents=[shared], help="serve an earlier snapshot again")
    rolling.add_argument("snapshot", type=SnapshotId)
    commands.add_parser("pseudonym", help="salted patient keys for ids on standard input, one a line")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    options = _parser().parse_args(arguments)
    # Progress and errors go to standard error, so that --json output can be piped.
    console, said = Console(stderr=True), Console(soft_wrap=True)
    try:
        match options.command:
            case "build":
                return _build(options, console, said)
            case "describe":
                return _describe(options, said)
            case "verify":
                return _verify(options, said)
            case "erase":
                with closing(open_index(options.index)) as index:
                    found = index.erase(options.cases)
                    keep_summary(index)
                _tell(said, options, {"erased": found, "asked": len(options.cases)})
            case "rollback":
                with closing(open_index(options.index, "repair")) as index:
                    snapshot = index.store.rollback(options.snapshot)
                    keep_summary(index)
                _tell(said, options, snapshot.model_dump())
            case "pseudonym":
                return _pseudonyms()
    except PrelimError as error:
        Console(stderr=True, soft_wrap=True).print(f"{error.code}: {error}", style="red", markup=False, highlight=False)
        return error.exit_status
    return 0


def _build(options: argparse.Namespace, console: Console, said: Console) -> int:
    rows = count_rows(options.manifest)
    quarantine: Path = options.quarantine or options.manifest.with_suffix(".quarantine.jsonl")
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

        with (
            readers(options.workers) as reading,
            writing(options.index, options.manifest, workers=options.workers, on_image=on_image) as (index, known),
        ):
            progress.update(fitting, visible=False)
            report, refused = build(
                options.manifest,
                index.store,
                index.encoder,
                reading,
                known=known,
                absent="remove" if options.remove_absent else "keep",
                batch_images=options.batch,
                note=options.note,
                on_row=on_row,
            )
            keep_summary(index)
    _write_quarantine(quarantine, refused)
    _report(said, options, report, quarantine)
    return 3 if options.strict and refused else 0


def _write_quarantine(file: Path, refused: list[Quarantined]) -> None:
    """Replace the file of the run before; without refused rows there is none."""
    if refused:
        file.write_text("".join(row.model_dump_json() + "\n" for row in refused), encoding="utf-8")
    else:
        file.unlink(missing_ok=True)


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


def _describe(options: argparse.Namespace, said: Console) -> int:
    with closing(open_index(options.index)) as index:
        snapshots, current, staged = index.store.snapshots(), index.store.current(), len(index.store.staged())
    if options.json:
        facts: dict[str, Any] = {
            "current": current and current.snapshot_id,
            "staged": staged,
            "snapshots": [snapshot.model_dump() for snapshot in snapshots],
        }
        sys.stdout.write(json.dumps(facts, indent=2) + "\n")
        return 0
    table = Table(title=f"{options.index}: encoder {index.encoder.identity}", title_justify="left")
    for name in ("snapshot", "cases", "images", "published (UTC)", "note"):
        table.add_column(name, justify="right" if name in ("cases", "images") else "left", overflow="fold")
    for snapshot in snapshots:
        mark = " *" if current and snapshot.snapshot_id == current.snapshot_id else ""
        row = (snapshot.snapshot_id + mark, str(snapshot.cases), str(snapshot.images), snapshot.created, snapshot.note)
        table.add_row(*row)
    said.print(table)
    said.print("* answers searches" + (f"; {staged} cases are staged by an unfinished build" if staged else ""))
    return 0


def _verify(options: argparse.Namespace, said: Console) -> int:
    with closing(open_index(options.index, "repair")) as index:
        faults = index.verify()
    if options.json:
        sys.stdout.write(json.dumps({"faults": faults}, indent=2) + "\n")
    elif faults:
        for fault in faults:
            said.print(fault, style="red", markup=False)
    else:
        said.print("every checksum and count holds")
    return 1 if faults else 0


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
    for line in sys.stdin:
        issuer, _, identifier = line.rstrip("\n").rpartition("\t")
        sys.stdout.write(pseudonym(salt.encode(), issuer, identifier) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
