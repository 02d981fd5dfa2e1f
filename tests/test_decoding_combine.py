"""The arithmetic of several branches: what it must equal, what it must not depend on, and the choice of a token."""

import math
import random
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="pip install 'prelim[models]'")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from hypothesis.extra import numpy as arrays  # noqa: E402
from scipy import stats  # noqa: E402

from generation.decoding.combine import Cut, combine, combine_groups, margins, sample, sample_rows  # noqa: E402
from generation.decoding.presets import PRESETS  # noqa: E402
from retrieval.errors import BrokenLogits  # noqa: E402

INF = math.inf
LOGIT = st.floats(-30, 30, width=32, allow_subnormal=False)


@st.composite
def groups(draw: Any, *, masked: bool = True) -> tuple[Any, list[float], Cut | None]:
    """Logits [groups, branches, vocab] with some tokens forbidden in some branch, weights, and perhaps a cut."""
    shape = (draw(st.integers(1, 3)), draw(st.integers(1, 4)), draw(st.integers(2, 12)))
    logits = draw(arrays.arrays(np.float32, shape, elements=LOGIT))
    if masked:
        forbidden = draw(arrays.arrays(np.bool_, shape))
        forbidden[:, :, draw(st.integers(0, shape[2] - 1))] = False  # one token is always allowed
        logits = np.where(forbidden, -np.inf, logits)
    weights = draw(st.lists(st.floats(-2, 2, allow_subnormal=False), min_size=shape[1], max_size=shape[1]))
    beta = draw(st.none() | st.floats(0.001, 1))
    cut = None if beta is None else Cut(draw(st.integers(0, shape[1] - 1)), beta)
    return torch.from_numpy(logits), weights, cut


def naive(logits: Any, weights: list[float], cut: Cut | None) -> list[float]:
    """One group in plain Python and float64, token by token."""
    rows = [[float(x) for x in row] for row in logits]
    logs = [[x - math.log(sum(math.exp(y) for y in row)) for x in row] for row in rows]
    allowed = [all(row[v] > -INF for row in logs) for v in range(len(rows[0]))]
    scores = [
        sum(w * row[v] for w, row in zip(weights, logs, strict=True)) if allowed[v] else -INF
        for v in range(len(allowed))
    ]
    if cut is not None:
        best = max(x for x, ok in zip(logs[cut.branch], allowed, strict=True) if ok)
        scores = [s if logs[cut.branch][v] >= best + math.log(cut.beta) - 1e-6 else -INF for v, s in enumerate(scores)]
    return scores


@given(groups())
@settings(deadline=None)
def test_the_sum_is_what_the_formula_says(case: Any) -> None:
    logits, weights, cut = case
    scores = combine_groups(logits, weights, cut=cut)
    assert scores.dtype == torch.float32
    for row, group in zip(scores.tolist(), logits, strict=True):
        expected = naive(group, weights, cut)
        for got, wanted in zip(row, expected, strict=True):
            if got == -INF or wanted == -INF:
                # At the very edge of the cut float32 may decide otherwise than float64.
                assert got == wanted or cut is not None
            else:
                assert got == pytest.approx(wanted, abs=1e-3)


@given(groups(masked=False))
@settings(deadline=None)
def test_one_branch_is_plain_softmax(case: Any) -> None:
    logits, _, _ = case
    scores = combine(logits[0, :1], [1.0])
    torch.testing.assert_close(scores, logits[0, 0].log_softmax(-1))
    assert sample(scores, 0, 0, 0) == int(scores.argmax())


@given(groups(), st.lists(st.floats(-50, 50, allow_subnormal=False), min_size=4, max_size=4))
@settings(deadline=None)
def test_a_constant_added_to_a_branch_changes_nothing(case: Any, shifts: list[float]) -> None:
    logits, weights, _ = case
    moved = logits + torch.tensor(shifts[: logits.shape[1]])[None, :, None]
    torch.testing.assert_close(combine_groups(moved, weights), combine_groups(logits, weights), atol=2e-3, rtol=1e-4)


@given(groups())
@settings(deadline=None)
def test_log_probabilities_give_what_logits_give(case: Any) -> None:
    logits, weights, _ = case
    torch.testing.assert_close(
        combine_groups(logits.log_softmax(-1), weights), combine_groups(logits, weights), atol=1e-4, rtol=1e-4
    )


@given(groups(), st.randoms(use_true_random=False))
@settings(deadline=None)
def test_the_order_of_branches_does_not_matter(case: Any, shuffle: random.Random) -> None:
    logits, weights, cut = case
    order = list(range(len(weights)))
    shuffle.shuffle(order)
    moved = None if cut is None else Cut(order.index(cut.branch), cut.beta)
    torch.testing.assert_close(
        combine_groups(logits[:, order], [weights[k] for k in order], cut=moved),
        combine_groups(logits, weights, cut=cut),
        atol=1e-4,
        rtol=1e-4,
    )


@given(groups())
@settings(deadline=None)
def test_a_batch_gives_exactly_what_each_group_gives_alone(case: Any) -> None:
    logits, weights, cut = case
    bias = [{0: 0.5} if row % 2 else None for row in range(len(logits))]
    together = combine_groups(logits, weights, cut=cut, bias=bias)
    for row, group in enumerate(logits):
        assert torch.equal(together[row], combine(group, torch.tensor(weights), cut=cut, bias=bias[row]))


@given(groups())
@settings(deadline=None)
def test_what_any_branch_forbids_stays_forbidden_and_nothing_becomes_nan(case: Any) -> None:
    logits, weights, cut = case
    scores = combine_groups(logits, weights, cut=cut, bias=[{0: 2.0}] * len(logits))
    assert not scores.isnan().any()
    assert not scores.isposinf().any()
    assert scores[logits.isneginf().any(1)].isneginf().all()


@given(groups())
@settings(deadline=None)
def test_the_cut_keeps_the_likeliest_allowed_token_of_its_branch(case: Any) -> None:
    logits, weights, cut = case
    if cut is None:
        return
    view = logits[:, cut.branch].masked_fill(logits.isneginf().any(1), -INF)
    scores = combine_groups(logits, weights, cut=cut)
    assert scores.gather(1, view.argmax(-1, keepdim=True)).isfinite().all()


def test_a_mask_on_one_row_alone_holds_for_the_group_and_the_cut_looks_past_it() -> None:
    # The study's favourite by far is forbidden on the other row only; .1 of it would leave nothing.
    logits = torch.tensor([[20.0, 1.0, 0.0], [-INF, 0.0, 1.0]])
    assert combine(logits, [2.0, -1.0], cut=Cut(0, 0.1)).isfinite().tolist() == [False, True, True]


def test_a_ban_that_is_all_the_cut_would_leave_makes_room_for_the_next_best() -> None:
    logits = torch.tensor([[20.0, 5.0, 4.9, -5.0]])
    for bias in ({0: -INF, 3: 9.0}, torch.tensor([-INF, 0.0, 0.0, 9.0])):
        scores = combine(logits, [1.0], cut=Cut(0, 0.1), bias=bias)
        assert scores.isfinite().tolist() == [False, True, True, False]


def test_a_cut_of_one_leaves_ties_only() -> None:
    logits = torch.tensor([[2.0, 2.0, 1.0]])
    assert combine(logits, [1.0], cut=Cut(0, 1.0)).isfinite().tolist() == [True, True, False]


def test_the_bias_cannot_bring_back_what_the_cut_took() -> None:
    scores = combine(torch.tensor([[5.0, 4.9, -5.0]]), [1.0], cut=Cut(0, 0.1), bias={2: 50.0, 1: 1.0})
    assert int(scores.argmax()) == 1
    assert scores[2] == -INF


@given(groups(masked=False), st.dictionaries(st.integers(0, 1), st.floats(0.001, 0.999), max_size=2))
@settings(deadline=None)
def test_published_ccd_is_its_formula_written_out(case: Any, experts: dict[int, float]) -> None:
    logits = case[0][0, :1].repeat(2, 1)
    logits[1] = case[0][0, -1].flip(0)
    alpha, beta, gamma = 0.5, 0.5, 10.0
    base = [float(x) for x in logits[0].double().log_softmax(-1)]
    anchored = [float(x) for x in logits[1].double().log_softmax(-1)]
    expected, bias = [], {}
    for token, (one, other) in enumerate(zip(base, anchored, strict=True)):
        mixed = (1 - alpha) * one + alpha * other
        expert = mixed
        if token in experts:
            p = min(max(experts[token], 1e-6), 1 - 1e-6)
            bias[token] = max(-math.log(gamma), min(math.log(gamma), math.log(p / (1 - p))))
            expert = mixed + bias[token]
        expected.append((1 - beta) * mixed + beta * expert)
    preset = PRESETS["ccd"]
    scores = combine(logits, preset.weights(0), cut=preset.cut, bias=preset.scaled(bias))
    assert scores.tolist() == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("name", ["vcd", "icd"])
def test_the_image_contrast_is_its_formula_on_logits(name: Any) -> None:
    torch_generator = torch.Generator().manual_seed(3)
    base, blind = torch.randn(2, 50, generator=torch_generator) * 3
    published = (2 * base - blind).masked_fill(base < math.log(0.1) + base.max(), -INF)
    ours = combine(torch.stack([base, blind]), PRESETS[name].weights(0), cut=PRESETS[name].cut)
    torch.testing.assert_close(ours.softmax(-1), published.softmax(-1))


@pytest.mark.parametrize("step", [0, 49, 99])
def test_m3id_is_its_formula_at_every_step(step: int) -> None:
    torch_generator = torch.Generator().manual_seed(step)
    base, blind = torch.randn(2, 50, generator=torch_generator)
    shrunk = math.exp(-0.02 * (step + 1))
    with_image, without = base.log_softmax(-1), blind.log_softmax(-1)
    published = with_image + (1 - shrunk) / shrunk * (with_image - without)
    published = published.masked_fill(base < math.log(0.1) + base.max(), -INF)
    preset = PRESETS["m3id"]
    ours = combine(torch.stack([base, blind]), preset.weights(step), cut=preset.cut)
    torch.testing.assert_close(ours, published, atol=1e-4, rtol=1e-4)


def test_groups_at_different_steps_have_their_own_weights() -> None:
    logits = torch.randn(2, 2, 9, generator=torch.Generator().manual_seed(0))
    weights = [PRESETS["m3id"].weights(0), PRESETS["m3id"].weights(80)]
    together = combine_groups(logits, weights)
    assert torch.equal(together[1], combine(logits[1], weights[1]))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_logits_are_summed_in_float32(dtype: Any) -> None:
    logits = torch.randn(2, 40, generator=torch.Generator().manual_seed(1)).to(dtype)
    scores = combine(logits, [2.0, -1.0])
    assert scores.dtype == torch.float32
    assert torch.equal(scores, combine(logits.float(), [2.0, -1.0]))


def test_a_dense_bias_and_a_sparse_one_are_the_same() -> None:
    logits = torch.randn(2, 6, generator=torch.Generator().manual_seed(2))
    dense = torch.tensor([0.0, 1.5, 0.0, -INF, 0.0, 0.0])
    assert torch.equal(combine(logits, [0.5, 0.5], bias=dense), combine(logits, [0.5, 0.5], bias={1: 1.5, 3: -INF}))


@pytest.mark.parametrize(
    "rows",
    [
        [[0.0, math.nan, 1.0], [0.0, 0.0, 0.0]],
        [[0.0, 1.0, 1.0], [INF, 0.0, 0.0]],
        [[-INF, -INF, -INF], [0.0, 0.0, 0.0]],
        [[-INF, -INF, 0.0], [0.0, 0.0, -INF]],
    ],
    ids=["NaN", "plus infinity", "all forbidden", "masks that clash"],
)
def test_broken_logits_have_a_name_and_say_which_group(rows: list[list[float]]) -> None:
    logits = torch.stack([torch.zeros(2, 3), torch.tensor(rows), torch.zeros(2, 3)])
    with pytest.raises(BrokenLogits) as caught:
        combine_groups(logits, [1.0, 0.0], cut=Cut(0, 0.1))
    assert caught.value.groups == (1,)
    assert caught.value.code == "BROKEN_LOGITS"
    assert caught.value.fix


def test_a_bias_that_forbids_everything_or_is_not_a_number_is_broken_too() -> None:
    for value in (-INF, math.nan, INF):
        with pytest.raises(BrokenLogits):
            combine(torch.zeros(1, 2), [1.0], bias={0: value, 1: value})


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda: combine(torch.zeros(2, 3), [1.0]), "weights"),
        (lambda: combine(torch.zeros(3), [1.0]), "branches, vocab"),
        (lambda: combine_groups(torch.zeros(2, 3), [1.0]), "groups, branches, vocab"),
        (lambda: combine(torch.zeros(1, 3), [1.0], bias={3: 1.0}), "vocabulary"),
        (lambda: combine(torch.zeros(1, 3), [1.0], bias={-1: 1.0}), "vocabulary"),
        (lambda: combine(torch.zeros(1, 3), [1.0], bias=torch.zeros(4)), "bias"),
        (lambda: combine_groups(torch.zeros(2, 1, 3), [1.0], bias=[None]), "biases"),
        (lambda: combine_groups(torch.zeros(2, 1, 3), [1.0], bias=[{}, {3: 1.0}]), "vocabulary"),
        (lambda: combine(torch.zeros(1, 3), [1.0], cut=Cut(1, 0.1)), "no cut"),
        (lambda: combine(torch.zeros(1, 3), [1.0], cut=Cut(0, 0.0)), "no cut"),
        (lambda: sample(torch.zeros(3), -1.0, 0, 0), "temperature"),
        (lambda: sample_rows(torch.zeros(2, 3), [0.0], [0], [0]), "rows"),
    ],
)
def test_what_does_not_fit_is_refused(wrong: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        wrong()


# The choice of a token.


def test_ties_go_to_the_lowest_token_id() -> None:
    assert sample(torch.tensor([1.0, 3.0, 3.0, 3.0]), 0, seed=5, position=9) == 1


@given(st.integers(0, 2**70), st.integers(0, 10**6), st.floats(0.1, 3))
@settings(deadline=None)
def test_the_draw_depends_on_seed_and_position_and_not_on_the_batch(seed: int, position: int, warm: float) -> None:
    scores = torch.randn(3, 30, generator=torch.Generator().manual_seed(seed % 1000)).log_softmax(-1)
    alone = sample(scores[1], warm, seed, position)
    assert sample_rows(scores, [0.0, warm, 1.0], [seed + 1, seed, 3], [0, position, 7])[1] == alone
    # A vocabulary padded with tokens nobody can choose, as some engines have it, draws the same.
    assert sample(torch.cat([scores[1], torch.full((7,), -INF)]), warm, seed, position) == alone


@given(st.integers(0, 10**6), st.integers(1, 300), st.floats(0, 30), st.floats(0.001, 20))
@settings(deadline=None)
def test_the_draw_is_the_best_of_all_tokens_with_noise_though_few_are_looked_at(
    seed: int, vocab: int, spread: float, temperature: float
) -> None:
    scores = torch.randn(vocab, generator=torch.Generator().manual_seed(seed)) * spread
    scores[1::5] = -INF
    words = np.random.Philox(key=np.array([seed, 4], dtype=np.uint64)).random_raw(vocab)
    uniform = ((words >> np.uint64(12)) + 0.5) * 2.0**-52
    noisy = scores.double().numpy() / temperature - np.log(-np.log(uniform))
    assert sample(scores, temperature, seed, 4) == int(noisy.argmax())


def test_global_random_state_is_neither_read_nor_moved() -> None:
    scores = torch.randn(50, generator=torch.Generator().manual_seed(0))
    drawn = []
    for state in (1, 2):
        torch.manual_seed(state)
        np.random.seed(state)
        random.seed(state)
        before = torch.get_rng_state(), random.getstate()
        drawn.append([sample(scores, 1.0, 11, position) for position in range(40)])
        assert torch.equal(torch.get_rng_state(), before[0])
        assert random.getstate() == before[1]
    assert drawn[0] == drawn[1]


def test_the_stream_of_draws_has_not_changed() -> None:
    scores = torch.linspace(0, 2, 20)
    assert [sample(scores, 1.0, 7, position) for position in range(8)] == STREAM


STREAM = [13, 19, 16, 10, 17, 7, 7, 5]


@pytest.mark.parametrize("temperature", [0.5, 1.0, 1.7])
@pytest.mark.parametrize("along", ["positions", "seeds"])
def test_draws_follow_the_softmax(temperature: float, along: str) -> None:
    scores = torch.tensor([0.0, 1.0, 2.0, -1.0, 0.5, -INF, 1.5, 0.2]).log_softmax(-1)
    draws = 20_000
    counts = np.zeros(8)
    for i in range(draws):
        counts[sample(scores, temperature, *((3, i) if along == "positions" else (i, 3)))] += 1
    expected = (scores / temperature).softmax(-1).numpy().astype(float) * draws
    assert counts[5] == 0
    kept = expected > 0
    # A fixed seed: the test either always passes or never does.
    assert stats.chisquare(counts[kept], expected[kept] / expected.sum() * draws).pvalue > 0.001


def test_neighbouring_positions_draw_independently() -> None:
    scores = torch.zeros(4)
    drawn = np.array([sample(scores, 1.0, 9, i) for i in range(8_000)])
    pairs = np.zeros((4, 4))
    np.add.at(pairs, (drawn[:-1], drawn[1:]), 1)
    assert stats.chi2_contingency(pairs).pvalue > 0.001


def test_scores_that_are_not_numbers_are_not_sampled_from() -> None:
    for scores in (torch.tensor([0.0, math.nan]), torch.full((3,), -INF)):
        for temperature in (0.0, 1.0):
            with pytest.raises(BrokenLogits):
                sample(scores, temperature, 0, 0)


def test_margins_say_how_near_a_tie_was() -> None:
    scores = torch.tensor([[0.0, 3.0, 2.5], [1.0, -INF, -INF]])
    assert margins(scores).tolist() == [0.5, INF]
