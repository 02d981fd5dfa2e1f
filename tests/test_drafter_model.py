"""Drafts that a language model writes: what each sentence rests on, what is left out, told and taken back.

Every report and every word of the language model is invented.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from io import StringIO
from typing import Any, NamedTuple

import numpy as np
import pytest
from rich.console import Console

from evaluation.drawings import write_studies
from generation.decoding.blinding import noised
from generation.decoding.presets import PRESETS
from generation.draft import Draft, DraftEvent, Sentence
from generation.drafter import CUT_OFF, NO_CASES, NO_EXPERT, Drafter
from generation.halt import Halt
from generation.model_draft import MOST_SENTENCES
from generation.model_text import sentences_of
from generation.statements import Statements, summarise
from generation.writer import Writer, phrases_of
from retrieval.encoders.descriptor import DescriptorEncoder, features
from retrieval.errors import Cancelled, DeadlineExceeded, GeneratorUnavailable, Overloaded, PrelimError, RequestError
from retrieval.extraction.extractor import embedded
from retrieval.gate import Gate
from retrieval.look import Scope, look
from retrieval.ontology.ontology import load
from retrieval.pixels.sandbox import Readers
from retrieval.records import Case, PriorReport, StudyUid
from retrieval.retriever import Retriever
from retrieval.stores.memory import MemoryStore
from retrieval.stores.store import Entry
from retrieval.study import ReadStudy, read_study
from service.show import show_draft, show_event
from tests.scripted_writing import Says, Thinks
from tests.test_drafter_checks import case

NORMAL = "Heart size is normal. The lungs are clear. No pneumothorax."
LEFT = "Small left pleural effusion. Heart size is normal."
CASES = 12


class Drawn(NamedTuple):
    """Drawings, read, and the encoder fitted on them."""

    reads: list[ReadStudy]
    encoder: DescriptorEncoder


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Drawn:
    images = write_studies(tmp_path_factory.mktemp("drawn"), CASES, seed=7).parent / "images"
    with Readers(features, look=look, workers=1, keep="pixels") as readers:
        reads = [read_study([image], readers, view="PA") for image in sorted(images.glob("*.png"))]
    return Drawn(reads, DescriptorEncoder.fit(np.concatenate([read.batch() for read in reads])))


def statements(*reports: str) -> Statements:
    usual = ["Heart size is normal. Lungs are clear. No pneumothorax. Small left pleural effusion."] * 60
    return summarise(case(i, text) for i, text in enumerate([*usual, *reports]))


def read_case(number: int, findings: str) -> Case:
    unread = case(number, findings)
    return unread.model_copy(update={"concepts": embedded().read_report(unread.report)})


def drafter(drawn: Drawn, writer: Writer | None, *reports: str) -> Drafter:
    """A drafter over an index whose cases have these reports in turn and look just like the study."""
    encoder = drawn.encoder
    store = MemoryStore(encoder.identity, encoder.dimension)
    vectors = encoder.finish(encoder.run(drawn.reads[0].batch()))
    store.stage([Entry(read_case(i, reports[i % len(reports)]), vectors) for i in range(CASES)])
    store.publish()
    gate = Gate(Scope(frontal=None, lateral=None))
    return Drafter(encoder, Retriever(store, encoder.identity), gate, statements(*reports), writer=writer)


def asked(drawn: Drawn, **more: Any) -> ReadStudy:
    return asked_with(drawn.reads[0], **more)


def asked_with(read: ReadStudy, **more: Any) -> ReadStudy:
    return replace(read, study=read.study.model_copy(update=more))


def prior(text: str) -> tuple[PriorReport, ...]:
    return (PriorReport(study_instance_uid=StudyUid("1"), text=text),)


def write(
    drawn: Drawn, text: str, *reports: str, experts: tuple[Thinks, ...] = (), study: dict[str, Any] | None = None
) -> Draft:
    """The draft of a language model that writes this text, beside cases with these reports."""
    made = drafter(drawn, Writer(Says(text), experts=experts), *(reports or (NORMAL,)))
    return made.draft(asked(drawn, **(study or {})))


def codes(sentence: Sentence) -> list[str]:
    return [flag.code for flag in sentence.flags]


# What a sentence rests on.


def test_a_sentence_rests_on_the_cases_that_say_the_same(drawn: Drawn) -> None:
    draft = write(drawn, "FINDINGS: Small left pleural effusion. No pneumothorax.", LEFT, NORMAL)
    effusion, denial = draft.sentences
    assert (draft.status, effusion.abnormal, denial.abnormal) == ("drafted", True, False)
    assert (effusion.topic, denial.topic) == ("pleura", "pleura")
    known = {c.case.case_id: c.case.report.findings for c in draft.evidence.cases}
    assert {known[i] for i in effusion.support.case_ids} == {LEFT}
    assert {known[i] for i in denial.support.case_ids} == {NORMAL}
    assert (len(effusion.support.case_ids), effusion.support.of) == (CASES // 2, CASES)


def test_cases_with_the_finding_on_the_other_side_support_nothing(drawn: Drawn) -> None:
    (sentence,) = write(drawn, "Small right pleural effusion.", LEFT).sentences
    assert sentence.support.case_ids == ()
    assert "UNSUPPORTED" in codes(sentence)


def test_a_sentence_of_two_findings_needs_cases_with_both(drawn: Drawn) -> None:
    both = "Cardiomegaly and left pleural effusion."
    (sentence,) = write(drawn, both, LEFT, both).sentences
    assert len(sentence.support.case_ids) == CASES // 2


@pytest.mark.parametrize(
    ("text", "probability", "supported"),
    [
        ("There is a pleural effusion.", 0.9, True),
        ("There is a pleural effusion.", 0.5, False),
        ("There is no pleural effusion.", 0.1, True),
        ("There is no pleural effusion.", 0.5, False),
        ("A pleural effusion is possible.", 0.5, True),
    ],
)
def test_an_expert_supports_what_its_band_says(drawn: Drawn, text: str, probability: float, supported: bool) -> None:
    (sentence,) = write(drawn, text, experts=(Thinks(pleural_effusion=probability),)).sentences
    assert sentence.support.experts == (("an-expert",) if supported else ())


def test_a_normal_heart_rests_on_an_expert_that_finds_it_not_enlarged(drawn: Drawn) -> None:
    (sentence,) = write(drawn, "The heart is normal in size.", LEFT, experts=(Thinks(cardiomegaly=0.05),)).sentences
    assert sentence.support.experts == ("an-expert",)
    (sentence,) = write(drawn, "The heart is normal in size.", LEFT, experts=(Thinks(cardiomegaly=0.5),)).sentences
    assert sentence.support.experts == ()


def test_an_earlier_study_supports_what_it_says_and_bears_words_of_change(drawn: Drawn) -> None:
    earlier = {"priors": prior("FINDINGS: Moderate cardiomegaly.")}
    text = "Cardiomegaly is unchanged from the prior study. There is a right pleural effusion."
    heart, effusion = write(drawn, text, study=earlier).sentences
    assert (heart.support.prior, effusion.support.prior) == (True, False)
    assert write(drawn, text).dropped == {"PRIOR_REF": 1}


def test_what_an_earlier_study_denies_is_not_called_unchanged_without_a_flag(drawn: Drawn) -> None:
    earlier = {"priors": prior("FINDINGS: There is no pleural effusion.")}
    text = "A left pleural effusion is unchanged since the prior study. IMPRESSION: New large right pneumothorax."
    unchanged, new = write(drawn, text, study=earlier).sentences
    assert (unchanged.support.prior, new.support.prior) == (False, False)
    assert codes(unchanged) == ["CHANGE_NO_EVID", "UNSUPPORTED"]
    assert "UNSUPPORTED" in codes(new)


def test_a_change_of_what_no_earlier_report_speaks_of_is_flagged(drawn: Drawn) -> None:
    earlier = {"priors": prior("FINDINGS: Moderate cardiomegaly.")}
    (sentence,) = write(drawn, "The left pleural effusion has increased.", LEFT, study=earlier).sentences
    assert "CHANGE_NO_EVID" in codes(sentence)
    assert not sentence.support.prior


def test_an_abnormal_sentence_without_support_is_flagged_once(drawn: Drawn) -> None:
    (sentence,) = write(drawn, "There is a hiatal hernia.").sentences
    assert codes(sentence) == ["UNSUPPORTED"]
    assert sentence.flags[0].severity == "soft"


def test_a_sentence_against_what_the_experts_settled_is_left_out_and_what_they_found_is_asked_for(drawn: Drawn) -> None:
    expert = Thinks(pneumothorax=0.95)
    draft = write(drawn, "Heart size is normal. There is no pneumothorax.", experts=(expert,))
    assert ([s.text for s in draft.sentences], draft.dropped) == (["Heart size is normal."], {"CONTRA_EXPERT": 1})
    assert [w.split(":")[0] for w in draft.warnings if w.startswith("OMIT")] == ["OMIT_EXPERT"]
    assert draft.experts is not None
    assert draft.experts.expert == "an-expert"


def test_a_draft_of_which_nothing_is_left_still_says_what_the_experts_found(drawn: Drawn) -> None:
    draft = write(drawn, "There is no pneumothorax.", experts=(Thinks(pneumothorax=0.95),))
    assert (draft.reason, draft.dropped) == ("NOTHING_LEFT", {"CONTRA_EXPERT": 1})
    assert [w.split(":")[0] for w in draft.warnings if w.startswith("OMIT")] == ["OMIT_EXPERT"]


# What stays out, whatever the language model writes.


@pytest.mark.parametrize(
    ("text", "kept", "dropped"),
    [
        ("", [], {}),
        ("FINDINGS:", [], {}),
        ("FINDINGS:\n\nIMPRESSION:\n", [], {}),
        ("\ufffd\ufffd \x00\x1b[2J \u202e", [], {}),
        ("<|im_start|>assistant", [], {}),
        ("Heart size is normal.<|im_end|>", ["Heart size is normal."], {}),
        ("**Heart size** is \x1b[31mnormal\x1b[0m\u200b.", ["Heart size is normal."], {}),
        ("Heart size is nor\ufffdmal.", ["Heart size is normal."], {}),
        ("Heart size is normal. Unchanged since the prior study.", ["Heart size is normal."], {"PRIOR_REF": 1}),
        ("Heart size is normal. A nodule of 1.5 cm is seen.", ["Heart size is normal."], {"MEASURE": 1}),
        ("Heart size is normal. Discussed with Dr. Halloway.", ["Heart size is normal."], {"NAME": 1}),
        ("Heart size is normal. Mrs. Halloway has emphysema.", ["Heart size is normal."], {"NAME": 1}),
        ("Heart size is normal. Compared with ___ the lungs are clear.", ["Heart size is normal."], {"NAME": 1}),
        ("Mild cardiomegaly. There is no cardiomegaly.", ["Mild cardiomegaly."], {"INTERNAL": 1}),
        ("The lungs are clear.\n" * 50, ["The lungs are clear."], {"REPEAT": 49}),
        ("INDICATION: Cough. FINDINGS: The lungs are clear.", ["The lungs are clear."], {"OTHER_SECTION": 1}),
        ("The lungs are clear. RECOMMENDATION: CT.", ["The lungs are clear."], {"OTHER_SECTION": 1}),
    ],
)
def test_hostile_and_wrong_text_leaves_only_what_may_stand(
    drawn: Drawn, text: str, kept: list[str], dropped: dict[str, int]
) -> None:
    draft = write(drawn, text)
    assert [s.text for s in draft.sentences] == kept
    assert draft.dropped == dropped
    assert draft.status == ("drafted" if kept else "abstained")
    assert draft.reason == (None if kept else "NOTHING_LEFT")
    assert draft.writing is not None  # also an abstention says what was written
    assert Draft.model_validate_json(draft.model_dump_json()) == draft


def test_a_thousand_sentences_are_read_up_to_a_bound(drawn: Drawn) -> None:
    text = " ".join(f"There is a nodule in the {'right' if n % 2 else 'left'} lung number{n}." for n in range(1000))
    draft = write(drawn, text)
    assert draft.dropped["TOO_MANY"] == 1000 - MOST_SENTENCES
    assert 0 < len(draft.sentences) <= MOST_SENTENCES


def test_a_sentence_that_was_cut_off_is_left_out(drawn: Drawn) -> None:
    for text, kept in (("The lungs are clear. There is no pneu", 1), ("The lungs are clear. No pneumothorax.", 2)):
        made = drafter(drawn, Writer(Says(text, finish="length")), NORMAL).draft(drawn.reads[0])
        assert len(made.sentences) == kept
        assert made.dropped == ({} if kept == 2 else {"CUT_OFF": 1})


def test_a_draft_that_ended_at_its_length_says_so(drawn: Drawn) -> None:
    for finish, warned in (("length", True), ("end", False), ("stop", False)):
        made = drafter(drawn, Writer(Says(NORMAL, finish=finish)), NORMAL).draft(drawn.reads[0])  # type: ignore[arg-type]
        assert (CUT_OFF in made.warnings) == warned


def test_a_rare_capitalised_word_of_another_patient_s_report_is_taken_for_a_name(drawn: Drawn) -> None:
    reports = (NORMAL, "Effusion as described by Halloway. Heart size is normal.")
    draft = write(drawn, "The heart of Halloway is enlarged. Heart size of Zyx is normal.", *reports)
    assert draft.dropped == {"NAME": 1}
    assert ["NAME_LIKE" in codes(s) for s in draft.sentences] == [True]


def test_eponyms_and_words_of_the_request_are_no_names(drawn: Drawn) -> None:
    asked_for = {"indication": "Check the Halloway valve."}
    draft = write(drawn, "Kerley lines are seen. The valve of Halloway is seen.", study=asked_for)
    assert [code for s in draft.sentences for code in codes(s) if "NAME" in code] == []


def test_words_that_no_ontology_knows_are_said_to_be_unchecked_and_make_no_draft_alone(drawn: Drawn) -> None:
    draft = write(drawn, "The lungs are clear. Blorp zzz qux.")
    assert [codes(s) for s in draft.sentences] == [[], ["UNREAD"]]
    assert draft.sentences[1].topic == "other"
    assert draft.sentences[1].support.case_ids == ()
    assert write(drawn, "Blorp zzz qux.").reason == "NOTHING_LEFT"


def test_findings_and_impression_stay_apart(drawn: Drawn) -> None:
    draft = write(drawn, "The lungs are clear. No pneumothorax.\nIMPRESSION:\n1. Normal heart size.\n2. Clear lungs.")
    assert draft.findings == "The lungs are clear. No pneumothorax."
    assert draft.impression == "Normal heart size. Clear lungs."


def test_the_impression_may_not_put_a_finding_on_the_other_side(drawn: Drawn) -> None:
    draft = write(drawn, "Left pleural effusion. IMPRESSION: Right pleural effusion.", LEFT)
    assert ([s.text for s in draft.sentences], draft.dropped) == (["Left pleural effusion."], {"LATERALITY": 1})


# Sentences in a text.


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "The tip is at rib No. 3. It measures 1.5 cm. Clear.",
            ["The tip is at rib No. 3.", "It measures 1.5 cm.", "Clear."],
        ),
        ("Fracture of rib no. 7 is seen", ["Fracture of rib no. 7 is seen"]),
        ("Heart:\nNormal in size.\nLungs: Clear.", ["Heart: Normal in size.", "Lungs: Clear."]),
        ("1. Effusion.\n2. No. 4 rib fracture.", ["Effusion.", "No. 4 rib fracture."]),
        ("## Findings\n* Clear lungs\n* Normal heart", ["Clear lungs", "Normal heart"]),
        ("Seen by Dr. Who at 5 p.m. and again.", ["Seen by Dr. Who at 5 p.m. and again."]),
        ("Lungs:", []),
    ],
)
def test_a_text_is_cut_where_its_sentences_end(text: str, expected: list[str]) -> None:
    assert [written.text for written in sentences_of(text)] == expected


@pytest.mark.parametrize(
    "text",
    [
        "The lungs are clear. No pneumothorax. IMPRESSION: 1. Normal heart. 2. Rib No. 3 fracture of 1.5 cm. Done.",
        "FINDINGS:\nHeart:\nNormal in size.\n\nLungs: Clear\nNo effusion\n\nIMPRESSION\nNormal chest. See above.",
        "**Findings:** Clear lungs.<|im_end|> COMPARISON: None. Impression: Nothing.",
    ],
)
def test_a_complete_sentence_does_not_change_while_the_rest_is_written(text: str) -> None:
    whole = sentences_of(text)
    for end in range(len(text)):
        complete = sentences_of(text[:end])[:-1]
        assert complete == whole[: len(complete)], text[:end]


# Telling.


def told_while(
    drawn: Drawn, says: Says, *reports: str, experts: tuple[Thinks, ...] = ()
) -> tuple[Draft, list[tuple[str, int, str, int]]]:
    """The draft, and each event with how far the text had been written."""
    events: list[tuple[str, int, str, int]] = []

    def tell(event: DraftEvent) -> None:
        events.append((event.event, event.number, event.sentence.text, says.written))

    made = drafter(drawn, Writer(says, experts=experts), *(reports or (NORMAL,)))
    return made.draft(drawn.reads[0], tell), events


def test_a_sentence_is_told_once_it_is_complete_and_before_the_text_ends(drawn: Drawn) -> None:
    says = Says("The lungs are clear. No pneumothorax. A nodule of 3 mm. Heart size is normal.")
    draft, events = told_while(drawn, says)
    assert [(event, text) for event, _, text, _ in events] == [("sentence", s.text) for s in draft.sentences]
    assert [number for _, number, _, _ in events] == [0, 1, 2]
    assert [written for *_, written in events] == sorted(written for *_, written in events)
    assert events[0][3] < len("The lungs are clear. No pneumothorax.")
    assert events[-1][3] == len(says.text)


def test_a_sentence_that_something_later_speaks_against_is_withdrawn(drawn: Drawn) -> None:
    says = Says(
        "IMPRESSION: No pleural effusion. Heart size is normal. FINDINGS: Large left pleural effusion. Clear lungs."
    )
    draft, events = told_while(drawn, says, LEFT)
    told = [(event, text) for event, _, text, _ in events]
    assert ("sentence", "No pleural effusion.") in told
    assert ("withdrawn", "No pleural effusion.") in told
    assert told.index(("withdrawn", "No pleural effusion.")) > told.index(("sentence", "No pleural effusion."))
    assert {s.text for s in draft.sentences} == {t for e, t in told if e == "sentence"} - {
        t for e, t in told if e == "withdrawn"
    }
    numbers = {text: number for event, number, text, _ in events if event == "sentence"}
    assert all(numbers[text] == number for event, number, text, _ in events if event == "withdrawn")


def test_nothing_is_told_of_a_sentence_that_a_check_leaves_out(drawn: Drawn) -> None:
    _, events = told_while(drawn, Says("Discussed with Dr. Halloway. A nodule of 3 mm. No pneumothorax. Clear lungs."))
    assert [text for _, _, text, _ in events] == ["No pneumothorax.", "Clear lungs."]


def test_a_draft_of_similar_cases_is_told_sentence_by_sentence_too(drawn: Drawn) -> None:
    events: list[DraftEvent] = []
    draft = drafter(drawn, None, NORMAL).draft(drawn.reads[0], events.append)
    assert draft.sentences
    assert [event.sentence for event in events] == list(draft.sentences)


# When the language model does not answer.


@pytest.mark.parametrize("error", [GeneratorUnavailable("down"), Overloaded("full", retry_after_s=1)])
def test_without_an_answer_similar_cases_stand_in_and_say_so(drawn: Drawn, error: PrelimError) -> None:
    says = Says("There is a hiatal hernia. No pneumothorax. And", error=error)
    draft, events = told_while(drawn, says)
    assert (draft.status, draft.fallback, draft.writing) == ("drafted", error.code, None)
    bare = drafter(drawn, None, NORMAL).draft(drawn.reads[0])
    assert (draft.sentences, draft.drafter) == (bare.sentences, bare.drafter)
    kinds = [event for event, *_ in events]
    assert kinds == ["sentence"] * 2 + ["withdrawn"] * 2 + ["sentence"] * len(draft.sentences)
    told = [number for event, number, *_ in events if event == "sentence"]
    assert told == list(range(len(told)))


def test_what_stands_in_is_held_against_the_experts_that_were_asked(drawn: Drawn) -> None:
    says, expert = Says("", error=GeneratorUnavailable("down")), Thinks(pneumothorax=0.95)
    draft, _ = told_while(drawn, says, experts=(expert,))
    assert (draft.status, draft.fallback, draft.dropped) == ("drafted", "GENERATOR_UNAVAILABLE", {"CONTRA_EXPERT": 1})
    assert "pneumothorax" not in draft.findings
    assert [w.split(":")[0] for w in draft.warnings if w.startswith("OMIT")] == ["OMIT_EXPERT"]
    draft, _ = told_while(drawn, says, "No pneumothorax.", experts=(expert,))
    assert (draft.reason, draft.dropped) == ("NO_CONSENSUS", {"CONTRA_EXPERT": 1})
    assert [w.split(":")[0] for w in draft.warnings if w.startswith("OMIT")] == ["OMIT_EXPERT"]


def test_without_an_answer_the_error_is_raised_where_that_is_wanted(drawn: Drawn) -> None:
    says = Says("No pneumothorax. A", error=GeneratorUnavailable("down"))
    with pytest.raises(GeneratorUnavailable):
        drafter(drawn, Writer(says, fallback="error"), NORMAL).draft(drawn.reads[0])


def test_who_hangs_up_gets_no_other_draft(drawn: Drawn) -> None:
    with pytest.raises(Cancelled):
        drafter(drawn, Writer(Says(NORMAL, cancels_after=3)), NORMAL).draft(drawn.reads[0])


def test_a_deadline_is_an_error_and_no_reason_to_fall_back(drawn: Drawn) -> None:
    with pytest.raises(DeadlineExceeded):
        drafter(drawn, Writer(Says(NORMAL, error=DeadlineExceeded("late"))), NORMAL).draft(drawn.reads[0])
    says = Says(NORMAL)
    with pytest.raises(DeadlineExceeded):
        drafter(drawn, Writer(says), NORMAL).draft(drawn.reads[0], halt=Halt(0))
    assert says.requests == []


# What is asked.


def test_a_study_out_of_scope_asks_neither_experts_nor_language_model(drawn: Drawn) -> None:
    says, expert = Says(NORMAL), Thinks(pneumothorax=0.5)
    read = drawn.reads[0]
    image = read.study.images[0]
    ct = image.model_copy(update={"attributes": image.attributes.model_copy(update={"modality": "CT"})})
    draft = drafter(drawn, Writer(says, experts=(expert,)), NORMAL).draft(asked(drawn, images=(ct,)))
    assert (draft.reason, says.requests, expert.asked) == ("OUT_OF_SCOPE_MODALITY", [], [])
    assert draft.drafter.startswith("language-model")


def test_without_a_similar_case_that_may_speak_the_model_still_writes_and_a_warning_says_so(drawn: Drawn) -> None:
    # Every case contradicts the expert.
    draft = write(drawn, "There is a pneumothorax.", NORMAL, experts=(Thinks(pneumothorax=0.95),))
    assert (draft.status, NO_CASES in draft.warnings) == ("drafted", True)
    (sentence,) = draft.sentences
    assert (sentence.support.of, sentence.support.experts) == (0, ("an-expert",))


def test_without_an_expert_the_prompt_and_a_warning_say_so(drawn: Drawn) -> None:
    says = Says(NORMAL)
    draft = drafter(drawn, Writer(says), NORMAL).draft(drawn.reads[0])
    assert NO_EXPERT in draft.warnings
    assert "No expert findings are available." in says.said("anchored")
    assert says.requests[0].phrases == ()


def test_the_prompts_are_made_of_indication_experts_and_cases_that_may_speak(drawn: Drawn) -> None:
    says = Says(NORMAL)
    study = asked(drawn, indication="Rule out pneumothorax.", priors=prior("FINDINGS: Zygomorphic opacity."))
    reports = ("Heart size is normal. There is a calcified granuloma.", "There is a large pneumothorax.")
    expert = Thinks(pneumothorax=0.05)
    draft = drafter(drawn, Writer(says, experts=(expert,)), *reports).draft(study)
    assert "Rule out pneumothorax" in says.said("study")
    assert "Zygomorphic" in says.said("study")
    assert "granuloma" in says.said("evidence")
    assert "large pneumothorax" not in says.said("evidence")
    assert draft.concepts is not None
    assert "pneumothorax" in {concept.slug for concept in draft.concepts.concepts if concept.indication}


def test_a_blinded_image_goes_only_to_the_preset_that_asks_for_it(drawn: Drawn) -> None:
    for preset, expected in (("plain", ["image-1"]), ("vcd", ["image-1", "image-1 noised"]), ("m3id", ["image-1"])):
        says = Says(NORMAL)
        drafter(drawn, Writer(says, preset=PRESETS[preset], seed=5), NORMAL).draft(drawn.reads[0])  # type: ignore[index]
        assert sorted(says.images) == expected
        np.testing.assert_array_equal(says.images["image-1"], drawn.reads[0].pixels[0])
        if preset == "vcd":
            np.testing.assert_array_equal(says.images["image-1 noised"], noised(drawn.reads[0].pixels[0], 5))


def test_a_language_model_is_never_asked_about_a_study_without_pixels(drawn: Drawn) -> None:
    read = drawn.reads[0]
    blind = replace(read, pixels=())
    with pytest.raises(ValueError, match="pixels"):
        drafter(drawn, Writer(Says(NORMAL)), NORMAL).draft(blind)


# The record.


def test_the_record_says_how_the_draft_was_written(drawn: Drawn) -> None:
    says = Says(NORMAL)
    expert = Thinks(pneumothorax=0.05, cardiomegaly=0.4)
    writer = Writer(says, experts=(expert,), temperature=0.7, seed=11, max_new_tokens=99)
    writing = drafter(drawn, writer, NORMAL).draft(drawn.reads[0]).writing
    assert writing is not None
    assert (writing.generator, writing.language_model, writing.weights) == ("scripted", "invented", "0" * 64)
    assert (writing.temperature, writing.seed, writing.max_new_tokens) == (0.7, 11, 99)
    assert writing.preset == PRESETS["grounded"]
    assert writing.token_ids == tuple(NORMAL.encode())
    assert writing.prompt_tokens == {"study": 7, "anchored": 7, "evidence": 7}
    (request,) = says.requests
    assert (request.seed, request.temperature, request.max_new_tokens) == (11, 0.7, 99)
    for prompt in request.branches:
        said = json.dumps(
            [message.model_dump(mode="json") for message in prompt.messages], sort_keys=True, separators=(",", ":")
        )
        assert writing.prompts[prompt.branch] == hashlib.sha256(said.encode()).hexdigest()


def test_the_bias_knows_every_finding_of_the_experts_whatever_they_think_of_them(drawn: Drawn) -> None:
    says, ontology = Says(NORMAL), load()
    expert = Thinks(pneumothorax=0.05, cardiomegaly=0.99)
    draft = drafter(drawn, Writer(says, experts=(expert,)), NORMAL).draft(drawn.reads[0])
    phrases = says.requests[0].phrases
    assert {p.label for p in phrases} == {"pneumothorax", "cardiomegaly"}
    assert {p.label: p.forms for p in phrases}["cardiomegaly"] == ontology["cardiomegaly"].synonyms
    assert phrases == phrases_of(draft.experts, ontology)
    says = Says(NORMAL)
    drafter(drawn, Writer(says, experts=(expert,), preset=PRESETS["cad"]), NORMAL).draft(drawn.reads[0])
    assert says.requests[0].phrases == ()


def test_a_recorded_draft_is_asked_for_again_from_its_record_alone(drawn: Drawn) -> None:
    says = Says(NORMAL)
    writer = Writer(says, experts=(Thinks(pneumothorax=0.05),), preset=PRESETS["vcd"], temperature=1.0, seed=3)
    study = asked(drawn, indication="Cough.")
    draft = drafter(drawn, writer, NORMAL).draft(study)
    record = Draft.model_validate_json(draft.model_dump_json())
    # Neither experts nor settings of the one who writes it again matter, and the index may have gone.
    again = Says(NORMAL)
    other = drafter(drawn, Writer(again), LEFT)
    assert other.rewrite(record, study).token_ids == record.writing.token_ids  # type: ignore[union-attr]
    assert again.requests == says.requests
    np.testing.assert_array_equal(again.images["image-1 noised"], says.images["image-1 noised"])


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda d, r: (d, asked_with(r, indication="Fall.")), "prompts"),
        (lambda d, r: (d.model_copy(update={"images": ("1" * 64,)}), r), "image"),
        (lambda d, r: (d.model_copy(update={"writing": None}), r), "no language model"),
        (
            lambda d, r: (d.model_copy(update={"writing": d.writing.model_copy(update={"weights": "1"})}), r),
            "weights",
        ),
    ],
)
def test_what_is_not_as_it_was_is_not_written_again(
    drawn: Drawn, spoil: Callable[[Draft, ReadStudy], tuple[Draft, ReadStudy]], why: str
) -> None:
    made = drafter(drawn, Writer(Says(NORMAL)), NORMAL)
    with pytest.raises(RequestError, match=why):
        made.rewrite(*spoil(made.draft(drawn.reads[0]), drawn.reads[0]))


def test_a_server_that_serves_another_language_model_writes_no_recorded_draft_again(drawn: Drawn) -> None:
    served = Says(NORMAL)
    served.weights = ""
    made = drafter(drawn, Writer(served), NORMAL)
    draft = made.draft(drawn.reads[0])
    assert made.rewrite(draft, drawn.reads[0]).text == NORMAL
    served.language_model = "another"
    with pytest.raises(RequestError, match="language model"):
        made.rewrite(draft, drawn.reads[0])


def test_a_drafter_with_another_writer_leaves_the_first_as_it_was(drawn: Drawn) -> None:
    bare = drafter(drawn, None, NORMAL)
    writing = bare.written_by(Writer(Says(NORMAL)))
    assert (bare.writer, bare.draft(drawn.reads[0]).writing) == (None, None)
    assert writing.draft(drawn.reads[0]).writing is not None


# For people.


def shown(draft: Draft) -> str:
    out = StringIO()
    show_draft(Console(file=out, width=200), draft)
    return out.getvalue()


def test_a_draft_for_people_shows_sections_support_and_who_wrote(drawn: Drawn) -> None:
    earlier = {"priors": prior("FINDINGS: Small left pleural effusion.")}
    text = "Small left pleural effusion. IMPRESSION: No pneumothorax."
    draft = write(drawn, text, LEFT, NORMAL, experts=(Thinks(pneumothorax=0.1, pleural_effusion=0.9),), study=earlier)
    said = shown(draft)
    assert said.index("FINDINGS") < said.index("Small left") < said.index("IMPRESSION") < said.index("No pneumo")
    assert "similar cases: case-" in said
    assert "; expert an-expert; an earlier study" in said
    assert "invented by preset grounded" in said


def test_a_draft_that_stands_in_for_a_language_model_s_says_so_to_people(drawn: Drawn) -> None:
    says = Says("", error=GeneratorUnavailable("down"))
    draft = drafter(drawn, Writer(says), NORMAL).draft(drawn.reads[0])
    assert "no language model wrote this (GENERATOR_UNAVAILABLE)" in shown(draft)


def test_what_is_told_at_a_terminal_cannot_steer_it(drawn: Drawn) -> None:
    out = StringIO()
    (sentence,) = write(drawn, "The lungs are clear.").sentences
    for event in ("sentence", "withdrawn"):
        steering = sentence.model_copy(update={"text": "Clear\x1b[2J [red]lungs[/red]."})
        show_event(Console(file=out), DraftEvent(event=event, number=0, sentence=steering))  # type: ignore[arg-type]
    assert out.getvalue() == "   Clear[2J [red]lungs[/red].\n withdrawn: Clear[2J [red]lungs[/red].\n"
