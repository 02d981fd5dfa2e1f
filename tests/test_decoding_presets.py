"""Presets: the published numbers as published, and no preset that contradicts itself."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from generation.decoding.presets import LONGEST_GROWTH, PRESETS, Preset


def test_every_preset_is_listed_under_its_name_and_names_its_source() -> None:
    assert {name: preset.name for name, preset in PRESETS.items()} == {name: name for name in PRESETS}
    assert all(preset.source for preset in PRESETS.values())


@pytest.mark.parametrize("preset", PRESETS.values(), ids=lambda p: p.name)
@pytest.mark.parametrize("step", [0, 1, 49, 255, 4000, 100_000])
def test_weights_are_one_for_each_branch_finite_and_sum_to_one(preset: Preset, step: int) -> None:
    weights = preset.weights(step)
    assert len(weights) == len(preset.branches)
    assert all(map(math.isfinite, weights))
    # Growing weights are huge and of opposite sign; their sum is 1 as far as float64 can tell.
    assert math.isclose(sum(weights), 1, abs_tol=max(map(abs, weights)) * 1e-15)


@pytest.mark.parametrize(
    ("name", "branches", "weights"),
    [
        ("plain", ("study",), (1,)),
        ("prompt", ("anchored",), (1,)),
        ("ccd", ("study", "anchored"), (0.5, 0.5)),
        ("vcd", ("study", "blind"), (2, -1)),
        ("icd", ("study", "blind"), (2, -1)),
        ("cad", ("evidence", "study"), (1.5, -0.5)),
    ],
)
def test_published_weights_do_not_depend_on_the_step(
    name: Any, branches: tuple[str, ...], weights: tuple[float, ...]
) -> None:
    assert PRESETS[name].branches == branches
    assert PRESETS[name].weights(0) == PRESETS[name].weights(200) == weights


@pytest.mark.parametrize(("t", "extra"), [(1, 0.0202), (50, 1.718), (100, 6.389)])
def test_m3id_grows_as_published_with_t_counted_from_one(t: int, extra: float) -> None:
    conditioned, unconditioned = PRESETS["m3id"].weights(t - 1)
    gamma = math.exp(-0.02 * t)
    # L_c + (1 - gamma)/gamma * (L_c - L_u)
    assert math.isclose(conditioned, 1 + (1 - gamma) / gamma)
    assert math.isclose(-unconditioned, (1 - gamma) / gamma)
    assert -unconditioned == pytest.approx(extra, abs=1e-3)


def test_a_grown_weight_stays_within_float32() -> None:
    assert PRESETS["m3id"].weights(10**9)[0] == math.exp(LONGEST_GROWTH) < 3e38


def test_who_cuts_and_who_does_not_is_as_published() -> None:
    cuts = {name: preset.cut for name, preset in PRESETS.items()}
    assert {name for name, cut in cuts.items() if cut} == {"vcd", "icd", "m3id", "grounded"}
    assert {cut for cut in cuts.values() if cut} == {(0, 0.1)}


def test_ours_always_cuts_and_keeps_half_of_the_weight_on_the_bare_study() -> None:
    ours = PRESETS["grounded"]
    assert ours.cut is not None
    assert ours.weights(0)[ours.branches.index("study")] >= 0.5
    assert ours.bias == "phrases"


def test_only_the_published_loop_forbids_repeated_runs_and_of_three() -> None:
    assert {name: preset.no_repeat for name, preset in PRESETS.items() if preset.no_repeat} == {"ccd": 3}


@given(st.sampled_from(list(PRESETS.values())), st.data())
def test_a_preset_changed_within_its_rules_is_whole_and_survives_being_written_down(preset: Preset, data: Any) -> None:
    """Engines elsewhere read it as JSON: the weights there must be the weights here, to the last bit."""
    share = st.floats(0.001, 1)
    changed: dict[str, Any] = {"no_repeat": data.draw(st.integers(0, 9)), "gamma": data.draw(st.floats(1.001, 1e6))}
    if preset.bias != "none":
        changed["bias_weight"] = data.draw(share)
    if preset.plausible is not None:
        changed["plausible"] = {"branch": data.draw(st.sampled_from(preset.branches)), "beta": data.draw(share)}
    if preset.growth is None:
        first = data.draw(st.lists(st.floats(-3, 3), min_size=(n := len(preset.branches)) - 1, max_size=n - 1))
        changed["constant"] = (*first, 1 - sum(first))
    else:
        changed["growth"] = data.draw(st.floats(1e-4, 1))
    made = Preset.model_validate(preset.model_dump() | changed)
    read = Preset.model_validate_json(made.model_dump_json())
    assert read == made
    assert hash(read) == hash(made)
    step = data.draw(st.integers(0, 5_000))
    assert read.weights(step) == made.weights(step)
    assert all(map(math.isfinite, made.weights(step)))
    assert (made.cut is None) == (preset.plausible is None)
    assert all(abs(value) <= made.bias_weight for value in made.scaled({1: 1.0, 2: -1.0}).values())
    if made.bias != "none":
        assert made.scaled({3: -math.inf}) == {3: -math.inf}


def test_only_a_share_of_the_bias_is_added_and_a_ban_stays_one() -> None:
    assert PRESETS["ccd"].scaled({3: 2.0, 4: -math.inf}) == {3: 1.0, 4: -math.inf}


@pytest.mark.parametrize(
    "change",
    [
        {"constant": (0.5, 0.6)},
        {"constant": (1.0,)},
        {"branches": ("study", "study")},
        {"growth": 0.1},
        {"plausible": {"branch": "evidence"}},
        {"plausible": {"branch": "study", "beta": 0}},
        {"blinding": "no_image"},
        {"branches": ("study", "blind")},
        {"bias_weight": 0},
        {"no_repeat": -1},
        {"gamma": 1},
    ],
    ids=str,
)
def test_a_preset_that_contradicts_itself_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Preset.model_validate({**PRESETS["ccd"].model_dump(), **change})


def test_there_is_no_step_before_the_first_token() -> None:
    with pytest.raises(ValueError, match="before the first"):
        PRESETS["plain"].weights(-1)
