"""Who is right where reading and coding differ: a blinded sample, verdicts on it, and the figures after them.

The coders coded whole reports by hand and left things out; an extractor reads every word and misreads some. Counting
each difference as the extractor's error measures the coders too. So differences are sampled at random, half of them
heads that were read and not coded, half the other way round, and somebody who is not told which is which reads each
report and says whether it states the finding (now, or as possible): `stated`, `not_stated` or `doubtful`.

*After adjudication.* In each of the two strata the share of every verdict among the cells judged so far that still
differ is carried over to all N cells of the stratum (each judged cell weighs N / n). Read but not coded and `stated`
becomes a hit; coded but not read and `not_stated` is no longer a miss; `doubtful` cells leave the count. The interval
draws reports and, within each stratum, verdicts again.

Two limits. Cells on which both agree are not judged, so an error that both make stays a hit or stays unseen. And
the shares hold only while nobody mends the extractor on the judged cells in particular: judge after tuning.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from evaluation.coded_heads import Heads
from evaluation.statistics import RESAMPLES, Flags, Interval, Numbers, draws, interval
from retrieval.errors import InvalidManifest, RequestError
from retrieval.mentions import ConceptMention
from retrieval.record import Record

SAMPLE = 150
SEED = 0
_REPOSITORY = Path(__file__).resolve().parent.parent

Ruling = Literal["stated", "not_stated", "doubtful"]
Kind = Literal["read_not_coded", "coded_not_read"]
KINDS: tuple[Kind, Kind] = ("read_not_coded", "coded_not_read")


class Disagreement(Record):
    """A head of a report on which reading and coding differ."""

    report: str
    """The collection's id."""
    head: str
    """As coded."""
    kind: Kind
    """Which of the two has it."""


class Question(Record):
    """A disagreement as the adjudicator sees it: not who said what. Holds report text, so it never enters the tree."""

    id: str
    """Its place in the sample."""
    report: str
    """The collection's id."""
    head: str
    """As coded; to be written into the verdict."""
    finding: str
    """What the head means, in words."""
    text: str
    """Findings and impression."""


class Verdict(Record):
    """What the adjudicator found in one report; no text."""

    report: str
    """The collection's id."""
    head: str
    """As coded."""
    verdict: Ruling
    """Whether the report states the finding, as there or as possible."""


class Adjudicated(Record):
    """Figures after adjudication."""

    verdicts: dict[Kind, dict[str, int]]
    """Kind of disagreement, then verdict, then how many; judged cells that still differ."""
    disagreements: dict[Kind, int]
    """Kind of disagreement, then how many there are in all."""
    micro_f1_judged_cells: float
    """With the coding corrected in the judged cells only: a lower bound of what the verdicts change."""
    micro_f1: Interval
    """With the shares carried over to all disagreements."""
    precision: float
    """The same."""
    recall: float
    """The same."""


class Errors(Record):
    """The reports of folds 1 to 4 on which reading and coding of a head still differ, by cause."""

    stated: list[str]
    """Read as stated, not coded."""
    doubted: list[str]
    """Read as left open only, not coded."""
    denied: list[str]
    """Coded, and read as denied."""
    unread: list[str]
    """Coded, and no mention of it was read."""


class Grid(NamedTuple):
    """Reading and coding of the same reports and heads."""

    reports: Sequence[str]
    """n ids."""
    heads: Sequence[str]
    """h heads."""
    asserted: Flags
    """bool[n, h]: read."""
    truth: Flags
    """bool[n, h]: coded."""

    def rows(self, kept: Sequence[int]) -> "Grid":
        """Only these reports."""
        which = list(kept)
        return Grid([self.reports[i] for i in which], self.heads, self.asserted[which], self.truth[which])

    def disagreements(self) -> tuple[Disagreement, ...]:
        """Every cell on which the two differ, by report and head."""
        return tuple(
            Disagreement(
                report=self.reports[row],
                head=self.heads[column],
                kind="read_not_coded" if self.asserted[row, column] else "coded_not_read",
            )
            for row, column in np.argwhere(self.asserted != self.truth)
        )


def sample(disagreements: Sequence[Disagreement], size: int = SAMPLE, seed: int = SEED) -> tuple[Disagreement, ...]:
    """Half of each kind, drawn at random and shuffled together; more of one kind where the other has too few."""
    generator = np.random.default_rng(seed)
    kinds = [[d for d in disagreements if d.kind == kind] for kind in KINDS]
    first = min(len(kinds[0]), max(size - size // 2, size - len(kinds[1])))
    sizes = (first, min(len(kinds[1]), size - first))
    drawn = [
        of[i] for of, wanted in zip(kinds, sizes, strict=True) for i in generator.permutation(len(of))[:wanted].tolist()
    ]
    return tuple(drawn[i] for i in generator.permutation(len(drawn)).tolist())


def write_questions(
    out: Path, disagreements: Sequence[Disagreement], texts: Mapping[str, str], names: Mapping[str, str]
) -> Path:
    """Write all disagreements to `out` and the blinded sample beside it; returns the path of the sample.

    texts: report id to text; names: head to plain words. Raises RequestError for a place inside the repository,
    because the sample holds report text.
    """
    if _REPOSITORY in out.resolve().parents:
        raise RequestError(f"{out} is inside the repository", fix="name a file outside: the sample holds report text")
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text("".join(d.model_dump_json() + "\n" for d in disagreements), encoding="utf-8")
    questions = [
        Question(id=f"Q{i:03d}", report=d.report, head=d.head, finding=names[d.head], text=texts[d.report])
        for i, d in enumerate(sample(disagreements), start=1)
    ]
    blinded = out.with_name(f"{out.stem}-blinded.jsonl")
    blinded.write_text("".join(q.model_dump_json() + "\n" for q in questions), encoding="utf-8")
    return blinded


def read_verdicts(path: Path) -> tuple[Verdict, ...]:
    """The verdicts given so far; none when there is no such file. Raises InvalidManifest for a line that is none."""
    if not path.exists():
        return ()
    verdicts: dict[tuple[str, str], Verdict] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            verdict = Verdict.model_validate(json.loads(line))
        except ValueError as error:
            raise InvalidManifest(
                f"line {number} of {path} is no verdict ({type(error).__name__})", fix="mend it"
            ) from None
        if verdicts.setdefault((verdict.report, verdict.head), verdict) is not verdict:
            raise InvalidManifest(f"line {number} of {path} judges a cell again", fix="keep one verdict of a cell")
    return tuple(verdicts.values())


def adjudicated(grid: Grid, verdicts: Sequence[Verdict]) -> Adjudicated | None:
    """Figures after verdicts; None while a kind of disagreement has fewer than two, which gives no interval."""
    given = {(v.report, v.head): v.verdict for v in verdicts}
    cells = grid.disagreements()
    judged: dict[Kind, list[Ruling]] = {
        kind: [given[d.report, d.head] for d in cells if d.kind == kind and (d.report, d.head) in given]
        for kind in KINDS
    }
    if min(map(len, judged.values())) < 2:
        return None
    of = [np.array([[r == name for name in ("stated", "not_stated")] for r in judged[kind]], float) for kind in KINDS]
    # One row a report: hits, read and not coded, coded and not read.
    both, either = grid.asserted & grid.truth, (grid.asserted & ~grid.truth, grid.truth & ~grid.asserted)
    counts = np.stack([cells.sum(axis=1) for cells in (both, *either)], axis=1).astype(np.float64)
    hits, false, missed = _carried(counts.sum(axis=0)[None], *(rulings.mean(axis=0)[None] for rulings in of))[0]
    resampled = []
    blocks = zip(
        draws(len(counts), RESAMPLES, SEED),
        *(draws(len(rulings), RESAMPLES, SEED + 1 + i) for i, rulings in enumerate(of)),
        strict=True,
    )
    for reports, *rulings in blocks:
        shares = [drawn @ values / len(values) for drawn, values in zip(rulings, of, strict=True)]
        resampled.append(_f1(_carried(reports @ counts, *shares)))
    return Adjudicated(
        verdicts={
            kind: {name: rulings.count(name) for name in ("stated", "not_stated", "doubtful")}
            for kind, rulings in judged.items()
        },
        disagreements={kind: sum(d.kind == kind for d in cells) for kind in KINDS},
        micro_f1_judged_cells=_judged_cells(grid, given),
        micro_f1=interval(float(2 * hits / (2 * hits + false + missed)), resampled, len(grid.reports), SEED),
        precision=float(hits / (hits + false)),
        recall=float(hits / (hits + missed)),
    )


def remaining_errors(
    disagreements: Sequence[Disagreement], said: Mapping[str, Sequence[ConceptMention]], heads: Heads
) -> dict[str, Errors]:
    """Disagreements by head and cause, heads with most first; `said` gives the mentions of each report."""
    found: dict[str, dict[str, list[str]]] = {}
    for d in disagreements:
        naming = {m.certainty for m in said[d.report] if d.head in heads.get(m.concept, ())}
        if d.kind == "read_not_coded":
            cause = "stated" if "present" in naming else "doubted"
        else:
            cause = "denied" if naming else "unread"
        causes = found.setdefault(d.head, {name: [] for name in Errors.model_fields})
        causes[cause].append(d.report)
    most = sorted(found.items(), key=lambda item: -sum(map(len, item[1].values())))
    return {head: Errors(**causes) for head, causes in most}


def undecided(grid: Grid, verdicts: Sequence[Verdict]) -> tuple[Disagreement, ...]:
    """Disagreements without those that a verdict decided for the reader or found doubtful."""
    given = {(v.report, v.head): v.verdict for v in verdicts}
    ours = {"read_not_coded": "stated", "coded_not_read": "not_stated"}
    return tuple(d for d in grid.disagreements() if given.get((d.report, d.head)) not in (ours[d.kind], "doubtful"))


def _carried(counts: Numbers, read: Numbers, coded: Numbers) -> Numbers:
    """Hits, false alarms and misses, float[m, 3], after verdicts are carried over to all disagreements.

    read, coded: the shares of `stated` and `not_stated` among what was read only and coded only, float[m, 2] each.
    """
    hits, false, missed = counts.T
    return np.stack([hits + false * read[:, 0], false * read[:, 1], missed * coded[:, 0]], axis=1)


def _f1(counts: Numbers) -> Numbers:
    hits, false, missed = counts.T
    return np.asarray(2 * hits / (2 * hits + false + missed))


def _judged_cells(grid: Grid, given: Mapping[tuple[str, str], Ruling]) -> float:
    truth, counted = grid.truth.copy(), np.ones_like(grid.truth)
    row = {report: i for i, report in enumerate(grid.reports)}
    column = {head: i for i, head in enumerate(grid.heads)}
    for (report, head), ruling in given.items():
        if report in row and head in column:
            cell = row[report], column[head]
            counted[cell] = ruling != "doubtful"
            truth[cell] = ruling == "stated"
    hits = 2 * float((grid.asserted & truth & counted).sum())
    return hits / float((grid.asserted & counted).sum() + (truth & counted).sum())
