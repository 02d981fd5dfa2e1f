"""What this service can do, for every face: nothing here is about a patient."""

from importlib.metadata import version

from generation.decoding.presets import PRESETS, PresetName
from retrieval.record import Record
from retrieval.records import EncoderIdentity, SnapshotId
from service.front import Front


class Capabilities(Record):
    """What can be asked for here."""

    software: str
    """Version of Prelim."""
    snapshot: SnapshotId | None
    """The state of the index that answers; None when nothing is published."""
    cases: int
    """Cases that can be found."""
    reports_read: int
    """How many of them can be found by what their reports say."""
    encoder: EncoderIdentity | None
    """What compares images."""
    words_to_images: bool
    """Whether images can be searched for in words."""
    language_model: str | None
    """Who writes drafts; None where they are made of similar cases' sentences."""
    presets: tuple[PresetName, ...]
    """How its branches can be mixed; empty without a language model."""
    experts: tuple[str, ...]
    """Classifiers that are asked of every study."""
    images_of_cases: bool
    """Whether the images of cases are shown."""
    jobs: bool
    """Whether drafts can be submitted for later."""


def capabilities_of(front: Front) -> Capabilities:
    """What can be asked for of this front."""
    retriever, writer = front.desk.retriever, front.desk.drafter.writer
    read, cases = retriever.searchable()
    nothing = retriever.nothing()
    return Capabilities(
        software=version("prelim"),
        snapshot=nothing.index_snapshot,
        cases=cases,
        reports_read=read,
        encoder=nothing.encoder,
        words_to_images=retriever.reads_words,
        language_model=writer.generator.language_model if writer else None,
        presets=tuple(PRESETS) if writer else (),
        experts=tuple(expert.identity for expert in writer.experts) if writer else (),
        images_of_cases=front.viewer.folder is not None,
        jobs=front.jobs is not None,
    )
