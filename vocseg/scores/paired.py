"""What the difference between two groups might have been, with other images and other seeds.

Two things are uncertain. Which images happened to be scored: they are drawn anew in each resample, the same
for all runs. Which seeds happened to be trained: runs are too few to be drawn anew, as draws from two or
three show much too little spread, so each resample adds a draw of Student's t with the spread between
members, pooled over both groups, and as many degrees of freedom as there are runs beyond one a group.
What runs differ by from image to image would be in both, and is taken out of the first.

Bias and spread of the draws are mended as `vocseg.scores.resampling` and `_scale` say. Of 300 draws of 100
images, 95 to 98 % of the intervals for mean IoU of two single runs held the true difference, whatever their
errors (`tests/scores/coverage.py`); with three seeds of each recipe `tests/scores/test_coverage.py` wants
92.5 to 99 %.
"""

import warnings
from typing import NamedTuple

import numpy as np

from vocseg.scores.measures import Floats, measure
from vocseg.scores.resampling import influence, iou_bias, leave_one_out, resampled_sums
from vocseg.scores.shares import Shares

_MANY = 1e6  # degrees of freedom: the normal's levels


class Paired(NamedTuple):
    """Differences of S figures, B less A.

    Attributes:
        estimate: float64 `[S]`.
        replicates: float64 `[B,S]`.
        freedom: Degrees of freedom of the replicates' variance, float64 `[S]`.
        influence: What each image moves the estimate by, float64 `[N,S]`.
        seed_variance: Of a single run, float64 `[S]`.
    """

    estimate: Floats
    replicates: Floats
    freedom: Floats
    influence: Floats
    seed_variance: Floats


def paired(shares: Shares, sums: Floats, resamples: int, seed: int) -> Paired:
    """Draw differences.

    Args:
        shares: The runs of both groups.
        sums: `parts` of each image and run, float64 `[N,R,3,C]`.
        resamples: How many to draw, B.
        seed: Of the draws.
    """
    figures = measure(sums.sum(0))  # [R,S]
    without = np.stack([leave_one_out(sums[:, k]) for k in range(sums.shape[1])], axis=1)  # [N,R,S]
    estimate = shares.difference(figures)
    images = influence(estimate, shares.difference(without))
    of_a_run = shares.seed_variance(figures)
    seeds = of_a_run * shares.spread
    left = np.maximum(images.variance - shares.chance_variance(figures, without) * shares.spread, 0)
    replicates = measure(resampled_sums(sums, resamples, seed))  # [B,R,S]
    bias = shares.difference(iou_bias(figures, replicates))
    drawn = shares.difference(replicates) - estimate - bias  # [B,S]
    kept = _scale(drawn, images.variance, left)
    noise = _student(resamples, shares.freedom, seed)[:, None] * np.sqrt(seeds)
    freedom = _freedom(images.freedom, left, seeds)
    return Paired(estimate, estimate - bias + drawn * kept + noise, freedom, images.moved, of_a_run)


def _scale(drawn: Floats, variance: Floats, left: Floats) -> Floats:
    """Factor that gives draws of variance `variance` the part `left` of it.

    Resamples lose rare classes and so spread too little: draws get the jackknife's variance if it is larger.

    Args:
        drawn: float64 `[B,S]`.
        variance: Of the estimate, by the jackknife, float64 `[S]`.
        left: What is to be left of it, float64 `[S]`.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a spread of nothing is NaN
        spread = np.nan_to_num(np.nanvar(drawn, axis=0))
    base = np.where(spread > 0, np.minimum(spread, variance), variance)
    return np.sqrt(np.divide(left, base, out=np.ones_like(left), where=base > 0))


def _freedom(freedom: Floats, images: Floats, seeds: Floats) -> Floats:
    """Degrees of freedom of the whole variance by Satterthwaite; draws of t have their own tails."""
    with np.errstate(divide="ignore", invalid="ignore"):
        whole = freedom * ((images + seeds) / images) ** 2
    return np.minimum(np.nan_to_num(whole, nan=_MANY), _MANY)


def _student(resamples: int, freedom: int, seed: int) -> Floats:
    """Draws of Student's t, zeros if there is no freedom: float64 `[B]`."""
    if not freedom:
        return np.zeros(resamples)
    return np.random.default_rng([seed, 1]).standard_t(freedom, resamples)
