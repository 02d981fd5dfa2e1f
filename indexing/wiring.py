"""Which parts a build is made of: the only place in `indexing` that names concrete classes."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from indexing.fit import fit
from retrieval.encoders.descriptor import DescriptorEncoder
from retrieval.index import Index, keep_fitted, read_fitted, shelf_at
from retrieval.look import look
from retrieval.pixels.sandbox import Readers, Reading
from retrieval.stores.segmented import SegmentedStore


def readers(workers: int | None = None) -> Readers:
    """Decoder processes that prepare images for the embedded encoder; one for each core unless said otherwise."""
    return Readers(DescriptorEncoder.prepare, workers=workers or os.cpu_count() or 1)


@contextmanager
def writing(
    location: str, manifest: Path, *, workers: int | None = None, on_image: Callable[[int], None] = lambda images: None
) -> Iterator[tuple[Index, dict[str, Reading]]]:
    """Open an index for a build, making and fitting it when it is new.

    Also gives the images that fitting has read. Raises StoreBusy when another process is writing, StoreCorrupt when
    the encoder of vectors that are there already was lost: they would be searched with another one's.
    """
    shelf = shelf_at(location)
    known: dict[str, Reading] = {}
    try:
        shelf.lock()  # before fitting: two first builds must not fit two encoders
        kept = read_fitted(shelf)
        if kept is None:
            with Readers(DescriptorEncoder.prepare, look=look, workers=workers or os.cpu_count() or 1) as looking:
                fitted = fit(manifest, looking, on_image=on_image)
            keep_fitted(shelf, fitted.encoder, fitted.scope)
            kept, known = (fitted.encoder, fitted.scope), fitted.known
        encoder, scope = kept
        yield Index(shelf, SegmentedStore(shelf, encoder.identity, encoder.dimension), encoder, scope), known
    finally:
        shelf.close()
