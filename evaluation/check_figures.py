"""The checks measured: how many faults put into real reports are caught, and how often an untouched report is remarked on.

Rules were tuned on fold 0; figures are quoted on folds 1 to 4. A fault is caught when a remark with a right code is there
that the untouched report did not get. A false alarm is a report, untouched, with at least one remark of a code; some of
these remarks are true (the report does contradict itself, or its coding), so the share is an upper bound. Intervals are
Wilson's (Wilson, JASA 22:209, 1927), which stay honest at none and all.
"""

from math import sqrt

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
