"""The checks measured: how many faults put into real reports are caught, how many untouched reports get a remark.

Rules were tuned on fold 0; figures are quoted on folds 1 to 4. A fault is caught when a remark with a right code is
there that the untouched report did not get. A false alarm is a report, untouched, with at least one remark of a code;
some of these remarks are true (the report does contradict itself, or its coding), so the share is an upper bound.
Intervals are Wilson's (Wilson, JASA 22:209, 1927), which stay honest at none and all.
"""

import random
from collections import Counter
from collections.abc import Sequence
from math import sqrt
from pathlib import Path
from time import perf_counter

from rich.table import Table

from evaluation.check_contexts import Contexts, Known, known_reports
from evaluation.figures_table import figures_table
from evaluation.metamorphic import MUTATIONS, Bench
from retrieval.checks.check import CATALOGUE, check
from retrieval.checks.context import CheckContext
from retrieval.checks.remark import Checked, Remark, RemarkCode, Severity
from retrieval.extraction.extractor import Extractor
from retrieval.ontology.ontology import load
from retrieval.record import Record

TUNING_FOLD = 0
SEED = 1
REQUIRED = 8
"""The first mutations of the list must be caught."""
SHOWN = 40
"""Case ids kept for each cause."""
_Z = 1.959964


class Rate(Record):
    """A share with its interval."""

    value: float
    """Hits by trials."""
    low: float
    """Lower end of the 95 % interval (Wilson)."""
    high: float
    """Upper end."""
    hits: int
    """How often."""
    of: int
    """Of how many."""


class Missed(Record):
    """Faults of one mutation that no right code caught, by what was done."""

    what: str
    """The concept that the fault is about; empty where it is about none."""
    other_codes: tuple[str, ...]
    """What was remarked instead; empty for nothing."""
    cases: tuple[str, ...]
    """Case ids, the first SHOWN."""
    count: int
    """How many."""


class MutationFigures(Record):
    """One mutation."""

    right: tuple[str, ...]
    """Codes that count."""
    caught: Rate
    """By a right code, of the reports that had a place for the fault."""
    by_any: Rate
    """By any new remark."""
    codes: dict[str, int]
    """How many mutants got a new remark of each code."""
    missed: tuple[Missed, ...]
    """The rest, most frequent first."""


class AlarmFigures(Record):
    """Untouched reports with at least one remark of a code."""

    hard: Rate
    """With a hard one."""
    soft: Rate
    """With a soft one."""
    asked: int
    """Reports for which a rule of this code ran on all its inputs."""
    hard_cases: tuple[str, ...]
    """Case ids, the first SHOWN."""


class ChecksReport(Record):
    """Everything measured; figures for people and for the next session."""

    extractor: str
    """Identity of what read the reports."""
    reports: int
    """Folds 1 to 4."""
    mutations: dict[str, MutationFigures]
    """Folds 1 to 4, by what the mutation does."""
    mutations_tuning: dict[str, Rate]
    """Caught on fold 0."""
    alarms: dict[str, AlarmFigures]
    """Folds 1 to 4, by code."""
    alarms_tuning: dict[str, Rate]
    """Hard remarks on fold 0."""
    any_hard: Rate
    """Untouched reports with any hard remark."""
    devices_of_coding_only: Rate
    """DEVICE_UNSEEN if only coded devices were known: what coders leave out."""
    prior_where_none: Rate
    """PRIOR_REF among reports that were told to have no earlier study."""
    experts_unsoftened: Rate
    """CONTRA_EXPERT, hard, if what is kin to a coded finding were scored absent."""
    checks_per_second: float
    """Reports a second, reading included, one thread."""


def rate(hits: int, of: int) -> Rate:
    """A share with Wilson's interval; 0 of 0 is 0 with the interval from 0 to 1."""
    if not of:
        return Rate(value=0, low=0, high=1, hits=0, of=0)
    p, z2 = hits / of, _Z * _Z
    middle = (p + z2 / (2 * of)) / (1 + z2 / of)
    half = _Z / (1 + z2 / of) * sqrt(p * (1 - p) / of + z2 / (4 * of * of))
    return Rate(value=p, low=max(0.0, middle - half), high=min(1.0, middle + half), hits=hits, of=of)


def measure_checks(data: Path) -> ChecksReport:
    """Run the whole measurement, a few minutes; raises MissingData and InvalidManifest as `read_reports` does."""
    extractor = Extractor(load())
    known = known_reports(data, extractor)
    tuning = [k for k in known if k.coded.fold == TUNING_FOLD]
    quoted = [k for k in known if k.coded.fold != TUNING_FOLD]
    started = perf_counter()
    untouched = [check(k.coded.report, k.context, extractor) for k in quoted]
    seconds = perf_counter() - started
    alarms = [c.remarks for c in untouched]
    alarms_tuning = [check(k.coded.report, k.context, extractor).remarks for k in tuning]
    bench, bench_tuning = Bench(extractor, quoted), Bench(extractor, tuning)
    codes: tuple[RemarkCode, ...] = tuple(dict.fromkeys(rule.code for rule in CATALOGUE))
    return ChecksReport(
        extractor=extractor.identity,
        reports=len(quoted),
        mutations={name: _mutation(name, quoted, alarms, bench) for name in MUTATIONS},
        mutations_tuning={name: _mutation(name, tuning, alarms_tuning, bench_tuning).caught for name in MUTATIONS},
        alarms={code: _alarms(code, quoted, untouched) for code in codes},
        alarms_tuning={code: rate(sum(_has(r, code, "hard") for r in alarms_tuning), len(tuning)) for code in codes},
        any_hard=rate(sum(any(r.severity == "hard" for r in remarks) for remarks in alarms), len(quoted)),
        devices_of_coding_only=_devices_of_coding_only(quoted, extractor),
        prior_where_none=_prior_where_none(quoted, alarms),
        experts_unsoftened=_experts_unsoftened(quoted, extractor),
        checks_per_second=len(quoted) / seconds,
    )


def _mutation(name: str, reports: Sequence[Known], alarms: Sequence[Sequence[Remark]], bench: Bench) -> MutationFigures:
    """One mutation of every report that has a place for it."""
    right: tuple[RemarkCode, ...] = ()
    of = caught = by_any = 0
    codes: Counter[str] = Counter()
    missed: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for known, before in zip(reports, alarms, strict=True):
        mutant = MUTATIONS[name](known, random.Random(f"{SEED}/{name}/{known.coded.report_id}"), bench)
        if mutant is None:
            continue
        right = mutant.right
        after = check(mutant.report, mutant.context, bench.extractor).remarks
        new = {code for code, _, _ in Counter(map(_what, after)) - Counter(map(_what, before))}
        of += 1
        codes.update(new)
        caught += not new.isdisjoint(right)
        by_any += bool(new)
        if new.isdisjoint(right):
            what = bench.ontology[mutant.what].slug if mutant.what in bench.ontology else mutant.what
            missed.setdefault((what, tuple(sorted(new))), []).append(known.coded.report_id)
    causes = sorted(missed.items(), key=lambda item: (-len(item[1]), item[0]))
    return MutationFigures(
        right=right,
        caught=rate(caught, of),
        by_any=rate(by_any, of),
        codes=dict(codes.most_common()),
        missed=tuple(
            Missed(what=what, other_codes=other, cases=tuple(cases[:SHOWN]), count=len(cases))
            for (what, other), cases in causes
        ),
    )


def _what(remark: Remark) -> tuple[str, tuple[str, ...], str]:
    """A remark without its place, which moves when a sentence is put in."""
    return remark.code, remark.concepts, remark.explanation


def _alarms(code: RemarkCode, reports: Sequence[Known], checked: Sequence[Checked]) -> AlarmFigures:
    hard = [k.coded.report_id for k, c in zip(reports, checked, strict=True) if _has(c.remarks, code, "hard")]
    soft = sum(_has(c.remarks, code, "soft") for c in checked)
    rules = sum(rule.code == code for rule in CATALOGUE)
    return AlarmFigures(
        hard=rate(len(hard), len(reports)),
        soft=rate(soft, len(reports)),
        asked=sum(sum(n.code == code for n in c.not_run) < rules for c in checked),
        hard_cases=tuple(hard[:SHOWN]),
    )


def _has(remarks: Sequence[Remark], code: RemarkCode, severity: Severity) -> bool:
    return any(r.code == code and r.severity == severity for r in remarks)


def _devices_of_coding_only(reports: Sequence[Known], extractor: Extractor) -> Rate:
    contexts = Contexts(extractor.ontology, [k.coded for k in reports])
    hits = 0
    for k in reports:
        context = CheckContext(devices=contexts.coded_devices(k.coded), history=k.context.history)
        hits += _has(check(k.coded.report, context, extractor).remarks, "DEVICE_UNSEEN", "hard")
    return rate(hits, len(reports))


def _prior_where_none(reports: Sequence[Known], alarms: Sequence[Sequence[Remark]]) -> Rate:
    told = [r for k, r in zip(reports, alarms, strict=True) if k.comparison and k.context.has_prior is False]
    return rate(sum(_has(r, "PRIOR_REF", "hard") for r in told), len(told))


def _experts_unsoftened(reports: Sequence[Known], extractor: Extractor) -> Rate:
    contexts = Contexts(extractor.ontology, [k.coded for k in reports])
    hits = 0
    for k in reports:
        remarks = check(k.coded.report, CheckContext(experts=contexts.strict_experts(k.coded)), extractor).remarks
        hits += _has(remarks, "CONTRA_EXPERT", "hard")
    return rate(hits, len(reports))


def checks_tables(report: ChecksReport) -> list[Table]:
    """Faults caught, and untouched reports remarked on."""
    faults = figures_table(
        f"Faults put into {report.reports} IU reports of folds 1-4",
        "", "right codes", "caught (95 %)", "of", "by any code", "fold 0", "not caught",
    )  # fmt: skip
    for number, (name, figures) in enumerate(report.mutations.items(), start=1):
        left = ", ".join(f"{m.what or 'any'} {m.count}" for m in figures.missed[:4])
        faults.add_row(
            name,
            " ".join(figures.right),
            _shown(figures.caught),
            str(figures.caught.of),
            f"{figures.by_any.value:.1%}",
            f"{report.mutations_tuning[name].value:.1%}",
            left,
            end_section=number == REQUIRED,
        )
    untouched = figures_table("Untouched reports with a remark", "", "hard (95 %)", "soft", "asked", "hard, fold 0")
    for code, alarm in report.alarms.items():
        untouched.add_row(
            code,
            _shown(alarm.hard),
            f"{alarm.soft.value:.1%}",
            str(alarm.asked),
            f"{report.alarms_tuning[code].value:.1%}",
        )
    untouched.caption = (
        f"any hard remark {_shown(report.any_hard)}; PRIOR_REF where the comparison says none "
        f"{_shown(report.prior_where_none)}; DEVICE_UNSEEN with coded devices only "
        f"{_shown(report.devices_of_coding_only)}; CONTRA_EXPERT hard with unsoftened coding "
        f"{_shown(report.experts_unsoftened)}; {report.checks_per_second:.0f} reports/s"
    )
    return [faults, untouched]


def _shown(of: Rate) -> str:
    return f"{of.value:.1%} [{of.low:.1%}, {of.high:.1%}]"
