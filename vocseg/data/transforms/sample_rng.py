"""Random numbers of the augmentation, functions of seed, epoch and position."""

# So a run has the same images on any number of processes, with or without a cache, and when it is resumed.

from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Augmentation = Literal["none", "light", "crops", "standard", "strong"]
Sampling = Literal["uniform", "balanced"]

HOLES = 3  # at most, in an image

_VIEW = 4  # numbers of a pair: flip, then `crop_extents`
_EXTRA = np.dtype([
    ("mix", float),  # CutMix or none
    ("partner", float),  # the other pair
    ("view", float, (_VIEW,)),  # flip and crop of that one
    ("piece", float, (4,)),  # area, aspect ratio, vertical and horizontal position
    ("cut", float),  # CutOut or none
    ("count", float),  # number of holes
    ("holes", float, (HOLES, 4)),  # height, width, vertical and horizontal position of each
    ("noise", float),  # noise or none
    ("grain", float, (3,)),  # its strength, and its offset in the pattern
])  # fmt: skip


class AugmentationRNG:
    """Random numbers by position, sampled for a complete epoch, as a generator per image is slow."""

    def __init__(self, seed: int, images: int) -> None:
        """Store the seed, from 0, and the length of the split."""
        self.seed, self.images = seed, images
        self._views: tuple[int, npt.NDArray[np.float64]] | None = None
        self._extras: tuple[int, npt.NDArray[Any]] | None = None

    def views(self, epoch: int) -> npt.NDArray[np.float64]:
        """Return `[images,4]`: flip, scale, vertical and horizontal position of the crop."""
        if self._views is None or self._views[0] != epoch:
            draws = np.random.default_rng((self.seed, epoch)).random((self.images, _VIEW))
            self._views = epoch, draws
        return self._views[1]

    def extras(self, epoch: int) -> npt.NDArray[Any]:
        """Return the further numbers of `strong`, `[images]` with a field for every decision."""
        if self._extras is None or self._extras[0] != epoch:
            # The spawn key makes them independent of all others from seed, epoch and position.
            source = np.random.default_rng(np.random.SeedSequence((self.seed, epoch), spawn_key=(1,)))
            draws = source.random((self.images, _EXTRA.itemsize // 8))
            self._extras = epoch, draws.view(_EXTRA)[:, 0]
        return self._extras[1]
