"""Drawings: the same for a seed, and their reports say exactly what is drawn."""

import numpy as np
import pytest

from evaluation.drawings import FINDINGS, SIDE, draw
from retrieval.extraction.extractor import Extractor, stated
from retrieval.ontology.ontology import load

EXTRACTOR = Extractor(load())


def test_a_seed_draws_the_same_study_again() -> None:
    first, again, other = draw(3), draw(3), draw(4)
    assert np.array_equal(first.frontal, again.frontal)
    assert first.report == again.report
    assert not np.array_equal(first.frontal, other.frontal)
    assert first.frontal.shape == (SIDE, SIDE)


@pytest.mark.parametrize("seed", range(40))
def test_a_report_asserts_what_is_drawn_and_denies_nothing_of_it(seed: int) -> None:
    drawing = draw(seed)
    findings = drawing.report.split("FINDINGS:")[1].split("IMPRESSION:")[0]
    said = stated(EXTRACTOR.read(findings), load()["no_new"].id)
    present = {load()[concept].slug for concept, certainty in said.items() if certainty == "present"}
    assert ("cardiomegaly" in drawing.findings) == ("cardiomegaly" in present)
    assert any("effusion" in f for f in drawing.findings) == ("pleural_effusion" in present)
    for side in ("left", "right"):
        drawn = any(f.startswith(side) for f in drawing.findings) or (
            side == "left" and "pacemaker" in drawing.findings
        )
        assert drawn == (f"{side} " in drawing.report.lower() or f"{side}-" in drawing.report.lower())


def test_every_finding_is_drawn_sometimes_and_changes_the_image() -> None:
    seen = {finding for seed in range(60) for finding in draw(seed).findings}
    assert seen == set(FINDINGS)
