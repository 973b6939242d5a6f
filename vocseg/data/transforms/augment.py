"""Augmentation as a function of seed, epoch and index."""

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from vocseg.data.image_io import Bytes, ImageMask
from vocseg.data.resize import ImageSize
from vocseg.data.transforms.crops import SCALES, Scales, crop_extents, crop_into
from vocseg.data.transforms.cutmix import add_noise, cutout, paste, sample_cutmix_box, sample_cutout_boxes
from vocseg.data.transforms.photometric import photometric
from vocseg.data.transforms.sample_rng import Augmentation, AugmentationRNG

_MIXED, _NOISY, _CUT = 0.5, 0.3, 0.5  # fractions of the images of `strong`
_MARGIN = 1.5  # crops come from squares larger by this factor, so that enlarging shows detail


def stored_form(size: int, augmentation: Augmentation) -> ImageSize:
    """Return the size of pairs before augmentation to `size` pixels each way."""
    return ImageSize(size if augmentation in ("none", "light") else round(_MARGIN * size))


class Augmenter:
    """Augmentation of batches, each pair by its own random numbers."""

    def __init__(
        self, augmentation: Augmentation, size: int, seed: int, images: int, scales: Scales = SCALES
    ) -> None:
        """Store the settings.

        Args:
            augmentation: See `VOCDataModule`.
            size: Side length of the result in pixels.
            seed: Any integer from 0.
            images: Length of the split.
            scales: Smallest and largest scale of crops.
        """
        self.augmentation, self.size, self.seed, self.images = augmentation, size, seed, images
        self.scales = scales
        self._rng = AugmentationRNG(seed, images)

    def cutmix_partners(self, indices: Sequence[int], epoch: int) -> list[int | None]:
        """Return the position of the CutMix partner of each position in an epoch; None: no CutMix."""
        partners: list[int | None] = [None] * len(indices)
        if self.augmentation == "strong" and self.images > 1:
            extras = self._rng.extras(epoch)
            for k, index in enumerate(indices):
                if extras[index]["mix"] < _MIXED:
                    other = int(extras[index]["partner"] * (self.images - 1))
                    partners[k] = other + (other >= index)  # any but itself
        return partners

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
            pairs: Of the size `stored_form`.
            indices: Position of each in the split.
            epoch: Of the random numbers.
            images: uint8 `[N,size,size,3]`, written to.
            masks: uint8 `[N,size,size]`, written to.
            partners: CutMix partner of each, of the same size; None: no CutMix.
        """
        if self.augmentation == "none":
            for k, pair in enumerate(pairs):
                images[k], masks[k] = pair
            return
        views = self._rng.views(epoch)
        partners = partners or [None] * len(pairs)
        for k, (pair, index, other) in enumerate(zip(pairs, indices, partners, strict=True)):
            self._view(pair, views[index], images[k], masks[k])
            if self.augmentation == "standard":
                images[k] = photometric(images[k], (self.seed, epoch, index))
            elif self.augmentation == "strong":
                self._strong(other, index, epoch, images[k], masks[k])

    def _view(self, pair: ImageMask, draws: npt.NDArray[np.float64], image: Bytes, mask: Bytes) -> None:
        """Write one pair, cropped and flipped."""
        flip = draws[0] < 0.5
        if self.augmentation != "light":
            crop_into(pair, crop_extents(len(pair.mask), self.size, draws[1:], self.scales), image, mask)
            pair = ImageMask(image, mask)
        if flip:
            cv2.flip(pair.image, 1, dst=image)  # ten times faster than numpy
            cv2.flip(pair.mask, 1, dst=mask)
        elif pair.image is not image:
            image[:], mask[:] = pair

    def _strong(self, other: ImageMask | None, index: int, epoch: int, image: Bytes, mask: Bytes) -> None:
        """Apply the rest of `strong` to a cropped and flipped pair."""
        # In the order of a camera: both parts get the same light, and noise comes after the blur.
        draws = self._rng.extras(epoch)[index]
        if other is not None:
            augmented = ImageMask(np.empty_like(image), np.empty_like(mask))
            view = draws["view"].copy()
            view[1] = (1 + view[1]) / 2  # a scale from 1: padding would only hide what it covers
            self._view(other, view, *augmented)
            paste(sample_cutmix_box(self.size, draws["piece"]), augmented, image, mask)
        image[:] = photometric(image, (self.seed, epoch, index), more_blur=True)
        if draws["noise"] < _NOISY:
            add_noise(image, draws["grain"])
        if draws["cut"] < _CUT:
            for part in sample_cutout_boxes(self.size, draws):
                cutout(part, image, mask)
