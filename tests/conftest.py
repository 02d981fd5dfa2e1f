"""What every test may ask for: the real data, and required skips that fail.

PRELIM_DATA names the folder with the real radiographs and reports; tests that need it skip without it and say so.
PRELIM_REQUIRE=data,qdrant,... turns those named skips into failures, so that a machine meant to have them cannot
pass by skipping.
"""

import importlib.util
import os
from pathlib import Path

import pytest

REQUIRED = frozenset(filter(None, os.environ.get("PRELIM_REQUIRE", "").split(",")))
KNOWN = frozenset({"data", "models", "vllm", "qdrant", "orthanc", "chromium", "postgres"})


def skip_or_fail(need: str, reason: str) -> None:
    """Skip because `need` is not here, or fail when this machine was said to have it."""
    if need in REQUIRED:
        pytest.fail(f"{need} is required by PRELIM_REQUIRE: {reason}", pytrace=False)
    pytest.skip(f"{need}: {reason}", allow_module_level=True)


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real radiographs and reports."""
    named = os.environ.get("PRELIM_DATA")
    if not named or not Path(named, "iu256", "cases.jsonl").is_file():
        skip_or_fail("data", "set PRELIM_DATA to the folder with radiographs/ and iu256/")
    return Path(str(named)).resolve()


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """A developer's environment never changes what a test sees."""
    for name in ("PRELIM_INDEX", "PRELIM_PATIENT_SALT"):
        monkeypatch.delenv(name, raising=False)


def pytest_configure(config: pytest.Config) -> None:
    unknown = REQUIRED - KNOWN
    if unknown:
        raise pytest.UsageError(f"PRELIM_REQUIRE names {sorted(unknown)}; known are {sorted(KNOWN)}")
    # Their tests skip at import, where `skip_or_fail` cannot be asked.
    lacking = [name for name in ("torch", "transformers") if importlib.util.find_spec(name) is None]
    if "models" in REQUIRED and lacking:
        raise pytest.UsageError(f"PRELIM_REQUIRE names models, and {lacking} are not installed: make models")
