"""The command `prelim-evaluate`: draw studies, and measure the product.

    prelim-evaluate draw FOLDER --studies 400     drawn image-report pairs with a manifest
    prelim-evaluate iu                            retrieval and drafting on real studies (PRELIM_DATA)
    prelim-evaluate main-job                      index, gate and draft real input (PRELIM_DATA)
    prelim-evaluate extraction                    concepts read from real reports (PRELIM_DATA)
    prelim-evaluate bench                         ratios against raw FAISS and a bare loop

Measurements print a table (or with --json everything) and are written with the commit to evaluation/measured/.
"""

import argparse
import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

from evaluation.adjudication import write_questions
from evaluation.bench import BenchReport, bench
from evaluation.drawings import write_studies
from evaluation.extraction import measure_extraction
from evaluation.extraction_tables import extraction_tables
from evaluation.iu import data_folder
from evaluation.main_job import MainJobReport, measure_main_job
from evaluation.on_iu import IuReport, measure_iu
from retrieval.records import Record
from retrieval.terminal import count, plain, run_command

MEASURED = Path(__file__).parent / "measured"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="prelim-evaluate", description="Measure Prelim.")
    commands = parser.add_subparsers(dest="command", required=True)
    drawing = commands.add_parser("draw", help="draw image-report pairs")
    drawing.add_argument("folder", type=Path)
    drawing.add_argument("--studies", type=count, default=400)
    drawing.add_argument("--seed", type=int, default=0)
    for name, explained in (
        ("iu", "retrieval and drafting on real studies"),
        ("main-job", "index, gate and draft real input"),
        ("extraction", "concepts read from real reports"),
        ("bench", "ratios against raw FAISS and a bare loop"),
    ):
        measuring = commands.add_parser(name, help=explained)
        measuring.add_argument("--json", action="store_true", help="everything as JSON")
        measuring.add_argument("--out", type=Path, default=MEASURED / f"{name}.json", help="where figures are written")
        if name == "extraction":
            measuring.add_argument("--disagreements", type=Path, help="where to write them, outside the repository")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    options = _parser().parse_args(arguments)
    return run_command(lambda: _run(options), after_interrupt="nothing was written")


def _run(options: argparse.Namespace) -> int:
    workers = os.cpu_count() or 1
    # A file or a pipe has no width of its own; 80 columns would cut the tables.
    console = Console() if sys.stdout.isatty() else Console(width=140)
    match options.command:
        case "draw":
            manifest = write_studies(options.folder, options.studies, options.seed)
            console.print(plain(f"{options.studies} studies drawn: {manifest}"))
        case "iu":
            report = measure_iu(data_folder(), workers)
            _finish(options, report, console, _iu_table(report))
        case "main-job":
            job = measure_main_job(data_folder(), workers)
            _finish(options, job, console, *_main_job_tables(job))
        case "extraction":
            measured = measure_extraction(data_folder())
            if options.disagreements:
                to = options.disagreements
                blinded = write_questions(to, measured.disagreements, measured.texts, measured.names)
                console.print(plain(f"for the adjudicator: {blinded}"))
            _finish(options, measured.report, console, *extraction_tables(measured.report))
        case "bench":
            ratios = bench()
            _finish(options, ratios, console, _bench_table(ratios))
    return 0


def _finish(options: argparse.Namespace, report: Record, console: Console, *tables: Table) -> None:
    """Print the figures and keep them with the commit they were measured at."""
    kept = {"commit": _commit(), "measured": datetime.now(UTC).isoformat(timespec="seconds")} | report.model_dump()
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    if options.json:
        sys.stdout.write(json.dumps(kept, indent=2) + "\n")
    else:
        for table in tables:
            console.print(table)
        console.print(f"everything: {options.out}")


def _commit() -> str:
    found = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=MEASURED, capture_output=True, text=True, check=False
    )
    return found.stdout.strip() or "unknown"


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left")
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left")
    return table


def _iu_table(report: IuReport) -> Table:
    table = _table(
        f"IU, {report.studies} studies, five folds; drafts on the {report.drafted_on} of folds 1-4, "
        f"{len(report.heads)} heads",
        "", "macro-F1 heads", "over nearest (95 %)", "precision", "recall", "BLEU-1", "BLEU-4", "ROUGE-L",
    )  # fmt: skip
    for name, row in report.rows.items():
        over, text = row.heads.macro_f1_over_nearest, row.text
        figures = (text.bleu1, text.bleu4, text.rouge_l)
        table.add_row(
            name,
            f"{row.heads.macro_f1:.3f}",
            f"{over.value:+.3f} [{over.low:+.3f}, {over.high:+.3f}]" if over else "",
            *(f"{value:.3f}" for value in (row.heads.precision, row.heads.recall, *figures)),
        )
    table.caption = (
        f"lift@5 {report.lift5.value:.4f} [{report.lift5_interval.low:.4f}, {report.lift5_interval.high:.4f}], "
        f"random {report.lift5_random:.4f}, lift@20 {report.lift20:.4f}; "
        f"heads read from the reference: macro-F1 {report.reader_macro_f1:.3f}; no draft: {report.empty_drafts}"
    )
    return table


def _main_job_tables(job: MainJobReport) -> list[Table]:
    built = _table("Index of all IU studies", "read", "indexed", "unchanged", "quarantined", "images", "seconds")
    counts = (job.build.read, job.build.indexed, job.build.unchanged, job.build.quarantined, job.build.images)
    built.add_row(*map(str, counts), f"{job.build.seconds:.0f}")
    files = _table("Every DICOM file", "file", "status", "reason", "view in header", "sentences", "abnormal")
    for d in job.dicom:
        files.add_row(d.file, d.status, d.reason or "", d.view, str(d.sentences), str(d.abnormal))
    refused = _table("Refused", "images", "refused", "of", "share", "reasons")
    rows = {**job.chests, **job.off_scope}
    for name, kind in rows.items():
        reasons = ", ".join(f"{reason} {count}" for reason, count in sorted(kind.reasons.items()))
        refused.add_row(name, str(kind.refused), str(kind.asked), f"{kind.refused / kind.asked:.1%}", reasons)
    refused.caption = f"of the images that are no chest radiograph, {job.off_scope_share:.1%} were refused"
    return [built, files, refused]


def _bench_table(report: BenchReport) -> Table:
    table = _table("Ratios, median of pairs", "", "ratio", "lowest", "highest", "pairs")
    rows = {
        f"search, 1 query, {report.search_rows} rows: time over raw FAISS": report.search_single,
        f"search, 64 queries, {report.search_rows} rows: time over raw FAISS": report.search_batch,
        f"indexing {report.index_files} images, 1 core: rate over a bare loop": report.index_one_core,
        f"indexing {report.index_files} images, 2 cores: rate over a bare loop on 1": report.index_two_cores,
    }
    for name, ratio in rows.items():
        if ratio:
            table.add_row(name, *(f"{v:.2f}" for v in (ratio.median, ratio.low, ratio.high)), str(ratio.pairs))
    return table


if __name__ == "__main__":
    raise SystemExit(main())
