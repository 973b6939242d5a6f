"""CutMix, CutOut and noise."""

# CutMix rather than copy-paste of objects: VOC's objects have an ignored border. Without it a pasted object
# would lose its outline; with it the object would carry a halo of its image, which a network could detect.

from functools import cache
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from vocseg.data.image_io import Bytes

HOLES = 3  # of CutOut in an image, at most
_WEAKEST, _STRONGEST = 4.0, 20.0  # standard deviation, of 255
_SPREAD = 32.0  # the pattern's, so that four deviations each way fit into a byte
_SHIFTS = 64  # offsets each way: 4,096 patterns, as normal numbers for every image take too long


def add_noise(image: Bytes, draws: npt.NDArray[np.float64]) -> None:
    """Add normal noise to an image `[size,size,3]` in place, independent between pixels and channels.

    The draws from 0 to 1 are the strength, the vertical and the horizontal offset in the pattern.
    """
    y, x = (int(draw * _SHIFTS) for draw in draws[1:])
    size, gain = len(image), (_WEAKEST + (_STRONGEST - _WEAKEST) * float(draws[0])) / _SPREAD
    pattern = _pattern(size)[y : y + size, x : x + size]
    cv2.addWeighted(image, 1, pattern, gain, -128 * gain, dst=image)


@cache
def _pattern(size: int) -> Bytes:
    side = size + _SHIFTS
    values = np.random.default_rng(0).standard_normal((side, side, 3), np.float32)
    return np.asarray(np.clip(values * _SPREAD + 128, 0, 255).round(), np.uint8)


Draws = npt.NDArray[np.float64]
Box = tuple[slice, slice]  # rows and columns of an image

_AREA = 0.1, 0.5  # of a CutMix box, as a fraction of the image
_STRETCH = 2.0  # its largest aspect ratio
_HOLE = 0.125, 0.35  # side lengths of a CutOut box, as fractions of the image's


def sample_cutmix_box(size: int, draws: Draws) -> Box:
    """Sample the box that CutMix replaces in an image of `size` pixels each way.

    The draws from 0 to 1 are the area, the aspect ratio, the vertical and the horizontal position.
    """
    area, stretch = _between(_AREA, draws[0]), _STRETCH ** (2 * float(draws[1]) - 1)
    return _placed(size, (area * stretch) ** 0.5, (area / stretch) ** 0.5, draws[2:])


def sample_cutout_boxes(size: int, draws: Any) -> list[Box]:
    """Sample the boxes of CutOut; `draws` has the fields `count` and `holes` of `epoch_extras`."""
    count = 1 + int(draws["count"] * HOLES)
    return [
        _placed(size, _between(_HOLE, each[0]), _between(_HOLE, each[1]), each[2:])
        for each in draws["holes"][:count]
    ]


def _between(ends: tuple[float, float], draw: float) -> float:
    return ends[0] + (ends[1] - ends[0]) * float(draw)


def _placed(size: int, height: float, width: float, draws: Draws) -> Box:
    """Box of a fraction of the image, completely inside it."""
    lengths = [min(size, max(1, round(fraction * size))) for fraction in (height, width)]
    starts = [int(float(draw) * (size - length + 1)) for draw, length in zip(draws, lengths, strict=True)]
    return slice(starts[0], starts[0] + lengths[0]), slice(starts[1], starts[1] + lengths[1])
