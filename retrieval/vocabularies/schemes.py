"""One spelling for the codes of other vocabularies, so that a code found in two files is the same code.

Files name a scheme in many ways (HP, HPO; SCTID, SNOMEDCT_US) and write some codes with their prefix and some without.
Here each scheme has one name, that of `Identifier.scheme` where the ontology uses it, and each code one form.
"""

from typing import Final

_NAMES: Final = {
    "HP": "HPO", "MSH": "MESH", "NCI": "NCIT", "UMLS_CUI": "UMLS", "SCTID": "SNOMEDCT", "SNOMEDCT_US": "SNOMEDCT",
    "SNOMED_CT": "SNOMEDCT", "SNOMED": "SNOMEDCT", "RADLEX": "RADLEX",
}  # fmt: skip
_PREFIXED: Final = {"HPO": "HP", "DOID": "DOID", "MONDO": "MONDO", "UBERON": "UBERON"}
"""Schemes whose codes are written with their prefix ("HP:0002202"); all others without."""


def canonical(scheme: str, code: str) -> tuple[str, str]:
    """The scheme and code as layers and the ontology's identifiers are compared; applying it twice changes nothing."""
    name = scheme.upper().replace(" ", "_").replace("-", "_")
    if name.startswith("SNOMEDCT_US_"):  # HPO and MONDO once named the release in the scheme
        name = "SNOMEDCT"
    name = _NAMES.get(name, name)
    prefix, colon, local = code.rpartition(":")
    if colon and _NAMES.get(prefix.upper(), prefix.upper()) == name:
        code = local
    return (name, f"{_PREFIXED[name]}:{code}") if name in _PREFIXED else (name, code)
