"""Where in a picture boundaries are: mistakes there are of another kind than mistakes elsewhere."""

import cv2
import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]

WIDTH = 5  # pixels on either side; VOC's void border is about as wide


def boundary_band(mask: Bytes, width: int = WIDTH) -> npt.NDArray[np.bool_]:
    """Where another label is near.

    Args:
        mask: Labels uint8 `[H,W]`, void among them.
        width: How near, in pixels, along rows and columns.

    Returns:
        bool `[H,W]`.
    """
    square = np.ones((2 * width + 1, 2 * width + 1), np.uint8)
    return np.asarray(cv2.dilate(mask, square) != cv2.erode(mask, square))
