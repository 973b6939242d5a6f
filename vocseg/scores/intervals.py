"""A score with its 95 % intervals."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from vocseg.scores.image_scores import ImageScores
from vocseg.scores.measures import MEASURES, TRIMAP, Floats, measure, parts
from vocseg.scores.resampling import (
    LEVEL,
    RESAMPLES,
    influence,
    iou_bias,
    leave_one_out,
    percentile_interval,
    resampled_sums,
)

FEWEST_IMAGES = 5  # fewer say next to nothing of the others: of intervals from 1 or 2, two thirds are right


@dataclass(frozen=True)
class Interval:
    """A figure and where it would lie with 95 % confidence if there were no end of images.

    Attributes:
        estimate: The figure; None if it is not defined, as for a class that is neither there nor predicted.
        low: Lower end; None with fewer than five images.
        high: Upper end.
    """

    estimate: float | None
    low: float | None = None
    high: float | None = None

    def as_dict(self) -> dict[str, float | None]:
        """Plain values."""
        return {"estimate": self.estimate, "low": self.low, "high": self.high}


@dataclass(frozen=True)
class ScoreIntervals:
    """What was measured, with intervals.

    Attributes:
        measures: By the names of `MEASURES`, and `TRIMAP` if pixels near a boundary were counted apart.
        class_iou: By class.
        images: How many images each class is in, by the truth.
        resamples: How many the intervals were taken from.
    """

    measures: dict[str, Interval]
    class_iou: dict[str, Interval]
    images: dict[str, int]
    resamples: int

    @property
    def warning(self) -> str | None:
        """Reason not to trust the interval of mean IoU, a sentence; None: it holds what it claims."""
        counted = [self.images[name] for name, iou in self.class_iou.items() if iou.estimate is not None]
        few = sum(images < FEWEST_IMAGES for images in counted)
        if self.measures["mean_iou"].low is None or 2 * few <= len(counted):
            return None
        return (
            f"the interval of mean IoU is not reliable: {few} of the {len(counted)} classes are in fewer "
            f"than {FEWEST_IMAGES} images. Score more images."
        )

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "level": LEVEL,
            "resamples": self.resamples,
            "warning": self.warning,
            **{name: each.as_dict() for name, each in self.measures.items()},
            "class_iou": {name: each.as_dict() for name, each in self.class_iou.items()},
            "class_images": self.images,
        }


def score_intervals(scores: ImageScores, resamples: int = RESAMPLES, seed: int = 0) -> ScoreIntervals:
    """Measure, and say how far to believe it; images are what is drawn at random, the weights stay.

    Args:
        scores: What was counted.
        resamples: Draws of as many images as there are.
        seed: Of the draws.
    """
    sums, near = image_parts(scores), band_parts(scores)
    found = _figures(sums, resamples, seed)
    trimap = {} if near is None else {TRIMAP: _figures(near, resamples, seed)[0]}
    return ScoreIntervals(
        dict(zip(MEASURES, found, strict=False)) | trimap,
        dict(zip(scores.classes, found[len(MEASURES) :], strict=True)),
        dict(zip(scores.classes, images_behind(sums)[len(MEASURES) :].tolist(), strict=True)),
        resamples,
    )


def _figures(sums: Floats, resamples: int, seed: int) -> Sequence[Interval]:
    """The measures and the IoU of each class, from `parts` of each image; a seed draws the same images."""
    estimate = measure(sums.sum(0))
    freedom = influence(estimate, leave_one_out(sums)).freedom
    replicates = measure(resampled_sums(sums, resamples, seed))
    low, high = percentile_interval(replicates - 2 * iou_bias(estimate, replicates), freedom).clip(0, 1)
    ends = np.stack(
        [np.fmin(low, estimate), np.fmax(high, estimate)]
    )  # with few images bias may exceed width
    return as_intervals(estimate, ends, images_behind(sums))


def image_parts(scores: ImageScores) -> Floats:
    """`parts` of each image in the order of the ids, float64 `[N,3,C]`."""
    return parts(scores.matrices)[_by_id(scores)]


def band_parts(scores: ImageScores) -> Floats | None:
    """The same of the pixels near a boundary alone; None if they were not counted apart."""
    return None if scores.band is None else parts(scores.band)[_by_id(scores)]


def _by_id(scores: ImageScores) -> list[int]:
    return sorted(range(len(scores.ids)), key=scores.ids.__getitem__)


def images_behind(sums: Floats) -> npt.NDArray[np.int64]:
    """How many images each figure stands on.

    Args:
        sums: `parts` of each image, float64 `[N,3,C]`.

    Returns:
        int64 `[4+C]`: for the four measures those with labelled pixels, for a class those that truly show it.
    """
    there = sums[:, 1] > 0  # [N,C]
    return np.concatenate([np.full(len(MEASURES), there.any(1).sum()), there.sum(0)])


def as_intervals(estimate: Floats, ends: Floats, behind: npt.NDArray[np.int64]) -> Sequence[Interval]:
    """Put figures and ends together, without the ends where too few images stand behind them.

    Args:
        estimate: float64 `[4+C]`.
        ends: float64 `[2,4+C]`.
        behind: `images_behind`, int64 `[4+C]`.
    """
    plain = [[None if np.isnan(value) else float(value) for value in row] for row in (estimate, *ends)]
    return [
        Interval(value, low, high) if images >= FEWEST_IMAGES and value is not None else Interval(value)
        for value, low, high, images in zip(*plain, behind.tolist(), strict=True)
    ]
