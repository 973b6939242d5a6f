"""Bootstrap confidence intervals over images.

Whole images are drawn with replacement, as pixels of one image stand and fall together. Images count in the
order of their ids, so that neither the order of a list nor that of processes changes a figure.

Three things about the intervals were settled by simulation (`tests/metrics/interval_coverage.py`):

1. Mean IoU of few images is too low. The IoU of a rare class is concave in its hits, and false positives come
   from every image, so its mean over samples lies below the value of the population. Of 100 images with
   VOC's classes that is a quarter to one standard deviation, of 1,449 a quarter at most. Classes that occur
   only as false positives are not the cause: of 100 images they are 0.04 of 21.
2. Resamples repeat this bias, so that a percentile interval has it twice, and the truth lies above: it held
   mean IoU in 56 to 91 % of the draws of 100 images. So replicates are moved by twice the bias. It is taken
   class by class: a class that a resample has lost altogether adds noise to the mean, but no bias. Recall has
   no such bias, and is not moved. BCa, which takes the bias from the median, covers 79 to 93 %.
3. Percentiles are too close together where few images decide, as a class of ten images has only ten. So
   their levels are moved outwards, from the normal's to those of Student's t, with as many degrees of freedom
   as there is knowledge of the variance: `freedom`.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr, ndtri, stdtr, stdtrit

from vocseg.metrics.aggregate import MEASURES, TRIMAP, Floats, compute_metrics, tp_gt_pred
from vocseg.metrics.per_image import PerImageConfusion

RESAMPLES = 2000
LEVEL = 0.95
_BLOCK = 2**21  # cells of a block of weights: 16 MB


def resampled_sums(sums: Floats, resamples: int, seed: int) -> Floats:
    """Add up images drawn with replacement; the same seed draws the same ones.

    Args:
        sums: Whole numbers of each image, float64 `[N, ...]`.
        resamples: How often, B.
        seed: Of the draws.

    Returns:
        float64 `[B, ...]`.
    """
    random = np.random.default_rng(seed)
    images = len(sums)
    flat = sums.reshape(images, -1)
    blocks, rows = [], max(1, _BLOCK // images)
    for start in range(0, resamples, rows):
        count = min(rows, resamples - start)
        drawn = random.integers(images, size=(count, images)) + images * np.arange(count)[:, None]
        times = np.bincount(drawn.ravel(), minlength=count * images).reshape(count, images)
        blocks.append(times.astype(np.float64) @ flat)
    return np.concatenate(blocks).reshape(resamples, *sums.shape[1:])


class Jackknife(NamedTuple):
    """What leaving each image out does to S figures.

    Attributes:
        moved: float64 `[N,S]`: by how much the image moves the figure, 0 where it is not defined without it.
        variance: float64 `[S]`, of the figure, by the jackknife.
        freedom: float64 `[S]`, degrees of freedom of that variance.
    """

    moved: Floats
    variance: Floats
    freedom: Floats


def leave_one_out(sums: Floats) -> Floats:
    """The measures without each image in turn.

    Args:
        sums: `tp_gt_pred` of each image, float64 `[N,3,C]`.

    Returns:
        float64 `[N,4+C]`.
    """
    return compute_metrics(sums.sum(0) - sums)


def influence(estimate: Floats, without: Floats) -> Jackknife:
    """Describe the images' influence.

    The degrees of freedom are those of a variance whose terms have the kurtosis that is seen,
    2N / (kurtosis - 1): N for normal terms, and about two thirds of their number where few images count.

    Args:
        estimate: With all images, float64 `[S]`.
        without: Without each, float64 `[N,S]`.
    """
    images = len(without)
    moved = np.nan_to_num(estimate - without)
    terms = moved - moved.mean(0)
    squares = (terms**2).sum(0)
    with np.errstate(divide="ignore", invalid="ignore"):
        kurtosis = images * (terms**4).sum(0) / squares**2
        freedom = np.nan_to_num(2 * images / (kurtosis - 1), nan=images, posinf=images)
    return Jackknife(moved, squares * (images - 1) / images, np.maximum(freedom, 1))


def iou_bias(estimate: Floats, replicates: Floats) -> Floats:
    """Mean error of the IoUs of so few images, by the bootstrap; see the module's docstring.

    Args:
        estimate: `compute_metrics` of all images, float64 `[...,4+C]`.
        replicates: The same of each resample, float64 `[B,...,4+C]`.

    Returns:
        float64 `[...,4+C]`; 0 for the measures without IoU, and where it is not known.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a mean of nothing is NaN
        bias = np.nanmean(replicates - estimate, axis=0)
        bias[..., MEASURES.index("mean_iou")] = np.nanmean(bias[..., len(MEASURES) :], axis=-1)
    for name in ("pixel_accuracy", "mean_class_accuracy"):
        bias[..., MEASURES.index(name)] = 0
    known: Floats = np.nan_to_num(bias)
    return known


def percentile_interval(replicates: Floats, freedom: Floats) -> Floats:
    """Percentiles at the levels of Student's t.

    Args:
        replicates: float64 `[B,S]`; those that are NaN, as a class is missing, do not count.
        freedom: Degrees of freedom, float64 `[S]`.

    Returns:
        float64 `[2,S]`: low and high.
    """
    tails = ndtr(stdtrit(freedom, (1 - LEVEL) / 2))
    ends = np.full((2, replicates.shape[1]), np.nan)
    for k, tail in enumerate(tails):
        column = replicates[:, k]
        known = column[~np.isnan(column)]
        if known.size:
            ends[:, k] = np.quantile(known, [tail, 1 - tail])
    return ends


def chance_above_zero(replicates: Floats, freedom: Floats) -> Floats:
    """The share of replicates above 0 (and half of those that are 0), at the levels of Student's t.

    So it is beyond 97.5 % where the interval leaves out 0. None of B counts as half of one.

    Args:
        replicates: float64 `[B,S]`; those that are NaN do not count.
        freedom: Degrees of freedom, float64 `[S]`.

    Returns:
        float64 `[S]`; one half where no replicate counts.
    """
    known = np.maximum((~np.isnan(replicates)).sum(0), 1)
    above = ((replicates > 0).sum(0) + (replicates == 0).sum(0) / 2) / known
    above = np.where(np.isnan(replicates).all(0), 0.5, np.clip(above, 0.5 / known, 1 - 0.5 / known))
    chance: Floats = stdtr(freedom, ndtri(above))
    return chance


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


def score_intervals(scores: PerImageConfusion, resamples: int = RESAMPLES, seed: int = 0) -> ScoreIntervals:
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
    """The metrics and the IoU of each class from `tp_gt_pred` of each image; a seed draws the same images."""
    estimate = compute_metrics(sums.sum(0))
    freedom = influence(estimate, leave_one_out(sums)).freedom
    replicates = compute_metrics(resampled_sums(sums, resamples, seed))
    low, high = percentile_interval(replicates - 2 * iou_bias(estimate, replicates), freedom).clip(0, 1)
    ends = np.stack(
        [np.fmin(low, estimate), np.fmax(high, estimate)]
    )  # with few images bias may exceed width
    return as_intervals(estimate, ends, images_behind(sums))


def image_parts(scores: PerImageConfusion) -> Floats:
    """`tp_gt_pred` of each image in the order of the ids, float64 `[N,3,C]`."""
    return tp_gt_pred(scores.matrices)[_by_id(scores)]


def band_parts(scores: PerImageConfusion) -> Floats | None:
    """The same of the pixels near a boundary alone; None if they were not counted apart."""
    return None if scores.band is None else tp_gt_pred(scores.band)[_by_id(scores)]


def _by_id(scores: PerImageConfusion) -> list[int]:
    return sorted(range(len(scores.ids)), key=scores.ids.__getitem__)


def images_behind(sums: Floats) -> npt.NDArray[np.int64]:
    """How many images each figure stands on.

    Args:
        sums: `tp_gt_pred` of each image, float64 `[N,3,C]`.

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
