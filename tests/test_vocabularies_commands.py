"""The commands `prelim-index vocabulary`: what they print, and what they never print."""

import argparse
import json
import sys
from pathlib import Path

import pytest
from rich.console import Console

from indexing.vocabulary import add_vocabulary_arguments, run_vocabulary
from retrieval.errors import LicenceNotAcknowledged, MissingDependency
from retrieval.ontology.ontology import Ontology
from retrieval.terminal import run_command
from retrieval.vocabularies.layer import OpenLayer
from tests.vocabularies_files import MAKERS, SECRET

NAME = {"hp": "obo"}


@pytest.fixture(autouse=True)
def _no_concepts(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the embedded ontology gains is the subject of other tests."""
    monkeypatch.setattr("indexing.vocabulary.load", lambda: Ontology([]))


def run(*arguments: str | Path) -> int:
    parser = argparse.ArgumentParser()
    add_vocabulary_arguments(parser)
    options = parser.parse_args([str(argument) for argument in arguments])
    said = Console(soft_wrap=True, highlight=False)
    return run_command(lambda: run_vocabulary(options, Console(stderr=True), said), after_interrupt="")


@pytest.mark.parametrize("token", sorted(MAKERS))
def test_import_then_describe(token: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, out = MAKERS[token](tmp_path / "source"), tmp_path / "layer.sqlite"
    importing = ("import", NAME.get(token, token), source, "--out", out, "--accept-licence", token)
    assert run(*importing, "--acknowledged-by", "Dr. Invented", "--json") == 0
    made = json.loads(capsys.readouterr().out)
    assert made["acknowledged"]["by"] == "Dr. Invented"
    assert made["terms"] == len(OpenLayer(out)) == 2
    assert run("describe", out, "--json") == 0
    described = json.loads(capsys.readouterr().out)
    assert described.pop("adds")["phrases"] == 0
    assert described == made
    assert run("describe", out) == 0
    printed = capsys.readouterr().out
    assert "2 terms" in printed
    assert "acknowledged by Dr. Invented" in printed
    assert made["checksum"] in printed
    assert SECRET not in printed


def test_without_the_licence_the_command_says_which_one_and_how(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status = run("import", "umls", MAKERS["umls"](tmp_path / "META"), "--out", tmp_path / "layer.sqlite")
    assert status == LicenceNotAcknowledged.exit_status
    printed = " ".join(capsys.readouterr().err.split())
    assert "LICENCE_NOT_ACKNOWLEDGED" in printed
    assert "https://uts.nlm.nih.gov/uts/assets/LicenseAgreement.pdf" in printed
    assert "--accept-licence umls" in printed


def test_the_american_spelling_of_the_flag_and_the_account_as_the_one_who_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("getpass.getuser", lambda: "operator7")
    source, out = MAKERS["umls"](tmp_path / "META"), tmp_path / "layer.sqlite"
    assert run("import", "umls", source, "--out", out, "--accept-license", "umls") == 0
    assert OpenLayer(out).layer.acknowledged.by == "operator7"


def test_a_missing_library_is_named_with_its_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delitem(sys.modules, "retrieval.vocabularies.obo", raising=False)
    monkeypatch.setitem(sys.modules, "fastobo", None)
    source = MAKERS["hp"](tmp_path / "obo")
    status = run("import", "obo", source, "--out", tmp_path / "layer.sqlite", "--accept-licence", "hp")
    assert status == MissingDependency.exit_status
    assert "prelim[vocabularies]" in capsys.readouterr().err


def test_a_damaged_layer_is_not_described(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "layer.sqlite"
    run("import", "umls", MAKERS["umls"](tmp_path / "META"), "--out", out, "--accept-licence", "umls")
    out.write_bytes(out.read_bytes()[:-1] + b"!")
    assert run("describe", out) == 78
    assert "STORE_CORRUPT" in capsys.readouterr().err
