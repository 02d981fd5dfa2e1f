"""What a search of a store leaves out and keeps to, and what it finds: the words between store and retriever."""

from pydantic import Field

from retrieval.mentions import ConceptId
from retrieval.record import Record
from retrieval.records import CaseId, ImageDigest, PatientKey, Sex, StudyUid, ViewGroup


class Hit(Record):
    """One image row that a store found near a query vector."""

    case_id: CaseId
    """The case that owns the image."""
    image: int
    """Which image of the case, from 0."""
    similarity: float
    """Inner product of unit vectors: 1 is the same direction, higher is nearer."""


class Match(Record):
    """One case that a store found by its concepts or its words."""

    case_id: CaseId
    """The case."""
    similarity: float = Field(gt=0)
    """Higher is nearer: up to 1 between concepts, without bound between words."""


class Where(Record):
    """What a search must leave out and keep to. A case of which something is not known is not kept for it."""

    group: ViewGroup | None = None
    """Only images of this view group; None searches all. Cases are not left out by it, only their other images."""
    not_patients: frozenset[PatientKey] = frozenset()
    """Patients whose cases are left out."""
    not_studies: frozenset[StudyUid] = frozenset()
    """Studies that are left out."""
    not_images: frozenset[ImageDigest] = frozenset()
    """Every case of a patient who owns one of these image files is left out."""
    sex: Sex | None = None
    """Only cases of this sex; None keeps all."""
    age_bands: frozenset[str] = frozenset()
    """Only cases of one of these bands, as 60-69; empty keeps all."""
    sources: frozenset[str] = frozenset()
    """Only cases of one of these collections; empty keeps all."""
    licences: frozenset[str] = frozenset()
    """Only cases under one of these terms; empty keeps all."""
    views: frozenset[ViewGroup] = frozenset()
    """Only cases that have an image of each of these view groups; empty keeps all."""
    findings: frozenset[ConceptId] = frozenset()
    """Only cases whose report states each of these or something narrower; what it leaves open is not stated."""
    denied: frozenset[ConceptId] = frozenset()
    """Only cases whose report denies each of these or something broader, and states nothing narrower."""
    not_stated: frozenset[ConceptId] = frozenset()
    """Cases whose report states one of these or something narrower are left out."""
    not_denied: frozenset[ConceptId] = frozenset()
    """Cases whose report denies one of these as above are left out."""

    @property
    def by_report(self) -> bool:
        """Whether cases are chosen by what their reports say; one that nobody has read is then never kept."""
        return bool(self.findings or self.denied or self.not_stated or self.not_denied)

    @property
    def by_kind(self) -> bool:
        """Whether cases are chosen by sex, age, source, licence or views."""
        return bool(self.sex or self.age_bands or self.sources or self.licences or self.views)


EVERYWHERE = Where()
"""The whole snapshot, nothing left out."""
