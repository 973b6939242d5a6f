"""Augmentation as a function of seed, epoch and index."""

# So a run has the same images on any number of processes, with or without a cache, and when it is resumed.

import os
import random
import warnings
from collections.abc import Sequence
from functools import cache, lru_cache
from typing import Any, Literal

import cv2
import numpy as np
import numpy.typing as npt

from vocseg.constants import IGNORE_INDEX
from vocseg.data.image_io import Bytes, ImageMask
from vocseg.data.transforms.crops import SCALES, Scales, crop_extents, crop_into, neutral
from vocseg.data.transforms.cutmix import HOLES, add_noise, sample_cutmix_box, sample_cutout_boxes

# Else importing albumentations asks the network for a newer version.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

Augmentation = Literal["none", "light", "crops", "standard", "strong"]
Sampling = Literal["uniform", "balanced"]

_MIXED, _NOISY, _CUT = 0.5, 0.3, 0.5  # fractions of the images of `strong`
_MARGIN = 1.5  # crops come from squares larger by this factor, so that enlarging shows detail
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


def stored_size(size: int, augmentation: Augmentation) -> int:
    """Return the side length of pairs before augmentation to `size` pixels each way."""
    return size if augmentation in ("none", "light") else round(_MARGIN * size)


class Augmenter:
    """Augmentation of batches, each pair by its own random numbers."""

    def __init__(
        self, augmentation: Augmentation, size: int, seed: int, images: int, scales: Scales = SCALES
    ) -> None:
        """Store the settings: `size` of the result in pixels, `seed` from 0, `images` of the split."""
        self.augmentation, self.size, self.seed, self.images = augmentation, size, seed, images
        self.scales = scales

    def cutmix_partners(self, indices: Sequence[int], epoch: int) -> list[int | None]:
        """Return the position of the CutMix partner of each position in an epoch; None: no CutMix."""
        partners: list[int | None] = [None] * len(indices)
        if self.augmentation == "strong" and self.images > 1:
            extras = epoch_extras(self.seed, epoch, self.images)
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
        """Write a batch into `images` `[N,size,size,3]` and `masks` `[N,size,size]`.

        `pairs` and their CutMix partners (None: no CutMix) are of the size `stored_size`; `indices` are the
        positions of the pairs in the split.
        """
        if self.augmentation == "none":
            for k, pair in enumerate(pairs):
                images[k], masks[k] = pair
            return
        views = epoch_views(self.seed, epoch, self.images)
        partners = partners or [None] * len(pairs)
        for k, (pair, index, other) in enumerate(zip(pairs, indices, partners, strict=True)):
            self._view(pair, views[index], images[k], masks[k])
            if self.augmentation == "standard":
                images[k] = photometric(images[k], (self.seed, epoch, index))
            elif self.augmentation == "strong":
                self._strong(other, index, epoch, images[k], masks[k])

    def _view(self, pair: ImageMask, draws: npt.NDArray[np.float64], image: Bytes, mask: Bytes) -> None:
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
        draws = epoch_extras(self.seed, epoch, self.images)[index]
        if other is not None:
            augmented = ImageMask(np.empty_like(image), np.empty_like(mask))
            view = draws["view"].copy()
            view[1] = (1 + view[1]) / 2  # a scale from 1: padding would only hide what it covers
            self._view(other, view, *augmented)
            box = sample_cutmix_box(self.size, draws["piece"])
            image[box], mask[box] = augmented.image[box], augmented.mask[box]
        image[:] = photometric(image, (self.seed, epoch, index), more_blur=True)
        if draws["noise"] < _NOISY:
            add_noise(image, draws["grain"])
        if draws["cut"] < _CUT:
            for box in sample_cutout_boxes(self.size, draws):
                image[box], mask[box] = neutral(self.size)[box], IGNORE_INDEX


# Sampled for a complete epoch, as a generator per image is slow.
@lru_cache(maxsize=4)
def epoch_views(seed: int, epoch: int, images: int) -> npt.NDArray[np.float64]:
    """Return `[images,4]`: flip, scale, vertical and horizontal position of the crop."""
    return np.random.default_rng((seed, epoch)).random((images, _VIEW))


@lru_cache(maxsize=4)
def epoch_extras(seed: int, epoch: int, images: int) -> npt.NDArray[Any]:
    """Return the further numbers of `strong`, `[images]` with a field for every decision."""
    # The spawn key makes them independent of all others from seed, epoch and position.
    source = np.random.default_rng(np.random.SeedSequence((seed, epoch), spawn_key=(1,)))
    return source.random((images, _EXTRA.itemsize // 8)).view(_EXTRA)[:, 0]


def photometric(image: Bytes, key: tuple[int, ...], more_blur: bool = False) -> Bytes:
    """Return a copy of an image with random brightness, contrast, colour and blur, a function of `key`."""
    compose = _compose(more_blur)
    # set_random_state, not set_random_seed: the latter gives every transform the same stream of draws.
    compose.set_random_state(np.random.default_rng(key), random.Random(str(key)))
    return np.asarray(compose(image=image)["image"], np.uint8)


@cache
def _compose(more_blur: bool) -> Any:
    import albumentations as A

    blur: dict[str, Any] = {"blur_limit": (3, 5), "p": 0.2}
    if more_blur:
        blur = {"blur_limit": 0, "sigma_limit": (0.5, 2.0), "p": 0.3}
    with warnings.catch_warnings():  # albumentations only warns of a misspelt argument
        warnings.simplefilter("error")
        return A.Compose([
            A.RandomBrightnessContrast(brightness_limit=0.25, contrast_limit=0.25, p=0.5),
            A.HueSaturationValue(hue_shift_limit=12, sat_shift_limit=30, val_shift_limit=0, p=0.5),
            A.GaussianBlur(**blur),
        ])  # fmt: skip
