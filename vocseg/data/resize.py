"""Resizing of images and masks.

Images are averaged as Pillow's antialiased bilinear filter does (torch has the fast one), masks take the
exact nearest pixel: cv2's plain nearest is off by half a pixel.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch.nn import functional

from vocseg.data.image_io import Bytes, ImageMask
from vocseg.errors import UserError

LARGEST = 8192  # pixels each way: one image of that size takes 200 MB
VERSION = 2  # of the arithmetic below: raised when pixels change, so that older stores are not read


@dataclass(frozen=True)
class ImageSize:
    """How large pairs are kept.

    Attributes:
        size: Edge in pixels of the square that pairs are resized to, whatever their shape.
    """

    size: int

    def __post_init__(self) -> None:
        """See that a batch of them fits into a machine.

        Raises:
            UserError: If not.
        """
        if self.size > LARGEST:
            raise UserError(
                f"--data.image_size asks for {self.size:,} pixels each way, but {LARGEST:,} are the most"
            )

    def __str__(self) -> str:
        return f"{self.size}x{self.size}"

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width."""
        return self.size, self.size

    def __call__(self, pair: ImageMask) -> ImageMask:
        """The pair in this size."""
        return ImageMask(resize_image(pair.image, self.shape), resize_mask(pair.mask, self.shape))


def resize_image(image: Bytes, shape: tuple[int, int]) -> Bytes:
    """An image uint8 `[H,W,3]` at another height and width."""
    if image.shape[:2] == shape:
        return image
    pixels = torch.from_numpy(np.require(image, requirements=["C", "W"]))[None].permute(0, 3, 1, 2)
    resized = functional.interpolate(pixels, shape, mode="bilinear", antialias=True)  # [1,3,h,w]
    return np.ascontiguousarray(resized.permute(0, 2, 3, 1)[0].numpy())  # no copy: it stayed channels last


def resize_mask(mask: Bytes, shape: tuple[int, int]) -> Bytes:
    """A mask uint8 `[H,W]` at another height and width."""
    if mask.shape == shape:
        return mask
    return np.asarray(cv2.resize(mask, shape[::-1], interpolation=cv2.INTER_NEAREST_EXACT), np.uint8)
