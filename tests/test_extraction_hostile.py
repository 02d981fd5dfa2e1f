"""Texts that are no reports: nothing raises, and time and memory stay in proportion to their length.

Time is the process's own, measured against a plain report of the same length, so that a busy machine fails nothing.
"""

import random
import time
import tracemalloc
from collections.abc import Callable, Iterator

import pytest

from retrieval.extraction.cues import CUES
from retrieval.extraction.extractor import Extractor
from retrieval.extraction.priors import find_prior_references, standalone, strip_priors
from retrieval.extraction.tokens import fold, tokenise
from retrieval.ontology.ontology import load
from retrieval.sections import read_report

ONTOLOGY = load()
EXTRACTOR = Extractor(ONTOLOGY)
PLAIN = "There is a small left pleural effusion. No pneumothorax. The heart is mildly enlarged. The lungs are clear. "
LENGTH = 40_000
SLOWER = 15
"""Times as long as a plain text of the same length; the slowest found by search took 4.5."""


def repeat(piece: str, length: int = LENGTH) -> str:
    return (piece * (length // len(piece) + 1))[:length]


def spent(read: Callable[[str], object], text: str, runs: int = 1) -> float:
    """Seconds of this process, the least of some runs."""
    times = []
    for _ in range(runs):
        start = time.process_time()
        read(text)
        times.append(time.process_time() - start)
    return min(times)


# What is repeated without end: words that begin much, cues, what the patterns for measures and earlier studies look
# for, and what has no words at all.
REPEATED = [
    "no ", "left ", "opacity ", "no opacity ", "opacity or ", "opacity, or no effusion, ", "heart enlarged ",
    "heart normal ", "normal lungs clear heart ", "no evidence of no not without ", "cannot be excluded ",
    "opacity may represent pneumonia versus ", "history of if to exclude ", "left and right base ", "opacity is seen ",
    "chest wall mass ", "calcified costal cartilage hilum mid mediastinum ", "of the ", "and ", "but ", "not only ",
    "heart lung pleura costophrenic blunting enlarged calcified apex thickening ", "small large mild severe opacity ",
    "no no no no no opacity but no ", "not seen is not seen opacity ", "either whether possible may opacity ",
    "1", "1 ", "1 x ", "1x2x3x", "1-", "1.", "1.2.", "1..", "8 mm ", "8 ", "8 to ", "1 by 2 by ", "9999.999 x ", "mm ",
    "unchanged ", "compared to the prior study ", "stable, and unchanged ", "since ", "since the ", "no new ",
    "no significant interval change in the size of the ", "has been ", "is again more less ", "prior ", "from ",
    "evident unchanged evident retracted. ", "radiographs recent conspicuous increasing. ", "no change, or of in the ",
    "no. ", "No.\n", "vs. ", "dr. ", "A.B.", "aa.Bb", "e.g. ", "...", "?!", ". ", ".\n", "\n", "\r\n", "\r", " ",
    "\t \r",
    ",", ", ", ";", "; ", ":", "(", ")", "()", "[", "{", '"', "'", "/", "a/", "\\", "-", "- ", "* ", "1) ", "\u2022 ",
    "a", "A", "x ", "s ", "ies ", "oedem", "aA", "FINDINGS:\n", "FINDINGS: no ", "\u00e9", "\u80ba", "\U0001f600",
    "\x00", "\ud800", "\u202e", "\u200b", "\u0301", "\ufeff", "\u2028", "\x85", "\u0130", "\u00df", "<p>", "&amp;",
    "- a: {b: [", '{"a": [', "\u0644\u0627 \u064a\u0648\u062c\u062f ",
    "\u043d\u0435\u0442 \u0432\u044b\u043f\u043e\u0442\u0430. ",
]  # fmt: skip


@pytest.fixture(scope="module")
def plainly() -> dict[str, float]:
    """Seconds for the plain text, read and without earlier studies."""
    EXTRACTOR.read(PLAIN)
    text = repeat(PLAIN)
    return {"read": spent(EXTRACTOR.read, text, 3)}


@pytest.mark.parametrize("piece", REPEATED, ids=[ascii(p) for p in REPEATED])
def test_repetition_takes_time_in_proportion(piece: str, plainly: dict[str, float]) -> None:
    text = repeat(piece)
    for read in (EXTRACTOR.read, strip_priors):
        limit = SLOWER * plainly["read"]
        taken = spent(read, text)
        assert taken < limit or spent(read, text, 2) < limit, taken / plainly["read"]


MEGABYTES = ["no ", "left ", "1 x ", "a", " ", ".", "\n", ", ", "unchanged ", "x" * 39 + " ", "\U0001f600", "\x00"]


@pytest.mark.parametrize("piece", MEGABYTES, ids=[ascii(p)[:10] for p in MEGABYTES])
def test_a_megabyte_on_one_line_is_read(piece: str) -> None:
    text = repeat(piece, 1_000_000)
    assert spent(EXTRACTOR.read, text) < 30
    assert spent(strip_priors, text) < 30


@pytest.mark.parametrize("piece", ["opacity ", "no effusion, opacity or ", "unchanged effusion ", "1x2x3x", "no "])
def test_four_times_the_text_takes_about_four_times_as_long(piece: str) -> None:
    short, long = repeat(piece, 20_000), repeat(piece, 80_000)
    for read in (EXTRACTOR.read, strip_priors):
        limit = 10 * spent(read, short, 2) + 0.05
        assert spent(read, long) < limit or spent(read, long, 2) < limit


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(PLAIN * 200, id="plain"),
        pytest.param(repeat("opacity ", 20_000), id="one word"),
        pytest.param(repeat("a/", 20_000), id="nothing but tokens"),
        pytest.param(repeat("1x2x", 20_000), id="numbers"),
        pytest.param(repeat("no\n", 20_000), id="lines"),
        pytest.param(repeat("no change in the prior study. ", 20_000), id="earlier studies"),
    ],
)
def test_memory_stays_in_proportion(text: str) -> None:
    mentions = len(EXTRACTOR.read(text))
    tracemalloc.start()
    try:
        EXTRACTOR.read(text)
        strip_priors(text)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 200 * len(text) + 3_000 * mentions + 2_000_000, peak


def test_caches_are_bounded() -> None:
    bound = fold.cache_info().maxsize
    assert bound is not None
    assert bound <= 50_000
    letters = "abcdefghij"
    words = ("q" + "".join(letters[int(d)] for d in str(n)) for n in range(60_000))
    EXTRACTOR.read("The heart " + " heart ".join(words) + ".")
    assert fold.cache_info().currsize <= bound
    assert len(EXTRACTOR._gaps._memo) <= 50_000
    # What was learnt from rubbish does not change what is read.
    assert [ONTOLOGY[m.concept].slug for m in EXTRACTOR.read("The heart is enlarged.")] == ["cardiomegaly"]


def test_endless_words_are_not_kept() -> None:
    before = fold.cache_info().currsize
    tokenise("z" * 1_000_000)
    assert fold.cache_info().currsize == before


def test_ten_thousand_headings() -> None:
    report = read_report("FINDINGS:\nNo effusion.\n\nIMPRESSION:\nNo effusion.\n\n" * 5_000)
    start = time.process_time()
    read = EXTRACTOR.read_report(report)
    assert time.process_time() - start < 30
    assert len(read.mentions) == 10_000
    assert all(report.text[m.start : m.end] == "effusion" for m in read.mentions)
    assert read.standalone == ("No effusion.",)


def test_deep_negation_ends() -> None:
    [m] = EXTRACTOR.read("no " * 150 + "effusion")
    assert m.certainty == "absent"
    [m] = EXTRACTOR.read("no " * 100_000 + "effusion.")
    assert ONTOLOGY[m.concept].slug == "pleural_effusion"


# 500 texts of a seed: pieces of reports and of everything that is none, joined without sense.

SCRIPTS = [
    "\u041b\u0435\u0433\u043a\u0438\u0435 \u0431\u0435\u0437 \u043e\u0447\u0430\u0433\u043e\u0432",
    "\u80ba\u91ce\u6e05\u6670\u3002", "\u0644\u0627 \u0627\u0646\u0635\u0628\u0627\u0628",
    "\u05d0\u05d9\u05df \u05ea\u05e4\u05dc\u05d9\u05d8",
    "Kein Erguss, Herz nicht vergr\u00f6\u00dfert.", "Pas d'\u00e9panchement pleural.",
    "Sin derrame. \u00bfNeumon\u00eda?",
    "\u0394\u03b5\u03bd \u03c5\u03c0\u03ac\u03c1\u03c7\u03b5\u03b9", "\u0e44\u0e21\u0e48\u0e21\u0e35",
    "\u6c17\u80f8\u306a\u3057",
    "\u0130stanbul opac\u0131ty", "\ufb01brosis", "\uff45\uff46\uff46\uff55\uff53\uff49\uff4f\uff4e",
    "ef\u00adfusion", "opa\u200bcity",
]  # fmt: skip
RUBBISH = [
    "\x00", "\x07", "\x1b[31m", "\ud800", "\udfff", "\U0001f600", "\u202e", "\u2066", "\ufeff", "\ufffd", "\x85",
    "\u2028", "\r", "\n", "\n\n", "\t", "\x0b", "<script>alert(1)</script>", "&nbsp;", "{{7*7}}", "${x}", "%s%n",
    "'; DROP TABLE",
    "- a: &x [*x]", "!!python/object:os.system", '{"findings": [null, 1e999]}', "---\n...\n", "<!ENTITY a '&a;&a;'>",
    "1e309", "-0", "NaN", "9" * 400, "0." + "0" * 300, "1 x " * 40, "12.34.56.78", "8mm8cm8", "x" * 500, "((((((((((",
    "(a+)+$", "." * 300, "," * 200, ";" * 200, "no " * 60, "s" * 41, "s" * 40, "unchanged " * 30, "FINDINGS:" * 10,
    "IMPRESSION", "COMPARISON:", "\\N{NULL}", "\u0301" * 50, "a\u0301" * 50, "\U000e0001", "\u1e9e", "\u0149",
    "1) 2) 3) ",
]  # fmt: skip


def hostile() -> Iterator[str]:
    rng = random.Random(20_240_229)
    names = [p for c in ONTOLOGY.written for p in (c.name, *c.synonyms)]
    cues = [p for listed in CUES.values() for p in listed]
    plain = ["There is", "no", "the", "is", ",", ".", ";", "and", "or", "left", "8 mm", "2 x 3 cm", "since then"]
    for _ in range(500):
        pools = rng.sample([names, cues, SCRIPTS, RUBBISH, plain], k=rng.randint(1, 4))
        pieces = [rng.choice(rng.choice(pools)) for _ in range(rng.randint(1, 30))]
        if rng.random() < 0.3:
            pieces = [p.upper() if rng.random() < 0.5 else p[::-1] for p in pieces]
        yield rng.choice([" ", " ", "", "\n", ". ", ", "]).join(pieces)


def test_five_hundred_hostile_texts() -> None:
    for text in hostile():
        mentions = EXTRACTOR.read(text)
        assert all(0 <= m.start < m.end <= len(text) for m in mentions)
        assert [m.start for m in mentions] == sorted(m.start for m in mentions)
        assert all(0 <= p.start < p.end <= len(text) for p in find_prior_references(text))
        assert all(s.strip() == s != "" for s in standalone(text))
        assert find_prior_references(strip_priors(text)) == []


def test_hostile_texts_as_reports() -> None:
    readable = 0
    for text in hostile():
        if any("\ud800" <= c <= "\udfff" for c in text):
            continue
        report = read_report(text)
        read = EXTRACTOR.read_report(report)
        assert all(0 <= m.start < m.end <= len(report.text) for m in read.mentions)
        assert type(read).model_validate_json(read.model_dump_json()) == read
        readable += 1
    assert readable > 300


def test_other_languages_are_not_read_as_english() -> None:
    assert [ONTOLOGY[m.concept].slug for text in SCRIPTS[:4] for m in EXTRACTOR.read(text)] == []
