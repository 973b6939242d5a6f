"""Which images a person should see: the worst, the middle, the best, and those with suspicious labels."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vocseg.scores.disagreement import Region, regions_of
from vocseg.scores.evidence import Evidence
from vocseg.scores.image_scores import Counts, ImageScores


@dataclass(frozen=True)
class ImageFigures:
    """How one image was predicted.

    Attributes:
        id: Of the image.
        mean_iou: Over the classes that it truly shows.
        accuracy: Share of its labelled pixels that are right.
        confusion: The commonest mistake: true class, predicted class, share of the labelled pixels; None if
            everything is right.
    """

    id: str
    mean_iou: float
    accuracy: float
    confusion: tuple[str, str, float] | None


def image_figures(scores: ImageScores) -> list[ImageFigures]:
    """Each image by itself, the worst first; those without labelled pixels are left out."""
    found = [
        _figures(id, matrix, scores.classes)
        for id, matrix in zip(scores.ids, scores.matrices, strict=True)
        if matrix.any()
    ]
    return sorted(found, key=lambda each: (each.mean_iou, each.id))


def _figures(id: str, matrix: Counts, classes: Sequence[str]) -> ImageFigures:
    hits, true, predicted = matrix.diagonal(), matrix.sum(1), matrix.sum(0)
    there = true > 0
    iou = hits[there] / (true + predicted - hits)[there]
    pixels = int(matrix.sum())
    wrong = matrix - np.diag(hits)
    row, column = divmod(int(wrong.argmax()), len(matrix))
    most = int(wrong[row, column])
    confusion = (classes[row], classes[column], most / pixels) if most else None
    return ImageFigures(id, float(iou.mean()), float(hits.sum() / pixels), confusion)


def worst_median_best(ranked: Sequence[ImageFigures], count: int) -> dict[str, list[ImageFigures]]:
    """So many of each, none twice: of few images the middle ones go first to the worst, then to the best."""
    worst = list(ranked[:count])
    best = list(ranked[max(len(worst), len(ranked) - count) :])[::-1]
    between = ranked[len(worst) : len(ranked) - len(best)]
    start = max(0, (len(between) - count) // 2)
    return {"worst": worst, "median": list(between[start : start + count]), "best": best}


@dataclass(frozen=True)
class Suspect:
    """An image whose label the network contradicts, by the region where it does so most."""

    id: str
    region: Region


def suspects(evidence: Evidence, count: int) -> list[Suspect]:
    """The images with the largest regions of sure disagreement."""
    found = [
        Suspect(id, regions[0])
        for id, regions in zip(evidence.ids, map(regions_of, evidence.regions), strict=True)
        if regions
    ]
    return sorted(found, key=lambda each: (-each.region.weight, each.id))[:count]
