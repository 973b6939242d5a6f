"""Bootstrap confidence intervals over images.

Images are resampled with replacement, in the order of their ids: results depend neither on the order of the
split nor on the number of processes. `tests/metrics/interval_coverage.py` measures the coverage.

Two corrections of the percentile interval:

1. Bias: mean IoU of few images is too low, because the IoU of a rare class is concave in its true positives.
   Resamples repeat this bias, so replicates are moved by twice the bias, class by class.
2. Width: where few images decide, quantile levels move from the normal's to Student's t, with the degrees of
   freedom of the jackknife variance.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr, ndtri, stdtr, stdtrit

from vocseg.metrics.aggregate import MEASURES, TRIMAP, Floats, compute_metrics, tp_gt_pred
from vocseg.metrics.per_image import PerImageConfusion

RESAMPLES = 2000
LEVEL = 0.95
FEWEST_IMAGES = 5  # of intervals from 1 or 2 images, only two thirds hold the true value
_BLOCK = 2**21  # cells of a block of weights: 16 MB


def resampled_sums(sums: Floats, resamples: int, seed: int) -> Floats:
    """Sums over images drawn with replacement, float64 `[B, ...]` of `[N, ...]`; seeded."""
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
    """Jackknife of S metrics."""

    variance: Floats  # jackknife variance, float64 `[S]`
    freedom: Floats  # degrees of freedom of that variance, float64 `[S]`


def leave_one_out(sums: Floats) -> Floats:
    """Metrics without each image in turn, float64 `[N,4+C]` from `tp_gt_pred` of each image `[N,3,C]`."""
    return compute_metrics(sums.sum(0) - sums)


def influence(estimate: Floats, without: Floats) -> Jackknife:
    """Influence of each image, from S metrics with all images `[S]` and without each `[N,S]`."""
    images = len(without)
    moved = np.nan_to_num(estimate - without)
    terms = moved - moved.mean(0)
    squares = (terms**2).sum(0)
    with np.errstate(divide="ignore", invalid="ignore"):
        # A variance has 2N / (kurtosis - 1) degrees of freedom: N if its terms are normal.
        kurtosis = images * (terms**4).sum(0) / squares**2
        freedom = np.nan_to_num(2 * images / (kurtosis - 1), nan=images, posinf=images)
    return Jackknife(squares * (images - 1) / images, np.maximum(freedom, 1))


def iou_bias(estimate: Floats, replicates: Floats) -> Floats:
    """Bootstrap bias of the IoUs, float64 `[...,4+C]` of replicates `[B,...,4+C]`; 0 for other metrics."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # the mean of an empty slice is NaN
        bias = np.nanmean(replicates - estimate, axis=0)
        # By class: a class that a resample has lost adds noise to the mean, but no bias.
        bias[..., MEASURES.index("mean_iou")] = np.nanmean(bias[..., len(MEASURES) :], axis=-1)
    for name in ("pixel_accuracy", "mean_class_accuracy"):
        bias[..., MEASURES.index(name)] = 0
    known: Floats = np.nan_to_num(bias)
    return known


def percentile_interval(replicates: Floats, freedom: Floats) -> Floats:
    """Low and high quantiles at the levels of Student's t, float64 `[2,S]` of `[B,S]`; NaN is ignored."""
    tails = ndtr(stdtrit(freedom, (1 - LEVEL) / 2))
    ends = np.full((2, replicates.shape[1]), np.nan)
    for k, tail in enumerate(tails):
        column = replicates[:, k]
        known = column[~np.isnan(column)]
        if known.size:
            ends[:, k] = np.quantile(known, [tail, 1 - tail])
    return ends


def chance_above_zero(replicates: Floats, freedom: Floats) -> Floats:
    """Fraction of replicates `[B,S]` above 0 at the levels of Student's t, float64 `[S]`; NaN is ignored.

    Above 97.5 % if the interval excludes 0. A replicate of 0 counts as half above.
    """
    known = np.maximum((~np.isnan(replicates)).sum(0), 1)
    above = ((replicates > 0).sum(0) + (replicates == 0).sum(0) / 2) / known
    above = np.where(np.isnan(replicates).all(0), 0.5, np.clip(above, 0.5 / known, 1 - 0.5 / known))
    chance: Floats = stdtr(freedom, ndtri(above))
    return chance


@dataclass(frozen=True)
class Interval:
    """A metric with its 95 % confidence interval over images."""

    estimate: float | None  # the metric; None if undefined, e.g. for a class neither present nor predicted
    low: float | None = None  # lower end; None with fewer than five images
    high: float | None = None  # upper end


@dataclass(frozen=True)
class ScoreIntervals:
    """Metrics with confidence intervals."""

    measures: dict[str, Interval]  # by the names of `MEASURES`, and `TRIMAP` if boundary pixels were counted
    class_iou: dict[str, Interval]  # by class
    images: dict[str, int]  # number of images that contain each class
    resamples: int  # number of resamples

    @property
    def warning(self) -> str | None:
        """Sentence on an unreliable interval of mean IoU; None if it is reliable."""
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
            **{name: asdict(each) for name, each in self.measures.items()},
            "class_iou": {name: asdict(each) for name, each in self.class_iou.items()},
            "class_images": self.images,
        }

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> "ScoreIntervals":
        """Inverse of `as_dict`."""
        return cls(
            {name: Interval(**plain[name]) for name in (*MEASURES, TRIMAP) if name in plain},
            {name: Interval(**each) for name, each in plain["class_iou"].items()},
            plain["class_images"],
            plain["resamples"],
        )


def score_intervals(scores: PerImageConfusion, resamples: int = RESAMPLES, seed: int = 0) -> ScoreIntervals:
    """Metrics of a split with bootstrap intervals over its images."""
    sums, near = image_parts(scores), band_parts(scores)
    found = _intervals(sums, resamples, seed)
    trimap = {} if near is None else {TRIMAP: _intervals(near, resamples, seed)[0]}
    return ScoreIntervals(
        dict(zip(MEASURES, found, strict=False)) | trimap,
        dict(zip(scores.classes, found[len(MEASURES) :], strict=True)),
        dict(zip(scores.classes, images_behind(sums)[len(MEASURES) :].tolist(), strict=True)),
        resamples,
    )


def _intervals(sums: Floats, resamples: int, seed: int) -> Sequence[Interval]:
    """The metrics and the IoU of each class from `tp_gt_pred` of each image."""
    estimate = compute_metrics(sums.sum(0))
    freedom = influence(estimate, leave_one_out(sums)).freedom
    replicates = compute_metrics(resampled_sums(sums, resamples, seed))
    low, high = percentile_interval(replicates - 2 * iou_bias(estimate, replicates), freedom).clip(0, 1)
    # With few images the bias may exceed the width: the interval still contains the estimate.
    ends = np.stack([np.fmin(low, estimate), np.fmax(high, estimate)])
    return as_intervals(estimate, ends, images_behind(sums))


def image_parts(scores: PerImageConfusion) -> Floats:
    """`tp_gt_pred` of each image in the order of the ids, float64 `[N,3,C]`."""
    return tp_gt_pred(scores.matrices)[_by_id(scores)]


def band_parts(scores: PerImageConfusion) -> Floats | None:
    """The same of the pixels near a boundary; None if they were not counted."""
    return None if scores.band is None else tp_gt_pred(scores.band)[_by_id(scores)]


def _by_id(scores: PerImageConfusion) -> list[int]:
    return sorted(range(len(scores.ids)), key=scores.ids.__getitem__)


def images_behind(sums: Floats) -> npt.NDArray[np.int64]:
    """Number of images with labelled pixels (`MEASURES`) or with the class, int64 `[4+C]` of `[N,3,C]`."""
    there = sums[:, 1] > 0  # [N,C]
    return np.concatenate([np.full(len(MEASURES), there.any(1).sum()), there.sum(0)])


def as_intervals(estimate: Floats, ends: Floats, behind: npt.NDArray[np.int64]) -> Sequence[Interval]:
    """Intervals of estimates `[4+C]` and ends `[2,4+C]`, without ends where `images_behind` are too few."""
    return [
        Interval(value, low, high) if images >= FEWEST_IMAGES and value is not None else Interval(value)
        for value, low, high, images in zip(
            *map(plain_numbers, (estimate, *ends)), behind.tolist(), strict=True
        )
    ]


def plain_numbers(values: Floats) -> list[float | None]:
    """Floats, with None for NaN."""
    return [None if value != value else value for value in values.tolist()]
