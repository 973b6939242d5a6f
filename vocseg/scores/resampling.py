"""The bootstrap over images: what a score might have been on other images of the same kind.

Whole images are drawn with replacement, as pixels of one image stand and fall together. Images count in the
order of their ids, so that neither the order of a list nor that of processes changes a figure.

Three things about the intervals were settled by simulation (`tests/scores/coverage.py`):

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
from typing import NamedTuple

import numpy as np
from scipy.special import ndtr, ndtri, stdtr, stdtrit

from vocseg.scores.measures import MEASURES, Floats, measure

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


class Influence(NamedTuple):
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
        sums: `parts` of each image, float64 `[N,3,C]`.

    Returns:
        float64 `[N,4+C]`.
    """
    return measure(sums.sum(0) - sums)


def influence(estimate: Floats, without: Floats) -> Influence:
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
    return Influence(moved, squares * (images - 1) / images, np.maximum(freedom, 1))


def iou_bias(estimate: Floats, replicates: Floats) -> Floats:
    """Mean error of the IoUs of so few images, by the bootstrap; see the module's docstring.

    Args:
        estimate: `measure` of all images, float64 `[...,4+C]`.
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
