"""Drafted and reference texts in, word overlap out: BLEU-1 to 4 and ROUGE-L, as papers on report drafting print them.

They measure wording, not truth: "no effusion" and "effusion" differ in one word. They stand here to be comparable, so
everything that moves such numbers is fixed and said in the record:

* tokens: lower case, then every run of a-z and 0-9. Punctuation is dropped; numbers count.
* BLEU (Papineni et al., ACL 2002): n-gram counts summed over all studies, one reference each, no smoothing, no
  effective order; computed by sacrebleu (Post, WMT 2018) on our tokens.
* ROUGE-L (Lin, 2004): (1 + b^2) P R / (R + b^2 P) with b = 1.2, which weighs recall more, as in COCO captions (Chen et
  al., arXiv:1504.00325); mean over studies. Precision and recall are rouge_score's, on our tokens, without stemming.

A draft without words is an answer that says nothing: it scores 0. A reference without words cannot be compared with.
"""

import re
from collections.abc import Sequence

import numpy as np
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu.metrics.bleu import BLEU

from evaluation.statistics import Numbers
from retrieval.errors import NotScorable
from retrieval.records import Record

TOKENISER = "lower case, [a-z0-9]+"
BETA = 1.2
_TOKEN = re.compile(r"[a-z0-9]+")


class TextScores(Record):
    """Word overlap of drafted texts with their reference reports, each from 0 (none) to 1 (the same words)."""

    bleu1: float
    """Corpus BLEU with unigrams only."""
    bleu2: float
    """Corpus BLEU with n-grams up to 2."""
    bleu3: float
    """Corpus BLEU with n-grams up to 3."""
    bleu4: float
    """Corpus BLEU with n-grams up to 4: what papers call BLEU."""
    rouge_l: float
    """Mean over studies of the longest common subsequence F-measure."""
    n: int
    """How many studies."""
    tokeniser: str = TOKENISER
    """How texts were cut into tokens."""
    beta: float = BETA
    """Weight of recall in ROUGE-L."""


def tokens(text: str) -> list[str]:
    """The words and numbers of a text in lower case: the only tokenisation used here."""
    return _TOKEN.findall(text.lower())


def text_scores(candidates: Sequence[str], references: Sequence[str]) -> TextScores:
    """Score drafted texts against one reference each; order of studies does not matter.

    Raises NotScorable for no study, unequal numbers, a reference without a token, or references that are all shorter
    than four tokens, for which BLEU-4 does not exist.
    """
    each = rouge_l(candidates, references)
    ours, theirs = [" ".join(tokens(c)) for c in candidates], [" ".join(tokens(r)) for r in references]
    if all(len(r.split()) < 4 for r in theirs):
        raise NotScorable("no reference has four tokens, so BLEU-4 is not defined", fix="longer references")
    one, two, three, four = (_bleu(order, ours, theirs) for order in (1, 2, 3, 4))
    return TextScores(bleu1=one, bleu2=two, bleu3=three, bleu4=four, rouge_l=float(each.mean()), n=len(each))


def rouge_l(candidates: Sequence[str], references: Sequence[str]) -> Numbers:
    """ROUGE-L of each study, float64[n], for intervals and paired differences.

    Raises NotScorable for no study, unequal numbers or a reference without a token.
    """
    if not references or len(candidates) != len(references):
        raise NotScorable(
            f"{len(candidates)} texts and {len(references)} references do not pair", fix="one reference per text"
        )
    empty = sum(not tokens(r) for r in references)
    if empty:
        raise NotScorable(f"{empty} of {len(references)} references hold no token", fix="leave those studies out")
    scorer = RougeScorer(["rougeL"], tokenizer=_Tokeniser())
    found = [scorer.score(r, c)["rougeL"] for c, r in zip(candidates, references, strict=True)]
    precision = np.array([f.precision for f in found], dtype=np.float64)
    recall = np.array([f.recall for f in found], dtype=np.float64)
    below = recall + BETA**2 * precision
    return np.divide((1 + BETA**2) * precision * recall, below, out=np.zeros_like(below), where=below > 0)


class _Tokeniser:
    """What rouge_score asks for instead of its own stemming tokenizer."""

    def tokenize(self, text: str) -> list[str]:
        return tokens(text)


def _bleu(order: int, candidates: Sequence[str], references: Sequence[str]) -> float:
    """Corpus BLEU up to `order` of texts whose tokens stand between single blanks."""
    # force only silences sacrebleu's warning that the texts look tokenised, which they are.
    metric = BLEU(tokenize="none", smooth_method="none", effective_order=False, max_ngram_order=order, force=True)
    # exp(mean(log(100))) is a hair above 100.
    return min(1.0, float(metric.corpus_score(list(candidates), [list(references)]).score) / 100)
