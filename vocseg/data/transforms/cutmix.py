"""CutMix, CutOut and noise."""

# CutMix rather than copy-paste of objects: VOC's objects have an ignored border. Without it a pasted object
# would lose its outline; with it the object would carry a halo of its image, which a network could detect.

from functools import cache
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from vocseg.constants import IGNORE_INDEX
from vocseg.data.image_io import Bytes, ImageMask
from vocseg.data.transforms.crops import neutral

HOLES = 3  # of CutOut in an image, at most
_WEAKEST, _STRONGEST = 4.0, 20.0  # standard deviation, of 255
_SPREAD = 32.0  # the pattern's, so that four deviations each way fit into a byte
_SHIFTS = 64  # offsets each way: 4,096 patterns, as normal numbers for every image take too long


def add_noise(image: Bytes, draws: npt.NDArray[np.float64]) -> None:
    """Add normal noise, independent between pixels and channels.

    Args:
        image: uint8 `[size,size,3]`, changed in place.
        draws: Three numbers from 0 to 1: strength, vertical and horizontal offset in the pattern.
    """
    y, x = (int(draw * _SHIFTS) for draw in draws[1:])
    size, gain = len(image), (_WEAKEST + (_STRONGEST - _WEAKEST) * float(draws[0])) / _SPREAD
    pattern = _pattern(size)[y : y + size, x : x + size]
    cv2.addWeighted(image, 1, pattern, gain, -128 * gain, dst=image)


@cache
def _pattern(size: int) -> Bytes:
    """Normal noise around 128."""
    side = size + _SHIFTS
    values = np.random.default_rng(0).standard_normal((side, side, 3), np.float32)
    return np.asarray(np.clip(values * _SPREAD + 128, 0, 255).round(), np.uint8)


Draws = npt.NDArray[np.float64]

_AREA = 0.1, 0.5  # of a CutMix box, as a fraction of the image
_STRETCH = 2.0  # its largest aspect ratio
_HOLE = 0.125, 0.35  # side lengths of a CutOut box, as fractions of the image's


class Rectangle(NamedTuple):
    """Box in an image, as an index into its first two axes."""

    rows: slice
    columns: slice


def sample_cutmix_box(size: int, draws: Draws) -> Rectangle:
    """Sample the box that CutMix replaces.

    Args:
        size: Side length of the image in pixels.
        draws: Four numbers from 0 to 1: area, aspect ratio, vertical and horizontal position.
    """
    area, stretch = _between(_AREA, draws[0]), _STRETCH ** (2 * float(draws[1]) - 1)
    return _placed(size, (area * stretch) ** 0.5, (area / stretch) ** 0.5, draws[2:])


def sample_cutout_boxes(size: int, draws: Any) -> list[Rectangle]:
    """Sample the boxes of CutOut.

    Args:
        size: Side length of the image in pixels.
        draws: With the fields `count` and `holes` of `AugmentationRNG.extras`.
    """
    count = 1 + int(draws["count"] * HOLES)
    return [
        _placed(size, _between(_HOLE, each[0]), _between(_HOLE, each[1]), each[2:])
        for each in draws["holes"][:count]
    ]


def paste(part: Rectangle, other: ImageMask, image: Bytes, mask: Bytes) -> None:
    """Replace a box by the same box of another pair."""
    image[part], mask[part] = other.image[part], other.mask[part]


def cutout(part: Rectangle, image: Bytes, mask: Bytes) -> None:
    """Make a box grey in the image and 255 in the mask."""
    image[part], mask[part] = neutral(len(image))[part], IGNORE_INDEX


def _between(ends: tuple[float, float], draw: float) -> float:
    return ends[0] + (ends[1] - ends[0]) * float(draw)


def _placed(size: int, height: float, width: float, draws: Draws) -> Rectangle:
    """Box of a fraction of the image, completely inside it."""

    def span(fraction: float, draw: float) -> slice:
        length = min(size, max(1, round(fraction * size)))
        start = int(draw * (size - length + 1))
        return slice(start, start + length)

    return Rectangle(span(height, float(draws[0])), span(width, float(draws[1])))
