"""The words that decide what is said of a finding: denied, left open, somebody else's business, or normal.

Data only, after ConText (Harkema et al., J Biomed Inform 42:839, 2009) and by `POLICY.md`; `certainty.py` says how far
each reaches. The longest phrase from a word wins, so a phrase that looks like a denial and is none ("no change") is
entered under `idle` and takes the shorter one's place.
"""

from collections.abc import Mapping
from typing import Final, Literal

from retrieval.extraction.tokens import word_set

Cue = Literal[
    "deny_after",
    "deny_before",
    "deny_new",
    "open_next",
    "open_after",
    "open_before",
    "open_both",
    "elsewhere_after",
    "elsewhere_before",
    "end",
    "normal",
    "idle",
]
"""`*_after` reaches forward, `*_before` back; `open_next` only to the next finding; `open_both` to the nearest on each
side; `deny_new` denies only that something is new; `elsewhere_*` marks what is no statement about this image; `end`
ends every reach; `normal` is a predicate of structures; `idle` does nothing."""


def _lines(text: str) -> list[str]:
    return [phrase for phrase in (" ".join(p.split()) for p in text.split(",")) if phrase]


_SEEN: Final = _lines("""
    seen, identified, visualized, visualised, noted, appreciated, demonstrated, detected, evident, present, apparent,
    observed, visible, found, shown, recognized, discernible, suspected
""")
_BE: Final = ("is", "are", "was", "were")
_ADVERB: Final = ("", " definitely", " clearly", " definitively", " currently", " otherwise", " convincingly")


def _not_seen() -> list[str]:
    return [
        *(f"{be} not{adverb} {seen}" for be in _BE for adverb in _ADVERB for seen in _SEEN),
        *(f"not{adverb} {seen}" for adverb in _ADVERB for seen in _SEEN),
        *(f"{be} no longer {seen}" for be in _BE for seen in _SEEN),
        *(f"no longer {seen}" for seen in _SEEN),
        *(f"cannot be {seen}" for seen in _SEEN),
    ]


def _no_earlier() -> list[str]:
    """No earlier study, which denies no finding ("no prior fracture" does)."""
    studies = "study, exam, examination, film, radiograph, image, imaging, chest, comparison, available, for comparison"
    return [f"no {earlier} {study}" for earlier in ("prior", "previous") for study in _lines(studies)]


def _not_gone() -> list[str]:
    """A going that is denied or not finished: what it is said of is still there."""
    degree = _lines("no, no complete, no interval, no significant, no significant interval, near, near complete, "
                    "nearly complete, almost complete, incomplete, partial, partial interval, interval partial, no "
                    "evidence of, without, without interval")  # fmt: skip
    adverb = ("", " yet", " completely", " fully", " entirely", " significantly", " appreciably")
    return [
        *(f"{d} resolution of" for d in degree),
        *(f"{has}not{a} {gone}" for has in ("", "has ", "have ", "is ", "are ") for a in adverb
          for gone in ("resolved", "improved", "cleared")),
        *(f"{part} resolved" for part in ("incompletely", "partially", "almost completely", "nearly completely")),
    ]  # fmt: skip


CUES: Final[Mapping[Cue, list[str]]] = {
    "deny_after": _lines("""
        no, without, negative for, free of, free from, clear of, absence of, absent, lack of, lacks, devoid of, nor,
        neither, never, no evidence of, no evidence for, without evidence of, without evidence for, rather than,
        instead of, not have, not show, not demonstrate, not represent, not typical of, not suggest, not, resolution
        of, removal of, interval removal of, interval resolution of, complete resolution of, exclude, excludes,
        excluding, nothing to suggest, unremarkable for, grossly clear of, otherwise clear of, essentially clear of,
        without any, no longer any, no progressive massive
    """),
    "deny_before": [
        *_not_seen(),
        *_lines("""
        is absent, are absent, has resolved, have resolved, has cleared, have cleared, resolved, has been removed,
        have been removed, been removed, was removed, were removed, is excluded, are excluded, is ruled out, ruled
        out, not present, has since resolved, have since resolved, completely resolved, has completely resolved,
        have completely resolved, has disappeared, have disappeared, is gone, no longer, no longer there, are both
        absent, were both absent, are all absent, are also absent, is also absent
        """),
    ],
    "deny_new": _lines("""
        no new, without new, no interval development of, no newly, no developing, no evidence of new, no worsening,
        no increasing, no enlarging, no progressive
    """),
    "open_next": _lines("""
        possible, possibly, questionable, probable versus, equivocal, suspected, apparent versus, potential,
        potentially, doubtful, indeterminate, perhaps, maybe, presumed versus, conceivable, not definite,
        possibly with, perhaps with
    """),
    "open_after": _lines("""
        may, might, could, may represent, might represent, could represent, may be, might be, could be, may reflect,
        cannot exclude, can not exclude, cannot rule out, can not rule out, could not exclude, not exclude, does not
        exclude, do not exclude, difficult to exclude, not entirely exclude, cannot entirely exclude, cannot
        completely exclude, not completely exclude, cannot definitively exclude, question, question of, questioned,
        suspicious for, suspicious of, suspicion of, suspicion for, concern for, concerning for, worrisome for,
        raises concern for, raising concern for, raise concern for, raises the possibility of, raising the
        possibility of, possibility of, suggest, suggests, suggesting, suggestive of, suggestion of, suspect,
        differential includes, differential diagnosis includes, differential considerations include, differential
        would include, considerations include, differential diagnosis, differential, unlikely, less likely, not
        likely, unlikely to represent, unlikely to be, no definite but, cannot be certain, either, whether, can be
        seen with, can be seen in, can be associated with, it is difficult to exclude, it would be difficult to
        exclude, rule out versus,
        considered, to be considered, consider
    """),
    "open_before": _lines("""
        cannot be excluded, can not be excluded, could not be excluded, cannot be ruled out, can not be ruled out,
        not excluded, is not excluded, are not excluded, not entirely excluded, cannot be entirely excluded, cannot
        be completely excluded, cannot entirely be excluded, cannot definitely be excluded, is difficult to
        exclude, are difficult to exclude,
        not ruled out, is possible, are possible, is suspected, are suspected, is questioned, is questionable, are
        questionable, is unlikely, are unlikely, is considered, is a consideration, would be a consideration,
        felt less likely, felt unlikely, is less likely, may be considered, is not entirely excluded, should
        be considered, could be considered, must be considered, is a possibility, remains possible, would be
        difficult to exclude, may be present, might be present, could be present, may also be present, is not definite,
        are not definite
    """),
    "open_both": _lines("versus, vs, versus less likely"),
    "elsewhere_after": _lines("""
        history of, history, hx of, status post, s p, known history of, if, to exclude, to rule out, rule out, to
        evaluate, to evaluate for, to assess, to assess for, evaluate for, evaluation for, evaluation of, assess
        for, for further evaluation of, recommend, recommended, is recommended, follow up, followup, clinical
        concern for, clinical concern of, clinically concern for, clinical suspicion for, clinical suspicion of,
        clinical correlation for, correlate for, correlation for, correlate with, correlation with, clinical history
        of, patient with, in patients with, risk of, at risk for, signs or symptoms of, symptoms of, clinical
        symptoms of, clinical signs of, clinical evidence of, r/o, ?
    """),
    "elsewhere_before": [
        *(f"may not be {seen}" for seen in _SEEN),
        *(f"might not be {seen}" for seen in _SEEN),
        *(f"is better {seen}" for seen in _SEEN),
        # About what can be seen, which says nothing of what is there.
        *_lines("""
        not well seen, not well visualized, not well demonstrated, not well evaluated, not fully evaluated, not
        fully visualized, not adequately evaluated, not optimally evaluated, is not well seen, is not well
        visualized, are not well seen, are not well visualized, not well appreciated, not as well seen, poorly seen,
        poorly visualized, not completely visualized, not completely seen
        """),
    ],
    "end": _lines("""
        but, however, although, though, except, except for, aside from, other than, apart from, besides, whereas,
        while, which, with, nevertheless, otherwise, yet, with the exception of, despite, notwithstanding, in
        addition, additionally, also
    """),
    "normal": _lines("""
        normal, unremarkable, within normal limits, within normal limit, normal limits, clear, intact, sharp,
        midline, well expanded, well inflated, well aerated, normally expanded, normally inflated, fully expanded,
        nonenlarged, not remarkable, well defined, well maintained, maintained, preserved, grossly clear, grossly
        normal, grossly unremarkable, grossly intact, essentially clear, essentially normal, symmetric, symmetrical,
        within limits of normal, normal for age, not dilated, wnl, crisp, non enlarged
    """),
    "idle": [
        *_no_earlier(),
        *_not_gone(),
        *_lines("""
        no change, no changes, no change in, no significant change, no significant change in, no significant
        interval change, no significant interval change in, no interval change, no interval change in, no
        appreciable change, no appreciable change in, without change, without change in, without significant change,
        without interval change, without significant interval change, no substantial change, no substantial change
        in, no acute change, no acute interval change, no adverse change, no relevant change, not changed, not
        significantly changed, has not changed, have not changed, not appreciably changed, no definite change, no
        increase in, no decrease in, no increase, no decrease, not only, not well defined, not fully included, not
        included, not imaged, not clear, no comparison, no comparisons, otherwise normal, otherwise unremarkable,
        otherwise clear, otherwise intact, otherwise within normal limits, near normal, upper limits of normal,
        upper limit of normal, upper normal limits, upper normal, high normal, top normal, top limits of normal,
        limits of normal, borderline normal, not normal, age indeterminate, no need, not necessarily, no further
        evaluation, if any, not previously seen, not previously, not previously identified, not previously noted,
        not seen previously, not present previously, not present on the prior, not seen on prior, not seen on the
        prior, not definitely new, normal variant
    """),
    ],
}

RESTART: Final = word_set(
    "a an the there mild mildly minimal minimally moderate small stable unchanged trace tiny slight"
)
"""After a comma or "and", never "or", a denied list ends where one of these stands ("no effusion, mild edema")."""
FREE: Final = word_set("""
    the a an is are be been has have had of in and or at to on for by it its this that there within appear appears
    appearing seen noted present again also now remain remains demonstrate demonstrates demonstrating show shows showing
    size contour silhouette shape side region area overlying
    , ( ) / likely probably slightly somewhat very quite mild mildly moderate moderately minimal minimally severe
    severely marked markedly borderline relatively both grossly essentially overall
""")
"""Words that say nothing of their own between the words of a gap pattern; folded."""
