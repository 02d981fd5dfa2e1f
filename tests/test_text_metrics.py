"""Word overlap: hand-computed examples, an obvious oracle, and what must not change the numbers."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.text_metrics import rouge_l, text_scores, tokens
from retrieval.errors import NotScorable

WORDS = st.lists(st.sampled_from(["lung", "clear", "no", "effusion", "3", "mm"]), max_size=12)


def lcs_length(a: list[str], b: list[str]) -> int:
    """Length of the longest common subsequence, by the textbook table."""
    table = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]
    for i, x in enumerate(a):
        for j, y in enumerate(b):
            table[i + 1][j + 1] = table[i][j] + 1 if x == y else max(table[i][j + 1], table[i + 1][j])
    return table[-1][-1]


def obvious_rouge_l(candidate: list[str], reference: list[str]) -> float:
    common = lcs_length(candidate, reference)
    if not common:
        return 0.0
    p, r = common / len(candidate), common / len(reference)
    return (1 + 1.2**2) * p * r / (r + 1.2**2 * p)


def test_identical_texts_score_one() -> None:
    texts = ["The heart is normal in size.", "No effusion.", "Lungs: clear; 3 mm nodule."]
    found = text_scores(texts, texts)
    assert (found.bleu1, found.bleu2, found.bleu3, found.bleu4) == pytest.approx((1, 1, 1, 1))
    assert found.rouge_l == pytest.approx(1)
    assert max(found.bleu1, found.bleu2, found.bleu3, found.bleu4) <= 1


def test_texts_without_a_common_word_score_zero() -> None:
    found = text_scores(["a b c d e", "f g"], ["v w x y z", "a b"])
    assert (found.bleu1, found.bleu4, found.rouge_l) == (0, 0, 0)


def test_a_small_example_is_as_computed_by_hand() -> None:
    # 5 of 6 unigrams, 4 of 5 bigrams, 3 of 4 trigrams, 2 of 3 four-grams; 6 tokens against 7.
    found = text_scores(["no pleural effusion is seen here"], ["no pleural effusion is seen on today"])
    brevity = math.exp(1 - 7 / 6)
    assert found.bleu1 == pytest.approx(brevity * 5 / 6)
    assert found.bleu2 == pytest.approx(brevity * (5 / 6 * 4 / 5) ** (1 / 2))
    assert found.bleu3 == pytest.approx(brevity * (5 / 6 * 4 / 5 * 3 / 4) ** (1 / 3))
    assert found.bleu4 == pytest.approx(brevity * (5 / 6 * 4 / 5 * 3 / 4 * 2 / 3) ** (1 / 4))
    p, r = 5 / 6, 5 / 7
    assert found.rouge_l == pytest.approx(2.44 * p * r / (r + 1.44 * p))


def test_bleu_counts_over_the_corpus_and_not_per_study() -> None:
    # 4 of 4 and 0 of 4 unigrams: 4/8 together. No smoothing: without one four-gram BLEU-4 would be 0, here 1 of 2.
    found = text_scores(["a b c d", "e f g h"], ["a b c d", "s t u v"])
    assert (found.bleu1, found.bleu4) == pytest.approx((0.5, 0.5))
    assert text_scores(["a b c x"], ["a b c d"]).bleu4 == 0


def test_drafts_too_short_for_a_four_gram_are_not_scored_by_shorter_ones() -> None:
    found = text_scores(["a b c"], ["a b c d"])
    assert found.bleu4 == 0
    assert found.bleu3 == pytest.approx(math.exp(1 - 4 / 3))


def test_the_record_says_how_it_was_measured() -> None:
    found = text_scores(["a b c d"], ["a b c d"])
    assert (found.n, found.tokeniser, found.beta) == (1, "lower case, [a-z0-9]+", 1.2)


def test_tokens_are_lower_case_runs_of_letters_and_digits() -> None:
    assert tokens("No T-11 fracture; 3.5cm, café.") == ["no", "t", "11", "fracture", "3", "5cm", "caf"]


def test_case_punctuation_and_line_ends_do_not_matter() -> None:
    plain = text_scores(["no effusion or edema seen"], ["no effusion or consolidation is seen"])
    assert text_scores(["NO effusion,\r\nor edema -- seen!"], ["No effusion or\tconsolidation is seen."]) == plain


def test_words_are_not_stemmed() -> None:
    assert text_scores(["effusions opacities lungs nodules"], ["effusion opacity lung nodule"]).rouge_l == 0


@given(st.lists(st.tuples(WORDS, WORDS.filter(len)), min_size=1, max_size=6), st.randoms())
def test_the_order_of_studies_does_not_matter(
    pairs: list[tuple[list[str], list[str]]], shuffler: random.Random
) -> None:
    pairs = [*pairs, (["a", "b"], ["a", "b", "c", "d"])]
    shuffled = shuffler.sample(pairs, len(pairs))
    a = text_scores([" ".join(c) for c, _ in pairs], [" ".join(r) for _, r in pairs])
    b = text_scores([" ".join(c) for c, _ in shuffled], [" ".join(r) for _, r in shuffled])
    assert list(a.model_dump(exclude={"tokeniser"}).values()) == pytest.approx(
        list(b.model_dump(exclude={"tokeniser"}).values())
    )


@given(WORDS, WORDS.filter(len))
def test_rouge_l_agrees_with_the_textbook_table(candidate: list[str], reference: list[str]) -> None:
    found = rouge_l([" ".join(candidate)], [" ".join(reference)])
    assert found.tolist() == pytest.approx([obvious_rouge_l(candidate, reference)])


def test_a_draft_without_words_scores_zero_and_counts() -> None:
    found = text_scores(["", "a b c d"], ["x y z w", "a b c d"])
    assert (found.rouge_l, found.n) == (0.5, 2)
    assert text_scores(["", "..."], ["x y z w", "a b"]).bleu1 == 0


@pytest.mark.parametrize(
    ("candidates", "references"),
    [(["a"], [""]), (["a", "b"], ["a b c d", " .\n"]), ([], []), (["a"], ["a b c d", "e"]), (["a b c"], ["a b c"])],
)
def test_what_cannot_be_scored_is_refused(candidates: list[str], references: list[str]) -> None:
    with pytest.raises(NotScorable):
        text_scores(candidates, references)
