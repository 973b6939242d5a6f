"""Random draws of one sample.

They are functions of seed, epoch and position alone, so that a run sees the same images on any number of
processes, with or without a store, and when it is resumed.
"""

from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Augmentation = Literal["none", "light", "crops", "standard", "strong"]
Sampling = Literal["uniform", "balanced"]

HOLES = 3  # at most, in an image

_VIEW = 4  # numbers that say how a pair is seen: flip, then `crop_extents`
_EXTRA = np.dtype([
    ("mix", float),  # whether there is a piece of another pair
    ("partner", float),  # which pair that is
    ("view", float, (_VIEW,)),  # how that one is seen
    ("piece", float, (4,)),  # area, shape, vertical and horizontal place
    ("cut", float),  # whether there are holes
    ("count", float),  # how many
    ("holes", float, (HOLES, 4)),  # height, width, vertical and horizontal place of each
    ("noise", float),  # whether there is noise
    ("grain", float, (3,)),  # its strength, and where in the pattern it begins
])  # fmt: skip


class AugmentationRNG:
    """Random numbers by position, an epoch's all at once, as a generator for every image is slow."""

    def __init__(self, seed: int, images: int) -> None:
        """Remember what they depend on.

        Args:
            seed: Any whole number from 0.
            images: Length of the split.
        """
        self.seed, self.images = seed, images
        self._views: tuple[int, npt.NDArray[np.float64]] | None = None
        self._extras: tuple[int, npt.NDArray[Any]] | None = None

    def views(self, epoch: int) -> npt.NDArray[np.float64]:
        """How pairs are seen, `[images,4]`: flip, scale, vertical and horizontal place."""
        if self._views is None or self._views[0] != epoch:
            draws = np.random.default_rng((self.seed, epoch)).random((self.images, _VIEW))
            self._views = epoch, draws
        return self._views[1]

    def extras(self, epoch: int) -> npt.NDArray[Any]:
        """What `strong` decides besides, `[images]` with a field for every decision.

        The spawn key keeps these numbers apart from all that are drawn from seed, epoch and position.
        """
        if self._extras is None or self._extras[0] != epoch:
            source = np.random.default_rng(np.random.SeedSequence((self.seed, epoch), spawn_key=(1,)))
            draws = source.random((self.images, _EXTRA.itemsize // 8))
            self._extras = epoch, draws.view(_EXTRA)[:, 0]
        return self._extras[1]
