"""Paired bootstrap comparison of runs.

Two things are uncertain. Which images happened to be scored: they are drawn anew in each resample, the same
for all runs. Which seeds happened to be trained: runs are too few to be drawn anew, as draws from two or
three show much too little spread, so each resample adds a draw of Student's t with the spread between
members, pooled over both groups, and as many degrees of freedom as there are runs beyond one a group.
What runs differ by from image to image would be in both, and is taken out of the first.

Bias and spread of the draws are mended as `vocseg.metrics.bootstrap` and `_scale` say. Of 300 draws of 100
images, 95 to 98 % of the intervals for mean IoU of two single runs held the true difference, whatever their
errors (`tests/metrics/interval_coverage.py`); with three seeds of each recipe
`tests/metrics/test_interval_coverage.py` wants 92.5 to 99 %.
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
    resampled_sums,
)
from vocseg.metrics.protocol import Protocol
from vocseg.metrics.run_groups import RunGroup, RunWeights, check_comparable


@dataclass(frozen=True)
class ImageChange:
    """What became of one image.

    Attributes:
        id: Of the image.
        before: A's mean IoU on this image alone, over the classes that it truly shows; void images have none.
        after: B's.
        influence: How much smaller the difference in mean IoU over all images is without this one.
    """

    id: str
    before: float
    after: float
    influence: float

    @property
    def change(self) -> float:
        """B less A."""
        return self.after - self.before

    def as_dict(self) -> dict[str, str | float]:
        """Plain values."""
        values: dict[str, str | float] = {"id": self.id, "a": self.before, "b": self.after}
        return values | {"change": self.change, "influence": self.influence}


def image_changes(
    ids: Sequence[str], sums: Floats, before: Floats, after: Floats, influence: Floats
) -> tuple[ImageChange, ...]:
    """Score each image by itself, those that changed most first.

    They are ranked by what one sees on opening the image. Its influence on the whole would put images of rare
    classes first, even where nearly nothing in them changed; it is given beside.

    Args:
        ids: Of the N images, in order.
        sums: `parts` of each image and run, float64 `[N,R,3,C]`.
        before: Share of each run in A, `[R]`.
        after: Share of each run in B, `[R]`.
        influence: Of each image, float64 `[N]`.
    """
    hits, true, predicted = (sums[:, :, k] for k in range(3))  # [N,R,C]
    there = true > 0
    iou = np.where(there, hits / np.maximum(true + predicted - hits, 1), 0.0)
    own = iou.sum(-1) / np.maximum(there.sum(-1), 1)  # [N,R]
    labelled = np.atleast_1d(there.any(axis=(1, 2)))
    changes = [
        ImageChange(id, float(a), float(b), float(moved))
        for id, a, b, moved, shown in zip(ids, own @ before, own @ after, influence, labelled, strict=True)
        if shown
    ]
    return tuple(sorted(changes, key=lambda each: (-abs(each.change), each.id)))


_MANY = 1e6  # degrees of freedom: the normal's levels


class BootstrapDifference(NamedTuple):
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


def paired(shares: RunWeights, sums: Floats, resamples: int, seed: int) -> BootstrapDifference:
    """Draw differences.

    Args:
        shares: The runs of both groups.
        sums: `parts` of each image and run, float64 `[N,R,3,C]`.
        resamples: How many to draw, B.
        seed: Of the draws.
    """
    figures = compute_metrics(sums.sum(0))  # [R,S]
    without = np.stack([leave_one_out(sums[:, k]) for k in range(sums.shape[1])], axis=1)  # [N,R,S]
    estimate = shares.difference(figures)
    images = influence(estimate, shares.difference(without))
    of_a_run = shares.seed_variance(figures)
    seeds = of_a_run * shares.spread
    left = np.maximum(images.variance - shares.chance_variance(figures, without) * shares.spread, 0)
    replicates = compute_metrics(resampled_sums(sums, resamples, seed))  # [B,R,S]
    bias = shares.difference(iou_bias(figures, replicates))
    drawn = shares.difference(replicates) - estimate - bias  # [B,S]
    kept = _scale(drawn, images.variance, left)
    noise = _student(resamples, shares.freedom, seed)[:, None] * np.sqrt(seeds)
    freedom = _freedom(images.freedom, left, seeds)
    return BootstrapDifference(
        estimate, estimate - bias + drawn * kept + noise, freedom, images.moved, of_a_run
    )


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


@dataclass(frozen=True)
class Difference:
    """One figure of A and B.

    Attributes:
        before: Of A: the mean over its members; None if it is not defined.
        after: Of B.
        difference: B less A, with its interval.
        better: Probability that B is better, one half if nothing differs; None if it is not known.
    """

    before: float | None
    after: float | None
    difference: Interval
    better: float | None

    @property
    def clear(self) -> bool:
        """Whether the interval leaves out "no difference"."""
        low, high = self.difference.low, self.difference.high
        return low is not None and high is not None and (low > 0 or high < 0)

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        values = {"a": self.before, "b": self.after, "difference": self.difference.estimate}
        ends = {"low": self.difference.low, "high": self.difference.high}
        return {**values, **ends, "probability_b_better": self.better, "clear": self.clear}


@dataclass(frozen=True)
class Comparison:
    """What is to be said of A and B.

    Attributes:
        names: Of A and B.
        runs: How many runs are in A and in B.
        protocols: How A and B were scored.
        measures: By the names of `MEASURES`, and `TRIMAP` if all runs counted pixels near a boundary apart.
        class_iou: By class.
        images: All of them, those that changed most first.
        seed_spread: Standard deviation of mean IoU from seed to seed; None if no group has two runs, and then
            the intervals tell of other images only, not of other seeds.
        resamples: How many the intervals were taken from.
    """

    names: tuple[str, str]
    runs: tuple[int, int]
    protocols: tuple[Protocol, Protocol]
    measures: dict[str, Difference]
    class_iou: dict[str, Difference]
    images: tuple[ImageChange, ...]
    seed_spread: float | None
    resamples: int

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            **{key: {"name": self.names[k], "runs": self.runs[k]} for k, key in enumerate("ab")},
            "protocol": asdict(self.protocols[0]),
            "protocol_b": asdict(self.protocols[1]),
            "level": LEVEL,
            "resamples": self.resamples,
            "seed_spread": self.seed_spread,
            **{name: each.as_dict() for name, each in self.measures.items()},
            "class_iou": {name: each.as_dict() for name, each in self.class_iou.items()},
            "images": [each.as_dict() for each in self.images],
        }


def compare_groups(
    before: RunGroup, after: RunGroup, resamples: int = RESAMPLES, seed: int = 0, across: Collection[str] = ()
) -> Comparison:
    """Compare B with A on the same resamples of the images.

    A group's figure is the mean of its members'. What the intervals hold: see above; with
    one run each, other images only, as then nothing is known of other seeds.

    Args:
        before: A.
        after: B.
        resamples: Draws of as many images as there are.
        seed: Of the draws.
        across: Parts of the protocol in which A and B may differ, of `ACROSS`.

    Raises:
        UserError: If they were not scored on the same images in the same way.
    """
    check_comparable([before, after], across)
    shares, first = RunWeights(before, after), before.members[0]
    sums = np.stack([image_parts(run) for run in shares.runs], axis=1)  # [N,R,3,C]
    drawn = paired(shares, sums, resamples, seed)
    found = _differences(shares, sums, drawn)
    moved = drawn.influence[:, MEASURES.index("mean_iou")]
    spread = drawn.seed_variance[MEASURES.index("mean_iou")] ** 0.5
    return Comparison(
        (before.name, after.name),
        (len(before.members), len(after.members)),
        (first.protocol, after.members[0].protocol),
        dict(zip(MEASURES, found, strict=False)) | _trimap(shares, resamples, seed),
        dict(zip(first.classes, found[len(MEASURES) :], strict=True)),
        image_changes(sorted(first.ids), sums, shares.before, shares.after, moved),
        float(spread) if shares.freedom else None,
        resamples,
    )


def _trimap(shares: RunWeights, resamples: int, seed: int) -> dict[str, Difference]:
    """The same of the pixels near a boundary, if all runs counted them apart."""
    near = [sums for sums in map(band_parts, shares.runs) if sums is not None]
    if len(near) < len(shares.runs):
        return {}
    sums = np.stack(near, axis=1)  # [N,R,3,C]
    return {TRIMAP: _differences(shares, sums, paired(shares, sums, resamples, seed))[0]}


def _differences(shares: RunWeights, sums: Floats, drawn: BootstrapDifference) -> list[Difference]:
    """Each figure of both, with what was drawn; the same runs do not differ, however few the images."""
    behind = images_behind(sums[:, 0])
    behind = behind if shares.spread else np.full_like(behind, FEWEST_IMAGES)
    ends = percentile_interval(drawn.replicates, drawn.freedom)
    better = chance_above_zero(drawn.replicates, drawn.freedom)
    values = [
        [None if np.isnan(value) else float(value) for value in row]
        for row in shares.means(compute_metrics(sums.sum(0)))
    ]
    return [
        Difference(a, b, interval, None if interval.low is None else float(chance))
        for a, b, interval, chance in zip(
            *values, as_intervals(drawn.estimate, ends, behind), better, strict=True
        )
    ]
