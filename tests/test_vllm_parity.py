"""Groups inside real vLLM engines against the oracle, token by token, in float32 on a CPU.

Three engines, each in its own process: Qwen2-VL under pressure, LLaVA with everything that is no load, Gemma 3. The
whole grid (four models, synchronous and asynchronous, with and without the group scheduler) is the soak below, which is
also `prelim-evaluate vllm-parity`.
"""

import importlib.util
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.conftest import skip_or_fail
from tests.tiny_models import batched, checkpoint, need_models, tiny

if TYPE_CHECKING:
    from evaluation.vllm_parity import EngineParity

pytestmark = pytest.mark.slow
ENGINES = ("qwen2_vl", "llava", "gemma3")
MEASURED = Path(__file__).parent.parent / "evaluation" / "measured" / "vllm-parity.json"


@pytest.fixture(scope="session")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, dict[str, Any]]]:
    """What the three engines made of their loads; they run beside one another and beside the oracle."""
    need_models()
    if importlib.util.find_spec("vllm") is None:
        skip_or_fail("vllm", "vLLM is not installed (make vllm)")
    from evaluation.vllm_load import begin, ended  # noqa: PLC0415
    from tests.vllm_engines import LOADS  # noqa: PLC0415

    folder = tmp_path_factory.mktemp("vllm")
    running = {
        name: begin(load, checkpoint(load.architecture), folder / f"{name}.json", "tests.vllm_engines")
        for name, load in LOADS.items()
    }
    try:
        yield {name: ended(process, folder / f"{name}.json") for name, process in running.items()}
    finally:
        for process in running.values():
            process.kill()


@pytest.fixture(scope="session")
def engines(outcomes: dict[str, dict[str, Any]]) -> "dict[str, EngineParity]":
    from evaluation.vllm_load import Outcome  # noqa: PLC0415
    from evaluation.vllm_parity import Oracle, compared  # noqa: PLC0415
    from tests.vllm_engines import LOADS  # noqa: PLC0415

    return {
        name: compared(load, Outcome.model_validate(outcomes[name]["outcome"]), Oracle(load, tiny(load.architecture)))
        for name, load in LOADS.items()
    }


@pytest.fixture(scope="session")
def facts(outcomes: dict[str, dict[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = outcomes["llava"]["facts"]
    return found


@pytest.fixture(scope="session")
def stopped() -> list[Any]:
    """The oracle's drafts that end at a stop string."""
    from evaluation.vllm_load import ENDS, drawn, drawn_images  # noqa: PLC0415
    from tests.vllm_engines import LOADS, stopping  # noqa: PLC0415

    load = LOADS["llava"]
    model = tiny("llava")
    return batched(replace(model, end_ids=model.end_ids | ENDS), stopping(drawn(load)), drawn_images(load))


@pytest.mark.parametrize("name", ENGINES)
def test_every_draft_of_an_engine_is_the_oracles(engines: "dict[str, EngineParity]", name: str) -> None:
    found = engines[name]
    assert found.agreed + found.excused == found.drafts, found.differences
    assert found.excused <= max(1, found.drafts // 200), found.differences
    assert found.parted == 0
    assert found.ordinary_agreed == found.ordinary > 0, "a request that is no member was disturbed, or disturbs"


@pytest.mark.parametrize("name", ENGINES)
def test_nothing_is_left_in_an_engine_when_all_has_ended(engines: "dict[str, EngineParity]", name: str) -> None:
    assert engines[name].left == 0
    assert engines[name].counts["refused"] == engines[name].counts["timed_out"] == engines[name].counts["broken"] == 0


def test_the_load_was_as_hard_as_it_was_meant_to_be(engines: "dict[str, EngineParity]") -> None:
    found = engines["qwen2_vl"]
    assert found.drafts >= 64
    assert found.prompt_tokens == (5, 900)
    assert found.counts["preempted"] > 0
    assert found.counts["held"] > 0
    assert found.counts["stood_back"] > 0
    assert found.ended > 3


@pytest.mark.parametrize("name", ENGINES)
def test_a_prompt_that_is_wholly_in_the_prefix_cache_gives_the_same_draft(
    engines: "dict[str, EngineParity]", name: str
) -> None:
    found = engines[name]
    assert found.again_agreed == found.again > 0
    assert found.again_cached == found.again, "the prompts were not in the cache, so nothing was shown"


def test_the_generator_writes_and_tells_what_the_oracle_does(facts: dict[str, Any], stopped: list[Any]) -> None:
    drafts = facts["generated"]["drafts"]
    for draft, oracle in zip(drafts, stopped, strict=True):
        assert tuple(draft["token_ids"]) == oracle.token_ids
        assert (draft["text"], draft["finish"]) == (oracle.text, oracle.finish)
        assert tuple(draft["prompt_tokens"]) == oracle.prompt_tokens
    assert facts["generated"]["heard"] == [oracle.text for oracle in stopped]
    assert {"stop", "end"} <= {oracle.finish for oracle in stopped}


def test_a_stop_string_that_vllm_itself_watches_for_ends_every_member_at_once(facts: dict[str, Any]) -> None:
    told = facts["stopped_by_vllm"]
    groups = {name.rsplit("-", 1)[0] for name in told}
    for group in groups:
        members = [each for name, each in told.items() if name.startswith(f"{group}-")]
        assert all("ar" not in member["text"] for member in members)
    assert sum(each["finish"] == "stop" for each in told.values()) > len(groups)


def test_a_grammar_holds_for_every_member_and_none_is_alone(facts: dict[str, Any]) -> None:
    from tests.vllm_engines import REGEX  # noqa: PLC0415

    told = facts["structured"]
    texts: dict[str, set[str]] = {}
    for name, each in told.items():
        texts.setdefault(name.rsplit("-", 1)[0], set()).add(each["text"])
        assert each["finish"] == "stop"
        assert re.fullmatch(REGEX, each["text"]), each
    assert all(len(each) == 1 for each in texts.values())
    assert len(set.union(*texts.values())) > 2, "the grammar leaves no choice, so nothing was mixed"


def test_a_caller_who_no_longer_wants_the_answer_leaves_nothing_running(facts: dict[str, Any]) -> None:
    assert facts["cancelled"] == {"heard": 1, "requests": 0, "groups": 0}


def test_a_fault_of_one_request_is_said_before_any_work(facts: dict[str, Any]) -> None:
    assert facts["refused"] == {
        "too long": "PromptTooLong",
        "no image": "InvalidPrompt",
        "no place": "InvalidPrompt",
        "unknown token": "InvalidPrompt",
    }


def test_broken_logits_end_their_own_draft_as_an_error_and_no_other(facts: dict[str, Any]) -> None:
    told = facts["broken"]
    finishes = {name: each["finish"] for name, each in told["together"].items()}
    assert finishes == {
        f"broken-{n}-{branch}": "error" if n in (1, 2) else "length"
        for n in range(4)
        for branch in ("study", "anchored")
    }
    assert all(not each["tokens"] for each in told["together"].values() if each["finish"] == "error")
    assert told["raised"] == [0]


def test_what_a_broken_draft_leaves_in_the_cache_breaks_nobody_else(facts: dict[str, Any]) -> None:
    from tests.vllm_engines import fragile  # noqa: PLC0415

    oracle = batched(tiny("llava"), fragile((1, 2)), {})
    for number, draft in enumerate(oracle):
        for branch in ("study", "anchored"):
            told = facts["broken"]["mended"][f"mended-{number}-{branch}"]
            assert tuple(told["tokens"][: len(draft.token_ids)]) == draft.token_ids


def test_a_member_whose_others_never_come_is_ended(facts: dict[str, Any]) -> None:
    assert facts["alone"] == "abort"
    assert facts["left"] == 0


@pytest.mark.soak
def test_the_whole_grid_agrees_in_real_engines() -> None:
    need_models()
    if importlib.util.find_spec("vllm") is None:
        skip_or_fail("vllm", "vLLM is not installed (make vllm)")
    from evaluation.vllm_parity import measure_vllm_parity  # noqa: PLC0415

    report = measure_vllm_parity()
    MEASURED.write_text(json.dumps(report.model_dump(), indent=1) + "\n", encoding="utf-8")
    for name, found in report.engines.items():
        if "groups" in name:
            assert found.agreed + found.excused == found.drafts, (name, found.differences)
            assert found.again_agreed == found.again, name
        assert found.ordinary_agreed == found.ordinary, name
        assert found.left == 0, name
