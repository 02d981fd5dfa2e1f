"""The three stores behind one door, for the contract tests."""

import contextlib
import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from retrieval.stores.faiss_segments import FaissSegments
from retrieval.stores.memory import MemoryStore
from retrieval.stores.qdrant_segments import QdrantSegments
from retrieval.stores.segmented import SegmentedStore
from retrieval.stores.store import Store
from tests.stores_drawing import DIMENSION, ENCODER

QDRANT = pytest.param("qdrant", marks=pytest.mark.qdrant)
Open = Callable[[], Store]


@contextlib.contextmanager
def opened(backend: str, directory: Path) -> Iterator[Open]:
    """A function that opens the same store each time it is called; what it opened is closed at the end."""
    with contextlib.ExitStack() as stack:
        if backend == "memory":
            only = MemoryStore(ENCODER, DIMENSION)
            yield lambda: only
            return
        if backend == "faiss":

            def shelf():
                return FaissSegments(directory / "store")
        else:
            client = stack.enter_context(qdrant_client())
            name = f"prelim-test-{uuid.uuid4().hex[:12]}"
            stack.callback(drop_collections, client, name)

            def shelf():
                return QdrantSegments(client, name)

        def open_store() -> Store:
            store = SegmentedStore(shelf(), ENCODER, DIMENSION)
            stack.callback(store.close)
            return store

        yield open_store


@contextlib.contextmanager
def qdrant_client():
    """Qdrant's in-process mode, or the server named by PRELIM_QDRANT_URL."""
    from qdrant_client import QdrantClient  # noqa: PLC0415

    url = os.environ.get("PRELIM_QDRANT_URL")
    client = QdrantClient(url=url) if url else QdrantClient(":memory:")
    try:
        yield client
    finally:
        client.close()


def drop_collections(client, name: str) -> None:
    for collection in client.get_collections().collections:
        if collection.name.startswith(name):
            client.delete_collection(collection.name)
