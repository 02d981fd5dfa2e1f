"""Fit the embedded encoder to a manifest: once per index, before anything is encoded.

Whitening needs the mean and spread of many images. It is fitted on a seeded sample of the manifest and kept in the
index, because it belongs to the encoder's identity: every later image, indexed or queried, goes through the same one.
"""

import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
from retrieval.encoders.descriptor import DescriptorEncoder
from retrieval.pixels.sandbox import Readers, Reading

from indexing.manifest import ManifestStudy, read_manifest
from retrieval.errors import InvalidManifest
from retrieval.gate import refuse_for_index

FIT_IMAGES = 2000
"""Images sampled: the whitening's figures on real radiographs no longer change beyond this (evaluation/measured)."""
SEED = 0


def fit_descriptor(
    manifest: Path, readers: Readers, *, on_image: Callable[[int], None] = lambda images: None
) -> tuple[DescriptorEncoder, dict[str, Reading]]:
    """Fit on at most FIT_IMAGES images; also returns them by path, so that no image is prepared twice.

    Raises InvalidManifest when no image of the manifest can be read.
    """
    sample = _sample(manifest)
    known: dict[str, Reading] = {}
    for reading in readers.read(sample):
        if isinstance(reading, Reading) and refuse_for_index(reading.attributes) is None:
            known[reading.path] = reading
        on_image(1)
    if not known:
        raise InvalidManifest("no image of the manifest can be read", fix="look at the quarantine file")
    rows = np.stack([reading.prepared for reading in known.values()])
    return DescriptorEncoder.fit(rows), known


def _sample(manifest: Path) -> list[str]:
    """Reservoir sample (Vitter, 1985) of image paths in one pass, in manifest order."""
    chooser = random.Random(SEED)
    reservoir: list[tuple[int, str]] = []
    seen = 0
    for row in read_manifest(manifest):
        for path in row.paths if isinstance(row, ManifestStudy) else ():
            if len(reservoir) < FIT_IMAGES:
                reservoir.append((seen, path))
            elif (place := chooser.randrange(seen + 1)) < FIT_IMAGES:
                reservoir[place] = (seen, path)
            seen += 1
    return [path for _, path in sorted(reservoir)]
