"""The figures on extraction, on invented concepts and codings small enough to count by hand."""

import json
from pathlib import Path

import numpy as np
import pytest

from evaluation.adjudication import (
    Disagreement,
    Grid,
    Verdict,
    adjudicated,
    read_verdicts,
    remaining_errors,
    sample,
    undecided,
    write_questions,
)
from evaluation.coded_heads import Gold, asserted, claimed, fits, gold_of, heads_of, named, plain_name
from evaluation.extraction import MARKS, MINIMUM, read_marks, scored_heads
from evaluation.extraction_figures import Mark, head_scores, mark_figures, mention_at, side_figures
from evaluation.iu_reports import CodedReport, read_reports
from evaluation.rivals import RADLABELS, _library
from retrieval.errors import InvalidManifest, MissingDependency, NotScorable, RequestError
from retrieval.mentions import Certainty, ConceptId, ConceptMention, Side
from retrieval.ontology.concept import Concept, Labels
from retrieval.ontology.ontology import Ontology, load


def concept(number: int, slug: str, is_a: tuple[str, ...] = (), mesh: tuple[str, ...] = (), nih: tuple[str, ...] = ()):
    labels = Labels(iu_mesh=mesh, nih14=nih)
    return Concept(
        id=ConceptId(f"PRELIM:{number:04d}"), slug=slug, kind="finding", name=slug.replace("_", " "), is_a=is_a,
        definition="Invented for this test.", labels=labels,
    )  # fmt: skip


ONTOLOGY = Ontology(
    [
        concept(1, "nodule", mesh=("Nodule",), nih=("Nodule",)),
        concept(2, "granuloma", ("nodule",), mesh=("Calcified Granuloma", "Granuloma")),
        concept(3, "pneumothorax", mesh=("Pneumothorax",), nih=("Pneumothorax",)),
        concept(4, "tension_pneumothorax", ("pneumothorax",)),
        concept(5, "hypoinflation", mesh=("Lung/hypoinflation",)),
        concept(6, "tortuous_aorta", mesh=("Aorta/tortuous", "Aorta, Thoracic/tortuous")),
        concept(7, "calcification", mesh=("Calcinosis",)),
        concept(8, "hilar_calcification", ("calcification",), mesh=("Calcinosis/lung/hilum",)),
    ]
)
ID = {c.slug: c.id for c in ONTOLOGY}
MESH = heads_of(ONTOLOGY, "iu_mesh")
KNOWN = named(MESH)


def mention(slug: str, certainty: Certainty = "present", side: Side | None = None, start: int = 0, end: int = 1):
    return ConceptMention(concept=ID[slug], certainty=certainty, side=side, start=start, end=end)


def test_a_concept_without_heads_is_coded_as_the_next_broader_one() -> None:
    assert MESH[ID["tension_pneumothorax"]] == ("Pneumothorax",)


def test_a_concept_that_coders_have_a_word_for_is_not_counted_as_a_broader_one() -> None:
    chest14 = heads_of(ONTOLOGY, "nih14")
    assert ID["granuloma"] not in chest14
    assert chest14[ID["tension_pneumothorax"]] == ("Pneumothorax",)


def test_a_qualified_head_needs_its_qualifier_among_others() -> None:
    assert fits("Lung/hypoinflation", "Lung/bilateral/hypoinflation/mild")
    assert not fits("Lung/hypoinflation", "Lung/hyperdistention")
    assert not fits("Aorta/tortuous", "Aorta, Thoracic/tortuous")


def test_a_coded_term_counts_for_its_most_qualified_head_only() -> None:
    gold = gold_of(["Calcinosis/lung/hilum/left"], KNOWN)
    assert gold == Gold(frozenset({"Calcinosis/lung/hilum"}), frozenset({"Calcinosis"}))


@pytest.mark.parametrize(
    ("said", "coded", "heads"),
    [
        ("tortuous_aorta", ["Aorta, Thoracic/tortuous"], {"Aorta, Thoracic/tortuous"}),
        ("tortuous_aorta", [], {"Aorta/tortuous"}),
        ("granuloma", ["Granuloma/lung", "Nodule"], {"Granuloma"}),
        ("calcification", ["Calcinosis/lung/hilum"], set()),
    ],
)
def test_of_alternatives_the_coded_one_counts_and_otherwise_the_first(said, coded, heads) -> None:
    assert asserted([ID[said]], MESH, gold_of(coded, KNOWN), KNOWN) == heads


def test_a_finding_coded_under_a_head_too_rare_to_score_is_no_false_alarm() -> None:
    gold = gold_of(["Granuloma"], KNOWN)
    assert asserted([ID["granuloma"]], MESH, gold, ["Calcified Granuloma"]) == frozenset()


def test_left_open_counts_as_coded_and_denied_does_not() -> None:
    said = [mention("nodule", "uncertain"), mention("pneumothorax", "absent")]
    assert claimed(said) == {ID["nodule"]}


def test_heads_are_scored_when_enough_reports_carry_them() -> None:
    gold = [gold_of(["Nodule"], KNOWN)] * MINIMUM + [gold_of(["Pneumothorax"], KNOWN)] * (MINIMUM - 1)
    assert scored_heads(gold, KNOWN) == ["Nodule"]


def test_a_head_is_named_by_the_broadest_concepts_that_stand_for_it() -> None:
    assert plain_name(ONTOLOGY, MESH, "Pneumothorax") == "pneumothorax"


def test_scores_are_those_counted_by_hand() -> None:
    read = np.array([[1, 0], [1, 1], [0, 0], [0, 1]], bool)
    coded = np.array([[1, 0], [0, 1], [1, 0], [0, 0]], bool)
    scores = head_scores(read, coded, ["Nodule", "Pneumothorax"])
    assert (scores.precision, scores.recall) == (0.5, 2 / 3)
    assert scores.micro_f1.value == pytest.approx(4 / 7)
    assert scores.macro_f1.value == pytest.approx((0.5 + 2 / 3) / 2)
    assert scores.micro_f1.low <= scores.micro_f1.value <= scores.micro_f1.high
    first, second = scores.heads
    assert (first.head, first.support, first.both, first.f1) == ("Nodule", 2, 1, 0.5)
    assert (second.precision, second.recall) == (0.5, 1.0)


def test_sides_are_compared_only_where_both_give_one() -> None:
    sides = side_figures(
        ["A", "B", "C", "D"],
        [["Nodule/left"], ["Nodule/lung/right", "Nodule/left"], ["Nodule/right"], ["Nodule"]],
        [
            [mention("nodule", side="left"), mention("nodule", "absent", side="right")],
            [mention("nodule", side="bilateral")],
            [mention("nodule", side="left")],
            [mention("nodule", side="left")],
        ],
        MESH,
        KNOWN,
    )
    assert sides is not None
    assert (sides.pairs, sides.opposite, sides.per_head["Nodule"]) == (3, ["C"], (2, 3))
    assert sides.agreement.value == pytest.approx(2 / 3)
    assert (sides.read_only, sides.coded_only) == (1, 0)


def test_a_reader_without_sides_has_no_agreement() -> None:
    assert side_figures(["A"], [["Nodule/left"]], [[mention("nodule")]], MESH, KNOWN) is None


def mark(start: int, certainty: str, side: str = "none") -> Mark:
    return Mark.model_validate(
        {"report": "A", "section": "findings", "start": start, "end": start + 6, "word": "nodule",
         "certainty": certainty, "side": side}
    )  # fmt: skip


def test_marks_are_counted_with_flips_apart() -> None:
    marks = [mark(0, "present", "left"), mark(10, "present"), mark(20, "uncertain"), mark(30, "none")]
    found = {
        marks[0].place: mention("nodule", side="right"),
        marks[1].place: mention("nodule", "absent"),
        marks[2].place: None,
        marks[3].place: None,
    }
    figures = mark_figures(marks, found)
    assert figures.accuracy.value == 0.5
    assert figures.flips == ["A findings 10"]
    assert figures.wrong == ["A findings 20 nodule: uncertain read none"]
    assert figures.confusion["present"] == {"present": 1, "absent": 1, "uncertain": 0, "none": 0}
    assert (figures.sided, figures.side_opposite) == (2, ["A findings 0"])


def test_the_tightest_mention_of_a_finding_is_the_one_marked() -> None:
    wide, tight = mention("nodule", start=0, end=30), mention("granuloma", start=10, end=19)
    assert mention_at([wide, tight], 12, 18, {wide.concept, tight.concept}) == tight
    assert mention_at([wide, tight], 12, 18, {wide.concept}) == wide
    assert mention_at([wide, tight], 40, 46, {wide.concept}) is None


def grid(hits: int, read_only: int, coded_only: int) -> Grid:
    n = hits + read_only + coded_only
    read, coded = np.zeros((n, 1), bool), np.zeros((n, 1), bool)
    read[: hits + read_only] = True
    coded[:hits] = coded[hits + read_only :] = True
    return Grid([f"R{i}" for i in range(n)], ["Nodule"], read, coded)


def verdicts(of: Grid, read_only: list[str], coded_only: list[str]) -> list[Verdict]:
    apart = {kind: [d for d in of.disagreements() if d.kind == kind] for kind in ("read_not_coded", "coded_not_read")}
    paired = [*zip(apart["read_not_coded"], read_only), *zip(apart["coded_not_read"], coded_only)]  # noqa: B905
    return [Verdict.model_validate({"report": d.report, "head": d.head, "verdict": v}) for d, v in paired]


def test_shares_of_verdicts_are_carried_over_to_all_disagreements() -> None:
    of = grid(hits=60, read_only=40, coded_only=20)
    given = verdicts(of, ["stated", "stated", "not_stated", "doubtful"], ["stated", "not_stated"])
    after = adjudicated(of, given)
    assert after is not None
    # 40 x 1/2 become hits, 40 x 1/4 stay false, 20 x 1/2 stay missed; the rest leaves the count.
    assert after.precision == pytest.approx(80 / 90)
    assert after.recall == pytest.approx(80 / 90)
    assert after.micro_f1.value == pytest.approx(160 / 180)
    assert after.micro_f1.low < after.micro_f1.value < after.micro_f1.high
    # Judged cells only: 2 false become hits, 1 leaves; 1 miss is none.
    assert after.micro_f1_judged_cells == pytest.approx(2 * 62 / (2 * 62 + 37 + 19))
    assert after.verdicts["read_not_coded"] == {"stated": 2, "not_stated": 1, "doubtful": 1}


def test_when_every_cell_is_judged_both_figures_are_the_same() -> None:
    of = grid(hits=6, read_only=4, coded_only=4)
    after = adjudicated(of, verdicts(of, ["stated", "not_stated"] * 2, ["stated", "stated", "not_stated", "doubtful"]))
    assert after is not None
    assert after.micro_f1.value == pytest.approx(after.micro_f1_judged_cells)


def test_too_few_verdicts_give_no_figure() -> None:
    of = grid(hits=6, read_only=4, coded_only=4)
    assert adjudicated(of, verdicts(of, ["stated", "stated"], ["stated"])) is None


def test_a_verdict_on_a_cell_that_no_longer_differs_moves_no_share() -> None:
    of = grid(hits=6, read_only=4, coded_only=4)
    given = verdicts(of, ["stated", "not_stated"], ["stated", "not_stated"])
    settled = Verdict(report="R0", head="Nodule", verdict="stated")
    assert adjudicated(of, [*given, settled]) == adjudicated(of, given)


def test_the_sample_is_half_of_each_kind_and_always_the_same() -> None:
    cells = grid(hits=1, read_only=50, coded_only=30).disagreements()
    drawn = sample(cells, 20)
    assert sum(d.kind == "read_not_coded" for d in drawn) == 10
    assert drawn == sample(cells, 20)
    assert len(set(map(str, drawn))) == 20
    assert sum(d.kind == "coded_not_read" for d in sample(cells, 70)) == 30
    assert len(sample(cells, 70)) == 70
    assert len(sample(cells, 500)) == 80


def test_the_adjudicator_does_not_see_who_said_what(tmp_path: Path) -> None:
    cells = grid(hits=0, read_only=3, coded_only=3).disagreements()
    texts = {d.report: "Invented text." for d in cells}
    blinded = write_questions(tmp_path / "out.jsonl", cells, texts, {"Nodule": "nodule"})
    rows = [json.loads(line) for line in blinded.read_text().splitlines()]
    assert len(rows) == 6
    assert all(set(row) == {"id", "report", "head", "finding", "text"} for row in rows)
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 6


def test_report_text_is_not_written_into_the_repository() -> None:
    with pytest.raises(RequestError, match="inside the repository"):
        write_questions(Path(__file__).parent / "out.jsonl", (), {}, {})


def test_verdicts_are_read_back_one_of_each_cell(tmp_path: Path) -> None:
    path = tmp_path / "adjudicated.jsonl"
    assert read_verdicts(path) == ()
    verdict = Verdict(report="A", head="Nodule", verdict="doubtful")
    path.write_text(verdict.model_dump_json() + "\n")
    assert read_verdicts(path) == (verdict,)
    path.write_text(2 * (verdict.model_dump_json() + "\n"))
    with pytest.raises(InvalidManifest, match="line 2"):
        read_verdicts(path)


def test_remaining_errors_are_told_apart_by_cause() -> None:
    cells = [Disagreement(report=r, head="Nodule", kind="read_not_coded") for r in "AB"]
    cells += [Disagreement(report=r, head="Nodule", kind="coded_not_read") for r in "CD"]
    said = {
        "A": [mention("nodule"), mention("nodule", "uncertain")],
        "B": [mention("nodule", "uncertain")],
        "C": [mention("nodule", "absent")],
        "D": [mention("pneumothorax")],
    }
    left = remaining_errors(cells, said, MESH)["Nodule"]
    assert (left.stated, left.doubted, left.denied, left.unread) == (["A"], ["B"], ["C"], ["D"])


def test_what_a_verdict_decided_for_the_reader_is_no_error_left() -> None:
    of = grid(hits=0, read_only=3, coded_only=3)
    left = undecided(of, verdicts(of, ["stated", "not_stated", "doubtful"], ["stated", "not_stated"]))
    assert [d.report for d in left] == ["R1", "R3", "R5"]


def test_the_kept_marks_are_two_hundred_single_words() -> None:
    marks = [Mark.model_validate(json.loads(line)) for line in (MARKS / "polarity.jsonl").read_text().splitlines()]
    assert len({m.place for m in marks}) == 200
    assert all(m.word.isalpha() and m.end - m.start == len(m.word) for m in marks)


def test_marks_of_another_collection_are_refused() -> None:
    report = CodedReport(report_id="A", findings="Invented.", impression="", coded=(), gold14=None)
    with pytest.raises(NotScorable, match="is not in this collection"):
        read_marks([report])


@pytest.mark.data
def test_every_mark_stands_where_it_was_marked(data: Path) -> None:
    assert len(read_marks(read_reports(data))) == 200


def test_reports_that_nobody_coded_have_no_coding_rather_than_none_of_the_heads(tmp_path: Path) -> None:
    (tmp_path / "radiographs").mkdir()
    rows = [
        {
            "report_id": "A",
            "findings": " Invented. ",
            "impression": None,
            "mesh_major": ["No Indexing"],
            "gold14": None,
        },
        {"report_id": "B", "findings": None, "impression": "Invented.", "mesh_major": ["A  b/left"], "gold14": []},
        {"report_id": "C", "findings": None, "impression": None, "mesh_major": ["normal"], "gold14": ["normal"]},
    ]
    (tmp_path / "radiographs" / "reports_iu.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    first, second = read_reports(tmp_path)
    assert (first.coded, first.gold14, first.findings) == (None, None, "Invented.")
    assert (second.coded, second.gold14) == (("A b/left",), ())


def test_findings_of_a_rival_are_compared_with_concepts_that_exist() -> None:
    ontology = load()
    assert not [slug for slugs in RADLABELS.values() for slug in slugs if slug not in ontology]


def test_a_rival_that_is_not_installed_says_so() -> None:
    with pytest.raises(MissingDependency, match="is not installed"):
        _library("no_such_rival")
