"""Two other ways to read concepts, for comparison only: phrase matching with negation by negspacy.

*negspacy* (NegEx: Chapman et al., J Biomed Inform 34:301, 2001) decides what is denied, with its clinical terms, in
sentences that spaCy's rule splits. Phrases are once those of our own ontology (names and consecutive synonyms; what the
rival lacks is patterns with gaps, hedges, sides and context), once those that radlabels 0.2.0 ships for its findings.
Of radlabels only the phrase file is run: the package itself needs RadGraph with its weights and a fixed torch.

Neither is a dependency. What is not installed is reported as such: `pip install "prelim[rivals]"`, and for the phrases
`pip install --no-deps radlabels==0.2.0`.
"""

import importlib
import runpy
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from retrieval.errors import MissingDependency
from retrieval.mentions import ConceptId, ConceptMention
from retrieval.ontology.ontology import Ontology

# Which of our concepts mean a finding of radlabels; the heads of all of them are alternatives, in the rival's favour.
RADLABELS = {
    "acute_rib_fracture": ("rib_fracture", "fracture"),
    "air_space_opacity": ("airspace_opacity", "consolidation", "infiltrate", "pneumonia", "lung_opacity"),
    "atelectasis": ("atelectasis",),
    "bronchial_wall_thickening": ("bronchial_wall_thickening",),
    "bullous_disease": ("bulla",),
    "calcification_of_the_aorta": ("aortic_calcification", "aortic_atherosclerosis"),
    "cardiomegaly": ("cardiomegaly",),
    "central_venous_catheter": ("central_venous_catheter", "picc", "port_catheter"),
    "consolidation": ("consolidation",),
    "emphysema": ("emphysema",),
    "endotracheal_tube": ("endotracheal_tube",),
    "enlarged_cardiomediastinum": ("enlarged_cardiomediastinum", "mediastinal_widening"),
    "enteric_tube": ("enteric_tube",),
    "fracture_generic": ("fracture", "rib_fracture", "vertebral_compression_fracture"),
    "ground_glass_opacity": ("ground_glass_opacity",),
    "hiatus_hernia": ("hiatal_hernia",),
    "hilar_lymphadenopathy": ("hilar_lymphadenopathy", "lymphadenopathy"),
    "hyperinflation": ("hyperinflation",),
    "implantable_electronic_device": ("pacemaker", "defibrillator", "support_device"),
    "infiltration": ("infiltrate",),
    "intercostal_drain": ("chest_tube",),
    "interstitial_thickening": ("interstitial_opacity", "increased_markings", "interstitial_lung_disease"),
    "lobar_segmental_collapse": ("lobar_collapse", "atelectasis"),
    "lung_lesion": ("lung_lesion", "lung_nodule", "lung_mass"),
    "lung_nodule_or_mass": ("lung_nodule", "lung_mass", "granuloma"),
    "lung_opacity": ("lung_opacity",),
    "non_acute_rib_fracture": ("rib_fracture", "fracture"),
    "nonsurgical_internal_foreign_body": ("foreign_body",),
    "pacemaker_electronic_cardiac_device_or_wires": ("pacemaker", "defibrillator", "cardiac_lead"),
    "peribronchial_cuffing": ("bronchial_wall_thickening",),
    "pleural_effusion": ("pleural_effusion",),
    "pleural_other": ("pleural_thickening", "pleural_plaque", "pleural_calcification"),
    "pleural_thickening": ("pleural_thickening",),
    "pneumomediastinum": ("pneumomediastinum",),
    "pneumonia": ("pneumonia",),
    "pneumoperitoneum": ("pneumoperitoneum",),
    "pneumothorax": ("pneumothorax",),
    "pulmonary_artery_enlargement": ("enlarged_pulmonary_artery",),
    "pulmonary_congestion_pulmonary_venous_congestion": ("pulmonary_vascular_congestion",),
    "pulmonary_edema": ("pulmonary_edema",),
    "pulmonary_fibrosis": ("pulmonary_fibrosis",),
    "subcutaneous_emphysema": ("subcutaneous_emphysema",),
    "support_devices_generic": ("support_device",),
    "tortuous_aorta": ("tortuous_aorta",),
    "tracheal_deviation": ("tracheal_deviation",),
    "tracheostomy_tube": ("tracheostomy_tube",),
    "whole_lung_or_majority_collapse": ("lobar_collapse", "atelectasis"),
}

_NAMES = "phrases"


class NegatedPhrases:
    """Finds phrases and, by negspacy, whether they are denied; raises MissingDependency without spaCy or negspacy."""

    def __init__(self, phrases: Mapping[ConceptId, Iterable[str]], vetoes: Mapping[ConceptId, Iterable[str]]) -> None:
        """`vetoes` are phrases in whose sentence a concept is not found."""
        self.concepts = frozenset(phrases)
        """Whose phrases it knows."""
        spacy = _library("spacy")
        matcher = _library("spacy.matcher").PhraseMatcher
        negation = _library("negspacy.negation")
        terms = _library("negspacy.termsets").termset("en_clinical").get_patterns()
        self._nlp: Any = spacy.blank("en")
        self._nlp.add_pipe("sentencizer")
        self._span: Callable[..., Any] = _library("spacy.tokens").Span
        self._phrases = self._matcher(matcher, phrases)
        self._vetoes = self._matcher(matcher, vetoes)
        self._negex: Any = negation.Negex(self._nlp, "negex", terms, span_keys=[_NAMES])

    def read(self, text: str) -> list[ConceptMention]:
        """Mentions in the order of the text; present or absent, for the rival knows no doubt."""
        doc = self._nlp(text)
        found = [self._span(doc, start, end, label=key) for key, start, end in self._phrases(doc)]
        vetoed = {(self._nlp.vocab.strings[key], doc[start].sent.start) for key, start, _ in self._vetoes(doc)}
        kept = [s for s in found if (s.label_, s.sent.start) not in vetoed and not _inside(s, found)]
        doc.spans[_NAMES] = kept
        self._negex(doc)
        return [
            ConceptMention(
                concept=ConceptId(span.label_),
                certainty="absent" if span._.negex else "present",
                start=span.start_char,
                end=span.end_char,
            )
            for span in sorted(doc.spans[_NAMES], key=lambda s: s.start)
        ]

    def _matcher(self, kind: Any, phrases: Mapping[ConceptId, Iterable[str]]) -> Any:  # noqa: ANN401
        matcher = kind(self._nlp.vocab, attr="LOWER")
        for concept, listed in phrases.items():
            if documents := [self._nlp.make_doc(form) for phrase in listed for form in _forms(phrase)]:
                matcher.add(concept, documents)
        return matcher


def our_phrases(ontology: Ontology, among: Iterable[ConceptId]) -> NegatedPhrases:
    """The rival with our own names and synonyms."""
    wanted = [ontology[concept] for concept in among]
    return NegatedPhrases({c.id: (c.name, *c.synonyms) for c in wanted}, {c.id: () for c in wanted})


def radlabels_phrases() -> NegatedPhrases:
    """The rival with radlabels' phrases; its concepts are radlabels' names. Raises MissingDependency without it."""
    found = find_spec("radlabels")
    if found is None or found.origin is None:
        raise MissingDependency("radlabels is not installed", fix="pip install --no-deps radlabels==0.2.0")
    aliases = runpy.run_path(str(Path(found.origin).parent / "aliases.py"))["ALIASES"]
    known = {ConceptId(name): spec for name, spec in aliases.items() if name in RADLABELS}
    return NegatedPhrases(
        {name: spec["aliases"] for name, spec in known.items()},
        {name: spec.get("exclude", ()) for name, spec in known.items()},
    )


def radlabels_heads(ontology: Ontology, heads: Mapping[ConceptId, Sequence[str]]) -> dict[ConceptId, tuple[str, ...]]:
    """The heads that each finding of radlabels may stand for: all those of the concepts that mean it."""
    found = {}
    for name, slugs in RADLABELS.items():
        meant = [ontology[slug].id for slug in slugs if slug in ontology]
        if listed := tuple(dict.fromkeys(head for concept in meant for head in heads.get(concept, ()))):
            found[ConceptId(name)] = listed
    return found


def _inside(span: Any, others: Sequence[Any]) -> bool:  # noqa: ANN401
    """Whether a longer phrase holds this one: "calcified granuloma" is not also "granuloma"."""
    return any(o.start <= span.start and span.end <= o.end and len(o) > len(span) for o in others)


def _forms(phrase: str) -> set[str]:
    """A phrase with and without hyphens, one and several, because the rival folds nothing by itself."""
    plain = {phrase, phrase.replace("-", " ")}
    return plain | {
        f"{p[:-1]}ies" if p.endswith("y") else f"{p}es" if p.endswith(("s", "x")) else f"{p}s" for p in plain
    }


def _library(name: str) -> Any:  # noqa: ANN401
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MissingDependency(f"{name} is not installed", fix='pip install "prelim[rivals]"') from error
