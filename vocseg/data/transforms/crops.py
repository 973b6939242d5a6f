"""Random scaled crops."""

# Only the region of the crop is resized, which is cheaper by far than resizing the image and cropping it.

from functools import cache
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from vocseg.constants import IGNORE_INDEX, IMAGENET_MEAN
from vocseg.data.image_io import Bytes, ImageMask
from vocseg.errors import UserError

Scales = tuple[float, float]

SCALES: Scales = (0.5, 2.0)  # smallest and largest, as in DeepLab


class Extent(NamedTuple):
    """One axis of a crop: start and length in the source, and in the result."""

    start: int
    length: int
    target_start: int
    target_length: int


def scales(given: tuple[float, float]) -> Scales:
    """Return the smallest and largest scale of `--data.crop_scale`, or raise `UserError` if invalid."""
    smallest, largest = map(float, given)
    if not 0.1 <= smallest <= largest <= 10:
        raise UserError(
            f"--data.crop_scale [{smallest:g}, {largest:g}]: must be the smallest and then the largest "
            "scale, from 0.1 to 10. Give for example [0.5, 2]."
        )
    return smallest, largest


def crop_extents(
    side: int, size: int, draws: npt.NDArray[np.float64], scales: Scales = SCALES
) -> tuple[Extent, Extent]:
    """Choose the vertical and the horizontal extent of a crop of a square, whose scale is log-uniform.

    At scale 1 the source (`side` pixels each way) fills the result (`size`). The draws from 0 to 1 are the
    scale, the vertical and the horizontal position.
    """
    smallest, largest = scales
    scale = smallest * (largest / smallest) ** float(draws[0]) * size / side
    return _extent(side, scale, size, float(draws[1])), _extent(side, scale, size, float(draws[2]))


def _extent(length: int, scale: float, size: int, draw: float) -> Extent:
    length, visible = _even(length, scale), _even(max(1, round(size / scale)), scale)
    if visible <= length:
        return Extent(int(draw * (length - visible + 1)), visible, 0, size)
    target = min(size, max(1, round(length * scale)))
    return Extent(0, length, int(draw * (size - target + 1)), target)


def _even(length: int, scale: float) -> int:
    """Round down to a length that `_half` halves exactly, which is ten times faster."""
    return length - length % 2 if scale <= 0.5 and length > 1 else length


def crop_into(pair: ImageMask, extents: tuple[Extent, Extent], image: Bytes, mask: Bytes) -> None:
    """Write a crop into `image` `[size,size,3]` and `mask` `[size,size]`.

    Outside of the source the image is grey and the mask 255.
    """
    rows, columns = extents
    if rows.target_length < image.shape[0] or columns.target_length < image.shape[1]:
        image[:], mask[:] = neutral(len(image)), IGNORE_INDEX
    target = tuple(slice(axis.target_start, axis.target_start + axis.target_length) for axis in extents)
    source = tuple(slice(axis.start, axis.start + axis.length) for axis in extents)
    dsize = (columns.target_length, rows.target_length)  # as cv2: width, height
    image[target] = cv2.resize(_half(pair.image[source], dsize), dsize, interpolation=cv2.INTER_LINEAR)
    mask[target] = cv2.resize(pair.mask[source], dsize, interpolation=cv2.INTER_NEAREST_EXACT)


@cache
def neutral(size: int) -> Bytes:
    """Return a square of ImageNet's mean, which is zero after normalisation."""
    return np.full((size, size, 3), [round(255 * channel) for channel in IMAGENET_MEAN], np.uint8)


def _half(image: Bytes, dsize: tuple[int, int]) -> Bytes:
    """Halve the image by averaging 2x2 pixels, until bilinear resizing skips no pixel."""
    while image.shape[0] >= 2 * dsize[1] and image.shape[1] >= 2 * dsize[0]:
        half = (image.shape[1] // 2, image.shape[0] // 2)
        image = np.asarray(cv2.resize(image, half, interpolation=cv2.INTER_AREA), np.uint8)
    return image
