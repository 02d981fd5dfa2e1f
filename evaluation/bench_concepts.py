"""The concept leg on a snapshot of full size: milliseconds for one query to every case, in one thread.

Cases are drawn, not read: which concepts, how often and how many follow what was counted in one fifth of the Indiana
University reports, made longer (about 25 concepts a case with what is implied, as hospital reports have), independently
of one another. Independence makes no difference to the time, which depends only on how long the lists are.
"""

import time
from collections.abc import Iterator
from itertools import count
from statistics import mean, median, quantiles

import numpy as np

from retrieval.mentions import ConceptId, Side
from retrieval.ontology.ontology import Ontology, load
from retrieval.ranking.concept_sets import ConceptSet
from retrieval.ranking.concept_similarity import ConceptSimilarity
from retrieval.ranking.postings import ConceptPostings
from retrieval.records import CaseId, Record

_PRESENT = {
    "no_acute_finding": 0.60, "normal_heart_size": 0.56, "clear_lungs": 0.35, "normal_mediastinum": 0.29,
    "normal_pulmonary_vascularity": 0.20, "normal_cardiomediastinal_silhouette": 0.19, "normal_bones": 0.14,
    "degenerative_spine_change": 0.12, "cardiomegaly": 0.10, "atelectasis": 0.09, "low_lung_volumes": 0.09,
    "lung_opacity": 0.07, "tortuous_aorta": 0.07, "calcified_granuloma": 0.07, "hyperinflation": 0.06,
    "lung_scarring": 0.06, "pleural_effusion": 0.04, "airspace_disease": 0.04,
}  # fmt: skip
_ABSENT = {
    "pleural_effusion": 0.73, "pneumothorax": 0.70, "consolidation": 0.31, "airspace_disease": 0.11, "infiltrate": 0.08,
    "airspace_opacity": 0.06, "pulmonary_edema": 0.06, "pneumonia": 0.04, "lung_nodule": 0.04, "fracture": 0.03,
}  # fmt: skip
_SIDES: tuple[Side | None, ...] = (None, None, "left", "right", "bilateral")


class ConceptBench(Record):
    """What `bench_concepts` measured."""

    cases: int
    """In the snapshot."""
    vocabulary: int
    """Concepts that occur in it, those implied included."""
    stated: float
    """Concepts that a case states or denies, on average."""
    postings: float
    """Concepts a case is listed under, on average: with what is implied."""
    queries: int
    """Each one case's own concepts, compared with every case."""
    median_ms: float
    """For one query: every similarity, and the best twenty."""
    p95_ms: float
    """Of 100 queries 95 took no longer, on a machine that may have had other work."""
    p95_cpu_ms: float
    """The same in the thread's own processor time: waiting for a core is not in it, sharing its caches is."""
    build_seconds: float
    """From concept sets to a snapshot that answers."""
    megabytes: float
    """Memory of lists and sums, in 10^6 bytes."""
    compared: int
    """Pairs that the slow similarity computed as well."""
    unequal: int
    """Pairs of these in which the two differ in any bit."""


def bench_concepts(cases: int = 250_000, queries: int = 200) -> ConceptBench:
    """Draw, build, ask; under two minutes and 1 GB."""
    ontology = load()
    sets = list(draw_sets(ontology, cases))
    began = time.perf_counter()
    postings = ConceptPostings.build(((CaseId(f"{n:07d}"), s) for n, s in zip(count(), sets, strict=False)), ontology)
    built = time.perf_counter() - began

    random = np.random.default_rng(1)
    asked = [sets[n] for n in random.integers(0, cases, queries)]
    taken, worked = [], []
    for query in (asked[0], *asked):
        began, busy = time.perf_counter(), time.thread_time()
        postings.top(query, 20)
        taken.append((time.perf_counter() - began) * 1000)
        worked.append((time.thread_time() - busy) * 1000)
    del taken[0], worked[0]  # warmed the caches

    slow = ConceptSimilarity(ontology, postings.weights)
    checked = random.integers(0, cases, 100)
    unequal = 0
    for query in asked[:10]:
        fast = postings.similarities(query)
        unequal += sum(float(fast[n]) != slow.similarity(query, sets[n]) for n in checked)
    return ConceptBench(
        cases=cases,
        vocabulary=len({key[:-1] for key in postings.lists.keys}),
        stated=mean(len(s.present) + len(s.absent) for s in sets),
        postings=len(postings.lists) / cases,
        queries=queries,
        median_ms=median(taken),
        p95_ms=quantiles(taken, n=20)[-1],
        p95_cpu_ms=quantiles(worked, n=20)[-1],
        build_seconds=built,
        megabytes=postings.nbytes / 1e6,
        compared=10 * len(checked),
        unequal=unequal,
    )


def draw_sets(ontology: Ontology, cases: int, seed: int = 0) -> Iterator[ConceptSet]:
    """Cases by frequency: the common concepts as counted, all others along a falling line, rarest last."""
    random = np.random.default_rng(seed)
    spoken = [c.id for c in ontology.written if c.kind in ("finding", "diagnosis", "device", "postoperative", "normal")]
    order = [spoken[n] for n in random.permutation(len(spoken))]
    present = _falling(order, {ontology[s].id: p for s, p in _PRESENT.items()}, 0.08)
    absent = _falling(order[::-1], {ontology[s].id: p for s, p in _ABSENT.items()}, 0.04)
    drawn: list[list[ConceptId]] = [[] for _ in range(cases)]
    denied: list[list[ConceptId]] = [[] for _ in range(cases)]
    for rates, into in ((present, drawn), (absent, denied)):
        for concept, rate in rates.items():
            for case in np.flatnonzero(random.random(cases) < rate):
                into[case].append(concept)
    sides = random.integers(0, len(_SIDES), cases)
    doubt = random.random(cases) < 0.1
    for n in range(cases):
        side = _SIDES[sides[n]]
        yield ConceptSet(
            present={c: 0.5 if doubt[n] and i == 0 else 1.0 for i, c in enumerate(drawn[n])},
            absent={c: 1.0 for c in denied[n] if c not in drawn[n]},
            sides=dict.fromkeys(drawn[n][:2], side) if side else {},
        )


def _falling(order: list[ConceptId], known: dict[ConceptId, float], highest: float) -> dict[ConceptId, float]:
    return {c: known.get(c, highest / (1 + rank / 10)) for rank, c in enumerate(order)}
