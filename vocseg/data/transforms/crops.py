"""Random scaled crops.

One resize of the region that is seen, and nothing of the rest: cheaper by far than resizing the whole picture
and cutting a piece out.
"""

from functools import cache
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from vocseg.constants import IGNORE_INDEX, IMAGENET_MEAN
from vocseg.data.image_io import Bytes, ImageMask
from vocseg.errors import UserError

Scales = tuple[float, float]

SCALES: Scales = (0.5, 2.0)  # the least and the largest, as in DeepLab and its successors


class Extent(NamedTuple):
    """One axis of a crop: which pixels of the source go where in the result."""

    start: int
    length: int
    place: int
    room: int


def scales(given: tuple[float, float]) -> Scales:
    """The least and the largest scale of crops, from `--data.crop_scale`.

    Raises:
        UserError: If they are in the wrong order or far from any use.
    """
    smallest, largest = map(float, given)
    if not 0.1 <= smallest <= largest <= 10:
        raise UserError(
            f"--data.crop_scale [{smallest:g}, {largest:g}]: wants the least and then the largest scale, "
            "from 0.1 to 10. Give for example [0.5, 2]."
        )
    return smallest, largest


def crop_extents(
    edge: int, size: int, draws: npt.NDArray[np.float64], scales: Scales = SCALES
) -> tuple[Extent, Extent]:
    """Choose what is seen.

    At scale 1 the source fills the result, as it does where it is scored. The scale is drawn evenly in its
    logarithm.

    Args:
        edge: Of the source, a square, in pixels.
        size: Edge of the result in pixels.
        draws: Three numbers from 0 to 1: scale, vertical and horizontal place.
        scales: The least and the largest.

    Returns:
        The vertical and the horizontal extent.
    """
    smallest, largest = scales
    scale = smallest * (largest / smallest) ** float(draws[0]) * size / edge
    rows = _extent(edge, scale, size, float(draws[1]))
    columns = _extent(edge, scale, size, float(draws[2]))
    return rows, columns


def _extent(length: int, scale: float, size: int, draw: float) -> Extent:
    length, seen = _even(length, scale), _even(max(1, round(size / scale)), scale)
    if seen <= length:
        return Extent(int(draw * (length - seen + 1)), seen, 0, size)
    room = min(size, max(1, round(length * scale)))
    return Extent(0, length, int(draw * (size - room + 1)), room)


def _even(length: int, scale: float) -> int:
    """A length that `_half` can halve exactly, which is ten times faster than nearly."""
    return length - length % 2 if scale <= 0.5 and length > 1 else length


def crop_into(pair: ImageMask, extents: tuple[Extent, Extent], image: Bytes, mask: Bytes) -> None:
    """Write a crop into a batch; where it reaches beyond the picture, the image is grey and the mask void.

    Args:
        pair: The source.
        extents: Vertical and horizontal.
        image: uint8 `[size,size,3]`, written to.
        mask: uint8 `[size,size]`, written to.
    """
    rows, columns = extents
    if rows.room < image.shape[0] or columns.room < image.shape[1]:
        image[:], mask[:] = neutral(len(image)), IGNORE_INDEX
    target = (
        slice(rows.place, rows.place + rows.room),
        slice(columns.place, columns.place + columns.room),
    )
    source = _region(rows), _region(columns)
    room = (columns.room, rows.room)
    image[target] = cv2.resize(_half(pair.image[source], room), room, interpolation=cv2.INTER_LINEAR)
    mask[target] = cv2.resize(pair.mask[source], room, interpolation=cv2.INTER_NEAREST_EXACT)


@cache
def neutral(size: int) -> Bytes:
    """A square of ImageNet's mean, which is zero once it is normalised."""
    return np.full((size, size, 3), [round(255 * channel) for channel in IMAGENET_MEAN], np.uint8)


def _region(extent: Extent) -> slice:
    return slice(extent.start, extent.start + extent.length)


def _half(image: Bytes, room: tuple[int, int]) -> Bytes:
    """The image averaged over 2x2 pixels as often as a linear filter would skip some otherwise."""
    while image.shape[0] >= 2 * room[1] and image.shape[1] >= 2 * room[0]:
        half = (image.shape[1] // 2, image.shape[0] // 2)
        image = np.asarray(cv2.resize(image, half, interpolation=cv2.INTER_AREA), np.uint8)
    return image
