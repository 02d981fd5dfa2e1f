"""The prompts of every branch: what each shows, what they share, and their golden files. Everything is invented.

The golden files are written anew by `PRELIM_GOLDEN=write pytest tests/test_prompts.py`; then read them.
"""

import os
import tomllib
from importlib.resources import files
from pathlib import Path
from typing import Final, get_args

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from prompts.concepts import tokens
from prompts.data import PREFIX
from prompts.facts import Facts
from prompts.message import Blinding, Branch, ImageRef
from prompts.render import BUDGET, CASES, VERSIONS, Rendered, image_names, noised_name, render
from retrieval.errors import InvalidPrompt
from retrieval.expert_scores import ExpertScore, ExpertScores
from retrieval.ontology.ontology import load
from retrieval.records import PriorReport, Study, StudyUid, ViewPosition
from tests.prompts_facts import FACTS, HOSTILE, image
from tests.retrieved_cases import retrieved_case

GOLDEN: Final = Path(__file__).parent / "golden" / "prompts"
BLINDINGS: Final[tuple[Blinding, ...]] = get_args(Blinding)
ASKED: Final[dict[str, tuple[Branch, Blinding | None]]] = {
    "study": ("study", None),
    "anchored": ("anchored", None),
    "evidence": ("evidence", None),
    **{f"blind-{blinding}": ("blind", blinding) for blinding in BLINDINGS},
}


def shown(facts: Facts, name: str) -> Rendered:
    branch, blinding = ASKED[name]
    return render(facts, branch, load(), blinding=blinding)


def user(rendered: Rendered) -> str:
    return "".join(part for part in rendered.messages[1].content if isinstance(part, str))


def images(rendered: Rendered) -> tuple[str, ...]:
    return tuple(part.name for message in rendered.messages for part in message.content if isinstance(part, ImageRef))


def as_text(rendered: Rendered) -> str:
    lines: list[str] = []
    for message in rendered.messages:
        lines.append(f"=== {message.role}")
        lines += [f"[{part.name}]" if isinstance(part, ImageRef) else part for part in message.content]
    return "\n".join([*lines, "=== tokens", *(f"{part}: {n}" for part, n in rendered.parts.items())]) + "\n"


@pytest.mark.parametrize("facts", FACTS)
@pytest.mark.parametrize("name", ASKED)
def test_a_prompt_reads_as_in_its_golden_file(name: str, facts: str) -> None:
    golden = GOLDEN / f"{name}-{facts}.txt"
    text = as_text(shown(FACTS[facts], name))
    if os.environ.get("PRELIM_GOLDEN") == "write":
        golden.parent.mkdir(parents=True, exist_ok=True)
        golden.write_text(text, encoding="utf-8")
    assert text == golden.read_text(encoding="utf-8"), "run with PRELIM_GOLDEN=write, and read what changed"


def test_every_golden_prompt_is_asked_for() -> None:
    assert {p.stem for p in GOLDEN.glob("*.txt")} == {f"{name}-{facts}" for name in ASKED for facts in FACTS}


@pytest.mark.parametrize("facts", FACTS)
def test_what_a_branch_adds_comes_after_all_that_branches_share(facts: str) -> None:
    study = shown(FACTS[facts], "study")
    for name in ASKED:
        other = shown(FACTS[facts], name)
        assert other.messages[0] == study.messages[0]
        assert user(other).startswith(user(study))
        if name not in ("blind-no_image", "blind-noised_image"):
            assert images(other) == images(study)


def test_the_system_turn_is_the_same_for_every_study() -> None:
    assert len({shown(facts, "study").messages[0] for facts in FACTS.values()}) == 1


@pytest.mark.parametrize("facts", FACTS)
def test_the_blind_branch_differs_from_the_study_in_one_thing(facts: str) -> None:
    study = shown(FACTS[facts], "study")
    assert images(study) == image_names(FACTS[facts].study)
    without = shown(FACTS[facts], "blind-no_image")
    assert (images(without), user(without)) == ((), user(study))
    noised = shown(FACTS[facts], "blind-noised_image")
    assert (images(noised), user(noised)) == (tuple(map(noised_name, images(study))), user(study))
    disturbed = shown(FACTS[facts], "blind-disturbed_instruction")
    assert images(disturbed) == images(study)
    assert user(disturbed) != user(study)


def test_a_blind_branch_without_a_blinding_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="needs its blinding"):
        render(FACTS["full"], "blind", load())


def test_a_version_of_the_templates_that_does_not_exist_is_named() -> None:
    with pytest.raises(InvalidPrompt, match=r"'\.\./1'"):
        render(FACTS["full"], "study", load(), templates="../1")


def test_the_branch_has_images_first_and_one_text_after_them() -> None:
    content = shown(FACTS["full"], "evidence").messages[1].content
    assert [type(part) for part in content] == [ImageRef, ImageRef, str]


@pytest.mark.parametrize("name", ASKED)
def test_a_comparison_never_enters_without_a_prior(name: str) -> None:
    assert FACTS["full"].study.comparison
    assert "last week" not in as_text(shown(FACTS["full"], name))
    assert "No prior study is available." in as_text(shown(FACTS["full"], name))
    assert "last week" in as_text(shown(FACTS["prior"], name))


def test_priors_and_similar_cases_are_never_mixed_up() -> None:
    text = user(shown(FACTS["prior"], "evidence"))
    priors, cases = text.index("PRIOR STUDIES"), text.index("SIMILAR CASES")
    assert priors < text.index("upper limit of normal") < text.index("TASK") < cases < text.index("spine")
    assert "prior" not in text[cases : text.index("CONCEPTS")].lower()
    assert "case" not in text[priors : text.index("TASK")].lower()


def test_a_prior_without_headings_is_shown_as_it_is_and_an_empty_one_is_none() -> None:
    def with_prior(text: str) -> str:
        prior = PriorReport(study_instance_uid=StudyUid("1"), text=text)
        return user(shown(Facts(study=Study(images=(image("PA"),), priors=(prior,))), "study"))

    assert "| Findings: Clear lungs." in with_prior("Clear lungs.")
    assert "| TECHNIQUE: One view." in with_prior("TECHNIQUE: One view.")
    assert "No prior study is available." in with_prior(" \u200b ")


def test_a_similar_case_says_nothing_of_what_experts_have_settled_and_of_its_own_priors() -> None:
    text = user(shown(FACTS["full"], "evidence"))
    cases = text[text.index("Case 1") : text.index("CONCEPTS")]
    assert "aorta is tortuous" in cases
    assert "Clear right lung" in cases
    assert "Tortuous aorta." in cases
    assert "Stable" not in cases
    for settled in ("mildly enlarged", "effusion", "pneumothorax", "unchanged"):
        assert settled not in cases


def test_a_case_that_nothing_has_read_says_nothing() -> None:
    unread = retrieved_case("case-1", "Tortuous aorta.", 0.8, read=False)
    facts = Facts(study=Study(images=(image("PA"),)), cases=(unread,))
    assert "aorta" not in user(shown(facts, "evidence"))
    assert "No case is near enough to be shown." in user(shown(facts, "evidence"))


def test_no_more_cases_are_shown_than_helps() -> None:
    cases = tuple(retrieved_case(f"case-{n}", f"Tortuous aorta number {n}.", 0.8) for n in range(9))
    text = user(shown(Facts(study=Study(images=(image("PA"),)), cases=cases), "evidence"))
    assert f"Case {CASES}\n" in text
    assert f"Case {CASES + 1}" not in text


@pytest.mark.parametrize("view", get_args(ViewPosition))
def test_every_view_has_words(view: ViewPosition) -> None:
    assert "Image 1: " in user(shown(Facts(study=Study(images=(image(view),))), "study"))


@pytest.mark.parametrize("name", ASKED)
def test_nothing_known_is_said_and_not_left_out(name: str) -> None:
    text = user(shown(FACTS["nothing"], name))
    for said in ("No indication was given.", "No prior study is available.", "view not given"):
        assert said in text
    assert "\n\n\n" not in text
    assert PREFIX not in text.replace("C1 ", "")


@pytest.mark.parametrize("name", ASKED)
@pytest.mark.parametrize("facts", FACTS)
def test_the_parts_add_up_to_the_prompt(name: str, facts: str) -> None:
    rendered = shown(FACTS[facts], name)
    whole = tokens(user(rendered)) + sum(tokens(str(part)) for part in rendered.messages[0].content)
    # Each part counts the line end behind it, which a text as a whole does not have.
    assert abs(sum(rendered.parts.values()) - whole) <= 2 * len(rendered.parts)


LONG: Final = "effusion " * 1_000
words = st.text(max_size=1_000) | st.sampled_from([HOSTILE, "\u3042" * 9_000, "a" * 10_000, LONG])


@given(words, words, words, st.lists(words, max_size=4), st.lists(words, max_size=6))
@example(LONG, LONG, LONG, [f"FINDINGS: {LONG}\n\nIMPRESSION: {LONG}"] * 3, ["Scoliosis, " * 400] * 6)
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_no_facts_make_a_prompt_longer_than_its_budget(
    indication: str, technique: str, comparison: str, priors: list[str], cases: list[str]
) -> None:
    full = FACTS["full"]
    study = full.study.model_copy(
        update={
            "indication": indication,
            "technique": technique,
            "comparison": comparison,
            "priors": tuple(PriorReport(study_instance_uid=StudyUid("1"), text=text) for text in priors),
        }
    )
    similar = tuple(retrieved_case(f"case-{n}", text or "-", 0.5) for n, text in enumerate(cases))
    for name in ASKED:
        facts = full.model_copy(update={"study": study, "cases": similar})
        parts = shown(facts, name).parts
        assert sum(parts.values()) - parts["views"] <= BUDGET


@pytest.mark.parametrize("version", VERSIONS)
def test_the_templates_are_found_as_package_data(version: str) -> None:
    folder = files("prompts").joinpath("templates", version)
    names = {entry.name for entry in folder.iterdir()}
    assert names == {f"{name}.txt" for name in ("system", "study", "anchored", "evidence", "disturbed", "phrases")}
    build = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())["tool"]["hatch"]["build"]
    # What hatchling takes of a package is every file, unless it is told otherwise.
    assert "prompts" in build["targets"]["wheel"]["packages"]
    assert not {"include", "exclude", "only-include"} & build["targets"]["wheel"].keys()


def test_an_addendum_of_a_prior_is_shown_before_what_it_corrects() -> None:
    text = "FINDINGS: Small left effusion.\nADDENDUM: The effusion is on the right."
    prior = PriorReport(study_instance_uid=StudyUid("1"), text=text)
    said = user(shown(Facts(study=Study(images=(image("PA"),), priors=(prior,))), "study"))
    assert said.index("| Addendum: The effusion is on the right.") < said.index("| Findings: Small left effusion.")


@pytest.mark.parametrize(
    "sentence",
    [
        "Dr. Doe was told of the small nodule.",
        "Nodule as on 3/4/2019.",
        "There is a 12 mm nodule.",
        "Nodule seen on CT.",
    ],
)
def test_what_belongs_to_another_patient_is_not_shown_of_a_similar_case(sentence: str) -> None:
    case = retrieved_case("case-1", f"Tortuous aorta. {sentence}", 0.8)
    said = user(shown(Facts(study=Study(images=(image("PA"),)), cases=(case,)), "evidence"))
    assert "Tortuous aorta." in said
    assert "odule" not in said[said.index("Case 1") : said.index("No concepts")]


def test_a_finding_that_nobody_settled_is_named_only_when_it_may_well_be_there() -> None:
    ontology = load()
    scores = tuple(
        ExpertScore(concept=ontology[slug].id, probability=probability, absent_below=0, present_above=1)
        for slug, probability in (("pneumothorax", 0.01), ("pleural_effusion", 0.4))
    )
    facts = Facts(study=Study(images=(image("PA"),)), experts=ExpertScores(expert="e", scores=scores))
    said = user(shown(facts, "anchored"))
    assert "Uncertain: pleural effusion (.40)" in said
    assert "pneumothorax" not in said
