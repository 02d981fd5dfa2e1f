"""The figures of the main job, of retrieval and drafting, of the benches and of decoding, as tables for a terminal."""

from typing import TYPE_CHECKING

from rich.table import Table

from evaluation.bench import BenchReport
from evaluation.bench_concepts import ConceptBench
from evaluation.figures_table import figures_table
from evaluation.main_job import MainJobReport
from evaluation.on_iu import IuReport
from generation.decoding.bias_table import BiasTable

if TYPE_CHECKING:  # measured with torch, shown without
    from evaluation.decoding_speed import DecodingSpeed


def iu_table(report: IuReport) -> Table:
    """Drafting, one row for each way of writing; retrieval below."""
    table = figures_table(
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
        f"heads read from the reference: macro-F1 {report.reader_macro_f1:.3f}; no draft: {report.empty_drafts}; "
        f"findings unchanged beside 5 false cases in 10,000: {report.poisoned.placed.share:.2%}"
    )
    return table


def main_job_tables(job: MainJobReport) -> list[Table]:
    """The index, every DICOM file, and who was refused."""
    built = figures_table("Index of all IU studies", "read", "indexed", "unchanged", "quarantined", "images", "seconds")
    counts = (job.build.read, job.build.indexed, job.build.unchanged, job.build.quarantined, job.build.images)
    built.add_row(*map(str, counts), f"{job.build.seconds:.0f}")
    files = figures_table("Every DICOM file", "file", "status", "reason", "view in header", "sentences", "abnormal")
    for d in job.dicom:
        files.add_row(d.file, d.status, d.reason or "", d.view, str(d.sentences), str(d.abnormal))
    refused = figures_table("Refused", "images", "refused", "of", "share", "reasons")
    rows = {**job.chests, **job.off_scope}
    for name, kind in rows.items():
        reasons = ", ".join(f"{reason} {count}" for reason, count in sorted(kind.reasons.items()))
        refused.add_row(name, str(kind.refused), str(kind.asked), f"{kind.refused / kind.asked:.1%}", reasons)
    refused.caption = f"of the images that are no chest radiograph, {job.off_scope_share:.1%} were refused"
    return [built, files, refused]


def bench_table(report: BenchReport) -> Table:
    """Ratios in one run."""
    table = figures_table("Ratios, median of pairs", "", "ratio", "lowest", "highest", "pairs")
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


def concept_bench_table(report: ConceptBench) -> Table:
    """The concept leg on many cases."""
    table = figures_table(
        f"Concept leg, {report.cases} cases of {report.postings:.0f} listed concepts, one thread",
        "", "median ms", "p95 ms", "p95 ms of CPU", "MB", "build s", "pairs compared", "unequal",
    )  # fmt: skip
    times = (f"{v:.1f}" for v in (report.median_ms, report.p95_ms, report.p95_cpu_ms, report.megabytes))
    counts = (f"{report.build_seconds:.1f}", str(report.compared), str(report.unequal))
    table.add_row("one query", *times, *counts)
    return table


def bias_table_shown(report: BiasTable) -> Table:
    """Which tokens each rule biases, by tokenizer."""
    table = figures_table(
        "Bias by tokenizer and rule",
        "", "rule", "tokens", "labels", "reached mid-sentence", "after a denial", "article a", "bystanders",
    )  # fmt: skip
    for r in report.rows:
        reached = (str(r.tokens), str(r.labels), str(r.labels_reached), str(r.denied_reached))
        table.add_row(r.tokenizer, r.rule, *reached, "yes" if r.article else "no", str(len(r.bystanders)))
    return table


def decoding_table(report: "DecodingSpeed") -> Table:
    """Token rates in one run."""
    table = figures_table(
        f"{report.parameters / 1e6:.1f}M parameters, {report.prompt_tokens}-token prompts, {report.drafts} drafts x "
        f"{report.branches} branches, {report.threads} threads, {report.device}",
        "", "tokens", "tokens/s", "batched is",
    )  # fmt: skip
    for name, row in report.rows.items():
        table.add_row(name, str(row.tokens), f"{row.rate:.2f}", f"{row.ratio:.1f} x")
    return table
