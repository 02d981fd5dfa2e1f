"""Which parts a build and a rereading are made of: the only place in `indexing` that names concrete classes."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from indexing.fit import fit, whitened
from retrieval.encoders.descriptor import DescriptorEncoder
from retrieval.encoders.encoder import Prepared
from retrieval.encoders.named import DESCRIPTOR, LOCALLY, CentredEncoder, Loading
from retrieval.encoders.named import load as load_encoder
from retrieval.extraction.extractor import Extractor, embedded
from retrieval.extraction.tokens import fold_phrase
from retrieval.index import Index, IndexEncoder, keep_fitted, open_index, read_fitted, shelf_at
from retrieval.look import look
from retrieval.mentions import ConceptId
from retrieval.ontology.ontology import load
from retrieval.pixels import Pixels
from retrieval.pixels.sandbox import Readers, Reading
from retrieval.stores.segmented import SegmentedStore
from retrieval.vocabularies.layer import OpenLayer
from retrieval.vocabularies.synonyms import synonyms_for


def readers(workers: int | None = None, prepare: Callable[[Pixels], Prepared] = DescriptorEncoder.prepare) -> Readers:
    """Decoder processes that prepare images for an encoder; one for each core unless said otherwise."""
    return Readers(prepare, workers=workers or os.cpu_count() or 1)


def extractor(layers: Sequence[Path] = ()) -> Extractor:
    """What reads reports: the embedded ontology, with the further synonyms of imported vocabularies.

    Raises InvalidVocabulary for a file that is no layer.
    """
    return _with_layers(layers) if layers else embedded()


def _with_layers(layers: Sequence[Path]) -> Extractor:
    meanings: dict[tuple[str, ...], set[ConceptId]] = {}
    extra: list[tuple[ConceptId, str]] = []
    for path in layers:
        with closing(OpenLayer(path)) as layer:
            extra += [(added.concept, added.phrase) for added in synonyms_for(load(), layer).phrases]
    # Within a layer no phrase has two concepts; between two of them it may, and then nobody knows which is meant.
    for concept, phrase in extra:
        meanings.setdefault(fold_phrase(phrase), set()).add(concept)
    return Extractor(
        load(), [(concept, phrase) for concept, phrase in extra if len(meanings[fold_phrase(phrase)]) == 1]
    )


@contextmanager
def rereading(location: str) -> Iterator[Index]:
    """Open an index as its only writer, at its newest snapshot, without fitting anything. Raises StoreBusy, NoIndex."""
    with closing(open_index(location)) as index:
        index.shelf.lock()
        index.store.refresh()  # a writer may have published between opening and locking
        yield index


@contextmanager
def writing(
    location: str,
    manifest: Path,
    *,
    loading: Loading = LOCALLY,
    workers: int | None = None,
    on_image: Callable[[int], None] = lambda images: None,
) -> Iterator[tuple[Index, dict[str, Reading]]]:
    """Open an index for a build, making and fitting it when it is new.

    Also gives the images that fitting has read. Raises StoreBusy when another process is writing, StoreCorrupt when
    the encoder of vectors that are there already was lost: they would be searched with another one's; EncoderMismatch
    when they are another encoder's than the one that is named; for a new index what loading a trained encoder raises.
    """
    shelf = shelf_at(location)
    known: dict[str, Reading] = {}
    try:
        shelf.lock()  # before fitting: two first builds must not fit two encoders
        kept = read_fitted(shelf, loading)
        if kept is None:
            prepare, learn = _learner(loading)
            with Readers(prepare, look=look, workers=workers or os.cpu_count() or 1) as looking:
                fitted = fit(manifest, looking, learn, on_image=on_image)
            keep_fitted(shelf, fitted.encoder, fitted.scope)
            kept, known = (fitted.encoder, fitted.scope), fitted.known
        encoder, scope = kept
        yield Index(shelf, SegmentedStore(shelf, encoder.identity, encoder.dimension), encoder, scope), known
    finally:
        shelf.close()


def _learner(
    loading: Loading,
) -> tuple[Callable[[Pixels], Prepared], Callable[[Sequence[Prepared]], IndexEncoder]]:
    """What prepares images for a new index's encoder, and what makes that encoder of images so prepared."""
    if loading.name in ("", DESCRIPTOR):
        return DescriptorEncoder.prepare, whitened
    trained = load_encoder(loading.name, device=loading.device, network=loading.network)
    return trained.prepare, lambda images: CentredEncoder.fit(loading.name, trained, images, loading)
