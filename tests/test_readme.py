"""What the README says is so: settings, commands, reason codes, manifest fields, and its example manifest."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

from indexing.manifest import ManifestRow, ManifestStudy, read_manifest
from retrieval.records import ReasonCode

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def sources() -> str:
    code = [
        f.read_text()
        for d in ("retrieval", "generation", "indexing", "service", "evaluation")
        for f in (ROOT / d).rglob("*.py")
    ]
    return "\n".join([*code, *(f.read_text() for f in (ROOT / "tests").glob("*.py"))])


def test_every_setting_that_is_read_stands_in_the_readme() -> None:
    read = set(re.findall(r"""environ(?:\.get\(|\[)["'](PRELIM_[A-Z_]+)""", sources()))
    told = set(re.findall(r"^\| `(PRELIM_[A-Z_]+)` \|", README, re.MULTILINE))
    assert read == told


def test_every_reason_code_stands_in_the_readme() -> None:
    unsaid = {code for code in get_args(ReasonCode) if f"`{code}`" not in README}
    assert unsaid == {"BURNED_IN_ANNOTATION"}  # a reason to quarantine, never an answer to a draft


def test_every_field_of_a_manifest_row_stands_in_the_readme() -> None:
    table = README.split("## Your own cases")[1].split("```")[2]
    assert all(f"`{field}" in table for field in ManifestRow.model_fields)


def test_the_readmes_manifest_can_be_read(tmp_path: Path) -> None:
    (example,) = re.findall(r"```json\n(.*?)```", README, re.DOTALL)
    assert all(json.loads(line) for line in example.splitlines())
    (tmp_path / "manifest.jsonl").write_text(example, encoding="utf-8")
    (study,) = read_manifest(tmp_path / "manifest.jsonl")
    assert isinstance(study, ManifestStudy)
    assert study.report.findings


@pytest.mark.parametrize("line", re.findall(r"^(prelim(?:-index)? [a-z].*?)(?:\s+#.*)?$", README, re.MULTILINE))
def test_every_command_of_the_readme_is_understood(line: str) -> None:
    command, *words = line.split()
    verbs = words[: 2 if words[0] == "vocabulary" else 1]
    installed = Path(sys.executable).parent / command
    said = subprocess.run([installed, *verbs, "--help"], capture_output=True, text=True, check=True).stdout
    for option in re.findall(r"--[a-z-]+", line):
        assert option in said


def test_every_make_target_of_the_readme_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"`?make ([a-z-]+)`?", README))
    assert named
    assert named <= targets
