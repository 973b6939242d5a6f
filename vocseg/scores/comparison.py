"""Is B better than A: the paired bootstrap over images, of single runs and of groups of them."""

from collections.abc import Collection
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from vocseg.scores.changes import ImageChange, image_changes
from vocseg.scores.groups import Group, check_comparable
from vocseg.scores.intervals import (
    FEWEST_IMAGES,
    Interval,
    as_intervals,
    band_parts,
    image_parts,
    images_behind,
)
from vocseg.scores.measures import MEASURES, TRIMAP, Floats, measure
from vocseg.scores.paired import Paired, paired
from vocseg.scores.protocol import Protocol
from vocseg.scores.resampling import (
    LEVEL,
    RESAMPLES,
    chance_above_zero,
    percentile_interval,
)
from vocseg.scores.shares import Shares


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
    before: Group, after: Group, resamples: int = RESAMPLES, seed: int = 0, across: Collection[str] = ()
) -> Comparison:
    """Compare B with A on the same resamples of the images.

    A group's figure is the mean of its members'. What the intervals hold: see `vocseg.scores.paired`; with
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
    shares, first = Shares(before, after), before.members[0]
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


def _trimap(shares: Shares, resamples: int, seed: int) -> dict[str, Difference]:
    """The same of the pixels near a boundary, if all runs counted them apart."""
    near = [sums for sums in map(band_parts, shares.runs) if sums is not None]
    if len(near) < len(shares.runs):
        return {}
    sums = np.stack(near, axis=1)  # [N,R,3,C]
    return {TRIMAP: _differences(shares, sums, paired(shares, sums, resamples, seed))[0]}


def _differences(shares: Shares, sums: Floats, drawn: Paired) -> list[Difference]:
    """Each figure of both, with what was drawn; the same runs do not differ, however few the images."""
    behind = images_behind(sums[:, 0])
    behind = behind if shares.spread else np.full_like(behind, FEWEST_IMAGES)
    ends = percentile_interval(drawn.replicates, drawn.freedom)
    better = chance_above_zero(drawn.replicates, drawn.freedom)
    values = [
        [None if np.isnan(value) else float(value) for value in row]
        for row in shares.means(measure(sums.sum(0)))
    ]
    return [
        Difference(a, b, interval, None if interval.low is None else float(chance))
        for a, b, interval, chance in zip(
            *values, as_intervals(drawn.estimate, ends, behind), better, strict=True
        )
    ]
