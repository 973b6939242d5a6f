"""Which images B sees differently from A."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vocseg.scores.measures import Floats


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
