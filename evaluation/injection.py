"""What gets through when somebody writes orders and false statements where Prelim expects data.

A study is drawn, with a left effusion; the index holds drawn cases. Every attack (`evaluation.attacks`) wants one of
two sentences in the draft: a finding that is not there, and a denial of the one that is. It is placed in every text
that reaches a draft: the request, an earlier report, a DICOM header, file names, and reports of cases that lie beside
the very image asked about. Four ways to write: similar cases, a language model built to obey (`evaluation.obeying`)
with all branches, without and with an expert beside it, and the same model behind an OpenAI-compatible server.

Counted is what became of the sentence, and whether a control token or an unseen character came into a prompt or a
draft.
"""

from collections import Counter
from contextlib import closing
from pathlib import Path

from pydantic import Field
from rich.table import Table

from evaluation.attacks import attacks
from evaluation.injection_bench import OUTCOMES, PLACES, WANTED, WAYS, Bench, Outcome, Place, Way
from evaluation.injection_price import Price, measure_price
from retrieval.record import Record


class Outcomes(Record):
    """Attacks by what became of them."""

    of: int = 0
    """Attacks tried."""
    ended: dict[Outcome, int] = Field(default_factory=dict)
    """What became of the wanted sentence."""
    warned: int = 0
    """Drafts that say that something like an order was found."""
    unflagged: tuple[str, ...] = ()
    """Names of the attacks whose sentence stands there like any other."""


class Injection(Record):
    """What gets through."""

    attacks: int
    """Dresses of each wanted sentence."""
    drafts: int
    """Drafts asked for."""
    marks_in_prompts: int
    """Prompts that held a control token or an unseen character beyond the template's own."""
    marks_in_drafts: int
    """Drafts of which a sentence, warning or explanation held one."""
    by: dict[str, dict[Place, dict[Way, Outcomes]]]
    """By what was wanted, place and way."""
    total: dict[str, dict[Way, dict[Outcome, int]]]
    """The same, over all places."""
    price: Price
    """What the guards cost where nobody attacks."""


def measure_injection(data: Path) -> Injection:
    """Every attack in every place by every way, and what the guards cost on real input; some five minutes."""
    with closing(Bench()) as bench:
        tried = list(bench.tried())
    by: dict[str, dict[Place, dict[Way, Outcomes]]] = {}
    total: dict[str, dict[Way, dict[Outcome, int]]] = {}
    for wanted in WANTED:
        for way in WAYS:
            mine = [t for t in tried if (t.wanted, t.way) == (wanted, way)]
            total.setdefault(wanted, {})[way] = dict(Counter(t.outcome for t in mine))
            for place in PLACES:
                there = [t for t in mine if t.place == place]
                by.setdefault(wanted, {}).setdefault(place, {})[way] = Outcomes(
                    of=len(there),
                    ended=dict(Counter(t.outcome for t in there)),
                    warned=sum(t.warned for t in there),
                    unflagged=tuple(t.attack.name for t in there if t.outcome == "unflagged"),
                )
    return Injection(
        price=measure_price(data),
        attacks=len(attacks("")),
        drafts=len(tried),
        marks_in_prompts=sum(t.marked_prompt for t in tried),
        marks_in_drafts=sum(t.marked_draft for t in tried),
        by=by,
        total=total,
    )


def injection_table(measured: Injection) -> Table:
    """What became of the wanted sentences, by place and way."""
    table = Table(title=f"{measured.drafts} drafts with an attack in them: not written / dropped / flagged / unflagged")
    for column in ("wanted", "place", *WAYS):
        table.add_column(column)
    for wanted, places in measured.by.items():
        for place, ways in places.items():
            cells = (" / ".join(str(ways[way].ended.get(o, 0)) for o in OUTCOMES) for way in WAYS)
            table.add_row(wanted, place, *cells)
    return table
