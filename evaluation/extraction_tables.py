"""The figures on extraction as tables for a terminal."""

from rich.table import Table

from evaluation.extraction import ExtractionReport, SystemFigures
from evaluation.extraction_figures import MARKED, HeadScores
from evaluation.figures_table import figures_table
from evaluation.statistics import Interval


def extraction_tables(report: ExtractionReport) -> list[Table]:
    """Systems side by side, heads one by one, and the marks."""
    systems = {"extractor": report.ours, **report.rivals}
    return [_systems(report, systems), _heads(report), _marks(report.ours)]


def _systems(report: ExtractionReport, systems: dict[str, SystemFigures]) -> Table:
    table = figures_table(
        f"{len(report.findings)} findings that both name, {report.ours.heads.reports} IU reports of folds 1-4",
        "", "micro-F1", "precision", "recall", "macro-F1", "fold 0", "gold14", "marks", "flips", "reports/s", "time",
    )  # fmt: skip
    for name, figures in systems.items():
        heads = figures.heads
        table.add_row(
            name,
            _with_interval(heads.micro_f1),
            f"{heads.precision:.3f}",
            f"{heads.recall:.3f}",
            _with_interval(heads.macro_f1),
            f"{figures.heads_tuning.micro_f1.value:.3f}",
            f"{figures.gold14.micro_f1.value:.3f}",
            f"{figures.marks.accuracy.value:.1%}",
            str(len(figures.marks.flips)),
            f"{figures.reports_per_second:.0f}",
            f"{figures.times_ours:.1f} x",
        )
    if after := report.adjudicated:
        table.add_row(
            "extractor, adjudicated", _with_interval(after.micro_f1), f"{after.precision:.3f}", f"{after.recall:.3f}"
        )
    normal, sides = report.ours.normal, report.ours.sides
    said = [f"micro-F1 with first heads only: {report.ours.first_head_micro_f1:.3f}"]
    said += [f"if nothing left open counted: {_with_interval(report.ours.stated_micro_f1)}"]
    said += [f"normal reports: precision {_share(normal.precision)}, recall {_share(normal.recall)}"]
    if sides:
        said.append(
            f"side agrees in {_with_interval(sides.agreement)} of {sides.pairs}, "
            f"left for right in {len(sides.opposite)}"
        )
    said += [f"not installed: {name}" for name in report.not_installed]
    table.caption = "; ".join(said)
    return table


def _heads(report: ExtractionReport) -> Table:
    table = figures_table("Findings, folds 1-4", "", "coded", "read", "both", "precision", "recall", "F1", "gold14")
    of14: HeadScores = report.ours.gold14
    for f in report.ours.heads.heads:
        table.add_row(
            f.head, str(f.support), str(f.asserted), str(f.both), _share(f.precision), _share(f.recall), _share(f.f1)
        )
    for f in of14.heads:
        table.add_row(
            f.head, str(f.support), str(f.asserted), str(f.both), _share(f.precision), _share(f.recall), _share(f.f1),
            "yes",
        )  # fmt: skip
    return table


def _marks(ours: SystemFigures) -> Table:
    table = figures_table("Marked words: marked (rows), read (columns)", "", *MARKED)
    for gold in MARKED:
        table.add_row(gold, *(str(ours.marks.confusion[gold][read]) for read in MARKED))
    side = ours.marks.side_agreement
    table.caption = (
        f"accuracy {_with_interval(ours.marks.accuracy)}; present for absent or back: {len(ours.marks.flips)}; "
        f"side {_with_interval(side) if side else 'not scorable'} of {ours.marks.sided}, "
        f"left for right: {len(ours.marks.side_opposite)}"
    )
    return table


def _with_interval(of: Interval) -> str:
    return f"{of.value:.3f} [{of.low:.3f}, {of.high:.3f}]"


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
