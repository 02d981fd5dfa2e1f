"""Which parts a build is made of: the only place in `indexing` that names concrete classes."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from indexing.fit import fit_descriptor
from retrieval.encoders.descriptor import DescriptorEncoder
from retrieval.index import Index, keep_encoder, read_encoder, shelf_at
from retrieval.pixels.sandbox import Readers, Reading
from retrieval.stores.segmented import SegmentedStore


def readers(workers: int | None = None) -> Readers:
    """Decoder processes that prepare images for the embedded encoder; one for each core unless said otherwise."""
    return Readers(DescriptorEncoder.prepare, workers=workers or os.cpu_count() or 1)


@contextmanager
def writing(
    location: str, manifest: Path, reading: Readers, *, on_image: Callable[[int], None] = lambda images: None
) -> Iterator[tuple[Index, dict[str, Reading]]]:
    """Open an index for a build, making it and fitting its encoder when it is new.

    Also gives the images that fitting has read. Raises StoreBusy when another process is writing.
    """
    shelf = shelf_at(location)
    known: dict[str, Reading] = {}
    try:
        shelf.lock()  # before fitting: two first builds must not fit two encoders
        encoder = read_encoder(shelf)
        if encoder is None:
            encoder, known = fit_descriptor(manifest, reading, on_image=on_image)
            keep_encoder(shelf, encoder)
        yield Index(shelf, SegmentedStore(shelf, encoder.identity, encoder.dimension), encoder), known
    finally:
        shelf.close()
