"""What chance does to a pair in training: the only file that knows albumentations.

Every choice is a function of seed, epoch and position, so that it is the same on any number of processes.
"""

import os
import random
import warnings
from collections.abc import Sequence
from functools import cache
from typing import Any, Literal

import cv2
import numpy as np
import numpy.typing as npt

from vocseg.data.crops import crop_extents, crop_into
from vocseg.data.decoding import Bytes
from vocseg.data.reading import Pair
from vocseg.data.resizing import Form

os.environ.setdefault(
    "NO_ALBUMENTATIONS_UPDATE", "1"
)  # else importing it asks the network for a newer version

Augmentation = Literal["none", "light", "crops", "standard"]

_DRAWS = 4  # random numbers an image and epoch: flip, then `crop_extents`
_MARGIN = 1.5  # crops come from pictures whose short side is this much larger, so that enlarging shows detail


def stored_form(size: int, augmentation: Augmentation) -> Form:
    """The size in which pairs wait for an augmentation.

    Args:
        size: Edge of what the network gets, in pixels.
        augmentation: Its name.
    """
    if augmentation in ("none", "light"):
        return Form("square", size)
    return Form("short", round(_MARGIN * size))


class Augmenter:
    """Fills batches with pairs, each augmented by its own draw."""

    def __init__(self, augmentation: Augmentation, size: int, seed: int, images: int) -> None:
        """Remember the settings.

        Args:
            augmentation: `none`; `light`: a horizontal flip half of the time; `crops`: besides, a random
                crop at a scale of 0.5 to 2, padded with void; `standard`: besides, brightness, contrast,
                colour, blur.
            size: Edge of the result in pixels.
            seed: Any whole number.
            images: Length of the split.
        """
        self.augmentation, self.size, self.seed, self.images = augmentation, size, seed, images
        self._epoch, self._draws = -1, np.empty((0, _DRAWS))

    def fill(
        self, pairs: Sequence[Pair], indices: Sequence[int], epoch: int, images: Bytes, masks: Bytes
    ) -> None:
        """Write a batch.

        Args:
            pairs: In the size that `stored_form` says.
            indices: Position of each in the split.
            epoch: Chooses the draws, with seed and position.
            images: uint8 `[N,size,size,3]`, written to.
            masks: uint8 `[N,size,size]`, written to.
        """
        if self.augmentation == "none":
            for k, pair in enumerate(pairs):
                images[k], masks[k] = pair
            return
        draws = self._of(epoch)
        for k, (pair, index) in enumerate(zip(pairs, indices, strict=True)):
            self._one(pair, draws[index], images[k], masks[k])
            if self.augmentation == "standard":
                images[k] = _photometric(images[k], (self.seed, epoch, index))

    def _of(self, epoch: int) -> npt.NDArray[np.float64]:
        """An epoch's random numbers, `[images,4]`: all at once, as a generator for every image is slow."""
        if epoch != self._epoch:
            self._draws = np.random.default_rng((self.seed, epoch)).random((self.images, _DRAWS))
            self._epoch = epoch
        return self._draws

    def _one(self, pair: Pair, draws: npt.NDArray[np.float64], image: Bytes, mask: Bytes) -> None:
        """One pair, flipped or not; cv2 flips pixels of three bytes ten times faster than numpy."""
        flip = draws[0] < 0.5
        if self.augmentation != "light":
            crop_into(pair, crop_extents(pair.mask.shape, self.size, draws[1:]), image, mask)
            pair = Pair(image, mask)
        if flip:
            cv2.flip(pair.image, 1, dst=image)
            cv2.flip(pair.mask, 1, dst=mask)
        elif pair.image is not image:
            image[:], mask[:] = pair


def _photometric(image: Bytes, key: tuple[int, ...]) -> Bytes:
    """Another light, other colours, a little blur."""
    compose = _photometric_compose()
    # set_random_state, not set_random_seed: the latter gives every transform the same stream of draws.
    compose.set_random_state(np.random.default_rng(key), random.Random(str(key)))
    return np.asarray(compose(image=image)["image"], np.uint8)


@cache
def _photometric_compose() -> Any:
    """Built under warnings as errors, since albumentations only warns of a misspelt argument."""
    import albumentations as A

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return A.Compose([
            A.RandomBrightnessContrast(brightness_limit=0.25, contrast_limit=0.25, p=0.5),
            A.HueSaturationValue(hue_shift_limit=12, sat_shift_limit=30, val_shift_limit=0, p=0.5),
            A.GaussianBlur(blur_limit=(3, 5), p=0.2),
        ])  # fmt: skip
