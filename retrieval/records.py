"""The words: the frozen records that every part of Prelim speaks in.

Nothing here knows a library, a file format or a transport. Pixels, vectors and tensors never live in records.
Names follow DICOM where it has one (patient > study > series > instance; laterality is the patient's side).
"""

from typing import Final, Literal, NewType

from pydantic import Field

from retrieval.comparison import ConceptComparison, ConceptSet
from retrieval.mentions import ExtractorIdentity, ReadConcepts
from retrieval.record import Record as Record

CaseId = NewType("CaseId", str)
"""One indexed study with its report."""
PatientKey = NewType("PatientKey", str)
"""A pseudonym: equal for the same patient within one installation, and no more than that."""
StudyUid = NewType("StudyUid", str)
"""DICOM Study Instance UID, or the source's own study id where there is none."""
ImageDigest = NewType("ImageDigest", str)
"""SHA-256 of the image file's bytes, in hex."""
EncoderIdentity = NewType("EncoderIdentity", str)
"""Name, preprocessing and weights of an encoder in one string: vectors compare only when it is equal."""
SnapshotId = NewType("SnapshotId", str)
"""One published state of an index."""

ViewPosition = Literal["PA", "AP", "LL", "RL", "RLD", "LLD", "RLO", "LLO", "FRONTAL", "LATERAL", "OTHER", "UNKNOWN"]
"""DICOM (0018,5101) terms; FRONTAL and LATERAL when only the projection is known, not its direction."""
ViewGroup = Literal["frontal", "lateral", "other"]
"""What may be compared with what: a frontal image is never compared with a lateral one."""
ViewSource = Literal[
    "request", "view_position", "view_code", "patient_orientation", "description", "similar_images", "none"
]
"""Where a view position came from, most trusted first; `similar_images` is the gate's own estimate."""
Laterality = Literal["L", "R", "B", "U"]
"""DICOM (0020,0060/0062): left, right, both, unpaired. Always the patient's side."""
Sex = Literal["F", "M", "O"]
"""As DICOM codes it."""
Leg = Literal["image", "concept", "text"]
"""A way of finding similar cases: by what is seen, by what is said of each concept, by words."""
SectionName = Literal["indication", "technique", "comparison", "findings", "impression", "other"]
ReasonCode = Literal[
    "OUT_OF_SCOPE_MODALITY",
    "OUT_OF_SCOPE_BODY_PART",
    "OUT_OF_SCOPE_VIEW",
    "NOT_A_CHEST_RADIOGRAPH",
    "POOR_QUALITY",
    "BURNED_IN_ANNOTATION",
    "NO_CLOSE_MATCH",
    "NO_CONSENSUS",
    "NOTHING_LEFT",
]
"""Why there is no draft. Stable: interfaces and audits store it."""

_GROUPS: dict[ViewPosition, ViewGroup] = {
    "PA": "frontal", "AP": "frontal", "FRONTAL": "frontal",
    "LL": "lateral", "RL": "lateral", "LATERAL": "lateral",
}  # fmt: skip


def view_group(view: ViewPosition) -> ViewGroup:
    """The group whose images this view may be compared with; decubitus and oblique views are `other`."""
    return _GROUPS.get(view, "other")


class ImageAttributes(Record):
    """What a file's header says about one image, read before any pixel is decoded."""

    media: Literal["dicom", "png", "jpeg"]
    """Recognised from the first bytes, never from the file name."""
    rows: int
    """Image height in pixels."""
    columns: int
    """Image width in pixels."""
    frames: int = 1
    """Number of frames; only single-frame images are read."""
    bits_stored: int = 8
    """Significant bits per pixel."""
    photometric: str = "MONOCHROME2"
    """DICOM Photometric Interpretation; PNG and JPEG grey is MONOCHROME2."""
    modality: str | None = None
    """DICOM Modality such as CR or DX; None when the file cannot say (PNG, JPEG)."""
    body_part: str | None = None
    """DICOM Body Part Examined in upper case; None when absent."""
    sop_class_uid: str | None = None
    """What kind of DICOM object this is; None for PNG and JPEG."""
    transfer_syntax_uid: str | None = None
    """How the pixels are encoded; None for PNG and JPEG."""
    presentation_intent: str | None = None
    """FOR PRESENTATION or FOR PROCESSING; None when absent."""
    view: ViewPosition = "UNKNOWN"
    """How the patient was seen."""
    view_source: ViewSource = "none"
    """Which attribute `view` was taken from."""
    laterality: Laterality | None = None
    """The patient's side the image shows, where the header says one."""
    laterality_source: Literal["image_laterality", "laterality", "none"] = "none"
    """Which attribute `laterality` was taken from."""
    study_instance_uid: StudyUid | None = None
    """DICOM study; None for PNG and JPEG."""
    series_instance_uid: str | None = None
    """DICOM series; None for PNG and JPEG."""
    sop_instance_uid: str | None = None
    """DICOM instance; None for PNG and JPEG."""
    patient_key: PatientKey | None = None
    """Keyed hash of Patient ID and its issuer; None without a salt or an id. The id itself is never kept."""
    indication: str | None = None
    """Reason for the Requested Procedure, where the header has one."""
    burned_in_annotation: bool | None = None
    """Whether pixels are declared to hold identifying text; None when not declared."""
    pixel_spacing_mm: tuple[float, float] | None = None
    """Row and column spacing in mm; None when unknown."""
    pixel_spacing_calibrated: bool = False
    """True when the spacing is at the patient; False for Imager Pixel Spacing or a copy of it (PS3.3 10.7.1.3)."""


class StudyImage(Record):
    """One image file of a study."""

    path: str
    """Where the file is."""
    digest: ImageDigest
    """SHA-256 of the file."""
    attributes: ImageAttributes
    """What its header says; the view may come from the request instead."""


class PriorReport(Record):
    """An earlier study of the same patient; never a similar case."""

    study_instance_uid: StudyUid
    """The earlier study."""
    text: str
    """Its report."""


class Told(Record):
    """What a request says of a study in words."""

    indication: str | None = None
    """Why it was made; where it is absent a header may say it."""
    technique: str | None = None
    """How it was made, such as portable or lying down."""
    comparison: str | None = None
    """Which earlier studies the request names."""
    priors: tuple[PriorReport, ...] = ()
    """Earlier studies that were handed in, the most recent first."""


NOTHING_TOLD: Final = Told()
"""A request without words."""


class Study(Record):
    """What a draft is asked for: one study of one patient."""

    images: tuple[StudyImage, ...] = Field(min_length=1)
    """All images of the study, frontal first."""
    study_instance_uid: StudyUid | None = None
    """None for image files that carry no study."""
    patient_key: PatientKey | None = None
    """Pseudonym of the patient; None when unknown. Used only to keep the patient's own cases out of the evidence."""
    indication: str | None = None
    """Why the study was made."""
    technique: str | None = None
    """How it was made."""
    comparison: str | None = None
    """Which earlier studies the request names."""
    priors: tuple[PriorReport, ...] = ()
    """Earlier studies handed in with the request, the most recent first."""

    @property
    def digests(self) -> tuple[ImageDigest, ...]:
        """The image files, in order."""
        return tuple(image.digest for image in self.images)


class Section(Record):
    """A stretch of a report under one heading."""

    name: SectionName
    """What the heading means; `other` for text under no known heading."""
    heading: str
    """The heading as written, empty for text before the first."""
    text: str
    """The section's text, stripped."""
    start: int
    """First character in the report, heading included."""
    end: int
    """One past the last character."""


class Report(Record):
    """A reference report: text and its sections. Sections tile the text, so nothing is lost."""

    text: str
    """The report as received."""
    sections: tuple[Section, ...] = ()
    """In the order written."""

    def section(self, name: SectionName) -> str:
        """The text of every section of that name, joined by blank lines; empty when there is none."""
        return "\n\n".join(s.text for s in self.sections if s.name == name and s.text)

    @property
    def findings(self) -> str:
        """The findings section; empty when the report has none."""
        return self.section("findings")

    @property
    def impression(self) -> str:
        """The impression section; empty when the report has none."""
        return self.section("impression")


class CaseImage(Record):
    """One indexed image."""

    digest: ImageDigest
    """SHA-256 of the file that was encoded."""
    view: ViewPosition
    """How the patient was seen."""
    path: str = ""
    """Where the file was at indexing time, relative to the manifest; empty when not kept."""


class Case(Record):
    """An indexed study with its report: what a similar-case search finds."""

    case_id: CaseId
    """Unique in the index."""
    patient_key: PatientKey
    """Salted pseudonym; the same patient is never retrieved for itself."""
    study_instance_uid: StudyUid
    """The study, or the source's own id for it."""
    images: tuple[CaseImage, ...] = Field(min_length=1)
    """One vector each, in this order."""
    report: Report
    """The signed report of this study."""
    sex: Sex | None = None
    """Patient's sex; None when unknown."""
    age_band: str | None = None
    """Ten-year band such as 60-69; None when unknown. Exact ages are not kept."""
    labels: tuple[str, ...] = ()
    """Expert-coded findings that came with the case, as the source writes them."""
    source: str
    """The collection this case is from."""
    licence: str
    """Under which terms it may be used and shown."""
    attribution: str = ""
    """Whom to credit; empty when the licence asks for none."""
    content: str
    """SHA-256 over the manifest row and image files: equal content is never encoded twice, whatever read it."""
    concepts: ReadConcepts | None = None
    """What the report says; None when nothing has read it."""

    @property
    def extractor(self) -> ExtractorIdentity | None:
        """What read the report; None when nothing has."""
        return None if self.concepts is None else self.concepts.extractor


class FoundBy(Record):
    """What one leg found of a case."""

    leg: Leg
    """Which."""
    rank: int
    """Its rank in this leg, from 1."""
    similarity: float
    """Image: inner product of the best pair. Concept: 0 to 1. Text: BM25, without bound. Compare within a leg only."""


class RetrievedCase(Record):
    """A similar case, and why it is here. Never a prior: it belongs to another patient."""

    case: Case
    """The case with its report."""
    rank: int
    """1 is nearest."""
    similarity: float
    """That of the first of `found_by`; higher is nearer, among cases found by the same leg."""
    matched: tuple[tuple[int, int, float], ...] = ()
    """Query image, case image and their similarity, for each pair that was near; empty when images did not find it."""
    found_by: tuple[FoundBy, ...] = ()
    """The legs that found it, in the order image, concept, text."""
    comparison: ConceptComparison | None = None
    """How it compares in concepts; None when concepts were not asked for, or nobody has read its report."""


class GateVerdict(Record):
    """Whether a study is one this product drafts for; a refusal is an answer, not an error."""

    in_scope: bool
    """False means there is no draft, for `reason`."""
    reason: ReasonCode | None = None
    """Empty only when in scope."""
    explanation: str = ""
    """One sentence for a person."""
    warnings: tuple[str, ...] = ()
    """What a reader should know though the study is in scope."""


class Evidence(Record):
    """Everything a draft was made from."""

    cases: tuple[RetrievedCase, ...] = ()
    """Similar cases, nearest first; empty when none is close."""
    index_snapshot: SnapshotId | None = None
    """Which built index answered. None only when retrieval was switched off."""
    encoder: EncoderIdentity | None = None
    """Which encoder compared the images."""
    legs: tuple[Leg, ...] = ()
    """The legs that were asked; one that had nothing to ask with is not among them."""
    concepts: ConceptSet | None = None
    """What the concept leg asked for, or None. For images it is what similar cases show: no report of the study."""


class SimilarCases(Record):
    """The answer to a search."""

    verdict: GateVerdict
    """Whether the study may be searched for at all; in scope where no study was given."""
    evidence: Evidence
    """The cases; none when the study is out of scope."""
    reason: ReasonCode | None = None
    """NO_CLOSE_MATCH when nothing in any leg is like it; None when there are cases, or the verdict says why not."""
    explanation: str = ""
    """The reason in one sentence for a person."""
