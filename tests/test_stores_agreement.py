"""Long random histories: a durable store and the oracle are driven together and must never differ."""

import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from retrieval.ontology.ontology import load
from retrieval.ranking.concept_sets import concepts_in
from retrieval.stores.faiss_segments import FaissSegments
from retrieval.stores.memory import MemoryStore
from retrieval.stores.qdrant_segments import QdrantSegments
from retrieval.stores.segmented import SegmentedStore
from retrieval.where import Where
from tests.stores_backends import qdrant_client
from tests.stores_drawing import DIMENSION, ENCODER, SAID, WORDS, entries, exact_rows, ids, query

NUMBERS = st.lists(st.integers(0, 14), max_size=6)
# Every change is fsynced; on a memory file system that costs nothing and tests the same code.
LUNG = concepts_in(load(), "lung")
WHERE = st.builds(
    Where,
    group=st.sampled_from([None, "frontal"]),
    not_studies=st.sampled_from([frozenset(), frozenset({entries([3])[0].case.study_instance_uid})]),
    sex=st.sampled_from([None, None, "F", "M"]),
    age_bands=st.sampled_from([frozenset(), frozenset({"40-49", "50-59"}), frozenset({"80-89"})]),
    sources=st.sampled_from([frozenset(), frozenset({"drawn"})]),
    licences=st.sampled_from([frozenset(), frozenset({"CC0-1.0", "nobody's"})]),
    views=st.sampled_from([frozenset(), frozenset({"frontal", "lateral"})]),
    findings=st.sampled_from([frozenset(), frozenset({SAID[0]}), frozenset({SAID[5], "PRELIM:9999"})]),
    not_stated=st.sampled_from([frozenset(), frozenset({SAID[9]})]),
    not_denied=st.sampled_from([frozenset(), frozenset({SAID[7]})]),
    denied=st.sampled_from([frozenset(), frozenset({SAID[2]}), frozenset({SAID[8]})]),
)
FAST = "/dev/shm" if Path("/dev/shm").is_dir() else None


def told(snapshot):
    return None if snapshot is None else (snapshot.snapshot_id, snapshot.cases, snapshot.images, snapshot.note)


class Agreement(RuleBasedStateMachine):
    """The oracle beside a store on a shelf; both get the same calls."""

    @initialize()
    def begin(self):
        self.shelf = self.make_shelf()
        self.store = SegmentedStore(self.shelf, ENCODER, DIMENSION)
        self.oracle = MemoryStore(ENCODER, DIMENSION)
        self.steps = 0

    @rule(numbers=NUMBERS, version=st.integers(0, 3))
    def stage(self, numbers, version):
        allowed = [n for n in numbers if not self.oracle.erased(ids([n])[0])]
        for store in (self.store, self.oracle):
            store.stage(entries(allowed, version=version))

    @rule(remove=NUMBERS)
    def publish(self, remove):
        self.steps += 1
        made = [store.publish(remove=ids(remove), note=f"{self.steps}") for store in (self.store, self.oracle)]
        assert told(made[0]) == told(made[1])

    @rule(numbers=st.lists(st.integers(0, 20), max_size=2))
    def erase(self, numbers):
        assert self.oracle.erase(ids(numbers)) == self.store.erase(ids(numbers))

    @rule(numbers=st.lists(st.integers(0, 20), max_size=4))
    def unstage(self, numbers):
        self.store.unstage(ids(numbers))
        self.oracle.unstage(ids(numbers))

    @precondition(lambda self: self.oracle.snapshots())
    @rule(data=st.data())
    def rollback(self, data):
        chosen = data.draw(st.sampled_from([s.snapshot_id for s in self.oracle.snapshots()]))
        assert told(self.store.rollback(chosen)) == told(self.oracle.rollback(chosen))

    @rule()
    def refresh(self):
        self.store.refresh()

    @rule()
    def reopen(self):
        self.shelf.unlock()
        self.store = SegmentedStore(self.shelf, ENCODER, DIMENSION)

    @rule(seed=st.integers(0, 50), limit=st.integers(1, 30), group=st.sampled_from([None, "frontal", "lateral"]))
    def nearest(self, seed, limit, group):
        if self.oracle.current() is not None:
            case = entries([seed % 15])[0].case
            for where in (
                Where(group=group),
                Where(group=group, not_patients=frozenset({case.patient_key})),
                Where(not_images=frozenset({case.images[0].digest}), not_studies=frozenset({case.study_instance_uid})),
            ):
                query = exact_rows(seed, 2)
                assert self.store.nearest(query, limit, where) == self.oracle.nearest(query, limit, where)

    @rule(seed=st.integers(0, 50), limit=st.integers(1, 30), where=WHERE, within=st.sampled_from([None, LUNG]))
    def other_legs(self, seed, limit, where, within):
        if self.oracle.current() is not None:
            said = query(seed)
            for form in ("symmetric", "asymmetric"):
                ours, theirs = (
                    store.similar_concepts(said, limit, where, form=form, within=within)
                    for store in (self.store, self.oracle)
                )
                assert ours == theirs
            words = f"left effusion {WORDS[seed % len(WORDS)]} {seed:05d}"
            assert self.store.matching_text(words, limit, where) == self.oracle.matching_text(words, limit, where)
            rows = exact_rows(seed, 1)
            assert self.store.nearest(rows, limit, where) == self.oracle.nearest(rows, limit, where)
            held = list(self.oracle.contents())
            assert self.store.compare(said, held) == self.oracle.compare(said, held)
            assert self.store.base_rates() == self.oracle.base_rates()
            assert self.store.searchable() == self.oracle.searchable()

    @invariant()
    def the_two_tell_the_same(self):
        if hasattr(self, "store"):
            assert told(self.store.current()) == told(self.oracle.current())
            assert [told(s) for s in self.store.snapshots()] == [told(s) for s in self.oracle.snapshots()]
            assert self.store.contents() == self.oracle.contents()
            assert self.store.staged() == self.oracle.staged()
            assert [self.store.erased(i) for i in ids(range(21))] == [self.oracle.erased(i) for i in ids(range(21))]
            held = list(self.oracle.contents())
            assert self.store.cases(held) == self.oracle.cases(held)

    def teardown(self):
        if hasattr(self, "store"):
            assert self.store.verify() == []
            self.store.close()


class FaissAgreement(Agreement):
    def make_shelf(self):
        self.directory = Path(tempfile.mkdtemp(dir=FAST))
        return FaissSegments(self.directory / "store")

    def teardown(self):
        super().teardown()
        if hasattr(self, "directory"):
            shutil.rmtree(self.directory)


class QdrantAgreement(Agreement):
    def make_shelf(self):
        self.connection = qdrant_client()
        return QdrantSegments(self.connection.__enter__(), "prelim-test-agreement")

    def teardown(self):
        super().teardown()
        if hasattr(self, "connection"):
            self.connection.__exit__(None, None, None)


BOUNDS = {"deadline": None, "suppress_health_check": list(HealthCheck), "derandomize": True, "database": None}

TestFaissAgreesWithTheOracle = pytest.mark.slow(FaissAgreement.TestCase)
TestFaissAgreesWithTheOracle.settings = settings(max_examples=120, stateful_step_count=30, **BOUNDS)
TestQdrantAgreesWithTheOracle = pytest.mark.slow(pytest.mark.qdrant(QdrantAgreement.TestCase))
TestQdrantAgreesWithTheOracle.settings = settings(max_examples=30, stateful_step_count=20, **BOUNDS)
