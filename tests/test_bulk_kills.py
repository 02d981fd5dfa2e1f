"""Kill -9 during a bulk run: no draft lost, none doubled, each the one of a run that lived.

`make soak` runs the long one and keeps its figures with the commit they were measured at; delete the file in
evaluation/measured/ to run it anew.
"""

import json
import subprocess
from pathlib import Path

import pytest

from tests.bulk_runs import kill_bulk

MEASURED = Path(__file__).parent.parent / "evaluation" / "measured" / "soak-bulk-kills.json"
STUDIES, KILLS, SEED = 500, 20, 7


@pytest.mark.slow
def test_kills_of_a_run_lose_nothing_and_double_nothing(tmp_path: Path) -> None:
    counts = kill_bulk(tmp_path, studies=60, kills=6, seed=1, more=("--at-once", "2"))
    assert counts["kills_after_new_drafts"] > 0, "every kill fell before anything was drafted: this shows nothing"


@pytest.mark.soak
def test_twenty_kills_during_five_hundred_drafts_lose_nothing_and_double_nothing(tmp_path: Path) -> None:
    if MEASURED.exists():
        pytest.skip("measured; delete evaluation/measured/soak-bulk-kills.json to run it anew")
    counts = kill_bulk(tmp_path, studies=STUDIES, kills=KILLS, seed=SEED)
    assert counts["kills_after_new_drafts"] > KILLS // 2
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=MEASURED.parent, capture_output=True, text=True, check=False
    )
    MEASURED.write_text(json.dumps(counts | {"seed": SEED, "commit": commit.stdout.strip()}, indent=1) + "\n")
