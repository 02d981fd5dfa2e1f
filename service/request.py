"""What a caller may say beside the images of a study, or of a report: one record for HTTP, gRPC, jobs and bulk.

Images are never in it: they come as files. Everything is optional; an empty request is a good request.
"""

from typing import Annotated, Final, Literal

from pydantic import Field

from generation.decoding.presets import PresetName
from retrieval.checks.context import CheckContext
from retrieval.record import Record
from retrieval.records import PatientKey, PriorReport, StudyUid, Told, ViewPosition

LONGEST_TEXT: Final = 20_000
"""Characters of an indication or an earlier report; more is no radiology text."""


class DraftRequest(Record):
    """What is asked of one draft."""

    view: ViewPosition | None = None
    """View of the images whose files say none, such as PNG; a file's own header wins."""
    patient_key: PatientKey | None = Field(default=None, max_length=200)
    """Pseudonym by which the patient's own cases are left out; where it is absent a DICOM header gives it."""
    indication: str | None = Field(default=None, max_length=LONGEST_TEXT)
    """Why the study was made; where it is absent a DICOM header may say it."""
    technique: str | None = Field(default=None, max_length=LONGEST_TEXT)
    """How the study was made, such as portable or lying down."""
    comparison: str | None = Field(default=None, max_length=LONGEST_TEXT)
    """Which earlier studies the request names; shown to a language model only beside priors."""
    priors: tuple[Annotated[str, Field(max_length=LONGEST_TEXT)], ...] = Field(default=(), max_length=8)
    """Reports of earlier studies of the same patient, the most recent first."""
    written_by: Literal["default", "similar_cases", "language_model"] = "default"
    """Who writes. `default` is a language model where the service has one, else sentences of similar cases."""
    preset: PresetName | None = None
    """How the branches of a language model are mixed; None takes the service's."""
    seed: int = Field(default=0, ge=0, lt=2**63)
    """Of the draws, where the temperature is not 0."""
    temperature: float = Field(default=0.0, ge=0.0, le=2.0)
    """0 takes the most likely token: the same request gives the same draft."""
    max_new_tokens: int | None = Field(default=None, ge=1, le=4096)
    """Where a draft ends at the latest; None takes the service's."""
    deadline_s: float | None = Field(default=None, gt=0, le=3600)
    """Seconds after which the answer is no longer wanted; None takes the service's."""

    @property
    def told(self) -> Told:
        """The words of the request, as a study has them."""
        priors = (
            PriorReport(study_instance_uid=StudyUid(f"prior-{n}"), text=text) for n, text in enumerate(self.priors, 1)
        )
        return Told(
            indication=self.indication, technique=self.technique, comparison=self.comparison, priors=tuple(priors)
        )


class CheckRequest(Record):
    """A report, and what is known of its study."""

    report: str = Field(min_length=1, max_length=50_000)
    """The text, with or without headings."""
    context: CheckContext = CheckContext()
    """What is known beside the text; what is left out is taken from the report's own sections where they say it, and
    what nobody knows is named in the answer as not checked."""
