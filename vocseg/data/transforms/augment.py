"""Augmentation as a function of seed, epoch and index."""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from vocseg.data.image_io import Bytes, ImageMask
from vocseg.data.resize import ImageSize
from vocseg.data.transforms.crops import SCALES, Scales, crop_extents, crop_into
from vocseg.data.transforms.cutmix import add_noise, cutout, paste, sample_cutmix_box, sample_cutout_boxes
from vocseg.data.transforms.photometric import photometric
from vocseg.data.transforms.sample_rng import Augmentation, AugmentationRNG

_MIXED, _NOISY, _CUT = 0.5, 0.3, 0.5  # shares of the images of `strong`
_MARGIN = 1.5  # crops come from squares that are this much larger, so that enlarging shows detail


def stored_form(size: int, augmentation: Augmentation) -> ImageSize:
    """The size in which pairs wait for an augmentation.

    Args:
        size: Edge of what the network gets, in pixels.
        augmentation: Its name.
    """
    if augmentation in ("none", "light"):
        return ImageSize(size)
    return ImageSize(round(_MARGIN * size))


class Augmenter:
    """Fills batches with pairs, each augmented by its own draw."""

    def __init__(
        self, augmentation: Augmentation, size: int, seed: int, images: int, scales: Scales = SCALES
    ) -> None:
        """Remember the settings.

        Args:
            augmentation: `none`; `light`: a horizontal flip half of the time; `crops`: besides, a random
                crop at a random scale, padded with void; `standard`: besides, brightness, contrast,
                colour, blur; `strong`: the same draws with more blur, and besides, a piece of another pair,
                noise, and holes of void.
            size: Edge of the result in pixels.
            seed: Any whole number from 0.
            images: Length of the split.
            scales: The least and the largest scale of crops.
        """
        self.augmentation, self.size, self.seed, self.images = augmentation, size, seed, images
        self.scales = scales
        self._chance = AugmentationRNG(seed, images)

    def cutmix_partners(self, indices: Sequence[int], epoch: int) -> list[int | None]:
        """Which other pair of the whole split each one is mixed with; None: with none.

        Args:
            indices: Positions in the split.
            epoch: Chooses, with seed and position.
        """
        if self.augmentation != "strong" or self.images < 2:
            return [None] * len(indices)
        extras = self._chance.extras(epoch)
        return [self._partner(index, extras[index]) for index in indices]

    def _partner(self, index: int, draws: Any) -> int | None:
        if draws["mix"] >= _MIXED:
            return None
        other = int(draws["partner"] * (self.images - 1))
        return other + (other >= index)  # any but itself

    def fill_batch(
        self,
        pairs: Sequence[ImageMask],
        indices: Sequence[int],
        epoch: int,
        images: Bytes,
        masks: Bytes,
        partners: Sequence[ImageMask | None] | None = None,
    ) -> None:
        """Write a batch.

        Args:
            pairs: In the size that `stored_form` says.
            indices: Position of each in the split.
            epoch: Chooses the draws, with seed and position.
            images: uint8 `[N,size,size,3]`, written to.
            masks: uint8 `[N,size,size]`, written to.
            partners: The pairs that `partners` names, in the same size; where there is none, nothing is
                mixed in, and all other decisions stay as they are.
        """
        if self.augmentation == "none":
            for k, pair in enumerate(pairs):
                images[k], masks[k] = pair
            return
        views = self._chance.views(epoch)
        others = partners or [None] * len(pairs)
        for k, (pair, index, other) in enumerate(zip(pairs, indices, others, strict=True)):
            self._view(pair, views[index], images[k], masks[k])
            if self.augmentation == "standard":
                images[k] = photometric(images[k], (self.seed, epoch, index))
            elif self.augmentation == "strong":
                self._strong(other, index, epoch, images[k], masks[k])

    def _view(self, pair: ImageMask, draws: npt.NDArray[np.float64], image: Bytes, mask: Bytes) -> None:
        """One pair, flipped or not; cv2 flips pixels of three bytes ten times faster than numpy."""
        flip = draws[0] < 0.5
        if self.augmentation != "light":
            crop_into(pair, crop_extents(len(pair.mask), self.size, draws[1:], self.scales), image, mask)
            pair = ImageMask(image, mask)
        if flip:
            cv2.flip(pair.image, 1, dst=image)
            cv2.flip(pair.mask, 1, dst=mask)
        elif pair.image is not image:
            image[:], mask[:] = pair

    def _strong(self, other: ImageMask | None, index: int, epoch: int, image: Bytes, mask: Bytes) -> None:
        """What `strong` does to a pair that is cropped and flipped, in the order in which a camera would.

        One light falls on both parts, noise comes after the blur, and holes stay as neutral as padding was.
        """
        draws = self._chance.extras(epoch)[index]
        if other is not None:
            seen = ImageMask(np.empty_like(image), np.empty_like(mask))
            view = draws["view"].copy()
            view[1] = (1 + view[1]) / 2  # a scale from 1: void would hide what it covers for nothing
            self._view(other, view, *seen)
            paste(sample_cutmix_box(self.size, draws["piece"]), seen, image, mask)
        image[:] = photometric(image, (self.seed, epoch, index), more_blur=True)
        if draws["noise"] < _NOISY:
            add_noise(image, draws["grain"])
        if draws["cut"] < _CUT:
            for part in sample_cutout_boxes(self.size, draws):
                cutout(part, image, mask)
