"""What several experts say of one study: one record for all, settled only where they agree.

Experts are trained on frontal radiographs, so only those are put to them. Of several frontal images an expert's log
odds are averaged, because its thresholds were fitted on single images: the highest of three would pass them more often
by chance alone, and a sum would count one patient several times. Between experts log odds are averaged too. A finding
is settled only where every expert that knows it settles it the same way; else it is left uncertain, which is the exact
conservative case of consistency-aware fusion (AEGCD, 2026). So an expert without thresholds, as a zero-shot one without
a calibration, keeps the others from settling what it knows: calibrate it or leave it out.
"""

from collections.abc import Iterable, Sequence
from statistics import fmean

import numpy as np

from generation.experts.calibration import NEVER, log_odds, probability_of
from generation.experts.expert import Expert
from retrieval.expert_scores import ExpertScore, ExpertScores
from retrieval.mentions import ConceptId
from retrieval.pixels import Pixels
from retrieval.records import ViewPosition, view_group


def consult(experts: Sequence[Expert], images: Sequence[Pixels], views: Sequence[ViewPosition]) -> ExpertScores | None:
    """Ask every expert about a study; None without an expert or a frontal image, which is no opinion at all."""
    frontals = [pixels for pixels, view in zip(images, views, strict=True) if view_group(view) == "frontal"]
    if not experts or not frontals:
        return None
    return merged([_over_images(ask(expert, frontals)) for expert in experts])


def ask(expert: Expert, images: Sequence[Pixels]) -> list[ExpertScores]:
    """The expert's three steps in a row, one record an image."""
    return expert.finish(expert.run(np.stack([expert.prepare(pixels) for pixels in images])))


def merged(opinions: Sequence[ExpertScores]) -> ExpertScores:
    """Several experts' scores of one study as one record, in the order in which concepts first appear."""
    by_concept: dict[ConceptId, list[ExpertScore]] = {}
    for score in (score for opinion in opinions for score in opinion.scores):
        by_concept.setdefault(score.concept, []).append(score)
    return ExpertScores(
        expert=" + ".join(opinion.expert for opinion in opinions),
        scores=tuple(_agreed(scores) for scores in by_concept.values()),
    )


def _over_images(images: Sequence[ExpertScores]) -> ExpertScores:
    """One expert's scores of several images as one; its thresholds are the same for every image."""
    columns = zip(*(image.scores for image in images), strict=True)
    scores = tuple(
        column[0].model_copy(update={"probability": _mean(s.probability for s in column)}) for column in columns
    )
    return images[0].model_copy(update={"scores": scores})


def _agreed(scores: Sequence[ExpertScore]) -> ExpertScore:
    """One concept's scores as one. Where experts differ, no mean threshold may settle what they have not."""
    first = scores[0]
    if len(scores) == 1:
        return first
    low, high = NEVER
    if len({score.band for score in scores}) == 1 and first.band != "uncertain":
        low, high = _mean(s.absent_below for s in scores), _mean(s.present_above for s in scores)
    return ExpertScore(
        concept=first.concept,
        probability=_mean(s.probability for s in scores),
        absent_below=low,
        present_above=high,
    )


def _mean(probabilities: Iterable[float]) -> float:
    """The probability of the mean log odds."""
    return float(probability_of(np.asarray(fmean(map(log_odds, probabilities)))))
