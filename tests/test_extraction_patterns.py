"""Tokens, the trie and the gap patterns, held to readings so plain that they cannot be wrong."""

from collections.abc import Collection, Sequence
from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrieval.extraction.patterns import MAX_GAP, MAX_SPAN, GapPatterns, Phrase, Trie, slow_phrases
from retrieval.extraction.tokens import LONGEST, fold, fold_phrase, tokenise, word_set

LETTERS = st.sampled_from(["a", "b", "c", "d"])
WRITTEN = st.lists(LETTERS, min_size=1, max_size=4).map(" ".join)
PHRASES = st.dictionaries(st.sampled_from(["P", "Q", "R"]), st.frozensets(WRITTEN, max_size=5), max_size=3)


@given(words=st.lists(LETTERS, max_size=12), phrases=PHRASES)
@settings(max_examples=400, deadline=None)
def test_the_trie_finds_what_the_oracle_finds(words: list[str], phrases: dict[str, frozenset[str]]) -> None:
    trie = Trie((phrase, target) for target, written in phrases.items() for phrase in sorted(written))
    found = trie.find(words)
    assert set(found) == slow_phrases(words, phrases)
    assert len(found) == len(set(found))
    assert [p.first for p in found] == sorted(p.first for p in found)


def test_the_longest_phrase_from_a_word_wins_and_overlaps_stay() -> None:
    trie = Trie([("a", "one"), ("a b", "two"), ("b c", "three"), ("a b c d", "four"), ("a b", "five")])
    assert trie.find(["a", "b", "c"]) == [Phrase("two", 0, 1), Phrase("five", 0, 1), Phrase("three", 1, 2)]
    assert trie.find(["a", "x"]) == [Phrase("one", 0, 0)]
    assert trie.find([]) == []
    assert Trie([]).find(["a"]) == []


def test_a_phrase_without_words_is_none() -> None:
    assert Trie([("", "nothing"), ("--", "dashes")]).find(["a", ""]) == []


def test_phrases_are_folded_like_text() -> None:
    trie = Trie([("Air-Space  Opacities", "x")])
    assert trie.find(tokenise("air space opacity").words) == [Phrase("x", 0, 2)]


# Gap patterns. The oracle tries every assignment of places to words.


def matches(word: str, choice: str) -> bool:
    return any(word.startswith(o[:-1]) if o.endswith("*") else word == fold(o) for o in choice.split("|"))


def combinations_of(
    words: Sequence[str], needed: Sequence[str], free: Collection[int], barriers: Collection[int]
) -> set[tuple[int, ...]]:
    """Every allowed choice of distinct places for the words of one pattern."""
    allowed = set()
    for chosen in permutations(range(len(words)), len(needed)):
        tokens = tuple(sorted(chosen))
        inner = [i for i in range(tokens[0] + 1, tokens[-1]) if i not in tokens]
        if (
            all(matches(words[i], choice) for i, choice in zip(chosen, needed, strict=True))
            and tokens[-1] - tokens[0] <= MAX_SPAN
            and not any(i in barriers for i in inner)
            and sum(i not in free for i in inner) <= MAX_GAP
        ):
            allowed.add(tokens)
    return allowed


GAP_WORDS = st.sampled_from(["heart", "enlarged", "enlarging", "large", "left", "x", "y"])
CHOICES = st.sampled_from(["heart", "enlarg*", "enlarged|large", "left", "x", "hear*|left", "y"])


@given(
    words=st.lists(GAP_WORDS, max_size=9),
    patterns=st.lists(st.lists(CHOICES, min_size=2, max_size=3, unique=True), min_size=1, max_size=4),
    free=st.frozensets(st.integers(0, 8)),
    barriers=st.frozensets(st.integers(0, 8), max_size=2),
)
@settings(max_examples=500, deadline=None)
def test_gap_patterns_agree_with_all_combinations(
    words: list[str], patterns: list[list[str]], free: frozenset[int], barriers: frozenset[int]
) -> None:
    named = [(needed, str(number)) for number, needed in enumerate(patterns)]
    found = GapPatterns(named).find(words, free, sorted(barriers))
    for needed, target in named:
        allowed = combinations_of(words, needed, free, barriers)
        mine = [m.tokens for m in found if m.target == target]
        assert set(mine) <= allowed
        assert len(mine) <= len(words)
        # Only so many places are tried for each word; where that bound cannot bite, what exists is found, and the
        # tightest choice of all is among it.
        counts = [sum(matches(w, choice) for w in words) for choice in needed]
        if max(counts, default=0) <= 3:
            assert bool(mine) == bool(allowed)
            if allowed:
                assert min(t[-1] - t[0] for t in mine) == min(t[-1] - t[0] for t in allowed)


def gaps(words: str, *needed: str, free: str = "", barrier: str = "") -> list[tuple[int, ...]]:
    said = words.split()
    skipped = {i for i, w in enumerate(said) if w in free.split()}
    stops = [i for i, w in enumerate(said) if w in barrier.split()]
    return [m.tokens for m in GapPatterns([(needed, "t")]).find(said, skipped, stops)]


@pytest.mark.parametrize(
    ("words", "needed", "expected"),
    [
        ("a b", ("a", "b"), [(0, 1)]),
        ("b a", ("a", "b"), [(0, 1)]),
        ("a 1 2 3 4 b", ("a", "b"), [(0, 5)]),
        ("a 1 2 3 4 5 b", ("a", "b"), []),
        ("a", ("a", "b"), []),
        ("a a", ("a", "a|b"), [(0, 1), (0, 1)]),
        ("a", ("a", "a|b"), []),  # one word cannot be both
        ("a b 1 b", ("a", "b"), [(0, 1)]),
    ],
)
def test_gaps(words: str, needed: tuple[str, ...], expected: list[tuple[int, ...]]) -> None:
    assert gaps(words, *needed) == expected


def test_free_words_do_not_count_and_barriers_stop() -> None:
    assert gaps("a f f f f f f f b", "a", "b", free="f") == [(0, 8)]
    assert gaps("a but b", "a", "b", barrier="but") == []
    assert gaps("a a but b", "a", "a|b", barrier="but")[0] == (0, 1)
    far = " ".join(["a", *["f"] * MAX_SPAN, "b"])
    assert gaps(far, "a", "b", free="f") == []
    assert gaps(far.replace("f ", "", 1), "a", "b", free="f") == [(0, MAX_SPAN)]


def test_endings_and_choices() -> None:
    for word in ("enlarge", "enlarged", "enlargement"):
        assert gaps(f"heart {word}", "heart", "enlarg*") == [(0, 1)]
    assert gaps("heart enlar", "heart", "enlarg*") == []
    assert gaps("cardiac large", "heart|cardiac", "enlarg*|large") == [(0, 1)]


def test_repetition_costs_no_more_than_the_sentence() -> None:
    words = ["a", "b", "c", "d"] * 50
    found = GapPatterns([(("a", "b", "c", "d"), "t")]).find(words, (), ())
    assert len(found) == 50


# Folding.


@pytest.mark.parametrize(
    ("written", "folded"),
    [
        ("opacities", "opacity"), ("effusions", "effusion"), ("bullae", "bulla"), ("bulla", "bulla"),
        ("pneumothoraces", "pneumothorax"), ("apices", "apex"), ("hila", "hilum"), ("vertebrae", "vertebra"),
        ("bases", "base"), ("bronchi", "bronchus"), ("sulci", "sulcus"), ("foci", "focus"), ("masses", "mass"),
        ("metastases", "metastasis"), ("atelectases", "atelectasis"), ("granulomata", "granuloma"),
        ("granulomas", "granuloma"), ("ribs", "rib"), ("densities", "density"), ("bodies", "body"),
        ("nodules", "nodule"), ("lungs", "lung"), ("Lungs", "lung"), ("EFFUSIONS", "effusion"), ("discs", "disc"),
        ("disk", "disc"), ("disks", "disc"), ("calculi", "calculus"), ("emboli", "embolus"),
        # British spellings meet the American ones.
        ("oedema", "edema"), ("oedematous", "edematous"), ("haemothorax", "hemothorax"), ("oesophagus", "esophagus"),
        ("oesophageal", "esophageal"), ("tumour", "tumor"), ("tumours", "tumor"), ("fibre", "fiber"),
        ("fibres", "fiber"), ("centre", "center"), ("haemorrhage", "hemorrhage"), ("haematoma", "hematoma"),
        # What is no plural stays.
        ("gas", "gas"), ("is", "is"), ("has", "has"), ("mass", "mass"), ("thrombus", "thrombus"), ("pus", "pus"),
        ("less", "less"), ("atelectasis", "atelectasis"), ("stenosis", "stenosis"), ("series", "series"),
        ("callus", "callus"), ("us", "us"), ("diffuse", "diffuse"), ("vs", "versus"),
    ],
)  # fmt: skip
def test_fold(written: str, folded: str) -> None:
    assert fold(written) == folded


@given(st.from_regex(r"[A-Za-z]{1,20}", fullmatch=True))
def test_folding_ignores_case_and_never_lengthens_by_much(word: str) -> None:
    assert fold(word) == fold(word.lower()) == fold(word.upper())
    assert len(fold(word)) <= len(word) + 7
    assert fold(word) == fold(word).lower()


def test_tokens_and_their_places() -> None:
    text = "T12: 5mm, air-space (2.5 x 3) patient's."
    words, starts, ends = tokenise(text)
    assert [text[s:e] for s, e in zip(starts, ends, strict=True)] == [
        "T", "12", ":", "5", "mm", ",", "air", "space", "(", "2.5", "x", "3", ")", "patient", "s",
    ]  # fmt: skip
    assert words[6:8] == ["air", "space"]
    assert tokenise(text, 10, 19).words == ["air", "space"]
    assert tokenise(text, 10, 19).starts == [10, 14]


@given(st.text(max_size=60), st.integers(0, 60), st.integers(0, 60))
def test_places_of_any_text_are_inside_and_in_order(text: str, start: int, end: int) -> None:
    words, starts, ends = tokenise(text, start, end)
    assert len(words) == len(starts) == len(ends)
    assert all(start <= s < e <= min(end, len(text)) for s, e in zip(starts, ends, strict=True))
    assert starts == sorted(starts)
    assert all(e <= s for e, s in zip(ends, starts[1:], strict=False))


def test_stops_that_may_end_a_clause_are_tokens() -> None:
    assert tokenise("on the L. No 2.5 vs. St. Jude e.g.").words == [
        "on", "the", "l", ".", "no", "2.5", "versus", "st", "jude", "e", "g",
    ]  # fmt: skip


def test_an_endless_word_matches_nothing() -> None:
    assert tokenise("a" * LONGEST).words == ["a" * LONGEST]
    assert tokenise("a" * (LONGEST + 1)).words == [""]


def test_other_scripts_separate() -> None:
    assert tokenise("\u043d\u0435\u0442 effusion \u80ba opacity").words == ["effusion", "opacity"]


def test_folded_phrases_and_word_sets() -> None:
    assert fold_phrase("Ground-glass Opacities") == ("ground", "glass", "opacity")
    assert fold_phrase("...") == ()
    assert word_set("the Lungs , (") == {"the", "lung", ",", "("}
