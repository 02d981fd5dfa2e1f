"""Miniature releases of each vocabulary in its own format, with invented terms, and every importer by name."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from retrieval.vocabularies.findingmodels import import_finding_models
from retrieval.vocabularies.layer import Layer, OpenLayer
from retrieval.vocabularies.licences import Acknowledgement
from retrieval.vocabularies.obo import import_obo
from retrieval.vocabularies.radlex import import_radlex
from retrieval.vocabularies.snomed import import_snomed
from retrieval.vocabularies.umls import import_umls

AT = "2026-01-02T03:04:05Z"
SECRET = "gloomy thorax"
"""A term of every miniature; no error may quote it."""


def rrf(*columns: str) -> str:
    return "|".join(columns) + "|\n"


def atom(cui: str, text: str, *, lat: str = "ENG", ts: str = "P", stt: str = "PF", pref: str = "Y", sab: str = "MTH",
         code: str = "NOCODE", suppress: str = "N") -> str:  # fmt: skip
    return rrf(cui, lat, ts, "L1", stt, "S1", pref, "A1", "", "", "", sab, "PT", code, text, "0", suppress, "")


def relation(one: str, rel: str, other: str, *, suppress: str = "N") -> str:
    return rrf(one, "A1", "AUI", rel, other, "A2", "AUI", "", "R1", "", "MTH", "MTH", "", "", suppress, "")


def umls(folder: Path) -> Path:
    concepts = [
        atom("C0000001", SECRET, ts="S"),
        atom("C0000001", "thorax, dim", stt="VO", ts="S", pref="N", sab="SNOMEDCT_US", code="9000001"),
        atom("C0000001", "dim thorax"),
        atom("C0000001", "thorax sombre", lat="FRE"),
        atom("C0000001", "withdrawn word", suppress="O"),
        atom("C0000002", "thorax matter", sab="HPO", code="HP:9000002"),
        atom("C0000003", "forgotten", suppress="Y"),
    ]
    relations = [
        relation("C0000001", "PAR", "C0000002"),
        relation("C0000002", "PAR", "C0000001"),
        relation("C0000001", "CHD", "C0000004"),
        relation("C0000001", "PAR", "C0000003"),
        relation("C0000002", "PAR", "C0000002"),
    ]
    types = [rrf("C0000001", t, "A1", "Finding", "AT1", "") for t in ("T033", "T047")]
    folder.mkdir()
    for name, rows in (("MRCONSO.RRF", concepts), ("MRREL.RRF", relations), ("MRSTY.RRF", types)):
        (folder / name).write_text("".join(rows), "utf-8")
    (folder / "release.dat").write_text("umls.release.name=2099AZ\n")
    return folder


_RDF = """<?xml version="1.0"?>
<!DOCTYPE rdf:RDF [<!ENTITY rid "http://www.radlex.org/RID/">]>
<rdf:RDF xmlns="http://www.radlex.org/RID/" xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"
  xmlns:rdfs="http://www.w3.org/2000/01/rdf-schema#" xmlns:owl="http://www.w3.org/2002/07/owl#">
 <owl:Ontology rdf:about="http://www.radlex.org/RID/RadLex.owl"><owl:versionInfo>9.9</owl:versionInfo></owl:Ontology>
 <owl:Class rdf:about="&rid;RID90001">
  <rdfs:subClassOf rdf:resource="&rid;RID90002"/>
  <rdfs:subClassOf><owl:Restriction><owl:onProperty rdf:resource="&rid;Part_Of"/></owl:Restriction></rdfs:subClassOf>
  <Preferred_name xml:lang="en">dim thorax</Preferred_name>
  <rdfs:label xml:lang="en">RID90001</rdfs:label>
  <Synonym xml:lang="de">trüber Thorax</Synonym>
  <Misspelling_of_term>dimm thorax</Misspelling_of_term>
  <Anatomical_Site rdf:resource="&rid;RID90002"/>
  <UMLS_ID>C0000001</UMLS_ID>
 </owl:Class>
 <rdf:Description rdf:about="http://radlex.org/RID/RID90001"><Synonym>gloomy thorax</Synonym></rdf:Description>
 <owl:Class rdf:about="&rid;RID90002">
  <rdfs:subClassOf rdf:resource="&rid;RID90001"/><rdfs:label xml:lang="en">thorax matter</rdfs:label>
 </owl:Class>
 <owl:Class rdf:about="&rid;RID90003"><Preferred_name>forgotten</Preferred_name></owl:Class>
 <rdf:Description rdf:about="&rid;RID90003"><Replaced_by rdf:resource="&rid;RID90001"/></rdf:Description>
</rdf:RDF>
"""


def radlex(folder: Path) -> Path:
    folder.mkdir()
    path = folder / "RadLex.owl"
    path.write_text(_RDF, "utf-8")
    return path


def snomed(folder: Path) -> Path:
    fsn, synonym, is_a, site = "900000000000003001", "900000000000013009", "116680003", "363698007"
    core, us, preferred = "900000000000207008", "900000000000509007", "900000000000548007"
    tables = {
        "Terminology/sct2_Concept_Snapshot_INT_20990131.txt": [
            "id effectiveTime active moduleId definitionStatusId",
            *(f"{n} 20990131 {active} {core} 1" for n, active in (("9000001", 1), ("9000002", 1), ("9000003", 0))),
        ],
        "Terminology/sct2_Description_Snapshot-en_INT_20990131.txt": [
            "id effectiveTime active moduleId conceptId languageCode typeId term caseSignificanceId",
            f"101 20990131 1 {core} 9000001 en {fsn} Thorax,_dim_(finding) 1",
            f"102 20990131 1 {core} 9000001 en {synonym} gloomy_thorax 1",
            f"103 20990131 1 {core} 9000001 en {synonym} dim_thorax 1",
            f"104 20990131 0 {core} 9000001 en {synonym} withdrawn_word 1",
            f"105 20990131 1 {core} 9000001 fr {synonym} thorax_sombre 1",
            f"106 20990131 1 {core} 9000002 en {fsn} thorax_matter_(body_structure) 1",
            f"107 20990131 1 {core} 9000003 en {fsn} forgotten_(finding) 1",
        ],
        "Terminology/sct2_Relationship_Snapshot_INT_20990131.txt": [
            "id effectiveTime active moduleId sourceId destinationId relationshipGroup typeId characteristicTypeId"
            " modifierId",
            f"201 20990131 1 {core} 9000001 9000002 0 {is_a} 1 1",
            f"202 20990131 1 {core} 9000002 9000001 0 {is_a} 1 1",
            f"203 20990131 1 {core} 9000001 9000002 1 {site} 1 1",
            f"204 20990131 1 {core} 9000001 9000003 0 {is_a} 1 1",
            f"205 20990131 0 {core} 9000002 9000002 0 {site} 1 1",
        ],
        "Refset/der2_cRefset_LanguageSnapshot-en_INT_20990131.txt": [
            "id effectiveTime active moduleId refsetId referencedComponentId acceptabilityId",
            f"0a0a-1 20990131 1 {core} {us} 103 {preferred}",
            f"0a0a-2 20990131 0 {core} {us} 102 {preferred}",
        ],
    }
    for name, rows in tables.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        body = "".join(row.replace(" ", "\t").replace("_", " ") + "\r\n" for row in rows)
        (folder / name).write_bytes(body.encode())
    return folder


_OBO = """format-version: 1.2
data-version: zz/releases/2099-01-31
ontology: hp.obo
property_value: terms:license https://licence.example/zz

[Term]
id: HP:9000001
name: dim thorax
alt_id: HP:9000009
synonym: "gloomy thorax" EXACT layperson []
synonym: "thorax" BROAD []
synonym: "withdrawn word" EXACT obsolete_synonym []
xref: UMLS:C0000001
xref: SNOMEDCT_US:9000001 "invented"
xref: MESH:D900001 {source="MONDO:relatedTo"}
xref: https://example.org/1
is_a: HP:9000002 ! thorax matter
is_a: ZZ:1 ! not ours

[Term]
id: HP:9000002
name: thorax matter
is_a: HP:9000001 ! a cycle

[Term]
id: HP:9000003
name: forgotten
is_obsolete: true

[Term]
id: ZZ:1
name: imported

[Typedef]
id: part_of
name: part of
"""


def obo(folder: Path) -> Path:
    folder.mkdir()
    path = folder / "hp.obo"
    path.write_text(_OBO, "utf-8")
    return path


def finding_models(folder: Path) -> Path:
    defs = folder / "defs"
    defs.mkdir(parents=True)
    values = [{"value_code": f"OIFMA_ZZZ_000001.{n}", "name": name} for n, name in enumerate(("absent", "present"))]
    model: dict[str, Any] = {
        "oifm_id": "OIFM_ZZZ_000001",
        "name": "dim thorax",
        "description": "Invented.",
        "synonyms": [SECRET],
        "tags": ["chest"],
        "attributes": [
            {"oifma_id": "OIFMA_ZZZ_000001", "name": "Presence", "type": "choice", "values": values},
            {"oifma_id": "OIFMA_ZZZ_000002", "name": "size", "type": "numeric", "unit": "cm"},
        ],
        "index_codes": [{"system": "RADLEX", "code": "RID90001", "display": "dim thorax"}],
    }
    (defs / "dim_thorax.fm.json").write_text(json.dumps(model, indent=2))
    other = {"oifm_id": "OIFM_ZZZ_000002", "name": "thorax matter", "description": "Invented.", "attributes": []}
    (defs / "thorax_matter.fm.json").write_text(json.dumps(other, indent=2))
    return folder


Make = Callable[[Path], Path]
MAKERS: dict[str, Make] = {
    "umls": umls, "radlex": radlex, "snomedct": snomed, "hp": obo, "oifm": finding_models,
}  # fmt: skip
"""By the token of the licence."""
IMPORTERS: dict[str, Callable[..., Layer]] = {
    "umls": import_umls, "radlex": import_radlex, "snomedct": import_snomed, "hp": import_obo,
    "oifm": import_finding_models,
}  # fmt: skip
MAIN_FILE = {
    "umls": "MRCONSO.RRF", "radlex": "RadLex.owl", "snomedct": "sct2_Description_Snapshot-en_INT_20990131.txt",
    "hp": "hp.obo", "oifm": "dim_thorax.fm.json",
}  # fmt: skip
"""The file that holds the names."""


def main_file(path: Path, token: str) -> Path:
    return path if path.is_file() else next(path.rglob(MAIN_FILE[token]))


def acknowledged(token: str) -> Acknowledgement:
    return Acknowledgement.model_validate({"token": token, "by": "a tester", "at": AT})


def imported(token: str, path: Path, out: Path) -> OpenLayer:
    IMPORTERS[token](path, out, acknowledged(token))
    return OpenLayer(out)
