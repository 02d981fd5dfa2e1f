"""What the concept and text legs search of a case, and of a segment: its rows of the posting lists.

Rows follow from a case's record alone, so a segment that is merged, or rewritten by an erasure, has exactly the
concepts and words of the cases that are in it. Made with one ontology and in one form: a segment written with others
counts as unread until `prelim-index reread`, as does one from before there were lists.
"""

import io
import zipfile
from array import array
from collections import deque
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from retrieval.comparison import ConceptSet
from retrieval.extraction.extractor import affirmed, embedded
from retrieval.mentions import ReadConcepts
from retrieval.ontology.ontology import load
from retrieval.ranking import postings, text
from retrieval.ranking.concept_sets import concepts_of_report
from retrieval.ranking.lists import PostingLists
from retrieval.records import Case

FORM: Final = "postings-2"
"""Changes whenever the same case would give other rows; degrees, sides and words are said in `retrieval.ranking`."""


def made_by() -> str:
    """What rows are made with here, as written beside them."""
    return f"{FORM}/{load().version}"


class CaseRows(NamedTuple):
    """One case in the lists, each key with its byte."""

    concepts: Mapping[str, int]
    words: Mapping[str, int]


class SegmentPostings(NamedTuple):
    """The lists of one segment; ordinals are the segment's."""

    concepts: PostingLists
    """Who says what of which concept."""
    words: PostingLists
    """Who has which word."""
    read: NDArray[np.bool_]
    """Of each case whether anything has read it: one that nobody read says nothing, not even by its silence."""


def concept_set(case: Case) -> ConceptSet | None:
    """What its report says, without concepts that this ontology does not have; None when nothing has read it."""
    if case.concepts is None:
        return None
    ontology = load()
    return concepts_of_report(case.concepts.within(ontology), ontology)


def known(query: ConceptSet) -> ConceptSet:
    """What of a query this ontology has; another version may have asked."""
    ontology = load()
    return query.model_copy(
        update={
            field: {concept: value for concept, value in getattr(query, field).items() if concept in ontology}
            for field in ("present", "absent", "sides", "sites")
        }
    )


def words_affirmed(read: ReadConcepts) -> list[str]:
    """The sentences that the text leg searches, without what they deny (evaluation/measured/legs.json)."""
    extractor = embedded()
    return [affirmed(sentence, extractor.read(sentence)) for sentence in read.standalone]


class RowMaker:
    """Cases to rows, one at a time; remembers what follows from each concept."""

    def __init__(self) -> None:
        self._waiting: deque[ConceptSet] = deque()
        # `postings.rows` takes one case after another; it is handed each as it comes.
        self._concepts = iter(postings.rows(iter(self._waiting.popleft, None), load()))

    def rows(self, case: Case) -> CaseRows | None:
        """None for a case that nobody has read."""
        concepts = concept_set(case)
        if concepts is None or case.concepts is None:
            return None
        self._waiting.append(concepts)
        (words,) = text.rows([words_affirmed(case.concepts)])
        return CaseRows(next(self._concepts), words)


class PostingsWriter:
    """Gathers the rows of one segment by ordinal."""

    def __init__(self) -> None:
        self._concepts, self._words = _Lists(), _Lists()
        self._read: list[bool] = []

    def add(self, rows: CaseRows | None) -> None:
        """The next case's."""
        if rows is not None:
            self._concepts.add(len(self._read), rows.concepts)
            self._words.add(len(self._read), rows.words)
        self._read.append(rows is not None)

    def finish(self) -> SegmentPostings:
        """All of them."""
        cases = len(self._read)
        return SegmentPostings(self._concepts.finish(cases), self._words.finish(cases), np.array(self._read, bool))


class _Lists:
    """Lists that grow case by case; `PostingLists.from_rows` would need every row at once."""

    def __init__(self) -> None:
        self._found: dict[str, tuple[array[int], bytearray]] = {}

    def add(self, ordinal: int, row: Mapping[str, int]) -> None:
        for key, code in row.items():
            if key not in self._found:
                self._found[key] = (array("i"), bytearray())
            ordinals, codes = self._found[key]
            ordinals.append(ordinal)
            codes.append(code)

    def finish(self, cases: int) -> PostingLists:
        keys = sorted(self._found)
        ordinals = [np.frombuffer(self._found[key][0], np.intc) for key in keys]
        return PostingLists(
            keys,
            np.cumsum([0, *map(len, ordinals)], dtype=np.int64),
            np.concatenate([np.empty(0, np.int32), *ordinals], dtype=np.int32),
            np.frombuffer(b"".join(bytes(self._found[key][1]) for key in keys), np.uint8),
            cases,
        )


def to_bytes(kept: SegmentPostings) -> bytes:
    """One uncompressed npz, the same for the same lists; nothing is pickled."""
    arrays: dict[str, NDArray[Any]] = {"by": np.array([made_by().encode()]), "read": kept.read}
    for name, lists in (("concepts", kept.concepts), ("words", kept.words)):
        arrays |= {f"{name}.{part}": values for part, values in lists.to_arrays().items()}
        # One byte string: an array of strings is as wide as its longest everywhere.
        arrays[f"{name}.keys"] = np.frombuffer("\n".join(lists.keys).encode(), np.uint8)
    file = io.BytesIO()
    np.savez(file, allow_pickle=False, **arrays)
    return file.getvalue()


def from_bytes(body: bytes) -> SegmentPostings | None:
    """What `to_bytes` wrote; None for lists of another form or ontology. Raises ValueError for what is no such file."""
    try:
        with np.load(io.BytesIO(body), allow_pickle=False) as file:
            if bytes(file["by"][0]).decode() != made_by():
                return None
            return SegmentPostings(_lists(file, "concepts"), _lists(file, "words"), np.asarray(file["read"], bool))
    except (KeyError, IndexError, OSError, zipfile.BadZipFile) as error:
        raise ValueError("these are no posting lists") from error


def _lists(file: Mapping[str, NDArray[Any]], name: str) -> PostingLists:
    arrays = {part: file[f"{name}.{part}"] for part in ("starts", "ordinals", "codes", "cases")}
    keys = file[f"{name}.keys"].tobytes()
    arrays["keys"] = np.array(keys.split(b"\n") if keys else [], np.bytes_)
    return PostingLists.from_arrays(arrays)
