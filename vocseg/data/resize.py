"""Resizing of images and masks."""

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch.nn import functional

from vocseg.data.image_io import Bytes, ImageMask
from vocseg.errors import UserError

_LARGEST = 8192  # pixels each way: one image of that size takes 200 MB
VERSION = 2  # of the arithmetic below: raised when pixels change, so that older caches are not read


@dataclass(frozen=True)
class ImageSize:
    """Size of resized pairs.

    Attributes:
        size: Side length in pixels of the square, whatever the original aspect ratio.

    Raises:
        UserError: If a batch of that size would not fit into memory.
    """

    size: int

    def __post_init__(self) -> None:
        if self.size > _LARGEST:
            raise UserError(
                f"--data.image_size asks for {self.size:,} pixels each way, but {_LARGEST:,} are the most"
            )

    def __str__(self) -> str:
        return f"{self.size}x{self.size}"

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width."""
        return self.size, self.size

    def __call__(self, pair: ImageMask) -> ImageMask:
        """Resize a pair."""
        return ImageMask(resize_image(pair.image, self.shape), resize_mask(pair.mask, self.shape))


def resize_image(image: Bytes, shape: tuple[int, int]) -> Bytes:
    """Resize an image uint8 `[H,W,3]` to a height and width, with Pillow's antialiased bilinear filter."""
    if image.shape[:2] == shape:
        return image
    pixels = torch.from_numpy(np.require(image, requirements=["C", "W"]))[None].permute(0, 3, 1, 2)
    resized = functional.interpolate(pixels, shape, mode="bilinear", antialias=True)  # [1,3,h,w]
    return np.ascontiguousarray(resized.permute(0, 2, 3, 1)[0].numpy())  # no copy: it stayed channels last


def resize_mask(mask: Bytes, shape: tuple[int, int]) -> Bytes:
    """Resize a mask uint8 `[H,W]` to a height and width, with the exact nearest pixel."""
    if mask.shape == shape:
        return mask
    # cv2's INTER_NEAREST is off by half a pixel against the image.
    return np.asarray(cv2.resize(mask, shape[::-1], interpolation=cv2.INTER_NEAREST_EXACT), np.uint8)
