"""Calibration and thresholds of experts: what is promised of every fit, on simulated scores."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit

from generation.experts.calibration import (
    NEVER,
    Calibration,
    calibration_for,
    finish_scores,
    identity_of,
    probability_of,
    read_calibration,
    write_calibration,
)
from generation.experts.fitting import TARGETS, Targets, brier, calibration_error, fit, thresholds
from generation.experts.labels import CONCEPTS, concept_of, labels_of
from retrieval.errors import BrokenLogits, CalibrationMismatch, NotScorable
from retrieval.ontology.ontology import load

WEIGHTS = "expert-1"
EFFUSION = labels_of(["Effusion"])


def simulated(seed: int, n: int, *, slope: float = 2.5, shift: float = 1.5, base: float = -1.0):
    """Studies with a known probability, and an expert whose log odds are that probability's, stretched and shifted."""
    rng = np.random.default_rng(seed)
    odds = rng.normal(base, 2.0, n)
    has = rng.random(n) < expit(odds)
    return (odds * slope + shift)[:, None], has.astype(float)[:, None]


def fitted(raw, truth, **how) -> Calibration:
    return fit(raw, truth, expit(raw), labels=["Effusion"], expert=WEIGHTS, collection="simulated", **how)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(60, 400),
    slope=st.floats(-4, 6),
    shift=st.floats(-6, 6),
    base=st.floats(-3, 3),
    method=st.sampled_from(["platt", "temperature"]),
)
def test_calibrated_probabilities_keep_the_order_lie_inside_0_and_1_and_have_thresholds_in_order(
    seed, n, slope, shift, base, method
) -> None:
    raw, truth = simulated(seed, n, slope=slope, shift=shift, base=base)
    calibration = fitted(raw, truth, method=method)
    assert calibration.labels.keys() | calibration.too_few.keys() == {"Effusion"}
    for label in calibration.labels.values():
        anything = np.sort(np.concatenate([raw[:, 0], [-1e9, -700, 0, 700, 1e9]]))
        p = probability_of(anything, label.slope, label.intercept)
        assert (np.diff(p) >= 0).all()
        assert ((p > 0) & (p < 1)).all()
        assert 0 <= label.absent_below <= label.present_above <= 1
        assert method == "platt" or label.intercept == 0


def test_a_miscalibrated_expert_is_better_calibrated_after_fitting_also_on_other_studies() -> None:
    calibration = fitted(*simulated(0, 4000))
    label = calibration.labels["Effusion"]
    assert label.ece_before > 0.05
    assert label.ece_after < label.ece_before / 3
    assert label.brier_after < label.brier_before
    # The simulated stretch and shift are found again.
    assert label.slope == pytest.approx(1 / 2.5, rel=0.1)
    assert label.intercept == pytest.approx(-1.5 / 2.5, abs=0.15)
    raw, truth = simulated(1, 4000)
    after = probability_of(raw[:, 0], label.slope, label.intercept)
    has = truth[:, 0] == 1
    assert calibration_error(after, has) < calibration_error(expit(raw[:, 0]), has) / 3
    assert has[after >= label.present_above].mean() >= TARGETS.precision - 0.05
    assert 1 - has[after < label.absent_below].mean() >= TARGETS.negative_predictive_value - 0.02


def test_a_temperature_alone_finds_the_stretch_of_an_expert_that_is_not_shifted() -> None:
    label = fitted(*simulated(0, 4000, shift=0.0), method="temperature").labels["Effusion"]
    assert label.slope == pytest.approx(1 / 2.5, rel=0.1)


def test_a_label_with_too_few_positives_is_never_settled() -> None:
    rng = np.random.default_rng(0)
    raw = rng.normal(0, 3, (500, 1))
    truth = np.zeros((500, 1))
    truth[: TARGETS.least_of_each - 1] = 1
    calibration = fitted(raw, truth)
    assert calibration.too_few == {"Effusion": TARGETS.least_of_each - 1}
    extreme = np.array([[-50.0], [50.0]])
    scores = finish_scores(extreme, EFFUSION, expit(extreme), [(0.4, 0.6)], WEIGHTS, calibration)
    assert [s.scores[0].band for s in scores] == ["uncertain", "uncertain"]
    truth[TARGETS.least_of_each - 1] = 1
    assert not fitted(raw, truth).too_few


def test_images_of_which_nobody_knows_a_finding_do_not_count_for_it() -> None:
    raw, truth = simulated(0, 500)
    unknown = np.concatenate([truth, np.full((500, 1), np.nan)])
    twice = np.concatenate([raw, -raw])
    with_them, without = fitted(twice, unknown), fitted(raw, truth)
    assert with_them.labels == without.labels
    assert with_them.studies == 1000


@settings(max_examples=80, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(1, 120),
    levels=st.integers(1, 30),
    share=st.floats(0, 1),
    z=st.sampled_from([0.0, 1.645]),
)
def test_what_lies_beyond_a_threshold_reaches_its_target(seed, n, levels, share, z) -> None:
    rng = np.random.default_rng(seed)
    p = rng.integers(0, levels + 1, n) / (levels + 2) + 0.01
    has = rng.random(n) < np.where(rng.random(n) < 0.5, share, p)
    targets = Targets(z=z)
    low, high = thresholds(p, has, targets)
    assert low <= high
    # The oracle tries every cut.
    precise = {c: 1 - most_of(~has[p >= c], z) for c in np.unique(p)}
    good = [c for c, least in precise.items() if least >= targets.precision]
    usable = [c for c, least in precise.items() if least >= targets.more_right_than_wrong]
    if good:
        assert high == min(good)
    elif usable:
        assert f1(p >= high, has) == max(f1(p >= c, has) for c in usable)
    else:
        assert high == 1
    allowed = min(1 - targets.negative_predictive_value, targets.base_rate * has.mean())
    free = [c for c in np.unique(p) if c <= high and (p < c).any() and most_of(has[p < c], z) <= allowed]
    assert low == max(free, default=0)


def most_of(flags: np.ndarray, z: float) -> float:
    """The upper end of the interval, as the root of Wilson's equation that lies above the share."""
    n, share = len(flags), float(flags.mean())
    if z == 0:
        return share
    roots = np.roots([1 + z**2 / n, -(2 * share + z**2 / n), share**2])
    return float(max(roots.real))


def f1(stated: np.ndarray, has: np.ndarray) -> float:
    return 2 * (stated & has).sum() / (stated.sum() + has.sum())


def test_a_rare_finding_is_not_denied_only_because_it_is_rare() -> None:
    rng = np.random.default_rng(0)
    has = rng.random(5000) < 0.02
    # Scores that know nothing: 98 % of everything below any cut is free of the finding.
    low, high = thresholds(rng.random(5000) * 0.04, has)
    assert (low, high) == NEVER


def test_what_is_stated_is_never_denied_where_both_targets_could_be_reached() -> None:
    p = np.repeat([0.1, 0.5, 0.9], [400, 40, 200])
    has = np.repeat([False, True, False, True], [400, 10, 30, 200])
    # From .5 on 210 of 240 have it, and below .9 only 10 of 440: denying up to .9 would deny what is stated.
    low, high = thresholds(p, has)
    assert (low, high) == (0.5, 0.5)


def test_an_expert_worse_than_chance_settles_nothing() -> None:
    raw, truth = simulated(0, 2000)
    label = fitted(-raw, truth).labels["Effusion"]
    assert (label.absent_below, label.present_above) == NEVER


def test_a_calibration_of_another_expert_is_refused_by_name(tmp_path: Path) -> None:
    calibration = fitted(*simulated(0, 200))
    write_calibration(calibration, tmp_path / "calibration.json")
    assert read_calibration(tmp_path / "calibration.json", WEIGHTS) == calibration
    with pytest.raises(CalibrationMismatch, match=r"expert-1.*expert-2"):
        read_calibration(tmp_path / "calibration.json", "expert-2")
    (tmp_path / "broken.json").write_text("{}")
    with pytest.raises(CalibrationMismatch, match="is no calibration"):
        read_calibration(tmp_path / "broken.json", WEIGHTS)
    # A file that was asked for and is not there is not passed over; one that may lie beside the weights is.
    with pytest.raises(CalibrationMismatch, match="is no calibration"):
        calibration_for(WEIGHTS, tmp_path / "none.json", None)
    assert calibration_for(WEIGHTS, "beside", tmp_path / "elsewhere") is None
    assert calibration_for(WEIGHTS, "beside", tmp_path) == calibration
    assert calibration_for("expert-2", "none", tmp_path) is None


def test_the_same_fit_gives_the_same_bytes_and_another_one_another_identity(tmp_path: Path) -> None:
    one, again, other = fitted(*simulated(0, 200)), fitted(*simulated(0, 200)), fitted(*simulated(1, 200))
    write_calibration(one, tmp_path / "one")
    write_calibration(again, tmp_path / "again")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "again").read_bytes()
    assert len({identity_of(WEIGHTS, c) for c in (one, other, None)}) == 3
    assert identity_of(WEIGHTS, None) == "expert-1/uncalibrated"


def test_an_image_that_an_expert_gave_no_number_is_no_opinion() -> None:
    raw = np.array([[0.0], [np.nan], [np.inf]])
    with pytest.raises(BrokenLogits) as caught:
        finish_scores(raw, EFFUSION, expit(raw), [NEVER], WEIGHTS, None)
    assert caught.value.groups == (1, 2)
    with pytest.raises(NotScorable):
        fitted(raw, np.zeros((3, 1)))
    with pytest.raises(NotScorable):
        fitted(np.zeros((0, 1)), np.zeros((0, 1)))


def test_brier_and_calibration_error_are_those_of_a_count_by_hand() -> None:
    p, has = np.array([0.1, 0.1, 0.9, 0.9]), np.array([False, True, True, True])
    assert brier(p, has) == pytest.approx((0.01 + 0.81 + 0.01 + 0.01) / 4)
    assert calibration_error(p, has) == pytest.approx((2 * abs(0.1 - 0.5) + 2 * abs(0.9 - 1)) / 4)


def test_every_label_means_a_concept_that_the_ontology_knows_by_that_label() -> None:
    ontology = load()
    known: dict[str, set[str]] = {}
    for concept in ontology.written:
        for name in (*concept.labels.chexpert, *concept.labels.nih14):
            known.setdefault(name.lower().replace("_", " "), set()).add(concept.slug)
    assert {name: slug for name, slug in CONCEPTS.items() if slug not in known[name]} == {}
    assert known.keys() - CONCEPTS.keys() == {"pleural other", "no finding"}
    assert concept_of("Pleural_Thickening") == ontology["pleural_thickening"].id
    assert concept_of("") is None
