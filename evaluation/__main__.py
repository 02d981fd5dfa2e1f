"""The command `prelim-evaluate`: draw studies, and measure the product.

    prelim-evaluate draw FOLDER --studies 400     drawn image-report pairs with a manifest
    prelim-evaluate iu                            retrieval and drafting on real studies (PRELIM_DATA)
    prelim-evaluate main-job                      index, gate and draft real input (PRELIM_DATA)
    prelim-evaluate extraction                    concepts read from real reports (PRELIM_DATA)
    prelim-evaluate legs                          similar cases by images, concepts and words (PRELIM_DATA)
    prelim-evaluate checks                        faults put into real reports, and untouched ones (PRELIM_DATA)
    prelim-evaluate injection                     orders and false statements written where data is expected
    prelim-evaluate bench                         ratios against raw FAISS and a bare loop
    prelim-evaluate concepts                      the concept leg on 250,000 cases
    prelim-evaluate bias                          which tokens the phrase bias touches, by tokenizer (extra models)
    prelim-evaluate decoding                      token rates of the generators in one run (extra models)
    prelim-evaluate decoding-parity               how often the generators agree in bfloat16 (extra models)
    prelim-evaluate vllm-parity                   groups inside vLLM against the oracle (extra vllm)
    prelim-evaluate vllm-cost                     what decoding in groups costs inside vLLM (extra vllm)
    prelim-evaluate bulk                          rate of bulk drafts against their stages' own times (extra models)
    prelim-evaluate load                          the service at 1, 8 and 32 callers, and beside bulk (extra service)
    prelim-evaluate calibrate --expert NAME ...   an expert's calibration from labelled images (extra models)

Measurements print a table (or with --json everything) and are written with the commit to evaluation/measured/.
"""

import argparse
import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from evaluation.adjudication import write_questions
from evaluation.bench import bench
from evaluation.bench_concepts import bench_concepts
from evaluation.calibrate import add_calibrate, calibrate
from evaluation.case_search import measure_case_search
from evaluation.check_figures import checks_tables, measure_checks
from evaluation.drawings import write_studies
from evaluation.extraction import measure_extraction
from evaluation.extraction_tables import extraction_tables
from evaluation.injection import injection_table, measure_injection
from evaluation.iu import data_folder
from evaluation.job_tables import (
    bench_table,
    bias_table_shown,
    concept_bench_table,
    decoding_table,
    iu_table,
    main_job_tables,
)
from evaluation.leg_tables import leg_tables
from evaluation.main_job import measure_main_job
from evaluation.on_iu import measure_iu
from evaluation.service_load import load_tables, measure_load
from generation.decoding.bias_table import bias_table
from retrieval.errors import MissingDependency
from retrieval.records import Record
from retrieval.terminal import count, plain, run_command

if TYPE_CHECKING:  # it imports torch, an extra
    from evaluation.decoding_speed import DecodingSpeed

MEASURED = Path(__file__).parent / "measured"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="prelim-evaluate", description="Measure Prelim.")
    commands = parser.add_subparsers(dest="command", required=True)
    drawing = commands.add_parser("draw", help="draw image-report pairs")
    drawing.add_argument("folder", type=Path)
    drawing.add_argument("--studies", type=count, default=400)
    drawing.add_argument("--seed", type=int, default=0)
    add_calibrate(commands)
    for name, explained in (
        ("iu", "retrieval and drafting on real studies"),
        ("main-job", "index, gate and draft real input"),
        ("extraction", "concepts read from real reports"),
        ("legs", "similar cases by images, concepts and words"),
        ("checks", "faults put into real reports, and untouched ones"),
        ("injection", "orders and false statements written where data is expected"),
        ("bench", "ratios against raw FAISS and a bare loop"),
        ("concepts", "the concept leg on 250,000 cases"),
        ("bias", "which tokens the phrase bias touches, by tokenizer"),
        ("decoding", "token rates of the generators in one run"),
        ("decoding-parity", "how often the generators agree in bfloat16"),
        ("vllm-parity", "groups inside vLLM against the oracle, with and without the group scheduler"),
        ("vllm-cost", "what decoding in groups costs inside vLLM"),
        ("bulk", "rate of bulk drafts against their stages' own times"),
        ("load", "the service at 1, 8 and 32 callers, and beside bulk"),
    ):
        measuring = commands.add_parser(name, help=explained)
        measuring.add_argument("--json", action="store_true", help="everything as JSON")
        measuring.add_argument("--out", type=Path, default=MEASURED / f"{name}.json", help="where figures are written")
        if name == "extraction":
            measuring.add_argument("--disagreements", type=Path, help="where to write them, outside the repository")
        if name == "decoding-parity":
            measuring.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
            measuring.add_argument("--precision", choices=("bfloat16", "float32"), default="bfloat16")
            measuring.add_argument("--language-model", help="a folder or hub id; random weights unless named")
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
        case "calibrate":
            return calibrate(options, console)
        case "iu":
            report = measure_iu(data_folder(), workers)
            _finish(options, report, console, iu_table(report))
        case "main-job":
            job = measure_main_job(data_folder(), workers)
            _finish(options, job, console, *main_job_tables(job))
        case "extraction":
            measured = measure_extraction(data_folder())
            if options.disagreements:
                to = options.disagreements
                blinded = write_questions(to, measured.disagreements, measured.texts, measured.names)
                console.print(plain(f"for the adjudicator: {blinded}"))
            _finish(options, measured.report, console, *extraction_tables(measured.report))
        case "legs":
            found = measure_case_search(data_folder(), workers)
            _finish(options, found, console, *leg_tables(found))
        case "checks":
            checked = measure_checks(data_folder())
            _finish(options, checked, console, *checks_tables(checked))
        case "injection":
            through = measure_injection(data_folder())
            _finish(options, through, console, injection_table(through))
        case "bench":
            ratios = bench()
            _finish(options, ratios, console, bench_table(ratios))
        case "concepts":
            leg = bench_concepts()
            _finish(options, leg, console, concept_bench_table(leg))
        case "bias":
            biased = bias_table()
            _finish(options, biased, console, bias_table_shown(biased))
        case "decoding":
            speed = _decoding_speed()
            _finish(options, speed, console, decoding_table(speed))
        case "decoding-parity":
            return _decoding_parity(options, console)
        case "vllm-parity" | "vllm-cost":
            _inside_vllm(options, console)
        case "bulk":
            _bulk_rate(options, console)
        case "load":
            load = measure_load(with_vllm=find_spec("vllm") is not None)
            _finish(options, load, console, *load_tables(load))
    return 0


# What imports torch is imported here, so that every other measurement runs without it.


def _decoding_speed() -> "DecodingSpeed":
    try:
        from evaluation.decoding_speed import measure_decoding_speed  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise MissingDependency(f"{error.name} is not installed", fix="make models") from error
    return measure_decoding_speed()


def _decoding_parity(options: argparse.Namespace, console: Console) -> int:
    """The exit status is 1 where float32 demands the same drafts and they are not."""
    try:
        from evaluation.decoding_parity import measure_decoding_parity, parity_table  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise MissingDependency(f"{error.name} is not installed", fix="make models") from error
    parity = measure_decoding_parity(options.device, options.precision, options.language_model)
    _finish(options, parity, console, parity_table(parity))
    return 1 if parity.unexcused else 0


def _inside_vllm(options: argparse.Namespace, console: Console) -> None:
    try:
        from evaluation.vllm_cost import measure_vllm_cost, vllm_cost_table  # noqa: PLC0415
        from evaluation.vllm_parity import measure_vllm_parity, vllm_parity_table  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise MissingDependency(f"{error.name} is not installed", fix="make vllm") from error
    if options.command == "vllm-cost":
        cost = measure_vllm_cost()
        _finish(options, cost, console, vllm_cost_table(cost))
    else:
        parity = measure_vllm_parity()
        _finish(options, parity, console, vllm_parity_table(parity))


def _bulk_rate(options: argparse.Namespace, console: Console) -> None:
    try:
        from evaluation.bulk_rate import bulk_table, measure_bulk_rate  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise MissingDependency(f"{error.name} is not installed", fix="make models") from error
    rate = measure_bulk_rate()
    _finish(options, rate, console, bulk_table(rate))


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


if __name__ == "__main__":
    raise SystemExit(main())
