"""Several experts on one study: which images they see, and when they settle a finding together."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from generation.experts.calibration import NEVER, log_odds
from generation.experts.labels import labels_of
from generation.experts.panel import consult, merged
from retrieval.expert_scores import ExpertScore, ExpertScores
from retrieval.pixels import Pixels
from tests.tiny_experts import Oracle

LABELS = labels_of(["Effusion", "Pneumothorax"])
EFFUSION, PNEUMOTHORAX = (label.concept for label in LABELS)


def image(*corner: float) -> Pixels:
    pixels = np.full((4, 4), 0.5, np.float32)
    pixels[0, : len(corner)] = corner
    return pixels


def test_only_frontal_images_are_put_to_experts() -> None:
    expert = Oracle("one", LABELS)
    frontal, lateral = image(0.9, 0.1), image(0.1, 0.9)
    both = consult([expert], [lateral, frontal], ["LL", "PA"])
    assert both is not None
    assert both == consult([expert], [frontal], ["AP"])
    assert [s.band for s in both.scores] == ["present", "absent"]
    assert consult([expert], [lateral, frontal], ["LATERAL", "UNKNOWN"]) is None
    assert consult([expert], [], []) is None
    assert consult([], [frontal], ["PA"]) is None


def test_a_second_view_of_the_same_finding_makes_it_no_likelier() -> None:
    expert = Oracle("one", LABELS)
    once = consult([expert], [image(0.9, 0.1)], ["PA"])
    thrice = consult([expert], [image(0.9, 0.1)] * 3, ["PA", "AP", "FRONTAL"])
    assert once is not None
    assert thrice is not None
    for one, many in zip(once.scores, thrice.scores, strict=True):
        assert many.probability == pytest.approx(one.probability)
    mixed = consult([expert], [image(0.9, 0.1), image(0.1, 0.1)], ["PA", "AP"])
    assert mixed is not None
    assert mixed.scores[0].probability == pytest.approx(0.5)


def test_experts_that_differ_settle_nothing_and_experts_that_agree_do() -> None:
    sure, doubting = Oracle("sure", LABELS), Oracle("doubting", LABELS, bands=(0.001, 0.999))
    strong = image(0.99, 0.01)
    agreed = consult([sure, Oracle("too", LABELS, bands=(0.4, 0.6))], [strong], ["PA"])
    assert agreed is not None
    assert [s.band for s in agreed.scores] == ["present", "absent"]
    assert agreed.expert == "sure + too"
    # The mean is far beyond the first expert's thresholds, and still the second has not settled it.
    differing = consult([sure, doubting], [strong], ["PA"])
    assert differing is not None
    assert [s.band for s in differing.scores] == ["uncertain", "uncertain"]
    assert differing.scores[0].probability > 0.95


def test_a_finding_that_one_expert_alone_knows_is_settled_by_it() -> None:
    both = consult([Oracle("one", LABELS), Oracle("other", LABELS[:1], bands=NEVER)], [image(0.9, 0.9)], ["PA"])
    assert both is not None
    assert {s.concept: s.band for s in both.scores} == {EFFUSION: "uncertain", PNEUMOTHORAX: "present"}


inside = st.floats(0.001, 0.999)
opinions = st.lists(
    st.tuples(inside, inside, inside).map(lambda t: (t[0], min(t[1:]), max(t[1:]))), min_size=1, max_size=4
)


@settings(max_examples=200, deadline=None)
@given(opinions)
def test_a_merged_band_is_what_all_experts_say_or_uncertain(drawn) -> None:
    scores = [
        ExpertScore(concept=EFFUSION, probability=p, absent_below=low, present_above=high) for p, low, high in drawn
    ]
    together = merged([ExpertScores(expert=str(n), scores=(score,)) for n, score in enumerate(scores)]).scores[0]
    bands = {score.band for score in scores}
    assert together.band == (bands.pop() if len(bands) == 1 else "uncertain")
    mean = np.mean([log_odds(score.probability) for score in scores])
    assert log_odds(together.probability) == pytest.approx(mean, abs=1e-9)
    assert together.side is None
