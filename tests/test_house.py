"""The house itself: whose names these are, which way imports point, that every word is explained."""

import ast
import importlib
import pkgutil
import subprocess
import sys
from importlib.metadata import distributions, packages_distributions
from pathlib import Path

import pytest

import retrieval.errors
import retrieval.records

ROOT = Path(__file__).parent.parent
PACKAGES = sorted(p.parent.name for p in ROOT.glob("*/__init__.py"))


@pytest.mark.parametrize("package", PACKAGES)
def test_no_other_installed_distribution_owns_our_import_names(package: str) -> None:
    owners = set(packages_distributions().get(package, [])) - {"prelim"}
    # An editable install lists no top-level names, so look into every distribution's files as well.
    for distribution in distributions():
        if distribution.name == "prelim":
            continue
        if any(file.parts[0] in (package, f"{package}.py") for file in distribution.files or []):
            owners.add(distribution.name)
    assert not owners


def test_every_package_stands_in_the_wheel_and_under_the_type_checker() -> None:
    settings = __import__("tomllib").loads((ROOT / "pyproject.toml").read_text())["tool"]
    assert sorted(settings["hatch"]["build"]["targets"]["wheel"]["packages"]) == PACKAGES
    assert sorted(settings["mypy"]["packages"]) == PACKAGES
    assert sorted(settings["importlinter"]["root_packages"]) == PACKAGES


def test_imports_point_down_only() -> None:
    outcome = subprocess.run(
        [Path(sys.executable).parent / "lint-imports", "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert outcome.returncode == 0, outcome.stdout


def records(of: type[retrieval.records.Record]) -> list[type[retrieval.records.Record]]:
    return [r for sub in of.__subclasses__() for r in (sub, *records(sub))]


def test_every_field_of_every_record_is_explained() -> None:
    for package in PACKAGES:
        for module in pkgutil.walk_packages([str(ROOT / package)], f"{package}."):
            if module.name.endswith("__main__") or module.name == "retrieval.pixels.worker":
                continue
            try:
                importlib.import_module(module.name)
            except ModuleNotFoundError as error:
                # The extra `models` need not be here; anything else has to be.
                if error.name not in ("torch", "transformers", "safetensors", "huggingface_hub"):
                    raise
    ours = [r for r in records(retrieval.records.Record) if r.__module__.split(".")[0] in PACKAGES]
    assert len(ours) > 40
    silent = [f"{r.__name__}.{n}" for r in ours for n, f in r.model_fields.items() if not f.description]
    assert not silent


def test_the_error_tree_is_drawn_as_it_stands() -> None:
    def tree(error: type[Exception]) -> list[str]:
        return [name for sub in error.__subclasses__() if sub.__module__ == "retrieval.errors"
                for name in [sub.__name__, *tree(sub)]]  # fmt: skip

    drawn = [line.split("── ")[1].split()[0] for line in str(retrieval.errors.__doc__).splitlines() if "── " in line]
    assert drawn == tree(retrieval.errors.PrelimError)
    codes = [getattr(retrieval.errors, name).code for name in drawn]
    assert len(set(codes)) == len(codes)


@pytest.mark.parametrize("file", sorted(str(p.relative_to(ROOT)) for n in PACKAGES for p in (ROOT / n).rglob("*.py")))
def test_no_file_outgrows_its_subject(file: str) -> None:
    assert len((ROOT / file).read_text().splitlines()) <= 400


@pytest.mark.parametrize("file", sorted(str(p.relative_to(ROOT)) for n in PACKAGES for p in (ROOT / n).rglob("*.py")))
def test_every_module_says_what_it_is(file: str) -> None:
    assert ast.get_docstring(ast.parse((ROOT / file).read_text()))
