"""CutMix and CutOut.

Drawing a normal number for every value of every image would take longer than all else that augmentation does.

The mixing is CutMix, a rectangle with all that its mask says, and no pasting of objects. In VOC every object
has a ring of void round it: an object that is cut out along its label would lose its outline, and one that is
cut out with the ring would carry a halo of the other picture, by which a network could know it. A rectangle
brings its objects as they stood, their void as void, and asks for no rule about what lies before what.
"""

from functools import cache
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from vocseg.constants import IGNORE_INDEX
from vocseg.data.image_io import Bytes, ImageMask
from vocseg.data.transforms.crops import neutral
from vocseg.data.transforms.sample_rng import HOLES

_WEAKEST, _STRONGEST = 4.0, 20.0  # standard deviation, of 255
_SPREAD = 32.0  # the pattern's, so that four deviations each way fit into a byte
_SHIFTS = 64  # places each way where it may begin: 4,096 patterns


def add_noise(image: Bytes, draws: npt.NDArray[np.float64]) -> None:
    """Add normal noise, independent between pixels and channels.

    Args:
        image: uint8 `[size,size,3]`, changed in place.
        draws: Three numbers from 0 to 1: strength, and where in the pattern it begins.
    """
    y, x = (int(draw * _SHIFTS) for draw in draws[1:])
    size, gain = len(image), (_WEAKEST + (_STRONGEST - _WEAKEST) * float(draws[0])) / _SPREAD
    pattern = _pattern(size)[y : y + size, x : x + size]
    cv2.addWeighted(image, 1, pattern, gain, -128 * gain, dst=image)


@cache
def _pattern(size: int) -> Bytes:
    """Bytes around 128."""
    edge = size + _SHIFTS
    values = np.random.default_rng(0).standard_normal((edge, edge, 3), np.float32)
    return np.asarray(np.clip(values * _SPREAD + 128, 0, 255).round(), np.uint8)


Draws = npt.NDArray[np.float64]

_AREA = 0.1, 0.5  # of a piece, as a share of the image: what it is put into stays the larger part
_STRETCH = 2.0  # the most that a piece is higher than wide, or wider than high
_HOLE = 0.125, 0.35  # edges of a hole, as shares of the image's


class Rectangle(NamedTuple):
    """A part of an image, as an index into its first two axes."""

    rows: slice
    columns: slice


def sample_cutmix_box(size: int, draws: Draws) -> Rectangle:
    """Where another pair shows.

    Args:
        size: Edge of the image in pixels.
        draws: Four numbers from 0 to 1: area, shape, vertical and horizontal place.
    """
    area, stretch = _between(_AREA, draws[0]), _STRETCH ** (2 * float(draws[1]) - 1)
    return _placed(size, (area * stretch) ** 0.5, (area / stretch) ** 0.5, draws[2:])


def sample_cutout_boxes(size: int, draws: Any) -> list[Rectangle]:
    """Where an image is cut out.

    Args:
        size: Edge of the image in pixels.
        draws: With the fields `count` and `sample_cutout_boxes` of `AugmentationRNG.extras`.
    """
    count = 1 + int(draws["count"] * HOLES)
    return [
        _placed(size, _between(_HOLE, each[0]), _between(_HOLE, each[1]), each[2:])
        for each in draws["holes"][:count]
    ]


def paste(part: Rectangle, other: ImageMask, image: Bytes, mask: Bytes) -> None:
    """Show another pair there, void where its mask is void."""
    image[part], mask[part] = other.image[part], other.mask[part]


def cutout(part: Rectangle, image: Bytes, mask: Bytes) -> None:
    """Make the image grey there, and the mask void: what cannot be seen is not to be learnt."""
    image[part], mask[part] = neutral(len(image))[part], IGNORE_INDEX


def _between(ends: tuple[float, float], draw: float) -> float:
    return ends[0] + (ends[1] - ends[0]) * float(draw)


def _placed(size: int, height: float, width: float, draws: Draws) -> Rectangle:
    """A rectangle of a share of the image, wholly inside it."""
    rows, columns = (
        _span(size, edge, float(draw)) for edge, draw in zip((height, width), draws, strict=True)
    )
    return Rectangle(rows, columns)


def _span(size: int, share: float, draw: float) -> slice:
    length = min(size, max(1, round(share * size)))
    start = int(draw * (size - length + 1))
    return slice(start, start + length)
