"""What takes longer than `make test` allows: seeded, resumable, its figures kept with the commit they were measured at.

`make soak` runs it; started again after an interruption it goes on behind the seeds that are done. Delete the file in
evaluation/measured/ to run everything anew.
"""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.test_build import kill_builds

MEASURED = Path(__file__).parent.parent / "evaluation" / "measured" / "soak-build-kills.json"
SEEDS, KILLS = range(100, 120), 50


@pytest.mark.soak
def test_a_thousand_kills_of_a_build_lose_nothing_and_double_nothing(tmp_path: Path) -> None:
    kept: dict[str, Any] = json.loads(MEASURED.read_text()) if MEASURED.exists() else {"seeds": {}}
    for seed in SEEDS:
        if str(seed) in kept["seeds"]:
            continue
        counts = kill_builds(tmp_path / str(seed), studies=60, kills=KILLS, seed=seed)
        assert counts["resumed"] > 0, "every kill fell before anything was acknowledged: this seed shows nothing"
        commit = subprocess.run(
            ["git", "describe", "--always", "--dirty"], cwd=MEASURED.parent, capture_output=True, text=True, check=False
        )
        kept["seeds"][str(seed)] = counts | {"commit": commit.stdout.strip()}
        for name in ("kills", "rounds", "resumed"):
            kept[name] = sum(c[name] for c in kept["seeds"].values())
        MEASURED.write_text(json.dumps(kept, indent=1) + "\n")
    assert kept["kills"] >= len(SEEDS) * KILLS
