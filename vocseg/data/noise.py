"""Noise like a camera's, from a pattern drawn once.

Drawing a normal number for every value of every image would take longer than all else that augmentation does.
"""

from functools import cache

import cv2
import numpy as np
import numpy.typing as npt

from vocseg.data.decoding import Bytes

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
