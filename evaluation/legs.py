"""The legs of case search compared on real studies, by whether the cases found carry the query study's findings.

Every IU study with images asks the cases of the other four folds, as the product would: by image; by concepts, where
the concepts asked for are what the nearest cases by image show; by both, fused; and by concepts among the nearest by
image only. A query's own report is never asked with, but in the rows called oracle, which are no results: they say what
a perfect reading of the image would find.

How many neighbours vote and which form compares them were chosen on fold 0 (`by_voters` shows it); what is ranked anew
and the published form's settings are chosen there by each run. Folds 1 to 4 are quoted; all five stand beside them
because the image leg was measured so before. Differences between legs are paired by query. The coded findings are those
of `evaluation.iu.heads`, `normal` and the marks of unreadable or uncoded studies among them, as in `on_iu.py`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from evaluation.case_material import TUNING_FOLD, Cases, Places, shown
from evaluation.iu import FOLDS
from evaluation.published_leg import PublishedLeg
from evaluation.retrieval_metrics import MINIMUM, lift_at, lift_interval
from evaluation.statistics import RESAMPLES, Flags, Interval, bootstrap_mean, draws, interval, paired_difference
from retrieval.comparison import ConceptSet, Form
from retrieval.errors import NotScorable
from retrieval.mentions import ConceptId
from retrieval.ontology.ontology import Ontology
from retrieval.ranking.fusion import fuse
from retrieval.ranking.lists import best
from retrieval.ranking.postings import ConceptPostings
from retrieval.ranking.published_similarity import PublishedSets, published_sets
from retrieval.records import Record
from retrieval.retriever import FUSED, NEIGHBOURS

K: Final = 5
"""Cases looked at."""
VOTERS: Final = (5, 10, 15, 20, 30, 40, 80)
"""How many neighbours may vote."""
FORMS: Final[tuple[Form, ...]] = ("asymmetric", "symmetric")
FORM: Final[Form] = "asymmetric"
"""What the product compares a vote with: what only the case says weighs little, because nobody was asked about it."""
PUBLISHED_VOTERS: Final = (1, 5, 10, 20, 40, 80, 160, 320)
"""The same for the published form; one voter is the nearest case's own report."""
AMONG: Final = (20, 50, 100, 200)
"""How many of the nearest by image may be ranked anew."""
SHARES: Final = (0.0, 0.03125, 0.0625, 0.125, 0.25, 0.5)
"""What share of votes beyond chance may be enough there, because its sets have no degrees."""
RAREST: Final = 2
"""A finding that only the query itself has cannot be found."""


class LegFigures(Record):
    """One way of finding five cases."""

    lift: Interval
    """lift@5 on folds 1 to 4."""
    lift_all: Interval
    """lift@5 on all five folds."""
    over_image: Interval | None
    """Paired difference to the image leg, folds 1 to 4; None for that leg itself."""
    over_image_all: Interval | None
    """The same on all five folds."""
    with_finding: float
    """Folds 1 to 4: share of the five that carry a finding which the query has, mean over findings."""
    without_finding: float
    """The same for queries that have it not; lift is the difference."""
    findings_per_case: float
    """How many coded findings the cases found carry; a leg may not win by busier cases alone."""
    rare: Interval
    """Folds 1 to 4: lift of findings coded fewer than 20 times, mean over each time one was coded, drawn by study."""
    rare_over_image: Interval | None
    """Paired difference to the image leg; None for that leg itself."""


class LegsReport(Record):
    """Everything measured of the legs."""

    studies: int
    """Queries and cases."""
    quoted: int
    """Queries of folds 1 to 4."""
    heads: int
    """Findings the lift on folds 1 to 4 is a mean of, `normal` among them."""
    rare_heads: int
    """Findings coded too rarely for that."""
    neighbours: int
    """How many neighbours vote."""
    form: Form
    """How a vote and a case are compared."""
    among: int
    """How many of the nearest by image are ranked anew; chosen on fold 0."""
    published_neighbours: int
    """How many neighbours vote for the published form; chosen on fold 0."""
    published_share: float
    """What share of their votes is enough there; chosen on fold 0."""
    legs: dict[str, LegFigures]
    """image, concept, fused, reranked; published, and plain vote, which is our similarity asked with that leg's query;
    then the oracles and the control, which are no results."""
    concept_over_published: Interval
    """Concept leg minus the published form, each with its own vote, folds 1 to 4."""
    concept_over_published_all: Interval
    """The same on all five folds."""
    plain_over_published: Interval
    """Our similarity minus the published form, asked with the same plain sets, folds 1 to 4."""
    plain_over_published_all: Interval
    """The same on all five folds."""
    oracle_over_published: Interval
    """The same, asked with the query's own report, folds 1 to 4: without any vote between."""
    per_head: dict[str, tuple[float, float, int]]
    """Each finding on all five folds: lift by image, lift by concepts, and how many studies have it."""
    by_voters: dict[Form, dict[int, tuple[float, float]]]
    """Lift of the concept leg by how many vote: on fold 0 and on folds 1 to 4, over the same findings."""
    nothing_shown: int
    """Queries whose neighbours show nothing beyond chance; the concept leg then answers as the image leg does."""


class _Folded(NamedTuple):
    """The index of one fold's queries."""

    cases: Places
    postings: ConceptPostings
    base_rates: Mapping[ConceptId, float]
    published: PublishedLeg


def measure_legs(cases: Cases, ontology: Ontology) -> LegsReport:
    """Run the whole measurement; about two minutes on one core."""
    n = len(cases.studies)
    names = sorted({head for s in cases.studies for head in s.heads})
    has = np.array([[head in s.heads for head in names] for s in cases.studies])
    common = np.flatnonzero(has.sum(axis=0) >= MINIMUM)
    tuning, quoted = (np.flatnonzero(p) for p in (cases.folds == TUNING_FOLD, cases.folds != TUNING_FOLD))
    indexes = [_index(cases, fold, ontology) for fold in range(FOLDS)]
    image = np.stack([cases.nearest(i, max(FUSED, *AMONG, *PUBLISHED_VOTERS)) for i in range(n)])

    # 1. What the neighbours show, by how many are asked; the product asks NEIGHBOURS.
    votes = {
        m: [shown(cases, i, m, indexes[f].base_rates, ontology) for i, f in enumerate(cases.folds)] for m in VOTERS
    }
    by_voters: dict[Form, dict[int, tuple[float, float]]] = {form: {} for form in FORMS}
    concept = image[:, :K]
    for form in FORMS:
        for m in VOTERS:
            found = _by_concepts(indexes, cases.folds, votes[m], image, form)
            at = (mean_lift(found[where], has, has[where], common) for where in (tuning, quoted))
            by_voters[form][m] = (next(at), next(at))
            if (m, form) == (NEIGHBOURS, FORM):
                concept = found

    # 2. What is chosen on fold 0, and the legs.
    asked = votes[NEIGHBOURS]

    def on_fold_0(leg: Callable[[int], Places]) -> float:
        return mean_lift(np.stack([leg(i) for i in tuning.tolist()]), has, has[tuning], common)

    index = [indexes[f] for f in cases.folds]
    among = max(AMONG, key=lambda a: on_fold_0(lambda i: _reranked(index[i], asked[i], image[i], a)))
    voters, share = max(
        [(m, s) for m in PUBLISHED_VOTERS for s in SHARES],
        key=lambda ms: on_fold_0(lambda i: _published(index[i], cases, i, image[i], *ms)),
    )
    everyone = range(n)
    dealt = [asked[i] for i in dealt_to_others(cases.folds)]
    found_by = {
        "image": image[:, :K],
        "concept": concept,
        "fused": np.stack([_fused(index[i], cases, asked[i], image[i]) for i in everyone]),
        "reranked": np.stack([_reranked(index[i], asked[i], image[i], among) for i in everyone]),
        "published": np.stack([_published(index[i], cases, i, image[i], voters, share) for i in everyone]),
        "plain vote": np.stack([_plain(index[i], cases, i, image[i], voters, share) for i in everyone]),
        "oracle": _by_concepts(indexes, cases.folds, cases.said, image, "symmetric"),
        "oracle published": np.stack([_oracle(index[i], cases, i, image[i], ontology) for i in everyone]),
        "control": _by_concepts(indexes, cases.folds, dealt, image, FORM),
    }

    # 3. Figures.
    rare = np.flatnonzero((has[quoted].sum(axis=0) < MINIMUM) & (has.sum(axis=0) >= RAREST) & has[quoted].any(axis=0))
    lifts = {name: lift_at(K, found_by[name], has, has, names) for name in ("image", "concept")}

    def between(one: str, other: str, queries: Places) -> Interval:
        return lift_difference(found_by[one][queries], found_by[other][queries], has, has[queries])

    return LegsReport(
        studies=n,
        quoted=len(quoted),
        heads=lift_at(K, image[quoted], has, has[quoted], names).heads,
        rare_heads=len(rare),
        neighbours=NEIGHBOURS,
        form=FORM,
        among=among,
        published_neighbours=voters,
        published_share=share,
        legs={name: _figures(name, found_by, has, names, quoted, rare) for name in found_by},
        concept_over_published=between("concept", "published", quoted),
        concept_over_published_all=between("concept", "published", np.arange(n)),
        plain_over_published=between("plain vote", "published", quoted),
        plain_over_published_all=between("plain vote", "published", np.arange(n)),
        oracle_over_published=between("oracle", "oracle published", quoted),
        per_head={h: (v, lifts["concept"].per_head[h][0], count) for h, (v, count) in lifts["image"].per_head.items()},
        by_voters=by_voters,
        nothing_shown=sum(not vote.present for vote in asked),
    )


def lift_difference(
    one: Places, other: Places, has: Flags, queries: Flags, resamples: int = RESAMPLES, seed: int = 0
) -> Interval:
    """lift@K of one leg minus another's, the same queries drawn for both; above 0 the first is better.

    One row of found cases a query, as `lift_at` takes them. The findings are those of the whole set in every draw.
    Raises NotScorable when none is common enough.
    """
    positives = queries.sum(axis=0)
    common = np.flatnonzero((positives >= MINIMUM) & (len(queries) - positives >= MINIMUM))
    if not len(common):
        raise NotScorable(f"no head has {MINIMUM} queries with it and {MINIMUM} without", fix="more queries")
    gained = (_carried(one, has) - _carried(other, has))[:, common]
    asked = queries[:, common].astype(np.float64)

    def of(weights: NDArray[np.float64]) -> NDArray[np.float64]:
        with_it = (weights @ (gained * asked)) / (weights @ asked)
        without = (weights @ (gained * (1 - asked))) / (weights @ (1 - asked))
        means: NDArray[np.float64] = (with_it - without).mean(axis=1)
        return means

    value = float(of(np.ones((1, len(queries))))[0])
    return interval(value, [of(w) for w in draws(len(queries), resamples, seed)], len(queries), seed)


def mean_lift(found: Places, has: Flags, queries: Flags, heads: Places) -> float:
    """lift@K over given heads, however few of these queries have them; a head that none or all have is left out."""
    lifts = [with_it - without for with_it, without in _shares(found, has, queries, heads)]
    return float(np.mean(lifts))


def rare_lifts(found: Places, has: Flags, queries: Flags, heads: Places) -> tuple[NDArray[np.float64], list[str]]:
    """For each time a rare head was coded: the share of the found cases with it, less the mean of queries without it.

    With each value the number of its query, because one study's findings are not independent.
    """
    carried, values, whose = _carried(found, has), [], []
    for head in heads:
        asked = queries[:, head]
        chance = carried[~asked, head].mean()
        for query in np.flatnonzero(asked):
            values.append(carried[query, head] - chance)
            whose.append(str(query))
    return np.array(values), whose


def _shares(found: Places, has: Flags, queries: Flags, heads: Places) -> list[tuple[float, float]]:
    """For each head the mean share of found cases that carry it: over queries with it, over queries without."""
    carried = _carried(found, has)
    return [
        (float(carried[queries[:, h], h].mean()), float(carried[~queries[:, h], h].mean()))
        for h in heads
        if queries[:, h].any() and not queries[:, h].all()
    ]


def _carried(found: Places, has: Flags) -> NDArray[np.float64]:
    """float64[queries, heads]: which share of the first K carries each head."""
    carried: NDArray[np.float64] = has[found[:, :K]].mean(axis=1)
    return carried


def _figures(
    name: str, found_by: Mapping[str, Places], has: Flags, names: Sequence[str], quoted: Places, rare: Places
) -> LegFigures:
    found, image = found_by[name], found_by["image"]
    common = np.flatnonzero(has[quoted].sum(axis=0) >= MINIMUM)
    shares = _shares(found[quoted], has, has[quoted], common)
    rare_ones, whose = rare_lifts(found[quoted], has, has[quoted], rare)
    rare_by_image, _ = rare_lifts(image[quoted], has, has[quoted], rare)
    itself = name == "image"
    return LegFigures(
        lift=lift_interval(K, found[quoted], has, has[quoted], names),
        lift_all=lift_interval(K, found, has, has, names),
        over_image=None if itself else lift_difference(found[quoted], image[quoted], has, has[quoted]),
        over_image_all=None if itself else lift_difference(found, image, has, has),
        with_finding=float(np.mean([with_it for with_it, _ in shares])),
        without_finding=float(np.mean([without for _, without in shares])),
        findings_per_case=float(has[found[quoted]][..., [n != "normal" for n in names]].sum(axis=2).mean()),
        rare=bootstrap_mean(rare_ones, whose),
        rare_over_image=None if itself else paired_difference(rare_ones, rare_by_image, whose),
    )


def _index(cases: Cases, fold: int, ontology: Ontology) -> _Folded:
    others = cases.others(fold)
    postings = ConceptPostings.build(((cases.studies[i].case_id, cases.said[i]) for i in others), ontology)
    published = PublishedLeg([published_sets(cases.read[i], ontology) for i in others], ontology)
    return _Folded(others, postings, postings.base_rates(), published)


def _filled(found: Sequence[int], image: Places) -> Places:
    """The first K; where there are fewer, the nearest by image follow, as they do in a fusion."""
    return np.array([*dict.fromkeys([*found[:K], *image.tolist()])][:K])


def _concept_leg(index: _Folded, query: ConceptSet, limit: int, form: Form, keep: Flags | None = None) -> list[int]:
    # Numbers of the postings are those of `cases`: both are in the order of case ids.
    similarities = index.postings.similarities(query, form)
    return [int(index.cases[i]) for i in best(similarities, limit, keep)]


def _by_concepts(
    indexes: Sequence[_Folded], folds: Places, queries: Sequence[ConceptSet], image: Places, form: Form
) -> Places:
    found = [_concept_leg(indexes[f], q, K, form) for f, q in zip(folds, queries, strict=True)]
    return np.stack([_filled(f, image[i]) for i, f in enumerate(found)])


def _reranked(index: _Folded, query: ConceptSet, image: Places, among: int) -> Places:
    return _filled(_concept_leg(index, query, K, FORM, np.isin(index.cases, image[:among])), image)


def _fused(index: _Folded, cases: Cases, query: ConceptSet, image: Places) -> Places:
    legs = (image[:FUSED].tolist(), _concept_leg(index, query, FUSED, FORM))
    names = {cases.studies[i].case_id: i for leg in legs for i in leg}
    return np.array([names[f.case_id] for f in fuse([[cases.studies[i].case_id for i in leg] for leg in legs], K)])


def _vote(index: _Folded, cases: Cases, query: int, image: Places, voters: int, share: float) -> PublishedSets:
    near = image[:voters]
    return index.published.vote(np.searchsorted(index.cases, near), cases.similar[query, near], share)


def _published(index: _Folded, cases: Cases, query: int, image: Places, voters: int, share: float) -> Places:
    asked = _vote(index, cases, query, image, voters, share)
    return _filled(index.cases[index.published.top(asked, K)].tolist(), image)


def _plain(index: _Folded, cases: Cases, query: int, image: Places, voters: int, share: float) -> Places:
    asked = ConceptSet(present=dict.fromkeys(_vote(index, cases, query, image, voters, share).present, 1.0))
    return _filled(_concept_leg(index, asked, K, FORM), image)


def _oracle(index: _Folded, cases: Cases, query: int, image: Places, ontology: Ontology) -> Places:
    asked = published_sets(cases.read[query], ontology)
    return _filled(index.cases[index.published.top(asked, K)].tolist(), image)


def dealt_to_others(folds: Places) -> Places:
    """Each query given to another of its fold, to show that the figures see nothing where there is nothing."""
    dealt = np.arange(len(folds))
    for fold in range(FOLDS):
        own = np.flatnonzero(folds == fold)
        order = np.random.default_rng(fold).permutation(own)
        dealt[order] = np.roll(order, 1)
    return dealt
