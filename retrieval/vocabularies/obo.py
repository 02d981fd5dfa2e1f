"""An OBO ontology (HPO, DOID, MONDO, Uberon, NCIT and others), from a file in OBO format, read by fastobo.

Kept are the ontology's own terms that are not obsolete, with exact synonyms only: broad, narrow and related ones mean
something else. Terms it imports from other ontologies are left out, because they are under other licences.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import fastobo

from retrieval.vocabularies.layer import Layer
from retrieval.vocabularies.licences import Acknowledgement, check, obo_licence
from retrieval.vocabularies.reading import OnProgress, Reading, SourceFile, invalid, opened, unheard
from retrieval.vocabularies.schemes import canonical
from retrieval.vocabularies.writing import LayerDraft, write_layer

_LICENCE: Final = re.compile(r'license\S*\s+"?(https?://[^\s"]+)')
_RELATED: Final = re.compile(r'source="MONDO:(?!equivalentTo")')
"""MONDO says of each cross-reference how the two compare; only `equivalentTo` is the same thing."""


def import_obo(
    path: Path,
    out: Path,
    acknowledged: Acknowledgement | None = None,
    *,
    release: str = "",
    on_progress: OnProgress = unheard,
) -> Layer:
    """Make a layer of one file; its header names the ontology, and that name acknowledges its licence."""
    ontology, version, terms_of_use = _header(path)
    licence = obo_licence(ontology, terms_of_use)
    accepted = check(licence, acknowledged)
    scheme, _ = canonical(ontology, "")

    def facts(draft: LayerDraft) -> tuple[str, str]:
        reading = Reading([path], on_progress)
        with reading.open(path) as source:
            for frame in _frames(source):
                if isinstance(frame, fastobo.term.TermFrame):
                    _term(draft, frame, scheme, path.name)
        return release or version, reading.checksum()

    return write_layer(out, f"OBO:{ontology}", scheme, licence, accepted, facts)


def _term(draft: LayerDraft, frame: fastobo.term.TermFrame, scheme: str, file: str) -> None:
    own, code = _code(str(frame.id))
    if own != scheme or any(clause.raw_tag() == "is_obsolete" and clause.raw_value() == "true" for clause in frame):
        return
    named = False
    for clause in frame:
        if isinstance(clause, fastobo.term.NameClause):
            draft.name(code, clause.name)
            named = True
        elif isinstance(clause, fastobo.term.SynonymClause):
            if clause.synonym.scope == "EXACT" and str(clause.synonym.type) != "obsolete_synonym":
                draft.name(code, clause.synonym.desc, rank=1)
        elif isinstance(clause, fastobo.term.IsAClause):
            draft.broader(code, _code(str(clause.term))[1])
        elif isinstance(clause, fastobo.term.AltIdClause):
            draft.xref(code, *_code(str(clause.alt_id)))
        elif isinstance(clause, fastobo.term.XrefClause) and not _RELATED.search(str(clause)):
            other, value = _code(str(clause.xref.id))
            if other:
                draft.xref(code, other, value)
    if not named:
        raise invalid(file, f"the term {code} has no name")


def _code(identifier: str) -> tuple[str, str]:
    """Scheme and code in their one form; an empty scheme for a URL or a name that is no code."""
    prefix, colon, local = identifier.partition(":")
    if not colon or local.startswith("//"):
        return "", identifier
    return canonical(prefix.replace("\\", ""), local.replace("\\", ""))


def _header(path: Path) -> tuple[str, str, str]:
    """The ontology's name, its version, and where its terms of use are."""
    with opened(path) as source, _syntax(path.name):
        clauses = [(c.raw_tag(), c.raw_value()) for c in fastobo.iter(source, threads=1).header()]
    said = dict(clauses)
    name = said.get("ontology", "").rstrip("/").removesuffix(".obo").removesuffix(".owl")
    name = name.rsplit("/", 1)[-1] if "://" in name else name.split("/")[0]  # "hp/hp-base" is a part of hp
    if "format-version" not in said or not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", name):
        raise invalid(path.name, "has no header that names a format version and an ontology", line=1)
    found = next(filter(None, (_LICENCE.search(value) for tag, value in clauses if tag == "property_value")), None)
    return name.lower(), said.get("data-version", ""), found.group(1) if found else ""


def _frames(source: SourceFile) -> Iterator[Any]:
    with _syntax(source.name):
        frames = iter(fastobo.iter(source, threads=1))  # one thread: more of them read ahead without bound
    while True:
        with _syntax(source.name):
            frame = next(frames, None)
        if frame is None:
            return
        yield frame


@contextmanager
def _syntax(file: str) -> Iterator[None]:
    """Around calls of fastobo only."""
    try:
        yield
    except SyntaxError as error:  # `from None`: the causes quote the line
        raise invalid(file, "is not in OBO format, or is cut off", line=error.lineno) from None
    except (OSError, TypeError, ValueError):  # a first byte that is not UTF-8 is a TypeError there
        raise invalid(file, "is not readable as OBO in UTF-8") from None
