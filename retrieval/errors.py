"""Every error Prelim raises, in one family.

Catch by what the caller can do about it, not by which library failed:

    PrelimError
    ├── RequestError              fix the request; sending it again as it is cannot help
    │   ├── UnreadableImage       the bytes are not a whole image of a known format
    │   ├── UnsupportedImage      a valid image this product does not read (multi-frame, colour, no decoder)
    │   ├── ImageTooLarge         beyond the limits on bytes, rows, columns, frames or decoded memory
    │   ├── InvalidStudy          the files handed in do not make up one study
    │   ├── InvalidManifest       an indexing manifest that cannot be read at all
    │   ├── InvalidVocabulary     files of a vocabulary that are not whole, or not of the format named
    │   ├── LicenceNotAcknowledged  a vocabulary may be read only by those who say that they are licensed for it
    │   ├── InvalidLocation       an index location that is neither a folder nor a server's URL with a name
    │   ├── NoIndex               there is no index at that location
    │   ├── EncoderMismatch       the index was built with another encoder
    │   ├── UnfinishedBuild       staged cases of a build that was interrupted stand in the way
    │   ├── UnknownCase           no such case in the index
    │   ├── UnknownSnapshot       no such snapshot is retained
    │   ├── UnknownJob            no such job, or somebody else's
    │   ├── KeyReused             an idempotency key that was used for another request
    │   ├── InvalidPrompt         a prompt for this model cannot be made of it: no such image, or markup in data
    │   ├── PromptTooLong         prompt and draft together exceed the positions the model knows
    │   ├── ImagesNotSupported    an image was put to a model that reads text only
    │   ├── NotScorable           what was handed in has no figure; never scored as zero
    │   ├── MalformedRequest      what was sent over a connection is no message of this service
    │   ├── InvalidRequest        fields of a request are not as they must be
    │   ├── Unauthenticated       no key, or one that nobody knows
    │   └── Forbidden             a key that is not for what is asked
    ├── RetryableError            the request is fine; try again later
    │   ├── StoreUnavailable      the store did not answer, or nothing has been published in it yet
    │   ├── StoreBusy             another writer holds the index
    │   ├── StoreFull             no room left on the store's disk; the last snapshot still serves
    │   ├── DecoderTimeout        decoding took longer than its limit
    │   ├── GeneratorUnavailable  the language model's server is down, slow or answers nonsense
    │   ├── Overloaded            more is waiting than may wait; says when to come again
    │   ├── DeadlineExceeded      the answer was not ready in the time the caller gave
    │   └── Cancelled             the caller no longer wants the answer
    └── OperatorError             give up; a person has to repair something
        ├── StoreCorrupt          a checksum or a count does not hold
        ├── MissingWeights        the model is not where it was said to be, or its weights are not all there
        ├── UnsafeWeights         the weights exist only as pickles; they are never opened
        ├── UnsupportedModel      the library has no code of its own for this model
        ├── CalibrationMismatch   a calibration was fitted for another expert, or is none
        ├── BrokenLogits          a forward pass gave NaN or infinity, or forbade every token
        ├── UnsupportedEngine     a version of vLLM whose inside this plugin does not know
        ├── MissingDependency     an optional package is not installed
        └── MissingData           the collection to measure on is not where PRELIM_DATA says

Every error says what happened and, in `fix`, what to do about it. `code` is stable across versions: interfaces and
logs use it, and it never contains text from a report, a name or a pixel.
"""

from typing import ClassVar


class PrelimError(Exception):
    """Anything Prelim raises on purpose; `str()` gives what happened and what to do."""

    code: ClassVar[str] = "ERROR"
    exit_status: ClassVar[int] = 1
    """What a command exits with, after sysexits.h."""

    def __init__(self, what: str, *, fix: str = "", unquoted: str = "") -> None:
        super().__init__(what)
        self.what = what
        """What happened, without patient data; it may quote a word of the request, for the person who typed it."""
        self.unquoted = unquoted or what
        """The same without any word of the request, for logs and for answers that others may see."""
        self.fix = fix
        """What the reader can do about it; empty when only the code's documentation can say."""

    def __str__(self) -> str:
        return f"{self.what} ({self.fix})" if self.fix else self.what


class RequestError(PrelimError):
    """The caller can fix this; the same request will fail again."""

    code = "REQUEST"
    exit_status = 65  # EX_DATAERR


class UnreadableImage(RequestError):
    """Empty, truncated or damaged bytes, or bytes of no known image format."""

    code = "UNREADABLE_IMAGE"


class UnsupportedImage(RequestError):
    """A valid file of a kind that is not read here: several frames, colour, or a syntax without a decoder."""

    code = "UNSUPPORTED_IMAGE"


class ImageTooLarge(RequestError):
    """Over a hard limit; raised from the header, before any pixel is decoded."""

    code = "IMAGE_TOO_LARGE"


class InvalidStudy(RequestError):
    """The files do not make up one study: none readable, or of several studies or patients."""

    code = "INVALID_STUDY"


class InvalidManifest(RequestError):
    """The manifest as a whole cannot be used; a single bad row is quarantined instead."""

    code = "INVALID_MANIFEST"


class InvalidVocabulary(RequestError):
    """A vocabulary's files, or a layer made of them, cannot be used; names file and line, never what stands there."""

    code = "INVALID_VOCABULARY"


class LicenceNotAcknowledged(RequestError):
    """Nothing of a vocabulary is read until its licence is acknowledged; says which one and where its text is."""

    code = "LICENCE_NOT_ACKNOWLEDGED"


class InvalidLocation(RequestError):
    """The index location is neither a folder nor a server's URL with a name."""

    code = "INVALID_LOCATION"


class NoIndex(RequestError):
    """There is no index at that location; says how to make one."""

    code = "NO_INDEX"


class EncoderMismatch(RequestError):
    """Vectors of two encoders cannot be compared; names both identities."""

    code = "ENCODER_MISMATCH"


class UnfinishedBuild(RequestError):
    """A build was interrupted and its staged cases would be published with what was asked for."""

    code = "UNFINISHED_BUILD"


class UnknownCase(RequestError):
    """No case of that id is in the snapshot."""

    code = "UNKNOWN_CASE"


class UnknownSnapshot(RequestError):
    """No snapshot of that id is retained."""

    code = "UNKNOWN_SNAPSHOT"


class UnknownJob(RequestError):
    """There is no job of that id that the asker may see."""

    code = "UNKNOWN_JOB"


class KeyReused(RequestError):
    """An idempotency key stands for one request only."""

    code = "KEY_REUSED"


class InvalidPrompt(RequestError):
    """A prompt that cannot be put to this model: an image nobody handed in, or markup where data should stand."""

    code = "INVALID_PROMPT"


class PromptTooLong(RequestError):
    """Prompt and draft together exceed the positions the model knows; names the branch and both counts."""

    code = "PROMPT_TOO_LONG"


class ImagesNotSupported(RequestError):
    """An image was put to a model that reads text only."""

    code = "IMAGES_NOT_SUPPORTED"


class NotScorable(RequestError):
    """Nothing to score: no texts, an empty reference, or no finding common enough. Never counted as zero."""

    code = "NOT_SCORABLE"


class MalformedRequest(RequestError):
    """Bytes that are no message of this service, or not the one that was due."""

    code = "MALFORMED"


class InvalidRequest(RequestError):
    """Fields of a request are not as they must be; names each, never its value."""

    code = "INVALID_REQUEST"

    def __init__(self, what: str, *, fields: tuple[tuple[str, str], ...] = (), fix: str = "") -> None:
        super().__init__(what, fix=fix)
        self.fields = fields
        """Each field and what is wrong with it."""


class Unauthenticated(RequestError):
    """A face asks for keys, and none that it knows was sent."""

    code = "UNAUTHENTICATED"


class Forbidden(RequestError):
    """The key is known, and is not for this."""

    code = "FORBIDDEN"


class RetryableError(PrelimError):
    """Nothing is wrong with the request; the same one may succeed later."""

    code = "RETRY"
    exit_status = 75  # EX_TEMPFAIL


class StoreUnavailable(RetryableError):
    """The store did not answer, or holds no published snapshot yet."""

    code = "STORE_UNAVAILABLE"


class StoreBusy(RetryableError):
    """Another process is writing to this index."""

    code = "STORE_BUSY"


class StoreFull(RetryableError):
    """The disk is full; what was acknowledged is safe and the last snapshot still serves."""

    code = "STORE_FULL"


class DecoderTimeout(RetryableError):
    """The decoding process was stopped at its time limit."""

    code = "DECODER_TIMEOUT"


class GeneratorUnavailable(RetryableError):
    """The language model's server did not answer, broke off, or answered with what cannot be used."""

    code = "GENERATOR_UNAVAILABLE"


class Overloaded(RetryableError):
    """More is waiting than may wait; nothing was begun."""

    code = "OVERLOADED"

    def __init__(self, what: str, *, retry_after_s: float, fix: str = "") -> None:
        super().__init__(what, fix=fix or f"try again in {retry_after_s:g} s")
        self.retry_after_s = retry_after_s
        """When a place is likely to be free."""


class DeadlineExceeded(RetryableError):
    """The answer was not ready in the time the caller gave; what was begun has been stopped."""

    code = "DEADLINE_EXCEEDED"


class Cancelled(RetryableError):
    """The caller no longer wants the answer; what was begun has been stopped."""

    code = "CANCELLED"


class OperatorError(PrelimError):
    """A person has to act: restore, rebuild or install something."""

    code = "OPERATOR"
    exit_status = 78  # EX_CONFIG


class StoreCorrupt(OperatorError):
    """Stored bytes differ from what was written; nothing from them is served."""

    code = "STORE_CORRUPT"


class MissingWeights(OperatorError):
    """The model is not where it was said to be, or its weights are not all there; nothing is made up for them."""

    code = "MISSING_WEIGHTS"


class UnsafeWeights(OperatorError):
    """The weights exist only as pickles, which can run code when they are read; they are never opened."""

    code = "UNSAFE_WEIGHTS"


class UnsupportedModel(OperatorError):
    """The library has no code of its own for this model; code from a model's folder is never run."""

    code = "UNSUPPORTED_MODEL"


class CalibrationMismatch(OperatorError):
    """A calibration was fitted for other weights than it lies beside, or cannot be read; none is guessed for it."""

    code = "CALIBRATION_MISMATCH"


class BrokenLogits(OperatorError):
    """A forward pass gave NaN or plus infinity, or forbade every token; no draft is made from it."""

    code = "BROKEN_LOGITS"

    def __init__(self, what: str, *, groups: tuple[int, ...], fix: str = "") -> None:
        super().__init__(what, fix=fix)
        self.groups = groups
        """Which groups of the batch, so that the others can go on without them."""


class UnsupportedEngine(OperatorError):
    """A version of an engine whose inside this product does not know; it refuses rather than decode wrongly."""

    code = "UNSUPPORTED_ENGINE"


class MissingDependency(OperatorError):
    """An optional package is needed; names the extra that brings it."""

    code = "MISSING_DEPENDENCY"


class MissingData(OperatorError):
    """The collection is not where PRELIM_DATA says; somebody has to put it there."""

    code = "MISSING_DATA"
