"""How far a bias reaches, tokenizer by tokenizer: ours on phrases against CCD's on word heads.

Both rules are asked the same question, through the same door: which words, written after "The chest shows" one token at
a time, would have met a bias on any of their tokens? The labels should; ordinary words of a report should not, and
least of all the article "a".
"""

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, Literal

from generation.decoding.bias import PhraseBias, PhraseTrie, log_odds, ontology_forms, published_bias
from generation.decoding.tokenizer import HuggingFaceTokenizer, SentencePieceTokenizer, TekkenTokenizer, Tokenizer
from retrieval.errors import MissingDependency, RequestError
from retrieval.ontology.ontology import load
from retrieval.record import Record

Family = Literal["SentencePiece", "byte-level BPE", "Tekken"]

LABELS: Final[Mapping[str, str]] = {
    "Atelectasis": "atelectasis",
    "Consolidation": "consolidation",
    "Pneumothorax": "pneumothorax",
    "Edema": "pulmonary edema",
    "Effusion": "pleural effusion",
    "Pneumonia": "pneumonia",
    "Cardiomegaly": "cardiomegaly",
    "Lung Lesion": "lung lesion",
    "Fracture": "fracture",
    "Lung Opacity": "lung opacity",
    "Enlarged Cardiomediastinum": "enlarged cardiomediastinum",
}
"""What CCD's classifier of findings tells apart, with our concept of each; the published rule adds the two views."""
VIEWS: Final = ("Frontal", "Lateral")
_WORDS: Final = """
    a an and are as at again also appear apparent aorta aortic abnormality air apical all acute
    the there this is in of on or no not for from with within without seen noted which
    heart cardiac cardiomediastinal silhouette size contour normal mild moderate severe small large
    lungs clear lobe lower left right upper base basilar line lateral length level low
    pulmonary pleural patchy prominent patient portable present possible probable process position
    evidence elevated extending examination edge element effaced early each
    chest change catheter consistent contours considered compared congestion costophrenic calcified
    focal findings following free frontal film folds osseous old
    enteric endotracheal entire ends vascular view volumes unchanged stable tip tube
"""
BYSTANDERS: Final = tuple(_WORDS.split())
"""Ordinary words of reports that name no label, many with a label's first letters."""

_EVIDENCE: Final = 0.9
"""Probability given to every label: where the bias falls does not depend on it."""
_CONTEXT: Final = "The chest shows"

RuleName = Literal["published", "phrases", "lexicon"]
"""CCD's rule; ours with the labels alone; ours with the ontology's other concepts claiming their words."""
Rule = Callable[[Sequence[int]], Mapping[int, float]]


class BiasReach(Record):
    """What one rule touches with one tokenizer."""

    tokenizer: str
    """Whose vocabulary: a file's name."""
    family: Family
    """How it keeps the blank before a word."""
    rule: RuleName
    """Whose rule."""
    tokens: int
    """Distinct tokens that may be biased at some place."""
    labels: int
    """Labels asked for."""
    labels_reached: int
    """Labels that meet a bias when written in lower case inside a sentence."""
    article: bool
    """Whether the article "a" meets one."""
    bystanders: tuple[str, ...]
    """Ordinary words that meet one."""
    denied_reached: int
    """Labels that meet one after "no"."""


class BiasTable(Record):
    """The reach of both rules for every tokenizer at hand."""

    bystanders_asked: int
    """Ordinary words that were tried."""
    rows: tuple[BiasReach, ...]
    """Three for each tokenizer: the published rule, then ours alone and in the ontology."""


def touched(tokenizer: Tokenizer, rule: Rule, context: str, word: str) -> bool:
    """Whether any token of a word, written after a context, would have met a bias when its turn came."""
    before = tokenizer.encode(context)
    whole = tokenizer.encode(f"{context} {word}")
    return any(token in rule(whole[:i]) for i, token in enumerate(whole) if i >= len(before))


def reaches(name: str, family: Family, tokenizer: Tokenizer) -> list[BiasReach]:
    """All rules for one tokenizer."""
    everywhere = published_bias(tokenizer, dict.fromkeys((*LABELS, *VIEWS), _EVIDENCE))
    phrases = PhraseBias(tokenizer, {label.lower(): log_odds(_EVIDENCE) for label in LABELS})
    trie = PhraseTrie(tokenizer, ontology_forms(load()))
    lexicon = PhraseBias(trie, {concept: log_odds(_EVIDENCE) for concept in LABELS.values()})
    written = [label.lower() for label in LABELS]

    def row(rule: RuleName, tokens: int, at: Rule) -> BiasReach:
        met = [word for word in BYSTANDERS if touched(tokenizer, at, _CONTEXT, word)]
        return BiasReach(
            tokenizer=name,
            family=family,
            rule=rule,
            tokens=tokens,
            labels=len(written),
            labels_reached=sum(touched(tokenizer, at, _CONTEXT, label) for label in written),
            article="a" in met,
            bystanders=tuple(met),
            denied_reached=sum(touched(tokenizer, at, f"{_CONTEXT} no", label) for label in written),
        )

    return [
        row("published", len(everywhere), lambda generated: everywhere),
        row("phrases", len(phrases.tokens), phrases.at),
        row("lexicon", len(lexicon.tokens), lexicon.at),
    ]


def read_tokenizer(path: Path) -> tuple[Family, Tokenizer]:
    """A tokenizer from a file (SentencePiece model, Tekken JSON) or a folder with a `tokenizer.json`."""
    if path.is_dir():
        _need("transformers")
        from transformers import PreTrainedTokenizerFast  # noqa: PLC0415 - only where one is asked for

        loaded = HuggingFaceTokenizer(PreTrainedTokenizerFast(tokenizer_file=str(path / "tokenizer.json")))
        marked = any("\u2581" in piece for piece in loaded.pieces(loaded.encode("is is")))
        return ("SentencePiece" if marked else "byte-level BPE"), loaded
    if path.name.startswith("tekken") and path.suffix == ".json":
        _need("mistral_common")
        from mistral_common.tokens.tokenizers.tekken import Tekkenizer  # noqa: PLC0415

        return "Tekken", TekkenTokenizer(Tekkenizer.from_file(path))
    if ".model" in path.name:
        _need("sentencepiece")
        from sentencepiece import SentencePieceProcessor  # noqa: PLC0415

        return "SentencePiece", SentencePieceTokenizer(SentencePieceProcessor(model_file=str(path)))
    raise RequestError(
        f"{path.name} is no tokenizer that is read here", fix="a *.model file, a tekken*.json, or a folder"
    )


def shipped_tokenizers() -> list[Path]:
    """The real tokenizers inside the wheel of mistral-common, one for each vocabulary; empty without the package."""
    found = importlib.util.find_spec("mistral_common")
    if found is None or found.origin is None:
        return []
    data = Path(found.origin).parent / "data"
    return [path for path in (data / "tokenizer.model.v1", *sorted(data.glob("tekken_*.json"))) if path.is_file()]


def bias_table(paths: Sequence[Path] = ()) -> BiasTable:
    """The reach of both rules for the tokenizers named, or for those that mistral-common ships."""
    chosen = list(paths) or shipped_tokenizers()
    if not chosen:
        _need("mistral_common")
    rows: list[BiasReach] = []
    for path in chosen:
        family, tokenizer = read_tokenizer(path)
        rows += reaches(path.name, family, tokenizer)
    return BiasTable(bystanders_asked=len(BYSTANDERS), rows=tuple(rows))


def _need(package: str) -> None:
    if importlib.util.find_spec(package) is None:
        raise MissingDependency(f"{package} is not installed", fix="pip install 'prelim[models]'")
