"""The phrase bias on every tokenizer family: the phrase is raised, nothing else is, and a denial switches it off."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

for package in ("transformers", "sentencepiece", "mistral_common"):
    pytest.importorskip(package, reason="pip install 'prelim[models]'")

import sentencepiece  # noqa: E402
from tokenizers import Tokenizer as Trained  # noqa: E402
from tokenizers import decoders, models, pre_tokenizers, trainers  # noqa: E402

from generation.decoding import bias_table as tables  # noqa: E402
from generation.decoding.bias import (  # noqa: E402
    PhraseBias,
    PhraseTrie,
    log_odds,
    ontology_forms,
    published_bias,
    repeated_ngrams,
)
from generation.decoding.tokenizer import Tokenizer  # noqa: E402
from retrieval.errors import RequestError  # noqa: E402
from retrieval.extraction.cues import CUES  # noqa: E402
from retrieval.ontology.ontology import load  # noqa: E402

# Invented for training tokenizers: words of the trade in no report's order.
TEXT = [
    f"{degree} {side} {what} with a {other} near the {place}.\nAgain a {what}, and no {other} at the {place} ({side})."
    for degree in ("A small", "The large", "Some mild", "As before, an acute")
    for side in ("left", "right", "bilateral")
    for what in ("pneumonia", "pneumothorax", "pleural effusion", "atelectasis", "pulmonary edema", "lung lesion")
    for other in ("cardiomegaly", "lung opacity", "rib fracture", "consolidation", "pneumoperitoneum", "pleural plaque")
    for place in ("base", "apex", "heart", "hilum")
]
LABELS = {
    "pneumonia": 1.0,
    "pneumothorax": -1.0,
    "pleural effusion": 2.0,
    "atelectasis": 0.5,
    "lung opacity": 1.5,
    "lung lesion": -2.0,
}
FAMILIES = ("sentencepiece trained", "sentencepiece mistral", "byte-level trained", "tekken")


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Where each family's tokenizer is: two trained here, two real ones out of mistral-common's wheel."""
    folder = tmp_path_factory.mktemp("tokenizers")
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXT),
        model_prefix=str(folder / "tiny"),
        vocab_size=380,
        model_type="bpe",
        byte_fallback=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        minloglevel=2,
    )
    trained = Trained(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trained.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=330, initial_alphabet=alphabet, show_progress=False, special_tokens=["</s>"]
    )
    trained.train_from_iterator(TEXT, trainer)
    (folder / "bytes").mkdir()
    trained.save(str(folder / "bytes" / "tokenizer.json"))
    model, *tekken = tables.shipped_tokenizers()
    return dict(zip(FAMILIES, (folder / "tiny.model", model, folder / "bytes", tekken[0]), strict=True))


@pytest.fixture(scope="module")
def tokenizers(places: dict[str, Path]) -> dict[str, Tokenizer]:
    return {name: tables.read_tokenizer(path)[1] for name, path in places.items()}


@pytest.fixture(params=FAMILIES)
def tokenizer(request: pytest.FixtureRequest, tokenizers: dict[str, Tokenizer]) -> Tokenizer:
    return tokenizers[request.param]


def continued(tokenizer: Tokenizer, text: str, more: str) -> tuple[list[int], list[int]]:
    """The tokens of a text, and those that follow when more is written after it."""
    before, whole = tokenizer.encode(text), tokenizer.encode(text + more)
    assert whole[: len(before)] == before
    return before, whole[len(before) :]


def last_word(tokenizer: Tokenizer, tokens: Sequence[int]) -> str:
    return tokenizer.decode(tokens).split()[-1].strip("(.,").lower()


def met(tokenizer: Tokenizer, bias: PhraseBias, text: str, more: str) -> dict[int, float]:
    """Which tokens of `more`, by number, are biased when their turn comes after `text`, and by how much."""
    before, after = continued(tokenizer, text, more)
    added = {i: bias.at([*before, *after[:i]]) for i in range(len(after))}
    return {i: added[i][token] for i, token in enumerate(after) if token in added[i]}


@pytest.mark.parametrize("label", LABELS)
@pytest.mark.parametrize("text", ["There is", "There is a small", "The base is clear. There is a", "Again (a"])
def test_a_phrase_inside_a_sentence_is_raised_once_by_its_own_value(
    tokenizer: Tokenizer, label: str, text: str
) -> None:
    found = met(tokenizer, PhraseBias(tokenizer, LABELS), text, f" {label}")
    assert list(found.values()) == [LABELS[label]]
    ((at, _),) = found.items()
    before, after = continued(tokenizer, text, f" {label}")
    stands = tokenizer.decode([*before, *after[: at + 1]])[len(text) :].strip()
    assert label.startswith(stands)
    assert sum(ch.isalpha() for ch in stands) >= 3
    # No other label is written through this token.
    others = [continued(tokenizer, text, f" {other}")[1] for other in LABELS if other != label]
    assert after[: at + 1] not in [other[: at + 1] for other in others]


@pytest.mark.parametrize("label", LABELS)
def test_a_phrase_that_opens_a_sentence_or_a_line_is_raised(tokenizer: Tokenizer, label: str) -> None:
    bias = PhraseBias(tokenizer, LABELS)
    opening = label.capitalize()
    for text in ("The base is clear.", "Again:"):
        assert list(met(tokenizer, bias, text, f" {opening}").values()) == [LABELS[label]]
    for text in ("", "The base is clear.\n"):
        assert list(met(tokenizer, bias, text, opening).values()) == [LABELS[label]]


def test_every_raised_token_writes_on_a_phrase(tokenizer: Tokenizer) -> None:
    bias = PhraseBias(tokenizer, LABELS)
    words = {word for label in LABELS for word in label.split()}
    for text in ("", "There is a", "There is a left pleural", "A lung", "The heart is large.", "The heart.\n"):
        tokens = tokenizer.encode(text)
        for token, value in bias.at(tokens).items():
            word = last_word(tokenizer, [*tokens, token])
            assert any(whole.startswith(word) for whole in words), (text, word)
            assert value in LABELS.values()
            assert token in bias.tokens


def test_the_article_is_never_biased(tokenizer: Tokenizer) -> None:
    bias = PhraseBias(tokenizer, dict.fromkeys(("atelectasis", "aortic aneurysm", "a line", "ascites"), 2.0))
    for text in ("There is", "There is a", "Again,", "The heart. ", "", "\n"):
        tokens = tokenizer.encode(text)
        for written in ("a", "A", " a", " A"):
            for article in tokenizer.encode(written):
                assert article not in bias.at(tokens)


def test_a_head_that_two_labels_share_is_left_alone_and_the_token_after_it_is_not(tokenizer: Tokenizer) -> None:
    words = ("pneumothorax", "pneumoperitoneum", "pneumomediastinum")
    bias = PhraseBias(tokenizer, dict.fromkeys((*words, "lung lesion", "lung opacity"), 1.0))
    paths = [continued(tokenizer, "There is a", f" {word}")[1] for word in words]
    for word, path in zip(words, paths, strict=True):
        ((at, _),) = met(tokenizer, bias, "There is a", f" {word}").items()
        assert at > 0  # "pneum" or less opens them all
        assert sum(other[: at + 1] == path[: at + 1] for other in paths) == 1
    assert not met(tokenizer, bias, "There is a", " lung")
    assert met(tokenizer, bias, "There is a lung", " lesion")


def test_a_label_of_zero_claims_its_words_and_is_not_leant_on(tokenizer: Tokenizer) -> None:
    alone = PhraseBias(tokenizer, {"lung lesion": 1.0})
    assert met(tokenizer, alone, "There is a", " lung")
    claimed = PhraseBias(tokenizer, {"lung lesion": 1.0, "lung": 0.0})
    assert not met(tokenizer, claimed, "There is a", " lung")
    assert list(met(tokenizer, claimed, "There is a", " lung lesion").values()) == [1.0]
    assert claimed.unsettled == ()


def test_a_label_that_others_extend_is_settled_where_it_is_whole(tokenizer: Tokenizer) -> None:
    bias = PhraseBias(tokenizer, {"fracture": 1.0, "fracture line": 0.0, "fracture deformity": 0.0})
    assert list(met(tokenizer, bias, "There is a", " fracture").values()) == [1.0]


def test_another_wording_of_a_label_is_raised_like_it(tokenizer: Tokenizer) -> None:
    bias = PhraseBias(tokenizer, {"pleural effusion": 2.0}, forms={"pleural effusion": ["effusion", "pleural fluid"]})
    for wording in ("effusion", "pleural fluid", "pleural effusion"):
        assert set(met(tokenizer, bias, "There is a", f" {wording}").values()) == {2.0}
    assert not bias.at(tokenizer.encode("There is pleural fluid and"))


@pytest.mark.parametrize(
    "cue", ["no", "without", "negative for", "free of", "no new", "absence of", "not", "without any"]
)
def test_a_denial_switches_it_off_until_the_sentence_ends(tokenizer: Tokenizer, cue: str) -> None:
    bias = PhraseBias(tokenizer, LABELS)
    for text in (f"The base is {cue}", f"The base is {cue} large", f"{cue.capitalize()} fracture, base or"):
        assert not bias.at(tokenizer.encode(text))
        assert not met(tokenizer, bias, text, " pneumothorax")
    assert bias.at(tokenizer.encode(f"The base is {cue} fracture. The heart shows"))
    assert bias.at(tokenizer.encode(f"{cue.capitalize()} fracture.\n"))


def test_every_cue_that_denies_what_follows_is_known(tokenizers: dict[str, Tokenizer]) -> None:
    tokenizer = tokenizers["tekken"]
    bias = PhraseBias(tokenizer, LABELS)
    assert bias.at(tokenizer.encode("The base has"))
    for cue in (*CUES["deny_after"], *CUES["deny_new"]):
        assert not bias.at(tokenizer.encode(f"The base has {cue}")), cue


def test_a_phrase_that_only_looks_like_a_denial_does_not_switch_it_off(tokenizer: Tokenizer) -> None:
    bias = PhraseBias(tokenizer, LABELS)
    assert bias.at(tokenizer.encode("There is no change in the"))
    assert bias.at(tokenizer.encode("We cannot exclude"))
    # "no" could still go on to anything.
    assert not bias.at(tokenizer.encode("There is no"))


def test_a_word_that_begins_like_a_denial_is_no_denial(tokenizer: Tokenizer) -> None:
    bias = PhraseBias(tokenizer, {"nodule": 1.0, "node": 0.0, "notch": 0.0})
    assert list(met(tokenizer, bias, "There is a", " nodule").values()) == [1.0]


def test_what_the_sentence_names_already_is_not_raised_again(tokenizer: Tokenizer) -> None:
    bias = PhraseBias(tokenizer, LABELS)
    for named in ("pleural effusion", "pleural effusions", "Pleural effusion"):
        text = f"There is {named} and a"
        assert not met(tokenizer, bias, text, " pleural effusion")
        assert met(tokenizer, bias, text, " pneumonia")
        assert met(tokenizer, bias, f"There is {named}. There is a", " pleural effusion")


def test_a_word_without_a_blank_is_only_raised_where_it_would_be_a_word(tokenizers: dict[str, Tokenizer]) -> None:
    tokenizer = tokenizers["tekken"]
    bias = PhraseBias(tokenizer, {"effusion": 1.0})
    glued = tokenizer.encode("effusion")[0]
    for text in ("", "The heart.\n", "The heart ("):
        assert glued in bias.at(tokenizer.encode(text))
    for text in ("The hydro", "The heart", "The heart."):
        assert bias.at(tokenizer.encode(text))
        assert glued not in bias.at(tokenizer.encode(text))


def anew(trie: PhraseTrie, written: list[int]) -> dict[int, float]:
    """The slow form: from every place of the draft, follow all tokens since."""
    found: dict[int, float] = {}
    for first in range(len(written), -1, -1):
        begun = trie.begin(written[:first])
        for token in written[first:]:
            begun = begun and begun.on(token)
        for node in begun.nodes if begun else ():
            due = ((token, label) for token, label in node.due.items() if label not in begun.standing)
            found |= {token: LABELS[label] for token, label in due}
    return found


def test_what_is_remembered_of_a_draft_is_what_would_be_read_anew(tokenizer: Tokenizer) -> None:
    """Step by step, with another draft between, and from the beginning again: as if all were looked for anew."""
    trie = PhraseTrie(tokenizer, {label: (label,) for label in LABELS})
    remembers = PhraseBias(trie, LABELS)
    drafts = [tokenizer.encode(text) for text in TEXT[:2]]
    raised = 0
    for written in (*drafts, drafts[0]):
        for length in range(len(written) + 1):
            found = remembers.at(written[:length])
            assert found == PhraseBias(trie, LABELS).at(written[:length])
            assert found == anew(trie, written[:length])
            raised += len(found)
    assert raised


def test_log_odds_are_capped_at_the_logarithm_of_gamma(tokenizer: Tokenizer) -> None:
    bias = PhraseBias(tokenizer, {"pneumonia": 9.0, "pleural effusion": -math.inf, "fracture": 0.1}, gamma=5)
    assert set(bias.at(tokenizer.encode("There is a")).values()) <= {math.log(5), -math.log(5), 0.1}
    assert list(met(tokenizer, bias, "There is a", " pleural effusion").values()) == [-math.log(5)]


def test_any_tokens_at_all_are_answered_within_the_cap(tokenizer: Tokenizer) -> None:
    bias = PhraseBias(tokenizer, {"pneumonia": 9.0, "pneumothorax": -9.0})

    @given(st.lists(st.integers(3, 329), max_size=30))
    @settings(deadline=None, max_examples=60)
    def answered(tokens: list[int]) -> None:
        added = bias.at(tokens)
        assert added == bias.at(tuple(tokens))
        assert set(added) <= bias.tokens
        assert all(abs(value) <= math.log(10) for value in added.values())

    answered()


@pytest.mark.parametrize("wrong", [{"gamma": 1.0}, {"phrases": {"edema": math.nan}}])
def test_a_bias_that_is_no_number_is_refused(tokenizers: dict[str, Tokenizer], wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"gamma|number"):
        PhraseBias(tokenizers["tekken"], **{"phrases": LABELS, **wrong})


def test_in_the_whole_lexicon_a_label_is_still_reached_and_its_neighbours_words_are_not(tokenizer: Tokenizer) -> None:
    trie = PhraseTrie(tokenizer, ontology_forms(load()))
    bias = PhraseBias(trie, {"pneumothorax": 1.0, "pulmonary edema": 1.0, "lung lesion": -1.0})
    assert bias.unsettled == ()
    assert list(met(tokenizer, bias, "There is a", " pneumothorax").values()) == [1.0]
    assert list(met(tokenizer, bias, "There is a", " lung lesion").values()) == [-1.0]
    assert met(tokenizer, bias, "There is", " edema")
    for word in ("lung", "pneumonia", "pneumoperitoneum", "pulmonary", "heart", "a"):
        assert not met(tokenizer, bias, "There is a", f" {word}")


class Pieces:
    """A tokenizer of ten known pieces, so that the published rule can be followed by hand."""

    known = (
        "\u2581",
        "\u2581a",
        "tele",
        "ctasis",
        "\u2581Lung",
        "\u2581lung",
        "\u2581",
        "A",
        "\u2581Les",
        "\u2581les",
        "ion",
    )
    cut: ClassVar[dict[str, tuple[int, ...]]] = {
        "Atelectasis": (6, 7, 2, 3),
        "atelectasis": (1, 2, 3),
        "Lung Lesion": (4, 8, 10),
        "lung lesion": (5, 9, 10),
    }

    def encode(self, text: str, /) -> list[int]:
        return list(self.cut[text])

    def decode(self, tokens: Sequence[int], /) -> str:
        return "".join(self.pieces(tokens))

    def pieces(self, tokens: Sequence[int], /) -> list[str]:
        return [self.known[token] for token in tokens]


def test_the_published_rule_is_what_its_code_does() -> None:
    bias = published_bias(Pieces(), {"Atelectasis": 0.9, "Lung_Lesion": 0.02})
    # A lone mark opens the piece after it, one decay later; the article gets the label's full value.
    assert bias == pytest.approx({
        6: log_odds(0.9), 7: log_odds(0.9 * 0.95), 1: log_odds(0.9),
        4: -math.log(10), 5: -math.log(10), 8: -math.log(10), 9: -math.log(10),
    })  # fmt: skip


def test_where_two_labels_meet_the_published_rule_keeps_the_larger() -> None:
    class Shared(Pieces):
        cut: ClassVar[dict[str, tuple[int, ...]]] = {"x": (1,), "y": (1,)}

    assert published_bias(Shared(), {"x": 0.3, "y": 0.6}) == {1: log_odds(0.6)}


def test_the_published_rule_is_nearly_void_on_byte_level_vocabularies(tokenizers: dict[str, Tokenizer]) -> None:
    for name in ("byte-level trained", "tekken"):
        tokenizer = tokenizers[name]
        bias = published_bias(tokenizer, {"Pneumothorax": 0.9, "Effusion": 0.9, "Edema": 0.9})
        for label in ("pneumothorax", "effusion", "edema"):
            _, after = continued(tokenizer, "There is a", f" {label}")
            assert after[0] not in bias


def test_log_odds_are_finite_everywhere() -> None:
    assert -log_odds(0) == pytest.approx(log_odds(1)) == pytest.approx(13.8, abs=0.1)
    assert log_odds(0.5) == 0


@given(st.lists(st.integers(0, 3), max_size=30), st.integers(1, 4))
def test_a_banned_token_is_one_that_would_repeat_a_run(tokens: list[int], size: int) -> None:
    runs = {tuple(tokens[i : i + size]) for i in range(len(tokens) - size + 1)}
    expected = {token for token in range(4) if tuple([*tokens, token][-size:]) in runs and len(tokens) + 1 > size}
    banned = repeated_ngrams(tokens, size)
    assert set(banned) == expected
    assert all(value == -math.inf for value in banned.values())


@pytest.mark.slow
def test_the_table_says_ours_reaches_every_label_no_article_and_nothing_denied(places: dict[str, Path]) -> None:
    table = tables.bias_table([places["byte-level trained"], *tables.shipped_tokenizers()])
    ours = [row for row in table.rows if row.rule != "published"]
    assert len(ours) == 2 * len(table.rows) // 3 >= 6
    for row in ours:
        assert row.labels_reached == row.labels == len(tables.LABELS)
        assert not row.article
        assert row.denied_reached == 0
    published = {row.family: row for row in table.rows if row.rule == "published"}
    assert published["SentencePiece"].denied_reached == published["SentencePiece"].labels_reached == len(tables.LABELS)
    assert published["Tekken"].labels_reached < len(tables.LABELS) / 2


def test_a_file_that_is_no_tokenizer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="no tokenizer"):
        tables.read_tokenizer(tmp_path / "vocabulary.txt")
