"""The commands `prelim-index vocabulary`: import one the operator is licensed for, look at it, export our own.

None prints a term: a terminal is kept in logs, and the terms are under the operator's licence, not under ours.
"""

import argparse
import getpass
import json
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from retrieval.errors import MissingDependency, RequestError
from retrieval.ontology.ontology import load
from retrieval.terminal import plain
from retrieval.vocabularies.findingmodels import import_finding_models
from retrieval.vocabularies.layer import Layer, OpenLayer
from retrieval.vocabularies.licences import Acknowledgement
from retrieval.vocabularies.reading import OnProgress
from retrieval.vocabularies.snomed import import_snomed
from retrieval.vocabularies.synonyms import synonyms_for
from retrieval.vocabularies.umls import import_umls

VOCABULARIES = {
    "umls": "folder META of a release or subset (RRF)",
    "radlex": "RadLex.owl",
    "snomedct": "unpacked folder of an edition (RF2)",
    "obo": "an ontology in OBO format, such as hp.obo",
    "oifm": "folder of openimagingdata/findingmodels",
}
"""What can be imported, and what PATH then is."""


def add_vocabulary_arguments(parser: argparse.ArgumentParser) -> None:
    """Give the command `vocabulary` its commands."""
    commands = parser.add_subparsers(dest="vocabulary_command", required=True)
    importing = commands.add_parser(
        "import",
        help="make a sealed layer of a vocabulary's files",
        description="; ".join(f"{name}: {path}" for name, path in VOCABULARIES.items()),
    )
    importing.add_argument("vocabulary", choices=list(VOCABULARIES))
    importing.add_argument("path", type=Path, metavar="PATH", help="the unpacked files")
    importing.add_argument("--out", type=Path, required=True, metavar="FILE", help="the layer to make or replace")
    importing.add_argument(
        "--accept-licence",
        "--accept-license",
        metavar="LICENCE",
        help="say that you hold this licence; without it you are told which one is meant and where its text is",
    )
    importing.add_argument("--acknowledged-by", metavar="NAME", help="who says so (default: this account)")
    importing.add_argument("--release", default="", help="kept with the layer (default: what the files say)")
    importing.add_argument("--json", action="store_true", help="one JSON object instead of text")
    describing = commands.add_parser("describe", help="what a layer holds and what it adds to the ontology")
    describing.add_argument("layer", type=Path, metavar="LAYER")
    describing.add_argument("--json", action="store_true", help="one JSON object instead of text")
    exporting = commands.add_parser("export", help="write the embedded ontology as SKOS in Turtle")
    exporting.add_argument("out", type=Path, metavar="FILE.ttl")
    exporting.add_argument("--json", action="store_true", help="one JSON object instead of text")


def run_vocabulary(options: argparse.Namespace, console: Console, said: Console) -> int:
    """Run one of them; progress goes to `console`, the answer to `said`."""
    if options.vocabulary_command == "import":
        columns = [TextColumn("{task.description}"), BarColumn(), DownloadColumn()]
        with Progress(
            *columns, TimeElapsedColumn(), TimeRemainingColumn(), console=console, transient=True
        ) as progress:
            task = progress.add_task(f"importing {options.vocabulary}", total=None)

            def on_progress(done: int, total: int) -> None:
                progress.update(task, completed=done, total=total)

            layer = import_vocabulary(options, on_progress)
        _tell(said, options, layer, {})
        return 0
    if options.vocabulary_command == "export":
        try:
            # Imported here so that an installation without the extra can do everything else.
            from retrieval.ontology.skos import write_skos  # noqa: PLC0415
        except ModuleNotFoundError as error:
            raise MissingDependency("rdflib is not installed", fix="pip install 'prelim[vocabularies]'") from error
        try:
            write_skos(load(), options.out)
        except OSError as error:
            raise RequestError(
                f"{options.out} cannot be written: {error.strerror or type(error).__name__}",
                fix="name a file in a folder that exists and may be written to",
            ) from error
        facts = {"concepts": len(load()), "file": str(options.out)}
        said.print(plain(json.dumps(facts) if options.json else f"{facts['concepts']} concepts: {facts['file']}"))
        return 0
    opened = OpenLayer(options.layer)
    extras = synonyms_for(load(), opened)
    adds = {"phrases": len(extras.phrases)} | extras.model_dump(exclude={"phrases"})
    _tell(said, options, opened.layer, {"adds": adds})
    return 0


def import_vocabulary(options: argparse.Namespace, on_progress: OnProgress) -> Layer:
    """Make the layer that the options ask for; raises LicenceNotAcknowledged before any term is read."""
    path, out, release = options.path, options.out, options.release
    acknowledged = None
    if options.accept_licence:
        acknowledged = Acknowledgement(token=options.accept_licence, by=options.acknowledged_by or _account())
    match options.vocabulary:
        case "umls":
            return import_umls(path, out, acknowledged, release=release, on_progress=on_progress)
        case "snomedct":
            return import_snomed(path, out, acknowledged, release=release, on_progress=on_progress)
        case "oifm":
            return import_finding_models(path, out, acknowledged, release=release, on_progress=on_progress)
    try:
        # Imported here so that an installation without these vocabularies does not need their libraries.
        from retrieval.vocabularies.obo import import_obo  # noqa: PLC0415
        from retrieval.vocabularies.radlex import import_radlex  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise MissingDependency(f"{error.name} is not installed", fix="pip install 'prelim[vocabularies]'") from error
    if options.vocabulary == "radlex":
        return import_radlex(path, out, acknowledged, release=release, on_progress=on_progress)
    return import_obo(path, out, acknowledged, release=release, on_progress=on_progress)


def _account() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):  # a container's user may have no name
        return "an account without a name"


def _tell(said: Console, options: argparse.Namespace, layer: Layer, more: dict[str, Any]) -> None:
    if options.json:
        sys.stdout.write(json.dumps(layer.model_dump(mode="json") | more, indent=2) + "\n")
        return
    lines = [
        f"{layer.vocabulary} {layer.release or '(release not stated)'}: {layer.terms} terms, {layer.phrases} phrases",
        f"under the {layer.licence.name}, acknowledged by {layer.acknowledged.by} on {layer.acknowledged.at:%Y-%m-%d}",
        f"SHA-256 of the source files' checksums: {layer.checksum}",
    ]
    if "adds" in more:
        adds = more["adds"]
        lines.append(
            f"adds {adds['phrases']} phrases to {adds['concepts']} concepts; {adds['known']} were known; refused: "
            f"{adds['owned']} owned by another concept, {adds['ambiguous']} ambiguous, {adds['unusable']} unusable"
        )
    for line in lines:
        said.print(plain(line))
