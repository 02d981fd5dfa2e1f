"""Why a case was found, in lines for people: its place in each leg, and the findings it shares with the question.

Signs say it and not colours: + present, - absent.
"""

from collections.abc import Mapping
from typing import Final

from retrieval.comparison import ComparedConcept, ConceptComparison, ConceptSet
from retrieval.mentions import Certainty, ConceptId
from retrieval.ontology.ontology import Ontology
from retrieval.records import RetrievedCase

MOST: Final = 6
"""Findings named in a line, the weightiest; --json gives all."""
SIGNS: Final[dict[Certainty, str]] = {"present": "+", "absent": "-", "uncertain": "?"}
"""As `prelim concepts` prints them."""
_OPPOSITE: Final[dict[Certainty, str]] = {"present": "-", "absent": "+", "uncertain": "?"}


def places(retrieved: RetrievedCase) -> str:
    """Where each leg has it: "similarity 0.83" of one leg, "image #2 (0.81)  text #1 (4.20)" of several."""
    if len(retrieved.found_by) < 2:
        leg = retrieved.found_by[0].leg if retrieved.found_by else "image"
        return f"similarity {retrieved.similarity:.2f}" + ("" if leg == "image" else f" ({leg})")
    return "  ".join(f"{by.leg} #{by.rank} ({by.similarity:.2f})" for by in retrieved.found_by)


def compared(comparison: ConceptComparison, ontology: Ontology) -> list[str]:
    """One line each for what is shared, contradicted, only asked for and only in the case; no line for nothing."""
    lines = []
    against = {c.concept for c in comparison.contradicting}
    for heading, concepts in (
        ("shared", comparison.shared),
        ("contradicting", comparison.contradicting),
        # The rest of a degree or side that is shared in part is no news, and a contradiction is told once.
        ("only asked for", [c for c in comparison.query_only if not c.in_case and c.concept not in against]),
        ("only in this case", [c for c in comparison.case_only if not c.in_query and c.concept not in against]),
    ):
        # What only follows from a narrower or broader finding is said where nothing else is.
        stated = [c for c in concepts if c.stated]
        chosen = stated or (list(concepts) if heading == "shared" else [])
        if chosen:
            more = f", and {len(chosen) - MOST} more" if len(chosen) > MOST else ""
            named = (_named(c, ontology, against=heading == "contradicting") for c in chosen[:MOST])
            lines.append(f"{heading}: {', '.join(named)}{more}")
    return lines


def asked(concepts: ConceptSet, ontology: Ontology) -> str:
    """What the concept leg asked for, in one line; empty when it asked for nothing."""
    present = _strongest(concepts.present)
    said = [
        f"+ {f'{concepts.sides[c]} ' if c in concepts.sides else ''}{ontology[c].name.lower()}"
        + (f" {concepts.present[c]:.2f}" if concepts.present[c] < 1 else "")
        for c in present[:MOST]
    ]
    said += [f"- {ontology[c].name.lower()}" for c in _strongest(concepts.absent)[:MOST]]
    return f"compared by: {', '.join(said)}" if said else ""


def _strongest(degrees: Mapping[ConceptId, float]) -> list[ConceptId]:
    return sorted(degrees, key=lambda c: (-degrees[c], c))


def _named(concept: ComparedConcept, ontology: Ontology, *, against: bool) -> str:
    name = ontology[concept.concept].name.lower() if concept.concept in ontology else concept.concept
    notes = [f"here {_OPPOSITE[concept.certainty]}"] if against else []
    notes += ["other side"] if concept.side_differs else []
    notes += [] if concept.stated else ["implied"]
    return f"{SIGNS[concept.certainty]} {name}" + (f" ({', '.join(notes)})" if notes else "")
