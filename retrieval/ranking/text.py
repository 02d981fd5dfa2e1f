"""Words to cases: BM25 over the sentences that stand without an earlier study.

The form is Robertson and Zaragoza's (The Probabilistic Relevance Framework, 2009) with the never negative idf of
Lucene, ln(1 + (N - n + .5) / (n + .5)). It knows no grammar: "no pneumothorax" matches a pneumothorax, so words of
denial are not indexed at all, and what a report denies is for the concept leg to know.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from math import log
from typing import Final

import numpy as np
from numpy.typing import NDArray

from retrieval.extraction.tokens import tokenise, word_set
from retrieval.ranking.lists import Part, PostingLists, Similarities, best, merge
from retrieval.records import CaseId

K1: Final = 1.2
"""How soon a repeated word stops counting; the usual default, within the 1.2 to 2 that Robertson and Zaragoza give."""
B: Final = 0.75
"""How much long reports are held back; the usual default, within their .5 to .8."""
MOST: Final = 255
"""A word counts at most so often in one report: a byte's worth, where BM25 has long levelled off."""
STOP_WORDS: Final = word_set(
    "a an and are as at be been both but by can for from has have in into is it its of on or than that the their there "
    "these this to was were which with no not without nor neither noted seen appear appears evidence identified"
)
"""Function words, words of denial (see above), and the verbs that stand in every report."""


def words_of(text: str) -> Counter[str]:
    """The words of a text, folded as the extractor folds them; no punctuation, no stop words."""
    words = (word for word in tokenise(text).words if word[:1].isalnum())
    return Counter(word for word in words if word not in STOP_WORDS)


def rows(reports: Iterable[Sequence[str]]) -> Iterable[dict[str, int]]:
    """What `PostingLists.from_rows` takes, from each report's standalone sentences."""
    for sentences in reports:
        words: Counter[str] = Counter()
        for sentence in sentences:
            words += words_of(sentence)
        yield {word: min(count, MOST) for word, count in words.items()}


def idf(cases: int, having: int) -> float:
    """The information of a word that so many of the cases have."""
    return log(1 + (cases - having + 0.5) / (having + 0.5))


class TextPostings:
    """Every report of a snapshot, ready to be searched for words; counted over the living cases alone."""

    def __init__(self, parts: Sequence[Part]) -> None:
        """Segments with what is gone from them."""
        self.lists, self.case_ids = merge(parts)
        lengths = np.zeros(self.lists.cases)
        for word in self.lists.keys:
            ordinals, counts = self.lists[word]
            lengths[ordinals] += counts
        mean = float(lengths.sum()) / self.lists.cases if lengths.any() else 1.0
        self._held_back = K1 * (1 - B + B * (lengths / mean))

    @classmethod
    def build(cls, cases: Iterable[tuple[CaseId, Sequence[str]]]) -> "TextPostings":
        """From cases with their standalone sentences, in any order."""
        case_ids: list[CaseId] = []

        def reports() -> Iterable[Sequence[str]]:
            for case_id, sentences in cases:
                case_ids.append(case_id)
                yield sentences

        lists = PostingLists.from_rows(rows(reports()))
        return cls([Part(lists, case_ids)])

    def top(self, query: str, limit: int, keep: NDArray[np.bool_] | None = None) -> list[tuple[CaseId, float]]:
        """The most similar reports, equal ones by case id; a report with none of the words is none of them."""
        similarities = self.similarities(query)
        return [(self.case_ids[i], float(similarities[i])) for i in best(similarities, limit, keep)]

    def similarities(self, query: str) -> Similarities:
        """To every report, in the order of `case_ids`; not bounded by 1. Each word of the query counts once."""
        found = np.zeros(self.lists.cases)
        # In one fixed order, because sums of rounded numbers depend on it.
        for word in sorted(words_of(query)):
            ordinals, counts = self.lists[word]
            often = counts.astype(np.float64)
            found[ordinals] += idf(self.lists.cases, len(ordinals)) * (
                often * (K1 + 1) / (often + self._held_back[ordinals])
            )
        return found

    @property
    def nbytes(self) -> int:
        """Memory of the lists and lengths."""
        return self.lists.nbytes + self._held_back.nbytes
