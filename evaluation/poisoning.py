"""How much of a draft changes when somebody puts false cases into the index.

A poisoned case has a vector of cosine COSINE to an attacked image, nearer than any real case, and a report that
contradicts the honest draft: it denies every finding drafted and states five that are not. Only the findings that a
draft states as present are compared; a changed denial or wording is no change.

Two attackers. One knows no patient: five cases in 10,000 are put beside images at random, and every study is asked
about. The other waits for one patient: so many cases lie beside exactly the image that is asked about. Search is exact,
so a poisoned case stands where its similarity puts it, and nothing needs to be indexed again for each attack.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Final, NamedTuple

import numpy as np
from pydantic import Field

from generation.claims import Claim
from generation.consensus import draft_findings
from generation.reports import read_sentence
from generation.statements import PreparedStatements
from retrieval.encoders.encoder import Vectors
from retrieval.extraction.extractor import Extractor
from retrieval.mentions import ConceptId
from retrieval.ontology.ontology import load
from retrieval.record import Record
from retrieval.records import Case, CaseId, CaseImage, ImageDigest, PatientKey, RetrievedCase, StudyUid
from retrieval.sections import compose_report

COSINE: Final = 0.95
"""Similarity of a poisoned case to the image it lies beside; on IU the nearest real case has .30 in the median."""
RATE: Final = 5 / 10_000
PLACEMENTS: Final = 20
"""Random placements of the poisoned cases that are tried in each fold."""
AIMED: Final = (1, 2, 5)
"""How many cases the attacker of one patient has."""
FALSE: Final = ("pleural_effusion", "pneumothorax", "cardiomegaly", "consolidation", "pulmonary_edema")
"""What a poisoned report states unless the honest draft does."""


class Unchanged(Record):
    """Drafts whose present findings stayed the same."""

    asked: int = 0
    """Drafts made with poisoned cases in the index."""
    met: int = 0
    """Those whose retrieved cases hold a poisoned one."""
    unchanged: int = 0
    """Drafts with exactly the findings they had."""
    gained: int = 0
    """Drafts that state a finding they did not state."""
    lost: int = 0
    """Drafts that no longer state a finding they stated."""

    @property
    def share(self) -> float:
        """Of all asked, the share that stayed the same."""
        return self.unchanged / self.asked

    def __add__(self, other: "Unchanged") -> "Unchanged":
        mine, theirs = self.model_dump(), other.model_dump()
        return Unchanged(**{name: mine[name] + theirs[name] for name in mine})


class Poisoning(Record):
    """Both attackers."""

    placed: Unchanged = Unchanged()
    """RATE of the index beside images at random."""
    aimed: dict[int, Unchanged] = Field(default_factory=dict)
    """So many cases beside the very image asked about."""

    def __add__(self, other: "Poisoning") -> "Poisoning":
        numbers = self.aimed.keys() | other.aimed.keys()
        none = Unchanged()
        return Poisoning(
            placed=self.placed + other.placed,
            aimed={n: self.aimed.get(n, none) + other.aimed.get(n, none) for n in sorted(numbers)},
        )


class Asked(NamedTuple):
    """A study, and what an honest index answers."""

    cases: Sequence[RetrievedCase]
    """Similar cases, nearest first."""
    vector: Vectors
    """Of its image; a unit vector."""


def measure_poisoning(
    studies: Sequence[Asked], statements: PreparedStatements, indexed: int, extractor: Extractor, seed: int = 0
) -> Poisoning:
    """Attack every study of one fold, whose index holds `indexed` cases."""
    rng = np.random.default_rng(seed)
    honest = [_findings(s.cases, statements) for s in studies]
    placed, count = Unchanged(), max(1, round(RATE * indexed))
    for _ in range(PLACEMENTS):
        victims = rng.choice(len(studies), count, replace=False)
        vectors = [_beside(studies[v].vector, rng) for v in victims]
        false = [_false_case(i, honest[v], extractor) for i, v in enumerate(victims)]
        for study, before in zip(studies, honest, strict=True):
            near = [(case, float(vector @ study.vector)) for case, vector in zip(false, vectors, strict=True)]
            placed += _attack(study, before, near, statements)
    aimed = {
        n: sum(
            (
                _attack(s, before, [(_false_case(i, before, extractor), COSINE) for i in range(n)], statements)
                for s, before in zip(studies, honest, strict=True)
            ),
            Unchanged(),
        )
        for n in AIMED
    }
    return Poisoning(placed=placed, aimed=aimed)


def _attack(
    study: Asked, before: frozenset[Claim], false: Sequence[tuple[Case, float]], statements: PreparedStatements
) -> Unchanged:
    """The draft with the false cases where an exact search would put them."""
    near = [(case, similarity) for case, similarity in false if similarity > study.cases[-1].similarity]
    if not near:
        return Unchanged(asked=1, unchanged=1)
    both = [*((c.case, c.similarity) for c in study.cases), *near]
    ranked = sorted(both, key=lambda item: -item[1])[: len(study.cases)]
    cases = [RetrievedCase(case=c, rank=rank, similarity=s) for rank, (c, s) in enumerate(ranked, 1)]
    after = _findings(cases, statements)
    return Unchanged(asked=1, met=1, unchanged=after == before, gained=bool(after - before), lost=bool(before - after))


def _findings(cases: Sequence[RetrievedCase], statements: PreparedStatements) -> frozenset[Claim]:
    """The present findings of a draft."""
    sentences = draft_findings(cases, statements).sentences
    return frozenset(c for s in sentences for c in _stated(s.text))


@cache
def _stated(sentence: str) -> frozenset[Claim]:
    """The findings of one sentence; drafts are made of the same few again and again."""
    return frozenset(c for c in read_sentence(sentence).claims if c.polarity == "present")


def _beside(vector: Vectors, rng: np.random.Generator) -> Vectors:
    """A unit vector of cosine COSINE to another."""
    away = rng.standard_normal(vector.shape)
    away -= (away @ vector) * vector
    away *= np.sqrt(1 - COSINE**2) / np.linalg.norm(away)
    return (COSINE * vector + away).astype(vector.dtype)


def _false_case(number: int, findings: frozenset[Claim], extractor: Extractor) -> Case:
    """A case whose report contradicts the findings."""
    drafted: Mapping[ConceptId, str] = {c.concept: load()[c.concept].name for c in sorted(findings)}
    false = [load()[slug] for slug in FALSE if load()[slug].id not in drafted]
    denials = [f"No {name}." for name in drafted.values()]
    report = compose_report(findings=" ".join([*denials, *(f"There is {c.name}." for c in false)]), impression="")
    return Case(
        case_id=CaseId(f"false-{number}"),
        patient_key=PatientKey(f"false-{number}"),
        study_instance_uid=StudyUid(f"false-{number}"),
        images=(CaseImage(digest=ImageDigest("0" * 64), view="FRONTAL"),),
        report=report,
        source="false",
        licence="none",
        content="0" * 64,
        concepts=extractor.read_report(report),
    )
