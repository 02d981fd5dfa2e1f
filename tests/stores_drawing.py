"""Cases and vectors for the store tests: deterministic, small, and exact where exactness decides."""

import hashlib
from collections.abc import Sequence

import numpy as np

from retrieval.comparison import ConceptSet
from retrieval.mentions import ConceptMention, ExtractorIdentity, ReadConcepts
from retrieval.ontology.ontology import load
from retrieval.records import Case, CaseId, CaseImage, EncoderIdentity, ImageDigest, PatientKey, Report, StudyUid
from retrieval.stores.case_postings import concept_set
from retrieval.stores.memory import MemoryStore
from retrieval.stores.store import Entry, Snapshot, Store

ENCODER = EncoderIdentity("drawn-1")
EXTRACTOR = ExtractorIdentity("drawn-rules-1")
DIMENSION = 8
SAID = tuple(
    load()[slug].id
    for slug in (
        "lung_opacity", "airspace_opacity", "consolidation", "pneumonia", "atelectasis", "pleural_effusion",
        "loculated_effusion", "pneumothorax", "tension_pneumothorax", "cardiomegaly", "picc", "clear_lungs",
    )
)  # fmt: skip
"""A corner of the ontology that has some depth."""
WORDS = ("effusion", "effusions", "left", "right", "heart", "enlarged", "lungs", "clear", "no", "opacity")


def digest(text: str) -> ImageDigest:
    return ImageDigest(hashlib.sha256(text.encode()).hexdigest())


def case(number: int, *, views: Sequence[str] = ("PA",), patient: int | None = None, version: int = 0) -> Case:
    name = f"case-{number:05d}"
    patient = number if patient is None else patient
    return Case(
        case_id=CaseId(name),
        patient_key=PatientKey(f"patient-{patient:05d}"),
        study_instance_uid=StudyUid(f"study-{number:05d}"),
        images=tuple(
            CaseImage(digest=digest(f"{name}/{image}/{version}"), view=view, path=f"{name}/{image}.png")
            for image, view in enumerate(views)
        ),
        report=Report(text=f"Report of {name}, version {version}: no acute findings."),
        sex=("F", "M", "O", None)[number % 4],
        age_band=("40-49", "50-59", None)[number % 3],
        source=("drawn", "sketched")[number % 7 == 3],
        licence=("CC0-1.0", "CC-BY-4.0")[number % 5 == 1],
        content=digest(f"{name}/{version}/content"),
        concepts=concepts(number, version) if number % 2 else None,
    )


def concepts(number: int, version: int = 0, extractor: ExtractorIdentity = EXTRACTOR) -> ReadConcepts:
    """What the report of a drawn case says; only odd cases are read, so that every store has both kinds.

    Concepts and words are few, so that many cases say the same and tie; the last concept is of another ontology.
    """
    generator = np.random.default_rng([number, version])
    chosen = generator.choice(SAID, generator.integers(1, 6), replace=False)
    mentions = [
        ConceptMention(
            concept=concept,
            certainty=str(generator.choice(["present", "present", "absent", "uncertain"])),
            start=3 * place,
            end=3 * place + 2,
            side=(None, "left", "right", "bilateral")[generator.integers(4)],
        )
        for place, concept in enumerate([*chosen.tolist(), "PRELIM:0001"])
    ]
    sentences = [f"Standing alone, case {number:05d}, version {version}: no acute findings. {own_word(number).title()}"]
    sentences += [" ".join(generator.choice(WORDS, generator.integers(1, 8)).tolist()) for _ in range(2)]
    return ReadConcepts(extractor=extractor, mentions=tuple(mentions), standalone=tuple(sentences))


def own_word(number: int) -> str:
    """A word that no other case's report has, as lists of words keep it."""
    return "own" + "".join("bcdfghjklm"[int(digit)] for digit in f"{number:05d}")


def query(number: int) -> ConceptSet:
    """What a drawn case says, as a query."""
    said = concept_set(case(2 * number + 1))
    assert said is not None
    return said


def exact_rows(seed: int, count: int) -> np.ndarray:
    """Unit rows whose products are multiples of 1/4, exact in any order of summation: every store ties alike."""
    generator = np.random.default_rng(seed)
    rows = np.zeros((count, DIMENSION), np.float32)
    for row in rows:
        row[generator.choice(DIMENSION, 4, replace=False)] = generator.choice([-0.5, 0.5], 4)
    return rows


def random_rows(seed: int, count: int, dimension: int = DIMENSION) -> np.ndarray:
    rows = np.random.default_rng(seed).standard_normal((count, dimension))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def entry(number: int, *, views: Sequence[str] = ("PA",), patient: int | None = None, version: int = 0) -> Entry:
    drawn = case(number, views=views, patient=patient, version=version)
    return Entry(drawn, exact_rows(1000 * version + number, len(views)))


VIEWS = (("PA",), ("AP", "LL"), ("PA", "AP", "LATERAL"), ("LLD",), ("UNKNOWN", "PA"))


def entries(numbers: Sequence[int], *, version: int = 0) -> list[Entry]:
    """Every view group, several images, and every fifth case of the patient before it."""
    return [entry(n, views=VIEWS[n % 5], patient=n - 1 if n % 5 == 4 else n, version=version) for n in numbers]


def ids(numbers: Sequence[int]) -> list[CaseId]:
    return [CaseId(f"case-{number:05d}") for number in numbers]


def published(store: Store, numbers: Sequence[int]) -> Snapshot:
    store.stage(entries(numbers))
    return store.publish()


def oracle(*stages: Sequence[Entry]) -> MemoryStore:
    """The exact store after each of these was staged and published."""
    memory = MemoryStore(ENCODER, DIMENSION)
    for stage in stages:
        memory.stage(stage)
        memory.publish()
    return memory
