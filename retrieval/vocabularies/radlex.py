"""RadLex, from its OWL file in RDF/XML, read by rdflib.

rdflib parses; what it finds goes straight into the draft instead of into a graph in memory, which for the whole of
RadLex would take more than a gigabyte. One concept is spread over several elements of the file, so nothing may depend
on order. Kept are English names and synonyms of classes that are not obsolete; misspellings and terms that RadLex calls
unsanctioned are not synonyms, though the file derives them from that property.
"""

import re
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final, cast
from xml.sax import SAXException, SAXParseException

from rdflib import OWL, RDFS, Graph, Literal, URIRef
from rdflib.exceptions import ParserError
from rdflib.store import Store

from retrieval.vocabularies.layer import Layer
from retrieval.vocabularies.licences import RADLEX, Acknowledgement, check
from retrieval.vocabularies.reading import OnProgress, Reading, invalid, unheard
from retrieval.vocabularies.writing import LayerDraft, write_layer

if TYPE_CHECKING:
    from rdflib.graph import _ContextType, _TripleType
    from rdflib.term import Node

_RESOURCE: Final = re.compile(r"https?://(?:www\.)?radlex\.org/RID/#?(\w+)")
_RID: Final = re.compile(r"RID\d+")
_NAMES: Final = {"Preferred_name": 0, "Synonym": 2, "Acronym": 2}
"""Properties whose literals are names, with their rank; rdfs:label has rank 1, for it once held the code itself."""
_XREFS: Final = {"UMLS_ID": "UMLS", "SNOMED_ID": "SNOMEDCT", "FMAID": "FMA"}
_RETIRED: Final = frozenset({"Preferred_Name_for_Obsolete", "Replaced_by"})


def import_radlex(
    path: Path,
    out: Path,
    acknowledged: Acknowledgement | None = None,
    *,
    release: str = "",
    on_progress: OnProgress = unheard,
) -> Layer:
    """Make a layer of one OWL file."""
    accepted = check(RADLEX, acknowledged)

    def facts(draft: LayerDraft) -> tuple[str, str]:
        reading = Reading([path], on_progress)
        found = _Sink(draft)
        with reading.open(path) as source:
            try:
                Graph(store=found, bind_namespaces="none").parse(file=cast(BinaryIO, source), format="xml")
            except SAXParseException as error:
                what = "is not RDF/XML, or is cut off"
                raise invalid(path.name, what, line=error.getLineNumber()) from None  # the cause may quote
            except (SAXException, ParserError, ValueError):
                raise invalid(path.name, "is XML but not RDF/XML") from None
        return release or found.version, reading.checksum()

    return write_layer(out, "RADLEX", "RADLEX", RADLEX, accepted, facts)


class _Sink(Store):
    """Where rdflib puts triples: into the draft, keeping none."""

    def __init__(self, draft: LayerDraft) -> None:
        super().__init__()
        self._draft = draft
        self.version = ""
        """What the ontology says of its release."""

    def add(self, triple: "_TripleType", context: "_ContextType", quoted: bool = False) -> None:
        """Take one triple."""
        subject, predicate, value = triple
        if predicate in (OWL.versionInfo, OWL.versionIRI) and not _rid(subject):
            self.version = self.version or str(value).rstrip("/").rsplit("/", 1)[-1]
            return
        code, said = _rid(subject), _RESOURCE.fullmatch(str(predicate))
        if not code:
            return
        if isinstance(value, Literal):
            self._literal(code, said.group(1) if said else str(predicate), value)
        elif predicate == RDFS.subClassOf:
            self._draft.broader(code, _rid(value))
        elif said and said.group(1) == "Anatomical_Site":
            self._draft.site(code, _rid(value))
        elif said and said.group(1) in _RETIRED:
            self._draft.retire(code)

    def _literal(self, code: str, said: str, value: Literal) -> None:
        if said in _RETIRED or (said == str(OWL.deprecated) and str(value).lower() in ("true", "1")):
            self._draft.retire(code)
        elif said in _XREFS:
            self._draft.xref(code, _XREFS[said], str(value).strip())
        elif (value.language or "en").lower().startswith("en"):
            if said in _NAMES:
                self._draft.name(code, str(value), rank=_NAMES[said])
            elif said == str(RDFS.label) and not _RID.fullmatch(str(value)):
                self._draft.name(code, str(value), rank=1)


def _rid(node: "Node") -> str:
    """The code of a RadLex resource; empty for everything else."""
    found = _RESOURCE.fullmatch(str(node)) if isinstance(node, URIRef) else None
    return found.group(1) if found and _RID.fullmatch(found.group(1)) else ""
