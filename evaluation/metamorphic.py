"""Faults put into real reports while the measurement runs, each with the code that ought to catch it.

A mutation takes an untouched report of the collection and what is known beside it, and gives the report with one fault,
or None where this report has no place for it. Sentences that are put in are of our own wording; the one exception, a
sentence copied from another report, is what that mutation is about. Nothing is stored. Every choice is drawn from a
seed made of the report's id, so that a run can be repeated.

Where a fault needs a witness to be a fault at all (a side that the coding or the other section gives), it is put only
where there is one.
"""

import random
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

from evaluation.check_contexts import Known
from evaluation.planted import CLAIMS, DEVICES, EVENTS, FINDINGS, MEASURES, NORMALS, PLACES, PRIORS, SITES
from evaluation.sentence_edits import denied, lifted, swapped
from retrieval.checks.context import CheckContext, SimilarReport
from retrieval.checks.remark import RemarkCode
from retrieval.expert_scores import ExpertScore
from retrieval.extraction.extractor import Extractor
from retrieval.extraction.sentences import sentence_spans
from retrieval.mentions import ConceptMention
from retrieval.ontology.ontology import Ontology
from retrieval.records import CaseId, Report
from retrieval.sections import compose_report


class Mutant(NamedTuple):
    """A report with one fault."""

    report: Report
    """The report."""
    context: CheckContext
    """What is known beside it."""
    right: tuple[RemarkCode, ...]
    """Codes of which any one is the right answer."""
    what: str
    """What was done, without words of the report."""


class Bench(NamedTuple):
    """What mutations draw from."""

    extractor: Extractor
    """Reads what is put in."""
    reports: Sequence[Known]
    """Reports to copy from."""

    @property
    def ontology(self) -> Ontology:
        """The concepts."""
        return self.extractor.ontology


Mutation = Callable[[Known, random.Random, Bench], Mutant | None]


def finding_inserted(of: Known, choice: random.Random, bench: Bench) -> Mutant | None:
    """A finding that is in neither the coding nor the text."""
    ontology = bench.ontology
    absent = []
    for slug, sentence in FINDINGS:
        concept = ontology[slug].id
        stated = [m for m in of.read.mentions if m.certainty != "absent" and _related(ontology, m, concept)]
        if not stated and _score_of(ontology, of.context, concept, "present") is None:
            absent.append((slug, sentence))
    if not absent:
        return None
    slug, sentence = choice.choice(absent)
    return Mutant(_added(of, sentence), of.context, ("CONTRA_EXPERT", "UNSUPPORTED", "INTERNAL"), slug)


def denial_lifted(of: Known, choice: random.Random, bench: Bench) -> Mutant | None:
    """A denial turned into a statement, of a finding that the coding does not have."""

    def fits(m: ConceptMention) -> bool:
        return m.certainty == "absent" and _score_of(bench.ontology, of.context, m.concept, "absent") is not None

    return _edited(of, choice, fits, lifted, ("CONTRA_EXPERT",))


def statement_denied(of: Known, choice: random.Random, bench: Bench) -> Mutant | None:
    """A statement turned into a denial, of a finding that the coding has."""

    def fits(m: ConceptMention) -> bool:
        known = [s for s in _scores(of.context) if s.band == "present"]
        return m.certainty == "present" and any(bench.ontology.is_a(s.concept, m.concept) for s in known)

    return _edited(of, choice, fits, denied, ("CONTRA_EXPERT", "INTERNAL"))


def sides_swapped(of: Known, choice: random.Random, bench: Bench) -> Mutant | None:
    """Left for right and right for left in one sentence, where the coding or the other section gives the side."""
    sided = [m for m in of.read.mentions if m.certainty != "absent" and m.side in ("left", "right")]
    coded = {(s.concept, s.side) for s in _scores(of.context) if s.band == "present"}
    border = len(of.coded.findings) and of.coded.report.text.find(of.coded.findings) + len(of.coded.findings)

    def fits(m: ConceptMention) -> bool:
        if m not in sided:
            return False
        if (m.concept, m.side) in coded:
            return True
        others = [o for o in sided if o.concept == m.concept and (o.start < border) != (m.start < border)]
        alone = [o for o in sided if o.concept == m.concept and (o.start < border) == (m.start < border)]
        return bool(others) and len(alone) == 1 and {o.side for o in others} == {m.side}

    return _edited(of, choice, fits, swapped, ("LATERALITY",))


def prior_added(of: Known, choice: random.Random, bench: Bench) -> Mutant | None:
    """A reference to an earlier study in a report that had none."""
    if of.context.has_prior is not False:
        return None
    return Mutant(_added(of, choice.choice(PRIORS)), of.context, ("PRIOR_REF",), "")


def device_inserted(of: Known, choice: random.Random, bench: Bench) -> Mutant | None:
    """A device that nothing shows."""
    known = of.context.devices or frozenset()
    ids = {slug: bench.ontology[slug].id for slug, _ in DEVICES}
    unseen = [(s, t) for s, t in DEVICES if not any(_kin(bench.ontology, ids[s], d) for d in known)]
    slug, sentence = choice.choice(unseen)
    return Mutant(_added(of, sentence), of.context, ("DEVICE_UNSEEN",), slug)


def measurement_inserted(of: Known, choice: random.Random, bench: Bench) -> Mutant | None:
    """A number that nobody measured."""
    n, k, m = choice.randint(11, 99) / 10, choice.randint(11, 99) / 10, choice.randint(3, 97)
    sentence = choice.choice(MEASURES).format(n=f"{n:g}", k=f"{k:g}", m=m)
    return Mutant(_added(of, sentence), of.context, ("MEASURE",), "")


def sentence_copied(of: Known, choice: random.Random, bench: Bench) -> Mutant | None:
    """A sentence of a retrieved case with a side or size of a finding, or a device, that this patient does not have."""
    for _ in range(400):
        donor = choice.choice(bench.reports)
        if donor.coded.report_id == of.coded.report_id:
            continue
        told = [(text, m) for text, m in _foreign_sentences(donor, bench.ontology) if not _has(of, m, bench.ontology)]
        if not told:
            continue
        text, m = choice.choice(told)
        case = SimilarReport(case_id=CaseId(donor.coded.report_id), report=donor.coded.report, concepts=donor.read)
        cases = list((of.context.cases or ())[:-1])
        cases.insert(choice.randint(0, len(cases)), case)
        context = of.context.model_copy(update={"cases": tuple(cases)})
        return Mutant(
            _added(of, text), context, ("COPY",), f"{bench.ontology[m.concept].slug} of {donor.coded.report_id}"
        )
    return None


def contradiction_inserted(of: Known, choice: random.Random, bench: Bench) -> Mutant | None:
    """A finding that the report states is denied in one more sentence."""
    stated = [m for m in of.read.mentions if m.certainty == "present" and bench.ontology[m.concept].kind == "finding"]
    if not stated:
        return None
    concept = bench.ontology[choice.choice(stated).concept]
    return Mutant(_added(of, f"There is no {concept.name}."), of.context, ("INTERNAL",), concept.slug)


def normal_inserted(of: Known, choice: random.Random, bench: Bench) -> Mutant | None:
    """A structure called normal beside a stated finding that rules it out for certain."""
    stated = [m for m in of.read.mentions if m.certainty == "present"]
    against = []
    for slug, sentence in NORMALS:
        groups = [bench.ontology.excludes(m.concept, bench.ontology[slug].id) for m in stated]
        if any(group and group.strength == "hard" for group in groups):
            against.append((slug, sentence))
    if not against:
        return None
    slug, sentence = choice.choice(against)
    return Mutant(_added(of, sentence), of.context, ("INTERNAL",), slug)


def place_impossible(of: Known, choice: random.Random, bench: Bench) -> Mutant | None:
    """A side that the lobe does not have."""
    return Mutant(_added(of, choice.choice(PLACES)), of.context, ("LATERALITY",), "")


def site_impossible(of: Known, choice: random.Random, bench: Bench) -> Mutant | None:
    """A finding in an organ where it does not occur."""
    return Mutant(_added(of, choice.choice(SITES)), of.context, ("SITE",), "")


def claim_inserted(of: Known, choice: random.Random, bench: Bench) -> Mutant | None:
    """A history, another examination or a conversation that was not given."""
    return Mutant(_added(of, choice.choice(CLAIMS)), of.context, ("NONIMAGE",), "")


def device_event_inserted(of: Known, choice: random.Random, bench: Bench) -> Mutant | None:
    """A device placed, moved or removed, in a report without an earlier study."""
    if of.context.has_prior is not False:
        return None
    return Mutant(_added(of, choice.choice(EVENTS)), of.context, ("DEVICE_STATE",), "")


def finding_left_out(of: Known, choice: random.Random, bench: Bench) -> Mutant | None:
    """Every sentence that speaks of a coded finding, or of what is kin to it, taken out."""
    ontology = bench.ontology
    found = [s for s in _scores(of.context) if s.band == "present"]
    told = [s for s in found if any(_related(ontology, m, s.concept) for m in of.read.mentions)]
    if not told:
        return None
    score = choice.choice(told)
    spans = [(m.start, m.end) for m in of.read.mentions if _related(ontology, m, score.concept)]
    report = _without(of, spans)
    # What is left must still be a report, and must not hint at the finding.
    if report is None or any(
        ontology.is_a(score.concept, c)
        for m in bench.extractor.read_report(report).mentions
        for c in (m.concept, *ontology.ids(ontology[m.concept].implies))
    ):
        return None
    return Mutant(report, of.context, ("OMIT_EXPERT", "CONTRA_EXPERT"), ontology[score.concept].slug)


def sentence_repeated(of: Known, choice: random.Random, bench: Bench) -> Mutant | None:
    """A sentence of the findings said again at their end."""
    text = of.coded.findings or of.coded.impression
    sentences = [text[a:b] for a, b in sentence_spans(text) if len(text[a:b].split()) > 3]
    if not sentences:
        return None
    return Mutant(_added(of, choice.choice(sentences)), of.context, ("REPEAT",), "")


MUTATIONS: Final[dict[str, Mutation]] = {
    "finding inserted": finding_inserted,
    "denial turned into statement": denial_lifted,
    "statement turned into denial": statement_denied,
    "sides swapped in a sentence": sides_swapped,
    "prior reference added": prior_added,
    "device inserted": device_inserted,
    "measurement inserted": measurement_inserted,
    "sentence copied from a case": sentence_copied,
    "stated finding denied": contradiction_inserted,
    "structure called normal": normal_inserted,
    "lobe on the wrong side": place_impossible,
    "finding in a wrong organ": site_impossible,
    "history or conversation inserted": claim_inserted,
    "device event inserted": device_event_inserted,
    "coded finding left out": finding_left_out,
    "sentence repeated": sentence_repeated,
}
"""Every mutation by what it does; the first eight are the ones that must be caught."""


def _added(of: Known, sentence: str) -> Report:
    """The report with one more sentence at the end of its findings; of its impression when it has no findings."""
    findings, impression = of.coded.findings, of.coded.impression
    if findings:
        return compose_report(findings=f"{_stopped(findings)} {sentence}", impression=impression)
    return compose_report(impression=f"{_stopped(impression)} {sentence}")


def _stopped(text: str) -> str:
    return text if text.rstrip()[-1] in ".!?" else text.rstrip() + "."


def _edited(
    of: Known,
    choice: random.Random,
    fits: Callable[[ConceptMention], bool],
    edit: Callable[[str, int, int], str | None],
    right: tuple[RemarkCode, ...],
) -> Mutant | None:
    """The report with one sentence edited that holds a fitting mention."""
    mentions = [m for m in of.read.mentions if fits(m)]
    choice.shuffle(mentions)
    for m in mentions:
        section, start, end = next((s, a, b) for s, a, b in _sentences(of) if a <= m.start < b)
        text = of.coded.report.text[start:end]
        edited = edit(text, m.start - start, m.end - start)
        if edited and edited != text:
            return Mutant(_replaced(of, [(section, start, end, edited)]), of.context, right, m.concept)
    return None


def _sentences(of: Known) -> Iterator[tuple[str, int, int]]:
    """Section, start and end of every sentence."""
    report = of.coded.report
    for section in report.sections:
        at = report.text.find(section.text, section.start)
        for first, last in sentence_spans(section.text):
            yield section.name, at + first, at + last


def _replaced(of: Known, edits: Sequence[tuple[str, int, int, str]]) -> Report:
    """The report with stretches replaced."""
    report, texts = of.coded.report, {}
    for section in report.sections:
        at, text = report.text.find(section.text, section.start), section.text
        for _, start, end, new in sorted((e for e in edits if e[0] == section.name), key=lambda e: -e[1]):
            text = text[: start - at] + new + text[end - at :]
        texts[section.name] = text
    return compose_report(findings=texts.get("findings", ""), impression=texts.get("impression", ""))


def _without(of: Known, spans: Sequence[tuple[int, int]]) -> Report | None:
    """The report without the sentences that hold any of some spans; None when nothing is left."""
    gone = [(s, a, b, "") for s, a, b in _sentences(of) if any(a <= first < b for first, _ in spans)]
    report = _replaced(of, gone)
    return report if any(len(s.text.split()) > 1 for s in report.sections) else None


_LONG_ENOUGH = 8
_FOREIGN: Final = re.compile(r"\b(?:left|right|small|moderate|large|tiny)\b", re.I)


def _foreign_sentences(donor: Known, ontology: Ontology) -> list[tuple[str, ConceptMention]]:
    """Sentences of eight words or more with a device, or a stated finding beside a word of side or size."""
    report, told = donor.coded.report, []
    for _, start, end in _sentences(donor):
        text = " ".join(report.text[start:end].split())
        if len(re.findall(r"[A-Za-z0-9]+", text)) < _LONG_ENOUGH:
            continue
        for m in donor.read.mentions:
            kind = ontology[m.concept].kind
            stated = start <= m.start < end and m.certainty == "present"
            if stated and (
                kind == "device" or (kind in ("finding", "diagnosis") and (m.side or m.size) and _FOREIGN.search(text))
            ):
                told.append((text, m))
                break
    return told


def _has(of: Known, m: ConceptMention, ontology: Ontology) -> bool:
    """Whether a patient has what is to be copied, by the coding or the text."""
    if any(_kin(ontology, m.concept, d) for d in of.context.devices or ()):
        return True
    if _score_of(ontology, of.context, m.concept, "present") is not None:
        return True
    return any(o.certainty != "absent" and _related(ontology, o, m.concept) for o in of.read.mentions)


def _scores(context: CheckContext) -> tuple[ExpertScore, ...]:
    return context.experts.scores if context.experts else ()


def _score_of(ontology: Ontology, context: CheckContext, concept: str, band: str) -> ExpertScore | None:
    """The score in a band that settles a concept: of itself or a broader one if absent, of any relative if present."""
    for score in _scores(context):
        if score.band != band:
            continue
        if ontology.is_a(ontology[concept].id, score.concept) or (
            band == "present" and ontology.is_a(score.concept, ontology[concept].id)
        ):
            return score
    return None


def _related(ontology: Ontology, m: ConceptMention, concept: str) -> bool:
    return _kin(ontology, m.concept, concept)


def _kin(ontology: Ontology, one: str, other: str) -> bool:
    a, b = ontology[one].id, ontology[other].id
    return ontology.is_a(a, b) or ontology.is_a(b, a)
