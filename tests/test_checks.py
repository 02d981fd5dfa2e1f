"""The checks rule by rule: what is remarked on, and what a radiologist would not blink at."""

import time
from functools import cache

import pytest

from retrieval.checks.check import CATALOGUE, check
from retrieval.checks.context import CheckContext, Quantity, SimilarReport, earlier_study
from retrieval.checks.remark import Remark
from retrieval.expert_scores import ExpertScore, ExpertScores
from retrieval.extraction.extractor import Extractor
from retrieval.mentions import Side
from retrieval.ontology.ontology import load
from retrieval.records import CaseId
from retrieval.sections import compose_report

ONTOLOGY = load()


@cache
def extractor() -> Extractor:
    return Extractor(ONTOLOGY)


def remarks(findings: str, context: CheckContext | None = None, impression: str = "") -> tuple[Remark, ...]:
    report = compose_report(findings=findings, impression=impression)
    return check(report, context or CheckContext(), extractor()).remarks


def codes(findings: str, context: CheckContext | None = None, impression: str = "") -> set[str]:
    return {f"{r.code} {r.severity}" for r in remarks(findings, context, impression)}


def experts(*scores: tuple[str, float] | tuple[str, float, Side]) -> CheckContext:
    rows = [
        ExpertScore(
            concept=ONTOLOGY[score[0]].id,
            probability=score[1],
            absent_below=0.2,
            present_above=0.6,
            side=score[2] if len(score) > 2 else None,
        )
        for score in scores
    ]
    return CheckContext(experts=ExpertScores(expert="test", scores=tuple(rows)))


def case(name: str, findings: str) -> SimilarReport:
    return SimilarReport(case_id=CaseId(name), report=compose_report(findings=findings))


NORMAL = (
    "The heart is normal in size. The lungs are clear. There is no pleural effusion or pneumothorax. "
    "No acute bony abnormality."
)


def test_a_normal_report_gets_no_remark_whatever_is_known() -> None:
    context = experts(("pneumothorax", 0.03), ("cardiomegaly", 0.02)).model_copy(
        update={"has_prior": False, "devices": frozenset(), "measurements": (), "history": "Cough.", "cases": ()}
    )
    assert codes(NORMAL, context) == set()


def test_a_rule_whose_input_is_missing_says_so_and_nothing_else() -> None:
    checked = check(compose_report(findings="Stable 3 cm mass."), CheckContext(), extractor())
    assert not [r for r in checked.remarks if r.code in ("PRIOR_REF", "MEASURE", "CONTRA_EXPERT")]
    lacking = {(n.code, n.lacks) for n in checked.not_run}
    assert ("PRIOR_REF", ("has_prior",)) in lacking
    assert ("MEASURE", ("measurements",)) in lacking
    assert {n.code for n in checked.not_run} <= {rule.code for rule in CATALOGUE}


def test_every_code_of_the_catalogue_can_be_remarked() -> None:
    known = experts(("pneumothorax", 0.97), ("cardiomegaly", 0.02), ("lung_nodule", 0.4), ("atelectasis", 0.9, "left"))
    context = known.model_copy(
        update={
            "has_prior": False,
            "devices": frozenset(),
            "measurements": (),
            "history": "",
            "cases": (case("c1", "There is a calcified granuloma in the left upper lobe of the lung."),),
            "supports": {0: (CaseId("c1"),)},
        }
    )
    text = (
        "There is no calcified granuloma. The heart is enlarged. A nodule is present. Right basilar atelectasis. "
        "There is a 4 mm calcified granuloma in the left upper lobe of the lung. Pectus excavatum is present. "
        "Unchanged. A right chest tube is present. The left PICC has been removed. Status post liver transplant. "
        "There is a pneumothorax in the thoracic spine. There is no pneumothorax. A nodule is present."
    )
    found = {r.code for r in remarks(text, context)}
    found |= {
        r.code for r in remarks("The left effusion has increased.", CheckContext(has_prior=True, compared=frozenset()))
    }
    found |= {r.code for r in remarks("The lungs are clear.", experts(("pneumoperitoneum", 0.9)))}
    assert found == {rule.code for rule in CATALOGUE}


# Experts


def test_a_stated_finding_that_the_classifier_excludes_is_a_contradiction_that_cites_its_probability() -> None:
    (remark,) = remarks("There is a small left pneumothorax.", experts(("pneumothorax", 0.03)))
    assert (remark.code, remark.severity, remark.sentence) == ("CONTRA_EXPERT", "hard", 0)
    assert "0.03" in remark.explanation
    assert "pneumothorax" in remark.explanation.lower()


@pytest.mark.parametrize(
    ("findings", "scores", "contradicted"),
    [
        ("There is consolidation.", ("lung_opacity", 0.05), True),
        ("There is an opacity.", ("consolidation", 0.05), False),
        ("There is no opacity.", ("consolidation", 0.9), True),
        ("There is no consolidation.", ("lung_opacity", 0.9), False),
        ("There may be consolidation.", ("consolidation", 0.05), False),
        ("The heart is normal in size.", ("cardiomegaly", 0.95), True),
        ("No new nodule.", ("lung_nodule", 0.95), False),
        ("No large pleural effusion. Small left pleural effusion.", ("pleural_effusion", 0.95), False),
        ("There is no small pleural effusion.", ("pleural_effusion", 0.95), True),
    ],
)
def test_the_hierarchy_decides_what_contradicts(findings: str, scores: tuple[str, float], contradicted: bool) -> None:
    assert any(code.startswith("CONTRA_EXPERT") for code in codes(findings, experts(scores))) == contradicted


def test_a_denial_on_one_side_does_not_contradict_a_finding_on_the_other() -> None:
    located = experts(("pleural_effusion", 0.9, "right"))
    assert codes("No left pleural effusion. Right pleural effusion.", located) == set()


def test_what_the_classifier_found_and_the_text_leaves_out_has_no_place_in_the_text() -> None:
    (remark,) = remarks("The heart is normal in size.", experts(("pneumothorax", 0.97)))
    assert (remark.code, remark.severity) == ("OMIT_EXPERT", "hard")
    assert (remark.sentence, remark.start, remark.end) == (None, None, None)


def test_a_narrower_finding_is_not_left_out_when_it_is_named_otherwise() -> None:
    assert codes("There is a loculated pleural effusion.", experts(("pleural_effusion", 0.97))) == set()


# Priors


def test_a_reference_to_an_earlier_study_is_hard_only_when_none_was_given() -> None:
    text = "Compared with the prior study, the heart is unchanged."
    found = remarks(text, CheckContext(has_prior=False))
    assert {r.code for r in found} == {"PRIOR_REF"}
    assert len({(r.start, r.end) for r in found}) == len(found)
    assert codes(text, CheckContext(has_prior=True)) == set()
    assert codes(text) == set()


def test_increased_markings_are_no_reference_to_an_earlier_study() -> None:
    assert codes("There are increased interstitial markings.", CheckContext(has_prior=False)) == set()


@pytest.mark.parametrize(
    ("comparison", "answer"),
    [
        ("None.", False),
        ("No comparison available.", False),
        ("There are no prior studies available for comparison.", False),
        ("", None),
        (" \n", None),
        ("Chest radiograph", True),
        ("None since 2010; chest radiograph 2010", True),
        ("None; chest radiograph", None),
        ("No change from the outside film of May", None),
    ],
)
def test_a_comparison_section_tells_whether_there_was_an_earlier_study(comparison: str, answer: bool | None) -> None:
    assert earlier_study(comparison) is answer


# Sides and places


def test_a_side_that_the_classifier_contradicts_is_hard() -> None:
    located = experts(("pleural_effusion", 0.9, "right"))
    assert "LATERALITY hard" in codes("There is a left pleural effusion.", located)
    assert codes("There are bilateral pleural effusions.", located) == set()
    assert codes("There is a pleural effusion.", located) == set()


def test_sides_are_compared_between_sections_and_not_within_one() -> None:
    assert codes("Left pleural effusion.", impression="Right pleural effusion.") == {"LATERALITY hard"}
    assert codes("Left pleural effusion. Right pleural effusion.", impression="Right pleural effusion.") == set()
    assert codes("Left rib fracture. Right clavicle fracture.") == set()


@pytest.mark.parametrize("place", ["left middle lobe", "right lingula", "left-sided middle lobe", "left RML"])
def test_a_lobe_has_only_its_own_side(place: str) -> None:
    assert "LATERALITY hard" in codes(f"There is an opacity in the {place}.")


@pytest.mark.parametrize("place", ["right middle lobe", "lingula", "left lingula", "left mid lung"])
def test_a_lobe_on_its_own_side_is_fine(place: str) -> None:
    assert codes(f"There is an opacity in the {place}.") == set()


def test_a_finding_in_a_wrong_organ_is_soft_and_a_projection_over_one_is_not_remarked() -> None:
    assert codes("There is a pneumothorax in the thoracic spine.") == {"SITE soft"}
    assert codes("There is a nodule projecting over the right scapula.") == set()


# Against itself


def test_what_is_stated_and_denied_is_hard() -> None:
    assert codes("There is a left pleural effusion. There is no pleural effusion.") == {"INTERNAL hard"}


@pytest.mark.parametrize(
    "findings",
    [
        "There is a right pleural effusion. The left lung is clear.",
        "There is a left pleural effusion. No right pleural effusion.",
        "There is a small pleural effusion. No large pleural effusion.",
        "There is a calcified granuloma. The lungs are otherwise clear.",
        "There is a right upper lobe consolidation. The remaining lungs are clear.",
        "There is a possible pneumonia. No pneumothorax.",
        "Stable nodule. No new nodule.",
        "The heart is normal in size. There is an old healed rib fracture. No acute bony abnormality.",
    ],
)
def test_statements_that_do_not_contradict_each_other(findings: str) -> None:
    assert not [code for code in codes(findings) if code.startswith("INTERNAL")]


def test_a_normal_heart_and_a_large_one_exclude_each_other() -> None:
    assert codes("The heart is normal in size. Mild cardiomegaly.") == {"INTERNAL hard"}


def test_saying_it_twice_in_one_section_is_soft_and_summing_up_is_not_remarked() -> None:
    assert codes("There is a small left effusion. There is a small left effusion.") == {"REPEAT soft"}
    assert codes("There is a small left effusion.", impression="There is a small left effusion.") == set()


@pytest.mark.parametrize(
    ("findings", "found"),
    [
        ("Nondisplaced left rib fracture. No displaced rib fracture.", {"INTERNAL soft"}),
        ("Old healed rib fractures. No acute rib fracture.", set()),
        ("Displaced rib fracture. No rib fracture.", {"INTERNAL hard"}),
        ("Displaced rib fracture. No displaced rib fracture.", {"INTERNAL hard"}),
    ],
)
def test_a_denial_of_a_kind_leaves_other_kinds_open(findings: str, found: set[str]) -> None:
    assert codes(findings) == found


def test_a_measurement_tells_two_findings_apart() -> None:
    assert codes("There is a 5 mm nodule. A 9 mm nodule is seen.") == set()
    (again,) = remarks("There is a 5 mm nodule. A 5 mm nodule is seen.")
    assert "with the same side, place and degree" in again.explanation


# Devices


def test_a_device_that_nothing_shows_is_hard() -> None:
    none = CheckContext(devices=frozenset())
    assert codes("A right PICC ends in the superior vena cava.", none) == {"DEVICE_UNSEEN hard"}
    catheter = CheckContext(devices=frozenset({ONTOLOGY["central_venous_catheter"].id}))
    assert codes("A right PICC ends in the superior vena cava.", catheter) == set()
    assert codes("A pacemaker is present.", CheckContext(devices=frozenset(), history="Pacemaker.")) == set()
    assert codes("No PICC is seen.", none) == set()


def test_a_device_that_came_or_went_needs_an_earlier_study() -> None:
    text = "The endotracheal tube has been removed."
    assert "DEVICE_STATE hard" in codes(text, CheckContext(has_prior=False))
    assert codes(text, CheckContext(has_prior=True)) == set()


@pytest.mark.parametrize(
    ("findings", "wrong"),
    [
        ("The endotracheal tube tip is 1 cm above the carina.", True),
        ("The endotracheal tube tip is 15 mm above the carina.", True),
        ("The endotracheal tube tip is 4 cm above the carina.", False),
        ("The endotracheal tube tip is 1 cm above the carina and should be withdrawn.", False),
        ("The endotracheal tube tip is in the right main bronchus.", True),
        ("ET tube in the right mainstem bronchus with low lung volumes.", True),
        ("The endotracheal tube terminates at the carina.", True),
        ("The endotracheal tube terminates above the carina.", False),
        ("The endotracheal tube is in the right main bronchus and should be withdrawn.", False),
        ("Left PICC tip in the right ventricle with low lung volumes.", True),
        ("An endotracheal tube is present.", False),
        ("A right chest tube is present. There is a left pneumothorax.", True),
        ("A left chest tube is present. There is a left pneumothorax.", False),
    ],
)
def test_positions_are_judged_only_where_they_are_stated(findings: str, wrong: bool) -> None:
    assert ("DEVICE_STATE soft" in codes(findings)) == wrong


# What no image shows


def test_a_number_that_nobody_measured_is_hard() -> None:
    text = "There is a 1.2 x 0.8 cm nodule."
    assert codes(text, CheckContext(measurements=())) == {"MEASURE hard"}
    made = (Quantity(value=12, unit="mm"), Quantity(value=8, unit="mm"))
    assert codes(text, CheckContext(measurements=made)) == set()
    assert codes("Two views of T12 and the 5th rib.", CheckContext(measurements=())) == set()


@pytest.mark.parametrize(
    "findings",
    [
        "Status post CABG.",
        "This was discussed with Dr. Nobody by telephone.",
        "The nodule was seen on CT.",
        "History of renal cell carcinoma.",
        "The patient presents with fever.",
    ],
)
def test_what_was_not_given_is_not_told(findings: str) -> None:
    assert "NONIMAGE hard" in codes(findings, CheckContext(history="Cough."))


@pytest.mark.parametrize(
    ("findings", "history"),
    [
        ("Status post CABG.", "Prior CABG."),
        ("The nodule was seen on CT.", "Comparison: CT chest."),
        ("CT is recommended for further evaluation.", ""),
        ("The patient is rotated.", ""),
        ("History of renal cell carcinoma.", "Renal cell carcinoma."),
    ],
)
def test_what_was_given_or_is_advice_may_be_told(findings: str, history: str) -> None:
    assert codes(findings, CheckContext(history=history)) == set()


# Retrieved cases


def test_words_of_another_patient_with_a_side_nothing_supports_are_a_copy() -> None:
    text = "There is a moderate left pleural effusion with adjacent opacity."
    context = CheckContext(cases=(case("other", NORMAL), case("donor", f"{NORMAL} {text}")))
    (copy,) = [r for r in remarks(text, context) if r.code == "COPY"]
    assert copy.severity == "hard"
    assert "donor" in copy.explanation
    here = experts(("pleural_effusion", 0.95, "left"), ("lung_opacity", 0.9)).model_copy(
        update={"cases": context.cases}
    )
    assert not [code for code in codes(text, here) if code.startswith("COPY")]


def test_words_of_several_patients_are_worth_a_look_only() -> None:
    text = "There is a moderate left pleural effusion with adjacent opacity."
    context = CheckContext(cases=(case("one", text), case("two", f"{NORMAL} {text}")))
    (copy,) = [r for r in remarks(text, context) if r.code == "COPY"]
    assert (copy.severity, "2 other patients" in copy.explanation) == ("soft", True)


def test_a_date_that_was_given_is_no_copy() -> None:
    text = "Stable appearance of the chest as compared to the film of 3/4/2015."
    context = CheckContext(cases=(case("one", text),))
    assert "COPY hard" in codes(text, context)
    assert "COPY hard" in codes(text, context.model_copy(update={"history": "Film of 13/4/2015."}))
    assert "COPY hard" not in codes(text, context.model_copy(update={"history": "Film of 3/4/2015."}))


def test_stock_phrases_of_other_reports_are_no_copy() -> None:
    assert codes(NORMAL, CheckContext(cases=(case("same", NORMAL),))) == set()


def test_a_finding_nothing_else_speaks_of_is_to_be_verified() -> None:
    alone = CheckContext(cases=(case("a", NORMAL),))
    assert codes("Pectus excavatum is present.", alone) == {"UNSUPPORTED soft"}
    other = CheckContext(cases=(case("a", "There is a pectus excavatum."),))
    assert codes("Pectus excavatum is present.", other) == set()


def test_a_denial_whose_cited_cases_state_the_finding_is_remarked() -> None:
    cases = (case("a", "There is a left effusion."), case("b", "Pleural effusion on the right."), case("c", NORMAL))
    cited = {0: (CaseId("a"), CaseId("b"), CaseId("c"))}
    assert codes("No pleural effusion.", CheckContext(cases=cases, supports=cited)) == {"NEGATION soft"}
    assert codes("No pleural effusion.", CheckContext(cases=cases, supports={0: (CaseId("c"),)})) == set()


# The answer as a whole


def test_spans_lie_in_the_text_and_explanations_are_sentences() -> None:
    context = experts(("pneumothorax", 0.03)).model_copy(update={"has_prior": False, "measurements": ()})
    report = compose_report(
        findings="Stable 5 mm nodule in the left middle lobe. Small pneumothorax.", impression="No pneumothorax."
    )
    checked = check(report, context, extractor())
    assert {"PRIOR_REF", "MEASURE", "LATERALITY", "CONTRA_EXPERT", "INTERNAL"} <= {r.code for r in checked.remarks}
    places = [(r.start, r.end) for r in checked.remarks if r.start is not None and r.end is not None]
    assert all(0 <= start < end <= len(report.text) for start, end in places)
    assert places == sorted(places, key=lambda p: p[0])
    assert all(
        r.explanation.endswith(".") and r.explanation[0] in '"' + r.explanation[0].upper() for r in checked.remarks
    )


@pytest.mark.parametrize(
    "text", ["", " ", "....", "no no no", "1 cm " * 500, "left " * 2000, "\x00\ufffd", "ct " * 3000]
)
def test_any_text_is_checked_in_bounded_time(text: str) -> None:
    context = experts(("pneumothorax", 0.9)).model_copy(
        update={
            "has_prior": False,
            "devices": frozenset(),
            "measurements": (),
            "history": "x",
            "cases": (case("a", text),),
        }
    )
    assert check(compose_report(findings=text), context, extractor()) == check(
        compose_report(findings=text), context, extractor()
    )


@pytest.mark.parametrize(
    "sentence",
    [
        "Small left effusion. No pleural effusion. Mild cardiomegaly. The heart is normal. ",
        "Stable opacity in the left middle lobe. ",
        "PICC, 3 mm nodule and history of fever. ",
        "No left effusion on CT 2010. ",
    ],
)
def test_a_long_text_is_checked_in_seconds(sentence: str) -> None:
    text = sentence * (200_000 // len(sentence))
    context = CheckContext(
        has_prior=False, devices=frozenset(), measurements=(), history="x", cases=(case("a", text),), supports={}
    )
    begun = time.process_time()
    checked = check(compose_report(findings=text[:100_000], impression=text[100_000:]), context, extractor())
    # About three seconds on one core; comparing each with each takes minutes.
    assert time.process_time() - begun < 20
    assert checked.remarks


def test_only_the_sections_asked_for_are_checked() -> None:
    report = compose_report(findings="Opacity in the left middle lobe.", impression="Opacity in the right lingula.")
    (remark,) = check(report, CheckContext(sections=("impression",)), extractor()).remarks
    assert remark.sentence == 1
    assert report.text[remark.start : remark.end] == "right lingula"
