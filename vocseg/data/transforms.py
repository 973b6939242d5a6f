"""What is done to an image and its mask before they become a batch: the only file that knows albumentations.

Masks are resized by exact nearest neighbour: cv2's plain nearest is off by half a pixel.
Transforms are built with warnings as errors, since albumentations only warns of a misspelt argument.
"""

import os
import random
import warnings
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

os.environ.setdefault(
    "NO_ALBUMENTATIONS_UPDATE", "1"
)  # else importing it asks the network for a newer version
import albumentations as A

Bytes = npt.NDArray[np.uint8]
Augmentation = Literal["none", "light"]


def _resize(size: int) -> A.Resize:
    """To a square, averaging over areas when shrinking, as an antialiasing filter must."""
    return A.Resize(size, size, mask_interpolation=cv2.INTER_NEAREST_EXACT, area_for_downscale="image")


_AUGMENTATIONS: dict[Augmentation, list[type[A.DualTransform]]] = {"none": [], "light": [A.HorizontalFlip]}


class PairTransform:
    """Resizes an image and its mask to a square and, in training, augments both alike."""

    def __init__(self, size: int, augmentation: Augmentation = "none") -> None:
        """Build the transforms.

        Args:
            size: Edge of the square in pixels.
            augmentation: `none`, or `light` (a horizontal flip half of the time).
        """
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            self._compose = A.Compose(
                [_resize(size), *(make(p=0.5) for make in _AUGMENTATIONS[augmentation])]
            )

    def __call__(self, image: Bytes, mask: Bytes, key: tuple[int, ...]) -> tuple[Bytes, Bytes]:
        """Transform a pair.

        Args:
            image: uint8 `[H,W,3]`.
            mask: uint8 `[H,W]`.
            key: Seeds every random choice; the same key gives the same result in any process.

        Returns:
            Image `[size,size,3]` and mask `[size,size]`, uint8.
        """
        # set_random_state, not set_random_seed: the latter gives every transform the same stream of draws.
        self._compose.set_random_state(np.random.default_rng(key), random.Random(str(key)))
        result = self._compose(image=image, mask=mask)
        return result["image"], result["mask"]


def resize_image(image: Bytes, size: int) -> Bytes:
    """An image alone, uint8 `[H,W,3]` to `[size,size,3]`, with the pixels that `PairTransform` gives."""
    resized: Bytes = A.Compose([_resize(size)])(image=image)["image"]
    return resized
