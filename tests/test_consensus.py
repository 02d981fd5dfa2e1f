"""Drafts by consensus: what may be said, on what it rests, on which side. Every report is invented."""

import hashlib
import random
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from itertools import combinations
from pathlib import Path

import pytest
from pydantic import ValidationError

from generation.claims import Claim, contradict, is_device
from generation.consensus import POLICY, READING_ORDER, Consensus, Policy, draft_findings
from generation.reports import read_case, read_sentence
from generation.statements import PreparedStatements, Statements, prepare_statements, summarise
from generation.wording import on_its_side
from retrieval.errors import StoreCorrupt
from retrieval.extraction.extractor import Extractor
from retrieval.extraction.sentences import sentence_spans
from retrieval.ontology.ontology import load
from retrieval.records import Case, CaseId, CaseImage, ImageDigest, PatientKey, RetrievedCase, StudyUid
from retrieval.sections import compose_report
from retrieval.stores.documents import seal, unseal

NORMAL = [
    "Heart size is normal.",
    "The heart is normal in size.",
    "The mediastinum is unremarkable.",
    "Lungs are clear.",
    "The lungs are clear bilaterally.",
    "No focal consolidation, pleural effusion, or pneumothorax.",
    "No pneumothorax.",
    "No pleural effusion or pneumothorax.",
    "No acute bony abnormality.",
    "Pulmonary vascularity is normal.",
]
ABNORMAL = [
    "Small left pleural effusion.",
    "Small right pleural effusion.",
    "Bilateral pleural effusions.",
    "Mild cardiomegaly.",
    "The heart is enlarged.",
    "Left basilar atelectasis.",
    "Streaky right basilar atelectasis.",
    "Low lung volumes.",
    "The lungs are hyperexpanded.",
    "Tortuous aorta.",
    "Flattened diaphragms.",
    "Degenerative changes of the thoracic spine.",
    "Calcified granuloma in the right upper lobe.",
    "Patchy opacity at the left base.",
    "Mild pulmonary edema.",
]
# What one patient's report may say and another's draft may not, with the words to look for afterwards.
OWN = [
    ("{}, unchanged from the previous one", ("unchanged", "previous")),
    ("{}, larger since the comparison", ("larger", "since", "comparison")),
    ("Again, {}", ("again",)),
    ("Stable {}", ("stable",)),
    ("{} on 03/14/2011", ("03/14", "2011")),
    ("{}, first noticed in March", ("march",)),
    ("{} measuring 1.5 cm", ("1.5", "cm")),
    ("{} of 14 mm", ("14", "mm")),
    ("{}, reported to Dr. Halloway", ("halloway",)),
    ("{}, as Okonkwo{} noted", ("okonkwo",)),
    ("{}, tip of the Medtronic pacemaker lead", ("medtronic", "pacemaker", "lead")),
    ("{} beside a right subclavian catheter", ("subclavian", "catheter")),
    ("{} below the sternal wires", ("sternal", "wires")),
    ("XXXX {}", ("xxxx",)),
    ("{} as seen on CT", ("ct",)),
    ("{} in this patient with cough", ("patient", "cough")),
]
EXTRACTOR = Extractor(load())
FORBIDDEN = {word for _, words in OWN for word in words}


def case(case_id: str, findings: str = "", impression: str = "") -> Case:
    return Case(
        case_id=CaseId(case_id),
        patient_key=PatientKey(f"patient of {case_id}"),
        study_instance_uid=StudyUid(f"study of {case_id}"),
        images=(CaseImage(digest=ImageDigest("0" * 64), view="PA"),),
        report=compose_report(findings=findings, impression=impression),
        source="invented",
        licence="none",
        content="0" * 64,
    )


def retrieved(reports: Sequence[str]) -> list[RetrievedCase]:
    return [
        RetrievedCase(case=case(f"case-{i:03}", text), rank=i + 1, similarity=0.95 - i / 200)
        for i, text in enumerate(reports)
    ]


def usual(*reports: str, normal: int = 60) -> PreparedStatements:
    """What is usual where most are normal and each given report was written four times."""
    texts = [" ".join(NORMAL)] * normal + [text for text in reports for _ in range(4)]
    return prepare_statements(summarise(case(f"index-{i:03}", text) for i, text in enumerate(texts)))


def texts(consensus: Consensus) -> list[str]:
    return [s.text for s in consensus.sentences]


@cache
def claims(sentence: str) -> frozenset[Claim]:
    """Read every sentence once: the property tests ask for the same ones again and again."""
    return read_sentence(sentence).claims


def split(text: str) -> list[str]:
    return [text[start:end] for start, end in sentence_spans(text)]


def present(slug: str) -> Claim:
    return Claim("present", load()[slug].id)


def random_report(rng: random.Random, likely: Sequence[str]) -> str:
    """Sentences of which many carry something of their own patient; all that follows the finding is dropped with it."""
    said = rng.sample(NORMAL, 4) + [s for s in likely if rng.random() < 0.6]
    rng.shuffle(said)
    for i, sentence in enumerate(said):
        if rng.random() < 0.4:
            frame, _ = rng.choice(OWN)
            said[i] = frame.replace("{}", sentence.removesuffix("."), 1).replace("{}", f"{rng.random()}"[2:]) + "."
    return " ".join(said)


def random_index() -> PreparedStatements:
    rng = random.Random(0)
    reports = [random_report(rng, rng.sample(ABNORMAL, rng.choice([0, 0, 1]))) for _ in range(150)]
    return prepare_statements(summarise(case(f"index-{i:03}", text) for i, text in enumerate(reports)))


def random_drafts(count: int) -> list[tuple[list[RetrievedCase], Consensus]]:
    rng, statements = random.Random(1), random_index()
    drafts = []
    for _ in range(count):
        likely = rng.sample(ABNORMAL, rng.randint(0, 5))
        cases = retrieved([random_report(rng, likely) for _ in range(rng.randint(8, 24))])
        drafts.append((cases, draft_findings(cases, statements)))
    return drafts


def digest_of_drafts() -> str:
    return hashlib.sha256("".join(c.model_dump_json() for _, c in random_drafts(15)).encode()).hexdigest()


@pytest.fixture(scope="module")
def drafts() -> list[tuple[list[RetrievedCase], Consensus]]:
    return random_drafts(240)


def test_nothing_of_another_patient_is_carried_over(drafts: list[tuple[list[RetrievedCase], Consensus]]) -> None:
    reports = " ".join(c.case.report.text for cases, _ in drafts for c in cases).casefold()
    assert all(word in reports for word in FORBIDDEN)
    drafted = [text for _, consensus in drafts for text in texts(consensus)]
    assert sum(text in ABNORMAL for text in drafted) > 100
    for text in drafted:
        words = text.casefold().replace(".", " ").replace(",", " ").split()
        assert not FORBIDDEN & set(words)
        assert not any(ch.isdigit() for ch in text)


def test_no_draft_contradicts_itself(drafts: list[tuple[list[RetrievedCase], Consensus]]) -> None:
    for _, consensus in drafts:
        made = {c for text in texts(consensus) for c in claims(text)}
        assert not any(contradict(a, b) for a, b in combinations(made, 2))
        # The same without the rules of claims: what one sentence states, no other denies.
        mentions = EXTRACTOR.read(" ".join(texts(consensus)))
        said = {kind: {m.concept for m in mentions if m.certainty == kind} for kind in ("present", "absent")}
        assert not said["present"] & said["absent"]


def test_every_sentence_rests_on_voting_cases_that_claim_it(
    drafts: list[tuple[list[RetrievedCase], Consensus]],
) -> None:
    for cases, consensus in drafts:
        assert consensus.voters == min(len(cases), POLICY.voters)
        ids = [c.case.case_id for c in cases[: consensus.voters]]
        said = {c.case.case_id: {x for t in split(c.case.report.findings) for x in claims(t)} for c in cases}
        for s in consensus.sentences:
            assert s.support.of == consensus.voters
            assert len(s.support.case_ids) >= POLICY.min_support
            # Nearest first, and none twice.
            assert list(s.support.case_ids) == [i for i in ids if i in set(s.support.case_ids)]
            present = {c for c in claims(s.text) if c.polarity == "present"}
            assert s.abnormal == bool(present)
            assert all((present or claims(s.text)) <= said[case_id] for case_id in s.support.case_ids)


def test_a_drafted_sentence_is_written_word_for_word_in_a_report(
    drafts: list[tuple[list[RetrievedCase], Consensus]],
) -> None:
    written = {*NORMAL, *ABNORMAL}
    assert {text for _, consensus in drafts for text in texts(consensus)} <= written


def test_no_draft_names_a_side_that_most_of_its_support_does_not(
    drafts: list[tuple[list[RetrievedCase], Consensus]],
) -> None:
    named = 0
    for cases, consensus in drafts:
        reports = {c.case.case_id: split(c.case.report.findings) for c in cases}
        for s in consensus.sentences:
            for side, other in (("left", "right"), ("right", "left")):
                if s.abnormal and side in s.text.casefold():
                    named += 1
                    supporting = [reports[case_id] for case_id in s.support.case_ids]
                    assert saying(supporting, side, s.text) >= max(1, saying(supporting, other, s.text))
    assert named > 50


def saying(reports: Sequence[Sequence[str]], side: str, sentence: str) -> int:
    """How many reports state what the sentence states on that side."""
    found = {c for c in claims(sentence) if c.polarity == "present"}
    return sum(
        any((side in t.casefold() or "bilateral" in t.casefold()) and found & claims(t) for t in report)
        for report in reports
    )


def test_the_same_cases_give_the_same_draft_in_every_process() -> None:
    # The order of Python's sets differs from one hash seed to the next.
    code = f"import runpy; print(runpy.run_path({str(Path(__file__))!r})['digest_of_drafts']())"
    digests = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": str(Path(__file__).parent.parent)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for seed in ("1", "2")
    }
    assert digests == {digest_of_drafts()}


def test_the_order_in_which_statements_were_kept_changes_no_draft(
    drafts: list[tuple[list[RetrievedCase], Consensus]],
) -> None:
    kept = random_index()
    turned = PreparedStatements(
        rates=dict(reversed(kept.rates.items())),
        vocabulary=kept.vocabulary,
        phrases=dict(reversed(kept.phrases.items())),
    )
    for cases, consensus in drafts[:40]:
        assert draft_findings(cases, turned) == consensus


def test_a_device_named_in_a_denial_is_not_drafted() -> None:
    report = "Lungs are clear. No pneumothorax beside the chest tube."
    assert texts(draft_findings(retrieved([report] * 12), usual(report))) == ["Lungs are clear."]


def test_nothing_is_drafted_from_nothing() -> None:
    assert draft_findings([], usual()) == Consensus(sentences=(), voters=0, dropped={})
    assert draft_findings([], PreparedStatements()).sentences == ()
    assert draft_findings(retrieved([""] * 8), usual()).sentences == ()


def test_nothing_is_drafted_in_words_that_no_index_has() -> None:
    cases = retrieved(["Small left pleural effusion."] * 8)
    assert texts(draft_findings(cases, usual("Small left pleural effusion."))) == ["Small left pleural effusion."]
    assert draft_findings(cases, PreparedStatements()).sentences == ()


def test_a_similarity_of_nothing_or_less_still_gives_a_draft() -> None:
    cases = [c.model_copy(update={"similarity": -0.1}) for c in retrieved(["Lungs are clear."] * 5)]
    assert texts(draft_findings(cases, usual())) == ["Lungs are clear."]


def test_a_finding_as_frequent_as_usual_is_not_drafted() -> None:
    reports = ["Mild cardiomegaly."] * 6 + ["Heart size is normal."] * 14
    ordinary = usual(*["Mild cardiomegaly."] * 7, normal=60)
    assert ordinary.rates[present("cardiomegaly")] > 0.3
    assert texts(draft_findings(retrieved(reports), ordinary)) == ["Heart size is normal."]
    assert texts(draft_findings(retrieved(reports), usual("Mild cardiomegaly."))) == ["Mild cardiomegaly."]


def test_a_finding_that_may_not_be_quoted_still_votes() -> None:
    reports = ["Stable cardiomegaly since 2009."] * 9 + ["Mild cardiomegaly."] * 1 + ["Lungs are clear."] * 4
    consensus = draft_findings(retrieved(reports), usual("Mild cardiomegaly."))
    (heart,) = [s for s in consensus.sentences if s.abnormal]
    assert heart.text == "Mild cardiomegaly."
    assert len(heart.support.case_ids) == 10
    assert consensus.dropped == {"DATE": 9}


def test_of_two_rivals_only_one_is_drafted() -> None:
    reports = ["Low lung volumes."] * 6 + ["The lungs are hyperexpanded."] * 5
    statements = usual("Low lung volumes.", "The lungs are hyperexpanded.")
    assert texts(draft_findings(retrieved(reports), statements)) == ["Low lung volumes."]
    assert texts(draft_findings(retrieved(reports[3:]), statements)) == ["The lungs are hyperexpanded."]


def test_a_grade_that_the_others_do_not_share_is_not_drafted() -> None:
    graded = [f"{grade} pleural effusion." for grade in ("Small", "Moderate", "Large")]
    plain = "Pleural effusion is present."
    assert texts(draft_findings(retrieved([*graded, plain] * 3), usual(*graded, plain))) == [plain]


def test_words_come_from_the_index_when_no_retrieved_sentence_may_be_quoted() -> None:
    reports = ["Stable cardiomegaly."] * 9
    consensus = draft_findings(retrieved(reports), usual("Mild cardiomegaly."))
    assert texts(consensus) == ["Mild cardiomegaly."]
    assert consensus.sentences[0].support.case_ids == tuple(f"case-{i:03}" for i in range(9))


def test_dropped_sentences_are_counted_by_reason_and_only_of_voters() -> None:
    reports = ["Stable cardiomegaly. Nodule of 5 mm. Nodule of 6 mm.", "Tip of the catheter at the atrium."]
    policy = Policy(voters=2)
    consensus = draft_findings(retrieved([*reports, "Seen by Dr. Halloway."]), usual(), policy)
    assert consensus.dropped == {"LONE_DEVICE": 1, "MEASUREMENT": 2, "PRIOR_REFERENCE": 1}
    assert consensus.voters == 2


def test_a_device_is_never_drafted() -> None:
    report = "Heart size is normal. Right jugular catheter in the atrium."
    consensus = draft_findings(retrieved([report] * 12), usual("Right jugular catheter in the atrium."))
    assert texts(consensus) == ["Heart size is normal."]


def test_a_lone_device_is_not_drafted_even_where_devices_are_allowed() -> None:
    policy = Policy(never=(), min_count=1, min_support=1, rare_lift=1.0)
    statements = usual("Right jugular catheter in the atrium.")
    one = ["Right jugular catheter in the atrium. Lungs are clear."] + ["Lungs are clear."] * 7
    assert texts(draft_findings(retrieved(one), statements, policy)) == ["Lungs are clear."]
    two = ["Right jugular catheter in the atrium. Lungs are clear."] * 2 + ["Lungs are clear."] * 6
    assert "Right jugular catheter in the atrium." in texts(draft_findings(retrieved(two), statements, policy))


def test_no_device_is_ever_drafted() -> None:
    devices = {c.id for c in load().written if is_device(Claim("present", c.id))}
    never = {n for c in load().ids(POLICY.never) for n in load().descendants(c)}
    assert devices <= never


def test_a_policy_that_names_no_concept_is_refused() -> None:
    with pytest.raises(ValidationError, match="no concept"):
        Policy(never=("pacemakers",))


LEFT, RIGHT, NO_SIDE = "Small left pleural effusion.", "Small right pleural effusion.", "Small pleural effusion."


def effusions(**sides: int) -> list[str]:
    """Reports with an effusion: quoted words for `right`, and words that cannot be quoted for `left`."""
    return ["Stable left pleural effusion."] * sides.get("left", 0) + [RIGHT] * sides.get("right", 0)


@pytest.mark.parametrize(("left", "right"), [(5, 4), (8, 1), (9, 3)])
def test_a_side_is_not_drafted_from_cases_that_mostly_say_the_other(left: int, right: int) -> None:
    # Every sentence that may be quoted says right, and so does the index's phrase.
    statements = usual(RIGHT, RIGHT)
    assert statements.phrases[present("pleural_effusion")][1].text == RIGHT
    assert draft_findings(retrieved(effusions(left=left, right=right)), statements).sentences == ()


@pytest.mark.parametrize(("left", "right"), [(4, 4), (3, 5), (0, 6)])
def test_a_side_is_drafted_when_no_more_cases_say_the_other(left: int, right: int) -> None:
    reports = effusions(left=left, right=right)
    assert texts(draft_findings(retrieved(reports), usual(RIGHT))) == [RIGHT]


def test_a_sentence_without_side_is_taken_where_the_named_side_is_outvoted() -> None:
    reports = effusions(left=6, right=5)
    # From a case further down than the voters, and from the index.
    assert texts(draft_findings(retrieved([*reports, NO_SIDE]), usual(RIGHT, NO_SIDE), Policy(voters=11))) == [NO_SIDE]
    assert texts(draft_findings(retrieved(reports), usual(NO_SIDE, NO_SIDE))) == [NO_SIDE]


def test_a_side_that_no_supporting_case_names_is_not_drafted() -> None:
    reports = ["Stable pleural effusion."] * 8
    assert draft_findings(retrieved(reports), usual(LEFT, LEFT)).sentences == ()


@pytest.mark.parametrize(
    ("sentence", "sides"),
    [
        (LEFT, {"left"}),
        (RIGHT, {"right"}),
        (NO_SIDE, set()),
        ("Lingular atelectasis.", {"left"}),
        ("Bibasilar atelectasis.", {"left", "right"}),
        ("Atelectasis at both bases.", {"left", "right"}),
        ("Atelectasis, right greater than left.", {"left", "right"}),
    ],
)
def test_the_sides_of_a_sentence_are_read_from_its_words(sentence: str, sides: set[str]) -> None:
    assert read_sentence(sentence).sides == sides


def test_a_case_with_both_sides_counts_for_each() -> None:
    voters = [read_case(case("a", "Bilateral pleural effusions.")), read_case(case("b", RIGHT))]
    assert on_its_side(read_sentence(RIGHT), voters)
    assert not on_its_side(read_sentence(LEFT), voters)
    assert on_its_side(read_sentence("No left pleural effusion."), voters)


def test_a_place_that_few_supporting_cases_share_is_flagged() -> None:
    apart = ["Left upper lobe atelectasis."] * 3 + ["Stable atelectasis."] * 4
    (sentence,) = draft_findings(retrieved(apart), usual("Left upper lobe atelectasis.")).sentences
    (flag,) = sentence.flags
    assert flag.code == "PLACE_DIFFERS"
    assert flag.explanation == "only 3 of 7 supporting cases put this in the same place"
    together = ["Left upper lobe atelectasis."] * 3 + ["Stable left upper lobe atelectasis."] * 4
    (sentence,) = draft_findings(retrieved(together), usual("Left upper lobe atelectasis.")).sentences
    assert sentence.flags == ()


def test_a_draft_is_read_from_the_heart_to_the_devices_unless_another_order_is_asked_for() -> None:
    cases = retrieved([" ".join(reversed(NORMAL))] * 6)
    topics = [s.topic for s in draft_findings(cases, usual()).sentences]
    assert topics == sorted(topics, key=READING_ORDER.index)
    assert topics[0] == "heart"
    turned = Policy(order=READING_ORDER[::-1])
    topics = [s.topic for s in draft_findings(cases, usual(), turned).sentences]
    assert topics == sorted(topics, key=READING_ORDER[::-1].index)
    assert topics[-1] == "heart"


def test_a_reading_order_that_forgets_a_topic_is_refused() -> None:
    with pytest.raises(ValidationError, match="a reading order names each of"):
        Policy(order=READING_ORDER[:-1])


def test_the_identity_of_a_policy_changes_with_every_setting() -> None:
    changed = [Policy(voters=20), Policy(never=()), Policy(order=READING_ORDER[::-1])]
    assert len({POLICY.identity, *(p.identity for p in changed)}) == 4
    assert changed[0].identity.endswith('{"voters":20}')
    assert POLICY.identity == Policy().identity


def statements_of(*reports: str) -> Statements:
    return summarise(case(f"case-{i:03}", text) for i, text in enumerate(reports))


def test_statements_survive_being_sealed() -> None:
    statements = statements_of(*[LEFT + " " + NORMAL[0]] * 5, *["Tortuous aorta."] * 4)
    assert statements.phrases
    assert unseal(Statements, "statements", seal(statements)) == statements
    assert unseal(Statements, "statements", seal(Statements())) == Statements()
    prepared = prepare_statements(unseal(Statements, "statements", seal(statements)))
    assert prepared == prepare_statements(statements)
    assert prepared.rates[present("pleural_effusion")] == pytest.approx(5 / 9)
    assert prepared.phrases[present("tortuous_aorta")] == ("case-005", read_sentence("Tortuous aorta."))


def test_statements_about_something_that_is_no_claim_are_refused() -> None:
    sealed = seal(statements_of(*["Tortuous aorta."] * 4).model_copy(update={"rates": {"Aorta": 0.5}}))
    with pytest.raises(StoreCorrupt):
        unseal(Statements, "statements", sealed)


def test_statements_count_reports_and_read_the_impression_only_without_findings() -> None:
    cases = [
        case("a", findings="Mild cardiomegaly.", impression="Pleural effusion."),
        case("b", impression="Pleural effusion."),
        case("c"),
    ]
    statements = summarise(cases)
    assert statements.cases == 2
    assert statements.rates == {str(present("cardiomegaly")): 0.5, str(present("pleural_effusion")): 0.5}


def test_no_phrase_belongs_to_one_patient_or_says_more_than_its_finding() -> None:
    assert statements_of(*["Stable cardiomegaly."] * 9).phrases == {}
    assert statements_of(*["Cardiomegaly and pleural effusion."] * 9).phrases == {}
    assert statements_of(*["No pleural effusion."] * 9, *["Heart size is normal."] * 9).phrases == {}


def test_an_index_without_reports_has_no_habits() -> None:
    assert summarise([]) == Statements()
    assert summarise([case("a")]) == Statements()


def test_a_word_of_few_reports_is_not_ordinary() -> None:
    assert "aorta" not in statements_of(*["Tortuous aorta."] * 3).vocabulary
    statements = statements_of(*["Tortuous aorta."] * 4, "Tortuous aorta of Halloway.")
    assert statements.vocabulary == ("aorta", "tortuous")


def test_the_order_of_cases_changes_no_statement() -> None:
    cases = [case(f"{i:02}", s) for i, s in enumerate([*ABNORMAL, *NORMAL, *ABNORMAL, *ABNORMAL, *ABNORMAL])]
    statements = summarise(cases)
    assert len(statements.phrases) > 5
    for seed in range(5):
        assert summarise(random.Random(seed).sample(cases, len(cases))) == statements


def test_an_erased_case_leaves_no_byte_of_its_sentence_in_statements() -> None:
    # Its words are ordinary ones, so that the sentence is the phrase for its finding while the case is there.
    words = ["Tortuous aorta.", "Mild kyphosis and scoliosis of the thoracic spine."]
    others = [case(f"other-{i}", text) for i, text in enumerate(words * 4)]
    erased = case("erased", "Mild kyphosis of the thoracic spine.")
    sentence = b"Mild kyphosis of the thoracic spine."
    assert sentence in seal(summarise([*others, erased]))
    without = seal(summarise(others))
    assert sentence not in without
    assert b"erased" not in without
