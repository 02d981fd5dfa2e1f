"""Fit what an index needs to know of its images: once, before anything is encoded.

The embedded encoder's whitening needs the mean and spread of many images, a trained encoder's centring their mean, the
gate what is ordinary among them. They are learned from one seeded sample of the manifest and kept in the index: the
first belong to the encoder's identity, and every later image, indexed or queried, goes through the same. An index that
has outgrown a small first build is fitted anew only by building it into a new folder; `prelim-index build` says when
that is worth it.
"""

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from indexing.manifest import ManifestStudy, read_manifest
from retrieval.encoders.descriptor import DescriptorEncoder
from retrieval.encoders.encoder import Prepared
from retrieval.errors import InvalidManifest, PrelimError
from retrieval.gate import refuse_for_index
from retrieval.index import IndexEncoder
from retrieval.look import Scope, ViewScope
from retrieval.pixels.sandbox import Readers, Reading
from retrieval.records import PatientKey, ViewPosition, view_group

FIT_IMAGES = 2000
"""Images sampled; with 300 frontal ones retrieval on real studies is as good as with all (ARCHITECTURE.md, Encoder)."""
LEAST_IMAGES = 8
"""Different images without which there is nothing to learn a spread from."""
REFUSED_FRONTALS, FRONTAL_MARGIN = 0.001, 0.03
"""Part of the index's own held-out frontals below the gate's bound, and how far the bound is then lowered: another
department exposes and collimates otherwise, and frontals must fit the lungs as well."""
REFUSED_LATERALS = 0.025
"""Part of the index's own held-out laterals that the bound refuses when nothing declares them."""
SEED = 0


@dataclass(frozen=True)
class _Sampled:
    place: int
    path: str
    view: ViewPosition | None
    patient: PatientKey


@dataclass(frozen=True)
class Fitted:
    """What was learned, and the images that were read for it."""

    encoder: IndexEncoder
    scope: Scope
    known: dict[str, Reading]
    """By path: they need not be read again."""


def whitened(images: Sequence[Prepared]) -> DescriptorEncoder:
    """The embedded encoder, fitted on images it has prepared."""
    return DescriptorEncoder.fit(np.stack(images))


def fit(
    manifest: Path,
    readers: Readers,
    learn: Callable[[Sequence[Prepared]], IndexEncoder] = whitened,
    *,
    on_image: Callable[[int], None] = lambda images: None,
) -> Fitted:
    """Fit on at most FIT_IMAGES images; `readers` must look, and prepare images for the encoder that `learn` makes.

    The encoder is fitted on frontal images, which decide what is similar (on all when there are none). Raises
    InvalidManifest when no image of the manifest can be read.
    """
    sample = _sample(manifest)
    known: dict[str, Reading] = {}
    faults: Counter[str] = Counter()
    groups: dict[str, list[tuple[Reading, PatientKey]]] = {"frontal": [], "lateral": [], "other": []}
    for sampled, reading in zip(sample, readers.read([s.path for s in sample]), strict=True):
        on_image(1)
        if isinstance(reading, PrelimError):
            faults[reading.code] += 1
        elif (refusal := refuse_for_index(reading.attributes)) is not None:
            faults[refusal.reason or ""] += 1
        else:
            known[reading.path] = reading
            groups[view_group(sampled.view or reading.attributes.view)].append((reading, sampled.patient))
    rows = [reading.prepared for reading, _ in groups["frontal"]] or [r.prepared for r in known.values()]
    if len({row.tobytes() for row in rows}) < LEAST_IMAGES:
        why = ", ".join(f"{code} {count}" for code, count in faults.most_common()) or "no more in the manifest"
        raise InvalidManifest(
            f"an index is fitted on at least {LEAST_IMAGES} different images, and {len(known)} can be used ({why})",
            fix="check the paths and rows of the manifest, or add studies",
        )
    return Fitted(
        learn(rows),
        Scope(
            frontal=_learn(groups["frontal"], REFUSED_FRONTALS, FRONTAL_MARGIN),
            lateral=_learn(groups["lateral"], REFUSED_LATERALS, 0.0),
        ),
        known,
    )


def _learn(images: list[tuple[Reading, PatientKey]], refused: float, margin: float) -> ViewScope | None:
    looks, patients = [reading.look for reading, _ in images], [patient for _, patient in images]
    return ViewScope.learn(looks, patients, refused=refused, margin=margin)


def _sample(manifest: Path) -> list[_Sampled]:
    """Reservoir sample (Vitter, ACM TOMS 11:37, 1985) of the images in one pass, in manifest order."""
    chooser = random.Random(SEED)
    reservoir: list[_Sampled] = []
    place = 0
    for study in read_manifest(manifest):
        if not isinstance(study, ManifestStudy):
            continue
        for path, image in zip(study.paths, study.row.images, strict=True):
            sampled = _Sampled(place, path, image.view, study.patient_key)
            if len(reservoir) < FIT_IMAGES:
                reservoir.append(sampled)
            elif (drawn := chooser.randrange(place + 1)) < FIT_IMAGES:
                reservoir[drawn] = sampled
            place += 1
    return sorted(reservoir, key=lambda s: s.place)
