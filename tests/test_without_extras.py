"""A newcomer's `make test`: with the extra `dev` alone every test is collected, and what needs more skips by name."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

COLLECT = """
import sys
from importlib.machinery import PathFinder

import pytest


class WithoutModels(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        hidden = name.partition(".")[0] in {"torch", "torchvision", "transformers", "open_clip", "vllm"}
        return None if hidden else PathFinder.find_spec(name, path, target)


sys.meta_path = [WithoutModels if finder is PathFinder else finder for finder in sys.meta_path]
raise SystemExit(pytest.main(["--collect-only", "-q", "-p", "no:cacheprovider", "tests"]))
"""


@pytest.mark.slow
def test_every_test_is_collected_where_no_language_model_can_run() -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PRELIM_", "PYTEST_"))}
    done = subprocess.run(
        [sys.executable, "-c", COLLECT],
        cwd=Path(__file__).parent.parent, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:]
    assert "tests collected" in done.stdout
    assert "extra `models`" in done.stdout + done.stderr
