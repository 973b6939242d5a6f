"""Paired bootstrap comparison of runs.

Two sources of variance:

- Images: resampled with replacement, the same for all runs.
- Seeds: runs are too few to resample. Each resample adds a draw of Student's t with the spread between the
  members of a group, pooled over both groups. Its degrees of freedom are the runs beyond one a group.

The seed variance contains the part that varies from image to image, so this part is subtracted from the
image variance. `tests/metrics/interval_coverage.py` measures the coverage of the intervals.
"""

import warnings
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np

from vocseg.metrics.aggregate import MEASURES, TRIMAP, Floats, compute_metrics
from vocseg.metrics.bootstrap import (
    FEWEST_IMAGES,
    LEVEL,
    RESAMPLES,
    Interval,
    as_intervals,
    band_parts,
    chance_above_zero,
    image_parts,
    images_behind,
    influence,
    iou_bias,
    leave_one_out,
    percentile_interval,
    plain_numbers,
    resampled_sums,
)
from vocseg.metrics.per_image import Protocol
from vocseg.metrics.run_groups import RunGroup, RunWeights, check_comparable


@dataclass(frozen=True)
class ImageChange:
    """Change of one image."""

    id: str  # image id
    before: float  # A's mean IoU on this image, over the classes that it contains
    after: float  # B's

    @property
    def change(self) -> float:
        """B less A."""
        return self.after - self.before


def _image_changes(ids: Sequence[str], sums: Floats, weights: RunWeights) -> tuple[ImageChange, ...]:
    """Changes of the images with labelled pixels, from `image_parts` of the runs, largest first."""
    hits, true, predicted = (sums[:, :, k] for k in range(3))  # [N,R,C]
    there = true > 0
    iou = np.where(there, hits / np.maximum(true + predicted - hits, 1), 0.0)
    own = iou.sum(-1) / np.maximum(there.sum(-1), 1)  # [N,R]
    labelled = np.atleast_1d(there.any(axis=(1, 2)))
    changes = [
        ImageChange(id, float(a), float(b))
        for id, a, b, shown in zip(ids, own @ weights.before, own @ weights.after, labelled, strict=True)
        if shown
    ]
    return tuple(sorted(changes, key=lambda each: (-abs(each.change), each.id)))


_MANY = 1e6  # degrees of freedom of a normal distribution


class BootstrapDifference(NamedTuple):
    """Differences of S metrics, B less A."""

    estimate: Floats  # float64 `[S]`
    replicates: Floats  # float64 `[B,S]`
    freedom: Floats  # degrees of freedom of the replicates' variance, float64 `[S]`
    seed_variance: Floats  # variance of a single run between seeds, float64 `[S]`


def paired(weights: RunWeights, sums: Floats, resamples: int, seed: int) -> BootstrapDifference:
    """Bootstrap the difference of two groups, from `image_parts` of each run, float64 `[N,R,3,C]`."""
    metrics = compute_metrics(sums.sum(0))  # [R,S]
    without = np.stack([leave_one_out(sums[:, k]) for k in range(sums.shape[1])], axis=1)  # [N,R,S]
    estimate = weights.difference(metrics)
    images = influence(estimate, weights.difference(without))
    of_a_run = weights.seed_variance(metrics)
    seeds = of_a_run * weights.spread
    left = np.maximum(images.variance - weights.chance_variance(metrics, without) * weights.spread, 0)
    replicates = compute_metrics(resampled_sums(sums, resamples, seed))  # [B,R,S]
    bias = weights.difference(iou_bias(metrics, replicates))
    drawn = weights.difference(replicates) - estimate - bias  # [B,S]
    scaled = drawn * _scale(drawn, images.variance, left)
    noise = np.zeros(resamples)
    if weights.freedom:
        noise = np.random.default_rng([seed, 1]).standard_t(weights.freedom, resamples)
    with np.errstate(divide="ignore", invalid="ignore"):  # Satterthwaite; draws of t have their own tails
        total = images.freedom * ((left + seeds) / left) ** 2
    freedom = np.minimum(np.nan_to_num(total, nan=_MANY), _MANY)
    replicates = estimate - bias + scaled + noise[:, None] * np.sqrt(seeds)
    return BootstrapDifference(estimate, replicates, freedom, of_a_run)


def _scale(drawn: Floats, variance: Floats, left: Floats) -> Floats:
    """Factor `[S]` that gives draws `[B,S]` of a variance the part `left` of it."""
    # Resamples that lose rare classes vary too little: the jackknife's variance applies where it is larger.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # the variance of an empty slice is NaN
        spread = np.nan_to_num(np.nanvar(drawn, axis=0))
    base = np.where(spread > 0, np.minimum(spread, variance), variance)
    return np.sqrt(np.divide(left, base, out=np.ones_like(left), where=base > 0))


@dataclass(frozen=True)
class Difference:
    """A metric of A and B."""

    before: float | None  # of A, the mean over its members; None if undefined
    after: float | None  # of B
    difference: Interval  # B less A, with its interval
    better: float | None  # probability that B is better, one half without a difference; None if unknown

    @property
    def clear(self) -> bool:
        """Return whether the interval excludes 0."""
        low, high = self.difference.low, self.difference.high
        return low is not None and high is not None and (low > 0 or high < 0)


@dataclass(frozen=True)
class Comparison:
    """Comparison of A and B.

    Attributes:
        measures: By the names of `MEASURES`, and `TRIMAP` if all runs counted boundary pixels.
        seed_spread: Standard deviation of mean IoU between seeds. None if no group has two runs: then the
            intervals cover other images, not other seeds.
    """

    names: tuple[str, str]  # names of A and B
    runs: tuple[int, int]  # number of runs in A and in B
    protocols: tuple[Protocol, Protocol]  # protocols of A and B
    measures: dict[str, Difference]
    class_iou: dict[str, Difference]  # by class
    images: tuple[ImageChange, ...]  # all images, largest change first
    seed_spread: float | None
    resamples: int  # number of resamples

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        plain = asdict(self)
        return {**plain.pop("measures"), **plain, "level": LEVEL}


def compare_groups(
    before: RunGroup, after: RunGroup, resamples: int = RESAMPLES, seed: int = 0, across: Collection[str] = ()
) -> Comparison:
    """Compare B with A on the same resamples of the images.

    The metric of a group is the mean over its members.

    Args:
        before: A.
        after: B.
        resamples: Number of resamples.
        seed: Random seed of the resamples.
        across: Protocol fields in which A and B may differ, of `ACROSS`.

    Raises:
        UserError: If their images or other protocol fields differ.
    """
    check_comparable([before, after], across)
    weights, first = RunWeights(before, after), before.members[0]
    sums = np.stack([image_parts(run) for run in weights.runs], axis=1)  # [N,R,3,C]
    drawn = paired(weights, sums, resamples, seed)
    found = _differences(weights, sums, drawn)
    spread = drawn.seed_variance[MEASURES.index("mean_iou")] ** 0.5
    return Comparison(
        (before.name, after.name),
        (len(before.members), len(after.members)),
        (first.protocol, after.members[0].protocol),
        dict(zip(MEASURES, found, strict=False)) | _trimap(weights, resamples, seed),
        dict(zip(first.classes, found[len(MEASURES) :], strict=True)),
        _image_changes(sorted(first.ids), sums, weights),
        float(spread) if weights.freedom else None,
        resamples,
    )


def _trimap(weights: RunWeights, resamples: int, seed: int) -> dict[str, Difference]:
    """Trimap mean IoU, if all runs counted boundary pixels."""
    near = [sums for sums in map(band_parts, weights.runs) if sums is not None]
    if len(near) < len(weights.runs):
        return {}
    sums = np.stack(near, axis=1)  # [N,R,3,C]
    return {TRIMAP: _differences(weights, sums, paired(weights, sums, resamples, seed))[0]}


def _differences(weights: RunWeights, sums: Floats, drawn: BootstrapDifference) -> list[Difference]:
    behind = images_behind(sums[:, 0])
    if not weights.spread:  # identical runs do not differ, however few the images
        behind = np.full_like(behind, FEWEST_IMAGES)
    ends = percentile_interval(drawn.replicates, drawn.freedom)
    better = chance_above_zero(drawn.replicates, drawn.freedom)
    values = map(plain_numbers, weights.means(compute_metrics(sums.sum(0))))
    intervals = as_intervals(drawn.estimate, ends, behind)
    return [
        Difference(a, b, interval, None if interval.low is None else float(chance))
        for a, b, interval, chance in zip(*values, intervals, better, strict=True)
    ]
