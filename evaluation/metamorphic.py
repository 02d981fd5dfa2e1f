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
from retrieval.checks.context import CheckContext, SimilarReport
from retrieval.checks.remark import RemarkCode
from retrieval.extraction.extractor import Extractor
from retrieval.extraction.sentences import sentence_spans
from retrieval.expert_scores import ExpertScore
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

FINDINGS: Final = (
    ("pneumothorax", "There is a small left apical pneumothorax."),
    ("pleural_effusion", "There is a moderate right pleural effusion."),
    ("consolidation", "Consolidation is seen in the right lower lobe."),
    ("pulmonary_edema", "There is diffuse pulmonary edema."),
    ("cardiomegaly", "The heart is markedly enlarged."),
    ("lung_nodule", "There is a nodule in the left upper lobe."),
    ("lung_mass", "A mass is present in the right upper lobe."),
    ("atelectasis", "Atelectasis is noted at the left lung base."),
    ("rib_fracture", "There is a fracture of the left seventh rib."),
    ("pneumoperitoneum", "Free air is present beneath the right hemidiaphragm."),
    ("emphysema", "Emphysema is present in the upper lobes."),
    ("hiatal_hernia", "A large hiatal hernia is present."),
    ("pneumomediastinum", "Pneumomediastinum is present."),
    ("cavity", "There is a thick-walled cavity in the right upper lobe."),
    ("scoliosis", "There is scoliosis of the thoracic spine."),
    ("pneumonia", "The appearance is consistent with lingular pneumonia."),
    ("pulmonary_vascular_congestion", "Pulmonary vascular congestion is present."),
    ("pleural_thickening", "There is pleural thickening on the right."),
    ("hilar_lymphadenopathy", "There is bilateral hilar lymphadenopathy."),
    ("interstitial_lung_disease", "The pattern is that of interstitial lung disease."),
)
"""Findings by slug, each in a plain sentence."""
PRIORS: Final = (
    "There is no change from the previous study.",
    "Compared with the prior radiograph, the appearance is unchanged.",
    "The cardiomediastinal silhouette is stable.",
    "Aeration of the lungs has improved since the last examination.",
    "The previously seen opacity has resolved.",
    "No interval change.",
    "Findings are again demonstrated as before.",
    "The appearance has worsened in the interval.",
    "The pulmonary vasculature remains normal.",
    "Lung volumes have decreased compared to the earlier film.",
    "There is a new opacity at the left base.",
    "Persistent elevation of the right hemidiaphragm is noted.",
)
DEVICES: Final = (
    ("endotracheal_tube", "An endotracheal tube is present."),
    ("enteric_tube", "A nasogastric tube courses below the diaphragm."),
    ("picc", "A right PICC line ends in the superior vena cava."),
    ("central_venous_catheter", "There is a left internal jugular central venous catheter."),
    ("port_catheter", "A right chest port is in place."),
    ("pacemaker", "A left-sided dual-lead pacemaker is present."),
    ("chest_tube", "A right chest tube is in place."),
    ("sternal_wires", "Median sternotomy wires are intact."),
    ("valve_prosthesis", "A prosthetic heart valve is present."),
    ("spinal_hardware", "Posterior spinal fusion hardware is present."),
    ("tracheostomy_tube", "A tracheostomy tube is in the midline."),
    ("dialysis_catheter", "A tunneled dialysis catheter is seen."),
)
MEASURES: Final = (
    "The cardiac silhouette measures {n} cm across.",
    "The aortic arch measures {m} mm in diameter.",
    "The widest intercostal space measures {m} mm.",
    "The distance from the apex to the dome is {n} cm.",
    "A skin marker lies {n} x {k} cm from the midline.",
)
CLAIMS: Final = (
    "These results were discussed with the referring physician by telephone.",
    "The patient is status post liver transplant.",
    "There is a history of renal cell carcinoma.",
    "The finding corresponds to the abnormality seen on CT.",
    "Dr. Example was notified of this result.",
    "The patient presents with hemoptysis.",
    "The patient underwent bariatric surgery.",
    "MRI shows this to better advantage.",
)
EVENTS: Final = (
    "The endotracheal tube has been removed.",
    "There has been interval placement of a right chest tube.",
    "The left PICC line has been repositioned.",
    "There has been interval removal of the nasogastric tube.",
    "A new right internal jugular catheter is present.",
)
PLACES: Final = (
    "An opacity is present in the left middle lobe.",
    "Atelectasis is noted in the right lingula.",
    "There is consolidation of the left middle lobe.",
    "The right lingula shows an opacity.",
)
SITES: Final = (
    "There is a pneumothorax in the thoracic spine.",
    "There is consolidation in the stomach.",
    "A pleural effusion is present in the clavicle.",
    "There is a fracture in the left lower lobe.",
    "There is scoliosis in the right upper lobe.",
)


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
    return Mutant(_added(of, sentence), of.context, ("CONTRA_EXPERT", "UNSUPPORTED"), slug)


def denial_lifted(of: Known, choice: random.Random, bench: Bench) -> Mutant | None:
    """A denial turned into a statement, of a finding that the coding does not have."""

    def fits(m: ConceptMention) -> bool:
        return m.certainty == "absent" and _score_of(bench.ontology, of.context, m.concept, "absent") is not None

    return _edited(of, choice, fits, _lifted, ("CONTRA_EXPERT",))


def statement_denied(of: Known, choice: random.Random, bench: Bench) -> Mutant | None:
    """A statement turned into a denial, of a finding that the coding has."""

    def fits(m: ConceptMention) -> bool:
        known = [s for s in _scores(of.context) if s.band == "present"]
        return m.certainty == "present" and any(bench.ontology.is_a(s.concept, m.concept) for s in known)

    return _edited(of, choice, fits, _denied, ("CONTRA_EXPERT", "INTERNAL"))


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

    return _edited(of, choice, fits, _swapped, ("LATERALITY",))


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
        case = SimilarReport(
            case_id=CaseId(donor.coded.report_id), report=donor.coded.report, concepts=donor.read
        )
        cases = list((of.context.cases or ())[:-1])
        cases.insert(choice.randint(0, len(cases)), case)
        context = of.context.model_copy(update={"cases": tuple(cases)})
        return Mutant(_added(of, text), context, ("COPY",), f"{bench.ontology[m.concept].slug} of {donor.coded.report_id}")
    return None


def contradiction_inserted(of: Known, choice: random.Random, bench: Bench) -> Mutant | None:
    """A finding that the report states is denied in one more sentence."""
    stated = [m for m in of.read.mentions if m.certainty == "present" and bench.ontology[m.concept].kind == "finding"]
    if not stated:
        return None
    concept = bench.ontology[choice.choice(stated).concept]
    return Mutant(_added(of, f"There is no {concept.name}."), of.context, ("INTERNAL",), concept.slug)


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
        ontology.is_a(score.concept, c) for m in bench.extractor.read_report(report).mentions
        for c in (m.concept, *ontology.ids(ontology[m.concept].implies))
    ):
        return None
    return Mutant(report, of.context, ("OMIT_EXPERT", "CONTRA_EXPERT"), ontology[score.concept].slug)


def sentence_repeated(of: Known, choice: random.Random, bench: Bench) -> Mutant | None:
    """A sentence of the findings said again at their end."""
    text = of.coded.findings or of.coded.impression
    sentences = [text[a:b] for a, b in sentence_spans(text) if len(text[a:b].split()) > 3]  # noqa: PLR2004
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
    "lobe on the wrong side": place_impossible,
    "finding in a wrong organ": site_impossible,
    "history or conversation inserted": claim_inserted,
    "device event inserted": device_event_inserted,
    "coded finding left out": finding_left_out,
    "sentence repeated": sentence_repeated,
}
"""Every mutation by what it does; the first eight are the ones that must be caught."""
