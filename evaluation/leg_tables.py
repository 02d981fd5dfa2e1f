"""The figures on case search as tables for a terminal."""

from rich.table import Table

from evaluation.case_search import CaseSearchReport
from evaluation.legs import LegsReport
from evaluation.statistics import Interval
from evaluation.text_queries import TextQueriesReport


def leg_tables(report: CaseSearchReport) -> list[Table]:
    """The legs, how many neighbours vote, and the questions in words."""
    return [_legs(report.legs), _voters(report.legs), _rows(report.words), _queries(report.words)]


def _legs(legs: LegsReport) -> Table:
    table = _table(
        f"lift@5, {legs.quoted} IU studies of folds 1-4, {legs.heads} findings (95 %)",
        "", "lift@5", "over image", "all five folds", "with", "without", "per case", f"{legs.rare_heads} rare findings",
    )  # fmt: skip
    for name, leg in legs.legs.items():
        table.add_row(
            name,
            _with_interval(leg.lift),
            _with_interval(leg.over_image, "+"),
            _with_interval(leg.lift_all),
            f"{leg.with_finding:.3f}",
            f"{leg.without_finding:.3f}",
            f"{leg.findings_per_case:.2f}",
            _with_interval(leg.rare),
        )
    ours, same = (_with_interval(i, "+") for i in (legs.concept_over_published, legs.plain_over_published))
    table.caption = (
        f"{legs.neighbours} neighbours vote, compared {legs.form}ally; concept over published {ours}, asked with the "
        f"same plain vote {same} (published: {legs.published_neighbours} vote, share {legs.published_share:.3f}); "
        f"reranked: the nearest {legs.among} by image; oracles ask with the query's own report and are no results; "
        "control: every query gets another's vote"
    )
    return table


def _voters(legs: LegsReport) -> Table:
    table = _table("Concept leg by how many neighbours vote: fold 0, folds 1-4", "", *map(str, _voted(legs)))
    for form, by_voters in legs.by_voters.items():
        table.add_row(form, *(f"{before:.3f} {quoted:.3f}" for before, quoted in by_voters.values()))
    return table


def _voted(legs: LegsReport) -> list[int]:
    return list(next(iter(legs.by_voters.values())))


def _rows(words: TextQueriesReport) -> Table:
    table = _table(
        f"{len(words.queries)} questions in words, {words.cases} cases of folds 1-4 (95 %)",
        "", "nDCG@5", "as asked @5", "finding @5", "perfect", "fold 0",
    )  # fmt: skip
    for name, row in words.rows.items():
        of = (_with_interval(i) for i in (row.ndcg, row.precision_full, row.precision_any))
        table.add_row(name, *of, str(row.perfect), f"{row.ndcg_fold_0:.3f}")
    table.add_row("random order", _with_interval(words.chance_ndcg))
    return table


def _queries(words: TextQueriesReport) -> Table:
    rows = list(words.queries[0].ndcg)
    table = _table("nDCG@5, question by question", "", "graded 2", "graded 1", *rows)
    for query in words.queries:
        table.add_row(query.words, str(query.full), str(query.part), *(f"{query.ndcg[row]:.2f}" for row in rows))
    return table


def _with_interval(one: Interval | None, sign: str = "") -> str:
    return f"{one.value:{sign}.3f} [{one.low:{sign}.3f}, {one.high:{sign}.3f}]" if one else ""


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left")
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left")
    return table
